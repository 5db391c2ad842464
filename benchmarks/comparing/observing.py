"""The common parts of the situations: their table, and how they send requests and count.

The servers count. The threads of a situation start at the same time, and the token endpoint answers
when no more token requests arrive.
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
    """Return a decorator that adds a situation to the table."""

    def add(function: Situation) -> Situation:
        SITUATIONS[name] = function
        return function

    return add


def tried(call: Callable[[], Any]) -> str:
    """Return the status of the response, or the name of the error."""
    try:
        return str(call().status_code)
    except Exception as error:  # noqa: BLE001 - its type is the result
        return type(error).__name__


def storm(world: World, call: Callable[[], Any]) -> str:
    """Call in many threads, and hold token requests until no more arrive; return the counts."""

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
    return f"{world.token_request_count()}; {outcome}"


def together(call: Callable[[], Any]) -> str:
    """Call in many threads at the same time, and return the number of each outcome."""
    outcomes = sorted(outcomes_of(call, THREADS).items())
    return ", ".join(f"{count} x {outcome}" for outcome, count in outcomes)


def outcomes_of(call: Callable[[], Any], count: int) -> Counter[str]:
    """Call in this number of threads at the same time, and count the outcomes."""
    outcomes: Counter[str] = Counter()
    start = threading.Barrier(count)

    def run() -> None:
        start.wait()
        outcomes[tried(call)] += 1

    threads = [threading.Thread(target=run, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(15)
    return outcomes


def warm(kind: type[Library], world: World, **options: Any) -> Library:
    """Return a client that has sent one request."""
    client = kind(world, **options)
    client.request("GET", world.api.url).raise_for_status()
    return client


def expired(kind: type[Library], world: World) -> Library:
    """Return a client whose token is in the library's own margin."""
    world.auth.token_lifetime, world.auth.real_lifetime = kind.margin + 1, 3600
    client = warm(kind, world)
    world.auth.token_lifetime = 3600
    time.sleep(2.2)
    world.auth.forget()
    return client


def revoke_at_the_api(world: World, count: int, call: Callable[[], Any]) -> Any:
    """Call a function, and revoke all tokens when this number of requests is at the API."""

    def revoke() -> None:
        gate.wait_for(count)
        world.auth.revoke_all()
        gate.release()

    with world.api.hold() as gate:
        revoking = threading.Thread(target=revoke, daemon=True)
        revoking.start()
        result = call()
        revoking.join()
    return result
