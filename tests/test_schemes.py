"""The schemes: Bearer, and the proofs of DPoP."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import pickle
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jwt
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st
from requests.adapters import HTTPAdapter

from oauthcc import ClientCredentialsSession
from oauthcc.access_token import Token
from oauthcc.errors import ConfigurationError, TokenError
from oauthcc.redaction import SecretHeader
from oauthcc.schemes import Bearer, DPoP, Scheme, dpop
from oauthcc.testing import Answer, ProtectedAPI, faults
from oauthcc.urls import Origin

from .clock import skip_pauses

if TYPE_CHECKING:
    from .refusals import Scene
    from .servers.oidc import OIDCServer

TOKEN = Token("a-very-secret-token")
VALUE = "Bearer a-very-secret-token"
URL = "https://api.example/orders"
NONCE = "eyJ7S_zG.eyJH0-Z.HX4w-7v"


# Bearer


@pytest.mark.parametrize("token_type", ["Bearer", "bearer", "BEARER", "BearerToken", ""])
def test_bearer_accepts_the_token_types_that_servers_send(token_type: str) -> None:
    assert Bearer().accepts(token_type)


@pytest.mark.parametrize("token_type", ["DPoP", "mac", "N_A", "bearer ", "Bear"])
def test_bearer_accepts_no_other_type(token_type: str) -> None:
    assert not Bearer().accepts(token_type)


@pytest.mark.parametrize("token_type", ["Zoho-oauthtoken", "zoho-OAUTHTOKEN", "Bearer", ""])
def test_bearer_accepts_its_prefix_as_a_token_type(token_type: str) -> None:
    assert Bearer("Zoho-oauthtoken").accepts(token_type)
    assert not Bearer("Zoho-oauthtoken").accepts("DPoP")
    assert not Bearer("").accepts(" ")


@pytest.mark.parametrize(
    ("scheme", "value", "shown"),
    [
        (Bearer("Zoho-oauthtoken"), "Zoho-oauthtoken a-very-secret-token", "Zoho-oauthtoken ***"),
        (Bearer(prefix=""), "a-very-secret-token", "***"),
        (Bearer("", header="X-Token"), "a-very-secret-token", "***"),
        (Bearer("GoogleLogin auth ="), "GoogleLogin auth = a-very-secret-token", "GoogleLogin ***"),
        (Bearer("OAuth2"), "OAuth2 a-very-secret-token", "***"),
        (Bearer("token:"), "token: a-very-secret-token", "***"),
    ],
)
def test_the_token_follows_the_prefix_and_is_not_shown(
    scheme: Bearer, value: str, shown: str
) -> None:
    header = scheme.authorization(TOKEN)
    assert header == value
    assert repr(header) == repr(shown)
    assert repr(pickle.loads(pickle.dumps(header))) == repr(shown)


def test_the_repr_of_bearer_shows_what_was_given() -> None:
    assert repr(Bearer()) == "Bearer()"
    scheme = Bearer("a", header="X-B")
    assert repr(eval(repr(scheme))) == repr(scheme) == "Bearer(prefix='a', header='X-B')"


class WithoutHeader:
    """A scheme of the user's own, which does not say what header carries the token."""

    name, proves, thumbprint = "Bearer", False, None
    accepts, proof, learn = Bearer.accepts, Bearer.proof, Bearer.learn
    demands_nonce, authorization, prefix = Bearer.demands_nonce, Bearer.authorization, "Bearer"


class OwnConstructor(Bearer):
    def __init__(self) -> None:  # without that of Bearer
        self.of_its_own = True


@pytest.mark.parametrize(
    "scheme", [WithoutHeader(), OwnConstructor(), Bearer("bearer", header="AUTHORIZATION")]
)
def test_the_usual_header_carries_the_token_unless_a_scheme_has_another(
    api: ProtectedAPI, scene: Scene, scheme: Any
) -> None:
    session = scene.session(scheme=scheme)
    assert session.get(api.url).status_code == 200
    api.auth.revoke_all()
    assert session.post(api.url, data="again").json()["length"] == 5
    assert [name for name in api.requests[-1].headers if name.lower() == "authorization"] == [
        "Authorization"
    ]
    assert session.get(api.url, auth=("user", "password")).status_code == 401


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_and_copies_keep_prefix_and_header(protocol: int) -> None:
    scheme = Bearer("a", header="X-B")
    for copied in (
        pickle.loads(pickle.dumps(scheme, protocol)),
        copy.copy(scheme),
        copy.deepcopy(scheme),
    ):
        assert repr(copied) == repr(scheme)
        assert copied.authorization(TOKEN) == "a a-very-secret-token"


@pytest.mark.parametrize("prefix", [" ", " a", "a ", "a  b", "a\n", "a\tb", "\xe9", None, 5, b"a"])
def test_a_prefix_that_no_header_can_have_is_refused(prefix: Any) -> None:
    with pytest.raises(ConfigurationError, match="prefix of Bearer must be printable ASCII"):
        Bearer(prefix)


@pytest.mark.parametrize(
    "header", ["", " ", "X Token", "X-Token:", "X-Token\n", "X-\xdc", "x" * 101, None, 5, b"X"]
)
def test_a_header_that_cannot_be_sent_is_refused(header: Any) -> None:
    with pytest.raises(ConfigurationError, match="must be the name of a header"):
        Bearer(header=header)


@pytest.mark.parametrize(
    "header",
    [
        *("Cookie", "HOST", "content-length", "Transfer-Encoding", "Proxy-Authorization", "DPoP"),
        *requests.utils.default_headers(),  # requests sends these always
    ],
)
def test_a_header_that_means_something_else_is_refused(header: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{header} cannot carry a token"):
        Bearer(header=header)


def test_bearer_sends_the_token_without_a_proof() -> None:
    scheme: Scheme = Bearer()
    response = answer(401, {"DPoP-Nonce": NONCE, "WWW-Authenticate": 'DPoP error="use_dpop_nonce"'})
    assert scheme.authorization(TOKEN) == VALUE
    assert scheme.name == "Bearer"
    assert scheme.proves is False
    assert scheme.thumbprint is None
    assert scheme.proof("GET", URL, TOKEN) == {}
    assert scheme.learn(URL, response.headers) is False
    assert scheme.demands_nonce(response) is False
    assert repr(scheme) == "Bearer()"
    assert isinstance(pickle.loads(pickle.dumps(scheme)), Bearer)


# DPoP: the proof


def answer(
    status: int, headers: dict[str, str] | None = None, content: object = b""
) -> requests.Response:
    response = requests.Response()
    response.status_code = status
    response.headers.update(headers or {})
    response._content = content if isinstance(content, bytes) else json.dumps(content).encode()
    return response


def opened(headers: dict[str, SecretHeader]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return header and claims of a proof after a check with the key in it."""
    assert list(headers) == ["DPoP"]
    assert type(headers["DPoP"]) is SecretHeader
    proof = headers["DPoP"].encode().decode()
    head = jwt.get_unverified_header(proof)
    claims = jwt.decode(proof, jwt.PyJWK(head["jwk"], head["alg"]), [head["alg"]])
    return head, claims


@pytest.fixture(scope="module")
def scheme() -> DPoP:
    return DPoP()


def test_a_proof_has_the_claims_of_the_rfc_and_no_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("time.time", lambda: 1_700_000_000.9)
    monkeypatch.setattr("jwt.api_jwt.PyJWT._validate_iat", lambda *_: None)
    head, claims = opened(DPoP().proof("GET", f"{URL}?page=2#top", TOKEN))
    assert head == {"typ": "dpop+jwt", "alg": "ES256", "jwk": head["jwk"]}
    assert set(head["jwk"]) == {"kty", "crv", "x", "y"}
    digest = hashlib.sha256(TOKEN.access_token.encode()).digest()
    assert claims == {
        "jti": claims["jti"],
        "htm": "GET",
        "htu": URL,
        "iat": 1_700_000_000,
        "ath": base64.urlsafe_b64encode(digest).decode().rstrip("="),
    }


def test_a_proof_for_the_token_endpoint_has_no_token_hash(scheme: DPoP) -> None:
    _, claims = opened(scheme.proof("POST", "https://as.example/token", None))
    assert set(claims) == {"jti", "htm", "htu", "iat"}
    assert claims["htm"] == "POST"


def test_no_two_proofs_are_equal(scheme: DPoP) -> None:
    names = {opened(scheme.proof("GET", URL, TOKEN))[1]["jti"] for _ in range(50)}
    assert len(names) == 50
    assert all(len(base64.urlsafe_b64decode(name + "==")) * 8 >= 96 for name in names)


@pytest.mark.parametrize(
    ("url", "htu"),
    [
        ("https://api.example", "https://api.example/"),
        ("https://api.example?x", "https://api.example/"),
        ("HTTPS://API.Example:443/a", "https://api.example/a"),
        ("http://localhost:80/a", "http://localhost/a"),
        ("https://api.example:8443/a/", "https://api.example:8443/a/"),
        ("http://[::1]:8080/a", "http://[::1]:8080/a"),
        ("https://me:pw@api.example/a", "https://api.example/a"),
        ("https://api.example/a%2fb%7ec", "https://api.example/a%2Fb~c"),
        ("https://api.example/a/../b/./c", "https://api.example/b/c"),
        ("https://api.example//a", "https://api.example//a"),
        ("https://api.example/ä b", "https://api.example/%C3%A4%20b"),
        ("https://b\u00fccher.example/a", "https://xn--bcher-kva.example/a"),
        ("https://api.example/a;v=1,2:3@4", "https://api.example/a;v=1,2:3@4"),
    ],
)
def test_the_url_in_a_proof_is_the_requested_one_in_normal_form(
    scheme: DPoP, url: str, htu: str
) -> None:
    prepared = requests.Request("GET", url).prepare().url
    assert prepared is not None
    assert opened(scheme.proof("GET", prepared, TOKEN))[1]["htu"] == htu
    assert opened(scheme.proof("GET", url, TOKEN))[1]["htu"] == htu


@given(st.text(alphabet="abzAZ09/-._~%2fé ;:@&=+$,!*'()|\\^`{}<>\"[]", max_size=30))
def test_the_path_in_a_proof_is_the_one_that_requests_sends(path: str) -> None:
    prepared = requests.Request("GET", f"https://api.example/{path}").prepare()
    sent = prepared.path_url.partition("?")[0]
    assert dpop._path(str(prepared.url)) == sent


@pytest.mark.parametrize("url", ["", "/a", "ftp://api.example/a", "https://a\\@b/secret", "data:x"])
def test_no_proof_is_made_for_a_url_that_cannot_be_requested(scheme: DPoP, url: str) -> None:
    with pytest.raises(ConfigurationError, match="absolute http or https URL") as caught:
        scheme.proof("GET", url, TOKEN)
    assert "secret" not in str(caught.value)
    assert scheme.learn(url, {"DPoP-Nonce": NONCE}) is False


def test_dpop_accepts_only_tokens_that_are_bound_to_the_key(scheme: DPoP) -> None:
    assert scheme.accepts("DPoP")
    assert scheme.accepts("dpop")
    assert not any(map(scheme.accepts, ["", "Bearer", "DPoPToken", "DPoP "]))
    assert scheme.authorization(TOKEN) == "DPoP a-very-secret-token"
    as_a_scheme: Scheme = scheme
    assert (as_a_scheme.name, as_a_scheme.proves) == ("DPoP", True)


# DPoP: the key


def pem(key: Any, password: bytes | None = None) -> str:
    hidden: Any = serialization.NoEncryption()
    if password is not None:
        hidden = serialization.BestAvailableEncryption(password)
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return str(key.private_bytes(*form, hidden).decode())


@pytest.fixture(scope="module")
def private() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP384R1())


def thumbprint(private: ec.EllipticCurvePrivateKey) -> str:
    members = jwt.algorithms.ECAlgorithm.to_jwk(private.public_key(), as_dict=True)
    required = {name: members[name] for name in ("crv", "kty", "x", "y")}
    digest = hashlib.sha256(json.dumps(required, separators=(",", ":")).encode()).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def test_a_key_is_pem_or_jwk_or_a_path_or_a_callable(
    private: ec.EllipticCurvePrivateKey, tmp_path: Path
) -> None:
    text = pem(private)
    file = tmp_path / "proof.pem"
    file.write_text(text)
    jwk = jwt.algorithms.ECAlgorithm.to_jwk(private, as_dict=True)
    for key in (text, text.encode(), jwk, json.dumps(jwk), file, lambda: text):
        scheme = DPoP(key)
        assert scheme.thumbprint == thumbprint(private)
        assert scheme.algorithm == "ES384"
        head, _ = opened(scheme.proof("GET", URL, TOKEN))
        assert head["alg"] == "ES384"
        assert "d" not in head["jwk"]


def test_an_encrypted_key_is_decrypted_with_its_password(
    private: ec.EllipticCurvePrivateKey,
) -> None:
    locked = pem(private, b"open sesame")
    assert DPoP(locked, password="open sesame").thumbprint == thumbprint(private)
    with pytest.raises(ConfigurationError, match="password"):
        DPoP(locked)


def test_an_rsa_key_signs_with_the_given_algorithm() -> None:
    private = rsa.generate_private_key(65537, 2048)
    head, _ = opened(DPoP(pem(private), algorithm="PS256").proof("GET", URL, None))
    assert head["alg"] == "PS256"
    assert set(head["jwk"]) == {"kty", "n", "e"}


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512", "EdDSA"])
def test_a_key_is_generated_for_the_given_algorithm(algorithm: str) -> None:
    scheme = DPoP(algorithm=algorithm)
    assert scheme.algorithm == algorithm
    assert repr(scheme) == f"<DPoP {algorithm}>"
    assert opened(scheme.proof("GET", URL, None))[0]["alg"] == algorithm
    assert scheme.thumbprint != DPoP(algorithm=algorithm).thumbprint


def test_a_key_that_cannot_sign_is_refused_at_construction(
    private: ec.EllipticCurvePrivateKey, tmp_path: Path
) -> None:
    missing = tmp_path / "missing.pem"
    with pytest.raises(ConfigurationError, match=r"missing\.pem"):
        DPoP(missing)
    for key, algorithm in [
        ("a shared secret that is long enough for HS256", None),
        ({"kty": "oct", "k": "c2VjcmV0"}, None),
        (pem(private), "ES256"),
        (None, "HS256"),
        (None, "RS256"),
        (5, None),
    ]:
        with pytest.raises(ConfigurationError):
            DPoP(key, algorithm=algorithm)  # type: ignore[arg-type]


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jwt", None)
    for key in (None, lambda: "never called"):
        with pytest.raises(ConfigurationError, match=r"oauthcc\[jwt\]"):
            DPoP(key)


def test_a_callable_is_called_once_and_not_before_it_is_needed(
    private: ec.EllipticCurvePrivateKey,
) -> None:
    calls: list[int] = []

    def key() -> str:
        calls.append(1)
        return pem(private)

    scheme = DPoP(key)
    assert calls == []
    assert repr(scheme) == "<DPoP>"
    for _ in range(3):
        scheme.proof("GET", URL, TOKEN)
    assert scheme.thumbprint == thumbprint(private)
    assert calls == [1]
    assert repr(scheme) == "<DPoP ES384>"


def test_a_callable_that_fails_is_called_again(
    private: ec.EllipticCurvePrivateKey,
) -> None:
    values: list[Any] = [RuntimeError("secret"), pem(private)]

    def key() -> str:
        value = values.pop(0)
        if isinstance(value, Exception):
            raise value
        return str(value)

    scheme = DPoP(key)
    with pytest.raises(TokenError) as caught:
        scheme.proof("GET", URL, TOKEN)
    assert "secret" not in str(caught.value)
    assert scheme.thumbprint == thumbprint(private)


def test_threads_that_need_the_key_at_the_same_time_get_the_same_one() -> None:
    together = threading.Barrier(2)

    def key() -> str:
        together.wait(10)
        return pem(ec.generate_private_key(ec.SECP256R1()))

    scheme = DPoP(key)
    found: list[str | None] = []
    threads = [threading.Thread(target=lambda: found.append(scheme.thumbprint)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [scheme.thumbprint] * 2


def test_no_repr_shows_the_key_or_a_nonce(private: ec.EllipticCurvePrivateKey) -> None:
    scheme = DPoP(pem(private), password=None)
    scheme.learn(URL, {"DPoP-Nonce": NONCE})
    shown = f"{scheme} {scheme!r} {scheme._kept}"
    assert "PRIVATE" not in shown
    assert NONCE not in shown


def test_pickles_and_copies_keep_a_generated_key_but_no_nonces(scheme: DPoP) -> None:
    scheme.learn(URL, {"DPoP-Nonce": NONCE})
    for copied in (pickle.loads(pickle.dumps(scheme)), copy.deepcopy(scheme), copy.copy(scheme)):
        assert copied.thumbprint == scheme.thumbprint
        assert copied.algorithm == scheme.algorithm
        assert "nonce" not in opened(copied.proof("GET", URL, TOKEN))[1]
        assert pickle.loads(pickle.dumps(copied)).thumbprint == scheme.thumbprint


def test_a_pickle_holds_the_path_and_not_the_key_of_a_file(
    private: ec.EllipticCurvePrivateKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "proof.pem").write_text(pem(private, b"pw"))
    monkeypatch.chdir(tmp_path)
    octets = pickle.dumps(DPoP(Path("proof.pem"), password="pw", algorithm="ES384"))
    assert b"PRIVATE" not in octets
    monkeypatch.chdir("/")
    assert pickle.loads(octets).thumbprint == thumbprint(private)


def test_a_pickle_keeps_the_class_of_a_subclass() -> None:
    assert type(pickle.loads(pickle.dumps(CustomDPoP()))) is CustomDPoP


class CustomDPoP(DPoP):
    """A scheme of a user."""


# Nonces for DPoP


def nonce_in(scheme: DPoP, url: str) -> str | None:
    nonce: str | None = opened(scheme.proof("GET", url, TOKEN))[1].get("nonce")
    return nonce


def test_a_nonce_is_used_for_its_origin_and_for_no_other() -> None:
    scheme = DPoP()
    assert scheme.learn(URL, {"DPoP-Nonce": NONCE}) is True
    assert scheme.learn("https://API.example:443/else?x", {"DPoP-Nonce": NONCE}) is False
    assert nonce_in(scheme, "https://api.example/other") == NONCE
    for other in ("http://api.example/", "https://api.example:444/", "https://as.example/"):
        assert nonce_in(scheme, other) is None
    assert scheme.learn(URL, {"DPoP-Nonce": "next"}) is True
    assert nonce_in(scheme, URL) == "next"
    assert scheme.learn(URL, {}) is False
    assert nonce_in(scheme, URL) == "next"


class Gateway:
    """An authorization server and an API on one origin, each of which demands its own nonces."""

    def __init__(self, api: ProtectedAPI) -> None:
        api.protected = False
        api.add_route("/token", lambda seen: self._answer(seen, "of-the-server", 400))
        api.add_route("/orders", lambda seen: self._answer(seen, "of-the-api", 401))
        self.url, self.seen = api.url, list[tuple[str, str | None, Any]]()

    def _answer(self, seen: Any, nonce: str, refusal: int) -> Answer:
        claims = opened({"DPoP": SecretHeader(seen.headers["DPoP"])})[1]
        self.seen.append((seen.path, claims.get("nonce"), claims["jti"]))
        fields = {"DPoP-Nonce": nonce, "WWW-Authenticate": 'DPoP error="use_dpop_nonce"'}
        if claims.get("nonce") != nonce:
            return faults.json_answer({"error": "use_dpop_nonce"}, refusal, fields)
        token = {"access_token": f"t{len(self.seen)}", "token_type": "DPoP", "expires_in": 3600}
        return faults.json_answer(token, 200, {"DPoP-Nonce": nonce})

    def taken(self) -> list[tuple[str, str | None]]:
        """Return the requests since the last call: path and nonce."""
        taken, self.seen[:] = [(path, nonce) for path, nonce, _ in self.seen], []
        return taken


@pytest.fixture
def gateway(api: ProtectedAPI) -> Gateway:
    return Gateway(api)


def test_the_nonces_of_the_server_and_of_the_api_are_kept_apart_on_one_origin(
    gateway: Gateway,
) -> None:
    client: Any = f"{gateway.url}/token", "my-id", "my-secret"
    scheme = DPoP()
    with ClientCredentialsSession(*client, scheme=scheme) as session:
        assert session.post(f"{gateway.url}/orders", data=b"x").status_code == 200
        server, api = ("/token", "of-the-server"), ("/orders", "of-the-api")
        assert gateway.taken() == [("/token", None), server, ("/orders", None), api]
        # From now on, no request is refused for its nonce, also if it cannot be sent again.
        for _ in range(2):
            session.tokens.renew()
            answered = session.post(f"{gateway.url}/orders", data=iter([b"x"]))
            assert answered.status_code == 200
            assert gateway.taken() == [server, api]
    # Another session with the same scheme knows both.
    with ClientCredentialsSession(*client, scheme=scheme) as session:
        assert session.get(f"{gateway.url}/orders").status_code == 200
        assert gateway.taken() == [server, api]


def test_a_nonce_of_the_api_is_never_sent_to_the_server(gateway: Gateway) -> None:
    scheme = DPoP()
    scheme.learn(gateway.url, {"DPoP-Nonce": "of-the-api"})
    with ClientCredentialsSession(f"{gateway.url}/token", "a", "b", scheme=scheme) as session:
        assert session.get(f"{gateway.url}/orders").status_code == 200
    assert ("/token", "of-the-api") not in (taken := gateway.taken())
    assert taken[-1] == ("/orders", "of-the-api")


def test_token_requests_have_the_key_and_the_class_of_the_scheme(gateway: Gateway) -> None:
    calls: list[str] = []

    class Mine(DPoP):
        def proof(self, method: str, url: str, token: Token | None) -> dict[str, SecretHeader]:
            calls.append(method)
            return super().proof(method, url, token)

    def key() -> str:
        calls.append("key")
        return pem(ec.generate_private_key(ec.SECP256R1()))

    with ClientCredentialsSession(f"{gateway.url}/token", "a", "b", scheme=Mine(key)) as session:
        session.get(f"{gateway.url}/orders")
    assert calls == ["key", "POST", "POST", "GET", "GET"]


def test_each_attempt_of_ours_has_a_proof_of_its_own(
    gateway: Gateway, api: ProtectedAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    skip_pauses(monkeypatch)
    with ClientCredentialsSession(f"{gateway.url}/token", "a", "b", scheme=DPoP()) as session:
        session.tokens.get()
        before = len(api.requests)
        api.answer_next(faults.unavailable(503, None))
        session.tokens.renew()
        proofs = [seen.headers["DPoP"] for seen in api.requests[before:]]
        assert len(proofs) == len(set(proofs)) == 2


def test_an_adapter_is_given_a_proof_for_the_server_as_a_plain_text(gateway: Gateway) -> None:
    types: set[type] = set()

    class Looking(HTTPAdapter):
        def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
            if request.url.endswith("/token"):
                types.update(map(type, request.headers.values()))
            return super().send(request, *args, **kwargs)

    with ClientCredentialsSession(f"{gateway.url}/token", "a", "b", scheme=DPoP()) as session:
        session.mount("http://", Looking())
        session.tokens.get()
    assert types <= {str, bytes}


@pytest.mark.parametrize(
    "nonce", ["", "a b", "a,b", 'a"b', "a\\b", "a\r\nb", "é", "a\x7f", " a", "x" * 1025]
)
def test_an_invalid_nonce_is_not_stored(nonce: str) -> None:
    scheme = DPoP()
    legal = set("".join(map(chr, range(0x21, 0x7F)))) - set('"\\')
    kept = bool(nonce) and set(nonce) <= legal and len(nonce) <= 1024
    assert scheme.learn(URL, {"DPoP-Nonce": nonce}) is kept
    assert nonce_in(scheme, URL) == (nonce if kept else None)
    assert scheme.demands_nonce(answer(400, {"DPoP-Nonce": nonce}, DEMAND)) is kept


@given(st.text(max_size=20))
def test_no_nonce_prevents_a_proof(nonce: str) -> None:
    scheme = DPoP(_KEY)
    scheme.learn(URL, {"DPoP-Nonce": nonce})
    assert nonce_in(scheme, URL) in (None, nonce)


def test_the_number_of_origins_is_limited_and_the_oldest_is_dropped() -> None:
    scheme = DPoP()
    for number in range(dpop.MAX_ORIGINS + 1):
        assert scheme.learn(f"https://api{number}.example/", {"DPoP-Nonce": f"n{number}"})
    assert len(scheme._nonces) == dpop.MAX_ORIGINS
    assert nonce_in(scheme, "https://api0.example/") is None
    assert nonce_in(scheme, "https://api1.example/") == "n1"
    assert nonce_in(scheme, f"https://api{number}.example/") == f"n{number}"


def test_threads_may_store_nonces_at_the_same_time() -> None:
    scheme = DPoP(_KEY)
    faults: list[RuntimeError] = []

    def work(thread: int) -> None:
        try:
            for number in range(300):
                url = f"https://a{thread}-{number}.example/"
                scheme.learn(url, {"DPoP-Nonce": f"{thread}.{number}"})
                scheme._nonces.get(Origin("https", f"a{thread}-{number}.example", 443))
        except RuntimeError as fault:  # a dict that changes during an iteration
            faults.append(fault)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert len(scheme._nonces) == dpop.MAX_ORIGINS


DEMAND = {"error": "use_dpop_nonce", "error_description": "..."}
_KEY = pem(ec.generate_private_key(ec.SECP256R1()))
CHALLENGE = 'Bearer realm="a, b", DPoP error="use_dpop_nonce", algs="ES256"'


@pytest.mark.parametrize(
    ("status", "headers", "content", "demanded"),
    [
        (401, {"WWW-Authenticate": CHALLENGE}, b"", True),
        (401, {"WWW-Authenticate": "dpop error=use_dpop_nonce"}, b"", True),
        (400, {}, DEMAND, True),
        (401, {}, DEMAND, True),
        (401, {"WWW-Authenticate": 'DPoP error="invalid_token"'}, b"", False),
        (401, {"WWW-Authenticate": 'Bearer error="use_dpop_nonce"'}, b"", False),
        (401, {"WWW-Authenticate": "DPoP"}, b"", False),
        (401, {}, b"", False),
        (400, {}, {"error": "invalid_dpop_proof"}, False),
        (400, {}, [DEMAND], False),
        (400, {}, b"[" * 50_000, False),
        (400, {}, b"\xff\xfe\xfa", False),
        (400, {}, json.dumps({**DEMAND, "x": "x" * 65_536}).encode(), False),
        (200, {"WWW-Authenticate": CHALLENGE}, DEMAND, False),
        (403, {"WWW-Authenticate": CHALLENGE}, DEMAND, False),
        (500, {}, DEMAND, False),
    ],
)
def test_a_challenge_or_a_json_error_demands_a_nonce(
    scheme: DPoP, status: int, headers: dict[str, str], content: object, demanded: bool
) -> None:
    with_nonce = answer(status, {**headers, "DPoP-Nonce": NONCE}, content)
    assert scheme.demands_nonce(with_nonce) is demanded
    assert scheme.demands_nonce(answer(status, headers, content)) is False


def test_a_body_that_was_not_read_yet_is_not_read(scheme: DPoP) -> None:
    response = requests.Response()
    response.status_code = 401
    response.headers["DPoP-Nonce"] = NONCE
    assert scheme.demands_nonce(response) is False
    response.headers["WWW-Authenticate"] = CHALLENGE
    assert scheme.demands_nonce(response) is True
    assert not response._content


# With a real server


def test_an_authorization_server_and_an_api_accept_the_proofs(oidc: OIDCServer) -> None:
    scheme = DPoP()
    form = {"grant_type": "client_credentials", "scope": "orders:read"}
    with requests.Session() as plain:
        plain.trust_env = False

        def ask() -> requests.Response:
            proof = scheme.proof("POST", oidc.token_url, None)
            auth = oidc.clients["dpop"].pair
            return plain.post(oidc.token_url, data=form, headers=proof, auth=auth)

        def call() -> requests.Response:
            url = f"{oidc.api_url}/orders?page=1"
            proof = scheme.proof("GET", url, token)
            shown = scheme.authorization(token)
            return plain.get(url, headers={"Authorization": shown, **proof})

        first = ask()
        assert first.status_code == 400
        assert scheme.demands_nonce(first)
        assert scheme.learn(first.url, first.headers)
        granted = ask().json()
        assert scheme.accepts(granted["token_type"])
        token = Token(granted["access_token"], granted["token_type"])
        refused = call()
        assert refused.status_code == 401
        assert scheme.demands_nonce(refused)
        assert scheme.learn(refused.url, refused.headers)
        assert call().status_code == 200
        oidc.rotate_api_nonce()
        rotated = call()
        assert scheme.demands_nonce(rotated)
        assert scheme.learn(rotated.url, rotated.headers)
        assert call().status_code == 200
