"""The blocks of docs/integrations.md, which need the packages of this folder."""

from __future__ import annotations

from ..blocks import run_page


def test_the_blocks_of_the_page_run_as_they_stand(tmp_path):
    run_page("docs/integrations.md", tmp_path)
