"""Functions of this folder that run in another process, with the same environment everywhere.

The environment has 30 variables. None of them names a proxy, a CA file or a netrc file, and the
home folder is empty.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

BENCHMARKS = Path(__file__).resolve().parent.parent
VARIABLES = 30
_KEPT = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT")


def environment(home: str, **more: str) -> dict[str, str]:
    """Return the environment of a process that measures."""
    found = {name: os.environ[name] for name in _KEPT if name in os.environ}
    found |= {"HOME": home, "PYTHONPATH": f"{BENCHMARKS.parent}{os.pathsep}{BENCHMARKS}", **more}
    return found | fillers(VARIABLES - len(found))


def fillers(count: int) -> dict[str, str]:
    """Return this number of variables that nobody reads."""
    return {f"SERVICE_{number:04}_ADDRESS": f"tcp://10.0.0.1:{number}" for number in range(count)}


def call(
    function: Callable[..., Any],
    *arguments: Any,
    prefix: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
    timeout: float = 300.0,
) -> Any:
    """Call a function with JSON values in another process, and return its JSON value."""
    with tempfile.TemporaryDirectory() as home:
        what = [function.__module__, function.__qualname__, json.dumps(arguments)]
        done = subprocess.run(  # noqa: S603 - it runs this file
            [*prefix, sys.executable, "-m", "measuring.children", *what],
            env=environment(home, **(variables or {})),
            stdout=subprocess.PIPE,
            text=True,
            timeout=timeout,
            check=True,
        )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Call the function that the arguments name, and print its value."""
    module, name, arguments = sys.argv[1:]
    warnings.simplefilter("ignore")
    logging.getLogger().addHandler(logging.NullHandler())
    function = getattr(importlib.import_module(module), name)
    print(json.dumps(function(*json.loads(arguments))))


if __name__ == "__main__":
    main()
