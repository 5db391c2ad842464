"""An authorization server for the client credentials grant, for tests and demonstrations."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any, get_args

from oauthlib.common import generate_token
from oauthlib.oauth2 import BackendApplicationServer, OAuth2Error

from .faults import Answer, Outcome, json_answer, oauth_error
from .http import LoopbackServer
from .registry import BasicEncoding, Client, IssuedToken, Method, Registry, presented
from .script import Script, Scriptable
from .seen import SeenRequest
from .token_response import OMIT, Dressed, seconds, without_omitted, written_out


class AuthorizationServer(Scriptable, LoopbackServer):
    """Serve a token endpoint on loopback, with introspection, revocation and metadata.

    The grant itself is oauthlib's `BackendApplicationServer`. Everything that a test may want to
    change is an attribute that can be set at any time:

    - `token_lifetime`: what `expires_in` says; any JSON value, or None for no such member;
    - `real_lifetime`: how long tokens are good in truth, in seconds (None: as long as said);
    - `token_fields`: further members of token responses, or other values for the usual ones;
    - `make_token`: gives the next access token; a revoked one that is given again stays revoked;
    - `now`: the clock, seconds since the epoch (`advance()` moves it);
    - `metadata`: further or other members of the metadata document;
    - `delay`: seconds for which every token request is kept waiting.
    """

    def __init__(
        self,
        client_id: str = "demo-client",
        client_secret: str = "demo-secret",
        *,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        basic_encoding: BasicEncoding = "form",
        path: str = "",
    ) -> None:
        """Prepare a server with one client, which may have any scope.

        `basic_encoding` says how credentials in HTTP Basic are read: form-decoded as RFC 6749
        section 2.3.1 asks, or raw. `path` ("/tenant") makes the issuer a URL with a path.
        """
        super().__init__(port=port, tls=tls)
        self.client_id: str = client_id
        self.client_secret: str = client_secret
        self.token_lifetime: Any = 3600
        self.real_lifetime: float | None = None
        self.token_fields: dict[str, Any] = {}
        self.make_token: Callable[[], str] = generate_token
        self.metadata: dict[str, Any] = {}
        self.now: Callable[[], float] = time.time
        self.requests: list[SeenRequest] = []
        self.token_requests: list[SeenRequest] = []
        self._skew = 0.0
        self._path = path
        self._token_path = f"{path}/token"
        self._script = Script(self._token_path)
        self._registry = Registry(self.time, self._true_lifetime)
        self._registry.basic_encoding = basic_encoding
        self._oauth = BackendApplicationServer(
            self._registry, token_generator=lambda _request: self.make_token()
        )
        self._oauth.credentials_grant.register_token_modifier(self._dress)
        self.add_client(client_id, client_secret)

    @property
    def token_url(self) -> str:
        """Give the URL of the token endpoint."""
        return f"{self.url}{self._token_path}"

    @property
    def issuer(self) -> str:
        """Give the issuer identifier."""
        return f"{self.url}{self._path}"

    @property
    def issued(self) -> list[str]:
        """Give the access tokens issued so far, in order."""
        return list(self._registry.issued)

    @property
    def basic_encoding(self) -> BasicEncoding:
        """Say how HTTP Basic is read, "form" or "raw"."""
        return self._registry.basic_encoding

    @basic_encoding.setter
    def basic_encoding(self, encoding: BasicEncoding) -> None:
        self._registry.basic_encoding = encoding

    def add_client(
        self,
        client_id: str,
        client_secret: str | None = None,
        *,
        scopes: Sequence[str] | None = None,
        method: Method | None = None,
    ) -> None:
        """Register a client, or change one (a new secret, say).

        `scopes` are those it may have, and gets when it asks for none; None: any. `method` is the
        only client authentication it may use; None: any that fits. Without a secret it is public.
        """
        allowed = None if scopes is None else tuple(scopes)
        self._registry.add(Client(client_id, client_secret, allowed, method))

    def remove_client(self, client_id: str) -> None:
        """Forget a client; tokens it has stay good."""
        self._registry.remove(client_id)

    def time(self) -> float:
        """Give the time by the server's clock, in seconds."""
        return self.now() + self._skew

    def advance(self, seconds: float) -> None:
        """Move the server's clock forward, so that tokens expire without anybody waiting."""
        self._skew += seconds

    def look_up(self, access_token: str) -> IssuedToken | None:
        """Give what is known of a token that is good now, else None."""
        return self._registry.active(access_token)

    def revoke(self, access_token: str) -> None:
        """Refuse this token from now on."""
        self._registry.revoke(access_token)

    def revoke_all(self) -> None:
        """Refuse every token issued so far."""
        self._registry.revoke_all()

    def refuse_next(
        self,
        n: int | None = 1,
        *,
        error: str = "invalid_client",
        description: str = "",
        status: int = 401,
    ) -> None:
        """Refuse the next `n` token requests (None: all, until `answer_normally()`)."""
        self.answer_next(oauth_error(error, description, status), n)

    def forget(self) -> None:
        """Empty the lists of requests, and start counting concurrent ones anew."""
        self.requests.clear()
        self.token_requests.clear()
        self._script.forget()

    def respond(self, request: SeenRequest, closing: Callable[[], bool]) -> Outcome:
        """Answer a request to any of the endpoints."""
        path = self._path
        seen = self._identified(request)
        self.requests.append(seen)
        answers: dict[str, Callable[[SeenRequest], Answer]] = {
            f"{path}/introspect": self._introspect,
            f"{path}/revoke": self._revoke,
            f"/.well-known/oauth-authorization-server{path}": self._metadata,
            f"{path}/.well-known/openid-configuration": self._metadata,
        }
        if request.path == self._token_path:
            return self._answer_token_request(seen, closing)
        answer = answers.get(request.path, _not_found)
        return self._script.perform(request.path, closing, lambda: answer(seen))

    def answer_token_request(self, request: SeenRequest, closing: Callable[[], bool]) -> Outcome:
        """Answer a token request that came in elsewhere (an API that has the endpoint too)."""
        return self._answer_token_request(self._identified(request), closing)

    def _answer_token_request(self, seen: SeenRequest, closing: Callable[[], bool]) -> Outcome:
        self.token_requests.append(seen)
        return self._script.perform(self._token_path, closing, lambda: self._token(seen))

    def _identified(self, request: SeenRequest) -> SeenRequest:
        try:
            who = presented(request.headers, request.form, self.basic_encoding)
        except ValueError:
            who = None
        return replace(request, at=self.time(), client_id=who.client_id if who else None)

    def _token(self, seen: SeenRequest) -> Answer:
        return self._ask(self._oauth.create_token_response, seen)

    def _introspect(self, seen: SeenRequest) -> Answer:
        return self._ask(self._oauth.create_introspect_response, seen)

    def _revoke(self, seen: SeenRequest) -> Answer:
        return self._ask(self._oauth.create_revocation_response, seen)

    def _ask(self, endpoint: Callable[..., Any], seen: SeenRequest) -> Answer:
        # Without the query, which a token URL may have and oauthlib refuses (RFC 6749 section 3.2).
        form = seen.body.decode("utf-8", "replace") if seen.form else ""
        try:
            headers, body, status = endpoint(seen.path, seen.method, form, dict(seen.headers))
        except OAuth2Error as error:
            return oauth_error(str(error.error), error.description, error.status_code)
        if status == HTTPStatus.UNAUTHORIZED:
            # oauthlib says Bearer; RFC 6749 section 5.2 wants the scheme that the client used.
            headers["WWW-Authenticate"] = 'Basic realm="token endpoint"'
        if status == HTTPStatus.OK:
            body = written_out(body, self._chosen())
        return Answer(status, headers, body.encode())

    def _chosen(self) -> dict[str, Any]:
        lifetime = OMIT if self.token_lifetime is None else self.token_lifetime
        return {"expires_in": lifetime, **self.token_fields}

    def _dress(self, token: dict[str, Any], *_: Any) -> dict[str, Any]:
        """Make the token response say what the attributes ask for."""
        scope = token.get("scope") or OMIT
        return Dressed(without_omitted(token, {"scope": scope}, self._chosen()))

    def _true_lifetime(self) -> float:
        if self.real_lifetime is not None:
            return self.real_lifetime
        return seconds(self.token_lifetime)

    def _metadata(self, _: SeenRequest) -> Answer:
        base = self.issuer
        members = {
            "issuer": base,
            "token_endpoint": self.token_url,
            "introspection_endpoint": f"{base}/introspect",
            "revocation_endpoint": f"{base}/revoke",
            "response_types_supported": [],
            "grant_types_supported": ["client_credentials"],
            "token_endpoint_auth_methods_supported": list(get_args(Method)),
        }
        return json_answer(without_omitted(members, self.metadata))

    def wake(self) -> None:
        """Have held requests look whether their server is being closed."""
        self._script.wake()


def _not_found(_: SeenRequest) -> Answer:
    return json_answer({"error": "not_found"}, 404)
