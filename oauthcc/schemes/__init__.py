"""The authentication schemes of API requests: Bearer (RFC 6750) and DPoP (RFC 9449).

A scheme turns a token into headers and knows nothing of the session. It does no I/O, except to read
a DPoP key once.
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
    """A way to put a token on a request, with or without a proof of a key.

    ``proves`` is False if ``header`` is the only header: such requests skip everything about proofs
    and nonces. ``thumbprint`` is the RFC 7638 thumbprint of the proof key. Tokens are
    bound to that key, so the thumbprint is part of the cache key.
    """

    @property
    def name(self) -> str:
        """Return the name of the scheme, which is the type of its tokens."""
        raise NotImplementedError

    @property
    def header(self) -> str:
        """Return the name of the header that carries the token, ``Authorization`` by default."""
        return "Authorization"

    @property
    def proves(self) -> bool:
        """Return whether every request needs its own proof."""
        raise NotImplementedError

    @property
    def thumbprint(self) -> str | None:
        """Return the thumbprint of the proof key, or None if there is no key."""
        raise NotImplementedError

    def accepts(self, token_type: str) -> bool:
        """Return whether a token of this type (RFC 6749 section 7.1) may be used."""
        raise NotImplementedError

    def authorization(self, token: Token) -> SecretHeader:
        """Return the value of ``header`` for a token."""
        raise NotImplementedError

    def proof(self, method: str, url: str, token: Token | None) -> dict[str, SecretHeader]:
        """Return the additional headers of one request. Called again for every attempt."""
        raise NotImplementedError

    def learn(self, url: str, headers: Mapping[str, str]) -> bool:
        """Store the nonce in the headers of a response; return whether it is a new one."""
        raise NotImplementedError

    def demands_nonce(self, response: requests.Response) -> bool:
        """Return whether the response asks for the same request with its nonce in the proof."""
        raise NotImplementedError
