"""gevent's monkey patching. It cannot be undone, so the scenes are played in other processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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
    "pool",
]


def play(*scenes: str, early: bool, **variables: str) -> None:
    """Play scenes in one process; it prints the name of each scene at its end."""
    environment = {**os.environ, **variables, **({"EARLY": "1"} if early else {})}
    done = subprocess.run(
        [sys.executable, "-m", "tests.gevent_child", *scenes],
        cwd=ROOT,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [*scenes]
    assert "Traceback" not in done.stderr, done.stderr


def test_a_session_works_if_gevent_patches_before_everything_is_imported() -> None:
    play(*SCENES, early=True)


def test_a_session_works_if_gevent_patches_after_the_import() -> None:
    play("storms", "killed_caller", "fetch_is_a_greenlet", early=False)


@pytest.mark.parametrize("early", [True, False], ids=["early", "late"])
@pytest.mark.parametrize("same_origin", [False, True])
def test_a_session_works_if_gevent_does_not_patch_threads(
    *, early: bool, same_origin: bool
) -> None:
    with AuthorizationServer() as auth, ProtectedAPI(auth, serve_token_endpoint=True) as api:
        auth.delay = 0.1
        token_url = api.token_url if same_origin else auth.token_url
        addresses = {"TOKEN_URL": token_url, "API_URL": f"{api.url}/anything"}
        play("unpatched_threads", early=early, NO_THREADS="1", **addresses)
        assert len(auth.token_requests) == 3 + 10


def test_a_process_does_not_end_while_a_thread_destroys_its_hub(tmp_path: Path) -> None:
    # It would crash now and then.
    play("slow_end", early=True, NO_THREADS="1", ENDED=str(tmp_path / "ended"))
    assert (tmp_path / "ended").exists()


@needs_fork
@pytest.mark.parametrize("early", [True, False], ids=["early", "late"])
def test_a_child_forked_by_gevent_has_connections_of_its_own(early: bool) -> None:
    with AuthorizationServer() as auth, ProtectedAPI(auth) as api:
        url = f"{api.url}/anything"
        play("fork", early=early, TOKEN_URL=auth.token_url, API_URL=url)
        assert api.connections == 2
        assert auth.connections == len(auth.token_requests) == 3
