"""One flight for many callers: start a piece of work once, wait for it, share what it brings.

Each flight runs on its own short-lived daemon thread and every caller, the first included, only
waits. So a caller that is impatient, interrupted or killed harms no other. What lives here knows
nothing of tokens.
"""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from .errors import own_copy

T = TypeVar("T")

# The flights that the current context is inside of: to wait for one of those is to wait for ever.
_aboard: contextvars.ContextVar[tuple[object, ...]] = contextvars.ContextVar("_aboard", default=())


class StillFlying(Exception):
    """Tell a caller that its patience ended before the flight did."""


class FlightLost(Exception):
    """Tell the callers that whatever carried the flight was stopped from outside."""


class _Latch:
    """Keep callers waiting until it is set.

    Not an Event: that holds a lock of its own for a moment, and a signal handler or a finalizer
    which uses the session at that moment would stop its thread, and the flight, for ever.
    """

    def __init__(self) -> None:
        self.is_set = False
        self._gate = threading.Lock()
        self._gate.acquire()

    def set(self) -> None:
        """Let everybody through, one after the other."""
        self.is_set = True
        self._gate.release()

    def wait(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds; say whether it is set."""
        if not self.is_set and self._gate.acquire(timeout=timeout):
            self._gate.release()  # for the next one
        return self.is_set


class Flight(Generic[T]):
    """Carry one piece of work out once, for everybody who waits for it.

    ``budget`` is in seconds: past it the flight counts as abandoned and the next caller starts
    another one, but a late result is still delivered to whoever waits. ``afterwards`` is called
    on the flight's thread when everybody has been told, with the number of those who waited.
    """

    def __init__(
        self, work: Callable[[], T], budget: float, afterwards: Callable[[int], None]
    ) -> None:
        self._work: Callable[[], T] | None = work
        self._afterwards: Callable[[int], None] | None = afterwards
        self._deadline = time.monotonic() + budget
        self._landed = _Latch()
        self._result: T | None = None
        self._error: Exception | None = None
        #: How many callers waited; whoever counts guards it.
        self.waiters = 0

    def start(self) -> bool:
        """Start the work on a thread of its own; False where no thread can be had."""
        context = contextvars.copy_context()
        try:
            threading.Thread(
                target=context.run, args=(self.run,), name="oauthcc-flight", daemon=True
            ).start()
        except RuntimeError:  # at exit, at a limit, or in an interpreter without daemon threads
            return False
        return True

    def run(self) -> None:
        """Do the work here and now, and let everybody know."""
        work, afterwards = self._work, self._afterwards
        self._work = self._afterwards = None  # they may hold a session: let go of it
        assert work is not None  # noqa: S101 - nobody flies twice
        assert afterwards is not None  # noqa: S101 - the same
        mark = _aboard.set((*_aboard.get(), self))
        try:
            self._result = work()
        except Exception as error:  # noqa: BLE001 - every waiter raises it
            self._error = error.with_traceback(None)
            # It is kept, and the frames of what led to it would keep sessions and secrets.
            error.__context__ = None
        except BaseException as interruption:
            self._error = FlightLost(type(interruption).__name__)
            raise
        finally:
            _aboard.reset(mark)
            self._landed.set()
        afterwards(self.waiters)

    @property
    def is_in_the_air(self) -> bool:
        """Say whether the flight is worth joining: neither landed nor past its budget."""
        return not self._landed.is_set and time.monotonic() < self._deadline

    @property
    def is_mine(self) -> bool:
        """Say whether the caller runs inside this flight, so that waiting would never end."""
        return self in _aboard.get() and not self._landed.is_set

    def wait(self, timeout: float) -> T:
        """Wait at most ``timeout`` seconds; return the result or raise one's own copy of the error.

        Raises `StillFlying` where the time ran out first; the flight goes on. Raises `FlightLost`
        where the flight was stopped from outside.
        """
        if not self._landed.wait(max(0.0, timeout)):
            raise StillFlying
        if self._error is not None:
            raise own_copy(self._error)
        return self._result  # type: ignore[return-value]  # None only where T is None
