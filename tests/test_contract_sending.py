"""The contract, second part: prepared requests, hooks, redirects, streams."""

from __future__ import annotations

import io
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from requests import PreparedRequest, Request, Response

from oauthcc import ClientCredentialsSession
from oauthcc.api_request.authorization import ResponseHandler
from oauthcc.testing import Answer

from .contract import Case, Cases, Run, Way, World, compare, open_world

pytestmark = pytest.mark.unmeasured

world = pytest.fixture(scope="module")(open_world)
cases = Cases()


# -- prepared requests -----------------------------------------------------------------------------


@cases.add()
def a_request_prepared_by_the_session(run: Run) -> None:
    run.session.headers["X-Session"] = "1"
    request = Request("post", run.url, data={"a": "1"}, params={"q": "2"}, cookies={"c": "3"})
    prepared = run.session.prepare_request(request)
    run.note(request, prepared, prepared.hooks, prepared.hooks == {"response": []})
    run.note(run.session.send(prepared), prepared, request)


@cases.add()
def a_bare_prepared_request(run: Run) -> None:
    run.session.headers["X-Session"] = "1"
    prepared = Request("PUT", run.url, json=[1]).prepare()
    run.note(run.session.send(prepared), prepared)


@cases.add()
def prepared_requests_of_every_kind_are_equal(run: Run) -> None:
    several: list[dict[str, Any]] = [
        {"data": (part for part in (b"x",))},
        {"data": io.BytesIO(b"stream")},
        {"data": io.BytesIO(b"")},
        {"data": iter([])},
        {"json": {"a": 1}},
        {"files": {"f": b"1"}},
        {"data": b"x", "headers": {"Content-Length": "9"}},
        {"data": iter([b"x"]), "headers": {"Content-Length": "1"}},
        {"headers": {"Transfer-Encoding": "chunked"}},
        {"hooks": {"response": print}},
        {"hooks": {"response": [print, print]}},
        {"auth": ("user", "pass")},
        {},
    ]
    for method in ("GET", "POST", "DELETE", "HEAD"):
        for arguments in several:
            prepared = run.session.prepare_request(Request(method, run.url, **arguments))
            run.note(prepared, prepared.copy(), sorted(prepared.hooks))


@cases.add()
def hooks_of_a_prepared_request_are_a_dict(run: Run) -> None:
    prepared: Any = run.session.prepare_request(Request("GET", run.url))
    run.note(prepared.hooks == {"response": []}, prepared.hooks == {"response": [print]})
    prepared.register_hook("response", print)
    run.note(prepared.hooks == {"response": [print]}, prepared.deregister_hook("response", print))
    run.note(pickle.loads(pickle.dumps(prepared)), isinstance(prepared.hooks, dict))


@cases.add()
def one_prepared_request_sent_often(run: Run) -> None:
    for prepared in (
        run.session.prepare_request(Request("POST", run.url, data=b"again")),
        Request("POST", run.url, data=b"again").prepare(),
    ):
        before = dict(prepared.headers)
        run.note(run.session.send(prepared), run.session.send(prepared), prepared)
        run.note(dict(prepared.headers) == before)


@cases.add(unordered=True, refusable=False)
def one_prepared_request_sent_by_several_threads(run: Run) -> None:
    prepared = run.session.prepare_request(Request("POST", run.url, data=b"shared"))
    gate = threading.Barrier(4)

    def send(_: int) -> Response:
        gate.wait(10)
        return run.session.send(prepared)

    with ThreadPoolExecutor(4) as pool:
        run.note([answer.json() for answer in pool.map(send, range(4))])
    run.note(prepared)


@cases.add()
def the_request_of_a_response_sent_again(run: Run) -> None:
    answer = run.session.post(run.url, data=b"once")
    assert answer.request is not None
    run.note(run.session.send(answer.request), run.session.send(answer.request.copy()))


class _Tagged(PreparedRequest):
    """A request with more attributes than those of requests."""

    tag = "of the class"

    def describe(self) -> str:
        return f"{self.method} {self.tag}"


@cases.add()
def a_subclass_of_prepared_request(run: Run) -> None:
    seen: list[Any] = []

    def hook(response: Response, **_: Any) -> None:
        request: Any = response.request
        seen.append((type(request), request.describe(), request.tag))

    prepared = _Tagged()
    prepared.prepare("GET", run.url, headers={}, hooks={"response": [hook]})
    prepared.tag = "of this one"
    run.note(run.session.send(prepared), vars(prepared).keys())
    run.note(seen)


@cases.add()
def a_prepared_request_changed_before_it_is_sent(run: Run) -> None:
    prepared: Any = run.session.prepare_request(Request("POST", run.url, data=b"old"))
    prepared.body = b"newer"
    prepared.headers["Content-Length"] = "5"
    prepared.headers["X-Late"] = "1"
    prepared.url = f"{run.url}?late"
    prepared.register_hook("response", _fine)
    run.note(run.session.send(prepared), prepared)


@cases.add(measured=True)
def a_prepared_request_whose_headers_are_a_plain_dict(run: Run) -> None:
    prepared: Any = Request("POST", run.url, data=b"x").prepare()
    prepared.headers = dict(prepared.headers)
    run.note(run.session.send(prepared), prepared)


@cases.add(token=False)
def a_prepared_request_with_an_authorization_in_a_plain_dict(run: Run) -> None:
    prepared: Any = Request("GET", run.url).prepare()
    prepared.headers = {"authorization": "Bearer of-the-caller"}
    run.note(run.session.send(prepared), prepared)


@cases.add(measured=True)
def objects_that_are_not_prepared_requests(run: Run) -> None:
    several: list[Any] = [Request("GET", run.url), None, "text", PreparedRequest(), object()]
    for thing in several:
        run.attempt(run.session.send, thing)


@cases.add()
def send_with_an_unknown_argument(run: Run) -> None:
    run.session.send(Request("GET", run.url).prepare(), tiemout=1)


@cases.add()
def send_uses_the_settings_of_the_session(run: Run) -> None:
    run.session.stream, run.session.verify = True, False
    answer = run.session.send(Request("GET", run.url).prepare())
    run.note(answer, answer.content)


# -- hooks -----------------------------------------------------------------------------------------


def _fine(response: Response, **kwargs: Any) -> None:
    response.headers["X-Hooked"] = ",".join(sorted(kwargs))


def _other(response: Response, **kwargs: Any) -> Response:
    replaced = Response()
    replaced.status_code, replaced.url, replaced.request = 299, response.url, response.request
    replaced.raw, replaced.elapsed = response.raw, response.elapsed
    replaced._content = b"replaced"
    return replaced


def _failing(response: Response, **kwargs: Any) -> None:
    raise LookupError("from the hook")


def _refusing(response: Response, **kwargs: Any) -> None:
    response.raise_for_status()


@cases.add()
def hooks_of_the_call(run: Run) -> None:
    for hooks in ([], _fine, [_fine], [_fine, _other], (_other, _fine), _other):
        run.note(run.session.get(run.url, hooks={"response": hooks}))
    run.note(run.session.get(run.url, hooks={}))


@cases.add()
def hooks_of_the_session(run: Run) -> None:
    for hooks in ([], [_fine], [_fine, _other], _fine):
        run.session.hooks["response"] = hooks
        run.note(run.session.get(run.url))
        run.note(run.session.get(run.url, hooks={"response": _other}))
        run.note(run.session.get(run.url, hooks={"response": []}))
    run.session.hooks = {}
    run.attempt(run.session.get, run.url)
    run.session.hooks = None  # type: ignore[assignment]
    run.attempt(run.session.get, run.url)


@cases.add()
def hooks_that_raise(run: Run) -> None:
    run.attempt(run.session.get, run.url, hooks={"response": _failing})
    run.session.hooks["response"].append(_refusing)
    run.attempt(run.session.get, f"{run.world.api.url}/status/503")
    run.attempt(run.session.get, f"{run.world.api.url}/status/404")
    run.attempt(run.session.get, run.hop())


@cases.add()
def invalid_hooks(run: Run) -> None:
    run.attempt(run.session.get, run.url, hooks={"request": _fine})
    run.attempt(run.session.get, run.url, hooks={"response": [17]})
    run.attempt(run.session.get, run.url, hooks={"response": "text"})


@cases.add()
def hooks_get_each_response_with_its_arguments(run: Run) -> None:
    def watch(response: Response, **kwargs: Any) -> None:
        run.note(response.status_code, response.url, response.history, kwargs)

    run.session.hooks["response"].append(watch)
    run.session.get(run.hop(), timeout=9)
    run.session.get(run.hop(), hooks={"response": [watch]}, stream=True).close()


@cases.add()
def a_hook_that_sends_a_request_itself(run: Run) -> None:
    def once_more(response: Response, **kwargs: Any) -> Response | None:
        if "again" in response.url:
            return None
        return run.session.get(f"{run.url}?again", **kwargs)

    run.note(run.session.get(run.url, hooks={"response": once_more}))


@cases.add()
def a_hook_that_answers_with_a_history(run: Run) -> None:
    def with_history(response: Response, **kwargs: Any) -> Response:
        again = response.connection.send(response.request, **kwargs)
        again.history.append(response)
        again.request = response.request
        return again

    run.note(
        run.session.get(f"{run.world.api.url}/set-cookie?a=1", hooks={"response": with_history})
    )


# -- redirects -------------------------------------------------------------------------------------


@cases.add()
def every_status_that_redirects_with_and_without_a_body(run: Run) -> None:
    for status in (301, 302, 303, 307, 308):
        url = run.hop(status=status)
        run.note(run.session.get(url), run.session.head(url, allow_redirects=True))
        run.note(run.session.post(url, data={"a": "1"}), run.session.put(url, json=[1]))
        run.note(run.session.delete(url), run.session.post(url, files={"f": b"1"}))
        run.note(run.session.patch(url, data=io.BytesIO(b"stream")))


@cases.add()
def redirects_that_are_not_followed(run: Run) -> None:
    url = run.hop()
    run.note(run.session.get(url, allow_redirects=False), run.session.head(url))
    run.note(run.session.request("HEAD", url), run.session.post(url, allow_redirects=False))


@cases.add(refusable=False)
def a_stream_that_cannot_be_sent_again_on_a_307(run: Run) -> None:
    url = run.hop(status=307)
    run.attempt(run.session.post, url, data=(part for part in (b"one", b"two")))

    class Stuck(io.BytesIO):
        def seek(self, *_: Any) -> int:
            raise OSError("stuck")

    run.attempt(run.session.post, url, data=Stuck(b"stuck"))


@cases.add()
def next_sent_by_the_caller(run: Run) -> None:
    answer = run.session.get(run.hop(f"{run.world.api.url}", run.url), allow_redirects=False)
    while answer.next is not None:
        run.note(answer)
        answer = run.session.send(answer.next, allow_redirects=False)
    run.note(answer)


@cases.add()
def resolve_redirects_called_by_the_caller(run: Run) -> None:
    answer = run.session.get(run.hop(), allow_redirects=False)
    assert answer.request is not None
    for hop in run.session.resolve_redirects(answer, answer.request, timeout=9):
        run.note(hop)


@cases.add()
def too_many_redirects(run: Run) -> None:
    base = run.world.api.url
    run.session.max_redirects = 2
    run.attempt(run.session.get, run.hop(base, base, run.url))
    run.attempt(run.session.get, run.hop(base, run.url))
    run.session.max_redirects = 0
    run.attempt(run.session.get, run.hop())


@cases.add(token=(True, False))
def a_redirect_to_another_origin(run: Run) -> None:
    run.note(run.session.get(run.hop(f"{run.world.other.url}/echo")))


@cases.add(token=(True, False, False))
def a_redirect_that_comes_back(run: Run) -> None:
    run.note(run.session.get(run.hop(run.world.other.url, run.url)))


@cases.add()
def unusual_redirect_targets(run: Run) -> None:
    base = run.world.api.url
    for target in (
        "/echo",
        "echo",
        "?q=1",
        "#part",
        base.removeprefix("http:") + "/echo",
        "/echo#p",
    ):
        run.attempt(run.session.get, f"{base}/hop/302/c?{target}#kept", allow_redirects=False)
    for target in ("/echo/é ü", "http://", "mailto:x@y", "https://127.0.0.1:1/", "//", ":80"):
        run.attempt(run.session.get, f"{base}/hop/302/c?{target}")


@cases.add()
def cookies_of_redirects(run: Run) -> None:
    url = run.hop(run.world.api.url, run.url)
    run.note(run.session.get(url, cookies={"mine": "1"}), run.session.cookies)
    run.note(run.session.get(run.url))


@cases.add()
def an_overridden_get_redirect_target(run: Run) -> None:
    class Stays(run.base):  # type: ignore[name-defined, misc]
        def get_redirect_target(self, resp: Response) -> None:
            return None

    run.note(run.make(Stays).get(run.hop()))


# -- streams ---------------------------------------------------------------------------------------


@cases.add()
def streams_read_in_every_way(run: Run) -> None:
    url = f"{run.world.api.url}/stream/20000"
    with run.session.get(url, stream=True) as answer:
        run.note(answer, [len(chunk) for chunk in answer.iter_content(7000)], answer)
    with run.session.get(url, stream=True) as answer:
        run.note(len(answer.raw.read(10)), answer.raw.closed)
    with run.session.get(url, stream=True) as answer:
        run.note(len(answer.content), answer.raw.closed)
    with run.session.get(f"{run.url}", stream=True) as answer:
        run.note(list(answer.iter_lines()), list(answer.iter_lines()))
    run.session.stream = True
    with run.session.get(url) as answer:
        run.note(answer)
    with run.session.get(url, stream=False) as answer:
        run.note(answer)


@cases.add()
def a_stream_read_twice(run: Run) -> None:
    with run.session.get(f"{run.world.api.url}/stream/10", stream=True) as answer:
        list(answer.iter_content(5))
        run.attempt(lambda: list(answer.iter_content(5)))
        run.attempt(lambda: answer.content)


@cases.add()
def a_stream_after_redirects(run: Run) -> None:
    with run.session.get(run.hop(f"{run.world.api.url}/stream/9"), stream=True) as answer:
        run.note(answer, answer.content, answer)


@cases.add()
def a_broken_answer(run: Run) -> None:
    run.world.api.answer_next(Answer(200, {"Content-Length": "2", "Connection": "close"}, b"x"), 1)
    run.attempt(run.session.get, run.url)
    run.world.api.answer_next(Answer(200, {"Content-Encoding": "gzip"}, b"not gzip"), 1)
    run.attempt(run.session.get, run.url)


@cases.add()
def elapsed_and_raise_for_status(run: Run) -> None:
    answer = run.session.get(f"{run.world.api.url}/status/418")
    run.note(answer)
    run.attempt(answer.raise_for_status)


@cases.each()
def test_requests_and_responses_are_as_in_requests(case: Case, world: World, way: Way) -> None:
    compare(case, world, way)


# -- only in a session of ours ---------------------------------------------------------------------


def test_sending_does_not_change_a_prepared_request(world: World) -> None:
    auth = world.auth
    with ClientCredentialsSession(auth.token_url, auth.client_id, auth.client_secret) as session:
        for prepared in (
            session.prepare_request(Request("GET", world.url)),
            Request("GET", world.url).prepare(),
        ):
            before = pickle.dumps((prepared.headers, dict(prepared.hooks)))
            answer = session.send(prepared)
            assert pickle.dumps((prepared.headers, dict(prepared.hooks))) == before
            assert answer.request is not prepared
            assert not any(isinstance(hook, ResponseHandler) for hook in prepared.hooks["response"])
