"""requests-futures, which sends the requests of a session in a pool of threads."""

from __future__ import annotations

from requests_futures.sessions import FuturesSession


def test_a_session_in_a_pool_works(session, api, works_with):
    with FuturesSession(session=session) as futures:
        assert works_with(lambda: futures.get(f"{api.url}/orders").result()).status_code == 200


def test_many_calls_at_once_cost_one_token_request(session, auth, api):
    with FuturesSession(session=session, max_workers=16) as futures:

        def call_all():
            calls = [futures.post(f"{api.url}/orders", json={"n": n}) for n in range(32)]
            return [call.result().json()["json"]["n"] for call in calls]

        assert call_all() == list(range(32))
        assert len(auth.token_requests) == 1
        auth.revoke_all()
        assert call_all() == list(range(32))
        assert len(auth.token_requests) == 2
