"""Objects that a forked child must reset, because they own locks or sockets.

A child of ``fork`` has one thread, but a lock that another thread held stays locked. The child also
shares its sockets with the parent. Objects that own locks or sockets register here, and a method of
theirs is called in the child.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

import requests
from urllib3._collections import RecentlyUsedContainer

R = TypeVar("R")


class _Renewable(Protocol):
    def _after_fork(self) -> None: ...


#: Held while a module is imported at first use. A fork waits for that, because in the child the
#: lock of a module that another thread imports would never be free. Re-entrant for signal handlers.
importing: Any = threading.RLock()
# By identity: a subclass of a user may define __eq__ and so have no hash.
_known: weakref.WeakValueDictionary[int, _Renewable] = weakref.WeakValueDictionary()


class computed_once(Generic[R]):  # noqa: N801 - used like `functools.cached_property`
    """A property that is computed when it is first read.

    Before Python 3.12, that of functools has a lock for all objects of the class. In a child, it
    would never be free if another thread held it.
    """

    def __init__(self, compute: Callable[[Any], R]) -> None:
        self._compute = compute
        self.__doc__ = compute.__doc__

    def __get__(self, instance: Any, kind: type) -> R:
        found = vars(instance)[self._compute.__name__] = self._compute(instance)
        return found


def reset_in_child(thing: _Renewable) -> None:
    """Call ``thing._after_fork()`` in every child that is forked while the object exists."""
    _known[id(thing)] = thing


def living(kind: type[R]) -> list[R]:
    """Return the objects of a class that exist in this process."""
    found = [reference() for reference in _known.valuerefs()]  # a copy: other threads add objects
    return [thing for thing in found if isinstance(thing, kind)]


def reset_session(session: requests.Session) -> None:
    """Replace the connection pools and the lock of the cookie jar of a session in a child."""
    for adapter in list(session.adapters.values()):
        reset_adapter(adapter)
    with contextlib.suppress(AttributeError):  # requests accepts other cookie jars too
        session.cookies._cookies_lock = threading.RLock()  # type: ignore[attr-defined]


def reset_adapter(adapter: Any) -> None:
    """Replace the connection pools of an adapter, if it has pools of urllib3."""
    managers: list[Any] = [getattr(adapter, "poolmanager", None)]
    managers += dict(getattr(adapter, "proxy_manager", None) or {}).values()
    for manager in managers:
        pools = getattr(manager, "pools", None)
        if isinstance(pools, RecentlyUsedContainer):
            # Only the container is new: the manager keeps its settings, such as a TLS context.
            manager.pools = RecentlyUsedContainer(pools._maxsize, pools.dispose_func)
            for pool in list(pools._container.values()):
                _leave_to_parent(pool.pool)


def _leave_to_parent(idle: Any) -> None:
    """Close the child's copies of the idle sockets of a pool, without sending anything.

    The pool itself cannot close them, because its lock may be held. They cannot stay in the pool
    either: urllib3 empties every pool at exit and would wait for that lock without end.
    """
    if idle is None:  # the pool is closed
        return
    connections = list(idle.queue)
    idle.__init__(idle.maxsize)  # now empty, and with a new lock
    for connection in connections:
        sock = getattr(connection, "sock", None)  # a free place in the queue holds None
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.close()


def _in_child() -> None:
    with contextlib.ExitStack() as stack:  # calls all of them, even if one raises
        for thing in list(_known.values()):
            stack.callback(thing._after_fork)


if hasattr(os, "register_at_fork"):  # pragma: no branch - only Windows has none
    os.register_at_fork(before=importing.acquire, after_in_parent=importing.release)
    os.register_at_fork(after_in_child=importing.release)
    os.register_at_fork(after_in_child=_in_child)
