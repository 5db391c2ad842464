"""The options of a session from environment variables or a profile file.

The values are checked where they are used, not here. Messages name variables, keys and files, but
never a value: a secret may stand in the wrong line.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from .errors import ConfigurationError
from .events import is_first, log
from .secret import check_text
from .values import frozen

if TYPE_CHECKING:
    import configparser

_PLAIN = ("token_url", "issuer", "client_id", "client_secret", "scope", "audience", "client_auth")
_KEYS = (*_PLAIN, "client_secret_file", "api_url", "resource")
#: Two ways to give the same thing.
_EITHER = (("token_url", "issuer"), ("client_secret", "client_secret_file"))
_POSIX = os.name == "posix"
_READABLE_BY_OTHERS = 0o044


def options_from_env(
    prefix: str = "OAUTH_",
    environ: Mapping[str, str] | None = None,
    *,
    given: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """Return the options of a session from the variables that `from_env` explains.

    An empty variable counts as not set. Commas alone give an empty list, which the session refuses.
    A line break at the end of the secret is left out, with a warning in the log. Variables with
    other names are ignored, with a warning if one looks like a misspelled name. `environ` replaces
    `os.environ`. `given` are the options that are given in code, and not needed here.

    The possible keys of the result are token_url, issuer, client_id, client_secret (a string or a
    `Path`), scope, audience, client_auth (strings), api_url and resource (lists of strings). Raise
    one ConfigurationError that names everything that is missing or given twice.
    """
    return read_env(prefix, environ, given=given).options()


def read_env(
    prefix: str = "OAUTH_",
    environ: Mapping[str, str] | None = None,
    *,
    given: Mapping[str, Any] = MappingProxyType({}),
) -> Settings:
    """Return the values of the variables as they are; arguments as in `options_from_env`."""
    environ = os.environ if environ is None else environ
    found = {key: environ.get(prefix + key.upper(), "") for key in _KEYS}
    misspelled = tuple(_misspelled(environ, prefix, found))
    return Settings(found, "the environment", Path(), given, prefix, misspelled)


def options_from_profile(
    name: str,
    path: str | os.PathLike[str] | None = None,
    *,
    given: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """Return the options of a session from a section of an INI file.

    The keys are the names of the environment variables in lower case, without the prefix. The
    section `[DEFAULT]` is for all profiles. A relative `client_secret_file` starts at the folder of
    the file. If `path` is None, the file is `oauthcc/profiles.ini` in `$XDG_CONFIG_HOME` or in
    `~/.config`.

    The result and the errors are those of `options_from_env`. Also raise ConfigurationError if the
    file cannot be read, if it has no such profile, if the profile has an unknown key, or if other
    users can read the file and it holds a `client_secret`.
    """
    return read_profile(name, path, given=given).options()


def read_profile(
    name: str,
    path: str | os.PathLike[str] | None = None,
    *,
    given: Mapping[str, Any] = MappingProxyType({}),
) -> Settings:
    """Return the values of a profile as they are; arguments and errors as above."""
    file = default_profile_file() if path is None else Path(path)
    parser = _parse(file)
    where = f"profile {name!r} in {file}"
    if not parser.has_section(name):
        names = ", ".join(parser.sections()) or "none"
        raise ConfigurationError(f"There is no {where}: add [{name}]. The file has: {names}")
    found = dict(parser[name])
    if not found.keys() <= set(_KEYS):  # not shown: a part of a broken secret may look like a key
        raise ConfigurationError(f"Unknown key in {where}. Known keys: {', '.join(_KEYS)}")
    return Settings(found, where, file.parent, given)


@frozen
class Settings:
    """Strings by key, with the place they come from and the prefix of their names in messages."""

    found: Mapping[str, str]
    where: str
    folder: Path
    given: Mapping[str, Any]  # in code
    prefix: str | None = None
    #: The variables that are not known, with what each probably means.
    misspelled: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        """Return no values: a secret may be among them."""
        return f"<{type(self).__name__} of {self.where}>"

    @property
    def hints(self) -> str:
        """Return what a message says about misspelled variables."""
        return "; ".join(f"{one} is not known, is {near} meant?" for one, near in self.misspelled)

    def options(self) -> dict[str, Any]:
        """Return the options of a session; raise as `options_from_env`."""
        self.check()
        if self.hints:
            self.warn(self.hints)
        options: dict[str, Any] = {key: self.get(key) for key in _PLAIN if self.get(key)}
        if secret := options.get("client_secret"):
            options["client_secret"] = self.secret(secret)
        if file := self.get("client_secret_file"):
            # Path.expanduser would raise for an unknown ~user.
            options["client_secret"] = self.folder / os.path.expanduser(file)  # noqa: PTH111
        if self.found.get("api_url"):  # an empty list is an error of the session
            options["api_url"] = re.findall(r"[^\s,]+", self.get("api_url"))
        if resources := self.get("resource").split():
            options["resource"] = resources
        return options

    def get(self, key: str) -> str:
        """Return a value without surrounding spaces. In a secret, they may belong to it."""
        value = self.found.get(key, "")
        return value if key == "client_secret" and value.strip() else value.strip()

    def secret(self, value: str) -> str:
        """Return the secret without a line break at its end, as if it were in a file."""
        name, stripped = self.shown("client_secret"), value.rstrip("\r\n")
        if stripped != value:
            self.warn(f"the line break at the end of {name} was left out")
        return check_text(stripped, f"{name} in {self.where}")

    def warn(self, text: str) -> None:
        """Write a warning to the log, once."""
        if is_first((self.where, text)):
            log.warning("In %s: %s", self.where, text)

    def check(self) -> None:
        """Raise one ConfigurationError for everything that is missing or given twice."""
        method = self.get("client_auth")
        needs_secret = not method or method.startswith("client_secret_")
        if self.given.get("client_auth") is not None:
            needs_secret = False  # the session knows
        problems = (
            self.problem("token_url", "issuer", example="https://as.example/token"),
            self.problem("client_id", example="my-id"),
            self.problem(
                "client_secret_file",
                "client_secret",
                example="/run/secrets/my-id" if needs_secret else None,
            ),
        )
        if any(problems):
            texts = filter(None, (*problems, self.hints))
            raise ConfigurationError(f"In {self.where}: {'; '.join(texts)}")

    def problem(self, *keys: str, example: str | None) -> str:
        """Return "" if exactly one of the keys has a value (without example: at most one)."""
        names = " or ".join(map(self.shown, keys))
        count = sum(bool(self.get(key)) for key in keys)
        if count > 1:
            return f"{names}, not both"
        if count or example is None or any(self.given.get(key) is not None for key in keys):
            return ""
        return f"{names} is missing, set it as in {self.shown(keys[0])}={example}"

    def shown(self, key: str) -> str:
        """Return the name of a key in messages."""
        return key if self.prefix is None else self.prefix + key.upper()


def _misspelled(
    environ: Mapping[str, str], prefix: str, found: Mapping[str, str]
) -> list[tuple[str, str]]:
    """Return the variables that look like misspelled names of those that are not set."""
    from difflib import get_close_matches  # its import takes long, and few sessions need it

    others = {key: other for pair in _EITHER for key, other in (pair, pair[::-1])}
    missing = [
        prefix + key.upper() for key in _KEYS if not (found[key] or found.get(others.get(key, "")))
    ]
    known = {prefix + key.upper() for key in _KEYS}
    hints = []
    for name in environ:
        if prefix and name.upper().startswith(prefix.upper()) and name not in known:
            # With the prefix left out, which would make all names similar.
            rest = [each[len(prefix) :] for each in missing]
            near = get_close_matches(name[len(prefix) :].upper(), rest, n=1, cutoff=0.8)
            hints += [(name, prefix + each) for each in near]
    return sorted(hints)


def default_profile_file() -> Path:
    """Return the path of the profile file by the XDG base directory specification."""
    folder = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    if not folder.is_absolute():  # the specification says to ignore it
        folder = Path(os.path.expanduser("~/.config"))  # noqa: PTH111 - never raises
    return folder / "oauthcc" / "profiles.ini"


def _parse(file: Path) -> configparser.ConfigParser:
    """Read an INI file without interpolation; raise ConfigurationError if that fails."""
    import configparser

    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",))
    fault, mode = "", 0
    try:
        with file.open(encoding="utf-8-sig") as text:
            mode = os.fstat(text.fileno()).st_mode
            parser.read_file(text)
    except OSError as error:
        fault = error.strerror or "input/output error"
    except configparser.Error as error:
        fault = f"not an INI file ({type(error).__name__})"
    except UnicodeDecodeError:
        fault = "not in UTF-8"
    # Not raised inside the `except` blocks: those errors quote lines of the file.
    if fault:
        raise ConfigurationError(f"The profile file {file} cannot be read: {fault}")
    # A section also contains the keys of [DEFAULT].
    sections = [parser[name] for name in parser.sections()]
    if _POSIX and mode & _READABLE_BY_OTHERS and any(s.get("client_secret") for s in sections):
        advice = "run chmod 600 on it, or write client_secret_file instead"
        raise ConfigurationError(f"Other users can read the client_secret in {file}: {advice}")
    return parser
