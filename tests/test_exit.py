"""The exit of the interpreter, an interrupt, and a lack of threads, in processes of their own."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys

import pytest

from oauthcc.testing import AuthorizationServer, ProtectedAPI

from .scripts import ROOT

#: Seconds, far more than any of these needs: a process that waits for a flight never ends.
PATIENCE = 40

BEGIN = """
import atexit, logging, signal, sys, threading
from oauthcc import ClientCredentialsSession, TokenEndpointTimeout
from tests.clock import shift_clocks, until
from tests.inside import waiters_of

logging.disable()  # or Python prints the warnings
token_url, url = sys.argv[1:]
session = ClientCredentialsSession(token_url, "demo-client", "demo-secret")

def get():
    return session.get(url, timeout=20).status_code
"""


def run(script: str, auth: AuthorizationServer, api: ProtectedAPI) -> str:
    """Return what a script printed; it must exit with 0 and report no problem."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", BEGIN + script, auth.token_url, f"{api.url}/x"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_fetch_that_hangs_does_not_delay_the_exit(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    script = """
try:
    session.tokens.get(timeout=0.01)
except TokenEndpointTimeout:
    print(sorted({thread.daemon for thread in threading.enumerate()}))
"""
    with auth.hold():
        assert run(script, auth, api) == "[False, True]\n"


def test_an_early_renewal_that_hangs_does_not_delay_the_exit(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    script = """
get()
shift_clocks(3000)
print(get(), any(thread.name == "oauthcc-flight" for thread in threading.enumerate()))
"""
    with contextlib.ExitStack() as gates:

        def hold_the_next(seen: object, outcome: object) -> None:
            auth.watch = None
            gates.enter_context(auth.hold())

        auth.watch = hold_the_next
        assert run(script, auth, api) == "200 True\n"


def test_a_caller_that_waits_in_a_daemon_thread_does_not_delay_the_exit(
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


def test_a_daemon_thread_that_keeps_calling_does_not_disturb_the_exit(
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
    [("", 1), ("get()", 1), ("get(); shift_clocks(4000)", 2), ("get(); shift_clocks(3595)", 2)],
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


def test_a_request_while_the_interpreter_ends_does_not_wait_forever(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    # Modules can no longer be imported there, so requests itself fails too.
    script = """
class Late:
    def __del__(self):
        try:
            get()
        except Exception:
            pass
        print("ended")

late = Late()
"""
    assert run(script, auth, api) == "ended\n"


def test_an_aging_token_is_used_at_exit(auth: AuthorizationServer, api: ProtectedAPI) -> None:
    # Since Python 3.12 no thread can be started there, and before that nobody waits for it.
    script = """
get()
shift_clocks(3000)
atexit.register(lambda: print(get()))
"""
    assert run(script, auth, api) == "200\n"


INTERRUPTED = """
free, interrupted, statuses = threading.Event(), threading.Event(), []

def secret():
    free.wait()
    return "demo-secret"

def interrupt():
    until(lambda: waiters_of(session.tokens) == 1)
    for thread in others:
        thread.start()
    until(lambda: waiters_of(session.tokens) == 6)
    # A signal that comes just before the caller begins to wait does not end its wait.
    while not interrupted.wait(0.01):
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

def raise_once(*_):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt

session = ClientCredentialsSession(token_url, "demo-client", secret)
others = [threading.Thread(target=lambda: statuses.append(get())) for _ in range(5)]
signal.signal(signal.SIGINT, raise_once)
threading.Thread(target=interrupt).start()
try:
    get()
except KeyboardInterrupt:
    print("interrupted")
interrupted.set()
free.set()
for thread in others:
    thread.join()
print(statuses, get())
"""


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="threads cannot be signalled here")
def test_an_interrupt_of_the_first_caller_does_not_affect_the_others(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    assert run(INTERRUPTED, auth, api) == "interrupted\n[200, 200, 200, 200, 200] 200\n"
    assert len(auth.token_requests) == 1


NO_THREADS = """
class NoThread:
    def __enter__(self):
        # More than the address space has: the system itself refuses.
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


def test_at_the_limit_of_threads_the_first_caller_fetches_the_token_itself(
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
shift_clocks(3000)
with NoThread():
    print(get(), get())
"""
    assert run(NO_THREADS + script, auth, api) == "200 200\n"
    assert len(auth.token_requests) == 1


def test_at_the_limit_of_threads_the_caller_renews_a_refused_token_itself(
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
