"""Fixtures for the servers; `tests/conftest.py` names this module in `pytest_plugins`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .oidc import OIDCServer
    from .sessions import OIDCSessions

_RUNNING: pytest.StashKey[OIDCServer] = pytest.StashKey()


@pytest.fixture(scope="session")
def oidc(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[OIDCServer]:
    """Start oidc-provider and a protected API; counters and lifetimes are reset for each test."""
    # Imported here, so that only tests with this server need PyJWT, cryptography and trustme.
    from .oidc import OIDCServer, ServerUnavailable

    try:
        server = OIDCServer(tmp_path_factory.mktemp("oidc"))
    except ServerUnavailable as reason:
        # In CI, the tests with a real server must not be skipped silently.
        if os.environ.get("CI") == "true":
            pytest.fail(str(reason))
        pytest.skip(str(reason))
    pytestconfig.stash[_RUNNING] = server
    yield server
    del pytestconfig.stash[_RUNNING]
    server.close()


@pytest.fixture
def make(oidc: OIDCServer) -> Iterator[OIDCSessions]:
    """Return a factory of sessions for the clients of oidc-provider, by name."""
    from .sessions import OIDCSessions

    sessions = OIDCSessions(oidc)
    yield sessions
    sessions.close()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Reset the running server before each test that uses it."""
    server = item.config.stash.get(_RUNNING, None)
    if server is not None and "oidc" in getattr(item, "fixturenames", ()):
        server.reset()
