"""The scheme that sends the token alone (RFC 6750)."""

from __future__ import annotations

from collections.abc import Mapping

import requests

from ..access_token import Token
from ..redaction import SecretHeader


class Bearer:
    """The token alone in ``Authorization`` (RFC 6750 section 2.1)."""

    __slots__ = ()

    name = "Bearer"
    proves = False
    thumbprint: str | None = None

    def accepts(self, token_type: str) -> bool:
        """Return whether the type is ``Bearer`` in any case, ``BearerToken`` or empty."""
        return token_type.lower() in ("", "bearer", "bearertoken")

    def authorization(self, token: Token) -> SecretHeader:
        """Return ``Bearer`` and the token."""
        return SecretHeader(f"Bearer {token.access_token}")

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
        return "Bearer()"
