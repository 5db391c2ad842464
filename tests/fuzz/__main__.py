"""The runner of the fuzz targets.

The targets take turns until ``--seconds`` are over, or until each has run ``--count`` times. Every
run has a seed of its own, which is printed if the run fails: with ``--seed N --count 1 NAME`` the
same run is repeated.
"""

from __future__ import annotations

import argparse
import importlib
import random
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence

Target = Callable[[random.Random], None]

#: The modules that have targets, in a tuple ``TARGETS``. One that does not exist is left out.
MODULES = ("answers", "texts", "urls")
#: How often a target runs before the next one has its turn.
TURN = 50


def collect(modules: Iterable[str] = MODULES) -> dict[str, Target]:
    """Return all targets by name."""
    found: dict[str, Target] = {}
    for name in modules:
        try:
            module = importlib.import_module(f"{__package__}.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"{__package__}.{name}":
                raise
            continue
        found |= {target.__name__: target for target in module.TARGETS}
    return found


def fuzz(targets: dict[str, Target], *, seed: int, seconds: float | None, count: int | None) -> int:
    """Run the targets, print one line for each, and return the exit status."""
    until = None if seconds is None else time.monotonic() + seconds
    runs, spent = dict.fromkeys(targets, 0), dict.fromkeys(targets, 0.0)

    def is_over(name: str) -> bool:
        if until is not None and time.monotonic() >= until:
            return True
        return count is not None and runs[name] >= count

    while not all(map(is_over, targets)):
        for name, target in targets.items():
            began = time.perf_counter()
            for _ in range(TURN):
                if is_over(name):
                    break
                try:
                    target(random.Random(seed + runs[name]))
                except Exception as error:  # noqa: BLE001 - any exception is a finding
                    print(f"{name} failed: repeat it with --seed {seed + runs[name]} --count 1")
                    print(traceback.format_exc(limit=-4))
                    print(*getattr(error, "__notes__", ()), sep="\n")
                    return 1
                runs[name] += 1
            spent[name] += time.perf_counter() - began
    for name in targets:
        print(f"{name:32} {runs[name]:9} runs {runs[name] / max(spent[name], 1e-9):9.0f} runs/s")
    return 0


def main(
    arguments: Sequence[str] | None = None,
    *,
    prog: str = "python -m tests.fuzz",
    targets: dict[str, Target] | None = None,
) -> int:
    """Run the targets that the command line names."""
    parser = argparse.ArgumentParser(
        prog=prog, description="Run the fuzz targets, or those that are named."
    )
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--seconds", type=float, help="for how long (default: 10)")
    parser.add_argument("--count", type=int, help="how often each target runs")
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args(arguments)
    targets = collect() if targets is None else targets
    unknown = set(given.names) - set(targets)
    if unknown:
        parser.error(f"no target {', '.join(sorted(unknown))}; there are {', '.join(targets)}")
    if given.names:
        targets = {name: targets[name] for name in given.names}
    seconds = 10.0 if given.seconds is None and given.count is None else given.seconds
    return fuzz(targets, seed=given.seed, seconds=seconds, count=given.count)


if __name__ == "__main__":
    sys.exit(main())
