"""Routes that refuse tokens: the rows of data/routes.json, in a simulated world.

A row has callers, who send a request again and again for ``seconds``, and steps, which happen at a
moment. It ends with the number of token requests and what the callers saw, by route and status.
``?`` in a path stands for another number each time.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from benchmarks.routes import SCENES
from benchmarks.simulation import BEGIN, Process, Server, Shared, new_world

pytestmark = pytest.mark.unmeasured

ROWS = json.loads((Path(__file__).parent / "data" / "routes.json").read_text("utf-8"))


def play(row: dict[str, Any]) -> tuple[int, dict[str, int]]:
    """Play a row; return the number of token requests, and what the callers saw."""
    world, server = new_world()
    vars(server).update(row.get("server", {}))
    shared = Shared(world) if row.get("processes", 1) > 1 else None
    processes = [Process(world, server, shared) for _ in range(row.get("processes", 1))]
    for process, caller in itertools.product(processes, row["callers"]):
        begin(process, row["seconds"], **caller)
    for moment, what in row.get("steps", ()):
        world.at(BEGIN + moment, lambda what=what: happen(server, what))
    world.run(row["seconds"] + 60)
    seen: Counter[str] = Counter()
    for process in processes:
        for (route, status), times in process.seen.items():
            seen[f"{route.rstrip('0123456789')} {status}"] += times
    return server.requests, dict(seen)


def begin(
    process: Process, until: float, path: str, every: float = 1.0, start: float = 0.0, **how: Any
) -> None:
    """Let a caller begin."""
    numbers = itertools.count()

    def work() -> None:
        while process.world.now < BEGIN + until:
            process.call(path.replace("?", str(next(numbers))), **how)
            process.world.sleep(every)

    process.world.spawn(work, start)


def happen(server: Server, what: str) -> None:
    """Let something happen to the servers."""
    if what == "revoke":
        server.revoke()
    else:
        server.state = what


@pytest.mark.parametrize("row", [pytest.param(row, id=row["name"]) for row in ROWS])
def test_a_row_of_the_table_of_routes_holds(row: dict[str, Any]) -> None:
    assert play(row) == (row["token requests"], row["seen"])


def test_the_table_of_routes_has_at_least_25_rows_with_different_names() -> None:
    assert len({row["name"] for row in ROWS}) == len(ROWS) >= 25


@pytest.mark.parametrize("name", SCENES)
def test_a_scene_costs_no_more_than_its_limit(name: str) -> None:
    figures = SCENES[name]()
    limit = figures.pop("limit", None)
    assert limit is None or next(iter(figures.values())) <= limit
