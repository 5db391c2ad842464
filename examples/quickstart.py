"""The four lines that are needed to call an API.

The script reads OAUTH_TOKEN_URL, OAUTH_CLIENT_ID, OAUTH_CLIENT_SECRET, OAUTH_SCOPE and
OAUTH_API_URL. Without these variables, it starts an authorization server and an API on loopback.
"""

import os

from oauthcc import ClientCredentialsSession
from oauthcc.testing import AuthorizationServer, ProtectedAPI

if "OAUTH_TOKEN_URL" in os.environ:
    with ClientCredentialsSession.from_env() as api:
        response = api.get(os.environ["OAUTH_API_URL"])
        print(response.status_code, response.reason, "from", response.url)
else:
    with AuthorizationServer() as auth, ProtectedAPI(auth) as server:
        # These are the four lines. The fourth one would be at the end of your program.
        api = ClientCredentialsSession(auth.token_url, auth.client_id, auth.client_secret, "orders")
        response = api.get(server.url + "/orders")
        print(response.status_code, response.reason, "from", response.url)
        api.close()
