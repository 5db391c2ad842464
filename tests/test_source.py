from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from oauthcc import (
    ConfigurationError,
    InvalidTokenResponse,
    TokenEndpointTimeout,
    TokenEndpointUnavailable,
    TokenError,
    TokenSource,
)
from oauthcc.events import RenewalFailed, TokenObtained
from oauthcc.stores import MemoryStore
from oauthcc.testing import AuthorizationServer
from oauthcc.testing.faults import oauth_error, unavailable
from oauthcc.token_request.client_config import ClientConfig
from oauthcc.urls import origin_of

from .clock import Clock, flights, flights_done, in_threads, joined, moved_clock, together, until
from .inside import flight_lock_of, flight_of, state_of

API = origin_of("https://api.example/")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return moved_clock(monkeypatch)


@pytest.fixture
def auth(clock: Clock) -> Iterator[AuthorizationServer]:
    with AuthorizationServer() as server:
        server.now = clock.time
        yield server


@pytest.fixture
def events() -> list[Any]:
    return []


@pytest.fixture
def source(auth: AuthorizationServer, events: list[Any]) -> Iterator[TokenSource]:
    with requests.Session() as owner:
        made = TokenSource(grant_of(auth), on_event=events.append)
        made.adopt(owner)
        yield made
        flights_done()
        made.close()


def grant_of(auth: AuthorizationServer, secret: Any = None, **options: Any) -> ClientConfig:
    return ClientConfig.of(auth.token_url, auth.client_id, secret or auth.client_secret, **options)


def count(auth: AuthorizationServer) -> int:
    return len(auth.token_requests)


# -- get -------------------------------------------------------------------------------------------


def test_making_a_source_costs_nothing(auth: AuthorizationServer, source: TokenSource) -> None:
    assert count(auth) == 0
    assert source.grant.client_id == auth.client_id
    assert count(auth) == 0


def test_a_token_is_fetched_once_and_kept(auth: AuthorizationServer, source: TokenSource) -> None:
    token = source.get()
    assert token.access_token == auth.issued[0]
    assert source.get() is token
    assert count(auth) == 1


def test_a_warm_token_is_read_without_the_lock(
    auth: AuthorizationServer, source: TokenSource
) -> None:
    token = source.get()
    with flight_lock_of(source):
        assert together(1, lambda: source.get(timeout=1)) == [token]


def test_an_aging_token_is_given_out_at_once_and_renewed_behind(
    auth: AuthorizationServer, source: TokenSource, clock: Clock, events: list[Any]
) -> None:
    token = source.get()
    clock.advance(3000)
    with auth.hold() as gate:
        for _ in range(5):
            assert source.get(timeout=1) is token
        gate.wait_for(1)
        assert len(flights()) == 1
    flights_done()
    assert source.get() is not token
    assert count(auth) == 2
    assert [(e.why, e.waiters, e.attempts) for e in events] == [
        ("absent", 1, 1),
        ("aging", 0, 1),
    ]
    assert all(event.seconds >= 0 and event.expires_in == 3600 for event in events)


def test_a_failed_early_renewal_is_an_event_and_nothing_else(
    auth: AuthorizationServer, source: TokenSource, clock: Clock, events: list[Any]
) -> None:
    token = source.get()
    clock.advance(3000)
    auth.answer_next(unavailable(503, None), None)
    for _ in range(5):
        assert source.get() is token
        flights_done()
    assert count(auth) == 2
    failed = events[-1]
    assert isinstance(failed, RenewalFailed)
    assert (failed.why, failed.usable) == ("aging", True)
    assert isinstance(failed.error, TokenEndpointUnavailable)


def test_whoever_comes_at_expiry_waits_for_the_early_flight_that_is_under_way(
    auth: AuthorizationServer, source: TokenSource, clock: Clock
) -> None:
    source.get()
    clock.advance(3000)
    with auth.hold() as gate:
        source.get()
        gate.wait_for(1)
        clock.advance(601)
        late: list[Any] = []
        waiting = in_threads(3, lambda: late.append(source.get()))
        until(lambda: flight_of(source) is not None and flight_of(source).waiters == 3)
    joined(waiting)
    assert {token.access_token for token in late} == {auth.issued[1]}
    assert count(auth) == 2


def test_in_the_margin_callers_wait_and_use_the_token_where_nothing_comes(
    auth: AuthorizationServer, source: TokenSource, clock: Clock
) -> None:
    token = source.get()
    clock.advance(3595)
    auth.answer_next(unavailable(503, None), None)
    assert source.get() is token
    assert source.get() is token
    clock.advance(6)
    with pytest.raises(TokenEndpointUnavailable):
        source.get()


def test_a_token_that_expires_while_a_caller_waits_in_its_margin_is_not_used(
    auth: AuthorizationServer, source: TokenSource, clock: Clock
) -> None:
    source.get()
    clock.advance(3595)
    auth.watch = lambda request, outcome: clock.advance(10)
    auth.answer_next(oauth_error("invalid_scope"), None)
    with pytest.raises(TokenError, match="invalid_scope"):
        source.get()


@pytest.mark.parametrize("timeout", [0, -1, 0.01])
def test_no_patience_is_an_error_that_says_what_to_allow(
    auth: AuthorizationServer, source: TokenSource, timeout: Any
) -> None:
    with auth.hold(), pytest.raises(TokenEndpointTimeout, match="Allow more by timeout=") as caught:
        source.get(timeout=timeout)
    assert caught.value.__suppress_context__
    flights_done()
    assert source.get().access_token == auth.issued[0]


def test_nobody_waits_longer_than_a_minute(
    auth: AuthorizationServer, source: TokenSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    wait = Flight.wait

    def noted(flight: Flight[Any], timeout: float) -> Any:
        waited.append(timeout)
        return wait(flight, timeout)

    monkeypatch.setattr(Flight, "wait", noted)
    source.get()
    source.renew(timeout=1e9)
    assert waited == [60, 60]


# -- errors ----------------------------------------------------------------------------------------


def test_what_is_not_ours_becomes_a_token_error_that_quotes_nothing(
    auth: AuthorizationServer, events: list[Any]
) -> None:
    class Scheme(type(grant_of(auth).scheme)):  # type: ignore[misc]
        def authorization(self, token: Any) -> Any:
            raise LookupError(token.access_token)

    source = TokenSource(grant_of(auth, scheme=Scheme()), on_event=events.append)
    with pytest.raises(TokenError, match="LookupError was raised on the way") as caught:
        source.get()
    assert isinstance(caught.value.__cause__, LookupError)
    assert auth.issued[0] not in str(caught.value)
    flights_done()
    assert [type(event) for event in events] == [RenewalFailed]
    source.close()


def test_an_answer_that_is_no_token_is_an_error(
    auth: AuthorizationServer, source: TokenSource
) -> None:
    auth.token_fields = {"access_token": ""}
    with pytest.raises(InvalidTokenResponse):
        source.get()


def test_a_flight_that_was_stopped_is_an_error_and_the_next_one_goes(
    auth: AuthorizationServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda args: None)
    stops = [SystemExit]

    def secret() -> str:
        for stop in stops:
            stops.clear()
            raise stop
        return "demo-secret"

    source = TokenSource(grant_of(auth, secret))
    with pytest.raises(TokenError, match="interrupted by SystemExit; try again"):
        source.get()
    assert source.get().access_token == auth.issued[0]
    source.close()


def test_an_interrupt_while_a_flight_is_started_leaves_nobody_waiting(
    auth: AuthorizationServer, source: TokenSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(flight: Flight[Any]) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Flight, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            source.get()
    assert source.get(timeout=5).access_token == auth.issued[0]


# -- renew and discard -----------------------------------------------------------------------------


def test_renew_brings_another_token(auth: AuthorizationServer, source: TokenSource) -> None:
    first = source.renew()
    assert first.access_token == auth.issued[0]
    second = source.renew()
    assert second.access_token == auth.issued[1]
    assert source.get() is second


def test_renew_costs_nothing_where_another_token_is_held(
    auth: AuthorizationServer, source: TokenSource
) -> None:
    first = source.get()
    second = source.renew(first)
    assert source.renew(first) is second
    assert count(auth) == 2


def test_renewing_a_token_that_was_never_held_costs_nothing_but_the_first(
    auth: AuthorizationServer, source: TokenSource, clock: Clock
) -> None:
    token = source.get()
    clock.advance(5000)
    other = source.renew(token)
    assert source.renew(token) is other
    assert count(auth) == 2


def test_64_who_renew_the_same_token_share_one(
    auth: AuthorizationServer, source: TokenSource
) -> None:
    token = source.get()
    renewed = together(64, lambda: source.renew(token))
    assert {id(one) for one in renewed} == {id(source.get())}
    assert (count(auth), auth.max_concurrent) == (2, 1)


def test_renew_returns_the_same_token_where_the_server_insists(
    auth: AuthorizationServer, source: TokenSource
) -> None:
    token = source.get()
    auth.make_token = lambda: token.access_token
    assert source.renew(token).access_token == token.access_token
    assert source.get(timeout=1).access_token == token.access_token
    assert count(auth) == 2


def test_renew_raises_where_the_token_that_is_held_would_do_for_get(
    auth: AuthorizationServer, source: TokenSource
) -> None:
    token = source.get()
    auth.answer_next(unavailable(503, None), None)
    with pytest.raises(TokenEndpointUnavailable):
        source.renew()
    assert source.get() is token


def test_a_discarded_token_is_renewed_first_and_used_where_that_fails(
    auth: AuthorizationServer, source: TokenSource
) -> None:
    token = source.get()
    source.mark_refused(token)
    auth.answer_next(unavailable(503, None), 3)
    assert source.get() is token
    state_of(source).failure = None
    other = source.get()
    assert other is not token
    source.mark_refused(token)  # an old one: nobody cares
    assert source.get() is other


def test_while_a_refused_token_is_renewed_nobody_is_given_it(
    auth: AuthorizationServer, source: TokenSource
) -> None:
    refused, got = source.get(), list[Any]()
    with auth.hold() as gate:
        waiting = in_threads(1, lambda: got.append(source.renew(refused)))
        gate.wait_for(1)
        waiting += in_threads(1, lambda: got.append(source.get()))
        fetching = source._fetching
        until(lambda: fetching.flight is None or fetching.flight.waiters == 2 or bool(got))
    joined(waiting)
    assert [token.access_token for token in got] == [auth.issued[1]] * 2


# -- for those who saw a 401 -----------------------------------------------------------------------


def test_another_token_stands_in_for_the_refused_one(
    auth: AuthorizationServer, source: TokenSource, clock: Clock
) -> None:
    refused = source.get()
    assert source.may_replace(refused, API)
    other = source.instead_of(refused, API, clock.wall, None)
    assert other is not None
    assert other.token.access_token == auth.issued[1]
    assert source.instead_of(refused, API, clock.wall, None) is other
    assert count(auth) == 2


def test_the_same_token_again_stands_in_for_nothing_and_is_not_asked_for_soon(
    auth: AuthorizationServer, source: TokenSource, clock: Clock
) -> None:
    refused = source.get()
    auth.make_token = lambda: refused.access_token
    assert source.instead_of(refused, API, clock.wall, None) is None
    assert not source.may_replace(refused, API)
    assert source.instead_of(refused, API, clock.wall, None) is None
    assert count(auth) == 2
    assert source.may_replace(refused, origin_of("https://other.example/"))
    clock.advance(1)
    assert source.may_replace(refused, API)


def test_an_accepted_replay_ends_the_pause(auth: AuthorizationServer, source: TokenSource) -> None:
    refused = source.get()
    source.replay_refused(refused, API)
    assert not source.may_replace(refused, API)
    source.replay_accepted(API)
    assert source.may_replace(refused, API)


def test_a_refusal_that_no_replay_tells_of_has_the_token_renewed_less_and_less_often(
    auth: AuthorizationServer, source: TokenSource, clock: Clock
) -> None:
    renewed = []
    for second in range(20):
        if source.refused_without_replay(source.get(), API):
            renewed.append(second)
        clock.advance(1)
    assert renewed == [0, 1, 3, 7, 15]
    assert count(auth) == 6
    assert source.may_replace(source.get(), API)


def test_a_newer_token_is_used_during_the_pause(
    auth: AuthorizationServer, source: TokenSource, clock: Clock
) -> None:
    old = source.get()
    new = source.renew(old)
    source.replay_refused(new, API)
    assert not source.may_replace(new, API)
    assert source.may_replace(old, API)
    other = source.instead_of(old, API, clock.wall, None)
    assert other is not None
    assert other.token is new


def test_a_refusal_while_an_outage_is_remembered_is_that_error(
    auth: AuthorizationServer, source: TokenSource, clock: Clock
) -> None:
    refused = source.get()
    auth.answer_next(unavailable(503, None), None)
    for _ in range(5):
        with pytest.raises(TokenEndpointUnavailable):
            source.instead_of(refused, API, clock.wall, None)
    assert count(auth) == 4


def test_a_token_of_the_store_that_may_be_revoked_too_does_not_stand_in_for_another(
    auth: AuthorizationServer, clock: Clock
) -> None:
    class SlowStore(MemoryStore):
        def __init__(self) -> None:
            super().__init__()
            self.asked, self.free = threading.Event(), threading.Event()

        def load(self, key: str) -> Any:
            self.asked.set()
            assert self.free.wait(20)
            return super().load(key)

    store = SlowStore()
    store.free.set()
    source, other = (TokenSource(grant_of(auth), store=store) for _ in range(2))
    refused = source.get()
    clock.advance(2900)
    other.renew(refused)
    store.free.clear()
    store.asked.clear()
    source.get()  # an early flight begins, and is about to find the other one's token
    assert store.asked.wait(20)
    clock.advance(1)  # all tokens are revoked, and a request with this one is refused
    found: list[Any] = []
    waiting = in_threads(2, lambda: found.append(source.instead_of(refused, API, clock.wall, None)))
    until(lambda: flight_of(source) is not None and flight_of(source).waiters == 2)
    store.free.set()
    joined(waiting)
    assert {held.token.access_token for held in found} == {auth.issued[2]}
    assert count(auth) == 3
    for made in (source, other):
        made.close()


# -- what it is made of ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "renew_at",
    [None, 0.7, (0.7,), (0.8, 0.6), (0.0, 0.5), (0.6, 1.1), (-1, 1), ("a", "b"), (0.1, 0.2, 0.3)],
)
def test_shares_of_a_lifetime_that_make_no_sense_are_refused(
    auth: AuthorizationServer, renew_at: Any
) -> None:
    with pytest.raises(ConfigurationError, match="renew_at must be two shares"):
        TokenSource(grant_of(auth), renew_at=renew_at)


def test_an_observer_that_cannot_be_called_is_refused(auth: AuthorizationServer) -> None:
    with pytest.raises(ConfigurationError, match="on_event"):
        TokenSource(grant_of(auth), on_event="print")  # type: ignore[arg-type]


def test_a_sibling_has_another_scope_and_shares_the_rest(
    auth: AuthorizationServer, source: TokenSource, events: list[Any]
) -> None:
    sibling = source.sibling(scope="other")
    assert sibling.get().scope == "other"
    assert sibling.grant.client_id == source.grant.client_id
    flights_done()
    assert [type(event) for event in events] == [TokenObtained]
    assert source.get().access_token != sibling.get().access_token
    quiet = source.sibling(scope="third", on_event=None, renew_at=(0.1, 0.2), store=MemoryStore())
    quiet.get()
    assert len(events) == 2
    for made in (sibling, quiet):
        made.close()


def test_a_source_adopts_an_owner(auth: AuthorizationServer) -> None:
    source = TokenSource(grant_of(auth))
    assert source.owner is None
    with requests.Session() as owner:
        source.adopt(owner)
        assert source.owner is owner
        source.get()
        assert source.endpoint.get_adapter(auth.token_url) is owner.get_adapter(auth.token_url)
    source.close()


@pytest.mark.parametrize("copied", [lambda s: pickle.loads(pickle.dumps(s)), copy.deepcopy])
def test_a_copy_has_a_lock_of_its_own_and_no_token(auth: AuthorizationServer, copied: Any) -> None:
    source = TokenSource(grant_of(auth), renew_at=(0.3, 0.4), store=MemoryStore())
    source.endpoint.verify = "/ca.pem"
    token = source.get()
    twin = copied(source)
    assert state_of(twin).current is None
    assert twin._renew_at == (0.3, 0.4)
    assert twin.endpoint.verify == "/ca.pem"
    assert token.access_token.encode() not in pickle.dumps(source)
    with flight_lock_of(source):
        assert len(together(1, lambda: twin.get(timeout=5).access_token)) == 1
    for made in (source, twin):
        made.close()


def test_closing_does_not_wait_and_the_result_of_a_flight_is_kept(
    auth: AuthorizationServer, source: TokenSource
) -> None:
    with auth.hold() as gate:
        waiting = in_threads(1, source.get)
        gate.wait_for(1)
        source.close()
    joined(waiting)
    assert source.get().access_token == auth.issued[0]
    assert count(auth) == 1


def test_a_store_that_is_by_passed_is_told(auth: AuthorizationServer, events: list[Any]) -> None:
    class Down(MemoryStore):
        def load(self, key: str) -> Any:
            raise OSError("no disk")

    source = TokenSource(grant_of(auth), store=Down(), on_event=events.append)
    source.get()
    flights_done()
    assert [type(event).__name__ for event in events] == ["StoreBypassed", "TokenObtained"]
    source.close()
