"""Tests on npm's oauth2-server, which reads Basic without decoding.

It differs from oidc-provider. Id and secret are not decoded after base64. A client that is refused
gets a 401 with Basic and a 400 without. A scope is required. A token that is not valid gets a
challenge without an error code. Token endpoint and API have the same origin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import requests

from oauthcc import (
    ClientAuth,
    ClientCredentialsAuth,
    ClientCredentialsSession,
    ClientSecretBasic,
    ClientSecretPost,
    TokenRequestDenied,
)
from tests.servers.clients import ODD_SECRETS
from tests.servers.oidc import SCOPE, OIDCServer

pytestmark = pytest.mark.unmeasured

Make = Callable[..., ClientCredentialsSession]
RAW = ClientSecretBasic(encode=False)


@pytest.fixture
def make(oidc: OIDCServer) -> Iterator[Make]:
    with ExitStack() as stack:

        def make(name: str = "plain", **options: Any) -> ClientCredentialsSession:
            client = oidc.raw_basic_clients[name]
            options = {"client_secret": client.client_secret, "scope": SCOPE, **options}
            token_url = oidc.raw_basic_url + "/token"
            session = ClientCredentialsSession(token_url, client.client_id, **options)
            return stack.enter_context(session)

        yield make


@pytest.mark.parametrize("method", [RAW, ClientSecretBasic(), ClientSecretPost()])
def test_a_token_is_renewed_after_a_revocation(
    oidc: OIDCServer, make: Make, method: ClientAuth
) -> None:
    api = make(client_auth=method)
    url = oidc.raw_basic_url + "/orders"
    assert api.get(url).json()["client_id"] == "raw-plain"
    oidc.revoke_all()
    assert api.post(url, data={"pieces": "3"}).json()["body"] == {"pieces": "3"}
    counts = oidc.counts()
    assert counts["token_requests"] == counts["tokens_issued"] == 2
    assert counts["api_by_status"] == {"200": 2, "401": 1}


@pytest.mark.parametrize("name", ODD_SECRETS)
def test_a_secret_with_odd_characters_is_accepted_unencoded_or_in_the_body(
    oidc: OIDCServer, make: Make, name: str
) -> None:
    for method in (RAW, ClientSecretPost()):
        assert make(name, client_auth=method).tokens.get().access_token
    with pytest.raises(TokenRequestDenied, match="invalid_client") as caught:
        make(name, client_auth=ClientSecretBasic()).tokens.get()
    # The message names the method, so that the user can try another one.
    assert "client authentication method (client_secret_basic was used)" in str(caught.value)


def test_a_token_is_renewed_in_a_plain_session(oidc: OIDCServer) -> None:
    client = oidc.raw_basic_clients["everything"]
    token_url = oidc.raw_basic_url + "/token"
    auth = ClientCredentialsAuth(token_url, *client.pair, SCOPE, client_auth=RAW)
    url = oidc.raw_basic_url + "/orders"
    with requests.Session() as plain:
        assert plain.get(url, auth=auth).status_code == 200
        oidc.revoke_all()
        assert plain.get(url, auth=auth).status_code == 200
    auth.tokens.close()


UNKNOWN = "Invalid client: client is invalid"
REFUSALS: dict[str, tuple[dict[str, Any], int, str, str]] = {
    "secret in Basic": (
        {"client_secret": "no", "client_auth": RAW},
        401,
        "invalid_client",
        UNKNOWN,
    ),
    "secret in the body": (
        {"client_secret": "no", "client_auth": ClientSecretPost()},
        400,
        "invalid_client",
        UNKNOWN,
    ),
    "no secret": (
        {"client_secret": None, "client_auth": "none"},
        400,
        "invalid_client",
        "Invalid client: cannot retrieve client credentials",
    ),
    "scope": (
        {"scope": "orders:admin"},
        400,
        "invalid_scope",
        "Invalid scope: Requested scope is invalid",
    ),
    "no scope": (
        {"scope": None},
        400,
        "invalid_scope",
        "Invalid scope: Requested scope is invalid",
    ),
    "grant type": (
        {"name": "no grant"},
        400,
        "unauthorized_client",
        "Unauthorized client: `grant_type` is invalid",
    ),
}


@pytest.mark.parametrize("wrong", REFUSALS)
def test_the_error_of_each_refusal_has_what_the_server_answered(
    oidc: OIDCServer, make: Make, wrong: str
) -> None:
    options, status, error, description = REFUSALS[wrong]
    with pytest.raises(TokenRequestDenied, match=error) as caught:
        make(**options).get(oidc.raw_basic_url + "/orders")
    assert caught.value.status_code == status
    assert caught.value.error == error
    assert caught.value.error_description == description
    assert oidc.counts()["token_errors"] == {error: 1}
    assert oidc.counts()["api_requests"] == 0


def test_a_403_for_a_scope_that_was_not_requested_is_returned(oidc: OIDCServer, make: Make) -> None:
    api = make(scope="orders:write")
    assert api.get(oidc.raw_basic_url + "/orders").status_code == 403
    assert oidc.counts()["token_requests"] == 1
    assert oidc.counts()["api_requests"] == 1
