"""Copies and pickles of a session work like the original, with everything that was set on it."""

from __future__ import annotations

import copy
import gc
import pickle
import ssl
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme
from requests.adapters import HTTPAdapter

from oauthcc import ClientCredentialsSession, forks
from oauthcc.stores import MemoryStore
from oauthcc.testing import AuthorizationServer, ProtectedAPI

from .inside import flight_lock_of, owner_of
from .sessions import session_for

Duplicate = Callable[[Any], Any]


def pickled(thing: Any) -> Any:
    return pickle.loads(pickle.dumps(thing))


ANEW = [copy.deepcopy, pickled]
ALL = [copy.copy, *ANEW]


class NamedAdapter(HTTPAdapter):
    """An adapter with a name, which it keeps when it is pickled."""

    __attrs__ = [*HTTPAdapter.__attrs__, "name"]  # noqa: RUF012 - as in requests

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__()

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> Any:
        request.headers["X-Through"] = self.name
        return super().send(request, *args, **kwargs)


def through(auth: AuthorizationServer) -> list[str | None]:
    """Return the name of the adapter of each token request."""
    return [seen.headers.get("X-Through") for seen in auth.token_requests]


@pytest.mark.unmeasured
@pytest.mark.parametrize("duplicate", ALL)
@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
def test_a_copy_works_and_renews(
    duplicate: Duplicate, warm: bool, auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    url = f"{api.url}/anything"
    with session_for(auth) as session:
        if warm:
            session.get(url)
        with duplicate(session) as copied:
            assert copied.get(url).status_code == 200
            auth.revoke_all()
            assert copied.get(url).status_code == 200
            assert session.get(url).status_code == 200
            assert type(copied) is ClientCredentialsSession


@pytest.mark.parametrize(
    "kind", [ClientCredentialsSession, ClientCredentialsSession.using], ids=["session", "using"]
)
def test_a_copy_keeps_the_source_and_its_owner_if_the_original_is_dropped(
    kind: Any, auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    session = session_for(auth)
    session.mount("http://", NamedAdapter("of the original"))
    original = weakref.ref(session)
    if kind is ClientCredentialsSession:
        copied = copy.copy(session)
    else:
        copied = copy.copy(ClientCredentialsSession.using(session.tokens))
    del session
    gc.collect()
    assert original() is not None
    with copied:
        assert copied.get(f"{api.url}/anything").status_code == 200
        assert through(auth) == ["of the original"]
    gone = original()
    assert gone is not None
    gone.close()


def test_a_copy_shares_the_token_and_a_pickle_fetches_its_own(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    with session_for(auth) as session, copy.copy(copy.copy(session)) as copied:
        gc.collect()
        session.get(f"{api.url}/anything")
        copied.get(f"{api.url}/anything")
        assert copied.tokens is session.tokens
        assert owner_of(copied.tokens) is session
        assert len(auth.token_requests) == 1
        for duplicate in ANEW:
            with duplicate(session) as other:
                other.get(f"{api.url}/anything")
        assert len(auth.token_requests) == 3


def test_a_deep_copy_has_one_source_for_each_source_of_the_original(
    auth: AuthorizationServer,
) -> None:
    with session_for(auth) as session:
        session.add_api("https://one.example", scope="a")
        with copy.deepcopy(session) as copied:
            found = copied._allowed_urls.find("https://one.example/x")[0]
            assert copied.tokens in copied._own_sources
            assert found in copied._own_sources
            assert found is not copied.tokens
            assert len(copied._own_sources) == 2
            assert all(owner_of(tokens) is copied for tokens in copied._own_sources)
            assert flight_lock_of(copied.tokens) is not flight_lock_of(session.tokens)


@pytest.mark.parametrize("duplicate", ALL)
def test_a_copy_has_the_settings_of_the_endpoint(
    duplicate: Duplicate, auth: AuthorizationServer, api: ProtectedAPI, tmp_path: Path
) -> None:
    certificate = tmp_path / "cert.pem"
    certificate.touch()
    with session_for(auth) as session:
        endpoint: Any = session.tokens.endpoint
        endpoint.verify = "/etc/ca.pem"
        endpoint.cert = str(certificate)
        endpoint.trust_env = False
        endpoint.proxies = {"https": "http://proxy.example:3128"}
        endpoint.headers["X-Department"] = "shipping"
        endpoint.mount("http://", NamedAdapter("of the endpoint"))
        endpoint.register_compliance_hook("access_token_request", add_note)
        for copied in (duplicate(session), duplicate(duplicate(session))):
            there: Any = copied.tokens.endpoint
            assert there.verify == "/etc/ca.pem"
            assert there.cert == str(certificate)
            assert there.trust_env is False
            assert there.proxies == {"https": "http://proxy.example:3128"}
            with copied:
                assert copied.get(f"{api.url}/anything").status_code == 200
            assert through(auth)[-1] == "of the endpoint"
            assert auth.token_requests[-1].headers["X-Department"] == "shipping"
            assert dict(auth.token_requests[-1].form)["note"] == "of the hook"


def add_note(url: str, headers: Any, kwargs: Any) -> tuple[str, Any, Any]:
    kwargs["data"]["note"] = "of the hook"
    return url, headers, kwargs


@pytest.mark.parametrize("duplicate", ANEW)
def test_the_endpoint_of_a_copy_uses_the_settings_of_the_copy(
    duplicate: Duplicate, auth: AuthorizationServer
) -> None:
    with session_for(auth) as session:
        session.verify, session.trust_env = "/etc/ca.pem", False
        session.mount("http://", NamedAdapter("of the session"))
        with duplicate(session) as copied:
            assert copied.tokens.endpoint.verify == "/etc/ca.pem"
            assert copied.tokens.endpoint.trust_env is False
            copied.verify = True
            assert copied.tokens.endpoint.verify is True
            copied.tokens.get()
    assert through(auth) == ["of the session"]


@pytest.mark.parametrize("duplicate", ANEW)
def test_a_copy_of_a_session_with_tokens_of_another_includes_the_other(
    duplicate: Duplicate, auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    with session_for(auth) as other:
        other.mount("http://", NamedAdapter("of the other"))
        with ClientCredentialsSession.using(other.tokens) as session, duplicate(session) as copied:
            assert copied.tokens is not other.tokens
            assert copied.get(f"{api.url}/anything").status_code == 200
            assert through(auth) == ["of the other"]
            assert api.requests[-1].headers.get("X-Through") is None
            owner = owner_of(copied.tokens)
            assert owner is not None
            owner.close()


def test_two_sessions_pickled_together_still_share_their_source(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    with session_for(auth) as first, ClientCredentialsSession.using(first.tokens) as second:
        one, two = pickled([second, first])
        with one, two:
            assert one.tokens is two.tokens
            assert owner_of(one.tokens) is two
            one.get(f"{api.url}/anything")
            two.get(f"{api.url}/anything")
    assert len(auth.token_requests) == 1


@pytest.mark.parametrize("duplicate", ALL)
def test_a_copy_has_the_same_prefixes_with_tokens_of_its_own_and_of_other_sessions(
    duplicate: Duplicate, auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    with (
        session_for(auth, scope="main", api_url=api.url) as session,
        session_for(auth, scope="other") as other,
    ):
        other.mount("http://", NamedAdapter("of the other"))
        own = session.add_api(f"{api.url}/own", scope="own")
        session.add_api(f"{api.url}/other", tokens=other.tokens)
        with duplicate(session) as copied:
            for path in ("anything", "own", "other"):
                assert copied.get(f"{api.url}/{path}").status_code == 200
            scopes = [dict(seen.form)["scope"] for seen in auth.token_requests]
            assert scopes == ["main", "own", "other"]
            assert through(auth) == [None, None, "of the other"]
            find = copied._allowed_urls.find
            assert find("https://else.example/")[0] is None
            is_shared = duplicate is copy.copy
            assert (find(f"{api.url}/own")[0] is own) is is_shared
            assert (find(f"{api.url}/other")[0] is other.tokens) is is_shared
            octets = pickle.dumps(copied)
            assert not [token for token in auth.issued if token.encode() in octets]
            for owner in copied._kept_alive:
                owner.close()


def test_a_session_that_becomes_the_owner_of_a_source_closes_its_endpoint(
    auth: AuthorizationServer,
) -> None:
    tokens = session_for(auth).tokens  # nobody keeps the session
    gc.collect()

    class Closable(HTTPAdapter):
        def close(self) -> None:
            closed.append(self)
            super().close()

    closed: list[HTTPAdapter] = []
    adapter = Closable()
    tokens.endpoint.mount("http://", adapter)
    with ClientCredentialsSession.using(tokens) as session:
        assert owner_of(tokens) is session
        session.tokens.get()
        assert closed == []
    assert closed == [adapter]


@pytest.mark.parametrize("duplicate", ALL)
def test_a_copy_in_the_same_process_uses_the_same_store(
    duplicate: Duplicate, auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    with session_for(auth, store=MemoryStore()) as session:
        session.get(f"{api.url}/anything")
        with duplicate(session) as copied:
            assert copied.get(f"{api.url}/anything").status_code == 200
    # A pickle may go to another process, where the store is an empty one.
    assert len(auth.token_requests) == (2 if duplicate is pickled else 1)


def test_an_unpickled_session_has_the_ca_bundle_of_the_original(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):  # they win over that of a session
        monkeypatch.delenv(name, raising=False)
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with (
        authority.cert_pem.tempfile() as bundle,
        AuthorizationServer(tls=context) as server,
        session_for(server) as session,
    ):
        session.verify = bundle
        with pickled(session) as copied:
            assert copied.tokens.get().access_token == server.issued[-1]


@pytest.mark.parametrize("duplicate", ALL)
def test_a_copy_is_renewed_in_the_child_of_a_fork(
    duplicate: Duplicate, auth: AuthorizationServer
) -> None:
    with session_for(auth) as session:
        known = set(forks._known)
        with duplicate(session) as copied:
            assert id(copied) in set(forks._known) - known
            assert id(copied.tokens) in set(forks._known)


# Attributes of mix-ins


class Attributes:
    """A mix-in with attributes of its own, as requests describes it."""

    __attrs__ = [*requests.Session.__attrs__, "base_url"]  # noqa: RUF012 - as in requests
    base_url: Any = None


class FixedAttributes(requests.Session):
    """The same as a session class, with a tuple."""

    __attrs__: Any = (*requests.Session.__attrs__, "base_url")
    base_url: Any = None


class WithState(Attributes):
    """A mix-in that adds to the state by itself."""

    def __getstate__(self) -> Any:
        return {**super().__getstate__(), "more": 1}  # type: ignore[misc]


class Before(Attributes, ClientCredentialsSession):
    pass


class BeforeAsSession(FixedAttributes, ClientCredentialsSession):
    pass


class Behind(ClientCredentialsSession, FixedAttributes):
    pass


class Stateful(WithState, ClientCredentialsSession):
    pass


@pytest.mark.parametrize("duplicate", ALL)
@pytest.mark.parametrize("kind", [Before, BeforeAsSession, Behind, Stateful])
def test_a_copy_has_the_attributes_of_a_mix_in_and_those_of_the_session(
    duplicate: Duplicate, kind: Any, auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    with kind(auth.token_url, auth.client_id, auth.client_secret, api_url=api.url) as session:
        session.base_url = api.url
        with duplicate(session) as copied:
            assert copied.base_url == api.url
            assert getattr(copied, "more", 1) == 1
            assert copied.get(f"{api.url}/anything").status_code == 200
            assert type(copied) is kind
