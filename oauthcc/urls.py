"""The origin of a URL, and whether the connection to it is secure.

The rule of this module: a URL is read exactly as the connection will read it. `requests` prepares
a URL with the parser of urllib3 and connects with that of urllib.parse. A URL that the two read
differently could send a token to an attacker. Such a URL has no origin here (None), and a URL
without an origin gets no token.
"""

from __future__ import annotations

import ipaddress
import os
import re
from contextlib import suppress
from functools import lru_cache
from socket import inet_aton
from typing import NamedTuple, NoReturn
from urllib.parse import quote, urlsplit

import requests
from urllib3.util import parse_url

from .errors import ConfigurationError

UNREADABLE = "<unreadable URL>"
_DEFAULT_PORTS = {"http": 80, "https": 443}
_PLAIN_HEAD = re.compile(r"(https?)://([a-z0-9_.-]{1,255})(?::([0-9]{1,5}))?")
#: The scheme, the authority and the path of a URL, unchanged.
URL_PARTS = re.compile(r"(https?)://([^/?#]*)([^?#]*)", re.IGNORECASE)
#: Characters that parsers read differently.
AMBIGUOUS = re.compile(r"[\x00-\x20\x7f\s\\]")
# A URL without a scheme, such as "as.example/token". No token or generated secret looks like that.
_WITHOUT_SCHEME = re.compile(
    r"(?:[a-z][a-z0-9-]{0,20}\.){1,5}[a-z]{2,10}(?::[0-9]{1,5})?(?:/[a-z][a-z0-9._-]{0,20})+/?"
)
# The faults of a configured URL: description, advice, pattern. The first that matches is reported.
_FAULTS = (
    ("holds a space, control character or backslash", "take it out", AMBIGUOUS),
    ("begins with a quotation mark", "leave it out", re.compile(r"\A[\"']")),
    ("has no scheme", "begin it with https://", re.compile(r"(?![A-Za-z][A-Za-z0-9+.-]*://)\A")),
    ("is neither https nor http", "begin it with https://", re.compile(r"(?!(?i:https?)://)\A")),
    ("has a user name", "leave out everything up to the @", re.compile(r"\A[^/]*//[^/?#]*@")),
    ("has a wildcard for a host", "write the host in full", re.compile(r"\A[^/]*//[^/?#]*\*")),
    ("has a fragment", "leave out the # and what follows it", re.compile("#")),
)


class Origin(NamedTuple):
    """The scheme, host (A-labels, lower case, no brackets) and port of a connection."""

    scheme: str
    host: str
    port: int


def origin_text(origin: Origin) -> str:
    """Return an origin as text, such as `https://api.example`, without the default port."""
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    port = "" if origin.port == _DEFAULT_PORTS.get(origin.scheme) else f":{origin.port}"
    return f"{origin.scheme}://{host}{port}"


def origin_of(url: str) -> Origin | None:
    """Return the origin that a request for this prepared URL will be sent to.

    Return None if the URL is not http or https, if parsers read it differently, or if its host or
    port is not valid.
    """
    # The first slash from index 8 on ends the host: neither "http://" nor "https://" is longer.
    end = url.find("/", 8)
    try:
        return _plain_origin(url if end < 0 else url[:end])
    except ValueError:
        return _careful_origin(url)


@lru_cache(maxsize=1024)
def _plain_origin(head: str) -> Origin:
    """Return the origin of a plain `scheme://host:port`; raise ValueError for any other text.

    An exception is not cached. So the cache holds no userinfo, no query and no very long text.
    """
    match = _PLAIN_HEAD.fullmatch(head)
    port = 0 if match is None else int(match[3] or _DEFAULT_PORTS[match[1]])
    if match is None or not 0 < port < 65536:
        raise ValueError("not plain")
    return Origin(match[1], match[2], port)


def _careful_origin(url: str) -> Origin | None:
    """Return the origin if both parsers agree on it, else None."""
    match = URL_PARTS.match(url)
    if match is None or AMBIGUOUS.search(match[2]) or "%" in match[2].rpartition("@")[2]:
        return None
    scheme, head = match[1].lower(), f"{match[1]}://{match[2]}"
    try:
        connected, prepared = urlsplit(head), parse_url(head)
        host, port = connected.hostname or "", connected.port
        # The connection pool normalises the host with urllib3.
        pooled = parse_url(f"https://[{host}]" if ":" in host else f"https://{host}")
    except ValueError:
        return None
    if not pooled.host or pooled.host != prepared.host or port != prepared.port or port == 0:
        return None
    return Origin(scheme, pooled.host.strip("[]"), port or _DEFAULT_PORTS[scheme])


@lru_cache(maxsize=256)
def is_loopback(origin: Origin) -> bool:
    """Return whether the host is exactly `localhost`, in 127.0.0.0/8, or ::1.

    An IPv4 address that is mapped to IPv6 is not: `is_loopback` of such an address differs between
    versions of Python.
    """
    try:
        address = ipaddress.ip_address(origin.host)
    except ValueError:
        return origin.host == "localhost"
    is_v4 = isinstance(address, ipaddress.IPv4Address)
    return address.is_loopback if is_v4 else address == ipaddress.IPv6Address("::1")


def may_be_this_machine(origin: Origin) -> bool:
    """Return whether a connection may reach this machine, in any spelling of its address.

    A name of another host may have such an address too, which is not looked up.
    """
    host, address = origin.host.rstrip("."), None
    with suppress(OSError, ValueError):  # a name
        # As the connection reads it: 127.1 and 2130706433 are addresses too.
        address = ipaddress.ip_address(host if ":" in host else inet_aton(host))
    address = getattr(address, "ipv4_mapped", None) or address
    if address is None:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified


@lru_cache(maxsize=256)
def is_plain_on_loopback(origin: Origin | None) -> bool:
    """Return whether a connection is plain http to loopback, which no other machine may see."""
    return origin is not None and origin.scheme == "http" and is_loopback(origin)


def is_secure(origin: Origin) -> bool:
    """Return whether the connection is secure: https, or a host that is this machine."""
    return origin.scheme == "https" or is_loopback(origin)


def is_on_this_machine(proxy: str) -> bool:
    """Return whether a proxy, named by a URL or as host and port, is on this machine."""
    origin = origin_of(f"http://{proxy.rpartition('://')[2]}")  # it may be socks5:// too
    return origin is not None and is_loopback(origin)


def check_token_url(
    url: str, name: str = "token_url", example: str = "https://as.example/token"
) -> str:
    """Return the URL unchanged if client credentials may be sent to it (RFC 6749 section 3.2).

    Raise ConfigurationError otherwise. The message says what is wrong and what to write. Plain
    http is accepted for loopback, and for other hosts only if oauthlib's own variable
    OAUTHLIB_INSECURE_TRANSPORT is set.
    """
    origin, _ = read_configured(url, name, example)
    if not is_secure(origin) and not os.environ.get("OAUTHLIB_INSECURE_TRANSPORT"):
        advice = "write https:// (OAUTHLIB_INSECURE_TRANSPORT=1 allows http, for tests only)"
        raise_bad_url(name, url, "would send the client's secret over plain http", advice)
    return url


def public_url(url: object) -> str:
    """Return origin and path for logs and messages, without userinfo, query and fragment.

    Never raise: the result for any other value is `<unreadable URL>`.
    """
    match = URL_PARTS.match(url) if isinstance(url, str) else None
    origin = origin_of(match[0]) if match else None
    if origin is None or match is None or AMBIGUOUS.search(match[3]):
        return UNREADABLE
    return origin_text(origin) + quote(match[3], "!$%&'()*+,/:;=@~", errors="backslashreplace")


def read_configured(url: str, name: str, example: str) -> tuple[Origin, str]:
    """Return the origin of a configured URL, and the URL as `requests` prepares it.

    Raise ConfigurationError if the URL cannot be used. ``name`` is its name in the message.
    """
    if not isinstance(url, str) or not url:
        raise_bad_url(name, url, "is empty or not a string", f"write it as in {example}")
    for fault, advice, pattern in _FAULTS:
        if pattern.search(url):
            raise_bad_url(name, url, fault, advice)
    request = requests.PreparedRequest()
    with suppress(ValueError):  # also InvalidURL of requests, whose message may show a secret
        request.prepare_url(url, None)
    prepared = request.url or ""
    origin = origin_of(prepared)
    if origin is None or origin != origin_of(url):
        raise_bad_url(
            name, url, "has no usable host or port", f"check host and port, as in {example}"
        )
    return origin, prepared


def raise_bad_url(name: str, url: object, fault: str, advice: str) -> NoReturn:
    """Raise ConfigurationError with the fault of a configured URL and the advice."""
    shown = public_url(url)
    # An unreadable URL is not shown: it may be a secret in the wrong place.
    given = "" if shown == UNREADABLE else f". Given: {shown}"
    # But a host and a path of plain words are not one.
    if given == "" and isinstance(url, str) and _WITHOUT_SCHEME.fullmatch(url):
        given = f", as in https://{url}"
    raise ConfigurationError(f"{name} {fault}: {advice}{given}")
