"""What a token source knows: the current token, and the remembered failure.

Rule of this module: other modules read the state, and change it only through the methods of
`TokenState`, which owns the lock. If an earlier fetch ends after a later one, its token or error
does not replace what the later one brought (except a token that has expired). renewal.py decides
when something may happen.
"""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace

from .. import clock, forks
from ..access_token import Token
from ..clock import ALWAYS
from ..errors import PERMANENT_ERRORS, copy_error
from ..events import Event, RefusalRemembered, RenewalFailed
from ..redaction import SecretHeader
from . import renewal
from .fetcher import FetchResult, TokenNeed
from .renewal import Backoff, Phase, Schedule

#: Seconds between two checks whether the cause of a remembered error was corrected.
CHECK_PAUSE = 1.0


@dataclass(frozen=True, slots=True)
class CurrentToken:
    """A token with its header and its schedule, as one value that never changes."""

    token: Token
    header: SecretHeader
    plan: Schedule
    #: Whether the token came from the store, and was not fetched to replace a refused one.
    is_from_store: bool = False

    def is_fresh_or_aging(self) -> bool:
        """Return whether the token is fresh or aging, so that nobody has to wait for another."""
        margin = self.plan.margin
        return clock.system.monotonic() < margin.monotonic and clock.system.time() < margin.wall

    def is_other_than(self, token: Token) -> bool:
        """Return whether this is another token."""
        return self.token.access_token != token.access_token

    def may_replace(self, refused: Token, sent_at: float) -> bool:
        """Return whether a request that was refused may be sent again with this token.

        Several tokens may be revoked together. So a token from the store is used for a replay only
        if it was issued after the refused request was sent (wall clock).
        """
        is_new = not self.is_from_store or self.token.issued_at >= sent_at
        return is_new and self.is_other_than(refused)


@dataclass(frozen=True, slots=True)
class _Failure:
    """A remembered error, for how long, and the fingerprint of the client that it belongs to."""

    error: Exception
    pause: Backoff
    permanent: bool
    fingerprint: bytes | None


class TokenState:
    """The state of one token source.

    ``name`` names the server in events. ``is_shared`` says that other processes fetch tokens into
    the same store.
    """

    def __init__(self, name: str, renew_at: tuple[float, float], *, is_shared: bool) -> None:
        self.name = name
        self._renew_at = renew_at
        self._is_shared = is_shared
        #: The current token. It may be read without the lock, because it is one immutable value.
        self.current: CurrentToken | None = None
        self._failure: _Failure | None = None
        self._early_pause: Backoff | None = None
        self._checked_at = 0.0
        # Fetches are numbered in the order in which they begin. These are the numbers of those that
        # brought the current token and the newest result, and of the last call of `forget`.
        self._numbers = itertools.count(1)
        self._token_number = self._newest_number = self._forget_number = 0
        self._after_fork()
        forks.reset_in_child(self)

    def _after_fork(self) -> None:
        self._lock = threading.RLock()  # guards all of the above; re-entrant for signal handlers

    def look(self) -> tuple[CurrentToken | None, Phase | None]:
        """Return the current token and the phase of its life."""
        current = self.current
        return current, None if current is None else renewal.phase(current.plan, clock.now())

    def fresh_or_aging(self) -> CurrentToken | None:
        """Return the current token if nobody has to wait for another one."""
        current = self.current
        return current if current is not None and current.is_fresh_or_aging() else None

    def replacement_for(self, refused: Token, sent_at: float) -> CurrentToken | None:
        """Return the current token if it may replace a refused one (see `CurrentToken`)."""
        current = self.fresh_or_aging()
        return current if current is not None and current.may_replace(refused, sent_at) else None

    def replace_or_mark(self, refused: Token, sent_at: float) -> CurrentToken | None:
        """Return the replacement for a refused token; mark it as refused if there is none."""
        with self._lock:
            replacement = self.replacement_for(refused, sent_at)
            if replacement is None:
                self.mark_refused(refused)
            return replacement

    def mark_refused(self, refused: Token) -> None:
        """Put a refused token into its margin: it is renewed first, and used if that fails."""
        with self._lock:
            current = self.current
            if current is not None and not current.is_other_than(refused):
                self.current = replace(current, plan=renewal.refused(current.plan))

    def may_renew_early(self) -> bool:
        """Return whether the token is aging and the pause after a failed early renewal is over."""
        pause = self._early_pause
        is_over = pause is None or clock.system.monotonic() >= pause.until
        return is_over and self.look()[1] is Phase.AGING

    def pause_early_renewal(self) -> None:
        """Try no early renewal for a while, because there is no thread for one."""
        with self._lock:
            if self.current is not None:
                self._pause_early(self.current.plan, None)

    def permit(self, need: TokenNeed) -> TokenNeed:
        """Return the need if a fetch is permitted; raise a copy of the remembered error if not.

        Once per second, one caller may start a fetch although an error is remembered. The error is
        added to its need: a token request is sent only if the secret or key has changed, and a
        token in the shared store is used too.
        """
        with self._lock:
            failure, now = self._failure, clock.system.monotonic()
            if failure is None or now >= failure.pause.until:
                return self.number(need)
            may_check = failure.permanent or self._is_shared
            if may_check and now >= self._checked_at + CHECK_PAUSE:
                self._checked_at = now
                return replace(self.number(need), known=(failure.fingerprint, failure.error))
        raise copy_error(failure.error)

    def number(self, need: TokenNeed) -> TokenNeed:
        """Return the need with the number of the fetch that begins now."""
        return replace(need, number=next(self._numbers))

    def record(self, result: FetchResult) -> CurrentToken:
        """Record what a fetch brought; return the token for those who waited, or raise the error.

        The events of a failure are added to the result.
        """
        with self._lock:
            if result.error is None:
                return self._record_token(result)
            result.events.extend(self._record_failure(result, result.error))
        raise result.error

    def forget(self) -> None:
        """Drop the token, the remembered error and the pauses, also for fetches in progress."""
        with self._lock:
            self.current = self._failure = self._early_pause = None
            self._forget_number = next(self._numbers)

    def _record_token(self, result: FetchResult) -> CurrentToken:
        assert result.token is not None  # noqa: S101 - there is no error
        assert result.header is not None  # noqa: S101 - the same
        plan = renewal.schedule(result.token, clock.now(), random.uniform(*self._renew_at))
        is_from_store = result.attempts == 0 and result.why != "refused"
        arrived = CurrentToken(result.token, result.header, plan, is_from_store)
        current = self.current
        if result.number < self._token_number and self.look()[1] is not Phase.EXPIRED:
            return arrived
        if result.number < self._forget_number:
            return arrived
        self._token_number = result.number
        self._newest_number = max(self._newest_number, result.number)
        self._failure = None
        if (
            current is not None
            and result.why == "aging"
            and not current.is_other_than(result.token)
        ):
            # The server has no other token yet. This one is still aging, so ask again later.
            arrived = replace(arrived, plan=replace(plan, aging=ALWAYS))
            self._pause_early(plan, None)
        else:
            self._early_pause = None
        self.current = arrived
        return arrived

    def _record_failure(self, result: FetchResult, error: Exception) -> Iterator[Event]:
        failure, now = self._failure, clock.now()
        if failure is not None and error is failure.error:
            return  # a check has found that nothing was corrected
        current, phase = self.look()
        usable = current is not None and phase is not Phase.EXPIRED
        if result.number < max(self._newest_number, self._forget_number):
            # An abandoned flight has failed. A newer one has brought a result meanwhile.
            yield RenewalFailed(self.name, result.why, error, usable, 0.0)
            return
        self._newest_number = result.number
        permanent = isinstance(error, PERMANENT_ERRORS)
        retry_after = getattr(error, "retry_after", None)
        last = failure if failure is not None and failure.permanent == permanent else None
        pause = renewal.after_failure(
            None if last is None else last.pause, now, permanent=permanent, retry_after=retry_after
        )
        # If the secret or key was another one each time (from a callable), a change does not mean
        # that the cause was corrected. So nothing is checked before the pause ends.
        is_unsteady = permanent and last is not None and last.fingerprint != result.fingerprint
        self._failure = _Failure(error, pause, permanent, result.fingerprint)
        self._checked_at = pause.until if is_unsteady else now.monotonic
        if current is not None and usable:
            self._pause_early(current.plan, retry_after)
        next_try = (phase is Phase.AGING and self._early_pause) or pause
        seconds = max(0.0, next_try.until - now.monotonic)
        yield RenewalFailed(self.name, result.why, error, usable, seconds)
        if permanent:
            yield RefusalRemembered(self.name, error, pause.until - now.monotonic)

    def _pause_early(self, plan: Schedule, retry_after: float | None) -> None:
        self._early_pause = renewal.after_early_failure(
            self._early_pause, plan, clock.now(), random.random(), retry_after
        )
