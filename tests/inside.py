"""The only place where tests read the private state of a token source."""

from __future__ import annotations

from typing import Any

import requests

from oauthcc import TokenSource
from oauthcc.token_request.client_config import ClientConfig
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


def config_of(tokens: TokenSource) -> ClientConfig:
    """Return the client configuration."""
    return tokens._config


def owner_of(tokens: TokenSource) -> requests.Session | None:
    """Return the session through whose adapters tokens are fetched."""
    return tokens._owner


def parts_of(tokens: TokenSource) -> tuple[object, ...]:
    """Return the parts that have locks of their own."""
    return tokens._state, tokens._pauses, tokens._flights
