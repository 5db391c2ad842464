"""What keeps secrets and tokens out of texts: the header value, and `redact`."""

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

from oauthcc.redaction import SecretHeader, redact

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


def test_a_secret_that_contains_another_is_redacted_completely() -> None:
    assert redact("abc-abcdef", ["abc", None, "", "abcdef"]) == "***-***"


def test_a_text_without_secrets_is_not_changed() -> None:
    assert redact("nothing to hide", [None, ""]) == "nothing to hide"
    assert redact("nothing to hide", ["hidden"]) == "nothing to hide"
