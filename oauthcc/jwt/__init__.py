"""Signing JSON Web Tokens: the only place that knows PyJWT and cryptography.

Both are imported at first use (``pip install "oauthcc[jwt]"``). A client secret signs with HS
algorithms only and a private key with the algorithms of its own family only, so that a key can
never be taken for a secret, nor the other way round.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import ConfigurationError
from .dependency import require_pyjwt
from .formats import Material, base64url, describe, read_key

__all__ = [
    "LEAST_OCTETS",
    "Key",
    "KeyLike",
    "Material",
    "generate_key",
    "load_key",
    "require_pyjwt",
    "sign",
]

#: A private key itself, the path of a file that holds it, or a callable that gives it.
KeyLike = Material | os.PathLike[str] | Callable[[], Material]

#: Octets that a secret must have at least for an algorithm (RFC 7518 section 3.2).
LEAST_OCTETS = {"HS256": 32, "HS384": 48, "HS512": 64}


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
        return base64url(hashlib.sha256(canonical.encode()).digest())

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
    if not isinstance(key, Key):
        _check_secret(key, algorithm)
    elif algorithm != key.algorithm:
        raise ConfigurationError(f"A key for {key.algorithm} cannot sign with {algorithm}.")
    jwt, material = require_pyjwt(), key.private if isinstance(key, Key) else key.encode()
    headers = {**(headers or {}), "alg": algorithm}
    try:
        token: str = jwt.encode(dict(claims), material, algorithm=algorithm, headers=headers)
    except jwt.InvalidKeyError:
        # Its text is about PEM and JWK, in words that do not help someone who gave a secret.
        raise ConfigurationError(
            "The client_secret looks like a public key, a certificate or a JWK, which must not sign"
            f" with {algorithm}: use PrivateKeyJWT for a private key."
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
    private, jwk = read_key(material, password)
    public_jwk, fitting = describe(private)
    named = key_id or jwk.get("kid")
    if not (named is None or isinstance(named, str)):
        raise ConfigurationError("The kid of the JWK must be a string.")
    return Key(private, _choose(algorithm, jwk.get("alg"), fitting), named, public_jwk)


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
    return Key(private, algorithm, None, describe(private)[0])


def _choose(asked: str | None, stated: object, fitting: tuple[str, ...]) -> str:
    """Choose the algorithm of a key: the one asked for, that of its JWK, else the first to fit."""
    if asked and stated and asked != stated:
        raise ConfigurationError(
            f"The JWK says alg {stated!r}, but algorithm={asked!r} was asked for: drop one."
        )
    chosen = asked or stated or fitting[0]
    if chosen not in fitting:
        raise ConfigurationError(
            f"The algorithm {chosen!r} does not fit this key, which signs with"
            f" {' or '.join(fitting)}."
        )
    return str(chosen)


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
