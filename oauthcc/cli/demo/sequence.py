"""The first part of the demo: one session, and what went over the wire at each step."""

from __future__ import annotations

from contextlib import ExitStack

from ...redaction.header import REDACTED
from ..traffic import Exchange, watch
from .promises import Promises
from .screen import Screen
from .servers import create_session, start_servers

#: The columns between the caller and the authorization server, and between that and the API.
_FIRST, _SECOND = 40, 13
_SPACE = " " * _SECOND
_BODY = b"one order"
_HIDDEN = repr(f"Bearer {REDACTED}")


class _Wire:
    """What both servers have received, drawn as arrows between three columns."""

    def __init__(self, screen: Screen) -> None:
        self.exchanges: list[Exchange] = []
        self._screen = screen
        self._drawn = 0

    def draw_head(self) -> None:
        self._screen.draw(f"  caller{'authorization server':>{_FIRST + 4}}{'API':>6}", "bold")

    def draw(self) -> int:
        """Draw what was received since the last call, and return how many requests that were."""
        new = self.exchanges[self._drawn :]
        self._drawn += len(new)
        for exchange in new:
            self._draw_one(exchange)
        if not new:
            self._screen.draw(f"  │ (no request){' ' * (_FIRST - 13)}│{_SPACE}│", "dim")
        return len(new)

    def _draw_one(self, exchange: Exchange) -> None:
        sent, answer, style = exchange.request, exchange.answer + exchange.news, "green"
        if exchange.to_api:
            size = f", {len(exchange.body)} bytes" if exchange.body else ""
            there = f"├{_line(f'{sent}, {exchange.token}{size}')}┼{'─' * (_SECOND - 1)}▶│"
            back = f"│◀{_line(answer)[1:]}┼{'─' * _SECOND}┤"
        else:
            there = f"├{_line(sent)[:-1]}▶│{_SPACE}│"
            back = f"│◀{_line(answer)[1:]}┤{_SPACE}│"
        if not exchange.answer.startswith("2"):
            style = "yellow"
        self._screen.draw(f"  {there}", "cyan")
        self._screen.draw(f"  {back}", style)


def _line(label: str) -> str:
    return f"── {label} ".ljust(_FIRST, "─")


def show_sequence(running: ExitStack, screen: Screen, promises: Promises) -> None:
    """Show the steps of one session, and check what each of them promises."""
    auth, api = start_servers(running)
    wire = _Wire(screen)
    watch(auth, api, wire.exchanges.append)
    url = f"{api.url}/orders"
    wire.draw_head()

    screen.say("1. The session is created. Nothing is sent.")
    session = create_session(running, auth)
    promises.check("a new session sends nothing", holds=wire.draw() == 0)

    screen.say("2. session.get(...): the first request fetches a token.")
    first = session.get(url)
    wire.draw()

    screen.say("3. session.get(...): the second request uses the same token.")
    second = session.get(url)
    holds = wire.draw() == 1 and first.status_code == second.status_code == 200
    promises.check("the first two requests succeed, with one token", holds=holds)

    screen.say("4. All tokens are revoked. session.post(...): the API refuses the old one.")
    screen.say("A new token is fetched, and the same request is sent once more.", indent=5)
    auth.revoke_all()
    third = session.post(url, data=_BODY)
    wire.draw()
    screen.say(f"The caller gets {third.status_code}, and does not notice the 401.", indent=5)
    holds = third.status_code == 200 and not third.history
    promises.check("the caller does not see the 401 of a revoked token", holds=holds)
    bodies = [exchange.body for exchange in wire.exchanges if exchange.to_api]
    holds = bodies == [b"", b"", _BODY, _BODY]
    promises.check("the request is sent again once, with the identical body", holds=holds)
    promises.check("two token requests were enough", holds=len(auth.token_requests) == 2)

    shown = repr(third.request.headers.get("Authorization"))
    screen.say("5. The header with the token, as a log or a debugger shows it:")
    screen.draw(f"     {shown if shown == _HIDDEN else 'the token'}")
    promises.check("the repr of the header does not contain the token", holds=shown == _HIDDEN)
