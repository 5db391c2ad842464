"""The configuration of one client: who requests a token, for what, and by which authentication.

Rule of this module: a configuration is checked completely when it is made, so that a mistake is an
error at construction, and it never changes afterwards. Nothing here does I/O, except for reading a
secret or key that is in a file.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from ..client_auth import ClientAuth, check_secret, client_auth_from
from ..errors import ConfigurationError
from ..events import Client
from ..schemes import Bearer, DPoP, Scheme
from ..secret import Secret, SecretLike
from ..stores.derived_keys import derived_once
from ..urls import check_token_url, public_url
from ..values import field, frozen
from .issuer import IssuerOfAPI, check_issuer

if TYPE_CHECKING:
    # Type checkers always have it; the library does not need it to run.
    from typing_extensions import Unpack


class ConfigOptions(TypedDict, total=False):
    """The keyword options of a token request; `ClientCredentialsSession` explains them."""

    audience: str | Iterable[str] | None
    resource: str | Iterable[str] | None
    token_params: Mapping[str, str | Iterable[str]] | None
    token_body: Literal["form", "json"]
    client_auth: ClientAuth | type[ClientAuth] | str | None
    scheme: Scheme | None


#: RFC 6749 section 4.4.2.
GRANT_TYPE = "client_credentials"
_BEARER = Bearer()  # one for all sessions
_PROCESS_KEY = secrets.token_bytes(32)
_SCOPE_TOKEN = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")  # RFC 6749 section 3.3
_SURROGATE = re.compile("[\ud800-\udfff]")
_SCHEME_MEMBERS = (
    *("name", "proves", "thumbprint"),
    *("accepts", "authorization", "proof", "learn", "demands_nonce"),
)
_RESERVED = {
    "client_assertion": "use client_auth",
    "client_assertion_type": "use client_auth",
    **{
        name: f"use the option {name}"
        for name in ("client_id", "client_secret", "scope", "audience", "resource")
    },
}


@frozen
class ClientConfig:
    """A checked configuration of the client credentials grant (RFC 6749 section 4.4).

    ``grant_type`` is another one for servers that have their own name for this grant.
    """

    token_url: str | None = field(repr=False)  # its query may contain a key
    issuer: str | None
    client_id: str
    client_secret: Secret | None
    scope: str | None
    params: tuple[tuple[str, str], ...] = field(repr=False)  # they may contain a key
    client_auth: ClientAuth
    scheme: Scheme
    header: str  # the name of the one that carries the token
    grant_type: str
    token_body: str

    @classmethod
    def of(
        cls,
        token_url: str | None,
        client_id: str,
        client_secret: SecretLike | Secret | None = None,
        scope: str | Iterable[str] | None = None,
        *,
        issuer: str | None = None,
        **options: Unpack[ConfigOptions],
    ) -> ClientConfig:
        """Check a configuration; raise ConfigurationError that says what to write instead."""
        if token_url is not None and issuer is not None:
            raise ConfigurationError(
                "Pass token_url or issuer, not both: the token URL is discovered from the issuer."
            )
        secret = client_secret
        if secret is not None and not isinstance(secret, Secret):
            secret = Secret.of(secret)
        method = client_auth_from(options.get("client_auth"), has_secret=secret is not None)
        check_secret(method, _checked_client_id(client_id), secret)
        scheme = _checked_scheme(options.get("scheme"))
        audiences = _strings("audience", options.get("audience"))
        resources = _strings("resource", options.get("resource"))
        params = [*_checked_params(options.get("token_params") or {})]
        grant_types = [value for name, value in params if name == "grant_type"]
        if len(grant_types) > 1:
            raise ConfigurationError("token_params must contain one grant_type at most.")
        token_body = options.get("token_body", "form")
        if token_body not in ("form", "json"):
            raise ConfigurationError(
                'token_body must be "form" (RFC 6749 section 4.4.2) or "json".'
            )
        config = cls(
            None if issuer is not None else _checked_token_url(token_url or ""),
            issuer if issuer is None or isinstance(issuer, IssuerOfAPI) else check_issuer(issuer),
            client_id,
            secret,
            _checked_scope(scope),
            (
                *(("audience", text) for text in audiences),
                *(("resource", _checked_resource(text)) for text in resources),
                *(pair for pair in params if pair[0] != "grant_type"),
            ),
            method,
            scheme,
            _header_of(scheme),
            grant_types[0] if grant_types else GRANT_TYPE,
            token_body,
        )
        if secret is None and options.get("client_auth") is None:
            # This grant is for confidential clients (RFC 6749 section 4.4).
            raise ConfigurationError(
                "client_secret is missing (None): pass it, and check whether the variable that it"
                ' comes from is set. client_auth="none" is for a client without a secret.'
            )
        return config

    @property
    def client(self) -> Client:
        """Return what events and log lines say about this client."""
        server = self.issuer or self.token_url
        if isinstance(server, IssuerOfAPI) and len(server.trusted) == 1:
            server = server.trusted[0]  # no other can issue the token
        return Client(self.client_id, self.scope, public_url(server))

    def read_secret(self) -> tuple[str | None, bytes]:
        """Return the client secret as it is now (None if the method needs none), and a fingerprint.

        The fingerprint changes when the secret, key or options of the client do. It is not for a
        shared store: short secrets could be guessed from it.
        """
        secret = None if self.client_secret is None else self.client_secret.read()
        return secret, hashlib.sha256(self.client_auth.fingerprint(secret)).digest()

    def cache_key(
        self, fingerprint: bytes, set_on_endpoint: str = "", *, is_private: bool = False
    ) -> str:
        """Return the name under which a shared store keeps the token of this configuration.

        It contains everything that can change the token, also what was set on the endpoint. Others
        can read such names and try secrets against them, so the fingerprint and the settings go
        through scrypt, which is slow: call this once for the same arguments. ``is_private`` says
        that nobody can read the names outside of this process. They are then made quickly, with a
        random key of the process.
        """
        public = {
            "server": self.issuer or self.token_url or "",
            "client_id": self.client_id,
            "method": self.client_auth.name,
            "scope": sorted((self.scope or "").split()),
            "params": sorted(self.params),
            "scheme": self.scheme.name,
            "key": self.scheme.thumbprint,
        }
        scheme = self.scheme
        trusted = self.issuer.trusted if isinstance(self.issuer, IssuerOfAPI) else ()
        more: tuple[tuple[str, Any, Any], ...] = (
            ("trusted", sorted(trusted), []),
            ("grant_type", self.grant_type, GRANT_TYPE),
            ("body", self.token_body, "form"),
            ("header", self.header, "Authorization"),
            ("prefix", getattr(scheme, "prefix", scheme.name), scheme.name),
        )
        # Nothing of what is usual, so that the keys of other configurations stay as they were.
        public |= {name: value for name, value, usual in more if value != usual}
        text = json.dumps(public, sort_keys=True, separators=(",", ":")).encode()
        secret = fingerprint
        if set_on_endpoint:
            secret = hashlib.sha256(fingerprint + set_on_endpoint.encode()).digest()
        if is_private:
            return hmac.digest(_PROCESS_KEY, secret + text, "sha256").hex()
        salt = hashlib.sha256(text).digest()

        def scrypt(cost: int) -> bytes:
            return hashlib.scrypt(secret, salt=salt, n=cost, r=8, p=1, dklen=32)

        def derive() -> bytes:
            return hashlib.sha256(text + scrypt(2**14)).digest()

        return derived_once(self.client_id, lambda: scrypt(2**10), derive).hex()


def _checked_token_url(url: str) -> str:
    if "/.well-known/" in check_token_url(url):
        raise ConfigurationError(
            "token_url is the URL of metadata: pass the issuer to from_issuer(), or the"
            f" token_endpoint that the metadata contains. Given: {public_url(url)}"
        )
    return url


def _checked_client_id(client_id: object) -> str:
    if not isinstance(client_id, str) or not client_id:
        raise ConfigurationError("client_id must be the non-empty id that the server registered.")
    if not client_id.isprintable():
        raise ConfigurationError("client_id contains a control character; was a line break copied?")
    return client_id


def _checked_scheme(scheme: Any) -> Scheme:
    made: Any = _BEARER if scheme is None or scheme is Bearer else scheme
    made = DPoP() if scheme is DPoP else made
    if isinstance(made, type) or not all(hasattr(made, name) for name in _SCHEME_MEMBERS):
        raise ConfigurationError("scheme must be Bearer() or DPoP(key).")
    checked: Scheme = made
    return checked


def _header_of(scheme: Scheme) -> str:
    """Return the header of a scheme, the usual one if a class of the user's own names none.

    In one spelling, because only another header is sent beside the Authorization of a caller.
    """
    header: str = getattr(scheme, "header", "Authorization")
    return "Authorization" if header.lower() == "authorization" else header


def _checked_scope(scope: str | Iterable[str] | None) -> str | None:
    words = [word for text in _strings("scope", scope) for word in text.split(" ") if word]
    for word in words:
        if not _SCOPE_TOKEN.fullmatch(word):
            raise ConfigurationError(
                f"scope {word!r} contains a character that no scope may contain (RFC 6749 section"
                ' 3.3); write scopes separated by spaces, such as "orders:read orders:write".'
            )
    return " ".join(dict.fromkeys(words)) or None


def _checked_resource(resource: str) -> str:
    # RFC 8707 section 2 wants an absolute URI. Some servers have names or UUIDs.
    if "#" in resource or not resource.isprintable() or " " in resource:
        raise ConfigurationError(
            f"resource {resource!r} must be an absolute URI or a name, without spaces and without"
            ' a fragment (RFC 8707 section 2), such as "https://api.example".'
        )
    return resource


def _checked_params(params: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    if not isinstance(params, Mapping):
        raise ConfigurationError('token_params must be a mapping, such as {"tenant": "blue"}.')
    for name, value in params.items():
        if not isinstance(name, str) or not name:
            raise ConfigurationError("The names in token_params must be non-empty strings.")
        if name in _RESERVED:
            raise ConfigurationError(f"token_params must not contain {name!r}: {_RESERVED[name]}.")
        for text in _strings(f"token_params[{name!r}]", value):
            yield name, text


def _strings(name: str, value: str | Iterable[str] | None) -> tuple[str, ...]:
    try:
        texts = () if value is None else (value,) if isinstance(value, str) else tuple(value)
    except TypeError:
        texts = ("",)
    for text in texts:
        # A lone surrogate cannot be sent.
        if not isinstance(text, str) or not text or _SURROGATE.search(text):
            raise ConfigurationError(f"{name} must be a non-empty string or a list of such.")
    return texts
