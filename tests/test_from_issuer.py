"""Tests of sessions that ask an issuer for its token endpoint."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import requests

from oauthcc import (
    ClientCredentialsSession,
    ClientSecretPost,
    ConfigurationError,
    DiscoveryError,
    TokenEndpointUnavailable,
    TokenEndpointUnreachable,
    TokenRequestDenied,
)
from oauthcc.testing import (
    AuthorizationServer,
    ProtectedAPI,
    faults,
    json_answer,
)
from oauthcc.token_request.discovery import MAX_AGE

from .clock import Clock, flights_done, moved_clock
from .servers.certificates import Certificates
from .servers.oidc import SCOPE, OIDCServer
from .sessions import session_for

Make = Callable[..., ClientCredentialsSession]
OAUTH, OPENID = "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return moved_clock(monkeypatch)


@pytest.fixture
def make(auth: AuthorizationServer) -> Iterator[Make]:
    with ExitStack() as stack:

        def make(issuer: str | None = None, **options: Any) -> ClientCredentialsSession:
            issuer = auth.issuer if issuer is None else issuer
            session = session_for(auth, token_url=None, issuer=issuer, **options)
            return stack.enter_context(session)

        yield make


def paths(auth: AuthorizationServer) -> list[str]:
    return [request.path for request in auth.requests]


def test_the_issuer_is_asked_once_when_the_first_token_is_needed(
    auth: AuthorizationServer, api: ProtectedAPI, make: Make
) -> None:
    session = make()
    assert paths(auth) == []
    for _ in range(3):
        assert session.get(api.url).status_code == 200
    auth.revoke_all()
    assert session.get(api.url).status_code == 200
    assert paths(auth) == [OAUTH, "/token", "/token"]


@pytest.mark.parametrize("has_oauth", [True, False])
def test_an_issuer_with_a_path_is_asked_at_the_location_of_oauth_and_then_of_openid(
    has_oauth: bool,
) -> None:
    with (
        AuthorizationServer(path="/tenant") as auth,
        ProtectedAPI(auth) as api,
        session_for(auth, token_url=None, issuer=auth.issuer) as session,
    ):
        if not has_oauth:
            auth.answer_next(faults.html(404), path=OAUTH)
        assert session.get(api.url).status_code == 200
        openid = [] if has_oauth else ["/tenant" + OPENID]
        assert paths(auth) == [OAUTH + "/tenant", *openid, "/tenant/token"]


def test_a_real_issuer_is_asked_over_tls_with_the_ca_of_the_session(oidc: OIDCServer) -> None:
    client_id, secret = oidc.clients["client_secret_basic"].pair
    with ClientCredentialsSession.from_issuer(oidc.tls_issuer, client_id, secret, SCOPE) as session:
        session.trust_env = False
        with pytest.raises(TokenEndpointUnreachable, match=r"session\.verify"):
            session.get(oidc.tls_api_url + "/orders")
    with ClientCredentialsSession.from_issuer(oidc.tls_issuer, client_id, secret, SCOPE) as session:
        session.trust_env = False
        session.tokens.endpoint.verify = session.verify = oidc.ca_bundle
        assert session.get(oidc.tls_api_url + "/orders").status_code == 200
        oidc.revoke_all()
        assert session.get(oidc.tls_api_url + "/orders").status_code == 200
    assert oidc.counts()["tokens_issued"] == 2


def test_a_method_that_is_not_listed_is_used_and_logged_once(
    auth: AuthorizationServer,
    api: ProtectedAPI,
    make: Make,
    caplog: pytest.LogCaptureFixture,
) -> None:
    auth.metadata = {"token_endpoint_auth_methods_supported": ["client_secret_basic"]}
    session = make(client_auth=ClientSecretPost())
    with caplog.at_level(logging.WARNING, "oauthcc"):
        for _ in range(3):
            assert session.get(api.url).status_code == 200
            auth.revoke_all()
        assert make(client_auth=ClientSecretPost()).get(api.url).status_code == 200
    [warning] = [r.getMessage() for r in caplog.records if "does not list" in r.getMessage()]
    assert "client_secret_post is used as configured" in warning
    assert f"(client {auth.client_id!r}, without a scope)" in warning
    assert {name for name, _ in auth.token_requests[0].form} >= {"client_secret"}


def test_the_warning_about_grant_types_names_the_one_that_is_used(
    auth: AuthorizationServer, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    auth.metadata = {"grant_types_supported": ["account_credentials"]}
    token = json_answer({"access_token": "t", "token_type": "Bearer"})
    with caplog.at_level(logging.WARNING, "oauthcc"):
        auth.answer_next(token, path="/token")
        make(token_params={"grant_type": "account_credentials"}).tokens.get()
        assert not caplog.records
        auth.answer_next(token, path="/token")
        make(token_params={"grant_type": "another"}).tokens.get()
    [warning] = [r.getMessage() for r in caplog.records]
    assert "does not list another among its grant_types_supported" in warning


def test_nothing_is_logged_about_a_method_that_is_listed(
    api: ProtectedAPI, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "oauthcc"):
        assert make(client_auth=ClientSecretPost()).get(api.url).status_code == 200
    assert caplog.records == []


# What the issuer publishes, and the message of the error.
UNUSABLE: dict[str, tuple[Callable[[AuthorizationServer], Any], str]] = {
    "another issuer": (
        lambda auth: json_answer({"issuer": "https://other.example", "token_endpoint": "x"}),
        "metadata of another issuer, 'https://other.example'.*write that one exactly",
    ),
    "a page": (lambda auth: faults.html(), "publishes no metadata.*is not JSON.*pass token_url"),
    "http beyond this machine": (
        lambda auth: json_answer(
            {"issuer": auth.issuer, "token_endpoint": "http://as.example/token"}
        ),
        "publishes a token_endpoint that cannot be used.*https",
    ),
}


@pytest.mark.parametrize("published", UNUSABLE)
def test_unusable_metadata_is_an_error_that_says_what_to_do(
    auth: AuthorizationServer, api: ProtectedAPI, make: Make, published: str
) -> None:
    answer, message = UNUSABLE[published]
    auth.answer_next(answer(auth), n=None, path="/.well-known")
    session = make()
    for _ in range(5):
        with pytest.raises(DiscoveryError, match=message) as caught:
            session.get(api.url)
    assert isinstance(caught.value, requests.RequestException)
    assert auth.issuer in str(caught.value)
    # The error is remembered, as every error that only a change of configuration can correct.
    assert len(auth.requests) <= 2
    assert auth.token_requests == []
    assert api.requests == []


def test_a_redirect_of_the_metadata_is_not_followed(
    auth: AuthorizationServer, api: ProtectedAPI, make: Make
) -> None:
    with AuthorizationServer() as other:
        auth.answer_next(faults.redirect(other.issuer + OAUTH), n=None, path="/.well-known")
        with pytest.raises(DiscoveryError):
            make().get(api.url)
        assert other.requests == []


@pytest.mark.parametrize(
    ("issuer", "message"),
    [
        ("http://as.example", "https"),
        ("https://user:pass@as.example", "leave out everything up to the @"),
    ],
)
def test_an_invalid_issuer_is_an_error_at_construction(
    make: Make, issuer: str, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        make(issuer)
    assert "pass@" not in str(caught.value)


def test_an_unavailable_issuer_is_an_error_if_there_is_no_token(
    auth: AuthorizationServer, api: ProtectedAPI, make: Make, clock: Clock
) -> None:
    auth.answer_next(faults.unavailable(503, None), n=None, path="/.well-known")
    session = make()
    with pytest.raises(TokenEndpointUnavailable, match="503"):
        session.get(api.url)
    auth.answer_normally()
    clock.advance(10)
    assert session.get(api.url).status_code == 200


def test_an_issuer_at_a_closed_port_is_unreachable(
    api: ProtectedAPI, make: Make, clock: Clock
) -> None:
    with AuthorizationServer() as gone:
        issuer = gone.issuer
    with pytest.raises(TokenEndpointUnreachable, match=issuer):
        make(issuer).get(api.url)
    assert api.requests == []


def test_no_call_fails_while_the_token_is_valid_and_the_issuer_is_unavailable(
    auth: AuthorizationServer, api: ProtectedAPI, make: Make, clock: Clock
) -> None:
    auth.token_lifetime = 2 * MAX_AGE
    session = make()
    assert session.get(api.url).status_code == 200
    auth.answer_next(faults.unavailable(), n=None, path="/")
    for _ in range(4):
        clock.advance(0.45 * MAX_AGE)
        assert session.get(api.url).status_code == 200
        flights_done()
    assert OAUTH in paths(auth)[2:]
    clock.advance(MAX_AGE)
    with pytest.raises(TokenEndpointUnavailable):
        session.get(api.url)


def test_the_known_token_endpoint_is_used_while_the_issuer_is_unavailable(
    auth: AuthorizationServer, api: ProtectedAPI, make: Make, clock: Clock
) -> None:
    auth.token_lifetime = MAX_AGE / 2
    session = make()
    session.get(api.url)
    auth.answer_next(faults.unavailable(), n=None, path="/.well-known")
    clock.advance(2 * MAX_AGE)
    assert session.get(api.url).status_code == 200
    assert paths(auth)[-1] == "/token"
    assert len(auth.issued) == 2


def test_a_token_endpoint_that_moved_is_found_again(
    auth: AuthorizationServer, api: ProtectedAPI, make: Make, clock: Clock
) -> None:
    auth.metadata = {"token_endpoint": auth.issuer + "/old-token"}
    session = make()
    with pytest.raises(TokenRequestDenied, match="404"):
        session.get(api.url)
    auth.metadata = {}
    clock.advance(2)
    assert session.get(api.url).status_code == 200


def test_each_api_of_one_issuer_has_a_token_of_its_own(
    auth: AuthorizationServer, api: ProtectedAPI, make: Make
) -> None:
    session = make(api_url=api.url + "/a")
    session.add_api(api.url + "/b", audience="b")
    assert session.get(api.url + "/a").status_code == 200
    assert session.get(api.url + "/b").status_code == 200
    assert [dict(seen.form).get("audience") for seen in auth.token_requests] == [None, "b"]


@pytest.mark.parametrize("has_cert", [True, False])
def test_the_alias_for_mutual_tls_is_used_if_a_certificate_was_set_on_the_endpoint(
    auth: AuthorizationServer, make: Make, certificates: Certificates, has_cert: bool
) -> None:
    with AuthorizationServer(auth.client_id, auth.client_secret) as alias:
        auth.metadata = {"mtls_endpoint_aliases": {"token_endpoint": alias.token_url}}
        session = make()
        if has_cert:
            session.tokens.endpoint.cert = certificates.client.pair
        session.tokens.get()
        assert (len(auth.issued), len(alias.issued)) == ((0, 1) if has_cert else (1, 0))


def test_a_certificate_of_the_session_is_for_its_apis_and_does_not_choose_the_alias(
    auth: AuthorizationServer, make: Make, certificates: Certificates
) -> None:
    auth.metadata = {"mtls_endpoint_aliases": {"token_endpoint": "http://127.0.0.1:1/"}}
    session = make()
    session.cert = certificates.client.pair
    session.tokens.get()
    assert len(auth.issued) == 1


def test_an_issuer_with_its_metadata_behind_the_path_is_found(auth: AuthorizationServer) -> None:
    issuer = f"{auth.url}/oidc"
    document = {"issuer": issuer, "token_endpoint": auth.token_url}
    auth.answer_next(json_answer(document), None, "/oidc" + OAUTH)
    with session_for(auth, token_url=None, issuer=issuer) as session:
        session.tokens.get()
    assert paths(auth) == [OAUTH + "/oidc", "/oidc" + OPENID, "/oidc" + OAUTH, "/token"]


@pytest.mark.parametrize(
    ("wrong", "advice"),
    [
        ("{}/", r"write that one exactly, without the slash at its end"),
        ("{}/token", r"it looks like a token endpoint, which is passed as token_url"),
    ],
)
def test_the_error_for_a_wrong_issuer_says_what_to_write(
    auth: AuthorizationServer, make: Make, wrong: str, advice: str
) -> None:
    with pytest.raises(DiscoveryError, match=advice):
        make(wrong.format(auth.issuer)).tokens.get()
    assert auth.token_requests == []


def test_the_error_for_an_issuer_in_the_place_of_a_token_url_names_from_issuer(
    auth: AuthorizationServer,
) -> None:
    with (
        session_for(auth, token_url=f"{auth.url}/realms/a") as session,
        pytest.raises(
            TokenRequestDenied, match=r"If .*/realms/a is an issuer, write .*from_issuer"
        ),
    ):
        session.tokens.get()
