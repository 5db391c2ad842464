"""What the situations have in common: the table of them, and how they call and count.

What is counted is counted by the servers. The many threads of a situation start together, and the
token endpoint answers when all have asked who are going to ask.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from .library import Library
from .world import World

Situation = Callable[[type[Library], World], str]
SITUATIONS: dict[str, Situation] = {}
THREADS = 32


def situation(name: str) -> Callable[[Situation], Situation]:
    """Put a situation into the table."""

    def enter(function: Situation) -> Situation:
        SITUATIONS[name] = function
        return function

    return enter


def tried(call: Callable[[], Any]) -> str:
    """Call; give the status of the answer, or the name of the error."""
    try:
        return str(call().status_code)
    except Exception as error:  # noqa: BLE001 - which one it is, is what is asked
        return type(error).__name__


def storm(world: World, call: Callable[[], Any]) -> str:
    """Call in many threads; have the token endpoint wait until no more of them ask it."""

    def release() -> None:
        held, quiet = 0, 0
        while quiet < 10 and gate.held < THREADS:
            time.sleep(0.05)
            held, quiet = gate.held, quiet + 1 if gate.held == held else 0
        gate.release()

    with world.auth.hold() as gate:
        releasing = threading.Thread(target=release, daemon=True)
        releasing.start()
        outcome = together(call)
        releasing.join()
    return told(world.asked(), outcome)


def together(call: Callable[[], Any]) -> str:
    """Call in many threads at once; give the outcomes with their numbers."""
    outcomes: Counter[str] = Counter()
    start = threading.Barrier(THREADS)

    def run() -> None:
        start.wait()
        outcomes[tried(call)] += 1

    threads = [threading.Thread(target=run, daemon=True) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(15)
    return ", ".join(f"{count} x {outcome}" for outcome, count in sorted(outcomes.items()))


def warm(kind: type[Library], world: World, **options: Any) -> Library:
    """Make a client and have it call once."""
    client = kind(world, **options)
    client.request("GET", world.api.url).raise_for_status()
    return client


def told(count: int, what: str) -> str:
    """Put a number of token requests and the outcome of the calls together."""
    return f"{count}; {what}"
