"""One token for many processes, sessions and threads that share a store."""

from __future__ import annotations

import contextlib
import itertools
import pickle
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from oauthcc import ClientCredentialsSession
from oauthcc.access_token import Token
from oauthcc.clock import ALWAYS
from oauthcc.errors import TokenEndpointUnavailable
from oauthcc.events import Event, TokenObtained
from oauthcc.stores import FileStore, MemoryStore, RedisStore, guarded
from oauthcc.stores.base import Saved
from oauthcc.testing import AuthorizationServer, Gate, ProtectedAPI, faults
from oauthcc.tokens.fetcher import ATTEMPTS
from oauthcc.tokens.renewal import Schedule

from .clock import flights_done, in_threads, joined, moved_clock, together, until
from .inside import flight_of, state_of
from .servers.redis_server import RedisServer
from .worker import Clock, Worker, all_do, store_from, workers

pytestmark = pytest.mark.unmeasured

MANY = 16


@pytest.fixture(scope="module")
def crowd() -> Iterator[list[Worker]]:
    with workers(MANY) as started:
        yield started


@pytest.fixture(params=["file", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return an expression that creates a store, on a new place for each test."""
    if request.param == "file":
        return repr(FileStore(tmp_path / "tokens"))
    server: RedisServer = request.getfixturevalue("redis_server")
    return f"RedisStore({server.url!r}, timeout=30)"


def arguments(auth: AuthorizationServer) -> list[str]:
    return [auth.token_url, auth.client_id, auth.client_secret]


def test_sixteen_cold_processes_make_one_token_request(
    crowd: list[Worker], auth: AuthorizationServer, api: ProtectedAPI, store: str
) -> None:
    all_do(crowd, "make", arguments=arguments(auth), store=store)
    with auth.hold() as gate:
        for worker in crowd:
            worker.ask("get", url=api.url)
        for worker in crowd:
            worker.notes("asks for the lock")
        gate.wait_for(1)
    answers = [worker.answer() for worker in crowd]
    assert answers == [(200, auth.issued[0])] * MANY
    assert len(auth.token_requests) == 1


def test_sixteen_processes_make_one_token_request_per_expiry(
    crowd: list[Worker], auth: AuthorizationServer, api: ProtectedAPI, store: str, tmp_path: Path
) -> None:
    clock = Clock(tmp_path / "clock")
    auth.now = clock.time
    all_do(crowd, "make", arguments=arguments(auth), store=store, clock=str(clock.path))
    for number in range(1, 6):
        answers = all_do(crowd, "get", url=api.url)
        assert answers == [(200, auth.issued[-1])] * MANY
        assert len(auth.token_requests) == number
        clock.advance(3601)


def test_one_process_renews_early_and_the_others_neither_wait_nor_send_requests(
    crowd: list[Worker], auth: AuthorizationServer, api: ProtectedAPI, store: str, tmp_path: Path
) -> None:
    clock = Clock(tmp_path / "clock")
    auth.now = clock.time
    all_do(crowd, "make", arguments=arguments(auth), store=store, clock=str(clock.path))
    all_do(crowd, "get", url=api.url)
    assert all_do(crowd, "operations", url=api.url, calls=10) == [0] * MANY
    clock.advance(3600 * 0.85)
    with auth.hold() as gate:
        # All processes are past their renewal point, and none of their fetches can end.
        answers = all_do(crowd, "get", url=api.url)
        gate.wait_for(1)
        answers += all_do(crowd, "get", url=api.url)
        assert answers == [(200, auth.issued[0])] * MANY * 2
    all_do(crowd, "flights_done")
    assert all_do(crowd, "operations", url=api.url, calls=10) == [0] * MANY
    assert all_do(crowd, "get", url=api.url) == [(200, auth.issued[1])] * MANY
    assert len(auth.token_requests) == 2


def test_processes_make_one_token_request_after_a_revocation(
    crowd: list[Worker], auth: AuthorizationServer, api: ProtectedAPI, store: str
) -> None:
    all_do(crowd, "make", arguments=arguments(auth), store=store)
    all_do(crowd, "get", url=api.url)
    with api.hold() as gate:
        for worker in crowd:
            worker.ask("get", url=api.url)
        gate.wait_for(MANY)
        auth.revoke_all()
    answers = [worker.answer() for worker in crowd]
    assert answers == [(200, auth.issued[1])] * MANY
    assert len(auth.token_requests) == 2


def test_a_session_pickled_for_another_process_finds_the_token_in_the_store(
    auth: AuthorizationServer, api: ProtectedAPI, store: str
) -> None:
    made = store_from(store)
    with ClientCredentialsSession(*arguments(auth), store=made) as session:
        assert session.get(api.url).ok
        pickled = pickle.dumps(session)
    assert auth.issued[0].encode() not in pickled
    with workers(1) as (worker,):
        worker.does("unpickle", session=pickled)
        assert worker.does("get", url=api.url) == (200, auth.issued[0])
    assert len(auth.token_requests) == 1
    if isinstance(made, RedisStore):
        made._client.close()


# The holder of the lock is killed or hangs.


@contextlib.contextmanager
def a_holder_and_two_waiters(
    auth: AuthorizationServer, api: ProtectedAPI, store: str
) -> Iterator[tuple[Worker, list[Worker], Gate]]:
    """Start a process whose token request the server holds, and two that wait for its lock."""
    with workers(3) as (holder, *others), auth.hold() as gate:
        all_do(others, "patch", module="oauthcc.stores.guarded", name="LOOK_EVERY", value=0.1)
        all_do([holder, *others], "make", arguments=arguments(auth), store=store)
        holder.ask("get", url=api.url)
        gate.wait_for(1)
        for other in others:
            other.ask("get", url=api.url)
            other.notes("asks for the lock")
            other.notes("asks for the lock")  # the first time it does not wait
        yield holder, others, gate


def end_lease(store: str) -> None:
    """End the lease of the lock in Redis; the kernel releases the lock of a file by itself."""
    made = store_from(store)
    if isinstance(made, RedisStore):
        (name,) = made._client.keys("*lock*")
        made._client.pexpire(name, 1)
        made._client.close()


def test_the_others_get_a_token_when_the_holder_of_the_lock_is_killed(
    auth: AuthorizationServer, api: ProtectedAPI, store: str
) -> None:
    with a_holder_and_two_waiters(auth, api, store) as (holder, others, gate):
        holder.kill()
        end_lease(store)
        # They find no token when the lock is free, and do not wait for each other.
        gate.wait_for(3)
        gate.release()
        assert [other.answer()[0] for other in others] == [200, 200]
        assert len(auth.token_requests) == 3
        assert all_do(others, "bypassed") == [[], []]


def test_the_others_get_a_token_when_the_holder_of_the_lock_hangs(
    auth: AuthorizationServer, api: ProtectedAPI, tmp_path: Path
) -> None:
    store = repr(FileStore(tmp_path / "tokens"))
    with a_holder_and_two_waiters(auth, api, store) as (holder, others, gate):
        holder.freeze()
        with workers(1) as (impatient,):
            patience = {
                "module": "oauthcc.tokens.fetcher",
                "name": "LOCK_PATIENCE",
                "value": (0.1, 0.1),
            }
            impatient.does("patch", **patience)
            impatient.does("make", arguments=arguments(auth), store=store)
            impatient.ask("get", url=api.url)
            gate.wait_for(2)
            gate.release()
            answer = impatient.answer()
            assert impatient.does("bypassed") == [("lock", "TimeoutError")]
        # The others find that token in the store although the lock is still held.
        assert [other.answer() for other in others] == [answer] * 2
        assert all_do(others, "bypassed") == [[], []]
        holder.thaw()
        assert holder.answer()[0] == 200
        assert len(auth.token_requests) == 2


# Sessions and threads of one process.


@pytest.fixture
def made() -> Iterator[list[ClientCredentialsSession]]:
    """Return a list of sessions that are closed after the test."""
    sessions: list[ClientCredentialsSession] = []
    yield sessions
    for session in sessions:
        session.close()


@pytest.fixture
def sharing(auth: AuthorizationServer, made: Any) -> Any:
    """Return a function that creates sessions."""

    def make(store: Any, **options: Any) -> Any:
        session = ClientCredentialsSession(*arguments(auth), store=store, **options)
        made.append(session)
        return session

    return make


class WatchedStore(MemoryStore):
    """A store with an event that is set when somebody waits for the lock."""

    def __init__(self) -> None:
        super().__init__()
        self.is_waited_for = threading.Event()

    def lock(self, key: str, timeout: float) -> Any:
        if timeout > 0:
            self.is_waited_for.set()
        return super().lock(key, timeout)


class LockForTheFirst(MemoryStore):
    """A store whose lock waiters never get, as if thousands were waiting for it."""

    asked = 0

    def lock(self, key: str, timeout: float) -> Any:
        if timeout > 0:
            threading.Event().wait(timeout)
            raise TimeoutError
        with self._guard:
            self.asked += 1
        return super().lock(key, timeout)


def full(*args: Any) -> None:
    raise OSError("full")


def sent(response: requests.Response) -> str:
    """Return the token that was sent."""
    return response.request.headers["Authorization"].encode().decode().partition(" ")[2]


def test_threads_and_sessions_with_one_memory_make_one_request_per_expiry(
    auth: AuthorizationServer, api: ProtectedAPI, sharing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, store = moved_clock(monkeypatch), MemoryStore()
    auth.now = clock.time
    turns = itertools.cycle([sharing(store) for _ in range(8)])
    for number in range(1, 4):
        answers = together(64, lambda: sent(next(turns).get(api.url)))
        assert answers == [auth.issued[-1]] * 64
        assert len(auth.token_requests) == number
        clock.advance(3601)


def test_threads_and_sessions_make_one_token_request_after_a_revocation(
    auth: AuthorizationServer, api: ProtectedAPI, sharing: Any
) -> None:
    store = MemoryStore()
    sessions = [sharing(store) for _ in range(4)]
    for session in sessions:
        session.get(api.url)
    turns = itertools.cycle(sessions)
    answers: list[Any] = []
    with api.hold() as gate:
        threads = in_threads(32, lambda: answers.append(next(turns).get(api.url)))
        gate.wait_for(32)
        auth.revoke_all()
    joined(threads)
    assert [response.status_code for response in answers] == [200] * 32
    assert len(auth.token_requests) == 2


def test_a_stored_token_that_is_newer_than_the_refused_request_is_used_first(
    auth: AuthorizationServer, api: ProtectedAPI, sharing: Any
) -> None:
    store = MemoryStore()
    events: list[Event] = []
    quick, slow = sharing(store), sharing(store, on_event=events.append)
    assert sent(quick.get(api.url)) == sent(slow.get(api.url)) == auth.issued[0]
    with api.hold("/slow") as gate:
        answers: list[requests.Response] = []
        (thread,) = in_threads(1, lambda: answers.append(slow.get(api.url + "/slow?seconds=0")))
        gate.wait_for(1)
        auth.revoke_all()
        assert sent(quick.get(api.url)) == auth.issued[1]
    joined([thread])
    assert answers[0].status_code == 200
    assert sent(answers[0]) == auth.issued[1]
    assert len(auth.token_requests) == 2
    flights_done()
    (obtained,) = [e for e in events if isinstance(e, TokenObtained) and e.why == "refused"]
    assert obtained.from_store


@pytest.mark.parametrize("part", ["fresh", "aging", "renewing"])
def test_a_caller_gets_no_401_when_the_stored_token_was_revoked_too(
    part: Any,
    auth: AuthorizationServer,
    api: ProtectedAPI,
    sharing: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = MemoryStore()
    session, other = sharing(store), sharing(store)
    assert sent(session.get(api.url)) == auth.issued[0]
    other.tokens.renew(other.tokens.get())
    auth.revoke_all()
    if part == "fresh":
        # The store is asked now for the first time, and its token was revoked too.
        response = session.get(api.url)
    elif part == "aging":
        # An early renewal found the stored token before the refusal arrived.
        aging = state_of(session.tokens).current
        assert aging is not None
        with api.hold() as gate:
            answers: list[requests.Response] = []
            (thread,) = in_threads(1, lambda: answers.append(session.get(api.url)))
            gate.wait_for(1)
            state_of(session.tokens).current = replace(aging, plan=aged(aging.plan))
            assert session.tokens.get() == aging.token
            flights_done()
            assert session.tokens.get().access_token == auth.issued[1]
        joined([thread])
        (response,) = answers
    else:
        # The early renewal is still in progress when the refusal arrives and joins it.
        found, released = threading.Event(), threading.Event()
        load = store.load

        def late(key: str) -> Any:
            token = load(key)
            if not found.is_set():
                found.set()
                assert released.wait(20)
            return token

        monkeypatch.setattr(store, "load", late)
        aging = state_of(session.tokens).current
        assert aging is not None
        state_of(session.tokens).current = replace(aging, plan=aged(aging.plan))
        assert session.tokens.get() == aging.token
        assert found.wait(20)
        answers = []
        (thread,) = in_threads(1, lambda: answers.append(session.get(api.url)))
        flight = flight_of(session.tokens)
        assert flight is not None
        until(lambda: flight.waiters == 1)
        released.set()
        joined([thread])
        (response,) = answers
    assert response.status_code == 200
    assert sent(response) == auth.issued[2]
    assert len(auth.token_requests) == 3


def aged(plan: Schedule) -> Schedule:
    return replace(plan, aging=ALWAYS)


@pytest.mark.parametrize("later", [50, 70], ids=["aging", "expired"])
def test_a_refused_token_that_is_still_in_the_store_is_not_used_again(
    later: Any,
    auth: AuthorizationServer,
    api: ProtectedAPI,
    sharing: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, store = moved_clock(monkeypatch), MemoryStore()
    auth.now = clock.time
    session = sharing(store)
    session.get(api.url)
    clock.advance(1)
    auth.revoke_all()
    auth.token_lifetime = 60
    with monkeypatch.context() as patch:
        patch.setattr(store, "save", full)
        assert sent(session.get(api.url)) == auth.issued[1]
    # The store still holds the refused token, which expires in an hour.
    clock.advance(later)
    session.get(api.url)
    flights_done()
    assert sent(session.get(api.url)) == auth.issued[2]
    assert sum(seen.token == auth.issued[0] for seen in api.requests) == 2


def test_a_session_that_waited_for_a_failed_fetch_sends_fewer_requests(
    auth: AuthorizationServer, api: ProtectedAPI, sharing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved_clock(monkeypatch)
    store = WatchedStore()
    first, second = sharing(store), sharing(store)
    auth.answer_next(faults.unavailable(), None)
    errors: list[Exception] = []

    def fails(session: Any) -> None:
        with pytest.raises(TokenEndpointUnavailable) as caught:
            session.get(api.url)
        errors.append(caught.value)

    with auth.hold() as gate:
        threads = in_threads(1, lambda: fails(first))
        gate.wait_for(1)
        threads += in_threads(1, lambda: fails(second))
        assert store.is_waited_for.wait(20)
    joined(threads)
    assert len(errors) == 2
    assert len(auth.token_requests) == ATTEMPTS + (ATTEMPTS - 1)


@pytest.mark.measured
def test_an_early_renewal_that_waited_for_a_failed_one_sends_no_request(
    auth: AuthorizationServer,
    api: ProtectedAPI,
    sharing: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, store = moved_clock(monkeypatch), WatchedStore()
    auth.now = clock.time
    first, second = sharing(store), sharing(store)
    calls = [first.get(api.url), second.get(api.url)]
    clock.advance(3600 * 0.85)
    auth.answer_next(faults.unavailable())
    with auth.hold() as gate:
        calls.append(first.get(api.url))
        gate.wait_for(1)
        calls.append(second.get(api.url))
        assert store.is_waited_for.wait(20)
    flights_done()
    calls += [first.get(api.url), second.get(api.url)]
    assert [sent(call) for call in calls] == auth.issued * 6
    assert len(auth.token_requests) == 2
    clock.advance(4)  # the longest first pause
    second.get(api.url)
    flights_done()
    assert sent(second.get(api.url)) == auth.issued[1]


def test_waiters_find_the_token_without_getting_the_lock(
    auth: AuthorizationServer, api: ProtectedAPI, sharing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarded, "LOOK_EVERY", 0.01)
    store = LockForTheFirst()
    answers: list[str] = []
    with auth.hold() as gate:
        threads = in_threads(9, lambda: answers.append(sent(sharing(store).get(api.url))))
        until(lambda: store.asked == 9)
        gate.wait_for(1)
    joined(threads)
    assert answers == auth.issued * 9
    assert len(auth.token_requests) == 1


class SavedWhileWaiting(MemoryStore):
    """A store whose lock is held while tokens with these lifetimes are saved."""

    def __init__(self, *lifetimes: float) -> None:
        super().__init__()
        self.lifetimes = list(lifetimes)

    def lock(self, key: str, timeout: float) -> Any:
        if timeout > 0:
            lifetime, now = self.lifetimes.pop(0), time.time()
            self.save(key, Token("saved", issued_at=now - 60, expires_at=now + lifetime))
            raise Saved
        raise TimeoutError


def test_a_waiter_looks_again_whenever_a_token_was_saved(
    auth: AuthorizationServer, sharing: Any
) -> None:
    store = SavedWhileWaiting(-10, -5, 3600)
    assert sharing(store).tokens.get().access_token == "saved"
    assert store.lifetimes == []
    assert auth.token_requests == []
