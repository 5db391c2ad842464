"""The number of instructions of a warm call and of an import, which no other load changes.

They are counted by the processor if the machine offers it (`perf_event_open`), else by valgrind,
else not at all. valgrind counts whole processes, so a process is forked for N and for 2N calls, and
the difference is the cost of N calls.
"""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import re
import shutil
import struct
import sys
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from . import children
from .cases import CASES, ready
from .contenders import ALL
from .servers import NULL_URL, loopback

WARM_UP, CALLS = 4, 16
#: The calls of a plain session read the whole file.
CALLS_WITH_NETRC = 4
_SYSTEM_CALL = {"x86_64": 298, "aarch64": 241}
#: perf_event_attr: a hardware event, 112 bytes, instructions, disabled at first, user mode only.
_ATTRIBUTES = struct.pack("IIQQQQQ", 0, 112, 1, 0, 0, 0, 1 | 1 << 5 | 1 << 6).ljust(112, b"\0")
_ENABLE, _DISABLE, _RESET = 0x2400, 0x2401, 0x2403
_COUNTED = re.compile(r"I\s+refs:\s+([\d,]+)")


class Counter:
    """The counter of the processor for this thread."""

    def __init__(self) -> None:
        """Open the counter; raise OSError if there is none, or if it may not be used."""
        number = _SYSTEM_CALL.get(platform.machine())
        if sys.platform != "linux" or number is None:
            raise OSError("no perf_event_open")
        self._c = ctypes.CDLL(None, use_errno=True)
        self._file = self._c.syscall(number, _ATTRIBUTES, 0, -1, -1, 0)
        if self._file < 0:
            raise OSError(ctypes.get_errno(), "perf_event_open")

    def count(self, work: Callable[[], Any]) -> int:
        """Return the number of instructions of some work."""
        self._c.ioctl(self._file, _RESET, 0)
        self._c.ioctl(self._file, _ENABLE, 0)
        work()
        self._c.ioctl(self._file, _DISABLE, 0)
        return int.from_bytes(os.read(self._file, 8), sys.byteorder)


def method() -> str | None:
    """Return how instructions can be counted here: "perf", "valgrind" or None."""
    try:
        Counter()
    except OSError:
        return "valgrind" if shutil.which("valgrind") else None
    return "perf"


def warm(names: list[str], cases: list[str], transport: str) -> dict[str, dict[str, int]]:
    """Return the instructions of a call by case and contender, measured in another process."""
    with loopback() if transport == "loopback" else nullcontext(NULL_URL) as base:
        if method() == "perf":
            found: dict[str, dict[str, int]] = children.call(
                with_perf, names, cases, base, variables={"PYTHONHASHSEED": "0"}
            )
            return found
        with tempfile.TemporaryDirectory() as folder:
            logs = children.call(
                forked,
                names,
                cases,
                base,
                prefix=valgrind(folder),
                variables={"PYTHONHASHSEED": "0"},
                timeout=600,
            )
            return {
                case: {name: _difference(Path(folder), log) for name, log in by_name.items()}
                for case, by_name in logs.items()
            }


def valgrind(folder: str) -> list[str]:
    """Return the command that counts, with one log for each process in this folder."""
    # Of the tools that count, this one is the fastest if it simulates no cache.
    options = ["--cache-sim=no", "--cachegrind-out-file=/dev/null", f"--log-file={folder}/%p"]
    return ["valgrind", "--tool=cachegrind", *options]


def counted(log: Path) -> int:
    """Return the number of instructions in a log of valgrind."""
    found = _COUNTED.search(log.read_text())
    assert found is not None, log.read_text()
    return int(found[1].replace(",", ""))


def _difference(folder: Path, log: dict[str, Any]) -> int:
    once, twice = (counted(folder / str(process)) for process in log["processes"])
    return round((twice - once) / log["calls"])


def with_perf(names: list[str], cases: list[str], base: str) -> dict[str, dict[str, int]]:
    """Count with the processor."""
    counter = Counter()

    def measured(call: Callable[[], Any], calls: int) -> int:
        _repeat(call, WARM_UP)
        once = counter.count(lambda: _repeat(call, calls))
        return (counter.count(lambda: _repeat(call, 2 * calls)) - once) // calls

    return _by_case(names, cases, base, measured)


def forked(names: list[str], cases: list[str], base: str) -> dict[str, Any]:
    """Fork a process for N and for 2N calls, and return the numbers of the processes."""

    def measured(call: Callable[[], Any], calls: int) -> dict[str, Any]:
        return {"calls": calls, "processes": [_fork(call, calls), _fork(call, 2 * calls)]}

    return _by_case(names, cases, base, measured)


def _by_case(
    names: list[str], cases: list[str], base: str, measure: Callable[..., Any]
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            if case.name in cases:
                calls = CALLS_WITH_NETRC if case.netrc else CALLS
                taken = [name for name in names if name in ALL]
                with ready(case, base, taken, Path(folder)) as ways:
                    gc.collect()
                    gc.freeze()
                    found[case.name] = {name: measure(way, calls) for name, way in ways.items()}
    return found


def _fork(call: Callable[[], Any], calls: int) -> int:
    process = os.fork()
    if not process:
        _repeat(call, WARM_UP + calls)
        os._exit(0)
    assert os.waitpid(process, 0)[1] == 0
    return process


def _repeat(call: Callable[[], Any], count: int) -> None:
    for _ in range(count):
        call()
