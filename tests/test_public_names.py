"""Hold the front door to its list: what oauthcc exports, and that each name says what it is."""

from __future__ import annotations

import inspect

import pytest

import oauthcc

SESSIONS = {"ClientCredentialsAuth", "ClientCredentialsSession", "fetch_token"}
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
DESCRIBED = SESSIONS | TOKENS | SCHEMES | CLIENT_AUTHENTICATION | EVENTS | ERRORS
PUBLIC = DESCRIBED | ALIASES


def test_the_exported_names_are_these_and_no_others() -> None:
    assert sorted(oauthcc.__all__) == sorted(PUBLIC)


def test_nothing_else_is_visible_but_the_modules() -> None:
    visible = {name for name in vars(oauthcc) if not name.startswith("_")}
    others = visible - set(oauthcc.__all__) - {"annotations"}
    assert {name for name in others if not inspect.ismodule(getattr(oauthcc, name))} == set()


@pytest.mark.parametrize("name", sorted(DESCRIBED))
def test_a_public_name_says_what_it_is_in_one_line(name: str) -> None:
    described = getattr(oauthcc, name).__doc__
    assert described, name
    assert described.splitlines()[0].endswith("."), described


@pytest.mark.parametrize("name", sorted(DESCRIBED - {"fetch_token"}))
def test_a_public_method_has_a_docstring(name: str) -> None:
    members = vars(getattr(oauthcc, name)).items()
    kinds = (classmethod, property, staticmethod)
    methods = {n: m for n, m in members if callable(m) or isinstance(m, kinds)}
    assert [n for n, m in methods.items() if not n.startswith("_") and not m.__doc__] == []
