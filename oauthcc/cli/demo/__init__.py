"""``oauthcc demo``: what the library does, drawn from what two real servers received."""

from __future__ import annotations

from typing import Annotated

import typer


def demo(
    *,
    quick: Annotated[
        bool, typer.Option("--quick", help="Leave out the time line, which takes 8 seconds.")
    ] = False,
) -> None:
    """Show how a token is fetched, used again, revoked and renewed.

    An authorization server and an API are started on this machine, and nothing else is needed. The
    first part shows what goes over the wire. The second part shows what callers notice of a
    revocation and of an outage: nothing. Exits with 1 if a promise did not hold.

    For example:

        oauthcc demo

        oauthcc demo --quick | less
    """
    from .play import play  # other commands need not wait for this import

    play(quick=quick)
