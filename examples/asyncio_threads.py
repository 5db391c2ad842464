"""The session in a program with asyncio: each request runs in a thread of its own.

The session can be used by many threads. No request, and no token request, blocks the event loop.
"""

import asyncio

from oauthcc import ClientCredentialsSession
from oauthcc.testing import AuthorizationServer, ProtectedAPI


async def main() -> None:
    with AuthorizationServer() as auth, ProtectedAPI(auth) as server:
        client = auth.token_url, auth.client_id, auth.client_secret
        with ClientCredentialsSession(*client) as api:
            urls = [f"{server.url}/orders/{number}" for number in range(20)]
            tasks = [asyncio.to_thread(api.get, url, timeout=10) for url in urls]
            responses = await asyncio.gather(*tasks)
        print([response.status_code for response in responses].count(200), "requests;", end=" ")
        print(len(auth.token_requests), "token request")


asyncio.run(main())
