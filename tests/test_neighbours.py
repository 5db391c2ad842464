"""What one caller meets does not hinder its neighbours more than it must."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from oauthcc import ClientCredentialsSession, TokenEndpointUnavailable
from oauthcc.stores import MemoryStore
from oauthcc.testing import AuthorizationServer, ProtectedAPI, faults

from .clock import clock_of


@pytest.fixture
def auth() -> Iterator[AuthorizationServer]:
    with AuthorizationServer() as server:
        yield server


@pytest.fixture
def api(auth: AuthorizationServer) -> Iterator[ProtectedAPI]:
    with ProtectedAPI(auth) as server:
        yield server


def make(auth: AuthorizationServer, store: MemoryStore | None = None) -> ClientCredentialsSession:
    return ClientCredentialsSession(
        auth.token_url, auth.client_id, auth.client_secret, store=store
    )


def test_a_refused_body_that_cannot_be_sent_again_keeps_nobody_from_a_replay(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    url = f"{api.url}/anything"
    with make(auth) as session:
        session.get(url)
        auth.revoke_all()
        with api.hold() as gate:
            # Signed with the revoked token, as the upload is, and refused a moment after it.
            import threading

            answers: list[int] = []
            caller = threading.Thread(target=lambda: answers.append(session.get(url).status_code))
            caller.start()
            gate.wait_for(1)
            source, held = session.tokens, session.tokens.get()
            assert source.refused_without_replay(held, None)
        caller.join()
    assert answers == [200]
