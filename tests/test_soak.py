"""The soak in a short form, and that its verdict would notice."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from .forked import needs_fork
from .scripts import ROOT

SECONDS = 10


@needs_fork
def test_ten_seconds_of_everything_at_once_leave_nothing_to_be_said() -> None:
    done = subprocess.run(
        [sys.executable, "benchmarks/soak.py", "--seconds", str(SECONDS), "--seed", "7"],
        cwd=ROOT,
        env=_environment(),
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(ROOT)}
