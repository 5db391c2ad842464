from __future__ import annotations

import contextlib
import gc
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from oauthcc import ConfigurationError, Token, TokenEndpointUnavailable, TokenRequestDenied
from oauthcc.events import StoreBypassed
from oauthcc.schemes import Bearer
from oauthcc.stores import MemoryStore
from oauthcc.testing import AuthorizationServer
from oauthcc.testing.faults import unavailable
from oauthcc.token_request.client_config import ClientConfig
from oauthcc.tokens.fetcher import ATTEMPTS, TokenFetcher, TokenNeed

from .clock import Clock, moved_clock

ABSENT = TokenNeed("absent")
Make = Callable[..., TokenFetcher]


@pytest.fixture
def clock(auth: AuthorizationServer, monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = moved_clock(monkeypatch)
    auth.now = clock.time
    return clock


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def make(auth: AuthorizationServer, clock: Clock) -> Iterator[Make]:
    """Return a function that makes a fetcher with a transport of its own."""
    with contextlib.ExitStack() as stack:

        def made(store: Any = None, secret: Any = None) -> TokenFetcher:
            config = ClientConfig.of(auth.token_url, auth.client_id, secret or auth.client_secret)
            fetcher = TokenFetcher(config, store)
            fetcher.owner.adopt(stack.enter_context(requests.Session()))
            stack.callback(fetcher.close)
            return fetcher

        yield made


def token_of(fetcher: TokenFetcher, need: TokenNeed = ABSENT) -> Token:
    token = fetcher.fetch(need).token
    assert token is not None
    return token


def test_without_a_store_every_fetch_is_a_request(make: Make, auth: AuthorizationServer) -> None:
    fetcher, before = make(), time.monotonic()
    for number in range(2):
        result = fetcher.fetch(ABSENT)
        assert result.token is not None
        assert result.token.access_token == auth.issued[number]
        assert result.header == f"Bearer {auth.issued[number]}"
        assert (result.why, result.attempts, result.error) == ("absent", 1, None)
        assert 0 <= result.seconds <= time.monotonic() - before


@pytest.mark.parametrize("store", [None, MemoryStore()], ids=["alone", "with a store"])
@pytest.mark.parametrize(("why", "attempts"), [("absent", ATTEMPTS), ("aging", 1)])
def test_an_early_renewal_is_tried_once_and_any_other_fetch_more_often(
    make: Make, auth: AuthorizationServer, why: Any, attempts: int, store: MemoryStore | None
) -> None:
    auth.answer_next(unavailable(503, None), None)
    assert isinstance(make(store).fetch(TokenNeed(why)).error, TokenEndpointUnavailable)
    assert len(auth.token_requests) == attempts


def test_the_plain_header_of_a_scheme_of_the_user_becomes_one_that_shows_no_token(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Bearer, "authorization", lambda _, token: f"Key {token.access_token}")
    result = make().fetch(ABSENT)
    assert result.token is not None
    assert result.header == f"Key {result.token.access_token}"
    assert repr(result.header) == "'Key ***'"


def test_the_attempts_are_counted(make: Make, auth: AuthorizationServer) -> None:
    auth.answer_next(unavailable(503, None), 2)
    assert make().fetch(ABSENT).attempts == 3


def test_a_known_error_applies_until_the_secret_changes(
    make: Make, auth: AuthorizationServer
) -> None:
    secret = ["wrong"]
    fetcher = make(secret=lambda: secret[0])
    first = fetcher.fetch(ABSENT)
    assert isinstance(first.error, TokenRequestDenied)
    need = TokenNeed("absent", known=(first.fingerprint, first.error))
    assert fetcher.fetch(need).error is first.error
    assert len(auth.token_requests) == 1
    secret[0] = auth.client_secret
    assert fetcher.fetch(need).attempts == 1


def test_an_error_that_equals_the_known_one_is_the_known_one(make: Make) -> None:
    fetcher = make(secret=lambda: "")
    first = fetcher.fetch(ABSENT)
    assert isinstance(first.error, ConfigurationError)
    assert first.fingerprint is None
    assert fetcher.fetch(TokenNeed("absent", known=(None, first.error))).error is first.error
    other = ConfigurationError("another error")
    error = fetcher.fetch(TokenNeed("absent", known=(None, other))).error
    assert error is not other
    assert str(error) == str(first.error)


def test_a_need_and_its_result_show_no_token(make: Make, auth: AuthorizationServer) -> None:
    assert "refused-token" not in repr(TokenNeed("absent", "refused-token"))
    known = b"a fingerprint", TokenRequestDenied("an error")
    assert "a fingerprint" not in repr(TokenNeed("absent", known=known))
    assert auth.issued == []
    result = make().fetch(ABSENT)
    assert auth.issued[0] not in repr(result)


def test_a_token_that_another_session_stored_is_used(
    make: Make, auth: AuthorizationServer, store: MemoryStore
) -> None:
    token = token_of(make(store))
    found = make(store).fetch(ABSENT)
    assert (found.token, found.attempts) == (token, 0)


def test_a_known_error_does_not_apply_if_another_session_has_stored_a_token(
    make: Make, auth: AuthorizationServer, store: MemoryStore
) -> None:
    fetcher = make(store)
    auth.refuse_next()
    first = fetcher.fetch(ABSENT)
    assert isinstance(first.error, TokenRequestDenied)
    need = TokenNeed("absent", known=(first.fingerprint, first.error))
    assert fetcher.fetch(need).error is first.error
    assert len(auth.token_requests) == 1
    token = token_of(make(store))
    assert fetcher.fetch(need).token == token
    assert len(auth.token_requests) == 2


def test_a_token_of_the_store_is_used_only_if_it_meets_the_need(
    make: Make, auth: AuthorizationServer, clock: Clock, store: MemoryStore
) -> None:
    fetcher = make(store)
    first = token_of(fetcher)
    second = token_of(fetcher, TokenNeed("refused", first.access_token))
    assert second.access_token != first.access_token
    assert token_of(fetcher) == second
    clock.advance(1)
    younger = TokenNeed("refused", "some-other-token", clock.wall)
    third = token_of(fetcher, younger)
    assert third.issued_at == clock.wall
    assert token_of(fetcher, younger) == third
    clock.advance(3595)  # into its margin
    assert fetcher.fetch(ABSENT).attempts == 1
    assert len(auth.token_requests) == 4


def test_a_token_of_the_store_that_never_expires_is_used(make: Make, store: MemoryStore) -> None:
    fetcher = make(store)
    token = token_of(fetcher)
    (key,) = store._tokens
    store.save(key, Token("endless", issued_at=token.issued_at))
    assert token_of(fetcher).access_token == "endless"


@pytest.mark.parametrize(("set_back", "requests"), [(10, 1), (3004, 1), (3006, 2), (7200, 2)])
def test_a_stored_token_that_was_issued_in_the_future_is_not_used(
    make: Make,
    auth: AuthorizationServer,
    clock: Clock,
    store: MemoryStore,
    *,
    set_back: float,
    requests: int,
) -> None:
    auth.now = time.time
    first = token_of(make(store))
    clock.advance(3000)
    clock.wall -= set_back
    found = token_of(make(store))
    assert (found == first) == (requests == 1)
    assert len(auth.token_requests) == requests
    # A token that was issued by the present clock is shared again.
    assert token_of(make(store)) == found


def test_a_token_is_not_stored_under_the_key_of_a_secret_that_has_changed(
    make: Make, auth: AuthorizationServer, store: MemoryStore
) -> None:
    secrets = iter(["old", auth.client_secret])
    assert make(store, lambda: next(secrets)).fetch(ABSENT).attempts == 2
    assert not store._tokens


def test_a_store_that_fails_is_reported_and_bypassed(make: Make) -> None:
    class Broken(MemoryStore):
        def load(self, key: str) -> Token | None:
            raise OSError("no disk")

    result = make(Broken()).fetch(ABSENT)
    assert result.attempts == 1
    (event,) = result.events
    assert isinstance(event, StoreBypassed)
    assert event.operation == "load"


@pytest.mark.parametrize("store", ["memory", MemoryStore], ids=["text", "class"])
def test_an_object_that_is_not_a_store_is_rejected(store: Any) -> None:
    with pytest.raises(ConfigurationError, match="load, save and lock"):
        TokenFetcher(ClientConfig.of("https://as.example/token", "id", "secret"), store)


def test_the_endpoint_is_made_once_with_the_settings_of_the_original(make: Make) -> None:
    fetcher = make()
    fetcher.close()  # closes nothing yet
    assert fetcher.current_settings() == {}
    fetcher.settings = {"_verify": "/ca.pem"}
    assert fetcher.current_settings() == {"_verify": "/ca.pem"}
    endpoint = fetcher.endpoint
    assert fetcher.endpoint is endpoint
    assert endpoint.verify == "/ca.pem"
    endpoint.verify = False
    assert fetcher.current_settings()["_verify"] is False


def test_the_owner_provides_the_transport_and_is_not_kept_alive(
    auth: AuthorizationServer, make: Make
) -> None:
    fetcher, owner, other = make(), requests.Session(), requests.Session()
    fetcher.owner.adopt(owner)
    endpoint = fetcher.endpoint
    assert endpoint.get_adapter(auth.token_url) is owner.get_adapter(auth.token_url)
    fetcher.owner.adopt(other)
    assert fetcher.owner.session() is other
    assert endpoint.get_adapter(auth.token_url) is other.get_adapter(auth.token_url)
    left = weakref.ref(other)
    del other
    gc.collect()
    assert left() is fetcher.owner.session() is None
