"""Use a store without being hurt by it: a store that is down is reported and by-passed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TypeVar

from ..access_token import Token
from . import TokenStore

T = TypeVar("T")


class Visit:
    """Use a store for the length of one flight.

    After the first failure it is left alone; the next flight tries it again. ``report`` is told
    which operation failed and with what error.
    """

    def __init__(
        self, store: TokenStore, key: str, report: Callable[[str, Exception], None]
    ) -> None:
        self._store = store
        self._key = key
        self._report = report
        self._is_broken = False

    def load(self) -> Token | None:
        """Return the stored token, or None where there is none or the store fails."""
        return self._try("load", lambda: self._store.load(self._key))

    def save(self, token: Token) -> None:
        """Store a token, if that can be done."""
        self._try("save", lambda: self._store.save(self._key, token))

    @contextlib.contextmanager
    def lock(self, timeout: float) -> Iterator[None]:
        """Hold the store's lock, if it can be had within ``timeout`` seconds."""
        lock = self._try("lock", lambda: self._store.lock(self._key, timeout))
        entered = lock is not None and self._try("lock", lambda: (lock.__enter__(),)) is not None
        try:
            yield
        finally:
            if lock is not None and entered:
                # Even where the store broke meanwhile: what can be freed must be.
                self._is_broken = False
                self._try("unlock", lambda: lock.__exit__(None, None, None))

    def _try(self, operation: str, action: Callable[[], T]) -> T | None:
        if self._is_broken:
            return None
        try:
            return action()
        except TimeoutError as error:
            # Whoever holds the lock is slow or dead; the store itself may be well.
            self._is_broken = operation != "lock"
            self._report(operation, error)
        except Exception as error:  # noqa: BLE001 - a cache that is down is not an outage
            self._is_broken = True
            self._report(operation, error)
        return None
