"""pynetbox, whose `http_session` is replaced."""

from __future__ import annotations

import pynetbox
import pytest

from oauthcc.testing.faults import json_answer


def client_for(session, api, **options):
    client = pynetbox.api(api.url, **options)
    client.http_session.close()
    client.http_session = session
    return client


@pytest.fixture
def netbox(auth, api):
    """Return an API that knows eight devices."""
    api.revoke_after_first_page = False

    def devices(seen):
        args = dict(seen.args)
        if api.revoke_after_first_page and len(api.requests) == 1:
            auth.revoke_all()
        start, limit = int(args.get("offset", 0)), int(args.get("limit", 0)) or 2
        found = [
            {"id": n, "name": f"device {n}", "url": f"{api.url}/api/dcim/devices/{n}/"}
            for n in range(8)
        ]
        following = f"{api.url}/api/dcim/devices/?limit={limit}&offset={start + limit}"
        return json_answer(
            {
                "count": 8,
                "next": following if start + limit < 8 else None,
                "previous": None,
                "results": found[start : start + limit],
            }
        )

    api.add_route("/api/dcim/devices/", devices)
    return api


@pytest.mark.parametrize("threading", [False, True])
def test_a_client_works(session, netbox, works_with, threading):
    client = client_for(session, netbox, threading=threading)
    names = works_with(lambda: sorted(device.name for device in client.dcim.devices.all()))
    assert names == [f"device {n}" for n in range(8)]


def test_threads_that_are_refused_cost_one_token_request(session, auth, netbox):
    netbox.revoke_after_first_page = True
    client = client_for(session, netbox, threading=True)
    assert len(list(client.dcim.devices.filter(limit=1))) == 8
    assert [seen.token for seen in netbox.requests].count(auth.issued[0]) > 1
    assert len(auth.token_requests) == 2


def test_a_token_of_netbox_wins(session, auth, netbox):
    client = client_for(session, netbox, token="theirs")
    with pytest.raises(pynetbox.RequestError):
        list(client.dcim.devices.all())
    assert netbox.requests[0].headers["Authorization"] == "Token theirs"
    assert auth.token_requests == []


def test_a_401_in_the_end_is_an_error_of_pynetbox_without_the_token(session, netbox, secrets_in):
    netbox.refuse_next(2)
    with pytest.raises(pynetbox.RequestError) as caught:
        list(client_for(session, netbox).dcim.devices.all())
    assert caught.value.req.status_code == 401
    assert secrets_in(f"{caught.value} {caught.value.req.request.headers}") == []
