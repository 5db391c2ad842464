"""Where a fetch runs, and how it is waited for: also under gevent and with tools for tests."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import requests

#: Seconds between two looks at a lock that greenlets must not wait for.
_POLL = 0.005


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

    try:
        run()
    finally:
        gevent.get_hub().destroy(destroy_loop=True)
