"""The four lines that are needed to call an API.

They are configured by OAUTH_TOKEN_URL, OAUTH_CLIENT_ID, OAUTH_CLIENT_SECRET, OAUTH_SCOPE and
OAUTH_API_URL. Without these variables, an authorization server and an API are started on loopback.
"""

from __future__ import annotations

import os

from oauthcc import ClientCredentialsSession


def call_the_api(session: ClientCredentialsSession, url: str) -> None:
    response = session.get(url)
    print(response.status_code, response.reason, "from", url)


if __name__ == "__main__":
    if "OAUTH_TOKEN_URL" in os.environ:
        with ClientCredentialsSession.from_env() as session:
            call_the_api(session, os.environ["OAUTH_API_URL"])
    else:
        from oauthcc.testing import AuthorizationServer, ProtectedAPI

        with AuthorizationServer() as auth, ProtectedAPI(auth) as server:
            # These are the four lines.
            api = ClientCredentialsSession(
                auth.token_url, auth.client_id, auth.client_secret, "orders:read"
            )
            call_the_api(api, server.url + "/orders")
            api.close()
