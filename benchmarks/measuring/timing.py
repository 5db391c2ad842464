"""CPU time of calls that take turns, so that other load on the machine affects all of them alike.

In each turn a function is called five times, and the last three calls are measured. The first two
fill the caches of the processor. Without them, a contender whose code differs from that of most
others would be measured with empty caches, and the others with full ones.
"""

from __future__ import annotations

import gc
import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter, perf_counter_ns, thread_time_ns
from typing import Any

Calls = dict[str, Callable[[], Any]]
WARM_UP = 10
FEWEST_ROUNDS = 5
UNMEASURED, MEASURED = 2, 3


def spread(values: Sequence[float], digits: int = 3) -> dict[str, Any]:
    """Return the median and the quartiles."""
    if len(values) < 2:
        return {"median": round(values[0], digits), "quartiles": [round(values[0], digits)] * 2}
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    middle = round(statistics.median(values), digits)
    return {"median": middle, "quartiles": [round(low, digits), round(high, digits)]}


def take_turns(calls: Calls, seconds: float) -> dict[str, dict[str, Any]]:
    """Give each function a turn in each round, in random order; return the times of a call.

    `ratio` is the CPU time of a call divided by that of the first function in the same round.
    """
    for call in calls.values():
        for _ in range(WARM_UP):
            call()
    cpu: dict[str, list[float]] = {name: [] for name in calls}
    wall: dict[str, list[float]] = {name: [] for name in calls}
    order, drawn = list(calls.items()), random.Random(1)
    end, rounds = perf_counter() + seconds, 0
    with few_objects():
        while rounds < FEWEST_ROUNDS or perf_counter() < end:
            rounds += 1
            drawn.shuffle(order)
            for name, call in order:
                took = turn(call)
                cpu[name].append(took[0])
                wall[name].append(took[1])
    base = next(iter(cpu.values()))
    return {
        name: {
            "us": spread(took, 1),
            "wall_us": spread(wall[name], 1),
            "ratio": ratio(took, base),
            "rounds": rounds,
        }
        for name, took in cpu.items()
    }


def turn(call: Callable[[], Any]) -> tuple[float, float]:
    """Return the CPU time and the wall time of a call, in microseconds."""
    for _ in range(UNMEASURED):
        call()
    begun, before = perf_counter_ns(), thread_time_ns()
    for _ in range(MEASURED):
        call()
    after, ended = thread_time_ns(), perf_counter_ns()
    return (after - before) / MEASURED / 1e3, (ended - begun) / MEASURED / 1e3


def ratio(took: Sequence[float], base: Sequence[float]) -> dict[str, Any]:
    """Return the spread of the ratios of the values of the same round."""
    return spread([mine / theirs for mine, theirs in zip(took, base, strict=True)], 4)


@contextmanager
def few_objects() -> Iterator[None]:
    """Keep the collector from looking at what was there before.

    All that was imported would make collections slower, and with them the calls that cause them.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
