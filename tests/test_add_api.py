"""Several APIs with tokens of their own in one session, and one source in several sessions."""

from __future__ import annotations

import gc
import weakref
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

import pytest
import requests
from requests.adapters import HTTPAdapter

from oauthcc import ClientCredentialsSession, ConfigurationError
from oauthcc.client_auth import ClientSecretPost
from oauthcc.errors import InsecureURLError
from oauthcc.stores import MemoryStore
from oauthcc.testing import Answer, AuthorizationServer, ProtectedAPI

from .clock import flights_done, in_threads, joined
from .inside import config_of, held_by
from .internet import TOKEN_URL, Internet, Seen
from .sessions import connected, on, session_for

API = "https://api.example"


def token_forms(net: Internet) -> list[dict[str, str]]:
    """Return the forms of the token requests, without what all of them have."""
    return [form_of(seen, "grant_type") for seen in net.token_requests]


def form_of(seen: Seen, *left_out: str) -> dict[str, str]:
    return {n: v for n, v in parse_qsl(seen.body.decode()) if n not in left_out}


def token_for(net: Internet, session: requests.Session, url: str) -> str | None:
    """Send a request and return which of the tokens it carried, by its number."""
    session.get(url)
    authorization = net.seen[-1].authorization
    if authorization is None:
        return None
    return f"token {net.tokens.index(authorization.removeprefix('Bearer '))}"


# The token of each URL


def test_the_longest_prefix_wins_in_any_order_of_the_calls(net: Internet) -> None:
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
    assert token_forms(net) == [
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


def test_an_issuer_replaces_the_token_url_and_a_token_url_the_issuer(net: Internet) -> None:
    with connected(net) as session:
        config = config_of(session.add_api(f"{API}/x", issuer="https://issuer.example"))
        assert (config.token_url, config.issuer) == (None, "https://issuer.example")
    from_issuer = on(net, ClientCredentialsSession.from_issuer("https://i.example", "id", "secret"))
    with from_issuer as session:
        config = config_of(session.add_api(f"{API}/y", scope="y"))
        assert config.issuer == "https://i.example"
        config = config_of(session.add_api(f"{API}/x", token_url=TOKEN_URL))
        assert (config.token_url, config.issuer) == (TOKEN_URL, None)


def test_store_renewal_and_observer_are_those_of_the_session_by_default(
    net: Internet,
) -> None:
    events: list[Any] = []
    store, other = MemoryStore(), MemoryStore()
    with connected(net, store=store, on_event=events.append, renew_at=(0.5, 0.5)) as session:
        session.add_api(f"{API}/a", scope="a").get()
        flights_done()  # events come after the token
        assert (len(store._tokens), len(events)) == (1, 1)
        session.add_api(f"{API}/b", scope="b", store=other, on_event=None).get()
        flights_done()
        assert (len(store._tokens), len(other._tokens), len(events)) == (1, 1, 1)
        tokens = session.add_api(f"{API}/c", scope="c")
        tokens.get()
        held = held_by(tokens)
        assert held.plan.aging.wall == pytest.approx(held.token.issued_at + 1800)


def test_an_api_may_use_the_tokens_of_another_session(net: Internet) -> None:
    with connected(net) as other, connected(net) as session:
        assert session.add_api(f"{API}/shared", tokens=other.tokens) is other.tokens
        assert token_for(net, session, f"{API}/shared") == token_for(net, other, API) == "token 0"
        assert token_for(net, session, API) == "token 1"


def test_a_prefix_of_add_api_is_allowed_in_addition_to_api_url(net: Internet) -> None:
    with connected(net, api_url=API) as session:
        session.add_api("https://more.example/v1", scope="more")
        assert token_for(net, session, f"{API}/x") == "token 0"
        assert token_for(net, session, "https://more.example/v1/x") == "token 1"
        assert token_for(net, session, "https://more.example/v2") is None
        assert token_for(net, session, "https://else.example/") is None


def test_the_later_of_two_sources_for_one_prefix_is_used(net: Internet) -> None:
    with connected(net) as session:
        session.add_api(f"{API}/x", scope="a")
        session.add_api(f"{API}/x/", scope="b")
        session.get(f"{API}/x")
    assert token_forms(net) == [{"scope": "b"}]


def test_a_prefix_may_allow_plain_http(net: Internet) -> None:
    with connected(net) as session:
        session.add_api("http://inside.example/v1", scope="x")
        assert token_for(net, session, "http://inside.example/v1/y") == "token 0"
        with pytest.raises(InsecureURLError):
            session.get("http://inside.example/v2")
        assert [seen.place for seen in net.seen] == ["http://inside.example:80"]


def test_an_origin_of_add_api_causes_no_warning(
    net: Internet, caplog: pytest.LogCaptureFixture
) -> None:
    with connected(net) as session:
        session.add_api("https://b.example", scope="b")
        for url in (f"{API}/1", "https://b.example/1", f"{API}/2"):
            session.get(url)
        assert caplog.text == ""
        session.get("https://c.example")
        assert "also sent to https://c.example" in caplog.text
        assert "b.example" not in caplog.text


def test_a_request_fetches_no_token_for_another_api(net: Internet) -> None:
    with connected(net) as session:
        for number in range(20):
            session.add_api(f"{API}/{number}", scope=f"s{number}")
        session.get(f"{API}/7/x")
    assert token_forms(net) == [{"scope": "s7"}]


# Invalid options


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"colour": "red"}, "colour"),
        ({"api_url": "https://x.example"}, "api_url"),
        ({"refused_status": (403,)}, "refused_status"),
        ({"scope": "two\nlines"}, "scope"),
        ({"resource": "a b"}, "resource"),
        ({"client_secret": ""}, "secret"),
        ({"client_auth": "unheard_of"}, "unheard_of"),
        ({"store": "redis://x"}, "store"),
        ({"renew_at": 3}, "renew_at"),
        ({"on_event": 3}, "on_event"),
        ({"token_url": ""}, "token_url"),
        ({"tokens": "text"}, "tokens"),
        ({"tokens": requests.Session()}, "tokens"),
        ({"tokens": requests.Session(), "scope": "x"}, "not both"),
        ({"prefix": ""}, "is empty"),
        ({"prefix": "api.example"}, "no scheme"),
        ({"prefix": f"{API}/a/../b"}, "dot segments"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_an_invalid_option_raises_and_leaves_the_session_unchanged(
    options: dict[str, Any], text: str, net: Internet
) -> None:
    with connected(net) as session:
        with pytest.raises(ConfigurationError, match=text):
            session.add_api(**{"prefix": f"{API}/x", **options})
        with pytest.raises(ConfigurationError):
            session.add_api("api.example", tokens=session.tokens)
        assert session._allowed_urls.values() == [*session._own_sources] == [session.tokens]
        assert token_for(net, session, f"{API}/x") == "token 0"


# Redirects from one API to another


@pytest.mark.parametrize("status", [302, 307])
@pytest.mark.parametrize(
    ("start", "target"),
    [
        (f"{API}/a", f"{API}/b"),
        (f"{API}/a", "https://b.example/b"),
        (f"{API}/a", f"{API}/"),
        (f"{API}/start", f"{API}/b"),
    ],
)
def test_a_redirect_from_one_api_to_another_carries_no_token(
    start: str, target: str, status: int, net: Internet
) -> None:
    with connected(net) as session:
        session.add_api(f"{API}/a", scope="a")
        session.add_api(f"{API}/b", scope="b")
        session.add_api("https://b.example", scope="b")
        net.redirect(start, target, status)
        assert token_for(net, session, start) is None
        assert [seen.authorization for seen in net.seen] == [f"Bearer {net.tokens[0]}", None]
        assert len(net.token_requests) == 1
        # A request that goes there directly carries the token of that API.
        assert token_for(net, session, target) == "token 1"


def test_a_redirect_within_one_api_keeps_its_token(net: Internet) -> None:
    with connected(net) as session:
        source = session.add_api(f"{API}/a", scope="a")
        session.add_api(f"{API}/b", tokens=source)
        net.redirect(f"{API}/a", f"{API}/b/c")
        assert token_for(net, session, f"{API}/a") == "token 0"
        assert len(net.seen) == 2


# One source for several sessions


class Watched(HTTPAdapter):
    """An adapter that counts its requests, and how often it is closed."""

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
    with session_for(auth) as first:
        others = [ClientCredentialsSession.using(first.tokens) for _ in range(3)]
        for session in [*others, first]:
            assert session.get(api.url).ok
        assert len(auth.token_requests) == 1
        answers: list[int] = []

        def call(session: ClientCredentialsSession) -> None:
            answers.append(session.get(api.url).status_code)

        with api.hold() as gate:
            threads = [
                thread for session in others for thread in in_threads(4, partial(call, session))
            ]
            gate.wait_for(12)
            auth.revoke_all()
        joined(threads)
        assert answers == [200] * 12
        assert len(auth.token_requests) == 2
        for session in others:
            session.close()


def test_a_session_with_the_source_of_another_has_its_own_api_url_and_refused_status(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    api.refusal = Answer(403)
    with (
        session_for(auth) as first,
        ClientCredentialsSession.using(
            first.tokens, api_url=f"{api.url}/mine", refused_status=(403,)
        ) as second,
    ):
        first.get(api.url)
        auth.revoke_all()
        assert first.get(api.url).status_code == 403
        assert second.get(f"{api.url}/other").status_code == 403
        assert len(auth.token_requests) == 1
        assert second.get(f"{api.url}/mine").status_code == 200
        assert len(auth.token_requests) == 2


def test_token_requests_go_through_the_adapters_of_the_session_that_made_the_source(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    adapter, of_the_endpoint = Watched(), Watched()
    with session_for(auth) as first, ClientCredentialsSession.using(first.tokens) as second:
        assert second.tokens.endpoint is first.tokens.endpoint
        first.mount(auth.url, adapter)
        assert second.get(api.url).ok
        assert (adapter.sent, of_the_endpoint.sent) == (1, 0)
        second.tokens.endpoint.mount(auth.url, of_the_endpoint)
        auth.revoke_all()
        assert second.get(api.url).ok
        assert (adapter.sent, of_the_endpoint.sent) == (1, 1)


def test_only_the_session_that_made_a_source_closes_its_endpoint(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    adapter = Watched()
    with session_for(auth) as first:
        first.tokens.endpoint.mount(auth.url, adapter)
        with ClientCredentialsSession.using(first.tokens) as second, session_for(auth) as third:
            third.add_api(api.url, tokens=first.tokens)
            assert second.get(api.url).ok
            assert third.get(api.url).ok
        assert adapter.closed == 0
    assert adapter.closed == 1


def test_a_session_closes_the_endpoint_of_every_source_that_it_made(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    adapters = [Watched() for _ in range(4)]
    session = session_for(auth)
    sources = [session.tokens]
    sources += [session.add_api(f"{api.url}/{number}", scope=f"{number}") for number in range(3)]
    for source, adapter in zip(sources, adapters, strict=True):
        source.endpoint.mount(auth.url, adapter)
        source.get()
    session.close()
    assert [adapter.closed for adapter in adapters] == [1] * 4
    # Like a closed session of requests, it can be used again.
    assert session.get(f"{api.url}/1").ok
    session.close()


@pytest.mark.parametrize("how", ["using", "add_api"])
def test_a_session_keeps_alive_the_session_whose_tokens_it_uses(net: Internet, how: str) -> None:
    """Token requests go through the adapters, proxies and CA bundle of a session.

    A source refers weakly to that session. So a session that uses the tokens of another one keeps
    the other one alive.
    """

    def session_with_tokens_of_another() -> tuple[ClientCredentialsSession, Any]:
        other = connected(net)
        other.proxies, other.verify = {"https": "http://proxy.example:3128"}, "/etc/ca.pem"
        if how == "using":
            return ClientCredentialsSession.using(other.tokens), weakref.ref(other)
        session = ClientCredentialsSession("https://unused.example/token", "id", "secret")
        session.add_api(API, tokens=other.tokens)
        return session, weakref.ref(other)

    session, other = session_with_tokens_of_another()
    session.mount(API, net)
    gc.collect()
    assert other() is not None
    assert session.get(API).ok
    (asked,) = net.token_requests
    assert asked.options["proxies"] == {"https": "http://proxy.example:3128"}
    assert asked.options["verify"] == "/etc/ca.pem"
    session.close()
    del session
    gc.collect()
    assert other() is None


@pytest.mark.parametrize("statuses", [(401, 403), [403], {403}])
def test_an_api_that_answers_403_to_a_revoked_token_gets_a_new_one(
    statuses: Any, auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    api.refusal = Answer(403)
    with session_for(auth, refused_status=statuses) as session:
        session.add_api(f"{api.url}/other", scope="other")
        for path in ("", "/other"):
            session.get(api.url + path)
        auth.revoke_all()
        for path in ("", "/other"):
            assert session.get(api.url + path).status_code == 200
        assert len(auth.token_requests) == 4


def test_a_403_for_an_insufficient_scope_is_returned(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    api.require_scope("/admin", "admin")
    with session_for(auth, refused_status=(401, 403)) as session:
        assert session.get(f"{api.url}/admin").status_code == 403
        assert len(auth.token_requests) == 1
        session.add_api(f"{api.url}/admin", scope="admin")
        assert session.get(f"{api.url}/admin").status_code == 200


def test_a_401_of_one_api_does_not_renew_the_token_of_another(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    with session_for(auth) as session:
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
