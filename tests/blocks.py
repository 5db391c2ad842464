"""The Python blocks of the pages, and what runs them."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

from .scripts import ROOT, run

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


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCKS = {name(page): list(blocks(page.read_text(encoding="utf-8"))) for page in PAGES}


def run_page(page: str, folder: Path, redis_port: int | None = None) -> None:
    """Run the blocks of a page in the world of the documentation, as they stand."""
    codes = [block.in_its_place for block in BLOCKS[page] if block.runs]
    world = folder / "world"
    world.mkdir()
    given = folder / "blocks.json"
    given.write_text(json.dumps({"page": page, "codes": codes}), encoding="utf-8")
    variables = {} if redis_port is None else {"REDIS_PORT": str(redis_port)}
    done = run([sys.executable, "-m", "tests.documentation_world", str(given)], world, variables)
    assert done.returncode == 0, f"{page} exited with {done.returncode}:\n{done.stderr}"
