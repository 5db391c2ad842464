"""``oauthcc demo``: what the library does, drawn from what two real servers received."""

from __future__ import annotations

import contextlib
from typing import Annotated

import typer

from ..terminal import write_error
from .promises import Promises
from .screen import Screen
from .sequence import show_sequence
from .timeline import show_time_line


def demo(
    *,
    quick: Annotated[
        bool, typer.Option("--quick", help="Leave out the time line, which takes 9 seconds.")
    ] = False,
) -> None:
    """Show how a token is fetched, used again, revoked and renewed.

    An authorization server and an API are started on this machine, and nothing else is needed.
    The first part shows what goes over the wire, the second part what callers notice of a
    revocation and of an outage. Exits with 1 if a promise did not hold.
    """
    screen, promises = Screen(), Promises()
    screen.title(
        "What a session of oauthcc does by itself: an authorization server and an API run on this"
        " machine, and everything below is what they received."
    )
    with contextlib.ExitStack() as running:
        show_sequence(running, screen, promises)
    if not quick:
        with contextlib.ExitStack() as running:
            show_time_line(running, screen, promises)
    for sentence in promises.broken:
        write_error(f"this promise did not hold: {sentence}")
    if promises.broken:
        raise typer.Exit(1)
    screen.space()
    screen.title(f"All {promises.count} promises held.")
