"""When to renew: the policy, as pure functions of (token, now).

A token's life has four parts. *Fresh*: used without a thought. *Aging* (from a point drawn once
per token in 60 to 80 % of its lifetime): used, and renewed in the background. *Margin* (the last
10 % of it, 10 seconds at the most): callers wait for a renewal, and use the token where none
succeeds. *Expired*: callers wait for a renewal.

Nothing here does I/O, draws a random number or holds state; ``now()`` reads the clocks.
"""

from __future__ import annotations

import enum
import math
import time
from dataclasses import dataclass, replace
from typing import NamedTuple

from .access_token import Token

#: Seconds that a whole token request may take, retries included, and that a caller waits at most.
TOTAL_BUDGET = 60.0
MARGIN_SECONDS, MARGIN_SHARE = 10.0, 0.1
EARLY_BACKOFF_FIRST, EARLY_BACKOFF_MOST = 2.0, 60.0
UNWELL_FIRST, UNWELL_MOST = 1.0, 4.0
DENIED_FIRST, DENIED_MOST = 1.0, 60.0
RETRY_AFTER_MOST = 300.0


class Instant(NamedTuple):
    """Name one moment on both clocks, in seconds."""

    monotonic: float
    wall: float


def now() -> Instant:
    """Read both clocks."""
    return Instant(time.monotonic(), time.time())


NEVER = Instant(math.inf, math.inf)
ALWAYS = Instant(-math.inf, -math.inf)


class State(enum.Enum):
    """Name the parts of a token's life."""

    FRESH = "fresh"
    AGING = "aging"
    MARGIN = "margin"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Schedule:
    """Hold the moments at which the next part of a token's life begins."""

    aging: Instant
    margin: Instant
    expiry: Instant


@dataclass(frozen=True, slots=True)
class Backoff:
    """Hold how often something failed in a row and until when (monotonic) it is left alone."""

    failures: int
    until: float


def schedule(token: Token, seen: Instant, share: float) -> Schedule:
    """Lay out a token's life as seen at the moment ``seen``.

    ``share`` is the drawn renewal point, as a share of the lifetime. Either clock may end a part:
    wall time is what a token from a shared store carries, and the monotonic clock is the one that
    nobody can set back.
    """
    if token.expires_at is None:
        return Schedule(NEVER, NEVER, NEVER)
    lifetime = token.expires_at - token.issued_at
    margin = min(MARGIN_SECONDS, MARGIN_SHARE * lifetime)
    # A clock that was set back since the token was issued must not lengthen its life.
    expiry = min(token.expires_at, seen.wall + max(lifetime, 0.0))

    def moment(wall: float) -> Instant:
        return Instant(seen.monotonic + wall - seen.wall, wall)

    if lifetime <= 0:
        return Schedule(moment(expiry), moment(expiry), moment(expiry))
    renewal_point = min(expiry - (1 - share) * lifetime, expiry - margin)
    return Schedule(moment(renewal_point), moment(expiry - margin), moment(expiry))


def state(plan: Schedule, at: Instant) -> State:
    """Say which part of its life a token is in; the clock that is further on decides."""
    for begin, part in (
        (plan.expiry, State.EXPIRED),
        (plan.margin, State.MARGIN),
        (plan.aging, State.AGING),
    ):
        if at.monotonic >= begin.monotonic or at.wall >= begin.wall:
            return part
    return State.FRESH


def refused(plan: Schedule) -> Schedule:
    """Put a token that an API refused into its margin: renew first, but do not throw it away."""
    return replace(plan, aging=ALWAYS, margin=ALWAYS)


def after_early_failure(
    previous: Backoff | None, plan: Schedule, at: Instant, draw: float, retry_after: float | None
) -> Backoff:
    """Say when an early renewal that failed, or gave the same token, may be tried again.

    The pause is drawn from the upper half of 2, 4, 8 ... 60 seconds (``draw`` is in 0 to 1), or is
    what the server asked for; it never reaches beyond the margin, where callers begin to wait.
    """
    failures = 1 if previous is None else previous.failures + 1
    most = _doubling(EARLY_BACKOFF_FIRST, failures, EARLY_BACKOFF_MOST)
    pause = max(most * (0.5 + 0.5 * draw), _bounded(retry_after))
    until = at.monotonic + pause
    return Backoff(failures, max(at.monotonic, min(until, plan.margin.monotonic)))


def after_failure(
    previous: Backoff | None, at: Instant, *, denied: bool, retry_after: float | None
) -> Backoff:
    """Say how long a failure is remembered and told to callers without asking again.

    An endpoint that is unwell: 1, 2, 4, 4 ... seconds, or its ``Retry-After`` up to 5 minutes. A
    refusal that only a human can mend (``denied``): 1, 2, 4 ... 60 seconds.
    """
    failures = 1 if previous is None else previous.failures + 1
    first, most = (DENIED_FIRST, DENIED_MOST) if denied else (UNWELL_FIRST, UNWELL_MOST)
    pause = max(_doubling(first, failures, most), _bounded(retry_after))
    return Backoff(failures, at.monotonic + pause)


def after_refused_replay(previous: Backoff | None, at: Instant) -> Backoff:
    """Say how long no renewal is forced for an API that refuses brand-new tokens."""
    failures = 1 if previous is None else previous.failures + 1
    return Backoff(failures, at.monotonic + _doubling(DENIED_FIRST, failures, DENIED_MOST))


def is_over(pause: Backoff | None, at: Instant) -> bool:
    """Say whether a pause has ended, or there is none."""
    return pause is None or at.monotonic >= pause.until


def _doubling(first: float, failures: int, most: float) -> float:
    return min(most, first * 2.0 ** min(failures - 1, 32))


def _bounded(retry_after: float | None) -> float:
    return min(max(retry_after or 0.0, 0.0), RETRY_AFTER_MOST)
