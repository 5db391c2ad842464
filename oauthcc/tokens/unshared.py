"""Sessions that are made for each call: each of them fetches a token that others hold already.

That works, so nobody would notice. It is a warning, once in a process. Sources that could not share
a token, such as those of several tenants, do not count together.
"""

from __future__ import annotations

from collections.abc import Callable

from requests.adapters import HTTPAdapter

from .. import clock
from ..access_token import Token
from ..events import Client, log
from ..threads import must_stay_in_caller

#: So many valid tokens for the same thing are a mistake.
MANY = 10
#: The number of keys that are remembered.
MAX_CLIENTS = 256
#: Seconds for which a token counts if its lifetime is unknown.
UNKNOWN_LIFETIME = 3600.0

# When the newest tokens expire, in seconds since the epoch. The tuples are replaced and never
# changed, so this needs no lock: two threads at the same moment may count as one.
_expiries: dict[str, tuple[float, ...]] = {}
_warned: list[str] = []


class UnsharedSource:
    """A token source without a store, which counts with its first token only.

    ``key_of`` returns, for the fingerprint of a client, a key that sources have in common if they
    could share a token, or None if nobody can tell.
    """

    def __init__(self, client: Client, key_of: Callable[[bytes], str | None]) -> None:
        self._client, self._key_of = client, key_of
        self._is_counted = False

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
            log.warning(
                "%d sessions or ClientCredentialsAuth objects have each fetched a token for %s,"
                " from %s, and all of these tokens are still valid. Make one and use it for all"
                " calls, or let them share their tokens: make one store ="
                " oauthcc.stores.MemoryStore(), and pass store=store to each.",
                len(valid),
                self._client,
                self._client.host,
            )


def _is_mocked() -> bool:
    """Return whether a tool for tests, such as responses, answers the requests."""
    return HTTPAdapter.send.__module__ != HTTPAdapter.__module__ or must_stay_in_caller()
