"""URL prefixes that may receive a token, and the longest one that a URL is under.

The rule of this room: whole path segments are compared, and a path that the API might read in
another way than we do is under no prefix with a path.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar
from urllib.parse import unquote_to_bytes

from requests.utils import requote_uri

from .urls import ODD, PARTS, Origin, origin_of, origin_text, read_configured, refuse

T = TypeVar("T")

_PLAIN_PATH = re.compile(r"(?:/(?!\.\.?(?:[/;]|\Z))[A-Za-z0-9._~!$&'()*+,;=:@-]*)*")
# A control character or a backslash, or what would become one, a dot, a slash, a semicolon or a
# percent sign if somebody between here and the API decoded once more.
_AMBIGUOUS = re.compile(r"[\x00-\x1f\x7f\\]|%(?:2[ef5]|5c|3b|[01]|7f|u)", re.IGNORECASE)
_HEX = re.compile(r"%[0-9a-f]{2}", re.IGNORECASE)


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
        origin, prepared = read_configured(text, name, example)
        if "?" in text:
            refuse(name, text, "has a query", f"write only origin and path, as in {example}")
        segments = _first_segments(prepared, prepared.count("/"))
        # The text as well: preparation would silently resolve its dot segments.
        if segments is None or _first_segments(text, 1) is None:
            fault = "has dot segments, an encoded slash or backslash, or double encoding"
            refuse(name, text, fault, "write the plain path that the API serves")
        return cls(origin, segments[:-1] if segments[-1] == "" else segments)

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


def _first_segments(url: str, count: int) -> tuple[str, ...] | None:
    """Give the first path segments, comparable; None for a path that has more than one reading."""
    match = PARTS.match(url)
    path = _comparable((match[3] if match else "") or "/")
    return None if path is None else tuple(path.split("/", count + 1)[1 : count + 1])


def _comparable(path: str) -> str | None:
    """Bring a path to the form `requests` prepares, or None if the API might read it otherwise."""
    if _PLAIN_PATH.fullmatch(path):
        return path
    if ODD.search(path):
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
