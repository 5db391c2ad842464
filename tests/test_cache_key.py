"""Different configurations never share a token, and equal ones always do."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oauthcc import ClientCredentialsSession
from oauthcc.client_auth import (
    ClientSecretBasic,
    ClientSecretPost,
    PrivateKeyJWT,
    TLSClientAuth,
)
from oauthcc.errors import TokenRequestDenied
from oauthcc.schemes import DPoP
from oauthcc.stores import FileStore, MemoryStore, TokenStore
from oauthcc.testing import AuthorizationServer

from .clock import moved_clock
from .inside import config_of
from .servers.certificates import Certificates

ID, SECRET = "demo-client", "demo-secret"


class Tokens:
    """Tokens that are fetched through one store, each with a session of its own."""

    def __init__(self, auth: AuthorizationServer) -> None:
        self.auth = auth
        self.store: TokenStore | None = MemoryStore()
        self.verify: str | bool = True

    def get(
        self, client_id: str = ID, secret: Any = SECRET, scope: Any = None, **options: Any
    ) -> str:
        url = None if "issuer" in options else self.auth.token_url
        with self.session(url, client_id, secret, scope, **options) as session:
            return session.tokens.get().access_token

    def session(self, *arguments: Any, **options: Any) -> ClientCredentialsSession:
        made = ClientCredentialsSession(*arguments, store=self.store, **options)
        made.verify = self.verify
        return made

    @property
    def requests(self) -> int:
        return len(self.auth.token_requests)


@pytest.fixture
def tokens() -> Iterator[Tokens]:
    with AuthorizationServer(ID, SECRET) as auth:
        auth.add_client("other-client", SECRET)
        auth.add_client("public-client")
        yield Tokens(auth)


def params(**values: Any) -> dict[str, Any]:
    return {"token_params": values}


# In each group no two configurations share a token.
DIFFERENT: dict[str, list[dict[str, Any]]] = {
    "client ids": [{}, {"client_id": "other-client"}],
    "scopes": [{}, {"scope": "a"}, {"scope": "b"}, {"scope": "a b"}, {"scope": "ab"}],
    "audiences": [{}, {"audience": "a"}, {"audience": "b"}, {"audience": ["a", "b"]}],
    "resources": [{}, {"resource": "urn:a"}, {"resource": "urn:b"}, {"audience": "urn:a"}],
    "parameters": [
        {},
        params(tenant="a"),
        params(tenant="b"),
        params(tenant=["a", "b"]),
        params(other="a"),
        params(other="a", tenant="a"),
    ],
    "methods": [
        {},
        {"client_auth": ClientSecretPost()},
        {"client_auth": ClientSecretBasic(encode=False)},
    ],
    "places of a word": [
        {"scope": "x"},
        {"audience": "x"},
        {"resource": "urn:x"},
        params(x="x"),
        {"client_id": "other-client"},
    ],
}


@pytest.mark.parametrize("group", DIFFERENT.values(), ids=DIFFERENT.keys())
def test_different_configurations_never_share_a_token(group: Any, tokens: Tokens) -> None:
    found = [tokens.get(**each) for each in group]
    assert len(set(found)) == len(group) == tokens.requests
    # In another order, and from the store.
    assert [tokens.get(**each) for each in reversed(group)] == found[::-1]
    assert tokens.requests == len(group)


# In each group all configurations share one token.
EQUAL: dict[str, list[dict[str, Any]]] = {
    "scopes": [{"scope": "a b"}, {"scope": "b a"}, {"scope": ["b", "a", "b"]}, {"scope": " a  b "}],
    "no scope": [{}, {"scope": " "}, {"scope": []}, {"audience": ()}, params()],
    "audiences": [{"audience": ["a", "b"]}, {"audience": ["b", "a"]}],
    "resources": [{"resource": ["urn:a", "urn:b"]}, {"resource": ("urn:b", "urn:a")}],
    "parameters": [params(x="1", y=["2", "3"]), params(y=("3", "2"), x=["1"])],
    "methods": [{}, {"client_auth": "client_secret_basic"}],
    "kinds of secret": [{}, {"secret": lambda: SECRET}],
}


@pytest.mark.parametrize("group", EQUAL.values(), ids=EQUAL.keys())
def test_equal_configurations_share_a_token(group: Any, tokens: Tokens) -> None:
    assert len({tokens.get(**each) for each in group}) == 1
    assert tokens.requests == 1


def test_a_secret_in_a_file_and_the_same_string_share_a_token(
    tokens: Tokens, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    assert tokens.get() == tokens.get(secret=tmp_path / "secret")


def test_a_changed_secret_never_gets_the_token_of_the_old_one(tokens: Tokens) -> None:
    before = tokens.get()
    tokens.auth.add_client(ID, "new-secret")
    after = tokens.get(secret="new-secret")
    assert after != before
    assert [tokens.get(), tokens.get(secret="new-secret")] == [before, after]
    assert tokens.requests == 2


@pytest.mark.parametrize("secret", ["guessed", "Demo-secret", "demo-secret ", "demo-secre"])
def test_a_client_with_a_wrong_secret_does_not_get_the_token(secret: Any, tokens: Tokens) -> None:
    tokens.get()
    with pytest.raises(TokenRequestDenied):
        tokens.get(secret=secret)


def test_a_client_without_the_secret_does_not_get_the_token(tokens: Tokens) -> None:
    tokens.get()
    with pytest.raises(TokenRequestDenied):
        tokens.get(secret=None)
    assert tokens.get("public-client", None)


def test_a_secret_that_rotates_in_a_session_changes_the_key(
    tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = moved_clock(monkeypatch)
    tokens.auth.now = clock.time
    secrets = [SECRET]
    with tokens.session(tokens.auth.token_url, ID, lambda: secrets[-1]) as session:
        before = session.tokens.get().access_token
        # Other processes still use the old secret, which the server does not accept any more.
        tokens.auth.add_client(ID, "rotated")
        secrets.append("rotated")
        clock.advance(3601)
        after = session.tokens.get().access_token
    assert after != before
    assert tokens.get(secret="rotated") == after
    with pytest.raises(TokenRequestDenied):
        tokens.get()


def test_a_token_of_a_secret_that_changed_meanwhile_is_not_stored_under_the_old_one(
    tokens: Tokens,
) -> None:
    secrets = iter([SECRET, "rotated", "rotated"])
    tokens.auth.add_client(ID, "rotated")
    token = tokens.get(secret=lambda: next(secrets))
    with pytest.raises(TokenRequestDenied):
        tokens.get()
    assert token in tokens.auth.issued


# Certificates, keys, issuers


@pytest.fixture
def tls_tokens(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tokens]:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):  # they win over session.verify
        monkeypatch.delenv(name, raising=False)
    with AuthorizationServer(ID, SECRET, tls=certificates.server_context()) as auth:
        auth.add_client("public-client")
        tokens = Tokens(auth)
        tokens.verify = certificates.ca_bundle
        yield tokens


def test_two_certificates_never_share_a_token(
    tls_tokens: Tokens, certificates: Certificates
) -> None:
    one, other = certificates.client.pair, certificates.other_client.pair
    found = [
        tls_tokens.get("public-client", None, client_auth=method)
        for method in (
            TLSClientAuth(one),
            TLSClientAuth(other),
            TLSClientAuth(one, self_signed=True),
            None,
            TLSClientAuth(one),
            TLSClientAuth(other),
        )
    ]
    assert len(set(found)) == 4
    assert found[:2] == found[4:]
    shown = [seen.peer_certificate for seen in tls_tokens.auth.token_requests]
    assert shown[0] == shown[2] != shown[1]


def test_a_certificate_that_was_replaced_in_its_file_does_not_get_the_token_of_the_old_one(
    tls_tokens: Tokens, certificates: Certificates, tmp_path: Path
) -> None:
    paths = tmp_path / "cert.pem", tmp_path / "key.pem"

    def token_with(pair: tuple[str, str]) -> str:
        for path, source in zip(paths, pair, strict=True):
            path.write_bytes(Path(source).read_bytes())
        method = TLSClientAuth((str(paths[0]), str(paths[1])))
        return tls_tokens.get("public-client", None, client_auth=method)

    before = token_with(certificates.client.pair)
    assert token_with(certificates.other_client.pair) != before
    assert token_with(certificates.client.pair) == before


def test_two_signing_keys_never_share_a_token(tokens: Tokens, certificates: Certificates) -> None:
    # The server of the test kit does not check the assertion. That it gets a request is enough.
    keys = [
        Path(path) for path in (certificates.client.key_path, certificates.other_client.key_path)
    ]
    found = [
        tokens.get("public-client", None, client_auth=PrivateKeyJWT(key)) for key in (*keys, *keys)
    ]
    assert found[:2] == found[2:]
    assert len(set(found)) == 2


def test_two_proof_keys_never_share_a_token(tokens: Tokens) -> None:
    tokens.auth.token_fields = {"token_type": "DPoP"}
    keys = [DPoP(), DPoP()]
    found = [tokens.get(scheme=key) for key in (*keys, *keys)]
    tokens.auth.token_fields = {}
    found.append(tokens.get())
    assert found[:2] == found[2:4]
    assert len(set(found)) == 3


def test_two_issuers_with_one_token_endpoint_never_share_a_token(tokens: Tokens) -> None:
    with AuthorizationServer() as other:
        other.metadata = {"token_endpoint": tokens.auth.token_url}
        mine, theirs = {"issuer": tokens.auth.issuer}, {"issuer": other.issuer}
        found = [tokens.get(**each) for each in (mine, theirs, {}, theirs, mine)]
        assert len(set(found)) == 3 == tokens.requests
        assert found == [*found[:3], *found[1::-1]]
        assert other.token_requests == []


def test_two_token_urls_never_share_a_token(tokens: Tokens) -> None:
    with AuthorizationServer(ID, SECRET) as other:
        found = set()
        for url in (tokens.auth.token_url, other.token_url, f"{other.token_url}?tenant=1"):
            with tokens.session(url, ID, SECRET) as session:
                found.add(session.tokens.get().access_token)
        assert len(found) == 3


# What the name of a key shows


def test_the_key_is_a_digest_by_scrypt_made_once_for_each_secret(
    tokens: Tokens, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clock = moved_clock(monkeypatch)
    tokens.store = FileStore(tmp_path)
    tokens.auth.now = clock.time
    costs: list[dict[str, Any]] = []
    real = hashlib.scrypt

    def counted(*args: Any, **kwargs: Any) -> Any:
        costs.append(kwargs)
        return real(*args, **kwargs)

    monkeypatch.setattr(hashlib, "scrypt", counted)
    secrets = [SECRET]
    with tokens.session(tokens.auth.token_url, ID, lambda: secrets[-1]) as session:
        for _ in range(5):
            session.tokens.get()
            clock.advance(3601)
        assert len(costs) == 1
        tokens.auth.add_client(ID, "rotated")
        secrets.append("rotated")
        session.tokens.get()
        assert len(costs) == 2
    # Each guess costs 16 MiB and about 50 ms.
    assert all((cost["n"], cost["r"], cost["p"]) == (2**14, 8, 1) for cost in costs)
    assert len({cost["salt"] for cost in costs}) == 1


def test_without_a_store_no_key_is_derived(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashlib, "scrypt", None)
    tokens.store = None
    assert tokens.get()


def test_the_key_cannot_be_derived_from_public_values(tokens: Tokens) -> None:
    def key(secret: str, **options: Any) -> str:
        with tokens.session(tokens.auth.token_url, ID, secret, **options) as session:
            config = config_of(session.tokens)
        return config.cache_key(config.read_secret()[1])

    keys = [key(secret, scope=scope) for secret in ("a", "b") for scope in (None, "x")]
    assert len(set(keys)) == 4
    assert all(len(each) == 64 and int(each, 16) for each in keys)
    assert keys[0] == key("a")
    # An attacker could only be faster if two clients with one secret had something in common.
    assert not any(a[:16] == b[:16] for a, b in itertools.combinations(keys, 2))
