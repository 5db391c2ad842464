"""Private keys in PEM and JWK, as PyJWT and cryptography read and describe them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import Any

from ..errors import ConfigurationError

#: A private key: PEM text or bytes, or a JWK as a mapping or JSON text (RFC 7517).
Material = str | bytes | Mapping[str, Any]

#: The smallest RSA key that may sign, in bits (RFC 7518 section 3.3).
LEAST_RSA_BITS = 2048
# The algorithms of a key, by the curve or else the type of its JWK. The first is the default.
_ALGORITHMS: dict[str | None, tuple[str, ...]] = {
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "P-256": ("ES256",),
    "P-384": ("ES384",),
    "P-521": ("ES512",),
    "secp256k1": ("ES256K",),
    "Ed25519": ("EdDSA",),
    "Ed448": ("EdDSA",),
}
# RFC 7638 section 3.2 and RFC 8037 section 2.
_REQUIRED_MEMBERS = ("kty", "crv", "x", "y", "n", "e")


def require_pyjwt(*, cryptography: bool = False) -> Any:
    """Return the module PyJWT; raise ConfigurationError if it, or cryptography, is missing."""
    try:
        import jwt

        if cryptography:
            from cryptography.hazmat.primitives.asymmetric import ec  # noqa: F401 - only a check
    except ImportError as error:
        raise ConfigurationError(
            'Signing needs PyJWT with cryptography: pip install "oauthcc[jwt]"'
        ) from error
    if not hasattr(jwt, "PyJWT"):
        raise ConfigurationError(
            "The package that is installed as jwt is not PyJWT: pip uninstall jwt, then pip install"
            ' --force-reinstall "oauthcc[jwt]"'
        )
    return jwt


def read_key(material: Material, password: str | None) -> tuple[Any, dict[str, Any]]:
    """Return a private key of cryptography, and the JWK it was read from (empty for PEM).

    Raise ConfigurationError if there is no private key. The message says what to give instead.
    """
    if isinstance(material, (str, bytes)) and material.lstrip()[:1] not in ("{", b"{"):
        return _from_pem(material, password), {}
    jwk = _as_jwk(material)
    return _from_jwk(jwk), jwk


def describe(private: Any) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the public key as the JWK that RFC 7638 hashes, and the algorithms of the key."""
    jwk: dict[str, Any] = {}
    for family in _families().values():
        # PyJWT raises AttributeError for a key of another type that it takes for an RSA key.
        with contextlib.suppress(require_pyjwt().InvalidKeyError, AttributeError):
            jwk = family.to_jwk(private.public_key(), as_dict=True)
    algorithms = _ALGORITHMS.get(jwk.get("crv") or jwk.get("kty"))
    if algorithms is None:
        raise ConfigurationError(
            "The private key must be RSA, EC (P-256, P-384, P-521, secp256k1), Ed25519 or Ed448."
        )
    if jwk["kty"] == "RSA" and private.key_size < LEAST_RSA_BITS:
        raise ConfigurationError(
            f"The RSA key has {private.key_size} bits: give one of at least {LEAST_RSA_BITS} (RFC"
            " 7518 section 3.3)."
        )
    return {name: jwk[name] for name in _REQUIRED_MEMBERS if name in jwk}, algorithms


def _as_jwk(material: object) -> dict[str, Any]:
    if isinstance(material, Mapping):
        return dict(material)
    if not isinstance(material, (str, bytes)):
        raise ConfigurationError(
            "The private key must be PEM or a JWK (str, bytes or dict), a pathlib.Path of the file"
            f" that holds it, or a callable that returns it, not {type(material).__name__}."
        )
    jwk: dict[str, Any] | None = None
    with contextlib.suppress(ValueError, RecursionError):
        jwk = json.loads(material)
    if jwk is None:
        # Not raised inside the `with`: a JSONDecodeError holds the whole key.
        raise ConfigurationError("The private key begins like a JWK, but is not valid JSON.")
    return jwk


def _from_jwk(jwk: dict[str, Any]) -> Any:
    families, kty = _families(), str(jwk.get("kty"))
    for refused, problem in (
        ("keys" in jwk, "a set of JWKs: give the one private key of it that signs"),
        (kty == "oct", "a shared secret: use ClientSecretJWT"),
        (kty not in families, "not a JWK that can sign: it needs a kty of RSA, EC or OKP"),
        ("d" not in jwk, "a public JWK: give the private one, which has a d"),
        (jwk.get("use", "sig") != "sig", "a JWK for encryption: give one whose use is sig"),
    ):
        if refused:
            raise ConfigurationError(f"The private key is {problem}.")
    try:
        return families[kty].from_jwk(jwk)
    except Exception as error:  # noqa: BLE001 - broken input raises many types
        raise ConfigurationError(
            f"The private key is not a valid {kty} JWK ({type(error).__name__})."
        ) from None


def _families() -> dict[str, Any]:
    """Return the classes of PyJWT that read and write the JWKs of each type."""
    module = require_pyjwt().algorithms
    return {"RSA": module.RSAAlgorithm, "EC": module.ECAlgorithm, "OKP": module.OKPAlgorithm}


def _from_pem(material: str | bytes, password: str | None) -> Any:
    from cryptography.hazmat.primitives.serialization import (
        load_pem_private_key,
        load_ssh_private_key,
    )

    pem = material.encode("utf-8", "replace") if isinstance(material, str) else material
    if b"PRIVATE KEY-----" not in pem:
        raise ConfigurationError(f"The private key is {_instead_of_pem(pem)}.")
    read: Any = load_ssh_private_key if b"BEGIN OPENSSH" in pem else load_pem_private_key
    try:
        return read(pem, None if password is None else password.encode())
    except TypeError:
        # Raised by cryptography for a password without encryption, and for the reverse.
        needs_one = password is None
        problem = "encrypted: give password=" if needs_one else "not encrypted: give no password="
    except Exception as error:  # noqa: BLE001 - broken input raises many types
        cause = "" if password is None else ", or the password is wrong"
        problem = f"incomplete or of an unknown format{cause} ({type(error).__name__})"
    raise ConfigurationError(f"The private key is {problem}.")


def _instead_of_pem(octets: bytes) -> str:
    """Return what was given instead of a private key in PEM, and what to give."""
    if b"-----BEGIN CERTIFICATE" in octets:
        return "a certificate: give the private key that belongs to it"
    if b"PUBLIC KEY-----" in octets or octets.startswith((b"ssh-", b"ecdsa-")):
        return "a public key: give the private one"
    return (
        "neither PEM (-----BEGIN PRIVATE KEY-----) nor a JWK: for the name of a file give"
        " pathlib.Path(...), and convert DER or PFX to PEM with openssl"
    )
