"""HTTP/1.1 on one connection of a server."""

from __future__ import annotations

import re
import socket
import struct
import threading
from collections.abc import Callable, Iterable
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, TypeAlias

from .faults import Answer, Fault, Outcome
from .seen import SeenRequest

if TYPE_CHECKING:
    from .http import Listener

Respond: TypeAlias = Callable[[SeenRequest, Callable[[], bool]], Outcome]

_HEX = re.compile(rb"[0-9A-Fa-f]+")
_KNOWN = frozenset(HTTPStatus)
_NO_BODY = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})


class BadRequest(Exception):
    """A request whose end cannot be found."""


class OpenLine:
    """The connection that a fault uses: `faults.Line` on a real socket."""

    def __init__(self, connection: socket.socket, closing: threading.Event) -> None:
        """Create it; `closing` is set when the server is being closed."""
        self._connection = connection
        self._closing = closing

    def send(self, data: bytes) -> None:
        """Send these bytes unchanged."""
        self._connection.sendall(data)

    def reset(self) -> None:
        """Make the next close a connection reset, by setting SO_LINGER to zero seconds."""
        linger = struct.pack("ii", 1, 0)
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    def pause(self, seconds: float) -> bool:
        """Wait and return True, or return False as soon as the server is being closed."""
        return not self._closing.wait(seconds)

    def wait_until_closed(self) -> None:
        """Read and ignore data until the client or the server closes the connection."""
        while self._connection.recv(65536):
            pass


class Wire(BaseHTTPRequestHandler):
    """The handler of one connection, which answers one request after the other."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    close_connection: bool
    server: Listener  # pyright: ignore[reportIncompatibleVariableOverride] - no other creates one

    def __getattr__(self, name: str) -> Any:
        """Return one handler for all methods; the standard library looks for `do_GET` etc."""
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
        """Write no log; tests look at the list of requests."""

    def _serve(self) -> None:
        try:
            seen = self._seen(self._body())
        except BadRequest as error:
            self.close_connection = True
            self._write(Answer(400, {"Content-Type": "text/plain"}, str(error).encode()))
            return
        outcome = self.server.respond(seen, self.server.closing.is_set)
        if isinstance(outcome, Fault):
            self.close_connection = True
            outcome.play(OpenLine(self.connection, self.server.closing))
        else:
            self._write(outcome)

    def _seen(self, body: bytes) -> SeenRequest:
        path, _, query = self.path.partition("?")
        if "://" in path and not path.startswith("/"):  # this server is used as a proxy
            path = "/" + path.partition("://")[2].partition("/")[2]
        peer = getattr(self.connection, "getpeercert", None)
        return SeenRequest(
            method=self.command,
            path=path,
            query=query,
            target=self.path,
            raw_headers=tuple(self.headers.items()),
            body=body,
            peer_certificate=peer(binary_form=True) if peer else None,
            scheme="https" if peer else "http",
        )

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return b"".join(iter(self._chunk, b""))
        length = self.headers.get("Content-Length", "0")
        if not (length.isascii() and length.isdigit()):
            raise BadRequest("The Content-Length is not a number.")
        return self._exactly(int(length))

    def _chunk(self) -> bytes:
        digits = self.rfile.readline(65537).partition(b";")[0].strip(b" \t\r\n")
        if not _HEX.fullmatch(digits):
            raise BadRequest("The size of a chunk is not a number.")
        size = int(digits, 16)
        if size:
            data = self._exactly(size)
            self.rfile.readline(3)
            return data
        while self.rfile.readline(65537).strip():
            pass  # trailer fields
        return b""

    def _exactly(self, size: int) -> bytes:
        data = self.rfile.read(size)
        if len(data) < size:
            raise ConnectionError("The client closed the connection during its request.")
        return data

    def _write(self, answer: Answer) -> None:
        has_no_body = answer.status < HTTPStatus.OK or answer.status in _NO_BODY
        fields = answer.fields
        given = {name.lower(): value.lower() for name, value in fields}
        chunked = False
        if "content-length" not in given and not has_no_body:
            if isinstance(answer.body, bytes):
                fields.append(("Content-Length", str(len(answer.body))))
            elif self.request_version == "HTTP/1.1":
                chunked = True
                fields.append(("Transfer-Encoding", "chunked"))
            else:
                self.close_connection = True
        if given.get("connection") == "close":
            self.close_connection = True
        elif self.close_connection:
            fields.append(("Connection", "close"))
        body = b"" if has_no_body or self.command == "HEAD" else answer.body
        self._send(_head(answer.status, fields), body, chunked=chunked)

    def _send(self, head: bytes, body: bytes | Iterable[bytes], *, chunked: bool) -> None:
        if isinstance(body, bytes):
            self.wfile.write(head + body)
            return
        self.wfile.write(head)
        for piece in body:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        if chunked:
            self.wfile.write(b"0\r\n\r\n")


def _head(status: int, fields: list[tuple[str, str]]) -> bytes:
    phrase = HTTPStatus(status).phrase if status in _KNOWN else "Unnamed"
    lines = [f"HTTP/1.1 {status} {phrase}"]
    if "date" not in {name.lower() for name, _ in fields}:
        lines.append(f"Date: {formatdate(usegmt=True)}")
    lines += [f"{name}: {value}" for name, value in fields]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
