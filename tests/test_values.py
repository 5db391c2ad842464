"""Tests of values: they work as slotted dataclasses, also where users treat them as such."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import sys
from typing import Any, get_type_hints

import pytest

from oauthcc import (
    ClientAssertion,
    ClientSecretBasic,
    ClientSecretJWT,
    PrivateKeyJWT,
    TLSClientAuth,
    Token,
    TokenObtained,
    events,
)
from oauthcc.client_auth import Attempt
from oauthcc.tokens.fetcher import FetchResult
from oauthcc.values import field, frozen, mutable, replace

OBTAINED = TokenObtained("https://as.example/token", "absent", 0.1, 60.0, 1, client_id="my-id")


@frozen
class Base:
    first: int
    named: str = field(default="name", kw_only=True, repr=False)


@frozen
class Value(Base):
    second: list[int] = field(default_factory=list, compare=False)
    made: int = field(init=False)
    constant = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "made", self.first + 1)


@dataclasses.dataclass(frozen=True, slots=True)
class Like:
    """What a dataclass does with the same fields."""

    first: int
    named: str = dataclasses.field(default="name", kw_only=True, repr=False)
    second: list[int] = dataclasses.field(default_factory=list, compare=False)
    made: int = dataclasses.field(init=False)
    constant = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "made", self.first + 1)


class Own(ClientSecretBasic):
    """A class of a user, with an ``__init__`` and an attribute of its own."""

    def __init__(self, tenant: str) -> None:
        super().__init__(encode=False)
        self.tenant = tenant


@dataclasses.dataclass(frozen=True)
class OwnDataclass(ClientSecretBasic):
    """A dataclass of a user."""

    tenant: str = "blue"


def test_a_value_does_what_a_dataclass_does() -> None:
    for kind in (Value, Like):
        one = kind(1, named="n", second=[2])
        assert (one.first, one.named, one.second, one.made, kind.constant) == (1, "n", [2], 2, 1)
        assert repr(one) == f"{kind.__qualname__}(first=1, second=[2], made=2)"
        assert one == kind(1, named="n")
        assert hash(one) == hash(kind(1, named="n"))
        assert one not in (kind(2, named="n"), kind(1), (1, "n", [2], 2), None)
        assert kind(1).second is not kind(1).second
        assert not hasattr(one, "__dict__")
        assert kind.__match_args__ == ("first", "second")
        assert dataclasses.asdict(one) == {"first": 1, "named": "n", "second": [2], "made": 2}
        assert dataclasses.replace(one, first=5).made == 6
        assert dataclasses.replace(one, first=5).second == [2]
        match one:
            case Value(first, second) | Like(first, second):
                assert (first, second) == (1, [2])
    assert str(inspect.signature(Value)) == str(inspect.signature(Like))
    assert [f.name for f in dataclasses.fields(Value)] == [f.name for f in dataclasses.fields(Like)]


@pytest.mark.parametrize("kind", [Value, Like])
@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((), {}),
        ((1, [], 3), {}),
        ((1,), {"first": 1}),
        ((1,), {"other": 1}),
        ((1,), {"made": 1}),
        ((1,), {"constant": 1}),
    ],
)
def test_wrong_arguments_are_a_type_error(kind: Any, args: Any, kwargs: Any) -> None:
    with pytest.raises(TypeError) as caught:
        kind(*args, **kwargs)
    assert kind.__qualname__ in str(caught.value)


def test_an_error_about_arguments_shows_none_of_them() -> None:
    with pytest.raises(TypeError, match="access_token") as caught:
        Token(access_token="my-token", other="my-other")  # type: ignore[call-arg]
    assert "my-" not in str(caught.value)
    trace = caught.tb.tb_next  # the frames that are not the test's own
    while trace is not None:
        assert not any("my-" in repr(shown) for shown in trace.tb_frame.f_locals.values())
        trace = trace.tb_next


def test_an_error_about_arguments_in_a_class_of_a_user_says_what_ours_takes() -> None:
    class OwnToken(Token):
        def __init__(self, name: str) -> None:
            super().__init__(name=name)  # type: ignore[call-arg]

    with pytest.raises(TypeError, match=r"^Token takes \(access_token: "):
        OwnToken("my-name")


@pytest.mark.parametrize("value", [Value(1), Token("t"), OBTAINED, ClientSecretBasic()])
def test_a_value_never_changes(value: Any) -> None:
    for each in dataclasses.fields(value):
        with pytest.raises(dataclasses.FrozenInstanceError, match=each.name):
            setattr(value, each.name, 1)
        with pytest.raises(dataclasses.FrozenInstanceError, match=each.name):
            delattr(value, each.name)
    for change in (lambda: setattr(value, "other", 1), lambda: delattr(value, "other")):
        with pytest.raises(AttributeError):
            change()


def test_a_mutable_value_can_change_and_has_no_hash() -> None:
    result = FetchResult("absent", 1)
    result.attempts = 2
    assert result == FetchResult("absent", 1, attempts=2)
    del result.attempts
    assert not hasattr(result, "attempts")
    with pytest.raises(TypeError, match="unhashable"):
        hash(result)
    attempt = Attempt("my-id", "my-secret", "https://as.example", {"a": "b"}, [], [])
    assert repr(attempt) == "Attempt(client_id='my-id', audience='https://as.example')"
    assert dataclasses.replace(attempt, client_secret="other").secret("x") == "other"


@pytest.mark.parametrize(
    "value",
    [OBTAINED, ClientSecretBasic(encode=False), FetchResult("aging", 7), OwnDataclass(tenant="x")],
    ids=lambda value: type(value).__name__,
)
def test_pickles_and_copies_of_a_value_are_equal_to_it(value: Any) -> None:
    pickles = [pickle.dumps(value, p) for p in range(pickle.HIGHEST_PROTOCOL + 1)]
    copies = [*map(pickle.loads, pickles), copy.copy(value), copy.deepcopy(value)]
    assert [(type(c), c, repr(c)) for c in copies] == [(type(value), value, repr(value))] * 8


def test_a_value_that_contains_itself_can_be_shown() -> None:
    one = Value(1)
    one.second.append(one)  # type: ignore[arg-type]
    assert repr(one) == "Value(first=1, second=[...], made=2)"


def test_fields_can_be_replaced() -> None:
    changed = replace(OBTAINED, attempts=0)
    assert (changed.attempts, changed.token_url) == (0, OBTAINED.token_url)
    assert (changed.client_id, OBTAINED.attempts) == ("my-id", 1)
    assert OBTAINED.__replace__(attempts=0) == changed  # type: ignore[attr-defined]
    if sys.version_info >= (3, 13):
        assert copy.replace(OBTAINED, attempts=0) == changed


def test_classes_of_users_may_inherit_from_a_value() -> None:
    own = Own("blue")
    assert (own.tenant, own.encode) == ("blue", False)
    own.tenant = "red"
    del own.tenant
    with pytest.raises(dataclasses.FrozenInstanceError):
        own.encode = True  # type: ignore[misc]
    assert str(inspect.signature(Own)) == "(tenant: 'str') -> 'None'"
    theirs = OwnDataclass(False, "red")
    assert repr(theirs) == "OwnDataclass(encode=False, tenant='red')"
    assert dataclasses.replace(theirs, encode=True) == OwnDataclass(True, "red")
    assert [*inspect.signature(OwnDataclass).parameters] == ["encode", "tenant"]


def test_the_signature_of_a_value_can_be_read() -> None:
    assert [*inspect.signature(Token).parameters][:2] == ["access_token", "token_type"]
    jwt, private = inspect.signature(ClientSecretJWT), inspect.signature(PrivateKeyJWT)
    assert str(jwt).startswith("(algorithm: 'str' = 'HS256', *, lifetime: 'int' = 60")
    assert private.parameters["headers"].kind is inspect.Parameter.KEYWORD_ONLY
    assert "_password" not in private.parameters


@pytest.mark.parametrize("kind", [ClientSecretJWT, PrivateKeyJWT, ClientAssertion, TLSClientAuth])
def test_the_types_of_the_fields_can_be_read(kind: type) -> None:
    hints = get_type_hints(kind)
    assert {f.name for f in dataclasses.fields(kind)} <= hints.keys()
    assert "_" not in hints


@mutable
class Empty:
    """A value without fields."""


def test_a_value_may_have_no_fields() -> None:
    assert Empty() == Empty()
    assert repr(events.Client("my-id", None)) != repr(Empty()) == "Empty()"


def test_a_private_key_jwt_is_equal_to_itself_only() -> None:
    def key() -> str:
        raise AssertionError("nobody asks for the key")

    one, other = PrivateKeyJWT(key), PrivateKeyJWT(key)
    assert one == one  # noqa: PLR0124 - this is what is tested
    assert one != other
    assert len({one, other, one}) == 2
