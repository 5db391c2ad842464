"""The only place where tests read the private state of a token source."""

from __future__ import annotations

import threading
from typing import Any

import requests

from oauthcc import TokenSource, events
from oauthcc.token_request.client_config import ClientConfig
from oauthcc.tokens import unshared
from oauthcc.tokens.fetcher import TokenFetcher
from oauthcc.tokens.refusals import RefusingRoutes
from oauthcc.tokens.single_flight import SingleFlight
from oauthcc.tokens.state import CurrentToken, TokenState


def flight_of(tokens: TokenSource) -> Any:
    """Return the flight in progress, or None."""
    return tokens._flights._flight


def waiters_of(tokens: TokenSource) -> int:
    """Return how many callers wait for the flight in progress."""
    return waiters_in(tokens._flights)


def waiters_in(flights: SingleFlight[Any, Any, Any]) -> int:
    """Return how many callers wait for the flight in progress."""
    flight = flights._flight
    return 0 if flight is None else flight.waiters


def flight_lock_of(tokens: TokenSource) -> Any:
    """Return the lock that guards the flight."""
    return tokens._flights.lock


def abandon(tokens: TokenSource) -> None:
    """End the budget of the flight in progress, so that the next caller starts another one."""
    flight_of(tokens)._deadline = 0.0


def delay_release(tokens: TokenSource, free: threading.Event) -> None:
    """Delay the release of the callers of the flight in progress until an event is set."""
    flight = flight_of(tokens)
    end = flight.end
    flight.end = lambda *ending: end(*ending) if free.wait(20) else None


def forget_metadata(tokens: TokenSource) -> None:
    """Forget the metadata of the issuer, which is otherwise used while a newer one is unusable."""
    discovery: Any = tokens.endpoint._discovery
    discovery._metadata = None
    discovery.forget()


def state_of(tokens: TokenSource) -> TokenState:
    """Return the state: the current token and the failure remembered."""
    return tokens._state


def locks_of(tokens: TokenSource) -> list[Any]:
    """Return the locks of the parts of a source."""
    return [tokens._flights.lock, tokens._state._lock, tokens._routes._lock]


def failure_of(tokens: TokenSource) -> Exception | None:
    """Return the error that is remembered."""
    failure = tokens._state._failure
    return None if failure is None else failure.error


def pauses_of(tokens: TokenSource) -> RefusingRoutes:
    """Return the pauses of the APIs that refuse new tokens."""
    return tokens._routes


def fetcher_of(tokens: TokenSource) -> TokenFetcher:
    """Return the part that obtains tokens."""
    return tokens._fetcher


def key_of(tokens: TokenSource) -> str:
    """Return the key under which the store keeps the token."""
    fetcher = tokens._fetcher
    key = fetcher._key(fetcher.config.read_secret()[1])
    assert key is not None
    return key


def held_by(tokens: TokenSource) -> CurrentToken:
    """Return the current token; fail if there is none."""
    current = tokens._state.current
    assert current is not None
    return current


def config_of(tokens: TokenSource) -> ClientConfig:
    """Return the client configuration."""
    return tokens._config


def owner_of(tokens: TokenSource) -> requests.Session | None:
    """Return the session through whose adapters tokens are fetched."""
    return tokens._owner.session()


def forget_warnings() -> None:
    """Let the warnings that are written once in a process be written again."""
    events._reasons.clear()
    unshared._expiries.clear()
    unshared._warned.clear()
