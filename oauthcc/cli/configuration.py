"""The configuration of a command: variables, or a profile, and options that win over both.

The programs that ``oauthcc run`` starts import this module, so it does without typer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError
from ..session import ClientCredentialsSession
from ..settings import default_profile_file, options_from_env, options_from_profile
from ..values import frozen

_NAMES = re.compile(
    r"\b(token_url|issuer|client_id|client_secret_file|client_secret|scope|audience|resource"
    r"|client_auth|api_url)\b"
)


@frozen
class Configuration:
    """What a command line says; what it leaves out is in variables or in a profile."""

    #: Options of a session. A secret among them was asked for.
    given: Mapping[str, Any]
    secret_file: Path | None = None
    profile: str | None = None
    profile_file: Path | None = None

    def __repr__(self) -> str:
        """Return no values: a secret may be among them."""
        return f"<{type(self).__name__}>"

    def options(
        self, environ: Mapping[str, str] | None = None, folder: Path | None = None
    ) -> dict[str, Any]:
        """Return the options of a session; raise ConfigurationError for what is missing.

        ``environ`` and ``folder`` are those in which the command was started, by default the
        present ones.
        """
        given = dict(self.given)
        if self.secret_file is not None:
            given["client_secret"] = self.secret_file
        if self.profile is None:
            found = options_from_env(environ=environ, given=given)
        else:
            found = options_from_profile(self.profile, self.profile_file, given=given)
        for one, other in (("token_url", "issuer"), ("issuer", "token_url")):
            if one in given and other not in given:
                found.pop(other, None)
        options = {"token_url": None, **found, **given}
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
            text = _NAMES.sub(lambda name: self.written(name[0], is_file=is_file), str(error))
            raise ConfigurationError(text) from None
        return session

    def written(self, key: str, *, is_file: bool = False) -> str:
        """Return how the user writes the name of an option."""
        if key == "client_secret" and key in self.given:
            return "the secret"
        name = "client_secret_file" if key == "client_secret" and is_file else key
        if name in self.given or (name == "client_secret_file" and self.secret_file is not None):
            return "--" + name.replace("_", "-")
        return f"OAUTH_{name.upper()}" if self.profile is None else name

    def to_json(self) -> str:
        """Return a text for a process that this one starts."""
        # Its default depends on variables, which the program may change.
        default = None if self.profile is None else default_profile_file()
        paths = (self.secret_file, self.profile_file or default)
        absolute = [None if path is None else str(path.absolute()) for path in paths]
        return json.dumps([dict(self.given), absolute[0], self.profile, absolute[1]])

    @classmethod
    def from_json(cls, text: str) -> Configuration:
        """Return the configuration in the text of `to_json`."""
        given, secret_file, profile, profile_file = json.loads(text)
        paths = [None if path is None else Path(path) for path in (secret_file, profile_file)]
        return cls(given, paths[0], profile, paths[1])
