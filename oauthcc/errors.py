"""The errors that this library raises.

::

    OAuthCCError(requests.RequestException)
    ├ ConfigurationError (also ValueError)          the configuration cannot work
    ├ InsecureURLError (also InvalidURL)            a token would be sent over plain http
    ├ DiscoveryError                                the issuer's metadata cannot be used
    └ TokenError                                    there is no usable token
      ├ TokenRequestDenied                          refused by the server (RFC 6749 section 5.2)
      ├ InvalidTokenResponse                        a 2xx or 3xx answer without a token
      └ TokenEndpointUnavailable                    429, 5xx or no answer: try again later
        ├ TokenEndpointUnreachable (also requests.ConnectionError)
        └ TokenEndpointTimeout (also requests.Timeout)

Every error is a ``requests.RequestException``, so an ``except requests.RequestException`` in
existing code catches it. This module imports nothing else of the library.
"""

from __future__ import annotations

import math
from types import MemberDescriptorType
from typing import Any, TypeVar

import requests
from requests.exceptions import InvalidURL

E = TypeVar("E", bound=Exception)


class OAuthCCError(requests.RequestException):
    """The base class of every error that this library raises.

    ``retry_after`` is the number of seconds until the next token request is allowed, if the error
    is remembered from an earlier one.
    """

    # Defaults of the class, because a class derived from ours may not call our `__init__`.
    response: requests.Response | None = None
    request: Any = None
    retry_after: float | None = None


class ConfigurationError(OAuthCCError, ValueError):
    """A configuration that cannot work. The message says what to write instead."""


class InsecureURLError(OAuthCCError, InvalidURL):
    """A token that would be sent over plain http to another machine (RFC 6750 section 5.3)."""


class DiscoveryError(OAuthCCError):
    """An issuer whose metadata cannot be used (RFC 8414 section 3)."""


class TokenError(OAuthCCError):
    """No usable token could be obtained.

    ``response`` is the answer of the token endpoint, if there was one. Its ``request`` has neither
    a body nor an ``Authorization`` header. ``status_code`` is the HTTP status of the answer.
    ``error``, ``error_description`` and ``error_uri`` are members of the answer (RFC 6749 section
    5.2), reduced to the characters that the RFC allows. ``retry_after`` is the number of seconds
    that the server asked the client to wait. If the error is remembered from an earlier token
    request, ``retry_after`` is the number of seconds until the next one is allowed.
    """

    status_code: int | None = None
    error: str | None = None
    error_description: str | None = None
    error_uri: str | None = None

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
    """The token endpoint is unavailable: 429, 5xx, a 403 without an OAuth error, or no answer."""


class TokenEndpointUnreachable(TokenEndpointUnavailable, requests.ConnectionError):
    """No connection to the token endpoint could be made, or the connection broke."""


class TokenEndpointTimeout(TokenEndpointUnavailable, requests.Timeout):
    """The token did not arrive within the allowed time."""


#: Errors that only a change of configuration can fix. All others are temporary.
PERMANENT_ERRORS = (TokenRequestDenied, ConfigurationError, DiscoveryError)


def copy_error(error: E) -> E:
    """Return a copy of an error for one more caller to raise.

    If many threads raised the same instance, its traceback would grow without end. ``__init__`` is
    not called, because that of a user's class may need other arguments.
    """
    kind = builtin = type(error)
    while builtin.__module__ != "builtins":
        builtin = builtin.__base__  # type: ignore[assignment]  # an error has a built-in base
    copied = builtin.__new__(kind)
    vars(copied).update(vars(error))
    notes = vars(error).get("__notes__")
    if notes is not None:
        vars(copied)["__notes__"] = list(notes)  # `add_note` of one caller is not for the others
    # Not by assignment: an exception that is a frozen dataclass forbids that.
    for name in ("args", "__cause__", "__suppress_context__"):
        object.__setattr__(copied, name, getattr(error, name))
    for base in kind.__mro__:
        for member in vars(base).values():  # slots, and the file name of an OSError
            if isinstance(member, MemberDescriptorType):
                _copy_member(member, error, copied)
    return copied


def remembered(error: E, seconds: float) -> E:
    """Return a copy of an error that says that it is remembered, and for how many seconds."""
    copied = copy_error(error)
    if isinstance(error, OAuthCCError):
        vars(copied)["retry_after"] = max(0.0, seconds)
    match error.args:
        case [str(message)]:
            shown = max(1, math.ceil(seconds))
            said = (
                f"{message} (This error is remembered from the last attempt: no token request was"
                f" sent. The next one is allowed in {shown} s.)"
            )
            object.__setattr__(copied, "args", (said,))
    return copied


def retry_after_of(error: Exception) -> float | None:
    """Return the ``retry_after`` of an error, None if it is no number: a user may have set it."""
    try:
        value: Any = getattr(error, "retry_after", None)
        return float(value) if math.isfinite(value) else None
    except Exception:  # noqa: BLE001 - it may be a property that raises anything
        return None


def limits_requests(error: Exception) -> bool:
    """Return whether an error is a 429, which limits requests, and does not say until when.

    A time in the past says nothing either: the server's clock may be behind.
    """
    return getattr(error, "status_code", None) == 429 and not retry_after_of(error)


def text_of(error: BaseException) -> str:
    """Return the text of an error on one line, or its class if the error cannot tell it."""
    try:
        return " ".join(str(error).split()) or type(error).__name__
    except Exception:  # noqa: BLE001 - the `__str__` of a user's class may raise anything
        return type(error).__name__


def _copy_member(member: MemberDescriptorType, error: Exception, copied: Exception) -> None:
    try:
        value = member.__get__(error)
        # None in an OSError is the same as nothing, but would be shown if it is set.
        if value is not None or member.__objclass__ is not OSError:
            member.__set__(copied, value)
    except AttributeError:  # nothing is in that slot, or it is read-only
        return
