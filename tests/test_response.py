"""Tests of reading an answer of the token endpoint: it is a valid token or one of our errors."""

from __future__ import annotations

import base64
import copy
import importlib
import json
import pickle
import re
import string
import sys
import traceback
from collections.abc import Callable, Sequence
from datetime import timedelta
from email.utils import formatdate
from time import time
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
import requests
from hypothesis import example, given, settings
from hypothesis import strategies as st
from oauthlib.oauth2 import BackendApplicationClient

from oauthcc import ClientCredentialsSession
from oauthcc.access_token import Token
from oauthcc.errors import (
    InvalidTokenResponse,
    TokenEndpointUnavailable,
    TokenError,
    TokenRequestDenied,
)
from oauthcc.schemes import Bearer
from oauthcc.token_request.response import Answer, read_token, retry_after
from tests.fuzz.urls import steps
from tests.inside import forget_warnings
from tests.json_values import nested

URL = "https://as.example/tenant/token"
SECRET = "s3cr3t%f/ür:mich+"
TOKEN = "eyJ0eXAiOiJKV1QifQ.payload.signature"
GOOD = {"access_token": TOKEN, "token_type": "Bearer", "expires_in": 3600}
JSON = {"Content-Type": "application/json"}
BASIC = "Basic bXktaWQ6czNjcjN0"


def shortened(value: object) -> str:
    """Return an id for a parameter that may be very long."""
    return repr(value)[:40]


def in_an_error(response: requests.Response, secrets: Sequence[str] = ()) -> requests.Response:
    """Return the response as an error shows it."""
    return Answer(response, secrets).error(TokenError, "").response


def answered(body: Any = b"", status: int = 200, headers: Any = None) -> requests.Response:
    response = requests.Response()
    response.status_code, response.url = status, f"{URL}?tenant=blue"
    response._content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response.headers.update(JSON if headers is None else headers)
    response.request = requests.Request(
        "POST",
        "https://user:pw@as.example/tenant/token?tenant=blue",
        data={"grant_type": "client_credentials", "client_secret": "of-the-body"},
        headers={"DPoP": "a.proof.here", "Cookie": "sid=biscuit"},
    ).prepare()
    response.request.headers["Authorization"] = BASIC
    return response


def read(response: requests.Response, **changes: Any) -> Token:
    asked = {
        "parse": BackendApplicationClient("me", scope="a b").parse_request_body_response,
        "asked_at": 1000.0,
        "scope": "a b",
        "accepts": Bearer().accepts,
        "scheme_name": "Bearer",
        "secrets": [SECRET],
    }
    return read_token(response, **{**asked, **changes})


def fault(response: requests.Response, kind: type[TokenError], **changes: Any) -> TokenError:
    with pytest.raises(TokenError) as caught:
        read(response, **changes)
    error = caught.value
    assert type(error) is kind
    assert error.__cause__ is error.__context__ is None
    assert error.status_code == response.status_code
    assert error.request is error.response.request
    return error


def shown_by(error: TokenError) -> str:
    """Return every text that an error can show."""
    trace = "".join(traceback.format_exception(error))
    pickled = pickle.dumps(error, protocol=0).decode("raw_unicode_escape")
    copied = pickle.loads(pickle.dumps(error))
    seen = [trace, pickled, str(error), repr(error), repr(vars(error)), repr(error.args)]
    for each in (error, copied):
        response = each.response
        seen += [response.text, repr(response.headers), response.reason, response.url]
        seen += [repr(vars(response)), repr(vars(response.request))]
    return "\n".join(seen)


# A valid token


def test_an_ordinary_answer_becomes_a_token():
    token = read(answered({**GOOD, "scope": "a"}))
    assert token == Token(TOKEN, "Bearer", 1000.0, 4600.0, "a")
    assert token.extra == {}


@pytest.mark.parametrize(
    ("given", "lifetime"),
    [
        (3600, 3600),
        (3600.5, 3600.5),
        ("3600", 3600),
        ("3600.0", 3600),
        (" 60 ", 60),
        (0, 0),
        ("0", 0),
        (-5, -5),
        ("-5", -5),
        (316_224_000, 316_224_000),
        (316_224_001, None),
        (-316_224_001, None),
        (1_900_000_000, None),
        (10**400, None),
        ("9" * 20, None),
        ("9" * 100_000, None),
        (float("nan"), None),
        (float("inf"), None),
        ("nan", None),
        ("1e3", None),
        ("1_000", None),
        ("٣٦٠٠", None),
        ("soon", None),
        ("", None),
        (None, None),
        (True, None),
        ([3600], None),
        ({"seconds": 1}, None),
    ],
    ids=shortened,
)
def test_every_lifetime_is_read_or_unknown(given, lifetime):
    token = read(answered({**GOOD, "expires_in": given}))
    assert token.lifetime == lifetime
    assert token.expires_at == (None if lifetime is None else 1000.0 + lifetime)
    assert token.to_dict() == Token.from_dict(token.to_dict()).to_dict()


@pytest.mark.parametrize(
    "literal",
    ["9" * 5000, "-" + "9" * 5000, "1e999", "-1e999", "NaN", "Infinity", "-Infinity"],
    ids=shortened,
)
def test_a_number_that_is_not_json_or_too_large_is_unknown(literal):
    body = f'{{"access_token": "{TOKEN}", "expires_in": {literal}, "other": [{literal}]}}'
    token = read(answered(body.encode()))
    assert (token.expires_at, token.extra) == (None, {"other": [None]})


@pytest.mark.parametrize(
    "given",
    [
        1,
        1_900_000_000.5,
        "2027-01-01T00:00:00Z",
        "1900000000",
        "",
        None,
        True,
        {"at": [1]},
        "\ud800",
    ],
)
def test_an_expires_at_is_kept_unchanged_and_not_used(given):
    token = read(answered({"access_token": TOKEN, "expires_at": given}))
    assert (token.expires_at, token.extra) == (None, {"expires_at": given})
    token = read(answered({**GOOD, "expires_at": given}))
    assert (token.expires_at, token.extra) == (4600.0, {"expires_at": given})
    stored = Token.from_dict(json.loads(json.dumps(token.to_dict())))
    for other in (stored, pickle.loads(pickle.dumps(token)), copy.deepcopy(token)):
        assert (other, other.extra) == (token, {"expires_at": given})
    assert "2027" not in repr(token)


def lifetime_noted(caplog, given, **options):
    """Return what is written to the log about a lifetime, once."""
    caplog.clear()
    forget_warnings()
    for _ in range(3):
        read(answered({**GOOD, "expires_in": given}), **options)
    [*messages] = [record.getMessage() for record in caplog.records]
    assert len(messages) <= 1
    return "".join(messages)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (31_622_401, "31622401 seconds, which is more than a year."),
        ("86400000", "86400000 seconds, which is more than a year."),
        (86_400_000.5, "86400000 seconds, which is more than a year."),
        (316_224_000, "316224000 seconds, which is more than a year."),
        (316_224_001, "316224001 seconds, which is not used."),
        ("3600000000", "3600000000 seconds, which is not used."),
        (1_900_000_000_000, "1900000000000 seconds, which is not used."),
        (-316_224_001, "-316224001 seconds, which is not used."),
        (10**290, "very many seconds, which is not used."),
        (1e300, "very many seconds, which is not used."),
        ("9" * 20, "very many seconds, which is not used."),
    ],
    ids=shortened,
)
def test_a_lifetime_far_beyond_a_year_is_in_the_log_once(given, shown, caplog):
    message = lifetime_noted(caplog, given)
    assert message == (
        f"The token of {URL} has an expires_in of {shown} If these are milliseconds, divide the"
        " number by 1000 in a hook: session.tokens.endpoint.register_compliance_hook("
        '"access_token_response", hook).'
    )


@pytest.mark.parametrize(
    "given",
    [
        0,
        -5,
        3600,
        3_600_000,
        31_622_400,
        "31622400",
        None,
        True,
        "soon",
        "9" * 21,
        [1e12],
        {"a": 1e12},
    ],
    ids=shortened,
)
def test_nothing_is_logged_about_an_ordinary_lifetime_and_about_what_is_no_number(given, caplog):
    assert lifetime_noted(caplog, given) == ""


@pytest.mark.parametrize("given", [1234567890123, "1234567890123", 1234567890123.0])
def test_a_secret_in_the_place_of_a_lifetime_is_not_logged(given, caplog):
    message = lifetime_noted(caplog, given, secrets=["1234567890123"])
    assert "an expires_in of *** seconds" in message


@pytest.mark.parametrize(
    ("answer", "scope"),
    [
        ({}, "a b"),
        ({"scope": None}, "a b"),
        ({"scope": "a b"}, "a b"),
        ({"scope": "c"}, "c"),
        ({"scope": " b\t a  c "}, "b a c"),
        ({"scope": ["b", "a"]}, "b a"),
        ({"scope": []}, ""),
        ({"scope": ""}, ""),
    ],
)
def test_the_granted_scope_counts_and_another_one_than_requested_is_no_error(answer, scope):
    client = BackendApplicationClient("me", scope="a b")
    parse = client.parse_request_body_response
    assert read(answered({**GOOD, **answer}), parse=parse).scope == scope
    assert client.access_token == TOKEN


def test_the_scope_is_unknown_if_none_was_requested_and_none_is_named():
    assert read(answered(GOOD), scope=None).scope is None


@pytest.mark.parametrize(
    "given", ["Bearer", "bearer", "BearerToken", "", None, "Bearer ", " bearer\n", "\tBEARER", "  "]
)
def test_every_spelling_of_bearer_counts_as_bearer(given):
    assert read(answered({**GOOD, "token_type": given})).token_type == "Bearer"
    assert read(answered({"access_token": TOKEN})).token_type == "Bearer"


@pytest.mark.parametrize(
    "given", ["Application Access Token", "User Access Token", " User Access Token "]
)
def test_the_error_for_the_token_type_of_ebay_says_how_to_correct_it(given):
    error = fault(answered({**GOOD, "token_type": given}), InvalidTokenResponse)
    assert f"The token_type is {given.strip()!r}, as at eBay: call" in str(error)
    line = re.search(r"call (\S+?)\.(\w+)\(session\.tokens\.endpoint\) before", str(error))
    assert line is not None
    fix = getattr(importlib.import_module(line[1]), line[2])
    with ClientCredentialsSession(URL, "me", "secret") as session:
        fix(session.tokens.endpoint)
        [hook] = session.tokens.endpoint.compliance_hook["access_token_response"]
    assert read(hook(answered({**GOOD, "token_type": given.strip()}))).token_type == "Bearer"


def test_the_compliance_fix_of_ebay_is_not_named_if_the_scheme_is_another_one():
    response = answered({**GOOD, "token_type": "Application Access Token"})
    dpop = {"accepts": lambda given: given == "DPoP", "scheme_name": "DPoP"}
    assert "only DPoP can be used" in str(fault(response, InvalidTokenResponse, **dpop))


@pytest.mark.parametrize("given", ["dpop", " dpop "])
def test_a_token_of_the_requested_scheme_is_accepted(given):
    body = {**GOOD, "token_type": given}
    token = read(answered(body), accepts=lambda t: t.lower() == "dpop", scheme_name="DPoP")
    assert token.token_type == "DPoP"


def test_further_members_of_any_name_are_kept():
    names = ["self", "client", "__class__", "issued_at", "extra", "lifetime", "params", "state"]
    names += ["error_description", "mac_key", "refresh_token", "id_token", "old_scope"]
    names += ["", "\ud800"]
    members = {name: {"deep": [1, None, "x"]} for name in names}
    token = read(answered({**GOOD, **members}))
    assert dict(token.extra) == members
    with pytest.raises(TypeError):
        token.extra["self"] = 1  # type: ignore[index]


def test_the_repr_of_a_token_shows_no_token_of_the_answer():
    token = read(answered({**GOOD, "refresh_token": "r3fr3sh", "id_token": "1d"}))
    assert token.extra["refresh_token"] == "r3fr3sh"
    assert "r3fr3sh" not in repr(token)
    assert TOKEN not in repr(token)


@pytest.mark.parametrize("status", [200, 201, 202, 203, 206, 299])
@pytest.mark.parametrize("headers", [{}, {"Content-Type": "text/html"}, JSON])
def test_a_token_is_accepted_with_every_2xx_status_and_every_content_type(status, headers):
    assert read(answered(GOOD, status, headers)).access_token == TOKEN


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32-le", "latin-1"]
)
def test_json_in_any_unicode_encoding_and_in_latin_1_is_read(encoding):
    body = json.dumps({**GOOD, "name": "Zoë"}, ensure_ascii=False).encode(encoding)
    assert read(answered(body)).extra == {"name": "Zoë"}


def test_the_last_of_several_members_with_the_same_name_counts():
    body = f'{{"access_token": "first", "access_token": "{TOKEN}"}}'.encode()
    assert read(answered(body)).access_token == TOKEN


def test_an_answer_with_tens_of_thousands_of_values_is_not_read():
    body = json.dumps({**GOOD, "roles": [1] * 60_000}).encode()
    assert "cannot be read as JSON" in str(fault(answered(body), InvalidTokenResponse))


@pytest.mark.parametrize("nothing", [None, "", False, 0, [], {}])
def test_an_empty_error_member_is_no_error(nothing):
    assert read(answered({**GOOD, "error": nothing})).extra == {}


# A refusal


def test_a_refusal_has_the_error_members_of_the_answer():
    body = {
        "error": "invalid_client",
        "error_description": "No such client.",
        "error_uri": "https://as.example/help",
    }
    error = fault(
        answered(body, 401, {**JSON, "Retry-After": "7"}),
        TokenRequestDenied,
        method="client_secret_basic",
    )
    assert (error.error, error.error_description) == ("invalid_client", "No such client.")
    assert (error.error_uri, error.retry_after) == ("https://as.example/help", 7.0)
    assert str(error) == (
        "The token request was refused: https://as.example/tenant/token answered 401 with"
        " invalid_client (No such client.). Check client_id, client_secret and the client"
        " authentication method (client_secret_basic was used)."
    )


@pytest.mark.parametrize("members", [{}, {"access_token": TOKEN}])
def test_an_error_with_status_200_is_a_refusal(members):
    error = fault(answered({"error": "invalid_scope", **members}), TokenRequestDenied)
    assert error.error == "invalid_scope"


@pytest.mark.parametrize("value", [7, ["x"], {"message": "no"}, True, "\n"])
def test_an_error_of_another_type_is_a_refusal_without_a_code(value):
    error = fault(answered({"error": value, "error_description": value}, 200), TokenRequestDenied)
    assert (error.error, error.error_description) == (None, None)


@pytest.mark.parametrize(
    ("body", "status", "scope", "advice"),
    [
        ({"error": "invalid_client"}, 400, "a", "authentication method."),
        (b"<html>", 401, "a", "Check client_id, client_secret"),
        ({"error": "Unauthorized"}, 401, "a", "Check token_url, client_id, client_secret"),
        ({"error": "access_denied"}, 401, "a", "Check client_id, client_secret"),
        ({"error": "access_denied"}, 403, "a", "Check what the server allows this client"),
        ({"error": "unauthorized_client"}, 401, "a", "client credentials grant"),
        ({"error": "unauthorized_client"}, 400, "a", "Check client_id and client_secret"),
        ({"error": "unsupported_grant_type"}, 400, "a", 'token_params={"grant_type": ...}'),
        ({"error": "invalid_scope"}, 400, "a b", "Check the scope: 'a b' was requested."),
        ({"error": "invalid_scope"}, 400, None, "No scope was requested"),
        ({"error": "server_error"}, 401, "a", "Check token_url, client_id, client_secret"),
        (
            {"error": "forbidden"},
            403,
            "a",
            "Check token_url, token_params, client_id, client_secret, and how the",
        ),
        ({"error": "temporarily_unavailable"}, 403, "a", "how the client is registered"),
        (b"Not here", 404, "a", "Check token_url"),
        ({"error": "invalid_target"}, 400, "a", "audience and resource"),
        (
            {"error": "home_made"},
            400,
            "a",
            "Check token_url, token_params, client_id, client_secret, and how the",
        ),
    ],
)
def test_a_refusal_says_what_to_check(body, status, scope, advice):
    assert advice in str(fault(answered(body, status), TokenRequestDenied, scope=scope))


@pytest.mark.parametrize("status", [400, 401, 404, 451])
@pytest.mark.parametrize("body", [b"", b"<html>", b"null", b"[]", b'"no"', b"{", b"{}", b"\xff"])
def test_a_refusal_without_json_names_status_and_content_type(status, body):
    error = fault(answered(body, status, {"Content-Type": "text/html; x=y"}), TokenRequestDenied)
    assert f"answered {status} with text/html and no error." in str(error)
    assert error.error is error.error_description is error.error_uri is None


def test_an_invalid_content_type_is_not_shown():
    error = fault(answered(b"", 400, {"Content-Type": "see you at\x07"}), TokenRequestDenied)
    assert "with an empty body and no error." in str(error)
    error = fault(answered(b"no", 400, {"Content-Type": "see you at\x07"}), TokenRequestDenied)
    assert "with content of no known type: no." in str(error)


def test_error_texts_are_filtered_and_cut():
    body = {
        "error": "odd\r\n\terror\x00",
        "error_description": 'Say "no"\\ to\x1b[31m Zoë ' + "xx " * 3333,
        "error_uri": "https://as.example/ \x00\"'\\é?q=1" + "&yyy" * 2500,
    }
    error = fault(answered(body, 400), TokenRequestDenied)
    assert error.error == "odd error?"
    assert error.error_description.startswith("Say 'no'? to?[31m Zo? xx xx")
    assert error.error_uri.startswith("https://as.example/''?q=1&yyy")
    assert len(error.error_description) == len(error.error_uri) == 500


def test_a_secret_in_error_texts_is_redacted_before_they_are_filtered_cut_or_joined():
    secrets = ["to-the-end", 'a"quoted\\one', "joined-later"]
    body = {
        "error": "joined\u00e9-later",
        "error_description": 'a"quoted\\one ' + "x " * 241 + "to-the-end",
        "error_uri": "joined\u00e9-later",
    }
    error = fault(answered(body, 400), TokenRequestDenied, secrets=secrets)
    assert error.error_description.startswith("*** x x")
    assert error.error_description.endswith("***")
    assert error.error_uri == "***"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, TokenRequestDenied),
        (302, InvalidTokenResponse),
        (400, TokenRequestDenied),
        (503, TokenEndpointUnavailable),
    ],
)
@pytest.mark.parametrize("between", [" ", "\n", "\u3000", "\\", '"'])
def test_an_error_uri_does_not_join_the_parts_of_a_token(between, status, kind):
    parts = ["36a5f02", "a3e5f47", "bad38c0", "a0899a8", "62f35df", "ae159"]
    body = {"error": "x", "error_uri": f"https://a.example/{between.join(parts)}"}
    error = fault(answered(body, status), kind)
    assert "36a5f02a3e5f" not in f"{error.error_uri} {vars(error)}"


def test_words_that_an_odd_space_divides_are_one_text():
    for space in ("\x85", "\u2028", "\u3000"):
        body = {"error": "x", "error_description": f"nhMyuyHLqklHp{space}RpvfbZlV3"}
        error = fault(answered(body, 200), TokenRequestDenied)
        assert "nhMyuyHLqklHp" not in str(error)


def test_a_standard_error_code_is_shown_even_if_a_secret_is_a_part_of_it():
    error = fault(
        answered({"error": "invalid_client"}, 401), TokenRequestDenied, secrets=["client"]
    )
    assert error.error == "invalid_client"


# An error in another shape


@pytest.mark.parametrize(
    ("body", "quoted"),
    [
        (
            {"errors": [{"code": "NOT.AUTHORIZED.ERROR", "message": "The client is not valid."}]},
            '{"errors": [{"code": "NOT.AUTHORIZED.ERROR", "message": "The client is not valid."}]}',
        ),
        (
            {"fault": {"faultstring": "Invalid ApiKey", "detail": {"code": "InvalidApiKey"}}},
            '{"fault": {"faultstring": "Invalid ApiKey", "detail": {"code": "InvalidApiKey"}}}',
        ),
        ({"message": "No such client."}, '{"message": "No such client."}'),
        (
            {"ErrorCode": "invalid_client", "Error": "ClientId is Invalid"},
            '{"ErrorCode": "invalid_client", "Error": "ClientId is Invalid"}',
        ),
        (
            {"error": {"code": 7, "message": "in\nside"}},
            '{"error": {"code": 7, "message": "in\\nside"}}',
        ),
        ({"data": {"error": {"why": [None, True]}}}, '{"data": {"error": {"why": [null, true]}}}'),
        ([{"message": "Zoë", "errorCode": "NO"}], '[{"message": "Zoë", "errorCode": "NO"}]'),
        (b'"no"', '"no"'),
        (
            b"<?xml version='1.0'?>\n<Error>\n <Code>Denied</Code><Text>No such client</Text>",
            "Denied No such client",
        ),
        (
            b"<s:Envelope xmlns:s='x'><s:Fault><text>Not &lt;here&gt;</text></s:Fault>",
            "Not &lt;here&gt;",
        ),
        (b"Unknown client\r\n\tat line 7\x1b[31m\x00", "Unknown client at line 7?[31m?"),
        ("Client gesperrt, Zoë".encode(), "Client gesperrt, Zoë"),
        ("Client gesperrt, Zoë".encode("latin-1"), "Client gesperrt, Zoë"),
    ],
    ids=shortened,
)  # fmt: skip
@pytest.mark.parametrize(
    ("status", "end"),
    [
        (
            400,
            (
                ". Check token_url, token_params, client_id, client_secret, and how the client is"
                " registered."
            ),
        ),
        (401, ". Check client_id, client_secret and the client authentication method."),
        (500, ". Try again later."),
    ],
)
def test_an_error_in_another_shape_is_quoted_on_one_line(body, quoted, status, end):
    kind = TokenEndpointUnavailable if status == 500 else TokenRequestDenied
    error = fault(answered(body, status, {"Content-Type": "application/x-any; a=b"}), kind)
    assert f"answered {status} with application/x-any: {quoted}{end}" in str(error)
    assert str(error).isprintable()


@pytest.mark.parametrize(
    "element",
    [
        "<access_token>{}</access_token>",
        "<access_token type='x'>{}</access_token>",
        "<access_token>\n <![CDATA[ {} ]]>\n</access_token>",
        "<s:AccessToken xmlns:s='x'>{}</s:AccessToken>",
        "<Token\n>{}</Token\n>",
        "<client-secret>{}</client-secret>",
        "<Password>{}",
    ],
)
def test_an_element_of_xml_that_is_named_as_a_token_or_secret_is_not_quoted(element):
    text = "mellon"  # it does not look like one
    body = f"<Error><Code>7</Code>{element.format(text)}<Text>No, {text} is wrong</Text></Error>"
    error = fault(answered(body.encode(), 401, {"Content-Type": "text/xml"}), TokenRequestDenied)
    assert text not in shown_by(error)
    assert "with text/xml: 7 *** No, *** is wrong. Check" in str(error)


def test_an_attribute_of_such_an_element_is_in_no_error():
    for tag in ("<token value='mellon'/>", "<s:token value='mellon'>", "<token value='mellon"):
        body = f"<Error><Code>7</Code>{tag}".encode()
        error = fault(answered(body, 401, {"Content-Type": "text/xml"}), TokenRequestDenied)
        assert "mellon" not in shown_by(error)


def test_other_elements_of_xml_are_quoted():
    body = b"<E><tokenError a='b'>Bad token</tokenError><no_secret_here/>secret <b>x</b></E>"
    error = fault(answered(body, 401, {"Content-Type": "text/xml"}), TokenRequestDenied)
    assert "with text/xml: Bad token secret x. Check" in str(error)


def test_an_error_in_another_shape_with_status_200_is_quoted_too():
    error = fault(answered({"errcode": 40001, "message": "wrong secret"}), InvalidTokenResponse)
    assert 'no access_token: {"errcode": 40001, "message": "wrong secret"}.' in str(error)
    for name in ("errmsg", "msg"):
        error = fault(answered({"code": 7, name: f"no {TOKEN} here"}), InvalidTokenResponse)
        assert f'no access_token: {{"code": 7, "{name}": "no *** here"}}.' in str(error)
    error = fault(answered({"error": {"code": 7, "message": "no client"}}), TokenRequestDenied)
    assert '200 with application/json: {"error": {"code": 7, "message": "no client"}}.' in str(
        error
    )


def test_two_hundred_characters_are_quoted_at_most():
    for length in (185, 186, 187, 1000, 100_000):
        text = "word " * (length // 5) + "a" * (length % 5)
        error = fault(answered({"message": text}, 400), TokenRequestDenied)
        quoted = str(error).partition(" application/json: ")[2].partition(". Check token_url")[0]
        assert len(quoted) == 200
        assert quoted.endswith('"}' if length == 185 else " [...]")


@pytest.mark.parametrize(
    "page",
    [
        b"<html><p>Sign in",
        b"<!DOCTYPE HTML><p>Sign in",
        b"\xef\xbb\xbf\n <html lang='de'>Sign in",
        b"<?xml version='1.0'?><!DOCTYPE html PUBLIC ''><html xmlns='x'>Sign in</html>",
        b"<!-- of the proxy --><html>Sign in",
    ],
)
def test_a_page_for_people_is_not_quoted(page):
    for kind, body in (
        ("", page),
        ("text/html", b"Sign in"),
        ("application/xhtml+xml", b"Sign in"),
    ):
        error = fault(answered(body, 404, {"Content-Type": kind}), TokenRequestDenied)
        assert " and no error. Check" in str(error)
        assert "Sign in" not in str(error)


def test_json_is_quoted_even_if_its_type_is_html():
    response = answered({"message": "Not valid"}, 400, {"Content-Type": "text/html"})
    assert 'text/html: {"message": "Not valid"}' in str(fault(response, TokenRequestDenied))


@pytest.mark.parametrize(
    "body", [b"", b"  ", b"<a/>", b"s3cr3t-s3cr3t", b" *** ", b"A1b2C3d4E5f6G7h8"]
)
def test_a_body_of_which_nothing_can_be_shown_is_not_quoted(body):
    response = answered(body, 400, {"Content-Type": "text/plain"})
    error = fault(response, TokenRequestDenied, secrets=["s3cr3t-s3cr3t"])
    assert "with text/plain and no error. Check" in str(error)


def test_a_description_without_an_error_is_in_the_message_once():
    for body in (
        {"error_description": "no client"},
        {"error": 7, "error_description": "no client"},
    ):
        error = fault(answered(body, 400), TokenRequestDenied)
        assert str(error).count("no client") == 1
        assert error.error_description == "no client"


def test_an_answer_with_an_error_description_is_not_quoted_too():
    body = {"error": "invalid_client", "error_description": "why", "message": "more"}
    assert "more" not in str(fault(answered(body, 401), TokenRequestDenied))


def test_an_error_that_is_explained_under_another_name_is_quoted():
    body = {"reason": "Invalid client_id or client_secret", "error": "invalid_client"}
    message = str(fault(answered(body, 400), TokenRequestDenied))
    assert 'invalid_client: {"reason": "Invalid client_id or client_secret", "error"' in message
    assert "invalid_client: " not in str(
        fault(answered({"error": "invalid_client"}, 400), TokenRequestDenied)
    )


@pytest.mark.parametrize(
    ("method", "proof"),
    [
        ("client_secret_post", "client_secret"),
        ("private_key_jwt", "the key or assertion"),
        ("tls_client_auth", "the certificate"),
        ("self_signed_tls_client_auth", "the certificate"),
    ],
)
def test_the_advice_about_a_refused_client_names_what_it_authenticates_with(method, proof):
    for body, status in (({"error": "invalid_client"}, 401), (b"", 403), (b"", 400)):
        kind = TokenEndpointUnavailable if status == 403 else TokenRequestDenied
        message = str(fault(answered(body, status), kind, method=method))
        assert f"client_id and {proof}" in message or f"client_id, {proof}" in message


def in_base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


#: A secret as a server may echo it.
ECHOES: dict[str, Callable[[str], str]] = {
    "plain": lambda s: s,
    "urlencoded": quote_plus,
    "quoted": lambda s: quote(s, safe=""),
    "twice": lambda s: quote(quote(s)),
    "base64": in_base64,
    "base64 for URLs": lambda s: base64.urlsafe_b64encode(s.encode()).decode().rstrip("="),
    "Basic": lambda s: f"Basic {in_base64(f'me:{s}')}",
    "part of Basic": lambda s: in_base64(f"me:{s}"),
    "on two lines": lambda s: f"{s[:5]}\n{s[5:]}",
    "with spaces": " ".join,
    "with zeros": "\0".join,
    "with invisible spaces": "\u200b".join,
    "in tags": lambda s: f"{s[:5]}<b>{s[5:9]}</b>{s[9:]}",
    "with backslashes": lambda s: s.replace("/", "\\/"),
    "entities": lambda s: "".join(f"&#{ord(c)};" for c in s),
}
#: An answer that contains it.
SHAPES: dict[str, Callable[[str], Any]] = {
    "message": lambda s: {"message": f"got {s}"},
    "errors": lambda s: {"errors": [{"code": 7, "what": [s]}]},
    "name": lambda s: {s: 1},
    "text": lambda s: f"got {s} here".encode(),
    "xml": lambda s: f"<Error><Message>got {s}</Message></Error>".encode(),
    "attribute": lambda s: f"<Error got='{s}'>no</Error>".encode(),
    "half a tag": lambda s: f"no <Error got='{s}".encode(),
    "tag": lambda s: f"<{s}>no</{s}>".encode(),
    "form": lambda s: f"error=no&client_secret={s}".encode(),
    **{
        f"after {n}": lambda s, n=n: {"message": "word " * (n // 5) + "x" * (n % 5) + s}
        for n in (160, 170, 180, 184, 185, 190, 3970, 3985, 32_750)
    },
}


def squeezed(text: str) -> str:
    """Return a text without what may be between the parts of a secret."""
    return re.sub(r"[\s?\\'\"]|\*\*\*", "", text)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("echo", ECHOES)
def test_no_quote_shows_a_secret_that_the_server_echoes(shape, echo):
    secret = "k3y/with+odd%chars:7"
    for status in (200, 400, 401, 403, 500):
        response = answered(SHAPES[shape](ECHOES[echo](secret)), status, {})
        response.request.headers["Authorization"] = f"Basic {in_base64(f'me:{secret}')}"
        with pytest.raises(TokenError) as caught:
            read(response, secrets=[secret])
        message = squeezed(str(caught.value))
        # Not even the first half, which the end of the quote may cut off.
        for spelling in (
            secret,
            quote(secret, safe=""),
            in_base64(secret),
            in_base64(f"me:{secret}"),
        ):
            assert squeezed(spelling)[:10] not in message, message


@pytest.mark.parametrize("client_id", ["", "a", "ab", "abc"])
@pytest.mark.parametrize("after", ["", "/", ":more", " and more"])
def test_a_secret_in_the_base64_of_a_longer_text_is_hidden(client_id, after):
    secret = "hunterhunters"
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        encoded = encode(f"{client_id}:{secret}{after}".encode()).decode()
        body = {"message": f"got {encoded}", "encoded": encoded[:2] + "-" + encoded[2:]}
        error = fault(answered(body, 400), TokenRequestDenied, secrets=[secret])
        assert encoded[6:18] not in shown_by(error)


def test_a_secret_of_few_characters_hides_no_words_that_are_a_part_of_its_base64():
    error = fault(answered({"message": "YWJj FiY"}, 400), TokenRequestDenied, secrets=["abc"])
    assert '{"message": "*** FiY"}' in str(error)


@pytest.mark.parametrize("secret", ["hunter", "hunter2", "hunter22", "h?>~~~"])
def test_a_short_secret_in_base64_is_hidden_in_a_word_too(secret):
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        encoded = encode(secret.encode()).decode()
        for body in (
            {"message": f"got {encoded} here"},
            {"message": f"got:{encoded.rstrip('=')},"},
        ):
            error = fault(answered(body, 400), TokenRequestDenied, secrets=[secret])
            assert encoded.rstrip("=") not in shown_by(error)


@pytest.mark.parametrize(
    "name", ["access_token", "accessToken", "token", "id_token", "jwt", "data", "value", "message"]
)
@pytest.mark.parametrize(
    "token", [TOKEN, "36a5f02a3e5f47bad38c0a0899a862f35dfae159", "T0ken-7.of~test=="]
)
def test_no_quote_shows_a_token_of_any_name(name, token):
    for body in (
        {"result": {name: token}},
        {"errors": [{name: [token]}]},
        {"message": f"see {name}={token}"},
        f"<r><{name}>{token}</{name}></r>".encode(),
        f"<r {name}='{token}'>no</r>".encode(),
        f"no <r {name}='{token}".encode(),
        f"{name}={token}&a=b".encode(),
    ):
        for status in (200, 400, 500):
            with pytest.raises(TokenError) as caught:
                read(answered(body, status, {}))
            assert token[:12] not in str(caught.value)


PIECES = [
    *[b"<", b"<a ", b"<a>", b"a<b>", b"</", b"<!--", b"<html", b"<!doctype ", b"&lt;", b"%41"],
    *[b"word ", b"a", b" ", b"\n", b"***", b"\\", b'"', b"\x00", b"\xe9", b"eyJ", b"token="],
]


@pytest.mark.unmeasured
@pytest.mark.parametrize("piece", PIECES, ids=shortened)
def test_the_work_for_a_quote_does_not_grow_faster_than_the_answer(piece):
    def work(size: int) -> int:
        answer = Answer(answered(piece * (size // len(piece)), 400, {}), [SECRET])
        return steps("", lambda _: answer.quoted)

    assert work(1 << 20) <= 2.1 * work(1 << 19) + 1000


# An unavailable endpoint


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599, 999])
@pytest.mark.parametrize("body", [b"", b"<html>", b"[", json.dumps(GOOD).encode()])
def test_an_unavailable_endpoint_is_not_a_refusal(status, body):
    error = fault(answered(body, status, {"Retry-After": "120"}), TokenEndpointUnavailable)
    assert error.retry_after == 120.0
    assert "Try again in 120 seconds, as it asks." in str(error)


def test_no_one_is_told_to_wait_for_zero_seconds():
    error = fault(answered(b"", 503, {"Retry-After": "0"}), TokenEndpointUnavailable)
    assert error.retry_after == 0.0
    assert str(error).endswith("Try again later.")


@pytest.mark.parametrize(
    "body", [b"", b"<html>Request blocked", {"message": "Forbidden"}, {"error": {"code": 403}}]
)
def test_a_403_without_an_error_of_the_rfc_is_that_of_a_firewall_or_a_limit(body):
    error = fault(answered(body, 403), TokenEndpointUnavailable)
    assert (error.status_code, error.error) == (403, None)
    advice = (
        "Try again later. If it stays so, check client_id and client_secret, and whether a firewall"
    )
    assert advice in str(error)


@pytest.mark.parametrize("code", ["temporarily_unavailable", "server_error"])
@pytest.mark.parametrize("status", [200, 400, 404, 503])
def test_a_temporary_error_is_not_a_refusal(code, status):
    error = fault(answered({"error": code}, status), TokenEndpointUnavailable)
    assert (error.error, error.retry_after) == (code, None)
    assert str(error).endswith("Try again later.")


def test_a_token_in_an_error_description_is_redacted():
    body = {"error": "invalid_request", "error_description": "access_token: T0KEN-T0KEN"}
    error = fault(answered(body, 400), TokenRequestDenied)
    assert error.error_description == "access_token: ***"
    assert "T0KEN" not in shown_by(error)


def test_the_message_about_an_unavailable_endpoint_has_error_and_description():
    body = {"error": "invalid_client", "error_description": "database gone"}
    error = fault(answered(body, 500), TokenEndpointUnavailable)
    assert "answered 500 with invalid_client (database gone)." in str(error)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        (" 12 ", 12.0),
        ("99999999", 21600.0),
        ("9" * 5000, None),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("²", None),
        ("\x00", None),
        ("1, 2", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Wed, 21 Oct 9999 07:28:00 GMT", 21600.0),
        ("Wed, 21 Oct 99999 07:28:00 GMT", None),
        (None, None),
        (7, None),
    ],
    ids=shortened,
)
def test_retry_after_is_bounded_or_unknown(value, seconds):
    response = answered()
    response.headers["Retry-After"] = value
    assert retry_after(response) == seconds


def test_a_retry_after_may_be_missing_a_date_or_a_number_of_hundreds_of_digits():
    response = answered()
    assert retry_after(response) is None
    response.headers["Retry-After"] = formatdate(time() + 600, usegmt=True)
    assert 0.0 < retry_after(response) <= 600.0
    response.headers["Retry-After"] = "9" * 400
    assert retry_after(response) in (21600.0, None)  # urllib3 bounds it since 2.6


@given(st.text(max_size=60) | st.from_regex(r"\w{3}, \d+ \w{3} \d+ \d+:\d+:\d+ [-+\w]+"))
def test_retry_after_never_raises(value):
    response = answered()
    response.headers["Retry-After"] = value
    seconds = retry_after(response)
    assert seconds is None or 0.0 <= seconds <= 21600.0


# An answer without a token


HOOK = (
    'If the server has other names than RFC 6749, rename them in an "access_token_response" hook of'
    " session.tokens.endpoint."
)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the answer is empty"),
        (b" \r\n", "the answer is empty"),
        (b"<!doctype html>", "HTML"),
        (b'{"access_token": "x"', "application/json that cannot be read as JSON"),
        (b"access_token=x&token_type=bearer", "cannot be read as JSON"),
        (b"\x80\xff\x00", "cannot be read as JSON"),
        (b"[" * 100_000, "cannot be read as JSON"),
        (b"[" * 33 + b"]" * 33, "cannot be read as JSON"),
        (b'{"a":' * 100_000, "cannot be read as JSON"),
        (b"null", "not an object"),
        (b"[]", "not an object"),
        (b'"token"', "not an object"),
        (b"1" * 5000, "not an object"),
        (b"true", "not an object"),
        (b"x" * (1 << 20) + b"x", "more than 1048576 bytes"),
        (b"{}", "no access_token"),
        (b'{"access_token": null}', "no access_token"),
        (b'{"access_token": ""}', "empty or not a string"),
        (b'{"access_token": "  "}', "empty or not a string"),
        (b'{"access_token": 7}', "empty or not a string"),
        (b'{"access_token": ["x"]}', "empty or not a string"),
        (b'{"access_token": "to\\nken"}', "no header can carry"),
        (b'{"access_token": "to\\u007fken"}', "no header can carry"),
        (b'{"access_token": "to\\u00eben"}', "no header can carry"),
        (b'{"access_token": "to\\ud800en"}', "no header can carry"),
        ({**GOOD, "token_type": 7}, "token_type is not a string"),
        ({**GOOD, "token_type": ["Bearer"]}, "token_type is not a string"),
        ({"accessToken": "abc"}, f". {HOOK}"),
        ({**GOOD, "token_type": "JWT"}, f"only Bearer can be used here. {HOOK}"),
        ({**GOOD, "token_type": "m\na\x00c"}, "token_type is 'm a?c', and only Bearer"),
        ({**GOOD, "scope": 7}, "scope is neither"),
        ({**GOOD, "scope": {}}, "scope is neither"),
        ({**GOOD, "scope": ["a", None]}, "scope is neither"),
    ],
    ids=shortened,
)
def test_the_error_for_an_answer_without_a_token_says_what_the_answer_is(body, message):
    error = fault(answered(body), InvalidTokenResponse)
    assert message in str(error)
    beginning = "There is no token: https://as.example/tenant/token answered 200."
    assert str(error).startswith(beginning)


FROM_ISSUER = "is an issuer, write ClientCredentialsSession.from_issuer() with it."


@pytest.mark.parametrize(
    "url",
    [
        "https://me.eu.auth0.com/",
        "https://keycloak.example/realms/shop",
        "https://login.microsoftonline.com/0b1c7e6e/v2.0?secret=hidden",
    ],
)
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"<html>", 404),
        (b"Not Found", 404),
        ({"error": "RESTEASY003650: No resource method found for POST"}, 405),
        (b"", 405),
        (b"", 302),
        (b"<html>", 200),
        (b"", 200),
        ({"issuer": "https://as.example"}, 200),
    ],
)
def test_the_error_of_a_token_url_that_may_be_an_issuer_names_from_issuer(url, body, status):
    response = answered(body, status)
    response.url = url
    kind = InvalidTokenResponse if status < 400 else TokenRequestDenied
    message = str(fault(response, kind))
    assert message.endswith(f" If {url.partition('?')[0]} {FROM_ISSUER}")
    assert "hidden" not in message


@pytest.mark.parametrize(
    ("url", "body", "status"),
    [
        (URL, b"<html>", 404),
        ("https://as.example/oauth/AccessToken", b"", 200),
        ("https://as.example/oauth", {"error": "invalid_client"}, 404),
        ("https://as.example/oauth", b"no", 400),
        ("https://as.example/oauth", b"no", 401),
        ("https://as.example/oauth", b"no", 403),
        ("https://as.example/oauth", b"no", 503),
        ("https://as.example/oauth", {**GOOD, "token_type": "mac"}, 200),
        ("https://as.example/oauth", {**GOOD, "scope": 7}, 200),
    ],
)
def test_from_issuer_is_not_named_for_what_is_a_token_endpoint(url, body, status):
    response = answered(body, status)
    response.url = url
    with pytest.raises(TokenError) as caught:
        read(response)
    assert "from_issuer" not in str(caught.value)


def test_nesting_of_thirty_levels_is_accepted():
    deep: Any = "leaf"
    for _ in range(30):
        deep = [deep]
    assert read(answered({**GOOD, "deep": deep})).extra == {"deep": deep}


def test_the_body_of_an_answer_that_was_not_read_counts_as_empty():
    response = answered()
    response._content = False
    assert "empty" in str(fault(response, InvalidTokenResponse))


@pytest.mark.parametrize("status", [100, 101, 199])
def test_an_answer_with_a_status_below_200_contains_no_token(status):
    error = fault(answered(GOOD, status), InvalidTokenResponse)
    assert "an informational status" in str(error)


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("https://user:pw@evil.example/path?code=x#y", "https://evil.example/path,"),
        ("/login?session=x", "https://as.example/login,"),
        ("https://[broken", "<unreadable URL>,"),
        ("javascript:alert(1)", "<unreadable URL>,"),
        (f"/{SECRET}/x", "https://as.example/***/x,"),
        (None, "<unreadable URL>,"),
    ],
)
@pytest.mark.parametrize("status", [300, 302, 307, 399])
def test_the_target_of_a_redirect_is_shown_without_userinfo_and_query(location, shown, status):
    headers = {} if location is None else {"Location": location}
    error = fault(answered(GOOD, status, headers), InvalidTokenResponse)
    assert f"It redirects to {shown}" in str(error)
    assert error.response.headers.get("Location") == (location and shown[:-1])
    assert "pw" not in shown_by(error)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("Bearer", "not bound by DPoP (token_type is 'Bearer')"),
        ("bearertoken", "not bound by DPoP (token_type is 'bearertoken')"),
        ("", "not bound by DPoP (token_type is missing)"),
        (None, "not bound by DPoP (token_type is missing)"),
        (" Bearer ", "not bound by DPoP (token_type is 'Bearer')"),
        (" ", "not bound by DPoP (token_type is missing)"),
        ("mac", "'mac', and only DPoP can be used"),
    ],
)
def test_a_token_that_is_not_bound_to_the_key_is_refused(given, message):
    error = fault(
        answered({**GOOD, "token_type": given}),
        InvalidTokenResponse,
        accepts=lambda token_type: token_type == "DPoP",
        scheme_name="DPoP",
    )
    assert message in str(error)


def parser(outcome: Any) -> Callable[..., Any]:
    """Return a parser that raises or returns this."""

    def parse(body: str, scope: Any = None) -> Any:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return parse


@pytest.mark.parametrize(
    "outcome",
    [Warning(TOKEN), TypeError(TOKEN), ValueError(), RecursionError(), None, {}, [TOKEN]],
)
def test_every_exception_and_every_result_of_the_parser_becomes_an_error_of_ours(outcome):
    error = fault(answered(GOOD), InvalidTokenResponse, parse=parser(outcome))
    assert "oauthlib rejects the answer" in str(error)
    assert TOKEN not in shown_by(error)


def test_token_and_further_members_are_those_that_the_parser_returns():
    parse = parser({"access_token": "other", "token_type": "x", "more": 1})
    token = read(answered(GOOD), parse=parse)
    assert (token.access_token, token.token_type, token.extra) == ("other", "Bearer", {"more": 1})


@pytest.mark.parametrize("members", [{}, {"token_type": None}])
def test_the_strict_setting_of_oauthlib_has_an_effect(members, monkeypatch):
    monkeypatch.setenv("OAUTHLIB_STRICT_TOKEN_TYPE", "1")
    error = fault(answered({"access_token": TOKEN, **members}), InvalidTokenResponse)
    assert "MissingTokenTypeError" in str(error)


@pytest.mark.skipif(
    not hasattr(sys, "set_int_max_str_digits"), reason="an older patch release of Python"
)
def test_numbers_are_bounded_even_if_python_does_not_bound_them():
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        body = f'{{"access_token": "{TOKEN}", "expires_in": {"9" * 1_000_000}}}'
        assert read(answered(body.encode())).expires_at is None
    finally:
        sys.set_int_max_str_digits(before)


# What an error shows


def test_the_response_of_an_error_has_no_secret_cookie_history_or_connection():
    response = answered({"error": "invalid_client", "trace": 7}, 401)
    response.reason, response.elapsed = f"Not {SECRET}", timedelta(seconds=3)
    response.headers.update({"Set-Cookie": "sid=1", "X-Echo": f"got {SECRET}", "DPoP-Nonce": "n"})
    response.cookies.set("sid", "1")
    response.history = [answered()]
    response.connection, response.raw = object(), object()  # type: ignore[attr-defined]
    clean = in_an_error(response, [SECRET])
    assert clean.json() == {"error": "invalid_client", "trace": 7}
    assert (clean.status_code, clean.reason, clean.url) == (401, "Not ***", URL)
    assert clean.headers == {**JSON, "X-Echo": "got ***", "DPoP-Nonce": "n"}
    assert (clean.elapsed.seconds, clean.history, list(clean.cookies)) == (3, [], [])
    assert clean.raw is None
    assert not hasattr(clean, "connection")
    assert (clean.request.method, clean.request.url, clean.request.body) == ("POST", URL, None)
    assert clean.request.headers == {"Content-Type": "application/x-www-form-urlencoded"}
    assert pickle.loads(pickle.dumps(clean)).json() == clean.json()


def test_the_response_of_an_error_can_be_read_as_a_stream():
    clean = in_an_error(answered({"error": "invalid_client", "trace": SECRET}, 401), [SECRET])
    for _ in range(2):
        assert b"".join(clean.iter_content(7)) == clean.content
        assert list(clean.iter_lines()) == [clean.content]
    assert json.loads(clean.content) == {"error": "invalid_client", "trace": "***"}
    assert clean.raw is None
    clean.close()


@pytest.mark.parametrize("status", [200, 400])
def test_a_token_that_looks_like_a_word_is_redacted_if_a_later_member_has_its_name(status):
    body = b'{"access_token": "wednesday", "access_token": "", "error": "invalid_request",'
    body += b' "error_description": "no use of wednesday here"}'
    error = fault(answered(body, status), TokenRequestDenied)
    assert error.error_description == "no use of *** here"
    assert "wednesday" not in shown_by(error)


def test_the_secrets_that_the_request_carried_are_redacted_in_an_error():
    echo = f"{BASIC} {BASIC[6:]} of-the-body a.proof.here sid=biscuit"
    assert in_an_error(answered(echo.encode(), 400)).text == "*** *** *** *** ***"


def test_a_secret_header_and_a_body_of_bytes_are_redacted_too():
    response = answered(b"token secret-header of-the-body", 400)
    response.request.headers["Authorization"] = Bearer().authorization(Token("secret-header"))
    response.request.headers["User-Agent"] = b"bytes"
    response.request.body = response.request.body.encode()
    clean = in_an_error(response)
    assert clean.text == "token *** ***"
    assert clean.request.headers["User-Agent"] == "bytes"


@pytest.mark.parametrize("value", ["of-the-body", ["of-the-body"], None])
def test_the_secret_in_a_json_body_is_redacted_too(value):
    response = answered(b"Bad: of-the-body", 400, {})
    response.request.body = json.dumps({"client_secret": value, "scope": "a"})
    assert in_an_error(response).text == ("Bad: ***" if value else "Bad: of-the-body")
    response.request.body = json.dumps([value])
    assert in_an_error(response).text == "Bad: of-the-body"


@pytest.mark.parametrize("body", [None, iter(["x"])], ids=["no body", "an iterator"])
def test_the_request_of_an_error_has_no_body(body):
    response = answered(b"x")
    response.request.body = body
    assert in_an_error(response).request.body is None


def test_an_error_may_have_a_response_without_request_url_and_body():
    clean = in_an_error(requests.Response())
    assert (clean.content, clean.url, clean.request.method) == (b"", "<unreadable URL>", None)


@pytest.mark.parametrize(
    "body",
    [
        {"access_token": TOKEN, "token_type": "mac"},
        {"access_token": TOKEN, "error": TOKEN, "error_description": f"see {TOKEN}"},
        {"access_token": [TOKEN]},
        {"nested": [{"access_token": TOKEN}]},
        {"quoted": json.dumps({"access_token": TOKEN})},
        json.dumps(GOOD).encode()[:-1],
        json.dumps(GOOD).encode()[:70],
        f"access_token={TOKEN}&token_type=bearer".encode(),
        f"<access_token>{TOKEN}</access_token>".encode(),
        f'{{"refresh_token": "{TOKEN}", "id_token" : "{TOKEN}"'.encode(),
        f'{{"access_token": "{TOKEN}", "access_token": null}}'.encode(),
    ],
)
@pytest.mark.parametrize("status", [200, 400, 500])
def test_no_error_shows_a_token(body, status):
    with pytest.raises(TokenError) as caught:
        read(answered(body, status))
    assert TOKEN not in shown_by(caught.value)
    assert "payload" not in shown_by(caught.value)


def test_a_secret_that_spans_two_texts_is_redacted():
    response = answered(["one", "two"], 400)
    error = fault(response, TokenRequestDenied, secrets=['e", "t'])
    assert error.response.text == '["on***wo"]'


ESCAPED = "".join(f"\\u{ord(letter):04x}" for letter in SECRET)


@pytest.mark.parametrize(
    "body",
    [
        f'{{"error": "x", "error_description": "{ESCAPED}"}}'.encode(),
        json.dumps({SECRET: [SECRET]}).encode(),
        json.dumps({"error_description": SECRET}, ensure_ascii=False).encode("utf-16"),
        f"<p>{SECRET}".encode("utf-16"),
        f"<p>{SECRET}".encode("latin-1"),
        f"<p>{SECRET}\xff".encode("latin-1") + SECRET.encode(),
        f"secret={quote(SECRET)}".encode(),
    ],
)
def test_a_secret_is_redacted_in_every_spelling_and_encoding(body):
    error = fault(answered(body, 400), TokenRequestDenied)
    for spelling in (SECRET, SECRET.encode().decode("latin-1"), quote(SECRET), SECRET[:4]):
        assert spelling not in shown_by(error)


def test_a_secret_is_redacted_in_a_wide_encoding_that_is_cut():
    response = answered(f"<p>{SECRET}".encode("utf-16") + b"x", 400)
    assert in_an_error(response, [SECRET]).text == "<p>***\ufffd"


# Everything together

SECRETS = st.text(string.digits + "ÄÖ%+:/&\"'\\< é\u4e2d", min_size=8, max_size=20).map(
    "§{}§".format
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["Bearer", "DPoP", "3600", "invalid_client", 3600, 10**400])
)
VALUES = nested(LEAVES, st.text(max_size=5))
NAMES = st.sampled_from(
    "access_token token_type expires_in expires_at scope refresh_token id_token state"  # noqa: SIM905
    " error error_description error_uri self client __class__ extra".split()
)
STATUSES = st.sampled_from([100, 200, 201, 204, 301, 302, 307, 400, 401, 403, 404, 429, 500, 503])
TYPES = st.sampled_from(
    [
        "application/json",
        "text/html; charset=utf-16",
        "",
        "\x00",
        "application/x-www-form-urlencoded",
    ]
)


@st.composite
def answers(draw: st.DrawFn, secret: str) -> requests.Response:
    """Draw an answer that echoes a secret in every place of an answer."""
    echoes = st.sampled_from([secret, f"a {secret} b", quote(secret), secret * 40])
    members = draw(st.dictionaries(NAMES, VALUES | echoes, max_size=8))
    token = draw(st.sampled_from(["access_token", "refresh_token", "id_token", None]))
    if token is not None:
        members[token] = TOKEN
    if draw(st.booleans()):
        members.pop("error", None)
    text = json.dumps(draw(st.just(members) | VALUES | echoes), ensure_ascii=draw(st.booleans()))
    text = draw(st.sampled_from([text, text[: len(text) // 2], f"<p>{text}", "", secret]))
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"]))
    body = text.encode(encoding, "backslashreplace") + draw(st.sampled_from([b"", b"\xff", b"\0"]))
    response = answered(body, draw(STATUSES), {"Content-Type": draw(TYPES)})
    response.headers["Location"] = f"/{draw(echoes)}?{secret}"
    response.headers["X-Echo"] = response.reason = draw(echoes).encode().decode("latin-1")
    response.headers["Retry-After"] = draw(st.sampled_from(["1", "soon", secret]))
    return response


def is_valid(token: Token) -> bool:
    assert token.access_token
    assert token.access_token.isascii()
    assert token.access_token.isprintable()
    assert (token.token_type, token.issued_at) == ("Bearer", 1000.0)
    assert token.lifetime is None or isinstance(token.lifetime, float)
    assert token.scope is None or isinstance(token.scope, str)
    return Token.from_dict(json.loads(json.dumps(token.to_dict()))) == token


@settings(deadline=None)
@given(st.data(), SECRETS)
def test_the_outcome_is_a_valid_token_or_one_of_our_errors_that_shows_no_secret(data, secret):
    response = data.draw(answers(secret))
    try:
        token = read(response, secrets=[secret])
    except TokenError as error:
        assert type(error) in (TokenRequestDenied, InvalidTokenResponse, TokenEndpointUnavailable)
        assert error.__cause__ is error.__context__ is None
        seen = shown_by(error)
        assert secret not in seen
        assert secret.encode().decode("latin-1") not in seen
        assert TOKEN not in seen
    else:
        assert 200 <= response.status_code < 300
        assert is_valid(token)


@settings(deadline=None)
@given(st.binary(max_size=200), STATUSES)
@example(b'{"access_token":"x","expires_in":' + b"1" * 400 + b"}", 200)
def test_any_bytes_are_a_valid_token_or_one_of_our_errors(body, status):
    try:
        token = read(answered(body, status))
    except TokenError as error:
        assert error.response.status_code == status
    else:
        assert is_valid(token)


@settings(deadline=None)
@given(
    nested(LEAVES | st.just(TOKEN) | st.just(f"see {TOKEN}"), st.text(max_size=5) | st.just(TOKEN)),
    STATUSES,
    st.sampled_from(["utf-8", "utf-16", "latin-1"]),
    st.sampled_from(["", "<p>", "token "]),
)
def test_no_error_shows_a_token_in_whatever_place_it_is(value, status, encoding, before):
    body = (before + json.dumps(value)).encode(encoding)
    try:
        read(answered(body, status))
    except TokenError as error:
        seen = shown_by(error)
        assert TOKEN not in seen
        assert "payload" not in seen
