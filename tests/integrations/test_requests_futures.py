"""requests-futures, which sends the requests of a session in a pool of threads."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from requests_futures.sessions import FuturesSession

from oauthcc.stores import FileStore

from ..sessions import session_for


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


def test_each_call_in_another_process_fetches_a_token_if_there_is_no_store(auth, api, tmp_path):
    def tokens_for_calls(**options):
        auth.forget()
        with (
            session_for(auth, **options) as session,
            ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes,
        ):
            futures = FuturesSession(processes, session=session)
            calls = [futures.get(f"{api.url}/orders") for _ in range(3)]
            assert [call.result().status_code for call in calls] == [200] * 3
        return len(auth.token_requests)

    assert tokens_for_calls() == 3
    assert tokens_for_calls(store=FileStore(tmp_path)) == 1
