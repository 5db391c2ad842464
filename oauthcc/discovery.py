"""From an issuer to its metadata: RFC 8414, and OpenID Connect Discovery 1.0.

What an issuer publishes decides where the client's secret is sent. So it counts only where it comes
from the issuer's own host, without a redirect, and names exactly the issuer that was asked for.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import requests

from .answer import NOT_JSON, Answer
from .errors import (
    ConfigurationError,
    DiscoveryError,
    InvalidTokenResponse,
    TokenEndpointUnavailable,
)
from .metadata import ELSE, Metadata, read_metadata, refusal
from .renewal import Instant
from .urls import check_token_url, public_url

#: Sends one bounded GET without redirects; raises `TokenEndpointUnavailable` where nothing came.
Get = Callable[[str], requests.Response]

#: Seconds for which metadata is used before it is asked for again.
MAX_AGE = 3600.0
#: Seconds between two attempts to renew metadata while its issuer is unwell.
PAUSE = 60.0

_log = logging.getLogger("oauthcc")
_OAUTH, _OPENID = "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"


class _NotHere(Exception):
    """Say what is found at one of the two places that is no metadata."""


def check_issuer(issuer: str) -> str:
    """Give the issuer back unchanged if it can be one (RFC 8414 section 2).

    That is https (http for loopback alone), without query and fragment. ConfigurationError says
    what to write instead.
    """
    check_token_url(issuer, "issuer")
    if "?" in issuer:
        advice = "leave out the ? and everything after it"
        raise ConfigurationError(f"issuer has a query: {advice}. Given: {public_url(issuer)}")
    for part in (_OAUTH, _OPENID):
        if part in issuer:
            advice = f"write the issuer itself, without {part}"
            raise ConfigurationError(f"issuer is where its metadata is: {advice}. Given: {issuer}")
    return issuer


def locations(issuer: str) -> tuple[str, str]:
    """Return where the metadata may be: RFC 8414 section 3.1 first, then OpenID Connect.

    The one has the well-known part between host and path, the other after the path.
    """
    parts = urlsplit(issuer)
    root, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    return f"{root}{_OAUTH}{path}", f"{root}{path}{_OPENID}"


def discover(issuer: str, *, get: Get) -> Metadata:
    """Ask an issuer for its metadata.

    ``get`` sends one GET and follows no redirect. What is not a JSON object (a 404, the 400, 401 or
    403 of a gateway, a redirect, a web page) means that the metadata is not at this place.

    Raises ConfigurationError for what cannot be an issuer, DiscoveryError where there is no
    metadata or it cannot be used, and TokenEndpointUnavailable (or one of its kind) where the
    issuer is unwell and may be asked again.
    """
    found: list[str] = []
    outage: TokenEndpointUnavailable | None = None
    for location in locations(check_issuer(issuer)):
        try:
            return read_metadata(_document(get(location)), issuer)
        except _NotHere as reason:
            found.append(f"{public_url(location)} {reason}")
        except InvalidTokenResponse:
            found.append(f"{public_url(location)} is too large or broken")
        except TokenEndpointUnavailable as error:
            if error.status_code in (None, HTTPStatus.TOO_MANY_REQUESTS):
                raise
            # Some answer 500 to a question they do not know, and have the other document.
            outage = outage or error
    fault = f"publishes no metadata: {'; '.join(found)}"
    raise outage or refusal(issuer, fault, f"check the issuer, {ELSE}")


def _document(response: requests.Response) -> dict[str, Any]:
    """Return the JSON object in an answer."""
    status, answer = response.status_code, Answer.of(response, ())
    if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        message = f"The issuer answered {status} when asked for its metadata; try again later."
        raise answer.error(TokenEndpointUnavailable, message)
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        raise _NotHere(f"redirects ({status}), which is not followed")
    if status != HTTPStatus.OK:
        raise _NotHere(f"answers with status {status}")
    if not isinstance(answer.value, dict):
        raise _NotHere("is not JSON" if answer.value is NOT_JSON else "holds no JSON object")
    return answer.value


class Discovered:
    """Keep what an issuer published, and ask again when it is an hour old.

    What was good stays in use while the issuer is unwell or publishes what cannot be used: the
    token endpoint may be well. Several threads at once may ask one question too many, no worse. A
    pickle holds the issuer alone.
    """

    def __init__(self, issuer: str) -> None:
        """Take an issuer; raise ConfigurationError where it cannot be one."""
        self.issuer: str = check_issuer(issuer)
        self._held: Metadata | None = None
        self._until = -math.inf

    def metadata(self, get: Get, now: Instant) -> Metadata:
        """Return the metadata, asked for where there is none or it is old; raise as `discover`."""
        held = self._held
        if held is not None and now.monotonic < self._until:
            return held
        try:
            fresh = discover(self.issuer, get=get)
        except (DiscoveryError, TokenEndpointUnavailable) as error:
            if held is None:
                raise
            self._until = now.monotonic + PAUSE
            _log.warning("The metadata could not be renewed, the earlier one is used. %s", error)
            return held
        self._held, self._until = fresh, now.monotonic + MAX_AGE
        return fresh

    def forget(self) -> None:
        """Have the metadata renewed at the next call: the token endpoint may have moved."""
        self._until = -math.inf

    def __reduce__(self) -> tuple[type[Discovered], tuple[str]]:
        return Discovered, (self.issuer,)

    def __repr__(self) -> str:
        return f"Discovered({public_url(self.issuer)!r})"
