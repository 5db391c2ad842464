"""The header with the token: an exact text for adapters, and no token in its `repr` afterwards."""

from __future__ import annotations

import copy
import json
import logging
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from requests import PreparedRequest, Request, Response
from requests.adapters import BaseAdapter, HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3.util import Retry

from oauthcc import Bearer, ClientCredentialsSession, DPoP
from oauthcc.api_request.handle_401 import Handle401
from oauthcc.redaction import SecretHeader
from oauthcc.testing import AuthorizationServer, ProtectedAPI, faults

from .own_header import SCHEMES, SHOPIFY, OwnScene, api_for, own_scene, scheme_of
from .refusals import TWICE, Scene, Sessions, trail
from .sessions import session_for

NAMES = ("Authorization", "DPoP")


class Looking(HTTPAdapter):
    """An adapter that notes the requests and the headers that it is given."""

    def __init__(self, *args: Any, names: tuple[str, ...] = NAMES, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.names = names
        self.kept: list[PreparedRequest] = []
        self.headers: list[dict[str, Any]] = []

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        self.kept.append(request)
        self.headers.append({n: v for n, v in request.headers.items() if n in self.names})
        return super().send(request, *args, **kwargs)


class Lines(BaseAdapter):
    """An adapter that writes a line for each header, as those over libcurl do."""

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:  # type: ignore[override]
        url = urlsplit(str(request.url))
        lines = [f"{name}: {value}" for name, value in request.headers.items()]
        line = HTTPConnection(str(url.hostname), url.port)
        fields = dict(text.split(": ", 1) for text in lines)
        line.request(str(request.method), url.path, request.body, fields)
        answer, response = line.getresponse(), Response()
        response.status_code, response.request = answer.status, request
        response.url, response._content = str(request.url), answer.read()
        line.close()
        return response

    def close(self) -> None:
        pass


hooked: list[Any] = []


def note(response: Response, **_: Any) -> None:
    hooked.append(response.request)


def shown(response: Response) -> Iterator[PreparedRequest]:
    """Yield the requests that a response shows."""
    for one in (*response.history, response):
        yield one.request
    if response.next is not None:
        yield response.next


def assert_hidden(scene: Scene, *requests: Any) -> None:
    """Check that the requests carry the token, and show it only as a text."""
    for request in requests:
        for name in NAMES:
            value = request.headers.get(name)
            if value is not None:
                assert repr(value) in ("'Bearer ***'", "'DPoP ***'", "'***'")
                assert f"{value}" == str(value) == value
        token = request.headers["Authorization"].split(" ")[1]
        assert token in scene.auth.issued
        assert token not in repr(request.headers)
        assert token not in repr(copy.deepcopy(request).headers)
        assert token.encode() not in pickle.dumps(request)


@pytest.mark.parametrize("scheme", [None, DPoP()], ids=["Bearer", "DPoP"])
def test_an_adapter_gets_an_exact_text_and_users_see_no_token(
    scene: Scene, sessions: Sessions, scheme: Any
) -> None:
    scene.auth.token_fields = {"token_type": "DPoP"} if scheme else {}
    session, adapter = sessions.refused(scheme=scheme), Looking()
    session.mount(scene.api.url, adapter)
    hooked.clear()
    scene.api.protected = scheme is None
    response = session.get(f"{scene.api.url}/redirect-to", hooks={"response": note})
    assert response.status_code == 200
    assert len(adapter.headers) == (3 if scheme is None else 2)
    for headers in adapter.headers:
        assert headers.keys() == set(NAMES[: 1 if scheme is None else 2])
        assert {type(value) for value in headers.values()} == {str}
    assert len(hooked) == 2
    assert_hidden(scene, *shown(response), *hooked)
    octets = pickle.dumps(response)
    assert not any(token.encode() in octets for token in scene.auth.issued)
    # Nothing was edited in place: an adapter may still use what it was given.
    for kept, headers in zip(adapter.kept, adapter.headers, strict=True):
        assert type(kept.headers["Authorization"]) is str
        assert kept.headers["Authorization"] == adapter.headers[-1]["Authorization"] or (
            kept.headers["Authorization"] == headers["Authorization"]
        )


def test_an_adapter_that_writes_lines_sends_the_token(scene: Scene, sessions: Sessions) -> None:
    session = sessions.new()
    session.mount("http://", Lines())
    assert session.get(scene.url).status_code == 200
    assert scene.trail == [("/anything", 1)]


def test_the_next_request_of_a_redirect_shows_no_token_and_can_be_sent(
    scene: Scene, sessions: Sessions
) -> None:
    session = sessions.new()
    response = session.get(f"{scene.api.url}/redirect-to", allow_redirects=False)
    assert response.next is not None
    assert_hidden(scene, *shown(response))
    assert session.send(response.next).status_code == 200
    assert scene.trail == [("/redirect-to", 1), ("/anything", 1)]


def test_a_streamed_response_shows_no_token(scene: Scene, sessions: Sessions) -> None:
    with sessions.new().get(scene.url, stream=True) as response:
        assert_hidden(scene, response.request)


class Own(CaseInsensitiveDict[str]):
    """Headers of the user, whose copies are not of this class."""


@pytest.mark.parametrize("kind", [CaseInsensitiveDict, dict, Own])
def test_headers_of_any_kind_are_shown_without_the_token(scene: Scene, kind: Any) -> None:
    session = scene.session()
    prepared = session.prepare_request(Request("GET", scene.url))
    prepared.headers = kind(prepared.headers)
    response = session.send(prepared)
    assert type(response.request.headers) is type(kind().copy())
    assert_hidden(scene, response.request)
    assert "Authorization" not in prepared.headers


# Errors


def _raise(response: Response, **_: Any) -> None:
    response.close()
    raise requests.HTTPError("mine", request=response.request, response=response)


def _cut(scene: Scene, session: requests.Session) -> Any:
    scene.api.answer_next(faults.reset())
    return session.get(scene.url)


def _retried(scene: Scene, session: requests.Session) -> Any:
    retry = Retry(total=1, status_forcelist=[503], backoff_factor=0)
    session.mount("http://", HTTPAdapter(max_retries=retry))
    scene.api.answer_next(faults.unavailable(retry_after=None), 2)
    return session.get(scene.url)


def _redirected(scene: Scene, session: requests.Session) -> Any:
    session.max_redirects = 1
    return session.get(f"{scene.api.url}/redirect-to?url=/redirect-to?url=/x")


class _Wrapping(HTTPAdapter):
    """An adapter whose errors have the requests and the responses of those that led to them."""

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        response = super().send(request, *args, **kwargs)
        response.close()
        inner = requests.HTTPError("inner", response=response)
        try:
            raise inner
        except requests.HTTPError as error:
            outer = requests.ConnectionError("outer", request=request)
            error.__context__ = outer  # as careless code can leave it
            raise outer from error


def _wrapped(scene: Scene, session: requests.Session) -> Any:
    session.mount("http://", _Wrapping())
    return session.get(scene.url)


@pytest.mark.parametrize(
    "call",
    [
        _cut,
        _retried,
        _redirected,
        _wrapped,
        lambda scene, session: session.get(scene.url, hooks={"response": _raise}),
    ],
    ids=["cut", "retried", "redirected", "wrapped", "hook"],
)
def test_an_error_shows_no_token(scene: Scene, call: Callable[..., Any]) -> None:
    session = scene.session()
    session.tokens.get()
    with pytest.raises(requests.RequestException) as caught:
        call(scene, session)
    error: Any = caught.value
    for one in (error, error.__cause__):
        if getattr(one, "request", None) is not None:
            assert_hidden(scene, one.request)
        if getattr(one, "response", None) is not None:
            assert_hidden(scene, one.response.request)
            assert_hidden(scene, *[r.request for r in one.response.history])


def test_a_pickle_of_an_error_of_a_plain_session_contains_no_token(scene: Scene) -> None:
    session, auth = scene.plain(), scene.auth_object()
    auth.tokens.get()
    scene.api.answer_next(faults.reset())
    with pytest.raises(requests.ConnectionError) as caught:
        session.get(scene.url, auth=auth)
    # requests calls nothing of ours when an adapter raises. So this is the request that was sent.
    request: Any = caught.value.request
    assert type(request.headers["Authorization"]) is str
    octets = pickle.dumps(caught.value)
    assert scene.auth.issued[0].encode() not in octets
    assert pickle.loads(octets).request.headers["Authorization"] == "Bearer ***"
    request.headers = None
    pickle.dumps(request)


@pytest.mark.parametrize("is_first", [True, False])
def test_what_is_noted_for_a_replay_shows_no_token(
    scene: Scene, sessions: Sessions, is_first: bool
) -> None:
    kinds = (_Forwarding, ClientCredentialsSession)
    made: Any = type("Made", kinds if is_first else kinds[::-1], {})
    with made(*scene.client) as session:
        for response in (sessions.new().get(scene.url), session.get(scene.url)):
            request: Any = response.request
            attributes = [
                {name: getattr(hook, name) for name in Handle401.__slots__}
                for hook in request.hooks["response"]
            ]
            assert any("_handed" in one for one in attributes)
            shown_values = repr([vars(request), *attributes])
            assert not any(token in shown_values for token in scene.auth.issued)


# Headers that are used again


def test_headers_copied_from_a_request_send_the_token_nowhere_else(
    scene: Scene, sessions: Sessions
) -> None:
    session, other = sessions.new(api_url=scene.api.url), scene.another_api()
    other.protected = False
    response = session.get(f"{scene.api.url}/redirect-to")
    for request in shown(response):
        for headers in (dict(request.headers), json_copy(request.headers)):
            ours = scene.session(api_url=scene.api.url)
            ours.get(f"{other.url}/x", headers=headers)
            is_redacted = isinstance(headers["Authorization"], SecretHeader)
            # A text is a header of the caller, as in requests.
            assert trail(other)[-1] == ("/x", None if is_redacted else 1)


def json_copy(headers: Any) -> Any:
    return json.loads(json.dumps(dict(headers)))


class _Forwarding(requests.Session):
    """A mix-in that puts a mapping of its own in the place of the hooks."""

    def send(self, request: PreparedRequest, **kwargs: Any) -> Response:
        request.hooks = {**request.hooks}
        return super().send(request, **kwargs)


class _Dropping(requests.Session):
    """A mix-in that drops the hooks."""

    def send(self, request: PreparedRequest, **kwargs: Any) -> Response:
        request.hooks = {}
        return super().send(request, **kwargs)


@pytest.mark.parametrize("mix_in", [_Forwarding, _Dropping])
@pytest.mark.parametrize("target", ["/outside", "other"])
def test_a_token_whose_hooks_were_replaced_does_not_leave_its_api(
    scene: Scene, mix_in: Any, target: str
) -> None:
    other = scene.another_api()
    other.protected = scene.api.protected = False
    url = f"{other.url}/x" if target == "other" else target
    scene.api.add_route("/v1/go", lambda _: faults.redirect(url))
    made: Any = type("Made", (ClientCredentialsSession, mix_in), {})
    with made(*scene.client, api_url=f"{scene.api.url}/v1") as session:
        response = session.get(f"{scene.api.url}/v1/go")
    assert response.status_code == 200
    assert_hidden(scene, response.history[0].request)
    assert [token for _, token in (*scene.trail, *trail(other))] == [1, None]


# One prepared request, sent by many threads


def test_threads_that_send_one_prepared_request_cause_one_token_request(
    scene: Scene, sessions: Sessions
) -> None:
    session, adapter = sessions.refused(), Looking(pool_maxsize=16)
    session.mount(scene.api.url, adapter)
    prepared = session.prepare_request(Request("POST", scene.url, data=b"x"))
    with ThreadPoolExecutor(16) as pool, scene.api.hold() as gate:
        calls = [pool.submit(session.send, prepared) for _ in range(16)]
        gate.wait_for(16, timeout=30)
        gate.release()
        answers = [call.result(30) for call in calls]
    assert [answer.status_code for answer in answers] == [200] * 16
    assert scene.token_requests == 1
    assert len(scene.trail) == 32
    assert {type(headers["Authorization"]) for headers in adapter.headers} == {str}
    assert_hidden(scene, *[answer.request for answer in answers])


def test_a_prepared_request_is_sent_with_the_newest_token(scene: Scene) -> None:
    session, auth = scene.plain(), scene.auth_object()
    prepared = session.prepare_request(Request("GET", scene.url, auth=auth))
    assert_hidden(scene, prepared)
    auth.tokens.renew()
    assert session.send(prepared).status_code == 200
    assert scene.trail == [("/anything", 2)]
    assert scene.trail != TWICE


def test_a_prepared_request_that_is_sent_often_remembers_few_values(scene: Scene) -> None:
    scene.auth.token_fields = {"token_type": "DPoP"}
    scene.api.protected = False
    session, auth = scene.plain(), scene.auth_object(scheme=DPoP())
    session.mount(scene.api.url, Lines())
    prepared = session.prepare_request(Request("GET", scene.url, auth=auth))
    for _ in range(120):
        request = session.send(prepared).request
    assert len(vars(prepared)["_handler"].values) <= 102
    assert_hidden(scene, request)
    assert len({seen.headers["DPoP"] for seen in scene.api.requests}) == 120


def test_threads_that_send_one_prepared_request_always_send_a_token(scene: Scene) -> None:
    session, auth = scene.plain(), scene.auth_object()
    session.mount("http://", HTTPAdapter(pool_maxsize=8))
    prepared = session.prepare_request(Request("GET", scene.url, auth=auth))

    def send(number: int) -> int:
        if number % 25 == 0:
            auth.tokens.renew()
        return session.send(prepared).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(send, range(200))) == {200}
    assert None not in {token for _, token in scene.trail}


def test_a_refused_request_is_replayed_if_another_thread_has_put_a_newer_token_on_it(
    scene: Scene,
) -> None:
    session, other, auth = scene.plain(), scene.plain(), scene.auth_object()
    prepared = session.prepare_request(Request("POST", scene.url, data=b"x", auth=auth))
    scene.auth.revoke_all()

    class Meanwhile(HTTPAdapter):
        def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
            answer = super().send(request, *args, **kwargs)
            if answer.status_code == 401:
                auth.tokens.renew()
                assert other.send(prepared).status_code == 200
            return answer

    session.mount("http://", Meanwhile())
    assert session.send(prepared).status_code == 200
    assert [token for _, token in scene.trail] == [1, 2, 2]
    assert scene.token_requests == 2


# A header of its own, or another word before the token


def hidden_values(scene: OwnScene, *requests: PreparedRequest) -> set[str]:
    """Return what is shown of the headers with the token; check that nothing shows more."""
    found = set()
    for request in requests:
        value = request.headers[scene.scheme.header]
        found.add(repr(value))
        assert f"{value}" == str(value) == value
        token = value.split(" ")[-1]
        assert token in scene.auth.issued
        assert token not in repr(request.headers)
        assert token not in repr(copy.deepcopy(request).headers)
        assert token.encode() not in pickle.dumps(request)
    return found


def hidden(scheme: Bearer) -> str:
    return f"'{scheme.prefix} ***'".replace("' ", "'")


def test_a_token_in_a_header_of_its_own_is_replayed_and_shown_nowhere(
    own: OwnScene, own_sessions: Sessions, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    session, adapter = own_sessions.refused(), Looking(names=(own.scheme.header,))
    session.mount(own.api.url, adapter)
    hooked.clear()
    url = f"{own.api.url}/redirect-to"
    response = session.post(url, data=b"x", hooks={"response": note})
    assert response.status_code == 200
    assert own.trail == [("/redirect-to", 1), ("/redirect-to", 2), ("/anything", 2)]
    assert [len(headers) for headers in adapter.headers] == [1, 1, 1]
    assert {type(value) for headers in adapter.headers for value in headers.values()} == {str}
    requests_seen = [*shown(response), *hooked]
    assert hidden_values(own, *requests_seen) == {hidden(own.scheme)}
    octets = pickle.dumps(response)
    for token in own.auth.issued:
        assert token.encode() not in octets
        assert token not in caplog.text
        assert not any(token in f"{event!r}{event}" for event in own.events)
    copied = pickle.loads(octets).request
    assert copied.headers[own.scheme.header] == hidden(own.scheme).strip("'")


def test_the_next_request_shows_no_token_in_a_header_of_its_own(
    own: OwnScene, own_sessions: Sessions
) -> None:
    session = own_sessions.new()
    response = session.get(f"{own.api.url}/redirect-to", allow_redirects=False)
    assert response.next is not None
    assert hidden_values(own, *shown(response)) == {hidden(own.scheme)}
    assert session.send(response.next).status_code == 200
    assert own.trail == [("/redirect-to", 1), ("/anything", 1)]


@pytest.mark.parametrize("call", [_cut, _retried, _redirected, _wrapped])
def test_an_error_shows_no_token_in_a_header_of_its_own(
    own: OwnScene, call: Callable[..., Any]
) -> None:
    session = own.session()
    session.tokens.get()
    with pytest.raises(requests.RequestException) as caught:
        call(own, session)
    error: Any = caught.value
    for one in (error, error.__cause__):
        for holder in (one, getattr(one, "response", None)):
            if getattr(holder, "request", None) is not None:
                assert hidden_values(own, holder.request) == {hidden(own.scheme)}
    assert own.auth.issued[0] not in f"{error!r}{error}"


@pytest.mark.parametrize("token", ["hunter2 and more", "A1-b2.c3 d4", "pass-word "])
def test_no_part_of_a_token_with_a_space_is_shown_if_no_word_is_before_it(
    auth: AuthorizationServer, token: str
) -> None:
    auth.make_token = lambda: token
    for scene in own_scene(auth, SHOPIFY):
        response = scene.session().get(scene.url)
        assert (response.status_code, scene.api.requests[0].token) == (200, token)
        assert repr(response.request.headers[SHOPIFY.header]) == "'***'"


@pytest.mark.parametrize("token", ["*/*", "application/json", "keep-alive", "the-same"])
def test_a_token_that_is_equal_to_another_header_is_sent_and_replayed(
    auth: AuthorizationServer, token: str
) -> None:
    tokens = iter(["first", token, token])
    auth.make_token = lambda: next(tokens)
    sent = {"Accept": "*/*", "Content-Type": "application/json", "X-Mine": "the-same"}
    for scene in own_scene(auth, SHOPIFY):
        session = scene.refused()
        response = session.post(scene.url, data=b"{}", headers=sent)
        assert response.status_code == 200
        assert [seen.token for seen in scene.api.requests] == ["first", token]
        for seen in scene.api.requests:
            assert {name: seen.headers[name] for name in sent} == sent
            assert seen.headers["Connection"] == "keep-alive"


def test_headers_copied_from_a_request_carry_no_token_in_a_header_of_its_own(
    own: OwnScene, own_sessions: Sessions
) -> None:
    response = own_sessions.new(api_url=own.api.url).get(own.url)
    other = own.another_api()
    value = response.request.headers[own.scheme.header]
    for headers in (dict(response.request.headers), {"X-Copy": value}):
        for api_url in (own.api.url, f"{own.api.url}/v1"):
            own.session(api_url=api_url).get(f"{other.url}/x", headers=headers)
            assert not any(str(value) == sent for _, sent in other.requests[-1].raw_headers)


def test_each_api_of_a_session_has_its_token_in_its_own_header(auth: AuthorizationServer) -> None:
    with ExitStack() as stack:
        apis = [
            stack.enter_context(api_for(auth, scheme)) for scheme in (Bearer(), *SCHEMES.values())
        ]
        scene = Scene(auth, apis[0], stack)
        session = scene.session(api_url=apis[0].url)
        for number, api in enumerate(apis[1:]):
            session.add_api(api.url, scheme=scheme_of(api), scope=f"s{number}")
        for copied in (
            session,
            copy.copy(session),
            pickle.loads(pickle.dumps(_without_events(auth, apis))),
        ):
            for api in apis:
                assert copied.get(f"{api.url}/anything").status_code == 200
                names = {name.lower() for name, _ in api.requests[-1].raw_headers}
                carrying = names & {"authorization", "x-shopify-access-token", "x-vault"}
                assert carrying == {api.token_header.lower()}
        auth.revoke_all()
        for api in apis:
            assert session.get(f"{api.url}/anything").status_code == 200
            assert [seen.path for seen in api.requests[-2:]] == ["/anything", "/anything"]


def _without_events(
    auth: AuthorizationServer, apis: list[ProtectedAPI]
) -> ClientCredentialsSession:
    """Return a session with an API for each, which can be pickled."""
    session = session_for(auth, api_url=apis[0].url)
    for number, api in enumerate(apis[1:]):
        session.add_api(api.url, scheme=scheme_of(api), scope=f"s{number}")
    return session


@pytest.mark.parametrize("mix_in", [_Forwarding, _Dropping])
@pytest.mark.parametrize("target", ["/outside", "other"])
def test_a_token_in_its_own_header_whose_hooks_were_replaced_does_not_leave_its_api(
    own: OwnScene, mix_in: Any, target: str
) -> None:
    other = own.another_api()
    own.api.protected = False
    url = f"{other.url}/x" if target == "other" else target
    own.api.add_route("/v1/go", lambda _: faults.redirect(url))
    made: Any = type("Made", (ClientCredentialsSession, mix_in), {})
    with made(*own.client, api_url=f"{own.api.url}/v1", scheme=own.scheme) as session:
        response = session.get(f"{own.api.url}/v1/go")
    assert response.status_code == 200
    assert [token for _, token in (*own.trail, *trail(other))] == [1, None]
    last = [*own.api.requests, *other.requests][-1]
    assert own.scheme.header not in last.headers
