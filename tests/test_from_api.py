"""Tests of sessions that ask an API for its authorization server, over real sockets."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import requests
from requests.auth import HTTPBasicAuth

from oauthcc import (
    ClientCredentialsSession,
    ConfigurationError,
    DiscoveryError,
    TokenEndpointTimeout,
    TokenEndpointUnavailable,
    TokenEndpointUnreachable,
    TokenRequestDenied,
    events,
)
from oauthcc.stores import MemoryStore
from oauthcc.testing import (
    Answer,
    AuthorizationServer,
    ProtectedAPI,
    SeenRequest,
    faults,
    json_answer,
)
from oauthcc.token_request.discovery import MAX_AGE

from .clock import Clock, moved_clock
from .inside import config_of, forget_metadata, key_of
from .internet import SeenEvents

WELL_KNOWN = "/.well-known/oauth-protected-resource"
METADATA = "/.well-known/oauth-authorization-server"


class Place:
    """An API at ``/mcp`` that names its authorization server, and sessions for it."""

    def __init__(self, auth: AuthorizationServer, api: ProtectedAPI, stack: ExitStack) -> None:
        self.auth, self.api, self._stack = auth, api, stack
        self.url = f"{api.url}/mcp"
        self.publish()

    def publish(self, path: str = f"{WELL_KNOWN}/mcp", **members: Any) -> None:
        """Publish metadata, in the place of what was published there."""
        usual = {"resource": self.url, "authorization_servers": [self.auth.issuer]}
        self.answer(json_answer({**usual, **members}), path)

    def answer(self, answer: Any, path: str = WELL_KNOWN, n: int | None = None) -> None:
        self.api.answer_normally()
        self.api.answer_next(answer, n, path)

    def session(self, url: str | None = None, **options: Any) -> ClientCredentialsSession:
        given = {"trusted_issuers": [self.auth.issuer], **options}
        kind = given.pop("kind", ClientCredentialsSession)
        client = self.auth.client_id, given.pop("client_secret", self.auth.client_secret)
        session = kind.from_api(url or self.url, *client, **given)
        return self._stack.enter_context(session)

    @property
    def form(self) -> dict[str, str]:
        """Return the parameters of the last token request."""
        return dict(self.auth.token_requests[-1].form)

    def paths(self) -> tuple[list[str], list[str]]:
        """Return the paths that the API and the authorization server were asked for."""
        seen = (self.api.requests, self.auth.requests)
        api, auth = ([f"{r.method} {r.path}" for r in requests] for requests in seen)
        return api, auth

    def fault(self, **options: Any) -> str:
        """Return the message of the error that a request raises; no secret was sent."""
        with pytest.raises(DiscoveryError) as caught:
            self.session(**options).get(self.url)
        assert isinstance(caught.value, requests.RequestException)
        assert self.auth.requests == []
        return str(caught.value)


@pytest.fixture
def place(auth: AuthorizationServer, api: ProtectedAPI) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(auth, api, stack)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return moved_clock(monkeypatch)


def test_the_api_is_asked_once_when_the_first_token_is_needed(place: Place) -> None:
    session = place.session(scope="tools:call")
    session.prepare_request(requests.Request("GET", place.url))
    copy.copy(session)
    assert place.paths() == ([], [])
    for _ in range(3):
        assert session.post(place.url, json={"method": "tools/list"}).status_code == 200
    place.auth.revoke_all()
    assert session.post(place.url, json={"method": "tools/list"}).json()["length"] == 24
    api, auth = place.paths()
    assert api == [f"GET {WELL_KNOWN}/mcp", *["POST /mcp"] * 5]
    assert auth == [f"GET {METADATA}", "POST /token", "POST /token"]
    assert place.form == {
        "grant_type": "client_credentials",
        "scope": "tools:call",
        "resource": place.url,
    }


def test_events_and_log_lines_name_the_server_that_issues_the_token(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    seen = SeenEvents()
    with caplog.at_level("INFO", "oauthcc"):
        place.session(on_event=seen).get(place.url)
    assert seen.first(events.TokenObtained).token_url == place.auth.issuer
    assert f"from {place.auth.issuer} in" in caplog.text
    caplog.clear()
    # One of several is not known before the API has named it.
    several = [place.auth.issuer, "https://as.example"]
    with caplog.at_level("INFO", "oauthcc"):
        place.session(trusted_issuers=several).get(place.url)
    assert f"from {place.url.removesuffix('/mcp')} in" in caplog.text


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("", WELL_KNOWN),
        ("/", WELL_KNOWN),
        ("/mcp", f"{WELL_KNOWN}/mcp"),
        ("/mcp/", f"{WELL_KNOWN}/mcp/"),
        ("/a/b%2Fc", f"{WELL_KNOWN}/a/b%2Fc"),
        ("/mcp?tenant=7", f"{WELL_KNOWN}/mcp"),
        ("?tenant=7", WELL_KNOWN),
    ],
)
def test_the_path_and_the_query_of_the_url_are_those_of_its_metadata(
    place: Place, path: str, asked: str
) -> None:
    url = place.api.url + path
    place.publish(asked, resource=url)
    assert place.session(url).get(url).status_code == 200
    first, last = place.api.requests
    assert (first.path, first.query) == (asked, path.partition("?")[2])
    assert (last.path, last.token) == (path.partition("?")[0] or "/", place.auth.issued[0])
    assert place.form["resource"] == url


@pytest.mark.parametrize("status", [401, 403])
def test_the_challenge_of_the_api_says_where_its_metadata_is(place: Place, status: int) -> None:
    place.publish("/meta")
    value = f'Bearer realm="x", resource_metadata="{place.api.url}/meta"'
    place.api.answer_next((status, {"WWW-Authenticate": value}, b"no"), 1, "/mcp")
    place.api.answer_next(faults.html(404), None, WELL_KNOWN)
    assert place.session().get(place.url).status_code == 200
    api, _ = place.paths()
    assert api == [f"GET {WELL_KNOWN}/mcp", "GET /mcp", "GET /meta", "GET /mcp"]
    assert "Authorization" not in place.api.requests[1].headers


@pytest.mark.parametrize(
    "body", [faults.endless(), faults.drip(b"data: x\n\n" * 99)], ids=["endless", "slow"]
)
def test_a_stream_that_the_api_sends_to_a_get_is_not_read(place: Place, body: Any) -> None:
    place.answer(faults.empty(404))
    place.api.answer_next(body, None, "/mcp")
    assert "publishes no metadata" in place.fault()


def test_redirects_of_the_metadata_are_not_followed(place: Place) -> None:
    with ProtectedAPI(place.auth) as other:
        place.answer(faults.redirect(f"{other.url}/meta"))
        place.api.answer_next(faults.redirect(other.url), None, "/mcp")
        assert "redirects (302), which is not followed" in place.fault()
        assert other.requests == []


# What the API names


def test_metadata_of_another_api_is_an_error(place: Place) -> None:
    place.publish(resource="https://other.example/mcp")
    assert "publishes metadata of another API, 'https://other.example/mcp'" in place.fault()


def test_the_secret_goes_to_no_server_that_only_the_api_names(place: Place) -> None:
    with AuthorizationServer() as evil:
        place.publish(authorization_servers=[evil.issuer])
        message = place.fault()
        assert (
            f"names no authorization server that is trusted (it names: '{evil.issuer}')" in message
        )
        place.publish(authorization_servers=[evil.issuer, place.auth.issuer])
        assert place.session().get(place.url).status_code == 200
        assert evil.requests == []


def test_an_api_without_metadata_is_an_error_that_is_remembered(place: Place, clock: Clock) -> None:
    place.answer(faults.empty(404))
    session = place.session()
    for _ in range(5):
        with pytest.raises(DiscoveryError, match=r"publishes no metadata.*use from_issuer"):
            session.get(place.url)
    assert len(place.api.requests) == 3
    place.publish()
    clock.advance(60)
    assert session.get(place.url).status_code == 200


def test_a_trusted_issuer_must_publish_that_it_is_this_issuer(place: Place) -> None:
    place.auth.metadata = {"issuer": "https://as.example"}
    with pytest.raises(DiscoveryError, match=r"metadata of another issuer, 'https://as\.example'"):
        place.session().get(place.url)
    assert place.auth.token_requests == []


# An API that is down


def test_an_api_that_is_down_is_an_outage(place: Place, clock: Clock) -> None:
    session = place.session()
    place.api.down()
    with pytest.raises(TokenEndpointUnreachable, match=place.api.url):
        session.get(place.url)
    place.api.up()
    place.answer(faults.unavailable(503, None), "/")
    clock.advance(10)
    with pytest.raises(TokenEndpointUnavailable, match="The API answered 503"):
        session.get(place.url)
    place.publish()
    clock.advance(10)
    assert session.get(place.url).status_code == 200


@pytest.mark.parametrize("path", [WELL_KNOWN, "/mcp"])
def test_an_api_that_hangs_ends_the_fetch_in_time(place: Place, path: str) -> None:
    place.api.answer_normally()
    place.api.answer_next(faults.hang(), None, path)
    place.api.answer_next(faults.empty(404), None, WELL_KNOWN)
    with pytest.raises(TokenEndpointTimeout):
        place.session(token_timeout=0.2).get(place.url)


@pytest.mark.parametrize(
    "answer",
    [faults.endless(), Answer(200, (), b"x" * (1 << 20) + b"x"), faults.html(), faults.garbage()],
    ids=["endless", "too large", "HTML", "garbage"],
)
def test_whatever_an_api_sends_as_metadata_is_an_error_of_ours(
    place: Place, clock: Clock, answer: Any
) -> None:
    place.answer(answer)
    with pytest.raises((DiscoveryError, TokenEndpointUnreachable)):
        place.session().get(place.url)
    assert place.auth.requests == []


def test_no_call_fails_if_the_api_publishes_nothing_any_more(place: Place, clock: Clock) -> None:
    place.auth.token_lifetime = MAX_AGE / 2
    session = place.session()
    assert session.get(place.url).status_code == 200
    place.answer(faults.empty(404))
    clock.advance(2 * MAX_AGE)
    assert session.get(place.url).status_code == 200
    assert len(place.auth.issued) == 2


@pytest.mark.parametrize("path", [WELL_KNOWN, METADATA])
def test_no_call_fails_if_metadata_that_was_good_cannot_be_renewed_in_time(
    place: Place, clock: Clock, path: str
) -> None:
    place.auth.token_lifetime = MAX_AGE / 2
    session = place.session(token_timeout=2)
    assert session.get(place.url).status_code == 200
    if path == WELL_KNOWN:
        place.answer(faults.hang())
    else:
        place.auth.answer_next(faults.hang(), None, path)
    clock.advance(2 * MAX_AGE)
    assert session.get(place.url).status_code == 200
    assert len(place.auth.issued) == 2


# What goes where


def secrets_of(seen: SeenRequest) -> str:
    """Return everything of a request that could be a secret of the client."""
    return f"{seen.method} {seen.path}?{seen.query} {seen.raw_headers} {seen.body!r}".lower()


def test_nothing_that_was_set_on_the_endpoint_goes_to_the_metadata_of_the_api(
    place: Place, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login h1dden password h1dden\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    place.publish("/meta")
    place.api.answer_next(faults.empty(404), None, WELL_KNOWN)
    value = f'Bearer resource_metadata="{place.api.url}/meta"'
    place.api.answer_next((401, {"WWW-Authenticate": value, "Set-Cookie": "a=b"}, b""), 1, "/mcp")
    session = place.session()
    session.headers["X-Of-Session"] = "h1dden"
    session.cookies.set("of-session", "h1dden")
    endpoint = session.tokens.endpoint
    endpoint.headers["X-Key"] = "h1dden"
    endpoint.params = {"key": "h1dden"}  # type: ignore[assignment]
    endpoint.cookies.set("key", "h1dden")
    endpoint.auth = HTTPBasicAuth(place.auth.client_id, place.auth.client_secret)
    called: list[str] = []
    endpoint.hooks["response"].append(lambda response, **_: called.append(response.url))
    session.tokens.get()
    asked = place.api.requests
    assert [seen.path for seen in asked] == [f"{WELL_KNOWN}/mcp", "/mcp", "/meta"]
    for seen in asked:
        text = secrets_of(seen)
        assert "h1dden" not in text
        assert place.auth.client_secret not in text
        assert not {"authorization", "cookie", "x-key"} & {name.lower() for name in seen.headers}
    for seen in place.auth.requests:
        assert seen.headers["X-Key"] == dict(seen.args)["key"] == "h1dden"
        assert "key=h1dden" in seen.headers["Cookie"]
    assert not any(url.startswith(place.api.url) for url in called)


def test_transport_settings_of_the_endpoint_and_of_the_session_count_for_the_api_too(
    place: Place,
) -> None:
    class Counted(requests.adapters.HTTPAdapter):
        def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> Any:
            request.headers["X-Through"] = "mounted"
            return super().send(request, *args, **kwargs)

    on_session, on_endpoint = place.session(), place.session()
    on_session.mount("http://", Counted())
    on_endpoint.tokens.endpoint.mount("http://", Counted())
    for session in (on_session, on_endpoint):
        place.api.forget()
        session.tokens.get()
        [seen] = place.api.requests
        assert seen.headers["X-Through"] == "mounted"
    place.session().tokens.get()
    assert "X-Through" not in place.api.requests[-1].headers


def test_the_resource_is_the_url_unless_the_caller_says_otherwise(place: Place) -> None:
    expected = {"https://other.example": "https://other.example", None: None}
    for resource, sent in expected.items():
        place.session(resource=resource).tokens.get()
        assert place.form.get("resource") == sent
    place.session(resource=["a", "b"]).tokens.get()
    values = [v for name, v in place.auth.token_requests[-1].form if name == "resource"]
    assert values == ["a", "b"]


def test_the_token_goes_only_to_the_url_unless_the_caller_says_otherwise(place: Place) -> None:
    other = f"{place.api.url}/other"
    with place.session() as session:
        assert session.get(f"{place.url}/below").status_code == 200
        assert session.get(other).status_code == 401
        assert session.get(f"{place.url}-other").status_code == 401
    with place.session(api_url=None) as session:
        assert session.get(other).status_code == 200
    with place.session(api_url=other) as session:
        assert session.get(other).status_code == 200
        assert session.get(place.url).status_code == 401


# Options, copies and other APIs


def test_tokens_are_shared_only_if_the_url_and_the_trusted_issuers_are_the_same(
    place: Place,
) -> None:
    store = MemoryStore()

    def key(url: str = place.url, trusted: Any = place.auth.issuer, **options: Any) -> str:
        given = {"trusted_issuers": trusted, "store": store, "resource": None, **options}
        return key_of(place.session(url, **given).tokens)

    more = ["https://b.example", place.auth.issuer]
    keys = {
        key(),
        key(f"{place.url}/"),
        key(trusted="https://b.example"),
        key(trusted=more),
        key(resource=place.url),
    }
    with ClientCredentialsSession.from_issuer(
        place.auth.issuer, place.auth.client_id, place.auth.client_secret, store=store
    ) as other:
        assert len({*keys, key_of(other.tokens)}) == 6
    assert key(trusted=more) == key(trusted=more[::-1])
    place.session(store=store).tokens.get()
    place.session(store=store).tokens.get()
    assert len(place.auth.issued) == 1


@pytest.mark.parametrize(
    "duplicate",
    [
        copy.copy,
        copy.deepcopy,
        *(lambda s, p=p: pickle.loads(pickle.dumps(s, p)) for p in range(6)),
    ],
)
@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
def test_a_copy_asks_the_same_api_and_trusts_the_same_issuers(
    place: Place, duplicate: Callable[[Any], Any], warm: bool
) -> None:
    session = place.session(scope="a")
    if warm:
        session.get(place.url)
    with duplicate(session) as copied:
        issuer: Any = config_of(copied.tokens).issuer
        assert (issuer, issuer.trusted) == (place.url, (place.auth.issuer,))
        copied.tokens.renew()
        assert copied.get(place.url).status_code == 200
        assert place.form["resource"] == place.url
        place.publish(authorization_servers=["https://evil.example"])
        forget_metadata(copied.tokens)
        copied.tokens.forget()
        with pytest.raises(DiscoveryError, match=r"https://evil\.example"):
            copied.get(place.url)


class Audited(ClientCredentialsSession):
    """A session with a constructor that passes on what it gets."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.trail = ["made"]
        super().__init__(*args, **kwargs)


def test_a_subclass_with_its_own_constructor_is_made(place: Place) -> None:
    session = place.session(kind=Audited, renew_at=(0.1, 0.2))
    assert type(session) is Audited
    assert session.trail == ["made"]
    assert session.get(place.url).status_code == 200


def test_another_api_of_such_a_session_has_the_authorization_server_of_the_first(
    place: Place,
) -> None:
    session = place.session()
    other = f"{place.api.url}/other"
    session.add_api(other, audience="other")
    assert session.get(other).status_code == 200
    assert (place.form.get("audience"), place.form.get("resource")) == ("other", None)
    assert session.get(place.url).status_code == 200
    assert place.form["resource"] == place.url
    assert len(place.auth.issued) == 2


def test_another_api_of_such_a_session_may_have_an_issuer_of_its_own(place: Place) -> None:
    with AuthorizationServer(place.auth.client_id, place.auth.client_secret) as second:
        session = place.session()
        session.add_api(f"{place.api.url}/other", issuer=second.issuer)
        assert session.get(f"{place.api.url}/other").status_code == 401  # of another server
        assert len(second.issued) == 2
        assert place.auth.requests == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trusted_issuers": []}, "trusted_issuers must contain"),
        ({"trusted_issuers": "as.example"}, "trusted_issuers has no scheme"),
        ({"url": "http://api.example"}, "url would be read over plain http"),
        ({"url": "https://api.example/#x"}, "url has a fragment"),
        ({"client_secret": None}, "client_secret is missing"),
    ],
)
def test_a_mistake_is_an_error_at_construction(
    place: Place, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        place.session(**options)
    assert place.auth.client_secret not in str(caught.value)
    assert place.paths() == ([], [])


def test_the_caller_must_say_whom_to_trust(place: Place) -> None:
    make: Any = ClientCredentialsSession.from_api
    with pytest.raises(TypeError, match="trusted_issuers"):
        make(place.url, "id", "secret")


# When the metadata is asked for again


def test_a_token_endpoint_that_moved_is_found_again_and_the_api_may_name_another_issuer(
    place: Place, clock: Clock
) -> None:
    with AuthorizationServer(place.auth.client_id, place.auth.client_secret) as second:
        session = place.session(trusted_issuers=[place.auth.issuer, second.issuer])
        session.tokens.get()
        place.auth.answer_next(faults.html(404), None)
        place.publish(authorization_servers=[second.issuer, place.auth.issuer])
        with pytest.raises(TokenRequestDenied, match="404"):
            session.tokens.renew()
        clock.advance(10)
        session.tokens.renew()
        assert len(second.issued) == 1


@pytest.mark.parametrize("is_named", [True, False])
def test_a_refusal_that_names_the_metadata_has_it_read_again(place: Place, is_named: bool) -> None:
    usual = f'resource_metadata="{place.api.url}{WELL_KNOWN}/mcp"' if is_named else 'realm="x"'
    fields = {"WWW-Authenticate": f'Bearer error="invalid_token", {usual}'}
    place.api.refusal = Answer(401, fields, b"no")
    with AuthorizationServer(place.auth.client_id, place.auth.client_secret) as second:
        session = place.session(trusted_issuers=[place.auth.issuer, second.issuer])
        assert session.get(place.url).status_code == 200
        place.publish(authorization_servers=[second.issuer])
        place.api.auth = second  # the API has moved to it
        assert session.get(place.url).status_code == (200 if is_named else 401)
        assert len(second.issued) == is_named


def test_a_refusal_that_names_the_metadata_of_an_issuer_of_the_caller_changes_nothing(
    place: Place,
) -> None:
    fields = {"WWW-Authenticate": f'Bearer resource_metadata="{place.api.url}{WELL_KNOWN}"'}
    place.api.refusal = Answer(401, fields, b"no")
    client = place.auth.client_id, place.auth.client_secret
    with ClientCredentialsSession.from_issuer(place.auth.issuer, *client) as session:
        session.get(place.url)
        place.auth.revoke_all()
        assert session.get(place.url).status_code == 200
    assert place.paths() == (["GET /mcp"] * 3, [f"GET {METADATA}", *["POST /token"] * 2])


def test_a_token_is_renewed_if_the_metadata_that_a_refusal_names_cannot_be_read(
    place: Place,
) -> None:
    fields = {"WWW-Authenticate": f'Bearer resource_metadata="{place.api.url}{WELL_KNOWN}"'}
    place.api.refusal = Answer(401, fields, b"no")
    session = place.session()
    session.get(place.url)
    place.auth.revoke_all()
    place.answer(faults.unavailable(503, None))
    assert session.get(place.url).status_code == 200


def test_the_api_is_asked_again_after_an_hour(place: Place, clock: Clock) -> None:
    session = place.session()
    for seconds, asked in ((0, 1), (MAX_AGE - 1, 1), (1, 2), (1, 2)):
        clock.advance(seconds)
        session.tokens.renew()
        assert len(place.api.requests) == asked
