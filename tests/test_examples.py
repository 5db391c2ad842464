"""Every example, run in its own process without any configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scripts import ROOT, run_script

EXAMPLES = sorted((ROOT / "examples").glob("[!_]*.py"))


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in EXAMPLES])
def test_an_example_runs_and_prints_something(path: Path) -> None:
    assert run_script(path).strip()


def test_all_documented_examples_exist() -> None:
    names = {path.stem for path in EXAMPLES}
    assert {"errors", "legacy_swap", "mcp", "quickstart", "upload"} <= names
