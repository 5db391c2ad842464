"""The options of a configuration, which every command takes.

Rule of this module: no option takes a secret, because other users can read a command line. A secret
comes from a variable, a file, a profile, or a question at the terminal.
"""

from __future__ import annotations

import getpass
import inspect
import re
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, NoReturn, Optional

import typer

from ..errors import OAuthCCError
from .configuration import Configuration
from .terminal import log_shown, write_error

_PANEL = "Configuration"
_TERMINAL = "/dev/tty"


def _option(kind: Any, name: str, metavar: str | None, text: str, default: Any = None) -> Any:
    """Return the annotation and the default of a parameter."""
    given = typer.Option(
        name, metavar=metavar, help=text, rich_help_panel=_PANEL, show_default=False
    )
    return Annotated[kind, given], default


# Read by typer, which does not know the newer notation on Python 3.10.
_TEXT: Any = Optional[str]  # noqa: UP045
_PATH: Any = Optional[Path]  # noqa: UP045
#: The options by the names of their parameters. Their order is that of the help.
_OPTIONS: dict[str, tuple[Any, Any]] = {
    "profile": _option(_TEXT, "--profile", "NAME", "Read this section of the profile file."),
    "profile_file": _option(
        _PATH, "--profile-file", "FILE", "The profile file. [~/.config/oauthcc/profiles.ini]"
    ),
    "token_url": _option(_TEXT, "--token-url", "URL", "The token endpoint."),
    "issuer": _option(
        _TEXT, "--issuer", "URL", "The issuer, whose metadata name the token endpoint (RFC 8414)."
    ),
    "client_id": _option(_TEXT, "--client-id", "ID", "The client."),
    "client_secret_file": _option(
        _PATH, "--client-secret-file", "FILE", "The file that contains the secret."
    ),
    "ask_secret": _option(
        bool, "--ask-secret", None, "Ask for the secret, without showing it.", default=False
    ),
    "scope": _option(_TEXT, "--scope", "SCOPE", "The scope, several in quotes."),
    "audience": _option(_TEXT, "--audience", "NAME", "The audience."),
    "resource": _option(_TEXT, "--resource", "URLS", "The resources (RFC 8707)."),
    "client_auth": _option(
        _TEXT, "--client-auth", "METHOD", "The client authentication. [client_secret_basic]"
    ),
    "api_url": _option(_TEXT, "--api-url", "URLS", "The URL prefixes of the API."),
}


def _configuration(values: dict[str, Any]) -> Configuration:
    """Return the configuration in the values of the options."""
    profile, file = values.pop("profile"), values.pop("profile_file")
    is_asked, secret_file = values.pop("ask_secret"), values.pop("client_secret_file")
    if file is not None and profile is None:
        raise typer.BadParameter("--profile-file needs --profile, the name of a section in it.")
    if is_asked and secret_file is not None:
        raise typer.BadParameter("--ask-secret and --client-secret-file exclude each other.")
    given = {name: value for name, value in values.items() if value is not None}
    if "api_url" in given:
        given["api_url"] = re.findall(r"[^\s,]+", given["api_url"])
    if "resource" in given:
        given["resource"] = given["resource"].split()
    if secret_file is not None:
        given["client_secret"] = secret_file
    if is_asked:
        given["client_secret"] = _ask_secret()
    return Configuration(given, profile, file)


def _ask_secret() -> str:
    try:
        with open(_TERMINAL):  # noqa: PTH123 - without one, getpass would read with echo
            pass
        return getpass.getpass("Client secret: ")
    except (OSError, EOFError):
        raise typer.BadParameter(
            "--ask-secret needs a terminal; set OAUTH_CLIENT_SECRET or pass --client-secret-file."
        ) from None


def configured(command: Callable[..., None], *, status: int = 1) -> Callable[..., None]:
    """Return a command that takes the options of a configuration too.

    ``command`` gets a `Configuration` first. If it raises an error of the library, the error is
    written as one line, and the process exits with ``status``.
    """

    @wraps(command)
    def with_configuration(**values: Any) -> None:
        own = {name: values.pop(name) for name in _OPTIONS}
        try:
            with log_shown():
                command(_configuration(own), **values)
        except OAuthCCError as error:
            fail(error, status)

    inspected = inspect.signature(command, eval_str=True)
    theirs = [*inspected.parameters.values()][1:]
    ours = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in _OPTIONS.items()
    ]
    theirs = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in theirs]
    shown: Any = with_configuration
    shown.__signature__ = inspected.replace(parameters=[*theirs, *ours])
    shown.__annotations__ = {each.name: each.annotation for each in (*theirs, *ours)}
    del shown.__wrapped__
    return with_configuration


def fail(error: BaseException | str, status: int) -> NoReturn:
    """Write one line about an error and end the command."""
    write_error(error)
    raise typer.Exit(status)
