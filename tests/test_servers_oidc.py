"""Tests of the real servers with plain requests: they behave as the other tests expect."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import jwt
import pytest
import requests

from tests.servers import oidc as servers
from tests.servers.by_hand import GRANT, Prover, basic, bearer, token_for
from tests.servers.clients import ODD_SECRETS
from tests.servers.oidc import ORDERS, SCOPE, SIGNED, STOCK, OIDCServer

pytestmark = pytest.mark.unmeasured

ROOT = Path(__file__).parent.parent
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@pytest.fixture
def plain() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


@pytest.mark.parametrize("name", ["", "/odd-id", *(f"/{name}" for name in ODD_SECRETS)])
def test_secrets_with_odd_characters_are_accepted_in_basic_and_in_the_body(
    oidc: OIDCServer, plain: requests.Session, name: str
) -> None:
    assert token_for(plain, oidc, f"client_secret_basic{name}")
    client_id, secret = oidc.clients[f"client_secret_post{name}"].pair
    body = {**GRANT, "client_id": client_id, "client_secret": secret}
    answer = plain.post(oidc.token_url, data=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["token_type"] == "Bearer"
    assert answer.json()["expires_in"] == 3600
    assert answer.json()["scope"] == SCOPE


@pytest.mark.parametrize("name", ["percent", "plus", "everything"])
def test_a_secret_that_is_not_form_encoded_in_basic_is_refused(
    oidc: OIDCServer, plain: requests.Session, name: str
) -> None:
    client = oidc.clients[f"client_secret_basic/{name}"]
    answer = plain.post(oidc.token_url, data=GRANT, auth=client.pair)
    assert answer.status_code in (400, 401)
    assert oidc.counts()["token_requests"] == 1
    assert sum(oidc.counts()["token_errors"].values()) == 1


def test_the_api_answers_200_until_the_token_is_revoked(
    oidc: OIDCServer, plain: requests.Session
) -> None:
    token = token_for(plain, oidc, "client_secret_basic")
    good = plain.post(oidc.api_url + "/orders?x=1", b"body", headers=bearer(token))
    assert good.status_code == 200
    assert good.json()["length"] == 4
    assert good.json()["sha256"] == hashlib.sha256(b"body").hexdigest()
    assert good.json()["client_id"] == "basic-client"
    assert oidc.revoke_all() >= 1
    refused = plain.get(oidc.api_url + "/orders", headers=bearer(token))
    assert refused.status_code == 401
    assert refused.headers["WWW-Authenticate"].startswith('Bearer error="invalid_token"')
    counts = oidc.counts()
    assert counts["api_by_status"] == {"200": 1, "401": 1}
    assert counts["api_by_route"] == {"POST /orders": 1, "GET /orders": 1}
    assert counts["token_requests_by_client"] == {"basic-client": 1}
    assert counts["introspections"] == 2


def test_the_api_refuses_a_token_that_its_own_client_revoked(
    oidc: OIDCServer, plain: requests.Session
) -> None:
    token = token_for(plain, oidc, "client_secret_basic")
    headers = basic(oidc.clients["client_secret_basic"])
    assert plain.post(oidc.revocation_url, {"token": token}, headers=headers).status_code == 200
    assert plain.get(oidc.api_url + "/open", headers=bearer(token)).status_code == 401


def test_expired_tokens_are_refused_and_lifetimes_can_be_set(
    oidc: OIDCServer, plain: requests.Session
) -> None:
    oidc.set_ttl(5, "basic-client")
    client = oidc.clients["client_secret_basic"]
    answer = plain.post(oidc.token_url, data=GRANT, headers=basic(client)).json()
    assert answer["expires_in"] == 5
    headers = bearer(answer["access_token"])
    assert plain.get(oidc.api_url + "/open", headers=headers).status_code == 200
    oidc.advance(6)
    assert plain.get(oidc.api_url + "/open", headers=headers).status_code == 401
    oidc.advance(0)
    assert plain.get(oidc.api_url + "/open", headers=headers).status_code == 200
    oidc.expire_all()
    assert plain.get(oidc.api_url + "/open", headers=headers).status_code == 401


def test_a_missing_token_a_missing_scope_and_a_malformed_header_have_different_answers(
    oidc: OIDCServer, plain: requests.Session
) -> None:
    bare = plain.get(oidc.api_url + "/open")
    assert bare.status_code == 401
    assert bare.headers["WWW-Authenticate"].startswith('Bearer realm="orders", DPoP algs=')
    assert "error" not in bare.headers["WWW-Authenticate"]
    reader = bearer(token_for(plain, oidc, "client_secret_basic", scope="orders:read"))
    assert plain.get(oidc.api_url + "/orders", headers=reader).status_code == 200
    for method, path in (("POST", "/orders"), ("GET", "/admin")):
        answer = plain.request(method, oidc.api_url + path, headers=reader)
        assert answer.status_code == 403
        assert 'error="insufficient_scope"' in answer.headers["WWW-Authenticate"]
    malformed = plain.get(oidc.api_url, headers={"Authorization": "Bearer"})
    assert malformed.status_code == 400


def test_a_client_that_closes_in_the_middle_of_its_body_disturbs_no_other_client(
    oidc: OIDCServer, plain: requests.Session
) -> None:
    address = urlsplit(oidc.api_url)
    assert address.hostname
    assert address.port
    with socket.create_connection((address.hostname, address.port), 30) as socket_of_client:
        socket_of_client.sendall(
            b"POST /orders HTTP/1.1\r\nHost: api\r\nContent-Length: 9\r\n\r\nhalf"
        )
        socket_of_client.shutdown(socket.SHUT_WR)
        while socket_of_client.recv(1024):
            pass
    token = token_for(plain, oidc, "client_secret_basic")
    assert plain.get(oidc.api_url + "/open", headers=bearer(token)).status_code == 200


def test_a_token_for_another_resource_is_refused(oidc: OIDCServer, plain: requests.Session) -> None:
    for resource, status in ((ORDERS, 200), (SIGNED, 200), (STOCK, 401)):
        token = token_for(plain, oidc, "client_secret_basic", resource=resource)
        assert ("." in token) is (resource == SIGNED)
        answer = plain.get(oidc.api_url + "/orders", headers=bearer(token))
        assert answer.status_code == status, resource
    unknown = {**GRANT, "resource": "https://unknown.example/"}
    client = oidc.clients["client_secret_basic"]
    answer = plain.post(oidc.token_url, data=unknown, headers=basic(client))
    assert answer.json()["error"] == "invalid_target"
    assert plain.get(oidc.api_url, headers=bearer("a.b.c")).status_code == 401


@pytest.mark.parametrize(
    "name",
    [
        *(f"client_secret_jwt/{a}" for a in ("HS256", "HS384", "HS512")),
        *(f"private_key_jwt/{a}" for a in servers.ALGORITHMS),
    ],
)
def test_a_client_assertion_is_accepted_once(
    oidc: OIDCServer, plain: requests.Session, name: str
) -> None:
    client = oidc.clients[name]
    now = int(time.time())
    who = {"iss": client.client_id, "sub": client.client_id, "aud": oidc.issuer}
    claims = {**who, "iat": now, "exp": now + 60, "jti": str(uuid.uuid4())}
    key = client.private_key_pem or client.client_secret
    assert key is not None
    body = {**GRANT, "client_assertion_type": ASSERTION}
    body["client_assertion"] = jwt.encode(claims, key, client.algorithm)
    first = plain.post(oidc.token_url, data=body)
    assert first.status_code == 200, first.text
    second = plain.post(oidc.token_url, data=body)
    assert second.json()["error"] == "invalid_client"


@pytest.mark.parametrize(
    "name", ["tls_client_auth/dn", "tls_client_auth/san", "self_signed_tls_client_auth"]
)
def test_a_client_certificate_authenticates_and_binds_the_token(
    oidc: OIDCServer, plain: requests.Session, name: str
) -> None:
    client, other = oidc.clients[name], oidc.certificates.other_client
    assert client.certificate is not None
    plain.verify = oidc.ca_bundle
    body = {**GRANT, "client_id": client.client_id}
    for url, cert in ((oidc.tls_token_url, client.certificate), (oidc.mtls_token_url, other)):
        refused = requests.post(url, data=body, verify=oidc.ca_bundle, cert=cert.pair)
        assert refused.json()["error"] == "invalid_client"
    answer = plain.post(oidc.mtls_token_url, data=body, cert=client.certificate.pair)
    assert answer.status_code == 200, answer.text
    headers, url = bearer(answer.json()["access_token"]), oidc.tls_api_url + "/orders"
    right = requests.get(url, headers=headers, verify=oidc.ca_bundle, cert=client.certificate.pair)
    wrong = requests.get(url, headers=headers, verify=oidc.ca_bundle, cert=other.pair)
    without = requests.get(oidc.api_url + "/orders", headers=headers)
    assert [right.status_code, wrong.status_code, without.status_code] == [200, 401, 401]


def test_a_client_with_a_secret_can_get_a_token_that_is_bound_to_a_certificate(
    oidc: OIDCServer, plain: requests.Session
) -> None:
    client, cert = oidc.clients["certificate-bound"], oidc.certificates.client.pair
    plain.verify = oidc.ca_bundle
    unbound = plain.post(oidc.tls_token_url, data=GRANT, headers=basic(client))
    assert unbound.json()["error"] == "invalid_grant"
    bound = plain.post(oidc.mtls_token_url, data=GRANT, headers=basic(client), cert=cert)
    headers = bearer(bound.json()["access_token"])
    assert plain.get(oidc.tls_api_url + "/open", headers=headers, cert=cert).status_code == 200


def test_a_dpop_proof_must_have_a_nonce_and_is_accepted_once(
    oidc: OIDCServer, plain: requests.Session
) -> None:
    prover, url = Prover(), oidc.api_url + "/orders"
    token = prover.token(plain, oidc)
    assert oidc.counts()["token_errors"] == {"use_dpop_nonce": 1}
    demand = plain.get(url, headers=prover.headers("GET", url, token))
    assert demand.status_code == 401
    assert demand.headers["WWW-Authenticate"].startswith('DPoP error="use_dpop_nonce"')
    nonce = demand.headers["DPoP-Nonce"]
    headers = prover.headers("GET", url, token, nonce=nonce)
    assert plain.get(url + "?q=1", headers=headers).status_code == 200
    again = plain.get(url, headers=headers)
    assert 'error="invalid_dpop_proof"' in again.headers["WWW-Authenticate"]
    oidc.rotate_api_nonce()
    stale = plain.get(url, headers=prover.headers("GET", url, token, nonce=nonce))
    assert 'error="use_dpop_nonce"' in stale.headers["WWW-Authenticate"]
    assert stale.headers["DPoP-Nonce"] != nonce


def test_a_proof_with_any_wrong_claim_or_key_is_refused(
    oidc: OIDCServer, plain: requests.Session
) -> None:
    oidc.demand_nonce(api=False)
    prover, url = Prover(), oidc.api_url + "/orders"
    token = prover.token(plain, oidc)
    good = prover.headers("GET", url, token)
    assert plain.get(url, headers=good).status_code == 200
    unbound = token_for(plain, oidc, "client_secret_basic")
    wrong = {
        "htm is another method": prover.headers("POST", url, token),
        "htu is another address": prover.headers("GET", url + "/1", token),
        "htu has a query": prover.headers("GET", url + "?q=1", token),
        "ath is not the hash": prover.headers("GET", url, token, ath="x"),
        "iat is too far": prover.headers("GET", url, token, iat=int(time.time()) - 900),
        "jti is missing": prover.headers("GET", url, token, jti=""),
        "bound to another key": Prover().headers("GET", url, token),
        "is bound to a key": {**prover.headers("GET", url, token), **bearer(token)},
        "exactly one proof": {"Authorization": f"DPoP {token}"},
        "does not verify": {"Authorization": f"DPoP {token}", "DPoP": "x.y.z"},
        "not bound to a key": prover.headers("GET", url, unbound),
    }
    for detail, headers in wrong.items():
        answer = plain.get(url, headers=headers)
        assert answer.status_code == 401, detail
        assert detail in answer.json()["detail"]


def test_a_client_that_must_use_dpop_gets_no_token_without_proof(
    oidc: OIDCServer, plain: requests.Session
) -> None:
    answer = plain.post(oidc.token_url, data=GRANT, headers=basic(oidc.clients["dpop"]))
    assert answer.status_code == 400


def test_nonces_of_the_authorization_server_expire_with_its_clock(
    oidc: OIDCServer, plain: requests.Session
) -> None:
    client, prover = oidc.clients["dpop"], Prover()

    def ask(**claims: str) -> requests.Response:
        headers = {**basic(client), "DPoP": prover.proof("POST", oidc.token_url, **claims)}
        return plain.post(oidc.token_url, data=GRANT, headers=headers)

    nonce = ask().headers["DPoP-Nonce"]
    assert ask(nonce=nonce).status_code == 200
    oidc.advance(600)
    refused = ask(nonce=nonce)
    assert refused.json()["error"] == "use_dpop_nonce"
    assert ask(nonce=refused.headers["DPoP-Nonce"]).status_code == 200


def test_a_public_client_may_use_the_grant_type(oidc: OIDCServer, plain: requests.Session) -> None:
    body = {**GRANT, "client_id": oidc.clients["none"].client_id}
    assert plain.post(oidc.token_url, data=body).status_code == 200


def test_both_issuers_publish_their_own_name_and_the_mtls_alias(
    oidc: OIDCServer, plain: requests.Session
) -> None:
    plain.verify = oidc.ca_bundle
    for issuer, token_url in (
        (oidc.issuer, oidc.token_url),
        (oidc.tls_issuer, oidc.tls_token_url),
    ):
        published = plain.get(issuer + "/.well-known/openid-configuration").json()
        assert published["issuer"] == issuer
        assert published["token_endpoint"] == token_url
        assert published["mtls_endpoint_aliases"] == {"token_endpoint": oidc.mtls_token_url}


def test_the_server_process_ends_when_the_test_process_is_killed(tmp_path: Path) -> None:
    script = """
import pathlib, sys
from tests.servers.oidc import OIDCServer
server = OIDCServer(pathlib.Path(sys.argv[1]))
print(server.api_url, flush=True)
sys.stdin.read()
"""
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as tests:
        assert tests.stdout is not None
        address = urlsplit(tests.stdout.readline().decode().strip())
        assert address.hostname
        assert address.port
        with socket.create_connection((address.hostname, address.port), 30) as held:
            tests.kill()
            assert held.recv(1) == b""


def test_the_error_of_a_server_that_cannot_start_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers.OIDCServer, "_configuration", lambda self: {"clients": None})
    with pytest.raises(RuntimeError, match=r"did not start(.|\n)*TypeError"):
        OIDCServer(tmp_path)


def test_the_error_on_a_machine_without_node_says_what_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    with pytest.raises(servers.ServerUnavailable, match="node and npm are needed"):
        servers.install()
