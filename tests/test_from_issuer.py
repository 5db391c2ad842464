"""Sessions that ask an issuer where its token endpoint is."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
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
from tests.clock import Clock, flights_done, moved_clock
from tests.servers.oidc import SCOPE, OIDCServer

Make = Callable[..., ClientCredentialsSession]
OAUTH, OPENID = "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"


@pytest.fixture
def protected(auth: AuthorizationServer) -> Iterator[ProtectedAPI]:
    with ProtectedAPI(auth) as protected:
        yield protected


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return moved_clock(monkeypatch)


@pytest.fixture
def make(auth: AuthorizationServer) -> Iterator[Make]:
    made: list[ClientCredentialsSession] = []

    def make(issuer: str | None = None, **options: Any) -> ClientCredentialsSession:
        issuer = auth.issuer if issuer is None else issuer
        client = auth.client_id, auth.client_secret
        api = ClientCredentialsSession.from_issuer(issuer, *client, **options)
        api.trust_env = False
        made.append(api)
        return api

    yield make
    for api in made:
        api.close()


def paths(auth: AuthorizationServer) -> list[str]:
    return [request.path for request in auth.requests]


def test_nothing_is_asked_before_a_token_is_needed_and_the_issuer_only_once(
    auth: AuthorizationServer, protected: ProtectedAPI, make: Make
) -> None:
    api = make()
    assert paths(auth) == []
    for _ in range(3):
        assert api.get(protected.url).status_code == 200
    auth.revoke_all()
    assert api.get(protected.url).status_code == 200
    assert paths(auth) == [OAUTH, "/token", "/token"]


def test_an_issuer_with_a_path_is_asked_between_host_and_path() -> None:
    with (
        AuthorizationServer(path="/tenant") as auth,
        ProtectedAPI(auth) as protected,
        ClientCredentialsSession.from_issuer(
            auth.issuer, auth.client_id, auth.client_secret
        ) as api,
    ):
        assert api.get(protected.url).status_code == 200
        assert paths(auth) == [OAUTH + "/tenant", "/tenant/token"]


def test_an_issuer_that_knows_openid_alone_is_asked_after_the_path() -> None:
    with (
        AuthorizationServer(path="/tenant") as auth,
        ProtectedAPI(auth) as protected,
        ClientCredentialsSession.from_issuer(
            auth.issuer, auth.client_id, auth.client_secret
        ) as api,
    ):
        auth.answer_next(faults.html(404), path=OAUTH)
        assert api.get(protected.url).status_code == 200
        assert paths(auth) == [OAUTH + "/tenant", "/tenant" + OPENID, "/tenant/token"]


def test_a_real_issuer_is_asked_over_tls_with_the_ca_of_the_session(oidc: OIDCServer) -> None:
    client_id, secret = oidc.clients["client_secret_basic"].pair
    with ClientCredentialsSession.from_issuer(oidc.tls_issuer, client_id, secret, SCOPE) as api:
        api.trust_env = False
        with pytest.raises(TokenEndpointUnreachable, match=r"session\.verify"):
            api.get(oidc.tls_api_url + "/orders")
    with ClientCredentialsSession.from_issuer(oidc.tls_issuer, client_id, secret, SCOPE) as api:
        api.trust_env = False
        api.tokens.endpoint.verify = api.verify = oidc.ca_bundle
        assert api.get(oidc.tls_api_url + "/orders").status_code == 200
        oidc.revoke_all()
        assert api.get(oidc.tls_api_url + "/orders").status_code == 200
    assert oidc.counts()["tokens_issued"] == 2


def test_a_method_that_is_not_listed_is_used_and_told_once(
    auth: AuthorizationServer,
    protected: ProtectedAPI,
    make: Make,
    caplog: pytest.LogCaptureFixture,
) -> None:
    auth.metadata = {"token_endpoint_auth_methods_supported": ["client_secret_basic"]}
    api = make(client_auth=ClientSecretPost())
    with caplog.at_level(logging.WARNING, "oauthcc"):
        for _ in range(3):
            assert api.get(protected.url).status_code == 200
            auth.revoke_all()
    [warning] = [r.getMessage() for r in caplog.records if "does not list" in r.getMessage()]
    assert "client_secret_post is used as configured" in warning
    assert {name for name, _ in auth.token_requests[0].form} >= {"client_secret"}


def test_a_method_that_is_listed_is_not_worth_a_word(
    protected: ProtectedAPI, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "oauthcc"):
        assert make(client_auth=ClientSecretPost()).get(protected.url).status_code == 200
    assert caplog.records == []


# What the issuer publishes, and what the error says of it.
UNUSABLE: dict[str, tuple[Callable[[AuthorizationServer], Any], str]] = {
    "another issuer": (
        lambda auth: json_answer({"issuer": "https://other.example", "token_endpoint": "x"}),
        "metadata of another issuer, 'https://other.example'.*write that one exactly",
    ),
    "the issuer with a slash": (
        lambda auth: json_answer({"issuer": auth.issuer + "/", "token_endpoint": auth.token_url}),
        "write that one exactly",
    ),
    "a page": (lambda auth: faults.html(), "publishes no metadata.*is not JSON.*pass token_url"),
    "a redirect": (
        lambda auth: faults.redirect("https://elsewhere.example/"),
        r"redirects \(302\), which is not followed.*pass token_url",
    ),
    "nothing": (lambda auth: faults.empty(404), "answers with status 404.*pass token_url"),
    "a list": (lambda auth: json_answer([]), "holds no JSON object"),
    "http beyond this machine": (
        lambda auth: json_answer(
            {"issuer": auth.issuer, "token_endpoint": "http://as.example/token"}
        ),
        "publishes a token_endpoint that cannot be used.*https",
    ),
    "no token endpoint": (
        lambda auth: json_answer({"issuer": auth.issuer}),
        "without a usable token_endpoint",
    ),
}


@pytest.mark.parametrize("published", UNUSABLE)
def test_metadata_that_cannot_be_used_is_told_with_what_to_do(
    auth: AuthorizationServer, protected: ProtectedAPI, make: Make, published: str
) -> None:
    answer, told = UNUSABLE[published]
    auth.answer_next(answer(auth), n=None, path="/.well-known")
    api = make()
    for _ in range(5):
        with pytest.raises(DiscoveryError, match=told) as caught:
            api.get(protected.url)
    assert isinstance(caught.value, requests.RequestException)
    assert auth.issuer in str(caught.value)
    # It is remembered, like every fault that only a human can mend.
    assert len(auth.requests) <= 2
    assert auth.token_requests == []
    assert protected.requests == []


def test_a_redirect_is_not_followed_by_as_much_as_one_request(
    auth: AuthorizationServer, protected: ProtectedAPI, make: Make
) -> None:
    with AuthorizationServer() as other:
        auth.answer_next(faults.redirect(other.issuer + OAUTH), n=None, path="/.well-known")
        with pytest.raises(DiscoveryError):
            make().get(protected.url)
        assert other.requests == []


@pytest.mark.parametrize(
    ("issuer", "told"),
    [
        ("http://as.example", "https"),
        ("as.example", "begin it with https://"),
        ("https://as.example?tenant=1", r"leave out the \?"),
        ("https://as.example/.well-known/openid-configuration", "write the issuer itself"),
        ("https://user:pass@as.example", "leave out everything up to the @"),
        ("", "issuer"),
    ],
)
def test_what_cannot_be_an_issuer_is_told_at_construction(
    make: Make, issuer: str, told: str
) -> None:
    with pytest.raises(ConfigurationError, match=told) as caught:
        make(issuer)
    assert "pass@" not in str(caught.value)


def test_an_issuer_that_is_down_when_nothing_is_held_is_an_outage(
    auth: AuthorizationServer, protected: ProtectedAPI, make: Make, clock: Clock
) -> None:
    auth.answer_next(faults.unavailable(503, None), n=None, path="/.well-known")
    api = make()
    with pytest.raises(TokenEndpointUnavailable, match="503"):
        api.get(protected.url)
    auth.answer_normally()
    clock.advance(10)
    assert api.get(protected.url).status_code == 200


def test_an_issuer_that_nobody_answers_for_is_unreachable(
    protected: ProtectedAPI, make: Make, clock: Clock
) -> None:
    with AuthorizationServer() as gone:
        issuer = gone.issuer
    with pytest.raises(TokenEndpointUnreachable, match=issuer):
        make(issuer).get(protected.url)
    assert protected.requests == []


def test_an_issuer_that_is_down_while_a_token_is_valid_hurts_nobody(
    auth: AuthorizationServer, protected: ProtectedAPI, make: Make, clock: Clock
) -> None:
    auth.token_lifetime = 2 * MAX_AGE
    api = make()
    assert api.get(protected.url).status_code == 200
    auth.answer_next(faults.unavailable(), n=None, path="/")
    for _ in range(4):
        clock.advance(0.45 * MAX_AGE)
        assert api.get(protected.url).status_code == 200
        flights_done()
    assert OAUTH in paths(auth)[2:]
    clock.advance(MAX_AGE)
    with pytest.raises(TokenEndpointUnavailable):
        api.get(protected.url)


def test_the_endpoint_known_so_far_serves_while_its_issuer_is_down(
    auth: AuthorizationServer, protected: ProtectedAPI, make: Make, clock: Clock
) -> None:
    auth.token_lifetime = MAX_AGE / 2
    api = make()
    api.get(protected.url)
    auth.answer_next(faults.unavailable(), n=None, path="/.well-known")
    clock.advance(2 * MAX_AGE)
    assert api.get(protected.url).status_code == 200
    assert paths(auth)[-1] == "/token"
    assert len(auth.issued) == 2


def test_an_endpoint_that_moved_is_found_again(
    auth: AuthorizationServer, protected: ProtectedAPI, make: Make, clock: Clock
) -> None:
    auth.metadata = {"token_endpoint": auth.issuer + "/old-token"}
    api = make()
    with pytest.raises(TokenRequestDenied, match="404"):
        api.get(protected.url)
    auth.metadata = {}
    clock.advance(2)
    assert api.get(protected.url).status_code == 200


def test_many_apis_of_one_issuer_each_have_their_token(
    auth: AuthorizationServer, protected: ProtectedAPI, make: Make
) -> None:
    api = make(api_url=protected.url + "/a")
    api.add_api(protected.url + "/b", audience="b")
    assert api.get(protected.url + "/a").status_code == 200
    assert api.get(protected.url + "/b").status_code == 200
    assert [dict(asked.form).get("audience") for asked in auth.token_requests] == [None, "b"]
