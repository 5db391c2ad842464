"""A connection for one exchange with an authorization server, closed at its deadline.

An idle connection that a balancer has forgotten would cost a whole read timeout, so none is kept.
A server that sends its answer one byte at a time never exceeds the read timeout, so the socket is
closed from another thread when the time is over.
"""

from __future__ import annotations

import contextlib
import copy
import socket
import threading
from functools import lru_cache
from typing import Any

from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3._collections import RecentlyUsedContainer

_here = threading.local()


class Exchange:
    """The sockets of one exchange. They are shut down when it has lasted ``seconds`` seconds."""

    def __init__(self, seconds: float) -> None:
        self.sockets: list[socket.socket] = []
        self.adapters: list[HTTPAdapter] = []
        #: Whether the time is over.
        self.is_over = False
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon, self._timer.name = True, "oauthcc-deadline"

    def __enter__(self) -> Exchange:
        self._outer, _here.exchange = getattr(_here, "exchange", None), self
        with contextlib.suppress(RuntimeError):  # there is no thread for it, for example at exit
            self._timer.start()
        return self

    def __exit__(self, *exception: object) -> None:
        _here.exchange = self._outer
        self._timer.cancel()
        for adapter in self.adapters:
            HTTPAdapter.close(adapter)  # not that of a subclass, which may close shared things

    def _end(self) -> None:
        self.is_over = True
        for sock in self.sockets:
            with contextlib.suppress(OSError):  # it is closed already
                # Not that of a TLS socket, which is not made for two threads.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)


class _Tracked:
    """A connection of urllib3 whose socket the exchange of its thread knows."""

    sock: Any

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        exchange = getattr(_here, "exchange", None)
        if exchange is not None:
            exchange.sockets.append(self.sock)


@lru_cache(maxsize=64)
def _tracked(pool: type[Any]) -> type[Any]:
    """Return a class of pools like this one, whose connections are tracked."""
    connection = pool.ConnectionCls
    tracked = type(connection.__name__, (_Tracked, connection), {})
    return type(pool.__name__, (pool,), {"ConnectionCls": tracked})


def _own_pools(manager: Any) -> Any:
    """Return a copy of a pool manager with the same settings and no connection."""
    if not isinstance(getattr(manager, "pools", None), RecentlyUsedContainer):
        return manager
    copied = copy.copy(manager)
    copied.pools = RecentlyUsedContainer(1, manager.pools.dispose_func)
    classes = manager.pool_classes_by_scheme
    copied.pool_classes_by_scheme = {scheme: _tracked(kind) for scheme, kind in classes.items()}
    return copied


class _OwnManagers(dict[str, Any]):
    """The proxy managers of an adapter for one exchange."""

    def __setitem__(self, proxy: str, manager: Any) -> None:
        manager.pool_classes_by_scheme = _own_pools(manager).pool_classes_by_scheme
        super().__setitem__(proxy, manager)


def for_one_exchange(adapter: BaseAdapter) -> BaseAdapter:
    """Return a copy of an adapter with connections of its own, if it is an `HTTPAdapter`.

    Outside of an exchange, return the adapter. Its own ``__copy__`` would lose what a subclass has
    set.
    """
    exchange = getattr(_here, "exchange", None)
    if exchange is None or not isinstance(adapter, HTTPAdapter):
        return adapter
    copied: HTTPAdapter = object.__new__(type(adapter))
    copied.__dict__.update(adapter.__dict__)
    copied.poolmanager = _own_pools(adapter.poolmanager)
    managers = _OwnManagers()
    for proxy, manager in adapter.proxy_manager.items():
        dict.__setitem__(managers, proxy, _own_pools(manager))
    copied.proxy_manager = managers
    exchange.adapters.append(copied)
    return copied
