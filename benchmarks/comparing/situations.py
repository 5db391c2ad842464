"""All situations, in the order of the table: importing a module enters its own."""

from __future__ import annotations

from . import counts, errors, leaks, replays  # noqa: F401 - the order is that of the table
from .observing import SITUATIONS, Situation

__all__ = ["SITUATIONS", "Situation"]
