"""What every test may use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from oauthcc.testing import AuthorizationServer, ProtectedAPI

pytest_plugins = ["tests.servers.fixtures", "tests.servers.redis_server"]


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
