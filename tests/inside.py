"""The only place where tests read the private state of a token source."""

from __future__ import annotations

from typing import Any

from oauthcc import TokenSource
from oauthcc.tokens.fetcher import TokenFetcher
from oauthcc.tokens.refusals import RefusalPauses
from oauthcc.tokens.state import CurrentToken, TokenState


def flight_of(tokens: TokenSource) -> Any:
    """Return the flight in progress, or None."""
    return tokens._flights._flight


def flight_lock_of(tokens: TokenSource) -> Any:
    """Return the lock that guards the flight."""
    return tokens._flights._lock


def state_of(tokens: TokenSource) -> TokenState:
    """Return the state: the token held and the failure remembered."""
    return tokens._state


def pauses_of(tokens: TokenSource) -> RefusalPauses:
    """Return the pauses of the APIs that refuse new tokens."""
    return tokens._pauses


def fetcher_of(tokens: TokenSource) -> TokenFetcher:
    """Return the part that obtains tokens."""
    return tokens._fetcher


def held_by(tokens: TokenSource) -> CurrentToken:
    """Return the token held; fail if there is none."""
    current = tokens._state.current
    assert current is not None
    return current
