"""The contract, third part: adapters, timeouts, TLS and proxies."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3.exceptions import InsecureRequestWarning
from urllib3.util import Retry, Timeout

from oauthcc import ClientCredentialsSession
from oauthcc.testing import faults

from .contract import Case, Cases, Run, Way, World, compare, open_world, quiet, tls_server
from .servers.certificates import Certificates
from .servers.connect_proxy import ConnectProxy

pytestmark = pytest.mark.unmeasured
world = pytest.fixture(scope="module")(open_world)
cases = Cases()
tls_cases = Cases()

#: No server listens there.
UNANSWERED = "http://127.0.0.1:1/"


# -- adapters --------------------------------------------------------------------------------------


class _Canned(BaseAdapter):
    """An adapter that answers without a network, and notes its arguments."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run
        self.closed = 0

    def send(self, request: Any, **kwargs: Any) -> requests.Response:  # type: ignore[override]
        self.run.note(request, kwargs)
        response = requests.Response()
        response.status_code, response.url, response.request = 200, request.url, request
        response.raw = io.BytesIO(b"canned")
        return response

    def close(self) -> None:
        self.closed += 1


@cases.add()
def a_custom_adapter(run: Run) -> None:
    adapter = _Canned(run)
    run.session.mount(run.world.api.url, adapter)
    run.note(run.session.get(run.url, timeout=(1, 2), verify="bundle", cert=("a", "b")))
    run.note(run.session.post(run.url, data=b"x", stream=True, proxies={"ftp": "http://p"}))
    run.session.close()
    run.note(adapter.closed)


@cases.add()
def mount_keeps_the_longest_prefix_first(run: Run) -> None:
    base = run.world.api.url
    for prefix in ("http://a", f"{base}/echo/deep", "other://", f"{base}/echo", base):
        run.session.mount(prefix, HTTPAdapter())
        run.note(run.session)
    for url in (run.url, f"{run.url}/deep", "other://x", run.url.upper()):
        run.note(run.session.get_adapter(url) is run.session.adapters[f"{base}/echo"])


@cases.add()
def no_adapter(run: Run) -> None:
    run.session.mount(run.world.api.url, HTTPAdapter())
    run.attempt(run.session.get, "gopher://127.0.0.1/")
    run.attempt(run.session.get_adapter, "gopher://127.0.0.1/")


class _Recording(HTTPAdapter):
    """An adapter that notes which of its methods are called."""

    def __init__(self, run: Run, **options: Any) -> None:
        self.run = run
        super().__init__(**options)

    def send(self, request: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        self.run.note("send", request, kwargs)
        return super().send(request, **kwargs)

    def add_headers(self, request: Any, **kwargs: Any) -> None:
        self.run.note("add_headers", sorted(kwargs))
        request.headers["X-Adapter"] = "1"

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        self.run.note("cert_verify", url, verify, cert)
        super().cert_verify(conn, url, verify, cert)  # type: ignore[no-untyped-call]

    def build_response(self, req: Any, resp: Any) -> requests.Response:
        response = super().build_response(req, resp)
        response.headers["X-Built"] = "1"
        return response


@cases.add(refusable=False)
def an_adapter_with_overridden_methods(run: Run) -> None:
    run.session.mount(run.world.api.url, _Recording(run))
    run.note(run.session.get(run.url), run.session.post(run.hop(status=307), data=b"x"))


@cases.add(refusable=False)
def an_adapter_that_retries(run: Run) -> None:
    retry = Retry(total=2, status_forcelist=[503], backoff_factor=0, allowed_methods=None)
    run.session.mount(run.world.api.url, HTTPAdapter(max_retries=retry))
    run.world.api.answer_next(faults.unavailable(retry_after=None), 2)
    run.note(run.session.post(run.url, data=b"x"))
    run.world.api.answer_next(faults.unavailable(retry_after=None), 3)
    run.attempt(run.session.get, run.url)
    run.world.api.answer_next(faults.reset(), 3)
    run.attempt(run.session.get, run.url)


@cases.add()
def a_connection_is_kept_and_used_again(run: Run) -> None:
    before = run.world.api.connections
    for _ in range(3):
        run.session.get(run.url)
        run.session.get(f"{run.world.api.url}/stream/9", stream=True).close()
    run.note(run.world.api.connections - before)


@cases.add(refusable=False)
def a_broken_connection(run: Run) -> None:
    for fault in (faults.reset(), faults.cut(), faults.garbage(), faults.truncated()):
        run.world.api.answer_next(fault)
        with pytest.raises(requests.RequestException) as caught:
            run.session.get(run.url)
        run.note(type(caught.value), str(caught.value), type(caught.value.request))


@cases.add()
def a_port_without_a_listener(run: Run) -> None:
    for url in (UNANSWERED, "http://127.0.0.1:1", "http://localhost:1/x?y"):
        run.attempt(run.session.get, url)


# -- timeouts --------------------------------------------------------------------------------------


@cases.add(warm=True)
def timeouts_in_every_form(run: Run) -> None:
    several: list[Any] = [9, 9.5, (9, 9), (None, 9), (9, None), None, Timeout(9), Timeout(1, 2)]
    for timeout in several:
        run.note(run.session.get(run.url, timeout=timeout))


@cases.add(warm=True)
def invalid_timeouts(run: Run) -> None:
    several: list[Any] = ["soon", (1, 2, 3), (), 0, -1, [1, 2], object(), True, ("a", "b")]
    for timeout in several:
        run.attempt(run.session.get, run.url, timeout=timeout)


@cases.add(warm=True, refusable=False)
def a_timeout_that_is_too_short(run: Run) -> None:
    with run.world.api.hold():
        for timeout in (0.02, (9, 0.02), Timeout(0.02), Timeout(connect=9, read=0.02)):
            with pytest.raises(requests.ReadTimeout) as caught:
                run.session.get(run.url, timeout=timeout)  # type: ignore[arg-type]
            run.note(type(caught.value), type(caught.value.request))
    run.note(run.session.get(run.url))


# -- proxies ---------------------------------------------------------------------------------------


def _with_proxy_from(run: Run, place: str, **proxies: str) -> dict[str, Any]:
    """Set proxies in one of the places of requests; return the arguments of the call."""
    if place == "environment":
        for scheme, url in proxies.items():
            run.patch.setenv(f"{scheme}_proxy", url)
    if place == "session":
        run.session.proxies.update(proxies)
    return {"proxies": dict(proxies)} if place == "call" else {}


@cases.add(token=False)
def a_proxy_for_plain_http_without_a_token(run: Run) -> None:
    proxy = run.world.other.url
    for place in ("call", "session", "environment"):
        arguments = _with_proxy_from(run, place, http=proxy)
        run.note(run.session.get(run.url, auth=lambda r: r, **arguments), arguments)
        run.note(run.session.get("http://far.example/x", auth=("u", "p"), **arguments))
        run.session.proxies.clear()
    run.patch.setenv("no_proxy", "127.0.0.1")
    run.note(run.session.get(run.url, auth=lambda r: r))


@cases.add()
def proxies_given_to_a_call_are_filled_in_place(run: Run) -> None:
    run.patch.setenv("all_proxy", "http://proxy.example:1")
    run.patch.setenv("no_proxy", "example.org")
    given = {"no_proxy": "127.0.0.1"}
    run.note(run.session.get(run.url, proxies=given), given)


@cases.add()
def the_environment_is_used_only_if_it_is_trusted(run: Run) -> None:
    run.patch.setenv("http_proxy", "http://127.0.0.1:1")
    run.patch.setenv("REQUESTS_CA_BUNDLE", "/nowhere")
    run.session.trust_env = False
    run.note(run.session.get(run.url))


@cases.add()
def merge_environment_settings_called_by_the_caller(run: Run) -> None:
    run.patch.setenv("REQUESTS_CA_BUNDLE", "/nowhere")
    run.patch.setenv("https_proxy", "http://127.0.0.1:1")
    run.session.cert = "session.pem"
    for verify in (None, True, False, "bundle"):
        settings = run.session.merge_environment_settings(
            "https://far.example", {"ftp": "x"}, None, verify, None
        )
        run.note(settings)


@cases.each()
def test_transport_is_as_in_requests(case: Case, world: World, way: Way) -> None:
    compare(case, world, way)


# -- TLS -------------------------------------------------------------------------------------------


class Secure(World):
    """The same servers, with an API that uses TLS and asks for a certificate."""

    certificates: Certificates
    proxy: ConnectProxy


@pytest.fixture(scope="module")
def secure(world: World, certificates: Certificates) -> Iterator[Secure]:
    context = certificates.server_context()
    with tls_server(context, world.auth) as api, ConnectProxy() as proxy:
        made = Secure(world.auth, api, world.other, world.folder)
        made.certificates, made.proxy = certificates, proxy
        yield made


def _of(run: Run) -> Secure:
    assert isinstance(run.world, Secure)
    return run.world


@tls_cases.add()
def an_api_that_is_not_trusted(run: Run) -> None:
    run.attempt(run.session.get, run.url)
    other = _of(run).certificates.client.cert_path
    run.attempt(run.session.get, run.url, verify=other)
    run.attempt(run.session.get, run.url, verify="/nowhere")


@tls_cases.add()
def verify_in_every_place(run: Run) -> None:
    bundle = _of(run).certificates.ca_bundle
    run.note(run.session.get(run.url, verify=bundle))
    run.patch.setenv("REQUESTS_CA_BUNDLE", bundle)
    run.note(run.session.get(run.url), run.session.get(run.url, verify=True))
    run.patch.delenv("REQUESTS_CA_BUNDLE")
    run.patch.setenv("CURL_CA_BUNDLE", bundle)
    run.note(run.session.get(run.url))
    run.patch.delenv("CURL_CA_BUNDLE")
    run.session.verify = bundle
    run.note(run.session.get(run.url), run.session.get(run.hop()))
    run.note(run.session.send(requests.Request("GET", run.url).prepare()))


@tls_cases.add()
def verify_false(run: Run) -> None:
    with pytest.warns(InsecureRequestWarning) as caught:
        run.note(run.session.get(run.url, verify=False))
    run.session.verify = False
    with pytest.warns(InsecureRequestWarning):
        run.note(run.session.get(run.url))
    run.note({str(warning.message) for warning in caught})


@tls_cases.add()
def cert_in_every_place(run: Run) -> None:
    certificates = _of(run).certificates
    run.session.verify = certificates.ca_bundle
    run.note(run.session.get(run.url, cert=certificates.client.pair))
    run.session.cert = certificates.other_client.pair
    run.note(run.session.get(run.url), run.session.get(run.hop(), cert=certificates.client.pair))
    run.attempt(run.session.get, run.url, cert="/nowhere")
    run.attempt(run.session.get, run.url, cert=("/nowhere", "/neither"))


@tls_cases.add()
def a_tunnel_through_a_proxy(run: Run) -> None:
    world = _of(run)
    proxy = world.proxy
    proxy.heads.clear()
    run.session.verify = world.certificates.ca_bundle
    for place in ("call", "session", "environment"):
        arguments = _with_proxy_from(run, place, https=proxy.url)
        run.note(run.session.get(run.url, **arguments), arguments, len(proxy.heads))
        run.note(run.session.get(run.hop(), **arguments))
        run.session.proxies.clear()
    run.patch.setenv("no_proxy", "127.0.0.1")
    run.note(run.session.get(run.url), list(proxy.heads))


@tls_cases.add()
def a_proxy_that_requires_authentication(run: Run) -> None:
    world = _of(run)
    proxy = world.proxy
    proxy.heads.clear()
    proxy.credentials = "Basic " + base64.b64encode(b"user:pass").decode()
    run.session.verify = world.certificates.ca_bundle
    try:
        run.attempt(run.session.get, run.url, proxies={"https": proxy.url})
        with_user = proxy.url.replace("//", "//user:pass@")
        run.note(run.session.get(run.url, proxies={"https": with_user}))
        run.note(run.session.get(run.hop(), proxies={"https": with_user}), list(proxy.heads))
    finally:
        proxy.credentials = None


@tls_cases.each()
def test_transport_over_tls_is_as_in_requests(case: Case, secure: Secure, way: Way) -> None:
    compare(case, secure, way)


def test_a_proxy_with_a_tunnel_never_sees_the_token(
    secure: Secure, monkeypatch: pytest.MonkeyPatch
) -> None:
    auth, proxy = secure.auth, secure.proxy
    quiet(monkeypatch, secure.folder)
    proxy.heads.clear()
    with ClientCredentialsSession(auth.token_url, auth.client_id, auth.client_secret) as session:
        session.verify, session.proxies = secure.certificates.ca_bundle, {"https": proxy.url}
        assert session.get(secure.url).status_code == 200
    assert secure.api.requests[-1].token in auth.issued
    assert [head.split()[0] for head in proxy.heads] == ["CONNECT"]
    assert "bearer" not in proxy.heads[0].lower()
