"""The configuration of a command: variables, or a profile, and options that win over both.

The programs that ``oauthcc run`` starts import this module, so it does without typer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError, text_of
from ..session import ClientCredentialsSession
from ..settings import Settings, default_profile_file, read_env, read_profile
from ..values import frozen

_NAMES = re.compile(
    r"\b(token_url|issuer|client_id|client_secret_file|client_secret|scope|audience|resource"
    r"|client_auth|api_url)\b"
)


@frozen
class Configuration:
    """What a command line says; what it leaves out is in variables or in a profile."""

    #: Options of a session. The secret is a path, or a text that was asked for.
    given: Mapping[str, Any]
    profile: str | None = None
    profile_file: Path | None = None

    def __repr__(self) -> str:
        """Return no values: a secret may be among them."""
        return f"<{type(self).__name__}>"

    @property
    def place(self) -> str:
        """Return where a missing value belongs."""
        return "the environment" if self.profile is None else f"the profile {self.profile!r}"

    def settings(self, environ: Mapping[str, str] | None = None) -> Settings:
        """Return what is in the variables or in the profile, as it is."""
        if self.profile is None:
            return read_env(environ=environ, given=self.given)
        return read_profile(self.profile, self.profile_file, given=self.given)

    def options(
        self, environ: Mapping[str, str] | None = None, folder: Path | None = None
    ) -> dict[str, Any]:
        """Return the options of a session; raise ConfigurationError for what is missing.

        ``environ`` and ``folder`` are those in which the command was started, by default the
        present ones.
        """
        found = self.settings(environ).options()
        for one, other in (("token_url", "issuer"), ("issuer", "token_url")):
            if one in self.given and other not in self.given:
                found.pop(other, None)
        options = {"token_url": None, **found, **self.given}
        secret = options.get("client_secret")
        if isinstance(secret, Path):  # a program may change its folder
            options["client_secret"] = folder / secret if folder else secret.absolute()
        return options

    def session(
        self,
        environ: Mapping[str, str] | None = None,
        folder: Path | None = None,
        **more: Any,
    ) -> ClientCredentialsSession:
        """Return a session whose secret is there; raise ConfigurationError that says what is wrong.

        The error names variables, options or the profile, as the user has written them.
        """
        options = {**self.options(environ, folder), **more}
        try:
            session = ClientCredentialsSession(options.pop("token_url"), **options)
            session.tokens._config.read_secret()
        except ConfigurationError as error:
            is_file = isinstance(options.get("client_secret"), Path)
            raise ConfigurationError(self.named(error, is_file=is_file)) from None
        return session

    def named(self, error: Exception, *, is_file: bool = False) -> str:
        """Return the text of an error with the names that the user has written."""
        return _NAMES.sub(lambda name: self.written(name[0], is_file=is_file), text_of(error))

    def written(self, key: str, *, is_file: bool = False) -> str:
        """Return how the user writes the name of an option."""
        name = "client_secret_file" if key == "client_secret" and is_file else key
        if key not in self.given:
            return f"OAUTH_{name.upper()}" if self.profile is None else name
        return "secret" if name == "client_secret" else f"--{name.replace('_', '-')}"

    def to_json(self) -> str:
        """Return a text for a process that this one starts."""
        given = {
            name: [str(value.absolute())] if isinstance(value, Path) else value
            for name, value in self.given.items()
        }
        # Its default depends on variables, which the program may change.
        default = None if self.profile is None else default_profile_file()
        file = self.profile_file or default
        return json.dumps([given, self.profile, None if file is None else str(file.absolute())])

    @classmethod
    def from_json(cls, text: str) -> Configuration:
        """Return the configuration in the text of `to_json`."""
        given, profile, file = json.loads(text)
        if isinstance(given.get("client_secret"), list):  # the path of a file
            given["client_secret"] = Path(*given["client_secret"])
        return cls(given, profile, None if file is None else Path(file))
