"""The servers of the comparison: an authorization server, an API, and a foreign server."""

from __future__ import annotations

import base64
import ipaddress
import ssl
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

from oauthcc.testing import AuthorizationServer, ProtectedAPI, SeenRequest, json_answer
from oauthcc.testing.faults import Outcome

#: The token that the foreign server issues.
PLANTED = "planted-by-somebody-else"
SIGNED_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


def stay_on_loopback() -> None:
    """Refuse every connection and every DNS query that would leave this machine."""

    def guard(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.getaddrinfo":
            host = arguments[0]
        elif event == "socket.connect" and isinstance(arguments[1], tuple):
            host = arguments[1][0]
        else:
            return
        if isinstance(host, bytes):
            host = host.decode()
        if host not in (None, "", "localhost") and not _is_loopback(host):
            raise PermissionError(f"{host} is not on loopback.")

    sys.addaudithook(guard)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Server(AuthorizationServer):
    """An authorization server that also accepts the signed assertion of a service account."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        """Create a server with a path, which msal requires."""
        super().__init__("reader", "s3cret-of-the-client", tls=tls, path="/tenant")
        #: The public key (PEM) of the service account.
        self.public_key: str | None = None
        #: The requests as they were received.
        self.arrived: list[SeenRequest] = []

    def respond(self, request: SeenRequest, closing: Any) -> Outcome:
        """Translate the assertion grant into the client credentials grant."""
        self.arrived.append(request)
        form = dict(request.form)
        if form.get("grant_type") == SIGNED_GRANT:
            secret = self.client_secret if self._is_signed(form["assertion"]) else "not the secret"
            body = (
                f"grant_type=client_credentials&client_id={quote_plus(self.client_id)}"
                f"&client_secret={quote_plus(secret)}"
            )
            plain = (("Content-Type", "application/x-www-form-urlencoded"),)
            request = replace(request, body=body.encode(), raw_headers=plain)
        return super().respond(request, closing)

    def _is_signed(self, assertion: str) -> bool:
        from google.auth import jwt

        try:
            jwt.decode(assertion, certs=self.public_key)
        except ValueError:
            return False
        return True


class World:
    """Three servers on loopback, new for every situation."""

    def __init__(self, *, tls: bool = False) -> None:
        """Create the servers; with `tls` the authorization server uses https."""
        self._stack = ExitStack()
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        context = self._tls() if tls else None
        self.auth = Server(context)
        self.api = ProtectedAPI(self.auth)
        self.foreign = AuthorizationServer()

    def __enter__(self) -> World:
        """Start the servers."""
        for server in (self.auth, self.api, self.foreign):
            self._stack.enter_context(server)
        self.auth.metadata = {"authorization_endpoint": f"{self.auth.url}/authorize"}
        self.foreign.answer_next(
            json_answer({"access_token": PLANTED, "token_type": "Bearer", "expires_in": 3600}), None
        )
        return self

    def __exit__(self, *_: object) -> None:
        """Close the servers, and end the requests that they hold."""
        self._stack.close()

    @property
    def elsewhere(self) -> str:
        """Return the URL of the foreign server, with another host name."""
        return f"http://localhost:{self.foreign.port}/token"

    @property
    def ca_file(self) -> str:
        """Return the path of the certificate of the authorization server."""
        return str(self.folder / "server.pem")

    def token_request_count(self) -> int:
        """Return the number of token requests."""
        return len(self.auth.token_requests)

    def traces(self, text: str) -> list[str]:
        """Return which of "secret" and "token" a text contains."""
        pair = f"{self.auth.client_id}:{self.auth.client_secret}".encode()
        secrets = (self.auth.client_secret, base64.b64encode(pair).decode())
        found = ["secret"] if any(one in text for one in secrets) else []
        return found + ["token"] * any(token in text for token in self.auth.issued)

    def _tls(self) -> ssl.SSLContext:
        from .certificate import write_certificate

        write_certificate(Path(self.ca_file))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.ca_file)
        return context
