"""`oauthcc serve`: what it prints, what it answers, and how it ends."""

from __future__ import annotations

import contextlib
import json
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
import requests

from oauthcc import ClientCredentialsSession, TokenRequestDenied
from oauthcc import testing as test_kit
from oauthcc.cli.commands import app
from oauthcc.cli.traffic import watch
from oauthcc.testing import Answer, AuthorizationServer, ProtectedAPI, SeenRequest, faults

from .pseudo_terminal import COMMAND, environment, run_in_terminal
from .sessions import session_for

NAMES = ["OAUTH_TOKEN_URL", "OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET", "OAUTH_API_URL"]
Visit = Callable[[dict[str, str]], None]
Serve = Callable[..., tuple[int, str, str]]


def variables(exports: str) -> dict[str, str]:
    lines = [shlex.split(line) for line in exports.splitlines()]
    assert all(word == "export" and len(rest) == 1 for word, *rest in lines)
    return {name: value for name, _, value in (line[1].partition("=") for line in lines)}


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Serve:
    """Return what runs the command in this process; `visit` is called while it waits."""
    really_sleep = time.sleep
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)

    def run(visit: Visit, *args: str, end: int | None = signal.SIGTERM) -> tuple[int, str, str]:
        before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
        shown = errors = ""

        def sleep(seconds: float) -> None:
            nonlocal shown, errors
            if seconds != 3600:
                really_sleep(seconds)
                return
            shown, errors = capsys.readouterr()
            visit(variables(shown))
            signal.raise_signal(end)

        monkeypatch.setattr(time, "sleep", sleep)
        with pytest.raises(SystemExit) as ended:
            app(["serve", *args], prog_name="oauthcc")
        monkeypatch.setattr(time, "sleep", really_sleep)
        after = capsys.readouterr()
        found = {each: signal.getsignal(each) for each in before}
        assert found == (before if ended.value.code else dict.fromkeys(before, signal.SIG_IGN))
        for each, handler in before.items():
            signal.signal(each, handler)
        return int(ended.value.code), shown + after.out, errors + after.err

    return run


def session_of(found: dict[str, str], **options: Any) -> ClientCredentialsSession:
    return ClientCredentialsSession(
        found["OAUTH_TOKEN_URL"],
        found["OAUTH_CLIENT_ID"],
        found["OAUTH_CLIENT_SECRET"],
        api_url=found["OAUTH_API_URL"],
        **options,
    )


def nothing(found: dict[str, str]) -> None:
    """Visit no server."""


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_what_is_exported_is_enough_for_a_session_and_a_signal_ends_it_well(
    serve: Serve, end: int
) -> None:
    hidden: list[str] = []

    def visit(found: dict[str, str]) -> None:
        assert list(found) == NAMES
        with session_of(found) as session:
            assert session.get(f"{found['OAUTH_API_URL']}/orders?a=b").status_code == 200
            hidden.extend([found["OAUTH_CLIENT_SECRET"], session.tokens.get().access_token])
        assert requests.post(f"{found['OAUTH_API_URL']}/orders", timeout=9).status_code == 401

    status, out, err = serve(visit, end=end)
    assert status == 0
    assert len(out.splitlines()) == 4
    assert err.splitlines() == [
        "oauthcc: both servers are running; Ctrl-C ends them",
        "oauthcc: POST /token -> 200, issued token 1",
        "oauthcc: GET /orders -> 200, token 1",
        "oauthcc: POST /orders -> 401, no token",
        "oauthcc: both servers have ended",
    ]
    assert not [each for each in hidden if each in err]


def test_two_runs_have_different_secrets(serve: Serve) -> None:
    found: list[str] = []
    for _ in range(2):
        serve(lambda given: found.append(given["OAUTH_CLIENT_SECRET"]))
    assert len(set(found)) == 2
    assert min(map(len, found)) >= 32


def test_a_secret_that_is_set_is_used_and_not_printed(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The library leaves out the line break at the end too.
    monkeypatch.setenv("OAUTH_CLIENT_SECRET", "from the vault\n")

    def visit(found: dict[str, str]) -> None:
        with session_of({**found, "OAUTH_CLIENT_SECRET": "from the vault"}) as session:
            assert session.get(found["OAUTH_API_URL"]).status_code == 200

    status, out, err = serve(visit)
    assert status == 0
    assert "export OAUTH_CLIENT_SECRET\n" in out
    assert "vault" not in out + err


def test_a_client_with_spaces_and_quotes_can_be_exported(serve: Serve) -> None:
    def visit(found: dict[str, str]) -> None:
        assert found["OAUTH_CLIENT_ID"] == "it's a client $HOME"
        with session_of(found) as session:
            assert session.get(found["OAUTH_API_URL"]).status_code == 200

    assert serve(visit, "--client-id", "it's a client $HOME")[0] == 0


def test_lifetime_and_scope_are_those_of_the_options(serve: Serve) -> None:
    def visit(found: dict[str, str]) -> None:
        with session_of(found) as session:
            token = session.tokens.get()
            assert token.expires_at is not None
            assert token.expires_at - token.issued_at == 90
            assert token.scope == "a b"
        with session_of(found, scope="c") as session, pytest.raises(TokenRequestDenied):
            session.tokens.get()

    status, _, err = serve(visit, "--lifetime", "90", "--scope", "a b")
    assert status == 0
    assert "POST /token -> 400\n" in err


@pytest.mark.parametrize("option", ["--port", "--api-port"])
def test_a_port_that_is_in_use_is_one_line(serve: Serve, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, out, err = serve(nothing, option, str(port))
    assert (status, out) == (1, "")
    assert err.count("\n") == 1
    assert f"{option}: this port of 127.0.0.1 cannot be used (Address already in use)" in err


def test_the_ports_can_be_chosen(serve: Serve) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
    ):
        ports = [each.getsockname()[1] for each in (one, two)]

    def visit(found: dict[str, str]) -> None:
        assert found["OAUTH_TOKEN_URL"] == f"http://127.0.0.1:{ports[0]}/token"
        assert found["OAUTH_API_URL"] == f"http://127.0.0.1:{ports[1]}"

    assert serve(visit, "--port", str(ports[0]), "--api-port", str(ports[1]))[0] == 0


@pytest.mark.parametrize(
    "args", [["--client-id", ""], ["--port", "65536"], ["--lifetime", "0"], ["--secret", "x"]]
)
def test_wrong_usage_exits_with_2_and_starts_nothing(serve: Serve, args: list[str]) -> None:
    status, out, _ = serve(nothing, *args)
    assert (status, out) == (2, "")


def test_secrets_tokens_and_control_characters_in_a_path_are_not_shown(serve: Serve) -> None:
    hidden: list[str] = []

    def visit(found: dict[str, str]) -> None:
        with session_of(found) as session:
            hidden.extend([found["OAUTH_CLIENT_SECRET"], session.tokens.get().access_token])
            for text in hidden:
                escaped = "".join(f"%{ord(each):02x}" for each in text)
                for path in (f"/{text}", f"/a/{escaped}/b", f"/{text}?token={text}"):
                    assert session.get(found["OAUTH_API_URL"] + path).status_code == 200
        host, _, port = found["OAUTH_API_URL"].removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port)), 9) as line:
            line.sendall(b"GET /\x1b[31m HTTP/1.0\r\n\r\n")
            assert line.recv(4096).startswith(b"HTTP/1.1 401 ")

    _, _, err = serve(visit)
    assert not [each for each in hidden if each in err]
    assert err.count("GET /*** -> 200, token 1\n") == 4
    assert "GET /%1B[31m -> 401, no token\n" in err


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[AuthorizationServer]:
    """Return the authorization servers that the command will start."""
    made: list[AuthorizationServer] = []

    class Noted(AuthorizationServer):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            made.append(self)

    monkeypatch.setattr(test_kit, "AuthorizationServer", Noted)
    return made


def test_the_servers_answer_although_nobody_reads_the_lines(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, started: list[AuthorizationServer]
) -> None:
    class Closed:
        def write(self, text: str) -> None:
            raise BrokenPipeError

    def visit(found: dict[str, str]) -> None:
        with monkeypatch.context() as patch, session_of(found) as session:
            patch.setattr(sys, "stderr", Closed())
            assert session.get(found["OAUTH_API_URL"]).status_code == 200
            assert started[0].watch is not None
            started[0].watch(SeenRequest("GET", "/", ""), Answer(404))

    assert serve(visit)[0] == 0


def test_requests_are_not_kept(serve: Serve, started: list[AuthorizationServer]) -> None:
    def visit(found: dict[str, str]) -> None:
        with session_of(found) as session:
            session.get(found["OAUTH_API_URL"])
        assert started[0].requests == started[0].token_requests == []

    assert serve(visit)[0] == 0


def test_an_exchange_says_what_was_answered_without_a_token(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    seen: list[str] = []
    watch(auth, api, lambda exchange: seen.append(str(exchange)))
    assert auth.watch is not None
    assert api.watch is not None
    with session_for(auth) as session:
        token = session.tokens.get().access_token
    assert seen.pop() == "POST /token -> 200, issued token 1"
    answer = json.dumps({"access_token": token}).encode()
    for outcome in (
        Answer(200, {}, answer),
        Answer(200, {}, iter([answer])),
        Answer(200, {}, b'["a list"]'),
        Answer(200, {}, b'{"access_token": "of another server"}'),
        faults.reset(),
    ):
        auth.watch(SeenRequest("POST", "/token", ""), outcome)
    for word in ("", "Bearer guessed", f"Bearer {token}"):
        fields = (("Authorization", word),) if word else ()
        api.watch(SeenRequest("GET", f"/{token}\t\xe9", "", fields), Answer(204, {}, answer))
    assert seen == [
        "POST /token -> 200, issued token 1",
        *["POST /token -> 200"] * 3,
        "POST /token -> reset",
        "GET /***%09%E9 -> 204, no token",
        "GET /***%09%E9 -> 204, a token that was not issued here",
        "GET /***%09%E9 -> 204, token 1",
    ]


@pytest.mark.unmeasured
def test_in_a_terminal_ctrl_c_ends_it_with_a_message() -> None:
    ended = run_in_terminal("serve", interrupt_at="Ctrl-C ends them")
    assert ended.status == 0
    assert "both servers have ended" in ended.output
    assert "Traceback" not in ended.output
    assert "\x1b" not in ended.output


@pytest.mark.unmeasured
@pytest.mark.skipif(sys.platform == "win32", reason="a shell of POSIX")
def test_in_a_pipe_it_prints_the_variables_only_and_sigint_ends_it_in_the_background_too() -> None:
    process = subprocess.Popen(
        # A shell without job control starts a process of the background in this way.
        ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *COMMAND, "serve"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert process.stdout is not None
    found = variables("".join(process.stdout.readline() for _ in NAMES))
    with session_of(found) as session:
        assert session.get(found["OAUTH_API_URL"]).status_code == 200
    for _ in range(3):  # somebody is impatient
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.01)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "")
    assert err.splitlines()[-1] == "oauthcc: both servers have ended"
    assert "Traceback" not in err
