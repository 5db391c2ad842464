"""One piece of work for many callers: started once, waited for together.

Each flight runs on its own short-lived daemon thread, and every caller only waits, also the first.
So a caller that times out, is interrupted or ends does not affect the others. Nothing here knows
what a token is.
"""

from __future__ import annotations

import contextlib
import contextvars
import math
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from ..errors import copy_error
from ..frames import clear_frames, without_frames
from ..threads import acquire, start_daemon

if TYPE_CHECKING:
    from typing_extensions import Self

# The flights that the current context is inside of. Waiting for one of them would never end.
_inside: contextvars.ContextVar[tuple[object, ...]] = contextvars.ContextVar("_inside", default=())


class Need(Protocol):
    """What a flight is to bring."""

    @property
    def budget(self) -> float:
        """Return the number of seconds that the flight may take."""

    @property
    def is_tentative(self) -> bool:
        """Return whether nobody waits for it, so that its failure is the answer to nobody."""

    def within(self, seconds: float) -> Self:
        """Return the same need with a smaller budget."""


N = TypeVar("N", bound=Need)
R = TypeVar("R")
T = TypeVar("T")


class StillRunning(Exception):
    """The time of a caller has ended before the flight did."""


class Interrupted(Exception):
    """The thread of the flight was stopped from outside."""


class InsideItself(Exception):
    """The work of a flight waits for that same flight."""


class SingleFlight(Generic[N, R, T]):
    """At most one flight in progress, which callers start or join.

    After its budget a flight counts as abandoned: the next caller starts another one, and those who
    already wait get the first result of the two. Each flight has three steps. ``work`` gets a need
    and returns an outcome. ``record`` gets the outcome, while nobody can join, and returns the
    result for all callers or raises their error. ``report`` gets the outcome and the number of
    callers, after all of them were released.
    """

    __slots__ = ("_flight", "_record", "_report", "_work", "lock")

    def __init__(
        self,
        work: Callable[[N], R],
        record: Callable[[R], T],
        report: Callable[[R, int], None],
    ) -> None:
        self._work = work
        self._record = record
        self._report = report
        self._after_fork()

    def _after_fork(self) -> None:
        #: Guards `_flight`. Re-entrant, because a signal handler or a finalizer may use the session
        #: in the very thread that holds it. That use waits for the flight until its timeout. For
        #: the same reason this lock comes first: `ready`, `begin` and `record` take other locks
        #: inside of it, so a thread that holds one of those must hold this one too.
        self.lock: AbstractContextManager[bool] = threading.RLock()
        self._flight: _Flight[T] | None = None

    def result(
        self,
        ready: Callable[[], T | None],
        begin: Callable[[], N],
        timeout: float,
        *,
        max_age: float = math.inf,
        in_caller: bool = False,
    ) -> T:
        """Return what is ready, else the result of the flight in progress, else of a new one.

        ``ready`` is called under the lock, because another flight may have ended meanwhile.
        ``begin`` returns the need for a new flight; its exceptions are raised in the caller. Waits
        at most ``timeout`` seconds, and at most until the flight is ``max_age`` seconds old, and
        then raises `StillRunning`. Raises a copy of the flight's error, `Interrupted` if its thread
        was stopped, and `InsideItself`. ``in_caller`` runs a new flight in the thread of the
        caller, as it also does if there is no thread for it.
        """
        until = _real.monotonic() + timeout
        while True:
            with self.lock:
                found = ready()
                if found is not None:
                    return found
                flight, need, is_running = self._flight, None, True
                if flight is None or not flight.is_joinable:
                    need = begin()
                    flight, is_running = self._start(need, on_thread=not in_caller)
                    if not is_running and max_age <= 0:  # this caller waits for none
                        self._flight = None
                        raise StillRunning
                elif flight.is_mine:
                    raise InsideItself
                flight.waiters += 1
            if need is not None and not is_running:
                moment = min(until, flight.began + max_age)
                self._run(flight, need.within(moment - _real.monotonic()))
            result, error = flight.wait_until(min(until, flight.began + max_age))
            if error is None:
                return result  # type: ignore[return-value]  # None only if T is None
            is_for_nobody = flight.is_tentative or isinstance(error, Interrupted)
            if need is not None or not is_for_nobody:
                raise copy_error(error)

    def start_unless_running(self, begin: Callable[[], N | None]) -> bool:
        """Start a flight that nobody waits for; return False if there is no thread for it.

        Does nothing if a flight is in progress, or if ``begin`` finds that none is needed.
        """
        with self.lock:
            if self._flight is not None and self._flight.is_joinable:
                return True
            need = begin()
            if need is None:
                return True
            _, started = self._start(need, on_thread=True)
            if not started:
                self._flight = None
            return started

    @property
    def is_overdue(self) -> bool:
        """Return whether a flight is still in progress after its budget; under the lock."""
        flight = self._flight
        return flight is not None and not flight.is_joinable and not flight.is_done

    def abandon(self) -> None:
        """Let the next caller start a new flight, even if one is in progress."""
        with self.lock:
            if self._flight is not None:
                self._flight.is_abandoned = True

    def _start(self, need: N, *, on_thread: bool) -> tuple[_Flight[T], bool]:
        """Make a flight and start it; return whether it has a thread."""
        flight: _Flight[T] = _Flight(need, self._flight)
        try:
            self._flight = flight
            if not on_thread:
                return flight, False
            # In the context of the caller: an observer of events that uses the session is active
            # there, and must get no events of its own use.
            run = partial(contextvars.copy_context().run, self._run, flight, need)
            start_daemon(run, "oauthcc-flight")
        except RuntimeError:  # at exit, at a limit, or in an interpreter without daemon threads
            return flight, False
        except BaseException:
            self._flight = None  # interrupted: nobody knows whether it runs, so nobody joins it
            raise
        return flight, True

    def _run(self, flight: _Flight[T], need: N) -> None:
        """Carry out a flight in this thread, then release its callers."""
        handled = sys.exc_info()[1]
        mark = _inside.set((*_inside.get(), flight))
        outcomes: list[R] = []
        result: T | None = None
        failure: Exception | None = None
        try:
            outcomes.append(self._work(need))
            # The outcome is recorded and the flight closed in one step. Otherwise a caller that was
            # refused with the new token could join this flight, and get the same token again.
            with self.lock:
                try:
                    result = self._record(outcomes[0])
                finally:
                    if self._flight is flight:
                        self._flight = None
        except Exception as error:  # noqa: BLE001 - every caller raises it
            # The error is kept, and frames would keep sessions and secrets. The context may also be
            # what the caller handles at this time, if there is no thread for the flight.
            object.__setattr__(error, "__context__", None)  # as in `without_frames`
            failure = without_frames(error)
        except BaseException as interruption:
            failure = Interrupted(type(interruption).__name__)
            clear_frames(interruption, handled)
            raise
        finally:
            _inside.reset(mark)
            flight.end(result, failure)
        for outcome in outcomes:  # none if the work itself has failed
            self._report(outcome, flight.waiters)


class _Flight(Generic[T]):
    """A flight as its callers see it: whether it is done, and its result or error."""

    def __init__(self, need: Need, older: _Flight[T] | None) -> None:
        self.began: float = _real.monotonic()
        self._deadline = self.began + need.budget
        self.is_tentative = need.is_tentative
        self.is_abandoned = False
        # An abandoned one, whose callers get the result of this one if it comes first.
        self._older = older
        #: How many callers wait; guarded by the lock of `SingleFlight`.
        self.waiters = 0
        self._ending: tuple[T | None, Exception | None] | None = None
        # One for each caller, which no other caller touches. A signal handler that raises an
        # exception in the middle of a wait can spoil only the gate of its own thread.
        self._gates: list[Any] = []

    @property
    def is_done(self) -> bool:
        """Return whether there is a result or an error."""
        return self._ending is not None

    @property
    def is_joinable(self) -> bool:
        """Return whether the flight is in progress and within its budget."""
        is_late = self.is_abandoned or _real.monotonic() >= self._deadline
        return not is_late and not self.is_done

    @property
    def is_mine(self) -> bool:
        """Return whether the caller runs inside of this flight."""
        return self in _inside.get() and not self.is_done

    def end(self, result: T | None, error: Exception | None) -> None:
        """Release all callers, and those of abandoned flights if this one has a result."""
        flight: _Flight[T] | None = self
        while flight is not None:
            if flight._ending is None:
                flight._ending = result, error
            with contextlib.suppress(IndexError):
                while True:
                    flight._gates.pop().release()
            older, flight._older = flight._older, None
            flight = older if error is None else None

    def wait_until(self, moment: float) -> tuple[T | None, Exception | None]:
        """Return the result or the error; raise `StillRunning` at a moment at the latest."""
        gate = threading.Lock()
        gate.acquire()
        self._gates.append(gate)
        try:
            while self._ending is None:
                left = moment - _real.monotonic()
                if left <= 0:
                    raise StillRunning
                # In steps, because `end` may be interrupted too.
                acquire(gate, min(left, 1.0))
        finally:
            with contextlib.suppress(ValueError):  # the gate was opened
                self._gates.remove(gate)
        return self._ending


class _real:  # noqa: N801 - it stands for a module
    """The clock for waiting. As a part of a class, tools that freeze clocks do not replace it."""

    monotonic = staticmethod(time.monotonic)
