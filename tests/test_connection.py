"""Tests of the connections of token requests: one for each, closed at its deadline."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
import trustme
import urllib3
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.util import Retry

from oauthcc import (
    ClientCredentialsSession,
    TokenEndpointTimeout,
    fetch_token,
)
from oauthcc.testing import Answer, AuthorizationServer, Fault, ProtectedAPI, faults
from oauthcc.token_request import connection

from .clock import until
from .servers.connect_proxy import ConnectProxy
from .sessions import session_for


class TLS:
    """A CA with a certificate for this machine, as a server and as a client use them."""

    def __init__(self, bundle: str) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(bundle)
        self.bundle = bundle
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1", "localhost").configure_cert(self.server)
        self.client = ssl.create_default_context()
        authority.configure_trust(self.client)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> TLS:
    return TLS(str(tmp_path_factory.mktemp("ca") / "ca.pem"))


@pytest.fixture
def tls_auth(tls: TLS) -> Iterator[AuthorizationServer]:
    with AuthorizationServer(tls=tls.server) as server:
        yield server


def deadline_threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "oauthcc-deadline"]


# -- one connection for each token request --------------------------------------------------------


class Balancer:
    """A balancer that forgets its idle connections without a word, and takes new ones."""

    def __init__(self, port: int) -> None:
        self._server, self._to = socket.create_server(("127.0.0.1", 0)), port
        self._open: list[socket.socket] = []
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Balancer:
        return self

    def __exit__(self, *exception: object) -> None:
        for each in (self._server, *self._open):
            each.close()

    def forget_connections(self) -> None:
        self.is_forgotten = {id(each) for each in self._open}

    is_forgotten: set[int] = set()  # noqa: RUF012 - replaced as a whole

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, far = (
                    self._server.accept()[0],
                    socket.create_connection(("127.0.0.1", self._to)),
                )
                self._open += [near, far]
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if id(source) not in self.is_forgotten:
                    sink.sendall(data)


def test_a_connection_that_a_balancer_forgot_is_not_used_again(auth: AuthorizationServer) -> None:
    with (
        Balancer(auth.port) as balancer,
        session_for(auth, token_url=f"http://127.0.0.1:{balancer.port}/token") as session,
    ):
        session.tokens.get()
        balancer.forget_connections()
        assert session.tokens.renew(timeout=10).access_token == auth.issued[1]


def test_no_token_request_shares_a_connection_with_another_or_with_the_api(
    auth: AuthorizationServer,
) -> None:
    with session_for(auth) as session:
        for _ in range(3):
            assert session.get(f"{auth.url}/orders").status_code == 404
            session.tokens.renew()
        # One for the API, and one for each of the four token requests.
        assert (auth.connections, len(auth.token_requests)) == (5, 4)
        assert all(seen.headers["Connection"] == "close" for seen in auth.token_requests)
        assert session.get(f"{auth.url}/orders").status_code == 404
        assert auth.connections == 5


def test_a_server_that_keeps_its_connections_open_gets_a_new_one_too(
    auth: AuthorizationServer, tls_auth: AuthorizationServer, tls: TLS
) -> None:
    kept: list[Any] = []

    def play(line: Any) -> None:
        body = b'{"access_token": "abc", "token_type": "Bearer"}'
        line.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        line.wait_until_closed()
        kept.append("closed by the client")

    for server in (auth, tls_auth):
        server.answer_next(Fault("keep", play), None)
        with session_for(server, trust_env=False) as session:
            session.verify = tls.bundle
            session.tokens.get()
            session.tokens.renew()
        assert server.connections == 2
    until(lambda: len(kept) == 4)


# -- the deadline ---------------------------------------------------------------------------------

BEGINNINGS = {
    "head": b"",
    "status": b"HTTP/1.1 200 ",
    "fields": b"HTTP/1.1 200 OK\r\nX-Slow: ",
    "body": b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{",
    "body without a length": b"HTTP/1.1 200 OK\r\n\r\n{}",
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
    "interim answers": b"HTTP/1.1 100 Continue\r\nX-Slow: ",
}


class Timers:
    """What the tests have in the place of `threading`: timers that end when they are told to."""

    def __init__(self) -> None:
        self.made: list[Callable[[], None]] = []

    def Timer(self, seconds: float, end: Callable[[], None]) -> Any:  # noqa: N802 - its name
        self.made.append(end)
        return SimpleNamespace(start=lambda: None, cancel=lambda: None)

    def end(self, which: int = -1) -> None:
        """End the time of an exchange, by default the newest."""
        self.made[which]()


@pytest.fixture
def timers(monkeypatch: pytest.MonkeyPatch) -> Timers:
    made = Timers()
    monkeypatch.setattr(connection, "threading", made)
    return made


def dripping(beginning: bytes, closed: list[str], end: Callable[[], object] = tuple) -> Fault:
    """Return a fault that never ends an answer, and never pauses for long."""

    def play(line: Any) -> None:
        try:
            for piece in (beginning, b"1", b"1"):
                line.send(piece)
            end()
            while line.pause(0.01):
                line.send(b"1")
        except OSError:
            closed.append("closed by the client")

    return Fault("drip", play)


@pytest.mark.parametrize("kind", ["http", "https"])
@pytest.mark.parametrize("part", BEGINNINGS)
def test_the_socket_is_closed_at_the_deadline_whatever_the_server_drips(  # noqa: PLR0917
    auth: AuthorizationServer,
    tls_auth: AuthorizationServer,
    tls: TLS,
    timers: Timers,
    part: str,
    kind: str,
) -> None:
    server, closed = (auth if kind == "http" else tls_auth), list[str]()
    server.answer_next(dripping(BEGINNINGS[part], closed, timers.end))
    with session_for(server, trust_env=False) as session:
        session.verify = tls.bundle
        with pytest.raises(TokenEndpointTimeout, match="has sent no complete answer in time"):
            session.tokens.endpoint.send_bounded(
                "POST", server.token_url, headers={}, deadline=time.monotonic() + 60
            )
        until(lambda: len(closed) == 1)
        assert session.tokens.get().access_token == server.issued[0]


def test_a_proxy_that_drips_its_answer_is_given_up_at_the_deadline(timers: Timers) -> None:
    closed: list[str] = []

    def drip(server: socket.socket) -> None:
        client = server.accept()[0]
        with client, contextlib.suppress(OSError):
            client.recv(65536)
            client.sendall(b"HTTP/1.1 200 ")
            timers.end()
            while not threading.Event().wait(0.01):
                client.sendall(b"1")
        closed.append("closed by the client")

    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        ClientCredentialsSession("https://as.example/token", "my-id", "my-secret") as session,
    ):
        threading.Thread(target=drip, args=(server,), daemon=True).start()
        session.proxies = {"https": f"http://127.0.0.1:{server.getsockname()[1]}"}
        with pytest.raises(TokenEndpointTimeout, match="has sent no complete answer in time"):
            session.tokens.endpoint.send_bounded(
                "POST", "https://as.example", headers={}, deadline=time.monotonic() + 60
            )
        until(lambda: len(closed) == 1)


def test_the_retries_of_an_adapter_send_nothing_after_the_deadline(
    auth: AuthorizationServer, timers: Timers
) -> None:
    closed: list[str] = []
    retries = Retry(3, backoff_factor=0, allowed_methods=None)
    auth.answer_next(dripping(b"", closed, timers.end), None)
    with session_for(auth) as session:
        session.mount("http://", HTTPAdapter(max_retries=retries))
        with pytest.raises(TokenEndpointTimeout, match="has sent no complete answer in time"):
            session.tokens.endpoint.send_bounded(
                "POST", auth.token_url, headers={}, deadline=time.monotonic() + 60
            )
    until(lambda: len(closed) == 1)
    assert auth.connections == 1


@pytest.mark.parametrize("seconds", [1e9, 1e300, float("inf")])
def test_a_token_request_may_have_any_time(auth: AuthorizationServer, seconds: float) -> None:
    # An error in the thread of the timer would fail this test.
    with session_for(auth) as session:
        session.tokens.endpoint.send_bounded(
            "GET", auth.token_url, headers={}, deadline=time.monotonic() + seconds
        )
    until(lambda: not deadline_threads())


def test_the_time_of_a_token_request_is_measured(auth: AuthorizationServer) -> None:
    closed: list[str] = []
    auth.answer_next(dripping(b"", closed))
    with session_for(auth) as session, pytest.raises(TokenEndpointTimeout):
        session.tokens.endpoint.send_bounded(
            "POST", auth.token_url, headers={}, deadline=time.monotonic() + 0.5
        )
    until(lambda: len(closed) == 1)


def test_no_thread_is_left_behind_by_a_token_request(auth: AuthorizationServer) -> None:
    auth.answer_next(faults.reset())
    with session_for(auth) as session:
        session.tokens.get()
    until(lambda: not deadline_threads())


def test_a_token_is_fetched_if_no_thread_can_be_had_for_the_deadline(
    auth: AuthorizationServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(timer: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    timer = type("Timer", (threading.Timer,), {"start": start})
    monkeypatch.setattr(connection, "threading", SimpleNamespace(Timer=timer))
    with session_for(auth) as session:
        assert session.tokens.get().access_token == auth.issued[0]
        # The timeouts of the socket and the check between two pieces of the body are left.
        auth.answer_next(faults.drip(b" " * 1000, 0.001))
        with pytest.raises(TokenEndpointTimeout):
            session.tokens.endpoint.send_bounded(
                "POST", auth.token_url, headers={}, deadline=time.monotonic() + 0.1
            )


def test_a_socket_of_a_foreign_type_does_not_prevent_the_shutdown_of_others() -> None:
    class Closed:
        """A socket as gevent leaves it when it is closed."""

        def __getattr__(self, name: str) -> Any:
            raise OSError("Bad file descriptor")

    ours, theirs = socket.socketpair()
    with ours, theirs:
        exchange, closed = connection.Exchange(0.01), socket.socket()
        closed.close()
        for each in (None, Closed(), MagicMock(), closed, SimpleNamespace(_sock=ours)):
            exchange.add_socket(each)
        with exchange:
            assert theirs.recv(1) == b""
        assert exchange.is_over


def test_a_connection_that_is_made_at_the_last_moment_is_shut_down_at_once() -> None:
    ours, theirs = socket.socketpair()
    first, other = socket.socketpair()
    with ours, theirs, first, other, connection.Exchange(0.01) as exchange:
        exchange.add_socket(first)
        assert other.recv(1) == b""
        exchange.add_socket(ours)
        assert theirs.recv(1) == b""


# -- adapters of the user -------------------------------------------------------------------------


class WithContext(HTTPAdapter):
    """An adapter with an attribute that its `init_poolmanager` needs."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.ssl_context = context
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, ssl_context=self.ssl_context)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        return super().proxy_manager_for(*args, **kwargs, ssl_context=self.ssl_context)


class OwnManager(HTTPAdapter):
    """An adapter with a pool manager of another class."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        super().__init__()

    def init_poolmanager(self, connections: int, maxsize: int, *_: Any, **__: Any) -> None:
        class Manager(urllib3.PoolManager):
            pass

        self.poolmanager = Manager(connections, maxsize=maxsize, ssl_context=self.context)


def changed_later(context: ssl.SSLContext) -> HTTPAdapter:
    adapter = HTTPAdapter()
    adapter.poolmanager.connection_pool_kw["ssl_context"] = context
    return adapter


@pytest.mark.parametrize("make", [WithContext, OwnManager, changed_later])
@pytest.mark.parametrize("on", ["session", "endpoint"])
def test_the_tls_settings_of_an_adapter_are_used(
    tls_auth: AuthorizationServer, tls: TLS, make: Callable[[Any], HTTPAdapter], on: str
) -> None:
    adapter = make(tls.client)
    with session_for(tls_auth, trust_env=False) as session:
        target: Any = session if on == "session" else session.tokens.endpoint
        target.mount("https://", adapter)
        assert session.tokens.get().access_token == tls_auth.issued[0]
        assert tls_auth.connections == 1


def test_the_tls_settings_of_an_adapter_are_used_behind_a_proxy(
    tls_auth: AuthorizationServer, tls: TLS
) -> None:
    with ConnectProxy() as proxy, session_for(tls_auth, trust_env=False) as session:
        session.mount("https://", WithContext(tls.client))
        session.tokens.endpoint.proxies = {"https": proxy.url}
        session.tokens.get()
        session.proxies = {"https": proxy.url}
        # The session has a proxy manager of its own then, and a copy of it is used.
        assert session.get(f"{tls_auth.url}/orders").status_code == 404
        session.tokens.renew()
        assert [head.split(" ")[0] for head in proxy.heads] == ["CONNECT"] * 3


def test_what_an_adapter_notes_while_it_sends_is_kept(auth: AuthorizationServer) -> None:
    class Noting(HTTPAdapter):
        sent = 0

        def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
            self.sent += 1
            self.last = request.url
            return super().send(request, *args, **kwargs)

    adapter = Noting()
    pools = adapter.poolmanager, adapter.proxy_manager
    with session_for(auth) as session:
        session.mount("http://", adapter)
        session.tokens.get()
        session.tokens.renew()
        assert (adapter.sent, adapter.last) == (2, auth.token_url)
        assert (adapter.poolmanager, adapter.proxy_manager) == pools
        assert not adapter.poolmanager.pools


def test_another_thread_may_use_a_new_proxy_while_an_adapter_is_copied() -> None:
    class Busy(urllib3.ProxyManager):
        @property
        def pools(self) -> Any:
            adapter.proxy_manager["http://other.example"] = self
            return self._pools

        @pools.setter
        def pools(self, pools: Any) -> None:
            self._pools = pools

    adapter = HTTPAdapter()
    adapter.proxy_manager["http://proxy.example"] = Busy("http://proxy.example")
    with connection.Exchange(1.0) as exchange:
        assert list(exchange.copy(adapter).proxy_manager) == ["http://proxy.example"]


def test_an_adapter_that_makes_its_pools_when_it_first_sends_can_be_used(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    class Lazy(HTTPAdapter):
        def __init__(self) -> None:
            self.max_retries, self.is_ready = Retry(0), False
            self._pool_connections = self._pool_maxsize = 10

        def send(self, *args: Any, **kwargs: Any) -> Response:
            if not self.is_ready:
                super().__init__()
                self.is_ready = True
            return super().send(*args, **kwargs)

    with session_for(auth) as session:
        session.mount("http://", Lazy())
        assert session.get(f"{api.url}/x").status_code == 200


def answer(request: PreparedRequest, **_: Any) -> Response:
    response = Response()
    response.status_code, response.url, response.request = 200, str(request.url), request
    response._content = b'{"access_token": "abc", "token_type": "Bearer"}'
    return response


class WithoutInit(HTTPAdapter):
    """An adapter that never called the `__init__` of requests."""

    def __init__(self) -> None:
        pass

    def close(self) -> None:
        pass

    def send(self, request: PreparedRequest, **kwargs: Any) -> Response:  # type: ignore[override]
        return answer(request)


class ForeignManager(HTTPAdapter):
    """An adapter with something else in the place of a pool manager."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        self.poolmanager = MagicMock(pools={})

    def send(self, request: PreparedRequest, **kwargs: Any) -> Response:  # type: ignore[override]
        return answer(request)


def mocked() -> Any:
    return MagicMock(spec=HTTPAdapter, send=answer)


@pytest.mark.parametrize("make", [WithoutInit, ForeignManager, mocked])
def test_an_adapter_that_is_none_of_requests_answers_a_token_request(
    make: Callable[[], Any],
) -> None:
    with ClientCredentialsSession("https://as.example/token", "my-id", "my-secret") as session:
        session.tokens.endpoint.mount("https://", adapter := make())
        assert session.tokens.get().access_token == "abc"
    if isinstance(adapter, ForeignManager):
        # Once, by the session.
        adapter.poolmanager.clear.assert_called_once()  # type: ignore[attr-defined]


def test_a_recorder_that_replaces_the_class_of_connections_is_used_while_it_is_there(
    auth: AuthorizationServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected: list[str] = []

    class Recording(HTTPConnection):
        def connect(self) -> None:
            connected.append(self.host)
            super().connect()

    with session_for(auth) as session:
        session.tokens.get()
        with monkeypatch.context() as patch:
            patch.setattr(urllib3.HTTPConnectionPool, "ConnectionCls", Recording)
            session.tokens.renew()
        session.tokens.renew()
    assert connected == ["127.0.0.1"]
    assert auth.connections == 3


def test_a_function_in_the_place_of_the_class_of_connections_is_called(
    auth: AuthorizationServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[HTTPConnection] = []

    def make(*args: Any, **kwargs: Any) -> HTTPConnection:
        made.append(HTTPConnection(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr(urllib3.HTTPConnectionPool, "ConnectionCls", staticmethod(make))
    with session_for(auth) as session:
        session.tokens.get()
    assert len(made) == 1


def test_an_adapter_may_send_in_a_thread_of_its_own(
    auth: AuthorizationServer, timers: Timers
) -> None:
    class Threaded(HTTPAdapter):
        def send(self, *args: Any, **kwargs: Any) -> Response:
            with ThreadPoolExecutor(1) as threads:
                return threads.submit(super().send, *args, **kwargs).result()

    closed: list[str] = []
    with session_for(auth) as session:
        session.mount("http://", Threaded())
        assert session.tokens.get().access_token == auth.issued[0]
        auth.answer_next(dripping(b"", closed, timers.end))
        with pytest.raises(TokenEndpointTimeout, match="no complete answer"):
            session.tokens.endpoint.send_bounded(
                "POST", auth.token_url, headers={}, deadline=time.monotonic() + 60
            )
        until(lambda: len(closed) == 1)


def test_an_adapter_may_send_with_another_session_of_ours(
    auth: AuthorizationServer, timers: Timers
) -> None:
    client = auth.token_url, auth.client_id, auth.client_secret

    class Nested(HTTPAdapter):
        def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
            fetch_token(*client)
            return super().send(request, *args, **kwargs)

    closed: list[str] = []
    with session_for(auth) as session:
        session.tokens.endpoint.mount("http://", Nested())
        session.tokens.get()
        assert len(auth.token_requests) == 2
        auth.answer_next(faults.json_answer({"access_token": "inner", "token_type": "Bearer"}))
        auth.answer_next(dripping(b"", closed, lambda: timers.end(-2)))
        with pytest.raises(TokenEndpointTimeout):
            session.tokens.endpoint.send_bounded(
                "POST", auth.token_url, headers={}, deadline=time.monotonic() + 60
            )
        until(lambda: len(closed) == 1)


def test_an_answer_of_the_right_size_is_read_before_the_connection_is_closed(
    auth: AuthorizationServer,
) -> None:
    padding = b" " * 200_000
    body = b'{"access_token": "abc", "token_type": "Bearer"}' + padding
    auth.answer_next(Answer(200, {"Content-Type": "application/json"}, body))
    with session_for(auth) as session:
        assert session.tokens.get().access_token == "abc"
