"""What a token source knows: the current token, and the remembered failure.

Rule of this module: other modules read the state, and change it only through the methods of
`TokenState`, which owns the lock. If an earlier fetch ends after a later one, its token or error
does not replace what the later one brought (except a token that has expired). renewal.py decides
when something may happen.
"""

from __future__ import annotations

import itertools
import math
import random
import threading

from .. import clock
from ..access_token import Token
from ..clock import ALWAYS, Instant
from ..errors import PERMANENT_ERRORS, limits_requests, remembered, retry_after_of
from ..events import Event, RefusalRemembered, RenewalFailed
from ..redaction import SecretHeader
from ..values import frozen, replace
from . import renewal
from .fetcher import FetchResult, TokenNeed
from .renewal import Backoff, Phase, Schedule

#: Seconds between two checks whether the cause of a remembered error was corrected.
CHECK_PAUSE = 1.0
#: Seconds without an accepted token after which a refusal is probably a revocation.
SILENCE = 1.0


@frozen
class CurrentToken:
    """A token with its header and its schedule, as one value that never changes.

    ``number`` is that of the fetch that brought it, so two tokens with the same text are told
    apart. ``arrived_at`` is in seconds since the epoch.
    """

    token: Token
    header: SecretHeader
    plan: Schedule
    number: int
    arrived_at: float
    #: Whether the token came from the store, and was not fetched by this source.
    is_from_store: bool = False
    #: Whether a refusal may have caused its fetch, here or in another process.
    is_forced: bool = False
    #: Whether an API has refused it, since then it is in its margin.
    is_refused: bool = False

    def is_expired(self) -> bool:
        """Return whether the token has expired."""
        return renewal.phase(self.plan, clock.now()) is Phase.EXPIRED

    def seconds_left(self) -> float:
        """Return for how many seconds the token is valid."""
        expiry, now = self.plan.expiry, clock.now()
        return min(expiry.monotonic - now.monotonic, expiry.wall - now.wall)

    def is_newer_than(self, moment: float) -> bool:
        """Return whether the token was fetched since a moment, in seconds since the epoch.

        Several tokens may be revoked together. So what counts for a token from the store is when it
        was issued, and not when it was found.
        """
        return (self.token.issued_at if self.is_from_store else self.arrived_at) >= moment


@frozen
class _Failure:
    """A remembered error, for how long, and the fingerprint of the client that it belongs to.

    ``longest`` is the longest pause after errors of its kind, which are counted together.
    """

    error: Exception
    pause: Backoff
    longest: float
    fingerprint: bytes | None

    def for_caller(self) -> Exception:
        """Return a copy of the error, which says how long it is remembered."""
        return remembered(self.error, self.pause.until - clock.system.monotonic())


class TokenState:
    """The state of one token source.

    ``name`` names the server in events. ``is_shared`` says that other processes fetch tokens into
    the same store.
    """

    # An idle session takes a third less memory if its parts have slots.
    __slots__ = (
        *("name", "current", "waiting", "is_settled", "is_slow", "accepted_at", "_lock"),
        *("_renew_at", "_is_shared", "_former", "_trial", "_failure", "_early_pause"),
        *("_checked_at", "_numbers", "_token_number", "_newest_number", "_forget_number"),
        *("_accepted_number", "_refused_number"),
    )

    def __init__(self, name: str, renew_at: tuple[float, float], *, is_shared: bool) -> None:
        self.name = name
        self._renew_at = renew_at
        self._is_shared = is_shared
        #: The token in use. It may be read without the lock, because it is one immutable value.
        self.current: CurrentToken | None = None
        # The last token that an API accepted, until the newest one is accepted too. If the newest
        # is refused before that, it is the current one. The newest waits then for its next trial.
        self._former: CurrentToken | None = None
        self.waiting: CurrentToken | None = None
        self._trial: Backoff | None = None
        # The numbers of the newest token that was accepted, and of the newest that was refused
        # before it was accepted.
        self._accepted_number = self._refused_number = 0
        #: Whether the newest token was accepted, and when any was at last (monotonic). The source
        #: sets the second one without the lock, for each request.
        self.is_settled: bool = False
        self.accepted_at: float = -math.inf
        #: Whether the last fetch was slow or failed, so that nobody waits for a better token. The
        #: source sets it for a fetch in progress, without the lock.
        self.is_slow: bool = False
        self._failure: _Failure | None = None
        self._early_pause: Backoff | None = None
        self._checked_at = 0.0
        # Fetches are numbered in the order in which they begin. These are the numbers of those that
        # brought the current token and the newest result, and of the last call of `forget`.
        self._numbers = itertools.count(1)
        self._token_number = self._newest_number = self._forget_number = 0
        self._after_fork()

    def _after_fork(self) -> None:
        self._lock = threading.RLock()  # guards all of the above; re-entrant for signal handlers
        current = self.current
        if current is not None and self.look()[1] is Phase.FRESH and self.waiting is None:
            # Otherwise all children of a process would renew the token at the same moment.
            self.current = replace(current, plan=self._schedule(current.token))

    def look(self) -> tuple[CurrentToken | None, Phase | None]:
        """Return the current token and the phase of its life."""
        current = self.current
        return current, None if current is None else renewal.phase(current.plan, clock.now())

    def usable(self) -> CurrentToken | None:
        """Return the current token if it has not expired."""
        current = self.current
        return None if current is None or current.is_expired() else current

    def fresh_or_aging(self) -> CurrentToken | None:
        """Return the current token if nobody has to wait for another one."""
        current, phase = self.look()
        return current if phase in (Phase.FRESH, Phase.AGING) else None

    def newer_than(self, number: int) -> CurrentToken | None:
        """Return a token that was fetched later than the one with this number."""
        for found in (self.current, self.waiting):
            if found is not None and found.number > number and not found.is_expired():
                return found
        return None

    def former_to(self, refused: CurrentToken) -> CurrentToken | None:
        """Return the former token if a refused one is the newest, and was never accepted."""
        is_newest = refused.number == self._token_number
        if not is_newest or refused.number == self._accepted_number:
            return None
        self._refused_number = refused.number
        former = self._former
        return None if former is None or former.is_expired() else former

    def use_former(self, former: CurrentToken) -> None:
        """Use the former token, and try the newest one again after a pause of 1, 2, 4 ... 60 s."""
        with self._lock:
            newest, now = self.current, clock.now()
            is_former = self._former is not None and self._former.number == former.number
            if not is_former or newest is None or newest.number != self._token_number:
                return
            failures = 0 if self._trial is None else self._trial.failures
            self._trial = renewal.after_refusal(Backoff(failures, now.monotonic), now)
            trial = Instant(self._trial.until, now.wall + self._trial.until - now.monotonic)
            expiry = former.plan.expiry
            plan = replace(former.plan, aging=min(trial, expiry), margin=expiry)
            self.current, self.waiting = replace(former, plan=plan), newest

    def try_newest(self) -> bool:
        """Use the newest token again, if one waits for its trial and the pause is over."""
        with self._lock:
            waiting, current = self.waiting, self.current
            if waiting is None or current is None:
                return False
            if renewal.phase(current.plan, clock.now()) is Phase.FRESH:
                return False
            self.current, self.waiting = waiting, None
            return True

    def accept(self, accepted: CurrentToken) -> int:
        """Record that an API accepted a token, unless `is_settled`.

        Return the number of the newest token that was accepted before.
        """
        with self._lock:
            before = self._accepted_number
            if accepted.number < before:
                return before
            if accepted.number < self._refused_number:
                self.use_former(accepted)  # the newest one was refused before
            self._accepted_number = accepted.number
            if accepted.number == self._token_number:
                self.is_settled = True
                self._former = self._trial = None
                if self.waiting is not None:
                    self.current, self.waiting = self.waiting, None
            return before

    def may_be_revoked(self, refused: CurrentToken) -> bool:
        """Return whether a refused token was accepted before, and none was for a second."""
        is_silent = clock.system.monotonic() - self.accepted_at >= SILENCE
        return refused.number <= self._accepted_number and is_silent

    def mark_refused(self, number: int) -> None:
        """Put a refused token into its margin: it is renewed first, and used if that fails."""
        with self._lock:
            current = self.current
            if current is not None and current.number == number:
                plan = renewal.refused(current.plan)
                self.current = replace(current, plan=plan, is_refused=True)

    def may_renew_early(self) -> bool:
        """Return whether the token is aging and the pause after a failed early renewal is over."""
        is_paused = renewal.is_active(self._early_pause, clock.now())
        return not is_paused and self.look()[1] is Phase.AGING

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
            if failure is None or not renewal.is_active(failure.pause, clock.now()):
                return self.number(need)
            may_check = self._is_shared or isinstance(failure.error, PERMANENT_ERRORS)
            if may_check and now >= self._checked_at + CHECK_PAUSE:
                self._checked_at = now
                return replace(self.number(need), known=(failure.fingerprint, failure.error))
        raise failure.for_caller()

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
            known = self._failure
            if known is not None and result.error is known.error:
                raise known.for_caller()  # a check has found that nothing was corrected
            result.events.extend(self._record_failure(result, result.error))
        raise result.error

    def forget(self) -> int:
        """Drop the token, the remembered error and the pauses, also for fetches in progress.

        Return a number that is higher than those of these fetches.
        """
        with self._lock:
            self.current = self._former = self.waiting = self._trial = None
            self._failure = self._early_pause = None
            self.is_slow = False
            self._forget_number = next(self._numbers)
            return self._forget_number

    def _schedule(self, token: Token) -> Schedule:
        return renewal.schedule(token, clock.now(), random.uniform(*self._renew_at))

    def _record_token(self, result: FetchResult) -> CurrentToken:
        assert result.token is not None  # noqa: S101 - there is no error
        assert result.header is not None  # noqa: S101 - the same
        plan = self._schedule(result.token)
        arrived = CurrentToken(
            result.token,
            result.header,
            plan,
            result.number,
            clock.system.time(),
            is_from_store=result.attempts == 0,
            is_forced=result.why == "refused" or result.attempts == 0,
        )
        current = self.current
        is_late = result.number < self._token_number and self.look()[1] is not Phase.EXPIRED
        if is_late or result.number < self._forget_number:
            return arrived
        self._token_number = result.number
        self._newest_number = max(self._newest_number, result.number)
        self._failure = self.waiting = self._trial = None
        self.is_slow = result.seconds >= renewal.WAIT_FOR_BETTER
        is_same = current is not None and current.token.access_token == result.token.access_token
        if not (is_same and result.why == "aging"):
            self._early_pause = None
        if current is not None and current.number == self._accepted_number:
            self._former = None if is_same else current
            self._accepted_number = result.number if is_same else current.number
        self.is_settled = result.number == self._accepted_number
        if is_same and result.why == "aging":
            # The server has no other token yet. This one is still aging, so ask again later.
            arrived = replace(arrived, plan=replace(plan, aging=ALWAYS))
            self._pause_early(plan, None)
        self.current = arrived
        return arrived

    def _record_failure(self, result: FetchResult, error: Exception) -> list[Event]:
        failure, now, usable = self._failure, clock.now(), self.usable()
        if result.number < max(self._newest_number, self._forget_number):
            # An abandoned flight has failed. A newer one has brought a result meanwhile.
            return [RenewalFailed(self.name, result.why, error, usable is not None, 0.0)]
        self._newest_number, self.is_slow = result.number, True
        is_permanent, retry_after = isinstance(error, PERMANENT_ERRORS), retry_after_of(error)
        if usable is not None:
            self._pause_early(usable.plan, retry_after)
        if result.why == "aging":
            # It decides for nobody who has no token. That one has a fetch of its own.
            early = self._early_pause
            seconds = 0.0 if early is None else max(0.0, early.until - now.monotonic)
            return [RenewalFailed(self.name, result.why, error, usable is not None, seconds)]
        is_long = is_permanent or limits_requests(error)
        longest = renewal.LONGEST_PAUSE if is_long else renewal.LONGEST_PAUSE_OUTAGE
        last = failure if failure is not None and failure.longest == longest else None
        pause = renewal.after_failure(
            None if last is None else last.pause, now, longest=longest, retry_after=retry_after
        )
        # If the secret or key was another one each time (from a callable), a change does not mean
        # that the cause was corrected. So nothing is checked before the pause ends.
        is_unsteady = is_permanent and last is not None and last.fingerprint != result.fingerprint
        self._failure = _Failure(error, pause, longest, result.fingerprint)
        self._checked_at = pause.until if is_unsteady else now.monotonic
        seconds = pause.until - now.monotonic
        failed = RenewalFailed(self.name, result.why, error, usable is not None, seconds)
        return [failed, RefusalRemembered(self.name, error, seconds)] if is_permanent else [failed]

    def _pause_early(self, plan: Schedule, retry_after: float | None) -> None:
        self._early_pause = renewal.after_early_failure(
            self._early_pause, plan, clock.now(), random.random(), retry_after
        )
