"""The renewal policy: the rows of data/renewal.json, and properties of the functions.

A row has a lifetime and steps. It ends with the state of the token and what a call does in it:

- ``use``: the call gets the token held, and the endpoint is not asked;
- ``use, renew``: it gets that token at once, and the endpoint is asked in the background;
- ``wait``: it waits for the endpoint and gets the new token;
- ``wait, use``: it waits for the endpoint, which fails, and gets the token held;
- ``wait, fail``: it waits for the endpoint, which fails, and there is no usable token;
- ``fail``: it gets an error at once, and the endpoint is not asked.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oauthcc import ClientCredentialsSession, TokenError
from oauthcc.access_token import Token
from oauthcc.clock import Instant
from oauthcc.events import Event, RenewalFailed, TokenObtained
from oauthcc.testing import AuthorizationServer, SeenRequest
from oauthcc.testing.faults import Outcome, oauth_error, unavailable
from oauthcc.tokens import renewal, state
from oauthcc.tokens.renewal import Backoff, Phase, Schedule

from .clock import Clock, flights_done, moved_clock
from .inside import held_by, state_of

pytestmark = pytest.mark.unmeasured

ROWS = json.loads((Path(__file__).parent / "data" / "renewal.json").read_text("utf-8"))
SECRETS = ("demo-secret", "another-secret")


class Player:
    """A session and a server that play a row."""

    def __init__(self, row: dict[str, Any], clock: Clock, auth: AuthorizationServer) -> None:
        self.row, self.clock, self.auth = row, clock, auth
        self.events, self.secret = list[Event](), 0
        self.auth.token_lifetime, self.usual = row["given"]["expires_in"], auth.make_token
        share = row["given"].get("share", 0.7)
        self.session = ClientCredentialsSession(
            auth.token_url,
            auth.client_id,
            lambda: SECRETS[self.secret],
            renew_at=(share, share),
            on_event=self.events.append,
        )
        self.source = self.session.tokens

    def play(self) -> tuple[str, str]:
        """Take the steps; return the state of the token and what a call does in it."""
        for number, (verb, what) in enumerate(self.row["steps"]):
            step: Callable[[Any], None] = getattr(self, f"step_{verb.replace(' ', '_')}")
            try:
                step(what)
            except AssertionError as error:
                raise AssertionError(f"step {number}, {verb} {what}: {error}") from error
        phase = state_of(self.source).look()[1]
        return "none" if phase is None else phase.value, self.call(self.row["action"])

    def step_pass(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def step_wall(self, seconds: float) -> None:
        self.clock.wall += seconds

    def step_monotonic(self, seconds: float) -> None:
        self.clock.monotonic += seconds

    def step_call(self, expected: str) -> None:
        assert self.call(expected) == expected

    def step_transit(self, seconds: float) -> None:
        self.during_the_answer(lambda: self.clock.advance(seconds))

    def step_wall_in_transit(self, seconds: float) -> None:
        self.during_the_answer(lambda: self.step_wall(seconds))

    def during_the_answer(self, happens: Callable[[], None]) -> None:
        def watch(request: SeenRequest, outcome: Outcome) -> None:
            happens()

        self.auth.watch = watch

    def step_endpoint(self, what: str) -> None:
        self.auth.answer_normally()
        if what == "denies":
            self.auth.answer_next(oauth_error("invalid_client", status=401), None)
        elif what == "limits requests":
            self.auth.answer_next(unavailable(429, None), None)
        elif what.startswith("unavailable"):
            self.auth.answer_next(unavailable(503, self.retry_after(what)), None)
        elif what == "same token":
            same = self.auth.issued[-1]
            self.auth.make_token = lambda: same
        else:
            assert what == "available"
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
        self.source.mark_refused(held_by(self.source).token)

    def call(self, expected: str) -> str:
        """Return what a call does."""
        current = state_of(self.source).current
        held = None if current is None else current.token
        self.auth.forget()
        self.events.clear()
        got: Token | None = None
        # A call that waits although it should not gets no token.
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
            assert got is None or got is held
            return "fail" if got is None else "use"
        return self.what_happened(got, held)

    def what_happened(self, got: Token | None, held: Token | None) -> str:
        (event,) = (e for e in self.events if isinstance(e, (TokenObtained, RenewalFailed)))
        assert self.auth.max_concurrent == 1
        if event.why == "aging":
            assert got is held
            return "use, renew"
        if isinstance(event, TokenObtained):
            assert got is not None
            assert got.access_token == self.auth.issued[-1]
            return "wait"
        assert event.usable == (got is not None)
        assert got is None or got is held
        return "wait, fail" if got is None else "wait, use"


@pytest.mark.parametrize("row", [pytest.param(row, id=row["row"]) for row in ROWS])
def test_a_row_of_the_table_holds(
    row: dict[str, Any], auth: AuthorizationServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    player = Player(row, moved_clock(monkeypatch), auth)
    # The share is drawn from a range of one value, and the pause as the row says.
    draw = row["given"].get("draw", 1.0)
    drawn = SimpleNamespace(uniform=lambda first, last: first, random=lambda: draw)
    monkeypatch.setattr(state, "random", drawn)
    # Callers wait in real time, and half of the last 50 ms is too short for a busy machine.
    monkeypatch.setattr(state.CurrentToken, "seconds_left", lambda _: 20.0)
    with player.session:
        assert player.play() == (row["state"], row["action"])


def test_every_row_has_a_name_of_its_own_and_every_lifetime_has_rows() -> None:
    names = [row["row"] for row in ROWS]
    assert len(set(names)) == len(names) >= 40
    lifetimes = {row["given"]["expires_in"] for row in ROWS}
    assert lifetimes >= {1, 5, 10, 60, 3600, 86400, None, 0, -5}


# -- properties ------------------------------------------------------------------------------------

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
    phase = renewal.phase(renewal.schedule(token, seen, share), at)
    if token.expires_at is None:
        assert phase is Phase.FRESH
    elif phase is not Phase.EXPIRED:
        assert token.lifetime is not None
        assert at.wall < token.expires_at
        # Floating point: a sum of large clock readings may be off by less than a microsecond.
        assert at.monotonic - seen.monotonic < max(token.lifetime, 0.0) + 1e-5


@given(plans, instants, seconds, seconds)
def test_a_token_never_gets_younger(
    plan: Schedule, at: Instant, monotonic: float, wall: float
) -> None:
    later = Instant(at.monotonic + monotonic, at.wall + wall)
    phases = [renewal.phase(plan, at), renewal.phase(plan, later)]
    assert phases == sorted(phases, key=IN_ORDER.index)


@given(plans, instants)
def test_a_refused_token_is_in_its_margin_or_expired(plan: Schedule, at: Instant) -> None:
    phase = renewal.phase(renewal.refused(plan), at)
    assert (phase is Phase.EXPIRED) == (renewal.phase(plan, at) is Phase.EXPIRED)
    assert phase in {Phase.MARGIN, Phase.EXPIRED}


@given(plans)
def test_the_phases_follow_one_another_on_both_clocks(plan: Schedule) -> None:
    for clock in ("monotonic", "wall"):
        moments = [getattr(moment, clock) for moment in (plan.aging, plan.margin, plan.expiry)]
        assert moments == sorted(moments)


@given(instants, st.floats(1e-3, 1e7), shares)
def test_the_renewal_point_is_the_drawn_share_or_the_margin(
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
def test_the_pause_of_early_renewal_is_within_bounds(
    previous: Backoff | None, plan: Schedule, at: Instant, draw: float, retry_after: float | None
) -> None:
    pause = renewal.after_early_failure(previous, plan, at, draw, retry_after)
    assert pause.failures == (previous.failures if previous else 0) + 1
    assert at.monotonic <= pause.until <= max(at.monotonic, plan.margin.monotonic)
    longest = min(60.0, 2.0**pause.failures) if pause.failures < 10 else 60.0
    wanted = max(longest * (0.5 + draw / 2), min(max(retry_after or 0.0, 0.0), 300.0))
    assert pause.until <= at.monotonic + wanted
    if at.monotonic + wanted <= plan.margin.monotonic:
        assert pause.until == at.monotonic + wanted


@given(backoffs, instants, st.sampled_from([4.0, 60.0]), retry_afters)
def test_a_failure_is_remembered_within_bounds(
    previous: Backoff | None,
    at: Instant,
    longest: float,
    retry_after: float | None,
) -> None:
    pause = renewal.after_failure(previous, at, longest=longest, retry_after=retry_after)
    most = max(longest, min(retry_after or 0.0, 300.0))
    assert at.monotonic + 1.0 <= pause.until <= at.monotonic + most
    longer = renewal.after_failure(pause, at, longest=longest, retry_after=retry_after)
    assert longer.until >= pause.until


@given(backoffs, instants)
def test_the_pause_of_an_api_that_refuses_new_tokens_is_within_bounds(
    previous: Backoff | None, at: Instant
) -> None:
    pause = renewal.after_refusal(previous, at)
    # The first refusal causes no pause, nor one that comes long after the last pause.
    is_first = previous is None or previous.until < at.monotonic - 60.0
    shortest = 0.0 if is_first else 1.0
    assert at.monotonic + shortest <= pause.until <= at.monotonic + 60.0
    assert renewal.after_refusal(pause, at).until >= pause.until
