"""The page on guarantees: each promise of the README has its section, its limits and its tests."""

from __future__ import annotations

import re

import pytest

from .scripts import ROOT
from .test_documentation import PROMISES, README, names_in, prose, rows

PAGE = ROOT / "docs" / "guarantees.md"
SECTIONS = dict(
    re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", prose(PAGE), re.MULTILINE | re.DOTALL)
)
LINKED = re.compile(r"\[`((?:test_\w+|benchmarks/\w+)\.py)`\]\(\.\./([\w/]+\.py)\)")


def test_each_promise_of_the_readme_has_its_section_in_the_same_order() -> None:
    promises = [row[0] for row in rows(prose(README), 2) if row[0].startswith("**")]
    assert len(promises) == len(SECTIONS)
    for promise, title in zip(promises, SECTIONS, strict=True):
        assert promise.startswith(f"**{title}")
    assert tuple(SECTIONS) == PROMISES


@pytest.mark.parametrize("title", SECTIONS)
def test_a_section_says_what_is_not_promised_and_links_to_its_tests(title: str) -> None:
    text = SECTIONS[title]
    meaning, limits, tests = re.split(r"\n\n\*Not promised:\*|\n\nTests:\n\n", text)
    assert meaning.strip()
    assert limits.strip()
    assert LINKED.search(tests)


@pytest.mark.parametrize("title", SECTIONS)
def test_a_named_test_is_in_the_file_that_is_linked_before_it(title: str) -> None:
    tests = SECTIONS[title].partition("\n\nTests:\n\n")[2]
    _, *parts = re.split(LINKED, tests)
    for name, path, named in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        assert path.endswith(name)
        tests_of_file = names_in(ROOT / path)
        assert set(re.findall(r"`(test_\w+)`", named)) <= tests_of_file
