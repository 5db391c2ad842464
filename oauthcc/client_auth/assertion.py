"""The methods that send an assertion (RFC 7521, RFC 7523): signed here, or made by another."""

from __future__ import annotations

import os
import time
import uuid
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any, cast

from ..errors import ConfigurationError
from ..jwt import LEAST_OCTETS, Key, KeyLike, Material, load_key, require_pyjwt, sign
from ..secret import Secret, SecretLike, absolute, call, read_file
from .attempt import Attempt, at_construction, hashed

#: RFC 7523 section 2.2.
JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@dataclass(frozen=True, slots=True)
class ClientSecretJWT:
    """Sign an assertion with the client secret (RFC 7523 section 2.2).

    ``algorithm`` is HS256, HS384 or HS512: the secret must have at least 32, 48 or 64 octets (RFC
    7518 section 3.2). ``lifetime`` of an assertion is in seconds, ``audience`` replaces the issuer
    or token URL, ``type`` is the ``typ`` of its header. Needs ``pip install "oauthcc[jwt]"``.
    """

    algorithm: str = "HS256"
    _: KW_ONLY
    lifetime: int = 60
    audience: str | None = None
    type: str | None = None
    name = "client_secret_jwt"
    needs_secret = True
    cert = None

    def __post_init__(self) -> None:
        _check_lifetime(self.lifetime)
        require_pyjwt()
        if self.algorithm not in LEAST_OCTETS:
            raise ConfigurationError(
                f"ClientSecretJWT signs with {', '.join(LEAST_OCTETS)}, not {self.algorithm!r}; use"
                " PrivateKeyJWT for a private key."
            )

    def authenticate(self, attempt: Attempt) -> None:
        """Add an assertion made for this attempt to the body."""
        secret = attempt.secret("ClientSecretJWT")
        claims = _claims(attempt, self.audience, self.lifetime)
        _assert(attempt, sign(claims, secret, self.algorithm, _header(self.type)))

    def fingerprint(self, client_secret: str | None) -> bytes:
        """Hash the secret and the options."""
        options = self.algorithm, self.lifetime, self.audience, self.type
        return hashed(self.name, client_secret, *options)


@dataclass(frozen=True, slots=True, eq=False)
class PrivateKeyJWT:
    """Sign an assertion with a private key (RFC 7523 section 2.2), as RFC 9700 recommends.

    ``key`` is PEM (text or bytes), a JWK (dict or JSON text), a ``pathlib.Path`` of a file that
    holds either, or a callable that gives either; file and callable are read anew for each token
    request. ``password`` opens an encrypted PEM. Where they are None, ``algorithm`` comes from the
    key (RS256 for RSA without ``alg``) and ``key_id`` from the JWK. ``lifetime`` of an assertion
    is in seconds, ``audience`` replaces the issuer or token URL, ``type`` is the ``typ`` of its
    header. Raise ConfigurationError for what cannot sign. Needs ``pip install "oauthcc[jwt]"``.
    """

    key: KeyLike = field(repr=False)
    _: KW_ONLY
    algorithm: str | None = None
    key_id: str | None = None
    password: SecretLike | None = field(default=None, repr=False)
    audience: str | None = None
    lifetime: int = 60
    type: str | None = None
    _password: Secret | None = field(init=False, repr=False)
    name = "private_key_jwt"
    needs_secret = False
    cert = None

    def __post_init__(self) -> None:
        _check_lifetime(self.lifetime)
        if isinstance(self.key, os.PathLike):
            object.__setattr__(self, "key", absolute(self.key))
        password = None if self.password is None else Secret.of(self.password, "password")
        object.__setattr__(self, "_password", password)
        require_pyjwt(cryptography=True)
        if not callable(self.key) and not callable(self.password):
            at_construction(self._load)

    def authenticate(self, attempt: Attempt) -> None:
        """Add an assertion made for this attempt to the body."""
        key = self._load()
        claims = _claims(attempt, self.audience, self.lifetime)
        _assert(attempt, key.sign(claims, _header(self.type, key.key_id)))

    def fingerprint(self, client_secret: str | None) -> bytes:
        """Hash the key as it is now, its password and the options."""
        options = self.algorithm, self.key_id, self.audience, self.lifetime, self.type
        return hashed(self.name, *self._read(), *options)

    def _load(self) -> Key:
        material, password = self._read()
        return load_key(material, password, algorithm=self.algorithm, key_id=self.key_id)

    def _read(self) -> tuple[Material, str | None]:
        material: object = self.key
        if isinstance(material, Path):
            material = read_file(material, "private key")
        elif callable(material):
            material = call(material, "private key")
        password = None if self._password is None else self._password.read()
        # What a callable gave is looked at by `load_key`.
        return cast("Material", material), password


@dataclass(frozen=True, slots=True)
class ClientAssertion:
    """Send an assertion that somebody else made (RFC 7521 section 4.2), as in workload identity.

    ``assertion`` is a ``pathlib.Path`` of a file that holds it or a callable that gives it, read
    anew for every attempt, or the assertion itself. ``type`` is its registered type, a URI.
    ``send_client_id=False`` leaves ``client_id`` out of the body, which RFC 7521 allows.
    """

    assertion: SecretLike = field(repr=False)
    _: KW_ONLY
    type: str = JWT_BEARER
    send_client_id: bool = True
    _source: Secret = field(init=False, repr=False, compare=False)
    name = "private_key_jwt"
    needs_secret = False
    cert = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "_source", Secret.of(self.assertion, "assertion"))

    def authenticate(self, attempt: Attempt) -> None:
        """Add the assertion as it is now to the body."""
        _assert(attempt, self._source.read(), self.type, send_client_id=self.send_client_id)

    def fingerprint(self, client_secret: str | None) -> bytes:
        """Hash the assertion as it is now, and the options.

        All of it, and not who it names: a forged one must not be handed another's token from a
        shared store. So tokens are shared there by those alone who have the same assertion.
        """
        return hashed("client_assertion", self._source.read(), self.type, self.send_client_id)


def _claims(attempt: Attempt, audience: str | None, lifetime: int) -> dict[str, Any]:
    """Return the claims of RFC 7523 section 3, with a ``jti`` that was never used before."""
    now = int(time.time())
    return {
        "iss": attempt.client_id,
        "sub": attempt.client_id,
        "aud": audience or attempt.audience,
        "iat": now,
        "exp": now + lifetime,
        "jti": str(uuid.uuid4()),
    }


def _header(typ: str | None, key_id: str | None = None) -> dict[str, str]:
    return {name: value for name, value in (("typ", typ), ("kid", key_id)) if value is not None}


def _assert(
    attempt: Attempt, assertion: str, kind: str = JWT_BEARER, *, send_client_id: bool = True
) -> None:
    if send_client_id:
        attempt.params.append(("client_id", attempt.client_id))
    attempt.params += [("client_assertion_type", kind), ("client_assertion", assertion)]
    attempt.secrets.append(assertion)


def _check_lifetime(seconds: object) -> None:
    if not isinstance(seconds, int) or isinstance(seconds, bool) or seconds <= 0:
        raise ConfigurationError(
            f"lifetime must be a whole number of seconds above zero, not {seconds!r}."
        )
