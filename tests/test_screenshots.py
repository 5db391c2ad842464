"""The pictures of the command: they can be made, and they show what the command writes today."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs.screenshots import CLIENT, IMAGES, SHOTS, screen_after
from oauthcc.cli.commands import app
from oauthcc.cli.doctor.texts import TEXTS

from .pseudo_terminal import environment
from .scripts import ROOT
from .test_cli_demo import ARROWS, LOAD, are_in_order, drawing

TEXT = re.compile(r'<text [^>]* y="([\d.]+)"[^>]*>([^<]*)</text>')


def shown(path: Path) -> str:
    """Return the lines of a picture."""
    lines: dict[str, str] = {}
    for y, text in TEXT.findall(path.read_text(encoding="utf-8")):
        lines[y] = lines.get(y, "") + html.unescape(text).replace("\xa0", " ")
    return "\n".join(line.rstrip() for line in lines.values())


@pytest.mark.parametrize("name", SHOTS)
def test_a_picture_is_small_and_loads_nothing(name: str) -> None:
    svg = (IMAGES / f"{name}.svg").read_text(encoding="utf-8")
    assert len(svg) < 60_000
    assert not re.findall(r"url\([\"']?http|href=|@import|@font-face", svg)
    assert CLIENT[1] not in svg


def test_the_picture_of_the_help_shows_every_command() -> None:
    text = shown(IMAGES / "oauthcc-help.svg")
    for command in app.registered_commands:
        assert command.callback is not None
        name = command.name or command.callback.__name__
        assert re.search(rf"^│ *{name} ", text, re.MULTILINE)


def test_the_picture_of_the_diagnosis_shows_what_it_finds() -> None:
    text = shown(IMAGES / "oauthcc-doctor.svg")
    assert TEXTS["insufficient_scope"][1] in " ".join(text.split())
    assert "1 problem" in text


def test_the_pictures_of_the_demo_show_what_it_writes() -> None:
    assert drawing(shown(IMAGES / "oauthcc-demo-sequence.svg")) == ARROWS
    assert are_in_order(LOAD, shown(IMAGES / "oauthcc-demo-time-line.svg"))


def test_lines_that_were_erased_are_not_in_a_picture() -> None:
    drawn = "\x1b[?25ltitle\r\none\r\ntwo\r\x1b[2K\x1b[1A\x1b[2Kthree\r\nfour\r\nend\r\n\x1b[?25h"
    assert screen_after(drawn) == "title\nthree\nfour\nend"


@pytest.mark.unmeasured
def test_the_pictures_can_be_made(tmp_path: Path) -> None:
    pytest.importorskip("pty")
    names = ["oauthcc-demo-sequence", "oauthcc-doctor"]
    subprocess.run(
        [sys.executable, "-m", "docs.screenshots", "--folder", str(tmp_path), *names],
        check=True,
        cwd=ROOT,
        env=environment(),
        timeout=120,
    )
    made = sorted(path.stem for path in tmp_path.iterdir())
    assert made == names
    assert drawing(shown(tmp_path / "oauthcc-demo-sequence.svg")) == ARROWS
