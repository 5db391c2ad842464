"""The three ways to show a diagnosis: on a terminal, as plain lines, as one JSON document."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ... import __version__
from ..terminal import write_line
from .findings import OK, PROBLEM, SKIPPED, WARNING, Checkup, Finding

_STYLES = {OK: "green", WARNING: "yellow", PROBLEM: "bold red", SKIPPED: "dim"}
_WIDTH = 9


def _lines(found: Finding) -> list[str]:
    """Return the texts of a finding, the first of which has its name and its code."""
    code = "" if found.status in (OK, SKIPPED) else f" [{found.code}]"
    more = [("How it knows: ", found.how), ("Next: ", found.next)]
    return [f"{found.name}: {found.what}{code}", *(name + text for name, text in more if text)]


def _summary(checkup: Checkup) -> str:
    problems, warnings = checkup.count(PROBLEM), checkup.count(WARNING)
    said = "Something is wrong" if problems else "All is well"
    return f"{said}: {_number(problems, 'problem')}, {_number(warnings, 'warning')}."


def _number(count: int, noun: str) -> str:
    return f"{count or 'no'} {noun}{'' if count == 1 else 's'}"


class PlainReport:
    """Lines for a pipe or a file: no colour, and no line is wrapped."""

    def begin(self, name: str) -> None:
        """Show nothing yet."""

    def close(self) -> None:
        """Show nothing more."""

    def add(self, finding: Finding) -> None:
        """Write the lines of a finding."""
        first, *more = _lines(finding)
        for status, line in ((finding.status, first), *(("", each) for each in more)):
            self._write(f"{status:{_WIDTH}}{line}")

    def end(self, checkup: Checkup, configuration: Mapping[str, Any]) -> None:
        """Write the summary."""
        self._write(_summary(checkup))

    def _write(self, line: str) -> None:
        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        write_line(line.encode(encoding, "replace").decode(encoding))


class JSONReport(PlainReport):
    """One JSON document at the end."""

    def add(self, finding: Finding) -> None:
        """Show nothing yet: the document contains it."""

    def end(self, checkup: Checkup, configuration: Mapping[str, Any]) -> None:
        """Write the document."""
        names = ("name", "status", "code", "what", "how", "next", "seconds")
        document = {
            "ok": not checkup.count(PROBLEM),
            "version": __version__,
            "configuration": configuration,
            "checks": [{n: getattr(found, n) for n in names} for found in checkup.findings],
            "counts": {status: checkup.count(status) for status in _STYLES},
        }
        write_line(json.dumps(document, indent=2))


class LiveReport:
    """A checklist on a terminal, with the step that is being done as its last line."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status = console.status("", spinner="line")

    def begin(self, name: str) -> None:
        """Show the step that begins."""
        self._status.update(Text(self._encoded(f"{name} ...")))
        self._status.start()

    def close(self) -> None:
        """Remove the last line."""
        self._status.stop()

    def add(self, finding: Finding) -> None:
        """Print a finding above the last line."""
        first, *more = (Text(self._encoded(line)) for line in _lines(finding))
        first.stylize("bold", 0, len(finding.name))
        table = Table.grid()
        table.add_column(width=_WIDTH)
        table.add_column(overflow="fold")
        table.add_row(Text(finding.status, _STYLES[finding.status]), first)
        for line in more:
            table.add_row("", line)
        self._console.print(table)

    def end(self, checkup: Checkup, configuration: Mapping[str, Any]) -> None:
        """Print the summary."""
        style = _STYLES[PROBLEM if checkup.count(PROBLEM) else OK]
        self._console.print(Text(_summary(checkup), style))

    def _encoded(self, text: str) -> str:
        return text.encode(self._console.encoding, "replace").decode(self._console.encoding)


def report_for(*, as_json: bool) -> PlainReport | LiveReport:
    """Return the report that fits to standard output."""
    if as_json:
        return JSONReport()
    # Not by rich: with FORCE_COLOR, it takes a pipe for a terminal.
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    return LiveReport(Console(highlight=False)) if is_terminal else PlainReport()
