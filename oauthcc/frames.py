"""The frames of errors, without secrets, keys and tokens in their local variables.

Crash reporters send the local variables of all frames of an exception, of all exceptions that it
refers to, and of what called them. Rules of this library:

- An error that is kept, or that several callers raise, has no frames: `without_frames`.
- A public function that gets a secret, or data that contains a token, is decorated with
  `hide_locals`. An error in it keeps its frames, with the files and lines that a traceback shows,
  but `clear_frames` removes their local variables.
- What is called only within a fetch needs none of this, because the errors of a fetch are kept.

The local variables of the callers of such a function are not ours.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import traceback
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, TypeVar, cast

E = TypeVar("E", bound=BaseException)
F = TypeVar("F", bound=Callable[..., Any])

# CO_GENERATOR, CO_COROUTINE and CO_ASYNC_GENERATOR of `inspect`, whose import takes long.
_GENERATORS = 0x20 | 0x80 | 0x200
_PACKAGE = __name__.partition(".")[0]


def without_frames(error: E, handled: BaseException | None = None) -> E:
    """Return an error after it, and all exceptions that it refers to, have lost their frames.

    ``handled`` is the exception that a caller handles at this time. It belongs to that caller, so
    it is left as it is, and the error no longer refers to it as a context.
    """
    for one in _all_of(error, handled):
        if isinstance(one, TracebackType):
            _clear(one, None)
            continue
        # Not by assignment: an exception that is a frozen dataclass forbids that.
        BaseException.with_traceback(one, None)
        if handled is not None and one.__context__ is handled:
            object.__setattr__(one, "__context__", None)
    return error


def clear_frames(
    error: BaseException,
    handled: BaseException | None = None,
    *,
    packages: Collection[str] | None = None,
) -> None:
    """Remove the local variables from all frames of an error and of what it refers to.

    The frames themselves stay, so a traceback looks as before. Frames that are still in use are
    left as they are. ``handled`` is the exception that a caller handles at this time, which is left
    as it is too. ``packages`` are the top-level packages whose frames are meant (None: all).
    """
    for one in _all_of(error, handled):
        _clear(one if isinstance(one, TracebackType) else one.__traceback__, packages)


def raised_at(error: BaseException) -> str:
    """Return the name of the file and the line in which an error was raised."""
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    return f"{Path(frame.f_code.co_filename).name}, line {line}"


def hide_locals(function: F) -> F:
    """Decorate a function so that an error in it shows neither arguments nor local variables.

    Also those of everything that the function called. Of a class, ``__init__`` is decorated.
    """
    if isinstance(function, type):
        decorated: Any = function
        decorated.__init__ = hide_locals(decorated.__init__)
        return function

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        handled = sys.exc_info()[1]
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            clear_frames(error, handled)
            del args, kwargs, handled
            raise

    return cast("F", call)


def _all_of(
    error: BaseException, handled: BaseException | None
) -> Iterator[BaseException | TracebackType]:
    """Yield an error, and all exceptions and tracebacks that it refers to, each once.

    These are its cause and its context, the members of a group, and what is in its arguments and
    attributes.
    """
    waiting: list[Any] = [error]
    # With the objects themselves: the number of an object that is gone may be used again.
    seen: dict[int, object] = {id(handled): handled}
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen[id(one)] = one
        if isinstance(one, BaseException):
            yield one
            waiting += [one.__cause__, one.__context__, one.args, vars(one)]
            with contextlib.suppress(Exception):  # a property of a foreign class may raise anything
                # Of an `ExceptionGroup`, also that of the package exceptiongroup.
                waiting.append(getattr(one, "exceptions", None))
        elif isinstance(one, TracebackType):
            yield one
        elif isinstance(one, dict):
            waiting.extend(list(one.values()))
        elif isinstance(one, (list, tuple, set, frozenset)):
            waiting.extend(list(one))


def _clear(trace: TracebackType | None, packages: Collection[str] | None) -> None:
    """Clear the frames of a traceback, and those that called them as far as they have ended."""
    done: set[FrameType] = set()
    for inner, _ in traceback.walk_tb(trace):
        frame: FrameType | None = inner
        while frame is not None and frame not in done:
            done.add(frame)
            package = str(frame.f_globals.get("__name__")).partition(".")[0]
            # A generator of others may only be suspended, and clearing its frame would close it.
            is_kept = frame.f_code.co_flags & _GENERATORS and package != _PACKAGE
            if not is_kept and (packages is None or package in packages):
                try:
                    frame.clear()
                except RuntimeError:  # the function has not ended
                    break
            frame = frame.f_back
