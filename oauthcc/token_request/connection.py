"""A connection for one exchange with an authorization server, closed at its deadline.

An idle connection that a balancer has forgotten would cost a whole read timeout, so none is kept.
A server that sends its answer one byte at a time never exceeds the read timeout, so the socket is
shut down from another thread when the time is over.
"""

from __future__ import annotations

import _socket
import contextlib
import socket
import threading
from functools import lru_cache, partial
from typing import Any, TypeVar

from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3._collections import RecentlyUsedContainer

from ..threads import start

T = TypeVar("T")
#: A timer cannot wait for any time; in seconds.
_LONGEST = 86400.0
_here = threading.local()


class TimeIsOver(Exception):
    """The time of an exchange is over, and its adapter goes on with it.

    It is no OSError, which an adapter with retries would answer by the next attempt.
    """


class Exchange:
    """The sockets of one exchange. They are shut down when it has lasted ``seconds`` seconds."""

    def __init__(self, seconds: float) -> None:
        #: Whether the time is over.
        self.is_over: bool = False
        self._sockets: list[Any] = []
        self._managers: list[Any] = []
        # Each adapter with its copy, and with what the copy began with.
        self._copies: list[tuple[HTTPAdapter, HTTPAdapter, dict[str, Any]]] = []
        self._timer = threading.Timer(min(seconds, _LONGEST), self._end)
        self._timer.daemon, self._timer.name = True, "oauthcc-deadline"

    def __enter__(self) -> Exchange:
        self._outer, _here.exchange = getattr(_here, "exchange", None), self
        with contextlib.suppress(RuntimeError):  # there is no thread for it, for example at exit
            start(self._timer)
        return self

    def __exit__(self, *exception: object) -> None:
        _here.exchange = self._outer
        self._timer.cancel()
        for manager in self._managers:
            manager.pools.clear()
        for adapter, copied, given in self._copies:
            # An adapter may count its requests, or keep the last one.
            for name, value in vars(copied).items():
                if name not in given or value is not given[name]:
                    vars(adapter)[name] = value
        # They refer to this exchange, and would wait for the garbage collector.
        self._sockets, self._managers, self._copies = [], [], []
        del self._timer

    def add_socket(self, sock: Any) -> None:
        """Shut this socket down too when the time is over."""
        self._sockets.append(sock)
        if self.is_over:  # since a moment ago
            _shut_down(sock)

    def copy(self, adapter: HTTPAdapter) -> HTTPAdapter:
        """Return a copy of an adapter with connections of its own.

        Its own ``__copy__`` would lose what a subclass has set.
        """
        copied = _shallow_copy(adapter)
        state = vars(copied)
        if "poolmanager" in state:  # a subclass may leave out the `__init__` of requests
            state["poolmanager"] = self._own_pools(state["poolmanager"])
        if type(state.get("proxy_manager")) is dict:
            managers = _OwnManagers(self)
            for proxy, manager in list(state["proxy_manager"].items()):  # others may add to it
                dict.__setitem__(managers, proxy, self._own_pools(manager))
            state["proxy_manager"] = managers
        self._copies.append((adapter, copied, dict(state)))
        return copied

    def _own_pools(self, manager: Any) -> Any:
        """Return a copy of a pool manager with the same settings and no connection."""
        if not isinstance(getattr(manager, "pools", None), RecentlyUsedContainer):
            return manager
        copied = _shallow_copy(manager)
        self.adopt(copied)
        return copied

    def adopt(self, manager: Any) -> None:
        """Take all connections out of a pool manager, and note those that it makes."""
        manager.pools = RecentlyUsedContainer(8, lambda pool: pool.close())
        classes = manager.pool_classes_by_scheme
        manager.pool_classes_by_scheme = {
            scheme: partial(self._pool, kind) for scheme, kind in classes.items()
        }
        self._managers.append(manager)

    def _pool(self, kind: Any, *args: Any, **kwargs: Any) -> Any:
        pool = _tracked(kind, getattr(kind, "ConnectionCls", None))(*args, **kwargs)
        pool.exchange = self
        return pool

    def _end(self) -> None:
        self.is_over = True
        for sock in list(self._sockets):
            _shut_down(sock)


def _shallow_copy(value: T) -> T:
    copied: T = object.__new__(type(value))
    vars(copied).update(vars(value))
    return copied


def _shut_down(sock: Any) -> None:
    # Not with the method of its class: those of TLS and of gevent are not made for two threads.
    for name in (None, "_sock", "socket"):
        with contextlib.suppress(OSError):  # it is closed already
            inner = sock if name is None else getattr(sock, name, None)
            if isinstance(inner, _socket.socket):
                _socket.socket.shutdown(inner, socket.SHUT_RDWR)


class _TrackedPool:
    """A pool of urllib3 whose connections know the exchange that they are made for.

    An adapter may send in a thread of its own.
    """

    exchange: Exchange

    def _new_conn(self) -> Any:
        made = super()._new_conn()  # type: ignore[misc]
        made.exchange = self.exchange
        return made


class _TrackedConnection:
    """A connection of urllib3 that adds its sockets to an exchange."""

    exchange: Exchange
    sock: Any

    def _new_conn(self) -> Any:
        # Before the tunnel of a proxy, which may send its answer one byte at a time too.
        sock = super()._new_conn()  # type: ignore[misc]
        self.exchange.add_socket(sock)
        return sock

    def _tunnel(self) -> None:
        super()._tunnel()  # type: ignore[misc]
        if self.exchange.is_over:  # the beginning of an answer counts as one
            raise TimeIsOver

    def connect(self, *args: Any, **kwargs: Any) -> None:
        if self.exchange.is_over:
            raise TimeIsOver
        super().connect(*args, **kwargs)  # type: ignore[misc]
        self.exchange.add_socket(self.sock)  # that of TLS


@lru_cache(maxsize=64)
def _tracked(pool: Any, connection: Any) -> Any:
    """Return a class of pools like this one, with a class of connections that are tracked.

    The class of connections is an argument, because recorders replace it for some time.
    """
    if not isinstance(connection, type):
        return pool
    tracked = type(connection.__name__, (_TrackedConnection, connection), {})
    return type(pool.__name__, (_TrackedPool, pool), {"ConnectionCls": tracked})


class _OwnManagers(dict[str, Any]):
    """The proxy managers of an adapter for one exchange."""

    def __init__(self, exchange: Exchange) -> None:
        super().__init__()
        self._exchange = exchange

    def __setitem__(self, proxy: str, manager: Any) -> None:
        self._exchange.adopt(manager)  # it is new, and the adapter goes on with this object
        super().__setitem__(proxy, manager)


def for_one_exchange(adapter: BaseAdapter) -> BaseAdapter:
    """Return a copy of an adapter for the exchange of this thread, if it is an `HTTPAdapter`.

    Outside of an exchange, return the adapter.
    """
    exchange: Exchange | None = getattr(_here, "exchange", None)
    # By its type: a mock claims to be an instance.
    if exchange is None or not issubclass(type(adapter), HTTPAdapter):
        return adapter
    assert isinstance(adapter, HTTPAdapter)  # noqa: S101 - as its type says
    return exchange.copy(adapter)
