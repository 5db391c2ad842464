"""The libraries, each used as its own documentation says.

With Authlib and requests-oauthlib, a token must be fetched explicitly before the first request, and
with requests-oauthlib again when it reports that the token expired. google-auth has no client
credentials grant; its service account, which is used for the same purpose, signs an assertion
instead of sending a secret. msal requires https and has no session: its token is added to a plain
request.
"""

from __future__ import annotations

import os
import sys
from typing import Any, ClassVar

import requests

from .library import SCOPES, Library, UnsupportedError


class ErrorAsDict(Exception):
    """The dict that msal returns instead of raising, if there is no token."""


class Ours(Library):
    name, packages = "oauthcc", ()

    def set_up(self, how: str) -> None:
        from oauthcc import ClientCredentialsSession

        method = {"basic": "client_secret_basic", "post": "client_secret_post"}.get(how)
        url = self.world.auth.token_url
        self.session = ClientCredentialsSession(
            url, self.client_id, self.secret, SCOPES, client_auth=method
        )

    def objects(self) -> list[object]:
        from oauthcc import ClientCredentialsSession

        assert isinstance(self.session, ClientCredentialsSession)
        return [*super().objects(), self.session.tokens, self.session.tokens.get()]


class RequestsOAuthlib(Library):
    name, packages = "requests-oauthlib", ("requests-oauthlib",)

    def set_up(self, how: str) -> None:
        from oauthlib.oauth2 import BackendApplicationClient
        from requests_oauthlib import OAuth2Session

        os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"
        self.in_body = True if how == "post" else None
        client = BackendApplicationClient(client_id=self.client_id, scope=SCOPES)
        self.session = OAuth2Session(client=client)

    def fetch(self) -> None:
        self.session.fetch_token(
            self.world.auth.token_url, client_secret=self.secret, include_client_id=self.in_body
        )

    def request(self, method: str, url: str, **options: Any) -> requests.Response:
        from oauthlib.oauth2 import TokenExpiredError

        if not self.session.authorized:
            self.fetch()
        try:
            return self.session.request(method, url, **options)
        except TokenExpiredError:
            self.fetch()
            return self.session.request(method, url, **options)

    def objects(self) -> list[object]:
        return [*super().objects(), self.session.token]


class Subclass(Library):
    name, packages = "the copied subclass", ("requests-oauthlib",)

    def set_up(self, how: str) -> None:
        from .subclass import RefetchingSession

        os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"
        self.session = RefetchingSession(
            self.world.auth.token_url, self.client_id, self.secret, SCOPES, in_body=how == "post"
        )

    def objects(self) -> list[object]:
        return [*super().objects(), self.session.token]


class Authlib(Library):
    name, packages, margin = "Authlib", ("Authlib",), 60

    def set_up(self, how: str) -> None:
        from authlib.integrations.requests_client import OAuth2Session

        method = {"basic": "client_secret_basic", "post": "client_secret_post"}.get(how)
        self.session = OAuth2Session(
            self.client_id,
            self.secret,
            token_endpoint_auth_method=method,
            scope=" ".join(SCOPES),
            token_endpoint=self.world.auth.token_url,
            grant_type="client_credentials",
        )

    def request(self, method: str, url: str, **options: Any) -> requests.Response:
        if not self.session.token:
            self.session.fetch_token()
        return self.session.request(method, url, **options)

    def objects(self) -> list[object]:
        return [*super().objects(), self.session.token]


class RequestsOAuth2Client(Library):
    name, packages, margin = "requests-oauth2client", ("requests-oauth2client",), 20

    def set_up(self, how: str) -> None:
        from requests_oauth2client import (
            ClientSecretBasic,
            ClientSecretPost,
            OAuth2Client,
            OAuth2ClientCredentialsAuth,
        )

        kind = ClientSecretBasic if how == "basic" else ClientSecretPost
        client = OAuth2Client(
            self.world.auth.token_url, auth=kind(self.client_id, self.secret), testing=True
        )
        self.session = requests.Session()
        self.session.auth = OAuth2ClientCredentialsAuth(client, scope=SCOPES)

    def objects(self) -> list[object]:
        return [*super().objects(), self.session.auth.client, self.session.auth.token]


class RequestsAuth(Library):
    name, packages, margin = "requests_auth", ("requests_auth",), 30

    def set_up(self, how: str) -> None:
        from requests_auth import OAuth2ClientCredentials

        if how == "post":
            raise UnsupportedError
        self.session = requests.Session()
        self.session.auth = OAuth2ClientCredentials(
            self.world.auth.token_url, self.client_id, self.secret, scope=SCOPES
        )


class GoogleAuth(Library):
    name, packages, margin = "google-auth", ("google-auth", "cryptography"), 225
    keys: ClassVar[tuple[str, str] | None] = None

    def set_up(self, how: str) -> None:
        from google.auth.transport.requests import AuthorizedSession
        from google.oauth2.service_account import Credentials

        from .certificate import make_key

        if how or self.client_id != self.world.auth.client_id:
            raise UnsupportedError
        good = type(self).keys = type(self).keys or make_key()
        self.world.auth.public_key = good[1]
        key = good[0] if self.secret == self.world.auth.client_secret else make_key()[0]
        info = {
            "type": "service_account",
            "client_email": self.client_id,
            "private_key": key,
            "token_uri": self.world.auth.token_url,
        }
        # With a subject it does not query the internet for the regions of the account.
        self.credentials = Credentials.from_service_account_info(
            info, scopes=SCOPES, subject="somebody"
        )
        self.session = AuthorizedSession(self.credentials)

    def objects(self) -> list[object]:
        return [*super().objects(), self.credentials]


class Msal(Library):
    name, packages, margin, needs_tls = "msal", ("msal", "cryptography"), 300, True

    def set_up(self, how: str) -> None:
        from msal import ConfidentialClientApplication

        if how == "basic":
            raise UnsupportedError
        self.app = ConfidentialClientApplication(
            self.client_id,
            client_credential=self.secret,
            oidc_authority=self.world.auth.issuer,
            verify=self.world.ca_file,
        )

    def request(self, method: str, url: str, **options: Any) -> requests.Response:
        result = self.app.acquire_token_for_client(scopes=SCOPES)
        if "access_token" not in result:
            raise ErrorAsDict(result)
        headers = {"Authorization": "Bearer " + result["access_token"]}
        return requests.request(method, url, headers=headers, **options)

    def objects(self) -> list[object]:
        return [self.app]


LIBRARIES: list[type[Library]] = [
    Ours,
    RequestsOAuthlib,
    Subclass,
    Authlib,
    RequestsOAuth2Client,
    RequestsAuth,
    GoogleAuth,
    Msal,
]


def forget_tokens() -> None:
    """Empty the only cache that is shared by a whole process."""
    if "requests_auth" in sys.modules:
        sys.modules["requests_auth"].OAuth2.token_cache.clear()
