"""Situations that count token requests, or show whether the caller waits."""

from __future__ import annotations

import threading
from unittest import mock

from oauthcc.testing import Answer

from .library import Library
from .observing import THREADS, expired, revoke_at_the_api, situation, storm, tried, warm
from .world import World


@situation("32 threads, cold: token requests; calls")
def cold(kind: type[Library], world: World) -> str:
    """Send a request in every thread before there is a token."""
    client = kind(world)
    return storm(world, lambda: client.request("GET", world.api.url))


@situation("32 threads at expiry: token requests; calls")
def expiry(kind: type[Library], world: World) -> str:
    """Send a request in every thread when the token is in the library's own margin."""
    client = expired(kind, world)
    return storm(world, lambda: client.request("GET", world.api.url))


@situation("32 threads, one revocation: token requests; calls")
def revocation(kind: type[Library], world: World) -> str:
    """Revoke the token while the requests of all threads are at the API."""
    client = warm(kind, world)
    world.auth.forget()
    return str(
        revoke_at_the_api(
            world, THREADS, lambda: storm(world, lambda: client.request("GET", world.api.url))
        )
    )


@situation("wrong secret, 100 calls: logins refused")
def wrong_secret(kind: type[Library], world: World) -> str:
    """Send requests with a secret that the server refuses."""
    client = kind(world, "not the secret")
    for _ in range(100):
        tried(lambda: client.request("GET", world.api.url))
    return str(world.token_request_count())


@situation("429 with Retry-After: 60, 90 calls: token requests")
def busy(kind: type[Library], world: World) -> str:
    """Send requests while the server returns 429; pauses between attempts are skipped."""
    client = kind(world)
    world.auth.answer_next(Answer(429, {"Retry-After": "60"}), None)
    with mock.patch("time.sleep"):
        for _ in range(90):
            tried(lambda: client.request("GET", world.api.url))
    return str(world.token_request_count())


@situation("API always returns 401, 20 calls: token requests; API requests")
def always_401(kind: type[Library], world: World) -> str:
    """Send requests to an API that accepts no token."""
    client = kind(world)
    world.api.refuse_next(None)
    for _ in range(20):
        tried(lambda: client.request("GET", world.api.url))
    return f"{world.token_request_count()}; {len(world.api.requests)}"


@situation("token lives 15 s, 10 calls: token requests")
def short_life(kind: type[Library], world: World) -> str:
    """Issue tokens with a shorter lifetime than the margin of most libraries."""
    world.auth.token_lifetime = 15
    client = kind(world)
    for _ in range(10):
        client.request("GET", world.api.url).raise_for_status()
    return str(world.token_request_count())


@situation("token endpoint down, token good for another 15 s")
def down(kind: type[Library], world: World) -> str:
    """Stop the token endpoint while the token is valid."""
    world.auth.token_lifetime = 15
    client = warm(kind, world)
    world.auth.down()
    return tried(lambda: client.request("GET", world.api.url))


@situation("token endpoint hangs, token good for another 15 s")
def slow(kind: type[Library], world: World) -> str:
    """Hold the answers of the token endpoint while the token is valid."""
    world.auth.token_lifetime = 15
    client = warm(kind, world)
    call = threading.Thread(
        target=lambda: tried(lambda: client.request("GET", world.api.url)), daemon=True
    )
    with world.auth.hold():
        call.start()
        call.join(1.0)
        waits = call.is_alive()
    call.join(5)
    return "the caller waits" if waits else "answered at once"
