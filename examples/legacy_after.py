"""The old script of legacy_before.py with another session. Only one function is changed.

The session fetches the token, and fetches another one when the token expires or is revoked.
"""

import requests

from oauthcc import ClientCredentialsSession
from oauthcc.testing import AuthorizationServer, ProtectedAPI


class OrderClient:
    """Old code that should not be changed: it takes a session and uses it."""

    def __init__(self, session: requests.Session, url: str) -> None:
        self.session, self.url = session, url
        session.headers["X-Team"] = "warehouse"
        session.hooks["response"].append(lambda response, **_: response.raise_for_status())

    def get(self, number: int) -> str:
        return str(self.session.get(f"{self.url}/orders/{number}", timeout=10).json()["path"])


def connect(token_url: str, client_id: str, client_secret: str) -> requests.Session:
    return ClientCredentialsSession(token_url, client_id, client_secret)


with AuthorizationServer() as auth, ProtectedAPI(auth) as server:
    session = connect(auth.token_url, auth.client_id, auth.client_secret)
    client = OrderClient(session, server.url)
    print("order:", client.get(1))
    auth.revoke_all()
    try:
        print("order after the token was revoked:", client.get(2))
    except requests.HTTPError as error:
        print("error after the token was revoked:", error)
    session.close()
