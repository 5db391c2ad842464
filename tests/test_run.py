"""``oauthcc run``: unmodified programs, in processes of their own, whose requests get tokens."""

from __future__ import annotations

import hashlib
import os
import shlex
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess, Popen
from typing import Any

import pytest

from oauthcc.testing import AuthorizationServer, ProtectedAPI, json_answer

from .commands import (
    PROGRAMS,
    command,
    environment_of,
    line_of,
    run_command,
    start_command,
)

pytestmark = pytest.mark.unmeasured


@dataclass
class Shell:
    """A shell whose variables configure the client of two servers."""

    auth: AuthorizationServer
    api: ProtectedAPI

    def environment(self, **more: str) -> dict[str, str]:
        return environment_of(self.auth, self.api, **more)

    def run(self, *arguments: str | Path, **options: Any) -> CompletedProcess[str]:
        """Run ``oauthcc run`` with these arguments."""
        variables = options.pop("variables", {})
        return run_command(command("run", *arguments), self.environment(**variables), **options)

    def output(self, *arguments: str | Path, **options: Any) -> str:
        """Return the output of a program that ends well and writes no error."""
        done = self.run(*arguments, **options)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def python(self, *arguments: str | Path, **options: Any) -> CompletedProcess[str]:
        """Run the same program without oauthcc."""
        variables = options.pop("variables", {})
        line = [sys.executable, *map(str, arguments)]
        return run_command(line, self.environment(**variables), **options)

    def start(self, *arguments: str | Path) -> Popen[str]:
        return start_command(command("run", *arguments), self.environment())

    def tokens_at(self, server: ProtectedAPI) -> set[str | None]:
        return {request.token for request in server.requests}


@pytest.fixture
def shell(auth: AuthorizationServer, api: ProtectedAPI) -> Shell:
    return Shell(auth, api)


@pytest.mark.parametrize(
    ("program", "output"),
    [
        ("module_level.py", "200\n8\n200\n"),
        ("sessions.py", "200\n200\n200\n4\n200\n200\n"),
        ("patches.py", "200 1 request send send\n"),
        ("threads.py", "main ends\n" + 4 * "thread 200\n" + "atexit 200\n"),
        ("with_gevent.py", " ".join(8 * ["200"]) + "\n"),
    ],
)
def test_a_program_gets_one_token_for_all_its_requests(
    shell: Shell, program: str, output: str
) -> None:
    assert shell.output(program) == output
    assert shell.tokens_at(shell.api) == set(shell.auth.issued)
    assert len(shell.auth.token_requests) == 1


def test_an_sdk_that_makes_its_own_session_gets_the_token(shell: Shell) -> None:
    assert shell.output("gitlab_sdk.py") == "/api/v4/projects/group%2Fproject\n"
    found = {"responseHeader": {}, "response": {"numFound": 3, "docs": []}}
    shell.api.add_route("/solr/orders/select", lambda _: json_answer(found))
    assert shell.output("solr_sdk.py") == "3\n"


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_process_pool_gets_the_token(shell: Shell, method: str) -> None:
    assert shell.output("pools.py", method) == "200 200 200 200\n"
    assert None not in shell.tokens_at(shell.api)


def test_an_upload_is_streamed_again_after_a_revocation(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "upload.bin"
    file.write_bytes(os.urandom(300_000))
    program = shell.start("upload.py", file)
    assert line_of(program.stdout) == "200\n"
    shell.auth.revoke_all()
    output, errors = program.communicate("go on\n")
    assert (output.strip(), errors) == (hashlib.sha256(file.read_bytes()).hexdigest(), "")
    uploads = [request for request in shell.api.requests if request.path == "/upload"]
    assert [request.token for request in uploads] == shell.auth.issued
    assert len({request.body for request in uploads}) == 1


def test_a_foreign_host_never_sees_the_token(shell: Shell) -> None:
    with ProtectedAPI(shell.auth) as foreign:
        foreign.protected = False
        assert shell.output("foreign.py", foreign.url) == "200\n200\n200\n\n"
        assert [request.path for request in foreign.requests] == ["/theirs", "/landed"]
        assert "authorization" not in str(foreign.requests).lower()


def test_a_path_beside_the_prefix_gets_no_token(shell: Shell) -> None:
    variables = {"OAUTH_API_URL": f"{shell.api.url}/v1"}
    with ProtectedAPI(shell.auth) as foreign:
        done = shell.run("foreign.py", foreign.url, "near", variables=variables)
    assert done.stdout == "200\n401\n200\n401\n"


def test_several_prefixes_are_separated_by_commas_or_spaces(shell: Shell) -> None:
    with ProtectedAPI(shell.auth) as other:
        variables = {"OAUTH_API_URL": f"https://unused.example/v1, {other.url} {shell.api.url}"}
        code = "import requests, sys; print([requests.get(u).status_code for u in sys.argv[1:]])"
        script = "-"
        done = shell.run(script, other.url, f"{shell.api.url}/a", variables=variables, input=code)
    assert (done.stdout, done.stderr) == ("[200, 200]\n", "")


def test_a_program_reads_its_standard_input(shell: Shell) -> None:
    done = shell.run("filter.py", input="one\ntwo\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "one 200\ntwo 200\n", "done\n")


def test_the_logins_of_the_program_win(shell: Shell, tmp_path: Path) -> None:
    shell.api.protected = False
    mine = "Basic bWU6bWluZQ=="
    assert shell.output("own_login.py").splitlines() == [
        f"{mine} None",
        "None None",
        "None key",
        "Bearer of-my-own None",
        "None None",
        mine,
        "Key of-the-session",
        mine,
    ]
    assert shell.auth.token_requests == []
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password mine\n")
    shell.output("module_level.py", variables={"NETRC": str(netrc)})
    assert {each.headers["Authorization"] for each in shell.api.requests[-3:]} == {mine}


def test_a_program_with_sessions_of_ours_keeps_their_tokens(shell: Shell) -> None:
    assert shell.output("own_sessions.py") == "200\n200\n"
    scopes = [dict(request.form).get("scope") for request in shell.auth.token_requests]
    assert scopes == ["own", None]


@pytest.mark.parametrize("first", ["oauthcc", "oauthcc.errors", "oauthcc.session", "requests"])
def test_a_program_may_import_the_library_first(
    shell: Shell, api: ProtectedAPI, tmp_path: Path, first: str
) -> None:
    program = tmp_path / "first.py"
    program.write_text(f"import {first}\nimport requests\nprint(requests.get({api.url!r}))\n")
    assert shell.output(program) == "<Response [200]>\n"


def test_a_program_sees_the_same_surroundings_as_without(shell: Shell) -> None:
    arguments = ["surroundings.py", "-m", "--help", "--", "", "a b"]
    expected = shell.python(*arguments)
    done = shell.run(*arguments)
    assert "oauthcc" not in expected.stderr
    assert "MissingSchema" in expected.stderr
    shown = [(each.returncode, each.stdout, each.stderr) for each in (expected, done)]
    assert shown[0] == shown[1]


@pytest.mark.parametrize(
    "arguments",
    [
        ("status", "0"),
        ("status", "3"),
        ("message",),
        ("error",),
        ("interrupt",),
        ("_exit",),
        ("closed",),
        ("auth",),
    ],
    ids=" ".join,
)
def test_a_program_ends_as_without(shell: Shell, arguments: tuple[str, ...]) -> None:
    expected, done = shell.python("ends.py", *arguments), shell.run("ends.py", *arguments)
    assert done.returncode == expected.returncode
    # The errors of urllib3 show the address of a connection.
    assert done.stdout == expected.stdout
    assert done.stderr.count("\n") == expected.stderr.count("\n")
    assert "oauthcc" not in done.stderr


@pytest.mark.parametrize(
    ("name", "options", "status"),
    [
        ("SIGTERM", (), -signal.SIGTERM),
        ("SIGTERM", ("--handle",), 7),
        ("SIGINT", (), -signal.SIGINT),
    ],
)
def test_a_signal_ends_the_program_itself(
    shell: Shell, name: str, options: tuple[str, ...], status: int
) -> None:
    program = shell.start("service.py", *options)
    assert line_of(program.stdout) == "200\n"
    program.send_signal(getattr(signal, name))
    output, errors = program.communicate()
    assert program.returncode == status
    assert output == ("" if status == -signal.SIGTERM else "atexit\n")
    assert ("KeyboardInterrupt" in errors) == (name == "SIGINT")


def test_a_module_is_run_as_python_does(shell: Shell) -> None:
    expected = shell.python("-m", "package", "-m", "--x")
    assert expected.stdout == "__main__ package ['-m', '--x'] True\n401\n"
    assert shell.output("-m", "package", "-m", "--x") == expected.stdout.replace("401", "200")


def test_subprocesses_get_tokens_only_if_they_are_asked_for(shell: Shell) -> None:
    assert shell.output("children.py") == "401\n401\n"
    assert shell.output("--subprocesses", "children.py") == "200\n200\n"


def test_another_installation_of_python_is_left_alone(shell: Shell, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    done = run_command([sys.executable, "-m", "venv", "--without-pip", str(folder)], {})
    assert done.returncode == 0
    code = f"import subprocess; subprocess.run([{str(folder / 'bin/python')!r}, '-c', 'print(1)'])"
    assert shell.run("--subprocesses", "-", input=code).stdout == "1\n"


def test_the_customization_of_the_site_is_still_imported(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.customized = __file__\n")
    path = os.pathsep.join([str(tmp_path), shell.environment()["PYTHONPATH"]])
    code = "import os, sys; print(sys.customized, os.environ['PYTHONPATH'])"
    done = shell.run("-", input=code, variables={"PYTHONPATH": path})
    assert done.stdout == f"{tmp_path / 'sitecustomize.py'} {path}\n"


def test_the_secret_is_read_from_the_folder_of_the_command(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(shell.auth.client_secret)
    variables = {"OAUTH_CLIENT_SECRET": "", "OAUTH_CLIENT_SECRET_FILE": "secret"}
    code = f"""
import os; os.chdir("/"); os.environ.clear()
import requests; print(requests.get({shell.api.url!r}).status_code)
"""
    assert shell.run("-", input=code, variables=variables, cwd=tmp_path).stdout == "200\n"


@pytest.mark.parametrize("with_profile", [False, True])
def test_a_subprocess_in_another_folder_has_the_same_secret(
    shell: Shell, tmp_path: Path, with_profile: bool
) -> None:
    (tmp_path / "secret").write_text(shell.auth.client_secret)
    variables = {"OAUTH_CLIENT_SECRET": "", "OAUTH_CLIENT_SECRET_FILE": "secret"}
    options = ["--subprocesses"]
    if with_profile:
        (tmp_path / "oauthcc").mkdir()
        (tmp_path / "secret").rename(tmp_path / "oauthcc" / "secret")
        (tmp_path / "oauthcc" / "profiles.ini").write_text(f"""[orders]
token_url = {shell.auth.token_url}
client_id = {shell.auth.client_id}
client_secret_file = secret
api_url = {shell.api.url}
""")
        options += ["--profile", "orders"]
        variables = {"XDG_CONFIG_HOME": str(tmp_path)}
    code = f"import requests; print(requests.get({shell.api.url!r}).status_code)"
    outer = f"""
import os, subprocess, sys
os.environ.pop("XDG_CONFIG_HOME", None)
subprocess.run([sys.executable, "-c", {code!r}], cwd="/")
{code}
"""
    done = shell.run(*options, "-", input=outer, variables=variables, cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("200\n200\n", "")


@pytest.mark.parametrize("environment", ["{**os.environ, 'OAUTHCC_RUN': ''}", "only_path"])
def test_a_subprocess_that_is_told_nothing_runs_as_without(shell: Shell, environment: str) -> None:
    code = f"import requests; print(requests.get({shell.api.url!r}).status_code)"
    outer = f"""
import os, subprocess, sys
only_path = {{"PYTHONPATH": os.environ["PYTHONPATH"]}}
subprocess.run([sys.executable, "-c", {code!r}], env={environment})
"""
    done = shell.run("--subprocesses", "-", input=outer)
    assert (done.stdout, done.stderr) == ("401\n", "")


def test_a_run_inside_another_one_decides_for_its_subprocesses(shell: Shell) -> None:
    inner = ["--subprocesses", "-m", "oauthcc", "run"]
    assert shell.output(*inner, "children.py") == "401\n401\n"
    assert shell.output(*inner, "--subprocesses", "children.py") == "200\n200\n"
    path = shell.environment()["PYTHONPATH"]
    code = "import os; print(os.environ['PYTHONPATH'])"
    assert shell.run(*inner, "-", input=code).stdout == f"{path}\n"


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_program_runs_with_closed_streams(shell: Shell, tmp_path: Path, closed: str) -> None:
    script, output = tmp_path / "script.py", tmp_path / "output"
    script.write_text(f"""
import requests, sys
status = requests.get({shell.api.url!r}).status_code
open({str(output)!r}, "w").write(str([status, sys.stdin is None, sys.stdout is None]))
""")
    line = shlex.join(command("run", script))
    done = run_command(["sh", "-c", f"{line} {closed}"], shell.environment())
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert output.read_text() == str([200, "<&-" in closed, " >&-" in f" {closed}"])


def test_a_program_runs_in_a_folder_that_was_removed(shell: Shell, tmp_path: Path) -> None:
    secret, script, folder = tmp_path / "secret", tmp_path / "script.py", tmp_path / "folder"
    secret.write_text(shell.auth.client_secret)
    script.write_text(f"import requests; print(requests.get({shell.api.url!r}).status_code)")
    folder.mkdir()
    line = f"cd {folder}; rmdir {folder}; {shlex.join(command('run', script))}"
    for variables in ({}, {"OAUTH_CLIENT_SECRET": "", "OAUTH_CLIENT_SECRET_FILE": str(secret)}):
        folder.mkdir(exist_ok=True)
        done = run_command(["sh", "-c", line], shell.environment(**variables))
        assert (done.returncode, done.stdout, done.stderr) == (0, "200\n", "")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("name", ["secrets", "hashlib", "hmac", "html", "contextvars"])
def test_a_module_of_the_program_may_have_the_name_of_one_of_python(
    shell: Shell, tmp_path: Path, name: str, when: str
) -> None:
    (tmp_path / f"{name}.py").write_text("KEY = 'key'\n")
    script = tmp_path / "script.py"
    names = f"{name}, requests" if when == "before" else f"requests, {name}"
    url = repr(shell.api.url)
    script.write_text(f"import {names}\nprint(requests.get({url}).status_code, {name}.KEY)\n")
    assert shell.output(script) == "200 key\n"


def test_a_module_of_the_program_may_have_the_name_requests(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "requests.py").write_text("KEY = 'key'\n")
    (tmp_path / "script.py").write_text("import requests; print(requests.KEY)\n")
    assert shell.output(tmp_path / "script.py") == "key\n"


def test_no_secret_and_no_token_is_in_the_arguments_of_a_process(shell: Shell) -> None:
    program = shell.start("service.py")
    assert line_of(program.stdout) == "200\n"
    shown = Path(f"/proc/{program.pid}/cmdline").read_bytes().decode()
    program.terminate()
    program.communicate()
    assert shown.rstrip("\0").split("\0")[1:] == ["service.py"]


@pytest.mark.parametrize(
    ("arguments", "variables", "said"),
    [
        (("none.py",), {}, "there is no file 'none.py'"),
        (("-m", "no_such_module"), {}, "there is no module 'no_such_module'"),
        (("-m", "json.no_such"), {}, "there is no module 'json.no_such'"),
        (("filter.py",), {"OAUTH_API_URL": ""}, "OAUTH_API_URL is missing"),
        (("filter.py",), {"OAUTH_API_URL": "api.example"}, "(OAUTH_API_URL) has no scheme"),
        (("filter.py",), {"OAUTH_CLIENT_ID": ""}, "OAUTH_CLIENT_ID is missing"),
        (("filter.py",), {"OAUTH_TOKEN_URL": "ftp://as.example"}, "OAUTH_TOKEN_URL is neither"),
        (("filter.py",), {"OAUTH_CLIENT_AUTH": "magic"}, "OAUTH_CLIENT_AUTH"),
        (("--client-auth", "magic", "filter.py"), {}, "--client-auth"),
        (
            ("filter.py",),
            {"OAUTH_CLIENT_SECRET": "", "OAUTH_CLIENT_SECRET_FILE": "/none"},
            "OAUTH_CLIENT_SECRET_FILE in '/none'",
        ),
        (("--profile", "none", "--profile-file", "/none", "filter.py"), {}, "/none"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_started(
    shell: Shell, arguments: tuple[str, ...], variables: dict[str, str], said: str
) -> None:
    done = shell.run(*arguments, input="one\n", variables=variables)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("oauthcc: ")
    assert said in done.stderr
    assert shell.auth.token_requests == []


def test_every_program_of_the_folder_is_run() -> None:
    text = Path(__file__).read_text()
    names = {path.name for path in PROGRAMS.glob("*.py")}
    assert {name for name in names if f'"{name}"' not in text} == set()
