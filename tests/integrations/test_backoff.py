"""backoff, which calls a function again after a pause."""

from __future__ import annotations

import backoff
import pytest
import requests

from oauthcc import TokenEndpointUnavailable, TokenRequestDenied
from oauthcc.testing import faults


@pytest.fixture
def paused(monkeypatch):
    """Return the pauses that backoff makes, without waiting."""
    found = []
    monkeypatch.setattr("backoff._sync.time.sleep", found.append)
    return found


def get_with(session, api, attempts):
    @backoff.on_exception(backoff.expo, requests.RequestException, max_tries=5)
    def get():
        attempts.append(1)
        answer = session.get(f"{api.url}/orders")
        answer.raise_for_status()
        return answer

    return get


def test_a_call_that_is_tried_again_works(session, api, works_with, paused):
    assert works_with(get_with(session, api, [])).status_code == 200
    assert paused == []


def test_an_error_of_the_api_is_tried_again_with_the_same_token(session, auth, api, paused):
    api.answer_next(faults.unavailable(), 2)
    assert get_with(session, api, [])().status_code == 200
    assert (len(paused), len(auth.token_requests)) == (2, 1)


def test_attempts_do_not_multiply_token_requests(session, auth, api, paused):
    auth.refuse_next(None)
    attempts = []
    with pytest.raises(TokenRequestDenied):
        get_with(session, api, attempts)()
    assert (len(attempts), len(auth.token_requests)) == (5, 1)


def test_runtime_waits_as_long_as_the_error_says(session, auth, api, paused):
    auth.answer_next(faults.unavailable(retry_after="60"), None)

    @backoff.on_exception(
        backoff.runtime,
        TokenEndpointUnavailable,
        value=lambda error: error.retry_after or 1,
        jitter=None,
        max_tries=2,
    )
    def get():
        return session.get(f"{api.url}/orders")

    with pytest.raises(TokenEndpointUnavailable):
        get()
    assert len(auth.token_requests) == len(paused) == 1
    assert 50 < paused[0] <= 60
