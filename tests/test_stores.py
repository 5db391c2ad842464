from __future__ import annotations

import base64
import copy
import gc
import json
import os
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import MappingProxyType

import pytest
from cryptography.fernet import Fernet

import oauthcc.stores
from oauthcc import renewal
from oauthcc.access_token import Token
from oauthcc.stores import FileStore, MemoryStore, RedisStore, TokenStore, codec, redis
from oauthcc.testing.store_contract import TokenStoreContract

from .servers.redis_server import RedisServer

KEY = "0" * 64
TOKEN = Token(
    "abc", "Bearer", 1000.0, 4600.0, "read", MappingProxyType({"nested": {"id_token": "xyz"}})
)
FOLDER_OF_THE_LIBRARY = Path(oauthcc.stores.__file__).parent.parent.parent


class ReversingCipher:
    """Give bytes that are no text, as a real cipher does."""

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
    def a_place(self):
        self.store = MemoryStore()

    def make_store(self) -> TokenStore:
        return self.store


class TestFileStoreKeepsTheContract(TokenStoreContract):
    @pytest.fixture(autouse=True, params=CIPHERS)
    def a_place(self, request, tmp_path):
        self.folder, self.cipher = tmp_path / "tokens", request.param

    def make_store(self) -> TokenStore:
        return FileStore(self.folder, cipher=self.cipher)


class TestRedisStoreKeepsTheContract(TokenStoreContract):
    @pytest.fixture(autouse=True, params=CIPHERS)
    def a_place(self, request, redis_server: RedisServer):
        self.url, self.cipher, self.stores = redis_server.url, request.param, []
        yield
        for store in self.stores:
            store._client.close()

    def make_store(self) -> TokenStore:
        self.stores.append(RedisStore(self.url, cipher=self.cipher, timeout=30))
        return self.stores[-1]


class TestTheContractItself(TokenStoreContract):
    def test_an_unwritten_store_is_told(self):
        with pytest.raises(NotImplementedError):
            super().make_store()

    def make_store(self) -> TokenStore:
        return self.store

    @pytest.fixture(autouse=True)
    def a_place(self):
        self.store = MemoryStore()


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
        return f"{self._tokens['x' * 64].access_token if 0 else self.words}"

    def save(self, key, token):
        self.words = token.access_token


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
def test_the_contract_finds_a_store_that_breaks_it(store, promise):
    contract = TokenStoreContract()
    made = store()
    contract.make_store = lambda: made
    with pytest.raises(AssertionError):
        getattr(contract, promise)()


def test_the_contract_tells_what_a_store_raised_in_a_thread():
    contract, made = TokenStoreContract(), FullStore()
    contract.make_store = lambda: made
    with pytest.raises(OSError, match="No space left"):
        contract.test_a_lock_does_not_keep_others_from_loading_and_saving()


# The front door.


def test_a_store_is_imported_when_it_is_asked_for():
    code = (
        "import sys, oauthcc.stores as stores; before = set(sys.modules); stores.MemoryStore;"
        "assert 'oauthcc.stores.memory' not in before and 'oauthcc.stores.file' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=FOLDER_OF_THE_LIBRARY, check=True, timeout=60)


def test_the_front_door_lists_every_store_and_no_other_name():
    for name in oauthcc.stores.__all__:
        assert getattr(oauthcc.stores, name).__name__ == name
        assert name in dir(oauthcc.stores)
    with pytest.raises(AttributeError, match="no attribute 'SQLStore'"):
        oauthcc.stores.SQLStore  # noqa: B018 - reading it is the test


# The codec.


@pytest.mark.parametrize("cipher", CIPHERS)
def test_what_is_encoded_can_be_decoded(cipher):
    data = codec.encode(TOKEN, cipher)
    assert codec.decode(data, cipher) == TOKEN
    assert codec.decode(data.decode("ascii"), cipher) == TOKEN
    decoded = codec.decode(data, cipher)
    assert decoded is not None
    assert decoded.extra == TOKEN.extra


@pytest.mark.parametrize("cipher", CIPHERS[1:])
def test_what_is_encrypted_shows_nothing(cipher):
    data = codec.encode(Token("visible-token"), cipher)
    assert b"visible-token" not in data
    assert b"visible-token" not in Fernet(base64.urlsafe_b64encode(b"k" * 32)).encrypt(data)


def written(**changes):
    values = {**TOKEN.to_dict(), **changes}
    return json.dumps({"format": codec.FORMAT, "token": values}).encode()


UNUSABLE = {
    "empty": b"",
    "binary": bytes(range(256)),
    "truncated": codec.encode(TOKEN, None)[:-3],
    "half a letter": b'{"format": 1, "token": "\xc3',
    "null": b"null",
    "a list": b"[1]",
    "a future format": json.dumps({"format": codec.FORMAT + 1, "token": TOKEN.to_dict()}).encode(),
    "no format": json.dumps({"token": TOKEN.to_dict()}).encode(),
    "no token": b'{"format": 1}',
    "a token that is text": b'{"format": 1, "token": "abc"}',
    "a token that is null": b'{"format": 1, "token": null}',
    "a member too few": b'{"format": 1, "token": {"access_token": "abc"}}',
    "an empty token": written(access_token=""),
    "a token that is a number": written(access_token=1),
    "a line break in the token": written(access_token="abc\r\nX-Evil: 1"),
    "a token beyond ASCII": written(access_token="abcé"),
    "a time that is text": written(expires_at="soon"),
    "a time that is no number": written(expires_at=float("nan")),
    "a number without end": b'{"format": ' + b"9" * 5000 + b"}",
    "nesting without end": b"[" * 200_000,
    "too long": b" " * codec.MOST_BYTES + codec.encode(TOKEN, None),
}


@pytest.mark.parametrize("data", UNUSABLE.values(), ids=UNUSABLE.keys())
@pytest.mark.parametrize("cipher", CIPHERS)
def test_what_is_no_token_counts_as_absent(data, cipher):
    assert codec.decode(data, None) is None
    assert codec.decode(data, cipher) is None
    if cipher is not None:
        assert codec.decode(base64.b64encode(cipher.encrypt(data)), cipher) is None


def test_what_another_key_encrypted_counts_as_absent():
    mine, theirs = Fernet(Fernet.generate_key()), Fernet(Fernet.generate_key())
    assert codec.decode(codec.encode(TOKEN, theirs), mine) is None
    assert codec.decode(codec.encode(TOKEN, None), mine) is None
    assert codec.decode(codec.encode(TOKEN, theirs), None) is None


# The store in memory.


def test_memory_does_not_grow_with_expired_tokens(monkeypatch):
    store, now = MemoryStore(), [1000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    store.save("endless", Token("endless"))
    for number in range(100):
        now[0] += 10
        store.save(f"key {number}", Token("t", issued_at=now[0], expires_at=now[0] + 25))
    assert set(store._tokens) == {"endless", "key 97", "key 98", "key 99"}
    assert repr(store) == "<MemoryStore of 4>"


def test_memory_does_not_grow_with_locks():
    store = MemoryStore()
    for number in range(10):
        with store.lock(f"key {number}", 0):
            assert len(store._locks) == 1
    gc.collect()
    assert len(store._locks) == 0


def test_an_endless_timeout_is_taken():
    store = MemoryStore()
    with store.lock(KEY, float("inf")):
        pass


def test_a_lock_of_memory_is_looked_up_at_construction(monkeypatch):
    made = []
    real = threading.Lock
    monkeypatch.setattr(threading, "Lock", lambda: made.append(1) or real())
    with MemoryStore().lock(KEY, 0):
        assert len(made) == 2


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_is_the_same_place(copied, tmp_path):
    for store in (MemoryStore(), FileStore(tmp_path), RedisStore("redis://127.0.0.1:1")):
        assert copied(store) is store


def test_a_pickle_of_memory_holds_no_token():
    store = MemoryStore()
    store.save(KEY, Token("in-no-pickle"))
    data = pickle.dumps(store)
    assert b"in-no-pickle" not in data
    other = pickle.loads(data)
    assert other.load(KEY) is None
    with store.lock(KEY, 0), other.lock(KEY, 0):
        other.save(KEY, TOKEN)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_keeps_the_tokens_and_is_not_held_up_by_locks():
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


# All of them.


def test_the_lease_outlives_a_token_request():
    # The two stand on one floor, so that neither can import the other.
    assert redis.LEASE == renewal.TOTAL_BUDGET + 15


GREENLETS = """
from gevent import monkey
monkey.patch_all()
import gevent
from gevent.event import Event
from oauthcc.stores import FileStore, MemoryStore, RedisStore

store, waits, story = {store}, Event(), []

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
assert story == ["held", "left", "next"], story
"""


@pytest.mark.parametrize("store", ["MemoryStore()", "FileStore({0!r})", "RedisStore({1!r})"])
def test_a_waiting_greenlet_lets_the_holder_go_on(store, tmp_path, redis_server):
    script = GREENLETS.format(store=store.format(str(tmp_path / "tokens"), redis_server.url))
    subprocess.run(
        [sys.executable, "-c", script], cwd=FOLDER_OF_THE_LIBRARY, check=True, timeout=60
    )
