"""A day of a fleet: what 10,000 workers on 1,000 machines cost an authorization server.

All start cold at once at midnight, are restarted together at 9:00, and from 15:00 on the token
endpoint refuses everything for ten minutes. The moments are those of `oauthcc/renewal.py` itself;
simulated are the calls, the network and the stores. Without a store a worker keeps its token to
itself, with files one machine shares it, with Redis all do; both survive the restart. The last line
is what people write by hand: no store, renewed one minute before expiry. Tokens live an hour, and
each worker makes a call every two seconds on average. The worst hour is that after midnight aside;
refused requests count as requests.

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

from oauthcc import renewal
from oauthcc.access_token import Token
from oauthcc.clock import Instant
from oauthcc.tokens.renewal import Backoff, Phase, Schedule
from oauthcc.supplier import LOCK_PATIENCE
from oauthcc.token_request.endpoint import ATTEMPTS

WORKERS, MACHINES = 10_000, 1_000
HOUR, DAY = 3600.0, 86400.0
LIFETIME = HOUR
CALL_EVERY = 2.0
RESTART = 9 * HOUR
OUTAGE = (15 * HOUR, 15 * HOUR + 600)
#: How long the endpoint takes to answer, well and unwell, in seconds.
ANSWER, REFUSAL = (0.1, 0.3), 0.05
#: When the attempts of one flight are made, in seconds from its begin.
PAUSES = (0.0, 0.05, 1.3)


@dataclass(slots=True)
class Worker:
    """One process: what it holds, and what it leaves alone for a while."""

    place: Place
    token: Token | None = None
    plan: Schedule | None = None
    early: Backoff | None = None
    unwell: Backoff | None = None
    is_waiting: bool = False
    life: int = 0


@dataclass(slots=True)
class Place:
    """A store: the newest token, its lock, and who waits for that."""

    is_store: bool
    token: Token | None = None
    is_locked: bool = False
    queue: deque[tuple[Worker, int, bool]] = field(default_factory=deque)


@dataclass(slots=True)
class Fleet:
    """The simulation: a heap of what happens next, and what was counted."""

    renew_at: tuple[float, float]
    places: list[Place]
    draw: random.Random
    asked: Counter[int] = field(default_factory=Counter)
    refused: int = 0
    failed_calls: int = 0
    _events: list[tuple[float, int, Callable[[float], None]]] = field(default_factory=list)
    _number: int = 0

    def run(self) -> None:
        """Play the day."""
        workers = [Worker(self.places[n % len(self.places)]) for n in range(WORKERS)]
        for begin in (0.0, RESTART):
            for worker in workers:
                self.at(begin, partial(self.start, worker))
        while self._events and self._events[0][0] < DAY:
            now, _, happen = heapq.heappop(self._events)
            happen(now)

    def at(self, when: float, happen: Callable[[float], None]) -> None:
        """Have something happen at a moment."""
        self._number += 1
        heapq.heappush(self._events, (when, self._number, happen))

    def start(self, worker: Worker, now: float) -> None:
        """Begin a worker's life with nothing in memory."""
        worker.life += 1
        worker.token = worker.plan = worker.early = worker.unwell = None
        worker.is_waiting = False
        self.call_after(worker, now)

    def call_after(self, worker: Worker, moment: float) -> None:
        """Have the worker make its first call after a moment; those before it change nothing."""
        life = worker.life
        when = moment + self.draw.expovariate(1 / CALL_EVERY)
        self.at(when, lambda now: self.call(worker, now) if worker.life == life else None)

    def call(self, worker: Worker, now: float) -> None:
        """Make a call: use the token, renew it early, or wait for one."""
        at = Instant(now, now)
        part = Phase.EXPIRED if worker.plan is None else renewal.state(worker.plan, at)
        if worker.plan is not None and part is Phase.FRESH:
            self.call_after(worker, worker.plan.aging.wall)
        elif part is Phase.AGING:
            if renewal.is_over(worker.early, at):
                self.fly(worker, now, early=True)
            elif worker.early is not None:
                self.call_after(worker, worker.early.until)
        elif renewal.is_over(worker.unwell, at):
            self.fly(worker, now, early=False)
        else:
            self.failed_calls += part is Phase.EXPIRED
            self.call_after(worker, now)

    def fly(self, worker: Worker, now: float, *, early: bool) -> None:
        """Look into the store, else ask for a token, or wait for whoever does."""
        place = worker.place
        if self.found(worker, now):
            return
        if not place.is_locked:
            place.is_locked = place.is_store
            self.ask(worker, now, early=early, attempts=1 if early else ATTEMPTS, locked=True)
            return
        worker.is_waiting, life = True, worker.life
        place.queue.append((worker, life, early))

        def lose_patience(later: float) -> None:
            if worker.life == life and worker.is_waiting:
                worker.is_waiting = False
                if early:
                    self.write_off(worker, later, early=True)
                else:
                    self.ask(worker, later, early=False, attempts=1, locked=False)

        self.at(now + self.draw.uniform(*LOCK_PATIENCE), lose_patience)

    def found(self, worker: Worker, now: float) -> bool:
        """Take a token from the store, if there is one that is not the one held."""
        token = worker.place.token
        if token is None or token is worker.token:
            return False
        at = Instant(now, now)
        used_up = (Phase.MARGIN, Phase.EXPIRED)
        if renewal.state(renewal.schedule(token, at, 1.0), at) in used_up:
            return False
        self.take_in(worker, token, now)
        return True

    def take_in(self, worker: Worker, token: Token, now: float) -> None:
        """Hold a token, with a renewal point of its own."""
        share = self.draw.uniform(*self.renew_at)
        worker.token, worker.plan = token, renewal.schedule(token, Instant(now, now), share)
        worker.early = worker.unwell = None
        self.call_after(worker, max(now, worker.plan.aging.wall))

    def ask(self, worker: Worker, now: float, *, early: bool, attempts: int, locked: bool) -> None:
        """Ask the token endpoint, once or some times."""
        life = worker.life
        for pause in PAUSES[:attempts]:
            self.asked[int(now + pause)] += 1
            if not OUTAGE[0] <= now + pause < OUTAGE[1]:
                token = Token("", issued_at=now + pause, expires_at=now + pause + LIFETIME)
                flights_done = partial(self.flights_done, worker, life, token, locked)
                self.at(now + pause + self.draw.uniform(*ANSWER), flights_done)
                return
            self.refused += 1

        def failed(end: float) -> None:
            if worker.life == life:
                self.write_off(worker, end, early=early)
            if locked:
                self.unlock(worker.place, end)

        self.at(now + PAUSES[attempts - 1] + REFUSAL, failed)

    def flights_done(self, worker: Worker, life: int, token: Token, locked: bool, now: float) -> None:  # noqa: FBT001
        """Take a new token in and share it."""
        place = worker.place
        if worker.life == life:
            self.take_in(worker, token, now)
        if place.is_store:
            place.token = token
        if locked:
            self.unlock(place, now)

    def write_off(self, worker: Worker, now: float, *, early: bool) -> None:
        """Remember that no token could be had."""
        at = Instant(now, now)
        if early and worker.plan is not None:
            draw = self.draw.random()
            worker.early = renewal.after_early_failure(worker.early, worker.plan, at, draw, None)
            self.call_after(worker, worker.early.until)
        else:
            expired = worker.plan is None or renewal.state(worker.plan, at) is Phase.EXPIRED
            self.failed_calls += expired
            worker.unwell = renewal.after_failure(worker.unwell, at, denied=False, retry_after=None)
            self.call_after(worker, now)

    def unlock(self, place: Place, now: float) -> None:
        """Give the lock to the next one who has not found a token meanwhile."""
        place.is_locked = False
        while place.queue and not place.is_locked:
            worker, life, early = place.queue.popleft()
            if worker.life != life or not worker.is_waiting:
                continue
            worker.is_waiting = False
            if self.found(worker, now):
                continue
            if early:  # whoever had the lock has just asked in vain
                self.write_off(worker, now, early=True)
            else:
                place.is_locked = True
                self.ask(worker, now, early=False, attempts=1, locked=True)

    def peak(self, begin: float = 0.0, end: float = DAY) -> int:
        """Give the most requests of one second."""
        return max((n for at, n in self.asked.items() if begin <= at < end), default=0)

    def worst_hour(self) -> int:
        """Give the most requests of one hour, the first aside."""
        hours: Counter[int] = Counter()
        for at, number in self.asked.items():
            hours[int(at // HOUR)] += number
        return max(number for hour, number in hours.items() if hour)


SCENES: dict[str, tuple[int, bool, tuple[float, float]]] = {
    "no store": (WORKERS, False, (0.6, 0.8)),
    "file store": (MACHINES, True, (0.6, 0.8)),
    "Redis": (1, True, (0.6, 0.8)),
    "by hand": (WORKERS, False, (59 / 60, 59 / 60)),
}


def main() -> None:
    """Play the day for each store, and print what it cost."""
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    print(f"{WORKERS:,} workers on {MACHINES:,} machines, tokens of {LIFETIME:g} s, seed {seed}\n")
    print(f"{'':12}{'token requests':>22}{'most in one second':>42}{'outage':>20}")
    print(
        f"{'':12}{'per hour':>11}{'worst':>11}{'cold':>10}{'restart':>10}{'hour on':>11}"
        f"{'back':>11}{'refused':>10}{'failed calls':>14}{'took':>8}"
    )
    for name, (number, is_store, renew_at) in SCENES.items():
        began = time.perf_counter()
        fleet = Fleet(renew_at, [Place(is_store) for _ in range(number)], random.Random(seed))
        fleet.run()
        print(
            f"{name:12}{sum(fleet.asked.values()) / 24:11,.1f}{fleet.worst_hour():11,}"
            f"{fleet.peak(0, 60):10,}{fleet.peak(RESTART, RESTART + 60):10,}"
            f"{fleet.peak(RESTART + 60, RESTART + 1.5 * HOUR):11,}"
            f"{fleet.peak(OUTAGE[1], OUTAGE[1] + HOUR):11,}{fleet.refused:10,}"
            f"{fleet.failed_calls:14,}{time.perf_counter() - began:7.1f}s"
        )


if __name__ == "__main__":
    main()
