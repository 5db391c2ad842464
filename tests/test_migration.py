"""Tests of the page "Coming from": both libraries do the same on the same servers."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from oauthlib.oauth2 import BackendApplicationClient, OAuth2Error, TokenExpiredError
from requests.auth import HTTPBasicAuth
from requests_oauthlib import OAuth2Session
from requests_oauthlib.compliance_fixes import ebay_compliance_fix, plentymarkets_compliance_fix

from oauthcc import (
    ClientCredentialsSession,
    ClientSecretBasic,
    ClientSecretPost,
    InvalidTokenResponse,
    TokenEndpointUnavailable,
    TokenRequestDenied,
)
from oauthcc.testing import AuthorizationServer, ProtectedAPI, SeenRequest, faults

from .scripts import ROOT, run_script
from .sessions import session_for

PAGE = (ROOT / "docs" / "coming-from.md").read_text(encoding="utf-8")
BLOCK = re.compile(
    r"(?P<before><!-- not run: another library -->\n)?```python\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
#: The libraries whose code runs on our servers as it stands. google-auth needs the key of an
#: account, and msal a server with TLS that has its metadata at Microsoft's paths.
RUNNABLE = ("requests_oauthlib", "authlib", "requests_auth")
SCRIPT = """\
import os, warnings

os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"
# These libraries leave their connections to the garbage collector.
warnings.simplefilter("ignore", ResourceWarning)

from oauthcc.testing import AuthorizationServer, ProtectedAPI

code = {code!r}
with AuthorizationServer("my-id", "my-secret") as auth, ProtectedAPI(auth) as api:
    code = code.replace("https://as.example/token", auth.token_url)
    code = code.replace("https://api.example", api.url)
    exec(compile(code, "docs/coming-from.md", "exec"), {{}})
    assert auth.token_requests
"""


def blocks() -> Iterator[tuple[str, str, bool]]:
    """Yield the part of the page, the code and whether it uses another library, for each block."""
    for part in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]:
        for block in BLOCK.finditer(part):
            yield part.partition("\n")[0], block["code"], block["before"] is not None


BEFORE = [
    pytest.param(title, code, id=f"{title}-{number}")
    for number, (title, code, is_before) in enumerate(blocks(), 1)
    if is_before
]


@pytest.fixture
def new(auth: AuthorizationServer) -> Iterator[ClientCredentialsSession]:
    with session_for(auth) as new:
        yield new


@pytest.fixture
def old(auth: AuthorizationServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[OAuth2Session]:
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    with OAuth2Session(client=BackendApplicationClient(client_id=auth.client_id)) as old:
        yield old


@pytest.mark.parametrize(("title", "code"), BEFORE)
def test_a_block_of_another_library_works(title: str, code: str, tmp_path: Path) -> None:
    name = title.replace("-", "_").lower()
    if name not in RUNNABLE:
        compile(code, title, "exec")
        return
    pytest.importorskip(name)
    script = tmp_path / "block.py"
    script.write_text(SCRIPT.format(code=code), encoding="utf-8")
    run_script(script)


def test_each_part_shows_the_same_before_and_now() -> None:
    kinds: dict[str, list[bool]] = {}
    for title, _, is_before in blocks():
        kinds.setdefault(title, []).append(is_before)
    own = kinds.pop("A class of your own")
    assert own == [False, False]  # the first one uses nothing but requests
    assert kinds.pop("requests-oauthlib") == [True, False] * 3 + [False]
    assert set(kinds) == {"Authlib", "requests_auth", "google-auth", "msal"}
    assert all(each == [True, False] for each in kinds.values())


def sent(request: SeenRequest) -> tuple[str | None, list[tuple[str, str]]]:
    """Return the authentication of the client, and the body in an order that is always the same."""
    return request.headers.get("Authorization"), sorted(request.form)


def test_both_send_the_same_token_request_and_the_same_request_to_the_api(
    auth: AuthorizationServer,
    api: ProtectedAPI,
    old: OAuth2Session,
    new: ClientCredentialsSession,
) -> None:
    old.fetch_token(auth.token_url, client_secret=auth.client_secret)
    old.post(api.url + "/orders?page=2", json={"pieces": 3})
    new.post(api.url + "/orders?page=2", json={"pieces": 3})
    asked, asked_now = auth.token_requests
    assert sent(asked) == sent(asked_now)
    called, called_now = api.requests
    assert called.body == called_now.body
    assert called.target == called_now.target
    assert set(called.headers) == set(called_now.headers)


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ({"client_secret": "demo-secret"}, {}),
        ({"auth": HTTPBasicAuth("demo-client", "demo-secret")}, {}),
        (
            {"client_secret": "demo-secret", "include_client_id": True},
            {"client_auth": ClientSecretPost()},
        ),
        (
            {"client_secret": "demo-secret", "audience": "https://a", "tenant": "7"},
            {"audience": "https://a", "token_params": {"tenant": "7"}},
        ),
    ],
)
def test_the_arguments_of_fetch_token_and_the_options_send_the_same_token_request(
    auth: AuthorizationServer, old: OAuth2Session, before: dict[str, Any], now: dict[str, Any]
) -> None:
    old.fetch_token(auth.token_url, **before)
    with session_for(auth, **now) as new:
        new.tokens.get()
    asked, asked_now = auth.token_requests
    assert sent(asked) == sent(asked_now)


def test_a_public_client_sends_the_same_token_request_without_a_secret(
    auth: AuthorizationServer, old: OAuth2Session
) -> None:
    auth.add_client(auth.client_id)
    old.fetch_token(auth.token_url, include_client_id=True)
    with session_for(auth, client_secret=None, client_auth="none") as new:
        new.tokens.get()
    asked, asked_now = auth.token_requests
    assert sent(asked) == sent(asked_now)


def test_a_secret_that_was_sent_unencoded_is_sent_unencoded_with_one_option(
    old: OAuth2Session,
) -> None:
    secret = "100%41+:/ "
    with AuthorizationServer(client_secret=secret, basic_encoding="raw") as auth:
        old.fetch_token(auth.token_url, client_secret=secret)
        with session_for(auth, client_auth=ClientSecretBasic(encode=False)) as raw:
            raw.tokens.get()
        asked, asked_now = auth.token_requests
        assert sent(asked) == sent(asked_now)
        with (
            session_for(auth) as encoded,
            pytest.raises(TokenRequestDenied, match="invalid_client"),
        ):
            encoded.tokens.get()


def test_headers_of_the_endpoint_are_sent_with_the_token_request_only(
    auth: AuthorizationServer, api: ProtectedAPI, new: ClientCredentialsSession
) -> None:
    new.tokens.endpoint.headers["X-Tenant"] = "7"
    new.get(api.url)
    assert auth.token_requests[0].headers["X-Tenant"] == "7"
    assert "X-Tenant" not in api.requests[0].headers


def test_an_expired_token_is_an_error_in_requests_oauthlib_and_renewed_here(
    auth: AuthorizationServer,
    api: ProtectedAPI,
    old: OAuth2Session,
    new: ClientCredentialsSession,
) -> None:
    auth.token_lifetime = 0
    old.fetch_token(auth.token_url, client_secret=auth.client_secret)
    old.token = {**old.token, "expires_at": time.time() - 1}
    with pytest.raises(TokenExpiredError):
        old.get(api.url)
    auth.real_lifetime = 60
    assert new.get(api.url).status_code == 200
    assert new.get(api.url).status_code == 200
    assert len(auth.token_requests) == 3


def test_auto_refresh_fails_with_this_grant(
    auth: AuthorizationServer, api: ProtectedAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    client = BackendApplicationClient(client_id=auth.client_id)
    extra = {"client_id": auth.client_id, "client_secret": auth.client_secret}
    with OAuth2Session(
        client=client, auto_refresh_url=auth.token_url, auto_refresh_kwargs=extra
    ) as old:
        token = old.fetch_token(auth.token_url, client_secret=auth.client_secret)
        assert "refresh_token" not in token
        old.token = {**token, "expires_at": time.time() - 1}
        with pytest.raises(OAuth2Error, match="unsupported_grant_type"):
            old.get(api.url)


def test_a_revoked_token_is_a_401_in_requests_oauthlib_and_renewed_here(
    auth: AuthorizationServer,
    api: ProtectedAPI,
    old: OAuth2Session,
    new: ClientCredentialsSession,
) -> None:
    old.fetch_token(auth.token_url, client_secret=auth.client_secret)
    assert new.get(api.url).status_code == old.get(api.url).status_code == 200
    auth.revoke_all()
    assert old.post(api.url, data=b"body").status_code == 401
    assert new.post(api.url, data=b"body").status_code == 200


def test_a_token_has_the_same_members(
    auth: AuthorizationServer, old: OAuth2Session, new: ClientCredentialsSession
) -> None:
    auth.token_fields = {"scope": "a b", "instance_url": "https://eu.example"}
    before, now = (
        old.fetch_token(auth.token_url, client_secret=auth.client_secret),
        new.tokens.get(),
    )
    assert (before["access_token"], now.access_token) == tuple(auth.issued)
    assert now.expires_at == pytest.approx(before["expires_at"], abs=2)
    assert now.lifetime == pytest.approx(before["expires_in"])
    assert now.scope is not None
    assert now.scope.split() == before["scope"]
    assert now.extra["instance_url"] == before["instance_url"]


def test_a_scope_that_changed_raises_a_warning_in_requests_oauthlib_and_no_error_here(
    auth: AuthorizationServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    auth.token_fields = {"scope": "a"}
    client = BackendApplicationClient(client_id=auth.client_id, scope=["a", "b"])
    with OAuth2Session(client=client) as old, pytest.raises(Warning, match="Scope has changed"):
        old.fetch_token(auth.token_url, client_secret=auth.client_secret)
    with session_for(auth, scope=["a", "b"]) as new:
        assert new.tokens.get().scope == "a"


def test_a_request_can_be_sent_without_the_token(
    auth: AuthorizationServer,
    api: ProtectedAPI,
    old: OAuth2Session,
    new: ClientCredentialsSession,
) -> None:
    old.fetch_token(auth.token_url, client_secret=auth.client_secret)
    old.request("GET", api.url, withhold_token=True)
    new.get(api.url, auth=lambda r: r)
    assert [seen.token for seen in api.requests] == [None, None]


@pytest.mark.parametrize(
    ("answer", "before", "now"),
    [
        (faults.oauth_error("invalid_client", status=401), OAuth2Error, TokenRequestDenied),
        (faults.oauth_error("invalid_scope"), OAuth2Error, TokenRequestDenied),
        (faults.html(200), OAuth2Error, InvalidTokenResponse),
        (faults.json_answer(None), TypeError, InvalidTokenResponse),
        (faults.unavailable(503, "60"), OAuth2Error, TokenEndpointUnavailable),
    ],
)
def test_every_error_is_a_request_exception_here_only(  # noqa: PLR0917 - pytest passes by name
    auth: AuthorizationServer,
    old: OAuth2Session,
    new: ClientCredentialsSession,
    answer: faults.Answer,
    before: type[Exception],
    now: type[Exception],
) -> None:
    auth.answer_next(answer, n=None)
    with pytest.raises(before) as there:
        old.fetch_token(auth.token_url, client_secret=auth.client_secret)
    assert not isinstance(there.value, requests.RequestException)
    with pytest.raises(now) as here:
        new.tokens.get()
    assert isinstance(here.value, requests.RequestException)


NONSTANDARD_RESPONSES: dict[Callable[..., Any], dict[str, Any]] = {
    ebay_compliance_fix: {
        "access_token": "t-{}",
        "token_type": "Application Access Token",
        "expires_in": 7200,
    },
    plentymarkets_compliance_fix: {
        "accessToken": "t-{}",
        "tokenType": "Bearer",
        "expiresIn": 86400,
        "refreshToken": "r-{}",
    },
}


@pytest.mark.parametrize("fix", NONSTANDARD_RESPONSES)
def test_a_compliance_fix_is_applied_to_renewals_too(
    auth: AuthorizationServer,
    api: ProtectedAPI,
    new: ClientCredentialsSession,
    fix: Callable[..., Any],
) -> None:
    for number in (1, 2):
        answer = json.dumps(NONSTANDARD_RESPONSES[fix]).replace("{}", str(number))
        auth.answer_next(faults.json_answer(json.loads(answer)))
    api.protected = False
    fix(new.tokens.endpoint)
    assert new.get(api.url).status_code == 200
    api.refuse_next()
    assert new.post(api.url, data=b"body").json()["length"] == 4
    assert [seen.token for seen in api.requests] == ["t-1", "t-1", "t-2"]
    assert new.tokens.get().lifetime == json.loads(answer).get("expires_in", 86400)


def test_hooks_for_refreshing_and_for_api_requests_are_never_called(
    auth: AuthorizationServer, api: ProtectedAPI, new: ClientCredentialsSession
) -> None:
    def never(*_: Any) -> Any:
        raise AssertionError

    endpoint: Any = new.tokens.endpoint
    for kind in ("refresh_token_request", "refresh_token_response", "protected_request"):
        endpoint.register_compliance_hook(kind, never)
    assert new.get(api.url).status_code == 200
    auth.revoke_all()
    assert new.get(api.url).status_code == 200
