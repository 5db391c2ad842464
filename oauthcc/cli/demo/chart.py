"""The chart of the time line: one lane for each kind of event, one column for each moment."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from .load import Record
from .screen import Screen

#: Seconds of a column, as long as there is room.
_TICK = 0.2
#: The columns of the labels, and the least and the most of the chart.
_LABEL, _LEAST, _MOST = 18, 10, 50
_BARS = "▁▂▃▄▅▆▇█"
_NONE = "·"


def chart(record: Record, screen: Screen) -> Text:
    """Return the lanes of what has happened until now."""
    now = record.now
    columns = max(_LEAST, min(_MOST, screen.width - _LABEL))
    tick = max(_TICK, now / columns)
    # The column of this moment is left out, because it is not complete.
    count = min(columns, int(now / tick))

    def in_columns(times: list[float]) -> list[int]:
        found = [0] * count
        for each in times[:]:
            if each < count * tick:
                found[min(count - 1, int(each / tick))] += 1
        return found

    lanes: list[tuple[str, str, str]] = [
        ("", "", ""),
        ("calls ok", _heights(in_columns(record.ok)), "green"),
        ("calls failed", _counts(in_columns(record.failed)), "red"),
        ("token requests", _counts(in_columns(record.token_requests)), "cyan"),
        ("  answered 503", _counts(in_columns(record.unavailable)), "red"),
        ("  renewed", _counts(in_columns(record.renewals)), "green"),
        ("tokens revoked", _marks(in_columns(record.revocations)), "yellow"),
        ("401s of the API", _counts(in_columns(record.refused)), "yellow"),
        ("outage", "".join(_outage(record.outage, count, tick)), "red"),
        ("", _axis(columns, tick), "dim"),
    ]
    return Text("\n").join(
        screen.drawn(f"  {label:<{_LABEL - 2}}{cells}", style) for label, cells, style in lanes
    )


def _heights(counts: list[int]) -> str:
    top = max(counts, default=0) + 1
    return "".join(_BARS[n * len(_BARS) // top] if n else _NONE for n in counts)


def _counts(counts: list[int]) -> str:
    return "".join(_NONE if not n else str(n) if n < 10 else "+" for n in counts)


def _marks(counts: list[int]) -> str:
    return "".join("▼" if n else _NONE for n in counts)


def _outage(changes: list[float], count: int, tick: float) -> Iterator[str]:
    for column in range(count):
        # It begins and ends in turn, so it lasts after an odd number of changes.
        before = sum(each < (column + 1) * tick for each in changes)
        yield "━" if before % 2 else _NONE


def _axis(columns: int, tick: float) -> str:
    cells = [" "] * columns
    for second in range(0, int(columns * tick) + 1, 2):
        for column, character in enumerate(f"{second} s", int(second / tick)):
            if column < columns:
                cells[column] = character
    return "".join(cells).rstrip()
