"""betamax, which mounts an adapter that records."""

from __future__ import annotations

import json
from urllib.parse import parse_qs

import pytest
from betamax import Betamax
from betamax.cassette.cassette import Cassette, Placeholder

from ..sessions import session_for

# It calls datetime.utcnow(), which is deprecated since Python 3.12.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")


def hide(interaction, cassette):
    sent, answer = interaction.data["request"], interaction.data["response"]
    hidden = sent["headers"].get("Authorization", [])
    hidden = hidden + parse_qs(sent["body"]["string"]).get("client_secret", [])
    if '"access_token"' in answer["body"]["string"]:
        hidden = [*hidden, json.loads(answer["body"]["string"])["access_token"]]
        # The body becomes shorter, and a body that is too short is an error.
        answer["headers"].pop("Content-Length", None)
    cassette.placeholders.extend(Placeholder("<HIDDEN>", value) for value in hidden)


@pytest.fixture
def hidden():
    """Register the hook; Betamax keeps hooks for the whole process, so it is removed afterwards."""
    with Betamax.configure() as config:
        config.before_record(callback=hide)
    yield
    Cassette.hooks["before_record"].remove(hide)


def recorded(session, folder):
    return Betamax(session, cassette_library_dir=str(folder)).use_cassette("x")


def test_a_session_that_is_recorded_works(session, api, tmp_path, works_with):
    with recorded(session, tmp_path):
        assert works_with(lambda: session.post(f"{api.url}/x", data="x")).status_code == 200


@pytest.mark.usefixtures("hidden")
@pytest.mark.parametrize("client_auth", ["client_secret_basic", "client_secret_post"])
def test_a_filtered_cassette_contains_neither_token_nor_secret_and_is_replayed(
    auth, api, tmp_path, secrets_in, client_auth
):
    def call():
        with session_for(auth, client_auth=client_auth) as session, recorded(session, tmp_path):
            answers = [session.get(f"{api.url}/orders").json()]
            auth.revoke_all()  # in the cassette, a 401 and a second token request
            return [*answers, session.get(f"{api.url}/orders").json()]

    first = call()
    text = (tmp_path / "x.json").read_text()
    assert len(json.loads(text)["http_interactions"]) == 5
    assert secrets_in(text) == []
    auth.down()
    api.down()
    assert call() == first


def test_a_cassette_that_is_not_filtered_contains_token_and_secret(
    session, api, tmp_path, secrets_in
):
    with recorded(session, tmp_path):
        session.get(f"{api.url}/orders")
    found = secrets_in((tmp_path / "x.json").read_text())
    assert found == ["the secret in HTTP Basic", "token 1"]


def test_the_adapters_of_the_session_are_put_back(session, api, tmp_path):
    with recorded(session, tmp_path):
        session.get(f"{api.url}/orders")
    assert session.get(f"{api.url}/more").status_code == 200
    assert "/more" not in (tmp_path / "x.json").read_text()
