"""A forward proxy with tunnels (CONNECT) to loopback, which records the requests."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from types import TracebackType


class ConnectProxy:
    """A proxy on loopback, which runs inside a ``with`` block.

    ``heads`` contains the heads of all requests as text. If ``credentials`` (a value of
    Proxy-Authorization) is set, requests without it are answered with 407.
    """

    def __init__(self) -> None:
        self.heads: list[str] = []
        self.credentials: str | None = None
        self._server = _Server(("127.0.0.1", 0), _Tunnel)
        self._server.proxy = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> ConnectProxy:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def admits(self, head: str) -> bool:
        wanted = f"proxy-authorization: {self.credentials}".lower()
        return self.credentials is None or wanted in head.lower()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    proxy: ConnectProxy


class _Tunnel(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        lines = []
        while (line := self.rfile.readline(65536).strip()) != b"":
            lines.append(line.decode("latin-1"))
        head = "\n".join(lines)
        proxy = self.server.proxy
        proxy.heads.append(head)
        if not head.startswith("CONNECT "):
            self.wfile.write(b"HTTP/1.1 405 Only CONNECT\r\nContent-Length: 0\r\n\r\n")
        elif not proxy.admits(head):
            self.wfile.write(b"HTTP/1.1 407 Credentials needed\r\nContent-Length: 0\r\n\r\n")
        else:
            host, _, port = head.split()[1].rpartition(":")
            with socket.create_connection((host, int(port)), 10) as target:
                self.wfile.write(b"HTTP/1.1 200 Connected\r\n\r\n")
                self._tunnel(target)

    def _tunnel(self, target: socket.socket) -> None:
        back = threading.Thread(target=_pump, args=(target, self.connection), daemon=True)
        back.start()
        _pump(self.connection, target)
        back.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
