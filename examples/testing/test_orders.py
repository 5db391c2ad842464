"""The tests of orders.py. The fixtures of oauthcc are real servers and a session for them."""

import pytest
import requests
from orders import open_orders

from oauthcc import ClientCredentialsSession
from oauthcc.testing import AuthorizationServer, ProtectedAPI, json_answer


def test_open_orders_are_listed(
    oauth_session: ClientCredentialsSession, protected_api: ProtectedAPI
) -> None:
    protected_api.add_route("/orders", lambda _: json_answer([{"id": "a-1"}, {"id": "a-2"}]))
    assert open_orders(oauth_session, protected_api.url) == ["a-1", "a-2"]
    assert protected_api.requests[0].args == [("status", "open")]


def test_a_revoked_token_is_replaced(
    oauth_session: ClientCredentialsSession,
    oauth_server: AuthorizationServer,
    protected_api: ProtectedAPI,
) -> None:
    protected_api.add_route("/orders", lambda _: json_answer([]))
    open_orders(oauth_session, protected_api.url)
    oauth_server.revoke_all()
    assert open_orders(oauth_session, protected_api.url) == []
    assert len(oauth_server.token_requests) == 2


def test_an_error_of_the_token_endpoint_is_raised(
    oauth_session: ClientCredentialsSession,
    oauth_server: AuthorizationServer,
    protected_api: ProtectedAPI,
) -> None:
    oauth_server.refuse_next()
    with pytest.raises(requests.RequestException, match="invalid_client"):
        open_orders(oauth_session, protected_api.url)
