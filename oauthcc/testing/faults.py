"""Answers, and the many ways in which a server fails to give one.

Anything here can be handed to `answer_next` of a server. An `Answer` is proper HTTP; a `Fault`
breaks the connection in some way, and ends it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

HeaderFields: TypeAlias = "Mapping[str, str] | Iterable[tuple[str, str]]"


class Line(Protocol):
    """What a fault can do with the connection to the client."""

    def send(self, data: bytes) -> None:
        """Send these bytes as they are; raise OSError where the client has gone."""

    def reset(self) -> None:
        """Close at once, so that the client sees a reset and not an end."""

    def pause(self, seconds: float) -> bool:
        """Wait; give False at once when the server is being closed."""
        ...

    def wait_until_closed(self) -> None:
        """Wait until the client hangs up or the server is closed."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Hold an HTTP response.

    A body that is an iterable of bytes is sent in chunks (or as it is where a Content-Length is
    given). Content-Length and Date are added where they are missing.
    """

    status: int = 200
    headers: HeaderFields = ()
    body: bytes | Iterable[bytes] = field(default=b"", repr=False)

    @property
    def fields(self) -> list[tuple[str, str]]:
        """Give the header fields as pairs, whatever they were given as."""
        headers: Any = self.headers
        return list(headers.items() if isinstance(headers, Mapping) else headers)


@dataclass(frozen=True, slots=True)
class Fault:
    """Hold a way to break the connection: `play` is given the line in place of an answer."""

    name: str
    play: Callable[[Line], None] = field(repr=False)


Outcome: TypeAlias = "Answer | Fault"
AnyAnswer: TypeAlias = "Outcome | tuple[int, HeaderFields, bytes]"


def as_outcome(value: AnyAnswer) -> Outcome:
    """Turn what a test may write, a plain `(status, headers, body)` too, into an outcome."""
    return Answer(*value) if isinstance(value, tuple) else value


def json_answer(value: Any, status: int = 200, headers: HeaderFields = ()) -> Answer:
    """Answer with this value as JSON."""
    fields = [("Content-Type", "application/json"), *Answer(headers=headers).fields]
    return Answer(status, fields, json.dumps(value).encode())


def oauth_error(error: str, description: str = "", status: int = 400) -> Answer:
    """Answer with an error of RFC 6749 section 5.2."""
    members = {"error": error, "error_description": description}
    return json_answer({name: text for name, text in members.items() if text}, status)


def html(status: int = 200) -> Answer:
    """Answer with a page, as a proxy or a login wall does."""
    page = b"<!doctype html><title>Sign in</title><p>Please sign in."
    return Answer(status, {"Content-Type": "text/html; charset=utf-8"}, page)


def empty(status: int = 200) -> Answer:
    """Answer with no body at all."""
    return Answer(status)


def unavailable(status: int = 503, retry_after: str | None = "1") -> Answer:
    """Answer 503 or 429; `retry_after` is seconds or a date, or None for no such header."""
    fields = {"Content-Type": "text/plain"}
    if retry_after is not None:
        fields["Retry-After"] = retry_after
    return Answer(status, fields, b"try later")


def redirect(location: str, status: int = 302) -> Answer:
    """Answer with a redirect to this place."""
    return Answer(status, {"Location": location})


def _head(length: int, kind: str = "application/json") -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n".encode()


def truncated(body: bytes = b'{"access_token": "never-comp', missing: int = 100) -> Fault:
    """Promise `missing` bytes more than are sent, then hang up."""
    return Fault("truncated", lambda line: line.send(_head(len(body) + missing) + body))


def reset() -> Fault:
    """Reset the connection once the request has been read."""
    return Fault("reset", lambda line: line.reset())


def cut() -> Fault:
    """Hang up without a word once the request has been read."""
    return Fault("cut", lambda _line: None)


def garbage(data: bytes = b"this is not HTTP\r\n\r\n") -> Fault:
    """Send bytes that are no HTTP response, then hang up."""
    return Fault("garbage", lambda line: line.send(data))


def hang() -> Fault:
    """Never answer: keep the connection until the client or the server closes it."""
    return Fault("hang", lambda line: line.wait_until_closed())


def drip(body: bytes = b"{}", interval: float = 0.05, *, head_too: bool = False) -> Fault:
    """Send one byte every `interval` seconds: of the body, or of the head too."""

    def play(line: Line) -> None:
        head = _head(len(body))
        if not head_too:
            line.send(head)
        for byte in (head if head_too else b"") + body:
            line.send(bytes([byte]))
            if not line.pause(interval):
                return

    return Fault("drip", play)


def endless(block: bytes = b" " * 65536) -> Fault:
    """Send a body without end, as fast as the client reads."""

    def play(line: Line) -> None:
        line.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
        while line.pause(0):
            line.send(block)

    return Fault("endless", play)
