"""Clocks that a test moves, and ways to wait for threads without measuring time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar

import oauthcc.clock
from oauthcc.clock import Instant
from oauthcc.token_request import endpoint

if TYPE_CHECKING:
    import pytest  # the processes that tests start do without it

T = TypeVar("T")
FLIGHT = "oauthcc-flight"


class Clock:
    """Both clocks of the library. They stand still until they are moved.

    They show fractions of a second that sums of floating-point numbers keep.
    """

    def __init__(self) -> None:
        self.monotonic, self.wall = _even(time.monotonic()), _even(time.time())

    def advance(self, seconds: float) -> None:
        """Move both clocks forward."""
        self.monotonic += _even(seconds)
        self.wall += _even(seconds)

    def time(self) -> float:
        """Return the time of the wall clock, for a server."""
        return self.wall

    def now(self) -> Instant:
        """Return the time of both clocks."""
        return Instant(self.monotonic, self.wall)

    def install(self) -> Clock:
        """Replace the clocks of the library; the end of the test puts them back."""
        oauthcc.clock.system = SimpleNamespace(monotonic=lambda: self.monotonic, time=self.time)
        return self


def _even(seconds: float) -> float:
    return round(seconds * 2**20) / 2**20


def shift_clocks(seconds: float) -> None:
    """Set the clocks of the library forward; the end of the test puts them back."""
    oauthcc.clock.system = SimpleNamespace(
        monotonic=lambda: time.monotonic() + seconds, time=lambda: time.time() + seconds
    )


def real_clocks() -> None:
    """Put the real clocks back."""
    oauthcc.clock.system = time


def skip_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let pauses between token requests take no time; return the list of their seconds."""
    pauses: list[float] = []
    patched = SimpleNamespace(monotonic=time.monotonic, sleep=pauses.append)
    monkeypatch.setattr(endpoint, "time", patched)
    return pauses


def moved_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Install a clock that the test moves. Pauses between token requests take no time."""
    skip_pauses(monkeypatch)
    return Clock().install()


def flights() -> list[threading.Thread]:
    """Return the threads of the flights in progress."""
    return [thread for thread in threading.enumerate() if thread.name == FLIGHT]


def flights_done() -> None:
    """Wait until no flight is in progress and all events were emitted."""
    for thread in flights():
        thread.join(20)
        assert not thread.is_alive(), "a flight does not end"


def together(number: int, call: Callable[[], T]) -> list[T | Exception]:
    """Make a call in many threads at once; return what each of them returned or raised."""
    barrier = threading.Barrier(number)
    outcomes: list[T | Exception] = []

    def one() -> None:
        barrier.wait(20)
        try:
            outcomes.append(call())
        except Exception as error:  # noqa: BLE001 - the test checks it
            outcomes.append(error)

    threads = in_threads(number, one)
    joined(threads)
    return outcomes


def in_threads(number: int, target: Callable[[], Any]) -> list[threading.Thread]:
    """Start threads."""
    threads = [threading.Thread(target=target, name="caller") for _ in range(number)]
    for thread in threads:
        thread.start()
    return threads


def joined(threads: list[threading.Thread]) -> None:
    """Wait for threads to end."""
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive(), "a caller hangs"


def until(condition: Callable[[], bool]) -> None:
    """Wait until another thread has done something that no event reports."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true"
        threading.Event().wait(0.001)
