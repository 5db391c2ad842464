"""The request of our errors, which handlers of errors log."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest

from oauthcc import (
    ClientCredentialsSession,
    ConfigurationError,
    DPoP,
    InsecureURLError,
    OAuthCCError,
    TokenEndpointTimeout,
    TokenEndpointUnavailable,
    TokenEndpointUnreachable,
    TokenRequestDenied,
    fetch_token,
)
from oauthcc.testing import faults

from .clock import moved_clock
from .refusals import Scene, Sessions
from .sessions import CLIENT

Call = Callable[[Scene, Any], Any]


def _down(scene: Scene, call: Any) -> Any:
    scene.auth.down()
    return call()


def _denied(scene: Scene, call: Any) -> Any:
    scene.auth.refuse_next(None)
    return call()


def _unavailable(scene: Scene, call: Any) -> Any:
    scene.auth.answer_next(faults.unavailable(retry_after="60"), None)
    return call()


def _slow(scene: Scene, call: Any) -> Any:
    with scene.auth.hold():
        return call()


@pytest.mark.parametrize(
    ("what", "kind"),
    [
        (_down, TokenEndpointUnreachable),
        (_denied, TokenRequestDenied),
        (_unavailable, TokenEndpointUnavailable),
        (_slow, TokenEndpointTimeout),
    ],
)
@pytest.mark.parametrize("how", ["session", "get", "remembered"])
def test_an_error_without_a_token_names_the_token_request(
    scene: Scene, what: Call, kind: type[OAuthCCError], how: str
) -> None:
    session = scene.session()

    def call() -> Any:
        timeout = 0.1 if what is _slow else 20
        if how == "session":
            return session.get(scene.url, timeout=timeout)
        return session.tokens.get(timeout)

    with pytest.raises(kind) as caught:
        what(scene, call)
    if how == "remembered" and what is not _slow:
        with pytest.raises(kind) as caught:
            session.tokens.get(0.1)
    request: Any = caught.value.request
    assert (request.method, request.url) == ("POST", scene.auth.token_url)
    assert request.body is None
    assert "Authorization" not in request.headers
    assert pickle.loads(pickle.dumps(caught.value)).request.url == request.url


def test_the_request_of_an_error_shows_only_the_public_part_of_the_token_url(scene: Scene) -> None:
    scene.auth.down()
    with pytest.raises(TokenEndpointUnreachable) as caught:
        fetch_token(f"{scene.auth.token_url}?key=of-the-tenant", "id", "secret")
    request: Any = caught.value.request
    assert request.url == scene.auth.token_url


def test_the_error_of_an_issuer_names_the_issuer(scene: Scene) -> None:
    session = ClientCredentialsSession.from_issuer(scene.auth.issuer, "id", "secret")
    scene.auth.down()
    with pytest.raises(OAuthCCError) as caught:
        session.get(scene.url)
    request: Any = caught.value.request
    assert request.url.rstrip("/") == scene.auth.issuer.rstrip("/")


def test_the_error_about_plain_http_names_the_request(scene: Scene, sessions: Sessions) -> None:
    with pytest.raises(InsecureURLError) as caught:
        sessions.new().get("http://api.example/x", params={"a": "b"})
    request: Any = caught.value.request
    assert (request.method, request.url) == ("GET", "http://api.example/x?a=b")


def test_the_error_of_a_scheme_names_the_request_of_the_api(scene: Scene) -> None:
    class Failing(DPoP):
        def proof(self, method: str, url: str, token: Any) -> Any:
            if token is not None:
                raise ConfigurationError("no key")
            return super().proof(method, url, token)

    scene.auth.token_fields = {"token_type": "DPoP"}
    session = scene.session(scheme=Failing())
    with pytest.raises(ConfigurationError) as caught:
        session.post(scene.url)
    request: Any = caught.value.request
    assert (request.method, request.url) == ("POST", scene.url)
    assert scene.auth.issued[0] not in repr(request.headers)


def test_the_error_of_a_failed_renewal_names_the_token_request(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = moved_clock(monkeypatch)
    session = scene.refused()
    scene.auth.refuse_next(None)
    scene.api.watch = lambda *_: clock.advance(4000)  # the token expires meanwhile
    with pytest.raises(TokenRequestDenied) as caught:
        session.get(scene.url)
    request: Any = caught.value.request
    assert (request.method, request.url) == ("POST", scene.auth.token_url)
    # Nobody got the 401, so its connection is free for the next request.
    scene.auth.answer_normally()
    session.tokens.forget()
    assert session.get(scene.url).status_code == 200
    assert scene.api.connections == 1


def test_an_error_of_the_configuration_has_no_request() -> None:
    with pytest.raises(ConfigurationError) as caught:
        ClientCredentialsSession(*CLIENT, api_url=[])
    assert caught.value.request is None
