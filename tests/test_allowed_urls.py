"""Where a token goes: only where it was meant to go, whoever asks and however a URL is written."""

from __future__ import annotations

import contextlib
import logging
import threading
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme
from requests import PreparedRequest, Request, Response
from requests.auth import HTTPDigestAuth

from oauthcc import (
    ClientCredentialsAuth,
    ClientCredentialsSession,
    ConfigurationError,
    InsecureURLError,
    TokenSource,
)
from oauthcc.api_request.allowed_urls import AllowedURLs
from oauthcc.testing import AuthorizationServer, ProtectedAPI
from tests.internet import TOKEN_URL, Internet

API = "https://api.example"
HOME = "https://api.example:443"
FOREIGN = "https://foreign.example"
NO_OPTIONS: dict[str, Any] = {}


@pytest.fixture
def net() -> Internet:
    return Internet()


def connected(
    net: Internet, kind: type[ClientCredentialsSession] = ClientCredentialsSession, **options: Any
) -> ClientCredentialsSession:
    session: ClientCredentialsSession = on(net, kind(TOKEN_URL, "my-id", "my-secret", **options))
    return session


def on(net: Internet, session: Any) -> Any:
    session.trust_env = False
    session.mount("https://", net)
    session.mount("http://", net)
    return session


# -- redirects ------------------------------------------------------------------------------------

LEAVING = [
    "https://foreign.example/x",
    "//foreign.example/x",
    "https://api.example:8443/x",
    "https://api.example:80/x",
    "http://api.example/x",
    "http://api.example:443/x",
    "https://api.example.foreign.example/x",
    "https://api.exampl\u0435/x",
    "https://api.example./x",
    "https://www.api.example/x",
    "https://xapi.example/x",
    "https://api.example@foreign.example/x",
    "https://api.example:443@foreign.example/x",
    "https://api.example%40foreign.example/x",
    "https://foreign.example#@api.example/x",
    "https://foreign.example?@api.example/x",
    "https://foreign.example\\@api.example/x",
    "https://api.example\\@foreign.example/x",
    "https://api.example\\.foreign.example/x",
    "https:\\\\foreign.example/x",
    "\\\\foreign.example/x",
    "/\\foreign.example/x",
    "https:///foreign.example/x",
    "https://api.example\t.foreign.example/x",
    "https://foreign.example\t@api.example/x",
    "https://api.example%2f@foreign.example/x",
    "https://api.example;@foreign.example/x",
    "https://api.example:@foreign.example/x",
    "https://api%2eexample/x",
    "https://api\u3002example/x",
    "https://[::1]/x",
    "https://[::ffff:7f00:1]/x",
    "https://2130706433/x",
    "ftp://api.example/x",
    "https://api.example:0/x",
    "https://api.example:65536/x",
    "https://api.example:+443/x",
    "https://api.example: 443/x",
]


def carried(net: Internet) -> set[str]:
    """Give the places that saw a token; none may be any but the API."""
    return net.places_with_a_token()


def follow(session: Any, url: str, **options: Any) -> None:
    # Whether requests can follow it at all is not the point here.
    with contextlib.suppress(requests.RequestException, UnicodeError, ValueError):
        session.get(url, **options)


@pytest.mark.parametrize("location", LEAVING)
@pytest.mark.parametrize("status", [302, 307])
def test_a_redirect_to_another_origin_leaves_the_token_behind(
    net: Internet, location: str, status: int
) -> None:
    location = location.encode().decode("latin-1")  # as http.client hands it over
    net.redirect(f"{API}/start", location, status)
    for options in (NO_OPTIONS, {"api_url": API}, {"api_url": f"{API}/start"}):
        follow(connected(net, **options), f"{API}/start")
    follow(plain(net), f"{API}/start", auth=authorized(net))
    assert carried(net) == {HOME}
    assert net.shown(HOME)[0] == f"Bearer {net.tokens[0]}"


def plain(net: Internet) -> requests.Session:
    return on(net, requests.Session())  # type: ignore[no-any-return]


def authorized(net: Internet, **options: Any) -> ClientCredentialsAuth:
    auth = ClientCredentialsAuth(TOKEN_URL, "my-id", "my-secret", **options)
    auth.tokens.endpoint.mount("https://", net)
    return auth


def test_the_one_upgrade_that_requests_lets_pass_leaves_the_token_behind_as_well(
    net: Internet,
) -> None:
    net.redirect("http://localhost/start", "https://localhost/x")
    connected(net).get("http://localhost/start")
    plain(net).get("http://localhost/start", auth=authorized(net))
    assert [seen.authorization is not None for seen in net.seen] == [True, False, True, False]


STAYING = [
    "/x",
    "x",
    "?x",
    "//api.example/x",
    "https://api.example/x",
    "https://api.example:443/x",
    "https://API.EXAMPLE/x",
    "HTTPS://api.example/x",
    "https://user:password@api.example/x",
    "https://foreign.example@api.example/x",
    "https://api.example#@foreign.example/x",
    "https://api.example?@foreign.example/x",
    "https://api.example/@foreign.example/x",
]


@pytest.mark.parametrize("location", STAYING)
def test_a_redirect_that_stays_at_the_origin_keeps_the_token(net: Internet, location: str) -> None:
    net.redirect(f"{API}/start", location)
    session = connected(net)
    assert session.get(f"{API}/start").status_code == 200
    assert net.shown() == [f"Bearer {net.tokens[0]}"] * 2
    assert [seen.place for seen in net.seen] == [HOME, HOME]
    # What the other server wrote before the @ is nobody's word that counts.
    assert len(net.token_requests) == 1


def test_a_chain_that_leaves_and_comes_back_stays_without_the_token(net: Internet) -> None:
    net.redirect(f"{API}/start", f"{FOREIGN}/")
    net.redirect(f"{FOREIGN}/", f"{API}/transfer?to=me")
    for options in (NO_OPTIONS, {"api_url": API}):
        net.seen.clear()
        answer = connected(net, **options).get(f"{API}/start")
        assert [seen.authorization is not None for seen in net.seen] == [True, False, False]
        assert len(answer.history) == 2
    net.seen.clear()
    plain(net).get(f"{API}/start", auth=authorized(net))
    assert [seen.authorization is not None for seen in net.seen] == [True, False, False]


def test_a_chain_that_leaves_the_prefix_and_comes_back_stays_without_the_token(
    net: Internet,
) -> None:
    net.redirect(f"{API}/v1/start", f"{API}/login")
    net.redirect(f"{API}/login", f"{API}/v1/transfer?to=me")
    connected(net, api_url=f"{API}/v1").get(f"{API}/v1/start")
    assert [seen.authorization is not None for seen in net.seen] == [True, False, False]
    net.seen.clear()
    auth = authorized(net, api_url=f"{API}/v1")
    plain(net).get(f"{API}/v1/start", auth=auth)
    assert [seen.authorization is not None for seen in net.seen] == [True, False, False]


@pytest.mark.parametrize(
    "location", ["/v10", "/V1", "/v1/../admin", "/v1/%2e%2e/admin", "/v1/..;/admin", "/v1/a%2fb",
                 "/v1/a%5cb", "/v1\\..\\admin", "/v1/%252e%252e/admin", "//api.example//v1/a", "/"]
)  # fmt: skip
def test_a_redirect_out_of_the_prefix_leaves_the_token_behind(net: Internet, location: str) -> None:
    net.redirect(f"{API}/v1/start", location)
    connected(net, api_url=f"{API}/v1").get(f"{API}/v1/start")
    plain(net).get(f"{API}/v1/start", auth=authorized(net, api_url=f"{API}/v1"))
    assert [seen.authorization is not None for seen in net.seen] == [True, False, True, False]


def test_a_chain_that_began_without_a_token_never_gains_one(net: Internet) -> None:
    net.redirect(f"{FOREIGN}/start", f"{API}/v1/transfer")
    net.redirect(f"{API}/start", f"{API}/v1/transfer")
    session = connected(net, api_url=f"{API}/v1")
    for url in (f"{FOREIGN}/start", f"{API}/start"):
        session.get(url)
    assert net.shown() == [None] * 4
    assert not net.token_requests


def test_a_chain_that_began_with_the_callers_own_auth_never_gains_a_token(net: Internet) -> None:
    net.redirect(f"{FOREIGN}/start", f"{API}/v1/transfer")
    session = connected(net)
    session.get(f"{FOREIGN}/start", auth=("me", "pass"))
    session.get(f"{FOREIGN}/start", headers={"Authorization": "Key mine"})
    session.get(f"{FOREIGN}/start", auth=lambda r: r)
    assert net.shown(HOME) == [None] * 3
    assert not net.token_requests


def test_the_next_request_of_a_redirect_is_treated_as_a_hop(net: Internet) -> None:
    session = connected(net)
    for location, goes_along in ((f"{API}/x", True), (f"{FOREIGN}/x", False)):
        net.redirect(f"{API}/start", location)
        answer = session.get(f"{API}/start", allow_redirects=False)
        assert answer.next is not None
        session.send(answer.next)
        assert (net.shown()[-1] is not None) is goes_along
    # And with what it was turned into, back to the API.
    assert answer.next is not None
    answer.next.url = f"{API}/back"
    session.send(answer.next)
    assert net.shown()[-1] is None


class KeepsAuthorization(ClientCredentialsSession):
    """The recipe that is passed on wherever somebody's redirect loses a header."""

    def rebuild_auth(self, prepared_request: PreparedRequest, response: Response) -> None:
        return


class StripsNothing(ClientCredentialsSession):
    def should_strip_auth(self, old_url: str, new_url: str) -> bool:
        return False


class PutsItBack(ClientCredentialsSession):
    def rebuild_auth(self, prepared_request: PreparedRequest, response: Response) -> None:
        super().rebuild_auth(prepared_request, response)
        header = response.request.headers.get("Authorization")
        if header is not None:
            prepared_request.headers["Authorization"] = header


@pytest.mark.parametrize("kind", [KeepsAuthorization, StripsNothing, PutsItBack])
@pytest.mark.parametrize("location", [f"{FOREIGN}/", "http://api.example/", f"{API}:8443/"])
def test_a_recipe_that_keeps_authorization_on_redirects_does_not_spread_the_token(
    net: Internet, kind: type[ClientCredentialsSession], location: str
) -> None:
    net.redirect(f"{API}/start", location)
    connected(net, kind).get(f"{API}/start")
    connected(net, kind, api_url=API).get(f"{API}/start")
    assert carried(net) == {HOME}
    assert len(net.seen) == 4


class TakesItOff(ClientCredentialsSession):
    def rebuild_auth(self, prepared_request: PreparedRequest, response: Response) -> None:
        prepared_request.headers.pop("Authorization", None)


def test_a_token_that_somebody_took_off_is_not_put_back(net: Internet) -> None:
    net.redirect(f"{API}/start", "/x")
    session = connected(net, TakesItOff)
    sent = session.get(f"{API}/start").request
    session.send(sent)
    assert [seen.authorization is not None for seen in net.seen] == [True, False, False]


def test_a_recipe_that_keeps_authorization_keeps_what_is_the_callers_own(net: Internet) -> None:
    net.redirect(f"{API}/start", f"{FOREIGN}/")
    connected(net, KeepsAuthorization).get(f"{API}/start", headers={"Authorization": "Key mine"})
    assert net.shown() == ["Key mine"] * 2


def test_too_many_redirects_end_as_in_requests(net: Internet) -> None:
    net.redirect(f"{API}/start", "/start")
    with pytest.raises(requests.TooManyRedirects) as caught:
        connected(net).get(f"{API}/start")
    assert net.tokens[0] not in str(caught.value)
    assert len(net.token_requests) == 1


# -- requests that are used a second time ---------------------------------------------------------


def test_a_request_that_was_sent_is_signed_anew_where_it_belongs(net: Internet) -> None:
    session = connected(net)
    sent = session.get(f"{API}/x").request
    session.tokens.renew()
    session.send(sent)
    assert net.shown() == [f"Bearer {token}" for token in net.tokens]


def test_a_request_that_was_sent_carries_no_token_to_where_its_url_was_edited(
    net: Internet,
) -> None:
    for options in (NO_OPTIONS, {"api_url": API}):
        session = connected(net, **options)
        for url in (f"{FOREIGN}/x", "http://api.example/x", f"{API}:8443/"):
            sent = session.get(f"{API}/x").request
            sent.url = url
            session.send(sent)
            again = session.get(f"{API}/x").request.copy()
            again.prepare_url(url, {})
            session.send(again)
    assert carried(net) == {HOME}


def test_another_session_puts_its_own_token_on_a_request_or_none(net: Internet) -> None:
    first, second = connected(net), connected(net)
    narrow = connected(net, api_url=FOREIGN)
    theirs = connected(net)
    theirs.auth = lambda r: r
    sent = first.get(f"{API}/x").request
    second.send(sent)
    narrow.send(sent)
    theirs.send(sent)
    assert net.shown() == [*(f"Bearer {token}" for token in net.tokens), None, None]
    assert len(net.tokens) == 2


def test_a_plain_session_that_is_given_our_request_does_with_it_what_requests_does(
    net: Internet,
) -> None:
    session = connected(net)
    sent = session.get(f"{API}/start").request
    net.redirect(f"{API}/start", f"{FOREIGN}/")
    net.pages[f"{FOREIGN}/"] = 401, {"Set-Cookie": "sid=theirs"}, b""
    assert plain(net).send(sent).status_code == 401
    assert carried(net) == {HOME}
    # That 401 is none of our business: no renewal, no replay, no cookie for anybody.
    assert len(net.token_requests) == 1
    assert [seen.place for seen in net.seen] == [HOME, HOME, "https://foreign.example:443"]
    assert not session.cookies


def test_headers_that_were_copied_from_a_request_carry_no_token_elsewhere(net: Internet) -> None:
    session = connected(net, api_url=f"{API}/v1")
    headers = session.get(f"{API}/v1/x").request.headers
    for copied in (headers, dict(headers), headers.copy(), list(headers.items())):
        for url in (f"{FOREIGN}/x", f"{API}/v10", "http://api.example/v1"):
            session.get(url, headers=dict(copied))
            session.get(url, headers=dict(copied), auth=lambda r: r)
            session.get(url, headers=dict(copied), auth=HTTPDigestAuth("me", "pass"))
            session.send(Request("GET", url, headers=dict(copied)).prepare())
    session.headers.update(headers)
    session.get(f"{FOREIGN}/x")
    assert net.shown("https://foreign.example:443") == [None] * 17
    session.get(f"{API}/v1/x")
    assert carried(net) == {HOME}
    assert len(net.tokens) == 1


def test_hooks_that_were_copied_from_a_request_do_nothing_elsewhere(net: Internet) -> None:
    session = connected(net, api_url=API)
    sent = session.get(f"{API}/x").request
    net.pages[f"{FOREIGN}/"] = 401, {}, b"theirs"
    for hooks in (sent.hooks, dict(sent.hooks), sent.hooks.copy()):
        answer = session.get(f"{FOREIGN}/", hooks=hooks)
        assert answer.content == b"theirs"
        bare = Request("GET", f"{FOREIGN}/", hooks=hooks).prepare()
        assert session.send(bare).content == b"theirs"
    assert len(net.token_requests) == 1
    assert carried(net) == {HOME}


# -- prefixes -------------------------------------------------------------------------------------

INSIDE = [
    "https://api.example/v1",
    "https://api.example/v1/",
    "https://api.example/v1/a/b",
    "https://api.example:443/v1/a",
    "https://API.Example/v1/a",
    "HTTPS://api.example/v1/a",
    "https://api.example/%76%31/a",
    "https://api.example/x/../v1/a",
    "https://api.example/v1?x=/../",
    "https://api.example/v1#/../",
    "  https://api.example/v1",
    b"https://api.example/v1",
]
OUTSIDE = [
    "https://api.example",
    "https://api.example/",
    "https://api.example/V1",
    "https://api.example/v10",
    "https://api.example/v1%2fa",
    "https://api.example/v1/%2e%2e/admin",
    "https://api.example/v1/../admin",
    "https://api.example/v1/..;/admin",
    "https://api.example/v1/..%3b/admin",
    "https://api.example/v1/%252e%252e/admin",
    "https://api.example/v1/a%5c..%5cadmin",
    "https://api.example/v1\\..\\admin",
    "https://api.example//v1/a",
    "https://api.example:8443/v1",
    "http://api.example/v1",
    "https://api.example./v1",
    "https://api.example.evil.example/v1",
    "https://evil.example/https://api.example/v1",
    "https://api.example@evil.example/v1",
    "https://api.example:443@evil.example/v1",
    "https://evil.example\\@api.example/v1",
    "https://evil.example#@api.example/v1",
    "https://api.exampl\u0435/v1",
    "https://api.example\uff0fv1.evil.example/v1",
    "https://api.example\u2100.evil.example/v1",
    "https://evil.example/v1",
    "https://[::1]/v1",
    b"https://evil.example/v1",
]


@pytest.mark.parametrize("url", INSIDE)
def test_urls_under_the_prefix_carry_the_token_however_they_are_written(
    net: Internet, url: Any
) -> None:
    for session in (connected(net, api_url=f"{API}/v1"), connected(net, api_url=f"{API}:443/v1/")):
        session.get(url)
        assert net.shown()[-1] == f"Bearer {net.tokens[-1]}"
    plain(net).get(url, auth=authorized(net, api_url=f"{API}/v1"))
    assert net.shown()[-1] == f"Bearer {net.tokens[-1]}"
    assert carried(net) == {HOME}


@pytest.mark.parametrize("url", OUTSIDE)
def test_urls_beyond_the_prefix_carry_no_token(net: Internet, url: Any) -> None:
    session = connected(net, api_url=f"{API}/v1")
    follow(session, url)
    follow(plain(net), url, auth=authorized(net, api_url=f"{API}/v1"))
    assert not net.token_requests
    # A prepared request whose URL was set by hand never went through requests' preparation.
    bare = Request("GET", f"{API}/v1").prepare()
    bare.url = url.decode() if isinstance(url, bytes) else url
    with contextlib.suppress(requests.RequestException, UnicodeError, ValueError):
        session.send(bare)
    assert carried(net) == set()


def test_a_url_that_is_more_than_a_text_is_read_as_requests_reads_it(net: Internet) -> None:
    class Text(str):
        __slots__ = ()

    class Thing:
        def __init__(self, url: str) -> None:
            self.url = url

        def __str__(self) -> str:
            return self.url

    session = connected(net, api_url=API)
    for kind in (Text, Thing):
        session.get(kind(f"{API}/x"))  # type: ignore[arg-type]
        session.get(kind(f"{FOREIGN}/x"))  # type: ignore[arg-type]
    assert [seen.authorization is not None for seen in net.seen] == [True, False, True, False]


def test_several_prefixes_share_one_token(net: Internet) -> None:
    session = connected(net, api_url=[API, "https://other.example/a", "http://127.0.0.1:9/b"])
    for url in (f"{API}/x", "https://other.example/a", "https://other.example/b"):
        session.get(url)
    assert [seen.authorization is not None for seen in net.seen] == [True, True, False]
    assert len(net.tokens) == 1


def test_an_authorized_prefix_has_a_token_of_its_own_and_redirects_do_not_mix_them(
    net: Internet,
) -> None:
    session = connected(net, api_url=API)
    session.add_api("https://other.example/a", scope="other")
    session.add_api(f"{API}/admin", scope="admin")
    net.redirect(f"{API}/start", f"{API}/admin/x")
    net.redirect(f"{API}/admin/start", f"{API}/x")
    net.redirect("https://other.example/a", f"{API}/x")
    for url in (f"{API}/start", f"{API}/admin/start", "https://other.example/a"):
        session.get(url)
    shown = net.shown()
    assert shown[1::2] == [None] * 3
    assert shown[::2] == [f"Bearer {token}" for token in net.tokens]
    assert len(net.tokens) == 3


# -- plain http -----------------------------------------------------------------------------------

IN_THE_CLEAR = [
    "http://api.example/x",
    "http://api.example:443/x",
    "http://localhost.example/x",
    "http://127.0.0.1.example/x",
    "http://127.0.0.1@api.example/x",
    "http://10.0.0.1/x",
    "http://0.0.0.0/x",
    "http://[::]/x",
    "http://[::ffff:127.0.0.1]/x",
    "http://127.1/x",
    "http://2130706433/x",
    "http://localhost./x",
]
AT_HOME = [
    "http://localhost/x",
    "http://LOCALHOST:8080/x",
    "http://127.0.0.1:1/x",
    "http://127.9.9.9/x",
    "http://[::1]:8080/x",
]


@pytest.mark.parametrize("url", IN_THE_CLEAR)
def test_plain_http_beyond_this_machine_is_refused_before_anything_is_sent(
    net: Internet, url: str
) -> None:
    user_is_named = "@" in url
    session = connected(net)
    if not user_is_named:
        with pytest.raises(InsecureURLError, match=r'https, or pass api_url="http://.*auth=lambda'):
            session.get(url)
    bare = Request("GET", f"{API}/x").prepare()
    bare.url = url
    with pytest.raises(InsecureURLError):
        session.send(bare)
    with pytest.raises(InsecureURLError):
        plain(net).send(Request("GET", url, auth=authorized(net)).prepare())
    assert not net.seen
    assert not net.token_requests


@pytest.mark.parametrize("url", AT_HOME)
def test_plain_http_to_this_machine_is_as_good_as_https(net: Internet, url: str) -> None:
    connected(net).get(url)
    assert net.shown() == [f"Bearer {net.tokens[0]}"]


def test_plain_http_may_be_named_and_then_carries_the_token_there_alone(net: Internet) -> None:
    session = connected(net, api_url=["http://api.example:8080", API])
    session.get("http://api.example:8080/x")
    session.get(f"{API}/x")
    for url in ("http://api.example/x", "http://api.example:8081/x", "http://other.example:8080/"):
        session.get(url)  # goes without: nothing says that it should have one
    assert [seen.authorization is not None for seen in net.seen] == [
        True,
        True,
        False,
        False,
        False,
    ]
    narrow = connected(net)
    narrow.add_api("http://api.example:8080", scope="x")
    narrow.get("http://api.example:8080/x")
    assert net.shown()[-1] == f"Bearer {net.tokens[-1]}"
    with pytest.raises(InsecureURLError):
        narrow.get("http://api.example/x")


def test_a_request_that_brings_its_own_may_go_over_plain_http(net: Internet) -> None:
    session = connected(net)
    session.get("http://api.example/x", auth=lambda r: r)
    session.get("http://api.example/x", auth=("me", "pass"))
    session.get("http://me:pass@api.example/x")
    session.get("http://api.example/x", headers={"Authorization": "Key mine"})
    assert net.shown() == [None, "Basic bWU6cGFzcw==", "Basic bWU6cGFzcw==", "Key mine"]


# -- the second origin ----------------------------------------------------------------------------


def test_a_second_origin_is_warned_of_once(net: Internet, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    session = connected(net)
    for url in (f"{API}/x", f"{API}:443/y", f"{FOREIGN}/x", "https://third.example/", f"{API}/z"):
        session.get(url)
    assert [record.getMessage() for record in caplog.records] == [
        (
            "The token that went to https://api.example goes to https://foreign.example too;"
            " pass api_url= to say where it may go."
        )
    ]
    caplog.clear()
    bounded = connected(net, api_url=[API, FOREIGN])
    for url in (f"{API}/x", f"{FOREIGN}/x", "https://third.example/"):
        bounded.get(url)
    unsigned = connected(net)
    for url in (f"{API}/x", f"{FOREIGN}/x"):
        unsigned.get(url, auth=lambda r: r)
    assert not caplog.records


def test_reach_alone_finds_the_longest_prefix_and_refuses_an_empty_list() -> None:
    reach: AllowedURLs[str] = AllowedURLs("default", ["https://a.example", "https://a.example/x"])
    reach.add("https://a.example/x/y", "other")
    assert reach.find("https://a.example/x/y/z") == "other"
    assert reach.find("https://a.example/x/yy") == "default"
    assert reach.find("https://b.example/") is None
    reach.refuse_plain_http("http://b.example/")  # goes without a token and so is no harm
    reach.notice("https://b.example/")
    with pytest.raises(ConfigurationError, match="api_url is empty"):
        AllowedURLs("default", ())
    everywhere: AllowedURLs[str] = AllowedURLs("default", None)
    everywhere.notice("https://a.example/")
    everywhere.notice("not a URL")
    assert everywhere.find("ftp://a.example/") is None
    assert everywhere.find("not a URL") is None


# -- on real sockets ------------------------------------------------------------------------------


def session_for(auth: AuthorizationServer, **options: Any) -> ClientCredentialsSession:
    return ClientCredentialsSession(auth.token_url, auth.client_id, auth.client_secret, **options)


def test_a_request_that_is_edited_while_its_token_is_fetched_goes_where_it_was_sent() -> None:
    with (
        AuthorizationServer() as auth,
        ProtectedAPI(auth) as api,
        ProtectedAPI(auth) as other,
        session_for(auth, api_url=api.url) as session,
    ):
        prepared = session.prepare_request(Request("GET", f"{api.url}/a"))
        with auth.hold() as gate:
            caller = threading.Thread(target=session.send, args=(prepared,))
            caller.start()
            gate.wait_for(1)
            prepared.url = f"{other.url}/a"
        caller.join()
        assert [seen.path for seen in api.requests] == ["/a"]
        assert not other.requests


def test_a_redirect_to_another_port_leaves_the_token_behind(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    with ProtectedAPI(auth) as other, session_for(auth) as session:
        answer = session.get(f"{api.url}/redirect-to", params={"url": f"{other.url}/x"})
        # The 401 of a foreign server is no reason to renew, and none to show it a token.
        assert answer.status_code == 401
        assert "Authorization" not in other.requests[0].headers
    assert len(other.requests) == len(auth.token_requests) == 1


def test_a_redirect_by_another_name_of_the_same_machine_leaves_the_token_behind(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    by_name = api.url.replace("127.0.0.1", "localhost")
    with session_for(auth) as session:
        answer = session.get(f"{api.url}/redirect-to", params={"url": f"{by_name}/x"})
    assert answer.status_code == 401
    assert "Authorization" not in api.requests[-1].headers


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, str]:
    import ssl

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    bundle: Path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    return context, str(bundle)


@pytest.mark.parametrize("to_https", [False, True])
def test_a_redirect_to_another_scheme_leaves_the_token_behind(
    auth: AuthorizationServer, certificates: tuple[Any, str], to_https: bool
) -> None:
    context, bundle = certificates
    start_tls, end_tls = (None, context) if to_https else (context, None)
    with (
        ProtectedAPI(auth, tls=start_tls) as start,
        ProtectedAPI(auth, tls=end_tls) as end,
        session_for(auth) as session,
    ):
        session.verify, session.trust_env = bundle, False
        answer = session.get(f"{start.url}/redirect-to", params={"url": f"{end.url}/x"})
        assert len(answer.history) == 1
        assert start.requests[0].token is not None
        assert [seen.token for seen in end.requests] == [None]


def test_https_goes_through_a_proxy_that_never_sees_the_token(
    auth: AuthorizationServer, certificates: tuple[Any, str]
) -> None:
    context, bundle = certificates
    with Proxy() as proxy, ProtectedAPI(auth, tls=context) as api, session_for(auth) as session:
        session.verify, session.trust_env = bundle, False
        session.proxies = {"https": proxy.url, "http": proxy.url}
        assert session.get(f"{api.url}/x").status_code == 200
        assert api.requests[0].token is not None
        (line,) = proxy.lines  # HTTP/1.0 before Python 3.12
        assert line.startswith(f"CONNECT 127.0.0.1:{api.port} HTTP/1.")
        assert api.requests[0].token not in proxy.text


@pytest.mark.parametrize("way", ["session", "request", "environment"])
def test_plain_http_to_this_machine_never_goes_through_a_proxy(
    auth: AuthorizationServer, api: ProtectedAPI, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    with Proxy() as proxy, session_for(auth) as session:
        proxies = {"http": proxy.url, "all": proxy.url}
        if way == "environment":
            monkeypatch.setenv("HTTP_PROXY", proxy.url)
            monkeypatch.setenv("http_proxy", proxy.url)
            monkeypatch.delenv("NO_PROXY", raising=False)
            monkeypatch.delenv("no_proxy", raising=False)
        if way == "session":
            session.proxies = proxies
        options: Any = {"proxies": proxies} if way == "request" else {}
        auth.revoke_all()
        session.get(f"{api.url}/x", **options)
        auth.revoke_all()
        assert session.get(f"{api.url}/x", **options).status_code == 200
        session.get(f"{api.url}/redirect-to", params={"url": "/y"}, **options)
        assert proxy.lines == []
        # What carries no credentials of ours goes where the caller says.
        session.get(f"{api.url}/x", auth=lambda r: r, **options)
        assert [line.partition(" ")[0] for line in proxy.lines] == ["GET"]


def test_a_redirect_from_this_machine_goes_through_the_proxy_again(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    with Proxy() as proxy, session_for(auth) as session:
        session.trust_env = False
        session.proxies = {"http": proxy.url}
        session.get(f"{api.url}/redirect-to", params={"url": "http://api.example/x"})
        assert [line.split(" ")[1] for line in proxy.lines] == ["http://api.example/x"]
        assert "Authorization" not in proxy.text
        assert "authorization" not in proxy.text.lower()


# -- netrc ----------------------------------------------------------------------------------------


def test_netrc_displaces_neither_the_token_nor_the_proof_of_the_client(
    auth: AuthorizationServer,
    api: ProtectedAPI,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The entry is for both, since both are at 127.0.0.1.
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login netrc-user password netrc-pass\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with session_for(auth) as session:
        assert session.get(f"{api.url}/x").status_code == 200
        assert session.get(f"{api.url}/redirect-to", params={"url": "/y"}).status_code == 200
        auth.revoke_all()
        assert session.get(f"{api.url}/x").status_code == 200
        assert session.send(Request("GET", f"{api.url}/x").prepare()).status_code == 200
    assert all(seen.client_id == auth.client_id for seen in auth.token_requests)
    assert all("Basic" not in seen.headers["Authorization"] for seen in api.requests)
    with session_for(auth, api_url=f"{api.url}/v1") as session:
        # Beyond the prefix all is as in requests.
        assert session.get(f"{api.url}/x").status_code == 401
    assert api.requests[-1].headers["Authorization"].startswith("Basic ")


# -- client certificates --------------------------------------------------------------------------


class OfTheClient:
    """A client authentication by certificate, without the files."""

    name, needs_secret, cert = "tls_client_auth", False, ("/cert.pem", "/key.pem")

    def authenticate(self, attempt: Any) -> None:
        attempt.params.append(("client_id", attempt.client_id))

    def fingerprint(self, client_secret: str | None) -> bytes:
        return b"of the certificate"


def test_the_client_certificate_goes_with_the_token_and_not_beyond(net: Internet) -> None:
    net.redirect(f"{API}/start", f"{FOREIGN}/")
    owner = on(net, ClientCredentialsSession(TOKEN_URL, "my-id", client_auth=OfTheClient()))
    borrower = on(net, ClientCredentialsSession.using(owner.tokens))
    guest = connected(net, api_url=FOREIGN + "/none")
    tokens: TokenSource = owner.tokens
    guest.add_api(API, tokens=tokens)
    for session in (owner, borrower, guest):
        net.seen.clear()
        session.get(f"{API}/start")
        certs = [seen.options["cert"] for seen in net.seen]
        assert certs == [OfTheClient.cert, None]
    owner.cert = "/mine.pem"
    net.seen.clear()
    owner.get(f"{API}/start")
    assert [seen.options["cert"] for seen in net.seen] == ["/mine.pem"] * 2


# -- a proxy that tells what it saw ---------------------------------------------------------------


class Proxy:
    """A proxy on loopback: CONNECT is a tunnel, all else is answered with nothing."""

    def __enter__(self) -> Proxy:
        import socketserver
        import threading

        proxy = self
        self.lines: list[str] = []
        self.text = ""

        class Line(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                head = b""
                while b"\r\n\r\n" not in head:
                    piece = self.request.recv(65536)
                    if not piece:
                        return
                    head += piece
                proxy.note(head)
                method, target, _ = head.split(b"\r\n")[0].split(b" ")
                if method == b"CONNECT":
                    host, _, port = target.decode().rpartition(":")
                    tunnel(self.request, host, int(port), proxy)
                else:
                    self.request.sendall(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True

        self.server = Server(("127.0.0.1", 0), Line)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()
        return self

    def note(self, octets: bytes) -> None:
        self.lines.append(octets.split(b"\r\n")[0].decode("latin-1"))
        self.see(octets)

    def see(self, octets: bytes) -> None:
        self.text += octets.decode("latin-1")

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def tunnel(client: Any, host: str, port: int, proxy: Proxy) -> None:
    import select
    import socket

    with socket.create_connection((host, port)) as server:
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        ends = {client: server, server: client}
        while True:
            for end in select.select(list(ends), [], [])[0]:
                octets = end.recv(65536)
                if not octets:
                    return
                proxy.see(octets)
                ends[end].sendall(octets)
