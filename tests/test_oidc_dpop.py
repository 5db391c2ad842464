"""Tests of sessions with DPoP, on servers that check every proof and on one that misbehaves."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from oauthcc import (
    ClientCredentialsAuth,
    ClientCredentialsSession,
    DPoP,
    InvalidTokenResponse,
    PrivateKeyJWT,
    TLSClientAuth,
    TokenRequestDenied,
    events,
)
from oauthcc.testing import Answer, AuthorizationServer, ProtectedAPI, SeenRequest, json_answer
from tests.servers.oidc import ORDERS, SCOPE, SIGNED, OIDCServer
from tests.servers.sessions import OIDCSessions

pytestmark = pytest.mark.unmeasured

BODY = b"three pieces" * 10_000


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def key_of(oidc: OIDCServer, algorithm: str) -> str:
    pem = oidc.clients[f"private_key_jwt/{algorithm}"].private_key_pem
    assert pem is not None
    return pem


def ec_key() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def assert_a_revocation_is_survived(
    oidc: OIDCServer, api: ClientCredentialsSession, api_url: str
) -> None:
    assert api.get(api_url + "/orders").status_code == 200
    oidc.revoke_all()
    answer = api.post(api_url + "/orders?page=2", data=BODY)
    assert answer.status_code == 200, answer.text
    assert answer.json()["sha256"] == sha256(BODY)
    counts = oidc.counts()
    assert counts["tokens_issued"] == 2
    # One demand by the authorization server, and one by the API before its two 200s and its 401.
    assert counts["token_errors"] == {"use_dpop_nonce": 1}
    assert counts["api_by_status"] == {"200": 2, "401": 2}


def test_a_bound_token_is_renewed_after_a_revocation(oidc: OIDCServer, make: OIDCSessions) -> None:
    assert_a_revocation_is_survived(oidc, make("dpop", scheme=DPoP()), oidc.api_url)


def test_a_bound_token_works_over_tls_too(oidc: OIDCServer, make: OIDCSessions) -> None:
    assert_a_revocation_is_survived(oidc, make("dpop", scheme=DPoP), oidc.tls_api_url)


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "PS256", "RS256", "EdDSA"])
def test_a_proof_can_have_every_type_of_key(
    oidc: OIDCServer, make: OIDCSessions, algorithm: str
) -> None:
    scheme = DPoP(key_of(oidc, algorithm), algorithm=algorithm)
    assert_a_revocation_is_survived(oidc, make("dpop", scheme=scheme), oidc.api_url)


def test_dpop_works_together_with_an_assertion(oidc: OIDCServer, make: OIDCSessions) -> None:
    # The demand for a nonce refuses the first attempt, and an assertion can be used only once.
    method = PrivateKeyJWT(key_of(oidc, "EdDSA"))
    api = make("private_key_jwt/EdDSA", client_auth=method, scheme=DPoP())
    assert_a_revocation_is_survived(oidc, api, oidc.tls_api_url)


def test_dpop_works_together_with_a_certificate(oidc: OIDCServer, make: OIDCSessions) -> None:
    method = TLSClientAuth(oidc.certificates.client.pair)
    api = make("tls_client_auth/dpop", client_auth=method, scheme=DPoP())
    assert_a_revocation_is_survived(oidc, api, oidc.tls_api_url)
    assert api.get(oidc.tls_api_url + "/orders").json()["certificate"] is not None


def test_dpop_works_in_a_plain_session(oidc: OIDCServer) -> None:
    client_id, secret = oidc.clients["dpop"].pair
    auth = ClientCredentialsAuth(oidc.token_url, client_id, secret, SCOPE, scheme=DPoP())
    with requests.Session() as plain:
        plain.auth = auth
        assert plain.get(oidc.api_url + "/orders").status_code == 200
        oidc.revoke_all()
        answer = plain.post(oidc.api_url + "/orders", data=BODY)
    auth.tokens.close()
    assert answer.json()["sha256"] == sha256(BODY)
    assert oidc.counts()["api_by_status"] == {"200": 2, "401": 2}


@pytest.mark.parametrize("resource", [ORDERS, SIGNED])
def test_every_request_has_a_proof_of_its_own(
    oidc: OIDCServer, make: OIDCSessions, resource: str
) -> None:
    api = make("dpop", scheme=DPoP(ec_key()), resource=resource)
    answers = [api.get(oidc.api_url + f"/orders?page={page}#top") for page in range(5)]
    assert [answer.status_code for answer in answers] == [200] * 5
    assert oidc.counts()["tokens_issued"] == 1
    assert len({answer.request.headers["DPoP"].encode() for answer in answers}) == 5


def test_a_stolen_proof_is_refused(oidc: OIDCServer, make: OIDCSessions) -> None:
    sent = make("dpop", scheme=DPoP()).get(oidc.api_url + "/orders").request.headers
    stolen = {name: sent[name].encode().decode() for name in ("Authorization", "DPoP")}
    again = requests.get(oidc.api_url + "/orders", headers=stolen)
    assert again.status_code == 401
    assert again.json()["detail"] == "the proof was used before"


def test_each_hop_of_a_redirect_has_a_proof_of_its_own(
    oidc: OIDCServer, make: OIDCSessions
) -> None:
    api = make("dpop", scheme=DPoP())
    answer = api.post(f"{oidc.api_url}/redirect?to={oidc.api_url}/orders", data=BODY)
    assert answer.status_code == 200
    assert answer.json()["sha256"] == sha256(BODY)
    first, second = answer.history[0].request.headers, answer.request.headers
    assert claims(first)["htu"] == oidc.api_url + "/redirect"
    assert claims(second)["htu"] == oidc.api_url + "/orders"
    # The nonce was demanded once, on the first hop.
    assert oidc.counts()["api_by_status"] == {"401": 1, "307": 1, "200": 1}


def test_a_hop_to_another_origin_has_neither_token_nor_proof(
    oidc: OIDCServer, make: OIDCSessions
) -> None:
    api = make("dpop", scheme=DPoP())
    answer = api.get(f"{oidc.tls_api_url}/redirect?to={oidc.other_tls_api_url}/orders")
    assert answer.json()["detail"] == "no credentials"
    assert not {"Authorization", "DPoP"} & set(answer.request.headers)


def test_a_new_nonce_of_the_api_costs_one_more_proof_and_no_token(
    oidc: OIDCServer, make: OIDCSessions
) -> None:
    api = make("dpop", scheme=DPoP())
    for _ in range(3):
        oidc.rotate_api_nonce()
        answer = api.put(oidc.api_url + "/orders", data=BODY)
        assert answer.json()["sha256"] == sha256(BODY)
    assert oidc.counts()["api_by_status"] == {"200": 3, "401": 3}
    assert oidc.counts()["tokens_issued"] == 1


def test_the_next_nonce_is_learned_from_a_success(oidc: OIDCServer, make: OIDCSessions) -> None:
    oidc.use_api_nonces_once()
    api = make("dpop", scheme=DPoP())
    assert [api.get(oidc.api_url + "/orders").status_code for _ in range(5)] == [200] * 5
    assert oidc.counts()["api_by_status"] == {"401": 1, "200": 5}


def test_nonces_of_two_apis_are_kept_apart(oidc: OIDCServer, make: OIDCSessions) -> None:
    api = make("dpop", scheme=DPoP(), api_url=None)
    for _ in range(2):
        for url in (oidc.api_url, oidc.tls_api_url):
            assert api.get(url + "/orders").status_code == 200
    # One demand by each API, because nonces are kept by origin.
    assert oidc.counts()["api_by_status"] == {"401": 2, "200": 4}
    assert oidc.counts()["tokens_issued"] == 1


def test_the_next_nonce_of_the_authorization_server_is_learned_from_a_success(
    oidc: OIDCServer, make: OIDCSessions
) -> None:
    api = make("dpop", scheme=DPoP())
    # A nonce is valid for a few minutes. The server sends the next one before that.
    for seconds in range(0, 1000, 50):
        oidc.advance(seconds)
        api.tokens.renew()
    assert oidc.counts()["tokens_issued"] == 20
    assert oidc.counts()["token_errors"] == {"use_dpop_nonce": 1}


def test_an_expired_nonce_of_the_authorization_server_costs_one_more_proof(
    oidc: OIDCServer, make: OIDCSessions
) -> None:
    api = make("dpop", scheme=DPoP())
    assert api.get(oidc.api_url + "/orders").status_code == 200
    oidc.advance(4000)  # the token and the nonce have expired
    assert api.get(oidc.api_url + "/orders").status_code == 200
    assert oidc.counts()["tokens_issued"] == 2
    assert oidc.counts()["token_errors"] == {"use_dpop_nonce": 2}


def test_a_nonce_and_a_token_that_expire_together_are_both_renewed(
    oidc: OIDCServer, make: OIDCSessions
) -> None:
    api = make("dpop", scheme=DPoP())
    assert api.get(oidc.api_url + "/orders").status_code == 200
    oidc.rotate_api_nonce()
    oidc.advance(4000)
    answer = api.post(oidc.api_url + "/orders", data=BODY)
    assert answer.json()["sha256"] == sha256(BODY)
    assert oidc.counts()["tokens_issued"] == 2


def test_a_body_that_cannot_be_sent_twice_is_sent_once_and_the_nonce_is_kept(
    oidc: OIDCServer, make: OIDCSessions
) -> None:
    seen: list[object] = []
    api = make("dpop", scheme=DPoP(), on_event=seen.append)
    refused = api.post(oidc.api_url + "/orders", data=(part for part in [b"on", b"ce"]))
    assert refused.status_code == 401
    assert 'error="use_dpop_nonce"' in refused.headers["WWW-Authenticate"]
    assert any(isinstance(event, events.ReplayImpossible) for event in seen)
    again = api.post(oidc.api_url + "/orders", data=(part for part in [b"on", b"ce"]))
    assert again.json()["sha256"] == sha256(b"once")
    assert oidc.counts()["api_by_route"] == {"POST /orders": 2}
    assert oidc.counts()["tokens_issued"] == 1


def test_the_token_request_without_dpop_of_a_client_that_must_use_it_is_refused(
    oidc: OIDCServer, make: OIDCSessions
) -> None:
    with pytest.raises(TokenRequestDenied) as caught:
        make("dpop").get(oidc.api_url + "/orders")
    assert caught.value.error == "invalid_grant"
    assert caught.value.error_description is not None


def test_a_token_that_is_bound_to_another_key_is_refused(
    oidc: OIDCServer, make: OIDCSessions
) -> None:
    oidc.demand_nonce(api=False)
    scheme = DPoP()
    api = make("dpop", scheme=scheme)
    assert api.get(oidc.api_url + "/orders").status_code == 200
    other = DPoP()
    token = api.tokens.get()
    url = oidc.api_url + "/orders"
    headers = {"Authorization": other.authorization(token), **other.proof("GET", url, token)}
    assert requests.get(url, headers=headers).json()["detail"] == (
        "the token is bound to another key"
    )


# -- a server that misbehaves -------------------------------------------------------------------


@pytest.fixture
def auth() -> Iterator[AuthorizationServer]:
    with AuthorizationServer() as auth:
        auth.token_fields = {"token_type": "DPoP"}
        yield auth


@pytest.fixture
def protected(auth: AuthorizationServer) -> Iterator[ProtectedAPI]:
    with ProtectedAPI(auth) as protected:
        protected.protected = False
        yield protected


@pytest.fixture
def api(auth: AuthorizationServer) -> Iterator[ClientCredentialsSession]:
    with ClientCredentialsSession(
        auth.token_url, auth.client_id, auth.client_secret, scheme=DPoP()
    ) as api:
        api.trust_env = False
        yield api


def claims(headers: Any) -> dict[str, Any]:
    """Return the claims of a proof after a check with the key in it."""
    proof = headers["DPoP"].encode().decode()
    head = jwt.get_unverified_header(proof)
    assert head["typ"] == "dpop+jwt"
    assert "d" not in head["jwk"]
    key = jwt.PyJWK(head["jwk"], head["alg"]).key
    return dict(jwt.decode(proof, key, [head["alg"]]))


def ath(token: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).rstrip(b"=").decode()


def demand(nonce: str) -> Answer:
    headers = {"WWW-Authenticate": 'DPoP error="use_dpop_nonce"', "DPoP-Nonce": nonce}
    return Answer(401, headers, b"nonce, please")


REFUSED = Answer(401, {"WWW-Authenticate": 'DPoP error="invalid_token"'}, b"unknown token")


def test_a_proof_has_the_claims_that_the_rfc_requires(
    auth: AuthorizationServer, protected: ProtectedAPI, api: ClientCredentialsSession
) -> None:
    api.patch(protected.url + "/a%20b/c?page=2#part")
    [token_request], [seen] = auth.token_requests, protected.requests
    assert seen.headers["Authorization"] == f"DPoP {auth.issued[0]}"
    proof = claims(seen.headers)
    assert proof["htm"] == "PATCH"
    assert proof["htu"] == protected.url + "/a%20b/c"
    assert proof["ath"] == ath(auth.issued[0])
    assert "nonce" not in proof
    proof = claims(token_request.headers)
    assert (proof["htm"], proof["htu"]) == ("POST", auth.token_url)
    assert "ath" not in proof


@pytest.mark.parametrize("first", ["nonce", "token"])
def test_a_nonce_demand_and_a_refusal_are_both_answered_in_either_order(
    auth: AuthorizationServer,
    protected: ProtectedAPI,
    api: ClientCredentialsSession,
    first: str,
) -> None:
    for refusal in [demand("n1"), REFUSED][:: 1 if first == "nonce" else -1]:
        protected.answer_next(refusal)
    answer = api.post(protected.url + "/orders", data=BODY)
    assert answer.status_code == 200
    assert answer.json()["sha256"] == sha256(BODY)
    seen = protected.requests
    assert [sha256(request.body) for request in seen] == [sha256(BODY)] * 3
    proofs = [claims(request.headers) for request in seen]
    assert len({proof["jti"] for proof in proofs}) == 3
    nonces = [None, "n1", "n1"] if first == "nonce" else [None, None, "n1"]
    assert [proof.get("nonce") for proof in proofs] == nonces
    old, new = ath(auth.issued[0]), ath(auth.issued[1])
    tokens = [old, old, new] if first == "nonce" else [old, new, new]
    assert [proof["ath"] for proof in proofs] == tokens
    assert len(auth.token_requests) == 2


def test_an_api_that_always_demands_another_nonce_gets_one_replay(
    protected: ProtectedAPI, api: ClientCredentialsSession, auth: AuthorizationServer
) -> None:
    for nonce in ("n1", "n2", "n3", "n4"):
        protected.answer_next(demand(nonce))
    answer = api.get(protected.url)
    assert answer.status_code == 401
    nonces = [claims(seen.headers).get("nonce") for seen in protected.requests]
    assert nonces == [None, "n1"]
    assert len(auth.token_requests) == 1


def test_an_api_that_refuses_every_token_gets_as_few_requests_as_without_dpop(
    protected: ProtectedAPI, api: ClientCredentialsSession, auth: AuthorizationServer
) -> None:
    protected.answer_next(REFUSED, n=None)
    answers = [api.get(protected.url) for _ in range(10)]
    assert {answer.status_code for answer in answers} == {401}
    # The first refused new token is free, and the second begins a pause.
    assert len(protected.requests) == 12
    assert len(auth.token_requests) == 3


def test_a_token_that_is_not_bound_is_refused(
    auth: AuthorizationServer, protected: ProtectedAPI, api: ClientCredentialsSession
) -> None:
    auth.token_fields = {"token_type": "Bearer"}
    with pytest.raises(InvalidTokenResponse, match="not bound by DPoP"):
        api.get(protected.url)
    assert protected.requests == []


def test_a_demand_by_the_authorization_server_is_answered_once(
    auth: AuthorizationServer, protected: ProtectedAPI, api: ClientCredentialsSession
) -> None:
    wanted = {"error": "use_dpop_nonce"}
    auth.answer_next(json_answer(wanted, 400, {"DPoP-Nonce": "a1"}))
    assert api.get(protected.url).status_code == 200
    assert [claims(seen.headers).get("nonce") for seen in auth.token_requests] == [None, "a1"]
    # The nonce of one origin is not sent to another one.
    assert "nonce" not in claims(protected.requests[0].headers)
    auth.token_requests.clear()
    auth.answer_next(json_answer(wanted, 400, {"DPoP-Nonce": "a2"}), n=None)
    with pytest.raises(TokenRequestDenied, match="use_dpop_nonce"):
        api.tokens.renew()
    assert len(auth.token_requests) == 2


def test_the_nonce_in_a_token_response_is_used_for_the_next_token_request(
    auth: AuthorizationServer, api: ClientCredentialsSession
) -> None:
    token = {"access_token": "t", "token_type": "DPoP"}
    for answer in (
        json_answer({"error": "use_dpop_nonce"}, 400, {"DPoP-Nonce": "a1"}),
        json_answer(token, 200, {"DPoP-Nonce": "a2"}),
        json_answer(token, 200, {"DPoP-Nonce": "a3"}),
    ):
        auth.answer_next(answer)
    for _ in range(3):
        api.tokens.renew()
    nonces = [claims(seen.headers).get("nonce") for seen in auth.token_requests]
    assert nonces == [None, "a1", "a2", "a3"]


def test_each_hop_at_the_origin_of_the_api_has_a_proof_and_others_have_none(
    auth: AuthorizationServer, protected: ProtectedAPI, api: ClientCredentialsSession
) -> None:
    with ProtectedAPI(auth) as other:
        other.protected = False
        away = f"{other.url}/end"
        api.get(f"{protected.url}/redirect-to", params={"url": f"/redirect-to?url={away}"})
        assert [claims(seen.headers)["htu"] for seen in protected.requests] == [
            f"{protected.url}/redirect-to"
        ] * 2
        jtis = {claims(seen.headers)["jti"] for seen in protected.requests}
        assert len(jtis) == 2
        [seen] = other.requests
        assert not {"Authorization", "DPoP"} & set(seen.headers)


def test_a_renewed_token_is_bound_to_the_same_key(
    auth: AuthorizationServer, protected: ProtectedAPI, api: ClientCredentialsSession
) -> None:
    api.get(protected.url)
    api.tokens.renew()
    api.get(protected.url)
    shown: list[SeenRequest] = [*auth.token_requests, *protected.requests]
    keys = {json.dumps(jwt.get_unverified_header(r.headers["DPoP"])["jwk"]) for r in shown}
    assert len(keys) == 1
    assert api.tokens._config.scheme.thumbprint is not None
