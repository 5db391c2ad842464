from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import time
from urllib.parse import quote

import pytest
import redis
import redis.asyncio

from oauthcc.access_token import Token
from oauthcc.errors import ConfigurationError
from oauthcc.stores import RedisStore, base
from oauthcc.stores import redis as redis_module

from .clock import until
from .forked import Child as ForkedChild
from .forked import fork_among_threads, needs_fork
from .servers.redis_server import PASSWORD, RedisServer
from .store_child import PATIENCE, Child
from .test_stores import UNUSABLE
from .worker import all_do, workers

KEY = "0" * 64
TOKEN_NAME, LOCK_NAME = f"oauthcc:token:{KEY}", f"oauthcc:lock:{KEY}"
CLOSED_PORT = "redis://127.0.0.1:1/0"


def token(text: str = "abc", lifetime: float | None = 3600.0) -> Token:
    now = time.time()
    return Token(text, issued_at=now, expires_at=None if lifetime is None else now + lifetime)


@pytest.fixture
def client(redis_server: RedisServer):
    with redis.Redis.from_url(redis_server.url) as client:
        yield client


@pytest.fixture
def store(redis_server: RedisServer):
    store = RedisStore(redis_server.url, timeout=30)
    yield store
    store._client.close()


def enter(lock):
    with lock:
        pass


# The keys and values in Redis.


@pytest.mark.parametrize(
    ("lifetime", "seconds"),
    [
        (3600.0, 3600),
        (0.5, 0.5),
        (None, 86400),  # a day
        (1e12, 365 * 86400),
    ],
)
def test_redis_deletes_a_token_when_it_expires(lifetime, seconds, store, client, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    asked = []
    real = store._client.eval
    monkeypatch.setattr(store._client, "eval", lambda *a: asked.append(a) or real(*a))
    store.save(KEY, token(lifetime=lifetime))
    assert [args[-1] for args in asked] == [seconds * 1000]
    assert lifetime == 0.5 or 0 < client.pttl(TOKEN_NAME) <= seconds * 1000


@pytest.mark.parametrize("lifetime", [0.0, -1.0, -1e9])
def test_an_expired_token_removes_the_former_token(lifetime, store, client):
    store.save(KEY, token())
    store.save(KEY, token(lifetime=lifetime))
    assert store.load(KEY) is None
    assert client.keys() == []


def test_the_prefix_separates_applications(redis_server, store, client):
    other = RedisStore(redis_server.url, prefix="team-b:")
    store.save(KEY, token("ours"))
    other.save(KEY, token("theirs"))
    assert sorted(client.keys()) == [TOKEN_NAME.encode(), f"team-b:token:{KEY}".encode()]
    with store.lock(KEY, 0), other.lock(KEY, 0):
        assert client.exists(LOCK_NAME, f"team-b:lock:{KEY}") == 2
    other._client.close()


@pytest.mark.parametrize("data", UNUSABLE.values(), ids=UNUSABLE.keys())
def test_a_value_that_is_not_a_token_is_overwritten(data, store, client):
    client.set(TOKEN_NAME, data)
    assert store.load(KEY) is None
    store.save(KEY, token("new"))
    assert store.load(KEY).access_token == "new"


def test_a_save_that_another_one_overtakes_looks_again(store, client, monkeypatch):
    real, others = store._client.get, [b"garbage", None]

    def overtaken(name):
        found = real(name)
        if others:
            other = others.pop(0)
            client.set(TOKEN_NAME, other) if other else client.delete(TOKEN_NAME)
        return found

    monkeypatch.setattr(store._client, "get", overtaken)
    store.save(KEY, token("new"))
    assert store.load(KEY).access_token == "new"
    assert others == []


# The lock.


def test_a_lock_is_released_by_its_holder_only(store, client):
    with store.lock(KEY, 0):
        client.set(LOCK_NAME, "the next holder, after the lease")
    assert client.get(LOCK_NAME) == b"the next holder, after the lease"
    with pytest.raises(TimeoutError, match="Another process"):
        enter(store.lock(KEY, 0))


def test_a_lock_has_a_lease(store, client):
    with store.lock(KEY, 0):
        assert 0 < client.pttl(LOCK_NAME) <= redis_module.LEASE * 1000
    assert client.exists(LOCK_NAME) == 0


def test_a_lease_that_expires_inside_the_lock_is_not_an_error(store, client):
    with store.lock(KEY, 0):
        client.delete(LOCK_NAME)


def test_a_forked_child_does_not_release_the_lock_of_its_parent(store, client):
    client.set(LOCK_NAME, "1:the parent")
    redis_module._release(client, LOCK_NAME, "1:the parent")
    assert client.exists(LOCK_NAME) == 1


def test_a_lock_whose_answer_was_lost_is_acquired_at_once(store, client):
    # The connection broke after the command was executed, and the command is sent again.
    client.set(LOCK_NAME, "me", px=60000)
    store._acquire(KEY, "me", 0)
    with pytest.raises(TimeoutError):
        store._acquire(KEY, "you", 0)


def test_waiters_ask_less_and_less_often_but_until_the_timeout(store, client, monkeypatch):
    clock, pauses = [100.0], []

    def sleep(pause):
        pauses.append(pause)
        clock[0] += pause

    client.set(LOCK_NAME, "another holder")
    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr("random.uniform", lambda least, most: (least + most) / 2)
    with pytest.raises(TimeoutError):
        store._acquire(KEY, "me", 3.0)
    assert pauses[:3] == pytest.approx([0.015, 0.01875, 0.0234375])
    assert max(pauses) == 0.75 * redis_module.POLL_MAX
    assert clock[0] == pytest.approx(103.0)


def test_who_waits_for_a_token_finds_it_without_the_lock(store, client, monkeypatch):
    pauses, now = [], time.time()

    def sleep(pause):
        pauses.append(pause)
        if len(pauses) == 3:
            store.save(KEY, Token("saved", issued_at=now, expires_at=now + 60))

    client.set(LOCK_NAME, "another holder")
    monkeypatch.setattr(time, "sleep", sleep)
    with pytest.raises(base.Saved), store.lock(KEY, base.UntilSaved(60)):
        pass
    assert len(pauses) == 3
    assert client.get(LOCK_NAME) == b"another holder"
    # A lock that is tried once, or waited for by somebody else, has nothing to look for.
    asked = []
    monkeypatch.setattr(store._client, "get", asked.append)
    for timeout in (base.UntilSaved(0), 0.0):
        with pytest.raises(TimeoutError, match="held the token lock"), store.lock(KEY, timeout):
            pass
    assert asked == []


def test_an_error_inside_the_lock_is_raised_when_redis_is_down(store, redis_server):
    def inside():
        with store.lock(KEY, 0):
            redis_server.kill()
            raise KeyError("inside")

    with pytest.raises(KeyError, match="inside"):
        inside()


def test_a_lock_is_released_after_an_interrupt_inside(store, client):
    with pytest.raises(KeyboardInterrupt), store.lock(KEY, 0):
        raise KeyboardInterrupt
    assert client.exists(LOCK_NAME) == 0


def test_a_lock_that_cannot_be_released_raises(store, redis_server):
    with pytest.raises(redis.ConnectionError), store.lock(KEY, 0):
        redis_server.kill()


# A lock that Redis still holds when it answers again.


HAS_STARTED = redis_module._has_started


def is_unlocking(store):
    return store._leftovers._is_running


@pytest.fixture
def impatient(redis_server, monkeypatch):
    """Return a store that gives up soon, and releases what is left over soon."""
    monkeypatch.setattr(redis_module, "RELEASE_PAUSE", 0.01)
    monkeypatch.setattr(redis_module, "_has_started", HAS_STARTED)
    store = RedisStore(redis_server.url, timeout=0.2)
    store.save(KEY, token())
    yield store
    until(lambda: not is_unlocking(store))
    store._client.close()


@pytest.mark.parametrize("error", [None, KeyError])
def test_a_lock_is_released_later_if_redis_is_frozen_at_its_end(
    error, impatient, redis_server, client
):
    def use():
        with impatient.lock(KEY, 0):
            redis_server.freeze()
            if error is not None:
                raise error

    with pytest.raises(error or redis.TimeoutError):
        use()
    redis_server.thaw()
    until(lambda: client.exists(LOCK_NAME) == 0)
    enter(impatient.lock(KEY, 0))


def test_a_lock_that_redis_acquires_late_is_released(impatient, redis_server, client):
    before = threading.active_count()
    redis_server.freeze()
    for _ in range(3):
        with pytest.raises(redis.TimeoutError):
            enter(impatient.lock(KEY, 0))
    assert threading.active_count() <= before + 1
    redis_server.thaw()
    until(lambda: not is_unlocking(impatient))
    assert client.exists(LOCK_NAME) == 0


def test_a_lock_that_others_hold_is_not_released(impatient, redis_server, client):
    with impatient.lock(KEY, 0):
        with pytest.raises(TimeoutError, match="Another process"):
            enter(impatient.lock(KEY, 0))
        assert not is_unlocking(impatient)
        assert client.exists(LOCK_NAME) == 1


def test_a_lock_is_not_released_later_than_its_lease(impatient, redis_server, monkeypatch):
    def use():
        with impatient.lock(KEY, 0):
            redis_server.kill()
            monkeypatch.setattr(redis_module, "LEASE", 0.0)

    with pytest.raises(redis.ConnectionError):
        use()
    until(lambda: not is_unlocking(impatient))


def test_without_a_thread_the_lease_ends_a_lock(impatient, redis_server, monkeypatch):
    def start(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(redis.TimeoutError), impatient.lock(KEY, 0):
            redis_server.freeze()
    # The next one that cannot be released takes this one along.
    with pytest.raises(redis.TimeoutError):
        enter(impatient.lock(KEY, 0))
    redis_server.thaw()
    until(lambda: not is_unlocking(impatient))
    enter(impatient.lock(KEY, 0))


@needs_fork
@fork_among_threads
def test_a_child_releases_no_lock_of_its_parent(impatient, redis_server):
    with pytest.raises(redis.TimeoutError), impatient.lock(KEY, 0):
        redis_server.freeze()
    assert ForkedChild(lambda: bool(impatient._leftovers._locks)).result() is False
    redis_server.thaw()


# Redis stops and starts.


def test_a_restarted_redis_is_used_again(store, redis_server):
    store.save(KEY, token())
    with store.lock(KEY, 0):
        redis_server.kill()
        for use in (lambda: store.load(KEY), lambda: store.save(KEY, token())):
            with pytest.raises(redis.ConnectionError):
                use()
        with pytest.raises(redis.ConnectionError):
            enter(store.lock("other", 0))
        redis_server.start()
        # The lock was lost with the server, so nobody has to wait for it.
        enter(store.lock(KEY, 0))
        assert store.load(KEY) is None
        store.save(KEY, token("new"))
    assert store.load(KEY).access_token == "new"


def test_a_redis_that_starts_after_the_store_is_used(redis_server):
    redis_server.kill()
    store = RedisStore(redis_server.url)
    with pytest.raises(redis.ConnectionError):
        store.load(KEY)
    redis_server.start()
    store.save(KEY, token())
    assert store.load(KEY) is not None
    store._client.close()


@pytest.mark.parametrize("error", [redis.ConnectionError, redis.TimeoutError])
def test_an_idle_connection_that_was_closed_is_replaced(error, store, monkeypatch):
    store.save(KEY, token())
    real, errors = redis.Connection.read_response, [error("nobody there")]

    def read_response(self, *args, **options):
        if errors:
            raise errors.pop()
        return real(self, *args, **options)

    monkeypatch.setattr(redis.Connection, "read_response", read_response)
    assert store.load(KEY).access_token == "abc"
    assert errors == []


@pytest.mark.parametrize("connected", [True, False])
def test_a_redis_that_hangs_raises_and_is_used_again_later(connected, redis_server):
    store = RedisStore(redis_server.url, timeout=0.2)
    if connected:
        store.save(KEY, token("before"))
    redis_server.freeze()
    try:
        for use in (lambda: store.load(KEY), lambda: enter(store.lock(KEY, PATIENCE))):
            with pytest.raises(redis.TimeoutError):
                use()
    finally:
        redis_server.thaw()
    store._client.close()
    # The server may still execute what it received while it was frozen. The lease ends that lock.
    patient = RedisStore(redis_server.url, timeout=30)
    patient.save(KEY, token("after"))
    assert patient.load(KEY).access_token == "after"
    patient._client.close()


# URLs and clients.


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("decode", [False, True])
def test_a_client_is_used_with_its_own_settings(redis_server, protocol, decode):
    options = {"protocol": protocol, "decode_responses": decode, "socket_timeout": 30}
    with redis.Redis.from_url(redis_server.url, **options) as client:
        store = RedisStore(client)
        with store.lock(KEY, 0):
            store.save(KEY, token("by client"))
            with pytest.raises(TimeoutError):
                enter(store.lock(KEY, 0))
        assert store.load(KEY).access_token == "by client"
        assert client.connection_pool.connection_kwargs["socket_timeout"] == 30


def test_a_url_can_name_a_unix_socket(redis_server):
    store = RedisStore(f"unix://{redis_server.socket_path}")
    with store.lock(KEY, 0):
        store.save(KEY, token())
    assert store.load(KEY) is not None
    store._client.close()


def test_a_url_gets_time_outs_unless_it_sets_its_own():
    options = RedisStore(CLOSED_PORT)._client.connection_pool.connection_kwargs
    assert (options["socket_timeout"], options["socket_connect_timeout"]) == (1.0, 1.0)
    assert options["socket_keepalive"] is True
    options = RedisStore(CLOSED_PORT, timeout=0.5)._client.connection_pool.connection_kwargs
    assert options["socket_timeout"] == 0.5
    store = RedisStore(f"{CLOSED_PORT}?socket_timeout=7")
    assert store._client.connection_pool.connection_kwargs["socket_timeout"] == 7.0


@pytest.mark.parametrize("wrong", [None, b"redis://127.0.0.1", 6379, object()])
def test_an_argument_that_is_neither_url_nor_client_is_refused(wrong):
    with pytest.raises(ConfigurationError, match="redis:// URL"):
        RedisStore(wrong)


def test_an_asyncio_client_is_refused():
    client = redis.asyncio.Redis.from_url(CLOSED_PORT)
    with pytest.raises(ConfigurationError, match=r"redis\.Redis"):
        RedisStore(client)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:6379",
        "http://:s3cret@host",
        "redis://:s3cret/word@host:6379",
        "redis://:pass@host:s3cret",
        "redis://host:6379?socket_timeout=s3cret",
    ],
)
def test_an_invalid_url_is_refused_and_not_shown(url):
    with pytest.raises(ConfigurationError, match="not a Redis URL") as caught:
        RedisStore(url)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_the_password_is_used_but_not_shown(redis_server_with_password):
    server = redis_server_with_password
    store = RedisStore(server.url.replace("//", f"//:{quote(PASSWORD, safe='')}@"))
    store.save(KEY, token())
    server.kill()
    with pytest.raises(redis.ConnectionError) as gone:
        store.load(KEY)
    server.start()
    wrong = RedisStore(server.url.replace("//", "//:wr0ng@"))
    with pytest.raises(redis.AuthenticationError) as refused:
        wrong.load(KEY)
    shown = f"{store!r} {store!s} {wrong!r} {gone.value!r} {refused.value!r}"
    assert PASSWORD not in shown
    assert quote(PASSWORD, safe="") not in shown
    assert "wr0ng" not in shown
    assert repr(store) == "<RedisStore prefix='oauthcc:'>"
    store._client.close()
    wrong._client.close()


def test_an_error_names_the_missing_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ConfigurationError, match=r'needs redis: pip install "oauthcc\[redis\]"'):
        RedisStore(CLOSED_PORT)


def test_a_store_created_from_a_url_is_pickled_without_its_connections(redis_server):
    store = RedisStore(redis_server.url, prefix="p:", timeout=2.5)
    store.save(KEY, token("kept in Redis"))
    other = pickle.loads(pickle.dumps(store))
    assert other.load(KEY).access_token == "kept in Redis"
    assert vars(other).keys() == vars(store).keys()
    assert (other._prefix, other._timeout) == ("p:", 2.5)
    assert other._client is not store._client
    store._client.close()
    other._client.close()


def test_a_store_created_from_a_client_cannot_be_pickled(client):
    with pytest.raises(TypeError, match="created from a URL"):
        pickle.dumps(RedisStore(client))


# Processes.


def expression(server: RedisServer) -> str:
    return f"RedisStore({server.url!r}, timeout=30)"


def test_sixteen_processes_that_count_under_the_lock_lose_no_update(redis_server, store):
    rounds = 5
    with workers(16) as started:
        all_do(started, "count", store=expression(redis_server), key=KEY, rounds=rounds)
    assert store.load(KEY).access_token == str(16 * rounds)


def test_the_lock_excludes_other_processes(redis_server, store):
    with Child(expression(redis_server), KEY, "hold") as child:
        assert (child.read_line(), child.read_line()) == ("waiting", "held")
        with pytest.raises(TimeoutError, match="Another process"):
            enter(store.lock(KEY, 0))
        child.send()
        enter(store.lock(KEY, PATIENCE))


def test_a_process_that_waits_for_a_killed_process_gets_the_lock_after_the_lease(
    redis_server, store, client
):
    with Child(expression(redis_server), KEY, "hold") as holder:
        assert (holder.read_line(), holder.read_line()) == ("waiting", "held")
        with Child(expression(redis_server), KEY, "hold") as other:
            assert other.read_line() == "waiting"
            holder.kill()
            assert 0 < client.pttl(LOCK_NAME) <= redis_module.LEASE * 1000
            # The lease is shortened, so that the test does not wait for it.
            client.pexpire(LOCK_NAME, 1)
            assert other.read_line() == "held"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="os.fork is needed")
def test_a_child_forked_inside_the_lock_does_not_release_it(redis_server, store):
    with Child(expression(redis_server), KEY, "hold_and_fork") as parent:
        grandchild = int(parent.read_line())
        try:
            with pytest.raises(TimeoutError):
                enter(store.lock(KEY, 0))
            parent.send()
            assert parent.read_line() == "released"
            enter(store.lock(KEY, 0))
        finally:
            os.kill(grandchild, signal.SIGKILL)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="os.fork is needed")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_opens_its_own_connections(store, client):
    store.save(KEY, token("before"))
    before = {each["id"] for each in client.client_list()}
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if store.load(KEY).access_token == "before" else 2
            mine = {each["id"] for each in store._client.client_list()} - before
            status = status or (0 if mine else 3)
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    store.save(KEY, token("after"))
    assert store.load(KEY).access_token == "after"


def test_a_client_without_a_connection_pool_is_left_alone_in_a_child() -> None:
    class Cluster:
        """A client that keeps its connections in another way, as `redis.RedisCluster` does."""

        def execute_command(self, *arguments: object) -> None: ...

    store = RedisStore(Cluster())  # type: ignore[arg-type]
    before = dict(vars(store))
    store._after_fork()
    assert vars(store) == before
