"""A soak test of the library: threads, forks, short-lived tokens, revocations and faults.

For ``--seconds``, a dozen threads and forked children send requests with bodies of all kinds to an
API. Meanwhile tokens are valid for 1 to 5 seconds and are revoked at random, both servers fail in
every way that oauthcc.testing.faults has, and are down from time to time. All random choices come
from ``--seed``; the order in which threads run does not.

It prints a table, and exits with 1 unless all of these numbers are zero (soaking/judge.py defines
them exactly):

- calls lost: an error or a status that nothing explains which was done to this call;
- calls wrong: the answer to another call, other bytes than the body, or sent too often;
- calls late: longer than their ``timeout=`` allows;
- tokens leaked: a token or the secret in anything logged at DEBUG, including tracebacks;
- threads, descriptors left over: after everything was closed, in the parent and in every child;
- token requests that were needless, too fast after failures, or concurrent from one source.
"""

from __future__ import annotations

import argparse
import base64
import re
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path

from soaking.callers import (
    Forker,
    Sessions,
    Task,
    descriptors_left,
    log_to,
    open_descriptors,
    run_callers,
    threads_left,
)
from soaking.journal import Journal
from soaking.judge import Judge, Verdict
from soaking.world import FaultInjector, World

THREADS = 12
#: The form of the tokens of this run, to find them quickly in a long log.
_TOKEN = re.compile(r"[A-Za-z0-9]{30}")


def soak(seconds: float, seed: int, folder: Path) -> tuple[Journal, list[str]]:
    """Run the soak test; return the journal, and the places where tokens leaked."""
    log_to(folder / "parent.log")
    threads, descriptors = set(threading.enumerate()), open_descriptors()
    with World() as world:
        sessions, injector = Sessions(world), FaultInjector(world, seed)
        until = time.monotonic() + seconds
        forker = Forker(world, sessions, folder, seed, until)
        injector.start()
        forker.start()
        task = Task(world.api.url, str(seed), until, world.journal.record)
        run_callers(sessions, task, THREADS)
        forker.join()
        injector.stop()
        sessions.close()
        issued = world.auth.issued
    world.journal.left_over += threads_left(threads)
    del world.auth.now
    world.journal.left_over += descriptors_left(descriptors)
    pair = f"{world.auth.client_id}:{world.auth.client_secret}".encode()
    secrets = {world.auth.client_secret, base64.b64encode(pair).decode()}
    return world.journal, leaks(folder, set(issued), secrets)


def leaks(folder: Path, tokens: set[str], secrets: set[str]) -> list[str]:
    """Return the lines of the logs that contain a token or the secret."""
    found: list[str] = []
    for log in sorted(folder.glob("*.log")):
        for number, line in enumerate(log.read_text().splitlines(), 1):
            if tokens.intersection(_TOKEN.findall(line)) or any(s in line for s in secrets):
                found.append(f"{log.name}:{number}")
    return found


def report(journal: Journal, verdict: Verdict, leaked: list[str]) -> int:
    """Print the tables and the findings; return the number of findings."""
    findings = {
        "calls lost": verdict.lost,
        "calls wrong": verdict.wrong,
        "calls late": verdict.late,
        "tokens leaked": leaked,
        "threads, descriptors left over": journal.left_over,
        "token requests needless": verdict.needless,
        "token requests too fast": verdict.too_fast,
        "token requests concurrent": verdict.concurrent,
    }
    counts = {
        "calls": len(journal.calls),
        "requests to the API": len(journal.attempts),
        "token requests": len(journal.token_requests),
        "tokens obtained": sum(request.token is not None for request in journal.token_requests),
        "revocations": journal.revocations,
        "faults injected": journal.faults,
        "children forked": len(journal.forks),
    }
    for table in (
        counts,
        dict(verdict.explained.most_common()),
        {name: len(lines) for name, lines in findings.items()},
    ):
        print("\n".join(f"{count:8,}  {name}" for name, count in table.items()), end="\n\n")
    for name, lines in findings.items():
        for line in lines[:10]:
            print(f"{name}: {line}")
    return sum(map(len, findings.values()))


def main() -> int:
    """Run the soak test with the options of the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    # Python warns of forks in a process with threads since 3.12; this test forks on purpose.
    warnings.filterwarnings("ignore", ".*fork.*", DeprecationWarning)
    print(f"{options.seconds:g} seconds with --seed {options.seed}\n")
    with tempfile.TemporaryDirectory() as folder:
        journal, leaked = soak(options.seconds, options.seed, Path(folder))
        return 1 if report(journal, Judge(journal).judge(), leaked) else 0


if __name__ == "__main__":
    sys.exit(main())
