"""What every test may use."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest
from hypothesis import settings

from oauthcc.testing import AuthorizationServer, ProtectedAPI

from .quick_scrypt import quick_scrypt

pytest_plugins = ["tests.measured", "tests.servers.fixtures", "tests.servers.redis_server"]


# On a busy machine any example may take long: no assertion on elapsed time.
settings.register_profile("oauthcc", deadline=None)
settings.load_profile("oauthcc")


@pytest.fixture(scope="session", autouse=True)
def _cheap_cache_keys() -> Iterator[None]:
    """Let cache keys cost next to nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hashlib, "scrypt", quick_scrypt)
        yield


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
