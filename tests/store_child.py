"""A process of its own that uses a store as it is told, and the test's end of it.

Run as ``python -m tests.store_child STORE KEY WORD``, where STORE is an expression.
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
    """Start such a process; `with` ends it, by force if need be."""

    def __init__(self, store: str, key: str, word: str, *, umask: int = -1) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.store_child", store, key, word],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            umask=umask,
        )

    def says(self) -> str:
        """Wait for the next line of the child; '' where it has ended."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def tell(self, line: str = "go") -> None:
        """Give the child a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        """End it with `kill -9`."""
        self._process.kill()
        self._process.wait(PATIENCE)

    def ends(self) -> int:
        """Wait for its end and return its exit status."""
        return self._process.wait(PATIENCE)

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


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def heard() -> str:
    return sys.stdin.readline().strip()


def hold(store: TokenStore, key: str) -> None:
    """Wait for the lock, and hold it until told."""
    say("waits")
    with store.lock(key, PATIENCE):
        say("held")
        heard()
    say("released")


def hold_and_fork(store: TokenStore, key: str) -> None:
    """Hold the lock until told, while a forked child has left it behind and goes on living.

    The child says its process id, once, when it is out.
    """
    with store.lock(key, PATIENCE):
        child = os.fork()
        if child != 0:
            heard()
    if child == 0:
        say(str(os.getpid()))
        os.close(1)
        time.sleep(PATIENCE)
        os._exit(0)
    say("released")
    heard()


def main() -> None:
    """Do what the words on the command line say."""
    store, key, word = sys.argv[1:]
    made = eval(store, {"FileStore": FileStore, "RedisStore": RedisStore})
    {"hold": hold, "hold_and_fork": hold_and_fork}[word](made, key)


if __name__ == "__main__":
    main()
