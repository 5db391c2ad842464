"""The servers of `oauthcc.testing` with assertions, DPoP proofs and client certificates."""

from __future__ import annotations

import json
import ssl
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests
import trustme
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from oauthcc import (
    ClientCredentialsSession,
    ConfigurationError,
    DPoP,
    PrivateKeyJWT,
    TLSClientAuth,
    TokenRequestDenied,
)
from oauthcc.jwt import Key, generate_key, sha256_base64url
from oauthcc.testing import AuthorizationServer, ProtectedAPI
from oauthcc.testing.assertion import JWT_BEARER

RSA = rsa.generate_private_key(65537, 2048)
EC = generate_key("ES256")
SECRET = "a secret of at least thirty-two octets"


def pem(key: Any) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def public_pem(key: Any) -> str:
    form = Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(*form).decode()


# --- Assertions


def assert_accepted(auth: AuthorizationServer, api: ProtectedAPI, **options: Any) -> None:
    with ClientCredentialsSession(auth.token_url, "orders", **options) as session:
        assert session.get(api.url, timeout=10).status_code == 200


@pytest.mark.parametrize("as_bytes", [False, True])
def test_a_client_is_known_by_its_public_key_in_pem(
    auth: AuthorizationServer, api: ProtectedAPI, as_bytes: bool
) -> None:
    key = public_pem(RSA)
    auth.add_client("orders", public_key=key.encode() if as_bytes else key)
    assert_accepted(auth, api, client_auth=PrivateKeyJWT(pem(RSA)))
    assert_accepted(auth, api, client_auth=PrivateKeyJWT(pem(RSA), algorithm="PS512"))


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512", "EdDSA"])
def test_a_client_is_known_by_its_public_key_in_jwk(
    auth: AuthorizationServer, api: ProtectedAPI, algorithm: str
) -> None:
    key = generate_key(algorithm)
    auth.add_client("orders", public_key=key.public_jwk)
    assert_accepted(auth, api, client_auth=PrivateKeyJWT(pem(key.private)))
    auth.add_client("orders", public_key=json.dumps(dict(key.public_jwk)))
    assert_accepted(auth, api, client_auth=PrivateKeyJWT(pem(key.private)))


def test_a_client_may_sign_with_its_secret(auth: AuthorizationServer, api: ProtectedAPI) -> None:
    auth.add_client("orders", SECRET, method="client_secret_jwt")
    assert_accepted(auth, api, client_secret=SECRET, client_auth="client_secret_jwt")
    with pytest.raises(TokenRequestDenied, match="Signature verification failed"):
        assert_accepted(auth, api, client_secret=SECRET + "!", client_auth="client_secret_jwt")
    with pytest.raises(TokenRequestDenied):
        assert_accepted(auth, api, client_secret=SECRET)


def test_the_issuer_is_an_audience_too(auth: AuthorizationServer, api: ProtectedAPI) -> None:
    auth.add_client("orders", public_key=EC.public_jwk)
    method = PrivateKeyJWT(pem(EC.private))
    with ClientCredentialsSession.from_issuer(auth.issuer, "orders", client_auth=method) as session:
        assert session.get(api.url, timeout=10).status_code == 200


def test_an_assertion_is_accepted_at_the_token_endpoint_of_an_api(
    auth: AuthorizationServer,
) -> None:
    auth.add_client("orders", public_key=EC.public_jwk)
    with ProtectedAPI(auth, serve_token_endpoint=True) as api:
        method = PrivateKeyJWT(pem(EC.private))
        with ClientCredentialsSession(api.token_url, "orders", client_auth=method) as session:
            assert session.get(api.url, timeout=10).status_code == 200


def test_times_are_not_those_of_a_clock_that_was_moved(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    auth.add_client("orders", public_key=EC.public_jwk)
    auth.advance(7200)
    assert_accepted(auth, api, client_auth=PrivateKeyJWT(pem(EC.private)), scheme=DPoP())


def claims_for(auth: AuthorizationServer, **changed: object) -> dict[str, object]:
    claims = {"iss": "orders", "sub": "orders", "aud": auth.token_url, "jti": str(time.time_ns())}
    claims = {**claims, "exp": int(time.time()) + 60, **changed}
    return {name: value for name, value in claims.items() if value is not None}


def ask(auth: AuthorizationServer, assertion: str, **more: object) -> tuple[int, dict[str, Any]]:
    form = {"grant_type": "client_credentials", "client_assertion_type": JWT_BEARER}
    form = {**form, "client_assertion": assertion, **more}
    basic = form.pop("basic", None)
    answer = requests.post(auth.token_url, data=form, auth=basic, timeout=10)
    return answer.status_code, answer.json()


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"iss": "other"}, "Invalid issuer"),
        ({"aud": "https://as.example/token"}, "Audience doesn't match"),
        ({"exp": 1}, "has expired"),
        ({"exp": "x"}, "could not convert"),
        ({"exp": float("nan")}, "not a finite number"),
        ({"exp": float("inf")}, "not a finite number"),
        ({"iat": float("nan")}, "not a finite number"),
        ({"exp": 10**400}, "too large"),
        ({"iat": []}, "must be"),
        ({"nbf": 9_999_999_999}, "not valid yet"),
        ({"exp": None}, "missing the 'exp' claim"),
        ({"jti": None}, "missing the 'jti' claim"),
        ({"iss": None}, "missing the 'iss' claim"),
        ({"aud": None}, "missing the 'aud' claim"),
    ],
    ids=str,
)
def test_a_wrong_assertion_is_refused_with_the_reason(
    auth: AuthorizationServer, changed: dict[str, object], reason: str
) -> None:
    auth.add_client("orders", public_key=EC.public_jwk)
    status, body = ask(auth, EC.sign(claims_for(auth)))
    assert status == 200, body
    status, body = ask(auth, EC.sign(claims_for(auth, **changed)))
    assert (status, body["error"]) == (401, "invalid_client")
    assert reason in body["error_description"]


@pytest.mark.parametrize("key", [generate_key("ES256"), generate_key("EdDSA")], ids=["EC", "OKP"])
def test_an_assertion_of_another_key_is_refused(auth: AuthorizationServer, key: Key) -> None:
    auth.add_client("orders", public_key=EC.public_jwk)
    status, body = ask(auth, key.sign(claims_for(auth)))
    assert (status, body["error"]) == (401, "invalid_client")
    assert body["error_description"]


def test_a_public_key_is_no_secret(auth: AuthorizationServer) -> None:
    key = public_pem(RSA)
    auth.add_client("orders", public_key=key)
    forged = jwt.api_jws.PyJWS()
    forged._algorithms["HS256"].prepare_key = lambda given: given.encode()  # type: ignore[method-assign]
    claims = json.dumps(claims_for(auth)).encode()
    status, _ = ask(auth, forged.encode(claims, key, "HS256"))
    assert status == 401


def test_an_assertion_is_accepted_once(auth: AuthorizationServer) -> None:
    auth.add_client("orders", public_key=EC.public_jwk)
    assertion = EC.sign(claims_for(auth))
    assert ask(auth, assertion)[0] == 200
    status, body = ask(auth, assertion)
    assert (status, body["error_description"]) == (401, "The jti was used before")


def test_the_client_id_beside_an_assertion_may_be_absent_but_not_another(
    auth: AuthorizationServer,
) -> None:
    auth.add_client("orders", public_key=EC.public_jwk)
    assert ask(auth, EC.sign(claims_for(auth)), client_id="orders")[0] == 200
    status, body = ask(auth, EC.sign(claims_for(auth)), client_id="demo-client")
    assert (status, body["error"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    "more", [{"client_secret": "x"}, {"basic": ("orders", "x")}], ids=["in the body", "Basic"]
)
def test_an_assertion_and_a_secret_are_too_much(
    auth: AuthorizationServer, more: dict[str, object]
) -> None:
    auth.add_client("orders", public_key=EC.public_jwk)
    status, body = ask(auth, EC.sign(claims_for(auth)), **more)
    assert (status, body["error"]) == (400, "invalid_request")


@pytest.mark.parametrize("text", ["x", "x.y.z", "W10.W10.", "bnVsbA.e30.x"])
def test_what_is_no_jwt_is_a_bad_request(auth: AuthorizationServer, text: str) -> None:
    status, body = ask(auth, text)
    assert (status, body["error"]) == (400, "invalid_request")
    assert body["error_description"] == "It is not a JWT"


@pytest.mark.parametrize(
    "more", [{}, {"client_assertion_type": JWT_BEARER}], ids=["nothing", "its type"]
)
def test_a_client_with_a_key_needs_an_assertion(
    auth: AuthorizationServer, more: dict[str, str]
) -> None:
    auth.add_client("orders", public_key=EC.public_jwk)
    form = {"grant_type": "client_credentials", "client_id": "orders", **more}
    answer = requests.post(auth.token_url, data=form, timeout=10)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


@pytest.mark.parametrize(
    "material",
    [
        pytest.param("x", id="text"),
        pytest.param(pem(RSA), id="private PEM"),
        pytest.param({"kty": "oct"}, id="secret without value"),
        pytest.param({"kty": "oct", "k": "eA"}, id="secret"),
        pytest.param({}, id="empty JWK"),
        pytest.param("{", id="broken JSON"),
        pytest.param(b"{}", id="bytes"),
    ],
)
def test_what_is_no_public_key_is_a_value_error(auth: AuthorizationServer, material: Any) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        auth.add_client("orders", public_key=material)
    assert not isinstance(caught.value, ConfigurationError)


def test_a_private_jwk_is_not_registered(auth: AuthorizationServer) -> None:
    private = jwt.algorithms.ECAlgorithm.to_jwk(EC.private, as_dict=True)
    with pytest.raises(ValueError, match="not public"):
        auth.add_client("orders", public_key=private)


def test_a_missing_package_is_named(
    auth: AuthorizationServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jwt", None)
    with pytest.raises(ConfigurationError, match=r"oauthcc\[jwt\]"):
        auth.add_client("orders", public_key=EC.public_jwk)


@pytest.mark.parametrize(
    "given",
    [
        {"client_secret": "x", "public_key": EC.public_jwk},
        {"client_secret": "x", "certificate": "x"},
        {"client_secret": "x", "method": "private_key_jwt"},
        {"client_secret": "x", "method": "tls_client_auth"},
        {"public_key": EC.public_jwk, "method": "client_secret_basic"},
        {"public_key": EC.public_jwk, "method": "none"},
        {"certificate": "x", "method": "private_key_jwt"},
        {"method": "client_secret_jwt"},
        {"method": "private_key_jwt"},
        {"client_secret": "x", "method": "none"},
    ],
    ids="+".join,
)
def test_method_and_credential_of_a_client_must_fit(
    auth: AuthorizationServer, given: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match="Give one of"):
        auth.add_client("orders", **given)


# --- DPoP


def test_a_token_with_a_proof_is_bound_to_its_key(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    scheme = DPoP()
    with ClientCredentialsSession(
        auth.token_url, auth.client_id, auth.client_secret, scheme=scheme
    ) as session:
        assert session.get(api.url + "/a%20b?c=d", timeout=10).status_code == 200
        auth.revoke_all()
        assert session.post(api.url, data=b"x", timeout=10).status_code == 200
    token = auth.look_up(auth.issued[-1])
    assert token is not None
    assert (token.token_type, token.key_thumbprint) == ("DPoP", scheme.thumbprint)
    assert [seen.token for seen in api.requests] == [
        auth.issued[0],
        auth.issued[0],
        auth.issued[1],
    ]


@pytest.mark.parametrize("algorithm", ["ES384", "EdDSA", "RS256"])
def test_introspection_names_the_key(
    auth: AuthorizationServer, api: ProtectedAPI, algorithm: str
) -> None:
    scheme = DPoP(pem(RSA)) if algorithm == "RS256" else DPoP(algorithm=algorithm)
    pair = (auth.client_id, auth.client_secret)
    with ClientCredentialsSession(auth.token_url, *pair, scheme=scheme) as session:
        assert session.get(api.url, timeout=10).status_code == 200
    answer = requests.post(
        f"{auth.issuer}/introspect", data={"token": auth.issued[0]}, auth=pair, timeout=10
    ).json()
    assert (answer["token_type"], answer["cnf"]) == ("DPoP", {"jkt": scheme.thumbprint})


def test_a_nonce_can_be_demanded_by_each_server(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    auth.dpop_nonce, api.dpop_nonce = "for-tokens", "for-orders"
    with ClientCredentialsSession(
        auth.token_url, auth.client_id, auth.client_secret, scheme=DPoP()
    ) as session:
        assert session.post(api.url, data=b"x", timeout=10).status_code == 200
        assert (len(auth.token_requests), len(api.requests)) == (2, 2)
        api.dpop_nonce = "another"
        assert session.post(api.url, data=b"x", timeout=10).status_code == 200
        assert (len(auth.token_requests), len(api.requests)) == (2, 4)


def proof_for(key: Key, method: str, url: str, token: str | None = None, **changed: Any) -> str:
    """Return a proof with these claims; `typ`, `jwk` and a signer can be replaced too."""
    headers = {"typ": changed.pop("typ", "dpop+jwt"), "jwk": changed.pop("jwk", key.public_jwk)}
    signer = changed.pop("signer", key)
    claims = {"jti": str(time.time_ns()), "htm": method, "htu": url, "iat": int(time.time())}
    if token is not None:
        claims["ath"] = sha256_base64url(token)
    claims = {**claims, **changed}
    return str(signer.sign({n: v for n, v in claims.items() if v is not None}, headers))


def bound_token(auth: AuthorizationServer, *proofs: str) -> requests.Response:
    headers = {"DPoP": ", ".join(proofs or [proof_for(EC, "POST", auth.token_url)])}
    pair = (auth.client_id, auth.client_secret)
    form = {"grant_type": "client_credentials"}
    return requests.post(auth.token_url, data=form, auth=pair, headers=headers, timeout=10)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"typ": "JWT"}, "typ"),
    ({"jwk": None}, "jwk"),
    ({"jwk": {"kty": "oct", "k": "eA"}}, "not public"),
    ({"jwk": {"kty": "EC"}}, "not a valid JWK"),
    ({"jwk": {**EC.public_jwk, "alg": "none"}}, "valid JWK: "),
    ({"signer": generate_key("ES256")}, "Signature verification failed"),
    ({"htm": "PUT"}, "htm"),
    ({"htu": "https://as.example/token"}, "htu"),
    ({"iat": 1}, "iat is too old"),
    ({"iat": 9_999_999_999}, "not valid yet"),
    ({"iat": float("nan")}, "not a finite number"),
    ({"iat": None}, "'iat'"),
    ({"jti": None}, "'jti'"),
]


@pytest.mark.parametrize(("changed", "reason"), WRONG, ids=[str(each[1]) for each in WRONG])
def test_a_wrong_proof_gets_no_token(
    auth: AuthorizationServer, changed: dict[str, Any], reason: str
) -> None:
    answer = bound_token(auth)
    assert answer.json()["token_type"] == "DPoP"
    answer = bound_token(auth, proof_for(EC, "POST", auth.token_url, **changed))
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_dpop_proof")
    assert reason in answer.json()["error_description"]
    assert "DPoP-Nonce" not in answer.headers
    assert len(auth.issued) == 1


def test_a_proof_is_accepted_once(auth: AuthorizationServer) -> None:
    proof = proof_for(EC, "POST", auth.token_url + "?ignored")
    assert bound_token(auth, proof).status_code == 200
    answer = bound_token(auth, proof)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_dpop_proof")


def test_two_proofs_are_one_too_many(auth: AuthorizationServer, api: ProtectedAPI) -> None:
    first, second = (proof_for(EC, "POST", auth.token_url) for _ in range(2))
    assert bound_token(auth, first, second).status_code == 400
    assert bound_token(auth, "").status_code == 400


def test_a_demand_for_a_nonce_contains_it(auth: AuthorizationServer) -> None:
    auth.dpop_nonce = "n-1"
    answer = bound_token(auth)
    assert (answer.status_code, answer.json()["error"]) == (400, "use_dpop_nonce")
    assert answer.headers["DPoP-Nonce"] == "n-1"
    proof = proof_for(EC, "POST", auth.token_url, nonce="n-1")
    assert bound_token(auth, proof).status_code == 200


def of_another_key(token: str, url: str) -> dict[str, str]:
    proof = proof_for(generate_key(), "GET", url, token)
    return {"Authorization": f"DPoP {token}", "DPoP": proof}


REFUSED: dict[str, tuple[Callable[[str, str], dict[str, str]], str]] = {
    "as Bearer": (lambda token, url: {"Authorization": f"Bearer {token}"}, "invalid_token"),
    "without a proof": (
        lambda token, url: {"Authorization": f"DPoP {token}"},
        "invalid_dpop_proof",
    ),
    "without the digest of the token": (
        lambda token, url: {
            "Authorization": f"DPoP {token}",
            "DPoP": proof_for(EC, "GET", url),
        },
        "invalid_dpop_proof",
    ),
    "of another key": (of_another_key, "invalid_token"),
}


@pytest.mark.parametrize(("headers", "error"), REFUSED.values(), ids=REFUSED)
def test_a_bound_token_is_refused(
    auth: AuthorizationServer,
    api: ProtectedAPI,
    headers: Callable[[str, str], dict[str, str]],
    error: str,
) -> None:
    token, url = bound_token(auth).json()["access_token"], api.url + "/orders"
    proof = proof_for(EC, "GET", url, token)
    right = {"Authorization": f"DPoP {token}", "DPoP": proof}
    assert requests.get(url, headers=right, timeout=10).status_code == 200
    assert requests.get(url, headers=right, timeout=10).status_code == 401  # the jti was used
    answer = requests.get(url, headers=headers(token, url), timeout=10)
    challenge = answer.headers["WWW-Authenticate"]
    assert answer.status_code == 401
    assert challenge.startswith(f'DPoP realm="api", error="{error}"')


def test_the_challenge_has_the_scheme_of_the_request(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    api.require_scope("/admin", "admin")
    token, url = bound_token(auth).json()["access_token"], api.url + "/admin"

    def challenge() -> str:
        headers = {"Authorization": f"DPoP {token}", "DPoP": proof_for(EC, "GET", url, token)}
        answer = requests.get(url, headers=headers, timeout=10)
        return str(answer.headers["WWW-Authenticate"])

    assert challenge() == 'DPoP realm="api", error="insufficient_scope", scope="admin"'
    auth.revoke_all()
    assert challenge() == 'DPoP realm="api", error="invalid_token"'


def test_a_token_without_a_key_is_refused_with_the_scheme_dpop(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    form = {"grant_type": "client_credentials"}
    pair = (auth.client_id, auth.client_secret)
    answer = requests.post(auth.token_url, data=form, auth=pair, timeout=10).json()
    assert answer["token_type"] == "Bearer"
    token = answer["access_token"]
    headers = {"Authorization": f"DPoP {token}", "DPoP": proof_for(EC, "GET", api.url, token)}
    answer = requests.get(api.url, headers=headers, timeout=10)
    assert answer.headers["WWW-Authenticate"].startswith('Bearer realm="api", error="invalid_tok')


def test_a_demand_of_the_api_for_a_nonce_contains_it(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    api.dpop_nonce = "n-2"
    token, url = bound_token(auth).json()["access_token"], api.url + "/"
    headers = {"Authorization": f"DPoP {token}", "DPoP": proof_for(EC, "GET", url, token)}
    answer = requests.get(url, headers=headers, timeout=10)
    assert 'error="use_dpop_nonce"' in answer.headers["WWW-Authenticate"]
    assert answer.headers["DPoP-Nonce"] == "n-2"


# --- Client certificates


def on_disk(folder: Path, name: str, certificate: trustme.LeafCert) -> tuple[str, str]:
    """Return the certificate in PEM, and the path of a file that holds it and its key."""
    path = folder / name
    certificate.private_key_and_cert_chain_pem.write_to_path(str(path))
    return certificate.cert_chain_pems[0].bytes().decode(), str(path)


def test_a_client_is_known_by_its_certificate_and_its_tokens_are_bound_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca = trustme.CA()
    pem, path = on_disk(tmp_path, "orders", ca.issue_cert("orders.example"))
    _, other_path = on_disk(tmp_path, "other", ca.issue_cert("other.example"))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.verify_mode = ssl.CERT_OPTIONAL
    ca.configure_trust(tls)
    ca.issue_cert("127.0.0.1").configure_cert(tls)
    ca_file = str(tmp_path / "ca")
    ca.cert_pem.write_to_path(ca_file)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", ca_file)

    with AuthorizationServer(tls=tls) as auth, ProtectedAPI(auth, tls=tls) as api:
        auth.add_client("orders", certificate=pem)

        def session(cert: str) -> ClientCredentialsSession:
            method = TLSClientAuth(cert)
            return ClientCredentialsSession(auth.token_url, "orders", client_auth=method)

        with session(path) as right, session(other_path) as wrong:
            assert right.get(api.url, timeout=10).status_code == 200
            with pytest.raises(TokenRequestDenied, match="invalid_client"):
                wrong.get(api.url, timeout=10)

        form = {"grant_type": "client_credentials", "client_id": "orders"}
        answer = requests.post(auth.token_url, data=form, timeout=10)
        assert answer.status_code == 401, "a client without its certificate"
        form["client_secret"] = "x"
        answer = requests.post(auth.token_url, data=form, cert=path, timeout=10)
        assert answer.status_code == 401, "a secret beside the certificate"

        (token,) = auth.issued
        issued = auth.look_up(token)
        assert issued is not None
        assert (issued.token_type, issued.key_thumbprint) == ("Bearer", None)
        headers = {"Authorization": f"Bearer {token}"}
        answers = {
            cert: requests.get(api.url, headers=headers, cert=cert, timeout=10)
            for cert in (path, other_path, None)
        }
        assert [answer.status_code for answer in answers.values()] == [200, 401, 401]
        assert "another certificate" in answers[None].headers["WWW-Authenticate"]
        auth.add_client("api", "secret")
        claims = requests.post(
            f"{auth.issuer}/introspect",
            data={"token": token},
            auth=("api", "secret"),
            timeout=10,
        ).json()
        assert claims["cnf"] == {"x5t#S256": issued.certificate_thumbprint}
