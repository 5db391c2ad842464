"""The decisions of `oauthcc.threads`; test_gevent.py and test_frozen_clocks.py use real tools."""

from __future__ import annotations

import os
import sys
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from oauthcc import threads

from .clock import until


class FakeGevent:
    """gevent, as far as it is asked: which modules it has patched, and whose hub this is."""

    def __init__(self, *patched: str, main_hub: bool = True) -> None:
        self.patched, self.main_hub, self.destroyed = patched, main_hub, list[bool]()
        self.native = list[Any]()
        self.slept = list[float]()

    def is_module_patched(self, name: str) -> bool:
        return name in self.patched

    def get_original(self, module: str, name: str) -> Any:
        if (module, name) == ("time", "sleep"):
            return self.slept.append
        assert (module, name) == ("_thread", "start_new_thread")
        return lambda function, arguments: self.native.append((function, arguments))

    def get_hub(self) -> Any:
        destroy = lambda *, destroy_loop: self.destroyed.append(destroy_loop)  # noqa: E731
        return SimpleNamespace(main_hub=self.main_hub, destroy=destroy)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> FakeGevent:
        monkeypatch.setitem(sys.modules, "gevent", self)  # type: ignore[arg-type]
        monkeypatch.setitem(sys.modules, "gevent.monkey", self)  # type: ignore[arg-type]
        return self


def started() -> str:
    """Return the name of the thread that a function ran on."""
    names: list[str] = []
    ended = threading.Event()

    def run() -> None:
        names.append(threading.current_thread().name)
        ended.set()

    threads.start_daemon(run, "mine")
    assert ended.wait(20)
    return names[0]


def test_a_function_runs_on_a_thread_with_a_name() -> None:
    assert started() == "mine"


@pytest.mark.parametrize(
    "gevent", [FakeGevent("socket"), FakeGevent("threading"), FakeGevent("threading", "socket")]
)
def test_a_function_runs_on_a_thread_of_its_hub(
    gevent: FakeGevent, monkeypatch: pytest.MonkeyPatch
) -> None:
    gevent.install(monkeypatch)
    assert started() == "mine"


def test_a_function_runs_on_a_native_thread_if_the_hub_of_this_one_may_not_run_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gevent, ran = FakeGevent("threading", main_hub=False).install(monkeypatch), list[int]()
    threads.start_daemon(lambda: ran.append(1), "mine")
    ((function, arguments),) = gevent.native
    assert ran == []
    function(*arguments)
    assert (ran, gevent.destroyed) == ([1], [True])


def test_the_hub_of_a_native_thread_is_destroyed_if_the_function_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gevent = FakeGevent("threading", main_hub=False).install(monkeypatch)
    threads.start_daemon(lambda: 1 // 0, "mine")
    ((function, arguments),) = gevent.native
    with pytest.raises(ZeroDivisionError):
        function(*arguments)
    assert gevent.destroyed == [True]


@pytest.mark.parametrize("patched", [(), ("threading", "socket"), ("socket",)])
def test_a_lock_is_acquired_if_it_is_free(
    patched: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeGevent(*patched).install(monkeypatch)
    lock = threading.Lock()
    assert threads.acquire(lock, 0.01)
    assert not threads.acquire(lock, 0.01)


@pytest.mark.parametrize("name", ["start_daemon", "closing_hub"])
def test_the_hub_of_a_real_thread_is_closed_if_gevent_has_patched_sockets_only(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gevent, ran = FakeGevent("socket").install(monkeypatch), list[int]()
    if name == "closing_hub":
        threads.closing_hub(lambda: ran.append(1))()
    else:
        threads.start_daemon(lambda: ran.append(1), "mine")
        until(lambda: bool(gevent.destroyed))
    assert (ran, gevent.destroyed) == ([1], [True])


def test_a_lock_that_would_stop_greenlets_is_looked_at_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses: list[float] = []
    FakeGevent("socket").install(monkeypatch)
    monkeypatch.setattr(threads, "time", SimpleNamespace(sleep=pauses.append))
    lock = threading.Lock()
    lock.acquire()
    assert [threads.acquire(lock, seconds) for seconds in (1.0, 0.001)] == [False, False]
    assert pauses == [0.005, 0.001]


@pytest.mark.parametrize("name", ["time", "monotonic"])
def test_everything_runs_in_the_caller_while_a_clock_is_replaced(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not threads.must_stay_in_caller()
    real = getattr(time, name)
    monkeypatch.setattr(time, name, lambda: real() + 0.0)
    assert threads.must_stay_in_caller()


def test_no_thread_is_started_while_the_interpreter_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.is_finalizing", lambda: True)
    with pytest.raises(RuntimeError, match="while the interpreter ends"):
        threads.start(threading.Thread(target=print))


def test_the_end_of_the_process_waits_for_the_hub_of_a_thread_but_not_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gevent = FakeGevent("socket").install(monkeypatch)

    def looks() -> int:
        gevent.slept.clear()
        threads._wait_for_hubs()
        return len(gevent.slept)

    assert looks() == 0
    during = list[int]()
    threads.closing_hub(lambda: during.append(looks()))()
    assert during == [threads._LAST_LOOKS]
    assert looks() == 0


def test_a_forked_child_does_not_wait_for_the_threads_of_its_parent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gevent = FakeGevent("socket").install(monkeypatch)

    def end_of_a_child() -> None:
        with monkeypatch.context() as child:
            child.setattr(os, "getpid", lambda: -1)
            threads._wait_for_hubs()

    threads.closing_hub(end_of_a_child)()
    assert gevent.slept == []
