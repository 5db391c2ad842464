"""`prepare_request` does what requests does, for bodies of all kinds, with and without netrc."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import requests
from requests import PreparedRequest, Request
from requests.auth import HTTPDigestAuth, HTTPProxyAuth
from requests.structures import CaseInsensitiveDict
from urllib3 import HTTPResponse

from oauthcc import Bearer, ClientCredentialsAuth, ClientCredentialsSession, Token
from oauthcc.api_request.authorization import CallerHooks
from oauthcc.testing import Answer

from .own_header import OwnScene
from .refusals import TWICE, Scene
from .sessions import CLIENT

API, OTHER = "https://api.example", "https://other.example"


class Chunks:
    """A body that can be iterated and has no length."""

    def __iter__(self) -> Iterator[bytes]:
        return iter([b"ab", b"c"])


class Unreadable(Chunks):
    """A body whose length raises an error when it is asked for."""

    def __len__(self) -> int:
        raise TypeError("no length")


_opened: list[Any] = []


@pytest.fixture(autouse=True)
def _close_files() -> Iterator[None]:
    yield
    while _opened:
        _opened.pop().close()


def _file(content: bytes) -> Any:
    """Return a file with a number: requests asks for its size."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the fixture above
    _opened.append(file)
    file.write(content)
    file.seek(0)
    return file


BODIES: dict[str, Callable[[], Any]] = {
    "none": lambda: None,
    "bytes": lambda: b"abc",
    "form": lambda: {"a": "b"},
    "file": lambda: io.BytesIO(b"abc"),
    "generator": lambda: (octets for octets in [b"abc"]),
    "chunks": Chunks,
    "unreadable": Unreadable,
    "raw": lambda: HTTPResponse(_file(b"abc"), preload_content=False),
    "gzip": lambda: gzip.GzipFile(fileobj=_file(gzip.compress(b"abc"))),
    "bz2": lambda: bz2.BZ2File(_file(bz2.compress(b"abc"))),
    "lzma": lambda: lzma.LZMAFile(_file(lzma.compress(b"abc"))),  # noqa: SIM115
}
URLS = (
    f"{API}/v1/x",
    f"{API}/v2/x",
    f"{OTHER}/x",
    "https://third.example/x?a=1",
    "https://u:p@api.example/v1/x",
    "https://u:p@other.example/x",
    b"https://other.example/x",
    "  https://OTHER.example/x",
)
HEADERS: tuple[dict[str, Any] | None, ...] = (None, {"Authorization": "mine"}, {"X-Mine": "1"})


@pytest.fixture
def netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Name two hosts in a netrc file."""
    path = tmp_path / "netrc"
    path.write_text("".join(f"machine {h}.example login l password p\n" for h in ("api", "other")))
    monkeypatch.setenv("NETRC", str(path))


def _prepared(session: requests.Session, url: Any, body: str, headers: Any) -> Any:
    request = Request("POST", url, headers, data=BODIES[body]())
    try:
        prepared = session.prepare_request(request)
    except Exception as error:  # noqa: BLE001 - the same one is expected
        return type(error), str(error)
    position = vars(prepared)["_body_position"]
    return (
        [*prepared.headers.items()],
        prepared.url,
        type(prepared.body),
        position if isinstance(position, int) else type(position),
        prepared.hooks,
        sorted(vars(prepared)),
    )


@pytest.mark.parametrize("has_netrc", [True, False], ids=["netrc", "no netrc"])
@pytest.mark.parametrize("body", BODIES)
def test_a_request_is_prepared_as_by_requests(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, body: str, has_netrc: bool
) -> None:
    monkeypatch.setenv("NETRC", "/nowhere")
    if has_netrc:
        request.getfixturevalue("netrc")
    ours = ClientCredentialsSession(*CLIENT, api_url=f"{API}/v1")
    plain, without_netrc = requests.Session(), requests.Session()
    without_netrc.trust_env = False
    for session, url, headers in product((ours,), URLS, HEADERS):
        is_ours = "/v1/" in str(url) and "Authorization" not in (headers or {})
        # Only netrc is left out, and only if the URL gets our token.
        as_requests = without_netrc if is_ours and "@" not in str(url) else plain
        expected = _prepared(as_requests, url, body, headers)
        assert _prepared(session, url, body, headers) == expected, (url, headers)


# Since Python 3.13, requests takes the length of the compressed file for that of the content.
_WRONG_LENGTH = {"gzip", "bz2", "lzma"} if sys.version_info >= (3, 13) else set()
SENT = [body for body in BODIES if body not in {"none", "unreadable", *_WRONG_LENGTH}]


@pytest.mark.parametrize("body", SENT)
@pytest.mark.parametrize("options", [{}, {"api_url": "https://api.example"}])
def test_a_body_of_any_kind_is_sent(scene: Scene, body: str, options: dict[str, Any]) -> None:
    session = scene.session(**options)
    scene.api.protected = not options
    assert session.post(scene.url, data=BODIES[body]()).status_code == 200
    (seen,) = scene.api.requests
    assert seen.body in (b"abc", b"a=b")
    assert (seen.token is None) is bool(options)


def test_netrc_is_looked_up_where_tests_patch_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def lookup(url: Any, raise_errors: bool = False) -> tuple[str, str]:
        asked.append(url)
        return "l", "p"

    monkeypatch.setattr(requests.sessions, "get_netrc_auth", lookup)
    session = ClientCredentialsSession(*CLIENT, api_url=API)
    assert "Authorization" not in session.prepare_request(Request("GET", f"{API}/x")).headers
    assert asked == []
    prepared = session.prepare_request(Request("GET", f"{OTHER}/x"))
    assert prepared.headers["Authorization"].startswith("Basic ")
    assert asked == [f"{OTHER}/x"]
    session.trust_env = False
    session.prepare_request(Request("GET", f"{OTHER}/x"))
    assert len(asked) == 1


@pytest.mark.usefixtures("netrc")
@pytest.mark.parametrize("name", ["Authorization", "authorization", b"Authorization"])
def test_a_header_that_is_none_means_no_token_and_no_netrc(scene: Scene, name: Any) -> None:
    session = scene.session()
    answer = session.get(scene.url, headers={"X-Mine": "1", name: None})
    assert answer.status_code == 401
    assert scene.trail == [("/anything", None)]
    session.get(f"{scene.api.url}/redirect-to", headers={name: None})
    assert {token for _, token in scene.trail} == {None}
    assert scene.token_requests == 0
    prepared = session.prepare_request(Request("GET", f"{API}/x", {name: None}))
    assert "Authorization" not in prepared.headers
    assert isinstance(prepared.hooks, CallerHooks)
    assert session.get(scene.url, headers={"X-Other": None}).status_code == 200


@pytest.mark.parametrize("headers", [(), "", {}])
def test_headers_of_any_kind_may_be_empty(scene: Scene, headers: Any) -> None:
    assert scene.session().get(scene.url, headers=headers).status_code == 200


class Items:
    """Headers that are no mapping. requests asks for their items only."""

    def items(self) -> Any:
        return {"X-Mine": "mine"}.items()


@pytest.mark.parametrize("by", [None, ("user", "password")])
def test_headers_need_nothing_but_items(scene: Scene, by: Any) -> None:
    headers: Any = Items()
    answer = scene.session().get(scene.url, headers=headers, auth=by)
    assert answer.request.headers["X-Mine"] == "mine"


def _kept_as(name: str) -> Any:
    return property(
        lambda self: vars(self).get(name), lambda self, value: vars(self).update({name: value})
    )


class Elsewhere(PreparedRequest):
    """A request that keeps its content under other names."""

    method = _kept_as("_method")
    url = _kept_as("_url")
    headers = _kept_as("_headers")
    body = _kept_as("_body")


class PassingOn(requests.Session):
    """A mix-in that takes part in sending."""

    def send(self, request: PreparedRequest, **kwargs: Any) -> requests.Response:
        return super().send(request, **kwargs)


@pytest.mark.parametrize("is_mixed", [False, True])
def test_a_request_may_keep_its_content_under_other_names(scene: Scene, is_mixed: bool) -> None:
    kinds = (ClientCredentialsSession, PassingOn) if is_mixed else (ClientCredentialsSession,)
    kind: Any = type("Kind", kinds, {})
    with kind.using(scene.refused().tokens) as session:
        prepared = Elsewhere()
        prepared.prepare("POST", scene.url, data=b"content")
        answer = session.send(prepared)
        assert (answer.status_code, answer.request.body) == (200, b"content")
        assert type(answer.request).__name__ == "Elsewhere"
        assert scene.trail == TWICE
        assert "Authorization" not in prepared.headers


# Mix-ins


class Counting(requests.Session):
    """A mix-in that changes requests, and keeps something on itself."""

    count = 0

    def prepare_request(self, request: Request) -> PreparedRequest:
        self.count += 1
        self.kept = self
        self.headers["X-Count"] = str(self.count)
        request.url = f"{API}{request.url}"
        prepared = super().prepare_request(request)
        prepared.headers["X-Mine"] = type(self).__name__
        return prepared


@pytest.mark.usefixtures("netrc")
@pytest.mark.parametrize("is_first", [True, False])
def test_a_mix_in_may_prepare_requests(is_first: bool) -> None:
    made, closed = list[str](), list[str]()

    class Registered:
        def __init_subclass__(cls, **kwargs: Any) -> None:
            made.append(cls.__name__)

        def __del__(self) -> None:
            closed.append("x")

    kinds = (Counting, ClientCredentialsSession)
    kind: Any = type("Kind", (Registered, *(kinds if is_first else kinds[::-1])), {})
    session = kind(*CLIENT)
    for number in (1, 2):
        request = Request("POST", "/x", data=Chunks())
        prepared = session.prepare_request(request)
        assert session.count == number
        assert request.url == prepared.url == f"{API}/x"
        assert prepared.headers["X-Count"] == str(number)
        assert prepared.headers["X-Mine"] == "Kind"
        assert "Authorization" not in prepared.headers
    assert session.kept.tokens is session.tokens
    assert isinstance(session.kept, kind)
    assert session.trust_env is True
    del session.kept
    assert (made, closed) == (["Kind"], [])


class Untrusting(requests.Session):
    """A mix-in that decides about the environment when it prepares a request."""

    def prepare_request(self, request: Request) -> PreparedRequest:
        self.trust_env = False
        return super().prepare_request(request)


@pytest.mark.usefixtures("netrc")
def test_a_mix_in_may_decide_about_the_environment() -> None:
    kind: Any = type("Kind", (ClientCredentialsSession, Untrusting), {})
    session = kind(*CLIENT, api_url=API)
    prepared = session.prepare_request(Request("GET", f"{OTHER}/x"))
    assert session.trust_env is False
    assert "Authorization" not in prepared.headers


def test_a_replaced_method_of_requests_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = requests.Session.prepare_request

    def tracing(self: requests.Session, request: Request) -> PreparedRequest:
        request.headers["Traceparent"] = "00-1-2-01"
        return plain(self, request)

    monkeypatch.setattr(requests.Session, "prepare_request", tracing)
    session = ClientCredentialsSession(*CLIENT)
    assert "Traceparent" in session.prepare_request(Request("GET", f"{API}/x")).headers


# A token in a header of its own


def without(scene: OwnScene) -> None:
    """Check that the last request had no token, and that none was fetched."""
    assert scene.api.requests[-1].token is None
    assert scene.token_requests == 0


@pytest.mark.parametrize("value", ["mine", "", b"mine"])
@pytest.mark.parametrize("turn", [str, str.lower, str.upper, str.encode])
def test_a_header_of_the_same_name_by_the_caller_is_left_alone(
    own: OwnScene, turn: Callable[[str], Any], value: Any
) -> None:
    own.api.protected = False
    session = own.session()
    name = turn(own.scheme.header)
    session.get(own.url, headers={name: value})
    session.send(session.prepare_request(Request("GET", own.url, {name: value})))
    session.headers[name.decode() if isinstance(name, bytes) else name] = value
    session.get(own.url)
    text = value.decode() if isinstance(value, bytes) else value
    assert [seen.headers[own.scheme.header] for seen in own.api.requests] == [text] * 3
    assert own.token_requests == 0


@pytest.mark.parametrize("status", [200, 401])
def test_the_401_of_a_caller_with_the_same_header_is_returned(own: OwnScene, status: int) -> None:
    session = own.session()
    token = session.tokens.get().access_token
    value = str(own.scheme.authorization(Token(token if status == 200 else "old")))
    response = session.get(own.url, headers={own.scheme.header: value})
    # A text that is equal to our header is the caller's too.
    assert response.status_code == status
    assert (len(own.api.requests), own.token_requests) == (1, 1)


@pytest.mark.parametrize("turn", [str, str.lower, str.upper, str.encode])
def test_none_for_the_header_means_without_a_token(own: OwnScene, turn: Any) -> None:
    own.session().get(own.url, headers={turn(own.scheme.header): None})
    without(own)
    assert own.scheme.header not in own.api.requests[-1].headers


def test_none_for_the_authorization_does_not_leave_out_a_token_elsewhere(beside: OwnScene) -> None:
    session = beside.session()
    assert session.get(beside.url, headers={"Authorization": None}).status_code == 200
    assert "Authorization" not in beside.api.requests[-1].headers


AUTHS: dict[str, Any] = {
    "nothing": lambda r: r,
    "digest": HTTPDigestAuth("u", "p"),
    "proxy": HTTPProxyAuth("u", "p"),
}


@pytest.mark.parametrize("on", ["call", "session", "request"])
@pytest.mark.parametrize("given", [{}, {"Authorization": "mine"}, {"authorization": b"mine"}])
@pytest.mark.parametrize("name", AUTHS)
def test_an_auth_that_writes_no_authorization_means_without_a_token(
    own: OwnScene, name: str, given: dict[str, Any], on: str
) -> None:
    session, auth = own.session(), AUTHS[name]
    session.headers.update(given if on == "call" else {})
    headers = {} if on == "call" else given
    if on == "call":
        session.get(own.url, auth=auth)
    elif on == "session":
        session.auth = auth
        session.get(own.url, headers=headers)
    else:
        request = Request("GET", own.url, headers, auth=auth)
        session.send(session.prepare_request(request))
    without(own)
    sent = own.api.requests[-1].headers.get("Authorization")
    assert sent == ("mine" if given else None)


def test_digest_is_answered_without_a_token(own: OwnScene) -> None:
    own.api.refusal = Answer(401, {"WWW-Authenticate": 'Digest realm="r", nonce="n", qop="auth"'})
    auth, session = HTTPDigestAuth("u", "p"), own.session()
    for _ in range(2):  # the second request has the header from the beginning
        session.get(own.url, auth=auth)
        without(own)
        assert own.api.requests[-1].headers["Authorization"].startswith("Digest ")


@pytest.mark.parametrize("on", ["call", "session"])
def test_an_auth_of_ours_for_another_header_is_the_only_token(beside: OwnScene, on: str) -> None:
    beside.api.protected = False
    other = ClientCredentialsAuth(*beside.client, "b", scheme=Bearer())
    session = beside.session()
    if on == "session":
        session.auth = other
    session.get(beside.url, auth=other if on == "call" else None)
    seen = beside.api.requests[-1]
    assert seen.headers["Authorization"] == f"Bearer {other.tokens.get().access_token}"
    assert (seen.token, beside.token_requests) == (None, 1)


def test_a_request_that_was_prepared_elsewhere_gets_the_token_beside_its_authorization(
    beside: OwnScene,
) -> None:
    session = beside.session()
    prepared = Request("GET", beside.url, {"Authorization": "mine"}).prepare()
    for kind in (CaseInsensitiveDict, dict):
        prepared.headers = kind(prepared.headers)  # type: ignore[assignment]
        response = session.send(prepared)
        assert response.status_code == 200
        assert beside.api.requests[-1].headers["Authorization"] == "mine"
        assert session.send(response.request).status_code == 200  # sent again
    assert beside.token_requests == 1


def test_a_header_that_is_spelled_in_another_way_is_the_authorization(
    own: OwnScene, netrc: None
) -> None:
    session = own.session(scheme=Bearer(own.scheme.prefix, header="AUTHORIZATION"))
    session.trust_env = True
    prepared = session.prepare_request(Request("GET", f"{API}/x"))
    assert "Authorization" not in prepared.headers
    assert isinstance(
        session.prepare_request(Request("GET", own.url, auth=("u", "p"))).hooks, CallerHooks
    )
