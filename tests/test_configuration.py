"""Bad configuration fails when it is made, before anything is sent, and says what to write."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import requests

from oauthcc import (
    Bearer,
    ClientCredentialsAuth,
    ClientCredentialsSession,
    ClientSecretBasic,
    ClientSecretJWT,
    ClientSecretPost,
    ConfigurationError,
    DPoP,
    NoClientAuth,
    OAuthCCError,
    TLSClientAuth,
    fetch_token,
)
from oauthcc.grant import Grant
from oauthcc.testing import AuthorizationServer, ProtectedAPI

URL = "https://as.example/token"
FITS: dict[str, Any] = {"token_url": URL, "client_id": "my-id", "client_secret": "my-secret"}


class HalfAScheme:
    def accepts(self, token_type: str) -> bool:
        return True


# What is wrong, and what the message must say of it and of what to do.
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"token_url": ""}, r"token_url is empty.*https://as\.example/token"),
    ({"token_url": None}, r"token_url is empty.*https://as\.example/token"),
    ({"token_url": 5}, r"token_url.*https://as\.example/token"),
    ({"token_url": "/token"}, r"token_url has no scheme: begin it with https://"),
    ({"token_url": "as.example/token"}, r"token_url has no scheme: begin it with https://"),
    ({"token_url": "//as.example/token"}, r"token_url has no scheme: begin it with https://"),
    ({"token_url": "ftp://as.example/token"}, r"neither https nor http"),
    ({"token_url": "http://as.example/token"}, r"plain http: write https://"),
    ({"token_url": "http://10.0.0.7/token"}, r"plain http: write https://"),
    ({"token_url": "http://localhost.example/token"}, r"plain http: write https://"),
    ({"token_url": "http://127.0.0.1.example/token"}, r"plain http: write https://"),
    ({"token_url": "http://localhost./token"}, r"plain http: write https://"),
    ({"token_url": "http://[::ffff:127.0.0.1]/token"}, r"plain http: write https://"),
    ({"token_url": "https://me:pw@as.example/token"}, r"user name: leave out"),
    ({"token_url": "https://as.example/token#x"}, r"fragment: leave out"),
    ({"token_url": "https://as.example/to ken"}, r"space.*take it out"),
    ({"token_url": "https://as.example/token\n"}, r"control character.*take it out"),
    ({"token_url": "https://"}, r"names no place to connect to: check host"),
    ({"token_url": "https://as.example:99999/token"}, r"check host and port"),
    ({"token_url": "https://[::1/token"}, r"check host and port"),
    ({"token_url": "https://*.example/token"}, r"wildcard"),
    ({"issuer": "https://as.example"}, r"token_url or issuer, not both"),
    ({"token_url": None, "issuer": ""}, r"issuer"),
    ({"token_url": None, "issuer": "as.example"}, r"issuer.*https://"),
    ({"token_url": None, "issuer": "http://as.example"}, r"issuer.*https://"),
    ({"client_id": ""}, r"client_id must be the non-empty id that the server registered"),
    ({"client_id": None}, r"client_id must be"),
    ({"client_id": 42}, r"client_id must be"),
    ({"client_id": "my-id\n"}, r"client_id holds a control character; was a line break copied"),
    ({"client_id": "\ud800"}, r"client_id holds a control character"),
    ({"client_secret": ""}, r"client_secret is empty"),
    ({"client_secret": b"my-secret"}, r"string, a callable.*or a pathlib.Path.*not bytes"),
    ({"client_secret": 5}, r"not int"),
    ({"client_secret": "my-secret\n"}, r"line break at the end, drop it with \.strip\(\)"),
    ({"client_secret": Path("/no/such/file")}, r"'/no/such/file' cannot be read: No such file"),
    ({"client_secret": Path("/")}, r"'/' cannot be read: Is a directory"),
    ({"scope": 'orders:read "all"'}, r'write scopes separated by spaces, such as "orders:read'),
    ({"scope": "a\\b"}, r"no scope may hold .*3\.3"),
    ({"scope": "a\tb"}, r"no scope may hold"),
    ({"scope": "a\nb"}, r"no scope may hold"),
    ({"scope": "a\x00"}, r"no scope may hold"),
    ({"scope": "\u00fcber"}, r"no scope may hold"),
    ({"scope": ["a", 'b"']}, r"no scope may hold"),
    ({"scope": ["a", ""]}, r"scope must be a non-empty string or a list of such"),
    ({"scope": [5]}, r"scope must be"),
    ({"scope": 5}, r"scope must be"),
    ({"scope": b"a"}, r"scope must be"),
    ({"scope": ""}, r"scope must be"),
    ({"audience": ""}, r"audience must be"),
    ({"audience": 5}, r"audience must be"),
    ({"audience": "\ud800"}, r"audience must be"),
    ({"resource": "api.example"}, r"absolute URI without a fragment \(RFC 8707.*https://api"),
    ({"resource": "https://api.example/#x"}, r"without a fragment"),
    ({"resource": "https://api.example/#"}, r"without a fragment"),
    ({"resource": "https://api.example/a b"}, r"absolute URI"),
    ({"resource": "https://[::1"}, r"absolute URI"),
    ({"resource": ["https://a.example", "b"]}, r"resource 'b'"),
    ({"resource": 5}, r"resource must be"),
    ({"token_params": {"grant_type": "password"}}, r"this library is for client_credentials"),
    ({"token_params": {"client_id": "x"}}, r"its option is: client_id"),
    ({"token_params": {"client_secret": "x"}}, r"its option is: client_secret"),
    ({"token_params": {"scope": "x"}}, r"its option is: scope"),
    ({"token_params": {"audience": "x"}}, r"its option is: audience"),
    ({"token_params": {"resource": "x"}}, r"its option is: resource"),
    ({"token_params": {"client_assertion": "x"}}, r"its option is: client_auth"),
    ({"token_params": {"client_assertion_type": "x"}}, r"its option is: client_auth"),
    ({"token_params": {"tenant": ""}}, r"token_params\['tenant'\] must be a non-empty string"),
    ({"token_params": {"tenant": 5}}, r"token_params\['tenant'\] must be a non-empty string"),
    ({"token_params": {5: "x"}}, r"names in token_params must be non-empty strings"),
    ({"token_params": {"": "x"}}, r"names in token_params must be non-empty strings"),
    ({"token_params": "tenant=x"}, r"must be a mapping, such as"),
    ({"token_params": [("tenant", "x")]}, r"must be a mapping, such as"),
    ({"api_url": ""}, r"api_url\) is empty.*https://api\.example"),
    ({"api_url": []}, r"api_url is empty: name the URL prefixes"),
    ({"api_url": 5}, r"api_url\) is empty, or not a text"),
    ({"api_url": b"https://api.example"}, r"not a text"),
    ({"api_url": "api.example"}, r"api_url\) has no scheme: begin it with https://"),
    ({"api_url": "/v1"}, r"has no scheme"),
    ({"api_url": ["https://api.example", "other.example"]}, r"has no scheme"),
    ({"api_url": "https://api.example?x=1"}, r"has a query: write only origin and path"),
    ({"api_url": "https://api.example/#x"}, r"has a fragment"),
    ({"api_url": "https://me@api.example"}, r"has a user name"),
    ({"api_url": "https://*.example"}, r"has a wildcard for a host: write the host in full"),
    ({"api_url": "https://api.example/a/../b"}, r"has dot segments.*plain path"),
    ({"api_url": "https://api.example/a%2fb"}, r"encoded slash.*plain path"),
    ({"api_url": "https://api.example\\@evil.example"}, r"backslash: take it out"),
    ({"client_auth": "client_secret_bsic"}, r"'client_secret_bsic' is not known; it must be one"),
    ({"client_auth": "private_key_jwt"}, r"needs more: client_auth=PrivateKeyJWT\(key\)"),
    ({"client_auth": "tls_client_auth"}, r"client_auth=TLSClientAuth\(cert\)"),
    ({"client_auth": TLSClientAuth}, r"TLSClientAuth\(\.\.\.\)"),
    ({"client_auth": object()}, r"client_auth is a object; it must be one of"),
    ({"client_auth": "none"}, r"takes no client_secret: leave it out"),
    ({"client_auth": NoClientAuth()}, r"takes no client_secret: leave it out"),
    ({"client_auth": ClientSecretPost(), "client_secret": None}, r"needs a client_secret"),
    ({"client_auth": "client_secret_basic", "client_secret": None}, r"needs a client_secret"),
    ({"client_auth": ClientSecretBasic(encode=False), "client_id": "a:b"}, r"ClientSecretPost"),
    ({"client_auth": ClientSecretJWT(), "client_secret": "short"}, r"32"),
    ({"scheme": "Bearer"}, r"scheme must be Bearer\(\) or DPoP\(key\)"),
    ({"scheme": object}, r"scheme must be"),
    ({"scheme": HalfAScheme()}, r"scheme must be"),
    ({"renew_at": 0.5}, r"two shares of a token's lifetime, such as \(0\.6, 0\.8\)"),
    ({"renew_at": (0.8, 0.6)}, r"two shares"),
    ({"renew_at": (0, 0.5)}, r"two shares"),
    ({"renew_at": (0.5, 1.5)}, r"two shares"),
    ({"renew_at": (0.5, float("nan"))}, r"two shares"),
    ({"renew_at": (0.1, 0.2, 0.3)}, r"two shares"),
    ({"renew_at": ("a", "b")}, r"two shares"),
    ({"renew_at": None}, r"two shares"),
    ({"refused_status": ()}, r"4xx statuses, such as \(401, 403\)"),
    ({"refused_status": (200,)}, r"4xx statuses"),
    ({"refused_status": ("401",)}, r"4xx statuses"),
    ({"refused_status": "401"}, r"4xx statuses"),
    ({"refused_status": 500}, r"4xx statuses"),
    ({"refused_status": None}, r"4xx statuses"),
    ({"on_event": "print"}, r"on_event must be a callable that takes one event"),
    ({"store": object()}, r"store"),
    ({"store": "redis://localhost"}, r"store"),
]


def case_id(value: object) -> str:
    """Return the text of a value without addresses in memory, which differ in every process."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))[:60]


@pytest.mark.parametrize(("options", "message"), WRONG, ids=case_id)
def test_what_cannot_work_fails_when_it_is_made_and_says_what_to_write(
    options: dict[str, Any], message: str
) -> None:
    for kind in (ClientCredentialsSession, ClientCredentialsAuth):
        with pytest.raises(ConfigurationError, match=message) as caught:
            kind(**{**FITS, **options})
        # So it is caught by whoever expects either.
        assert isinstance(caught.value, ValueError)
        assert isinstance(caught.value, requests.RequestException)
        assert isinstance(caught.value, OAuthCCError)
        assert "my-secret" not in str(caught.value)
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    if "api_url" not in options and "refused_status" not in options:
        with pytest.raises(ConfigurationError, match=message):
            fetch_token(**{**FITS, **options})


@pytest.mark.parametrize(
    "options",
    [
        {"token_url": "https://as.example/token?tenant=blue"},
        {"token_url": "https://as.example:8443"},
        {"token_url": "http://localhost:8080/token"},
        {"token_url": "http://127.0.0.1/token"},
        {"token_url": "http://[::1]:8080/token"},
        {"token_url": "https://xn--bcher-kva.example/token"},
        {"token_url": None, "issuer": "https://as.example/tenant"},
        {"client_id": "my id:with/odd%characters"},
        {"client_secret": 'odd: "%/+&= \u00fc'},
        {"client_secret": lambda: "later"},
        {"scope": "a b  a"},
        {"scope": ["a", "b c"]},
        {"scope": (word for word in ("a", "b"))},
        {"scope": []},
        {"scope": " "},
        {"audience": ["https://a.example", "b"]},
        {"resource": "urn:example:orders"},
        {"token_params": {"tenant": "blue", "several": ["a", "b"]}},
        {"api_url": "https://api.example/v1/"},
        {"api_url": "http://api.example"},
        {"api_url": ["https://a.example", "https://b.example:8443/x"]},
        {"client_auth": "client_secret_post"},
        {"client_auth": ClientSecretPost},
        {"client_secret": None},
        {"client_secret": None, "client_auth": "none"},
        {"scheme": Bearer},
        {"scheme": Bearer()},
        {"scheme": DPoP},
        {"renew_at": (0.1, 1)},
        {"renew_at": [0.7, 0.7]},
        {"refused_status": (401, 403)},
        {"refused_status": {401}},
        {"refused_status": 401},
        {"on_event": print},
    ],
    ids=case_id,
)
def test_what_can_work_is_taken_and_costs_no_request(options: dict[str, Any]) -> None:
    with ClientCredentialsSession(**{**FITS, **options}) as session:
        assert session.tokens.grant.client_id
    ClientCredentialsAuth(**{**FITS, **options}).tokens.close()


def test_the_scheme_and_the_client_authentication_may_be_given_as_classes() -> None:
    assert isinstance(Grant.of(**FITS, scheme=DPoP).scheme, DPoP)  # type: ignore[arg-type]
    assert isinstance(Grant.of(**FITS, scheme=Bearer).scheme, Bearer)  # type: ignore[arg-type]
    assert isinstance(Grant.of(**FITS).scheme, Bearer)
    assert Grant.of(**FITS).client_auth == ClientSecretBasic()
    assert Grant.of(URL, "my-id").client_auth == NoClientAuth()


def test_plain_http_to_the_token_endpoint_needs_oauthlibs_own_word_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    insecure = {**FITS, "token_url": "http://as.example/token"}
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    ClientCredentialsSession(**insecure).close()
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "")
    with pytest.raises(ConfigurationError, match="OAUTHLIB_INSECURE_TRANSPORT=1 allows http"):
        ClientCredentialsSession(**insecure)


def test_that_word_does_not_let_a_token_travel_in_the_clear(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    with (
        ClientCredentialsSession(**FITS) as session,
        pytest.raises(requests.exceptions.InvalidURL, match="over plain http"),
    ):
        session.get("http://api.example/x")


def test_what_is_authorized_later_is_checked_as_early(tmp_path: Path) -> None:
    with ClientCredentialsSession(**FITS) as session:
        for prefix, options, message in (
            ("api.example", {}, "has no scheme"),
            ("https://api.example", {"scope": 'a"'}, "no scope may hold"),
            ("https://api.example", {"scopes": "a"}, "An option is not known.*scopes"),
            ("https://api.example", {"renew_at": 2}, "two shares"),
            ("https://api.example", {"token_url": "http://as.example"}, "plain http"),
            ("https://api.example", {"tokens": session.tokens, "scope": "a"}, "not both"),
            ("https://api.example", {"issuer": "as.example"}, "issuer"),
        ):
            with pytest.raises(ConfigurationError, match=message):
                session.authorize(prefix, **options)
        other = session.authorize("https://api.example", scope="b", audience="c")
        assert other.grant.token_url == URL
        assert other.grant.params == (("audience", "c"),)
        moved = session.authorize("https://b.example", issuer="https://as.example")
        assert (moved.grant.token_url, moved.grant.issuer) == (None, "https://as.example")


def test_a_secret_file_may_vanish_later_and_then_a_request_says_so(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("my-secret\n")
    with ClientCredentialsSession(URL, "my-id", file) as session:
        file.unlink()
        with pytest.raises(requests.RequestException, match="cannot be read: No such file"):
            session.tokens.get()


def test_nothing_was_sent_and_nothing_was_resolved_when_construction_fails() -> None:
    with AuthorizationServer() as auth, ProtectedAPI(auth) as api:
        with pytest.raises(ConfigurationError):
            ClientCredentialsSession(auth.token_url, "", "secret", api_url=api.url)
        ClientCredentialsSession(auth.token_url, "id", "secret", api_url=api.url).close()
        assert not auth.requests
        assert not api.requests


# -- the grant itself -----------------------------------------------------------------------------


def key(**options: Any) -> str:
    grant = Grant.of(**{**FITS, **options})
    return grant.cache_key(grant.fingerprint(grant.read_secret()))


def test_the_cache_key_changes_with_everything_that_can_change_the_token() -> None:
    keys = [
        key(),
        key(token_url="https://as.example/other"),
        key(token_url=None, issuer="https://as.example"),
        key(client_id="other"),
        key(client_secret="other"),
        key(client_auth="client_secret_post"),
        key(client_auth=ClientSecretBasic(encode=False)),
        key(client_secret=None),
        key(scope="a"),
        key(scope="a b"),
        key(audience="a"),
        key(resource="https://a.example"),
        key(token_params={"audienc": "a"}),
        key(scheme=DPoP()),
    ]
    assert len(set(keys)) == len(keys)


def test_the_cache_key_does_not_change_with_what_means_the_same() -> None:
    assert key() == key()
    assert key(scope="a b") == key(scope=["b", "a", "a"])
    assert key(resource=["urn:a", "urn:b"]) == key(resource=["urn:b", "urn:a"])
    assert key(token_params={"a": "1", "b": "2"}) == key(token_params={"b": "2", "a": "1"})
    assert "my-secret" not in key()


def test_a_grant_shows_what_is_public_and_nothing_else() -> None:
    shown = repr(Grant.of(f"{URL}?key=x", "my-id", "my-secret", token_params={"pin": "1234"}))
    assert "my-id" in shown
    assert not [word for word in ("my-secret", "1234", "key=x") if word in shown]
