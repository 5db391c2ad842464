"""Tests that run every Python block of the documentation as it stands.

The blocks of a page run one after the other in a process of their own, with the same names, in the
world of `tests/documentation_world.py`. A block that cannot run there has a line before it that
says why: ``<!-- not run: it needs a user -->``. It is only compiled.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from .blocks import BLOCKS, Block, blocks, run_page
from .scripts import ROOT
from .servers.redis_server import RedisServer

# Other tests run the blocks of these pages.
ELSEWHERE = {
    "docs/integrations.md": "integrations/test_page.py",
    "docs/providers.md": "test_providers.py",
    "docs/testing.md": "test_testing_page.py",
}
RUN = [page for page, found in BLOCKS.items() if page not in ELSEWHERE and found]


@pytest.mark.parametrize("page", [page for page, found in BLOCKS.items() if found])
def test_every_block_of_a_page_can_be_compiled(page: str) -> None:
    for block in BLOCKS[page]:
        compile(block.in_its_place, page, "exec")


@pytest.mark.parametrize("page", RUN)
def test_the_blocks_of_a_page_run_as_they_stand(
    page: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    port = None
    if any("redis://localhost" in block.code for block in BLOCKS[page]):
        redis: RedisServer = request.getfixturevalue("redis_server")
        port = redis.port
    run_page(page, tmp_path, port)


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
