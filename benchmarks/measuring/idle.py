"""What a library costs without a request: the import, and the memory of sessions."""

from __future__ import annotations

import gc
import subprocess
import sys
import tempfile
import tracemalloc
from types import SimpleNamespace
from typing import Any

from comparing.library import Library
from comparing.world import World

from . import children, instructions
from .contenders import ALL, fetch
from .servers import NULL_TOKEN_URL, NullAdapter
from .timing import ratio, spread

PLAIN = "requests"
#: What a user of each library imports. The second `requests` shows the noise. `import oauthcc`
#: alone loads nothing: the first use of a name loads all of them.
MODULES = {
    PLAIN: "requests",
    "requests again": "requests",
    "oauthcc": "oauthcc; oauthcc.ClientCredentialsSession",
    "requests-oauthlib": "requests_oauthlib, oauthlib.oauth2",
    "Authlib": "authlib.integrations.requests_client",
    "requests-oauth2client": "requests_oauth2client",
    "requests_auth": "requests_auth",
    "google-auth": "google.auth.transport.requests, google.oauth2.service_account",
}
_NOTHING = "nothing"
_TIMED = """
from time import process_time_ns
begun = process_time_ns()
import {}
print(process_time_ns() - begun)
"""


def modules() -> dict[str, str]:
    """Return the imports of what is installed."""
    return {
        name: module
        for name, module in MODULES.items()
        if name in (PLAIN, "requests again", "oauthcc") or name in ALL
    }


def imports(rounds: int) -> dict[str, Any]:
    """Return the CPU time of imports in new processes, which take turns."""
    times: dict[str, list[float]] = {name: [] for name in modules()}
    for number in range(rounds + 1):
        for name, module in modules().items():
            took = float(_python(_TIMED.format(module))) / 1e6
            if number:  # the first round compiles the modules
                times[name].append(took)
    return {
        name: {"ms": spread(took, 1), "ratio": ratio(took, times[PLAIN]), "rounds": rounds}
        for name, took in times.items()
    }


def import_instructions(names: list[str]) -> dict[str, int]:
    """Return the instructions of imports, without those of the start of Python."""
    if instructions.method() != "valgrind":
        return {}
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        command = instructions.valgrind(folder)
        for name in [_NOTHING, *(name for name in names if name in modules())]:
            module = modules().get(name, "sys")
            code = f"import os; import {module}; print(os.getpid())"
            _python(code)  # compile the modules
            process = _python(code, *command)
            found[name] = instructions.counted(instructions.Path(folder) / process)
    start = found.pop(_NOTHING)
    return {name: count - start for name, count in found.items()}


def _python(code: str, *prefix: str) -> str:
    with tempfile.TemporaryDirectory() as home:
        return subprocess.run(  # noqa: S603 - the code is above
            [*prefix, sys.executable, "-c", code],
            env=children.environment(home, PYTHONHASHSEED="0"),
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        ).stdout.strip()


def memory(name: str, count: int, fewer: int) -> dict[str, Any]:
    """Return the KiB of a session that was only made, and of one that has sent a request."""
    kind = ALL[name]
    with World() as world:
        _one(kind, world)
        idle, sessions = _kib(lambda: kind(world).session, count)
        sessions.clear()
        used, sessions = _kib(lambda: _one(kind, world), fewer)
        sessions.clear()
    return {"idle_kib": idle, "idle_sessions": count, "used_kib": used, "used_sessions": fewer}


def _one(kind: type[Library], world: World) -> Any:
    client = kind(world)
    fetch(client)
    client.request("GET", world.api.url).raise_for_status()
    return client.session


def _kib(make: Any, count: int) -> tuple[float, list[Any]]:
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    kept = [make() for _ in range(count)]
    gc.collect()
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return round(used / count / 1024, 2), kept


def refusing_origins(rounds: int, origins: int) -> list[dict[str, int]]:
    """Return the memory after each round of requests to many origins that refuse every token.

    The clocks of the library stand still, so that no pause ends.
    """
    from oauthcc import ClientCredentialsSession, clock

    session, adapter = ClientCredentialsSession(NULL_TOKEN_URL, "my-id", "my-secret"), NullAdapter()
    adapter.status = 401
    session.mount("https://", adapter)
    clock.system = SimpleNamespace(monotonic=lambda: 1e9, time=lambda: 1e9)
    tracemalloc.start()
    found = []
    for _ in range(rounds):
        for number in range(origins):
            session.get(f"https://api{number}.example/orders")
        gc.collect()
        kib = tracemalloc.get_traced_memory()[0] // 1024
        found.append({"kib": kib, "token_requests": adapter.tokens})
    return found
