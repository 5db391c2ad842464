"""A Python program that ``oauthcc run`` starts: what is told to it, and how it is patched.

The program runs in an interpreter of its own, as it would without ``oauthcc run``. So its
arguments, its ``__main__``, its tracebacks, its signals and its exit status are those that Python
gives to every program. This interpreter imports ``sitecustomize`` when it starts, as every
interpreter does, and finds ours, because the folder ``startup`` comes first in ``PYTHONPATH``. When
the program imports requests, that calls `begin`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Mapping
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from ..errors import OAuthCCError
from ..patching import patch_this_process
from .configuration import Configuration
from .terminal import write_error

STARTUP = Path(__file__).with_name("startup")


def environment_for(
    configuration: Configuration, environ: Mapping[str, str], *, with_subprocesses: bool
) -> dict[str, str]:
    """Return the environment in which a program is patched when it imports requests."""
    before = environ.get("PYTHONPATH")
    if before:  # that of another ``oauthcc run --subprocesses``
        theirs = [each for each in before.split(os.pathsep) if each != str(STARTUP)]
        before = os.pathsep.join(theirs) if theirs else None
    told = {
        "configuration": configuration.to_json(),
        "folder": _current_folder(),
        "library": str(STARTUP.parents[2]),
        "path": before,
        "prefix": sys.prefix,
        "with_subprocesses": with_subprocesses,
    }
    path = f"{STARTUP}{os.pathsep}{before}" if before else str(STARTUP)
    return {**environ, "PYTHONPATH": path, "OAUTHCC_RUN": json.dumps(told)}


def _current_folder() -> str:
    try:
        return str(Path.cwd())
    except FileNotFoundError:  # it was removed, so there is no file for a relative path
        return os.sep


def begin(told: Mapping[str, Any]) -> None:
    """Patch this process as it was told; end it with status 2 if that is impossible."""
    configuration = Configuration.from_json(told["configuration"])
    try:
        session = configuration.session(environ=told["environ"], folder=Path(told["folder"]))
        patch_this_process(session)
    except OAuthCCError as error:
        write_error(error)
        os._exit(2)


def missing_module(name: str) -> str:
    """Return the part of a dotted name that cannot be found, "" if there is none.

    Nothing is imported. The current folder counts, as it does for ``python -m``.
    """
    before, path = list(sys.path), None
    sys.path.insert(0, str(Path.cwd()))
    try:
        parts = name.split(".")
        for count in range(1, len(parts) + 1):
            part = ".".join(parts[:count])
            spec = _spec(part, path)
            if spec is None:
                return part
            path = spec.submodule_search_locations
    finally:
        sys.path[:] = before
    return ""


def _spec(name: str, path: Any) -> ModuleSpec | None:
    if "." not in name:
        return importlib.util.find_spec(name)
    finders = sys.meta_path if path is not None else ()  # else what is above is no package
    return next(filter(None, (finder.find_spec(name, path) for finder in finders)), None)
