"""Sessions for the client of a loopback authorization server."""

from __future__ import annotations

from typing import Any

from oauthcc import ClientCredentialsSession
from oauthcc.testing import AuthorizationServer


def session_for(auth: AuthorizationServer, **options: Any) -> ClientCredentialsSession:
    """Return a session that ignores the environment; ``options`` win over the server's client."""
    given = {
        "token_url": auth.token_url,
        "client_id": auth.client_id,
        "client_secret": auth.client_secret,
        **options,
    }
    session = ClientCredentialsSession(**given)
    session.trust_env = False
    return session
