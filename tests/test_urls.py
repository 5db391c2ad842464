from __future__ import annotations

import pytest
import requests
from hypothesis import example, given, settings
from hypothesis import strategies as st

from oauthcc import urls
from oauthcc.errors import ConfigurationError
from oauthcc.urls import (
    Origin,
    check_token_url,
    is_loopback,
    is_on_this_machine,
    is_secure,
    origin_of,
    origin_text,
    public_url,
)

API = Origin("https", "api.example", 443)
every_time_the_same = settings(derandomize=True, deadline=None, max_examples=150)

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


def wire(url: str) -> Origin | None:
    """Return the origin that requests connects to for this URL, or None if it refuses."""
    request = requests.PreparedRequest()
    request.url = url
    with requests.Session() as session:
        try:
            adapter = session.get_adapter(url)
            # requests before 2.32 looks up a connection by the URL alone.
            connect = getattr(adapter, "get_connection_with_tls_context", None)
            pool = connect(request, verify=True) if connect else adapter.get_connection(url)
        except (requests.RequestException, ValueError):
            return None
    return Origin(str(pool.scheme), str(pool.host), int(pool.port))


def prepared(url: str) -> str:
    request = requests.PreparedRequest()
    request.prepare_url(url, None)
    return str(request.url)


@every_time_the_same
@given(HEADS, st.lists(AUTHORITY_PIECES, max_size=6).map("".join), st.sampled_from(["", "/", "/x"]))
@example("https://", "api.example\\@evil.org", "/")
@example("https://", "api.example\\", "/")
@example("https://", "evil.org[::1]", "/")
@example("https://", "%61pi.example", "/")
@example("https://", "[::1]", "")
def test_the_connection_goes_to_the_origin(head: str, authority: str, path: str):
    url = head + authority + path
    origin = origin_of(url)
    assert origin is None or origin == wire(url)


@every_time_the_same
@given(st.lists(AUTHORITY_PIECES, min_size=1, max_size=4).map("".join))
@example("API.Example:443")
@example("bücher.example")
@example("user:secret@api.example")
@example("[::1]:8080")
def test_the_connection_for_a_prepared_url_goes_to_the_origin(authority: str):
    try:
        url = prepared(f"https://{authority}/x")
    except (requests.RequestException, ValueError):
        return
    for text in (url, f"https://{authority}/x"):
        assert origin_of(text) in (None, wire(url))


@pytest.mark.parametrize("splitter", ["urlsplit", "parse_url"])
@pytest.mark.parametrize("other", ["evil.org", "api.example:8443"])
def test_a_url_that_the_two_parsers_read_differently_has_no_origin(
    splitter: str, other: str, monkeypatch
):
    url = "https://me@api.example/"  # the user name makes the library use both parsers
    assert origin_of(url) == API
    real = getattr(urls, splitter)

    def led_astray(text: str) -> object:
        return real(text.replace("me@api.example", f"me@{other}"))

    monkeypatch.setattr(urls, splitter, led_astray)
    assert origin_of(url) is None


@every_time_the_same
@given(st.text())
def test_no_text_raises(text: str):
    for url in (text, f"https://{text}", f"https://api.example/{text}"):
        origin_of(url)
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
def test_the_text_of_an_origin_has_no_default_port(url: str, text: str):
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
def test_an_ambiguous_or_invalid_url_has_no_origin(url: str):
    assert origin_of(url) is None


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "127.255.0.9", "[::1]", "[0:0:0:0:0:0:0:1]", "LOCALHOST"]
)
def test_loopback_is_secure_without_tls(host: str):
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
def test_a_host_that_only_resembles_loopback_is_not_secure(host: str):
    for origin in (origin_of(f"http://{host}/"), Origin("http", host.strip("[]"), 80)):
        assert origin is not None
        assert not is_loopback(origin)
        assert not is_secure(origin)
    assert is_secure(Origin("https", host, 443))


def test_a_plain_url_is_cached_and_any_other_is_not(monkeypatch):
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
def test_a_valid_token_url_is_returned_unchanged(url: str, monkeypatch):
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
def test_an_invalid_token_url_is_refused_with_advice(url: str, word: str, monkeypatch):
    monkeypatch.delenv("OAUTHLIB_INSECURE_TRANSPORT", raising=False)
    with pytest.raises(ConfigurationError, match=word) as caught:
        check_token_url(url, "issuer")
    assert str(caught.value).startswith("issuer ")
    assert "hunter2" not in str(caught.value)


def test_http_is_accepted_if_oauthlib_accepts_it(monkeypatch):
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "0")  # oauthlib accepts any text
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


@pytest.mark.parametrize(
    ("proxy", "is_here"),
    [
        ("http://127.0.0.1:3128", True),
        ("localhost:3128", True),
        ("socks5h://user:password@[::1]:1080", True),
        ("http://proxy.example:3128", False),
        ("localhost.example", False),
        ("http://127.0.0.1@proxy.example", False),
        ("http://", False),
    ],
)
def test_a_proxy_is_on_this_machine_if_its_host_is_loopback(proxy: str, is_here: bool) -> None:
    assert is_on_this_machine(proxy) is is_here
