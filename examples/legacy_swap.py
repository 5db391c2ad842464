"""Old code that uses requests, and the one line that changes."""

from __future__ import annotations

import requests

from oauthcc import ClientCredentialsSession
from oauthcc.testing import AuthorizationServer, ProtectedAPI


class OrderClient:
    """An example of old code that should not be changed: it takes a session and uses it."""

    def __init__(self, session: requests.Session, base_url: str) -> None:
        self.session = session
        self.base_url = base_url
        session.headers["X-Team"] = "warehouse"
        session.hooks["response"].append(lambda r, **_: r.raise_for_status())

    def count(self) -> int:
        return len(self.session.get(self.base_url + "/orders", timeout=10).json())


def before(token_url: str, client_id: str, client_secret: str, api_url: str) -> OrderClient:
    """Fetch a token by hand. It expires after an hour, and then every request fails."""
    answer = requests.post(
        token_url, {"grant_type": "client_credentials"}, auth=(client_id, client_secret), timeout=10
    )
    session = requests.Session()
    session.headers["Authorization"] = "Bearer " + answer.json()["access_token"]
    return OrderClient(session, api_url)


def after(token_url: str, client_id: str, client_secret: str, api_url: str) -> OrderClient:
    """Create a session that fetches and renews the token."""
    session = ClientCredentialsSession(token_url, client_id, client_secret, api_url=api_url)
    return OrderClient(session, api_url)


if __name__ == "__main__":
    with AuthorizationServer() as auth, ProtectedAPI(auth) as api:
        for build in (before, after):
            client = build(auth.token_url, auth.client_id, auth.client_secret, api.url)
            client.count()
            auth.revoke_all()
            try:
                client.count()
                print(f"{build.__name__}: the request after the revocation succeeded")
            except requests.HTTPError as error:
                print(f"{build.__name__}: the request after the revocation failed: {error}")
            client.session.close()
