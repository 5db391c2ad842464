"""What coverage measures: the processes that pytest runs in and their forks, in most tests."""

from __future__ import annotations

import contextlib
import importlib
import os
import pkgutil
import sys
import threading
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

import oauthcc


def pytest_configure(config: pytest.Config) -> None:
    """Leave out what covers nothing new: with coverage everything takes twice as long."""
    if config.getoption("dist", "no") != "no" and not hasattr(config, "workerinput"):
        # This process only distributes the tests; its workers still need the environment.
        _set_trace(None, None)
    else:
        # The processes that tests start, by the hundred, are not measured.
        os.environ.pop("COVERAGE_PROCESS_CONFIG", None)


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Do not measure the collection, only the import of every module of the library."""
    if sys.gettrace() is not None:
        for module in pkgutil.walk_packages(oauthcc.__path__, "oauthcc."):
            importlib.import_module(module.name)
    with _unmeasured():
        if session.config.args_source is pytest.Config.ArgsSource.TESTPATHS:
            _compile_a_share(getattr(session.config, "workerinput", None))
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Do not measure property tests, nor those that are marked."""
    if not any(map(item.get_closest_marker, ("hypothesis", "unmeasured"))):
        return (yield)
    with _unmeasured():
        return (yield)


def _compile_a_share(worker: dict[str, object] | None) -> None:
    """Import the test modules, in another order in each worker.

    To compile a test module takes long, because pytest rewrites its assertions. In this way each
    worker compiles some of the modules, and finds the others compiled.
    """
    if worker is None:
        return
    names = sorted(path.stem for path in Path(__file__).parent.glob("test_*.py"))
    number, count = int(str(worker["workerid"]).removeprefix("gw")), int(str(worker["workercount"]))
    first = len(names) * number // count
    for name in names[first:] + names[:first]:
        # The collection imports the module again, and reports what is wrong with it.
        with contextlib.suppress(Exception, pytest.skip.Exception):
            importlib.import_module(f"tests.{name}")


@contextlib.contextmanager
def _unmeasured() -> Iterator[None]:
    before = sys.gettrace(), threading.gettrace()
    _set_trace(None, None)
    try:
        yield
    finally:
        _set_trace(*before)


def _set_trace(here: object, in_new_threads: object) -> None:
    sys.settrace(here)  # type: ignore[arg-type]
    threading.settrace(in_new_threads)  # type: ignore[arg-type]
