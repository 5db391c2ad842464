"""grequests, which sends the requests of a session in greenlets of gevent."""

from __future__ import annotations

from pathlib import Path

from oauthcc.testing.faults import json_answer

from ..scripts import run_script

PROGRAM = Path(__file__).with_name("grequests_program.py")


def test_a_session_in_greenlets_works_with_one_token_request_at_a_time(auth, api, monkeypatch):
    def after(action):
        return lambda seen: action() or json_answer({"path": seen.path})

    api.add_route("/revoke", after(auth.revoke_all))
    api.add_route("/remove-client", after(lambda: auth.remove_client(auth.client_id)))
    for name, value in {
        "TOKEN_URL": auth.token_url,
        "CLIENT_ID": auth.client_id,
        "CLIENT_SECRET": auth.client_secret,
        "API_URL": api.url,
    }.items():
        monkeypatch.setenv(name, value)
    first, _, second, _, failed, unhandled = run_script(PROGRAM).splitlines()
    assert first.split() == [f"/first/{number}" for number in range(16)]
    assert second.split() == [f"/second/{number}" for number in range(16)]
    assert (failed, unhandled) == ("TokenRequestDenied", "None")
    assert len(auth.token_requests) == 3
    accepted = [seen.body.decode() for seen in api.requests if seen.token == auth.issued[1]]
    assert sorted(accepted) == sorted([f"/second/{n}" for n in range(16)] + ["/remove-client"])
