"""At the exit of the interpreter, and where no thread is to be had, in processes of their own."""

from __future__ import annotations

import contextlib
import subprocess
import sys

import pytest

from oauthcc.testing import AuthorizationServer, ProtectedAPI

from .scripts import ROOT

#: Seconds, far beyond what any of these needs: a process that waits for a flight never ends.
PATIENCE = 40

BEGIN = """
import atexit, sys, threading
from oauthcc import ClientCredentialsSession, TokenError
from oauthcc.clock import Instant
from .inside import state_of

token_url, url = sys.argv[1:]
session = ClientCredentialsSession(token_url, "demo-client", "demo-secret")

def advance(seconds):
    ledger, before = state_of(session.tokens), state_of(session.tokens).now()
    ledger.now = lambda: Instant(before.monotonic + seconds, before.wall + seconds)

def get():
    return session.get(url, timeout=20).status_code
"""


def run(script: str, auth: AuthorizationServer, api: ProtectedAPI) -> str:
    """Return what a script printed; it must exit with 0 and have nothing to complain of."""
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + script, auth.token_url, f"{api.url}/x"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_an_early_renewal_that_hangs_does_not_hold_up_the_exit(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    script = """
get()
advance(3000)
print(get(), threading.enumerate()[-1].name)
"""
    with contextlib.ExitStack() as gates:

        def hold_the_next(seen: object, outcome: object) -> None:
            auth.watch = None
            gates.enter_context(auth.hold())

        auth.watch = hold_the_next
        assert run(script, auth, api) == "200 oauthcc-flight\n"


def test_a_cold_caller_in_a_daemon_thread_does_not_hold_up_the_exit(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    script = """
begun = threading.Event()
def call():
    begun.set()
    get()
threading.Thread(target=call, daemon=True).start()
begun.wait()
print("over")
"""
    with auth.hold():
        assert run(script, auth, api) == "over\n"


def test_a_daemon_thread_that_goes_on_calling_is_no_trouble_at_exit(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    script = """
warm = threading.Event()
def call():
    while True:
        get()
        session.tokens.renew()
        warm.set()
threading.Thread(target=call, daemon=True).start()
warm.wait()
print("over")
"""
    for _ in range(3):
        assert run(script, auth, api) == "over\n"


@pytest.mark.parametrize(
    ("before", "requests"),
    [("", 1), ("get()", 1), ("get(); advance(4000)", 2), ("get(); advance(3595)", 2)],
    ids=["cold", "warm", "expired", "in the margin"],
)
def test_a_session_works_at_exit(
    before: str, requests: int, auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    script = f"""
{before}
atexit.register(lambda: (print(get()), session.close()))
"""
    assert run(script, auth, api) == "200\n"
    assert len(auth.token_requests) == requests


def test_an_aging_token_serves_at_exit(auth: AuthorizationServer, api: ProtectedAPI) -> None:
    # From Python 3.12 on no thread can be started there, and before that nobody waits for it.
    script = """
get()
advance(3000)
atexit.register(lambda: print(get()))
"""
    assert run(script, auth, api) == "200\n"


NO_THREADS = """
class NoThread:
    def __enter__(self):
        # More than the address space has: the system itself says no.
        self.before = threading.stack_size(1 << 46)
    def __exit__(self, *_):
        threading.stack_size(self.before)

with NoThread():
    try:
        threading.Thread(target=print).start()
    except RuntimeError:
        pass
    else:
        raise AssertionError("a thread was started")
"""


def test_at_the_limit_of_threads_a_cold_caller_flies_in_place(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    script = """
with NoThread():
    print(get(), get())
print(get())
"""
    assert run(NO_THREADS + script, auth, api) == "200 200\n200\n"
    assert len(auth.token_requests) == 1


def test_at_the_limit_of_threads_an_aging_token_is_used(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    script = """
get()
advance(3000)
with NoThread():
    print(get(), get())
"""
    assert run(NO_THREADS + script, auth, api) == "200 200\n"
    assert len(auth.token_requests) == 1


def test_at_the_limit_of_threads_a_refused_token_is_renewed_in_place(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    script = """
get()
with NoThread():
    print(session.get(url + "/again").status_code)
"""
    api.refuse_next(path="/x/again")
    assert run(NO_THREADS + script, auth, api) == "200\n"
    assert len(auth.token_requests) == 2
