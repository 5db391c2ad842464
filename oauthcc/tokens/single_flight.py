"""One piece of work for many callers: started once, waited for together.

Each flight runs on its own short-lived daemon thread, and every caller only waits, also the first.
So a caller that times out, is interrupted or ends does not affect the others. Nothing here knows
what a token is.
"""

from __future__ import annotations

import contextvars
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Generic, TypeVar

from .. import forks
from ..errors import copy_error
from ..frames import clear_frames, without_frames

N = TypeVar("N")
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


class SingleFlight(Generic[N, R, T]):
    """At most one flight in progress, which callers start or join.

    ``budget`` is in seconds. After it a flight counts as abandoned: the next caller starts another
    one, but those who already wait still get its late result. Each flight has three steps.
    ``work`` gets a need and returns an outcome. ``record`` gets the outcome, while nobody can join,
    and returns the result for all callers or raises their error. ``report`` gets the outcome and
    the number of callers, after all of them were released.
    """

    def __init__(
        self,
        budget: float,
        work: Callable[[N], R],
        record: Callable[[R], T],
        report: Callable[[R, int], None],
    ) -> None:
        self._budget = budget
        self._work = work
        self._record = record
        self._report = report
        self._after_fork()
        forks.reset_in_child(self)

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
        in_caller: bool = False,
    ) -> T:
        """Return what is ready, else the result of the flight in progress, else of a new one.

        ``ready`` is called under the lock, because another flight may have ended meanwhile.
        ``begin`` returns the need for a new flight; its exceptions are raised in the caller. Waits
        at most ``timeout`` seconds and then raises `StillRunning`. Raises a copy of the flight's
        error, `Interrupted` if its thread was stopped, and `InsideItself`. ``in_caller`` runs a new
        flight in the thread of the caller, as it also does if there is no thread for it.
        """
        with self.lock:
            found = ready()
            if found is not None:
                return found
            flight, need = self._flight, None
            if flight is None or not flight.is_joinable:
                need = begin()
                flight, started = self._start(need, on_thread=not in_caller)
                need = None if started else need
            elif flight.is_mine:
                raise InsideItself
            flight.waiters += 1
        if need is not None:
            self._run(flight, need)
        return flight.wait(timeout)

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

    def abandon(self) -> None:
        """Let the next caller start a new flight, even if one is in progress."""
        with self.lock:
            self._flight = None

    def _start(self, need: N, *, on_thread: bool) -> tuple[_Flight[T], bool]:
        """Make a flight and start it; return whether it has a thread."""
        flight: _Flight[T] = _Flight(time.monotonic() + self._budget)
        try:
            self._flight = flight
            if not on_thread:
                return flight, False
            # In the context of the caller: an observer of events that uses the session is active
            # there, and must get no events of its own use.
            run = partial(contextvars.copy_context().run, self._run, flight, need)
            threading.Thread(target=run, name="oauthcc-flight", daemon=True).start()
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
        try:
            outcomes.append(self._work(need))
            # The outcome is recorded and the flight closed in one step. Otherwise a caller that was
            # refused with the new token could join this flight, and get the same token again.
            with self.lock:
                try:
                    flight.result = self._record(outcomes[0])
                finally:
                    if self._flight is flight:
                        self._flight = None
        except Exception as error:  # noqa: BLE001 - every caller raises it
            # The error is kept, and frames would keep sessions and secrets. The context may also be
            # what the caller handles at this time, if there is no thread for the flight.
            error.__context__ = None
            flight.error = without_frames(error)
        except BaseException as interruption:
            flight.error = Interrupted(type(interruption).__name__)
            clear_frames(interruption, handled)
            raise
        finally:
            _inside.reset(mark)
            flight.done.set()
        for outcome in outcomes:  # none if the work itself has failed
            self._report(outcome, flight.waiters)


class _Flight(Generic[T]):
    """A flight as its callers see it: whether it is done, and its result or error."""

    def __init__(self, deadline: float) -> None:
        self.done = _Latch()
        self.result: T | None = None
        self.error: Exception | None = None
        #: How many callers wait; guarded by the lock of `SingleFlight`.
        self.waiters = 0
        self._deadline = deadline

    @property
    def is_joinable(self) -> bool:
        """Return whether the flight is in progress and within its budget."""
        return not self.done.is_set and time.monotonic() < self._deadline

    @property
    def is_mine(self) -> bool:
        """Return whether the caller runs inside of this flight."""
        return self in _inside.get() and not self.done.is_set

    def wait(self, timeout: float) -> T:
        """Wait at most ``timeout`` seconds; return the result or raise a copy of the error."""
        if not self.done.wait(max(0.0, timeout)):
            raise StillRunning
        if self.error is not None:
            raise copy_error(self.error)
        return self.result  # type: ignore[return-value]  # None only if T is None


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
        deadline = time.monotonic() + timeout
        while not self.is_set:
            left = deadline - time.monotonic()
            # In steps: a KeyboardInterrupt between these two lines leaves the gate locked.
            if self._gate.acquire(timeout=max(0.0, min(left, 1.0))):
                self._gate.release()  # for the next one
            elif left <= 0:
                break
        return self.is_set
