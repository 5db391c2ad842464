from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oauthcc.challenge import find_error, find_parameter

from .fuzz.urls import check_challenges, steps

every_time_the_same = settings(derandomize=True, deadline=None, max_examples=150)
NAME = st.text("abcXYZ019!#$%&'*+-.^_`|~", min_size=1, max_size=8)
SCHEME = st.sampled_from(["DPoP", "dpop", "Bearer"]) | NAME
TOKEN68 = st.from_regex(r"[0-9A-D._~+/-]{1,8}={0,2}", fullmatch=True)
TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=12) | st.lists(
    st.sampled_from(
        ['"', "\\", ",", " ", "=", "error=", ' error="x"', "Basic ", "DPoP error=y", "é"]
    ),
    max_size=6,
).map("".join)
# RFC 6750 section 3: no quote and no backslash.
ERROR = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters='"\\'))


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (None, None),
        ("", None),
        ("Bearer", None),
        ('Bearer realm="api"', None),
        ('Bearer error="invalid_token"', "invalid_token"),
        ("bEaReR ERROR=invalid_token", "invalid_token"),
        (
            'Bearer realm="api", error="invalid_token", error_description="it expired"',
            "invalid_token",
        ),
        ('Bearer realm="api",error="invalid_token"', "invalid_token"),
        ('Bearer error = "invalid_token"', "invalid_token"),
        ('Bearer\terror="invalid_token"', "invalid_token"),
        ('Bearer error="", a="b"', ""),
        ('Bearer error="one", error="two"', "one"),
        ("Bearer authorization_uri=https://as.example/a?b=c, error=invalid_token", "invalid_token"),
        ('Bearer error="invalid_token" realm="no comma before it"', "invalid_token"),
        ("Bearer error_description=It expired, error=invalid_token", "invalid_token"),
        # A missing comma.
        ('Bearer realm="api" error="insufficient_scope"', "insufficient_scope"),
        ("Bearer error=insufficient_scope scope=foo", "insufficient_scope"),
        ('Bearer realm="say error=no" error="invalid_token"', "invalid_token"),
        ("Bearer error", None),
        ("error=invalid_token, Bearer", None),
        ('"Bearer error=invalid_token"', None),
        ('{"error": "a, Basic"}, Bearer error=invalid_token', "invalid_token"),
    ],
)
def test_the_error_of_a_bearer_challenge_is_returned(value: str | None, error: str | None) -> None:
    assert find_error(value) == error


@pytest.mark.parametrize("comma", [", ", ",", " , ", ",,,", " ,\t, ", ",\r\n "])
def test_one_field_may_hold_several_challenges(comma: str) -> None:
    challenges = [
        'Basic realm="simple"',
        "error=basic",
        "Negotiate",
        "NTLM TlRMTVNTUAAB==",
        'Bearer realm="api"',
        "error=bearer",
        'DPoP algs="ES256 PS256"',
        "error=dpop",
    ]
    value = comma + comma.join(challenges) + comma
    for scheme in ("basic", "bearer", "dpop"):
        assert find_error(value, (scheme,)) == scheme
    assert find_error(value, ("negotiate", "ntlm")) is None


def test_the_first_error_of_all_the_schemes_is_returned() -> None:
    value = 'Basic error="a", DPoP error="use_dpop_nonce", Bearer error="b"'
    assert find_error(value, ("DPOP",)) == "use_dpop_nonce"
    assert find_error(value, {"bearer", "dpop"}) == "use_dpop_nonce"
    assert find_error(f"Bearer, {value}") == "b"
    assert find_error(value, ()) is None


def test_commas_and_challenges_in_a_quoted_string_are_text() -> None:
    value = r'Bearer realm="a, Basic b=\"c\", \\ \d, error=\"no\"", error="yes"'
    assert find_error(value) == "yes"
    assert find_error(value, ("basic",)) is None


@pytest.mark.parametrize(
    "text",
    [r"say \" error=\"no\"", r"\" error=no", r"\\\" error=no \\", r"a \", Basic b, error=no"],
)
def test_an_escaped_quote_does_not_end_a_quoted_string(text: str) -> None:
    assert find_error(f'Bearer realm="{text}"') is None
    assert find_error(f'Bearer realm="{text}", error="invalid_token"') == "invalid_token"


PLACE = "https://api.example/.well-known/oauth-protected-resource/mcp?a=b,c&d=e"


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (f'Bearer resource_metadata="{PLACE}"', PLACE),
        (f'bearer RESOURCE_METADATA = "{PLACE}"', PLACE),
        (f'DPoP algs="ES256", resource_metadata="{PLACE}", error="invalid_token"', PLACE),
        (f'Basic realm="a", Bearer resource_metadata="{PLACE}"', PLACE),
        (f'resource_metadata="{PLACE}"', PLACE),
        (f'Bearer scope="a b" resource_metadata="{PLACE}" error="x"', PLACE),
        ("Bearer resource_metadata=https://api.example/x, error=x", "https://api.example/x"),
        ('Bearer resource_metadata=""', ""),
        (f'Bearer resource_metadata="first", resource_metadata="{PLACE}"', "first"),
        (f'Bearer x_resource_metadata="{PLACE}"', None),
        (f'Bearer resource_metadata_uri="{PLACE}"', None),
        (f'Bearer realm="resource_metadata={PLACE}"', None),
        (f'Bearer realm="\\"resource_metadata={PLACE}"', None),
        ('Bearer error="invalid_token"', None),
        ("Bearer resource_metadata", None),
        ("", None),
        (None, None),
    ],
)
def test_the_place_of_the_metadata_is_found_in_a_challenge_of_any_scheme(
    value: str | None, place: str | None
) -> None:
    assert find_parameter(value, "resource_metadata") == place


def test_the_place_of_the_metadata_may_be_looked_for_in_some_schemes_only() -> None:
    value = 'Basic resource_metadata="a", Bearer resource_metadata="b", error="c"'
    assert find_parameter(value, "resource_metadata", ("Bearer",)) == "b"
    assert find_parameter(value, "resource_metadata", ()) is None
    assert find_parameter(value, "error") == find_error(value) == "c"


@every_time_the_same
@given(st.text() | st.text('Bearer resource_metadata=,"\\\t'))
def test_no_text_raises_if_the_place_of_the_metadata_is_looked_for(value: str) -> None:
    place = find_parameter(value, "resource_metadata")
    assert place is None or set(place) <= set(value)


@every_time_the_same
@given(st.text() | st.text('Bearer =,"\\ro\t') | TEXT.map("Bearer error={}".format))
def test_no_text_raises(value: str) -> None:
    error = find_error(value)
    assert error is None or set(error) <= set(value)


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@every_time_the_same
@given(st.data())
def test_an_error_is_found_among_challenges_that_follow_the_grammar(data: st.DataObject) -> None:
    fields, expected = [], None
    for _ in range(data.draw(st.integers(0, 3))):
        scheme = data.draw(SCHEME)
        if data.draw(st.booleans()):
            fields.append(f"{scheme} {data.draw(TOKEN68)}")
            continue
        equals = data.draw(st.sampled_from(["=", " = "]))
        params = data.draw(st.dictionaries(NAME, TEXT, max_size=3))
        written = [f"{name}{equals}{quoted(value)}" for name, value in params.items()]
        if data.draw(st.booleans()):
            error = data.draw(ERROR)
            written.insert(data.draw(st.integers(0, len(written))), f"error{equals}{quoted(error)}")
            expected = error if expected is None and scheme.lower() == "dpop" else expected
        fields.append(f"{scheme} {','.join(written)}")
    value = data.draw(st.sampled_from([",", ", "])).join(fields)
    assert find_error(value, ("DPoP",)) == expected


@pytest.mark.unmeasured
@every_time_the_same
@given(st.integers(0, 2**32))
def test_a_header_that_follows_the_grammar_is_read_as_it_is_meant(seed: int) -> None:
    for number in range(10):
        check_challenges(Random(seed + number))


@pytest.mark.unmeasured
@pytest.mark.parametrize("start", ["Bearer ", 'Bearer a="'])
@pytest.mark.parametrize(
    "unit", [",", '"', "\\", '\\"', "=", " ", "a ", "a=,", 'a="\\', ',"', 'Bearer error="b\\"']
)
@pytest.mark.parametrize(
    "read", [find_error, lambda value: find_parameter(value, "resource_metadata")]
)
def test_the_work_grows_linearly_with_the_text(unit: str, start: str, read: Any) -> None:
    half, whole = (start + unit * (size // len(unit)) for size in (8 * 1024, 16 * 1024))
    assert steps(whole, read) <= 2.1 * steps(half, read)
    assert steps(whole, read) <= 20 * len(whole)
