"""What every test may use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from oauthcc.testing import AuthorizationServer, ProtectedAPI

from .clock import real_clocks

pytest_plugins = ["tests.servers.fixtures", "tests.servers.redis_server"]


@pytest.fixture(autouse=True)
def _real_clocks() -> Iterator[None]:
    """Put the clocks of the library back after each test."""
    yield
    real_clocks()


@pytest.fixture
def auth() -> Iterator[AuthorizationServer]:
    """Run an authorization server for one test."""
    with AuthorizationServer() as server:
        yield server


@pytest.fixture
def api(auth: AuthorizationServer) -> Iterator[ProtectedAPI]:
    """Run an API that takes the tokens of `auth`."""
    with ProtectedAPI(auth) as server:
        yield server
