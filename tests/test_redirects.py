"""Redirects: the decision about the token is made on the request that is about to be sent."""

from __future__ import annotations

import base64
import contextlib
import copy
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from requests import PreparedRequest, Request, Response
from requests.adapters import HTTPAdapter
from requests.auth import HTTPBasicAuth

from oauthcc import ClientCredentialsAuth, ClientCredentialsSession, DPoP, Token
from oauthcc.api_request import sent_request
from oauthcc.redaction import SecretHeader
from oauthcc.schemes import Bearer
from oauthcc.testing import ProtectedAPI, SeenRequest
from oauthcc.testing.faults import redirect

from .own_header import SHOPIFY, VAULT, OwnScene, api_for
from .refusals import Scene, Sessions, trail


@pytest.fixture(autouse=True)
def _classes_made_anew() -> None:
    """Let coverage see the code that makes a class once, in this or in another test."""
    sent_request.kind_for.cache_clear()


class Copying(HTTPAdapter):
    """An adapter that sends a copy of each request, as some that log do."""

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        return super().send(request.copy(), *args, **kwargs)


class Duplicating(HTTPAdapter):
    """An adapter that sends a copy made by the standard library."""

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        return super().send(copy.copy(request), *args, **kwargs)


class Encoding(HTTPAdapter):
    """An adapter that makes bytes of the headers, in place."""

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        for name, value in request.headers.items():
            request.headers[name] = str(value).encode()  # type: ignore[assignment]
        return super().send(request, *args, **kwargs)


class Resolving(HTTPAdapter):
    """An adapter that puts an address into the URL, in place, as many resolvers do."""

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        request.url = str(request.url).replace("//localhost:", "//127.0.0.1:")
        return super().send(request, *args, **kwargs)


def moved_to(scene: Scene, target: str, status: int = 302) -> str:
    """Return a URL under /v1 of the API that redirects to a target."""
    scene.api.protected = False
    scene.api.add_route("/v1/go", lambda _: redirect(target, status))
    return f"{scene.api.url}/v1/go"


LEAVING = [
    "/other/collect",
    "../other/collect",
    "http:other/collect",
    "http:../other/collect",
    "%2e/../other/collect",
    "%2e%2e/other/collect",
    "..%2fother/collect",
    "/v1/../other/collect",
    "/v1/%2e%2e/other/collect",
    "/v10/collect",
    "\\other\\collect",
    "///other/collect",
    "/v1/..;/other/collect",
]


@pytest.mark.parametrize(
    "adapter", [HTTPAdapter, Copying, Duplicating, Encoding], ids=lambda a: a.__name__
)
@pytest.mark.parametrize("target", LEAVING)
def test_a_redirect_that_leaves_the_prefix_carries_no_token(
    scene: Scene, sessions: Sessions, target: str, adapter: type[HTTPAdapter]
) -> None:
    session = sessions.new(api_url=f"{scene.api.url}/v1")
    session.mount("http://", adapter())
    with contextlib.suppress(requests.RequestException):  # some targets have no usable host
        session.get(moved_to(scene, target))
    first, *hops = scene.trail
    assert first == ("/v1/go", 1)
    # Some versions of Python join "http:other" to /v1/other, where the token belongs.
    assert [token for path, token in hops if not path.startswith("/v1/other/")] in ([None], [])


@pytest.mark.parametrize(
    "adapter", [HTTPAdapter, Copying, Duplicating, Encoding], ids=lambda a: a.__name__
)
@pytest.mark.parametrize("target", ["/v1/x", "x", "./x", "/v1/x#part", "//{host}/v1/x"])
def test_a_redirect_inside_the_prefix_carries_the_token(
    scene: Scene, sessions: Sessions, target: str, adapter: type[HTTPAdapter]
) -> None:
    session = sessions.new(api_url=f"{scene.api.url}/v1")
    session.mount("http://", adapter())
    url = moved_to(scene, target.format(host=scene.api.url.partition("//")[2]))
    session.get(url)
    assert scene.trail == [("/v1/go", 1), ("/v1/x", 1)]


def test_a_redirect_that_left_the_prefix_and_comes_back_carries_no_token(
    scene: Scene, sessions: Sessions
) -> None:
    scene.api.add_route("/other", lambda _: redirect("/v1/x"))
    session = sessions.new(api_url=f"{scene.api.url}/v1")
    session.get(moved_to(scene, "/other"))
    assert scene.trail == [("/v1/go", 1), ("/other", None), ("/v1/x", None)]


def test_a_target_that_a_hook_or_a_subclass_changes_carries_no_token_outside(scene: Scene) -> None:
    class Elsewhere(requests.Session):
        def get_redirect_target(self, resp: Response) -> str | None:
            target = super().get_redirect_target(resp)
            return target and "/other/subclass"

    def elsewhere(response: Response, **_: Any) -> None:
        if response.is_redirect:
            response.headers["Location"] = "/other/hook"

    auth = scene.auth_object(api_url=f"{scene.api.url}/v1")
    url = moved_to(scene, "/v1/x")
    scene.plain().get(url, auth=auth, hooks={"response": elsewhere})
    with Elsewhere() as session:
        session.trust_env = False
        session.get(url, auth=auth)
    assert [hop for hop in scene.trail if hop[0] != "/v1/go"] == [
        ("/other/hook", None),
        ("/other/subclass", None),
    ]


@pytest.mark.parametrize("target", ["/v1/x", "/other"])
def test_the_next_request_of_a_response_is_decided_when_it_is_sent(
    scene: Scene, sessions: Sessions, target: str
) -> None:
    session = sessions.new(api_url=f"{scene.api.url}/v1")
    answer = session.get(moved_to(scene, target), allow_redirects=False)
    assert answer.next is not None
    assert scene.auth.issued[0] not in repr(answer.next.headers)
    # The token is not on a request that must not have it, even before it is sent.
    assert ("Authorization" in answer.next.headers) == (target == "/v1/x")
    session.send(answer.next, allow_redirects=False)
    assert scene.trail[1:] == [(target, 1 if target == "/v1/x" else None)]


def test_a_prepared_request_whose_url_the_caller_changes_loses_the_token_outside(
    scene: Scene,
) -> None:
    session, auth = scene.plain(), scene.auth_object(api_url=f"{scene.api.url}/v1")
    scene.api.protected = False
    prepared = session.prepare_request(Request("GET", f"{scene.api.url}/v1/x", auth=auth))
    prepared.url = f"{scene.api.url}/v1/y"
    session.send(prepared)
    prepared.url = f"{scene.api.url}/other"
    session.send(prepared)
    assert scene.trail == [("/v1/y", 1), ("/other", None)]


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, PreparedRequest.copy, lambda request: request.copy()]
)
def test_a_copy_of_a_prepared_request_leaves_its_token_behind_too(
    scene: Scene, duplicate: Callable[[PreparedRequest], PreparedRequest]
) -> None:
    session, auth = scene.plain(), scene.auth_object(api_url=f"{scene.api.url}/v1")
    url = moved_to(scene, "/other")
    prepared = session.prepare_request(Request("GET", url, auth=auth))
    session.send(duplicate(prepared))
    session.send(prepared)
    assert scene.trail == [("/v1/go", 1), ("/other", None)] * 2


def test_a_pickle_of_a_prepared_request_is_a_plain_request_without_a_token(scene: Scene) -> None:
    session, auth = scene.plain(), scene.auth_object()
    prepared = session.prepare_request(Request("GET", scene.url, auth=auth))
    pickled = pickle.dumps(prepared)
    assert scene.auth.issued[0].encode() not in pickled
    loaded = pickle.loads(pickled)
    assert type(loaded) is PreparedRequest
    assert loaded.url == scene.url


class Numbered(PreparedRequest):
    """A request of the user's own class."""

    number = 0

    def double(self) -> int:
        return 2 * self.number


def test_a_request_keeps_the_class_of_the_user(scene: Scene) -> None:
    auth = scene.auth_object(api_url=f"{scene.api.url}/v1")
    prepared = Numbered()
    prepared.number = 7
    prepared.prepare("GET", moved_to(scene, "/other"), headers={}, auth=auth)
    assert isinstance(prepared, Numbered)
    sent = scene.plain().send(prepared, allow_redirects=False).request
    assert isinstance(sent, Numbered)
    assert sent.double() == 14
    assert type(pickle.loads(pickle.dumps(prepared))) is Numbered
    scene.plain().send(prepared)
    assert scene.trail[1:] == [("/v1/go", 1), ("/other", None)]


def test_an_adapter_may_change_the_url_in_place(scene: Scene, sessions: Sessions) -> None:
    session = sessions.refused(api_url=scene.api.url.replace("127.0.0.1", "localhost"))
    session.mount("http://localhost", Resolving())
    assert session.get(scene.url.replace("127.0.0.1", "localhost")).status_code == 200
    assert scene.trail == [("/anything", 1), ("/anything", 2)]


def test_a_deep_copy_of_a_prepared_request_is_replayed_too(scene: Scene) -> None:
    session, auth = scene.plain(), scene.auth_object()
    prepared = session.prepare_request(Request("POST", scene.url, data=b"x", auth=auth))
    scene.revoke(auth.tokens)
    assert session.send(copy.deepcopy(prepared)).status_code == 200
    assert scene.trail == [("/anything", 1), ("/anything", 2)]


# Proofs


def _proofs(seen: list[SeenRequest]) -> list[tuple[str, str, str]]:
    """Return jti, method and path of each proof."""
    found = []
    for request in seen:
        part = request.headers["DPoP"].split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        found.append((claims["jti"], claims["htm"], claims["htu"].rpartition("/")[2]))
    return found


def test_every_hop_and_every_sending_has_a_proof_of_its_own(
    scene: Scene, sessions: Sessions
) -> None:
    scene.auth.token_fields = {"token_type": "DPoP"}
    session = sessions.new(scheme=DPoP())
    session.post(moved_to(scene, "/v1/x"), data=b"x")
    prepared = session.prepare_request(Request("GET", f"{scene.api.url}/v1/y"))
    session.send(prepared)
    session.send(prepared)
    proofs = _proofs(scene.api.requests)
    assert [rest for _, *rest in proofs] == [
        ["POST", "go"],
        ["GET", "x"],
        ["GET", "y"],
        ["GET", "y"],
    ]
    assert len({jti for jti, *_ in proofs}) == 4


# ~/.netrc and headers of the caller


@pytest.fixture
def netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "netrc"
    path.write_text("machine 127.0.0.1 login user password word\n")
    monkeypatch.setenv("NETRC", str(path))


def test_netrc_displaces_the_token_on_no_hop_and_is_used_outside(scene: Scene, netrc: None) -> None:
    auth = scene.auth_object(api_url=f"{scene.api.url}/v1")
    with requests.Session() as session:
        session.get(moved_to(scene, "/v1/x"), auth=auth)
        scene.api.add_route("/v1/x", lambda _: redirect("/other"))
        session.get(f"{scene.api.url}/v1/x", auth=auth)
    shown = [(r.path, r.headers["Authorization"].split()[0]) for r in scene.api.requests]
    assert shown[:2] == [("/v1/go", "Bearer"), ("/v1/x", "Bearer")]
    assert shown[2:] == [("/v1/x", "Bearer"), ("/other", "Basic")]


def test_a_login_that_the_caller_prepares_over_the_token_wins(scene: Scene) -> None:
    session, auth = scene.plain(), scene.auth_object()
    prepared = session.prepare_request(Request("GET", scene.url, auth=auth))
    prepared.prepare_auth(("user", "word"))
    assert session.send(prepared).status_code == 401
    shown = [seen.headers["Authorization"].split()[0] for seen in scene.api.requests]
    assert shown == ["Basic"]


def test_a_header_that_the_caller_puts_over_the_token_is_left_alone(scene: Scene) -> None:
    session, auth = scene.plain(), scene.auth_object()
    prepared = session.prepare_request(Request("GET", scene.url, auth=auth))
    prepared.headers["Authorization"] = "Basic bWU="
    assert session.send(prepared).status_code == 401
    assert [seen.headers["Authorization"] for seen in scene.api.requests] == ["Basic bWU="]
    assert scene.token_requests == 1


# The headers of a scheme


class KeyHeader(Bearer):
    """A scheme of a user that puts the token into a header of its own, as a plain text."""

    __slots__ = ()
    name, proves = "Key", True

    def authorization(self, token: Token) -> Any:
        return f"Bearer {token.access_token}"

    def proof(self, method: str, url: str, token: Token | None) -> Any:
        return {} if token is None else {"X-API-Key": token.access_token}


@pytest.mark.parametrize("where", ["another origin", "outside the prefix", "copied headers"])
def test_no_header_of_a_scheme_leaves_the_api(scene: Scene, sessions: Sessions, where: str) -> None:
    scene.auth.token_fields = {"token_type": "Bearer"}
    other = scene.another_api()
    other.protected = False
    target = f"{other.url}/x" if where == "another origin" else "/other"
    session = sessions.new(scheme=KeyHeader(), api_url=f"{scene.api.url}/v1")
    answer = session.get(moved_to(scene, target))
    if where == "copied headers" and not session.auth:
        first = answer.history[0].request
        session.get(f"{scene.api.url}/other", headers=dict(first.headers))
    first, *hops = [*scene.api.requests, *other.requests]
    assert first.headers["X-API-Key"] == scene.auth.issued[0]
    assert hops
    for hop in hops:
        assert scene.auth.issued[0] not in str(hop.headers.items())


def test_a_header_of_a_scheme_is_shown_without_the_token(scene: Scene, sessions: Sessions) -> None:
    scene.api.protected = False
    sent = sessions.new(scheme=KeyHeader()).get(scene.url).request
    assert isinstance(sent.headers["X-API-Key"], SecretHeader)
    assert scene.auth.issued[0] not in repr(sent.headers)


# Redirects that the caller follows


def _followed(session: requests.Session, prepared: PreparedRequest, **own: Any) -> list[Response]:
    """Follow the redirects of a request as a caller may do, with the caller's own request."""
    first = session.send(prepared, allow_redirects=False)
    for name, value in own.items():
        prepared.headers[name.replace("_", "-")] = value
    return [*session.resolve_redirects(first, prepared)]


def _prepared(session: requests.Session, url: str) -> PreparedRequest:
    return session.prepare_request(Request("GET", url))


def test_redirects_that_the_caller_follows_carry_the_token_at_the_api(
    scene: Scene, sessions: Sessions
) -> None:
    session = sessions.new(api_url=f"{scene.api.url}/v1")
    scene.api.add_route("/v1/a", lambda _: redirect("/v1/go"))
    url = moved_to(scene, "/v1/end")
    for start in (url, f"{scene.api.url}/v1/a"):
        prepared = _prepared(session, start)
        answers = _followed(session, prepared)
        assert {answer.status_code for answer in answers[-1:]} == {200}
    assert {token for _, token in scene.trail} == {1}
    assert len(scene.trail) == 5
    if not session.auth:
        assert "Authorization" not in prepared.headers


@pytest.mark.parametrize("target", ["/other", "another origin", "and back"])
def test_redirects_that_the_caller_follows_carry_no_token_beyond_the_api(
    scene: Scene, sessions: Sessions, target: str
) -> None:
    other = scene.another_api()
    other.protected = scene.api.protected = False
    other.add_route("/x", lambda _: redirect(f"{scene.api.url}/v1/back"))
    session = sessions.new(api_url=f"{scene.api.url}/v1")
    _followed(
        session,
        _prepared(
            session,
            moved_to(
                scene,
                {
                    "/other": "/other",
                    "another origin": f"{other.url}/y",
                    "and back": f"{other.url}/x",
                }[target],
            ),
        ),
    )
    first, *rest = [*scene.trail, *trail(other)]
    assert first[1] == 1
    assert rest
    assert {token for _, token in rest} == {None}


def test_a_redirect_into_the_api_that_the_caller_follows_carries_no_token(scene: Scene) -> None:
    session = scene.session(api_url=f"{scene.api.url}/v1")
    scene.api.protected = False
    _followed(session, _prepared(session, f"{scene.api.url}/redirect-to?url=/v1/x"))
    assert [token for _, token in scene.trail] == [None, None]


def test_a_request_with_an_authorization_of_its_own_keeps_it_on_the_redirects_of_another(
    scene: Scene,
) -> None:
    session = scene.session()
    scene.api.protected = False
    _followed(session, _prepared(session, moved_to(scene, "/x")), Authorization="Bearer mine")
    assert scene.api.requests[-1].headers["Authorization"] == "Bearer mine"
    bare = _prepared(session, moved_to(scene, "/x"))
    first = session.send(bare, allow_redirects=False)
    without = session.prepare_request(Request("GET", scene.url, auth=lambda r: r))
    [*session.resolve_redirects(first, without)]
    assert scene.api.requests[-1].token is None


def test_a_redirect_of_another_session_carries_no_token(scene: Scene) -> None:
    session, other = scene.session(), scene.session()
    scene.api.protected = False
    prepared = _prepared(session, moved_to(scene, "/x"))
    first = session.send(prepared, allow_redirects=False)
    [*other.resolve_redirects(first, prepared)]
    assert scene.trail[-1] == ("/x", None)
    first.request = None  # type: ignore[assignment]  # as some adapters leave it
    with contextlib.suppress(AssertionError, AttributeError):  # as new versions of requests raise
        [*session.resolve_redirects(first, prepared)]
    assert scene.trail[-1] == ("/x", None)


# Other origins


def test_a_redirect_to_another_origin_and_back_carries_no_token(
    scene: Scene, sessions: Sessions
) -> None:
    other = scene.another_api()
    other.protected = False
    other.add_route("/x", lambda _: redirect(f"{scene.api.url}/v1/y"))
    sessions.new().get(moved_to(scene, f"{other.url}/x"))
    assert trail(other) == [("/x", None)]
    assert scene.trail == [("/v1/go", 1), ("/v1/y", None)]


# Proxies


def _by_auth(scene: Scene, url: str, **options: Any) -> PreparedRequest:
    auth: ClientCredentialsAuth = scene.auth_object(**options)
    return Request("GET", url, auth=auth).prepare()


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("proxy", ["http://proxy.example:3128", "proxy.example:3128", "http://["])
def test_an_auth_sends_no_token_over_plain_http_to_a_proxy_on_another_machine(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, name: str, proxy: str
) -> None:
    for other in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, proxy)
    with pytest.raises(requests.exceptions.InvalidURL, match=r"set NO_PROXY=127\.0\.0\.1"):
        _by_auth(scene, scene.url)
    assert scene.token_requests == 0


@pytest.mark.parametrize(
    ("url", "environment"),
    [
        ("http://127.0.0.1:1/x", {"HTTP_PROXY": "http://127.0.0.1:3128"}),
        ("http://127.0.0.1:1/x", {"HTTP_PROXY": "http://proxy.example", "NO_PROXY": "127.0.0.1"}),
        ("http://127.0.0.1:1/x", {"HTTPS_PROXY": "http://proxy.example"}),
        ("https://api.example/x", {"HTTPS_PROXY": "http://proxy.example"}),
        ("http://inside.example/x", {"HTTP_PROXY": "http://proxy.example"}),
    ],
)
def test_an_auth_accepts_other_proxies(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, url: str, environment: dict[str, str]
) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    auth = scene.auth_object(api_url=[url])
    auth.tokens.get()
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert "Authorization" in Request("GET", url, auth=auth).prepare().headers


# Mix-ins


class Dropping(requests.Session):
    """A mix-in that drops the hooks of each request."""

    def send(self, request: PreparedRequest, **kwargs: Any) -> Response:
        request.hooks = {}
        return super().send(request, **kwargs)


class Rebuilding(requests.Session):
    """A mix-in that sends another request in the place of each one."""

    def send(self, request: PreparedRequest, **kwargs: Any) -> Response:
        made = Request(request.method, request.url, dict(request.headers)).prepare()
        return super().send(made, **kwargs)


class Unhooking(requests.Session):
    """A mix-in that sends a copy without hooks."""

    def send(self, request: PreparedRequest, **kwargs: Any) -> Response:
        request = request.copy()
        request.hooks = {"response": []}
        return super().send(request, **kwargs)


@pytest.mark.parametrize("kind", [Dropping, Rebuilding, Unhooking])
def test_a_redirect_that_a_mix_in_sends_anew_carries_no_token_to_another_origin(
    scene: Scene, kind: type
) -> None:
    other = scene.another_api()
    other.protected = False
    other.add_route("/back", lambda _: redirect(f"{scene.api.url}/v1/x"))
    made: Any = type("Made", (kind, ClientCredentialsSession), {})
    with made(*scene.client) as session:
        for path in ("/back", "/x"):
            url = moved_to(scene, f"{other.url}{path}")
            session.get(url)
        found = session.get(url, allow_redirects=False)
        assert found.next is not None
        # A request of the caller to the same URL is no redirect.
        session.get(f"{other.url}/x")
        with contextlib.suppress(requests.TooManyRedirects):
            session.max_redirects = 0
            session.get(url)
        session.get(f"{other.url}/x")
    assert trail(other) == [("/back", None), ("/x", None), ("/x", 1), ("/x", 1)]
    assert [hop for hop in scene.trail if hop[0] == "/v1/x"] == [("/v1/x", None)]


@pytest.mark.parametrize("kind", [Dropping, Rebuilding, Unhooking])
def test_a_redirect_that_a_mix_in_sends_anew_carries_no_token_beyond_the_prefix(
    scene: Scene, kind: type
) -> None:
    class Renewing(HTTPAdapter):
        def send(self, *args: Any, **kwargs: Any) -> Response:
            response = super().send(*args, **kwargs)
            session.tokens.renew()  # as another thread may do at any time
            return response

    url = moved_to(scene, "/outside")
    made: Any = type("Made", (ClientCredentialsSession, kind), {})
    with made(*scene.client, api_url=f"{scene.api.url}/v1") as session:
        session.mount(scene.api.url, Renewing())
        session.get(url)
    assert scene.trail == [("/v1/go", 1), ("/outside", None)]


@pytest.mark.parametrize("kind", [Dropping, Rebuilding, Unhooking])
@pytest.mark.parametrize("has_prefix", [True, False])
@pytest.mark.parametrize("hops", [1, 2])
def test_a_token_in_its_own_header_leaves_no_origin_if_a_mix_in_sends_the_request_anew(
    scene: Scene, kind: type, has_prefix: bool, hops: int
) -> None:
    other = scene.another_api()
    other.protected = scene.api.protected = False
    url = moved_to(scene, f"{other.url}/x")
    if hops == 2:
        scene.api.add_route("/v1/first", lambda _: redirect("/v1/go"))
        url = f"{scene.api.url}/v1/first"
    made: Any = type("Made", (ClientCredentialsSession, kind), {})
    scheme = Bearer("", header="X-Token")
    with made(
        *scene.client, scheme=scheme, api_url=scene.api.url if has_prefix else None
    ) as session:
        assert session.get(url).status_code == 200
    assert "X-Token" not in other.requests[-1].headers
    assert [bool(request.headers.get("X-Token")) for request in scene.api.requests] == [True] * hops


def test_a_url_that_a_redirect_has_led_to_gets_the_token_if_it_is_requested(scene: Scene) -> None:
    scene.api.add_route("/outside", lambda _: redirect("/v1/x"))
    scene.api.protected = False
    with scene.session(api_url=f"{scene.api.url}/v1") as session:
        session.get(f"{scene.api.url}/outside")
        session.get(f"{scene.api.url}/v1/x")
    assert scene.trail == [("/outside", None), ("/v1/x", None), ("/v1/x", 1)]


@pytest.mark.usefixtures("netrc")
@pytest.mark.parametrize("is_first", [True, False])
def test_a_mix_in_may_change_the_request_of_a_redirect(scene: Scene, is_first: bool) -> None:
    class Marking(requests.Session):
        def rebuild_auth(self, prepared_request: PreparedRequest, response: Response) -> None:
            super().rebuild_auth(prepared_request, response)  # type: ignore[no-untyped-call]
            prepared_request.headers["X-Hop"] = str(response.status_code)

    kinds = (Marking, ClientCredentialsSession)
    made: Any = type("Made", kinds if is_first else kinds[::-1], {})
    with made(*scene.client) as session:
        session.get(moved_to(scene, "/v1/x"))
    assert scene.trail == [("/v1/go", 1), ("/v1/x", 1)]
    assert scene.api.requests[-1].headers["X-Hop"] == "302"


# A token in a header of its own


def carried(scene: OwnScene, *apis: ProtectedAPI) -> list[str | None]:
    """Return the header of the scheme of each request to some APIs."""
    return [seen.headers.get(scene.scheme.header) for api in apis for seen in api.requests]


@pytest.mark.parametrize(
    "adapter", [HTTPAdapter, Copying, Duplicating, Encoding], ids=lambda a: a.__name__
)
@pytest.mark.parametrize("target", LEAVING)
def test_a_redirect_that_leaves_the_prefix_carries_no_token_in_its_own_header(
    own: OwnScene, own_sessions: Sessions, target: str, adapter: type[HTTPAdapter]
) -> None:
    session = own_sessions.new(api_url=f"{own.api.url}/v1")
    session.mount("http://", adapter())
    with contextlib.suppress(requests.RequestException):
        session.get(moved_to(own, target))
    paths = [path for path, _ in own.trail]
    first, *hops = zip(paths, carried(own, own.api), strict=True)
    assert first[1]
    assert [value for path, value in hops if not path.startswith("/v1/other/")] in ([None], [])


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_origin_carries_no_token_in_its_own_header(
    own: OwnScene, own_sessions: Sessions, status: int
) -> None:
    other = own.another_api()
    other.add_route("/x", lambda _: redirect(f"{own.api.url}/back", 302))
    for options in ({}, {"api_url": own.api.url}, {"api_url": [own.api.url, other.url]}):
        session = own_sessions.new(**options)
        own.api.forget()
        other.forget()
        url = moved_to(own, f"{other.url}/x", status)
        response = session.post(url, data=b"x")
        assert response.status_code == 200
        before, after = carried(own, own.api)
        assert before is not None
        assert (carried(own, other), after) == ([None], None)
        for one in (*response.history[1:], response):
            assert own.scheme.header not in one.request.headers


def test_a_token_of_which_an_adapter_makes_bytes_is_replayed_and_stays_at_its_api(
    own: OwnScene, own_sessions: Sessions
) -> None:
    other, session = own.another_api(), own_sessions.new()
    session.mount("http://", Encoding())
    session.get(own.url)
    own.auth.revoke_all()
    replayed = session.get(own.url)
    assert (replayed.status_code, len(own.api.requests)) == (200, 3)
    url = moved_to(own, f"{other.url}/x")
    response = session.get(url)
    assert (response.status_code, carried(own, other)) == (200, [None])
    for one in (replayed, response, *response.history):
        assert not any(token in repr(one.request.headers) for token in own.auth.issued)
    first = session.get(url, allow_redirects=False)
    assert own.scheme.header not in first.next.headers  # type: ignore[union-attr]


class Plain(requests.Session):
    """A session that sends plain copies, with their hooks."""

    def send(self, request: PreparedRequest, **kwargs: Any) -> Response:  # type: ignore[override]
        sent = PreparedRequest()
        sent.prepare(
            request.method,
            request.url,
            headers=dict(request.headers),  # type: ignore[arg-type]
            data=request.body,
            hooks=request.hooks,
        )
        return super().send(sent, **kwargs)


@pytest.mark.parametrize("adapter", [HTTPAdapter, Copying, Duplicating, Encoding])
def test_a_redirect_of_a_plain_copy_carries_no_token_in_its_own_header_elsewhere(
    own: OwnScene, adapter: type[HTTPAdapter]
) -> None:
    other = own.another_api()
    with Plain() as session:
        session.auth = own.auth_object()
        session.mount("http://", adapter())
        session.get(moved_to(own, f"{other.url}/x"))
        assert (carried(own, own.api) != [None], carried(own, other)) == (True, [None])


def test_the_next_request_to_another_origin_carries_no_token_in_its_own_header(
    own: OwnScene, own_sessions: Sessions
) -> None:
    other, session = own.another_api(), own_sessions.new()
    url = moved_to(own, f"{other.url}/x")
    response = session.get(url, allow_redirects=False)
    assert response.next is not None
    assert own.scheme.header not in response.next.headers
    session.send(response.next)
    assert carried(own, other) == [None]


@pytest.mark.parametrize("kind", ["same", "copied", "new"])
def test_redirects_that_a_caller_follows_carry_no_token_in_its_own_header_elsewhere(
    own: OwnScene, own_sessions: Sessions, kind: str
) -> None:
    other, session = own.another_api(), own_sessions.new()
    own.api.add_route("/v1/inside", lambda _: redirect(f"{other.url}/x"))
    first = session.get(moved_to(own, "/v1/inside"), allow_redirects=False)
    request: Any = first.request
    if kind == "copied":
        request = request.copy()
    elif kind == "new":
        request = session.prepare_request(Request("GET", str(first.url)))
    last = [*session.resolve_redirects(first, request)][-1]
    assert last.status_code == 200
    assert [path for path, _ in own.trail] == ["/v1/go", "/v1/inside"]
    assert None not in carried(own, own.api)
    assert carried(own, other) == [None]


@pytest.mark.parametrize("target", ["/v1/x", "x", "//{host}/v1/x"])
def test_a_redirect_inside_the_prefix_carries_the_token_in_its_own_header(
    own: OwnScene, own_sessions: Sessions, target: str
) -> None:
    session = own_sessions.new(api_url=f"{own.api.url}/v1")
    session.get(moved_to(own, target.format(host=own.api.url.partition("//")[2])))
    assert own.trail == [("/v1/go", 1), ("/v1/x", 1)]


def test_a_redirect_between_apis_with_other_headers_carries_no_token(own: OwnScene) -> None:
    for scheme in (Bearer(), SHOPIFY, VAULT):
        second = own.stack.enter_context(api_for(own.auth, scheme))
        second.protected = False
        session = own.session(api_url=own.api.url)
        session.add_api(second.url, scheme=scheme, scope="b")
        session.get(moved_to(own, f"{second.url}/x"))
        (seen,) = second.requests
        assert not {"Authorization", SHOPIFY.header, VAULT.header} & {*seen.headers}
        assert session.get(f"{second.url}/anything").status_code == 200
        assert second.requests[-1].token is not None


def test_a_header_that_the_caller_wrote_is_redirected_as_requests_does(beside: OwnScene) -> None:
    other, header = beside.another_api(), beside.scheme.header
    url = moved_to(beside, f"{other.url}/x")
    for session in (beside.plain(), beside.session()):
        session.get(url, headers={header.upper(): "mine"})
        assert other.requests[-1].headers[header] == "mine"
    assert beside.token_requests == 0


# The Authorization of the caller, beside the token


def in_headers(session: requests.Session, url: str) -> None:
    session.get(url, headers={"authorization": "Basic bWluZTpw"})


def in_auth(session: requests.Session, url: str) -> None:
    session.get(url, auth=("mine", "p"))


def in_auth_object(session: requests.Session, url: str) -> None:
    session.get(url, headers={"Authorization": "old"}, auth=HTTPBasicAuth("mine", "p"))


def in_session_auth(session: requests.Session, url: str) -> None:
    session.auth = "mine", "p"
    session.get(url)


def in_session_headers(session: requests.Session, url: str) -> None:
    session.headers["Authorization"] = "Basic bWluZTpw"
    session.get(url)


def in_the_url(session: requests.Session, url: str) -> None:
    session.get(url.replace("://", "://mine:p@"))


def nowhere(session: requests.Session, url: str) -> None:
    session.get(url)


def left_out(session: requests.Session, url: str) -> None:
    session.headers["Authorization"] = "Basic bWluZTpw"
    session.get(url, headers={"Authorization": None})


CALLERS = [
    *(in_headers, in_auth, in_auth_object, in_session_auth, in_session_headers, in_the_url),
    *(nowhere, left_out),
]


@pytest.mark.parametrize("has_netrc", [False, True], ids=["", "netrc"])
@pytest.mark.parametrize("call", CALLERS)
def test_the_authorization_beside_a_token_is_as_in_requests(
    beside: OwnScene,
    call: Callable[..., None],
    has_netrc: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login l password p\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ("netrc" if has_netrc else "none")))
    other = beside.another_api()
    for target, apis in (("/v1/x", [beside.api]), (f"{other.url}/x", [beside.api, other])):
        url, found = moved_to(beside, target), []
        for session in (beside.plain(), beside.session(api_url=f"{beside.api.url}/v1")):
            session.trust_env = True
            beside.api.forget()
            other.forget()
            call(session, url)
            found.append(
                [seen.headers.get("Authorization") for api in apis for seen in api.requests]
            )
        assert found[0] == found[1]
        assert len(found[0]) == 2
        tokens = [value is not None for value in carried(beside, beside.api, other)]
        assert tokens == [True, target == "/v1/x"]


@pytest.mark.parametrize("has_netrc", [False, True], ids=["", "netrc"])
def test_a_plain_session_sends_its_authorization_beside_a_token(
    beside: OwnScene, has_netrc: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login l password p\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ("netrc" if has_netrc else "none")))
    other, auth = beside.another_api(), beside.auth_object()
    for target in ("/v1/x", f"{other.url}/x"):
        url, found = moved_to(beside, target), []
        for given in (lambda r: r, auth):
            session = beside.plain()
            session.trust_env = True
            beside.api.forget()
            other.forget()
            session.get(url, auth=given, headers={"Authorization": "mine"})
            seen = [*beside.api.requests, *other.requests]
            found.append([one.headers.get("Authorization") for one in seen])
        assert found[0] == found[1]
        tokens = [value is not None for value in carried(beside, beside.api, other)]
        assert tokens == [True, target == "/v1/x"]
