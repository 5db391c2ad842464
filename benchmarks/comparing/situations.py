"""All situations in the order of the table; importing a module adds its situations."""

# ruff: noqa: F401, I001 - the order is that of the table

from __future__ import annotations

from . import counts
from . import replays
from . import leaks
from . import errors
from .observing import SITUATIONS, Situation

__all__ = ["SITUATIONS", "Situation"]
