"""The CPU time of a warm call, for growing environments, files, prefixes, sessions and threads.

All calls use the null adapter. In each round, every size has its turn.
"""

from __future__ import annotations

import itertools
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import requests
from comparing.world import World

from oauthcc import ClientCredentialsSession

from .cases import CASES, call_of, make_client, surroundings, write_netrc
from .children import fillers
from .contenders import Plain, Session
from .servers import NULL_TOKEN_URL, NULL_URL, NullAdapter
from .timing import few_objects, ratio, spread, turn

NAMES = [Plain.name, Session.name]
GET = CASES[0]
CALLS_OF_A_THREAD = 20
Make = Callable[[str, int], Callable[[], Any]]
Around = Callable[[int], AbstractContextManager[Any]]


def growth(seconds: float, is_quick: bool) -> dict[str, Any]:  # noqa: FBT001 - from JSON
    """Return the times by what grows, contender and size; each takes this many seconds."""
    found: dict[str, Any] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        World() as world,
        surroundings(GET, Path(folder)),
    ):
        clients = {name: make_client(name, GET, NULL_URL, world) for name in NAMES}
        calls = {name: call_of(client, GET, NULL_URL) for name, client in clients.items()}

        def same(name: str, _: int) -> Callable[[], Any]:
            return calls[name]

        for what, sizes, make, around in (
            ("environment variables", [30, 100, 500], same, environment),
            ("netrc entries", [0, 10, 100], same, netrc_in(Path(folder))),
            ("prefixes", [1, 10, 100, 1000], prefixes_in(world), nullcontext),
            ("sessions", [1, 10, 100, 1000], in_sessions, nullcontext),
        ):
            taken = sizes[:2] if is_quick else sizes
            found[what] = grow(taken, make, around, seconds)
        taken = [1, 4] if is_quick else [1, 4, 16, 64]
        found["threads"] = threads(taken, calls, seconds)
    return found


def grow(sizes: list[int], make: Make, around: Around, seconds: float) -> dict[str, Any]:
    """Return the times of all sizes, which take turns."""
    calls = {(name, size): make(name, size) for name in NAMES for size in sizes}
    times: dict[tuple[str, int], list[float]] = {key: [] for key in calls}
    end = time.perf_counter() + seconds
    with few_objects():
        while len(times[NAMES[0], sizes[0]]) < 5 or time.perf_counter() < end:
            for size in sizes:
                with around(size):
                    for name in NAMES:
                        times[name, size].append(turn(calls[name, size])[0])
    return summary(sizes, times)


def summary(sizes: list[int], times: dict[tuple[str, int], list[float]]) -> dict[str, Any]:
    """Return the times by contender and size, and the ratio of the largest to the smallest."""
    return {
        name: {
            "us": {str(size): spread(times[name, size], 1) for size in sizes},
            "ratio": ratio(times[name, sizes[-1]], times[name, sizes[0]]),
            "rounds": len(times[name, sizes[0]]),
        }
        for name in NAMES
    }


@contextmanager
def environment(size: int) -> Iterator[None]:
    """Set this number of variables."""
    more = fillers(max(0, size - len(os.environ)))
    with mock.patch.dict(os.environ, {f"MORE_{name}": value for name, value in more.items()}):
        yield


def netrc_in(folder: Path) -> Around:
    """Return what sets a netrc file with a number of entries."""

    def around(size: int) -> AbstractContextManager[Any]:
        return mock.patch.dict(os.environ, {"NETRC": str(folder / f"netrc-{size}")})

    for size in (10, 100):
        write_netrc(folder, size)
    return around


def prefixes_in(world: World) -> Make:
    """Return what makes the call of a client with a number of prefixes."""

    def make(name: str, size: int) -> Callable[[], Any]:
        case = replace(GET, prefixes=size)
        return call_of(make_client(name, case, NULL_URL, world), case, NULL_URL)

    return make


def in_sessions(name: str, size: int) -> Callable[[], Any]:
    """Return the calls of a number of sessions, which take turns."""
    calls = itertools.cycle([null_session(name).get for _ in range(size)])
    return lambda: next(calls)(f"{NULL_URL}/orders/42")


def null_session(name: str) -> requests.Session:
    """Return a session with a token of the null adapter."""
    session: Any
    if name == Plain.name:
        session = requests.Session()
        session.headers["Authorization"] = "Bearer token"
    else:
        session = ClientCredentialsSession(NULL_TOKEN_URL, "my-id", "my-secret", "orders:read")
    session.mount("https://", NullAdapter())
    session.get(f"{NULL_URL}/orders/42")
    return session


def threads(
    sizes: list[int], calls: dict[str, Callable[[], Any]], seconds: float
) -> dict[str, Any]:
    """Return the CPU time of a call if a number of threads use one session at the same time."""
    times: dict[tuple[str, int], list[float]] = {(n, size): [] for n in NAMES for size in sizes}
    end = time.perf_counter() + seconds
    with few_objects():
        while len(times[NAMES[0], sizes[0]]) < 5 or time.perf_counter() < end:
            for size in sizes:
                for name in NAMES:
                    times[name, size].append(in_threads(calls[name], size))
    return summary(sizes, times)


def in_threads(call: Callable[[], Any], count: int) -> float:
    """Return the CPU time of a call in microseconds, in this number of threads."""
    took: list[int] = []
    start = threading.Barrier(count)

    def run() -> None:
        start.wait()
        call()
        before = time.thread_time_ns()
        for _ in range(CALLS_OF_A_THREAD):
            call()
        took.append(time.thread_time_ns() - before)

    running = [threading.Thread(target=run) for _ in range(count)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return sum(took) / len(took) / CALLS_OF_A_THREAD / 1e3
