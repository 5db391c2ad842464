"""The contract, fourth part: credentials that the caller brings, which are never touched.

Where a caller says nothing the token goes out, and ``~/.netrc`` is no word of the caller's.
"""

from __future__ import annotations

import base64
from typing import Any

import pytest
from requests import PreparedRequest, Request, Response
from requests.auth import AuthBase, HTTPBasicAuth, HTTPDigestAuth, HTTPProxyAuth

from oauthcc import ClientCredentialsSession
from oauthcc.testing import Answer, SeenRequest

from .contract import (
    Case,
    Cases,
    Run,
    Way,
    World,
    compare,
    echo,
    open_world,
    quiet,
)

pytestmark = pytest.mark.unmeasured
world = pytest.fixture(scope="module")(open_world)
cases = Cases()


class _ApiKey(AuthBase):
    """Authorizes by a header of its own."""

    def __call__(self, r: PreparedRequest) -> PreparedRequest:
        r.headers["X-Api-Key"] = "key"
        return r


_key = _ApiKey()


class _OwnBearer(AuthBase):
    def __call__(self, r: PreparedRequest) -> PreparedRequest:
        r.headers["Authorization"] = "Bearer of-the-caller"
        return r


class _Replacing(AuthBase):
    """Gives another request than it was given."""

    def __call__(self, r: PreparedRequest) -> PreparedRequest:
        other = r.copy()
        other.headers["X-Replaced"] = "1"
        return other


def _digest(seen: SeenRequest) -> Answer:
    """Ask for digest authentication; whether the proof is right is not looked into."""
    if seen.headers.get("Authorization", "").startswith("Digest "):
        return echo(seen)
    challenge = 'Digest realm="r", nonce="n", qop="auth", algorithm=MD5'
    return Answer(401, {"WWW-Authenticate": challenge, "Set-Cookie": "d=1"}, b"who are you")


def _basic(seen: SeenRequest) -> Answer:
    """Refuse whoever comes."""
    return Answer(401, {"WWW-Authenticate": 'Basic realm="r"'}, b"not you")


def _url(run: Run) -> str:
    run.world.api.add_route("/digest", _digest)
    run.world.api.add_route("/basic", _basic)
    return run.url


# -- auth= and session.auth ------------------------------------------------------------------------


@cases.add(signed=False)
def auth_of_the_call(run: Run) -> None:
    url = _url(run)
    several: list[Any] = [
        ("user", "pass"),
        HTTPBasicAuth("user", "pass"),
        HTTPProxyAuth("user", "pass"),
        _ApiKey(),
        _OwnBearer(),
        _Replacing(),
        lambda r: r,
    ]
    for auth in several:
        run.note(run.session.get(url, auth=auth), run.session.post(url, data=b"x", auth=auth))
        run.note(run.session.get(run.hop(), auth=auth))


@cases.add(signed=False)
def auth_of_the_call_that_is_empty_but_not_none(run: Run) -> None:
    several: list[Any] = [(), "", False, 0, {}]
    for auth in several:
        run.attempt(run.session.get, run.url, auth=auth)


@cases.add(signed=False)
def auth_that_makes_no_sense(run: Run) -> None:
    several: list[Any] = ["user", 17, ["user", "pass"], ("user",), ("a", "b", "c"), (1, 2)]
    for auth in several:
        with pytest.warns() if auth == (1, 2) else _nothing():
            run.attempt(run.session.get, run.url, auth=auth)


class _nothing:  # noqa: N801 - stands for a context manager such as pytest.warns
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


@cases.add(signed=False)
def digest_is_left_to_requests(run: Run) -> None:
    _url(run)
    url, auth = f"{run.world.api.url}/digest", HTTPDigestAuth("user", "pass")
    run.note(run.session.get(url, auth=auth), run.session.post(url, data=b"x", auth=auth))
    run.note(run.session.cookies)
    run.session.auth = HTTPDigestAuth("user", "pass")
    run.note(run.session.get(url), run.session.get(run.hop(url)))


@cases.add(signed=False)
def digest_on_a_bare_prepared_request(run: Run) -> None:
    _url(run)
    url = f"{run.world.api.url}/digest"
    prepared = Request("GET", url, auth=HTTPDigestAuth("user", "pass")).prepare()
    run.note(run.session.send(prepared), run.session.send(prepared))


@cases.add(signed=False)
def auth_of_the_session_set_later(run: Run) -> None:
    for auth in (("user", "pass"), lambda r: r, _key):
        run.session.auth = auth
        run.note(run.session.get(run.url), run.session.get(run.hop()))
        run.note(run.session.get(run.url, auth=("over", "ruled")))
        run.note(run.session.send(run.session.prepare_request(Request("GET", run.url))))


@cases.add(signed=(True, False, True))
def auth_of_the_session_set_and_taken_back(run: Run) -> None:
    for auth in (None, ("user", "pass"), None):
        run.session.auth = auth
        run.note(run.session.get(run.url))


@cases.add(signed=False)
def the_refusal_of_somebody_elses_credentials_is_not_ours(run: Run) -> None:
    _url(run)
    url = f"{run.world.api.url}/basic"
    run.note(run.session.get(url, auth=("user", "pass")), run.session.get(url, auth=_ApiKey()))
    run.note(run.session.get(url, headers={"Authorization": "Bearer theirs"}))
    run.session.auth = ("user", "pass")
    run.note(run.session.get(url))


@cases.add(signed=False)
def auth_for_a_redirect_to_another_origin(run: Run) -> None:
    target = f"{run.world.other.url}/echo"
    run.note(run.session.get(run.hop(target), auth=("user", "pass")))
    run.note(run.session.get(run.hop(target), auth=_ApiKey()))
    run.note(run.session.get(run.hop(target), headers={"Authorization": "theirs"}))


# -- the header ------------------------------------------------------------------------------------


@cases.add(signed=False)
def an_authorization_header_of_the_call(run: Run) -> None:
    several: list[Any] = [
        {"Authorization": "Bearer of-the-caller"},
        {"authorization": "Basic eDp5"},
        {"AUTHORIZATION": b"Bearer in-bytes"},
        {b"Authorization": b"Bearer in-bytes"},
        {"Authorization": ""},
    ]
    for headers in several:
        run.note(run.session.get(run.url, headers=headers))
        run.note(run.session.get(run.hop(), headers=headers), headers)


@cases.add(signed=False)
def an_authorization_header_of_the_session(run: Run) -> None:
    run.session.headers["Authorization"] = "Bearer of-the-caller"
    run.note(run.session.get(run.url), run.session.get(run.hop()))
    run.note(run.session.get(run.hop(f"{run.world.other.url}/echo")))
    run.note(run.session.get(run.url, auth=("user", "pass")))


@cases.add(signed=True)
def an_authorization_header_that_is_none_is_not_there(run: Run) -> None:
    headers: Any = {"Authorization": None}
    run.note(run.session.get(run.url, headers=headers))
    run.session.headers["Authorization"] = "Bearer of-the-caller"
    run.note(run.session.get(run.url, headers=headers), headers)


@cases.add(signed=False)
def an_authorization_header_on_a_prepared_request(run: Run) -> None:
    prepared = Request("GET", run.url).prepare()
    prepared.headers["Authorization"] = "Bearer of-the-caller"
    run.note(run.session.send(prepared), prepared)
    prepared = run.session.prepare_request(Request("GET", run.url))
    prepared.headers["Authorization"] = "Bearer of-the-caller"
    run.note(run.session.send(prepared), prepared)
    prepared = run.session.prepare_request(Request("GET", run.url))
    prepared.prepare_auth(("user", "pass"))
    run.note(run.session.send(prepared), prepared)


# -- userinfo --------------------------------------------------------------------------------------


def _with_user(url: str) -> str:
    return url.replace("//", "//us%65r:p%40ss@")


@cases.add(signed=False)
def userinfo_in_the_url(run: Run) -> None:
    url = _with_user(run.url)
    run.note(run.session.get(url), run.session.post(url, data=b"x"))
    run.note(run.session.send(run.session.prepare_request(Request("GET", url))))
    run.note(run.session.send(Request("GET", url).prepare()))
    run.note(run.session.get(url, auth=("over", "ruled")))
    run.note(run.session.get(run.url.replace("//", "//:only-pass@")))


@cases.add(signed=False)
def userinfo_in_the_url_and_then_a_redirect(run: Run) -> None:
    run.note(run.session.get(_with_user(run.hop())))
    run.note(run.session.get(_with_user(run.hop(f"{run.world.other.url}/echo"))))


@cases.add()
def a_user_without_a_password_is_nothing_to_requests(run: Run) -> None:
    run.note(run.session.get(run.url.replace("//", "//only-user@")))


@cases.add()
def an_at_sign_that_is_no_userinfo(run: Run) -> None:
    run.note(run.session.get(f"{run.url}/@somebody?mail=a@b#c@d"))


# -- netrc -----------------------------------------------------------------------------------------


def _netrc(run: Run, *machines: str) -> None:
    path = run.folder / "netrc"
    path.write_text("".join(f"machine {m} login user password pass\n" for m in machines))
    run.patch.setenv("NETRC", str(path))


@cases.add()
def netrc_never_displaces_the_token(run: Run) -> None:
    _netrc(run, "127.0.0.1")
    run.note(run.session.get(run.url).json(), run.session.post(run.url, data=b"x").json())
    run.note(run.session.get(run.hop()).json(), run.session.get(f"{run.url}/@somebody").json())


@cases.add(signed=(True, False))
def netrc_serves_hops_to_another_origin(run: Run) -> None:
    _netrc(run, "127.0.0.1")
    run.note(run.session.get(run.hop(f"{run.world.other.url}/echo")).json())


@cases.add()
def netrc_is_not_read_where_the_environment_is_not_trusted(run: Run) -> None:
    _netrc(run, "127.0.0.1")
    run.session.trust_env = False
    run.note(run.session.get(run.url), run.session.get(run.hop()))


@cases.add(signed=False)
def netrc_beside_credentials_of_the_caller(run: Run) -> None:
    _netrc(run, "127.0.0.1")
    run.note(run.session.get(run.url, auth=("over", "ruled")), run.session.get(run.url, auth=_key))
    run.note(run.session.get(_with_user(run.url)))
    run.note(run.session.get(run.url, headers={"Authorization": "Bearer of-the-caller"}))
    run.note(run.session.get(run.hop(), auth=_key), run.session.get(run.hop(), auth=("u", "p")))
    run.session.auth = _key
    run.note(run.session.get(run.url), run.session.get(run.hop()))


@cases.add()
def a_netrc_that_cannot_be_read(run: Run) -> None:
    path = run.folder / "broken-netrc"
    path.write_text("machine machine login\n")
    run.patch.setenv("NETRC", str(path))
    run.note(run.session.get(run.url))


# -- rebuild_auth ----------------------------------------------------------------------------------


@cases.add()
def rebuild_auth_of_ones_own(run: Run) -> None:
    class Loud(run.base):  # type: ignore[name-defined, misc]
        def rebuild_auth(self, prepared_request: PreparedRequest, response: Response) -> None:
            run.note(response.status_code, prepared_request.url)
            super().rebuild_auth(prepared_request, response)

    run.note(run.make(Loud).get(run.hop(run.world.api.url, run.url)))


@cases.add(signed=False)
def should_strip_auth_of_ones_own(run: Run) -> None:
    class Lax(run.base):  # type: ignore[name-defined, misc]
        def should_strip_auth(self, old_url: str, new_url: str) -> bool:
            return False

    target = f"{run.world.other.url}/echo"
    run.note(run.make(Lax).get(run.hop(target), auth=("user", "pass")))


@cases.each()
def test_what_the_caller_says_goes_as_with_requests(case: Case, world: World, way: Way) -> None:
    compare(case, world, way)


# -- netrc beyond api_url --------------------------------------------------------------------------


def test_netrc_serves_what_is_outside_api_url(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet(monkeypatch, world.folder)
    path = world.folder / "some-netrc"
    path.write_text("machine 127.0.0.1 login user password pass\n")
    monkeypatch.setenv("NETRC", str(path))
    auth = world.auth
    world.api.forget()
    world.other.forget()
    with ClientCredentialsSession(
        auth.token_url, auth.client_id, auth.client_secret, api_url=f"{world.api.url}/echo"
    ) as session:
        session.get(f"{world.other.url}/echo")
        session.get(f"{world.api.url}/elsewhere")
        session.get(world.url)
    basic = "Basic " + base64.b64encode(b"user:pass").decode()
    assert [seen.headers["Authorization"] for seen in world.other.requests] == [basic]
    elsewhere, inside = world.api.requests
    assert elsewhere.headers["Authorization"] == basic
    assert inside.token in auth.issued


def test_a_lax_subclass_does_not_let_the_token_out(world: World) -> None:
    class Lax(ClientCredentialsSession):
        def should_strip_auth(self, old_url: str, new_url: str) -> bool:
            return False

    world.other.forget()
    auth = world.auth
    with Lax(auth.token_url, auth.client_id, auth.client_secret) as session:
        session.get(f"{world.api.url}/hop/302/c?{world.other.url}/echo")
    assert [seen.token for seen in world.other.requests] == [None]
