from __future__ import annotations

import base64
import copy
import dataclasses
import gc
import json
import os
import pickle
import re
import secrets
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import MappingProxyType

import pytest
from cryptography.fernet import Fernet

import oauthcc.stores
from oauthcc.access_token import Token
from oauthcc.stores import FileStore, MemoryStore, RedisStore, TokenStore, base, redis
from oauthcc.testing.store_contract import TokenStoreContract
from oauthcc.tokens import renewal

from .servers.redis_server import RedisServer

KEY = "0" * 64
TOKEN = Token(
    "abc", "Bearer", 1000.0, 4600.0, "read", MappingProxyType({"nested": {"id_token": "xyz"}})
)
FOLDER_OF_THE_LIBRARY = Path(oauthcc.stores.__file__).parent.parent.parent


class ReversingCipher:
    """A cipher that returns bytes which are not text, as a real cipher does."""

    def encrypt(self, data: bytes) -> bytes:
        return b"\xff\x00" + data[::-1]

    def decrypt(self, data: bytes) -> bytes:
        if not data.startswith(b"\xff\x00"):
            raise KeyError("not mine")
        return data[:1:-1]


CIPHERS = [
    pytest.param(None, id="plain"),
    pytest.param(Fernet(Fernet.generate_key()), id="fernet"),
    pytest.param(ReversingCipher(), id="bytes"),
]


class TestMemoryStoreKeepsTheContract(TokenStoreContract):
    @pytest.fixture(autouse=True)
    def prepare(self):
        self.store = MemoryStore()

    def make_store(self) -> TokenStore:
        return self.store


class TestFileStoreKeepsTheContract(TokenStoreContract):
    @pytest.fixture(autouse=True, params=CIPHERS)
    def prepare(self, request, tmp_path):
        self.folder, self.cipher = tmp_path / "tokens", request.param

    def make_store(self) -> TokenStore:
        return FileStore(self.folder, cipher=self.cipher)


class TestRedisStoreKeepsTheContract(TokenStoreContract):
    @pytest.fixture(autouse=True, params=CIPHERS)
    def prepare(self, request, redis_server: RedisServer):
        self.url, self.cipher, self.stores = redis_server.url, request.param, []
        yield
        for store in self.stores:
            store._client.close()

    def make_store(self) -> TokenStore:
        self.stores.append(RedisStore(self.url, cipher=self.cipher, timeout=30))
        return self.stores[-1]


@pytest.mark.parametrize("kind", ["memory", "redis"])
def test_a_token_does_not_live_longer_if_the_wall_clock_is_set_back(kind, request, monkeypatch):
    store = MemoryStore()
    if kind == "redis":
        store = RedisStore(request.getfixturevalue("redis_server").url, timeout=30)
    now = time.time()
    token = Token("abc", issued_at=now - 3000, expires_at=now + 600)
    store.save(KEY, token)
    store.save("1", Token("endless", issued_at=now - 3000))
    assert store.load(KEY) == token
    # By less than its age, so the token does not seem to be issued in the future.
    monkeypatch.setattr(time, "time", lambda: now - 1000)
    loaded = store.load(KEY)
    assert loaded == dataclasses.replace(token, expires_at=loaded.expires_at)
    assert now - 1000 + 500 < loaded.expires_at <= now - 1000 + 601
    assert store.load("1").expires_at is None
    # A clock that was set forward only makes the life shorter, as the policy sees it.
    monkeypatch.setattr(time, "time", lambda: now + 100)
    assert store.load(KEY) == token
    if kind == "redis":
        store._client.persist(f"oauthcc:token:{KEY}")
        monkeypatch.setattr(time, "time", lambda: now - 1000)
        assert store.load(KEY) == token
        store._client.close()


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("kind", ["file", "redis"])
def test_a_save_of_a_process_that_was_frozen_replaces_no_newer_token(
    kind, cipher, request, tmp_path
):
    store = FileStore(tmp_path / "tokens", cipher=cipher)
    if kind == "redis":
        store = RedisStore(request.getfixturevalue("redis_server").url, cipher=cipher, timeout=30)
    now = time.time()

    def token(text, issued, expires=3600):
        return Token(text, issued_at=now + issued, expires_at=now + expires)

    def left_by(*tokens):
        key = secrets.token_hex(32)
        for each in tokens:
            store.save(key, each)
        found = store.load(key)
        return None if found is None else found.access_token

    assert left_by(token("newer", -10), token("old", -50)) == "newer"
    assert left_by(token("newer", -10), Token("old", issued_at=now - 50)) == "newer"
    # Machines whose clocks differ a little; a clock that was set back; tokens that have expired.
    assert left_by(token("fast clock", -46), token("new", -50)) == "new"
    assert left_by(token("future", 60), token("new", 0)) == "new"
    assert left_by(token("newer", -10, -1), token("old", -50)) == "old"
    assert left_by(token("newer", -10), token("old", -50, -1)) in (None, "old")
    if kind == "redis":
        store._client.close()
    else:
        assert not list((tmp_path / "tokens").glob("*.draft"))


@pytest.mark.parametrize("kind", ["memory", "file", "redis"])
@pytest.mark.parametrize("timeout", [0, 0.0, -1.0])
def test_a_lock_that_may_not_wait_does_not_wait(kind, timeout, request, tmp_path, monkeypatch):
    store = MemoryStore() if kind == "memory" else FileStore(tmp_path / "tokens")
    if kind == "redis":
        store = RedisStore(request.getfixturevalue("redis_server").url, timeout=30)
    with store.lock(KEY, 10), monkeypatch.context() as patch:
        patch.setattr(time, "sleep", None)
        with pytest.raises(TimeoutError), store.lock(KEY, timeout):
            pass
    if kind == "redis":
        store._client.close()


def test_a_contract_without_make_store_raises_not_implemented_error():
    with pytest.raises(NotImplementedError):
        TokenStoreContract().make_store()


class BrokenLock(MemoryStore):
    def lock(self, key, timeout):
        return threading.Lock()


class LostTokens(MemoryStore):
    def save(self, key, token): ...


class FullStore(MemoryStore):
    def save(self, key, token):
        raise OSError(28, "No space left on device")


class OneLockForAll(MemoryStore):
    def lock(self, key, timeout):
        return super().lock("all", timeout)


class TalkativeStore(MemoryStore):
    def __repr__(self):
        return self.last_token

    def save(self, key, token):
        self.last_token = token.access_token


@pytest.mark.parametrize(
    ("store", "promise"),
    [
        (BrokenLock, "test_the_lock_excludes_other_threads"),
        (LostTokens, "test_a_token_comes_back_as_it_was"),
        (LostTokens, "test_another_store_on_the_same_place_sees_the_token"),
        (OneLockForAll, "test_the_locks_of_other_keys_are_free"),
        (TalkativeStore, "test_the_store_does_not_show_a_token"),
    ],
)
def test_the_contract_fails_for_a_store_that_breaks_it(store, promise):
    contract = TokenStoreContract()
    made = store()
    contract.make_store = lambda: made
    with pytest.raises(AssertionError):
        getattr(contract, promise)()


def test_the_contract_raises_what_a_store_raised_in_a_thread():
    contract, made = TokenStoreContract(), FullStore()
    contract.make_store = lambda: made
    with pytest.raises(OSError, match="No space left"):
        contract.test_a_lock_does_not_keep_others_from_loading_and_saving()


# The names of the package.


def test_a_store_is_imported_when_it_is_first_used():
    code = (
        "import sys, oauthcc.stores as stores; before = set(sys.modules); stores.MemoryStore;"
        "assert 'oauthcc.stores.memory' not in before and 'oauthcc.stores.file' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=FOLDER_OF_THE_LIBRARY, check=True, timeout=60)


def test_the_package_lists_every_store_and_no_other_name():
    for name in oauthcc.stores.__all__:
        assert getattr(oauthcc.stores, name).__name__ == name
        assert name in dir(oauthcc.stores)
    with pytest.raises(AttributeError, match="no attribute 'SQLStore'"):
        oauthcc.stores.SQLStore  # noqa: B018 - reading it is the test


# Encoding and decoding.


@pytest.mark.parametrize("cipher", CIPHERS)
def test_an_encoded_token_can_be_decoded(cipher):
    data = base.encode(TOKEN, cipher)
    assert base.decode(data, cipher) == TOKEN
    assert base.decode(data.decode("ascii"), cipher) == TOKEN
    decoded = base.decode(data, cipher)
    assert decoded is not None
    assert decoded.extra == TOKEN.extra


@pytest.mark.parametrize("cipher", CIPHERS[1:])
def test_an_encrypted_token_is_not_readable(cipher):
    data = base.encode(Token("visible-token"), cipher)
    assert b"visible-token" not in data
    assert b"visible-token" not in Fernet(base64.urlsafe_b64encode(b"k" * 32)).encrypt(data)


def written(**changes):
    values = {**TOKEN.to_dict(), **changes}
    return json.dumps({"format": base.FORMAT, "token": values}).encode()


UNUSABLE = {
    "empty": b"",
    "binary": bytes(range(256)),
    "truncated": base.encode(TOKEN, None)[:-3],
    "half a character": b'{"format": 1, "token": "\xc3',
    "null": b"null",
    "a list": b"[1]",
    "a future format": json.dumps({"format": base.FORMAT + 1, "token": TOKEN.to_dict()}).encode(),
    "no format": json.dumps({"token": TOKEN.to_dict()}).encode(),
    "no token": b'{"format": 1}',
    "a token that is text": b'{"format": 1, "token": "abc"}',
    "a token that is null": b'{"format": 1, "token": null}',
    "a missing member": b'{"format": 1, "token": {"access_token": "abc"}}',
    "an empty token": written(access_token=""),
    "a token that is a number": written(access_token=1),
    "a line break in the token": written(access_token="abc\r\nX-Evil: 1"),
    "a token beyond ASCII": written(access_token="abcé"),
    "a time that is text": written(expires_at="soon"),
    "a time that is not a number": written(expires_at=float("nan")),
    "a number with too many digits": b'{"format": ' + b"9" * 5000 + b"}",
    "nesting that is too deep": b"[" * 200_000,
    "too long": b" " * base.MAX_BYTES + base.encode(TOKEN, None),
}


@pytest.mark.parametrize("data", UNUSABLE.values(), ids=UNUSABLE.keys())
@pytest.mark.parametrize("cipher", CIPHERS)
def test_data_that_is_not_a_token_counts_as_absent(data, cipher):
    assert base.decode(data, None) is None
    assert base.decode(data, cipher) is None
    if cipher is not None:
        assert base.decode(base64.b64encode(cipher.encrypt(data)), cipher) is None


def test_the_longest_data_that_is_read_has_one_mebibyte():
    data = base.encode(TOKEN, None)
    padding = b" " * (2**20 - len(data))
    assert base.decode(padding + data, None) == TOKEN
    assert base.decode(b" " + padding + data, None) is None


def test_data_encrypted_with_another_key_counts_as_absent():
    mine, theirs = Fernet(Fernet.generate_key()), Fernet(Fernet.generate_key())
    assert base.decode(base.encode(TOKEN, theirs), mine) is None
    assert base.decode(base.encode(TOKEN, None), mine) is None
    assert base.decode(base.encode(TOKEN, theirs), None) is None


@pytest.mark.parametrize("cipher", CIPHERS[1:])
def test_encrypted_data_with_a_character_that_encode_never_writes_counts_as_absent(cipher):
    data = base.encode(TOKEN, cipher)
    for foreign in (b"\n", b"!", b"-"):
        assert base.decode(data[:8] + foreign + data[8:], cipher) is None


# MemoryStore.


def test_a_memory_store_does_not_grow_with_expired_tokens(monkeypatch):
    store, now = MemoryStore(), [1000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    store.save("endless", Token("endless"))
    for number in range(100):
        now[0] += 10
        store.save(f"key {number}", Token("t", issued_at=now[0], expires_at=now[0] + 25))
    assert set(store._tokens) == {"endless", "key 97", "key 98", "key 99"}
    assert repr(store) == "<MemoryStore of 4>"
    now[0] = 2005.0  # the moment when the first of them expires
    store.save("last", Token("t", issued_at=now[0], expires_at=now[0] + 25))
    assert set(store._tokens) == {"endless", "key 98", "key 99", "last"}


@pytest.mark.parametrize(("back", "left"), [(0.5, 3600.5), (1.0, 3600.0), (600.0, 3600.0)])
def test_a_token_is_shortened_only_if_the_wall_clock_was_set_back_a_second_or_more(
    back, left, monkeypatch
):
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    token = Token("a", issued_at=1000.0, expires_at=1000.0 + 3600.0 + back)
    assert base.shortened(token, 3600.0).expires_at == 1000.0 + left


def test_a_memory_store_does_not_grow_with_locks():
    store = MemoryStore()
    for number in range(10):
        with store.lock(f"key {number}", 0):
            assert len(store._locks) == 1
    gc.collect()
    assert len(store._locks) == 0


@pytest.mark.parametrize("timeout", [0.0, -1.0])
@pytest.mark.parametrize("kind", ["file", "redis"])
def test_a_lock_without_a_timeout_is_tried_once(kind, timeout, tmp_path, request, monkeypatch):
    if kind == "file":
        store = FileStore(tmp_path / "tokens")
    else:
        store = RedisStore(request.getfixturevalue("redis_server").url, timeout=30)
        request.addfinalizer(store._client.close)
    slept = []
    with store.lock(KEY, 30):
        monkeypatch.setattr(time, "sleep", slept.append)
        with pytest.raises(TimeoutError, match="held the"), store.lock(KEY, timeout):
            pass
    assert slept == []


@pytest.mark.parametrize(
    ("timeout", "waited"), [(0.0, 0.0), (-1.0, 0.0), (0.25, 0.25), (1e20, threading.TIMEOUT_MAX)]
)
def test_the_lock_of_a_memory_store_waits_for_its_timeout_only(timeout, waited, monkeypatch):
    asked = []

    class Held:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def acquire(self, blocking=True, timeout=-1.0):
            asked.append((blocking, timeout))
            return False

    monkeypatch.setattr(threading, "Lock", Held)
    store = MemoryStore()
    with (
        pytest.raises(TimeoutError, match=re.escape(f"for {timeout:g} ")),
        store.lock(KEY, timeout),
    ):
        pass
    assert asked == [(True, waited)]


def test_an_infinite_timeout_is_accepted():
    store = MemoryStore()
    with store.lock(KEY, float("inf")):
        pass


def test_a_memory_store_looks_up_the_lock_type_when_it_is_created(monkeypatch):
    made = []
    real = threading.Lock
    monkeypatch.setattr(threading, "Lock", lambda: made.append(1) or real())
    with MemoryStore().lock(KEY, 0):
        assert len(made) == 2


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_is_the_same_store(copied, tmp_path):
    for store in (MemoryStore(), FileStore(tmp_path), RedisStore("redis://127.0.0.1:1")):
        assert copied(store) is store


def test_a_pickled_memory_store_contains_no_token():
    store = MemoryStore()
    store.save(KEY, Token("in-no-pickle"))
    data = pickle.dumps(store)
    assert b"in-no-pickle" not in data
    other = pickle.loads(data)
    assert other.load(KEY) is None
    with store.lock(KEY, 0), other.lock(KEY, 0):
        other.save(KEY, TOKEN)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="os.fork is needed")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_keeps_the_tokens_and_does_not_wait_for_locks():
    store = MemoryStore()
    store.save(KEY, Token("endless"))
    held, done = threading.Event(), threading.Event()

    def hold():
        with store.lock(KEY, 0), store._guard:
            held.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(60)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with store.lock(KEY, 0):
                store.save("other", TOKEN)
                status = 0 if store.load(KEY) == Token("endless") else 2
        finally:
            os._exit(status)
    done.set()
    thread.join(60)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert store.load("other") is None


# All stores.


def test_the_lease_is_longer_than_a_token_request():
    # The two modules are on the same floor, so neither can import the other.
    assert redis.LEASE == renewal.TOTAL_BUDGET + 15


GREENLETS = """
from gevent import monkey
monkey.patch_all()
import gevent
from gevent.event import Event
from oauthcc.stores import FileStore, MemoryStore, RedisStore

def play(store):
    waits, story = Event(), []

    def holder():
        with store.lock("key", 0):
            story.append("held")
            waits.wait()
            gevent.sleep(0.1)
            story.append("left")

    def waiter():
        waits.set()
        with store.lock("key", 60):
            story.append("next")

    jobs = [gevent.spawn(holder)]
    gevent.sleep(0)
    while not story:
        gevent.sleep(0.01)
    jobs.append(gevent.spawn(waiter))
    gevent.joinall(jobs, raise_error=True)
    assert story == ["held", "left", "next"], (store, story)

for store in (MemoryStore(), FileStore({folder!r}), RedisStore({url!r})):
    play(store)
"""


def test_a_waiting_greenlet_does_not_block_the_holder(tmp_path, redis_server):
    script = GREENLETS.format(folder=str(tmp_path / "tokens"), url=redis_server.url)
    subprocess.run(
        [sys.executable, "-c", script], cwd=FOLDER_OF_THE_LIBRARY, check=True, timeout=60
    )
