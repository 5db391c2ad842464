"""A token store that may fail: a store that is down is reported and bypassed, not an outage."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from ..access_token import Token
from .base import ACCESS_TOKEN, TokenStore

T = TypeVar("T")

#: Seconds of waiting for the lock after which a waiter looks whether the token is already there.
#: Without this, thousands of waiters would take the lock one after the other to find one token.
LOOK_EVERY = 1.0


class GuardedStore:
    """A token store whose failures are reported and bypassed, for one fetch.

    After the first failure the store is not used again. The next fetch tries it again. ``report``
    is called with the operation that failed and its error.
    """

    def __init__(
        self, store: TokenStore, key: str, report: Callable[[str, Exception], None]
    ) -> None:
        self._store = store
        self._key = key
        self._report = report
        self._is_broken = False
        #: Whether the lock was held by somebody else when it was first tried.
        self.has_waited: bool = False

    def save(self, token: Token) -> None:
        """Save a token, if the store works."""
        self._try("save", lambda: self._store.save(self._key, token))

    @contextlib.contextmanager
    def turn(self, patience: float, accept: Callable[[Token], T | None]) -> Iterator[T | None]:
        """Look for a token; if there is none, wait for the lock and look again.

        Yield what ``accept`` returns for the stored token. None means: fetch a token and `save` it.
        The lock is held in that case, unless the store failed or somebody else held the lock for
        ``patience`` seconds.
        """
        until = time.monotonic() + patience
        with contextlib.ExitStack() as lock:
            found = self.look(accept)
            timeout = 0.0
            while found is None and not self._enter(lock, timeout, until):
                self.has_waited, timeout = True, LOOK_EVERY
                found = self.look(accept)
            if found is None:
                found = self.look(accept)  # another process may have saved one meanwhile
            try:
                yield found
            finally:
                # The lock is released even if the store failed meanwhile.
                self._is_broken = False
                self._try("unlock", lock.close)

    def look(self, accept: Callable[[Token], T | None]) -> T | None:
        """Return what ``accept`` returns for the stored token, or None if there is no token."""
        token = self._try("load", lambda: _checked(self._store.load(self._key)))
        return None if token is None else accept(token)

    def _enter(self, lock: contextlib.ExitStack, timeout: float, until: float) -> bool:
        """Return whether to go on, with the lock or without it; False: look and try again."""
        if self._is_broken:
            return True
        begun = time.monotonic()
        try:
            lock.enter_context(self._store.lock(self._key, timeout))
        except TimeoutError as error:
            # The holder of the lock is slow or dead, but the store itself may work. A store that
            # does not wait at all would make this a busy loop.
            now = time.monotonic()
            if now < until and now - begun >= timeout / 2:
                return False
            self._report("lock", error)
        except Exception as error:  # noqa: BLE001 - a store that is down is not an outage
            self._is_broken = True
            self._report("lock", error)
        return True

    def _try(self, operation: str, action: Callable[[], T]) -> T | None:
        if self._is_broken:
            return None
        try:
            return action()
        except Exception as error:  # noqa: BLE001 - a store that is down is not an outage
            self._is_broken = True
            self._report(operation, error)
        return None


def _checked(found: object) -> Token | None:
    """Return what a store returned; raise TypeError or ValueError if it is not a usable token."""
    if found is None:
        return None
    if not isinstance(found, Token):
        raise TypeError(f"load() returned {type(found).__name__}, not a Token.")
    token = Token.from_dict(found.to_dict())
    if not ACCESS_TOKEN.fullmatch(token.access_token):
        raise ValueError("load() returned a token with characters that a header cannot contain.")
    return token
