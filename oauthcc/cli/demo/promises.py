"""What the demo promises, and which of the promises did not hold."""

from __future__ import annotations


class Promises:
    """The sentences that were checked."""

    def __init__(self) -> None:
        self.count: int = 0
        self.broken: list[str] = []

    def check(self, sentence: str, *, holds: bool) -> None:
        """Count a promise, and note it if it did not hold."""
        self.count += 1
        if not holds:
            self.broken.append(sentence)
