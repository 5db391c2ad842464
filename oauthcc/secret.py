"""A secret that is a string, comes from a callable, or lies in a file.

A callable is called and a file is read anew for every token request, so that a rotated secret
takes effect without a restart. Nothing here shows a secret: neither a ``repr`` nor an error.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .errors import ConfigurationError, TokenError

#: A secret itself, a callable that gives it, or the path of the file that holds it.
SecretLike = str | Callable[[], str] | os.PathLike[str]

#: More than any secret or key needs; keeps a path like /dev/zero from filling the memory.
MOST_BYTES = 1 << 20
#: RFC 6749 appendix A allows VSCHAR; servers take more, but no one means a control character.
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """Hold where a secret comes from. A pickle of it holds the string, the path or the callable."""

    _source: str | Path | Callable[[], object]
    _what: str

    @classmethod
    def of(cls, value: SecretLike, what: str = "client_secret") -> Secret:
        """Make a secret of a string, a callable without arguments, or a path.

        A string and a file are looked at now, a callable is first called by `read`. ``what`` is
        its name in errors. Raise ConfigurationError where the value cannot be a secret.
        """
        if isinstance(value, str):
            return cls(_fit(value, what), what)
        if isinstance(value, os.PathLike):
            secret = cls(absolute(value), what)
            try:
                secret.read()
            except TokenError as error:
                raise ConfigurationError(str(error)) from error.__cause__
            return secret
        if callable(value):
            return cls(value, what)
        raise ConfigurationError(
            f"The {what} must be a string, a callable that returns one, or a pathlib.Path of the"
            f" file that holds it, not {type(value).__name__}."
        )

    @property
    def changes(self) -> bool:
        """Say whether the next `read` may give something else: True for a callable and a file."""
        return not isinstance(self._source, str)

    def read(self) -> str:
        """Return the secret as it is now, without the line break at the end of a file.

        Raise TokenError where the callable raised or the file cannot be read any more, and
        ConfigurationError where what they gave cannot be a secret.
        """
        if isinstance(self._source, str):
            return self._source
        if isinstance(self._source, Path):
            # Editors on Windows put a byte order mark at the beginning. What is no UTF-8 becomes
            # surrogates, which `_fit` refuses; an exception would hold the content of the file.
            octets = read_file(self._source, self._what)
            value: object = octets.decode("utf-8-sig", "surrogateescape").rstrip("\r\n")
        else:
            value = call(self._source, self._what)
        return _fit(value, f"{self._what} {self._origin}")

    @property
    def _origin(self) -> str:
        return f"in {str(self._source)!r}" if isinstance(self._source, Path) else "from a callable"

    def __repr__(self) -> str:
        shown = "***" if isinstance(self._source, str) else self._origin
        if isinstance(self._source, Path):
            shown = f"file {str(self._source)!r}"
        return f"<Secret {shown}>"


def absolute(path: str | os.PathLike[str]) -> Path:
    """Return a path that still holds after a daemon has changed its working directory."""
    return Path(os.fsdecode(path)).absolute()


def read_file(path: Path, what: str) -> bytes:
    """Read a file that holds a secret or key, named ``what`` in errors.

    Raise TokenError where it cannot be read, and ConfigurationError where it is too large.
    """
    try:
        with path.open("rb") as file:
            octets = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or type(error).__name__
        raise TokenError(f"The {what} in {str(path)!r} cannot be read: {problem}.") from error
    if len(octets) > MOST_BYTES:
        raise ConfigurationError(
            f"{str(path)!r} is larger than {MOST_BYTES} bytes: it must hold the {what} and nothing"
            " else."
        )
    return octets


def call(source: Callable[[], object], what: str) -> object:
    """Call what gives a secret or key; raise TokenError where it raises.

    The message names the type of that exception only, as its text may quote the secret.
    """
    try:
        return source()
    except Exception as error:
        raise TokenError(
            f"The {what} could not be had: its callable raised {type(error).__name__}."
        ) from error


def _fit(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise ConfigurationError(f"The {what} must be a string, not {type(value).__name__}.")
    if not value:
        raise ConfigurationError(f"The {what} is empty.")
    if _UNFIT.search(value):
        raise ConfigurationError(
            f"The {what} holds a control character or is not valid Unicode; where it is a line"
            " break at the end, drop it with .strip()."
        )
    return value
