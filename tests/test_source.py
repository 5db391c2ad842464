from __future__ import annotations

import contextlib
import copy
import pickle
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from urllib3.util import Timeout

from oauthcc import (
    ClientCredentialsSession,
    ConfigurationError,
    Token,
    TokenEndpointTimeout,
    TokenEndpointUnavailable,
    TokenError,
    TokenRequestDenied,
    TokenSource,
)
from oauthcc.events import RenewalFailed, TokenObtained
from oauthcc.schemes import Bearer
from oauthcc.stores import MemoryStore
from oauthcc.testing import AuthorizationServer
from oauthcc.testing.faults import oauth_error, unavailable
from oauthcc.tokens import fetcher, renewal
from oauthcc.tokens import source as source_module
from oauthcc.tokens.refusals import Refusal, Route
from oauthcc.tokens.single_flight import SingleFlight, StillRunning
from oauthcc.tokens.source import wait_limit
from oauthcc.tokens.state import CurrentToken, TokenState
from oauthcc.urls import origin_of

from .clock import Clock, flights, flights_done, in_threads, joined, moved_clock, together, until
from .inside import abandon, flight_lock_of, held_by, state_of, waiters_of

API, OTHER = "https://api.example/", "https://other.example/"
Make = Callable[..., ClientCredentialsSession]


@pytest.fixture
def clock(auth: AuthorizationServer, monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = moved_clock(monkeypatch)
    auth.now = clock.time
    return clock


@pytest.fixture
def events() -> list[Any]:
    return []


@pytest.fixture
def make(auth: AuthorizationServer, clock: Clock, events: list[Any]) -> Iterator[Make]:
    """Return a function that makes a session."""
    with contextlib.ExitStack() as sessions:

        def made(secret: Any = None, **options: Any) -> ClientCredentialsSession:
            client = auth.token_url, auth.client_id, secret or auth.client_secret
            session = ClientCredentialsSession(*client, on_event=events.append, **options)
            return sessions.enter_context(session)

        yield made
        flights_done()


@pytest.fixture
def source(make: Make) -> TokenSource:
    return make().tokens


def count(auth: AuthorizationServer) -> int:
    return len(auth.token_requests)


def test_an_early_renewal_that_another_thread_has_done_meanwhile_is_not_started(
    auth: AuthorizationServer, source: TokenSource, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = source.get()
    clock.advance(0.85 * 3600)
    may_renew = iter([True, False])  # before and after the lock is taken
    monkeypatch.setattr(TokenState, "may_renew_early", lambda _: next(may_renew))
    assert source.get() == token
    flights_done()
    assert count(auth) == 1


def test_a_finalizer_inside_of_mark_refused_may_use_the_source_while_another_thread_does(
    source: TokenSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = source.get()
    source.mark_refused(token)
    original, inside, got = renewal.refused, threading.Event(), []

    def in_result(thread: threading.Thread) -> bool:
        frame = sys._current_frames().get(thread.ident or 0)
        while frame is not None and frame.f_code is not SingleFlight.result.__code__:
            frame = frame.f_back
        return frame is not None

    def refused(plan: Any) -> Any:  # called with the lock of the state, as a finalizer may be
        if not inside.is_set():
            inside.set()
            until(lambda: in_result(other))
            got.append(source.get(timeout=0.1))
        return original(plan)

    def use() -> None:
        inside.wait(20)
        got.append(source.get(timeout=20))

    monkeypatch.setattr(renewal, "refused", refused)
    (other,) = in_threads(1, use)
    (marking,) = in_threads(1, lambda: source.mark_refused(token))
    joined([marking, other])
    assert len(got) == 2


# -- get -------------------------------------------------------------------------------------------


def test_a_source_fetches_nothing_until_a_token_is_needed_and_then_keeps_it(
    auth: AuthorizationServer, source: TokenSource
) -> None:
    assert auth.requests == []
    token = source.get()
    assert token.access_token == auth.issued[0]
    assert source.get() is token
    assert count(auth) == 1


def test_a_fresh_token_is_returned_without_the_lock(source: TokenSource) -> None:
    token = source.get()
    with flight_lock_of(source):
        assert together(1, lambda: source.get(timeout=1)) == [token]


def test_an_aging_token_is_returned_at_once_and_renewed_in_the_background(
    auth: AuthorizationServer, source: TokenSource, clock: Clock, events: list[Any]
) -> None:
    token = source.get()
    flights_done()
    clock.advance(3000)
    with auth.hold() as gate:
        for _ in range(5):
            assert source.get(timeout=1) is token
        gate.wait_for(1)
        assert len(flights()) == 1
    flights_done()
    assert source.get() is not token
    assert count(auth) == 2
    whys = [(event.why, event.waiters, event.attempts) for event in events]
    assert whys == [("absent", 1, 1), ("aging", 0, 1)]
    assert all(event.seconds >= 0 and event.expires_in == 3600 for event in events)


@pytest.mark.parametrize("which", ["monotonic", "wall"])
@pytest.mark.parametrize("missing", [0.0, 0.25])
def test_early_renewal_begins_when_one_of_the_clocks_reaches_the_renewal_point(
    auth: AuthorizationServer, source: TokenSource, clock: Clock, which: str, missing: float
) -> None:
    source.get()
    setattr(clock, which, getattr(held_by(source).plan.aging, which) - missing)
    source.get()
    flights_done()
    assert count(auth) == (1 if missing else 2)


def test_the_event_of_a_new_token_says_how_long_its_fetch_took(
    auth: AuthorizationServer,
    source: TokenSource,
    events: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [time.monotonic()]
    monkeypatch.setattr(fetcher, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with auth.hold() as gate:
        waiting = in_threads(1, source.get)
        gate.wait_for(1)
        now[0] += 7
    joined(waiting)
    flights_done()
    assert events[0].seconds == pytest.approx(7)


def test_a_failed_early_renewal_is_only_an_event(
    auth: AuthorizationServer, source: TokenSource, clock: Clock, events: list[Any]
) -> None:
    token = source.get()
    clock.advance(3000)
    auth.answer_next(unavailable(503, None), None)
    for _ in range(5):
        assert source.get() is token
        flights_done()
    assert count(auth) == 2
    failed = events[-1]
    assert isinstance(failed, RenewalFailed)
    assert (failed.why, failed.usable) == ("aging", True)
    assert isinstance(failed.error, TokenEndpointUnavailable)


def test_callers_at_expiry_join_the_early_renewal_in_progress(
    auth: AuthorizationServer, source: TokenSource, clock: Clock
) -> None:
    source.get()
    clock.advance(3000)
    with auth.hold() as gate:
        source.get()
        gate.wait_for(1)
        clock.advance(601)
        late: list[Any] = []
        waiting = in_threads(3, lambda: late.append(source.get()))
        until(lambda: waiters_of(source) == 3)
    joined(waiting)
    assert {token.access_token for token in late} == {auth.issued[1]}
    assert count(auth) == 2


def test_in_the_margin_callers_wait_and_use_the_token_if_the_renewal_fails(
    auth: AuthorizationServer, source: TokenSource, clock: Clock
) -> None:
    token = source.get()
    clock.advance(3595)
    auth.answer_next(unavailable(503, None), None)
    assert source.get() is token
    assert source.get() is token
    clock.advance(6)
    with pytest.raises(TokenEndpointUnavailable):
        source.get()


def test_a_caller_in_the_margin_waits_for_half_of_the_rest_at_most(
    source: TokenSource, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, limits = source.get(), list[float]()

    def result(self: object, ready: object, begin: object, timeout: float, **how: Any) -> None:
        limits.append(timeout)
        raise StillRunning

    monkeypatch.setattr(SingleFlight, "result", result)
    clock.advance(3596)
    assert source.get() is token
    (limit,) = limits
    assert 0 < limit <= 2


def test_a_token_that_expires_while_a_caller_waits_in_its_margin_is_not_used(
    auth: AuthorizationServer, source: TokenSource, clock: Clock
) -> None:
    source.get()
    clock.advance(3595)
    auth.watch = lambda request, outcome: clock.advance(10)
    auth.answer_next(oauth_error("invalid_scope"), None)
    with pytest.raises(TokenError, match="invalid_scope"):
        source.get()


@pytest.mark.parametrize("is_refused", [False, True])
def test_a_caller_whose_token_expires_while_it_waits_for_a_better_one_gets_that_one(
    auth: AuthorizationServer,
    source: TokenSource,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_refused: bool,
) -> None:
    result = SingleFlight.result

    def slow(*args: Any, **options: Any) -> Any:
        try:
            return result(*args, **options)
        except StillRunning:
            clock.advance(10)
            gate.release()
            raise

    refusal = refused_now(source, clock)
    clock.advance(3595)
    monkeypatch.setattr(SingleFlight, "result", slow)
    monkeypatch.setattr(source_module, "WAIT_FOR_BETTER", 0.01)
    monkeypatch.setattr(source_module, "WAIT_FOR_OTHER", 0.01)
    with auth.hold() as gate:
        waited = source._replacements(refusal, None) if is_refused else [source._get()]
        assert texts(waited) == auth.issued[1:] == [held_by(source).token.access_token]


def test_after_a_slow_fetch_nobody_waits_for_the_next_one_while_the_token_can_be_used(
    auth: AuthorizationServer,
    source: TokenSource,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source.get()
    clock.advance(3595)
    waited: list[float] = []
    result = SingleFlight.result

    def noted(flights: Any, ready: Any, begin: Any, timeout: float, **options: Any) -> Any:
        waited.append(options["max_age"])
        return result(flights, ready, begin, timeout, **options)

    monkeypatch.setattr(SingleFlight, "result", noted)
    monkeypatch.setattr(source_module, "WAIT_FOR_BETTER", 0.01)
    with auth.hold():
        source.get()
        abandon(source)
        source.get()
    flights_done()
    assert waited == [0.01, 0]


@pytest.mark.parametrize("timeout", [0, -1, 0.01])
def test_an_error_says_which_timeout_was_too_short(
    auth: AuthorizationServer, source: TokenSource, timeout: Any
) -> None:
    message = rf"No token arrived from {auth.token_url} within {timeout} s; .*longer timeout="
    with auth.hold(), pytest.raises(TokenEndpointTimeout, match=message) as caught:
        source.get(timeout=timeout)
    assert caught.value.__suppress_context__
    flights_done()
    assert source.get().access_token == auth.issued[0]


class Number:
    """A number as those of numpy are: neither an int nor a float."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __float__(self) -> float:
        return float(self.value)

    def __le__(self, other: float) -> bool:
        return self.value <= other


@pytest.mark.parametrize(
    ("timeout", "expected"),
    [
        (None, 60),
        (3, 3),
        (0.5, 0.5),
        ((1, 2.5), 3.5),
        ((None, 2), 60),
        ((1, None), 60),
        ((), 60),
        (Timeout(total=2.5, connect=1, read=1), 2.5),
        (Timeout(connect=1, read=2), 3.0),
        (Timeout(connect=1, read=None), 60),
        (Timeout(), 60),
        (object(), 60),
        (Number(2), 2.0),
        ((Number(1), 2), 3.0),
        ((Number(1), None), 60),
        (Timeout(total=Number(2)), 2.0),  # type: ignore[arg-type]
        (Timeout(connect=Number(1), read=1), 2.0),  # type: ignore[arg-type]
        ("2", 2.0),
        ("x", 60),
        (float("nan"), 60),
        (10**400, 60),
        (61, 60),
        ((float("inf"), float("-inf")), 60),
    ],
    ids=[
        *("None", "int", "float", "tuple", "no connect", "no read", "empty"),
        *("total", "connect and read", "no read of urllib3", "Timeout", "object"),
        *("number", "tuple of a number", "number and None", "total number", "connect number"),
        *("text", "another text", "not a number", "huge", "long", "infinities"),
    ],
)
def test_a_caller_waits_for_a_token_as_long_as_its_timeout(timeout: Any, expected: float) -> None:
    assert wait_limit(timeout) == expected


def test_nobody_waits_longer_than_a_minute(
    source: TokenSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    result = SingleFlight.result

    def noted(flights: Any, ready: Any, begin: Any, timeout: float, **options: Any) -> Any:
        waited.append(timeout)
        return result(flights, ready, begin, timeout, **options)

    monkeypatch.setattr(SingleFlight, "result", noted)
    source.get()
    source.renew(timeout=1e9)
    source.renew(timeout=(20, 10))
    assert waited == [60, 60, 30]


# -- errors ----------------------------------------------------------------------------------------


def test_a_foreign_error_becomes_a_token_error_that_quotes_nothing(
    auth: AuthorizationServer, make: Make, events: list[Any]
) -> None:
    class Scheme(Bearer):
        def authorization(self, token: Token) -> Any:
            raise LookupError(token.access_token)

    with pytest.raises(TokenError, match="the fetch raised LookupError") as caught:
        make(scheme=Scheme()).tokens.get()
    assert isinstance(caught.value.__cause__, LookupError)
    assert auth.issued[0] not in str(caught.value)
    flights_done()
    assert [type(event) for event in events] == [RenewalFailed]


def test_after_a_fetch_that_was_stopped_the_next_one_starts(
    auth: AuthorizationServer, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda args: None)
    stops = [SystemExit]

    def secret() -> str:
        if stops:
            raise stops.pop()
        return auth.client_secret

    source = make(secret).tokens
    with pytest.raises(TokenError, match="interrupted by SystemExit; try again"):
        source.get()
    assert source.get().access_token == auth.issued[0]


# -- renew and mark_refused ------------------------------------------------------------------------


def test_renew_fetches_another_token(auth: AuthorizationServer, source: TokenSource) -> None:
    assert source.renew().access_token == auth.issued[0]
    second = source.renew()
    assert second.access_token == auth.issued[1]
    assert source.get() is second


def test_renew_fetches_nothing_if_another_token_is_held(
    auth: AuthorizationServer, source: TokenSource, clock: Clock
) -> None:
    first = source.get()
    second = source.renew(first)
    assert source.renew(first) is second
    assert count(auth) == 2
    clock.advance(5000)
    third = source.renew(first)  # the second has expired
    assert source.renew(second) is source.renew(first) is third
    assert count(auth) == 3


def test_renew_returns_the_same_token_if_the_server_issues_it_again(
    auth: AuthorizationServer, source: TokenSource
) -> None:
    token = source.get()
    auth.make_token = lambda: token.access_token
    assert source.renew(token).access_token == token.access_token
    assert source.get(timeout=1).access_token == token.access_token
    assert count(auth) == 2


def test_renew_raises_although_the_token_is_still_usable(
    auth: AuthorizationServer, source: TokenSource
) -> None:
    token = source.get()
    auth.answer_next(unavailable(503, None), None)
    with pytest.raises(TokenEndpointUnavailable):
        source.renew()
    assert source.get() is token


def test_a_refused_token_is_renewed_first_and_used_if_that_fails(
    auth: AuthorizationServer, source: TokenSource, clock: Clock
) -> None:
    token = source.get()
    source.mark_refused(token)
    auth.answer_next(unavailable(503, None), 3)
    assert source.get() is token
    clock.advance(1)
    assert source.get() is token  # it does not wait, because the last fetch has failed
    flights_done()
    other = source.get()
    assert other is not token
    source.mark_refused(token)  # an old token: this changes nothing
    assert source.get() is other


def test_a_refused_token_is_used_if_the_renewal_takes_longer_than_the_timeout(
    auth: AuthorizationServer, source: TokenSource
) -> None:
    token = source.get()
    source.mark_refused(token)
    with auth.hold():
        assert source.get(timeout=0.01) is token
    flights_done()
    assert source.get() is not token


def test_while_a_refused_token_is_renewed_nobody_gets_it(
    auth: AuthorizationServer, source: TokenSource
) -> None:
    refused, got = source.get(), list[Any]()
    with auth.hold() as gate:
        waiting = in_threads(1, lambda: got.append(source.renew(refused)))
        gate.wait_for(1)
        waiting += in_threads(1, lambda: got.append(source.get()))
        until(lambda: waiters_of(source) == 2 or bool(got))
    joined(waiting)
    assert [token.access_token for token in got] == [auth.issued[1]] * 2


# -- for requests that an API refused --------------------------------------------------------------


def refused_now(source: TokenSource, clock: Clock, api: str = API) -> Refusal:
    """Return the refusal of a request that was sent now with the token held."""
    source.get()
    return Refusal(held_by(source), Route("GET", origin_of(api), api), clock.wall)


def texts(tokens: Iterable[CurrentToken]) -> list[str]:
    return [current.token.access_token for current in tokens]


def test_a_token_that_is_fetched_replaces_the_refused_one(
    auth: AuthorizationServer, source: TokenSource, clock: Clock
) -> None:
    refusal = refused_now(source, clock)
    assert source._may_replace(refusal)
    assert texts(source._replacements(refusal, None)) == auth.issued[1:] == auth.issued[1:2]
    assert texts(source._replacements(refusal, None)) == auth.issued[1:]  # no other is fetched
    assert count(auth) == 2


def test_a_token_that_another_thread_has_fetched_meanwhile_replaces_the_refused_one(
    auth: AuthorizationServer, source: TokenSource, clock: Clock
) -> None:
    refused = refused_now(source, clock).current
    source.renew()
    assert source._other_than(refused, clock.wall, None).token.access_token == auth.issued[1]
    assert count(auth) == 2


def test_a_token_with_the_same_text_is_another_one_if_it_was_fetched_later(
    auth: AuthorizationServer, source: TokenSource, clock: Clock
) -> None:
    refusal = refused_now(source, clock)
    auth.make_token = lambda: auth.issued[0]
    assert texts(source._replacements(refusal, None)) == [auth.issued[0]]
    assert count(auth) == 2


def test_the_first_refusal_of_a_new_token_is_free_and_the_next_ones_begin_pauses(
    auth: AuthorizationServer, source: TokenSource, clock: Clock
) -> None:
    forced = []
    for second in range(20):
        if list(source._replacements(refused_now(source, clock), None)):
            forced.append(second)
        clock.advance(1)
    assert forced == [0, 1, 2, 4, 8, 16]
    assert count(auth) == 1 + len(forced)


def test_an_accepted_token_ends_the_pause_of_its_route(source: TokenSource, clock: Clock) -> None:
    for _ in range(2):
        refusal = refused_now(source, clock)
        list(source._replacements(refusal, None))
    assert not source._may_replace(refused_now(source, clock))
    source._accepted(held_by(source), held_by(source), lambda: refusal.route)
    assert source._may_replace(refused_now(source, clock))


def test_refusals_without_a_replay_renew_the_token_less_and_less_often(
    auth: AuthorizationServer, source: TokenSource, clock: Clock
) -> None:
    renewed = []
    for second in range(20):
        if source._refused_without_replay(refused_now(source, clock)):
            renewed.append(second)
        clock.advance(1)
    assert renewed == [0, 2, 5, 10, 19]  # a pause begins when the next token is refused
    assert count(auth) == len(renewed)  # the last one is renewed before the next request


def test_a_newer_token_is_used_during_the_pause(
    auth: AuthorizationServer, source: TokenSource, clock: Clock
) -> None:
    old = refused_now(source, clock)
    for _ in range(2):
        list(source._replacements(refused_now(source, clock), None))
    new = refused_now(source, clock)
    assert not source._may_replace(new)
    assert source._may_replace(old)
    assert texts(source._replacements(old, None)) == texts([new.current])
    assert count(auth) == 3


def test_a_refusal_while_the_endpoint_is_unavailable_is_the_answer_until_the_token_expires(
    auth: AuthorizationServer, source: TokenSource, clock: Clock
) -> None:
    refusal = refused_now(source, clock)
    auth.answer_next(unavailable(503, None), None)
    for _ in range(5):
        assert list(source._replacements(refusal, None)) == []
    assert count(auth) == 4
    clock.advance(3600)
    with pytest.raises(TokenEndpointUnavailable):
        list(source._replacements(refusal, None))


def test_the_former_token_replaces_a_new_one_that_no_api_has_accepted(
    auth: AuthorizationServer, source: TokenSource, clock: Clock
) -> None:
    current = refused_now(source, clock).current
    source._accepted(current, current, lambda: Route("GET", None, API))
    source.renew()
    refusal = refused_now(source, clock)
    assert source._may_replace(refusal)
    replacements = source._replacements(refusal, None)
    assert texts([next(replacements)]) == auth.issued[:1]
    assert count(auth) == 2
    assert texts(replacements) == auth.issued[2:]  # if that is refused too, another is fetched
    assert count(auth) == 3


def test_a_refusal_without_a_replay_of_a_new_token_puts_the_former_one_into_use(
    auth: AuthorizationServer, source: TokenSource, clock: Clock
) -> None:
    current = refused_now(source, clock).current
    source._accepted(current, current, lambda: Route("GET", None, API))
    source.renew()
    assert not source._refused_without_replay(refused_now(source, clock))
    assert source.get().access_token == auth.issued[0]
    clock.advance(1)
    assert source.get().access_token == auth.issued[1]
    assert count(auth) == 2


def test_the_former_token_is_not_used_after_it_has_expired(
    auth: AuthorizationServer, source: TokenSource, clock: Clock
) -> None:
    current = refused_now(source, clock).current
    source._accepted(current, current, lambda: Route("GET", None, API))
    clock.advance(3599.5)
    source.renew()
    assert not source._refused_without_replay(refused_now(source, clock))
    assert source.get().access_token == auth.issued[0]
    clock.advance(0.5)
    assert source.get().access_token == auth.issued[1]
    assert count(auth) == 2


def test_a_newer_token_of_the_store_is_tried_before_another_one_is_fetched(
    auth: AuthorizationServer, make: Make, clock: Clock
) -> None:
    store = MemoryStore()
    source, other = (make(store=store).tokens for _ in range(2))
    source.get()
    clock.advance(1)
    other.renew(other.get())
    clock.advance(1)
    refusal = refused_now(source, clock)
    replacements = source._replacements(refusal, None)
    assert texts([next(replacements)]) == auth.issued[1:2]
    assert count(auth) == 2
    assert texts(replacements) == auth.issued[2:3]  # it was issued before the request was sent
    assert count(auth) == 3


# -- forget ----------------------------------------------------------------------------------------


def test_forget_drops_the_token_and_the_remembered_error(
    auth: AuthorizationServer, source: TokenSource
) -> None:
    source.get()
    source.forget()
    assert count(auth) == 1
    auth.refuse_next()
    for _ in range(2):
        with pytest.raises(TokenRequestDenied):
            source.get()
    assert count(auth) == 2
    source.forget()
    assert source.get().access_token == auth.issued[1]


def test_forget_ends_the_pause_of_early_renewal(
    auth: AuthorizationServer, source: TokenSource, clock: Clock
) -> None:
    for _ in range(2):  # the pause of the first round would forbid the renewal of the second
        source.get()
        clock.advance(3000)
        auth.answer_next(unavailable(503, "300"), 1)
        source.get()
        flights_done()
        source.forget()
    assert count(auth) == 4


def test_forget_ends_the_pauses_of_apis(
    auth: AuthorizationServer, source: TokenSource, clock: Clock
) -> None:
    for _ in range(2):
        list(source._replacements(refused_now(source, clock), None))
    assert not source._may_replace(refused_now(source, clock))
    source.forget()
    assert source._may_replace(refused_now(source, clock))


def test_a_fetch_in_progress_does_not_bring_back_what_was_forgotten(
    auth: AuthorizationServer, source: TokenSource
) -> None:
    got: list[Any] = []

    def call() -> None:
        try:
            got.append(source.get().access_token)
        except TokenRequestDenied as error:
            got.append(error.error)

    for problem in (False, True):
        auth.answer_normally()
        if problem:
            auth.refuse_next()
        with auth.hold() as gate:
            waiting = in_threads(1, call)
            gate.wait_for(1)
            source.forget()
        joined(waiting)
        assert state_of(source).current is None
    assert got == [auth.issued[0], "invalid_client"]  # its caller gets the outcome
    assert source.get().access_token == auth.issued[1]


def test_a_caller_after_forget_joins_no_fetch_that_began_before(
    auth: AuthorizationServer, source: TokenSource
) -> None:
    with auth.hold() as gate:
        waiting = in_threads(1, source.get)
        gate.wait_for(1)
        source.forget()
        waiting += in_threads(1, source.get)
        gate.wait_for(2)
    joined(waiting)
    source.get()
    assert count(auth) == 2


def test_forget_leaves_a_token_in_the_store(auth: AuthorizationServer, make: Make) -> None:
    source = make(store=MemoryStore()).tokens
    token = source.get()
    source.forget()
    assert source.get() == token
    assert count(auth) == 1


# -- configuration and copies ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "renew_at",
    [None, (0.7,), (0.8, 0.6), (0.0, 0.5), (0.6, 1.1), ("a", "b"), (0.1, 0.2, 0.3)],
    ids=repr,
)
def test_impossible_shares_of_a_lifetime_are_rejected(make: Make, renew_at: Any) -> None:
    with pytest.raises(ConfigurationError, match="renew_at must be two shares"):
        make(renew_at=renew_at)


@pytest.mark.parametrize("seconds", [0, -1, 60.1, float("nan"), float("inf"), "soon", None, (5, 5)])
def test_an_impossible_token_timeout_is_rejected(make: Make, seconds: Any) -> None:
    with pytest.raises(ConfigurationError, match="token_timeout must be a number of seconds"):
        make(token_timeout=seconds)


def test_a_token_may_take_only_as_long_as_token_timeout_says(
    auth: AuthorizationServer, make: Make, events: list[Any]
) -> None:
    source = make(token_timeout=0.2).tokens
    with auth.hold():
        with pytest.raises(TokenEndpointTimeout):
            source.get()
        flights_done()  # before an answer could come
    (failed,) = [event for event in events if isinstance(event, RenewalFailed)]
    assert isinstance(failed.error, TokenEndpointTimeout)


def test_the_token_timeout_is_that_of_all_fetches_of_copies_and_of_other_apis(
    auth: AuthorizationServer, make: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = make(token_timeout=5)
    own = session.add_api("https://api.example", token_timeout=3)
    copied = pickle.loads(pickle.dumps(session))
    budgets: list[float] = []
    fetch = fetcher.TokenFetcher.fetch

    def noted(fetcher_: Any, need: Any) -> Any:
        budgets.append(need.budget)
        return fetch(fetcher_, need)

    monkeypatch.setattr(fetcher.TokenFetcher, "fetch", noted)
    for source in (session.add_api("https://else.example"), own, copied.tokens):
        source._flights._work = source._fetcher.fetch
        source.get()
        source.renew()
        clock.advance(3000)
        source.get()
        flights_done()
    copied.close()
    assert budgets == [5.0] * 3 + [3.0] * 3 + [5.0] * 3


def test_an_observer_that_cannot_be_called_is_rejected(source: TokenSource) -> None:
    with pytest.raises(ConfigurationError, match="on_event must be a callable"):
        source._sibling(on_event="print")


def test_the_source_of_another_api_has_its_own_scope_and_shares_the_rest(
    auth: AuthorizationServer, make: Make, events: list[Any]
) -> None:
    session = make()
    other = session.add_api(API, scope="other")
    assert other.get().scope == "other"
    assert auth.token_requests[0].client_id == auth.client_id
    flights_done()
    assert [type(event) for event in events] == [TokenObtained]
    assert session.tokens.get().access_token != other.get().access_token
    options: dict[str, Any] = {"renew_at": (0.1, 0.2), "store": MemoryStore()}
    quiet = session.add_api(OTHER, scope="third", on_event=None, **options)
    quiet.get()
    flights_done()
    assert len(events) == 2


@pytest.mark.parametrize(
    "copied", [lambda s: pickle.loads(pickle.dumps(s)), copy.deepcopy], ids=["pickle", "deepcopy"]
)
def test_a_copy_has_its_own_locks_and_no_token(
    auth: AuthorizationServer, clock: Clock, copied: Callable[[TokenSource], TokenSource]
) -> None:
    client = auth.token_url, auth.client_id, auth.client_secret
    options: dict[str, Any] = {"renew_at": (0.3, 0.4), "store": MemoryStore()}
    with ClientCredentialsSession(*client, **options) as session:
        source = session.tokens
        source.endpoint.verify = "/ca.pem"
        token = source.get()
        made = copied(source)
        assert state_of(made).current is None
        assert made.endpoint.verify == "/ca.pem"
        assert token.access_token.encode() not in pickle.dumps(source)
        with flight_lock_of(source):
            (own,) = together(1, lambda: made.get(timeout=5))
        assert isinstance(own, Token)
        before = count(auth)
        clock.advance(1441)  # beyond 40 % of the lifetime
        made.get()
        flights_done()
        assert count(auth) == before + 1
        made.close()


def test_close_waits_for_no_fetch_and_its_token_is_kept(
    auth: AuthorizationServer, source: TokenSource
) -> None:
    with auth.hold() as gate:
        waiting = in_threads(1, source.get)
        gate.wait_for(1)
        source.close()
    joined(waiting)
    assert source.get().access_token == auth.issued[0]
    assert count(auth) == 1
