"""How a new token is obtained: from the store if another process put one there, else requested.

What is here runs inside of a flight, so once at a time per source. The lock of the store makes it
once at a time for all who share the store.
"""

from __future__ import annotations

import random
import sys
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import clock
from ..access_token import Token
from ..errors import (
    PERMANENT_ERRORS,
    ConfigurationError,
    OAuthCCError,
    TokenEndpointUnavailable,
    TokenError,
)
from ..events import Event, StoreBypassed, Why
from ..frames import without_frames
from ..redaction import SecretHeader
from ..stores import TokenStore
from ..stores.guarded import GuardedStore
from ..token_request.client_config import ClientConfig
from ..token_request.endpoint import ATTEMPTS, TokenEndpoint
from ..token_request.transport import Owner
from . import renewal
from .renewal import Phase

#: Seconds for which a fetch waits for another process that holds the lock of the store, before it
#: continues without it. The value is random, so that not all processes give up at once. The first
#: one fetches a token for the others.
LOCK_PATIENCE = (renewal.TOTAL_BUDGET - 30.0, renewal.TOTAL_BUDGET - 15.0)


@dataclass(frozen=True, slots=True)
class TokenNeed:
    """The token that is needed.

    ``other_than`` is an access token that must not be returned again. A token from the store must
    not be older than ``issued_since`` (wall clock). ``number`` puts fetches in the order in which
    they began. ``known`` is a remembered error with the fingerprint of the client that it belongs
    to: while the fingerprint is the same, nothing is sent.
    """

    why: Why
    other_than: str | None = field(default=None, repr=False)
    issued_since: float = 0.0
    number: int = 0
    known: tuple[bytes | None, Exception] | None = field(default=None, repr=False)

    def error_for(self, fingerprint: bytes) -> Exception | None:
        """Return the remembered error if it still applies.

        A new secret or key can end a refusal, but not an outage.
        """
        if self.known is None:
            return None
        known_fingerprint, error = self.known
        may_be_fixed = known_fingerprint != fingerprint and isinstance(error, PERMANENT_ERRORS)
        return None if may_be_fixed else error

    def accept(self, token: Token) -> Token | None:
        """Return a token from the store if it meets the need."""
        if token.access_token == self.other_than or token.issued_at < self.issued_since:
            return None
        now = clock.now()
        phase = renewal.phase(renewal.schedule(token, now, 1.0), now)
        return token if phase in (Phase.FRESH, Phase.AGING) else None


@dataclass(slots=True)
class FetchResult:
    """What one fetch brought: a token or an error.

    ``why`` is the reason for the fetch, ``number`` that of its need, and ``seconds`` the time that
    it took. ``fingerprint`` is that of the client when the last request was sent, and ``attempts``
    the number of requests (0: the token was in the store). ``events`` are to be emitted when all
    callers have been released.
    """

    why: Why
    number: int
    seconds: float = 0.0
    token: Token | None = None
    header: SecretHeader | None = None
    error: Exception | None = None
    attempts: int = 0
    fingerprint: bytes | None = None
    events: list[Event] = field(default_factory=list)


class TokenFetcher:
    """A client configuration, its token endpoint and its store."""

    def __init__(self, config: ClientConfig, store: TokenStore | None) -> None:
        self.config = config
        self.store: TokenStore | None = _checked_store(store)
        #: What was set on the endpoint of the source that this one is a copy of.
        self.settings: dict[str, Any] = {}
        # Its only entry is the endpoint. A dict, because `setdefault` needs no lock.
        self._made: dict[str, TokenEndpoint] = {}
        self.owner: Owner = Owner()
        self._cache_key: tuple[bytes, str] | None = None

    @property
    def endpoint(self) -> TokenEndpoint:
        """Return the session for the token endpoint, made when it is first needed."""
        endpoint = self._made.get("endpoint")
        if endpoint is None:
            made = TokenEndpoint(self.config, self.owner)
            made.apply(self.settings)
            endpoint = self._made.setdefault("endpoint", made)  # two threads get the same one
        return endpoint

    def current_settings(self) -> dict[str, Any]:
        """Return what was set on the endpoint, for a copy."""
        endpoint = self._made.get("endpoint")
        return self.settings if endpoint is None else endpoint.settings()

    def close(self) -> None:
        """Close the connections of the endpoint."""
        for endpoint in self._made.values():
            endpoint.close()

    def fetch(self, need: TokenNeed) -> FetchResult:
        """Return a token that meets the need, or the error, within the budget of one fetch."""
        began, handled = time.monotonic(), sys.exc_info()[1]
        result = FetchResult(need.why, need.number)
        try:
            result.token = self._obtain(need, result, began + renewal.TOTAL_BUDGET)
            header = self.config.scheme.authorization(result.token)
            # It is recognised by its type, and the scheme of a user may return a plain text.
            result.header = header if isinstance(header, SecretHeader) else SecretHeader(header)
        except Exception as error:  # noqa: BLE001 - every caller raises it
            ours = _as_ours(error)
            known = None if need.known is None else need.known[1]
            # If the fetch failed in the same way again, this is the same object, and `TokenState`
            # begins no new pause.
            result.error = known if known is not None and repr(ours) == repr(known) else ours
            # Its frames contain the client's secret.
            without_frames(result.error, handled)
        # The frames of the error of a store contain the token.
        for failed in [e.error for e in result.events if isinstance(e, StoreBypassed)]:
            without_frames(failed, handled)
        result.seconds = time.monotonic() - began
        return result

    def _obtain(self, need: TokenNeed, result: FetchResult, deadline: float) -> Token:
        secret, fingerprint = self.config.read_secret()
        result.fingerprint = fingerprint
        known = need.error_for(fingerprint)
        if known is not None and self.store is None:
            raise known
        if self.config.client_auth.cert is not None:
            self.endpoint.use_certificate_of(fingerprint)

        def request(attempts: int) -> Token:
            fetched = self.endpoint.fetch(secret, fingerprint, attempts=attempts, deadline=deadline)
            result.attempts, result.fingerprint = fetched.attempts, fetched.fingerprint
            return fetched.token

        if self.store is None:
            return request(_attempts(need, has_waited=False))

        def report(operation: str, error: Exception) -> None:
            result.events.append(StoreBypassed(operation, error))

        store = GuardedStore(self.store, self._key(fingerprint), report)
        if known is not None:
            stored = store.look(need.accept)  # another process may have succeeded
            if stored is None:
                raise known
            return stored
        with store.turn(random.uniform(*LOCK_PATIENCE), need.accept) as stored:
            if stored is not None:
                return stored
            token = request(_attempts(need, has_waited=store.has_waited))
            if result.fingerprint == fingerprint:  # else the token belongs under another key
                store.save(token)
            return token

    def _key(self, fingerprint: bytes) -> str:
        if self._cache_key is None or self._cache_key[0] != fingerprint:
            self._cache_key = fingerprint, self.config.cache_key(fingerprint)
        return self._cache_key[1]


def _attempts(need: TokenNeed, *, has_waited: bool) -> int:
    """Return how often the endpoint is asked.

    Raises TokenEndpointUnavailable if an early renewal waited for another process whose renewal
    failed. Otherwise every process would retry an endpoint that is down, one after the other.
    """
    if not has_waited:
        return 1 if need.why == "aging" else ATTEMPTS
    if need.why == "aging":
        raise TokenEndpointUnavailable(
            "Another process tried to renew the token early and failed; the current token is still"
            " valid."
        )
    return 1  # the process that held the lock has tried often enough


def _checked_store(store: TokenStore | None) -> TokenStore | None:
    """Return what has the methods of a store; raise ConfigurationError for anything else."""
    methods = ("load", "save", "lock")
    fits = all(callable(getattr(store, name, None)) for name in methods)
    if store is None or (fits and not isinstance(store, type)):
        return store
    raise ConfigurationError(
        "store must be a token store, such as MemoryStore(), FileStore() or RedisStore(url) of"
        " oauthcc.stores, or an object with their methods load, save and lock."
    )


def _as_ours(error: Exception) -> OAuthCCError:
    """Return an error of ours for whatever a fetch raised."""
    if isinstance(error, OAuthCCError):
        error.__context__ = None  # it may quote what the error itself redacts
        return error
    # The message of a foreign error may quote anything, so the error is kept as `__cause__` only.
    # Its frames are dropped, so our message names the file and line where it was raised.
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    where = f"{Path(frame.f_code.co_filename).name}, line {line}"
    ours = TokenError(
        f"No token could be obtained: the fetch raised {type(error).__name__} ({where})."
    )
    ours.__cause__ = error
    return ours
