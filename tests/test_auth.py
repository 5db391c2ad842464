"""`ClientCredentialsAuth`. What a session of ours does too is tested with both by `sessions`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from requests import PreparedRequest, Request, Response
from requests.adapters import HTTPAdapter

from oauthcc import ClientCredentialsAuth, TokenError
from oauthcc.events import ReplayImpossible

from .clock import Clock
from .refusals import TWICE, Arrived, InMemoryAPI, ReadyMade, Reply, Scene, trail


def refused(scene: Scene, **options: Any) -> ClientCredentialsAuth:
    """Return an ``auth=`` that does not know that its token was revoked."""
    auth = scene.auth_object(**options)
    scene.revoke(auth.tokens)
    return auth


# The token


def test_all_requests_carry_one_token(scene: Scene) -> None:
    auth = scene.auth_object()
    assert scene.token_requests == 0
    for _ in range(3):
        assert requests.get(scene.url, auth=auth, timeout=10).status_code == 200
    assert scene.token_requests == 1


def test_a_session_may_have_it_as_auth(scene: Scene) -> None:
    session = scene.plain()
    session.auth = scene.auth_object()
    assert session.get(scene.url).status_code == 200
    assert session.post(scene.url, data={"a": "1"}).json()["form"] == [["a", "1"]]


def test_the_error_is_raised_if_no_token_can_be_obtained(scene: Scene) -> None:
    scene.auth.refuse_next(None)
    with pytest.raises(TokenError):
        scene.plain().get(scene.url, auth=scene.auth_object())
    assert scene.api.requests == []


# One replay


def test_a_prepared_request_may_get_the_token_twice(scene: Scene) -> None:
    auth, seen = refused(scene), list[int]()
    hooks = {"response": lambda response, **_: seen.append(response.status_code)}
    prepared = Request("GET", scene.url, hooks=hooks).prepare()
    for _ in range(2):
        prepared.prepare_auth(auth)
    assert scene.plain().send(prepared).status_code == 200
    assert seen == [200]
    assert scene.trail == TWICE


def test_one_connection_is_enough(scene: Scene) -> None:
    session, auth = scene.plain(), refused(scene)
    session.mount("http://", HTTPAdapter(pool_connections=1, pool_maxsize=1, pool_block=True))
    with session.get(scene.url, auth=auth, stream=True, timeout=20) as response:
        assert response.status_code == 200
    assert scene.api.connections == 1


def test_many_refused_threads_with_one_auth_cause_one_token_request(scene: Scene) -> None:
    session, auth = scene.plain(), refused(scene)
    session.mount("http://", HTTPAdapter(pool_maxsize=16))
    with ThreadPoolExecutor(16) as pool, scene.api.hold() as gate:
        calls = [pool.submit(session.get, scene.url, auth=auth) for _ in range(16)]
        gate.wait_for(16, timeout=30)
        gate.release()
        assert [call.result(30).status_code for call in calls] == [200] * 16
    assert scene.token_requests == 1


def test_a_prepared_request_may_be_sent_again(scene: Scene) -> None:
    session, auth = scene.plain(), scene.auth_object()
    prepared = session.prepare_request(Request("POST", scene.url, data=b"x", auth=auth))
    assert session.send(prepared).status_code == 200
    scene.auth.revoke_all()
    assert session.send(prepared).status_code == 200
    assert session.send(prepared).status_code == 200
    assert [ordinal for _, ordinal in scene.trail] == [1, 1, 2, 2]
    scene.auth.revoke_all()
    assert session.send(prepared).status_code == 200
    assert scene.token_requests == 3


# Adapters of the user


def test_there_is_no_replay_if_the_response_does_not_name_its_adapter(scene: Scene) -> None:
    session, auth = scene.plain(), scene.auth_object()
    Clock().install()
    session.mount("https://api.example", InMemoryAPI(lambda _: (401, {}, b"no")))
    for _ in range(10):
        answer = session.get("https://api.example/x", auth=auth)
        assert (answer.status_code, answer.content) == (401, b"no")
    (event,) = scene.emitted(ReplayImpossible)
    assert event.reason == "the response does not say which adapter it came through"
    assert scene.token_requests == 2


def test_the_refusal_is_returned_if_the_response_has_no_request(scene: Scene) -> None:
    session, auth = scene.plain(), scene.auth_object()
    session.mount("https://", ReadyMade(lambda _: (401, {}, b"no")))
    assert session.get("https://api.example/x", auth=auth).content == b"no"
    assert scene.token_requests == 1


@pytest.mark.parametrize("target", ["https://other.example/x", "https://api.example/v2"])
def test_a_redirect_in_a_response_without_a_url_carries_no_token(scene: Scene, target: str) -> None:
    class WithRequest(ReadyMade):
        def response(self, request: PreparedRequest, *rest: Any) -> Response:
            response = super().response(request, *rest)
            response.request = request
            response.close = lambda: None  # type: ignore[method-assign]  # there is no stream
            return response

    def answer(arrived: Arrived) -> Reply:
        return (302, {"Location": target}, b"") if arrived.url.endswith("v1") else (200, {}, b"")

    session, api = scene.plain(), WithRequest(answer)
    session.mount("https://", api)
    auth = scene.auth_object(api_url="https://api.example/v1")
    assert session.get("https://api.example/v1", auth=auth).status_code == 200
    shown = [(arrived.url, arrived.authorization is not None) for arrived in api.arrived]
    assert shown == [("https://api.example/v1", True), (target, False)]


class Copying(HTTPAdapter):
    """An adapter that sends a copy of each request, as some that log do."""

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        return super().send(request.copy(), *args, **kwargs)


def test_an_adapter_may_send_a_copy_of_the_request(scene: Scene) -> None:
    session, auth = scene.plain(), refused(scene)
    session.mount("http://", Copying())
    assert session.get(scene.url, auth=auth).status_code == 200
    assert scene.trail == TWICE


# In a session of ours


@pytest.mark.parametrize("how", ["call", "session", "prepared", "bare"])
def test_a_session_of_ours_uses_the_token_of_an_auth(scene: Scene, how: str) -> None:
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
def test_a_redirect_in_a_session_of_ours_carries_no_token_of_an_auth_to_another_origin(
    scene: Scene, how: str
) -> None:
    session, other, auth = scene.session(), scene.another_api(), scene.auth_object()
    url = f"{scene.api.url}/redirect-to?url={other.url}/x"
    if how == "call":
        answer = session.get(url, auth=auth)
    else:
        answer = session.send(Request("GET", url, auth=auth).prepare())
    assert answer.status_code == 401
    assert trail(other) == [("/x", None)]
    assert scene.token_requests == 1
