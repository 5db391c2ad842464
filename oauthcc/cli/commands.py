"""The subcommands of ``oauthcc`` under one name."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import __version__
from .demo import demo
from .doctor import doctor
from .run import run
from .serve import serve
from .terminal import write_line
from .token import token

app: typer.Typer = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=(
        "OAuth 2.0 client credentials for the shell: a token, a diagnosis, and programs that get"
        " their tokens by themselves.\n\n"
        "token, doctor and run read the variables OAUTH_TOKEN_URL (or OAUTH_ISSUER),"
        " OAUTH_CLIENT_ID, OAUTH_CLIENT_SECRET (or OAUTH_CLIENT_SECRET_FILE), OAUTH_SCOPE,"
        " OAUTH_API_URL, OAUTH_AUDIENCE, OAUTH_RESOURCE and OAUTH_CLIENT_AUTH. `--profile NAME`"
        " reads a section of a file in their place. Options win over both.\n\n"
        "For example:\n\n"
        "    oauthcc doctor\n\n"
        "    oauthcc run report.py --month 5\n\n"
        "    oauthcc token --header | curl -H @- https://api.example/orders"
    ),
)


def _show_version(is_wanted: bool) -> None:  # noqa: FBT001 - typer calls it so
    if is_wanted:
        write_line(f"oauthcc {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Take the options that come before a subcommand."""


app.command()(token)
app.command()(doctor)
app.command(context_settings={"allow_interspersed_args": False})(run)
app.command()(serve)
app.command()(demo)
