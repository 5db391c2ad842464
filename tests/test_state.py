from __future__ import annotations

import random
import traceback
from typing import Any

import pytest

from oauthcc import ConfigurationError, DiscoveryError, Token, TokenError, TokenRequestDenied
from oauthcc.events import RefusalRemembered, RenewalFailed, Why
from oauthcc.schemes import Bearer
from oauthcc.tokens.renewal import Phase
from oauthcc.tokens.state import CurrentToken
from oauthcc.urls import Origin, origin_of

from .clock import Clock

API, OTHER = origin_of("https://api.example/"), origin_of("https://other.example/")
FOR_HUMANS = [TokenRequestDenied, ConfigurationError, DiscoveryError]


NAME = "https://as.example/token"


class Books:
    """A ledger on a clock that a test moves, and short ways to write into it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.clock.monotonic = 1000.0  # so that sums come out even
        self.ledger = Ledger(NAME, (0.7, 0.7))
        self.ledger.now = self.clock
        self.begun = 0.0

    def arrive(
        self, name: str, why: Why = "absent", lifetime: float | None = 100.0, **given: Any
    ) -> CurrentToken:
        now = self.clock.wall
        expires_at = None if lifetime is None else now + lifetime
        token = Token(name, issued_at=now, expires_at=expires_at)
        self.begun = given.pop("begun", self.begun + 1.0)
        header = Bearer().authorization(token)
        return self.ledger.take_in(token, header, why, self.begun, **given)

    def fail(self, error: Exception, why: Why = "expired", proof: bytes | None = b"p") -> Any:
        return self.ledger.write_off(error, why, proof)

    @property
    def part(self) -> State | None:
        return self.ledger.look()[1]


@pytest.fixture
def books() -> Books:
    return Books()


def test_nothing_is_known_at_first(books: Books) -> None:
    assert books.ledger.look() == (None, None)
    assert books.ledger.remembered() is None
    assert books.ledger.may_renew_early()
    assert books.ledger.may_force(API)


def test_what_arrives_is_held_and_ages(books: Books) -> None:
    held = books.arrive("one")
    assert books.ledger.look() == (held, Phase.FRESH)
    assert held.header == "Bearer one"
    assert (held.aging_monotonic, held.aging_wall) == held.plan.aging
    parts = []
    for seconds in (69.9, 0.2, 20.0, 10.0):
        books.clock.advance(seconds)
        parts.append(books.part)
    assert parts == [Phase.FRESH, Phase.AGING, Phase.MARGIN, Phase.EXPIRED]


def test_a_renewal_point_is_drawn_for_every_token_within_its_bounds(books: Books) -> None:
    ledger = Ledger("name", (0.6, 0.8))
    ledger.now = books.clock
    random.seed(20)
    points = set()
    for number in range(50):
        now = books.clock.wall
        token = Token(str(number), issued_at=now, expires_at=now + 1000)
        held = ledger.take_in(token, Bearer().authorization(token), "absent", float(number))
        points.add(held.aging_wall - now)
    assert len(points) == 50
    assert min(points) >= 600
    assert max(points) <= 800.0001
    assert max(points) - min(points) > 100


def test_a_new_token_ends_failures_and_pauses(books: Books) -> None:
    books.arrive("one")
    books.clock.advance(75)
    books.fail(TokenError(), "aging")
    assert books.ledger.failure is not None
    assert not books.ledger.may_renew_early()
    books.arrive("two", "aging")
    assert books.ledger.failure is None
    assert books.ledger.may_renew_early()


def test_the_same_token_early_goes_on_aging_after_a_pause(books: Books) -> None:
    books.arrive("one")
    books.clock.advance(75)
    held = books.arrive("one", "aging")
    assert books.ledger.look() == (held, Phase.AGING)
    assert not books.ledger.may_renew_early()
    books.clock.advance(2)
    assert books.ledger.may_renew_early()


@pytest.mark.parametrize("why", ["refused", "margin", "expired"])
def test_the_same_token_late_is_believed(books: Books, why: Why) -> None:
    held = books.arrive("one")
    books.ledger.put_in_margin(held.token)
    assert books.ledger.look()[1] is Phase.MARGIN
    books.arrive("one", why)
    assert books.part is Phase.FRESH


def test_a_late_flight_brings_nothing_better(books: Books) -> None:
    held = books.arrive("new", begun=5.0)
    for wait in (0.0, 75.0, 20.0):  # fresh, aging, in its margin
        books.clock.advance(wait)
        late = books.arrive("late", begun=4.0)
        assert late.token.access_token == "late"
        assert books.ledger.held is held
    books.clock.advance(10.0)
    assert books.part is Phase.EXPIRED
    assert books.arrive("late", begun=4.0) is books.ledger.held


def test_a_late_flight_does_not_make_a_failure_forgotten(books: Books) -> None:
    books.arrive("new", begun=5.0)
    books.clock.advance(75)
    books.fail(TokenError(), "aging")
    books.arrive("late", begun=4.0)
    assert books.ledger.failure is not None


def test_a_token_that_was_issued_earlier_by_a_clock_set_back_is_no_late_one(books: Books) -> None:
    books.arrive("one")
    books.clock.wall -= 86400
    held = books.arrive("two")
    assert books.ledger.held is held


def test_only_the_token_held_is_put_in_its_margin(books: Books) -> None:
    one = books.arrive("one")
    books.ledger.put_in_margin(Token("other"))
    assert books.ledger.look()[1] is Phase.FRESH
    books.ledger.put_in_margin(one.token)
    assert books.part is Phase.MARGIN
    Books().ledger.put_in_margin(one.token)  # where nothing is held, nothing happens


def test_a_failure_is_told_with_what_comes_next(books: Books) -> None:
    error = TokenError("no luck")
    (event,) = books.fail(error, "absent")
    assert event == RenewalFailed(NAME, "absent", error, usable=False, next_try_in=1.0)
    books.arrive("one")
    books.clock.advance(75)
    (event,) = books.fail(error, "aging")
    assert event.usable
    assert 1.0 <= event.next_try_in <= 2.0
    books.clock.advance(17)
    (event,) = books.fail(TokenError("again"), "margin")
    assert event.usable
    assert event.next_try_in == pytest.approx(2.0)
    books.clock.advance(10)
    (event,) = books.fail(TokenError("and again"), "expired")
    assert not event.usable


@pytest.mark.parametrize("kind", FOR_HUMANS)
def test_a_refusal_for_humans_is_told_as_remembered(books: Books, kind: type[Exception]) -> None:
    error = kind("mend this")
    failed, remembered = books.fail(error)
    assert isinstance(failed, RenewalFailed)
    assert remembered == RefusalRemembered(NAME, error, 1.0)


def test_an_error_that_is_remembered_is_raised_as_a_copy_of_ones_own(books: Books) -> None:
    error = TokenError("no luck", retry_after=10)
    books.fail(error)
    copies = []
    for _ in range(3):
        with pytest.raises(TokenError, match="no luck") as caught:
            books.ledger.remembered()
        copies.append(caught.value)
    assert len({id(e) for e in [error, *copies]}) == 4
    assert len({len(traceback.extract_tb(e.__traceback__)) for e in copies}) == 1
    assert error.__traceback__ is None
    books.clock.advance(10)
    assert books.ledger.remembered() is None


def test_one_caller_a_second_may_look_whether_a_refusal_was_mended(books: Books) -> None:
    error = TokenRequestDenied("wrong secret")
    for _ in range(4):  # a pause of eight seconds
        books.fail(error)
        error = TokenRequestDenied("wrong secret")
    failure = books.ledger.failure
    assert failure is not None
    looks = []
    for _ in range(60):
        try:
            looks.append(books.ledger.remembered())
        except TokenRequestDenied:
            looks.append(None)
        books.clock.advance(1 / 8)
    found = [number for number, look in enumerate(looks) if look is not None]
    assert found == [8, 16, 24, 32, 40, 48, 56]
    assert {look for look in looks if look} == {(b"p", failure.error)}


def test_nobody_looks_after_a_failure_that_no_human_mends(books: Books) -> None:
    books.fail(TokenError("unwell", retry_after=60))
    for _ in range(50):
        with pytest.raises(TokenError):
            books.ledger.remembered()
        books.clock.advance(1)


def test_a_look_that_found_nothing_mended_changes_nothing(books: Books) -> None:
    error = TokenRequestDenied("wrong secret")
    books.fail(error)
    before = books.ledger.failure
    books.clock.advance(0.5)
    assert books.fail(error) == []
    assert books.ledger.failure is before


def test_failures_of_one_kind_are_counted_together(books: Books) -> None:
    pauses = []
    for error in (
        *(TokenError(), TokenError(), TokenError()),
        *(TokenRequestDenied(), TokenRequestDenied()),
        TokenError(),
    ):
        books.fail(error)
        assert books.ledger.failure is not None
        pauses.append(books.ledger.failure.pause.until - books.clock.monotonic)
    assert pauses == pytest.approx([1, 2, 4, 1, 2, 1])


def test_where_no_thread_is_to_be_had_early_renewal_pauses(books: Books) -> None:
    held = books.arrive("one")
    books.clock.advance(75)
    books.ledger.no_thread(held)
    assert not books.ledger.may_renew_early()
    assert books.part is Phase.AGING
    books.clock.advance(2)
    assert books.ledger.may_renew_early()


def refusals(books: Books, names: str, origin: Origin | None = API) -> list[float]:
    """Return how long nothing is forced after each of these tokens was refused."""
    pauses = []
    for name in names:
        books.ledger.replay_refused(Token(name), origin)
        seconds = 0.0
        while not books.ledger.may_force(origin):
            books.clock.advance(0.5)
            seconds += 0.5
        pauses.append(seconds)
    return pauses


def test_an_api_that_refuses_new_tokens_is_left_alone_for_longer_and_longer(books: Books) -> None:
    assert refusals(books, "abcdefgh") == [1, 2, 4, 8, 16, 32, 60, 60]
    assert refusals(books, "i", OTHER) == [1]


def test_one_token_that_is_refused_often_counts_once(books: Books) -> None:
    for _ in range(64):
        books.ledger.replay_refused(Token("a"), API)
    assert refusals(books, "a") == [1]
    assert refusals(books, "b") == [2]


def test_an_accepted_replay_ends_the_pause_of_its_own_api(books: Books) -> None:
    for origin in (API, OTHER, None):
        books.ledger.replay_refused(Token("a"), origin)
    books.ledger.replay_accepted(API)
    books.ledger.replay_accepted(API)
    assert [books.ledger.may_force(origin) for origin in (API, OTHER, None)] == [True, False, False]


def test_a_token_found_in_the_store_replaces_a_refused_one_where_it_is_younger(
    books: Books,
) -> None:
    held = books.arrive("found", from_store=True)
    issued_at = held.token.issued_at
    assert held.may_replace(Token("refused"), issued_at)
    assert not held.may_replace(Token("refused"), issued_at + 1)
    assert not held.may_replace(Token("found"), issued_at)
    fetched = books.arrive("fetched")
    assert fetched.may_replace(Token("refused"), issued_at + 1)
    fitting = books.arrive("fitting", "refused", from_store=True)
    assert fitting.may_replace(Token("refused"), issued_at + 1)


def test_a_proof_that_is_another_one_every_time_mends_nothing(books: Books) -> None:
    for number in range(4):  # a pause of eight seconds
        books.fail(TokenRequestDenied("no"), proof=b"%d" % number)
    for _ in range(8):
        with pytest.raises(TokenRequestDenied):
            books.ledger.remembered()
        books.clock.advance(1)
    assert books.ledger.remembered() is None
