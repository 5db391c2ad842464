"""The clients and the issued tokens of the authorization server."""

from __future__ import annotations

import base64
import binascii
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias
from urllib.parse import unquote_plus

from oauthlib.common import Request
from oauthlib.oauth2 import InvalidRequestError, RequestValidator

Method: TypeAlias = Literal["client_secret_basic", "client_secret_post", "none"]
BasicEncoding: TypeAlias = Literal["form", "raw"]


@dataclass(frozen=True, slots=True)
class Client:
    """A registered client; scopes None means any, method None means any."""

    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    scopes: tuple[str, ...] | None = None
    method: Method | None = None


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """What the server knows about a token; times are seconds of its clock."""

    access_token: str = field(repr=False)
    client_id: str
    scope: str
    issued_at: float
    expires_at: float
    audience: tuple[str, ...] = ()
    resource: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ClientAuthentication:
    """The client authentication in a request."""

    method: Method
    client_id: str
    client_secret: str | None = field(default=None, repr=False)


def client_authentication(
    headers: Mapping[str, str], form: Iterable[tuple[str, str]], encoding: BasicEncoding
) -> ClientAuthentication | None:
    """Return the client authentication of a request (RFC 6749 section 2.3.1), or None.

    Raise ValueError if the request uses two methods or names two client ids.
    """
    members = dict(form)
    # A parameter without a value counts as omitted (section 3.1).
    named, secret = members.get("client_id") or None, members.get("client_secret") or None
    scheme, _, credentials = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        client_id, password = _basic(credentials, encoding)
        if secret is not None or named not in (None, client_id):
            raise ValueError("more than one client authentication")
        return ClientAuthentication("client_secret_basic", client_id, password)
    if named is None:
        return None
    method: Method = "none" if secret is None else "client_secret_post"
    return ClientAuthentication(method, named, secret)


def _basic(credentials: str, encoding: BasicEncoding) -> tuple[str, str]:
    try:
        pair = base64.b64decode(credentials.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    client_id, _, secret = pair.partition(":")
    if encoding == "raw":
        return client_id, secret
    return unquote_plus(client_id), unquote_plus(secret)


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
        if given is None or client is None or client.method not in (None, given.method):
            return False
        request.client = client
        return client.client_secret == given.client_secret

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
        issued = IssuedToken(
            access_token=str(token.get("access_token")),
            client_id=str(request.client_id),
            scope=str(token.get("scope", "")),
            issued_at=now,
            expires_at=now + self._lifetime(),
            audience=tuple(value for name, value in sent if name == "audience"),
            resource=tuple(value for name, value in sent if name == "resource"),
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
            "token_type": "Bearer",
            "iat": int(known.issued_at),
            "scope": known.scope,
            "aud": list(known.audience),
            "resource": list(known.resource),
        }
        if known.expires_at != float("inf"):
            claims["exp"] = int(known.expires_at)
        return {name: value for name, value in claims.items() if value not in ("", [])}

    def revoke_token(self, token: str, *args: Any, **kwargs: Any) -> None:
        """Refuse the token from now on; an unknown token is not an error (RFC 7009 section 2.2)."""
        self.revoke(token)
