"""Tests of one exchange with an authorization server: its bounds, and whose transport it uses."""

from __future__ import annotations

import copy
import gc
import gzip
import logging
import os
import pickle
import ssl
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme
from requests import PreparedRequest, Response, Session
from requests.adapters import BaseAdapter, HTTPAdapter
from requests.utils import select_proxy
from urllib3.exceptions import ReadTimeoutError
from urllib3.util import Retry

from oauthcc import (
    ClientCredentialsAuth,
    ClientCredentialsSession,
    ConfigurationError,
    InvalidTokenResponse,
    OAuthCCError,
    TokenEndpointTimeout,
    TokenEndpointUnreachable,
    TokenError,
    fetch_token,
)
from oauthcc.testing import Answer, AuthorizationServer, Fault, ProtectedAPI, faults
from oauthcc.token_request import transport

from .clock import flights_done, skip_pauses, until
from .inside import flight_of
from .internet import TOKEN_URL, Internet
from .scripts import run_script
from .servers.connect_proxy import ConnectProxy
from .sessions import connected, session_for


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    skip_pauses(monkeypatch)


class HandMade(BaseAdapter):
    """An adapter that answers by calling a function."""

    def __init__(self, answer: Callable[[PreparedRequest], Response]) -> None:
        super().__init__()
        self.answer = answer

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        return self.answer(request)

    def close(self) -> None:
        pass


def raising(error: Exception) -> HandMade:
    def answer(request: PreparedRequest) -> Response:
        raise error

    return HandMade(answer)


# -- whose transport ------------------------------------------------------------------------------


def test_the_endpoint_uses_the_transport_of_the_session_and_nothing_else_of_it() -> None:
    net = Internet()
    with connected(net) as session:
        session.verify, session.cert = "/their/ca.pem", "/their/cert.pem"
        session.proxies = {"https": "http://proxy.example:3128"}
        session.headers["X-Api-Key"] = "of-the-api"
        session.headers["Authorization"] = "Key of-the-api"
        session.cookies.set("sid", "of-the-api")
        session.params = {"key": "of-the-api"}
        session.auth = ("of", "the-api")
        called: list[Response] = []
        session.hooks["response"].append(lambda response, **_: called.append(response))
        session.tokens.get()
    (seen,) = net.token_requests
    assert seen.options["verify"] == "/their/ca.pem"
    assert seen.options["proxies"] == {"https": "http://proxy.example:3128"}
    assert seen.options["cert"] is None
    assert seen.url == TOKEN_URL
    assert "of-the-api" not in f"{seen.request.headers} {seen.body!r}"
    assert seen.authorization == "Basic bXktaWQ6bXktc2VjcmV0"
    assert not called


@pytest.mark.parametrize(("theirs", "own"), [(False, "/own/ca.pem"), (True, False)])
def test_what_is_set_on_the_endpoint_wins_over_what_is_set_on_the_session(
    theirs: bool, own: str | bool
) -> None:
    net, other = Internet(), Internet()
    with connected(net) as session:
        session.verify, session.proxies = theirs, {"https": "http://theirs.example"}
        endpoint = session.tokens.endpoint
        endpoint.mount("https://as.example", other)
        endpoint.verify, endpoint.cert, endpoint.trust_env = own, "/own.pem", False
        endpoint.proxies = {"https": "http://own.example"}
        endpoint.headers["User-Agent"] = "of the endpoint"
        session.tokens.get()
        assert (endpoint.verify, endpoint.trust_env) == (own, False)
        assert session.verify is theirs
    (seen,) = other.token_requests
    assert not net.token_requests
    assert seen.options["verify"] == own
    assert seen.options["cert"] == "/own.pem"
    assert seen.options["proxies"] == {"https": "http://own.example"}
    assert seen.request.headers["User-Agent"] == "of the endpoint"


def test_trust_env_is_that_of_the_session_until_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://env.example")
    monkeypatch.setenv("https_proxy", "http://env.example")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    net = Internet()
    with connected(net) as session:
        endpoint = session.tokens.endpoint
        assert endpoint.trust_env is False
        session.tokens.get()
        session.trust_env = True
        session.tokens.renew()
        endpoint.trust_env = False
        session.tokens.renew()
    env = {"https": "http://env.example"}
    assert [seen.options["proxies"] for seen in net.token_requests] == [{}, env, {}]


def test_an_endpoint_without_a_session_behaves_as_requests(auth: AuthorizationServer) -> None:
    own = ClientCredentialsAuth(auth.token_url, auth.client_id, auth.client_secret)
    endpoint = own.tokens.endpoint
    assert endpoint.verify is True
    assert endpoint.trust_env is True
    assert type(endpoint.get_adapter("https://as.example")) is HTTPAdapter
    assert endpoint.get_adapter("HTTPS://as.example") is endpoint.get_adapter("https://x.example")
    assert endpoint.get_adapter("http://as.example") is not endpoint.get_adapter("https://as")
    assert own.tokens.get().access_token == auth.issued[0]
    own.tokens.close()


def test_the_endpoint_works_after_its_session_was_dropped(auth: AuthorizationServer) -> None:
    session = session_for(auth)
    session.verify = "/their/ca.pem"
    source = session.tokens
    assert source.endpoint.verify == "/their/ca.pem"
    session.close()
    del session
    gc.collect()
    assert source.endpoint.verify is True
    assert source.get().access_token
    source.close()


def test_closing_the_endpoint_does_not_close_the_adapters_of_the_session() -> None:
    class Counted(Internet):
        closed = 0

        def close(self) -> None:
            self.closed += 1

    theirs, own = Counted(), Counted()
    session = ClientCredentialsSession(TOKEN_URL, "my-id", "my-secret")
    session.mount("https://", theirs)
    session.tokens.endpoint.mount("https://as.example", own)
    session.tokens.endpoint.close()
    assert (theirs.closed, own.closed) == (0, 1)
    session.close()
    assert (theirs.closed, own.closed) == (1, 2)


def test_a_copy_and_a_pickle_keep_what_was_set_on_the_endpoint() -> None:
    session = ClientCredentialsSession(TOKEN_URL, "my-id", "my-secret")
    endpoint = session.tokens.endpoint
    endpoint.verify, endpoint.trust_env = "/own/ca.pem", False
    endpoint.proxies, endpoint.cert = {"https": "http://own.example"}, "/own.pem"
    endpoint.mount("https://as.example", HTTPAdapter(max_retries=7))
    endpoint.register_compliance_hook("access_token_response", unchanged)
    for copied in (pickle.loads(pickle.dumps(session)), copy.deepcopy(session)):
        again = pickle.loads(pickle.dumps(copied))  # also before its endpoint was made
        for one in (copied.tokens.endpoint, again.tokens.endpoint):
            adapter: Any = one.get_adapter(TOKEN_URL)
            assert one is not endpoint
            assert (one.verify, one.trust_env) == ("/own/ca.pem", False)
            assert (one.proxies, one.cert) == ({"https": "http://own.example"}, "/own.pem")
            assert adapter.max_retries.total == 7
            assert unchanged in one.compliance_hook["access_token_response"]
        copied.close()
        again.close()
    session.close()


def unchanged(response: Response) -> Response:
    return response


# -- inherited methods ----------------------------------------------------------------------------

INHERITED: dict[str, Callable[[Any, AuthorizationServer], object]] = {
    "request": lambda e, auth: e.request("POST", auth.token_url),
    "get": lambda e, auth: e.get(f"{auth.url}/orders"),
    "post": lambda e, auth: e.post(auth.token_url, data={"a": "b"}),
    "fetch_token": lambda e, auth: e.fetch_token(auth.token_url, client_secret=auth.client_secret),
    "refresh_token": lambda e, auth: e.refresh_token(auth.token_url, refresh_token="r3fr3sh"),
}
ADVICE = (
    r"call session\.tokens\.get\(\) for the current token, or session\.tokens\.renew\(\)"
    r".*no refresh token.*use the session for API requests"
)


@pytest.mark.parametrize("method", INHERITED)
def test_an_inherited_method_raises_advice_and_neither_sends_nor_logs(
    auth: AuthorizationServer, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    caplog.set_level(logging.DEBUG)
    with session_for(auth) as session, pytest.raises(ConfigurationError, match=ADVICE):
        INHERITED[method](session.tokens.endpoint, auth)
    assert not auth.requests
    assert not caplog.records


# -- redirects ------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_client_credentials_never_follow_a_redirect(auth: AuthorizationServer, status: int) -> None:
    with AuthorizationServer() as other, session_for(auth) as session:
        for location in (other.token_url, f"{auth.url}/elsewhere"):
            auth.answer_next(faults.redirect(location, status))
            with pytest.raises(
                InvalidTokenResponse, match=rf"redirects to {location}.*must be the final address"
            ) as caught:
                session.tokens.get()
            assert caught.value.status_code == status
            session.tokens.forget()
        assert not other.requests
    assert len(auth.requests) == len(auth.token_requests) == 2
    assert {seen.path for seen in auth.requests} == {"/token"}


def test_the_endless_body_of_a_redirect_is_not_read_to_its_end(auth: AuthorizationServer) -> None:
    def pour(line: Any) -> None:
        line.send(b"HTTP/1.1 302 Found\r\nLocation: https://as.example/token\r\n\r\n")
        while line.pause(0):
            line.send(b" " * 65536)

    auth.answer_next(Fault("pour", pour))
    with (
        session_for(auth) as session,
        pytest.raises(InvalidTokenResponse, match=r"more than 1 MiB.*check") as caught,
    ):
        session.tokens.get()
    assert caught.value.status_code == 302


# -- faults ---------------------------------------------------------------------------------------

ZIPPED = gzip.compress(b'{"access_token": "abc", "token_type": "Bearer"}' * 50)
FAULTS: dict[str, tuple[Answer | Fault, type[OAuthCCError], str]] = {
    "html": (faults.html(), InvalidTokenResponse, r"Check token_url: it answered with HTML"),
    "empty": (faults.empty(), InvalidTokenResponse, r"Check token_url: the answer is empty"),
    "nothing": (faults.empty(204), InvalidTokenResponse, r"Check token_url: the answer is empty"),
    "truncated": (faults.truncated(), TokenEndpointUnreachable, r"No answer from http://127"),
    "reset": (faults.reset(), TokenEndpointUnreachable, r"No answer from http://127"),
    "cut": (faults.cut(), TokenEndpointUnreachable, r"No answer from http://127"),
    "garbage": (faults.garbage(), TokenEndpointUnreachable, r"No answer from.*BadStatusLine"),
    "a status line of garbage": (
        faults.garbage(b"HTTP/1.1 abc def\r\n\r\n"),
        TokenEndpointUnreachable,
        r"No answer from",
    ),
    "too large": (
        Answer(200, {"Content-Type": "application/json"}, b" " * (2**20 + 1)),
        InvalidTokenResponse,
        r"more than 1 MiB; check that it is the URL of a token endpoint",
    ),
    "endless": (faults.endless(), InvalidTokenResponse, r"more than 1 MiB"),
    "badly compressed": (
        Answer(200, {"Content-Encoding": "gzip"}, b"not gzip at all"),
        InvalidTokenResponse,
        r"badly compressed body",
    ),
    "cut while compressed": (
        faults.garbage(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + ZIPPED[:-20]),
        InvalidTokenResponse,
        r"There is no token",
    ),
    "a bomb": (
        Answer(200, {"Content-Encoding": "gzip"}, gzip.compress(b" " * 20_000_000)),
        InvalidTokenResponse,
        r"more than 1 MiB",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_raises_an_error_of_ours_that_says_what_to_check(
    auth: AuthorizationServer, name: str
) -> None:
    fault, kind, message = FAULTS[name]
    auth.answer_next(fault, None)
    with session_for(auth) as session:
        try:
            session.get("https://api.example/never-reached")
        except requests.RequestException as error:
            caught = error
    assert type(caught) is kind
    assert isinstance(caught, TokenError)
    with pytest.raises(kind, match=message):
        raise caught
    # Every error has the attributes that existing code may read.
    assert caught.error is None
    assert caught.error_description is None
    assert caught.retry_after is None
    assert caught.status_code == getattr(caught.response, "status_code", caught.status_code)
    if kind is TokenEndpointUnreachable:
        assert isinstance(caught, requests.ConnectionError)
        assert caught.response is None
        assert len(auth.token_requests) == 3
    else:
        assert len(auth.token_requests) == 1


def test_the_error_of_a_closed_port_names_its_address() -> None:
    with AuthorizationServer() as gone:
        url = gone.token_url
    with pytest.raises(TokenEndpointUnreachable, match=f"No answer from {url}") as caught:
        fetch_token(url, "my-id", "my-secret")
    assert caught.value.status_code is None


def test_the_error_of_a_name_that_does_not_resolve_quotes_the_transport_error() -> None:
    def unresolved(request: PreparedRequest) -> Response:
        raise requests.ConnectionError("Failed to resolve 'as.example'", request=request)

    with (
        connected(HandMade(unresolved)) as session,
        pytest.raises(TokenEndpointUnreachable, match="Failed to resolve") as caught,
    ):
        session.tokens.get()
    # Not the request that was sent, which contains the secret.
    shown: Any = caught.value.request
    assert (shown.method, shown.body, "Authorization" in shown.headers) == ("POST", None, False)


def test_a_silent_server_is_given_up_after_the_read_timeout(
    auth: AuthorizationServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin(line: Any) -> None:
        line.send(b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"access_token": "ab')
        line.wait_until_closed()

    monkeypatch.setattr(transport, "READ_TIMEOUT", 0.5)
    for fault in (faults.hang(), Fault("half", begin)):
        auth.answer_next(fault)
        with (
            session_for(auth) as session,
            pytest.raises(TokenEndpointTimeout, match="did not answer in time") as caught,
        ):
            session.get("https://api.example/never-reached")
        assert isinstance(caught.value, requests.Timeout)
    # No second attempt follows a timeout: the callers have waited long enough. The server may read
    # a request later than its client gives it up.
    until(lambda: len(auth.token_requests) >= 2)
    assert len(auth.token_requests) == 2


def test_a_server_that_drips_its_body_is_given_up_at_the_deadline(
    auth: AuthorizationServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]

    def drip(line: Any) -> None:
        line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n{")
        now[0] = 60.0
        while line.pause(0.002):
            line.send(b"{")

    monkeypatch.setattr(transport, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    auth.answer_next(Fault("drip", drip))
    with (
        session_for(auth) as session,
        pytest.raises(TokenEndpointTimeout, match="has sent no complete answer in time"),
    ):
        session.tokens.endpoint.send_bounded("POST", auth.token_url, headers={}, deadline=60.0)


def test_a_server_that_drips_its_head_makes_no_caller_wait_beyond_its_timeout(
    auth: AuthorizationServer,
) -> None:
    auth.answer_next(faults.drip(b"{}", interval=0.005, head_too=True))
    with session_for(auth) as session:
        with pytest.raises(TokenEndpointTimeout, match=r"within 0\.05 s.*Pass a longer timeout="):
            session.get("https://api.example/never-reached", timeout=0.05)
        assert flight_of(session.tokens) is not None
    flights_done()


@pytest.mark.parametrize(
    ("left", "timeout"),
    [(100.0, (5.0, 30.0)), (30.0, (5.0, 30.0)), (12.0, (5.0, 12.0)), (2.0, (2.0, 2.0))],
)
def test_a_token_request_is_given_no_more_time_than_is_left_of_its_deadline(
    monkeypatch: pytest.MonkeyPatch, left: float, timeout: tuple[float, float]
) -> None:
    monkeypatch.setattr(transport, "time", types.SimpleNamespace(monotonic=lambda: 1000.0))
    net = Internet()
    with connected(net) as session:
        endpoint = session.tokens.endpoint
        endpoint.send_bounded("POST", TOKEN_URL, headers={}, deadline=1000.0 + left)
    assert net.token_requests[0].options["timeout"] == timeout


@pytest.mark.parametrize("left", [0.0, -60.0])
def test_a_token_request_after_its_deadline_is_given_a_moment(
    monkeypatch: pytest.MonkeyPatch, left: float
) -> None:
    monkeypatch.setattr(transport, "time", types.SimpleNamespace(monotonic=lambda: 1000.0))
    net = Internet()
    with connected(net) as session:
        endpoint, deadline = session.tokens.endpoint, 1000.0 + left
        with pytest.raises(TokenEndpointTimeout):
            endpoint.send_bounded("POST", TOKEN_URL, headers={}, deadline=deadline)
    # Zero or less would be an error of urllib3.
    assert all(0 < part <= 0.01 for part in net.token_requests[0].options["timeout"])


def test_a_deadline_that_is_over_raises_a_timeout(auth: AuthorizationServer) -> None:
    auth.answer_next(faults.hang())
    with session_for(auth) as session, pytest.raises(TokenEndpointTimeout):
        session.tokens.endpoint.send_bounded("GET", auth.token_url, headers={}, deadline=0.0)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionResetError("reset"), TokenEndpointUnreachable),
        (TimeoutError("slow"), TokenEndpointTimeout),
        (ReadTimeoutError(None, "", "slow"), TokenEndpointTimeout),  # type: ignore[arg-type]
        (requests.ConnectionError(ReadTimeoutError(None, "", "x")), TokenEndpointTimeout),  # type: ignore[arg-type]
        (requests.ConnectTimeout("slow"), TokenEndpointTimeout),
        (requests.exceptions.RetryError("too often"), TokenEndpointUnreachable),
        (requests.exceptions.ProxyError("no"), TokenEndpointUnreachable),
        (requests.RequestException(), TokenEndpointUnreachable),
        (requests.exceptions.InvalidURL("odd"), ConfigurationError),
        (FileNotFoundError("no such CA"), ConfigurationError),
        (ValueError("Invalid header value b'x'"), ConfigurationError),
        (InvalidTokenResponse("as it is"), InvalidTokenResponse),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_every_transport_error_becomes_the_error_of_ours_that_fits(
    error: Exception, kind: type[OAuthCCError]
) -> None:
    with connected(raising(error)) as session, pytest.raises(kind) as caught:
        session.tokens.get()
    assert type(caught.value) is kind
    assert caught.value.__cause__ is None
    assert TOKEN_URL in str(caught.value) or isinstance(error, OAuthCCError)


def test_a_transport_error_does_not_quote_what_was_set_on_the_endpoint_and_sent() -> None:
    def quoting(request: PreparedRequest) -> Response:
        raise requests.ConnectionError(f"sent with {request.headers['Cookie']}")

    with connected(HandMade(quoting)) as session:
        session.tokens.endpoint.headers["Cookie"] = "sid=biscuit"
        with pytest.raises(TokenEndpointUnreachable, match=r"sent with \*\*\*"):
            session.tokens.get()


def test_the_message_for_an_unknown_error_has_its_type_and_the_error_is_the_cause() -> None:
    error = RuntimeError("the adapter is broken")
    with (
        connected(raising(error)) as session,
        pytest.raises(TokenError, match="the fetch raised RuntimeError") as caught,
    ):
        session.tokens.get()
    assert caught.value.__cause__ is error


# -- TLS and proxies ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, str]:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    bundle: Path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    return context, str(bundle)


def test_the_error_of_an_untrusted_certificate_says_where_to_set_the_ca(
    certificates: tuple[ssl.SSLContext, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    context, bundle = certificates
    monkeypatch.setattr("oauthcc.tokens.fetcher.ATTEMPTS", 1)
    with AuthorizationServer(tls=context) as auth, session_for(auth, trust_env=False) as session:
        advice = (
            r"No trusted TLS connection.*set session\.verify or session\.tokens\.endpoint.*client"
            " certificate"
        )
        with pytest.raises(TokenEndpointUnreachable, match=advice):
            session.tokens.get()
        session.tokens.forget()
        session.tokens.endpoint.verify = bundle
        assert session.tokens.get().access_token == auth.issued[0]


def test_a_missing_ca_bundle_is_a_configuration_error() -> None:
    with ClientCredentialsSession(TOKEN_URL, "my-id", "my-secret") as session:
        session.trust_env, session.verify = False, "/no/such/ca.pem"
        with pytest.raises(ConfigurationError, match=r"could not be made.*/no/such/ca\.pem"):
            session.tokens.get()


def test_an_https_token_request_goes_through_the_proxy_of_the_session_which_sees_no_secret(
    certificates: tuple[ssl.SSLContext, str],
) -> None:
    context, bundle = certificates
    with (
        ConnectProxy() as proxy,
        AuthorizationServer(tls=context) as auth,
        session_for(auth, trust_env=False) as session,
    ):
        session.verify, session.proxies = bundle, {"https": proxy.url, "http": proxy.url}
        session.tokens.get()
        assert len(auth.token_requests) == len(proxy.heads) == 1
    assert proxy.heads[0].startswith("CONNECT 127.0.0.1:")
    assert "Basic" not in proxy.heads[0]


def test_the_error_of_an_unreachable_proxy_says_where_to_set_proxies(
    certificates: tuple[ssl.SSLContext, str],
) -> None:
    with ConnectProxy() as proxy:
        gone = proxy.url
    with (
        AuthorizationServer(tls=certificates[0]) as auth,
        session_for(auth, trust_env=False) as session,
    ):
        session.tokens.endpoint.proxies = {"https": gone}
        with pytest.raises(TokenEndpointUnreachable, match=r"proxy did not connect.*NO_PROXY"):
            session.tokens.get()


FAR, NEAR, OTHER = "http://proxy.example:3128", "http://user:pw%40@localhost:3128", "http://other:1"
LOCAL = "http://127.0.0.1:8080/token"
#: The token URL, *_PROXY of the environment, the proxies of the endpoint, those of the session, and
#: the proxy that is used.
PROXIES: dict[str, tuple[str, dict[str, str], Any, Any, str | None]] = {
    "environment": (TOKEN_URL, {"https": FAR}, {}, {}, FAR),
    "environment for all": (TOKEN_URL, {"all": FAR}, {}, {}, FAR),
    "endpoint": (TOKEN_URL, {"https": FAR}, {"https": OTHER}, {}, OTHER),
    "session": (TOKEN_URL, {"https": FAR}, {}, {"https": OTHER}, OTHER),
    "endpoint and session": (TOKEN_URL, {}, {"https": OTHER}, {"https": FAR}, OTHER),
    "endpoint for all": (TOKEN_URL, {"https": FAR}, {"all": OTHER}, {"https": FAR}, OTHER),
    "session for the host": (TOKEN_URL, {"https": FAR}, {}, {"https://as.example": OTHER}, OTHER),
    "endpoint for another host": (TOKEN_URL, {"https": FAR}, {"https://b.example": OTHER}, {}, FAR),
    "endpoint for another scheme": (TOKEN_URL, {}, {"http": OTHER}, {"https": FAR}, FAR),
    "none, by the endpoint": (TOKEN_URL, {"https": FAR}, {"https": ""}, {"https": FAR}, None),
    "none, by the session": (TOKEN_URL, {"https": FAR}, {}, {"all": ""}, None),
    "None means nothing": (TOKEN_URL, {"https": FAR}, {"https": None}, {}, FAR),
    "no attribute": (TOKEN_URL, {"https": FAR}, None, None, FAR),
    "NO_PROXY": (TOKEN_URL, {"https": FAR, "no": "as.example"}, {}, {}, None),
    "NO_PROXY and code": (TOKEN_URL, {"no": "as.example"}, {}, {"https": OTHER}, OTHER),
    "no_proxy in code": (TOKEN_URL, {"https": FAR}, {}, {"no_proxy": "as.example"}, None),
    "local, environment": (LOCAL, {"http": FAR}, {}, {}, None),
    "local, environment for all": (LOCAL, {"all": "socks5h://proxy.example"}, {}, {}, None),
    "local, proxy on loopback": (LOCAL, {"http": NEAR}, {}, {}, NEAR),
    "local, without a scheme": (LOCAL, {"http": "127.0.0.1:3128"}, {}, {}, "127.0.0.1:3128"),
    "local, unreadable": (LOCAL, {"http": "http://[::1"}, {}, {}, None),
    "local, endpoint": (LOCAL, {"http": NEAR}, {"http": FAR}, {}, FAR),
    "local, session": (LOCAL, {"http": FAR}, {}, {"http": OTHER}, OTHER),
    "local with https": (LOCAL.replace("http:", "https:"), {"https": FAR}, {}, {}, FAR),
}


def clean_environment(patch: pytest.MonkeyPatch) -> None:
    """Remove what requests reads in the environment."""
    for name in list(os.environ):
        if name.lower().endswith(("_proxy", "_ca_bundle")):
            patch.delenv(name)


@pytest.mark.parametrize("name", PROXIES)
def test_proxies_in_code_win_over_the_environment(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    url, environment, own, theirs, used = PROXIES[name]
    clean_environment(monkeypatch)
    for scheme, proxy in environment.items():
        monkeypatch.setenv(f"{scheme}_proxy", proxy)
    seen = Seeing()
    with ClientCredentialsSession(url, "my-id", "my-secret") as session:
        session.proxies, session.tokens.endpoint.proxies = theirs, own
        session.tokens.endpoint.mount(url, seen)
        session.tokens.get()
        assert (session.proxies, session.tokens.endpoint.proxies) == (theirs, own)
    assert (select_proxy(url, seen.options["proxies"]) or None) == used


class Seeing(BaseAdapter):
    """An adapter that keeps the options of a token request, and answers it."""

    def send(self, request: PreparedRequest, **options: Any) -> Response:  # type: ignore[override]
        self.options = options
        response = Response()
        response.status_code, response.url, response.request = 200, str(request.url), request
        response._content = b'{"access_token": "abc", "token_type": "Bearer"}'
        return response

    def close(self) -> None:
        pass


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
@pytest.mark.parametrize(
    ("own", "theirs", "used"),
    [
        (None, True, "/env.pem"),
        (True, "/session.pem", "/env.pem"),
        (None, "/session.pem", "/session.pem"),
        (None, False, False),
        ("/own.pem", True, "/own.pem"),
        ("/own.pem", "/session.pem", "/own.pem"),
        (False, "/session.pem", False),
    ],
)
def test_a_ca_file_in_code_wins_over_the_environment(
    monkeypatch: pytest.MonkeyPatch, variable: str, own: Any, theirs: Any, used: Any
) -> None:
    clean_environment(monkeypatch)
    monkeypatch.setenv(variable, "/env.pem")
    seen = Seeing()
    with ClientCredentialsSession(TOKEN_URL, "my-id", "my-secret") as session:
        session.verify = theirs
        session.tokens.endpoint.mount("https://", seen)
        if own is not None:
            session.tokens.endpoint.verify = own
        session.tokens.get()
    assert seen.options["verify"] == used


def test_a_token_comes_over_tls_with_the_ca_in_code_whatever_the_environment_names(
    certificates: tuple[ssl.SSLContext, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    context, bundle = certificates
    clean_environment(monkeypatch)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", requests.certs.where())
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with ConnectProxy() as proxy, AuthorizationServer(tls=context) as auth:
        with session_for(auth) as session:
            session.verify, session.proxies = bundle, {"https": proxy.url}
            session.tokens.get()
        with session_for(auth) as session:
            session.tokens.endpoint.verify = bundle
            session.tokens.endpoint.proxies = {"https": ""}
            session.tokens.get()
        assert (len(proxy.heads), len(auth.token_requests)) == (1, 2)


def test_an_adapter_of_the_user_sends_the_token_request_and_the_api_request(
    auth: AuthorizationServer,
) -> None:
    class Named(HTTPAdapter):
        urls: list[str]

        def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
            self.urls.append(str(request.url))
            return super().send(request, *args, **kwargs)

    mine = Named(max_retries=Retry(0))
    mine.urls = []
    with ProtectedAPI(auth) as api, session_for(auth) as session:
        session.mount("http://", mine)
        session.get(f"{api.url}/x")
        assert mine.urls == [auth.token_url, f"{api.url}/x"]


def test_a_body_that_the_adapter_has_read_is_accepted() -> None:
    def already_read(request: PreparedRequest) -> Response:
        response = Response()
        response.status_code, response.url = 200, str(request.url)
        response._content = b'{"access_token": "abc", "token_type": "Bearer"}'
        response.request = request
        return response

    with connected(HandMade(already_read)) as session:
        assert session.tokens.get().access_token == "abc"


def test_get_adapter_is_called_with_url_as_a_keyword_as_requests_does(
    auth: AuthorizationServer,
) -> None:
    class Chosen(ClientCredentialsSession):
        def get_adapter(self, **given: Any) -> BaseAdapter:  # type: ignore[override]
            return super().get_adapter(given["url"])

    client = auth.token_url, auth.client_id, auth.client_secret
    with ProtectedAPI(auth) as api, Chosen(*client) as session:
        session.get(f"{api.url}/x")
        auth.revoke_all()
        assert session.get(f"{api.url}/x").status_code == 200


CACHING = """\
import requests

class Caching(requests.Session):
    answers = {}

    def send(self, request, **kwargs):
        key = request.method, request.url, request.body
        if key not in self.answers:
            self.answers[key] = super().send(request, **kwargs)
        return self.answers[key]

HERE

from oauthcc import ClientCredentialsSession, fetch_token
from oauthcc.testing import AuthorizationServer, ProtectedAPI

with AuthorizationServer() as auth, ProtectedAPI(auth) as api:
    client = auth.token_url, auth.client_id, auth.client_secret
    with ClientCredentialsSession(*client) as session:
        assert session.get(api.url + "/a").status_code == 200
        auth.revoke_all()
        assert session.get(api.url + "/b").status_code == 200
        fetch_token(*client)
    assert len(auth.issued) == 3, auth.issued
    assert not any(url == auth.token_url for _, url, _ in Caching.answers)
"""


@pytest.mark.parametrize(
    "replace",
    [
        "requests.Session = requests.sessions.Session = Caching",
        "requests.Session = Caching",
        "import requests_oauthlib; requests.Session = requests.sessions.Session = Caching",
        "import oauthcc; requests.Session = requests.sessions.Session = Caching",
        "from oauthcc import Token; requests.Session = requests.sessions.Session = Caching",
    ],
    ids=["before", "one name", "between", "before the first use", "after"],
)
def test_a_class_that_caches_answers_keeps_no_token(tmp_path: Path, replace: str) -> None:
    script = tmp_path / "caching.py"
    script.write_text(CACHING.replace("HERE", replace))
    run_script(script)


def test_no_token_request_may_be_cached(auth: AuthorizationServer) -> None:
    with session_for(auth) as session:
        session.tokens.get()
    assert auth.token_requests[0].headers["Cache-Control"] == "no-store"


def as_requests_mock_does(patch: pytest.MonkeyPatch) -> None:
    """Hold one lock around every `send`, and leave the `get_adapter` of requests on the session."""
    lock, send, get_adapter = threading.RLock(), Session.send, Session.get_adapter

    def fake(self: Session, request: PreparedRequest, **kwargs: Any) -> Response:
        if not lock.acquire(timeout=10):
            raise RuntimeError("possible deadlock scenario")
        try:
            return send(self, request, **kwargs)
        finally:
            self.get_adapter = types.MethodType(get_adapter, self)  # type: ignore[method-assign]
            lock.release()

    fake.__module__ = "requests_mock.mocker"
    patch.setattr(Session, "send", fake)


def test_a_token_is_renewed_under_requests_mock_too(
    auth: AuthorizationServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_requests_mock_does(monkeypatch)
    with ProtectedAPI(auth) as api, session_for(auth) as session:
        for _ in range(3):
            assert session.get(f"{api.url}/x").status_code == 200
            auth.revoke_all()
    assert len(auth.token_requests) == 3
