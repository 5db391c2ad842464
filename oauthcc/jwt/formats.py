"""Private keys in the forms in which people have them: PEM and JWK."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Mapping
from typing import Any

from ..errors import ConfigurationError
from .dependency import require_pyjwt

#: A private key: PEM text or bytes, or a JWK as a mapping or JSON text (RFC 7517).
Material = str | bytes | Mapping[str, Any]

#: Bits that an RSA key must have at least (RFC 7518 section 3.3).
LEAST_RSA_BITS = 2048
_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_EC = {
    "secp256r1": ("P-256", "ES256"),
    "secp384r1": ("P-384", "ES384"),
    "secp521r1": ("P-521", "ES512"),
    "secp256k1": ("secp256k1", "ES256K"),
}


def read_key(material: Material, password: str | None) -> tuple[Any, dict[str, Any]]:
    """Return a private key of cryptography's, and the JWK that it came from or an empty dict.

    Raise ConfigurationError, which says what to give instead, where there is no private key.
    """
    if isinstance(material, (str, bytes)) and material.lstrip()[:1] not in ("{", b"{"):
        return _from_pem(material, password), {}
    jwk = _as_jwk(material)
    return _from_jwk(jwk), jwk


def describe(private: Any) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the public half as the JWK that RFC 7638 hashes, and the algorithms that fit."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

    public = private.public_key()
    if isinstance(private, rsa.RSAPrivateKey):
        _check_size(private.key_size)
        numbers = public.public_numbers()
        return {"kty": "RSA", "n": _number(numbers.n), "e": _number(numbers.e)}, _RSA
    if isinstance(private, ec.EllipticCurvePrivateKey) and private.curve.name in _EC:
        curve, algorithm = _EC[private.curve.name]
        point, bits = public.public_numbers(), private.curve.key_size
        x, y = _number(point.x, bits), _number(point.y, bits)
        return {"kty": "EC", "crv": curve, "x": x, "y": y}, (algorithm,)
    if isinstance(private, (ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey)):
        curve = "Ed25519" if isinstance(private, ed25519.Ed25519PrivateKey) else "Ed448"
        raw = serialization.Encoding.Raw, serialization.PublicFormat.Raw
        return {"kty": "OKP", "crv": curve, "x": base64url(public.public_bytes(*raw))}, ("EdDSA",)
    raise ConfigurationError(
        "The private key must be RSA, EC (P-256, P-384, P-521, secp256k1), Ed25519 or Ed448."
    )


def _as_jwk(material: object) -> dict[str, Any]:
    if isinstance(material, Mapping):
        return dict(material)
    if not isinstance(material, (str, bytes)):
        raise ConfigurationError(
            "The private key must be PEM or a JWK (str, bytes or dict), a pathlib.Path of the file"
            f" that holds it, or a callable that gives it, not {type(material).__name__}."
        )
    jwk: dict[str, Any] | None = None
    with contextlib.suppress(ValueError, RecursionError):
        jwk = json.loads(material)
    if jwk is None:
        # Raised out here, since a JSONDecodeError holds the whole key.
        raise ConfigurationError("The private key begins like a JWK, but is not valid JSON.")
    return jwk


def _from_jwk(jwk: dict[str, Any]) -> Any:
    algorithms = require_pyjwt().algorithms
    readers = {
        "RSA": algorithms.RSAAlgorithm,
        "EC": algorithms.ECAlgorithm,
        "OKP": algorithms.OKPAlgorithm,
    }
    kty = str(jwk.get("kty"))
    for refused, problem in (
        ("keys" in jwk, "a set of JWKs: give the one private key of it that signs"),
        (kty == "oct", "a shared secret: use ClientSecretJWT"),
        (kty not in readers, "no JWK that signs: it needs a kty of RSA, EC or OKP"),
        ("d" not in jwk, "a public JWK: give the private one, which has a d"),
        (jwk.get("use", "sig") != "sig", "a JWK for encryption: give one whose use is sig"),
    ):
        if refused:
            raise ConfigurationError(f"The private key is {problem}.")
    try:
        return readers[kty].from_jwk(jwk)
    except Exception as error:  # noqa: BLE001 - whatever junk makes it raise
        raise ConfigurationError(
            f"The private key is not a valid {kty} JWK ({type(error).__name__})."
        ) from None


def _from_pem(material: str | bytes, password: str | None) -> Any:
    from cryptography.hazmat.primitives.serialization import (
        load_pem_private_key,
        load_ssh_private_key,
    )

    pem = material.encode("utf-8", "replace") if isinstance(material, str) else material
    if b"PRIVATE KEY-----" not in pem:
        raise ConfigurationError(f"The private key is {_instead_of_pem(pem)}.")
    read: Any = load_ssh_private_key if b"BEGIN OPENSSH" in pem else load_pem_private_key
    unopened = password is None
    try:
        return read(pem, None if password is None else password.encode())
    except TypeError:
        # cryptography says so where there is a password and no encryption, or the reverse.
        problem = "encrypted: give password=" if unopened else "not encrypted: give no password="
    except Exception as error:  # noqa: BLE001 - whatever junk makes it raise
        cause = "" if unopened else ", or the password is wrong"
        problem = f"cut or of an unknown kind{cause} ({type(error).__name__})"
    raise ConfigurationError(f"The private key is {problem}.")


def _instead_of_pem(octets: bytes) -> str:
    """Say what was given where a private key in PEM should have been."""
    if b"-----BEGIN CERTIFICATE" in octets:
        return "a certificate: give the private key that belongs to it"
    if b"PUBLIC KEY-----" in octets or octets.startswith((b"ssh-", b"ecdsa-")):
        return "a public key: give the private one"
    return (
        "neither PEM (-----BEGIN PRIVATE KEY-----) nor a JWK: for the name of a file give"
        " pathlib.Path(...)"
    )


def _check_size(bits: int) -> None:
    if bits < LEAST_RSA_BITS:
        raise ConfigurationError(
            f"The RSA key has {bits} bits: give one of at least {LEAST_RSA_BITS} (RFC 7518 section"
            " 3.3)."
        )


def _number(value: int, bits: int | None = None) -> str:
    return base64url(value.to_bytes(((bits or value.bit_length()) + 7) // 8, "big"))


def base64url(octets: bytes) -> str:
    """Encode octets as in a JWT: with ``-`` and ``_``, and without ``=`` at the end."""
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()
