"""Secrets, keys and certificates that are replaced while the program runs."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from requests.adapters import BaseAdapter, HTTPAdapter

from oauthcc import (
    ClientAuth,
    ClientCredentialsSession,
    ClientSecretBasic,
    ClientSecretPost,
    PrivateKeyJWT,
    TLSClientAuth,
    TokenEndpointUnavailable,
    TokenError,
    TokenRequestDenied,
    events,
)
from oauthcc.stores import MemoryStore
from oauthcc.testing import Answer, AuthorizationServer, ProtectedAPI, faults, json_answer

from .clock import Clock, flights_done, moved_clock
from .internet import SeenEvents
from .servers.clients import Client
from .servers.oidc import OIDCServer
from .servers.sessions import OIDCSessions
from .sessions import session_for

METHODS = [ClientSecretBasic(), ClientSecretPost()]


@pytest.fixture
def oauth_server() -> Iterator[AuthorizationServer]:
    with AuthorizationServer(client_secret="first") as auth:
        yield auth


@pytest.fixture
def make(auth: AuthorizationServer) -> Iterator[Callable[..., ClientCredentialsSession]]:
    with ExitStack() as stack:
        yield lambda secret, **options: stack.enter_context(
            session_for(auth, client_secret=secret, **options)
        )


Make = Callable[..., ClientCredentialsSession]


class Vault:
    """A place for a secret, as a callable or a file, that counts how often it was read."""

    def __init__(self, folder: Path, secret: str) -> None:
        self.path = folder / "secret"
        self.put(secret)
        self.reads = 0

    def put(self, secret: str) -> None:
        """Replace the secret in one atomic step."""
        new = self.path.with_suffix(".new")
        new.write_text(secret + "\n")
        new.replace(self.path)

    def __call__(self) -> str:
        self.reads += 1
        return self.path.read_text().strip()


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault(tmp_path, "first")


def source_of(vault: Vault, kind: str) -> Any:
    return vault if kind == "callable" else vault.path


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return moved_clock(monkeypatch)


@pytest.mark.parametrize("kind", ["callable", "file"])
@pytest.mark.parametrize("method", METHODS)
def test_the_next_token_request_uses_the_new_secret(
    api: ProtectedAPI,
    make: Make,
    vault: Vault,
    kind: str,
    method: ClientAuth,
) -> None:
    auth = api.auth
    session = make(source_of(vault, kind), client_auth=method)
    assert session.get(api.url).status_code == 200
    vault.put("second")
    auth.add_client(auth.client_id, "second")
    auth.revoke_all()
    assert session.post(api.url, data=b"body").json()["length"] == 4
    assert len(auth.token_requests) == 2
    assert len(auth.issued) == 2


def test_a_callable_is_called_once_for_each_token_request(
    auth: AuthorizationServer, api: ProtectedAPI, make: Make, vault: Vault
) -> None:
    session = make(vault)
    assert vault.reads == 0
    for _ in range(5):
        session.get(api.url)
    assert vault.reads == 1
    session.tokens.renew()
    assert vault.reads == 2


def rotate_during(session: ClientCredentialsSession, rotate: Callable[[], object]) -> None:
    """Call ``rotate`` between the response to the first token request and its evaluation."""
    left = [rotate]

    def meanwhile(response: Any) -> Any:
        if left:
            left.pop()()
        return response

    session.tokens.endpoint.register_compliance_hook("access_token_response", meanwhile)


@pytest.mark.parametrize("kind", ["callable", "file"])
@pytest.mark.parametrize("method", METHODS)
def test_a_secret_replaced_during_a_token_request_is_used_at_once(
    api: ProtectedAPI,
    make: Make,
    vault: Vault,
    kind: str,
    method: ClientAuth,
) -> None:
    auth = api.auth
    auth.add_client(auth.client_id, "second")
    seen = SeenEvents()
    session = make(source_of(vault, kind), client_auth=method, on_event=seen)
    rotate_during(session, lambda: vault.put("second"))
    assert session.get(api.url).status_code == 200
    assert len(auth.token_requests) == 2
    assert seen.first(events.TokenObtained).attempts == 2


def test_an_unchanged_secret_is_not_sent_twice(
    auth: AuthorizationServer, api: ProtectedAPI, make: Make, vault: Vault
) -> None:
    vault.put("wrong")
    for secret in (vault, "wrong"):
        with pytest.raises(TokenRequestDenied, match="Check client_id, client_secret") as caught:
            make(secret).get(api.url)
        assert caught.value.error == "invalid_client"
    assert len(auth.token_requests) == 2
    assert vault.reads == 2


@pytest.mark.parametrize(
    "answer",
    [
        faults.html(401),
        faults.empty(403),
        faults.oauth_error("access_denied", status=403),
        faults.oauth_error("server_error", status=401),
        faults.oauth_error("unauthorized_client", status=401),
        faults.oauth_error("invalid_client", status=400),
    ],
    ids=["401", "403", "access_denied", "server_error", "unauthorized_client", "invalid_client"],
)
def test_the_secret_is_read_again_after_a_refusal_that_may_mean_the_secret(
    api: ProtectedAPI, make: Make, vault: Vault, answer: Answer
) -> None:
    auth = api.auth
    auth.answer_next(answer)
    auth.add_client(auth.client_id, "second")
    session = make(vault)
    rotate_during(session, lambda: vault.put("second"))
    assert session.get(api.url).status_code == 200
    assert len(auth.token_requests) == vault.reads == 2


#: How providers answer a wrong secret.
WRONG_SECRET: dict[str, Answer] = {
    "RFC 6749": faults.oauth_error("invalid_client", status=401),
    "Entra": json_answer(
        {"error": "invalid_client", "error_description": "AADSTS7000215", "error_codes": [7000215]},
        401,
    ),
    "Auth0": faults.oauth_error("access_denied", "Unauthorized", 401),
    "ServiceNow": faults.oauth_error("server_error", "access_denied", 401),
    "Salesforce": faults.oauth_error("invalid_client_id", "client identifier invalid", 400),
    "unauthorized_client": faults.oauth_error("unauthorized_client", status=400),
    "a code of its own": faults.oauth_error("Unauthorized", status=400),
    "FedEx": json_answer(
        {"errors": [{"code": "NOT.AUTHORIZED.ERROR", "message": "Not valid"}]}, 401
    ),
    "Apigee": json_answer({"ErrorCode": "invalid_client", "Error": "ClientId is Invalid"}, 401),
    "a fault": json_answer({"fault": {"faultstring": "Invalid ApiKey"}}, 400),
    "a gateway": json_answer({"message": "Forbidden"}, 403),
    "XML": Answer(400, {"Content-Type": "text/xml"}, b"<Error><Message>Bad</Message></Error>"),
    "a page": faults.html(403),
    "nothing": faults.empty(401),
    "an error with 200": json_answer({"error": "invalid_client"}),
    "another error with 200": json_answer({"errcode": 40001, "errmsg": "invalid credential"}),
    "NetSuite": faults.oauth_error("invalid_request", status=400),
    "an assertion": faults.oauth_error("invalid_grant", "Bad signature", 400),
    "a status of its own": faults.oauth_error("invalid_client", status=500),
    "an error in an error": json_answer({"error": {"code": 401, "message": "Bad secret"}}, 400),
}


@pytest.mark.parametrize("kind", ["callable", "file"])
@pytest.mark.parametrize("provider", WRONG_SECRET)
def test_a_rotated_secret_is_used_in_the_same_call_however_the_old_one_is_refused(
    api: ProtectedAPI, make: Make, vault: Vault, provider: str, kind: str
) -> None:
    auth = api.auth
    auth.answer_next(WRONG_SECRET[provider])
    auth.add_client(auth.client_id, "second")
    session = make(source_of(vault, kind))
    rotate_during(session, lambda: vault.put("second"))
    assert session.get(api.url).status_code == 200
    assert len(auth.token_requests) == 2
    if kind == "callable":
        assert vault.reads == 2


@pytest.mark.parametrize("provider", WRONG_SECRET)
def test_the_refusal_stands_if_the_secret_is_the_same(
    api: ProtectedAPI, make: Make, vault: Vault, provider: str
) -> None:
    api.auth.answer_next(WRONG_SECRET[provider], None)
    with pytest.raises(TokenError):
        make(vault).get(api.url)
    assert len(api.auth.token_requests) == 1
    assert vault.reads == 2


@pytest.mark.parametrize("error", ["server_error", "access_denied", "temporarily_unavailable"])
@pytest.mark.parametrize("status", [401, 403])
def test_an_oauth_error_with_401_or_403_is_a_refusal_and_asked_with_its_pauses(
    api: ProtectedAPI, make: Make, clock: Clock, error: str, status: int
) -> None:
    auth = api.auth
    auth.refuse_next(None, error=error, status=status)
    session = make("first")
    for _ in range(600):
        with pytest.raises(TokenRequestDenied, match=error):
            session.get(api.url)
        clock.advance(1.0)
    # Ten minutes with pauses that double from 1 s to 60 s.
    assert len(auth.token_requests) <= 16
    auth.answer_normally()
    clock.advance(60)
    assert session.get(api.url).status_code == 200


@pytest.mark.parametrize("error", ["server_error", "temporarily_unavailable"])
def test_a_temporary_error_with_another_status_is_asked_again_soon(
    auth: AuthorizationServer, api: ProtectedAPI, make: Make, clock: Clock, error: str
) -> None:
    auth.refuse_next(3, error=error, status=400)
    session = make("first")
    with pytest.raises(TokenEndpointUnavailable):
        session.get(api.url)
    auth.answer_normally()
    clock.advance(5)
    assert session.get(api.url).status_code == 200


def test_a_secret_that_changes_every_time_is_sent_only_twice(
    auth: AuthorizationServer, api: ProtectedAPI, make: Make
) -> None:
    numbers = iter(range(100))
    with pytest.raises(TokenRequestDenied):
        make(lambda: f"wrong-{next(numbers)}").get(api.url)
    assert len(auth.token_requests) == 2


@pytest.mark.parametrize("error", ["invalid_scope", "invalid_target", "unsupported_grant_type"])
def test_the_secret_is_not_read_again_after_another_error(
    auth: AuthorizationServer, api: ProtectedAPI, make: Make, vault: Vault, error: str
) -> None:
    auth.refuse_next(error=error, status=400)
    with pytest.raises(TokenRequestDenied, match=error):
        make(vault).get(api.url)
    assert len(auth.token_requests) == vault.reads == 1


def test_an_early_renewal_uses_the_new_secret_and_no_call_fails(
    api: ProtectedAPI, make: Make, vault: Vault, clock: Clock
) -> None:
    auth = api.auth
    session = make(vault.path)
    assert session.get(api.url).status_code == 200
    # The server has the new secret now, the file only after the server refused the old one.
    auth.add_client(auth.client_id, "second")
    rotate_during(session, lambda: vault.put("second"))
    clock.advance(3000)
    with auth.hold():
        assert session.get(api.url).status_code == 200
    flights_done()
    assert session.get(api.url).status_code == 200
    first, second = auth.issued
    assert [seen.token for seen in api.requests] == [first, first, second]
    assert len(auth.token_requests) == 3


def test_no_call_fails_if_an_early_renewal_fails_before_the_secret_is_replaced(
    api: ProtectedAPI, make: Make, vault: Vault, clock: Clock
) -> None:
    auth, emitted = api.auth, list[events.Event]()
    session = make(vault, on_event=emitted.append)
    session.get(api.url)
    auth.add_client(auth.client_id, "second")
    clock.advance(3000)
    assert session.get(api.url).status_code == 200
    flights_done()
    [failed] = [event for event in emitted if isinstance(event, events.RenewalFailed)]
    assert failed.usable
    vault.put("second")
    clock.advance(failed.next_try_in + 0.1)
    assert session.get(api.url).status_code == 200
    flights_done()
    assert session.get(api.url).status_code == 200
    first, second = auth.issued
    assert [seen.token for seen in api.requests] == [first, first, first, second]


def test_a_refusal_is_forgotten_when_the_secret_was_replaced(
    auth: AuthorizationServer, api: ProtectedAPI, make: Make, vault: Vault, clock: Clock
) -> None:
    vault.put("wrong")
    session = make(vault.path)
    for seconds in (0.0, 1.1, 2.1):  # each is longer than the pause before
        clock.advance(seconds)
        for _ in range(5):
            with pytest.raises(TokenRequestDenied, match="invalid_client"):
                session.get(api.url)
    requests = len(auth.token_requests)
    assert requests == 3
    # The pause has not ended, but the file is read once a second.
    vault.put("first")
    clock.advance(1.1)
    assert session.get(api.url).status_code == 200
    assert len(auth.token_requests) == requests + 1


@pytest.mark.unmeasured
def test_a_callable_that_returns_a_new_secret_every_time_does_not_end_the_pause(
    auth: AuthorizationServer, api: ProtectedAPI, make: Make, clock: Clock
) -> None:
    numbers = iter(range(10_000))
    session = make(lambda: f"wrong-{next(numbers)}")
    for _ in range(600):
        clock.advance(1.0)
        with pytest.raises(TokenRequestDenied):
            session.get(api.url)
    # Ten minutes with pauses that double from 1 s to 60 s, and two requests after each pause.
    assert len(auth.token_requests) <= 2 * 16


def test_a_new_secret_does_not_use_the_stored_token_of_the_old_one(
    auth: AuthorizationServer, api: ProtectedAPI, make: Make, vault: Vault
) -> None:
    store = MemoryStore()
    one, other = make(vault, store=store), make(vault, store=store)
    one.get(api.url)
    other.get(api.url)
    assert len(auth.issued) == 1
    vault.put("second")
    auth.add_client(auth.client_id, "second")
    make(vault, store=store).get(api.url)
    assert len(auth.issued) == 2
    # The first two sessions use their token until it has to be renewed.
    assert one.get(api.url).status_code == 200
    assert len(auth.token_requests) == 2


def test_an_unreadable_secret_is_an_error_of_the_call_and_is_read_again(
    auth: AuthorizationServer, api: ProtectedAPI, make: Make, vault: Vault, clock: Clock
) -> None:
    session = make(vault.path)
    vault.path.rename(vault.path.with_suffix(".gone"))
    with pytest.raises(Exception, match="cannot be read"):
        session.get(api.url)
    vault.put("first")
    clock.advance(1.1)
    assert session.get(api.url).status_code == 200


# -- keys and certificates, on oidc-provider -----------------------------------------------------


@pytest.fixture
def oidc_make(oidc: OIDCServer) -> Iterator[OIDCSessions]:
    sessions = OIDCSessions(oidc)
    yield sessions
    sessions.close()


def pem(client: Client) -> str:
    assert client.private_key_pem is not None
    return client.private_key_pem


class Keys:
    """The old and the new key of one client. The server knows only the new one."""

    def __init__(self, oidc: OIDCServer, folder: Path) -> None:
        self.path = folder / "key.pem"
        self.old = pem(oidc.clients["private_key_jwt/EdDSA"])
        self.new = pem(oidc.clients["private_key_jwt/ES256"])
        self.reads = 0

    def put(self, key: str) -> None:
        new = self.path.with_suffix(".new")
        new.write_text(key)
        new.replace(self.path)

    def __call__(self) -> str:
        self.reads += 1
        return self.path.read_text()


@pytest.fixture
def keys(oidc: OIDCServer, tmp_path: Path) -> Keys:
    return Keys(oidc, tmp_path)


@pytest.mark.parametrize("kind", ["callable", "file"])
def test_a_key_replaced_during_a_token_request_is_used_at_once(
    oidc: OIDCServer, oidc_make: OIDCSessions, keys: Keys, kind: str
) -> None:
    keys.put(keys.old)
    method = PrivateKeyJWT(keys if kind == "callable" else keys.path)
    session = oidc_make("private_key_jwt/ES256", client_auth=method)
    rotate_during(session, lambda: keys.put(keys.new))
    assert session.get(oidc.api_url + "/orders").status_code == 200
    assert oidc.counts()["token_errors"] == {"invalid_client": 1}
    assert oidc.counts()["token_requests"] == 2


@pytest.mark.parametrize("kind", ["callable", "file"])
def test_a_key_is_read_again_for_each_token_request(
    oidc_make: OIDCSessions, keys: Keys, kind: str, clock: Clock
) -> None:
    oidc = oidc_make.oidc
    keys.put(keys.new)
    method = PrivateKeyJWT(keys if kind == "callable" else keys.path)
    session = oidc_make("private_key_jwt/ES256", client_auth=method)
    assert session.get(oidc.api_url + "/orders").status_code == 200
    keys.put(keys.old)
    oidc.revoke_all()
    assert session.get(oidc.api_url + "/orders").status_code == 401
    assert oidc.counts()["token_errors"] == {"invalid_client": 1}
    keys.put(keys.new)
    clock.advance(1.1)
    assert session.get(oidc.api_url + "/orders").status_code == 200
    assert oidc.counts()["tokens_issued"] == 2


def test_an_encrypted_key_and_its_password_can_be_replaced(
    oidc: OIDCServer, oidc_make: OIDCSessions, keys: Keys, tmp_path: Path
) -> None:
    password = tmp_path / "password"

    def put(word: str) -> None:
        keys.put(encrypted(keys.new, word))
        password.write_text(word)

    put("one")
    method = PrivateKeyJWT(keys.path, password=password)
    session = oidc_make("private_key_jwt/ES256", client_auth=method)
    assert session.get(oidc.api_url + "/orders").status_code == 200
    put("two")
    oidc.revoke_all()
    assert session.get(oidc.api_url + "/orders").status_code == 200


def encrypted(key: str, password: str) -> str:
    from cryptography.hazmat.primitives import serialization as form

    private = form.load_pem_private_key(key.encode(), None)
    return private.private_bytes(
        form.Encoding.PEM,
        form.PrivateFormat.PKCS8,
        form.BestAvailableEncryption(password.encode()),
    ).decode()


class OnDisk:
    """A certificate and its key in files that can be replaced."""

    def __init__(self, folder: Path, first: tuple[str, str]) -> None:
        self.pair = str(folder / "client.crt"), str(folder / "client.key")
        self.put(first)

    def put(self, pair: tuple[str, str]) -> None:
        for path, content in zip(self.pair, pair, strict=True):
            shutil.copyfile(content, path + ".new")
            os.replace(path + ".new", path)  # noqa: PTH105 - strings, not paths

    @property
    def thumbprint(self) -> str:
        """Return the thumbprint that a token is bound to (RFC 8705 section 3.1)."""
        der = ssl.PEM_cert_to_DER_cert(Path(self.pair[0]).read_text())
        return base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()


def hang_up(session: ClientCredentialsSession, *urls: str) -> None:
    """Close the idle connections to these servers, as a server or a firewall does."""
    ports = {urlsplit(url).port for url in urls}
    for adapter in session.adapters.values():
        assert isinstance(adapter, HTTPAdapter)
        pools: Any = adapter.poolmanager.pools
        for pool in [pools[key] for key in pools.keys()]:  # noqa: SIM118 - not a dict
            if pool.port in ports:
                pool.close()
                pools_without(pools, pool)


def pools_without(pools: Any, pool: Any) -> None:
    for key in list(pools.keys()):
        if pools[key] is pool:
            del pools[key]


@pytest.mark.unmeasured
@pytest.mark.parametrize("revoked", [True, False])
@pytest.mark.parametrize("hung_up", ["nobody", "server", "api", "both"])
def test_a_renewed_certificate_is_used_without_a_restart(
    oidc: OIDCServer, oidc_make: OIDCSessions, tmp_path: Path, hung_up: str, revoked: bool
) -> None:
    files = OnDisk(tmp_path, oidc.certificates.client.pair)
    session = oidc_make("tls_client_auth/san", client_auth=TLSClientAuth(files.pair))
    url = oidc.tls_api_url + "/orders"
    assert session.get(url).json()["certificate"] == files.thumbprint
    files.put(oidc.certificates.renewed_client.pair)
    servers = {"server": [oidc.mtls_token_url], "api": [url], "both": [oidc.mtls_token_url, url]}
    hang_up(session, *servers.get(hung_up, []))
    if revoked:
        oidc.revoke_all()
    answer = session.post(url, data=b"body")
    assert answer.status_code == 200, answer.text
    assert answer.json()["length"] == 4
    is_new = answer.json()["certificate"] == files.thumbprint
    assert is_new or not (revoked or hung_up in ("api", "both"))
    session.tokens.renew()
    answer = session.post(url, data=b"body")
    assert answer.status_code == 200
    assert answer.json()["certificate"] == files.thumbprint


def test_a_session_with_shared_tokens_uses_the_renewed_certificate_too(
    oidc: OIDCServer, oidc_make: OIDCSessions, tmp_path: Path
) -> None:
    files = OnDisk(tmp_path, oidc.certificates.client.pair)
    owner = oidc_make("tls_client_auth/san", client_auth=TLSClientAuth(files.pair))
    url = oidc.tls_api_url + "/orders"
    with ClientCredentialsSession.using(owner.tokens, api_url=oidc.tls_api_url) as other:
        other.verify, other.trust_env = oidc.ca_bundle, False
        assert other.get(url).status_code == 200
        files.put(oidc.certificates.renewed_client.pair)
        oidc.revoke_all()
        answer = other.post(url, data=b"body")
        assert answer.status_code == 200, answer.text
        assert answer.json()["certificate"] == files.thumbprint


def test_a_certificate_replaced_during_a_token_request_is_used_at_once(
    oidc: OIDCServer, oidc_make: OIDCSessions, tmp_path: Path
) -> None:
    files = OnDisk(tmp_path, oidc.certificates.other_client.pair)
    session = oidc_make("tls_client_auth/dn", client_auth=TLSClientAuth(files.pair))
    rotate_during(session, lambda: files.put(oidc.certificates.client.pair))
    answer = session.get(oidc.tls_api_url + "/orders")
    assert answer.status_code == 200
    assert answer.json()["certificate"] == files.thumbprint
    assert oidc.counts()["token_errors"] == {"invalid_client": 1}


def test_a_new_certificate_does_not_interrupt_a_response_that_is_being_read(
    oidc: OIDCServer, oidc_make: OIDCSessions, tmp_path: Path
) -> None:
    files = OnDisk(tmp_path, oidc.certificates.client.pair)
    session = oidc_make("tls_client_auth/san", client_auth=TLSClientAuth(files.pair))
    with session.get(oidc.tls_api_url + "/orders", stream=True) as streamed:
        files.put(oidc.certificates.renewed_client.pair)
        session.tokens.renew()
        assert session.get(oidc.tls_api_url + "/orders").status_code == 200
        assert json.loads(b"".join(streamed.iter_content(7)))["client_id"] == "tls_client_auth-san"


class Foreign(BaseAdapter):
    """An adapter that does not come from requests and cannot be used after `close`."""

    is_closed = False

    def close(self) -> None:
        self.is_closed = True


def test_a_new_certificate_does_not_close_an_adapter_of_another_type(
    oidc: OIDCServer, oidc_make: OIDCSessions, tmp_path: Path
) -> None:
    files = OnDisk(tmp_path, oidc.certificates.client.pair)
    session = oidc_make("tls_client_auth/san", client_auth=TLSClientAuth(files.pair))
    foreign = Foreign()
    session.mount("queue://", foreign)
    session.tokens.get()
    files.put(oidc.certificates.renewed_client.pair)
    session.tokens.renew()
    assert not foreign.is_closed
