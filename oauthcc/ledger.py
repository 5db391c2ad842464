"""What a token source knows: the token held, the failure remembered, who is left alone until when.

The decisions are renewal.py's; here they meet the state. The ledger has no lock: its methods are
called with the lock of the token source held, except `look`, which reads one immutable record.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from . import renewal
from .access_token import Token
from .errors import MENDED_BY_HUMANS, own_copy
from .events import Event, RefusalRemembered, RenewalFailed, Why
from .renewal import Backoff, Instant, Schedule, State
from .schemes import SecretHeader
from .urls import Origin

#: Seconds between two looks at whether a remembered refusal was mended.
LOOK_PAUSE = 1.0


@dataclass(frozen=True, slots=True)
class Held:
    """Hold a token, the header that shows it, and the moments of its life: never changed."""

    token: Token
    header: SecretHeader
    plan: Schedule
    aging_monotonic: float
    aging_wall: float
    #: Whether it lay in the store before anybody here knew of a refusal.
    is_found: bool = False

    @classmethod
    def of(
        cls, token: Token, header: SecretHeader, plan: Schedule, *, is_found: bool = False
    ) -> Held:
        """Lay the renewal point open, for the one comparison of the warm path."""
        return cls(token, header, plan, plan.aging.monotonic, plan.aging.wall, is_found)

    def is_other_than(self, token: Token) -> bool:
        """Say whether this is another token."""
        return self.token.access_token != token.access_token

    def may_replace(self, refused: Token, signed_at: float) -> bool:
        """Say whether a request that was refused with a token may be sent again with this one.

        Where all tokens were revoked at once, one that was found in the store was too, unless it
        was issued after the request was signed (wall clock).
        """
        is_new = not self.is_found or self.token.issued_at >= signed_at
        return is_new and self.is_other_than(refused)


@dataclass(frozen=True, slots=True)
class Failure:
    """Remember why no token could be had, until when, and for which proof of the client."""

    error: Exception
    pause: Backoff
    denied: bool
    fingerprint: bytes | None


class Ledger:
    """Keep the books of one token source."""

    def __init__(self, name: str, renew_at: tuple[float, float]) -> None:
        self.now: Callable[[], Instant] = renewal.now
        self.held: Held | None = None
        self.failure: Failure | None = None
        self.early_pause: Backoff | None = None
        self.name = name
        self._renew_at = renew_at
        self._looked_at = 0.0
        self._begun = 0.0  # when the flight that brought what is held began (monotonic)
        # By origin of the API, and whether a body could not be sent again: the token it refused
        # last, and the pause.
        self._refused_replays: dict[tuple[Origin | None, bool], tuple[Token, Backoff]] = {}

    def look(self) -> tuple[Held | None, State | None]:
        """Return what is held and which part of its life it is in."""
        held = self.held
        return held, None if held is None else renewal.state(held.plan, self.now())

    def take_in(
        self,
        token: Token,
        header: SecretHeader,
        why: Why,
        begun: float,
        *,
        from_store: bool = False,
    ) -> Held:
        """Enter a token that arrived, and return it for those who waited.

        ``begun`` (monotonic) is when the flight that brings it began. One that was abandoned may
        come late: what a later one brought meanwhile is better.
        """
        now = self.now()
        plan = renewal.schedule(token, now, random.uniform(*self._renew_at))
        is_found = from_store and why != "refused"
        arrived = Held.of(token, header, plan, is_found=is_found)
        held, part = self.look()
        if begun < self._begun and part is not State.EXPIRED:
            return arrived
        self._begun = begun
        self.failure = None
        if held is not None and why == "aging" and not held.is_other_than(token):
            # It will not have another one yet: still aging, so ask again later.
            arrived = Held.of(token, header, replace(plan, aging=renewal.ALWAYS))
            self._pause_early(plan, None)
        else:
            self.early_pause = None
        self.held = arrived
        return arrived

    def put_in_margin(self, refused: Token) -> None:
        """Have a refused token renewed before it is used; use it where no other can be had."""
        held = self.held
        if held is not None and not held.is_other_than(refused):
            self.held = Held.of(held.token, held.header, renewal.refused(held.plan))

    def write_off(self, error: Exception, why: Why, fingerprint: bytes | None) -> list[Event]:
        """Enter a failure, and return what is to be told of it."""
        failure, now = self.failure, self.now()
        if failure is not None and error is failure.error:
            return []  # a look found nothing mended
        denied = isinstance(error, MENDED_BY_HUMANS)
        retry_after = getattr(error, "retry_after", None)
        last = failure if failure is not None and failure.denied == denied else None
        previous = None if last is None else last.pause
        pause = renewal.after_failure(previous, now, denied=denied, retry_after=retry_after)
        # Where the proof is another one every time, that does not mean that somebody mended it.
        restless = denied and last is not None and last.fingerprint != fingerprint
        self.failure = Failure(error, pause, denied, fingerprint)
        self._looked_at = pause.until if restless else now.monotonic
        held, part = self.look()
        usable = held is not None and part is not State.EXPIRED
        if held is not None and usable:
            self._pause_early(held.plan, retry_after)
        next_try = self.early_pause if part is State.AGING and self.early_pause else pause
        seconds = max(0.0, next_try.until - now.monotonic)
        told: list[Event] = [RenewalFailed(self.name, why, error, usable, seconds)]
        if denied:
            told.append(RefusalRemembered(self.name, error, pause.until - now.monotonic))
        return told

    def may_renew_early(self) -> bool:
        """Say whether the pause after a failed early renewal is over."""
        return renewal.is_over(self.early_pause, self.now())

    def no_thread(self, held: Held) -> None:
        """Leave early renewals alone for a while: no thread could be had for one."""
        self._pause_early(held.plan, None)

    def remembered(self, *, others: bool = False) -> tuple[bytes | None, Exception] | None:
        """Raise one's own copy of the error that stands, if one does.

        Once a second one caller is let through, with the error and the proof of the client that it
        belongs to: where the proof changed meanwhile, a human may have mended it; and where
        ``others`` fetch tokens too, the store may hold one.
        """
        failure, now = self.failure, self.now()
        if failure is None or renewal.is_over(failure.pause, now):
            return None
        if (failure.denied or others) and now.monotonic >= self._looked_at + LOOK_PAUSE:
            self._looked_at = now.monotonic
            return failure.fingerprint, failure.error
        raise own_copy(failure.error)

    def may_force(self, origin: Origin | None, *, unproven: bool = False) -> bool:
        """Say whether a 401 of this API may force a renewal.

        ``unproven``: one that no replay follows, since the body cannot be sent again.
        """
        _, pause = self._refused_replays.get((origin, unproven), (None, None))
        return renewal.is_over(pause, self.now())

    def replay_refused(
        self, refused: Token, origin: Origin | None, *, unproven: bool = False
    ) -> None:
        """Take note that an API refused a brand-new token: leave it alone for a while.

        Many threads may be told so of one token; during the pause that counts once.
        """
        last, pause = self._refused_replays.get((origin, unproven), (None, None))
        now = self.now()
        is_known = last is not None and last.access_token == refused.access_token
        if not is_known or renewal.is_over(pause, now):
            pause = renewal.after_refused_replay(pause, now)
            self._refused_replays[origin, unproven] = refused, pause

    def replay_accepted(self, origin: Origin | None) -> None:
        """Take note that a renewal helped."""
        for unproven in (False, True):
            self._refused_replays.pop((origin, unproven), None)

    def _pause_early(self, plan: Schedule, retry_after: float | None) -> None:
        self.early_pause = renewal.after_early_failure(
            self.early_pause,
            plan,
            self.now(),
            random.random(),
            retry_after,
        )
