from __future__ import annotations

import base64
import contextlib
import gc
import json
import logging
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
import requests

from oauthcc.testing import (
    OMIT,
    Answer,
    AuthorizationServer,
    Fault,
    JSONText,
    ProtectedAPI,
    SeenRequest,
    faults,
    json_answer,
)
from oauthcc.testing.http import LoopbackServer
from oauthcc.testing.wire import Wire

GRANT = {"grant_type": "client_credentials"}


@pytest.fixture
def http() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


def ask(http: requests.Session, auth: AuthorizationServer, **form: object) -> requests.Response:
    pair = (auth.client_id, auth.client_secret)
    return http.post(auth.token_url, data={**GRANT, **form}, auth=pair, timeout=10)


def bearer(http: requests.Session, auth: AuthorizationServer, **form: object) -> dict[str, str]:
    return {"Authorization": f"Bearer {ask(http, auth, **form).json()['access_token']}"}


def raw(server: LoopbackServer, *pieces: bytes) -> bytes:
    """Send bytes on a new connection, and return all that comes back until it is closed."""
    with socket.create_connection(("127.0.0.1", server.port), 10) as line:
        for piece in pieces:
            line.sendall(piece)
        return b"".join(iter(lambda: line.recv(65536), b""))


def server_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("loopback")]


# --- The token endpoint


def test_a_client_cannot_have_a_method_that_the_server_does_not_have(
    auth: AuthorizationServer,
) -> None:
    method: Any = "spnego"
    with pytest.raises(ValueError, match=r"must be one of client_secret_basic, .*, none"):
        auth.add_client("other", "secret", method=method)


def test_a_token_is_issued_and_accepted(
    auth: AuthorizationServer, api: ProtectedAPI, http: requests.Session
) -> None:
    answer = ask(http, auth, scope="orders:read")
    assert answer.status_code == 200
    token = answer.json()
    assert set(token) == {"access_token", "token_type", "expires_in", "scope"}
    assert (token["token_type"], token["expires_in"]) == ("Bearer", 3600)
    assert token["scope"] == "orders:read"
    assert auth.issued == [token["access_token"]]
    assert http.get(api.url, headers=bearer(http, auth), timeout=10).status_code == 200
    assert [seen.client_id for seen in auth.token_requests] == ["demo-client"] * 2
    assert dict(auth.token_requests[0].form) == {**GRANT, "scope": "orders:read"}


def test_a_client_without_scopes_that_asks_for_none_gets_none(
    auth: AuthorizationServer, http: requests.Session
) -> None:
    assert "scope" not in ask(http, auth).json()
    assert "scope" not in ask(http, auth, scope="").json()


def test_a_client_gets_only_its_own_scopes(
    auth: AuthorizationServer, http: requests.Session
) -> None:
    auth.add_client("demo-client", "demo-secret", scopes=["a", "b"])
    assert ask(http, auth).json()["scope"] == "a b"
    assert ask(http, auth, scope="b").json()["scope"] == "b"
    refusal = ask(http, auth, scope="b c")
    assert (refusal.status_code, refusal.json()["error"]) == (400, "invalid_scope")


SECRET = "p%61ss:w+rd &/é"


@pytest.mark.parametrize(
    ("encoding", "sent", "status"),
    [
        ("form", f"{quote_plus('id:1')}:{quote_plus(SECRET)}", 200),
        ("form", f"id%3A1:{quote_plus(SECRET).replace('+', '%20')}", 200),
        ("form", f"id%3A1:{SECRET}", 401),
        ("raw", f"id:{SECRET}", 200),
        ("raw", f"id:{quote_plus(SECRET)}", 401),
        ("form", "id%3A1:wrong", 401),
        ("form", "nobody:wrong", 401),
        ("form", "", 401),
    ],
)
def test_basic_credentials_are_read_as_basic_encoding_says(
    auth: AuthorizationServer, http: requests.Session, *, encoding: str, sent: str, status: int
) -> None:
    auth.basic_encoding = encoding  # type: ignore[assignment]
    assert auth.basic_encoding == encoding
    auth.add_client("id:1", SECRET)
    auth.add_client("id", SECRET)
    header = {"Authorization": "Basic " + base64.b64encode(sent.encode()).decode()}
    answer = http.post(auth.token_url, data=GRANT, headers=header, timeout=10)
    assert answer.status_code == status
    if status == 401:
        assert answer.json()["error"] == "invalid_client"
        assert answer.headers["WWW-Authenticate"].startswith("Basic ")


@pytest.mark.parametrize("header", ["Basic ????", "Basic " + base64.b64encode(b"\xff").decode()])
def test_unreadable_basic_credentials_are_refused(
    auth: AuthorizationServer, http: requests.Session, header: str
) -> None:
    fields = {"Authorization": header}
    assert http.post(auth.token_url, data=GRANT, headers=fields, timeout=10).status_code == 401


@pytest.mark.parametrize(
    ("method", "basic", "form", "status"),
    [
        (None, True, {}, 200),
        (None, True, {"client_id": "demo-client"}, 200),
        (None, False, {"client_id": "demo-client", "client_secret": "demo-secret"}, 200),
        (None, False, {"client_id": "demo-client"}, 401),
        (None, False, {}, 401),
        (None, True, {"client_secret": "demo-secret"}, 400),
        (None, True, {"client_id": "another"}, 400),
        (None, False, {"client_id": "public"}, 200),
        (None, False, {"client_id": "public", "client_secret": ""}, 200),
        (None, False, {"client_id": "public", "client_secret": "x"}, 401),
        ("client_secret_basic", True, {}, 200),
        ("client_secret_post", True, {}, 401),
        (
            "client_secret_basic",
            False,
            {"client_id": "demo-client", "client_secret": "demo-secret"},
            401,
        ),
    ],
)
def test_a_client_must_authenticate_with_its_registered_method(
    auth: AuthorizationServer, http: requests.Session, *, method, basic, form, status
) -> None:
    auth.add_client("demo-client", "demo-secret", method=method)
    auth.add_client("public")
    pair = ("demo-client", "demo-secret") if basic else None
    answer = http.post(auth.token_url, data={**GRANT, **form}, auth=pair, timeout=10)
    assert answer.status_code == status, answer.text


def test_a_removed_client_is_refused_and_a_new_secret_is_valid_at_once(
    auth: AuthorizationServer, http: requests.Session
) -> None:
    auth.add_client(auth.client_id, "new")
    assert ask(http, auth).status_code == 401
    auth.client_secret = "new"
    assert ask(http, auth).status_code == 200
    auth.remove_client(auth.client_id)
    assert ask(http, auth).status_code == 401


@pytest.mark.parametrize(
    ("method", "body", "kind", "error"),
    [
        ("POST", b"", "application/x-www-form-urlencoded", "invalid_request"),
        ("POST", b"\xff\xfe", "application/x-www-form-urlencoded", "invalid_request"),
        ("POST", json.dumps(GRANT).encode(), "application/json", "invalid_request"),
        ("POST", b"grant_type=password", "application/x-www-form-urlencoded", "unsupported"),
        ("POST", b"grant_type=client_credentials&scope=a&scope=b", None, "invalid_request"),
        ("GET", b"", None, "invalid_request"),
    ],
)
def test_a_malformed_token_request_gets_an_oauth_error(
    auth: AuthorizationServer, http: requests.Session, *, method, body, kind, error
) -> None:
    kind = kind or "application/x-www-form-urlencoded"
    pair = (auth.client_id, auth.client_secret)
    answer = http.request(
        method, auth.token_url, data=body, headers={"Content-Type": kind}, auth=pair, timeout=10
    )
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(error)


def test_a_token_url_may_have_a_query(auth: AuthorizationServer, http: requests.Session) -> None:
    pair = (auth.client_id, auth.client_secret)
    url = f"{auth.token_url}?tenant=1&tenant=2"
    assert http.post(url, data=GRANT, auth=pair, timeout=10).status_code == 200
    assert auth.token_requests[0].args == [("tenant", "1"), ("tenant", "2")]


@pytest.mark.parametrize(
    ("lifetime", "text"),
    [
        (5, '"expires_in": 5'),
        ("3600", '"expires_in": "3600"'),
        (0, '"expires_in": 0'),
        (-1, '"expires_in": -1'),
        (1.5, '"expires_in": 1.5'),
        (JSONText("1e999"), '"expires_in": 1e999'),
        (JSONText("null"), '"expires_in": null'),
    ],
)
def test_expires_in_may_have_any_value(
    auth: AuthorizationServer, http: requests.Session, lifetime: object, text: str
) -> None:
    auth.token_lifetime = lifetime
    assert text in ask(http, auth).text


def test_members_of_the_token_response_can_be_omitted_changed_and_added(
    auth: AuthorizationServer, http: requests.Session
) -> None:
    auth.token_lifetime = None
    auth.token_fields = {"token_type": OMIT, "scope": "less", "extra": None}
    token = ask(http, auth, scope="more less").json()
    assert token == {"access_token": auth.issued[0], "scope": "less", "extra": None}


def test_the_clock_of_the_server_decides_when_tokens_expire(
    auth: AuthorizationServer, api: ProtectedAPI, http: requests.Session
) -> None:
    auth.token_lifetime = 60
    headers = bearer(http, auth)
    auth.advance(59)
    assert http.get(api.url, headers=headers, timeout=10).status_code == 200
    auth.advance(2)
    assert http.get(api.url, headers=headers, timeout=10).status_code == 401
    assert api.requests[1].at - api.requests[0].at >= 2
    auth.now = lambda: 0.0
    assert http.get(api.url, headers=headers, timeout=10).status_code == 200


def test_the_real_lifetime_may_differ_from_expires_in(
    auth: AuthorizationServer, http: requests.Session
) -> None:
    auth.real_lifetime = 1
    token = ask(http, auth).json()
    assert token["expires_in"] == 3600
    auth.advance(2)
    assert auth.look_up(token["access_token"]) is None
    auth.real_lifetime, auth.token_lifetime = None, "soon"
    known = auth.look_up(ask(http, auth).json()["access_token"])
    assert known is not None
    assert known.expires_at == float("inf")


def ask_for_one(http: requests.Session, auth: AuthorizationServer, name: str) -> str:
    auth.make_token = lambda: name
    assert ask(http, auth).json()["access_token"] == name
    return name


def test_a_revoked_token_stays_revoked_when_it_is_issued_again(
    auth: AuthorizationServer, http: requests.Session
) -> None:
    auth.make_token = lambda: "always-the-same"
    ask(http, auth)
    assert auth.look_up("always-the-same")
    auth.revoke_all()
    ask(http, auth)
    assert auth.look_up("always-the-same") is None
    assert auth.issued == ["always-the-same"] * 2
    first, second = (ask_for_one(http, auth, name) for name in ("first", "second"))
    auth.revoke(first)
    assert (auth.look_up(first), auth.look_up("unknown")) == (None, None)
    assert auth.look_up(second) is not None


def test_scripted_refusals_and_answers_are_used_in_order(
    auth: AuthorizationServer, http: requests.Session
) -> None:
    auth.refuse_next(description="no")
    auth.answer_next((418, {"X": "1"}, b"teapot"), n=2)
    auth.answer_next(faults.unavailable(429, None), n=None)
    got = [ask(http, auth).status_code for _ in range(5)]
    assert got == [401, 418, 418, 429, 429]
    assert ask(http, auth).headers.get("Retry-After") is None
    auth.answer_normally()
    assert ask(http, auth).status_code == 200
    assert len(auth.issued) == 1


WRONG: dict[str, tuple[Callable[[Any, Any], object], type[Exception], str]] = {
    "an error as the number": (
        lambda auth, api: auth.refuse_next("invalid_scope"),
        ValueError,
        "None: all of them",
    ),
    "no request": (lambda auth, api: api.refuse_next(0), ValueError, "not 0"),
    "a status": (lambda auth, api: auth.answer_next(503), TypeError, "not int"),
    "a fault that was not called": (
        lambda auth, api: auth.answer_next(faults.hang),
        TypeError,
        "not function",
    ),
    "a path of refusals": (
        lambda auth, api: api.refuse_next(path="orders"),
        ValueError,
        "unlike 'orders'",
    ),
    "a path of held requests": (lambda auth, api: api.hold("orders"), ValueError, "slash"),
    "a path of a scope": (lambda auth, api: api.require_scope("a", "x"), ValueError, "slash"),
    "a path of a route": (lambda auth, api: api.add_route("a", print), ValueError, "slash"),
    "the letters of a scope": (
        lambda auth, api: auth.add_client("a", "b", scopes="orders:read"),
        TypeError,
        "a list of scopes",
    ),
    "a route that is an answer": (
        lambda auth, api: api.add_route("/a", json_answer([])),
        TypeError,
        "function",
    ),
}


@pytest.mark.parametrize(("use", "error", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_instruction_is_an_error_of_the_test_and_not_of_a_request(
    auth: AuthorizationServer,
    api: ProtectedAPI,
    use: Callable[[Any, Any], object],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        use(auth, api)


def test_forget_empties_the_lists_of_requests(
    auth: AuthorizationServer, api: ProtectedAPI, http: requests.Session
) -> None:
    http.get(api.url, headers=bearer(http, auth), timeout=10)
    assert (auth.max_concurrent, api.max_concurrent) == (1, 1)
    auth.forget()
    api.forget()
    assert auth.requests == auth.token_requests == api.requests == []
    assert (auth.max_concurrent, api.max_concurrent) == (0, 0)


def test_no_log_of_the_server_shows_a_token_or_a_secret(
    auth: AuthorizationServer, http: requests.Session, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        token = ask(http, auth).json()["access_token"]
    assert "oauthlib" in {record.name.partition(".")[0] for record in caplog.records}
    assert token not in caplog.text
    assert auth.client_secret not in caplog.text
    assert token not in repr(auth.look_up(token))


# --- Metadata, introspection, revocation


@pytest.mark.parametrize("path", ["", "/tenant"])
def test_metadata_is_at_the_paths_of_the_standards(http: requests.Session, path: str) -> None:
    with AuthorizationServer(path=path) as auth:
        auth.metadata = {"revocation_endpoint": OMIT, "extra": 1}
        for location in (
            f"/.well-known/oauth-authorization-server{path}",
            f"{path}/.well-known/openid-configuration",
        ):
            document = http.get(auth.url + location, timeout=10).json()
            assert document["issuer"] == auth.issuer == auth.url + path
            assert document["token_endpoint"] == auth.token_url
            assert document["extra"] == 1
            assert "revocation_endpoint" not in document
        assert ask(http, auth).status_code == 200
        assert http.get(auth.url + "/elsewhere", timeout=10).status_code == 404
        auth.answer_next(faults.html(), path="/.well-known/")
        url = f"{auth.url}/.well-known/oauth-authorization-server{path}"
        assert ask(http, auth).status_code == 200
        assert "html" in http.get(url, timeout=10).text


def test_introspection_returns_what_a_token_was_issued_for(
    auth: AuthorizationServer, http: requests.Session
) -> None:
    auth.now = lambda: 1000.0
    resources = ["https://a.example", "https://b.example"]
    token = ask(http, auth, scope="s", audience="x", resource=resources).json()["access_token"]
    pair = (auth.client_id, auth.client_secret)
    url = f"{auth.url}/introspect"
    claims = http.post(url, data={"token": token}, auth=pair, timeout=10).json()
    assert claims == {
        "active": True,
        "client_id": "demo-client",
        "token_type": "Bearer",
        "iat": 1000,
        "exp": 4600,
        "scope": "s",
        "aud": ["x"],
        "resource": resources,
    }
    auth.token_lifetime = None
    bare = ask(http, auth).json()["access_token"]
    claims = http.post(url, data={"token": bare}, auth=pair, timeout=10).json()
    assert set(claims) == {"active", "client_id", "token_type", "iat"}
    assert http.post(url, data={"token": token}, timeout=10).status_code == 401


def test_the_revocation_endpoint_revokes(auth: AuthorizationServer, http: requests.Session) -> None:
    token = ask(http, auth).json()["access_token"]
    pair = (auth.client_id, auth.client_secret)
    for known in (token, "unknown"):
        url, form = f"{auth.url}/revoke", {"token": known}
        assert http.post(url, data=form, auth=pair, timeout=10).status_code == 200
    answer = http.post(f"{auth.url}/introspect", data={"token": token}, auth=pair, timeout=10)
    assert answer.json() == {"active": False}
    assert [seen.path for seen in auth.requests] == ["/token", "/revoke", "/revoke", "/introspect"]
    assert len(auth.token_requests) == 1


# --- The API


def test_the_api_echoes_the_request_without_the_token(
    auth: AuthorizationServer, api: ProtectedAPI, http: requests.Session
) -> None:
    headers = bearer(http, auth)
    url = f"{api.url}/anything?a=1&a=2"
    echo = http.put(url, json={"x": 1}, headers=headers, timeout=10).json()
    assert (echo["method"], echo["path"], echo["args"]) == (
        "PUT",
        "/anything",
        [["a", "1"], ["a", "2"]],
    )
    assert echo["headers"]["Authorization"] == "Bearer [hidden]"
    assert base64.b64decode(echo["body"]) == b'{"x": 1}'
    assert (echo["length"], echo["json"], echo["form"]) == (8, {"x": 1}, [])
    echo = http.post(url, data={"k": "v"}, headers=headers, timeout=10).json()
    assert (echo["form"], echo["json"]) == ([["k", "v"]], None)
    assert api.requests[0].token == auth.issued[0]
    assert api.requests[0].json() == {"x": 1}
    assert auth.issued[0] not in repr(api.requests)


@pytest.mark.parametrize("header", ["Authorization", "authorization", "X-Access-Token"])
@pytest.mark.parametrize("before", ["", "Bearer ", "Token "])
def test_the_echo_contains_no_token_wherever_it_was(
    http: requests.Session, auth: AuthorizationServer, api: ProtectedAPI, header: str, before: str
) -> None:
    token = ask(http, auth).json()["access_token"]
    api.protected = False
    answer = http.get(f"{api.url}/anything", headers={header: before + token}, timeout=10)
    assert token not in answer.text
    assert answer.json()["headers"][header] == f"{before}[hidden]"


def test_an_unprotected_api_accepts_every_request(
    api: ProtectedAPI, http: requests.Session
) -> None:
    api.protected = False
    assert "Authorization" not in http.get(api.url, timeout=10).json()["headers"]


def test_each_refusal_has_the_right_challenge(
    auth: AuthorizationServer, api: ProtectedAPI, http: requests.Session
) -> None:
    def challenge(status: int, **headers: str) -> str:
        answer = http.get(f"{api.url}/admin/x", headers=headers, timeout=10)
        assert answer.status_code == status
        return answer.headers["WWW-Authenticate"]

    good = bearer(http, auth, scope="admin")
    api.require_scope("/admin/", "admin")
    assert challenge(401) == 'Bearer realm="api"'
    assert challenge(401, Authorization="Basic x") == 'Bearer realm="api"'
    assert challenge(401, Authorization="bearer x") == 'Bearer realm="api", error="invalid_token"'
    assert challenge(403, **bearer(http, auth, scope="other")) == (
        'Bearer realm="api", error="insufficient_scope", scope="admin"'
    )
    assert http.get(f"{api.url}/admin/x", headers=good, timeout=10).status_code == 200
    assert http.get(api.url, headers=bearer(http, auth), timeout=10).status_code == 200


def test_a_valid_token_can_be_refused(
    auth: AuthorizationServer, api: ProtectedAPI, http: requests.Session
) -> None:
    headers = bearer(http, auth)
    api.refuse_next(2)
    api.refuse_next(status=403)
    api.refuse_next(headers={"X": "1"}, body=b"no")
    api.refuse_next(None, path="/bad")
    got = [http.get(api.url, headers=headers, timeout=10) for _ in range(5)]
    assert [answer.status_code for answer in got] == [401, 401, 403, 401, 200]
    assert "invalid_token" in got[1].headers["WWW-Authenticate"]
    assert "insufficient_scope" in got[2].headers["WWW-Authenticate"]
    assert (got[3].content, got[3].headers.get("WWW-Authenticate")) == (b"no", None)
    for path, status in (("/bad/1", 401), ("/good", 200), ("/bad", 401)):
        assert http.get(api.url + path, headers=headers, timeout=10).status_code == status


def test_the_refusal_of_a_bad_token_can_be_any_answer(
    api: ProtectedAPI, http: requests.Session
) -> None:
    api.refusal = Answer(403, [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")], b"go away")
    answer = http.get(api.url, timeout=10)
    assert (answer.status_code, answer.content) == (403, b"go away")
    assert http.cookies.get_dict() == {"a": "1", "b": "2"}


def test_the_routes_of_the_api_answer_as_documented(
    api: ProtectedAPI, http: requests.Session
) -> None:
    api.protected = False
    assert http.get(f"{api.url}/status/404", timeout=10).status_code == 404
    assert http.get(f"{api.url}/status/204", timeout=10).content == b""
    assert http.get(f"{api.url}/status/799", timeout=10).reason == "Unnamed"
    assert http.get(f"{api.url}/status/x", timeout=10).status_code == 400
    moved = http.get(f"{api.url}/redirect-to?url=/here&status=307", timeout=10)
    assert (moved.history[0].status_code, moved.json()["path"]) == (307, "/here")
    http.get(f"{api.url}/set-cookie?a=1&b=2", timeout=10)
    assert http.cookies.get_dict() == {"a": "1", "b": "2"}
    streamed = http.get(f"{api.url}/stream/20000", timeout=10)
    assert streamed.headers["Transfer-Encoding"] == "chunked"
    assert streamed.content == b"x" * 20000
    assert http.get(f"{api.url}/slow?seconds=0.01", timeout=10).status_code == 200
    api.add_route("/status/", lambda seen: json_answer(seen.path))
    assert http.get(f"{api.url}/status/404", timeout=10).json() == "/status/404"
    assert api.connections == 1


def test_the_api_can_also_serve_the_token_endpoint(
    auth: AuthorizationServer, http: requests.Session
) -> None:
    with ProtectedAPI(auth, serve_token_endpoint=True) as api:
        pair = (auth.client_id, auth.client_secret)
        token = http.post(api.token_url, data=GRANT, auth=pair, timeout=10).json()
        headers = {"Authorization": f"Bearer {token['access_token']}"}
        assert http.get(api.url, headers=headers, timeout=10).status_code == 200
        auth.refuse_next()
        assert http.post(api.token_url, data=GRANT, auth=pair, timeout=10).status_code == 401
    assert (len(auth.token_requests), len(api.requests)) == (2, 1)
    assert auth.connections == 0


def test_watch_is_called_with_every_request_and_its_answer(
    auth: AuthorizationServer, http: requests.Session
) -> None:
    watched: list[tuple[str, object]] = []
    auth.watch = lambda seen, outcome: watched.append((seen.path, outcome))
    ask(http, auth)
    [(path, outcome)] = watched
    assert path == "/token"
    assert isinstance(outcome, Answer)
    assert outcome.status == 200


# --- Holding and delaying


def test_held_requests_wait_for_the_gate(auth: AuthorizationServer, http: requests.Session) -> None:
    with ThreadPoolExecutor(3) as pool:
        with auth.hold() as gate:
            waiting = [pool.submit(ask_alone, auth) for _ in range(3)]
            gate.wait_for(3)
            assert not any(future.done() for future in waiting)
            with pytest.raises(TimeoutError, match="3 requests are held, 4 were expected"):
                gate.wait_for(4, timeout=0.01)
            assert auth.issued == []
        assert [future.result(10) for future in waiting] == [200] * 3
    assert auth.max_concurrent == 3
    assert ask(http, auth).status_code == 200


def ask_alone(auth: AuthorizationServer) -> int:
    with requests.Session() as session:
        session.trust_env = False
        return ask(session, auth).status_code


def test_a_token_revoked_while_requests_are_held_is_refused(
    auth: AuthorizationServer, api: ProtectedAPI, http: requests.Session
) -> None:
    headers = bearer(http, auth)
    with ThreadPoolExecutor(1) as pool, api.hold("/slow") as gate:
        held = pool.submit(lambda: requests.get(f"{api.url}/slow", headers=headers, timeout=10))
        gate.wait_for()
        assert http.get(api.url, headers=headers, timeout=10).status_code == 200
        auth.revoke_all()
        gate.release()
        assert held.result(10).status_code == 401


def test_a_delay_concerns_token_requests_only(
    auth: AuthorizationServer, http: requests.Session
) -> None:
    auth.delay = 60
    metadata_url = f"{auth.url}/.well-known/openid-configuration"
    assert http.get(metadata_url, timeout=10).status_code == 200
    with pytest.raises(requests.ReadTimeout):
        http.post(auth.token_url, data=GRANT, timeout=(10, 0.05))
    auth.delay = 0.01
    assert ask(http, auth).status_code == 200


@pytest.mark.parametrize("how", ["close", "down"])
def test_closing_ends_held_requests_without_issuing_a_token(
    auth: AuthorizationServer, how: str
) -> None:
    with ProtectedAPI(auth, serve_token_endpoint=True) as api, ThreadPoolExecutor(2) as pool:
        gate = auth.hold()
        urls = [auth.token_url, api.token_url]
        held = [pool.submit(requests.post, url, timeout=10) for url in urls]
        gate.wait_for(2)
        getattr(api, how)()
        # Those of the authorization server: one accepts, one holds.
        assert len(server_threads()) == 2
        getattr(auth, how)()
        for future in held:
            with pytest.raises(requests.ConnectionError):
                future.result(10)
        assert server_threads() == []
    assert auth.issued == []


# --- Faults


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (faults.truncated(), "IncompleteRead"),
        (faults.reset(), "reset"),
        (faults.cut(), "Remote end closed"),
        (faults.garbage(), "BadStatusLine"),
    ],
)
def test_the_client_sees_a_broken_connection(
    auth: AuthorizationServer, http: requests.Session, *, fault: Fault, error: str
) -> None:
    auth.answer_next(fault)
    with pytest.raises(requests.RequestException, match=error):
        ask(http, auth)
    assert ask(http, auth).status_code == 200
    assert fault.name in repr(fault)


@pytest.mark.parametrize("head_too", [False, True])
def test_a_slow_answer_arrives_completely(
    auth: AuthorizationServer, http: requests.Session, *, head_too: bool
) -> None:
    auth.answer_next(faults.drip(b'{"a": 1}', 0.001, head_too=head_too))
    assert ask(http, auth).json() == {"a": 1}


def test_an_endless_answer_ends_when_the_client_closes_the_connection(
    auth: AuthorizationServer, http: requests.Session
) -> None:
    auth.answer_next(faults.endless(b"x" * 100))
    pair = (auth.client_id, auth.client_secret)
    with http.post(auth.token_url, data=GRANT, auth=pair, stream=True, timeout=10) as answer:
        assert len(answer.raw.read(100_000)) == 100_000
    assert ask(http, auth).status_code == 200


def test_a_hang_ends_when_the_client_closes_the_connection(
    auth: AuthorizationServer, http: requests.Session
) -> None:
    auth.answer_next(faults.hang())
    request = b"POST /token HTTP/1.1\r\nContent-Length: 0\r\n\r\n"
    with socket.create_connection(("127.0.0.1", auth.port), 10) as line:
        with auth.hold() as gate:
            line.sendall(request)
            gate.wait_for()
        [serving] = [thread for thread in server_threads() if thread.name == "loopback"]
        line.sendall(b"more")
    serving.join(10)
    assert not serving.is_alive()
    assert ask(http, auth).status_code == 200


@pytest.mark.parametrize(
    ("fault", "pauses", "sends"),
    [
        (faults.endless(), 3, 4),
        (faults.drip(b"abc"), 3, 4),
        (faults.drip(b"abc"), 1, 3),
        (faults.drip(b"abc", head_too=True), 1, 2),
    ],
)
def test_a_slow_fault_ends_when_the_server_is_being_closed(
    fault: Fault, pauses: int, sends: int
) -> None:
    class Line:
        paused = sent = 0

        def send(self, data: bytes) -> None:
            self.sent += 1

        def pause(self, seconds: float) -> bool:
            self.paused += 1
            return self.paused <= pauses

    line = Line()
    fault.play(line)  # type: ignore[arg-type]
    assert line.sent == sends


@pytest.mark.parametrize(
    "fault", [faults.hang(), faults.endless(), faults.drip(b"x" * 9999, 0.02), faults.drip(b"", 60)]
)
def test_closing_ends_every_fault(fault: Fault) -> None:
    with AuthorizationServer() as auth:
        auth.answer_next(fault)
        with socket.create_connection(("127.0.0.1", auth.port), 10) as line, auth.hold() as gate:
            line.sendall(b"POST /token HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            gate.wait_for()
            gate.release()
            line.sendall(b"more")
            auth.close()
    assert server_threads() == []


@pytest.mark.parametrize(
    ("make", "status", "field"),
    [
        (lambda: faults.html(403), 403, ("Content-Type", "text/html; charset=utf-8")),
        (faults.empty, 200, ("Content-Length", "0")),
        (faults.unavailable, 503, ("Retry-After", "1")),
        (lambda: faults.redirect("/x", 307), 307, ("Location", "/x")),
    ],
)
def test_answers_without_a_token_have_their_status_and_header(
    auth: AuthorizationServer, http: requests.Session, *, make, status, field
) -> None:
    auth.answer_next(make())
    got = http.post(auth.token_url, allow_redirects=False, timeout=10)
    assert (got.status_code, got.headers[field[0]]) == (status, field[1])


# --- HTTP


def test_a_connection_is_reused_and_a_refused_body_does_not_break_it(
    api: ProtectedAPI, http: requests.Session
) -> None:
    for _ in range(3):
        assert (
            http.post(api.url, data=b"GET /x HTTP/1.1\r\n\r\n" * 9, timeout=10).status_code == 401
        )
    assert api.connections == 1


def test_chunks_are_joined(api: ProtectedAPI, http: requests.Session) -> None:
    api.protected = False
    body = iter([b"abc", b"d" * 100_000, b"e"])
    assert http.post(api.url, data=body, timeout=10).json()["length"] == 100_004
    answer = raw(
        api,
        b"POST /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"3;name=value\r\nabc\r\n0\r\nTrailer: 1\r\n\r\n",
    )
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert api.requests[-1].body == b"abc"


def test_a_client_that_waits_for_100_continue_gets_it(api: ProtectedAPI) -> None:
    answer = raw(
        api,
        b"PUT / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\n"
        b"Content-Length: 2\r\n\r\n",
        b"ab",
    )
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 401 ")
    assert api.requests[0].body == b"ab"


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: ten\r\n\r\n",
        b"Content-Length: -1\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n-1\r\n",
    ],
)
def test_a_body_without_a_clear_end_is_a_bad_request(api: ProtectedAPI, head: bytes) -> None:
    answer = raw(api, b"POST / HTTP/1.1\r\nHost: x\r\n" + head)
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert api.requests == []


def test_a_client_that_disconnects_does_not_affect_others(
    api: ProtectedAPI, http: requests.Session
) -> None:
    for head in (b"", b"POST ", b"POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\nabc"):
        with socket.create_connection(("127.0.0.1", api.port), 10) as line:
            line.sendall(head)
    assert http.get(api.url, timeout=10).status_code == 401


def test_an_http_1_0_client_gets_no_chunks(api: ProtectedAPI) -> None:
    api.protected = False
    answer = raw(api, b"GET /stream/10000 HTTP/1.0\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert body == b"x" * 10000


def test_head_and_any_other_method_are_served(api: ProtectedAPI, http: requests.Session) -> None:
    api.protected = False
    head = http.head(api.url, timeout=10)
    assert (head.content, int(head.headers["Content-Length"]) > 0) == (b"", True)
    assert http.request("PURGE", api.url, timeout=10).json()["method"] == "PURGE"
    with pytest.raises(AttributeError):
        _ = Wire.__new__(Wire).nothing


def test_the_header_fields_of_an_answer_are_sent_unchanged(
    api: ProtectedAPI, http: requests.Session
) -> None:
    fields = {"Connection": "close", "Date": "then", "Content-Length": "2"}
    api.answer_next(Answer(200, fields, [b"o", b"k"]))
    answer = http.get(api.url, timeout=10)
    assert (answer.content, answer.headers) == (b"ok", fields)
    http.get(api.url, timeout=10)
    assert api.connections == 2


def test_a_request_to_a_proxy_has_the_path_of_its_url(
    api: ProtectedAPI, http: requests.Session
) -> None:
    api.protected = False
    proxies = {"http": api.url}
    url = "http://elsewhere.test/a/b?c=http://d"
    assert http.get(url, proxies=proxies, timeout=10).json()["path"] == "/a/b"
    assert (api.requests[0].target, api.requests[0].query) == (url, "c=http://d")


def test_repeated_header_fields_are_joined_in_headers() -> None:
    seen = SeenRequest("GET", "/", "", raw_headers=(("A", "1"), ("a", "2"), ("B", "3")))
    assert (seen.headers["a"], seen.headers["b"]) == ("1, 2", "3")


def test_a_route_returns_any_answer_or_it_is_said_what_it_returns(
    api: ProtectedAPI, http: requests.Session, capsys: pytest.CaptureFixture[str]
) -> None:
    api.protected = False
    api.add_route("/pair", lambda seen: (418, {"X": "1"}, b"teapot"))
    api.add_route("/reset", lambda seen: faults.reset())
    api.add_route("/wrong", lambda seen: {"a": 1})  # type: ignore[arg-type, return-value]
    assert http.get(f"{api.url}/pair", timeout=10).content == b"teapot"
    for path in ("/reset", "/wrong"):
        with pytest.raises(requests.ConnectionError):
            http.get(api.url + path, timeout=10)
    api.close()
    assert "An answer must be an Answer, a Fault" in capsys.readouterr().err


def test_an_error_in_a_route_is_printed(
    api: ProtectedAPI, http: requests.Session, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(seen: SeenRequest) -> Answer:
        raise ZeroDivisionError(seen.path)

    api.protected = False
    api.add_route("/broken", broken)
    with pytest.raises(requests.ConnectionError):
        http.get(f"{api.url}/broken", timeout=10)
    api.close()
    assert "ZeroDivisionError" in capsys.readouterr().err


# --- Starting, stopping, being down


def test_a_server_that_is_down_refuses_and_comes_back_on_its_port(
    auth: AuthorizationServer, http: requests.Session
) -> None:
    url = auth.token_url
    assert ask(http, auth).status_code == 200
    for _ in range(2):
        auth.down()
        auth.down()
        with pytest.raises(requests.ConnectionError, match="refused"):
            ask(http, auth)
        assert auth._placeholder is not None  # it reserves the port
        assert auth._placeholder.getsockname()[1] == auth.port
        auth.up()
        auth.up()
        assert ask(http, auth).status_code == 200
    assert auth.token_url == url
    auth.down()
    auth.start()
    assert ask(http, auth).status_code == 200
    auth.down()


def test_start_and_close_may_be_called_twice() -> None:
    server = AuthorizationServer()
    with pytest.raises(RuntimeError, match="not started"):
        _ = server.url
    assert server.start() is server
    url = server.url
    server.start()
    assert server.url == url
    server.close()
    server.close()
    assert server.url == url
    with server as again, requests.Session() as http:
        assert ask(http, again).status_code == 200


def test_the_port_can_be_chosen() -> None:
    with AuthorizationServer() as auth:
        port = auth.port
        with pytest.raises(OSError, match="in use"):
            AuthorizationServer(port=port).start()
    with AuthorizationServer(port=port) as auth:
        assert auth.port == port


def test_closing_leaves_no_thread_and_no_socket(recwarn: pytest.WarningsRecorder) -> None:
    gc.collect()
    before = len(list(Path("/proc/self/fd").iterdir()))
    with AuthorizationServer() as auth, ProtectedAPI(auth) as api:
        lines = [socket.create_connection(("127.0.0.1", server.port)) for server in (auth, api) * 9]
        with requests.Session() as http:
            ask(http, auth)
            assert len(server_threads()) > 2
            auth.close()
            api.close()
            assert server_threads() == []
    for line in lines:
        with line, contextlib.suppress(ConnectionResetError):  # if it was not yet accepted
            assert line.recv(1) == b""
    del auth, api
    gc.collect()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert [str(warning.message) for warning in recwarn] == []


def test_a_server_may_be_closed_by_its_own_callback(
    auth: AuthorizationServer, http: requests.Session
) -> None:
    auth.watch = lambda seen, outcome: auth.down()
    with pytest.raises(requests.ConnectionError):
        ask(http, auth)
    auth.watch = None
    auth.up()
    assert ask(http, auth).status_code == 200


def test_accepting_continues_after_an_error(
    auth: AuthorizationServer, http: requests.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert auth._listener is not None
    failures = [OSError("too many open files")]
    real = auth._listener.socket

    class Failing:
        def accept(self) -> object:
            if failures:
                raise failures.pop()
            return real.accept()

    auth._listener.socket = Failing()  # type: ignore[assignment]
    assert ask_alone(auth) == 200  # accepted by the accept() that was already waiting
    assert ask_alone(auth) == 200
    assert failures == []
    auth._listener.socket = real


def test_a_loopback_server_has_no_answers(capsys: pytest.CaptureFixture[str]) -> None:
    with LoopbackServer() as server, pytest.raises(requests.ConnectionError):
        requests.get(server.url, timeout=10)
    server.wake()
    assert "NotImplementedError" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "fork"), reason="os.fork is needed")
def test_a_forked_child_can_use_the_server_but_not_close_it(auth: AuthorizationServer) -> None:
    ask_alone(auth)
    pid = os.fork()
    if pid == 0:  # pragma: no cover - the child
        status = 1
        try:
            auth.close()  # does nothing in a child
            status = 0 if ask_alone(auth) == 200 else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert len(auth.token_requests) == 2
    assert ask_alone(auth) == 200


def test_a_forked_child_with_open_sockets_does_not_keep_the_port_open(
    auth: AuthorizationServer, http: requests.Session
) -> None:
    assert ask(http, auth).status_code == 200
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:  # pragma: no cover - the child
        os.close(write)
        os.read(read, 1)  # until the parent has finished
        os._exit(0)
    try:
        auth.down()
        with pytest.raises(requests.ConnectionError):
            ask(http, auth)
        auth.up()
        assert ask(http, auth).status_code == 200
    finally:
        os.close(write)
        os.close(read)
        os.waitpid(pid, 0)


# --- TLS, gevent


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path, Path]:
    trustme = pytest.importorskip("trustme")
    folder = tmp_path_factory.mktemp("tls")
    ca = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    ca.configure_trust(context)
    context.verify_mode = ssl.CERT_OPTIONAL
    ca.cert_pem.write_to_path(folder / "ca.pem")
    ca.issue_cert("client@example.com").private_key_and_cert_chain_pem.write_to_path(
        folder / "client.pem"
    )
    return context, folder / "ca.pem", folder / "client.pem"


def test_both_servers_support_tls(
    certificates: tuple[ssl.SSLContext, Path, Path], http: requests.Session
) -> None:
    context, ca, client = certificates
    http.verify = str(ca)
    with AuthorizationServer(tls=context) as auth, ProtectedAPI(auth, tls=context) as api:
        assert auth.url.startswith("https://127.0.0.1:")
        headers = bearer(http, auth)
        assert http.get(api.url, headers=headers, timeout=10).status_code == 200
        assert api.requests[0].peer_certificate is None
        shown = requests.get(api.url, headers=headers, verify=str(ca), cert=str(client), timeout=10)
        assert shown.status_code == 200
        assert api.requests[1].peer_certificate[:1] == b"\x30"  # DER
        auth.answer_next(faults.reset())
        with pytest.raises(requests.ConnectionError):
            ask(http, auth)
        assert raw(auth, b"GET / HTTP/1.1\r\n\r\n")[:5] != b"HTTP/"
        with requests.Session() as stranger, pytest.raises(requests.exceptions.SSLError):
            ask(stranger, auth)
        hung = socket.create_connection(("127.0.0.1", auth.port))
        assert ask(http, auth).status_code == 200
    assert server_threads() == []
    hung.close()


GEVENT = """
import {first}
import {second}
{third}
import requests
from oauthcc.testing import AuthorizationServer, ProtectedAPI, faults

def ask(auth):
    form = {{"grant_type": "client_credentials"}}
    pair = (auth.client_id, auth.client_secret)
    with requests.post(auth.token_url, data=form, auth=pair, timeout=10) as answer:
        return answer.status_code

with AuthorizationServer() as auth, ProtectedAPI(auth) as api:
    with auth.hold() as gate:
        waiting = [gevent.spawn(ask, auth) for _ in range(5)]
        gate.wait_for(5)
        gate.release()
    gevent.joinall(waiting, timeout=10)
    assert [one.value for one in waiting] == [200] * 5
    auth.answer_next(faults.hang())
    hung = gevent.spawn(ask, auth)
    while len(auth.token_requests) < 6:
        gevent.sleep(0.001)
    auth.down()
    hung.join(10)
    assert isinstance(hung.exception, requests.ConnectionError)
    auth.up()
    assert ask(auth) == 200
    assert auth.max_concurrent == 5
"""


@pytest.mark.parametrize(
    "order",
    [
        ("gevent.monkey", "gevent", "gevent.monkey.patch_all()"),
        ("oauthcc.testing", "gevent.monkey", "import gevent; gevent.monkey.patch_all()"),
    ],
)
def test_the_servers_work_under_gevent(order: tuple[str, str, str]) -> None:
    pytest.importorskip("gevent")
    first, second, third = order
    script = GEVENT.format(first=first, second=second, third=third)
    run = subprocess.run(
        [sys.executable, "-X", "dev", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (run.returncode, run.stdout) == (0, ""), run.stderr


@pytest.mark.parametrize(("needed", "status"), [("json", 200), ("form", 400)])
def test_a_token_request_in_json_is_understood_by_a_server_that_wants_it(
    auth: AuthorizationServer, needed: Any, status: int
) -> None:
    auth.token_body = needed
    asked = {"grant_type": "client_credentials", "scope": "a"}
    asked |= {"client_id": auth.client_id, "client_secret": auth.client_secret}
    assert requests.post(auth.token_url, json=asked, timeout=10).status_code == status
    if status == 200:
        assert auth.token_requests[0].client_id == auth.client_id
        assert auth.token_requests[0].json() == asked
        assert auth.look_up(auth.issued[0]).scope == "a"


@pytest.mark.parametrize("body", [b"grant_type=client_credentials", b"[1]", b"null", b""])
def test_a_server_that_wants_json_refuses_everything_else(
    auth: AuthorizationServer, body: bytes
) -> None:
    auth.token_body = "json"
    client = (auth.client_id, auth.client_secret)
    answer = requests.post(auth.token_url, data=body, auth=client, timeout=10)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
