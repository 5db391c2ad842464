"""Hold the pages to what is there: files, links, tests, and the table that a benchmark prints."""

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
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
# Where a file may be that is named without its folder.
PLACES = ("", "docs", "tests", "oauthcc", "benchmarks")
PROMISES = (
    "Drop-in",
    "Lazy",
    "One token request at a time",
    "One replay after a 401",
    "Nobody waits for a renewal",
    "An authorization server that is down hurts nobody",
    "A token goes only where it was meant to go",
    "What you say wins",
    "No secret and no token",
    "Every error is a `requests.RequestException`",
    "A warm request costs less",
    "A cache that is down is not an outage",
)
BLOCK = re.compile(r"^([ \t]*)```.*?^\1```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
SPAN = re.compile(r"`([^`\n]+)`")
FILE = re.compile(r"[\w*./-]*[\w*]\.(?:py|md|toml|cfg|yml)|\.ci/[\w*]+")
REGISTRIES = re.compile(r"\bpypi\.|pythonhosted|npmjs|artifactory|nexus", re.IGNORECASE)
WORKPLACE = re.compile(
    r"\bissues? #|\bpull request\b|\bticket\b|\bassistant\b|/(?:work|tmp|home)/", re.IGNORECASE
)

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def prose(page: Path) -> str:
    """Return a page without its blocks of code."""
    return BLOCK.sub("", page.read_text(encoding="utf-8"))


def rows(text: str, columns: int) -> list[list[str]]:
    """Return the cells of every row of the tables with so many columns, their heads aside."""
    found = []
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        lines = [[cell.strip() for cell in line[1:-1].split(" |")] for line in table.splitlines()]
        found += [line for line in lines[2:] if len(line) == columns]
    return found


def named_files(text: str) -> Iterator[str]:
    """Yield the files that are named, tests by name (`test_x.py::test_y`) with them."""
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
def test_what_a_page_links_to_is_there(page: Path) -> None:
    for target in LINK.findall(prose(page)):
        if target.startswith(("https://", "#")):
            continue
        path = (page.parent / target.partition("#")[0]).resolve()
        assert path.is_relative_to(ROOT), f"{target} leaves the repository"
        assert path.exists(), f"{target} is not there"


@each_page
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    missing = [name for name in named_files(prose(page)) if not exists(name, page)]
    assert not missing


@each_page
def test_every_test_that_a_page_names_is_there(page: Path) -> None:
    anywhere = {name for path in (ROOT / "tests").glob("test_*.py") for name in names_in(path)}
    for span in SPAN.findall(prose(page)):
        file, _, name = span.rpartition("::")
        if name.startswith("test_") and not name.endswith(".py"):
            assert name in (names_in(ROOT / "tests" / file) if file else anywhere), span


@each_page
def test_a_page_speaks_of_nothing_but_the_project(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not REGISTRIES.findall(text)
    assert not WORKPLACE.findall(text)


def test_each_promise_is_a_row_that_names_its_tests() -> None:
    promises = [row for row in rows(prose(README), 2) if row[0].startswith("**")]
    assert len(promises) == len(PROMISES)
    for (promise, tests), beginning in zip(promises, PROMISES, strict=True):
        assert promise.startswith(f"**{beginning}")
        named = list(named_files(tests))
        assert named, f"no test is named for: {promise}"
        assert all(name.startswith(("test_", "benchmarks/")) for name in named)


def test_each_situation_names_a_test_that_shows_what_is_done_here() -> None:
    situations = rows(PEERS.read_text(encoding="utf-8"), 3)
    assert len(situations) == 31
    for situation, elsewhere, here in situations:
        assert elsewhere
        assert re.search(r"`test_\w+\.py::test_\w+`", here), situation


def test_the_table_of_the_other_libraries_is_the_one_that_the_benchmark_prints() -> None:
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
