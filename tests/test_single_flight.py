from __future__ import annotations

import contextlib
import contextvars
import itertools
import linecache
import sys
import threading
import traceback
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from oauthcc import TokenError
from oauthcc.tokens.single_flight import InsideItself, Interrupted, SingleFlight, StillRunning

from .clock import FLIGHT, flights, flights_done, in_threads, joined, together, until
from .inside import waiters_in

Flights = SingleFlight[Any, Any, Any]


@pytest.fixture(autouse=True)
def _all_end() -> Iterator[None]:
    yield
    flights_done()
    assert flights() == []


def nothing(*_: Any) -> None:
    return None


def unchanged(outcome: Any) -> Any:
    return outcome


class Need:
    """What a flight is to bring: something with a budget in seconds."""

    def __init__(self, budget: float = 60.0, *, is_tentative: bool = False) -> None:
        self.budget, self.is_tentative = budget, is_tentative

    def within(self, seconds: float) -> Need:
        return Need(min(self.budget, seconds), is_tentative=self.is_tentative)


def of(
    work: Callable[[Any], Any],
    record: Callable[[Any], Any] = unchanged,
    report: Callable[[Any, int], None] = nothing,
) -> Flights:
    return SingleFlight(work, record, report)


def result(
    flights: Flights, timeout: float = 20.0, need: Callable[[], Need] = Need, **options: Any
) -> Any:
    """Return the result of the flight in progress or of a new one."""
    return flights.result(nothing, need, timeout, **options)


class Held:
    """A piece of work that goes on until it is freed, and counts how often it was begun."""

    def __init__(self) -> None:
        self.begun, self.free = 0, threading.Event()

    def __call__(self, need: Any) -> Any:
        self.begun += 1
        number = self.begun
        assert self.free.wait(20)
        return number, object()


def refuse(outcome: Any) -> Any:
    raise TokenError("out of order", status_code=418)


# -- one result for all callers --------------------------------------------------------------------


def test_all_callers_get_the_result_of_one_flight() -> None:
    work, reported = Held(), list[Any]()
    several = of(work, report=lambda outcome, waiters: reported.append(waiters))
    results: list[Any] = []
    waiting = in_threads(8, lambda: results.append(result(several)))
    until(lambda: waiters_in(several) == 8)
    work.free.set()
    joined(waiting)
    flights_done()
    assert len({id(one) for one in results}) == work.begun == 1
    assert len(results) == 8
    assert reported == [8]


def test_all_callers_raise_an_error_of_their_own() -> None:
    several = of(nothing, refuse)
    errors = together(8, lambda: result(several))
    assert len({id(error) for error in errors}) == 8
    for error in errors:
        assert isinstance(error, TokenError)
        assert (str(error), error.status_code) == ("out of order", 418)
    assert len({len(traceback.extract_tb(error.__traceback__)) for error in errors}) == 1


def test_an_error_keeps_its_cause_and_loses_its_frames_and_context() -> None:
    cause, kept = KeyError("the secret's own error"), TokenError("out of order")

    def record(outcome: Any) -> Any:
        try:
            raise ValueError("quotes a secret")
        except ValueError:
            raise kept from cause

    with pytest.raises(TokenError) as caught:
        result(of(nothing, record))
    assert caught.value is not kept
    assert caught.value.__cause__ is kept.__cause__ is cause
    assert caught.value.__context__ is None
    assert (kept.__context__, kept.__traceback__) == (None, None)


def test_an_interrupt_in_the_caller_leaves_what_the_caller_handles_as_it_is() -> None:
    def mine() -> None:
        valuable = "for the report"  # noqa: F841
        raise LookupError("mine")

    def interrupted(need: Any) -> Any:
        raise KeyboardInterrupt

    try:
        mine()
    except LookupError as handled:
        with pytest.raises(KeyboardInterrupt):
            result(of(interrupted), in_caller=True)
        *_, (frame, _) = traceback.walk_tb(handled.__traceback__)
        assert frame.f_locals == {"valuable": "for the report"}


def test_what_is_ready_is_returned_without_a_flight() -> None:
    several = of(refuse)
    assert several.result(lambda: "ready", lambda: refuse(None), 0) == "ready"


def test_an_error_of_begin_starts_no_flight() -> None:
    work = Held()
    with pytest.raises(TokenError, match="out of order"):
        of(work).result(nothing, lambda: refuse(None), 20)
    assert work.begun == 0


def test_the_flight_continues_when_the_time_of_a_caller_ends() -> None:
    work = Held()
    several = of(work)
    for timeout in (0.01, 0, -1):
        with pytest.raises(StillRunning):
            result(several, timeout)
    work.free.set()
    assert result(several)[0] == work.begun == 1


def test_a_flight_is_joined_only_while_it_is_in_progress() -> None:
    numbers = itertools.count()
    several = of(lambda need: next(numbers))
    assert [result(several), result(several)] == [0, 1]


class Two:
    """Two pieces of work, each of which ends when it is freed."""

    def __init__(self) -> None:
        self.begun = 0
        self.free = threading.Event(), threading.Event()

    def __call__(self, need: Any) -> Any:
        number = self.begun
        self.begun += 1
        assert self.free[number].wait(20)
        return number


def abandoned(work: Two, how: str) -> tuple[list[threading.Thread], list[Any], Flights]:
    """Return three callers of a flight that is abandoned, and two of the next one."""
    several, results = of(work), list[Any]()
    need = Need(0.0 if how == "after its budget" else 60.0)
    callers = in_threads(1, lambda: results.append(result(several, need=lambda: need)))
    until(lambda: work.begun == 1)
    if how == "at once":
        several.abandon()
    callers += in_threads(1, lambda: results.append(result(several)))
    until(lambda: work.begun == 2)
    until(lambda: waiters_in(several) == 1)
    return callers, results, several


ABANDONED = pytest.mark.parametrize("how", ["after its budget", "at once"])


@ABANDONED
def test_an_abandoned_flight_is_not_joined_and_still_serves_its_callers(how: str) -> None:
    work = Two()
    callers, results, several = abandoned(work, how)
    work.free[0].set()
    joined(callers[:1])
    assert results == [0]
    assert waiters_in(several) == 1
    work.free[1].set()
    joined(callers)
    assert results == [0, 1]


@ABANDONED
def test_the_callers_of_an_abandoned_flight_get_the_result_of_the_next_one(how: str) -> None:
    work = Two()
    callers, results, _ = abandoned(work, how)
    work.free[1].set()
    joined(callers)
    work.free[0].set()
    assert results == [1, 1]


def test_any_number_of_abandoned_flights_may_end_together() -> None:
    several = of(lambda need: need.budget)
    for budget in range(3000):  # nothing runs, because each is abandoned before it starts
        several._start(Need(float(budget)), on_thread=False)
        several.abandon()
    assert result(several) == 60.0


def test_the_error_of_a_newer_flight_is_not_that_of_an_abandoned_one() -> None:
    free = threading.Event()
    begun: list[int] = []

    def work(need: Any) -> Any:
        begun.append(len(begun))
        if len(begun) == 2:
            raise TokenError("out of order")
        assert free.wait(20)
        return "late"

    several = of(work)
    results: list[Any] = []
    waiting = in_threads(1, lambda: results.append(result(several)))
    until(lambda: begun == [0])
    several.abandon()
    with pytest.raises(TokenError):
        result(several)
    free.set()
    joined(waiting)
    assert results == ["late"]


def test_who_joined_a_tentative_flight_that_failed_starts_another_one() -> None:
    free = threading.Event()
    begun: list[Any] = []

    def work(need: Any) -> Any:
        begun.append(need)
        if need.is_tentative:
            assert free.wait(20)
            raise TokenError("the first attempt failed")
        return "from another flight"

    several = of(work)
    assert several.start_unless_running(lambda: Need(is_tentative=True))
    results: list[Any] = []
    waiting = in_threads(4, lambda: results.append(result(several)))
    until(lambda: waiters_in(several) == 4)
    free.set()
    joined(waiting)
    assert results == ["from another flight"] * 4
    assert [need.is_tentative for need in begun[:2]] == [True, False]


def test_a_caller_waits_only_until_the_flight_has_a_certain_age() -> None:
    work = Held()
    several = of(work)
    with pytest.raises(StillRunning):
        result(several, max_age=0)
    with pytest.raises(StillRunning):
        result(several, max_age=0)
    work.free.set()
    assert result(several)[0] == work.begun == 1


def test_a_flight_in_the_caller_takes_no_longer_than_the_caller_waits() -> None:
    budgets: list[float] = []
    result(of(lambda need: budgets.append(need.budget)), 5.0, in_caller=True)
    assert budgets == [pytest.approx(5.0, abs=1.0)]


def test_a_flight_in_the_caller_gets_no_older_than_the_caller_waits_for_one() -> None:
    budgets: list[float] = []
    result(of(lambda need: budgets.append(need.budget)), 20.0, in_caller=True, max_age=2.0)
    assert budgets == [pytest.approx(2.0, abs=1.0)]


def test_a_caller_that_waits_for_no_flight_carries_out_none() -> None:
    several = of(lambda need: "from another caller")
    with pytest.raises(StillRunning):
        result(several, in_caller=True, max_age=0)
    assert result(several) == "from another caller"


def test_what_is_recorded_is_reported_when_all_callers_were_released() -> None:
    steps: list[Any] = []

    def record(outcome: Any) -> Any:
        steps.append(("recorded", outcome))
        return "result"

    def report(outcome: Any, waiters: int) -> None:
        assert released.wait(20)
        steps.append(("reported", outcome, waiters))

    released = threading.Event()
    several = of(lambda need: f"outcome within {need.budget:g} s", record, report)
    assert result(several) == "result"
    steps.append("released")
    released.set()
    flights_done()
    outcome = "outcome within 60 s"
    assert steps == [("recorded", outcome), "released", ("reported", outcome, 1)]


# -- where a flight runs ---------------------------------------------------------------------------


def test_a_flight_runs_on_a_daemon_thread_in_a_copy_of_the_context() -> None:
    colour: contextvars.ContextVar[str] = contextvars.ContextVar("colour")
    seen: list[Any] = []

    def work(need: Any) -> None:
        thread = threading.current_thread()
        seen.append((colour.get(), thread.name, thread.daemon))
        colour.set("green")

    mark = colour.set("red")
    result(of(work))
    assert seen == [("red", FLIGHT, True)]
    assert colour.get() == "red"
    colour.reset(mark)


def test_a_flight_runs_in_the_caller_if_that_is_asked_for() -> None:
    several = of(lambda need: threading.current_thread())
    assert result(several, in_caller=True) is threading.current_thread()


@pytest.mark.parametrize("method", ["__init__", "start"])
def test_a_flight_runs_in_the_caller_if_there_is_no_thread_for_it(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse_thread(thread: threading.Thread, **options: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, method, refuse_thread)
    several = of(lambda need: threading.current_thread())
    assert not several.start_unless_running(Need)
    assert result(several) is threading.current_thread()


def test_a_flight_may_start_without_a_caller_that_waits() -> None:
    work, reported = Held(), list[int]()
    several = of(work, report=lambda outcome, waiters: reported.append(waiters))
    assert several.start_unless_running(nothing)
    assert work.begun == 0
    assert several.start_unless_running(Need)
    assert several.start_unless_running(lambda: refuse(None))
    work.free.set()
    flights_done()
    assert (work.begun, reported) == (1, [0])


def test_a_flight_keeps_neither_its_need_nor_its_outcome() -> None:
    class Work:
        def __call__(self, need: Any) -> Any:
            outcome = Need()
            left.extend([weakref.ref(need), weakref.ref(outcome)])
            return outcome

    left: list[Any] = []
    several = of(Work(), nothing)
    result(several)
    flights_done()
    assert [ref() for ref in left] == [None, None]


# -- a flight that waits for itself ----------------------------------------------------------------


def test_a_flight_cannot_be_waited_for_from_inside_of_it() -> None:
    refused: list[str] = []

    def use(name: str, several: Flights) -> None:
        with pytest.raises(InsideItself):
            result(several)
        refused.append(name)

    def deep_inside(need: Any) -> None:
        use("outer", outer)
        use("inner", inner)
        context = contextvars.copy_context()
        joined(in_threads(1, lambda: context.run(use, "in a thread", outer)))

    outer = of(lambda need: result(inner))
    inner = of(deep_inside)
    result(outer)
    assert refused == ["outer", "inner", "in a thread"]


def test_the_context_of_a_flight_may_use_the_next_one() -> None:
    contexts: list[contextvars.Context] = []
    reported: list[Any] = []

    def report(outcome: Any, waiters: int) -> None:
        if not reported:
            reported.append(outcome)
            reported.append(result(several))

    several = of(lambda need: contexts.append(contextvars.copy_context()), report=report)
    result(several)
    flights_done()
    assert reported == [None, None]
    assert contexts[0].run(result, several) is None


# -- interruptions ---------------------------------------------------------------------------------


def test_who_joined_a_flight_that_is_stopped_from_outside_starts_another_one() -> None:
    def work(need: Any) -> Any:
        begun.append(need)
        if len(begun) > 1:
            return "from another flight"
        until(lambda: waiters_in(several) == 2)
        raise KeyboardInterrupt

    def first() -> None:
        with pytest.raises(KeyboardInterrupt):
            result(several, in_caller=True)

    begun: list[Any] = []
    reported: list[Any] = []
    several = of(work, report=lambda *step: reported.append(step))
    starter = in_threads(1, first)
    until(lambda: waiters_in(several) == 1)
    assert result(several) == "from another flight"
    joined(starter)
    flights_done()
    assert reported == [("from another flight", 1)]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_who_started_a_flight_that_is_stopped_from_outside_is_told_so() -> None:
    def work(need: Any) -> Any:
        raise SystemExit

    with pytest.raises(Interrupted, match="SystemExit"):
        result(of(work))


def test_after_an_interrupt_at_the_start_the_next_caller_starts_a_flight(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(thread: threading.Thread) -> None:
        raise KeyboardInterrupt

    several = of(unchanged)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupt)
        with pytest.raises(KeyboardInterrupt):
            result(several)
    assert result(several, timeout=5).budget == 60.0


def test_a_caller_that_is_interrupted_at_any_step_may_wait_again() -> None:
    """So a signal handler or a finalizer that uses the session stops neither thread nor flight."""
    work = Held()
    several = of(work)
    with pytest.raises(StillRunning):
        result(several, 0)
    interrupted: list[int] = []

    def wait_interrupted_at(step: int) -> None:
        passed = 0

        def trace(frame: Any, event: str, arg: Any) -> Any:
            nonlocal passed
            passed += 1
            if passed == step:
                sys.settrace(None)
                interrupted.append(step)
                with pytest.raises(StillRunning):
                    result(several, 0)
            return trace

        sys.settrace(trace)
        try:
            with contextlib.suppress(StillRunning):
                result(several, 0)
        finally:
            sys.settrace(None)

    for step in range(1, 50):
        caller = threading.Thread(target=wait_interrupted_at, args=(step,), daemon=True)
        caller.start()
        joined([caller])
    work.free.set()
    assert result(several)[0] == 1
    assert interrupted[:25] == list(range(1, 26))


def test_a_caller_that_is_stopped_at_any_step_harms_no_other() -> None:
    """So a timeout by a signal, or Ctrl-C, may come at the moment at which the result comes."""

    class Stopped(Exception):
        pass

    def wait_stopped_at(several: Flights, step: int) -> None:
        passed = 0

        def trace(frame: Any, event: str, arg: Any) -> Any:
            nonlocal passed
            file = frame.f_code.co_filename
            if not file.endswith("tokens/single_flight.py"):
                return None
            # At the end of a `with`, a signal is looked for after `__exit__`, but this is called
            # before it.
            passed += not linecache.getline(file, frame.f_lineno).strip().startswith("with ")
            if passed == step:
                sys.settrace(None)
                stopped.append(step)
                raise Stopped
            return trace

        sys.settrace(trace)
        try:
            with contextlib.suppress(StillRunning, Stopped):
                result(several, 0)
        finally:
            sys.settrace(None)

    stopped: list[int] = []
    for step in range(1, 40):
        work, results = Held(), list[Any]()
        several = of(work)
        others = in_threads(2, lambda: results.append(result(several)))  # noqa: B023
        until(lambda: waiters_in(several) == 2)  # noqa: B023
        joined(in_threads(1, lambda: wait_stopped_at(several, step)))  # noqa: B023
        work.free.set()
        joined(others)
        assert len(results) == 2
        assert result(several)[0] == 2
    assert stopped[:20] == list(range(1, 21))
