"""The tests that every token store must pass, also for your own store.

```python
from oauthcc.testing.store_contract import TokenStoreContract

class TestMyStore(TokenStoreContract):
    def make_store(self):
        return MyStore("a place that several stores can share")
```

pytest collects the methods. No test depends on the speed of the machine or needs an empty store,
and no key is used twice.
"""

# ruff: noqa: S101 - these are tests

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from types import MappingProxyType
from typing import Generic, TypeVar

from ..access_token import Token
from ..stores import TokenStore

T = TypeVar("T")

#: Seconds to wait for something that must happen. Only a store with an error makes a test wait.
PATIENCE = 30.0


class TokenStoreContract:
    """The base class of a test class that checks a store against `oauthcc.stores.TokenStore`."""

    def make_store(self) -> TokenStore:
        """Return a store; all stores of one test must share their tokens and locks."""
        raise NotImplementedError

    def test_an_unknown_key_has_no_token(self) -> None:
        """Check that nothing is loaded for a key under which nothing was saved."""
        assert self.make_store().load(_key()) is None

    def test_a_token_comes_back_as_it_was(self) -> None:
        """Check all fields, extra members and letters of any alphabet."""
        store, key = self.make_store(), _key()
        extra = {"list": [1, 2.5, None, True], "nested": {"ключ": "значение 🔑"}}
        now = time.time()
        token = Token("a-.~+/=", "DPoP", now, now + 300.25, "read write", MappingProxyType(extra))
        store.save(key, token)
        loaded = store.load(key)
        assert loaded == token
        assert loaded is not None
        assert dict(loaded.extra) == extra

    def test_a_token_without_an_expiry_comes_back(self) -> None:
        """Check a token that is used until an API refuses it."""
        store, key = self.make_store(), _key()
        store.save(key, Token("endless", issued_at=time.time()))
        loaded = store.load(key)
        assert loaded is not None
        assert (loaded.access_token, loaded.expires_at) == ("endless", None)

    def test_the_last_token_wins(self) -> None:
        """Check that a token replaces the former one, also if it is longer or shorter."""
        store, key = self.make_store(), _key()
        for text in ("first", "second" * 100, "3"):
            store.save(key, _token(text))
            assert _text(store, key) == text

    def test_keys_are_apart(self) -> None:
        """Check that a token is found only under its own key."""
        store, one, other = self.make_store(), _key(), _key()
        store.save(one, _token("one"))
        assert store.load(other) is None
        store.save(other, _token("other"))
        assert (_text(store, one), _text(store, other)) == ("one", "other")

    def test_an_expired_token_does_no_harm(self) -> None:
        """Check that it is returned or absent, and that the token before it does not return."""
        store, key = self.make_store(), _key()
        expired = Token("expired", issued_at=time.time() - 20, expires_at=time.time() - 10)
        store.save(key, _token("before"))
        store.save(key, expired)
        assert store.load(key) in (None, expired)
        store.save(key, _token("after"))
        assert _text(store, key) == "after"

    def test_another_store_on_the_same_place_sees_the_token(self) -> None:
        """Check that stores on the same place share tokens."""
        key = _key()
        self.make_store().save(key, _token("shared"))
        assert _text(self.make_store(), key) == "shared"

    def test_the_lock_excludes_other_threads(self) -> None:
        """Check it with one store and with another store on the same place."""
        store, key = self.make_store(), _key()
        with store.lock(key, PATIENCE):
            assert _is_taken(store, key)
            assert _is_taken(self.make_store(), key)
        assert not _is_taken(store, key)
        assert not _is_taken(self.make_store(), key)

    def test_the_wait_for_a_lock_ends(self) -> None:
        """Check that TimeoutError is raised, also for a timeout of zero or below zero."""
        store, key = self.make_store(), _key()
        for timeout in (0.05, 0.0, -1.0):
            with store.lock(key, PATIENCE):
                assert _Job(_times_out, store, key, timeout).result()

    def test_the_locks_of_other_keys_are_free(self) -> None:
        """Check that a lock excludes others only for its own key."""
        store = self.make_store()
        with store.lock(_key(), PATIENCE):
            assert not _is_taken(store, _key())

    def test_a_lock_does_not_keep_others_from_loading_and_saving(self) -> None:
        """Check that a process without the lock can use the store."""
        store, key = self.make_store(), _key()
        with store.lock(key, PATIENCE):
            _Job(store.save, key, _token("without the lock")).result()
            assert _Job(_text, store, key).result() == "without the lock"

    def test_a_lock_is_free_after_an_error_inside(self) -> None:
        """Check that the error is raised unchanged and the lock is released."""
        store, key = self.make_store(), _key()
        problem = RuntimeError("inside")
        try:
            with store.lock(key, PATIENCE):
                raise problem
        except RuntimeError as error:
            assert error is problem  # noqa: PT017 - this module does not import pytest
        assert not _is_taken(store, key)

    def test_a_waiting_thread_gets_the_lock_when_it_is_free(self) -> None:
        """Check that it also finds what the holder saved before it released the lock."""
        store, key = self.make_store(), _key()
        with store.lock(key, PATIENCE):
            waiting = _Job(_text_under_lock, self.make_store(), key)
            store.save(key, _token("from the holder"))
        assert waiting.result() == "from the holder"

    def test_a_lock_given_up_in_another_thread_is_free(self) -> None:
        """Check that a lock belongs to its context manager, not to a thread."""
        store, key = self.make_store(), _key()
        lock = store.lock(key, PATIENCE)
        _Job(lock.__enter__).result()
        assert _is_taken(store, key)
        lock.__exit__(None, None, None)
        assert not _is_taken(store, key)

    def test_threads_that_count_under_the_lock_lose_nothing(self) -> None:
        """Check that no update is lost when threads read, add and write under the lock."""
        key, threads, rounds = _key(), 8, 10
        start = threading.Barrier(threads)
        jobs = [_Job(_count, self.make_store(), key, rounds, start) for _ in range(threads)]
        for job in jobs:
            job.result()
        assert _text(self.make_store(), key) == str(threads * rounds)

    def test_the_store_does_not_show_a_token(self) -> None:
        """Check its repr and its str, because logs and crash reports contain them."""
        store, key = self.make_store(), _key()
        store.save(key, _token("do-not-show-me"))
        assert "do-not-show-me" not in f"{store!r} {store!s}"


def _key() -> str:
    return secrets.token_hex(32)


def _token(text: str) -> Token:
    now = time.time()
    return Token(text, issued_at=now, expires_at=now + 3600)


def _text(store: TokenStore, key: str) -> str | None:
    token = store.load(key)
    return None if token is None else token.access_token


def _text_under_lock(store: TokenStore, key: str) -> str | None:
    with store.lock(key, PATIENCE):
        return _text(store, key)


def _times_out(store: TokenStore, key: str, timeout: float) -> bool:
    try:
        with store.lock(key, timeout):
            return False
    except TimeoutError:
        return True


def _is_taken(store: TokenStore, key: str) -> bool:
    return _Job(_times_out, store, key, 0.0).result()


def _count(store: TokenStore, key: str, rounds: int, start: threading.Barrier) -> None:
    start.wait(PATIENCE)
    for _ in range(rounds):
        with store.lock(key, PATIENCE):
            count = int(_text(store, key) or 0)
            store.save(key, _token(str(count + 1)))


class _Job(Generic[T]):
    """A call in a daemon thread, so that a store that never returns does not block the exit."""

    def __init__(self, call: Callable[..., T], *args: object) -> None:
        self._future: Future[T] = Future()
        self._call = partial(call, *args)
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        try:
            self._future.set_result(self._call())
        except BaseException as error:  # noqa: BLE001 - `result` raises it
            self._future.set_exception(error)

    def result(self) -> T:
        return self._future.result(PATIENCE)
