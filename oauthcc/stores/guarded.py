"""A token store that may fail or hang: it is reported and bypassed, and is not an outage.

The order of operations in one fetch: `find` looks for a token, waits for the lock, and looks again.
If there is none, the fetch requests a token and calls `save`. `settle` then saves it and releases
the lock: first for as long as callers may be kept waiting, and, when they have the token, until the
end.
Each call of the store has a limit (see calls.py).
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import time
import traceback
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from ..access_token import Token
from ..errors import ConfigurationError, OAuthCCError
from ..frames import raised_at
from .base import ACCESS_TOKEN, Saved, TokenStore, UntilSaved
from .calls import GivenUp, Stopped, StoreCall

T = TypeVar("T")

#: Seconds that a call of a store may take, and that those before the token request may take
#: together. The time that `lock` was told to wait is not counted.
LIMIT = 2.0
#: Seconds that callers wait for their token to be saved.
SAVE_PATIENCE = 0.25
#: Seconds of waiting for the lock after which a waiter looks whether the token is already there.
#: Without this, thousands of waiters would take the lock one after the other to find one token.
LOOK_EVERY = 1.0

_OUR_MODULES = {f"{__package__}.{name}" for name in ("file", "memory", "redis")}


def _nothing(result: object) -> None:
    """Ignore the result of a late call."""


class GuardedStore:
    """A token store whose failures are reported and bypassed, for one fetch.

    After the first failure the store is not used again. The next fetch tries it again. ``report``
    is called with the operation that failed and an error that quotes nothing. ``newest`` returns
    the newest token for the key that this process knows. If ``on_threads`` is False, the store is
    called in this thread, and without limits.
    """

    def __init__(
        self,
        store: TokenStore,
        key: str,
        report: Callable[[str, Exception], None],
        newest: Callable[[], Token | None],
        *,
        on_threads: bool,
    ) -> None:
        self._store = store
        self._key = key
        self._report = report
        self._newest = newest
        self._on_threads = on_threads
        self._is_broken = False
        self._left = LIMIT
        self._lock: contextlib.ExitStack | None = None
        # What `settle` has to do: a call that has begun, and the steps after it.
        self._current: tuple[str, StoreCall[Any]] | None = None
        self._steps: deque[tuple[str, Callable[[], Any], Callable[[Any], Any]]] = deque()
        #: Whether the lock was held by somebody else when it was first tried.
        self.has_waited: bool = False

    def find(self, patience: float, accept: Callable[[Token], T | None]) -> T | None:
        """Look for a token; if there is none, wait for the lock and look again.

        Return what ``accept`` returns for the stored token. None means: fetch a token and `save`
        it. The lock is held in that case, unless the store failed, or somebody else held the lock
        before. That one has left no token, because it could not fetch or save one. If those who
        waited held the lock too, the last of them would wait for all the others.
        """
        until = time.monotonic() + patience
        found, timeout = self.look(accept), 0.0
        while found is None and not self._enter(timeout, until):
            self.has_waited, timeout = True, LOOK_EVERY
            self._left = LIMIT  # the wait for somebody else is longer than this
            found = self.look(accept)
        if found is None:
            found = self.look(accept)  # another process may have saved one meanwhile
        if found is not None or self.has_waited:
            self.settle(0.0)
        return found

    def look(self, accept: Callable[[Token], T | None]) -> T | None:
        """Return what ``accept`` returns for the stored token, or None if there is no token."""
        if self._is_broken:
            return None
        try:
            token = self._result("load", lambda: _checked(self._store.load(self._key)))
        except Exception as error:  # noqa: BLE001 - a store that is down is not an outage
            self._fail("load", error)
            return None
        return None if token is None else accept(token)

    def save(self, token: Token) -> None:
        """Let `settle` save a token, if the store works."""

        def save_newest(saved: Token) -> None:
            # This one was saved so late that it may have replaced a newer one.
            newest = self._newest()
            while newest is not None and newest is not saved:
                self._store.save(self._key, newest)
                saved, newest = newest, self._newest()

        def save() -> Token:
            self._store.save(self._key, token)
            return token

        if not self._is_broken:
            self._steps.append(("save", save, save_newest))

    def settle(self, seconds: float = math.inf) -> None:
        """Save the token and release the lock, as far as that takes at most ``seconds`` seconds.

        The next call does the rest.
        """
        until = time.monotonic() + seconds
        if self._lock is not None:  # it is released although the store may have failed meanwhile
            self._steps.append(("unlock", self._lock.close, _nothing))
            self._lock = None
        while self._current is not None or self._steps:
            if self._current is None:
                operation, action, if_late = self._steps.popleft()
                self._current = operation, self._begin(operation, action, LIMIT, if_late)
            operation, call = self._current
            if not call.ends_within(until - time.monotonic()):
                break
            self._current = None
            try:
                call.result()
            except Exception as error:  # noqa: BLE001 - as above
                self._fail(operation, error)

    def _enter(self, timeout: float, until: float) -> bool:
        """Return whether to go on, with the lock or without it; False: look and try again."""
        if self._is_broken:
            return True
        begun = time.monotonic()
        enter = partial(_entered, self._store, self._key, timeout)
        try:
            self._lock = self._result("lock", enter, contextlib.ExitStack.close, timeout)
        except TimeoutError as error:
            # The holder of the lock is slow or dead, but the store itself may work. A store that
            # does not wait at all would make this a busy loop.
            now = time.monotonic()
            if now < until and (isinstance(error, Saved) or now - begun >= timeout / 2):
                return False
            self._report("lock", TimeoutError("Somebody else held the lock of the store."))
        except Exception as error:  # noqa: BLE001 - as above
            self._fail("lock", error)
        return True

    def _result(
        self,
        operation: str,
        action: Callable[[], T],
        if_late: Callable[[T], Any] = _nothing,
        patience: float = 0.0,
    ) -> T:
        began = time.monotonic()
        call = self._begin(operation, action, patience + self._left, if_late)
        call.ends_within(math.inf)
        self._left -= max(0.0, time.monotonic() - began - patience)
        return call.result()

    def _begin(
        self, operation: str, action: Callable[[], T], limit: float, if_late: Callable[[T], Any]
    ) -> StoreCall[T]:
        return StoreCall(self._store, operation, action, limit, if_late, on_thread=self._on_threads)

    def _fail(self, operation: str, error: Exception) -> None:
        self._is_broken = True
        try:
            described = _described(operation, error)
        except Exception:  # noqa: BLE001 - an attribute of the error may raise any exception
            described = OAuthCCError(f"{operation}() of the token store raised an odd exception.")
        self._report(operation, described)


def _entered(store: TokenStore, key: str, timeout: float) -> contextlib.ExitStack:
    """Return a stack that holds the lock."""
    stack = contextlib.ExitStack()
    stack.enter_context(store.lock(key, UntilSaved(timeout)))
    return stack


class _NotAToken(Exception):
    """What `load` returned is not a usable token."""


def _checked(found: object) -> Token | None:
    """Return what a store returned; raise `_NotAToken` if it is not a usable token."""
    if found is None:
        return None
    if not isinstance(found, Token):
        raise _NotAToken(f"returned {type(found).__name__}, not a Token")
    try:
        token = Token.from_dict(found.to_dict())
    except Exception:  # noqa: BLE001 - its members may be anything
        raise _NotAToken("returned a Token with members of wrong types") from None
    if not ACCESS_TOKEN.fullmatch(token.access_token):
        raise _NotAToken("returned a token with characters that a header cannot contain")
    return token


def _described(operation: str, error: BaseException) -> Exception:
    """Return an error that says what a store raised and where, without its message and frames.

    The message may quote the token: that of a database quotes its parameters, that of Redis the
    command. Only our own messages are kept.
    """
    if isinstance(error, GivenUp):
        return TimeoutError(f"{operation}() of the token store {error}.")
    if isinstance(error, _NotAToken):
        return TypeError(f"{operation}() of the token store {error}.")
    if isinstance(error, Stopped):
        (error,) = error.args
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    if type(error) is ConfigurationError and frame.f_globals.get("__name__") in _OUR_MODULES:
        return ConfigurationError(str(error))
    number = error.errno if isinstance(error, OSError) else None
    reason = f": {os.strerror(number)}" if type(number) is int and number in errno.errorcode else ""
    return OAuthCCError(
        f"{operation}() of the token store raised {type(error).__name__}{reason}"
        f" ({raised_at(error)})."
    )
