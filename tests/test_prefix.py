from __future__ import annotations

import pickle
import posixpath
import threading
from urllib.parse import unquote

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from oauthcc.api_request.allowed_urls import Prefix
from oauthcc.errors import ConfigurationError
from oauthcc.urls import Origin

API = Origin("https", "api.example", 443)
every_time_the_same = settings(derandomize=True, deadline=None, max_examples=400)

PATH_PIECES = st.sampled_from(
    [
        "/",
        "/",
        "/",
        "v1",
        "V1",
        "v10",
        ".",
        "..",
        "%2e",
        "%2E",
        "%2f",
        "%5c",
        "\\",
        ";",
        "%3b",
        "%25",
        "2e",
        "2f",
        "%",
        "u002e",
        "?",
        "#",
        "é",
        "%c0%ae",
        " ",
        "\t",
        "%00",
        "%20",
        "%61",
        "a",
    ]
)


def prepared(url: str) -> str:
    request = requests.PreparedRequest()
    request.prepare_url(url, None)
    return str(request.url)


def matches(prefix: Prefix, url: str) -> bool:
    """Say whether a URL is at or below a prefix."""
    alone: PrefixMap[bool] = PrefixMap()
    alone.add(prefix, value=True)
    return alone.find(url) is True


def refusal(text: object) -> str:
    with pytest.raises(ConfigurationError) as caught:
        Prefix.parse(text)  # type: ignore[arg-type]
    assert caught.value.__context__ is None
    return str(caught.value)


def test_hex_digits_of_an_escape_compare_without_case():
    for text in ("https://api.example/é", "https://api.example/%c3%a9"):
        for path in ("%c3%a9", "%C3%a9/x", "é/x"):
            assert matches(Prefix.parse(text), f"https://api.example/{path}")


@every_time_the_same
@given(st.text())
def test_no_text_is_too_strange_to_be_compared(text: str):
    for url in (text, f"https://{text}", f"https://api.example/{text}"):
        matches(Prefix(API, ("v1",)), url)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("https://api.example", "https://api.example"),
        ("https://api.example/", "https://api.example"),
        ("https://API.example:443/v1/", "https://api.example/v1"),
        ("https://api.example/v1", "https://api.example/v1"),
        ("https://api.example/V1/a:b@c;d", "https://api.example/V1/a:b@c;d"),
        ("https://api.example//v1", "https://api.example//v1"),
        ("https://api.example/%76%31/%7ejoe", "https://api.example/v1/~joe"),
        ("https://api.example/é/%c3%a9", "https://api.example/%C3%A9/%C3%A9"),
        ("https://api.example/100%25", "https://api.example/100%25"),
        ("https://bücher.example/v1", "https://xn--bcher-kva.example/v1"),
        ("http://[::1]:8080/v1", "http://[::1]:8080/v1"),
        ("http://api.example/v1", "http://api.example/v1"),
    ],
)
def test_a_prefix_is_kept_as_requests_would_prepare_it(text: str, normal: str):
    prefix = Prefix.parse(text)
    assert str(prefix) == normal
    assert Prefix.parse(normal) == prefix
    assert matches(prefix, prepared(text))
    assert pickle.loads(pickle.dumps(prefix)) == prefix


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "empty"),
        (None, "empty"),
        (b"https://api.example", "not a text"),
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
        ("https://", "host and port"),
        ("https:///v1", "host and port"),
        ("https://.example", "host and port"),
        ("https://api.example:0", "host and port"),
        ("https://api.example:65536", "host and port"),
        ("https://api.example:port", "host and port"),
        ("https://api.ex%61mple", "host and port"),
        ("https://\ud800/", "host and port"),
        (" https://api.example", "space"),
        ("https://api.example/v 1", "space"),
        ("https://api.example\n", "space"),
        ("https://api.example\\v1", "backslash"),
        ("https://api.example/v1/../v2", "dot segments"),
        ("https://api.example/.", "dot segments"),
        ("https://api.example/%2E%2e/v1", "dot segments"),
        ("https://api.example/a%2fb", "encoded slash"),
        ("https://api.example/a%5cb", "backslash"),
        ("https://api.example/a%252eb", "double encoding"),
        ("https://api.example/%ff", "double encoding"),
        ("https://api.example/\ud800", "dot segments"),
        ("s3cr3t-in-the-wrong-place", "no scheme"),
    ],
)
def test_what_is_no_prefix_is_refused_with_what_to_write(text: object, word: str):
    message = refusal(text)
    assert word in message
    assert "hunter2" not in message
    assert "s3cr3t" not in message
    assert ": " in message


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example/v1",
        "https://api.example/v1/",
        "https://api.example/v1/orders?next=/../v2#/../x",
        "https://api.example/v1?x",
        "https://api.example/v1#x",
        "https://API.EXAMPLE:443/v1//x",
        "https://api.example/%76%31/x",
        "https://api.example/v1/...",
        "https://api.example/v1/a;b/%c3%a9/100%25/a%20b",
        "https://api.example/v1/é",
        "https://me:pass@api.example/v1",
    ],
)
def test_a_url_at_or_below_a_prefix_matches(url: str):
    assert matches(Prefix.parse("https://api.example/v1/"), url)
    assert matches(Prefix.parse("https://api.example"), url)


@pytest.mark.parametrize(
    "url",
    [
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
        "https://api.example/v1/./x",
        "https://api.example/v1/%2e%2E/admin",
        "https://api.example/v1/.%2e",
        "https://api.example/v1/..;/admin",
        "https://api.example/v1/..;x=1/admin",
        "https://api.example/v1/.;/x",
        "https://api.example/v1/%2e%2e;/admin",
        "https://api.example/v1/..%3b/admin",
        "https://api.example/v1/..%20/admin",
        "https://api.example/v1%2f..%2fadmin",
        "https://api.example/v1/x%2Fy",
        "https://api.example/v1/x%5c..",
        "https://api.example/v1/..\\admin",
        "https://api.example/v1/%252e%252e/admin",
        "https://api.example/v1/%25252e",
        "https://api.example/v1/%255c",
        "https://api.example/v1/..%253b/admin",
        "https://api.example/v1/%u002e%u002e/admin",
        "https://api.example/v1/%c0%ae%c0%ae/admin",
        "https://api.example/v1/..%00/admin",
        "https://api.example/v1/..%2500/admin",
        "https://api.example/v1/.\t./admin",
        "https://api.example/v1/a b",
    ],
)
def test_a_path_outside_or_of_two_readings_does_not_match(url: str):
    assert not matches(Prefix.parse("https://api.example/v1"), url)
    assert matches(Prefix.parse("https://api.example"), url)


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.evil.org/v1",
        "https://api.example@evil.org/v1",
        "https://api.example:443@evil.org/v1",
        "https://api.example:8443/v1",
        "https://api.example./v1",
        "http://api.example/v1",
        "http://api.example:443/v1",
        "https://xapi.example/v1",
        "https://evil.org/https://api.example/v1",
        "https://evil.org?https://api.example/v1",
        "https://evil.org#https://api.example/v1",
        "https://api.example\\@evil.org/v1",
        "https://api.example%2eevil.org/v1",
    ],
)
def test_another_origin_never_matches(url: str):
    for text in ("https://api.example", "https://api.example/v1"):
        assert not matches(Prefix.parse(text), url)


@every_time_the_same
@given(st.lists(PATH_PIECES, max_size=8).map("".join))
def test_a_path_that_matches_stays_below_the_prefix_however_it_is_read(tail: str):
    for url in (f"https://api.example/v1{tail}", f"https://api.example/{tail}"):
        if not matches(Prefix(API, ("v1",)), url):
            continue
        request = requests.PreparedRequest()
        request.url = url
        path = request.path_url.partition("?")[0]
        for _ in range(3):
            plain = [part.partition(";")[0].strip() for part in path.replace("\\", "/").split("/")]
            assert posixpath.normpath("/".join(plain)).startswith("/v1")
            path = unquote(path)


@every_time_the_same
@given(
    st.lists(st.sampled_from(["a", "b", "", "%41", "%7E"]), max_size=3),
    st.lists(st.sampled_from(["a", "b", "", "A", "~", "%7e", "ab"]), max_size=4),
)
def test_matching_is_by_whole_segments(prefix: list[str], path: list[str]):
    base = f"https://api.example/{'/'.join(prefix)}"
    url = prepared(f"https://api.example/{'/'.join(path)}")
    stem = prepared(base).removesuffix("/")
    assert matches(Prefix.parse(base), url) == (url == stem or url.startswith(f"{stem}/"))


def a_map(*texts: str) -> PrefixMap[str]:
    prefixes: PrefixMap[str] = PrefixMap()
    for text in texts:
        prefixes.add(Prefix.parse(text), text)
    return prefixes


ORDERS = "https://api.example/v1/orders"


def test_the_longest_prefix_wins():
    prefixes = a_map("https://api.example", ORDERS, "https://api.example/v1", "http://[::1]:1/x")
    assert prefixes.find(f"{ORDERS}/7") == ORDERS
    assert prefixes.find("https://api.example/v1/ordersX") == "https://api.example/v1"
    assert prefixes.find("https://api.example/v2") == "https://api.example"
    assert prefixes.find(f"{ORDERS}/../x") == "https://api.example"
    assert prefixes.find("http://[::1]:1/x/y") == "http://[::1]:1/x"
    assert prefixes.find("http://[::1]:1/y") is None
    assert prefixes.find("https://other.example/") is None
    assert prefixes.find("nonsense") is None


def test_a_path_of_two_readings_is_under_no_prefix_with_a_path():
    assert a_map(ORDERS).find(f"{ORDERS}/%2e%2e/admin") is None


def test_a_map_tells_what_is_in_it():
    prefixes = a_map(ORDERS, "https://api.example")
    prefixes.add(Prefix.parse(f"{ORDERS}/"), "again")
    assert len(prefixes) == 2
    assert [(str(prefix), value) for prefix, value in prefixes] == [
        (ORDERS, "again"),
        ("https://api.example", "https://api.example"),
    ]
    assert prefixes.find(ORDERS) == "again"
    assert not PrefixMap[str]()
    assert pickle.loads(pickle.dumps(prefixes)).find(ORDERS) == "again"


@every_time_the_same
@given(
    st.lists(st.lists(st.sampled_from("ab"), max_size=3), max_size=6), st.text("ab/", max_size=9)
)
def test_a_map_finds_what_asking_every_prefix_would_find(paths: list[list[str]], tail: str):
    texts = [f"https://api.example/{'/'.join(path)}" for path in paths]
    url = f"https://api.example/{tail}"
    matching = [prefix for prefix in map(Prefix.parse, texts) if matches(prefix, url)]
    longest = max(matching, key=lambda prefix: len(prefix.segments), default=None)
    found = a_map(*texts).find(url)
    assert (found and Prefix.parse(found)) == longest


class CountingDict(dict[tuple[str, ...], str]):
    looked_up = 0

    def get(self, *args):
        self.looked_up += 1
        return super().get(*args)


@pytest.mark.parametrize("count", [1, 1000])
def test_the_cost_of_finding_does_not_grow_with_the_number_of_prefixes(count: int):
    prefixes = a_map(ORDERS, *(f"https://api.example/{n}/orders" for n in range(1, count)))
    depth, values = prefixes._branches[API]
    counting = CountingDict(values)
    prefixes._branches = {API: (depth, counting)}
    assert prefixes.find("https://api.example/none/of/these/at/all") is None
    assert counting.looked_up == 3


def test_a_prefix_without_a_path_costs_no_look_at_the_path(monkeypatch):
    prefixes = a_map("https://api.example")
    monkeypatch.setattr("oauthcc.prefix._first_segments", None)
    assert prefixes.find("https://api.example/v1") == "https://api.example"


def test_readers_need_no_lock_while_prefixes_are_added():
    prefixes = a_map(ORDERS)
    done = threading.Event()
    missed = []

    def read() -> None:
        while not done.is_set():
            if prefixes.find(ORDERS) != ORDERS or not list(prefixes):
                missed.append(1)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for number in range(200):
        prefixes.add(Prefix.parse(f"https://api.example/{number}"), "new")
        prefixes.add(Prefix.parse(f"https://{number}.example/"), "new")
    done.set()
    for reader in readers:
        reader.join()
    assert not missed
    assert len(prefixes) == 401
