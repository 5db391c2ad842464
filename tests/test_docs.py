"""Tests that run every Python block of the documentation as it stands.

The blocks of a page run one after the other in a process of their own, with the same names, in the
world of `tests/documentation_world.py`. A block that cannot run there has a line before it that
says why: ``<!-- not run: it needs a user -->``. It is only compiled.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import pytest

from tests.scripts import ROOT
from tests.servers.redis_server import RedisServer

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Other tests run the blocks of these pages.
ELSEWHERE = {"docs/providers.md": "test_providers.py", "docs/testing.md": "test_testing_page.py"}
BLOCK = re.compile(
    r"^(?:[ \t]*<!-- not run: (?P<reason>[^\n]+) -->\n\n?)?"
    r"(?P<margin>[ \t]*)```python\n(?P<code>.*?)^(?P=margin)```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A Python block of a page, with the number of its first line."""

    line: int
    code: str
    runs: bool

    @property
    def in_its_place(self) -> str:
        """Return the code, with tracebacks that have the line numbers of the page."""
        return "\n" * (self.line - 1) + self.code


def blocks(text: str) -> Iterator[Block]:
    for match in BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("code")) + 1
        yield Block(line, dedent(match["code"]), runs=match["reason"] is None)


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


BLOCKS = {name(page): list(blocks(page.read_text(encoding="utf-8"))) for page in PAGES}
RUN = [page for page, found in BLOCKS.items() if page not in ELSEWHERE and found]


@pytest.mark.parametrize("page", [page for page, found in BLOCKS.items() if found])
def test_every_block_of_a_page_can_be_compiled(page: str) -> None:
    for block in BLOCKS[page]:
        compile(block.in_its_place, page, "exec")


@pytest.mark.parametrize("page", RUN)
def test_the_blocks_of_a_page_run_as_they_stand(
    page: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    codes = [block.in_its_place for block in BLOCKS[page] if block.runs]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OAUTH", "COVERAGE"))}
    environment["PYTHONPATH"] = str(ROOT)
    if any("redis://localhost" in code for code in codes):
        redis: RedisServer = request.getfixturevalue("redis_server")
        environment["REDIS_PORT"] = str(redis.port)
    world = tmp_path / "world"
    world.mkdir()
    given = tmp_path / "blocks.json"
    given.write_text(json.dumps({"page": page, "codes": codes}), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "tests.documentation_world", str(given)],
        cwd=world,
        env=environment,
        stdin=subprocess.DEVNULL,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, f"{page} exited with {done.returncode}:\n{done.stderr}"


@pytest.mark.parametrize(("page", "test"), ELSEWHERE.items())
def test_a_page_that_is_run_elsewhere_has_its_own_test(page: str, test: str) -> None:
    assert Path(page).name in (ROOT / "tests" / test).read_text(encoding="utf-8")


def test_blocks_are_found_with_their_line_numbers_and_marks() -> None:
    page = (
        "<!-- not run: a reason -->\n```python\na = 1\n```\ntext\n```python\nb\n```\n"
        "```sh\nmake\n```\n- item\n\n  ```python\n  if c:\n      d\n  ```\n"
        "<!-- not run: another reason -->\n\n```python\ne\n```\n"
    )
    assert list(blocks(page)) == [
        Block(3, "a = 1\n", runs=False),
        Block(7, "b\n", runs=True),
        Block(15, "if c:\n    d\n", runs=True),
        Block(21, "e\n", runs=False),
    ]


def test_the_readme_shows_code() -> None:
    assert BLOCKS["README.md"]
