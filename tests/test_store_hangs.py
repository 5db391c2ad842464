"""Stores that hang or are slow: no call waits for them, and nothing old stays in them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import redis
import requests

from oauthcc import ClientCredentialsSession
from oauthcc.access_token import Token
from oauthcc.events import StoreBypassed, TokenObtained
from oauthcc.stores import MemoryStore, RedisStore, calls, guarded
from oauthcc.stores.calls import GivenUp, StoreCall

from .clock import Clock, flights_done, in_threads, joined, together, until
from .forked import Child, fork_among_threads, needs_fork
from .inside import key_of
from .servers.redis_server import RedisServer
from .store_world import FailingStore, World, is_shared, raising

_here = threading.local()


class Hanging:
    """A stop inside of a store, until the test ends it."""

    def __init__(self) -> None:
        self.begun, self.free = threading.Event(), threading.Event()

    def __call__(self) -> None:
        call = getattr(_here, "call", None)
        if call is not None:
            call.hangs = True
        self.begun.set()
        assert self.free.wait(20)

    def end(self) -> None:
        """Let the call go on, and wait until no store is in the middle of a call."""
        self.free.set()
        store_calls_done()


class HangingStore(MemoryStore):
    """A store in which the next calls of some operations stop before they do their work."""

    def __init__(self, **stops: list[Hanging]) -> None:
        super().__init__()
        self.stops = stops
        self.called: list[str] = []

    def _stop(self, operation: str) -> None:
        self.called.append(operation)
        stops = self.stops.get(operation)
        if stops:
            stops.pop(0)()

    def load(self, key: str) -> Token | None:
        self._stop("load")
        return super().load(key)

    def save(self, key: str, token: Token) -> None:
        self._stop("save")
        super().save(key, token)

    @contextlib.contextmanager
    def _held(self, key: str, timeout: float) -> Iterator[None]:
        with super().lock(key, timeout):
            self._stop("enter")
            yield
            self._stop("unlock")

    def lock(self, key: str, timeout: float) -> Any:
        self._stop("lock")
        return self._held(key, timeout)


class ImpatientCall(StoreCall[Any]):
    """A call that is given up as soon as it hangs, and has all the time otherwise."""

    hangs = False

    def __init__(
        self, store: object, operation: str, action: Callable[[], Any], *rest: Any, **how: Any
    ) -> None:
        def marked() -> Any:
            _here.call = self
            return action()

        super().__init__(store, operation, marked, *rest, **how)

    def ends_within(self, seconds: float) -> bool:
        until(lambda: self.hangs or not self._gate.locked())
        if self.hangs:
            self._deadline = 0.0
        return super().ends_within(seconds)


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not let the speed of the machine decide."""
    monkeypatch.setattr(guarded, "LIMIT", 20.0)
    monkeypatch.setattr("oauthcc.tokens.fetcher.SAVE_PATIENCE", 20.0)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up a call as soon as it hangs."""
    monkeypatch.setattr(guarded, "StoreCall", ImpatientCall)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hand out a token without waiting for the store."""
    monkeypatch.setattr("oauthcc.tokens.fetcher.SAVE_PATIENCE", 0.0)


@pytest.fixture
def stop() -> Iterator[Hanging]:
    """Return a stop that ends with the test."""
    made = Hanging()
    yield made
    made.end()


def store_calls_done() -> None:
    """Wait until no store is in the middle of a call."""
    for thread in threading.enumerate():
        if thread.name == "oauthcc-store":
            thread.join(20)
            assert not thread.is_alive(), "a call of a store does not end"


def sent(session: ClientCredentialsSession, world: World) -> str:
    """Return the token of a request that must succeed; the fetch may still be saving it."""
    response = session.get(world.api.url)
    assert response.status_code == 200
    return response.request.headers["Authorization"].encode().decode().partition(" ")[2]


def hung(world: World, **stops: list[Hanging]) -> tuple[HangingStore, ClientCredentialsSession]:
    """Return a store in which a call hangs, and the session that has called it."""
    store = HangingStore(**stops)
    session = world.session(store)
    world.call(session)
    return store, session


def is_locked(store: MemoryStore, session: ClientCredentialsSession) -> bool:
    try:
        with MemoryStore.lock(store, key_of(session.tokens), 0):
            return False
    except TimeoutError:
        return True


# A call that hangs.


@pytest.mark.parametrize("operation", ["load", "lock", "enter", "save", "unlock"])
def test_a_call_succeeds_while_an_operation_of_the_store_hangs(
    operation: str, world: World, stop: Hanging, impatient: None
) -> None:
    store = HangingStore(**{operation: [stop]})
    assert world.call(world.session(store)) == world.auth.issued[0]
    reported = "lock" if operation == "enter" else operation
    assert world.bypassed() == [(reported, "TimeoutError")]
    assert stop.begun.is_set()
    assert not stop.free.is_set()
    assert len(world.auth.token_requests) == 1


def test_an_operation_that_hangs_is_not_tried_again_for_a_while(
    world: World, stop: Hanging, impatient: None
) -> None:
    store, others = HangingStore(load=[stop]), [Hanging(), Hanging()]
    world.call(world.session(store))
    assert world.bypassed() == [("load", "TimeoutError")]
    # Also sessions that have not used the store so far do not.
    for _ in range(5):
        world.call(world.session(store))
        assert world.bypassed() == [("load", "TimeoutError")]
    assert store.called == ["load"]
    # After the pause, one of them tries, and a second hang means a pause that is twice as long.
    store.stops["load"] += others
    for pause in (calls.PAUSE_FIRST, 2 * calls.PAUSE_FIRST):
        world.clock.advance(pause - 0.5)
        world.call(world.session(store))
        before = len(store.called)
        world.clock.advance(0.5)
        world.call(world.session(store))
        world.call(world.session(store))
        assert len(store.called) == before + 1
    for other in others:
        other.free.set()


def test_a_store_that_answers_late_is_used_again_at_once(
    world: World, stop: Hanging, impatient: None
) -> None:
    store, _ = hung(world, load=[stop])
    stop.end()
    world.bypassed()
    assert is_shared(world, store, world.call(world.session(store)))
    assert world.bypassed() == []


def test_a_store_whose_saves_hang_is_still_looked_into(
    world: World, stop: Hanging, impatient: None
) -> None:
    store, _ = hung(world, save=[stop])
    session = world.session(store)
    key = key_of(session.tokens)
    now = world.clock.wall
    MemoryStore.save(store, key, Token("from-elsewhere", issued_at=now, expires_at=now + 3600))
    assert session.tokens.get().access_token == "from-elsewhere"


def test_what_a_load_returns_too_late_is_not_used(
    world: World, stop: Hanging, impatient: None
) -> None:
    store = HangingStore()
    world.call(world.session(store))
    store.stops["load"] = [stop]
    session = world.session(store)
    assert world.call(session) == world.auth.issued[1]
    stop.end()
    assert world.call(session) == world.auth.issued[1]


def test_a_lock_that_is_entered_too_late_is_released(
    world: World, stop: Hanging, impatient: None
) -> None:
    store, session = hung(world, lock=[stop])
    stop.end()
    assert store.called[-1] == "unlock"
    assert not is_locked(store, session)


def test_an_error_that_a_store_raises_too_late_is_not_reported_again(
    world: World, stop: Hanging, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = HangingStore(save=[stop])
    monkeypatch.setattr(MemoryStore, "save", None)
    world.call(world.session(store))
    assert world.bypassed() == [("save", "TimeoutError")]
    stop.end()
    assert world.bypassed() == []


def test_a_lock_is_free_when_a_save_is_given_up(
    world: World, stop: Hanging, impatient: None
) -> None:
    store, session = hung(world, save=[stop])
    assert not stop.free.is_set()
    assert not is_locked(store, session)


def test_sessions_that_share_a_store_whose_saves_hang_all_get_a_token(
    world: World, impatient: None
) -> None:
    stops = [Hanging() for _ in range(16)]
    store = HangingStore(save=[*stops])
    sessions = iter([world.session(store) for _ in range(16)])
    with world.auth.hold() as gate:
        answers: list[Any] = []
        threads = in_threads(16, lambda: answers.append(sent(next(sessions), world)))
        gate.wait_for(1)
    joined(threads)
    assert sorted(answers) == sorted(world.auth.issued)
    for each in stops:
        each.free.set()
    store_calls_done()


# A token that is handed out before it is saved.


def test_a_token_is_handed_out_while_it_is_saved_and_others_wait_for_it(
    world: World, stop: Hanging, at_once: None
) -> None:
    store = HangingStore(save=[stop])
    session, other = world.session(store), world.session(store)
    assert sent(session, world) == world.auth.issued[0]
    assert stop.begun.wait(20)
    assert is_locked(store, session)
    answers: list[str] = []
    threads = in_threads(1, lambda: answers.append(sent(other, world)))
    until(lambda: store.called.count("lock") > 1)
    stop.free.set()
    joined(threads)
    flights_done()
    assert answers == world.auth.issued
    assert world.bypassed() == []


def test_a_save_that_fails_after_the_hand_out_is_reported_once(
    world: World, stop: Hanging, at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = HangingStore(save=[stop])
    monkeypatch.setattr(MemoryStore, "save", None)
    session = world.session(store)
    sent(session, world)
    assert stop.begun.wait(20)
    assert not world.events
    stop.free.set()
    flights_done()
    assert [type(event) for event in world.events] == [StoreBypassed, TokenObtained]
    assert world.bypassed() == [("save", "TypeError")]
    assert not is_locked(store, session)


def test_an_observer_that_takes_long_does_not_keep_the_lock(
    world: World, stop: Hanging, at_once: None
) -> None:
    store = HangingStore(save=[stop])
    observer = Hanging()
    auth = world.auth
    session = ClientCredentialsSession(
        auth.token_url,
        auth.client_id,
        auth.client_secret,
        store=store,
        on_event=lambda event: observer(),
    )
    sent(session, world)
    assert stop.begun.wait(20)
    stop.free.set()
    assert observer.begun.wait(20)
    assert not is_locked(store, session)
    observer.free.set()
    flights_done()
    session.close()


def test_a_fetch_that_fails_does_not_wait_for_a_lock_that_cannot_be_released(
    world: World, stop: Hanging, at_once: None
) -> None:
    store = HangingStore(unlock=[stop])
    world.auth.refuse_next()
    with pytest.raises(Exception, match="invalid_client"):
        world.session(store).get(world.api.url)
    stop.free.set()
    flights_done()
    assert world.bypassed() == []


def test_the_calls_before_the_token_request_have_one_limit_together(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed, limits = [0.0], []

    class SlowCall(StoreCall[Any]):
        def __init__(
            self, store: object, operation: str, action: Any, seconds: float, *rest: Any, **how: Any
        ) -> None:
            limits.append((operation, seconds))
            passed[0] += 0.5
            super().__init__(store, operation, action, 20.0, *rest, **how)

    monkeypatch.setattr(guarded, "LIMIT", 2.0)
    monkeypatch.setattr(guarded, "LOOK_EVERY", 0.125)
    monkeypatch.setattr("oauthcc.tokens.fetcher.LOCK_PATIENCE", (2.0, 2.0))
    monkeypatch.setattr(guarded, "StoreCall", SlowCall)
    monkeypatch.setattr(guarded, "time", SimpleNamespace(monotonic=lambda: passed[0]))
    store = MemoryStore()
    world.call(session := world.session(store))
    assert limits == [("load", 2.0), ("lock", 1.5), ("load", 1.0), ("save", 2.0), ("unlock", 2.0)]
    world.expire()
    limits.clear()
    with store.lock(key_of(session.tokens), 0):
        world.call(session)
    # The wait for somebody else is not counted.
    assert limits[:4] == [("load", 2.0), ("lock", 1.5), ("load", 2.0), ("lock", 1.625)]


# A save that ends late.


def test_a_token_that_is_saved_late_does_not_stay_over_a_newer_one(
    world: World, stop: Hanging, impatient: None
) -> None:
    store, session = hung(world, save=[stop])
    world.clock.advance(3601)
    newer = world.call(session)
    assert newer == world.auth.issued[1]
    stop.end()
    assert is_shared(world, store, newer)


def test_a_forgotten_token_is_not_saved_again_after_a_late_save(
    world: World, stop: Hanging, impatient: None
) -> None:
    store, session = hung(world, save=[stop])
    world.clock.advance(3601)
    world.call(session)
    session.tokens.forget()
    saved = store.called.count("save")
    stop.end()
    assert store.called.count("save") == saved


def test_a_token_that_was_found_meanwhile_is_saved_again_too(
    world: World, stop: Hanging, impatient: None
) -> None:
    store, session = hung(world, save=[stop])
    world.clock.advance(3601)
    newer = world.call(world.session(store))
    assert world.call(session) == newer
    stop.end()
    assert is_shared(world, store, newer)


def test_a_late_save_changes_nothing_if_there_is_no_newer_token(
    world: World, stop: Hanging, impatient: None
) -> None:
    store = HangingStore(save=[stop])
    token = world.call(world.session(store))
    stop.end()
    assert store.called.count("save") == 1
    assert is_shared(world, store, token)


def test_a_late_save_leaves_alone_a_key_of_another_secret(
    world: World, stop: Hanging, impatient: None
) -> None:
    store, secrets = HangingStore(save=[stop]), [world.auth.client_secret]
    session = world.session(store, secret=lambda: secrets[-1])
    world.call(session)
    world.auth.add_client(world.auth.client_id, "rotated")
    secrets.append("rotated")
    world.clock.advance(3601)
    world.call(session)
    stop.end()
    assert store.called.count("save") == 2


def test_a_token_of_a_fetch_that_was_overtaken_is_not_saved(world: World) -> None:
    store = HangingStore()
    session = world.session(store)
    fetcher = session.tokens._fetcher
    key, now = key_of(session.tokens), world.clock.wall
    assert fetcher._remember(key, 2, Token("newer", issued_at=now))
    assert not fetcher._remember(key, 1, Token("older", issued_at=now))
    assert fetcher._remember(key, 2, Token("newest", issued_at=now))


def test_a_call_that_could_not_begin_in_time_is_not_made() -> None:
    made: list[int] = []
    call = StoreCall(object(), "save", lambda: made.append(1), -1.0, print, on_thread=True)
    until(lambda: call.ends_within(0.0))
    store_calls_done()
    with pytest.raises(GivenUp, match=r"did not (?:begin|end)"):
        call.result()
    # But a lock is always released.
    StoreCall(object(), "unlock", lambda: made.append(2), -1.0, print, on_thread=True)
    store_calls_done()
    assert made == [2]


def test_a_call_that_ends_while_it_is_given_up_is_not_late() -> None:
    call = StoreCall(object(), "load", lambda: "found", 20.0, print, on_thread=True)
    store_calls_done()
    gate, waited = call._gate, []

    class Gate:
        """A gate that opens just after the limit."""

        def acquire(self, timeout: float | None = None) -> bool:
            waited.append(timeout)
            return timeout is None and gate.acquire()

    call._gate, call._deadline = Gate(), 0.0  # type: ignore[assignment]
    assert call.ends_within(1.0)
    assert call.ends_within(1.0)
    assert call.result() == "found"
    assert waited == [0.0, None]


def test_a_call_that_is_given_up_at_the_moment_when_it_ends_leaves_no_pause() -> None:
    store, go = object(), threading.Event()
    call = StoreCall(store, "load", go.wait, 20.0, lambda _: None, on_thread=True)
    decision = call._decision

    class Decision:
        """The decision of a call that is given up when it has just answered."""

        def acquire(self, *, blocking: bool) -> bool:
            call._decision, call._deadline = decision, 0.0
            assert call.ends_within(1.0)
            return decision.acquire(blocking=blocking)

    call._decision = Decision()  # type: ignore[assignment]
    go.set()
    store_calls_done()
    with pytest.raises(GivenUp):
        call.result()
    assert calls._pauses.permit((id(store), "load"))


# Where a store is called.


class WhereStore(MemoryStore):
    """A store that notes the threads in which it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: set[str] = set()

    def load(self, key: str) -> Token | None:
        self.threads.add(threading.current_thread().name)
        return super().load(key)


def test_a_store_is_called_on_threads_of_its_own(world: World) -> None:
    store = WhereStore()
    world.call(world.session(store))
    assert store.threads == {"oauthcc-store"}
    store_calls_done()


def test_under_requests_mock_a_store_is_called_in_the_thread_of_the_caller(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, real = WhereStore(), requests.Session.send

    def send(session: requests.Session, *args: Any, **kwargs: Any) -> requests.Response:
        return real(session, *args, **kwargs)

    send.__module__ = "requests_mock.mocker"
    monkeypatch.setattr(requests.Session, "send", send)
    assert sent(world.session(store), world) == world.auth.issued[0]
    assert store.threads == {threading.current_thread().name}


def test_without_threads_a_store_is_called_in_the_thread_of_the_caller(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = WhereStore()
    session = world.session(store)
    real = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        if thread.name.startswith("oauthcc"):
            raise RuntimeError("can't start new thread")
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    assert sent(session, world) == world.auth.issued[0]
    assert store.threads == {threading.current_thread().name}


def test_a_store_that_uses_its_session_gets_an_error_and_does_not_wait(world: World) -> None:
    class Recursive(MemoryStore):
        def load(self, key: str) -> Token | None:
            return session.tokens.get()

    session = world.session(Recursive())
    assert world.call(session) == world.auth.issued[0]
    assert world.bypassed() == [("load", "TokenError")]


class Panic(BaseException):
    """As the exceptions of gevent.Timeout, of asyncio and of extensions written in Rust."""


@pytest.mark.parametrize("error", [Panic, SystemExit, KeyboardInterrupt, GeneratorExit])
@pytest.mark.parametrize("operation", ["load", "lock", "enter", "save", "unlock"])
def test_an_exception_that_ends_the_thread_of_a_store_costs_no_call(
    operation: str, error: Any, world: World
) -> None:
    store = FailingStore(**{operation: raising(error("the token"))})
    assert world.call(world.session(store)) == world.auth.issued[0]
    assert world.bypassed() == [(operation.replace("enter", "lock"), error.__name__)]
    store.failures.clear()
    with store.lock(key_of(world.sessions[0].tokens), 0):
        pass  # it was released


def test_a_late_exception_that_ends_the_thread_of_a_store_is_not_shown(
    world: World, stop: Hanging, impatient: None, capfd: pytest.CaptureFixture[str]
) -> None:
    fail: Any = raising(Panic("the token"))
    world.call(world.session(HangingStore(lock=[stop], unlock=[fail])))
    stop.end()
    assert "the token" not in capfd.readouterr().err


def test_no_lock_is_acquired_while_another_one_is_not_released(
    world: World, stop: Hanging, impatient: None
) -> None:
    store, session = hung(world, unlock=[stop])
    world.expire()
    store.called.clear()
    world.clock.monotonic -= 3600  # during the pause
    world.call(session)
    assert "lock" not in store.called
    stop.end()
    world.expire()
    world.call(session)
    assert store.called[-1] == "unlock"


@needs_fork
@fork_among_threads
def test_a_child_does_not_wait_for_a_store_that_hung_in_its_parent(
    world: World, stop: Hanging, impatient: None
) -> None:
    store, _ = hung(world, load=[stop])
    session = world.session(store)
    store.called.clear()
    assert Child(lambda: (sent(session, world), store.called[0])).result()[1] == "load"


# Many calls that hang at once.


def test_calls_that_hang_together_begin_one_pause(clock: Clock) -> None:
    pauses, place = calls._Pauses(), (1, "load")
    began = clock.monotonic
    for _ in range(100):
        pauses.begin(place, began)
        clock.advance(0.001)
    clock.advance(calls.PAUSE_FIRST)
    assert [pauses.permit(place) for _ in range(3)] == [True, False, False]


def test_the_pauses_of_a_store_that_never_answers_grow_up_to_a_limit(clock: Clock) -> None:
    pauses, place, tried = calls._Pauses(), (1, "load"), 0
    for _ in range(24 * 3600):
        if pauses.permit(place):
            tried += 1
            pauses.begin(place, clock.monotonic)
        clock.advance(1)
    assert tried < 24 * 3600 / calls.PAUSE_MAX + 12
    pauses.end(place)
    assert pauses.permit(place)
    assert pauses.permit(place)


@pytest.fixture
def clock() -> Clock:
    return Clock().install()


# Redis under SIGSTOP.


@pytest.fixture
def plain_client(redis_server: RedisServer) -> Iterator[Any]:
    """Return a client with the time-outs and retries that redis-py has by itself."""
    with redis.Redis(port=redis_server.port) as client:
        yield client
        store_calls_done()


@pytest.mark.parametrize("frozen", ["before", "during"])
def test_a_redis_that_is_frozen_costs_no_call(
    frozen: str,
    world: World,
    redis_server: RedisServer,
    plain_client: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("oauthcc.tokens.fetcher.SAVE_PATIENCE", 0.0)
    store = RedisStore(plain_client)
    session = world.session(store)
    plain_client.ping()
    if frozen == "before":
        redis_server.freeze()
        monkeypatch.setattr(guarded, "LIMIT", 0.1)
        answers = together(1, lambda: sent(session, world))
    else:
        answers = []
        with world.auth.hold() as gate:
            threads = in_threads(1, lambda: answers.append(sent(session, world)))
            gate.wait_for(1)
            redis_server.freeze()
            monkeypatch.setattr(guarded, "LIMIT", 0.1)
        joined(threads)
    flights_done()
    redis_server.thaw()
    assert answers == world.auth.issued
    operations = [operation for operation, _ in world.bypassed()]
    assert operations == (["load"] if frozen == "before" else ["save", "unlock"])
    store_calls_done()
    # It is used again as soon as it answers.
    monkeypatch.setattr(guarded, "LIMIT", 20.0)
    plain_client.flushall()
    world.expire()
    assert is_shared(world, store, world.call(session))
    assert world.bypassed() == []
