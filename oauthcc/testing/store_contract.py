"""The tests that any token store must pass, for your own store too.

```python
from oauthcc.testing.store_contract import TokenStoreContract

class TestMyStore(TokenStoreContract):
    def make_store(self):
        return MyStore("a place that several stores can share")
```

pytest collects the methods. None of them takes longer when the machine is slow, none needs an empty
store, and no key is used twice.
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

#: Seconds to wait for what must happen; nothing waits that long unless the store is wrong.
PATIENCE = 30.0


class TokenStoreContract:
    """Hold a store to what `oauthcc.stores.TokenStore` promises: derive from it."""

    def make_store(self) -> TokenStore:
        """Return a store; all that one test makes must share their tokens and locks."""
        raise NotImplementedError

    def test_an_unknown_key_has_no_token(self) -> None:
        """Nothing saved, nothing loaded."""
        assert self.make_store().load(_key()) is None

    def test_a_token_comes_back_as_it_was(self) -> None:
        """All fields, extra members and letters of any alphabet."""
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
        """Such a token is used until an API refuses it."""
        store, key = self.make_store(), _key()
        store.save(key, Token("endless", issued_at=time.time()))
        loaded = store.load(key)
        assert loaded is not None
        assert (loaded.access_token, loaded.expires_at) == ("endless", None)

    def test_the_last_token_wins(self) -> None:
        """A token replaces the former, be it longer or shorter."""
        store, key = self.make_store(), _key()
        for text in ("first", "second" * 100, "3"):
            store.save(key, _token(text))
            assert _text(store, key) == text

    def test_keys_are_apart(self) -> None:
        """A token is found under its own key alone."""
        store, one, other = self.make_store(), _key(), _key()
        store.save(one, _token("one"))
        assert store.load(other) is None
        store.save(other, _token("other"))
        assert (_text(store, one), _text(store, other)) == ("one", "other")

    def test_an_expired_token_does_no_harm(self) -> None:
        """It may come back or be gone, but not the one before it."""
        store, key = self.make_store(), _key()
        expired = Token("expired", issued_at=time.time() - 20, expires_at=time.time() - 10)
        store.save(key, _token("before"))
        store.save(key, expired)
        assert store.load(key) in (None, expired)
        store.save(key, _token("after"))
        assert _text(store, key) == "after"

    def test_another_store_on_the_same_place_sees_the_token(self) -> None:
        """That is what a store is for."""
        key = _key()
        self.make_store().save(key, _token("shared"))
        assert _text(self.make_store(), key) == "shared"

    def test_the_lock_excludes_other_threads(self) -> None:
        """Of the same store and of another on the same place; a timeout of 0 asks once."""
        store, key = self.make_store(), _key()
        with store.lock(key, PATIENCE):
            assert _is_taken(store, key)
            assert _is_taken(self.make_store(), key)
        assert not _is_taken(store, key)
        assert not _is_taken(self.make_store(), key)

    def test_the_wait_for_a_lock_ends(self) -> None:
        """With TimeoutError, after the time that was given and not for ever, be it below zero."""
        store, key = self.make_store(), _key()
        for timeout in (0.05, 0.0, -1.0):
            with store.lock(key, PATIENCE):
                assert _Job(_times_out, store, key, timeout).result()

    def test_the_locks_of_other_keys_are_free(self) -> None:
        """A lock is for its key alone."""
        store = self.make_store()
        with store.lock(_key(), PATIENCE):
            assert not _is_taken(store, _key())

    def test_a_lock_does_not_keep_others_from_loading_and_saving(self) -> None:
        """Whoever by-passes the lock can still use the store."""
        store, key = self.make_store(), _key()
        with store.lock(key, PATIENCE):
            _Job(store.save, key, _token("by-pass")).result()
            assert _Job(_text, store, key).result() == "by-pass"

    def test_a_lock_is_free_after_an_error_inside(self) -> None:
        """The error goes through, the lock does not stay."""
        store, key = self.make_store(), _key()
        problem = RuntimeError("inside")
        try:
            with store.lock(key, PATIENCE):
                raise problem
        except RuntimeError as error:
            assert error is problem  # noqa: PT017 - users may run this without pytest.raises
        assert not _is_taken(store, key)

    def test_a_waiting_thread_gets_the_lock_when_it_is_free(self) -> None:
        """And finds what the holder saved before it let go."""
        store, key = self.make_store(), _key()
        with store.lock(key, PATIENCE):
            waiting = _Job(_text_under_lock, self.make_store(), key)
            store.save(key, _token("from the holder"))
        assert waiting.result() == "from the holder"

    def test_a_lock_given_up_in_another_thread_is_free(self) -> None:
        """A lock belongs to a context, not to a thread."""
        store, key = self.make_store(), _key()
        lock = store.lock(key, PATIENCE)
        _Job(lock.__enter__).result()
        assert _is_taken(store, key)
        lock.__exit__(None, None, None)
        assert not _is_taken(store, key)

    def test_threads_that_count_under_the_lock_lose_nothing(self) -> None:
        """Read, add, write: without the lock some of it would be lost."""
        key, threads, rounds = _key(), 8, 10
        start = threading.Barrier(threads)
        jobs = [_Job(_count, self.make_store(), key, rounds, start) for _ in range(threads)]
        for job in jobs:
            job.result()
        assert _text(self.make_store(), key) == str(threads * rounds)

    def test_the_store_does_not_show_a_token(self) -> None:
        """Neither in its repr nor in its str, which logs and crash reports hold."""
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
    """Call something in a thread that, where a store never lets go, hinders nobody's end."""

    def __init__(self, call: Callable[..., T], *args: object) -> None:
        self._future: Future[T] = Future()
        self._call = partial(call, *args)
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        try:
            self._future.set_result(self._call())
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
            self._future.set_exception(error)

    def result(self) -> T:
        return self._future.result(PATIENCE)
