"""`ClientCredentialsAuth`, for code that cannot change its session."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from requests import PreparedRequest, Request, Response
from requests.adapters import HTTPAdapter

from oauthcc import ClientCredentialsAuth, ConfigurationError, InsecureURLError, TokenError
from oauthcc.api_request.handle_401 import checked_status
from oauthcc.events import ReplayImpossible, RequestReplayed
from oauthcc.testing import Answer, faults
from oauthcc.testing.faults import HeaderFields

from .clock import Clock
from .refusals import Arrived, InMemoryAPI, Reply, Scene, a_scene, trail

TWICE = [("/anything", 1), ("/anything", 2)]


@pytest.fixture
def scene() -> Iterator[Scene]:
    with a_scene() as made:
        yield made


def refused(scene: Scene, **options: Any) -> ClientCredentialsAuth:
    """Make an auth whose token was revoked without its knowing."""
    auth = scene.by_auth(**options)
    scene.revoke(auth.tokens)
    return auth


# Signing


def test_each_request_is_signed_with_one_token(scene: Scene) -> None:
    auth = scene.by_auth()
    assert scene.token_requests == 0
    for _ in range(3):
        assert requests.get(scene.url, auth=auth, timeout=10).status_code == 200
    assert scene.token_requests == 1


def test_a_session_may_have_it_as_its_auth(scene: Scene) -> None:
    session = scene.plain()
    session.auth = scene.by_auth()
    assert session.get(scene.url).status_code == 200
    assert session.post(scene.url, data={"a": "1"}).json()["form"] == [["a", "1"]]


def test_outside_the_prefix_nothing_is_signed(scene: Scene) -> None:
    auth = scene.by_auth(api_url=f"{scene.api.url}/v1")
    session = scene.plain()
    assert session.get(f"{scene.api.url}/v1/x", auth=auth).status_code == 200
    assert session.get(f"{scene.api.url}/v10", auth=auth).status_code == 401
    assert scene.trail == [("/v1/x", 1), ("/v10", None)]


def test_plain_http_beyond_loopback_raises_before_anything_is_sent(scene: Scene) -> None:
    auth = scene.by_auth()
    with pytest.raises(InsecureURLError, match=r"http://api\.example/x"):
        scene.plain().get("http://api.example/x?secret=1", auth=auth)
    assert scene.token_requests == 0


def test_a_second_origin_is_warned_of_once(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    auth, session, other = scene.by_auth(), scene.plain(), scene.another_api()
    for _ in range(2):
        session.get(scene.url, auth=auth)
        session.get(f"{other.url}/x", auth=auth)
    assert len([r for r in caplog.records if "api_url=" in r.getMessage()]) == 1


def test_where_no_token_can_be_had_the_error_is_raised(scene: Scene) -> None:
    scene.auth.refuse_next(None)
    with pytest.raises(TokenError):
        scene.plain().get(scene.url, auth=scene.by_auth())
    assert scene.api.requests == []


# One replay


def test_a_refused_request_is_answered_by_one_renewal_and_one_replay(scene: Scene) -> None:
    auth = refused(scene)
    response = requests.post(scene.url, data=b"body", auth=auth, timeout=10)
    assert response.status_code == 200
    assert response.history == []
    assert scene.trail == TWICE
    assert [seen.body for seen in scene.api.requests] == [b"body"] * 2
    assert scene.token_requests == 1
    assert scene.told(RequestReplayed) == [RequestReplayed("POST", scene.url, 401, 200)]


def test_hooks_see_the_final_response_alone(scene: Scene) -> None:
    auth, seen = refused(scene), list[int]()
    hooks = {"response": lambda response, **_: seen.append(response.status_code)}
    scene.plain().get(scene.url, auth=auth, hooks=hooks)
    assert seen == [200]


def test_a_second_refusal_is_returned(scene: Scene) -> None:
    session, auth = scene.plain(), scene.by_auth()
    Clock().install()
    scene.api.refuse_next(None, body=b"never")
    for _ in range(20):
        answer = session.get(scene.url, auth=auth)
        assert (answer.status_code, answer.content) == (401, b"never")
    assert len(scene.api.requests) == 21
    assert scene.token_requests == 2


def test_other_statuses_may_mean_a_refused_token(scene: Scene) -> None:
    session, auth = scene.plain(), scene.by_auth(refused_status=(401, 403))
    scene.api.refuse_next(status=403, headers={})
    assert session.get(scene.url, auth=auth).status_code == 200
    assert scene.trail == TWICE


def test_forbidden_is_returned_untouched(scene: Scene) -> None:
    scene.api.refuse_next(status=403)
    assert scene.plain().get(scene.url, auth=scene.by_auth()).status_code == 403
    assert scene.token_requests == 1


def test_cookies_of_the_refusal_go_with_the_replay(scene: Scene) -> None:
    scene.api.refuse_next(headers={"Set-Cookie": "new=1; Path=/"})
    scene.plain().get(scene.url, auth=scene.by_auth())
    assert [seen.headers.get("Cookie") for seen in scene.api.requests] == [None, "new=1"]


def test_cookies_of_the_refusal_go_along_a_redirect(scene: Scene) -> None:
    scene.api.refuse_next(headers={"Set-Cookie": "new=1; Path=/"})
    scene.plain().get(f"{scene.api.url}/redirect-to", auth=scene.by_auth())
    assert [seen.headers.get("Cookie") for seen in scene.api.requests] == [None, "new=1", "new=1"]


def test_a_request_that_was_prepared_before_may_be_signed_and_signed_again(scene: Scene) -> None:
    auth, seen = refused(scene), list[int]()
    hooks = {"response": lambda response, **_: seen.append(response.status_code)}
    prepared = Request("GET", scene.url, hooks=hooks).prepare()
    for _ in range(2):
        prepared.prepare_auth(auth)
    assert scene.plain().send(prepared).status_code == 200
    assert seen == [200]
    assert scene.trail == TWICE


def test_a_body_that_cannot_be_sent_again_is_sent_once(scene: Scene) -> None:
    session, auth = scene.plain(), refused(scene)
    assert session.post(scene.url, data=iter([b"x"]), auth=auth).status_code == 401
    assert len(scene.told(ReplayImpossible)) == 1
    assert session.post(scene.url, data=iter([b"x"]), auth=auth).status_code == 200
    assert scene.trail == TWICE


def test_one_connection_is_enough(scene: Scene) -> None:
    session, auth = scene.plain(), refused(scene)
    session.mount("http://", HTTPAdapter(pool_connections=1, pool_maxsize=1, pool_block=True))
    with session.get(scene.url, auth=auth, stream=True, timeout=20) as response:
        assert response.status_code == 200
    assert scene.api.connections == 1


def test_many_threads_with_one_auth_cost_one_token_request(scene: Scene) -> None:
    session, auth = scene.plain(), refused(scene)
    session.mount("http://", HTTPAdapter(pool_maxsize=16))
    with ThreadPoolExecutor(16) as pool, scene.api.hold() as gate:
        calls = [pool.submit(session.get, scene.url, auth=auth) for _ in range(16)]
        gate.wait_for(16, timeout=30)
        gate.release()
        assert [call.result(30).status_code for call in calls] == [200] * 16
    assert scene.token_requests == 1


def test_a_request_prepared_once_is_sent_twice(scene: Scene) -> None:
    session, auth = scene.plain(), scene.by_auth()
    prepared = session.prepare_request(Request("POST", scene.url, data=b"x", auth=auth))
    assert session.send(prepared).status_code == 200
    scene.auth.revoke_all()
    assert session.send(prepared).status_code == 200
    assert session.send(prepared).status_code == 200
    assert [ordinal for _, ordinal in scene.trail] == [1, 1, 2, 2]
    scene.auth.revoke_all()
    assert session.send(prepared).status_code == 200
    assert scene.token_requests == 3


# Redirects


@pytest.mark.parametrize("target", ["/anything", "anything", "?x=1", "//127.0.0.1:{port}/anything"])
def test_a_redirect_to_the_same_origin_keeps_the_token(scene: Scene, target: str) -> None:
    place = target.format(port=scene.api.port)
    scene.api.answer_next(faults.redirect(place))
    assert scene.plain().get(f"{scene.api.url}/go", auth=scene.by_auth()).status_code == 200
    assert [ordinal for _, ordinal in scene.trail] == [1, 1]


def test_a_refused_request_may_be_redirected_after_the_replay(scene: Scene) -> None:
    auth, path = refused(scene), "/redirect-to"
    assert scene.plain().get(f"{scene.api.url}{path}", auth=auth).status_code == 200
    assert scene.trail == [(path, 1), (path, 2), ("/anything", 2)]


def test_a_hop_may_be_refused(scene: Scene) -> None:
    scene.api.refuse_next(path="/anything")
    url = f"{scene.api.url}/redirect-to"
    assert scene.plain().get(url, auth=scene.by_auth()).status_code == 200
    assert scene.trail == [("/redirect-to", 1), *TWICE]


@pytest.mark.parametrize("body", [iter([b"once"]), io.BytesIO(b"x" * 99)], ids=["iterator", "file"])
def test_a_hop_that_dropped_the_body_may_be_refused(scene: Scene, body: Any) -> None:
    scene.api.refuse_next(path="/anything")
    url = f"{scene.api.url}/redirect-to"
    assert scene.plain().post(url, data=body, auth=scene.by_auth()).status_code == 200
    assert scene.trail == [("/redirect-to", 1), *TWICE]
    assert [seen.body for seen in scene.api.requests[1:]] == [b"", b""]


def test_a_hop_that_kept_the_body_may_be_refused(scene: Scene) -> None:
    body = io.BytesIO(b"0123456789")
    body.seek(4)
    scene.api.refuse_next(path="/anything")
    url = f"{scene.api.url}/redirect-to?status=307"
    assert scene.plain().put(url, data=body, auth=scene.by_auth()).status_code == 200
    assert [seen.body for seen in scene.api.requests] == [b"456789"] * 3


@pytest.mark.parametrize("first_refused", [False, True])
def test_a_redirect_to_another_origin_takes_no_token_along(
    scene: Scene, *, first_refused: bool
) -> None:
    other, auth = scene.another_api(), refused(scene) if first_refused else scene.by_auth()
    url = f"{scene.api.url}/redirect-to?url={other.url}/x"
    assert scene.plain().get(url, auth=auth).status_code == 401
    assert trail(other) == [("/x", None)]
    assert scene.token_requests == 1


def test_a_redirect_out_of_the_prefix_takes_no_token_along(scene: Scene) -> None:
    auth = scene.by_auth(api_url=f"{scene.api.url}/redirect-to")
    session, url = scene.plain(), f"{scene.api.url}/redirect-to"
    assert session.get(url, auth=auth).status_code == 401
    assert session.get(f"{url}?url=/redirect-to/../anything", auth=auth).status_code == 401
    assert [ordinal for path, ordinal in scene.trail if path == "/anything"] == [None, None]


def test_a_redirect_that_comes_back_does_not_bring_the_token_back(scene: Scene) -> None:
    other = scene.another_api()
    other.protected = False
    there = f"{other.url}/redirect-to?url={scene.url}"
    url = f"{scene.api.url}/redirect-to?url={there}"
    assert scene.plain().get(url, auth=scene.by_auth()).status_code == 401
    assert trail(other) == [("/redirect-to", None)]
    assert scene.trail == [("/redirect-to", 1), ("/anything", None)]


def test_a_redirect_to_another_scheme_takes_no_token_along(scene: Scene) -> None:
    # requests itself keeps the header from http on port 80 to https on port 443.
    def answer(arrived: Arrived) -> Reply:
        if arrived.url.startswith("http:"):
            return 302, {"Location": "https://localhost/x"}, b""
        return 200, {}, b""

    session, api = scene.plain(), InMemoryAPI(answer)
    session.mount("http://localhost", api)
    session.mount("https://localhost", api)
    session.get("http://localhost/x", auth=scene.by_auth())
    shown = [(arrived.url[:5], arrived.authorization is not None) for arrived in api.arrived]
    assert shown == [("http:", True), ("https", False)]


# Where it is in the way


def test_an_adapter_that_leaves_no_trace_in_the_response_cannot_be_used_again(
    scene: Scene,
) -> None:
    session, auth = scene.plain(), scene.by_auth()
    Clock().install()
    session.mount("https://api.example", InMemoryAPI(lambda _: (401, {}, b"no")))
    for _ in range(10):
        answer = session.get("https://api.example/x", auth=auth)
        assert (answer.status_code, answer.content) == (401, b"no")
    (told,) = scene.told(ReplayImpossible)
    assert told.reason == "the response does not say through what it came"
    assert scene.token_requests == 2


class ReadyMade(InMemoryAPI):
    """Make responses as many a test does: a status, headers, content, and no more."""

    def response(
        self, request: PreparedRequest, status: int, headers: HeaderFields, body: bytes
    ) -> Response:
        response = Response()
        response.status_code, response._content = status, body
        response.headers.update(dict(Answer(headers=headers).fields))
        response.close = lambda: None  # type: ignore[method-assign]
        return response


def test_the_refusal_of_an_unknown_request_is_returned(scene: Scene) -> None:
    session, auth = scene.plain(), scene.by_auth()
    session.mount("https://", ReadyMade(lambda _: (401, {}, b"no")))
    assert session.get("https://api.example/x", auth=auth).content == b"no"
    assert scene.token_requests == 1


@pytest.mark.parametrize("target", ["https://other.example/x", "https://api.example/v2"])
def test_a_response_without_a_url_is_redirected_without_the_token(
    scene: Scene, target: str
) -> None:
    class WithRequest(ReadyMade):
        def response(self, request: PreparedRequest, *rest: Any) -> Response:
            response = super().response(request, *rest)
            response.request = request
            return response

    def answer(arrived: Arrived) -> Reply:
        return (302, {"Location": target}, b"") if arrived.url.endswith("v1") else (200, {}, b"")

    session, api = scene.plain(), WithRequest(answer)
    session.mount("https://", api)
    auth = scene.by_auth(api_url="https://api.example/v1")
    assert session.get("https://api.example/v1", auth=auth).status_code == 200
    shown = [(arrived.url, arrived.authorization is not None) for arrived in api.arrived]
    assert shown == [("https://api.example/v1", True), (target, False)]


class Copying(HTTPAdapter):
    """Send a copy of each request, as adapters that sign or log do."""

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        return super().send(request.copy(), *args, **kwargs)


def test_an_adapter_may_send_a_copy_of_the_request(scene: Scene) -> None:
    session, auth = scene.plain(), refused(scene)
    session.mount("http://", Copying())
    assert session.get(scene.url, auth=auth).status_code == 200
    assert scene.trail == TWICE


def test_a_response_is_pickled_without_token_and_secret(scene: Scene) -> None:
    response = scene.plain().get(scene.url, auth=refused(scene))
    octets = pickle.dumps(response)
    assert not any(token.encode() in octets for token in scene.auth.issued)
    assert scene.auth.client_secret.encode() not in octets
    assert pickle.loads(octets).json() == response.json()


# In a session of ours


@pytest.mark.parametrize("how", ["call", "session", "prepared", "bare"])
def test_a_session_of_ours_leaves_it_alone(scene: Scene, how: str) -> None:
    scene.auth.add_client("other", "secret")
    session = scene.session()
    auth = ClientCredentialsAuth(scene.auth.token_url, "other", "secret")
    scene.stack.callback(auth.tokens.close)
    scene.revoke(auth.tokens)
    url, request = f"{scene.api.url}/redirect-to", Request("GET", scene.url, auth=auth)
    if how == "call":
        answer = session.get(url, auth=auth)
    elif how == "session":
        session.auth = auth
        answer = session.get(url)
    else:
        request.url = url
        prepared = session.prepare_request(request) if how == "prepared" else request.prepare()
        answer = session.send(prepared)
    assert answer.status_code == 200
    assert scene.trail == [("/redirect-to", 1), ("/redirect-to", 2), ("/anything", 2)]
    assert {seen.client_id for seen in scene.auth.token_requests} == {"other"}


@pytest.mark.parametrize("how", ["call", "bare"])
def test_in_a_session_of_ours_too_a_redirect_elsewhere_takes_no_token_along(
    scene: Scene, how: str
) -> None:
    session, other, auth = scene.session(), scene.another_api(), scene.by_auth()
    url = f"{scene.api.url}/redirect-to?url={other.url}/x"
    if how == "call":
        answer = session.get(url, auth=auth)
    else:
        answer = session.send(Request("GET", url, auth=auth).prepare())
    assert answer.status_code == 401
    assert trail(other) == [("/x", None)]
    assert scene.token_requests == 1


# Construction


def test_what_cannot_work_is_refused_at_construction() -> None:
    for options in ({"refused_status": ()}, {"api_url": "api.example"}, {"renew_at": 7}):
        with pytest.raises(ConfigurationError):
            ClientCredentialsAuth("https://as.example/token", "id", "secret", **options)
    with pytest.raises(ConfigurationError):
        ClientCredentialsAuth("", "id", "secret")
