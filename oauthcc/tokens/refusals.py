"""The routes of APIs that refuse new tokens, and when another refusal may cause a renewal.

A route that refuses every token must not cause a token request for each call, and must not keep
other routes from getting a new token after a revocation. So each route has pauses of its own, and
all routes together have an allowance: a number of forced fetches whose token may be refused. A
second, equal allowance is kept for the sign of a true revocation: a token that was accepted before,
and that no route has accepted for a second. renewal.py has the numbers.
"""

from __future__ import annotations

import threading
from typing import NamedTuple

from .. import clock
from ..urls import Origin
from ..values import frozen
from . import renewal
from .renewal import Backoff
from .state import CurrentToken

#: The number of routes that are remembered. If there are more, the oldest is forgotten.
MAX_ROUTES = 1024


class Route(NamedTuple):
    """A route of an API: the method, the origin, and the public URL (without query)."""

    method: str
    origin: Origin | None
    url: str


@frozen
class Refusal:
    """A request that an API refused: with which token, on which route, and when it was sent.

    ``sent_at`` is in seconds since the epoch.
    """

    current: CurrentToken
    route: Route
    sent_at: float


_UNKNOWN: tuple[int, Backoff | None] = (0, None)


class RefusingRoutes:
    """The routes that have refused a new token, and the allowances of the source."""

    __slots__ = ("_counted", "_kept", "_lock", "_ordinary", "known")

    def __init__(self) -> None:
        #: By route: the number of the token that was refused last, and the pause.
        self.known: dict[Route, tuple[int, Backoff]] = {}
        # The allowances, and the newest token that was counted.
        self._ordinary = self._kept = float("-inf")
        self._counted = 0
        self._after_fork()

    def _after_fork(self) -> None:
        self._lock = threading.RLock()  # guards all of the above; re-entrant for signal handlers

    def permit(self, route: Route, *, may_be_revoked: bool) -> bool:
        """Return whether a refusal on this route may force a renewal now.

        ``may_be_revoked`` says that the token was accepted before, and by no route for a second.
        """
        with self._lock:
            now = clock.now()
            if renewal.is_active(self.known.get(route, _UNKNOWN)[1], now):
                return False
            is_kept = may_be_revoked and renewal.has_room(self._kept, now)
            return is_kept or renewal.has_room(self._ordinary, now)

    def record(self, route: Route, number: int, *, is_forced: bool) -> None:
        """Record that a route has refused the new token with this number.

        Many threads may be refused with the same token, which counts once. In the allowances only
        one counts whose fetch a refusal has forced.
        """
        with self._lock:
            last, pause = self.known.get(route, _UNKNOWN)
            if number <= last:
                return
            now = clock.now()
            self.known.pop(route, None)  # so that it becomes the newest
            self.known[route] = number, renewal.after_refusal(pause, now)
            if len(self.known) > MAX_ROUTES:
                del self.known[next(iter(self.known))]
            if is_forced and number > self._counted:
                self._counted = number
                if renewal.has_room(self._ordinary, now):
                    self._ordinary = renewal.after_refused_fetch(self._ordinary, now)
                else:
                    self._kept = renewal.after_refused_fetch(self._kept, now)

    def has_refused_new_tokens(self, route: Route) -> bool:
        """Return whether a route has refused more than one new token."""
        pause = self.known.get(route, _UNKNOWN)[1]
        return pause is not None and pause.failures > 0

    def accept(self, route: Route) -> None:
        """Record that a route has accepted a token, which ends its pause."""
        with self._lock:
            self.known.pop(route, None)

    def forget(self) -> None:
        """Forget all refusals."""
        with self._lock:
            self.known.clear()
            self._ordinary = self._kept = float("-inf")
