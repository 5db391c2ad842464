from __future__ import annotations

import pytest

from oauthcc import Token
from oauthcc.tokens.refusals import MAX_PAUSES, Refusal, RefusalPauses, Route
from oauthcc.urls import Origin, origin_of

from .clock import Clock

API, OTHER = origin_of("https://api.example/"), origin_of("https://other.example/")


@pytest.fixture
def clock() -> Clock:
    return Clock().install()


@pytest.fixture
def pauses(clock: Clock) -> RefusalPauses:
    return RefusalPauses()


def refusal(name: str, origin: Origin | None = API) -> Refusal:
    """Return the refusal of the token with this name."""
    return Refusal(Token(name), Route("GET", origin, "https://api.example/orders"), 0.0)


def lengths(
    pauses: RefusalPauses, clock: Clock, names: str, origin: Origin | None = API
) -> list[float]:
    """Return how long the pause is after each of these tokens was refused."""
    found = []
    for name in names:
        refused, seconds = refusal(name, origin), 0.0
        assert pauses.record(refused)
        while not pauses.is_over(refused):
            clock.advance(0.5)
            seconds += 0.5
        found.append(seconds)
    return found


def test_an_api_that_was_never_refused_has_no_pause(pauses: RefusalPauses) -> None:
    assert pauses.is_over(refusal("a"))
    pauses.end(refusal("a").route)


def test_the_pause_of_an_api_that_refuses_new_tokens_doubles_up_to_a_minute(
    pauses: RefusalPauses, clock: Clock
) -> None:
    assert lengths(pauses, clock, "abcdefgh") == [1, 2, 4, 8, 16, 32, 60, 60]
    assert lengths(pauses, clock, "i", OTHER) == [1]


def test_one_token_that_many_threads_report_counts_once(
    pauses: RefusalPauses, clock: Clock
) -> None:
    assert [pauses.record(refusal("a")) for _ in range(64)] == [True] + [False] * 63
    clock.advance(1)
    assert pauses.is_over(refusal("a"))
    assert lengths(pauses, clock, "ab") == [2, 4]


def test_requests_that_cannot_be_sent_again_have_pauses_of_their_own(
    pauses: RefusalPauses, clock: Clock
) -> None:
    assert pauses.record(refusal("a"), replayable=False)
    assert not pauses.record(refusal("b"), replayable=False)  # whatever the token is
    assert pauses.is_over(refusal("a"))
    assert lengths(pauses, clock, "a") == [1]
    assert pauses.record(refusal("a"), replayable=False)


def test_an_accepted_replay_ends_the_pauses_of_its_own_api(pauses: RefusalPauses) -> None:
    origins = (API, OTHER, None)
    for origin in origins:
        for replayable in (True, False):
            pauses.record(refusal("a", origin), replayable=replayable)
    pauses.end(refusal("a").route)
    pauses.end(refusal("a").route)
    assert [pauses.is_over(refusal("a", origin)) for origin in origins] == [True, False, False]
    unreplayable = [pauses.record(refusal("b", origin), replayable=False) for origin in origins]
    assert unreplayable == [True, False, False]


def test_after_an_accepted_replay_the_pauses_start_anew(
    pauses: RefusalPauses, clock: Clock
) -> None:
    for replayable in (True, False):
        for name in "abc":
            assert pauses.record(refusal(name), replayable=replayable)
            clock.advance(60)
    pauses.end(refusal("c").route)
    assert pauses.record(refusal("c"), replayable=False)
    assert lengths(pauses, clock, "cd") == [1, 2]
    assert pauses.record(refusal("d"), replayable=False)


def test_forget_ends_all_pauses(pauses: RefusalPauses, clock: Clock) -> None:
    for origin in (API, OTHER):
        pauses.record(refusal("a", origin))
        pauses.record(refusal("a", origin), replayable=False)
    pauses.forget()
    for origin in (API, OTHER):
        assert pauses.is_over(refusal("a", origin))
        assert pauses.record(refusal("a", origin), replayable=False)
    assert lengths(pauses, clock, "a") == [1]


def test_the_number_of_pauses_is_bounded(pauses: RefusalPauses, clock: Clock) -> None:
    def of(number: int) -> Refusal:
        return refusal("a", Origin("https", f"api{number}.example", 443))

    step = 2.0**-14
    for number in range(MAX_PAUSES):
        assert pauses.is_over(of(number))
        assert pauses.record(of(number))
        clock.advance(step)
    # While all of them last, other APIs count as paused too.
    assert not pauses.is_over(of(MAX_PAUSES))
    assert not pauses.is_over(of(0))
    clock.advance(1 - MAX_PAUSES * step)  # now the first one has ended
    assert pauses.is_over(of(MAX_PAUSES))
    assert pauses.record(of(MAX_PAUSES))
    assert not pauses.is_over(of(1))
    assert not pauses.is_over(of(MAX_PAUSES + 1))
    clock.advance(1)
    assert pauses.record(of(MAX_PAUSES + 1))
    assert len(pauses._pauses) < MAX_PAUSES
    assert pauses.record(refusal("b", API), replayable=False)
    pauses.forget()
    assert pauses.is_over(of(MAX_PAUSES + 1))


def test_a_pause_is_recorded_while_there_is_no_room_for_it(
    pauses: RefusalPauses, clock: Clock
) -> None:
    for number in range(MAX_PAUSES + 100):
        assert pauses.record(refusal("a", Origin("https", f"api{number}.example", 443)))
    assert len(pauses._pauses) <= MAX_PAUSES
