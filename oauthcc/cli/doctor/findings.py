"""What a diagnosis finds: values, and the one table of their texts.

Rule of this module: everything that comes from outside (a server, a file, a variable) is put into a
text by `Checkup.find`, which hides secrets and tokens in it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from ...errors import text_of
from ...redaction.answer import Redactor
from ...values import frozen
from .texts import TEXTS

OK, WARNING, PROBLEM, SKIPPED = "ok", "warning", "problem", "skipped"
_MAX_TEXT = 600


@frozen
class Finding:
    """The result of one step: what is the case, how that is known, and what to do next."""

    name: str
    status: str
    code: str
    what: str
    how: str
    next: str
    seconds: float


class Report(Protocol):
    """What shows the steps and the findings."""

    def begin(self, name: str) -> None:
        """Show the name of a step that begins."""

    def add(self, finding: Finding) -> None:
        """Show a finding."""


class Checkup:
    """The findings of one run. ``secrets`` must not be in them, in no spelling."""

    def __init__(self, report: Report) -> None:
        self.findings: list[Finding] = []
        self.secrets: list[str] = []
        #: How the user names the settings.
        self.names: dict[str, str] = {}
        #: Returns the text of an error of the library with these names.
        self.named: Callable[[Exception], str] = text_of
        self._report = report
        self._name = ""
        self._began = time.monotonic()

    def begin(self, name: str) -> None:
        """Begin a step: the next findings have its name."""
        self._name, self._began = self.shown(name), time.monotonic()
        self._report.begin(self._name)

    def find(self, code: str, /, **values: object) -> None:
        """Add a finding with the texts of its code, in which these values are put."""
        status, *texts = TEXTS[code]
        shown = {name: self.shown(str(value)) for name, value in {**self.names, **values}.items()}
        what, how, then = (" ".join(text.format(**shown).split()) for text in texts)
        seconds = round(time.monotonic() - self._began, 3)
        found = Finding(self._name, status, code, what, how, then, seconds)
        self.findings.append(found)
        self._report.add(found)

    def skip(self, name: str, reason: str) -> None:
        """Add a step that cannot be done, with the reason."""
        self.begin(name)
        self.find("skipped", reason=reason)

    def shown(self, text: str) -> str:
        """Return a text as it may be shown: short, printable, without secrets and tokens."""
        hide = Redactor(self.secrets, None, None).text
        text = " ".join(hide(text).split())
        text = "".join(c if c.isprintable() else "?" for c in text)
        text = hide(text)  # once more: what was dropped can join the parts of a secret
        return text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + " [...]"

    def count(self, status: str) -> int:
        """Return how many findings have this status."""
        return sum(found.status == status for found in self.findings)
