"""From an API to its authorization server: the metadata of the API (RFC 9728).

Rule of this module: an API only proposes authorization servers. The client's secret goes to none
that the caller does not trust. An API says nothing about another one.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from urllib.parse import urljoin, urlsplit, urlunsplit

from ..challenge import find_parameter
from ..errors import ConfigurationError, DiscoveryError
from ..urls import (
    is_loopback,
    is_secure,
    may_be_this_machine,
    origin_of,
    public_url,
    read_configured,
)
from .discovery import (
    Discovery,
    Get,
    Metadata,
    discover,
    first_document,
    printable,
    raise_if_unavailable,
)
from .issuer import IssuerOfAPI

_WELL_KNOWN = "/.well-known/oauth-protected-resource"


class APIDiscovery(Discovery):
    """The metadata of the issuer that an API names, renewed when it is an hour old."""

    issuer: IssuerOfAPI

    def _fetch(self, get: Get, get_public: Get) -> Metadata:
        return discover(find_issuer(self.issuer, self.issuer.trusted, get=get_public), get=get)


def find_issuer(api: str, trusted: tuple[str, ...], *, get: Get) -> str:
    """Return the first trusted issuer that an API names (RFC 9728 sections 3 and 5).

    The metadata is at the well-known location of the API. If not, the challenge of a 401 says where
    it is, or it is at the root of the host. Raises DiscoveryError, or TokenEndpointUnavailable if
    the API is unavailable.
    """
    document, faults = first_document(_places(api, get), "API", get=get)
    if document is None:
        advice = "write the URL exactly as the API publishes it (also a slash at its end), or "
        raise _error(api, f"publishes no metadata: {faults}", advice)
    named, offered = document.get("resource"), document.get("authorization_servers")
    if not isinstance(named, str):
        raise _error(api, "publishes metadata that names no resource")
    if named != api:
        # A query may contain a key.
        shown = printable(public_url(named) if "?" in api else named)
        shown += " (without its query)" if "?" in api else ""
        fault = f"publishes metadata of another API, {shown}"
        raise _error(api, fault, "pass that URL exactly if it is the one you mean, or ")
    listed = offered if isinstance(offered, list) else []
    servers = [each for each in listed if isinstance(each, str)]
    for issuer in servers:
        if issuer in trusted:
            return issuer
    if not servers:
        raise _error(api, "names no authorization server")
    names = ", ".join(map(printable, servers[:10]))
    fault = f"names no authorization server that is trusted (it names: {names})"
    advice = "add one of these to trusted_issuers, written in the same way, if you trust it, or "
    raise _error(api, fault, advice)


def well_known(api: str) -> str:
    """Return the URL of the metadata: the well-known part between host and path (section 3.1)."""
    parts = urlsplit(api)
    path = "" if parts.path == "/" else parts.path
    return urlunsplit(parts._replace(path=_WELL_KNOWN + path))


def _places(api: str, get: Get) -> Iterable[str]:
    """Yield the places of the metadata, the next one if there is nothing at the last one.

    The root is not in the RFC. Some servers have the metadata of their only API there.
    """
    yield well_known(api)
    response = get(api)
    place = find_parameter(response.headers.get("WWW-Authenticate"), "resource_metadata")
    if place is None:
        raise_if_unavailable(response, "API")
    else:
        _check_place(place, api)
        yield place
    root = urljoin(api, _WELL_KNOWN)
    if root != well_known(api):
        yield root


def _check_place(place: str, api: str) -> None:
    """Raise DiscoveryError for a URL that must not be asked.

    An API elsewhere must not let us send requests to services on this machine.
    """
    home, is_usable = origin_of(api), False
    with suppress(ConfigurationError):  # no request can be sent to it
        origin, _ = read_configured(place, "resource_metadata", _WELL_KNOWN)
        is_at_home = home is not None and is_loopback(home)
        is_usable = is_secure(origin) and (is_at_home or not may_be_this_machine(origin))
    if not is_usable:
        shown = printable(public_url(place))
        raise _error(api, f"names a place of its metadata that cannot be used, {shown}")


def _error(api: str, fault: str, advice: str = "") -> DiscoveryError:
    return DiscoveryError(
        f"The API {public_url(api)} {fault}. To correct it: {advice}use from_issuer() with"
        " resource= and api_url=."
    )
