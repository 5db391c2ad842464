"""Tokens in Redis, shared by machines."""

from __future__ import annotations

import contextlib
import inspect
import math
import os
import random
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .. import forks
from ..access_token import Token
from ..errors import ConfigurationError
from ..frames import hide_locals
from ..threads import start
from .base import BaseStore, Cipher, Saved, UntilSaved, decode, encode, is_outdated, shortened

if TYPE_CHECKING:
    import redis

#: Seconds after which Redis releases a lock by itself: the time that a token request may take
#: (`renewal.TOTAL_BUDGET`), and 15 seconds for everything else.
LEASE = 75.0
#: Seconds between two attempts to get a lock that is held: at first, and at most.
POLL_FIRST, POLL_MAX = 0.02, 0.25
#: Seconds between two attempts to release a lock while Redis does not answer.
RELEASE_PAUSE = 1.0
#: Seconds for which Redis keeps a token without an expiry, and any token at most.
UNKNOWN_TTL, MAX_TTL = 86400.0, 365 * 86400.0

# redis-py's Lock is not used: if the answer to its SET is lost and SET is sent again, that lock
# waits for itself.
_ACQUIRE = """
local holder = redis.call('get', KEYS[1])
if not holder then redis.call('set', KEYS[1], ARGV[1], 'px', ARGV[2]) end
if not holder or holder == ARGV[1] then return 1 end
return 0
"""
# A pipeline is not used: redis-py 5.0 does not send it again if the connection was closed.
_LOAD = """
return {redis.call('get', KEYS[1]), redis.call('pttl', KEYS[1])}
"""
_REPLACE = """
if (redis.call('get', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('set', KEYS[1], ARGV[2], 'px', ARGV[3])
return 1
"""
_RELEASE = """
if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end
return 0
"""


class RedisStore(BaseStore):
    """A store that keeps tokens in Redis.

    ``url_or_client`` is a URL (``redis://``, ``rediss://``, ``unix://``), or a client of redis-py
    (``redis.Redis``, ``redis.RedisCluster``). The timeouts of a client are not changed. ``prefix``
    begins the name of every key. ``cipher`` encrypts the tokens, for example
    ``cryptography.fernet.Fernet(key)``. ``timeout`` is the number of seconds to wait for a
    connection and for each answer of Redis. Both are tried at most twice. ``timeout`` is used only
    with a URL.

    Redis deletes a token when it expires, or after a day if it has no expiry. A lock is released
    only by its holder, or by Redis after 75 seconds. A copy is the same store. A store that was
    created from a URL can be pickled, and the pickle contains the URL. Needs
    ``pip install "oauthcc[redis]"``.
    """

    @hide_locals
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
            raise ConfigurationError("RedisStore needs a redis:// URL or a redis.Redis client.")
        self._url = url_or_client if is_url else None
        self._prefix, self._cipher, self._timeout = prefix, cipher, timeout
        self._leftovers = _Leftovers(self._client)
        forks.reset_in_child(self)

    def _after_fork(self) -> None:
        # redis-py gives the pool new connections in a child, but waits for its old lock there.
        pool = getattr(self._client, "connection_pool", None)
        if pool is not None and hasattr(pool, "_lock"):
            pool._lock = threading.RLock()

    @hide_locals
    def load(self, key: str) -> Token | None:
        """Return the token that was last saved under the key, or None."""
        name = self._name("token", key)
        data, left = self._client.eval(_LOAD, 1, name)
        token = None if data is None else decode(data, self._cipher)
        # Below zero: somebody else has removed the expiry, or the token itself.
        return token if token is None or left < 0 else shortened(token, left / 1000)

    @hide_locals
    def save(self, key: str, token: Token) -> None:
        """Keep the token until it expires, unless the present one was issued later."""
        data, name = encode(token, self._cipher), self._name("token", key)
        ttl = UNKNOWN_TTL if token.expires_at is None else token.expires_at - time.time()
        if ttl <= 0:
            self._client.delete(name)
            return
        milliseconds, is_saved = math.ceil(min(ttl, MAX_TTL) * 1000), False
        while not is_saved:  # again, if another process has saved a token meanwhile
            found = self._client.get(name)
            if found is not None and is_outdated(token, decode(found, self._cipher)):
                break
            is_saved = self._client.eval(_REPLACE, 1, name, found or "", data, milliseconds)

    @contextmanager
    def lock(self, key: str, timeout: float) -> Iterator[None]:
        """Acquire the lock of this key, which excludes all others for at most 75 seconds.

        Wait at most ``timeout`` seconds, then raise TimeoutError.
        """
        name, holder = self._name("lock", key), f"{os.getpid()}:{secrets.token_hex(16)}"
        with self._leftovers.noted(name, holder):
            self._acquire(key, holder, timeout)
        try:
            yield
        except BaseException:
            # The error from inside the context is raised, not a failure to release the lock.
            with contextlib.suppress(Exception), self._leftovers.noted(name, holder):
                _release(self._client, name, holder)
            raise
        with self._leftovers.noted(name, holder):
            _release(self._client, name, holder)

    def _acquire(self, key: str, holder: str, timeout: float) -> None:
        name, token = self._name("lock", key), self._name("token", key)
        deadline, pause = time.monotonic() + timeout, POLL_FIRST
        is_watching = isinstance(timeout, UntilSaved) and timeout > 0
        version = self._client.get(token) if is_watching else None
        while not self._client.eval(_ACQUIRE, 1, name, holder, int(LEASE * 1000)):
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise TimeoutError(f"Another process held the token lock for {timeout:g} seconds.")
            # Random, so that waiters do not ask at the same moments.
            time.sleep(min(pause * random.uniform(0.5, 1.0), remaining))
            if is_watching and self._client.get(token) != version:
                raise Saved
            # Slowly, so that a waiter is late by a small part of the time that it has waited.
            pause = min(1.25 * pause, POLL_MAX)

    def _name(self, kind: str, key: str) -> str:
        return f"{self._prefix}{kind}:{key}"

    @property
    def _place(self) -> str | None:
        """Return host and port, or the path of a socket, without the password."""
        options = self._client.connection_pool.connection_kwargs
        host, path = options.get("host"), options.get("path")
        return f"{host}:{options.get('port', 6379)}" if host else path

    def __getstate__(self) -> dict[str, Any]:
        if self._url is None:
            raise TypeError("A RedisStore can be pickled only if it was created from a URL.")
        return {
            "url_or_client": self._url,
            "prefix": self._prefix,
            "cipher": self._cipher,
            "timeout": self._timeout,
        }

    @hide_locals
    def __setstate__(self, state: dict[str, Any]) -> None:
        RedisStore.__init__(self, **state)

    def __repr__(self) -> str:
        # The URL and the client may contain a password.
        return f"<{type(self).__name__} prefix={self._prefix!r}>"


def _release(client: Any, name: str, holder: str) -> None:
    # A child that was forked inside the context leaves the lock to its parent. A lease that has
    # expired is not an error: there is nothing left to release.
    if holder.startswith(f"{os.getpid()}:"):
        client.eval(_RELEASE, 1, name, holder)


class _Leftovers:
    """Locks that Redis may still hold, because it did not answer when they were used.

    It may execute a command that it received while it was frozen, after the client gave up. Others
    would wait for such a lock until its lease ends. So it is released when Redis answers again, on
    one thread for all of them.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._after_fork()
        forks.reset_in_child(self)

    def _after_fork(self) -> None:
        self._guard = threading.RLock()  # guards the two below; re-entrant for signal handlers
        # By name and holder: how often it is still to be released, and until when (monotonic).
        # Twice, because Redis may execute an old command after the first time.
        self._locks: dict[tuple[str, str], tuple[int, float]] = {}
        self._is_running = False

    @contextmanager
    def noted(self, name: str, holder: str) -> Iterator[None]:
        """Note a lock if an exception other than TimeoutError (the lock is held) is raised."""
        try:
            yield
        except TimeoutError:
            raise
        except Exception:
            with self._guard:
                self._locks[name, holder] = 2, time.monotonic() + LEASE
                if not self._is_running:
                    self._is_running = _has_started(self._release_all)
            raise

    def _release_all(self) -> None:
        self._is_running = True
        while self._is_running:
            time.sleep(RELEASE_PAUSE)
            for lock, (missing, until) in list(self._locks.items()):
                left = missing
                with contextlib.suppress(Exception):  # it still does not answer
                    _release(self._client, *lock)
                    left -= 1
                self._locks[lock] = left, until
            now = time.monotonic()
            with self._guard:
                for lock, (missing, until) in list(self._locks.items()):
                    if missing == 0 or now >= until:
                        del self._locks[lock]
                self._is_running = bool(self._locks)


def _has_started(work: Callable[[], None]) -> bool:
    try:
        start(threading.Thread(target=work, name="oauthcc-unlock", daemon=True))
    except RuntimeError:  # at exit, or at a limit: the lease ends the lock
        return False
    return True


def _connect(url: Any, timeout: float) -> Any:
    try:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError as error:
        raise ConfigurationError('RedisStore needs redis: pip install "oauthcc[redis]"') from error
    # One retry without a pause, because an idle connection may have been closed unnoticed.
    again = [redis.ConnectionError, redis.TimeoutError]
    limits: dict[str, Any] = {"socket_timeout": timeout, "retry_on_error": again}
    if not url.startswith("unix:"):
        limits.update(socket_connect_timeout=timeout, socket_keepalive=True)
    try:
        return redis.Redis.from_url(url, retry=Retry(NoBackoff(), 1), **limits)
    except ValueError:
        # Without the cause, which may contain a part of the password.
        raise ConfigurationError(
            "This is not a Redis URL. Write redis://user:password@host:6379/0, with special"
            " characters in the password percent-encoded."
        ) from None
