"""A server on loopback that starts at once, closes completely, and can be down for a while."""

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
    """A listening port, from construction to `stop()`, with one thread for each connection.

    The loop of the standard library is not used. It polls, and it does not keep the connections,
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
        """Bind the port and listen; raise OSError if the port is in use."""
        super().__init__((HOST, port), Wire)
        self.respond = respond
        self.closing: threading.Event = threading.Event()
        self._tls = tls
        self._accepted = accepted
        self._lock = threading.Lock()
        # Guarded by _lock: the connection of each thread. An entry stays until its thread has
        # really ended, so that stop() can wait for all of them.
        self._open: dict[threading.Thread, socket.socket] = {}
        self._acceptor = threading.Thread(target=self._accept, name="loopback-accept", daemon=True)
        self._acceptor.start()

    def server_bind(self) -> None:
        """Bind without a DNS query for the host name, which is slow on some machines."""
        socketserver.TCPServer.server_bind(self)
        self.server_name: str = HOST
        self.server_port: int = self.server_address[1]

    def _accept(self) -> None:
        while not self.closing.is_set():
            try:
                connection, address = self.socket.accept()
            except OSError:  # no descriptors left, or the client has closed the connection
                time.sleep(0.01)
                continue
            if self.closing.is_set():
                connection.close()
            else:
                self.process_request(connection, address)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread for a new connection."""
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
            pass  # normal: clients close connections, and faults break them
        except Exception:  # noqa: BLE001 - a route of a test may raise any exception
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
            # A connection is the only portable way to wake a thread that waits in accept().
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
    """Shut the connection down explicitly, because a forked child may have the descriptor too."""
    with contextlib.suppress(OSError):
        if not _will_reset(connection):
            # Not SSLSocket.shutdown, which discards the TLS state that another thread is using.
            socket.socket.shutdown(connection, socket.SHUT_RDWR)


def _will_reset(connection: socket.socket) -> bool:
    linger = connection.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)
    return linger[:4] == b"\x01\x00\x00\x00"


class LoopbackServer:
    """A server on 127.0.0.1, on a free port unless one is given; with a context it uses TLS."""

    def __init__(self, *, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        """Create a server; it does not listen before `start()`."""
        self._requested_port = port
        self._tls = tls
        self._lock = threading.Lock()
        self._listener: Listener | None = None
        self._placeholder: socket.socket | None = None
        self._port: int | None = None
        self._pid = os.getpid()
        self.connections: int = 0
        """How many TCP connections were accepted."""
        self.watch: Callable[[SeenRequest, Outcome], None] | None = None
        """Called with every request and its answer, just before the answer is sent."""

    @property
    def port(self) -> int:
        """Return the port; raise RuntimeError before the first start."""
        if self._port is None:
            raise RuntimeError("The server was not started: use `with server:` or server.start().")
        return self._port

    @property
    def url(self) -> str:
        """Return the origin, without a slash at the end."""
        return f"{'http' if self._tls is None else 'https'}://{HOST}:{self.port}"

    def start(self: Server) -> Server:
        """Listen. If the server is already listening, do nothing."""
        if self._listener is None:
            self._drop_placeholder()
            self._listen(self._requested_port)
        return self

    def close(self) -> None:
        """Close the port and every connection, and end every thread. It can be called twice."""
        # A forked child has none of the threads, and the sockets belong to its parent.
        if os.getpid() == self._pid:
            self._stop_listening()
            self._drop_placeholder()

    def down(self) -> None:
        """Close every connection and refuse new ones, but keep the port for `up()`."""
        port = self.port
        self._stop_listening()
        if self._placeholder is None:
            # Bound but not listening: connections are refused, and no other program gets the port.
            self._placeholder = socket.socket()
            self._placeholder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._placeholder.bind((HOST, port))

    def up(self) -> None:
        """Listen again on the same port. If the server is already listening, do nothing."""
        port = self.port
        self._drop_placeholder()
        if self._listener is None:
            self._listen(port)

    def respond(self, request: SeenRequest, closing: Callable[[], bool]) -> Outcome:
        """Return the answer to a request; `closing()` is true when the server is being closed."""
        raise NotImplementedError

    def wake(self) -> None:
        """Wake the requests that wait, so that they notice that the server is being closed."""

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
        """Start the server."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the server."""
        self.close()
