"""Where tokens are kept for others: threads, sessions, processes, machines.

A store is anything with the three methods of `TokenStore`. ``MemoryStore`` is shared by the
sessions of one process, ``FileStore`` by the processes of one user on one machine, ``RedisStore``
by machines. ``oauthcc.testing.store_contract`` holds the tests that any store must pass.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from ..access_token import Token
from .codec import Cipher

if TYPE_CHECKING:
    from .file import FileStore
    from .memory import MemoryStore
    from .redis import RedisStore

__all__ = ["Cipher", "FileStore", "MemoryStore", "RedisStore", "TokenStore"]

_ROOMS = {"FileStore": ".file", "MemoryStore": ".memory", "RedisStore": ".redis"}


class TokenStore(Protocol):
    """Keep tokens by key, with a lock for each key.

    Keys are hexadecimal digests and tell nothing. The methods are called by many threads at once.
    Whatever `load` and `save` raise, and whatever `lock` raises besides TimeoutError, is reported
    and by-passed: a store that is down costs token requests, never calls. None should block for
    more than a few seconds, `lock` apart.
    """

    def load(self, key: str) -> Token | None:
        """Return the token that was last saved under the key, perhaps expired, or None."""
        raise NotImplementedError

    def save(self, key: str, token: Token) -> None:
        """Put the token in the place of whatever was there, whole or not at all."""
        raise NotImplementedError

    def lock(self, key: str, timeout: float) -> AbstractContextManager[object]:
        """Return a context in which nobody else holds the lock of this key.

        It excludes all others that share the store: threads, sessions, processes, and machines
        where the store spans them. It is not reentrant, and other keys are not concerned. Entering
        waits at most ``timeout`` seconds, at 0 it asks once, then raises TimeoutError. A holder
        that crashed delays the others by a bounded time.
        """
        raise NotImplementedError


def __getattr__(name: str) -> Any:
    """Import a store at its first use, so that nobody loads what only another one needs."""
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_ROOMS[name], __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
