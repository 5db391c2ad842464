"""The first token of processes that share a store, which cold_start.py measures."""

from __future__ import annotations

from typing import Any


def cold_starts(is_quick: bool) -> list[dict[str, Any]]:  # noqa: FBT001 - it comes from JSON
    """Return the figures of cold_start.py, or an empty list if there is no such script."""
    try:
        import cold_start
    except ModuleNotFoundError:
        return []
    if is_quick:
        cold_start.LATENCIES, cold_start.PROCESSES = (0.2,), (16,)
    found: list[dict[str, Any]] = cold_start.figures()
    return found
