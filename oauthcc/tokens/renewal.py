"""When a token is renewed: the policy, as pure functions of (token, now).

The life of a token has four phases. *Fresh*: it is used. *Aging* (from a point drawn once per token
between 60 and 80 % of its lifetime): it is used, and renewed in the background. *Margin* (the last
10 % of the lifetime, at most 10 seconds): callers wait for a renewal, and use the token if the
renewal fails. *Expired*: callers wait for a renewal.

Rule of this module: nothing here does I/O, reads a clock, draws a random number or holds state.
"""

from __future__ import annotations

import enum

from ..access_token import Token
from ..clock import ALWAYS, NEVER, Instant
from ..values import frozen, replace

#: Seconds that a whole fetch may take, retries included, and that a caller waits at most.
TOTAL_BUDGET = 60.0
#: Seconds that an early renewal may take, for which nobody waits.
EARLY_BUDGET = 10.0
#: How old a fetch may become, in seconds, while a caller that has a usable token waits for it; and
#: while one waits whose request was refused, or would be refused and could not be sent again.
WAIT_FOR_BETTER, WAIT_FOR_OTHER = 2.0, 10.0
MARGIN_SECONDS, MARGIN_SHARE = 10.0, 0.1
#: Pauses double, in seconds. After an outage they stay short, so that its end is soon found.
FIRST_PAUSE, FIRST_PAUSE_EARLY = 1.0, 2.0
LONGEST_PAUSE, LONGEST_PAUSE_OUTAGE = 60.0, 4.0
#: So many fetches may bring a token that is refused, and one more every so many seconds.
REFUSED_AT_ONCE, REFUSED_EVERY = 8, 50.0
RETRY_AFTER_MAX = 300.0


class Phase(enum.Enum):
    """A phase in the life of a token."""

    FRESH = "fresh"
    AGING = "aging"
    MARGIN = "margin"
    EXPIRED = "expired"


@frozen
class Schedule:
    """The moments at which the phases of a token's life begin."""

    aging: Instant
    margin: Instant
    expiry: Instant


@frozen
class Backoff:
    """How often something failed in a row, and until when (monotonic) it is not tried again."""

    failures: int
    until: float


def schedule(token: Token, now: Instant, share: float) -> Schedule:
    """Return the schedule of a token that arrives now.

    ``share`` is the drawn renewal point, as a share of the lifetime. Each phase begins when the
    first of the two clocks reaches it: a token from a shared store carries wall time, and nobody
    can set the monotonic clock back.
    """
    if token.expires_at is None:
        return Schedule(NEVER, NEVER, NEVER)
    lifetime = token.expires_at - token.issued_at
    margin = min(MARGIN_SECONDS, MARGIN_SHARE * lifetime)
    # A clock that was set back since the token was issued must not make its life longer.
    expiry = min(token.expires_at, now.wall + max(lifetime, 0.0))

    def moment(wall: float) -> Instant:
        return Instant(now.monotonic + wall - now.wall, wall)

    if lifetime <= 0:
        return Schedule(moment(expiry), moment(expiry), moment(expiry))
    renewal_point = min(expiry - (1 - share) * lifetime, expiry - margin)
    return Schedule(moment(renewal_point), moment(expiry - margin), moment(expiry))


def phase(plan: Schedule, now: Instant) -> Phase:
    """Return the phase of a token. The clock that is further on decides."""
    for begin, begun in (
        (plan.expiry, Phase.EXPIRED),
        (plan.margin, Phase.MARGIN),
        (plan.aging, Phase.AGING),
    ):
        if now.monotonic >= begin.monotonic or now.wall >= begin.wall:
            return begun
    return Phase.FRESH


def refused(plan: Schedule) -> Schedule:
    """Return the schedule of a token that an API refused: it is in its margin from now on."""
    return replace(plan, aging=ALWAYS, margin=ALWAYS)


def after_early_failure(
    previous: Backoff | None, plan: Schedule, now: Instant, draw: float, retry_after: float | None
) -> Backoff:
    """Return when an early renewal that failed, or brought the same token, is tried again.

    The pause is drawn from the upper half of 2, 4, 8 ... 60 seconds (``draw`` is between 0 and 1),
    or is what the server asked for. It ends when the margin begins, because callers wait from then
    on.
    """
    failures = 1 if previous is None else previous.failures + 1
    longest = _doubled(FIRST_PAUSE_EARLY, failures)
    pause = max(longest * (0.5 + 0.5 * draw), _bounded(retry_after))
    until = now.monotonic + pause
    return Backoff(failures, max(now.monotonic, min(until, plan.margin.monotonic)))


def after_failure(
    previous: Backoff | None, now: Instant, *, longest: float, retry_after: float | None
) -> Backoff:
    """Return how long a failure is remembered: callers get it without another token request.

    1, 2, 4 ... seconds up to ``longest``, or the ``Retry-After`` of the server up to 5 minutes.
    """
    failures = 1 if previous is None else previous.failures + 1
    pause = max(min(longest, _doubled(FIRST_PAUSE, failures)), _bounded(retry_after))
    return Backoff(failures, now.monotonic + pause)


def after_refusal(previous: Backoff | None, now: Instant) -> Backoff:
    """Return how long no renewal is forced for a route that refuses new tokens.

    The first one may have been revoked too, so it causes no pause. Then: 1, 2, 4 ... 60 seconds. A
    pause that ended more than a minute ago does not count: revocations are far apart.
    """
    if previous is None or now.monotonic - previous.until > LONGEST_PAUSE:
        return Backoff(0, now.monotonic)
    failures = previous.failures + 1
    return Backoff(failures, now.monotonic + _doubled(FIRST_PAUSE, failures))


def is_active(pause: Backoff | None, now: Instant) -> bool:
    """Return whether there is a pause and it has not ended.

    If its end is further away than that of any pause, the monotonic clock was moved, as tools for
    tests do. The pause has ended then.
    """
    return pause is not None and 0.0 < pause.until - now.monotonic <= RETRY_AFTER_MAX


def has_room(full_at: float, now: Instant) -> bool:
    """Return whether an allowance has room for one more refused token.

    An allowance is one number: when all of its `REFUSED_AT_ONCE` places will be free (monotonic).
    """
    most = REFUSED_EVERY * REFUSED_AT_ONCE
    return not most - REFUSED_EVERY < full_at - now.monotonic <= most


def after_refused_fetch(full_at: float, now: Instant) -> float:
    """Return the allowance after one more refused token."""
    return max(full_at, now.monotonic) + REFUSED_EVERY


def _doubled(first: float, failures: int) -> float:
    return min(LONGEST_PAUSE, first * 2.0 ** min(failures - 1, 32))


def _bounded(retry_after: float | None) -> float:
    return min(max(retry_after or 0.0, 0.0), RETRY_AFTER_MAX)
