"""The verdict of `benchmarks/soak.py`, which must find every kind of error."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest

from .scripts import ROOT


class Case:
    """A journal with one call at moment 10, with a token that is valid for 100 seconds."""

    def __init__(self, parts: Any) -> None:
        self.parts = parts
        self.journal = parts.journal.Journal()
        self.call = parts.journal.Call(
            name="c",
            source="solo",
            body="bytes",
            replayable=True,
            sha256="s",
            timeout=3.0,
            begun=10.0,
            ended=10.1,
            outcome="200",
            answered_to="c",
            answered_sha256="s",
        )
        self.token_request(9.0, "t")

    def token_request(
        self, at: float, token: str | None = None, lifetime: float = 100.0, source: str = "solo"
    ) -> None:
        """Record a token request; without a token it failed."""
        outcome = "200" if token else "503"
        request = self.parts.journal.TokenRequest
        made = request(source, at, at + 0.01, outcome, token, lifetime if token else 0.0)
        self.journal.token_requests.append(made)

    def sent(
        self, outcome: str, token: str = "t", sha256: str = "s", path: str = "/call/c"
    ) -> None:
        """Record a request that reached the API."""
        at = 10.01 + len(self.journal.attempts) / 100
        attempt = self.parts.journal.Attempt("c", path, "solo", at, token, sha256, outcome)
        self.journal.attempts.append(attempt)

    def refused_twice(self, call: str) -> None:
        """Record a call whose two tokens were refused."""
        for moment, token in ((9.1, f"{call}-first"), (9.2, f"{call}-second")):
            attempt = self.parts.journal.Attempt(
                call, f"/call/{call}", "solo", moment, token, "s", "401"
            )
            self.journal.attempts.append(attempt)

    def judged(self, **about_call: Any) -> dict[str, list[str]]:
        """Return all findings."""
        self.journal.calls.append(dataclasses.replace(self.call, **about_call))
        verdict = dataclasses.asdict(self.parts.judge.Judge(self.journal).judge())
        del verdict["explained"]
        return {name: found for name, found in verdict.items() if found}


@pytest.fixture
def case(monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    yield Case(_Parts())
    for name in [name for name in sys.modules if name.partition(".")[0] == "soaking"]:
        del sys.modules[name]


class _Parts:
    """The modules of the soak test, which is a script and not a package."""

    def __getattr__(self, name: str) -> Any:
        return importlib.import_module(f"soaking.{name}")


ERROR: dict[str, Any] = {"outcome": "TokenEndpointUnavailable", "is_token_error": True}
BROKEN: dict[str, Any] = {"outcome": "ConnectionError"}


def test_a_successful_call_is_not_a_finding(case: Case) -> None:
    case.sent("200")
    assert not case.judged()


def test_an_injected_fault_explains_the_outcome_of_a_call(case: Case) -> None:
    case.sent("reset")
    assert not case.judged(**BROKEN)


def test_a_replay_is_not_a_finding(case: Case) -> None:
    case.sent("401", "t")
    case.token_request(10.015, "u")
    case.sent("200", "u")
    assert not case.judged()


@pytest.mark.parametrize(
    "about_call", [ERROR, BROKEN, {"outcome": "401"}, {"outcome": "503"}, {"outcome": "KeyError"}]
)
def test_a_failure_after_a_good_answer_is_lost(about_call: dict[str, Any], case: Case) -> None:
    case.sent("200")
    assert set(case.judged(**about_call)) == {"lost"}


@pytest.mark.parametrize("about_call", [ERROR, BROKEN, {"outcome": "200"}])
def test_a_failure_without_a_reason_is_lost(about_call: dict[str, Any], case: Case) -> None:
    assert "lost" in case.judged(**about_call)


def test_a_refusal_without_a_replay_is_lost(case: Case) -> None:
    case.sent("401")
    assert set(case.judged(outcome="401")) == {"lost"}


def test_a_refusal_of_a_body_that_can_be_sent_once_is_not_a_finding(case: Case) -> None:
    case.sent("401")
    assert not case.judged(outcome="401", replayable=False)


def test_a_refusal_of_two_tokens_is_not_a_finding(case: Case) -> None:
    case.sent("401", "t")
    case.token_request(10.015, "u")
    case.sent("401", "u")
    assert not case.judged(outcome="401")


@pytest.mark.parametrize("explains", ["failed", "down", "hung", "refusing", "many", "nothing"])
def test_a_refusal_of_one_token_needs_a_reason(explains: str, case: Case) -> None:
    path = "/refusing" if explains == "refusing" else "/call/c"
    case.sent("401", path=path)
    if explains == "failed":
        case.token_request(9.9)
    elif explains == "down":
        case.journal.outages.append(("token endpoint", 8.0, 9.0))
    elif explains == "hung":
        case.token_request(9.9, "u")
        case.journal.token_requests[-1] = dataclasses.replace(
            case.journal.token_requests[-1], ended=12.0
        )
    elif explains == "many":
        for number in range(5):
            case.refused_twice(str(number))
    assert case.judged(outcome="401").get("lost", []) == ([] if explains != "nothing" else [ANY])


def test_a_token_error_after_a_refusal_is_lost_while_the_token_has_not_expired(case: Case) -> None:
    case.sent("401")
    case.token_request(9.9)
    assert "lost" in case.judged(**ERROR)


def test_a_token_error_with_a_valid_token_is_lost(case: Case) -> None:
    case.token_request(9.9)
    assert "lost" in case.judged(**ERROR)


def test_a_token_error_without_a_valid_token_is_not_a_finding(case: Case) -> None:
    case.journal.token_requests.clear()
    case.token_request(7.0, "t", lifetime=2.0)
    case.token_request(9.9)
    assert not case.judged(**ERROR)


def test_a_token_error_long_after_the_failure_is_lost(case: Case) -> None:
    case.journal.token_requests.clear()
    case.token_request(1.0)
    assert set(case.judged(**ERROR)) == {"lost"}


def test_the_answer_to_another_call_is_wrong(case: Case) -> None:
    case.sent("200")
    assert set(case.judged(answered_to="d")) == {"wrong"}


def test_a_different_body_is_wrong(case: Case) -> None:
    case.sent("401", "t")
    case.token_request(10.015, "u")
    case.sent("200", "u", sha256="half of it")
    assert set(case.judged()) == {"wrong"}


def test_a_request_without_a_token_is_wrong(case: Case) -> None:
    case.sent("200", "")
    assert set(case.judged()) == {"wrong"}


@pytest.mark.parametrize(
    "tries",
    [
        ("401 t", "401 u", "401 v", "200 w"),
        ("503 t", "200 u"),
        ("401 t", "503 u", "200 v"),
        ("401 t", "200 t"),
        ("401 t", "401 u", "200 t"),
    ],
)
def test_a_request_that_is_sent_too_often_is_wrong(tries: tuple[str, ...], case: Case) -> None:
    for attempt in tries:
        case.sent(*attempt.split())
    assert "wrong" in case.judged()


def test_a_call_that_takes_too_long_is_late(case: Case) -> None:
    case.sent("200")
    assert set(case.judged(ended=13.0)) == {"late"}


def test_a_call_with_a_stalled_answer_is_not_late_before_its_timeout(case: Case) -> None:
    case.sent("stall")
    assert not case.judged(ended=13.0, **BROKEN)
    assert "late" in case.judged(ended=30.0, **BROKEN)


def test_a_token_request_with_a_young_token_is_needless(case: Case) -> None:
    case.token_request(9.5, "u")
    case.sent("200", "u")
    assert set(case.judged()) == {"needless"}


def test_failed_token_requests_in_quick_succession_are_too_fast(case: Case) -> None:
    case.journal.token_requests.clear()
    for at in (9.0, 9.2, 9.4, 9.6):
        case.token_request(at)
    assert set(case.judged(**ERROR)) == {"too_fast"}


def test_two_token_requests_at_the_same_time_are_concurrent(case: Case) -> None:
    case.journal.token_requests.clear()
    case.token_request(9.0, "t")
    case.token_request(9.005, "u")
    case.sent("200")
    assert "concurrent" in case.judged()


@pytest.mark.parametrize(("source", "found"), [("solo", True), ("pair", False)])
def test_sessions_that_share_a_store_may_ask_at_the_same_time_after_a_failure(
    source: str, found: bool, case: Case
) -> None:
    case.journal.token_requests.clear()
    for at, token in ((8.0, None), (9.0, "t"), (9.005, "u")):
        case.token_request(at, token, source=source)
    case.sent("200")
    assert ("concurrent" in case.judged(source=source)) == found


@pytest.mark.parametrize("source", ["redis", "pair"])
@pytest.mark.parametrize("second", [9.005, 9.5])
def test_sessions_whose_redis_does_not_answer_fetch_tokens_of_their_own(
    source: str, second: float, case: Case
) -> None:
    case.journal.token_requests.clear()
    case.journal.outages.append(("redis", 7.0, 8.0))
    for at, token in ((9.0, "t"), (second, "u")):
        case.token_request(at, token, source=source)
    case.sent("200")
    found = case.judged(source=source)
    assert bool({"concurrent", "needless"} & set(found)) == (source == "pair")


def test_a_token_in_a_log_is_a_leak(case: Case, tmp_path: Path) -> None:
    token = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5"
    (tmp_path / "parent.log").write_text(f"fine\nheader: Bearer {token}\n")
    (tmp_path / "child-1.log").write_text("secret=demo-secret\nfine\n")
    leaks = importlib.import_module("soak").leaks
    del sys.modules["soak"]
    assert leaks(tmp_path, {token}, {"demo-secret"}) == ["child-1.log:1", "parent.log:2"]
