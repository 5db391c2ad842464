"""Tests of callers that share a token: an error of one has little effect on the others."""

from __future__ import annotations

import threading

import pytest

from oauthcc import TokenEndpointUnavailable
from oauthcc.stores import MemoryStore
from oauthcc.testing import AuthorizationServer, ProtectedAPI, faults

from .clock import moved_clock
from .sessions import session_for


def test_a_refused_body_that_cannot_be_sent_again_prevents_no_replay_of_other_requests(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    answers: list[int] = []
    with session_for(auth) as session:
        session.get(f"{api.url}/warm")
        caller = threading.Thread(
            target=lambda: answers.append(session.get(f"{api.url}/later").status_code)
        )
        with api.hold("/later") as gate:
            caller.start()
            gate.wait_for(1)
            auth.revoke_all()
            upload = session.post(f"{api.url}/upload", data=iter([b"once"]))
            assert upload.status_code == 401
        caller.join()
    assert answers == [200]
    assert len(auth.token_requests) == 2


def test_a_token_that_another_session_stored_is_used_in_spite_of_a_remembered_error(
    auth: AuthorizationServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, store = moved_clock(monkeypatch), MemoryStore()
    with session_for(auth, store=store) as unlucky, session_for(auth, store=store) as lucky:
        auth.answer_next(faults.unavailable(retry_after="60"))
        with pytest.raises(TokenEndpointUnavailable):
            unlucky.tokens.get()
        token = lucky.tokens.get()
        with pytest.raises(TokenEndpointUnavailable):
            unlucky.tokens.get()  # the store was read less than a second ago
        clock.advance(1)
        assert unlucky.tokens.get() == token
        assert len(auth.token_requests) == 2


def test_a_look_into_the_store_sends_nothing_and_the_remembered_error_stays_the_same(
    auth: AuthorizationServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = moved_clock(monkeypatch)
    with session_for(auth, store=MemoryStore()) as session:
        auth.answer_next(faults.unavailable(retry_after="60"))
        texts = set()
        for _ in range(59):
            with pytest.raises(TokenEndpointUnavailable) as caught:
                session.tokens.get()
            texts.add(str(caught.value).partition(" (This error is remembered")[0])
            clock.advance(1)
        assert len(texts) == len(auth.token_requests) == 1
        clock.advance(1)
        assert session.tokens.get().access_token == auth.issued[-1]


def test_a_new_secret_does_not_end_the_pause_of_an_outage(
    auth: AuthorizationServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, read = moved_clock(monkeypatch), list[str]()

    def secret() -> str:
        read.append(f"secret number {len(read)}")
        return read[-1]

    auth.answer_next(faults.unavailable(retry_after="60"), None)
    with session_for(auth, client_secret=secret, store=MemoryStore()) as session:
        for _ in range(30):
            with pytest.raises(TokenEndpointUnavailable):
                session.tokens.get()
            clock.advance(1)
    assert len(read) > 1
    assert len(auth.token_requests) == 1
