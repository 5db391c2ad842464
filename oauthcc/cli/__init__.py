"""The command ``oauthcc``, for the person who sets a service up or finds out why it fails.

Each subcommand is one module. The library imports nothing of this folder.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command; exit with 2 if it was not installed with its packages."""
    try:
        from .commands import app
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("typer", "rich"):
            raise
        sys.stderr.write(
            f"oauthcc: the command needs the package {error.name}, install it with: pip install"
            " 'oauthcc[cli]'\n"
        )
        sys.exit(2)
    except KeyboardInterrupt:  # as typer ends later
        sys.exit(130)
    app(prog_name="oauthcc")
