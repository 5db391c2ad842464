"""The two servers of the demo, and a session for them."""

from __future__ import annotations

import secrets
from contextlib import ExitStack
from typing import Any

from ...session import ClientCredentialsSession
from ...testing import AuthorizationServer, ProtectedAPI


def start_servers(running: ExitStack) -> tuple[AuthorizationServer, ProtectedAPI]:
    """Return an authorization server with a new secret, and an API. ``running`` closes them."""
    auth = running.enter_context(AuthorizationServer(client_secret=secrets.token_urlsafe(24)))
    return auth, running.enter_context(ProtectedAPI(auth))


def create_session(
    running: ExitStack, auth: AuthorizationServer, **options: Any
) -> ClientCredentialsSession:
    """Return a session for the servers, without proxies or logins of this machine."""
    session = ClientCredentialsSession(
        auth.token_url, auth.client_id, auth.client_secret, **options
    )
    running.callback(session.close)
    session.trust_env = session.tokens.endpoint.trust_env = False
    return session
