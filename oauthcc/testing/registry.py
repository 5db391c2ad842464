"""What the authorization server knows: its clients and the tokens it gave them."""

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
    """Hold a registered client; scopes None means any, method None means any."""

    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    scopes: tuple[str, ...] | None = None
    method: Method | None = None


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """Hold what the server remembers of a token; times are seconds by its clock."""

    access_token: str = field(repr=False)
    client_id: str
    scope: str
    issued_at: float
    expires_at: float
    audience: tuple[str, ...] = ()
    resource: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Presented:
    """Hold how a client presented itself."""

    method: Method
    client_id: str
    client_secret: str | None = field(default=None, repr=False)


def presented(
    headers: Mapping[str, str], form: Iterable[tuple[str, str]], encoding: BasicEncoding
) -> Presented | None:
    """Read the client authentication of a request (RFC 6749 section 2.3.1); None without any.

    Raises ValueError where two methods are used at once, or two client ids named.
    """
    members = dict(form)
    # A parameter without a value counts as omitted (section 3.1).
    named, secret = members.get("client_id") or None, members.get("client_secret") or None
    scheme, _, credentials = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        client_id, password = _basic(credentials, encoding)
        if secret is not None or named not in (None, client_id):
            raise ValueError("more than one client authentication")
        return Presented("client_secret_basic", client_id, password)
    if named is None:
        return None
    return Presented("none" if secret is None else "client_secret_post", named, secret)


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
    """Answer oauthlib's questions about clients, scopes and tokens."""

    def __init__(self, now: Callable[[], float], lifetime: Callable[[], float]) -> None:
        """Start without clients and tokens.

        `now` is the clock that tokens expire by, `lifetime` gives the seconds a new one is good.
        """
        super().__init__()
        self._now = now
        self._lifetime = lifetime
        self._lock = threading.Lock()
        self._clients: dict[str, Client] = {}
        # Guarded by _lock.
        self._tokens: dict[str, IssuedToken] = {}
        self._revoked: set[str] = set()
        self.issued: list[str] = []
        self.basic_encoding: BasicEncoding = "form"

    def add(self, client: Client) -> None:
        """Register a client, in place of one with the same id."""
        self._clients[client.client_id] = client

    def remove(self, client_id: str) -> None:
        """Forget a client; its tokens stay good."""
        self._clients.pop(client_id, None)

    def active(self, access_token: str) -> IssuedToken | None:
        """Give what is known of a token that is good now, else None."""
        with self._lock:
            token = self._tokens.get(access_token)
            good = token is not None and access_token not in self._revoked
        return token if good and token and self._now() < token.expires_at else None

    def revoke(self, access_token: str) -> None:
        """Refuse this token from now on, even if it should be given out again."""
        with self._lock:
            self._revoked.add(access_token)

    def revoke_all(self) -> None:
        """Refuse every token given out so far."""
        with self._lock:
            self._revoked.update(self._tokens)

    # --- What oauthlib asks, by the names it asks with.

    def client_authentication_required(self, request: Request, *args: Any, **kwargs: Any) -> bool:
        """Have every request go through `authenticate_client`, public clients too."""
        return True

    def authenticate_client(self, request: Request, *args: Any, **kwargs: Any) -> bool:
        """Say whether the request proves to come from a client we know."""
        try:
            who = presented(request.headers, request.decoded_body or (), self.basic_encoding)
        except ValueError as error:
            raise InvalidRequestError(str(error), request=request) from None
        client = self._clients.get(who.client_id) if who else None
        if who is None or client is None or client.method not in (None, who.method):
            return False
        request.client = client
        return client.client_secret == who.client_secret

    def validate_grant_type(self, *args: Any, **kwargs: Any) -> bool:
        """Allow the one grant that this server has to every client."""
        return True

    def get_default_scopes(self, client_id: str, *args: Any, **kwargs: Any) -> list[str]:
        """Grant all of a client's scopes where it asks for none."""
        return list(self._clients[client_id].scopes or ())

    def validate_scopes(self, client_id: str, scopes: list[str], *args: Any, **kwargs: Any) -> bool:
        """Allow what the client is registered for; no scope at all is fine."""
        client = self._clients[client_id]
        return client.scopes is None or set(scopes) <= {*client.scopes, ""}

    def save_token(
        self, token: Mapping[str, object], request: Request, *args: Any, **kwargs: Any
    ) -> None:
        """Remember a token that is about to be given out."""
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
        """Tell what RFC 7662 section 2.2 asks of a good token; None of any other."""
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
        """Refuse the token from now on; unknown ones are no error (RFC 7009 section 2.2)."""
        self.revoke(token)
