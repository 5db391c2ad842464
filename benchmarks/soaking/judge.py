"""The verdict on a soak test: what in the journal should not have happened.

The servers record their answer to every request, so each outcome is compared with what really
happened to that call. A call is *lost* unless its outcome is explained. Only these explain an
outcome:

- The last answer of the API to this call: a status that the caller got unchanged, or a broken
  connection and any ``RequestException`` of requests itself. Or the API was down during the call.
- For a 401: the route refuses every token, the body can be sent only once, two different tokens
  were refused, the token endpoint failed, hung or was down during the call or in the ``MEMORY``
  seconds before it, or so many tokens were refused that no renewal is forced.
- For a ``TokenError``: the token endpoint failed for this source or was down, during the call or in
  the ``MEMORY`` seconds before it. In addition, the source had no token (refused or not) that was
  valid for another ``SLACK`` seconds when the call ended. If a store is shared, a token of one
  session counts for the other one after ``LOOK`` seconds without a failed request, because the
  other one looks into the store at that interval.

Every other call is lost: an error with a good answer, an error with a valid token, an error without
a fault, a status that nobody sent.

A call is *wrong* if the answer is to another call, if other bytes than its body arrived with any of
its attempts, if it was sent more than ``MOST_TRIES`` times (with the token held, a newer one of the
store, one that was fetched, and the former one), or if it was sent again with the same token or
without a refusal.

A call is *late* if it took longer than its own ``timeout=`` allows for each wait (for a token and
for the API, and again after each refusal; in a plain session, the time that a fetch may take for
the first token). If nothing was done to the call and its token was valid and not refused, it is
late after ``QUICK`` seconds.

A token request is *needless* if the source had a token that was younger than 60 % of its lifetime
by ``SLACK`` seconds and that no API had refused, and no request failed since. Token requests are
*too fast* if more requests failed in a second than one fetch may send for each session of the
source. Two are *concurrent* if one began before the other ended, unless sessions share a store and
a request failed before (those that waited for it continue without the lock), or Redis did not
answer.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from .journal import CLOSED, GOOD, REDIRECTED, REFUSED, Attempt, Call, Journal, TokenRequest

#: Seconds for which a failure of the token endpoint may be remembered (4), with a reserve.
MEMORY = 5.5
#: So many refused tokens (8, less a reserve for refusals that nobody waited for) in so many seconds
#: (8 times 50) let no other refusal force a renewal.
MOST_REFUSED, REFUSED_WITHIN = 5, 400.0
MOST_TRIES = {"solo": 3, "plain": 3, "pair": 4, "redis": 4}
#: Seconds by which the machine may be late. The age of a token is counted from its request.
SLACK = 0.7
QUICK, LATE_SLACK = 2.5, 2.0
LOOK, BUDGET = 1.3, 60.0
ATTEMPTS, EARLY, MARGIN = 3, 0.6, 0.9
#: The number of sessions with a token of their own, by source.
MEMBERS = {"solo": 1, "pair": 2, "redis": 2, "plain": 1}
#: Seconds for which a store that hangs may delay a call: its lock, its load, its save, twice.
FROZEN = 12.0


@dataclass
class Verdict:
    """The findings by kind, one line each, and the number of calls by explanation."""

    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    needless: list[str] = field(default_factory=list)
    too_fast: list[str] = field(default_factory=list)
    concurrent: list[str] = field(default_factory=list)
    explained: Counter[str] = field(default_factory=Counter)


class Judge:
    """The comparison of every call and every token request with the records of the servers."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.verdict = Verdict()
        self._attempts: dict[str, list[Attempt]] = defaultdict(list)
        for attempt in sorted(journal.attempts, key=lambda attempt: attempt.at):
            self._attempts[attempt.call].append(attempt)
        self._requests: dict[str, list[TokenRequest]] = defaultdict(list)
        for request in sorted(journal.token_requests, key=lambda request: request.begun):
            self._requests[request.source].append(request)
        self._refusals = [a for a in journal.attempts if a.outcome == REFUSED]
        self._refused = {attempt.token for attempt in self._refusals}
        #: When the new token was refused too: source, moment.
        self._twice_refused = [
            (attempts[-1].source, attempts[-1].at)
            for attempts in self._attempts.values()
            if len(attempts) > 1 and attempts[-1].outcome == REFUSED
        ]

    def judge(self) -> Verdict:
        """Check all calls and all token requests, and return the verdict."""
        for call in self.journal.calls:
            attempts = self._attempts[call.name]
            self._check_lost(call, attempts)
            self._check_wrong(call, attempts)
            self._check_late(call, attempts)
        for source, requests in self._requests.items():
            self._check_needless(source, requests)
            self._check_too_fast(source, requests)
            self._check_concurrent(source, requests)
        return self.verdict

    # -- lost ----------------------------------------------------------------------------------

    def _check_lost(self, call: Call, attempts: list[Attempt]) -> None:
        reason = self._explanation(call, attempts)
        if reason is None:
            self.verdict.lost.append(f"{_described(call, attempts)} {self._history(call)}")
        else:
            self.verdict.explained[reason] += 1

    def _history(self, call: Call) -> str:
        """Return a description of the last token requests of the call's source."""
        name = call.source.partition("/")[0]
        known = [r for r in self.journal.token_requests if r.source in (name, call.source)]
        return "; ".join(
            f"{request.source} {request.outcome} at {request.begun:.2f} to {request.ended:.2f}"
            f" for {request.lifetime:g} s"
            for request in sorted(known, key=lambda request: request.begun)
            if call.begun - 2 * MEMORY <= request.ended and request.begun <= call.ended
        )

    def _explanation(self, call: Call, attempts: list[Attempt]) -> str | None:
        last = attempts[-1].outcome if attempts else None
        if call.is_token_error:
            return self._of_token_error(call, attempts)
        if call.outcome == GOOD:
            return "answered" if last == GOOD else None
        if call.outcome == REFUSED and last == REFUSED:
            return self._of_refusal(call, attempts)
        if call.outcome.isdigit():
            return f"the API returned {call.outcome}" if call.outcome == last else None
        if last is not None and not last.isdigit():
            return "the API broke the connection"
        return "the API was down" if self._was_down("api", call.begun, call.ended) else None

    def _of_refusal(self, call: Call, attempts: list[Attempt]) -> str | None:
        refused = {attempt.token for attempt in attempts if attempt.outcome == REFUSED}
        if attempts[-1].path == "/refusing":
            return "401: the route refuses every token"
        if len(refused) > 1:
            return "401: two tokens were refused"
        if not call.replayable:
            return "401: the body can be sent only once"
        since = call.begun - MEMORY
        failed = self._failed(call.source, since, call.ended)
        if failed or self._was_down("token endpoint", since, call.ended) or self._was_slow(call):
            return "401: no other token came in time"
        since = attempts[-1].at - REFUSED_WITHIN
        many = sum(self._knows(call.source, *e) and since <= e[1] for e in self._twice_refused)
        if many >= MOST_REFUSED:
            return "401: too many tokens were refused"
        return None

    def _was_slow(self, call: Call) -> bool:
        """Return whether a token request hung in the last seconds of a call, or Redis did."""
        return self._was_down("redis", call.begun - MEMORY, call.ended) or any(
            self._knows(call.source, request.source, request.begun)
            and request.ended - request.begun > 1.0
            and request.begun <= call.ended <= request.ended + MEMORY
            for request in self.journal.token_requests
        )

    def _of_token_error(self, call: Call, attempts: list[Attempt]) -> str | None:
        since = call.begun - MEMORY
        failed = self._failed(call.source, since, call.ended)
        if not failed and not self._was_down("token endpoint", since, call.ended):
            return None
        last = attempts[-1].outcome if attempts else None
        if last not in (None, REDIRECTED, REFUSED):
            return None
        known = call.begun
        if MEMBERS[call.source.partition("/")[0]] > 1:
            # Sessions that share a store look into it one second after each failure.
            known -= LOOK
            if self._failed(call.source, known, call.ended):
                return "TokenError: the token endpoint failed"
        held = self._may_hold(call.source, known, call.ended)
        if held and all(token.begun + token.lifetime > call.ended + SLACK for token in held):
            return None
        return "TokenError: the token endpoint failed"

    def _failed(self, source: str, since: float, until: float) -> bool:
        """Return whether a token request failed that a source knows about."""
        return any(
            request.token is None
            and request.begun <= until
            and request.ended >= since
            and self._knows(source, request.source, request.begun)
            for request in self.journal.token_requests
        )

    def _knows(self, source: str, other: str, at: float) -> bool:
        """Return whether a source knows what happened to another: itself, or in its parent."""
        if source == other:
            return True
        name, _, child = source.partition("/")
        return bool(child) and name == other and at <= self.journal.forks[int(child)].at + SLACK

    def _was_down(self, server: str, since: float, until: float) -> bool:
        return any(
            name == server and begun <= until and ended >= since
            for name, begun, ended in self.journal.outages
        )

    def _may_hold(self, source: str, known: float, until: float) -> list[TokenRequest]:
        """Return the requests whose token a source may hold; it certainly had the first one.

        The first is the last one that was answered before ``known``. Others may have been answered
        before ``until``. A child has the token of its parent, but a request that was in progress at
        the fork may or may not have been answered.
        """
        issued = [(r, r.ended <= known) for r in self._requests[source] if r.token]
        name, _, child = source.partition("/")
        if child:
            forked = self.journal.forks[int(child)].at
            of_parent = [r for r in self._requests[name] if r.token and r.ended <= forked + SLACK]
            certain_until = min(known, forked - SLACK)
            issued = [(r, r.ended <= certain_until) for r in of_parent] + issued
        certain = [index for index, (_, is_certain) in enumerate(issued) if is_certain]
        return [r for r, _ in issued[certain[-1] :] if r.ended <= until] if certain else []

    # -- wrong and late ------------------------------------------------------------------------

    def _check_wrong(self, call: Call, attempts: list[Attempt]) -> None:
        faults = []
        if call.outcome == GOOD and call.answered_to != call.name:
            faults.append(f"the answer is to {call.answered_to!r}")
        if call.outcome == GOOD and call.answered_sha256 != call.sha256:
            faults.append("the answer is about another body")
        if any(attempt.sha256 != call.sha256 for attempt in attempts):
            faults.append("another body arrived")
        if not all(attempt.token for attempt in attempts):
            faults.append("sent without a token")
        by_path: dict[str, list[Attempt]] = defaultdict(list)
        for attempt in attempts:
            by_path[attempt.path].append(attempt)
        most = MOST_TRIES[call.source.partition("/")[0]]
        for tries in by_path.values():
            faults += _faults_of_replay(tries, most)
        if faults:
            self.verdict.wrong.append(f"{', '.join(faults)}: {_described(call, attempts)}")

    def _check_late(self, call: Call, attempts: list[Attempt]) -> None:
        took = call.ended - call.begun
        hops = len({attempt.path for attempt in attempts})
        refusals = sum(attempt.outcome == REFUSED for attempt in attempts)
        allowed = 2 * call.timeout * (max(1, hops) + refusals) + LATE_SLACK
        if call.source == "plain":
            allowed += BUDGET  # its token is fetched by prepare_request, which has no timeout
        if self._was_down("redis", call.begun, call.ended):
            allowed += FROZEN
        elif self._was_undisturbed(call, attempts):
            allowed = QUICK
        if took > allowed:
            self.verdict.late.append(f"{took:.2f} s of {allowed:g}: {_described(call, attempts)}")

    def _was_undisturbed(self, call: Call, attempts: list[Attempt]) -> bool:
        held = self._may_hold(call.source, call.begun, call.ended)
        return (
            bool(attempts and held)
            and all(attempt.outcome in (GOOD, REDIRECTED) for attempt in attempts)
            and all(token.token not in self._refused for token in held)
            and all(t.begun + MARGIN * t.lifetime > call.ended + SLACK for t in held)
        )

    # -- token requests ------------------------------------------------------------------------

    def _check_needless(self, source: str, requests: list[TokenRequest]) -> None:
        for number, request in enumerate(requests):
            # The token that a child inherited may have been refused, so only its own tokens count.
            before = [r for r in requests[:number] if r.token and r.ended <= request.begun]
            held = before[-1:]
            if not held or request.begun - held[0].begun >= EARLY * held[0].lifetime - SLACK:
                continue
            if any(r.token is None and r.ended >= held[0].begun for r in requests[:number]):
                continue
            if self._was_refused(source, held[0], request.begun):
                continue
            if self._was_bypassed(source, request):
                continue
            age = request.begun - held[0].begun
            at = f"at {request.begun:.2f}, held one of {age:.2f}/{held[0].lifetime:g} s"
            self.verdict.needless.append(f"{source} {at}")

    def _was_refused(self, source: str, held: TokenRequest, before: float) -> bool:
        # Each session that shares a store may have an older token refused: it takes a token from
        # the store only if that was requested after the refused request was sent.
        any_token = MEMBERS[source.partition("/")[0]] > 1
        return any(
            refusal.source == source
            and held.begun - SLACK <= refusal.at <= before + SLACK
            and (any_token or refusal.token == held.token)
            for refusal in self._refusals
        )

    def _was_bypassed(self, source: str, request: TokenRequest) -> bool:
        """Return whether the store was bypassed for a request, because Redis did not answer."""
        since = request.begun - FROZEN
        return source.startswith("redis") and self._was_down("redis", since, request.ended)

    def _check_concurrent(self, source: str, requests: list[TokenRequest]) -> None:
        is_shared = MEMBERS[source.partition("/")[0]] > 1
        ended = 0.0
        for request in requests:
            excused = is_shared and (
                self._failed(source, request.begun - MEMORY, request.begun)
                or self._was_bypassed(source, request)
            )
            if request.begun < ended and not excused:
                self.verdict.concurrent.append(f"{source} at {request.begun:.2f}")
            ended = max(ended, request.ended)

    def _check_too_fast(self, source: str, requests: list[TokenRequest]) -> None:
        most = ATTEMPTS * MEMBERS[source.partition("/")[0]]
        for first, beyond in zip(requests, requests[most:], strict=False):
            between = requests[requests.index(first) : requests.index(beyond) + 1]
            failed = all(request.token is None and request.outcome != CLOSED for request in between)
            if failed and beyond.begun - first.begun < 0.9:
                self.verdict.too_fast.append(f"{source}: {most + 1} failed requests in a second")


def _faults_of_replay(tries: list[Attempt], most: int) -> Iterator[str]:
    """Yield what is wrong with the requests that were sent for one hop of a call."""
    if len(tries) > most:
        yield f"sent {len(tries)} times"
    for before in tries[:-1]:
        if before.outcome != REFUSED:
            yield f"sent again after {before.outcome}"
    if len({attempt.token for attempt in tries}) < len(tries):
        yield "sent again with the same token"


def _described(call: Call, attempts: list[Attempt]) -> str:
    tries = ", ".join(f"{attempt.path.split('/')[1]} {attempt.outcome}" for attempt in attempts)
    return (
        f"{call.name} of {call.source} ({call.body}) from {call.begun:.2f} to {call.ended:.2f}:"
        f" {call.outcome} after [{tries}] {call.detail}"
    )
