"""Tests that compare the pages with the repository: files, links, tests, a benchmark's table."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from .scripts import ROOT

README = ROOT / "README.md"
PEERS = ROOT / "docs" / "peers.md"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
# The folders of files that a page names without their folder.
PLACES = ("", "docs", "tests", "oauthcc", "benchmarks")
PROMISES = (
    "Drop-in",
    "Lazy",
    "One token request at a time",
    "One replay after a 401",
    "Renewal in the background",
    "An outage of the authorization server",
    "The token goes only where you meant it to go",
    "What you set wins",
    "No secret and no token",
    "Every error is a `requests.RequestException`",
    "A warm request costs less",
    "A store that is down is not an outage",
    "Nothing is silent",
)
# Files of a reader's own project.
OF_READERS = {"gunicorn.conf.py", "orders/api.py"}
BLOCK = re.compile(r"^([ \t]*)```.*?^\1```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
SPAN = re.compile(r"`([^`\n]+)`")
FILE = re.compile(r"[\w*./-]*[\w*]\.(?:py|md|toml|cfg|yml)|\.ci/[\w*]+")
REGISTRIES = re.compile(r"\bpypi\.|pythonhosted|npmjs|artifactory|nexus", re.IGNORECASE)
WORKPLACE = re.compile(
    r"\bissues? #|\bpull request\b|\bticket\b|\bassistant\b|/(?:work|tmp|home)/", re.IGNORECASE
)
# What no page may contain: names that were replaced, and words that are hard to read.
NOT_PLAIN = re.compile(
    r"\bauthorize\(|\bdiscard\(|\bunwell\b|\bwhoever\b|\bshall\b|\bfor ever\b|\bat the most\b"
    r"|\ball the same\b|\bso many words\b|\bcourtesy\b|\bmend|\bwhere there (?:is|are) no",
    re.IGNORECASE,
)

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def prose(page: Path) -> str:
    """Return the text of a page without its blocks of code."""
    return BLOCK.sub("", page.read_text(encoding="utf-8"))


def anchors_of(page: Path) -> set[str]:
    """Return the anchors that a page's headings have when it is shown on the web."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def rows(text: str, columns: int) -> list[list[str]]:
    """Return the cells of every row in the tables with this number of columns, without heads."""
    found = []
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        lines = [[cell.strip() for cell in line[1:-1].split(" |")] for line in table.splitlines()]
        found += [line for line in lines[2:] if len(line) == columns]
    return found


def named_files(text: str) -> Iterator[str]:
    """Yield the files that a text names, also those of tests (`test_x.py::test_y`)."""
    for span in SPAN.findall(text):
        path = span.partition("::")[0]
        if FILE.fullmatch(path):
            yield path


def exists(name: str, page: Path) -> bool:
    folders = [page.parent, *(ROOT / place for place in PLACES)]
    return any(any(folder.glob(name)) for folder in folders)


@cache
def names_in(path: Path) -> set[str]:
    """Return the names of the tests in a module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


@each_page
def test_every_link_of_a_page_leads_to_a_file_or_heading(page: Path) -> None:
    for target in LINK.findall(prose(page)):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.is_relative_to(ROOT), f"{target} leaves the repository"
        assert path.exists(), f"{target} does not exist"
        assert not anchor or anchor in anchors_of(path), f"{target} is no heading"


@each_page
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    missing = [name for name in named_files(prose(page)) if not exists(name, page)]
    assert not set(missing) - OF_READERS


@each_page
def test_every_test_that_a_page_names_exists(page: Path) -> None:
    anywhere = {name for path in (ROOT / "tests").glob("test_*.py") for name in names_in(path)}
    missing = []
    for span in SPAN.findall(prose(page)):
        file, _, name = span.rpartition("::")
        if name.startswith("test_") and not name.endswith((".py", "_")):
            path = ROOT / "tests" / file
            names = anywhere if not file else names_in(path) if path.exists() else set()
            missing += [span] * (name not in names)
    assert not missing


@each_page
def test_a_page_mentions_only_the_project(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not REGISTRIES.findall(text)
    assert not WORKPLACE.findall(text)


@each_page
def test_a_page_contains_no_old_name_and_no_word_that_is_hard_to_read(page: Path) -> None:
    assert not NOT_PLAIN.findall(page.read_text(encoding="utf-8"))


def test_each_promise_is_a_row_of_the_readme_that_names_its_tests() -> None:
    promises = [row for row in rows(prose(README), 2) if row[0].startswith("**")]
    assert len(promises) == len(PROMISES)
    for (promise, tests), beginning in zip(promises, PROMISES, strict=True):
        assert promise.startswith(f"**{beginning}")
        named = list(named_files(tests))
        assert named, f"the README names no test for: {promise}"
        assert all(name.startswith(("test_", "benchmarks/")) for name in named)


def test_each_threat_names_what_stops_it_and_a_test() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    threats = rows(text, 4)
    assert len(threats) > 20
    for _, _, defence, test in threats:
        assert defence
        assert re.search(r"`test_\w+\.py(?:::test_\w+)?`", test), defence


def test_each_situation_names_a_test_of_what_oauthcc_does() -> None:
    situations = rows(PEERS.read_text(encoding="utf-8"), 3)
    assert len(situations) == 31
    for situation, elsewhere, here in situations:
        assert elsewhere
        assert re.search(r"`test_\w+\.py::test_\w+`", here), situation


def test_the_table_of_the_other_libraries_has_the_rows_and_columns_of_the_benchmark() -> None:
    folder = ROOT / "benchmarks" / "comparing"
    titles = [title for path in sorted(folder.glob("*.py")) for title in situations_of(path)]
    libraries = list(library_names(folder / "libraries.py"))
    text = PEERS.read_text(encoding="utf-8")
    shown = [row[0] for row in rows(text, len(libraries) + 1)]
    assert sorted(shown) == sorted(titles)
    assert f"| | {' | '.join(libraries)} |" in text


def situations_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and isinstance(mark.args[0], ast.Constant):
                    yield str(mark.args[0].value)


def library_names(path: Path) -> Iterator[str]:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            for line in node.body:
                if isinstance(line, ast.Assign) and isinstance(line.value, ast.Tuple):
                    name = line.value.elts[0]
                    assert isinstance(name, ast.Constant)
                    yield str(name.value)
