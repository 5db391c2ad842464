"""Tokens in memory, shared by the sessions that are given the same store."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..access_token import Token
from ..forks import renewed_in_child
from .place import Place


class MemoryStore(Place):
    """Keep tokens in memory: give the same object to several sessions.

    A copy is the same store. A pickle holds no token: it comes back as an empty store of its own.
    A forked child keeps the tokens and gets new locks.
    """

    def __init__(self) -> None:
        self._tokens: dict[str, Token] = {}
        self._after_fork()
        renewed_in_child(self)

    def _after_fork(self) -> None:
        """Make the locks anew: in a child they may be held by threads that it does not have."""
        self._guard = threading.Lock()  # guards the two mappings
        # A lock that nobody holds or waits for vanishes.
        self._locks: weakref.WeakValueDictionary[str, _KeyLock] = weakref.WeakValueDictionary()

    def load(self, key: str) -> Token | None:
        """Return the token that was last saved under the key, perhaps expired, or None."""
        return self._tokens.get(key)

    def save(self, key: str, token: Token) -> None:
        """Keep the token, and drop all that have expired."""
        now = time.time()
        with self._guard:
            kept = {k: t for k, t in self._tokens.items() if not _expired(t, now)}
            self._tokens = {**kept, key: token}

    @contextmanager
    def lock(self, key: str, timeout: float) -> Iterator[None]:
        """Exclude other threads for this key; wait ``timeout`` seconds, then raise TimeoutError."""
        with self._guard:
            lock = self._locks.get(key)
            if lock is None:
                lock = self._locks[key] = _KeyLock()
        # A negative timeout would mean "for ever".
        if not lock.held.acquire(timeout=min(max(timeout, 0.0), threading.TIMEOUT_MAX)):
            raise TimeoutError(f"Another thread kept the token lock for {timeout:g} seconds.")
        try:
            yield
        finally:
            lock.held.release()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self._tokens)}>"


class _KeyLock:
    def __init__(self) -> None:
        self.held = threading.Lock()


def _expired(token: Token, now: float) -> bool:
    return token.expires_at is not None and token.expires_at <= now
