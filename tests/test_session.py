"""The session's own surface: how it is made, what it sends where, and what it shows on the way."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oauthcc import (
    ClientCredentialsSession,
    ConfigurationError,
    TLSClientAuth,
    TokenRequestDenied,
    fetch_token,
)
from oauthcc.testing import ProtectedAPI

from .refusals import Scene, a_scene, trail
from .servers.certificates import Certificates, make_certificates


@pytest.fixture
def scene() -> Iterator[Scene]:
    with a_scene() as made:
        yield made


# How it is made


def test_it_is_made_from_the_environment(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    auth = scene.auth
    monkeypatch.setenv("MY_TOKEN_URL", auth.token_url)
    monkeypatch.setenv("MY_CLIENT_ID", auth.client_id)
    monkeypatch.setenv("MY_CLIENT_SECRET", auth.client_secret)
    monkeypatch.setenv("MY_SCOPE", "orders:read")
    monkeypatch.setenv("MY_API_URL", f"{scene.api.url}/v1, {scene.api.url}/v2")
    with ClientCredentialsSession.from_env("MY_") as session:
        answers = [session.get(scene.api.url + path).status_code for path in ("/v1", "/v2", "/v3")]
    assert answers == [200, 200, 401]
    assert ("scope", "orders:read") in auth.token_requests[0].form


def test_it_is_made_from_a_profile(scene: Scene, tmp_path: Path) -> None:
    auth, path = scene.auth, tmp_path / "profiles.ini"
    path.touch(mode=0o600)
    path.write_text(
        f"[orders]\ntoken_url = {auth.token_url}\nclient_id = {auth.client_id}\n"
        f"client_secret = {auth.client_secret}\n"
    )
    with ClientCredentialsSession.from_profile("orders", path) as session:
        assert session.get(scene.url).status_code == 200


def test_it_is_made_from_an_issuer(scene: Scene) -> None:
    auth = scene.auth
    who = (auth.issuer, auth.client_id, auth.client_secret)
    with ClientCredentialsSession.from_issuer(*who, "a b", api_url=scene.api.url) as session:
        assert scene.auth.requests == []
        assert session.get(scene.url).status_code == 200
    assert ("scope", "a b") in auth.token_requests[0].form


def test_a_script_gets_one_token(scene: Scene) -> None:
    auth = scene.auth
    token = fetch_token(auth.token_url, auth.client_id, auth.client_secret, "a", timeout=20)
    assert (token.access_token, token.scope, token.lifetime) == (auth.issued[0], "a", 3600)


def test_a_script_gets_the_error_of_the_server(scene: Scene) -> None:
    auth = scene.auth
    with pytest.raises(TokenRequestDenied) as caught:
        fetch_token(auth.token_url, auth.client_id, "wrong")
    assert (caught.value.status_code, caught.value.error) == (401, "invalid_client")


# Several APIs


def test_another_api_has_a_token_of_its_own(scene: Scene) -> None:
    session, other = scene.session(scope="a"), scene.another_api()
    tokens = session.add_api(f"{other.url}/v1", scope="b")
    assert tokens is not session.tokens
    for url in (scene.url, f"{other.url}/v1", f"{other.url}/v2"):
        assert session.get(url).status_code == 200
    assert [dict(seen.form)["scope"] for seen in scene.auth.token_requests] == ["a", "b"]
    assert trail(other) == [("/v1", 2), ("/v2", 1)]


def test_another_api_may_use_the_tokens_of_another_session(scene: Scene) -> None:
    session, lender = scene.session(), scene.session(scope="lent")
    assert session.add_api(f"{scene.api.url}/lent", tokens=lender.tokens) is lender.tokens
    assert session.get(f"{scene.api.url}/lent").status_code == 200
    assert lender.get(scene.url).status_code == 200
    assert scene.token_requests == 1


@pytest.mark.parametrize(
    "options",
    [
        {"tokens": "x"},
        {"secret": "x"},
        {"scope": '"'},
        {"token_url": ""},
        {"tokens": 1, "scope": 2},
    ],
)
def test_what_cannot_authorize_is_refused(scene: Scene, options: dict[str, Any]) -> None:
    session = scene.session()
    with pytest.raises(ConfigurationError):
        session.add_api(scene.api.url, **options)
    with pytest.raises(ConfigurationError):
        session.add_api("api.example", scope="a")
    assert session.get(scene.url).status_code == 200
    assert scene.token_requests == 1


def test_the_options_of_authorize_are_told_apart_from_tokens(scene: Scene) -> None:
    session, lender = scene.session(), scene.session()
    with pytest.raises(ConfigurationError, match="not both"):
        session.add_api(scene.api.url, tokens=lender.tokens, scope="a")


# What was signed before


def test_a_request_signed_by_another_session_loses_its_token_where_none_may_go(
    scene: Scene,
) -> None:
    signed = scene.session().get(scene.url).request
    limited = scene.session(api_url="https://api.example")
    assert limited.send(signed).status_code == 401
    assert [ordinal for _, ordinal in scene.trail] == [1, None]
    assert scene.token_requests == 1


def test_a_request_signed_by_another_session_gets_the_token_of_this_one(scene: Scene) -> None:
    signed = scene.session().get(scene.url).request
    assert scene.session().send(signed).status_code == 200
    assert [ordinal for _, ordinal in scene.trail] == [1, 2]


def test_a_request_signed_by_another_session_is_left_to_a_session_auth(scene: Scene) -> None:
    signed, session = scene.session().get(scene.url).request, scene.session()
    session.auth = ("user", "password")
    assert session.send(signed).status_code == 401
    assert [ordinal for _, ordinal in scene.trail] == [1, None]


# Tokens that are bound to a certificate


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def tls(certificates: Certificates, tmp_path: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificates.ca_bundle)
    context.verify_mode = ssl.CERT_OPTIONAL
    path = tmp_path / "server.pem"
    path.write_text(certificates.server_key + certificates.server_chain)
    context.load_cert_chain(path)
    return context


@pytest.fixture
def bound(scene: Scene, certificates: Certificates) -> ClientCredentialsSession:
    """Make a session that proves itself by a certificate."""
    scene.auth.add_client("by-certificate")
    method = TLSClientAuth(certificates.client.pair)
    session = ClientCredentialsSession(scene.auth.token_url, "by-certificate", client_auth=method)
    session.verify = certificates.ca_bundle
    session.trust_env = False
    return scene.stack.enter_context(session)


def shown(api: ProtectedAPI) -> list[bool]:
    return [seen.peer_certificate is not None for seen in api.requests]


def test_the_certificate_is_shown_with_the_token_and_with_the_replay(
    scene: Scene, bound: ClientCredentialsSession, tls: ssl.SSLContext
) -> None:
    with ProtectedAPI(scene.auth, tls=tls) as api:
        api.refuse_next()
        assert bound.get(f"{api.url}/x").status_code == 200
        assert shown(api) == [True, True]
        assert trail(api) == [("/x", 1), ("/x", 2)]
        # It may have been replaced in the meantime, and a connection keeps the old one.
        assert api.connections == 2


def test_the_certificate_is_not_shown_where_a_redirect_leads(
    scene: Scene, bound: ClientCredentialsSession, tls: ssl.SSLContext
) -> None:
    with ProtectedAPI(scene.auth, tls=tls) as api, ProtectedAPI(scene.auth, tls=tls) as other:
        bound.get(f"{api.url}/redirect-to?url={other.url}/x")
        bound.get(f"{api.url}/redirect-to?url=/x")
        assert shown(api) == [True, True, True]
        assert shown(other) == [False]


def test_a_certificate_of_the_callers_goes_before(
    scene: Scene, bound: ClientCredentialsSession, tls: ssl.SSLContext, certificates: Certificates
) -> None:
    theirs = certificates.other_client
    with ProtectedAPI(scene.auth, tls=tls) as api, ProtectedAPI(scene.auth, tls=tls) as other:
        bound.get(f"{api.url}/redirect-to?url={other.url}/x", cert=theirs.pair)
        bound.cert = theirs.pair
        bound.get(f"{api.url}/x")
        seen = [request.peer_certificate for request in (*api.requests, *other.requests)]
    expected = ssl.PEM_cert_to_DER_cert(Path(theirs.cert_path).read_text())
    assert seen == [expected] * 3
