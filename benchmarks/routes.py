"""What routes that refuse tokens cost, in a simulated world: ``python benchmarks/routes.py``."""

from __future__ import annotations

import argparse
import itertools
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.simulation import BEGIN, Process, Shared, new_world, refusals


def always_401(path: str | Callable[[], str], *, limit: int = 20, **how: Any) -> dict[str, Any]:
    """Return what ten minutes of requests cost that are always refused."""
    world, server = new_world()
    Process(world, server).poll(path, 0.2, 600, refuses=True, **how)
    world.run(600)
    return {"token requests": server.requests - 1, "limit": limit}


def new_paths() -> Callable[[], str]:
    """Return a function that returns another path each time."""
    numbers = itertools.count()
    return lambda: f"/bad/{next(numbers)}"


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


def ever_new_paths_beside_good() -> dict[str, Any]:
    world, server = new_world()
    process = Process(world, server)
    process.poll(new_paths(), 0.2, 600, refuses=True)
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


def with_lag(seconds: float, lifetime: float, **how: Any) -> tuple[int, int]:
    """Let new tokens be accepted late; return the refusals handed out, and the token requests."""
    world, server = new_world()
    server.lag, server.lifetime = seconds, lifetime
    process = Process(world, server)
    process.poll("/orders", 0.05, 300, **how)
    world.run(10)  # the first token of all has no former one
    before, requests = refusals(process), server.requests
    world.run(300)
    return refusals(process) - before, server.requests - requests


def lag_with_uploads() -> dict[str, Any]:
    refused, requests = with_lag(2.0, 60.0, method="POST", replayable=False)
    return {
        "refusals handed out for each renewal": refused / requests,
        "limit": 10,
        "renewals": requests,
    }


def lag_with_gets() -> dict[str, Any]:
    refused, requests = with_lag(1.5, 10.0)
    return {"calls refused": refused, "limit": 0, "renewals": requests}


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
    "a route that always refuses, polled for ten minutes": lambda: always_401("/bad"),
    "POST always refuses beside a good GET on the same path": always_401_post_beside_get,
    "an upload that cannot be sent again always refuses": lambda: always_401(
        "/upload", method="POST", replayable=False
    ),
    "ever new paths that refuse": lambda: always_401(new_paths(), limit=40),
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
