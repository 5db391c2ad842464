"""Where tokens come from: the one that is held, or the next one, obtained once for everybody.

When something happens is decided in renewal.py, what is known is kept in ledger.py, where a token
comes from is in supplier.py, how callers share it in fetching.py. Here they meet.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import requests

from . import events, forks
from .access_token import Token
from .errors import ConfigurationError, OAuthCCError
from .fetching import Fetching, order_for
from .grant import Grant
from .ledger import Held, Ledger
from .renewal import TOTAL_BUDGET, State
from .stores import TokenStore
from .supplier import Order, Supplier
from .token_endpoint import TokenEndpoint
from .urls import Origin, public_url

_GOOD = (State.FRESH, State.AGING)


class TokenSource:
    """Give out the access token of one grant.

    Safe for threads, greenlets and forks. Get one from `ClientCredentialsSession.tokens`, and keep
    that session while the source is in use: tokens are fetched through its adapters.
    """

    def __init__(
        self,
        grant: Grant,
        *,
        store: TokenStore | None = None,
        renew_at: tuple[float, float] = (0.6, 0.8),
        on_event: events.Observer | None = None,
    ) -> None:
        self._renew_at = _checked_renew_at(renew_at)
        if on_event is not None and not callable(on_event):
            raise ConfigurationError("on_event must be a callable that takes one event.")
        self._on_event = on_event
        #: What is asked for; it never changes.
        self.grant = grant
        self._supplier = Supplier(grant, store)
        self._ledger = Ledger(public_url(grant.issuer or grant.token_url), self._renew_at)
        self._fetching = Fetching(
            self._ledger, self._supplier, partial(events.tell, observer=on_event)
        )
        forks.renewed_in_child(self)

    def _after_fork(self) -> None:
        self._fetching.begin_anew()

    @property
    def endpoint(self) -> TokenEndpoint:
        """Return the session that talks to the token endpoint, to set or mount something there."""
        return self._supplier.endpoint

    def get(self, timeout: float | None = None) -> Token:
        """Return the current token, fetched where there is none.

        ``timeout`` is in seconds (None: 60). Raises `TokenError` where no token can be had, and
        `ConfigurationError` or `DiscoveryError` where what was configured cannot work.
        """
        return self.current(timeout).token

    def renew(self, refused: Token | None = None, timeout: float | None = None) -> Token:
        """Return a token other than the refused one (None: the one held now), fetched if need be.

        Where the server hands the refused token out once more, it is returned. Raises as `get`.
        """
        held = self._ledger.held
        unwanted = held.token if refused is None and held is not None else refused
        if unwanted is None:
            return self.get(timeout)
        return self._other_than(unwanted, unwanted.issued_at, timeout).token

    def discard(self, refused: Token) -> None:
        """Take note that an API refused a token: the next caller waits for a renewal first.

        Where none succeeds the token is used until it expires: another API may accept it.
        """
        with self._fetching.lock:
            self._ledger.put_in_margin(refused)

    @property
    def owner(self) -> requests.Session | None:
        """Return the session through whose adapters tokens are fetched, while it lives."""
        return self._supplier.owner

    def adopt(self, owner: requests.Session) -> None:
        """Fetch tokens through the adapters of this session, which is not kept alive by that."""
        self._supplier.adopt(owner)

    def sibling(self, **options: Any) -> TokenSource:
        """Make a source for another API of the same client at the same server.

        ``store``, ``renew_at`` and ``on_event`` are as here where they are left out.
        """
        inherited = {
            "store": self._supplier.store,
            "renew_at": self._renew_at,
            "on_event": self._on_event,
        }
        about_source = {name: options.pop(name, value) for name, value in inherited.items()}
        return TokenSource(self.grant.sibling(**options), **about_source)

    def close(self) -> None:
        """Close the connections to the token endpoint; a flight is not waited for."""
        self._supplier.close()

    def current(self, timeout: float | None = None) -> Held:
        """Return what is held: at once while it is fresh or aging, else after a flight.

        In the margin the token serves all the same where the flight brings none.
        """
        held = self._ledger.held
        if held is not None:
            now = self._ledger.now()
            if now.monotonic < held.aging_monotonic and now.wall < held.aging_wall:
                return held
        try:
            with self._fetching.lock:
                held, part = self._ledger.look()
                if held is not None and part in _GOOD:
                    if part is State.AGING and self._ledger.may_renew_early():
                        self._fetching.renew_early(held)
                    return held
                boarded = self._fetching.board(order_for(_why(part), held))
            return self._fetching.wait(*boarded, timeout)
        except OAuthCCError:
            held, part = self._ledger.look()
            if held is None or part is State.EXPIRED:
                raise
            return held

    def may_replace(self, refused: Token, origin: Origin | None) -> bool:
        """Say whether another token is held, or a renewal may be forced for this API."""
        with self._fetching.lock:
            return self._another(refused, 0.0) is not None or self._ledger.may_force(origin)

    def instead_of(
        self, refused: Token, origin: Origin | None, signed_at: float, timeout: float | None
    ) -> Held | None:
        """Return another token than the one an API refused; None where none shall be forced.

        ``signed_at`` (wall clock) is when the refused request was signed: a token of the store must
        be younger, since more than one token may have been revoked. Raises as `get`.
        """
        with self._fetching.lock:
            another = self._another(refused, signed_at)
            if another is None and not self._ledger.may_force(origin):
                return None
        other = self._other_than(refused, signed_at, timeout)
        if other.is_other_than(refused):
            return other
        self.replay_refused(refused, origin)
        return None

    def refused_without_replay(self, refused: Token, origin: Origin | None) -> bool:
        """Have a refused token renewed before its next use, though no replay tells if that helps.

        So for one API it is done less and less often; False where it was done too recently. Callers
        whose requests can be sent again are not concerned: theirs will tell.
        """
        with self._fetching.lock:
            if not self._ledger.may_force(origin, unproven=True):
                return False
            self._ledger.put_in_margin(refused)
            self._ledger.replay_refused(refused, origin, unproven=True)
            return True

    def replay_refused(self, refused: Token, origin: Origin | None) -> None:
        """Take note that an API refused a brand-new token: leave it alone for a while."""
        with self._fetching.lock:
            self._ledger.replay_refused(refused, origin)

    def replay_accepted(self, origin: Origin | None) -> None:
        """Take note that a renewal helped."""
        with self._fetching.lock:
            self._ledger.replay_accepted(origin)

    def tell(self, event: events.Event) -> None:
        """Log an event and hand it to the observer."""
        events.tell(event, self._on_event)

    def _other_than(self, refused: Token, signed_at: float, timeout: float | None) -> Held:
        begun = time.monotonic()
        held = self._board_for_another(refused, signed_at, timeout)
        if held.may_replace(refused, signed_at) or not held.is_other_than(refused):
            return held
        # The flight had begun before the refusal, and found a token of that time in the store.
        left = (TOTAL_BUDGET if timeout is None else timeout) - (time.monotonic() - begun)
        return self._board_for_another(refused, signed_at, left)

    def _board_for_another(self, refused: Token, signed_at: float, timeout: float | None) -> Held:
        with self._fetching.lock:
            another = self._another(refused, signed_at)
            if another is not None:
                return another
            self._ledger.put_in_margin(refused)
            boarded = self._fetching.board(Order("refused", refused.access_token, signed_at))
        return self._fetching.wait(*boarded, timeout)

    def _another(self, refused: Token, signed_at: float) -> Held | None:
        held, part = self._ledger.look()
        fits = held is not None and part in _GOOD and held.may_replace(refused, signed_at)
        return held if fits else None

    def __getstate__(self) -> dict[str, Any]:
        """Return the configuration: a copy has locks of its own and holds no token yet."""
        return {
            "grant": self.grant,
            "store": self._supplier.store,
            "renew_at": self._renew_at,
            "on_event": self._on_event,
            "settings": self._supplier.current_settings(),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        settings = state.pop("settings")
        self.__init__(**state)  # type: ignore[misc]
        self._supplier.settings = settings


def _why(part: State | None) -> events.Why:
    if part is None:
        return "absent"
    return "margin" if part is State.MARGIN else "expired"


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
