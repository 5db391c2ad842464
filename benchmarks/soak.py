"""Soak the library: many threads, forks, short lives of tokens, revocations, faults at both ends.

For ``--seconds`` a dozen threads, and children forked in the midst of it, call an API with bodies
of all kinds, while tokens live for 1 to 5 seconds and are revoked at random, both servers fail in
every way that oauthcc.testing.faults knows, and go down altogether. What is drawn is drawn from
``--seed``; how the threads meet is up to the machine.

It prints a table, and exits with 1 unless all of these are zero. What they mean in so many words
is told in soaking/judge.py:

- calls lost: an error or a status that nothing done to this call explains;
- calls wrong: another caller's answer, other bytes than the body, or sent too often;
- calls late: beyond what their ``timeout=`` allows;
- tokens leaked: a token or the secret in anything logged at DEBUG, tracebacks included;
- threads, descriptors left over: once all is closed, in the parent and in every child;
- token requests that were needless, came too fast after failures, or two at once from one source.
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
    flights_left,
    log_to,
    open_descriptors,
    run_callers,
)
from soaking.journal import Journal
from soaking.judge import Judge, Verdict
from soaking.world import Gremlin, World

THREADS = 12
#: What tokens look like here, so that they are found quickly in a long log.
_TOKEN = re.compile(r"[A-Za-z0-9]{30}")


def soak(seconds: float, seed: int, folder: Path) -> tuple[Journal, list[str]]:
    """Run it; return what was noted, and the tokens that were leaked."""
    log_to(folder / "parent.log")
    threads, descriptors = set(threading.enumerate()), open_descriptors()
    with World() as world:
        sessions, gremlin = Sessions(world), Gremlin(world, seed)
        until = time.monotonic() + seconds
        forker = Forker(world, sessions, folder, seed, until)
        gremlin.start()
        forker.start()
        task = Task(world.api.url, str(seed), until, world.journal.note)
        run_callers(sessions, task, THREADS)
        forker.join()
        gremlin.stop()
        sessions.close()
        issued = world.auth.issued
    world.journal.left_over += [left for left in flights_left() if left not in threads]
    del world.auth.now
    world.journal.left_over += descriptors_left(descriptors)
    pair = f"{world.auth.client_id}:{world.auth.client_secret}".encode()
    secrets = {world.auth.client_secret, base64.b64encode(pair).decode()}
    return world.journal, leaks(folder, set(issued), secrets)


def leaks(folder: Path, tokens: set[str], secrets: set[str]) -> list[str]:
    """Return where a token or the secret stands in a log."""
    found: list[str] = []
    for log in sorted(folder.glob("*.log")):
        for number, line in enumerate(log.read_text().splitlines(), 1):
            if tokens.intersection(_TOKEN.findall(line)) or any(s in line for s in secrets):
                found.append(f"{log.name}:{number}")
    return found


def report(journal: Journal, verdict: Verdict, leaked: list[str]) -> int:
    """Print the table and what was found; return the number of findings."""
    findings = {
        "calls lost": verdict.lost,
        "calls wrong": verdict.wrong,
        "calls late": verdict.late,
        "tokens leaked": leaked,
        "threads, descriptors left over": journal.left_over,
        "token requests needless": verdict.needless,
        "token requests too fast": verdict.hammering,
        "token requests at once": verdict.at_once,
    }
    done = {
        "calls": len(journal.calls),
        "requests to the API": len(journal.attempts),
        "token requests": len(journal.token_requests),
        "tokens obtained": sum(request.token is not None for request in journal.token_requests),
        "revocations": journal.revocations,
        "faults ordered": journal.faults,
        "children forked": len(journal.forks),
    }
    for table in (
        done,
        dict(verdict.explained.most_common()),
        {k: len(v) for k, v in findings.items()},
    ):
        print("\n".join(f"{count:8,}  {what}" for what, count in table.items()), end="\n\n")
    for what, lines in findings.items():
        for line in lines[:10]:
            print(f"{what}: {line}")
    return sum(map(len, findings.values()))


def main() -> int:
    """Read the command line, run, and judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    # What Python warns of since 3.12, forks among threads, is what is tried here.
    warnings.filterwarnings("ignore", ".*fork.*", DeprecationWarning)
    print(f"{options.seconds:g} seconds with --seed {options.seed}\n")
    with tempfile.TemporaryDirectory() as folder:
        journal, leaked = soak(options.seconds, options.seed, Path(folder))
        return 1 if report(journal, Judge(journal).judge(), leaked) else 0


if __name__ == "__main__":
    sys.exit(main())
