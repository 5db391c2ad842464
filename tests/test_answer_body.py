"""The body of an answer: how long a refused one is read, and the errors of one read later."""

from __future__ import annotations

import gc
import io
import shutil
import socket
import sys
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import requests
import urllib3

from oauthcc.api_request import answer_body
from oauthcc.api_request.answer_body import release
from oauthcc.redaction.search import redact
from oauthcc.testing import Answer, Fault
from oauthcc.testing.faults import Line, garbage, json_answer, redirect

from .refusals import ReadyMade, Scene, Sessions, breaking

PIECES = 1000


@pytest.fixture(autouse=True)
def _classes_made_anew() -> None:
    """Let coverage see the code that makes a class once, in this or in another test."""
    answer_body._redacting.cache_clear()


class Dripping:
    """A refusal that sends a piece of its body now and then, until the client closes it."""

    def __init__(self, head: str, piece: bytes) -> None:
        self.piece, self.sent = piece, 0
        self.fault = breaking(head, b"", self.play)

    def play(self, line: Line) -> None:
        while self.sent < PIECES and line.pause(0.02):
            try:
                line.send(self.piece)
            except OSError:
                return
            self.sent += 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("head", "piece"),
    [
        ("Transfer-Encoding: chunked", b"2\r\n:\n\r\n"),
        ("Transfer-Encoding: chunked", b"0"),  # a chunk size that does not end
        (f"Content-Length: {PIECES}", b"x"),
        ("Connection: close", b"x"),
        (f"Content-Length: {PIECES}\r\nContent-Encoding: gzip", b"\x1f"),
    ],
)
def test_a_refusal_whose_body_arrives_slowly_is_replayed_all_the_same(
    scene: Scene, sessions: Sessions, head: str, piece: bytes, stream: bool
) -> None:
    session, dripping = sessions.refused(), Dripping(head, piece)
    scene.api.answer_next(dripping.fault)
    with session.get(scene.url, stream=stream, timeout=30) as answer:
        assert answer.status_code == 200
        assert answer.json()["path"] == "/anything"
    assert dripping.sent < PIECES / 2
    assert scene.trail == [("/anything", 1), ("/anything", 2)]


def test_the_read_timeout_of_a_connection_is_as_before_after_a_refusal_was_read(
    scene: Scene,
) -> None:
    session = scene.refused()
    seen: list[Any] = []

    class Watching(requests.adapters.HTTPAdapter):
        def send(self, *args: Any, **kwargs: Any) -> requests.Response:
            response = super().send(*args, **kwargs)
            seen.append(response.raw.connection.sock)
            seen.append(seen[-1].gettimeout())
            return response

    session.mount("http://", Watching())
    session.tokens.endpoint.mount("http://", requests.adapters.HTTPAdapter())
    assert session.get(scene.url, timeout=7).status_code == 200
    first, timeout, second, again = seen
    assert first is second
    assert (timeout, again) == (7, 7)
    assert first.gettimeout() == 7


class Raw:
    """An answer whose socket is reached as that of http.client."""

    def __init__(self, sock: socket.socket) -> None:
        self._fp = self
        self.fp = sock.makefile("rb")

    def stream(self, amount: int, decode_content: bool) -> Any:
        while data := self.fp.read1(amount):
            yield data

    def close(self) -> None:
        self.fp.close()

    release_conn = close


@pytest.mark.parametrize("timeout", [None, 5.0, 0.05])
def test_no_read_takes_longer_than_the_read_timeout_or_the_limit(timeout: float | None) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(timeout)
        theirs.sendall(b"begin")
        response = requests.Response()
        response.raw = Raw(ours)
        release(response, seconds=0.1)
        assert response.content == b"begin"
        assert ours.gettimeout() == timeout


@pytest.mark.parametrize(
    ("timeout", "seconds", "most"), [(None, 20.0, 20.0), (5.0, 20.0, 5.0), (60.0, 20.0, 20.0)]
)
def test_each_read_may_take_the_shorter_of_the_read_timeout_and_what_is_left(
    timeout: float | None, seconds: float, most: float
) -> None:
    limits: list[Any] = []

    class Watched(socket.socket):
        def settimeout(self, value: float | None) -> None:
            limits.append(value)
            super().settimeout(value)

    ours, theirs = socket.socketpair()
    with Watched(fileno=ours.detach()) as watched:
        watched.settimeout(timeout)
        with theirs:
            theirs.sendall(b"begin")
        response = requests.Response()
        response.raw = Raw(watched)
        release(response, seconds=seconds)
    assert response.content == b"begin"
    before, *during, after = limits
    assert before == after == timeout
    assert during
    assert all(0 < limit <= most for limit in during)


def test_nothing_is_read_after_the_limit() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"begin")
        response = requests.Response()
        response.raw = Raw(ours)
        release(response, seconds=-1.0)
        assert response.content == b""


# Errors of a body that is read later


def _echoing(token: str) -> Fault:
    return garbage(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nBearer "
        + token.encode()
        + b"\r\n"
    )


READERS: list[Callable[[requests.Response], object]] = [
    lambda response: response.content,
    lambda response: list(response.iter_content(1)),
    lambda response: list(response.iter_lines()),
    lambda response: list(response.raw.stream()),
    lambda response: list(response.raw.read_chunked()),
    lambda response: response.raw.read(),
    lambda response: shutil.copyfileobj(response.raw, io.BytesIO()),
]


def _texts(error: BaseException | None) -> str:
    """Return the texts of an error and of those that led to it."""
    texts = ""
    while error is not None:
        texts += f"{error} {error!r} {error.args!r}"
        error = error.__cause__ or error.__context__
    return texts


@pytest.mark.parametrize("read", READERS, ids=range(len(READERS)))
def test_the_error_of_a_body_that_is_read_later_quotes_no_token(
    scene: Scene, sessions: Sessions, read: Callable[[requests.Response], object]
) -> None:
    session = sessions.new()
    session.get(scene.url)
    (token,) = scene.auth.issued
    scene.api.answer_next(_echoing(token))
    response = session.get(scene.url, stream=True)
    assert isinstance(response.raw, urllib3.HTTPResponse)
    with pytest.raises((requests.RequestException, urllib3.exceptions.HTTPError)) as caught:
        read(response)
    assert token not in _texts(caught.value)


def test_the_error_of_a_body_that_cannot_be_decoded_quotes_no_token(
    scene: Scene, sessions: Sessions
) -> None:
    token = "a-token-in-lower-case"  # as urllib3 shows the header
    scene.auth.answer_next(json_answer({"access_token": token, "token_type": "Bearer"}))
    scene.api.protected = False
    scene.api.answer_next(Answer(200, {"Content-Encoding": f"gzip, {token}"}, b"no gzip"))
    response = sessions.new().get(scene.url, stream=True)
    with pytest.raises(requests.exceptions.ContentDecodingError) as caught:
        response.content  # noqa: B018 - it is read now
    assert token not in _texts(caught.value)


def test_the_error_of_a_body_that_is_read_at_once_quotes_no_token(
    scene: Scene, sessions: Sessions
) -> None:
    session = sessions.new()
    session.get(scene.url)
    (token,) = scene.auth.issued
    scene.api.answer_next(_echoing(token))
    with pytest.raises(requests.exceptions.ChunkedEncodingError) as caught:
        session.get(scene.url)
    assert token not in _texts(caught.value)
    assert redact("***", [token]) in str(caught.value)


#: The targets for which the parser of URLs raises an error that quotes them.
ODD_TARGETS = ["//{}\xe2\x84\x80.example/", "/{}\xff"]
if sys.version_info >= (3, 11):  # before, this was a host with an odd name
    ODD_TARGETS.append("//[{}]/")


@pytest.mark.parametrize("follow", [True, False])
@pytest.mark.parametrize("target", ODD_TARGETS)
def test_the_error_of_an_odd_target_of_a_redirect_quotes_no_token(
    scene: Scene, target: str, follow: bool
) -> None:
    session = scene.session()
    token = "T0ken-of~this.test"  # the parser does not quote one that begins with "v"
    scene.auth.make_token = lambda: token
    session.get(scene.url)
    scene.api.answer_next(redirect(target.format(token)))
    with pytest.raises(requests.exceptions.InvalidURL) as caught:
        session.get(scene.url, allow_redirects=follow)
    assert token not in _texts(caught.value)
    assert caught.value.request.url == scene.url
    assert token not in repr(dict(caught.value.request.headers))


def test_another_error_of_an_odd_target_is_unchanged(scene: Scene) -> None:
    scene.api.answer_next(redirect("/\xff"))
    with pytest.raises(UnicodeDecodeError):
        scene.session().get(scene.url)


def test_another_error_of_a_body_is_unchanged(scene: Scene, sessions: Sessions) -> None:
    session = sessions.new()
    session.get(scene.url)
    scene.api.answer_next(_echoing("other"))
    response = session.get(scene.url, stream=True)
    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="Bearer other") as caught:
        _ = response.content
    assert isinstance(caught.value.__context__, urllib3.exceptions.ProtocolError)


def test_the_body_of_an_answer_without_chunks_is_of_its_own_class(
    scene: Scene, sessions: Sessions
) -> None:
    with sessions.new().get(scene.url, stream=True) as response:
        assert type(response.raw) is urllib3.HTTPResponse


def test_a_streamed_answer_that_is_dropped_is_freed_at_once(
    scene: Scene, sessions: Sessions
) -> None:
    chunked = garbage(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    scene.api.answer_next(chunked)
    gc.disable()
    try:
        raw = weakref.ref(sessions.new().get(scene.url, stream=True).raw)
        assert raw() is None
    finally:
        gc.enable()


def test_a_reason_phrase_shows_no_token(scene: Scene, sessions: Sessions) -> None:
    session = sessions.refused()
    (token,) = scene.auth.issued
    for status in (403, 500):
        scene.api.answer_next(garbage(f"HTTP/1.1 {status} bad {token}\r\n\r\n".encode()))
        with pytest.raises(requests.HTTPError, match=r"bad \*\*\*") as caught:
            session.get(scene.url).raise_for_status()
        assert token not in _texts(caught.value)


@pytest.mark.parametrize("read", READERS, ids=range(len(READERS)))
def test_a_body_without_a_fault_is_read_later_as_in_requests(
    scene: Scene, sessions: Sessions, read: Callable[[requests.Response], object]
) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    for _ in range(2):
        scene.api.answer_next(garbage(head + b"3\r\nabc\r\n0\r\n\r\n"))
    expected = requests.get(scene.url, stream=True, timeout=10)
    with expected, sessions.new().get(scene.url, stream=True) as response:
        assert repr(read(response)) == repr(read(expected))


def test_another_error_of_raw_is_unchanged(scene: Scene, sessions: Sessions) -> None:
    scene.api.answer_next(garbage(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na"))
    response = sessions.new().get(scene.url, stream=True)
    with response, pytest.raises(urllib3.exceptions.ProtocolError) as caught:
        response.raw.read()
    assert caught.value.__cause__ is not None


def test_an_answer_that_an_adapter_made_is_left_as_it_is(scene: Scene, sessions: Sessions) -> None:
    session = sessions.new()
    session.mount("https://", ReadyMade(lambda _: (200, {}, b"made")))
    for stream in (False, True):
        response = session.get("https://api.example/x", stream=stream)
        assert response.content == b"made"
        assert response.raw is None


def test_an_error_of_a_hook_of_the_user_keeps_its_type(scene: Scene) -> None:
    class Mine(ValueError):
        pass

    def hook(response: requests.Response, **_: object) -> None:
        raise Mine(scene.auth.issued[0])

    with pytest.raises(Mine):
        scene.session().get(scene.url, hooks={"response": hook})
