"""The claims of a token that is a JWT (RFC 7519, RFC 9068), read without verifying them."""

from __future__ import annotations

import base64
import json
from typing import Any


def claims_of(access_token: str) -> dict[str, Any] | None:
    """Return the claims of a token, None if it is no JWT, or an encrypted one."""
    parts = access_token.split(".")
    if len(parts) != 3:
        return None
    header, claims = map(_json_object, parts[:2])
    return None if header is None or "alg" not in header else claims


def _json_object(part: str) -> dict[str, Any] | None:
    try:
        padded = part + "=" * (-len(part) % 4)
        value = json.loads(base64.b64decode(padded, altchars="-_", validate=True))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
