"""Where a token may go: under the prefixes that were named, else wherever the caller asks for.

Never over plain http beyond loopback, unless a prefix says so in as many words.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, Generic, TypeVar

from .errors import ConfigurationError, InsecureURLError
from .prefix import Prefix, PrefixMap
from .urls import Origin, is_secure, origin_of, origin_text, public_url

T = TypeVar("T")
_log = logging.getLogger("oauthcc")


class Reach(Generic[T]):
    """Find what serves a URL: the longest prefix's value, else the default one.

    Where ``api_url`` names prefixes, the default serves those and nothing else.
    """

    def __init__(self, default: T, api_url: str | Iterable[str] | None) -> None:
        self._default = default
        self._map: PrefixMap[T] = PrefixMap()
        self._is_limited = api_url is not None
        self._first: Origin | None = None
        self._is_noticed = False
        several: Any = () if api_url is None else api_url
        if isinstance(several, (str, bytes)) or not isinstance(several, Iterable):
            several = [several]
        texts = list(several)
        if self._is_limited and not texts:
            raise ConfigurationError(
                "api_url is empty: name the URL prefixes that may receive the token, or leave it"
                " out to send the token wherever a request goes."
            )
        for text in texts:
            self._map.add(Prefix.parse(text), default)

    def add(self, prefix: str, value: T) -> None:
        """Have the URLs under a prefix served by something else than the default."""
        self._map.add(Prefix.parse(prefix), value)

    def find(self, url: str) -> T | None:
        """Return what serves a prepared URL, or None where no token may go."""
        found = self._map.find(url) if len(self._map) else None
        if found is not None or self._is_limited:
            return found
        origin = origin_of(url)
        return self._default if origin is not None and is_secure(origin) else None

    def values(self) -> list[T]:
        """Return all that may serve a URL, the default among them."""
        return [self._default, *(value for _, value in self._map)]

    def refuse_plain_http(self, url: str) -> None:
        """Raise `InsecureURLError` where nothing but plain http keeps a token from a URL."""
        origin = None if self._is_limited else origin_of(url)
        if origin is not None and not is_secure(origin):
            raise InsecureURLError(
                f"No token is sent to {public_url(url)} over plain http (RFC 6750 section 5.3)."
                f' Use https, or pass api_url="{origin_text(origin)}" if that network is trusted,'
                " or auth=lambda r: r to send this request without a token."
            )

    def notice(self, url: str) -> None:
        """Warn once when the token goes to a second origin and nothing says that it may."""
        if self._is_limited or self._is_noticed:
            return
        origin = origin_of(url)
        if origin is None or origin == self._first or self._map.find(url) is not None:
            return
        if self._first is None:
            self._first = origin
        else:
            self._is_noticed = True
            _log.warning(
                "The token that went to %s goes to %s too; pass api_url= to say where it may go.",
                origin_text(self._first),
                origin_text(origin),
            )
