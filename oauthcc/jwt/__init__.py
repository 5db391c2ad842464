"""Signed JSON Web Tokens: the only place that uses PyJWT and cryptography.

Both are imported at first use (``pip install "oauthcc[jwt]"``). A client secret signs with HS
algorithms only, and a private key with the algorithms of its own type only. So a key is never used
as a secret, and a secret is never used as a key.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import ConfigurationError
from ..values import field, frozen
from .certificates import certificate_headers
from .formats import Material, describe, read_key, require_pyjwt

__all__ = [
    "Key",
    "KeyLike",
    "Material",
    "certificate_headers",
    "generate_key",
    "least_octets",
    "load_key",
    "require_pyjwt",
    "sha256_base64url",
    "sign",
]

#: A private key itself, the path of a file that holds it, or a callable that returns it.
KeyLike = Material | os.PathLike[str] | Callable[[], Material]

# The length of the shortest secret for an algorithm, in octets (RFC 7518 section 3.2).
_LEAST_OCTETS = {"HS256": 32, "HS384": 48, "HS512": 64}


@frozen
class Key:
    """A private key and its public description.

    ``algorithm`` is the one that it signs with. ``key_id`` is its name at the server, or None.
    ``public_jwk`` holds the members of the public key that RFC 7638 requires, and no others.
    """

    private: Any = field(repr=False, compare=False)
    algorithm: str
    key_id: str | None
    public_jwk: Mapping[str, str]

    @property
    def thumbprint(self) -> str:
        """Return the SHA-256 thumbprint of the public key (RFC 7638 section 3)."""
        return sha256_base64url(
            json.dumps(dict(self.public_jwk), sort_keys=True, separators=(",", ":"))
        )

    def sign(self, claims: Mapping[str, Any], headers: Mapping[str, Any] | None = None) -> str:
        """Return a signed token with these claims and these additional header members."""
        return _encode(claims, self.private, self.algorithm, headers)


def sign(
    claims: Mapping[str, Any],
    secret: str,
    algorithm: str,
    headers: Mapping[str, Any] | None = None,
) -> str:
    """Return a token that is signed with a client secret.

    Raise ConfigurationError if the algorithm is not HS256, HS384 or HS512, if the secret is too
    short for it, or if the secret is really a key.
    """
    least = least_octets(algorithm)
    if len(secret.encode()) < least:
        raise ConfigurationError(
            f"The client_secret is shorter than the {least} octets that {algorithm} needs (RFC 7518"
            " section 3.2): use a longer one, or another method such as ClientSecretBasic."
        )
    try:
        return _encode(claims, secret.encode(), algorithm, headers)
    except require_pyjwt().InvalidKeyError:
        # The message of PyJWT is about PEM and JWK. It does not help a caller who gave a secret.
        raise ConfigurationError(
            "The client_secret looks like a public key, a certificate or a JWK, which must not sign"
            f" with {algorithm}: use PrivateKeyJWT for a private key."
        ) from None


def least_octets(algorithm: str) -> int:
    """Return how many octets a secret must have; raise ConfigurationError if it cannot sign."""
    if algorithm not in _LEAST_OCTETS:
        raise ConfigurationError(
            # Not shown: it may be the secret.
            f"A client_secret cannot sign with this algorithm: choose {', '.join(_LEAST_OCTETS)},"
            " or use PrivateKeyJWT with a private key."
        )
    return _LEAST_OCTETS[algorithm]


def load_key(
    material: Material,
    password: str | None = None,
    *,
    algorithm: str | None = None,
    key_id: str | None = None,
) -> Key:
    """Read a private key: PEM (PKCS #8, PKCS #1, SEC 1, OpenSSH) or JWK.

    ``password`` decrypts an encrypted PEM. If ``algorithm`` is None, it is the JWK's ``alg`` or
    that of the key itself, RS256 for RSA. If ``key_id`` is None, it is the JWK's ``kid``. Raise
    ConfigurationError for everything that cannot sign. The message says what to give instead.
    """
    require_pyjwt(cryptography=True)
    private, jwk = read_key(material, password)
    public_jwk, algorithms = describe(private)
    key_id = key_id or jwk.get("kid")
    if not (key_id is None or isinstance(key_id, str)):
        raise ConfigurationError("The kid of the JWK must be a string.")
    return Key(private, _choose(algorithm, jwk.get("alg"), algorithms), key_id, public_jwk)


def generate_key(algorithm: str = "ES256") -> Key:
    """Create a new private key for ES256, ES384, ES512 or EdDSA (Ed25519)."""
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
            f"No key can be generated for {algorithm!r}: choose {', '.join(curves)} or EdDSA."
        )
    return Key(private, algorithm, None, describe(private)[0])


def sha256_base64url(value: str | bytes) -> str:
    """Return the SHA-256 digest of a text or bytes in base64url without padding (RFC 7515)."""
    octets = value.encode() if isinstance(value, str) else value
    return base64.urlsafe_b64encode(hashlib.sha256(octets).digest()).rstrip(b"=").decode()


def _encode(
    claims: Mapping[str, Any],
    key: Any,
    algorithm: str,
    headers: Mapping[str, Any] | None,
) -> str:
    # PyJWT would let a header named "alg" replace the algorithm.
    headers = {**(headers or {}), "alg": algorithm}
    token: str = require_pyjwt().encode(dict(claims), key, algorithm=algorithm, headers=headers)
    return token


def _choose(asked: str | None, stated: object, fitting: tuple[str, ...]) -> str:
    """Return the algorithm that was asked for, else that of the JWK, else the key's default."""
    if asked and stated and asked != stated:
        raise ConfigurationError(
            f"The JWK has alg {stated!r}, but algorithm={asked!r} was given: leave out one of them."
        )
    chosen = asked or stated or fitting[0]
    if chosen not in fitting:
        raise ConfigurationError(
            f"The algorithm {chosen!r} does not fit this key, which signs with"
            f" {' or '.join(fitting)}."
        )
    return str(chosen)
