"""gql, whose transport for requests makes a session of its own and takes an ``auth=``."""

from __future__ import annotations

import logging

import pytest
from gql import Client, FileVar, gql
from gql.transport.exceptions import TransportServerError
from gql.transport.requests import RequestsHTTPTransport

from oauthcc.testing.faults import json_answer

QUERY = gql("{ state }")


@pytest.fixture
def transport(api, token_auth):
    api.add_route("/graphql", lambda seen: json_answer({"data": {"state": "sent"}}))
    return RequestsHTTPTransport(url=f"{api.url}/graphql", auth=token_auth)


def test_a_client_works(transport, works_with):
    client = Client(transport=transport)
    assert works_with(lambda: client.execute(QUERY)) == {"state": "sent"}


def test_a_transport_with_our_session_works(transport, session, works_with):
    class WithOurSession(RequestsHTTPTransport):
        def connect(self):
            super().connect()
            self.session.close()
            self.session = session

    client = Client(transport=WithOurSession(url=transport.url))
    assert works_with(lambda: client.execute(QUERY)) == {"state": "sent"}


def test_one_auth_is_enough_for_many_connections(transport, auth):
    client = Client(transport=transport)
    for _ in range(3):
        client.execute(QUERY)  # opens and closes a session
    assert len(auth.token_requests) == 1


def test_a_retry_of_the_transport_fetches_no_token(transport, auth, api, token_auth):
    api.answer_next(json_answer({}, 503))
    client = Client(
        transport=RequestsHTTPTransport(
            url=transport.url, auth=token_auth, retries=2, retry_backoff_factor=0
        )
    )
    assert client.execute(QUERY) == {"state": "sent"}
    assert (len(api.requests), len(auth.token_requests)) == (2, 1)


def test_a_401_in_the_end_is_an_error_of_gql_without_the_token(transport, api, secrets_in):
    api.refuse_next(2)
    with pytest.raises(TransportServerError) as caught:
        Client(transport=transport).execute(QUERY)
    assert caught.value.code == 401
    assert secrets_in(str(caught.value)) == []


def test_the_log_contains_neither_token_nor_secret(transport, caplog, secrets_in):
    with caplog.at_level(logging.DEBUG):
        Client(transport=transport).execute(QUERY)
    assert "gql.transport.requests" in {record.name for record in caplog.records}
    assert secrets_in(caplog.text) == []


def test_an_upload_is_not_sent_again_because_it_is_a_form_of_toolbelt(
    transport, auth, api, tmp_path
):
    path = tmp_path / "x"
    path.write_text("x")
    client = Client(transport=transport)
    client.execute(QUERY)
    auth.revoke_all()

    def upload():
        query = gql("mutation ($file: Upload!) { upload(file: $file) }")
        query.variable_values = {"file": FileVar(str(path))}
        return client.execute(query, upload_files=True)

    with pytest.raises(TransportServerError, match="401"):
        upload()
    assert upload() == {"state": "sent"}
    assert [seen.token for seen in api.requests] == [auth.issued[0]] * 2 + [auth.issued[1]]
