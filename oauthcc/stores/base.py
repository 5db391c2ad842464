"""The token store protocol, and what the stores of this package have in common."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import time
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from ..access_token import Token
from ..clock import SKEW
from ..values import replace

S = TypeVar("S", bound="BaseStore")

#: Increased when older versions can no longer read what this version writes.
FORMAT = 1
#: More than any token needs. Longer content was not written by this library.
MAX_BYTES = 1 << 20
#: The characters of an access token (RFC 6749 appendix A.12: 1*VSCHAR). Any other character would
#: not pass through a header unchanged, and http.client would quote the token in its error.
ACCESS_TOKEN = re.compile("[\x20-\x7e]+")


class TokenStore(Protocol):
    """A place that keeps tokens by key, with a lock for each key.

    Keys are hexadecimal digests and reveal nothing. The methods are called by many threads at the
    same time, and each call may come from another thread. A lock may be released by another thread
    than the one that acquired it. A `threading.RLock` then raises an error, and so does a lock of
    redis-py, unless it has ``thread_local=False``.

    If `load`, `save` or `lock` raises an exception, it is reported without its message, and the
    store is bypassed. (A TimeoutError of `lock` means that the lock is held.) `load` and `save`
    should take less than 2 seconds, and `lock` should wait no longer than it is told to. If a call
    takes longer, a token that it loads is ignored, a lock that it acquires is released, and a token
    that it saves is replaced if there is a newer one. The operation is then not tried again for a
    while.
    """

    def load(self, key: str) -> Token | None:
        """Return the token that was last saved under the key, perhaps expired, or None."""
        raise NotImplementedError

    def save(self, key: str, token: Token) -> None:
        """Replace the token under the key, completely or not at all.

        A store may keep the present token if that one was issued later.
        """
        raise NotImplementedError

    def lock(self, key: str, timeout: float) -> AbstractContextManager[object]:
        """Return a context manager that holds the lock of this key.

        The lock excludes everybody else who shares the store: threads, sessions, processes, and
        machines if the store spans them. It is not reentrant, and it does not affect other keys.
        Entering the context waits at most ``timeout`` seconds (0: it tries once) and then raises
        TimeoutError. A holder that crashed delays the others for a bounded time.
        """
        raise NotImplementedError


class Cipher(Protocol):
    """The encryption of what a store keeps; ``cryptography.fernet.Fernet`` is one."""

    def encrypt(self, data: bytes, /) -> bytes:
        """Return the encrypted data."""
        raise NotImplementedError

    def decrypt(self, data: bytes, /) -> bytes:
        """Return the original data; raise any exception if `encrypt` did not return this data."""
        raise NotImplementedError


class UntilSaved(float):
    """The seconds to wait for a lock if a token is worth as much: see `Saved`.

    For other stores, this is a number like any other.
    """


class Saved(TimeoutError):
    """A token was saved while a store waited for its lock, so that the lock may not be needed.

    Without this, all waiters would take the lock one after the other to find one token.
    """


class BaseStore:
    """A store whose copies are the store itself."""

    def __copy__(self: S) -> S:
        return self

    def __deepcopy__(self: S, memo: object) -> S:
        return self


def place_of(store: object) -> str:
    """Return where a store keeps its tokens, for people, or the name of its class.

    This is not the ``repr`` of the store, because that of a user's class may show a password.
    """
    place = None
    with contextlib.suppress(Exception):  # a subclass may have another `__init__`
        place = getattr(store, "_place", None)
    return place if isinstance(place, str) else type(store).__name__


def encode(token: Token, cipher: Cipher | None) -> bytes:
    """Return the token as ASCII bytes that include the number of the format."""
    text = json.dumps({"format": FORMAT, "token": token.to_dict()}).encode("ascii")
    # Base64, because a Redis client may be configured to decode every value as text.
    return text if cipher is None else base64.b64encode(cipher.encrypt(text))


def decode(data: bytes | str, cipher: Cipher | None) -> Token | None:
    """Return the token, or None for data that `encode` did not return for this cipher.

    Data that is damaged, foreign, encrypted with another key or written by a later version counts
    as absent and may be overwritten. A lost token costs one token request.
    """
    if len(data) > MAX_BYTES:
        return None
    try:
        content: Any = json.loads(data if cipher is None else _decrypt(data, cipher))
    # RecursionError: nesting that is too deep. A number with too many digits is a ValueError.
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        return None
    try:
        token = Token.from_dict(content.get("token", {}))
    except ValueError:
        return None
    return token if ACCESS_TOKEN.fullmatch(token.access_token) else None


def is_outdated(token: Token, stored: Token | None) -> bool:
    """Return whether a valid token must not be saved, because the stored one is newer.

    A process that is frozen while it saves a token continues when others have saved a newer one.
    A stored token that was issued in the future is replaced: a clock was set back since.
    """
    now = time.time()
    return (
        stored is not None
        and token.issued_at + SKEW < stored.issued_at <= now + SKEW
        and (stored.expires_at is None or stored.expires_at > now)
        and (token.expires_at is None or token.expires_at > now)
    )


def shortened(token: Token, left: float) -> Token:
    """Return a token that expires in ``left`` seconds, if that is earlier than it says.

    ``left`` is measured by a clock that nobody sets. If it disagrees with the wall clock, that one
    was set back since the token was saved.
    """
    expires_at = time.time() + left
    if token.expires_at is None or expires_at > token.expires_at - 1.0:
        return token
    return replace(token, expires_at=expires_at)


def _decrypt(data: bytes | str, cipher: Cipher) -> bytes:
    try:
        return cipher.decrypt(base64.b64decode(data, validate=True))
    except Exception:  # noqa: BLE001 - a cipher may raise any exception
        raise ValueError("not encrypted by this cipher") from None
