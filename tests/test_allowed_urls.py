"""The URLs that may carry a token: no other request has one, however its URL is written."""

from __future__ import annotations

import contextlib
import io
import logging
import pickle
import posixpath
import re
import threading
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from requests import PreparedRequest, Request, Response
from requests.adapters import HTTPAdapter
from requests.auth import HTTPDigestAuth
from requests.utils import select_proxy
from urllib3 import HTTPResponse

from oauthcc import ClientCredentialsSession, ConfigurationError, InsecureURLError
from oauthcc.access_token import Token
from oauthcc.api_request import allowed_urls
from oauthcc.api_request.allowed_urls import AllowedURLs, Prefix
from oauthcc.redaction import SecretHeader
from oauthcc.schemes import Bearer
from oauthcc.testing import AuthorizationServer, ProtectedAPI
from oauthcc.urls import Origin, public_url

from .fuzz.urls import check_prefixes, check_redirects, check_redirects_of_auth
from .internet import Internet
from .servers.certificates import Certificates
from .sessions import CLIENT, auth_for, connected, on, plain, session_for

API = "https://api.example"
ORIGIN = Origin("https", "api.example", 443)
HOME = "https://api.example:443"
FOREIGN = "https://foreign.example"
ORDERS = f"{API}/v1/orders"
NO_OPTIONS: dict[str, Any] = {}
every_time_the_same = settings(derandomize=True, deadline=None, max_examples=400)


def prepared(url: str) -> str:
    request = PreparedRequest()
    request.prepare_url(url, None)
    return str(request.url)


def allowed(*texts: str) -> AllowedURLs[str]:
    """Return prefixes that each have their own text as value. Other URLs have none."""
    urls = AllowedURLs("", "https://nowhere.example")
    for text in texts:
        urls.add(text, text)
    return urls


def matches(prefix: str, url: str) -> bool:
    return allowed(prefix).find(url)[0] == prefix


# -- a prefix -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("https://api.example", "https://api.example"),
        ("https://api.example/", "https://api.example"),
        ("https://API.example:443/v1/", "https://api.example/v1"),
        ("https://api.example/V1/a:b@c;d", "https://api.example/V1/a:b@c;d"),
        ("https://api.example//v1", "https://api.example//v1"),
        ("https://api.example/%76%31/%7ejoe", "https://api.example/v1/~joe"),
        ("https://api.example/é/%c3%a9", "https://api.example/%C3%A9/%C3%A9"),
        ("https://api.example/100%25", "https://api.example/100%25"),
        ("https://api.example/group%2fproject", "https://api.example/group%2Fproject"),
        ("https://api.example/a%252eb", "https://api.example/a%252eb"),
        ("https://bücher.example/v1", "https://xn--bcher-kva.example/v1"),
        ("http://[::1]:8080/v1", "http://[::1]:8080/v1"),
        ("http://api.example/v1", "http://api.example/v1"),
    ],
)
def test_a_prefix_has_the_form_that_requests_prepares(text: str, normal: str) -> None:
    prefix = Prefix.parse(text)
    assert str(prefix) == normal
    assert Prefix.parse(normal) == prefix
    assert matches(text, prepared(text))
    assert pickle.loads(pickle.dumps(prefix)) == prefix


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "empty"),
        (None, "empty"),
        (b"https://api.example", "not a string"),
        ("api.example/v1", "no scheme"),
        ("localhost:8080", "no scheme"),
        ("//api.example", "no scheme"),
        ("/v1", "no scheme"),
        ("ftp://api.example", "neither https nor http"),
        ("httpx://api.example", "neither https nor http"),
        ("https://me:hunter2@api.example", "user name"),
        ("https://hunter2@api.example/v1", "user name"),
        ("https://*.example", "wildcard"),
        ("https://api.*/v1", "wildcard"),
        ("https://api.example/v1?", "query"),
        ("https://api.example?key=hunter2", "query"),
        ("https://api.example/#", "fragment"),
        ("https://api.example/v1#hunter2", "fragment"),
        ("https://", "host or port"),
        ("https:///v1", "host or port"),
        ("https://.example", "host or port"),
        ("https://api.example:0", "host or port"),
        ("https://api.example:65536", "host or port"),
        ("https://api.example:port", "host or port"),
        ("https://api.ex%61mple", "host or port"),
        ("https://\ud800/", "host or port"),
        (" https://api.example", "space"),
        ("https://api.example/v 1", "space"),
        ("https://api.example\n", "space"),
        ("https://api.example\\v1", "backslash"),
        ("https://api.example/v1/../v2", "dot segments"),
        ("https://api.example/.", "dot segments"),
        ("https://api.example/%2E%2e/v1", "dot segments"),
        ("https://api.example/a%2f..", "dot segments"),
        ("https://api.example/a%5cb", "backslash"),
        ("https://api.example/%252e", "dot segments"),
        ("https://api.example/a%2525252eb", "dot segments"),
        ("https://api.example/%ff", "UTF-8"),
        ("https://api.example/\ud800", "dot segments"),
        ("s3cr3t-in-the-wrong-place", "no scheme"),
    ],
)
def test_an_invalid_prefix_is_refused_with_advice(text: object, word: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Prefix.parse(text)  # type: ignore[arg-type]
    assert caught.value.__context__ is None
    message = str(caught.value)
    assert word in message
    assert "hunter2" not in message
    assert "s3cr3t" not in message
    assert ": " in message


def test_hex_digits_of_an_escape_are_compared_without_case() -> None:
    for text in ("https://api.example/é", "https://api.example/%c3%a9"):
        for path in ("%c3%a9", "%C3%a9/x", "é/x"):
            assert matches(text, f"https://api.example/{path}")


INSIDE = [
    "https://api.example/v1",
    "https://api.example/v1/",
    "https://api.example/v1/orders?next=/../v2#/../x",
    "https://api.example/v1?x",
    "https://api.example/v1#/../",
    "https://API.EXAMPLE:443/v1//x",
    "HTTPS://api.example/v1/a",
    "https://api.example/%76%31/x",
    "https://api.example/v1/...",
    "https://api.example/v1/a;b/%c3%a9/100%25/a%20b",
    "https://api.example/v1/é",
    "https://api.example/v1/group%2Fproject",
    "https://api.example/v1/queues/%2f/orders",
    "https://api.example/v1/a%252Fb/a%25252Fb",
    "https://api.example/v1/a%3Bb/x%253By",
    "https://api.example/v1/50%25/%2525",
    "https://api.example/v1//x///y",
]
OTHER_PATHS = [
    "https://api.example",
    "https://api.example/",
    "https://api.example/v10",
    "https://api.example/V1/orders",
    "https://api.example//v1",
    "https://api.example/v2/v1",
    "https://api.example?/v1",
    "https://api.example/v1;x",
    "https://api.example/v1/../admin",
    "https://api.example/v1/..",
    "https://api.example/v1/%2e%2E/admin",
    "https://api.example/v1/..;/admin",
    "https://api.example/v1/..;x=1/admin",
    "https://api.example/v1/.;/x",
    "https://api.example/v1/%2e%2e;/admin",
    "https://api.example/v1/..%3b/admin",
    "https://api.example/v1/..%20/admin",
    "https://api.example/v1%2f..%2fadmin",
    "https://api.example/v1/x%2F..%2Fy",
    "https://api.example/v1/x%252F.",
    "https://api.example/v1/%2e%252f",
    "https://api.example/v1%2Forders",
    "https://api.example/v1/%2525252e",
    "https://api.example/v1/%2525252525",
    "https://api.example/%2Fv1/x",
    "https://api.example/v1/x%5c..",
    "https://api.example/v1/%252e%252e/admin",
    "https://api.example/v1/%25252e",
    "https://api.example/v1/%255c",
    "https://api.example/v1/..%253b/admin",
    "https://api.example/v1/%u002e%u002e/admin",
    "https://api.example/v1/%c0%ae%c0%ae/admin",
    "https://api.example/v1/..%00/admin",
    "https://api.example/v1/..%2500/admin",
    "https://api.example/v1/..\\admin",
    "https://api.example/v1/.\t./admin",
]
# requests resolves or encodes what these contain, but not for a request whose URL is set directly.
OTHER_PATHS_UNLESS_PREPARED = [
    "https://api.example/v1/./x",
    "https://api.example/v1/.%2e",
    "https://api.example/v1/a b",
]
OTHER_ORIGINS = [
    "https://api.example:8443/v1",
    "http://api.example/v1",
    "http://api.example:443/v1",
    "https://api.example./v1",
    "https://xapi.example/v1",
    "https://api.example.evil.example/v1",
    "https://evil.example/https://api.example/v1",
    "https://evil.example?https://api.example/v1",
    "https://api.example@evil.example/v1",
    "https://api.example:443@evil.example/v1",
    "https://api.example\\@evil.example/v1",
    "https://evil.example\\@api.example/v1",
    "https://evil.example#@api.example/v1",
    "https://api.example%2eevil.example/v1",
    "https://api.exampl\u0435/v1",
    "https://api.example\uff0fv1.evil.example/v1",
    "https://api.example\u2100.evil.example/v1",
    "https://evil.example/v1",
    "https://[::1]/v1",
]


@pytest.mark.parametrize("url", [*INSIDE, "https://me:pass@api.example/v1"])
def test_a_url_at_or_below_a_prefix_matches(url: str) -> None:
    assert matches("https://api.example/v1/", url)
    assert matches("https://api.example", url)


@pytest.mark.parametrize("url", [*OTHER_PATHS, *OTHER_PATHS_UNLESS_PREPARED])
def test_a_path_that_is_outside_or_ambiguous_matches_only_a_prefix_without_a_path(url: str) -> None:
    assert not matches("https://api.example/v1", url)
    assert matches("https://api.example", url)


@pytest.mark.parametrize("url", OTHER_ORIGINS)
def test_another_origin_never_matches(url: str) -> None:
    assert not matches("https://api.example", url)
    assert not matches("https://api.example/v1", url)


PATH_PIECES = st.sampled_from(
    ["/", "/", "/", "v1", "V1", "v10", ".", "..", "%2e", "%2E", "%2f", "%5c", "\\", ";", "%3b",
     "%25", "2e", "2f", "%", "u002e", "?", "#", "é", "%c0%ae", " ", "\t", "%00", "%20", "%61", "a"]
)  # fmt: skip


@every_time_the_same
@given(st.text())
def test_no_text_raises_when_it_is_looked_up(text: str) -> None:
    for url in (text, f"https://{text}", f"https://api.example/{text}"):
        matches("https://api.example/v1", url)


@every_time_the_same
@given(st.lists(PATH_PIECES, max_size=8).map("".join))
def test_a_path_that_matches_stays_below_the_prefix_however_it_is_decoded(tail: str) -> None:
    for url in (f"https://api.example/v1{tail}", f"https://api.example/{tail}"):
        if not matches("https://api.example/v1", url):
            continue
        request = PreparedRequest()
        request.url = url
        path = request.path_url.partition("?")[0]
        for _ in range(3):
            parts = [part.partition(";")[0].strip() for part in path.replace("\\", "/").split("/")]
            assert posixpath.normpath("/".join(parts)).startswith("/v1")
            path = unquote(path)


@every_time_the_same
@given(
    st.lists(st.sampled_from(["a", "b", "", "%41", "%7E"]), max_size=3),
    st.lists(st.sampled_from(["a", "b", "", "A", "~", "%7e", "ab"]), max_size=4),
)
def test_whole_segments_are_compared(prefix: list[str], path: list[str]) -> None:
    base = f"https://api.example/{'/'.join(prefix)}"
    url = prepared(f"https://api.example/{'/'.join(path)}")
    stem = prepared(base).removesuffix("/")
    assert matches(base, url) == (url == stem or url.startswith(f"{stem}/"))


@pytest.mark.unmeasured
@every_time_the_same
@given(st.integers(0, 2**32))
def test_a_url_that_gets_a_token_is_under_its_prefix_in_every_reading(seed: int) -> None:
    for number in range(5):
        check_prefixes(Random(seed + number))


# -- several prefixes -----------------------------------------------------------------------------


def test_the_longest_prefix_wins() -> None:
    urls = allowed(API, ORDERS, f"{API}/v1", "http://[::1]:1/x")
    for url, prefix in {
        f"{ORDERS}/7": ORDERS,
        f"{API}/v1/ordersX": f"{API}/v1",
        f"{API}/v2": API,
        f"{ORDERS}/../x": None,
        f"{API}/v2/group%2Fproject;x//y": API,
        "http://[::1]:1/x/y": "http://[::1]:1/x",
        "http://[::1]:1/y": None,
        "https://other.example/": None,
        "nonsense": None,
        "ftp://api.example/v1": None,
    }.items():
        assert urls.find(url)[0] == prefix, url
    assert urls.find(ORDERS)[1] == ORIGIN
    assert urls.find("nonsense")[1] is None


@pytest.mark.parametrize(
    "path",
    ["/v1//orders", "/v1/%6frders%2F7", "/v1/orders;x", "/v1%2Forders", "/v1%252Forders",
     "//v1/orders", "/v1;x/orders", "/v1/%3Bx/orders", "/v1/a%3A", "/v1/a%253ab", "/v1/%25c3%25a9",
     "/v1/g%252Fp/%25or"]
)  # fmt: skip
def test_a_path_that_another_reading_moves_to_another_api_has_no_token(path: str) -> None:
    others = (ORDERS, *(f"{API}/v1/{path}" for path in ("a:", "a:b", "é", "g%2Fp")))
    urls = allowed(API, f"{API}/v1", *others)
    assert urls.find(f"{API}{path}")[0] is None
    unlimited = AllowedURLs("default", None)
    for other in others:
        unlimited.add(other, other)
    assert unlimited.find(f"{API}{path}")[0] is None
    # If all of them have the same token, it does not matter which one is meant.
    assert AllowedURLs("default", [API, f"{API}/v1", *others]).find(f"{API}{path}")[0] == "default"


def test_the_segments_of_a_prefix_are_compared_as_they_are_written() -> None:
    urls = allowed(f"{API}/a%2Fb", f"{API}/a/b", f"{API}/a;b", f"{API}/a", f"{API}//a")
    for url in (f"{API}/a%2Fb", f"{API}/a/b", f"{API}/a;b", f"{API}/a", f"{API}//a"):
        assert urls.find(url)[0] == url
        assert urls.find(f"{url}/c;d//e%2Ff")[0] == url


def test_a_prefix_that_is_added_again_replaces_the_value() -> None:
    urls = allowed(ORDERS, API)
    urls.add(f"{ORDERS}/", "again")
    assert urls.values() == ["", "", "again", API]
    assert urls.find(ORDERS)[0] == "again"
    assert pickle.loads(pickle.dumps(urls)).find(ORDERS) == urls.find(ORDERS)


def test_the_default_is_for_the_named_prefixes_or_for_all_urls() -> None:
    limited = AllowedURLs("default", [API, "http://inside.example/v1"])
    assert limited.find(f"{API}/x")[0] == "default"
    assert limited.find("http://inside.example/v1/x")[0] == "default"
    assert limited.find("https://b.example/")[0] is None
    # No token goes there, so nothing is wrong.
    limited.refuse_plain_http(Request("GET", "http://b.example/").prepare())
    unlimited = AllowedURLs("default", None)
    assert unlimited.find("https://b.example/")[0] == "default"
    assert [unlimited.find(url)[0] for url in ("ftp://a.example/", "not a URL")] == [None, None]
    with pytest.raises(ConfigurationError, match="api_url is empty"):
        AllowedURLs("default", ())


@every_time_the_same
@given(
    st.lists(st.lists(st.sampled_from("ab"), max_size=3), max_size=6), st.text("ab/", max_size=9)
)
def test_the_value_found_is_that_of_the_longest_of_all_matching_prefixes(
    paths: list[list[str]], tail: str
) -> None:
    texts = [f"https://api.example/{'/'.join(path)}" for path in paths]
    url = f"https://api.example/{tail}"
    matching = [Prefix.parse(text) for text in texts if matches(text, url)]
    longest = max(matching, key=lambda prefix: len(prefix.segments), default=None)
    found = allowed(*texts).find(url)[0]
    if found or "//" not in url.removeprefix("https://"):
        assert (found and Prefix.parse(found)) == longest


class CountingDict(dict[tuple[str, ...], str]):
    looked_up = 0

    def get(self, *args: Any) -> Any:
        self.looked_up += 1
        return super().get(*args)


@pytest.mark.parametrize("count", [1, 1000])
def test_the_number_of_look_ups_does_not_grow_with_the_number_of_prefixes(count: int) -> None:
    urls = allowed(ORDERS, *(f"https://api.example/{n}/orders" for n in range(1, count)))
    depth, values = urls._origins[ORIGIN]
    counting = CountingDict(values)
    urls._origins = {ORIGIN: (depth, counting)}
    assert urls.find("https://api.example/none/of/these/at/all")[0] is None
    assert counting.looked_up == 3


def test_a_prefix_without_a_path_does_not_read_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    urls = allowed(API)
    monkeypatch.setattr(allowed_urls, "path_of", None)
    assert urls.find("https://api.example/v1")[0] == API


def test_a_prefix_is_found_while_others_are_added() -> None:
    urls = allowed(ORDERS)
    done = threading.Event()
    missed = []

    def read() -> None:
        while not done.is_set():
            if urls.find(ORDERS)[0] != ORDERS or ORDERS not in urls.values():
                missed.append(1)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for number in range(200):
        urls.add(f"https://api.example/{number}", "new")
        urls.add(f"https://{number}.example/", "new")
    done.set()
    for reader in readers:
        reader.join()
    assert not missed
    assert urls.values().count("new") == 400


# -- in sessions ----------------------------------------------------------------------------------

# requests changes these before they are sent.
PREPARED_TO_BE_INSIDE = [
    "https://api.example/x/../v1/a",
    "  https://api.example/v1",
    b"https://api.example/v1",
]


@pytest.mark.parametrize("url", [*INSIDE, *PREPARED_TO_BE_INSIDE])
def test_a_url_under_the_prefix_carries_the_token(net: Internet, url: Any) -> None:
    for session in (connected(net, api_url=f"{API}/v1"), connected(net, api_url=f"{API}:443/v1/")):
        session.get(url)
        assert net.shown()[-1] == f"Bearer {net.tokens[-1]}"
    plain(net).get(url, auth=auth_for(net, api_url=f"{API}/v1"))
    assert net.shown()[-1] == f"Bearer {net.tokens[-1]}"
    assert net.places_with_a_token() == {HOME}


@pytest.mark.parametrize("url", [*OTHER_PATHS, *OTHER_ORIGINS, b"https://evil.example/v1"])
def test_a_url_outside_the_prefix_carries_no_token(net: Internet, url: Any) -> None:
    session = connected(net, api_url=f"{API}/v1")
    follow(session, url)
    follow(plain(net), url, auth=auth_for(net, api_url=f"{API}/v1"))
    assert not net.token_requests
    # requests never prepares a URL that is set on a prepared request.
    bare = Request("GET", f"{API}/v1").prepare()
    bare.url = url.decode() if isinstance(url, bytes) else url
    with contextlib.suppress(requests.RequestException, UnicodeError, ValueError):
        session.send(bare)
    assert net.places_with_a_token() == set()


def follow(session: requests.Session, url: str, **options: Any) -> None:
    """Send a request that requests may not be able to send."""
    with contextlib.suppress(requests.RequestException, UnicodeError, ValueError):
        session.get(url, **options)


def carried(net: Internet) -> list[bool]:
    """Return which requests carried an Authorization header."""
    return [seen.authorization is not None for seen in net.seen]


def test_a_url_that_is_not_exactly_a_string_is_read_as_requests_reads_it(net: Internet) -> None:
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
    assert carried(net) == [True, False, True, False]


def test_several_prefixes_share_one_token(net: Internet) -> None:
    session = connected(net, api_url=[API, "https://other.example/a", "http://127.0.0.1:9/b"])
    for url in (f"{API}/x", "https://other.example/a", "https://other.example/b"):
        session.get(url)
    assert carried(net) == [True, True, False]
    assert len(net.tokens) == 1


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


@pytest.mark.unmeasured
@pytest.mark.parametrize("location", LEAVING)
@pytest.mark.parametrize("status", [302, 307])
def test_a_redirect_to_another_origin_leaves_the_token_behind(
    net: Internet, location: str, status: int
) -> None:
    location = location.encode().decode("latin-1")  # as http.client returns it
    net.redirect(f"{API}/start", location, status)
    for options in (NO_OPTIONS, {"api_url": API}, {"api_url": f"{API}/start"}):
        follow(connected(net, **options), f"{API}/start")
    follow(plain(net), f"{API}/start", auth=auth_for(net))
    assert net.places_with_a_token() == {HOME}
    assert net.shown(HOME)[0] == f"Bearer {net.tokens[0]}"


def test_a_redirect_from_http_to_https_leaves_the_token_behind(net: Internet) -> None:
    # requests itself keeps the header there.
    net.redirect("http://localhost/start", "https://localhost/x")
    connected(net).get("http://localhost/start")
    plain(net).get("http://localhost/start", auth=auth_for(net))
    assert carried(net) == [True, False, True, False]


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
    # What a server writes before the @ is not the user name of the caller.
    assert len(net.token_requests) == 1
    plain(net).get(f"{API}/start", auth=auth_for(net))
    assert net.shown()[2:] == [f"Bearer {net.tokens[1]}"] * 2


def test_a_redirect_that_comes_back_to_the_origin_carries_no_token(net: Internet) -> None:
    net.redirect(f"{API}/start", f"{FOREIGN}/")
    net.redirect(f"{FOREIGN}/", f"{API}/transfer?to=me")
    for options in (NO_OPTIONS, {"api_url": API}):
        net.seen.clear()
        answer = connected(net, **options).get(f"{API}/start")
        assert carried(net) == [True, False, False]
        assert len(answer.history) == 2
    net.seen.clear()
    plain(net).get(f"{API}/start", auth=auth_for(net))
    assert carried(net) == [True, False, False]


def test_a_redirect_that_comes_back_to_the_prefix_carries_no_token(net: Internet) -> None:
    net.redirect(f"{API}/v1/start", f"{API}/login")
    net.redirect(f"{API}/login", f"{API}/v1/transfer?to=me")
    connected(net, api_url=f"{API}/v1").get(f"{API}/v1/start")
    assert carried(net) == [True, False, False]
    net.seen.clear()
    auth = auth_for(net, api_url=f"{API}/v1")
    plain(net).get(f"{API}/v1/start", auth=auth)
    assert carried(net) == [True, False, False]


@pytest.mark.parametrize(
    "location", ["/v10", "/V1", "/v1/../admin", "/v1/%2e%2e/admin", "/v1/..;/admin", "/v1/a%2f..",
                 "/v1/a%5cb", "/v1\\..\\admin", "/v1/%252e%252e/admin", "//api.example//v1/a", "/"]
)  # fmt: skip
def test_a_redirect_out_of_the_prefix_leaves_the_token_behind(net: Internet, location: str) -> None:
    net.redirect(f"{API}/v1/start", location)
    connected(net, api_url=f"{API}/v1").get(f"{API}/v1/start")
    plain(net).get(f"{API}/v1/start", auth=auth_for(net, api_url=f"{API}/v1"))
    assert carried(net) == [True, False, True, False]


def test_a_redirect_of_a_request_without_a_token_carries_none(net: Internet) -> None:
    net.redirect(f"{FOREIGN}/start", f"{API}/v1/transfer")
    net.redirect(f"{API}/start", f"{API}/v1/transfer")
    session = connected(net, api_url=f"{API}/v1")
    for url in (f"{FOREIGN}/start", f"{API}/start"):
        session.get(url)
    assert net.shown() == [None] * 4
    assert not net.token_requests


def test_a_redirect_of_a_request_that_has_an_auth_of_the_caller_carries_no_token(
    net: Internet,
) -> None:
    net.redirect(f"{FOREIGN}/start", f"{API}/v1/transfer")
    session = connected(net)
    session.get(f"{FOREIGN}/start", auth=("me", "pass"))
    session.get(f"{FOREIGN}/start", headers={"Authorization": "Key mine"})
    session.get(f"{FOREIGN}/start", auth=lambda r: r)
    assert net.shown(HOME) == [None] * 3
    assert not net.token_requests


def test_the_next_request_of_a_response_is_treated_as_a_redirect(net: Internet) -> None:
    session = connected(net)
    for location, stays in ((f"{API}/x", True), (f"{FOREIGN}/x", False)):
        net.redirect(f"{API}/start", location)
        answer = session.get(f"{API}/start", allow_redirects=False)
        assert answer.next is not None
        session.send(answer.next)
        assert (net.shown()[-1] is not None) is stays
    # The same request, whose token was removed, goes back to the API.
    assert answer.next is not None
    answer.next.url = f"{API}/back"
    session.send(answer.next)
    assert net.shown()[-1] is None


class KeepsAuthorization(ClientCredentialsSession):
    """A well-known recipe for redirects that lose the header."""

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
def test_a_subclass_that_keeps_authorization_on_redirects_does_not_spread_the_token(
    net: Internet, kind: type[ClientCredentialsSession], location: str
) -> None:
    net.redirect(f"{API}/start", location)
    connected(net, kind=kind).get(f"{API}/start")
    connected(net, kind=kind, api_url=API).get(f"{API}/start")
    assert net.places_with_a_token() == {HOME}
    assert len(net.seen) == 4


class TakesItOff(ClientCredentialsSession):
    def rebuild_auth(self, prepared_request: PreparedRequest, response: Response) -> None:
        prepared_request.headers.pop("Authorization", None)


def test_a_token_that_a_subclass_removed_is_not_put_back(net: Internet) -> None:
    net.redirect(f"{API}/start", "/x")
    session = connected(net, kind=TakesItOff)
    sent = session.get(f"{API}/start").request
    session.send(sent)
    assert carried(net) == [True, False, False]


def test_a_subclass_that_keeps_authorization_keeps_the_header_of_the_caller(net: Internet) -> None:
    net.redirect(f"{API}/start", f"{FOREIGN}/")
    connected(net, kind=KeepsAuthorization).get(
        f"{API}/start", headers={"Authorization": "Key mine"}
    )
    assert net.shown() == ["Key mine"] * 2


def test_too_many_redirects_end_as_in_requests(net: Internet) -> None:
    net.redirect(f"{API}/start", "/start")
    with pytest.raises(requests.TooManyRedirects) as caught:
        connected(net).get(f"{API}/start")
    assert net.tokens[0] not in str(caught.value)
    assert len(net.token_requests) == 1


@pytest.mark.unmeasured
@pytest.mark.parametrize("check", [check_redirects, check_redirects_of_auth])
@every_time_the_same
@given(seed=st.integers(0, 2**32))
def test_no_redirect_takes_the_token_out_of_its_prefix(check: Any, seed: int) -> None:
    check(Random(seed))


@pytest.mark.parametrize(
    "location",
    ["https:../other/collect", "https:%2e/../other", "%2e/../other/collect"],
)
def test_a_location_that_is_joined_in_an_odd_way_leaves_the_token_behind(
    net: Internet, location: str
) -> None:
    net.redirect(f"{API}/v1/go", location)
    connected(net, api_url=f"{API}/v1").get(f"{API}/v1/go")
    follow(plain(net), f"{API}/v1/go", auth=auth_for(net, api_url=f"{API}/v1"))
    assert carried(net) == [True, False, True, False]


# -- requests that are used a second time ---------------------------------------------------------


def test_a_request_that_is_sent_again_gets_the_current_token(net: Internet) -> None:
    session = connected(net)
    sent = session.get(f"{API}/x").request
    session.tokens.renew()
    session.send(sent)
    assert net.shown() == [f"Bearer {token}" for token in net.tokens]


def test_a_sent_request_whose_url_was_edited_carries_no_token(net: Internet) -> None:
    for options in (NO_OPTIONS, {"api_url": API}):
        session = connected(net, **options)
        for url in (f"{FOREIGN}/x", "http://api.example/x", f"{API}:8443/"):
            sent = session.get(f"{API}/x").request
            sent.url = url
            session.send(sent)
            again = session.get(f"{API}/x").request.copy()
            again.prepare_url(url, {})
            session.send(again)
    assert net.places_with_a_token() == {HOME}


def test_another_session_replaces_the_token_of_a_sent_request_or_removes_it(net: Internet) -> None:
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


def test_a_plain_session_sends_our_request_as_requests_does(net: Internet) -> None:
    session = connected(net)
    sent = session.get(f"{API}/start").request
    assert net.places_with_a_token() == {HOME}
    del net.seen[:]
    net.redirect(f"{API}/start", f"{FOREIGN}/")
    net.pages[f"{FOREIGN}/"] = 401, {"Set-Cookie": "sid=theirs"}, b""
    assert plain(net).send(sent).status_code == 401
    # The plain session does not decide for the hop, so the request that it follows has lost it too.
    assert net.places_with_a_token() == set()
    # That 401 is returned unchanged: no renewal, no replay, no cookie in our session.
    assert len(net.token_requests) == 1
    assert [seen.place for seen in net.seen] == [HOME, "https://foreign.example:443"]
    assert not session.cookies


def test_headers_of_another_kind_that_were_copied_carry_the_token_of_their_url(
    net: Internet,
) -> None:
    session = connected(net)
    prepared = session.prepare_request(Request("GET", f"{API}/x"))
    copied = session.get(f"{API}/x").request.headers
    prepared.headers = {"X-Copied": copied["Authorization"], "X": "1"}  # type: ignore[assignment]
    sent = session.send(prepared).request.headers
    assert list(sent) == ["X", "Authorization"]


def test_headers_copied_from_a_request_carry_no_token_to_other_urls(net: Internet) -> None:
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
    assert net.places_with_a_token() == {HOME}
    assert len(net.tokens) == 1


def test_headers_copied_from_a_request_carry_no_token_past_an_auth(net: Internet) -> None:
    auth, session = auth_for(net, api_url=f"{API}/v1"), plain(net)
    headers = session.get(f"{API}/v1/x", auth=auth).request.headers
    for url in (f"{FOREIGN}/x", f"{API}/v10"):
        session.get(url, headers=dict(headers), auth=auth)
    assert net.places_with_a_token() == {HOME}
    assert net.shown("https://foreign.example:443") == [None]
    assert [seen.authorization for seen in net.seen if seen.url.endswith("/v10")] == [None]


def test_a_request_sent_later_by_a_plain_session_carries_nothing_of_ours_out_of_its_api(
    net: Internet,
) -> None:
    session = connected(net, api_url=f"{API}/v1", scheme=Marked())
    net.redirect(f"{API}/v1/a", f"{API}/v1/b")
    net.redirect(f"{API}/v1/b", f"{API}/v10")
    net.redirect(f"{API}/v10", f"{FOREIGN}/")
    first = session.get(f"{API}/v1/a", allow_redirects=False)
    assert first.next is not None
    for sent in (first.next, first.request):
        del net.seen[:]
        plain(net).send(sent)
        carried = [s.url for s in net.seen if s.authorization or "X-Mark" in s.request.headers]
        assert carried == [f"{API}/v1/b"] if sent is first.next else [f"{API}/v1/a"]
        assert net.seen[-1].url == f"{FOREIGN}/"


class Marked(Bearer):
    """A scheme with a header of its own."""

    proves = True

    def proof(self, method: str, url: str, token: Token | None) -> dict[str, SecretHeader]:
        return {"X-Mark": SecretHeader("a proof")}


def test_a_header_copied_from_a_request_of_another_scheme_does_not_reach_another_api(
    net: Internet,
) -> None:
    marked = connected(net, api_url=API, scheme=Marked())
    copied = dict(marked.get(f"{API}/x").request.headers)
    assert "X-Mark" in copied
    other = connected(net, api_url=FOREIGN)
    answer = other.get(f"{FOREIGN}/x", headers=copied)
    again = plain(net).get(f"{FOREIGN}/x", headers=copied, auth=auth_for(net, api_url=FOREIGN))
    for sent in (answer.request, again.request):
        assert "X-Mark" not in sent.headers
        assert "Authorization" in sent.headers


def test_hooks_copied_from_a_request_do_nothing_at_other_urls(net: Internet) -> None:
    session = connected(net, api_url=API)
    sent = session.get(f"{API}/x").request
    net.pages[f"{FOREIGN}/"] = 401, {}, b"theirs"
    for hooks in (sent.hooks, dict(sent.hooks), sent.hooks.copy()):
        answer = session.get(f"{FOREIGN}/", hooks=hooks)
        assert answer.content == b"theirs"
        bare = Request("GET", f"{FOREIGN}/", hooks=hooks).prepare()
        assert session.send(bare).content == b"theirs"
    assert len(net.token_requests) == 1
    assert net.places_with_a_token() == {HOME}


# -- plain http -----------------------------------------------------------------------------------

BEYOND_LOOPBACK = [
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
ON_LOOPBACK = [
    "http://localhost/x",
    "http://LOCALHOST:8080/x",
    "http://127.0.0.1:1/x",
    "http://127.9.9.9/x",
    "http://[::1]:8080/x",
]


@pytest.mark.parametrize("url", BEYOND_LOOPBACK)
def test_plain_http_beyond_loopback_raises_before_anything_is_sent(net: Internet, url: str) -> None:
    user_is_named = "@" in url
    session = connected(net)
    if not user_is_named:
        with pytest.raises(InsecureURLError, match=r"Use https.*not your API.*auth=lambda") as no:
            session.get(url)
        # The host may be that of somebody else, so the advice is not to name it.
        assert 'api_url="http' not in str(no.value)
        shown = public_url(Request("GET", url).prepare().url)
        with pytest.raises(InsecureURLError, match=re.escape(f"No token is sent to {shown} over")):
            session.get(url)
    bare = Request("GET", f"{API}/x").prepare()
    bare.url = url
    with pytest.raises(InsecureURLError):
        session.send(bare)
    with pytest.raises(InsecureURLError) as caught:
        plain(net).send(Request("GET", f"{url}?key=hunter2", auth=auth_for(net)).prepare())
    assert "hunter2" not in str(caught.value)
    assert not net.seen
    assert not net.token_requests


@pytest.mark.parametrize("url", ON_LOOPBACK)
def test_plain_http_on_loopback_carries_the_token(net: Internet, url: str) -> None:
    connected(net).get(url)
    assert net.shown() == [f"Bearer {net.tokens[0]}"]


def test_plain_http_beyond_loopback_carries_the_token_only_to_a_named_prefix(net: Internet) -> None:
    session = connected(net, api_url=["http://api.example:8080", API])
    session.get("http://api.example:8080/x")
    session.get(f"{API}/x")
    for url in ("http://api.example/x", "http://api.example:8081/x", "http://other.example:8080/"):
        session.get(url)  # without a token, because api_url does not name it
    assert carried(net) == [True, True, False, False, False]
    narrow = connected(net)
    narrow.add_api("http://api.example:8080", scope="x")
    narrow.get("http://api.example:8080/x")
    assert net.shown()[-1] == f"Bearer {net.tokens[-1]}"
    with pytest.raises(InsecureURLError):
        narrow.get("http://api.example/x")


def test_a_request_with_an_authorization_of_the_caller_may_go_over_plain_http(
    net: Internet,
) -> None:
    session = connected(net)
    session.get("http://api.example/x", auth=lambda r: r)
    session.get("http://api.example/x", auth=("me", "pass"))
    session.get("http://me:pass@api.example/x")
    session.get("http://api.example/x", headers={"Authorization": "Key mine"})
    assert net.shown() == [None, "Basic bWU6cGFzcw==", "Basic bWU6cGFzcw==", "Key mine"]


# -- a second origin ------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["session", "auth"])
def test_a_second_origin_causes_one_warning(
    net: Internet, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    caplog.set_level(logging.WARNING)
    session = connected(net) if way == "session" else plain(net)
    session.auth = None if way == "session" else auth_for(net)
    for url in (f"{API}/x", f"{API}:443/y", f"{FOREIGN}/x", "https://third.example/", f"{API}/z"):
        session.get(url)
    assert [record.getMessage() for record in caplog.records] == [
        (
            "The token was sent to https://api.example and is now also sent to"
            " https://foreign.example (client 'my-id', without a scope). Pass"
            " api_url= to limit where it is sent."
        )
    ]
    caplog.clear()
    one_more = connected(net)  # as sessions that are made for each call
    for url in (f"{API}/x", f"{FOREIGN}/x"):
        one_more.get(url)
    assert not caplog.records
    bounded = connected(net, api_url=[API, FOREIGN])
    for url in (f"{API}/x", f"{FOREIGN}/x", "https://third.example/"):
        bounded.get(url)
    of_the_caller = connected(net)
    for url in (f"{API}/x", f"{FOREIGN}/x"):
        of_the_caller.get(url, auth=lambda r: r)
    assert not caplog.records


# -- on real sockets ------------------------------------------------------------------------------


def test_a_request_that_is_edited_during_the_fetch_goes_to_its_first_url(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    with ProtectedAPI(auth) as other, session_for(auth, api_url=api.url) as session:
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
        # The 401 of another server causes no renewal, and no replay with a token.
        assert answer.status_code == 401
        assert "Authorization" not in other.requests[0].headers
    assert len(other.requests) == len(auth.token_requests) == 1


def test_a_redirect_to_another_name_of_the_same_machine_leaves_the_token_behind(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    by_name = api.url.replace("127.0.0.1", "localhost")
    with session_for(auth) as session:
        answer = session.get(f"{api.url}/redirect-to", params={"url": f"{by_name}/x"})
    assert answer.status_code == 401
    assert "Authorization" not in api.requests[-1].headers


@pytest.mark.parametrize("to_https", [False, True])
def test_a_redirect_to_another_scheme_leaves_the_token_behind(
    auth: AuthorizationServer, certificates: Certificates, to_https: bool
) -> None:
    context, bundle = certificates.server_context(), certificates.ca_bundle
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


@pytest.fixture
def far_proxy(monkeypatch: pytest.MonkeyPatch) -> str:
    """Name a proxy on another machine in the environment."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    url = "http://user:password@proxy.example:3128"
    monkeypatch.setenv("http_proxy", url)
    monkeypatch.setenv("all_proxy", url)
    return url


def _everything(auth: AuthorizationServer, url: str, session: Any, **options: Any) -> None:
    """Send requests of all kinds, of which each gets an answer."""
    auth.revoke_all()
    for target in ("/x", "/redirect-to?url=/y"):
        assert session.get(url + target, **options).status_code == 200
        prepared = session.prepare_request(Request("GET", url + target))
        assert session.send(prepared, **options).status_code == 200


def test_plain_http_on_loopback_avoids_a_proxy_of_the_environment_on_another_machine(
    auth: AuthorizationServer, api: ProtectedAPI, far_proxy: str
) -> None:
    with session_for(auth) as session:
        session.get(api.url)
        _everything(auth, api.url, session)
        _everything(auth, api.url, session, proxies={"ftp": "http://ftp.example"})
        assert session.proxies == {}
        with pytest.raises(requests.exceptions.ProxyError):
            session.get(api.url, auth=lambda r: r)  # as requests does
    assert not [seen for seen in api.requests if "Proxy-Authorization" in seen.headers]


@pytest.mark.parametrize("way", ["session", "request", "environment", "session and environment"])
def test_plain_http_on_loopback_goes_through_a_proxy_that_code_names_or_on_this_machine(
    auth: AuthorizationServer,
    api: ProtectedAPI,
    far_proxy: str,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
) -> None:
    with ProtectedAPI(auth) as proxy, session_for(auth) as session:
        session.tokens.endpoint.proxies = {"http": ""}
        proxies = {"http": proxy.url, "all": proxy.url}
        if way == "environment":
            monkeypatch.setenv("http_proxy", proxy.url)
        elif way != "session and environment":
            monkeypatch.delenv("http_proxy")
            monkeypatch.delenv("all_proxy")
        if way.startswith("session"):
            session.proxies = proxies
        session.tokens.get()
        proxy.forget()
        _everything(auth, api.url, session, **({"proxies": proxies} if way == "request" else {}))
        assert api.requests == []
        assert len(proxy.requests) == 7


def test_a_proxy_in_code_is_used_on_loopback_without_the_environment(
    auth: AuthorizationServer, api: ProtectedAPI, far_proxy: str
) -> None:
    with session_for(auth, trust_env=False) as session:
        session.get(api.url)
        session.proxies = {"http": far_proxy}
        with pytest.raises(requests.exceptions.ProxyError):
            session.get(api.url)


class Proxied(HTTPAdapter):
    """An adapter that notes the proxy of each request, and answers for other hosts."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, Any, bool]] = []

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        proxy, host = (
            select_proxy(str(request.url), kwargs["proxies"]),
            urlsplit(request.url).netloc,
        )
        self.seen.append((str(host), proxy, "Authorization" in request.headers))
        if host != "far.example":
            return super().send(request, *args, **kwargs)
        return self.build_response(
            request, HTTPResponse(io.BytesIO(b""), status=200, preload_content=False)
        )


def test_a_redirect_from_loopback_to_another_host_goes_through_the_proxy(
    auth: AuthorizationServer, api: ProtectedAPI, far_proxy: str
) -> None:
    adapter = Proxied()
    with session_for(auth) as session:
        session.tokens.get()
        session.mount("http://", adapter)
        session.get(f"{api.url}/redirect-to", params={"url": "http://far.example/x"})
    here = api.url.removeprefix("http://")
    assert adapter.seen == [(here, "", True), ("far.example", far_proxy, False)]


# -- netrc ----------------------------------------------------------------------------------------


def test_netrc_displaces_neither_the_token_nor_the_client_authentication(
    auth: AuthorizationServer,
    api: ProtectedAPI,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The entry is for both servers, because both are at 127.0.0.1.
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
        # Outside the prefix netrc is used as in requests.
        assert session.get(f"{api.url}/x").status_code == 401
    assert api.requests[-1].headers["Authorization"].startswith("Basic ")


# -- client certificates --------------------------------------------------------------------------


class ByCertificate:
    """A client authentication by certificate, without the files."""

    name, needs_secret, cert = "tls_client_auth", False, ("/cert.pem", "/key.pem")

    def authenticate(self, attempt: Any) -> None:
        attempt.params.append(("client_id", attempt.client_id))

    def fingerprint(self, client_secret: str | None) -> bytes:
        return b"of the certificate"


def test_the_client_certificate_is_used_only_for_requests_with_the_token(net: Internet) -> None:
    net.redirect(f"{API}/start", f"{FOREIGN}/")
    owner = on(net, ClientCredentialsSession(*CLIENT[:2], client_auth=ByCertificate()))
    second = on(net, ClientCredentialsSession.using(owner.tokens))
    third = connected(net, api_url=FOREIGN + "/none")
    third.add_api(API, tokens=owner.tokens)
    for session in (owner, second, third):
        net.seen.clear()
        session.get(f"{API}/start")
        certs = [seen.options["cert"] for seen in net.seen]
        assert certs == [ByCertificate.cert, None]
    owner.cert = "/mine.pem"
    net.seen.clear()
    owner.get(f"{API}/start")
    assert [seen.options["cert"] for seen in net.seen] == ["/mine.pem"] * 2
