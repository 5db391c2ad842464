"""One call of a token store, on a thread of its own, so that a store that hangs blocks no caller.

A call that takes longer than its limit is given up, and its thread ends whenever the store answers.
To limit the number of such threads, an operation that hung is not tried again for a while.
"""

from __future__ import annotations

import contextlib
import contextvars
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

from .. import clock, forks
from ..threads import closing_hub, start
from ..values import mutable

T = TypeVar("T")

#: Seconds for which an operation that hung is not tried again: at first, and at most.
PAUSE_FIRST, PAUSE_MAX = 2.0, 3600.0


class GivenUp(Exception):
    """A call did not end within its limit, or was not made because the last one did not."""


class Stopped(Exception):
    """A store raised what ends a thread, such as SystemExit or gevent.Timeout: ``args[0]``."""


class StoreCall(Generic[T]):
    """A call of a store that has begun.

    ``seconds`` is its limit. ``if_late`` is called, on the thread of the call, with the result of a
    call that ends after it was given up. If ``on_thread`` is False, or if no thread can be started,
    the call is made at once in this thread, without a limit.
    """

    def __init__(
        self,
        store: object,
        operation: str,
        action: Callable[[], T],
        seconds: float,
        if_late: Callable[[T], object],
        *,
        on_thread: bool,
    ) -> None:
        self._hanging = (id(store), operation)  # the thread keeps the store alive
        self._action, self._if_late = action, if_late
        self._began = clock.system.monotonic()
        self._limit, self._deadline = seconds, time.monotonic() + seconds
        self._result: T | None = None
        self._error: BaseException | None = None
        self._is_over = self._is_given_up = False
        self._gate = threading.Lock()  # free when the call has ended
        # Acquired once, by the thread that ends the call or by the one that gives it up.
        self._decision = threading.Lock()
        self._is_unlock = operation == "unlock"  # it is never omitted, or others would wait
        # A lock is not acquired while others could not be released.
        needed = ("lock", "unlock") if operation == "lock" else (operation,)
        if not self._is_unlock and not all(_pauses.permit((id(store), each)) for each in needed):
            self._error = GivenUp("is not called for a while, because it did not end in time")
            return
        self._gate.acquire()
        # In this context: a store that uses the session must not wait for its own fetch.
        run = partial(contextvars.copy_context().run, self._run)
        self._has_thread = on_thread
        try:
            if on_thread:
                target = closing_hub(run)
                start(threading.Thread(target=target, name="oauthcc-store", daemon=True))
        except RuntimeError:  # at exit, or at a limit
            self._has_thread = False
        if not self._has_thread:
            self._run()

    def ends_within(self, seconds: float) -> bool:
        """Wait at most this long; return whether the call has ended or was given up."""
        left = max(0.0, self._deadline - time.monotonic())
        if not self._is_over:
            self._is_over = self._gate.acquire(timeout=max(0.0, min(seconds, left)))
        if not self._is_over and seconds >= left:
            self._is_over = True
            # Before the decision. If it came after it, the call could end between the two, and the
            # pause of a store that has answered would go on.
            _pauses.begin(self._hanging, self._began)
            self._is_given_up = self._decision.acquire(blocking=False)
            if not self._is_given_up:  # it has ended in this moment
                self._gate.acquire()
                _pauses.end(self._hanging)
        return self._is_over

    def result(self) -> T:
        """Return the result of a call that is over, or raise its error or `GivenUp`."""
        if self._is_given_up:
            raise GivenUp(f"did not end within {self._limit:.2g} seconds")
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]  # None only if T is None

    def _run(self) -> None:
        try:
            # This process may have been frozen until now, and others may have a newer token.
            if time.monotonic() >= self._deadline and not self._is_unlock:
                self._error = GivenUp("did not begin in time")
            else:
                self._result = self._action()
        except BaseException as error:  # noqa: BLE001 - the thread that waits raises it
            # What ends the thread of a store must not end the thread that waits for it.
            is_foreign = self._has_thread and not isinstance(error, Exception)
            self._error = Stopped(error) if is_foreign else error
        is_in_time = self._decision.acquire(blocking=False)
        _pauses.end(self._hanging)
        if is_in_time:
            self._gate.release()
        elif self._error is None:
            with contextlib.suppress(BaseException):  # it was given up and reported already
                self._if_late(self._result)  # type: ignore[arg-type]  # the same


@mutable
class _Pause:
    """When a pause began (monotonic), its length, and its end."""

    begun: float
    seconds: float
    until: float


class _Pauses:
    """The pauses of operations that hung. One ends when the store answers, also if it is late."""

    def __init__(self) -> None:
        self._after_fork()
        forks.reset_in_child(self)

    def _after_fork(self) -> None:
        # The threads that hang do not exist in a child.
        self._pauses: dict[tuple[int, str], _Pause] = {}
        self._lock = threading.RLock()  # guards it; re-entrant for signal handlers

    def permit(self, hanging: tuple[int, str]) -> bool:
        """Return whether an operation may be tried; after a pause, only one caller may."""
        with self._lock:
            pause, now = self._pauses.get(hanging), clock.system.monotonic()
            if pause is None:
                return True
            is_over = now >= pause.until
            if is_over:
                pause.until = now + pause.seconds
            return is_over

    def begin(self, hanging: tuple[int, str], began: float) -> None:
        """Begin a pause after a call that hung; a call that began during it does not double it."""
        with self._lock:
            last, now = self._pauses.get(hanging), clock.system.monotonic()
            if last is None:
                self._pauses[hanging] = _Pause(now, PAUSE_FIRST, now + PAUSE_FIRST)
            elif began > last.begun:
                seconds = min(2 * last.seconds, PAUSE_MAX)
                self._pauses[hanging] = _Pause(now, seconds, now + seconds)

    def end(self, hanging: tuple[int, str]) -> None:
        """End the pause of an operation that has answered."""
        with self._lock:
            self._pauses.pop(hanging, None)


_pauses = _Pauses()
