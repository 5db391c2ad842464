"""Stores that are down, slow, full or broken: reported, bypassed, and used again afterwards."""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from cryptography.fernet import Fernet

from oauthcc import ClientCredentialsSession
from oauthcc.access_token import Token
from oauthcc.errors import ConfigurationError
from oauthcc.events import StoreBypassed
from oauthcc.stores import FileStore, MemoryStore, RedisStore
from oauthcc.stores.base import place_of

from .clock import flights_done, in_threads, joined, until
from .inside import key_of
from .servers.redis_server import RedisServer
from .store_world import FailingStore, World, is_shared, raising

# Methods that raise.


class OwnError(Exception):
    pass


def returning(value: Any) -> Callable[[], Any]:
    return lambda: value


#: What an operation is called in an event.
NAMES = {"enter": "lock"}


@pytest.mark.unmeasured
@pytest.mark.parametrize(
    ("error", "after"),
    [
        pytest.param(OSError, 0.0, id="raises"),
        pytest.param(OwnError, 0.0, id="raises-its-own-error"),
        pytest.param(TimeoutError, 0.0, id="times-out-at-once"),
        pytest.param(TimeoutError, 0.05, id="times-out"),
    ],
)
@pytest.mark.parametrize("operation", ["load", "save", "lock", "enter", "unlock"])
def test_a_failing_operation_is_reported_once_and_the_store_is_used_again(
    operation: Any, error: Any, after: float, world: World
) -> None:
    store = FailingStore(**{operation: raising(error(), after=after)})
    session = world.session(store)
    assert world.call(session) == world.auth.issued[0]
    assert world.bypassed() == [(NAMES.get(operation, operation), error.__name__)]
    assert len(world.auth.token_requests) == 1
    store.failures.clear()
    world.expire()
    token = world.call(session)
    assert token == world.auth.issued[1]
    assert world.bypassed() == []
    assert is_shared(world, store, token)


def test_a_store_that_always_fails_is_tried_once_in_each_fetch(world: World) -> None:
    operations = ["load", "save", "lock", "enter", "unlock"]
    session = world.session(FailingStore(**dict.fromkeys(operations, raising(OSError()))))
    for number in range(1, 4):
        assert world.call(session) == world.call(session) == world.auth.issued[-1]
        assert len(world.auth.token_requests) == number
        assert world.bypassed() == [("load", "OSError")]
        world.expire()


def test_a_failing_store_does_not_prevent_an_early_renewal(world: World) -> None:
    store = FailingStore()
    session = world.session(store)
    first = world.call(session)
    store.failures["load"] = raising(OSError())
    world.clock.advance(3600 * 0.85)
    assert world.call(session) == first
    assert world.call(session) == world.auth.issued[1]
    assert world.bypassed() == [("load", "OSError")]


def test_without_the_lock_a_token_is_fetched_and_still_shared(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oauthcc.tokens.fetcher.LOCK_PATIENCE", (0.0, 0.0))
    store = MemoryStore()
    session = world.session(store)
    with store.lock(key_of(session.tokens), 0):
        token = world.call(session)
        assert world.bypassed() == [("lock", "TimeoutError")]
        assert is_shared(world, store, token)


def test_a_lock_that_times_out_without_waiting_is_tried_twice_only(
    world: World,
) -> None:
    asked: list[int] = []

    def at_once() -> Any:
        asked.append(1)
        raise TimeoutError

    world.call(world.session(FailingStore(lock=at_once)))
    assert len(asked) == 2


def test_the_lock_is_released_although_the_store_failed_meanwhile(world: World) -> None:
    store = FailingStore(save=raising(OSError()))
    session = world.session(store)
    world.call(session)
    assert world.bypassed() == [("save", "OSError")]
    with store.lock(key_of(session.tokens), 0):
        pass


def test_nobody_waits_for_a_hanging_store_while_the_token_is_valid(world: World) -> None:
    store = FailingStore()
    session = world.session(store)
    first = world.call(session)
    hanging, released = threading.Event(), threading.Event()

    def hang() -> Any:
        hanging.set()
        assert released.wait(20)
        raise OSError

    store.failures["load"] = hang
    world.clock.advance(3600 * 0.85)
    for _ in range(3):
        response = session.get(world.api.url)
        assert response.request.headers["Authorization"] == f"Bearer {first}"
    assert hanging.wait(20)
    released.set()
    flights_done()
    assert world.call(session) == world.auth.issued[1]


# What a report shows.


class TalkativeError(Exception):
    """An error that contains the token everywhere."""

    def __init__(self, token: str) -> None:
        super().__init__(token, [token])
        self.token = token
        self.__notes__ = [token]


def _talk(token: str, kind: str) -> Exception:
    errors: dict[str, Exception] = {
        "text": RuntimeError(f"[parameters: ({token!r})]"),
        "everywhere": TalkativeError(token),
        "system": OSError(errno.ENOSPC, token, token),
        "number": OSError([token], token),
        "ours": ConfigurationError(token),
        "redis": redis.ResponseError(f"unknown command 'SET', with args beginning with: {token}"),
        "json": json.JSONDecodeError("bad", token, 0),
        "unicode": UnicodeEncodeError("ascii", token, 0, 1, token),
        "key": KeyError(token),
    }
    return errors[kind]


@pytest.mark.parametrize("cause", [None, "raised from it", "raised while it was handled"])
@pytest.mark.parametrize(
    "kind",
    ["text", "everywhere", "system", "number", "ours", "redis", "json", "unicode", "key"],
)
@pytest.mark.parametrize("operation", ["save", "cipher"])
def test_no_report_contains_what_the_error_of_a_store_contains(
    world: World,
    tmp_path: Path,
    *,
    operation: str,
    kind: str,
    cause: str | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(token: str) -> None:
        if cause is None:
            raise _talk(token, kind)
        try:
            raise TalkativeError(token)
        except TalkativeError as first:
            raise _talk(token, kind) from (first if cause == "raised from it" else None)

    class Store(MemoryStore):
        def save(self, key: str, token: Token) -> None:
            fail(token.access_token)

    class Kms:
        def encrypt(self, data: bytes) -> bytes:
            fail(data.decode())
            return data

        def decrypt(self, data: bytes) -> bytes:
            return data

    store = Store() if operation == "save" else FileStore(tmp_path / "t", cipher=Kms())
    caplog.set_level("DEBUG", "oauthcc")
    token = world.call(world.session(store))
    (event,) = [each for each in world.events if isinstance(each, StoreBypassed)]
    error = event.error
    assert event.operation == "save"
    assert type(_talk("", kind)).__name__ in str(error)
    assert f"{Path(__file__).name}, line" in str(error)
    assert error.__traceback__ is error.__cause__ is error.__context__ is None
    shown = [repr(event), str(error), repr(vars(error)), repr(error.args), caplog.text]
    assert token not in "".join(shown)
    assert token.encode() not in pickle.dumps(error)


class WithoutErrno(OSError):
    @property
    def errno(self) -> int:  # type: ignore[override]
        raise RuntimeError


class WithoutTraceback(Exception):
    @property
    def __traceback__(self) -> None:  # type: ignore[override]
        raise RuntimeError


@pytest.mark.parametrize("kind", [WithoutErrno, WithoutTraceback])
@pytest.mark.parametrize("operation", ["load", "lock", "enter", "save", "unlock"])
def test_an_error_that_cannot_be_described_costs_no_call(
    operation: str, kind: Any, world: World
) -> None:
    store = FailingStore(**{operation: raising(kind("the token"))})
    assert world.call(world.session(store)) == world.auth.issued[0]
    assert [operation for operation, _ in world.bypassed()] == [operation.replace("enter", "lock")]


def test_a_report_shows_our_advice_and_the_reason_of_the_system(
    world: World, tmp_path: Path
) -> None:
    store = FileStore(tmp_path / "tokens")
    world.call(world.session(store))
    (tmp_path / "tokens").chmod(0o777)
    world.call(world.session(store))
    world.call(world.session(FailingStore(save=raising(OSError(errno.ENOSPC, "secret")))))
    advice, reason = [str(e.error) for e in world.events if isinstance(e, StoreBypassed)]
    assert f"chmod 700 {tmp_path / 'tokens'}" in advice
    assert f"save() of the token store raised OSError: {os.strerror(errno.ENOSPC)} (" in reason


def test_the_event_and_the_log_name_the_place_of_the_store_and_the_client(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = FileStore(tmp_path / "tokens")
    world.call(world.session(store))
    (tmp_path / "tokens").chmod(0o777)
    session = world.session(store)
    caplog.clear()
    world.call(session)
    event = next(event for event in world.events if isinstance(event, StoreBypassed))
    assert (event.place, event.client_id) == (str(tmp_path / "tokens"), world.auth.client_id)
    assert f"without the token store ({tmp_path / 'tokens'}) for client" in caplog.text


class OddPlace(FailingStore):
    @property
    def _place(self) -> str:
        raise LookupError


@pytest.mark.parametrize(
    ("store", "place"),
    [
        (lambda: RedisStore("redis://me:my-password@redis.example:6380/2"), "redis.example:6380"),
        (lambda: RedisStore("rediss://:my-password@redis.example"), "redis.example:6379"),
        (lambda: RedisStore("unix://me:my-password@/run/redis.sock"), "/run/redis.sock"),
        (lambda: RedisStore("redis://"), "RedisStore"),
        (MemoryStore, "MemoryStore"),
        (FailingStore, "FailingStore"),
        (OddPlace, "OddPlace"),
    ],
)
def test_the_place_of_a_store_shows_no_password(store: Callable[[], Any], place: str) -> None:
    assert place_of(store()) == place


# Stores that return something else than a token.


def good(**changes: Any) -> Token:
    values = {"access_token": "planted", "issued_at": 1e9, "expires_at": 1e10, **changes}
    return Token(**values)


NOT_TOKENS = {
    "text": "planted",
    "bytes": b"planted",
    "a mapping": {"access_token": "planted"},
    "true": True,
    "an object": object(),
    "a class": Token,
    "bytes as access token": good(access_token=b"planted"),
    "an empty token": good(access_token=""),
    "a line break in the token": good(access_token="planted\r\nX-Evil: 1"),
    "a letter beyond ASCII": good(access_token="plant\u00e9d"),
    "a control character": good(access_token="plan\x7fted"),
    "times that are text": good(expires_at="soon"),
    "a time that is not a number": good(issued_at=float("nan")),
    "no extra members": good(extra=None),
}


@pytest.mark.parametrize("value", NOT_TOKENS.values(), ids=NOT_TOKENS.keys())
def test_a_store_that_returns_something_else_than_a_token_is_by_passed(
    value: Any, world: World
) -> None:
    store = FailingStore(load=returning(value))
    assert world.call(world.session(store)) == world.auth.issued[0]
    ((operation, kind),) = world.bypassed()
    assert operation == "load"
    assert kind == "TypeError"
    assert all("planted" not in str(seen.raw_headers) for seen in world.api.requests)


def test_no_log_shows_what_a_store_returned(world: World, caplog: pytest.LogCaptureFixture) -> None:
    store = FailingStore(load=returning(NOT_TOKENS["a line break in the token"]))
    world.call(world.session(store))
    assert "Continued without the token store (FailingStore) for client" in caplog.text
    assert "planted" not in caplog.text


@pytest.mark.parametrize("value", [None, "text", 1, threading.Lock])
def test_a_lock_that_is_not_a_context_manager_is_reported(value: Any, world: World) -> None:
    store = FailingStore(lock=returning(value))
    assert world.call(world.session(store)) == world.auth.issued[0]
    ((operation, kind),) = world.bypassed()
    assert operation == "lock"
    assert kind in ("TypeError", "AttributeError")


def test_an_expired_token_in_the_store_is_not_a_failure(world: World) -> None:
    old = Token("old", issued_at=world.clock.wall - 7200, expires_at=world.clock.wall - 3600)
    assert world.call(world.session(FailingStore(load=returning(old)))) == world.auth.issued[0]
    assert world.bypassed() == []


@pytest.mark.parametrize("store", ["redis://127.0.0.1", MemoryStore, object(), {}, 1])
def test_an_object_that_is_not_a_store_is_refused_at_construction(store: Any) -> None:
    with pytest.raises(ConfigurationError, match="load, save and lock"):
        ClientCredentialsSession("https://as.example/token", "id", "secret", store=store)


# Redis.


@pytest.fixture
def redis_store(redis_server: RedisServer) -> Iterator[RedisStore]:
    store = RedisStore(redis_server.url, timeout=30)
    yield store
    store._client.close()


def test_a_restarted_redis_is_used_again(
    world: World, redis_server: RedisServer, redis_store: RedisStore
) -> None:
    session = world.session(redis_store)
    assert is_shared(world, redis_store, world.call(session))
    redis_server.kill()
    world.expire()
    assert world.call(session) == world.auth.issued[1]
    assert world.bypassed() == [("load", "ConnectionError")]
    world.expire()
    redis_server.start()
    token = world.call(session)
    assert token == world.auth.issued[2]
    assert world.bypassed() == []
    assert is_shared(world, redis_store, token)


def test_a_redis_that_is_killed_during_a_fetch_costs_nothing_more(
    world: World, redis_server: RedisServer, redis_store: RedisStore
) -> None:
    session = world.session(redis_store)
    answers: list[str] = []
    with world.auth.hold() as gate:
        threads = in_threads(1, lambda: answers.append(world.call(session)))
        gate.wait_for(1)
        redis_server.kill()
    joined(threads)
    assert answers == world.auth.issued
    # The token could not be saved, and the lock could not be released.
    assert world.bypassed() == [
        ("save", "ConnectionError"),
        ("unlock", "ConnectionError"),
    ]
    redis_server.start()
    world.expire()
    assert is_shared(world, redis_store, world.call(session))
    assert world.bypassed() == []


def test_a_redis_that_hangs_is_by_passed(world: World, redis_server: RedisServer) -> None:
    store = RedisStore(redis_server.url, timeout=0.1)
    session = world.session(store)
    world.call(session)
    redis_server.freeze()
    try:
        world.expire()
        assert world.call(session) == world.auth.issued[1]
        assert world.bypassed() == [("load", "TimeoutError")]
    finally:
        redis_server.thaw()
    with redis.Redis.from_url(redis_server.url, socket_timeout=30) as client:
        until(client.ping)
    store._client.close()
    patient = RedisStore(redis_server.url, timeout=30)
    session = world.session(patient)
    assert is_shared(world, patient, world.call(session))
    assert world.bypassed() == []
    patient._client.close()


def test_a_redis_that_is_full_is_by_passed(
    world: World, redis_server: RedisServer, redis_store: RedisStore
) -> None:
    session = world.session(redis_store)
    with redis.Redis.from_url(redis_server.url) as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 1)
        assert world.call(session) == world.auth.issued[0]
        ((operation, kind),) = world.bypassed()
        assert operation == "lock"
        assert issubclass(getattr(redis.exceptions, kind), redis.ResponseError)
        client.config_set("maxmemory", 0)
    world.expire()
    assert is_shared(world, redis_store, world.call(session))
    assert world.bypassed() == []


def test_a_redis_that_was_never_started_is_by_passed(world: World) -> None:
    store = RedisStore("redis://127.0.0.1:1/0")
    assert world.call(world.session(store)) == world.auth.issued[0]
    assert world.bypassed() == [("load", "ConnectionError")]


# Folders.


def test_a_removed_folder_is_created_again(world: World, tmp_path: Path) -> None:
    store = FileStore(tmp_path / "tokens")
    session = world.session(store)
    world.call(session)
    shutil.rmtree(tmp_path / "tokens")
    world.expire()
    assert is_shared(world, store, world.call(session))
    assert world.bypassed() == []


def test_a_read_only_folder_is_by_passed(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileStore(tmp_path / "tokens")
    session = world.session(store)
    world.call(session)
    world.expire()
    real = os.open

    # Root may write into any folder, so the error of the system is simulated.
    def read_only(path: Any, flags: Any, *args: Any, **kwargs: Any) -> Any:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        return real(path, flags, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", read_only)
        assert world.call(session) == world.auth.issued[1]
        assert world.bypassed() == [("lock", "OSError")]
    world.expire()
    assert is_shared(world, store, world.call(session))
    assert world.bypassed() == []


def test_a_full_disk_is_by_passed(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileStore(tmp_path / "tokens")
    session = world.session(store)

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "mkstemp", full)
        assert world.call(session) == world.auth.issued[0]
        assert world.bypassed() == [("save", "OSError")]
    world.expire()
    assert is_shared(world, store, world.call(session))
    assert world.bypassed() == []


@pytest.mark.skipif(os.name != "posix", reason="POSIX owners and modes are needed")
def test_a_folder_that_others_can_write_to_later_is_by_passed(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "tokens"
    store = FileStore(folder)
    session = world.session(store)
    world.call(session)
    folder.chmod(0o777)
    world.expire()
    assert world.call(session) == world.auth.issued[1]
    assert world.bypassed() == [("load", "ConfigurationError")]
    folder.chmod(0o700)
    world.expire()
    assert is_shared(world, store, world.call(session))


def test_a_damaged_file_costs_one_token_request(world: World, tmp_path: Path) -> None:
    store = FileStore(tmp_path / "tokens")
    world.call(world.session(store))
    (file,) = (tmp_path / "tokens").glob("*.token")
    file.write_bytes(b"\x00garbage")
    assert is_shared(world, store, world.call(world.session(store)))
    assert len(world.auth.token_requests) == 2
    assert world.bypassed() == []


# Ciphers.


@pytest.mark.parametrize("kind", ["file", "redis"])
def test_a_cipher_encrypts_the_token_and_sessions_with_its_key_share_it(
    kind: Any, world: World, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    key = Fernet.generate_key()
    made: list[Any] = []

    def store(cipher: Any) -> Any:
        if kind == "file":
            return FileStore(tmp_path / "tokens", cipher=cipher)
        server: RedisServer = request.getfixturevalue("redis_server")
        made.append(RedisStore(server.url, cipher=cipher, timeout=30))
        return made[-1]

    token = world.call(world.session(store(Fernet(key))))
    assert is_shared(world, store(Fernet(key)), token)
    kept = _content(kind, tmp_path, request)
    assert kept
    assert token.encode() not in kept
    # A session with another key, or without a cipher, fetches its own token.
    assert world.call(world.session(store(Fernet(Fernet.generate_key())))) == world.auth.issued[1]
    assert world.call(world.session(store(None))) == world.auth.issued[2]
    assert world.bypassed() == []
    for each in made:
        each._client.close()


def _content(kind: str, folder: Path, request: pytest.FixtureRequest) -> bytes:
    if kind == "file":
        return b"".join(file.read_bytes() for file in (folder / "tokens").iterdir())
    with redis.Redis.from_url(request.getfixturevalue("redis_server").url) as client:
        return b"".join(client.get(name) for name in client.keys("*token*"))
