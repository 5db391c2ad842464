from __future__ import annotations

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oauthcc import challenge
from oauthcc.challenge import Challenge, find_error, parse_challenges

every_time_the_same = settings(derandomize=True, deadline=None, max_examples=150)
TOKEN = st.text("abcXYZ019!#$%&'*+-.^_`|~", min_size=1, max_size=8)
TOKEN68 = st.from_regex(r"[0-9A-Za-z._~+/-]{1,8}={0,2}", fullmatch=True)
TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=12)


def read(value: str) -> list[tuple[str, str | None, dict[str, str]]]:
    return [(found.scheme, found.token68, dict(found.params)) for found in parse_challenges(value)]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Bearer", [("Bearer", None, {})]),
        ("Bearer ", [("Bearer", None, {})]),
        ('Bearer realm="api"', [("Bearer", None, {"realm": "api"})]),
        (
            'Bearer realm="api", error="invalid_token", error_description="it expired"',
            [
                (
                    "Bearer",
                    None,
                    {
                        "realm": "api",
                        "error": "invalid_token",
                        "error_description": "it expired",
                    },
                )
            ],
        ),
        ("bearer error=invalid_token", [("bearer", None, {"error": "invalid_token"})]),
        ('Bearer ERROR = "x"', [("Bearer", None, {"error": "x"})]),
        ('Bearer\terror="x"', [("Bearer", None, {"error": "x"})]),
        ('Bearer error="", a="b"', [("Bearer", None, {"error": "", "a": "b"})]),
        # The example of the RFC itself.
        (
            'Basic realm="simple", Newauth realm="apps", type=1, title="Login to \\"apps\\""',
            [
                ("Basic", None, {"realm": "simple"}),
                ("Newauth", None, {"realm": "apps", "type": "1", "title": 'Login to "apps"'}),
            ],
        ),
    ],
)
def test_a_challenge_is_read_as_the_rfc_writes_it(value: str, expected: list[object]):
    assert read(value) == expected


@pytest.mark.parametrize("comma", [", ", ",", " , ", ",,,", " ,\t, ", ",\r\n "])
def test_several_challenges_share_a_field_however_they_are_joined(comma: str):
    fields = ['Bearer a="1"', "b=2", "Negotiate", "NTLM TlRMTVNTUAAB==", 'DPoP algs="ES256 PS256"']
    assert read(comma + comma.join(fields) + comma) == [
        ("Bearer", None, {"a": "1", "b": "2"}),
        ("Negotiate", None, {}),
        ("NTLM", "TlRMTVNTUAAB==", {}),
        ("DPoP", None, {"algs": "ES256 PS256"}),
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Basic abc", ("abc", {})),
        ("Basic abc=", ("abc=", {})),
        ("Basic abc/+._~-==  ,", ("abc/+._~-==", {})),
        ("Basic abc=def", (None, {"abc": "def"})),
        ('Basic abc="def"', (None, {"abc": "def"})),
        ("Basic abc= def", (None, {"abc": "def"})),
        ("Basic abc =", (None, {})),
        ("Basic abc, x=y", ("abc", {})),
    ],
)
def test_a_token68_is_told_from_a_parameter(value: str, expected: object):
    (found,) = parse_challenges(value)
    assert (found.token68, found.params) == expected


def test_commas_scheme_names_and_escapes_in_a_string_are_text():
    value = r'Bearer realm="a, Basic b=\"c\", \\ \d, error=\"no\"", error="yes"'
    params = {"realm": r'a, Basic b="c", \ d, error="no"', "error": "yes"}
    assert read(value) == [("Bearer", None, params)]


def test_of_a_repeated_parameter_the_first_is_kept():
    assert read('Bearer error="one", Error="two"') == [("Bearer", None, {"error": "one"})]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", []),
        (" ,, \t", []),
        ("=", []),
        ('"', []),
        ('"Bearer error=x"', []),
        ("error=x, Bearer", [("Bearer", None, {})]),
        ("@@@ Basic, Bearer error=x", [("Bearer", None, {"error": "x"})]),
        ('{"error": "a, Basic"}, Bearer error=x', [("Bearer", None, {"error": "x"})]),
        # No comma between parameters, and what wants quotes without them.
        ('Bearer realm="a" error="x"', [("Bearer", None, {"realm": "a", "error": "x"})]),
        (
            "Bearer realm=http://a/?b=c, e=x",
            [("Bearer", None, {"realm": "http://a/?b=c", "e": "x"})],
        ),
        ("Bearer realm=My API, error=x", [("Bearer", None, {"realm": "My", "error": "x"})]),
        ("Bearer my realm, error=x", [("Bearer", None, {"error": "x"})]),
        ('Bearer realm=a"b, c"d, error=x', [("Bearer", None, {"realm": "a", "error": "x"})]),
        ("Bearer realm=, error=x", [("Bearer", "realm=", {"error": "x"})]),
        ("Bearer =, error=x, DPoP error=y", [("DPoP", None, {"error": "y"})]),
        ("Bearer @=1, error=x", [("Bearer", None, {"error": "x"})]),
        # A string that is never closed ends at the next comma.
        ('Bearer realm="a, error=x', [("Bearer", None, {"error": "x"})]),
        ('Bearer realm="a\\", error=x', [("Bearer", None, {"error": "x"})]),
        (
            'Bearer realm="a, Basic x=", DPoP y="\\',
            [("Bearer", None, {"realm": "a, Basic x="}), ("DPoP", None, {})],
        ),
        ('Bearer a=x, b="c\\', [("Bearer", None, {"a": "x"})]),
    ],
)
def test_what_cannot_be_read_is_left_out_and_the_rest_is_read(value: str, expected: object):
    assert read(value) == expected


@every_time_the_same
@given(st.text() | st.text('Bearer =,"\\ab\t'))
def test_no_text_is_too_strange(value: str):
    for found in parse_challenges(value):
        assert found.scheme
        assert found.scheme in value


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@every_time_the_same
@given(st.data())
def test_what_is_written_by_the_grammar_is_read_back(data: st.DataObject):
    fields, expected = [], []
    for _ in range(data.draw(st.integers(0, 3))):
        scheme = data.draw(TOKEN)
        if data.draw(st.booleans()):
            token68 = data.draw(TOKEN68)
            fields.append(f"{scheme} {token68}")
            expected.append((scheme, token68, {}))
            continue
        params = data.draw(st.dictionaries(TOKEN.map(str.lower), TEXT, max_size=3))
        written = [
            f"{name}{data.draw(st.sampled_from(['=', ' = ']))}{quoted(value)}"
            for name, value in params.items()
        ]
        fields.append(f"{scheme} {','.join(written)}")
        expected.append((scheme, None, params))
    assert read(data.draw(st.sampled_from([",", ", "])).join(fields)) == expected


SIZE = 16 * 1024


@pytest.mark.unmeasured
@pytest.mark.parametrize(
    "unit",
    [
        ",",
        '"',
        "\\",
        '\\"',
        "a=",
        "a",
        "a ",
        "a,",
        "a =",
        'a="',
        'a="\\',
        "= ",
        " ",
        "a68== ",
        "a b",
        'a="x"',
        '"a',
        ',"',
        ', a="',
        "@",
        "@,",
        "\x00",
        'Bearer a="b\\"',
        "a ,=\t",
        '"\\,',
    ],
)
def test_the_work_grows_no_faster_than_the_text(unit: str, monkeypatch):
    work = 0
    take, peek = challenge._Reader.take, challenge._Reader.peek

    def counting_take(self, pattern):
        nonlocal work
        taken = take(self, pattern)
        work += 1 + len(taken)
        return taken

    def counting_peek(self):
        nonlocal work
        work += 1
        return peek(self)

    monkeypatch.setattr(challenge._Reader, "take", counting_take)
    monkeypatch.setattr(challenge._Reader, "peek", counting_peek)
    for start in ("Bearer ", 'Bearer a="'):
        work = 0
        value = start + unit * (SIZE // len(unit))
        parse_challenges(value)
        assert work <= 12 * len(value)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (None, None),
        ("", None),
        ("Bearer", None),
        ('Bearer error="invalid_token"', "invalid_token"),
        ("bEaReR error=invalid_token", "invalid_token"),
        ('Basic error="no", Bearer error="yes"', "yes"),
        ('DPoP error="use_dpop_nonce"', None),
        ('Bearer realm="first", Bearer error="second"', None),
        ("Bearer abc", None),
    ],
)
def test_the_error_is_that_of_the_first_bearer_challenge(value: str | None, error: str | None):
    assert find_error(value) == error


def test_other_schemes_can_be_asked_for():
    value = 'Basic error="a", DPoP error="use_dpop_nonce", Bearer error="b"'
    assert find_error(value, ("DPOP",)) == "use_dpop_nonce"
    assert find_error(value, {"bearer", "dpop"}) == "use_dpop_nonce"
    assert find_error(value, ()) is None


def test_a_challenge_is_a_value():
    found = Challenge("Bearer", None, {"error": "x"})
    assert parse_challenges("Bearer error=x") == (found,)
    assert pickle.loads(pickle.dumps(found)) == found
    with pytest.raises(AttributeError):
        found.scheme = "Basic"  # type: ignore[misc]
