"""What a transport error becomes: one of ours that says what to set, and quotes no secret."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.exceptions import (
    ChunkedEncodingError,
    ContentDecodingError,
    InvalidHeader,
    InvalidSchema,
    InvalidURL,
    ProxyError,
    SSLError,
)
from urllib3.exceptions import HTTPError, ReadTimeoutError

from .errors import (
    ConfigurationError,
    InvalidTokenResponse,
    OAuthCCError,
    TokenEndpointTimeout,
    TokenEndpointUnreachable,
)
from .redaction import redact
from .urls import public_url

_TEXT_LIMIT = 500
_TIMEOUTS = (requests.Timeout, ReadTimeoutError, TimeoutError)
_BROKEN = (requests.ConnectionError, ChunkedEncodingError, HTTPError, ConnectionError)
#: Which transport error becomes which of ours, the special before the general, and what it says.
_TRANSLATIONS: tuple[tuple[Any, type[OAuthCCError], str], ...] = (
    (_TIMEOUTS, TokenEndpointTimeout, "{} did not answer in time"),
    (
        SSLError,
        TokenEndpointUnreachable,
        (
            "No trusted TLS connection to {}: set session.verify or session.tokens.endpoint.verify"
            " to your CA bundle"
        ),
    ),
    (
        ProxyError,
        TokenEndpointUnreachable,
        (
            "The proxy did not lead to {}: set session.proxies or session.tokens.endpoint.proxies,"
            " or NO_PROXY"
        ),
    ),
    (ContentDecodingError, InvalidTokenResponse, "{} answered with a badly compressed body"),
    (_BROKEN, TokenEndpointUnreachable, "No answer from {}"),
    (
        (InvalidURL, InvalidHeader, InvalidSchema),
        ConfigurationError,
        "The request to {} could not be made",
    ),
)


def as_ours(error: Exception, url: str, secrets: Sequence[str]) -> OAuthCCError:
    """Turn a transport error into one of ours that says what to set, and quotes no secret."""
    where = public_url(url)
    query = urlsplit(url).query  # where some servers want a key
    text = redact(str(error), (*secrets, f"?{query}" if query else None))
    text = "".join(c if c.isprintable() else "?" for c in text)
    text = f"{type(error).__name__}: {text[:_TEXT_LIMIT]}"
    for causes, kind, said in _TRANSLATIONS:
        if isinstance(error, causes) or (causes is _TIMEOUTS and _is_stalled(error)):
            return kind(f"{said.replace('{}', where)} ({text}).")
    if isinstance(error, requests.RequestException):
        return TokenEndpointUnreachable(f"The exchange with {where} failed ({text}).")
    # A file is missing, or a header cannot be encoded.
    return ConfigurationError(f"The request to {where} could not be made ({text}).")


def _is_stalled(error: Exception) -> bool:
    # requests calls a stalled body a broken one.
    return bool(error.args) and isinstance(error.args[0], _TIMEOUTS)
