"""Every example, run in its own process without any configuration."""

from __future__ import annotations

import difflib
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from oauthcc.testing import AuthorizationServer, ProtectedAPI
from tests.scripts import ROOT, run, run_script

FOLDER = ROOT / "examples"
FILES = sorted(FOLDER.rglob("*.py"))
SCRIPTS = sorted(FOLDER.glob("*.py"))
MOST_LINES = 40

# The part of the output in which an example shows its idea; a dot stands for any text in a line.
SHOWN = {
    "asyncio_threads": "20 requests; 1 token request",
    "company_session": "/v1/orders with X-Team: warehouse",
    "download": "4800000 of 4800000 bytes were written",
    "dpop": "with proofs: 200\nthe token without its proof: 401.*\nthe token with a proof.*: 401",
    "errors": "wrong:\n.*refused.*\n.*invalid_client.*401\n.*:\n.*60 s.*\n.*60.0\n.*:\n.*\n.*=True",
    "events_opentelemetry": "oauth.events .*TokenObtained.* 2\n(.*\n)*.*'why': 'refused'",
    "events_prometheus": 'count{why="absent"} 1.0\n(.*\n)*.*failed_total{usable="True"} 1.0',
    "legacy_after": "order: /orders/1\norder after the token was revoked: /orders/2",
    "legacy_before": "order: /orders/1\nerror after the token was revoked: 401",
    "mcp": "tools: weather\nthe token is for: http.*/mcp\na server that is not trusted gets no sec",
    "mutual_tls": "with the certificate: 200\na stolen token without it: 401",
    "pagination": "(order .[ab]\n){6}2 tokens were fetched for 3 pages",
    "patch_old_code": r"without a token: 401\nwith patch\(\): 200\nafter patch\(\): 401",
    "private_key": "status: 200\nsent to the token endpoint: .*client_assertion,",
    "processes": "(a process: 200\n){3}1 token request",
    "quickstart": "200 OK from http://127.0.0.1:.*/orders",
    "redis_store": "(.* session: 200\n){3}1 token request",
    "rotation": "first secret: 200\n.*still valid: 200\nsecond secret: 200",
    "several_apis": "orders: 200, .*orders:read\ninvoices: 200, .*invoices:read\nother: 200, no ",
    "threads": "100 requests; 1 token request\n100 requests .*; 2 token requests in all",
    "upload": "a file: 200 the same bytes\na generator: 401\na new generator: 200",
}


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in SCRIPTS])
def test_an_example_shows_its_idea_wherever_it_is_started(path: Path, tmp_path: Path) -> None:
    # In CI, nothing is skipped.
    if path.stem == "redis_store" and os.environ.get("CI") != "true":
        shutil.which("redis-server") or pytest.skip("there is no redis-server")
    assert re.search(SHOWN[path.stem], run_script(path, tmp_path))


def test_the_quickstart_can_be_configured_by_the_environment(
    auth: AuthorizationServer, api: ProtectedAPI, tmp_path: Path
) -> None:
    variables = {
        "OAUTH_TOKEN_URL": auth.token_url,
        "OAUTH_CLIENT_ID": auth.client_id,
        "OAUTH_CLIENT_SECRET": auth.client_secret,
        "OAUTH_SCOPE": "orders:read",
        "OAUTH_API_URL": api.url + "/orders",
    }
    done = run([sys.executable, str(FOLDER / "quickstart.py")], tmp_path, variables)
    assert done.stdout == f"200 OK from {api.url}/orders\n", done.stderr
    assert dict(auth.token_requests[0].form)["scope"] == "orders:read"


def test_the_example_with_redis_fails_without_redis(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    done = run([sys.executable, str(FOLDER / "redis_store.py")], tmp_path)
    assert done.returncode == 1
    assert "apt-get install redis-server" in done.stderr


def test_the_tests_of_an_example_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_PLUGINS", "oauthcc.pytest_plugin")
    options = [
        "-W",
        "error",
        "-p",
        "no:cacheprovider",
        "-c",
        os.devnull,
        "--rootdir",
        str(tmp_path),
    ]
    done = run([sys.executable, "-m", "pytest", *options, str(FOLDER / "testing")], tmp_path)
    assert "3 passed" in done.stdout, done.stdout + done.stderr


def test_the_old_script_and_the_new_one_differ_in_one_function() -> None:
    before, after = (
        (FOLDER / f"legacy_{name}.py").read_text().split('"""', 2)[2].splitlines()
        for name in ("before", "after")
    )
    changes = [
        line
        for line in difflib.unified_diff(before, after, n=0, lineterm="")
        if line.startswith(("+", "-")) and not line.startswith(("+++", "---"))
    ]
    added = [line[1:].strip() for line in changes if line.startswith("+")]
    assert added == [
        "from oauthcc import ClientCredentialsSession",
        "return ClientCredentialsSession(token_url, client_id, client_secret)",
    ]
    assert len(changes) == 7, changes


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in FILES])
def test_an_example_is_short_and_begins_with_its_idea(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_LINES
    assert text.startswith('"""')


def test_the_index_names_every_example_and_no_other() -> None:
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[(.+?)\]\((.+?)\) \| \S.* \|.*\|$", page, re.MULTILINE)
    assert all(title == target for title, target in rows)
    assert sorted(title for title, _ in rows) == [
        path.relative_to(FOLDER).as_posix() for path in FILES
    ]
