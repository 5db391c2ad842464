"""`patch`: the requests of sessions that know nothing of tokens, and what wins over them."""

from __future__ import annotations

import copy
import logging
import multiprocessing
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from multiprocessing import spawn
from pathlib import Path
from typing import Any

import pytest
import requests
from requests import PreparedRequest, Request, Session
from requests.auth import AuthBase, HTTPDigestAuth

import oauthcc
from oauthcc import (
    Bearer,
    ClientCredentialsSession,
    ConfigurationError,
    InsecureURLError,
    Patch,
    TokenEndpointUnavailable,
)
from oauthcc.testing import ProtectedAPI

from .internet import TOKEN_URL, Internet
from .refusals import UNAVAILABLE, Scene
from .sessions import CLIENT, connected, on


@pytest.fixture(autouse=True)
def _nothing_is_patched() -> Iterator[None]:
    """Check that each test leaves requests as it was."""
    before = PreparedRequest.prepare_hooks, spawn.get_preparation_data
    yield
    assert (PreparedRequest.prepare_hooks, spawn.get_preparation_data) == before


@pytest.fixture
def patched(scene: Scene) -> Iterator[Patch]:
    """Give tokens to all requests to the API of a scene."""
    with oauthcc.patch(scene.session(api_url=scene.api.url)) as made:
        yield made


def tokens_seen(server: ProtectedAPI) -> list[str | None]:
    return [request.token for request in server.requests]


SENDERS: dict[str, Callable[[str], requests.Response]] = {
    "function": requests.get,
    "session": lambda url: Session().get(url),
    "prepared": lambda url: Session().send(Request("GET", url).prepare()),
    "prepared by a session": lambda url: Session().send(
        Session().prepare_request(Request("GET", url))
    ),
    "copied": lambda url: Session().send(Request("GET", url).prepare().copy()),
    "deeply copied": lambda url: Session().send(copy.deepcopy(Request("GET", url).prepare())),
    "pickled": lambda url: Session().send(
        pickle.loads(pickle.dumps(Request("GET", url).prepare()))
    ),
    "prepared again": lambda url: Session().send(_prepared_twice(url)),
}


def _prepared_twice(url: str) -> PreparedRequest:
    request = PreparedRequest()
    request.prepare("GET", f"{url}/first")
    request.prepare("GET", url)
    return request


@pytest.mark.usefixtures("patched")
@pytest.mark.parametrize("sender", SENDERS)
def test_requests_of_any_session_get_the_token(scene: Scene, sender: str) -> None:
    assert SENDERS[sender](scene.url).status_code == 200
    assert tokens_seen(scene.api) == scene.auth.issued


def test_the_token_is_fetched_when_a_request_is_sent(scene: Scene, patched: Patch) -> None:
    prepared = Request("GET", scene.url).prepare()
    assert "Authorization" not in prepared.headers
    assert scene.auth.token_requests == []
    assert Session().send(prepared).status_code == 200
    assert repr(patched).startswith("<Patch with <ClientCredentialsSession for client")


def test_a_revoked_token_is_replaced_and_the_request_sent_again(
    scene: Scene, patched: Patch
) -> None:
    scene.revoke(patched.session.tokens)
    assert requests.post(scene.url, data=b"body").json()["length"] == 4
    assert [(r.path, len(r.body)) for r in scene.api.requests] == 2 * [("/anything", 4)]
    assert scene.token_requests == 1


def test_the_token_stays_at_its_api_and_its_origin(scene: Scene, patched: Patch) -> None:
    with ProtectedAPI(scene.auth) as foreign:
        foreign.protected = False
        assert requests.get(f"{foreign.url}/theirs").status_code == 200
        assert requests.get(f"{scene.api.url}/redirect-to?url={foreign.url}/there").ok
        assert requests.get(f"{scene.api.url}/redirect-to?url=/here").ok
        assert tokens_seen(foreign) == [None, None]
    assert None not in tokens_seen(scene.api)


def test_the_response_shows_no_token(scene: Scene, patched: Patch) -> None:
    response = requests.get(scene.url)
    token = patched.session.tokens.get().access_token
    assert token not in repr(vars(response.request))
    assert token not in repr(vars(pickle.loads(pickle.dumps(response)).request))


def test_a_prepared_request_that_is_sent_by_many_threads_is_accepted_in_each(
    scene: Scene, patched: Patch
) -> None:
    prepared, scene.auth.delay = Request("GET", scene.url).prepare(), 0.05
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda _: Session().send(prepared).status_code, range(16))
    assert set(answers) == {200}
    assert len(scene.auth.token_requests) == 1


class KeyAuth(AuthBase):
    def __call__(self, r: PreparedRequest) -> PreparedRequest:
        r.headers["X-Key"] = "key"
        return r


OWN: dict[str, dict[str, Any]] = {
    "basic": {"auth": ("me", "mine")},
    "digest": {"auth": HTTPDigestAuth("me", "mine")},
    "another header": {"auth": KeyAuth()},
    "an auth that writes nothing": {"auth": lambda r: r},
    "a header": {"headers": {"Authorization": "Bearer own"}},
    "no header": {"headers": {"Authorization": None}},
    "no header, in lower case": {"headers": {"authorization": None}},
}


@pytest.mark.usefixtures("patched")
@pytest.mark.parametrize("kwargs", OWN.values(), ids=OWN)
def test_what_a_call_brings_wins(scene: Scene, kwargs: dict[str, Any]) -> None:
    assert requests.get(scene.url, **kwargs).status_code == 401
    assert scene.auth.token_requests == []


@pytest.mark.usefixtures("patched")
def test_what_a_session_brings_wins(scene: Scene) -> None:
    session = Session()
    session.auth = ("me", "mine")
    assert session.get(scene.url).status_code == 401
    session = Session()
    session.headers["Authorization"] = "Bearer own"
    assert session.get(scene.url).status_code == 401
    assert requests.get(scene.url.replace("://", "://me:mine@")).status_code == 401
    assert scene.auth.token_requests == []


@pytest.mark.usefixtures("patched")
def test_a_header_that_is_set_after_preparing_wins(scene: Scene) -> None:
    prepared = Request("GET", scene.url).prepare()
    prepared.headers["Authorization"] = "Bearer own"
    assert Session().send(prepared).status_code == 401
    assert scene.auth.token_requests == []


@pytest.mark.usefixtures("patched")
def test_a_login_of_netrc_wins(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password mine\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert requests.get(scene.url).status_code == 401
    assert scene.auth.token_requests == []


def test_a_session_of_ours_keeps_its_own_tokens(scene: Scene, patched: Patch) -> None:
    own = scene.session(scope="own")
    assert own.get(scene.url).status_code == 200
    assert [dict(r.form).get("scope") for r in scene.auth.token_requests] == ["own"]
    # The token endpoint is under the prefix of the API here.
    patched.session.add_api(scene.auth.url)
    assert scene.session(scope="more").get(scene.url).status_code == 200
    assert len(scene.auth.token_requests) == 2


def test_a_token_in_another_header_goes_beside_a_login(net: Internet) -> None:
    session = connected(net, scheme=Bearer(header="X-Token"), api_url="https://api.example")
    with oauthcc.patch(session):
        on(net, Session()).get("https://api.example/a", auth=("me", "mine"))
        on(net, Session()).get("https://api.example/b", headers={"X-Token": None})
    first, second = net.seen
    assert first.request.headers["X-Token"].startswith("Bearer ")
    assert str(first.authorization).startswith("Basic ")
    assert "X-Token" not in second.request.headers


def test_a_redirect_from_http_to_https_leads_to_the_token(net: Internet) -> None:
    net.redirect("http://api.example/a", "https://api.example/a")
    session = on(net, Session())
    session.mount("http://", net)
    with oauthcc.patch(connected(net, api_url="https://api.example")):
        assert session.get("http://api.example/a").status_code == 200
        assert session.get("HTTP://other.example/a").status_code == 200
    calls = [(seen.url, bool(seen.authorization)) for seen in net.seen if seen.url != TOKEN_URL]
    assert calls == [
        ("http://api.example/a", False),
        ("https://api.example/a", True),
        ("http://other.example/a", False),
    ]


def test_the_newest_patch_that_knows_a_url_decides(scene: Scene) -> None:
    with (
        oauthcc.patch(scene.session(scope="one", api_url=scene.api.url)),
        oauthcc.patch(scene.session(scope="two", api_url=f"{scene.api.url}/two")),
    ):
        requests.get(f"{scene.api.url}/one")
        requests.get(f"{scene.api.url}/two")
    assert [dict(r.form)["scope"] for r in scene.auth.token_requests] == ["one", "two"]


def test_a_patch_that_is_undone_gives_no_more_tokens(scene: Scene) -> None:
    made = oauthcc.patch(scene.session(api_url=scene.api.url))
    prepared = Request("GET", scene.url).prepare()
    made.undo()
    made.undo()
    assert Session().send(prepared).status_code == 401
    assert requests.get(scene.url).status_code == 401
    assert scene.auth.token_requests == []


def test_what_others_put_in_the_place_of_ours_is_left_there(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = PreparedRequest.prepare_hooks
    made = oauthcc.patch(scene.session(api_url=scene.api.url))
    ours = PreparedRequest.prepare_hooks
    with monkeypatch.context() as patch:

        @wraps(ours)
        def theirs(self: PreparedRequest, hooks: Any) -> None:
            ours(self, hooks)

        patch.setattr(PreparedRequest, "prepare_hooks", theirs)
        assert requests.get(scene.url).status_code == 200
        made.undo()
        assert PreparedRequest.prepare_hooks is theirs
        assert requests.get(scene.url).status_code == 401
        with oauthcc.patch(made.session):
            assert requests.get(scene.url).status_code == 200
    # Nobody undid the first one while ours was below another function.
    with oauthcc.patch(made.session):
        assert requests.get(scene.url).status_code == 200
    assert PreparedRequest.prepare_hooks is first


@pytest.mark.usefixtures("patched")
def test_hooks_that_are_prepared_without_a_request_are_left_alone() -> None:
    request = PreparedRequest()
    request.hooks = {"response": []}
    request.prepare_hooks({"response": print})
    assert request.hooks == {"response": [print]}


@pytest.mark.usefixtures("patched")
def test_the_errors_of_the_token_endpoint_reach_the_caller(scene: Scene) -> None:
    scene.auth.answer_next(UNAVAILABLE, None)
    with pytest.raises(TokenEndpointUnavailable):
        requests.get(scene.url)


@pytest.mark.usefixtures("patched")
def test_a_proxy_beyond_this_machine_is_refused_on_plain_http(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    with pytest.raises(InsecureURLError, match="NO_PROXY"):
        requests.get(scene.url)


def test_the_log_says_why_a_request_has_no_token(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "oauthcc")
    with oauthcc.patch(scene.session(api_url=f"{scene.api.url}/v1")):
        requests.get(f"{scene.api.url}/v10")
        requests.get(f"{scene.api.url}/v1", auth=("me", "mine"))
    lines = [(r.levelname, r.message) for r in caplog.records if "without the token" in r.message]
    assert [level for level, _ in lines] == ["WARNING", "DEBUG"]
    assert "not under a prefix" in lines[0][1]
    assert "brings its own" in lines[1][1]


def test_the_token_request_itself_is_not_reported(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "oauthcc")
    beside_the_endpoint = scene.auth.token_url.replace("/token", "/v1")
    with oauthcc.patch(scene.session(api_url=[scene.api.url, beside_the_endpoint])):
        assert requests.get(scene.url).status_code == 200
    assert "without the token" not in caplog.text


@pytest.mark.parametrize("as_mapping", [False, True])
def test_options_take_the_place_of_a_session(scene: Scene, as_mapping: bool) -> None:
    token_url, client_id, client_secret = scene.client
    options: dict[str, Any] = {
        "token_url": token_url,
        "client_id": client_id,
        "client_secret": client_secret,
        "api_url": scene.api.url,
    }
    with oauthcc.patch(options) if as_mapping else oauthcc.patch(**options) as made:
        assert requests.get(scene.url).status_code == 200
    made.session.close()


def test_the_environment_takes_the_place_of_a_session(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OAUTH_TOKEN_URL", scene.auth.token_url)
    monkeypatch.setenv("OAUTH_CLIENT_ID", scene.auth.client_id)
    monkeypatch.setenv("OAUTH_CLIENT_SECRET", scene.auth.client_secret)
    monkeypatch.setenv("OAUTH_API_URL", scene.api.url)
    with oauthcc.patch(scope="mine") as made:
        assert requests.get(scene.url).status_code == 200
    assert made.session.tokens._client.scope == "mine"


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        ((ClientCredentialsSession(*CLIENT),), {}, "needs api_url"),
        ((ClientCredentialsSession(*CLIENT, api_url="https://a.example"),), {"scope": "a"}, "both"),
        ((Session(),), {}, "takes a ClientCredentialsSession"),
        (("https://as.example/token",), {}, "takes a ClientCredentialsSession"),
    ],
)
def test_a_wrong_argument_is_an_error(
    arguments: tuple[Any, ...], options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        oauthcc.patch(*arguments, **options)


class MySession(ClientCredentialsSession):
    """A session of a user, in a module that a child imports."""


def status_of(url: str) -> int:
    return requests.get(url).status_code


@pytest.mark.unmeasured
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_of_multiprocessing_are_patched(scene: Scene, method: str) -> None:
    session = MySession(*scene.client, api_url=scene.api.url)
    with oauthcc.patch(session), multiprocessing.get_context(method).Pool(1) as pool:
        assert pool.map(status_of, [scene.url]) == [200]


def told_to_a_child() -> bytes:
    """Return what a child is told about the patches."""
    return pickle.dumps(spawn.get_preparation_data("child").get("oauthcc"))


def test_a_child_is_patched_once(scene: Scene) -> None:
    with oauthcc.patch(scene.session(api_url=scene.api.url)):
        told = told_to_a_child()
        pickle.loads(told)  # as if it was patched when it started
    pickle.loads(told)
    (made,) = oauthcc.patching._patches
    assert requests.get(scene.url).status_code == 200
    made.undo()


def test_a_session_that_cannot_be_pickled_is_told(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    token_url, client_id, _ = scene.client
    session = ClientCredentialsSession(
        token_url, client_id, lambda: scene.auth.client_secret, api_url=scene.api.url
    )
    with oauthcc.patch(session):
        told = told_to_a_child()
    pickle.loads(told)
    assert "cannot be pickled" in caplog.text
    assert oauthcc.patching._patches == ()


def test_a_session_that_cannot_be_unpickled_is_told(caplog: pytest.LogCaptureFixture) -> None:
    oauthcc.patching._patch_child(b"no pickle")
    assert "cannot be unpickled" in caplog.text
