"""The contract, first part: what a caller passes in, from the verb to the URL."""

from __future__ import annotations

import io
import json
from collections import OrderedDict
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.structures import CaseInsensitiveDict

from .contract import Case, Cases, Run, Way, World, compare, open_world

pytestmark = pytest.mark.unmeasured
world = pytest.fixture(scope="module")(open_world)
cases = Cases()


VERBS = ("get", "options", "head", "post", "put", "patch", "delete")


@cases.add()
def every_verb_by_keyword(run: Run) -> None:
    for verb in VERBS:
        method = getattr(run.session, verb)
        run.note(method(url=run.url, params={"q": "1"}, headers={"X-One": "1"}, timeout=9))


@cases.add()
def every_verb_by_position(run: Run) -> None:
    session, url = run.session, run.url
    run.attempt(session.get, url, {"q": "1"})
    run.note(session.options(url), session.head(url), session.delete(url))
    run.note(session.post(url, {"a": "1"}, {"b": "2"}))
    run.note(session.put(url, {"a": "1"}), session.patch(url, b"raw"))


@cases.add()
def one_position_too_many(run: Run) -> None:
    for verb, positions in (("get", 3), ("options", 2), ("post", 4), ("put", 3)):
        run.attempt(getattr(run.session, verb), run.url, *[None] * (positions - 1), None)


@cases.add()
def an_unknown_keyword(run: Run) -> None:
    run.session.get(run.url, tiemout=1)  # type: ignore[call-arg]


@cases.add()
def request_with_every_argument_by_position(run: Run) -> None:
    # method, url, params, data, headers, cookies, files, auth, timeout, allow_redirects, proxies,
    # hooks, stream, verify, cert, json
    answer = run.session.request(
        "POST",
        run.url,
        {"q": "1"},
        {"a": "1"},
        {"X-One": "1"},
        {"c": "1"},
        None,
        None,
        (9, 9),
        False,
        {},
        {"response": []},
        False,
        True,
        None,
        None,
    )
    run.note(answer)


@cases.add()
def a_custom_method_and_one_in_lower_case(run: Run) -> None:
    run.note(run.session.request("purge", run.url), run.session.request("get", run.url))


@cases.add()
def a_method_that_is_not_a_string(run: Run) -> None:
    run.session.request(None, run.url)  # type: ignore[arg-type]


# -- params ----------------------------------------------------------------------------------------


@cases.add()
def params_in_every_form(run: Run) -> None:
    url = run.url
    several: list[Any] = [
        {"a": "1", "b": ["2", "3"], "none": None, "é": "ü ß"},
        [("a", "1"), ("a", "2")],
        b"raw=%2F&x",
        "text=1&y",
        {},
    ]
    for params in several:
        run.note(run.session.get(url, params=params))
    run.note(run.session.get(f"{url}?old=1#part", params={"new": "2"}))


@cases.add()
def the_sessions_params_are_merged(run: Run) -> None:
    run.session.params = {"all": "1", "gone": "2"}
    run.note(run.session.get(run.url, params={"one": "3", "gone": None}))
    run.session.params = None  # type: ignore[assignment]
    run.note(run.session.get(run.url, params={"one": "3"}))


# -- headers ---------------------------------------------------------------------------------------


@cases.add()
def headers_of_session_and_call_are_merged_in_order(run: Run) -> None:
    run.session.headers.update({"X-B": "1", "X-A": "2", "user-agent": "mine"})
    del run.session.headers["Accept-Encoding"]
    headers = OrderedDict([("X-Z", "9"), ("x-b", "over"), ("Accept", None), ("X-Y", b"8")])
    run.note(run.session.get(run.url, headers=headers), headers)


@cases.add()
def header_names_in_bytes(run: Run) -> None:
    headers: Any = {b"X-Bytes": b"1", "X-Text": "2"}
    run.note(run.session.get(run.url, headers=headers), headers)


@cases.add()
def replaced_headers_of_the_session(run: Run) -> None:
    several: list[Any] = [None, {}, {"X-Plain": "1"}, CaseInsensitiveDict({"X-Case": "1"})]
    for headers in several:
        run.session.headers = headers
        run.note(run.session.get(run.url, headers={"X-Call": "2"}))
        run.note(run.session.get(run.url))


@cases.add()
def headers_that_cannot_be_sent(run: Run) -> None:
    several: list[Any] = [{"X-Number": 1}, {"X-Line": "a\nb"}, {"X-Space": " a"}, {"X-Ü": "1"}]
    for headers in several:
        run.attempt(run.session.get, run.url, headers=headers)


@cases.add()
def headers_of_the_caller_are_not_changed(run: Run) -> None:
    headers = {"X-One": "1"}
    run.session.get(run.url, headers=headers)
    run.note(headers, dict(run.session.headers))


# -- bodies ----------------------------------------------------------------------------------------


@cases.add()
def json_in_every_form(run: Run) -> None:
    values: list[Any] = [{"a": [1, None, "é"]}, [], {}, "text", 0, False, None]
    for value in values:
        run.note(run.session.post(run.url, json=value))
    run.note(run.session.post(run.url, json={"a": 1}, headers={"Content-Type": "x/json"}))
    run.note(run.session.get(run.url, json={"a": 1}))


@cases.add()
def invalid_json(run: Run) -> None:
    for value in (float("nan"), {1, 2}):
        run.attempt(run.session.post, run.url, json=value)


class _Reader:
    """A body with nothing but what a stream needs to be sent."""

    def __init__(self, content: bytes) -> None:
        self._rest = io.BytesIO(content)

    def __iter__(self) -> Any:
        return iter(self._rest)

    def read(self, size: int = -1) -> bytes:
        return self._rest.read(size)


class _Sized(_Reader):
    len = 6


class _NoSeek(io.BytesIO):
    def seekable(self) -> bool:
        return False

    def tell(self) -> int:
        raise OSError("no position")


def _bodies() -> list[Any]:
    return [
        {"a": "1", "b": ["2", "3"], "none": None},
        [("a", "1"), ("a", "2")],
        (("a", "1"), ("b", "2")),
        b"bytes \x00\xff",
        "text é",
        "",
        b"",
        bytearray(b"array"),
        memoryview(b"view"),
        io.BytesIO(b"stream"),
        io.BytesIO(b""),
        io.StringIO("text stream"),
        (part for part in (b"one", b"two")),
        iter([b"one", b"two"]),
        _Reader(b"reader"),
        _Sized(b"sized!"),
        _NoSeek(b"no seek"),
    ]


@cases.add()
def data_in_every_form(run: Run) -> None:
    for verb in ("post", "put", "get"):
        for body in _bodies():
            run.note(getattr(run.session, verb)(run.url, data=body))


@cases.add()
def data_with_headers_of_the_caller(run: Run) -> None:
    for name, value in (("Content-Type", "x/y"), ("Content-Length", "6"), ("content-type", "x/z")):
        for body in (b"sixsix", io.BytesIO(b"sixsix"), {"sixs": "x"}):
            run.note(run.session.post(run.url, data=body, headers={name: value}))


@cases.add()
def a_stream_is_sent_from_its_position(run: Run) -> None:
    body = io.BytesIO(b"not this, but this")
    body.seek(10)
    run.note(run.session.post(run.url, data=body), body.tell(), body.closed)


@cases.add()
def an_open_file(run: Run) -> None:
    path = run.folder / "upload.txt"
    path.write_bytes(b"from a file\n" * 1000)
    with path.open("rb") as file:
        file.read(5)
        run.note(run.session.put(run.url, data=file), file.tell(), file.closed)
    with path.open() as file:
        run.note(run.session.put(run.url, data=file))


@cases.add()
def invalid_data(run: Run) -> None:
    several: list[dict[str, Any]] = [
        {"data": 17},
        {"data": object()},
        {"data": io.BytesIO(b"x"), "files": {"f": b"y"}},
        {"data": "text", "files": {"f": b"y"}},
        {"files": {"f": 17}},
        {"data": [1, 2]},
    ]
    for arguments in several:
        run.attempt(run.session.post, run.url, **arguments)


@cases.add()
def an_iterator_that_raises(run: Run) -> None:
    def parts() -> Any:
        yield b"one"
        raise LookupError("no more")

    run.session.post(run.url, data=parts())


class _OddLength:
    """Is sent in chunks, because its length is no number."""

    def __iter__(self) -> Any:
        return iter([b"odd"])

    def __len__(self) -> Any:
        raise TypeError("no length")


@cases.add()
def a_body_without_a_usable_length(run: Run) -> None:
    run.note(run.session.post(run.url, data=_OddLength()))


# -- files -----------------------------------------------------------------------------------------


@cases.add()
def files_in_every_form(run: Run) -> None:
    path = run.folder / "part.txt"
    path.write_bytes(b"part")
    with path.open("rb") as file:
        several: list[Any] = [
            {"f": b"content"},
            {"f": "text"},
            {"f": io.BytesIO(b"stream")},
            {"f": file},
            {"f": ("name.txt", b"content")},
            {"f": ("näme.txt", b"content", "text/plain", {"X-Part": "1"})},
            [("f", ("a", b"1")), ("f", ("b", b"2"))],
            {"f": (None, b"no name")},
            {},
        ]
        for files in several:
            run.note(run.session.post(run.url, files=files))
    run.note(run.session.post(run.url, files={"f": b"1"}, data={"a": "1", "b": ["2", "3"]}))


# -- cookies ---------------------------------------------------------------------------------------


@cases.add()
def cookies_of_session_and_call(run: Run) -> None:
    run.session.cookies.set("always", "1")
    run.note(run.session.get(run.url, cookies={"once": "2"}))
    run.note(run.session.get(run.url, cookies={"always": "over"}), run.session.cookies)
    jar = requests.cookies.RequestsCookieJar()
    jar.set("jar", "3")
    run.note(run.session.get(run.url, cookies=jar), run.session.get(run.url), jar)
    run.note(run.session.get(run.url, headers={"Cookie": "by=hand"}))


@cases.add()
def cookies_that_the_server_sets(run: Run) -> None:
    run.note(run.session.get(f"{run.world.api.url}/set-cookie?a=1&b=2"), run.session.cookies)
    run.note(run.session.get(run.url), run.session.post(run.url, cookies={"c": "3"}))
    run.session.cookies.clear()
    run.note(run.session.get(run.url))


@cases.add()
def a_plain_cookie_jar(run: Run) -> None:
    run.session.cookies = CookieJar()  # type: ignore[assignment]
    run.note(run.session.get(f"{run.world.api.url}/set-cookie?a=1"), run.session.cookies)
    run.note(run.session.get(run.url))


# -- URLs ------------------------------------------------------------------------------------------


@cases.add()
def unusual_ways_to_write_a_url(run: Run) -> None:
    url, base = run.url, run.world.api.url
    several: list[Any] = [
        url.encode(),
        f"  {url}",
        url.replace("http", "HTTP"),
        f"{url}#fragment",
        f"{base}/echo/a b/é?q=ü ß&x=%zz",
        f"{base}/echo/./a/../b//c",
        f"{base}/echo?",
    ]
    for written in several:
        run.note(run.session.get(written))
    run.note(run.session.get(f"{base}?no-path").request)


class _Url:
    def __init__(self, text: str) -> None:
        self._text = text

    def __str__(self) -> str:
        return self._text


@cases.add()
def a_url_that_is_an_object(run: Run) -> None:
    run.note(run.session.get(_Url(run.url)))  # type: ignore[arg-type]


@cases.add()
def invalid_urls(run: Run) -> None:
    several: list[Any] = [
        "mailto:somebody@example.org",
        "no-scheme",
        "http://",
        "http:///path",
        "http://*.example.org",
        "http://[half",
        "http://.example.org",
        "ftp://127.0.0.1/file",
        "",
        None,
        17,
        b"\xff",
        Path("/somewhere"),
        "http://127.0.0.1:99999/",
        "https://127.0.0.1:1/",
    ]
    for url in several:
        run.attempt(run.session.get, url)


@cases.add()
def a_host_name_beyond_ascii(run: Run) -> None:
    class Adapter(requests.adapters.HTTPAdapter):
        def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
            run.note(request)
            response = requests.Response()
            response.status_code, response.url, response.request = 200, request.url, request
            response.raw = io.BytesIO(json.dumps({"host": "answered"}).encode())
            return response

    run.session.mount("https://", Adapter())
    for url in (
        "https://bücher.example/ä",
        "https://BÜCHER.example",
        "https://xn--bcher-kva.example",
    ):
        answer = run.session.get(url)
        run.note(answer.url, answer.json())


@cases.each()
def test_arguments_have_the_same_effect_as_in_requests(case: Case, world: World, way: Way) -> None:
    compare(case, world, way)
