"""Several APIs with tokens of their own in one session, and one source in several sessions."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from collections.abc import Iterator
from functools import partial
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import pytest
import requests
from requests.adapters import HTTPAdapter

from oauthcc import ClientCredentialsSession, ConfigurationError, TokenSource
from oauthcc.client_auth import ClientSecretPost
from oauthcc.errors import InsecureURLError
from oauthcc.stores import MemoryStore
from oauthcc.testing import Answer, AuthorizationServer, ProtectedAPI

from .clock import in_threads, joined
from .internet import TOKEN_URL, Internet, Seen

API = "https://api.example"
S = TypeVar("S", bound=requests.Session)


@pytest.fixture
def net() -> Internet:
    return Internet()


def connected(net: Internet, *more: Any, **options: Any) -> ClientCredentialsSession:
    return on(net, ClientCredentialsSession(TOKEN_URL, "my-id", "my-secret", *more, **options))


def on(net: Internet, session: S) -> S:
    session.trust_env = False
    session.mount("https://", net)
    session.mount("http://", net)
    return session


def asked_for(net: Internet) -> list[dict[str, str]]:
    """Return what was asked of the token endpoint, without what all requests have."""
    return [form_of(seen, "grant_type") for seen in net.token_requests]


def form_of(seen: Seen, *left_out: str) -> dict[str, str]:
    return {n: v for n, v in parse_qsl(seen.body.decode()) if n not in left_out}


def token_for(net: Internet, session: requests.Session, url: str) -> str | None:
    """Call a URL and return which of the tokens it was shown, by its number."""
    session.get(url)
    authorization = net.seen[-1].authorization
    if authorization is None:
        return None
    return f"token {net.tokens.index(authorization.removeprefix('Bearer '))}"


# Which token goes where.


def test_the_longest_prefix_wins_whatever_the_order_of_naming(net: Internet) -> None:
    for order in (1, -1):
        with connected(net) as session:
            sources = {"": session.tokens}
            for path in ["/v1", "/v1/orders", "/v1/orders/special"][::order]:
                sources[path] = session.add_api(API + path, scope="x")
            tokens = {path: source.get().access_token for path, source in sources.items()}
            for path, belongs_to in {
                "/": "",
                "/v2": "",
                "/v10": "",
                "/v1": "/v1",
                "/v1/": "/v1",
                "/v1/ordersx": "/v1",
                "/v1?a=/v1/orders": "/v1",
                "/v1/orders": "/v1/orders",
                "/v1/orders/7": "/v1/orders",
                "/v1/orders/special/9/x": "/v1/orders/special",
            }.items():
                session.get(API + path)
                assert net.seen[-1].authorization == f"Bearer {tokens[belongs_to]}", path


def test_each_api_has_its_own_scope_audience_resource_and_parameters(net: Internet) -> None:
    with connected(net, "first:scope", audience="first", token_params={"first": "1"}) as session:
        session.add_api(f"{API}/scope", scope="a b")
        session.add_api(f"{API}/audience", audience="urn:b")
        session.add_api(f"{API}/resource", resource="https://b.example")
        session.add_api(f"{API}/params", token_params={"tenant": "b"})
        session.add_api(f"{API}/none")
        for path in ("", "scope", "audience", "resource", "params", "none"):
            session.get(f"{API}/{path}")
    assert asked_for(net) == [
        {"scope": "first:scope", "audience": "first", "first": "1"},
        {"scope": "a b"},
        {"audience": "urn:b"},
        {"resource": "https://b.example"},
        {"tenant": "b"},
        {},
    ]
    assert [seen.authorization for seen in net.seen] == [f"Bearer {each}" for each in net.tokens]
    assert len({seen.request.headers["Authorization"] for seen in net.token_requests}) == 1


def test_an_api_may_have_a_client_and_a_server_of_its_own(net: Internet) -> None:
    other = "https://other-as.example/token"
    issue = net._issue
    net.pages[other] = lambda _: issue()
    with connected(net) as session:
        session.add_api(
            f"{API}/other",
            token_url=other,
            client_id="other-id",
            client_secret="other-secret",
            client_auth=ClientSecretPost(),
        )
        session.get(f"{API}/other")
        (asked, called) = net.seen
        assert asked.url == other
        assert form_of(asked, "grant_type") == {
            "client_id": "other-id",
            "client_secret": "other-secret",
        }
        assert called.authorization == f"Bearer {net.tokens[0]}"
        assert net.token_requests == []


def test_an_issuer_takes_the_place_of_the_token_url_and_the_other_way_round(net: Internet) -> None:
    with connected(net) as session:
        source = session.add_api(f"{API}/x", issuer="https://issuer.example")
        assert (source.grant.token_url, source.grant.issuer) == (None, "https://issuer.example")
    from_issuer = on(net, ClientCredentialsSession.from_issuer("https://i.example", "id", "secret"))
    with from_issuer as session:
        assert session.add_api(f"{API}/y", scope="y").grant.issuer == "https://i.example"
        source = session.add_api(f"{API}/x", token_url=TOKEN_URL)
        assert (source.grant.token_url, source.grant.issuer) == (TOKEN_URL, None)


def test_store_renewal_and_observer_are_those_of_the_session_unless_told_otherwise(
    net: Internet,
) -> None:
    events: list[Any] = []
    store, other = MemoryStore(), MemoryStore()
    with connected(net, store=store, on_event=events.append, renew_at=(0.5, 0.5)) as session:
        session.add_api(f"{API}/a", scope="a").get()
        assert (len(store._tokens), len(events)) == (1, 1)
        session.add_api(f"{API}/b", scope="b", store=other, on_event=None).get()
        assert (len(store._tokens), len(other._tokens), len(events)) == (1, 1, 1)
        held = session.add_api(f"{API}/c", scope="c").current()
        assert held.plan.aging.wall == pytest.approx(held.token.issued_at + 1800)


def test_the_tokens_of_another_session_may_serve_an_api(net: Internet) -> None:
    with connected(net) as lender, connected(net) as session:
        assert session.add_api(f"{API}/lent", tokens=lender.tokens) is lender.tokens
        assert token_for(net, session, f"{API}/lent") == token_for(net, lender, API) == "token 0"
        assert token_for(net, session, API) == "token 1"


def test_a_prefix_beside_a_limited_session_is_one_more_place(net: Internet) -> None:
    with connected(net, api_url=API) as session:
        session.add_api("https://more.example/v1", scope="more")
        assert token_for(net, session, f"{API}/x") == "token 0"
        assert token_for(net, session, "https://more.example/v1/x") == "token 1"
        assert token_for(net, session, "https://more.example/v2") is None
        assert token_for(net, session, "https://else.example/") is None


def test_a_prefix_that_is_named_again_is_served_by_the_later_source(net: Internet) -> None:
    with connected(net) as session:
        session.add_api(f"{API}/x", scope="a")
        session.add_api(f"{API}/x/", scope="b")
        session.get(f"{API}/x")
    assert asked_for(net) == [{"scope": "b"}]


def test_a_prefix_may_lie_on_plain_http_where_it_says_so(net: Internet) -> None:
    with connected(net) as session:
        session.add_api("http://inside.example/v1", scope="x")
        assert token_for(net, session, "http://inside.example/v1/y") == "token 0"
        with pytest.raises(InsecureURLError):
            session.get("http://inside.example/v2")
        assert [seen.place for seen in net.seen] == ["http://inside.example:80"]


def test_an_authorized_origin_is_no_second_one_to_warn_of(
    net: Internet, caplog: pytest.LogCaptureFixture
) -> None:
    with connected(net) as session:
        session.add_api("https://b.example", scope="b")
        for url in (f"{API}/1", "https://b.example/1", f"{API}/2"):
            session.get(url)
        assert caplog.text == ""
        session.get("https://c.example")
        assert "https://c.example too" in caplog.text
        assert "b.example" not in caplog.text


def test_no_request_costs_a_token_of_an_api_that_it_does_not_use(net: Internet) -> None:
    with connected(net) as session:
        for number in range(20):
            session.add_api(f"{API}/{number}", scope=f"s{number}")
        session.get(f"{API}/7/x")
    assert asked_for(net) == [{"scope": "s7"}]


# What is refused.


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"colour": "red"}, "colour"),
        ({"api_url": "https://x.example"}, "api_url"),
        ({"refused_status": (403,)}, "refused_status"),
        ({"scope": "two\nlines"}, "scope"),
        ({"resource": "no-uri"}, "resource"),
        ({"client_secret": ""}, "secret"),
        ({"client_auth": "unheard_of"}, "unheard_of"),
        ({"store": "redis://x"}, "store"),
        ({"renew_at": 3}, "renew_at"),
        ({"on_event": 3}, "on_event"),
        ({"tokens": "text"}, "tokens"),
        ({"tokens": requests.Session()}, "tokens"),
    ],
)
def test_what_cannot_work_is_refused_and_leaves_the_session_as_it_was(
    options: Any, text: Any, net: Internet
) -> None:
    with connected(net) as session:
        with pytest.raises(ConfigurationError, match=text):
            session.add_api(f"{API}/x", **options)
        assert (session._allowed_urls.values(), session._own) == (
            [session.tokens],
            [session.tokens],
        )
        assert token_for(net, session, f"{API}/x") == "token 0"


@pytest.mark.parametrize("prefix", ["", "api.example", "ftp://x", f"{API}/a/../b", f"{API}?x=1"])
def test_a_prefix_that_is_none_is_refused_and_leaves_the_session_as_it_was(
    prefix: Any, net: Internet
) -> None:
    with connected(net) as session:
        with pytest.raises(ConfigurationError):
            session.add_api(prefix, scope="x")
        with pytest.raises(ConfigurationError):
            session.add_api(prefix, tokens=session.tokens)
        assert (session._allowed_urls.values(), session._own) == (
            [session.tokens],
            [session.tokens],
        )


def test_tokens_and_options_do_not_go_together(net: Internet) -> None:
    with connected(net) as session, pytest.raises(ConfigurationError, match="not both"):
        session.add_api(API, tokens=session.tokens, scope="x")


# Redirects from one API to another.


@pytest.mark.parametrize("status", [302, 307])
@pytest.mark.parametrize("target", [f"{API}/b", "https://b.example/b", f"{API}/"])
def test_a_redirect_from_one_api_to_another_carries_neither_token(
    target: Any, status: Any, net: Internet
) -> None:
    with connected(net) as session:
        session.add_api(f"{API}/a", scope="a")
        session.add_api(f"{API}/b", scope="b")
        session.add_api("https://b.example", scope="b")
        net.redirect(f"{API}/a", target, status)
        assert token_for(net, session, f"{API}/a") is None
        assert [seen.authorization for seen in net.seen] == [f"Bearer {net.tokens[0]}", None]
        assert len(net.token_requests) == 1
        # Whoever goes there at once gets what belongs there.
        assert token_for(net, session, target) == "token 1"


def test_a_redirect_within_one_api_keeps_its_token(net: Internet) -> None:
    with connected(net) as session:
        source = session.add_api(f"{API}/a", scope="a")
        session.add_api(f"{API}/b", tokens=source)
        net.redirect(f"{API}/a", f"{API}/b/c")
        assert token_for(net, session, f"{API}/a") == "token 0"
        assert len(net.seen) == 2


# Copies.


def pickled(thing: Any) -> Any:
    return pickle.loads(pickle.dumps(thing))


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickled])
def test_a_copy_has_the_same_prefixes(
    copied: Any, net: Internet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Internet, "__reduce__", lambda self: (Internet, ()))
    with connected(net, "main", api_url=API) as session:
        session.add_api(f"{API}/a", scope="a")
        session.add_api("http://inside.example", audience="inside")
        with copied(session) as twin:
            on(net, twin)
            for url in (f"{API}/a/x", API, "http://inside.example/x", "https://else.example"):
                twin.get(url)
    assert asked_for(net) == [{"scope": "a"}, {"scope": "main"}, {"audience": "inside"}]
    expected = [f"Bearer {token}" for token in net.tokens]
    assert [seen.authorization for seen in net.seen] == [*expected, None]


@pytest.mark.parametrize("copied", [copy.deepcopy, pickled])
def test_a_copy_of_a_session_with_lent_tokens_asks_through_adapters_of_its_own(
    copied: Any, net: Internet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Internet, "__reduce__", lambda self: (Internet, ()))
    with connected(net) as lender, connected(net) as session:
        session.add_api(f"{API}/lent", tokens=lender.tokens)
        with copied(session) as twin:
            lent = twin._allowed_urls.find(f"{API}/lent")
            assert lent is not lender.tokens
            assert lent.owner is not None
            assert lent.owner is not lender


def test_a_copy_shares_the_tokens_and_a_pickle_holds_none(
    net: Internet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Internet, "__reduce__", lambda self: (Internet, ()))
    with connected(net) as session:
        source = session.add_api(f"{API}/a", scope="a")
        token = source.get().access_token.encode()
        with copy.copy(session) as twin:
            assert twin._allowed_urls.find(f"{API}/a") is source
        assert token not in pickle.dumps(session)


# One source for several sessions.


@pytest.fixture
def api(auth: AuthorizationServer) -> Iterator[ProtectedAPI]:
    with ProtectedAPI(auth) as api:
        yield api


def made(auth: AuthorizationServer, **options: Any) -> ClientCredentialsSession:
    return ClientCredentialsSession(auth.token_url, auth.client_id, auth.client_secret, **options)


class Watched(HTTPAdapter):
    """Count what goes through, and how often it is closed."""

    def __init__(self) -> None:
        self.sent = self.closed = 0
        super().__init__()

    def send(self, *args: Any, **kwargs: Any) -> Any:
        self.sent += 1
        return super().send(*args, **kwargs)

    def close(self) -> None:
        self.closed += 1
        super().close()


def test_sessions_that_use_one_source_share_its_token_and_its_renewal(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    with made(auth) as lender:
        borrowers = [ClientCredentialsSession.using(lender.tokens) for _ in range(3)]
        for session in [*borrowers, lender]:
            assert session.get(api.url).ok
        assert len(auth.token_requests) == 1
        answers: list[int] = []

        def call(session: ClientCredentialsSession) -> None:
            answers.append(session.get(api.url).status_code)

        with api.hold() as gate:
            threads = [
                thread for session in borrowers for thread in in_threads(4, partial(call, session))
            ]
            gate.wait_for(12)
            auth.revoke_all()
        joined(threads)
        assert answers == [200] * 12
        assert len(auth.token_requests) == 2
        for session in borrowers:
            session.close()


def test_a_borrower_has_its_own_api_url_and_refused_status(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    api.refusal = Answer(403)
    with (
        made(auth) as lender,
        ClientCredentialsSession.using(
            lender.tokens, api_url=f"{api.url}/mine", refused_status=(403,)
        ) as borrower,
    ):
        lender.get(api.url)
        auth.revoke_all()
        assert lender.get(api.url).status_code == 403
        assert borrower.get(f"{api.url}/other").status_code == 403
        assert len(auth.token_requests) == 1
        assert borrower.get(f"{api.url}/mine").status_code == 200
        assert len(auth.token_requests) == 2


def test_a_borrower_shares_the_endpoint_and_the_adapters_of_its_lender(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    adapter, of_the_endpoint = Watched(), Watched()
    with made(auth) as lender, ClientCredentialsSession.using(lender.tokens) as borrower:
        assert borrower.tokens.endpoint is lender.tokens.endpoint
        lender.mount(auth.url, adapter)
        assert borrower.get(api.url).ok
        assert (adapter.sent, of_the_endpoint.sent) == (1, 0)
        borrower.tokens.endpoint.mount(auth.url, of_the_endpoint)
        auth.revoke_all()
        assert borrower.get(api.url).ok
        assert (adapter.sent, of_the_endpoint.sent) == (1, 1)


def test_closing_a_borrower_leaves_the_endpoint_open_and_closing_the_lender_closes_it(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    adapter = Watched()
    with made(auth) as lender:
        lender.tokens.endpoint.mount(auth.url, adapter)
        with ClientCredentialsSession.using(lender.tokens) as borrower, made(auth) as other:
            other.add_api(api.url, tokens=lender.tokens)
            assert borrower.get(api.url).ok
            assert other.get(api.url).ok
        assert adapter.closed == 0
    assert adapter.closed == 1


def test_a_closed_session_has_closed_the_endpoint_of_every_source_that_it_made(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    adapters = [Watched() for _ in range(4)]
    session = made(auth)
    sources = [session.tokens]
    sources += [session.add_api(f"{api.url}/{number}", scope=f"{number}") for number in range(3)]
    for source, adapter in zip(sources, adapters, strict=True):
        source.endpoint.mount(auth.url, adapter)
        source.get()
    session.close()
    assert [adapter.closed for adapter in adapters] == [1] * 4
    # As a closed session of requests, it works again when it is used.
    assert session.get(f"{api.url}/1").ok
    session.close()


@pytest.mark.parametrize("how", ["using", "authorize"])
def test_a_lender_lives_as_long_as_those_who_borrow(
    how: Any, auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    adapter = Watched()

    def borrower_of_a_lender_that_nobody_holds() -> tuple[ClientCredentialsSession, Any]:
        lender = made(auth)
        lender.mount(auth.url, adapter)
        if how == "using":
            return ClientCredentialsSession.using(lender.tokens), weakref.ref(lender)
        session = made(auth)
        session.add_api(api.url, tokens=lender.tokens)
        return session, weakref.ref(lender)

    session, lender = borrower_of_a_lender_that_nobody_holds()
    gc.collect()
    assert lender() is not None
    assert session.get(api.url).ok
    assert adapter.sent == 1
    lender().close()
    session.close()
    del session
    gc.collect()
    assert lender() is None


@pytest.mark.parametrize("statuses", [(401, 403), [403], {403}])
def test_an_api_that_says_403_for_a_dead_token_is_answered_with_a_new_one(
    statuses: Any, auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    api.refusal = Answer(403)
    with made(auth, refused_status=statuses) as session:
        session.add_api(f"{api.url}/other", scope="other")
        for path in ("", "/other"):
            session.get(api.url + path)
        auth.revoke_all()
        for path in ("", "/other"):
            assert session.get(api.url + path).status_code == 200
        assert len(auth.token_requests) == 4


def test_a_403_for_want_of_scope_is_returned_all_the_same(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    api.require_scope("/admin", "admin")
    with made(auth, refused_status=(401, 403)) as session:
        assert session.get(f"{api.url}/admin").status_code == 403
        assert len(auth.token_requests) == 1
        session.add_api(f"{api.url}/admin", scope="admin")
        assert session.get(f"{api.url}/admin").status_code == 200


def test_a_401_of_one_api_does_not_touch_the_token_of_another(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    with made(auth) as session:
        other = session.add_api(f"{api.url}/other", scope="other")
        session.get(api.url)
        session.get(f"{api.url}/other")
        auth.revoke(other.get().access_token)
        assert session.get(f"{api.url}/other").ok
        assert session.get(api.url).ok
        assert [dict(seen.form).get("scope") for seen in auth.token_requests] == [
            None,
            "other",
            "other",
        ]


def test_a_source_is_what_authorize_returns(net: Internet) -> None:
    with connected(net) as session:
        source = session.add_api(f"{API}/a", scope="a")
        assert isinstance(source, TokenSource)
        assert source.get().access_token == net.tokens[0]
