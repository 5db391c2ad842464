"""Sessions for the clients of oidc-provider."""

from __future__ import annotations

from typing import Any

from oauthcc import ClientCredentialsSession

from .clients import Client
from .oidc import SCOPE, OIDCServer


class OIDCSessions:
    """A factory of sessions that trust the CA and the APIs of the server, and closes them."""

    def __init__(self, oidc: OIDCServer) -> None:
        self.oidc = oidc
        self._made: list[ClientCredentialsSession] = []

    def __call__(self, client: str | Client, **options: Any) -> ClientCredentialsSession:
        """Return a session for a client or the name of one, with the given options.

        By default, the session uses the issuer with TLS and sends its tokens to both APIs.
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
        """Close all sessions."""
        for session in self._made:
            session.close()
