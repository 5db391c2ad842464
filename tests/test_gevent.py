"""Under gevent's monkey patching: each scene in a process of its own, since patches are for good."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from .scripts import ROOT

pytest.importorskip("gevent")

SCENES = [
    "storms",
    "storms_on_one_connection",
    "early_renewal",
    "killed_caller",
    "impatient_caller",
    "timeout_of_a_caller",
    "flight_is_a_greenlet",
    "fork",
]


def play(scene: str, *, early: bool) -> None:
    environment = {**os.environ, **({"EARLY": "1"} if early else {})}
    done = subprocess.run(
        [sys.executable, "-m", "tests.gevent_child", scene],
        cwd=ROOT,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr


@pytest.mark.parametrize("scene", SCENES)
def test_patched_before_anything_is_imported(scene: str) -> None:
    play(scene, early=True)


@pytest.mark.parametrize("scene", ["storms", "killed_caller", "flight_is_a_greenlet", "fork"])
def test_patched_after_the_import_and_before_a_session_is_made(scene: str) -> None:
    play(scene, early=False)
