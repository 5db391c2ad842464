"""No secret and no token in any log line, repr, error, traceback, event, or pickle of an answer.

The servers here echo secrets and tokens in every part of an answer, and break HTTP in many ways.
The tests search for every spelling in which a secret or a token is sent or quoted.
"""

from __future__ import annotations

import base64
import gc
import gzip
import json
import logging
import pickle
import pprint
import re
import ssl
import traceback
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

import pytest
import requests
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from requests import Response
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

import oauthcc
from oauthcc import (
    ClientCredentialsAuth,
    ClientCredentialsSession,
    ClientSecretBasic,
    ClientSecretPost,
    ConfigurationError,
    Event,
    PrivateKeyJWT,
    RefusalRemembered,
    RenewalFailed,
    ReplayImpossible,
    RequestReplayed,
    TokenError,
    TokenObtained,
    fetch_token,
)
from oauthcc.jwt import generate_key
from oauthcc.testing import Answer, AuthorizationServer, Fault, ProtectedAPI, faults
from oauthcc.tokens.refusals import Refusal, Route

from .clock import flights_done, shift_clocks, skip_pauses
from .inside import fetcher_of, flight_of, held_by, pauses_of, state_of
from .internet import TOKEN_URL, Internet, SeenEvents
from .sessions import session_for

if TYPE_CHECKING:
    from .servers.certificates import Certificates

CLIENT = "my id"
SECRET = 'S3cr3t"%/+ &=:\u00fc~\\ende'
TOKENS = [f"T0ken-{n}.of~this+test/==" for n in range(1, 40)]
BASIC = base64.b64encode(f"{quote(CLIENT, safe='')}:{quote(SECRET, safe='')}".encode()).decode()


def spellings(text: str) -> set[bytes]:
    """Return the forms in which another text may quote a text."""
    forms = {
        text,
        quote(text),
        quote(text, safe=""),
        quote_plus(text),
        json.dumps(text)[1:-1],
        repr(text)[1:-1],
        repr(text.encode())[2:-1],
        text.encode().decode("latin-1"),
        base64.b64encode(text.encode()).decode().rstrip("="),
        base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
    }
    # An error may quote an error that quotes another error.
    forms |= {form.replace("\\", "\\" * n) for form in forms for n in (2, 4)}
    return {form.encode() for form in forms} | {text.encode("latin-1")}


NEEDLES = {form for text in (SECRET, BASIC, *TOKENS) for form in spellings(text)}


def leaks(haystack: str | bytes) -> list[bytes]:
    octets = haystack if isinstance(haystack, bytes) else haystack.encode("utf-8", "replace")
    return [needle for needle in NEEDLES if needle in octets]


def looks(thing: Any) -> Iterator[str]:
    """Yield the texts by which an object is shown in a log, a debugger or a crash report."""
    yield repr(thing)
    yield str(thing)
    yield f"{thing}"
    yield pprint.pformat(thing)
    if hasattr(thing, "__dict__"):
        yield repr(vars(thing))
        yield pprint.pformat(vars(thing))
    for name in getattr(type(thing), "__slots__", ()):
        if (type(thing).__name__, name) not in _MUST_HOLD:
            yield repr(getattr(thing, name, None))


#: The attributes that hold a true value, and that no text about the whole object shows.
_MUST_HOLD = {("Token", "access_token"), ("Token", "extra"), ("Secret", "_source")}


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and all errors that led to it, also those that a traceback does not print."""
    waiting, seen = [error], set()
    while waiting:
        one = waiting.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += [one.__cause__, one.__context__]


def all_of(error: BaseException) -> Iterator[str | bytes]:
    """Yield everything that an error can show."""
    for one in chain(error):
        yield from looks(one)
        yield repr(one.args)
    for with_locals in (False, True):
        trace = traceback.TracebackException.from_exception(error, capture_locals=with_locals)
        yield "".join(trace.format())
    yield pickle.dumps(error)
    response = getattr(error, "response", None)
    if response is not None:
        yield from everything_of(response)


def everything_of(response: requests.Response) -> Iterator[str | bytes]:
    yield from looks(response)
    yield from looks(response.headers)
    yield from looks(response.cookies)
    yield from (response.content, response.text, str(response.reason), str(response.url))
    yield repr(response.history)
    yield pickle.dumps(response)
    if response.request is not None:
        yield from everything_sent(response.request)


def everything_sent(request: Any) -> Iterator[str | bytes]:
    yield from looks(request)
    yield from looks(request.headers)
    yield from looks(request.hooks)
    yield from (looks(dict(request.headers.items())))
    # Not `str` and `format` of a value: what writes headers gets the true one, as from requests.
    yield from map(repr, request.headers.values())
    yield str(request.body)
    yield pickle.dumps(request)


def assert_clean(*parts: Iterable[str | bytes]) -> None:
    for part in parts:
        for text in part:
            assert not leaks(text), text


@pytest.fixture
def oauth_server() -> Iterator[AuthorizationServer]:
    with AuthorizationServer(CLIENT, SECRET) as server:
        tokens = iter(TOKENS)
        server.make_token = lambda: next(tokens)
        yield server


class Log:
    """Everything that is logged at any level, except in the threads of the servers."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.names: set[str] = set()
        self.format = logging.Formatter("%(name)s %(message)s").format

    def note(self, record: logging.LogRecord) -> bool:
        if not str(record.threadName).startswith("loopback"):
            self.names.add(record.name)
            self.lines += [self.format(record), repr(record.args), repr(record.__dict__)]
        return False


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[Log]:
    kept, handler = Log(), logging.Handler(logging.NOTSET)
    handler.addFilter(kept.note)
    root = logging.getLogger()
    monkeypatch.setattr(root, "level", logging.DEBUG)
    # Each logger logs everything, whatever level it was set to.
    for name in (*logging.root.manager.loggerDict, "oauthlib", "requests_oauthlib", "requests"):
        if not name.startswith("hypothesis"):
            monkeypatch.setattr(logging.getLogger(name), "level", logging.DEBUG)
    root.manager._clear_cache()  # type: ignore[attr-defined]
    root.addHandler(handler)
    yield kept
    root.removeHandler(handler)
    monkeypatch.undo()
    root.manager._clear_cache()  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    skip_pauses(monkeypatch)


def test_only_the_folder_redaction_writes_what_takes_the_place_of_a_secret() -> None:
    root = Path(oauthcc.__file__).parent
    files = [path for path in root.rglob("*.py") if "***" in path.read_text(encoding="utf-8")]
    assert {path.parent for path in files} == {root / "redaction"}


# -- successful requests --------------------------------------------------------------------------


@pytest.mark.parametrize("client_auth", [ClientSecretBasic(), ClientSecretPost()])
def test_the_log_of_many_requests_has_neither_secret_nor_token(
    auth: AuthorizationServer, api: ProtectedAPI, log: Log, client_auth: Any
) -> None:
    auth.answer_next(faults.unavailable(retry_after=None), 1)
    with session_for(auth, client_auth=client_auth) as session:
        assert session.get(f"{api.url}/x").status_code == 200
        auth.revoke_all()
        assert session.post(f"{api.url}/x", data=b"body").status_code == 200
        auth.revoke_all()
        assert session.post(f"{api.url}/x", data=iter([b"body"])).status_code == 401
        session.get(f"{api.url}/redirect-to", params={"url": "/y"})
        session.get(f"{api.url.replace('127.0.0.1', 'localhost')}/x")
        api.refuse_next(2)
        session.get(f"{api.url}/x")
    assert len(auth.issued) >= 3
    assert {"oauthcc", "urllib3.connectionpool"} <= log.names
    assert_clean(log.lines)


def test_the_repr_of_no_object_shows_a_secret_or_token(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    events = SeenEvents()
    with session_for(auth, on_event=events) as session:
        session.get(f"{api.url}/x")
        events.first(TokenObtained)
        auth.revoke_all()
        response = session.get(f"{api.url}/redirect-to", params={"url": "/y"})
        source, pauses = session.tokens, pauses_of(session.tokens)
        route = Route("GET", None, api.url)
        refusal = Refusal(held_by(source), route, 0.0)
        pauses.record(route, 1, is_forced=True)
        own = ClientCredentialsAuth(auth.token_url, CLIENT, SECRET)
        prepared = requests.Request("GET", f"{api.url}/x", auth=own).prepare()
        for thing in (
            session,
            source,
            source.endpoint,
            source.endpoint.adapters,
            source._config,
            source._config.client_secret,
            source._config.client_auth,
            source.get(),
            fetcher_of(source),
            state_of(source),
            held_by(source),
            refusal,
            pauses,
            flight_of(source),
            own,
            own.tokens,
            *events,
        ):
            assert_clean(looks(thing))
        for answer in (response, *response.history):
            assert_clean(everything_of(answer), everything_sent(answer.request))
        for hook in (*response.request.hooks["response"], *prepared.hooks["response"]):
            assert_clean(looks(hook))
        assert_clean(everything_sent(prepared))
    own.tokens.close()
    assert {type(event) for event in events} == {TokenObtained, RequestReplayed}


def test_pickles_of_answers_requests_and_events_contain_neither_secret_nor_token(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    events = SeenEvents()
    with session_for(auth, on_event=events) as session:
        first = session.get(f"{api.url}/x")
        auth.revoke_all()
        answers = [first, session.get(f"{api.url}/x"), session.post(f"{api.url}/x", json={})]
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            for thing in (answers, [answer.request for answer in answers], events):
                assert not leaks(pickle.dumps(thing, protocol))
        # The pickle of a session contains the secret, as its documentation says, but no token.
        of_session = pickle.dumps(session)
    assert SECRET.encode() in of_session
    assert not [n for n in leaks(of_session) if n not in spellings(SECRET)]
    again = pickle.loads(pickle.dumps(answers[1]))
    assert again.json() == answers[1].json()
    assert again.request.headers["Authorization"] == "Bearer ***"


def test_an_error_of_the_api_shows_no_token(
    auth: AuthorizationServer, api: ProtectedAPI, log: Log
) -> None:
    broken = [
        status_line(f"4o1 Authorization: Bearer {TOKENS[0]}"),
        faults.garbage(f"{TOKENS[0]}\r\n\r\n".encode()),
        status_line("200 OK", f"Transfer-Encoding: chunked\r\n\r\n{TOKENS[0]}"),
        faults.reset(),
        faults.truncated(),
    ]
    with session_for(auth) as session:
        for fault in broken:
            api.answer_next(fault)
            with pytest.raises(requests.RequestException) as caught:
                session.get(f"{api.url}/x")
            assert_clean(all_of(caught.value))
            if caught.value.request is not None:
                assert_clean(everything_sent(caught.value.request))
    assert_clean(log.lines)
    assert len(auth.issued) == 1


def test_an_error_of_a_replay_shows_neither_token(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    with session_for(auth) as session:
        session.tokens.get()
        auth.revoke_all()
        api.answer_next(Answer(401))
        api.answer_next(faults.garbage(f"Bearer {TOKENS[0]} Bearer {TOKENS[1]}\r\n\r\n".encode()))
        with pytest.raises(requests.ConnectionError, match=r"\*\*\*.*\*\*\*") as caught:
            session.get(f"{api.url}/x")
        assert_clean(all_of(caught.value))
        assert len(auth.issued) == 2


def test_errors_of_the_api_that_quote_no_token_are_left_as_they_are(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    with session_for(auth) as session:
        api.answer_next(faults.garbage(b"no token here\r\n\r\n"))
        with pytest.raises(requests.ConnectionError) as caught:
            session.get(f"{api.url}/x")
        assert isinstance(caught.value.args[0], Exception)
        assert caught.value.__context__ is not None


def test_an_event_shows_no_token_that_the_api_put_into_a_path() -> None:
    net, events = Internet(), SeenEvents()
    with ClientCredentialsSession(TOKEN_URL, CLIENT, SECRET, on_event=events) as session:
        session.mount("https://", net)
        for body in (None, iter([b"once"])):
            session.tokens.get()
            path = f"https://api.example/{quote(net.tokens[-1], safe='')}"
            net.redirect("https://api.example/start", path)
            net.pages[path] = 401, {}, b""
            if body is None:
                session.get("https://api.example/start")
            else:
                session.post(path, data=body)
            session.tokens.forget()
    of_requests = [event for event in events if not isinstance(event, TokenObtained)]
    assert {type(event) for event in of_requests} == {RequestReplayed, ReplayImpossible}
    for event in of_requests:
        assert "https://api.example/***" in repr(event)


# -- errors at the token endpoint -----------------------------------------------------------------

ECHO = " | ".join([SECRET, quote_plus(SECRET), f"client_secret={quote(SECRET, safe='')}"])
LINE = ECHO.encode("utf-8").decode("latin-1")


def page(status: int, body: bytes, kind: str = "application/json", **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, {"Content-Type": kind, **named}, body)


def error_page(status: int = 400, /, **members: Any) -> Answer:
    return page(status, json.dumps(members).encode())


def status_line(line: str, rest: str = "") -> Fault:
    return faults.garbage(f"HTTP/1.1 {line}\r\n{rest}\r\n\r\n".encode())


JUNK = gzip.compress(ECHO.encode())
ECHOES: dict[str, Answer | Fault] = {
    "error": error_page(error=ECHO),
    "description": error_page(error="invalid_request", error_description=ECHO),
    "description in pieces": error_page(
        error="invalid_request", error_description="x" * 480 + ECHO
    ),
    "uri": error_page(error="invalid_request", error_uri=f"https://as.example/{quote(ECHO)}"),
    "another member": error_page(error="invalid_request", received={"headers": [ECHO]}),
    "a member's name": error_page(400, **{ECHO: "x"}),
    "a list": page(400, json.dumps([ECHO]).encode()),
    "a text": page(400, json.dumps(ECHO).encode()),
    "html": page(500, f"<p>{ECHO}</p>".encode(), "text/html"),
    "latin-1": page(500, ECHO.encode("latin-1"), "text/plain"),
    "utf-16": page(400, json.dumps({"error": ECHO}).encode("utf-16")),
    "content type": page(400, b"{}", f"text/{LINE}"),
    "a header": page(400, b"{}", X_Echo=LINE),
    "a challenge": page(401, b"{}", WWW_Authenticate=f'Basic realm="{LINE}"'),
    "a location": page(
        302, b"", Location=f"https://evil.example/{quote(ECHO)}?{quote(ECHO)}#{LINE}"
    ),
    "a raw location": page(307, b"", Location=f"https://evil.example/{LINE}"),
    "a cookie": page(400, b"{}", Set_Cookie=f'echo="{LINE}"; Path=/'),
    "a reason": status_line(f"400 {ECHO}", "Content-Length: 0"),
    "a good reason": status_line(f"200 {ECHO}", "Content-Length: 0"),
    "a bad status line": status_line(f"4o0 {ECHO}"),
    "no status line": faults.garbage(f"{ECHO}\r\n\r\n".encode()),
    "a chunk size": status_line("200 OK", f"Transfer-Encoding: chunked\r\n\r\n{ECHO}"),
    "a content length": status_line("200 OK", f"Content-Length: {ECHO}"),
    "a bad encoding": page(200, zlib.compress(ECHO.encode()), Content_Encoding="gzip"),
    "a good encoding": page(400, JUNK, "text/plain", Content_Encoding="gzip"),
    "a cut body": faults.truncated(ECHO.encode()),
    "a cut error": faults.truncated(json.dumps({"error": ECHO}).encode()),
    "a token answer": error_page(200, access_token="", error_description=ECHO, scope=[1, ECHO]),
    "a token type": error_page(200, access_token=TOKENS[0], token_type=ECHO),
    "a token beside an error": error_page(400, error="invalid_request", access_token=TOKENS[0]),
    "a token in html": page(500, f'"access_token": "{TOKENS[0]}"'.encode(), "text/html"),
    "a token with a line break": error_page(200, access_token=f"{TOKENS[0]}\r\nX-Y: z"),
    "a token with a null": error_page(200, access_token=f"{TOKENS[0]}\0"),
    "a retry": page(503, ECHO.encode(), Retry_After=LINE),
    "too much": page(200, ECHO.encode() * 20_000),
}


def also(echo: Answer | Fault, header: str) -> Answer | Fault:
    """Return an answer that echoes the header too."""
    if isinstance(echo, Fault):
        octets: list[bytes] = []

        class Line:
            def send(self, data: bytes) -> None:
                octets.append(data)

        echo.play(Line())  # type: ignore[arg-type]
        return faults.garbage(b"".join(octets).replace(b" | ", f" {header} | ".encode()))
    assert isinstance(echo.body, bytes)
    return Answer(
        echo.status,
        [(name, value.replace(" | ", f" {header} | ")) for name, value in echo.fields],
        echo.body.replace(b" | ", f" {header} | ".encode()),
    )


@pytest.mark.unmeasured
@pytest.mark.parametrize("where", ECHOES)
@pytest.mark.parametrize("client_auth", ["client_secret_basic", "client_secret_post"])
def test_no_error_shows_a_secret_that_the_server_echoes(
    auth: AuthorizationServer, api: ProtectedAPI, log: Log, where: str, client_auth: str
) -> None:
    shows_header = client_auth == "client_secret_basic"
    auth.answer_next(also(ECHOES[where], f"Basic {BASIC}") if shows_header else ECHOES[where], None)
    events = SeenEvents()
    with session_for(auth, client_auth=client_auth, on_event=events) as session:
        with pytest.raises(TokenError) as caught:
            session.get(f"{api.url}/x")
        # The second caller gets a copy of the remembered error.
        with pytest.raises(TokenError) as remembered:
            session.tokens.get()
        assert_clean(all_of(caught.value), all_of(remembered.value))
        events.first(RenewalFailed)
        for event in list(events):
            assert_clean(looks(event), [pickle.dumps(event)])
            assert isinstance(event, (RenewalFailed, RefusalRemembered))
            assert_clean(all_of(event.error))
        assert_clean(looks(state_of(session.tokens)))
    assert not api.requests
    assert_clean(log.lines)


# Nothing but its name says that this is a secret.
WORDS = "correct horse/battery"


KEY = (
    generate_key("ES256")
    .private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    .decode()
)


def _with_password(url: str, headers: Any, kwargs: Any) -> Any:
    return url, headers, {"data": {**kwargs["data"], "password": WORDS}}


def _with_keys(url: str, headers: Any, kwargs: Any) -> Any:
    return url, headers, {"data": json.dumps({"api_key": ["first", WORDS]})}


@pytest.mark.parametrize("place", ["query", "params", "form", "JSON", "resource", "claims"])
def test_no_error_shows_a_secret_that_was_sent_in_another_place(
    auth: AuthorizationServer, place: str
) -> None:
    echo = f"bad value {WORDS} in {quote(WORDS, safe='')}"
    url, hook = auth.token_url, _with_keys if place == "JSON" else _with_password
    query, options = f"?key={quote(WORDS, safe='')}", dict[str, Any]()
    if place == "query":
        url += query
    elif place == "resource":
        options = {"resource": f"https://api.example/{query}"}
    elif place == "claims":
        members: dict[str, Any] = {"headers": {"x-other": 1}, "claims": {"api_key": WORDS}}
        options = {"client_secret": None, "client_auth": PrivateKeyJWT(KEY, **members)}
    for answer in (
        error_page(error="invalid_request", error_description=echo),
        error_page(message=echo),
        page(500, f"<p>{echo}</p>".encode(), "text/xml"),
        page(400, b"{}", X_Echo=echo),
    ):
        auth.answer_next(answer, None)
        with session_for(auth, token_url=url, **options) as session:
            if place == "params":
                session.tokens.endpoint.params = {"subscription-key": WORDS}
            elif place in ("form", "JSON"):
                session.tokens.endpoint.register_compliance_hook("access_token_request", hook)
            with pytest.raises(TokenError) as caught:
                session.tokens.get()
        error = caught.value
        shown = [*looks(error), pickle.dumps(error), *everything_of(error.response)]
        assert_nowhere([WORDS, "battery"], shown)


@pytest.mark.parametrize(
    "error", [{"error": "x", "error_description": "..."}, {"a": [{"b": "..."}]}]
)
def test_no_error_shows_a_secret_between_whose_characters_there_are_tags(
    auth: AuthorizationServer, error: dict[str, Any]
) -> None:
    for text in (f"{SECRET[:9]}<wbr>{SECRET[9:]}", "<b></b>".join(SECRET)):
        quoted = json.dumps(f"bad secret {text} !")
        body = json.dumps(error).replace('"..."', quoted).encode()
        for answer in (page(400, body), page(400, f"<p>{text}</p>".encode(), "text/xml")):
            auth.answer_next(answer, 1)
            with session_for(auth) as session, pytest.raises(TokenError) as caught:
                session.tokens.get()
            it = caught.value
            shown = [*looks(it), pickle.dumps(it), *everything_of(it.response)]
            assert_clean(re.sub("<[^>]*>", "", str(one)) for one in shown)


LIVE = "eyJhbGciOiJIUzI1NiJ9.live-token.sig"
OPAQUE = "live-0paque~T0ken/1+2=="


def json_page(value: Any) -> Answer:
    return page(200, json.dumps(value).encode())


#: Answers that give a token under a name, or in a form, that RFC 6749 does not have.
UNUSUAL: dict[str, Callable[[str], Answer]] = {
    "accessToken": lambda t: json_page({"accessToken": t, "tokenType": "Bearer"}),
    "token": lambda t: json_page({"token": t}),
    "data": lambda t: json_page({"data": {"jwt": t}}),
    "Access_Token": lambda t: json_page({"Access_Token": t}),
    "any name": lambda t: json_page({"zzz": [{"y": t}], "error_description": f"issued {t}"}),
    "a name": lambda t: json_page({t: 1}),
    "a text of JSON": json_page,
    "a list": lambda t: json_page([{"access_token": t}, t]),
    "an object": lambda t: json_page({"access_token": {"value": t}}),
    "a copy": lambda t: json_page({"access_token": t, "token_type": "mac", "copy": t}),
    "the token type": lambda t: json_page({"access_token": t, "token_type": t}),
    "repeated": lambda t: page(200, b'{"access_token": "%b", "access_token": ""}' % t.encode()),
    "repeated with a copy": lambda t: page(
        200, b'{"a": {"token": "%b", "token": 1}, "error": "x %b"}' % (t.encode(), t.encode())
    ),
    "text": lambda t: page(200, t.encode(), "text/plain"),
    "a form": lambda t: page(200, f"access_token={quote(t)}".encode(), "text/plain"),
    "xml": lambda t: page(200, f"<r><accessToken>{t}</accessToken></r>".encode(), "text/xml"),
    "a header": lambda t: page(200, b"{}", X_Session=t),
    "a redirect": lambda t: page(302, b"", Location=f"https://as.example/cb/{quote(t, safe='')}"),
    "a refusal": lambda t: page(
        401, json.dumps({"error": "invalid_client", "accessToken": t, "copy": t}).encode()
    ),
    "behind Bearer": lambda t: error_page(400, error="x", error_description=f"Bearer {t} is odd"),
    "xml of an error": lambda t: page(
        401, f"<r><s:token xmlns:s='x'><![CDATA[{t}]]></s:token>{t}</r>".encode(), "text/xml"
    ),
    "html of an error": lambda t: page(500, f"<p>access_token: {t}</p> {t}".encode(), "text/html"),
}


# Not as parameters: the frames of the test are searched too.
UNKNOWN_TOKENS = {"jwt": LIVE, "opaque": OPAQUE}


def assert_nowhere(parts: Iterable[str], texts: Iterable[str | bytes]) -> None:
    forms = {form for part in parts for form in spellings(part)}
    for text in texts:
        octets = text if isinstance(text, bytes) else text.encode("utf-8", "replace")
        assert not [form for form in forms if form in octets], text


@pytest.mark.parametrize("kind", UNKNOWN_TOKENS)
@pytest.mark.parametrize("where", UNUSUAL)
def test_no_error_shows_a_token_under_whatever_name_it_was_given(
    auth: AuthorizationServer, log: Log, where: str, kind: str
) -> None:
    auth.answer_next(UNUSUAL[where](UNKNOWN_TOKENS[kind]), None)
    events = SeenEvents()
    with session_for(auth, on_event=events) as session:
        with pytest.raises(TokenError) as caught:
            session.tokens.get()
        shown = [*all_of(caught.value), *looks(events.first(RenewalFailed)), *log.lines]
    whole = UNKNOWN_TOKENS[kind]
    assert_nowhere([whole, whole[:12], whole[12:]], shown)


def test_the_error_of_a_bad_chunk_shows_nothing_that_the_server_sent(
    auth: AuthorizationServer,
) -> None:
    # http.client and urllib3 cut the line at the semicolon, in the middle of a secret.
    head = "Transfer-Encoding: chunked\r\n\r\nBearer "
    auth.answer_next(status_line("200 OK", f"{head}{SECRET[:9]};{LIVE}"), None)
    with session_for(auth) as session, pytest.raises(TokenError, match="InvalidChunk") as caught:
        session.tokens.get()
    assert SECRET[:9] not in str(caught.value)
    assert_nowhere([SECRET[:9], "eyJ"], looks(caught.value))


@pytest.mark.parametrize("where", ["a bad status line", "description", "a location"])
def test_the_event_of_a_failed_early_renewal_shows_no_secret(
    auth: AuthorizationServer, api: ProtectedAPI, log: Log, where: str
) -> None:
    events = SeenEvents()
    with session_for(auth, on_event=events) as session:
        session.get(f"{api.url}/x")
        shift_clocks(3000)
        auth.answer_next(ECHOES[where])
        assert session.get(f"{api.url}/x").status_code == 200
        event = events.first(RenewalFailed)
        assert event.why == "aging"
        assert_clean(looks(event), all_of(event.error))
    assert_clean(log.lines)


def test_an_error_has_no_frame_that_contains_the_secret(auth: AuthorizationServer) -> None:
    auth.answer_next(ECHOES["a bad status line"], None)
    with session_for(auth) as session:
        with pytest.raises(TokenError) as caught:
            session.tokens.get()
        for one in chain(caught.value):
            for frame, _ in traceback.walk_tb(one.__traceback__):
                assert not leaks(repr(frame.f_locals)), frame
    gc.collect()


def test_an_error_of_a_redirect_has_no_frame_that_contains_the_token(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    def fail(response: Response, **_: Any) -> None:
        if not response.is_redirect:
            response.close()
            raise RuntimeError("a hook")

    api.add_route("/loop", lambda _: faults.redirect("/loop"))
    api.add_route("/cut", lambda _: faults.redirect("/slow?seconds=20"))
    with session_for(auth) as session:
        for path in ("/loop", "/cut", "/redirect-to"):
            with pytest.raises((requests.RequestException, RuntimeError)) as caught:
                session.get(f"{api.url}{path}", timeout=1, hooks={"response": fail})
            assert frames_with_a_token(caught.value, auth) == []
    gc.collect()


@pytest.mark.parametrize("kind", [KeyError, ValueError, OSError, KeyboardInterrupt])
def test_what_interrupts_a_request_has_no_frame_that_contains_the_token(
    auth: AuthorizationServer, api: ProtectedAPI, kind: type[BaseException]
) -> None:
    def body() -> Iterator[bytes]:
        yield b"x"
        raise kind("a body, or a handler of a signal")

    with session_for(auth) as session:
        with pytest.raises((kind, requests.ConnectionError)) as caught:
            session.post(f"{api.url}/x", data=body())
        assert frames_with_a_token(caught.value, auth) == []


def test_an_error_of_tls_has_no_frame_that_contains_the_token(
    auth: AuthorizationServer, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    def send(*_: Any) -> int:
        raise ConnectionResetError("the connection is closed")

    tls = certificates.server_context()
    with ProtectedAPI(auth, tls=tls) as api, session_for(auth, trust_env=False) as session:
        session.verify = certificates.ca_bundle
        monkeypatch.setattr(ssl.SSLSocket, "send", send)
        with pytest.raises(requests.ConnectionError) as caught:
            session.get(f"{api.url}/x")
        assert frames_with_a_token(caught.value, auth) == []


def frames_with_a_token(error: BaseException, auth: AuthorizationServer) -> list[FrameType]:
    """Return the frames that contain a token, of an error and of all that led to it."""
    found = [frame for one in chain(error) for frame, _ in traceback.walk_tb(one.__traceback__)]
    assert auth.issued
    return [
        frame
        for frame in found
        if "/tests/" not in frame.f_code.co_filename
        and any(token in repr(frame.f_locals) for token in auth.issued)
    ]


def test_a_foreign_error_has_no_frames(auth: AuthorizationServer) -> None:
    class Broken(HTTPAdapter):
        def send(self, *args: Any, **kwargs: Any) -> Any:
            try:
                raise KeyError("first")
            except KeyError:
                raise RuntimeError("boom") from KeyError("second")

    with session_for(auth) as session:
        session.tokens.endpoint.mount("http://", Broken())
        with pytest.raises(TokenError, match=r"RuntimeError .*\(test_leaks.py, line") as caught:
            session.tokens.get()
    foreign = caught.value.__cause__
    assert str(foreign) == "boom"
    assert [one.__traceback__ for one in chain(foreign)] == [None] * 3
    assert_clean(all_of(caught.value))


def test_no_error_shows_the_query_of_the_token_url(auth: AuthorizationServer) -> None:
    url = f"{auth.token_url}?key={quote(SECRET, safe='')}"
    down = AuthorizationServer()
    with down:
        gone = down.token_url + f"?key={quote(SECRET, safe='')}"
    auth.answer_next(faults.html(500), None)
    for place in (url, gone):
        with pytest.raises(TokenError) as caught:
            fetch_token(place, CLIENT, "another-secret")
        assert_clean(looks(caught.value), traceback.format_exception(caught.value))
        assert_clean([pickle.dumps(caught.value)])
    with ClientCredentialsSession(url, CLIENT, "another-secret") as session:
        assert_clean([repr(session.tokens._config)], looks(state_of(session.tokens)))


def test_the_error_of_a_compliance_hook_shows_nothing_that_the_hook_got(
    auth: AuthorizationServer,
) -> None:
    def quotes_all(url: str, headers: Any, kwargs: Any) -> Any:
        raise KeyError(f"{headers} {kwargs}")

    def quotes_the_answer(response: requests.Response) -> requests.Response:
        raise KeyError(f"{response.request.headers} {response.request.body!r} {response.text}")

    for name, hook, method in (
        ("access_token_request", quotes_all, ClientSecretPost()),
        ("access_token_request", quotes_all, ClientSecretBasic()),
        ("access_token_response", quotes_the_answer, ClientSecretPost()),
        ("access_token_response", quotes_the_answer, ClientSecretBasic()),
    ):
        with session_for(auth, client_auth=method) as session:
            session.tokens.endpoint.register_compliance_hook(name, hook)
            with pytest.raises(requests.RequestException, match=f"{hook.__name__}.*KeyError") as it:
                session.tokens.get()
            assert_clean(all_of(it.value))


def test_no_error_quotes_a_header_that_cannot_be_sent(auth: AuthorizationServer) -> None:
    def breaks_the_line(url: str, headers: Any, kwargs: Any) -> Any:
        return url, {**headers, "X-Copy": headers["Authorization"] + "\r\nX: y"}, kwargs

    def not_latin(url: str, headers: Any, kwargs: Any) -> Any:
        return url, {**headers, "X-Copy": headers["Authorization"] + "\u20ac"}, kwargs

    for hook in (breaks_the_line, not_latin):
        events = SeenEvents()
        with session_for(auth, on_event=events) as session:
            session.tokens.endpoint.register_compliance_hook("access_token_request", hook)
            with pytest.raises(ConfigurationError, match="could not be made") as caught:
                session.tokens.get()
            assert_clean(all_of(caught.value))
            assert_clean(all_of(events.first(RenewalFailed).error))
            assert_clean(all_of(events.first(RefusalRemembered).error))


@pytest.mark.parametrize("value", [f"{WORDS}\n", f" {WORDS}", WORDS.encode() + b"\n", [WORDS]])
def test_no_error_quotes_a_header_of_the_caller_that_cannot_be_sent(
    auth: AuthorizationServer, value: Any
) -> None:
    for name in ("X-Api-Key", "X-Tenant"):
        with pytest.raises(ConfigurationError, match=r"could not be made.*[Hh]eader") as caught:
            fetch_token(auth.token_url, CLIENT, SECRET, headers={name: value})
        shown = [*looks(caught.value), "".join(traceback.format_exception(caught.value))]
        assert_nowhere([WORDS, "battery"], shown)


def test_a_remembered_error_does_not_show_the_token_that_it_was_to_replace(
    auth: AuthorizationServer,
) -> None:
    with session_for(auth) as session:
        session.tokens.get()
        auth.answer_next(faults.reset(), None)
        for _ in range(2):
            with pytest.raises(TokenError) as caught:
                session.tokens.renew()
            assert_clean(all_of(caught.value))
    assert len(auth.token_requests) == 1 + 3


def test_the_error_of_a_secret_callable_names_the_exception_and_has_it_as_cause() -> None:
    def vault() -> str:
        raise LookupError("the vault is sealed")

    with (
        ClientCredentialsSession(TOKEN_URL, CLIENT, vault) as session,
        pytest.raises(TokenError, match="LookupError") as caught,
    ):
        session.tokens.get()
    # The message of the callable's own exception is needed to debug the callable.
    assert isinstance(caught.value.__cause__, LookupError)
    assert_clean(all_of(caught.value))


@pytest.mark.parametrize("junk", ["{}\n", "{}\x00", "\ud800{}", "", 5, None, b"{}"])
def test_the_error_for_an_invalid_secret_does_not_quote_it(junk: Any) -> None:
    given = junk.format(SECRET) if isinstance(junk, str) else junk
    with ClientCredentialsSession(TOKEN_URL, CLIENT, lambda: given) as session:
        with pytest.raises(ConfigurationError) as caught:
            session.tokens.get()
        assert_clean(looks(caught.value), traceback.format_exception(caught.value))
    if given is not None:
        with pytest.raises(ConfigurationError) as caught:
            ClientCredentialsSession(TOKEN_URL, CLIENT, given)
        assert_clean(looks(caught.value))


@pytest.mark.parametrize(
    "misplaced",
    [
        {"token_url": SECRET},
        {"token_url": f"https://{CLIENT}:{quote(SECRET)}@as.example/token"},
        {"token_url": f"https://as.example/token#{SECRET}"},
        {"api_url": SECRET},
        {"api_url": f"https://me:{quote(SECRET)}@api.example"},
        {"issuer": f"https://me:{quote(SECRET)}@as.example", "token_url": None},
        {"client_auth": object()},
        {"renew_at": SECRET},
        {"refused_status": SECRET},
    ],
    ids=" ".join,
)
def test_the_error_for_a_secret_in_the_wrong_place_does_not_quote_it(
    misplaced: Any,
) -> None:
    options = {"token_url": TOKEN_URL, "client_id": CLIENT, "client_secret": SECRET, **misplaced}
    with pytest.raises(ConfigurationError) as caught:
        ClientCredentialsSession(**options)
    assert_clean(looks(caught.value), [repr(caught.value.args)])


def test_the_log_of_an_observer_that_raises_has_no_secret(
    auth: AuthorizationServer, api: ProtectedAPI, log: Log
) -> None:
    def broken(event: Event) -> None:
        raise RuntimeError(f"cannot store {event!r}")

    with session_for(auth, on_event=broken) as session:
        session.get(f"{api.url}/x")
        auth.revoke_all()
        session.get(f"{api.url}/x")
        auth.answer_next(ECHOES["description"], None)
        auth.revoke_all()
        assert session.get(f"{api.url}/x").status_code == 401
        flights_done()
    assert any("The on_event observer of client 'my id'" in line for line in log.lines)
    assert_clean(log.lines)


def test_retries_of_an_adapter_of_the_user_log_no_secret(
    auth: AuthorizationServer, log: Log
) -> None:
    retry = Retry(3, backoff_factor=0, status_forcelist=[503], allowed_methods=None)
    auth.answer_next(faults.unavailable(retry_after=None), None)
    with session_for(auth) as session:
        session.tokens.endpoint.mount("http://", HTTPAdapter(max_retries=retry))
        with pytest.raises(TokenError) as caught:
            session.tokens.get()
        assert_clean(all_of(caught.value))
    assert len(auth.token_requests) == 4
    assert_clean(log.lines)


# -- the wire -------------------------------------------------------------------------------------


def test_the_true_values_are_on_the_wire(auth: AuthorizationServer, api: ProtectedAPI) -> None:
    """Otherwise all tests above would pass for a library that sends nothing."""
    sent: Callable[[Any], str] = lambda seen: seen.headers["Authorization"]  # noqa: E731 - short
    with session_for(auth) as session:
        session.get(f"{api.url}/x")
    assert sent(auth.token_requests[0]) == f"Basic {BASIC}"
    assert sent(api.requests[0]) == f"Bearer {TOKENS[0]}"
    assert leaks(f"xx{BASIC}xx")
    assert leaks(f"xx{quote(SECRET)}xx")
