"""A reset of what the library remembers, so that no test depends on the one before it."""

from __future__ import annotations

from .. import forks
from ..stores.memory import MemoryStore
from ..tokens.source import TokenSource


def forget_tokens() -> None:
    """Drop the tokens, remembered errors and pauses of all sessions of this process.

    This calls `tokens.forget()` of each session and each `ClientCredentialsAuth`, also of those
    that a module or a fixture keeps. Every `MemoryStore` is emptied. The tokens in other stores
    stay there.
    """
    for store in forks.living(MemoryStore):
        with store._guard:
            store._tokens = {}
    for source in forks.living(TokenSource):
        source.forget()
