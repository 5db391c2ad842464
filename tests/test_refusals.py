from __future__ import annotations

import pytest

from oauthcc.tokens.refusals import MAX_ROUTES, RefusingRoutes, Route
from oauthcc.tokens.renewal import REFUSED_AT_ONCE, REFUSED_EVERY
from oauthcc.urls import origin_of

from .clock import Clock

STEP = 0.5


@pytest.fixture
def clock() -> Clock:
    return Clock().install()


@pytest.fixture
def routes(clock: Clock) -> RefusingRoutes:
    return RefusingRoutes()


def route(path: str = "/orders", method: str = "GET") -> Route:
    url = f"https://api.example{path}"
    return Route(method, origin_of(url), url)


def pause(routes: RefusingRoutes, clock: Clock, of: Route) -> float:
    """Return for how many seconds a route may force no renewal."""
    seconds = 0.0
    while not routes.permit(of, may_be_revoked=True):
        clock.advance(STEP)
        seconds += STEP
    return seconds


def test_the_first_refused_token_causes_no_pause(routes: RefusingRoutes, clock: Clock) -> None:
    assert routes.permit(route(), may_be_revoked=False)
    routes.record(route(), 1, is_forced=True)
    assert routes.permit(route(), may_be_revoked=False)


def test_the_pause_of_a_route_that_refuses_new_tokens_doubles_up_to_a_minute(
    routes: RefusingRoutes, clock: Clock
) -> None:
    pauses = []
    for number in range(1, 10):
        routes.record(route(), number, is_forced=True)
        pauses.append(pause(routes, clock, route()))
    assert pauses == [0, 1, 2, 4, 8, 16, 32, 60, 60]


def test_refusals_that_are_far_apart_cause_no_pause(routes: RefusingRoutes, clock: Clock) -> None:
    pauses = []
    for number in range(1, 10):
        routes.record(route(), number, is_forced=True)
        pauses.append(pause(routes, clock, route()))
        clock.advance(59 if number < 4 else 61)
    assert pauses == [0, 1, 2, 4, 0, 0, 0, 0, 0]


def test_one_token_that_many_threads_report_counts_once(
    routes: RefusingRoutes, clock: Clock
) -> None:
    for number in (1, 2):
        for _ in range(64):
            routes.record(route(), number, is_forced=True)
    routes.record(route(), 1, is_forced=True)  # late
    assert pause(routes, clock, route()) == 1


@pytest.mark.parametrize("other", [route("/stock"), route(method="POST")])
def test_another_path_or_method_is_another_route(
    other: Route, routes: RefusingRoutes, clock: Clock
) -> None:
    for number in (1, 2, 3):
        routes.record(route(), number, is_forced=True)
    assert routes.permit(other, may_be_revoked=False)
    routes.accept(other)
    assert not routes.permit(route(), may_be_revoked=False)


def test_an_accepted_token_ends_the_pause_of_its_route(
    routes: RefusingRoutes, clock: Clock
) -> None:
    for number in (1, 2, 3):
        routes.record(route(), number, is_forced=True)
    routes.accept(route())
    assert routes.permit(route(), may_be_revoked=False)
    routes.record(route(), 4, is_forced=True)
    assert pause(routes, clock, route()) == 0
    routes.record(route(), 5, is_forced=True)
    assert pause(routes, clock, route()) == 1


def test_a_pause_that_is_further_away_than_any_can_be_has_ended(
    routes: RefusingRoutes, clock: Clock
) -> None:
    clock.advance(1e9)  # as tools that freeze clocks do
    for number in range(1, 20):
        routes.record(route(), number, is_forced=True)
    assert not routes.permit(route(), may_be_revoked=True)
    clock.advance(-1e9)
    assert routes.permit(route(), may_be_revoked=False)


@pytest.mark.parametrize("may_be_revoked", [False, True])
def test_all_routes_together_have_an_allowance(
    may_be_revoked: bool, routes: RefusingRoutes, clock: Clock
) -> None:
    forced = []
    for number in range(1, 6001):
        new = route(f"/{number}")
        if routes.permit(new, may_be_revoked=may_be_revoked):
            forced.append(clock.monotonic)
            routes.record(new, len(forced), is_forced=True)
        clock.advance(0.125)
    minutes = [moment - forced[0] for moment in forced if moment - forced[0] < 600]
    at_once = REFUSED_AT_ONCE * (2 if may_be_revoked else 1)
    assert len([moment for moment in minutes if moment < REFUSED_EVERY / 2]) == at_once
    assert len(minutes) <= (40 if may_be_revoked else 20)


def test_refusals_on_other_routes_leave_an_allowance_for_a_revocation(
    routes: RefusingRoutes, clock: Clock
) -> None:
    for number in range(1, REFUSED_AT_ONCE + 1):
        routes.record(route(f"/{number}"), number, is_forced=True)
    assert not routes.permit(route(), may_be_revoked=False)
    assert routes.permit(route(), may_be_revoked=True)
    clock.advance(REFUSED_EVERY)
    assert routes.permit(route(), may_be_revoked=False)


def test_a_refused_token_counts_only_if_a_refusal_has_forced_its_fetch(
    routes: RefusingRoutes, clock: Clock
) -> None:
    for number in range(1, 100):
        routes.record(route("/bad"), number, is_forced=False)
    assert routes.permit(route("/good"), may_be_revoked=False)
    assert pause(routes, clock, route("/bad")) == 60


def test_forget_ends_all_pauses(routes: RefusingRoutes, clock: Clock) -> None:
    for number in range(1, 30):
        routes.record(route(), number, is_forced=True)
    routes.forget()
    assert routes.permit(route(), may_be_revoked=False)
    routes.record(route(), 30, is_forced=True)
    assert pause(routes, clock, route()) == 0


def test_the_number_of_routes_is_bounded_and_the_oldest_is_forgotten(
    routes: RefusingRoutes, clock: Clock
) -> None:
    for number in range(1, 3):
        routes.record(route("/first"), number, is_forced=True)
    for number in range(MAX_ROUTES - 1):
        routes.record(route(f"/{number}"), number + 3, is_forced=True)
    assert len(routes.known) == MAX_ROUTES
    assert route("/first") in routes.known
    routes.record(route("/last"), MAX_ROUTES + 3, is_forced=True)
    assert len(routes.known) == MAX_ROUTES
    assert route("/first") not in routes.known
