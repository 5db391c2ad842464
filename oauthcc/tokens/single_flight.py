"""One piece of work for many callers: started once, waited for together.

Each flight runs on its own short-lived daemon thread, and every caller only waits, also the first.
So a caller that is impatient, interrupted or killed harms no other. Nothing here knows what a token
is.
"""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from .. import forks
from ..errors import copy_error

R = TypeVar("R")
T = TypeVar("T")

# The flights that the current context is inside of. Waiting for one of them would never end.
_inside: contextvars.ContextVar[tuple[object, ...]] = contextvars.ContextVar("_inside", default=())


class StillRunning(Exception):
    """The time of a caller has ended before the flight did."""


class Interrupted(Exception):
    """The thread of the flight was stopped from outside."""


class InsideItself(Exception):
    """The work of a flight waits for that same flight."""


class SingleFlight(Generic[R, T]):
    """At most one flight in progress, which callers start or join.

    ``budget`` is in seconds. After it a flight counts as abandoned: the next caller starts another
    one, but those who already wait still get its late result. ``record`` gets what the work
    returned, and returns the result for all callers or raises their error. It is called while
    nobody can join. ``report`` is called when all callers were released, with their number.
    """

    def __init__(
        self, budget: float, record: Callable[[R], T], report: Callable[[R, int], None]
    ) -> None:
        self._budget = budget
        self._record = record
        self._report = report
        self._after_fork()
        forks.renewed_in_child(self)

    def _after_fork(self) -> None:
        # Guards `_flight`. Re-entrant, because a signal handler or a finalizer may use the session
        # in the very thread that holds it. Such a use then ends at its timeout.
        self._lock = threading.RLock()
        self._flight: _Flight[R, T] | None = None

    def result(
        self,
        ready: Callable[[], T | None],
        begin: Callable[[], Callable[[], R]],
        timeout: float,
        *,
        in_caller: bool = False,
    ) -> T:
        """Return what is ready, else the result of the flight in progress, else of a new one.

        ``ready`` is called again under the lock, because another flight may have ended meanwhile.
        ``begin`` returns the work of a new flight; what it raises, the caller gets. Waits at most
        ``timeout`` seconds and then raises `StillRunning`. Raises one's own copy of the error of
        the flight, `Interrupted` if its thread was stopped, and `InsideItself`. ``in_caller`` runs
        a new flight in the thread of the caller; so does a system without threads left.
        """
        with self._lock:
            found = ready()
            if found is not None:
                return found
            flight, must_run = self._flight, False
            if flight is None or not flight.is_joinable:
                flight, started = self._start(begin(), on_thread=not in_caller)
                must_run = not started
            elif flight.is_mine:
                raise InsideItself
            flight.waiters += 1
        if must_run:
            flight.run()
        return flight.wait(timeout)

    def start_unless_running(self, begin: Callable[[], Callable[[], R] | None]) -> bool:
        """Start a flight that nobody waits for; return False if there is no thread for it.

        Does nothing if a flight is in progress, or if ``begin`` finds that no work is needed.
        """
        with self._lock:
            if self._flight is not None and self._flight.is_joinable:
                return True
            work = begin()
            if work is None:
                return True
            _, started = self._start(work, on_thread=True)
            if not started:
                self._flight = None
            return started

    def abandon(self) -> None:
        """Let the next caller start a new flight, even if one is in progress."""
        with self._lock:
            self._flight = None

    def _start(self, work: Callable[[], R], *, on_thread: bool) -> tuple[_Flight[R, T], bool]:
        deadline = time.monotonic() + self._budget
        flight = self._flight = _Flight(work, self._close, self._report, deadline)
        try:
            return flight, on_thread and flight.start()
        except BaseException:
            self._flight = None  # interrupted: nobody knows whether it runs, so nobody joins it
            raise

    def _close(self, flight: _Flight[R, T], outcome: R) -> T:
        # The outcome is recorded and the flight closed in one step. Otherwise a caller whose
        # request was refused with the very token that this flight brings could still join it.
        with self._lock:
            try:
                return self._record(outcome)
            finally:
                if self._flight is flight:
                    self._flight = None


class _Latch:
    """A latch that keeps callers waiting until it is set.

    Not an Event: that holds a lock of its own for a moment. If a signal handler or a finalizer used
    the session at that moment, its thread would wait without end.
    """

    def __init__(self) -> None:
        self.is_set = False
        self._gate = threading.Lock()
        self._gate.acquire()

    def set(self) -> None:
        """Release all callers, one after the other."""
        self.is_set = True
        self._gate.release()

    def wait(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds; return whether the latch is set."""
        if not self.is_set and self._gate.acquire(timeout=timeout):
            self._gate.release()  # for the next one
        return self.is_set


class _Flight(Generic[R, T]):
    """One piece of work in progress, and its result."""

    def __init__(
        self,
        work: Callable[[], R],
        close: Callable[[_Flight[R, T], R], T],
        report: Callable[[R, int], None],
        deadline: float,
    ) -> None:
        self._steps: tuple[Any, Any, Any] | None = (work, close, report)
        self._deadline = deadline
        self._done = _Latch()
        self._result: T | None = None
        self._error: Exception | None = None
        #: How many callers wait; guarded by the lock of `SingleFlight`.
        self.waiters = 0

    def start(self) -> bool:
        """Start the work on a thread of its own; return False if there is no thread for it."""
        context = contextvars.copy_context()
        try:
            threading.Thread(
                target=context.run, args=(self.run,), name="oauthcc-flight", daemon=True
            ).start()
        except RuntimeError:  # at exit, at a limit, or in an interpreter without daemon threads
            return False
        return True

    def run(self) -> None:
        """Do the work in this thread, then release all callers."""
        assert self._steps is not None  # noqa: S101 - a flight runs once
        work, close, report = self._steps
        self._steps = None  # they may refer to a session
        mark = _inside.set((*_inside.get(), self))
        try:
            outcome = work()
            self._result = close(self, outcome)
        except Exception as error:  # noqa: BLE001 - every caller raises it
            self._error = error.with_traceback(None)
            # The error is kept, and the frames of its context would keep sessions and secrets.
            error.__context__ = None
        except BaseException as interruption:
            self._error = Interrupted(type(interruption).__name__)
            raise
        finally:
            _inside.reset(mark)
            self._done.set()
        report(outcome, self.waiters)

    @property
    def is_joinable(self) -> bool:
        """Return whether the flight is in progress and within its budget."""
        return not self._done.is_set and time.monotonic() < self._deadline

    @property
    def is_mine(self) -> bool:
        """Return whether the caller runs inside of this flight."""
        return self in _inside.get() and not self._done.is_set

    def wait(self, timeout: float) -> T:
        """Wait at most ``timeout`` seconds; return the result or raise a copy of the error."""
        if not self._done.wait(max(0.0, timeout)):
            raise StillRunning
        if self._error is not None:
            raise copy_error(self._error)
        return self._result  # type: ignore[return-value]  # None only if T is None
