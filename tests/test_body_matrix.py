"""Every kind of body, every answer that makes a request go out again, every kind of adapter.

What arrives the second time is what arrived the first time, byte for byte, or nothing arrives a
second time and the caller gets the first answer. It is never a part of the body, which would make
the server wait for the rest.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter

from oauthcc.events import ReplayImpossible
from oauthcc.schemes import DPoP
from oauthcc.testing import Answer, AuthorizationServer, ProtectedAPI
from oauthcc.testing.faults import Outcome
from oauthcc.testing.seen import SeenRequest

from .bodies import AGAIN, NOT_AGAIN, Folder
from .refusals import Scene, Sessions, breaking

pytestmark = [
    pytest.mark.unmeasured,
    pytest.mark.filterwarnings("ignore::requests.exceptions.FileModeWarning"),
]
SCHEME = DPoP()
#: test_replay_bodies.py is enough for these, which resemble others.
ELSEWHERE = {
    *("form", "empty bytes", "empty BytesIO", "str", "BytesIO with a name"),
    *("BufferedRandom over BytesIO", "file open for writing", "TemporaryFile"),
    *("temporary file with progress", "tar member at an offset", "stored zip member"),
    *("iterable of our own", "array", "file that is closed by now", "BytesIO in Python"),
    *("file with another read", "temporary file with another read", "wrapper of two files"),
    *("encrypting wrapper with progress", "codecs.getreader", "codecs.EncodedFile"),
    *("bz2 file", "lzma file", "BufferedReader over BytesIO", "member of a compressed tar"),
    *("text in memory", "list iterator", "subclass of BytesIO"),
}
KINDS = {
    name: make
    for name, make in {**{name: make for name, (make, _) in AGAIN.items()}, **NOT_AGAIN}.items()
    if name not in ELSEWHERE
}
REFUSED = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
NONCE = {"WWW-Authenticate": 'DPoP error="use_dpop_nonce"', "DPoP-Nonce": "nonce"}
REFUSALS: dict[str, Outcome] = {
    "401": Answer(401, REFUSED, b"{}"),
    # Before the end of its body: the connection of a complete answer is used again, and then it is
    # chance whether the reset or the replay comes first, as with any connection that is kept alive.
    "401 and a reset": breaking("Content-Length: 3", b"{}", lambda line: line.reset()),
    "nonce demand": Answer(401, NONCE, b"{}"),
}
#: requests does not rewind these for a redirect. The server would wait for the second body.
STALLS = {"mmap", "reader of our own", "toolbelt's MultipartEncoder", "BytesIO with another read"}


def content_of(body: Any) -> bytes:
    """Read a body of any kind, as an adapter does that needs all of it."""
    if hasattr(body, "read"):
        body = body.read()
    if isinstance(body, str):
        return body.encode()
    return bytes(body) if isinstance(body, (bytes, bytearray, memoryview)) else b"".join(body)


class InPlace(HTTPAdapter):
    """An adapter that changes the request which it is given."""

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        self.change(request)
        return super().send(request, *args, **kwargs)

    def change(self, request: PreparedRequest) -> None:
        raise NotImplementedError


class Gzips(InPlace):
    def change(self, request: PreparedRequest) -> None:
        if request.body is not None:
            request.body = gzip.compress(content_of(request.body), mtime=0)
            request.headers["Content-Encoding"] = "gzip"
            request.headers["Content-Length"] = str(len(request.body))
            request.headers.pop("Transfer-Encoding", None)


class PutsIterator(InPlace):
    def change(self, request: PreparedRequest) -> None:
        if request.body is not None:
            request.body = iter([content_of(request.body)])
            request.headers["Transfer-Encoding"] = "chunked"
            request.headers.pop("Content-Length", None)


class PutsBytesIO(InPlace):
    def change(self, request: PreparedRequest) -> None:
        if request.body is not None:
            data = content_of(request.body)
            request.body = io.BytesIO(data)
            request.headers["Content-Length"] = str(len(data))
            request.headers.pop("Transfer-Encoding", None)


class RewritesURL(InPlace):
    def change(self, request: PreparedRequest) -> None:
        request.url = f"{request.url}/rewritten"
        request.headers["Host"] = f"{request.headers.get('Host', 'host')}.example"


class SendsCopy(HTTPAdapter):
    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        return super().send(request.copy(), *args, **kwargs)


ADAPTERS = [HTTPAdapter, Gzips, PutsIterator, PutsBytesIO, RewritesURL, SendsCopy]
Servers = tuple[AuthorizationServer, ProtectedAPI]


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with AuthorizationServer() as auth, ProtectedAPI(auth) as api:
        api.protected = False
        yield auth, api


@pytest.fixture
def scene(servers: Servers) -> Iterator[Scene]:
    auth, api = servers
    api.answer_normally()
    api.forget()
    auth.forget()
    auth.token_fields = {}
    with ExitStack() as stack:
        yield Scene(auth, api, stack)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bodies")


@pytest.fixture
def folder(path: Path) -> Iterator[Folder]:
    with ExitStack() as stack:
        yield Folder(path, stack)


def sent(
    scene: Scene, session: requests.Session, adapter: type[HTTPAdapter], arguments: dict[str, Any]
) -> tuple[int | type[Exception], list[SeenRequest]]:
    """Send a request; return its status or error, and what arrived."""
    scene.api.forget()
    session.mount(scene.api.url, adapter())
    headers = {"Content-Type": "text/plain"} if "data" in arguments else {}
    outcome: int | type[Exception]
    try:
        # `stream`, because a refusal that breaks off cannot be read.
        with session.post(
            scene.url, **arguments, headers=headers, timeout=10, stream=True
        ) as response:
            outcome = response.status_code
    except requests.RequestException as error:
        outcome = type(error)
    return outcome, list(scene.api.requests)


def arrival(seen: SeenRequest) -> tuple[object, ...]:
    """Return what must be the same in a replay."""
    changing = ("authorization", "dpop")
    headers = [pair for pair in seen.raw_headers if pair[0].lower() not in changing]
    return seen.method, seen.target, headers, seen.body


@pytest.fixture(params=REFUSALS)
def session(scene: Scene, sessions: Sessions, request: pytest.FixtureRequest) -> requests.Session:
    """Return a session whose next request is refused."""
    scene.api.answer_next(REFUSALS[request.param])
    if request.param != "nonce demand":
        return sessions.new()
    scene.auth.token_fields = {"token_type": "DPoP"}
    SCHEME._nonces.clear()
    return sessions.new(scheme=SCHEME)


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_refused_body_is_replayed_byte_for_byte_or_not_at_all(
    scene: Scene, session: requests.Session, folder: Folder, kind: str, adapter: type[HTTPAdapter]
) -> None:
    outcome, arrived = sent(scene, session, adapter, KINDS[kind](folder))
    if kind in AGAIN:
        assert outcome == 200
        first, second = arrived
        assert arrival(first) == arrival(second)
        expected = AGAIN[kind][1]
        encoded = first.headers.get("Content-Encoding") == "gzip"
        body = gzip.decompress(first.body) if encoded else first.body
        assert expected in (body, None)
        assert scene.emitted(ReplayImpossible) == []
    else:
        assert outcome == 401
        assert len(arrived) == 1
        assert len(scene.emitted(ReplayImpossible)) == 1


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in STALLS])
def test_a_redirected_body_arrives_as_in_requests(
    scene: Scene, sessions: Sessions, folder: Folder, kind: str, adapter: type[HTTPAdapter]
) -> None:
    results = []
    for session in (scene.plain(), sessions.new()):
        scene.api.answer_next(Answer(307, {"Location": "/moved"}))
        outcome, arrived = sent(scene, session, adapter, KINDS[kind](folder))
        if kind == "multipart":  # its boundary is random
            results.append((outcome, [seen.path for seen in arrived]))
        else:
            results.append((outcome, [arrival(seen) for seen in arrived]))
    assert results[0] == results[1]
