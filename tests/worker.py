"""A process with a session of its own that carries out commands, and the test's end of it.

The processes are forked from one that has imported all this and done nothing else, so sixteen of
them start at once. None of them is a child of the test's own process.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import mmap
import multiprocessing
import os
import pickle
import signal
import struct
import threading
import time
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any

import oauthcc.clock
from oauthcc import ClientCredentialsSession
from oauthcc.access_token import Token
from oauthcc.stores import FileStore, RedisStore, TokenStore, derived_keys

from .quick_scrypt import quick_scrypt

PATIENCE = 60.0


class Clock:
    """The clocks of several processes, moved at once: all of them map the file of the offset."""

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

    def install(self) -> None:
        """Replace the clocks of the library in this process."""
        oauthcc.clock.system = SimpleNamespace(
            monotonic=lambda: time.monotonic() + self.offset, time=self.time
        )


class Worker:
    """The test's end of such a process; leaving the `with` block ends it, by force if needed."""

    def __init__(self) -> None:
        processes = multiprocessing.get_context("forkserver")
        processes.set_forkserver_preload(["pytest", __name__, "filelock", "redis"])
        self._line, theirs = processes.Pipe()
        self._process = processes.Process(target=work, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def ask(self, do: str, **how: Any) -> None:
        """Send a command, and do not wait for its end."""
        self._line.send((do, how))

    def answer(self) -> Any:
        """Wait for the end of the command, and return its result."""
        while True:
            kind, value = self._next()
            if kind == "failed":
                raise AssertionError(f"the worker failed: {value}")
            if kind == "answer":
                return value

    def does(self, do: str, **how: Any) -> Any:
        """Send a command, and return its result."""
        self.ask(do, **how)
        return self.answer()

    def notes(self, note: str) -> None:
        """Wait until the process has sent this note."""
        while self._next() != ("note", note):
            pass

    def _next(self) -> tuple[str, Any]:
        assert self._line.poll(PATIENCE), "the worker sends nothing"
        message: tuple[str, Any] = self._line.recv()
        return message

    def kill(self) -> None:
        """End the process with `kill -9`."""
        self._process.kill()
        self._process.join(PATIENCE)

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process.is_alive():
            self.thaw()
        self._line.close()  # this ends it
        self._process.join(PATIENCE)
        self._process.kill()
        self._process.join(PATIENCE)
        self._process.close()


@contextlib.contextmanager
def workers(number: int) -> Iterator[list[Worker]]:
    """Start several processes."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Worker()) for _ in range(number)]


def all_do(workers: Iterable[Worker], do: str, **how: Any) -> list[Any]:
    """Send a command to several processes at once, and return the results."""
    several = list(workers)
    for worker in several:
        worker.ask(do, **how)
    return [worker.answer() for worker in several]


# -- what the process itself does ------------------------------------------------------------------


class Counted:
    """A store that counts its operations, and sends a note when its lock is asked for."""

    def __init__(self, store: TokenStore, line: Connection) -> None:
        self._store, self._line = store, line
        self.operations = 0

    def load(self, key: str) -> Token | None:
        self.operations += 1
        return self._store.load(key)

    def save(self, key: str, token: Token) -> None:
        self.operations += 1
        self._store.save(key, token)

    def lock(self, key: str, timeout: float) -> Any:
        self.operations += 1
        self._line.send(("note", "asks for the lock"))
        return self._store.lock(key, timeout)


class Session:
    """The session of the process, and the commands that it carries out."""

    def __init__(self, line: Connection) -> None:
        self._line = line
        self._session: ClientCredentialsSession | None = None
        self._store: Counted | None = None
        self._bypassed: list[tuple[str, str]] = []

    def make(
        self, arguments: list[str], store: str | None = None, clock: str | None = None
    ) -> None:
        """Make a session; ``store`` is an expression, ``clock`` the path of a `Clock`."""
        self.close()
        if clock is not None:
            Clock(Path(clock)).install()
        if store is not None:
            self._store = Counted(store_from(store), self._line)
        self._session = ClientCredentialsSession(
            *arguments, store=self._store, on_event=self._observe
        )

    def unpickle(self, session: bytes) -> None:
        """Use the session of another process."""
        self.close()
        self._session = pickle.loads(session)

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
        """Send a request; return the status, and the token that was sent."""
        assert self._session is not None
        response = self._session.get(url)
        header = response.request.headers["Authorization"]
        return response.status_code, header.encode().decode().partition(" ")[2]

    def operations(self, url: str, calls: int) -> int:
        """Send requests; return how many operations of the store they caused."""
        assert self._store is not None
        before = self._store.operations
        for _ in range(calls):
            self.get(url)
        return self._store.operations - before

    def count(self, store: str, key: str, rounds: int) -> None:
        """Use the stored token as a counter, and increase it this many times under the lock."""
        shared = store_from(store)
        for _ in range(rounds):
            with shared.lock(key, PATIENCE):
                token = shared.load(key)
                number = 0 if token is None else int(token.access_token)
                now = time.time()
                shared.save(key, Token(str(number + 1), issued_at=now, expires_at=now + 3600))

    def flights_done(self) -> None:
        """Wait until no flight is in progress."""
        for thread in threading.enumerate():
            if thread.name == "oauthcc-flight":
                thread.join(PATIENCE)

    def bypassed(self) -> list[tuple[str, str]]:
        """Return the operations of the store that failed, and their errors."""
        self.flights_done()
        return self._bypassed


def store_from(expression: str) -> TokenStore:
    store: TokenStore = eval(expression, {"FileStore": FileStore, "RedisStore": RedisStore})
    return store


def work(line: Connection) -> None:
    """Carry out commands until the connection is closed."""
    hashlib.scrypt = quick_scrypt  # as in the process of the test, so that keys are the same
    derived_keys.MEMORY = None
    session = Session(line)
    while True:
        try:
            do, how = line.recv()
        except EOFError:
            break
        try:
            line.send(("answer", getattr(session, do)(**how)))
        except Exception as error:  # noqa: BLE001 - the test raises it
            line.send(("failed", repr(error)))
    session.close()
    line.close()
