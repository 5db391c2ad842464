"""However often an API refuses, the authorization server is asked with measure."""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from requests.adapters import HTTPAdapter

from oauthcc import ClientCredentialsSession
from oauthcc.errors import TokenError
from oauthcc.events import ReplayImpossible
from oauthcc.stores import MemoryStore

from .refusals import UNWELL, Arrived, InMemoryAPI, Reply, Scene, a_scene, clock_of

API = "https://api.example"
#: When renewals are forced for an API that refuses all: after pauses of 1, 2, 4 ... 60 seconds.
FORCED = [0, 1, 3, 7, 15, 31, 63, *range(123, 600, 60)]
#: Those of the first two minutes.
EARLY = FORCED[:7]


@pytest.fixture
def scene() -> Iterator[Scene]:
    with a_scene() as made:
        yield made


def forbidden(arrived: Arrived) -> Reply:
    return (401, {}, b"no") if "/forbidden" in arrived.url else (200, {}, b"yes")


def in_memory(session: ClientCredentialsSession) -> InMemoryAPI:
    api = InMemoryAPI(forbidden)
    session.mount(API, api)
    return api


# An API that refuses all


@pytest.mark.parametrize("calls", [20, 100])
def test_an_api_that_refuses_all_costs_two_token_requests_at_once(scene: Scene, calls: int) -> None:
    session = scene.session()
    clock_of(session.tokens)
    scene.api.refuse_next(None)
    assert {session.get(scene.url).status_code for _ in range(calls)} == {401}
    assert scene.token_requests == 2
    assert len(scene.api.requests) == calls + 1


@pytest.mark.parametrize("step", [1, 6])
def test_an_api_that_refuses_all_for_ten_minutes_is_renewed_for_as_the_back_off_says(
    scene: Scene, step: int
) -> None:
    session = scene.session()
    clock, api = clock_of(session.tokens), in_memory(session)
    seen = []
    for second in range(0, 600, step):
        before = scene.token_requests
        assert session.get(f"{API}/forbidden").status_code == 401
        seen += [second] * (scene.token_requests - max(before, 1))
        clock.advance(step)
    at_six = [0, 6, 12, 18, 30, 48, 84, *range(144, 600, 60)]
    assert seen == (FORCED if step == 1 else at_six)
    assert len(api.arrived) == 600 / step + len(seen)


def test_one_forbidden_route_beside_good_ones_costs_no_more(scene: Scene) -> None:
    session = scene.session()
    clock, api = clock_of(session.tokens), in_memory(session)
    for _ in range(120):
        assert session.get(f"{API}/forbidden").status_code == 401
        for route in ("a", "b"):
            assert session.get(f"{API}/{route}").status_code == 200
        clock.advance(1)
    assert scene.token_requests == 1 + len(EARLY) == 8
    assert len(api.arrived) == 3 * 120 + len(EARLY)


def test_never_more_than_two_requests_are_made_for_one_call(scene: Scene) -> None:
    session = scene.session()
    clock, api = clock_of(session.tokens), in_memory(session)
    for _ in range(100):
        before = len(api.arrived)
        session.get(f"{API}/forbidden")
        assert len(api.arrived) - before <= 2
        clock.advance(7)


# What ends the back-off


def test_the_back_off_is_ended_by_an_accepted_replay(scene: Scene) -> None:
    session = scene.session()
    clock = clock_of(session.tokens)
    for pause in (1, 2, 4):  # now at four seconds
        scene.api.refuse_next(2)
        assert session.get(scene.url).status_code == 401
        clock.advance(pause)
    scene.api.refuse_next()
    assert session.get(scene.url).status_code == 200
    asked = scene.token_requests
    for _ in range(3):  # each is forced at once, since renewing helps
        scene.auth.revoke_all()
        assert session.get(scene.url).status_code == 200
    assert scene.token_requests == asked + 3
    scene.api.refuse_next(2)
    assert session.get(scene.url).status_code == 401
    clock.advance(1)  # it begins anew, with one second
    scene.api.refuse_next()
    assert session.get(scene.url).status_code == 200


def test_the_back_off_is_not_ended_by_requests_that_were_never_refused(scene: Scene) -> None:
    session = scene.session()
    clock = clock_of(session.tokens)
    scene.api.refuse_next(2)
    assert session.get(scene.url).status_code == 401
    assert session.get(scene.url).status_code == 200
    scene.api.refuse_next()
    assert session.get(scene.url).status_code == 401
    assert scene.token_requests == 2
    clock.advance(1)
    scene.api.refuse_next()
    assert session.get(scene.url).status_code == 200
    assert scene.token_requests == 3


def test_the_back_off_is_not_ended_by_a_new_token(scene: Scene) -> None:
    session = scene.session()
    clock_of(session.tokens)
    scene.api.refuse_next(2)
    session.get(scene.url)
    session.tokens.renew()
    asked = scene.token_requests
    scene.api.refuse_next()
    assert session.get(scene.url).status_code == 401
    assert scene.token_requests == asked


def test_during_the_back_off_a_newer_token_is_used_where_one_is_held(scene: Scene) -> None:
    session = scene.session()
    clock_of(session.tokens)
    scene.api.refuse_next(2)
    session.get(scene.url)
    scene.auth.forget()
    scene.api.forget()
    scene.api.refuse_next()
    with ThreadPoolExecutor(1) as pool, scene.api.hold() as gate:
        waiting = pool.submit(session.get, scene.url)
        gate.wait_for()
        session.tokens.renew()
        gate.release()
        assert waiting.result(30).status_code == 200
    assert scene.trail == [("/anything", 2), ("/anything", 3)]
    assert scene.token_requests == 1


def test_each_api_has_a_back_off_of_its_own(scene: Scene) -> None:
    session, other = scene.session(), scene.another_api()
    clock_of(session.tokens)
    scene.api.refuse_next(None)
    assert session.get(scene.url).status_code == 401
    assert scene.token_requests == 2
    other.refuse_next()
    assert session.get(f"{other.url}/x").status_code == 200
    assert scene.token_requests == 3
    assert session.get(scene.url).status_code == 401
    assert scene.token_requests == 3


def test_each_token_source_has_a_back_off_of_its_own(scene: Scene) -> None:
    session = scene.session()
    clock_of(session.tokens)
    clock_of(session.authorize(f"{scene.api.url}/v2", scope="v2"))
    scene.api.refuse_next(2)
    assert session.get(scene.url).status_code == 401
    scene.api.refuse_next()
    assert session.get(f"{scene.api.url}/v2").status_code == 200
    assert scene.token_requests == 4


def test_a_server_that_gives_the_refused_token_again_is_asked_with_measure(scene: Scene) -> None:
    scene.auth.make_token = lambda: "always-the-same"
    session = scene.refused()
    clock = clock_of(session.tokens)
    for _ in range(100):
        assert session.get(scene.url).status_code == 401
        clock.advance(1)
    assert scene.token_requests == len([moment for moment in FORCED if moment < 100])
    assert len(scene.api.requests) == 100


# Bodies that were used up


def test_bodies_that_cannot_be_sent_again_cost_no_more(scene: Scene) -> None:
    session = scene.session()
    clock = clock_of(session.tokens)
    api = in_memory(session)
    for _ in range(120):
        answer = session.post(f"{API}/forbidden", data=iter([b"once"]))
        assert answer.status_code == 401
        clock.advance(1)
    assert len(api.arrived) == 120
    # Renewed by the call after each, so one is still to come.
    assert scene.token_requests <= 1 + len(EARLY)
    assert len(scene.told(ReplayImpossible)) == len(EARLY)


class WithoutSeek(io.BytesIO):
    """Say how long it is, since it cannot seek to find out."""

    def __len__(self) -> int:
        return 3

    def seek(self, offset: int, whence: int = 0) -> int:
        raise OSError("no seek here")


def test_a_body_that_will_not_go_back_is_found_out_before_the_renewal(scene: Scene) -> None:
    session = scene.session()
    clock_of(session.tokens)
    scene.api.refuse_next(None)
    for _ in range(20):
        assert session.post(scene.url, data=WithoutSeek(b"abc")).status_code == 401
    assert {seen.body for seen in scene.api.requests} == {b"abc"}
    assert len(scene.api.requests) == 20
    assert scene.token_requests == 2


# Many at once


@pytest.mark.parametrize("method", ["get", "post"])
def test_sixty_four_threads_hit_by_one_revocation_cost_one_token_request(
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


def test_threads_that_are_forbidden_at_once_count_as_one(scene: Scene) -> None:
    session = scene.session()
    session.mount("http://", HTTPAdapter(pool_maxsize=16))
    clock = clock_of(session.tokens)
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


def test_a_late_refusal_of_an_old_token_costs_no_token_request(scene: Scene) -> None:
    session = scene.refused()
    with ThreadPoolExecutor(1) as pool, scene.api.hold("/late") as gate:
        late = pool.submit(session.get, f"{scene.api.url}/late")
        gate.wait_for()
        assert session.get(scene.url).status_code == 200
        gate.release()
        assert late.result(30).status_code == 200
    assert scene.token_requests == 1
    assert scene.trail[-1] == ("/late", 2)


def test_callers_that_come_while_a_refused_token_is_renewed_wait_for_the_new_one(
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


def test_threads_hit_by_a_revocation_while_the_server_is_down_cost_one_token_request(
    scene: Scene,
) -> None:
    session = scene.refused()
    clock_of(session.tokens)
    session.mount("http://", HTTPAdapter(pool_maxsize=16))
    scene.auth.answer_next(UNWELL, None)
    together = Barrier(16)

    def call() -> object:
        together.wait(30)
        with pytest.raises(TokenError) as caught:
            session.get(scene.url)
        return caught.value

    with ThreadPoolExecutor(16) as pool, scene.api.hold() as gate:
        calls = [pool.submit(call) for _ in range(16)]
        gate.wait_for(16, timeout=30)
        gate.release()
        errors = [call.result(60) for call in calls]
    assert len(set(map(id, errors))) == 16
    assert scene.token_requests == 1


# A store that others write to


def test_a_token_of_the_store_that_is_older_than_the_refused_request_is_not_trusted(
    scene: Scene,
) -> None:
    store = MemoryStore()
    one, two = scene.session(store=store), scene.session(store=store)
    one.get(scene.url)
    two.tokens.get()
    two.tokens.renew()
    scene.auth.revoke_all()  # both of them
    assert one.get(scene.url).status_code == 200
    assert scene.trail == [("/anything", 1), ("/anything", 1), ("/anything", 3)]


def test_a_token_of_the_store_that_is_younger_than_the_refused_request_is_used(
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
    assert scene.trail == [("/anything", 1), ("/anything", 2)]
