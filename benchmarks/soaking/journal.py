"""What is noted during a soak, by the servers and by the callers. Times are monotonic seconds."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: What the servers call an answer that nobody scripted.
GOOD, REDIRECTED, REFUSED, CLOSED = "200", "302", "401", "closed"


@dataclass(frozen=True)
class Attempt:
    """One request that reached the API: whose call, with which token, answered how."""

    call: str
    path: str
    source: str
    at: float
    token: str | None
    sha256: str
    outcome: str


@dataclass(frozen=True)
class TokenRequest:
    """One request that reached the token endpoint; ``token`` is None where a fault was played."""

    source: str
    begun: float
    ended: float
    outcome: str
    token: str | None = None
    lifetime: float = 0.0


@dataclass(frozen=True)
class Call:
    """One call as its caller saw it. ``outcome`` is a status or the name of an exception."""

    name: str
    source: str
    body: str
    replayable: bool
    sha256: str
    timeout: float
    begun: float
    ended: float
    outcome: str
    is_token_error: bool = False
    answered_to: str = ""
    answered_sha256: str = ""
    detail: str = ""

    def to_json(self) -> str:
        """Return one line."""
        return json.dumps(dataclasses.asdict(self))


@dataclass(frozen=True)
class Fork:
    """One child: its sources are those of the parent, named anew."""

    number: int
    at: float

    def parent_of(self, source: str) -> str:
        """Return the source of the parent that one of this child came from."""
        return source.partition("/")[0]


@dataclass
class Journal:
    """Hold everything that was noted."""

    attempts: list[Attempt] = field(default_factory=list)
    token_requests: list[TokenRequest] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    forks: dict[int, Fork] = field(default_factory=dict)
    #: When a server was down: its name, from, until.
    outages: list[tuple[str, float, float]] = field(default_factory=list)
    revocations: int = 0
    faults: int = 0
    #: The most token requests that were in progress at once, by source.
    most_at_once: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    #: What went wrong beyond the calls: what is left over, children that hung.
    left_over: list[str] = field(default_factory=list)
    _now: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    _lock: Any = field(default_factory=threading.Lock)

    def note(self, call: Call) -> None:
        """Note a call that has ended."""
        self.calls.append(call)

    def enter(self, source: str) -> None:
        """Note that a token request begins."""
        with self._lock:
            self._now[source] += 1
            self.most_at_once[source] = max(self.most_at_once[source], self._now[source])

    def leave(self, source: str) -> None:
        """Note that it ends."""
        with self._lock:
            self._now[source] -= 1

    @contextmanager
    def outage(self, server: str) -> Iterator[None]:
        """Note that a server is down meanwhile."""
        begun = time.monotonic()
        self.outages.append((server, begun, begun + 3600.0))
        place = len(self.outages) - 1
        yield
        self.outages[place] = (server, begun, time.monotonic())

    def read_child(self, path: Path) -> None:
        """Take in what a child has written: its calls, and what it left over."""
        for line in path.read_text().splitlines():
            members = json.loads(line)
            if "left_over" in members:
                self.left_over.append(members["left_over"])
            else:
                self.calls.append(Call(**members))
