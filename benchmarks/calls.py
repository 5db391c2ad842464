"""How many function calls of the library one request makes, in how many files.

A reader who follows a request through the code follows these calls. The numbers do not depend on
the speed of the machine. Calls into other packages are not counted.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import oauthcc
from oauthcc import clock
from oauthcc.testing import AuthorizationServer, ProtectedAPI

LIBRARY = Path(oauthcc.__file__).parent
FETCH = "oauthcc-"


class Trail:
    """The calls of one request: first those of its own thread, then those of its token request.

    The threads are kept apart, because they run in another order each time.
    """

    def __init__(self) -> None:
        self._threads: dict[int, list[tuple[str, str]]] = {}

    def note(self, frame: FrameType, event: str, _: Any) -> None:
        """Note a call of the library; its test kit and the making of values do not count."""
        if event != "call":
            return
        path = Path(frame.f_code.co_filename)
        if LIBRARY not in path.parents or LIBRARY / "testing" in path.parents:
            return
        if path == LIBRARY / "values.py" or frame.f_code.co_name in (
            "<genexpr>",
            "<lambda>",
            "<listcomp>",
            "<dictcomp>",
        ):
            return
        call = str(path.relative_to(LIBRARY)), frame.f_code.co_name
        self._threads.setdefault(threading.get_ident(), []).append(call)

    @property
    def files(self) -> list[str]:
        """Return the file of each call."""
        return [file for calls in self._threads.values() for file, _ in calls]

    @property
    def names(self) -> list[str]:
        """Return the name of each function that was called."""
        return [name for calls in self._threads.values() for _, name in calls]

    @property
    def changes(self) -> int:
        """Return how often a call is in another file than the call before it."""
        return sum(a != b for a, b in zip(self.files, self.files[1:], strict=False))


def follow(request: Callable[[], object]) -> Trail:
    """Return what one request calls, on its own thread and on that of its token request."""
    trail = Trail()
    threading.setprofile(trail.note)
    sys.setprofile(trail.note)
    try:
        request()
        for thread in threading.enumerate():
            if thread.name.startswith(FETCH):
                thread.join(10)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]  # as the standard library documents it
    return trail


def main() -> None:
    """Print a line for each kind of request; with ``-v`` the calls too."""
    with AuthorizationServer() as auth, ProtectedAPI(auth) as api:
        session = oauthcc.ClientCredentialsSession(
            auth.token_url, auth.client_id, auth.client_secret, "orders:read"
        )

        def get() -> None:
            session.get(f"{api.url}/orders")

        with session:
            get()  # imports and caches are not counted
            for name, prepare in (
                ("cold", session.tokens.forget),
                ("warm", lambda: None),
                ("401", auth.revoke_all),
                ("aging", lambda: set_clocks_forward(0.85 * 3600)),
            ):
                prepare()
                trail = follow(get)
                print(
                    f"{name:6} {len(trail.names):4} calls in {len(set(trail.files)):3} files,"
                    f" {trail.changes:4} changes of file"
                )
                if "-v" in sys.argv:
                    print(*map(" ".join, zip(trail.files, trail.names, strict=True)), sep="\n")


def set_clocks_forward(seconds: float) -> None:
    """Let the library believe that it is later, so that its token is aging."""
    clock.system = SimpleNamespace(
        monotonic=lambda: time.monotonic() + seconds, time=lambda: time.time() + seconds
    )


if __name__ == "__main__":
    main()
