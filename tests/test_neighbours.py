"""What one caller meets hinders its neighbours no more than it must."""

from __future__ import annotations

import threading

import pytest

from oauthcc import ClientCredentialsSession, TokenEndpointUnavailable
from oauthcc.stores import MemoryStore
from oauthcc.testing import AuthorizationServer, ProtectedAPI, faults

from .clock import moved_clock


def make(auth: AuthorizationServer, store: MemoryStore | None = None) -> ClientCredentialsSession:
    grant = auth.token_url, auth.client_id, auth.client_secret
    return ClientCredentialsSession(*grant, store=store)


def test_a_refused_body_that_cannot_be_sent_again_keeps_nobody_from_a_replay(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    answers: list[int] = []
    with make(auth) as session:
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


def test_an_error_that_is_remembered_does_not_hide_what_others_brought(
    auth: AuthorizationServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, store = moved_clock(monkeypatch), MemoryStore()
    with make(auth, store) as unlucky, make(auth, store) as lucky:
        auth.answer_next(faults.unavailable(retry_after="60"))
        with pytest.raises(TokenEndpointUnavailable):
            unlucky.tokens.get()
        token = lucky.tokens.get()
        with pytest.raises(TokenEndpointUnavailable):
            unlucky.tokens.get()  # it looked less than a second ago
        clock.advance(1)
        assert unlucky.tokens.get() == token
        assert len(auth.token_requests) == 2


def test_a_look_for_what_others_brought_sends_nothing_and_tells_the_same_error(
    auth: AuthorizationServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = moved_clock(monkeypatch)
    with make(auth, MemoryStore()) as session:
        auth.answer_next(faults.unavailable(retry_after="60"))
        texts = set()
        for _ in range(59):
            with pytest.raises(TokenEndpointUnavailable) as caught:
                session.tokens.get()
            texts.add(str(caught.value))
            clock.advance(1)
        assert len(texts) == len(auth.token_requests) == 1
        clock.advance(1)
        assert session.tokens.get().access_token == auth.issued[-1]


def test_a_new_secret_does_not_mend_an_outage(
    auth: AuthorizationServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, read = moved_clock(monkeypatch), list[str]()

    def secret() -> str:
        read.append(f"secret number {len(read)}")
        return read[-1]

    auth.answer_next(faults.unavailable(retry_after="60"), None)
    grant = auth.token_url, auth.client_id, secret
    with ClientCredentialsSession(*grant, store=MemoryStore()) as session:
        for _ in range(30):
            with pytest.raises(TokenEndpointUnavailable):
                session.tokens.get()
            clock.advance(1)
    assert len(read) > 1
    assert len(auth.token_requests) == 1
