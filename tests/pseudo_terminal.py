"""A command that runs in a terminal of its own, as a person would use it."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import threading
from typing import NamedTuple

import pytest

from .scripts import ROOT

COMMAND = [sys.executable, "-W", "error", "-m", "oauthcc"]


class Ended(NamedTuple):
    """The exit status of a command, and everything that the terminal got."""

    status: int
    output: str


def environment(**variables: str) -> dict[str, str]:
    """Return the variables of this process without those that change what a command writes."""
    left_out = ("OAUTH", "COVERAGE", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "TTY_")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(left_out)}
    return {**kept, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", **variables}


def run_in_terminal(*args: str, columns: int = 80, interrupt_at: str = "", **env: str) -> Ended:
    """Run the command; press Ctrl-C when ``interrupt_at`` is shown. It must end in a minute."""
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    size = struct.pack("HHHH", 40, columns, 0, 0)
    pytest.importorskip("fcntl").ioctl(theirs, pytest.importorskip("termios").TIOCSWINSZ, size)
    process = subprocess.Popen(
        [sys.executable, "-c", _IN_FOREGROUND, *COMMAND, *args],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env=environment(**env),
    )
    os.close(theirs)
    watchdog = threading.Timer(60, process.kill)
    watchdog.start()
    shown = b""
    try:
        while block := _read(ours):
            shown += block
            if interrupt_at and interrupt_at.encode() in shown:
                os.write(ours, b"\x03")
                interrupt_at = ""
        return Ended(process.wait(), shown.decode())
    finally:
        watchdog.cancel()
        os.close(ours)


# The terminal sends Ctrl-C to the process that it controls.
_IN_FOREGROUND = """
import fcntl, os, signal, sys, termios
signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell may have started the tests without it
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux says so when the last process has closed the terminal
        return b""
