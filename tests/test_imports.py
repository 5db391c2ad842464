"""Read which way imports point, and what importing the library loads.

Every module of oauthcc stands on a floor and imports lower floors alone. The modules of one package
folder share its floor and may import each other. The roof may import everything.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import resolve_name
from pathlib import Path

import pytest

FLOORS = {
    0: ["access_token", "errors"],
    1: [
        "challenge",
        "flight",
        "forks",
        "clock",
        "jwt",
        "redaction",
        "replay",
        "secret",
        "settings",
        "urls",
    ],
    2: [
        "answer",
        "client_auth",
        "events",
        "metadata",
        "prefix",
        "renewal",
        "schemes",
        "stores",
        "transport_errors",
    ],
    3: ["exchange", "ledger", "reach", "token_response"],
    4: ["discovery", "signing"],
    5: ["grant"],
    6: ["token_endpoint"],
    7: ["supplier"],
    8: ["fetching"],
    9: ["token_source"],
    10: ["handle_401"],
    11: ["auth", "sending"],
    12: ["session"],
    13: ["testing"],
}
ROOF = "oauthcc"
# Below the embedded server, these alone may import these packages.
ONLY_IN = {
    "oauthlib": {"exchange", "token_endpoint", "token_response"},
    "requests_oauthlib": {"exchange", "token_endpoint", "token_response"},
    "jwt": {"jwt"},
}
# Imported inside functions, at first use.
OPTIONAL = {
    "cryptography",
    "filelock",
    "gevent",
    "jwt",
    "platformdirs",
    "redis",
    "rich",
    "trustme",
    "typer",
}

HERE = Path(__file__).resolve().parent.parent
FLOOR_OF = {room: floor for floor, rooms in FLOORS.items() for room in rooms}


def room_of(module: str) -> str:
    """Return the file or folder directly under oauthcc that a dotted name belongs to."""
    return module.split(".")[1] if module.startswith(f"{ROOF}.") else module


def imported_names(tree: ast.AST, module: str, *, is_package: bool) -> Iterator[str]:
    """Yield every absolute dotted name that is imported anywhere below the node."""
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = resolve_name("." * node.level + (node.module or ""), package)
            if source == ROOF:  # "from . import urls" asks for a room, not for the roof.
                yield from (f"{ROOF}.{alias.name}" for alias in node.names)
            else:
                yield source


def imported_on_load(tree: ast.Module, module: str, *, is_package: bool) -> Iterator[str]:
    """Yield what is imported as soon as the module is: outside functions and TYPE_CHECKING."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from imported_names(node, module, is_package=is_package)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting.extend(node.orelse)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting.extend(ast.iter_child_nodes(node))


def complaints_about(module: str, source: str, *, is_package: bool = False) -> list[str]:
    """Return what is wrong with the imports of one module, in words."""
    room, tree = room_of(module), ast.parse(source)
    if room != ROOF and room not in FLOOR_OF:
        return [f"{module} has no floor: add it to the table"]
    found = []
    for name in imported_names(tree, module, is_package=is_package):
        other, top = room_of(name), name.partition(".")[0]
        if room == ROOF or (top == ROOF and other == room):
            continue
        if top == ROOF and FLOOR_OF.get(other, 99) >= FLOOR_OF[room]:
            found.append(f"{module} imports {name}, which is not below it")
        if FLOOR_OF[room] <= FLOOR_OF["session"] and room not in ONLY_IN.get(top, {room}):
            found.append(f"{module} imports {name}, which is for {sorted(ONLY_IN[top])}")
    found.extend(
        f"{module} imports {name} on load: import it inside a function, at first use"
        for name in imported_on_load(tree, module, is_package=is_package)
        if name.partition(".")[0] in OPTIONAL and room != "cli"
    )
    return found


def library_files() -> Iterator[tuple[str, Path]]:
    for path in sorted((HERE / ROOF).rglob("*.py")):
        parts = path.relative_to(HERE).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


@pytest.mark.parametrize(("module", "path"), [pytest.param(*x, id=x[0]) for x in library_files()])
def test_imports_point_down_only(module: str, path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert complaints_about(module, source, is_package=path.name == "__init__.py") == []


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("oauthcc.urls", "from .session import x", "not below"),
        ("oauthcc.urls", "from . import session", "not below"),
        ("oauthcc.urls", "import oauthcc.session", "not below"),
        ("oauthcc.urls", "import oauthcc", "not below"),
        ("oauthcc.urls", "from oauthcc import fetch_token", "not below"),
        ("oauthcc.urls", "from .secret import Secret", "not below"),
        ("oauthcc.auth", "def f():\n    from .session import x", "not below"),
        ("oauthcc.auth", "if TYPE_CHECKING:\n    from .session import x", "not below"),
        ("oauthcc.stores.file", "from ..events import Event", "not below"),
        ("oauthcc.testing.server", "from ..pytest_plugin import x", "not below"),
        ("oauthcc.attic", "", "has no floor"),
        ("oauthcc.session", "from oauthlib.oauth2 import x", "is for ['exchange'"),
        ("oauthcc.auth", "import requests_oauthlib", "is for ['exchange'"),
        ("oauthcc.client_auth", "def f():\n    import jwt", "is for ['jwt']"),
        ("oauthcc.jwt", "import jwt", "on load"),
        ("oauthcc.stores.redis", "try:\n    import redis\nexcept ImportError: ...", "on load"),
        ("oauthcc.stores.file", "class A:\n    from filelock import FileLock", "on load"),
        ("oauthcc.testing.tls", "from cryptography import x509", "on load"),
        ("oauthcc", "import platformdirs", "on load"),
    ],
)
def test_an_import_that_points_elsewhere_is_told(module: str, source: str, complaint: str) -> None:
    (found,) = complaints_about(module, source)
    assert complaint in found


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("oauthcc", "from .session import x\nfrom .errors import y"),
        ("oauthcc.session", "from .auth import x\nfrom . import errors, urls\nimport requests"),
        ("oauthcc.stores.file", "from .memory import x\nfrom ..errors import y"),
        ("oauthcc.stores.redis", "if TYPE_CHECKING:\n    import redis"),
        ("oauthcc.jwt", "def f():\n    import jwt"),
        ("oauthcc.exchange", "from requests_oauthlib import OAuth2Session"),
        ("oauthcc.testing.server", "from oauthlib.oauth2 import x"),
    ],
)
def test_an_import_that_points_down_is_allowed(module: str, source: str) -> None:
    assert complaints_about(module, source, is_package=module == ROOF) == []


def run_python(code: str) -> str:
    """Run code in a fresh interpreter that knows only this environment and this tree."""
    environment = {**os.environ, "PYTHONPATH": str(HERE)}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout


def test_importing_the_library_loads_no_optional_dependency() -> None:
    loaded = run_python("import oauthcc, sys; print(*{n.partition('.')[0] for n in sys.modules})")
    assert "requests_oauthlib" in loaded.split()
    assert OPTIONAL.isdisjoint(loaded.split())


def test_the_library_is_imported_where_no_optional_dependency_is_installed() -> None:
    absent = f"import sys; sys.modules.update(dict.fromkeys({sorted(OPTIONAL)}))"
    assert run_python(f"{absent}; import oauthcc; print(oauthcc.__name__)") == "oauthcc\n"
