"""Sessions that should share a store and do not. That works, so nobody would notice.

Sessions that are made for each call each fetch a token that others hold already. It is a warning,
once in a process. Sources that could not share a token, such as those of several tenants, do not
count together.

If a server keeps only one active token for each client, sessions revoke the tokens of each other.
That is a warning, once for each client.
"""

from __future__ import annotations

from collections.abc import Callable

from requests.adapters import HTTPAdapter

from .. import clock
from ..access_token import Token
from ..events import Client, duration, is_first, log
from ..threads import must_stay_in_caller

#: So many valid tokens for the same thing are a mistake.
MANY = 10
#: So many accepted tokens that were refused within so many seconds are a mistake too.
REPLACED, REPLACED_WITHIN = 5, 600.0
#: The number of keys that are remembered.
MAX_CLIENTS = 256
#: Seconds for which a token counts if its lifetime is unknown.
UNKNOWN_LIFETIME = 3600.0

# When the newest tokens expire, in seconds since the epoch. The tuples are replaced and never
# changed, so this needs no lock: two threads at the same moment may count as one.
_expiries: dict[str, tuple[float, ...]] = {}
_warned: list[str] = []


class UnsharedSource:
    """A token source without a store. Of its own tokens, only the first one counts.

    ``key_of`` returns, for the fingerprint of a client, a key that sources have in common if they
    could share a token, or None if nobody can tell.
    """

    __slots__ = ("_client", "_is_counted", "_key_of")

    def __init__(self, client: Client, key_of: Callable[[bytes], str | None]) -> None:
        self._client, self._key_of = client, key_of
        self._is_counted = False

    def warn_of_replaced(self) -> None:
        """Warn that `REPLACED` accepted tokens were refused within a short time."""
        if is_first((self._client, "replaced")):
            log.warning(
                "%d tokens of %s, from %s were refused within %s after they had been accepted. If"
                " the server keeps only one active token for each client, other sessions or"
                " processes cause that. Let all of them share their tokens: make a store, such as"
                " oauthcc.stores.FileStore() or RedisStore(url), and pass store=store to each.",
                REPLACED,
                self._client,
                self._client.host,
                duration(REPLACED_WITHIN),
            )

    def note(self, token: Token, fingerprint: bytes) -> None:
        """Count the first token, and warn if many sources hold a valid one for the same thing."""
        if self._is_counted or _warned or _is_mocked():
            return
        self._is_counted, now = True, clock.system.time()
        key = self._key_of(fingerprint)
        if key is None:
            return
        if len(_expiries) >= MAX_CLIENTS:
            _expiries.clear()
        expiry = now + UNKNOWN_LIFETIME if token.expires_at is None else token.expires_at
        valid = [each for each in (*_expiries.get(key, ()), expiry) if each > now]
        _expiries[key] = tuple(valid[-MANY:])
        if len(valid) >= MANY:
            _warned.append(key)
        if len(valid) >= MANY and is_first(UnsharedSource):  # of several threads, one is the first
            log.warning(
                "%d sessions or ClientCredentialsAuth objects have each fetched a token for %s,"
                " from %s, and all of these tokens are still valid. Make one and use it for all"
                " calls. If there must be several sessions, make them with"
                " ClientCredentialsSession.using(first.tokens), so that they share its token.",
                len(valid),
                self._client,
                self._client.host,
            )


def _is_mocked() -> bool:
    """Return whether a tool for tests, such as responses, answers the requests."""
    return HTTPAdapter.send.__module__ != HTTPAdapter.__module__ or must_stay_in_caller()
