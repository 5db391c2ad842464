"""Sessions that are made for each call: the log says so once, and a store makes them cheap."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import responses

from oauthcc import ClientCredentialsAuth, ClientCredentialsSession, DPoP, fetch_token
from oauthcc.access_token import Token
from oauthcc.events import Client
from oauthcc.stores import MemoryStore
from oauthcc.testing import Answer, AuthorizationServer
from oauthcc.tokens import unshared
from oauthcc.tokens.refusals import Route
from oauthcc.tokens.unshared import MANY, REPLACED, UnsharedSource

from .clock import Clock, flights_done, together
from .inside import forget_warnings, held_by, state_of
from .internet import Internet
from .refusals import Scene, Sessions
from .sessions import connected


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING, "oauthcc")
    return caplog


def warnings(log: pytest.LogCaptureFixture) -> list[str]:
    flights_done()  # it is written after the caller has continued
    return [r.getMessage() for r in log.records if r.name == "oauthcc"]


def session_per_call(net: Internet, times: int, scope: str | None = None, **options: Any) -> None:
    for _ in range(times):
        connected(net, scope, **options).get("https://api.example/")
        flights_done()


def test_sessions_that_are_made_per_call_are_one_warning_that_says_what_to_write(
    net: Internet, log: pytest.LogCaptureFixture
) -> None:
    session_per_call(net, MANY - 1, "orders")
    assert warnings(log) == []
    session_per_call(net, 2 * MANY, "orders")
    session_per_call(net, 2 * MANY, "stock")
    (warning,) = warnings(log)
    assert warning.startswith(
        f"{MANY} sessions or ClientCredentialsAuth objects have each fetched a token for client"
        " 'my-id', scope 'orders', from https://as.example"
    )
    assert "Make one and use it for all calls" in warning
    assert "make them with ClientCredentialsSession.using(first.tokens)" in warning


def test_sessions_that_are_made_with_using_are_no_warning(
    scene: Scene, log: pytest.LogCaptureFixture
) -> None:
    first = scene.session()
    for _ in range(2 * MANY):
        with ClientCredentialsSession.using(first.tokens) as session:
            assert session.get(scene.url).status_code == 200
    assert len(scene.auth.token_requests) == 1
    assert warnings(log) == []


def test_an_auth_per_call_and_fetch_token_per_call_count_too(
    auth: AuthorizationServer, log: pytest.LogCaptureFixture
) -> None:
    client = auth.token_url, auth.client_id, auth.client_secret
    for _ in range(MANY):
        ClientCredentialsAuth(*client).tokens.get()
    (warning,) = warnings(log)
    assert "sessions or ClientCredentialsAuth objects have each fetched a token" in warning
    forget_warnings()
    for _ in range(MANY):
        fetch_token(*client)
    assert len(warnings(log)) == 2


def test_one_session_that_renews_its_token_is_no_warning(
    net: Internet, log: pytest.LogCaptureFixture
) -> None:
    session = connected(net)
    for _ in range(2 * MANY):
        session.tokens.renew()
        session.tokens.forget()
        session.tokens.get()
    assert warnings(log) == []


@pytest.mark.parametrize(
    "options",
    [
        lambda number: {"scope": f"scope-{number}"},
        lambda number: {"audience": f"https://api-{number}.example"},
        lambda number: {"token_params": {"tenant": str(number)}},
        lambda number: {"store": MemoryStore()},
    ],
)
def test_sessions_that_cannot_share_a_token_are_no_warning(
    net: Internet, log: pytest.LogCaptureFixture, options: Any
) -> None:
    for number in range(2 * MANY):
        connected(net, **options(number)).get("https://api.example/")
    assert len(net.token_requests) == 2 * MANY
    assert warnings(log) == []


@pytest.mark.parametrize(
    "differ",
    [
        lambda session, number: session.tokens.endpoint.headers.update({"X-Tenant": number}),
        lambda session, number: setattr(session.tokens.endpoint, "params", {"tenant": number}),
        lambda session, number: setattr(session.tokens.endpoint, "auth", lambda r: r),
    ],
)
def test_tenants_that_differ_in_what_is_set_on_the_endpoint_are_no_warning(
    net: Internet, log: pytest.LogCaptureFixture, differ: Any
) -> None:
    for number in range(2 * MANY):
        session = connected(net)
        differ(session, str(number))
        session.get("https://api.example/")
    assert len(net.token_requests) == 2 * MANY
    assert warnings(log) == []


def test_tenants_that_differ_in_the_query_of_the_token_url_are_no_warning(
    auth: AuthorizationServer, log: pytest.LogCaptureFixture
) -> None:
    for number in range(2 * MANY):
        url = f"{auth.token_url}?tenant={number}"
        fetch_token(url, auth.client_id, auth.client_secret)
    assert warnings(log) == []


def test_sessions_whose_tokens_are_bound_to_keys_of_their_own_are_no_warning(
    auth: AuthorizationServer, log: pytest.LogCaptureFixture
) -> None:
    auth.token_fields = {"token_type": "DPoP"}
    for _ in range(2 * MANY):
        fetch_token(auth.token_url, auth.client_id, auth.client_secret, scheme=DPoP())
    assert warnings(log) == []


@responses.activate
def test_sessions_of_tests_whose_requests_are_mocked_are_no_warning(
    log: pytest.LogCaptureFixture,
) -> None:
    token = {"access_token": "t", "token_type": "Bearer", "expires_in": 3600}
    responses.post("https://as.example/token", json=token)
    for _ in range(2 * MANY):
        fetch_token("https://as.example/token", "my-id", "my-secret")
    assert warnings(log) == []


def test_several_apis_of_one_session_are_no_warning(
    net: Internet, log: pytest.LogCaptureFixture
) -> None:
    session = connected(net)
    for number in range(2 * MANY):
        session.add_api(f"https://api-{number}.example", scope=f"scope-{number}").get()
    assert warnings(log) == []


def test_sessions_after_each_other_whose_tokens_have_expired_are_no_warning(
    log: pytest.LogCaptureFixture,
) -> None:
    clock = Clock().install()
    for lifetime in (60.0, None):
        for _ in range(2 * MANY):
            source = UnsharedSource(Client("me", None), str)
            expires_at = None if lifetime is None else clock.wall + lifetime
            source.note(Token("abc", expires_at=expires_at), b"")
            clock.advance(3600.0)
    assert warnings(log) == []


def test_the_memory_of_clients_is_limited() -> None:
    for number in range(3 * unshared.MAX_CLIENTS):
        UnsharedSource(Client("me", None), str).note(Token("abc"), bytes(number))
        assert len(unshared._expiries) <= unshared.MAX_CLIENTS


def test_with_one_memory_store_a_session_per_call_costs_one_token_request_and_no_scrypt(
    net: Internet, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scrypt(*args: Any, **kwargs: Any) -> bytes:
        raise AssertionError("scrypt is slow")

    monkeypatch.setattr("hashlib.scrypt", scrypt)
    session_per_call(net, 2 * MANY, store=MemoryStore())
    assert len(net.token_requests) == 1
    assert warnings(log) == []


# -- one active token for each client --------------------------------------------------------------


def one_active_token(auth: AuthorizationServer) -> None:
    """Let an authorization server revoke all other tokens when it issues one."""
    make = auth.make_token

    def make_only_one() -> str:
        auth.revoke_all()
        return make()

    auth.make_token = make_only_one


def test_sessions_that_revoke_the_tokens_of_each_other_are_one_warning(
    scene: Scene, sessions: Sessions, log: pytest.LogCaptureFixture
) -> None:
    one_active_token(scene.auth)
    two = sessions.new(), sessions.new()
    clock = Clock().install()
    for _ in range(2 * MANY):
        for session in two:
            assert session.get(scene.url).status_code == 200
            clock.advance(2.0)
    (warning,) = warnings(log)
    assert warning.startswith(
        f"{REPLACED} tokens of client {scene.auth.client_id!r}, without a scope, from"
        f" {scene.auth.url} were refused within 10 min after they had been accepted"
    )
    assert "only one active token" in warning
    assert "pass store=store to each" in warning


def test_sessions_that_share_a_store_are_no_warning(
    scene: Scene, log: pytest.LogCaptureFixture
) -> None:
    one_active_token(scene.auth)
    store = MemoryStore()
    two = scene.session(store=store), scene.session(store=store)
    for _ in range(2 * MANY):
        scene.auth.revoke_all()
        for session in two:
            assert session.get(scene.url).status_code == 200
    assert warnings(log) == []


def test_one_revocation_that_many_threads_see_and_rare_ones_are_no_warning(
    scene: Scene, log: pytest.LogCaptureFixture
) -> None:
    clock = Clock().install()
    session = scene.session()
    for _ in range(MANY):
        session.get(scene.url)
        scene.auth.revoke_all()
        together(8, lambda: session.get(scene.url))
        clock.advance(300.0)
    assert warnings(log) == []


def test_threads_that_see_one_revocation_at_the_same_moment_count_once(
    scene: Scene, log: pytest.LogCaptureFixture
) -> None:
    session = scene.session()
    assert session.get(scene.url).status_code == 200
    tokens, first = session.tokens, held_by(session.tokens)
    tokens.renew()
    for _ in range(2 * REPLACED):
        state_of(tokens).is_settled = False  # as each of them has read it
        tokens._accepted(held_by(tokens), first, lambda: Route("GET", None, scene.url))
    assert warnings(log) == []


def test_a_route_that_always_refuses_beside_a_good_one_is_no_warning(
    scene: Scene, log: pytest.LogCaptureFixture
) -> None:
    clock = Clock().install()
    session = scene.session()
    scene.api.answer_next(Answer(401, [], b""), None, "/bad")
    for _ in range(2 * MANY):
        assert session.get(scene.url).status_code == 200
        assert session.get(scene.api.url + "/bad").status_code == 401
        clock.advance(5.0)
    assert scene.token_requests > REPLACED
    assert [line for line in warnings(log) if "one active" in line] == []
