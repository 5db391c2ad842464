"""Copies and pickles of a session work as the original did, with all that was set on it."""

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

from .inside import flight_lock_of

Copied = Callable[[Any], Any]


def pickled(thing: Any) -> Any:
    return pickle.loads(pickle.dumps(thing))


ANEW = [copy.deepcopy, pickled]
ALL = [copy.copy, *ANEW]


class NamedAdapter(HTTPAdapter):
    """An adapter that can be told from others, also when it was pickled."""

    __attrs__ = [*HTTPAdapter.__attrs__, "name"]  # noqa: RUF012 - as in requests

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__()

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> Any:
        request.headers["X-Through"] = self.name
        return super().send(request, *args, **kwargs)


def make(auth: AuthorizationServer, **options: Any) -> ClientCredentialsSession:
    return ClientCredentialsSession(auth.token_url, auth.client_id, auth.client_secret, **options)


def through(auth: AuthorizationServer) -> list[str | None]:
    """Return through which adapter each token request came."""
    return [seen.headers.get("X-Through") for seen in auth.token_requests]


@pytest.mark.parametrize("copied", ALL)
@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
def test_a_copy_works_and_renews(
    copied: Copied, warm: bool, auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    url = f"{api.url}/anything"
    with make(auth) as session:
        if warm:
            session.get(url)
        with copied(session) as twin:
            assert twin.get(url).status_code == 200
            auth.revoke_all()
            assert twin.get(url).status_code == 200
            assert session.get(url).status_code == 200
            assert type(twin) is ClientCredentialsSession


@pytest.mark.parametrize("kind", [ClientCredentialsSession, ClientCredentialsSession.using])
def test_a_copy_keeps_the_source_and_its_owner_when_the_original_is_dropped(
    kind: Any, auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    session = make(auth)
    session.mount("http://", NamedAdapter("of the original"))
    original = weakref.ref(session)
    if kind is ClientCredentialsSession:
        twin = copy.copy(session)
    else:
        twin = copy.copy(ClientCredentialsSession.using(session.tokens))
    del session
    gc.collect()
    assert original() is not None
    with twin:
        assert twin.get(f"{api.url}/anything").status_code == 200
        assert through(auth) == ["of the original"]
    gone = original()
    assert gone is not None
    gone.close()


def test_a_copy_of_a_copy_shares_the_source_too(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    with make(auth) as session, copy.copy(copy.copy(session)) as twin:
        gc.collect()
        session.get(f"{api.url}/anything")
        twin.get(f"{api.url}/anything")
        assert twin.tokens is session.tokens
        assert twin.tokens.owner is session
        assert len(auth.token_requests) == 1


def test_a_deep_copy_has_one_source_where_the_original_had_one(auth: AuthorizationServer) -> None:
    with make(auth) as session:
        session.add_api("https://one.example", scope="a")
        with copy.deepcopy(session) as twin:
            found = twin._allowed_urls.find("https://one.example/x")
            assert twin.tokens in twin._own
            assert found in twin._own
            assert found is not twin.tokens
            assert len(twin._own) == 2
            assert all(tokens.owner is twin for tokens in twin._own)
            assert flight_lock_of(twin.tokens) is not flight_lock_of(session.tokens)


@pytest.mark.parametrize("copied", ALL)
def test_what_was_set_on_the_endpoint_survives(
    copied: Copied, auth: AuthorizationServer, api: ProtectedAPI, tmp_path: Path
) -> None:
    certificate = tmp_path / "cert.pem"
    certificate.touch()
    with make(auth) as session:
        endpoint: Any = session.tokens.endpoint
        endpoint.verify = "/etc/ca.pem"
        endpoint.cert = str(certificate)
        endpoint.trust_env = False
        endpoint.proxies = {"https": "http://proxy.example:3128"}
        endpoint.headers["X-Department"] = "shipping"
        endpoint.mount("http://", NamedAdapter("of the endpoint"))
        endpoint.register_compliance_hook("access_token_request", in_the_open)
        for twin in (copied(session), copied(copied(session))):
            there: Any = twin.tokens.endpoint
            assert there.verify == "/etc/ca.pem"
            assert there.cert == str(certificate)
            assert there.trust_env is False
            assert there.proxies == {"https": "http://proxy.example:3128"}
            with twin:
                assert twin.get(f"{api.url}/anything").status_code == 200
            assert through(auth)[-1] == "of the endpoint"
            assert auth.token_requests[-1].headers["X-Department"] == "shipping"
            assert dict(auth.token_requests[-1].form)["note"] == "in the open"


def in_the_open(url: str, headers: Any, kwargs: Any) -> tuple[str, Any, Any]:
    kwargs["data"]["note"] = "in the open"
    return url, headers, kwargs


@pytest.mark.parametrize("copied", ANEW)
def test_what_is_not_set_on_the_endpoint_is_as_in_the_copy(
    copied: Copied, auth: AuthorizationServer
) -> None:
    with make(auth) as session:
        session.verify, session.trust_env = "/etc/ca.pem", False
        session.mount("http://", NamedAdapter("of the session"))
        with copied(session) as twin:
            assert twin.tokens.endpoint.verify == "/etc/ca.pem"
            assert twin.tokens.endpoint.trust_env is False
            twin.verify = True
            assert twin.tokens.endpoint.verify is True
            twin.tokens.get()
    assert through(auth) == ["of the session"]


@pytest.mark.parametrize("copied", ANEW)
def test_a_copied_borrower_brings_its_lender_along(
    copied: Copied, auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    with make(auth) as lender:
        lender.mount("http://", NamedAdapter("of the lender"))
        with ClientCredentialsSession.using(lender.tokens) as borrower, copied(borrower) as twin:
            assert twin.tokens is not lender.tokens
            assert twin.get(f"{api.url}/anything").status_code == 200
            assert through(auth) == ["of the lender"]
            assert api.requests[-1].headers.get("X-Through") is None
            owner = twin.tokens.owner
            assert owner is not None
            owner.close()


def test_two_sessions_pickled_together_still_share_their_source(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    with make(auth) as lender, ClientCredentialsSession.using(lender.tokens) as borrower:
        one, two = pickled([borrower, lender])
        with one, two:
            assert one.tokens is two.tokens
            assert one.tokens.owner is two
            one.get(f"{api.url}/anything")
            two.get(f"{api.url}/anything")
    assert len(auth.token_requests) == 1


@pytest.mark.parametrize("copied", ALL)
def test_prefixes_survive_with_their_own_tokens_and_those_of_others(
    copied: Copied, auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    with make(auth, scope="main") as session, make(auth, scope="lent") as lender:
        lender.mount("http://", NamedAdapter("of the lender"))
        session.add_api(f"{api.url}/own", scope="own")
        session.add_api(f"{api.url}/lent", tokens=lender.tokens)
        with copied(session) as twin:
            for path in ("anything", "own", "lent"):
                assert twin.get(f"{api.url}/{path}").status_code == 200
            scopes = [dict(seen.form)["scope"] for seen in auth.token_requests]
            assert scopes == ["main", "own", "lent"]
            assert through(auth) == [None, None, "of the lender"]
            for owner in twin._owners:
                owner.close()


def test_tokens_of_another_session_keep_that_session(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    with make(auth) as session:
        lender = make(auth)
        lender.mount("http://", NamedAdapter("of the lender"))
        session.add_api(api.url, tokens=lender.tokens)
        kept = weakref.ref(lender)
        del lender
        gc.collect()
        assert session.get(f"{api.url}/anything").status_code == 200
        assert through(auth) == ["of the lender"]
        owner = kept()
        assert owner is not None
        owner.close()
        del owner
    del session
    gc.collect()
    assert kept() is None


def test_who_becomes_the_owner_of_tokens_closes_their_endpoint(auth: AuthorizationServer) -> None:
    tokens = make(auth).tokens  # nobody keeps the session
    gc.collect()
    tokens.endpoint.mount("http://", HTTPAdapter())
    with ClientCredentialsSession.using(tokens) as session:
        assert tokens.owner is session
        session.tokens.get()
        adapter: Any = tokens.endpoint.get_adapter(auth.token_url)
        assert len(adapter.poolmanager.pools) == 1
    assert len(adapter.poolmanager.pools) == 0


@pytest.mark.parametrize("copied", ALL)
def test_a_copy_uses_the_same_store_where_it_can(
    copied: Copied, auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    with make(auth, store=MemoryStore()) as session:
        session.get(f"{api.url}/anything")
        with copied(session) as twin:
            assert twin.get(f"{api.url}/anything").status_code == 200
    # A pickle may go to another process, where the store is an empty one.
    assert len(auth.token_requests) == (2 if copied is pickled else 1)


def test_a_pickle_trusts_what_the_session_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):  # they come before a session's own
        monkeypatch.delenv(name, raising=False)
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with (
        authority.cert_pem.tempfile() as bundle,
        AuthorizationServer(tls=context) as server,
        make(server) as session,
    ):
        session.verify = bundle
        with pickled(session) as twin:
            assert twin.tokens.get().access_token == server.issued[-1]


@pytest.mark.parametrize("copied", ALL)
def test_a_copy_is_told_of_forks(copied: Copied, auth: AuthorizationServer) -> None:
    with make(auth) as session:
        known = set(forks._known)
        with copied(session) as twin:
            assert id(twin) in set(forks._known) - known
            assert id(twin.tokens) in set(forks._known)
