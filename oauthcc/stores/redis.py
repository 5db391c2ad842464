"""Tokens in Redis, shared by machines."""

from __future__ import annotations

import contextlib
import inspect
import math
import os
import random
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..access_token import Token
from ..errors import ConfigurationError
from .codec import Cipher, decode, encode
from .place import Place

if TYPE_CHECKING:
    import redis

#: Seconds after which Redis takes a lock back by itself: what a token request may take
#: (`renewal.TOTAL_BUDGET`) and 15 seconds for the rest.
LEASE = 75.0
#: Seconds between two looks at a lock that is held: at first, and at most.
POLL_FIRST, POLL_MOST = 0.02, 0.25
#: Seconds that Redis keeps a token without an expiry, and any token at most.
UNKNOWN_TTL, MOST_TTL = 86400.0, 365 * 86400.0

# Not redis-py's Lock: where the answer to its SET was lost and sent again, it waits for itself.
_ACQUIRE = """
local holder = redis.call('get', KEYS[1])
if not holder then redis.call('set', KEYS[1], ARGV[1], 'px', ARGV[2]) end
if not holder or holder == ARGV[1] then return 1 end
return 0
"""
_RELEASE = """
if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end
return 0
"""


class RedisStore(Place):
    """Keep tokens in Redis.

    ``url_or_client`` is a URL (``redis://``, ``rediss://``, ``unix://``), or a client of redis-py
    (``redis.Redis``, ``redis.RedisCluster``) with whatever time-outs it has. ``prefix`` begins the
    name of every key. ``cipher`` encrypts the tokens, for example
    ``cryptography.fernet.Fernet(key)``. ``timeout`` is how many seconds to wait for Redis to take a
    connection or to answer, which is tried twice at most; it applies to a URL.

    Redis forgets a token when it expires, and after a day where it has no expiry. A lock is given
    back by its holder alone, or taken back by Redis after 75 seconds. Made from a URL, a store can
    be pickled, and the pickle holds the URL; a copy is the same store.
    Needs ``pip install "oauthcc[redis]"``.
    """

    def __init__(
        self,
        url_or_client: str | redis.Redis | redis.RedisCluster,
        *,
        prefix: str = "oauthcc:",
        cipher: Cipher | None = None,
        timeout: float = 1.0,
    ) -> None:
        is_url = isinstance(url_or_client, str)
        self._client: Any = _connect(url_or_client, timeout) if is_url else url_or_client
        execute = getattr(self._client, "execute_command", None)
        if execute is None or inspect.iscoroutinefunction(execute):
            raise ConfigurationError("RedisStore takes a redis:// URL or a redis.Redis client.")
        self._url = url_or_client if is_url else None
        self._prefix, self._cipher, self._timeout = prefix, cipher, timeout

    def load(self, key: str) -> Token | None:
        """Return the token that was last saved under the key, or None."""
        data = self._client.get(self._name("token", key))
        return None if data is None else decode(data, self._cipher)

    def save(self, key: str, token: Token) -> None:
        """Keep the token until it expires."""
        data, name = encode(token, self._cipher), self._name("token", key)
        ttl = UNKNOWN_TTL if token.expires_at is None else token.expires_at - time.time()
        if ttl > 0:
            self._client.set(name, data, px=math.ceil(min(ttl, MOST_TTL) * 1000))
        else:
            self._client.delete(name)

    @contextmanager
    def lock(self, key: str, timeout: float) -> Iterator[None]:
        """Exclude all others for this key, for 75 seconds at most.

        Wait at most ``timeout`` seconds, then raise TimeoutError.
        """
        name, holder = self._name("lock", key), f"{os.getpid()}:{secrets.token_hex(16)}"
        self._acquire(name, holder, timeout)
        try:
            yield
        except BaseException:
            # What happened inside is the news; the lease ends a lock that could not be given back.
            with contextlib.suppress(Exception):
                self._release(name, holder)
            raise
        self._release(name, holder)

    def _acquire(self, name: str, holder: str, timeout: float) -> None:
        deadline, pause = time.monotonic() + timeout, POLL_FIRST
        while not self._client.eval(_ACQUIRE, 1, name, holder, int(LEASE * 1000)):
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise TimeoutError(f"Another process kept the token lock for {timeout:g} seconds.")
            # Drawn, so that waiters do not come in step.
            time.sleep(min(pause * random.uniform(0.5, 1.0), remaining))
            pause = min(2 * pause, POLL_MOST)

    def _release(self, name: str, holder: str) -> None:
        # A child that was forked inside leaves the lock to its parent. That the lease has run out
        # is no failure: there is nothing left to give back.
        if holder.startswith(f"{os.getpid()}:"):
            self._client.eval(_RELEASE, 1, name, holder)

    def _name(self, kind: str, key: str) -> str:
        return f"{self._prefix}{kind}:{key}"

    def __getstate__(self) -> dict[str, Any]:
        if self._url is None:
            raise TypeError("A RedisStore is pickled only where it was made from a URL.")
        return {
            "url_or_client": self._url,
            "prefix": self._prefix,
            "cipher": self._cipher,
            "timeout": self._timeout,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        RedisStore.__init__(self, **state)

    def __repr__(self) -> str:
        # The URL and the client may hold a password.
        return f"<{type(self).__name__} prefix={self._prefix!r}>"


def _connect(url: Any, timeout: float) -> Any:
    try:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError as error:
        raise ConfigurationError('RedisStore needs redis: pip install "oauthcc[redis]"') from error
    # One more try at once, since a connection that was idle may have died without a word.
    again = [redis.ConnectionError, redis.TimeoutError]
    limits: dict[str, Any] = {"socket_timeout": timeout, "retry_on_error": again}
    if not url.startswith("unix:"):
        limits.update(socket_connect_timeout=timeout, socket_keepalive=True)
    try:
        return redis.Redis.from_url(url, retry=Retry(NoBackoff(), 1), **limits)
    except ValueError:
        # Without the cause, which may quote a part of the password.
        raise ConfigurationError(
            "This is no Redis URL. Write redis://user:password@host:6379/0, with special"
            " characters in the password percent-encoded."
        ) from None
