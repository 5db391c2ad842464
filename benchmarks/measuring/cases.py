"""The kinds of warm call: what is sent, and in which environment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from comparing.libraries import forget_tokens
from comparing.library import Library
from comparing.world import World

from .children import fillers
from .contenders import ALL, Auth, Session, fetch, sender
from .servers import NullAdapter
from .timing import Calls

_PROXIES = {
    "HTTP_PROXY": "http://proxy.example:3128",
    "HTTPS_PROXY": "http://proxy.example:3128",
    "NO_PROXY": "127.0.0.1,localhost,.internal.example",
}


@dataclass(frozen=True)
class Case:
    """One kind of warm call."""

    name: str
    method: str = "GET"
    options: dict[str, Any] = field(default_factory=dict)
    cookie: bool = False
    #: The prefix of our objects ends with this path.
    api_path: str | None = None
    prefixes: int = 1
    environment: dict[str, str] = field(default_factory=dict)
    variables: int = 30
    netrc: int = 0

    def path(self) -> str:
        return f"{self.api_path or ''}/orders/42"


CASES = [
    Case("GET"),
    Case("params", options={"params": {"page": 2, "sort": "date"}}),
    Case(
        "params and headers",
        options={
            "params": {"page": 2, "sort": "date"},
            "headers": {"X-Request-Id": "8c2f41", "Accept": "application/json"},
        },
    ),
    Case("POST json", method="POST", options={"json": {"item": "pencil", "count": 12}}),
    Case("cookie in the jar", cookie=True),
    Case("api_url with a path", api_path="/v1"),
    Case("proxy variables", environment=_PROXIES),
    Case("netrc of 100 entries", netrc=100),
    Case("500 environment variables", variables=500),
    Case("1,000 prefixes", prefixes=1000),
]


def options_of(kind: type[Library], case: Case, base: str) -> dict[str, Any]:
    """Return the options of our objects."""
    if case.api_path is not None:
        return {"api_url": base + case.api_path}
    if case.prefixes > 1 and issubclass(kind, Auth):
        return {"api_url": [base, *other_prefixes(case.prefixes - 1)]}
    return {}


def other_prefixes(count: int) -> list[str]:
    """Return prefixes that are not those of the calls."""
    return [f"https://api{number}.example/v{number}" for number in range(count)]


def make_client(name: str, case: Case, base: str, world: World) -> Library:
    """Return a client that has its token."""
    kind = ALL[name]
    if issubclass(kind, Session):
        kind = type(kind.__name__, (kind,), {"options": options_of(kind, case, base)})
    client = kind(world)
    fetch(client)
    session: Any = client.session
    if issubclass(kind, Session) and not issubclass(kind, Auth):
        for prefix in other_prefixes(case.prefixes - 1):
            session.add_api(prefix, tokens=session.tokens)
    if base.startswith("https:"):
        session.mount("https://", NullAdapter())
    if case.cookie:
        session.cookies.set("theme", "dark")
    return client


def call_of(client: Library, case: Case, base: str) -> Any:
    """Return a function without parameters that sends the request of the case."""
    return partial(sender(client), case.method, base + case.path(), **case.options)


@contextmanager
def surroundings(case: Case, folder: Path) -> Iterator[None]:
    """Set the environment of a case."""
    variables = {"NETRC": str(write_netrc(folder, case.netrc)), **case.environment}
    free = case.variables - len(set(os.environ) | set(variables))
    more = {f"MORE_{name}": value for name, value in fillers(max(0, free)).items()}
    with mock.patch.dict(os.environ, {**variables, **more}):
        yield


def write_netrc(folder: Path, entries: int) -> Path:
    """Write a netrc file with this number of entries for other hosts, or none if it is 0."""
    path = folder / f"netrc-{entries}"
    if entries:
        lines = (f"machine host{n}.example login me password pw{n}\n" for n in range(entries))
        path.write_text("".join(lines))
    return path


@contextmanager
def ready(case: Case, base: str, names: list[str], folder: Path) -> Iterator[Calls]:
    """Yield the call of each contender, in the environment of the case."""
    forget_tokens()
    with World() as world:
        clients = {name: make_client(name, case, base, world) for name in names}
    try:
        with surroundings(case, folder):
            yield {name: call_of(client, case, base) for name, client in clients.items()}
    finally:
        for client in clients.values():
            client.close()
