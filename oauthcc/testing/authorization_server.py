"""An authorization server for the client credentials grant, for tests and examples."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Literal, get_args
from urllib.parse import urlencode

from oauthlib.common import generate_token
from oauthlib.oauth2 import BackendApplicationServer, OAuth2Error

from .clock import server_time
from .faults import Answer, Outcome, json_answer, oauth_error
from .proof import ProofError, Proofs
from .registry import (
    BasicEncoding,
    IssuedToken,
    Method,
    Presented,
    Registry,
    client_authentication,
    new_client,
    presented,
)
from .script import ScriptedServer
from .seen import SeenRequest
from .signed_jwt import KEY_ALGORITHMS, SECRET_ALGORITHMS, PublicKey
from .token_response import OMIT, TokenResponse, seconds, with_raw_json, without_omitted


class AuthorizationServer(ScriptedServer):
    """An authorization server on loopback, with introspection, revocation and metadata.

    Tokens are issued by oauthlib's `BackendApplicationServer`. These attributes can be set at any
    time:

    - `token_lifetime`: the value of `expires_in`: any JSON value, or None to omit the member;
    - `real_lifetime`: the seconds for which tokens are really valid (None: as in `expires_in`);
    - `token_fields`: more members of the token response, or other values for the usual ones;
    - `token_body`: how a token request must be written, "form" or "json";
    - `make_token`: returns the next access token; a revoked token that is issued again stays
      revoked;
    - `now`: the clock, in seconds since the epoch (`advance()` moves it, `MovableClock` moves it
      together with that of the library);
    - `metadata`: more members of the metadata document, or other values for the usual ones;
    - `dpop_nonce`: the nonce that every DPoP proof must have (None: none is required);
    - `delay`: seconds by which every token request is delayed.
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
        """Create a server with one client, which may have any scope.

        `basic_encoding` is how id and secret in HTTP Basic are read: form-decoded, as RFC 6749
        section 2.3.1 requires, or raw. `path` ("/tenant") makes the issuer a URL with a path.
        """
        super().__init__(f"{path}/token", port=port, tls=tls)
        self.client_id: str = client_id
        self.client_secret: str = client_secret
        self.token_lifetime: Any = 3600
        self.real_lifetime: float | None = None
        self.token_fields: dict[str, Any] = {}
        self.token_body: Literal["form", "json"] = "form"
        self.make_token: Callable[[], str] = generate_token
        self.dpop_nonce: str | None = None
        self.metadata: dict[str, Any] = {}
        self.now: Callable[[], float] = server_time
        self.requests: list[SeenRequest] = []
        self.token_requests: list[SeenRequest] = []
        self._skew = 0.0
        self._path = path
        self._proofs = Proofs()
        self._registry = Registry(self.time, self._real_lifetime)
        self._registry.basic_encoding = basic_encoding
        self._oauth = BackendApplicationServer(
            self._registry, token_generator=lambda _request: self.make_token()
        )
        self._oauth.credentials_grant.register_token_modifier(self._modify)
        self.add_client(client_id, client_secret)

    @property
    def token_url(self) -> str:
        """Return the URL of the token endpoint."""
        return f"{self.url}{self._main_path}"

    @property
    def issuer(self) -> str:
        """Return the issuer identifier."""
        return f"{self.url}{self._path}"

    @property
    def issued(self) -> list[str]:
        """Return the access tokens issued so far, in order."""
        return list(self._registry.issued)

    @property
    def basic_encoding(self) -> BasicEncoding:
        """Return how HTTP Basic is read, "form" or "raw"."""
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
        public_key: PublicKey | None = None,
        certificate: str | None = None,
    ) -> None:
        """Register a client, or replace one, for example to change its secret.

        `scopes` are the scopes that it may have, and that it gets if it asks for none; None: any.
        `method` is the only client authentication that it may use; None: every one that sends the
        secret itself. A client with a `public_key` (PEM or JWK) uses `private_key_jwt`. A client
        with a `certificate` (PEM) uses exactly this one in the TLS handshake. The `tls=` context of
        the server must ask for a certificate, and tokens are bound to it. A client without secret,
        key and certificate is public. Raises ValueError for a method that this server does not
        have, or that does not fit, and ConfigurationError if `pip install "oauthcc[jwt]"` is
        needed.
        """
        if method not in (None, *get_args(Method)):
            raise ValueError(f"method must be one of {', '.join(get_args(Method))}: {method!r}")
        client = new_client(
            client_id,
            client_secret,
            scopes=scopes,
            method=method,
            public_key=public_key,
            certificate=certificate,
        )
        self._registry.add(client)

    def remove_client(self, client_id: str) -> None:
        """Remove a client; its tokens stay valid."""
        self._registry.remove(client_id)

    def time(self) -> float:
        """Return the time of the server's clock, in seconds."""
        return self.now() + self._skew

    def advance(self, seconds: float) -> None:
        """Move the server's clock forward, so that tokens expire without waiting."""
        self._skew += seconds

    def look_up(self, access_token: str) -> IssuedToken | None:
        """Return what the server knows about a token, or None if the token is not valid now."""
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
        """Empty the lists of requests, and start counting concurrent token requests again."""
        self.requests.clear()
        self.token_requests.clear()
        super().forget()

    def respond(self, request: SeenRequest, closing: Callable[[], bool]) -> Outcome:
        """Return the answer to a request to any of the endpoints."""
        path = self._path
        seen = self._identified(request)
        self.requests.append(seen)
        answers: dict[str, Callable[[SeenRequest], Answer]] = {
            f"{path}/introspect": self._introspect,
            f"{path}/revoke": self._revoke,
            f"/.well-known/oauth-authorization-server{path}": self._metadata,
            f"{path}/.well-known/openid-configuration": self._metadata,
        }
        if request.path == self._main_path:
            return self._answer_token_request(seen, closing)
        answer = answers.get(request.path, _not_found)
        return self._perform(request.path, closing, lambda: answer(seen))

    def answer_token_request(self, request: SeenRequest, closing: Callable[[], bool]) -> Outcome:
        """Return the answer to a token request that another server received (an API)."""
        return self._answer_token_request(self._identified(request), closing)

    def _answer_token_request(self, seen: SeenRequest, closing: Callable[[], bool]) -> Outcome:
        self.token_requests.append(seen)
        return self._perform(self._main_path, closing, lambda: self._token(seen))

    def _identified(self, request: SeenRequest) -> SeenRequest:
        try:
            form = self._as_form(request).form
            client = client_authentication(request.headers, form, self.basic_encoding)
        except ValueError:
            client = None
        return replace(request, at=self.time(), client_id=client.client_id if client else None)

    def _as_form(self, request: SeenRequest) -> SeenRequest:
        """Return a token request as oauthlib reads it; see `token_body`."""
        if request.path != self._main_path or self.token_body == "form":
            return request
        try:
            members = dict(request.json())
        except (TypeError, ValueError):
            members = {}
        kind = ("Content-Type", "application/x-www-form-urlencoded")
        others = [field for field in request.raw_headers if field[0].lower() != "content-type"]
        return replace(request, body=urlencode(members).encode(), raw_headers=(*others, kind))

    def _token(self, seen: SeenRequest) -> Answer:
        thumbprint = None
        if "DPoP" in seen.headers:
            try:
                thumbprint = self._proofs.thumbprint(seen, nonce=self.dpop_nonce)
            except ProofError as error:
                answer = oauth_error(error.error, str(error))
                nonce = [("DPoP-Nonce", self.dpop_nonce)] if self.dpop_nonce else []
                return replace(answer, headers=[*answer.fields, *nonce])
        return self._call(self._oauth.create_token_response, self._as_form(seen), thumbprint)

    def _introspect(self, seen: SeenRequest) -> Answer:
        return self._call(self._oauth.create_introspect_response, seen)

    def _revoke(self, seen: SeenRequest) -> Answer:
        return self._call(self._oauth.create_revocation_response, seen)

    def _call(
        self, endpoint: Callable[..., Any], seen: SeenRequest, key_thumbprint: str | None = None
    ) -> Answer:
        audiences = (self.issuer, self.token_url, seen.url)
        presented.set(Presented(audiences, seen.peer_certificate, key_thumbprint))
        # Without the query: a token URL may have one (RFC 6749 section 3.2), but oauthlib refuses
        # it.
        form = seen.body.decode("utf-8", "replace") if seen.form else ""
        try:
            headers, body, status = endpoint(seen.path, seen.method, form, dict(seen.headers))
        except OAuth2Error as error:
            return oauth_error(str(error.error), error.description, error.status_code)
        if status == HTTPStatus.UNAUTHORIZED:
            # oauthlib writes Bearer; RFC 6749 section 5.2 requires the scheme that the client used.
            headers["WWW-Authenticate"] = 'Basic realm="token endpoint"'
        if status == HTTPStatus.OK:
            body = with_raw_json(body, self._fields())
        return Answer(status, headers, body.encode())

    def _fields(self) -> dict[str, Any]:
        lifetime = OMIT if self.token_lifetime is None else self.token_lifetime
        return {"expires_in": lifetime, **self.token_fields}

    def _modify(self, token: dict[str, Any], *_: Any) -> dict[str, Any]:
        """Return the token response with the members that the attributes ask for."""
        usual = {"scope": token.get("scope") or OMIT}
        if presented.get().key_thumbprint:
            usual["token_type"] = "DPoP"
        return TokenResponse(without_omitted(token, usual, self._fields()))

    def _real_lifetime(self) -> float:
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
            "token_endpoint_auth_signing_alg_values_supported": SECRET_ALGORITHMS + KEY_ALGORITHMS,
            "dpop_signing_alg_values_supported": list(KEY_ALGORITHMS),
            "tls_client_certificate_bound_access_tokens": self._tls is not None,
        }
        return json_answer(without_omitted(members, self.metadata))


def _not_found(_: SeenRequest) -> Answer:
    return json_answer({"error": "not_found"}, 404)
