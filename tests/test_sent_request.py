"""What is replayed is what was handed over the first time, even if it was changed on its way."""

from __future__ import annotations

import gzip
import io
import subprocess
import sys
from typing import Any

import pytest
import requests
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter

from oauthcc import ClientCredentialsSession
from oauthcc.events import ReplayImpossible

from .refusals import Scene, Sessions
from .scripts import ROOT

BODY = b"order 66 " * 20


class Zipping(requests.Session):
    """A mix-in that sends a changed copy."""

    def send(self, request: PreparedRequest, **kwargs: Any) -> Response:
        if request.body and "Content-Encoding" not in request.headers:
            body = gzip.compress(bytes(request.body), mtime=0)
            request = request.copy()
            request.body = body
            request.headers["Content-Encoding"] = "gzip"
            request.headers["Content-Length"] = str(len(body))
        return super().send(request, **kwargs)


class Marking(requests.Session):
    """A mix-in that changes the request in place, as one that signs or traces does."""

    def send(self, request: PreparedRequest, **kwargs: Any) -> Response:
        request.headers["X-Mark"] = "here"
        return super().send(request, **kwargs)


class Replacing(requests.Session):
    """A mix-in that sends a request of its own."""

    def send(self, request: PreparedRequest, **kwargs: Any) -> Response:
        own = requests.Request(request.method, request.url, dict(request.headers), data="own")
        prepared = own.prepare()
        prepared.hooks = vars(request)["hooks"]
        return super().send(prepared, **kwargs)


class Rebuilding(requests.Session):
    """The same, but it reads the hooks as everybody does."""

    def send(self, request: PreparedRequest, **kwargs: Any) -> Response:
        own = PreparedRequest()
        own.prepare(
            request.method, request.url, dict(request.headers), data="own", hooks=request.hooks
        )
        return super().send(own, **kwargs)


def _refused(scene: Scene, *kinds: type[requests.Session]) -> requests.Session:
    """Return a session of a class made of these, whose token was revoked."""
    made: Any = type("Made", kinds, {})
    session = made(*scene.client, on_event=scene.events.append)
    scene.stack.enter_context(session)
    scene.revoke(session.tokens)
    return session  # type: ignore[no-any-return]


@pytest.mark.parametrize("is_first", [True, False])
def test_the_copy_that_a_mix_in_has_changed_is_replayed(scene: Scene, is_first: bool) -> None:
    kinds = (Zipping, ClientCredentialsSession)
    session = _refused(scene, *(kinds if is_first else reversed(kinds)))
    assert session.post(scene.url, data=BODY).status_code == 200
    first, second = scene.api.requests
    assert gzip.decompress(first.body) == BODY
    assert second.body == first.body
    assert second.headers["Content-Encoding"] == "gzip"


def test_hooks_that_a_mix_in_puts_in_the_place_of_others_are_called(scene: Scene) -> None:
    seen: list[int] = []

    class Hooking(requests.Session):
        def send(self, request: PreparedRequest, **kwargs: Any) -> Response:
            theirs = [lambda response, **_: seen.append(response.status_code)]
            request.hooks = {"response": [*request.hooks["response"], *theirs]}
            return super().send(request, **kwargs)

    session = _refused(scene, ClientCredentialsSession, Hooking)
    assert session.post(scene.url, data=BODY).status_code == 200
    assert seen == [200]
    assert [seen.body for seen in scene.api.requests] == [BODY, BODY]


@pytest.mark.parametrize("is_first", [True, False])
def test_a_request_that_a_mix_in_sends_once_more_is_replayed_each_time(
    scene: Scene, *, is_first: bool
) -> None:
    class Repeating(requests.Session):
        def send(self, request: PreparedRequest, **kwargs: Any) -> Response:
            first = super().send(request, **kwargs)
            scene.auth.revoke_all()
            return first if first.status_code == 200 else super().send(request, **kwargs)

    kinds = (Repeating, ClientCredentialsSession)
    session = _refused(scene, *(kinds if is_first else reversed(kinds)))
    scene.api.answer_next((503, {}, b""))
    assert session.post(scene.url, data=BODY).status_code == 200
    scene.revoke(session.tokens)  # type: ignore[attr-defined]
    scene.api.answer_next((401, {}, b""))
    scene.api.answer_next((503, {}, b""))
    assert session.post(scene.url, data=BODY).status_code == 200
    assert {seen.body for seen in scene.api.requests} == {BODY}


@pytest.mark.parametrize("is_first", [True, False])
def test_what_a_mix_in_adds_in_place_is_replayed(scene: Scene, is_first: bool) -> None:
    kinds = (Marking, ClientCredentialsSession)
    session = _refused(scene, *(kinds if is_first else reversed(kinds)))
    assert session.post(scene.url, data=BODY).status_code == 200
    assert [(r.body, r.headers["X-Mark"]) for r in scene.api.requests] == [(BODY, "here")] * 2


@pytest.mark.parametrize("mix_in", [Replacing, Rebuilding])
def test_a_request_that_a_mix_in_sends_in_place_of_ours_is_not_replayed(
    scene: Scene, mix_in: type[requests.Session]
) -> None:
    session = _refused(scene, ClientCredentialsSession, mix_in)
    assert session.post(scene.url, data=BODY).status_code == 401
    assert [seen.body for seen in scene.api.requests] == [b"own"]
    (event,) = scene.emitted(ReplayImpossible)
    assert event.reason == "another request was sent in its place"


def test_what_a_tool_adds_in_the_place_of_send_is_replayed(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = requests.Session.send

    def tracing(self: requests.Session, request: PreparedRequest, **kwargs: Any) -> Response:
        request.headers["Traceparent"] = "00-1-2-01"
        return plain(self, request, **kwargs)

    session = scene.refused()
    monkeypatch.setattr(requests.Session, "send", tracing)
    assert session.post(scene.url, data=BODY).status_code == 200
    shown = [(seen.body, seen.headers["Traceparent"]) for seen in scene.api.requests]
    assert shown == [(BODY, "00-1-2-01")] * 2


@pytest.mark.unmeasured
def test_a_tool_that_replaced_send_before_our_import_is_noticed() -> None:
    code = (
        "import requests\n"
        "plain = requests.Session.send\n"
        "requests.Session.send = lambda self, request, **kwargs: plain(self, request, **kwargs)\n"
        "from oauthcc.api_request import sent_request\n"
        "print(sent_request.PLAIN_SEND)\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "None\n"


def test_without_a_mix_in_an_adapter_gets_a_plain_request(scene: Scene) -> None:
    kinds: list[type] = []

    class Looking(HTTPAdapter):
        def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
            kinds.append(type(request))
            return super().send(request, *args, **kwargs)

    session = scene.refused()
    session.mount("http://", Looking())
    assert type(session.get(scene.url).request) is PreparedRequest
    assert set(kinds) == {PreparedRequest}


# Adapters


class Zipper(HTTPAdapter):
    """An adapter that compresses the body, in place."""

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        body = gzip.compress(bytes(request.body or b""), mtime=0)
        request.body = body
        request.headers.update({"Content-Encoding": "gzip", "Content-Length": str(len(body))})
        return super().send(request, *args, **kwargs)


class Copier(Zipper):
    """An adapter that compresses the body of a copy."""

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        return super().send(request.copy(), *args, **kwargs)


class Streamer(HTTPAdapter):
    """An adapter that turns the body into a stream, in place."""

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        request.body = iter([bytes(request.body or b"")])  # type: ignore[assignment]
        request.headers.pop("Content-Length")
        request.headers["Transfer-Encoding"] = "chunked"
        return super().send(request, *args, **kwargs)


class Filer(HTTPAdapter):
    """An adapter that turns the body into a file, in place."""

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        request.body = io.BytesIO(bytes(request.body or b""))  # type: ignore[assignment]
        return super().send(request, *args, **kwargs)


class Renamer(HTTPAdapter):
    """An adapter that changes everything else in place, and counts."""

    count = 0

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        self.count += 1
        request.method, request.url = "PUT", f"{request.url}/renamed"
        request.headers = {**request.headers, f"X-{self.count}": "x"}  # type: ignore[assignment]
        return super().send(request, *args, **kwargs)


class Reader(HTTPAdapter):
    """An adapter that looks at the request after it was sent."""

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        response = super().send(request, *args, **kwargs)
        assert request.hooks["response"]
        return response


class ZippingReader(Zipper, Reader):
    """An adapter that compresses the body, in place, and looks at the request later."""


@pytest.mark.parametrize("mix_in", [False, True])
def test_an_adapter_that_reads_the_hooks_of_a_request_changes_nothing(
    scene: Scene, sessions: Sessions, mix_in: bool
) -> None:
    kinds = (ClientCredentialsSession, Marking)
    session = _refused(scene, *kinds) if mix_in else sessions.refused()
    session.mount(scene.url, Reader())
    assert session.post(scene.url, data=io.BytesIO(BODY)).status_code == 200
    assert [seen.body for seen in scene.api.requests] == [BODY, BODY]


@pytest.mark.parametrize(
    "adapter", [Zipper, Copier, Streamer, Filer, Renamer, ZippingReader], ids=lambda a: a.__name__
)
def test_what_an_adapter_changes_does_not_count(
    scene: Scene, sessions: Sessions, adapter: type[HTTPAdapter]
) -> None:
    session = sessions.refused()
    session.mount(scene.url, adapter())
    assert session.post(scene.url, data=BODY).status_code == 200
    first, second = scene.api.requests
    assert first.body == second.body
    assert (first.method, first.path) == (second.method, second.path)
    assert "x-1" not in second.headers
    assert first.headers.get("Content-Encoding") == second.headers.get("Content-Encoding")


def test_the_adapter_of_the_first_sending_is_used_again(scene: Scene) -> None:
    class Resolving(HTTPAdapter):
        count = 0

        def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
            self.count += 1
            request.url = str(request.url).replace("//localhost:", "//127.0.0.1:")
            return super().send(request, *args, **kwargs)

    session, adapter = scene.refused(), Resolving()
    session.mount("http://localhost", adapter)
    assert session.get(scene.url.replace("127.0.0.1", "localhost")).status_code == 200
    assert adapter.count == 2


def test_what_the_caller_changed_after_preparing_is_replayed(
    scene: Scene, sessions: Sessions
) -> None:
    session = sessions.new()
    prepared = session.prepare_request(requests.Request("POST", scene.url, data=b"first"))
    prepared.prepare_body(b"changed", None)
    prepared.headers["X-Mark"] = "here"
    session.get(scene.url)
    scene.auth.revoke_all()
    scene.api.forget()
    assert session.send(prepared).status_code == 200
    shown = [(seen.body, seen.headers["X-Mark"]) for seen in scene.api.requests]
    assert shown == [(b"changed", "here")] * 2


def test_a_body_that_changes_while_the_token_is_fetched_is_not_replayed(
    scene: Scene, sessions: Sessions
) -> None:
    body = bytearray(b"first")
    session = sessions.refused()
    scene.auth.watch = lambda *_: body.__setitem__(slice(None), b"other")
    assert session.post(scene.url, data=body).status_code == 401
    assert [seen.body for seen in scene.api.requests] == [b"first"]
    assert scene.token_requests == 1
    (event,) = scene.emitted(ReplayImpossible)
    assert "changed" in event.reason
