"""Where the session gets its tokens: `TokenSource`.

The parts of a source, each with a file of its own: the state (state.py), the pauses of APIs that
refuse new tokens (refusals.py), the fetch that all callers share (single_flight.py), and how a
token is obtained (fetcher.py). When something happens is decided in renewal.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from .. import clock, events
from ..access_token import Token
from ..errors import ConfigurationError, OAuthCCError, TokenEndpointTimeout, TokenError
from ..frames import hide_locals
from ..stores import TokenStore
from ..token_request.client_config import ClientConfig, ConfigOptions
from ..token_request.endpoint import TokenEndpoint
from ..urls import public_url
from .fetcher import FetchResult, TokenFetcher, TokenNeed, is_mocked
from .refusals import Refusal, RefusalPauses
from .renewal import TOTAL_BUDGET, Phase
from .single_flight import InsideItself, Interrupted, SingleFlight, StillRunning
from .state import CurrentToken, TokenState


class SourceOptions(ConfigOptions, total=False):
    """The keyword options of a token source; `ClientCredentialsSession` explains them."""

    store: TokenStore | None
    renew_at: tuple[float, float]
    on_event: events.Observer | None


_OPTIONS = ("store", "renew_at", "on_event")
_CLIENT = ("token_url", "issuer", "client_id", "client_secret", "scope")
_KNOWN_OPTIONS = {*_CLIENT, *SourceOptions.__annotations__}


class TokenSource:
    """The access tokens of one client configuration.

    It is safe for threads, greenlets and forks. `ClientCredentialsSession.tokens` is one. Keep that
    session as long as the source is used, because token requests go through its adapters.
    """

    def __init__(
        self,
        config: ClientConfig,
        *,
        store: TokenStore | None = None,
        renew_at: tuple[float, float] = (0.6, 0.8),
        on_event: events.Observer | None = None,
    ) -> None:
        self._renew_at = _checked_renew_at(renew_at)
        if on_event is not None and not callable(on_event):
            raise ConfigurationError("on_event must be a callable that takes one event.")
        self._on_event = on_event
        self._config = config
        self._fetcher = TokenFetcher(config, store)
        #: The session through whose adapters tokens are fetched.
        self._owner = self._fetcher.owner
        name = public_url(config.issuer or config.token_url)
        self._state = TokenState(name, self._renew_at, is_shared=store is not None)
        self._pauses = RefusalPauses()
        # A function, not a method: a reference back to this source would keep it from being freed
        # as soon as its session is dropped.
        report = partial(_report, name, on_event)
        self._flights: SingleFlight[TokenNeed, FetchResult, CurrentToken] = SingleFlight(
            TOTAL_BUDGET, self._fetcher.fetch, self._state.record, report
        )

    @classmethod
    def _of(cls, *client: Any, **options: Any) -> TokenSource:
        """Return a source for the arguments of `ClientConfig.of` and for `SourceOptions`.

        Raises ConfigurationError.
        """
        unknown = options.keys() - _KNOWN_OPTIONS
        if unknown:
            raise ConfigurationError(
                f"There is no option {', '.join(sorted(unknown))}: choose from"
                f" {', '.join(sorted(_KNOWN_OPTIONS))}."
            )
        mine = {name: options.pop(name) for name in _OPTIONS if name in options}
        return cls(ClientConfig.of(*client, **options), **mine)

    @property
    def endpoint(self) -> TokenEndpoint:
        """Return the session that sends the token requests, to set or mount something on it."""
        return self._fetcher.endpoint

    def get(self, timeout: float | None = None) -> Token:
        """Return the current token, fetched if there is none.

        ``timeout`` is in seconds (None: 60). Raises `TokenError` if no token can be obtained, and
        `ConfigurationError` or `DiscoveryError` if the configuration cannot work.
        """
        return self._get(timeout).token

    @hide_locals  # a caller may pass the text of a token by mistake
    def renew(self, refused: Token | None = None, timeout: float | None = None) -> Token:
        """Return a token other than the refused one (None: the current one), fetched if needed.

        If the server issues the same token again, it is returned. ``timeout`` and errors are those
        of `get`.
        """
        current = self._state.current
        unwanted = current.token if refused is None and current is not None else refused
        if unwanted is None:
            return self.get(timeout)
        return self._other_than(unwanted, unwanted.issued_at, timeout).token

    @hide_locals
    def mark_refused(self, token: Token) -> None:
        """Report that an API refused a token: the next caller waits for a renewal first.

        If the renewal fails, the token is used until it expires, because another API may accept it.
        """
        with self._flights.lock:
            self._state.mark_refused(token)

    def forget(self) -> None:
        """Drop the token, remembered failures and pauses, for tests and operators.

        The next request fetches a token, even if a fetch is in progress, whose token is not used
        then. A token in a store stays there, and may be used again.
        """
        with self._flights.lock:
            self._flights.abandon()
            self._state.forget()
            self._fetcher.forget()
        self._pauses.forget()

    def close(self) -> None:
        """Close the connections to the token endpoint. A fetch in progress is not waited for."""
        self._fetcher.close()

    # What follows is for the session, `ClientCredentialsAuth` and their handling of a 401.

    def _sibling(self, **options: Any) -> TokenSource:
        """Return a source for another API, by default of the same client and server."""
        config = self._config
        if not {"token_url", "issuer"} & options.keys():
            options |= {"token_url": config.token_url, "issuer": config.issuer}
        inherited = {
            "token_url": None,
            "client_id": config.client_id,
            "client_secret": config.client_secret,
            "client_auth": config.client_auth,
            "scheme": config.scheme,
            "store": self._fetcher.store,
            "renew_at": self._renew_at,
            "on_event": self._on_event,
        }
        return TokenSource._of(**{**inherited, **options})

    def _get(self, timeout: float | None = None) -> CurrentToken:
        """Return the current token: at once if it is fresh or aging, else after a fetch.

        If the fetch fails, a token in its margin is used.
        """
        current = self._state.current
        if current is not None:
            aging = current.plan.aging
            if clock.system.monotonic() < aging.monotonic and clock.system.time() < aging.wall:
                return current
        current, phase = self._state.look()
        # It may be fresh, if another thread has renewed it since the lines above.
        if current is not None and phase in (Phase.FRESH, Phase.AGING):
            self._renew_early()
            return current
        try:
            return self._fetch(self._state.fresh_or_aging, self._begin, timeout)
        except OAuthCCError:
            current, phase = self._state.look()
            if current is None or phase is Phase.EXPIRED:
                raise
            return current

    def _may_replace(self, refusal: Refusal) -> bool:
        """Return whether another token is held, or a renewal may be forced for this API."""
        return (
            self._pauses.is_over(refusal)
            or self._state.replacement_for(refusal.token, 0.0) is not None
        )

    def _replacement_for(self, refusal: Refusal, timeout: float | None) -> CurrentToken | None:
        """Return a token for a replay, fetched if needed. Raises as `get`.

        Return None if the server issued the same token again, or if another request has begun the
        pause since `_may_replace` and no other token is held.
        """
        if not self._pauses.is_over(refusal):
            return self._state.replacement_for(refusal.token, refusal.sent_at)
        other = self._other_than(refusal.token, refusal.sent_at, timeout)
        if other.token.access_token != refusal.token.access_token:
            return other
        self._pauses.record(refusal)
        return None

    def _refused_without_replay(self, refusal: Refusal) -> bool:
        """Mark a token as refused although there is no replay; it is renewed before its next use.

        No replay shows whether the renewal helps, so the pause of the API grows with each such
        refusal. Return False during the pause.
        """
        if not self._pauses.record(refusal, replayable=False):
            return False
        self.mark_refused(refusal.token)
        return True

    def _replayed(
        self, refusal: Refusal, event: events.RequestReplayed, refused: Token | None
    ) -> None:
        """Record how a replay ended; ``refused`` is the new token if the API refused it too."""
        if refused is None:
            self._pauses.end(refusal.route)
        else:
            self._pauses.record(replace(refusal, token=refused))
        events.emit(event, self._on_event)

    def _emit(self, event: events.Event) -> None:
        events.emit(event, self._on_event)

    def _other_than(self, refused: Token, sent_at: float, timeout: float | None) -> CurrentToken:
        began = time.monotonic()
        ready = partial(self._state.replace_or_mark, refused, sent_at)
        need = TokenNeed("refused", refused.access_token, sent_at)
        begin = partial(self._state.permit, need)
        other = self._fetch(ready, begin, timeout)
        if not other.is_from_store or other.may_replace(refused, sent_at):
            return other
        # This caller joined a fetch that had begun before the refusal and found a token in the
        # store. That one may be revoked too, so fetch again.
        return self._fetch(ready, begin, _limited(timeout) - (time.monotonic() - began))

    def _fetch(
        self,
        ready: Callable[[], CurrentToken | None],
        begin: Callable[[], TokenNeed],
        timeout: float | None,
    ) -> CurrentToken:
        """Return what is ready, or what a fetch brings within ``timeout`` seconds."""
        patience = _limited(timeout)
        try:
            return self._flights.result(ready, begin, patience, in_caller=is_mocked())
        except StillRunning:
            raise TokenEndpointTimeout(
                f"No token arrived from {self._state.name} within {patience:g} seconds; the fetch"
                " continues. Pass a longer timeout=, or check that server."
            ) from None
        except Interrupted as interruption:
            raise TokenError(
                f"The token request was interrupted by {interruption}; try again."
            ) from None
        except InsideItself:
            raise TokenError(
                "The session was used inside of its own token request (by a secret callable, an"
                " adapter or a hook of the token endpoint); use another session there."
            ) from None

    def _begin(self) -> TokenNeed:
        """Return the need of a caller without a usable token; raise the remembered error."""
        current, phase = self._state.look()
        return self._state.permit(_need(_why(phase), current))

    def _renew_early(self) -> None:
        """Start a fetch that nobody waits for, if the token is aging and none is in progress."""
        state, flights = self._state, self._flights

        def begin() -> TokenNeed | None:
            # Checked under the lock: another fetch may have ended meanwhile.
            if not state.may_renew_early():
                return None
            return state.number(_need("aging", state.current))

        if state.may_renew_early():
            with flights.lock:
                if not flights.start_unless_running(begin):
                    state.pause_early_renewal()

    def __getstate__(self) -> dict[str, Any]:
        """Return the configuration: a copy has locks of its own and holds no token yet."""
        return {
            "config": self._config,
            "store": self._fetcher.store,
            "renew_at": self._renew_at,
            "on_event": self._on_event,
            "settings": self._fetcher.current_settings(),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        settings = state.pop("settings")
        self.__init__(**state)  # type: ignore[misc]
        self._fetcher.settings = settings


def _report(name: str, observer: events.Observer | None, result: FetchResult, waiters: int) -> None:
    """Emit the events of a fetch."""
    # First: the lock of the store is held until then, and an observer may take any time.
    result.settle()
    for event in result.events:
        events.emit(event, observer)
    if result.token is not None and result.error is None:
        seconds, attempts = result.seconds, result.attempts
        lifetime = result.token.lifetime
        obtained = events.TokenObtained(name, result.why, seconds, lifetime, attempts, waiters)
        events.emit(obtained, observer)


def _need(why: events.Why, current: CurrentToken | None) -> TokenNeed:
    """Return the need for a token that is neither the current one nor older.

    An older one may have been refused.
    """
    if current is None:
        return TokenNeed(why)
    return TokenNeed(why, current.token.access_token, current.token.issued_at)


def _why(phase: Phase | None) -> events.Why:
    if phase is None:
        return "absent"
    return "margin" if phase is Phase.MARGIN else "expired"


def _limited(timeout: float | None) -> float:
    return TOTAL_BUDGET if timeout is None else min(timeout, TOTAL_BUDGET)


def _checked_renew_at(renew_at: tuple[float, float]) -> tuple[float, float]:
    try:
        first, last = renew_at
        fits = 0.0 < first <= last <= 1.0
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise ConfigurationError(
            "renew_at must be two shares of a token's lifetime, such as (0.6, 0.8)."
        )
    return float(first), float(last)
