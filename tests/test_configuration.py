"""An invalid configuration raises at construction, before anything is sent, with advice."""

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
from oauthcc.testing import AuthorizationServer, ProtectedAPI
from oauthcc.token_request.client_config import ClientConfig

from .inside import config_of

URL = "https://as.example/token"
FITS: dict[str, Any] = {"token_url": URL, "client_id": "my-id", "client_secret": "my-secret"}


class HalfAScheme:
    def accepts(self, token_type: str) -> bool:
        return True


# Invalid options, and what the message must say about them and about the right ones.
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"token_url": ""}, r"token_url is empty.*https://as\.example/token"),
    ({"token_url": None}, r"token_url is empty.*https://as\.example/token"),
    ({"token_url": 5}, r"token_url.*https://as\.example/token"),
    (
        {"token_url": "as.example/token"},
        r"begin it with https://, as in https://as\.example/token$",
    ),
    ({"token_url": "as.example:8443/token/"}, r"as in https://as\.example:8443/token/$"),
    ({"token_url": "as.example"}, r"token_url has no scheme: begin it with https://$"),
    ({"token_url": "eyJhbGciOiJub25lIn0.eyJzdWIiOiJtZSJ9.c2ln"}, r"begin it with https://$"),
    ({"token_url": "s3cr3t/of.mine"}, r"begin it with https://$"),
    ({"token_url": "as.example/Zk8xQ2f9vPq1LwTn"}, r"begin it with https://$"),
    ({"token_url": "http://as.example/token"}, r"plain http: write https://"),
    ({"token_url": "http://localhost./token"}, r"plain http: write https://"),
    ({"token_url": "http://[::ffff:127.0.0.1]/token"}, r"plain http: write https://"),
    ({"token_url": "https://me:pw@as.example/token"}, r"user name: leave out"),
    (
        {"token_url": "https://as.example/.well-known/openid-configuration"},
        r"token_url is the URL of metadata: pass the issuer to from_issuer\(\)",
    ),
    ({"token_url": "https://"}, r"has no usable host or port: check host and port"),
    ({"issuer": "https://as.example"}, r"token_url or issuer, not both"),
    (
        {"token_url": None, "issuer": ""},
        r"issuer is empty.*write it as in https://as\.example/tenant$",
    ),
    ({"token_url": None, "issuer": "as.example"}, r"issuer.*https://"),
    ({"token_url": None, "issuer": "http://as.example"}, r"issuer.*https://"),
    ({"token_url": '"https://as.example/token"'}, r"begins with a quotation mark: leave it out"),
    ({"token_url": "'https://as.example/token'"}, r"begins with a quotation mark"),
    ({"client_id": ""}, r"client_id must be the non-empty id that the server registered"),
    ({"client_id": None}, r"client_id must be"),
    ({"client_id": 42}, r"client_id must be"),
    ({"client_id": "my-id\n"}, r"client_id contains a control character; was a line break copied"),
    ({"client_id": "\ud800"}, r"client_id contains a control character"),
    ({"client_secret": ""}, r"client_secret is empty"),
    ({"client_secret": None}, r'client_secret is missing.*variable.*client_auth="none"'),
    ({"client_secret": None, "client_auth": None}, r"client_secret is missing"),
    ({"client_secret": None, "scheme": DPoP()}, r"client_secret is missing"),
    ({"client_secret": b"my-secret"}, r"string, a callable.*or a pathlib.Path.*not bytes"),
    ({"client_secret": 5}, r"not int"),
    ({"client_secret": "my-secret\n"}, r"line break at the end, drop it with \.strip\(\)"),
    ({"client_secret": Path("/no/such/file")}, r"'/no/such/file' cannot be read: No such file"),
    ({"client_secret": Path("/")}, r"'/' cannot be read: Is a directory"),
    ({"scope": 'orders:read "all"'}, r'write scopes separated by spaces, such as "orders:read'),
    ({"scope": "a\\b"}, r"no scope may contain .*3\.3"),
    ({"scope": "a\tb"}, r"no scope may contain"),
    ({"scope": "\u00fcber"}, r"no scope may contain"),
    ({"scope": ["a", 'b"']}, r"no scope may contain"),
    ({"scope": ["a", ""]}, r"scope must be a non-empty string or a list of such"),
    ({"scope": [5]}, r"scope must be"),
    ({"scope": 5}, r"scope must be"),
    ({"scope": b"a"}, r"scope must be"),
    ({"scope": ""}, r"scope must be"),
    ({"audience": ""}, r"audience must be"),
    ({"audience": 5}, r"audience must be"),
    ({"audience": "\ud800"}, r"audience must be"),
    ({"resource": "https://api.example/#x"}, r"without a fragment"),
    ({"resource": "https://api.example/#"}, r"without a fragment"),
    ({"resource": "https://api.example/a b"}, r"absolute URI or a name.*RFC 8707.*https://api"),
    ({"resource": ["https://a.example", "b\n"]}, r"resource 'b\\n'"),
    ({"resource": 5}, r"resource must be"),
    ({"token_params": {"grant_type": ["a", "b"]}}, r"one grant_type at most"),
    ({"token_params": {"grant_type": ""}}, r"token_params\['grant_type'\] must be a non-empty"),
    ({"token_params": {"grant_type": 5}}, r"token_params\['grant_type'\] must be a non-empty"),
    ({"token_body": "JSON"}, r"token_body must be"),
    ({"token_body": ["json"]}, r"token_body must be"),
    ({"resource": " urn:a"}, r"without spaces"),
    ({"resource": "a\u2028b"}, r"without spaces"),
    ({"resource": "a\u00a0b"}, r"without spaces"),
    ({"token_body": "xml"}, r'token_body must be "form" \(RFC 6749 section 4.4.2\) or "json"'),
    ({"token_body": None}, r"token_body must be"),
    *(
        ({"token_params": {name: "x"}}, f"must not contain '{name}': use the option {name}")
        for name in ("client_id", "client_secret", "scope", "audience", "resource")
    ),
    ({"token_params": {"client_assertion": "x"}}, r"use client_auth"),
    ({"token_params": {"client_assertion_type": "x"}}, r"use client_auth"),
    ({"token_params": {"tenant": ""}}, r"token_params\['tenant'\] must be a non-empty string"),
    ({"token_params": {"tenant": 5}}, r"token_params\['tenant'\] must be a non-empty string"),
    ({"token_params": {5: "x"}}, r"names in token_params must be non-empty strings"),
    ({"token_params": {"": "x"}}, r"names in token_params must be non-empty strings"),
    ({"token_params": "tenant=x"}, r"must be a mapping, such as"),
    ({"token_params": [("tenant", "x")]}, r"must be a mapping, such as"),
    ({"api_url": ""}, r"api_url\) is empty.*https://api\.example"),
    ({"api_url": []}, r"api_url is empty: name the URL prefixes"),
    ({"api_url": 5}, r"api_url\) is empty or not a string"),
    ({"api_url": b"https://api.example"}, r"not a string"),
    ({"api_url": "api.example"}, r"api_url\) has no scheme: begin it with https://"),
    ({"api_url": ["https://api.example", "other.example"]}, r"has no scheme"),
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
    ({"on_event": "print"}, r"on_event must be a callable that takes one event"),
    ({"store": object()}, r"store"),
    ({"store": "redis://localhost"}, r"store"),
]


def named(value: object) -> str:
    """Return the id of a parameter, which must be the same in every process."""
    return re.sub(r"<(\w+).*? at 0x.*?>", r"<\1>", str(value))[:60]


@pytest.mark.parametrize(("options", "message"), WRONG, ids=named)
def test_an_invalid_option_raises_at_construction_with_advice(
    options: dict[str, Any], message: str
) -> None:
    for kind in (ClientCredentialsSession, ClientCredentialsAuth):
        with pytest.raises(ConfigurationError, match=message) as caught:
            kind(**{**FITS, **options})
        # Callers may catch any of these.
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
        {"resource": "2ff814a6-3304-4ab8-85cb-cd0e6f879c1d"},
        {"token_body": "json"},
        {"token_params": {"grant_type": "account_credentials", "account_id": "1"}},
        {"token_params": {"tenant": "blue", "several": ["a", "b"]}},
        {"api_url": "https://api.example/v1/"},
        {"api_url": "http://api.example"},
        {"api_url": ["https://a.example", "https://b.example:8443/x"]},
        {"client_auth": "client_secret_post"},
        {"client_auth": ClientSecretPost},
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
    ids=named,
)
def test_a_valid_option_is_accepted_without_a_request(options: dict[str, Any]) -> None:
    with ClientCredentialsSession(**{**FITS, **options}) as session:
        assert session.tokens._config.client_id
    ClientCredentialsAuth(**{**FITS, **options}).tokens.close()


def test_the_scheme_and_the_client_authentication_may_be_classes() -> None:
    assert isinstance(ClientConfig.of(**FITS, scheme=DPoP).scheme, DPoP)  # type: ignore[arg-type]
    assert isinstance(ClientConfig.of(**FITS, scheme=Bearer).scheme, Bearer)  # type: ignore[arg-type]
    assert isinstance(ClientConfig.of(**FITS).scheme, Bearer)
    assert ClientConfig.of(**FITS).client_auth == ClientSecretBasic()
    assert ClientConfig.of(URL, "my-id", client_auth="none").client_auth == NoClientAuth()


def test_the_variable_of_oauthlib_allows_plain_http_only_to_the_token_endpoint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    insecure = {**FITS, "token_url": "http://as.example/token"}
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "")
    with pytest.raises(ConfigurationError, match="OAUTHLIB_INSECURE_TRANSPORT=1 allows http"):
        ClientCredentialsSession(**insecure)
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    with (
        ClientCredentialsSession(**insecure) as session,
        pytest.raises(requests.exceptions.InvalidURL, match="over plain http"),
    ):
        session.get("http://api.example/x")


def test_the_options_of_add_api_are_checked_at_once() -> None:
    with ClientCredentialsSession(**FITS) as session:
        for prefix, options, message in (
            ("api.example", {}, "has no scheme"),
            ("https://api.example", {"scope": 'a"'}, "no scope may contain"),
            ("https://api.example", {"scopes": "a"}, "There is no option scopes: .*, scope, store"),
            ("https://api.example", {"renew_at": 2}, "two shares"),
            ("https://api.example", {"token_url": "http://as.example"}, "plain http"),
            ("https://api.example", {"tokens": session.tokens, "scope": "a"}, "not both"),
            ("https://api.example", {"issuer": "as.example"}, "issuer"),
        ):
            with pytest.raises(ConfigurationError, match=message):
                session.add_api(prefix, **options)
        config = config_of(session.add_api("https://api.example", scope="b", audience="c"))
        assert (config.token_url, config.params) == (URL, (("audience", "c"),))


def test_an_unknown_option_of_an_auth_is_compared_with_all_that_it_has() -> None:
    unknown: Any = {**FITS, "api_ulr": "https://api.example"}
    with pytest.raises(ConfigurationError, match=r"choose from api_url, .* Is api_url meant\?"):
        ClientCredentialsAuth(**unknown)
    session: Any = ClientCredentialsSession(**FITS)
    with pytest.raises(ConfigurationError, match=r"choose from audience, "):
        session.add_api("https://api.example", api_ulr="https://api.example")


@pytest.mark.parametrize("tokens", [URL, None, ClientCredentialsSession(**FITS)], ids=type)
def test_what_is_no_token_source_raises_at_construction(tokens: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"takes the `tokens` of another session"):
        ClientCredentialsSession.using(tokens)


def test_an_unknown_option_raises_with_the_known_ones() -> None:
    unknown: Any = {**FITS, "colour": "red", "audiance": "a"}
    expected = r"no option audiance, colour: choose from api_url, aud.*\. Is audience meant\?"
    with pytest.raises(ConfigurationError, match=expected):
        ClientCredentialsAuth(**unknown)
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        ClientCredentialsSession(**unknown)
    with pytest.raises(ConfigurationError, match=r"no option colour: choose from [a-z_, ]*\.$"):
        ClientCredentialsAuth(**FITS, colour="red")  # type: ignore[call-arg]


@pytest.mark.parametrize("timeout", [(1, 2), (3.0, None), 5, None])
def test_a_token_is_fetched_with_every_timeout_of_requests(
    auth: AuthorizationServer, timeout: Any
) -> None:
    client = auth.token_url, auth.client_id, auth.client_secret
    assert fetch_token(*client, timeout=timeout).access_token == auth.issued[0]


def test_a_secret_file_that_is_deleted_later_is_an_error_of_the_request(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("my-secret\n")
    with ClientCredentialsSession(URL, "my-id", file) as session:
        file.unlink()
        with pytest.raises(requests.RequestException, match="cannot be read: No such file"):
            session.tokens.get()


def test_construction_sends_nothing(auth: AuthorizationServer, api: ProtectedAPI) -> None:
    with pytest.raises(ConfigurationError):
        ClientCredentialsSession(auth.token_url, "", "secret", api_url=api.url)
    ClientCredentialsSession(auth.token_url, "id", "secret", api_url=api.url).close()
    assert not auth.requests
    assert not api.requests


def test_the_repr_of_a_configuration_contains_only_what_is_public() -> None:
    shown = repr(
        ClientConfig.of(f"{URL}?key=x", "my-id", "my-secret", token_params={"pin": "1234"})
    )
    assert "my-id" in shown
    assert not [word for word in ("my-secret", "1234", "key=x") if word in shown]
