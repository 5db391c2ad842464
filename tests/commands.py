"""Commands as a user runs them: in a process of their own, with the servers of a test."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

from oauthcc.testing import AuthorizationServer, ProtectedAPI

from .scripts import ROOT

PROGRAMS = ROOT / "tests" / "programs"
#: Seconds after which a test gives a command up.
PATIENCE = 60


def environment_of(auth: AuthorizationServer, api: ProtectedAPI, **more: str) -> dict[str, str]:
    """Return an environment that configures a client of these servers, and no other one."""
    own = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OAUTH", "COVERAGE", "XDG_")) and "proxy" not in name.lower()
    }
    return {
        **own,
        "PYTHONPATH": str(ROOT),
        "OAUTH_TOKEN_URL": auth.token_url,
        "OAUTH_CLIENT_ID": auth.client_id,
        "OAUTH_CLIENT_SECRET": auth.client_secret,
        "OAUTH_API_URL": api.url,
        "COLUMNS": "100",
        **more,
    }


def command(*arguments: str | Path) -> list[str]:
    """Return the command line of ``oauthcc`` with these arguments."""
    return [sys.executable, "-m", "oauthcc", *map(str, arguments)]


def run_command(
    arguments: list[str], environment: dict[str, str], **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a command line to its end, whatever its status is."""
    if "input" not in options:
        options["stdin"] = subprocess.DEVNULL
    return subprocess.run(
        arguments,
        **{"cwd": PROGRAMS, **options},
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


# A shell starts what it puts into the background with SIGINT ignored, and so are its children.
WITH_SIGINT = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""


def start_command(
    arguments: list[str], environment: dict[str, str], **options: Any
) -> subprocess.Popen[str]:
    """Start a command line whose streams are pipes of text, and that Ctrl-C can end."""
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen(
        [sys.executable, "-c", WITH_SIGINT, *arguments],
        env=environment,
        cwd=PROGRAMS,
        text=True,
        **{**streams, **options},
    )


def line_of(stream: IO[str] | None) -> str:
    """Return the next line that a command writes."""
    assert stream is not None
    return stream.readline()
