"""A refused token is replaced and the request replayed, which the caller does not notice."""

from __future__ import annotations

import gc
import gzip
import hashlib
import io
import pickle
import re
import types
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from requests import PreparedRequest, Request, Response
from requests.adapters import BaseAdapter, HTTPAdapter
from requests.auth import HTTPDigestAuth

from oauthcc import ClientCredentialsSession, DPoP, TokenError
from oauthcc.events import RenewalFailed, ReplayImpossible, RequestReplayed
from oauthcc.redaction import SecretHeader
from oauthcc.stores import MemoryStore
from oauthcc.testing import Answer, Fault, ProtectedAPI, SeenRequest, faults, json_answer

from .clock import Clock, flights_done, shift_clocks, until
from .inside import state_of, waiters_of
from .refusals import (
    TWICE,
    UNAVAILABLE,
    Arrived,
    InMemoryAPI,
    ReadyMade,
    Reply,
    Scene,
    Sessions,
    breaking,
    trail,
)


def nonce_of(seen: SeenRequest) -> str | None:
    import jwt

    claims = jwt.decode(seen.headers["DPoP"], options={"verify_signature": False})
    nonce: str | None = claims.get("nonce")
    return nonce


# One renewal, one replay


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_a_refused_request_causes_one_renewal_and_one_replay(
    scene: Scene, sessions: Sessions, method: str
) -> None:
    response = sessions.refused().request(method, scene.url)
    assert response.status_code == 200
    assert response.history == []
    assert scene.trail == TWICE
    assert scene.token_requests == 1


def test_the_answer_is_that_of_the_replay(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    session = scene.refused()
    ticks = iter([100.0, 103.5])
    clocks = types.SimpleNamespace(time=lambda: 0.0, perf_counter=lambda: next(ticks))
    monkeypatch.setattr("oauthcc.api_request.handle_401.time", clocks)
    response = session.post(scene.url, data=b"body")
    assert response.history == []
    assert response.elapsed == timedelta(seconds=3.5)
    assert response.request.body == b"body"
    assert response.request.headers["Authorization"] == f"Bearer {scene.auth.issued[1]}"
    assert response.url == scene.url


def test_a_replay_emits_an_event(scene: Scene, sessions: Sessions) -> None:
    sessions.refused().post(f"{scene.url}?secret=1", data=b"body")
    assert [seen.body for seen in scene.api.requests] == [b"body"] * 2
    assert scene.emitted(RequestReplayed) == [RequestReplayed("POST", scene.url, 401, 200)]


def raising(response: Response, **kwargs: Any) -> None:
    response.raise_for_status()


@pytest.mark.parametrize("where", ["session", "call, a list", "call, one callable", "prepared"])
def test_hooks_see_only_the_final_response(scene: Scene, where: str) -> None:
    session, seen = scene.refused(), list[int]()

    def hook(response: Response, **kwargs: Any) -> None:
        seen.append(response.status_code)
        assert kwargs.keys() == {"timeout", "verify", "proxies", "stream", "cert"}
        response.raise_for_status()

    if where == "session":
        session.hooks["response"].append(hook)
        session.get(scene.url)
    elif where == "prepared":
        prepared = Request("GET", scene.url).prepare()
        prepared.hooks = {"response": hook}
        session.send(prepared, timeout=10)
    else:
        hooks: Any = {"response": [hook] if where == "call, a list" else hook}
        session.get(scene.url, hooks=hooks)
    assert seen == [200]
    assert scene.trail == TWICE


def test_hooks_see_a_second_refusal_once(scene: Scene) -> None:
    session = scene.refused()
    session.hooks["response"] = [raising]
    scene.api.refuse_next(2)
    with pytest.raises(requests.HTTPError) as caught:
        session.get(scene.url)
    with caught.value.response as response:
        assert response.status_code == 401
    assert scene.trail == TWICE


def test_a_hook_may_replace_the_response(scene: Scene) -> None:
    session, other = scene.refused(), Response()
    other.status_code, other._content = 299, b"mine"

    def instead(response: Response, **kwargs: Any) -> Response:
        response.close()
        return other

    assert session.get(scene.url, hooks={"response": instead}) is other
    assert scene.trail == TWICE


def test_the_answer_to_a_replay_is_not_read_if_it_is_streamed(scene: Scene) -> None:
    with scene.refused().get(f"{scene.api.url}/stream/100000", stream=True) as response:
        unread: Any = response
        assert unread._content is False
        assert sum(map(len, response.iter_content(4096))) == 100_000
    assert scene.api.connections == 1  # the connection of the refusal was used again


# Through send


def test_a_request_that_was_prepared_by_the_session_is_replayed(scene: Scene) -> None:
    session = scene.refused()
    prepared = session.prepare_request(Request("POST", scene.url, data=b"x"))
    assert session.send(prepared).status_code == 200
    assert scene.trail == TWICE
    assert "Authorization" not in prepared.headers
    assert prepared.hooks == {"response": []}


def test_a_request_prepared_without_the_session_is_replayed_each_time(scene: Scene) -> None:
    session = scene.refused()
    prepared = Request("POST", scene.url, data=b"x").prepare()
    before = dict(prepared.headers)
    for count in range(1, 4):
        assert session.send(prepared).status_code == 200
        assert scene.token_requests == count
        scene.auth.revoke_all()
    assert [ordinal for _, ordinal in scene.trail] == [1, 2, 2, 3, 3, 4]
    assert dict(prepared.headers) == before
    assert prepared.hooks == {"response": []}


def test_one_prepared_request_is_sent_from_many_threads(scene: Scene) -> None:
    session = scene.refused()
    session.mount("http://", HTTPAdapter(pool_maxsize=8))
    prepared = session.prepare_request(Request("PUT", scene.url, data=b"the same"))
    gate = scene.api.hold()
    with ThreadPoolExecutor(8) as pool, gate:
        answers = [pool.submit(session.send, prepared) for _ in range(8)]
        gate.wait_for(8)
        gate.release()
        assert [answer.result(30).status_code for answer in answers] == [200] * 8
    assert scene.token_requests == 1
    assert {seen.body for seen in scene.api.requests} == {b"the same"}


def test_the_request_of_a_response_gets_the_current_token_when_it_is_sent_again(
    scene: Scene,
) -> None:
    session = scene.refused()
    again = session.get(scene.url).request
    scene.auth.revoke_all()
    assert session.send(again).status_code == 200
    assert scene.trail == [*TWICE, ("/anything", 2), ("/anything", 3)]


def test_the_request_of_a_response_is_not_replayed_in_a_plain_session(scene: Scene) -> None:
    again = scene.session().get(scene.url).request
    scene.auth.revoke_all()
    assert scene.plain().send(again).status_code == 401
    assert scene.token_requests == 1


# Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_refused_request_may_be_redirected_after_the_replay(
    scene: Scene, sessions: Sessions, status: int
) -> None:
    path = "/redirect-to"
    response = sessions.refused().get(f"{scene.api.url}{path}?url=/anything&status={status}")
    assert response.status_code == 200
    assert scene.trail == [(path, 1), (path, 2), ("/anything", 2)]
    assert [hop.status_code for hop in response.history] == [status]
    assert scene.token_requests == 1


def test_a_redirected_request_may_be_refused(scene: Scene, sessions: Sessions) -> None:
    session, url = sessions.new(), f"{scene.api.url}/redirect-to?url=/anything"
    scene.api.refuse_next(path="/anything")
    response = session.get(url)
    assert response.status_code == 200
    assert scene.trail == [("/redirect-to", 1), ("/anything", 1), ("/anything", 2)]
    assert len(response.history) == 1


def test_a_request_and_its_redirect_may_both_be_refused(scene: Scene) -> None:
    session = scene.refused()
    scene.api.add_route("/leave", revoking(scene))
    response = session.get(f"{scene.api.url}/leave")
    assert response.status_code == 200
    assert scene.trail == [("/leave", 1), ("/leave", 2), ("/anything", 2), ("/anything", 3)]
    assert scene.token_requests == 2


def revoking(scene: Scene) -> Callable[[SeenRequest], Answer]:
    def route(seen: SeenRequest) -> Answer:
        scene.auth.revoke_all()
        return faults.redirect("/anything")

    return route


def test_a_redirect_that_the_caller_follows_carries_the_new_token(scene: Scene) -> None:
    session = scene.refused()
    answer = session.get(f"{scene.api.url}/redirect-to", allow_redirects=False)
    assert answer.next is not None
    assert session.send(answer.next).status_code == 200
    assert scene.trail == [("/redirect-to", 1), ("/redirect-to", 2), ("/anything", 2)]


def test_a_replay_that_is_redirected_to_another_origin_carries_no_token_there(
    scene: Scene, sessions: Sessions
) -> None:
    session, other = sessions.refused(), scene.another_api()
    answer = session.get(f"{scene.api.url}/redirect-to?url={other.url}/x")
    assert answer.status_code == 401
    assert trail(other) == [("/x", None)]
    assert scene.trail == [("/redirect-to", 1), ("/redirect-to", 2)]
    assert scene.token_requests == 1


def test_the_body_of_a_redirected_replay_is_complete(scene: Scene, tmp_path: Path) -> None:
    path = tmp_path / "upload"
    path.write_bytes(b"0123456789" * 1000)
    session, url = scene.refused(), f"{scene.api.url}/redirect-to?url=/anything&status=307"
    with path.open("rb") as upload:
        upload.seek(5)
        assert session.post(url, data=upload).status_code == 200
    assert [seen.body for seen in scene.api.requests] == [path.read_bytes()[5:]] * 3


@pytest.mark.parametrize("kind", [iter, io.BytesIO])
def test_a_redirected_request_without_the_body_is_replayed(
    scene: Scene, sessions: Sessions, kind: Any
) -> None:
    scene.api.refuse_next(path="/anything")
    body = kind(b"x" * 99) if kind is io.BytesIO else iter([b"once"])
    url = f"{scene.api.url}/redirect-to?url=/anything"
    assert sessions.new().post(url, data=body).status_code == 200
    assert scene.trail == [("/redirect-to", 1), *TWICE]
    assert [seen.body for seen in scene.api.requests[1:]] == [b"", b""]


def test_a_redirected_request_with_the_body_is_replayed(scene: Scene, sessions: Sessions) -> None:
    body = io.BytesIO(b"0123456789")
    body.seek(4)
    scene.api.refuse_next(path="/anything")
    url = f"{scene.api.url}/redirect-to?status=307"
    assert sessions.new().put(url, data=body).status_code == 200
    assert [seen.body for seen in scene.api.requests] == [b"456789"] * 3


# Cookies


def with_cookies(*cookies: str) -> list[tuple[str, str]]:
    return [("Set-Cookie", f"{cookie}; Path=/") for cookie in cookies]


def test_cookies_of_the_refusal_are_stored_and_sent_with_the_replay(scene: Scene) -> None:
    session = scene.session()
    session.cookies.set("old", "1")
    scene.api.refuse_next(headers=with_cookies("old=2", "new=3"))
    response = session.get(scene.url, cookies={"mine": "4"})
    first, second = (seen.headers.get("Cookie") for seen in scene.api.requests)
    assert set(str(first).split("; ")) == {"mine=4", "old=1"}
    assert set(str(second).split("; ")) == {"mine=4", "old=1", "old=2", "new=3"}
    assert {(c.name, c.value) for c in session.cookies} == {
        ("old", "1"),
        ("old", "2"),
        ("new", "3"),
    }
    assert response.cookies.get_dict() == {}


def test_cookies_of_the_refusal_are_sent_with_a_redirect(scene: Scene, sessions: Sessions) -> None:
    scene.api.refuse_next(headers=with_cookies("stay=1"))
    sessions.new().get(f"{scene.api.url}/redirect-to")
    assert [seen.headers.get("Cookie") for seen in scene.api.requests] == [None, "stay=1", "stay=1"]


def test_a_cookie_header_of_the_caller_is_unchanged(scene: Scene) -> None:
    session = scene.session()
    scene.api.refuse_next(headers=with_cookies("new=3"))
    session.get(scene.url, headers={"Cookie": "by=hand"})
    assert [seen.headers["Cookie"] for seen in scene.api.requests] == ["by=hand"] * 2
    assert session.cookies.get_dict() == {"new": "3"}


def test_a_cookie_that_the_refusal_deletes_is_not_sent_with_the_replay(scene: Scene) -> None:
    session = scene.session()
    scene.api.answer_next(Answer(200, with_cookies("old=1")))
    scene.api.answer_next(Answer(401, [("Set-Cookie", "old=; Max-Age=0; Path=/")]))
    for _ in range(2):
        assert session.get(scene.url).status_code == 200
    assert [seen.headers.get("Cookie") for seen in scene.api.requests] == [None, "old=1", None]
    assert session.cookies.get_dict() == {}


def test_a_request_without_a_cookie_jar_is_replayed_unchanged(scene: Scene) -> None:
    session, prepared = scene.session(), PreparedRequest()
    prepared.prepare_method("GET")
    prepared.prepare_url(scene.url, None)
    prepared.prepare_headers(None)
    scene.api.refuse_next(headers=with_cookies("new=3"))
    response = session.send(prepared, allow_redirects=False)
    assert response.status_code == 200
    assert [seen.headers.get("Cookie") for seen in scene.api.requests] == [None, None]
    assert session.cookies.get_dict() == {"new": "3"}


def test_the_cookies_of_a_refusal_do_not_change_the_prepared_request(scene: Scene) -> None:
    session = scene.session()
    prepared = session.prepare_request(Request("GET", scene.url, cookies={"mine": "1"}))
    scene.api.refuse_next(headers=with_cookies("new=3"))
    session.send(prepared)
    session.send(prepared)
    assert [seen.headers["Cookie"] for seen in scene.api.requests] == [
        "mine=1",
        "mine=1; new=3",
        "mine=1",
    ]


# Adapters of the user


@pytest.fixture
def in_memory() -> InMemoryAPI:
    answers: Iterator[Reply] = iter([(401, {}, b"no"), (200, {}, b"yes")])
    return InMemoryAPI(lambda _: next(answers))


def test_the_adapter_for_the_replay_is_found_if_the_response_does_not_name_it(
    scene: Scene, in_memory: InMemoryAPI
) -> None:
    session = scene.session()
    session.mount("https://api.example", in_memory)
    response = session.post("https://api.example/x", data=b"body")
    assert (response.status_code, response.content) == (200, b"yes")
    assert [arrived.body for arrived in in_memory.arrived] == [b"body"] * 2
    assert [a.authorization for a in in_memory.arrived] == [
        f"Bearer {t}" for t in scene.auth.issued
    ]


def test_an_adapter_may_return_content_without_a_stream(scene: Scene) -> None:
    answers: Iterator[Reply] = iter([(401, {}, b"%d" % number) for number in range(5)])
    session, adapter = scene.session(), ReadyMade(lambda _: next(answers))
    session.mount("https://api.example", adapter)
    contents = [session.get("https://api.example/x").content for _ in range(3)]
    assert contents == [b"1", b"3", b"4"]


def test_content_that_an_adapter_made_is_unchanged_in_a_refusal_that_is_returned(
    scene: Scene,
) -> None:
    session, adapter = scene.session(), ReadyMade(lambda _: (401, {}, b"n" * 100_000))
    session.mount("https://api.example", adapter)
    session.tokens.get()
    scene.auth.answer_next(UNAVAILABLE, None)
    assert session.get("https://api.example/x").content == b"n" * 100_000
    assert len(adapter.arrived) == 1


class Empty(ClientCredentialsSession):
    """A session that is false, as one that is also a collection may be."""

    def __len__(self) -> int:
        return 0


def test_a_session_that_is_false_replays_through_its_adapters(
    scene: Scene, in_memory: InMemoryAPI
) -> None:
    with Empty(*scene.client) as session:
        session.mount("https://api.example", in_memory)
        assert session.get("https://api.example/x").status_code == 200


class Copying(HTTPAdapter):
    """An adapter that sends a copy of each request, as some that log do."""

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        return super().send(request.copy(), *args, **kwargs)


def test_an_adapter_may_send_a_copy_of_the_request(scene: Scene) -> None:
    session = scene.refused()
    session.mount("http://", Copying())
    response = session.get(f"{scene.api.url}/redirect-to")
    assert response.status_code == 200
    assert scene.trail == [("/redirect-to", 1), ("/redirect-to", 2), ("/anything", 2)]


class Wrapping(BaseAdapter):
    """An adapter that calls another adapter."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.timeouts = HTTPAdapter(), list[Any]()

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        self.timeouts.append((kwargs["timeout"], kwargs["stream"], kwargs["verify"]))
        return self.inner.send(request, *args, **kwargs)

    def close(self) -> None:
        self.inner.close()


def test_the_replay_goes_through_the_mounted_adapter_with_the_same_arguments(scene: Scene) -> None:
    session, adapter = scene.refused(), Wrapping()
    session.mount(scene.api.url, adapter)
    with session.get(scene.url, timeout=(3, 9), stream=True, verify="nowhere.pem") as response:
        assert response.status_code == 200
    assert adapter.timeouts == [((3, 9), True, "nowhere.pem")] * 2


class Rewriting(HTTPAdapter):
    """An adapter that writes its own authorization on each request."""

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        request.headers["Authorization"] = "Bearer of-the-adapter"
        return super().send(request, *args, **kwargs)


def test_the_refusal_of_an_authorization_of_the_adapter_is_returned(scene: Scene) -> None:
    session = scene.session()
    session.tokens.get()
    session.mount(scene.api.url, Rewriting())
    assert session.get(scene.url).status_code == 401
    assert len(scene.api.requests) == 1
    assert scene.token_requests == 1


# The connection of the refusal


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("size", [0, 100, 65_536, 300_000])
def test_one_connection_to_the_api_is_enough_beside_those_of_token_requests(
    scene: Scene, size: int, *, stream: bool
) -> None:
    with (
        ProtectedAPI(scene.auth, serve_token_endpoint=True) as api,
        ClientCredentialsSession(api.token_url, *scene.client[1:]) as session,
    ):
        session.mount(api.url, HTTPAdapter(pool_connections=1, pool_maxsize=1, pool_block=True))
        session.get(f"{api.url}/anything", timeout=20)
        scene.auth.revoke_all()
        api.refusal = Answer(401, (), b"x" * size)
        with session.get(f"{api.url}/anything", timeout=20, stream=stream) as answer:
            assert answer.status_code == 200
    assert trail(api) == [("/anything", 1), ("/anything", 1), ("/anything", 2)]
    token_requests = 2  # each has a connection of its own
    assert api.connections - token_requests == (1 if size <= 65_536 else 2)


def without_end(line: faults.Line) -> None:
    while line.pause(0):
        line.send(b"x" * 65_536)


GZIP = "Content-Encoding: gzip\r\nContent-Length: "
BROKEN = {
    "cut": breaking("Content-Length: 100", b"x" * 50),
    "reset": breaking("Content-Length: 100", b"x" * 50, lambda line: line.reset()),
    "endless": breaking("", b"", without_end),
    "stalled": breaking("Content-Length: 999999", b"x" * 90_000, lambda x: x.wait_until_closed()),
    "bad chunk": breaking("Transfer-Encoding: chunked", b"5\r\nhello\r\nnonsense\r\n"),
    "cut chunk": breaking("Transfer-Encoding: chunked", b"5\r\nhe"),
    "no gzip": breaking(f"Connection: close\r\n{GZIP}50", b"x" * 50),
    "much that is no gzip": breaking(
        f"{GZIP}60000", b"x" * 59_000, lambda line: line.wait_until_closed()
    ),
    "half a gzip": breaking(f"Connection: close\r\n{GZIP}20", gzip.compress(b"abc" * 1000)[:20]),
    "odd length": breaking("Content-Length: many", b"x" * 50),
}


@pytest.mark.unmeasured
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", BROKEN.values(), ids=BROKEN)
def test_a_refusal_with_a_broken_body_causes_a_replay(
    scene: Scene, fault: Fault, *, stream: bool
) -> None:
    session = scene.session()
    session.mount(scene.api.url, HTTPAdapter(pool_connections=1, pool_maxsize=1, pool_block=True))
    scene.api.answer_next(fault)
    with session.get(scene.url, stream=stream, timeout=20) as response:
        assert response.status_code == 200
    assert scene.trail == TWICE
    assert session.get(scene.url, timeout=20).status_code == 200  # the pool has its connection
    assert scene.token_requests == 2


# Refused again


def test_a_second_refusal_is_returned_unchanged(scene: Scene) -> None:
    session = scene.session()
    scene.api.refuse_next(1, body=b"first")
    scene.api.refuse_next(1, headers={"X-Why": "because"}, body=b"n" * 100_000)
    response = session.get(scene.url)
    assert (response.status_code, response.headers["X-Why"]) == (401, "because")
    assert response.content == b"n" * 100_000
    assert response.history == []
    assert scene.trail == TWICE
    assert scene.emitted(RequestReplayed) == [RequestReplayed("GET", scene.url, 401, 401)]


def test_a_token_with_the_same_text_is_tried_because_it_was_fetched_since(scene: Scene) -> None:
    scene.auth.make_token = lambda: "always-the-same"
    session, statuses = scene.session(), iter([401, 200])
    api = InMemoryAPI(lambda _: (next(statuses), {}, b""))
    session.mount("https://api.example", api)
    assert session.get("https://api.example/x").status_code == 200
    assert [one.authorization for one in api.arrived] == ["Bearer always-the-same"] * 2
    assert scene.token_requests == 2


def test_a_long_refusal_is_returned_whole_if_there_is_no_other_token(scene: Scene) -> None:
    session = scene.refused()
    scene.auth.answer_next(UNAVAILABLE, None)
    scene.api.refusal = Answer(401, {"X-Why": "dead"}, b"n" * 300_000)
    response = session.get(scene.url, stream=True)
    assert (response.status_code, response.headers["X-Why"]) == (401, "dead")
    assert b"".join(response.iter_content(1000)) == b"n" * 300_000
    assert session.get(scene.url).content == b"n" * 300_000
    assert scene.token_requests == 1
    assert scene.emitted(RequestReplayed) == []


def test_any_other_answer_to_the_replay_is_returned(scene: Scene) -> None:
    session = scene.refused()
    assert session.get(f"{scene.api.url}/status/503").status_code == 503
    assert scene.emitted(RequestReplayed)[0].status == 503
    assert len(scene.api.requests) == 2


def test_a_replay_whose_connection_breaks_raises_what_requests_raises(scene: Scene) -> None:
    session = scene.session()
    scene.api.refuse_next()
    scene.api.answer_next(faults.reset())
    with pytest.raises(requests.ConnectionError):
        session.get(scene.url)
    assert session.get(scene.url).status_code == 200
    assert scene.trail == [*TWICE, ("/anything", 2)]
    assert scene.token_requests == 2


def test_the_event_of_a_replay_has_the_url_that_an_adapter_was_given(
    scene: Scene, sessions: Sessions
) -> None:
    class Routing(requests.adapters.HTTPAdapter):
        def send(self, request: Any, *args: Any, **kwargs: Any) -> requests.Response:
            request.url = f"{scene.api.url}/routed"
            return super().send(request, *args, **kwargs)

    session = sessions.refused()
    session.mount(scene.url, Routing())
    assert session.get(scene.url).status_code == 200
    assert scene.emitted(RequestReplayed) == [RequestReplayed("GET", scene.url, 401, 200)]
    assert [seen.path for seen in scene.api.requests] == ["/routed", "/routed"]


# Answers that do not mean a refused token


def test_a_403_is_returned_unchanged(scene: Scene, sessions: Sessions) -> None:
    session = sessions.new()
    scene.api.refuse_next(None, status=403)
    assert [session.get(scene.url).status_code for _ in range(3)] == [403] * 3
    assert len(scene.api.requests) == 3
    assert scene.token_requests == 1


@pytest.mark.parametrize("refused_status", [(401,), (401, 403)])
@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_for_an_insufficient_scope_is_returned_unchanged(
    scene: Scene, status: int, refused_status: tuple[int, ...]
) -> None:
    session = scene.session(refused_status=refused_status)
    challenge = 'Basic realm="x", Bearer realm="y", error="insufficient_scope"'
    scene.api.refuse_next(None, status, {"WWW-Authenticate": challenge}, b"too little")
    response = session.get(scene.url, stream=True)
    assert (response.status_code, response.raw.read()) == (status, b"too little")
    assert len(scene.api.requests) == 1
    assert scene.token_requests == 1


@pytest.mark.parametrize(
    "challenge",
    [
        {},
        {"WWW-Authenticate": "Basic"},
        {"WWW-Authenticate": 'Bearer error="invalid_request"'},
        {"WWW-Authenticate": 'Other error="insufficient_scope"'},
        {"WWW-Authenticate": "\xff=,,\x01"},
    ],
)
def test_a_refusal_with_any_other_challenge_causes_a_replay(
    scene: Scene, challenge: dict[str, str]
) -> None:
    session = scene.session()
    scene.api.refuse_next(headers=challenge)
    assert session.get(scene.url).status_code == 200
    assert scene.trail == TWICE


@pytest.mark.parametrize("status", [403, 419, 498])
def test_another_status_may_mean_a_refused_token(
    scene: Scene, sessions: Sessions, status: int
) -> None:
    session = sessions.new(refused_status=(401, status))
    scene.api.refuse_next(status=status, headers={})
    assert session.get(scene.url).status_code == 200
    scene.api.refuse_next()
    assert session.get(scene.url).status_code == 200
    assert scene.token_requests == 3


def test_a_401_is_returned_if_only_another_status_means_a_refusal(scene: Scene) -> None:
    session = scene.session(refused_status=[403])
    scene.api.refuse_next()
    assert session.get(scene.url).status_code == 401
    assert scene.token_requests == 1


# An authorization of the caller


def test_the_refusal_of_an_auth_of_the_caller_is_returned(scene: Scene) -> None:
    session = scene.session()
    session.tokens.get()
    for auth in (("user", "password"), lambda r: r, HTTPDigestAuth("user", "password")):
        scene.api.forget()
        assert session.get(scene.url, auth=auth).status_code == 401
        assert scene.trail == [("/anything", None)]
    assert scene.token_requests == 1
    assert session.get(scene.url).status_code == 200


def test_the_refusal_of_a_header_of_the_caller_is_returned(scene: Scene) -> None:
    session = scene.session()
    session.tokens.get()
    assert session.get(scene.url, headers={"authorization": "Bearer mine"}).status_code == 401
    session.headers["Authorization"] = "Bearer mine too"
    assert session.get(scene.url).status_code == 401
    assert [seen.token for seen in scene.api.requests] == ["mine", "mine too"]
    assert scene.token_requests == 1


def test_the_refusal_of_userinfo_in_the_url_is_returned(scene: Scene) -> None:
    session = scene.session()
    session.tokens.get()
    url = scene.url.replace("//", "//user:password@")
    assert session.get(url).status_code == 401
    assert scene.api.requests[0].headers["Authorization"].startswith("Basic ")
    assert len(scene.api.requests) == 1
    assert scene.token_requests == 1


def test_the_refusal_of_a_session_auth_is_returned(scene: Scene) -> None:
    session = scene.session()
    session.tokens.get()
    session.auth = ("user", "password")
    assert session.get(scene.url).status_code == 401
    assert session.send(Request("GET", scene.url).prepare()).status_code == 401
    assert [seen.headers.get("Authorization", "")[:5] for seen in scene.api.requests] == [
        "Basic",
        "",
    ]
    assert scene.token_requests == 1


def test_the_refusal_of_netrc_outside_api_url_is_returned(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password password\n")
    monkeypatch.setenv("NETRC", str(netrc))
    session, other = scene.refused(api_url=scene.api.url), scene.another_api()
    assert session.get(f"{other.url}/x").status_code == 401
    assert other.requests[0].headers["Authorization"].startswith("Basic ")
    assert len(other.requests) == 1
    assert session.get(scene.url).status_code == 200
    assert scene.trail == TWICE


def digest_route(seen: SeenRequest) -> Answer:
    """Accept a request with the right digest (RFC 7616, MD5) of user and password."""
    said = dict(re.findall(r'(\w+)="?([^",]+)"?', seen.headers.get("Authorization", "")))

    def md5(*parts: str) -> str:
        return hashlib.md5(":".join(parts).encode()).hexdigest()

    if said.get("nonce") == "n0nce":
        ha1 = md5("user", "here", "password")
        ha2 = md5(seen.method, said["uri"])
        due = md5(ha1, "n0nce", said["nc"], said["cnonce"], "auth", ha2)
        if said["response"] == due:
            return json_answer({"body": seen.body.decode()})
    challenge = 'Digest realm="here", nonce="n0nce", qop="auth"'
    return Answer(401, {"WWW-Authenticate": challenge})


@pytest.mark.parametrize("how", ["call", "session", "bare"])
def test_a_digest_handshake_of_the_caller_is_completed(scene: Scene, how: str) -> None:
    session, digest = scene.refused(), HTTPDigestAuth("user", "password")
    scene.api.protected = False
    scene.api.add_route("/digest", digest_route)
    url = f"{scene.api.url}/digest"
    if how == "call":
        answer = session.post(url, data="text", auth=digest)
    elif how == "session":
        session.auth = digest
        answer = session.post(url, data="text")
    else:
        answer = session.send(Request("POST", url, data="text", auth=digest).prepare())
    assert answer.json() == {"body": "text"}
    assert [status.status_code for status in answer.history] == [401]
    assert scene.trail == [("/digest", None)] * 2
    assert scene.token_requests == 0


def test_a_sent_request_that_the_caller_prepares_for_digest_carries_no_token(scene: Scene) -> None:
    session = scene.session()
    scene.api.protected = False
    scene.api.add_route("/digest", digest_route)
    again = session.get(scene.url).request.copy()
    again.prepare_url(f"{scene.api.url}/digest", None)
    again.prepare_auth(HTTPDigestAuth("user", "password"))
    assert session.send(again).status_code == 200
    assert scene.trail[1:] == [("/digest", None)] * 2


def test_the_refusal_of_a_url_outside_api_url_is_returned(scene: Scene) -> None:
    session, other = scene.refused(api_url=scene.api.url), scene.another_api()
    assert session.get(f"{other.url}/x").status_code == 401
    assert trail(other) == [("/x", None)]
    assert scene.token_requests == 0


# No other token


@pytest.mark.parametrize("kind", ["error", "hang", "denies", "down"])
def test_the_refusal_is_returned_if_the_renewal_fails_while_the_token_has_not_expired(
    scene: Scene, kind: str
) -> None:
    session = scene.refused()
    outcomes = {
        "error": UNAVAILABLE,
        "hang": faults.hang(),
        "denies": faults.oauth_error("invalid_client", status=401),
    }
    if kind == "down":
        scene.auth.down()
    else:
        scene.auth.answer_next(outcomes[kind], None)
    response = session.get(scene.url, timeout=(0.02, 0.2))
    assert response.status_code == 401
    assert scene.trail == [("/anything", 1)]
    scene.auth.down()  # this ends requests that hang
    flights_done()
    (failed,) = scene.emitted(RenewalFailed)
    assert (failed.why, failed.usable) == ("refused", True)
    assert scene.token_requests == (0 if kind == "down" else 1)


def test_the_error_of_a_failed_renewal_is_raised_if_the_token_has_expired(scene: Scene) -> None:
    session, clock = scene.refused(), Clock().install()

    def expire(_: Arrived) -> Reply:
        clock.advance(3600)
        return 401, {}, b""

    session.mount("https://api.example", InMemoryAPI(expire))
    scene.auth.answer_next(UNAVAILABLE, None)
    with pytest.raises(TokenError) as caught:
        session.get("https://api.example/x")
    assert caught.value.status_code == 500


def test_after_a_failed_renewal_refusals_are_returned_at_once_until_the_next_attempt(
    scene: Scene,
) -> None:
    session, clock = scene.refused(), Clock().install()
    scene.auth.answer_next(UNAVAILABLE, None)
    for _ in range(10):
        assert session.get(scene.url).status_code == 401
    assert scene.token_requests == 1
    clock.advance(1)
    assert session.get(scene.url).status_code == 401
    assert scene.token_requests == 2
    clock.advance(2)
    scene.auth.answer_normally()
    assert session.get(scene.url).status_code == 200


def test_a_refusal_while_the_endpoint_is_unavailable_is_answered_with_a_token_of_the_store(
    scene: Scene,
) -> None:
    store = MemoryStore()
    session, clock = scene.refused(store=store), Clock().install()
    other = scene.session(store=store)
    other.tokens.get()
    scene.auth.answer_next(UNAVAILABLE, None)
    assert session.get(scene.url).status_code == 401
    scene.auth.answer_normally()
    other.tokens.renew()
    scene.auth.answer_next(UNAVAILABLE, None)
    scene.auth.forget()
    clock.advance(0.9)
    assert session.get(scene.url).status_code == 401
    clock.advance(0.1)  # the store is looked at once a second
    assert session.get(scene.url).status_code == 200
    assert scene.token_requests == 0


def test_a_refused_token_that_cannot_be_renewed_is_still_used_at_other_apis(scene: Scene) -> None:
    session, other = scene.refused(), scene.another_api()
    clock = Clock().install()
    other.protected = False
    scene.auth.answer_next(UNAVAILABLE, None)
    assert session.get(scene.url).status_code == 401
    assert session.get(f"{other.url}/x").status_code == 200
    assert trail(other) == [("/x", 1)]
    assert scene.token_requests == 1  # the failure is remembered
    clock.advance(2)
    assert session.get(f"{other.url}/x").status_code == 200
    flights_done()
    assert scene.token_requests == 2  # after the pause a call tries to renew first
    clock.advance(5)
    scene.auth.answer_normally()
    assert session.get(scene.url).status_code == 200
    assert scene.trail == [("/anything", 1), ("/anything", 1), ("/anything", 2)]


def test_the_callers_timeout_bounds_the_wait_for_another_token(scene: Scene) -> None:
    session, statuses = scene.refused(), iter([401, 200])
    # In memory, because that API answers within every timeout.
    session.mount("https://api.example", InMemoryAPI(lambda _: (next(statuses), {}, b"")))
    with scene.auth.hold() as gate:
        assert session.get("https://api.example/x", timeout=(0.02, 0.03)).status_code == 401
        gate.wait_for()
    flights_done()
    assert session.get("https://api.example/x").status_code == 200
    assert scene.token_requests == 1  # the fetch continued


def test_a_call_in_the_margin_uses_the_token_before_it_expires(
    scene: Scene, sessions: Sessions
) -> None:
    scene.auth.token_lifetime = 20
    session = sessions.new()
    assert session.get(scene.url).status_code == 200
    shift_clocks(19.0)
    scene.auth.advance(19.0)
    with scene.auth.hold() as gate:
        assert session.get(scene.url).status_code == 200
        gate.wait_for()  # it has tried to renew the token
    flights_done()


def test_a_body_that_cannot_be_sent_again_waits_for_another_token_than_a_refused_one(
    scene: Scene, sessions: Sessions
) -> None:
    session, tokens = sessions.with_tokens()
    assert session.get(scene.url).status_code == 200
    scene.auth.revoke_all()
    assert session.post(scene.url, data=iter([b"1"])).status_code == 401
    flights_done()
    state_of(tokens).is_slow = True  # so that nobody else waits
    with scene.auth.hold() as gate, ThreadPoolExecutor(1) as pool:
        call = pool.submit(session.post, scene.url, data=iter([b"2"]))
        until(lambda: waiters_of(tokens) == 1)
        gate.release()
        assert call.result(20).status_code == 200


# DPoP


def demand(nonce: str) -> Answer:
    challenge = 'DPoP error="use_dpop_nonce", error_description="nonce"'
    return Answer(401, {"WWW-Authenticate": challenge, "DPoP-Nonce": nonce})


@pytest.fixture
def dpop(scene: Scene) -> ClientCredentialsSession:
    scene.auth.token_fields = {"token_type": "DPoP"}
    scene.api.protected = False
    session = scene.session(scheme=DPoP())
    session.tokens.get()
    flights_done()
    scene.auth.forget()
    scene.events.clear()
    return session


def proofs(scene: Scene) -> list[tuple[int, str | None]]:
    """Return the number of the token of each request, and the nonce in its proof."""
    issued = scene.auth.issued
    shown = [seen.headers["Authorization"].removeprefix("DPoP ") for seen in scene.api.requests]
    return [
        (issued.index(token) + 1, nonce_of(seen))
        for token, seen in zip(shown, scene.api.requests, strict=True)
    ]


def test_a_demand_for_a_nonce_is_answered_by_a_replay_with_a_new_proof(
    scene: Scene, dpop: ClientCredentialsSession
) -> None:
    scene.api.answer_next(demand("n1"))
    assert dpop.post(scene.url, data=b"x").status_code == 200
    assert proofs(scene) == [(1, None), (1, "n1")]
    assert [seen.body for seen in scene.api.requests] == [b"x", b"x"]
    assert scene.token_requests == 0
    assert scene.events == []


def test_a_replay_for_a_nonce_does_not_prevent_one_for_a_new_token(
    scene: Scene, dpop: ClientCredentialsSession
) -> None:
    scene.api.answer_next(demand("n1"))
    scene.api.refuse_next()
    assert dpop.get(scene.url).status_code == 200
    assert proofs(scene) == [(1, None), (1, "n1"), (2, "n1")]
    assert scene.token_requests == 1


def test_the_demand_for_a_nonce_in_answer_to_a_replay_is_answered_too(
    scene: Scene, dpop: ClientCredentialsSession
) -> None:
    scene.api.refuse_next()
    scene.api.answer_next(demand("n1"))
    assert dpop.get(scene.url).status_code == 200
    assert proofs(scene) == [(1, None), (2, None), (2, "n1")]
    assert scene.emitted(RequestReplayed) == [RequestReplayed("GET", scene.url, 401, 200)]
    scene.api.refuse_next()
    assert dpop.get(scene.url).status_code == 200  # it was accepted: no back-off
    assert scene.token_requests == 2


def test_a_demand_for_a_nonce_is_answered_once(
    scene: Scene, dpop: ClientCredentialsSession
) -> None:
    scene.api.answer_next(demand("n1"))
    scene.api.refuse_next()
    scene.api.answer_next(demand("n2"))
    assert dpop.get(scene.url).status_code == 401
    assert proofs(scene) == [(1, None), (1, "n1"), (2, "n1")]
    assert dpop.get(scene.url).status_code == 200
    assert proofs(scene)[3:] == [(2, "n2")]


def test_a_second_demand_for_a_nonce_is_returned_and_causes_no_renewal(
    scene: Scene, dpop: ClientCredentialsSession
) -> None:
    scene.api.answer_next(demand("n1"))
    scene.api.answer_next(demand("n2"))
    assert dpop.get(scene.url).status_code == 401
    assert proofs(scene) == [(1, None), (1, "n1")]
    assert dpop.get(scene.url).status_code == 200
    assert proofs(scene)[2:] == [(1, "n2")]
    assert scene.token_requests == 0


def test_a_body_that_cannot_be_sent_again_is_not_replayed_for_a_nonce(
    scene: Scene, dpop: ClientCredentialsSession
) -> None:
    scene.api.answer_next(demand("n1"))
    assert dpop.post(scene.url, data=iter([b"once"])).status_code == 401
    assert len(scene.emitted(ReplayImpossible)) == 1
    assert dpop.post(scene.url, data=iter([b"twice"])).status_code == 200
    assert proofs(scene) == [(1, None), (1, "n1")]
    assert scene.token_requests == 0


def test_the_nonce_of_any_answer_is_used_from_then_on(
    scene: Scene, dpop: ClientCredentialsSession
) -> None:
    scene.api.answer_next(Answer(200, {"DPoP-Nonce": "n1"}))
    assert [dpop.get(scene.url).status_code for _ in range(2)] == [200, 200]
    assert proofs(scene) == [(1, None), (1, "n1")]


@pytest.mark.parametrize("challenged", [demand("n1"), Answer(401)], ids=["nonce", "token"])
def test_a_refusal_of_the_login_that_a_session_put_in_the_place_of_a_token_is_returned(
    scene: Scene, challenged: Answer
) -> None:
    class WithLogin(requests.Session):
        def rebuild_auth(self, prepared_request: PreparedRequest, response: Response) -> None:
            prepared_request.headers["Authorization"] = "Basic bWU="

    scene.auth.token_fields = {"token_type": "DPoP"}
    scene.api.protected = False
    session = scene.stack.enter_context(WithLogin())
    session.auth, session.trust_env = scene.auth_object(scheme=DPoP()), False
    scene.api.answer_next(Answer(302, {"Location": scene.url}))
    scene.api.answer_next(challenged)
    assert session.get(f"{scene.api.url}/moved").status_code == 401
    shown = [seen.headers["Authorization"].partition(" ")[0] for seen in scene.api.requests]
    assert shown == ["DPoP", "Basic"]
    assert "DPoP" not in scene.api.requests[1].headers
    assert scene.token_requests == 1


# What remains


@pytest.mark.unmeasured
def test_requests_leave_no_cycles_for_the_garbage_collector(scene: Scene) -> None:
    session = scene.session()
    session.get(scene.url)
    gc.collect()
    gc.disable()
    try:
        gc.set_debug(gc.DEBUG_SAVEALL)
        for _ in range(50):
            session.get(scene.url)
            scene.auth.revoke_all()
            session.post(scene.url, data=b"x")
        gc.collect()
        ours = ("oauthcc", "requests", "urllib3")
        left = [thing for thing in gc.garbage if type(thing).__module__.partition(".")[0] in ours]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert left == []
    assert scene.token_requests == 51


def test_a_response_does_not_keep_the_session_alive(scene: Scene) -> None:
    session = ClientCredentialsSession(*scene.client)
    gone = weakref.ref(session)
    kept = session.get(scene.url)
    scene.auth.revoke_all()
    replayed = session.get(scene.url)
    session.close()
    gc.disable()
    try:
        del session
        assert gone() is None
    finally:
        gc.enable()
    assert (kept.status_code, replayed.status_code) == (200, 200)


def test_a_response_is_pickled_without_token_and_session(scene: Scene, sessions: Sessions) -> None:
    response = sessions.refused().get(scene.url)
    handler = response.request.hooks["response"][0]
    for thing in (response, response.request, response.request.hooks, handler):
        octets = pickle.dumps(thing)
        assert not any(token.encode() in octets for token in scene.auth.issued)
        assert scene.auth.client_secret.encode() not in octets
    again = pickle.loads(pickle.dumps(response))
    assert again.json() == response.json()
    assert again.request.headers["Authorization"] == "Bearer ***"
    assert pickle.loads(pickle.dumps(handler))(response) is None


def test_a_request_that_was_pickled_gets_the_current_token(scene: Scene) -> None:
    session = scene.refused()
    prepared = pickle.loads(pickle.dumps(session.get(scene.url).request))
    assert isinstance(prepared.headers["Authorization"], SecretHeader)
    assert session.send(prepared).status_code == 200
    assert scene.trail == [*TWICE, ("/anything", 2)]
