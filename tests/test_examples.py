"""Run every example, each in a process of its own, without any configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scripts import ROOT, run_script

EXAMPLES = sorted((ROOT / "examples").glob("[!_]*.py"))


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in EXAMPLES])
def test_an_example_runs_and_tells_what_it_did(path: Path) -> None:
    assert run_script(path).strip()


def test_the_promised_examples_are_there() -> None:
    names = {path.stem for path in EXAMPLES}
    assert {"demo", "errors", "legacy_swap", "quickstart", "upload"} <= names
