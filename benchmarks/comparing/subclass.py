"""The subclass that people copy from forum threads, in its usual form."""

from __future__ import annotations

from typing import Any

import requests
from oauthlib.oauth2 import BackendApplicationClient, TokenExpiredError
from requests_oauthlib import OAuth2Session


class RefetchingSession(OAuth2Session):
    """A session that fetches a token if there is none, if it expired, and after a 401."""

    def __init__(
        self, token_url: str, client_id: str, secret: str, scope: list[str], *, in_body: bool
    ) -> None:
        """Store the arguments of `fetch_token`."""
        super().__init__(client=BackendApplicationClient(client_id=client_id, scope=scope))
        self._token_url, self._secret, self._in_body = token_url, secret, in_body or None

    def _fetch(self) -> None:
        self.fetch_token(
            self._token_url, client_secret=self._secret, include_client_id=self._in_body
        )

    def request(self, method: str, url: str, **options: Any) -> requests.Response:
        """Send a request; after a 401 or an expiry, fetch a token and send it again."""
        if url == self._token_url:  # fetch_token calls this method too
            return super().request(method, url, **options)
        if not self.authorized:
            self._fetch()
        try:
            response = super().request(method, url, **options)
        except TokenExpiredError:
            self._fetch()
            return super().request(method, url, **options)
        if response.status_code == 401:
            self._fetch()
            response = super().request(method, url, **options)
        return response
