"""Answers of a server, and faults that happen instead of an answer.

All of them can be passed to `answer_next` of a server. An `Answer` is a valid HTTP response. A
`Fault` breaks the connection in some way and ends it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

HeaderFields: TypeAlias = "Mapping[str, str] | Iterable[tuple[str, str]]"


class Line(Protocol):
    """The connection to the client, as a fault can use it."""

    def send(self, data: bytes) -> None:
        """Send these bytes unchanged; raise OSError if the client has closed the connection."""

    def reset(self) -> None:
        """Close the connection so that the client gets a connection reset."""

    def pause(self, seconds: float) -> bool:
        """Wait and return True, or return False as soon as the server is being closed."""
        ...

    def wait_until_closed(self) -> None:
        """Wait until the client closes the connection or the server is closed."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response.

    A body that is an iterable of bytes is sent in chunks, or unchanged if a Content-Length is
    given. Content-Length and Date are added if they are missing.
    """

    status: int = 200
    headers: HeaderFields = ()
    body: bytes | Iterable[bytes] = field(default=b"", repr=False)

    @property
    def fields(self) -> list[tuple[str, str]]:
        """Return the header fields as a list of pairs."""
        headers: Any = self.headers
        return list(headers.items() if isinstance(headers, Mapping) else headers)


@dataclass(frozen=True, slots=True)
class Fault:
    """A way to break the connection: `play` is called with the connection instead of answering."""

    name: str
    play: Callable[[Line], None] = field(repr=False)


Outcome: TypeAlias = "Answer | Fault"
AnyAnswer: TypeAlias = "Outcome | tuple[int, HeaderFields, bytes]"


def as_outcome(value: AnyAnswer) -> Outcome:
    """Return an answer or a fault unchanged, and a `(status, headers, body)` as an `Answer`.

    Raise TypeError for anything else, because the thread of a server would raise it too late.
    """
    outcome: object = Answer(*value) if isinstance(value, tuple) else value
    if not isinstance(outcome, Answer | Fault):
        raise TypeError(
            "An answer must be an Answer, a Fault such as faults.hang(), or (status, headers,"
            f" body), not {type(outcome).__name__}."
        )
    return outcome


def json_answer(value: Any, status: int = 200, headers: HeaderFields = ()) -> Answer:
    """Return an answer with this value as JSON."""
    fields = [("Content-Type", "application/json"), *Answer(headers=headers).fields]
    return Answer(status, fields, json.dumps(value).encode())


def oauth_error(error: str, description: str = "", status: int = 400) -> Answer:
    """Return an error answer of RFC 6749 section 5.2."""
    members = {"error": error, "error_description": description}
    return json_answer({name: text for name, text in members.items() if text}, status)


def html(status: int = 200) -> Answer:
    """Return an answer with an HTML page, like that of a proxy or a login page."""
    page = b"<!doctype html><title>Sign in</title><p>Please sign in."
    return Answer(status, {"Content-Type": "text/html; charset=utf-8"}, page)


def empty(status: int = 200) -> Answer:
    """Return an answer without a body."""
    return Answer(status)


def unavailable(status: int = 503, retry_after: str | None = "1") -> Answer:
    """Return a 503 or 429; `retry_after` is seconds or a date, or None to omit the header."""
    fields = {"Content-Type": "text/plain"}
    if retry_after is not None:
        fields["Retry-After"] = retry_after
    return Answer(status, fields, b"try later")


def redirect(location: str, status: int = 302) -> Answer:
    """Return a redirect to this URL."""
    return Answer(status, {"Location": location})


def _head(length: int) -> bytes:
    fields = f"Content-Type: application/json\r\nContent-Length: {length}"
    return f"HTTP/1.1 200 OK\r\n{fields}\r\n\r\n".encode()


def truncated(body: bytes = b'{"access_token": "never-comp') -> Fault:
    """Return a fault that sends this body and closes the connection before its announced end."""
    return Fault("truncated", lambda line: line.send(_head(len(body) + 100) + body))


def reset() -> Fault:
    """Return a fault that resets the connection when the request has been read."""
    return Fault("reset", lambda line: line.reset())


def cut() -> Fault:
    """Return a fault that closes the connection without an answer."""
    return Fault("cut", lambda _line: None)


def garbage(data: bytes = b"this is not HTTP\r\n\r\n") -> Fault:
    """Return a fault that sends bytes which are not HTTP, and closes the connection."""
    return Fault("garbage", lambda line: line.send(data))


def hang() -> Fault:
    """Return a fault that sends nothing until the client or the server closes the connection."""
    return Fault("hang", lambda line: line.wait_until_closed())


def drip(body: bytes = b"{}", interval: float = 0.05, *, head_too: bool = False) -> Fault:
    """Return a fault that sends the body (or head and body) one byte per `interval` seconds."""

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
    """Return a fault that sends a body without end, as fast as the client reads."""

    def play(line: Line) -> None:
        line.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
        while line.pause(0):
            line.send(block)

    return Fault("endless", play)
