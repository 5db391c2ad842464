"""The token request: what is sent, how often, with which secret, and how hooks may change it."""

from __future__ import annotations

import functools
import json
import time
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
import requests
from requests.adapters import HTTPAdapter
from requests_oauthlib.compliance_fixes import ebay_compliance_fix, plentymarkets_compliance_fix
from urllib3.util import Retry

from oauthcc import (
    ClientCredentialsSession,
    ConfigurationError,
    InvalidTokenResponse,
    OAuthCCError,
    TokenEndpointUnavailable,
    TokenEndpointUnreachable,
    TokenObtained,
    TokenRequestDenied,
    fetch_token,
)
from oauthcc.client_auth import ClientSecretPost
from oauthcc.testing import Answer, AuthorizationServer, ProtectedAPI, faults, json_answer
from oauthcc.token_request.endpoint import MAX_PAUSE
from tests.internet import Told

from .inside import state_of

API = "https://api.example/never-reached"


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between attempts, none of which is really made."""
    made: list[float] = []
    monkeypatch.setattr("oauthcc.token_request.endpoint.time.sleep", made.append)
    return made


def session_for(auth: AuthorizationServer, **options: Any) -> ClientCredentialsSession:
    given = {"client_id": auth.client_id, "client_secret": auth.client_secret, **options}
    session = ClientCredentialsSession(auth.token_url, **given)
    session.trust_env = False
    return session


def hooks_of(session: ClientCredentialsSession) -> Any:
    """Give the endpoint, whose types do not tell of hooks on the token request."""
    return session.tokens.endpoint


# -- what is sent ---------------------------------------------------------------------------------


def test_the_request_is_that_of_the_rfc_and_holds_nothing_else(auth: AuthorizationServer) -> None:
    with session_for(auth, scope="b a") as session:
        session.tokens.get()
    (seen,) = auth.token_requests
    assert (seen.method, seen.path, seen.query) == ("POST", "/token", "")
    assert seen.form == [("grant_type", "client_credentials"), ("scope", "b a")]
    assert seen.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert seen.headers["Accept"] == "application/json"
    assert "Cookie" not in seen.headers


def test_repeated_parameters_stay_apart_and_the_query_of_the_url_stays(
    auth: AuthorizationServer,
) -> None:
    session = ClientCredentialsSession(
        f"{auth.token_url}?tenant=blue",
        auth.client_id,
        auth.client_secret,
        audience="https://api.example/",
        resource=["urn:a", "https://b.example/?x=1&y=2"],
        token_params={"extra": ["1", "2"], "odd": "\u00fc+ &="},
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


def test_no_earlier_token_and_nothing_of_the_answer_goes_along(auth: AuthorizationServer) -> None:
    auth.token_fields = {"refresh_token": "for-nobody"}
    with session_for(auth) as session:
        session.tokens.get()
        session.tokens.renew()
        assert not session.tokens.endpoint.token
    first, second = auth.token_requests
    assert first.raw_headers == second.raw_headers
    assert first.body == second.body


# -- attempts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_an_endpoint_that_is_unwell_for_a_moment_is_not_felt(
    auth: AuthorizationServer, pauses: list[float], status: int
) -> None:
    events = Told()
    auth.answer_next(faults.unavailable(status, retry_after=None))
    with ProtectedAPI(auth) as api, session_for(auth, on_event=events) as session:
        assert session.get(f"{api.url}/x").status_code == 200
    event = events.first(TokenObtained)
    assert event.attempts == len(auth.token_requests) == 2
    assert len(pauses) == 1
    assert 0.0 <= pauses[0] <= MAX_PAUSE


def test_a_connection_that_breaks_is_made_anew(
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


def test_three_attempts_are_enough(auth: AuthorizationServer, pauses: list[float]) -> None:
    auth.answer_next(faults.unavailable(retry_after=None), None)
    with (
        session_for(auth) as session,
        pytest.raises(TokenEndpointUnavailable, match=r"is unwell.*503.*Try later") as caught,
    ):
        session.get(API)
    assert len(auth.token_requests) == 3
    assert len(pauses) == 2
    error = caught.value
    assert (error.status_code, error.error, error.retry_after) == (503, None, None)
    assert error.response is not None
    assert error.response.text == "try later"


@pytest.mark.parametrize("asked", ["0", "1", "5", " 2 "])
def test_a_short_retry_after_is_waited_for(
    auth: AuthorizationServer, pauses: list[float], asked: str
) -> None:
    auth.answer_next(faults.unavailable(retry_after=asked))
    with session_for(auth) as session:
        session.tokens.get()
    assert pauses
    assert pauses[0] >= float(asked)
    assert pauses[0] <= MAX_PAUSE


def test_a_retry_after_that_is_a_date_is_understood(
    auth: AuthorizationServer, pauses: list[float]
) -> None:
    auth.answer_next(faults.unavailable(retry_after=formatdate(time.time() + 4, usegmt=True)))
    with session_for(auth) as session:
        session.tokens.get()
    assert 0.0 <= pauses[0] <= 4.0


@pytest.mark.parametrize("seconds", [6, 30, 120])
@pytest.mark.parametrize("date", [False, True])
def test_a_long_retry_after_is_told_and_not_waited_for(
    auth: AuthorizationServer, pauses: list[float], seconds: int, date: bool
) -> None:
    # A date is written in whole seconds, and one or two may have gone by.
    at = formatdate(time.time() + seconds + 1, usegmt=True)
    auth.answer_next(faults.unavailable(retry_after=at if date else str(seconds)), None)
    with (
        session_for(auth) as session,
        pytest.raises(TokenEndpointUnavailable, match=r"Try in \d+ seconds, as it") as caught,
    ):
        session.get(API)
    assert not pauses
    assert len(auth.token_requests) == 1
    assert caught.value.retry_after is not None
    assert 0 <= seconds + 1 - caught.value.retry_after < 60


@pytest.mark.parametrize("words", ["soon", "", "-5", "1.5", "9" * 5000, "Thu, 99 Foo 2026"])
def test_a_retry_after_that_makes_no_sense_counts_as_none(
    auth: AuthorizationServer, pauses: list[float], words: str
) -> None:
    auth.answer_next(faults.unavailable(retry_after=words))
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
        (403, "access_denied"),
        (404, None),
        (500, None),
        (501, None),
        (503, "invalid_client"),
    ],
    ids=str,
)
def test_what_waiting_cannot_mend_is_asked_once(
    auth: AuthorizationServer, pauses: list[float], answer: tuple[int, str | None]
) -> None:
    status, error = answer
    auth.answer_next(json_answer({} if error is None else {"error": error}, status), None)
    with session_for(auth) as session, pytest.raises(requests.RequestException) as caught:
        session.get(API)
    if status == 503:
        assert isinstance(caught.value, TokenEndpointUnavailable)  # it is the status that counts
        return
    assert len(auth.token_requests) == 1
    assert not pauses


def test_a_refusal_after_an_attempt_that_failed_ends_it(
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


def test_no_pause_reaches_beyond_the_deadline(
    auth: AuthorizationServer, pauses: list[float]
) -> None:
    auth.answer_next(faults.unavailable(retry_after="4"), None)
    with session_for(auth) as session:
        endpoint = session.tokens.endpoint
        with pytest.raises(TokenEndpointUnavailable):
            endpoint.fetch(auth.client_secret, b"", attempts=3, deadline=time.monotonic() + 3.5)
    assert not pauses
    assert len(auth.token_requests) == 1


def test_an_adapter_with_retries_of_its_own_is_the_users_say(
    auth: AuthorizationServer, pauses: list[float]
) -> None:
    theirs = Retry(4, backoff_factor=0, status_forcelist=[503], allowed_methods=None)
    for retry, requests_made in ((theirs, 5), (Retry(None, connect=1), 1), (Retry(0), 3)):
        auth.forget()
        auth.answer_next(faults.unavailable(retry_after=None), None)
        with session_for(auth) as session:
            session.tokens.endpoint.mount("http://", HTTPAdapter(max_retries=retry))
            with pytest.raises(TokenEndpointUnavailable):
                session.get(API)
        assert len(auth.token_requests) == requests_made
        auth.answer_normally()
    assert len(pauses) == 2


def test_the_owners_adapter_with_retries_counts_as_well(
    auth: AuthorizationServer, pauses: list[float]
) -> None:
    auth.answer_next(faults.reset(), None)
    with session_for(auth) as session:
        session.mount("http://", HTTPAdapter(max_retries=Retry(2, backoff_factor=0)))
        with pytest.raises(TokenEndpointUnreachable):
            session.get(API)
    assert not pauses


# -- a rotated secret -----------------------------------------------------------------------------


class Vault:
    """A secret that is rotated while nobody looks; it counts how often it was read."""

    def __init__(self, *secrets: str) -> None:
        self.secrets = list(secrets)
        self.read = 0

    def __call__(self) -> str:
        self.read += 1
        return self.secrets.pop(0) if len(self.secrets) > 1 else self.secrets[0]


def test_a_secret_that_was_rotated_is_read_again_and_tried_once(auth: AuthorizationServer) -> None:
    events = Told()
    vault = Vault("old", auth.client_secret)
    with session_for(auth, client_secret=vault, on_event=events) as session:
        session.tokens.get()
    assert vault.read == len(auth.token_requests) == 2
    event = events.first(TokenObtained)
    assert event.attempts == 2


def test_a_secret_file_that_was_rotated_is_read_again(
    auth: AuthorizationServer, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    file.write_text("old\n")

    def rotate(response: requests.Response) -> requests.Response:
        file.write_text(f"{auth.client_secret}\n")
        return response

    with session_for(auth, client_secret=file) as session:
        hooks_of(session).register_compliance_hook("access_token_response", rotate)
        session.tokens.get()
    assert len(auth.token_requests) == 2


def test_a_secret_that_did_not_change_is_not_tried_again(auth: AuthorizationServer) -> None:
    vault = Vault("wrong")
    for secret in (vault, "wrong"):
        with (
            session_for(auth, client_secret=secret) as session,
            pytest.raises(TokenRequestDenied, match="Check client_id, client_secret"),
        ):
            session.get(API)
    assert vault.read == 2
    assert len(auth.token_requests) == 2


def test_a_secret_that_changes_every_time_is_tried_twice(auth: AuthorizationServer) -> None:
    vault = Vault("one", "two", "three", "four")
    with session_for(auth, client_secret=vault) as session, pytest.raises(TokenRequestDenied):
        session.get(API)
    assert len(auth.token_requests) == 2


def test_another_refusal_is_no_reason_to_read_the_secret_again(auth: AuthorizationServer) -> None:
    vault = Vault(auth.client_secret, "rotated")
    auth.refuse_next(error="invalid_scope", status=400)
    with session_for(auth, client_secret=vault) as session, pytest.raises(TokenRequestDenied):
        session.get(API)
    assert vault.read == 1


# -- compliance hooks -----------------------------------------------------------------------------


def test_the_fix_for_ebay_works_as_it_is(auth: AuthorizationServer) -> None:
    auth.token_fields = {"token_type": "Application Access Token"}
    with ProtectedAPI(auth) as api, session_for(auth) as session:
        with pytest.raises(InvalidTokenResponse, match="only Bearer can be used here"):
            session.get(f"{api.url}/x")
        state_of(session.tokens).failure = None
        ebay_compliance_fix(session.tokens.endpoint)
        assert session.get(f"{api.url}/x").status_code == 200


def test_the_fix_for_plentymarkets_works_as_it_is(auth: AuthorizationServer) -> None:
    auth.answer_next(
        json_answer({"accessToken": "in-camel-case", "tokenType": "Bearer", "expiresIn": 86400})
    )
    with session_for(auth) as session:
        plentymarkets_compliance_fix(session.tokens.endpoint)
        token = session.tokens.get()
    assert (token.access_token, token.lifetime) == ("in-camel-case", 86400)


@pytest.mark.parametrize("fix", [ebay_compliance_fix, plentymarkets_compliance_fix])
@pytest.mark.parametrize("answer", [faults.html(500), faults.html(404), faults.empty(403)])
def test_a_fix_that_trips_over_an_error_page_does_not_hide_it(
    auth: AuthorizationServer, fix: Any, answer: Answer
) -> None:
    auth.answer_next(answer, None)
    with session_for(auth) as session:
        fix(session.tokens.endpoint)
        with pytest.raises(OAuthCCError, match=f"answered {answer.status} with") as caught:
            session.get(API)
    assert caught.value.response is not None
    assert caught.value.response.status_code == answer.status


def test_a_hook_that_trips_over_a_good_answer_is_named(auth: AuthorizationServer) -> None:
    class Fix:
        def __call__(self, response: requests.Response) -> requests.Response:
            raise LookupError(response.text)

    def fix(response: requests.Response) -> requests.Response:
        return Fix()(response)

    for hook, name in ((Fix(), "Fix"), (fix, "fix"), (functools.partial(fix), "partial")):
        with session_for(auth) as session:
            hooks_of(session).register_compliance_hook("access_token_response", hook)
            with pytest.raises(
                InvalidTokenResponse,
                match=f"hook .*{name} raised LookupError.*check that token_url",
            ) as caught:
                session.get(API)
            assert caught.value.status_code == 200


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
        hooks_of(session).register_compliance_hook("access_token_request", fix)
        session.tokens.get()
    (seen,) = auth.token_requests
    assert seen.query == "hooked=1"
    assert seen.headers["X-Tenant"] == "blue"
    assert dict(seen.form)["client_secret"] == auth.client_secret
    assert [value for name, value in seen.form if name == "several"] == ["1", "2"]
    for hook, word in ((as_text, "text"), (as_octets, "octets")):
        with session_for(auth) as session:
            hooks_of(session).register_compliance_hook("access_token_request", hook)
            session.tokens.get()
        assert dict(auth.token_requests[-1].form)["of"] == word


def test_repeated_parameters_reach_a_hook_without_loss(auth: AuthorizationServer) -> None:
    seen: list[Any] = []

    def look(url: str, headers: Any, kwargs: Any) -> Any:
        seen.append(kwargs["data"])
        return url, headers, kwargs

    with session_for(auth, resource=["urn:a", "urn:b"]) as session:
        hooks_of(session).register_compliance_hook("access_token_request", look)
        session.tokens.get()
    assert isinstance(seen[0], list)
    sent = parse_qsl(auth.token_requests[0].body.decode())
    assert sorted(sent) == sorted(seen[0])
    assert ("resource", "urn:b") in sent


def test_a_hook_cannot_send_the_secret_over_plain_http(auth: AuthorizationServer) -> None:
    with session_for(auth) as session:
        for url in ("http://as.example/token", "/token", "https://me:pw@as.example/token"):
            hook = functools.partial(moved, url)
            session.tokens.endpoint.compliance_hook["access_token_request"] = {hook}  # type: ignore[typeddict-unknown-key]
            with pytest.raises(ConfigurationError, match="hook set"):
                session.tokens.get()
            state_of(session.tokens).failure = None
    assert not auth.requests


def moved(to: str, url: str, headers: Any, kwargs: Any) -> Any:
    return to, headers, kwargs


@pytest.mark.parametrize(
    ("hook", "message"),
    [
        (lambda url, headers, kwargs: None, r"must take and return the URL"),
        (lambda url, headers: None, r"lambda> raised TypeError"),
        (lambda url, headers, kwargs: (url, headers, {**kwargs, "verify": False}), r"set verify"),
        (lambda url, headers, kwargs: (url, headers, {**kwargs, "auth": 1}), r"hook set auth"),
    ],
)
def test_a_hook_that_returns_what_it_must_not_is_a_configuration_error(
    auth: AuthorizationServer, hook: Any, message: str
) -> None:
    with session_for(auth) as session:
        hooks_of(session).register_compliance_hook("access_token_request", hook)
        with pytest.raises(ConfigurationError, match=message):
            session.get(API)
    assert not auth.requests


def test_a_hook_may_say_in_our_own_words_what_is_wrong(auth: AuthorizationServer) -> None:
    def fussy(url: str, headers: Any, kwargs: Any) -> Any:
        raise ConfigurationError("set the tenant")

    with session_for(auth) as session:
        hooks_of(session).register_compliance_hook("access_token_request", fussy)
        with pytest.raises(ConfigurationError, match=r"^set the tenant$"):
            session.get(API)


# -- the function ---------------------------------------------------------------------------------


def test_fetch_token_gives_a_token_or_an_error_that_tells_all(auth: AuthorizationServer) -> None:
    token = fetch_token(auth.token_url, auth.client_id, auth.client_secret, "a b", timeout=30)
    assert (token.access_token, token.scope) == (auth.issued[0], "a b")
    with pytest.raises(TokenRequestDenied) as caught:
        fetch_token(auth.token_url, auth.client_id, "wrong", verify=False)
    assert (caught.value.status_code, caught.value.error) == (401, "invalid_client")
    auth.answer_next(faults.html(403))
    with pytest.raises(TokenRequestDenied, match="403 with text/html and no error") as denied:
        fetch_token(auth.token_url, auth.client_id, auth.client_secret)
    assert denied.value.error is None
    assert denied.value.response is not None
    assert denied.value.response.request.body is None
    assert "Authorization" not in denied.value.response.request.headers


def test_the_answer_of_the_server_is_there_to_be_read(auth: AuthorizationServer) -> None:
    told = {"error": "invalid_target", "error_description": "no", "error_uri": "https://as/e"}
    auth.answer_next(json_answer({**told, "hint": "audience"}, 400))
    with pytest.raises(TokenRequestDenied) as caught:
        fetch_token(auth.token_url, auth.client_id, auth.client_secret)
    error = caught.value
    assert (error.error, error.error_description, error.error_uri) == tuple(told.values())
    assert error.response is not None
    assert json.loads(error.response.text)["hint"] == "audience"


# -- an issuer in place of a token URL ------------------------------------------------------------


def test_an_issuer_leads_to_the_token_endpoint_and_what_it_does_not_list_is_told_once(
    auth: AuthorizationServer, caplog: pytest.LogCaptureFixture
) -> None:
    auth.metadata = {"token_endpoint_auth_methods_supported": ["private_key_jwt"]}
    session = ClientCredentialsSession.from_issuer(
        auth.issuer, auth.client_id, auth.client_secret, "a"
    )
    with session:
        assert not auth.requests
        session.tokens.get()
        session.tokens.renew()
    assert [seen.method for seen in auth.requests] == ["GET", "POST", "POST"]
    assert len([r for r in caplog.records if "client_secret_basic" in r.getMessage()]) == 1
