"""The two clocks of the library, read in one place so that tests can move them."""

from __future__ import annotations

import math
import time
from typing import NamedTuple


class Instant(NamedTuple):
    """One moment on both clocks, in seconds."""

    monotonic: float
    wall: float


NEVER = Instant(math.inf, math.inf)
ALWAYS = Instant(-math.inf, -math.inf)


def now() -> Instant:
    """Return the time of both clocks."""
    return Instant(time.monotonic(), time.time())
