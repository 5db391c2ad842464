"""curl-adapter, whose adapters send with libcurl instead of urllib3."""

from __future__ import annotations

import pytest
import requests
from curl_adapter import CurlCffiAdapter, PyCurlAdapter

from oauthcc import TokenEndpointTimeout, TokenEndpointUnreachable
from oauthcc.testing import faults

from ..clock import flights_done


@pytest.fixture(params=[CurlCffiAdapter, PyCurlAdapter])
def adapter(request):
    """Return an adapter that notes the URLs that it was asked to send to."""

    class Noting(request.param):
        def send(self, prepared, **kwargs):
            self.urls.append(prepared.url)
            return super().send(prepared, **kwargs)

    made = Noting()
    made.urls = []
    return made


@pytest.fixture
def curl(adapter, session):
    session.mount("http://", adapter)
    return session


def test_a_session_with_curl_works(curl, api, works_with):
    answer = works_with(lambda: curl.post(f"{api.url}/orders", json={"n": 1}))
    assert answer.json()["json"] == {"n": 1}


def test_the_token_request_goes_through_curl_too(curl, adapter, auth, api):
    curl.get(f"{api.url}/orders")
    assert adapter.urls == [auth.token_url, f"{api.url}/orders"]


def test_an_adapter_for_the_api_alone_sends_no_token_request(
    session, adapter, auth, api, works_with
):
    session.mount(api.url, adapter)
    assert works_with(lambda: session.get(f"{api.url}/orders")).status_code == 200
    assert auth.token_url not in adapter.urls
    assert len(adapter.urls) == 3


def test_errors_of_curl_at_the_token_endpoint_become_ours(curl, auth, api):
    auth.down()
    with pytest.raises(TokenEndpointUnreachable):
        curl.get(f"{api.url}/orders")


def test_a_hanging_token_endpoint_costs_no_more_than_the_timeout(curl, auth, api):
    auth.answer_next(faults.hang(), None)
    with pytest.raises(TokenEndpointTimeout):
        curl.get(f"{api.url}/orders", timeout=0.1)
    # The fetch goes on, and nothing can close its connection.
    auth.answer_normally()
    auth.down()
    flights_done()


@pytest.mark.parametrize("kind", ["plain", "ours"])
def test_curl_adapter_cannot_send_a_file_with_any_session(curl, adapter, api, kind, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x")
    with requests.Session() as plain, path.open("rb") as file:
        plain.mount("http://", adapter)
        with pytest.raises(TypeError):
            (plain if kind == "plain" else curl).put(f"{api.url}/upload", data=file)


def test_the_debug_output_of_curl_adapter_contains_the_token(session, api, capsys, secrets_in):
    session.mount("http://", CurlCffiAdapter(debug=True))
    session.get(f"{api.url}/orders")
    assert secrets_in(capsys.readouterr().out) == ["the secret in HTTP Basic", "token 1"]
