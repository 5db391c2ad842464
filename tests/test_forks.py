"""Forked children, which have connections and locks of their own."""

from __future__ import annotations

import gc
import os
import ssl
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import trustme
from requests.adapters import HTTPAdapter

from oauthcc import ClientCredentialsSession, TokenRequestDenied, forks
from oauthcc.stores import FileStore, MemoryStore, RedisStore
from oauthcc.testing import AuthorizationServer, ProtectedAPI
from oauthcc.token_request import response
from oauthcc.tokens.renewal import Phase
from oauthcc.tokens.source import TokenSource

from .clock import flights_done, shift_clocks
from .forked import (
    HANGS,
    PATIENCE,
    Child,
    ExitingLock,
    fork_among_threads,
    held_by_another_thread,
    in_child,
    needs_fork,
)
from .inside import fetcher_of, held_by, locks_of, state_of
from .scripts import ROOT
from .servers.redis_server import RedisServer

pytestmark = [needs_fork, fork_among_threads]


@pytest.fixture
def session(auth: AuthorizationServer) -> Iterator[ClientCredentialsSession]:
    with _session(auth) as made:
        yield made


def _session(auth: AuthorizationServer, **options: Any) -> ClientCredentialsSession:
    return ClientCredentialsSession(auth.token_url, auth.client_id, auth.client_secret, **options)


def _get(session: requests.Session, url: str) -> Callable[[], int]:
    """Return a function for a child: send one request, close the session, return the status."""

    def get() -> int:
        with session:
            return session.get(url).status_code

    return get


def _pool(session: requests.Session, url: str) -> Any:
    """Return the connection pool that a session has for a URL."""
    adapter: Any = session.get_adapter(url)
    pools: Any = adapter.poolmanager.pools._container.values()
    return next(pool for pool in pools if pool.port == urlsplit(url).port)


# -- sockets -----------------------------------------------------------------------------------


def test_parent_and_child_share_no_connection_to_the_api_and_both_have_the_token(
    session: ClientCredentialsSession, auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    url = f"{api.url}/anything"
    session.get(url)

    def child() -> list[int]:
        with session:
            return [session.get(url).status_code for _ in range(2)]

    assert in_child(child) == [200, 200]
    assert api.connections == 2  # one of the parent, one of the child
    assert session.get(url).status_code == 200
    assert api.connections == 2  # the parent can still use its own
    assert len(auth.token_requests) == 1


@pytest.mark.parametrize("kind", ["usual", "own adapter", "without its session"])
def test_parent_and_child_share_no_connection_to_the_token_endpoint(
    auth: AuthorizationServer, kind: str
) -> None:
    session = _session(auth)
    tokens = session.tokens
    if kind == "own adapter":
        tokens.endpoint.mount("http://", HTTPAdapter(pool_maxsize=3))
    elif kind == "without its session":
        del session
        gc.collect()
        assert fetcher_of(tokens).owner.session() is None
    tokens.get()

    def child() -> None:
        tokens.renew()
        tokens.renew()
        tokens.close()

    in_child(child)
    tokens.renew()
    assert auth.connections == len(auth.token_requests) == 4
    tokens.close()
    if kind != "without its session":
        session.close()


def test_a_child_closes_its_copies_of_idle_connections(
    session: ClientCredentialsSession, api: ProtectedAPI
) -> None:
    # Otherwise the server would not notice when the parent closes them.
    session.get(f"{api.url}/anything")
    sockets = [place.sock.fileno() for place in _pool(session, api.url).pool.queue if place]
    assert sockets

    def child() -> tuple[list[bool], list[str]]:
        return [_is_open(number) for number in sockets], [str(w.message) for w in warned]

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", ResourceWarning)
        assert in_child(child) == ([False], [])
    assert [_is_open(number) for number in sockets] == [True]


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def test_requests_in_progress_in_the_parent_are_not_disturbed(
    session: ClientCredentialsSession, api: ProtectedAPI
) -> None:
    url = f"{api.url}/anything"
    session.get(url)
    answers: list[int] = []
    callers = [
        threading.Thread(target=lambda: answers.append(session.get(url).status_code))
        for _ in range(3)
    ]
    with api.hold() as gate:
        for caller in callers:
            caller.start()
        gate.wait_for(3)
        child = Child(_get(session, url))
        gate.wait_for(4)
    assert child.result() == 200
    for caller in callers:
        caller.join()
    assert answers == [200, 200, 200]


# -- the token, and fetches --------------------------------------------------------------------


def test_a_child_renews_a_revoked_token_for_itself(
    session: ClientCredentialsSession, auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    url = f"{api.url}/anything"
    session.get(url)
    auth.revoke_all()
    assert in_child(_get(session, url)) == 200
    assert session.get(url).status_code == 200
    assert len(auth.token_requests) == 3


def test_each_child_draws_the_moment_of_its_early_renewal(
    session: ClientCredentialsSession,
) -> None:
    token = session.tokens.get()
    of_parent = held_by(session.tokens).plan

    def plan() -> Any:
        return held_by(session.tokens).plan

    plans = [in_child(plan) for _ in range(4)]
    points = [one.aging.wall - token.issued_at for one in (*plans, of_parent)]
    assert len(set(points)) == 5
    assert all(0.59 * 3600 <= point <= 0.81 * 3600 for point in points)
    assert all(abs(one.expiry.wall - of_parent.expiry.wall) < 1 for one in plans)


def test_a_child_renews_a_token_early_that_was_aging_at_the_fork(
    session: ClientCredentialsSession,
) -> None:
    session.tokens.get()
    shift_clocks(3000)

    def phase() -> Any:
        return state_of(session.tokens).look()[1]

    assert in_child(phase) is Phase.AGING


def test_a_child_that_is_forked_during_a_fetch_starts_its_own(
    session: ClientCredentialsSession, auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    url = f"{api.url}/anything"
    answers: list[int] = []
    caller = threading.Thread(target=lambda: answers.append(session.get(url).status_code))
    with auth.hold() as gate:
        caller.start()
        gate.wait_for(1)
        child = Child(_get(session, url))
        gate.wait_for(2)  # the child does not wait for the fetch of its parent
    assert child.result() == 200
    caller.join()
    assert answers == [200]
    assert len(auth.token_requests) == 2


def test_a_child_may_be_forked_inside_a_fetch(auth: AuthorizationServer, api: ProtectedAPI) -> None:
    forked: list[bool] = []
    children: list[Child] = []
    inside: list[ClientCredentialsSession] = []

    def secret() -> str:
        if not forked:
            forked.append(True)
            children.append(Child(_get(inside[0], f"{api.url}/anything")))
        return auth.client_secret

    with ClientCredentialsSession(auth.token_url, auth.client_id, secret) as session:
        inside.append(session)
        assert session.get(f"{api.url}/anything").status_code == 200
    assert children[0].result() == 200


def test_a_child_may_be_forked_by_a_thread(
    session: ClientCredentialsSession, api: ProtectedAPI
) -> None:
    url = f"{api.url}/anything"
    session.get(url)
    results: list[int] = []
    thread = threading.Thread(target=lambda: results.append(in_child(_get(session, url))))
    thread.start()
    thread.join()
    assert results == [200]


def test_a_grandchild_has_its_own_connection_and_the_token(
    session: ClientCredentialsSession, auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    url = f"{api.url}/anything"
    session.get(url)

    def child() -> list[int]:
        with session:
            first = session.get(url).status_code
            return [first, in_child(_get(session, url)), session.get(url).status_code]

    assert in_child(child) == [200, 200, 200]
    assert api.connections == 3
    assert len(auth.token_requests) == 1


def test_a_session_with_eq_and_without_hash_is_reset_in_a_child(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    class Comparable(ClientCredentialsSession):
        def __eq__(self, other: object) -> bool:
            return isinstance(other, Comparable)

        __hash__ = None  # type: ignore[assignment]

    url = f"{api.url}/anything"
    with (
        Comparable(auth.token_url, auth.client_id, auth.client_secret) as one,
        Comparable(auth.token_url, auth.client_id, auth.client_secret) as two,
    ):
        assert (one.get(url).status_code, two.get(url).status_code) == (200, 200)
        assert in_child(lambda: (_get(one, url)(), _get(two, url)())) == (200, 200)
        assert api.connections == 4
        assert (one.get(url).status_code, two.get(url).status_code) == (200, 200)
        assert api.connections == 4


def test_the_registry_keeps_nothing_alive(auth: AuthorizationServer, api: ProtectedAPI) -> None:
    flights_done()
    gc.collect()
    before = len(forks._known)
    with _session(auth) as session:
        session.get(f"{api.url}/anything")
        # The session, its token source and its token endpoint.
        assert len(forks._known) == before + 3
    del session
    flights_done()
    gc.collect()
    assert len(forks._known) == before


# -- locks -------------------------------------------------------------------------------------


def _transport_locks(session: requests.Session, url: str) -> dict[str, Any]:
    adapter: Any = session.get_adapter(url)
    jar: Any = session.cookies
    pools = adapter.poolmanager.pools
    locks = {"pools": pools.lock, "jar": jar._cookies_lock}
    # Each token request has pools of its own, which nobody else can lock.
    return {**locks, "queue": _pool(session, url).pool.mutex} if pools else locks


def _source_locks(tokens: TokenSource) -> dict[str, Any]:
    return dict(zip(["flights", "state", "pauses"], locks_of(tokens), strict=True))


LOCKS = [
    ("API", ["pools", "queue", "jar"]),
    ("source", ["flights", "state", "pauses"]),
    ("endpoint", ["pools", "jar"]),
]


@pytest.mark.parametrize(
    ("part", "lock"), [(part, lock) for part, locks in LOCKS for lock in locks]
)
def test_no_lock_that_another_thread_held_hinders_a_child(
    part: str,
    lock: str,
    session: ClientCredentialsSession,
    auth: AuthorizationServer,
    api: ProtectedAPI,
) -> None:
    session.tokens.endpoint.mount("http://", HTTPAdapter())
    session.get(f"{api.url}/set-cookie?a=1")

    def child() -> list[int]:
        with session:
            held = session.get(f"{api.url}/set-cookie?b=2").status_code
            session.tokens.forget()  # so the next request fetches a token
            return [held, session.get(f"{api.url}/anything").status_code]

    if part == "source":
        locks = _source_locks(session.tokens)
    elif part == "API":
        locks = _transport_locks(session, api.url)
    else:
        locks = _transport_locks(session.tokens.endpoint, auth.token_url)
    with held_by_another_thread(locks[lock]):
        child_process = Child(child)
    assert child_process.result() == [200, 200]
    assert session.get(f"{api.url}/anything").status_code == 200
    assert len(auth.token_requests) == 2


@pytest.mark.parametrize("which", ["pools", "queue", "cookies"])
@pytest.mark.parametrize("ours", [False, True], ids=["plain", "ours"])
def test_a_lock_hangs_a_child_with_a_plain_session_and_none_with_ours(
    which: str, ours: bool, auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    api.protected = False
    url = f"{api.url}/anything"
    lock = ExitingLock()
    with _session(auth) if ours else requests.Session() as session:
        session.get(url)
        _put(lock, which, session, url)
        with held_by_another_thread(lock):
            child = Child(_get(session, url))
            assert child.status() == (0 if ours else HANGS)


def _put(lock: ExitingLock, which: str, session: Any, url: str) -> None:
    if which == "pools":
        session.get_adapter(url).poolmanager.pools.lock = lock
    elif which == "cookies":
        session.cookies._cookies_lock = lock
    else:
        lock.guard(_pool(session, url).pool)


_EXIT = """
import os, sys
import requests
from oauthcc import ClientCredentialsSession
from tests.forked import ExitingLock, held_by_another_thread
url, token_url, kind = sys.argv[1:]
session = requests.Session()
if kind == "ours":
    session = ClientCredentialsSession(token_url, "demo-client", "demo-secret")
session.get(url)
lock = ExitingLock()
for pool in session.get_adapter(url).poolmanager.pools._container.values():
    lock.guard(pool.pool)
with held_by_another_thread(lock):
    child = os.fork()
    if child == 0:
        sys.exit(7)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
sys.exit(status)
"""


@pytest.mark.parametrize(("kind", "status"), [("plain", HANGS), ("ours", 7)])
def test_a_child_that_exits_normally_waits_for_no_lock(
    kind: str, status: int, auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    # urllib3 empties every pool at exit: a plain session waits there without end.
    api.protected = False
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _EXIT, f"{api.url}/x", auth.token_url, kind],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stderr) == (status, "")


@pytest.mark.parametrize("which", ["guard", "key"])
def test_no_lock_of_a_memory_store_hinders_a_child(
    which: str, auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    url = f"{api.url}/anything"
    store = MemoryStore()
    with _session(auth, store=store) as first, _session(auth, store=store) as second:
        first.get(url)
        lock = store._guard if which == "guard" else store.lock(next(iter(store._tokens)), 1)
        with held_by_another_thread(lock):
            child = Child(lambda: (_get(second, url)(), first.tokens.renew() and None))
            assert child.result()[0] == 200
    assert len(auth.token_requests) == 2  # the child used the stored token, then fetched one


def test_no_lock_of_the_client_of_a_redis_store_hinders_a_child(
    auth: AuthorizationServer, api: ProtectedAPI, redis_server: RedisServer
) -> None:
    url, events = f"{api.url}/anything", list[Any]()
    store = RedisStore(redis_server.url)
    pool: Any = store._client.connection_pool

    def child() -> Any:
        session.tokens.forget()  # so it looks into the store
        status = session.get(url).status_code
        flights_done()
        return status, [type(event).__name__ for event in events]

    with _session(auth, store=store, on_event=events.append) as session:
        session.get(url)
        flights_done()
        events.clear()
        with held_by_another_thread(pool._lock):
            child_process = Child(child)
        assert child_process.result() == (200, ["TokenObtained"])
    assert len(auth.token_requests) == 1


@pytest.mark.parametrize("kind", ["file", "redis"])
def test_a_child_that_is_forked_while_the_parent_fetches_waits_for_the_stored_token(
    kind: str,
    auth: AuthorizationServer,
    api: ProtectedAPI,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    url = f"{api.url}/anything"
    if kind == "file":
        store: Any = FileStore(tmp_path / "tokens")
    else:
        server: RedisServer = request.getfixturevalue("redis_server")
        store = RedisStore(server.url)
    answers: list[int] = []
    with _session(auth, store=store) as session:
        caller = threading.Thread(target=lambda: answers.append(session.get(url).status_code))
        with auth.hold() as gate:
            caller.start()
            gate.wait_for(1)  # the parent's fetch holds the lock of the store
            child = Child(_get(session, url))
        assert child.result() == 200
        caller.join()
    assert answers == [200]
    assert len(auth.token_requests) == 1


# -- adapters ----------------------------------------------------------------------------------


class _OwnContext(HTTPAdapter):
    """An adapter with its own TLS settings, as many companies have one."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        super().__init__(pool_connections=3)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self.context, **kwargs)


def test_an_adapter_keeps_its_tls_settings_in_a_child(auth: AuthorizationServer) -> None:
    authority = trustme.CA()
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(theirs)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with ProtectedAPI(auth, tls=theirs) as api, _session(auth) as session:
        adapter = _OwnContext(context)
        session.mount("https://", adapter)
        session.get(f"{api.url}/anything")

        def child() -> tuple[int, int]:
            with session:
                status = session.get(f"{api.url}/anything").status_code
                pools: Any = adapter.poolmanager.pools
                return status, pools._maxsize

        assert in_child(child) == (200, 3)
        assert session.get(f"{api.url}/anything").status_code == 200
        assert api.connections == 2


def test_a_child_uses_a_proxy_over_its_own_connection_and_waits_for_no_lock_of_it(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    # The API serves as the proxy: it accepts whole URLs too.
    url = "http://api.example/anything"
    with _session(auth, api_url="http://api.example/") as session:
        session.proxies = {"http": api.url}
        session.tokens.endpoint.proxies = {"http": ""}
        session.get(url)
        adapter: Any = session.get_adapter(url)
        with held_by_another_thread(adapter.proxy_manager[api.url].pools.lock):
            assert in_child(_get(session, url)) == 200
        assert session.get(url).status_code == 200
        assert api.connections == 2
        assert {seen.target for seen in api.requests} == {url}


def test_adapters_of_other_kinds_are_left_alone(
    session: ClientCredentialsSession, auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    class Silent(requests.adapters.BaseAdapter):
        def send(self, request: Any, *args: Any, **kwargs: Any) -> requests.Response:
            answer = requests.Response()
            answer.status_code, answer.request, answer.url = 204, request, request.url
            answer.raw = None
            return answer

        def close(self) -> None:
            pass

    class Strange(Silent):
        poolmanager = "of another kind"
        proxy_manager = None

    session.mount("silent://", Silent())
    session.mount("strange://", Strange())
    closed = HTTPAdapter()
    session.mount("http://closed.example", closed)
    pool: Any = closed.poolmanager.connection_from_url("http://closed.example")
    pool.close()
    assert in_child(_get(session, f"{api.url}/anything")) == 200


def test_an_object_that_cannot_be_reset_hinders_no_other(
    session: ClientCredentialsSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Odd:
        def _after_fork(self) -> None:
            raise TypeError("an odd adapter")

    odd, before = Odd(), locks_of(session.tokens)
    known = dict(enumerate([odd, session.tokens, odd]))
    monkeypatch.setattr(forks, "_known", known)
    with pytest.raises(TypeError, match="an odd adapter"):
        forks._in_child()
    assert all(lock is not old for lock, old in zip(locks_of(session.tokens), before, strict=True))


def test_a_cookie_jar_without_a_lock_is_accepted(
    session: ClientCredentialsSession, api: ProtectedAPI
) -> None:
    class Slotted:
        __slots__ = ()

    session.cookies = Slotted()  # type: ignore[assignment]
    in_child(lambda: None)  # an error there would be printed, not raised
    forks.reset_session(session)


def test_an_idle_connection_that_cannot_be_closed_does_not_hinder_a_child(
    session: ClientCredentialsSession, api: ProtectedAPI
) -> None:
    class Stubborn:
        def close(self) -> None:
            raise OSError

    url = f"{api.url}/anything"
    session.get(url)
    connection = next(place for place in _pool(session, url).pool.queue if place)

    def child() -> Any:
        return session.get(url).status_code

    true, connection.sock = connection.sock, Stubborn()
    try:
        process = Child(child)
    finally:
        connection.sock = true
    assert process.result() == 200


_FIRST_USE = """
import logging, secrets, sys
from contextlib import nullcontext
import requests
from oauthcc import ClientCredentialsSession, Token, forks

logging.disable()  # or Python prints the warnings

class Finder:
    @staticmethod
    def find_spec(name, *_):
        if not forks.importing._is_owned():
            print(name)

class Store:
    def load(self, key):
        return token

    def save(self, key, token):
        raise NotImplementedError

    def lock(self, key, timeout):
        return nullcontext()

dead, secret = "http://127.0.0.1:1/", f"&amp;{secrets.token_hex(16)}"
sys.meta_path.insert(0, Finder)
for token, kind in ((Token("my-token"), "ConnectionError"), (None, "TokenEndpointUnreachable")):
    try:
        ClientCredentialsSession(dead, "my-id", secret, store=Store()).get(dead)
    except requests.ConnectionError as error:
        assert type(error).__name__ == kind, error
sys.meta_path.remove(Finder)
"""


def test_a_fork_waits_for_whatever_is_imported_at_first_use() -> None:
    # In a child, the lock of a module that another thread imports would never be free.
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _FIRST_USE],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_child_reads_an_error_although_another_thread_was_reading_one(
    auth: AuthorizationServer, api: ProtectedAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, reads, goes_on = response.Redactor, threading.Event(), threading.Event()

    def slow(*args: Any, **options: Any) -> Any:
        if not reads.is_set():
            reads.set()
            goes_on.wait(PATIENCE)
        return real(*args, **options)

    monkeypatch.setattr(response, "Redactor", slow)
    wrong = ClientCredentialsSession(auth.token_url, auth.client_id, "wrong")

    def error() -> str:
        with pytest.raises(TokenRequestDenied) as caught:
            wrong.get(api.url)
        return str(caught.value)

    thread = threading.Thread(target=error)
    thread.start()
    assert reads.wait(PATIENCE)
    child = Child(error)
    goes_on.set()
    thread.join()
    assert "401 with invalid_client" in child.result()
