from __future__ import annotations

import contextlib
import contextvars
import sys
import threading
import traceback
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from oauthcc import TokenError

from .clock import FLIGHT, flights, flights_done, in_threads, joined, together

NOTHING: Callable[[int], None] = lambda waiters: None  # noqa: E731 - one line says it


def flight_of(work: Callable[[], Any], afterwards: Callable[[int], None] = NOTHING) -> Flight[Any]:
    return Flight(work, 60.0, afterwards)


def failing() -> Any:
    raise TokenError("no luck", status_code=418)


def test_all_who_wait_get_the_one_result() -> None:
    free, done = threading.Event(), []

    def work() -> object:
        assert free.wait(20)
        done.append(1)
        return object()

    flight = flight_of(work)
    assert flight.start()
    results: list[Any] = []
    waiting = in_threads(8, lambda: results.append(flight.wait(20)))
    free.set()
    joined(waiting)
    assert len({id(result) for result in results}) == len(done) == 1
    assert len(results) == 8


def test_all_who_wait_raise_an_error_of_their_own() -> None:
    flight = flight_of(failing)
    flight.start()
    errors = together(8, lambda: flight.wait(20))
    assert len({id(error) for error in errors}) == 8
    for error in errors:
        assert isinstance(error, TokenError)
        assert (str(error), error.status_code) == ("no luck", 418)
        assert len(traceback.extract_tb(error.__traceback__)) <= 4


def test_an_error_keeps_its_cause_and_forgets_where_it_came_from() -> None:
    cause = KeyError("the secret's own error")

    def work() -> Any:
        try:
            raise ValueError("quotes a secret")
        except ValueError:
            raise TokenError("no luck") from cause

    flight = flight_of(work)
    flight.run()
    with pytest.raises(TokenError) as caught:
        flight.wait(0)
    assert caught.value.__cause__ is cause
    assert caught.value.__context__ is None
    assert flight._error is not None
    assert (flight._error.__context__, flight._error.__traceback__) == (None, None)


def test_patience_ends_and_the_flight_goes_on() -> None:
    free = threading.Event()
    flight = flight_of(lambda: free.wait(20))
    flight.start()
    for patience in (0.01, 0, -1):
        with pytest.raises(StillFlying):
            flight.wait(patience)
    free.set()
    assert flight.wait(20) is True


def test_a_flight_is_worth_joining_until_it_has_landed_or_its_budget_is_over() -> None:
    flight = flight_of(lambda: None)
    assert flight.is_in_the_air
    flight._deadline = 0.0
    assert not flight.is_in_the_air
    other = flight_of(lambda: None)
    other.run()
    assert not other.is_in_the_air
    assert not Flight(lambda: None, 0.0, NOTHING).is_in_the_air


def test_a_flight_goes_on_a_daemon_thread_in_a_copy_of_the_starters_context() -> None:
    colour: contextvars.ContextVar[str] = contextvars.ContextVar("colour")
    seen: list[Any] = []

    def work() -> None:
        seen.append((colour.get(), threading.current_thread().name))
        seen.append(threading.current_thread().daemon)
        colour.set("green")

    mark = colour.set("red")
    flight = flight_of(work)
    assert flight.start()
    flight.wait(20)
    assert seen == [("red", FLIGHT), True]
    assert colour.get() == "red"
    colour.reset(mark)
    flights_done()
    assert flights() == []


def test_no_thread_is_said_and_the_flight_can_be_flown_in_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    flight = flight_of(threading.current_thread)
    assert not flight.start()
    assert flight.is_in_the_air
    flight.run()
    assert flight.wait(0) is threading.current_thread()


def test_what_comes_afterwards_comes_when_all_are_told_and_knows_how_many_waited() -> None:
    told: list[Any] = []
    flight = flight_of(lambda: 7, lambda waiters: told.append((waiters, flight.wait(0))))
    flight.waiters = 3
    flight.run()
    assert told == [(3, 7)]


def test_a_flight_knows_who_is_inside_of_it() -> None:
    seen: list[bool] = []

    def deep_inside() -> None:
        seen.append(outer.is_mine)
        seen.append(inner.is_mine)
        context = contextvars.copy_context()
        joined(in_threads(1, lambda: context.run(lambda: seen.append(outer.is_mine))))

    outer = flight_of(lambda: (inner.start(), inner.wait(20)))
    inner = flight_of(deep_inside, lambda waiters: seen.append(inner.is_mine))
    assert not outer.is_mine
    outer.start()
    outer.wait(20)
    flights_done()
    assert seen == [True, True, True, False]


def test_a_flight_that_has_landed_is_nobodys() -> None:
    kept: list[contextvars.Context] = []
    flight = flight_of(lambda: kept.append(contextvars.copy_context()))
    flight.run()
    assert not kept[0].run(lambda: flight.is_mine)
    assert not flight.is_mine


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_a_flight_that_was_stopped_from_outside_lets_nobody_wait(interruption: Any) -> None:
    told: list[int] = []

    def work() -> None:
        raise interruption

    flight = flight_of(work, told.append)
    with pytest.raises(interruption):
        flight.run()
    with pytest.raises(FlightLost, match=interruption.__name__):
        flight.wait(0)
    assert not told
    assert not flight.is_mine


def test_a_flight_lets_go_of_its_work() -> None:
    class Session:
        def work(self) -> None: ...

        def afterwards(self, waiters: int) -> None: ...

    session = Session()
    flight = flight_of(session.work, session.afterwards)
    left = weakref.ref(session)
    del session
    flight.start()
    flight.wait(20)
    flights_done()
    assert left() is None


def test_whoever_is_interrupted_anywhere_on_the_way_into_waiting_may_wait_too() -> None:
    """So a signal handler or a finalizer that uses the session stops neither thread nor flight."""
    free = threading.Event()
    flight = flight_of(lambda: free.wait(20))
    flight.start()
    interrupted: list[int] = []

    def wait_for_no_time() -> None:
        with pytest.raises(StillFlying):
            flight.wait(0)

    def wait_interrupted_at(step: int) -> None:
        passed = 0

        def trace(frame: Any, event: str, arg: Any) -> Any:
            nonlocal passed
            passed += 1
            if passed == step:
                sys.settrace(None)
                interrupted.append(step)
                wait_for_no_time()
            return trace

        sys.settrace(trace)
        try:
            with contextlib.suppress(StillFlying):
                flight.wait(0)
        finally:
            sys.settrace(None)

    for step in range(1, 20):
        caller = threading.Thread(target=wait_interrupted_at, args=(step,), daemon=True)
        caller.start()
        joined([caller])
    free.set()
    assert flight.wait(20) is True
    assert interrupted[:5] == [1, 2, 3, 4, 5]


def test_where_no_daemon_thread_may_be_made_the_flight_does_not_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def thread(**options: Any) -> Any:
        raise RuntimeError("daemon threads are disabled in this interpreter")

    flight = flight_of(lambda: "done")
    monkeypatch.setattr(threading, "Thread", thread)
    assert not flight.start()
    flight.run()
    assert flight.wait(0) == "done"
