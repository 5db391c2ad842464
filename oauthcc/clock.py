"""The two clocks of the library.

Rule of this module: every decision about the life of a token reads the time here, by
``clock.monotonic()``, ``clock.wall()`` or ``clock.now()``, so that a test can move both clocks.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import NamedTuple

#: The clock that nobody can set back, in seconds from an unknown start.
monotonic: Callable[[], float] = time.monotonic
#: Seconds since the epoch, as other processes and machines see them.
wall: Callable[[], float] = time.time


class Instant(NamedTuple):
    """One moment on both clocks, in seconds."""

    monotonic: float
    wall: float


NEVER = Instant(math.inf, math.inf)
ALWAYS = Instant(-math.inf, -math.inf)


def now() -> Instant:
    """Return the time of both clocks."""
    return Instant(monotonic(), wall())
