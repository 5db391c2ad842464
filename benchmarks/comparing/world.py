"""The world of a comparison: an authorization server, an API, and a place where nothing belongs."""

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

#: What the foreign place hands out as a token.
PLANTED = "planted-by-somebody-else"
SIGNED_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


def stay_on_loopback() -> None:
    """Refuse every connection and every look-up that would leave this machine."""

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
            raise PermissionError(f"{host} is beyond loopback")

    sys.addaudithook(guard)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Server(AuthorizationServer):
    """An authorization server that takes a service account's signed assertion for the secret."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        """Prepare a server with a path, which msal wants."""
        super().__init__("reader", "s3cret-of-the-client", tls=tls, path="/tenant")
        #: The public key (PEM) of the service account.
        self.public_key: str | None = None
        #: The requests as they came.
        self.arrived: list[SeenRequest] = []

    def respond(self, request: SeenRequest, closing: Any) -> Outcome:
        """Translate a grant by assertion into the one that the server knows."""
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
        """Prepare them; with `tls` the authorization server speaks https."""
        self._stack = ExitStack()
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        context = self._tls() if tls else None
        self.auth = Server(context)
        self.api = ProtectedAPI(self.auth)
        self.foreign = AuthorizationServer()

    def __enter__(self) -> World:
        """Start them."""
        for server in (self.auth, self.api, self.foreign):
            self._stack.enter_context(server)
        self.auth.metadata = {"authorization_endpoint": f"{self.auth.url}/authorize"}
        self.foreign.answer_next(
            json_answer({"access_token": PLANTED, "token_type": "Bearer", "expires_in": 3600}), None
        )
        return self

    def __exit__(self, *_: object) -> None:
        """Close them, those who wait included."""
        self._stack.close()

    @property
    def elsewhere(self) -> str:
        """Give the URL of the foreign place, by another host name."""
        return f"http://localhost:{self.foreign.port}/token"

    @property
    def ca_file(self) -> str:
        """Give the path of the certificate of the authorization server."""
        return str(self.folder / "server.pem")

    def asked(self) -> int:
        """Count the token requests."""
        return len(self.auth.token_requests)

    def traces(self, text: str) -> list[str]:
        """Name what of the secret and of the tokens stands in a text."""
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
