"""What is compared: plain requests, both classes of oauthcc, and the libraries of `comparing`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import requests
from comparing.libraries import (
    Authlib,
    GoogleAuth,
    Ours,
    RequestsAuth,
    RequestsOAuth2Client,
    RequestsOAuthlib,
)
from comparing.library import SCOPES, Library, missing

Call = Callable[..., requests.Response]


class Plain(Library):
    """The base of all ratios: requests, with a header that was written by hand."""

    name, packages = "plain requests", ()

    def set_up(self, how: str) -> None:
        self.session = requests.Session()

    def fetch(self) -> None:
        assert self.session is not None
        answer = requests.post(
            self.world.auth.token_url,
            {"grant_type": "client_credentials"},
            auth=(self.client_id, self.secret),
        )
        self.session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"


class PlainAgain(Plain):
    """The same once more: how far its ratio is from 1 is the noise."""

    name = "plain requests again"


class Session(Ours):
    """Our session, with the options of a case."""

    name = "ClientCredentialsSession"
    options: ClassVar[dict[str, Any]] = {}

    def set_up(self, how: str) -> None:
        from oauthcc import ClientCredentialsSession

        self.session = ClientCredentialsSession(
            self.world.auth.token_url, self.client_id, self.secret, SCOPES, **self.options
        )

    def fetch(self) -> None:
        self.session.tokens.get()  # type: ignore[union-attr]


class Auth(Session):
    """A plain session with our `auth=`."""

    name = "ClientCredentialsAuth"

    def set_up(self, how: str) -> None:
        from oauthcc import ClientCredentialsAuth

        self.session = requests.Session()
        self.session.auth = ClientCredentialsAuth(
            self.world.auth.token_url, self.client_id, self.secret, SCOPES, **self.options
        )

    def fetch(self) -> None:
        self.session.auth.tokens.get()  # type: ignore[union-attr]


OURS: list[type[Library]] = [Session, Auth]
PEERS: list[type[Library]] = [
    RequestsOAuthlib,
    Authlib,
    RequestsOAuth2Client,
    RequestsAuth,
    GoogleAuth,
]
ALL: dict[str, type[Library]] = {
    kind.name: kind for kind in [Plain, PlainAgain, *OURS, *PEERS] if not missing(kind)
}


def with_token(*, is_plain_too: bool = False) -> list[str]:
    """Return the names of the contenders, without those that have no token of their own."""
    return [name for name in ALL if is_plain_too or not issubclass(ALL[name], Plain)]


def fetch(client: Library) -> None:
    """Let a client fetch its token."""
    if isinstance(client, (Plain, Session)):
        client.fetch()
    else:
        client.request("GET", client.world.api.url).raise_for_status()


def sender(client: Library) -> Call:
    """Return the function that a user of the library calls for a request."""
    if type(client).request is not Library.request:
        return client.request
    assert client.session is not None
    return client.session.request
