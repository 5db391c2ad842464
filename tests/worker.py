"""A process with a session of its own that does as it is told, and the test's end of it.

Run as ``python -m tests.worker``. Told and answered in JSON, a line each.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import mmap
import os
import pickle
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from oauthcc import ClientCredentialsSession, renewal
from oauthcc.access_token import Token
from oauthcc.stores import FileStore, RedisStore, TokenStore

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 60.0


class Clock:
    """Move the clocks of several processes at once: the offset lies in a file that all map."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(struct.pack("d", 0.0))
        with path.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), 8)
        self.path = path

    @property
    def offset(self) -> float:
        return float(struct.unpack("d", self._shared[:8])[0])

    def advance(self, seconds: float) -> None:
        self._shared[:8] = struct.pack("d", self.offset + seconds)

    def time(self) -> float:
        return time.time() + self.offset

    def now(self) -> renewal.Instant:
        return renewal.Instant(time.monotonic() + self.offset, time.time() + self.offset)


class Worker:
    """Start such a process; `with` ends it, by force if need be."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.worker"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, do: str, **how: Any) -> None:
        """Tell it to do something, and do not wait for it."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **how}) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        """Wait until it has done what was asked, and return what came of it."""
        while True:
            line = self._next()
            if "failed" in line:
                raise AssertionError(f"the worker failed: {line['failed']}")
            if "answer" in line:
                return line["answer"]

    def does(self, do: str, **how: Any) -> Any:
        """Tell it to do something, and return what came of it."""
        self.ask(do, **how)
        return self.answer()

    def notes(self, note: str) -> None:
        """Wait until it says that it has come to some point."""
        while self._next().get("note") != note:
            pass

    def _next(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the worker has ended"
        told: dict[str, Any] = json.loads(line)
        return told

    def kill(self) -> None:
        """End it with `kill -9`."""
        self._process.kill()
        self._process.wait(PATIENCE)

    def freeze(self) -> None:
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self._process.pid, signal.SIGCONT)

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self.thaw()
        self.dismiss()
        try:
            self._process.wait(PATIENCE)
        finally:
            self._process.kill()
            self._process.wait(PATIENCE)
            self._process.stdout.close()  # type: ignore[union-attr]

    def dismiss(self) -> None:
        """Let it end: the end of its input is its own."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()  # type: ignore[union-attr]


@contextlib.contextmanager
def workers(number: int) -> Iterator[list[Worker]]:
    """Start several at once."""
    with contextlib.ExitStack() as stack:
        started = [stack.enter_context(Worker()) for _ in range(number)]
        yield started
        for worker in started:
            worker.dismiss()


def all_do(told: Iterable[Worker], do: str, **how: Any) -> list[Any]:
    """Tell several to do something at once, and return what came of it."""
    told = list(told)
    for worker in told:
        worker.ask(do, **how)
    return [worker.answer() for worker in told]


# -- from here on, what the process itself does ---------------------------------------------------


def say(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


class Counted:
    """Count what is asked of a store, and say when its lock is asked for."""

    def __init__(self, store: TokenStore) -> None:
        self._store = store
        self.operations = 0

    def load(self, key: str) -> Token | None:
        self.operations += 1
        return self._store.load(key)

    def save(self, key: str, token: Token) -> None:
        self.operations += 1
        self._store.save(key, token)

    def lock(self, key: str, timeout: float) -> Any:
        self.operations += 1
        say(note="asks for the lock")
        return self._store.lock(key, timeout)


class Session:
    """Hold what the process has: one session, and what it said."""

    def __init__(self) -> None:
        self._session: ClientCredentialsSession | None = None
        self._store: Counted | None = None
        self._bypassed: list[tuple[str, str]] = []

    def make(
        self, arguments: list[str], store: str | None = None, clock: str | None = None
    ) -> None:
        """Make the session anew; ``store`` is an expression, ``clock`` the path of a `Clock`."""
        self.close()
        if clock is not None:
            renewal.now = Clock(Path(clock)).now
        if store is not None:
            self._store = Counted(eval(store, {"FileStore": FileStore, "RedisStore": RedisStore}))
        self._session = ClientCredentialsSession(
            *arguments, store=self._store, on_event=self._observe
        )

    def unpickle(self, session: str) -> None:
        """Take a session that another process had."""
        self.close()
        self._session = pickle.loads(bytes.fromhex(session))

    def close(self) -> None:
        if self._session is not None:
            self._session.close()
        self._session = self._store = None
        self._bypassed = []

    def _observe(self, event: Any) -> None:
        if type(event).__name__ == "StoreBypassed":
            self._bypassed.append((event.operation, type(event.error).__name__))

    def patch(self, module: str, name: str, value: Any) -> None:
        setattr(importlib.import_module(module), name, value)

    def get(self, url: str) -> tuple[int, str]:
        """Make a call; return its status, and the token it carried."""
        assert self._session is not None
        response = self._session.get(url)
        header = response.request.headers["Authorization"]
        return response.status_code, header.encode().decode().partition(" ")[2]

    def operations(self, url: str, calls: int) -> int:
        """Make calls, and count what they ask of the store."""
        assert self._store is not None
        before = self._store.operations
        for _ in range(calls):
            self.get(url)
        return self._store.operations - before

    def landed(self) -> None:
        """Wait until no flight is under way."""
        for thread in threading.enumerate():
            if thread.name == "oauthcc-flight":
                thread.join(PATIENCE)

    def bypassed(self) -> list[tuple[str, str]]:
        """Return what failed in the store, and how."""
        self.landed()
        return self._bypassed


def main() -> None:
    """Do what is told, line by line, until there are no more lines."""
    session = Session()
    for line in sys.stdin:
        how = json.loads(line)
        try:
            say(answer=getattr(session, how.pop("do"))(**how))
        except Exception as error:  # noqa: BLE001 - it is told
            say(failed=repr(error))
    session.close()


if __name__ == "__main__":
    main()
