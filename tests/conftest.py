"""What every test may use."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from oauthcc.testing import AuthorizationServer, ProtectedAPI

from .clock import real_clocks
from .internet import Internet
from .quick_scrypt import quick_scrypt
from .refusals import Scene, Sessions

if TYPE_CHECKING:
    from .servers.certificates import Certificates

pytest_plugins = ["tests.measured", "tests.servers.fixtures", "tests.servers.redis_server"]


# On a busy machine any example may take long, so no test asserts elapsed time.
settings.register_profile("oauthcc", deadline=None)
settings.load_profile("oauthcc")


@pytest.fixture(scope="session", autouse=True)
def _cheap_cache_keys() -> Iterator[None]:
    """Make cache keys cheap to compute."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hashlib, "scrypt", quick_scrypt)
        yield


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


@pytest.fixture
def scene(auth: AuthorizationServer, api: ProtectedAPI) -> Iterator[Scene]:
    """Return both servers, with sessions that are closed after the test."""
    with ExitStack() as stack:
        yield Scene(auth, api, stack)


@pytest.fixture(params=["session", "auth"])
def sessions(scene: Scene, request: pytest.FixtureRequest) -> Sessions:
    """Return what makes sessions of ours, and then plain ones with a `ClientCredentialsAuth`."""
    return Sessions(scene, use_auth=request.param == "auth")


@pytest.fixture
def net() -> Internet:
    """Return an internet in memory."""
    return Internet()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Make a CA, and certificates for a server and some clients."""
    from .servers.certificates import make_certificates  # few tests need it, and it takes long

    return make_certificates(tmp_path_factory.mktemp("certificates"))
