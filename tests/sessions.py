"""Sessions for the servers of the test kit, and for the internet in memory."""

from __future__ import annotations

from typing import Any, TypeVar

import requests

from oauthcc import ClientCredentialsAuth, ClientCredentialsSession
from oauthcc.testing import AuthorizationServer

from .internet import TOKEN_URL, Internet

S = TypeVar("S", bound=requests.Session)
CLIENT = TOKEN_URL, "my-id", "my-secret"


def session_for(
    auth: AuthorizationServer, scope: str | None = None, *, trust_env: bool = True, **options: Any
) -> ClientCredentialsSession:
    """Return a session whose tokens come from an authorization server.

    ``options`` win over the URL and the client of the server.
    """
    client = {
        "token_url": auth.token_url,
        "client_id": auth.client_id,
        "client_secret": auth.client_secret,
    }
    session = ClientCredentialsSession(scope=scope, **{**client, **options})
    session.trust_env = trust_env
    return session


def connected(
    net: Internet,
    *more: Any,
    kind: type[ClientCredentialsSession] = ClientCredentialsSession,
    **options: Any,
) -> ClientCredentialsSession:
    """Return a session that sends everything to the internet in memory."""
    return on(net, kind(*CLIENT, *more, **options))


def plain(net: Internet) -> requests.Session:
    """Return a plain session that sends everything to the internet in memory."""
    return on(net, requests.Session())


def auth_for(net: Internet, **options: Any) -> ClientCredentialsAuth:
    """Return an ``auth=`` whose tokens come from the internet in memory."""
    auth = ClientCredentialsAuth(*CLIENT, **options)
    auth.tokens.endpoint.mount("https://", net)
    return auth


def on(net: Internet, session: S) -> S:
    """Mount the internet in memory on a session, and return the session."""
    session.trust_env = False
    session.mount("https://", net)
    session.mount("http://", net)
    return session
