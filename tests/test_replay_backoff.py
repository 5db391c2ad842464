"""However often an API refuses, the number of token requests is limited."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from requests.adapters import HTTPAdapter

from oauthcc.events import ReplayImpossible
from oauthcc.stores import MemoryStore

from .clock import Clock
from .refusals import TWICE, UNAVAILABLE, Arrived, InMemoryAPI, Reply, Scene, Sessions

pytestmark = pytest.mark.unmeasured

API = "https://api.example"
#: The seconds at which a route that refuses every token forces renewals. The first new token that
#: it refuses causes no pause. Then there are pauses of 1, 2, 4 ... 60 seconds.
FORCED = [0, 1, 2, 4, 8, 16, 32, 64, *range(124, 600, 60)]
#: Those of the first two minutes.
EARLY = FORCED[:8]


def forbidden(arrived: Arrived) -> Reply:
    return (401, {}, b"no") if "/forbidden" in arrived.url else (200, {}, b"yes")


def in_memory(session: requests.Session) -> InMemoryAPI:
    api = InMemoryAPI(forbidden)
    session.mount(API, api)
    return api


# An API that refuses every token


def test_an_api_that_refuses_every_token_causes_three_token_requests_at_once(
    scene: Scene, sessions: Sessions
) -> None:
    session = sessions.new()
    Clock().install()
    scene.api.refuse_next(None, body=b"never")
    for _ in range(50):
        answer = session.get(scene.url)
        assert (answer.status_code, answer.content) == (401, b"never")
    assert scene.token_requests == 3
    assert len(scene.api.requests) == 52


@pytest.mark.parametrize("step", [1, 6])
def test_an_api_that_refuses_every_token_for_ten_minutes_forces_renewals_at_the_end_of_each_pause(
    scene: Scene, step: int
) -> None:
    session = scene.session()
    clock, api = Clock().install(), in_memory(session)
    seen = []
    for second in range(0, 600, step):
        before = scene.token_requests
        assert session.get(f"{API}/forbidden").status_code == 401
        seen += [second] * (scene.token_requests - max(before, 1))
        clock.advance(step)
    at_six = [0, 6, 12, 18, 24, 36, 54, 90, *range(150, 600, 60)]
    assert seen == (FORCED if step == 1 else at_six)
    assert len(api.arrived) == 600 / step + len(seen)


def test_one_forbidden_route_beside_others_causes_no_more_token_requests(scene: Scene) -> None:
    session = scene.session()
    clock, api = Clock().install(), in_memory(session)
    for _ in range(120):
        assert session.get(f"{API}/forbidden").status_code == 401
        for route in ("a", "b"):
            assert session.get(f"{API}/{route}").status_code == 200
        clock.advance(1)
    assert scene.token_requests == 1 + len(EARLY) == 9
    assert len(api.arrived) == 3 * 120 + len(EARLY)


def test_an_api_that_refuses_every_token_gets_at_most_two_requests_for_a_call(scene: Scene) -> None:
    session = scene.session()
    clock, api = Clock().install(), in_memory(session)
    for _ in range(100):
        before = len(api.arrived)
        session.get(f"{API}/forbidden")
        assert len(api.arrived) - before <= 2
        clock.advance(7)


# The end of a pause


def test_an_accepted_replay_ends_the_pauses(scene: Scene) -> None:
    session = scene.session()
    clock = Clock().install()
    for pause in (1, 2, 4):
        scene.api.refuse_next(2)
        assert session.get(scene.url).status_code == 401
        clock.advance(pause)
    scene.api.refuse_next()
    assert session.get(scene.url).status_code == 200
    asked = scene.token_requests
    for _ in range(3):  # each forces a renewal at once, because renewing helps
        scene.auth.revoke_all()
        assert session.get(scene.url).status_code == 200
    assert scene.token_requests == asked + 3
    scene.api.refuse_next(2)
    assert session.get(scene.url).status_code == 401
    clock.advance(1)  # the first pause is one second again
    scene.api.refuse_next()
    assert session.get(scene.url).status_code == 200


def pause(scene: Scene, session: requests.Session) -> None:
    """Let a route refuse two new tokens, after which it is paused for a second."""
    for _ in range(2):
        scene.api.refuse_next(2)
        assert session.get(scene.url).status_code == 401


def test_a_request_that_is_accepted_ends_the_pause_of_its_route(scene: Scene) -> None:
    session = scene.session()
    Clock().install()
    pause(scene, session)
    assert scene.token_requests == 3
    scene.api.refuse_next()
    assert session.get(scene.url).status_code == 401
    assert session.get(scene.url).status_code == 200
    scene.api.refuse_next()
    assert session.get(scene.url).status_code == 200
    assert scene.token_requests == 4


@pytest.mark.parametrize("way", ["method", "path"])
def test_a_request_that_is_accepted_on_another_route_does_not_end_a_pause(
    scene: Scene, way: str
) -> None:
    session = scene.session()
    Clock().install()
    pause(scene, session)
    method, url = ("PUT", scene.url) if way == "method" else ("GET", f"{scene.url}/else")
    assert session.request(method, url).status_code == 200
    scene.api.refuse_next()
    assert session.get(scene.url).status_code == 401
    assert scene.token_requests == 3


def test_the_query_of_a_url_makes_no_other_route(scene: Scene) -> None:
    session = scene.session()
    Clock().install()
    pause(scene, session)
    scene.api.refuse_next()
    assert session.get(f"{scene.url}?page=2").status_code == 401
    assert scene.token_requests == 3


def test_one_route_that_refuses_every_token_keeps_no_other_from_a_new_one(scene: Scene) -> None:
    session = scene.session()
    clock, api = Clock().install(), in_memory(session)
    for _ in range(60):
        session.get(f"{API}/forbidden")
        assert session.get(f"{scene.api.url}/good").status_code == 200
        clock.advance(1)
    asked = scene.token_requests
    scene.auth.revoke_all()
    assert session.get(f"{scene.api.url}/good").status_code == 200
    assert scene.token_requests == asked + 1
    assert api.arrived


def test_two_revocations_at_once_hand_out_no_refusal(scene: Scene) -> None:
    session = scene.session()
    Clock().install()
    for _ in range(4):
        assert session.get(scene.url).status_code == 200
        scene.auth.revoke_all()
    assert session.get(scene.url).status_code == 200
    assert scene.token_requests == 5


def test_a_new_token_does_not_end_a_pause(scene: Scene) -> None:
    session = scene.session()
    Clock().install()
    pause(scene, session)
    session.tokens.renew()
    asked = scene.token_requests
    scene.api.refuse_next()
    assert session.get(scene.url).status_code == 401
    assert scene.token_requests == asked


def test_a_newer_token_is_used_during_a_pause(scene: Scene) -> None:
    session = scene.session()
    Clock().install()
    pause(scene, session)
    scene.auth.forget()
    scene.api.forget()
    scene.api.refuse_next()
    with ThreadPoolExecutor(1) as pool, scene.api.hold() as gate:
        waiting = pool.submit(session.get, scene.url)
        gate.wait_for()
        session.tokens.renew()
        gate.release()
        assert waiting.result(30).status_code == 200
    assert scene.trail == [("/anything", 3), ("/anything", 4)]
    assert scene.token_requests == 1


def test_each_api_has_pauses_of_its_own(scene: Scene) -> None:
    session, other = scene.session(), scene.another_api()
    Clock().install()
    scene.api.refuse_next(None)
    for _ in range(2):
        assert session.get(scene.url).status_code == 401
    assert scene.token_requests == 3
    other.refuse_next()
    assert session.get(f"{other.url}/anything").status_code == 200
    assert scene.token_requests == 4
    assert session.get(scene.url).status_code == 401
    assert scene.token_requests == 4


def test_each_token_source_has_pauses_of_its_own(scene: Scene) -> None:
    session = scene.session()
    Clock().install()
    session.add_api(f"{scene.api.url}/v2", scope="v2")
    scene.api.refuse_next(2)
    assert session.get(scene.url).status_code == 401
    scene.api.refuse_next()
    assert session.get(f"{scene.api.url}/v2").status_code == 200
    assert scene.token_requests == 4


def test_a_server_that_issues_the_refused_token_again_gets_few_token_requests(scene: Scene) -> None:
    scene.auth.make_token = lambda: "always-the-same"
    session = scene.refused()
    clock = Clock().install()
    for _ in range(100):
        assert session.get(scene.url).status_code == 401
        clock.advance(1)
    forced = [moment for moment in FORCED if moment < 100]
    assert scene.token_requests == len(forced)
    assert len(scene.api.requests) == 100 + len(forced)


# Bodies that cannot be sent again


def test_bodies_that_cannot_be_sent_again_cause_no_more_token_requests(scene: Scene) -> None:
    session = scene.session()
    clock = Clock().install()
    api = in_memory(session)
    for _ in range(120):
        answer = session.post(f"{API}/forbidden", data=iter([b"once"]))
        assert answer.status_code == 401
        clock.advance(1)
    assert len(api.arrived) == 120
    # The call after each refusal renews the token, so the last renewal did not happen yet.
    assert scene.token_requests <= 1 + len(EARLY)
    assert len(scene.emitted(ReplayImpossible)) == 7


class WithoutSeek(io.BytesIO):
    """A body with a length, because seek cannot tell it."""

    def __len__(self) -> int:
        return 3

    def seek(self, offset: int, whence: int = 0) -> int:
        raise OSError("no seek here")


def test_a_body_that_cannot_be_rewound_is_noticed_before_the_renewal(scene: Scene) -> None:
    session = scene.session()
    Clock().install()
    scene.api.refuse_next(None)
    for _ in range(20):
        assert session.post(scene.url, data=WithoutSeek(b"abc")).status_code == 401
    assert {seen.body for seen in scene.api.requests} == {b"abc"}
    assert len(scene.api.requests) == 20
    assert scene.token_requests == 2


# Many at once


@pytest.mark.parametrize("method", ["get", "post"])
def test_one_revocation_that_hits_64_threads_causes_one_token_request(
    scene: Scene, method: str
) -> None:
    session = scene.refused()
    session.mount("http://", HTTPAdapter(pool_maxsize=64))
    body = b"the same" if method == "post" else None
    with ThreadPoolExecutor(64) as pool, scene.api.hold() as gate:
        calls = [pool.submit(session.request, method, scene.url, data=body) for _ in range(64)]
        gate.wait_for(64, timeout=30)
        gate.release()
        assert [call.result(60).status_code for call in calls] == [200] * 64
    assert scene.token_requests == 1
    assert scene.auth.max_concurrent == 1
    assert len(scene.api.requests) == 128
    assert sorted(ordinal or 0 for _, ordinal in scene.trail) == [1] * 64 + [2] * 64


def test_refusals_of_one_token_in_many_threads_count_once(scene: Scene) -> None:
    session = scene.session()
    session.mount("http://", HTTPAdapter(pool_maxsize=16))
    clock = Clock().install()
    session.tokens.get()
    scene.api.refuse_next(None)
    with ThreadPoolExecutor(16) as pool, scene.api.hold() as gate:
        calls = [pool.submit(session.get, scene.url) for _ in range(16)]
        gate.wait_for(16, timeout=30)
        gate.release()
        assert {call.result(60).status_code for call in calls} == {401}
    assert scene.token_requests == 2
    clock.advance(1)  # one second and not two to the sixteenth
    assert session.get(scene.url).status_code == 401
    assert scene.token_requests == 3


def test_a_late_refusal_of_an_old_token_causes_no_token_request(scene: Scene) -> None:
    session = scene.refused()
    with ThreadPoolExecutor(1) as pool, scene.api.hold("/late") as gate:
        late = pool.submit(session.get, f"{scene.api.url}/late")
        gate.wait_for()
        assert session.get(scene.url).status_code == 200
        gate.release()
        assert late.result(30).status_code == 200
    assert scene.token_requests == 1
    assert scene.trail[-1] == ("/late", 2)


def test_a_caller_that_comes_during_the_renewal_of_a_refused_token_waits_for_the_new_one(
    scene: Scene,
) -> None:
    session = scene.refused()
    with ThreadPoolExecutor(2) as pool, scene.auth.hold() as gate:
        refused = pool.submit(session.get, scene.url)
        gate.wait_for()
        newcomer = pool.submit(session.get, f"{scene.api.url}/newcomer")
        gate.release()
        assert (refused.result(30).status_code, newcomer.result(30).status_code) == (200, 200)
    assert ("/newcomer", 1) not in scene.trail
    assert scene.token_requests == 1


def test_one_revocation_that_hits_many_threads_causes_one_token_request_if_the_server_is_down(
    scene: Scene,
) -> None:
    session = scene.refused()
    Clock().install()
    session.mount("http://", HTTPAdapter(pool_maxsize=16))
    scene.auth.answer_next(UNAVAILABLE, None)
    with ThreadPoolExecutor(16) as pool, scene.api.hold() as gate:
        calls = [pool.submit(session.get, scene.url) for _ in range(16)]
        gate.wait_for(16, timeout=30)
        gate.release()
        assert [call.result(60).status_code for call in calls] == [401] * 16
    assert scene.token_requests == 1


# A shared store


def test_a_newer_token_in_the_store_is_tried_before_another_one_is_fetched(scene: Scene) -> None:
    store = MemoryStore()
    one, two = scene.session(store=store), scene.session(store=store)
    one.get(scene.url)
    two.tokens.get()
    two.tokens.renew()
    scene.auth.revoke_all()  # both of them
    assert one.get(scene.url).status_code == 200
    assert scene.trail == [("/anything", n) for n in (1, 1, 2, 3)]
    assert scene.token_requests == 3


def test_with_one_active_token_for_each_client_sessions_use_the_token_of_the_others(
    scene: Scene,
) -> None:
    store = MemoryStore()
    sessions = [scene.session(store=store) for _ in range(4)]
    for session in sessions:
        assert session.get(scene.url).status_code == 200
    for _ in range(5):
        scene.auth.revoke_all()  # as that server does when it issues another token
        assert {session.get(scene.url).status_code for session in sessions} == {200}
    assert scene.token_requests == 1 + 5


def test_a_token_in_the_store_that_is_newer_than_the_refused_request_is_used(
    scene: Scene,
) -> None:
    store = MemoryStore()
    one, two = scene.refused(store=store), scene.session(store=store)
    assert two.tokens.get() == one.tokens.get()
    with ThreadPoolExecutor(1) as pool, scene.api.hold() as gate:
        call = pool.submit(one.get, scene.url)
        gate.wait_for()
        two.tokens.renew()
        gate.release()
        assert call.result(30).status_code == 200
    assert scene.token_requests == 1
    assert scene.trail == TWICE
