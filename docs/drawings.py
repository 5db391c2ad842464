"""The drawings of docs/one-request.md, written as SVG.

To make them anew, run this in the root of the repository:

    .venv/bin/python -m docs.drawings [folder]        default: docs/images

There is a light and a dark file of each drawing. The numbers of the second one come from the policy
in oauthcc/tokens/renewal.py, so they cannot differ from what the library does.
"""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass
from html import escape
from pathlib import Path

from oauthcc.access_token import Token
from oauthcc.clock import Instant
from oauthcc.tokens import renewal
from oauthcc.tokens.source import TokenSource

IMAGES = Path(__file__).resolve().parent / "images"
#: Narrow, so that the text can still be read when the drawing is as wide as a telephone.
WIDTH = 440
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


@dataclass(frozen=True)
class Colors:
    """The colors of one theme."""

    text: str
    muted: str
    line: str
    box: str
    good: str
    early: str
    waits: str
    bad: str


THEMES = {
    "light": Colors(
        "#1f2328", "#59636e", "#d1d9e0", "#f6f8fa", "#1a7f37", "#0969da", "#9a6700", "#cf222e"
    ),
    "dark": Colors(
        "#f0f6fc", "#9198a1", "#3d444d", "#212830", "#3fb950", "#4493f8", "#d29922", "#f85149"
    ),
}


class Canvas:
    """The elements of one drawing, from top to bottom; ``y`` is where the next one begins."""

    def __init__(self, colors: Colors, title: str, description: str) -> None:
        self.colors = colors
        self.title, self.description = title, description
        self.elements: list[str] = []
        self.y = 0.0

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        color: str = "",
        size: int = 13,
        anchor: str = "start",
        bold: bool = False,
    ) -> None:
        weight = ' font-weight="600"' if bold else ""
        self.elements.append(
            f'<text x="{x:g}" y="{y:g}" fill="{color or self.colors.text}" font-size="{size}"'
            f' text-anchor="{anchor}"{weight}>{escape(text, quote=False)}</text>'
        )

    def line(
        self, start: tuple[float, float], end: tuple[float, float], color: str, *, style: str = ""
    ) -> None:
        (x1, y1), (x2, y2) = start, end
        self.elements.append(
            f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{color}"{style}/>'
        )

    def box(
        self, corner: tuple[float, float], size: tuple[float, float], fill: str, *, style: str = ""
    ) -> None:
        (x, y), (width, height) = corner, size
        self.elements.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill="{fill}"'
            f"{style}/>"
        )

    def arrow(self, start: float, end: float, label: str, color: str) -> None:
        """Draw an arrow with its text above it, and move on."""
        self.y += 30
        tip = 7 if end > start else -7
        self.line((start, self.y), (end - tip, self.y), color, style=' stroke-width="1.6"')
        self.elements.append(
            f'<path d="M{end:g} {self.y:g}l{-tip} -4v8z" fill="{color}"/>'  # its head
        )
        self.text((start + end) / 2, self.y - 6, label, color=color, anchor="middle")

    def svg(self) -> str:
        """Return the drawing as the text of a file."""
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.y:g}"'
            f' width="{WIDTH * 1.2:g}" height="{self.y * 1.2:g}" font-family="{FONT}"'
            ' role="img" aria-labelledby="title desc">'
        )
        about = (
            f'<title id="title">{escape(self.title)}</title>',
            f'<desc id="desc">{escape(self.description)}</desc>',
        )
        return "\n".join([head, *about, *self.elements, "</svg>\n"])


#: The authorization server, the session and the API: where their lines are.
AUTH, SESSION, API = 66, 220, 374


def one_request(colors: Colors) -> Canvas:
    """Return the drawing of what a session sends in the three usual cases."""
    canvas = Canvas(
        colors,
        "What happens to one request",
        "Three cases. With a valid token, the session sends your request with the token, and the"
        " API answers 200. Without a token, the session first sends the client id and the secret to"
        " the authorization server, gets a token, and then sends your request with it. If the API"
        " answers 401, the session gets another token from the authorization server, sends the same"
        " request once more, and you get that answer.",
    )
    token, request, refused = colors.early, colors.good, colors.bad
    for x, *words in (
        (AUTH, "authorization", "server"),
        (SESSION, "your session"),
        (API, "the API"),
    ):
        canvas.box((x - 62, 1), (124, 40), colors.box, style=f' stroke="{colors.line}" rx="6"')
        for number, word in enumerate(words):
            y = 26 + 16 * number - 8 * (len(words) - 1)
            canvas.text(x, y, word, anchor="middle", bold=True)
    canvas.y = 41
    to_auth, from_auth = (SESSION, AUTH), (AUTH, SESSION)
    to_api, from_api = (SESSION, API), (API, SESSION)
    cases = [
        (
            "1. A valid token is there",
            "almost every call: nothing to wait for",
            [(*to_api, "GET + token A", request), (*from_api, "200", request)],
        ),
        (
            "2. There is no token yet",
            "the first call: one token request, also for 64 threads",
            [
                (*to_auth, "client id + secret", token),
                (*from_auth, "token A", token),
                (*to_api, "GET + token A", request),
                (*from_api, "200", request),
            ],
        ),
        (
            "3. The API refuses the token",
            "one other token, one replay: you see only the last answer",
            [
                (*to_api, "GET + token A", request),
                (*from_api, "401", refused),
                (*to_auth, "client id + secret", token),
                (*from_auth, "token B", token),
                (*to_api, "same GET + token B", request),
                (*from_api, "200", request),
            ],
        ),
    ]
    for title, note, arrows in cases:
        canvas.y += 30
        canvas.text(1, canvas.y, title, size=14, bold=True)
        canvas.y += 18
        canvas.text(1, canvas.y, note, color=colors.muted)
        top, length = canvas.y + 8, 30 * len(arrows) + 6
        for x in (AUTH, SESSION, API):
            canvas.line((x, top), (x, top + length), colors.line, style=' stroke-dasharray="3 4"')
        for start, end, label, color in arrows:
            canvas.arrow(start, end, label, color)
        canvas.y = top + length
    canvas.y += 6
    return canvas


def default_renew_at() -> tuple[float, float]:
    """Return between which shares of the lifetime a token is renewed early."""
    first, last = inspect.signature(TokenSource.__init__).parameters["renew_at"].default
    return float(first), float(last)


def moments(lifetime: float) -> list[float]:
    """Return the seconds at which a token may be renewed at the earliest and must be at the latest.

    Then follow the seconds at which its margin begins, and at which it expires.
    """
    now = Instant(0.0, 0.0)
    plans = [
        renewal.schedule(Token("t", issued_at=0.0, expires_at=lifetime), now, share)
        for share in default_renew_at()
    ]
    earliest, latest = (plan.aging.wall for plan in plans)
    return [earliest, latest, plans[0].margin.wall, plans[0].expiry.wall]


def shown(seconds: float) -> str:
    """Return seconds as minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}"


def renewals(colors: Colors) -> Canvas:
    """Return the drawing of the life of a token."""
    # The longest margin, in the shortest life that has it.
    lifetime = renewal.MARGIN_SECONDS / renewal.MARGIN_SHARE
    earliest, latest, margin, expiry = moments(lifetime)
    better, early, most = (
        f"{seconds:g} s"
        for seconds in (renewal.WAIT_FOR_BETTER, renewal.EARLY_BUDGET, renewal.TOTAL_BUDGET)
    )
    canvas = Canvas(
        colors,
        "The life of a token, and what a call waits",
        f"A token that lives {lifetime:g} seconds. It is fresh until a random moment between"
        f" {earliest:g} and {latest:g} seconds. Then it is renewed in the background, and calls"
        f" still use it at once. From {margin:g} seconds on a call waits {better} at most for a"
        f" better token. From {expiry:g} seconds on it has expired, and a call waits for the new"
        f" one, {most} at most.",
    )
    left, right = 6.0, 360.0

    def at(seconds: float) -> float:
        return left + (right - left) * seconds / lifetime

    end = WIDTH - 6.0
    phases = [
        (0.0, earliest, colors.good, "fresh", "0 s", 0.0),
        (earliest, margin, colors.early, "aging", "0 s", 0.0),
        (margin, expiry, colors.waits, "margin", f"≤ {better}", 26.0),
        (expiry, 0.0, colors.bad, "expired", f"≤ {most}", 64.0),
    ]
    canvas.text(left, 16, "What a call waits for a token", size=14, bold=True)
    base, height = 104.0, 26.0
    for begin, until, color, _, wait, bar in phases:
        x1, x2 = at(begin), at(until) if until else end
        if bar:
            canvas.box((x1, base - bar), (x2 - x1, bar), color, style=' opacity="0.35"')
        canvas.text((x1 + x2) / 2, base - bar - 6, wait, color=color, anchor="middle", bold=True)
    for begin, until, color, name, _, _ in phases:
        x1, x2 = at(begin), at(until) if until else end
        canvas.box((x1, base), (x2 - x1, height), color)
        if x2 - x1 > 50:
            name_color = "#ffffff" if colors is THEMES["light"] else "#0d1117"
            canvas.text(
                (x1 + x2) / 2, base + 18, name, color=name_color, anchor="middle", bold=True
            )
    x1, x2 = at(earliest), at(latest)
    canvas.line((x1, base + 34), (x2, base + 34), colors.early, style=' stroke-width="3"')
    for time in (0.0, earliest, latest, margin, expiry):
        label, anchor = f"{time:g} s", "middle" if time else "start"
        canvas.text(at(time), base + 52, label, color=colors.muted, size=11, anchor=anchor)
    canvas.y = base + 62
    hour = [shown(time) for time in moments(3600.0)]
    explained = [
        (colors.good, "fresh", "The token is used at once."),
        (colors.early, "aging", "It is used at once. The first call after a"),
        ("", "", "random moment (the thin line) starts a renewal in the"),
        ("", "", f"background, for which nobody waits ({early} at most)."),
        (colors.waits, "margin", f"A call waits {better} at most for another token."),
        ("", "", "Then it uses this one. It does not wait if the last"),
        ("", "", "renewal was slow or failed."),
        (colors.bad, "expired", "A call waits for another token: its timeout=,"),
        ("", "", f"{most} at most."),
        (colors.muted, "one hour", f"A token of one hour is renewed from {hour[0]} to"),
        ("", "", f"{hour[1]} (minutes) on. Its margin begins at {hour[2]}."),
    ]
    for color, name, text in explained:
        canvas.y += 24 if color else 17
        if color:
            canvas.box((left, canvas.y - 10), (11, 11), color)
            canvas.text(left + 18, canvas.y, name, bold=True)
        canvas.text(left + (92 if color else 18), canvas.y, text)
    canvas.y += 10
    return canvas


DRAWINGS = {"one-request": one_request, "renewal": renewals}


def files() -> dict[str, str]:
    """Return the text of every file by its name."""
    return {
        f"{name}-{theme}.svg": draw(colors).svg()
        for name, draw in DRAWINGS.items()
        for theme, colors in THEMES.items()
    }


def main() -> None:
    """Write the drawings."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES
    for name, text in files().items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
