"""The body of an answer: read for a limited time, and its errors without tokens."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

from requests import Response
from urllib3 import HTTPResponse
from urllib3.exceptions import DecodeError, HTTPError, ProtocolError

from ..forks import importing

#: A refused answer is read up to this number of bytes and for this number of seconds, to keep its
#: connection in the pool.
RELEASE_LIMIT, RELEASE_SECONDS = 65_536, 0.5


def release(
    response: Response, limit: int = RELEASE_LIMIT, seconds: float = RELEASE_SECONDS
) -> None:
    """Free the connection of an answer and keep the beginning of its body.

    What arrives of the first ``limit`` bytes within ``seconds`` becomes its ``content``, and the
    connection goes back to the pool. If there is more, or the body is slow, cut or badly
    compressed, the connection is closed. A body that an adapter has read already, or has made, is
    kept.
    """
    answer: Any = response  # its types do not know of content that was not read yet
    if answer._content is not False or answer.raw is None:
        return
    with _time_limit(answer.raw, seconds):
        answer._content = _beginning(answer, limit)
    answer.close()  # the connection too, unless everything was read
    answer._content_consumed = True


def _beginning(response: Response, limit: int) -> bytes:
    chunks: list[bytes] = []
    try:
        for chunk in response.iter_content(8192):
            chunks.append(chunk)
            if sum(map(len, chunks)) > limit:
                break
    except (OSError, HTTPError) as error:  # the errors of requests are OSErrors
        # A broken body says nothing about the token, so what was read is enough.
        del error
    return b"".join(chunks)[:limit]


@contextlib.contextmanager
def _time_limit(raw: Any, seconds: float) -> Iterator[None]:
    """Limit the time for which the socket of an answer is read, if it has one.

    The read timeout of requests is for each piece. A server that sends a byte now and then never
    exceeds it.
    """
    reader: Any = getattr(getattr(getattr(raw, "_fp", None), "fp", None), "raw", None)
    sock: Any = getattr(reader, "_sock", None) if isinstance(reader, socket.SocketIO) else None
    if sock is None:
        yield
        return
    timeout = sock.gettimeout()
    reader._sock = _LimitedSocket(sock, time.monotonic() + seconds)
    try:
        yield
    finally:
        if reader._sock is not None:  # else the reader was closed
            reader._sock = sock
        with contextlib.suppress(OSError):
            sock.settimeout(timeout)


class _LimitedSocket:
    """A socket that can be read until a moment."""

    def __init__(self, sock: Any, until: float) -> None:
        self._socket, self._until = sock, until
        self._timeout = sock.gettimeout()

    def recv_into(self, buffer: Any) -> int:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("The refused answer was too slow.")
        self._socket.settimeout(left if self._timeout is None else min(left, self._timeout))
        return int(self._socket.recv_into(buffer))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


def redact_body_errors(response: Response, tokens: Iterable[str]) -> None:
    """Hide tokens in the errors of a body that is read later, and that a broken server sends.

    urllib3 quotes a chunk size that it cannot read, and the names of the codings of a body that it
    cannot decode.
    """
    raw: Any = response.raw
    if not isinstance(raw, HTTPResponse):
        return
    if getattr(raw, "chunked", False) or "Content-Encoding" in raw.headers:
        raw.__class__ = _redacting(type(raw))
        raw.__dict__["_tokens"] = list(tokens)


@lru_cache(maxsize=16)
def _redacting(kind: type[HTTPResponse]) -> type[HTTPResponse]:
    """Return a subclass whose errors do not quote the tokens in ``_tokens``."""

    class Redacting(kind):  # type: ignore[valid-type, misc]
        _tokens: list[str]

        def read(self, *args: Any, **kwargs: Any) -> bytes:
            try:
                data: bytes = super().read(*args, **kwargs)
            except HTTPError as error:
                redacted = _redacted(error, self._tokens)
                if redacted is None:
                    raise
            else:
                return data
            raise redacted  # here, so that the first error is not its context

        def read_chunked(self, *args: Any, **kwargs: Any) -> Iterator[bytes]:
            try:
                yield from super().read_chunked(*args, **kwargs)
            except HTTPError as error:
                redacted = _redacted(error, self._tokens)
                if redacted is None:
                    raise
            else:
                return
            raise redacted  # as above

    Redacting.__name__, Redacting.__qualname__ = kind.__name__, kind.__qualname__
    return kind if hasattr(kind, "_tokens") else Redacting


def _redacted(error: HTTPError, tokens: list[str]) -> HTTPError | None:
    """Return an error without the tokens, or None if the error and what led to it quote none."""
    with importing:
        from ..redaction.search import redacted_message

    text = redacted_message(error, tokens)
    if text is None:
        return None
    return DecodeError(text) if isinstance(error, DecodeError) else ProtocolError(text)
