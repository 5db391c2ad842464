"""Obtain a token that is not held yet: from the store if somebody put one there, else a new one.

What lives here runs inside a flight, so one at a time per source; the store's lock makes it one at
a time for all who share the store.
"""

from __future__ import annotations

import random
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import requests

from . import renewal
from .access_token import Token
from .errors import MENDED_BY_HUMANS, ConfigurationError, TokenEndpointUnavailable
from .events import Why
from .grant import Grant
from .stores import TokenStore
from .stores.guarded import GuardedStore
from .token_endpoint import ATTEMPTS, TokenEndpoint

#: Seconds a flight waits for another process that holds the store's lock, then goes without it.
#: Drawn, so that the first one to lose patience brings the token for the others.
LOCK_PATIENCE = (renewal.TOTAL_BUDGET - 30.0, renewal.TOTAL_BUDGET - 15.0)


@dataclass(frozen=True, slots=True)
class Order:
    """Say what kind of token is needed.

    ``instead_of`` is the access token that will not do. ``issued_since`` (wall clock): one from the
    store must not be older. ``known`` is an error already known, and the proof of the client that
    it belongs to: where that is unchanged, the error holds and nothing is sent.
    """

    why: Why
    instead_of: str | None = field(default=None, repr=False)
    issued_since: float = 0.0
    known: tuple[bytes | None, Exception] | None = field(default=None, repr=False)

    def knowing(self, known: tuple[bytes | None, Exception] | None) -> Order:
        """Return the same order with what is known."""
        return self if known is None else replace(self, known=known)

    def standing(self, fingerprint: bytes) -> Exception | None:
        """Return the known error where it still holds: a new proof mends no outage."""
        if self.known is None:
            return None
        proof, error = self.known
        is_new = proof != fingerprint and isinstance(error, MENDED_BY_HUMANS)
        return None if is_new else error

    def as_known(self, error: Exception) -> Exception:
        """Return the known error where this one says the same."""
        if self.known is None or repr(error) != repr(self.known[1]):
            return error
        return self.known[1]


@dataclass(frozen=True, slots=True)
class Obtained:
    """Hold a token, and how many requests it took; none where the store had it."""

    token: Token
    attempts: int

    @property
    def from_store(self) -> bool:
        """Say whether somebody else had fetched it."""
        return self.attempts == 0


Report = Callable[[str, Exception], None]


class Supplier:
    """Bring the grant, its token endpoint and the store together."""

    def __init__(self, grant: Grant, store: TokenStore | None) -> None:
        self.grant = grant
        self.store: TokenStore | None = _checked_store(store)
        self.settings: dict[str, Any] = {}
        #: The proof of the client that the last attempt was made with.
        self.fingerprint: bytes | None = None
        self._endpoints: dict[str, TokenEndpoint] = {}
        self._owner: Callable[[], requests.Session | None] = lambda: None
        self._key: tuple[bytes, str] | None = None

    @property
    def endpoint(self) -> TokenEndpoint:
        """Return the session for the token endpoint, made at the first need."""
        endpoint = self._endpoints.get("only")
        if endpoint is None:
            made = TokenEndpoint(self.grant, self._owner())
            made.apply(self.settings)
            endpoint = self._endpoints.setdefault("only", made)  # one of two threads is first
        return endpoint

    def current_settings(self) -> dict[str, Any]:
        """Return what was set on the endpoint, for a copy."""
        endpoint = self._endpoints.get("only")
        return self.settings if endpoint is None else endpoint.settings()

    def close(self) -> None:
        """Close the endpoint's own connections."""
        for endpoint in self._endpoints.values():
            endpoint.close()

    @property
    def owner(self) -> requests.Session | None:
        """Return the session whose transport is used, while it lives."""
        return self._owner()

    def adopt(self, owner: requests.Session) -> None:
        """Use the transport of this session from now on, without keeping it alive."""
        self._owner = weakref.ref(owner)
        for endpoint in self._endpoints.values():
            endpoint.adopt(owner)

    def obtain(self, order: Order, deadline: float, report: Report) -> Obtained:
        """Return a token that fits the order; ``deadline`` is on the monotonic clock.

        ``report`` is told of each operation of the store that failed, and with what error.
        """
        self.fingerprint = None
        secret = self.grant.read_secret()
        fingerprint = self.fingerprint = self.grant.fingerprint(secret)
        known = order.standing(fingerprint)
        if known is not None and self.store is None:
            raise known
        if self.grant.client_auth.cert is not None:
            self.endpoint.present(fingerprint)
        if self.store is None:
            return self._fetch(secret, fingerprint, _attempts(order), deadline)[0]
        visit = GuardedStore(self.store, self._cache_key(fingerprint), report)
        if known is not None:
            stored = visit.look(partial(_fitting, order))  # others may have had more luck
            if stored is None:
                raise known
            return stored
        patience = random.uniform(*LOCK_PATIENCE)
        with visit.turn(patience, partial(_fitting, order)) as stored:
            if stored is not None:
                return stored
            attempts = _attempts_after_others(order) if visit.has_waited else _attempts(order)
            obtained, proof = self._fetch(secret, fingerprint, attempts, deadline)
            if proof == fingerprint:  # else the secret was rotated, and the key with it
                visit.save(obtained.token)
            return obtained

    def _fetch(
        self, secret: str | None, fingerprint: bytes, attempts: int, deadline: float
    ) -> tuple[Obtained, bytes]:
        fetched = self.endpoint.fetch(secret, fingerprint, attempts=attempts, deadline=deadline)
        self.fingerprint = fetched.fingerprint
        return Obtained(fetched.token, fetched.attempts), fetched.fingerprint

    def _cache_key(self, fingerprint: bytes) -> str:
        if self._key is None or self._key[0] != fingerprint:
            self._key = fingerprint, self.grant.cache_key(fingerprint)
        return self._key[1]


def _checked_store(store: TokenStore | None) -> TokenStore | None:
    """Return what has the methods of a store; raise ConfigurationError for anything else."""
    methods = ("load", "save", "lock")
    fits = all(callable(getattr(store, name, None)) for name in methods)
    if store is None or (fits and not isinstance(store, type)):
        return store
    raise ConfigurationError(
        "store must be an object with the methods load, save and lock, such as MemoryStore(),"
        " FileStore() or RedisStore(url)."
    )


def _attempts(order: Order) -> int:
    # Nobody waits for an early renewal: its back-off is all the retrying it needs.
    return 1 if order.why == "aging" else ATTEMPTS


def _attempts_after_others(order: Order) -> int:
    """Raise where an early renewal waited for one that failed, since nobody waits for either.

    Else all who share a token would knock, one by one, at an endpoint that is down.
    """
    if order.why == "aging":
        raise TokenEndpointUnavailable(
            "Another process tried to renew the token early, and brought none; the current one is"
            " still good."
        )
    return 1  # whoever had the lock before us has tried often enough


def _fitting(order: Order, stored: Token) -> Obtained | None:
    """Return the stored token where it fits the order."""
    if stored.access_token == order.instead_of or stored.issued_at < order.issued_since:
        return None
    now = renewal.now()
    if renewal.state(renewal.schedule(stored, now, 1.0), now) in _USED_UP:
        return None
    return Obtained(stored, attempts=0)


_USED_UP = {renewal.State.MARGIN, renewal.State.EXPIRED}
