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
from types import FrameType
from typing import Any

import pytest

import oauthcc

MARKS = ("measured", "unmeasured", "hypothesis")
#: Only in files that begin so, the threads of the servers of oauthcc.testing are measured.
TESTS_OF_THE_SERVERS = "test_testing"


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
    """Measure a test, or do not measure it if it is a property test or marked `unmeasured`."""
    names = (mark.name for mark in item.iter_markers())  # those of the test before the module's
    decisive = next((name for name in names if name in MARKS), "measured")
    if decisive != "measured":
        with _unmeasured():
            return (yield)
    if item.path.name.startswith(TESTS_OF_THE_SERVERS):
        return (yield)
    with _unmeasured_servers():
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


@contextlib.contextmanager
def _unmeasured_servers() -> Iterator[None]:
    before: Any = threading.gettrace()

    def begin(frame: FrameType, event: str, argument: object) -> Any:
        if threading.current_thread().name.startswith("loopback"):
            sys.settrace(None)
            return None
        return before(frame, event, argument)

    threading.settrace(before and begin)
    try:
        yield
    finally:
        threading.settrace(before)


def _set_trace(here: Any, in_new_threads: Any) -> None:
    sys.settrace(here)
    threading.settrace(in_new_threads)
