"""What the type checkers must report about the public names. Checked by ``make types``, not run."""

from __future__ import annotations

from pathlib import Path

import requests
from requests_oauthlib.compliance_fixes import ebay_compliance_fix
from typing_extensions import assert_type

import oauthcc
from oauthcc import (
    Bearer,
    ClientCredentialsAuth,
    ClientCredentialsSession,
    ClientSecretPost,
    DPoP,
    Event,
    PrivateKeyJWT,
    Token,
    TokenError,
    TokenObtained,
    TokenSource,
    fetch_token,
)
from oauthcc.stores import FileStore, MemoryStore, RedisStore, TokenStore


class Ours(ClientCredentialsSession):
    """A subclass, which every constructor returns."""


def front_door() -> None:
    assert_type(oauthcc.fetch_token("https://as.example/token", "id", "secret"), Token)
    oauthcc.no_such_name  # type: ignore[attr-defined]  # noqa: B018


def observe(event: Event) -> None:
    if isinstance(event, TokenObtained):
        assert_type(event.expires_in, "float | None")


def sessions() -> None:
    session = ClientCredentialsSession("https://as.example/token", "id", "secret", "a b")
    plain: requests.Session = session
    assert_type(session.get("https://api.example"), requests.Response)
    assert_type(session.tokens, TokenSource)
    assert_type(session.tokens.get(), Token)
    assert_type(session.add_api("https://b.example", scope="c"), TokenSource)
    assert_type(Ours.using(session.tokens), Ours)
    assert_type(Ours.from_env(), Ours)
    assert_type(Ours.from_issuer("https://as.example", "id"), Ours)
    assert_type(
        Ours.from_api("https://api.example/mcp", "id", trusted_issuers="https://as.example"), Ours
    )
    Ours.from_api(
        "https://api.example/mcp",
        "id",
        Path("/run/secrets/id"),
        ["a", "b"],
        trusted_issuers=["https://as.example"],
        resource=None,
        api_url=None,
    )
    assert_type(Ours.from_profile("orders", Path("profiles.ini")), Ours)
    requests.get("https://api.example", auth=ClientCredentialsAuth("https://as.example/t", "id"))
    plain.close()


def options() -> None:
    stores: list[TokenStore] = [FileStore(), MemoryStore(), RedisStore("redis://cache.example")]
    for store in stores:
        ClientCredentialsSession(
            "https://as.example/token",
            "id",
            Path("/run/secrets/id"),
            ["a", "b"],
            api_url=["https://a.example", "https://b.example/v1"],
            audience="https://a.example",
            resource=["https://a.example"],
            token_params={"tenant": "blue"},
            client_auth=ClientSecretPost,
            scheme=DPoP(),
            store=store,
            renew_at=(0.9, 0.95),
            token_timeout=30.0,
            refused_status=(401, 403),
            on_event=observe,
        )
    ClientCredentialsSession("https://as.example/token", "id", lambda: "secret")
    ClientCredentialsSession("https://as.example/token", "id", client_auth=PrivateKeyJWT("pem"))


def for_odd_servers(session: ClientCredentialsSession) -> None:
    url = "https://as.example/token"
    key = PrivateKeyJWT(
        Path("key.pem"),
        algorithm="PS256",
        headers={"typ": None, "x5u": "https://a.example"},
        claims={"scope": ["a", "b"], "nbf": 5},
        certificate=Path("certificate.pem"),
    )
    PrivateKeyJWT("pem", certificate=lambda: b"pem")
    PrivateKeyJWT("pem", certificate=5)  # type: ignore[arg-type]
    ClientCredentialsSession(
        url,
        "id",
        scheme=Bearer(prefix="", header="X-Token"),
        token_body="json",
        token_params={"grant_type": "account_credentials", "several": ["a", "b"]},
        resource="00000003-0000-0ff1-ce00-000000000000",
        client_auth=key,
    )
    ClientCredentialsSession(url, "id", token_body="xml")  # type: ignore[arg-type]
    ClientCredentialsAuth(url, "id", scheme=Bearer("Zoho-oauthtoken"), token_body="form")
    session.add_api("https://a.example", scheme=Bearer(header="X-Token"), token_body="json")
    fetch_token(url, "id", headers={"X-Tenant": "a"}, hooks=ebay_compliance_fix)
    fetch_token(url, "id", hooks={"access_token_response": observe_response}, token_body="json")
    fetch_token(url, "id", hooks=[observe_response])  # type: ignore[arg-type]
    assert_type(Bearer().prefix, str)
    assert_type(Bearer().header, str)


def observe_response(response: requests.Response) -> requests.Response:
    return response


def keywords(session: ClientCredentialsSession) -> None:
    # Every function takes the same options, and an unknown one is an error of the type checker.
    url = "https://as.example/token"
    ClientCredentialsSession.from_issuer(url, "id", audience="a", api_url="https://a.example")
    ClientCredentialsSession.from_issuer(url, "id", audiance="a")  # type: ignore[call-arg]
    ClientCredentialsSession.from_api(url, "id", audiance="a", trusted_issuers=url)  # type: ignore[call-arg]
    ClientCredentialsSession.from_api(url, "id", audience="a")  # type: ignore[call-arg]
    ClientCredentialsSession.from_env(audience="a", refused_status=(401, 403))
    ClientCredentialsSession.from_env(audiance="a")  # type: ignore[call-arg]
    ClientCredentialsSession.from_profile("orders", audience="a", store=MemoryStore())
    ClientCredentialsSession.from_profile("orders", audiance="a")  # type: ignore[call-arg]
    session.add_api("https://a.example", audience="a", token_url=url, client_secret=Path("file"))
    session.add_api("https://a.example", audiance="a")  # type: ignore[call-arg]
    ClientCredentialsAuth(url, "id", audience="a", scheme=DPoP(), on_event=observe)
    ClientCredentialsAuth(url, "id", audiance="a")  # type: ignore[call-arg]
    fetch_token(url, "id", audience="a", client_auth="client_secret_post")
    fetch_token(url, "id", audiance="a")  # type: ignore[call-arg]


def values(session: ClientCredentialsSession) -> None:
    # The values of options are checked too.
    ClientCredentialsSession.from_env(audience=5)  # type: ignore[arg-type]
    session.add_api("https://a.example", renew_at=0.5)  # type: ignore[arg-type]
    session.add_api("https://a.example", api_url="https://b.example")  # type: ignore[call-arg]


def errors() -> None:
    try:
        assert_type(fetch_token("https://as.example/token", "id", "secret", timeout=5), Token)
    except TokenError as error:
        assert_type(error.status_code, "int | None")
        assert_type(error.error, "str | None")
        assert_type(error.retry_after, "float | None")
        assert_type(error.response, "requests.Response | None")
