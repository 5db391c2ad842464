"""The token alone (RFC 6750)."""

from __future__ import annotations

from collections.abc import Mapping

import requests

from ..access_token import Token
from ..redaction import SecretHeader


class Bearer:
    """Show the token as it is (RFC 6750 section 2.1)."""

    __slots__ = ()

    name = "Bearer"
    proves = False
    thumbprint: str | None = None

    def accepts(self, token_type: str) -> bool:
        """Accept ``Bearer`` in any case, and what servers say instead: nothing, BearerToken."""
        return token_type.lower() in ("", "bearer", "bearertoken")

    def authorization(self, token: Token) -> SecretHeader:
        """Return ``Bearer`` and the token; raise InvalidTokenResponse where it cannot be sent."""
        return SecretHeader(f"Bearer {token.access_token}")

    def proof(self, method: str, url: str, token: Token | None) -> dict[str, SecretHeader]:
        """Return nothing: whoever bears the token may use it."""
        return {}

    def learn(self, url: str, headers: Mapping[str, str]) -> bool:
        """Learn nothing: there is no nonce."""
        return False

    def demands_nonce(self, response: requests.Response) -> bool:
        """Say no: there is no nonce."""
        return False

    def __repr__(self) -> str:
        return "Bearer()"
