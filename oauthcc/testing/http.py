"""A server on loopback that starts at once, closes wholly, and can be down for a while."""

from __future__ import annotations

import contextlib
import os
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Callable
from http.server import ThreadingHTTPServer
from types import TracebackType
from typing import Any, TypeVar

from .faults import Outcome
from .seen import SeenRequest
from .wire import Respond, Wire

HOST = "127.0.0.1"

Server = TypeVar("Server", bound="LoopbackServer")


class Listener(ThreadingHTTPServer):
    """Listen on one port, from construction to `stop()`, with a thread for every connection.

    The standard library's loop is not used: it polls, and it keeps no account of the connections,
    which must all be closed when a test ends.
    """

    request_queue_size = 256

    def __init__(
        self,
        port: int,
        respond: Respond,
        tls: ssl.SSLContext | None,
        accepted: Callable[[], None],
    ) -> None:
        """Bind and start; raise OSError where the port is taken."""
        super().__init__((HOST, port), Wire)
        self.respond = respond
        self.closing: threading.Event = threading.Event()
        self._tls = tls
        self._accepted = accepted
        self._lock = threading.Lock()
        # Guarded by _lock: the connections, by the threads that serve them. An entry stays until
        # its thread has truly ended, so that stop() can wait for all of them.
        self._open: dict[threading.Thread, socket.socket] = {}
        self._acceptor = threading.Thread(target=self._accept, name="loopback-accept", daemon=True)
        self._acceptor.start()

    def server_bind(self) -> None:
        """Bind without asking the DNS for our name, which is slow on some machines."""
        socketserver.TCPServer.server_bind(self)
        self.server_name: str = HOST
        self.server_port: int = self.server_address[1]

    def _accept(self) -> None:
        while not self.closing.is_set():
            try:
                connection, address = self.socket.accept()
            except OSError:  # no descriptors left, or the client has gone again
                time.sleep(0.01)
                continue
            if self.closing.is_set():
                connection.close()
            else:
                self.process_request(connection, address)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a new connection on a thread of its own."""
        self._accepted()
        thread = threading.Thread(
            target=self._converse, args=(request, client_address), name="loopback", daemon=True
        )
        with self._lock:
            self._open = {old: line for old, line in self._open.items() if old.is_alive()}
            self._open[thread] = request
        thread.start()

    def _converse(self, connection: socket.socket, address: Any) -> None:
        try:
            if self._tls is not None:
                connection = self._secure(connection, self._tls)
            self.finish_request(connection, address)
        except OSError:
            pass  # clients vanish, and faults break connections: there is nobody to tell
        except Exception:  # noqa: BLE001 - a route of the test's own may raise anything
            self.handle_error(connection, address)
        finally:
            with self._lock:
                connection = self._open[threading.current_thread()]
                _hang_up(connection)
                connection.close()

    def _secure(self, connection: socket.socket, tls: ssl.SSLContext) -> ssl.SSLSocket:
        with self._lock:
            secured = tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
            self._open[threading.current_thread()] = secured
        secured.do_handshake()
        return secured

    def stop(self) -> None:
        """Refuse new connections, close the open ones and wait for their threads."""
        self.closing.set()
        with contextlib.suppress(OSError):
            # The one portable way to wake a thread out of accept().
            socket.create_connection((HOST, self.server_port), 1).close()
        self._acceptor.join()
        _hang_up(self.socket)
        self.socket.close()
        with self._lock:
            left = dict(self._open)
            for connection in left.values():
                _hang_up(connection)
        for thread in left:
            if thread is not threading.current_thread():
                thread.join(5)


def _hang_up(connection: socket.socket) -> None:
    """Close for both ends, in so many words: a forked child may hold a copy of the descriptor."""
    with contextlib.suppress(OSError):
        if not _will_reset(connection):
            # Not the method of SSLSocket, which drops what another thread is reading from.
            socket.socket.shutdown(connection, socket.SHUT_RDWR)


def _will_reset(connection: socket.socket) -> bool:
    linger = connection.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)
    return linger[:4] == b"\x01\x00\x00\x00"


class LoopbackServer:
    """Serve on 127.0.0.1, on a free port unless one is given, with TLS where a context is given."""

    def __init__(self, *, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        """Prepare a server; it listens from `start()` on."""
        self._asked_port = port
        self._tls = tls
        self._lock = threading.Lock()
        self._listener: Listener | None = None
        self._placeholder: socket.socket | None = None
        self._port: int | None = None
        self._pid = os.getpid()
        self.connections: int = 0
        """How many TCP connections were accepted."""
        self.watch: Callable[[SeenRequest, Outcome], None] | None = None
        """Called with every request and what it is answered with, just before that is sent."""

    @property
    def port(self) -> int:
        """Give the port; raise RuntimeError before the first start."""
        if self._port is None:
            raise RuntimeError("the server was not started: use `with server:` or server.start()")
        return self._port

    @property
    def url(self) -> str:
        """Give the origin, without a slash at the end."""
        return f"{'http' if self._tls is None else 'https'}://{HOST}:{self.port}"

    def start(self: Server) -> Server:
        """Listen; harmless when it does already."""
        if self._listener is None:
            self._drop_placeholder()
            self._listen(self._asked_port)
        return self

    def close(self) -> None:
        """Close the port and every connection and end every thread; harmless when closed."""
        # A forked child has the object but none of its threads, and no say in the sockets.
        if os.getpid() == self._pid:
            self._stop_listening()
            self._drop_placeholder()

    def down(self) -> None:
        """Cut every connection and refuse new ones, keeping the port for `up()`."""
        port = self.port
        self._stop_listening()
        if self._placeholder is None:
            # Bound but not listening: connections are refused, and nobody else gets the port.
            self._placeholder = socket.socket()
            self._placeholder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._placeholder.bind((HOST, port))

    def up(self) -> None:
        """Serve again, on the same port as before; harmless when it does already."""
        port = self.port
        self._drop_placeholder()
        if self._listener is None:
            self._listen(port)

    def respond(self, request: SeenRequest, closing: Callable[[], bool]) -> Outcome:
        """Answer a request; `closing()` is true once the server is being closed."""
        raise NotImplementedError

    def wake(self) -> None:
        """Have requests that wait for something look whether the server is being closed."""

    def _respond(self, request: SeenRequest, closing: Callable[[], bool]) -> Outcome:
        outcome = self.respond(request, closing)
        if self.watch is not None:
            self.watch(request, outcome)
        return outcome

    def _listen(self, port: int) -> None:
        self._listener = Listener(port, self._respond, self._tls, self._count_connection)
        self._port = self._listener.server_port

    def _stop_listening(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.closing.set()
            self.wake()
            listener.stop()

    def _drop_placeholder(self) -> None:
        placeholder, self._placeholder = self._placeholder, None
        if placeholder is not None:
            placeholder.close()

    def _count_connection(self) -> None:
        with self._lock:
            self.connections += 1

    def __enter__(self: Server) -> Server:
        """Start."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()
