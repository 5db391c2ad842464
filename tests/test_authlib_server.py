"""Tests on an authorization server made with Authlib.

It differs from oidc-provider. Basic is percent-decoded and not form-decoded, so a plus stays a
plus. An assertion must be for the exact token URL. A scope is required, and unknown scopes are left
out silently. A refusal has a description and a URL for help; it is a 401 if no method fits, and a
400 if an assertion is invalid. A token is valid for ten days. Token endpoint and API have the same
origin.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import jwt
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from oauthcc import (
    ClientAssertion,
    ClientAuth,
    ClientCredentialsSession,
    ClientSecretBasic,
    ClientSecretJWT,
    ClientSecretPost,
    PrivateKeyJWT,
    TokenRequestDenied,
)
from oauthcc.client_auth import Attempt
from tests.servers.authlib_server import ASSERTION, HELP, AuthlibServer, Client
from tests.servers.clients import ODD_SECRETS

pytestmark = pytest.mark.unmeasured

Make = Callable[..., ClientCredentialsSession]
KEY = ec.generate_private_key(ec.SECP256R1())
PEM = KEY.private_bytes(
    serialization.Encoding.PEM,
    serialization.PrivateFormat.PKCS8,
    serialization.NoEncryption(),
).decode()
JWKS = json.dumps({"keys": [{**json.loads(ECAlgorithm.to_jwk(KEY.public_key())), "kid": "one"}]})
SECRET = "a secret of at least thirty-two bytes"
CLIENTS = [
    Client("basic", "client_secret_basic", SECRET),
    Client("post", "client_secret_post", SECRET),
    Client("secret-jwt", ASSERTION, SECRET),
    Client("private-key-jwt", ASSERTION, jwks=JWKS),
    *(Client(f"basic {name}", "client_secret_basic", s) for name, s in ODD_SECRETS.items()),
]
METHODS: dict[str, ClientAuth] = {
    "basic": ClientSecretBasic(),
    "post": ClientSecretPost(),
    "secret-jwt": ClientSecretJWT(),
    "private-key-jwt": PrivateKeyJWT(PEM, key_id="one"),
}


@pytest.fixture(scope="module")
def running() -> Iterator[AuthlibServer]:
    with AuthlibServer(CLIENTS) as running:
        yield running


@pytest.fixture
def server(running: AuthlibServer) -> AuthlibServer:
    running.requests.clear()
    running.issued.clear()
    return running


@pytest.fixture
def make(server: AuthlibServer) -> Iterator[Make]:
    with ExitStack() as stack:

        def make(client_id: str, **options: Any) -> ClientCredentialsSession:
            secret = server.clients[client_id].client_secret or None
            options = {"client_secret": secret, "scope": "orders:read", **options}
            options.setdefault("client_auth", METHODS.get(client_id))
            session = ClientCredentialsSession(server.token_url, client_id, **options)
            return stack.enter_context(session)

        yield make


@pytest.mark.parametrize("client_id", METHODS)
@pytest.mark.parametrize("end", ["revoked", "expired", "revoked by its client"])
def test_a_token_is_renewed_after_its_end(
    server: AuthlibServer, make: Make, client_id: str, end: str
) -> None:
    api = make(client_id)
    assert api.get(server.url + "/orders").status_code == 200
    if end == "revoked":
        server.revoke_all()
    elif end == "expired":
        server.expire_all()
    else:
        revoke(server, client_id, api.tokens.get().access_token)
    answer = api.post(server.url + "/orders", data=b"three pieces")
    assert (answer.status_code, answer.json()["length"]) == (200, 12)
    assert server.requests["POST /oauth/token 200"] == 2
    assert server.requests["POST /orders 401"] == server.requests["POST /orders 200"] == 1


def revoke(server: AuthlibServer, client_id: str, token: str) -> None:
    """Revoke a token with the authentication of its client (RFC 7009)."""
    client = server.clients[client_id]
    attempt = Attempt(client_id, client.client_secret or None, server.token_url, {}, [], [])
    METHODS[client_id].authenticate(attempt)
    data = [("token", token), *attempt.params]
    answer = requests.post(server.revocation_url, data=data, headers=attempt.headers)
    assert answer.status_code == 200, answer.text
    assert server.issued[token].revoked


@pytest.mark.parametrize("name", ODD_SECRETS)
def test_odd_secrets_are_accepted_by_a_server_that_only_percent_decodes(
    server: AuthlibServer, make: Make, name: str
) -> None:
    assert make(f"basic {name}").get(server.url + "/orders").status_code == 200


def test_raw_basic_is_refused_if_the_secret_looks_encoded(
    server: AuthlibServer, make: Make
) -> None:
    raw = ClientSecretBasic(encode=False)
    assert make("basic plus", client_auth=raw).tokens.get()
    with pytest.raises(TokenRequestDenied, match="invalid_client"):
        make("basic percent", client_auth=raw).tokens.get()


TAKEN = f"['client_secret_basic', 'client_secret_post', '{ASSERTION}']"
# By what is wrong: the client, its options, the status, and the description of the server.
WRONG: dict[str, tuple[str, dict[str, Any], int, str]] = {
    "secret in Basic": (
        "basic",
        {"client_secret": "wrong"},
        401,
        f"The client cannot authenticate with methods: {TAKEN}",
    ),
    "secret in the body": (
        "post",
        {"client_secret": "wrong"},
        401,
        f"The client cannot authenticate with methods: {TAKEN}",
    ),
    # Here the server gives no description.
    "secret of HS256": ("secret-jwt", {"client_secret": "x" * 32}, 400, ""),
    "key": (
        "private-key-jwt",
        {"client_auth": PrivateKeyJWT({**json.loads(ECAlgorithm.to_jwk(KEY)), "kid": "two"})},
        400,
        "kid",
    ),
    "audience": (
        "secret-jwt",
        {"client_auth": ClientSecretJWT(audience="https://as.example")},
        400,
        "aud",
    ),
    "assertion": ("secret-jwt", {"client_auth": METHODS["post"]}, 401, "cannot authenticate"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_the_error_of_a_client_that_is_refused_has_what_the_server_answered(
    server: AuthlibServer, make: Make, wrong: str
) -> None:
    client_id, options, status, description = WRONG[wrong]
    with pytest.raises(TokenRequestDenied) as caught:
        make(client_id, **options).get(server.url + "/orders")
    error = caught.value
    assert (error.status_code, error.error) == (status, "invalid_client")
    assert description in (error.error_description or "")
    assert (error.error_description or "") in str(error)
    assert error.error_uri == HELP
    assert server.requests["GET /orders 401"] == 0


def test_an_expired_assertion_is_refused(server: AuthlibServer, make: Make) -> None:
    claims = {"iss": "private-key-jwt", "sub": "private-key-jwt", "aud": server.token_url}
    old = jwt.encode({**claims, "jti": "1", "exp": 1_000_000_000}, PEM, "ES256")
    with pytest.raises(TokenRequestDenied) as caught:
        make("private-key-jwt", client_auth=ClientAssertion(old)).tokens.get()
    assert (caught.value.status_code, caught.value.error) == (400, "invalid_client")
    assert caught.value.error_description == "The token is expired"


def test_every_token_request_has_a_new_assertion(server: AuthlibServer, make: Make) -> None:
    api = make("secret-jwt")
    for _ in range(3):
        api.tokens.renew()
    assert server.requests["POST /oauth/token 200"] == 3
    assert len(server.seen_assertions) >= 3


def test_the_error_says_that_the_server_requires_a_scope(server: AuthlibServer, make: Make) -> None:
    with pytest.raises(TokenRequestDenied, match="No scope was requested") as caught:
        make("basic", scope=None).get(server.url + "/orders")
    assert (caught.value.status_code, caught.value.error) == (400, "invalid_scope")


def test_a_scope_that_is_granted_in_part_is_no_error(server: AuthlibServer, make: Make) -> None:
    api = make("basic", scope="orders:read orders:admin")
    assert api.tokens.get().scope == "orders:read"
    assert api.get(server.url + "/orders").status_code == 200


def test_a_403_for_an_insufficient_scope_is_returned(server: AuthlibServer, make: Make) -> None:
    assert make("basic", scope="orders:write").get(server.url + "/orders").status_code == 403
    assert server.requests == {"POST /oauth/token 200": 1, "GET /orders 403": 1}


def test_a_lifetime_of_ten_days_is_used_unchanged(server: AuthlibServer, make: Make) -> None:
    token = make("basic").tokens.get()
    assert token.lifetime == 864_000
    assert token.token_type == "Bearer"
