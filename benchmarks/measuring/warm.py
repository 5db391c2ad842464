"""The CPU time of a request with a valid token, for each case and contender."""

from __future__ import annotations

import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from .cases import CASES, ready
from .contenders import ALL
from .servers import NULL_URL, loopback
from .timing import take_turns


def warm(transport: str, cases: list[str], seconds: float) -> dict[str, Any]:
    """Return the times by case and contender; each case takes this many seconds."""
    found = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        loopback() if transport == "loopback" else nullcontext(NULL_URL) as base,
    ):
        for case in (case for case in CASES if case.name in cases):
            with ready(case, base, list(ALL), Path(folder)) as calls:
                found[case.name] = take_turns(calls, seconds)
    return found
