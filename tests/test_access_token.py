from __future__ import annotations

import copy
import dataclasses
import pickle
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oauthcc import Token
from tests.json_values import nested

FULL = Token("abc", "Bearer", 1000.0, 4600.0, "read", MappingProxyType({"id_token": {"x": 1}}))

times = st.floats(-1e14, 1e14)
json_values = nested(st.none() | st.booleans() | st.integers() | st.text(), st.text())
tokens = st.builds(
    Token,
    st.text(min_size=1),
    st.text(),
    times,
    st.none() | times,
    st.none() | st.text(),
    st.dictionaries(st.text(), json_values).map(MappingProxyType),
)


def test_no_text_shows_the_token_or_its_extra_members() -> None:
    for shown in (repr(FULL), str(FULL), f"{FULL}"):
        assert "abc" not in shown
        assert "id_token" not in shown
        assert "scope='read'" in shown


def test_a_token_never_changes() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        FULL.access_token = "other"  # type: ignore[misc]
    with pytest.raises(TypeError):
        FULL.extra["new"] = 1  # type: ignore[index]
    with pytest.raises(TypeError):
        Token("t").extra["new"] = 1  # type: ignore[index]


def test_the_lifetime_is_the_time_from_issue_to_expiry() -> None:
    assert FULL.lifetime == 3600.0
    assert Token("t", issued_at=1000.0).lifetime is None
    assert Token("t", issued_at=1000.0, expires_at=990.0).lifetime == -10.0


def test_extra_members_do_not_count_for_hash_and_equality() -> None:
    assert {FULL: 1}[dataclasses.replace(FULL, extra=MappingProxyType({}))] == 1
    assert dataclasses.replace(FULL, access_token="other") != FULL


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_token_survives_a_pickle(protocol: int) -> None:
    back = pickle.loads(pickle.dumps(FULL, protocol))
    assert back == FULL
    assert back.extra == FULL.extra


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_token_can_be_copied(copied: Any) -> None:
    assert copied(FULL) == FULL
    assert copied(FULL).extra == FULL.extra


@settings(max_examples=50)
@given(tokens)
def test_a_token_can_be_restored_from_plain_values(token: Token) -> None:
    back = Token.from_dict(token.to_dict())
    assert back == token
    assert back.extra == token.extra


def changed(**changes: Any) -> dict[str, Any]:
    return {**FULL.to_dict(), **changes}


@pytest.mark.parametrize(
    "values",
    [
        None,
        [],
        {},
        "access_token",
        {"access_token": "abc"},
        changed(access_token=""),
        changed(access_token=None),
        changed(access_token=b"abc"),
        changed(token_type=None),
        changed(issued_at=None),
        changed(issued_at="1000"),
        changed(issued_at=True),
        changed(issued_at=float("nan")),
        changed(expires_at="soon"),
        changed(expires_at=float("inf")),
        changed(expires_at=1e15),
        changed(scope=["read"]),
        changed(extra=None),
        changed(extra=[]),
    ],
)
def test_invalid_stored_values_are_refused(values: Any) -> None:
    with pytest.raises(ValueError, match="not a stored token") as caught:
        Token.from_dict(values)
    error = caught.value
    assert error.__context__ is None or error.__suppress_context__
