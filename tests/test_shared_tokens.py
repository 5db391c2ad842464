"""One token for many: processes, sessions and threads that share a store."""

from __future__ import annotations

import contextlib
import pickle
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from oauthcc import ClientCredentialsSession
from oauthcc.stores import FileStore
from oauthcc.stores import redis as redis_module
from oauthcc.testing import AuthorizationServer, ProtectedAPI

from .servers.redis_server import RedisServer
from .worker import Clock, Worker, all_do, workers

MANY = 16


@pytest.fixture(scope="module")
def crowd() -> Iterator[list[Worker]]:
    with workers(MANY) as started:
        yield started


@pytest.fixture
def auth() -> Iterator[AuthorizationServer]:
    with AuthorizationServer() as auth:
        yield auth


@pytest.fixture
def api(auth: AuthorizationServer) -> Iterator[ProtectedAPI]:
    with ProtectedAPI(auth) as api:
        yield api


@pytest.fixture(params=["file", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give a store as an expression, on a place of the test's own."""
    if request.param == "file":
        return repr(FileStore(tmp_path / "tokens"))
    server: RedisServer = request.getfixturevalue("redis_server")
    return f"RedisStore({server.url!r}, timeout=30)"


def arguments(auth: AuthorizationServer) -> list[str]:
    return [auth.token_url, auth.client_id, auth.client_secret]


def test_sixteen_cold_processes_make_one_token_request(crowd, auth, api, store):
    all_do(crowd, "make", arguments=arguments(auth), store=store)
    with auth.hold() as gate:
        for worker in crowd:
            worker.ask("get", url=api.url)
        for worker in crowd:
            worker.notes("asks for the lock")
        gate.wait_for(1)
    answers = [worker.answer() for worker in crowd]
    assert answers == [[200, auth.issued[0]]] * MANY
    assert len(auth.token_requests) == 1


def test_sixteen_processes_make_one_token_request_per_expiry(crowd, auth, api, store, tmp_path):
    clock = Clock(tmp_path / "clock")
    auth.now = clock.time
    all_do(crowd, "make", arguments=arguments(auth), store=store, clock=str(clock.path))
    for number in range(1, 6):
        answers = all_do(crowd, "get", url=api.url)
        assert answers == [[200, auth.issued[-1]]] * MANY
        assert len(auth.token_requests) == number
        clock.advance(3601)


def test_one_process_renews_early_and_the_others_neither_wait_nor_ask(
    crowd, auth, api, store, tmp_path
):
    clock = Clock(tmp_path / "clock")
    auth.now = clock.time
    all_do(crowd, "make", arguments=arguments(auth), store=store, clock=str(clock.path))
    all_do(crowd, "get", url=api.url)
    assert all_do(crowd, "operations", url=api.url, calls=10) == [0] * MANY
    clock.advance(3600 * 0.85)
    with auth.hold() as gate:
        # All are past their renewal point, and none of their flights can end.
        answers = all_do(crowd, "get", url=api.url)
        gate.wait_for(1)
        answers += all_do(crowd, "get", url=api.url)
        assert answers == [[200, auth.issued[0]]] * MANY * 2
    all_do(crowd, "landed")
    assert all_do(crowd, "operations", url=api.url, calls=10) == [0] * MANY
    assert all_do(crowd, "get", url=api.url) == [[200, auth.issued[1]]] * MANY
    assert len(auth.token_requests) == 2


def test_processes_that_meet_one_revocation_make_one_token_request(crowd, auth, api, store):
    all_do(crowd, "make", arguments=arguments(auth), store=store)
    all_do(crowd, "get", url=api.url)
    with api.hold() as gate:
        for worker in crowd:
            worker.ask("get", url=api.url)
        gate.wait_for(MANY)
        auth.revoke_all()
    answers = [worker.answer() for worker in crowd]
    assert answers == [[200, auth.issued[1]]] * MANY
    assert len(auth.token_requests) == 2


def test_a_session_that_is_pickled_for_a_process_finds_the_token_in_the_store(crowd, auth, api, store):
    made = eval(store, {"FileStore": FileStore, "RedisStore": redis_module.RedisStore})
    with ClientCredentialsSession(*arguments(auth), store=made) as session:
        assert session.get(api.url).ok
        pickled = pickle.dumps(session).hex()
    assert auth.issued[0].encode().hex() not in pickled
    crowd[0].does("unpickle", session=pickled)
    assert crowd[0].does("get", url=api.url) == [200, auth.issued[0]]
    assert len(auth.token_requests) == 1
    if isinstance(made, redis_module.RedisStore):
        made._client.close()


# The holder of the lock dies or hangs.


@contextlib.contextmanager
def a_holder_and_two_who_wait(
    auth: AuthorizationServer, api: ProtectedAPI, store: str, **patches: tuple[str, object]
) -> Iterator[tuple[Worker, list[Worker]]]:
    """Have one process ask for a token, which is not given, and two wait for it."""
    with workers(3) as (holder, *others), auth.hold() as gate:
        for name, (module, value) in patches.items():
            all_do([holder, *others], "patch", module=module, name=name, value=value)
        all_do([holder, *others], "make", arguments=arguments(auth), store=store)
        holder.ask("get", url=api.url)
        gate.wait_for(1)
        for other in others:
            other.ask("get", url=api.url)
            other.notes("asks for the lock")
            other.notes("asks for the lock")  # the first time does not wait
        yield holder, others


def test_when_the_holder_of_the_lock_is_killed_the_others_go_on(auth, api, store):
    # With files the kernel gives the lock back at once, with Redis the lease ends.
    lease = ("oauthcc.stores.redis", 1.0)
    with a_holder_and_two_who_wait(auth, api, store, LEASE=lease) as (holder, others):
        gate = auth._script._gates[0]
        holder.kill()
        gate.wait_for(2)
        gate.release()
        # The killed one was given a token too, which nobody else has seen.
        (answer, same) = [other.answer() for other in others]
        assert answer == same
        assert answer[0] == 200
        assert len(auth.token_requests) == 2
        assert [other.does("bypassed") for other in others] == [[], []]
