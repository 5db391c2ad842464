"""What all commands have in common, and ``oauthcc token``."""

from __future__ import annotations

import base64
import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import oauthcc
from oauthcc import cli
from oauthcc.cli import parameters, program, run, terminal
from oauthcc.cli.claims import claims_of
from oauthcc.cli.commands import app
from oauthcc.cli.configuration import Configuration
from oauthcc.testing import AuthorizationServer, ProtectedAPI

from .commands import command, environment_of, run_command

Result = tuple[int, str, str]
Call = Callable[..., Result]


@pytest.fixture
def call(
    auth: AuthorizationServer,
    api: ProtectedAPI,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Call:
    """Return what runs a command in this process, with an environment of its own."""
    variables = environment_of(auth, api, XDG_CACHE_HOME=str(tmp_path), XDG_CONFIG_HOME="")
    for name in set(os.environ) - set(variables):
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    def runs(*arguments: str, **more: str) -> Result:
        done = CliRunner().invoke(app, list(arguments), env=more, prog_name="oauthcc")
        return done.exit_code, done.stdout, done.stderr

    return runs


def jwt(claims: Any, header: Any = None) -> str:
    parts = [{"alg": "RS256"} if header is None else header, claims]
    texts = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode() for part in parts)
    return ".".join(text.rstrip("=") for text in (*texts, "c2lnbmF0dXJl"))


def test_the_token_is_printed_and_kept(call: Call, auth: AuthorizationServer) -> None:
    first, second = call("token"), call("token")
    assert first == second == (0, f"{auth.issued[0]}\n", "")
    assert len(auth.token_requests) == 1


def test_the_header_is_printed_for_curl(call: Call, auth: AuthorizationServer) -> None:
    assert call("token", "--header")[:2] == (0, f"Authorization: Bearer {auth.issued[0]}\n")


def test_a_json_document_tells_lifetime_and_scope(call: Call, auth: AuthorizationServer) -> None:
    before = time.time()
    status, output, _ = call("token", "--json", "--scope", "a b")
    document = json.loads(output)
    assert (status, document["access_token"]) == (0, auth.issued[0])
    assert (document["token_type"], document["scope"]) == ("Bearer", "a b")
    assert 3590 <= document["expires_in"] <= 3600
    assert document["expires_at"] > time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(before))
    auth.token_lifetime = None
    document = json.loads(call("token", "--json", "--no-store")[1])
    assert (document["expires_in"], document["expires_at"]) == (None, None)


def test_claims_are_shown_without_the_token(call: Call, auth: AuthorizationServer) -> None:
    auth.make_token = lambda: jwt({"aud": "orders", "name": "Zoë"})
    status, output, errors = call("token", "--decode")
    assert (status, json.loads(output)) == (0, {"aud": "orders", "name": "Zoë"})
    assert errors == "oauthcc: these claims were not verified\n"


def test_a_token_that_is_no_jwt_cannot_be_decoded(call: Call) -> None:
    status, output, errors = call("token", "--decode")
    assert (status, output) == (1, "")
    assert "not a JWT" in errors


@pytest.mark.parametrize(
    "token",
    [
        "opaque",
        "a.b.c.d.e",
        "not base64.at all.x",
        jwt(["a list"]),
        jwt({"a": 1}, header={"no": "algorithm"}),
        jwt({"a": 1}, header="text"),
        f"{base64.urlsafe_b64encode(b'[' * 100_000).decode()}.a.b",
    ],
    ids=range(7),
)
def test_other_tokens_have_no_claims(token: str) -> None:
    assert claims_of(token) is None


def test_a_new_token_is_fetched_if_that_is_asked_for(call: Call, auth: AuthorizationServer) -> None:
    assert call("token", "--renew")[1] == f"{auth.issued[0]}\n"
    assert len(auth.issued) == 1
    assert call("token", "--renew")[1] == f"{auth.issued[1]}\n"
    assert call("token")[1] == f"{auth.issued[1]}\n"


def test_without_the_store_each_call_fetches_a_token(
    call: Call, auth: AuthorizationServer, tmp_path: Path
) -> None:
    call("token", "--no-store")
    call("token", "--no-store")
    assert len(auth.token_requests) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_refusal_is_one_line(call: Call, auth: AuthorizationServer) -> None:
    status, output, errors = call("token", OAUTH_CLIENT_SECRET="wrong-secret")
    assert (status, output, errors.count("\n")) == (1, "", 1)
    assert errors.startswith("oauthcc: ")
    assert "wrong-secret" not in errors


def test_a_warning_is_one_line(call: Call, auth: AuthorizationServer) -> None:
    status, output, errors = call("token", OAUTH_CLIENT_SECRET=f"{auth.client_secret}\n")
    assert (status, output) == (0, f"{auth.issued[0]}\n")
    assert "line break at the end of OAUTH_CLIENT_SECRET" in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("token", "--header", "--json"),
        ("token", "--client-secret", "my-secret"),
        ("token", "--profile-file", "file"),
        ("token", "--ask-secret", "--client-secret-file", "file"),
        ("run",),
        ("no-such-command",),
        ("token", "extra"),
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_2(call: Call, arguments: tuple[str, ...]) -> None:
    status, output, errors = call(*arguments)
    assert (status, output) == (2, "")
    assert "Error" in errors
    assert "my-secret" not in errors


def test_options_win_over_variables(call: Call, auth: AuthorizationServer, tmp_path: Path) -> None:
    auth.add_client("other", "other-secret")
    secret = tmp_path / "secret"
    secret.write_text("other-secret\n")
    options = ["--client-id", "other", "--client-secret-file", str(secret), "--scope", "more"]
    options += ["--audience", "orders", "--resource", "https://a.example https://b.example"]
    options += ["--client-auth", "client_secret_post", "--api-url", "https://a.example"]
    assert call("token", "--no-store", *options)[0] == 0
    form = auth.token_requests[0].form
    assert dict(form)["client_id"] == "other"
    assert dict(form)["scope"] == "more"
    assert [value for name, value in form if name == "resource"] == [
        "https://a.example",
        "https://b.example",
    ]


def test_an_issuer_takes_the_place_of_the_token_url(call: Call, auth: AuthorizationServer) -> None:
    assert call("token", "--issuer", auth.issuer)[0] == 0
    variables = {"OAUTH_TOKEN_URL": "", "OAUTH_ISSUER": "https://as.example"}
    assert call("token", "--token-url", auth.token_url, **variables)[0] == 0
    status, _, errors = call("token", "--token-url", auth.token_url, "--issuer", auth.issuer)
    assert status == 1
    assert "--token-url" in errors


def test_a_profile_takes_the_place_of_variables(
    call: Call, auth: AuthorizationServer, tmp_path: Path
) -> None:
    file = tmp_path / "profiles.ini"
    file.write_text(f"""[orders]
token_url = {auth.token_url}
client_id = {auth.client_id}
client_secret_file = secret
[broken]
token_url = ftp://as.example
client_id = a
client_secret_file = secret
""")
    (tmp_path / "secret").write_text(auth.client_secret)
    chosen = ["--profile-file", str(file), "--profile"]
    assert call("token", *chosen, "orders", OAUTH_CLIENT_ID="wrong")[0] == 0
    status, _, errors = call("token", *chosen, "broken")
    assert (status, errors) == (
        1,
        "oauthcc: token_url is neither https nor http: begin it with https://\n",
    )


@pytest.mark.parametrize(
    ("arguments", "variables", "said"),
    [
        ((), {"OAUTH_TOKEN_URL": "x"}, "OAUTH_TOKEN_URL has no scheme"),
        (("--token-url", "x"), {}, "--token-url has no scheme"),
        ((), {"OAUTH_CLIENT_ID": ""}, "OAUTH_CLIENT_ID is missing"),
        ((), {"OAUTH_CLIENT_ID": "", "OAUTH_CLIENT_IDD": "a"}, "is OAUTH_CLIENT_ID meant?"),
        (("--client-secret-file", "/none"), {}, "--client-secret-file in '/none'"),
    ],
)
def test_an_error_names_what_the_user_has_written(
    call: Call, arguments: tuple[str, ...], variables: dict[str, str], said: str
) -> None:
    status, _, errors = call("token", *arguments, **variables)
    assert status == 1
    assert said in errors


def test_a_secret_that_was_asked_for_is_not_named_as_an_option() -> None:
    configuration = Configuration({"client_secret": "asked for"})
    assert configuration.written("client_secret") == "secret"
    assert "asked for" not in repr(configuration)


def test_a_configuration_is_passed_on_with_absolute_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = {"scope": "a", "client_secret": Path("secret")}
    made = Configuration(given, "orders", Path("profiles.ini"))
    read = Configuration.from_json(made.to_json())
    assert read.given == {"scope": "a", "client_secret": tmp_path / "secret"}
    assert (read.profile, read.profile_file) == ("orders", tmp_path / "profiles.ini")
    assert Configuration.from_json(Configuration({}).to_json()) == Configuration({})


def test_the_secret_is_asked_for_at_the_terminal(
    call: Call, auth: AuthorizationServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parameters, "_TERMINAL", os.devnull)
    monkeypatch.setattr("getpass.getpass", lambda _: auth.client_secret)
    assert call("token", "--ask-secret", OAUTH_CLIENT_SECRET="")[0] == 0


def test_without_a_terminal_the_secret_cannot_be_asked_for(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parameters, "_TERMINAL", "/no/terminal")
    status, _, errors = call("token", "--ask-secret")
    assert status == 2
    assert "needs a terminal" in errors


def test_the_version_is_printed(call: Call) -> None:
    assert call("--version") == (0, f"oauthcc {oauthcc.__version__}\n", "")


@pytest.mark.parametrize("name", ["", "token", "run"])
def test_the_help_teaches_by_example(call: Call, name: str) -> None:
    status, output, _ = call(*filter(None, [name, "-h"]))
    assert status == 0
    assert f"Usage: oauthcc {name}".rstrip() in output
    assert "For example:" in output


def test_the_module_and_the_command_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    # Not by runpy.run_module, which cannot load what pytest has rewritten.
    place = Path(str(cli.__file__)).parent.parent / "__main__.py"
    names = {"__name__": "__main__", "__package__": "oauthcc"}
    monkeypatch.setattr(sys, "argv", ["oauthcc", "--version"])
    with pytest.raises(SystemExit) as ended:
        exec(compile(place.read_text(encoding="utf-8"), str(place), "exec"), names)
    assert ended.value.code == 0


@pytest.mark.parametrize("package", ["typer", "rich"])
def test_a_missing_package_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], package: str
) -> None:
    monkeypatch.delitem(sys.modules, "oauthcc.cli.commands")
    monkeypatch.setitem(sys.modules, "typer", None)
    error = ModuleNotFoundError(name=package)
    monkeypatch.setattr("builtins.__import__", _raising(error))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        f"oauthcc: the command needs the package {package}, install it with:"
        " pip install 'oauthcc[cli]'\n"
    )


def test_another_missing_module_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "oauthcc.cli.commands")
    monkeypatch.setattr("builtins.__import__", _raising(ModuleNotFoundError(name="other")))
    with pytest.raises(ModuleNotFoundError):
        cli.main()


def test_an_interrupt_while_the_command_is_imported_is_quiet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "oauthcc.cli.commands")
    monkeypatch.setattr("builtins.__import__", _raising(KeyboardInterrupt()))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 130


def _raising(error: BaseException) -> Callable[..., Any]:
    plain = __import__

    def imports(name: str, *rest: Any) -> Any:
        if name == "commands":
            raise error
        return plain(name, *rest)

    return imports


class Started(Exception):
    """What a test raises in the place of another program."""


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return the arguments with which the next program is started, and start none."""
    found: list[Any] = []

    def execve(path: str, arguments: list[str], environment: dict[str, str]) -> None:
        found.extend([path, arguments, environment])
        raise Started

    monkeypatch.setattr(os, "execve", execve)
    return found


def test_run_takes_the_place_of_its_process(call: Call, started: list[Any], tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.touch()
    call("run", str(script), "-x", "--", "--help")
    path, arguments, environment = started
    assert path == sys.executable
    assert arguments == [sys.executable, str(script), "-x", "--", "--help"]
    assert environment["PYTHONPATH"].split(os.pathsep)[0] == str(program.STARTUP)
    told = json.loads(environment["OAUTHCC_RUN"])
    assert (told["path"], told["with_subprocesses"]) == (os.environ["PYTHONPATH"], False)


def test_run_takes_modules(call: Call, started: list[Any]) -> None:
    call("run", "--subprocesses", "-m", "json.tool", "--x", PYTHONPATH="")
    _, arguments, environment = started
    assert arguments[1:] == ["-m", "json.tool", "--x"]
    assert environment["PYTHONPATH"] == str(program.STARTUP)
    assert json.loads(environment["OAUTHCC_RUN"])["with_subprocesses"] is True


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("json", ""),
        ("json.tool", ""),
        ("json.no", "json.no"),
        ("zlib.no", "zlib.no"),
        ("json.tool.no", "json.tool.no"),
        ("no_such", "no_such"),
    ],
)
def test_a_module_is_found_without_importing_it(name: str, missing: str) -> None:
    assert program.missing_module(name) == missing


@pytest.mark.parametrize(
    ("arguments", "variables", "said"),
    [
        (("/no/such/file",), {}, "there is no file"),
        (("-m", "no_such"), {}, "there is no module"),
        (("-",), {"OAUTH_API_URL": ""}, "OAUTH_API_URL is missing"),
    ],
)
def test_run_refuses_what_cannot_work(
    call: Call, started: list[Any], arguments: tuple[str, ...], variables: dict[str, str], said: str
) -> None:
    status, output, errors = call("run", *arguments, **variables)
    assert (status, output, errors.count("\n")) == (2, "", 1)
    assert said in errors
    assert started == []


def test_a_system_without_exec_waits_for_the_program(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []

    def runs(arguments: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        calls.append(arguments)
        return subprocess.CompletedProcess(arguments, 5)

    monkeypatch.setattr(run, "_POSIX", False)
    monkeypatch.setattr("subprocess.run", runs)
    assert call("run", "-", "a")[0] == 5
    assert calls == [[sys.executable, "-", "a"]]


def test_a_program_that_cannot_be_patched_is_ended(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def ends(status: int) -> None:
        raise Started(status)

    monkeypatch.setattr(os, "_exit", ends)
    told = {"configuration": Configuration({}).to_json(), "environ": {}, "folder": str(tmp_path)}
    with pytest.raises(Started, match="2"):
        program.begin(told)
    assert "OAUTH_CLIENT_ID is missing" in capsys.readouterr().err


def test_a_program_is_patched_as_it_was_told(
    auth: AuthorizationServer, api: ProtectedAPI, tmp_path: Path
) -> None:
    variables = environment_of(auth, api)
    told = {"configuration": Configuration({}).to_json(), "environ": variables}
    program.begin({**told, "folder": str(tmp_path)})
    (made,) = oauthcc.patching._patches
    made.undo()
    assert made.session._allowed_urls.prefixes() == [api.url]


def test_a_command_leaves_the_log_as_it_was(call: Call) -> None:
    log = oauthcc.events.log
    before = log.level, list(log.handlers)
    assert call("token")[0] == 0
    assert call("doctor")[0] == 0
    assert (log.level, list(log.handlers)) == before


@pytest.mark.unmeasured
def test_a_loop_of_a_shell_logs_in_once(
    auth: AuthorizationServer, api: ProtectedAPI, tmp_path: Path
) -> None:
    script = f"""
for number in 1 2 3; do
  token=$({" ".join(command("token"))})
  printf '%s\\n' "$token"
done
{" ".join(command("token", "--header"))} | cut -d' ' -f1,2
"""
    environment = environment_of(auth, api, XDG_CACHE_HOME=str(tmp_path))
    done = run_command(["sh", "-c", script], environment)
    assert done.stdout.splitlines() == [*3 * auth.issued, "Authorization: Bearer"]
    assert (done.stderr, len(auth.token_requests)) == ("", 1)


def on_terminal(arguments: list[str], environment: dict[str, str], typed: bytes = b"") -> str:
    """Return what a command shows on a terminal of its own, and write to it what is asked for."""
    child, terminal = pty.fork()
    if child == 0:
        os.execvpe(arguments[0], arguments, environment)
    shown = b""
    try:
        while True:
            found = os.read(terminal, 4096)
            shown += found
            if typed and b"secret: " in shown:
                os.write(terminal, typed)
                typed = b""
            if not found:
                break
    except OSError:  # the command has ended
        pass
    os.waitpid(child, 0)
    os.close(terminal)
    return shown.decode()


@pytest.mark.unmeasured
def test_the_secret_is_not_shown_when_it_is_typed(
    auth: AuthorizationServer, api: ProtectedAPI, tmp_path: Path
) -> None:
    environment = environment_of(auth, api, XDG_CACHE_HOME=str(tmp_path), OAUTH_CLIENT_SECRET="")
    typed = f"{auth.client_secret}\n".encode()
    shown = on_terminal(command("token", "--ask-secret"), environment, typed)
    assert auth.client_secret not in shown
    assert shown.split() == ["Client", "secret:", *auth.issued]


@pytest.mark.unmeasured
def test_the_completion_of_a_shell_is_shown(auth: AuthorizationServer, api: ProtectedAPI) -> None:
    environment = environment_of(
        auth,
        api,
        _OAUTHCC_COMPLETE="complete_bash",
        COMP_WORDS="oauthcc to",
        COMP_CWORD="1",
    )
    done = run_command(command(), environment)
    assert done.stdout.strip() == "token"


def test_closed_streams_are_told_or_left_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(SystemExit):
        terminal.write_line("a line")
    assert "it is closed" in capsys.readouterr().err
    monkeypatch.setattr(sys, "stderr", None)
    terminal.write_error("an error")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("rest", "path"), [((), None), (("/a", ""), f"/a{os.pathsep}")])
def test_the_path_of_another_run_is_left_out(rest: tuple[str, ...], path: str | None) -> None:
    environ = {"PYTHONPATH": os.pathsep.join([str(program.STARTUP), *rest])}
    made = program.environment_for(Configuration({}), environ, with_subprocesses=False)
    assert json.loads(made["OAUTHCC_RUN"])["path"] == path


def test_a_removed_folder_is_passed_on_as_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def cwd() -> Path:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "cwd", cwd)
    made = program.environment_for(Configuration({}), {}, with_subprocesses=False)
    assert json.loads(made["OAUTHCC_RUN"])["folder"] == os.sep
