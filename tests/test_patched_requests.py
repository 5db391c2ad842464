"""What a tool, a test or a subclass puts in the place of a part of requests is used.

A warm session leaves out steps of requests. So every replacement is made between two calls of a
session that has a token, and undone again.
"""

from __future__ import annotations

import http.cookiejar
import inspect
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import cycle
from typing import Any
from unittest import mock
from urllib.parse import quote, urlencode

import pytest
import requests
from requests import PreparedRequest, Session
from requests.adapters import HTTPAdapter
from requests.cookies import RequestsCookieJar
from requests.structures import CaseInsensitiveDict

from oauthcc import ClientCredentialsSession
from oauthcc.api_request.shortcut import COMPARED

from .differential.things import Wrapped, by_assignment, by_wraps
from .internet import Internet
from .scripts import ROOT
from .sessions import connected

URL = "https://api.example/v1/items"
#: A call for which every step of requests does something, so that each replacement is reached.
FULL: dict[str, Any] = {"params": {"a": "b"}, "headers": {"X-A": "1"}, "json": {"a": 1}}
Wrapper = Callable[..., Any]


def warm(net: Internet) -> ClientCredentialsSession:
    """Return a session that has sent some requests, and that uses the environment."""
    session = connected(net)
    session.trust_env = True
    for _ in range(3):
        session.post(URL, **FULL)
        session.get(URL)
    return session


@contextmanager
def replaced(owner: Any, name: str, how: Callable[[Any, Wrapper], Any]) -> Iterator[list[str]]:
    """Replace a function by one that notes its calls in this thread; undo that afterwards."""
    calls: list[str] = []
    here = threading.get_ident()
    plain = inspect.getattr_static(owner, name)
    is_static = isinstance(plain, staticmethod)
    function = plain.__func__ if is_static else plain

    def noting(wrapped: Any, *args: Any, **kwargs: Any) -> Any:
        if threading.get_ident() == here:
            calls.append(name)
        return wrapped(*args, **kwargs)

    new = how(function, noting)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, staticmethod(new) if is_static else new)
        yield calls


OF_SESSION = (
    "send",
    "request",
    "prepare_request",
    "merge_environment_settings",
    "get_adapter",
    "resolve_redirects",
    "get_redirect_target",
)
OF_REQUEST = (
    "__init__",
    "prepare",
    "prepare_method",
    "prepare_url",
    "prepare_headers",
    "prepare_cookies",
    "prepare_body",
    "prepare_content_length",
    "prepare_auth",
    "prepare_hooks",
    "_encode_params",
    "register_hook",
)
FUNCTIONS = (
    (requests.sessions, "get_environ_proxies"),
    (requests.utils, "getproxies"),
    (requests.utils, "should_bypass_proxies"),
    (requests.utils, "proxy_bypass"),
    (requests.sessions, "merge_setting"),
    (requests.sessions, "merge_hooks"),
    (requests.sessions, "merge_cookies"),
    (requests.sessions, "cookiejar_from_dict"),
    (requests.models, "get_cookie_header"),
    (requests.models, "check_header_validity"),
    (requests.models, "to_native_string"),
    (requests.models, "parse_url"),
    (requests.models, "requote_uri"),
    (requests.models, "to_key_val_list"),
    (requests.models, "urlencode"),
    (requests.models, "get_auth_from_url"),
    (requests.models, "default_hooks"),
    (requests.utils, "quote"),
    (requests.utils, "unquote_unreserved"),
    (RequestsCookieJar, "update"),
    (CaseInsensitiveDict, "__init__"),
    (CaseInsensitiveDict, "__setitem__"),
    (CaseInsensitiveDict, "__getitem__"),
    (CaseInsensitiveDict, "__iter__"),
)
PLACES = [
    *((Session, name) for name in OF_SESSION),
    *((PreparedRequest, name) for name in OF_REQUEST),
    *FUNCTIONS,
]
HOWS = {"assigned": by_assignment, "wraps": by_wraps, "descriptor": Wrapped}


def _id(value: Any) -> str | None:
    return getattr(value, "__name__", None) if not isinstance(value, str) else value


@pytest.mark.parametrize("how", HOWS.values(), ids=HOWS.keys())
@pytest.mark.parametrize(("owner", "name"), PLACES, ids=_id)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_replaced_function_is_called_as_by_requests(
    net: Internet, owner: Any, name: str, how: Any, method: str
) -> None:
    session, plain = warm(net), requests.Session()
    plain.mount("https://", net)
    options = FULL if method == "POST" else {"params": {"a": "b"}}
    with replaced(owner, name, how) as calls:
        session.request(method, URL, **options)
        seen = [*calls]
        calls.clear()
        plain.request(method, URL, **options)
    # Ours may call more, for its own purposes.
    assert calls, f"requests does not call {name}"
    assert set(seen) == set(calls)
    assert seen.count(name) >= calls.count(name)
    seen.clear()
    assert session.request(method, URL, **options).status_code == 200
    assert net.shown()[-1] == f"Bearer {net.tokens[0]}"


def test_a_replaced_lookup_of_netrc_is_called_if_the_url_has_no_token(net: Internet) -> None:
    session = connected(net, api_url="https://api.example")
    session.trust_env = True
    session.get("https://other.example/x")
    with replaced(requests.sessions, "get_netrc_auth", by_wraps) as calls:
        session.get("https://other.example/x")
        assert calls == ["get_netrc_auth"]
        session.get(URL)
        assert calls == ["get_netrc_auth"]


@pytest.mark.parametrize("name", ["send", "get_connection_with_tls_context", "cert_verify"])
def test_a_replaced_method_of_the_adapter_is_called(
    scene: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = scene.session()
    session.get(scene.url)
    with replaced(HTTPAdapter, name, by_wraps) as calls:
        session.get(scene.url)
    assert calls == [name]


@pytest.mark.parametrize(
    ("owner", "name", "new"),
    [
        (PreparedRequest, "_encode_params", lambda _, data: "a=b |" if data else ""),
        (PreparedRequest, "_encode_params", staticmethod(lambda data: "a=b |" if data else "")),
        (requests.models, "urlencode", partial(urlencode, safe="|", quote_via=quote)),
    ],
    ids=["method", "function", "urlencode"],
)
def test_what_a_replaced_encoding_of_parameters_returns_is_quoted(
    net: Internet, owner: Any, name: str, new: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = warm(net)
    monkeypatch.setattr(owner, name, new, raising=False)
    session.get(URL, params={"a": "b |"})
    assert net.seen[-1].request.url == f"{URL}?a=b%20%7C"


@pytest.mark.parametrize("place", ["sessions", "utils"])
def test_what_a_replaced_lookup_of_proxies_returns_is_used(
    net: Internet, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, proxies = warm(net), {"https": "http://proxy.example:3128"}
    for _ in range(2):
        session.get(URL)
        assert not net.seen[-1].options["proxies"]
        with monkeypatch.context() as patch:
            if place == "sessions":
                patch.setattr(requests.sessions, "get_environ_proxies", lambda *_, **__: proxies)
            else:
                patch.setattr(requests.utils, "getproxies", lambda: proxies)
            session.get(URL)
        assert net.seen[-1].options["proxies"] == proxies


def _patches() -> dict[str, Callable[[], AbstractContextManager[Any]]]:
    def of(owner: Any, name: str, **options: Any) -> Callable[[], AbstractContextManager[Any]]:
        return lambda: mock.patch.object(owner, name, side_effect=getattr(owner, name), **options)

    return {
        "prepare_request with autospec": of(Session, "prepare_request", autospec=True),
        "prepare_url with autospec": of(PreparedRequest, "prepare_url", autospec=True),
        "settings with autospec": of(Session, "merge_environment_settings", autospec=True),
        "send with autospec": of(Session, "send", autospec=True),
        "get_environ_proxies": of(requests.sessions, "get_environ_proxies"),
        "get_environ_proxies with autospec": of(
            requests.sessions, "get_environ_proxies", autospec=True
        ),
        "merge_setting": of(requests.sessions, "merge_setting"),
        "should_bypass_proxies": of(requests.utils, "should_bypass_proxies"),
    }


@pytest.mark.parametrize("name", _patches())
def test_a_mock_is_called(net: Internet, name: str) -> None:
    session = warm(net)
    for _ in range(2):
        with _patches()[name]() as mocked:
            session.get(URL)
            assert mocked.called
        assert session.get(URL).status_code == 200


def test_a_mock_that_is_no_function_takes_the_place_of_a_method(net: Internet) -> None:
    session, prepared = warm(net), requests.Request("GET", URL).prepare()
    with mock.patch("requests.Session.prepare_request", return_value=prepared) as mocked:
        assert session.get("https://other.example/").url == URL
    mocked.assert_called_once()
    with mock.patch(
        "requests.Session.merge_environment_settings", return_value={"verify": "/ca.pem"}
    ):
        session.get(URL)
    assert net.seen[-1].options["verify"] == "/ca.pem"
    answer = requests.Response()
    with mock.patch("requests.Session.send", return_value=answer):
        assert session.get(URL) is answer


@pytest.mark.parametrize("name", OF_SESSION)
@pytest.mark.parametrize("where", ["instance", "class"])
def test_a_method_that_is_set_on_our_session_or_its_class_is_called(
    net: Internet, name: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, calls = warm(net), list[str]()
    plain = getattr(session, name)

    def noting(*args: Any, **kwargs: Any) -> Any:
        calls.append(name)
        return plain(*args[where == "class" :], **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(session if where == "instance" else ClientCredentialsSession, name, noting)
        session.get(URL)
    assert calls
    calls.clear()
    session.get(URL)
    assert calls == []


class OtherRequest(requests.Request):
    """A class in the place of that of requests."""


class OtherPrepared(PreparedRequest):
    """A class in the place of that of requests."""


@pytest.mark.parametrize("place", [requests.sessions, requests.models])
def test_a_replaced_class_of_prepared_requests_is_used(
    net: Internet, place: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = warm(net)
    with monkeypatch.context() as patch:
        patch.setattr(place, "PreparedRequest", OtherPrepared)
        session.get(URL)
        expected = OtherPrepared if place is requests.sessions else PreparedRequest
        assert type(net.seen[-1].request) is expected
    session.get(URL)
    assert type(net.seen[-1].request) is PreparedRequest


def test_a_replaced_class_of_requests_is_used(
    net: Internet, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = warm(net)
    prepared: list[Any] = []
    plain = Session.prepare_request

    def noting(self: Any, request: Any) -> Any:
        prepared.append(type(request))
        return plain(self, request)

    monkeypatch.setattr(requests.sessions, "Request", OtherRequest)
    session.get(URL)
    monkeypatch.setattr(Session, "prepare_request", noting)
    session.get(URL)
    assert prepared == [OtherRequest]
    own = OtherRequest("GET", URL)
    assert session.send(session.prepare_request(own)).status_code == 200


def test_a_replaced_class_of_sessions_changes_nothing(
    net: Internet, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = warm(net)
    monkeypatch.setattr(requests, "Session", type("Session", (Session,), {}))
    monkeypatch.setattr(requests.sessions, "Session", requests.Session)
    assert session.get(URL).status_code == 200
    assert connected(net).get(URL).status_code == 200


@pytest.mark.parametrize("name", ["PreparedRequest.prepare_url", "models.requote_uri"])
def test_a_replacement_that_is_made_while_a_call_runs_is_used_in_the_same_call(
    net: Internet, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, calls = warm(net), list[str]()
    path, _, attribute = name.rpartition(".")
    owner = PreparedRequest if path == "PreparedRequest" else requests.models
    plain = getattr(owner, attribute)

    def noting(*args: Any, **kwargs: Any) -> Any:
        calls.append(attribute)
        return plain(*args, **kwargs)

    class Text(str):
        __slots__ = ()

        def upper(self) -> str:
            monkeypatch.setattr(owner, attribute, noting)
            return str.upper(self)

    session.request(Text("get"), URL)
    assert calls == [attribute]


# Replacements that are made before our import


BEFORE = {
    "Session.send": ("requests.Session", "send"),
    "Session.request": ("requests.Session", "request"),
    "Session.prepare_request": ("requests.Session", "prepare_request"),
    "merge_environment_settings": ("requests.Session", "merge_environment_settings"),
    "get_adapter": ("requests.Session", "get_adapter"),
    "prepare_url": ("requests.PreparedRequest", "prepare_url"),
    "prepare_headers": ("requests.PreparedRequest", "prepare_headers"),
    "prepare_body": ("requests.PreparedRequest", "prepare_body"),
    "prepare_auth": ("requests.PreparedRequest", "prepare_auth"),
    "get_environ_proxies": ("requests.sessions", "get_environ_proxies"),
    "getproxies": ("requests.utils", "getproxies"),
    "should_bypass_proxies": ("requests.utils", "should_bypass_proxies"),
    "merge_setting": ("requests.sessions", "merge_setting"),
    "merge_cookies": ("requests.sessions", "merge_cookies"),
}
CHILD = """
    import sys
    import requests
    from tests.differential.things import Wrapped, by_assignment, by_wraps
    assert "oauthcc" not in sys.modules
    calls = []
    def noting(function, *args, **kwargs):
        calls.append(1)
        return function(*args, **kwargs)
    setattr({owner}, {name!r}, {how}({owner}.{name}, noting))
    from oauthcc import ClientCredentialsSession
    from tests.internet import Internet
    session = ClientCredentialsSession("https://as.example/token", "my-id", "my-secret")
    session.mount("https://", Internet())
    for _ in range(3):
        calls.clear()
        session.get("https://api.example/")
        assert calls
"""


@pytest.mark.unmeasured
@pytest.mark.parametrize(
    ("place", "how"),
    [*zip(BEFORE.values(), cycle(["by_assignment", "by_wraps", "Wrapped"]), strict=False)],
    ids=BEFORE.keys(),
)
def test_what_was_replaced_before_our_import_is_called(place: tuple[str, str], how: str) -> None:
    code = textwrap.dedent(CHILD).format(owner=place[0], name=place[1], how=how)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


CLASSES = """
    import sys
    import requests
    class Other({place}):
        pass
    {place} = Other
    assert "oauthcc" not in sys.modules
    from oauthcc import ClientCredentialsSession
    from tests.internet import Internet
    session = ClientCredentialsSession("https://as.example/token", "my-id", "my-secret")
    for one in (session, requests.sessions.Session()):
        net = Internet()
        one.mount("https://", net)
        one.get("https://api.example/")
        request = net.seen[-1].request
        print(*[type(part).__name__ for part in (request, request.headers, request._cookies)])
"""


@pytest.mark.unmeasured
@pytest.mark.parametrize(
    "place",
    [
        "requests.Request",
        "requests.PreparedRequest",
        "requests.sessions.Request",
        "requests.sessions.PreparedRequest",
        "requests.cookies.RequestsCookieJar",
    ],
)
def test_a_class_that_was_replaced_before_our_import_is_used_as_by_requests(place: str) -> None:
    code = textwrap.dedent(CLASSES).format(place=place)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    ours, plain = done.stdout.splitlines()
    assert ours == plain


# The environment


PROXY = "http://proxy.example:3128"


def _proxies(session: ClientCredentialsSession, net: Internet) -> Any:
    session.get(URL)
    return dict(net.seen[-1].options["proxies"])


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Remove the proxies from the environment."""
    for name in [*os.environ]:
        if name.lower().endswith("_proxy") or name.endswith("_CA_BUNDLE"):
            monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "Https_Proxy"])
def test_a_proxy_in_the_environment_is_used_from_the_next_call_on(
    net: Internet, environment: pytest.MonkeyPatch, name: str
) -> None:
    session = warm(net)
    assert _proxies(session, net) == {}
    for value in (PROXY, "http://another.example:1"):
        environment.setenv(name, value)
        assert _proxies(session, net) == {"https": value}
    environment.setenv("NO_PROXY", "api.example")
    assert _proxies(session, net) == {}
    environment.setenv("NO_PROXY", "other.example")
    assert _proxies(session, net)["https"] == value
    environment.delenv(name)
    assert "https" not in _proxies(session, net)


def test_a_url_without_a_path_is_not_taken_for_another_origin(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("HTTPS_PROXY", PROXY)
    environment.setenv("NO_PROXY", "api.example:8443,exampl")
    session = connected(Internet())
    session.trust_env = True

    def is_behind_proxy(url: str) -> bool:
        return "https" in session.merge_environment_settings(url, {}, None, None, None)["proxies"]

    assert not is_behind_proxy("https://api.example:8443")
    assert is_behind_proxy("https://api.example:844/")
    assert not is_behind_proxy("https://x.exampl/")
    assert is_behind_proxy("https://x.example")


def test_a_replaced_environment_is_used(net: Internet, environment: pytest.MonkeyPatch) -> None:
    session = warm(net)
    with environment.context() as patch:
        patch.setattr(os, "environ", {**os.environ, "https_proxy": PROXY})
        assert _proxies(session, net) == {"https": PROXY}
    assert _proxies(session, net) == {}
    with mock.patch.dict(os.environ, {"HTTPS_PROXY": PROXY, "REQUESTS_CA_BUNDLE": "/ca.pem"}):
        assert _proxies(session, net) == {"https": PROXY}
        assert net.seen[-1].options["verify"] == "/ca.pem"
    assert _proxies(session, net) == {}
    assert net.seen[-1].options["verify"] is True


@pytest.mark.skipif(not hasattr(os, "environb"), reason="no environment of bytes")
def test_a_proxy_that_is_set_as_bytes_is_used(
    net: Internet, environment: pytest.MonkeyPatch
) -> None:
    session = warm(net)
    os.environb[b"HTTPS_PROXY"] = PROXY.encode()
    try:
        assert _proxies(session, net) == {"https": PROXY}
        os.environb[b"HTTPS_PROXY"] = b"http://\xff.example"
        assert _proxies(session, net) == {"https": "http://\udcff.example"}
    finally:
        del os.environb[b"HTTPS_PROXY"]
    assert _proxies(session, net) == {}


def test_each_call_sees_one_of_two_environments_between_which_a_thread_flips(
    net: Internet, environment: pytest.MonkeyPatch
) -> None:
    """The whole variable changes, so there is never a proxy of one and an exception of another."""
    session, is_over = warm(net), threading.Event()
    values = ("http://one.example:1", "http://two.example:2")
    environment.setenv("HTTPS_PROXY", values[0])

    def flip() -> None:
        while not is_over.is_set():
            for value in values:
                os.environ["HTTPS_PROXY"] = value

    thread = threading.Thread(target=flip)
    thread.start()
    try:
        found = [_proxies(session, net) for _ in range(300)]
    finally:
        is_over.set()
        thread.join()
    assert all(proxies in ({"https": values[0]}, {"https": values[1]}) for proxies in found)
    os.environ["HTTPS_PROXY"] = values[1]
    assert _proxies(session, net) == {"https": values[1]}


# Cookies and headers


def test_a_jar_of_another_kind_is_used(net: Internet) -> None:
    session = warm(net)
    jar = http.cookiejar.CookieJar()
    jar.set_cookie(requests.cookies.create_cookie("a", "1"))
    plain, session.cookies = session.cookies, jar  # type: ignore[assignment]
    session.get(URL)
    assert net.seen[-1].request.headers["Cookie"] == "a=1"
    session.cookies = plain
    session.get(URL)
    assert "Cookie" not in net.seen[-1].request.headers


def test_a_header_that_became_invalid_is_found(net: Internet) -> None:
    session = warm(net)
    session.headers._store["x-a"] = ("X-A", "1\n2")
    with pytest.raises(requests.exceptions.InvalidHeader):
        session.get(URL)
    session.headers["X-A"] = "1"
    session.get(URL)
    session.headers["X-A"] = " 1"
    with pytest.raises(requests.exceptions.InvalidHeader):
        session.get(URL)


# The versions of requests


def test_this_version_of_requests_was_compared() -> None:
    """Compare a new one by ``python -m tests.differential --seconds 600`` before it is listed."""
    assert requests.__version__ in COMPARED
