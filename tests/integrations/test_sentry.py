"""Sentry, which reports errors with the local variables of each frame."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from oauthcc.testing import faults
from oauthcc.testing.faults import json_answer

from ..scripts import run_script

PROGRAM = Path(__file__).with_name("sentry_program.py")


@pytest.fixture
def reports(auth, api, monkeypatch):
    """Return what runs the program and returns its errors and transactions by their names."""

    def after(action):
        return lambda seen: action() or json_answer({})

    api.add_route("/revoke", after(auth.revoke_all))
    api.add_route("/remove-client", after(lambda: auth.remove_client(auth.client_id)))
    api.answer_next(faults.cut(), None, "/cut")

    def run(**variables):
        given = {
            "TOKEN_URL": auth.token_url,
            "CLIENT_ID": auth.client_id,
            "CLIENT_SECRET": auth.client_secret,
            "API_URL": api.url,
        }
        for name, value in {**given, **variables}.items():
            monkeypatch.setenv(name, value)
        found = {}
        for name, kind, text in json.loads(run_script(PROGRAM)):
            found.setdefault((name, kind), []).append(text)
        return found

    return run


def test_reports_contain_neither_token_nor_secret(reports, auth, secrets_in):
    found = reports()
    assert len(found) == 10
    assert len(auth.token_requests) == 4
    assert "after a renewal" in found["after a renewal", "event"][0]
    assert "Bearer ***" in found["an error of the program", "event"][0]
    of_session = [text for (name, _), text in found.items() if not name.endswith("with auth")]
    assert secrets_in(str(of_session)) == []


@pytest.mark.parametrize(
    ("variables", "loggers"),
    [({}, ["oauthcc"]), ({"WITHOUT_LOG": "1"}, [])],
    ids=["usual", "ignored"],
)
def test_a_refused_client_is_reported_by_the_log_and_by_the_error(reports, variables, loggers):
    events = [json.loads(text) for text in reports(**variables)["no token", "event"]]
    assert [event["logger"] for event in events if "logger" in event] == loggers
    errors = [event["exception"]["values"] for event in events if "logger" not in event]
    assert [error[-1]["type"] for error in errors] == ["TokenRequestDenied"]


def test_every_token_request_is_a_span(reports, auth):
    (transaction,) = reports()["after a renewal", "transaction"]
    data = [span["data"] for span in json.loads(transaction)["spans"]]
    assert [span["http.response.status_code"] for span in data] == [401, 200, 200]
    assert data[1]["url"] == auth.token_url


@pytest.mark.parametrize(
    ("variables", "found"),
    [({}, ["token 3"]), ({"RECURSIVE": "1"}, [])],
    ids=["usual", "recursive"],
)
def test_the_local_variables_of_a_plain_session_contain_the_token_if_sending_fails(
    reports, secrets_in, variables, found
):
    (event,) = reports(**variables)["no answer with auth", "event"]
    assert "RemoteDisconnected" in event
    assert secrets_in(event) == found
