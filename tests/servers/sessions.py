"""Sessions of the library for the clients of oidc-provider."""

from __future__ import annotations

from typing import Any

from oauthcc import ClientCredentialsSession

from .clients import Client
from .oidc import SCOPE, OIDCServer


class OIDCSessions:
    """Make sessions that trust the CA and the API of the server, and close them in the end."""

    def __init__(self, oidc: OIDCServer) -> None:
        self.oidc = oidc
        self._made: list[ClientCredentialsSession] = []

    def __call__(self, client: str | Client, **options: Any) -> ClientCredentialsSession:
        """Make a session for a client, by its name or itself, with options of the session.

        Unless they say otherwise it knows the issuer with TLS, and its tokens go to both APIs.
        """
        oidc, known = self.oidc, self.oidc.clients[client] if isinstance(client, str) else client
        options = {
            "issuer": oidc.tls_issuer,
            "token_url": None,
            "client_secret": known.client_secret,
            "scope": SCOPE,
            "api_url": [oidc.api_url, oidc.tls_api_url],
            **options,
        }
        session = ClientCredentialsSession(client_id=known.client_id, **options)
        session.trust_env = False
        session.verify = oidc.ca_bundle
        self._made.append(session)
        return session

    def close(self) -> None:
        """Close all that were made."""
        for session in self._made:
            session.close()
