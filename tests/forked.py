"""Forked children that run a function, for no longer than a test can wait."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest

#: Seconds after which a child that hangs prints its stack and ends. No test needs nearly as long.
PATIENCE = 30
#: The exit status of a child that would have waited without end.
HANGS = 42

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
# Python has warned of this since 3.12. It is what these tests are about.
fork_among_threads = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


class Child:
    """A child that runs a function and sends its result, which must pickle, to the parent."""

    def __init__(self, action: Callable[[], Any]) -> None:
        reader, writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            _run(action, reader, writer)
        os.close(writer)
        self._reader = reader

    def result(self) -> Any:
        """Wait for its end and return the result of the function; fail if the function failed."""
        status, done, value = self._end()
        assert status == 0, f"the child ended with {status}"
        assert done, value
        return value

    def status(self) -> int:
        """Wait for its end and return its exit status."""
        return self._end()[0]

    def _end(self) -> tuple[int, bool, Any]:
        with os.fdopen(self._reader, "rb") as pipe:
            sent = pipe.read()
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return status, *(pickle.loads(sent) if sent else (False, "it sent nothing"))


def _run(action: Callable[[], Any], reader: int, writer: int) -> None:
    # Not dump_traceback_later: its thread exists only in the parent.
    faulthandler.register(signal.SIGALRM, chain=True)
    signal.alarm(PATIENCE)
    os.close(reader)
    outcome: tuple[bool, Any]
    try:
        outcome = True, action()
    except BaseException:  # noqa: BLE001 - the parent raises it
        outcome = False, traceback.format_exc()
    with os.fdopen(writer, "wb") as pipe:
        pickle.dump(outcome, pipe)
    os._exit(0)


def in_child(action: Callable[[], Any]) -> Any:
    """Run a function in a forked child and return its result."""
    return Child(action).result()


@contextlib.contextmanager
def held_by_another_thread(lock: Any) -> Iterator[None]:
    """Hold a lock in another thread, which does not exist in a child that is forked meanwhile."""
    held, free = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            free.wait(PATIENCE)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(PATIENCE)
    try:
        yield
    finally:
        free.set()
        thread.join()


class ExitingLock:
    """A lock that ends a forked child with ``HANGS`` if a real one would wait without end."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._pid = os.getpid()

    def guard(self, queue: Any) -> None:
        """Replace the lock of a queue."""
        lock: Any = self
        queue.mutex = lock
        queue.not_empty = queue.not_full = queue.all_tasks_done = threading.Condition(lock)

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if os.getpid() == self._pid:
            return self._lock.acquire(blocking, timeout)
        taken = self._lock.acquire(blocking=False)
        if not taken and blocking:
            os._exit(HANGS)
        return taken

    def release(self) -> None:
        self._lock.release()

    def _is_owned(self) -> bool:  # asked by threading.Condition
        lock: Any = self._lock
        return bool(lock._is_owned())

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()
