"""tenacity, which calls a function again."""

from __future__ import annotations

import pytest
import requests
from tenacity import (
    Retrying,
    retry_if_exception,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exception,
    wait_none,
)

from oauthcc import TokenEndpointUnavailable, TokenRequestDenied
from oauthcc.testing import faults


def retrying(**options):
    kinds = {"retry": retry_if_exception_type(requests.RequestException), **options}
    return Retrying(stop=stop_after_attempt(5), wait=wait_none(), reraise=True, **kinds)


def get(session, api):
    answer = session.get(f"{api.url}/orders")
    answer.raise_for_status()
    return answer


def test_a_call_that_is_tried_again_works(session, api, works_with):
    assert works_with(lambda: retrying()(get, session, api)).status_code == 200


def test_an_error_of_the_api_is_tried_again_with_the_same_token(session, auth, api):
    api.answer_next(faults.unavailable(), 2)
    assert retrying()(get, session, api).status_code == 200
    assert (len(api.requests), len(auth.token_requests)) == (3, 1)


def test_attempts_do_not_multiply_token_requests(session, auth, api):
    auth.refuse_next(None)
    attempts = retrying()
    with pytest.raises(TokenRequestDenied):
        attempts(get, session, api)
    assert attempts.statistics["attempt_number"] == 5
    assert len(auth.token_requests) == 1


def test_attempts_do_not_multiply_the_token_requests_of_an_outage(session, auth, api):
    auth.answer_next(faults.unavailable(retry_after="60"), None)
    with pytest.raises(TokenEndpointUnavailable) as caught:
        retrying()(get, session, api)
    assert len(auth.token_requests) == 1
    assert 50 < caught.value.retry_after <= 60


def test_a_refusal_of_the_client_need_not_be_tried_again(session, auth, api):
    auth.refuse_next(None)
    worth_it = retry_if_exception(lambda e: not isinstance(e, TokenRequestDenied))
    attempts = retrying(retry=worth_it)
    with pytest.raises(TokenRequestDenied):
        attempts(get, session, api)
    assert attempts.statistics["attempt_number"] == 1


def test_the_wait_can_be_the_one_that_the_error_names(session, auth, api):
    auth.answer_next(faults.unavailable(retry_after="60"), None)
    waits = []
    attempts = Retrying(
        retry=retry_if_exception_type(TokenEndpointUnavailable),
        wait=wait_exception(lambda error: getattr(error, "retry_after", None) or 1),
        stop=stop_after_attempt(2),
        sleep=waits.append,
        reraise=True,
    )
    with pytest.raises(TokenEndpointUnavailable):
        attempts(session.get, f"{api.url}/orders")
    assert len(waits) == 1
    assert 50 < waits[0] <= 60
