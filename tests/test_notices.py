"""Nothing is silent: why a request goes out without the token, or a 401 is returned."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter

from oauthcc import Bearer, ClientCredentialsAuth, ClientCredentialsSession, DPoP, events
from oauthcc.api_request import notices
from oauthcc.events import Client
from oauthcc.testing.faults import Answer, json_answer, unavailable

from .clock import flights_done
from .internet import Internet
from .refusals import Scene, Sessions
from .sessions import CLIENT, auth_for, connected, plain

API, OTHER = "https://api.example", "https://other.example"
REFUSED: Any = (401, {}, b"no")


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, "oauthcc")
    return caplog


def lines(log: pytest.LogCaptureFixture, level: int = logging.WARNING) -> list[str]:
    """Return the lines of the helper at a level, without its records of other things."""
    return [
        record.getMessage()
        for record in log.records
        if record.module == "notices" and record.levelno == level
    ]


def lines_about_a_401(log: pytest.LogCaptureFixture) -> list[str]:
    """Return the lines of the library about a 401, which may be digits of a port too."""
    messages = [record.getMessage() for record in log.records if record.name == "oauthcc"]
    return [message for message in messages if " 401 " in message]


def old_header(session: Any) -> None:
    session.headers["Authorization"] = "Bearer of-last-year"


def old_header_in_a_dict(session: Any) -> None:
    session.headers = {"authorization": "Bearer of-last-year"}


def old_auth(session: Any) -> None:
    session.auth = ("me", "hunter2")


def no_auth(session: Any) -> None:
    session.auth = lambda r: r


def test_an_auth_of_the_session_beside_the_token_is_no_warning(
    net: Internet, log: pytest.LogCaptureFixture
) -> None:
    session = connected(net, scheme=Bearer("", header="X-Token"), api_url=API)
    session.auth = "me", "hunter2"
    session.get(f"{API}/a")
    session.get(f"{OTHER}/a")
    assert len(net.token_requests) == 1
    assert [str(seen.authorization)[:6] for seen in net.seen] == ["Basic "] * 2
    assert lines(log) == []
    assert "the call brings its own Authorization" in lines(log, logging.DEBUG)[0]
    session.auth = no_token
    session.get(f"{API}/a")
    (warning,) = lines(log)
    assert "because session.auth is set" in warning


def no_token(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


@pytest.mark.parametrize("name", ["X-Token", "x-token"])
def test_a_header_of_the_session_with_the_name_of_ours_is_a_warning(
    net: Internet, log: pytest.LogCaptureFixture, name: str
) -> None:
    session = connected(net, scheme=Bearer("", header="X-Token"))
    session.headers[name] = "of-last-year"
    session.get(API)
    assert net.token_requests == []
    (warning,) = lines(log)
    assert "because session.headers contains an X-Token, which is sent instead" in warning
    del session.headers[name]
    session.get(API, headers={name: "of-last-year"})
    session.get(API, headers={name: None})
    session.get(API, auth=lambda r: r)
    reasons = lines(log, logging.DEBUG)
    assert ["the call brings its own X-Token (also None), auth=" in line for line in reasons] == [
        True
    ] * 3
    assert "of-last-year" not in log.text


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (old_header, "session.headers contains an Authorization"),
        (old_header_in_a_dict, "session.headers contains an Authorization"),
        (old_auth, "session.auth is set"),
        (no_auth, "session.auth is set"),
    ],
)
def test_what_an_old_session_brings_along_is_a_warning_once_per_origin(
    net: Internet, log: pytest.LogCaptureFixture, change: Callable[[Any], None], reason: str
) -> None:
    session = connected(net, "orders")
    change(session)
    for url in (f"{API}/a?key=1", f"{API}/b", f"{OTHER}/a", f"{OTHER}:8443/a"):
        session.get(url)
    assert net.token_requests == []
    warnings = lines(log)
    places = ("https://api.example/a", "https://other.example/a", "https://other.example:8443/a")
    for warning, place in zip(warnings, places, strict=True):
        assert warning.startswith(
            f"A request goes out without the token ({place}, client 'my-id', scope 'orders'),"
            f" because {reason}"
        )
    assert len(lines(log, logging.DEBUG)) == 1
    assert "hunter2" not in log.text
    assert "of-last-year" not in log.text
    assert "key=1" not in log.text


def test_a_login_of_netrc_in_the_place_of_an_old_header_is_a_warning(
    net: Internet, log: pytest.LogCaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine api.example login me password hunter2\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    session = connected(net)
    session.trust_env = True
    old_header(session)
    session.get(f"{API}/a")
    (warning,) = lines(log)
    assert "because session.headers contains an Authorization, and requests replaces" in warning
    assert "hunter2" not in log.text

    session.get(f"{API}/a", headers={"Authorization": "Basic bWU6b3duLW9uZQ=="})
    session.trust_env = False
    session.get(f"{OTHER}/a", headers={"Authorization": "ApiKey 1"})
    assert len(lines(log)) == 1


def test_the_auth_of_a_session_is_the_reason_even_if_the_call_has_its_own(
    net: Internet, log: pytest.LogCaptureFixture
) -> None:
    session = connected(net)
    session.auth = ("me", "pw")
    session.get(API, auth=("you", "pw"))
    (warning,) = lines(log)
    assert "because session.auth is set, so no request of the session gets the token" in warning


def test_each_client_and_scope_is_warned_about(
    net: Internet, log: pytest.LogCaptureFixture
) -> None:
    for scope in ("a", "b", "a", None):
        session = connected(net, scope)
        session.auth = ("me", "pw")
        session.get(API)
    assert len(lines(log)) == 3


@pytest.mark.parametrize(
    "options",
    [
        {"auth": ("me", "pw")},
        {"auth": lambda r: r},
        {"headers": {"Authorization": "ApiKey 1"}},
        {"headers": {"Authorization": None}},
        {"url": "https://me:pw@api.example/a"},
    ],
)
def test_what_a_call_decides_is_no_warning_even_if_it_is_refused(
    net: Internet, log: pytest.LogCaptureFixture, options: dict[str, Any]
) -> None:
    net.pages[f"{API}/a"] = REFUSED
    session = connected(net)
    session.get(**{"url": f"{API}/a", **options})
    assert lines(log) == []
    (line,) = lines(log, logging.DEBUG)
    assert "the call brings its own Authorization (also None), auth= or user name" in line
    assert "pw" not in log.text


def test_a_url_outside_of_api_url_is_a_warning_if_it_is_refused(
    net: Internet, log: pytest.LogCaptureFixture
) -> None:
    session = connected(net, api_url=f"{API}/v1")
    session.get(f"{OTHER}/a")
    assert lines(log) == []
    (line,) = lines(log, logging.DEBUG)
    assert "because the URL is outside of api_url" in line
    net.pages[f"{OTHER}/a"] = REFUSED
    for _ in range(2):
        assert session.get(f"{OTHER}/a").status_code == 401
    (warning,) = lines(log)
    assert warning.startswith("A request without the token was answered with 401 (https://other.ex")


@pytest.mark.parametrize("path", ["/v2/a", "/v1x", "/v1/../a", "/v1/%2e%2e/a", "/"])
def test_a_url_beside_the_prefix_of_its_host_is_a_warning(
    net: Internet, log: pytest.LogCaptureFixture, path: str
) -> None:
    prepared = requests.Request("GET", API).prepare()
    prepared.url = f"{API}{path}"
    connected(net, api_url=f"{API}/v1").send(prepared)
    plain(net).get(f"{API}/v2", auth=auth_for(net, api_url=f"{API}/v1"))
    first, *_ = lines(log)
    assert "although its host has one" in first
    assert net.token_requests == []


def test_a_redirect_to_another_origin_is_a_warning_if_it_is_refused(
    net: Internet, log: pytest.LogCaptureFixture
) -> None:
    session = connected(net)
    net.redirect(f"{API}/a", f"{OTHER}/b")
    session.get(f"{API}/a")
    assert lines(log) == []
    (line,) = lines(log, logging.DEBUG)
    assert "(https://other.example/b, client 'my-id', without a scope)" in line
    assert "because a redirect has left the API" in line
    net.pages[f"{OTHER}/b"] = REFUSED
    assert session.get(f"{API}/a").status_code == 401
    (warning,) = lines(log)
    assert "https://other.example/b" in warning


def test_a_redirect_of_a_plain_session_is_said_too(
    net: Internet, log: pytest.LogCaptureFixture
) -> None:
    net.redirect(f"{API}/a", f"{OTHER}/b")
    plain(net).get(f"{API}/a", auth=auth_for(net))
    (line,) = lines(log, logging.DEBUG)
    assert "(https://other.example/b, client 'my-id'" in line
    assert "because a redirect has left the API" in line


def test_the_first_answer_counts_and_not_that_of_a_redirect(
    net: Internet, log: pytest.LogCaptureFixture
) -> None:
    session = connected(net, api_url=API)
    net.redirect(f"{OTHER}/a", "https://third.example/")
    net.pages["https://third.example/"] = REFUSED
    session.get(f"{OTHER}/a")
    (warning,) = lines(log)
    assert "https://third.example/" in warning


def test_what_is_no_request_is_reported_by_requests(
    net: Internet, log: pytest.LogCaptureFixture
) -> None:
    prepared = requests.Request("GET", API).prepare()
    prepared.url = None
    with pytest.raises(Exception, match=r".*"):  # as in requests
        connected(net).send(prepared)
    (line,) = lines(log, logging.DEBUG)
    assert "<unreadable URL>" in line


def test_a_request_with_a_token_is_no_line(net: Internet, log: pytest.LogCaptureFixture) -> None:
    connected(net).get(API)
    plain(net).get(API, auth=auth_for(net))
    assert [record for record in log.records if record.module == "notices"] == []


# -- 401s ------------------------------------------------------------------------------------------


def test_new_tokens_that_are_refused_are_a_warning_that_says_what_to_check(
    scene: Scene, sessions: Sessions, log: pytest.LogCaptureFixture
) -> None:
    scene.api.answer_next(Answer(401, [], b""), None)
    session = sessions.new(scope="orders", audience="a")
    for _ in range(5):
        assert session.get(scene.url).status_code == 401
    (warning,) = lines(log)
    assert warning.startswith(f"A 401 is returned ({scene.url}, client {scene.auth.client_id!r}")
    assert "scope 'orders'" in warning
    assert "check that audience=, resource= or scope= are those of this API" in warning
    rest = lines(log, logging.DEBUG)
    assert len(rest) == 4
    assert "no renewal is forced for a while" in rest[-1]
    assert all(token not in log.text for token in scene.auth.issued)


def test_the_same_token_again_is_a_warning(scene: Scene, log: pytest.LogCaptureFixture) -> None:
    same = {"access_token": "always-the-same", "token_type": "Bearer", "expires_in": 3600}
    scene.auth.answer_next(json_answer(same), None)
    assert scene.session().get(scene.url).status_code == 401
    (warning,) = lines(log)
    assert "issued the same token again" in warning
    assert "always-the-same" not in log.text


def test_an_insufficient_scope_is_a_warning(
    scene: Scene, sessions: Sessions, log: pytest.LogCaptureFixture
) -> None:
    challenge = ("WWW-Authenticate", 'Bearer error="insufficient_scope"')
    scene.api.answer_next(Answer(401, [challenge], b""), None)
    session = sessions.new()
    for _ in range(2):
        session.get(scene.url)
    (warning,) = lines(log)
    assert "the scope of the token is insufficient" in warning
    assert scene.token_requests == 1


def test_a_refusal_while_the_renewal_fails_is_said(
    scene: Scene, log: pytest.LogCaptureFixture
) -> None:
    session = scene.refused()
    scene.auth.answer_next(unavailable(400), None)
    assert session.get(scene.url).status_code == 401
    flights_done()
    (warning,) = lines(log)
    assert "no other token came in time" in warning


def test_a_route_that_refuses_new_tokens_is_said_also_if_no_body_can_be_sent_again(
    scene: Scene, log: pytest.LogCaptureFixture
) -> None:
    scene.api.answer_next(Answer(401, [], b""), None)
    session = scene.session()
    for _ in range(4):
        assert session.post(scene.url, data=iter([b"x"])).status_code == 401
    warnings = [line for line in lines(log) if "a newer token was refused too" in line]
    assert len(warnings) == 1
    assert "that the client may use this one" in warnings[0]


def test_a_body_that_cannot_be_sent_again_is_said_each_time(
    scene: Scene, log: pytest.LogCaptureFixture
) -> None:
    scene.api.answer_next(Answer(401, [], b""), None)
    session = scene.session()
    for _ in range(4):
        assert session.post(scene.url, data=iter([b"a"])).status_code == 401
    said = lines_about_a_401(log)
    assert (
        len([line for line in said if "cannot be sent again" in line or "new tokens" in line]) == 4
    )
    assert "cannot be sent again" in said[0]


def test_a_refused_former_token_is_not_said_to_be_a_new_one(
    scene: Scene, log: pytest.LogCaptureFixture
) -> None:
    session = scene.session()
    session.get(scene.url)  # accepted, so it is the former token of the next one
    scene.api.answer_next(Answer(401, [], b""), None)
    for _ in range(4):
        assert session.get(scene.url).status_code == 401
    flights_done()
    said = lines(log) + lines(log, logging.DEBUG)
    assert len(said) == 4
    assert ["a newer token was refused too" in line for line in said] == [True, True, False, False]
    assert "refused too, here or on other routes, and no renewal is forced for a while" in said[-1]


class SignsItself(HTTPAdapter):
    """An adapter that replaces the header in place."""

    def send(self, request: Any, **kwargs: Any) -> Any:
        request.headers["Authorization"] = "ApiKey hunter2"
        return super().send(request, **kwargs)


def test_a_401_for_a_header_that_an_adapter_has_replaced_is_a_warning(
    scene: Scene, sessions: Sessions, log: pytest.LogCaptureFixture
) -> None:
    session = sessions.new()
    session.mount(scene.api.url, SignsItself())
    for _ in range(2):
        assert session.get(scene.url).status_code == 401
    (warning,) = lines(log)
    assert f"A 401 is returned ({scene.url}, client {scene.auth.client_id!r}" in warning
    assert "because an adapter or a class after the session has replaced the token" in warning
    assert "hunter2" not in log.text


class DropsHooks(requests.Session):
    """A class after the session that sends a copy without hooks."""

    def send(self, request: Any, **kwargs: Any) -> Any:
        request = request.copy()
        request.hooks = {"response": []}
        return super().send(request, **kwargs)


class WithoutHooks(ClientCredentialsSession, DropsHooks):
    """A session whose response hooks are dropped."""


def test_a_401_that_no_hook_has_seen_is_a_warning(
    scene: Scene, log: pytest.LogCaptureFixture
) -> None:
    session = scene.stack.enter_context(WithoutHooks(*scene.client))
    assert session.get(scene.url).status_code == 200
    assert lines(log) == []
    scene.auth.revoke_all()
    for _ in range(2):
        assert session.get(scene.url).status_code == 401
    (warning,) = lines(log)
    assert f"A 401 is returned ({scene.url}, client {scene.auth.client_id!r}" in warning
    assert "because the response hook of the session was not called" in warning


def demand(nonce: str) -> Answer:
    """Return an answer that demands a nonce."""
    fields = [("WWW-Authenticate", 'DPoP error="use_dpop_nonce"'), ("DPoP-Nonce", nonce)]
    return Answer(401, fields, b"")


def test_a_second_demand_for_a_nonce_is_a_warning(
    scene: Scene, sessions: Sessions, log: pytest.LogCaptureFixture
) -> None:
    scene.auth.token_fields = {"token_type": "DPoP"}
    scene.api.answer_next(demand("of-one-server"))
    scene.api.answer_next(demand("of-another-server"))
    session = sessions.new(scheme=DPoP())
    assert session.get(scene.url).status_code == 401
    (warning,) = lines(log)
    assert "because the API demands one more DPoP nonce" in warning
    assert scene.token_requests == 1


def test_a_demand_for_a_nonce_and_a_body_that_is_gone_are_said_once(
    scene: Scene, log: pytest.LogCaptureFixture
) -> None:
    scene.auth.token_fields = {"token_type": "DPoP"}
    scene.api.answer_next(demand("one"))
    session = scene.session(scheme=DPoP())
    assert session.post(scene.url, data=iter([b"a"])).status_code == 401
    said = lines_about_a_401(log)
    assert len(said) == 1
    assert "cannot be sent again" in said[0]


def test_an_accepted_replay_is_no_notice(scene: Scene, log: pytest.LogCaptureFixture) -> None:
    assert scene.refused().get(scene.url).status_code == 200
    assert lines(log) == lines(log, logging.DEBUG) == []


# -- what is remembered ----------------------------------------------------------------------------


def test_the_memory_of_warnings_is_limited(
    log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "MAX_REASONS", 10)
    for number in range(100):
        url = f"https://host-{number}.example/"
        notices.note_without_token(Client("me", None), url, notices.OLD_HEADER)
        assert len(events._reasons) <= 10
    assert len(lines(log)) == 100
    notices.note_refusal(Client("me", None), None, notices.NEW_TOKEN, 403)
    assert lines(log)[-1].startswith("A 403 is returned (<unreadable URL>, client 'me'")


def test_an_answer_that_is_none_is_ignored(log: pytest.LogCaptureFixture) -> None:
    notices.note_refused_without_token(Client("me", None), None, notices.OUTSIDE)
    assert log.records == []


# -- repr ------------------------------------------------------------------------------------------


def test_the_repr_of_a_session_says_what_it_is_without_secrets(net: Internet) -> None:
    session = connected(net, "orders", api_url=[f"{API}/v1", "https://b.example:8443"])
    shown = "for client 'my-id', scope 'orders', at https://as.example, with {}"
    prefixes = "api_url https://api.example/v1 and https://b.example:8443"
    assert repr(session) == (f"<ClientCredentialsSession {shown.format('no token')}, {prefixes}>")
    assert repr(session.tokens) == f"<TokenSource {shown.format('no token')}>"
    session.get(f"{API}/v1")
    assert repr(session) == f"<ClientCredentialsSession {shown.format('a token')}, {prefixes}>"
    assert net.tokens[0] not in repr(session)
    assert "my-secret" not in repr(session)


def test_the_repr_of_a_session_knows_an_expired_token(scene: Scene) -> None:
    scene.auth.token_lifetime = 0
    session = scene.session()
    session.tokens.get()
    assert "with an expired token, api_url not set>" in repr(session)


def test_the_repr_works_for_a_session_that_is_not_ready() -> None:
    class Mine(ClientCredentialsSession):
        def __init__(self) -> None:
            requests.Session.__init__(self)

    assert repr(Mine()) == "<Mine without a token source>"


def test_the_repr_of_an_auth_says_what_it_is() -> None:
    auth = ClientCredentialsAuth(*CLIENT)
    expected = "client 'my-id', without a scope, at https://as.example, with no token"
    assert repr(auth) == f"<ClientCredentialsAuth for {expected}>"


def test_nothing_is_made_for_a_log_that_is_off(
    net: Internet, log: pytest.LogCaptureFixture
) -> None:
    log.set_level(logging.CRITICAL, "oauthcc")
    session = connected(net)
    session.auth = ("me", "pw")
    session.get(API)
    assert log.records == []
