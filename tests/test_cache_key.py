"""Different configurations never share a token, and equal ones always do."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import itertools
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from requests import RequestException
from requests.adapters import HTTPAdapter
from requests.auth import HTTPBasicAuth, HTTPDigestAuth, HTTPProxyAuth
from requests.cookies import cookiejar_from_dict
from requests.utils import default_headers

from oauthcc import ClientCredentialsSession
from oauthcc.client_auth import (
    ClientSecretBasic,
    ClientSecretPost,
    PrivateKeyJWT,
    TLSClientAuth,
)
from oauthcc.errors import TokenRequestDenied
from oauthcc.jwt import generate_key
from oauthcc.schemes import Bearer, DPoP
from oauthcc.stores import FileStore, MemoryStore, TokenStore
from oauthcc.testing import AuthorizationServer, faults
from oauthcc.token_request.client_config import ClientConfig

from .clock import flights_done, in_threads, joined, moved_clock
from .inside import config_of, key_of
from .quick_scrypt import _scrypt
from .servers.certificates import Certificates

ID, SECRET = "demo-client", "demo-secret"
KEY = (
    generate_key("ES256")
    .private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    .decode()
)


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
        tokens.get(secret=None, client_auth="none")
    assert tokens.get("public-client", None, client_auth="none")


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
            "none",
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


# What was set on the endpoint


Settings = Callable[[Any], object]


def sets(**values: Any) -> Settings:
    """Return a function that sets attributes of an endpoint."""
    return lambda endpoint: [setattr(endpoint, name, value) for name, value in values.items()]


def puts(name: str, **values: Any) -> Settings:
    """Return a function that puts values into a mapping of an endpoint."""
    return lambda endpoint: getattr(endpoint, name).update(values)


def takes(settings: Settings, tokens: Tokens) -> str:
    """Return the token of a new session with these settings."""
    with tokens.session(tokens.auth.token_url, ID, SECRET) as session:
        settings(session.tokens.endpoint)
        return session.tokens.get().access_token


# In each group no two settings share a token.
DIFFERENT_SETTINGS: dict[str, list[Settings]] = {
    "headers": [
        sets(),
        puts("headers", Tenant="red"),
        puts("headers", Tenant="blue"),
        puts("headers", Tenants="blue"),
        puts("headers", Tenant="blue", Region="eu"),
        puts("headers", **{"User-Agent": "mine"}),
        puts("headers", **{"User-Agent": None}),
        sets(headers={}),
    ],
    "params": [
        sets(),
        sets(params={"tenant": "red"}),
        sets(params={"tenant": "blue"}),
        sets(params={"tenant": ["red", "blue"]}),
        sets(params={"tenant": ["blue", "red"]}),
    ],
    "auth": [
        sets(),
        sets(auth=("a", "b")),
        sets(auth=("a", "c")),
        sets(auth=HTTPDigestAuth("a", "b")),
        sets(auth=HTTPProxyAuth("a", "b")),
    ],
    "cookies": [
        sets(),
        puts("cookies", tenant="red"),
        puts("cookies", tenant="blue"),
        puts("cookies", other="blue"),
    ],
    "places of a word": [
        puts("headers", x="y"),
        sets(params={"x": "y"}),
        puts("cookies", x="y"),
        sets(auth=("x", "y")),
    ],
}


def key_with(settings: Settings, tokens: Tokens) -> str:
    """Return the key of a new session with these settings."""
    with tokens.session(tokens.auth.token_url, ID, SECRET) as session:
        settings(session.tokens.endpoint)
        return key_of(session.tokens)


@pytest.mark.parametrize("kind", [MemoryStore, FileStore])
@pytest.mark.parametrize("name", DIFFERENT_SETTINGS)
def test_different_settings_of_the_endpoint_have_different_keys(
    name: str, kind: Any, tokens: Tokens, tmp_path: Path
) -> None:
    tokens.store = kind() if kind is MemoryStore else kind(tmp_path)
    group = DIFFERENT_SETTINGS[name]
    keys = [key_with(each, tokens) for each in group]
    assert len(set(keys)) == len(group)
    assert [key_with(each, tokens) for each in group] == keys


@pytest.mark.parametrize("name", ["headers", "params"])
def test_different_settings_of_the_endpoint_never_share_a_token(
    name: str, tokens: Tokens, tmp_path: Path
) -> None:
    tokens.store = FileStore(tmp_path)
    group = DIFFERENT_SETTINGS[name]
    found = [takes(each, tokens) for each in group]
    assert len(set(found)) == len(group) == tokens.requests
    assert [takes(each, tokens) for each in reversed(group)] == found[::-1]
    assert tokens.requests == len(group)


# In each group all settings share one token.
EQUAL_SETTINGS: dict[str, list[Settings]] = {
    "headers": [
        puts("headers", Tenant="red", Region="eu"),
        puts("headers", Region="eu", tenant=b"red"),
        sets(headers={**default_headers(), "REGION": "eu", "TENANT": "red"}),
    ],
    "params": [sets(params={"a": "1", "b": ["2", "3"]}), sets(params={"b": ("2", "3"), "a": 1})],
    "auth": [sets(auth=(ID, SECRET)), sets(auth=HTTPBasicAuth(ID, SECRET))],
    "cookies": [puts("cookies", a="1"), sets(cookies=cookiejar_from_dict({"a": "1"}))],
    "the way": [
        sets(),
        sets(proxies={"https": "http://proxy.example"}),
        sets(verify=False),
        sets(trust_env=False),
        sets(headers=default_headers(), params={}, cookies={}, hooks={}),
        lambda endpoint: endpoint.mount("http://", HTTPAdapter(max_retries=2)),
    ],
}


@pytest.mark.parametrize("group", EQUAL_SETTINGS.values(), ids=EQUAL_SETTINGS.keys())
def test_equal_settings_of_the_endpoint_share_a_token(group: Any, tokens: Tokens) -> None:
    assert len({takes(each, tokens) for each in group}) == 1
    assert tokens.requests == 1


class MyAdapter(HTTPAdapter):
    pass


class MyAuth(HTTPBasicAuth):
    pass


def changed_adapter() -> HTTPAdapter:
    adapter: Any = HTTPAdapter()
    adapter.add_headers = lambda request, **options: None
    return adapter


def returned(response: Any, *args: Any, **kwargs: Any) -> Any:
    return response


def unchanged(url: Any, headers: Any, body: Any) -> Any:
    return url, headers, body


OPAQUE: dict[str, Settings] = {
    "hooks": puts("hooks", response=[returned]),
    "compliance hooks": lambda endpoint: endpoint.register_compliance_hook(
        "access_token_response", returned
    ),
    "compliance hooks for the request": lambda endpoint: endpoint.register_compliance_hook(
        "access_token_request", unchanged
    ),
    "auth": sets(auth=lambda request: request),
    "auth of a subclass": sets(auth=MyAuth(ID, SECRET)),
    "auth from netrc": sets(auth=None),
    "mounted adapters": lambda endpoint: endpoint.mount("http://", MyAdapter()),
    "mounted adapters with a method of their own": lambda endpoint: endpoint.mount(
        "http://", changed_adapter()
    ),
    "cert": sets(cert="/nowhere/cert.pem"),
    "params and headers": sets(params=1, headers={"X": 1}),
}


@pytest.mark.parametrize("name", OPAQUE)
def test_what_no_key_can_contain_ends_the_sharing_and_is_logged_once(
    name: str, tokens: Tokens, caplog: pytest.LogCaptureFixture
) -> None:
    settings = OPAQUE[name]
    store = tokens.store
    assert isinstance(store, MemoryStore)
    with (
        tokens.session(tokens.auth.token_url, ID, SECRET) as session,
        tokens.session(tokens.auth.token_url, ID, SECRET) as another,
    ):
        before = session.tokens.get()
        settings(session.tokens.endpoint)
        settings(another.tokens.endpoint)
        with contextlib.suppress(RequestException):
            another.tokens.get()
        session.tokens.forget()
        for _ in range(2):
            with contextlib.suppress(RequestException):
                session.tokens.renew(before)
            session.tokens.forget()
    assert store.load(*store._tokens) == before
    ours = [record.getMessage() for record in caplog.records if "not used" in record.getMessage()]
    assert len(ours) == 1
    assert all(word in ours[0] for word in (name.partition(" ")[0], "token_params", repr(ID)))
    assert "without a scope, from http://127.0.0.1:" in ours[0]


def test_a_remembered_error_is_raised_although_nothing_is_shared(tokens: Tokens) -> None:
    with tokens.session(tokens.auth.token_url, ID, "wrong") as session:
        OPAQUE["hooks"](session.tokens.endpoint)
        for _ in range(3):
            with pytest.raises(TokenRequestDenied):
                session.tokens.get()
    assert tokens.requests == 1


def test_settings_are_read_at_each_fetch(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = moved_clock(monkeypatch)
    tokens.auth.now = clock.time
    red, blue = puts("headers", Tenant="red"), puts("headers", Tenant="blue")
    with tokens.session(tokens.auth.token_url, ID, SECRET) as session:
        found = []
        for settings in (red, blue):
            settings(session.tokens.endpoint)
            found.append(session.tokens.get().access_token)
            session.tokens.forget()
    assert [takes(red, tokens), takes(blue, tokens)] == found == tokens.auth.issued


def test_a_token_is_not_stored_if_a_setting_changed_during_its_request(tokens: Tokens) -> None:
    red, blue = puts("headers", Tenant="red"), puts("headers", Tenant="blue")
    with tokens.session(tokens.auth.token_url, ID, SECRET) as session:
        red(session.tokens.endpoint)
        with tokens.auth.hold() as gate:
            (thread,) = in_threads(1, session.tokens.get)
            gate.wait_for(1)
            blue(session.tokens.endpoint)
        joined([thread])
        flights_done()
    takes(red, tokens)
    takes(blue, tokens)
    assert tokens.requests == 3


def test_a_cookie_of_the_server_does_not_change_the_key(tokens: Tokens) -> None:
    with tokens.session(tokens.auth.token_url, ID, SECRET) as session:
        puts("cookies", mine="1")(session.tokens.endpoint)
        for number in range(3):
            answer = faults.json_answer(
                {"access_token": f"t{number}", "token_type": "Bearer", "expires_in": 3600},
                headers=[("Set-Cookie", f"lb={number}")],
            )
            tokens.auth.answer_next(answer)
            session.tokens.renew()
        assert session.tokens.endpoint.cookies["lb"] == "2"
        assert session.tokens.get().access_token == "t2"
    assert takes(puts("cookies", mine="1"), tokens) == "t2"


def test_a_copy_of_a_session_shares_its_token(tokens: Tokens) -> None:
    red = puts("headers", Tenant="red")
    with tokens.session(tokens.auth.token_url, ID, SECRET) as session:
        red(session.tokens.endpoint)
        copied = copy.copy(session.tokens)
        assert copied.get() == session.tokens.get()
    assert takes(sets(), tokens) != takes(red, tokens) == tokens.auth.issued[0]


def test_two_certificates_of_the_endpoint_never_share_a_token(
    tls_tokens: Tokens, certificates: Certificates, tmp_path: Path
) -> None:
    both = tmp_path / "both.pem"
    one, other = certificates.client.pair, certificates.other_client.pair
    both.write_bytes(b"".join(Path(path).read_bytes() for path in one))
    found = [takes(sets(cert=cert), tls_tokens) for cert in (None, one, other, str(both))]
    assert len(set(found)) == 4
    both.write_bytes(b"".join(Path(path).read_bytes() for path in other))
    found.append(takes(sets(cert=str(both)), tls_tokens))
    assert len(set(found)) == 5
    assert takes(sets(cert=one), tls_tokens) == found[1]


# What the name of a key shows


def test_settings_are_in_the_name_of_a_key_by_scrypt_only(
    tokens: Tokens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens.store = FileStore(tmp_path)
    passwords: list[bytes] = []
    monkeypatch.setattr(hashlib, "scrypt", lambda octets, **_: passwords.append(octets) or b"same")
    for key in ("a", "b"):
        takes(puts("headers", **{"X-API-Key": key}), tokens)
    assert len(set(passwords)) == 2
    assert len(list(tmp_path.glob("*.token"))) == 1


def test_a_store_in_memory_needs_no_scrypt(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashlib, "scrypt", None)
    for settings in (sets(), puts("headers", Tenant="red")):
        assert takes(settings, tokens) == takes(settings, tokens)
    assert tokens.requests == 2


def test_a_store_made_from_one_in_memory_has_the_keys_of_a_shared_store(
    tokens: Tokens, tmp_path: Path
) -> None:
    class Shared(MemoryStore):
        """It may keep its tokens on a disk too, for other processes."""

    found = []
    for tokens.store in (Shared(), FileStore(tmp_path)):
        found.append(key_with(sets(), tokens))
    assert found[0] == found[1]


def test_the_key_of_a_configuration_stays_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashlib, "scrypt", _scrypt)
    config = ClientConfig.of(
        "https://as.example/token",
        "my-id",
        "my-secret",
        "a b",
        audience="x",
        token_params={"tenant": "1"},
    )
    assert config.cache_key(config.read_secret()[1]) == (
        "2a144c818afff4c1151b6923d5f3e871be4ac1f914e42620cd5fe1b275c54634"
    )


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


# Options for servers that differ from the RFC

OPTIONS: list[dict[str, Any]] = [
    {},
    *({"scheme": Bearer("Zoho-oauthtoken")}, {"scheme": Bearer("")}, {"scheme": Bearer("X-A")}),
    *({"scheme": Bearer(header="X-A")}, {"scheme": Bearer("", header="X-A")}),
    *({"scheme": Bearer(header="X-B")}, {"scheme": DPoP(KEY)}),
    *({"token_body": "json"}, {"token_body": "json", "scheme": Bearer("")}),
    *(params(grant_type="account_credentials"), params(grant_type="json")),
    *(params(grant_type="a", tenant="a"), params(tenant="a"), params(grants="a")),
    *({"resource": "00000003-0000-0ff1-ce00-000000000000"}, {"resource": "grün"}),
    *({"resource": ["a", "b"]}, {"resource": "a,b"}),
    *(
        {"secret": None, "client_auth": PrivateKeyJWT(KEY, **options)}
        for options in (
            {},
            *({"headers": {"a": 1}}, {"claims": {"a": 1}}, {"headers": {"typ": None}}),
            *({"certificate": lambda: "a"}, {"certificate": lambda: "b"}, {"algorithm": "ES256"}),
        )
    ),
]
USUAL: list[dict[str, Any]] = [
    {},
    *({"scheme": None}, {"scheme": Bearer}, {"scheme": Bearer("Bearer", header="authorization")}),
    *({"token_body": "form"}, params(grant_type="client_credentials"), params(grant_type=[])),
]


@pytest.mark.parametrize("kind", [MemoryStore, FileStore])
def test_each_option_has_a_key_of_its_own(kind: Any, tokens: Tokens, tmp_path: Path) -> None:
    tokens.store = kind() if kind is MemoryStore else kind(tmp_path)

    def keys(group: list[dict[str, Any]], change: Callable[..., Any]) -> list[str]:
        found = []
        for options in group:
            client = {"client_id": ID, "client_secret": options.get("secret", SECRET)}
            more = {name: value for name, value in options.items() if name != "secret"}
            with tokens.session(tokens.auth.token_url, **client, **more) as session:
                found.append(key_of(change(session).tokens))
        return found

    first = keys(OPTIONS, lambda session: session)
    assert len({*first}) == len(OPTIONS)
    assert keys(OPTIONS, copy.copy) == first
    if kind is FileStore:
        several = [options for options in OPTIONS if not _is_certified(options)]
        pickled = keys(several, lambda session: pickle.loads(pickle.dumps(session)))
        assert pickled == keys(several, lambda session: session)
    assert {*keys(USUAL, lambda session: session)} == {first[0]}


def _is_certified(options: dict[str, Any]) -> bool:
    """Return whether there is a callable, which no pickle can contain."""
    return getattr(options.get("client_auth"), "certificate", None) is not None


def test_sessions_with_other_headers_for_one_server_share_no_token(tokens: Tokens) -> None:
    group = [options for options in OPTIONS if options.keys() == {"scheme"}]
    group = [one for one in group if isinstance(one["scheme"], Bearer)]
    assert len({tokens.get(**each) for each in [*group, *group]}) == len(group) == tokens.requests
