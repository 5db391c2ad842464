"""A session class of a company, with its base URL, its time limit and its header.

A subclass works as one of ``requests.Session`` does.
"""

from typing import Any
from urllib.parse import urljoin

from requests import Response

from oauthcc import ClientCredentialsSession
from oauthcc.testing import AuthorizationServer, ProtectedAPI


class CompanySession(ClientCredentialsSession):
    """A session for the APIs of one company: ``session.get("orders")`` is enough."""

    def __init__(self, team: str, base_url: str, *args: Any, **options: Any) -> None:
        # With api_url, no other server ever gets the token.
        super().__init__(*args, api_url=base_url, **options)
        self.base_url = base_url
        self.headers["X-Team"] = team
        self.hooks["response"].append(lambda response, **_: response.raise_for_status())

    def request(self, method: Any, url: Any, *args: Any, **kwargs: Any) -> Response:
        kwargs.setdefault("timeout", 10)
        return super().request(method, urljoin(self.base_url, url), *args, **kwargs)


with AuthorizationServer() as auth, ProtectedAPI(auth) as server:
    client = auth.token_url, auth.client_id, auth.client_secret
    with CompanySession("warehouse", server.url + "/v1/", *client) as api:
        answer = api.get("orders").json()
        print(answer["path"], "with X-Team:", answer["headers"]["X-Team"])
