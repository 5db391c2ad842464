"""vcrpy, which records what the connections of urllib3 send and receive."""

from __future__ import annotations

import re

import pytest
import vcr

from oauthcc import TokenError

from ..sessions import session_for


def without_token(response):
    """Return the answer that is recorded: an access token in it is replaced."""
    body = re.sub(rb'("access_token": *)"[^"]*"', rb'\1"recorded"', response["body"]["string"])
    return {**response, "body": {"string": body}}


@pytest.fixture
def recorder(tmp_path):
    return vcr.VCR(
        cassette_library_dir=str(tmp_path),
        filter_headers=["authorization"],
        filter_post_data_parameters=["client_secret"],
        before_record_response=without_token,
    )


def test_a_session_that_is_recorded_works(session, api, recorder, works_with):
    with recorder.use_cassette("x.yaml"):
        assert works_with(lambda: session.post(f"{api.url}/x", json={"n": 1})).status_code == 200


@pytest.mark.parametrize("client_auth", ["client_secret_basic", "client_secret_post"])
def test_a_filtered_cassette_contains_neither_token_nor_secret_and_is_replayed(
    auth, api, recorder, tmp_path, secrets_in, *, client_auth
):
    def call():
        with session_for(auth, client_auth=client_auth) as session:
            with recorder.use_cassette("x.yaml") as cassette:
                answers = [session.get(f"{api.url}/orders").json()]
                auth.revoke_all()  # in the cassette, a 401 and a second token request
                answers.append(session.get(f"{api.url}/orders").json())
            return answers, cassette.play_count

    recorded, _ = call()
    text = (tmp_path / "x.yaml").read_text()
    assert text.count("client_credentials") == 2
    assert "/orders" in text
    assert secrets_in(text) == []
    auth.down()
    api.down()
    assert call() == (recorded, 5)


def test_a_cassette_that_is_not_filtered_contains_token_and_secret(
    session, auth, api, tmp_path, secrets_in
):
    with vcr.use_cassette(str(tmp_path / "x.yaml")):
        session.get(f"{api.url}/orders")
    found = secrets_in((tmp_path / "x.yaml").read_text())
    assert found == ["the secret in HTTP Basic", "token 1"]


# vcrpy drops the connection that was open before the cassette, and Python 3.10 reports it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_cassette_without_the_token_request_needs_a_session_that_holds_a_token(
    session, auth, api, recorder
):
    session.get(f"{api.url}/before")  # so the cassette contains no token request
    with recorder.use_cassette("x.yaml"):
        session.get(f"{api.url}/orders")
    session.tokens.forget()
    with recorder.use_cassette("x.yaml"), pytest.raises(TokenError) as caught:
        session.get(f"{api.url}/orders")
    assert "CannotOverwriteExistingCassetteException" in str(caught.value)
    assert auth.token_url in str(caught.value.__cause__)
