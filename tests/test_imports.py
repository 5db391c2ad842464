"""The direction of imports, and what importing the library loads.

The library is built in floors. A file or folder of a floor imports lower floors. Files of the same
folder may import each other, as may the files of the ground floor, but never in a circle. The front
door, ``oauthcc/__init__.py``, may import everything.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path

import pytest
import requests

import oauthcc
from oauthcc import ClientCredentialsSession, token_request
from oauthcc.token_request import endpoint as imported_before

DOOR = "oauthcc"
GROUND = {
    "access_token",
    "challenge",
    "clock",
    "errors",
    "events",
    "forks",
    "frames",
    "redaction",
    "secret",
    "settings",
    "threads",
    "urls",
    "values",
}
FLOORS = [
    GROUND,
    {"jwt"},
    {"client_auth", "schemes", "stores"},
    {"token_request"},
    {"tokens"},
    {"api_request"},
    {"auth", "session"},
    {"patching"},
    {"testing"},
    {"pytest_plugin"},
    {"cli"},
    {"__main__"},
]
# Below the embedded server, only these modules may import these packages.
ONLY_IN = {
    "oauthlib": ("token_request.endpoint", "token_request.transport"),
    "requests_oauthlib": ("token_request.transport",),
    "jwt": ("jwt",),
}
# Imported inside functions, at first use.
OPTIONAL = {
    *("cryptography", "filelock", "gevent", "jwt", "platformdirs", "redis", "responses", "trustme"),
}
# Only in the folder of the command.
COMMAND = {"rich", "typer"}
# Imported inside functions too: they take long to import, or only a token request needs them.
LATE = {
    *("ast", "configparser", "dataclasses", "dis", "html", "inspect", "platform", "uuid"),
    *("oauthlib", "requests_oauthlib"),
    *("oauthcc.redaction.answer", "oauthcc.redaction.search", "oauthcc.redaction.token_shapes"),
    *("oauthcc.token_request.api_metadata", "oauthcc.token_request.connection"),
    *("oauthcc.token_request.discovery", "oauthcc.token_request.endpoint"),
    *("oauthcc.token_request.response", "oauthcc.token_request.transport"),
}

HERE = Path(__file__).resolve().parent.parent
FLOOR_OF = {place: floor for floor, places in enumerate(FLOORS) for place in places}


def place_of(module: str) -> str:
    """Return the file or folder directly under oauthcc that a dotted name belongs to."""
    return module.split(".")[1] if module.startswith(f"{DOOR}.") else module


def imported_names(tree: ast.AST, module: str, *, is_package: bool) -> Iterator[str]:
    """Yield every absolute dotted name that is imported anywhere below the node."""
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = resolve_name("." * node.level + (node.module or ""), package)
            if node.level and node.module is None:  # "from . import urls" imports a module
                yield from (f"{source}.{alias.name}" for alias in node.names)
            else:
                yield source


def imported_on_load(tree: ast.Module, module: str, *, is_package: bool) -> Iterator[str]:
    """Yield what is imported together with the module: not in functions or TYPE_CHECKING."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from imported_names(node, module, is_package=is_package)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting.extend(node.orelse)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting.extend(ast.iter_child_nodes(node))


def faults_of(module: str, source: str, *, is_package: bool = False) -> list[str]:
    """Return what is wrong with the imports of one module, in words."""
    place, tree = place_of(module), ast.parse(source)
    if place != DOOR and place not in FLOOR_OF:
        return [f"{module} has no floor: add it to the table"]
    found = []
    for name in imported_names(tree, module, is_package=is_package):
        other, top = place_of(name), name.partition(".")[0]
        if place == DOOR or (top == DOOR and other == place) or {place, other} <= GROUND:
            continue
        if top == DOOR and place in ("cli", "__main__"):  # above the front door
            continue
        if top == DOOR and FLOOR_OF.get(other, 99) >= FLOOR_OF[place]:
            found.append(f"{module} imports {name}, which is not below it")
        allowed = ONLY_IN.get(top)
        inside = module.removeprefix(f"{DOOR}.")
        if place != "testing" and allowed and not inside.startswith(allowed):
            found.append(f"{module} imports {name}, which is for {' and '.join(allowed)}")
    found.extend(
        f"{module} imports {name} on load: import it inside a function, at first use"
        for name in imported_on_load(tree, module, is_package=is_package)
        if name.partition(".")[0] in (OPTIONAL if place == "cli" else OPTIONAL | COMMAND)
    )
    return found


def library_files() -> Iterator[tuple[str, Path]]:
    for path in sorted((HERE / DOOR).rglob("*.py")):
        parts = path.relative_to(HERE).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


@pytest.mark.parametrize(("module", "path"), [pytest.param(*x, id=x[0]) for x in library_files()])
def test_imports_point_down_only(module: str, path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert faults_of(module, source, is_package=path.name == "__init__.py") == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    modules = dict(library_files())
    graph = {
        module: {
            name
            for name in imported_on_load(
                ast.parse(path.read_text(encoding="utf-8")),
                module,
                is_package=path.name == "__init__.py",
            )
            # The __init__.py of a folder is loaded before its files, and may import them.
            if name in modules and not module.startswith(f"{name}.")
        }
        for module, path in modules.items()
        if module != DOOR
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize(
    ("module", "source", "fault"),
    [
        ("oauthcc.urls", "from .session import x", "not below"),
        ("oauthcc.urls", "from . import session", "not below"),
        ("oauthcc.urls", "import oauthcc.session", "not below"),
        ("oauthcc.urls", "import oauthcc", "not below"),
        ("oauthcc.urls", "from oauthcc import fetch_token", "not below"),
        ("oauthcc.urls", "from .stores import TokenStore", "not below"),
        ("oauthcc.auth", "def f():\n    from .session import x", "not below"),
        ("oauthcc.auth", "if TYPE_CHECKING:\n    from .session import x", "not below"),
        ("oauthcc.stores.file", "from ..schemes import Bearer", "not below"),
        ("oauthcc.tokens.state", "from ..api_request.body import note_body", "not below"),
        ("oauthcc.token_request.endpoint", "from ..tokens import renewal", "not below"),
        ("oauthcc.testing.server", "from ..pytest_plugin import x", "not below"),
        ("oauthcc.testing.server", "import responses", "on load"),
        ("oauthcc.attic", "", "has no floor"),
        ("oauthcc.session", "from oauthlib.oauth2 import x", "is for token_request.endpoint"),
        ("oauthcc.auth", "import requests_oauthlib", "is for token_request.transport"),
        ("oauthcc.client_auth", "def f():\n    import jwt", "is for jwt"),
        ("oauthcc.jwt", "import jwt", "on load"),
        ("oauthcc.stores.redis", "try:\n    import redis\nexcept ImportError: ...", "on load"),
        ("oauthcc.stores.file", "class A:\n    from filelock import FileLock", "on load"),
        ("oauthcc.testing.tls", "from cryptography import x509", "on load"),
        ("oauthcc", "import platformdirs", "on load"),
        ("oauthcc.patching", "from .cli import main", "not below"),
        ("oauthcc.testing", "from rich import print", "on load"),
    ],
)
def test_an_import_in_the_wrong_direction_is_found(module: str, source: str, fault: str) -> None:
    (found,) = faults_of(module, source)
    assert fault in found


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("oauthcc", "from .session import x\nfrom .errors import y"),
        ("oauthcc.session", "from .tokens.source import x\nfrom . import errors\nimport requests"),
        ("oauthcc.redaction", "from .urls import public_url"),
        ("oauthcc.stores.file", "from .memory import x\nfrom ..errors import y"),
        ("oauthcc.tokens.source", "from . import renewal\nfrom .. import clock"),
        ("oauthcc.stores.redis", "if TYPE_CHECKING:\n    import redis"),
        ("oauthcc.jwt", "def f():\n    import jwt"),
        ("oauthcc.token_request.transport", "from requests_oauthlib import OAuth2Session"),
        ("oauthcc.testing.server", "from oauthlib.oauth2 import x"),
        ("oauthcc.cli.doctor", "import typer\nfrom ..session import x"),
    ],
)
def test_an_import_that_points_down_is_allowed(module: str, source: str) -> None:
    assert faults_of(module, source, is_package=module == DOOR) == []


def run_python(code: str) -> str:
    """Run code in a new interpreter that knows only this environment and this tree."""
    environment = {**os.environ, "PYTHONPATH": str(HERE)}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout


def loaded_by(code: str) -> set[str]:
    """Return the modules that some code loads, without those that requests has loaded."""
    before = "import sys, requests; before = set(sys.modules)"
    return set(run_python(f"{before}\n{code}\nprint(*set(sys.modules) - before)").split())


CONSTRUCT = """
from oauthcc import *
session = ClientCredentialsSession("https://as.example/token", "my-id", "my-secret", "a")
ClientCredentialsSession.from_issuer("https://as.example", "my-id", "my-secret", store=None)
auth = ClientCredentialsAuth("https://as.example/token", "my-id", "my-secret")
"""


def test_importing_the_library_loads_no_optional_dependency() -> None:
    loaded = {name.partition(".")[0] for name in loaded_by(f"{CONSTRUCT}session.tokens.endpoint")}
    assert "requests_oauthlib" in loaded
    assert (OPTIONAL | COMMAND).isdisjoint(loaded)


FROM = "from oauthcc import ClientCredentialsSession"


@pytest.mark.parametrize("code", [FROM, CONSTRUCT], ids=["imported", "constructed"])
def test_what_takes_long_to_import_is_imported_at_first_use(code: str) -> None:
    loaded = loaded_by(code)
    assert "oauthcc.session" in loaded
    assert LATE.isdisjoint(loaded)


def test_the_front_door_loads_no_other_module_of_the_library() -> None:
    loaded = run_python(
        "import oauthcc, sys; oauthcc.__version__, dir(oauthcc); print(*sys.modules)"
    )
    assert {name for name in loaded.split() if name.startswith(("oauthcc", "requests"))} == {DOOR}


def test_the_first_use_of_a_public_name_loads_all_of_them() -> None:
    code = "import oauthcc; oauthcc.patch; print(set(oauthcc.__all__) - set(vars(oauthcc)))"
    assert run_python(code) == "set()\n"


def test_a_name_that_was_set_before_the_first_use_stays() -> None:
    assert run_python("import oauthcc; oauthcc.patch = 7; oauthcc.Token; print(oauthcc.patch)") == (
        "7\n"
    )


def test_the_modules_of_the_library_are_there_when_they_are_used() -> None:
    names = ("clock", "errors", "events", "schemes", "stores", "testing", "tokens")
    for name in names:
        code = f"import oauthcc; print(oauthcc.{name}.__name__, '{name}' in dir(oauthcc))"
        assert run_python(code) == f"oauthcc.{name} True\n"


def test_the_front_door_shows_its_names() -> None:
    assert {*oauthcc.__all__, "__version__"} <= set(dir(oauthcc))


def test_a_missing_name_of_the_front_door_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'oauthcc' has no attribute 'Tokn'"):
        oauthcc.Tokn  # noqa: B018
    with pytest.raises(AttributeError, match="__wrapped__"):
        oauthcc.__wrapped__  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'Tokn' from 'oauthcc'"):
        from oauthcc import Tokn  # noqa: F401
    assert not hasattr(oauthcc, "nothing")


def test_the_error_of_a_module_that_cannot_be_imported_is_seen(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "needy.py").write_text("import no_such_package")
    monkeypatch.setattr(oauthcc, "__path__", [*oauthcc.__path__, str(tmp_path)])
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        oauthcc.needy  # noqa: B018


def test_many_threads_may_use_the_front_door_first() -> None:
    code = """
import sys, threading, oauthcc
sys.setswitchinterval(1e-6)
names = [*oauthcc.__all__, "stores", "testing", "tokens"]
barrier, failed = threading.Barrier(len(names)), []
def use(name):
    barrier.wait()
    try:
        getattr(oauthcc, name)
    except BaseException as error:
        failed.append((name, error))
threads = [threading.Thread(target=use, args=(name,)) for name in names]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(failed)
"""
    assert run_python(code) == "[]\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_fork_waits_for_an_import_at_first_use() -> None:
    # In the child, the lock of a module that another thread imports would never be free.
    code = """
import os, signal, sys, threading
from oauthcc import ClientCredentialsSession

session = ClientCredentialsSession("https://as.example/token", "my-id", "my-secret")
begun, forking = threading.Event(), threading.Event()

class Slow:
    def find_spec(name, path=None, target=None):
        if name == "oauthcc.token_request.endpoint":
            begun.set()
            forking.wait(20)

sys.meta_path.insert(0, Slow)
thread = threading.Thread(target=lambda: session.tokens.endpoint)
thread.start()
begun.wait(20)
os.register_at_fork(before=forking.set)  # called before ours, which was registered earlier
child = os.fork()
if not child:
    signal.alarm(20)
    os._exit(0 if session.tokens.endpoint is not None else 1)
thread.join()
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert run_python(code) == "0\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_fork_waits_for_the_first_use_of_a_public_name() -> None:
    code = """
import os, signal, sys, threading, warnings
import oauthcc
begun, forking = threading.Event(), threading.Event()
class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "oauthcc.session":
            begun.set()
            forking.wait(20)
sys.meta_path.insert(0, Slow())
thread = threading.Thread(target=lambda: oauthcc.Bearer)
thread.start()
begun.wait(20)
warnings.simplefilter("ignore", DeprecationWarning)
os.register_at_fork(before=forking.set)  # called before ours, which was registered earlier
child = os.fork()
if not child:
    signal.alarm(20)
    oauthcc.ClientCredentialsSession
    os._exit(0)
thread.join()
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert run_python(code) == "0\n"


@pytest.mark.parametrize(
    ("broken", "error"),
    [
        ("import nothing_there", "ModuleNotFoundError: No module named 'nothing_there'"),
        ("import os; os.nothing", "ImportError: .*module 'os' has no attribute 'nothing'"),
    ],
)
@pytest.mark.parametrize("use", ["from oauthcc import Bearer", "import oauthcc; oauthcc.testing"])
def test_a_dependency_that_is_broken_shows_its_own_error(
    tmp_path: Path, broken: str, error: str, use: str
) -> None:
    (tmp_path / "urllib3.py").write_text(broken)
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
try:
    {use}
except Exception as error:
    print(f"{{type(error).__name__}}: {{error}}")
"""
    assert re.match(error, run_python(code))


def test_a_module_that_is_broken_is_not_a_missing_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.py").write_text("import os; os.nothing")
    monkeypatch.setattr(oauthcc, "__path__", [*oauthcc.__path__, str(tmp_path)])
    with pytest.raises(ImportError, match=r"oauthcc\.broken .* has no attribute 'nothing'"):
        hasattr(oauthcc, "broken")


def test_the_library_can_be_imported_without_its_optional_dependencies() -> None:
    absent = f"import sys; sys.modules.update(dict.fromkeys({sorted(OPTIONAL)}))"
    assert run_python(f"{absent}; import oauthcc; print(oauthcc.__name__)") == "oauthcc\n"


def test_a_session_that_a_tool_puts_into_requests_is_no_base_of_the_endpoint() -> None:
    code = f"""{CONSTRUCT}
import requests
plain = requests.Session
requests.Session = there = type("CachedSession", (plain,), {{}})
kind = type(session.tokens.endpoint)
assert there not in kind.__mro__ and plain in kind.__mro__, kind.__mro__
assert requests.Session is there
"""
    loaded_by(code)


def test_what_a_tool_has_put_into_requests_is_there_again_after_the_import(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = type("CachedSession", (requests.Session,), {})
    monkeypatch.setattr(token_request, "endpoint", imported_before)  # to restore it
    monkeypatch.delitem(sys.modules, "oauthcc.token_request.endpoint")
    monkeypatch.setattr(requests, "Session", there)
    session = ClientCredentialsSession("https://as.example/token", "my-id", "my-secret")
    assert there not in type(session.tokens.endpoint).__mro__
    assert requests.Session is there
