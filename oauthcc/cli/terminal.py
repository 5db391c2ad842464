"""What the commands write: lines on standard output, errors and warnings on standard error."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from ..errors import text_of
from ..events import RefusalRemembered, RenewalFailed, log


def write_line(text: str) -> None:
    """Write one line to standard output, exactly as it is, and flush it.

    If that cannot be done, because it is closed or a disk is full, exit with 1.
    """
    if sys.stdout is None:
        _fail_to_write("it is closed")
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:  # its reader wants no more: typer exits with 1
        raise
    except OSError as error:
        sys.stdout = None  # else Python tries once more when it ends
        _fail_to_write(error.strerror)


def _fail_to_write(reason: str | None) -> NoReturn:
    write_error(f"standard output cannot be written: {reason}.")
    sys.exit(1)


def write_error(error: BaseException | str) -> None:
    """Write one line to standard error that begins with the name of the command."""
    text = error if isinstance(error, str) else text_of(error)
    if sys.stderr is not None:
        sys.stderr.write(f"oauthcc: {text}\n")
        sys.stderr.flush()


class _Lines(logging.Handler):
    """A handler that writes what no error says: the command writes that of a failed fetch."""

    def emit(self, record: logging.LogRecord) -> None:
        event = next(iter(record.args or ()), None)
        if not isinstance(event, (RenewalFailed, RefusalRemembered)):
            write_error(record.getMessage())


@contextmanager
def log_shown() -> Iterator[None]:
    """Write what the library logs as a warning to standard error, one line for each record."""
    lines = _Lines(logging.WARNING)
    log.addHandler(lines)
    try:
        yield
    finally:
        log.removeHandler(lines)
