"""How a token is shown on a request: Bearer (RFC 6750) and DPoP (RFC 9449).

A scheme turns a token into headers and knows nothing of the session. What lives here does no I/O
beyond reading a proof key once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import requests

from ..access_token import Token
from ..redaction import SecretHeader
from .bearer import Bearer
from .dpop import DPoP

__all__ = ["Bearer", "DPoP", "Scheme", "SecretHeader"]


class Scheme(Protocol):
    """Say how a token is shown on a request, and what proves that it is ours.

    ``proves`` is False where ``Authorization`` is all there is, so that a warm request skips the
    rest. ``thumbprint`` is the RFC 7638 thumbprint of the proof key: tokens are bound to it, so it
    belongs into the cache key.
    """

    @property
    def name(self) -> str:
        """Return the name of the scheme as it stands in ``Authorization``."""
        raise NotImplementedError

    @property
    def proves(self) -> bool:
        """Say whether every request needs a proof of its own."""
        raise NotImplementedError

    @property
    def thumbprint(self) -> str | None:
        """Return the thumbprint of the proof key, or None where there is none."""
        raise NotImplementedError

    def accepts(self, token_type: str) -> bool:
        """Say whether a token of this type (RFC 6749 section 7.1) may be used."""
        raise NotImplementedError

    def authorization(self, token: Token) -> SecretHeader:
        """Return the value of ``Authorization`` for a token."""
        raise NotImplementedError

    def proof(self, method: str, url: str, token: Token | None) -> dict[str, SecretHeader]:
        """Return the further headers of one request, made anew for every attempt."""
        raise NotImplementedError

    def learn(self, url: str, headers: Mapping[str, str]) -> bool:
        """Remember the nonce that a server sent along; say whether it is a new one."""
        raise NotImplementedError

    def demands_nonce(self, response: requests.Response) -> bool:
        """Say whether a response asks for the same request with its nonce in the proof."""
        raise NotImplementedError
