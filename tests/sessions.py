"""Sessions for the servers of the test kit, and for the internet in memory."""

from __future__ import annotations

from typing import Any, TypeVar

import requests

from oauthcc import ClientCredentialsAuth, ClientCredentialsSession
from oauthcc.testing import AuthorizationServer

from .internet import TOKEN_URL, Internet

S = TypeVar("S", bound=requests.Session)
CLIENT = TOKEN_URL, "my-id", "my-secret"


def session_for(auth: AuthorizationServer, *more: Any, **options: Any) -> ClientCredentialsSession:
    """Return a session whose tokens come from an authorization server."""
    client = auth.token_url, auth.client_id, auth.client_secret
    return ClientCredentialsSession(*client, *more, **options)


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
