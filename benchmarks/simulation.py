"""A world in which clocks, threads, servers and stores are simulated.

The policy is that of the library (source.py, state.py, refusals.py, renewal.py). Each caller is a
greenlet, and the clock moves to the next moment at which something happens, so ten minutes take a
moment.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, NamedTuple

from greenlet import getcurrent, greenlet

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

    @property
    def is_overdue(self) -> bool:
        return self._flight is not None and self._world.now >= self._flight.deadline

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


class _Sending(NamedTuple):
    """A request: its route, how long it takes, and whether the API always refuses it."""

    route: Route
    seconds: float
    refuses: bool


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
        if self.shared is None:
            return self._request(need, result, 1 if need.is_tentative else 3)
        found = self._look(need)
        if found is not None:
            return found
        if need.known is not None:
            raise need.known[1]
        with self.shared.locked() as has_waited:
            found = self._look(need)
            if found is not None:
                return found
            if need.is_tentative and has_waited:
                raise TokenEndpointUnavailable("simulated")
            attempts = 1 if need.is_tentative else 2 if has_waited else 3
            self.shared.token = token = self._request(need, result, attempts)
            return token

    def _request(self, need: TokenNeed, result: FetchResult, attempts: int) -> Token:
        for attempt in range(1, attempts + 1):
            result.attempts = attempt
            try:
                return self.server.fetch(need.budget)
            except TokenEndpointTimeout:
                raise
            except TokenEndpointUnavailable:
                if attempt == attempts:
                    raise
                self.world.sleep(0.75)
        raise AssertionError

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
        url = f"https://api.example{path}"
        sending = _Sending(Route(method, origin_of(url), url), seconds, refuses)
        try:
            current = self.tokens._get(timeout, lambda: replayable)
            seen = self._send(sending, current, timeout, is_replayable=replayable)
        except OAuthCCError:
            seen = "error"
        self.waited += self.world.now - began - seconds
        self.seen[f"{method} {path}", seen] += 1
        return seen

    def _send(
        self, sending: _Sending, current: Any, timeout: float | None, *, is_replayable: bool
    ) -> str:
        refusal = Refusal(current, sending.route, self.world.now)
        if self._is_accepted(sending, current):
            return "200"
        if not self.tokens._may_replace(refusal):
            return "401"
        if not is_replayable:
            self.tokens._refused_without_replay(refusal)
            return "401"
        others = self.tokens._replacements(refusal, timeout)
        return "200" if any(self._is_accepted(sending, other) for other in others) else "401"

    def _is_accepted(self, sending: _Sending, current: Any) -> bool:
        self.api_requests += 1
        self.world.sleep(sending.seconds)
        if sending.refuses or not self.server.accepts(current.token.access_token):
            return False
        self.tokens._accepted(current, current, lambda: sending.route)
        return True

    def poll(self, path: str | Callable[[], str], every: float, until: float, **how: Any) -> None:
        """Send a request again and again, from a greenlet of its own."""

        def work() -> None:
            while self.world.now < BEGIN + until:
                self.call(path() if callable(path) else path, **how)
                self.world.sleep(every)

        self.world.spawn(work)


def new_world() -> tuple[World, Server]:
    """Return a world whose clock is that of the library."""
    random.seed(7)
    world = World()
    oauthcc.clock.system = SimpleNamespace(
        monotonic=lambda: world.now - BEGIN + 5000.0, time=lambda: world.now
    )
    source_module.is_mocked = lambda: False  # type: ignore[attr-defined]
    return world, Server(world)


def refusals(process: Process) -> int:
    return sum(number for (_, seen), number in process.seen.items() if seen == "401")
