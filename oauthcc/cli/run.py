"""``oauthcc run``: an unmodified Python program whose requests get tokens."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ..errors import ConfigurationError
from .configuration import Configuration
from .parameters import configured, fail
from .program import environment_for, missing_module

_POSIX = os.name == "posix"


@partial(configured, status=2)
def run(
    configuration: Configuration,
    *,
    program: Annotated[
        str, typer.Argument(metavar="SCRIPT", help="The script, or with -m the module.")
    ],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="ARGS", help="The arguments of the program.")
    ] = None,
    module: Annotated[
        bool, typer.Option("-m", "--module", help="Run a module, as python -m does.")
    ] = False,
    subprocesses: Annotated[
        bool,
        typer.Option("--subprocesses", help="Patch the Python programs that it starts, too."),
    ] = False,
) -> None:
    """Run a Python program whose requests to your API get a token.

    The program is not changed. Every request that it sends with the package requests gets a token
    if its URL is under a prefix in OAUTH_API_URL (or --api-url), and no other request does. What
    the program brings itself wins: `auth=`, an `Authorization` header, a login in `~/.netrc`.

    The program must be one for this installation of Python. Options of oauthcc come before it, and
    all that follows it is its own.

    For example:

        oauthcc run report.py --month 5

        oauthcc run -m orders.sync

        oauthcc run --profile orders --subprocesses nightly.py
    """
    with configuration.session() as session:
        if not session._allowed_urls.is_limited:
            raise ConfigurationError(
                f"{configuration.written('api_url')} is missing: set it to the URL prefixes of your"
                " API. Otherwise every host that the program calls would get the token."
            )
    if module:
        missing = missing_module(program)
        if missing:
            fail(f"there is no module {missing!r} in this installation or in this folder", 2)
    elif program != "-" and not Path(program).exists():
        fail(f"there is no file {program!r}; a module is run with -m", 2)
    environment = environment_for(configuration, os.environ, with_subprocesses=subprocesses)
    first = ["-m", program] if module else [program]
    command = [sys.executable, *first, *(arguments or ())]
    if _POSIX:
        os.execve(sys.executable, command, environment)  # noqa: S606 - what the user asked for
    else:  # there, the shell would not wait for the program
        done = subprocess.run(command, env=environment, check=False)  # noqa: S603 - the same
        raise typer.Exit(done.returncode)
