"""What every test may use."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from oauthcc import pytest_plugin
from oauthcc.stores import derived_keys
from oauthcc.testing import AuthorizationServer, ProtectedAPI

from .clock import real_clocks
from .inside import forget_warnings
from .internet import Internet
from .quick_scrypt import quick_scrypt
from .refusals import Scene, Sessions

if TYPE_CHECKING:
    from .servers.certificates import Certificates

pytest_plugins = [
    "tests.measured",
    "tests.own_header",
    "tests.servers.fixtures",
    "tests.servers.redis_server",
    "tests.store_world",
]


# On a busy machine any example may take long, so no test asserts elapsed time.
settings.register_profile("oauthcc", deadline=None)
settings.load_profile("oauthcc")


#: The modules whose tests take long, because each of them starts processes.
LONG = (
    *("test_processes", "test_forks", "test_gevent", "test_exit", "test_docs", "test_examples"),
    *("test_pytest_plugin", "test_testing_page"),
)


def pytest_configure(config: pytest.Config) -> None:
    """Register the plugin if it is not: an older installation has no entry point for it."""
    if not config.pluginmanager.has_plugin("oauthcc"):
        config.pluginmanager.register(pytest_plugin, "oauthcc")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long tests first, and the tests with oidc-provider side by side.

    So the workers end together, and only the first of them starts that server.
    """

    def place(item: pytest.Item) -> int:
        if "oidc" in getattr(item, "fixturenames", ()):
            return 0
        return 1 if item.path.stem in LONG else 2

    items.sort(key=place)


def pytest_collection_finish() -> None:
    """Spare the garbage collector the modules and the tests, which stay until the end."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _cheap_cache_keys() -> Iterator[None]:
    """Make cache keys cheap to compute."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hashlib, "scrypt", quick_scrypt)
        # What quick_scrypt returns must not reach other processes of this user.
        patch.setattr(derived_keys, "MEMORY", None)
        yield


@pytest.fixture(autouse=True)
def _real_clocks() -> Iterator[None]:
    """Put the clocks of the library back after each test."""
    yield
    real_clocks()


@pytest.fixture(autouse=True)
def _nothing_was_warned_about() -> Iterator[None]:
    """Let each test get the warnings that are written once in a process."""
    yield
    forget_warnings()


@pytest.fixture
def auth(oauth_server: AuthorizationServer) -> AuthorizationServer:
    """Return the authorization server of the plugin under a shorter name."""
    return oauth_server


@pytest.fixture
def api(protected_api: ProtectedAPI) -> ProtectedAPI:
    """Return the API of the plugin, which accepts the tokens of `auth`."""
    return protected_api


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
