"""Many callers, outages and interruptions: token requests that they cost, and what callers get."""

from __future__ import annotations

import gc
import logging
import random
import threading
import traceback
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter
from urllib3 import Timeout

from oauthcc import (
    ClientCredentialsSession,
    ConfigurationError,
    InvalidTokenResponse,
    TokenEndpointTimeout,
    TokenEndpointUnavailable,
    TokenEndpointUnreachable,
    TokenError,
    TokenRequestDenied,
)
from oauthcc.events import Event, RefusalRemembered, RenewalFailed, RequestReplayed, TokenObtained
from oauthcc.testing import AuthorizationServer, ProtectedAPI, SeenRequest
from oauthcc.testing.faults import Outcome, hang, oauth_error, unavailable
from oauthcc.tokens import source, state

from .clock import (
    FLIGHT,
    Clock,
    flights,
    flights_done,
    in_threads,
    joined,
    moved_clock,
    together,
    until,
)
from .inside import (
    abandon,
    delay_release,
    failure_of,
    flight_lock_of,
    flight_of,
    state_of,
    waiters_of,
)

pytestmark = pytest.mark.unmeasured

MANY = 64


class World:
    """The servers and sessions of one test, all on one clock."""

    def __init__(self, auth: AuthorizationServer, api: ProtectedAPI, clock: Clock) -> None:
        self.auth, self.api, self.clock = auth, api, clock
        self.events: list[Event] = []
        self.statuses: list[int] = []
        self.sessions: list[ClientCredentialsSession] = []
        auth.now = clock.time
        api.watch = self.note

    def note(self, request: SeenRequest, outcome: Outcome) -> None:
        self.statuses.append(getattr(outcome, "status", 0))

    def session(self, secret: Any = None, **options: Any) -> ClientCredentialsSession:
        secret = self.auth.client_secret if secret is None else secret
        options.setdefault("on_event", self.events.append)
        session = ClientCredentialsSession(
            self.auth.token_url, self.auth.client_id, secret, **options
        )
        self.sessions.append(session)
        return session

    def get(self, session: requests.Session, **options: Any) -> int:
        options.setdefault("timeout", 20)
        with session.get(f"{self.api.url}/x", **options) as response:
            return response.status_code

    @property
    def asked(self) -> int:
        return len(self.auth.token_requests)

    def emitted(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    clock = moved_clock(monkeypatch)
    with AuthorizationServer() as auth, ProtectedAPI(auth) as api:
        made = World(auth, api, clock)
        yield made
        for session in made.sessions:
            session.close()
        del made.sessions[:]
    flights_done()


def storm(world: World, session: ClientCredentialsSession, call: Callable[[], Any]) -> list[Any]:
    """Make a call in many threads, and hold the token endpoint until all of them wait."""
    outcomes: list[Any] = []
    with world.auth.hold() as gate:
        runner = threading.Thread(target=lambda: outcomes.extend(together(MANY, call)))
        runner.start()
        gate.wait_for(1, 20)
        until(lambda: waiters_of(session.tokens) == MANY)
    joined([runner])
    return outcomes


# -- storms ----------------------------------------------------------------------------------------


def test_64_cold_threads_cost_one_token_request(world: World) -> None:
    session = world.session()
    assert storm(world, session, lambda: world.get(session)) == [200] * MANY
    assert (world.asked, world.auth.max_concurrent) == (1, 1)
    flights_done()
    (event,) = world.emitted(TokenObtained)
    assert (event.why, event.waiters, event.attempts) == ("absent", MANY, 1)


def test_64_threads_at_expiry_cost_one_token_request(world: World) -> None:
    session = world.session()
    world.get(session)
    world.clock.advance(3601)
    assert storm(world, session, lambda: world.get(session)) == [200] * MANY
    assert (world.asked, world.auth.max_concurrent) == (2, 1)
    assert 401 not in world.statuses
    flights_done()
    assert world.emitted(TokenObtained)[-1].why == "expired"


def test_64_threads_hit_by_one_revocation_cost_one_token_request(world: World) -> None:
    session = world.session()
    world.get(session)
    world.auth.revoke_all()
    assert storm(world, session, lambda: world.get(session)) == [200] * MANY
    assert (world.asked, world.auth.max_concurrent) == (2, 1)
    flights_done()
    event = world.emitted(TokenObtained)[-1]
    assert (event.why, event.waiters) == ("refused", MANY)
    assert len(world.emitted(RequestReplayed)) == world.statuses.count(401)


def test_storms_at_full_speed_cost_one_token_request_each(world: World) -> None:
    session = world.session()
    for asked in range(1, 4):
        assert together(MANY, lambda: world.get(session)) == [200] * MANY
        assert world.asked == asked
        world.auth.revoke_all()
    assert world.auth.max_concurrent == 1


# -- renewal in the background, and outages -------------------------------------------------------


def test_no_call_waits_or_fails_over_several_expiries(world: World) -> None:
    world.auth.token_lifetime = 5
    session = world.session()
    world.get(session)
    gate, ticks = world.auth.hold(), 0
    for _ in range(20 * 20):  # 20 calls a second for 20 seconds
        world.clock.advance(1 / 20)
        # A call that waited would wait without end: the gate opens after six more calls.
        assert world.get(session) == 200
        ticks += flight_of(session.tokens) is not None
        if ticks == 6:  # the token endpoint takes 300 ms
            gate.wait_for(1)
            gate.release()
            flights_done()
            gate, ticks = world.auth.hold(), 0
    gate.release()
    flights_done()
    assert set(world.statuses) == {200}
    assert 5 <= world.asked <= 8
    whys = [event.why for event in world.emitted(TokenObtained)]
    assert whys == ["absent", *["aging"] * (len(whys) - 1)]
    assert [event.waiters for event in world.emitted(TokenObtained)][1:] == [0] * (len(whys) - 1)


def begin_outage(world: World, kind: str) -> None:
    if kind == "503":
        world.auth.answer_next(unavailable(503, None), None)
    elif kind == "refused":
        world.auth.down()
    else:
        world.auth.answer_next(hang(), 1)


def end_outage(world: World) -> None:
    world.auth.answer_normally()
    world.auth.down()  # this ends requests that hang
    world.auth.up()


@pytest.mark.parametrize("kind", ["503", "refused", "hang"])
def test_no_call_fails_in_an_outage_while_the_token_is_aging(world: World, kind: str) -> None:
    session = world.session()
    world.auth.token_lifetime = 60
    world.get(session)
    world.auth.forget()
    world.clock.advance(49)
    begin_outage(world, kind)
    for _ in range(140):  # 3.5 seconds
        assert world.get(session) == 200
        if kind != "hang":
            flights_done()
        world.clock.advance(1 / 40)
    attempts = len(world.emitted(RenewalFailed)) if kind == "refused" else world.asked
    assert 1 <= attempts <= 3
    assert world.auth.max_concurrent <= 1
    assert all(event.usable and event.next_try_in > 0 for event in world.emitted(RenewalFailed))
    end_outage(world)
    flights_done()
    world.clock.advance(6)  # into the margin, before which every pause ends
    assert world.get(session) == 200  # it does not wait, because the last fetch has failed
    flights_done()
    assert len(world.auth.issued) == 2
    assert set(world.statuses) == {200}


@pytest.mark.parametrize(
    ("kind", "error"), [("503", TokenEndpointUnavailable), ("refused", TokenEndpointUnreachable)]
)
def test_an_outage_after_expiry_is_one_clear_error_and_few_attempts(
    world: World, kind: str, error: type[TokenError]
) -> None:
    session = world.session()
    world.get(session)
    flights_done()
    world.clock.advance(3601)
    world.auth.forget()
    world.events.clear()
    begin_outage(world, kind)
    for _ in range(64):  # eight seconds
        with pytest.raises(error, match="token") as caught:
            world.get(session)
        assert isinstance(caught.value, requests.RequestException)
        assert caught.value.status_code == (503 if kind == "503" else None)
        world.clock.advance(1 / 8)
    flights_done()
    # Fetches after 0, 1, 3 and 7 seconds, with three attempts each.
    assert len(world.emitted(RenewalFailed)) == 4
    assert world.asked == (12 if kind == "503" else 0)
    end_outage(world)
    with pytest.raises(error):
        world.get(session)
    world.clock.advance(3.1)
    assert world.get(session) == 200


@pytest.mark.parametrize(("lifetime", "reused"), [(5, 4.4), (1, 0.85)])
def test_short_lived_tokens_are_used_again(world: World, lifetime: int, reused: float) -> None:
    world.auth.token_lifetime = lifetime
    session = world.session(renew_at=(1.0, 1.0))
    for asked in range(1, 4):
        assert world.get(session) == 200
        world.clock.advance(reused)
        assert world.get(session) == 200
        assert world.asked == asked
        world.clock.advance(lifetime)
    assert 401 not in world.statuses


# -- refusals --------------------------------------------------------------------------------------


def test_100_calls_with_a_wrong_secret_are_one_login_attempt(world: World) -> None:
    session = world.session("wrong")
    for _ in range(100):
        with pytest.raises(TokenRequestDenied, match="Check client_id") as caught:
            world.get(session)
        assert caught.value.error == "invalid_client"
    assert world.asked == 1


def test_a_call_a_second_with_a_wrong_secret_is_seven_login_attempts_in_100(world: World) -> None:
    session = world.session("wrong")
    for _ in range(100):
        with pytest.raises(TokenRequestDenied):
            world.get(session)
        world.clock.advance(1)
    flights_done()
    assert world.asked == 7  # after 0, 1, 3, 7, 15, 31 and 63 seconds
    assert [event.seconds for event in world.emitted(RefusalRemembered)] == pytest.approx(
        [1, 2, 4, 8, 16, 32, 60]
    )


@pytest.mark.parametrize("kind", ["callable", "file"])
def test_a_corrected_secret_is_used_at_the_next_check(
    world: World, kind: str, tmp_path: Path
) -> None:
    path = tmp_path / "secret"
    path.write_text("wrong\n")
    session = world.session(path if kind == "file" else lambda: path.read_text().strip())
    for _ in range(8):
        with pytest.raises(TokenRequestDenied):
            world.get(session)
        world.clock.advance(1)
    assert world.asked == 4
    path.write_text(f"{world.auth.client_secret}\n")
    assert world.get(session) == 200  # although the pause lasts seven more seconds
    assert world.asked == 5


def test_a_secret_that_stays_empty_is_reported_less_and_less_often(world: World) -> None:
    session = world.session(lambda: "")
    for _ in range(28):  # 14 seconds
        with pytest.raises(ConfigurationError, match="is empty"):
            world.get(session)
        world.clock.advance(1 / 2)
    flights_done()
    assert [event.seconds for event in world.emitted(RefusalRemembered)] == [1, 2, 4, 8]
    assert world.asked == 0


def test_90_calls_into_a_429_with_retry_after_are_one_request(world: World) -> None:
    session = world.session()
    world.auth.answer_next(unavailable(429, "60"), None)
    for number in range(90):
        with pytest.raises(TokenEndpointUnavailable, match="in 60 seconds") as caught:
            world.get(session)
        assert (caught.value.status_code, caught.value.retry_after) == (429, 60 - number / 2)
        world.clock.advance(1 / 2)
    assert world.asked == 1
    world.auth.answer_normally()
    world.clock.advance(15)
    assert world.get(session) == 200


def test_every_caller_raises_an_error_of_its_own(world: World) -> None:
    session = world.session()
    world.auth.answer_next(oauth_error("invalid_scope"), None)
    errors = storm(world, session, session.tokens.get)
    assert {type(error) for error in errors} == {TokenRequestDenied}
    assert len({id(error) for error in errors}) == MANY
    assert {error.error for error in errors} == {"invalid_scope"}
    assert all(error.__context__ is None and error.__cause__ is None for error in errors)
    assert world.asked == 1


def test_the_traceback_of_a_remembered_error_does_not_grow(world: World) -> None:
    session = world.session("wrong")
    lengths = set()
    for _ in range(20):
        try:
            session.tokens.get()
        except TokenRequestDenied as error:
            lengths.add(len(traceback.extract_tb(error.__traceback__)))
    # The first caller waited for the fetch, and all others got the error at once.
    assert len(lengths) <= 2
    kept = failure_of(session.tokens)
    assert kept is not None
    assert (kept.__traceback__, kept.__context__) == (None, None)


# -- impatient and interrupted callers -------------------------------------------------------------


@pytest.mark.parametrize(
    "timeout",
    [0.05, (0.02, 0.03), Timeout(0.05), Timeout(connect=0.02, read=0.03)],
    ids=["float", "tuple", "total", "parts"],
)
def test_the_timeout_of_a_caller_limits_its_waiting_and_not_the_fetch(
    world: World, timeout: Any
) -> None:
    session = world.session()
    with world.auth.hold() as gate:
        for _ in range(2):
            with pytest.raises(TokenEndpointTimeout, match=r"within 0\.05 s") as caught:
                world.get(session, timeout=timeout)
            assert isinstance(caught.value, requests.Timeout)
        gate.wait_for(1)
        assert len(flights()) == 1
    flights_done()
    assert world.get(session) == 200
    assert world.asked == 1


def test_a_signal_handler_that_uses_the_session_does_not_hang(world: World) -> None:
    session = world.session()
    # The handler has interrupted the thread that holds the lock.
    with flight_lock_of(session.tokens), pytest.raises(TokenEndpointTimeout):
        session.tokens.get(timeout=0.01)
    flights_done()
    assert world.get(session) == 200
    assert world.asked == 1


# -- a session that is used inside of its own token request ----------------------------------------


def causes(error: BaseException | None) -> list[str]:
    texts = []
    while error is not None:
        texts.append(str(error))
        error = error.__cause__
    return texts


@pytest.mark.measured
@pytest.mark.parametrize("number", [1, 2])
def test_secrets_that_need_one_another_are_an_error_and_no_deadlock(
    world: World, number: int
) -> None:
    def secret_of(index: int) -> Callable[[], str]:
        return lambda: sessions[(index + 1) % number].get(world.api.url).text

    sessions = [world.session(secret_of(index)) for index in range(number)]
    with pytest.raises(TokenError, match="its callable raised TokenError") as caught:
        world.get(sessions[0])
    assert "inside of its own token request" in causes(caught.value)[-1]
    assert world.asked == 0


def test_a_secret_may_be_fetched_with_the_old_token_while_that_is_aging(world: World) -> None:
    asked: list[int] = []

    def secret() -> str:
        if asked:
            assert world.get(session) == 200
        asked.append(1)
        return world.auth.client_secret

    session = world.session(secret)
    world.get(session)
    world.clock.advance(3000)
    assert world.get(session) == 200
    flights_done()
    assert (world.asked, len(asked)) == (2, 2)


def test_a_secret_may_come_through_another_session(world: World) -> None:
    vault = world.session()
    session = world.session(lambda: "demo-secret" if world.get(vault) == 200 else "")
    assert world.get(session) == 200


# -- observers -------------------------------------------------------------------------------------


def test_an_observer_may_use_the_session(world: World) -> None:
    def observer(event: Event) -> None:
        world.events.append(event)
        seen.append(world.get(session))

    seen: list[int] = []
    session = world.session(on_event=observer)
    assert world.get(session) == 200
    flights_done()
    assert seen == [200]
    assert world.asked == 1


def test_an_observer_gets_no_events_that_it_causes(world: World) -> None:
    def observer(event: Event) -> None:
        world.events.append(event)
        world.get(session)

    world.auth.token_lifetime = 0  # every call needs a token of its own
    world.auth.real_lifetime = 60
    session = world.session(on_event=observer)
    assert world.get(session) == 200
    flights_done()
    assert world.asked == 2
    assert [type(event) for event in world.events] == [TokenObtained]


def test_exceptions_in_an_observer_are_logged_and_ignored(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    def observer(event: Event) -> None:
        raise RuntimeError("observers have bugs")

    session = world.session(on_event=observer)
    assert world.get(session) == 200
    world.auth.revoke_all()
    assert world.get(session) == 200
    flights_done()
    records = [record for record in caplog.records if record.name == "oauthcc"]
    assert [record.levelno for record in records if record.exc_info] == [logging.ERROR] * 3
    assert caplog.text.count("observers have bugs") >= 3


def test_an_observer_is_called_outside_all_locks_after_the_fetch(world: World) -> None:
    found: list[Any] = []

    def observer(event: Event) -> None:
        # Another thread would wait for a lock that this one holds.
        found.extend(together(1, lambda: session.tokens.get(timeout=5)))

    session = world.session(on_event=observer)
    token = session.tokens.get()
    flights_done()
    assert found == [token]
    assert world.asked == 1


def test_a_slow_observer_delays_nobody(world: World) -> None:
    free = threading.Event()
    session = world.session(on_event=lambda event: free.wait(20))
    try:
        assert together(MANY, lambda: world.get(session)) == [200] * MANY
        world.clock.advance(3601)
        assert world.get(session) == 200
        assert len(flights()) == 2
    finally:
        free.set()


# -- no threads ------------------------------------------------------------------------------------


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Refuse every flight its thread; the list gets an item each time."""
    refused: list[int] = []
    start = threading.Thread.start

    def start_others(thread: threading.Thread) -> None:
        if thread.name == FLIGHT:
            refused.append(1)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_others)
    yield refused
    monkeypatch.undo()


def test_without_a_thread_the_first_caller_fetches_the_token_and_the_others_wait(
    world: World, no_threads: list[int]
) -> None:
    session = world.session()
    assert storm(world, session, lambda: world.get(session)) == [200] * MANY
    assert world.asked == len(no_threads) == 1
    assert world.emitted(TokenObtained)[0].waiters == MANY


@pytest.mark.measured
def test_without_a_thread_an_aging_token_is_used_and_the_next_thread_is_tried_later(
    world: World, no_threads: list[int]
) -> None:
    session = world.session()
    world.get(session)
    world.clock.advance(3000)
    for _ in range(40):
        assert world.get(session) == 200
    assert len(no_threads) == 2
    world.clock.advance(2)
    assert world.get(session) == 200
    assert len(no_threads) == 3
    world.clock.advance(595)  # in the margin
    assert world.get(session) == 200
    assert world.asked == 2


# -- abandoned fetches -----------------------------------------------------------------------------


@pytest.mark.measured
def test_early_renewals_that_hang_become_rare(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    free, calls = threading.Event(), []

    def secret() -> str:
        calls.append(1)
        assert len(calls) == 1 or free.wait(20)
        return world.auth.client_secret

    session = world.session(secret)
    world.get(session)
    world.clock.advance(3000)
    monkeypatch.setattr(source, "EARLY_BUDGET", 0.0)
    # The pauses are 2 and 4 seconds.
    drawn = SimpleNamespace(uniform=random.uniform, random=lambda: 1.0)
    monkeypatch.setattr(state, "random", drawn)
    begun = []
    for _ in range(3):
        assert [world.get(session) for _ in range(20)] == [200] * 20
        begun.append(len(flights()))
        world.clock.advance(2)
    assert begun == [2, 3, 3]
    free.set()


class SlowFirst:
    """Numbered tokens, the first of which comes late; it may be empty, which is an error."""

    def __init__(self, auth: AuthorizationServer, first: str = "token-1") -> None:
        self.number, self.free, self.first = 0, threading.Event(), first
        auth.make_token = self.make_token

    def make_token(self) -> str:
        self.number += 1
        if self.number > 1:
            return f"token-{self.number}"
        assert self.free.wait(20)
        return self.first

    def abandon(self, session: ClientCredentialsSession) -> tuple[list[Any], list[Thread]]:
        """Start a fetch and abandon it; return where its outcome will be, and the thread."""
        outcomes: list[Any] = []

        def call() -> None:
            try:
                outcomes.append(session.tokens.get().access_token)
            except TokenError as error:
                outcomes.append(error)

        threads = in_threads(1, call)
        until(lambda: self.number == 1)
        abandon(session.tokens)
        return outcomes, threads

    def end(self, threads: list[Thread]) -> None:
        """End the abandoned fetch."""
        self.free.set()
        joined(threads)
        flights_done()


def test_a_late_token_of_an_abandoned_fetch_replaces_no_newer_one(world: World) -> None:
    session, slow = world.session(), SlowFirst(world.auth)
    outcomes, threads = slow.abandon(session)
    assert session.tokens.get().access_token == "token-2"
    world.clock.advance(3000)  # token-2 is aging, and token-1 has even less time to live
    slow.end(threads)
    assert outcomes == ["token-2"]  # its caller gets the newer token
    assert session.tokens.get().access_token == "token-2"
    flights_done()
    assert session.tokens.get().access_token == "token-3"
    world.auth.revoke_all()
    assert world.get(session) == 200
    assert (world.asked, world.statuses) == (4, [401, 200])


def test_a_late_failure_of_an_abandoned_fetch_replaces_no_newer_token(world: World) -> None:
    session, slow = world.session(), SlowFirst(world.auth, first="")
    outcomes, threads = slow.abandon(session)
    assert world.get(session) == 200
    slow.end(threads)
    assert outcomes == ["token-2"]  # its caller gets the newer token
    world.auth.revoke_all()
    assert world.get(session) == 200  # the server is asked, and the old error is not raised
    assert (world.asked, world.statuses) == (3, [200, 401, 200])
    (event,) = world.emitted(RenewalFailed)
    assert (event.usable, event.next_try_in) == (True, 0.0)


def test_a_late_failure_of_an_abandoned_fetch_replaces_no_newer_failure(world: World) -> None:
    session, slow = world.session(), SlowFirst(world.auth, first="")
    outcomes, threads = slow.abandon(session)
    world.auth.refuse_next(error="invalid_scope", status=400)
    with pytest.raises(TokenRequestDenied):
        world.get(session)
    slow.end(threads)
    assert [type(error) for error in outcomes] == [InvalidTokenResponse]
    with pytest.raises(TokenRequestDenied, match="invalid_scope"):
        world.get(session)
    world.clock.advance(1)
    assert world.get(session) == 200
    assert world.asked == 3


def test_a_fetch_that_ends_late_leaves_the_one_in_progress_alone(world: World) -> None:
    session, slow = world.session(), SlowFirst(world.auth)
    outcomes, threads = slow.abandon(session)
    late = flight_of(session.tokens)
    with world.auth.hold() as gate:
        waiting = in_threads(1, session.tokens.get)
        gate.wait_for(1)
        in_progress = flight_of(session.tokens)
        assert in_progress is not late
        slow.free.set()
        joined(threads)
        assert outcomes == ["token-1"]
        assert flight_of(session.tokens) is in_progress
    joined(waiting)
    assert world.asked == 2


def test_abandoned_fetches_leave_nothing_behind(world: World) -> None:
    session = world.session()
    with world.auth.hold() as gate:
        for number in range(1, 6):
            with pytest.raises(TokenEndpointTimeout):
                session.tokens.get(timeout=0.01)
            gate.wait_for(number)
            abandon(session.tokens)
        assert len(flights()) == 5
    flights_done()
    assert flights() == []
    assert world.get(session) == 200
    assert world.asked == 5


def test_a_caller_whose_new_token_is_refused_does_not_join_the_fetch_of_that_token(
    world: World,
) -> None:
    session, free = world.session(), threading.Event()
    with world.auth.hold() as gate:
        first = in_threads(1, session.tokens.get)
        gate.wait_for(1)
        delay_release(session.tokens, free)
    until(lambda: state_of(session.tokens).current is not None)
    new = session.tokens.get()
    renewed = session.tokens.renew(new, timeout=5)
    free.set()
    joined(first)
    assert renewed != new
    assert session.tokens.get() == renewed


# -- dropped sessions ------------------------------------------------------------------------------


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    gc.collect()


def dropped(world: World, use: Callable[[ClientCredentialsSession], Any], secret: Any) -> list[Any]:
    """Use a session, drop it, and return what is left of it."""
    session = world.session(secret, on_event=None)
    world.sessions.clear()
    use(session)
    flights_done()
    tokens = session.tokens
    left: list[Callable[[], Any]] = [
        weakref.ref(thing) for thing in (session, tokens, tokens.endpoint)
    ]
    del tokens
    session.close()
    del session
    return [ref() for ref in left]


def failing(call: Callable[[], Any]) -> None:
    with pytest.raises(TokenError):
        call()


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize(
    ("use", "secret"),
    [
        pytest.param(lambda world, session: None, None, id="unused"),
        pytest.param(lambda world, session: world.get(session), None, id="used"),
        pytest.param(lambda world, session: failing(session.tokens.get), "wrong", id="refused"),
    ],
)
def test_a_dropped_session_is_freed_at_once(world: World, use: Any, secret: Any) -> None:
    assert dropped(world, lambda session: use(world, session), secret) == [None, None, None]


@pytest.mark.usefixtures("no_collector")
def test_a_dropped_session_is_freed_at_once_after_an_outage(world: World) -> None:
    world.auth.answer_next(unavailable(503, None), None)
    left = dropped(world, lambda session: failing(session.tokens.get), None)
    assert left == [None, None, None]
    assert world.asked == 3


@pytest.mark.usefixtures("no_collector")
def test_a_dropped_session_is_freed_at_once_after_a_connection_was_refused(world: World) -> None:
    world.auth.down()
    left = dropped(world, lambda session: failing(session.tokens.get), None)
    assert left[0] is None  # a reference cycle of urllib3 keeps the rest until it is collected
    world.auth.up()


@pytest.mark.usefixtures("no_collector")
def test_a_dropped_session_is_freed_at_once_after_a_caller_failed_to_fetch(
    world: World, no_threads: list[int]
) -> None:
    left = dropped(world, lambda session: failing(session.tokens.get), "wrong")
    assert left == [None, None, None]
    assert no_threads


@pytest.mark.usefixtures("no_collector")
def test_a_session_that_is_dropped_during_its_fetch_is_freed_after_it(world: World) -> None:
    session = world.session(on_event=None)
    world.sessions.clear()
    with world.auth.hold() as gate:
        with pytest.raises(TokenEndpointTimeout):
            world.get(session, timeout=0.01)
        gate.wait_for(1)
        refs = weakref.ref(session), weakref.ref(session.tokens)
        session.close()
        del session
        assert refs[0]() is not None
    flights_done()
    assert [ref() for ref in refs] == [None, None]


def test_the_fetch_of_a_dropped_session_goes_through_its_own_adapters(world: World) -> None:
    class Own(HTTPAdapter):
        def send(self, *args: Any, **kwargs: Any) -> Any:
            used.append(world.asked)
            return super().send(*args, **kwargs)

    used: list[int] = []
    session = world.session(on_event=None)
    session.mount("http://", Own())
    world.sessions.clear()
    world.auth.answer_next(unavailable(503, None), 1)  # so there is a second attempt
    with world.auth.hold() as gate:
        with pytest.raises(TokenEndpointTimeout):
            session.tokens.get(timeout=0.01)
        gate.wait_for(1)
        del session
        gc.collect()
    flights_done()
    assert world.asked == len(used) == 2
