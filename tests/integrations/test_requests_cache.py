"""requests-cache, whose `CacheMixin` comes before our class."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
import requests_cache
from requests_cache import CachedSession, CacheMixin

from oauthcc import Bearer, ClientCredentialsSession
from oauthcc.testing.faults import json_answer


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


def test_an_answer_that_varies_with_the_token_is_never_found(cached, api):
    api.add_route("/varies", lambda seen: json_answer({}, headers={"Vary": "Authorization"}))
    answers = [cached.get(f"{api.url}/varies") for _ in range(3)]
    assert [a.from_cache for a in answers] == [False, False, False]


@pytest.mark.parametrize("match", [False, ["Authorization"]])
def test_clients_with_the_same_cache_get_the_answers_of_each_other(
    cached, auth, api, tmp_path, match
):
    api.add_route("/mine", lambda seen: json_answer({"for": seen.token}))
    auth.add_client("other", "other-secret")
    with CachedAPI(
        cache_name=str(tmp_path / "cache.sqlite"),
        token_url=auth.token_url,
        client_id="other",
        client_secret="other-secret",
        match_headers=match,
    ) as other:
        cached.settings.match_headers = match
        answers = [one.get(f"{api.url}/mine").json()["for"] for one in (cached, other)]
        other.cache.close()
    assert answers == auth.issued * 2


@pytest.mark.parametrize("problem", ["no token", "a 401"])
def test_stale_if_error_hides_a_401_and_a_token_that_cannot_be_obtained(cached, auth, api, problem):
    cached.settings.stale_if_error = True
    cached.get(f"{api.url}/orders", expire_after=1)
    for found in cached.cache.responses.values():
        cached.cache.save_response(
            found, found.cache_key, expires=datetime(2020, 1, 1, tzinfo=timezone.utc)
        )
    if problem == "no token":
        auth.remove_client(auth.client_id)
        cached.tokens.forget()
    else:
        api.refuse_next(2)
    assert cached.get(f"{api.url}/orders").from_cache


def test_install_cache_does_not_change_sessions_of_ours(session, api):
    with requests_cache.enabled(backend="memory"):
        answers = [session.get(f"{api.url}/orders") for _ in range(2)]
    assert not hasattr(answers[1], "from_cache")
    assert len(api.requests) == 2


def test_wrap_leaves_the_token_source_behind_so_requests_carry_no_token(session, auth, api):
    with CachedSession.wrap(session, backend="memory") as wrapped:
        assert wrapped.get(f"{api.url}/orders").status_code == 401
    assert [seen.token for seen in api.requests] == [None]
    assert auth.token_requests == []


@pytest.mark.parametrize(
    ("serializer", "ignored", "found"),
    [("pickle", [], []), ("json", [], ["token 1"]), ("json", ["X-Access-Token"], [])],
)
def test_the_token_in_another_header_is_in_a_file_of_json_unless_the_header_is_ignored(
    auth, api, tmp_path, secrets_in, *, serializer, ignored, found
):
    api.protected = False
    with CachedAPI(
        cache_name=str(tmp_path),
        backend="filesystem",
        serializer=serializer,
        ignored_parameters=ignored,
        token_url=auth.token_url,
        client_id=auth.client_id,
        client_secret=auth.client_secret,
        scheme=Bearer(header="X-Access-Token"),
    ) as cached:
        cached.get(f"{api.url}/orders")
        cached.cache.close()
    assert auth.issued[0] in api.requests[0].headers["X-Access-Token"]
    (file,) = tmp_path.glob(f"*.{serializer if serializer == 'json' else 'pkl'}")
    assert b"/orders" in file.read_bytes()
    assert secrets_in(file.read_bytes()) == found
