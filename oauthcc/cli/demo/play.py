"""The demo from its first line to its exit status."""

from __future__ import annotations

from contextlib import ExitStack

import typer

from ..terminal import write_error
from .promises import Promises
from .screen import Screen
from .sequence import show_sequence
from .timeline import show_time_line


def play(*, quick: bool, screen: Screen | None = None) -> None:
    """Show the parts of the demo; exit with 1 if a promise did not hold."""
    screen, promises = Screen() if screen is None else screen, Promises()
    screen.title(
        "What a session of oauthcc does by itself: an authorization server and an API run on this"
        " machine, and everything below is what they received."
    )
    for part in (show_sequence,) if quick else (show_sequence, show_time_line):
        screen.space()
        with ExitStack() as running:
            part(running, screen, promises)
    for sentence in promises.broken:
        write_error(f"this promise did not hold: {sentence}")
    if promises.broken:
        raise typer.Exit(1)
    screen.space()
    screen.title(f"All {promises.count} checks of this run passed.")
