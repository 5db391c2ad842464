"""The time limits of a diagnosis, so that it ends whatever hangs."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: Seconds for the whole command, and for one step of each kind.
TOTAL = 60.0
NETWORK, TOKEN, API = 5.0, 15.0, 10.0


class Hanging(Exception):
    """A step that has not ended within its limit."""


class Deadline:
    """The end of the time that all steps together may take."""

    def __init__(self) -> None:
        self._until = time.monotonic() + TOTAL

    @property
    def left(self) -> float:
        """Return the seconds that are left, 0 or less if there are none."""
        return self._until - time.monotonic()

    def seconds(self, limit: float) -> float:
        """Return the limit of a step, less if less is left."""
        return max(0.01, min(limit, self.left))

    def run(self, limit: float, call: Callable[[float], T]) -> T:
        """Call a function with the seconds that it may take; raise Hanging if it takes longer.

        It runs on a thread of its own, because nothing ends a name resolution that hangs.
        """
        seconds = self.seconds(limit)
        answers: queue.SimpleQueue[tuple[list[T], Exception | None]] = queue.SimpleQueue()

        def answer() -> None:
            try:
                answers.put(([call(seconds)], None))
            except Exception as error:  # noqa: BLE001 - the caller raises it
                answers.put(([], error))

        threading.Thread(target=answer, name="oauthcc-doctor", daemon=True).start()
        try:
            # A little longer, so that a function with timeouts can say what has timed out.
            values, error = answers.get(timeout=seconds * 1.1)
        except queue.Empty:
            raise Hanging from None
        if error is not None:
            raise error
        return values[0]
