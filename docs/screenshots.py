"""The pictures of the command in docs/images, made from real runs in a terminal.

To make them anew, run this in the root of the repository, after `make ready`:

    .venv/bin/python -m docs.screenshots

With names of pictures as arguments, only these are made. `--folder` is another place for them.
"""

from __future__ import annotations

import argparse
import io
import re
import socket
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.text import Text

from oauthcc.testing import AuthorizationServer, ProtectedAPI
from tests.pseudo_terminal import run_in_terminal

IMAGES = Path(__file__).resolve().parent / "images"
#: Fixed if they are free, so that a picture changes only if the command does.
AUTH_PORT, API_PORT = 8401, 8402
CLIENT = "reports-service", "a-secret-that-is-never-shown"


class Shot(NamedTuple):
    """A picture: a command line, and the text with which the part that is shown begins.

    ``{OAUTH_API_URL}`` in the command line is the value of that variable.
    """

    args: str
    begin: str = ""
    columns: int = 80
    status: int = 0


#: A picture of another command is one more line here.
SHOTS = {
    "oauthcc-help": Shot("--help"),
    "oauthcc-doctor": Shot("doctor {OAUTH_API_URL}/refunds", columns=100, status=1),
    "oauthcc-demo-sequence": Shot("demo --quick"),
    "oauthcc-demo-time-line": Shot("demo", "8 threads call"),
}


def start_servers(running: ExitStack) -> dict[str, str]:
    """Start both servers, and return the variables for a client of them."""
    auth = AuthorizationServer(*CLIENT, port=_free(AUTH_PORT))
    running.enter_context(auth)
    api = running.enter_context(ProtectedAPI(auth, port=_free(API_PORT)))
    api.require_scope("/refunds", "refunds:read")
    return {
        "OAUTH_TOKEN_URL": auth.token_url,
        "OAUTH_CLIENT_ID": auth.client_id,
        "OAUTH_CLIENT_SECRET": auth.client_secret,
        "OAUTH_API_URL": api.url,
        "OAUTH_SCOPE": "orders:read",
    }


def _free(port: int) -> int:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return 0
    return port


def screen_after(output: str) -> str:
    """Return what a terminal shows at the end, if lines were erased and drawn again."""
    lines = [""]
    plain = re.sub(r"\x1b\[\?25[lh]", "", output).replace("\r\n", "\n")
    erased = r"\r?(?:\x1b\[1A)?\x1b\[2K(?:\x1b\[1A\x1b\[2K)*"
    for part in re.split(rf"(\n|{erased})", plain):
        if part == "\n":
            lines.append("")
        elif "\x1b[2K" in part:
            lines = lines[: len(lines) - part.count("\x1b[1A")]
            lines[-1] = ""
        else:
            lines[-1] += part
    return "\n".join(lines).strip("\n")


def svg_of(name: str, shot: Shot, variables: dict[str, str]) -> str:
    """Return the picture of a command that runs now."""
    args = shot.args.format(**variables)
    ended = run_in_terminal(*args.split(), columns=shot.columns, **variables)
    if ended.status != shot.status:
        raise SystemExit(f"oauthcc {args} has ended with {ended.status}:\n{ended.output}")
    text = Text.from_ansi(screen_after(ended.output))
    lines = text.split("\n")
    first = next(n for n, line in enumerate(lines) if shot.begin in line.plain)
    console = Console(record=True, width=shot.columns, file=io.StringIO())
    for line in lines[first:]:
        line.rstrip()
        console.print(line, no_wrap=True, overflow="crop")
    svg = console.export_svg(title=f"oauthcc {args}", unique_id=name)
    # The fonts would come from another server each time that somebody looks at the page.
    return re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)


def main() -> None:
    """Make the pictures."""
    parser = argparse.ArgumentParser(description="Make the pictures of the command.")
    parser.add_argument("names", nargs="*", help=f"some of {', '.join(SHOTS)}; none: all")
    parser.add_argument("--folder", type=Path, default=IMAGES)
    given = parser.parse_args()
    with ExitStack() as running:
        home = running.enter_context(tempfile.TemporaryDirectory())
        variables = {**start_servers(running), "HOME": home}
        for name in given.names or SHOTS:
            picture = svg_of(name, SHOTS[name], variables)
            (given.folder / f"{name}.svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
