"""Where the session gets its tokens: `TokenSource`.

The parts of a source, each with a file of its own: the state (state.py), the pauses of APIs that
refuse new tokens (refusals.py), the fetch that all callers share (single_flight.py), and how a
token is obtained (fetcher.py). When something happens is decided in renewal.py.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import requests
from urllib3.util import Timeout

from .. import clock, events, forks
from ..access_token import Token
from ..errors import ConfigurationError, OAuthCCError, TokenEndpointTimeout, TokenError
from ..frames import hide_locals
from ..stores import TokenStore
from ..threads import must_stay_in_caller
from ..token_request.client_config import ClientConfig, ConfigOptions
from ..values import frozen, replace
from .fetcher import FetchResult, TokenFetcher, TokenNeed
from .refusals import Refusal, RefusingRoutes, Route
from .renewal import EARLY_BUDGET, TOTAL_BUDGET, WAIT_FOR_BETTER, WAIT_FOR_OTHER, Phase
from .single_flight import InsideItself, Interrupted, SingleFlight, StillRunning
from .state import CurrentToken, TokenState
from .unshared import REPLACED, REPLACED_WITHIN, UnsharedSource

if TYPE_CHECKING:
    from ..token_request.endpoint import TokenEndpoint

#: Seconds as in requests, also in the two parts of a tuple.
TimeoutLike: TypeAlias = float | tuple[float | None, float | None] | None


class SourceOptions(ConfigOptions, total=False):
    """The keyword options of a token source; `ClientCredentialsSession` explains them."""

    store: TokenStore | None
    renew_at: tuple[float, float]
    token_timeout: float
    on_event: events.Observer | None


_OPTIONS = ("store", "renew_at", "token_timeout", "on_event")
_CLIENT = ("token_url", "issuer", "client_id", "client_secret", "scope")
_KNOWN_OPTIONS = {*_CLIENT, *SourceOptions.__annotations__}


class TokenSource:
    """The access tokens of one client configuration.

    It is safe for threads, greenlets and forks. `ClientCredentialsSession.tokens` is a token
    source. Keep the session as long as you use its source, because token requests go through the
    adapters of the session.
    """

    def __init__(
        self,
        config: ClientConfig,
        *,
        store: TokenStore | None = None,
        renew_at: tuple[float, float] = (0.6, 0.8),
        token_timeout: float = TOTAL_BUDGET,
        on_event: events.Observer | None = None,
    ) -> None:
        self._renew_at = _checked_renew_at(renew_at)
        self._token_timeout = _checked_token_timeout(token_timeout)
        if on_event is not None and not callable(on_event):
            raise ConfigurationError("on_event must be a callable that takes one event.")
        self._on_event = on_event
        self._config = config
        self._fetcher = TokenFetcher(config, store)
        #: The session through whose adapters tokens are fetched.
        self._owner = self._fetcher.owner
        self._client = config.client
        self._state = TokenState(self._client.server, self._renew_at, is_shared=store is not None)
        self._routes = RefusingRoutes()
        # A function, not a method: a reference back to this source would keep it from being freed
        # as soon as its session is dropped.
        key_of = self._fetcher.key_if_shared
        self._unshared = UnsharedSource(self._client, key_of) if store is None else None
        # When the last accepted tokens were refused and replaced (monotonic).
        self._replaced: tuple[float, ...] = ()
        report = _Report(self._client, on_event, self._unshared)
        self._flights: SingleFlight[TokenNeed, FetchResult, CurrentToken] = SingleFlight(
            self._fetcher.fetch, self._state.record, report
        )
        forks.reset_in_child(self)

    @classmethod
    def _of(cls, *client: Any, **options: Any) -> TokenSource:
        """Return a source for the arguments of `ClientConfig.of` and for `SourceOptions`.

        Raises ConfigurationError.
        """
        check_options(options)
        mine = {name: options.pop(name) for name in _OPTIONS if name in options}
        return cls(ClientConfig.of(*client, **options), **mine)

    @property
    def endpoint(self) -> TokenEndpoint:
        """Return the session that sends the token requests, to set or mount something on it."""
        return self._fetcher.endpoint

    def get(self, timeout: TimeoutLike = None) -> Token:
        """Return the current token, fetched if there is none.

        ``timeout`` is in seconds (None: 60; a tuple: its sum). Raises `TokenError` if no token can
        be obtained, and `ConfigurationError` or `DiscoveryError` if the configuration cannot work.
        """
        return self._get(timeout).token

    @hide_locals  # a caller may pass the text of a token by mistake
    def renew(self, refused: Token | None = None, timeout: TimeoutLike = None) -> Token:
        """Return a token other than the refused one (None: the current one), fetched if needed.

        If the server issues the same token again, it is returned. ``timeout`` and errors are those
        of `get`.
        """
        current = self._state.current
        if current is None:
            return self.get(timeout)
        if refused is not None and current.token.access_token != refused.access_token:
            return self.get(timeout)  # renewed meanwhile
        return self._other_than(current, clock.system.time(), timeout).token

    @hide_locals
    def mark_refused(self, token: Token) -> None:
        """Record that an API refused a token, so that the next caller waits for a renewal first.

        If the renewal fails, the token is used until it expires, because another API may accept it.
        """
        with self._flights.lock:
            current = self._state.current
            if current is not None and current.token.access_token == token.access_token:
                self._state.mark_refused(current.number)

    def forget(self) -> None:
        """Drop the token, remembered failures and pauses, for tests and operators.

        The next request fetches a token. If a fetch is in progress, its token is not used. A token
        in a store stays there, and may be used again.
        """
        with self._flights.lock:
            self._flights.abandon()
            self._fetcher.forget(self._state.forget())
        self._routes.forget()

    def close(self) -> None:
        """Close the connections to the token endpoint, without waiting for a fetch in progress."""
        self._fetcher.close()

    def _after_fork(self) -> None:
        for part in (self._flights, self._state, self._routes):
            part._after_fork()

    # What follows is for the session, `ClientCredentialsAuth` and their handling of a 401.

    def _sibling(self, **options: Any) -> TokenSource:
        """Return a source for another API, by default of the same client and server."""
        config = self._config
        if not {"token_url", "issuer"} & options.keys():
            options |= {"token_url": config.token_url, "issuer": config.issuer}
            # The name of the grant belongs to the server, and the other parameters to an API.
            given = options.get("token_params") or {}
            if isinstance(given, Mapping):  # else it is refused below
                options["token_params"] = {"grant_type": config.grant_type, **given}
        inherited = {
            "token_url": None,
            "client_id": config.client_id,
            "client_secret": config.client_secret,
            "client_auth": config.client_auth,
            "token_body": config.token_body,
            "scheme": config.scheme,
            "store": self._fetcher.store,
            "renew_at": self._renew_at,
            "token_timeout": self._token_timeout,
            "on_event": self._on_event,
        }
        return TokenSource._of(**{**inherited, **options})

    def _get(
        self, timeout: TimeoutLike = None, can_replay: Callable[[], bool] = lambda: True
    ) -> CurrentToken:
        """Return the current token: at once if it is fresh or aging, else after a fetch.

        While the token can be used, a fetch is waited for only a little, and not at all if the last
        one was slow or failed. It is waited for longer if the token was refused and ``can_replay``
        returns False, because another refusal would be the end of the request.
        """
        current = self._state.current
        if current is not None:
            aging = current.plan.aging
            if clock.system.monotonic() < aging.monotonic and clock.system.time() < aging.wall:
                return current
        if self._state.waiting is not None:
            with self._flights.lock:
                self._state.try_newest()
        current, phase = self._state.look()
        # It may be fresh, if another thread has renewed it since the lines above.
        if current is not None and phase in (Phase.FRESH, Phase.AGING):
            self._renew_early()
            return current
        limit, max_age = wait_limit(timeout), math.inf
        if current is not None and phase is Phase.MARGIN:
            max_age = 0.0 if self._state.is_slow else WAIT_FOR_BETTER
            if not current.is_refused:
                limit = min(limit, current.seconds_left() / 2)  # the rest is for the request
            elif not can_replay():
                max_age = WAIT_FOR_OTHER
        try:
            return self._fetch(self._state.fresh_or_aging, self._begin, limit, max_age)
        except OAuthCCError:
            usable = self._state.usable()
            if usable is None:
                raise
            return usable

    def _may_replace(self, refusal: Refusal) -> bool:
        """Return whether there may be another token for a refused request."""
        state, current = self._state, refusal.current
        return (
            self._may_force(refusal)
            or state.newer_than(current.number) is not None
            or state.former_to(current) is not None
        )

    def _may_force(self, refusal: Refusal) -> bool:
        """Return whether a refusal may force a renewal now."""
        may_be_revoked = self._state.may_be_revoked(refusal.current)
        return self._routes.permit(refusal.route, may_be_revoked=may_be_revoked)

    def _replacements(self, refusal: Refusal, timeout: TimeoutLike) -> Iterator[CurrentToken]:
        """Yield the tokens with which a refused request may be sent again, one after the other.

        Asking for the next one means that the last one was refused too. First comes what costs no
        token request: a newer token, or the former one if the newest was never accepted. Then comes
        a fetch. A token that was fetched since the request was sent is the last but the former one.
        Raises as `get`, but nothing while the current token can be used.
        """
        state, last, is_over = self._state, refusal.current, False
        tried = {last.number}
        while True:
            found = state.newer_than(last.number) or state.former_to(last)
            if found is None or found.number in tried:
                if is_over:
                    return
                found = self._renewed(refusal, last, timeout)
                if found is None:
                    return
            tried.add(found.number)
            yield found
            if found.number > last.number:
                self._routes.record(refusal.route, found.number, is_forced=found.is_forced)
                last, is_over = found, found.is_newer_than(refusal.sent_at)

    def _renewed(
        self, refusal: Refusal, last: CurrentToken, timeout: TimeoutLike
    ) -> CurrentToken | None:
        """Return a token that is fetched after a refusal, or None if the refusal is the answer."""
        if not self._may_force(refusal):
            return None
        # A token from the store that is newer than the refused one is tried first. If that was
        # refused too, only one that was issued since the request was sent is.
        is_first = last is refusal.current
        since = last.token.issued_at if is_first else refusal.sent_at
        try:
            return self._other_than(last, since, timeout, WAIT_FOR_OTHER)
        except OAuthCCError:
            if self._state.usable() is None:
                raise
            return None

    def _refused_without_replay(self, refusal: Refusal) -> bool:
        """Record a refusal of a request that cannot be sent again.

        The token is renewed before its next use, if a renewal may be forced. Return whether it is.
        """
        state, current = self._state, refusal.current
        with self._flights.lock:
            former = state.former_to(current)
            if former is not None:
                state.use_former(former)
                return False
        self._routes.record(refusal.route, current.number, is_forced=current.is_forced)
        is_permitted = self._may_force(refusal)
        if is_permitted:
            with self._flights.lock:
                state.mark_refused(current.number)
        return is_permitted

    def _accepted(
        self, current: CurrentToken, first: CurrentToken, route: Callable[[], Route]
    ) -> None:
        """Record that an API accepted a token on a route, or refused the first one before."""
        self._state.accepted_at = clock.system.monotonic()
        if not self._state.is_settled:
            with self._flights.lock:
                before = self._state.accept(current)
            if self._unshared is not None and first.number <= before < current.number:
                # An accepted token was refused, and the next one is accepted for the first time.
                now = clock.system.monotonic()
                replaced = self._replaced = (*self._replaced, now)[-REPLACED:]
                if len(replaced) == REPLACED and now - replaced[0] <= REPLACED_WITHIN:
                    self._unshared.warn_of_replaced()
        if self._routes.known:
            self._routes.accept(route())

    def _emit(self, event: events.Event) -> None:
        events.emit(event, self._on_event, self._client)

    def _other_than(
        self,
        refused: CurrentToken,
        since: float,
        timeout: TimeoutLike,
        max_age: float = math.inf,
    ) -> CurrentToken:
        """Return a newer token, fetched if there is none yet.

        A token from the store must not be older than ``since``, in seconds since the epoch.
        """

        def ready() -> CurrentToken | None:
            newer = self._state.newer_than(refused.number)
            if newer is None:
                self._state.mark_refused(refused.number)
            return newer

        def begin() -> TokenNeed:
            text, owner = refused.token.access_token, [self._owner.session()]
            need = TokenNeed("refused", text, since, owner=owner, budget=self._token_timeout)
            return self._state.permit(need)

        return self._fetch(ready, begin, timeout, max_age)

    def _fetch(
        self,
        ready: Callable[[], CurrentToken | None],
        begin: Callable[[], TokenNeed],
        timeout: TimeoutLike,
        max_age: float = math.inf,
    ) -> CurrentToken:
        """Return what is ready, or what a fetch brings within the timeout."""
        try:
            patience = min(wait_limit(timeout), self._token_timeout)
            return self._result(ready, begin, patience, max_age)
        except OAuthCCError as error:
            if error.request is None:
                # Callers log the URL and the method of what failed. Without secrets: no body.
                request = requests.Request("POST", self._state.name).prepare()
                object.__setattr__(error, "request", request)  # a class may forbid assignments
            raise

    def _result(
        self,
        ready: Callable[[], CurrentToken | None],
        begin: Callable[[], TokenNeed],
        patience: float,
        max_age: float,
    ) -> CurrentToken:
        until, in_caller = time.monotonic() + patience, must_stay_in_caller()
        try:
            try:
                return self._flights.result(
                    ready, begin, patience, max_age=max_age, in_caller=in_caller
                )
            except StillRunning:
                left = until - time.monotonic()
                if left <= 0:
                    raise
                self._state.is_slow |= max_age > 0
                if self._state.look()[1] not in (None, Phase.EXPIRED):
                    raise
                # The token has expired meanwhile, so this caller waits as one that has none.
                return self._flights.result(ready, begin, left, in_caller=in_caller)
        except StillRunning:
            raise TokenEndpointTimeout(
                f"No token arrived from {self._state.name} within {patience:g} s; the token request"
                " continues, and a later call can use its token. Pass a longer timeout=, or check"
                " that server."
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
        return self._state.permit(self._need(_why(current, phase), current))

    def _need(self, why: events.Why, current: CurrentToken | None) -> TokenNeed:
        """Return the need for a token that is neither the current one nor older.

        An older one may have been refused.
        """
        need = TokenNeed(why, owner=[self._owner.session()], budget=self._token_timeout)
        if current is None:
            return need
        token = current.token
        return replace(need, other_than=token.access_token, issued_since=token.issued_at)

    def _renew_early(self) -> None:
        """Start a fetch that nobody waits for, if the token is aging and none is in progress."""
        state, flights = self._state, self._flights

        def begin() -> TokenNeed | None:
            # Checked under the lock: another fetch may have ended meanwhile.
            if not state.may_renew_early():
                return None
            if flights.is_overdue:  # what hangs has no timeout, for example a secret callable
                state.pause_early_renewal()
            need = self._need("aging", state.current)
            return state.number(need.within(EARLY_BUDGET))

        if state.may_renew_early() and not must_stay_in_caller():
            with flights.lock:
                if not flights.start_unless_running(begin):
                    state.pause_early_renewal()

    def _description(self) -> str:
        """Return client, scope, server, and whether a token is held, for a ``repr``."""
        _, phase = self._state.look()
        expired = "an expired token" if phase is Phase.EXPIRED else "a token"
        held = "no token" if phase is None else expired
        return f"{self._client}, at {self._client.host}, with {held}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} for {self._description()}>"

    def __getstate__(self) -> dict[str, Any]:
        """Return the configuration: a copy has locks of its own and holds no token yet."""
        return {
            "config": self._config,
            "store": self._fetcher.store,
            "renew_at": self._renew_at,
            "token_timeout": self._token_timeout,
            "on_event": self._on_event,
            "settings": self._fetcher.current_settings(),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        settings = state.pop("settings")
        self.__init__(**state)  # type: ignore[misc]
        self._fetcher.settings = settings


def check_options(options: Iterable[str], more: Iterable[str] = ()) -> None:
    """Raise ConfigurationError if an option is neither one of `TokenSource._of` nor in ``more``."""
    known = {*_KNOWN_OPTIONS, *more}
    unknown = sorted(set(options) - known)
    if unknown:
        from difflib import get_close_matches  # its import takes long

        near = [o for name in unknown for o in get_close_matches(name, known, n=1)]
        hint = f" Is {' or '.join(near)} meant?" if near else ""
        raise ConfigurationError(
            f"There is no option {', '.join(unknown)}: choose from"
            f" {', '.join(sorted(known))}.{hint}"
        )


@frozen
class _Report:
    """What emits the events of a fetch."""

    client: events.Client
    observer: events.Observer | None
    unshared: UnsharedSource | None

    def __call__(self, result: FetchResult, waiters: int) -> None:
        # First: the lock of the store is held until then, and an observer may take any time.
        result.settle()
        for event in result.events:
            events.emit(event, self.observer, self.client)
        if result.token is not None and result.error is None:
            seconds, attempts = result.seconds, result.attempts
            lifetime = result.token.lifetime
            why, url = result.why, self.client.server
            obtained = events.TokenObtained(url, why, seconds, lifetime, attempts, waiters)
            events.emit(obtained, self.observer, self.client)
            if self.unshared is not None:
                self.unshared.note(result.token, result.fingerprint or b"")


def _why(current: CurrentToken | None, phase: Phase | None) -> events.Why:
    if current is None:
        return "absent"
    if phase is Phase.MARGIN:
        return "refused" if current.is_refused else "margin"
    return "expired"


def wait_limit(timeout: Any) -> float:
    """Return for how many seconds a caller with this ``timeout=`` waits for a token at most."""
    parts: Any = timeout if isinstance(timeout, tuple) else [timeout]
    if isinstance(timeout, Timeout):
        parts = [timeout._connect, timeout._read] if timeout.total is None else [timeout.total]
    try:
        # urllib3 accepts what `float` accepts, such as a number of numpy.
        limit = math.fsum(map(float, parts))
    except (TypeError, ValueError, OverflowError):
        return TOTAL_BUDGET  # a part without a limit, or a value that requests refuses
    # Not a number is not less.
    return limit if parts and limit < TOTAL_BUDGET else TOTAL_BUDGET


def _checked_token_timeout(token_timeout: float) -> float:
    try:
        seconds = float(token_timeout)
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0.0 < seconds <= TOTAL_BUDGET:
        raise ConfigurationError(
            f"token_timeout must be a number of seconds, {TOTAL_BUDGET:g} at most."
        )
    return seconds


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
