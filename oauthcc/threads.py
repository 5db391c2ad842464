"""Where a fetch runs, and how it is waited for: also under gevent and with tools for tests."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import requests

#: Seconds between two looks at a lock that greenlets must not wait for.
_POLL = 0.005
#: How many such looks the end of the process waits for threads that use a hub of gevent.
_LAST_LOOKS = 100
# The threads that use a hub, each with its process, because a fork copies this set.
_with_hub: set[tuple[int, object]] = set()


def start(thread: threading.Thread) -> None:
    """Start a thread; raise RuntimeError if there is none for it."""
    # Before Python 3.12, a thread would never begin, and its starter would wait for that.
    if sys.is_finalizing():
        raise RuntimeError("no thread can be started while the interpreter ends")
    thread.start()


def start_daemon(run: Callable[[], Any], name: str) -> None:
    """Run a function in the background; raise RuntimeError if there is no thread for it."""
    monkey: Any = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched("threading") and not _in_main_hub():
        # A thread is a greenlet of this thread then, and runs only while this thread waits for
        # something. One of gevent's pool waits for nothing when its call has ended.
        monkey.get_original("_thread", "start_new_thread")(_run_with_hub, (run,))
    else:
        start(threading.Thread(target=closing_hub(run), name=name, daemon=True))


def closing_hub(run: Callable[[], Any]) -> Callable[[], Any]:
    """Return a function that closes the hub of its thread after it, if that is a real thread.

    gevent makes a hub, with two descriptors, for each thread that uses a patched socket.
    """
    return partial(_run_with_hub, run) if _blocks_greenlets() else run


def acquire(lock: Any, seconds: float) -> bool:
    """Acquire a lock if that is possible within some seconds."""
    if not _blocks_greenlets():
        return bool(lock.acquire(timeout=seconds))
    # Who waits for a lock stops all greenlets of the thread.
    time.sleep(min(seconds, _POLL))
    return bool(lock.acquire(blocking=False))


def must_stay_in_caller() -> bool:
    """Return whether everything must run in the thread of the caller.

    requests-mock holds one lock around every send, with its redirects and hooks. If the caller
    waited for a thread there, that thread would wait for the caller. freezegun shows some threads
    another time than others, so no deadline would be right.
    """
    if getattr(requests.Session.send, "__module__", None) == "requests_mock.mocker":
        return True
    return time.monotonic.__module__ != "time" or time.time.__module__ != "time"


def _blocks_greenlets() -> bool:
    """Return whether gevent has patched sockets and not threads, as with `thread=False`."""
    monkey: Any = sys.modules.get("gevent.monkey")
    return (
        monkey is not None
        and bool(monkey.is_module_patched("socket"))
        and not monkey.is_module_patched("threading")
    )


def _in_main_hub() -> bool:
    import gevent

    return bool(gevent.get_hub().main_hub)


def _run_with_hub(run: Callable[[], Any]) -> None:
    import gevent

    mine = os.getpid(), object()
    _with_hub.add(mine)
    try:
        run()
    finally:
        gevent.get_hub().destroy(destroy_loop=True)
        _with_hub.discard(mine)


@atexit.register
def _wait_for_hubs() -> None:
    """Wait for the threads that use a hub, but not long.

    When the interpreter has ended, it stops each thread that wants to go on. The process crashes
    if such a thread is just switching between greenlets, as it is while it destroys its hub.
    """
    for _ in range(_LAST_LOOKS):  # not by a clock, which a tool may have stopped
        if os.getpid() not in [pid for pid, _ in list(_with_hub)]:
            break
        # gevent's own would switch to the hub of this thread.
        sys.modules["gevent.monkey"].get_original("time", "sleep")(_POLL)
