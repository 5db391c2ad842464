"""What the documentation site is made from. ``make docs`` builds it and checks its links."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import oauthcc
from docs.links import broken_links
from oauthcc import settings, stores, testing
from oauthcc.testing import faults

from .scripts import ROOT

DOCS = ROOT / "docs"
REFERENCE = "\n".join(page.read_text(encoding="utf-8") for page in DOCS.glob("reference/*.md"))


def explained() -> set[str]:
    """Return the names that the reference explains one by one."""
    return set(re.findall(r"^\.\. auto\w+:: (?:[\w.]+\.)?(\w+)(?:\(\))?$", REFERENCE, re.MULTILINE))


def test_the_reference_explains_every_public_name() -> None:
    unions = {"Event"}  # It is the union of the events, which are explained.
    assert set(oauthcc.__all__) - unions <= explained()
    assert {*stores.__all__} <= explained()
    assert ".. automodule:: oauthcc.testing\n" in REFERENCE
    assert testing.__doc__
    assert faults.__doc__


def test_the_table_of_settings_has_every_variable_and_key() -> None:
    page = (DOCS / "reference" / "settings.md").read_text(encoding="utf-8")
    shown = re.findall(r"^\| `OAUTH_(\w+)` \| `(\w+)` \|", page, re.MULTILINE)
    assert sorted(key for _, key in shown) == sorted(settings._KEYS)
    assert all(variable == key.upper() for variable, key in shown)


def test_every_page_is_in_a_table_of_contents() -> None:
    pages = {page.relative_to(DOCS).with_suffix("").as_posix() for page in DOCS.rglob("*.md")}
    listed = {"index"}
    for index in DOCS.rglob("index.md"):
        folder = index.parent.relative_to(DOCS)
        for tree in re.findall(
            r"^```\{toctree\}\n(.*?)^```$", index.read_text("utf-8"), re.MULTILINE | re.DOTALL
        ):
            entries = [line for line in tree.split("\n") if line and not line.startswith(":")]
            names = [re.sub(r".*<(.+)>", r"\1", entry) for entry in entries]
            listed |= {(folder / name).as_posix() for name in names}
    assert listed == pages


@pytest.mark.parametrize(
    ("link", "is_broken"),
    [
        ("other.html", False),
        ("other.html#there", False),
        ("#here", False),
        ("picture%20one.svg", False),
        ("https://host.example/page", False),
        ("missing.html", True),
        ("other.html#missing", True),
        ("#missing", True),
        ("picture.svg#part", True),
        ("folder", True),
        ("../beside.html", True),
        ("/etc/hostname", True),
    ],
)
def test_a_link_without_a_target_is_found(link: str, is_broken: bool, tmp_path: Path) -> None:
    (tmp_path / "beside.html").touch()
    site = tmp_path / "site"
    (site / "folder").mkdir(parents=True)
    for picture in ("picture.svg", "picture one.svg"):
        (site / picture).touch()
    (site / "other.html").write_text('<h2 id="there">There</h2>', encoding="utf-8")
    (site / "page.html").write_text(f'<i id="here"></i><a href="{link}">a</a>', encoding="utf-8")
    assert list(broken_links(site)) == ([f"page.html: {link}"] if is_broken else [])


def test_a_missing_picture_of_a_set_is_found(tmp_path: Path) -> None:
    (tmp_path / "one.svg").touch()
    (tmp_path / "page.html").write_text(
        '<img src="one.svg" srcset="one.svg 1x, two.svg 2x">', encoding="utf-8"
    )
    assert list(broken_links(tmp_path)) == ["page.html: two.svg"]
