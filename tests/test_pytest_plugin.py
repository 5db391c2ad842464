"""The plugin for pytest: its fixtures, and in projects of users what pytest makes of it."""

from __future__ import annotations

import base64
import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import requests
import responses
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

import oauthcc.clock
from oauthcc import (
    ClientAssertion,
    ClientCredentialsAuth,
    ClientCredentialsSession,
    ClientSecretJWT,
    DPoP,
    PrivateKeyJWT,
    TokenEndpointUnavailable,
    TokenEndpointUnreachable,
    TokenRequestDenied,
    fetch_token,
)
from oauthcc.pytest_plugin import MakeEndpoint
from oauthcc.stores import FileStore, MemoryStore
from oauthcc.testing import (
    OMIT,
    Answer,
    AuthorizationServer,
    MockTokenEndpoint,
    MovableClock,
    ProtectedAPI,
    faults,
    forget_tokens,
    oauth_error,
)

from .clock import flights, flights_done, moved_clock, until
from .forked import Child, fork_among_threads, needs_fork
from .projects import Project
from .sessions import session_for

TOKEN_URL, ORDERS = "https://as.example/token", "https://api.example/orders"
KEY = ec.generate_private_key(ec.SECP256R1()).private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
)
FIXTURES = {
    *("mock_token_endpoint", "oauth_clock", "oauth_reset", "oauth_server", "oauth_session"),
    "protected_api",
}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Return a project without files."""
    return Project(tmp_path)


# --- What pytest makes of the plugin.


def test_nothing_heavy_is_imported_before_a_fixture_is_used(project: Project) -> None:
    project.write(
        "conftest.py",
        """
import sys
HEAVY = {"requests", "oauthlib", "urllib3", "http.server", "ssl", "oauthcc.session", "responses"}
def pytest_sessionfinish(session):
    print("LOADED", sorted(HEAVY & set(sys.modules)), "oauthcc.pytest_plugin" in sys.modules)
""",
    )
    project.write("test_a.py", "def test_light(): pass\n\ndef test_b(protected_api): pass\n")
    # Without the plugins of other packages, which may import anything.
    arguments = ("-s", "-q", "-p", "oauthcc", "test_a.py")
    output = project.pytest(*arguments, "-k", "light", PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    assert "LOADED [] True" in output, output
    output = project.pytest(*arguments, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    assert "'http.server', 'oauthlib', 'requests'" in output, output


def test_pytest_shows_the_fixtures_with_what_they_are(project: Project) -> None:
    output = project.pytest("--fixtures")
    shown = output.partition("fixtures defined from oauthcc.pytest_plugin")[2].partition("\n---")[0]
    assert {line.split()[0] for line in shown.splitlines() if " -- " in line} == FIXTURES
    assert "no docstring available" not in shown
    assert "[session scope]" not in shown


def test_the_fixtures_work_together_in_many_processes(project: Project) -> None:
    project.write(
        "test_a.py",
        """
import pytest

@pytest.mark.parametrize("number", range(4))
def test_orders(oauth_session, protected_api, oauth_server, oauth_clock, oauth_reset, number):
    assert oauth_session.get(protected_api.url + "/orders").status_code == 200
    assert len(oauth_server.token_requests) == 1
""",
    )
    assert project.passes("-n", "2", "-W", "error") == 4


def test_without_the_plugin_there_are_no_fixtures(project: Project) -> None:
    project.write("test_a.py", "def test_a(oauth_server): pass\n")
    output = project.pytest("-p", "no:oauthcc")
    assert "fixture 'oauth_server' not found" in output
    assert project.passes() == 1


def test_a_fixture_of_the_project_wins(project: Project) -> None:
    project.write(
        "conftest.py",
        """
import pytest
from oauthcc.testing import AuthorizationServer

@pytest.fixture(scope="session")
def oauth_server():
    with AuthorizationServer("my-id", "my-secret") as server:
        yield server
""",
    )
    project.write(
        "test_a.py",
        """
def test_a(oauth_session, protected_api):
    assert oauth_session.get(protected_api.url).ok
    assert protected_api.auth.client_id == "my-id"

def test_b(oauth_session, protected_api, oauth_server):
    assert oauth_session.get(protected_api.url).ok
    assert len(oauth_server.token_requests) == 2
""",
    )
    assert project.passes() == 2


def test_a_reset_for_all_tests_is_one_line_of_the_configuration(project: Project) -> None:
    project.write("shop.py", "import oauthcc\napi = oauthcc.ClientCredentialsSession.from_env()\n")
    project.write(
        "test_a.py",
        """
import pytest, responses
import shop

@pytest.mark.parametrize("number", range(3))
def test_a(mock_token_endpoint, number):
    endpoint = mock_token_endpoint("https://as.example/token")
    responses.get("https://api.example/orders", json=[])
    shop.api.get("https://api.example/orders")
    assert len(endpoint.requests) == 1
""",
    )
    client = {
        "OAUTH_TOKEN_URL": TOKEN_URL,
        "OAUTH_CLIENT_ID": "my-id",
        "OAUTH_CLIENT_SECRET": "my-secret",
    }
    assert "2 failed, 1 passed" in project.pytest(**client)
    project.write("pytest.ini", "[pytest]\nusefixtures = oauth_reset\n")
    assert project.passes(**client) == 3


def test_the_mock_says_what_to_install(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "responses", None)
    with pytest.raises(pytest.fail.Exception, match="needs the package responses: pip install"):
        request.getfixturevalue("mock_token_endpoint")


# --- The servers and the session.


def test_the_session_is_for_both_servers(
    oauth_session: ClientCredentialsSession,
    oauth_server: AuthorizationServer,
    protected_api: ProtectedAPI,
) -> None:
    assert oauth_session.get(protected_api.url + "/orders").status_code == 200
    assert protected_api.requests[0].token == oauth_server.issued[0]
    with ProtectedAPI(oauth_server) as another:
        assert oauth_session.get(another.url).status_code == 401
    assert another.requests[0].token is None


def test_a_second_server_is_independent(
    oauth_session: ClientCredentialsSession, protected_api: ProtectedAPI
) -> None:
    with AuthorizationServer("other", "other-secret") as auth, ProtectedAPI(auth) as api:
        oauth_session.add_api(
            api.url, token_url=auth.token_url, client_id="other", client_secret="other-secret"
        )
        assert oauth_session.get(api.url).status_code == 200
        assert oauth_session.get(protected_api.url).status_code == 200
        assert len(auth.token_requests) == 1


# --- The reset.


@pytest.fixture(scope="module")
def lasting() -> ClientCredentialsSession:
    """Return a session that lives longer than a test."""
    return ClientCredentialsSession(TOKEN_URL, "my-id", "my-secret")


@pytest.mark.parametrize("number", range(2))
def test_a_session_of_a_longer_scope_begins_without_a_token(
    oauth_reset: None,
    mock_token_endpoint: MakeEndpoint,
    lasting: ClientCredentialsSession,
    number: int,
) -> None:
    endpoint = mock_token_endpoint(TOKEN_URL)
    assert lasting.tokens.get().access_token == endpoint.tokens[0]


def test_tokens_errors_and_pauses_are_forgotten(auth: AuthorizationServer) -> None:
    one, other = session_for(auth), ClientCredentialsAuth(auth.token_url, "no-such-client", "x")
    one.tokens.get()
    with pytest.raises(TokenRequestDenied):
        other.tokens.get()
    forget_tokens()
    one.tokens.get()
    auth.add_client("no-such-client", "x")
    other.tokens.get()
    assert len(auth.token_requests) == 4


def test_a_store_in_memory_is_emptied_and_a_file_is_not(
    auth: AuthorizationServer, tmp_path: Path
) -> None:
    in_memory, in_file = MemoryStore(), FileStore(tmp_path)
    sessions = [session_for(auth, store=store) for store in (in_memory, in_file)]
    before = [session.tokens.get() for session in sessions]
    forget_tokens()
    after = [session.tokens.get() for session in sessions]
    assert after[0] != before[0]
    assert after[1] == before[1]


def test_the_token_of_a_renewal_that_runs_is_not_used_after_the_reset(
    auth: AuthorizationServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = moved_clock(monkeypatch)
    with session_for(auth) as session:
        session.tokens.get()
        clock.advance(3000)
        with auth.hold() as gate:
            session.tokens.get()  # starts a renewal in the background
            gate.wait_for(1)
            running = flights()
            forget_tokens()
        for thread in running:
            thread.join(20)
        until(lambda: len(auth.issued) == 2)
        token = session.tokens.get().access_token
        flights_done()
    assert token == auth.issued[2]


def test_the_token_of_a_renewal_that_runs_does_not_get_into_the_emptied_store(
    auth: AuthorizationServer,
) -> None:
    store = MemoryStore()
    with session_for(auth, store=store) as session, session_for(auth, store=store) as other:
        with auth.hold() as gate:
            late = threading.Thread(target=session.tokens.get)
            late.start()
            gate.wait_for(1)
            forget_tokens()
        late.join(20)
        flights_done()
        assert other.tokens.get().access_token == auth.issued[1]
        assert session.tokens.get().access_token == auth.issued[1]


@needs_fork
@fork_among_threads
def test_a_child_can_forget_what_it_got_from_its_parent(auth: AuthorizationServer) -> None:
    with session_for(auth) as session:
        token = session.tokens.get()

        def child() -> bool:
            forget_tokens()
            return session.tokens.get() != token

        assert Child(child).result() is True
        assert session.tokens.get() == token


# --- The clock.


def test_an_hour_later_the_token_has_expired_on_both_sides(
    oauth_clock: MovableClock,
    oauth_session: ClientCredentialsSession,
    oauth_server: AuthorizationServer,
    protected_api: ProtectedAPI,
) -> None:
    oauth_session.get(protected_api.url)
    before = time.time(), time.monotonic()
    oauth_clock.advance(3601)
    assert time.time() - before[0] < 3000
    assert time.monotonic() - before[1] < 3000
    assert oauth_server.look_up(oauth_server.issued[0]) is None
    assert oauth_session.get(protected_api.url).status_code == 200
    assert [seen.token for seen in protected_api.requests] == oauth_server.issued
    assert len(oauth_server.issued) == 2  # the expired one was not sent, so nothing was refused
    with AuthorizationServer() as later:
        assert later.time() - time.time() > 3000


def test_the_clock_is_put_back_and_tokens_of_the_future_are_dropped(
    auth: AuthorizationServer,
) -> None:
    with session_for(auth) as session:
        with MovableClock():
            first = session.tokens.get()
        assert session.tokens.get() == first
        with MovableClock() as clock:
            with MovableClock() as inner:
                inner.advance(5000)
                second = session.tokens.get()
                assert second != first
                assert auth.time() - time.time() > 4000
            assert oauthcc.clock.system is clock
        assert oauthcc.clock.system is time
        assert session.tokens.get() not in (first, second)
        assert abs(auth.time() - time.time()) < 1000


def test_a_clock_can_be_used_inside_of_itself(oauth_clock: MovableClock) -> None:
    oauth_clock.advance(1000)
    with oauth_clock as inner:
        inner.advance(1000)
        assert inner.time() - time.time() == pytest.approx(2000, abs=500)
    assert oauthcc.clock.system is oauth_clock
    assert oauth_clock.monotonic() - time.monotonic() == pytest.approx(2000, abs=500)
    alone = MovableClock()
    alone.advance(5000)
    assert alone.time() - time.time() == pytest.approx(5000, abs=500)


def test_an_error_is_remembered_until_the_clock_is_moved(
    oauth_clock: MovableClock, auth: AuthorizationServer
) -> None:
    auth.answer_next(faults.unavailable(retry_after="600"))
    with session_for(auth) as session:
        for _ in range(2):
            with pytest.raises(TokenEndpointUnavailable):
                session.tokens.get()
        assert len(auth.token_requests) == 1
        oauth_clock.advance(601)
        assert session.tokens.get()


def test_what_is_signed_says_the_time_of_the_moved_clock(
    oauth_clock: MovableClock, mock_token_endpoint: MakeEndpoint
) -> None:
    oauth_clock.advance(100_000)
    endpoint = mock_token_endpoint(TOKEN_URL, token_type="DPoP")
    secret = "0123456789" * 4
    method = ClientSecretJWT()
    fetch_token(TOKEN_URL, "my-id", secret, client_auth=method, scheme=DPoP())
    asked = endpoint.requests[0]
    for signed in (asked.form["client_assertion"], asked.headers["dpop"]):
        claims = signed.split(".")[1]
        issued_at = json.loads(base64.urlsafe_b64decode(claims + "=="))["iat"]
        assert issued_at - time.time() > 90_000


def test_a_renewal_takes_no_stored_token_that_is_older_than_the_moved_clock(
    oauth_clock: MovableClock, auth: AuthorizationServer
) -> None:
    store = MemoryStore()
    with session_for(auth, store=store) as one, session_for(auth, store=store) as other:
        refused = one.tokens.get()
        assert other.tokens.get() == refused
        oauth_clock.advance(100)
        other.tokens.renew()
        oauth_clock.advance(100)
        assert one.tokens.renew(refused).access_token == auth.issued[2]


# --- The mocked token endpoint.


def test_each_token_request_gets_another_token(mock_token_endpoint: MakeEndpoint) -> None:
    endpoint = mock_token_endpoint(TOKEN_URL, expires_in=60, scope="orders:read")
    responses.get(ORDERS, status=401)
    responses.get(ORDERS, json=[])
    with ClientCredentialsSession(TOKEN_URL, "my-id", "my:secret", "orders:read") as session:
        assert session.get(ORDERS).json() == []
        assert session.tokens.get().lifetime == 60
    sent = [str(call.request.headers["Authorization"]) for call in responses.calls]
    assert [sent[1], sent[3]] == [f"Bearer {token}" for token in endpoint.tokens]
    assert len(set(endpoint.tokens)) == 2
    for asked in endpoint.requests:
        assert (asked.client_id, asked.client_auth) == ("my-id", "client_secret_basic")
        assert asked.form == {"grant_type": "client_credentials", "scope": "orders:read"}
        assert asked.scope == "orders:read"
        assert asked.headers["authorization"].startswith("Basic ")
    shown = f"{endpoint!r} {endpoint.requests!r}"
    for hidden in (*endpoint.tokens, endpoint.requests[0].headers["Authorization"], "my:secret"):
        assert hidden not in shown
    assert TOKEN_URL in repr(endpoint)
    assert "2 requests" in repr(endpoint)


@responses.activate
def test_the_mock_works_with_the_decorator_of_responses(mock_token_endpoint: MakeEndpoint) -> None:
    endpoint = mock_token_endpoint(TOKEN_URL)
    responses.get(ORDERS, json=[])
    with ClientCredentialsSession(TOKEN_URL, "my-id", "my-secret") as session:
        session.get(ORDERS)
    assert len(endpoint.requests) == 1


def test_the_mock_works_in_a_mock_that_is_passed(mock_token_endpoint: MakeEndpoint) -> None:
    with responses.RequestsMock() as mock:
        endpoint = mock_token_endpoint(TOKEN_URL, mock=mock)
        assert fetch_token(TOKEN_URL, "my-id", "my-secret").access_token == endpoint.tokens[0]
    with (
        pytest.raises(AssertionError, match="Not all requests have been executed"),
        responses.RequestsMock() as mock,
    ):
        mock_token_endpoint(TOKEN_URL, mock=mock)
    assert not responses.registered()


def test_two_endpoints_are_two_servers(mock_token_endpoint: MakeEndpoint) -> None:
    other_url = "https://other.example/token"
    one, other = mock_token_endpoint(TOKEN_URL), mock_token_endpoint(other_url)
    fetch_token(other_url, "my-id", "my-secret")
    assert (len(one.requests), len(other.requests)) == (0, 1)


@pytest.fixture
def _nothing_is_left() -> object:
    """Check that the mock is removed after the test, and that it is as it was."""
    send = requests.adapters.HTTPAdapter.send
    yield
    assert requests.adapters.HTTPAdapter.send is send
    assert not responses.registered()


@pytest.mark.usefixtures("_nothing_is_left", "mock_token_endpoint")
def test_nothing_is_mocked_if_no_endpoint_is_registered(
    auth: AuthorizationServer, mock_token_endpoint: MakeEndpoint
) -> None:
    assert fetch_token(auth.token_url, auth.client_id, auth.client_secret)


@pytest.mark.usefixtures("_nothing_is_left")
class TestTheMockIsRemoved:
    def test_after_one_endpoint(self, mock_token_endpoint: MakeEndpoint) -> None:
        mock_token_endpoint(TOKEN_URL)

    def test_after_two_endpoints(self, mock_token_endpoint: MakeEndpoint) -> None:
        mock_token_endpoint(TOKEN_URL)
        mock_token_endpoint(ORDERS)


def test_a_mock_that_was_active_before_stays_active(project: Project) -> None:
    project.write(
        "test_a.py",
        """
import pytest, requests, responses

@pytest.fixture(scope="module", autouse=True)
def mocked():
    with responses.mock:
        responses.get("https://api.example/orders", json=[])
        yield

def test_a(mock_token_endpoint):
    mock_token_endpoint("https://as.example/token")

def test_b():
    assert requests.get("https://api.example/orders").json() == []
""",
    )
    assert project.passes() == 2


def test_a_token_request_can_fail(mock_token_endpoint: MakeEndpoint) -> None:
    endpoint = mock_token_endpoint(TOKEN_URL)
    with ClientCredentialsSession(TOKEN_URL, "my-id", "my-secret") as session:
        tokens = session.tokens
        endpoint.fail_next("invalid_scope", description="no such scope")
        with pytest.raises(TokenRequestDenied, match="no such scope") as denied:
            tokens.get()
        assert (denied.value.error, denied.value.status_code) == ("invalid_scope", 400)
        tokens.forget()
        endpoint.fail_next()
        with pytest.raises(TokenRequestDenied) as denied:
            tokens.get()
        assert (denied.value.error, denied.value.status_code) == ("invalid_client", 401)
        tokens.forget()
        endpoint.fail_next(oauth_error("invalid_client", status=403))
        with pytest.raises(TokenRequestDenied) as denied:
            tokens.get()
        assert denied.value.status_code == 403
        tokens.forget()
        endpoint.fail_next(faults.unavailable(retry_after="60"))
        with pytest.raises(TokenEndpointUnavailable) as unavailable:
            tokens.get()
        assert unavailable.value.retry_after == pytest.approx(60, abs=5)
        tokens.forget()
        assert tokens.get().access_token == endpoint.tokens[0]
    assert len(endpoint.requests) == 5
    assert len(endpoint.tokens) == 1


def test_a_connection_can_fail_as_often_as_it_is_tried(
    mock_token_endpoint: MakeEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved_clock(monkeypatch)
    endpoint = mock_token_endpoint(TOKEN_URL)
    endpoint.fail_next(requests.ConnectionError("down"), 100)
    with pytest.raises(TokenEndpointUnreachable):
        fetch_token(TOKEN_URL, "my-id", "my-secret")
    assert endpoint.tokens == []


def test_a_fault_of_a_real_socket_cannot_be_mocked(mock_token_endpoint: MakeEndpoint) -> None:
    endpoint = mock_token_endpoint(TOKEN_URL)
    with pytest.raises(TypeError, match="not Fault"):
        endpoint.fail_next(faults.hang())  # type: ignore[arg-type]


@pytest.mark.parametrize("n", [0, -1, None])
def test_a_wrong_number_of_failures_is_refused(mock_token_endpoint: MakeEndpoint, n: Any) -> None:
    endpoint = mock_token_endpoint(TOKEN_URL)
    with pytest.raises(ValueError, match="the number of requests"):
        endpoint.fail_next("invalid_client", n)


def test_the_body_of_a_failure_may_be_in_pieces(mock_token_endpoint: MakeEndpoint) -> None:
    endpoint = mock_token_endpoint(TOKEN_URL)
    pieces = iter([b'{"error": ', b'"invalid_scope"}'])
    endpoint.fail_next(Answer(400, {"Content-Type": "application/json"}, pieces))
    with pytest.raises(TokenRequestDenied, match="invalid_scope"):
        fetch_token(TOKEN_URL, "my-id", "my-secret")


def test_the_members_of_the_response_are_those_of_the_call(
    mock_token_endpoint: MakeEndpoint,
) -> None:
    mock_token_endpoint(TOKEN_URL, expires_in=OMIT, hint="seven")
    token = fetch_token(TOKEN_URL, "my-id", "my-secret")
    assert token.expires_at is None
    assert token.extra["hint"] == "seven"


@pytest.mark.parametrize(
    ("how", "options"),
    [
        ("client_secret_basic", {}),
        ("client_secret_post", {"client_auth": "client_secret_post"}),
        ("client_secret_post", {"client_auth": "client_secret_post", "token_body": "json"}),
        ("client_secret_jwt", {"client_auth": ClientSecretJWT()}),
        ("private_key_jwt", {"client_secret": None, "client_auth": PrivateKeyJWT(KEY)}),
        ("private_key_jwt", {"client_secret": None, "client_auth": ClientAssertion(lambda: "a.b")}),
        (
            "private_key_jwt",
            {"client_secret": None, "client_auth": ClientAssertion(lambda: "a.W10.")},
        ),
        ("none", {"client_secret": None, "client_auth": "none"}),
    ],
)
def test_it_says_how_the_client_authenticated(
    mock_token_endpoint: MakeEndpoint, how: str, options: dict[str, object]
) -> None:
    endpoint = mock_token_endpoint(TOKEN_URL)
    secret = "0123456789" * 4
    fetch_token(TOKEN_URL, "my-id", **{"client_secret": secret, **options})
    assert endpoint.requests[0].client_auth == how
    assert endpoint.requests[0].form["grant_type"] == "client_credentials"
    assert secret not in repr(endpoint.requests)


def test_a_request_of_another_program_is_read_too(mock_token_endpoint: MakeEndpoint) -> None:
    endpoint = mock_token_endpoint(TOKEN_URL)
    requests.post(TOKEN_URL)
    asked = endpoint.requests[0]
    assert (asked.client_id, asked.client_auth, asked.form) == (None, "none", {})


@responses.activate
def test_an_endpoint_can_be_made_without_pytest() -> None:
    endpoint = MockTokenEndpoint(TOKEN_URL)
    assert fetch_token(TOKEN_URL, "my-id", "my-secret").access_token == endpoint.tokens[0]


def test_a_token_is_not_that_of_another_thread(mock_token_endpoint: MakeEndpoint) -> None:
    class Tokens(list[str]):
        def append(self, token: str) -> None:
            self += [token, "of another thread, at the same moment"]

    endpoint = mock_token_endpoint(TOKEN_URL)
    endpoint.tokens = Tokens()
    assert fetch_token(TOKEN_URL, "my-id", "my-secret").access_token == endpoint.tokens[0]


def test_many_threads_each_see_their_token(mock_token_endpoint: MakeEndpoint) -> None:
    endpoint, found = mock_token_endpoint(TOKEN_URL), list[str]()
    threads = [
        threading.Thread(
            target=lambda: found.append(fetch_token(TOKEN_URL, "my-id", "x").access_token)
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(found) == sorted(endpoint.tokens)
    assert len(endpoint.tokens) == 8
