"""Say where a URL really leads, and whether a token may go there.

The rule of this room: a URL is read exactly as the connection will read it. `requests` prepares a
URL with urllib3's splitter and connects by urllib.parse's; an attacker lives where the two
disagree. Wherever they do, the answer here is None, and no origin means no token.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, NamedTuple, NoReturn, TypeVar
from urllib.parse import quote, unquote_to_bytes, urlsplit

import requests
from requests.utils import requote_uri
from urllib3.util import parse_url

from .errors import ConfigurationError

T = TypeVar("T")

UNREADABLE = "<unreadable URL>"
_DEFAULT_PORTS = {"http": 80, "https": 443}
_PLAIN_HEAD = re.compile(r"(https?)://([a-z0-9_.-]{1,255})(?::([0-9]{1,5}))?")
_URL = re.compile(r"(https?)://([^/?#]*)([^?#]*)", re.IGNORECASE)
_ODD = re.compile(r"[\x00-\x20\x7f\s\\]")
_PLAIN_PATH = re.compile(r"(?:/(?!\.\.?(?:[/;]|\Z))[A-Za-z0-9._~!$&'()*+,;=:@-]*)*")
# A control character or a backslash, or what would become one, a dot, a slash, a semicolon or a
# percent sign if somebody between here and the API decoded once more.
_AMBIGUOUS = re.compile(r"[\x00-\x1f\x7f\\]|%(?:2[ef5]|5c|3b|[01]|7f|u)", re.IGNORECASE)
_HEX = re.compile(r"%[0-9a-f]{2}", re.IGNORECASE)
# What no configured URL may be: the fault, what to do about it, how it is seen. First come first.
_FAULTS = (
    ("holds a space, control character or backslash", "take it out", _ODD),
    ("has no scheme", "begin it with https://", re.compile(r"(?![A-Za-z][A-Za-z0-9+.-]*://)\A")),
    ("is neither https nor http", "begin it with https://", re.compile(r"(?!(?i:https?)://)\A")),
    ("has a user name", "leave out everything up to the @", re.compile(r"\A[^/]*//[^/?#]*@")),
    ("has a wildcard for a host", "write the host in full", re.compile(r"\A[^/]*//[^/?#]*\*")),
    ("has a fragment", "leave out the # and what follows it", re.compile("#")),
)


class Origin(NamedTuple):
    """Hold what is connected to: scheme, host (A-labels, lower case, no brackets), port."""

    scheme: str
    host: str
    port: int


def origin_text(origin: Origin) -> str:
    """Write an origin as people do: `https://api.example`, without the scheme's own port."""
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    port = "" if origin.port == _DEFAULT_PORTS.get(origin.scheme) else f":{origin.port}"
    return f"{origin.scheme}://{host}{port}"


def origin_of(url: str) -> Origin | None:
    """Find the origin that a request for this prepared URL will be sent to.

    None: not http(s), not to be read in one way only, or not a place that can be connected to.
    """
    # No scheme of ours and no host ends before index 8, and the first slash after it ends both.
    end = url.find("/", 8)
    try:
        return _plain_origin(url if end < 0 else url[:end])
    except ValueError:
        return _careful_origin(url)


@lru_cache(maxsize=1024)
def _plain_origin(head: str) -> Origin:
    """Read an everyday `scheme://host:port`; ValueError, which is not cached, for any other.

    So neither userinfo nor a query is ever kept in the cache, and no text of unbounded length.
    """
    match = _PLAIN_HEAD.fullmatch(head)
    port = 0 if match is None else int(match[3] or _DEFAULT_PORTS[match[1]])
    if match is None or not 0 < port < 65536:
        raise ValueError("not plain")
    return Origin(match[1], match[2], port)


def _careful_origin(url: str) -> Origin | None:
    """Ask both splitters, and answer only where they say the same."""
    match = _URL.match(url)
    if match is None or _ODD.search(match[2]) or "%" in match[2].rpartition("@")[2]:
        return None
    scheme, head = match[1].lower(), f"{match[1]}://{match[2]}"
    try:
        connected, prepared = urlsplit(head), parse_url(head)
        host, port = connected.hostname or "", connected.port
        # The connection pool puts the host it is given through urllib3's normalisation.
        pooled = parse_url(f"https://[{host}]" if ":" in host else f"https://{host}")
    except ValueError:
        return None
    if not pooled.host or pooled.host != prepared.host or port != prepared.port or port == 0:
        return None
    return Origin(scheme, pooled.host.strip("[]"), port or _DEFAULT_PORTS[scheme])


@lru_cache(maxsize=256)
def is_loopback(origin: Origin) -> bool:
    """Tell whether the host is exactly `localhost`, in 127.0.0.0/8, or ::1.

    An IPv4 address dressed as IPv6 is not: Python's own answer for it changed between versions.
    """
    try:
        address = ipaddress.ip_address(origin.host)
    except ValueError:
        return origin.host == "localhost"
    is_v4 = isinstance(address, ipaddress.IPv4Address)
    return address.is_loopback if is_v4 else address == ipaddress.IPv6Address("::1")


def is_secure(origin: Origin) -> bool:
    """Tell whether nobody can listen: https, or a host that is this machine."""
    return origin.scheme == "https" or is_loopback(origin)


def _first_segments(url: str, count: int) -> tuple[str, ...] | None:
    """Give the first path segments, comparable; None for a path that has more than one reading."""
    match = _URL.match(url)
    path = _comparable((match[3] if match else "") or "/")
    return None if path is None else tuple(path.split("/", count + 1)[1 : count + 1])


def _comparable(path: str) -> str | None:
    """Bring a path to the form `requests` prepares, or None if the API might read it otherwise."""
    if _PLAIN_PATH.fullmatch(path):
        return path
    if _ODD.search(path):
        return None
    try:
        path = requote_uri(path)
        decoded = unquote_to_bytes(path).decode("utf-8")
    except ValueError:  # not UTF-8: among other things how a dot is hidden in too many bytes
        return None
    if decoded.count("/") != path.count("/") or _AMBIGUOUS.search(decoded):
        return None
    if any(part.partition(";")[0].strip() in (".", "..") for part in decoded.split("/")):
        return None
    return _HEX.sub(lambda escape: escape[0].upper(), path)


@dataclass(frozen=True, slots=True)
class Prefix:
    """Hold a URL prefix that may receive a token: an origin and whole path segments.

    `https://api.example/v1` covers `/v1` and `/v1/orders`, but neither `/v10` nor `/V1`, and no
    host whose name merely begins alike. Empty segments count. For a prefix with a path, a URL
    whose path holds dot segments, an encoded slash or backslash or double encoding is outside.
    """

    origin: Origin
    segments: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Prefix:
        """Read a prefix; ConfigurationError says what to write instead."""
        name, example = "a URL prefix (api_url)", "https://api.example/v1"
        origin, prepared = _read(text, name, example)
        if "?" in text:
            _refuse(name, text, "has a query", f"write only origin and path, as in {example}")
        segments = _first_segments(prepared, prepared.count("/"))
        # The text as well: preparation would silently resolve its dot segments.
        if segments is None or _first_segments(text, 1) is None:
            fault = "has dot segments, an encoded slash or backslash, or double encoding"
            _refuse(name, text, fault, "write the plain path that the API serves")
        return cls(origin, segments[:-1] if segments[-1] == "" else segments)

    def matches(self, url: str) -> bool:
        """Tell whether a prepared URL is at or below this prefix."""
        count = len(self.segments)
        return origin_of(url) == self.origin and (
            not count or _first_segments(url, count) == self.segments
        )

    def __str__(self) -> str:
        return origin_text(self.origin) + "".join(f"/{segment}" for segment in self.segments)


class PrefixMap(Generic[T]):
    """Find the value of the longest prefix of a URL; more prefixes do not make it slower.

    Readers need no lock: `add` puts new mappings in the place of the old. Writers do: of two
    concurrent calls of `add` one may be lost. A value is never None.
    """

    def __init__(self) -> None:
        self._values: dict[Prefix, T] = {}
        # By origin: how deep its deepest prefix lies, and the values by path segments.
        self._branches: dict[Origin, tuple[int, dict[tuple[str, ...], T]]] = {}

    def add(self, prefix: Prefix, value: T) -> None:
        """Put a value under a prefix, in the place of one that is already there."""
        depth, values = self._branches.get(prefix.origin, (0, {}))
        branch = max(depth, len(prefix.segments)), {**values, prefix.segments: value}
        self._values = {**self._values, prefix: value}
        self._branches = {**self._branches, prefix.origin: branch}

    def find(self, url: str) -> T | None:
        """Give the value of the longest prefix that this prepared URL is under, if there is one."""
        origin = origin_of(url)
        branch = None if origin is None else self._branches.get(origin)
        if branch is None:
            return None
        depth, values = branch
        segments = (_first_segments(url, depth) or ()) if depth else ()
        for count in range(len(segments), 0, -1):
            value = values.get(segments[:count])
            if value is not None:
                return value
        return values.get(())

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[tuple[Prefix, T]]:
        return iter(self._values.items())


def check_token_url(url: str, name: str = "token_url") -> str:
    """Give the URL back unchanged if client credentials may be posted to it (RFC 6749 section 3.2).

    Its query is kept. ConfigurationError says what is wrong with it and what to write. Plain http
    is for loopback, and elsewhere only where oauthlib's own OAUTHLIB_INSECURE_TRANSPORT says so.
    """
    origin, _ = _read(url, name, "https://as.example/token")
    if not is_secure(origin) and not os.environ.get("OAUTHLIB_INSECURE_TRANSPORT"):
        advice = "write https:// (OAUTHLIB_INSECURE_TRANSPORT=1 allows http, for tests only)"
        _refuse(name, url, "would send the client's secret over plain http", advice)
    return url


def public_url(url: object) -> str:
    """Give origin and path, fit for logs and messages: no userinfo, query or fragment.

    Never raises: what cannot be read is `<unreadable URL>`.
    """
    match = _URL.match(url) if isinstance(url, str) else None
    origin = origin_of(match[0]) if match else None
    if origin is None or match is None or _ODD.search(match[3]):
        return UNREADABLE
    return origin_text(origin) + quote(match[3], "!$%&'()*+,/:;=@~", errors="backslashreplace")


def _read(url: str, name: str, example: str) -> tuple[Origin, str]:
    """Give a configured URL's origin, and the URL as `requests` prepares it."""
    if not isinstance(url, str) or not url:
        _refuse(name, url, "is empty, or not a text", f"write it as in {example}")
    for fault, advice, pattern in _FAULTS:
        if pattern.search(url):
            _refuse(name, url, fault, advice)
    request = requests.PreparedRequest()
    with suppress(ValueError):  # requests' InvalidURL is one; its text may show too much of the URL
        request.prepare_url(url, None)
    prepared = request.url or ""
    origin = origin_of(prepared)
    if origin is None or origin != origin_of(url):
        _refuse(name, url, "names no place to connect to", f"check host and port, as in {example}")
    return origin, prepared


def _refuse(name: str, url: object, fault: str, advice: str) -> NoReturn:
    # Never the text itself where it cannot be read: it may be a secret put in the wrong place.
    raise ConfigurationError(f"{name} {fault}: {advice}. Given: {public_url(url)}")
