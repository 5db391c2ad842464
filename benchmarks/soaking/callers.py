"""The threads that send requests to the API, in the parent and in forked children."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import itertools
import json
import logging
import os
import random
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import requests

from oauthcc import ClientCredentialsAuth, ClientCredentialsSession, TokenError
from oauthcc.stores import MemoryStore, RedisStore
from oauthcc.tokens.source import TokenSource

from . import bodies
from .journal import Call, Fork
from .world import SOURCE, World

TIMEOUTS: tuple[float | tuple[float, float], ...] = (5.0, (3.0, 3.0), (1.5, 1.5))
#: The share of calls to the route that refuses every token.
REFUSING = 0.1
#: Seconds for which a child works, and after which a child that has not ended is killed.
CHILD_SECONDS, CHILD_PATIENCE = 2.0, 40.0
#: Seconds for which fetches may continue after all sessions were closed: a stall, its retries, and
#: some more.
FETCH_PATIENCE = 15.0
_log = logging.getLogger("soak")


class Sessions:
    """All kinds of sessions, with the names of their sources."""

    def __init__(self, world: World) -> None:
        client = world.auth.token_url, world.auth.client_id, world.auth.client_secret
        store = MemoryStore()
        solo = ClientCredentialsSession(*client)
        plain = requests.Session()
        plain.auth = self._auth = ClientCredentialsAuth(*client)
        self.all: list[tuple[str, requests.Session]] = [
            ("solo", solo),
            ("solo", ClientCredentialsSession.using(solo.tokens)),
            ("pair", ClientCredentialsSession(*client, store=store)),
            ("pair", ClientCredentialsSession(*client, store=store)),
            ("plain", plain),
        ]
        self._redis = None
        if world.redis is not None:
            import redis

            self._redis = redis.Redis.from_url(world.redis.url)
            for _ in range(2):
                shared = RedisStore(self._redis)
                self.all.append(("redis", ClientCredentialsSession(*client, store=shared)))
        self.set_names("")

    def set_names(self, suffix: str) -> None:
        """Add a header with the name of the source to all requests."""
        self.all = [(name.partition("/")[0] + suffix, session) for name, session in self.all]
        for name, session in self.all:
            session.headers[SOURCE] = name
            self._source_of(session).endpoint.headers[SOURCE] = name

    def remove_plain(self) -> None:
        """Remove the plain session, which cannot be used after a fork in a process with threads."""
        self.all = [pair for pair in self.all if isinstance(pair[1], ClientCredentialsSession)]

    def close(self) -> None:
        """Close all sessions."""
        for _, session in self.all:
            session.close()
        self._auth.tokens.close()
        if self._redis is not None:
            self._redis.close()

    def _source_of(self, session: requests.Session) -> TokenSource:
        if isinstance(session, ClientCredentialsSession):
            return session.tokens
        return self._auth.tokens


@dataclass(frozen=True)
class Task:
    """The task of the callers: the API to call, the end, and what records each call."""

    url: str
    seed: str
    until: float
    record: Callable[[Call], None]


def run_callers(sessions: Sessions, task: Task, threads: int) -> None:
    """Send requests to the API in threads, and wait for all of them."""
    callers = [
        threading.Thread(
            target=_call_on,
            args=(*sessions.all[number % len(sessions.all)], task, f"{task.seed}-{number}"),
            name=f"caller-{number}",
        )
        for number in range(threads)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()


def _call_on(source: str, session: requests.Session, task: Task, seed: str) -> None:
    chance = random.Random(seed)
    for number in itertools.count():
        if time.monotonic() >= task.until:
            return
        task.record(_one_call(source, session, task.url, f"{seed}-{number}", chance))
        time.sleep(chance.uniform(0.0, 0.06))


def _one_call(
    source: str, session: requests.Session, url: str, name: str, chance: random.Random
) -> Call:
    body, timeout = bodies.draw(chance), chance.choice(TIMEOUTS)
    way = "hop" if body.kind == "none" and chance.random() < 0.3 else "call"
    url = f"{url}/{way}/{name}" if chance.random() > REFUSING else f"{url}/refusing?{name}"
    request = requests.Request("POST" if body.kwargs else "GET", url, **body.kwargs)
    begun, sha256 = time.monotonic(), body.sha256 or ""
    answered_to = answered_sha256 = detail = ""
    is_token_error = False
    try:
        prepared = session.prepare_request(request)
        if body.sha256 is None:
            made = (
                prepared.body if isinstance(prepared.body, bytes) else str(prepared.body).encode()
            )
            sha256 = hashlib.sha256(made).hexdigest()
        response = session.send(prepared, timeout=timeout)
        outcome = str(response.status_code)
        if response.status_code == requests.codes.ok:
            with contextlib.suppress(ValueError, KeyError):
                answered_to, answered_sha256 = (response.json()[k] for k in ("call", "sha256"))
    except Exception as error:  # noqa: BLE001 - the judge decides which are allowed
        outcome, is_token_error = type(error).__name__, isinstance(error, TokenError)
        detail = f"{error} / {traceback.format_exc()[-2000:]}"
        # The log is searched for tokens.
        _log.exception("call %s of %s failed with %r", name, source, error)
    ended = time.monotonic()
    for value in body.kwargs.values():
        if hasattr(value, "close"):
            value.close()
    total = float(sum(timeout)) if isinstance(timeout, tuple) else 2 * timeout
    return Call(
        name,
        source,
        body.kind,
        body.replayable,
        sha256,
        total,
        begun,
        ended,
        outcome,
        is_token_error,
        answered_to,
        answered_sha256,
        detail,
    )


class Forker(threading.Thread):
    """A thread that forks children while the other threads work, one after the other."""

    def __init__(
        self, world: World, sessions: Sessions, folder: Path, seed: int, until: float
    ) -> None:
        super().__init__(name="forker")
        self._world, self._sessions, self._folder = world, sessions, folder
        self._seed, self._until = seed, until
        self._chance = random.Random(seed)

    def run(self) -> None:
        """Fork children while there is time for a child to work."""
        for number in itertools.count(1):
            time.sleep(self._chance.uniform(0.2, 2.0))
            if time.monotonic() > self._until - CHILD_SECONDS:
                return
            journal = self._world.journal
            journal.forks[number] = Fork(number, time.monotonic())
            pid = os.fork()
            if pid == 0:
                self._run_child(number)
            if not _ends(pid, time.monotonic() + CHILD_PATIENCE):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                journal.left_over.append(f"child {number} hung and was killed")
                continue
            journal.read_child(self._folder / f"child-{number}.jsonl")

    def _run_child(self, number: int) -> None:
        report = self._folder / f"child-{number}.jsonl"
        try:
            log_to(self._folder / f"child-{number}.log")
            self._sessions.remove_plain()
            self._sessions.set_names(f"/{number}")
            _work_as_child(self._sessions, self._world.api.url, f"{self._seed}c{number}", report)
        except BaseException:  # noqa: BLE001 - a child must not continue in the parent's code
            report.write_text(json.dumps({"left_over": traceback.format_exc()}) + "\n")
        finally:
            os._exit(0)


def _work_as_child(sessions: Sessions, url: str, seed: str, report: Path) -> None:
    before = open_descriptors()
    calls: list[Call] = []
    until = time.monotonic() + CHILD_SECONDS
    run_callers(sessions, Task(url, seed, until, calls.append), 4)
    threads = threads_left()  # a thread that continues would open a closed session again
    sessions.close()
    lines = [call.to_json() for call in calls]
    left_over = [*threads, *descriptors_left(before)]
    lines += [json.dumps({"left_over": f"child {seed}: {left}"}) for left in left_over]
    report.write_text("\n".join(lines) + "\n")


def _ends(pid: int, deadline: float) -> bool:
    while time.monotonic() < deadline:
        if os.waitpid(pid, os.WNOHANG) != (0, 0):
            return True
        time.sleep(0.02)
    return False


def log_to(path: Path) -> None:
    """Send the log records of all loggers to this file, from DEBUG on."""
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s"))
    logging.root.handlers = [handler]
    logging.root.setLevel(logging.DEBUG)


def open_descriptors() -> dict[str, str]:
    """Return the target of each descriptor by number; empty if there is no /proc."""
    found: dict[str, str] = {}
    with contextlib.suppress(FileNotFoundError):
        for descriptor in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):
                found[descriptor.name] = str(descriptor.readlink())
    return found


def descriptors_left(before: dict[str, str]) -> list[str]:
    """Return the descriptors that were not open before."""
    gc.collect()
    now = open_descriptors().items()
    return [f"descriptor {number} {what}" for number, what in now if before.get(number) != what]


def threads_left(before: Iterable[threading.Thread] = ()) -> list[str]:
    """Wait for the end of all other threads, and return those that do not end."""
    deadline = time.monotonic() + FETCH_PATIENCE
    others = set(threading.enumerate()) - {threading.current_thread(), *before}
    for thread in others:
        thread.join(max(0.0, deadline - time.monotonic()))
    return [f"thread {thread.name}" for thread in others if thread.is_alive()]
