"""From an API to its authorization server: the metadata of the API (RFC 9728).

Rule of this module: an API only proposes authorization servers. The client's secret goes to none
that the caller does not trust. An API says nothing about another one.
"""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from ..challenge import find_parameter
from ..errors import (
    ConfigurationError,
    DiscoveryError,
    InvalidTokenResponse,
    TokenEndpointUnavailable,
)
from ..urls import is_secure, origin_of, public_url, raise_bad_url, read_configured
from .discovery import (
    Discovery,
    Get,
    Metadata,
    NotHere,
    check_issuer,
    discover,
    printable,
    read_json,
)

_WELL_KNOWN = "/.well-known/oauth-protected-resource"


class IssuerOfAPI(str):
    """The URL of an API, in the place of the issuer that the API names.

    ``trusted`` are the issuers of which it may name one.
    """

    __slots__ = ("trusted",)

    trusted: tuple[str, ...]

    @classmethod
    def of(cls, url: str, trusted_issuers: str | Iterable[str]) -> IssuerOfAPI:
        """Check the URL and the issuers; raise ConfigurationError that says what to write."""
        origin, _ = read_configured(url, "url", "https://api.example/orders")
        if not is_secure(origin):
            raise_bad_url("url", url, "would be read over plain http", "write https://")
        given = (trusted_issuers,) if isinstance(trusted_issuers, str) else trusted_issuers
        try:
            trusted = tuple(map(check_issuer, given))
        except TypeError:
            trusted = ()
        if not trusted:
            raise ConfigurationError(
                "trusted_issuers must contain the issuer of each authorization server that may get"
                ' the client\'s secret, such as ["https://as.example"].'
            )
        made = cls(url)
        made.trusted = trusted
        return made


class APIDiscovery(Discovery):
    """The metadata of the issuer that an API names, renewed when it is an hour old."""

    def __init__(self, api: IssuerOfAPI) -> None:
        super().__init__(api)
        self._api = api

    def _fetch(self, get: Get, get_public: Get) -> Metadata:
        return discover(find_issuer(self._api, self._api.trusted, get=get_public), get=get)


def find_issuer(api: str, trusted: tuple[str, ...], *, get: Get) -> str:
    """Return the first trusted issuer that an API names (RFC 9728 sections 3 and 5).

    The metadata is at the well-known location of the API. If not, the challenge of a 401 says where
    it is. Raises DiscoveryError, or TokenEndpointUnavailable if the API is unavailable.
    """
    document = _metadata(api, get)
    named, offered = document.get("resource"), document.get("authorization_servers")
    if named != api:
        shown = printable(named) if isinstance(named, str) else "none"
        raise _error(
            api,
            f"publishes metadata of another API, {shown}",
            "pass that URL exactly if it is the one you mean, or use from_issuer()",
        )
    servers = (
        [each for each in offered if isinstance(each, str)] if isinstance(offered, list) else []
    )
    for issuer in servers:
        if issuer in trusted:
            return issuer
    names = ", ".join(map(printable, servers[:10])) or "none"
    raise _error(
        api,
        f"names no authorization server that is trusted (it names: {names})",
        "add one of these to trusted_issuers, written in the same way, if you trust it, or use"
        " from_issuer()",
    )


def well_known(api: str) -> str:
    """Return the URL of the metadata: the well-known part between host and path (section 3.1)."""
    parts = urlsplit(api)
    path = "" if parts.path == "/" else parts.path
    return urlunsplit(parts._replace(path=_WELL_KNOWN + path))


def _metadata(api: str, get: Get) -> dict[str, Any]:
    """Return the metadata document of an API."""
    found: list[str] = []
    for location in _locations(api, get):
        try:
            return read_json(get(location), "API")
        except NotHere as reason:
            found.append(f"{public_url(location)} {reason}")
        except InvalidTokenResponse:
            found.append(f"{public_url(location)} is too large or broken")
        except TokenEndpointUnavailable as error:
            if error.status_code in (None, HTTPStatus.TOO_MANY_REQUESTS):
                raise
            found.append(f"{public_url(location)} answers with status {error.status_code}")
    raise _error(api, f"publishes no metadata: {'; '.join(found)}", "use from_issuer()")


def _locations(api: str, get: Get) -> Iterable[str]:
    """Yield the places of the metadata, the next one if there is nothing at the last one."""
    yield well_known(api)
    challenge = get(api).headers.get("WWW-Authenticate")
    location = find_parameter(challenge, "resource_metadata")
    if location is None:
        return
    origin, home = origin_of(location), origin_of(api)
    # Otherwise an API could let us send requests to services on this machine.
    if origin is None or not is_secure(origin) or (home and home.scheme != origin.scheme):
        raise _error(
            api,
            f"names a place of its metadata that cannot be used, {public_url(location)}",
            "use from_issuer()",
        )
    yield location


def _error(api: str, fault: str, advice: str) -> DiscoveryError:
    return DiscoveryError(f"The API {public_url(api)} {fault}. To correct it: {advice}.")
