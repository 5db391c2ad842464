"""Sessions that are made for each call: each of them fetches a token that others hold already.

That works, so nobody would notice. It is a warning, once in a process.
"""

from __future__ import annotations

from .. import clock
from ..access_token import Token
from ..events import Client, log

#: So many valid tokens for the same thing are a mistake.
MANY = 10
#: The number of clients that are remembered.
MAX_CLIENTS = 256
#: Seconds for which a token counts if its lifetime is unknown.
UNKNOWN_LIFETIME = 3600.0

_Key = tuple[Client, tuple[tuple[str, str], ...]]
# When the newest tokens expire, in seconds since the epoch. The tuples are replaced and never
# changed, so this needs no lock: two threads at the same moment may count as one.
_expiries: dict[_Key, tuple[float, ...]] = {}
_warned: list[_Key] = []


class UnsharedSource:
    """A token source without a store, which counts with its first token only."""

    def __init__(self, client: Client, params: tuple[tuple[str, str], ...]) -> None:
        self._key = client, params
        self._is_counted = False

    def note(self, token: Token) -> None:
        """Count the first token, and warn if many sources hold a valid one for the same thing."""
        if self._is_counted or _warned:
            return
        self._is_counted, now = True, clock.system.time()
        if len(_expiries) >= MAX_CLIENTS:
            _expiries.clear()
        expiry = now + UNKNOWN_LIFETIME if token.expires_at is None else token.expires_at
        valid = [each for each in (*_expiries.get(self._key, ()), expiry) if each > now]
        _expiries[self._key] = tuple(valid[-MANY:])
        if len(valid) >= MANY:
            _warned.append(self._key)
            client, _ = self._key
            log.warning(
                "%d sessions have each fetched a token for %s, from %s, and all of these tokens are"
                " still valid. Make one session and use it for all calls, or let the sessions share"
                " their tokens: make one store = oauthcc.stores.MemoryStore(), and pass store=store"
                " to each session.",
                len(valid),
                client,
                client.host,
            )
