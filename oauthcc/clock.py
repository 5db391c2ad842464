"""The two clocks of the library.

Rule of this module: the life of a token is measured with ``clock.system.monotonic()`` (the clock
that nobody can set back) and ``clock.system.time()`` (seconds since the epoch, as other processes
see them), or with ``clock.now()`` for both, and a signed proof or assertion says the same time. A
test can replace ``clock.system``, as `oauthcc.testing.MovableClock` does. Tools that patch the
module ``time`` work too.
"""

from __future__ import annotations

import math
import time
from typing import NamedTuple, Protocol


class Clocks(Protocol):
    """The part of the module ``time`` that is used."""

    def monotonic(self) -> float:
        """Return the time of the clock that nobody can set back, in seconds."""
        ...

    def time(self) -> float:
        """Return the time in seconds since the epoch."""
        ...


#: Seconds by which the wall clocks of machines that share tokens may differ.
SKEW = 5.0
#: Not functions of our own, which would cost every request a call.
system: Clocks = time


class Instant(NamedTuple):
    """One moment on both clocks, in seconds."""

    monotonic: float
    wall: float


NEVER = Instant(math.inf, math.inf)
ALWAYS = Instant(-math.inf, -math.inf)


def now() -> Instant:
    """Return the time of both clocks."""
    return Instant(system.monotonic(), system.time())
