"""A simulated day: the token requests of 10,000 workers on 1,000 machines.

All workers start without a token at midnight and are restarted together at 9:00. From 15:00 on, the
token endpoint refuses every request for ten minutes. `oauthcc/tokens/renewal.py` itself decides
when to renew; the requests, the network and the stores are simulated. Without a store, every worker
has its own token. With files, the workers of one machine share a token; with Redis, all workers
share one. Files and Redis survive the restart. The last line is a common solution by hand: no
store, and a renewal one minute before the expiry. Tokens are valid for an hour, and each worker
sends a request every two seconds on average. The worst hour does not include the first one. Refused
requests count as requests.

    python benchmarks/fleet.py [seed]        default: 1
"""

from __future__ import annotations

import heapq
import random
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from oauthcc.access_token import Token
from oauthcc.clock import Instant
from oauthcc.tokens import renewal
from oauthcc.tokens.fetcher import ATTEMPTS, LOCK_PATIENCE
from oauthcc.tokens.renewal import Backoff, Phase, Schedule

WORKERS, MACHINES = 10_000, 1_000
HOUR, DAY = 3600.0, 86400.0
LIFETIME = HOUR
CALL_EVERY = 2.0
RESTART = 9 * HOUR
OUTAGE = (15 * HOUR, 15 * HOUR + 600)
#: The seconds until the endpoint answers, with a token and with a refusal.
ANSWER, REFUSAL = (0.1, 0.3), 0.05
#: The moments of the attempts of one fetch, in seconds from its start.
ATTEMPT_TIMES = (0.0, 0.05, 1.3)


@dataclass(slots=True)
class Worker:
    """One process: its token, and the pauses after failures."""

    store: Store
    token: Token | None = None
    plan: Schedule | None = None
    early: Backoff | None = None
    pause: Backoff | None = None
    is_waiting: bool = False
    life: int = 0


@dataclass(slots=True)
class Store:
    """A store: the newest token, its lock, and the workers that wait for the lock."""

    is_shared: bool
    token: Token | None = None
    is_locked: bool = False
    queue: deque[tuple[Worker, int, bool]] = field(default_factory=deque)


def over(pause: Backoff | None, now: float) -> bool:
    """Return whether a pause has ended, or there is none."""
    return pause is None or now >= pause.until


@dataclass(slots=True)
class Fleet:
    """The simulation: a heap of future events, and the counters."""

    renew_at: tuple[float, float]
    stores: list[Store]
    chance: random.Random
    requests: Counter[int] = field(default_factory=Counter)
    refused: int = 0
    failed_calls: int = 0
    _events: list[tuple[float, int, Callable[[float], None]]] = field(default_factory=list)
    _number: int = 0

    def run(self) -> None:
        """Simulate the day."""
        workers = [Worker(self.stores[n % len(self.stores)]) for n in range(WORKERS)]
        for begin in (0.0, RESTART):
            for worker in workers:
                self.at(begin, partial(self.start, worker))
        while self._events and self._events[0][0] < DAY:
            now, _, event = heapq.heappop(self._events)
            event(now)

    def at(self, when: float, event: Callable[[float], None]) -> None:
        """Add an event."""
        self._number += 1
        heapq.heappush(self._events, (when, self._number, event))

    def start(self, worker: Worker, now: float) -> None:
        """Start a worker with nothing in memory."""
        worker.life += 1
        worker.token = worker.plan = worker.early = worker.pause = None
        worker.is_waiting = False
        self.call_after(worker, now)

    def call_after(self, worker: Worker, moment: float) -> None:
        """Add the worker's first call after this moment; earlier calls would change nothing."""
        life = worker.life
        when = moment + self.chance.expovariate(1 / CALL_EVERY)
        self.at(when, lambda now: self.call(worker, now) if worker.life == life else None)

    def call(self, worker: Worker, now: float) -> None:
        """Send a request to the API: use the token, renew it early, or fetch one."""
        at = Instant(now, now)
        state = Phase.EXPIRED if worker.plan is None else renewal.phase(worker.plan, at)
        if worker.plan is not None and state is Phase.FRESH:
            self.call_after(worker, worker.plan.aging.wall)
        elif state is Phase.AGING:
            if over(worker.early, now):
                self.fetch(worker, now, early=True)
            elif worker.early is not None:
                self.call_after(worker, worker.early.until)
        elif over(worker.pause, now):
            self.fetch(worker, now, early=False)
        else:
            self.failed_calls += state is Phase.EXPIRED
            self.call_after(worker, now)

    def fetch(self, worker: Worker, now: float, *, early: bool) -> None:
        """Use the token in the store, request a token, or wait for the worker that does."""
        store = worker.store
        if self.load(worker, now):
            return
        if not store.is_locked:
            store.is_locked = store.is_shared
            self.request(worker, now, early=early, attempts=1 if early else ATTEMPTS, locked=True)
            return
        worker.is_waiting, life = True, worker.life
        store.queue.append((worker, life, early))

        def stop_waiting(later: float) -> None:
            if worker.life == life and worker.is_waiting:
                worker.is_waiting = False
                if early:
                    self.record_failure(worker, later, early=True)
                else:
                    self.request(worker, later, early=False, attempts=1, locked=False)

        self.at(now + self.chance.uniform(*LOCK_PATIENCE), stop_waiting)

    def load(self, worker: Worker, now: float) -> bool:
        """Use the token in the store if it is a new one; return whether it is."""
        token = worker.store.token
        if token is None or token is worker.token:
            return False
        at = Instant(now, now)
        used_up = (Phase.MARGIN, Phase.EXPIRED)
        if renewal.phase(renewal.schedule(token, at, 1.0), at) in used_up:
            return False
        self.use(worker, token, now)
        return True

    def use(self, worker: Worker, token: Token, now: float) -> None:
        """Use this token from now on, with a random renewal point."""
        share = self.chance.uniform(*self.renew_at)
        worker.token, worker.plan = token, renewal.schedule(token, Instant(now, now), share)
        worker.early = worker.pause = None
        self.call_after(worker, max(now, worker.plan.aging.wall))

    def request(
        self, worker: Worker, now: float, *, early: bool, attempts: int, locked: bool
    ) -> None:
        """Send one or more token requests."""
        life = worker.life
        for pause in ATTEMPT_TIMES[:attempts]:
            self.requests[int(now + pause)] += 1
            if not OUTAGE[0] <= now + pause < OUTAGE[1]:
                token = Token("", issued_at=now + pause, expires_at=now + pause + LIFETIME)
                finish = partial(self.finish, worker, life, token, locked)
                self.at(now + pause + self.chance.uniform(*ANSWER), finish)
                return
            self.refused += 1

        def fail(end: float) -> None:
            if worker.life == life:
                self.record_failure(worker, end, early=early)
            if locked:
                self.unlock(worker.store, end)

        self.at(now + ATTEMPT_TIMES[attempts - 1] + REFUSAL, fail)

    def finish(self, worker: Worker, life: int, token: Token, locked: bool, now: float) -> None:  # noqa: FBT001
        """Use a new token and share it."""
        store = worker.store
        if worker.life == life:
            self.use(worker, token, now)
        if store.is_shared:
            store.token = token
        if locked:
            self.unlock(store, now)

    def record_failure(self, worker: Worker, now: float, *, early: bool) -> None:
        """Start the pause after a failed fetch."""
        at = Instant(now, now)
        if early and worker.plan is not None:
            draw = self.chance.random()
            worker.early = renewal.after_early_failure(worker.early, worker.plan, at, draw, None)
            self.call_after(worker, worker.early.until)
        else:
            expired = worker.plan is None or renewal.phase(worker.plan, at) is Phase.EXPIRED
            self.failed_calls += expired
            worker.pause = renewal.after_failure(
                worker.pause, at, longest=renewal.LONGEST_PAUSE_OUTAGE, retry_after=None
            )
            self.call_after(worker, now)

    def unlock(self, store: Store, now: float) -> None:
        """Let those who wait use the token in the store, or go on without the lock."""
        store.is_locked = False
        while store.queue:
            worker, life, early = store.queue.popleft()
            if worker.life != life or not worker.is_waiting:
                continue
            worker.is_waiting = False
            if self.load(worker, now):
                continue
            if early:  # the holder of the lock has just failed
                self.record_failure(worker, now, early=True)
            else:
                self.request(worker, now, early=False, attempts=1, locked=False)

    def peak(self, begin: float = 0.0, end: float = DAY) -> int:
        """Return the highest number of requests in one second."""
        return max((n for at, n in self.requests.items() if begin <= at < end), default=0)

    def worst_hour(self) -> int:
        """Return the highest number of requests in one hour, except for the first hour."""
        hours: Counter[int] = Counter()
        for at, number in self.requests.items():
            hours[int(at // HOUR)] += number
        return max(number for hour, number in hours.items() if hour)


SCENES: dict[str, tuple[int, bool, tuple[float, float]]] = {
    "no store": (WORKERS, False, (0.6, 0.8)),
    "file store": (MACHINES, True, (0.6, 0.8)),
    "Redis": (1, True, (0.6, 0.8)),
    "by hand": (WORKERS, False, (59 / 60, 59 / 60)),
}


def main() -> None:
    """Simulate the day for each kind of store, and print the table."""
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    print(f"{WORKERS:,} workers on {MACHINES:,} machines, tokens of {LIFETIME:g} s, seed {seed}\n")
    print(f"{'':12}{'token requests':>22}{'most in one second':>42}{'outage':>20}")
    print(
        f"{'':12}{'per hour':>11}{'worst':>11}{'start':>10}{'restart':>10}{'hour after':>11}"
        f"{'recovery':>11}{'refused':>10}{'failed calls':>14}{'time':>8}"
    )
    for name, (number, is_shared, renew_at) in SCENES.items():
        began = time.perf_counter()
        fleet = Fleet(renew_at, [Store(is_shared) for _ in range(number)], random.Random(seed))
        fleet.run()
        print(
            f"{name:12}{sum(fleet.requests.values()) / 24:11,.1f}{fleet.worst_hour():11,}"
            f"{fleet.peak(0, 60):10,}{fleet.peak(RESTART, RESTART + 60):10,}"
            f"{fleet.peak(RESTART + 60, RESTART + 1.5 * HOUR):11,}"
            f"{fleet.peak(OUTAGE[1], OUTAGE[1] + HOUR):11,}{fleet.refused:10,}"
            f"{fleet.failed_calls:14,}{time.perf_counter() - began:7.1f}s"
        )


if __name__ == "__main__":
    main()
