"""Fuzz targets for URL prefixes, redirects and ``WWW-Authenticate``.

A URL that gets a token must be under its prefix however a server may read it. The readings here are
naive on purpose, and share no code with the library: decode again and again, replace backslashes,
drop what follows a semicolon, merge slashes, resolve dot segments.
"""

from __future__ import annotations

import contextlib
import re
import string
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from random import Random
from types import FrameType
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import requests
from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from urllib3.util import parse_url

from oauthcc import ClientCredentialsAuth, ClientCredentialsSession, ConfigurationError
from oauthcc.api_request.allowed_urls import AllowedURLs
from oauthcc.challenge import find_error

from ..internet import Internet
from ..sessions import auth_for, connected, plain

# -- nasty pieces ---------------------------------------------------------------------------------

SCHEMES = (
    *["https://"] * 12,
    *("http://", "HTTPS://", "hTTpS://", "https:/", "https:", "https:///", "https:////", "//"),
    "",
    *("https:\\\\", "https:/\\", " https://", "https://\t", "ftp://", "httpx://", "http+unix://"),
)
HOSTS = (
    *["api.example"] * 12,
    *("API.Example", "api.example.", "api.example:443", "api.example:0443", "api.example:8443"),
    *("api.example:", "api.example:0", "api.example:65536", "api.example:443x"),
    "api.example:+443",
    *("[::1]", "[::1]:443", "[0:0:0:0:0:0:0:1]", "[::ffff:7f00:1]", "[::1%25eth0]", "[::1"),
    "::1",
    *("127.0.0.1", "127.1", "2130706433", "0x7f.1", "localhost", "localhost.", "evil.example"),
    *("bücher.example", "xn--bcher-kva.example", "BÜCHER.example", "\uff41pi.example"),
    "api\u3002example",
    *("me@api.example", "me:pw@api.example", "api.example@evil.example", "@api.example", "a@b@c"),
    *("api.example:443@evil.example", "api.example%2eevil.example", "api.example%40evil.example"),
    *("api.example\\@evil.example", "evil.example\\@api.example", "api.example\\.evil.example"),
    *("evil.example#@api.example", "evil.example?@api.example", "api.example;@evil.example"),
    *("api.example\t.evil.example", "api.example\r\n.evil", "api.example\x00"),
    "api.example .evil",
    *("", ".", "*", "api.example" + "a" * 300, "\u2100.example", "api.example\uff0fv1.evil"),
    "\ud800",
)
PIECES = (
    *["/"] * 14,
    *["v1"] * 8,
    *("V1", "v10", "orders", "orders", "admin", "a", "%61", "%76%31", "~", "%7e", "-._", "é"),
    "%c3%a9",
    *(".", "..", "..", "/../", "/./", "/..", "%2e", "%2E", "%2e%2e", "%2e%2e/", "..%2f"),
    "%2f..%2f",
    *("%2f", "%2F", "%5c", "%5C", "\\", "\\..\\", "..\\", ";", "%3b", "%3B", "..;", "/..;/"),
    ";a=b/",
    *("..;x", "%2e%2e;", "..%3b", "..%20", ".. ", " ..", "%20..", ".%09.", "..%00", "..%0d%0a"),
    *("...", "...."),
    *("%25", "%252e", "%252f", "%255c", "%253b", "%2525", "%25252e", "%2525252e", "%252525252e"),
    "%25%32%65",
    *("%u002e", "%u2215", "%c0%ae", "%c0%af", "%e0%80%ae", "%f0%80%80%ae", "%ff", "%fe", "%00"),
    *("%0a", "%7f"),
    *("%", "%2", "%zz", "%%32%65", "%e2%80%a5", "%ef%bc%8e", "\uff0e", "\u2025", "\u2215"),
    *("\u29f5", "\uff0f", "\uff3c", "\uff0e\uff0e/"),
    *("\x00", "\t", "\n", "\r", "\x0b", "\x1f", "\x7f", "\x85", "\xa0", "\u2028", "\u3000"),
    *("\ufeff", " "),
    *("?", "#", "?/..", "#/..", "??", "@", ":", ":80", "//", "///", "://", "&", "=", "+", "*"),
    *("'", '"', "<", "["),
    *("\ud800", "\U0001f600", "a" * 2000, "/.." * 300, "%2e" * 500),
)  # fmt: skip
PREFIX_PATHS = (
    *("", "/", "/v1", "/v1", "/v1", "/v1/", "/v1/orders", "//v1", "/v1//a", "/V1", "/~", "/%7e"),
    "/é",
    *("/a;b", "/v1;x", "/v1/a:b@c", "/%76%31", "/100%25", "/a.b", "/...", "/v1/%2e%2e"),
    *("/v1/../x", "/a%2fb"),
    *("/group%2Fproject", "/a%20b", "/a%3Bb", "/+", "/v1/'", "/v1?x", "/v1#x", "/%ff", "/v1\\x"),
)  # fmt: skip
PREFIX_HOSTS = (
    *["https://api.example"] * 8,
    *(
        "https://api.example:443",
        "https://API.example",
        "https://api.example:8443",
        "https://[::1]",
    ),
    *("http://localhost", "http://api.example", "https://bücher.example", "https://127.0.0.1"),
)


def nasty_path(random: Random) -> str:
    """Return a path of nasty pieces, often one that begins as a prefix does."""
    start = random.choice(("/v1/", "/v1", "/", "", "/v1/orders"))
    return start + "".join(random.choices(PIECES, k=random.randint(0, 7)))


def nasty_url(random: Random) -> str:
    return random.choice(SCHEMES) + random.choice(HOSTS) + nasty_path(random)


STEPS = (
    *["/"] * 6,
    *("..", "..", ".", ";", ";a", "\\", "//", " ", "\t", "\x00", "\x7f", "%u002e", "\xff"),
    *("orders", "orders", "v1", "x", "a", "b", "b@c", "\xe9", "%"),
)


def disguised(random: Random, prefix: str) -> str:
    """Return a URL that begins with a prefix, and whose rest is encoded again and again."""
    rest = random.choice(("/", "/", "")) + "".join(random.choices(STEPS, k=random.randint(1, 5)))
    for _ in range(random.choice((0, 0, 1, 1, 2, 3, 4))):
        share = random.random()
        rest = "".join(
            f"%{ord(c):02x}" if c in "%/;\\. " or random.random() < share else c
            for c in rest
            if random.random() < 0.98
        )
    return prefix + rest


def nasty_prefix(random: Random) -> str:
    return random.choice(PREFIX_HOSTS) + random.choice(PREFIX_PATHS)


# -- naive readings -------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def place_of(url: str) -> tuple[Any, ...]:
    """Return scheme, host and port that requests connects to for a URL."""
    request = PreparedRequest()
    request.url = url
    place, _ = HTTPAdapter().build_connection_pool_key_attributes(request, True)
    port = place["port"] or {"https": 443, "http": 80}[place["scheme"]]
    host = str(place["host"])
    host = f"[{host}]" if ":" in host and "[" not in host else host
    # The connection pool encodes a host that is not ASCII.
    return place["scheme"], parse_url(f"https://{host}").host, port


def target_of(url: str) -> str:
    """Return the path that requests sends for a URL."""
    request = PreparedRequest()
    request.url = url
    # urllib3 encodes what is not ASCII.
    return quote(request.path_url.partition("?")[0], safe=string.printable, errors="ignore")


def readings(path: str) -> Iterator[list[str]]:
    """Yield how servers may read a path, as segments."""
    for _ in range(4):
        for is_windows in (False, True):
            for drops in (False, True):
                for merges in (False, True):
                    yield read(path, is_windows=is_windows, drops=drops, merges=merges)
        path = unquote(path, encoding="latin-1")


def read(path: str, *, is_windows: bool, drops: bool, merges: bool) -> list[str]:
    path = path.replace("\\", "/") if is_windows else path
    found: list[str] = []
    for part in path.removeprefix("/").split("/"):
        segment = part.partition(";")[0] if drops else part
        bare = segment.strip("".join(map(chr, [*range(0x21), *range(0x7F, 0xA1)])))
        if bare == "..":
            del found[-1:]
        elif bare != "." and (bare or not merges):
            found.append(re.sub("%[0-9A-Fa-f]{2}", plain_escape, segment))
    return found


def plain_escape(escape: re.Match[str]) -> str:
    """Return an escape in its normal form (RFC 3986 section 6.2.2)."""
    character = unquote(escape[0], encoding="latin-1")
    return character if re.fullmatch("[A-Za-z0-9._~-]", character) else escape[0].upper()


def depths(prefix: str, url: str, *, as_written: bool = False) -> list[int]:
    """Return the length of a prefix in each reading in which a URL is under it, else -1.

    ``prefix`` is prepared as requests does. It is read in the same way as the URL, or not at all.
    """
    if place_of(prefix) != place_of(url):
        return [-1]
    base = (urlsplit(prefix).path or "/").rstrip("/") or "/"
    found = []
    starts = [*readings(base)]
    starts = starts[:1] * len(starts) if as_written else starts
    for start, segments in zip(starts, readings(target_of(url)), strict=True):
        mine = [] if start == [""] else start
        found.append(len(mine) if segments[: len(mine)] == mine else -1)
    return found


def is_under(prefix: str, url: str) -> bool:
    """Return whether a URL is under a prefix in every reading."""
    return -1 not in depths(prefix, url)


def prepared(url: str) -> str | None:
    """Return the URL as requests prepares it, or None if it refuses to."""
    request = PreparedRequest()
    try:
        request.prepare_url(url, None)
    except (requests.RequestException, ValueError):
        return None
    return str(request.url)


# -- targets --------------------------------------------------------------------------------------


@lru_cache(maxsize=512)
def allowed(*prefixes: str) -> AllowedURLs[str] | None:
    """Return rules in which each prefix has itself as a value, or None for a bad prefix."""
    urls = AllowedURLs("", "https://nowhere.example")
    try:
        for prefix in prefixes:
            urls.add(prefix, prefix)
    except ConfigurationError:
        return None
    return urls


def check_prefixes(random: Random) -> None:
    """Check that a URL that gets a token is under the prefix in every reading."""
    prefixes = [nasty_prefix(random) for _ in range(random.randint(1, 2))]
    urls = allowed(*prefixes)
    url = disguised(random, prefixes[0]) if random.random() < 0.6 else nasty_url(random)
    for form in (url, prepared(url)):
        if urls is None or form is None:
            continue
        found, _ = urls.find(form)
        if found is not None:
            base = prepared(found)
            assert base is not None
            assert is_under(base, form), f"{form!r} gets the token of {found!r}"
            mine = depths(base, form, as_written=True)
            for other in filter(None, map(prepared, urls.values()[1:])):
                theirs = depths(other, form, as_written=True)
                is_deeper = max(theirs) > max(mine) and other != base
                assert not is_deeper, f"{form!r} gets the token of {found!r}, not of {other!r}"


class Hop(Internet):
    """An internet whose first answer to a request of the caller is a redirect."""

    location = ""

    def send(self, request: PreparedRequest, **options: Any) -> requests.Response:  # type: ignore[override]
        del self.token_requests[:-1]
        begins = str(request.url).endswith("/go")
        self.pages = {str(request.url): (302, {"Location": self.location}, b"")} if begins else {}
        return super().send(request, **options)


@lru_cache(maxsize=4)
def session_of(prefix: str) -> tuple[Hop, ClientCredentialsSession]:
    net = Hop()
    return net, connected(net, api_url=prefix)


@lru_cache(maxsize=4)
def auth_of(prefix: str) -> tuple[Hop, requests.Session, ClientCredentialsAuth]:
    net = Hop()
    return net, plain(net), auth_for(net, api_url=prefix)


def nasty_location(random: Random) -> str:
    """Return a ``Location``, as http.client decodes what a server sent."""
    form = random.random()
    if form < 0.4:
        location = nasty_url(random)
    elif form < 0.7:
        location = random.choice(("http:", "https:", "", "", "//", "?", "#", "\\\\", "/\\", ";"))
        location += random.choice(("other/x", "../other", "%2e/../other", "..", "./../v1/x"))
        location += nasty_path(random)
    else:
        location = "".join(random.choices(PIECES, k=random.randint(0, 7)))
    # No server can send a line break or half of a surrogate pair.
    location = location.replace("\r", "").replace("\n", "")
    return location.encode("utf-8", "ignore").decode("latin-1")


def check_hops(net: Hop, prefix: str, location: str, send: Callable[[str], object]) -> None:
    net.seen.clear()
    net.location = location
    # What requests itself raises for a target that it cannot read or reach.
    with contextlib.suppress(requests.RequestException, ValueError):
        send(f"{prefix}/go")
    assert net.seen
    assert net.seen[0].authorization is not None
    for seen in net.seen[1:]:
        if seen.authorization is not None:
            assert is_under(prefix, seen.url), f"{location!r} takes the token to {seen.url!r}"


def check_redirects(random: Random) -> None:
    """Check that the token of a session stays under its prefix along redirects."""
    prefix = random.choice(("https://api.example/v1", "https://api.example", "http://localhost/a"))
    net, session = session_of(prefix)
    session.cookies.clear()
    check_hops(net, prefix, nasty_location(random), session.get)


def check_redirects_of_auth(random: Random) -> None:
    """Check the same of `ClientCredentialsAuth`, in a plain session."""
    prefix = random.choice(("https://api.example/v1", "https://api.example", "http://localhost/a"))
    net, session, auth = auth_of(prefix)
    location = nasty_location(random)
    check_hops(net, prefix, location, lambda url: session.get(url, auth=auth))


QUOTED = (
    *("error=x", ' error="x"', "error", "=", ",", ", ", "Bearer", "Basic ", "DPoP error=y", "a"),
    *('"', "\\", '\\"', ";", "é", "\t", " ", 'error="', "x" * 50),
)
VALUES = (*QUOTED, "realm=", '="', '",', "Bearer ", "DPoP ", 'Bearer error="invalid_token"', "\r\n")


def challenges(random: Random) -> tuple[str, list[tuple[str, dict[str, str]]]]:
    """Return a header that follows the grammar of RFC 9110, and what it says."""
    written, meant = [], []
    for _ in range(random.randint(1, 3)):
        scheme = random.choice(("Bearer", "bearer", "DPoP", "Basic", "Negotiate"))
        names = random.sample(("realm", "error", "error_description", "scope", "algs"), k=3)
        params = dict.fromkeys(names[: random.randint(0, 3)], "")
        parts = []
        for name in params:
            if random.random() < 0.7:
                pieces = ("a", "b_c", "invalid_token") if name == "error" else QUOTED
                params[name] = "".join(random.choices(pieces, k=random.randint(0, 4)))
                text = re.sub(r'(["\\])', r"\\\1", params[name])
                parts.append(f'{name}="{text}"')
            else:
                params[name] = random.choice(("invalid_token", "x", "a.b-c"))
                parts.append(f"{random.choice((name, name.upper()))}={params[name]}")
        written.append(f"{scheme} {random.choice((', ', ',', ' , ')).join(parts)}".rstrip())
        meant.append((scheme.lower(), params))
    return ", ".join(written), meant


def check_challenges(random: Random) -> None:
    """Check that the error of a well-formed header is found, and that no text raises."""
    value, meant = challenges(random)
    wanted = random.choice((("bearer",), ("dpop",), ("bearer", "dpop")))
    expected = [params["error"] for name, params in meant if name in wanted and "error" in params]
    found = find_error(value, wanted)
    assert found == next(iter(expected), None), (value, wanted, found, expected)
    odd = "".join(random.choices(VALUES, k=random.randint(0, 12)))
    error = find_error(odd, wanted)
    assert error is None or error in odd, (odd, error)


def check_length(random: Random) -> None:
    """Check that the work for a header grows linearly with its length."""
    start, unit = (("".join(random.choices(VALUES, k=random.randint(1, 4)))) for _ in range(2))
    half, whole = (start + unit * (size // len(unit)) for size in (2000, 4000))
    assert steps(whole) <= 2.3 * steps(half) + 200, (start, unit)


def steps(value: str, read: Callable[[str], object] = find_error) -> int:
    """Return how many lines of Python are executed to read a header."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        read(value)
    finally:
        sys.settrace(before)
    return count


TARGETS: tuple[Callable[[Random], None], ...] = (
    check_prefixes,
    check_redirects,
    check_redirects_of_auth,
    check_challenges,
    check_length,
)
