"""Scenes in a process that gevent has patched: ``python -m tests.gevent_child SCENE ...``.

With ``EARLY`` in the environment gevent patches before anything is imported, as its documentation
requires. Without it the library is imported first, and a session is made after the patching. With
``NO_THREADS`` it does not patch threads and locks, as grequests does.
"""

# ruff: noqa: I001 - the order of the imports matters

from __future__ import annotations

import os
import sys

from gevent import monkey

if "EARLY" in os.environ:
    monkey.patch_all(thread="NO_THREADS" not in os.environ, select="NO_THREADS" not in os.environ)

import oauthcc
import requests

if "EARLY" not in os.environ:
    monkey.patch_all(thread="NO_THREADS" not in os.environ, select="NO_THREADS" not in os.environ)

import gc
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
from gevent.event import Event

from oauthcc import ClientCredentialsSession, TokenEndpointTimeout, threads
from oauthcc.stores import MemoryStore
from oauthcc.testing import AuthorizationServer, ProtectedAPI
from .clock import flights_done, real_clocks, shift_clocks
from .inside import waiters_of

MANY = 64
_thread_id: Callable[[], int] = monkey.get_original("_thread", "get_ident")


class Stage:
    """Both servers and a session, all in this thread."""

    def __init__(self, **options: Any) -> None:
        self.auth = AuthorizationServer().start()
        self.api = ProtectedAPI(self.auth).start()
        self.url = f"{self.api.url}/anything"
        client = self.auth.token_url, self.auth.client_id, options.pop("secret", "demo-secret")
        self.session = ClientCredentialsSession(*client, **options)

    def get(self) -> int:
        return self.session.get(self.url).status_code

    def many(self) -> None:
        """Send a request from many greenlets at once; all of them succeed."""
        answers = [gevent.spawn(self.get) for _ in range(MANY)]
        gevent.joinall(answers, raise_error=True)
        assert [answer.value for answer in answers] == [200] * MANY

    def advance(self, seconds: float) -> None:
        """Move all clocks forward."""
        shift_clocks(seconds)
        self.auth.advance(seconds)

    def end(self, token_requests: int) -> None:
        assert len(self.auth.token_requests) == token_requests, self.auth.token_requests
        assert self.auth.max_concurrent == 1
        self.session.close()
        self.api.close()
        self.auth.close()


def storms() -> None:
    """Need the first token, one at expiry and one after a revocation: one token request each."""
    stage = Stage()
    stage.auth.delay = 0.05
    stage.many()
    stage.advance(4000)
    stage.many()
    stage.auth.revoke_all()
    stage.many()
    stage.end(token_requests=3)


def storms_on_one_connection() -> None:
    """Do the same with a blocking pool of one connection, and with a store."""
    stage = Stage(store=MemoryStore())
    adapter = requests.adapters.HTTPAdapter(pool_maxsize=1, pool_block=True)
    stage.session.mount("http://", adapter)
    stage.many()
    stage.auth.revoke_all()
    stage.many()
    stage.end(token_requests=2)


def early_renewal() -> None:
    """Renew in the background while callers use the current token."""
    stage = Stage()
    stage.get()
    stage.advance(3000)
    with stage.auth.hold() as gate:
        stage.many()
        gate.wait_for(1)
    _until(lambda: stage.session.tokens.get().access_token == stage.auth.issued[-1])
    assert stage.session.tokens.get().access_token == stage.auth.issued[-1]
    stage.end(token_requests=2)


def killed_caller() -> None:
    """Kill the greenlet that came first: the others get the token."""
    stage = Stage()
    with stage.auth.hold() as gate:
        first = gevent.spawn(stage.get)
        gate.wait_for(1)
        others = [gevent.spawn(stage.get) for _ in range(5)]
        _until(lambda: waiters_of(stage.session.tokens) == 6)
        first.kill()
    gevent.joinall(others, raise_error=True)
    assert [other.value for other in others] == [200] * 5
    stage.end(token_requests=1)


def impatient_caller() -> None:
    """Raise a gevent.Timeout in the greenlet that came first: the others get the token."""
    stage = Stage()
    gave_up = Event()

    def impatient() -> str:
        try:
            with gevent.Timeout(0.05):
                stage.get()
        except gevent.Timeout:
            gave_up.set()
            return "gave up"
        return "got it"

    with stage.auth.hold() as gate:
        first = gevent.spawn(impatient)
        gate.wait_for(1)
        others = [gevent.spawn(stage.get) for _ in range(5)]
        gave_up.wait(10)
    gevent.joinall([first, *others], raise_error=True)
    assert first.value == "gave up"
    assert [other.value for other in others] == [200] * 5
    assert stage.get() == 200
    stage.end(token_requests=1)


def timeout_of_a_caller() -> None:
    """Let the ``timeout=`` of a caller end: it gets our error, and the fetch continues."""
    stage = Stage()
    with stage.auth.hold() as gate:
        try:
            stage.session.get(stage.url, timeout=0.05)
        except TokenEndpointTimeout:
            gate.wait_for(1)
        else:
            raise AssertionError
    assert stage.get() == 200
    stage.end(token_requests=1)


def fetch_is_a_greenlet() -> None:
    """Fetch the token in a greenlet of this same thread."""
    seen: list[Any] = []

    def secret() -> str:
        seen.append((threading.current_thread().name, gevent.getcurrent(), _thread_id()))
        return "demo-secret"

    stage = Stage(secret=secret)
    assert stage.get() == 200
    ((name, greenlet, thread),) = seen
    assert name == "oauthcc-flight"
    assert isinstance(greenlet, gevent.Greenlet)
    assert thread == _thread_id()
    stage.end(token_requests=1)


def pool() -> None:
    """Begin an early renewal, and then a fetch, in gevent's pool of threads."""
    stage = Stage()
    stage.get()
    first = stage.session.tokens.get()
    stage.advance(3000)
    use_pool = gevent.get_hub().threadpool.apply
    assert use_pool(stage.session.tokens.get) == first
    _until(lambda: stage.session.tokens.get() != first)
    stage.auth.revoke_all()
    stage.many()
    stage.advance(4000)
    assert use_pool(stage.session.tokens.get).access_token == stage.auth.issued[-1]
    stage.many()
    stage.end(token_requests=4)


def unpatched_threads() -> None:
    """Use servers in another process; other greenlets run while a token is fetched."""
    turns, stop = [0], Event()

    def run() -> None:
        while not stop.wait(0.001):
            turns[0] += 1

    other = gevent.spawn(run)
    token_url, url = os.environ["TOKEN_URL"], os.environ["API_URL"]
    with ClientCredentialsSession(token_url, "demo-client", "demo-secret") as session:
        for _ in range(3):
            calls = [gevent.spawn(session.get, url) for _ in range(8)]
            before = turns[0]
            gevent.joinall(calls, raise_error=True)
            assert [call.value.status_code for call in calls] == [200] * 8
            assert turns[0] > before + 5
            session.tokens.mark_refused(session.tokens.get())
        flights_done()
        before = _descriptors()
        for _ in range(10):
            session.tokens.renew()
            flights_done()
        assert _descriptors() == before
    stop.set()
    other.join()


def _descriptors() -> int:
    gc.collect()
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def fork() -> None:
    """Fork with an idle connection; the servers run in the process that started this one.

    In the child of gevent's ``fork`` every greenlet continues, so none of them may be busy.
    """
    token_url, url = os.environ["TOKEN_URL"], os.environ["API_URL"]
    with ClientCredentialsSession(token_url, "demo-client", "demo-secret") as session:
        assert session.get(url).status_code == 200
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = 0 if session.get(url).status_code == 200 else 2
                session.tokens.renew()
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        assert session.get(url).status_code == 200
        session.tokens.renew()


def _until(condition: Callable[[], bool]) -> None:
    with gevent.Timeout(10):
        while not condition():
            gevent.sleep(0.001)


def slow_end() -> None:
    """End the process while a thread destroys its hub, which takes a while here."""
    destroy, sleep = gevent.hub.Hub.destroy, monkey.get_original("time", "sleep")

    def slowly(hub: Any, **options: Any) -> None:
        sleep(0.1)
        destroy(hub, **options)
        Path(os.environ["ENDED"]).touch()

    gevent.hub.Hub.destroy = slowly
    threads.start_daemon(lambda: gevent.sleep(0), "ends slowly")


SCENES = {
    scene.__name__: scene
    for scene in (
        storms,
        storms_on_one_connection,
        early_renewal,
        killed_caller,
        impatient_caller,
        timeout_of_a_caller,
        fetch_is_a_greenlet,
        fork,
        pool,
        unpatched_threads,
        slow_end,
    )
}

if __name__ == "__main__":
    assert oauthcc.__version__
    for name in sys.argv[1:]:
        with gevent.Timeout(50):
            SCENES[name]()
        real_clocks()
        print(name, flush=True)  # noqa: T201 - the test reads it
