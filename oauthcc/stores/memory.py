"""Tokens in memory, shared by the sessions that are given the same store."""

from __future__ import annotations

import math
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..access_token import Token
from ..forks import reset_in_child
from .base import BaseStore, shortened


class MemoryStore(BaseStore):
    """A store that keeps tokens in memory. Pass the same object to several sessions.

    A copy is the same store. A pickle contains no token and is loaded as a new, empty store.
    A forked child keeps the tokens and gets new locks.
    """

    #: The keys are seen by nobody outside of this process (see `ClientConfig.cache_key`).
    _has_private_keys = True

    def __init__(self) -> None:
        # Each token with the moment (monotonic) of its expiry.
        self._tokens: dict[str, tuple[Token, float]] = {}
        self._after_fork()
        reset_in_child(self)

    def _after_fork(self) -> None:
        """Create new locks: in a child, threads that do not exist there may hold the old ones."""
        self._guard = threading.Lock()  # guards the two mappings
        # A lock that nobody holds or waits for is removed.
        self._locks: weakref.WeakValueDictionary[str, _KeyLock] = weakref.WeakValueDictionary()

    def load(self, key: str) -> Token | None:
        """Return the token that was last saved under the key, perhaps expired, or None."""
        token, expiry = self._tokens.get(key, (None, 0.0))
        return None if token is None else shortened(token, expiry - time.monotonic())

    def save(self, key: str, token: Token) -> None:
        """Keep the token, and remove all tokens that have expired."""
        now = time.time()
        left = math.inf if token.expires_at is None else token.expires_at - now
        with self._guard:
            kept = {k: kept for k, kept in self._tokens.items() if not _expired(kept[0], now)}
            self._tokens = {**kept, key: (token, time.monotonic() + left)}

    @contextmanager
    def lock(self, key: str, timeout: float) -> Iterator[None]:
        """Acquire the key's lock; raise TimeoutError if that takes over ``timeout`` seconds."""
        with self._guard:
            lock = self._locks.get(key)
            if lock is None:
                lock = self._locks[key] = _KeyLock()
        # A timeout of -1 would mean "without a limit".
        if not lock.held.acquire(timeout=min(max(timeout, 0.0), threading.TIMEOUT_MAX)):
            raise TimeoutError(f"Another thread held the token lock for {timeout:g} seconds.")
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
