"""The URLs that may carry a token: those under the named prefixes, else all that are requested.

Rules of this module: whole path segments are compared. If a server could read a path in several
ways, all of them must lead to the same token, or there is none. A token never goes over plain http
beyond loopback, unless a prefix says so explicitly.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar
from urllib.parse import unquote_to_bytes

from requests import PreparedRequest
from requests.utils import requote_uri

from ..errors import ConfigurationError, InsecureURLError
from ..events import Client, is_first, log
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
from ..values import frozen

T = TypeVar("T")

# A path that every server reads in the same way.
_PLAIN_PATH = re.compile(r"(?:/(?!\.\.?(?:/|\Z))[A-Za-z0-9._~!$&'()*+,=:@-]+)*/?")
# The same in the form that requests prepares, with letters that are not ASCII and with spaces.
_CLEAR_PATH = re.compile(r"(?:/(?:[A-Za-z0-9._~!$&'()*+,=:@-]|%(?:20|[89A-F][0-9A-F]))+)*/?")
# What some servers treat as a slash or as the end of a path, and the escapes of IIS.
_UNREADABLE = re.compile(r"[\x00-\x1f\x7f\\]|%u", re.IGNORECASE)
_HEX = re.compile(r"%[0-9a-f]{2}", re.IGNORECASE)
# Of all that have none, because `add` replaces the mapping.
_NO_ORIGINS: dict[Any, Any] = {}
#: How often a path is decoded: by a proxy, by another one, and by the server.
_DECODINGS = 3


class AllowedURLs(Generic[T]):
    """The URLs that may carry a token, and the value (a token source) that belongs to each.

    The longest prefix of a URL decides. ``default`` belongs to the prefixes in ``api_url``, or to
    all URLs if ``api_url`` is None. Looking up takes no longer with more prefixes. It needs no
    lock, because `add` replaces the mappings instead of changing them.
    """

    __slots__ = ("_default", "_has_warned", "_last", "_origins", "first_origin", "is_limited")

    def __init__(self, default: T, api_url: str | Iterable[str] | None) -> None:
        self._default = default
        #: Whether the default belongs to the prefixes in ``api_url`` only.
        self.is_limited: bool = api_url is not None
        # By origin: the depth of its deepest prefix, and the values by path.
        self._origins: dict[Origin, tuple[int, dict[tuple[str, ...], T]]] = _NO_ORIGINS
        # The last URL that was looked up, the mapping then, and the result.
        self._last: tuple[str, object, tuple[T | None, Origin | None]] | None = None
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
        last, origins = self._last, self._origins
        # Preparing a request and sending it ask for the same object.
        if last is not None and last[0] is url and last[1] is origins:
            return last[2]
        origin = origin_of(url)
        value, is_clear = None, True
        if origin in origins:
            value, is_clear = self._under_prefix(url, origin)
        if value is None and is_clear and origin is not None and not self.is_limited:
            is_safe = origin.scheme == "https" or is_loopback(origin)  # `is_secure`, without a call
            value = self._default if is_safe else None
        self._last = url, origins, (value, origin)
        return value, origin

    def __getstate__(self) -> tuple[None, dict[str, Any]]:
        # Without the last URL, which may contain a secret.
        return None, {**{name: getattr(self, name) for name in self.__slots__}, "_last": None}

    def values(self) -> list[T]:
        """Return all values, the default among them."""
        return [self._default, *(v for _, vs in self._origins.values() for v in vs.values())]

    def prefixes(self) -> list[str]:
        """Return the prefixes in ``api_url`` as texts."""
        return [
            str(Prefix(origin, segments))
            for origin, (_, values) in self._origins.items()
            for segments, value in values.items()
            if value is self._default
        ]

    def has_prefix_at(self, origin: Origin | None) -> bool:
        """Return whether there is a prefix with this origin."""
        return origin in self._origins

    def refuse_plain_http(self, request: PreparedRequest) -> None:
        """Raise `InsecureURLError` if plain http is the only reason why it gets no token."""
        url = str(request.url)
        origin = None if self.is_limited else origin_of(url)
        if origin is not None and not is_secure(origin):
            raise InsecureURLError(
                f"No token is sent to {public_url(url)} over plain http (RFC 6750 section 5.3)."
                " Use https. If this is not your API, pass auth=lambda r: r to send this request"
                " without a token, or limit the token with api_url= to the URL of your API. Only if"
                " this is your API, and its network is trusted, name it in api_url=.",
                request=request,
            )

    def note_origin(self, url: str, origin: Origin | None, client: Client) -> None:
        """Warn once if the token goes to a second origin and no prefix says that it may."""
        if self.is_limited or self._has_warned or origin is None:
            return
        if origin in self._origins and self._under_prefix(url, origin)[0] is not None:
            return
        if self.first_origin is None:
            self.first_origin = origin
        elif origin != self.first_origin:
            self._has_warned = True
            if is_first((client, self.first_origin, origin)):
                log.warning(
                    "The token was sent to %s and is now also sent to %s (%s). Pass api_url= to"
                    " limit where it is sent.",
                    origin_text(self.first_origin),
                    origin_text(origin),
                    client,
                )

    def _under_prefix(self, url: str, origin: Origin) -> tuple[T | None, bool]:
        """Return the value of the longest prefix of a URL, if there is one.

        Return also whether this is clear. It is not if another reading of the URL has a prefix with
        another value; then the value is None. The segments of the prefix itself are compared as
        they are written, so only what follows them is read in several ways.
        """
        depth, values = self._origins[origin]
        path = path_of(url) if depth else ""
        if path is None:
            return None, True
        segments = tuple(path.split("/")[1:])
        count, value = _longest(values, segments, depth)
        if not _CLEAR_PATH.fullmatch(path):
            start, rest = segments[:count], segments[count:]
            if any(_longest(values, start + r, depth)[1] is not value for r in _readings(rest)):
                return None, False
        return value, True


@frozen
class Prefix:
    """A URL prefix that may receive a token: an origin and whole path segments.

    ``https://api.example/v1`` covers ``/v1`` and ``/v1/orders``, but neither ``/v10`` nor ``/V1``,
    and no host whose name only begins with the same characters. Empty segments count. If a prefix
    has a path, a URL is outside if its path, decoded up to three times, contains a dot segment, a
    backslash or a control character, or cannot be decoded as UTF-8.
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
        path = path_of(prepared)
        # The text is checked too, because preparing a URL silently resolves its dot segments.
        if path is None or path_of(text) is None:
            fault = (
                "has dot segments, a backslash, a control character, or an encoding beside UTF-8"
            )
            raise_bad_url(name, text, fault, "write the plain path that the API serves")
        return cls(origin, tuple(path.removesuffix("/").split("/")[1:]))

    def __str__(self) -> str:
        return origin_text(self.origin) + "".join(f"/{segment}" for segment in self.segments)


def path_of(url: str) -> str | None:
    """Return the path of a URL in the form that requests prepares.

    Return None if a server could read a dot segment, a backslash or a control character in it, or
    if it is not in UTF-8 or encoded too often.
    """
    match = URL_PARTS.match(url)
    path = (match[3] if match else "") or "/"
    if _PLAIN_PATH.fullmatch(path):
        return path
    if AMBIGUOUS.search(path):
        return None
    try:
        path = _normal(path)
        texts = [path, *_decodings(path)]
    except ValueError:  # not UTF-8: one of the ways to hide a dot
        return None
    for text in texts:
        if _UNREADABLE.search(text):
            return None
        if any(part.partition(";")[0].strip() in (".", "..") for part in text.split("/")):
            return None
    return path


def _normal(path: str) -> str:
    """Return a path as requests prepares it, with its escapes in upper case."""
    return _HEX.sub(lambda escape: escape[0].upper(), requote_uri(path))


def _longest(
    values: Mapping[tuple[str, ...], T], segments: tuple[str, ...], depth: int
) -> tuple[int, T | None]:
    """Return the number of segments of the longest prefix, and its value; 0 and None if none."""
    for count in range(min(len(segments), depth), -1, -1):
        value = values.get(segments[:count])
        if value is not None:
            return count, value
    return 0, None


def _readings(segments: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield other readings of path segments: decoded, without parameters, without empty ones."""
    written = "/".join(segments)
    for text in (written, *_decodings(written)):
        # One by one: an invalid escape changes how requests writes all others.
        decoded = tuple(map(_normal, text.split("/")))
        bare = tuple(segment.partition(";")[0] for segment in decoded)
        yield decoded
        yield bare
        yield tuple(filter(None, decoded))
        yield tuple(filter(None, bare))


def _decodings(text: str) -> Iterator[str]:
    """Yield a text decoded once, twice and so on; raise ValueError if that does not end."""
    for _ in range(_DECODINGS):
        decoded = unquote_to_bytes(text).decode("utf-8")
        if decoded == text:
            return
        yield decoded
        text = decoded
    if unquote_to_bytes(text) != text.encode():
        raise ValueError("encoded too often")
