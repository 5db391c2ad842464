from __future__ import annotations

import base64
import copy
import dataclasses
import datetime as dt
import hashlib
import json
import pickle
import re
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any
from urllib.parse import unquote, unquote_plus

import jwt as pyjwt
import pytest
import requests
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from oauthcc import ClientCredentialsAuth
from oauthcc.client_auth import (
    Attempt,
    ClientAssertion,
    ClientAuth,
    ClientSecretBasic,
    ClientSecretJWT,
    ClientSecretPost,
    NoClientAuth,
    PrivateKeyJWT,
    TLSClientAuth,
    certificate,
    check_secret,
    client_auth_from,
)
from oauthcc.errors import ConfigurationError, TokenError
from oauthcc.jwt import load_key
from oauthcc.redaction.search import redact
from oauthcc.secret import Secret
from oauthcc.stores import MemoryStore
from oauthcc.testing import AuthorizationServer, ProtectedAPI, faults

from .clock import flights_done, moved_clock
from .odd_server import OddServer
from .sessions import session_for

CLIENT_ID = "my id:é"
SECRET = "s:e%c+r/e&t ü"
LONG_SECRET = SECRET + "x" * 64
AUDIENCE = "https://as.example/token"
JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def pem(curve: ec.EllipticCurve, password: str | None = None) -> str:
    encryption: Any = serialization.NoEncryption()
    if password is not None:
        encryption = serialization.BestAvailableEncryption(password.encode())
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    return ec.generate_private_key(curve).private_bytes(*form).decode()


KEY = pem(ec.SECP256R1())
OTHER_KEY = pem(ec.SECP256R1())
LOCKED_KEY = pem(ec.SECP256R1(), "geheim")


def key_from_a_vault() -> str:
    """Return the key: a function of a module can be pickled."""
    return KEY


def attempt(secret: str | None = None) -> Attempt:
    return Attempt(CLIENT_ID, secret, AUDIENCE, {}, [], [])


def authenticated(method: ClientAuth, secret: str | None = None) -> Attempt:
    made = attempt(secret)
    method.authenticate(made)
    return made


def asserted(made: Attempt) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return header and claims of the assertion in an attempt."""
    assertion = dict(made.params)["client_assertion"]
    header, claims, _ = assertion.split(".")
    return _decoded(header), _decoded(claims)


def _decoded(part: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=="))
    return value


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key.pem"
    path.write_text(KEY)
    return path


# The secret itself, or no credential


def test_basic_is_understood_by_servers_that_form_decode_and_that_percent_decode() -> None:
    made = authenticated(ClientSecretBasic(), SECRET)
    scheme, credentials = made.headers["Authorization"].split(" ")
    client_id, secret = base64.b64decode(credentials).decode("ascii").split(":")
    assert scheme == "Basic"
    assert made.params == []
    assert re.fullmatch(r"(?:[\w.~-]|%[0-9A-F]{2})*", client_id + secret, re.ASCII)
    for read in (unquote, unquote_plus):
        assert (read(client_id), read(secret)) == (CLIENT_ID, SECRET)


def test_basic_can_send_id_and_secret_unencoded() -> None:
    made = Attempt("my id", SECRET, AUDIENCE, {}, [], [])
    ClientSecretBasic(encode=False).authenticate(made)
    sent = base64.b64decode(made.headers["Authorization"].removeprefix("Basic "))
    assert sent == f"my id:{SECRET}".encode()


def test_an_unencoded_client_id_with_a_colon_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"colon .* use ClientSecretPost"):
        authenticated(ClientSecretBasic(encode=False), SECRET)


def test_post_sends_both_in_the_body() -> None:
    made = authenticated(ClientSecretPost(), SECRET)
    assert made.params == [("client_id", CLIENT_ID), ("client_secret", SECRET)]
    assert made.headers == {}


def test_none_sends_the_client_id_alone() -> None:
    made = authenticated(NoClientAuth())
    assert (made.params, made.headers, made.secrets) == ([("client_id", CLIENT_ID)], {}, [])


@pytest.mark.parametrize("method", [ClientSecretBasic(), ClientSecretPost(), ClientSecretJWT()])
def test_a_method_that_needs_a_secret_raises_without_one(method: ClientAuth) -> None:
    with pytest.raises(ConfigurationError, match=rf"{type(method).__name__} needs a client_secret"):
        authenticated(method)


# Assertions


def test_an_assertion_has_the_claims_of_rfc_7523() -> None:
    before = int(time.time())
    for method, secret in ((ClientSecretJWT(), LONG_SECRET), (PrivateKeyJWT(KEY), None)):
        made = authenticated(method, secret)
        _, claims = asserted(made)
        assert set(claims) == {"iss", "sub", "aud", "iat", "exp", "jti"}
        assert (claims["iss"], claims["sub"], claims["aud"]) == (CLIENT_ID, CLIENT_ID, AUDIENCE)
        assert before <= claims["iat"] <= time.time()
        assert claims["exp"] == claims["iat"] + 60
        names = ["client_id", "client_assertion_type", "client_assertion"]
        assert [name for name, _ in made.params] == names
        assert dict(made.params)["client_assertion_type"] == JWT_BEARER
        assert dict(made.params)["client_id"] == CLIENT_ID
        assert made.headers == {}


def test_every_attempt_has_its_own_assertion() -> None:
    for method, secret in ((ClientSecretJWT(), LONG_SECRET), (PrivateKeyJWT(KEY), None)):
        numbers = {asserted(authenticated(method, secret))[1]["jti"] for _ in range(20)}
        assert len(numbers) == 20


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_an_assertion_is_signed_with_the_secret(algorithm: str) -> None:
    made = authenticated(ClientSecretJWT(algorithm), LONG_SECRET)
    assertion = dict(made.params)["client_assertion"]
    assert pyjwt.decode(assertion, LONG_SECRET, algorithms=[algorithm], audience=AUDIENCE)


def test_an_assertion_is_signed_with_the_key() -> None:
    made = authenticated(PrivateKeyJWT(KEY))
    public = pyjwt.PyJWK.from_dict({**load_key(KEY).public_jwk, "alg": "ES256"}).key
    assertion = dict(made.params)["client_assertion"]
    assert pyjwt.decode(assertion, public, algorithms=["ES256"], audience=AUDIENCE)
    assert asserted(made)[0] == {"typ": "JWT", "alg": "ES256"}


def test_audience_lifetime_type_and_key_id_may_be_chosen() -> None:
    typ = "client-authentication+jwt"
    options: dict[str, Any] = {"audience": "https://as.example", "lifetime": 5, "type": typ}
    header, claims = asserted(authenticated(ClientSecretJWT(**options), LONG_SECRET))
    assert header == {"typ": typ, "alg": "HS256"}
    assert (claims["aud"], claims["exp"] - claims["iat"]) == ("https://as.example", 5)
    header, claims = asserted(authenticated(PrivateKeyJWT(KEY, key_id="k1", **options)))
    assert header == {"typ": typ, "alg": "ES256", "kid": "k1"}
    assert (claims["aud"], claims["exp"] - claims["iat"]) == ("https://as.example", 5)


@pytest.mark.parametrize("lifetime", [0, -1, 1.5, True, "60", None])
def test_an_invalid_lifetime_is_refused(lifetime: Any) -> None:
    for make in (
        lambda: ClientSecretJWT(lifetime=lifetime),
        lambda: PrivateKeyJWT(KEY, lifetime=lifetime),
    ):
        with pytest.raises(ConfigurationError, match="whole number of seconds"):
            make()


@pytest.mark.parametrize("algorithm", ["RS256", "none", "hs256"])
def test_a_secret_signs_with_hs_algorithms_only(algorithm: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"cannot sign with .* HS256, HS384, HS512, or use PrivateKeyJWT"
    ):
        ClientSecretJWT(algorithm)


def test_a_secret_that_is_too_short_to_sign_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="shorter than the 32 octets"):
        authenticated(ClientSecretJWT(), SECRET)


def test_a_key_may_be_text_octets_jwk_file_or_callable(key_file: Path) -> None:
    pem_file, jwk = key_file, {**load_key(KEY).public_jwk, "kid": "k1"}
    numbers = serialization.load_pem_private_key(KEY.encode(), None).private_numbers()  # type: ignore[union-attr]
    octets = numbers.private_value.to_bytes(32, "big")
    jwk["d"] = base64.urlsafe_b64encode(octets).decode().rstrip("=")
    for key in (KEY, KEY.encode(), jwk, json.dumps(jwk), pem_file, key_from_a_vault, lambda: jwk):
        made = authenticated(PrivateKeyJWT(key))
        header, _ = asserted(made)
        public = pyjwt.PyJWK.from_dict({**load_key(KEY).public_jwk, "alg": "ES256"}).key
        assertion = dict(made.params)["client_assertion"]
        assert pyjwt.decode(assertion, public, algorithms=["ES256"], audience=AUDIENCE)
        assert header["alg"] == "ES256"
        assert header.get("kid") in (None, "k1")


def test_a_rotated_key_file_is_used_for_the_next_attempt(
    key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(key_file.parent)
    method = PrivateKeyJWT(Path(key_file.name))
    monkeypatch.chdir("/")
    before = method.fingerprint(None)
    key_file.write_text(OTHER_KEY)
    public = pyjwt.PyJWK.from_dict({**load_key(OTHER_KEY).public_jwk, "alg": "ES256"}).key
    assertion = dict(authenticated(method).params)["client_assertion"]
    assert pyjwt.decode(assertion, public, algorithms=["ES256"], audience=AUDIENCE)
    assert method.fingerprint(None) != before


def test_a_callable_for_a_key_is_not_called_before_an_attempt() -> None:
    calls = []

    def vault() -> str:
        calls.append(1)
        return KEY

    method = PrivateKeyJWT(vault)
    assert calls == []
    authenticated(method)
    assert calls == [1]


@pytest.mark.parametrize(
    ("key", "options", "advice"),
    [
        (LOCKED_KEY, {}, "give password="),
        (LOCKED_KEY, {"password": "wrong"}, "the password is wrong"),
        (KEY, {"password": "geheim"}, "give no password="),
        (KEY, {"password": ""}, "password is empty"),
        (KEY, {"algorithm": "RS256"}, "which signs with ES256"),
        (KEY, {"algorithm": "HS256"}, "which signs with ES256"),
        ("key.pem", {}, "pathlib.Path"),
        (Path("/no/such/key.pem"), {}, "'/no/such/key.pem' cannot be read: No such file"),
        (dict(load_key(KEY).public_jwk), {}, "public"),
        (None, {}, "not NoneType"),
    ],
)
def test_a_key_that_cannot_sign_is_refused_at_construction(
    key: Any, options: dict[str, Any], advice: str
) -> None:
    with pytest.raises(ConfigurationError, match=advice):
        PrivateKeyJWT(key, **options)


def test_a_key_file_that_cannot_sign_is_refused_at_construction(key_file: Path) -> None:
    key_file.write_text(LOCKED_KEY)
    with pytest.raises(ConfigurationError, match="give password="):
        PrivateKeyJWT(key_file)


def test_the_password_of_a_key_may_come_from_a_file_or_a_callable(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("geheim\n")
    for password in ("geheim", tmp_path / "password", lambda: "geheim"):
        assert asserted(authenticated(PrivateKeyJWT(LOCKED_KEY, password=password)))
    lazily = PrivateKeyJWT(LOCKED_KEY, password=lambda: "wrong")
    with pytest.raises(ConfigurationError, match="the password is wrong"):
        authenticated(lazily)


def test_a_key_that_cannot_be_read_now_is_a_token_error(key_file: Path) -> None:
    def vault() -> str:
        raise ConnectionError("hidden")

    from_file = PrivateKeyJWT(key_file)
    key_file.unlink()
    for method, cause in ((from_file, "No such file"), (PrivateKeyJWT(vault), "ConnectionError")):
        for use in (lambda m=method: authenticated(m), lambda m=method: m.fingerprint(None)):
            with pytest.raises(TokenError, match=cause) as caught:
                use()
            assert "hidden" not in str(caught.value)


def test_a_callable_that_returns_no_key_is_an_error_of_the_attempt() -> None:
    with pytest.raises(ConfigurationError, match="not NoneType"):
        authenticated(PrivateKeyJWT(lambda: None))  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize("make", [ClientSecretJWT, lambda: PrivateKeyJWT(KEY)])
def test_a_missing_dependency_is_an_error_at_construction(
    make: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jwt", None)
    with pytest.raises(ConfigurationError, match=r'pip install "oauthcc\[jwt\]"'):
        make()


def test_an_external_assertion_is_read_again_for_every_attempt(tmp_path: Path) -> None:
    file = tmp_path / "assertion"
    file.write_text("first\n")
    values = iter(["second", "third"])
    for method, expected in (
        (ClientAssertion(file), ["first", "rotated"]),
        (ClientAssertion(lambda: next(values)), ["second", "third"]),
        (ClientAssertion("static"), ["static", "static"]),
    ):
        seen = [dict(authenticated(method).params)["client_assertion"]]
        file.write_text("rotated\n")
        seen.append(dict(authenticated(method).params)["client_assertion"])
        assert seen == expected


def test_an_external_assertion_is_sent_unchanged() -> None:
    saml = "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"
    assert authenticated(ClientAssertion("a.b.c")).params == [
        ("client_id", CLIENT_ID),
        ("client_assertion_type", JWT_BEARER),
        ("client_assertion", "a.b.c"),
    ]
    made = authenticated(ClientAssertion("PHNhbWw+", type=saml, send_client_id=False))
    assert made.params == [("client_assertion_type", saml), ("client_assertion", "PHNhbWw+")]


@pytest.mark.parametrize("name", ["/var/run/secrets/token", "~/token", "./token", "../token"])
def test_the_name_of_a_file_is_no_external_assertion(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"name of a file: give pathlib\.Path\(...\)"):
        ClientAssertion(name)
    assert ClientAssertion(lambda: name).assertion is not None


def test_an_external_assertion_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"assertion in '.*' cannot be read: No such"):
        ClientAssertion(tmp_path / "missing")
    (tmp_path / "assertion").write_text("a.b.c")
    method = ClientAssertion(tmp_path / "assertion")
    (tmp_path / "assertion").unlink()
    with pytest.raises(TokenError, match=r"assertion .* No such file"):
        authenticated(method)


# Certificates


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA(key_type=trustme.KeyType.ECDSA)


@pytest.fixture(scope="module")
def pair(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("tls")
    issued = authority.issue_cert("client.example")
    issued.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    issued.private_key_pem.write_to_path(str(folder / "key.pem"))
    return str(folder / "cert.pem"), str(folder / "key.pem")


@pytest.fixture
def combined(pair: tuple[str, str], tmp_path: Path) -> Path:
    path = tmp_path / "both.pem"
    path.write_text("".join(Path(part).read_text() for part in pair))
    return path


@pytest.fixture
def tls_server(authority: trustme.CA, tmp_path: Path) -> Iterator[tuple[str, str, list[Any]]]:
    """Serve one request over TLS that requires a client certificate; yield the certificates."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    seen: list[Any] = []

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with context.wrap_socket(connection, server_side=True) as secured:
            secured.recv(65536)
            seen.append(secured.getpeercert())
            secured.sendall(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}", str(tmp_path / "ca.pem"), seen
        thread.join(30)


@pytest.mark.parametrize("together", [False, True])
def test_the_certificate_is_presented_in_the_handshake(
    tls_server: tuple[str, str, list[Any]],
    pair: tuple[str, str],
    combined: Path,
    together: bool,
) -> None:
    url, ca, seen = tls_server
    method = TLSClientAuth(combined if together else pair)  # type: ignore[arg-type]
    with requests.Session() as session:
        assert session.get(url, cert=method.cert, verify=ca, timeout=30).status_code == 204
    assert seen[0]["subjectAltName"] == (("DNS", "client.example"),)


def test_a_certificate_needs_the_client_id_in_the_body(pair: tuple[str, str]) -> None:
    method = TLSClientAuth(pair)
    assert authenticated(method).params == [("client_id", CLIENT_ID)]
    assert (method.name, method.needs_secret) == ("tls_client_auth", False)
    assert TLSClientAuth(pair, self_signed=True).name == "self_signed_tls_client_auth"


def test_paths_of_a_certificate_survive_a_change_of_the_working_directory(
    pair: tuple[str, str], combined: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(pair[0]).parent)
    assert TLSClientAuth(("cert.pem", "key.pem")).cert == pair
    monkeypatch.chdir(combined.parent)
    assert TLSClientAuth("both.pem").cert == str(combined)


@pytest.mark.parametrize("cert", [None, "", 17, (), ("a", "b", "c"), ("a", 1), b"a"])
def test_a_value_that_is_not_a_certificate_is_refused(cert: Any) -> None:
    with pytest.raises(ConfigurationError, match="must be the path of a PEM file"):
        TLSClientAuth(cert)


def test_a_certificate_without_its_key_is_refused_at_construction(
    pair: tuple[str, str], tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=r"give TLSClientAuth\(\(certificate, key\)\)"):
        TLSClientAuth(pair[0])
    with pytest.raises(ConfigurationError, match=r"missing.pem' cannot be read: No such file"):
        TLSClientAuth((pair[0], str(tmp_path / "missing.pem")))
    (tmp_path / "other.pem").write_text(KEY)
    with pytest.raises(ConfigurationError, match=r"other.pem' the private key that belongs to it"):
        TLSClientAuth((pair[0], str(tmp_path / "other.pem")))


def test_an_encrypted_certificate_key_is_refused_without_a_password_prompt(
    pair: tuple[str, str], tmp_path: Path
) -> None:
    (tmp_path / "locked.pem").write_text(LOCKED_KEY)
    with pytest.raises(ConfigurationError, match="is encrypted, and requests takes no password"):
        TLSClientAuth((pair[0], str(tmp_path / "locked.pem")))


# All methods


def methods(pair: tuple[str, str]) -> list[ClientAuth]:
    return [
        ClientSecretBasic(),
        ClientSecretPost(),
        ClientSecretJWT(),
        PrivateKeyJWT(KEY),
        PrivateKeyJWT(LOCKED_KEY, password="geheim"),
        ClientAssertion("a.b.c"),
        TLSClientAuth(pair),
        NoClientAuth(),
    ]


def test_an_attempt_lists_every_secret_for_redaction(pair: tuple[str, str]) -> None:
    for method in methods(pair):
        made = authenticated(method, LONG_SECRET)
        shown = redact(f"{made.headers} {made.params}", made.secrets)
        sent = dict(made.params)
        secrets = [sent.get("client_assertion"), sent.get("client_secret"), LONG_SECRET]
        secrets.append(made.headers.get("Authorization", "Basic ").removeprefix("Basic ") or None)
        assert not [secret for secret in secrets if secret and secret in shown]
        assert repr(CLIENT_ID) in shown or made.headers


def test_no_repr_shows_a_secret(pair: tuple[str, str]) -> None:
    for method in methods(pair):
        made = authenticated(method, LONG_SECRET)
        shown = repr(method) + repr(made)
        for secret in (*made.secrets, KEY, LOCKED_KEY, KEY[40:80], "geheim", "a.b.c"):
            assert secret not in shown
        assert type(method).__name__ in shown
        assert "client_id" in shown


def test_a_method_survives_pickle_and_copy(pair: tuple[str, str], key_file: Path) -> None:
    further = [PrivateKeyJWT(key_file), PrivateKeyJWT(key_from_a_vault)]
    for method in [*methods(pair), *further]:
        for copied in (
            pickle.loads(pickle.dumps(method)),
            copy.copy(method),
            copy.deepcopy(method),
        ):
            assert repr(copied) == repr(method)
            assert copied.fingerprint(LONG_SECRET) == method.fingerprint(LONG_SECRET)
            assert authenticated(copied, LONG_SECRET).client_id == CLIENT_ID
    assert KEY.splitlines()[1].encode() not in pickle.dumps(further[0])


def test_fingerprints_differ_if_secrets_keys_or_options_differ(
    pair: tuple[str, str], combined: Path, key_file: Path
) -> None:
    jwk = dict(load_key(KEY).public_jwk)
    described: list[tuple[ClientAuth, str | None]] = [
        *(
            (method, LONG_SECRET)
            for method in (*methods(pair)[:3], ClientSecretBasic(encode=False))
        ),
        *((method, SECRET) for method in methods(pair)[:3]),
        *((method, None) for method in methods(pair)[:1]),
        *((method, None) for method in methods(pair)[3:]),
        (ClientSecretJWT("HS384"), LONG_SECRET),
        (ClientSecretJWT(audience="x"), LONG_SECRET),
        (ClientSecretJWT(type="x"), LONG_SECRET),
        (ClientSecretJWT(lifetime=9), LONG_SECRET),
        (PrivateKeyJWT(OTHER_KEY), None),
        (PrivateKeyJWT(lambda: OTHER_KEY, password=lambda: "x"), None),
        (PrivateKeyJWT(KEY.encode()), None),
        (PrivateKeyJWT(lambda: jwk), None),
        (PrivateKeyJWT(lambda: None), None),  # type: ignore[arg-type, return-value]
        (PrivateKeyJWT(KEY, key_id="k"), None),
        (PrivateKeyJWT(KEY, audience="k"), None),
        (PrivateKeyJWT(KEY, algorithm="ES256"), None),
        (ClientAssertion("a.b.d"), None),
        (ClientAssertion("a.b.c", send_client_id=False), None),
        (ClientAssertion("a.b.c", type="x"), None),
        (TLSClientAuth(pair, self_signed=True), None),
        (TLSClientAuth(str(combined)), None),
    ]
    fingerprints = [method.fingerprint(secret) for method, secret in described]
    assert len(set(fingerprints)) == len(described)
    assert fingerprints == [method.fingerprint(secret) for method, secret in described]
    assert all(len(fingerprint) == 32 for fingerprint in fingerprints)


def test_a_renewed_certificate_changes_the_fingerprint(
    authority: trustme.CA, combined: Path
) -> None:
    method = TLSClientAuth(str(combined))
    before = method.fingerprint(None)
    authority.issue_cert("client.example").private_key_and_cert_chain_pem.write_to_path(
        str(combined)
    )
    assert method.fingerprint(None) != before


class BoundServers:
    """An authorization server and an API with TLS. Tokens are bound to the client certificate."""

    def __init__(self, authority: trustme.CA, folder: Path, stack: ExitStack) -> None:
        self.authority, self.pair = authority, (str(folder / "c.crt"), str(folder / "c.key"))
        self.issue()
        bundle = str(folder / "ca.pem")
        authority.cert_pem.write_to_path(bundle)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        authority.configure_trust(context)
        context.verify_mode = ssl.CERT_OPTIONAL
        self.auth = stack.enter_context(AuthorizationServer(tls=context))
        self.api = stack.enter_context(ProtectedAPI(self.auth, tls=context))
        self.api.protected = False
        bound: dict[str, Any] = {}

        def watch(seen: Any, outcome: Any) -> None:
            for token in self.auth.issued:
                bound.setdefault(token, seen.peer_certificate)

        def answer(seen: Any) -> Any:
            is_bound = bound.get(seen.token) == seen.peer_certificate is not None
            return faults.json_answer({}, 200 if is_bound else 401)

        self.auth.watch = watch
        self.api.add_route("/x", answer)
        self.auth.add_client("mine", None, method="none")
        client: dict[str, Any] = {"client_id": "mine", "client_secret": None}
        method = TLSClientAuth(self.pair)
        session = session_for(self.auth, **client, client_auth=method, trust_env=False)
        self.session = stack.enter_context(session)
        session.verify = bundle

    def issue(self) -> None:
        """Replace the certificate and its key on disk."""
        issued = self.authority.issue_cert("client.example")
        issued.cert_chain_pems[0].write_to_path(self.pair[0])
        issued.private_key_pem.write_to_path(self.pair[1])

    def status(self) -> int:
        """Call the API."""
        return self.session.get(f"{self.api.url}/x").status_code


@pytest.fixture
def servers(authority: trustme.CA, tmp_path: Path) -> Iterator[BoundServers]:
    with ExitStack() as stack:
        yield BoundServers(authority, tmp_path, stack)


def test_connections_are_kept_until_there_is_a_token_for_the_renewed_certificate(
    servers: BoundServers,
) -> None:
    counted = []
    for change in (tuple, tuple, servers.issue, tuple, servers.issue):
        change()
        servers.session.tokens.renew()
        assert servers.status() == 200
        counted.append(servers.api.connections)
    assert counted == [1, 1, 2, 2, 3]


def test_a_renewed_certificate_breaks_no_call_while_the_token_endpoint_is_down(
    servers: BoundServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = moved_clock(monkeypatch)
    assert servers.status() == 200
    servers.auth.down()
    servers.issue()
    for _ in range(3):
        clock.advance(servers.auth.token_lifetime * 0.28)  # early renewals fail from the third on
        assert servers.status() == 200
        flights_done()
    with pytest.raises(TokenError):
        servers.session.tokens.renew()
    assert servers.status() == 200
    servers.auth.up()
    clock.advance(120)
    servers.session.tokens.renew()
    assert servers.status() == 200
    assert (len(servers.auth.issued), servers.api.connections) == (2, 2)


def test_a_stored_token_for_the_renewed_certificate_drops_the_connections_too(
    servers: BoundServers,
) -> None:
    store = MemoryStore()
    client: dict[str, Any] = {"client_id": "mine", "client_secret": None}
    options = {**client, "client_auth": TLSClientAuth(servers.pair), "store": store}
    with (
        session_for(servers.auth, trust_env=False, **options) as one,
        session_for(servers.auth, trust_env=False, **options) as other,
    ):
        one.verify = other.verify = servers.session.verify
        servers.session = one
        assert servers.status() == 200
        servers.issue()
        other.tokens.renew()
        one.tokens.forget()
        assert servers.status() == 200
        assert len(servers.auth.issued) == 2


@pytest.mark.parametrize("which", [0, 1])
def test_a_certificate_file_that_is_missing_for_a_moment_breaks_no_call(
    servers: BoundServers, monkeypatch: pytest.MonkeyPatch, which: int
) -> None:
    assert servers.status() == 200
    path = Path(servers.pair[which])
    path.rename(path.with_suffix(".old"))

    def sleep(seconds: float) -> None:
        path.with_suffix(".old").rename(path)

    monkeypatch.setattr(certificate, "time", SimpleNamespace(monotonic=time.monotonic, sleep=sleep))
    assert servers.status() == 200
    assert (len(servers.auth.issued), servers.api.connections) == (1, 1)


def test_a_certificate_file_that_stays_missing_is_an_error_of_ours(
    servers: BoundServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert servers.status() == 200
    Path(servers.pair[1]).unlink()
    monkeypatch.setattr(certificate, "PATIENCE", 0.0)
    with pytest.raises(TokenError, match=r"c\.key\. .*os\.replace") as caught:
        servers.status()
    assert caught.value.request.url.startswith("https://")
    assert "Bearer ***" in repr(dict(caught.value.request.headers))
    with pytest.raises(TokenError, match="cannot be read"):
        servers.session.tokens.renew()
    servers.issue()
    assert servers.status() == 200


def test_a_read_only_jwk_has_the_fingerprint_of_its_content() -> None:
    from types import MappingProxyType

    one, other = ({"kty": "EC", "d": d} for d in "ab")
    prints = {
        PrivateKeyJWT(lambda jwk=jwk: MappingProxyType(jwk)).fingerprint(None)
        for jwk in (one, other, dict(one))
    }
    assert len(prints) == 2


# Values of client_auth=


@pytest.mark.parametrize(
    ("value", "has_secret", "expected"),
    [
        (None, True, ClientSecretBasic()),
        (None, False, NoClientAuth()),
        ("client_secret_basic", True, ClientSecretBasic()),
        ("client_secret_post", True, ClientSecretPost()),
        ("client_secret_jwt", True, ClientSecretJWT()),
        ("none", False, NoClientAuth()),
        (ClientSecretPost, True, ClientSecretPost()),
        (ClientSecretBasic(encode=False), True, ClientSecretBasic(encode=False)),
    ],
)
def test_a_method_is_given_as_an_object_class_or_registered_name(
    value: Any, has_secret: bool, expected: ClientAuth
) -> None:
    method = client_auth_from(value, has_secret=has_secret)
    assert method == expected
    assert value in (None, type(method), method) or value == method.name


@pytest.mark.parametrize(
    ("value", "has_secret", "advice"),
    [
        ("private_key_jwt", False, r"PrivateKeyJWT\(key\) or ClientAssertion\(assertion\)"),
        ("tls_client_auth", False, r"TLSClientAuth\(cert\)"),
        ("self_signed_tls_client_auth", False, r"TLSClientAuth\(cert, self_signed=True\)"),
        ("basic", True, r"'basic' is not known; it must be one of client_secret_basic, .*none"),
        (PrivateKeyJWT, False, r"needs a PrivateKeyJWT with its arguments"),
        (TLSClientAuth, False, r"needs a TLSClientAuth with its arguments"),
        (("id", "secret"), True, "is a tuple; it must be one of"),
        (int, True, "it must be one of"),
        (requests.auth.HTTPBasicAuth("a", "b"), True, "is a HTTPBasicAuth; it must be one of"),
        (ClientSecretPost(), False, "'client_secret_post' needs a client_secret"),
        (NoClientAuth(), True, "'none' takes no client_secret"),
        ("none", True, "'none' takes no client_secret"),
        (PrivateKeyJWT(KEY), True, r"such as ClientSecretBasic\(\)"),
    ],
)
def test_a_value_that_is_not_a_method_is_refused_with_the_choices(
    value: Any, has_secret: bool, advice: str
) -> None:
    with pytest.raises(ConfigurationError, match=advice):
        client_auth_from(value, has_secret=has_secret)


def test_a_custom_method_is_used_unchanged() -> None:
    class Mine:
        name = "mine"
        needs_secret = True
        cert = None

        def authenticate(self, attempt: Attempt) -> None:
            attempt.headers["X-Mine"] = attempt.secret("Mine")

        def fingerprint(self, client_secret: str | None) -> bytes:
            return b"mine"

    mine = Mine()
    assert client_auth_from(mine, has_secret=True) is mine
    check_secret(mine, CLIENT_ID, Secret.of("x"))
    assert authenticated(mine, SECRET).headers == {"X-Mine": SECRET}


def test_a_string_secret_that_a_method_cannot_use_is_refused_before_any_request(
    tmp_path: Path,
) -> None:
    with pytest.raises(ConfigurationError, match="shorter than the 32 octets"):
        check_secret(ClientSecretJWT(), CLIENT_ID, Secret.of(SECRET))
    with pytest.raises(ConfigurationError, match="colon"):
        check_secret(ClientSecretBasic(encode=False), CLIENT_ID, Secret.of(SECRET))
    check_secret(ClientSecretJWT(), CLIENT_ID, Secret.of(LONG_SECRET))
    check_secret(ClientSecretJWT(), CLIENT_ID, Secret.of(lambda: SECRET))
    check_secret(NoClientAuth(), CLIENT_ID, None)


# More headers and claims, and a certificate, in an assertion


@dataclass(frozen=True)
class Certified:
    """An RSA key, its certificate and that of the CA, in PEM."""

    key: str
    certificate: str
    chain: str

    @property
    def public(self) -> Any:
        return x509.load_pem_x509_certificate(self.certificate.encode()).public_key()

    @classmethod
    def made(cls) -> Certified:
        ca, private = ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)
        names = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, n)]) for n in ("ca", "me")]
        now = dt.datetime.now(dt.timezone.utc)
        pems = []
        for name, owner in zip(names, (ca, private), strict=True):
            built = x509.CertificateBuilder(names[0], name, owner.public_key())
            built = built.serial_number(x509.random_serial_number())
            built = built.not_valid_before(now).not_valid_after(now + dt.timedelta(1))
            signed = built.sign(ca, hashes.SHA256())
            pems.append(signed.public_bytes(serialization.Encoding.PEM).decode())
        octets = private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return cls(octets.decode(), pems[1], pems[1] + pems[0])

    def read(self) -> str:
        return self.certificate


@pytest.fixture(scope="module")
def certified() -> Certified:
    return Certified.made()


@pytest.fixture(scope="module")
def other_certified() -> Certified:
    return Certified.made()


def der_of(pem: str) -> list[bytes]:
    """Return the certificates in a PEM as the standard library reads them."""
    begin = "-----BEGIN CERTIFICATE-----"
    return [ssl.PEM_cert_to_DER_cert(begin + part) for part in pem.split(begin)[1:]]


def x5t_of(pem: str) -> str:
    digest = hashlib.sha256(der_of(pem)[0]).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


@pytest.mark.parametrize("form", ["text", "octets", "file", "callable", "with key"])
@pytest.mark.parametrize("is_chain", [False, True])
def test_an_assertion_names_the_certificate_of_its_key(
    certified: Certified, tmp_path: Path, form: str, is_chain: bool
) -> None:
    text = certified.chain if is_chain else certified.certificate
    path = tmp_path / "certificate.pem"
    path.write_text(text)
    given: Any = {
        "text": text,
        "octets": text.encode(),
        "file": path,
        "callable": lambda: text,
        "with key": certified.key + text + certified.key,
    }[form]
    made = authenticated(PrivateKeyJWT(certified.key, algorithm="PS256", certificate=given))
    header, _ = asserted(made)
    der = der_of(text)
    assert header == {
        "alg": "PS256",
        "typ": "JWT",
        "x5t#S256": x5t_of(text),
        "x5c": [base64.b64encode(one).decode() for one in der],
    }
    assert len(der) == 1 + is_chain
    assertion = dict(made.params)["client_assertion"]
    claims = pyjwt.decode(assertion, certified.public, algorithms=["PS256"], audience=AUDIENCE)
    assert "nbf" not in claims


#: A certificate of a key on secp160k1, a curve that cryptography does not know.
ODD_CURVE = """\
-----BEGIN CERTIFICATE-----
MIIBOTCB+KADAgECAhRHOEhs4GPis9OpLKyw312NXzQ5cjAKBggqhkjOPQQDAjAM
MQowCAYDVQQDDAF4MB4XDTI2MTEyNjExNDkyM1oXDTI2MTIwNTExNDkyM1owDDEK
MAgGA1UEAwwBeDA+MBAGByqGSM49AgEGBSuBBAAJAyoABBCG3l37A6EeqSsrsenz
adalJJB8rvV2vH9qFmj+GQT95KWOXMEHjGWjUzBRMB0GA1UdDgQWBBTvnT18TYru
XNPaYTMuSJhj4/VQuDAfBgNVHSMEGDAWgBTvnT18TYruXNPaYTMuSJhj4/VQuDAP
BgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCAzAAMC0CFQCZLiNxTQNgveq492a6
R2i28dv27wIUL9TWhVQzkts6SI8gfJvPonactXU=
-----END CERTIFICATE-----
"""


@pytest.mark.parametrize(
    ("certificate", "message"),
    [
        (ODD_CURVE, "does not belong to the private key"),
        ("other", "does not belong to the private key"),
        ("reversed", "does not belong to the private key"),
        ("key", "is not PEM"),
        ("", "is not PEM"),
        ("/etc/certificate.pem", r"pathlib\.Path"),
        ("der", r"is not PEM"),
        ("broken chain", r"is not PEM"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "is not PEM"),
        (5, r"\(int\) is not PEM"),
        ({"x5c": []}, r"\(dict\) is not PEM"),
        (Path("/nonexistent.pem"), "The certificate in .* cannot be read"),
    ],
)
def test_a_wrong_certificate_is_refused_at_construction(
    certified: Certified, other_certified: Certified, certificate: Any, message: str
) -> None:
    leaf, ca = certified.certificate, certified.chain.removeprefix(certified.certificate)
    given = {
        "other": other_certified.certificate,
        "reversed": ca + leaf,
        "key": certified.key,
        "der": der_of(leaf)[0],
        "broken chain": leaf + "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    }.get(certificate if isinstance(certificate, str) else "", certificate)
    with pytest.raises(ConfigurationError, match=message) as caught:
        PrivateKeyJWT(certified.key, certificate=given)
    assert certified.key[60:90] not in str(caught.value)
    if "does not belong" not in message:  # it needs no key to be seen
        with pytest.raises(ConfigurationError, match=message):
            PrivateKeyJWT(lambda: certified.key, certificate=given)
        with pytest.raises(ConfigurationError, match=message):
            PrivateKeyJWT(certified.key, password=lambda: "x", certificate=given)


@pytest.mark.parametrize("returned", [None, 5, "no certificate"])
def test_a_callable_that_returns_no_certificate_is_an_error_of_the_attempt(
    certified: Certified, returned: Any
) -> None:
    method = PrivateKeyJWT(certified.key, certificate=lambda: returned)
    method.fingerprint(None)
    with pytest.raises(ConfigurationError, match="The certificate"):
        authenticated(method)


def test_rotated_files_of_key_and_certificate_are_used_for_the_next_attempt(
    certified: Certified, other_certified: Certified, tmp_path: Path, monkeypatch: Any
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    fingerprints = set()
    monkeypatch.chdir(tmp_path)
    for now in (certified, other_certified):
        key.write_text(now.key)
        certificate.write_text(now.certificate)
        if now is certified:
            method = PrivateKeyJWT(Path("key.pem"), certificate=Path("certificate.pem"))
            monkeypatch.chdir("/")
        made = authenticated(method)
        assert asserted(made)[0]["x5t#S256"] == x5t_of(now.certificate)
        assertion = dict(made.params)["client_assertion"]
        pyjwt.decode(assertion, now.public, algorithms=["RS256"], audience=AUDIENCE)
        fingerprints.add(method.fingerprint(None))
    certificate.write_text(other_certified.chain)
    fingerprints.add(method.fingerprint(None))
    assert len(fingerprints) == 3
    certificate.unlink()
    with pytest.raises(TokenError, match=r"The certificate in .* cannot be read"):
        authenticated(method)


def test_headers_and_claims_are_added_replaced_and_left_out() -> None:
    method = PrivateKeyJWT(
        KEY,
        key_id="k",
        type="x",
        headers={"kid": None, "typ": "client-authentication+jwt", "x5u": "https://a.example"},
        claims={
            "scope": ["a", "b"],
            "aud": ["x", "y"],
            "sub": "other",
            "jti": None,
            "iat": None,
            "nbf": 5,
            "extensions": {"hl7-b2b": {"version": "1"}},
        },
    )
    header, claims = asserted(authenticated(method))
    assert header == {
        "alg": "ES256",
        "typ": "client-authentication+jwt",
        "x5u": "https://a.example",
    }
    assert claims.pop("exp") > 0
    assert claims == {
        "iss": CLIENT_ID,
        "sub": "other",
        "aud": ["x", "y"],
        "scope": ["a", "b"],
        "nbf": 5,
        "extensions": {"hl7-b2b": {"version": "1"}},
    }


@pytest.mark.parametrize(
    ("options", "typ"),
    [
        ({}, "JWT"),
        ({"type": "x"}, "x"),
        ({"headers": {"typ": "y"}, "type": "x"}, "y"),
        ({"headers": {"typ": None}}, None),
        ({"headers": {"typ": None}, "type": "x"}, None),
        ({"headers": {}}, "JWT"),
    ],
)
def test_the_typ_of_an_assertion_may_be_chosen_or_left_out(options: Any, typ: Any) -> None:
    method = PrivateKeyJWT(KEY, **options)
    for copied in (method, pickle.loads(pickle.dumps(method))):
        assert asserted(authenticated(copied))[0].get("typ") == typ


def test_headers_of_a_certificate_may_be_left_out(certified: Certified) -> None:
    method = PrivateKeyJWT(
        certified.key, certificate=certified.certificate, headers={"x5c": None, "kid": "k"}
    )
    header, _ = asserted(authenticated(method))
    assert header == {
        "alg": "RS256",
        "typ": "JWT",
        "kid": "k",
        "x5t#S256": x5t_of(certified.certificate),
    }


CYCLE: dict[str, Any] = {}
CYCLE["x"] = CYCLE
DEEP: Any = []
for _ in range(100_000):
    DEEP = [DEEP]


@pytest.mark.parametrize("name", ["headers", "claims"])
@pytest.mark.parametrize(
    "given",
    [
        *("text", 5, [("a", 1)], {1: "a"}, {"a": object()}, {"a": b"x"}, {"a": {1, 2}}),
        *({"a": float("nan")}, {"a": [float("inf")]}, {"a": DEEP}, CYCLE),
        {"a": dt.datetime(2026, 1, 1)},  # noqa: DTZ001 - any object
    ],
    ids=lambda given: type(given).__name__,
)
def test_headers_and_claims_that_are_not_json_are_refused(name: str, given: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"^{name} of PrivateKeyJWT must"):
        PrivateKeyJWT(KEY, **{name: given})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"headers": {"alg": "none"}}, "'alg': use algorithm="),
        ({"headers": {"alg": None}}, "'alg': use algorithm="),
        ({"headers": {"b64": False}}, "'b64'"),
        ({"headers": {"kid": 5}}, "'kid' in headers of PrivateKeyJWT must be a string"),
        ({"claims": {"iss": ["a"]}}, "'iss' in claims of PrivateKeyJWT must be a string"),
        ({"claims": {"exp": 99}}, "'exp': use lifetime="),
        ({"claims": {"exp": None}}, "'exp': use lifetime="),
        ({"claims": {"iat": 0}}, "'iat': it is the time"),
        ({"claims": {"jti": ""}}, "'jti': it is always a new one"),
    ],
)
def test_what_each_assertion_has_anew_cannot_be_set(options: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        PrivateKeyJWT(KEY, **options)


def test_headers_and_claims_do_not_change_with_those_of_the_caller() -> None:
    scopes = ["a"]
    claims, headers = {"scope": scopes}, {"x5u": "a"}
    method = PrivateKeyJWT(KEY, claims=MappingProxyType(claims), headers=headers)
    before = method.fingerprint(None)
    scopes.append("b")
    claims["more"] = headers["x5u"] = "b"  # type: ignore[assignment]
    header, found = asserted(authenticated(method))
    assert (header["x5u"], found["scope"], "more" in found) == ("a", ["a"], False)
    assert method.fingerprint(None) == before


def test_the_fingerprint_differs_with_each_header_claim_and_certificate(
    certified: Certified,
) -> None:
    described: list[dict[str, Any]] = [
        *({}, {"headers": {"a": 1}}, {"claims": {"a": 1}}, {"headers": {"a": "1"}}),
        *({"headers": {"a": 2}}, {"headers": {"b": 1}}, {"headers": {"a": 1, "b": 1}}),
        *({"headers": {"a": None}}, {"headers": {"typ": None}}, {"headers": {"typ": ""}}),
        *({"headers": {"a": 1}, "claims": {"a": 1}}, {"claims": {"a": {"b": [1]}}}),
        *({"certificate": certified.certificate}, {"certificate": certified.chain}),
        {"certificate": certified.certificate, "claims": {"a": 1}},
    ]
    methods = [PrivateKeyJWT(certified.key, **options) for options in described]
    fingerprints = [method.fingerprint(None) for method in methods]
    assert len(set(fingerprints)) == len(described)
    # The order of names does not matter, nor does an empty mapping.
    one, other = {"a": 1, "b": {"c": 1, "d": 2}}, {"b": {"d": 2, "c": 1}, "a": 1}
    for name in ("headers", "claims"):
        same = [PrivateKeyJWT(KEY, **{name: given}).fingerprint(None) for given in (one, other)]  # type: ignore[arg-type]
        same += [PrivateKeyJWT(KEY, **{name: {}}).fingerprint(None)]  # type: ignore[arg-type]
        assert same[0] == same[1]
        assert same[2] == PrivateKeyJWT(KEY).fingerprint(None)


def test_pickles_and_copies_keep_headers_claims_and_certificate(certified: Certified) -> None:
    more: dict[str, Any] = {"headers": {"x5u": "my-x5u"}, "claims": {"scope": "my-scope"}}
    for given in (certified.certificate, certified.read):
        method = PrivateKeyJWT(certified.key, certificate=given, **more)
        assert not any(text in repr(method) for text in ("my-x5u", "my-scope", "CERTIFICATE", "x5"))
        for copied in (
            pickle.loads(pickle.dumps(method)),
            copy.copy(method),
            copy.deepcopy(method),
            dataclasses.replace(method, lifetime=60),
        ):
            assert copied.fingerprint(None) == method.fingerprint(None)
            header, claims = asserted(authenticated(copied))
            assert (header["x5u"], claims["scope"]) == ("my-x5u", "my-scope")
            assert header["x5t#S256"] == x5t_of(certified.certificate)


@pytest.mark.parametrize("kind", ["session", "auth", "copy", "pickle"])
@pytest.mark.parametrize("body", ["form", "json"])
def test_a_server_that_checks_the_certificate_issues_tokens_also_after_a_401(
    certified: Certified, kind: str, body: Any
) -> None:
    assertions = []

    def check(members: dict[str, Any]) -> None:
        assertion = members.pop("client_assertion")
        assert members.pop("client_assertion_type") == JWT_BEARER
        assert pyjwt.get_unverified_header(assertion)["x5t#S256"] == x5t_of(certified.certificate)
        claims = pyjwt.decode(
            assertion, certified.public, algorithms=["PS256"], audience=odd.token_url
        )
        assert claims["scope"] == "orders"
        assertions.append(assertion)
        members["client_secret"] = odd.client_secret

    with OddServer(body=body, check=check) as odd, ProtectedAPI(odd) as api:
        options: dict[str, Any] = {
            "token_body": body,
            "client_auth": PrivateKeyJWT(
                certified.key,
                algorithm="PS256",
                claims={"scope": "orders"},
                certificate=certified.certificate,
            ),
        }
        session: requests.Session = session_for(odd, client_secret=None, trust_env=False, **options)
        if kind == "auth":
            session = requests.Session()
            session.auth = ClientCredentialsAuth(odd.token_url, odd.client_id, **options)
        elif kind != "session":
            session = copy.copy(session) if kind == "copy" else pickle.loads(pickle.dumps(session))
        with session:
            assert session.get(f"{api.url}/x").status_code == 200
            odd.revoke_all()
            assert session.post(f"{api.url}/x", data=b"x").status_code == 200
    assert len(set(assertions)) == 2
    assert len(api.requests) == 3


def test_a_rotated_certificate_is_used_after_a_refusal(
    certified: Certified, other_certified: Certified, tmp_path: Path
) -> None:
    path, known = tmp_path / "certificate.pem", [certified]

    def check(members: dict[str, Any]) -> None:
        header = pyjwt.get_unverified_header(members.pop("client_assertion"))
        is_known = header["x5t#S256"] == x5t_of(known[0].certificate)
        members["client_secret"] = odd.client_secret if is_known else "wrong"
        for one in (certified, other_certified)[not is_known :]:
            path.write_text(one.key + one.certificate)  # the program that rotates it

    path.write_text(certified.key + certified.certificate)
    with OddServer(check=check) as odd:
        method = PrivateKeyJWT(path, certificate=path)
        with session_for(odd, client_secret=None, client_auth=method) as session:
            session.tokens.get()
            known[0] = other_certified
            path.write_text(certified.key + certified.certificate)
            session.tokens.renew()
    assert len(odd.sent) == 3
    assert len(odd.issued) == 2


@pytest.mark.parametrize("kind", [ClientSecretBasic, ClientSecretJWT])
def test_a_secret_in_the_place_of_an_option_is_an_error_that_does_not_show_it(kind: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"must be True or False|choose HS256") as caught:
        kind("my-secret")
    assert "my-secret" not in str(caught.value)
