"""What Python imports when it starts a program of ``oauthcc run``.

It imports nothing that the program could notice: tools such as gevent have to come before requests.
So it waits until the program imports requests, and patches it then. Children that `multiprocessing`
starts run this file too.
"""  # noqa: INP001 - the folder is not a package

from __future__ import annotations

import json
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

#: What `oauthcc.cli.program.environment_for` has told, with what may change later. A child of
#: `multiprocessing` finds it here.
told: dict[str, Any] | None = globals().get("told")


def _read_environment() -> dict[str, Any]:
    """Return what was told, and put the environment back as the program should see it."""
    found: dict[str, Any] = json.loads(os.environ["OAUTHCC_RUN"])
    found["environ"] = {k: v for k, v in os.environ.items() if k.startswith("OAUTH_")}
    if not found["with_subprocesses"]:
        del os.environ["OAUTHCC_RUN"]
        if found["path"] is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = found["path"]
    return found


class _Watch:
    """A finder that calls functions when modules have been imported."""

    def __init__(self) -> None:
        self._calls: dict[str, Callable[[], object]] = {}

    def call_after(self, name: str, call: Callable[[], object]) -> None:
        """Call a function after a module was imported, or now if it was."""
        if name in sys.modules:
            call()
        else:
            self._calls[name] = call

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Return what the other finders find, with a loader that calls the function."""
        if name not in self._calls:
            return None
        for finder in sys.meta_path:
            find_spec = getattr(finder, "find_spec", None)
            spec = find_spec(name, path, target) if find_spec and finder is not self else None
            if spec is not None:
                if hasattr(spec.loader, "exec_module"):
                    spec.loader = _Loader(spec.loader, self)
                return spec
        return None

    def finish(self, module: Any) -> None:
        """Call the function for a module that was imported now, if it is not only a copy."""
        name = module.__name__
        if name in self._calls and sys.modules.get(name) is module:
            self._calls.pop(name)()
            if not self._calls and self in sys.meta_path:
                sys.meta_path.remove(self)


class _Loader:
    """A loader that tells a watch when a module was imported."""

    def __init__(self, loader: Any, watch: _Watch) -> None:
        self._loader = loader
        self._watch = watch

    def exec_module(self, module: Any) -> None:
        """Execute the module with its own loader."""
        module.__loader__ = module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._watch.finish(module)

    def __getattr__(self, name: str) -> Any:
        """Return what the module's own loader has."""
        return getattr(self._loader, name)


class _ForChild:
    """What makes a child of `multiprocessing` run this file before anything else."""

    def __reduce__(self) -> tuple[Any, ...]:
        import runpy

        return runpy.run_path, (os.path.abspath(__file__), {"told": told})  # noqa: PTH100


def _import_library(path: list[str]) -> Any:
    """Import the library by this path, and return how it begins.

    The folder of the program is not in it. A module there may have the name of one of Python that
    the library needs, such as ``secrets``. Both are kept then, and the program imports its own one.
    """
    from importlib.machinery import PathFinder

    before, modules = sys.path, dict(sys.modules)
    own = [each for each in before[:1] if each not in path]
    specs = {name: PathFinder.find_spec(name, own) for name in sys.stdlib_module_names}
    files = {name: spec.origin for name, spec in specs.items() if spec and spec.has_location}
    for name, file in files.items():
        if getattr(modules.get(name), "__file__", None) == file:
            del sys.modules[name]
    sys.path = path
    try:
        from oauthcc.cli.program import begin

        if files:  # else it is imported when it is needed
            import oauthcc.token_request.endpoint  # noqa: F401
    finally:
        sys.path = before
        for name in files:
            if name in modules:
                sys.modules[name] = modules[name]
            else:
                sys.modules.pop(name, None)
    return begin


def _begin(found: dict[str, Any]) -> None:
    watch = _Watch()
    is_done = False
    # The library may be there without being installed.
    path = [*filter(None, sys.path), found["library"]]

    def patch_requests() -> None:
        nonlocal is_done
        # A module of the program may have the name requests, too.
        if not is_done and "requests.models" in sys.modules:
            begin = _import_library(path)
            if not is_done:
                is_done = True
                begin(found)

    def patch_before_library() -> None:
        # Its modules import requests while they are only partly imported themselves, and nothing
        # could be patched then.
        __import__("requests")
        patch_requests()

    def patch_children() -> None:
        spawn: Any = sys.modules["multiprocessing.spawn"]
        original = spawn.get_preparation_data

        def get_preparation_data(name: str) -> dict[str, Any]:
            return {**original(name), "oauthcc.cli": _ForChild()}

        spawn.get_preparation_data = get_preparation_data

    sys.meta_path.insert(0, watch)
    watch.call_after("requests", patch_requests)
    watch.call_after("oauthcc", patch_before_library)
    watch.call_after("multiprocessing.spawn", patch_children)


def _import_hidden() -> None:
    """Import the module of this name that Python would have found without this one."""
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120
    sys.path[:] = [each for each in sys.path if os.path.abspath(each) != here]  # noqa: PTH100
    ours = sys.modules.pop(__name__)
    try:
        import sitecustomize  # type: ignore[import-not-found]  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != __name__:
            raise
        sys.modules[__name__] = ours


if __name__ == "sitecustomize":
    if os.environ.get("OAUTHCC_RUN"):  # else a subprocess whose environment has only the path
        told = _read_environment()
        if told["prefix"] == sys.prefix:  # else one with another installation of Python
            _begin(told)
    _import_hidden()
elif told is not None and not any(type(each).__name__ == "_Watch" for each in sys.meta_path):
    _begin(told)
