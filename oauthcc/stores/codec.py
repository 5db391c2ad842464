"""Tokens as bytes and back, for stores outside of the process.

What others can write may hold anything: whatever is not a token in our format is no token.
"""

from __future__ import annotations

import base64
import json
import re
from typing import Any, Protocol

from ..access_token import Token

#: Raised when what is written can no longer be read by those who read the former.
FORMAT = 1
#: More than any token needs; a longer content is somebody else's.
MOST_BYTES = 1 << 20
#: RFC 6749 appendix A.12: 1*VSCHAR. Anything else would not get through a header in one piece.
_FIT = re.compile("[\x20-\x7e]+")


class Cipher(Protocol):
    """Encrypt what a store holds; ``cryptography.fernet.Fernet`` is one."""

    def encrypt(self, data: bytes, /) -> bytes:
        """Return the data in a form that tells strangers nothing."""
        raise NotImplementedError

    def decrypt(self, data: bytes, /) -> bytes:
        """Return the data again, and raise any exception where it is not what `encrypt` gave."""
        raise NotImplementedError


def encode(token: Token, cipher: Cipher | None) -> bytes:
    """Return the token as ASCII, with the number of the format."""
    text = json.dumps({"format": FORMAT, "token": token.to_dict()}).encode("ascii")
    # Base64, because a Redis client may be set to decode whatever it reads.
    return text if cipher is None else base64.b64encode(cipher.encrypt(text))


def decode(data: bytes | str, cipher: Cipher | None) -> Token | None:
    """Return the token, or None for anything that `encode` with this cipher did not give.

    Damaged, foreign, encrypted otherwise and written by a later version: all of it counts as
    absent and may be overwritten. A token lost costs one token request.
    """
    if len(data) > MOST_BYTES:
        return None
    try:
        content: Any = json.loads(data if cipher is None else _deciphered(data, cipher))
    # RecursionError: nesting without end. A number of too many digits is a ValueError.
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        return None
    try:
        token = Token.from_dict(content.get("token", {}))
    except ValueError:
        return None
    return token if _FIT.fullmatch(token.access_token) else None


def _deciphered(data: bytes | str, cipher: Cipher) -> bytes:
    try:
        return cipher.decrypt(base64.b64decode(data, validate=True))
    except Exception:  # noqa: BLE001 - a cipher may raise what it likes, and is told so
        raise ValueError("not encrypted by this cipher") from None
