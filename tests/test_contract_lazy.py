"""Nothing is sent before the first request: no network to make, configure, copy or prepare."""

from __future__ import annotations

import copy
import pickle
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from requests import Request

from oauthcc import (
    ClientCredentialsAuth,
    ClientCredentialsSession,
    ClientSecretPost,
    DPoP,
    TokenRequestDenied,
)
from oauthcc.stores.file import FileStore
from oauthcc.stores.memory import MemoryStore


class Listener:
    """A server that counts its connections, and refuses every request."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._accept)
        self._accepted = 0
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def _accept(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            with connection:
                if connection.recv(64) == b"the end":
                    return
                self._accepted += 1
                connection.sendall(b"HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n")
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass

    def count(self) -> int:
        """Stop listening; return the number of all connections until now."""
        with socket.create_connection(self._socket.getsockname(), 10) as last:
            last.sendall(b"the end")
            self._thread.join(10)
        self._socket.close()
        return self._accepted


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    if listener._thread.is_alive():
        listener.count()


def _session(listener: Listener, **options: Any) -> ClientCredentialsSession:
    return ClientCredentialsSession(f"{listener.url}/token", "id", "secret", "read", **options)


def _prepare(session: ClientCredentialsSession, listener: Listener) -> None:
    for method in ("GET", "POST"):
        session.prepare_request(Request(method, f"{listener.url}/x", json=[1])).copy()


def _make(listener: Listener) -> None:
    _session(listener).close()


def _make_with_every_option(listener: Listener) -> None:
    _session(
        listener,
        api_url=[f"{listener.url}/a", f"{listener.url}/b"],
        audience="a",
        resource=f"{listener.url}/r",
        token_params={"p": "1"},
        client_auth=ClientSecretPost,
        store=MemoryStore(),
        renew_at=(0.5, 0.5),
        refused_status=(401, 403),
        on_event=print,
    ).close()


def _make_from_an_issuer(listener: Listener) -> None:
    with ClientCredentialsSession.from_issuer(listener.url, "id", "secret") as session:
        _prepare(session, listener)
        repr(session.tokens)


def _make_with_a_key(listener: Listener) -> None:
    with _session(listener, scheme=DPoP()) as session:
        _prepare(session, listener)


def _make_from_another(listener: Listener) -> None:
    with _session(listener) as session, ClientCredentialsSession.using(session.tokens) as other:
        other.add_api(f"{listener.url}/deep", scope="write")
        _prepare(other, listener)


def _configure(listener: Listener) -> None:
    with _session(listener) as session:
        session.tokens.endpoint.verify = False
        session.verify, session.proxies = False, {"https": listener.url}
        session.add_api(f"{listener.url}/deep", scope="write")
        _prepare(session, listener)


def _copy(listener: Listener) -> None:
    with _session(listener) as session:
        _prepare(session, listener)
        made = (copy.copy(session), copy.deepcopy(session), pickle.loads(pickle.dumps(session)))
        for again in made:
            with again:
                _prepare(again, listener)


def _make_auth(listener: Listener) -> None:
    ClientCredentialsAuth(f"{listener.url}/token", "id", "secret")


@pytest.mark.parametrize(
    "action",
    [
        _make,
        _make_with_every_option,
        _make_from_an_issuer,
        _make_with_a_key,
        _make_from_another,
        _configure,
        _copy,
        _make_auth,
    ],
    ids=lambda action: action.__name__.strip("_"),
)
def test_no_connection_is_made(action: Callable[[Listener], None], listener: Listener) -> None:
    action(listener)
    assert listener.count() == 0


def test_no_file_is_made_in_a_store(listener: Listener, tmp_path: Path) -> None:
    folder = tmp_path / "tokens"
    with _session(listener, store=FileStore(folder)) as session:
        _prepare(session, listener)
    assert not folder.exists() or not list(folder.iterdir())
    assert listener.count() == 0


def test_names_are_not_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*args: Any, **_: Any) -> Any:
        raise AssertionError(f"{args[0]} was looked up")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with ClientCredentialsSession("https://as.example/token", "id", "secret") as session:
        session.prepare_request(Request("GET", "https://api.example/x"))
        pickle.dumps(session)


def test_the_listener_counts_a_connection(listener: Listener) -> None:
    """Show that the tests above can fail."""
    with _session(listener) as session, pytest.raises(TokenRequestDenied):
        session.get(f"{listener.url}/x")
    assert listener.count() == 1
