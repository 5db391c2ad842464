"""Tests of the token request: what is sent, how often, and how compliance hooks may change it."""

from __future__ import annotations

import copy
import functools
import html
import json
import logging
import pickle
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus

import pytest
import requests
from oauthlib.oauth2 import BackendApplicationClient
from requests.adapters import HTTPAdapter
from requests_oauthlib.compliance_fixes import ebay_compliance_fix, plentymarkets_compliance_fix
from urllib3.util import Retry

from oauthcc import (
    ClientCredentialsAuth,
    ClientCredentialsSession,
    ClientSecretBasic,
    ClientSecretJWT,
    ConfigurationError,
    DPoP,
    InvalidTokenResponse,
    OAuthCCError,
    TokenEndpointUnavailable,
    TokenEndpointUnreachable,
    TokenError,
    TokenObtained,
    TokenRequestDenied,
    fetch_token,
)
from oauthcc.client_auth import ClientSecretPost
from oauthcc.testing import (
    Answer,
    AuthorizationServer,
    ProtectedAPI,
    SeenRequest,
    faults,
    json_answer,
)
from oauthcc.testing.faults import Outcome
from oauthcc.token_request import endpoint as endpoint_module
from oauthcc.token_request import transport
from oauthcc.token_request.endpoint import MAX_PAUSE

from .clock import Clock, skip_pauses
from .internet import SeenEvents
from .odd_server import OddServer
from .sessions import session_for

API = "https://api.example/never-reached"


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds of the pauses between attempts, which take no time."""
    return skip_pauses(monkeypatch)


# -- what is sent ---------------------------------------------------------------------------------


def test_the_token_request_is_that_of_the_rfc_and_has_nothing_else(
    auth: AuthorizationServer,
) -> None:
    with session_for(auth, scope="b a") as session:
        session.tokens.get()
    (seen,) = auth.token_requests
    assert (seen.method, seen.path, seen.query) == ("POST", "/token", "")
    assert seen.form == [("grant_type", "client_credentials"), ("scope", "b a")]
    assert seen.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert seen.headers["Accept"] == "application/json"
    assert "Cookie" not in seen.headers


def test_repeated_parameters_are_sent_one_by_one_and_the_query_of_the_url_is_kept(
    auth: AuthorizationServer,
) -> None:
    session = session_for(
        auth,
        token_url=f"{auth.token_url}?tenant=blue",
        audience="https://api.example/",
        resource=["urn:a", "https://b.example/?x=1&y=2"],
        token_params={"extra": ["1", "2"], "odd": "\u00fc+ &=", "unset": None},  # type: ignore[dict-item]
        client_auth="client_secret_post",
    )
    with session:
        session.tokens.get()
    (seen,) = auth.token_requests
    assert seen.query == "tenant=blue"
    assert sorted(seen.form) == sorted(
        [
            ("grant_type", "client_credentials"),
            ("audience", "https://api.example/"),
            ("resource", "urn:a"),
            ("resource", "https://b.example/?x=1&y=2"),
            ("extra", "1"),
            ("extra", "2"),
            ("odd", "\u00fc+ &="),
            ("client_id", auth.client_id),
            ("client_secret", auth.client_secret),
        ]
    )


def test_the_next_token_request_contains_nothing_of_the_answer_before(
    auth: AuthorizationServer,
) -> None:
    auth.token_fields = {"refresh_token": "for-nobody"}
    with session_for(auth) as session:
        session.tokens.get()
        session.tokens.renew()
        assert not session.tokens.endpoint.token
    first, second = auth.token_requests
    assert first.raw_headers == second.raw_headers
    assert first.body == second.body


@pytest.mark.parametrize("demands_nonce", [False, True])
def test_one_oauthlib_client_writes_a_token_request_and_reads_its_answer(
    auth: AuthorizationServer, monkeypatch: pytest.MonkeyPatch, demands_nonce: bool
) -> None:
    made: list[list[str]] = []

    class Counted(BackendApplicationClient):
        def __init__(self, client_id: str) -> None:
            super().__init__(client_id)
            self.calls: list[str] = []
            made.append(self.calls)

        def prepare_request_body(self, *args: Any, **kwargs: Any) -> Any:
            self.calls.append("write")
            return super().prepare_request_body(*args, **kwargs)

        def parse_request_body_response(self, *args: Any, **kwargs: Any) -> Any:
            self.calls.append("read")
            return super().parse_request_body_response(*args, **kwargs)

    monkeypatch.setattr(endpoint_module, "BackendApplicationClient", Counted)
    scheme = None
    if demands_nonce:
        scheme, auth.token_fields = DPoP(), {"token_type": "DPoP"}
        auth.answer_next(json_answer({"error": "use_dpop_nonce"}, 400, {"DPoP-Nonce": "n"}))
    with session_for(auth, scheme=scheme) as session:
        session.tokens.get()
        assert made == [["write", "write", "read"] if demands_nonce else ["write", "read"]]
        session.tokens.renew()
    # The next token request has a client of its own, so no token stays in one.
    assert made[1:] == [["write", "read"]]


# -- attempts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [502, 503, 504])
def test_no_call_fails_if_the_endpoint_is_unavailable_for_a_moment(
    auth: AuthorizationServer, pauses: list[float], status: int
) -> None:
    events = SeenEvents()
    auth.answer_next(faults.unavailable(status, retry_after=None))
    with ProtectedAPI(auth) as api, session_for(auth, on_event=events) as session:
        assert session.get(f"{api.url}/x").status_code == 200
    event = events.first(TokenObtained)
    assert event.attempts == len(auth.token_requests) == 2
    assert len(pauses) == 1
    assert 0.0 <= pauses[0] <= MAX_PAUSE


def test_an_attempt_follows_a_connection_that_broke(
    auth: AuthorizationServer, pauses: list[float]
) -> None:
    auth.answer_next(faults.reset())
    auth.answer_next(faults.garbage())
    with session_for(auth) as session:
        session.tokens.get()
    assert len(auth.token_requests) == 3
    # Each pause is longer than the one before, up to the jitter.
    assert len(pauses) == 2
    assert pauses[1] >= 0.5


def test_an_unavailable_endpoint_is_asked_three_times(
    auth: AuthorizationServer, pauses: list[float]
) -> None:
    auth.answer_next(faults.unavailable(retry_after=None), None)
    with (
        session_for(auth) as session,
        pytest.raises(
            TokenEndpointUnavailable, match=r"is unavailable.*503.*Try again later"
        ) as caught,
    ):
        session.get(API)
    assert len(auth.token_requests) == 3
    assert len(pauses) == 2
    error = caught.value
    assert (error.status_code, error.error, error.retry_after) == (503, None, None)
    assert error.response is not None
    assert error.response.text == "try later"


@pytest.mark.parametrize("seconds", ["0", "1", "5", " 2 "])
def test_a_short_retry_after_is_waited_for(
    auth: AuthorizationServer, pauses: list[float], seconds: str
) -> None:
    auth.answer_next(faults.unavailable(retry_after=seconds))
    with session_for(auth) as session:
        session.tokens.get()
    assert len(pauses) == 1
    assert float(seconds) <= pauses[0] <= MAX_PAUSE


def test_a_retry_after_may_be_a_date(auth: AuthorizationServer, pauses: list[float]) -> None:
    auth.answer_next(faults.unavailable(retry_after=formatdate(time.time() + 4, usegmt=True)))
    with session_for(auth) as session:
        session.tokens.get()
    assert 0.0 <= pauses[0] <= 4.0


@pytest.mark.parametrize("seconds", [6, 30, 120])
@pytest.mark.parametrize("date", [False, True])
def test_a_long_retry_after_is_in_the_error_and_not_waited_for(
    auth: AuthorizationServer, pauses: list[float], seconds: int, date: bool
) -> None:
    # A date is written in whole seconds, and one or two may have gone by.
    at = formatdate(time.time() + seconds + 1, usegmt=True)
    auth.answer_next(faults.unavailable(retry_after=at if date else str(seconds)), None)
    with (
        session_for(auth) as session,
        pytest.raises(TokenEndpointUnavailable, match=r"again in \d+ seconds, as it") as caught,
    ):
        session.get(API)
    assert not pauses
    assert len(auth.token_requests) == 1
    assert caught.value.retry_after is not None
    assert 0 <= seconds + 1 - caught.value.retry_after < 60


@pytest.mark.parametrize("value", ["soon", "", "-5", "1.5", "9" * 5000, "Thu, 99 Foo 2026"])
def test_a_retry_after_that_is_not_valid_counts_as_none(
    auth: AuthorizationServer, pauses: list[float], value: str
) -> None:
    auth.answer_next(faults.unavailable(retry_after=value))
    with session_for(auth) as session:
        session.tokens.get()
    assert len(auth.token_requests) == 2
    assert pauses[0] <= MAX_PAUSE


@pytest.mark.parametrize(
    "answer",
    [
        (400, "invalid_client"),
        (400, "invalid_scope"),
        (401, "invalid_client"),
        (401, None),
        (401, "server_error"),
        (403, "access_denied"),
        (403, "temporarily_unavailable"),
        (404, None),
        (500, None),
        (501, None),
        (503, "invalid_client"),
    ],
    ids=str,
)
def test_an_error_that_waiting_cannot_correct_is_not_retried(
    auth: AuthorizationServer, pauses: list[float], answer: tuple[int, str | None]
) -> None:
    status, error = answer
    auth.answer_next(json_answer({} if error is None else {"error": error}, status), None)
    with session_for(auth) as session, pytest.raises(OAuthCCError) as caught:
        session.get(API)
    assert type(caught.value) is (TokenEndpointUnavailable if status >= 500 else TokenRequestDenied)
    # A 503 is retried even if its error is that of a refusal.
    assert len(auth.token_requests) == (3 if status == 503 else 1)
    assert len(pauses) == len(auth.token_requests) - 1


def test_a_refusal_after_a_failed_attempt_ends_the_fetch(
    auth: AuthorizationServer, pauses: list[float]
) -> None:
    auth.answer_next(faults.unavailable(retry_after=None))
    auth.refuse_next(error="invalid_scope", description="no such scope", status=400)
    with (
        session_for(auth, scope="nope") as session,
        pytest.raises(TokenRequestDenied, match="Check the scope: 'nope'") as caught,
    ):
        session.get(API)
    assert len(auth.token_requests) == 2
    assert caught.value.error == "invalid_scope"
    assert caught.value.error_description == "no such scope"
    assert caught.value.status_code == 400


def test_no_pause_goes_beyond_the_deadline(auth: AuthorizationServer, pauses: list[float]) -> None:
    auth.answer_next(faults.unavailable(retry_after="4"), None)
    with session_for(auth) as session:
        endpoint = session.tokens.endpoint
        with pytest.raises(TokenEndpointUnavailable):
            endpoint.fetch(auth.client_secret, b"", attempts=3, deadline=time.monotonic() + 3.5)
    assert not pauses
    assert len(auth.token_requests) == 1


NO_TIME = pytest.mark.parametrize(
    "retry_after", [None, "0", "soon", "Wed, 21 Oct 2015 07:28:00 GMT"]
)


@NO_TIME
def test_a_server_that_limits_requests_and_names_no_time_is_asked_once(
    auth: AuthorizationServer, pauses: list[float], retry_after: str | None
) -> None:
    auth.answer_next(faults.unavailable(429, retry_after=retry_after), None)
    with session_for(auth) as session, pytest.raises(TokenEndpointUnavailable, match="429"):
        session.get(API)
    assert (len(auth.token_requests), pauses) == (1, [])


@pytest.mark.unmeasured
@NO_TIME
def test_a_server_that_limits_requests_and_names_no_time_is_asked_with_growing_pauses(
    auth: AuthorizationServer, pauses: list[float], retry_after: str | None
) -> None:
    clock = Clock().install()
    auth.answer_next(faults.unavailable(429, retry_after=retry_after), None)
    with session_for(auth) as session:
        asked = list[int]()
        for _ in range(600):
            with pytest.raises(TokenEndpointUnavailable, match="429"):
                session.get(API)
            asked.append(len(auth.token_requests))
            clock.advance(1.0)
        assert asked[29] <= 6
        assert asked[599] <= 18
        auth.answer_normally()
        clock.advance(61)
        session.tokens.get()
    assert pauses == []


def test_a_server_that_limits_requests_is_asked_again_when_it_says(
    auth: AuthorizationServer, pauses: list[float]
) -> None:
    auth.answer_next(faults.unavailable(429, retry_after="2"))
    with session_for(auth) as session:
        session.tokens.get()
    assert len(auth.token_requests) == 2
    assert pauses[0] >= 2


def test_a_403_without_an_error_ends_the_fetch_and_does_not_count_as_a_refusal(
    auth: AuthorizationServer, pauses: list[float]
) -> None:
    auth.answer_next(faults.html(403), None)
    with (
        session_for(auth) as session,
        pytest.raises(TokenEndpointUnavailable, match="403 with text/html and no error"),
    ):
        session.get(API)
    assert (len(auth.token_requests), pauses) == (1, [])


FORCED = {"backoff_factor": 0, "status_forcelist": [503]}
POST = {"allowed_methods": None}  # all methods
#: A policy of the user's adapter, and how many token requests a 503, or a reset, costs at most.
POLICIES: dict[str, tuple[Any, int, int]] = {
    "none": (0, 3, 3),
    "a number": (3, 3, 3),
    "of GET": (Retry(5, **FORCED), 3, 3),
    "of POST": (Retry(4, **FORCED, **POST), 5, 5),
    "of POST, named": (Retry(1, **FORCED, allowed_methods={"POST"}), 2, 2),
    "of POST, but no status": (Retry(4, backoff_factor=0, **POST), 3, 5),
    "of POST, but no read": (Retry(4, read=False, **FORCED, **POST), 5, 3),
    "of POST, but zero reads": (Retry(4, read=0, **FORCED, **POST), 5, 3),
    "of POST, but zero statuses": (Retry(4, status=0, **FORCED, **POST), 3, 5),
    "of POST, answers returned": (Retry(2, **FORCED, **POST, raise_on_status=False), 3, 3),
    "of POST, none left": (Retry(0, **FORCED, **POST, raise_on_status=False), 3, 3),
    "connections only": (Retry(None, connect=1), 3, 3),
    "switched off": (Retry(False), 3, 3),
}


@pytest.mark.parametrize("on", ["session", "endpoint"])
@pytest.mark.parametrize("name", POLICIES)
def test_our_attempts_are_made_unless_the_adapter_repeats_a_post_after_that_fault(
    auth: AuthorizationServer, pauses: list[float], name: str, on: str
) -> None:
    policy, after_503, after_reset = POLICIES[name]
    for fault, made in ((faults.unavailable(503, None), after_503), (faults.reset(), after_reset)):
        auth.forget()
        auth.answer_next(fault, None)
        with session_for(auth) as session:
            target: Any = session if on == "session" else session.tokens.endpoint
            target.mount("http://", HTTPAdapter(max_retries=policy))
            with pytest.raises(TokenEndpointUnavailable):
                session.get(API)
        assert len(auth.token_requests) == made, fault
        auth.answer_normally()
    assert len(pauses) in {0, 2, 4}


@pytest.mark.parametrize(
    ("policy", "seconds", "requests_made"),
    [(Retry(2, allowed_methods=None), "0", 3), (Retry(2), "0", 3), (3, "0", 3)],
)
def test_a_retry_after_that_the_adapter_obeys_is_not_obeyed_twice(
    auth: AuthorizationServer, pauses: list[float], policy: Any, seconds: str, requests_made: int
) -> None:
    auth.answer_next(faults.unavailable(503, seconds), None)
    with session_for(auth) as session:
        session.mount("http://", HTTPAdapter(max_retries=policy))
        with pytest.raises(TokenEndpointUnavailable):
            session.get(API)
    assert len(auth.token_requests) == requests_made


@pytest.mark.parametrize(("policy", "ours"), [(0, 2), (2, 0), (Retry(0, connect=2), 2)])
def test_refused_connections_are_tried_again_by_the_adapter_or_by_us(
    pauses: list[float], policy: Any, ours: int
) -> None:
    with AuthorizationServer() as gone:
        url = gone.token_url
    with session_for(gone, token_url=url) as session:
        session.mount("http://", HTTPAdapter(max_retries=policy))
        with pytest.raises(TokenEndpointUnreachable):
            session.get(API)
    assert len(pauses) == ours


def test_a_body_that_breaks_off_is_fetched_again_whatever_the_adapter_repeats(
    auth: AuthorizationServer, pauses: list[float]
) -> None:
    # An adapter has returned the answer by then.
    auth.answer_next(faults.truncated())
    with session_for(auth) as session:
        retry = Retry(4, backoff_factor=0, allowed_methods=None)
        session.mount("http://", HTTPAdapter(max_retries=retry))
        session.tokens.get()
    assert (len(auth.token_requests), len(pauses)) == (2, 1)


def test_an_adapter_that_raises_an_error_of_its_own_does_not_end_our_attempts(
    auth: AuthorizationServer, pauses: list[float]
) -> None:
    class Flaky(HTTPAdapter):
        faults = [requests.ConnectionError("no route"), requests.ConnectionError()]  # noqa: RUF012

        def send(self, *args: Any, **kwargs: Any) -> requests.Response:
            if self.faults:
                raise self.faults.pop()
            return super().send(*args, **kwargs)

    with session_for(auth) as session:
        session.mount("http://", Flaky(max_retries=3))
        session.tokens.get()
    assert len(pauses) == 2


@pytest.mark.parametrize(("left", "requests_made"), [(1.0, 1), (1.25, 2)])
def test_no_attempt_begins_at_the_deadline_or_later(
    auth: AuthorizationServer, monkeypatch: pytest.MonkeyPatch, left: float, requests_made: int
) -> None:
    now = [1000.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    stopped = SimpleNamespace(monotonic=lambda: now[0], sleep=sleep)
    monkeypatch.setattr(endpoint_module, "time", stopped)
    monkeypatch.setattr(transport, "time", stopped)
    auth.answer_next(faults.unavailable(503, "1"), None)
    with session_for(auth) as session, pytest.raises(TokenEndpointUnavailable):
        session.tokens.endpoint.fetch("demo-secret", b"", attempts=2, deadline=1000.0 + left)
    assert len(auth.token_requests) == requests_made


# -- compliance hooks -----------------------------------------------------------------------------


@pytest.mark.parametrize("fix", [ebay_compliance_fix, plentymarkets_compliance_fix])
@pytest.mark.parametrize(
    "answer", [faults.html(500), faults.html(404), faults.empty(403)], ids=lambda a: str(a.status)
)
def test_a_fix_that_fails_on_an_error_page_does_not_hide_the_page(
    auth: AuthorizationServer, fix: Any, answer: Answer
) -> None:
    auth.answer_next(answer, None)
    with session_for(auth) as session:
        fix(session.tokens.endpoint)
        with pytest.raises(OAuthCCError, match=f"answered {answer.status} with") as caught:
            session.get(API)
    assert caught.value.response is not None
    assert caught.value.response.status_code == answer.status


def test_the_error_of_a_hook_that_fails_on_a_good_answer_names_the_hook(
    auth: AuthorizationServer,
) -> None:
    class Fix:
        def __call__(self, response: requests.Response) -> requests.Response:
            raise LookupError(response.text)

    def fix(response: requests.Response) -> requests.Response:
        return Fix()(response)

    for hook, name in ((Fix(), "Fix"), (fix, "fix"), (functools.partial(fix), "partial")):
        with session_for(auth) as session:
            session.tokens.endpoint.register_compliance_hook("access_token_response", hook)
            with pytest.raises(
                InvalidTokenResponse,
                match=f"hook .*{name} raised LookupError.*check that token_url",
            ) as caught:
                session.get(API)
            assert caught.value.status_code == 200


@pytest.mark.parametrize("returned", [None, {}, "text", True])
def test_the_error_of_a_hook_that_does_not_return_the_response_names_the_hook(
    auth: AuthorizationServer, returned: Any
) -> None:
    def forgetful(response: requests.Response) -> Any:
        return returned

    for answer in (None, faults.html(503)):
        with session_for(auth) as session:
            if answer is not None:
                auth.answer_next(answer)
            session.tokens.endpoint.register_compliance_hook("access_token_response", forgetful)
            message = f"forgetful returned {type(returned).__name__}.*must return the response"
            with pytest.raises(ConfigurationError, match=message):
                session.get(API)


def test_hooks_may_change_url_headers_and_body_of_the_request(auth: AuthorizationServer) -> None:
    def fix(url: str, headers: Any, kwargs: Any) -> Any:
        assert isinstance(kwargs["data"], dict)
        data = {**kwargs["data"], "realm": "blue", "several": ["1", "2"]}
        return f"{url}?hooked=1", {**headers, "X-Tenant": "blue"}, {"data": data}

    def as_text(url: str, headers: Any, kwargs: Any) -> Any:
        return url, headers, {"data": "grant_type=client_credentials&of=text"}

    def as_octets(url: str, headers: Any, kwargs: Any) -> Any:
        return url, headers, {"data": b"grant_type=client_credentials&of=octets"}

    with session_for(auth, client_auth=ClientSecretPost()) as session:
        session.tokens.endpoint.register_compliance_hook("access_token_request", fix)
        session.tokens.get()
    (seen,) = auth.token_requests
    assert seen.query == "hooked=1"
    assert seen.headers["X-Tenant"] == "blue"
    assert dict(seen.form)["client_secret"] == auth.client_secret
    assert [value for name, value in seen.form if name == "several"] == ["1", "2"]
    for hook, word in ((as_text, "text"), (as_octets, "octets")):
        with session_for(auth) as session:
            session.tokens.endpoint.register_compliance_hook("access_token_request", hook)
            session.tokens.get()
        assert dict(auth.token_requests[-1].form)["of"] == word


def test_a_hook_may_remove_the_body(auth: AuthorizationServer) -> None:
    with session_for(auth) as session:
        session.tokens.endpoint.register_compliance_hook(
            "access_token_request", lambda url, headers, kwargs: (url, headers, {})
        )
        with pytest.raises(TokenRequestDenied):
            session.tokens.get()
    assert [seen.body for seen in auth.token_requests] == [b""]


def test_a_hook_gets_repeated_parameters_as_a_list_of_pairs(auth: AuthorizationServer) -> None:
    seen: list[Any] = []

    def look(url: str, headers: Any, kwargs: Any) -> Any:
        seen.append(kwargs["data"])
        return url, headers, kwargs

    with session_for(auth, resource=["urn:a", "urn:b"]) as session:
        session.tokens.endpoint.register_compliance_hook("access_token_request", look)
        session.tokens.get()
    assert isinstance(seen[0], list)
    sent = parse_qsl(auth.token_requests[0].body.decode())
    assert sorted(sent) == sorted(seen[0])
    assert ("resource", "urn:b") in sent


def test_a_hook_cannot_send_the_secret_over_plain_http(auth: AuthorizationServer) -> None:
    with session_for(auth) as session:
        for url in ("http://as.example/token", "/token", "https://me:pw@as.example/token"):
            hook = functools.partial(moved, url)
            session.tokens.endpoint.compliance_hook["access_token_request"] = {hook}
            with pytest.raises(ConfigurationError, match="hook set"):
                session.tokens.get()
            session.tokens.forget()
    assert not auth.requests


def moved(to: str, url: str, headers: Any, kwargs: Any) -> Any:
    return to, headers, kwargs


@pytest.mark.parametrize(
    ("hook", "message"),
    [
        (lambda url, headers, kwargs: None, r"lambda> returned NoneType.*must return the URL"),
        (lambda url, headers, kwargs: (url, headers), r"lambda> returned tuple instead of the"),
        (lambda url, headers, kwargs: (url, headers, None), r"lambda> returned tuple"),
        (lambda url, headers, kwargs: 7, r"lambda> returned int.*must return the URL"),
        (lambda url, headers: None, r"lambda> raised TypeError"),
        (lambda url, headers, kwargs: (url, headers, {**kwargs, "verify": False}), r"set verify"),
        (lambda url, headers, kwargs: (url, headers, {**kwargs, "auth": 1}), r"hook set auth"),
    ],
    ids=["None", "two", "no data", "int", "takes too little", "sets verify", "sets auth"],
)
def test_a_hook_that_does_what_it_must_not_is_a_configuration_error(
    auth: AuthorizationServer, hook: Any, message: str
) -> None:
    with session_for(auth) as session:
        session.tokens.endpoint.register_compliance_hook("access_token_request", hook)
        with pytest.raises(ConfigurationError, match=message):
            session.get(API)
    assert not auth.requests


def test_an_error_of_ours_that_a_hook_raises_is_raised_unchanged(auth: AuthorizationServer) -> None:
    def fails(url: str, headers: Any, kwargs: Any) -> Any:
        raise ConfigurationError("set the tenant")

    with session_for(auth) as session:
        session.tokens.endpoint.register_compliance_hook("access_token_request", fails)
        with pytest.raises(ConfigurationError, match=r"^set the tenant$"):
            session.get(API)


# -- the function ---------------------------------------------------------------------------------


def test_fetch_token_returns_a_token_or_raises_an_error_with_what_the_server_answered(
    auth: AuthorizationServer,
) -> None:
    token = fetch_token(auth.token_url, auth.client_id, auth.client_secret, "a b", timeout=30)
    assert (token.access_token, token.scope) == (auth.issued[0], "a b")
    with pytest.raises(TokenRequestDenied) as caught:
        fetch_token(auth.token_url, auth.client_id, "wrong", verify=False)
    assert (caught.value.status_code, caught.value.error) == (401, "invalid_client")
    auth.answer_next(faults.html(404))
    with pytest.raises(TokenRequestDenied, match="404 with text/html and no error") as denied:
        fetch_token(auth.token_url, auth.client_id, auth.client_secret)
    assert denied.value.error is None
    assert denied.value.response is not None
    assert denied.value.response.request.body is None
    assert "Authorization" not in denied.value.response.request.headers

    body = {"error": "invalid_target", "error_description": "no", "error_uri": "https://as/e"}
    auth.answer_next(json_answer({**body, "hint": "audience"}, 400))
    with pytest.raises(TokenRequestDenied) as caught:
        fetch_token(auth.token_url, auth.client_id, auth.client_secret)
    error = caught.value
    assert (error.error, error.error_description, error.error_uri) == tuple(body.values())
    assert error.response is not None
    assert json.loads(error.response.text)["hint"] == "audience"


@pytest.mark.parametrize("name", ["X-Tenant", "x-tenant"])
def test_fetch_token_sends_the_headers_that_it_is_given(
    auth: AuthorizationServer, name: str
) -> None:
    client = auth.token_url, auth.client_id, auth.client_secret
    fetch_token(*client, headers={name: "blue", "Accept-Language": "de"})
    (seen,) = auth.token_requests
    assert (seen.headers["X-Tenant"], seen.headers["Accept-Language"]) == ("blue", "de")
    assert (seen.headers["Accept"], seen.client_id) == ("application/json", auth.client_id)
    for headers in (None, {}):
        assert fetch_token(*client, headers=headers).access_token == auth.issued[-1]


def test_fetch_token_uses_hooks_in_a_mapping(auth: AuthorizationServer) -> None:
    def request(url: str, headers: Any, kwargs: Any) -> Any:
        return url, {**headers, "X-Hooked": "1"}, kwargs

    def answer(response: requests.Response) -> requests.Response:
        response._content = json.dumps({**response.json(), "hooked": True}).encode()
        return response

    hooks = {"access_token_request": request, "access_token_response": answer}
    token = fetch_token(auth.token_url, auth.client_id, auth.client_secret, hooks=hooks)
    assert auth.token_requests[0].headers["X-Hooked"] == "1"
    assert token.extra["hooked"] is True


def test_fetch_token_uses_a_compliance_fix(auth: AuthorizationServer) -> None:
    auth.token_fields = {"token_type": "Application Access Token"}
    client = auth.token_url, auth.client_id, auth.client_secret
    advice = r"pass hooks=ebay_compliance_fix to fetch_token\(\)"
    with pytest.raises(InvalidTokenResponse, match=advice):
        fetch_token(*client)
    assert fetch_token(*client, hooks=ebay_compliance_fix).access_token == auth.issued[-1]


@pytest.mark.parametrize(
    "hooks",
    [
        *("access_token_response", 5, [ebay_compliance_fix], [("access_token_response", id)]),
        *({"token_response": id}, {"access_token_response": [id]}, {"access_token_response": None}),
        {"access_token_response": {}},
        {1: id},
    ],
)
def test_hooks_that_cannot_be_used_are_a_configuration_error(
    auth: AuthorizationServer, hooks: Any
) -> None:
    with pytest.raises(ConfigurationError, match="hooks must be a mapping, such as"):
        fetch_token(auth.token_url, auth.client_id, auth.client_secret, hooks=hooks)
    assert not auth.requests


@pytest.mark.parametrize(
    "hook", [lambda response: response.json(), lambda url, headers, kwargs: (url, headers, kwargs)]
)
def test_a_hook_that_is_given_without_its_type_is_a_configuration_error(
    auth: AuthorizationServer, hook: Any
) -> None:
    with pytest.raises(
        ConfigurationError, match="The types are access_token_request and access_token_response"
    ):
        fetch_token(auth.token_url, auth.client_id, auth.client_secret, hooks=hook)
    assert not auth.requests


@pytest.mark.parametrize("headers", ["X-Tenant: blue", 5, [("X-Tenant", "blue")]])
def test_headers_that_are_no_mapping_are_a_configuration_error(
    auth: AuthorizationServer, headers: Any
) -> None:
    with pytest.raises(ConfigurationError, match="headers must be a mapping"):
        fetch_token(auth.token_url, auth.client_id, auth.client_secret, headers=headers)
    assert not auth.requests


# -- a JSON body, and another grant type -----------------------------------------------------------

METHODS: dict[str, Any] = {
    "basic": ClientSecretBasic(),
    "post": ClientSecretPost(),
    "jwt": ClientSecretJWT(),
}


@pytest.fixture
def odd() -> Iterator[OddServer]:
    """Run an authorization server that wants JSON."""
    with OddServer(body="json") as server:
        yield server


@pytest.mark.parametrize("name", METHODS)
def test_a_token_request_in_json_has_the_parameters_of_the_form(odd: OddServer, name: str) -> None:
    secret = 's"e\\cr=e&t ü' + "x" * 40
    for body in ("form", "json"):
        with session_for(
            odd,
            "b a",
            client_secret=secret,
            client_auth=METHODS[name],
            token_body=body,
            audience="https://a b",
            resource=["urn:a", "urn:b"],
            token_params={"tenant": "blau & grün", "several": ["2", "1"]},
        ) as session:
            odd.answer_next(json_answer({"access_token": "t", "token_type": "Bearer"}))
            session.tokens.get()
    form, sent = odd.sent
    assert form.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert sent.headers["Content-Type"] == "application/json"
    assert int(sent.headers["Content-Length"]) == len(sent.body)
    assert form.headers.get("Authorization") == sent.headers.get("Authorization")
    found = {pair[0]: [v for n, v in form.form if n == pair[0]] for pair in form.form}
    expected = {name: some if len(some) > 1 else some[0] for name, some in found.items()}
    members = sent.json()
    for one in (expected, members):
        assert bool(one.pop("client_assertion", None)) is (name == "jwt")
    assert members == expected
    assert members["grant_type"] == "client_credentials"
    assert members["several"] == ["2", "1"]
    assert members["resource"] == ["urn:a", "urn:b"]
    assert members.get("client_secret") == (secret if name == "post" else None)


def test_a_hook_may_change_the_parameters_of_a_request_in_json(odd: OddServer) -> None:
    def fix(url: str, headers: Any, kwargs: Any) -> Any:
        return url, headers, {"data": {**kwargs["data"], "scopes": ["a", "b"], "realm": "blue"}}

    with session_for(odd, token_body="json") as session:
        session.tokens.endpoint.register_compliance_hook("access_token_request", fix)
        session.tokens.get()
    assert odd.members == [
        {"grant_type": "client_credentials", "scopes": ["a", "b"], "realm": "blue"}
    ]


@pytest.mark.parametrize(
    "turn", [dict, json.dumps, lambda v: f"\n {json.dumps(v)}", lambda v: json.dumps(v).encode()]
)
def test_a_hook_may_write_the_json_by_itself(odd: OddServer, turn: Callable[[Any], Any]) -> None:
    def fix(url: str, headers: Any, kwargs: Any) -> Any:
        return url, headers, {"data": turn({**kwargs["data"], "n": 1, "inner": {"a": [True]}})}

    with session_for(odd, token_body="json") as session:
        session.tokens.endpoint.register_compliance_hook("access_token_request", fix)
        session.tokens.get()
    assert odd.members == [{"grant_type": "client_credentials", "n": 1, "inner": {"a": [True]}}]


def test_a_hook_that_sets_what_json_cannot_express_is_an_error(auth: AuthorizationServer) -> None:
    with session_for(auth, token_body="json") as session:
        session.tokens.endpoint.register_compliance_hook(
            "access_token_request", lambda url, headers, _: (url, headers, {"data": {"a": b"1"}})
        )
        with pytest.raises(ConfigurationError, match="data that JSON cannot express"):
            session.tokens.get()
    assert auth.token_requests == []


@pytest.mark.parametrize(("data", "sent"), [({"data": '[{"a": "=&"}]'}, [{"a": "=&"}]), ({}, {})])
def test_a_hook_may_write_a_list_or_remove_everything(
    auth: AuthorizationServer, data: Any, sent: Any
) -> None:
    with session_for(auth, token_body="json") as session:
        session.tokens.endpoint.register_compliance_hook(
            "access_token_request", lambda url, headers, _: (url, headers, data)
        )
        with pytest.raises(TokenRequestDenied):
            session.tokens.get()
    assert auth.token_requests[0].json() == sent


def echo_of(text: str) -> list[Answer]:
    """Return answers that repeat a text in several ways."""
    return [
        json_answer({"error": "invalid_request", "error_description": text}, 400),
        json_answer({"message": text}, 400),
        json_answer({"detail": {"you sent": [text]}, "error": {"x": text}}, 403),
        json_answer({"error": text}, 401),
        json_answer({"received": json.dumps(text)}, 500),
        json_answer({"received": text, "token_type": "Bearer"}, 200),
        Answer(400, {"Content-Type": "text/plain", "X-Echo": text}, text.encode()),
        Answer(503, {"Content-Type": "text/html"}, html.escape(text).encode()),
        Answer(302, {"Location": f"/login?{quote(text)}"}, b""),
    ]


SECRETS: dict[str, dict[str, Any]] = {
    "secret": {"client_secret": 'hunt"er\\two/ü&=+ %41', "client_auth": ClientSecretPost()},
    "assertion": {"client_secret": "x" * 40, "client_auth": ClientSecretJWT()},
    **{
        f"parameter {name}": {"token_params": {name: "hunter-the-second"}}
        for name in (
            *("apikey", "api_key", "apiKey", "x-api-key", "refresh_token", "password", "secret"),
            *("assertion", "subject_token", "app_secret", "secretKey", "passphrase"),
            *("pwd", "user_pwd", "passcode", "otp", "credential", "userCredentials", "x-signature"),
        )
    },
    "hook": {},
    "header X-Api-Key": {},
    "header Ocp-Apim-Subscription-Key": {},
    "several": {"token_params": {"apikey": ["hunter-the-second", "hunter-the-third"]}},
}


def written(secret: str) -> set[str]:
    """Return how a secret looks in a form, in a URL and in JSON."""
    return {secret, quote(secret), quote_plus(secret), json.dumps(secret)[1:-1]}


class Repeating(OddServer):
    """A server that repeats each token request in an error."""

    number = 0

    def respond(self, request: SeenRequest, closing: Callable[[], bool]) -> Outcome:
        """Return the error of the current number."""
        self.sent.append(request)
        sent = [*(value for _, value in request.raw_headers), request.body.decode()]
        return echo_of(" ".join(sent))[self.number]


@pytest.mark.parametrize("body", ["form", "json"])
@pytest.mark.parametrize("number", range(len(echo_of(""))))
@pytest.mark.parametrize("name", SECRETS)
def test_no_secret_of_a_token_request_is_shown_if_the_server_repeats_it(
    pauses: list[float], caplog: pytest.LogCaptureFixture, name: str, number: int, body: Any
) -> None:
    caplog.set_level(logging.DEBUG, "oauthcc")
    options, events = SECRETS[name], SeenEvents()
    header = name.partition("header ")[2]

    def add_a_secret(url: str, headers: Any, kwargs: Any) -> Any:
        return url, headers, {"data": {**kwargs["data"], "client_secret": "hunter-of-a-hook"}}

    with (
        Repeating() as server,
        session_for(server, token_body=body, on_event=events, **options) as session,
    ):
        server.number = number
        if header:
            session.tokens.endpoint.headers[header] = "hunter-of-a-header"
        if name == "hook":
            session.tokens.endpoint.register_compliance_hook("access_token_request", add_a_secret)
        with pytest.raises(TokenError) as caught:
            session.tokens.get()
        sent = server.sent[0]
    members = sent.json() if body == "json" else dict(sent.form)
    secrets = [sent.headers[header]] if header else []
    names = {"client_secret", "client_assertion", *options.get("token_params", ())}
    texts = [members[one] for one in names & members.keys()]
    secrets += [one for some in texts for one in ([some] if isinstance(some, str) else some)]
    assert secrets
    error, response = caught.value, caught.value.response
    assert response is not None
    shown = f"{error}{error!r}{error.args}{vars(error)}{response.text}{response.headers}"
    shown += f"{response.url}{response.reason}{events!r}{caplog.text}"
    octets = pickle.dumps(error)
    for text in set().union(*map(written, secrets)):
        assert text not in shown
        assert text.encode() not in octets


ODD: dict[str, dict[str, Any]] = {
    "json": {"token_body": "json"},
    "grant type": {"token_params": {"grant_type": "account_credentials", "account_id": "1"}},
    "both": {
        "token_body": "json",
        "token_params": {"grant_type": "urn:ibm:apikey", "apikey": "k" * 20},
        "resource": ["00000003-0000-0ff1-ce00-000000000000", "grün"],
        "client_auth": "client_secret_post",
    },
}


def _session(server: AuthorizationServer, **options: Any) -> ClientCredentialsSession:
    return session_for(server, trust_env=False, **options)


def _plain(server: AuthorizationServer, **options: Any) -> requests.Session:
    session = requests.Session()
    client = server.token_url, server.client_id, server.client_secret
    session.auth = ClientCredentialsAuth(*client, **options)
    return session


KINDS: dict[str, Callable[..., requests.Session]] = {
    "session": _session,
    "auth": _plain,
    "copy": lambda server, **options: copy.copy(_session(server, **options)),
    "deepcopy": lambda server, **options: copy.deepcopy(_session(server, **options)),
    "pickle": lambda server, **options: pickle.loads(pickle.dumps(_session(server, **options))),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ODD)
def test_an_odd_server_is_asked_in_its_way_also_after_a_401(name: str, kind: str) -> None:
    options = ODD[name]
    grant_type = options.get("token_params", {}).get("grant_type", "client_credentials")
    body = options.get("token_body", "form")
    with OddServer(body=body, grant_type=grant_type) as odd, ProtectedAPI(odd) as api:
        with KINDS[kind](odd, **options) as session:
            assert session.get(f"{api.url}/x").status_code == 200
            odd.revoke_all()
            assert session.post(f"{api.url}/x", data=b"x").status_code == 200
        assert [seen.token for seen in api.requests] == [odd.issued[n] for n in (0, 0, 1)]
        assert len(odd.sent) == 2
        if body == "json":
            assert [one["grant_type"] for one in odd.members] == [grant_type] * 2
            assert [one.get("resource") for one in odd.members] == [options.get("resource")] * 2


@pytest.mark.parametrize("name", ODD)
def test_another_api_of_an_odd_server_has_its_body_and_grant_type(name: str) -> None:
    options = ODD[name]
    grant_type = options.get("token_params", {}).get("grant_type", "client_credentials")
    with OddServer(body=options.get("token_body", "form"), grant_type=grant_type) as odd:
        with ProtectedAPI(odd) as api, session_for(odd, api_url=API, **options) as session:
            session.add_api(api.url, scope="s", resource="b")
            assert session.get(f"{api.url}/x").status_code == 200
        (sent,) = odd.sent
        members = dict(sent.form) or sent.json()
    secret = {"client_id", "client_secret"} if "client_auth" in options else set()
    assert members.keys() == {"grant_type", "scope", "resource", *secret}


def test_the_grant_type_of_a_session_belongs_to_its_server(odd: OddServer) -> None:
    odd.body, odd.grant_type = "form", "account_credentials"
    with (
        AuthorizationServer() as other,
        session_for(
            odd, token_params={"grant_type": "account_credentials", "account_id": "1"}
        ) as session,
    ):
        other.add_client(odd.client_id, odd.client_secret)
        same = session.add_api("https://a.example", token_params={"tenant": "blue"})
        own = session.add_api("https://b.example", token_params={"grant_type": "own"})
        of_other = session.add_api("https://c.example", token_url=other.token_url)
        same.get()
        of_other.get()
        with pytest.raises(TokenRequestDenied, match="unsupported_grant_type"):
            own.get()
        for wrong in ("tenant=blue", 5, [("tenant", "blue")]):
            with pytest.raises(ConfigurationError, match="token_params must be a mapping"):
                session.add_api("https://d.example", token_params=wrong)  # type: ignore[arg-type]
    assert [sorted(sent.form) for sent in odd.sent] == [
        [("grant_type", "account_credentials"), ("tenant", "blue")],
        [("grant_type", "own")],
    ]
    assert other.token_requests[0].form == [("grant_type", "client_credentials")]


@pytest.mark.parametrize(
    "resource",
    [
        *("00000003-0000-0ff1-ce00-000000000000", "urn:dtaccount:1", "https://a.example/x?y=1"),
        *("grün/ß", "a,b;c", "%20", ["a", "urn:b"]),
    ],
)
@pytest.mark.parametrize("body", ["form", "json"])
def test_a_resource_may_be_any_printable_text(body: Any, resource: Any) -> None:
    with (
        OddServer(body=body) as odd,
        session_for(odd, token_body=body, resource=resource) as session,
    ):
        session.tokens.get()
        given = [resource] if isinstance(resource, str) else resource
        found = (
            odd.members[0]["resource"]
            if body == "json"
            else [value for name, value in odd.sent[0].form if name == "resource"]
        )
    assert found == (resource if body == "json" else given)
