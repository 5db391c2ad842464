"""Tests of the events: how they are logged, and what an observer gets."""

from __future__ import annotations

import dataclasses
import logging
import sys
from pathlib import Path
from typing import Any, get_args

import pytest

from oauthcc import TokenError, events
from oauthcc.events import Event, TokenObtained

from .scripts import run

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
    for member in dataclasses.fields(event):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(event, member.name, "other")
    assert not hasattr(event, "__dict__")


@every_event
def test_an_event_is_logged_at_its_level(event: Event, level: int, caplog: Any) -> None:
    caplog.set_level(logging.DEBUG, "oauthcc")
    events.emit(event, None)
    (record,) = caplog.records
    assert (record.name, record.levelno, record.exc_info) == ("oauthcc", level, None)
    assert record.getMessage() == str(event)


@every_event
def test_an_observer_gets_the_event_itself(event: Event, level: int) -> None:
    seen: list[Event] = []
    events.emit(event, seen.append)
    assert seen[0] is event


@every_event
def test_an_event_names_client_and_scope(event: Event, level: int) -> None:
    seen: list[Event] = []
    for scope in ("orders:read", None):
        events.emit(event, seen.append, events.Client("my-id", scope, URL))
    assert [(one.client_id, one.scope) for one in seen] == [
        ("my-id", "orders:read"),
        ("my-id", None),
    ]
    assert "client 'my-id', scope 'orders:read'" in str(seen[0])
    assert "client 'my-id', without a scope" in str(seen[1])
    assert seen == [event, event]


ME: dict[str, Any] = {"client_id": "me", "scope": "orders"}
LINES: list[tuple[Event, str]] = [
    (
        TokenObtained(URL, "absent", 0.1983, 3600.0, 1, **ME),
        (
            "Fetched a token for client 'me', scope 'orders', from https://as.example in 0.2 s"
            " (valid"
            " for 1 h)"
        ),
    ),
    (
        TokenObtained(URL, "refused", 1.25, None, 3, 7, **ME),
        (
            "Fetched a token for client 'me', scope 'orders', from https://as.example in 1.2 "
            "s, with 3 token requests (its lifetime is unknown; an API refused the last one)"
        ),
    ),
    (
        TokenObtained(URL, "aging", 0.004, 600.0, 0, **ME),
        (
            "Found a token in the store for client 'me', scope 'orders' in 0 s (valid for 10 min"
            " since"
            " it was issued; renewed early)"
        ),
    ),
    (
        events.RenewalFailed(URL, "aging", ERROR, usable=True, next_try_in=1.96, **ME),
        (
            "No token could be fetched for client 'me', scope 'orders', from "
            "https://as.example; the current one is still used, and the next attempt is "
            "allowed in 2 s: no luck"
        ),
    ),
    (
        events.RenewalFailed(URL, "absent", ERROR, usable=False, next_try_in=0.25, **ME),
        (
            "No token could be fetched for client 'me', scope 'orders', from "
            "https://as.example; requests raise this error, and the next attempt is allowed "
            "in 0.25 s: no luck"
        ),
    ),
    (
        events.RefusalRemembered(URL, ERROR, 59.7, **ME),
        (
            "Only a change of the configuration can help client 'me', scope 'orders', at "
            "https://as.example; no token request is sent for 1 min: no luck"
        ),
    ),
    (
        events.RequestReplayed("GET", "https://api.example/a", 401, 200, **ME),
        (
            "Sent GET https://api.example/a again with another token (client 'me', scope 'orders'):"
            " the"
            " first answer was 401, the second 200"
        ),
    ),
    (
        events.ReplayImpossible("PUT", "https://api.example/a", 401, "it is a generator", **ME),
        (
            "Returned the 401 of PUT https://api.example/a (client 'me', scope 'orders'): the"
            " request"
            " cannot be sent again, because it is a generator"
        ),
    ),
    (
        events.StoreBypassed("load", OSError("disk"), "/var/cache/me", **ME),
        (
            "Continued without the token store (/var/cache/me) for client 'me', scope 'orders',"
            " because"
            " load failed: disk"
        ),
    ),
    (
        events.StoreBypassed("load", OSError("disk"), **ME),
        (
            "Continued without the token store for client 'me', scope 'orders', because load "
            "failed: disk"
        ),
    ),
]


@pytest.mark.parametrize(("event", "line"), LINES)
def test_the_text_of_an_event_is_a_sentence_for_people(event: Event, line: str) -> None:
    assert str(event) == line
    assert "(" in repr(event)[:30]  # of a dataclass, as before


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((0.0, "0 s"), (0.0004, "0 s"), (0.173, "0.17 s"), (4.26, "4.3 s"), (59.0, "59 s")),
        *((60.0, "1 min"), (90.0, "90 s"), (119.6, "2 min"), (599.0, "10 min"), (3599.5, "1 h")),
        *((5400.0, "90 min"), (9000.0, "2.5 h"), (86400.0, "1 d"), (1e7, "116 d")),
    ],
)
def test_a_duration_is_rounded(seconds: float, text: str) -> None:
    assert events.duration(seconds) == text


def test_an_event_with_an_error_that_cannot_be_shown_is_logged(caplog: Any) -> None:
    class Odd(TokenError):
        def __str__(self) -> str:
            raise LookupError

        __repr__ = __str__

    caplog.set_level(logging.DEBUG, "oauthcc")
    events.emit(events.RenewalFailed(URL, "aging", Odd(), usable=True, next_try_in=1.0), None)
    assert caplog.records[0].getMessage().endswith(": Odd")


def test_a_warning_is_printed_if_logging_is_not_configured_and_nothing_else(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from oauthcc.events import log\nlog.info('a fetch')\nlog.warning('a mistake')\n"
    )
    done = run([sys.executable, str(script)], tmp_path)
    assert (done.stdout, done.stderr) == ("", "a mistake\n")


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
    events.emit(EVERY[0][0], observer, events.Client("my-id", "orders", URL))
    record = caplog.records[-1]
    assert (record.name, record.levelno) == ("oauthcc", logging.ERROR)
    assert "ZeroDivisionError: a bug" in caplog.text
    assert "The on_event observer of client 'my-id', scope 'orders' raised" in record.getMessage()
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
