"""How a new token is obtained: from the store if another process put one there, else requested.

What is here runs inside of a flight, so once at a time per source. The lock of the store makes it
once at a time for all who share the store.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import requests

from .. import clock, forks
from ..access_token import Token
from ..errors import (
    PERMANENT_ERRORS,
    ConfigurationError,
    OAuthCCError,
    TokenEndpointUnavailable,
    TokenError,
    text_of,
)
from ..events import Event, StoreBypassed, Why, is_first, log
from ..frames import raised_at, without_frames
from ..redaction import SecretHeader
from ..stores import TokenStore
from ..stores.base import place_of
from ..stores.guarded import SAVE_PATIENCE, GuardedStore
from ..threads import must_stay_in_caller
from ..token_request.client_config import ClientConfig
from ..token_request.owner import Owner
from ..values import field, frozen, mutable, replace
from . import renewal
from .renewal import Phase

if TYPE_CHECKING:
    from ..token_request.endpoint import TokenEndpoint
    from ..token_request.transport import SetHere

#: How often an unavailable endpoint is asked in one fetch while callers wait.
ATTEMPTS = 3
#: Seconds for which a fetch waits for another process that holds the lock of the store, before it
#: continues without it, and less if the fetch may take less. The value is random, so that not all
#: processes give up at once. The first one fetches a token for the others.
LOCK_PATIENCE = (renewal.TOTAL_BUDGET - 30.0, renewal.TOTAL_BUDGET - 15.0)
_SESSION, _ENDPOINT = requests.Session, "oauthcc.token_request.endpoint"
_NONE_SET: Mapping[str, Any] = MappingProxyType({})


@frozen
class TokenNeed:
    """The token that is needed.

    A token from the store must not be ``other_than`` (an access token), and not be older than
    ``issued_since`` (wall clock). ``number`` puts fetches in the order in which they began.
    ``known`` is a remembered error with the fingerprint of the client that it belongs to: while the
    fingerprint is the same, nothing is sent. ``owner`` contains the session whose adapters are
    used, so that it lives as long as the fetch. ``budget`` is the time that the fetch may take, in
    seconds.
    """

    why: Why
    other_than: str | None = field(default=None, repr=False)
    issued_since: float = 0.0
    number: int = 0
    known: tuple[bytes | None, Exception] | None = field(default=None, repr=False)
    owner: list[requests.Session | None] = field(default_factory=list, repr=False)
    budget: float = renewal.TOTAL_BUDGET

    @property
    def is_tentative(self) -> bool:
        """Return whether nobody waits for this fetch."""
        return self.why == "aging"

    def within(self, seconds: float) -> TokenNeed:
        """Return this need with at most so many seconds."""
        return replace(self, budget=min(self.budget, max(0.0, seconds)))

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
        # Issued in the future: a clock was set back since, so nobody knows how old the token is.
        if token.issued_at > now.wall + clock.SKEW:
            return None
        phase = renewal.phase(renewal.schedule(token, now, 1.0), now)
        return token if phase in (Phase.FRESH, Phase.AGING) else None


@mutable
class FetchResult:
    """What one fetch brought: a token or an error.

    ``why`` is the reason for the fetch, ``number`` that of its need, and ``seconds`` the time that
    it took. ``fingerprint`` is that of the client when the last request was sent, and ``attempts``
    the number of requests (0: the token was in the store). ``settle`` is to be called when all
    callers have been released: it waits until the token is in the store and the lock is free.
    ``events`` are to be emitted after that.
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
    settle: Callable[[], object] = tuple


def _endpoint_class() -> type[TokenEndpoint]:
    """Import the class of the endpoint, which is based on the session of requests.

    Since the import of this library a tool may have put a session with a cache or a mock in the
    place of that one. It must not become the base of the endpoint.
    """
    is_replaced = requests.Session is not _SESSION and _ENDPOINT not in sys.modules
    there = requests.Session
    try:
        if is_replaced:
            requests.Session = _SESSION  # type: ignore[misc]
        from ..token_request.endpoint import TokenEndpoint
    finally:
        if is_replaced:
            requests.Session = there  # type: ignore[misc]
    return TokenEndpoint


class TokenFetcher:
    """A client configuration, its token endpoint and its store."""

    __slots__ = (
        *("_cache_key", "_endpoint", "_forgotten", "_newest"),
        *("config", "owner", "settings", "store"),
    )

    def __init__(self, config: ClientConfig, store: TokenStore | None) -> None:
        self.config: ClientConfig = config
        self.store: TokenStore | None = _checked_store(store)
        #: What was set on the endpoint of the source that this one is a copy of.
        self.settings: Mapping[str, Any] = _NONE_SET
        self._endpoint: TokenEndpoint | None = None
        self.owner: Owner = Owner()
        self._cache_key: tuple[tuple[bytes, str], str] | None = None
        #: The newest token, with its key and the number of its fetch.
        self._newest: tuple[str, int, Token] | None = None
        #: What fetches with a lower number bring is not put into the store.
        self._forgotten = 0

    @property
    def endpoint(self) -> TokenEndpoint:
        """Return the session for the token endpoint, made when it is first needed."""
        if self._endpoint is None:
            with forks.importing:  # also so that two threads get the same one
                made = _endpoint_class()(self.config, self.owner)
                made.apply(self.settings)
                self._endpoint = self._endpoint or made
        return self._endpoint

    def current_settings(self) -> dict[str, Any]:
        """Return what was set on the endpoint, for a copy."""
        return dict(self.settings) if self._endpoint is None else self._endpoint.settings()

    def close(self) -> None:
        """Close the connections of the endpoint."""
        if self._endpoint is not None:
            self._endpoint.close()

    def forget(self, before: int) -> None:
        """Forget the newest token, and put nothing that is fetched late into the store.

        ``before`` is higher than the number of each fetch that has begun.
        """
        self._newest, self._forgotten = None, before

    def fetch(self, need: TokenNeed) -> FetchResult:
        """Return a token that meets the need, or the error, within the budget of one fetch."""
        began, handled = time.monotonic(), sys.exc_info()[1]
        result = FetchResult(need.why, need.number)
        try:
            result.token = self._obtain(need, result, began + need.budget)
            if self.config.client_auth.cert is not None and result.fingerprint is not None:
                self.endpoint.use_certificate_of(result.fingerprint)
            header = self.config.scheme.authorization(result.token)
            # It is recognised by its type, and the scheme of a user may return a plain text.
            result.header = header if isinstance(header, SecretHeader) else SecretHeader(header)
        except Exception as error:  # noqa: BLE001 - every caller raises it
            ours = _as_ours(error)
            known = None if need.known is None else need.known[1]
            # If the fetch failed in the same way again, this is the same object, and `TokenState`
            # begins no new pause.
            result.error = known if known is not None and _is_same(ours, known) else ours
            # Its frames contain the client's secret.
            without_frames(result.error, handled)
        finally:
            need.owner.clear()  # a reference cycle of urllib3 may keep the need
        result.seconds = time.monotonic() - began
        return result

    def _obtain(self, need: TokenNeed, result: FetchResult, deadline: float) -> Token:
        secret, fingerprint = self.config.read_secret()
        result.fingerprint = fingerprint
        key = self._key(fingerprint)
        known = need.error_for(fingerprint)
        if known is not None and key is None:
            raise known

        def request(attempts: int) -> Token:
            fetched = self.endpoint.fetch(secret, fingerprint, attempts=attempts, deadline=deadline)
            result.attempts, result.fingerprint = fetched.attempts, fetched.fingerprint
            return fetched.token

        if key is None:
            return request(_attempts(need, has_waited=False))
        store = self._guarded(key, result)
        if known is not None:
            stored = store.look(need.accept)  # another process may have succeeded
            if stored is None:
                raise known
            return stored
        try:
            share = need.budget / renewal.TOTAL_BUDGET
            stored = store.find(random.uniform(*LOCK_PATIENCE) * share, need.accept)
            token = stored or request(_attempts(need, has_waited=store.has_waited))
            # If the secret or a setting has changed meanwhile, it belongs under another key.
            is_ours = result.fingerprint == fingerprint and self._key(fingerprint) == key
            if is_ours and self._remember(key, need.number, token) and stored is None:
                store.save(token)
            return token
        finally:
            store.settle(SAVE_PATIENCE)

    def _guarded(self, key: str, result: FetchResult) -> GuardedStore:
        """Return the store for one fetch, whose events are added to the result."""

        def report(operation: str, error: Exception) -> None:
            result.events.append(StoreBypassed(operation, error, place_of(self.store)))

        def newest() -> Token | None:
            last = self._newest
            return last[2] if last is not None and last[0] == key else None

        assert self.store is not None  # noqa: S101 - there is a key
        on_threads = not must_stay_in_caller()
        guarded = GuardedStore(self.store, key, report, newest, on_threads=on_threads)
        result.settle = guarded.settle
        return guarded

    def _remember(self, key: str, number: int, token: Token) -> bool:
        """Remember a token; return False if it is forgotten, or if a later fetch brought one."""
        newest = self._newest
        if number < self._forgotten:
            return False
        if newest is not None and newest[0] == key and newest[1] > number:
            return False
        self._newest = key, number, token
        return True

    def _key(self, fingerprint: bytes) -> str | None:
        """Return the key of the token in the store, or None if the token is not shared."""
        if self.store is None:
            return None
        text, opaque = self._set_on_endpoint()
        if opaque:
            self._warn(opaque)
            return None
        parts = fingerprint, text
        if self._cache_key is None or self._cache_key[0] != parts:
            # Not inherited: a subclass or a wrapper may pass the keys on to other processes.
            is_private = "_has_private_keys" in vars(type(self.store))
            self._cache_key = parts, self.config.cache_key(*parts, is_private=is_private)
        return self._cache_key[1]

    def key_if_shared(self, fingerprint: bytes) -> str | None:
        """Return the key that a token would have in a `MemoryStore`, None if it would have none."""
        text, opaque = self._set_on_endpoint()
        return None if opaque else self.config.cache_key(fingerprint, text, is_private=True)

    def _set_on_endpoint(self) -> SetHere | tuple[str, tuple[str, ...]]:
        # What was set on an endpoint that was not made yet is in `settings`.
        endpoint = self.endpoint if self.settings else self._endpoint
        return ("", ()) if endpoint is None else endpoint.set_here()

    def _warn(self, opaque: tuple[str, ...]) -> None:
        client = self.config.client
        if is_first((client, opaque)):
            log.warning(
                "The store is not used for the tokens of %s, from %s: %s of tokens.endpoint may"
                " change the token, and cannot be a part of the key in the store. Say what differs"
                " with token_params, or with headers or params of the endpoint.",
                client,
                client.host,
                " and ".join(opaque),
            )


def _attempts(need: TokenNeed, *, has_waited: bool) -> int:
    """Return how often the endpoint is asked.

    Raises TokenEndpointUnavailable if an early renewal waited for another process whose renewal
    failed. Otherwise every process would retry an endpoint that is down, one after the other.
    """
    if not has_waited:
        return 1 if need.is_tentative else ATTEMPTS
    if need.is_tentative:
        raise TokenEndpointUnavailable(
            "Another process tried to renew the token early and failed; the current token is still"
            " valid."
        )
    return ATTEMPTS - 1  # the process that held the lock has tried once at least


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


def _is_same(error: Exception, known: Exception) -> bool:
    return type(error) is type(known) and text_of(error) == text_of(known)


def _as_ours(error: Exception) -> OAuthCCError:
    """Return an error of ours for whatever a fetch raised."""
    if isinstance(error, OAuthCCError):
        # It may quote what the error itself redacts. Not by assignment: see `without_frames`.
        object.__setattr__(error, "__context__", None)
        return error
    # The message of a foreign error may quote anything, so the error is kept as `__cause__` only.
    # Its frames are dropped, so our message names the file and line where it was raised.
    ours = TokenError(
        f"No token could be obtained: the fetch raised {type(error).__name__} ({raised_at(error)})."
    )
    ours.__cause__ = error
    return ours
