"""The charts of the documentation, drawn from benchmarks/results.json.

    python benchmarks/charts.py [folder]        default: docs/images

There is a light and a dark file of each chart. The texts in them stay text, so that the files are
small. matplotlib is needed (the extra ``bench``).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RESULTS, IMAGES = HERE / "results.json", HERE.parent / "docs" / "images"
PLAIN, SESSION, AUTH = "plain requests", "ClientCredentialsSession", "ClientCredentialsAuth"
AGAIN = "plain requests again"


@dataclass(frozen=True)
class Colors:
    """The colors of one theme: those of the text, of what is compared, and of ours."""

    text: str
    muted: str
    grid: str
    other: str
    ours: str


THEMES = {
    "light": Colors("#1f2328", "#59636e", "#d1d9e0", "#afb8c1", "#0969da"),
    "dark": Colors("#f0f6fc", "#9198a1", "#3d444d", "#656c76", "#4493f8"),
}


@dataclass(frozen=True)
class Panel:
    """Bars (name, length, text at its end), or lines (name, points with the text below them)."""

    title: str
    bars: list[tuple[str, float, str]]
    lines: list[tuple[str, list[tuple[str, float]]]]
    #: The value at which a thin line is drawn.
    base: float | None = None


@dataclass(frozen=True)
class Chart:
    """A title, a sentence that explains the values, and panels next to each other."""

    title: str
    note: str
    panels: list[Panel]

    def texts(self) -> set[str]:
        """Return all texts that are drawn."""
        found = {self.title, self.note}
        for panel in self.panels:
            found |= {panel.title}
            found |= {text for name, _, text in panel.bars} | {name for name, *_ in panel.bars}
            found |= {name for name, _ in panel.lines}
            found |= {size for _, points in panel.lines for size, _ in points}
        return found


def ratios(figures: dict[str, Any]) -> list[tuple[str, float, str]]:
    """Return a bar for each library from ratios to plain requests."""
    found = []
    for name, figure in figures.items():
        if name != AGAIN:
            median = figure["ratio"]["median"]
            found.append((name, median, f"{median:.2f}"))
    return found


def warm(scenes: dict[str, Any]) -> Chart:
    panels = [
        Panel("no network", ratios(scenes["warm, null"]["GET"]), [], 1.0),
        Panel("loopback", ratios(scenes["warm, loopback"]["GET"]), [], 1.0),
    ]
    return Chart(
        "CPU time of a GET with a valid token", "plain requests = 1, shorter is better", panels
    )


def threads(scenes: dict[str, Any]) -> Chart:
    panels = []
    for state, title in (("cold", "no token"), ("expired", "expired"), ("revoked", "revoked")):
        bars = []
        for name, states in scenes["threads"].items():
            count, failures = states[state]["token_requests"], states[state]["failures"]
            bars.append((name, count, f"{count}, {failures} failed" if failures else f"{count}"))
        panels.append(Panel(title, bars, []))
    note = "And how many of the 64 requests failed; 1 token request without a failure is best"
    return Chart("Token requests of 64 threads that send a request together", note, panels)


def growth(scenes: dict[str, Any]) -> Chart:
    panels = []
    for what in ("environment variables", "netrc entries", "prefixes"):
        lines = []
        for name, found in scenes["growth"][what].items():
            points = [(size, each["median"]) for size, each in found["us"].items()]
            lines.append((name, points))
        panels.append(Panel(what, [], lines))
    return Chart("CPU time of a GET as these grow", "µs, no network, lower is better", panels)


def idle(scenes: dict[str, Any]) -> Chart:
    libraries = scenes["memory"]["libraries"]
    base = libraries[PLAIN]["idle_kib"]
    imports = [bar for bar in ratios(scenes["import"]["cpu"]) if bar[0] != "requests again"]
    memory = [
        (name, found["idle_kib"] / base, f"{found['idle_kib'] / base:.2f}")
        for name, found in libraries.items()
    ]
    panels = [Panel("import (CPU time)", imports, [], 1.0)]
    panels.append(Panel("idle session (memory)", memory, [], 1.0))
    return Chart("Before the first request", "requests = 1, shorter is better", panels)


CHARTS: dict[str, Callable[[dict[str, Any]], Chart]] = {
    "warm": warm,
    "threads": threads,
    "growth": growth,
    "idle": idle,
}


def draw(results: dict[str, Any], folder: Path = IMAGES) -> None:
    """Draw all charts."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in CHARTS.items():
        chart = make(results["scenes"])
        for theme, colors in THEMES.items():
            _draw(chart, colors, folder / f"{name}-{theme}.svg")


def _draw(chart: Chart, colors: Colors, path: Path) -> None:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    settings = {
        "svg.fonttype": "none",
        "svg.hashsalt": "oauthcc",
        "font.family": "sans-serif",
        "font.size": 9,
        "text.color": colors.text,
        "axes.edgecolor": colors.grid,
        "axes.labelcolor": colors.muted,
        "axes.titlecolor": colors.muted,
        "xtick.color": colors.muted,
        "ytick.color": colors.text,
    }
    most = max(len(panel.bars) or 7 for panel in chart.panels)
    names_shared = len({tuple(name for name, *_ in p.bars) for p in chart.panels}) == 1
    with mpl.rc_context(settings):
        figure = Figure((7.5, 1.0 + 0.26 * most), layout="constrained")
        figure.suptitle(chart.title, x=0.01, ha="left", fontsize=11, fontweight="bold")
        figure.supxlabel(chart.note, x=0.01, ha="left", fontsize=9, color=colors.muted)
        is_shared = names_shared and bool(chart.panels[0].bars)
        for axes, panel in zip(
            figure.subplots(1, len(chart.panels), sharey=is_shared), chart.panels, strict=True
        ):
            _bars(axes, panel, colors) if panel.bars else _lines(axes, panel, colors)
            axes.set_title(panel.title, fontsize=9, loc="left")
            axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(path, transparent=True, metadata={"Date": None})


def _is_ours(name: str) -> bool:
    return name in (SESSION, AUTH, "oauthcc")


def _bars(axes: Any, panel: Panel, colors: Colors) -> None:
    names = [name for name, *_ in panel.bars]
    values = [value for _, value, _ in panel.bars]
    fill = [colors.ours if _is_ours(name) else colors.other for name in names]
    bars = axes.barh(names, values, color=fill, height=0.62)
    axes.bar_label(bars, labels=[text for *_, text in panel.bars], padding=3, fontsize=8.5)
    if not axes.yaxis_inverted():
        axes.invert_yaxis()
    if panel.base is not None:
        axes.axvline(panel.base, color=colors.grid, linewidth=1.0, zorder=0)
    longest = max(len(text) for *_, text in panel.bars)
    axes.set_xlim(0, max(0.1, *values) * (1.12 + 0.045 * longest))
    axes.tick_params(length=0)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)


def _lines(axes: Any, panel: Panel, colors: Colors) -> None:
    for name, points in panel.lines:
        color = colors.ours if _is_ours(name) else colors.muted
        x, y = zip(*points, strict=True)
        axes.plot(x, y, color=color, marker="o", markersize=3.5, linewidth=1.8, label=name)
    axes.margins(x=0.08)
    axes.set_ylim(0, max(y for _, points in panel.lines for _, y in points) * 1.45)
    axes.grid(axis="y", color=colors.grid, linewidth=0.6)
    axes.tick_params(length=0, labelsize=8.5)
    axes.legend(frameon=False, fontsize=8.5, loc="upper left", handlelength=1.2)


def main() -> None:
    """Draw the charts of the last run that was published."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES
    draw(json.loads(RESULTS.read_text(encoding="utf-8")), folder)


if __name__ == "__main__":
    main()
