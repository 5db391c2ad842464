from __future__ import annotations

import gc
import time
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from oauthcc import ConfigurationError, Token, TokenEndpointUnavailable, TokenRequestDenied
from oauthcc.stores import MemoryStore
from oauthcc.testing import AuthorizationServer
from oauthcc.testing.faults import unavailable
from oauthcc.token_request.client_config import ClientConfig
from oauthcc.token_request.endpoint import ATTEMPTS
from oauthcc.tokens.fetcher import TokenFetcher, TokenNeed

from .clock import Clock, moved_clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return moved_clock(monkeypatch)


@pytest.fixture
def auth(clock: Clock) -> Iterator[AuthorizationServer]:
    with AuthorizationServer() as server:
        server.now = clock.time
        yield server


Reported = list[tuple[str, Exception]]


class Shop:
    """A supplier, and what it reports of its store."""

    def __init__(self, auth: AuthorizationServer, store: Any = None, secret: Any = None) -> None:
        secret = auth.client_secret if secret is None else secret
        self.owner = requests.Session()
        grant = ClientConfig.of(auth.token_url, auth.client_id, secret)
        self.supplier = TokenFetcher(grant, store)
        self.supplier.adopt(self.owner)
        self.reported: Reported = []

    def obtain(self, order: Order) -> Any:
        deadline = time.monotonic() + 60
        return self.supplier.obtain(order, deadline, lambda *what: self.reported.append(what))

    def close(self) -> None:
        self.supplier.close()
        self.owner.close()


@pytest.fixture
def shop(auth: AuthorizationServer) -> Iterator[Shop]:
    shop = Shop(auth)
    yield shop
    shop.close()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def shared(auth: AuthorizationServer, store: MemoryStore) -> Iterator[Shop]:
    shop = Shop(auth, store)
    yield shop
    shop.close()


def test_without_a_store_every_order_is_a_request(shop: Shop, auth: AuthorizationServer) -> None:
    for number in range(2):
        obtained = shop.obtain(TokenNeed("absent"))
        assert obtained.token.access_token == auth.issued[number]
        assert (obtained.attempts, obtained.from_store) == (1, False)


@pytest.mark.parametrize(
    ("why", "attempts"),
    [("absent", ATTEMPTS), ("expired", ATTEMPTS), ("refused", ATTEMPTS), ("aging", 1)],
)
def test_an_early_renewal_is_tried_once_and_others_as_often_as_somebody_waits(
    shop: Shop, auth: AuthorizationServer, why: Any, attempts: int
) -> None:
    auth.answer_next(unavailable(503, None), None)
    with pytest.raises(TokenEndpointUnavailable):
        shop.obtain(TokenNeed(why))
    assert len(auth.token_requests) == attempts


def test_the_attempts_are_counted(shop: Shop, auth: AuthorizationServer) -> None:
    auth.answer_next(unavailable(503, None), 2)
    assert shop.obtain(TokenNeed("absent")).attempts == 3


def test_what_is_known_holds_while_the_proof_of_the_client_is_unchanged(
    auth: AuthorizationServer,
) -> None:
    secret = ["wrong"]
    shop = Shop(auth, secret=lambda: secret[0])
    with pytest.raises(TokenRequestDenied) as caught:
        shop.obtain(TokenNeed("absent"))
    known = shop.supplier.fingerprint, caught.value
    order = TokenNeed("absent").knowing(known)
    with pytest.raises(TokenRequestDenied) as again:
        shop.obtain(order)
    assert again.value is caught.value
    assert len(auth.token_requests) == 1
    secret[0] = auth.client_secret
    assert shop.obtain(order).attempts == 1
    shop.close()


def test_an_order_knows_what_it_is_told_and_shows_none_of_it() -> None:
    order = TokenNeed("absent", "refused-token")
    assert order.knowing(None) is order
    assert "refused-token" not in repr(order)
    error, same, other = ConfigurationError("a"), ConfigurationError("a"), ConfigurationError("b")
    assert order.as_known(error) is error
    known = order.knowing((None, error))
    assert known.as_known(same) is error
    assert known.as_known(other) is other


def test_what_another_session_put_into_the_store_is_taken(
    shared: Shop, auth: AuthorizationServer, store: MemoryStore
) -> None:
    other = Shop(auth, store)
    token = other.obtain(TokenNeed("absent")).token
    found = shared.obtain(TokenNeed("absent"))
    assert (found.token, found.attempts, found.from_store) == (token, 0, True)
    other.close()


def test_what_is_known_does_not_hold_where_others_had_more_luck(
    shared: Shop, auth: AuthorizationServer, store: MemoryStore
) -> None:
    auth.refuse_next()
    with pytest.raises(TokenRequestDenied) as caught:
        shared.obtain(TokenNeed("absent"))
    order = TokenNeed("absent").knowing((shared.supplier.fingerprint, caught.value))
    with pytest.raises(TokenRequestDenied) as again:
        shared.obtain(order)
    assert again.value is caught.value
    assert len(auth.token_requests) == 1
    other = Shop(auth, store)
    token = other.obtain(TokenNeed("absent")).token
    assert shared.obtain(order).token == token
    assert len(auth.token_requests) == 2
    other.close()


def test_an_order_takes_only_what_fits_it_from_the_store(
    shared: Shop, auth: AuthorizationServer, clock: Clock
) -> None:
    first = shared.obtain(TokenNeed("absent")).token
    second = shared.obtain(TokenNeed("refused", first.access_token)).token
    assert second.access_token != first.access_token
    assert shared.obtain(TokenNeed("absent")).token == second
    clock.advance(1)
    third = shared.obtain(TokenNeed("refused", "some-other-token", clock.wall)).token
    assert third.issued_at == clock.wall
    assert shared.obtain(TokenNeed("refused", "some-other-token", clock.wall)).token == third
    clock.advance(3595)  # in its margin
    assert shared.obtain(TokenNeed("absent")).attempts == 1
    assert len(auth.token_requests) == 4


def test_a_token_of_the_store_that_never_expires_fits(shared: Shop, store: MemoryStore) -> None:
    token = shared.obtain(TokenNeed("absent")).token
    (key,) = store._tokens
    store.save(key, Token("endless", issued_at=token.issued_at))
    assert shared.obtain(TokenNeed("absent")).token.access_token == "endless"


def test_a_secret_that_was_rotated_on_the_way_leaves_the_store_alone(
    auth: AuthorizationServer, store: MemoryStore
) -> None:
    secrets = iter(["old", auth.client_secret])
    shop = Shop(auth, store, lambda: next(secrets))
    assert shop.obtain(TokenNeed("absent")).attempts == 2
    assert not store._tokens
    shop.close()


def test_a_store_that_is_down_is_reported_and_by_passed(auth: AuthorizationServer) -> None:
    class Down(MemoryStore):
        def load(self, key: str) -> Token | None:
            raise OSError("no disk")

    shop = Shop(auth, Down())
    assert shop.obtain(TokenNeed("absent")).attempts == 1
    assert [operation for operation, _ in shop.reported] == ["load"]
    shop.close()


@pytest.mark.parametrize("store", [object(), "memory", MemoryStore, 7])
def test_what_is_no_store_is_refused_at_once(auth: AuthorizationServer, store: Any) -> None:
    with pytest.raises(ConfigurationError, match="load, save and lock"):
        TokenFetcher(ClientConfig.of(auth.token_url, "id", "secret"), store)


def test_the_endpoint_is_made_once_and_set_as_it_was(auth: AuthorizationServer) -> None:
    supplier = TokenFetcher(ClientConfig.of(auth.token_url, "id", "secret"), None)
    assert supplier.current_settings() == {}
    supplier.settings = {"_verify": "/ca.pem"}
    assert supplier.current_settings() == {"_verify": "/ca.pem"}
    endpoint = supplier.endpoint
    assert supplier.endpoint is endpoint
    assert endpoint.verify == "/ca.pem"
    endpoint.verify = False
    assert supplier.current_settings()["_verify"] is False
    supplier.close()


def test_the_owner_lends_its_transport_and_is_not_kept_alive(auth: AuthorizationServer) -> None:
    owner = requests.Session()
    supplier = TokenFetcher(ClientConfig.of(auth.token_url, "id", "secret"), None)
    supplier.adopt(owner)
    endpoint, other = supplier.endpoint, requests.Session()
    assert endpoint.get_adapter(auth.token_url) is owner.get_adapter(auth.token_url)
    supplier.adopt(other)
    assert supplier.owner is other
    assert endpoint.get_adapter(auth.token_url) is other.get_adapter(auth.token_url)
    left = weakref.ref(other)
    del other
    gc.collect()
    assert left() is supplier.owner is None
    supplier.close()


def test_closing_what_was_never_used_is_harmless(auth: AuthorizationServer) -> None:
    TokenFetcher(ClientConfig.of(auth.token_url, "id", "secret"), None).close()
