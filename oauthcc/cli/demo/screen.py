"""Where the demo writes: a terminal, or a pipe that gets the same lines without colors."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext

from rich.console import Console, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.text import Text

#: What is drawn if the encoding of the output has no lines and bars.
_IN_ASCII = str.maketrans("│├┤┼─▶◀━▼▁▂▃▄▅▆▇█·", "||||-><=v12345678.")


class Screen:
    """Titles, sentences and drawings on standard output."""

    def __init__(self, console: Console | None = None, *, is_live: bool | None = None) -> None:
        """Create it; ``is_live`` says whether lines may be drawn anew (None: on a terminal)."""
        self._console = Console(highlight=False) if console is None else console
        if is_live is None:
            # Not `is_terminal`, which FORCE_COLOR makes true in a pipe.
            is_live = sys.stdout.isatty() and self._console.is_interactive
        self._is_live = is_live
        self._has_lines = self._console.encoding.lower().startswith("utf")

    @property
    def width(self) -> int:
        """Return the number of columns."""
        return self._console.width

    def title(self, text: str) -> None:
        """Write a line that begins a part."""
        self._wrapped(Text(text, style="bold"), 0)

    def say(self, text: str, *, indent: int = 2) -> None:
        """Write a sentence about what is seen."""
        self._wrapped(Text(text), indent)

    def space(self) -> None:
        """Write an empty line."""
        self._console.print()

    def draw(self, text: str, style: str = "") -> None:
        """Write a line of a drawing."""
        self._console.print(self.drawn(text, style), soft_wrap=not self._console.is_terminal)

    def drawn(self, text: str, style: str = "") -> Text:
        """Return a line of a drawing, in the characters that the output has."""
        shown = text if self._has_lines else text.translate(_IN_ASCII)
        return Text(shown, style=style, no_wrap=True, overflow="crop")

    def live(self) -> AbstractContextManager[Live | None]:
        """Return what draws lines anew, for a `with` block; it gives None if nothing can."""
        if not self._is_live:
            return nullcontext()
        return Live(console=self._console, auto_refresh=False)

    def _wrapped(self, text: Text, indent: int) -> None:
        line: RenderableType = Padding(text, (0, 0, 0, indent))
        if not self._console.is_terminal:  # a line of a log is one sentence
            line = Text(" " * indent) + text
        self._console.print(line, soft_wrap=not self._console.is_terminal)
