"""A child process that uses a store, and the class by which a test controls it.

It is run as ``python -m tests.store_child STORE KEY COMMAND``. STORE is a Python expression.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

from oauthcc.stores import FileStore, RedisStore, TokenStore

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 60.0


class Child:
    """A child process that uses a store; leaving the `with` block kills it."""

    def __init__(self, store: str, key: str, command: str, *, umask: int = -1) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.store_child", store, key, command],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def read_line(self) -> str:
        """Wait for the next line of the child and return it; '' if the child has ended."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def send(self) -> None:
        """Send the child a line, so that it continues."""
        assert self._process.stdin is not None
        self._process.stdin.write("continue\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        """End the child with `kill -9`."""
        self._process.kill()
        self._process.wait(PATIENCE)

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()


def write_line(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def heard() -> str:
    return sys.stdin.readline().strip()


def hold(store: TokenStore, key: str) -> None:
    """Wait for the lock, and hold it until a line arrives."""
    write_line("waiting")
    with store.lock(key, PATIENCE):
        write_line("held")
        sys.stdin.readline()
    write_line("released")


def hold_and_fork(store: TokenStore, key: str) -> None:
    """Hold the lock until a line arrives, while a forked child leaves the lock and stays alive.

    The child writes its process id when it has left the lock.
    """
    with store.lock(key, PATIENCE):
        child = os.fork()
        if child != 0:
            sys.stdin.readline()
    if child == 0:
        write_line(str(os.getpid()))
        os.close(1)
        time.sleep(PATIENCE)
        os._exit(0)
    write_line("released")
    sys.stdin.readline()


def main() -> None:
    """Run the command from the command line."""
    store, key, command = sys.argv[1:]
    made = eval(store, {"FileStore": FileStore, "RedisStore": RedisStore})
    {"hold": hold, "hold_and_fork": hold_and_fork}[command](made, key)


if __name__ == "__main__":
    main()
