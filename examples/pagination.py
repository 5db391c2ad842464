"""All pages of a list. The token is replaced between two pages, without any code in the loop."""

from collections.abc import Iterator
from typing import Any

import requests

from oauthcc import ClientCredentialsSession
from oauthcc.testing import Answer, AuthorizationServer, ProtectedAPI, SeenRequest, json_answer


def orders(session: requests.Session, url: str | None) -> Iterator[Any]:
    """Yield every order of every page; each page has a Link header with the next one."""
    while url is not None:
        response = session.get(url, timeout=10)
        response.raise_for_status()
        yield from response.json()
        url = response.links.get("next", {}).get("url")


def page(request: SeenRequest) -> Answer:
    """Return one of three pages, as the API of this example does."""
    number = int(dict(request.args).get("page", "1"))
    more = {"Link": f'<{server.url}/orders?page={number + 1}>; rel="next"'} if number < 3 else {}
    return json_answer([f"order {number}{letter}" for letter in "ab"], headers=more)


with AuthorizationServer() as auth, ProtectedAPI(auth) as server:
    server.add_route("/orders", page)
    client = auth.token_url, auth.client_id, auth.client_secret
    with ClientCredentialsSession(*client) as api:
        for order in orders(api, server.url + "/orders"):
            print(order)
            if order == "order 2a":
                auth.revoke_all()
    print(f"{len(auth.token_requests)} tokens were fetched for 3 pages")
