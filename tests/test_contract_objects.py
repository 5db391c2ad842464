"""The contract, fifth part: the session as an object, its subclasses, other libraries."""

from __future__ import annotations

import copy
import inspect
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import requests
import responses
from requests import PreparedRequest, Request, Response
from requests.adapters import BaseAdapter, HTTPAdapter
from requests_toolbelt import MultipartEncoder, MultipartEncoderMonitor
from requests_toolbelt.sessions import BaseUrlSession
from responses.matchers import header_matcher

from oauthcc import ClientCredentialsSession

from .contract import Case, Cases, Run, Way, World, compare, open_world, quiet
from .look import look

pytestmark = pytest.mark.unmeasured
world = pytest.fixture(scope="module")(open_world)
cases = Cases()


# -- the object ------------------------------------------------------------------------------------


@cases.add()
def a_with_block(run: Run) -> None:
    with run.session as inside:
        run.note(inside is run.session, inside.get(run.url))
    run.note(run.session.get(run.url))
    run.session.close()
    run.session.close()
    run.note(run.session.get(run.url))


@cases.add()
def a_with_block_that_ends_with_an_error(run: Run) -> None:
    with run.session:
        raise LookupError("not here")


@cases.add()
def a_new_session(run: Run) -> None:
    run.note(run.session, isinstance(run.session, requests.Session), bool(run.session))
    run.note({name: look(getattr(run.session, name)) for name in requests.Session.__attrs__})
    run.note(run.session == run.session, run.session == run.make(), hash(run.session) is not None)


@cases.add()
def attributes_that_are_set_and_deleted(run: Run) -> None:
    session: Any = run.session
    session.mine = 1
    run.note(session.mine, session.__dict__["mine"], session)
    del session.mine
    run.note(hasattr(session, "none_such_attribute"))
    run.note(callable(session.get), session.get.__name__)


def _configure(session: requests.Session) -> None:
    session.headers["X-Kept"] = "1"
    session.cookies.set("kept", "1")
    session.params = {"kept": "1"}
    session.max_redirects, session.trust_env = 3, False
    session.proxies, session.verify, session.cert = {"ftp": "x"}, "bundle", ("a", "b")
    session.hooks["response"].append(_mark)
    session.mount("http://far.example", HTTPAdapter(max_retries=2))


def _mark(response: Response, **_: Any) -> None:
    response.headers["X-Marked"] = "1"


@cases.add()
def a_pickled_session(run: Run) -> None:
    _configure(run.session)
    run.session.get(run.url)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = run.keep(pickle.loads(pickle.dumps(run.session, protocol)))
        run.note(again, again.get(run.url), sorted(again.adapters))
    run.note(run.session.get(run.url))


@cases.add()
def a_copied_session(run: Run) -> None:
    _configure(run.session)
    run.session.get(run.url)
    for made in (copy.copy, copy.deepcopy):
        again = run.keep(made(run.session))
        run.note(again, again.get(run.url), again.cookies is run.session.cookies)
        run.note(again.headers is run.session.headers, again.adapters is run.session.adapters)
    run.note(run.session)


@cases.add()
def a_pickled_answer(run: Run) -> None:
    answer = run.session.get(run.hop(), hooks={"response": _mark})
    again = pickle.loads(pickle.dumps(answer))
    run.note(again.status_code, again.content, again.url, dict(again.headers).keys())
    run.note(again.reason, again.encoding, again.elapsed == answer.elapsed, again.history[0].url)
    run.note(again.request.url, again.request.method, again.request.hooks == {"response": [_mark]})
    run.note(
        sorted(vars(again)), sorted(vars(again.request)), isinstance(again.request.hooks, dict)
    )


@cases.add()
def a_copied_answer(run: Run) -> None:
    answer = run.session.get(run.url)
    run.note(copy.copy(answer), copy.deepcopy(answer).content, answer)


@cases.add()
def sessions_made_by_the_module(run: Run) -> None:
    run.note(isinstance(run.session, requests.sessions.Session), isinstance(run.session, _Looks))


class _Looks(requests.sessions.SessionRedirectMixin):
    pass


# -- subclasses ------------------------------------------------------------------------------------


@cases.add(refusable=False)
def every_method_that_is_overridden_is_called(run: Run) -> None:
    class Loud(run.base):  # type: ignore[name-defined, misc]
        def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
            run.note("request", method, url, args, sorted(kwargs))
            return super().request(method, url, *args, **kwargs)

        def prepare_request(self, request: Request) -> PreparedRequest:
            run.note("prepare_request", request)
            prepared: PreparedRequest = super().prepare_request(request)
            prepared.headers["X-Prepared"] = "1"
            run.note(prepared)
            return prepared

        def send(self, request: PreparedRequest, **kwargs: Any) -> Any:
            run.note("send", request, sorted(kwargs))
            return super().send(request, **kwargs)

        def get_adapter(self, url: str) -> BaseAdapter:
            run.note("get_adapter", url)
            found: BaseAdapter = super().get_adapter(url)
            return found

        def merge_environment_settings(self, *args: Any) -> Any:
            run.note("merge_environment_settings", args)
            return super().merge_environment_settings(*args)

        def rebuild_method(self, prepared_request: PreparedRequest, response: Response) -> None:
            run.note("rebuild_method", prepared_request.method)
            super().rebuild_method(prepared_request, response)

        def rebuild_proxies(self, prepared_request: PreparedRequest, proxies: Any) -> Any:
            run.note("rebuild_proxies", proxies)
            return super().rebuild_proxies(prepared_request, proxies)

    session = run.make(Loud)
    if run.is_ours:
        session.tokens.get()  # type: ignore[attr-defined]
        run.notes.clear()
    run.note(session.get(run.hop()), session.post(run.url, json=[1]))


@cases.add()
def an_overridden_constructor(run: Run) -> None:
    class Named(run.base):  # type: ignore[name-defined, misc]
        def __init__(self, name: str, *rest: Any, **options: Any) -> None:
            self.name = name
            super().__init__(*rest, **options)
            self.headers["X-Name"] = name

    session: Any = run.make(Named, "a name")
    run.note(session.get(run.url), session.name)


@cases.add()
def copies_of_a_subclass_with_attributes_of_its_own(run: Run) -> None:
    class Keeping(run.base):  # type: ignore[name-defined, misc]
        __attrs__ = [*run.base.__attrs__, "kept"]  # noqa: RUF012 - as in requests
        kept = "by the class"

    session: Any = run.make(Keeping)
    session.kept, session.lost = "by the object", "not in __attrs__"
    for made in (copy.copy, copy.deepcopy):
        again: Any = run.keep(made(session))
        run.note(type(again) is Keeping, again.kept, hasattr(again, "lost"), again.get(run.url))


class _Base(requests.Session):
    """A session class of a user, which changes every call."""

    def request(self, method: Any, url: Any, *args: Any, **kwargs: Any) -> Response:
        kwargs.setdefault("timeout", 9)
        kwargs["headers"] = {**(kwargs.get("headers") or {}), "X-Base": str(len(args))}
        return super().request(method, url, *args, **kwargs)


class _Mixin:
    """A mix-in that adds an attribute and a header."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.mixed = True

    def send(self, request: PreparedRequest, **kwargs: Any) -> Any:
        request.headers["X-Mixin"] = "1"
        return super().send(request, **kwargs)  # type: ignore[misc]


def _mixed(run: Run, *kinds: type) -> Any:
    return run.make(type("Mixed", kinds, {}))


@cases.add()
def a_mix_in_before(run: Run) -> None:
    session = _mixed(run, _Mixin, run.base)
    run.note(session.get(run.url), session.get(run.hop()), session.mixed)


@cases.add()
def a_mix_in_after(run: Run) -> None:
    # requests.Session calls no class that comes after it, so ours does not either.
    session = _mixed(run, run.base, _Mixin)
    run.note(session.get(run.url), hasattr(session, "mixed"))


@cases.add()
def a_session_class_of_the_user_before(run: Run) -> None:
    kinds = (_Base, run.base) if run.is_ours else (_Base,)
    session = _mixed(run, *kinds)
    run.note(session.get(run.url), session.post(run.url, data=b"x"))


# -- other libraries -------------------------------------------------------------------------------


@cases.add(refusable=False)
def the_toolbelts_encoder(run: Run) -> None:
    seen: list[int] = []
    fields = {"a": "1", "f": ("name.txt", io.BytesIO(b"file"), "text/plain")}
    encoder: Any = MultipartEncoder(fields, boundary="b")
    headers = {"Content-Type": encoder.content_type}
    run.note(run.session.post(run.url, data=encoder, headers=headers))
    monitor: Any = MultipartEncoderMonitor(
        MultipartEncoder({"a": "1"}, boundary="b"), lambda m: seen.append(m.bytes_read)
    )
    run.note(run.session.post(run.url, data=monitor, headers={"Content-Type": "x/y"}), seen)


class _BaseUrl(BaseUrlSession):  # type: ignore[misc]
    """The session of the toolbelt. It does not call other classes, so the user calls them here."""

    def __init__(self, base_url: str, *rest: Any, **options: Any) -> None:
        self.base_url = base_url
        requests.Session.__init__(self)
        if isinstance(self, ClientCredentialsSession):
            ClientCredentialsSession.__init__(self, *rest, **options)


@cases.add()
def the_toolbelts_base_url_session(run: Run) -> None:
    kinds = (_BaseUrl, run.base) if run.is_ours else (_BaseUrl,)
    session: Any = run.make(type("Mixed", kinds, {}), f"{run.world.api.url}/echo/")
    run.note(session.get("deep"), session.post("/echo", json=[1]), session.get(run.url))
    prepared = session.prepare_request(Request("GET", "later"))
    run.note(prepared, session.send(prepared))


@cases.each()
def test_the_session_is_an_object_as_in_requests(case: Case, world: World, way: Way) -> None:
    compare(case, world, way)


# -- signatures, mocks ----------------------------------------------------------------------------

METHODS = sorted(
    name
    for name, member in inspect.getmembers(requests.Session, inspect.isfunction)
    if name != "__init__"
)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_the_same_signature_as_in_requests(name: str) -> None:
    ours: Callable[..., Any] = getattr(ClientCredentialsSession, name)
    plain: Callable[..., Any] = getattr(requests.Session, name)
    assert _parameters(ours) == _parameters(plain)


def _parameters(function: Callable[..., Any]) -> list[tuple[str, Any, Any]]:
    found = inspect.signature(function).parameters.values()
    return [(one.name, one.kind, one.default) for one in found]


def test_no_verb_is_overridden() -> None:
    verbs = {"request", "get", "options", "head", "post", "put", "patch", "delete", "mount"}
    assert not verbs & set(vars(ClientCredentialsSession))


def test_a_session_pickles_the_attributes_of_requests_and_its_token_source() -> None:
    session = ClientCredentialsSession("https://as.example/token", "id", "secret")
    more = session.__getstate__().keys() - set(requests.Session.__attrs__)
    assert set(requests.Session.__attrs__) <= session.__getstate__().keys()
    assert "tokens" in more
    assert all(name.startswith("_") for name in more - {"tokens"})


@responses.activate
def test_both_ends_can_be_mocked() -> None:
    for number in (1, 2):
        token = {"access_token": f"t{number}", "token_type": "Bearer"}
        responses.post("https://as.example/token", json=token)
    orders = "https://api.example/orders"
    responses.get(orders, status=401, match=[header_matcher({"Authorization": "Bearer t1"})])
    responses.get(orders, json=[1, 2], match=[header_matcher({"Authorization": "Bearer t2"})])
    with ClientCredentialsSession("https://as.example/token", "id", "secret", "read") as session:
        answer = session.get(orders)
    assert (answer.status_code, answer.json()) == (200, [1, 2])
    urls = [call.request.url for call in responses.calls]
    assert urls == ["https://as.example/token", orders] * 2
    # It keeps the requests, not copies: the replay does not change the refused request.
    shown = [call.request.headers["Authorization"].encode() for call in list(responses.calls)[1::2]]
    assert shown == [b"Bearer t1", b"Bearer t2"]


def test_an_adapter_for_all_urls_is_used_for_the_token_endpoint(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet(monkeypatch, world.folder)
    urls: list[str | None] = []

    class Recording(HTTPAdapter):
        def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
            urls.append(request.url)
            return super().send(request, *args, **kwargs)

    auth = world.auth
    with ClientCredentialsSession(auth.token_url, auth.client_id, auth.client_secret) as session:
        session.mount("http://", Recording())
        session.get(world.url)
    assert urls == [auth.token_url, world.url]
