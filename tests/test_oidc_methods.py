"""Each way to prove who the client is, against an authorization server and an API not ours."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from oauthcc import (
    ClientCredentialsSession,
    ClientSecretJWT,
    DPoP,
    PrivateKeyJWT,
    TLSClientAuth,
    TokenRequestDenied,
)
from tests.servers.clients import Client
from tests.servers.oidc import ALGORITHMS, ORDERS, SCOPE, SIGNED, OIDCServer

Make = Callable[..., ClientCredentialsSession]
BODY = b"three pieces" * 10_000
CERTIFICATE_CLIENTS = ["tls_client_auth/dn", "tls_client_auth/san", "self_signed_tls_client_auth"]
JWT_CLIENTS = ["client_secret_jwt", *(f"private_key_jwt/{name}" for name in ALGORITHMS)]


@pytest.fixture
def make(oidc: OIDCServer) -> Iterator[Make]:
    made: list[ClientCredentialsSession] = []

    def make(client: Client, **options: Any) -> ClientCredentialsSession:
        options = {"issuer": oidc.tls_issuer, "token_url": None, **options}
        session = ClientCredentialsSession(
            client_id=client.client_id,
            client_secret=client.client_secret,
            scope=SCOPE,
            api_url=[oidc.api_url, oidc.tls_api_url],
            **options,
        )
        session.trust_env = False
        session.verify = oidc.ca_bundle
        made.append(session)
        return session

    yield make
    for session in made:
        session.close()


def assert_it_lives_through_a_revocation(
    oidc: OIDCServer, api: ClientCredentialsSession, api_url: str
) -> None:
    assert api.get(api_url + "/orders").status_code == 200
    oidc.revoke_all()
    answer = api.post(api_url + "/orders?page=2", data=BODY)
    assert answer.status_code == 200, answer.text
    assert answer.json()["sha256"] == hashlib.sha256(BODY).hexdigest()
    assert oidc.counts()["tokens_issued"] == 2


def ec_key() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def jwt_method(client: Client) -> ClientSecretJWT | PrivateKeyJWT:
    if client.private_key_pem is None:
        return ClientSecretJWT()
    # An RSA key alone does not say whether RS256 or PS256 is meant.
    return PrivateKeyJWT(client.private_key_pem, algorithm=client.algorithm)


@pytest.mark.parametrize("name", JWT_CLIENTS)
@pytest.mark.parametrize("where", ["issuer", "token_url"])
def test_an_assertion_proves_the_client(
    oidc: OIDCServer, make: Make, name: str, where: str
) -> None:
    client = oidc.clients[name]
    options = {} if where == "issuer" else {"issuer": None, "token_url": oidc.token_url}
    api = make(client, client_auth=jwt_method(client), **options)
    assert_it_lives_through_a_revocation(oidc, api, oidc.api_url)
    assert oidc.counts()["token_requests"] == 2


def test_a_key_that_is_not_registered_is_refused(oidc: OIDCServer, make: Make) -> None:
    key = oidc.clients["private_key_jwt/ES256"].private_key_pem
    assert key is not None
    api = make(oidc.clients["private_key_jwt/EdDSA"], client_auth=PrivateKeyJWT(key))
    with pytest.raises(TokenRequestDenied) as caught:
        api.get(oidc.api_url + "/orders")
    assert caught.value.error == "invalid_client"


def test_an_assertion_for_another_audience_is_refused(oidc: OIDCServer, make: Make) -> None:
    client = oidc.clients["client_secret_jwt"]
    api = make(client, client_auth=ClientSecretJWT(audience="https://elsewhere.example"))
    with pytest.raises(TokenRequestDenied) as caught:
        api.get(oidc.api_url + "/orders")
    assert caught.value.error == "invalid_client"


def test_an_expired_assertion_is_refused(oidc: OIDCServer, make: Make) -> None:
    oidc.advance(120)
    client = oidc.clients["private_key_jwt/ES256"]
    with pytest.raises(TokenRequestDenied) as caught:
        make(client, client_auth=jwt_method(client)).get(oidc.api_url + "/orders")
    assert caught.value.error == "invalid_client"


def tls_method(client: Client) -> TLSClientAuth:
    assert client.certificate is not None
    self_signed = client.metadata["token_endpoint_auth_method"].startswith("self_signed")
    return TLSClientAuth(client.certificate.pair, self_signed=self_signed)


@pytest.mark.parametrize("name", CERTIFICATE_CLIENTS)
def test_a_certificate_proves_the_client_at_the_alias_and_at_the_api(
    oidc: OIDCServer, make: Make, name: str
) -> None:
    client = oidc.clients[name]
    # The issuer's own token endpoint asks for no certificate: only its mTLS alias will do.
    api = make(client, client_auth=tls_method(client))
    assert_it_lives_through_a_revocation(oidc, api, oidc.tls_api_url)


def test_a_certificate_is_shown_at_a_token_url_too(oidc: OIDCServer, make: Make) -> None:
    client = oidc.clients["tls_client_auth/dn"]
    options = {"issuer": None, "token_url": oidc.mtls_token_url}
    api = make(client, client_auth=tls_method(client), **options)
    assert_it_lives_through_a_revocation(oidc, api, oidc.tls_api_url)


def test_the_certificate_of_somebody_else_is_refused(oidc: OIDCServer, make: Make) -> None:
    client = oidc.clients["tls_client_auth/dn"]
    api = make(client, client_auth=TLSClientAuth(oidc.certificates.other_client.pair))
    with pytest.raises(TokenRequestDenied) as caught:
        api.get(oidc.tls_api_url + "/orders")
    assert caught.value.error == "invalid_client"


def test_dpop_proves_the_key_and_answers_both_nonce_demands(oidc: OIDCServer, make: Make) -> None:
    api = make(oidc.clients["dpop"], scheme=DPoP())
    assert_it_lives_through_a_revocation(oidc, api, oidc.api_url)
    counts = oidc.counts()
    # One demand each: by the authorization server, and by the API before its two 200s and its 401.
    assert counts["token_errors"] == {"use_dpop_nonce": 1}
    assert counts["api_by_status"] == {"200": 2, "401": 2}


@pytest.mark.parametrize("resource", [ORDERS, SIGNED])
def test_dpop_proofs_are_made_anew_for_every_request(
    oidc: OIDCServer, make: Make, resource: str
) -> None:
    api = make(oidc.clients["dpop"], scheme=DPoP(ec_key()), resource=resource)
    statuses = [api.get(oidc.api_url + f"/orders?page={page}#top").status_code for page in range(5)]
    assert statuses == [200] * 5
    assert oidc.counts()["tokens_issued"] == 1


def test_a_nonce_that_changes_costs_one_more_proof_and_no_token(
    oidc: OIDCServer, make: Make
) -> None:
    api = make(oidc.clients["dpop"], scheme=DPoP())
    for _ in range(3):
        oidc.rotate_api_nonce()
        answer = api.put(oidc.api_url + "/orders", data=BODY)
        assert answer.json()["sha256"] == hashlib.sha256(BODY).hexdigest()
    assert oidc.counts()["api_by_status"] == {"200": 3, "401": 3}
    assert oidc.counts()["tokens_issued"] == 1


def test_a_nonce_and_a_token_that_end_together_are_both_renewed(
    oidc: OIDCServer, make: Make
) -> None:
    api = make(oidc.clients["dpop"], scheme=DPoP())
    assert api.get(oidc.api_url + "/orders").status_code == 200
    oidc.rotate_api_nonce()
    oidc.advance(4000)
    answer = api.post(oidc.api_url + "/orders", data=BODY)
    assert answer.json()["sha256"] == hashlib.sha256(BODY).hexdigest()
    assert oidc.counts()["tokens_issued"] == 2


@pytest.mark.parametrize("algorithm", ["ES256", "PS256", "EdDSA"])
def test_dpop_works_with_keys_of_any_kind(oidc: OIDCServer, make: Make, algorithm: str) -> None:
    key = oidc.clients[f"private_key_jwt/{algorithm}"].private_key_pem
    api = make(oidc.clients["dpop"], scheme=DPoP(key, algorithm=algorithm))
    assert api.get(oidc.api_url + "/orders").status_code == 200


def test_dpop_goes_together_with_an_assertion(oidc: OIDCServer, make: Make) -> None:
    client = oidc.clients["private_key_jwt/EdDSA"]
    api = make(client, client_auth=jwt_method(client), scheme=DPoP())
    # The nonce demand refuses the first attempt: an assertion made once would be spent by then.
    assert_it_lives_through_a_revocation(oidc, api, oidc.tls_api_url)


def test_a_client_that_must_use_dpop_is_told_so(oidc: OIDCServer, make: Make) -> None:
    with pytest.raises(TokenRequestDenied) as caught:
        make(oidc.clients["dpop"]).get(oidc.api_url + "/orders")
    assert caught.value.error == "invalid_grant"
