"""What can be counted of plain English: how docstrings begin, and words that are hard to read.

The reader of this library is an engineer who learned English as a second language.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from .scripts import ROOT

LIBRARY = sorted((ROOT / "oauthcc").rglob("*.py"))
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
TEXTS = [*LIBRARY, *PAGES]
WITH_TESTS = [
    *TEXTS,
    *(
        path
        for folder in ("tests", "benchmarks", "examples")
        for path in ROOT.glob(f"{folder}/**/*.py")
    ),
]

# A class or module is a thing, so its docstring is a noun phrase and begins with no verb.
VERBS = set(
    "Add Answer Ask Be Bring Carry Check Collect Count Create Decide Do Drop Fetch Find Gather Get"  # noqa: SIM905
    " Give Have Hide Hold Keep Let Make Mark Name Note Present Print Put Raise Read Remember Return"
    " Run Say See Send Serve Set Show Sign Stand Start Stop Take Talk Tell Try Turn Use Wait Walk"
    " Write".split()
)
# A function's docstring begins with a verb that says what the function does.
NOT_FOR_FUNCTIONS = set("A An Be Give Have Hold It Say Stand Tell The This What".split())  # noqa: SIM905
# "where" is for places. Conditions say "if" or "when".
WHERE_FOR_IF = re.compile(
    r"(?:^|[,;:(] ?|\. )[Ww]here (?:it|the|a|an|one|no|there|none|that|this|they|you|nobody"
    r"|somebody|its)\b|\b[Ww]here (?:there|none|no|nobody|nothing)\b",
    re.MULTILINE,
)
OLD_WORDS = re.compile(
    r"\b(?:ledger|supplier|unwell|twins?|put_in_margin|write_off|take_in|hush|board(?:ed|ing)?"
    r"|mended_by_humans|none of our business|in vain|whoever|in so many words|for ever"
    r"|at the most|all the same|courtesy|credentials for a token)\b",
    re.IGNORECASE,
)


class Docstring(NamedTuple):
    """A docstring, what it belongs to, and where it is."""

    place: str
    text: str
    is_function: bool

    @property
    def first_word(self) -> str:
        return re.split(r"[^A-Za-z]", self.text, maxsplit=1)[0]


def docstrings(path: Path) -> Iterator[Docstring]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, kinds) and (text := ast.get_docstring(node)):
            name = getattr(node, "name", "module")
            place = f"{path.relative_to(ROOT)}: {name}"
            yield Docstring(place, text, isinstance(node, ast.FunctionDef))


def found(pattern: re.Pattern[str], paths: list[Path]) -> list[str]:
    """Return the places where a pattern matches, except in this file, which lists the words."""
    places = []
    for path in paths:
        text = path.read_text(encoding="utf-8")
        if path == Path(__file__):
            continue
        for match in pattern.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            places.append(f"{path.relative_to(ROOT)}:{line}: {match[0].strip()}")
    return places


def test_docstrings_of_classes_and_modules_are_noun_phrases() -> None:
    everything = [docstring for path in LIBRARY for docstring in docstrings(path)]
    assert len(everything) > 400
    verbs = [d.place for d in everything if not d.is_function and d.first_word in VERBS]
    assert verbs == []


def test_docstrings_of_functions_begin_with_a_verb() -> None:
    wrong = [
        f"{d.place}: {d.first_word}"
        for path in LIBRARY
        for d in docstrings(path)
        if d.is_function and (d.first_word in NOT_FOR_FUNCTIONS or d.first_word.endswith("s"))
    ]
    assert wrong == []


def test_conditions_say_if_and_not_where() -> None:
    assert found(WHERE_FOR_IF, TEXTS) == []


def test_nothing_uses_the_old_words() -> None:
    assert found(OLD_WORDS, WITH_TESTS) == []


@pytest.mark.parametrize(
    "text",
    [
        "Raises an error where there is none.",
        "a token, where the server sends one",
        "Where it fails, nothing happens.",
    ],
)
def test_a_where_that_means_if_is_found(text: str) -> None:
    assert WHERE_FOR_IF.search(text)


def test_a_where_that_means_a_place_is_allowed() -> None:
    assert not WHERE_FOR_IF.search("The folder where tokens are kept.")
