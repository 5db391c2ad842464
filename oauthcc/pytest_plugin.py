"""A plugin for pytest: fixtures with an authorization server, an API, and a session for them.

Rule of this module: pytest imports it in every project of the environment, so everything else is
imported when a fixture is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from .session import ClientCredentialsSession
    from .testing import AuthorizationServer, MockTokenEndpoint, MovableClock, ProtectedAPI


class MakeEndpoint(Protocol):
    """The type of the fixture `mock_token_endpoint`."""

    def __call__(self, url: str, *, mock: Any = None, **members: Any) -> MockTokenEndpoint:
        """Register a token endpoint; see `oauthcc.testing.MockTokenEndpoint`."""
        raise NotImplementedError


@pytest.fixture
def oauth_server() -> Iterator[AuthorizationServer]:
    """Return an authorization server on loopback (oauthcc.testing.AuthorizationServer)."""
    from .testing import AuthorizationServer

    with AuthorizationServer() as server:
        yield server


@pytest.fixture
def protected_api(oauth_server: AuthorizationServer) -> Iterator[ProtectedAPI]:
    """Return an API on loopback that accepts the tokens of oauth_server."""
    from .testing import ProtectedAPI

    with ProtectedAPI(oauth_server) as api:
        yield api


@pytest.fixture
def oauth_session(
    oauth_server: AuthorizationServer, protected_api: ProtectedAPI
) -> Iterator[ClientCredentialsSession]:
    """Return a session that sends the tokens of oauth_server to protected_api."""
    from .session import ClientCredentialsSession

    client = oauth_server.token_url, oauth_server.client_id, oauth_server.client_secret
    with ClientCredentialsSession(*client, api_url=protected_api.url) as session:
        yield session


@pytest.fixture
def oauth_reset() -> Iterator[None]:
    """Drop the tokens, remembered errors and pauses of all sessions, before and after the test.

    Use it for a session that a module keeps. To use it for all tests of a project, write
    `usefixtures = oauth_reset` into the configuration of pytest.
    """
    from .testing import forget_tokens

    forget_tokens()
    yield
    forget_tokens()


@pytest.fixture
def oauth_clock() -> Iterator[MovableClock]:
    """Return the clock of the library and of the embedded servers: oauth_clock.advance(3600)."""
    from .testing import MovableClock

    with MovableClock() as clock:
        yield clock


@pytest.fixture
def mock_token_endpoint() -> Iterator[MakeEndpoint]:
    """Return a function that registers a token endpoint in `responses`: call it with its URL.

    Each token request gets another token. `.requests` and `.tokens` of the result say what
    was asked and issued, and `.fail_next("invalid_client")` lets a request fail.
    """
    try:
        import responses
    except ModuleNotFoundError:
        pytest.fail(
            "The fixture mock_token_endpoint needs the package responses: pip install responses",
            pytrace=False,
        )
    from .testing import MockTokenEndpoint

    started = False

    def make(url: str, *, mock: Any = None, **members: Any) -> MockTokenEndpoint:
        nonlocal started
        if mock is None:
            before = _send()
            responses.start()  # does nothing if the test or another fixture has started it
            started |= _send() is not before
        return MockTokenEndpoint(url, mock, **members)

    yield make
    if started:
        responses.stop()
        responses.reset()


def _send() -> object:
    """Return what `responses` replaces while it is active."""
    from requests.adapters import HTTPAdapter

    return HTTPAdapter.send
