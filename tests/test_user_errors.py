"""Tests of errors of a user's own class: every caller gets them, and no other error instead."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests

from oauthcc import (
    ClientCredentialsSession,
    ClientSecretBasic,
    TLSClientAuth,
    TokenError,
    TokenRequestDenied,
)
from oauthcc.client_auth import Attempt
from oauthcc.testing import AuthorizationServer

from .clock import Clock, flights_done, moved_clock
from .internet import TOKEN_URL, Internet
from .sessions import connected, session_for

if TYPE_CHECKING:
    from .servers.certificates import Certificates


class VaultSealed(TokenError):
    """An error that cannot be made again from its text, and that cannot be shown by `repr`."""

    def __init__(self, path: str, hint: str) -> None:
        super().__init__(f"The vault {path} is sealed: {hint}", retry_after="soon")  # type: ignore[arg-type]

    def __repr__(self) -> str:
        raise LookupError


@dataclasses.dataclass(frozen=True, eq=False)
class FrozenSealed(TokenError):
    """An error that forbids assignments, and does not call our `__init__`."""

    path: str

    def __str__(self) -> str:
        return f"The vault {self.path} is sealed"


class DeniedSealed(TokenRequestDenied):
    """An error of a class that is remembered for longer, without our `__init__`."""

    def __init__(self, *, path: str) -> None:
        self.path = path

    def __str__(self) -> str:
        return f"The vault {self.path} is sealed"


class Vault:
    """A vault of a user that can be sealed."""

    def __init__(self) -> None:
        self.is_sealed = False
        self.error: Callable[[], Exception] = lambda: VaultSealed("secret/me", hint="unseal it")

    def open(self) -> None:
        if self.is_sealed:
            raise self.error()


class VaultMethod(ClientSecretBasic):
    """A client authentication of a user, which needs the vault."""

    __slots__ = ("vault",)

    def authenticate(self, attempt: Attempt) -> None:
        self.vault.open()
        super().authenticate(attempt)


@pytest.fixture
def clock(auth: AuthorizationServer, monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = moved_clock(monkeypatch)
    auth.now = clock.time
    return clock


@pytest.fixture
def vault() -> Vault:
    return Vault()


@pytest.fixture
def session(auth: AuthorizationServer, vault: Vault) -> Iterator[ClientCredentialsSession]:
    """Return a session whose client authentication needs the vault."""
    method = VaultMethod()
    object.__setattr__(method, "vault", vault)
    with session_for(auth, client_auth=method) as session:
        yield session
        flights_done()


def test_every_caller_gets_the_error_of_a_users_class(
    session: ClientCredentialsSession, vault: Vault, clock: Clock
) -> None:
    texts, vault.is_sealed = [], True
    for seconds in (0.5, 1.0, 0.0):
        with pytest.raises(VaultSealed) as caught:
            session.get("https://api.example/")
        texts.append(str(caught.value))
        clock.advance(seconds)
    assert all(text.startswith("The vault secret/me is sealed: unseal it") for text in texts)
    assert ["remembered" in text for text in texts] == [False, True, False]


@pytest.mark.parametrize("kind", [FrozenSealed, DeniedSealed])
def test_an_error_of_an_unusual_class_is_raised_and_remembered_too(
    session: ClientCredentialsSession, vault: Vault, clock: Clock, kind: Any
) -> None:
    vault.error, vault.is_sealed = lambda: kind(path="secret/me"), True
    found = []
    for seconds in (0.25, 2.0, 0.0):
        with pytest.raises(kind, match="The vault secret/me is sealed") as caught:
            session.get("https://api.example/")
        found.append(caught.value.retry_after)
        clock.advance(seconds)
    assert found == [None, 0.75, None]
    vault.is_sealed = False
    clock.advance(60.0)
    assert session.tokens.get()


def test_an_error_of_a_users_class_hurts_nobody_while_the_token_is_valid(
    session: ClientCredentialsSession, vault: Vault, clock: Clock
) -> None:
    source = session.tokens
    token = source.get()
    vault.is_sealed = True
    for seconds in (0.85 * 3600, 0.14 * 3600, 30.0):  # aging, and in the margin
        clock.advance(seconds)
        assert source.get() == token
        flights_done()
        source.mark_refused(token)
        assert source.get() == token
    clock.advance(60.0)
    with pytest.raises(VaultSealed):
        source.get()


def test_the_error_of_a_check_that_finds_no_change_is_remembered(
    auth: AuthorizationServer, clock: Clock
) -> None:
    auth.refuse_next(None)
    with session_for(auth) as session:
        retry_after: list[Any] = []
        for seconds in (1.0, 1.0, 0.0):  # the second token request begins a pause of two seconds
            with pytest.raises(TokenRequestDenied) as caught:
                session.tokens.get()
            retry_after.append(caught.value.retry_after)
            clock.advance(seconds)
        assert retry_after == [None, None, 1.0]
        assert len(auth.token_requests) == 2


@pytest.mark.parametrize("place", ["secret", "request hook", "response hook", "adapter"])
def test_wherever_a_users_error_is_raised_it_is_an_error_of_requests(
    auth: AuthorizationServer, clock: Clock, vault: Vault, place: str
) -> None:
    class Adapter(requests.adapters.HTTPAdapter):
        def send(self, *args: Any, **kwargs: Any) -> Any:
            return vault.open() or super().send(*args, **kwargs)

    def secret() -> str:
        vault.open()
        return auth.client_secret

    def on_request(*args: Any) -> Any:
        return vault.open() or args

    def on_response(response: Any) -> Any:
        return vault.open() or response

    options = {"client_secret": secret} if place == "secret" else {}
    with session_for(auth, **options) as session:
        endpoint, vault.is_sealed = session.tokens.endpoint, True
        if place == "adapter":
            endpoint.mount("http://", Adapter())
        elif place == "request hook":
            endpoint.register_compliance_hook("access_token_request", on_request)
        elif place == "response hook":
            endpoint.register_compliance_hook("access_token_response", on_response)
        for _ in range(2):
            with pytest.raises(requests.RequestException, match=r"VaultSealed|sealed"):
                session.tokens.get()
        clock.advance(60)
        vault.is_sealed = False
        token = session.tokens.get()
        vault.is_sealed = True
        clock.advance(3595)
        assert session.tokens.get() == token
        flights_done()


@pytest.mark.parametrize("missing", ["me.pem", "me.key"])
def test_a_certificate_that_is_missing_for_a_moment_is_an_error_of_requests(
    net: Internet, certificates: Certificates, tmp_path: Path, missing: str
) -> None:
    pair = tmp_path / "me.pem", tmp_path / "me.key"
    for path, original in zip(pair, certificates.client.pair, strict=True):
        path.write_bytes(Path(original).read_bytes())
    certificate, key = map(str, pair)
    session = ClientCredentialsSession(
        TOKEN_URL, "my-id", client_auth=TLSClientAuth((certificate, key))
    )
    with session:
        session.trust_env = False
        session.mount("https://as.example", net)
        session.tokens.get()
        (tmp_path / missing).rename(tmp_path / "moved")
        with pytest.raises(TokenError, match="To replace the client certificate"):
            session.get("https://localhost:1/")  # requests looks for the files first
        session.hooks["response"] = lambda *_, **__: (tmp_path / missing).read_bytes()
        session.mount("https://localhost", net)
        with pytest.raises(FileNotFoundError):  # that of a hook of the user is not ours
            session.get("https://localhost:1/")


def test_a_certificate_of_the_user_is_reported_by_requests(net: Internet) -> None:
    session = connected(net)
    session.mount("https://localhost", requests.adapters.HTTPAdapter())
    with pytest.raises(OSError, match="TLS") as caught:
        session.get("https://localhost:1/", cert="/no/such/file")
    assert type(caught.value) is OSError
