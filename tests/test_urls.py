from __future__ import annotations

import pickle
import posixpath
import threading
from urllib.parse import unquote

import pytest
import requests
from hypothesis import example, given, settings
from hypothesis import strategies as st

from oauthcc import urls
from oauthcc.errors import ConfigurationError
from oauthcc.urls import (
    Origin,
    Prefix,
    PrefixMap,
    check_token_url,
    is_loopback,
    is_secure,
    origin_of,
    origin_text,
    public_url,
)

API = Origin("https", "api.example", 443)
every_time_the_same = settings(derandomize=True, deadline=None, max_examples=400)

HEADS = st.sampled_from(
    [
        "http://",
        "https://",
        "HTTPS://",
        "https:",
        "https:/",
        "https:///",
        "//",
        "ftp://",
        " http://",
    ]
)
AUTHORITY_PIECES = st.sampled_from(
    [
        "api.example",
        "evil.org",
        "@",
        ":",
        "\\",
        "%40",
        "%2e",
        "%61",
        "[::1]",
        "[",
        "]",
        ".",
        "é",
        "ß",
        "Ⅷ",
        "\uff0e",
        "\u3002",
        "\t",
        "\n",
        " ",
        "\x00",
        "80",
        "443",
        "0",
        "*",
        "user",
        ";",
        "?",
        "#",
        "/",
        "127.0.0.1",
        "localhost",
        "\u200d",
        "\ud800",
        "_",
        "[fe80::1%25lo]",
        "XN--",
    ]
)
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


def wire(url: str) -> Origin | None:
    """Say what requests would connect to for this very URL, or None if it refuses."""
    request = requests.PreparedRequest()
    request.url = url
    with requests.Session() as session:
        try:
            adapter = session.get_adapter(url)
            # requests before 2.32 asks for a connection by URL alone.
            connect = getattr(adapter, "get_connection_with_tls_context", None)
            pool = connect(request, verify=True) if connect else adapter.get_connection(url)
        except (requests.RequestException, ValueError):
            return None
    return Origin(str(pool.scheme), str(pool.host), int(pool.port))


def prepared(url: str) -> str:
    request = requests.PreparedRequest()
    request.prepare_url(url, None)
    return str(request.url)


def refusal(text: object) -> str:
    with pytest.raises(ConfigurationError) as caught:
        Prefix.parse(text)  # type: ignore[arg-type]
    assert caught.value.__context__ is None
    return str(caught.value)


@every_time_the_same
@given(HEADS, st.lists(AUTHORITY_PIECES, max_size=6).map("".join), st.sampled_from(["", "/", "/x"]))
@example("https://", "api.example\\@evil.org", "/")
@example("https://", "api.example\\", "/")
@example("https://", "evil.org[::1]", "/")
@example("https://", "%61pi.example", "/")
@example("https://", "[::1]", "")
def test_an_origin_is_where_the_connection_goes(head: str, authority: str, path: str):
    url = head + authority + path
    origin = origin_of(url)
    assert origin is None or origin == wire(url)


@every_time_the_same
@given(st.lists(AUTHORITY_PIECES, min_size=1, max_size=4).map("".join))
@example("API.Example:443")
@example("bücher.example")
@example("user:secret@api.example")
@example("[::1]:8080")
def test_an_origin_is_where_requests_meant_to_go_when_it_prepared_the_url(authority: str):
    try:
        url = prepared(f"https://{authority}/x")
    except (requests.RequestException, ValueError):
        return
    for text in (url, f"https://{authority}/x"):
        assert origin_of(text) in (None, wire(url))


@pytest.mark.parametrize("splitter", ["urlsplit", "parse_url"])
@pytest.mark.parametrize("other", ["evil.org", "api.example:8443"])
def test_where_the_two_splitters_disagree_there_is_no_origin(
    splitter: str, other: str, monkeypatch
):
    url = "https://me@api.example/"  # with a user name, so that the careful path is taken
    assert origin_of(url) == API
    real = getattr(urls, splitter)

    def led_astray(text: str) -> object:
        return real(text.replace("me@api.example", f"me@{other}"))

    monkeypatch.setattr(urls, splitter, led_astray)
    assert origin_of(url) is None


def test_hex_digits_of_an_escape_compare_without_case():
    for text in ("https://api.example/é", "https://api.example/%c3%a9"):
        for path in ("%c3%a9", "%C3%a9/x", "é/x"):
            assert Prefix.parse(text).matches(f"https://api.example/{path}")


@every_time_the_same
@given(st.text())
def test_no_text_is_too_strange_to_be_asked_about(text: str):
    for url in (text, f"https://{text}", f"https://api.example/{text}"):
        origin_of(url)
        Prefix(API, ("v1",)).matches(url)
        assert isinstance(public_url(url), str)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("https://api.example", "https://api.example"),
        ("https://api.example/v1?x=1", "https://api.example"),
        ("https://api.example:443/", "https://api.example"),
        ("https://api.example:8443/", "https://api.example:8443"),
        ("http://api.example:443/", "http://api.example:443"),
        ("http://h/", "http://h"),
        ("HTTPS://API.Example/", "https://api.example"),
        ("https://api.example./", "https://api.example."),
        ("https://api.example:/", "https://api.example"),
        ("https://api.example?x=/y", "https://api.example"),
        ("https://api.example#/y", "https://api.example"),
        ("https://user:se@cret@api.example/", "https://api.example"),
        ("https://bücher.example/", "https://xn--bcher-kva.example"),
        ("https://xn--bcher-kva.example/", "https://xn--bcher-kva.example"),
        ("http://[::1]:80/", "http://[::1]"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
    ],
)
def test_an_origin_reads_as_people_write_it(url: str, text: str):
    origin = origin_of(url)
    assert origin is not None
    assert origin_text(origin) == text
    assert origin_of(text) == origin


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/v1",
        "api.example",
        "ftp://api.example/",
        "mailto:a@api.example",
        "https:api.example",
        "https:/api.example/x",
        "https:///api.example/x",
        "http:///x",
        "https://:443/",
        "https://user@/",
        "https://api.example:0/",
        "https://api.example:65536/",
        "https://api.example:x/",
        "https://api.example\\@evil.org/",
        "https://api.example\\.evil.org/",
        "https://api.exa%6dple/",
        "https://[fe80::1%25lo]/",
        "https://[::1/",
        "https://evil.org[::1]/",
        "https://api.example\t/",
        "https://api\n.example/",
        "https://api.example /",
        " https://api.example/",
        "https://api.example\x00/",
        "https://api.example\uff0fevil/",
    ],
)
def test_what_cannot_be_read_in_one_way_only_has_no_origin(url: str):
    assert origin_of(url) is None


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "127.255.0.9", "[::1]", "[0:0:0:0:0:0:0:1]", "LOCALHOST"]
)
def test_loopback_may_go_without_tls(host: str):
    origin = origin_of(f"http://{host}:8080/x")
    assert origin is not None
    assert is_loopback(origin)
    assert is_secure(origin)


@pytest.mark.parametrize(
    "host",
    [
        "127.1",
        "0x7f.1",
        "0177.0.0.1",
        "2130706433",
        "127.0.0.1.",
        "localhost.",
        "0.0.0.0",
        "[::]",
        "localhost.evil.org",
        "127.0.0.1.evil.org",
        "mylocalhost",
        "128.0.0.1",
        "[::2]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
    ],
)
def test_what_only_resembles_loopback_may_not(host: str):
    for origin in (origin_of(f"http://{host}/"), Origin("http", host.strip("[]"), 80)):
        assert origin is not None
        assert not is_loopback(origin)
        assert not is_secure(origin)
    assert is_secure(Origin("https", host, 443))


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
    assert prefix.matches(prepared(text))
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
    assert Prefix.parse("https://api.example/v1/").matches(url)
    assert Prefix.parse("https://api.example").matches(url)


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
    assert not Prefix.parse("https://api.example/v1").matches(url)
    assert Prefix.parse("https://api.example").matches(url)


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
        assert not Prefix.parse(text).matches(url)


@every_time_the_same
@given(st.lists(PATH_PIECES, max_size=8).map("".join))
def test_a_path_that_matches_stays_below_the_prefix_however_it_is_read(tail: str):
    for url in (f"https://api.example/v1{tail}", f"https://api.example/{tail}"):
        if not Prefix(API, ("v1",)).matches(url):
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
    assert Prefix.parse(base).matches(url) == (url == stem or url.startswith(f"{stem}/"))


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
    matching = [prefix for prefix in map(Prefix.parse, texts) if prefix.matches(url)]
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
    monkeypatch.setattr("oauthcc.urls._first_segments", None)
    assert prefixes.find("https://api.example/v1") == "https://api.example"
    assert Prefix(API).matches("https://api.example/v1")


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


def test_an_everyday_url_is_split_once_and_an_odd_one_is_not_remembered(monkeypatch):
    urls._plain_origin.cache_clear()
    origin_of("https://api.example/one")
    origin_of("https://api.example/two?x=https://api.example/")
    assert urls._plain_origin.cache_info()[:2] == (1, 1)
    origin_of("https://me:hunter2@api.example/")
    origin_of("https://api.example?key=hunter2")
    assert urls._plain_origin.cache_info().currsize == 1


@pytest.mark.parametrize(
    "url",
    [
        "https://as.example/token",
        "https://as.example/token?tenant=a&x=%20",
        "HTTPS://AS.example:8443/a/../token",
        "http://localhost:8080/token",
        "http://127.0.0.1/token",
        "http://[::1]/token",
    ],
)
def test_a_good_token_url_is_given_back_as_it_is(url: str, monkeypatch):
    monkeypatch.delenv("OAUTHLIB_INSECURE_TRANSPORT", raising=False)
    assert check_token_url(url) == url


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("", "empty"),
        (None, "empty"),
        ("as.example/token", "no scheme"),
        ("/token", "no scheme"),
        ("ftp://as.example/token", "neither https nor http"),
        ("http://as.example/token", "plain http"),
        ("http://localhost.evil.org/token?key=hunter2", "plain http"),
        ("https://me:hunter2@as.example/token", "user name"),
        ("https://as.example/token#", "fragment"),
        ("https://as.example/token\n", "space"),
        ("https://as.example/\x7ftoken", "control character"),
        ("https://as.example:x/token", "host and port"),
        ("https:///token", "host and port"),
    ],
)
def test_a_bad_token_url_is_refused_with_what_to_write(url: str, word: str, monkeypatch):
    monkeypatch.delenv("OAUTHLIB_INSECURE_TRANSPORT", raising=False)
    with pytest.raises(ConfigurationError, match=word) as caught:
        check_token_url(url, "issuer")
    assert str(caught.value).startswith("issuer ")
    assert "hunter2" not in str(caught.value)


def test_http_is_accepted_where_oauthlib_accepts_it(monkeypatch):
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "0")  # any text is a yes to oauthlib
    assert check_token_url("http://as.example/token") == "http://as.example/token"
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "")
    with pytest.raises(ConfigurationError, match="plain http"):
        check_token_url("http://as.example/token")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (
            "https://me:hunter2@api.example:443/v1/x%2fy?key=hunter2#hunter2",
            "https://api.example/v1/x%2fy",
        ),
        ("https://api.example?hunter2", "https://api.example"),
        ("https://api.example/é", "https://api.example/%C3%A9"),
        ("https://api.example/\ud800", "https://api.example/%5Cud800"),
        ("https://api.example/\nnew line in the log", "<unreadable URL>"),
        ("https://api.example\\@evil.org/", "<unreadable URL>"),
        ("ftp://me:hunter2@api.example/", "<unreadable URL>"),
        ("hunter2", "<unreadable URL>"),
        ("", "<unreadable URL>"),
        (None, "<unreadable URL>"),
        (b"https://api.example", "<unreadable URL>"),
    ],
)
def test_the_public_form_of_a_url_is_origin_and_path(url: object, shown: str):
    assert public_url(url) == shown
