"""A clock that a test moves, for the library and for the embedded servers together."""

from __future__ import annotations

import time

from .. import clock
from .reset import forget_tokens


class MovableClock:
    """The clock of the library and of all servers of `oauthcc.testing`, in a `with` block.

    ```python
    with MovableClock() as clock:
        clock.advance(3600)     # every token has expired
    ```

    Between two calls of `advance`, the clock goes on. The clocks of the process stay as they are,
    so other code is not affected. The end of the `with` block puts the clocks back. If they were
    moved, it also drops the tokens (see `forget_tokens`).
    """

    def __init__(self) -> None:
        """Create a clock that shows the time of the process."""
        self._under: list[clock.Clocks] = []  # one for each `with` that has begun
        self._seconds = 0.0

    def advance(self, seconds: float) -> None:
        """Move the clock forward."""
        self._seconds += seconds

    def monotonic(self) -> float:
        """Return the time of the clock that nobody can set back, in seconds."""
        return self._base.monotonic() + self._seconds

    def time(self) -> float:
        """Return the time in seconds since the epoch."""
        return self._base.time() + self._seconds

    @property
    def _base(self) -> clock.Clocks:
        return self._under[0] if self._under else time

    def __enter__(self) -> MovableClock:
        """Put this clock in the place of the one of the library."""
        self._under.append(clock.system)
        clock.system = self
        return self

    def __exit__(self, *_: object) -> None:
        """Put the clock back that was there before."""
        clock.system = self._under.pop()
        if self._seconds:
            forget_tokens()  # they were issued in what is now the future


def server_time() -> float:
    """Return the time for an embedded server: that of a `MovableClock`, or of the process.

    Another clock that was given to the library is not that of the servers, so that a test can also
    let them disagree.
    """
    moved = clock.system
    return moved.time() if isinstance(moved, MovableClock) else time.time()
