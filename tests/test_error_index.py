"""The index of errors: it has every message of the library, and no other."""

from __future__ import annotations

import re

import pytest

from oauthcc import errors

from .messages import ANY, ERRORS, Message, messages, texts
from .scripts import ROOT

PAGE = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
TABLE = re.compile(r"^\| message \| cause \| what to do \|\n.*\n((?:\|.*\n)+)", re.MULTILINE)
ROWS = [row.split(" | ") for table in TABLE.findall(PAGE) for row in table.splitlines()]
#: What is in brackets behind a message is its class.
ENTRIES = [
    entry for row in ROWS for entry in re.findall(r"`([^`]+)`", re.sub(r"\(`\w+`\)", "", row[0]))
]
TEXTS = texts()
#: Messages of errors that are always caught inside the library.
NEVER_SEEN = {"The refused answer was too slow."}


def pattern_of(entry: str) -> re.Pattern[str]:
    """Return the pattern of an entry, in which `…` is any text."""
    # One that begins with a capital letter is the beginning of a message.
    begin = r"\A" if entry[0].isupper() else ""
    text = ".*".join(map(re.escape, entry.strip(ANY).split(ANY)))
    return re.compile(begin + text, re.DOTALL)


PATTERNS = [pattern_of(entry) for entry in ENTRIES]


def test_the_tables_are_found() -> None:
    assert PAGE.count("| message |") == len(TABLE.findall(PAGE))
    assert all(len(row) == 3 and all(row) for row in ROWS)


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_message_of_the_index_is_in_the_library(entry: str) -> None:
    pattern = pattern_of(entry)
    assert any(pattern.search(text) for text in TEXTS)


@pytest.mark.parametrize(
    "message",
    [m for m in messages() if m.text not in NEVER_SEEN],
    ids=lambda message: message.place,
)
def test_a_message_of_the_library_is_in_the_index(message: Message) -> None:
    assert any(pattern.search(message.text) for pattern in PATTERNS), message.text


def test_no_entry_is_so_short_that_it_covers_other_messages() -> None:
    short = [entry for entry in ENTRIES if len(entry.replace(ANY, "").strip()) < 8]
    assert short == ["In …: …"]


def test_the_index_has_every_class_of_error() -> None:
    named = set(re.findall(r"`(\w+)`", PAGE))
    assert named >= ERRORS - {errors.OAuthCCError.__name__}
