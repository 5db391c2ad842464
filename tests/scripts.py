"""Run a script as a reader of the documentation would: in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def run_script(path: Path, folder: Path | None = None) -> str:
    """Run a script without any OAUTH_ variable and return what it printed.

    `folder` is the working directory, or else it is that of the script. Coverage is not measured in
    it: other tests cover what a script uses, and it starts faster. It must exit with 0 within 60
    seconds, give no warning and leave nothing open.
    """
    done = run([sys.executable, "-W", "error", str(path)], folder or path.parent)
    assert done.returncode == 0, f"{path.name} exited with {done.returncode}:\n{done.stderr}"
    assert "Exception ignored" not in done.stderr, done.stderr
    return done.stdout


def run(
    command: list[str], folder: Path, variables: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder as `run_script` does, with these variables more."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OAUTH", "COVERAGE"))}
    return subprocess.run(
        command,
        cwd=folder,
        env={**environment, "PYTHONPATH": str(ROOT), **(variables or {})},
        stdin=subprocess.DEVNULL,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
