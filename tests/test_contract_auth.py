"""The contract, fourth part: an authorization of the caller is never changed.

Without one, the request carries the token. ``~/.netrc`` is not an authorization of the caller.
"""

from __future__ import annotations

from typing import Any

import pytest
from requests import PreparedRequest, Request, Response
from requests.auth import AuthBase, HTTPBasicAuth, HTTPDigestAuth, HTTPProxyAuth

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
)

pytestmark = pytest.mark.unmeasured
world = pytest.fixture(scope="module")(open_world)
cases = Cases()


class _ApiKey(AuthBase):
    """An auth with a header of its own."""

    def __call__(self, r: PreparedRequest) -> PreparedRequest:
        r.headers["X-Api-Key"] = "key"
        return r


_key = _ApiKey()


class _OwnBearer(AuthBase):
    def __call__(self, r: PreparedRequest) -> PreparedRequest:
        r.headers["Authorization"] = "Bearer of-the-caller"
        return r


class _Replacing(AuthBase):
    """An auth that returns another request."""

    def __call__(self, r: PreparedRequest) -> PreparedRequest:
        other = r.copy()
        other.headers["X-Replaced"] = "1"
        return other


def _digest(seen: SeenRequest) -> Answer:
    """Ask for digest authentication, and accept any digest."""
    if seen.headers.get("Authorization", "").startswith("Digest "):
        return echo(seen)
    challenge = 'Digest realm="r", nonce="n", qop="auth", algorithm=MD5'
    return Answer(401, {"WWW-Authenticate": challenge, "Set-Cookie": "d=1"}, b"unknown")


def _basic(seen: SeenRequest) -> Answer:
    """Refuse every request."""
    return Answer(401, {"WWW-Authenticate": 'Basic realm="r"'}, b"refused")


def _url(run: Run) -> str:
    run.world.api.add_route("/digest", _digest)
    run.world.api.add_route("/basic", _basic)
    return run.url


# -- auth= and session.auth ------------------------------------------------------------------------


@cases.add(token=False)
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


@cases.add(token=False)
def auth_of_the_call_that_is_empty_but_not_none(run: Run) -> None:
    several: list[Any] = [(), "", False, 0, {}]
    for auth in several:
        run.attempt(run.session.get, run.url, auth=auth)


@cases.add(token=False)
def invalid_auth(run: Run) -> None:
    several: list[Any] = ["user", 17, ["user", "pass"], ("user",), ("a", "b", "c"), (1, 2)]
    for auth in several:
        with pytest.warns() if auth == (1, 2) else _nothing():
            run.attempt(run.session.get, run.url, auth=auth)


class _nothing:  # noqa: N801 - a context manager, as pytest.warns is
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


@cases.add(token=False)
def digest(run: Run) -> None:
    _url(run)
    url, auth = f"{run.world.api.url}/digest", HTTPDigestAuth("user", "pass")
    run.note(run.session.get(url, auth=auth), run.session.post(url, data=b"x", auth=auth))
    run.note(run.session.cookies)
    run.session.auth = HTTPDigestAuth("user", "pass")
    run.note(run.session.get(url), run.session.get(run.hop(url)))


@cases.add(token=False)
def digest_on_a_bare_prepared_request(run: Run) -> None:
    _url(run)
    url = f"{run.world.api.url}/digest"
    prepared = Request("GET", url, auth=HTTPDigestAuth("user", "pass")).prepare()
    run.note(run.session.send(prepared), run.session.send(prepared))


@cases.add(token=False)
def auth_of_the_session_set_later(run: Run) -> None:
    for auth in (("user", "pass"), lambda r: r, _key):
        run.session.auth = auth
        run.note(run.session.get(run.url), run.session.get(run.hop()))
        run.note(run.session.get(run.url, auth=("over", "ruled")))
        run.note(run.session.send(run.session.prepare_request(Request("GET", run.url))))


@cases.add(token=(True, False, True))
def auth_of_the_session_set_and_removed(run: Run) -> None:
    for auth in (None, ("user", "pass"), None):
        run.session.auth = auth
        run.note(run.session.get(run.url))


@cases.add(token=False)
def the_refusal_of_an_authorization_of_the_caller_is_returned(run: Run) -> None:
    _url(run)
    url = f"{run.world.api.url}/basic"
    run.note(run.session.get(url, auth=("user", "pass")), run.session.get(url, auth=_ApiKey()))
    run.note(run.session.get(url, headers={"Authorization": "Bearer theirs"}))
    run.session.auth = ("user", "pass")
    run.note(run.session.get(url))


@cases.add(token=False)
def auth_for_a_redirect_to_another_origin(run: Run) -> None:
    target = f"{run.world.other.url}/echo"
    run.note(run.session.get(run.hop(target), auth=("user", "pass")))
    run.note(run.session.get(run.hop(target), auth=_ApiKey()))
    run.note(run.session.get(run.hop(target), headers={"Authorization": "theirs"}))


# -- the header ------------------------------------------------------------------------------------


@cases.add(token=False)
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


@cases.add(token=False)
def an_authorization_header_of_the_session(run: Run) -> None:
    run.session.headers["Authorization"] = "Bearer of-the-caller"
    run.note(run.session.get(run.url), run.session.get(run.hop()))
    run.note(run.session.get(run.hop(f"{run.world.other.url}/echo")))
    run.note(run.session.get(run.url, auth=("user", "pass")))


@cases.add(token=False)
def an_authorization_header_of_none_is_absent(run: Run) -> None:
    headers: Any = {"Authorization": None}
    run.note(run.session.get(run.url, headers=headers))
    run.session.headers["Authorization"] = "Bearer of-the-caller"
    run.note(run.session.get(run.url, headers=headers), headers)


@cases.add(token=False)
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


@cases.add(token=False)
def userinfo_in_the_url(run: Run) -> None:
    url = _with_user(run.url)
    run.note(run.session.get(url), run.session.post(url, data=b"x"))
    run.note(run.session.send(run.session.prepare_request(Request("GET", url))))
    run.note(run.session.send(Request("GET", url).prepare()))
    run.note(run.session.get(url, auth=("over", "ruled")))
    run.note(run.session.get(run.url.replace("//", "//:only-pass@")))


@cases.add(token=False)
def userinfo_in_the_url_and_then_a_redirect(run: Run) -> None:
    run.note(run.session.get(_with_user(run.hop())))
    run.note(run.session.get(_with_user(run.hop(f"{run.world.other.url}/echo"))))


@cases.add()
def a_user_without_a_password_is_ignored(run: Run) -> None:
    run.note(run.session.get(run.url.replace("//", "//only-user@")))


@cases.add()
def an_at_sign_that_is_not_userinfo(run: Run) -> None:
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


@cases.add(token=(True, False))
def netrc_is_used_for_redirects_to_another_origin(run: Run) -> None:
    _netrc(run, "127.0.0.1")
    run.note(run.session.get(run.hop(f"{run.world.other.url}/echo")).json())


@cases.add()
def netrc_is_not_read_if_the_environment_is_not_trusted(run: Run) -> None:
    _netrc(run, "127.0.0.1")
    run.session.trust_env = False
    run.note(run.session.get(run.url), run.session.get(run.hop()))


@cases.add(token=False)
def netrc_with_an_authorization_of_the_caller(run: Run) -> None:
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
def an_overridden_rebuild_auth(run: Run) -> None:
    class Loud(run.base):  # type: ignore[name-defined, misc]
        def rebuild_auth(self, prepared_request: PreparedRequest, response: Response) -> None:
            run.note(response.status_code, prepared_request.url)
            super().rebuild_auth(prepared_request, response)

    run.note(run.make(Loud).get(run.hop(run.world.api.url, run.url)))


@cases.add(token=False)
def an_overridden_should_strip_auth(run: Run) -> None:
    class Lax(run.base):  # type: ignore[name-defined, misc]
        def should_strip_auth(self, old_url: str, new_url: str) -> bool:
            return False

    target = f"{run.world.other.url}/echo"
    run.note(run.make(Lax).get(run.hop(target), auth=("user", "pass")))


@cases.each()
def test_an_authorization_of_the_caller_has_the_same_effect_as_in_requests(
    case: Case, world: World, way: Way
) -> None:
    compare(case, world, way)


# -- netrc beyond api_url --------------------------------------------------------------------------
