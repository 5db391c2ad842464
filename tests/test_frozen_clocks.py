"""Tools that freeze or move the clock of a whole process: freezegun and time-machine."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta, timezone
from typing import Any

import freezegun
import pytest
import time_machine

from oauthcc import ClientCredentialsSession
from oauthcc.stores import MemoryStore
from oauthcc.testing import AuthorizationServer, ProtectedAPI

from .sessions import session_for

LONG_AGO, FAR_AHEAD = "2020-05-05", "2100-01-01"
FREEZERS: dict[str, Callable[[Any], AbstractContextManager[Any]]] = {
    "freezegun": freezegun.freeze_time,
    "freezegun, tick": lambda moment: freezegun.freeze_time(moment, tick=True),
    "time-machine": lambda moment: time_machine.travel(moment, tick=False),
    "time-machine, tick": lambda moment: time_machine.travel(moment, tick=True),
}
frozen = pytest.mark.parametrize("freeze", FREEZERS.values(), ids=FREEZERS)
moments = pytest.mark.parametrize("moment", [LONG_AGO, FAR_AHEAD])


@frozen
@moments
def test_a_session_works_while_the_clock_is_frozen(
    auth: AuthorizationServer, api: ProtectedAPI, freeze: Any, moment: str
) -> None:
    with session_for(auth) as session, freeze(moment):
        assert session.get(api.url, timeout=20).status_code == 200
        auth.revoke_all()
        assert session.get(api.url, timeout=20).status_code == 200
    assert len(auth.token_requests) == 2


@frozen
@moments
def test_a_session_with_a_token_works_during_and_after_a_frozen_clock(
    auth: AuthorizationServer, api: ProtectedAPI, freeze: Any, moment: str
) -> None:
    with session_for(auth) as session:
        assert session.get(api.url).status_code == 200
        with freeze(moment):
            assert session.get(api.url).status_code == 200
        assert session.get(api.url).status_code == 200
        auth.revoke_all()
        assert session.get(api.url).status_code == 200


@frozen
def test_many_threads_get_one_token_while_the_clock_is_frozen(
    auth: AuthorizationServer, api: ProtectedAPI, freeze: Any
) -> None:
    statuses: list[int] = []
    with session_for(auth) as session, freeze(LONG_AGO):

        def call() -> None:
            statuses.append(session.get(api.url, timeout=20).status_code)

        threads = [threading.Thread(target=call) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert statuses == [200] * 8
    assert len(auth.token_requests) == 1


@frozen
def test_a_store_works_while_the_clock_is_frozen(
    auth: AuthorizationServer, api: ProtectedAPI, freeze: Any
) -> None:
    store = MemoryStore()
    sessions = session_for(auth, store=store), session_for(auth, store=store)
    with sessions[0] as one, sessions[1] as two, freeze(LONG_AGO):
        assert one.get(api.url).status_code == two.get(api.url).status_code == 200
    assert len(auth.token_requests) == 1


def test_a_token_expires_when_the_frozen_clock_is_moved(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    with session_for(auth) as session, freezegun.freeze_time(LONG_AGO) as clock:
        first = session.tokens.get()
        clock.tick(timedelta(seconds=3000))  # aging, but nothing runs in the background
        assert session.tokens.get() is first
        clock.tick(timedelta(seconds=601))
        assert session.tokens.get() != first
    assert len(auth.token_requests) == 2


def test_a_pause_that_began_before_the_clock_was_moved_back_has_ended(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    with session_for(auth) as session:
        with freezegun.freeze_time(FAR_AHEAD):
            auth.refuse_next()
            with pytest.raises(Exception, match="refused"):
                session.get(api.url)
        assert session.get(api.url).status_code == 200


def test_a_frozen_clock_is_that_of_the_token(auth: AuthorizationServer) -> None:
    with session_for(auth) as session, freezegun.freeze_time(LONG_AGO):
        token = session.tokens.get()
    assert datetime.fromtimestamp(token.issued_at, timezone.utc).isoformat()[:10] == LONG_AGO


def test_a_session_with_mocked_servers_works_while_the_clock_is_frozen() -> None:
    import responses

    with responses.RequestsMock() as mocked, freezegun.freeze_time("2024-05-05"):
        answer = {"access_token": "t", "token_type": "Bearer", "expires_in": 3600}
        mocked.post("https://as.example/token", json=answer)
        mocked.get("https://api.example/orders", json=[])
        session = ClientCredentialsSession("https://as.example/token", "id", "secret")
        assert session.get("https://api.example/orders").status_code == 200
