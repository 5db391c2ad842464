"""requests-toolbelt: its streamed forms, its base URL, and its dump of a request."""

from __future__ import annotations

from functools import partial
from threading import Thread

import pytest
from requests_toolbelt import MultipartEncoder, MultipartEncoderMonitor, StreamingIterator, threaded
from requests_toolbelt.adapters.socket_options import TCPKeepAliveAdapter
from requests_toolbelt.sessions import BaseUrlSession
from requests_toolbelt.utils import dump

from oauthcc import ClientCredentialsSession, events

from ..sessions import session_for


def upload(session, api, body):
    headers = {"Content-Type": getattr(body, "content_type", "text/plain")}
    return session.post(f"{api.url}/upload", data=body, headers=headers)


def test_a_form_is_sent(session, api, works_with):
    assert works_with(lambda: session.post(f"{api.url}/x", files={"file": b"x"})).status_code == 200
    assert upload(session, api, MultipartEncoder({"file": ("x", b"x")})).status_code == 200


def streamed(form):
    return StreamingIterator(form.len, iter([form.read()]))


@pytest.mark.parametrize("wrap", [lambda form: form, MultipartEncoderMonitor, streamed])
def test_a_streamed_form_is_not_sent_again_and_the_next_one_has_a_new_token(auth, api, wrap):
    said = []
    with session_for(auth, on_event=said.append) as session:
        session.get(f"{api.url}/orders")
        auth.revoke_all()
        forms = [wrap(MultipartEncoder({"file": ("x", b"x")})) for _ in range(2)]
        assert [upload(session, api, form).status_code for form in forms] == [401, 200]
    assert [seen.method for seen in api.requests] == ["GET", "POST", "POST"]
    assert len(auth.token_requests) == 2
    assert [event.reason for event in said if isinstance(event, events.ReplayImpossible)]


def test_a_streamed_form_as_bytes_is_sent_again(session, api, works_with):
    form = MultipartEncoder({"file": ("x", b"x" * 100_000)})
    body, headers = form.to_string(), {"Content-Type": form.content_type}
    answer = works_with(lambda: session.post(f"{api.url}/upload", data=body, headers=headers))
    assert answer.json()["length"] == len(body)


def test_a_base_url_works(auth, api, works_with):
    class OrdersSession(ClientCredentialsSession, BaseUrlSession):
        base_url = api.url

    with OrdersSession(auth.token_url, auth.client_id, auth.client_secret) as session:
        assert works_with(lambda: session.get("/orders")).json()["path"] == "/orders"


def test_a_dump_contains_the_token_but_not_the_secret(session, api, secrets_in):
    dumped = dump.dump_all(session.get(f"{api.url}/orders"))
    assert secrets_in(bytes(dumped)) == ["token 1"]


def test_a_pool_whose_sessions_use_the_tokens_of_one_session_costs_one_token_request(
    session, auth, api
):
    # A thread of this pool loses an answer that comes before the pool has prepared the thread. So
    # the API answers when all threads are waiting.
    gate = api.hold()

    def open_gate():
        gate.wait_for(8)
        gate.release()

    opener = Thread(target=open_gate)
    opener.start()
    calls = [{"method": "GET", "url": f"{api.url}/{number}"} for number in range(16)]
    using = partial(ClientCredentialsSession.using, session.tokens)
    answers, errors = threaded.map(calls, session=using, num_processes=8)
    opener.join()
    assert sorted(answer.json()["path"] for answer in answers) == sorted(f"/{n}" for n in range(16))
    assert list(errors) == []
    assert len(auth.token_requests) == 1


def test_an_adapter_of_toolbelt_works(session, api, works_with):
    session.mount("http://", TCPKeepAliveAdapter(idle=60, count=5, interval=10))
    assert works_with(lambda: session.get(f"{api.url}/orders")).status_code == 200
