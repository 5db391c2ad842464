"""Mutation tests: change the code in one place, and see whether a test fails.

``make mutants`` runs this. mutmut makes the mutants. They are tested here, because mutmut collects
the tests again for each of them: here a worker collects all tests once, and forks for each mutant.
It runs the tests that call the changed function (the first run finds out which ones do), those of
its own module first, until one fails.

mutmut changes neither functions with decorators (except class methods) nor what is outside of
functions. Left out are mutants that only change a text for people.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import difflib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mutmut.mutation import trampoline
from mutmut.mutation.file_mutation import mutate_file_contents

FOLDERS = ("api_request", "tokens", "token_request", "stores")
ROOT = Path(__file__).resolve().parent.parent
#: The changed library with all mutants, and its tests.
PLACE = ROOT / "build" / "mutants"
COPIED = ("oauthcc", "tests", "examples", "docs", "benchmarks")
#: The tests that start many processes, that look at the source, and those of other folders.
LEFT_OUT = (
    *("docs", "documentation", "examples", "exit", "gevent", "imports", "language"),
    *("migration", "processes", "public_names", "servers_oidc", "soak", "fuzz"),
    *("authlib_server", "oidc_dpop", "oidc_methods", "oidc_provider", "raw_basic_server"),
    *("challenge", "frames", "jwt", "redaction", "secret", "settings", "testing", "urls"),
)
#: Seconds after which a test fails, in addition to ten times the time that it needs.
PATIENCE = 30.0
OUTCOMES = ("survived", "killed", "timeout", "untested")


def main() -> int:
    """Test a sample of the mutants of each file; print a table, and the mutants that survived."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path, help="default: all of four folders")
    parser.add_argument("--sample", type=int, default=30, help="for each file; 0: all mutants")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=60, help="for the tests of one mutant")
    given = parser.parse_args()
    files = [path.resolve().relative_to(ROOT) for path in given.files]
    os.chdir(ROOT)
    every = [path for f in FOLDERS for path in sorted(Path("oauthcc", f).glob("*.py"))]
    files = files or every
    found = prepare(every, files)
    chosen: dict[str, str] = {}
    for path in files:
        names = sorted(found[str(path)])
        number = min(given.sample or len(names), len(names))
        chosen |= dict.fromkeys(random.Random(f"{given.seed} {path}").sample(names, number), "")
    statistics = tests_of_functions(given.workers)
    jobs = [(name, tests_for(name, statistics, given.seconds)) for name in chosen]
    random.Random(given.seed).shuffle(jobs)
    for results in work([("test", jobs[n :: given.workers]) for n in range(given.workers)]):
        chosen |= results
    return show(files, found, chosen)


# -- the mutants -----------------------------------------------------------------------------------


def prepare(every: list[Path], files: list[Path]) -> dict[str, dict[str, str]]:
    """Write the library with all mutants; return those of each of the files with their changes."""
    shutil.rmtree(PLACE, ignore_errors=True)
    PLACE.mkdir(parents=True)
    for folder in COPIED:
        ignored = shutil.ignore_patterns("__pycache__", "node_modules")
        shutil.copytree(ROOT / folder, PLACE / folder, ignore=ignored)
    for path in (*ROOT.glob("*.md"), *ROOT.glob("*.toml"), *ROOT.glob("*.cfg"), ROOT / "Makefile"):
        shutil.copy(path, PLACE)
    found: dict[str, dict[str, str]] = {}
    for path in {*every, *files}:
        mutated = mutate_file_contents(str(path), path.read_text("utf-8"))
        (PLACE / path).write_text(mutated.code, "utf-8")
        if path not in files:
            continue
        functions = {
            node.name: node
            for node in ast.walk(ast.parse(mutated.code))
            if isinstance(node, ast.FunctionDef)
        }
        found[str(path)] = of_file = {}
        for name in mutated.mutant_names:
            original = functions[f"{name.rpartition('_')[0]}_orig"]
            mutant = functions[name]
            if without_texts(original) != without_texts(mutant):
                module = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
                of_file[f"{module}.{name}"] = difference(original, mutant)
    return found


def without_texts(function: ast.FunctionDef) -> str:
    """Return the code of a function without its texts for people, which contain a space."""
    (copied,) = ast.parse(ast.unparse(function)).body
    assert isinstance(copied, ast.FunctionDef)
    copied.name = ""
    for node in ast.walk(copied):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            node.value = " "
    return ast.dump(copied)


def difference(original: ast.FunctionDef, mutant: ast.FunctionDef) -> str:
    """Return the lines that differ."""
    before, after = (ast.unparse(f).splitlines()[1:] for f in (original, mutant))
    lines = difflib.unified_diff(before, after, n=0, lineterm="")
    return "\n".join(line for line in lines if not line.startswith(("---", "+++", "@@")))


# -- the tests of each function --------------------------------------------------------------------


def tests_of_functions(workers: int) -> dict[str, dict[str, float]]:
    """Return for each function the tests that call it, and how many seconds they take."""
    digest = hashlib.sha256()
    for path in sorted([*PLACE.rglob("*.py"), *PLACE.glob("*.toml")]):
        digest.update(path.read_bytes())
    kept = PLACE.with_name(f"mutants-{digest.hexdigest()[:16]}.json")
    if not kept.exists():
        sys.stderr.write("Run all tests once, to note which functions they call.\n")
        calls: dict[str, dict[str, float]] = defaultdict(dict)
        for result in work([("note", [n, workers]) for n in range(workers)]):
            for function, tests in result.items():
                calls[function] |= tests
        kept.write_text(json.dumps(calls))
    statistics: dict[str, dict[str, float]] = json.loads(kept.read_text())
    return statistics


def tests_for(
    mutant: str, statistics: dict[str, dict[str, float]], seconds: float
) -> dict[str, float]:
    """Return the tests for a mutant, those of its own module first, then the shortest first."""
    module = mutant.rpartition(".")[0].rpartition(".")[2]
    tests = statistics.get(mutant.rpartition("__mutmut_")[0], {})
    ordered = sorted(tests, key=lambda t: (f"test_{module}.py" not in t, tests[t]))
    chosen: dict[str, float] = {}
    for test in ordered:
        seconds -= tests[test]
        if seconds > 0:
            chosen[test] = tests[test]
    return chosen


# -- the workers -----------------------------------------------------------------------------------


def work(shares: list[tuple[str, Any]]) -> list[Any]:
    """Let one process do each share; return what they found."""
    processes = []
    for number, share in enumerate(shares):
        task = PLACE / f"task-{number}.json"
        task.write_text(json.dumps(share))
        command = [sys.executable, "-c", f"from tests import mutants; mutants.worker({number})"]
        environment = {**os.environ, "PYTHONPATH": str(PLACE)}
        processes.append(
            subprocess.Popen(command, cwd=PLACE, env=environment, stdout=subprocess.DEVNULL)
        )
    for process in processes:
        if process.wait() != 0:
            raise SystemExit("A worker has failed.")
    return [json.loads((PLACE / f"result-{n}.json").read_text()) for n in range(len(shares))]


def worker(number: int) -> None:
    """Collect the tests and do one share."""
    task, share = json.loads(Path(f"task-{number}.json").read_text())
    plugin = Noting(*share) if task == "note" else Testing(share)
    ignored = [f"--ignore=tests/test_{name}.py" for name in LEFT_OUT]
    quiet = ["-qq", "-p", "no:xdist", "-p", "no:cacheprovider", "--no-header", "--no-summary"]
    code = pytest.main([*quiet, "tests", *ignored], plugins=[plugin])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        sys.exit(f"The tests could not be run: {code!r}")
    Path(f"result-{number}.json").write_text(json.dumps(plugin.found))


class Noting:
    """The plugin that notes which functions a test calls."""

    def __init__(self, number: int, workers: int) -> None:
        self.number, self.workers = number, workers
        self.found: dict[str, dict[str, float]] = defaultdict(dict)
        self.has_failed = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.has_failed |= report.failed

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = items[self.number :: self.workers]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Any:
        called: set[str] = set()
        self.has_failed = False
        trampoline.record_trampoline_hit = lambda name, caller=None: called.add(name)
        trampoline._mutant_under_test = "stats"  # not in the environment: not in other processes
        begun = time.perf_counter()
        try:
            return (yield)
        finally:
            for name in called if not self.has_failed else ():  # it would fail for every mutant
                self.found[name][item.nodeid] = time.perf_counter() - begun


class Testing:
    """The plugin that forks for each mutant and runs its tests there."""

    def __init__(self, jobs: list[tuple[str, dict[str, float]]]) -> None:
        self.jobs = jobs
        self.found: dict[str, str] = {}
        self.has_failed = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.has_failed |= report.failed

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        items = {item.nodeid: item for item in session.items}
        for name, tests in self.jobs:
            chosen = [(items[test], seconds) for test, seconds in tests.items() if test in items]
            outcome = in_fork(lambda chosen=chosen, name=name: self.run(session, name, chosen))
            self.found[name] = OUTCOMES[outcome] if chosen else "untested"
            os.write(2, f"{len(self.found)}/{len(self.jobs)} {self.found[name]}: {name}\n".encode())
        return True

    def run(
        self, session: pytest.Session, name: str, tests: list[tuple[pytest.Item, float]]
    ) -> int:
        """Run tests with a mutant until one fails; return the number of the outcome."""
        os.environ["MUTANT_UNDER_TEST"] = name
        is_late = False

        def alarm(*_: object) -> None:
            nonlocal is_late
            if is_late:
                os._exit(OUTCOMES.index("timeout"))
            is_late = True
            signal.alarm(int(PATIENCE))
            raise TimeoutError("the test hangs")

        signal.signal(signal.SIGALRM, alarm)
        for number, (item, seconds) in enumerate(tests):
            signal.alarm(int(PATIENCE + 10 * seconds))
            following = tests[number + 1][0] if number + 1 < len(tests) else None
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if self.has_failed or is_late:
                session._setupstate.teardown_exact(None)
                return OUTCOMES.index("timeout" if is_late else "killed")
        return OUTCOMES.index("survived")


def in_fork(call: Callable[[], int]) -> int:
    """Make a call in a fork, and end all processes that it leaves; return its result."""
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            os._exit(call())
        except BaseException:  # noqa: BLE001 - the mutant has broken more than a test
            os._exit(OUTCOMES.index("killed"))
    _, status = os.waitpid(child, 0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(status)
    return code if 0 <= code < len(OUTCOMES) else OUTCOMES.index("killed")


# -- the result ------------------------------------------------------------------------------------


def show(files: list[Path], found: dict[str, dict[str, str]], results: dict[str, str]) -> int:
    """Print the results; return 1 if a mutant has survived."""
    lines = [f"{'file':45}" + "".join(f"{outcome:>10}" for outcome in OUTCOMES)]
    total: Counter[str] = Counter()
    for path in files:
        count = Counter(results[name] for name in found[str(path)] if name in results)
        total += count
        lines.append(f"{path!s:45}" + "".join(f"{count[outcome]:10}" for outcome in OUTCOMES))
    lines.append(f"{'together':45}" + "".join(f"{total[outcome]:10}" for outcome in OUTCOMES))
    for path in files:
        for name, change in found[str(path)].items():
            if results.get(name) in ("survived", "untested"):
                lines += ["", f"{path} {name.rpartition('.')[2]}: {results[name]}", change]
    sys.stdout.write("\n".join(lines) + "\n")
    return int(total["survived"] + total["untested"] > 0)


if __name__ == "__main__":
    sys.exit(main())
