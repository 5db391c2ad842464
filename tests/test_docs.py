"""Tests that compile every Python block of the documentation, and run the marked ones.

The blocks of a page after the lines ``<!-- run -->`` run one after the other in a process of their
own. Each has its own names and its own servers of ``oauthcc.testing``. It can use these names:
token_url, client_id, client_secret, api_url.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from tests.scripts import ROOT, run_script

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"^(?P<run><!-- run -->\n\n?)?(?P<margin>[ \t]*)```python\n(?P<code>.*?)^(?P=margin)```$",
    re.MULTILINE | re.DOTALL,
)
SCRIPT = """\
from oauthcc.testing import AuthorizationServer, ProtectedAPI

for code in {codes!r}:
    with AuthorizationServer() as auth, ProtectedAPI(auth) as api:
        names = {{
            "__name__": "__main__",
            "token_url": auth.token_url,
            "client_id": auth.client_id,
            "client_secret": auth.client_secret,
            "api_url": api.url,
        }}
        exec(compile(code, {page!r}, "exec"), names)
"""


def blocks(text: str) -> Iterator[tuple[int, str, bool]]:
    """Yield the line number, the code and whether it is marked, for each block of a page."""
    for match in BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("code")) + 1
        yield line, dedent(match["code"]), match["run"] is not None


def read(path: Path) -> Iterator[tuple[int, str, bool]]:
    """Yield the same of a page, with code whose tracebacks have the line numbers of the page."""
    for line, code, runs in blocks(path.read_text(encoding="utf-8")):
        yield line, "\n" * (line - 1) + code, runs


COMPILED = [
    pytest.param(page, code, id=f"{page}:{line}")
    for path in PAGES
    for page in [str(path.relative_to(ROOT))]
    for line, code, _ in read(path)
]
RUN = [
    pytest.param(page, codes, id=page)
    for path in PAGES
    for page in [str(path.relative_to(ROOT))]
    for codes in [[code for _, code, runs in read(path) if runs]]
    if codes
]


@pytest.mark.parametrize(("page", "code"), COMPILED)
def test_a_block_of_the_documentation_can_be_compiled(page: str, code: str) -> None:
    compile(code, page, "exec")


@pytest.mark.parametrize(("page", "codes"), RUN)
def test_the_marked_blocks_of_a_page_work(page: str, codes: list[str], tmp_path: Path) -> None:
    script = tmp_path / "blocks.py"
    script.write_text(SCRIPT.format(page=page, codes=codes), encoding="utf-8")
    run_script(script)


def test_blocks_are_found_with_their_line_numbers_and_marks() -> None:
    page = (
        "<!-- run -->\n```python\na = 1\n```\ntext\n```python\nb\n```\n"
        "```sh\nmake\n```\n- item\n\n  ```python\n  if c:\n      d\n  ```\n"
        "<!-- run -->\n\n```python\ne\n```\n"
    )
    assert list(blocks(page)) == [
        (3, "a = 1\n", True),
        (7, "b\n", False),
        (15, "if c:\n    d\n", False),
        (21, "e\n", True),
    ]


def test_the_readme_shows_code() -> None:
    assert list(blocks(PAGES[0].read_text(encoding="utf-8")))
