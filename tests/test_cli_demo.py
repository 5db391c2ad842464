"""`oauthcc demo`: what it draws, in a terminal and in a pipe, and its exit status."""

from __future__ import annotations

import io
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest
import requests
from rich.console import Console
from typer.testing import CliRunner

from oauthcc.cli.commands import app
from oauthcc.cli.demo import play as play_module
from oauthcc.cli.demo import sequence, servers, timeline
from oauthcc.cli.demo.chart import chart
from oauthcc.cli.demo.load import CALLERS, Record, callers
from oauthcc.cli.demo.screen import Screen
from oauthcc.cli.traffic import Exchange
from oauthcc.testing import AuthorizationServer

from .pseudo_terminal import COMMAND, environment, run_in_terminal

ARROWS = """\
  caller                        authorization server   API
  │ (no request)                           │             │
  ├── POST /token ────────────────────────▶│             │
  │◀─ 200, issued token 1 ─────────────────┤             │
  ├── GET /orders, token 1 ────────────────┼────────────▶│
  │◀─ 200 ─────────────────────────────────┼─────────────┤
  ├── GET /orders, token 1 ────────────────┼────────────▶│
  │◀─ 200 ─────────────────────────────────┼─────────────┤
  ├── POST /orders, token 1, 9 bytes ──────┼────────────▶│
  │◀─ 401 ─────────────────────────────────┼─────────────┤
  ├── POST /token ────────────────────────▶│             │
  │◀─ 200, issued token 2 ─────────────────┤             │
  ├── POST /orders, token 2, 9 bytes ──────┼────────────▶│
  │◀─ 200 ─────────────────────────────────┼─────────────┤"""
IN_ASCII = ARROWS.translate(str.maketrans("│├┤┼─▶◀", "||||-><"))
STEPS = [
    "1. The session is created.",
    "2. session.get(...): the first request fetches a token.",
    "3. session.get(...): the second request uses the same token.",
    "4. All tokens are revoked. session.post(...)",
    "A new token is fetched, and the same request is sent once more.",
    "The caller gets 200, and does not notice the 401.",
    "5. The header with the token",
    "'Bearer ***'",
]
LOAD = [
    "8 threads call the API all the time",
    "1. A token was renewed in the background",
    "2. All tokens are revoked.",
    "The threads shared one new token",
    "3. The token endpoint has an outage",
    "A renewal has failed.",
    "4. The outage is over.",
    "The token was renewed.",
    "0 of them failed",
    "callers saw 0 of them",
    "1 at most",
    "All 13 checks of this run passed.",
]


def are_in_order(sentences: list[str], text: str) -> bool:
    pattern = ".*".join(map(re.escape, sentences)).replace(r"\ ", r"\s+")
    return re.search(pattern, text, re.DOTALL) is not None


def drawing(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if re.match(r"  ([│├|]|caller)", line))


def without_colors(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", text)


def quick(**env: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*COMMAND, "demo", "--quick"], check=False, capture_output=True, env=environment(**env)
    )


@pytest.fixture
def issued(monkeypatch: pytest.MonkeyPatch) -> list[AuthorizationServer]:
    """Return the authorization servers that the demo will start."""
    made: list[AuthorizationServer] = []

    def start(running: ExitStack) -> Any:
        both = servers.start_servers(running)
        made.append(both[0])
        return both

    monkeypatch.setattr(sequence, "start_servers", start)
    monkeypatch.setattr(timeline, "start_servers", start)
    return made


def hidden(made: list[AuthorizationServer]) -> Iterator[str]:
    for auth in made:
        yield from (auth.client_secret, *auth.issued)


def test_the_arrows_are_the_requests_that_were_received(issued: list[AuthorizationServer]) -> None:
    done = CliRunner().invoke(app, ["demo", "--quick"])
    assert done.exit_code == 0, done.output
    assert drawing(done.stdout) == ARROWS
    assert are_in_order([*STEPS, "All 6 checks of this run passed."], done.stdout)
    assert len(issued[0].issued) == 2
    assert not [each for each in hidden(issued) if each in done.output]


def test_callers_notice_neither_a_revocation_nor_an_outage(
    issued: list[AuthorizationServer],
) -> None:
    done = CliRunner().invoke(app, ["demo"])
    assert done.exit_code == 0, done.output
    assert are_in_order([*STEPS, *LOAD], done.stdout)
    assert "  [second 1] " in done.stdout
    assert "\x1b" not in done.output
    assert not [each for each in hidden(issued) if each in done.output]


def test_the_first_part_names_the_promises_that_did_not_hold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    never = partial(servers.create_session, refused_status=(418,))
    monkeypatch.setattr(sequence, "create_session", never)
    done = CliRunner().invoke(app, ["demo", "--quick"])
    assert done.exit_code == 1
    assert [line.rpartition(": ")[2] for line in done.stderr.splitlines()] == [
        "the caller does not see the 401 of a revoked token",
        "the request is sent again once, with the identical body",
        "two token requests were enough",
    ]
    assert "of this run passed" not in done.stdout


def test_the_second_part_names_the_promises_that_did_not_hold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    never = partial(servers.create_session, refused_status=(418,))
    monkeypatch.setattr(timeline, "create_session", never)
    monkeypatch.setattr(timeline, "_PATIENCE", 0.0)
    done = CliRunner().invoke(app, ["demo"])
    assert done.exit_code == 1
    broken = [line.rpartition(": ")[2] for line in done.stderr.splitlines()]
    assert {"a revoked token is replaced", "no call fails", "no caller sees a 401"} <= set(broken)


def test_a_header_that_shows_the_token_is_a_broken_promise_and_is_not_printed(
    monkeypatch: pytest.MonkeyPatch, issued: list[AuthorizationServer]
) -> None:
    def plain(response: requests.Response, **_: Any) -> None:
        response.request.headers["Authorization"] = f"Bearer {issued[0].issued[-1]}"

    def create(running: ExitStack, auth: AuthorizationServer) -> Any:
        session = servers.create_session(running, auth)
        session.hooks["response"].append(plain)
        return session

    monkeypatch.setattr(sequence, "create_session", create)
    done = CliRunner().invoke(app, ["demo", "--quick"])
    assert done.exit_code == 1
    assert "the repr of the header does not contain the token" in done.stderr
    assert issued[0].issued[-1] not in done.output


def test_proxies_and_logins_of_this_machine_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert CliRunner().invoke(app, ["demo", "--quick"]).exit_code == 0


def test_a_call_that_raises_any_exception_has_failed() -> None:
    class Broken:
        def get(self, url: str) -> None:
            raise LookupError

    record, broken = Record(), Broken()
    record.call(broken, "http://127.0.0.1")  # type: ignore[arg-type]
    assert (len(record.failed), record.ok, record.statuses) == (1, [], [])


def test_what_the_servers_answer_is_counted() -> None:
    record = Record()
    for to_api, answer, issued in (
        (True, "200", 0),
        (True, "401", 0),
        (False, "200", 1),
        (False, "200", 2),
        (False, "503", 0),
    ):
        record.see(Exchange(to_api, "GET /", answer, "token 1", issued, b""))
    assert len(record.token_requests) == 3
    assert [len(record.refused), len(record.renewals), len(record.unavailable)] == [1, 1, 1]
    assert "token requests: 3, answered 503: 1; 401s of the API: 1" in record.second(0)


def test_the_callers_end_if_one_of_them_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[threading.Thread] = []
    really_start = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        if len(started) == CALLERS - 1:
            raise KeyboardInterrupt
        started.append(thread)
        really_start(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    with (
        requests.Session() as session,
        pytest.raises(KeyboardInterrupt),
        callers(Record(), session, "http://127.0.0.1:9"),  # type: ignore[arg-type]
    ):
        pass
    assert len(started) == CALLERS - 1
    assert not any(thread.is_alive() for thread in started)


class AtTenSeconds(Record):
    """A record of ten seconds."""

    now = 10.0


def test_each_lane_shows_what_happened_at_its_moment() -> None:
    record = AtTenSeconds()
    record.ok += [0.5, 2.5, 2.5, 2.6, 2.7, 9.9, 10.5]
    record.failed += [3.0] * 12
    record.token_requests += [0.1, 5.0, 7.0]
    record.renewals += [5.0]
    record.unavailable += [7.0]
    record.refused += [4.0] * 8
    record.revocations += [4.0]
    record.outage += [6.0, 8.0]
    narrow = Screen(Console(width=20, file=io.StringIO()), is_live=True)
    assert chart(record, narrow).plain.splitlines()[1:] == [
        "  calls ok        ▂·▇······▂",
        "  calls failed    ···+······",
        "  token requests  1····1·1··",
        "    answered 503  ·······1··",
        "    renewed       ·····1····",
        "  tokens revoked  ····▼·····",
        "  401s of the API ····8·····",
        "  outage          ······━━··",
        "                  0 2 4 6 8",  # no room for the units
    ]


def test_the_chart_of_the_first_moment_is_empty() -> None:
    class AtZero(Record):
        now = 0.0

    wide = Screen(Console(width=200, file=io.StringIO()), is_live=True)
    lines = chart(AtZero(), wide).plain.splitlines()[1:]
    assert lines[0].split() == ["calls", "ok"]
    assert lines[-1].split() == ["0", "s", "2", "s", "4", "s", "6", "s", "8", "s", *["10", "s"][:0]]


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_the_chart_is_drawn_again_in_a_terminal(encoding: str) -> None:
    octets = io.BytesIO()
    file = io.TextIOWrapper(octets, encoding=encoding)
    console = Console(file=file, force_terminal=True, width=60, color_system="standard")
    screen, record = Screen(console, is_live=True), Record()
    record.ok.append(0.0)
    with screen.live() as live:
        timeline._View(screen, record, live).wait(0.5)
    file.flush()
    shown = octets.getvalue().decode(encoding)
    assert shown.count("tokens revoked") > 1
    assert "\x1b[1A" in shown
    assert ("·" in shown) is (encoding == "utf-8")


def test_nothing_is_drawn_again_in_a_pipe_with_colors() -> None:
    # FORCE_COLOR makes a console one of a terminal, and standard output is captured here.
    with Screen(Console(file=io.StringIO(), force_terminal=True)).live() as live:
        assert live is None


def test_a_terminal_gets_wrapped_lines_and_a_pipe_one_line_for_a_sentence() -> None:
    for is_terminal in (False, True):
        file = io.StringIO()
        console = Console(file=file, force_terminal=is_terminal, width=40, no_color=True)
        play_module.play(quick=True, screen=Screen(console, is_live=False))
        assert ("the first request fetches a token.\n" in file.getvalue()) is not is_terminal


@pytest.mark.unmeasured
def test_a_narrow_terminal_shows_both_parts() -> None:
    ended = run_in_terminal("demo", columns=60)
    assert ended.status == 0, ended.output
    assert "\x1b[36m" in ended.output
    text = without_colors(ended.output)
    assert drawing(text).startswith(ARROWS)
    assert are_in_order(STEPS, text)
    assert are_in_order([*LOAD[:1], "calls ok", *LOAD[-4:]], text)
    assert "Traceback" not in text


@pytest.mark.unmeasured
def test_a_terminal_without_colors_shows_the_same() -> None:
    ended = run_in_terminal("demo", "--quick", columns=100, NO_COLOR="1")
    assert ended.status == 0, ended.output
    assert "\x1b[3" not in ended.output
    assert drawing(without_colors(ended.output)) == ARROWS


@pytest.mark.unmeasured
def test_ctrl_c_ends_it_with_130_and_a_visible_cursor() -> None:
    ended = run_in_terminal("demo", interrupt_at="calls ok")
    assert ended.status == 130
    assert ended.output.rindex("\x1b[?25h") > ended.output.rindex("\x1b[?25l")
    assert "Traceback" not in ended.output
    assert "promise" not in ended.output


@pytest.mark.unmeasured
@pytest.mark.parametrize("env", [{}, {"FORCE_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_a_pipe_gets_lines_without_movements_of_the_cursor(env: dict[str, str]) -> None:
    done = quick(**env)
    assert (done.returncode, done.stderr) == (0, b"")
    text = done.stdout.decode()
    if env == {"FORCE_COLOR": "1"}:
        text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert "\x1b" not in text
    assert drawing(text) == ARROWS


@pytest.mark.unmeasured
def test_an_output_that_is_ascii_gets_arrows_in_ascii() -> None:
    done = quick(PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, b"")
    assert drawing(done.stdout.decode("ascii")) == IN_ASCII
