"""What coverage measures: the processes that pytest runs in and their forks, in most tests."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Generator

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Leave out what covers nothing new: with coverage everything takes twice as long."""
    if config.getoption("dist", "no") != "no" and not hasattr(config, "workerinput"):
        # This process only distributes the tests; its workers still need the environment.
        _set_trace(None, None)
    else:
        # The processes that tests start, by the hundred, are not measured.
        os.environ.pop("COVERAGE_PROCESS_CONFIG", None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Do not measure property tests, nor those that are marked."""
    if not any(map(item.get_closest_marker, ("hypothesis", "unmeasured"))):
        return (yield)
    before = sys.gettrace(), threading.gettrace()
    _set_trace(None, None)
    try:
        return (yield)
    finally:
        _set_trace(*before)


def _set_trace(here: object, in_new_threads: object) -> None:
    sys.settrace(here)  # type: ignore[arg-type]
    threading.settrace(in_new_threads)  # type: ignore[arg-type]
