"""Signing JSON Web Tokens: the only place that knows PyJWT and cryptography.

Both are imported at first use (``pip install "oauthcc[jwt]"``). A client secret signs with HS
algorithms only and a private key with the algorithms of its own family only, so that a key can
never be taken for a secret, nor the other way round.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import ConfigurationError

#: A private key: PEM text or bytes, or a JWK as a mapping or JSON text (RFC 7517).
Material = str | bytes | Mapping[str, Any]
#: A private key itself, the path of a file that holds it, or a callable that gives it.
KeyLike = Material | os.PathLike[str] | Callable[[], Material]

#: Octets that a secret must have at least for an algorithm (RFC 7518 section 3.2).
LEAST_OCTETS = {"HS256": 32, "HS384": 48, "HS512": 64}
#: Bits that an RSA key must have at least (RFC 7518 section 3.3).
LEAST_RSA_BITS = 2048
_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_EC = {
    "secp256r1": ("P-256", "ES256"),
    "secp384r1": ("P-384", "ES384"),
    "secp521r1": ("P-521", "ES512"),
    "secp256k1": ("secp256k1", "ES256K"),
}


@dataclass(frozen=True, slots=True)
class Key:
    """Hold a private key that was read, and what may be told of it.

    ``algorithm`` is the one it signs with, ``key_id`` its name at the server, ``public_jwk`` the
    members of its public half that RFC 7638 requires, and no others.
    """

    private: Any = field(repr=False, compare=False)
    algorithm: str
    key_id: str | None
    public_jwk: Mapping[str, str]

    @property
    def thumbprint(self) -> str:
        """Return the SHA-256 thumbprint of the public key (RFC 7638 section 3)."""
        canonical = json.dumps(dict(self.public_jwk), sort_keys=True, separators=(",", ":"))
        return _base64url(hashlib.sha256(canonical.encode()).digest())

    def sign(self, claims: Mapping[str, Any], headers: Mapping[str, Any] | None = None) -> str:
        """Return a signed token that carries these claims and further header members."""
        return sign(claims, self, self.algorithm, headers)


def sign(
    claims: Mapping[str, Any],
    key: str | Key,
    algorithm: str,
    headers: Mapping[str, Any] | None = None,
) -> str:
    """Return a signed token: HS algorithms with a secret, all others with a `Key`.

    Raise ConfigurationError where key and algorithm do not fit, or the secret is too short.
    """
    if isinstance(key, Key):
        if algorithm != key.algorithm:
            raise ConfigurationError(f"A key for {key.algorithm} cannot sign with {algorithm}.")
        material: Any = key.private
    else:
        _check_secret(key, algorithm)
        material = key.encode()
    jwt = require_pyjwt()
    try:
        token: str = jwt.encode(
            dict(claims),
            material,
            algorithm=algorithm,
            headers={**(headers or {}), "alg": algorithm},
        )
    except jwt.InvalidKeyError:
        # Its text is about PEM and JWK, in words that do not help someone who gave a secret.
        raise ConfigurationError(
            f"The client_secret looks like a public key, a certificate or a JWK, which must not"
            f" sign with {algorithm}: use PrivateKeyJWT for a private key."
        ) from None
    return token


def load_key(
    material: Material,
    password: str | None = None,
    *,
    algorithm: str | None = None,
    key_id: str | None = None,
) -> Key:
    """Read a private key: PEM (PKCS #8, PKCS #1, SEC 1, OpenSSH) or JWK.

    ``password`` opens an encrypted PEM. Where ``algorithm`` is None it comes from the JWK's
    ``alg`` or from the key itself, with RS256 for RSA; ``key_id`` comes from the JWK's ``kid``.
    Raise ConfigurationError, which says what to give instead, for everything that cannot sign.
    """
    require_pyjwt(cryptography=True)
    if isinstance(material, (str, bytes)) and material.lstrip()[:1] not in ("{", b"{"):
        jwk: dict[str, Any] = {}
        private = _from_pem(material, password)
    else:
        jwk = _as_jwk(material)
        private = _from_jwk(jwk)
    public_jwk, fitting = _describe(private)
    stated, named = jwk.get("alg"), key_id or jwk.get("kid")
    if algorithm and stated and algorithm != stated:
        raise ConfigurationError(
            f"The JWK says alg {stated!r}, but algorithm={algorithm!r} was asked for: drop one."
        )
    chosen = algorithm or stated or fitting[0]
    if chosen not in fitting:
        raise ConfigurationError(
            f"The algorithm {chosen!r} does not fit this {public_jwk['kty']} key, which signs with"
            f" {' or '.join(fitting)}."
        )
    if not (named is None or isinstance(named, str)):
        raise ConfigurationError("The kid of the JWK must be a string.")
    return Key(private, chosen, named, public_jwk)


def generate_key(algorithm: str = "ES256") -> Key:
    """Make a new private key for ES256, ES384, ES512 or EdDSA (Ed25519)."""
    require_pyjwt(cryptography=True)
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    curves: dict[str, Any] = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1}
    private: Any
    if algorithm == "EdDSA":
        private = ed25519.Ed25519PrivateKey.generate()
    elif algorithm in curves:
        private = ec.generate_private_key(curves[algorithm]())
    else:
        raise ConfigurationError(
            f"No key can be made for {algorithm!r}: choose {', '.join(curves)} or EdDSA."
        )
    return Key(private, algorithm, None, _describe(private)[0])


def require_pyjwt(*, cryptography: bool = False) -> Any:
    """Return the module PyJWT; raise ConfigurationError where it, or cryptography, is missing."""
    try:
        import jwt
        from jwt import InvalidKeyError, encode  # noqa: F401 - another package is named jwt too

        if cryptography:
            from cryptography.hazmat.primitives.asymmetric import ec  # noqa: F401
    except ImportError as error:
        raise ConfigurationError(
            'Signing needs PyJWT with cryptography: pip install "oauthcc[jwt]"'
        ) from error
    return jwt


def _check_secret(secret: str, algorithm: str) -> None:
    least = LEAST_OCTETS.get(algorithm)
    if least is None:
        raise ConfigurationError(
            f"A client_secret cannot sign with {algorithm!r}: choose {', '.join(LEAST_OCTETS)}, or"
            " use PrivateKeyJWT with a private key."
        )
    if len(secret.encode()) < least:
        raise ConfigurationError(
            f"The client_secret is shorter than the {least} octets that {algorithm} needs (RFC 7518"
            " section 3.2): use a longer one, or another method such as ClientSecretBasic."
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
    from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

    readers: dict[Any, Any] = {"RSA": RSAAlgorithm, "EC": ECAlgorithm, "OKP": OKPAlgorithm}
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
    locked = password is None
    try:
        return read(pem, None if password is None else password.encode())
    except TypeError:
        # cryptography says so where there is a password and no encryption, or the reverse.
        problem = "encrypted: give password=" if locked else "not encrypted: give no password="
    except Exception as error:  # noqa: BLE001 - whatever junk makes it raise
        cause = "" if locked else ", or the password is wrong"
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


def _describe(private: Any) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the public half as the JWK that RFC 7638 hashes, and the algorithms that fit."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

    public = private.public_key()
    if isinstance(private, rsa.RSAPrivateKey):
        if private.key_size < LEAST_RSA_BITS:
            raise ConfigurationError(
                f"The RSA key has {private.key_size} bits: give one of at least {LEAST_RSA_BITS}"
                " (RFC 7518 section 3.3)."
            )
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
        return {"kty": "OKP", "crv": curve, "x": _base64url(public.public_bytes(*raw))}, ("EdDSA",)
    raise ConfigurationError(
        "The private key must be RSA, EC (P-256, P-384, P-521, secp256k1), Ed25519 or Ed448."
    )


def _number(value: int, bits: int | None = None) -> str:
    return _base64url(value.to_bytes(((bits or value.bit_length()) + 7) // 8, "big"))


def _base64url(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()
