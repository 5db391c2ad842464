"""The methods that send an assertion (RFC 7521, RFC 7523), signed here or by another program."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from .. import clock
from ..errors import ConfigurationError
from ..frames import hide_locals
from ..jwt import (
    Key,
    KeyLike,
    Material,
    certificate_headers,
    least_octets,
    load_key,
    require_pyjwt,
    sign,
)
from ..secret import Secret, SecretLike, absolute, at_construction, read_source
from ..values import field, frozen
from .attempt import Attempt, hashed

if TYPE_CHECKING:
    from dataclasses import KW_ONLY

#: RFC 7523 section 2.2.
JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
#: A certificate in PEM, the path of a file that holds it, or a callable that returns it.
CertificateLike = str | bytes | os.PathLike[str] | Callable[[], str | bytes]
# What each assertion has anew, or what another option sets.
_SET_HERE = {
    "headers": {"alg": "use algorithm=", "b64": "it would leave out the claims"},
    "claims": {"exp": "use lifetime=", "iat": "it is the time", "jti": "it is always a new one"},
}
# What no assertion is without, and what PyJWT takes only as a text.
_NEEDED, _TEXTS = {"alg", "exp"}, {"headers": "kid", "claims": "iss"}


@frozen
class ClientSecretJWT:
    """An assertion that is signed with the client secret (RFC 7523 section 2.2).

    ``algorithm`` is HS256, HS384 or HS512. The secret must have at least 32, 48 or 64 octets (RFC
    7518 section 3.2). ``lifetime`` is how long an assertion is valid, in seconds. ``audience``
    replaces the issuer or token URL. ``type`` is the ``typ`` of the header. Needs
    ``pip install "oauthcc[jwt]"``.
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
        least_octets(self.algorithm)

    def authenticate(self, attempt: Attempt) -> None:
        """Sign an assertion for this attempt and add it to the body."""
        secret = attempt.secret("ClientSecretJWT")
        claims = _claims(attempt, self.audience, self.lifetime)
        header = {} if self.type is None else {"typ": self.type}
        _assert(attempt, sign(claims, secret, self.algorithm, header))

    def fingerprint(self, client_secret: str | None) -> bytes:
        """Return a digest of the secret and the options."""
        options = self.algorithm, self.lifetime, self.audience, self.type
        return hashed(self.name, client_secret, *options)


@hide_locals
@frozen
class PrivateKeyJWT:
    """An assertion that is signed with a private key (RFC 7523 section 2.2; see RFC 9700).

    ``key`` is PEM (text or bytes), a JWK (dict or JSON text), a ``pathlib.Path`` of a file that
    holds either, or a callable that returns either. The file is read and the callable is called
    again for each token request. ``password`` decrypts an encrypted PEM. If ``algorithm`` is None,
    it comes from the key (RS256 for RSA without ``alg``). If ``key_id`` is None, it comes from the
    JWK. ``lifetime`` is how long an assertion is valid, in seconds. ``audience`` replaces the
    issuer or token URL. ``type`` is the ``typ`` of the header. ``headers`` and ``claims`` are added
    to the assertion, or replace its members. A value of None leaves out a member. ``certificate``
    is the certificate of the key, in PEM, in the forms that ``key`` accepts, with its chain if the
    server wants the chain. It adds the headers ``x5t#S256`` and ``x5c`` (RFC 7515 section 4.1).
    Raises ConfigurationError if the key cannot sign, or if the certificate is not that of the key.
    Needs ``pip install "oauthcc[jwt]"``.
    """

    key: KeyLike = field(repr=False)
    _: KW_ONLY
    algorithm: str | None = None
    key_id: str | None = None
    password: SecretLike | None = field(default=None, repr=False)
    audience: str | None = None
    lifetime: int = 60
    type: str | None = None
    headers: Mapping[str, Any] | None = field(default=None, repr=False)
    claims: Mapping[str, Any] | None = field(default=None, repr=False)
    certificate: CertificateLike | None = field(default=None, repr=False)
    _password: Secret | None = field(init=False, repr=False)
    name = "private_key_jwt"
    needs_secret = False
    cert = None

    def __post_init__(self) -> None:
        _check_lifetime(self.lifetime)
        for name in ("headers", "claims"):
            object.__setattr__(self, name, _checked_members(name, getattr(self, name)))
        for name in ("key", "certificate"):
            if isinstance(getattr(self, name), os.PathLike):
                object.__setattr__(self, name, absolute(getattr(self, name)))
        password = None if self.password is None else Secret.of(self.password, "password")
        object.__setattr__(self, "_password", password)
        require_pyjwt(cryptography=True)
        at_construction(self._check)

    def authenticate(self, attempt: Attempt) -> None:
        """Sign an assertion for this attempt and add it to the body."""
        from ..redaction.token_shapes import names_secret

        key, given = self._load(), {**(self.headers or {})}
        if "typ" in given:  # PyJWT writes one of its own, except in the place of an empty one
            given["typ"] = given["typ"] or ""
        own = {"typ": self.type, "kid": key.key_id, **self._certificate_headers()}
        claims = _merged(_claims(attempt, self.audience, self.lifetime), self.claims)
        _assert(attempt, key.sign(claims, _merged(own, given)))
        members = [*given.items(), *(self.claims or {}).items()]
        texts = [(name, value) for name, value in members if isinstance(value, str)]
        attempt.secrets += [value for name, value in texts if names_secret(name)]

    def fingerprint(self, client_secret: str | None) -> bytes:
        """Return a digest of the current key, its password, its certificate and the options."""
        options = self.algorithm, self.key_id, self.audience, self.lifetime, self.type
        more = self.headers, self.claims, read_source(self.certificate, "certificate")
        return hashed(self.name, *self._read(), *options, *(more if any(more) else ()))

    def _compared(self) -> tuple[Any, ...]:
        return (id(self),)  # equal to itself only: a key may be a dict, which has no hash

    def _check(self) -> None:
        """Read what does not come from a callable."""
        is_called = callable(self.key) or callable(self.password)
        private = None if is_called else self._load().private
        if not callable(self.certificate):
            self._certificate_headers(private)

    def _load(self) -> Key:
        material, password = self._read()
        return load_key(material, password, algorithm=self.algorithm, key_id=self.key_id)

    def _certificate_headers(self, private: Any = None) -> dict[str, Any]:
        if self.certificate is None:
            return {}
        return certificate_headers(read_source(self.certificate, "certificate"), private)

    def _read(self) -> tuple[Material, str | None]:
        # `load_key` checks the type of the value that a callable returned.
        material = cast("Material", read_source(self.key, "private key"))
        return material, None if self._password is None else self._password.read()


@hide_locals
@frozen
class ClientAssertion:
    """An assertion that another program made (RFC 7521 section 4.2), as in workload identity.

    ``assertion`` is the assertion itself, a ``pathlib.Path`` of the file that contains it, or a
    callable that returns it. The file is read and the callable is called again for every attempt.
    ``type`` is its registered type, a URI. ``send_client_id=False`` leaves ``client_id`` out of the
    body, which RFC 7521 allows.
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
        if isinstance(self.assertion, str) and self.assertion.startswith(("/", "~", ".")):
            raise ConfigurationError(
                "The assertion is the name of a file: give pathlib.Path(...) of it."
            )

    def authenticate(self, attempt: Attempt) -> None:
        """Add the current assertion to the body."""
        _assert(attempt, self._source.read(), self.type, send_client_id=self.send_client_id)

    def fingerprint(self, client_secret: str | None) -> bytes:
        """Return a digest of the current assertion and the options.

        The digest is of the whole assertion, not of its claims: a forged assertion must not find
        another client's token in a shared store. So only processes with the same assertion share
        tokens.
        """
        return hashed("client_assertion", self._source.read(), self.type, self.send_client_id)


def _claims(attempt: Attempt, audience: str | None, lifetime: int) -> dict[str, Any]:
    """Return the claims of RFC 7523 section 3, with a new ``jti``."""
    now = int(clock.system.time())
    return {
        "iss": attempt.client_id,
        "sub": attempt.client_id,
        "aud": audience or attempt.audience,
        "iat": now,
        "exp": now + lifetime,
        "jti": secrets.token_urlsafe(16),
    }


def _checked_members(name: str, given: object) -> dict[str, Any] | None:
    """Return a copy of the additional headers or claims of an assertion."""
    if given is None:
        return None
    if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
        raise ConfigurationError(f"{name} of PrivateKeyJWT must be a mapping with names as keys.")
    for key, advice in _SET_HERE[name].items():
        if given.get(key) is not None or (key in given and key in _NEEDED):
            raise ConfigurationError(f"{name} of PrivateKeyJWT must not contain {key!r}: {advice}.")
    if not isinstance(given.get(_TEXTS[name]), (str, type(None))):
        raise ConfigurationError(f"{_TEXTS[name]!r} in {name} of PrivateKeyJWT must be a string.")
    try:
        # Sorted, because the order of names must not change the fingerprint.
        return dict(json.loads(json.dumps(dict(given), sort_keys=True, allow_nan=False)))
    except (TypeError, ValueError, RecursionError):
        raise ConfigurationError(
            f"{name} of PrivateKeyJWT must contain only what JSON can express."
        ) from None


def _merged(own: Mapping[str, Any], given: Mapping[str, Any] | None) -> dict[str, Any]:
    both = {**own, **(given or {})}
    return {name: value for name, value in both.items() if value is not None}


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
