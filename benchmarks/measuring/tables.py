"""The results as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from .contenders import Auth, Plain, PlainAgain, Session

Scene = dict[str, Any]
NONE = "-"
MIB = 1024.0


def table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """Return a table."""
    lines = [list(head), *([str(cell) for cell in row] for row in rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(value: float | None, digits: int = 2) -> str:
    """Return a number, or a dash if there is none."""
    return NONE if value is None else f"{value:,.{digits}f}"


def within(figure: dict[str, Any] | None, digits: int = 2) -> str:
    """Return a median with its quartiles."""
    if figure is None:
        return NONE
    low, high = figure["quartiles"]
    return f"{number(figure['median'], digits)} ({number(low, digits)} to {number(high, digits)})"


def pick(scenes: Scene, *path: Any) -> Any:
    """Return a value deep inside of the results, or None."""
    found: Any = scenes
    for key in path:
        if not isinstance(found, dict) or key not in found:
            return None
        found = found[key]
    return found


def warm(scene: Scene) -> str:
    names = list(next(iter(scene.values())))
    rows = []
    for case, times in scene.items():
        base = times[Plain.name]
        ratios = [within(times[name]["ratio"]) for name in names[1:]]
        rows.append([case, number(base["us"]["median"], 0), base["rounds"], *ratios])
    return table(["", f"{Plain.name}, µs", "rounds", *names[1:]], rows)


def instructions(scene: Scene) -> str:
    if not scene["method"]:
        return "Not counted: in a quick run, or on a machine that offers no way."
    parts = [f"Counted with {scene['method']}, by transport and case."]
    for transport in ("null", "loopback"):
        found = scene[transport]
        names = sorted({name for by_name in found.values() for name in by_name}, key=_place)
        rows = []
        for case, counts in found.items():
            base = counts[Plain.name]
            rows.append(
                [case, f"{base:,}", *(ratio_of(counts.get(name), base) for name in names[1:])]
            )
        parts.append(
            table([f"{transport}: ratio", f"{Plain.name}, instructions", *names[1:]], rows)
        )
    return "\n\n".join(parts)


def _place(name: str) -> tuple[int, str]:
    first = [Plain.name, PlainAgain.name, Session.name, Auth.name]
    return (first.index(name), "") if name in first else (len(first), name.lower())


def ratio_of(value: float | None, base: float | None) -> str:
    """Return a ratio, or a dash if one of the two is missing."""
    return NONE if value is None or not base else number(value / base, 3)


def growth(scene: Scene) -> str:
    rows = []
    for what, by_name in scene.items():
        for name, found in by_name.items():
            times = ", ".join(
                f"{size}: {each['median']:,.0f}" for size, each in found["us"].items()
            )
            rows.append([what, name, times, within(found["ratio"]), found["rounds"]])
    return table(["what grows", "", "µs of a call by size", "largest / smallest", "rounds"], rows)


def storms(scene: Scene) -> str:
    states = list(next(iter(scene.values())))
    cells = (
        "token requests: {token_requests}, failures: {failures}, {wall_per_latency} latencies",
    )
    rows = [[name, *(cells[0].format(**found[s]) for s in states)] for name, found in scene.items()]
    return table(["", *states], rows)


def renewal(scene: Scene) -> str:
    columns = {
        "calls": "calls",
        "failures": "failures",
        "median_ms": "median, ms",
        "longest_ms": "longest, ms",
        "token_requests": "token requests",
    }
    rows = [[name, *(found[key] for key in columns)] for name, found in scene.items()]
    return table(["", *columns.values()], rows)


def outage(scene: Scene) -> str:
    rows = []
    for name, phases in scene.items():
        for phase, found in phases.items():
            outcomes = ", ".join(f"{count} x {what}" for what, count in found["outcomes"].items())
            cells = ("calls", "failures", "token_requests", "median_ms", "longest_ms")
            rows.append([name, phase, *(found[cell] for cell in cells), outcomes])
    head = ["", "token", "calls", "failures", "token requests", "median, ms", "longest, ms", ""]
    return table(head, rows)


def bodies(scene: Scene) -> str:
    def cell(done: dict[str, Any]) -> str:
        arrived = " + ".join(f"{size:,}" for size in done["arrived"])
        return f"{done['outcome']}: {arrived}" + ", LOST" * done["lost"]

    kinds = list(next(iter(scene.values())))
    rows = [[kind, *(cell(found[kind]) for found in scene.values())] for kind in kinds]
    return table(["", *scene], rows)


def imports(scene: Scene) -> str:
    base = scene["instructions"].get("requests")
    rows = [
        [
            name,
            within(found["ms"], 0),
            within(found["ratio"]),
            ratio_of(scene["instructions"].get(name), base),
            found["rounds"],
        ]
        for name, found in scene["cpu"].items()
    ]
    return table(["", "CPU, ms", "ratio", "ratio of instructions", "rounds"], rows)


def memory(scene: Scene) -> str:
    found = scene["libraries"]
    base = found[Plain.name]
    rows = [
        [
            name,
            number(each["idle_kib"]),
            ratio_of(each["idle_kib"], base["idle_kib"]),
            number(each["used_kib"]),
            ratio_of(each["used_kib"], base["used_kib"]),
        ]
        for name, each in found.items()
    ]
    head = [
        "",
        f"idle, KiB (each of {base['idle_sessions']:,})",
        "ratio",
        f"after a request, KiB (each of {base['used_sessions']:,})",
        "ratio",
    ]
    many = [
        [name, f"{each['idle_sessions']:,}", number(each["idle_kib"] * each["idle_sessions"] / MIB)]
        for name, each in scene["many"].items()
    ]
    rounds = [
        [f"{(index + 1) * scene['origins']:,}", f"{each['kib']:,}", each["token_requests"]]
        for index, each in enumerate(scene["refusing"])
    ]
    return "\n\n".join(
        [
            table(head, rows),
            table(["", "idle sessions", "MiB"], many),
            table(["requests to origins that refuse", "KiB in all", "token requests"], rounds),
        ]
    )


def stores(scene: list[dict[str, Any]]) -> str:
    if not scene:
        return "Not measured: there is no cold_start.py."
    keys = ("who", "latency", "processes", "all", "one", "requests")
    rows = [[number(v) if isinstance(v := each[k], float) else v for k in keys] for each in scene]
    return table(
        ["", "latency, s", "processes", "all / latency", "median / latency", "requests"], rows
    )


def summary(scenes: Scene) -> str:
    """Return the main figures: ratios to plain requests in the same run, unless a row says more."""

    def warm_ratio(transport: str, name: str = Session.name) -> str:
        return within(pick(scenes, f"warm, {transport}", "GET", name, "ratio"))

    def counted(transport: str, case: str) -> str:
        counts = pick(scenes, "instructions", transport, case) or {}
        return ratio_of(counts.get(Session.name), counts.get(Plain.name))

    def grown(what: str, name: str = Session.name) -> str:
        return within(pick(scenes, "growth", what, name, "ratio"))

    kib = pick(scenes, "memory", "libraries") or {}
    sixteen = [
        number(each["all"])
        for each in scenes.get("stores", [])
        if each["processes"] == 16 and each["who"] == "FileStore"
    ]
    rows = [
        ["warm, null transport (CPU)", warm_ratio("null")],
        ["warm, loopback (CPU)", warm_ratio("loopback")],
        ["instructions, null", counted("null", "GET")],
        ["instructions, loopback", counted("loopback", "GET")],
        ["`api_url` with a path (instructions)", counted("null", "api_url with a path")],
        ["POST json (instructions)", counted("null", "POST json")],
        ["params and headers (instructions)", counted("null", "params and headers")],
        ["behind proxy variables (instructions)", counted("null", "proxy variables")],
        ["own CPU, 500 / 30 environment variables", grown("environment variables")],
        [
            "plain requests, 500 / 30 environment variables",
            grown("environment variables", Plain.name),
        ],
        ["own CPU, netrc of 100 / 0 entries", grown("netrc entries")],
        ["own CPU, 1,000 / 1 prefixes", grown("prefixes")],
        ["own CPU, 1,000 / 1 sessions", grown("sessions")],
        ["own CPU, 64 / 1 threads", grown("threads")],
        ["import (CPU)", within(pick(scenes, "import", "cpu", "oauthcc", "ratio"))],
        [
            "import (instructions)",
            ratio_of(
                pick(scenes, "import", "instructions", "oauthcc"),
                pick(scenes, "import", "instructions", "requests"),
            ),
        ],
        [
            "memory of an idle session",
            ratio_of(
                pick(kib, Session.name, "idle_kib"),
                pick(kib, Plain.name, "idle_kib"),
            ),
        ],
        ["16 cold processes with a file store, wall / token latency", ", ".join(sixteen) or NONE],
        ["noise: plain requests again, null transport", warm_ratio("null", PlainAgain.name)],
        ["noise: plain requests again, loopback", warm_ratio("loopback", PlainAgain.name)],
    ]
    return table(["measure", "ratio"], (row for row in rows if row[1] != NONE))


TABLES: dict[str, Callable[[Any], str]] = {
    "warm, null": warm,
    "warm, loopback": warm,
    "instructions": instructions,
    "growth": growth,
    "threads": storms,
    "renewal": renewal,
    "outage": outage,
    "bodies": bodies,
    "import": imports,
    "memory": memory,
    "stores": stores,
}


def report(results: dict[str, Any]) -> str:
    """Return all tables, with the machine and the versions."""
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    parts = [
        f"Run on {results['date']}, in {results['seconds']} seconds, on {results['machine']}.",
        f"{versions}.",
    ]
    if results["missing"]:
        parts.append(f"Left out, because not installed: {', '.join(results['missing'])}.")
    main = summary(results["scenes"])
    if main.count("\n") > 1:
        parts += ["### Main figures", main]
    for name, scene in results["scenes"].items():
        parts += [f"### {name.capitalize()}", TABLES[name](scene)]
    return "\n\n".join(parts)
