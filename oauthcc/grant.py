"""What is asked for: client, scope, audience, resource, and how the client proves who it is.

A grant is checked when it is made, so that bad configuration fails at construction, and never
changes afterwards. It does no I/O but for reading a secret or key that lies in a file.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from .client_auth import ClientAuth, check_secret, client_auth_from
from .discovery import check_issuer
from .errors import ConfigurationError
from .schemes import Bearer, DPoP, Scheme
from .secret import Secret, SecretLike
from .urls import check_token_url

_SCOPE_TOKEN = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")  # RFC 6749 section 3.3
_SURROGATE = re.compile("[\ud800-\udfff]")
_OF_A_SCHEME = (
    *("name", "proves", "thumbprint"),
    *("accepts", "authorization", "proof", "learn", "demands_nonce"),
)
_OPTION_OF = {
    "grant_type": "nothing: this library is for client_credentials",
    "client_id": "client_id",
    "client_secret": "client_secret",
    "scope": "scope",
    "audience": "audience",
    "resource": "resource",
    "client_assertion": "client_auth",
    "client_assertion_type": "client_auth",
}


@dataclass(frozen=True)
class Grant:
    """Hold one checked configuration of the client credentials grant (RFC 6749 section 4.4)."""

    token_url: str | None = field(repr=False)  # its query may hold a key
    issuer: str | None
    client_id: str
    client_secret: Secret | None
    scope: str | None
    params: tuple[tuple[str, str], ...] = field(repr=False)  # servers take odd things there
    client_auth: ClientAuth
    scheme: Scheme

    @classmethod
    def of(
        cls,
        token_url: str | None,
        client_id: str,
        client_secret: SecretLike | Secret | None = None,
        scope: str | Iterable[str] | None = None,
        *,
        issuer: str | None = None,
        audience: str | Iterable[str] | None = None,
        resource: str | Iterable[str] | None = None,
        token_params: Mapping[str, str | Iterable[str]] | None = None,
        client_auth: Any = None,
        scheme: Scheme | None = None,
    ) -> Grant:
        """Check a configuration; raise ConfigurationError that says what to write instead."""
        if token_url is not None and issuer is not None:
            raise ConfigurationError("Give token_url or issuer, not both: one leads to the other.")
        secret = client_secret
        if secret is not None and not isinstance(secret, Secret):
            secret = Secret.of(secret)
        method = client_auth_from(client_auth, has_secret=secret is not None)
        check_secret(method, _checked_client_id(client_id), secret)
        return cls(
            None if issuer is not None else check_token_url(token_url or ""),
            None if issuer is None else check_issuer(issuer),
            client_id,
            secret,
            _checked_scope(scope),
            (
                *(("audience", text) for text in _texts("audience", audience)),
                *(("resource", _checked_resource(text)) for text in _texts("resource", resource)),
                *_checked_params(token_params or {}),
            ),
            method,
            _checked_scheme(scheme),
        )

    def sibling(self, **options: Any) -> Grant:
        """Return the grant for another API: what names client and server is as here by default."""
        if not {"token_url", "issuer"} & options.keys():
            options |= {"token_url": self.token_url, "issuer": self.issuer}
        mine = ("client_id", "client_secret", "client_auth", "scheme")
        inherited = {name: getattr(self, name) for name in mine}
        try:
            return Grant.of(**{"token_url": None, **inherited, **options})
        except TypeError as error:
            raise ConfigurationError(f"An option is not known: {error}") from None

    def read_secret(self) -> str | None:
        """Read the client secret as it is now, or return None where the method needs none."""
        return None if self.client_secret is None else self.client_secret.read()

    def fingerprint(self, client_secret: str | None) -> bytes:
        """Return what changes whenever the proof of the client changes; not fit for sharing."""
        return hashlib.sha256(self.client_auth.fingerprint(client_secret)).digest()

    def cache_key(self, fingerprint: bytes) -> str:
        """Return the name under which a shared store keeps the token of this grant.

        It holds everything that can change the token. Names can be guessed at offline, so the
        fingerprint goes through scrypt: call this once per fingerprint.
        """
        where = self.issuer or self.token_url or ""
        public = {
            "server": where,
            "client_id": self.client_id,
            "method": self.client_auth.name,
            "scope": sorted((self.scope or "").split()),
            "params": sorted(self.params),
            "scheme": self.scheme.name,
            "key": self.scheme.thumbprint,
        }
        text = json.dumps(public, sort_keys=True, separators=(",", ":")).encode()
        salt = hashlib.sha256(text).digest()
        proof = hashlib.scrypt(fingerprint, salt=salt, n=2**14, r=8, p=1, dklen=32)
        return hashlib.sha256(text + proof).hexdigest()


def _checked_client_id(client_id: object) -> str:
    if not isinstance(client_id, str) or not client_id:
        raise ConfigurationError("client_id must be the non-empty id that the server registered.")
    if not client_id.isprintable():
        raise ConfigurationError("client_id holds a control character; was a line break copied?")
    return client_id


def _checked_scheme(scheme: Any) -> Scheme:
    made: Any = Bearer() if scheme is None or scheme is Bearer else scheme
    made = DPoP() if scheme is DPoP else made
    if isinstance(made, type) or not all(hasattr(made, name) for name in _OF_A_SCHEME):
        raise ConfigurationError("scheme must be Bearer() or DPoP(key).")
    scheme_made: Scheme = made
    return scheme_made


def _checked_scope(scope: str | Iterable[str] | None) -> str | None:
    if scope is None:
        return None
    words = [word for text in _texts("scope", scope) for word in text.split(" ") if word]
    for word in words:
        if not _SCOPE_TOKEN.fullmatch(word):
            raise ConfigurationError(
                f"scope {word!r} holds a character that no scope may hold (RFC 6749 section 3.3);"
                ' write scopes separated by spaces, such as "orders:read orders:write".'
            )
    return " ".join(dict.fromkeys(words)) or None


def _checked_resource(resource: str) -> str:
    try:
        has_scheme = bool(urlsplit(resource).scheme)
    except ValueError:
        has_scheme = False
    if not has_scheme or "#" in resource or not resource.isprintable() or " " in resource:
        raise ConfigurationError(
            f"resource {resource!r} must be an absolute URI without a fragment (RFC 8707 section"
            ' 2), such as "https://api.example".'
        )
    return resource


def _checked_params(params: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    if not isinstance(params, Mapping):
        raise ConfigurationError('token_params must be a mapping, such as {"tenant": "blue"}.')
    for name, value in params.items():
        if not isinstance(name, str) or not name:
            raise ConfigurationError("The names in token_params must be non-empty strings.")
        if name in _OPTION_OF:
            raise ConfigurationError(
                f"token_params must not hold {name!r}; its option is: {_OPTION_OF[name]}."
            )
        for text in _texts(f"token_params[{name!r}]", value):
            yield name, text


def _texts(name: str, value: str | Iterable[str] | None) -> tuple[str, ...]:
    try:
        texts = () if value is None else (value,) if isinstance(value, str) else tuple(value)
    except TypeError:
        texts = ("",)
    for text in texts:
        # A lone surrogate, since it cannot be sent.
        if not isinstance(text, str) or not text or _SURROGATE.search(text):
            raise ConfigurationError(f"{name} must be a non-empty string or a list of such.")
    return texts
