"""The session: how it is made, its client certificate, and what a request costs."""

from __future__ import annotations

import copy
import ssl
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
from requests import PreparedRequest, Request, Response

from benchmarks.calls import follow
from oauthcc import (
    ClientCredentialsSession,
    ConfigurationError,
    TLSClientAuth,
    TokenRequestDenied,
    fetch_token,
)
from oauthcc.testing import AuthorizationServer, ProtectedAPI

from .inside import config_of
from .refusals import Scene, trail
from .scripts import ROOT
from .servers.certificates import Certificates
from .sessions import CLIENT, session_for

# How it is made


def test_a_session_is_configured_by_environment_variables(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    auth = scene.auth
    monkeypatch.setenv("MY_TOKEN_URL", auth.token_url)
    monkeypatch.setenv("MY_CLIENT_ID", auth.client_id)
    monkeypatch.setenv("MY_CLIENT_SECRET", auth.client_secret)
    monkeypatch.setenv("MY_SCOPE", "orders:read")
    monkeypatch.setenv("MY_API_URL", f"{scene.api.url}/v1, {scene.api.url}/v2")
    with ClientCredentialsSession.from_env("MY_", audience="orders") as session:
        answers = [session.get(scene.api.url + path).status_code for path in ("/v1", "/v2", "/v3")]
    assert answers == [200, 200, 401]
    form = dict(auth.token_requests[0].form)
    assert (form["scope"], form["audience"]) == ("orders:read", "orders")


def test_options_win_over_environment_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TOKEN_URL", "CLIENT_ID", "CLIENT_SECRET", "AUDIENCE", "API_URL"):
        monkeypatch.setenv(f"OAUTH_{name}", "https://variable.example")
    with ClientCredentialsSession.from_env(
        audience="option", api_url="https://option.example"
    ) as session:
        assert config_of(session.tokens).params == (("audience", "option"),)
        assert session._allowed_urls.find("https://option.example/x")[0] is session.tokens
        assert session._allowed_urls.find("https://variable.example/x")[0] is None


def test_a_session_is_configured_by_a_profile_and_options_win(scene: Scene, tmp_path: Path) -> None:
    auth, path = scene.auth, tmp_path / "profiles.ini"
    path.touch(mode=0o600)
    path.write_text(
        f"[orders]\ntoken_url = {auth.token_url}\nclient_id = {auth.client_id}\n"
        f"client_secret = {auth.client_secret}\naudience = profile\n"
    )
    with ClientCredentialsSession.from_profile("orders", path, audience="option") as session:
        assert session.get(scene.url).status_code == 200
    assert dict(auth.token_requests[0].form)["audience"] == "option"


def test_a_session_is_configured_by_an_issuer(scene: Scene) -> None:
    auth = scene.auth
    who = (auth.issuer, auth.client_id, auth.client_secret)
    with ClientCredentialsSession.from_issuer(*who, "a b", api_url=scene.api.url) as session:
        assert scene.auth.requests == []
        assert session.get(scene.url).status_code == 200
    assert ("scope", "a b") in auth.token_requests[0].form


def test_fetch_token_returns_one_token(auth: AuthorizationServer) -> None:
    client = auth.client_id, auth.client_secret
    token = fetch_token(auth.token_url, *client, "a", timeout=20)
    assert (token.access_token, token.scope, token.lifetime) == (auth.issued[0], "a", 3600)
    assert fetch_token(None, *client, issuer=auth.issuer).access_token == auth.issued[1]


def test_fetch_token_raises_the_error_of_the_server(auth: AuthorizationServer) -> None:
    with pytest.raises(TokenRequestDenied) as caught:
        fetch_token(auth.token_url, auth.client_id, "wrong")
    assert (caught.value.status_code, caught.value.error) == (401, "invalid_client")


class Replaced(requests.Session):
    """What a tool may put in the place of `requests.Session`, such as a session with a cache."""

    def __init__(self) -> None:
        super().__init__()
        self.is_replaced = True


def test_a_tool_may_replace_the_session_class_of_requests(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = scene.session()
    monkeypatch.setattr(requests, "Session", Replaced)
    monkeypatch.setattr(requests.sessions, "Session", Replaced)
    with ClientCredentialsSession.using(first.tokens) as session:
        assert session.get(scene.url).status_code == 200
    with ClientCredentialsSession.using(scene.session().tokens, api_url=scene.url) as session:
        assert session.get(scene.url).status_code == 200


@pytest.mark.unmeasured
def test_a_tool_may_have_replaced_the_session_class_before_our_import(
    scene: Scene,
) -> None:
    code = (
        "import requests\n"
        "class Cached(requests.Session):\n"
        "    def __init__(self, name='cache'):\n"
        "        super().__init__()\n"
        "        self.name = name\n"
        "requests.Session = requests.sessions.Session = Cached\n"
        "from oauthcc import ClientCredentialsSession\n"
        f"first = ClientCredentialsSession{scene.client!r}\n"
        "session = ClientCredentialsSession.using(first.tokens)\n"
        f"print(session.name, session.get({scene.url!r}).status_code)\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "cache 200\n"


# Subclasses


class Company(requests.Session):
    """A session class that passes its arguments on."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.headers["X-Company"] = "1"


class Alone(requests.Session):
    """A session class that knows only of the one of requests."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        requests.Session.__init__(self)
        self.headers["X-Company"] = "1"


class Dynamic(requests.Session):
    """A session class with attributes that are made when they are needed."""

    def __getattr__(self, name: str) -> str:
        return f"the {name}"


def made_of(*kinds: type) -> Any:
    return type("Made", kinds, {})


@pytest.mark.parametrize(
    "kinds",
    [
        (Company, ClientCredentialsSession),
        (ClientCredentialsSession, Company),
        (ClientCredentialsSession, Alone),
    ],
)
def test_a_class_that_passes_its_arguments_on_may_come_before_or_after_ours(
    scene: Scene, kinds: tuple[type, ...]
) -> None:
    with made_of(*kinds)(*scene.client) as session:
        assert session.get(scene.url).status_code == 200
    assert "X-Company" in scene.api.requests[0].headers


@pytest.mark.parametrize(
    "use",
    [
        lambda session: session.get("https://api.example"),
        lambda session: session.send(Request("GET", "https://api.example").prepare()),
        lambda session: session.add_api("https://api.example", scope="a"),
        lambda session: session.tokens.get(),
        lambda session: ClientCredentialsSession.prepare_request(
            session, Request("GET", "http://a")
        ),
    ],
)
@pytest.mark.parametrize("duplicate", [lambda s: s, copy.copy])
def test_a_session_whose_init_was_not_called_says_what_to_write(use: Any, duplicate: Any) -> None:
    session = duplicate(made_of(Alone, ClientCredentialsSession)(*CLIENT))
    with pytest.raises(ConfigurationError, match=r"write super\(\).__init__\(\*args, \*\*kwargs\)"):
        use(session)
    session.close()


@pytest.mark.parametrize("method", ["get", "send"])
def test_a_class_that_calls_no_init_at_all_is_told_the_same(method: str) -> None:
    class Forgetful(ClientCredentialsSession):
        def __init__(self) -> None:
            self.name = "mine"

    request: Any = "https://api.example"
    if method == "send":
        request = Request("GET", request).prepare()
    with pytest.raises(ConfigurationError, match=r"write super\(\).__init__\(\*args, \*\*kwargs\)"):
        getattr(Forgetful(), method)(request)


def test_an_unknown_attribute_raises_the_error_of_python(scene: Scene) -> None:
    session: Any = scene.session()
    with pytest.raises(AttributeError, match="no attribute 'token'"):
        _ = session.token
    assert made_of(ClientCredentialsSession, Dynamic)(*CLIENT).token == "the token"


# Tools in the place of `send`


def _mocked(module: str) -> Any:
    """Return what a tool puts in the place of `send`, in a module of this name."""

    def send(session: requests.Session, request: PreparedRequest, **kwargs: Any) -> Response:
        return requests.Session.send(session, request, **kwargs)

    send.__module__ = module
    return send


def test_a_mock_of_one_session_is_reported_once(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    session, send = scene.session(), _mocked("requests_mock.mocker")
    vars(session)["send"] = send.__get__(session)
    for _ in range(3):
        assert session.get(scene.url).status_code == 401
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert scene.auth.client_id in record.message
    assert "requests_mock.Mocker() without session=" in record.message
    vars(session)["send"] = send.__get__(session)  # the mock of the next test
    session.get(scene.url, auth=("a", "b"))
    assert len(caplog.records) == 1


def test_other_replacements_of_send_are_not_reported(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    session: Any = scene.session()
    session.send = partial(session.send, timeout=20)
    assert session.get(scene.url).status_code == 200
    assert caplog.records == []


# Tokens that are bound to a certificate


@pytest.fixture
def tls(certificates: Certificates) -> ssl.SSLContext:
    return certificates.server_context()


@pytest.fixture
def bound(scene: Scene, certificates: Certificates) -> ClientCredentialsSession:
    """Return a session that authenticates by a certificate."""
    scene.auth.add_client("by-certificate")
    method = TLSClientAuth(certificates.client.pair)
    session = ClientCredentialsSession(scene.auth.token_url, "by-certificate", client_auth=method)
    session.verify = certificates.ca_bundle
    session.trust_env = False
    return scene.stack.enter_context(session)


def with_certificate(api: ProtectedAPI) -> list[bool]:
    """Return which requests came over a connection with a client certificate."""
    return [seen.peer_certificate is not None for seen in api.requests]


def test_the_certificate_is_used_with_the_token_and_for_the_replay(
    scene: Scene, bound: ClientCredentialsSession, tls: ssl.SSLContext
) -> None:
    with ProtectedAPI(scene.auth, tls=tls) as api:
        api.refuse_next()
        assert bound.get(f"{api.url}/x").status_code == 200
        assert with_certificate(api) == [True, True]
        assert trail(api) == [("/x", 1), ("/x", 2)]
        # The certificate may have been replaced meanwhile, and a connection keeps the old one.
        assert api.connections == 2


def test_the_certificate_is_not_used_for_a_redirect_to_another_api(
    scene: Scene, bound: ClientCredentialsSession, tls: ssl.SSLContext
) -> None:
    with ProtectedAPI(scene.auth, tls=tls) as api, ProtectedAPI(scene.auth, tls=tls) as other:
        bound.get(f"{api.url}/redirect-to?url={other.url}/x")
        bound.get(f"{api.url}/redirect-to?url=/x")
        assert with_certificate(api) == [True, True, True]
        assert with_certificate(other) == [False]


def test_a_certificate_of_the_caller_is_used_instead(
    scene: Scene, bound: ClientCredentialsSession, tls: ssl.SSLContext, certificates: Certificates
) -> None:
    theirs = certificates.other_client
    with ProtectedAPI(scene.auth, tls=tls) as api, ProtectedAPI(scene.auth, tls=tls) as other:
        bound.get(f"{api.url}/redirect-to?url={other.url}/x", cert=theirs.pair)
        bound.cert = theirs.pair
        bound.get(f"{api.url}/x")
        seen = [request.peer_certificate for request in (*api.requests, *other.requests)]
    expected = ssl.PEM_cert_to_DER_cert(Path(theirs.cert_path).read_text())
    assert seen == [expected] * 3


# What a request costs


def test_a_warm_request_makes_at_most_15_calls_in_at_most_6_files_beside_the_shortcut(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    with session_for(auth) as session:
        session.get(f"{api.url}/x")
        trail = follow(lambda: session.get(f"{api.url}/x"))
    calls = zip(trail.files, trail.names, strict=True)
    beside = [call for call in calls if call[0] != "api_request/shortcut.py"]
    assert len(beside) <= 15, beside
    assert len({file for file, _ in beside}) <= 6, beside
    assert len(trail.names) - len(beside) <= 14, trail.names


def test_a_request_that_is_refused_and_replayed_changes_files_at_most_95_times(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    with session_for(auth) as session:
        session.get(api.url)
        auth.revoke_all()
        trail = follow(lambda: session.get(api.url))
    assert auth.issued[1:], "the token was not replaced"
    assert trail.changes <= 95, trail.files


@pytest.mark.unmeasured
@pytest.mark.parametrize("is_refused", [False, True], ids=["warm", "refused"])
def test_the_number_of_calls_is_the_same_for_1_and_for_100_prefixes(
    auth: AuthorizationServer, api: ProtectedAPI, is_refused: bool
) -> None:
    counts = []
    for number in (1, 100):
        with session_for(auth, "a") as session:
            for path in range(number):
                session.add_api(f"{api.url}/api/{path}", scope="b")
            session.get(f"{api.url}/api/0/x")
            if is_refused:
                auth.revoke_all()
            trail = follow(lambda: session.get(f"{api.url}/api/0/x"))
        # What is searched for depends on the characters of the token.
        calls = zip(trail.files, trail.names, strict=True)
        counts.append([name for file, name in calls if not file.startswith("redaction")])
    assert counts[0] == counts[1]
