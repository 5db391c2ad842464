"""The servers and sessions of the tests about stores that fail, and such a store."""

from __future__ import annotations

import contextlib
import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from oauthcc import ClientCredentialsSession
from oauthcc.access_token import Token
from oauthcc.events import StoreBypassed
from oauthcc.stores import MemoryStore
from oauthcc.testing import AuthorizationServer, ProtectedAPI

from .clock import Clock, flights_done, moved_clock


class World:
    """The servers, the clock and the sessions of one test."""

    def __init__(self, auth: AuthorizationServer, api: ProtectedAPI, clock: Clock) -> None:
        self.auth, self.api, self.clock = auth, api, clock
        self.events: list[Any] = []
        self.sessions: list[ClientCredentialsSession] = []

    def session(
        self, store: Any, *, secret: Any = None, **options: Any
    ) -> ClientCredentialsSession:
        made = ClientCredentialsSession(
            self.auth.token_url,
            self.auth.client_id,
            secret or self.auth.client_secret,
            store=store,
            on_event=self.events.append,
            **options,
        )
        self.sessions.append(made)
        return made

    def call(self, session: ClientCredentialsSession) -> str:
        """Send a request that must succeed, and return the token that it contained."""
        response = session.get(self.api.url)
        flights_done()
        assert response.status_code == 200
        return response.request.headers["Authorization"].encode().decode().partition(" ")[2]

    def expire(self) -> None:
        self.clock.advance(3601)

    def bypassed(self) -> list[tuple[str, str]]:
        """Return the operations that failed since the last call, with the types of their errors."""
        events = [event for event in self.events if isinstance(event, StoreBypassed)]
        self.events.clear()
        return [(event.operation, raised(event.error)) for event in events]


def raised(error: Exception) -> str:
    """Return the type of the error that a store raised, or of ours."""
    foreign = re.search(r"raised (\w+)", str(error))
    return type(error).__name__ if foreign is None else foreign[1]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    clock = moved_clock(monkeypatch)
    # These tests do not need the slow scrypt.
    monkeypatch.setattr(hashlib, "scrypt", lambda octets, **_: hashlib.sha256(octets).digest())
    with AuthorizationServer() as auth, ProtectedAPI(auth) as api:
        auth.now = clock.time
        world = World(auth, api, clock)
        yield world
        for session in world.sessions:
            session.close()


def is_shared(world: World, store: Any, token: str) -> bool:
    """Return whether a new session finds this token in the store."""
    before = len(world.auth.token_requests)
    found = world.call(world.session(store))
    return found == token and len(world.auth.token_requests) == before


class FailingStore(MemoryStore):
    """A store in which the named operations call a function instead."""

    def __init__(self, **failures: Callable[[], Any]) -> None:
        super().__init__()
        self.failures = failures

    def load(self, key: str) -> Any:
        return self.failures["load"]() if "load" in self.failures else super().load(key)

    def save(self, key: str, token: Token) -> Any:
        return self.failures["save"]() if "save" in self.failures else super().save(key, token)

    @contextlib.contextmanager
    def held(self, key: str, timeout: float) -> Iterator[None]:
        with super().lock(key, timeout):
            if "enter" in self.failures:
                self.failures["enter"]()
            yield
            if "unlock" in self.failures:
                self.failures["unlock"]()

    def lock(self, key: str, timeout: float) -> Any:
        return self.failures["lock"]() if "lock" in self.failures else self.held(key, timeout)


def raising(error: BaseException, *, after: float = 0.0) -> Callable[[], Any]:
    def fail() -> Any:
        threading.Event().wait(after)
        raise error

    return fail
