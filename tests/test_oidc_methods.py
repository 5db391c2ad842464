"""Tests of every client authentication method on an authorization server and an API not ours."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import requests

from oauthcc import (
    ClientAssertion,
    ClientCredentialsAuth,
    ClientCredentialsSession,
    ClientSecretJWT,
    ClientSecretPost,
    PrivateKeyJWT,
    TLSClientAuth,
    TokenRequestDenied,
)
from tests.servers.oidc import SCOPE, OIDCServer
from tests.servers.sessions import OIDCSessions
from tests.servers.ways import WAYS, Given, Way

pytestmark = pytest.mark.unmeasured

BODY = b"three pieces" * 10_000
EC = "private_key_jwt/ES256"
LONG = "not the secret, and as long as a secret of HS256 must be: " + "." * 64


# By what is wrong: the registered client, and the options that are passed.
WRONG: dict[str, tuple[str, dict[str, Any] | Way]] = {
    "secret in Basic": ("client_secret_basic", {"client_secret": "wrong"}),
    "secret in the body": (
        "client_secret_post",
        {"client_secret": "wrong", "client_auth": ClientSecretPost},
    ),
    "secret of HS256": (
        "client_secret_jwt/HS256",
        {"client_secret": LONG, "client_auth": "client_secret_jwt"},
    ),
    "algorithm for the secret": (
        "client_secret_jwt/HS512",
        {"client_auth": ClientSecretJWT("HS256")},
    ),
    "method": ("client_secret_jwt/HS256", {"client_auth": "client_secret_basic"}),
    "no secret": ("client_secret_post", {"client_secret": None, "client_auth": "none"}),
    "key of another client": (EC, lambda g: PrivateKeyJWT(g.key_of("EdDSA"))),
    "kid": (EC, lambda g: PrivateKeyJWT(g.pem, key_id="key-RS256")),
    "algorithm for the key": ("private_key_jwt/PS256", lambda g: PrivateKeyJWT(g.pem)),
    "audience": (EC, lambda g: PrivateKeyJWT(g.pem, audience="https://elsewhere.example")),
    "assertion that is old": (EC, lambda g: ClientAssertion(g.assertion(age=600))),
    "certificate of another client": (
        "tls_client_auth/dn",
        lambda g: TLSClientAuth(g.oidc.certificates.other_client.pair),
    ),
    "certificate of no CA": (
        "tls_client_auth/san",
        lambda g: TLSClientAuth(g.oidc.certificates.self_signed.pair),
    ),
    "certificate that is not registered": (
        "self_signed_tls_client_auth",
        lambda g: TLSClientAuth(g.oidc.certificates.client.pair, self_signed=True),
    ),
}


def assert_a_revocation_is_survived(
    oidc: OIDCServer, api: ClientCredentialsSession, api_url: str
) -> None:
    assert api.get(api_url + "/orders").status_code == 200
    oidc.revoke_all()
    answer = api.post(api_url + "/orders?page=2", data=BODY)
    assert answer.status_code == 200, answer.text
    assert answer.json()["sha256"] == hashlib.sha256(BODY).hexdigest()
    counts = oidc.counts()
    assert counts["api_by_status"] == {"200": 2, "401": 1}
    assert counts["tokens_issued"] == counts["token_requests"] == 2


@pytest.mark.parametrize(
    ("name", "way"), [(name, way) for name, ways in WAYS.items() for way in ways]
)
def test_a_client_gets_a_token_and_a_new_one_after_a_revocation(
    oidc: OIDCServer, make: OIDCSessions, tmp_path: Path, name: str, way: str
) -> None:
    client = oidc.clients[name]
    api = make(client, client_auth=WAYS[name][way](Given(oidc, client, tmp_path)))
    # The token endpoint of the issuer asks for no certificate, only its mTLS alias does.
    api_url = oidc.api_url if client.certificate is None else oidc.tls_api_url
    assert_a_revocation_is_survived(oidc, api, api_url)


@pytest.mark.parametrize("name", WAYS)
def test_a_client_gets_a_token_at_a_token_url_too(
    oidc: OIDCServer, make: OIDCSessions, tmp_path: Path, name: str
) -> None:
    client = oidc.clients[name]
    method = next(iter(WAYS[name].values()))(Given(oidc, client, tmp_path))
    if client.certificate is None:
        token_url, api_url = oidc.token_url, oidc.api_url
    else:
        token_url, api_url = oidc.mtls_token_url, oidc.tls_api_url
    api = make(client, client_auth=method, issuer=None, token_url=token_url)
    assert_a_revocation_is_survived(oidc, api, api_url)


@pytest.mark.parametrize("wrong", WRONG)
def test_an_error_has_what_the_server_answered(
    oidc: OIDCServer, make: OIDCSessions, tmp_path: Path, wrong: str
) -> None:
    name, given = WRONG[wrong]
    client = oidc.clients[name]
    if callable(given):
        given = {"client_auth": given(Given(oidc, client, tmp_path))}
    api = make(client, **given)
    with pytest.raises(TokenRequestDenied, match="invalid_client") as caught:
        api.get(oidc.tls_api_url + "/orders")
    assert caught.value.error == "invalid_client"
    assert caught.value.error_description == "client authentication failed"
    assert caught.value.status_code == 401
    assert caught.value.response is not None
    assert caught.value.response.json()["error"] == "invalid_client"
    assert f"({api.tokens._config.client_auth.name} was used)" in str(caught.value)
    assert oidc.counts()["token_errors"] == {"invalid_client": 1}
    assert oidc.counts()["api_requests"] == 0


def test_an_invalid_assertion_is_refused(oidc: OIDCServer, make: OIDCSessions) -> None:
    api = make(EC, client_auth=ClientAssertion("not.an.assertion"))
    with pytest.raises(TokenRequestDenied, match="invalid client_assertion format") as caught:
        api.get(oidc.api_url + "/orders")
    assert (caught.value.status_code, caught.value.error) == (400, "invalid_request")


@pytest.mark.parametrize("name", ["client_secret_jwt/HS256", EC])
def test_an_assertion_that_expires_before_it_arrives_is_refused(
    oidc: OIDCServer, make: OIDCSessions, tmp_path: Path, name: str
) -> None:
    client = oidc.clients[name]
    method = next(iter(WAYS[name].values()))(Given(oidc, client, tmp_path))
    oidc.advance(120)
    with pytest.raises(TokenRequestDenied) as caught:
        make(client, client_auth=method).get(oidc.api_url + "/orders")
    assert caught.value.error == "invalid_client"
    # An assertion with a longer lifetime is accepted.
    if name == EC:
        pem = Given(oidc, client, tmp_path).pem
        api = make(client, client_auth=PrivateKeyJWT(pem, lifetime=300))
        assert api.tokens.get()


def test_an_assertion_in_a_file_is_read_again_for_every_token(
    oidc: OIDCServer, make: OIDCSessions, tmp_path: Path
) -> None:
    given = Given(oidc, oidc.clients[EC], tmp_path)
    path = given.file(given.assertion())
    api = make(EC, client_auth=ClientAssertion(path))
    assert api.get(oidc.api_url + "/orders").status_code == 200
    oidc.revoke_all()
    path.write_text(given.assertion() + "\n")
    assert api.get(oidc.api_url + "/orders").status_code == 200
    assert oidc.counts()["token_errors"] == {}


def test_an_assertion_that_was_used_before_is_refused(
    oidc: OIDCServer, make: OIDCSessions, tmp_path: Path
) -> None:
    used = Given(oidc, oidc.clients[EC], tmp_path).assertion()
    api = make(EC, client_auth=ClientAssertion(used))
    assert api.get(oidc.api_url + "/orders").status_code == 200
    oidc.revoke_all()
    # The token that the API refuses has not expired, so its 401 is returned.
    assert api.get(oidc.api_url + "/orders").status_code == 401
    assert oidc.counts()["token_errors"] == {"invalid_client": 1}
    api.tokens.forget()
    with pytest.raises(TokenRequestDenied, match="invalid_client"):
        api.get(oidc.api_url + "/orders")


TLS_CLIENTS = ["tls_client_auth/dn", "self_signed_tls_client_auth"]


def tls(oidc: OIDCServer, name: str) -> TLSClientAuth:
    certificate = oidc.clients[name].certificate
    assert certificate is not None
    return TLSClientAuth(certificate.pair, self_signed=name.startswith("self_signed"))


@pytest.mark.parametrize("name", TLS_CLIENTS)
def test_the_certificate_is_shown_at_a_redirect_within_the_api_and_nowhere_else(
    oidc: OIDCServer, make: OIDCSessions, name: str
) -> None:
    api = make(name, client_auth=tls(oidc, name))
    token = api.tokens.get()
    assert token.access_token

    within = api.get(f"{oidc.tls_api_url}/redirect?to={oidc.tls_api_url}/orders")
    assert within.status_code == 200
    presented = within.json()["certificate"]
    assert presented is not None

    elsewhere = api.get(f"{oidc.tls_api_url}/redirect?to={oidc.other_tls_api_url}/orders")
    assert elsewhere.history[0].json()["certificate"] == presented
    assert elsewhere.url == oidc.other_tls_api_url + "/orders"
    assert elsewhere.status_code == 401
    assert elsewhere.json()["certificate"] is None
    assert elsewhere.json()["detail"] == "no credentials"

    outside = api.get(oidc.other_tls_api_url + "/orders")
    assert outside.json()["certificate"] is None
    assert oidc.counts()["tokens_issued"] == 1


def test_the_certificate_that_the_caller_passes_is_shown_to_the_api(
    oidc: OIDCServer, make: OIDCSessions
) -> None:
    api = make("tls_client_auth/dn", client_auth=tls(oidc, "tls_client_auth/dn"))
    other = oidc.certificates.other_client.pair
    answer = api.get(oidc.tls_api_url + "/orders", cert=other)
    assert answer.status_code == 401
    assert answer.json()["detail"] == "the token is bound to another certificate"
    # The replay has a new token, which is bound to the certificate of the client too.
    assert oidc.counts()["tokens_issued"] == 2
    api.close()  # before 2.32 requests uses the connection again, whatever certificate it has
    assert api.get(oidc.tls_api_url + "/orders").status_code == 200


def test_a_secret_may_be_used_over_a_connection_with_a_certificate(
    oidc: OIDCServer, make: OIDCSessions
) -> None:
    api = make("certificate-bound", issuer=None, token_url=oidc.mtls_token_url)
    api.cert = api.tokens.endpoint.cert = oidc.certificates.client.pair
    assert_a_revocation_is_survived(oidc, api, oidc.tls_api_url)


def test_a_plain_session_shows_the_certificate_that_is_set_on_it(oidc: OIDCServer) -> None:
    method = tls(oidc, "tls_client_auth/dn")
    auth = ClientCredentialsAuth(
        None,
        oidc.clients["tls_client_auth/dn"].client_id,
        scope=SCOPE,
        issuer=oidc.tls_issuer,
        client_auth=method,
    )
    auth.tokens.endpoint.verify = oidc.ca_bundle
    auth.tokens.endpoint.trust_env = False
    with requests.Session() as plain:
        plain.trust_env, plain.verify, plain.cert = False, oidc.ca_bundle, method.cert
        url = oidc.tls_api_url + "/orders"
        assert plain.get(url, auth=auth).status_code == 200
        oidc.revoke_all()
        answer = plain.post(url, data=BODY, auth=auth)
    auth.tokens.close()
    assert answer.json()["sha256"] == hashlib.sha256(BODY).hexdigest()
    assert oidc.counts()["tokens_issued"] == 2
