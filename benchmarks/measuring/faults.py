"""Storms of threads, a slow and an unavailable token endpoint, and refused bodies, per library."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from typing import Any

from comparing.libraries import forget_tokens
from comparing.library import Library
from comparing.observing import expired, outcomes_of, revoke_at_the_api, tried, warm
from comparing.replays import BODIES, upload
from comparing.world import World, stay_on_loopback

from oauthcc.testing import Answer

from .contenders import ALL

THREADS = 64
STATES = ("cold", "expired", "revoked")
#: Seconds between the calls of one thread.
PAUSE = 0.1


def storms(name: str, latency: float) -> dict[str, Any]:
    """Return what 64 threads cost that send a request at the same time."""
    stay_on_loopback()
    return {state: storm(ALL[name], state, latency) for state in STATES}


def storm(kind: type[Library], state: str, latency: float) -> dict[str, Any]:
    """Return the token requests, failures and wall time in one state of the token."""
    forget_tokens()
    with World() as world:
        client = {"cold": lambda: kind(world), "expired": lambda: expired(kind, world)}.get(
            state, lambda: warm(kind, world)
        )()
        world.auth.forget()
        world.auth.delay = latency
        begun = time.monotonic()

        def call() -> Any:
            return outcomes_of(lambda: client.request("GET", world.api.url), THREADS)

        outcomes = revoke_at_the_api(world, THREADS, call) if state == "revoked" else call()
        took = time.monotonic() - begun
        return {
            "token_requests": world.token_request_count(),
            "failures": THREADS - outcomes["200"],
            "outcomes": dict(outcomes),
            "wall_per_latency": round(took / latency, 2),
        }


def renewal(name: str, life: int, latency: float) -> dict[str, Any]:
    """Return how long calls take while a token gets old and its endpoint is slow.

    The first token enters the margin of the library after `life` seconds.
    """
    stay_on_loopback()
    kind = ALL[name]
    with World() as world:
        world.auth.token_lifetime = kind.margin + life
        client = warm(kind, world)
        world.auth.token_lifetime = 3600
        world.auth.forget()
        world.auth.delay = latency
        took, outcomes = paced(client, time.monotonic() + life + latency + 1)
        return {
            "calls": len(took),
            "failures": len(took) - outcomes["200"],
            "median_ms": round(statistics.median(took) * 1e3, 1),
            "longest_ms": round(max(took) * 1e3, 1),
            "token_requests": world.token_request_count(),
        }


def outage(name: str, life: int, after: float) -> dict[str, Any]:
    """Return what calls do if the endpoint answers 503, before and after the token expires.

    `life` is the lifetime of the token, `after` the time after its expiry, in seconds.
    """
    stay_on_loopback()
    with World() as world:
        world.auth.token_lifetime = life
        client = warm(ALL[name], world)
        age = world.auth.time() - world.auth.token_requests[0].at
        expiry = time.monotonic() + life - age
        world.auth.answer_next(Answer(503), None)
        found = {}
        for phase, until in (("valid", expiry - 0.5), ("expired", expiry + 0.5 + after)):
            world.auth.forget()
            took, outcomes = paced(client, until)
            found[phase] = {
                "calls": len(took),
                "failures": len(took) - outcomes["200"],
                "outcomes": dict(outcomes),
                "median_ms": round(statistics.median(took) * 1e3, 1),
                "longest_ms": round(max(took) * 1e3, 1),
                "token_requests": world.token_request_count(),
            }
            time.sleep(max(0.0, expiry + 0.5 - time.monotonic()))
        return found


def paced(client: Library, until: float) -> tuple[list[float], Counter[str]]:
    """Send requests until a moment; return how long each took, and the outcomes."""
    took, outcomes = [], Counter[str]()
    while not took or time.monotonic() < until:
        begun = time.monotonic()
        outcomes[tried(lambda: client.request("GET", client.world.api.url))] += 1
        took.append(time.monotonic() - begun)
        time.sleep(PAUSE)
    return took, outcomes


def bodies(name: str) -> dict[str, Any]:
    """Return what becomes of each kind of body if the token was revoked."""
    stay_on_loopback()
    found = {}
    for body in BODIES:
        forget_tokens()
        with World() as world:
            done = upload(ALL[name], world, body)
        found[body] = {"outcome": done.outcome, "arrived": done.arrived, "lost": done.lost}
    return found
