"""One session for many threads. They start without a token, and one token is fetched for all."""

from concurrent.futures import ThreadPoolExecutor

from oauthcc import ClientCredentialsSession
from oauthcc.testing import AuthorizationServer, ProtectedAPI

with AuthorizationServer() as auth, ProtectedAPI(auth) as server:
    auth.delay = 0.2  # seconds that each token request takes
    client = auth.token_url, auth.client_id, auth.client_secret

    with ClientCredentialsSession(*client) as api, ThreadPoolExecutor(16) as pool:

        def status_of(number: int) -> int:
            return api.get(f"{server.url}/orders/{number}", timeout=10).status_code

        statuses = list(pool.map(status_of, range(100)))
        print(statuses.count(200), "requests;", len(auth.token_requests), "token request")

        auth.revoke_all()
        statuses = list(pool.map(status_of, range(100)))
        print(statuses.count(200), "requests after a revocation;", end=" ")
        print(len(auth.token_requests), "token requests in all")
