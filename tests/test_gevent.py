"""gevent's monkey patching. It cannot be undone, so each scene has a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from oauthcc.testing import AuthorizationServer, ProtectedAPI

from .forked import needs_fork
from .scripts import ROOT

pytest.importorskip("gevent")

SCENES = [
    "storms",
    "storms_on_one_connection",
    "early_renewal",
    "killed_caller",
    "impatient_caller",
    "timeout_of_a_caller",
    "fetch_is_a_greenlet",
]


def play(scene: str, *arguments: str, early: bool) -> None:
    environment = {**os.environ, **({"EARLY": "1"} if early else {})}
    done = subprocess.run(
        [sys.executable, "-m", "tests.gevent_child", scene, *arguments],
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
def test_a_session_works_if_gevent_patches_before_everything_is_imported(scene: str) -> None:
    play(scene, early=True)


@pytest.mark.parametrize("scene", ["storms", "killed_caller", "fetch_is_a_greenlet"])
def test_a_session_works_if_gevent_patches_after_the_import(scene: str) -> None:
    play(scene, early=False)


@needs_fork
@pytest.mark.parametrize("early", [True, False], ids=["early", "late"])
def test_a_child_forked_by_gevent_has_connections_of_its_own(early: bool) -> None:
    with AuthorizationServer() as auth, ProtectedAPI(auth) as api:
        play("fork", auth.token_url, f"{api.url}/anything", early=early)
        assert (api.connections, auth.connections) == (2, 2)
        assert len(auth.token_requests) == 3
