"""What a request, an import and a session cost, compared with plain requests and other libraries.

    python benchmarks/compare.py             everything, less than ten minutes
    python benchmarks/compare.py --quick     everything with few repetitions, less than a minute
    python benchmarks/compare.py --only TEXT scenes whose name contains TEXT
    python benchmarks/compare.py --json FILE write the results to a file, too
    python benchmarks/compare.py --publish   write README.md, results.json and the charts, too

It prints Markdown. benchmarks/README.md says what is measured. Nothing is installed: missing
libraries are listed and left out. All connections are on loopback.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
# The library of this folder is measured, also if another one is installed.
sys.path[:0] = [str(HERE.parent), str(HERE)]

from comparing.library import missing, versions  # noqa: E402
from measuring import (  # noqa: E402
    children,
    faults,
    growth,
    idle,
    instructions,
    stores,
    tables,
    warm,
)
from measuring.cases import CASES  # noqa: E402
from measuring.contenders import ALL, OURS, PEERS, Plain, PlainAgain, Session, with_token  # noqa: E402

from oauthcc import __version__  # noqa: E402

RESULTS, README = HERE / "results.json", HERE / "README.md"
BEGIN, END = "<!-- figures: written by compare.py -->\n", "\n<!-- end of the figures -->"


def each(
    function: Callable[..., Any], names: Sequence[str], *arguments: Any, at_once: int = 1
) -> dict[str, Any]:
    """Call a function for each library in a process of its own."""
    with ThreadPoolExecutor(at_once) as pool:
        found = pool.map(lambda name: children.call(function, name, *arguments), names)
        return dict(zip(names, found, strict=True))


def count_instructions(*, is_quick: bool) -> dict[str, Any]:
    """Count the instructions of all cases for ours, and of a GET for the other libraries."""
    ours = [kind.name for kind in [Plain, *OURS]]
    cases = [case.name for case in CASES]
    jobs: list[tuple[str, list[str], list[str]]] = [
        ("null", ours, cases),
        ("loopback", ours, cases),
    ]
    jobs.append(("null", [kind.name for kind in PEERS], ["GET"]))
    found: dict[str, Any] = {
        "method": None if is_quick else instructions.method(),
        "null": {},
        "loopback": {},
    }
    if found["method"]:
        with ThreadPoolExecutor(2) as pool:
            counted = pool.map(lambda job: instructions.warm(job[1], job[2], job[0]), jobs)
        for (transport, *_), counts in zip(jobs, counted, strict=True):
            for case, by_name in counts.items():
                found[transport].setdefault(case, {}).update(by_name)
    return found


def measure_imports(*, is_quick: bool) -> dict[str, Any]:
    """Measure imports, and count the instructions of two of them."""
    counted = {} if is_quick else idle.import_instructions(["requests", "oauthcc"])
    return {"cpu": idle.imports(1 if is_quick else 15), "instructions": counted}


def measure_memory(*, is_quick: bool) -> dict[str, Any]:
    """Measure sessions of all libraries, and what many sessions and many origins cost."""
    names = [name for name in ALL if name != PlainAgain.name]
    counts = (100, 10) if is_quick else (1000, 50)
    many = 500 if is_quick else 10_000
    rounds, origins = (2, 500) if is_quick else (3, 10_000)
    with ThreadPoolExecutor(1) as pool:
        refusing = pool.submit(children.call, idle.refusing_origins, rounds, origins)
        return {
            "libraries": each(idle.memory, names, *counts),
            "many": each(idle.memory, [Plain.name, Session.name], many, 1),
            "origins": origins,
            "refusing": refusing.result(),
        }


def scenes(*, is_quick: bool) -> dict[str, Callable[[], Any]]:
    """Return the scenes by name."""
    seconds, names = 0.1 if is_quick else 2.5, with_token()
    latency, life, after = (0.05, 2, 1) if is_quick else (0.3, 10, 4)
    at_once = len(names) if is_quick else 4
    cases = [case.name for case in CASES]
    few = cases[:4] if is_quick else cases
    return {
        "warm, null": lambda: children.call(warm.warm, "null", cases, seconds),
        "warm, loopback": lambda: children.call(warm.warm, "loopback", few, seconds),
        "instructions": lambda: count_instructions(is_quick=is_quick),
        "growth": lambda: children.call(growth.growth, seconds, is_quick),
        "threads": lambda: each(faults.storms, names, latency, at_once=len(names) * is_quick or 1),
        "renewal": lambda: each(faults.renewal, names, life, life / 10, at_once=at_once),
        "outage": lambda: each(faults.outage, names, life * 3 // 2, after, at_once=at_once),
        "bodies": lambda: each(faults.bodies, names, at_once=2),
        "import": lambda: measure_imports(is_quick=is_quick),
        "memory": lambda: measure_memory(is_quick=is_quick),
        "stores": lambda: children.call(stores.cold_starts, is_quick),
    }


def run(only: str, *, is_quick: bool) -> dict[str, Any]:
    """Run the scenes, and return the results."""
    begun, found = time.monotonic(), {}
    for name, scene in scenes(is_quick=is_quick).items():
        if only in name:
            before = time.monotonic()
            found[name] = scene()
            print(f"{name}: {time.monotonic() - before:.0f} s", file=sys.stderr, flush=True)
    installed = [kind for kind in PEERS if not missing(kind)]
    return {
        "date": dt.datetime.now(dt.timezone.utc).date().isoformat(),
        "seconds": round(time.monotonic() - begun),
        "quick": is_quick,
        "machine": machine(),
        "versions": {"oauthcc": __version__, **versions(installed)},
        "missing": sorted({package for kind in PEERS for package in missing(kind)}),
        "scenes": found,
    }


def machine() -> str:
    """Return what this machine is."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = models[0] if models else platform.processor()
    return f"{os.cpu_count()} cores of {name or platform.machine()}, {platform.system()}"


def publish(results: dict[str, Any]) -> None:
    """Write the results, the tables of README.md and the charts."""
    import charts

    RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    figures = f"{before}{BEGIN}\n{tables.report(results)}\n{END}{after}"
    README.write_text(figures, encoding="utf-8")
    charts.draw(results)


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few repetitions")
    parser.add_argument("--only", default="", metavar="TEXT", help="scenes with this text")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results")
    parser.add_argument("--publish", action="store_true", help="write README and charts")
    options = parser.parse_args()
    if options.publish and options.only:
        parser.error("--publish writes one run of all scenes, so it cannot be used with --only")
    results = run(options.only, is_quick=options.quick)
    print(tables.report(results))
    if options.json:
        options.json.write_text(json.dumps(results, indent=1), encoding="utf-8")
    if options.publish:
        publish(results)


if __name__ == "__main__":
    main()
