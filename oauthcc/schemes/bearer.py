"""The scheme that sends the token alone (RFC 6750)."""

from __future__ import annotations

import re
from collections.abc import Mapping

import requests

from ..access_token import Token
from ..errors import ConfigurationError
from ..redaction import SecretHeader

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")  # RFC 9110 section 5.6.2
_PREFIX = re.compile(r"[\x21-\x7e]+(?: [\x21-\x7e]+)*")
#: Headers that say something else, or that requests and proxies write.
_OTHERS = {
    *("accept", "accept-encoding", "connection", "content-encoding", "content-length"),
    *("content-type", "cookie", "dpop", "expect", "host", "keep-alive", "proxy-authorization"),
    *("proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "user-agent"),
}


class Bearer:
    """The token alone in a header (RFC 6750 section 2.1).

    ``prefix`` is the word before the token, ``Bearer`` by default, and ``""`` for none. ``header``
    is the name of the header, ``Authorization`` by default. In another header, the token is sent
    beside an ``Authorization`` of the caller. Raises ConfigurationError if ``prefix`` or ``header``
    cannot be used.
    """

    name = "Bearer"
    proves = False
    thumbprint: str | None = None
    # A subclass may have an __init__ of its own.
    prefix: str = "Bearer"
    header: str = "Authorization"

    def __init__(self, prefix: str = "Bearer", *, header: str = "Authorization") -> None:
        if not isinstance(prefix, str) or (prefix and not _PREFIX.fullmatch(prefix)):
            raise ConfigurationError(
                "The prefix of Bearer must be printable ASCII without spaces around it, such as"
                ' "Bearer", or "" for the token alone.'
            )
        if not isinstance(header, str) or not _HEADER_NAME.fullmatch(header):
            raise ConfigurationError(
                "The header of Bearer must be the name of a header, such as X-Access-Token."
            )
        if header.lower() in _OTHERS:
            raise ConfigurationError(f"The header {header} cannot carry a token: choose another.")
        self.prefix, self.header = prefix, header

    def accepts(self, token_type: str) -> bool:
        """Return whether the type is ``Bearer``, ``BearerToken``, the prefix, or empty."""
        return token_type.lower() in ("", "bearer", "bearertoken", self.prefix.lower())

    def authorization(self, token: Token) -> SecretHeader:
        """Return the prefix and the token."""
        return SecretHeader(f"{self.prefix} {token.access_token}".lstrip(" "))

    def proof(self, method: str, url: str, token: Token | None) -> dict[str, SecretHeader]:
        """Return no headers: a bearer token needs no proof."""
        return {}

    def learn(self, url: str, headers: Mapping[str, str]) -> bool:
        """Return False: there are no nonces."""
        return False

    def demands_nonce(self, response: requests.Response) -> bool:
        """Return False: there are no nonces."""
        return False

    def __repr__(self) -> str:
        given = (self.prefix, self.header)
        if given == ("Bearer", "Authorization"):
            return "Bearer()"
        return f"Bearer(prefix={self.prefix!r}, header={self.header!r})"
