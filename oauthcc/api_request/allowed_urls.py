"""The URLs that may carry a token: those under the named prefixes, else all that are requested.

Rules of this module: whole path segments are compared, and a path that can be read in several ways
never matches a prefix that has a path. A token never goes over plain http beyond
loopback, unless a prefix says so explicitly.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import unquote_to_bytes

from requests.utils import requote_uri

from ..errors import ConfigurationError, InsecureURLError
from ..urls import (
    AMBIGUOUS,
    URL_PARTS,
    Origin,
    is_loopback,
    is_secure,
    origin_of,
    origin_text,
    public_url,
    raise_bad_url,
    read_configured,
)

T = TypeVar("T")
_log = logging.getLogger("oauthcc")

_PLAIN_PATH = re.compile(r"(?:/(?!\.\.?(?:[/;]|\Z))[A-Za-z0-9._~!$&'()*+,;=:@-]*)*")
# A control character or a backslash, or what another decoding would turn into one, or into a dot, a
# slash, a semicolon or a percent sign.
_AMBIGUOUS = re.compile(r"[\x00-\x1f\x7f\\]|%(?:2[ef5]|5c|3b|[01]|7f|u)", re.IGNORECASE)
_HEX = re.compile(r"%[0-9a-f]{2}", re.IGNORECASE)


class AllowedURLs(Generic[T]):
    """The URLs that may carry a token, and the value (a token source) that belongs to each.

    The longest prefix of a URL decides. ``default`` belongs to the prefixes in ``api_url``, or to
    all URLs if ``api_url`` is None. Looking up takes no longer with more prefixes. It needs no
    lock, because `add` replaces the mappings instead of changing them.
    """

    def __init__(self, default: T, api_url: str | Iterable[str] | None) -> None:
        self._default = default
        #: Whether the default belongs to the prefixes in ``api_url`` only.
        self.is_limited: bool = api_url is not None
        # By origin: the depth of its deepest prefix, and the values by path.
        self._origins: dict[Origin, tuple[int, dict[tuple[str, ...], T]]] = {}
        #: The first origin that got a token without a prefix that allows it.
        self.first_origin: Origin | None = None
        self._has_warned = False
        several: Any = () if api_url is None else api_url
        if isinstance(several, (str, bytes)) or not isinstance(several, Iterable):
            several = [several]
        prefixes = list(several)
        if self.is_limited and not prefixes:
            raise ConfigurationError(
                "api_url is empty: name the URL prefixes that may receive the token, or leave it"
                " out to send the token to every URL that is requested."
            )
        for prefix in prefixes:
            self.add(prefix, default)

    def add(self, prefix: str, value: T) -> None:
        """Let a value belong to the URLs under a prefix; raise ConfigurationError for a bad one.

        Call this in one thread: of two calls at the same time, one may have no effect.
        """
        parsed = Prefix.parse(prefix)
        depth, values = self._origins.get(parsed.origin, (0, {}))
        entry = max(depth, len(parsed.segments)), {**values, parsed.segments: value}
        self._origins = {**self._origins, parsed.origin: entry}

    def find(self, url: str) -> tuple[T | None, Origin | None]:
        """Return the value for a prepared URL, None if no token may go there; and its origin."""
        origin = origin_of(url)
        if origin is None:
            return None, None
        if origin in self._origins:
            value = self._under_prefix(url, origin)
            if value is not None:
                return value, origin
        if self.is_limited or not (origin.scheme == "https" or is_loopback(origin)):
            return None, origin
        return self._default, origin

    def values(self) -> list[T]:
        """Return all values, the default among them."""
        return [self._default, *(v for _, vs in self._origins.values() for v in vs.values())]

    def refuse_plain_http(self, url: str) -> None:
        """Raise `InsecureURLError` if plain http is the only reason why no token may go there."""
        origin = None if self.is_limited else origin_of(url)
        if origin is not None and not is_secure(origin):
            raise InsecureURLError(
                f"No token is sent to {public_url(url)} over plain http (RFC 6750 section 5.3)."
                f' Use https, or pass api_url="{origin_text(origin)}" if that network is trusted,'
                " or auth=lambda r: r to send this request without a token."
            )

    def note_origin(self, url: str, origin: Origin | None) -> None:
        """Warn once if the token goes to a second origin and no prefix says that it may."""
        if self.is_limited or self._has_warned or origin is None:
            return
        if origin in self._origins and self._under_prefix(url, origin) is not None:
            return
        if self.first_origin is None:
            self.first_origin = origin
        elif origin != self.first_origin:
            self._has_warned = True
            _log.warning(
                "The token was sent to %s and is now also sent to %s. Pass api_url= to limit where"
                " it is sent.",
                origin_text(self.first_origin),
                origin_text(origin),
            )

    def _under_prefix(self, url: str, origin: Origin) -> T | None:
        """Return the value of the longest prefix of a URL, if there is one."""
        depth, values = self._origins[origin]
        segments = (first_segments(url, depth) or ()) if depth else ()
        for count in range(len(segments), -1, -1):
            value = values.get(segments[:count])
            if value is not None:
                return value
        return None


@dataclass(frozen=True, slots=True)
class Prefix:
    """A URL prefix that may receive a token: an origin and whole path segments.

    ``https://api.example/v1`` covers ``/v1`` and ``/v1/orders``, but neither ``/v10`` nor ``/V1``,
    and no host whose name only begins with the same characters. Empty segments count. If a prefix
    has a path, a URL whose path has dot segments, an encoded slash or backslash, or double encoding
    is outside.
    """

    origin: Origin
    segments: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Prefix:
        """Return the prefix in a text; raise ConfigurationError that says what to write instead."""
        name, example = "a URL prefix (api_url)", "https://api.example/v1"
        origin, prepared = read_configured(text, name, example)
        if "?" in text:
            raise_bad_url(name, text, "has a query", f"write only origin and path, as in {example}")
        segments = first_segments(prepared, prepared.count("/"))
        # The text is checked too, because preparing a URL silently resolves its dot segments.
        if segments is None or first_segments(text, 1) is None:
            fault = "has dot segments, an encoded slash or backslash, or double encoding"
            raise_bad_url(name, text, fault, "write the plain path that the API serves")
        return cls(origin, segments[:-1] if segments[-1] == "" else segments)

    def __str__(self) -> str:
        return origin_text(self.origin) + "".join(f"/{segment}" for segment in self.segments)


def first_segments(url: str, count: int) -> tuple[str, ...] | None:
    """Return the first path segments of a URL, or None if its path can be read in several ways."""
    match = URL_PARTS.match(url)
    path = _comparable((match[3] if match else "") or "/")
    return None if path is None else tuple(path.split("/", count + 1)[1 : count + 1])


def _comparable(path: str) -> str | None:
    """Return a path in the form that `requests` prepares, or None if it can be read otherwise."""
    if _PLAIN_PATH.fullmatch(path):
        return path
    if AMBIGUOUS.search(path):
        return None
    try:
        path = requote_uri(path)
        decoded = unquote_to_bytes(path).decode("utf-8")
    except ValueError:  # not UTF-8: one of the ways to hide a dot
        return None
    if decoded.count("/") != path.count("/") or _AMBIGUOUS.search(decoded):
        return None
    if any(part.partition(";")[0].strip() in (".", "..") for part in decoded.split("/")):
        return None
    return _HEX.sub(lambda escape: escape[0].upper(), path)
