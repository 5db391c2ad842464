"""The errors that this library raises.

::

    OAuthCCError(requests.RequestException)
    ├ ConfigurationError (also ValueError)          the configuration cannot work
    ├ InsecureURLError (also InvalidURL)            a token would travel over plain http
    ├ DiscoveryError                                the issuer's metadata cannot be used
    └ TokenError                                    there is no usable token
      ├ TokenRequestDenied                          refused by the server (RFC 6749 section 5.2)
      ├ InvalidTokenResponse                        a 2xx or 3xx answer without a token
      └ TokenEndpointUnavailable                    429 or 5xx: try again later
        ├ TokenEndpointUnreachable (also requests.ConnectionError)
        └ TokenEndpointTimeout (also requests.Timeout)

Every error is a ``requests.RequestException``, so an ``except requests.RequestException`` in
existing code catches it. This module imports nothing else of the library.
"""

from __future__ import annotations

import copy
from typing import TypeVar

import requests
from requests.exceptions import InvalidURL

E = TypeVar("E", bound=BaseException)


class OAuthCCError(requests.RequestException):
    """The base class of every error that this library raises."""


class ConfigurationError(OAuthCCError, ValueError):
    """A configuration that cannot work. The message says what to write instead."""


class InsecureURLError(OAuthCCError, InvalidURL):
    """A request that would send a token over plain http beyond loopback (RFC 6750 section 5.3)."""


class DiscoveryError(OAuthCCError):
    """An issuer whose metadata cannot be used (RFC 8414 section 3)."""


class TokenError(OAuthCCError):
    """No usable token could be obtained.

    ``response`` is the answer of the token endpoint, if there was one. Its ``request`` has neither
    a body nor an ``Authorization`` header. ``status_code`` is the HTTP status of the answer.
    ``error``, ``error_description`` and ``error_uri`` are what the server answered (RFC 6749
    section 5.2), reduced to the characters that the RFC allows. ``retry_after`` is the number of
    seconds that the server asked the client to wait.
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
    """The authorization server refused the token request (RFC 6749 section 5.2)."""


class InvalidTokenResponse(TokenError):
    """The answer of the token endpoint contains no usable token."""


class TokenEndpointUnavailable(TokenError):
    """The token endpoint is unavailable: it answered 429 or 5xx, or did not answer."""


class TokenEndpointUnreachable(TokenEndpointUnavailable, requests.ConnectionError):
    """No connection to the token endpoint could be made, or the connection broke."""


class TokenEndpointTimeout(TokenEndpointUnavailable, requests.Timeout):
    """The token did not arrive within the allowed time."""


#: Errors that only a change of configuration can fix. All others are temporary.
PERMANENT_ERRORS = (TokenRequestDenied, ConfigurationError, DiscoveryError)


def copy_error(error: E) -> E:
    """Return a copy of an error for one more caller to raise.

    If many threads raised the same instance, its traceback would grow without end.
    """
    copied = copy.copy(error)
    copied.__cause__ = error.__cause__
    copied.__suppress_context__ = error.__suppress_context__
    notes = vars(error).get("__notes__")
    if notes is not None:
        vars(copied)["__notes__"] = list(notes)  # `add_note` of one caller is not for the others
    return copied
