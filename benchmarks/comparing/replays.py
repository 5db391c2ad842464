"""Situations in which the token was revoked: the response, and the body that arrives."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import requests

from .library import Library, UnsupportedError
from .observing import situation, tried, warm
from .world import World

SIZE = 100_000
CONTENT = b"x" * SIZE


@dataclass(frozen=True)
class Upload:
    """What became of a body that was sent with a revoked token."""

    outcome: str
    #: The bytes of each request that arrived.
    arrived: list[int]

    @property
    def lost(self) -> bool:
        return self.outcome == "200" and self.arrived[-1] < SIZE


class _Reader:
    """A reader that can do nothing but read, like the body of another response."""

    def __init__(self, file: io.BufferedReader) -> None:
        self.read = file.read


def _spooled() -> Any:
    file = tempfile.SpooledTemporaryFile(2 * SIZE)  # noqa: SIM115 - the request reads it
    file.write(CONTENT)
    file.seek(0)
    return file


#: The options of a request for each kind of body, from an open file with the content.
BODIES: dict[str, Callable[[io.BufferedReader], dict[str, Any]]] = {
    "bytes": lambda _: {"data": CONTENT},
    "str": lambda _: {"data": CONTENT.decode()},
    "json": lambda _: {"json": {"text": CONTENT.decode()}},
    "form": lambda _: {"data": {"text": CONTENT.decode()}},
    "BytesIO": lambda _: {"data": io.BytesIO(CONTENT)},
    "open file": lambda file: {"data": file},
    "multipart with an open file": lambda file: {"files": {"part": ("name", file)}},
    "SpooledTemporaryFile": lambda _: {"data": _spooled()},
    "reader that cannot seek": lambda file: {"data": _Reader(file)},
    "generator": lambda _: {"data": (CONTENT[: SIZE // 10] for _ in range(10))},
}


def upload(kind: type[Library], world: World, body: str) -> Upload:
    """Send a body with a revoked token."""
    path = world.folder / "upload"
    path.write_bytes(CONTENT)
    client = warm(kind, world)
    world.auth.revoke_all()
    world.api.forget()
    with path.open("rb") as file:
        options = BODIES[body](file)
        outcome = tried(lambda: client.request("POST", world.api.url, **options))
    return Upload(outcome, [request.body.count(b"x") for request in world.api.requests])


def uploaded(kind: type[Library], world: World, body: str) -> str:
    """Send a body with a revoked token; return the outcome and the bytes that arrived last."""
    done = upload(kind, world, body)
    if done.outcome != "200":
        return done.outcome
    return f"200, {done.arrived[-1]:,} bytes" + ", LOST" * done.lost


@situation("token revoked, body is a file: answer, bytes of 100,000 that arrived")
def file_body(kind: type[Library], world: World) -> str:
    """Send an open file."""
    return uploaded(kind, world, "open file")


@situation("the same, multipart")
def multipart_body(kind: type[Library], world: World) -> str:
    """Send an open file in a form."""
    return uploaded(kind, world, "multipart with an open file")


@situation("the same, a generator")
def generator_body(kind: type[Library], world: World) -> str:
    """Send a body that can be read only once."""
    return uploaded(kind, world, "generator")


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
