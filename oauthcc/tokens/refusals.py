"""Requests that an API refused, and the pause before another refusal may cause a renewal."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import NamedTuple

from .. import clock, forks
from ..access_token import Token
from ..urls import Origin
from . import renewal
from .renewal import Backoff

#: The number of pauses that are kept. While all of them last, other APIs count as paused too.
MAX_PAUSES = 1024


class Route(NamedTuple):
    """A route of an API: the method, the origin, and the public URL (without query)."""

    method: str
    origin: Origin | None
    url: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that an API refused: with which token, on which route, and when it was sent.

    ``sent_at`` is in seconds since the epoch.
    """

    token: Token
    route: Route
    sent_at: float


class RefusalPauses:
    """The pauses in which a 401 causes no renewal, because the API refused a new token.

    They take 1, 2, 4 ... 60 seconds, and are kept by the origin of the API. Requests whose body
    cannot be sent again have pauses of their own (``replayable=False``), because no replay shows
    whether a renewal helps them.
    """

    def __init__(self) -> None:
        # By origin and replayable: the token that was refused last, and the pause. A `Token`, and
        # not its text, because the repr of a `Token` hides the text.
        self._pauses: dict[tuple[Origin | None, bool], tuple[Token, Backoff]] = {}
        # When the first of them ends, if there is no room for another (on the monotonic clock).
        self._full_until = 0.0
        self._after_fork()
        forks.reset_in_child(self)

    def _after_fork(self) -> None:
        self._lock = threading.RLock()  # guards the two above; re-entrant for signal handlers

    def is_over(self, refusal: Refusal) -> bool:
        """Return whether the pause of this API is over, so that a renewal may be forced."""
        _, pause = self._pauses.get((refusal.route.origin, True), (None, None))
        now = clock.system.monotonic()
        if pause is not None:
            return now >= pause.until
        return len(self._pauses) < MAX_PAUSES or now >= self._full_until

    def record(self, refusal: Refusal, *, replayable: bool = True) -> bool:
        """Begin or extend the pause of the API. Return False if nothing changed.

        Many threads may be refused with the same token, which counts once during a pause. A
        refusal without a replay counts only if the pause is over.
        """
        key, token, now = (refusal.route.origin, replayable), refusal.token, clock.now()
        with self._lock:
            last, pause = self._pauses.get(key, (None, None))
            is_known = last is not None and last.access_token == token.access_token
            is_active = pause is not None and now.monotonic < pause.until
            if is_active and (is_known or not replayable):
                return False
            if pause is None and len(self._pauses) >= MAX_PAUSES:
                end = max(self._full_until, now.monotonic)
                self._pauses = {k: kept for k, kept in self._pauses.items() if kept[1].until > end}
            self._pauses[key] = token, renewal.after_refusal(pause, now)
            if len(self._pauses) >= MAX_PAUSES:
                self._full_until = min(kept.until for _, kept in self._pauses.values())
            return True

    def end(self, route: Route) -> None:
        """End the pauses of an API that accepted a new token."""
        with self._lock:
            for replayable in (False, True):
                self._pauses.pop((route.origin, replayable), None)

    def forget(self) -> None:
        """End all pauses."""
        with self._lock:
            self._pauses.clear()
