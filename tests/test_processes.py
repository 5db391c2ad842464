"""Sessions in other processes, started by each method of multiprocessing, and in pools."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from oauthcc import ClientCredentialsSession
from oauthcc.testing import AuthorizationServer, ProtectedAPI

from .forked import PATIENCE, fork_among_threads

pytestmark = [fork_among_threads, pytest.mark.unmeasured]

METHODS = multiprocessing.get_all_start_methods()

#: The session of a process in a pool, as in any server that starts workers.
_own_sources: list[ClientCredentialsSession] = []


@pytest.fixture
def session(auth: AuthorizationServer) -> Iterator[ClientCredentialsSession]:
    with ClientCredentialsSession(auth.token_url, auth.client_id, auth.client_secret) as made:
        yield made


def call(session: ClientCredentialsSession, url: str, answers: Any) -> None:
    """Send two requests and close the session, in a process of its own."""
    with session:
        answers.put([session.get(url).status_code for _ in range(2)])


def call_once(session: ClientCredentialsSession, url: str) -> int:
    """Send a request in a process of a pool, with the session of the task."""
    with session:
        return session.get(url).status_code


def prepare(session: ClientCredentialsSession) -> None:
    """Keep a session in a process of a pool."""
    _own_sources.append(session)


def call_by_own(url: str) -> tuple[int, int]:
    """Send a request in a process of a pool, with the session of that process."""
    return os.getpid(), _own_sources[0].get(url).status_code


@pytest.mark.parametrize("method", METHODS)
def test_a_session_can_be_passed_to_a_process(
    method: str, session: ClientCredentialsSession, auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    url = f"{api.url}/anything"
    session.get(url)
    processes: Any = multiprocessing.get_context(method)
    answers = processes.SimpleQueue()
    process = processes.Process(target=call, args=(session, url, answers))
    process.start()
    process.join(PATIENCE)
    assert process.exitcode == 0
    assert answers.get() == [200, 200]
    answers.close()
    process.close()
    assert session.get(url).status_code == 200
    # A forked child has the token. A pickle, which other children get, does not contain it.
    assert len(auth.token_requests) == (1 if method == "fork" else 2)
    assert api.connections == 2


@pytest.mark.parametrize("method", METHODS)
def test_a_session_can_be_passed_to_a_pool_with_every_task(
    method: str, session: ClientCredentialsSession, auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    session.get(f"{api.url}/anything")
    pool = concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context(method))
    with pool:
        tasks = [pool.submit(call_once, session, f"{api.url}/anything") for _ in range(4)]
        assert [task.result(PATIENCE) for task in tasks] == [200] * 4
    assert len(auth.token_requests) == 5


@pytest.mark.parametrize("method", METHODS)
def test_each_process_of_a_pool_can_have_one_session(
    method: str, session: ClientCredentialsSession, auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    url = f"{api.url}/anything"
    session.get(url)
    processes = multiprocessing.get_context(method)
    pool = concurrent.futures.ProcessPoolExecutor(2, processes, prepare, (session,))
    with pool:
        tasks = [pool.submit(call_by_own, url) for _ in range(6)]
        workers, statuses = zip(*[task.result(PATIENCE) for task in tasks], strict=True)
    assert set(statuses) == {200}
    count = len(set(workers))
    assert len(auth.token_requests) == (1 if method == "fork" else 1 + count)
    assert api.connections == 1 + count


@pytest.mark.skipif("fork" not in METHODS, reason="there is no fork here")
def test_a_pool_can_be_forked_while_threads_send_requests(
    session: ClientCredentialsSession, auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    url = f"{api.url}/anything"
    session.get(url)
    enough = threading.Event()
    answers: list[int] = []

    def keep_calling() -> None:
        while not enough.is_set():
            answers.append(session.get(url).status_code)

    callers = [threading.Thread(target=keep_calling) for _ in range(4)]
    for caller in callers:
        caller.start()
    try:
        for _ in range(3):
            processes = multiprocessing.get_context("fork")
            with concurrent.futures.ProcessPoolExecutor(2, processes, prepare, (session,)) as pool:
                tasks = [pool.submit(call_by_own, url) for _ in range(4)]
                assert {task.result(PATIENCE)[1] for task in tasks} == {200}
    finally:
        enough.set()
        for caller in callers:
            caller.join()
    assert set(answers) == {200}
    assert len(auth.token_requests) == 1
