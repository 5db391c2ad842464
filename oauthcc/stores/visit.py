"""Use a store without being hurt by it: a store that is down is reported and by-passed."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from ..access_token import Token
from . import TokenStore

T = TypeVar("T")

#: Seconds of waiting for the lock after which a waiter looks whether the token is there already.
#: So thousands need not pass the lock from hand to hand to learn of one token.
LOOK_EVERY = 1.0
# RFC 6749 appendix A.12. http.client would quote anything else in an error.
_FIT = re.compile("[\x20-\x7e]+")


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
        #: Whether somebody else held the lock when we came.
        self.has_waited: bool = False

    def save(self, token: Token) -> None:
        """Store a token, if that can be done."""
        self._try("save", lambda: self._store.save(self._key, token))

    @contextlib.contextmanager
    def turn(self, patience: float, fit: Callable[[Token], T | None]) -> Iterator[T | None]:
        """Look for a token, and where there is none wait for the turn to fetch one.

        Yield what ``fit`` makes of the stored token, or None, which means: fetch one, and `save`
        it. It is nobody else's turn then, unless the store failed or the lock was held for
        ``patience`` seconds.
        """
        until = time.monotonic() + patience
        with contextlib.ExitStack() as lock:
            found = self.look(fit)
            timeout = 0.0
            while found is None and not self._enter(lock, timeout, until):
                self.has_waited, timeout = True, LOOK_EVERY
                found = self.look(fit)
            if found is None:
                found = self.look(fit)  # somebody may have been quicker
            try:
                yield found
            finally:
                # Even where the store broke meanwhile: what can be freed must be.
                self._is_broken = False
                self._try("unlock", lock.close)

    def look(self, fit: Callable[[Token], T | None]) -> T | None:
        """Return what ``fit`` makes of the stored token, or None."""
        token = self._try("load", lambda: _sound(self._store.load(self._key)))
        return None if token is None else fit(token)

    def _enter(self, lock: contextlib.ExitStack, timeout: float, until: float) -> bool:
        """Return True where the lock is held, or to be done without; False: look, and ask again."""
        if self._is_broken:
            return True
        begun = time.monotonic()
        try:
            lock.enter_context(self._store.lock(self._key, timeout))
        except TimeoutError as error:
            # Whoever holds the lock is slow or dead; the store itself may be well. One that does
            # not even wait would keep us busy asking.
            now = time.monotonic()
            if now < until and now - begun >= timeout / 2:
                return False
            self._report("lock", error)
        except Exception as error:  # noqa: BLE001 - a cache that is down is not an outage
            self._is_broken = True
            self._report("lock", error)
        return True

    def _try(self, operation: str, action: Callable[[], T]) -> T | None:
        if self._is_broken:
            return None
        try:
            return action()
        except Exception as error:  # noqa: BLE001 - the same
            self._is_broken = True
            self._report(operation, error)
        return None


def _sound(found: object) -> Token | None:
    """Return what a store gave, if it can be used at all; raise where it is no token."""
    if found is None:
        return None
    if not isinstance(found, Token):
        raise TypeError(f"load() returned {type(found).__name__}, not a Token.")
    token = Token.from_dict(found.to_dict())
    if not _FIT.fullmatch(token.access_token):
        raise ValueError("load() returned a token with characters that no header can carry.")
    return token
