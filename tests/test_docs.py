"""Tests that compile every Python block of the documentation, and run the marked ones.

A block after the line ``<!-- run -->`` runs in a process of its own, with the servers of
``oauthcc.testing``. It can use these names: token_url, client_id, client_secret, api_url.
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
code = {code!r}

from oauthcc.testing import AuthorizationServer, ProtectedAPI

with AuthorizationServer() as auth, ProtectedAPI(auth) as api:
    token_url, client_id, client_secret = auth.token_url, auth.client_id, auth.client_secret
    api_url = api.url
    exec(compile(code, {page!r}, "exec"))
"""


def blocks(text: str) -> Iterator[tuple[int, str, bool]]:
    """Yield the line number, the code and whether it is marked, for each block of a page."""
    for match in BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("code")) + 1
        yield line, dedent(match["code"]), match["run"] is not None


def collected() -> Iterator[object]:
    for path in PAGES:
        page = str(path.relative_to(ROOT))
        for line, code, runs in blocks(path.read_text(encoding="utf-8")):
            padded = "\n" * (line - 1) + code  # so that a traceback has the line number of the page
            yield pytest.param(page, padded, runs, id=f"{page}:{line}")


@pytest.mark.parametrize(("page", "code", "runs"), list(collected()))
def test_a_block_of_the_documentation_works(
    page: str, code: str, runs: bool, tmp_path: Path
) -> None:
    compile(code, page, "exec")
    if runs:
        script = tmp_path / "block.py"
        script.write_text(SCRIPT.format(page=page, code=code), encoding="utf-8")
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
