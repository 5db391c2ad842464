"""What can go wrong. Every error is a ``requests.RequestException`` and says what to do.

So code that catches the errors of requests catches these too.
"""

import requests

from oauthcc import ClientCredentialsSession, TokenEndpointUnavailable, TokenRequestDenied
from oauthcc.testing import AuthorizationServer, ProtectedAPI

with AuthorizationServer() as auth, ProtectedAPI(auth) as server:
    auth.add_client("orders-client", "right")

    print("The secret is wrong:")
    with ClientCredentialsSession(auth.token_url, "orders-client", "wrong") as api:
        try:
            api.get(server.url)
        except TokenRequestDenied as error:
            print(f"  {error}\n  error={error.error} status_code={error.status_code}")

    print("The token endpoint is overloaded:")
    auth.answer_next((429, {"Retry-After": "60"}, b""))
    with ClientCredentialsSession(auth.token_url, "orders-client", "right") as api:
        try:
            api.get(server.url)
        except TokenEndpointUnavailable as error:
            print(f"  {error}\n  retry_after={error.retry_after}")

    print("The token endpoint is down, caught as any error of requests:")
    auth.down()
    with ClientCredentialsSession(auth.token_url, "orders-client", "right") as api:
        try:
            api.get(server.url)
        except requests.RequestException as error:
            print(f"  {error}\n  {isinstance(error, requests.ConnectionError)=}")
