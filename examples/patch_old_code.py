"""Tokens for code that cannot be changed and that calls ``requests.get`` itself.

``patch`` adds tokens to all requests to one API, whichever session sends them.
"""

import requests

import oauthcc
from oauthcc.testing import AuthorizationServer, ProtectedAPI


def old_function(url: str) -> int:
    """Send a request, as a package that you have installed may do it."""
    return requests.get(url, timeout=10).status_code


with AuthorizationServer() as auth, ProtectedAPI(auth) as server:
    print("without a token:", old_function(server.url + "/orders"))

    api = oauthcc.ClientCredentialsSession(
        auth.token_url, auth.client_id, auth.client_secret, api_url=server.url
    )
    with oauthcc.patch(api):
        print("with patch():", old_function(server.url + "/orders"))
    api.close()

    print("after patch():", old_function(server.url + "/orders"))
