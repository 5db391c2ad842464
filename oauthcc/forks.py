"""What a forked child must make anew: locks that may be held, sockets that are the parent's.

A child of ``fork`` has one thread, yet every lock is as it was when the others still ran; and its
sockets are the parent's too. Objects that own such things register here and are told in the child.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from typing import Any, Protocol

import requests
from urllib3._collections import RecentlyUsedContainer


class _Renewable(Protocol):
    def _after_fork(self) -> None: ...


# By identity, since a user's subclass may define __eq__ and so have no hash.
_known: weakref.WeakValueDictionary[int, _Renewable] = weakref.WeakValueDictionary()


def renewed_in_child(thing: _Renewable) -> None:
    """Have ``thing._after_fork()`` called in every child forked while it lives."""
    _known[id(thing)] = thing


def renew_session(session: requests.Session) -> None:
    """Give a session in a forked child its own connection pools and an unlocked cookie jar."""
    for adapter in list(session.adapters.values()):
        renew_adapter(adapter)
    with contextlib.suppress(AttributeError):  # any CookieJar will do for requests
        session.cookies._cookies_lock = threading.RLock()  # type: ignore[attr-defined]


def renew_adapter(adapter: Any) -> None:
    """Replace the pools of an adapter, where it has any that we know of."""
    managers: list[Any] = [getattr(adapter, "poolmanager", None)]
    managers += dict(getattr(adapter, "proxy_manager", None) or {}).values()
    for manager in managers:
        pools = getattr(manager, "pools", None)
        if isinstance(pools, RecentlyUsedContainer):
            # The manager keeps its settings (a TLS context, say): only the container is new.
            manager.pools = RecentlyUsedContainer(pools._maxsize, pools.dispose_func)
            for pool in list(pools._container.values()):
                _leave_to_parent(pool.pool)


def _leave_to_parent(idle: Any) -> None:
    """Close the child's copies of a pool's idle connections, without a word to the server.

    Not by way of the pool: its lock may be held. And not left as it is either, since urllib3
    empties every pool at exit, and there waits for that lock for ever.
    """
    if idle is None:  # the pool is closed
        return
    connections = list(idle.queue)
    idle.__init__(idle.maxsize)  # with a new lock, and empty
    for connection in connections:
        sock = getattr(connection, "sock", None)  # a place that is free holds None
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.close()


def _in_child() -> None:
    with contextlib.ExitStack() as every_one:  # also where an odd adapter makes one of them raise
        for thing in list(_known.values()):
            every_one.callback(thing._after_fork)


if hasattr(os, "register_at_fork"):  # pragma: no branch - only Windows has none
    os.register_at_fork(after_in_child=_in_child)
