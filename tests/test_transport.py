"""One exchange with an authorization server: bounded, and with the wires of the owner alone."""

from __future__ import annotations

import copy
import gc
import gzip
import pickle
import ssl
import threading
import time
import types
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme
from requests import PreparedRequest, Response, Session
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3.exceptions import ReadTimeoutError
from urllib3.util import Retry

from oauthcc import (
    ClientCredentialsAuth,
    ClientCredentialsSession,
    ConfigurationError,
    InvalidTokenResponse,
    OAuthCCError,
    TokenEndpointTimeout,
    TokenEndpointUnavailable,
    TokenEndpointUnreachable,
    TokenError,
    exchange,
    fetch_token,
)
from oauthcc.testing import Answer, AuthorizationServer, Fault, ProtectedAPI, faults
from tests.clock import until
from tests.internet import TOKEN_URL, Internet
from tests.servers.connect_proxy import ConnectProxy

from .inside import flight_of, state_of


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oauthcc.token_request.endpoint.time.sleep", lambda _seconds: None)


def session_for(auth: AuthorizationServer, **options: Any) -> ClientCredentialsSession:
    session = ClientCredentialsSession(
        auth.token_url, auth.client_id, auth.client_secret, **options
    )
    session.trust_env = False
    return session


def connected(net: Internet) -> ClientCredentialsSession:
    session = ClientCredentialsSession(TOKEN_URL, "my-id", "my-secret")
    session.trust_env = False
    session.mount("https://", net)
    return session


# -- whose transport ------------------------------------------------------------------------------


def test_the_transport_is_the_owners_and_everything_else_is_not() -> None:
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


def test_what_is_set_on_the_endpoint_itself_goes_before_what_is_the_owners() -> None:
    net, other = Internet(), Internet()
    with connected(net) as session:
        session.verify, session.proxies = False, {"https": "http://theirs.example"}
        endpoint = session.tokens.endpoint
        endpoint.mount("https://as.example", other)
        endpoint.verify, endpoint.cert, endpoint.trust_env = "/own/ca.pem", "/own.pem", False
        endpoint.proxies = {"https": "http://own.example"}
        endpoint.headers["User-Agent"] = "of the endpoint"
        session.tokens.get()
        assert (endpoint.verify, endpoint.trust_env) == ("/own/ca.pem", False)
    (seen,) = other.token_requests
    assert not net.token_requests
    assert seen.options["verify"] == "/own/ca.pem"
    assert seen.options["cert"] == "/own.pem"
    assert seen.options["proxies"] == {"https": "http://own.example"}
    assert seen.request.headers["User-Agent"] == "of the endpoint"


def test_verify_false_on_the_endpoint_is_heard_as_well() -> None:
    net = Internet()
    with connected(net) as session:
        session.tokens.endpoint.verify = False
        session.tokens.get()
        assert session.verify is True
    assert net.token_requests[0].options["verify"] is False


def test_trust_env_is_the_owners_until_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_without_an_owner_all_is_as_in_requests(auth: AuthorizationServer) -> None:
    own = ClientCredentialsAuth(auth.token_url, auth.client_id, auth.client_secret)
    endpoint = own.tokens.endpoint
    assert endpoint.verify is True
    assert endpoint.trust_env is True
    assert type(endpoint.get_adapter("https://as.example")) is HTTPAdapter
    assert endpoint.get_adapter("HTTPS://as.example") is endpoint.get_adapter("https://x.example")
    assert endpoint.get_adapter("http://as.example") is not endpoint.get_adapter("https://as")
    assert own.tokens.get().access_token == auth.issued[0]
    own.tokens.close()


def test_the_endpoint_outlives_an_owner_that_was_dropped(auth: AuthorizationServer) -> None:
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


def test_closing_the_endpoint_leaves_the_owners_adapters_open() -> None:
    class Counted(Internet):
        closed = 0

        def close(self) -> None:
            self.closed += 1

    theirs, own = Counted(), Counted()
    session = connected(theirs)
    session.tokens.endpoint.mount("https://as.example", own)
    session.tokens.endpoint.close()
    assert (theirs.closed, own.closed) == (0, 1)
    session.close()
    assert (theirs.closed, own.closed) == (1, 2)


def test_what_was_set_on_the_endpoint_survives_pickle_and_copy() -> None:
    session = ClientCredentialsSession(TOKEN_URL, "my-id", "my-secret")
    endpoint = session.tokens.endpoint
    endpoint.verify, endpoint.trust_env = "/own/ca.pem", False
    endpoint.proxies, endpoint.cert = {"https": "http://own.example"}, "/own.pem"
    endpoint.mount("https://as.example", HTTPAdapter(max_retries=7))
    for twin in (pickle.loads(pickle.dumps(session)), copy.deepcopy(session)):
        again = pickle.loads(pickle.dumps(twin))  # also before its endpoint was made
        for one in (twin.tokens.endpoint, again.tokens.endpoint):
            adapter: Any = one.get_adapter(TOKEN_URL)
            assert one is not endpoint
            assert (one.verify, one.trust_env) == ("/own/ca.pem", False)
            assert (one.proxies, one.cert) == ({"https": "http://own.example"}, "/own.pem")
            assert adapter.max_retries.total == 7
        twin.close()
        again.close()
    session.close()


def test_compliance_hooks_survive_a_copy() -> None:
    session = ClientCredentialsSession(TOKEN_URL, "my-id", "my-secret")
    session.tokens.endpoint.register_compliance_hook("access_token_response", unchanged)
    twin = pickle.loads(pickle.dumps(session))
    assert unchanged in twin.tokens.endpoint.compliance_hook["access_token_response"]
    twin.close()
    session.close()


def unchanged(response: Response) -> Response:
    return response


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
            state_of(session.tokens).failure = None
        assert not other.requests
    assert len(auth.requests) == len(auth.token_requests) == 2
    assert {seen.path for seen in auth.requests} == {"/token"}


def test_an_endless_body_under_a_redirect_is_not_read_to_its_end(auth: AuthorizationServer) -> None:
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
        r"No token came",
    ),
    "a bomb": (
        Answer(200, {"Content-Encoding": "gzip"}, gzip.compress(b" " * 20_000_000)),
        InvalidTokenResponse,
        r"more than 1 MiB",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_is_one_of_our_errors_and_says_what_to_look_at(
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
    # What old code may ask of an error is there, whatever happened.
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


def test_an_endpoint_that_is_not_there_is_told_by_its_address(auth: AuthorizationServer) -> None:
    with AuthorizationServer() as gone:
        url = gone.token_url
    with pytest.raises(TokenEndpointUnreachable, match=f"No answer from {url}") as caught:
        fetch_token(url, "my-id", "my-secret")
    assert caught.value.status_code is None


def test_a_name_that_does_not_resolve_is_told_by_its_address() -> None:
    class Nowhere(BaseAdapter):
        def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
            raise requests.ConnectionError("Failed to resolve 'as.example'", request=request)

        def close(self) -> None:
            pass

    with ClientCredentialsSession(TOKEN_URL, "my-id", "my-secret") as session:
        session.mount("https://", Nowhere())
        with pytest.raises(TokenEndpointUnreachable, match="Failed to resolve") as caught:
            session.tokens.get()
        assert caught.value.request is None


def test_a_server_that_says_nothing_is_left_after_the_read_timeout(
    auth: AuthorizationServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin(line: Any) -> None:
        line.send(b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"access_token": "ab')
        line.wait_until_closed()

    monkeypatch.setattr(exchange, "READ_TIMEOUT", 0.5)
    for fault in (faults.hang(), Fault("half", begin)):
        auth.answer_next(fault)
        with (
            session_for(auth) as session,
            pytest.raises(TokenEndpointTimeout, match="did not answer in time") as caught,
        ):
            session.get("https://api.example/never-reached")
        assert isinstance(caught.value, requests.Timeout)
    # A timeout is not tried again: the callers have waited long enough. The server may see the
    # request later than that.
    until(lambda: len(auth.token_requests) >= 2)
    assert len(auth.token_requests) == 2


def test_a_server_that_drips_is_left_at_the_deadline(auth: AuthorizationServer) -> None:
    auth.answer_next(faults.drip(b"{" * 10_000, interval=0.002))
    with (
        session_for(auth) as session,
        pytest.raises(TokenEndpointTimeout, match="did not finish its answer in time"),
    ):
        session.tokens.endpoint.exchange(
            "POST", auth.token_url, headers={}, deadline=time.monotonic() + 0.1
        )


def test_a_caller_leaves_a_server_that_drips_its_head(auth: AuthorizationServer) -> None:
    auth.answer_next(faults.drip(b"{}", interval=0.005, head_too=True))
    with session_for(auth) as session:
        with pytest.raises(
            TokenEndpointTimeout, match=r"within 0\.05 seconds.*Allow more by timeout"
        ):
            session.get("https://api.example/never-reached", timeout=0.05)
        flight = flight_of(session.tokens)
        assert flight is not None
    assert flight._landed.wait(10)


def test_a_deadline_that_is_over_is_a_timeout_and_not_a_crash(auth: AuthorizationServer) -> None:
    auth.answer_next(faults.hang())
    with session_for(auth) as session, pytest.raises(TokenEndpointTimeout):
        session.tokens.endpoint.exchange("GET", auth.token_url, headers={}, deadline=0.0)


class Raises(BaseAdapter):
    """A hand-made adapter that raises what requests' own would have dressed."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        raise self.error

    def close(self) -> None:
        pass


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
def test_every_transport_error_becomes_the_one_of_ours_that_fits(
    error: Exception, kind: type[OAuthCCError]
) -> None:
    with ClientCredentialsSession(TOKEN_URL, "my-id", "my-secret") as session:
        session.mount("https://", Raises(error))
        with pytest.raises(kind) as caught:
            session.tokens.get()
    assert type(caught.value) is kind
    assert caught.value.__cause__ is None


def test_an_error_of_another_kind_is_told_by_its_name_and_kept_as_the_cause() -> None:
    error = RuntimeError("the adapter is broken")
    with ClientCredentialsSession(TOKEN_URL, "my-id", "my-secret") as session:
        session.mount("https://", Raises(error))
        with pytest.raises(TokenError, match="RuntimeError was raised on the way") as caught:
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


def test_a_certificate_that_nobody_knows_is_told_with_the_remedy(
    certificates: tuple[ssl.SSLContext, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    context, bundle = certificates
    monkeypatch.setattr("oauthcc.token_request.endpoint.ATTEMPTS", 1)
    with AuthorizationServer(tls=context) as auth, session_for(auth) as session:
        remedy = r"No trusted TLS connection.*set session\.verify or session\.tokens\.endpoint"
        with pytest.raises(TokenEndpointUnreachable, match=remedy):
            session.tokens.get()
        state_of(session.tokens).failure = None
        session.tokens.endpoint.verify = bundle
        assert session.tokens.get().access_token == auth.issued[0]


def test_a_ca_bundle_that_is_missing_is_a_configuration_error() -> None:
    with ClientCredentialsSession(TOKEN_URL, "my-id", "my-secret") as session:
        session.trust_env, session.verify = False, "/no/such/ca.pem"
        with pytest.raises(ConfigurationError, match=r"could not be made.*/no/such/ca\.pem"):
            session.tokens.get()


def test_https_goes_through_the_owners_proxy_which_sees_no_secret(
    certificates: tuple[ssl.SSLContext, str],
) -> None:
    context, bundle = certificates
    with (
        ConnectProxy() as proxy,
        AuthorizationServer(tls=context) as auth,
        session_for(auth) as session,
    ):
        session.verify, session.proxies = bundle, {"https": proxy.url, "http": proxy.url}
        session.tokens.get()
        assert len(auth.token_requests) == len(proxy.heads) == 1
    assert proxy.heads[0].startswith("CONNECT 127.0.0.1:")
    assert "Basic" not in proxy.heads[0]


def test_a_proxy_that_leads_nowhere_is_told_with_the_remedy(
    certificates: tuple[ssl.SSLContext, str],
) -> None:
    with ConnectProxy() as proxy:
        gone = proxy.url
    with AuthorizationServer(tls=certificates[0]) as auth, session_for(auth) as session:
        session.tokens.endpoint.proxies = {"https": gone}
        with pytest.raises(TokenEndpointUnreachable, match=r"proxy did not lead.*NO_PROXY"):
            session.tokens.get()


def test_plain_http_to_this_machine_never_goes_through_a_proxy(
    auth: AuthorizationServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with ConnectProxy() as proxy, session_for(auth) as session:
        session.trust_env = True
        session.proxies = {"http": proxy.url, "all": proxy.url}
        session.tokens.endpoint.proxies = {"http": proxy.url}
        session.tokens.get()
        assert not proxy.heads
    assert len(auth.token_requests) == 1


def test_a_users_adapter_is_asked_for_the_token_as_for_the_api(auth: AuthorizationServer) -> None:
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


def test_the_body_of_an_adapter_that_read_it_already_is_taken() -> None:
    class Ready(BaseAdapter):
        def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
            response = Response()
            response.status_code, response.url = 200, str(request.url)
            response._content = b'{"access_token": "abc", "token_type": "Bearer"}'
            response.request = request
            return response

        def close(self) -> None:
            pass

    with ClientCredentialsSession(TOKEN_URL, "my-id", "my-secret") as session:
        session.mount("https://", Ready())
        assert session.tokens.get().access_token == "abc"


def test_adapters_are_looked_up_by_name_as_requests_does(auth: AuthorizationServer) -> None:
    class Chosen(ClientCredentialsSession):
        def get_adapter(self, **said: Any) -> BaseAdapter:  # type: ignore[override]
            return super().get_adapter(said["url"])

    grant = auth.token_url, auth.client_id, auth.client_secret
    with ProtectedAPI(auth) as api, Chosen(*grant) as session:
        session.get(f"{api.url}/x")
        auth.revoke_all()
        assert session.get(f"{api.url}/x").status_code == 200


def as_requests_mock_does(patch: pytest.MonkeyPatch) -> None:
    """Hold one lock around every `send`, and leave the look-up of requests on the session."""
    lock, send, get_adapter = threading.RLock(), Session.send, Session.get_adapter

    def fake(self: Session, request: PreparedRequest, **kwargs: Any) -> Response:
        if not lock.acquire(timeout=10):
            raise RuntimeError("possible deadlock scenario")
        try:
            return send(self, request, **kwargs)
        finally:
            vars(self)["get_adapter"] = types.MethodType(get_adapter, self)
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


def test_unavailable_is_the_parent_of_all_that_may_pass() -> None:
    for kind in (TokenEndpointUnreachable, TokenEndpointTimeout):
        assert issubclass(kind, TokenEndpointUnavailable)
