"""A secret that is a string, comes from a callable, or is in a file.

A callable is called and a file is read again for every token request, so that a rotated secret
takes effect without a restart. After a refusal that may be due to it, it is read once more
(``token_request/endpoint.py``). No ``repr`` and no error shows a secret.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from .errors import ConfigurationError, TokenError
from .values import frozen

T = TypeVar("T")

#: A secret itself, a callable that returns it, or the path of the file that holds it.
SecretLike = str | Callable[[], str] | os.PathLike[str]

#: The largest file that is read. No secret or key needs more, and /dev/zero never ends.
MAX_BYTES = 1 << 20
# RFC 6749 appendix A allows VSCHAR only. Servers accept more, but no control characters.
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

_STRIP = " If that is a line break at the end, drop it with .strip()."


@frozen
class Secret:
    """The source of a secret. A pickle holds the string, the path or the callable."""

    _source: str | Path | Callable[[], object]
    _what: str

    @classmethod
    def of(cls, value: SecretLike, what: str = "client_secret") -> Secret:
        """Create a secret from a string, a callable without arguments, or a path.

        A string and a file are checked now. A callable is not called before `read`. ``what`` is
        the name of the secret in errors. Raise ConfigurationError if the value cannot be a secret.
        """
        if isinstance(value, str):
            return cls(check_text(value, what, _STRIP), what)
        if isinstance(value, os.PathLike):
            secret = cls(absolute(value), what)
            at_construction(secret.read)
            return secret
        if callable(value):
            return cls(value, what)
        raise ConfigurationError(
            f"The {what} must be a string, a callable that returns one, or a pathlib.Path of the"
            f" file that holds it, not {type(value).__name__}."
        )

    @property
    def changes(self) -> bool:
        """Return whether the next `read` may differ: True for a callable and a file."""
        return not isinstance(self._source, str)

    def read(self) -> str:
        """Return the current secret, without the line break at the end of a file.

        Raise TokenError if the callable raises or the file cannot be read any more. Raise
        ConfigurationError if the callable or the file gives something that cannot be a secret.
        """
        if isinstance(self._source, str):
            return self._source
        value = read_source(self._source, self._what)
        if isinstance(self._source, Path) and isinstance(value, bytes):
            # Editors on Windows write a byte order mark at the beginning. Invalid UTF-8 becomes
            # surrogates, which `check_text` refuses: a UnicodeDecodeError would hold the secret.
            value = value.decode("utf-8-sig", "surrogateescape").rstrip("\r\n")
        # The end of a file was stripped above.
        advice = "" if isinstance(self._source, Path) else _STRIP
        return check_text(value, f"{self._what} {self._origin}", advice)

    @property
    def _origin(self) -> str:
        if isinstance(self._source, Path):
            return f"in {str(self._source)!r}"
        return "from a string" if isinstance(self._source, str) else "from a callable"

    def __repr__(self) -> str:
        return f"<Secret {self._origin}>"


def absolute(path: str | os.PathLike[str]) -> Path:
    """Return an absolute path: a daemon may change its working directory later.

    Raise ConfigurationError if the working directory was deleted.
    """
    try:
        return Path(os.fsdecode(path)).absolute()
    except OSError as error:
        raise ConfigurationError(
            f"{os.fsdecode(path)!r} is a relative path, and there is no working directory: write"
            " the whole path."
        ) from error


def at_construction(read: Callable[[], T]) -> T:
    """Call a function that reads a secret or key; raise its TokenError as ConfigurationError."""
    try:
        return read()
    except TokenError as error:
        raise ConfigurationError(str(error)) from error.__cause__


def read_source(source: object, what: str) -> object:
    """Return the content of a file, the result of a callable, or any other value unchanged.

    ``what`` is the name of the secret or key in errors. Raise TokenError if the file cannot be
    read or the callable raises, and ConfigurationError if the file is too large.
    """
    if isinstance(source, Path):
        return read_file(source, what)
    if not callable(source):
        return source
    try:
        return source()
    except Exception as error:
        # Only the type: the message of the exception may quote the secret.
        raise TokenError(
            f"The {what} could not be read: its callable raised {type(error).__name__}."
        ) from error


def read_file(path: Path, what: str) -> bytes:
    """Read a file that holds a secret or key, which errors call ``what``.

    Raise TokenError if it cannot be read, and ConfigurationError if it is too large.
    """
    try:
        with path.open("rb") as file:
            octets = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or type(error).__name__
        raise TokenError(f"The {what} in {str(path)!r} cannot be read: {problem}.") from error
    if len(octets) > MAX_BYTES:
        raise ConfigurationError(
            f"{str(path)!r} is larger than {MAX_BYTES} bytes: it must hold the {what} and nothing"
            " else."
        )
    return octets


def check_text(value: object, what: str, advice: str = "") -> str:
    """Return a text that can be a secret; raise ConfigurationError if it cannot be one.

    ``what`` is its name in the error.
    """
    if not isinstance(value, str):
        raise ConfigurationError(f"The {what} must be a string, not {type(value).__name__}.")
    if not value:
        raise ConfigurationError(f"The {what} is empty.")
    if _UNFIT.search(value):
        raise ConfigurationError(
            f"The {what} holds a control character or is not valid Unicode.{advice}"
        )
    return value
