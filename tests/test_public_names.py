"""The public names: what oauthcc exports and a token source shows, each with a docstring."""

from __future__ import annotations

import inspect

import pytest

import oauthcc

SESSIONS = {"ClientCredentialsAuth", "ClientCredentialsSession", "fetch_token"}
PATCHES = {"Patch", "patch"}
TOKENS = {"Token", "TokenSource", "TokenStore"}
SCHEMES = {"Bearer", "DPoP", "Scheme"}
CLIENT_AUTHENTICATION = {
    "ClientAssertion",
    "ClientAuth",
    "ClientSecretBasic",
    "ClientSecretJWT",
    "ClientSecretPost",
    "NoClientAuth",
    "PrivateKeyJWT",
    "TLSClientAuth",
}
EVENTS = {
    "RefusalRemembered",
    "RenewalFailed",
    "ReplayImpossible",
    "RequestReplayed",
    "StoreBypassed",
    "TokenObtained",
}
ERRORS = {
    "ConfigurationError",
    "DiscoveryError",
    "InsecureURLError",
    "InvalidTokenResponse",
    "OAuthCCError",
    "TokenEndpointTimeout",
    "TokenEndpointUnavailable",
    "TokenEndpointUnreachable",
    "TokenError",
    "TokenRequestDenied",
}
ALIASES = {"Event"}  # A union has no docstring of its own.
DESCRIBED = SESSIONS | PATCHES | TOKENS | SCHEMES | CLIENT_AUTHENTICATION | EVENTS | ERRORS
PUBLIC = DESCRIBED | ALIASES


def test_the_exported_names_are_these_and_no_others() -> None:
    assert sorted(oauthcc.__all__) == sorted(PUBLIC)


def test_only_modules_are_visible_besides_the_exported_names() -> None:
    visible = {name for name in vars(oauthcc) if not name.startswith("_")}
    others = visible - set(oauthcc.__all__) - {"annotations"}
    assert {name for name in others if not inspect.ismodule(getattr(oauthcc, name))} == set()


@pytest.mark.parametrize("name", sorted(DESCRIBED))
def test_a_public_name_has_a_docstring_whose_first_line_is_a_sentence(name: str) -> None:
    described = getattr(oauthcc, name).__doc__
    assert described, name
    assert described.splitlines()[0].endswith("."), described


@pytest.mark.parametrize("name", sorted(DESCRIBED - {"fetch_token"}))
def test_a_public_method_has_a_docstring(name: str) -> None:
    members = vars(getattr(oauthcc, name)).items()
    kinds = (classmethod, property, staticmethod)
    methods = {n: m for n, m in members if callable(m) or isinstance(m, kinds)}
    assert [n for n, m in methods.items() if not n.startswith("_") and not m.__doc__] == []


def test_a_token_source_has_these_public_names_and_no_others() -> None:
    with oauthcc.ClientCredentialsSession("https://as.example/token", "id", "secret") as session:
        session.tokens.endpoint.close()  # the endpoint is made when it is first needed
        names = [name for name in dir(session.tokens) if not name.startswith("_")]
    assert names == ["close", "endpoint", "forget", "get", "mark_refused", "renew"]
