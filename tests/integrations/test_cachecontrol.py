"""CacheControl, which mounts an adapter with a cache."""

from __future__ import annotations

import pytest
from cachecontrol import CacheControl
from cachecontrol.caches import FileCache

from oauthcc.testing.faults import json_answer

from ..sessions import session_for

FRESH = {"Cache-Control": "max-age=600"}


@pytest.fixture
def cached(session, tmp_path):
    return CacheControl(session, cache=FileCache(tmp_path))


def test_a_session_with_a_cache_works(cached, api, works_with):
    assert works_with(lambda: cached.get(f"{api.url}/orders")).status_code == 200


def test_an_answer_comes_out_of_the_cache(cached, auth, api):
    api.add_route("/fresh", lambda seen: json_answer({}, headers=FRESH))
    answers = [cached.get(f"{api.url}/fresh") for _ in range(2)]
    assert [answer.from_cache for answer in answers] == [False, True]
    assert len(api.requests) == len(auth.token_requests) == 1


def test_a_cached_answer_is_returned_although_the_token_was_revoked(cached, auth, api):
    api.add_route("/fresh", lambda seen: json_answer({}, headers=FRESH))
    cached.get(f"{api.url}/fresh")
    auth.revoke_all()
    assert cached.get(f"{api.url}/fresh").from_cache
    assert len(auth.token_requests) == 1


def test_a_session_without_a_token_fetches_one_for_a_cached_answer_too(cached, auth, api):
    api.add_route("/fresh", lambda seen: json_answer({}, headers=FRESH))
    cached.get(f"{api.url}/fresh")
    cached.tokens.forget()
    assert cached.get(f"{api.url}/fresh").from_cache
    assert (len(api.requests), len(auth.token_requests)) == (1, 2)


def test_an_etag_is_asked_again_with_the_new_token(cached, auth, api):
    api.add_route("/tagged", lambda seen: json_answer({"n": 1}, headers={"ETag": '"1"'}))
    cached.get(f"{api.url}/tagged")
    auth.revoke_all()
    assert cached.get(f"{api.url}/tagged").json() == {"n": 1}
    assert [seen.headers.get("If-None-Match") for seen in api.requests] == [None, '"1"', '"1"']
    assert api.requests[2].token == auth.issued[1]


def test_neither_a_401_nor_a_token_response_is_cached(cached, auth, api, tmp_path):
    api.refuse_next(2, headers=FRESH)
    assert cached.get(f"{api.url}/orders").status_code == 401
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert cached.get(f"{api.url}/orders").status_code == 200


def test_the_file_contains_the_token_if_the_answer_varies_with_it(
    cached, api, tmp_path, secrets_in
):
    api.add_route("/plain", lambda seen: json_answer({}, headers=FRESH))
    api.add_route(
        "/varies", lambda seen: json_answer({}, headers={**FRESH, "Vary": "Authorization"})
    )

    def found(path):
        cached.get(f"{api.url}{path}")
        return secrets_in(b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()))

    assert found("/plain") == []
    assert found("/varies") == ["token 1"]


def test_sessions_with_the_same_cache_get_the_answers_of_each_other(session, auth, api, tmp_path):
    auth.add_client("other", "other-secret")
    api.add_route("/mine", lambda seen: json_answer({"for": seen.token}, headers=FRESH))
    with session_for(auth, client_id="other", client_secret="other-secret") as other:
        for one in (session, other):
            CacheControl(one, cache=FileCache(tmp_path))
        answers = [one.get(f"{api.url}/mine").json()["for"] for one in (session, other)]
    assert len(auth.issued) == 2
    assert answers == [auth.issued[0]] * 2
