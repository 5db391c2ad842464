"""How long processes that start together need until all of them have a token from one store.

All processes are started first, and a barrier lets them go, so that the time of imports is not
counted. ``all`` is the time from the first call until the last process has its token, divided by
the time that the token endpoint takes for an answer. ``one`` is the same for the median process,
from its own call. ``requests`` is the number of token requests. "by hand" is what one would write
without a library: a token in a JSON file, a `filelock.FileLock`, and a second look under the lock;
the secret is not part of the name of its file. "restarted" is a start with a valid token in the
store.

    python benchmarks/cold_start.py [runs]        default: 1, about 40 seconds
"""

from __future__ import annotations

import json
import multiprocessing
import os
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import filelock
import requests

from oauthcc import ClientCredentialsSession
from oauthcc.stores import FileStore

LATENCIES, PROCESSES = (0.1, 0.2, 0.5, 1.0), (1, 4, 16)
PATIENCE = 60.0
BY_HAND, OURS, RESTARTED = "by hand", "FileStore", "FileStore, restarted"


@dataclass(frozen=True)
class Figures:
    """The result of one start: ratios to the latency, and the number of token requests."""

    who: str
    latency: float
    processes: int
    all: float
    one: float
    requests: int


class Endpoint(BaseHTTPRequestHandler):
    """A token endpoint that answers after a while; a GET returns the number of its answers."""

    latency, answers = 0.0, 0

    def do_POST(self) -> None:
        """Answer with a new token."""
        self.rfile.read(int(self.headers["Content-Length"]))
        type(self).answers += 1
        time.sleep(self.latency)
        self._answer({"access_token": secrets.token_hex(16), "token_type": "Bearer"})

    def do_GET(self) -> None:
        """Set the latency to the path, and answer with the number of tokens until now."""
        type(self).latency = float(self.path[1:])
        self._answer({"answers": self.answers})

    def _answer(self, content: dict[str, Any]) -> None:
        body = json.dumps({"expires_in": 3600, **content}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Write nothing."""


def serve(pipe: Any) -> None:
    """Run the token endpoint in this process."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    pipe.send(f"http://127.0.0.1:{server.server_port}")
    server.serve_forever()


@contextmanager
def endpoint(context: Any) -> Iterator[str]:
    """Run the token endpoint in another process, and return its URL."""
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(there,), daemon=True)
    process.start()
    there.close()  # so that the end of the process is noticed
    try:
        yield here.recv()
    finally:
        process.terminate()
        process.join()


class ByHand:
    """A token in a JSON file."""

    def __init__(self, url: str, secret: str, folder: str) -> None:
        self.url, self.secret = url, secret
        self.path = Path(folder) / "token.json"
        self.lock = filelock.FileLock(Path(folder) / "token.lock")
        self.session = requests.Session()

    def load(self) -> str | None:
        """Return the token, if there is one that is valid."""
        try:
            found = json.loads(self.path.read_text())
        except FileNotFoundError:
            return None
        return found["access_token"] if found["expires_at"] > time.time() + 30 else None

    def get(self) -> str:
        """Return the token from the file, or a new one."""
        token = self.load()
        if token is None:
            with self.lock:
                token = self.load()
                if token is None:
                    body = {"grant_type": "client_credentials"}
                    answer = self.session.post(self.url, body, auth=("id", self.secret)).json()
                    token = str(answer["access_token"])
                    kept = {"access_token": token, "expires_at": time.time() + answer["expires_in"]}
                    draft = self.path.with_suffix(f".{os.getpid()}")
                    draft.write_text(json.dumps(kept))
                    draft.replace(self.path)
        return token


def started(place: tuple[str, str, str], who: str, barrier: Any, pipe: Any) -> None:
    """Be one of the processes: get a token, and send when that began and ended, and the token."""
    url, secret, folder = place
    if who == BY_HAND:
        get: Any = ByHand(url, secret, folder).get
    else:
        session = ClientCredentialsSession(url, "id", secret, store=FileStore(folder))
        get = session.tokens.get
    barrier.wait(PATIENCE)
    begun = time.monotonic()
    token = get()
    pipe.send((begun, time.monotonic(), str(getattr(token, "access_token", token))))


def start(context: Any, target: Any, number: int) -> list[tuple[float, float, str]]:
    """Start the processes, and return what each of them sent."""
    barrier, pipes = context.Barrier(number), [context.Pipe() for _ in range(number)]
    processes = [context.Process(target=target, args=(barrier, there)) for _, there in pipes]
    for process in processes:
        process.start()
    for _, there in pipes:
        there.close()
    reports = [here.recv() for here, _ in pipes]
    for process in processes:
        process.join()
    return reports


def measure(context: Any, url: str, latency: float, number: int) -> Iterator[Figures]:
    """Return the figures of each contender; they are measured one after the other."""
    for contenders in ((BY_HAND,), (OURS, RESTARTED)):
        # A new secret, so that nothing is left of an earlier run.
        secret = secrets.token_urlsafe()
        with tempfile.TemporaryDirectory() as folder:
            for who in contenders:
                before = requests.get(f"{url}/{latency}", timeout=PATIENCE).json()["answers"]
                target = partial(started, (url, secret, folder), who)
                reports = start(context, target, number)
                after = requests.get(f"{url}/{latency}", timeout=PATIENCE).json()["answers"]
                assert len({token for *_, token in reports}) == 1, "they did not share the token"
                begun, ended = min(r[0] for r in reports), max(r[1] for r in reports)
                one = statistics.median(r[1] - r[0] for r in reports)
                yield Figures(
                    who, latency, number, (ended - begun) / latency, one / latency, after - before
                )


def figures(runs: int = 1) -> list[dict[str, Any]]:
    """Return the figures of all starts, as medians over the runs, for a table or as JSON."""
    # With "forkserver", a process that imported everything forks the others, and has no thread.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "oauthcc.stores.file"])
    found: dict[tuple[str, float, int], list[Figures]] = {}
    with endpoint(context) as url:
        for _ in range(runs):
            for latency in LATENCIES:
                for number in PROCESSES:
                    for each in measure(context, url, latency, number):
                        found.setdefault((each.who, latency, number), []).append(each)
    return [
        asdict(each[0])
        | {
            name: statistics.median(getattr(one, name) for one in each)
            for name in ("all", "one", "requests")
        }
        for each in found.values()
    ]


def main() -> None:
    """Write the table."""
    rows = figures(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
    print(f"{'latency':>7} {'processes':>9} {'':21} {'all':>6} {'one':>6} {'requests':>8}")
    for row in sorted(rows, key=lambda row: (row["latency"], row["processes"])):
        print(
            f"{row['latency']:5.1f} s {row['processes']:9}  {row['who']:20}"
            f" {row['all']:6.2f} {row['one']:6.2f} {row['requests']:8.0f}"
        )


if __name__ == "__main__":
    main()
