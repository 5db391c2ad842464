"""What can go wrong, drawn as a tree.

::

    OAuthCCError(requests.RequestException)
    ├ ConfigurationError (also ValueError)          what was configured cannot work
    ├ InsecureURLError (also InvalidURL)            a token was about to travel in the clear
    ├ DiscoveryError                                the issuer's metadata cannot be used
    └ TokenError                                    no usable token
      ├ TokenRequestDenied                          the server said no (RFC 6749 section 5.2)
      ├ InvalidTokenResponse                        a 2xx or 3xx answer that holds no token
      └ TokenEndpointUnavailable                    429 or 5xx: later, perhaps
        ├ TokenEndpointUnreachable (also requests.ConnectionError)
        └ TokenEndpointTimeout (also requests.Timeout)

All of them are ``requests.RequestException``, so an ``except requests.RequestException`` that
stands around old code catches them too. What lives here must not import anything of ours.
"""

from __future__ import annotations

import copy
from typing import TypeVar

import requests
from requests.exceptions import InvalidURL

E = TypeVar("E", bound=BaseException)


class OAuthCCError(requests.RequestException):
    """Be the root of every error that this library raises."""


class ConfigurationError(OAuthCCError, ValueError):
    """Say that what was configured cannot work, and what to write instead."""


class InsecureURLError(OAuthCCError, InvalidURL):
    """Say that a token was about to go over plain http beyond loopback (RFC 6750 section 5.3)."""


class DiscoveryError(OAuthCCError):
    """Say that the metadata of an issuer cannot be used (RFC 8414 section 3)."""


class TokenError(OAuthCCError):
    """Say that no usable token could be had.

    ``response`` is the token endpoint's answer where there was one (its ``request`` holds neither
    body nor ``Authorization``), ``status_code`` its HTTP status. ``error``, ``error_description``
    and ``error_uri`` are what the server said (RFC 6749 section 5.2), filtered to the characters
    that the RFC allows. ``retry_after`` is the number of seconds the server asked us to wait.
    """

    def __init__(
        self,
        message: str = "",
        *,
        response: requests.Response | None = None,
        status_code: int | None = None,
        error: str | None = None,
        error_description: str | None = None,
        error_uri: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, response=response)
        if status_code is None and response is not None:
            status_code = response.status_code
        self.status_code = status_code
        self.error = error
        self.error_description = error_description
        self.error_uri = error_uri
        self.retry_after = retry_after


class TokenRequestDenied(TokenError):
    """Say that the authorization server refused (RFC 6749 section 5.2)."""


class InvalidTokenResponse(TokenError):
    """Say that the token endpoint answered with something that is no token."""


class TokenEndpointUnavailable(TokenError):
    """Say that the token endpoint is unwell: 429, 5xx, or no answer at all."""


class TokenEndpointUnreachable(TokenEndpointUnavailable, requests.ConnectionError):
    """Say that no connection to the token endpoint came about, or that it broke."""


class TokenEndpointTimeout(TokenEndpointUnavailable, requests.Timeout):
    """Say that the token did not arrive within the time allowed."""


#: What stays as it is until a human mends it; anything else passes.
MENDED_BY_HUMANS = (TokenRequestDenied, ConfigurationError, DiscoveryError)


def own_copy(error: E) -> E:
    """Return a copy of an error for one more caller to raise.

    One instance raised by many threads would grow its traceback without end.
    """
    twin = copy.copy(error)
    twin.__cause__ = error.__cause__
    twin.__suppress_context__ = error.__suppress_context__
    return twin
