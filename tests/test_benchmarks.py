"""Tests that the benchmarks run, and that their page and charts show the results of one run."""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import charts

from .scripts import ROOT

pytestmark = pytest.mark.unmeasured

BENCHMARKS = ROOT / "benchmarks"
PUBLISHED: dict[str, Any] = json.loads(charts.RESULTS.read_text(encoding="utf-8"))


def test_the_quick_benchmark_measures_both_classes_and_plain_requests(tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    options = ["--quick", "--only", "warm, null", "--json", str(results)]
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "compare.py"), *options],
        env={k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")},
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    cases = json.loads(results.read_text())["scenes"]["warm, null"]
    assert list(cases) == list(PUBLISHED["scenes"]["warm, null"])
    for case, times in cases.items():
        assert {charts.PLAIN, charts.AGAIN, charts.SESSION, charts.AUTH} <= set(times)
        assert times[charts.PLAIN]["ratio"]["median"] == 1
        assert all(figure["rounds"] for figure in times.values())
        assert f"| {case} |" in done.stdout


def test_what_is_published_is_one_complete_run() -> None:
    assert not PUBLISHED["quick"]
    assert not PUBLISHED["missing"]


@pytest.mark.parametrize("theme", charts.THEMES)
@pytest.mark.parametrize("name", charts.CHARTS)
def test_a_chart_shows_the_published_results(name: str, theme: str) -> None:
    drawing = (charts.IMAGES / f"{name}-{theme}.svg").read_text(encoding="utf-8")
    shown = {html.unescape(text) for text in re.findall(r"<text[^>]*>([^<]*)</text>", drawing)}
    assert charts.CHARTS[name](PUBLISHED["scenes"]).texts() <= shown


def test_the_page_of_the_benchmarks_shows_the_published_results(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from measuring import tables

    assert tables.report(PUBLISHED) in (BENCHMARKS / "README.md").read_text(encoding="utf-8")
