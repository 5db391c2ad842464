"""What keeps secrets and tokens out of texts, errors and answers."""

from __future__ import annotations

import copy
import gc
import html
import json
import logging
import pickle
import pprint
import re
import sys
import threading
from collections.abc import Callable, Iterator
from http.client import BadStatusLine, HTTPConnection
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import FrameType
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
import requests
import urllib3
from hypothesis import given
from hypothesis import strategies as st
from requests.utils import check_header_validity, to_native_string
from urllib3.exceptions import ProtocolError

from oauthcc import TokenError
from oauthcc.redaction import SecretHeader, answer, search, token_shapes
from oauthcc.redaction.answer import Redactor, redact_transport_error
from oauthcc.redaction.search import redact, redact_error
from oauthcc.token_request.response import Answer as TokenAnswer

TOKEN = "a-very-secret-token"
VALUE = f"Bearer {TOKEN}"
URL = "https://api.example/orders"
SECRET = "s3cr3t:with/all%sorts+of &things"


# The header value


@pytest.fixture
def header() -> SecretHeader:
    return SecretHeader(VALUE)


def test_the_repr_of_a_header_and_of_what_contains_it_does_not_show_the_token(
    header: SecretHeader, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger(__name__).warning("sent %r and %s", header, {"A": header})
    seen = [
        repr(header),
        f"{header!r}",
        "%r" % header,  # noqa: UP031 - another way to format
        pprint.pformat({"Authorization": header}),
        repr(requests.structures.CaseInsensitiveDict(Authorization=header)),
        str(requests.structures.CaseInsensitiveDict(Authorization=header)),
        repr(ValueError(header)),
        caplog.text,
    ]
    for text in seen:
        assert "secret" not in text
        assert "Bearer ***" in text


def test_programs_see_the_true_value_of_a_header(header: SecretHeader) -> None:
    assert header == VALUE
    assert hash(header) == hash(VALUE)
    assert {VALUE: 1}[header] == 1
    assert header.encode() == header.encode("latin-1") == VALUE.encode()
    assert header.split() == VALUE.split()
    assert header[7:] == TOKEN
    assert header + "" == "" + header == VALUE
    assert f"{header}" == f"{header!s}" == str(header) == format(header) == VALUE
    assert "%s" % header == "{}".format(header) == VALUE  # noqa: UP031, UP032
    assert f"{header:>40}" == f"{VALUE:>40}"
    assert type(str(header)) is str
    assert json.loads(json.dumps(header)) == VALUE
    values = [header] * 2
    assert ", ".join(values) == f"{VALUE}, {VALUE}"


def test_copies_keep_a_header_and_pickles_redact_it(header: SecretHeader) -> None:
    assert copy.copy(header) is header
    assert copy.deepcopy({"A": header})["A"] is header
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        octets = pickle.dumps(header, protocol)
        assert b"secret" not in octets
        copied = pickle.loads(octets)
        assert type(copied) is SecretHeader
        assert copied == "Bearer ***"
        assert repr(copied) == "'Bearer ***'"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("eyJhbGciOi.eyJqdGkiOi.c2ln", "***"),
        ("DPoP abc", "DPoP ***"),
        ("", "***"),
        ("a" * 40 + " b", "***"),
        ("secret: b", "***"),
        (" secret", "***"),
    ],
)
def test_only_the_name_of_a_scheme_is_shown(value: str, shown: str) -> None:
    assert repr(SecretHeader(value)) == repr(shown)


def test_a_header_passes_the_checks_of_requests_unchanged(header: SecretHeader) -> None:
    check_header_validity(("Authorization", header))
    assert to_native_string(header) is header  # type: ignore[no-untyped-call]
    request = requests.Request("GET", URL, headers={"Authorization": header}).prepare()
    assert request.headers["Authorization"] is header
    assert request.copy().headers["Authorization"] is header


@pytest.fixture
def echo() -> Iterator[str]:
    """Serve the value of Authorization that was received."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.headers["Authorization"].encode("latin-1")
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_the_true_value_is_sent(echo: str, header: SecretHeader) -> None:
    headers = {"Authorization": header}
    with requests.Session() as session:
        session.trust_env = False
        assert session.get(echo, headers=headers).text == VALUE
        prepared = requests.Request("GET", echo, headers=headers).prepare()
        assert session.send(prepared).text == VALUE
    with urllib3.PoolManager() as pool:
        assert pool.request("GET", echo, headers=headers).data == VALUE.encode()
        folded = urllib3.HTTPHeaderDict(headers)
        assert pool.request("GET", echo, headers=folded).data == VALUE.encode()
    connection = HTTPConnection(echo.split("/")[2])
    connection.request("GET", "/", headers=headers)
    with connection.getresponse() as response:
        assert response.read() == VALUE.encode()
    connection.close()


def test_a_pickled_response_holds_no_token(echo: str, header: SecretHeader) -> None:
    with requests.Session() as session:
        session.trust_env = False
        response = session.get(echo, headers={"Authorization": header})
    response._content = b""
    assert b"very-secret" not in pickle.dumps(response)
    assert b"very-secret" not in pickle.dumps(response.request)


# Texts


@pytest.mark.parametrize(
    "spelling",
    [
        SECRET,
        quote_plus(SECRET),
        quote(SECRET),
        quote(SECRET, safe=""),
        quote(SECRET, safe=":"),
        quote(SECRET, safe="").lower(),
        html.escape(SECRET),
        json.dumps(SECRET),
        SECRET.replace("/", r"\/"),
    ],
)
def test_a_secret_is_redacted_in_every_spelling(spelling: str) -> None:
    shown = redact(f"the response is <{spelling}>", [SECRET])
    assert shown.replace('"', "") == "the response is <***>"


@given(st.text(min_size=1), st.text(alphabet="-", max_size=3))
def test_a_secret_of_any_characters_is_redacted(secret: str, around: str) -> None:
    for spelling in (secret, json.dumps(secret)[1:-1], repr(secret)[1:-1], html.escape(secret)):
        hidden = redact(f"{around}{spelling}{around}", [secret])
        assert hidden.replace("***", "").strip("-") == ""
        assert "***" in hidden


def test_the_backslashes_of_a_secret_may_be_doubled() -> None:
    for quoted in ("a\\b", repr("a\\b"), repr(repr("a\\b")), quote("a\\b")):
        assert redact(quoted, ["a\\b"]).strip("'\"") == "***"


def test_the_backslashes_that_escape_the_ends_of_a_secret_are_hidden_too() -> None:
    for secret in ("\\end", "end\\", "\\end\\"):
        for spelling in (secret, repr(secret)[1:-1], json.dumps(secret)[1:-1]):
            assert redact(f"<{spelling}-{spelling}>", [secret]) == "<***-***>"


def test_an_escaped_backslash_at_the_end_of_a_secret_is_hidden_too() -> None:
    spellings = ("%5C", "%5c", "%255C", "\\x5c", "\\\\u005C", "&#92;", "&amp;bsol;", "&#x5c;")
    for backslash in spellings:
        assert redact(f"< long-end{backslash} >", ["long-end\\"]) == "< *** >", backslash


def test_what_is_between_two_secrets_in_one_escape_is_hidden_with_them() -> None:
    assert redact("value&amp;nosuch; more", ["value&"]) == "*** more"


def test_a_secret_with_thousands_of_escapes_is_found_if_it_is_unchanged() -> None:
    secret = "%" * 6000
    assert redact(f"<{secret}>", [secret]) == "***"
    assert redact("<%>", [secret]) == "<%>"


ENCODERS = [
    quote,
    quote_plus,
    lambda t: quote(t, safe=""),
    html.escape,
    lambda t: json.dumps(t)[1:-1],
    lambda t: json.dumps(t, ensure_ascii=False)[1:-1],
    lambda t: repr(t)[1:-1],
    lambda t: repr(t.encode())[2:-1],
    lambda t: t.encode().decode("latin-1"),
]


@given(
    st.text(
        st.characters(min_codepoint=33, max_codepoint=0x2FFF, exclude_categories=["Cs"]), min_size=8
    ),
    st.lists(st.sampled_from(ENCODERS), max_size=3),
)
def test_a_secret_is_redacted_in_any_encoding_of_any_encoding(
    secret: str, encoders: list[Callable[[str], str]]
) -> None:
    spelling = secret
    for encode in encoders:
        spelling = encode(spelling)
    assert redact(f"< {spelling} >", [secret]) == "< *** >"


def test_a_secret_that_contains_another_is_redacted_completely() -> None:
    assert redact("abc-abcdef", ["abc", None, "", "abcdef"]) == "***-***"


def test_a_text_without_secrets_is_not_changed() -> None:
    assert redact("nothing to hide", [None, ""]) == "nothing to hide"
    assert redact("nothing to hide", ["hidden"]) == "nothing to hide"


@pytest.mark.parametrize("before", ["", "%", "%4", "\\", "&", "&amp", "\\x", "text "])
@pytest.mark.parametrize(
    "secret", ["41abc/def%", "nab\\c/def&", "amp;a bc/def", "u0041/x=y", "lt;bcdef&"]
)
def test_what_is_before_and_behind_a_secret_does_not_hide_it_from_us(
    before: str, secret: str
) -> None:
    for spelling in (secret, quote(secret, safe=""), html.escape(secret), json.dumps(secret)[1:-1]):
        shown = redact(f"{before}{spelling}41;", [secret])
        assert "***" in shown
        assert secret not in shown
        assert not any(part in shown for part in ("abc", "bc/", "x=y", "x%3Dy", "bcd", "def"))


@pytest.mark.parametrize(
    "encode",
    [
        lambda t: quote(quote(t, safe=""), safe=""),
        lambda t: quote(json.dumps(t)[1:-1]),
        lambda t: json.dumps(html.escape(t))[1:-1],
        lambda t: html.escape(html.escape(quote(t))),
        lambda t: repr(t.encode())[2:-1],
        lambda t: repr(repr(t.encode())[2:-1])[1:-1],
        lambda t: "".join(f"&#{ord(c)};" for c in t),
        lambda t: "".join(f"&#x{ord(c):x};" for c in t),
        lambda t: "".join(f"%{octet:02x}" for octet in t.encode()),
        lambda t: "".join(f"\\u{ord(c):04x}" for c in t),
        lambda t: quote(t.encode().decode("latin-1")),
        lambda t: t.encode().decode("latin-1"),
    ],
)
def test_a_secret_is_redacted_in_one_encoding_around_another(encode: Any) -> None:
    secret = 's3cr3t:\u00fc/\u4e2d%41+&"x\\y'
    assert redact(f"the response is <{encode(secret)}>", [secret]) == "the response is <***>"


def test_characters_beyond_the_basic_plane_are_found_as_surrogates_too() -> None:
    secret = "key-\U0001f511-\U000e0001"
    for spelling in (json.dumps(secret)[1:-1], repr(secret)[1:-1], quote(secret)):
        assert redact(f"<{spelling}>", [secret]) == "<***>"


def test_an_escape_that_means_nothing_is_left_as_it_is() -> None:
    for text in (
        "100%",
        "a&b;",
        "&nosuch;",
        "&#9999999;",
        "&amp;nosuch;",
        "%zz",
        "a+b",
        "C:\\",
        "\xe0\x80\x80",
    ):
        assert redact(f"{text} s3cr3t%2Fx", ["s3cr3t/x"]) == f"{text} ***"


def test_a_text_with_thousands_of_escapes_is_hidden_completely() -> None:
    assert redact("%41" * 6000, ["secret"]) == "***"
    assert redact("%2F" * 6000 + "s", ["/" * 6000 + "s"]) == "***"
    assert redact("&#97;" + "a" * 6000, ["a"]) == "***"
    assert redact("%" + "25" * 100, ["secret"]) == "***"
    assert redact("a" * 6000, ["a"]) == "***" * 6000


def test_a_secret_of_a_few_characters_hides_no_more_than_itself() -> None:
    assert redact("a cat%20a", ["a"]) == "*** c***t%20***"


class Steps:
    """The number of bytecodes that run, and of characters that strings and patterns go through."""

    def __init__(self) -> None:
        self.count = 0

    def of(self, action: Callable[[], object]) -> int:
        self.count = 0
        before = sys.gettrace()
        profiled = sys.getprofile()
        gc.disable()  # what it calls would be counted
        sys.settrace(self._trace)
        sys.setprofile(self._profile)
        try:
            action()
        finally:
            gc.enable()
            sys.setprofile(profiled)
            sys.settrace(before)
        return self.count

    def _profile(self, frame: FrameType, event: str, called: Any) -> None:
        text = getattr(called, "__self__", None)
        if event == "c_call" and isinstance(text, (str, bytes)) and called.__name__ in WHOLE:
            self.count += len(text)

    def _trace(self, frame: FrameType, event: str, _: Any) -> Any:
        frame.f_trace_opcodes = True
        self.count += 1
        return self._trace


#: Methods that go through a whole text. `find` continues from where it has found something.
WHOLE = {"replace", "count", "split", "encode", "decode", "translate", "lower", "strip"}


class Counted:
    """A pattern that counts the characters that it is given."""

    def __init__(self, pattern: re.Pattern[str], steps: Steps) -> None:
        self._pattern, self._steps = pattern, steps

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._pattern, name)

        def counted(*args: Any) -> Any:
            text = args[1] if name == "sub" else args[0]
            begin = args[1] if name == "match" and len(args) > 1 else 0
            # A match of an escape ends after a few characters.
            self._steps.count += min(len(text), 50) if begin else len(text)
            return method(*args)

        return counted


SHAPES: dict[str, Callable[[int], tuple[bytes, str]]] = {
    "words": lambda n: (b"word and text " * (n // 14), "word and tex"),
    "one character": lambda n: (b"a" * n, "a" * (n // 4) + "b"),
    "percent signs": lambda n: (b"%" * n, "%" * (n // 2)),
    "backslashes": lambda n: (b"\\" * n, "\\" * (n // 2) + "x"),
    "percent 25": lambda n: (b"%25" * (n // 3), "%25" * (n // 6)),
    "escapes": lambda n: (b"word and text %41 " * (n // 18), "secret"),
    "random runs": lambda n: (b"a1b2c3d4e5f6g7h8 " * (n // 17), "secret"),
    "long token": lambda n: (json.dumps({"access_token": "%" * n}).encode(), "secret"),
    "strings": lambda n: (json.dumps(["word a"] * (n // 10)).encode(), "secret"),
    "tokens": lambda n: (
        json.dumps([{"access_token": f"t0ken-{i:05}"} for i in range(n // 34)]).encode(),
        "secret",
    ),
    "names": lambda n: (b"id_token " * (n // 9), "secret"),
    "repeated members": lambda n: (b'{%s"a":1}' % (b'"a":1,' * (n // 6)), "secret"),
}


@pytest.mark.unmeasured
@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("shape", SHAPES)
def test_twice_as_much_text_needs_twice_as_many_steps(
    monkeypatch: pytest.MonkeyPatch, shape: str, status: int
) -> None:
    steps = Steps()
    for module in (answer, search, token_shapes):
        for name, value in vars(module).copy().items():
            if isinstance(value, re.Pattern):
                monkeypatch.setattr(module, name, Counted(value, steps))
    # A pattern that is made while a text is redacted would be made of a secret.
    monkeypatch.setattr(re, "compile", None)
    counts = []
    for size in (2000, 4000, 8000, 16000):
        body, secret = SHAPES[shape](size)
        response = requests.Response()
        response.status_code, response.url, response._content = status, URL, body
        read = lambda r=response, s=secret: TokenAnswer(r, [s]).error(TokenError, "")  # noqa: E731
        plain = lambda b=body, s=secret: redact(b.decode(), [s])  # noqa: E731
        counts.append(steps.of(lambda read=read, plain=plain: (read(), plain())))
    # Eight times as much text. A quadratic search would need 64 times as many steps.
    assert counts[-1] <= 20 * counts[0], counts


# Errors


def test_the_message_of_an_error_is_redacted_with_its_causes() -> None:
    error = requests.ConnectionError(f"broken: {TOKEN}")
    error.__cause__ = error.__context__ = ValueError(TOKEN)
    redact_error(error, [TOKEN])
    assert (str(error), error.__cause__, error.__context__) == ("broken: ***", None, None)


def test_an_error_without_a_token_keeps_its_arguments_and_cause() -> None:
    cause = ValueError("cause")
    error = requests.ConnectionError("broken", 7)
    error.__cause__ = cause
    redact_error(error, [TOKEN])
    assert (error.args, error.__cause__) == (("broken", 7), cause)


# The answer of a server

HEXADECIMAL = "36a5f02a3e5f47bad38c0a0899a862f35dfae159"


def answered(location: str | None = None) -> requests.Response:
    """Return an answer that quotes the secret and contains a token."""
    response = requests.Response()
    response.status_code, response.reason = 400, f"Bad {SECRET}"
    response.url = f"https://me:pw@as.example/{quote(SECRET, safe='')}?key=1"
    response.headers.update({"Set-Cookie": "sid=1", "X-Echo": SECRET})
    if location is not None:
        response.headers["Location"] = location
    prepared = requests.Request(
        "POST",
        "https://as.example/token?key=1",
        data={"client_secret": "the second", "other": "public"},
        headers={"Authorization": "Basic the-third", "Accept": "application/json"},
    ).prepare()
    response.request = prepared
    return response


def test_a_redacted_response_contains_no_secret_and_no_cookie() -> None:
    document = {"access_token": f" {TOKEN} ", "error": f"{TOKEN} the second the-third"}
    original = answered(f"/next/{TOKEN}?key=1")
    redactor = Redactor([SECRET], original.request, document)
    response = redactor.response(original, json.dumps(redactor.document(document)))
    assert response.json() == {"access_token": "***", "error": "*** *** ***"}
    assert (response.status_code, response.reason) == (400, "Bad ***")
    assert response.url == "https://as.example/***"
    assert dict(response.headers) == {"X-Echo": "***", "Location": "https://as.example/next/***"}
    assert (response.request.method, response.request.url) == ("POST", response.url)
    assert dict(response.request.headers) == {
        "Accept": "application/json",
        "Content-Type": "application/x-www-form-urlencoded",
    }
    assert response.request.body is None
    assert TOKEN.encode() not in pickle.dumps(response)


@pytest.mark.parametrize("location", [None, "https://[half"])
def test_a_redirect_target_that_cannot_be_read_is_not_shown(location: str | None) -> None:
    redactor = Redactor([], None, None)
    assert redactor.location(answered(location)) == "<unreadable URL>"


def test_members_that_are_named_like_a_token_are_redacted_at_any_depth() -> None:
    redactor = Redactor([SECRET], None, ["no object"])
    nested = [{"a": {"id_token": 7, SECRET: "text"}}, 5, None, 'refresh_token="unknown"']
    assert redactor.document(nested) == [
        {"a": {"id_token": "***", "***": "text"}},
        5,
        None,
        'refresh_token="***"',
    ]
    assert redactor.content("<access_token>unknown</access_token>").count("unknown") == 0


def shown(value: Any, *, may_contain_token: bool = False) -> Any:
    return Redactor([], None, value, may_contain_token=may_contain_token).document(value)


OPAQUE = "5f8c2e1b9a7d4c3e8f6a1b2c"


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("The client is unknown.", "The client is unknown."),
        ("Bearer authentication is required", "Bearer authentication is required"),
        ('Bearer realm="api", error="invalid_token"', 'Bearer realm="api", error="invalid_token"'),
        ("Trace ID: 6c6d1f34-a0b1-4c2d-9e8f-1234567890ab.", None),
        ("AADSTS7000215: Invalid client secret provided.", None),
        ("org.springframework.security.oauth2.common.InvalidClientException", None),
        ("see https://login.example/common/oauth2/v2.0/errors?code=17", None),
        ("/usr/lib/python3.11/site-packages/server/token.py, line 7", None),
        ("der Schlüssel für den Zugriff ist ungültig geworden", None),
        (f"no such token {OPAQUE}!", "no such token ***!"),
        ("token eyJhbGciOiJIUzI1NiJ9.live-token.sig is old", "token *** is old"),
        ("Authorization: Bearer Tok-7", "Authorization: Bearer ***"),
        ("Bearer%20Tok-7", "Bearer%20***"),
        (f"at https://as.example/cb?x={OPAQUE}", "at https://as.example/cb?***"),
        ("a" * 40, "***"),
        ("7" * 30, "***"),
        ("AywaNcYtysL76ZROvWLqlDcTajbeKnVAS", "***"),
        (f"{OPAQUE[:9]}\u200b{OPAQUE[9:]}", "***"),
        ("TsxnB2S_hGytYgUjApAZKYFXUZRD\x00TD794f7Gh2", "***"),
        ("TsxnB2S_hGytYgUjApAZKYFXUZRD\x7fTD794f7Gh2", "***"),
        ("530687810566\x00535965609370", "***"),
        ("478367271922931168%0A066094", "***"),
        ("20041838909826413_7055059", "***"),
        ("wMfKnLylkNJdyzZLZNEIY5", "***"),
        ("T0ken-1.of~this+test/==", "***"),
    ],
)
def test_a_text_of_an_error_keeps_what_helps_and_nothing_that_looks_like_a_token(
    text: str, seen: str | None
) -> None:
    expected = text if seen is None else seen
    assert Redactor([], None, None).content(text) == expected


def test_an_answer_that_may_contain_a_token_keeps_structure_and_words_only() -> None:
    value = {
        "error": f"invalid client {OPAQUE}",
        "error_description": "No such client at as.example",
        "expires_in": 3600,
        "active": True,
        "nothing": None,
        "empty": "",
        "other": "word",
        "data": [{"jwt": OPAQUE}, 7.5, 12345678901234567890],
        OPAQUE: "x",
        "token_type": "mac",
        "scope": ["a", "b"],
    }
    assert shown(value, may_contain_token=True) == {
        "error": "invalid client ***",
        "error_description": "No such client at as.example",
        "expires_in": 3600,
        "active": True,
        "nothing": None,
        "empty": "",
        "other": "***",
        "data": [{"jwt": "***"}, 7.5, "***"],
        "***": "***",
        "token_type": "mac",
        "scope": ["a", "b"],
    }
    assert shown(OPAQUE, may_contain_token=True) == "***"


def test_a_copy_of_a_token_under_another_name_is_hidden_too() -> None:
    value = {"copy": "live-token", "access_token": {"value": "live-token"}, "error": "live-token x"}
    for status in (True, False):
        seen = shown(value, may_contain_token=status)
        assert seen == {"copy": "***", "access_token": "***", "error": "*** x"}


def test_a_token_of_a_few_characters_hides_no_other_text() -> None:
    value = {"access_token": "a", "error": "a bad cat"}
    assert shown(value) == {"access_token": "***", "error": "a bad cat"}


def test_nothing_is_shown_of_an_answer_with_too_many_values_or_tokens() -> None:
    for value in (
        [7] * 6000,
        [{"access_token": f"token-{n}"} for n in range(9)],
        {"access_token": "%" * 20_000, "error": "words"},
    ):
        redactor = Redactor([], None, value)
        assert redactor.document(value) == "***"
        assert redactor.content("words") == "***"
    texts = ["%41" * 100] * 60
    assert shown(texts) == ["***"] * 60


def test_a_large_body_is_cut_after_it_is_redacted() -> None:
    redactor = Redactor([SECRET], None, None)
    for length in range(32_700, 32_800):
        text = ("x " * length)[:length] + SECRET + " y" * 10
        seen = redactor.body(text)
        assert set(seen) <= set("x *y")
    seen = redactor.body("word " * 50_000 + SECRET)
    assert len(seen) < 33_000
    assert seen.endswith("word ***")
    assert redactor.document(["word " * 50_000, "more"])[1] == "***"


def test_a_text_is_not_shown_if_it_may_be_a_token() -> None:
    redactor = Redactor([], None, None, may_contain_token=True)
    assert (redactor.body("a text"), redactor.body(" \r\n")) == ("***", "")


def test_a_token_with_a_name_in_a_text_is_hidden_without_its_name_too() -> None:
    redactor = Redactor([], None, None)
    assert redactor.body("<access_token>live-token</access_token> live-token") == (
        "<access_token>***</access_token> ***"
    )
    assert redactor.body('{"id_token": "ab\\u0000cd", ') == '{"id_token": "***", '
    known = Redactor(["s3cr3t/value"], None, None)
    assert known.body('id_token="s3cr3t" s3cr3t/val\u200bue') == "***"
    many = " ".join(f'id_token="live-{n}"' for n in range(9))
    assert redactor.body(many) == "***"


def test_a_secret_between_characters_that_may_be_dropped_is_hidden() -> None:
    redactor = Redactor(["s3cr3t/value"], None, None)
    for odd in ("\u200b", "\x00", "\n", "\\u200b", "%00", " "):
        for at in (1, 6, 7, 11):
            text = "s3cr3t/value"[:at] + odd + "s3cr3t/value"[at:]
            assert redactor.content(f"see {text}") == "***"
    assert redactor.content("% " + "25 " * 100) == "***"  # too many escapes arise
    redactor_of_percent = Redactor(["s3cr%  84t\u00fc/value"], None, None)
    for text in (
        "s3cr%\n 84t\u00fc/value",
        "s3cr%  84t\\u00\\nfc/value",
        "s3\u200bcr%  84t\u00fc/value",
    ):
        assert redactor_of_percent.content(f"see {text}") == "***"
    assert redactor.document(["one", "s3cr\x003t/value"]) == ["one", "***"]
    redactor_of_an_escape = Redactor(["Z9on@%A C8''Rpr tq"], None, None)  # it arises in the secret
    assert redactor_of_an_escape.content("Z9on@%A C8&#x27;&#x27 ;Rpr tq") == "***"


def test_a_long_header_is_hidden_completely() -> None:
    original = answered("/" + "x/" * 600)
    original.headers["X-Long"] = "word " * 300
    original.headers["X-Auth-Token"] = "live"
    headers = Redactor([SECRET], None, None).response(original, "").headers
    assert headers["X-Long"] == headers["X-Auth-Token"] == "***"
    assert headers["Location"] == "<unreadable URL>"


def test_a_token_in_the_path_of_a_redirect_is_hidden() -> None:
    redactor = Redactor([SECRET], None, None)
    seen = redactor.location(answered(f"https://as2.example:8443/cb/{OPAQUE}/x"))
    assert seen == "https://as2.example:8443/cb/***/x"
    assert redactor.location(answered("/a/" + SECRET[:8] + "\x00" + SECRET[8:])) == (
        "<unreadable URL>"
    )


@pytest.mark.parametrize(
    ("status", "segment", "shown"),
    [
        (302, "tenant-42-europe", "tenant-42-europe"),
        (302, "aBcDeFgh%C3%A2%C2%80%C2%8BiJkL", "***"),
        (302, "my%20company/caf%C3%A9-paris", "my%20company/caf%C3%A9-paris"),
        (302, "gFEyvDsCcljgh/Ruu7MUwAwFgjPAOFOf9NiMiMd8cJ==", "***/***"),
        (302, "o/8e3b737433c99ee12e42/12b48351e600/token", "o/***/***/token"),
        (302, "200418389098264137_055059", "***"),
        (302, "cb/5wqXBq6bhQ7bD,kM2ME32TK", "cb/***"),
        (
            302,
            "72f988bf-86f1-41af-91ab-2d7cd011db47/oauth2/v2.0/authorize",
            "72f988bf-86f1-41af-91ab-2d7cd011db47/oauth2/v2.0/authorize",
        ),
        (201, "tenant-42-europe", "***"),
        (201, "abcdefgh\u200bijkl", "***"),
        (201, "orders", "orders"),
    ],
)
def test_a_location_beside_a_token_shows_no_part_of_it(
    status: int, segment: str, shown: str
) -> None:
    original = answered(f"https://as.example/v1/{segment}")
    original.status_code = status
    redactor = Redactor([], None, None, may_contain_token=True)
    assert redactor.location(original) == f"https://as.example/v1/{shown}"


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(
    ("host", "shown"),
    [
        (HEXADECIMAL, "***"),
        (f"cb.{HEXADECIMAL}.example:8443", "cb.***.example:8443"),
        ("123456789012345678901234.example", "***.example"),
        ("dev-12345678.login.eu-west-1.example", "dev-12345678.login.eu-west-1.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("[2001:db8::1]:8443", "[2001:db8::1]:8443"),
    ],
)
def test_a_host_of_a_location_that_looks_like_a_token_is_hidden(
    host: str, shown: str, strict: bool
) -> None:
    redactor = Redactor([], None, None, may_contain_token=strict)
    original = answered(f"https://{host}/cb")
    assert redactor.location(original) == f"https://{shown}/cb"
    original.url = f"https://{host}/token"  # that of the server itself is known
    assert redactor.location(original) == f"https://{host}/cb"


def test_a_transport_error_does_not_show_what_the_server_sent() -> None:
    for error in (
        BadStatusLine(f"HTTP/1.1 4o0 {OPAQUE}"),
        ProtocolError(
            "Connection broken",
            ValueError(f"invalid literal for int() with base 16: {SECRET[:7]!r}"),
        ),
    ):
        text = redact_transport_error(requests.ConnectionError(error), [SECRET, None], None)
        assert OPAQUE not in text
        assert SECRET[:7] not in text
    text = redact_transport_error(OSError(2, "No such file", "/no/such/ca.pem"), [], None)
    assert "/no/such/ca.pem" in text


def test_a_secret_is_redacted_if_it_was_decoded_as_latin_1() -> None:
    assert Redactor(["sécret"], None, None).text("sécret".encode().decode("latin-1")) == "***"


def test_an_answer_without_a_request_is_redacted() -> None:
    original = requests.Response()
    original.request = None  # type: ignore[assignment]  # as some adapters leave it
    response = Redactor([SECRET], original.request, None).response(original, SECRET)
    assert response.text == "***"
    assert (response.reason, response.url, response.request.method) == (
        "",
        "<unreadable URL>",
        None,
    )


def test_a_text_with_too_many_escapes_in_one_another_is_hidden() -> None:
    redactor = Redactor(["s3cr3t/value"], None, None)
    assert redactor.content("see " + "%25" * 6000) == "***"
    # The characters that may be dropped hide escapes, until they are dropped.
    assert redactor.content("see &\u200b" + "amp;" * 60 + "lt;") == "***"
