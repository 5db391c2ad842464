"""The renewal policy: the rows of data/renewal.json, played twice, and what holds for all of them.

A row gives a lifetime, takes steps, and ends in a state of the token and what a call does in it:

- ``use``: the call gets the token that is held, and the endpoint is not asked;
- ``use, renew``: it gets that token at once, and the endpoint is asked in the background;
- ``wait``: it waits for the endpoint and gets what that gives;
- ``wait, use``: it waits for the endpoint in vain and gets the token that is held;
- ``wait, fail``: it waits for the endpoint in vain and there is no other token;
- ``fail``: it gets an error at once, and the endpoint is not asked.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oauthcc import ClientCredentialsSession, TokenError, ledger, renewal
from oauthcc.access_token import Token
from oauthcc.clock import Instant
from oauthcc.events import Event, RenewalFailed, TokenObtained
from oauthcc.testing import AuthorizationServer, SeenRequest
from oauthcc.testing.faults import Outcome, oauth_error, unavailable
from oauthcc.tokens.renewal import Backoff, Phase, Schedule

from .clock import Clock, flights_done, moved_clock
from .inside import state_of

ROWS = json.loads((Path(__file__).parent / "data" / "renewal.json").read_text("utf-8"))
each_row = pytest.mark.parametrize("row", [pytest.param(row, id=row["row"]) for row in ROWS])

SECRETS = ("demo-secret", "another-secret")


def parsed_lifetime(expires_in: Any) -> float | None:
    try:
        return None if expires_in is None else float(expires_in)
    except ValueError:
        return None


def parsed_retry_after(endpoint: str) -> float | None:
    text = endpoint.partition("Retry-After: ")[2].removeprefix("date in ")
    return float(text) if text.isdigit() else None


class Player:
    """Take the steps of a row."""

    def __init__(self, row: dict[str, Any], clock: Clock) -> None:
        self.row, self.clock = row, clock
        self.share = row["given"].get("share", 0.7)
        self.draw = row["given"].get("draw", 1.0)
        self.expires_in = row["given"]["expires_in"]

    def play(self) -> tuple[str, str]:
        for number, (verb, what) in enumerate(self.row["steps"]):
            step: Callable[[Any], None] = getattr(self, f"step_{verb.replace(' ', '_')}")
            try:
                step(what)
            except AssertionError as error:
                raise AssertionError(f"step {number}, {verb} {what}: {error}") from error
        return self.state(), self.call(self.row["action"])

    def step_pass(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def step_wall(self, seconds: float) -> None:
        self.clock.wall += seconds

    def step_monotonic(self, seconds: float) -> None:
        self.clock.monotonic += seconds

    def step_call(self, expected: str) -> None:
        assert self.call(expected) == expected

    def step_journey(self, seconds: float) -> None:
        self.on_the_way(lambda: self.clock.advance(seconds))

    def step_journey_on_the_wall(self, seconds: float) -> None:
        self.on_the_way(lambda: self.step_wall(seconds))

    def on_the_way(self, happens: Callable[[], None]) -> None:
        raise NotImplementedError

    def state(self) -> str:
        raise NotImplementedError

    def call(self, expected: str) -> str:
        raise NotImplementedError


@dataclass
class Refusal:
    pause: Backoff
    denied: bool
    secret: int


class OnPaper(Player):
    """Play a row with the pure functions alone."""

    plan: Schedule | None = None
    early: Backoff | None = None
    failure: Refusal | None = None
    endpoint, secret, looked_at = "well", 0, 0.0
    journey: Callable[[], None] | None = None

    def on_the_way(self, happens: Callable[[], None]) -> None:
        self.journey = happens

    def step_endpoint(self, what: str) -> None:
        self.endpoint = what

    def step_secret(self, _: str) -> None:
        self.secret = 1

    def step_api(self, _: str) -> None:
        assert self.plan is not None
        self.plan = renewal.refused(self.plan)

    def part(self) -> State | None:
        return None if self.plan is None else renewal.state(self.plan, self.clock())

    def state(self) -> str:
        part = self.part()
        return "none" if part is None else part.value

    def call(self, expected: str) -> str:
        part = self.part()
        if part is Phase.FRESH:
            return "use"
        if part is Phase.AGING:
            if not renewal.is_over(self.early, self.clock()):
                return "use"
            self.ask(early=True)
            return "use, renew"
        usable = part is Phase.MARGIN
        if self.remembers():
            return "use" if usable else "fail"
        if self.ask(early=False):
            return "wait"
        return "wait, use" if usable else "wait, fail"

    def remembers(self) -> bool:
        failure, now = self.failure, self.clock()
        if failure is None or renewal.is_over(failure.pause, now):
            return False
        if failure.denied and now.monotonic >= self.looked_at + ledger.LOOK_PAUSE:
            self.looked_at = now.monotonic
            return failure.secret == self.secret
        return True

    def ask(self, *, early: bool) -> bool:
        if self.endpoint not in {"well", "same token"}:
            self.note_failure()
            return False
        lifetime, issued_at = parsed_lifetime(self.expires_in), self.clock().wall
        if self.journey is not None:
            self.journey()
        expires_at = None if lifetime is None else issued_at + lifetime
        token, now = Token("t", issued_at=issued_at, expires_at=expires_at), self.clock()
        plan = renewal.schedule(token, now, self.share)
        self.failure = None
        if early and self.endpoint == "same token":
            self.plan = replace(plan, aging=renewal.ALWAYS)
            self.early = renewal.after_early_failure(self.early, plan, now, self.draw, None)
        else:
            self.plan, self.early = plan, None
        return True

    def note_failure(self) -> None:
        denied, seconds = self.endpoint == "denies", parsed_retry_after(self.endpoint)
        last, now = self.failure, self.clock()
        previous = last.pause if last is not None and last.denied == denied else None
        pause = renewal.after_failure(previous, now, denied=denied, retry_after=seconds)
        self.failure, self.looked_at = Refusal(pause, denied, self.secret), now.monotonic
        if self.plan is not None and self.part() is not Phase.EXPIRED:
            draw = self.draw
            self.early = renewal.after_early_failure(self.early, self.plan, now, draw, seconds)


class ForReal(Player):
    """Play a row with a session and a server."""

    def __init__(self, row: dict[str, Any], clock: Clock, auth: AuthorizationServer) -> None:
        super().__init__(row, clock)
        self.auth, self.events, self.secret = auth, list[Event](), 0
        self.auth.token_lifetime, self.usual = self.expires_in, auth.make_token
        self.session = ClientCredentialsSession(
            auth.token_url,
            auth.client_id,
            lambda: SECRETS[self.secret],
            renew_at=(self.share, self.share),
            on_event=self.events.append,
        )
        self.source = self.session.tokens

    def on_the_way(self, happens: Callable[[], None]) -> None:
        def watch(request: SeenRequest, outcome: Outcome) -> None:
            happens()

        self.auth.watch = watch

    def step_endpoint(self, what: str) -> None:
        self.auth.answer_normally()
        if what == "denies":
            self.auth.answer_next(oauth_error("invalid_client", status=401), None)
        elif what.startswith("unwell"):
            self.auth.answer_next(unavailable(503, self.retry_after(what)), None)
        elif what == "same token":
            same = self.auth.issued[-1]
            self.auth.make_token = lambda: same
        else:
            self.auth.make_token = self.usual

    @staticmethod
    def retry_after(what: str) -> str | None:
        text = what.partition("Retry-After: ")[2]
        if not text.startswith("date in"):
            return text or None
        # The date is read against the real clock.
        seconds = float(text.removeprefix("date in "))
        when = datetime.now(timezone.utc) + timedelta(seconds=seconds)
        return format_datetime(when, usegmt=True)

    def step_secret(self, _: str) -> None:
        self.secret = 1
        self.auth.add_client(self.auth.client_id, SECRETS[1])

    def step_api(self, _: str) -> None:
        held = state_of(self.source).current
        assert held is not None
        self.source.mark_refused(held.token)

    def state(self) -> str:
        part = state_of(self.source).look()[1]
        return "none" if part is None else part.value

    def call(self, expected: str) -> str:
        held = state_of(self.source).current
        self.auth.forget()
        self.events.clear()
        got: Token | None = None
        # Where nobody is to wait, nothing comes of waiting.
        gate = self.auth.hold() if expected == "use, renew" else None
        try:
            got = self.source.get(timeout=20)
        except TokenError as error:
            assert "20 seconds" not in str(error), "it waited"
        finally:
            if gate is not None:
                gate.release()
        flights_done()
        if not self.auth.token_requests:
            assert not self.events
            assert got is None or held is not None
            assert got is None or held is None or got is held.token
            return "fail" if got is None else "use"
        return self.what_happened(got, None if held is None else held.token)

    def what_happened(self, got: Token | None, held: Token | None) -> str:
        (told,) = (e for e in self.events if isinstance(e, (TokenObtained, RenewalFailed)))
        assert self.auth.max_concurrent == 1
        if told.why == "aging":
            assert got is held
            return "use, renew"
        if isinstance(told, TokenObtained):
            assert got is not None
            assert got.access_token == self.auth.issued[-1]
            return "wait"
        assert told.usable == (got is not None)
        assert got is None or got is held
        return "wait, fail" if got is None else "wait, use"


@each_row
def test_a_row_holds_for_the_pure_functions(row: dict[str, Any]) -> None:
    assert OnPaper(row, Clock()).play() == (row["state"], row["action"])


@each_row
def test_a_row_holds_for_a_token_source(
    row: dict[str, Any], auth: AuthorizationServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    player = ForReal(row, moved_clock(monkeypatch), auth)
    # The share is drawn from a range of one, and the pause as the row says.
    drawn = SimpleNamespace(uniform=lambda first, last: first, random=lambda: player.draw)
    monkeypatch.setattr(ledger, "random", drawn)
    with player.session:
        assert player.play() == (row["state"], row["action"])


def test_there_are_rows_enough_and_no_two_are_called_the_same() -> None:
    names = [row["row"] for row in ROWS]
    assert len(set(names)) == len(names) >= 40
    lifetimes = {row["given"]["expires_in"] for row in ROWS}
    assert lifetimes >= {1, 5, 10, 60, 3600, 86400, None, 0, -5}


# -- what holds whatever the numbers are -----------------------------------------------------------

walls = st.floats(0, 4e9)
monotonics = st.floats(0, 1e8)
instants = st.builds(Instant, monotonics, walls)
lifetimes = st.floats(-1e4, 1e8)
shares = st.floats(0.01, 1.0)
seconds = st.floats(0, 1e9)
tokens = st.builds(
    lambda issued_at, lifetime: Token(
        "t", issued_at=issued_at, expires_at=None if lifetime is None else issued_at + lifetime
    ),
    walls,
    st.none() | lifetimes,
)
plans = st.builds(renewal.schedule, tokens, instants, shares)
retry_afters = st.none() | st.floats(-10, 1e6)
backoffs = st.none() | st.builds(Backoff, st.integers(1, 10_000), monotonics)
IN_ORDER = [Phase.FRESH, Phase.AGING, Phase.MARGIN, Phase.EXPIRED]


@given(tokens, instants, shares, instants)
def test_no_token_is_used_past_its_expiry(
    token: Token, seen: Instant, share: float, at: Instant
) -> None:
    part = renewal.state(renewal.schedule(token, seen, share), at)
    if token.expires_at is None:
        assert part is Phase.FRESH
    elif part is not Phase.EXPIRED:
        assert token.lifetime is not None
        assert at.wall < token.expires_at
        # Floating point: a sum of large clock readings may be off by less than a microsecond.
        assert at.monotonic - seen.monotonic < max(token.lifetime, 0.0) + 1e-5


@given(plans, instants, seconds, seconds)
def test_a_token_never_gets_younger(
    plan: Schedule, at: Instant, monotonic: float, wall: float
) -> None:
    later = Instant(at.monotonic + monotonic, at.wall + wall)
    parts = [renewal.state(plan, at), renewal.state(plan, later)]
    assert parts == sorted(parts, key=IN_ORDER.index)


@given(plans, instants)
def test_a_refused_token_is_in_its_margin_or_expired_and_nothing_else_changes(
    plan: Schedule, at: Instant
) -> None:
    part = renewal.state(renewal.refused(plan), at)
    assert (part is Phase.EXPIRED) == (renewal.state(plan, at) is Phase.EXPIRED)
    assert part in {Phase.MARGIN, Phase.EXPIRED}


@given(plans)
def test_the_parts_follow_one_another_on_both_clocks(plan: Schedule) -> None:
    for clock in ("monotonic", "wall"):
        moments = [getattr(moment, clock) for moment in (plan.aging, plan.margin, plan.expiry)]
        assert moments == sorted(moments)


@given(instants, st.floats(1e-3, 1e7), shares)
def test_the_renewal_point_is_where_it_was_drawn_or_at_the_margin(
    seen: Instant, lifetime: float, share: float
) -> None:
    token = Token("t", issued_at=seen.wall, expires_at=seen.wall + lifetime)
    plan = renewal.schedule(token, seen, share)
    margin = min(10.0, 0.1 * lifetime)
    expected = min(share * lifetime, lifetime - margin)
    assert math.isclose(plan.aging.wall - seen.wall, expected, abs_tol=1e-5)
    assert math.isclose(plan.margin.wall - seen.wall, lifetime - margin, abs_tol=1e-5)
    assert math.isclose(plan.aging.monotonic - seen.monotonic, expected, abs_tol=1e-5)


@given(backoffs, plans, instants, st.floats(0, 1), retry_afters)
def test_an_early_renewal_is_tried_again_within_bounds(
    previous: Backoff | None, plan: Schedule, at: Instant, draw: float, retry_after: float | None
) -> None:
    pause = renewal.after_early_failure(previous, plan, at, draw, retry_after)
    assert pause.failures == (previous.failures if previous else 0) + 1
    assert at.monotonic <= pause.until <= max(at.monotonic, plan.margin.monotonic)
    most = min(60.0, 2.0**pause.failures) if pause.failures < 10 else 60.0
    wanted = max(most * (0.5 + draw / 2), min(max(retry_after or 0.0, 0.0), 300.0))
    assert pause.until <= at.monotonic + wanted
    if at.monotonic + wanted <= plan.margin.monotonic:
        assert pause.until == at.monotonic + wanted


@given(backoffs, instants, st.booleans(), retry_afters)
def test_a_failure_is_remembered_within_bounds(
    previous: Backoff | None,
    at: Instant,
    denied: bool,
    retry_after: float | None,
) -> None:
    pause = renewal.after_failure(previous, at, denied=denied, retry_after=retry_after)
    most = max(60.0 if denied else 4.0, min(retry_after or 0.0, 300.0))
    assert at.monotonic + 1.0 <= pause.until <= at.monotonic + most
    assert not renewal.is_over(pause, at)
    assert renewal.is_over(pause, Instant(pause.until, 0.0))
    longer = renewal.after_failure(pause, at, denied=denied, retry_after=retry_after)
    assert longer.until >= pause.until


@given(backoffs, instants)
def test_an_api_that_refuses_new_tokens_is_left_alone_within_bounds(
    previous: Backoff | None, at: Instant
) -> None:
    pause = renewal.after_refused_replay(previous, at)
    assert at.monotonic + 1.0 <= pause.until <= at.monotonic + 60.0
    assert renewal.after_refused_replay(pause, at).until >= pause.until


def test_no_pause_is_over_and_the_clocks_are_read() -> None:
    assert renewal.is_over(None, Instant(0.0, 0.0))
    first, second = renewal.now(), renewal.now()
    assert second.monotonic >= first.monotonic
    assert first.wall > 1.6e9
