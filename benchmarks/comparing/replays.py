"""Situations in which the token was revoked: the response, and the body that arrives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import requests

from .library import Library, UnsupportedError
from .observing import situation, tried, warm
from .world import World

SIZE = 100_000


def uploaded(kind: type[Library], world: World, send: Callable[[Library], Any]) -> str:
    """Send a body with a revoked token; return the outcome and the bytes that arrived last."""
    client = warm(kind, world)
    world.auth.revoke_all()
    outcome = tried(lambda: send(client))
    arrived = world.api.requests[-1].body.count(b"x")
    lost = outcome == "200" and arrived < SIZE
    return f"{outcome}, {arrived:,} bytes" + ", LOST" * lost if outcome == "200" else outcome


@situation("token revoked, body is a file: answer, bytes of 100,000 that arrived")
def file_body(kind: type[Library], world: World) -> str:
    """Send an open file."""
    path = world.folder / "upload"
    path.write_bytes(b"x" * SIZE)
    with path.open("rb") as file:
        return uploaded(kind, world, lambda c: c.request("POST", world.api.url, data=file))


@situation("the same, multipart")
def multipart_body(kind: type[Library], world: World) -> str:
    """Send an open file in a form."""
    path = world.folder / "upload"
    path.write_bytes(b"x" * SIZE)
    with path.open("rb") as file:
        form = {"part": ("name", file)}
        return uploaded(kind, world, lambda c: c.request("POST", world.api.url, files=form))


@situation("the same, a generator")
def generator_body(kind: type[Library], world: World) -> str:
    """Send a body that can be read only once."""
    body = (b"x" * (SIZE // 10) for _ in range(10))
    return uploaded(kind, world, lambda c: c.request("POST", world.api.url, data=body))


@situation("token revoked, raise_for_status as a hook of the session")
def hook(kind: type[Library], world: World) -> str:
    """Raise for an error status before the library can react to it."""
    client = warm(kind, world)
    if client.session is None:
        raise UnsupportedError
    client.session.hooks["response"].append(lambda r, **_: r.raise_for_status())
    world.auth.revoke_all()
    return tried(lambda: client.request("GET", world.api.url))


@situation("token revoked, session.send(prepared)")
def prepared(kind: type[Library], world: World) -> str:
    """Send a prepared request."""
    client = warm(kind, world)
    if client.session is None:
        raise UnsupportedError
    world.auth.revoke_all()
    request = client.session.prepare_request(requests.Request("GET", world.api.url))
    return tried(lambda: client.session.send(request))
