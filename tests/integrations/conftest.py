"""What the tests with other packages share. They run with real packages and real sockets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from oauthcc import ClientCredentialsAuth, ClientCredentialsSession
from oauthcc.testing import AuthorizationServer, ProtectedAPI

from ..clock import flights_done
from ..sessions import session_for
from . import leaks

T = TypeVar("T")
HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Do not measure these tests: others cover what they use."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.unmeasured)


@pytest.fixture(autouse=True)
def _no_fetch_goes_on() -> Iterator[None]:
    """Wait for the fetches of each test, because recorders and instruments would see them."""
    yield
    flights_done()


@pytest.fixture
def session(auth: AuthorizationServer) -> Iterator[ClientCredentialsSession]:
    """Return a session for the servers, which is closed after the test."""
    with session_for(auth) as made:
        yield made


@pytest.fixture
def token_auth(auth: AuthorizationServer) -> ClientCredentialsAuth:
    """Return an ``auth=`` for the servers."""
    return ClientCredentialsAuth(auth.token_url, auth.client_id, auth.client_secret)


@pytest.fixture
def works_with(auth: AuthorizationServer, api: ProtectedAPI) -> Callable[[Callable[[], T]], T]:
    """Return what calls an API with a package, before and after the token is revoked.

    It checks that the second call costs one token request and one replay, which sends the same
    method, target and body with the new token, and returns what the second call returned.
    """

    def check(call: Callable[[], T]) -> T:
        call()
        assert api.requests
        old = auth.issued
        assert {seen.token for seen in api.requests} == {old[-1]}
        auth.revoke_all()
        auth.forget()
        api.forget()
        returned = call()
        assert len(auth.token_requests) == 1
        refused, replayed, *later = api.requests
        assert (refused.token, replayed.token) == (old[-1], auth.issued[-1])
        assert (refused.method, refused.target) == (replayed.method, replayed.target)
        assert refused.body == replayed.body
        assert {seen.token for seen in later} <= {replayed.token}
        return returned

    return check


@pytest.fixture
def secrets_in(auth: AuthorizationServer) -> Callable[[str | bytes], list[str]]:
    """Return what finds the secrets of a test in a text or in a file."""
    return partial(leaks.secrets_in, auth=auth)
