"""Token stores, which share tokens between threads, sessions, processes and machines.

A store is any object with the three methods of `TokenStore`. ``MemoryStore`` is shared by the
sessions of one process, ``FileStore`` by the processes of one user on one machine, ``RedisStore``
by machines. ``oauthcc.testing.store_contract`` contains the tests that every store must pass.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .base import Cipher, TokenStore

if TYPE_CHECKING:
    from .file import FileStore
    from .memory import MemoryStore
    from .redis import RedisStore

__all__ = ["Cipher", "FileStore", "MemoryStore", "RedisStore", "TokenStore"]

_MODULES = {"FileStore": ".file", "MemoryStore": ".memory", "RedisStore": ".redis"}


def __getattr__(name: str) -> Any:
    """Import a store when it is first used, so that the dependencies of others are not loaded."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name], __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
