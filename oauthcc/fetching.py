"""One fetch at a time: take off, board, wait, land.

Early renewal and single flight are the same mechanism. A flight brings its result into the ledger
before anybody is told, and nobody boards it after that.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import requests

from . import events
from .errors import OAuthCCError, TokenEndpointTimeout, TokenError
from .flight import Flight, FlightLost, StillFlying
from .ledger import Held, Ledger
from .renewal import TOTAL_BUDGET
from .supplier import Order, Supplier


class Fetching:
    """Bring tokens from the supplier into the ledger, once for everybody who waits.

    ``lock`` guards the ledger and ``flight``; `board` and `renew_early` are called with it held.
    """

    def __init__(
        self, ledger: Ledger, supplier: Supplier, tell: Callable[[events.Event], None]
    ) -> None:
        self._ledger = ledger
        self._supplier = supplier
        self._tell = tell
        self.begin_anew()

    def begin_anew(self) -> None:
        """Have a lock that nobody holds, and no flight: so in the child of a fork."""
        # Re-entrant, since a signal handler or a finalizer may use the session in a thread that
        # holds it: it waits in vain then, but ends.
        self.lock: AbstractContextManager[bool] = threading.RLock()
        self.flight: Flight[Held] | None = None

    def renew_early(self, held: Held) -> None:
        """Start a flight that nobody waits for, unless one is in the air."""
        if self.flight is not None and self.flight.is_in_the_air:
            return
        _, started = self._take_off(order_for("aging", held))
        if not started:
            self.flight = None
            self._ledger.no_thread(held)

    def board(self, order: Order) -> tuple[Flight[Held], bool]:
        """Return the flight to wait for, and whether the caller must fly it.

        Raises the caller's own copy of an error that is still remembered.
        """
        flight, started = self.flight, True
        if flight is None or not flight.is_in_the_air:
            known = self._ledger.remembered(others=self._supplier.store is not None)
            flight, started = self._take_off(order.knowing(known))
        elif flight.is_mine:
            raise TokenError(
                "The session was used from inside its own token request (by a secret callable, an"
                " adapter or a hook of the token endpoint); use another session there."
            )
        flight.waiters += 1
        return flight, not started

    def _take_off(self, order: Order) -> tuple[Flight[Held], bool]:
        told: list[events.Event] = []
        flight = Flight(
            partial(self._fly, order, told), TOTAL_BUDGET, partial(self._tell_all, told)
        )
        self.flight = flight
        try:
            return flight, not (order.why != "aging" and _is_mocked()) and flight.start()
        except BaseException:
            self.flight = None  # interrupted: whether it flies is unknown, so nobody shall wait
            raise

    def wait(
        self,
        flight: Flight[Held],
        fly_it: bool,  # noqa: FBT001 - it comes as `board` returns it
        timeout: float | None,
    ) -> Held:
        """Return what a flight brings, or raise what stopped it, within ``timeout`` seconds."""
        if fly_it:
            flight.run()
        patience = TOTAL_BUDGET if timeout is None else min(timeout, TOTAL_BUDGET)
        try:
            return flight.wait(patience)
        except StillFlying:
            raise TokenEndpointTimeout(
                f"No token arrived from {self._ledger.name} within {patience:g} seconds; it is"
                " still being fetched. Allow more by timeout=, or look at that server."
            ) from None
        except FlightLost as lost:
            raise TokenError(f"The token request was interrupted by {lost}; try again.") from None

    def _fly(self, order: Order, told: list[events.Event]) -> Held:
        """Do what a flight is for, on its thread."""
        begun = time.monotonic()
        try:
            obtained = self._supplier.obtain(
                order,
                begun + TOTAL_BUDGET,
                lambda operation, error: told.append(events.StoreBypassed(operation, error)),
            )
            header = self._supplier.grant.scheme.authorization(obtained.token)
        except Exception as error:  # noqa: BLE001 - every waiter raises it
            ours = order.as_known(_as_ours(error))
            with self.lock:
                told += self._ledger.write_off(ours, order.why, self._supplier.fingerprint)
                self._close_boarding()
            raise ours from ours.__cause__
        with self.lock:
            held = self._ledger.take_in(
                obtained.token, header, order.why, begun, from_store=obtained.from_store
            )
            self._close_boarding()
        told.append(
            events.TokenObtained(
                self._ledger.name,
                order.why,
                time.monotonic() - begun,
                obtained.token.lifetime,
                obtained.attempts,
            )
        )
        return held

    def _close_boarding(self) -> None:
        # The result is in the ledger. Whoever boarded now, with that very token refused, would be
        # given it once more.
        if self.flight is not None and self.flight.is_mine:
            self.flight = None

    def _tell_all(self, told: list[events.Event], waiters: int) -> None:
        for event in told:
            self._tell(event.seen_by(waiters) if isinstance(event, events.TokenObtained) else event)


def order_for(why: events.Why, held: Held | None) -> Order:
    """Ask for a token that is neither the one held nor older: that may have been refused before."""
    if held is None:
        return Order(why)
    return Order(why, held.token.access_token, held.token.issued_at)


def _is_mocked() -> bool:
    # requests-mock holds one lock around every send, redirects and hooks included: there the caller
    # would wait for the flight, and the flight for the caller. So the caller flies.
    return getattr(requests.Session.send, "__module__", None) == "requests_mock.mocker"


def _as_ours(error: Exception) -> OAuthCCError:
    if isinstance(error, OAuthCCError):
        error.__context__ = None  # what its own text hides may be quoted there
        return error
    # Its text is foreign and may quote anything; whoever debugs finds it as the cause. Its frames
    # hold the client's secret, and crash reporters send what frames hold: told is where they end.
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    where = f"{Path(frame.f_code.co_filename).name}, line {line}"
    ours = TokenError(
        f"No token could be had: {type(error).__name__} was raised on the way ({where})."
    )
    ours.__cause__ = _without_frames(error)
    return ours


def _without_frames(error: BaseException) -> BaseException:
    """Take the frames off an error and off all that led to it."""
    chain: list[BaseException | None] = [error]
    seen: set[int] = set()
    while chain:
        one = chain.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            one.__traceback__ = None
            chain += [one.__cause__, one.__context__]
    return error
