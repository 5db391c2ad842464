"""The clients and the issued tokens of the authorization server."""

from __future__ import annotations

import base64
import binascii
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias
from urllib.parse import unquote_plus

from oauthlib.common import Request
from oauthlib.oauth2 import InvalidClientError, InvalidRequestError, RequestValidator

from ..jwt import sha256_base64url
from .assertion import AssertionKey, assertion_of
from .signed_jwt import PublicKey

Method: TypeAlias = Literal[
    "client_secret_basic",
    "client_secret_post",
    "client_secret_jwt",
    "private_key_jwt",
    "tls_client_auth",
    "self_signed_tls_client_auth",
    "none",
]
_WITH_SECRET: tuple[Method, ...] = (
    "client_secret_basic",
    "client_secret_post",
    "client_secret_jwt",
)
BasicEncoding: TypeAlias = Literal["form", "raw"]


@dataclass(frozen=True, slots=True)
class Client:
    """A registered client; scopes None means any, method None means any.

    `key` verifies its assertions, `certificate` is its TLS certificate (DER). If it has one of
    them, the client can authenticate with nothing else.
    """

    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    scopes: tuple[str, ...] | None = None
    method: Method | None = None
    key: AssertionKey | None = None
    certificate: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Presented:
    """The parts of a request that oauthlib does not pass on.

    `audiences` are the names of the server that an assertion may have. `certificate` is the
    client's TLS certificate (DER), and `key_thumbprint` that of the key of a DPoP proof.
    """

    audiences: tuple[str, ...] = ()
    certificate: bytes | None = field(default=None, repr=False)
    key_thumbprint: str | None = None


#: That of the request which this thread answers.
presented: ContextVar[Presented] = ContextVar("presented")


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """What the server knows about a token; times are seconds of its clock.

    A token may be bound to a DPoP key or to a TLS certificate, each given by its thumbprint.
    """

    access_token: str = field(repr=False)
    client_id: str
    scope: str
    issued_at: float
    expires_at: float
    audience: tuple[str, ...] = ()
    resource: tuple[str, ...] = ()
    key_thumbprint: str | None = None
    certificate_thumbprint: str | None = None

    @property
    def token_type(self) -> str:
        """Return "DPoP" if the token is bound to a key, otherwise "Bearer"."""
        return "DPoP" if self.key_thumbprint else "Bearer"


@dataclass(frozen=True, slots=True)
class ClientAuthentication:
    """The client authentication in a request."""

    method: Method
    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    assertion: str = field(default="", repr=False)


def client_authentication(
    headers: Mapping[str, str], form: Iterable[tuple[str, str]], encoding: BasicEncoding
) -> ClientAuthentication | None:
    """Return the client authentication of a request (RFC 6749 section 2.3), or None.

    A TLS certificate is not part of it: its client seems to have the method "none". Raise
    ValueError if the request uses two methods or names two client ids.
    """
    members = dict(form)
    # A parameter without a value counts as omitted (section 3.1).
    named, secret = members.get("client_id") or None, members.get("client_secret") or None
    scheme, _, credentials = headers.get("Authorization", "").partition(" ")
    asserted = assertion_of(members)
    if asserted is not None:
        if secret is not None or scheme.lower() == "basic":
            raise ValueError("more than one client authentication")
        given, client_id, assertion = asserted
        return ClientAuthentication(given, client_id, assertion=assertion)
    if scheme.lower() == "basic":
        client_id, password = _basic(credentials, encoding)
        if secret is not None or named not in (None, client_id):
            raise ValueError("more than one client authentication")
        return ClientAuthentication("client_secret_basic", client_id, password)
    if named is None:
        return None
    method: Method = "none" if secret is None else "client_secret_post"
    return ClientAuthentication(method, named, secret)


def new_client(
    client_id: str,
    secret: str | None,
    *,
    scopes: Sequence[str] | None,
    method: Method | None,
    public_key: PublicKey | None,
    certificate: str | None,
) -> Client:
    """Return a client; raise ValueError if method, secret, key and certificate do not fit."""
    fitting: tuple[Method | None, ...] = (None, *_WITH_SECRET, "none")
    if public_key is not None:
        fitting = ("private_key_jwt",)
    elif certificate is not None:
        fitting = ("tls_client_auth", "self_signed_tls_client_auth")
    method = method or fitting[0]
    given = [each for each in (secret, public_key, certificate) if each is not None]
    numbers = {"none": {0}, "client_secret_jwt": {1}}.get(str(method), {0, 1})
    if len(given) not in numbers or method not in fitting:
        raise ValueError(
            "Give one of client_secret, public_key and certificate, and a method that uses it."
        )
    if isinstance(scopes, str):
        raise TypeError(f"scopes must be a list of scopes, not {scopes!r}.")
    key: AssertionKey | None = None
    if public_key is not None:
        key = AssertionKey.public(public_key)
    elif method == "client_secret_jwt":
        key = AssertionKey.secret(str(secret))
    der = None if certificate is None else ssl.PEM_cert_to_DER_cert(certificate.strip())
    allowed = None if scopes is None else tuple(scopes)
    return Client(client_id, secret, allowed, method, key, der)


def _basic(credentials: str, encoding: BasicEncoding) -> tuple[str, str]:
    try:
        pair = base64.b64decode(credentials.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    client_id, _, secret = pair.partition(":")
    if encoding == "raw":
        return client_id, secret
    return unquote_plus(client_id), unquote_plus(secret)


def _confirmation(token: IssuedToken) -> dict[str, str]:
    """Return the claim `cnf` (RFC 7800) of a token that is bound to a key or a certificate."""
    bound = {"jkt": token.key_thumbprint, "x5t#S256": token.certificate_thumbprint}
    return {name: value for name, value in bound.items() if value is not None}


class Registry(RequestValidator):
    """The clients and tokens of a server, behind oauthlib's interface for validation."""

    def __init__(self, now: Callable[[], float], lifetime: Callable[[], float]) -> None:
        """Create a registry without clients and tokens.

        `now` is the clock for the expiry of tokens, `lifetime` returns the lifetime of a new token
        in seconds.
        """
        super().__init__()
        self._now = now
        self._lifetime = lifetime
        self._lock = threading.Lock()
        self._clients: dict[str, Client] = {}
        # These three are guarded by _lock.
        self._tokens: dict[str, IssuedToken] = {}
        self._revoked: set[str] = set()
        self.issued: list[str] = []
        self.basic_encoding: BasicEncoding = "form"

    def add(self, client: Client) -> None:
        """Register a client, and replace a client with the same id."""
        self._clients[client.client_id] = client

    def remove(self, client_id: str) -> None:
        """Remove a client; its tokens stay valid."""
        self._clients.pop(client_id, None)

    def active(self, access_token: str) -> IssuedToken | None:
        """Return what is known about a token, or None if the token is not valid now."""
        with self._lock:
            token = self._tokens.get(access_token)
            revoked = access_token in self._revoked
        return token if token and not revoked and self._now() < token.expires_at else None

    def revoke(self, access_token: str) -> None:
        """Refuse this token from now on, even if it is issued again."""
        with self._lock:
            self._revoked.add(access_token)

    def revoke_all(self) -> None:
        """Refuse every token issued so far."""
        with self._lock:
            self._revoked.update(self._tokens)

    # --- The methods that oauthlib calls.

    def client_authentication_required(self, request: Request, *args: Any, **kwargs: Any) -> bool:
        """Return True: `authenticate_client` checks every request, also those of public clients."""
        return True

    def authenticate_client(self, request: Request, *args: Any, **kwargs: Any) -> bool:
        """Return whether the request authenticates a registered client."""
        form = request.decoded_body or ()
        try:
            given = client_authentication(request.headers, form, self.basic_encoding)
        except ValueError as error:
            raise InvalidRequestError(str(error), request=request) from None
        client = self._clients.get(given.client_id) if given else None
        if given is None or client is None:
            return False
        request.client = client
        if client.certificate is not None:
            return given.method == "none" and client.certificate == presented.get().certificate
        if client.method not in (None, given.method):
            return False
        if client.key is None:
            return client.client_secret == given.client_secret
        try:
            client.key.check(given.assertion, client.client_id, presented.get().audiences)
        except ValueError as error:
            raise InvalidClientError(str(error), request=request) from None
        return True

    def validate_grant_type(self, *args: Any, **kwargs: Any) -> bool:
        """Return True: every client may use the only grant type of this server."""
        return True

    def get_default_scopes(self, client_id: str, *args: Any, **kwargs: Any) -> list[str]:
        """Return all scopes of a client, for a request without a scope."""
        return list(self._clients[client_id].scopes or ())

    def validate_scopes(self, client_id: str, scopes: list[str], *args: Any, **kwargs: Any) -> bool:
        """Return whether the client may have these scopes; an empty scope is allowed."""
        client = self._clients[client_id]
        return client.scopes is None or set(scopes) <= {*client.scopes, ""}

    def save_token(
        self, token: Mapping[str, object], request: Request, *args: Any, **kwargs: Any
    ) -> None:
        """Register a token that is about to be issued."""
        sent = request.decoded_body or ()
        now = self._now()
        client: Any = request.client
        certificate = client.certificate
        issued = IssuedToken(
            access_token=str(token.get("access_token")),
            client_id=str(request.client_id),
            scope=str(token.get("scope", "")),
            issued_at=now,
            expires_at=now + self._lifetime(),
            audience=tuple(value for name, value in sent if name == "audience"),
            resource=tuple(value for name, value in sent if name == "resource"),
            key_thumbprint=presented.get().key_thumbprint,
            certificate_thumbprint=None if certificate is None else sha256_base64url(certificate),
        )
        with self._lock:
            self._tokens[issued.access_token] = issued
            self.issued.append(issued.access_token)

    def introspect_token(self, token: str, *args: Any, **kwargs: Any) -> dict[str, Any] | None:
        """Return the claims of RFC 7662 section 2.2 for a valid token, or None."""
        known = self.active(token)
        if known is None:
            return None
        claims: dict[str, Any] = {
            "client_id": known.client_id,
            "token_type": known.token_type,
            "iat": int(known.issued_at),
            "scope": known.scope,
            "aud": list(known.audience),
            "resource": list(known.resource),
            "cnf": _confirmation(known),
        }
        if known.expires_at != float("inf"):
            claims["exp"] = int(known.expires_at)
        return {name: value for name, value in claims.items() if value not in ("", [], {})}

    def revoke_token(self, token: str, *args: Any, **kwargs: Any) -> None:
        """Refuse the token from now on; an unknown token is not an error (RFC 7009 section 2.2)."""
        self.revoke(token)
