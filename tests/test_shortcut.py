"""When a call leaves out steps of requests, and when it does not.

That the result is the same is tested in test_differential.py, and what replaces a part of requests
in test_patched_requests.py.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any
from unittest import mock

import pytest
import requests
from requests.cookies import RequestsCookieJar

from oauthcc import ClientCredentialsSession
from oauthcc.api_request import shortcut

from .internet import Internet
from .scripts import ROOT
from .sessions import connected

URL = "https://api.example/v1/items"
PREPARED = {"prepare", "prepare_url", "prepare_headers", "merge_setting"}
MERGED = {"get_environ_proxies", "should_bypass_proxies", "merge_setting"}
CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.lower().endswith("_proxy") or n in CA_VARIABLES]:
        monkeypatch.delenv(name)


@pytest.fixture
def session(net: Internet) -> ClientCredentialsSession:
    """A session that has a token and uses the environment."""
    made = connected(net)
    made.trust_env = True
    made.get(URL)
    return made


def steps_of(call: Callable[[], object]) -> set[str]:
    """Return the names of the functions of requests that a call has used."""
    names = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_globals.get("__name__", "").startswith("requests."):
            names.add(frame.f_code.co_name)

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return names


SHORT: dict[str, dict[str, Any]] = {
    "nothing": {},
    "params": {"params": {"a": "1", "b": 2, "c": None, "d": 1.5, "e": True}},
    "only empty params": {"params": {"a": None}},
    "headers": {"headers": {"X-Request-Id": "1", "accept": "text/csv"}},
    "json": {"json": {"a": 1}},
    "data": {"data": {"a": "1"}},
    "a hook": {"hooks": {"response": lambda r, **_: r}},
    "stream, verify, cert": {"stream": True, "verify": False, "cert": ("a", "b")},
}


@pytest.mark.parametrize("method", ["get", "post", "HEAD", "delete"])
@pytest.mark.parametrize("arguments", SHORT.values(), ids=SHORT)
def test_a_usual_call_leaves_out_what_changes_nothing(
    session: ClientCredentialsSession, arguments: dict[str, Any], method: str
) -> None:
    steps = steps_of(lambda: session.request(method, URL, **arguments))
    assert not steps & (PREPARED | MERGED), steps


LONG: dict[str, dict[str, Any]] = {
    "a header without a value": {"headers": {"Accept": None}},
    "a header of bytes": {"headers": {"Accept": b"text/csv"}},
    "a cookie": {"cookies": {"a": "b"}},
    "params as pairs": {"params": [("a", "1")]},
    "params as text": {"params": "a=1"},
    "several values": {"params": {"a": ["1", "2"]}},
    "another key": {"params": {1: "2"}},
    "an auth": {"auth": ("user", "password")},
}


@pytest.mark.parametrize("arguments", LONG.values(), ids=LONG)
def test_an_unusual_call_is_prepared_by_requests(
    session: ClientCredentialsSession, arguments: dict[str, Any]
) -> None:
    assert "prepare_url" in steps_of(lambda: session.get(URL, **arguments))


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example",
        "https://API.example/v1",
        "https://api.example/v1/",
        "https://api.example/a/../b",
        "https://api.example/a b",
        "https://api.example/%7euser",
        "https://api.example/a?",
        "https://api.example/a#b",
        "https://api.example:0443/a",
        "https://user:password@api.example/a",
    ],
)
def test_an_unusual_url_is_prepared_by_requests(
    session: ClientCredentialsSession, url: str
) -> None:
    is_usual = url == "https://api.example/v1/"
    assert ("prepare_url" in steps_of(lambda: session.get(url))) is not is_usual


def test_headers_that_requests_refuses_are_left_to_requests(
    session: ClientCredentialsSession,
) -> None:
    given: list[dict[str, Any]] = [{"X-A": " a"}, {"X-A": "a\nb"}, {"X-A": 1}]
    for headers in given:
        with pytest.raises(requests.exceptions.InvalidHeader):
            session.get(URL, headers=headers)
    session.headers["X-A"] = "a\nb"
    with pytest.raises(requests.exceptions.InvalidHeader):
        session.get(URL)


def test_a_header_of_the_session_is_checked_again_when_it_is_set_again(
    session: ClientCredentialsSession,
) -> None:
    session.headers["X-A"] = "a"
    session.get(URL)
    session.headers["X-A"] = "a\nb"
    with pytest.raises(requests.exceptions.InvalidHeader):
        session.get(URL)


def test_headers_with_a_store_of_another_kind_are_prepared_by_requests(
    session: ClientCredentialsSession,
) -> None:
    vars(session.headers)["_store"] = dict(vars(session.headers)["_store"])
    assert "prepare_url" in steps_of(lambda: session.get(URL))


def test_cookies_of_the_session_are_sent(session: ClientCredentialsSession) -> None:
    session.cookies.set("a", "b")
    answers = []
    assert "prepare_url" not in steps_of(lambda: answers.append(session.get(URL)))
    assert answers[0].request.headers["Cookie"] == "a=b"


@pytest.mark.parametrize(
    "change",
    [
        {"params": {"a": "b"}},
        {"cookies": type("Jar", (RequestsCookieJar,), {})()},
        {"headers": {"Accept": "*/*"}},
        {"hooks": type("Hooks", (dict,), {})(response=[])},
    ],
    ids=lambda change: next(iter(change)),
)
def test_other_settings_of_the_session_are_merged_by_requests(
    session: ClientCredentialsSession, change: dict[str, Any]
) -> None:
    vars(session).update(change)
    assert "prepare_url" in steps_of(lambda: session.get(URL))


def test_a_header_of_the_caller_is_kept_if_there_are_hooks_too(
    session: ClientCredentialsSession,
) -> None:
    hooks = {"response": [lambda r, **_: r]}
    answer = session.get(URL, headers={"Authorization": "Basic theirs"}, hooks=hooks)
    assert answer.request.headers["Authorization"] == "Basic theirs"


def test_a_request_of_a_subclass_is_prepared_by_requests(
    session: ClientCredentialsSession,
) -> None:
    request = type("Request", (requests.Request,), {})("GET", URL)
    assert "prepare_url" in steps_of(lambda: session.prepare_request(request))


def test_a_function_that_was_replaced_is_called(
    session: ClientCredentialsSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests.utils, "getproxies", lambda: {"https": "http://proxy.example"})
    assert settings(session)["proxies"] == {"https": "http://proxy.example"}


def test_proxies_in_code_are_merged_by_requests(session: ClientCredentialsSession) -> None:
    def own() -> None:
        session.get(URL, proxies={"https": "http://proxy.example"})

    assert "merge_setting" in steps_of(own)
    session.proxies = {"https": "http://proxy.example"}
    assert "merge_setting" in steps_of(lambda: session.get(URL))


def settings(session: ClientCredentialsSession, url: str = URL) -> dict[str, Any]:
    """Return what the session merges for a URL."""
    return dict(session.merge_environment_settings(url, {}, None, None, None))


def test_proxies_of_the_environment_are_remembered_as_long_as_it_is_the_same(
    session: ClientCredentialsSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://one.example")
    assert settings(session)["proxies"]["https"] == "http://one.example"
    assert not steps_of(lambda: settings(session)) & MERGED
    monkeypatch.setenv("HTTPS_PROXY", "http://two.example")
    assert settings(session)["proxies"]["https"] == "http://two.example"
    monkeypatch.setenv("no_proxy", "api.example")
    assert settings(session)["proxies"] == {}
    assert settings(session, "https://other.example/")["proxies"]["https"] == "http://two.example"
    monkeypatch.delenv("HTTPS_PROXY")
    monkeypatch.delenv("no_proxy")
    assert settings(session)["proxies"] == {}


def test_proxies_that_change_while_they_are_read_are_not_remembered(
    session: ClientCredentialsSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    # requests reads the environment again and again; this is another thread that changes it.
    monkeypatch.setenv("HTTPS_PROXY", "http://one.example")
    monkeypatch.setenv("HTTP_PROXY", "http://one.example")

    def change(frame: FrameType, event: str, _: object) -> None:
        if event == "return" and frame.f_code.co_name == "getproxies_environment":
            os.environ["HTTPS_PROXY"] = "http://two.example"

    sys.setprofile(change)
    try:
        settings(session)
    finally:
        sys.setprofile(None)
    os.environ["HTTPS_PROXY"] = "http://one.example"
    assert settings(session)["proxies"]["https"] == "http://one.example"


def test_the_proxies_of_many_origins_do_not_grow_without_end(
    session: ClientCredentialsSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example")
    monkeypatch.setattr(shortcut, "_MOST_ORIGINS", 2)
    for number in range(5):
        settings(session, f"https://api{number}.example/")
    assert len(shortcut._last._known[1]) <= 2


@pytest.mark.parametrize("url", ["https://API.example/", "https://a@api.example/"])
def test_the_proxies_for_an_unusual_url_are_found_by_requests(
    session: ClientCredentialsSession, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example")
    assert "get_environ_proxies" in steps_of(lambda: settings(session, url))


def test_the_ca_bundle_of_the_environment_is_read_in_each_call(
    session: ClientCredentialsSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert settings(session)["verify"] is True
    monkeypatch.setenv("CURL_CA_BUNDLE", "/one.pem")
    assert settings(session)["verify"] == "/one.pem"
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/two.pem")
    assert settings(session)["verify"] == "/two.pem"
    session.trust_env = False
    assert settings(session)["verify"] is True


def test_another_environment_is_read_by_requests(
    session: ClientCredentialsSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", {"HTTPS_PROXY": "http://proxy.example"})
    assert settings(session)["proxies"] == {"https": "http://proxy.example"}


def test_a_system_with_settings_of_its_own_is_asked_by_requests(
    session: ClientCredentialsSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shortcut, "_ENVIRONMENT_DECIDES", False)
    assert "get_environ_proxies" in steps_of(lambda: settings(session))


def run(code: str, **variables: str) -> str:
    """Run code in another process, and return what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.check_output(command, env=environment, text=True, timeout=60).strip()


IS_ON = """
from oauthcc import ClientCredentialsSession
from oauthcc.api_request import shortcut
from requests import Request
session = ClientCredentialsSession("https://as.example/token", "my-id", "my-secret")
session.prepare_request(Request("GET", "https://api.example/"))
session.merge_environment_settings("https://api.example/", {}, None, None, None)
print(shortcut._IS_ON)
"""


def test_the_shortcut_is_on_for_the_installed_version_of_requests() -> None:
    assert requests.__version__ in shortcut.COMPARED, (
        f"requests {requests.__version__} was not compared: run `python -m tests.differential`"
        " with it, look at what has changed in prepare_request and merge_environment_settings, and"
        " add it to COMPARED"
    )


def test_a_variable_switches_the_shortcut_off() -> None:
    assert run(IS_ON) == "True"
    assert run(IS_ON, OAUTHCC_NO_SHORTCUT="0") == "True"
    assert run(IS_ON, OAUTHCC_NO_SHORTCUT="1") == "False"


def test_the_shortcut_is_off_for_a_version_of_requests_that_was_not_compared() -> None:
    assert run(f"import requests; requests.__version__ = '2.99.0'\n{IS_ON}") == "False"


def test_without_the_shortcut_requests_does_everything(
    session: ClientCredentialsSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shortcut, "_IS_ON", False)
    assert steps_of(lambda: session.get(URL)) >= PREPARED | MERGED


def test_what_was_replaced_before_the_import_is_not_taken_for_a_part_of_requests() -> None:
    @functools.wraps(requests.utils.get_environ_proxies)
    def wrapped() -> None: ...

    class Prepared(requests.PreparedRequest):
        pass

    for part in (wrapped, Prepared, mock.Mock(requests.utils.get_environ_proxies)):
        assert shortcut._as_shipped(part) is not part
    for whole in (requests.utils.get_environ_proxies, requests.PreparedRequest, os):
        assert shortcut._as_shipped(whole) is whole
