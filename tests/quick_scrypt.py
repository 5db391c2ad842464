"""A cheap stand-in for `hashlib.scrypt`, which takes 16 MiB and 50 ms for each cache key."""

from __future__ import annotations

import hashlib
from typing import Any

_scrypt = hashlib.scrypt


def quick_scrypt(password: bytes, *, n: int, **options: Any) -> bytes:
    """Return the scrypt of a password with the lowest cost in place of `n`.

    Different arguments still give different digests. `test_cache_key.py` checks the real cost.
    """
    return _scrypt(password, n=2, **options)
