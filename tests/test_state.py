from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import pytest

from oauthcc import Token, TokenEndpointUnavailable, TokenError, TokenRequestDenied
from oauthcc.errors import PERMANENT_ERRORS
from oauthcc.events import Event, RefusalRemembered, RenewalFailed, Why
from oauthcc.schemes import Bearer
from oauthcc.tokens.fetcher import FetchResult, TokenNeed
from oauthcc.tokens.renewal import Phase
from oauthcc.tokens.state import CurrentToken, TokenState

from .clock import Clock

NAME = "https://as.example/token"
NEED = TokenNeed("expired")


class Scene:
    """A state on a clock that the test moves, and short ways to record results in it."""

    def __init__(self, *, is_shared: bool = False) -> None:
        self.clock = Clock()
        self.clock.monotonic = 1000.0  # so that sums are exact
        self.clock.install()
        self.state = TokenState(NAME, (0.7, 0.7), is_shared=is_shared)

    def result(self, why: Why, number: int | None, **parts: Any) -> FetchResult:
        """Return the result of a fetch that by default begins now."""
        return FetchResult(why, self.begin() if number is None else number, **parts)

    def begin(self) -> int:
        """Return the number of a fetch that begins now."""
        return self.state.number(TokenNeed("absent")).number

    def arrive(
        self,
        name: str,
        why: Why = "absent",
        *,
        number: int | None = None,
        attempts: int = 1,
        lifetime: float = 100.0,
    ) -> CurrentToken:
        """Record a token."""
        now = self.clock.wall
        token = Token(name, issued_at=now, expires_at=now + lifetime)
        header = Bearer().authorization(token)
        result = self.result(why, number, token=token, header=header, attempts=attempts)
        return self.state.record(result)

    def fail(
        self,
        error: Exception,
        why: Why = "expired",
        fingerprint: bytes = b"p",
        *,
        number: int | None = None,
    ) -> list[Event]:
        """Record an error; return the events."""
        result = self.result(why, number, error=error, fingerprint=fingerprint)
        with pytest.raises(type(error)) as caught:
            self.state.record(result)
        assert caught.value is error or "is remembered" in str(caught.value)
        return result.events

    def pause(self, error: Exception) -> float:
        """Record an error; return for how many seconds it is remembered."""
        event = self.fail(error)[0]
        assert isinstance(event, RenewalFailed)
        return event.next_try_in

    def remembered(self) -> Exception | None:
        """Return the error that a caller gets."""
        try:
            assert self.state.permit(NEED).known is None
        except TokenError as error:
            return error
        return None

    def phase(self) -> Phase | None:
        return self.state.look()[1]


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_new_state_knows_nothing(scene: Scene) -> None:
    state = scene.state
    assert state.look() == (None, None)
    assert state.fresh_or_aging() is None
    assert state.newer_than(0) is None
    assert state.permit(NEED) == replace(NEED, number=1)
    state.pause_early_renewal()
    assert not state.may_renew_early()


def test_a_token_that_arrives_is_held_and_ages(scene: Scene) -> None:
    current = scene.arrive("one")
    assert scene.state.look() == (current, Phase.FRESH)
    assert current.header == "Bearer one"
    phases = []
    for seconds in (69.9, 0.2, 20.0, 10.0):
        scene.clock.advance(seconds)
        phases.append((scene.phase(), scene.state.fresh_or_aging() is current))
    assert phases == [
        (Phase.FRESH, True),
        (Phase.AGING, True),
        (Phase.MARGIN, False),
        (Phase.EXPIRED, False),
    ]


def test_the_renewal_point_of_every_token_is_drawn_between_the_bounds(scene: Scene) -> None:
    scene.state = TokenState(NAME, (0.6, 0.8), is_shared=False)
    random.seed(20)
    now = scene.clock.wall
    points = [scene.arrive(str(n), lifetime=1000).plan.aging.wall - now for n in range(50)]
    assert len(set(points)) == 50
    assert min(points) >= 600
    assert max(points) <= 800.0001
    assert max(points) - min(points) > 100


def test_a_new_token_ends_failures_and_pauses(scene: Scene) -> None:
    scene.arrive("one")
    scene.clock.advance(75)
    scene.fail(TokenError(), "aging")
    scene.fail(TokenError(), "refused")
    assert scene.remembered() is not None
    assert not scene.state.may_renew_early()
    scene.arrive("two", "aging")
    assert scene.remembered() is None
    scene.clock.advance(75)
    assert scene.state.may_renew_early()


def test_the_same_token_from_an_early_renewal_stays_aging_and_begins_a_pause(scene: Scene) -> None:
    scene.arrive("one")
    scene.clock.advance(75)
    current = scene.arrive("one", "aging")
    assert scene.state.look() == (current, Phase.AGING)
    assert not scene.state.may_renew_early()
    scene.clock.advance(2)
    assert scene.state.may_renew_early()
    scene.arrive("one", "aging")  # the pause doubles
    scene.clock.advance(1.9)
    assert not scene.state.may_renew_early()


def test_the_same_token_from_any_other_fetch_is_fresh(scene: Scene) -> None:
    current = scene.arrive("one")
    scene.state.mark_refused(current.number)
    assert scene.phase() is Phase.MARGIN
    scene.arrive("one", "margin")
    assert scene.phase() is Phase.FRESH


def test_only_the_token_held_can_be_marked_as_refused(scene: Scene) -> None:
    one = scene.arrive("one")
    scene.state.mark_refused(one.number + 1)
    assert scene.phase() is Phase.FRESH
    scene.state.mark_refused(one.number)
    assert scene.phase() is Phase.MARGIN
    marked = scene.state.current
    assert marked is not None
    assert (one.is_refused, marked.is_refused) == (False, True)


def test_a_fetched_token_is_newer_than_a_request_that_was_sent_before_it_arrived(
    scene: Scene,
) -> None:
    sent_at = scene.clock.wall
    scene.clock.advance(1)
    assert scene.arrive("fetched").is_newer_than(sent_at)
    assert not scene.arrive("fetched").is_newer_than(scene.clock.wall + 1)


def test_for_a_token_from_the_store_it_counts_when_it_was_issued(scene: Scene) -> None:
    sent_at = scene.clock.wall
    scene.clock.advance(1)
    stored = scene.arrive("stored", attempts=0)
    assert stored.is_newer_than(sent_at)
    old = replace(stored, token=replace(stored.token, issued_at=sent_at - 1))
    assert not old.is_newer_than(sent_at)


# -- the former token ------------------------------------------------------------------------------


def accepted(scene: Scene, name: str) -> CurrentToken:
    """Return a token that has arrived and was accepted."""
    current = scene.arrive(name)
    scene.state.accept(current)
    return current


def test_a_new_token_that_is_refused_before_it_is_accepted_has_a_former_one(scene: Scene) -> None:
    former = accepted(scene, "former")
    assert scene.state.former_to(former) is None
    newest = scene.arrive("newest")
    assert scene.state.former_to(newest) is former
    scene.state.accept(newest)
    assert scene.state.former_to(newest) is None


@pytest.mark.parametrize("kind", ["never accepted", "expired", "with the same text"])
def test_there_is_no_former_token(scene: Scene, kind: str) -> None:
    first = scene.arrive("first")
    if kind != "never accepted":
        scene.state.accept(first)
    if kind == "expired":
        scene.clock.advance(100)
    newest = scene.arrive("first" if kind == "with the same text" else "newest")
    assert scene.state.former_to(newest) is None


def test_the_former_token_is_kept_until_a_new_one_is_accepted(scene: Scene) -> None:
    former = accepted(scene, "former")
    for name in ("second", "third"):
        newest = scene.arrive(name)
        assert scene.state.former_to(newest) is former


def trials(scene: Scene, newest: CurrentToken, number: int) -> list[float]:
    """Return after how many seconds the newest token is tried again, if it is always refused."""
    found = []
    for _ in range(number):
        former = scene.state.former_to(newest)
        assert former is not None
        scene.state.use_former(former)
        seconds = 0.0
        while not scene.state.try_newest():
            scene.clock.advance(0.25)
            seconds += 0.25
        found.append(seconds)
    return found


def test_the_newest_token_is_tried_again_after_pauses_that_double(scene: Scene) -> None:
    scene.arrive("former", lifetime=3600)
    scene.state.accept(scene.state.current)  # type: ignore[arg-type]
    newest = scene.arrive("newest", lifetime=3600)
    assert trials(scene, newest, 8) == [1, 2, 4, 8, 16, 32, 60, 60]


def test_while_the_former_token_is_in_use_the_newest_one_waits(scene: Scene) -> None:
    former, newest = accepted(scene, "former"), scene.arrive("newest")
    scene.state.use_former(former)
    assert scene.state.current is not None
    assert scene.state.current.token == former.token
    assert scene.state.waiting is newest
    assert scene.state.newer_than(former.number) is newest
    scene.state.use_former(former)  # a second refusal in another thread changes nothing
    assert scene.state.waiting is newest
    scene.clock.advance(0.5)
    assert not scene.state.try_newest()
    scene.state.accept(newest)
    assert scene.state.current is newest
    assert scene.state.waiting is None
    assert not scene.state.try_newest()


def test_the_former_token_is_used_again_if_it_is_accepted_after_the_newest_was_refused(
    scene: Scene,
) -> None:
    former, newest = accepted(scene, "former"), scene.arrive("newest")
    scene.state.accept(former)  # by a request that was sent before
    assert scene.state.current is newest
    assert scene.state.former_to(newest) is former  # refused
    scene.state.accept(former)
    assert scene.state.waiting is newest


def test_an_older_token_that_is_accepted_late_changes_nothing(scene: Scene) -> None:
    old, newest = accepted(scene, "old"), accepted(scene, "newest")
    scene.state.accept(old)
    assert scene.state.is_settled
    assert scene.state.current is newest


def test_a_refused_token_may_be_revoked_if_none_was_accepted_for_a_second(scene: Scene) -> None:
    current = scene.arrive("one")
    assert not scene.state.may_be_revoked(current)
    scene.state.accept(current)
    scene.state.accepted_at = scene.clock.monotonic
    scene.clock.advance(0.9)
    assert not scene.state.may_be_revoked(current)
    scene.clock.advance(0.1)
    assert scene.state.may_be_revoked(current)


# -- results that come late ------------------------------------------------------------------------


def test_a_late_token_replaces_only_an_expired_one(scene: Scene) -> None:
    current = scene.arrive("new", number=50)
    for wait in (0.0, 75.0, 20.0):  # fresh, aging, in its margin
        scene.clock.advance(wait)
        assert scene.arrive("late", number=40).token.access_token == "late"
        assert scene.state.current is current
    scene.clock.advance(10.0)
    assert scene.phase() is Phase.EXPIRED
    assert scene.arrive("late", number=40) is scene.state.current


def test_a_late_token_does_not_end_a_failure(scene: Scene) -> None:
    scene.arrive("new", number=50)
    scene.fail(TokenError(), number=60)
    scene.arrive("late", number=40)
    assert scene.remembered() is not None


def test_a_token_is_held_although_a_newer_fetch_has_failed(scene: Scene) -> None:
    scene.fail(TokenError(), number=50)
    assert scene.arrive("late", number=40) is scene.state.current
    assert scene.remembered() is None


def test_a_late_failure_is_reported_and_displaces_no_newer_result(scene: Scene) -> None:
    newer, late = TokenError("newer", retry_after=3), TokenRequestDenied("late", retry_after=60)
    scene.arrive("one", number=50)
    event = RenewalFailed(NAME, "absent", late, usable=True, next_try_in=0.0)
    assert scene.fail(late, "absent", number=40) == [event]
    assert scene.remembered() is None
    scene.clock.advance(75)
    assert scene.state.may_renew_early()
    scene.clock.advance(25)
    assert len(scene.fail(newer, number=60)) == 1
    event = RenewalFailed(NAME, "absent", late, usable=False, next_try_in=0.0)
    assert scene.fail(late, "absent", number=55) == [event]
    assert str(scene.remembered()).startswith("newer (This error is remembered")
    scene.clock.advance(3)
    assert scene.remembered() is None


def test_a_clock_that_is_set_back_does_not_make_a_token_late(scene: Scene) -> None:
    scene.arrive("one")
    scene.clock.wall -= 86400
    assert scene.arrive("two") is scene.state.current


def test_forget_drops_everything_that_fetches_before_it_bring_too(scene: Scene) -> None:
    before = scene.begin()
    scene.arrive("one", number=before)
    scene.clock.advance(75)
    scene.fail(TokenError(retry_after=60), "aging", number=before)
    scene.state.forget()
    assert scene.state.look() == (None, None)
    assert scene.remembered() is None
    assert scene.arrive("late", number=before).token.access_token == "late"
    scene.fail(TokenError("late"), number=before)
    assert scene.state.look() == (None, None)
    assert scene.remembered() is None
    scene.arrive("two", number=scene.begin())
    scene.clock.advance(75)
    assert scene.state.may_renew_early()
    scene.fail(TokenError(), number=scene.begin())
    assert scene.remembered() is not None


# -- failures --------------------------------------------------------------------------------------


def test_the_event_of_a_failure_contains_the_time_of_the_next_attempt(scene: Scene) -> None:
    error = TokenError("out of order")
    (event,) = scene.fail(error, "absent")
    assert event == RenewalFailed(NAME, "absent", error, usable=False, next_try_in=1.0)
    scene.arrive("one")
    usable, pauses = [], []
    for seconds, why in ((75, "aging"), (17, "margin"), (10, "expired")):
        scene.clock.advance(seconds)
        (event,) = scene.fail(TokenError(), why)  # type: ignore[arg-type]
        assert isinstance(event, RenewalFailed)
        usable.append(event.usable)
        pauses.append(event.next_try_in)
    assert usable == [True, True, False]
    assert 1.0 <= pauses[0] <= 2.0
    assert pauses[1:] == pytest.approx([1.0, 2.0])


def test_a_failed_early_renewal_decides_for_nobody_else(scene: Scene) -> None:
    scene.arrive("one")
    scene.clock.advance(75)
    scene.fail(TokenError(retry_after=60), "aging")
    assert not scene.state.may_renew_early()
    scene.clock.advance(25)
    assert scene.phase() is Phase.EXPIRED
    assert scene.remembered() is None


def test_an_early_renewal_that_fails_after_the_token_has_expired_begins_no_pause(
    scene: Scene,
) -> None:
    scene.arrive("one")
    scene.clock.advance(100)
    (event,) = scene.fail(TokenError(), "aging")
    assert isinstance(event, RenewalFailed)
    assert (event.usable, event.next_try_in) == (False, 0.0)
    assert scene.remembered() is None


@pytest.mark.parametrize("kind", PERMANENT_ERRORS)
def test_a_permanent_error_is_reported_as_remembered(scene: Scene, kind: type[Exception]) -> None:
    error = kind("change the configuration")
    failed, remembered = scene.fail(error)
    assert isinstance(failed, RenewalFailed)
    assert remembered == RefusalRemembered(NAME, error, 1.0)


def test_every_caller_gets_a_copy_of_the_remembered_error(scene: Scene) -> None:
    error = TokenError("out of order", retry_after=10)
    scene.fail(error)
    copies = [scene.remembered() for _ in range(3)]
    (text,) = {str(copy) for copy in copies}
    assert text.startswith("out of order (This error is remembered")
    assert text.endswith("The next one is allowed in 10 s.)")
    assert len({id(e) for e in [error, *copies]}) == 4
    scene.clock.advance(10)
    assert scene.remembered() is None


def test_a_remembered_error_says_when_the_next_attempt_is_due(scene: Scene) -> None:
    scene.fail(TokenRequestDenied("denied", error="invalid_client"))
    scene.clock.advance(0.25)
    error = scene.remembered()
    assert isinstance(error, TokenRequestDenied)
    assert (error.error, error.retry_after) == ("invalid_client", 0.75)
    scene.clock.advance(0.75)
    assert scene.remembered() is None


@pytest.mark.parametrize("retry_after", ["soon", math.nan, math.inf, object()])
def test_a_retry_after_that_is_no_number_begins_the_usual_pause(
    scene: Scene, retry_after: Any
) -> None:
    scene.arrive("one")
    scene.clock.advance(75)
    (event,) = scene.fail(TokenError("out of order", retry_after=retry_after), "margin")
    assert isinstance(event, RenewalFailed)
    assert event.next_try_in == 1.0


def test_failures_of_one_kind_are_counted_together(scene: Scene) -> None:
    errors = [TokenError] * 3 + [TokenRequestDenied] * 2 + [TokenError]
    assert [scene.pause(kind()) for kind in errors] == pytest.approx([1, 2, 4, 1, 2, 1])


def test_a_limit_of_requests_is_remembered_longer_only_if_the_server_does_not_say_until_when(
    scene: Scene,
) -> None:
    limit = [TokenEndpointUnavailable(status_code=429) for _ in range(8)]
    assert [scene.pause(error) for error in limit] == [1, 2, 4, 8, 16, 32, 60, 60]
    said = [TokenEndpointUnavailable(status_code=429, retry_after=2.0) for _ in range(4)]
    assert [scene.pause(error) for error in said] == [2, 2, 4, 4]
    assert scene.pause(limit[0]) == 1


def checks(scene: Scene, seconds: int) -> list[tuple[float, Any]]:
    """Return when a caller may check whether the error still applies, and what it is given."""
    found: list[tuple[float, Any]] = []
    for eighth in range(8 * seconds):
        try:
            known = scene.state.permit(NEED).known
        except TokenError:
            known = None
        if known is not None:
            found.append((eighth / 8, known))
        scene.clock.advance(1 / 8)
    return found


def test_one_caller_a_second_may_check_whether_a_refusal_was_corrected(scene: Scene) -> None:
    errors = [TokenRequestDenied("wrong secret") for _ in range(4)]  # a pause of eight seconds
    for error in errors:
        scene.fail(error)
    known = b"p", errors[-1]
    assert checks(scene, 8) == [(float(second), known) for second in range(1, 8)]


def test_a_temporary_error_is_checked_only_if_others_may_have_stored_a_token(scene: Scene) -> None:
    scene.fail(TokenError(retry_after=60))
    assert checks(scene, 50) == []
    scene = Scene(is_shared=True)
    scene.fail(TokenError(retry_after=3))
    assert [second for second, _ in checks(scene, 3)] == [1.0, 2.0]


def test_a_check_that_found_the_same_error_changes_nothing(scene: Scene) -> None:
    error = TokenRequestDenied("wrong secret")
    scene.fail(error)
    scene.clock.advance(0.5)
    assert scene.fail(error) == []
    assert scene.remembered() is not None
    scene.clock.advance(0.5)
    assert scene.remembered() is None


def test_a_fingerprint_that_always_changes_does_not_end_the_pause(scene: Scene) -> None:
    for number in range(4):  # a pause of eight seconds
        scene.fail(TokenRequestDenied("wrong secret"), fingerprint=b"%d" % number)
    assert checks(scene, 8) == []
    assert scene.remembered() is None


def test_without_a_thread_early_renewal_pauses(scene: Scene) -> None:
    scene.arrive("one")
    scene.clock.advance(75)
    scene.state.pause_early_renewal()
    assert not scene.state.may_renew_early()
    assert scene.phase() is Phase.AGING
    scene.clock.advance(2)
    assert scene.state.may_renew_early()
