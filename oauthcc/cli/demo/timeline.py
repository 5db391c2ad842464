"""The second part of the demo: callers under load, with a revocation and an outage."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack

from rich.live import Live

from ...testing import AuthorizationServer, faults
from ..traffic import watch
from .chart import chart
from .load import CALLERS, Record, callers
from .promises import Promises
from .screen import Screen
from .servers import create_session, start_servers

LIFETIME, RENEW_AT = 5, 0.4
#: Seconds that the demo waits at most for what it is about to show, and between two drawings.
_PATIENCE, _REDRAWN = 4.0, 0.1


class _View:
    """The chart, drawn again and again, or one line for each second if nothing can be redrawn."""

    def __init__(self, screen: Screen, record: Record, live: Live | None) -> None:
        self._screen, self._record, self._live = screen, record, live
        self._lines = 0

    def wait_for(self, condition: Callable[[], bool], seconds: float | None = None) -> bool:
        """Show what happens until a condition is true; return False if it takes too long."""
        end = self._record.now + (_PATIENCE if seconds is None else seconds)
        while not condition() and self._record.now < end:
            time.sleep(_REDRAWN)
            self.show()
        return condition()

    def wait(self, seconds: float) -> None:
        """Show what happens for some seconds."""
        self.wait_for(lambda: False, seconds)

    def show(self) -> None:
        """Draw what has happened until now."""
        if self._live is not None:
            self._live.update(chart(self._record, self._screen), refresh=True)
            return
        while self._lines + 1 <= self._record.now:
            self._screen.draw(self._record.second(self._lines))
            self._lines += 1


def show_time_line(running: ExitStack, screen: Screen, promises: Promises) -> None:
    """Show callers during a renewal, a revocation and an outage, and check what they noticed."""
    auth, api = start_servers(running)
    auth.token_lifetime = LIFETIME
    # On one machine no call would be on its way at the revocation, and none would wait for a token.
    auth.delay, api.delay = 0.1, 0.02
    session = create_session(running, auth, renew_at=(RENEW_AT, RENEW_AT))
    record = Record()
    watch(auth, api, record.see)
    screen.title(
        f"{CALLERS} threads call the API all the time, with one session. A token is valid for"
        f" {LIFETIME} seconds, and is renewed after {LIFETIME * RENEW_AT:.0f}."
    )
    with screen.live() as live:
        view = _View(screen, record, live)
        with callers(record, session, f"{api.url}/orders"):
            _play(auth, record, screen, view, promises)
        view.show()
    _sum_up(auth, record, screen, promises)


def _play(
    auth: AuthorizationServer, record: Record, screen: Screen, view: _View, promises: Promises
) -> None:
    """Let the authorization server do what it does on a bad day."""
    holds = view.wait_for(lambda: len(record.renewals) > 0)
    promises.check("a token is renewed early", holds=holds)
    screen.say("1. A token was renewed in the background, while the calls went on.")
    view.wait(1.0)

    screen.say("2. All tokens are revoked. The API refuses the calls that are on their way.")
    record.revocations.append(record.now)
    before = len(record.renewals)
    auth.revoke_all()
    holds = view.wait_for(lambda: len(record.renewals) > before and len(record.refused) > 0)
    promises.check("a revoked token is replaced", holds=holds)
    screen.say("The threads shared one new token, and each refused call was sent again.", indent=5)
    view.wait(1.0)

    screen.say("3. The token endpoint has an outage: it answers 503.")
    auth.answer_next(faults.unavailable(retry_after=None), None)
    record.outage.append(record.now)
    holds = view.wait_for(lambda: len(record.unavailable) > 0)
    promises.check("a renewal is tried during the outage", holds=holds)
    screen.say("A renewal has failed. The calls go on with the token that they have.", indent=5)
    view.wait(0.6)

    screen.say("4. The outage is over.")
    before = len(record.renewals)
    auth.answer_normally()
    record.outage.append(record.now)
    holds = view.wait_for(lambda: len(record.renewals) > before)
    promises.check("the token is renewed after the outage", holds=holds)
    screen.say("The token was renewed.", indent=5)
    view.wait(0.6)


def _sum_up(auth: AuthorizationServer, record: Record, screen: Screen, promises: Promises) -> None:
    calls, failed = len(record.ok) + len(record.failed), len(record.failed)
    seen = record.statuses.count(401)
    screen.space()
    for name, text in (
        ("calls", f"{calls}, {failed} of them failed"),
        ("401s of the API", f"{len(record.refused)}, callers saw {seen} of them"),
        ("token requests", f"{len(record.token_requests)}, a 503 for {len(record.unavailable)}"),
        ("  at the same time", f"{auth.max_concurrent} at most"),
    ):
        screen.draw(f"  {name:<20}{text}")
    promises.check("no call fails", holds=not failed)
    promises.check("no caller sees a 401", holds=not seen)
    promises.check("one token request at a time", holds=auth.max_concurrent == 1)
