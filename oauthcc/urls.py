"""Say where a URL really leads, and whether anybody can listen on the way.

The rule of this room: a URL is read exactly as the connection will read it. `requests` prepares a
URL with urllib3's splitter and connects by urllib.parse's; an attacker lives where the two
disagree. Wherever they do, the answer here is None, and no origin means no token.
"""

from __future__ import annotations

import ipaddress
import os
import re
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple, NoReturn
from urllib.parse import quote, urlsplit

import requests
from urllib3.util import parse_url

from .errors import ConfigurationError

UNREADABLE = "<unreadable URL>"
_DEFAULT_PORTS = {"http": 80, "https": 443}
_PLAIN_HEAD = re.compile(r"(https?)://([a-z0-9_.-]{1,255})(?::([0-9]{1,5}))?")
#: Scheme, authority and path of a URL, as they are written.
PARTS = re.compile(r"(https?)://([^/?#]*)([^?#]*)", re.IGNORECASE)
#: What no URL holds that has one reading only.
ODD = re.compile(r"[\x00-\x20\x7f\s\\]")
# What no configured URL may be: the fault, what to do about it, how it is seen. First come first.
_FAULTS = (
    ("holds a space, control character or backslash", "take it out", ODD),
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
    match = PARTS.match(url)
    if match is None or ODD.search(match[2]) or "%" in match[2].rpartition("@")[2]:
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


def check_token_url(url: str, name: str = "token_url") -> str:
    """Give the URL back unchanged if client credentials may be posted to it (RFC 6749 section 3.2).

    Its query is kept. ConfigurationError says what is wrong with it and what to write. Plain http
    is for loopback, and elsewhere only where oauthlib's own OAUTHLIB_INSECURE_TRANSPORT says so.
    """
    origin, _ = read_configured(url, name, "https://as.example/token")
    if not is_secure(origin) and not os.environ.get("OAUTHLIB_INSECURE_TRANSPORT"):
        advice = "write https:// (OAUTHLIB_INSECURE_TRANSPORT=1 allows http, for tests only)"
        refuse(name, url, "would send the client's secret over plain http", advice)
    return url


def public_url(url: object) -> str:
    """Give origin and path, fit for logs and messages: no userinfo, query or fragment.

    Never raises: what cannot be read is `<unreadable URL>`.
    """
    match = PARTS.match(url) if isinstance(url, str) else None
    origin = origin_of(match[0]) if match else None
    if origin is None or match is None or ODD.search(match[3]):
        return UNREADABLE
    return origin_text(origin) + quote(match[3], "!$%&'()*+,/:;=@~", errors="backslashreplace")


def read_configured(url: str, name: str, example: str) -> tuple[Origin, str]:
    """Give a configured URL's origin, and the URL as `requests` prepares it."""
    if not isinstance(url, str) or not url:
        refuse(name, url, "is empty, or not a text", f"write it as in {example}")
    for fault, advice, pattern in _FAULTS:
        if pattern.search(url):
            refuse(name, url, fault, advice)
    request = requests.PreparedRequest()
    with suppress(ValueError):  # requests' InvalidURL is one; its text may show too much of the URL
        request.prepare_url(url, None)
    prepared = request.url or ""
    origin = origin_of(prepared)
    if origin is None or origin != origin_of(url):
        refuse(name, url, "names no place to connect to", f"check host and port, as in {example}")
    return origin, prepared


def refuse(name: str, url: object, fault: str, advice: str) -> NoReturn:
    """Raise ConfigurationError that says what is wrong with a configured URL and what to write."""
    # Never the text itself where it cannot be read: it may be a secret put in the wrong place.
    raise ConfigurationError(f"{name} {fault}: {advice}. Given: {public_url(url)}")
