"""What keeps secrets and tokens out of texts, errors and answers."""

from __future__ import annotations

import copy
import html
import json
import logging
import pickle
import pprint
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
import requests
import urllib3
from hypothesis import given
from hypothesis import strategies as st
from requests.utils import check_header_validity, to_native_string

from oauthcc.redaction import Redactor, SecretHeader, redact, redact_error

TOKEN = "a-very-secret-token"
VALUE = f"Bearer {TOKEN}"
URL = "https://api.example/orders"
SECRET = "s3cr3t:with/all%sorts+of &things"


# The header value


@pytest.fixture
def header() -> SecretHeader:
    return SecretHeader(VALUE)


def test_texts_and_logs_do_not_show_the_token_of_a_header(
    header: SecretHeader, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger(__name__).warning("sent %s and %r and %s", header, header, {"A": header})
    seen = [
        repr(header),
        str(header),
        f"{header}{header!s}{header!r}{header:>40}",
        "{}".format(header),  # noqa: UP032 - the other way to format
        "%s %r" % (header, header),  # noqa: UP031 - the same
        pprint.pformat({"Authorization": header}),
        repr(requests.structures.CaseInsensitiveDict(Authorization=header)),
        repr(ValueError(header)),
        str(ValueError(header)),
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
    assert header + "" == VALUE
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
    assert str(SecretHeader(value)) == shown


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


def test_a_secret_that_contains_another_is_redacted_completely() -> None:
    assert redact("abc-abcdef", ["abc", None, "", "abcdef"]) == "***-***"


def test_a_text_without_secrets_is_not_changed() -> None:
    assert redact("nothing to hide", [None, ""]) == "nothing to hide"
    assert redact("nothing to hide", ["hidden"]) == "nothing to hide"


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
