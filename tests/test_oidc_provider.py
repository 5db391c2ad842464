"""Tests of the promises on an authorization server and an API that are not ours."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from oauthcc import (
    ClientCredentialsAuth,
    ClientCredentialsSession,
    ClientSecretPost,
    TokenRequestDenied,
    fetch_token,
)
from tests.servers.clients import ODD_SECRETS
from tests.servers.oidc import ORDERS, SCOPE, SIGNED, STOCK, OIDCServer
from tests.servers.sessions import OIDCSessions

pytestmark = pytest.mark.unmeasured

Make = Callable[..., ClientCredentialsSession]
NAMES = ["", "/odd-id", *(f"/{name}" for name in ODD_SECRETS)]


@pytest.fixture
def make(make: OIDCSessions) -> Make:
    """Return what makes sessions that know the token URL without TLS."""
    oidc = make.oidc
    return lambda client="client_secret_basic", **options: make(
        client,
        **{"token_url": oidc.token_url, "issuer": None, "api_url": oidc.api_url, **options},
    )


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def test_the_four_lines_work(oidc: OIDCServer) -> None:
    client_id, secret = oidc.clients["client_secret_basic"].pair
    with ClientCredentialsSession(oidc.token_url, client_id, secret, "orders:read") as api:
        assert oidc.counts()["token_requests"] == 0
        for _ in range(3):
            assert api.get(oidc.api_url + "/orders").json()["scope"] == "orders:read"
    assert oidc.counts()["token_requests"] == 1
    assert oidc.counts()["api_by_status"] == {"200": 3}


@pytest.mark.parametrize("name", NAMES)
def test_any_secret_and_id_is_accepted_in_basic(oidc: OIDCServer, make: Make, name: str) -> None:
    answer = make(f"client_secret_basic{name}").get(oidc.api_url + "/orders")
    assert answer.status_code == 200
    assert oidc.counts()["token_errors"] == {}


@pytest.mark.parametrize("name", NAMES)
def test_any_secret_and_id_is_accepted_in_the_body(oidc: OIDCServer, make: Make, name: str) -> None:
    api = make(f"client_secret_post{name}", client_auth=ClientSecretPost())
    assert api.get(oidc.api_url + "/orders").status_code == 200
    assert oidc.counts()["token_errors"] == {}


@pytest.mark.parametrize("end", ["revoke_all", "expire_all", "revocation endpoint", "clock"])
def test_a_revoked_or_expired_token_is_renewed_and_the_request_replayed(
    oidc: OIDCServer, make: Make, end: str
) -> None:
    api = make()
    first = api.get(oidc.api_url + "/orders")
    if end == "revocation endpoint":
        token = api.tokens.get().access_token
        auth = oidc.clients["client_secret_basic"].pair
        requests.post(oidc.revocation_url, {"token": token}, auth=auth).raise_for_status()
    elif end == "clock":
        oidc.advance(3601)
    else:
        getattr(oidc, end)()
    second = api.post(oidc.api_url + "/orders", json={"pieces": 3})
    assert [first.status_code, second.status_code] == [200, 200]
    assert second.json()["sha256"] == sha256(b'{"pieces": 3}')
    assert second.json()["type"] == "application/json"
    assert second.history == []
    counts = oidc.counts()
    assert counts["token_requests"] == 2
    assert counts["api_by_status"] == {"200": 2, "401": 1}
    assert counts["api_by_route"] == {"GET /orders": 1, "POST /orders": 2}


def bodies(folder: Path) -> dict[str, tuple[dict[str, Any], bytes]]:
    big = bytes(range(256)) * 4096
    file = folder / "upload.bin"
    file.write_bytes(b"skipped" + big)
    opened = file.open("rb")
    opened.seek(len(b"skipped"))
    return {
        "bytes": ({"data": big}, big),
        "form": ({"data": {"a": "1", "b": "+&="}}, b"a=1&b=%2B%26%3D"),
        "file at an offset": ({"data": opened}, big),
        "memory": ({"data": io.BytesIO(big)}, big),
    }


@pytest.mark.parametrize("kind", ["bytes", "form", "file at an offset", "memory"])
def test_a_body_is_sent_again_after_a_401(
    oidc: OIDCServer, make: Make, tmp_path: Path, kind: str
) -> None:
    options, expected = (made := bodies(tmp_path))[kind]
    api = make()
    api.get(oidc.api_url + "/orders")
    oidc.revoke_all()
    # If the body is not rewound, the API waits for it.
    answer = api.put(oidc.api_url + "/orders", timeout=20, **options)
    made["file at an offset"][0]["data"].close()
    assert answer.status_code == 200
    assert answer.json()["length"] == len(expected)
    assert answer.json()["sha256"] == sha256(expected)
    assert oidc.counts()["api_by_status"] == {"200": 2, "401": 1}


def test_a_multipart_upload_is_sent_again_after_a_401(
    oidc: OIDCServer, make: Make, tmp_path: Path
) -> None:
    (tmp_path / "order.csv").write_bytes(b"a;b\n" * 50_000)
    api = make()
    api.get(oidc.api_url + "/orders")
    oidc.revoke_all()
    with (tmp_path / "order.csv").open("rb") as file:
        answer = api.post(oidc.api_url + "/orders", files={"order": file}, timeout=20)
    assert answer.status_code == 200
    assert isinstance(answer.request.body, bytes)
    assert answer.json()["sha256"] == sha256(answer.request.body)
    assert answer.json()["length"] > 200_000


def test_a_body_that_cannot_be_sent_twice_is_sent_once(oidc: OIDCServer, make: Make) -> None:
    api = make()
    api.get(oidc.api_url + "/orders")
    oidc.revoke_all()
    answer = api.post(oidc.api_url + "/orders", data=(part for part in [b"once", b"only"]))
    assert answer.status_code == 401
    assert oidc.counts()["api_by_route"]["POST /orders"] == 1
    assert api.post(oidc.api_url + "/orders", data=b"next").status_code == 200


def test_many_threads_with_a_revoked_token_fetch_one_token(oidc: OIDCServer, make: Make) -> None:
    api, threads = make(), 16
    assert api.get(oidc.api_url + "/orders").status_code == 200
    oidc.revoke_all()
    start = threading.Barrier(threads)

    def call(number: int) -> tuple[int, str]:
        start.wait(30)
        answer = api.post(oidc.api_url + "/orders", data=b"order %d" % number)
        return answer.status_code, answer.json()["sha256"]

    with ThreadPoolExecutor(threads) as pool:
        results = list(pool.map(call, range(threads)))
    assert results == [(200, sha256(b"order %d" % number)) for number in range(threads)]
    assert oidc.counts()["token_requests"] == 2


def test_a_scope_that_was_not_granted_stays_a_403(oidc: OIDCServer, make: Make) -> None:
    api = make(scope="orders:read")
    assert api.post(oidc.api_url + "/orders").status_code == 403
    assert (
        'error="insufficient_scope"' in api.get(oidc.api_url + "/admin").headers["WWW-Authenticate"]
    )
    assert oidc.counts()["token_requests"] == 1
    assert oidc.counts()["api_requests"] == 2


def test_an_api_that_accepts_no_token_costs_two_replays_and_then_none(
    oidc: OIDCServer, make: Make
) -> None:
    api = make(resource=STOCK)
    answers = [api.get(oidc.api_url + "/orders") for _ in range(10)]
    assert {answer.status_code for answer in answers} == {401}
    assert answers[0].json()["detail"] == "the token is for another API"
    # The first refused new token is free, and the second begins a pause.
    assert oidc.counts()["token_requests"] == 3
    assert oidc.counts()["api_requests"] == 12


@pytest.mark.parametrize("resource", [ORDERS, SIGNED])
def test_a_resource_is_requested_again_at_a_renewal(
    oidc: OIDCServer, make: Make, resource: str
) -> None:
    api = make(resource=resource)
    first = api.get(oidc.api_url + "/orders").json()
    api.tokens.renew()
    second = api.get(oidc.api_url + "/orders").json()
    assert [first["aud"], second["aud"]] == [resource, resource]
    assert oidc.counts()["token_requests"] == 2


def test_the_error_for_an_unknown_resource_has_what_the_server_answered(
    oidc: OIDCServer, make: Make
) -> None:
    with pytest.raises(TokenRequestDenied) as caught:
        make(resource="https://unknown.example/").get(oidc.api_url + "/orders")
    assert caught.value.error == "invalid_target"
    assert caught.value.status_code == 400
    assert caught.value.error_description == "this resource is not known here"


def test_the_error_for_a_wrong_secret_has_what_the_server_answered(oidc: OIDCServer) -> None:
    with pytest.raises(TokenRequestDenied) as caught:
        fetch_token(oidc.token_url, "basic-client", "not the secret")
    assert caught.value.error == "invalid_client"
    assert caught.value.status_code == 401
    assert oidc.counts()["token_errors"] == {"invalid_client": 1}


def test_a_wrong_secret_is_not_sent_for_every_call(oidc: OIDCServer) -> None:
    api = ClientCredentialsSession(oidc.token_url, "basic-client", "not the secret")
    with api:
        for _ in range(20):
            with pytest.raises(TokenRequestDenied, match="invalid_client"):
                api.get(oidc.api_url + "/orders")
    assert oidc.counts()["token_requests"] == 1
    assert oidc.counts()["api_requests"] == 0


@pytest.mark.parametrize("which", ["issuer", "tls_issuer"])
def test_the_token_endpoint_is_found_from_the_issuer(oidc: OIDCServer, which: str) -> None:
    client_id, secret = oidc.clients["client_secret_basic"].pair
    issuer = getattr(oidc, which)
    with ClientCredentialsSession.from_issuer(issuer, client_id, secret, SCOPE) as api:
        api.trust_env = False
        api.verify = oidc.ca_bundle
        assert api.get(oidc.tls_api_url + "/orders").status_code == 200


def test_the_token_request_uses_the_ca_of_the_session(oidc: OIDCServer, make: Make) -> None:
    api = make(token_url=oidc.tls_token_url)
    api.verify = True
    with pytest.raises(requests.ConnectionError, match="certificate"):
        api.get(oidc.api_url + "/orders")
    assert make(token_url=oidc.tls_token_url).get(oidc.api_url + "/orders").status_code == 200


def test_a_public_client_needs_no_secret(oidc: OIDCServer) -> None:
    client_id = oidc.clients["none"].client_id
    with ClientCredentialsSession(
        oidc.token_url, client_id, scope=SCOPE, client_auth="none"
    ) as api:
        assert api.get(oidc.api_url + "/orders").json()["client_id"] == client_id


def test_the_auth_object_works_in_a_plain_session(oidc: OIDCServer) -> None:
    client_id, secret = oidc.clients["client_secret_basic"].pair
    with requests.Session() as plain:
        plain.auth = ClientCredentialsAuth(oidc.token_url, client_id, secret, SCOPE)
        assert plain.get(oidc.api_url + "/orders").status_code == 200
        oidc.revoke_all()
        answer = plain.post(oidc.api_url + "/orders", data=b"again")
    assert answer.status_code == 200
    assert answer.json()["sha256"] == sha256(b"again")
    assert oidc.counts()["token_requests"] == 2


def test_a_short_lifetime_is_used_unchanged(oidc: OIDCServer) -> None:
    oidc.set_ttl(7, "basic-client")
    token = fetch_token(
        oidc.token_url, *oidc.clients["client_secret_basic"].pair, scope="orders:read unknown"
    )
    assert token.expires_at is not None
    assert token.expires_at - token.issued_at == pytest.approx(7, abs=0.01)
    assert token.scope == "orders:read"
