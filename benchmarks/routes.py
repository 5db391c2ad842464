"""What routes that refuse tokens cost, in a simulated world: ``python benchmarks/routes.py``.

The policy is that of the library (source.py, state.py, refusals.py, renewal.py). Clocks, threads,
servers and the store are simulated, so ten minutes take a moment: each caller is a greenlet, and
the clock moves to the next moment at which something happens.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from greenlet import getcurrent, greenlet

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import oauthcc.clock
from oauthcc import Token, TokenEndpointTimeout, TokenEndpointUnavailable, TokenSource
from oauthcc.errors import OAuthCCError
from oauthcc.schemes import Bearer
from oauthcc.tokens import source as source_module
from oauthcc.tokens.fetcher import FetchResult, TokenNeed
from oauthcc.tokens.refusals import Refusal, Route
from oauthcc.tokens.single_flight import StillRunning
from oauthcc.urls import origin_of

BEGIN = 1_000_000.0


class World:
    """The clock, and what happens when."""

    def __init__(self) -> None:
        self.now = BEGIN
        self._agenda: list[tuple[float, int, Callable[[], Any]]] = []
        self._numbers = itertools.count()
        self._main = getcurrent()

    def at(self, moment: float, happens: Callable[[], Any]) -> None:
        heapq.heappush(self._agenda, (moment, next(self._numbers), happens))

    def spawn(self, work: Callable[[], Any], after: float = 0.0) -> None:
        self.at(self.now + after, greenlet(work, self._main).switch)

    def sleep(self, seconds: float) -> None:
        self.at(self.now + seconds, getcurrent().switch)
        self._main.switch()

    def run(self, until: float) -> None:
        """Let everything happen until a moment, in seconds from the beginning."""
        while self._agenda and self._agenda[0][0] <= BEGIN + until:
            self.now, _, happens = heapq.heappop(self._agenda)
            happens()
        self.now = BEGIN + until


class Signal:
    """Something that greenlets wait for."""

    def __init__(self, world: World) -> None:
        self._world, self.is_set, self._waiting = world, False, list[Any]()

    def set(self) -> None:
        self.is_set = True
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            self._world.at(self._world.now, one)

    def wait(self, until: float) -> bool:
        """Return whether it was set before a moment."""
        if self.is_set or until <= self._world.now:
            return self.is_set
        me, woken = getcurrent(), list[bool]()

        def wake() -> None:
            if not woken:
                woken.append(True)
                me.switch()

        self._waiting.append(wake)
        if until < float("inf"):
            self._world.at(until, wake)
        self._world._main.switch()
        return self.is_set


class Flights:
    """`SingleFlight` with simulated time."""

    def __init__(self, world: World, work: Any, record: Any) -> None:
        self.lock = nullcontext()
        self._world, self._work, self._record = world, work, record
        self._flight: Any = None

    def result(
        self, ready: Any, begin: Any, timeout: float, *, max_age: float, in_caller: bool
    ) -> Any:
        until = self._world.now + timeout
        while True:
            found = ready()
            if found is not None:
                return found
            flight, is_own = self._flight, False
            if flight is None or self._world.now >= flight.deadline:
                flight, is_own = self._begin(begin()), True
            if not flight.done.wait(min(until, flight.began + max_age)):
                raise StillRunning
            if flight.error is None:
                return flight.result
            if is_own or not flight.is_tentative:
                raise flight.error

    def start_unless_running(self, begin: Any) -> bool:
        if self._flight is None or self._world.now >= self._flight.deadline:
            need = begin()
            if need is not None:
                self._begin(need)
        return True

    def _begin(self, need: TokenNeed) -> Any:
        now = self._world.now
        flight = self._flight = SimpleNamespace(
            began=now,
            deadline=now + need.budget,
            is_tentative=need.is_tentative,
            done=Signal(self._world),
            result=None,
            error=None,
            older=self._flight,
        )
        self._world.spawn(lambda: self._run(flight, need))
        return flight

    def _run(self, flight: Any, need: TokenNeed) -> None:
        outcome = self._work(need)
        try:
            flight.result = self._record(outcome)
        except OAuthCCError as error:
            flight.error = error
        if self._flight is flight:
            self._flight = None
        flight.done.set()
        older = flight.older
        while older is not None and flight.error is None and not older.done.is_set:
            older.result = flight.result
            older.done.set()
            older = older.older


@dataclass
class Server:
    """An authorization server and an API, which accepts the tokens that are valid."""

    world: World
    seconds: float = 0.05
    lifetime: float = 3600.0
    #: Seconds after which a new token is accepted.
    lag: float = 0.0
    one_active: bool = False
    #: "well", "down" or "hangs".
    state: str = "well"
    requests: int = 0
    born: dict[str, float] = field(default_factory=dict)

    def fetch(self, budget: float) -> Token:
        self.requests += 1
        if self.state == "hangs":
            self.world.sleep(min(budget, 30.0))
            raise TokenEndpointTimeout("simulated")
        self.world.sleep(self.seconds)
        if self.state == "down":
            raise TokenEndpointUnavailable("simulated")
        if self.one_active:
            self.born.clear()
        name = f"t{self.requests}"
        self.born[name] = now = self.world.now
        return Token(name, issued_at=now, expires_at=now + self.lifetime)

    def revoke(self) -> None:
        self.born.clear()

    def accepts(self, name: str) -> bool:
        born = self.born.get(name)
        return born is not None and born + self.lag <= self.world.now < born + self.lifetime


class Shared:
    """A store with its lock."""

    def __init__(self, world: World) -> None:
        self.world, self.token, self._free = world, None, Signal(world)
        self._free.set()
        self._held = False

    @contextmanager
    def locked(self) -> Iterator[bool]:
        """Hold the lock. The value says whether somebody else held it before."""
        waited = self._held
        while self._held:
            signal, self._free = self._free, self._free
            signal.wait(float("inf"))
        self._held, self._free = True, Signal(self.world)
        try:
            yield waited
        finally:
            self._held = False
            self._free.set()


class Process:
    """A process with one token source of the library."""

    def __init__(self, world: World, server: Server, shared: Shared | None = None) -> None:
        self.world, self.server, self.shared = world, server, shared
        self.tokens = TokenSource._of("https://as.example/token", "me", "secret")
        self.tokens._state._is_shared = shared is not None
        self.tokens._flights = Flights(world, self._fetch, self.tokens._state.record)  # type: ignore[assignment]
        #: What callers saw, by route.
        self.seen: Counter[tuple[str, str]] = Counter()
        self.waited = 0.0
        self.api_requests = 0

    def _fetch(self, need: TokenNeed) -> FetchResult:
        began = self.world.now
        result = FetchResult(need.why, need.number)
        try:
            result.token = self._obtain(need, result)
            result.header = Bearer().authorization(result.token)
        except OAuthCCError as error:
            result.error = error
        result.seconds = self.world.now - began
        return result

    def _obtain(self, need: TokenNeed, result: FetchResult) -> Token:
        def request(attempts: int) -> Token:
            for attempt in range(attempts):
                result.attempts += 1
                try:
                    return self.server.fetch(need.budget)
                except TokenEndpointTimeout:
                    raise
                except TokenEndpointUnavailable:
                    if attempt == attempts - 1:
                        raise
                    self.world.sleep(0.75)
            raise AssertionError

        if self.shared is None:
            return request(1 if need.is_tentative else 3)
        found = self._look(need)
        if need.known is not None and found is None:
            raise need.known[1]
        if found is not None:
            return found
        with self.shared.locked() as waited:
            found = self._look(need)
            if found is not None:
                return found
            if need.is_tentative and waited:
                raise TokenEndpointUnavailable("simulated")
            token = request(1 if need.is_tentative else 2 if waited else 3)
            self.shared.token = token
            return token

    def _look(self, need: TokenNeed) -> Token | None:
        assert self.shared is not None
        return None if self.shared.token is None else need.accept(self.shared.token)

    def call(
        self,
        path: str,
        *,
        method: str = "GET",
        seconds: float = 0.02,
        refuses: bool = False,
        replayable: bool = True,
        timeout: float | None = None,
    ) -> str:
        """Send a request as the session does; return what the caller sees."""
        began = self.world.now
        try:
            current = self.tokens._get(timeout, is_replayable=lambda: replayable)
            seen = self._send(current, path, method, seconds, refuses, replayable, timeout)
        except OAuthCCError:
            seen = "error"
        self.waited += self.world.now - began - seconds
        self.seen[f"{method} {path}", seen] += 1
        return seen

    def _send(
        self,
        current: Any,
        path: str,
        method: str,
        seconds: float,
        refuses: bool,
        replayable: bool,
        timeout: float | None,
    ) -> str:
        url = f"https://api.example{path}"
        route = Route(method, origin_of(url), url)
        refusal = Refusal(current, route, self.world.now)

        def accepted(sent: Any) -> bool:
            self.api_requests += 1
            self.world.sleep(seconds)
            is_good = not refuses and self.server.accepts(sent.token.access_token)
            if is_good:
                self.tokens._accepted(sent, lambda: route)
            return is_good

        if accepted(current):
            return "200"
        if not self.tokens._may_replace(refusal):
            return "401"
        if not replayable:
            self.tokens._refused_without_replay(refusal)
            return "401"
        for other in self.tokens._replacements(refusal, timeout):
            if accepted(other):
                return "200"
        return "401"

    def poll(
        self, path: str | Callable[[], str], every: float, until: float, **how: Any
    ) -> None:
        """Send a request again and again, from a greenlet of its own."""

        def work() -> None:
            while self.world.now < BEGIN + until:
                self.call(path() if callable(path) else path, **how)
                self.world.sleep(every)

        self.world.spawn(work)


def new_world() -> tuple[World, Server]:
    """Return a world whose clock is that of the library."""
    world = World()
    oauthcc.clock.system = SimpleNamespace(
        monotonic=lambda: world.now - BEGIN + 5000.0, time=lambda: world.now
    )
    source_module.is_mocked = lambda: False  # type: ignore[attr-defined]
    return world, Server(world)


def refusals(process: Process) -> int:
    return sum(number for (_, seen), number in process.seen.items() if seen == "401")


def always_401_get() -> dict[str, Any]:
    world, server = new_world()
    process = Process(world, server)
    process.poll("/bad", 0.2, 600, refuses=True)
    world.run(600)
    return {"token requests": server.requests - 1, "limit": 20}


def always_401_post_beside_get() -> dict[str, Any]:
    world, server = new_world()
    process = Process(world, server)
    process.poll("/orders", 0.2, 600, method="POST", refuses=True)
    process.poll("/orders", 0.1, 600)
    world.run(600)
    return {
        "token requests": server.requests - 1,
        "limit": 20,
        "good calls refused": process.seen["GET /orders", "401"],
    }


def always_401_upload() -> dict[str, Any]:
    world, server = new_world()
    process = Process(world, server)
    process.poll("/upload", 0.2, 600, method="POST", refuses=True, replayable=False)
    world.run(600)
    return {"token requests": server.requests - 1, "limit": 20}


def ever_new_paths() -> dict[str, Any]:
    world, server = new_world()
    process = Process(world, server)
    numbers = itertools.count()
    process.poll(lambda: f"/bad/{next(numbers)}", 0.2, 600, refuses=True)
    world.run(600)
    return {"token requests": server.requests - 1, "limit": 40}


def ever_new_paths_beside_good() -> dict[str, Any]:
    world, server = new_world()
    process = Process(world, server)
    numbers = itertools.count()
    process.poll(lambda: f"/bad/{next(numbers)}", 0.2, 600, refuses=True)
    process.poll("/good", 0.1, 600)
    for moment in (100, 101, 300):
        world.at(BEGIN + moment, server.revoke)
    world.run(600)
    return {
        "token requests": server.requests - 1,
        "limit": 40,
        "good calls refused after 3 revocations": process.seen["GET /good", "401"],
    }


def one_revocation_64_threads() -> dict[str, Any]:
    world, server = new_world()
    process = Process(world, server)
    draw = random.Random(7)
    for number in range(64):
        how = {"seconds": draw.uniform(0.1, 5.0), "method": draw.choice(["GET", "POST"])}
        process.poll(f"/{number % 8}", 0.1, 60, **how)
    world.at(BEGIN + 20.0, server.revoke)
    world.run(70)
    return {
        "token requests": server.requests - 1,
        "limit": 1,
        "calls refused": refusals(process),
    }


def slow_endpoint_16_processes() -> dict[str, Any]:
    world, server = new_world()
    server.seconds = 5.0
    shared = Shared(world)
    processes = [Process(world, server, shared) for _ in range(16)]
    for process in processes:
        process.poll("/orders", 0.1, 60)
    world.at(BEGIN + 20.0, server.revoke)
    world.run(70)
    return {
        "token requests": server.requests - 1,
        "limit": 1,
        "calls refused": sum(map(refusals, processes)),
    }


def lag_with_uploads() -> dict[str, Any]:
    world, server = new_world()
    server.lag, server.lifetime = 2.0, 60.0
    process = Process(world, server)
    server.born["t0"] = BEGIN - 10
    process.poll("/upload", 0.05, 120, method="POST", replayable=False)
    world.run(2.5)
    before = refusals(process)  # the first token of all has no former one
    world.run(120)
    renewals = server.requests - 1
    return {
        "refusals handed out for each renewal": (refusals(process) - before) / max(renewals, 1),
        "limit": 10,
        "renewals": renewals,
    }


def lag_with_gets() -> dict[str, Any]:
    world, server = new_world()
    server.lag, server.lifetime = 1.5, 10.0
    process = Process(world, server)
    process.poll("/orders", 0.05, 120)
    world.run(2.5)
    before = refusals(process)
    world.run(120)
    return {"calls refused": refusals(process) - before, "limit": 0, "fetches": server.requests}


def one_active_token() -> dict[str, Any]:
    world, server = new_world()
    server.one_active = True
    shared = Shared(world)
    processes = [Process(world, server, shared) for _ in range(4)]
    for process in processes:
        process.poll("/orders", 1.0, 20)
    world.at(BEGIN + 10.0, server.revoke)
    world.run(30)
    return {
        "token requests": server.requests - 1,
        "limit": 1,
        "calls refused": sum(map(refusals, processes)),
    }


def outage_while_valid(state: str) -> dict[str, Any]:
    world, server = new_world()
    process = Process(world, server)
    process.poll("/bad", 0.5, 120, refuses=True, timeout=5.0)
    for number in range(8):
        process.poll(f"/good/{number}", 0.1, 120, timeout=5.0)

    def fail() -> None:
        server.state = state

    world.at(BEGIN + 1.0, fail)
    world.run(130)
    errors = sum(number for (_, seen), number in process.seen.items() if seen == "error")
    return {
        "errors": errors,
        "limit": 0,
        "token requests": server.requests,
        "seconds waited": round(process.waited, 1),
    }


def storm(seed: int = 7) -> dict[str, Any]:
    """Four processes, revocations in pairs, a refusing route, an outage and a hang."""
    world, server = new_world()
    shared, draw = Shared(world), random.Random(seed)
    processes = [Process(world, server, shared) for _ in range(4)]
    for process in processes:
        process.poll("/bad", 0.5, 300, refuses=True, timeout=5.0)
        for number in range(4):
            replayable = number > 0
            process.poll(
                f"/good/{number}", draw.uniform(0.05, 0.3), 300, replayable=replayable, timeout=5.0
            )
    for moment in (30, 31, 90, 90.5, 150, 240, 241):
        world.at(BEGIN + moment, server.revoke)
    for moment, state in ((60, "down"), (75, "well"), (120, "hangs"), (140, "well")):
        world.at(BEGIN + moment, lambda state=state: setattr(server, "state", state))
    world.run(310)
    good = [p.seen[f"GET /good/{n}", "401"] for p in processes for n in range(4)]
    return {
        "token requests": server.requests,
        "good calls refused": sum(good),
        "seconds waited": round(sum(p.waited for p in processes), 1),
    }


SCENES: dict[str, Callable[[], dict[str, Any]]] = {
    "a route that always refuses, polled for ten minutes": always_401_get,
    "POST always refuses beside a good GET on the same path": always_401_post_beside_get,
    "an upload that cannot be sent again always refuses": always_401_upload,
    "ever new paths that refuse": ever_new_paths,
    "ever new paths that refuse, beside a good route": ever_new_paths_beside_good,
    "64 threads, requests of up to 5 s, one revocation": one_revocation_64_threads,
    "16 processes, a token endpoint of 5 s, one revocation": slow_endpoint_16_processes,
    "new tokens are accepted after 2 s, uploads": lag_with_uploads,
    "new tokens are accepted after 1.5 s, a lifetime of 10 s": lag_with_gets,
    "one active token for each client, four processes": one_active_token,
    "token endpoint down while the token is valid": lambda: outage_while_valid("down"),
    "token endpoint hangs while the token is valid": lambda: outage_while_valid("hangs"),
    "a storm of four processes": storm,
}


def main() -> int:
    """Print what each scene costs; return 1 if one is above its limit."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    failed = False
    for name, scene in SCENES.items():
        figures = scene()
        limit = figures.pop("limit", None)
        first, *_ = figures.values()
        is_above = limit is not None and first > limit
        failed |= is_above
        shown = ", ".join(f"{what}: {value}" for what, value in figures.items())
        print(f"{name:58} {shown}" + (f"  (at most {limit})" if limit is not None else ""))
        if is_above:
            print("    ABOVE THE LIMIT")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
