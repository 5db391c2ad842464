"""An authorization server made with Authlib and Flask, and an API on the same origin.

What is Authlib's own: reading the request and the client authentication, the assertion, the grant,
revocation, the Bearer token and every refusal. What is ours is memory.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from authlib.integrations.flask_oauth2 import AuthorizationServer, ResourceProtector
from authlib.oauth2.rfc6749 import ClientMixin, TokenMixin
from authlib.oauth2.rfc6749.grants import ClientCredentialsGrant
from authlib.oauth2.rfc6750 import BearerTokenValidator
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7523 import JWTBearerClientAssertion
from flask import Flask, Response, jsonify, request
from joserfc.jwk import KeySet, OctKey
from werkzeug.serving import make_server

ASSERTION = JWTBearerClientAssertion.CLIENT_AUTH_METHOD
METHODS = ["client_secret_basic", "client_secret_post", ASSERTION]
SCOPES = {"orders:read", "orders:write"}
HELP = "https://as.example/help/client"


@dataclass(frozen=True)
class Client(ClientMixin):  # type: ignore[misc]
    """A registered client, which may authenticate in one way."""

    client_id: str
    method: str
    client_secret: str = ""
    jwks: str = ""

    def get_client_id(self) -> str:
        return self.client_id

    def get_allowed_scope(self, scope: str | None) -> str | None:
        """Return the known scopes among the requested ones; None, an error, if there are none."""
        return " ".join(s for s in (scope or "").split() if s in SCOPES) or None

    def check_client_secret(self, client_secret: str) -> bool:
        return self.client_secret == client_secret

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method == self.method

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == "client_credentials"


@dataclass
class Issued(TokenMixin):  # type: ignore[misc]
    """A token that was given out."""

    client: Client
    scope: str
    expires_at: float
    revoked: bool = False

    def check_client(self, client: Client) -> bool:
        return self.client == client

    def get_scope(self) -> str:
        return self.scope

    def is_expired(self) -> bool:
        return time.time() >= self.expires_at

    def is_revoked(self) -> bool:
        return self.revoked


class AuthlibServer:
    """Listen on a free loopback port inside a ``with`` block.

    ``clients`` are the registered ones by id, ``issued`` the tokens; ``requests`` counts token
    requests and those of the API by what they were answered with.
    """

    def __init__(self, clients: list[Client]) -> None:
        self.clients = {client.client_id: client for client in clients}
        self.issued: dict[str, Issued] = {}
        self.requests: Counter[str] = Counter()
        self.seen_assertions: set[str] = set()
        self._server = make_server("127.0.0.1", 0, self._app(), threaded=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.token_url, self.revocation_url = self.url + "/oauth/token", self.url + "/oauth/revoke"

    def revoke_all(self) -> None:
        """Revoke all tokens."""
        for issued in self.issued.values():
            issued.revoked = True

    def expire_all(self) -> None:
        """Have all tokens expire."""
        for issued in self.issued.values():
            issued.expires_at = 0

    def _app(self) -> Flask:
        app = Flask("authlib-server")
        # Errors are looked up by name there.
        app.config["OAUTH2_ERROR_URIS"] = [("invalid_client", HELP)]
        server = self._authorization_server(app)
        protect = ResourceProtector()
        protect.register_token_validator(_Validator(self))
        app.add_url_rule("/oauth/token", "token", server.create_token_response, methods=["POST"])
        app.add_url_rule(
            "/oauth/revoke",
            "revoke",
            lambda: server.create_endpoint_response("revocation"),
            methods=["POST"],
        )
        orders = protect(["orders:read"])(_orders)
        app.add_url_rule("/orders", "orders", orders, methods=["GET", "POST"])
        app.after_request(self._count)
        return app

    def _authorization_server(self, app: Flask) -> Any:
        server = AuthorizationServer(app, self.clients.get, self._save_token)
        server.register_client_auth_method(ASSERTION, _Assertion(self))
        server.register_grant(_Grant)
        server.register_endpoint(type("Revocation", (_Revocation,), {"memory": self}))
        return server

    def _save_token(self, token: dict[str, Any], asked: Any) -> None:
        expires_at = time.time() + token["expires_in"]
        issued = Issued(asked.client, token.get("scope", ""), expires_at)
        self.issued[token["access_token"]] = issued

    def _count(self, response: Response) -> Response:
        self.requests[f"{request.method} {request.path} {response.status_code}"] += 1
        return response

    def __enter__(self) -> AuthlibServer:
        """Start to listen."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Grant(ClientCredentialsGrant):  # type: ignore[misc]
    TOKEN_ENDPOINT_AUTH_METHODS = METHODS


class _Revocation(RevocationEndpoint):  # type: ignore[misc]
    CLIENT_AUTH_METHODS = METHODS
    memory: AuthlibServer

    def query_token(self, token_string: str, token_type_hint: str | None) -> Issued | None:
        return self.memory.issued.get(token_string)

    def revoke_token(self, token: Issued, request: Any) -> None:
        token.revoked = True


class _Validator(BearerTokenValidator):  # type: ignore[misc]
    def __init__(self, memory: AuthlibServer) -> None:
        super().__init__(realm="orders")
        self._memory = memory

    def authenticate_token(self, token_string: str) -> Issued | None:
        return self._memory.issued.get(token_string)


class _Assertion(JWTBearerClientAssertion):  # type: ignore[misc]
    """Take assertions that are made for the exact token URL and were not used before."""

    def __init__(self, memory: AuthlibServer) -> None:
        super().__init__(leeway=0)
        self._memory = memory

    def get_audiences(self) -> list[str]:
        return [self._memory.token_url]

    def validate_jti(self, claims: dict[str, Any], jti: str) -> bool:
        is_new = jti not in self._memory.seen_assertions
        self._memory.seen_assertions.add(jti)
        return is_new

    def resolve_client_public_key(self, client: Client) -> Any:
        if client.jwks:
            return KeySet.import_key_set(json.loads(client.jwks))
        return OctKey.import_key(client.client_secret)


def _orders() -> Response:
    return jsonify(method=request.method, length=len(request.get_data()))
