"""requests-cache, whose `CacheMixin` comes before our class."""

from __future__ import annotations

import pytest
from requests_cache import CachedSession, CacheMixin

from oauthcc import ClientCredentialsSession


class CachedAPI(CacheMixin, ClientCredentialsSession):
    pass


@pytest.fixture
def cached(auth, tmp_path):
    with CachedAPI(
        cache_name=str(tmp_path / "cache.sqlite"),
        token_url=auth.token_url,
        client_id=auth.client_id,
        client_secret=auth.client_secret,
    ) as made:
        yield made
        made.cache.close()


def test_a_session_with_a_cache_works(cached, api, works_with):
    assert works_with(lambda: cached.put(f"{api.url}/orders", json={"n": 1})).json()["json"]


def test_an_answer_out_of_the_cache_costs_no_token(cached, auth, api):
    cached.get(f"{api.url}/orders")
    cached.tokens.forget()
    assert cached.get(f"{api.url}/orders").from_cache
    assert len(api.requests) == len(auth.token_requests) == 1


def test_no_401_is_cached(cached, api):
    api.refuse_next(2)
    answers = [cached.get(f"{api.url}/orders") for _ in range(2)]
    assert [(answer.status_code, answer.from_cache) for answer in answers] == [
        (401, False),
        (200, False),
    ]


def test_neither_token_nor_secret_is_in_the_file(cached, auth, api, tmp_path, secrets_in):
    cached.get(f"{api.url}/orders")
    auth.revoke_all()
    cached.get(f"{api.url}/more")
    assert len(cached.cache.responses) == 2
    cached.cache.close()
    files = [path.read_bytes() for path in tmp_path.iterdir()]
    assert b"/orders" in b"".join(files)
    assert secrets_in(b"".join(files)) == []


def test_a_cached_session_works_with_auth(api, token_auth, works_with):
    with CachedSession(backend="memory") as cached:
        cached.auth = token_auth
        assert works_with(lambda: cached.put(f"{api.url}/orders", data="x")).status_code == 200


def test_a_cached_session_with_auth_asks_for_a_token_before_it_looks_into_the_cache(
    auth, api, token_auth
):
    with CachedSession(backend="memory") as cached:
        cached.auth = token_auth
        cached.get(f"{api.url}/orders")
        token_auth.tokens.forget()
        assert cached.get(f"{api.url}/orders").from_cache
    assert (len(api.requests), len(auth.token_requests)) == (1, 2)
