"""Many callers, bad hours and bad luck: what they cost the token endpoint and what callers feel."""

from __future__ import annotations

import contextvars
import gc
import logging
import signal
import subprocess
import sys
import textwrap
import threading
import traceback
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from urllib3 import Timeout

from oauthcc import (
    ClientCredentialsSession,
    ConfigurationError,
    TokenEndpointTimeout,
    TokenEndpointUnavailable,
    TokenEndpointUnreachable,
    TokenError,
    TokenRequestDenied,
)
from oauthcc.events import Event, RefusalRemembered, RenewalFailed, RequestReplayed, TokenObtained
from oauthcc.testing import AuthorizationServer, ProtectedAPI, SeenRequest
from oauthcc.testing.faults import Outcome, hang, oauth_error, unavailable

from .clock import (
    FLIGHT,
    Clock,
    flights,
    in_threads,
    joined,
    landed,
    moved_clock,
    together,
    until,
)

MANY = 64
ROOT = Path(__file__).resolve().parent.parent


class World:
    """Servers and sessions of one test, all on one clock."""

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

    def told(self, kind: type[Event]) -> list[Any]:
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
    landed()


def storm(world: World, session: ClientCredentialsSession, call: Callable[[], Any]) -> list[Any]:
    """Make a call in many threads, and hold the token endpoint until all of them wait for it."""
    outcomes: list[Any] = []
    with world.auth.hold() as gate:
        runner = threading.Thread(target=lambda: outcomes.extend(together(MANY, call)))
        runner.start()
        gate.wait_for(1, 20)
        flight = session.tokens._fetching.flight
        assert flight is not None
        until(lambda: flight.waiters == MANY)
    joined([runner])
    return outcomes


# -- storms ----------------------------------------------------------------------------------------


def test_64_cold_threads_cost_one_token_request(world: World) -> None:
    session = world.session()
    assert storm(world, session, lambda: world.get(session)) == [200] * MANY
    assert (world.asked, world.auth.max_concurrent) == (1, 1)
    landed()
    (event,) = world.told(TokenObtained)
    assert (event.why, event.waiters, event.attempts) == ("absent", MANY, 1)


def test_64_threads_at_expiry_cost_one_token_request(world: World) -> None:
    session = world.session()
    world.get(session)
    world.clock.advance(3601)
    assert storm(world, session, lambda: world.get(session)) == [200] * MANY
    assert (world.asked, world.auth.max_concurrent) == (2, 1)
    assert 401 not in world.statuses
    landed()
    assert world.told(TokenObtained)[-1].why == "expired"


def test_64_threads_hit_by_one_revocation_cost_one_token_request(world: World) -> None:
    session = world.session()
    world.get(session)
    world.auth.revoke_all()
    assert storm(world, session, lambda: world.get(session)) == [200] * MANY
    assert (world.asked, world.auth.max_concurrent) == (2, 1)
    landed()
    event = world.told(TokenObtained)[-1]
    assert (event.why, event.waiters) == ("refused", MANY)
    assert len(world.told(RequestReplayed)) == world.statuses.count(401)


def test_storms_that_nothing_slows_down_cost_one_token_request_each(world: World) -> None:
    session = world.session()
    for asked in range(1, 4):
        assert together(MANY, lambda: world.get(session)) == [200] * MANY
        assert world.asked == asked
        world.auth.revoke_all()
    assert world.auth.max_concurrent == 1


def test_a_late_refusal_of_an_old_token_costs_nothing(world: World) -> None:
    session = world.session()
    world.get(session)
    with world.api.hold() as gate:
        slow = threading.Thread(target=lambda: world.get(session))
        slow.start()
        gate.wait_for(1)
        world.auth.revoke_all()
        session.tokens.renew()
    joined([slow])
    assert world.asked == 2
    assert world.statuses == [200, 401, 200]


def test_one_forbidden_route_beside_good_ones_costs_few_token_requests(world: World) -> None:
    session = world.session()
    world.api.refuse_next(None, path="/bad")
    for _ in range(120):  # two minutes, a call of each kind a second
        assert session.get(f"{world.api.url}/bad", timeout=20).status_code == 401
        assert world.get(session) == 200
        world.clock.advance(1)
    # The first one, then one after pauses of 0, 1, 2, 4, 8, 16 and 32 seconds.
    assert world.asked == 8


# -- renewal that nobody notices -------------------------------------------------------------------


def test_no_call_waits_or_fails_over_several_expiries(world: World) -> None:
    world.auth.token_lifetime = 5
    session = world.session()
    world.get(session)
    gate, ticks = world.auth.hold(), 0
    for _ in range(20 * 20):  # 20 calls a second for 20 seconds
        world.clock.advance(1 / 20)
        # A call that waited would wait for itself: the gate opens when 6 more calls were made.
        assert world.get(session) == 200
        ticks += session.tokens._fetching.flight is not None
        if ticks == 6:  # the token endpoint takes 300 ms
            gate.wait_for(1)
            gate.release()
            landed()
            gate, ticks = world.auth.hold(), 0
    gate.release()
    landed()
    assert set(world.statuses) == {200}
    assert 5 <= world.asked <= 8
    whys = [event.why for event in world.told(TokenObtained)]
    assert whys == ["absent", *["aging"] * (len(whys) - 1)]
    assert [event.waiters for event in world.told(TokenObtained)][1:] == [0] * (len(whys) - 1)


def begin_outage(world: World, kind: str) -> None:
    if kind == "503":
        world.auth.answer_next(unavailable(503, None), None)
    elif kind == "refused":
        world.auth.down()
    else:
        world.auth.answer_next(hang(), 1)


def end_outage(world: World) -> None:
    world.auth.answer_normally()
    world.auth.down()  # whoever hangs is let go
    world.auth.up()


@pytest.mark.parametrize("kind", ["503", "refused", "hang"])
def test_an_outage_in_the_early_window_is_not_felt(world: World, kind: str) -> None:
    session = world.session()
    world.auth.token_lifetime = 60
    world.get(session)
    world.auth.forget()
    world.clock.advance(49)
    begin_outage(world, kind)
    for _ in range(140):  # 3.5 seconds
        assert world.get(session) == 200
        if kind != "hang":
            landed()
        world.clock.advance(1 / 40)
    attempts = len(world.told(RenewalFailed)) if kind == "refused" else world.asked
    assert 1 <= attempts <= 3
    assert world.auth.max_concurrent <= 1
    assert all(event.usable and event.next_try_in > 0 for event in world.told(RenewalFailed))
    end_outage(world)
    landed()
    world.clock.advance(6)  # into the margin, where no pause reaches
    assert world.get(session) == 200
    assert len(world.auth.issued) == 2
    assert set(world.statuses) == {200}


@pytest.mark.parametrize(
    ("kind", "error"), [("503", TokenEndpointUnavailable), ("refused", TokenEndpointUnreachable)]
)
def test_an_outage_past_expiry_is_one_clear_error_and_few_attempts(
    world: World, kind: str, error: type[TokenError]
) -> None:
    session = world.session()
    world.get(session)
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
    landed()
    # Flights after 0, 1, 3 and 7 seconds, of three attempts each.
    assert len(world.told(RenewalFailed)) == 4
    assert world.asked == (12 if kind == "503" else 0)
    end_outage(world)
    with pytest.raises(error):
        world.get(session)
    world.clock.advance(3.1)
    assert world.get(session) == 200


def test_a_hanging_endpoint_is_an_error_within_the_callers_timeout(world: World) -> None:
    session = world.session()
    with world.auth.hold() as gate:
        for _ in range(5):
            with pytest.raises(TokenEndpointTimeout, match=r"within 0\.02 seconds"):
                world.get(session, timeout=0.02)
        gate.wait_for(1)
    landed()
    assert world.get(session) == 200
    assert world.asked == 1


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
    landed()
    assert world.asked == 7  # after 0, 1, 3, 7, 15, 31 and 63 seconds
    assert [event.seconds for event in world.told(RefusalRemembered)] == pytest.approx(
        [1, 2, 4, 8, 16, 32, 60]
    )


@pytest.mark.parametrize("kind", ["callable", "file"])
def test_a_mended_secret_is_found_at_the_next_look(world: World, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("wrong\n")
    session = world.session(path if kind == "file" else lambda: path.read_text().strip())
    for _ in range(8):
        with pytest.raises(TokenRequestDenied):
            world.get(session)
        world.clock.advance(1)
    assert world.asked == 4
    path.write_text(f"{world.auth.client_secret}\n")
    assert world.get(session) == 200  # though the pause has seven more seconds to go
    assert world.asked == 5


def test_a_secret_that_stays_unfit_is_told_by_the_back_off(world: World) -> None:
    session = world.session(lambda: "")
    for _ in range(28):  # 14 seconds
        with pytest.raises(ConfigurationError, match="is empty"):
            world.get(session)
        world.clock.advance(1 / 2)
    landed()
    assert [event.seconds for event in world.told(RefusalRemembered)] == [1, 2, 4, 8]
    assert world.asked == 0


def test_90_calls_into_a_429_with_retry_after_are_one_request(world: World) -> None:
    session = world.session()
    world.auth.answer_next(unavailable(429, "60"), None)
    for _ in range(90):
        with pytest.raises(TokenEndpointUnavailable, match="in 60 seconds") as caught:
            world.get(session)
        assert (caught.value.status_code, caught.value.retry_after) == (429, 60)
        world.clock.advance(1 / 2)
    assert world.asked == 1
    world.auth.answer_normally()
    world.clock.advance(15)
    assert world.get(session) == 200


def test_every_waiter_raises_an_error_of_its_own(world: World) -> None:
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
    # The first waited for the flight, all others were told at once.
    assert len(lengths) <= 2
    failure = session.tokens._ledger.failure
    assert failure is not None
    assert (failure.error.__traceback__, failure.error.__context__) == (None, None)


# -- impatient and interrupted callers -------------------------------------------------------------


@pytest.mark.parametrize(
    "timeout",
    [0.05, (0.02, 0.03), Timeout(0.05), Timeout(connect=0.02, read=0.03)],
    ids=["float", "tuple", "total", "parts"],
)
def test_the_callers_timeout_bounds_the_waiting_and_not_the_flight(
    world: World, timeout: Any
) -> None:
    session = world.session()
    with world.auth.hold() as gate:
        with pytest.raises(TokenEndpointTimeout, match=r"within 0\.05 seconds") as caught:
            world.get(session, timeout=timeout)
        assert isinstance(caught.value, requests.Timeout)
        gate.wait_for(1)
        assert len(flights()) == 1
    landed()
    assert world.get(session) == 200
    assert world.asked == 1


def test_an_impatient_caller_uses_a_refused_token_that_is_still_good_elsewhere(
    world: World,
) -> None:
    session = world.session()
    token = session.tokens.get()
    session.tokens.discard(token)
    with world.auth.hold():
        assert session.tokens.get(timeout=0.01) is token
    landed()
    assert session.tokens.get() is not token


INTERRUPTED = """
import signal, sys, threading
from oauthcc import ClientCredentialsSession
from oauthcc.testing import AuthorizationServer, ProtectedAPI

with AuthorizationServer() as auth, ProtectedAPI(auth) as api:
    with ClientCredentialsSession(auth.token_url, auth.client_id, auth.client_secret) as session:
        gate, said = auth.hold(), []

        def other():
            said.append(session.get(api.url, timeout=20).status_code)

        others = [threading.Thread(target=other) for _ in range(5)]

        def interrupt():
            gate.wait_for(1)
            for thread in others:
                thread.start()
            while session.tokens._fetching.flight.waiters < 6:
                pass
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

        threading.Thread(target=interrupt).start()
        try:
            session.get(api.url, timeout=20)
        except KeyboardInterrupt:
            print("interrupted")
        gate.release()
        for thread in others:
            thread.join(20)
        print(said, session.get(api.url).status_code, len(auth.token_requests))
"""


def run(code: str, *arguments: str) -> str:
    """Run a script in a process of its own and return what it said; it must not complain."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *arguments],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no thread can be signalled here")
def test_an_interrupt_in_the_first_caller_harms_no_other() -> None:
    assert run(INTERRUPTED) == "interrupted\n[200, 200, 200, 200, 200] 200 1\n"


def test_a_signal_handler_that_uses_the_session_does_not_hang(world: World) -> None:
    session = world.session()
    # The handler interrupted us where we hold the lock.
    with session.tokens._fetching.lock, pytest.raises(TokenEndpointTimeout):
        session.tokens.get(timeout=0.01)
    landed()
    assert world.get(session) == 200
    assert world.asked == 1


# -- the session used from inside ------------------------------------------------------------------


def causes(error: BaseException | None) -> list[str]:
    texts = []
    while error is not None:
        texts.append(str(error))
        error = error.__cause__
    return texts


def test_a_secret_that_needs_its_own_session_is_an_error_and_no_deadlock(world: World) -> None:
    session: ClientCredentialsSession = world.session(lambda: session.get(world.api.url).text)
    with pytest.raises(TokenError, match="its callable raised TokenError") as caught:
        world.get(session)
    assert "from inside its own token request" in causes(caught.value)[-1]
    assert world.asked == 0


def test_two_sessions_that_need_each_other_are_an_error_and_no_deadlock(world: World) -> None:
    first: ClientCredentialsSession = world.session(lambda: second.get(world.api.url).text)
    second: ClientCredentialsSession = world.session(lambda: first.get(world.api.url).text)
    for session in (first, second):
        with pytest.raises(TokenError) as caught:
            world.get(session)
        assert any("could not be had" in text for text in causes(caught.value))
    assert world.asked == 0
    landed()


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
    landed()
    assert (world.asked, len(asked)) == (2, 2)


def test_a_secret_may_come_through_another_session(world: World) -> None:
    vault = world.session()
    session = world.session(lambda: "demo-secret" if world.get(vault) == 200 else "")
    assert world.get(session) == 200


def test_the_context_of_the_starter_is_seen_in_the_flight(world: World) -> None:
    tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="nobody")
    seen: list[str] = []

    def secret() -> str:
        seen.append(tenant.get())
        tenant.set("changed in the flight")
        return world.auth.client_secret

    session = world.session(secret)
    mark = tenant.set("first")
    world.get(session)
    assert tenant.get() == "first"
    tenant.set("second")
    world.clock.advance(3000)
    world.get(session)
    landed()
    tenant.reset(mark)
    assert seen == ["first", "second"]


# -- observers -------------------------------------------------------------------------------------


def test_an_observer_may_use_the_session(world: World) -> None:
    def observer(event: Event) -> None:
        world.events.append(event)
        seen.append(world.get(session))

    seen: list[int] = []
    session = world.session(on_event=observer)
    assert world.get(session) == 200
    landed()
    assert seen == [200]
    assert world.asked == 1


def test_an_observer_is_not_told_of_what_it_brings_about(world: World) -> None:
    def observer(event: Event) -> None:
        world.events.append(event)
        world.get(session)

    world.auth.token_lifetime = 0  # every call needs a token of its own
    world.auth.real_lifetime = 60
    session = world.session(on_event=observer)
    assert world.get(session) == 200
    landed()
    assert world.asked == 2
    assert [type(event) for event in world.events] == [TokenObtained]


def test_an_observer_that_raises_is_logged_and_not_felt(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    def observer(event: Event) -> None:
        raise RuntimeError("observers have bugs")

    session = world.session(on_event=observer)
    assert world.get(session) == 200
    world.auth.revoke_all()
    assert world.get(session) == 200
    landed()
    told = [record for record in caplog.records if record.name == "oauthcc"]
    assert [record.levelno for record in told if record.exc_info] == [logging.ERROR] * 3
    assert caplog.text.count("observers have bugs") >= 3


def test_an_observer_is_called_outside_all_locks_when_all_is_done(world: World) -> None:
    found: list[Any] = []

    def observer(event: Event) -> None:
        # Another thread would not come past a lock that this one holds.
        found.extend(together(1, lambda: session.tokens.get(timeout=5)))

    session = world.session(on_event=observer)
    token = session.tokens.get()
    landed()
    assert found == [token]
    assert world.asked == 1


def test_an_observer_that_dawdles_holds_nobody_up(world: World) -> None:
    free = threading.Event()
    session = world.session(on_event=lambda event: free.wait(20))
    try:
        assert together(MANY, lambda: world.get(session)) == [200] * MANY
        world.clock.advance(3601)
        assert world.get(session) == 200
        assert len(flights()) == 2
    finally:
        free.set()


# -- no thread to be had ---------------------------------------------------------------------------


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Refuse a thread to every flight; the list gets an item each time."""
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


def test_without_a_thread_a_cold_caller_flies_in_place_and_others_wait(
    world: World, no_threads: list[int]
) -> None:
    session = world.session()
    assert storm(world, session, lambda: world.get(session)) == [200] * MANY
    assert world.asked == len(no_threads) == 1
    assert world.told(TokenObtained)[0].waiters == MANY


def test_without_a_thread_an_aging_token_is_used_and_threads_are_left_alone(
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


def test_without_a_thread_a_failure_is_an_error_like_any(
    world: World, no_threads: list[int]
) -> None:
    session = world.session("wrong")
    errors = storm(world, session, session.tokens.get)
    assert {type(error) for error in errors} == {TokenRequestDenied}
    assert world.asked == 1


def test_an_interrupt_in_a_flight_in_place_is_told_to_those_who_wait(
    world: World, no_threads: list[int]
) -> None:
    def secret() -> str:
        until(lambda: flight().waiters == 4)
        raise KeyboardInterrupt

    def flight() -> Any:
        return session.tokens._fetching.flight

    def first() -> None:
        with pytest.raises(KeyboardInterrupt):
            session.tokens.get()

    session = world.session(secret)
    pilot = in_threads(1, first)
    until(lambda: flight() is not None)
    errors = together(3, session.tokens.get)
    joined(pilot)
    assert [str(error) for error in errors] == [
        "The token request was interrupted by KeyboardInterrupt; try again."
    ] * 3
    assert not world.events


AT_EXIT = """
import atexit, sys
from oauthcc import ClientCredentialsSession

token_url, url = sys.argv[1:]
session = ClientCredentialsSession(token_url, "demo-client", "demo-secret")

@atexit.register
def goodbye():
    with session:
        print(session.get(url, timeout=20).status_code)
"""


def test_a_session_works_at_exit(world: World) -> None:
    assert run(AT_EXIT, world.auth.token_url, world.api.url) == "200\n"


LEFT_BEHIND = """
import sys, threading
from oauthcc import ClientCredentialsSession, TokenEndpointTimeout

session = ClientCredentialsSession(sys.argv[1], "demo-client", "demo-secret")
try:
    session.tokens.get(timeout=0.01)
except TokenEndpointTimeout:
    print([thread.daemon for thread in threading.enumerate()])
"""


def test_a_flight_under_way_does_not_keep_the_interpreter(world: World) -> None:
    with world.auth.hold():
        assert run(LEFT_BEHIND, world.auth.token_url) == "[False, True]\n"


# -- abandoned flights -----------------------------------------------------------------------------


class SlowFirst:
    """Give tokens, the first of them late."""

    def __init__(self) -> None:
        self.number, self.free = 0, threading.Event()

    def __call__(self) -> str:
        self.number += 1
        name = f"token-{self.number}"
        if name == "token-1":
            assert self.free.wait(20)
        return name


def abandon(session: ClientCredentialsSession) -> None:
    """Let the budget of the flight under way be over."""
    flight = session.tokens._fetching.flight
    assert flight is not None
    flight._deadline = 0.0


def test_a_flight_past_its_budget_is_abandoned_and_comes_late(world: World) -> None:
    world.auth.make_token = slow = SlowFirst()
    session = world.session()
    late: list[str] = []
    patient = in_threads(1, lambda: late.append(session.tokens.get().access_token))
    until(lambda: slow.number == 1)
    abandon(session)
    assert session.tokens.get().access_token == "token-2"
    world.clock.advance(3000)  # the second one is aging; the first has less time to live
    slow.free.set()
    joined(patient)
    landed()
    assert late == ["token-1"]
    held = session.tokens._ledger.held
    assert held is not None
    assert held.token.access_token == "token-2"
    assert world.get(session) == 200


def test_a_late_token_is_kept_where_there_is_no_better_one(world: World) -> None:
    world.auth.make_token = slow = SlowFirst()
    session = world.session()
    with pytest.raises(TokenEndpointTimeout):
        session.tokens.get(timeout=0.01)
    until(lambda: slow.number == 1)
    abandon(session)
    slow.free.set()
    landed()
    assert session.tokens.get().access_token == "token-1"
    assert world.asked == 1


def test_a_late_token_replaces_an_expired_one(world: World) -> None:
    world.auth.make_token = slow = SlowFirst()
    session = world.session()
    patient = in_threads(1, session.tokens.get)
    until(lambda: slow.number == 1)
    abandon(session)
    world.auth.token_fields = {"expires_in": 1}
    session.tokens.get()
    world.auth.token_fields = {}
    world.clock.advance(2)
    slow.free.set()
    joined(patient)
    landed()
    assert session.tokens.get().access_token == "token-1"


def test_a_flight_that_comes_late_leaves_the_one_under_way_alone(world: World) -> None:
    world.auth.make_token = slow = SlowFirst()
    session = world.session()
    waiting = in_threads(1, session.tokens.get)
    until(lambda: slow.number == 1)
    abandon(session)
    late = session.tokens._fetching.flight
    with world.auth.hold() as gate:
        waiting += in_threads(1, session.tokens.get)
        gate.wait_for(1)
        under_way = session.tokens._fetching.flight
        assert under_way is not late
        slow.free.set()
        until(lambda: session.tokens._ledger.held is not None)
        landed_first, *_ = waiting
        joined([landed_first])
        assert session.tokens._fetching.flight is under_way
    joined(waiting)
    assert world.asked == 2


def test_abandoned_flights_leave_nothing_behind(world: World) -> None:
    session = world.session()
    with world.auth.hold() as gate:
        for number in range(1, 6):
            with pytest.raises(TokenEndpointTimeout):
                session.tokens.get(timeout=0.01)
            gate.wait_for(number)
            abandon(session)
        assert len(flights()) == 5
    landed()
    assert flights() == []
    assert world.get(session) == 200
    assert world.asked == 5


def test_whoever_has_a_brand_new_token_refused_does_not_board_the_flight_that_brought_it(
    world: World,
) -> None:
    session, free = world.session(), threading.Event()
    with world.auth.hold() as gate:
        first = in_threads(1, session.tokens.get)
        gate.wait_for(1)
        flight = session.tokens._fetching.flight
        assert flight is not None
        land = flight._landed.set
        flight._landed.set = lambda: land() if free.wait(20) else None  # type: ignore[method-assign]
    until(lambda: session.tokens._ledger.held is not None)
    brought = session.tokens.get()
    renewed = session.tokens.renew(brought, timeout=5)
    free.set()
    joined(first)
    assert renewed != brought
    assert session.tokens.get() == renewed


# -- no reference to a dead session ----------------------------------------------------------------


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
    landed()
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
def test_a_dropped_session_dies_at_once(world: World, use: Any, secret: Any) -> None:
    assert dropped(world, lambda session: use(world, session), secret) == [None, None, None]


@pytest.mark.usefixtures("no_collector")
def test_a_dropped_session_dies_at_once_after_an_outage(world: World) -> None:
    world.auth.answer_next(unavailable(503, None), None)
    left = dropped(world, lambda session: failing(session.tokens.get), None)
    assert left == [None, None, None]
    assert world.asked == 3


@pytest.mark.usefixtures("no_collector")
def test_a_dropped_session_dies_at_once_after_a_connection_was_refused(world: World) -> None:
    world.auth.down()
    left = dropped(world, lambda session: failing(session.tokens.get), None)
    assert left[0] is None  # what urllib3 leaves in a circle holds the rest until it is collected
    world.auth.up()


@pytest.mark.usefixtures("no_collector")
def test_a_dropped_session_dies_at_once_after_a_failed_flight_in_place(
    world: World, no_threads: list[int]
) -> None:
    left = dropped(world, lambda session: failing(session.tokens.get), "wrong")
    assert left == [None, None, None]
    assert no_threads


@pytest.mark.usefixtures("no_collector")
def test_a_dropped_session_does_not_wait_for_its_flight(world: World) -> None:
    session = world.session(on_event=None)
    world.sessions.clear()
    with world.auth.hold() as gate:
        with pytest.raises(TokenEndpointTimeout):
            world.get(session, timeout=0.01)
        gate.wait_for(1)
        refs = weakref.ref(session), weakref.ref(session.tokens)
        session.close()
        del session
        assert refs[0]() is None
    landed()
    assert refs[1]() is None
