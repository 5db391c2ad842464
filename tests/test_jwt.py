from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x25519

from oauthcc.errors import ConfigurationError
from oauthcc.jwt import Key, generate_key, load_key, require_pyjwt, sign

CLAIMS = {"iss": "me", "n": 1}
LONG = "a secret of more than sixty-four octets, as HS512 requires it: " + "x" * 9

MAKERS: dict[str, Callable[[], Any]] = {
    "RSA": lambda: rsa.generate_private_key(65537, 2048),
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "P-521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "secp256k1": lambda: ec.generate_private_key(ec.SECP256K1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
    "Ed448": ed448.Ed448PrivateKey.generate,
}
DEFAULTS = {
    "RSA": "RS256",
    "P-256": "ES256",
    "P-384": "ES384",
    "P-521": "ES512",
    "secp256k1": "ES256K",
    "Ed25519": "EdDSA",
    "Ed448": "EdDSA",
}
KEYS = {kind: make() for kind, make in MAKERS.items()}


def pem(kind: str, password: str | None = None, form: str = "PKCS8") -> str:
    hide: Any = serialization.NoEncryption()
    if password is not None:
        hide = serialization.BestAvailableEncryption(password.encode())
    form_ = getattr(serialization.PrivateFormat, form)
    octets: bytes = KEYS[kind].private_bytes(serialization.Encoding.PEM, form_, hide)
    return octets.decode()


def public_pem(kind: str) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    octets: bytes = KEYS[kind].public_key().public_bytes(serialization.Encoding.PEM, form)
    return octets.decode()


def number(value: int, octets: int = 0) -> str:
    text = value.to_bytes(octets or (value.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def jwk(kind: str, **further: Any) -> dict[str, Any]:
    """Return a private key as RFC 7518 section 6 says, without help of the library."""
    key = KEYS[kind]
    if kind.startswith("Ed"):
        public, private = key.public_key().public_bytes_raw(), key.private_bytes_raw()
        size = len(public)
        x, d = (number(int.from_bytes(part, "big"), size) for part in (public, private))
        return {"kty": "OKP", "crv": kind, "x": x, "d": d, **further}
    numbers = key.private_numbers()
    public = numbers.public_numbers
    if kind == "RSA":
        names = {"d": "d", "p": "p", "q": "q", "dp": "dmp1", "dq": "dmq1", "qi": "iqmp"}
        private = {name: number(getattr(numbers, full)) for name, full in names.items()}
        return {"kty": "RSA", "n": number(public.n), "e": "AQAB", **private, **further}
    size = (key.curve.key_size + 7) // 8
    x, y = number(public.x, size), number(public.y, size)
    d = number(numbers.private_value, size)
    return {"kty": "EC", "crv": kind, "x": x, "y": y, "d": d, "key_ops": ["sign"], **further}


def opened(token: str, key: Key) -> Any:
    """Return the claims of a token after a check with the public key, as a server does it."""
    public = pyjwt.PyJWK.from_dict({**key.public_jwk, "alg": key.algorithm}).key
    return pyjwt.decode(token, public, algorithms=[key.algorithm])


@pytest.mark.parametrize("kind", KEYS)
def test_a_key_in_pem_signs_with_the_algorithm_that_it_implies(kind: str) -> None:
    key = load_key(pem(kind))
    token = key.sign(CLAIMS, {"kid": "k1"})
    assert pyjwt.get_unverified_header(token) == {"typ": "JWT", "alg": DEFAULTS[kind], "kid": "k1"}
    assert opened(token, key) == CLAIMS


@pytest.mark.parametrize("kind", KEYS)
def test_a_jwk_is_the_same_key_as_its_pem(kind: str) -> None:
    from_dict = load_key(jwk(kind, kid="k1"))
    from_text = load_key(json.dumps(jwk(kind)), key_id="k2")
    assert from_dict.thumbprint == from_text.thumbprint == load_key(pem(kind).encode()).thumbprint
    assert (from_dict.key_id, from_text.key_id) == ("k1", "k2")
    assert opened(from_dict.sign(CLAIMS), load_key(pem(kind))) == CLAIMS


@pytest.mark.parametrize(
    ("kind", "form"),
    [("RSA", "TraditionalOpenSSL"), ("P-256", "TraditionalOpenSSL"), ("Ed25519", "OpenSSH")],
)
def test_older_forms_of_pem_are_read_too(kind: str, form: str) -> None:
    assert load_key(pem(kind, form=form)).thumbprint == load_key(pem(kind)).thumbprint


def test_a_certificate_next_to_the_key_is_ignored() -> None:
    certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    for text in (certificate + pem("P-256"), "Bag Attributes\n" + pem("P-256") + certificate):
        assert load_key(text).algorithm == "ES256"


def test_the_thumbprint_is_that_of_rfc_7638() -> None:
    # The example of section 3.1.
    example = {
        "kty": "RSA",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSo"
        "c_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_"
        "FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4v"
        "MQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
        "e": "AQAB",
    }
    key = Key(None, "RS256", None, example)
    assert key.thumbprint == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


@pytest.mark.parametrize("kind", KEYS)
def test_the_public_jwk_is_public_and_complete(kind: str) -> None:
    public = load_key(pem(kind)).public_jwk
    assert set(public) == {"kty", "n", "e"} or set(public) - {"y"} == {"kty", "crv", "x"}
    assert {**jwk(kind), **public} == jwk(kind)


def test_a_coordinate_that_begins_with_zeros_keeps_its_length() -> None:
    number = next(n for n in range(2, 9999) if _x(n) >> 248 == 0)
    private = ec.derive_private_key(number, ec.SECP256R1())
    text = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    assert len(load_key(text).public_jwk["x"]) == 43


def _x(number: int) -> int:
    return ec.derive_private_key(number, ec.SECP256R1()).public_key().public_numbers().x


@pytest.mark.parametrize("algorithm", ["RS384", "RS512", "PS256", "PS384", "PS512"])
def test_an_algorithm_may_be_chosen_if_the_key_allows_several(algorithm: str) -> None:
    for key in (
        load_key(pem("RSA"), algorithm=algorithm),
        load_key(jwk("RSA", alg=algorithm)),
        load_key(jwk("RSA", alg=algorithm), algorithm=algorithm),
    ):
        assert opened(key.sign(CLAIMS), key) == CLAIMS
        assert key.algorithm == algorithm


def test_an_encrypted_key_is_decrypted_with_its_password() -> None:
    assert load_key(pem("P-256", "geheim"), "geheim").algorithm == "ES256"


@pytest.mark.parametrize(
    ("material", "options", "advice"),
    [
        (lambda: pem("RSA", "geheim"), {}, "encrypted: give password="),
        (lambda: pem("RSA", "geheim"), {"password": "wrong"}, "the password is wrong"),
        (lambda: pem("RSA"), {"password": "geheim"}, "not encrypted: give no password="),
        (lambda: pem("RSA")[:400], {}, "incomplete or of an unknown format"),
        (lambda: public_pem("RSA"), {}, "a public key: give the private one"),
        (lambda: "ssh-rsa AAAA", {}, "a public key: give the private one"),
        (lambda: "-----BEGIN CERTIFICATE-----\nAA", {}, "a certificate: give the private key"),
        (lambda: "/etc/key.pem", {}, r"neither PEM .* nor a JWK: .* pathlib.Path"),
        (lambda: "", {}, "neither PEM"),
        (lambda: b"\xff\xfe", {}, "neither PEM"),
        (lambda: "\udc80", {}, "neither PEM"),
        (lambda: 17, {}, r"must be PEM or a JWK .* not int"),
        (lambda: None, {}, "not NoneType"),
        (lambda: '{"kty": "RSA"', {}, "not valid JSON"),
        (lambda: b'{"kty": "\xff"}', {}, "not valid JSON"),
        (lambda: '{"a":' * 200_000, {}, "not valid JSON"),
        (dict, {}, "needs a kty"),
        (lambda: {"kty": ["RSA"]}, {}, "needs a kty"),
        (lambda: {"kty": "oct", "k": "AAAA"}, {}, "use ClientSecretJWT"),
        (lambda: {"keys": [jwk("RSA")]}, {}, "give the one private key"),
        (lambda: dict(load_key(pem("RSA")).public_jwk), {}, "a public JWK: give the private one"),
        (lambda: jwk("RSA", use="enc"), {}, "whose use is sig"),
        (lambda: jwk("RSA", n=5), {}, r"not a valid RSA JWK \(TypeError\)"),
        (lambda: jwk("P-256", crv="P-384"), {}, "not a valid EC JWK"),
        (lambda: jwk("P-256", d=jwk("P-256")["x"]), {}, "not a valid EC JWK"),
        (lambda: jwk("Ed25519", d="AA"), {}, "not a valid OKP JWK"),
        (lambda: jwk("RSA", kid=7), {}, "kid of the JWK must be a string"),
        (lambda: jwk("RSA", alg="ES256"), {}, "'ES256' does not fit this key"),
        (lambda: jwk("RSA", alg=["RS256"]), {}, "does not fit this key"),
        (lambda: jwk("RSA", alg="PS256"), {"algorithm": "RS256"}, "has alg 'PS256'.*leave out one"),
        (lambda: pem("P-256"), {"algorithm": "ES384"}, "which signs with ES256"),
        (lambda: pem("Ed25519"), {"algorithm": "RS256"}, "which signs with EdDSA"),
        (lambda: pem("RSA"), {"algorithm": "HS256"}, "'HS256' does not fit this key"),
        (lambda: pem("RSA"), {"algorithm": "none"}, "'none' does not fit this key"),
    ],
)
def test_a_key_that_cannot_sign_is_refused_with_advice(
    material: Callable[[], Any], options: dict[str, Any], advice: str
) -> None:
    given = material()
    with pytest.raises(ConfigurationError, match=advice) as caught:
        load_key(given, **options)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    if isinstance(given, Mapping) and "d" in given:
        assert str(given["d"]) not in str(caught.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: dsa.generate_private_key(1024),
        x25519.X25519PrivateKey.generate,
        lambda: ec.generate_private_key(ec.BrainpoolP256R1()),
    ],
)
def test_an_unsupported_type_of_key_is_refused(make: Callable[[], Any]) -> None:
    text = make().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    with pytest.raises(ConfigurationError, match="must be RSA, EC"):
        load_key(text)


def test_a_short_rsa_key_is_refused_and_a_long_one_causes_no_warning() -> None:
    # Warnings are errors in the tests, so a warning of PyJWT would make this fail.
    short = rsa.generate_private_key(65537, 1024).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    with pytest.raises(ConfigurationError, match=r"1024 bits: give one of at least 2048"):
        load_key(short)
    assert load_key(pem("RSA"), algorithm="RS512").sign(CLAIMS)


@pytest.mark.parametrize(("algorithm", "octets"), [("HS256", 32), ("HS384", 48), ("HS512", 64)])
def test_a_secret_signs_if_it_is_long_enough(algorithm: str, octets: int) -> None:
    secret = "é" * (octets // 2)
    token = sign(CLAIMS, secret, algorithm)
    assert pyjwt.decode(token, secret, algorithms=[algorithm]) == CLAIMS
    with pytest.raises(ConfigurationError, match=f"shorter than the {octets} octets") as caught:
        sign(CLAIMS, secret[1:] + "x", algorithm)
    assert secret[1:] not in str(caught.value)


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA", "none", "HS1", ""])
def test_a_secret_signs_with_hs_algorithms_only(algorithm: str) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot sign with .* use PrivateKeyJWT"):
        sign(CLAIMS, LONG, algorithm)


@pytest.mark.parametrize("algorithm", ["HS256", "none", "PS256", "ES384"])
def test_a_key_signs_with_its_own_algorithm_only(algorithm: str) -> None:
    key = load_key(pem("RSA"))
    token = key.sign(CLAIMS, {"alg": algorithm})
    assert pyjwt.get_unverified_header(token)["alg"] == "RS256"
    assert opened(token, key) == CLAIMS


@pytest.mark.parametrize("secret", [pem("RSA"), public_pem("RSA")])
def test_a_key_given_as_a_secret_is_refused(secret: str) -> None:
    with pytest.raises(ConfigurationError, match="looks like a public key") as caught:
        sign(CLAIMS, secret, "HS256")
    assert caught.value.__suppress_context__


def test_headers_may_set_typ_but_not_the_algorithm() -> None:
    token = sign(CLAIMS, LONG, "HS256", {"alg": "none", "typ": "client-authentication+jwt"})
    header = {"alg": "HS256", "typ": "client-authentication+jwt"}
    assert pyjwt.get_unverified_header(token) == header


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512", "EdDSA"])
def test_a_generated_key_is_new_each_time_and_signs(algorithm: str) -> None:
    key = generate_key(algorithm)
    assert opened(key.sign(CLAIMS), key) == CLAIMS
    assert generate_key(algorithm).thumbprint != key.thumbprint


def test_no_key_is_generated_for_another_algorithm() -> None:
    with pytest.raises(ConfigurationError, match="choose ES256, ES384, ES512 or EdDSA"):
        generate_key("RS256")


def test_the_repr_of_a_key_shows_only_the_public_key() -> None:
    key = load_key(jwk("P-256", kid="k1"))
    assert jwk("P-256")["d"] not in repr(key)
    assert "private" not in repr(key)
    assert "k1" in repr(key)


HINT = r'pip install "oauthcc\[jwt\]"'


@pytest.mark.parametrize("missing", ["jwt", "cryptography.hazmat.primitives.asymmetric"])
def test_the_error_for_a_missing_dependency_says_what_to_install(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    for use in (lambda: load_key(pem("RSA")), generate_key):
        with pytest.raises(ConfigurationError, match=HINT) as caught:
            use()
        assert isinstance(caught.value.__cause__, ImportError)


def test_a_secret_signs_without_cryptography(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric", None)
    assert sign(CLAIMS, LONG, "HS256")


def test_another_package_named_jwt_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "jwt", ModuleType("jwt"))
    with pytest.raises(ConfigurationError, match=r"is not PyJWT: pip uninstall jwt"):
        require_pyjwt()


def test_neither_dependency_is_imported_before_its_first_use() -> None:
    code = "import oauthcc.jwt, sys; print({'jwt', 'cryptography'} & set(sys.modules))"
    here = Path(__file__).parent.parent
    python = [sys.executable, "-c", code]
    assert subprocess.check_output(python, cwd=here, timeout=60) == b"set()\n"
