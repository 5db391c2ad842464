"""Tests of the events: how they are logged, and what an observer gets."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any, get_args

import pytest

from oauthcc import TokenError, events
from oauthcc.events import Event, TokenObtained

URL = "https://as.example/token"
ERROR = TokenError("no luck")
EVERY: list[tuple[Event, int]] = [
    (TokenObtained(URL, "absent", 0.1, 3600.0, 1), logging.INFO),
    (events.RenewalFailed(URL, "aging", ERROR, usable=True, next_try_in=1.0), logging.WARNING),
    (events.RefusalRemembered(URL, ERROR, 1.0), logging.ERROR),
    (events.RequestReplayed("GET", URL, 401, 200), logging.INFO),
    (events.ReplayImpossible("GET", URL, 401, "a generator"), logging.WARNING),
    (events.StoreBypassed("load", OSError("disk")), logging.WARNING),
]
every_event = pytest.mark.parametrize(
    ("event", "level"), [pytest.param(*pair, id=type(pair[0]).__name__) for pair in EVERY]
)


def test_every_type_of_event_is_tested_here() -> None:
    assert [type(event) for event, _ in EVERY] == list(get_args(Event))


@every_event
def test_an_event_never_changes(event: Event, level: int) -> None:
    name = dataclasses.fields(event)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(event, name, "other")
    assert not hasattr(event, "__dict__")


@every_event
def test_an_event_is_logged_at_its_level(event: Event, level: int, caplog: Any) -> None:
    caplog.set_level(logging.DEBUG, "oauthcc")
    events.emit(event, None)
    (record,) = caplog.records
    assert (record.name, record.levelno, record.exc_info) == ("oauthcc", level, None)
    assert record.getMessage() == repr(event)


@every_event
def test_an_observer_gets_the_event_itself(event: Event, level: int) -> None:
    seen: list[Event] = []
    events.emit(event, seen.append)
    assert seen[0] is event


def test_nothing_is_printed_if_logging_is_not_configured() -> None:
    assert any(isinstance(handler, logging.NullHandler) for handler in events.log.handlers)


class Failing:
    """An observer that raises at its first event."""

    def __init__(self, error: BaseException) -> None:
        self.errors, self.seen = [error], list[Event]()

    def __call__(self, event: Event) -> None:
        if self.errors:
            raise self.errors.pop()
        self.seen.append(event)


def test_an_exception_in_an_observer_is_logged_with_its_traceback(caplog: Any) -> None:
    observer = Failing(ZeroDivisionError("a bug"))
    events.emit(EVERY[0][0], observer)
    record = caplog.records[-1]
    assert (record.name, record.levelno) == ("oauthcc", logging.ERROR)
    assert "ZeroDivisionError: a bug" in caplog.text
    events.emit(EVERY[0][0], observer)
    assert observer.seen


def test_an_interrupt_in_an_observer_is_raised_and_the_observer_gets_the_next_event() -> None:
    observer = Failing(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        events.emit(EVERY[0][0], observer)
    events.emit(EVERY[0][0], observer)
    assert observer.seen


def test_an_observer_gets_no_event_that_it_causes_itself_and_other_observers_do() -> None:
    class Observer:
        def __init__(self, other: Observer | None) -> None:
            self.seen, self.other = list[Event](), other

        def see(self, event: Event) -> None:
            self.seen.append(event)
            events.emit(EVERY[1][0], self.see)
            if self.other is not None:
                events.emit(EVERY[2][0], self.other.see)

    other = Observer(None)
    one = Observer(other)
    events.emit(EVERY[0][0], one.see)
    events.emit(EVERY[0][0], one.see)
    assert [type(event) for event in one.seen] == [TokenObtained, TokenObtained]
    assert [type(event) for event in other.seen] == [events.RefusalRemembered] * 2


def test_a_token_without_attempts_was_in_the_store() -> None:
    event = TokenObtained(URL, "expired", 0.0, None, 0)
    assert event.from_store
    assert not dataclasses.replace(event, attempts=1).from_store
    assert event.waiters == 0
