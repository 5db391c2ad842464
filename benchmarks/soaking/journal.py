"""The records of a soak test, by the servers and the callers. Times are monotonic seconds."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

#: The outcomes that no fault causes.
GOOD, REDIRECTED, REFUSED, CLOSED = "200", "302", "401", "closed"


@dataclass(frozen=True)
class Attempt:
    """One request that reached the API, with its token and its outcome."""

    call: str
    path: str
    source: str
    at: float
    token: str | None
    sha256: str
    outcome: str


@dataclass(frozen=True)
class TokenRequest:
    """One request that reached the token endpoint; ``token`` is None if there was a fault."""

    source: str
    begun: float
    ended: float
    outcome: str
    token: str | None = None
    lifetime: float = 0.0


@dataclass(frozen=True)
class Call:
    """One call, as its caller saw it. ``outcome`` is a status or the name of an exception."""

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
        """Return the call as one line of JSON."""
        return json.dumps(dataclasses.asdict(self))


@dataclass(frozen=True)
class Fork:
    """One child; its sources are those of the parent with new names."""

    number: int
    at: float

    def parent_of(self, source: str) -> str:
        """Return the source of the parent that a source of this child was copied from."""
        return source.partition("/")[0]


@dataclass
class Journal:
    """All records of a soak test."""

    attempts: list[Attempt] = field(default_factory=list)
    token_requests: list[TokenRequest] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    forks: dict[int, Fork] = field(default_factory=dict)
    #: The times when a server was down: its name, start, end.
    outages: list[tuple[str, float, float]] = field(default_factory=list)
    revocations: int = 0
    faults: int = 0
    #: Threads and descriptors that are left over, and children that hung.
    left_over: list[str] = field(default_factory=list)

    def record(self, call: Call) -> None:
        """Record a call that has ended."""
        self.calls.append(call)

    @contextmanager
    def outage(self, server: str) -> Iterator[None]:
        """Record that a server is down inside the `with` block."""
        begun = time.monotonic()
        self.outages.append((server, begun, begun + 3600.0))
        place = len(self.outages) - 1
        yield
        self.outages[place] = (server, begun, time.monotonic())

    def read_child(self, path: Path) -> None:
        """Read the report of a child: its calls, and what it left over."""
        for line in path.read_text().splitlines():
            members = json.loads(line)
            if "left_over" in members:
                self.left_over.append(members["left_over"])
            else:
                self.calls.append(Call(**members))
