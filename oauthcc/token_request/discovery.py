"""From an issuer to its token endpoint: RFC 8414, and OpenID Connect Discovery 1.0.

Rule of this module: the metadata of an issuer decides where the client's secret is sent. So it
counts only if it comes from the issuer's own host, without a redirect, and names exactly the issuer
that was asked.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any, NoReturn
from urllib.parse import urlsplit

import requests

from ..clock import Instant
from ..errors import (
    ConfigurationError,
    DiscoveryError,
    InvalidTokenResponse,
    TokenEndpointUnavailable,
)
from ..events import log
from ..urls import check_token_url, origin_of, public_url
from ..values import frozen
from .issuer import OAUTH, OPENID, check_issuer
from .response import NOT_JSON, Answer

#: Sends one bounded GET without redirects; raises `TokenEndpointUnavailable` if there is no answer.
Get = Callable[[str], requests.Response]

#: Seconds for which metadata is used before the issuer is asked again.
MAX_AGE = 3600.0
#: Seconds between two attempts to renew metadata while the issuer is unavailable.
PAUSE = 60.0

#: The end of the path of most token endpoints.
_TOKEN_PATH = re.compile(r"token(?:\.[a-z]+)?/?\Z", re.IGNORECASE)
_ENTRA_V1 = "https://sts.windows.net/"
_ALTERNATIVE = "pass token_url instead of issuer, or ask the operator of the authorization server"


@frozen
class Metadata:
    """The metadata about the token endpoint of an issuer (RFC 8414 section 2).

    ``mtls_token_endpoint`` is the one of ``mtls_endpoint_aliases`` (RFC 8705 section 5). None means
    that the member is missing.
    """

    issuer: str
    token_endpoint: str
    token_endpoint_auth_methods: tuple[str, ...] | None = None
    mtls_token_endpoint: str | None = None
    grant_types: tuple[str, ...] | None = None


class Discovery:
    """The metadata of one issuer, renewed when it is an hour old.

    Metadata that was good stays in use while the issuer is unavailable or publishes unusable
    metadata, because the token endpoint may be available. If several threads ask at the same time,
    the issuer may get one request too many. A pickle contains the issuer only.
    """

    def __init__(self, issuer: str) -> None:
        self.issuer: str = issuer
        self._metadata: Metadata | None = None
        self._until = -math.inf

    @property
    def is_known(self) -> bool:
        """Return whether there is metadata, old or new."""
        return self._metadata is not None

    def metadata(self, get: Get, now: Instant, get_public: Get | None = None) -> Metadata:
        """Return the metadata, fetched if there is none or it is old; raise as `discover`.

        ``get_public`` sends requests to other servers than the issuer, without what was set for it.
        """
        known = self._metadata
        if known is not None and now.monotonic < self._until:
            return known
        try:
            fetched = self._fetch(get, get_public or get)
        except (DiscoveryError, TokenEndpointUnavailable) as error:
            if known is None:
                raise
            self._until = now.monotonic + PAUSE
            log.warning(
                "The issuer's metadata could not be renewed; the previous metadata is used. %s",
                error,
            )
            return known
        self._metadata, self._until = fetched, now.monotonic + MAX_AGE
        return fetched

    def _fetch(self, get: Get, get_public: Get) -> Metadata:
        return discover(self.issuer, get=get)

    def forget(self) -> None:
        """Renew the metadata at the next call."""
        self._until = -math.inf

    def __reduce__(self) -> tuple[type[Discovery], tuple[str]]:
        return type(self), (self.issuer,)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({public_url(self.issuer)!r})"


class NotHere(Exception):
    """A location that has no metadata; the message says what was found instead."""


def locations(issuer: str) -> tuple[str, str]:
    """Return the two URLs of the metadata: RFC 8414 section 3.1 first, then OpenID Connect.

    The first has the well-known part between host and path, the second after the path.
    """
    parts = urlsplit(issuer)
    root, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    return f"{root}{OAUTH}{path}", f"{root}{path}{OPENID}"


def discover(issuer: str, *, get: Get) -> Metadata:
    """Fetch the metadata of an issuer.

    ``get`` sends one GET and follows no redirect. If the answer is not a JSON object (a 404, the
    400, 401 or 403 of a gateway, a redirect, a web page), the metadata is not at that location.

    Raises ConfigurationError if ``issuer`` cannot be one, DiscoveryError if there is no usable
    metadata, and TokenEndpointUnavailable or one of its subclasses if the issuer is unavailable.
    """
    places = locations(check_issuer(issuer))
    # Some servers append the well-known part of RFC 8414 too. Without a path it is the same place.
    appended = issuer.rstrip("/") + OAUTH
    document, faults = first_document([*dict.fromkeys([*places, appended])], "issuer", get=get)
    if document is not None:
        return read_metadata(document, issuer)
    advice = f"check the issuer, {_ALTERNATIVE}"
    if _TOKEN_PATH.search(urlsplit(issuer).path):
        advice = "it looks like a token endpoint, which is passed as token_url, not as issuer"
    raise _error(issuer, f"publishes no metadata: {faults}", advice)


def first_document(
    places: Iterable[str], whose: str, *, get: Get
) -> tuple[dict[str, Any] | None, str]:
    """Return the first JSON object at these places, and else what was found instead of one.

    Raises TokenEndpointUnavailable if one of the places was unavailable.
    """
    found: list[str] = []
    outage: TokenEndpointUnavailable | None = None
    for place in places:
        try:
            return read_json(get(place), whose), ""
        except NotHere as reason:
            found.append(f"{public_url(place)} {reason}")
        except InvalidTokenResponse:
            found.append(f"{public_url(place)} is too large or broken")
        except TokenEndpointUnavailable as error:
            if error.status_code in (None, HTTPStatus.TOO_MANY_REQUESTS):
                raise
            # Some servers answer 500 for a path that they do not know, and have another one.
            outage = outage or error
    if outage is not None:
        raise outage
    return None, "; ".join(found)


def read_json(response: requests.Response, whose: str) -> dict[str, Any]:
    """Return the JSON object in an answer; raise `NotHere` if there is none."""
    raise_if_unavailable(response, whose)
    status, answer = response.status_code, Answer(response, ())
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        raise NotHere(f"redirects ({status}), which is not followed")
    if status != HTTPStatus.OK:
        raise NotHere(f"answers with status {status}")
    if not isinstance(answer.value, dict):
        raise NotHere("is not JSON" if answer.value is NOT_JSON else "contains no JSON object")
    return answer.value


def raise_if_unavailable(response: requests.Response, whose: str) -> None:
    """Raise TokenEndpointUnavailable for a status that means "later"."""
    status = response.status_code
    if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        message = f"The {whose} answered {status} to the request for its metadata; try again later."
        raise Answer(response, ()).error(TokenEndpointUnavailable, message)


def read_metadata(document: Mapping[str, Any], issuer: str) -> Metadata:
    """Return the metadata in a document; raise DiscoveryError if it is not as the RFC requires."""
    named = document.get("issuer")
    if not isinstance(named, str):
        _refuse(issuer, "publishes metadata that names no issuer")
    if named != issuer:
        fault = f"publishes metadata of another issuer, {printable(named)}"
        _refuse(issuer, fault, _advice_for(named, issuer))
    aliases = document.get("mtls_endpoint_aliases")
    if aliases is not None and not isinstance(aliases, dict):
        _refuse(issuer, "publishes mtls_endpoint_aliases that are not a JSON object")
    alias = (aliases or {}).get("token_endpoint")
    return Metadata(
        issuer,
        _endpoint(document.get("token_endpoint"), "token_endpoint", issuer),
        _names(document, "token_endpoint_auth_methods_supported", issuer),
        None if alias is None else _endpoint(alias, "mtls_endpoint_aliases.token_endpoint", issuer),
        _names(document, "grant_types_supported", issuer),
    )


def _advice_for(named: str, issuer: str) -> str:
    """Return what to write if metadata names another issuer than the one that was asked."""
    if named.rstrip("/") == issuer.rstrip("/"):
        slash = "with" if named.endswith("/") else "without"
        return f"write that one exactly, {slash} the slash at its end"
    if "{tenantid}" in named:  # Microsoft Entra ID, for /common and /organizations
        return (
            "this one is for users of any tenant. Write the id of your tenant in its place, as in"
            " https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/v2.0"
        )
    if named.startswith(_ENTRA_V1):
        return f"write /v2.0 at the end of the issuer, or that one exactly, or {_ALTERNATIVE}"
    return f"write that one exactly if it is the one you mean, or {_ALTERNATIVE}"


def _endpoint(url: object, member: str, issuer: str) -> str:
    if not isinstance(url, str):
        _refuse(issuer, f"publishes metadata without a usable {member}")
    try:
        check_token_url(url, member)
    except ConfigurationError as error:
        _refuse(issuer, f"publishes a {member} that cannot be used. {error}")
    origin, home = origin_of(url), origin_of(issuer)
    # Otherwise an issuer could send the secret to a service on this machine.
    if origin and home and origin.scheme == "http" and home.scheme == "https":
        _refuse(issuer, f"publishes a {member} without https, {public_url(url)}")
    return url


def _names(document: Mapping[str, Any], member: str, issuer: str) -> tuple[str, ...] | None:
    values = document.get(member)
    if values is None:
        return None
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        _refuse(issuer, f"publishes {member} that is not a list of names")
    return tuple(values)


def method_warning(metadata: Metadata, method_name: str) -> str | None:
    """Return a warning if the server does not list the client authentication that will be used.

    The configured method is used nevertheless: lists of servers are often wrong.
    """
    listed = metadata.token_endpoint_auth_methods
    # RFC 8414 section 2: a missing member means client_secret_basic.
    if method_name in (listed if listed is not None else ("client_secret_basic",)):
        return None
    shown = ", ".join(map(printable, listed[:10])) if listed else "nothing, which means Basic"
    return (
        f"The issuer {public_url(metadata.issuer)} does not list {method_name} among its"
        f" token_endpoint_auth_methods_supported ({shown}); {method_name} is used as configured."
    )


def grant_type_warning(metadata: Metadata, grant_type: str) -> str | None:
    """Return a warning if the server lists its grant types without the one that will be used."""
    if metadata.grant_types is None or grant_type in metadata.grant_types:
        return None
    return (
        f"The issuer {public_url(metadata.issuer)} does not list {grant_type} among its"
        " grant_types_supported; a token is requested nevertheless."
    )


def printable(text: str) -> str:
    """Return the beginning of a server's text, without what a terminal or log would interpret."""
    visible = "".join(character if character.isprintable() else "?" for character in text[:200])
    return repr(visible)


def _refuse(issuer: str, fault: str, advice: str = _ALTERNATIVE) -> NoReturn:
    raise _error(issuer, fault, advice) from None


def _error(issuer: str, fault: str, advice: str) -> DiscoveryError:
    """Return the error that says what is wrong with an issuer and how to correct it."""
    return DiscoveryError(f"The issuer {public_url(issuer)} {fault}. To correct it: {advice}.")
