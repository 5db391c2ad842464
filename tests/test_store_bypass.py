"""A store that is down, slow, full or mad: reported, by-passed, and used again by itself."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
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
from oauthcc.testing import AuthorizationServer, ProtectedAPI

from .clock import Clock, flights_done, in_threads, joined, moved_clock, until
from .servers.redis_server import RedisServer


class World:
    """Hold a server, an API, and sessions that share a store."""

    def __init__(self, auth: AuthorizationServer, api: ProtectedAPI, clock: Clock) -> None:
        self.auth, self.api, self.clock = auth, api, clock
        self.events: list[Any] = []
        self.sessions: list[ClientCredentialsSession] = []

    def session(self, store: Any, **options: Any) -> ClientCredentialsSession:
        made = ClientCredentialsSession(
            self.auth.token_url,
            self.auth.client_id,
            self.auth.client_secret,
            store=store,
            on_event=self.events.append,
            **options,
        )
        self.sessions.append(made)
        return made

    def call(self, session: ClientCredentialsSession) -> str:
        """Make a call that must succeed, and return the token that it carried."""
        response = session.get(self.api.url)
        flights_done()
        assert response.status_code == 200
        return response.request.headers["Authorization"].encode().decode().partition(" ")[2]

    def expire(self) -> None:
        self.clock.advance(3601)

    def bypassed(self) -> list[tuple[str, type[Exception]]]:
        """Return what failed in the store since this was asked last, and with what error."""
        told = [(e.operation, type(e.error)) for e in self.events if isinstance(e, StoreBypassed)]
        self.events.clear()
        return told


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    clock = moved_clock(monkeypatch)
    # What a key costs is not the matter here.
    monkeypatch.setattr(hashlib, "scrypt", lambda octets, **_: hashlib.sha256(octets).digest())
    with AuthorizationServer() as auth, ProtectedAPI(auth) as api:
        auth.now = clock.time
        world = World(auth, api, clock)
        yield world
        for session in world.sessions:
            session.close()


def key_of(session: ClientCredentialsSession) -> str:
    """Return the name under which a store keeps the token of a session."""
    grant = session.tokens._config
    return grant.cache_key(grant.fingerprint(grant.read_secret()))


def is_shared(world: World, store: Any, token: str) -> bool:
    """Say whether a session that knows nothing yet finds a token in the store."""
    before = len(world.auth.token_requests)
    found = world.call(world.session(store))
    return found == token and len(world.auth.token_requests) == before


# Methods that raise.


class Sick(MemoryStore):
    """Fail as told: by name of the operation."""

    def __init__(self, **ills: Callable[[], Any]) -> None:
        super().__init__()
        self.ills = ills

    def load(self, key: str) -> Any:
        return self.ills["load"]() if "load" in self.ills else super().load(key)

    def save(self, key: str, token: Token) -> Any:
        return self.ills["save"]() if "save" in self.ills else super().save(key, token)

    @contextlib.contextmanager
    def held(self, key: str, timeout: float) -> Iterator[None]:
        with super().lock(key, timeout):
            if "enter" in self.ills:
                self.ills["enter"]()
            yield
            if "unlock" in self.ills:
                self.ills["unlock"]()

    def lock(self, key: str, timeout: float) -> Any:
        return self.ills["lock"]() if "lock" in self.ills else self.held(key, timeout)


class OwnError(Exception):
    pass


def raising(error: Exception) -> Callable[[], Any]:
    def ill() -> Any:
        raise error

    return ill


def hanging(error: Exception) -> Callable[[], Any]:
    def ill() -> Any:
        threading.Event().wait(0.05)
        raise error

    return ill


def returning(value: Any) -> Callable[[], Any]:
    return lambda: value


NAMES = {"enter": "lock"}


WAYS = [
    pytest.param(raising, OSError, id="raises"),
    pytest.param(raising, OwnError, id="raises-its-own"),
    pytest.param(raising, TimeoutError, id="times-out-at-once"),
    pytest.param(hanging, TimeoutError, id="times-out"),
]


@pytest.mark.parametrize(("way", "error"), WAYS)
@pytest.mark.parametrize("operation", ["load", "save", "lock", "enter", "unlock"])
def test_an_operation_that_fails_is_told_once_and_the_store_is_used_again(
    operation: Any, way: Any, error: Any, world: World
) -> None:
    store = Sick(**{operation: way(error())})
    session = world.session(store)
    assert world.call(session) == world.auth.issued[0]
    assert world.bypassed() == [(NAMES.get(operation, operation), error)]
    assert len(world.auth.token_requests) == 1
    store.ills.clear()
    world.expire()
    token = world.call(session)
    assert token == world.auth.issued[1]
    assert world.bypassed() == []
    assert is_shared(world, store, token)


def test_a_store_that_fails_in_everything_costs_one_operation_for_each_flight(world: World) -> None:
    store = Sick(**dict.fromkeys(["load", "save", "lock", "enter", "unlock"], raising(OSError())))
    session = world.session(store)
    for number in range(1, 4):
        assert world.call(session) == world.call(session) == world.auth.issued[-1]
        assert len(world.auth.token_requests) == number
        assert world.bypassed() == [("load", OSError)]
        world.expire()


def test_a_store_that_fails_does_not_touch_an_early_renewal(world: World) -> None:
    store = Sick()
    session = world.session(store)
    first = world.call(session)
    store.ills["load"] = raising(OSError())
    world.clock.advance(3600 * 0.85)
    assert world.call(session) == first
    assert world.call(session) == world.auth.issued[1]
    assert world.bypassed() == [("load", OSError)]


def test_a_lock_that_is_not_to_be_had_costs_a_token_request_and_the_token_is_shared(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oauthcc.supplier.LOCK_PATIENCE", (0.0, 0.0))
    store = MemoryStore()
    session = world.session(store)
    with store.lock(key_of(session), 0):
        token = world.call(session)
        assert world.bypassed() == [("lock", TimeoutError)]
        assert is_shared(world, store, token)


def test_a_lock_that_times_out_without_waiting_is_not_asked_for_again_and_again(
    world: World,
) -> None:
    asked: list[int] = []

    def at_once() -> Any:
        asked.append(1)
        raise TimeoutError

    world.call(world.session(Sick(lock=at_once)))
    assert len(asked) == 2


def test_a_lock_that_broke_after_it_was_taken_is_given_back(world: World) -> None:
    store = Sick(save=raising(OSError()))
    session = world.session(store)
    world.call(session)
    assert world.bypassed() == [("save", OSError)]
    with store.lock(key_of(session), 0):
        pass


def test_a_failing_store_keeps_nobody_waiting_while_the_token_is_valid(world: World) -> None:
    store = Sick()
    session = world.session(store)
    first = world.call(session)
    stuck, gone = threading.Event(), threading.Event()

    def hang() -> Any:
        stuck.set()
        assert gone.wait(20)
        raise OSError

    store.ills["load"] = hang
    world.clock.advance(3600 * 0.85)
    for _ in range(3):
        response = session.get(world.api.url)
        assert response.request.headers["Authorization"] == f"Bearer {first}"
    assert stuck.wait(20)
    gone.set()
    flights_done()
    assert world.call(session) == world.auth.issued[1]


# Rubbish.


def good(**changes: Any) -> Token:
    values = {"access_token": "planted", "issued_at": 1e9, "expires_at": 1e10, **changes}
    return Token(**values)


RUBBISH = {
    "text": "planted",
    "bytes": b"planted",
    "a mapping": {"access_token": "planted"},
    "true": True,
    "an object": object(),
    "a class": Token,
    "no text as token": good(access_token=b"planted"),
    "an empty token": good(access_token=""),
    "a line break in the token": good(access_token="planted\r\nX-Evil: 1"),
    "a letter beyond ASCII": good(access_token="plant\u00e9d"),
    "a control character": good(access_token="plan\x7fted"),
    "times that are text": good(expires_at="soon"),
    "a time that is no number": good(issued_at=float("nan")),
    "no extra members": good(extra=None),
}


@pytest.mark.parametrize("rubbish", RUBBISH.values(), ids=RUBBISH.keys())
def test_a_store_that_returns_rubbish_is_by_passed(rubbish: Any, world: World) -> None:
    store = Sick(load=returning(rubbish))
    assert world.call(world.session(store)) == world.auth.issued[0]
    ((operation, kind),) = world.bypassed()
    assert operation == "load"
    assert issubclass(kind, (TypeError, ValueError))
    assert all("planted" not in str(seen.raw_headers) for seen in world.api.requests)


def test_no_log_shows_what_a_store_returned(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.call(world.session(Sick(load=returning(RUBBISH["a line break in the token"]))))
    assert "StoreBypassed" in caplog.text
    assert "planted" not in caplog.text


@pytest.mark.parametrize("rubbish", [None, "text", 1, threading.Lock])
def test_a_lock_that_is_none_is_told(rubbish: Any, world: World) -> None:
    store = Sick(lock=returning(rubbish))
    assert world.call(world.session(store)) == world.auth.issued[0]
    ((operation, kind),) = world.bypassed()
    assert operation == "lock"
    assert issubclass(kind, (TypeError, AttributeError))


def test_an_expired_token_of_the_store_is_no_failure(world: World) -> None:
    old = Token("old", issued_at=world.clock.wall - 7200, expires_at=world.clock.wall - 3600)
    assert world.call(world.session(Sick(load=returning(old)))) == world.auth.issued[0]
    assert world.bypassed() == []


@pytest.mark.parametrize("store", ["redis://127.0.0.1", MemoryStore, object(), {}, 1])
def test_what_is_no_store_is_refused_at_construction(store: Any) -> None:
    with pytest.raises(ConfigurationError, match="load, save and lock"):
        ClientCredentialsSession("https://as.example/token", "id", "secret", store=store)


# Redis: killed, frozen, full.


@pytest.fixture
def redis_store(redis_server: RedisServer) -> Iterator[RedisStore]:
    store = RedisStore(redis_server.url, timeout=30)
    yield store
    store._client.close()


def test_a_redis_that_is_killed_and_started_again(
    world: World, redis_server: RedisServer, redis_store: RedisStore
) -> None:
    session = world.session(redis_store)
    assert is_shared(world, redis_store, world.call(session))
    redis_server.kill()
    world.expire()
    assert world.call(session) == world.auth.issued[1]
    assert world.bypassed() == [("load", redis.ConnectionError)]
    world.expire()
    redis_server.start()
    token = world.call(session)
    assert token == world.auth.issued[2]
    assert world.bypassed() == []
    assert is_shared(world, redis_store, token)


def test_a_redis_that_is_killed_while_the_token_is_fetched(
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
    # The token could not be saved, nor the lock given back.
    assert world.bypassed() == [
        ("save", redis.ConnectionError),
        ("unlock", redis.ConnectionError),
    ]
    redis_server.start()
    world.expire()
    assert is_shared(world, redis_store, world.call(session))
    assert world.bypassed() == []


def test_a_redis_that_hangs(world: World, redis_server: RedisServer) -> None:
    store = RedisStore(redis_server.url, timeout=0.1)
    session = world.session(store)
    world.call(session)
    redis_server.freeze()
    try:
        world.expire()
        assert world.call(session) == world.auth.issued[1]
        assert world.bypassed() == [("load", redis.TimeoutError)]
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


def test_a_redis_that_is_full(
    world: World, redis_server: RedisServer, redis_store: RedisStore
) -> None:
    session = world.session(redis_store)
    with redis.Redis.from_url(redis_server.url) as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 1)
        assert world.call(session) == world.auth.issued[0]
        ((operation, kind),) = world.bypassed()
        assert operation == "lock"
        assert issubclass(kind, redis.ResponseError)
        client.config_set("maxmemory", 0)
    world.expire()
    assert is_shared(world, redis_store, world.call(session))
    assert world.bypassed() == []


def test_a_redis_that_is_not_there_from_the_start(world: World) -> None:
    store = RedisStore("redis://127.0.0.1:1/0")
    assert world.call(world.session(store)) == world.auth.issued[0]
    assert world.bypassed() == [("load", redis.ConnectionError)]


# Folders: removed, read-only, full, spoiled.


def test_a_folder_that_is_removed_comes_back(world: World, tmp_path: Path) -> None:
    store = FileStore(tmp_path / "tokens")
    session = world.session(store)
    world.call(session)
    shutil.rmtree(tmp_path / "tokens")
    world.expire()
    assert is_shared(world, store, world.call(session))
    assert world.bypassed() == []


def test_a_folder_that_is_read_only(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileStore(tmp_path / "tokens")
    session = world.session(store)
    world.call(session)
    world.expire()
    real = os.open

    # Root may write into any folder, so the system is made to say what it says to others.
    def read_only(path: Any, flags: Any, *args: Any, **kwargs: Any) -> Any:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        return real(path, flags, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", read_only)
        assert world.call(session) == world.auth.issued[1]
        assert world.bypassed() == [("lock", OSError)]
    world.expire()
    assert is_shared(world, store, world.call(session))
    assert world.bypassed() == []


def test_a_disk_that_is_full(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FileStore(tmp_path / "tokens")
    session = world.session(store)

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "mkstemp", full)
        assert world.call(session) == world.auth.issued[0]
        assert world.bypassed() == [("save", OSError)]
    world.expire()
    assert is_shared(world, store, world.call(session))
    assert world.bypassed() == []


@pytest.mark.skipif(os.name != "posix", reason="owners and modes are those of POSIX")
def test_a_folder_that_others_can_write_later(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "tokens"
    store = FileStore(folder)
    session = world.session(store)
    world.call(session)
    folder.chmod(0o777)
    world.expire()
    assert world.call(session) == world.auth.issued[1]
    assert world.bypassed() == [("load", ConfigurationError)]
    folder.chmod(0o700)
    world.expire()
    assert is_shared(world, store, world.call(session))


def test_a_file_that_is_spoiled_costs_one_token_request(world: World, tmp_path: Path) -> None:
    store = FileStore(tmp_path / "tokens")
    world.call(world.session(store))
    (file,) = (tmp_path / "tokens").glob("*.token")
    file.write_bytes(b"\x00garbage")
    assert is_shared(world, store, world.call(world.session(store)))
    assert len(world.auth.token_requests) == 2
    assert world.bypassed() == []


# A cipher.


@pytest.mark.parametrize("kind", ["file", "redis"])
def test_a_cipher_hides_the_token_and_its_holders_share_it(
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
    # Whoever has another key, or none, fetches a token of its own.
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
