"""Tests of the error classes: code that catches the errors of requests catches ours too."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
import requests

import oauthcc
from oauthcc import errors
from oauthcc.errors import (
    ConfigurationError,
    DiscoveryError,
    InsecureURLError,
    InvalidTokenResponse,
    OAuthCCError,
    TokenEndpointTimeout,
    TokenEndpointUnavailable,
    TokenEndpointUnreachable,
    TokenError,
    TokenRequestDenied,
    copy_error,
    remembered,
    retry_after_of,
    text_of,
)

BASES: dict[type[OAuthCCError], tuple[type[BaseException], ...]] = {
    OAuthCCError: (requests.RequestException, OSError),
    ConfigurationError: (OAuthCCError, ValueError),
    InsecureURLError: (OAuthCCError, requests.exceptions.InvalidURL, ValueError),
    DiscoveryError: (OAuthCCError,),
    TokenError: (OAuthCCError,),
    TokenRequestDenied: (TokenError,),
    InvalidTokenResponse: (TokenError,),
    TokenEndpointUnavailable: (TokenError,),
    TokenEndpointUnreachable: (TokenEndpointUnavailable, requests.ConnectionError),
    TokenEndpointTimeout: (TokenEndpointUnavailable, requests.Timeout),
}


def classes() -> Iterator[type[OAuthCCError]]:
    waiting: list[type[OAuthCCError]] = [OAuthCCError]
    while waiting:
        one = waiting.pop()
        yield one
        waiting += one.__subclasses__()


def test_the_docstring_shows_the_tree_of_the_classes() -> None:
    ours = {one for one in classes() if one.__module__ == errors.__name__}
    assert ours == set(BASES)
    for kind, bases in BASES.items():
        assert all(issubclass(kind, one) for one in bases)
        assert getattr(oauthcc, kind.__name__) is kind
        assert kind.__name__ in (errors.__doc__ or "")


def test_refusals_and_failures_do_not_catch_each_other() -> None:
    for kind in (TokenRequestDenied, InvalidTokenResponse):
        assert not issubclass(kind, TokenEndpointUnavailable)
        assert not issubclass(kind, (requests.ConnectionError, requests.Timeout))
    assert not issubclass(TokenError, ConfigurationError)
    assert not issubclass(DiscoveryError, TokenError)


@pytest.mark.parametrize("kind", BASES)
def test_code_that_catches_request_exceptions_catches_ours(kind: type[OAuthCCError]) -> None:
    with pytest.raises(requests.RequestException) as caught:
        raise kind("what happened")
    assert str(caught.value) == "what happened"
    assert caught.value.response is None
    assert caught.value.request is None


def answer() -> requests.Response:
    response = requests.Response()
    response.status_code = 400
    response._content = b"{}"
    response.request = requests.Request("POST", "https://as.example/token").prepare()
    return response


MEMBERS: dict[str, Any] = {
    "error": "invalid_client",
    "error_description": "unknown",
    "error_uri": "https://as.example/e",
    "retry_after": 5.0,
}
TOKEN_ERRORS = [kind for kind in BASES if issubclass(kind, TokenError)]


@pytest.mark.parametrize("kind", TOKEN_ERRORS)
def test_a_token_error_has_what_the_server_answered(kind: type[TokenError]) -> None:
    error = kind("denied", response=answer(), **MEMBERS)
    # The truth value of a response that is an error is False.
    assert error.response is not None
    assert error.status_code == error.response.status_code == 400
    assert error.request is error.response.request
    assert {name: getattr(error, name) for name in MEMBERS} == MEMBERS
    assert kind("too large", status_code=200).status_code == 200
    assert kind("both", status_code=200, response=answer()).status_code == 200
    bare = kind()
    assert {getattr(bare, name) for name in (*MEMBERS, "status_code", "response")} == {None}
    assert str(bare) == ""


@pytest.mark.parametrize("kind", TOKEN_ERRORS)
def test_a_pickle_and_a_copy_of_a_token_error_have_the_same_attributes(
    kind: type[TokenError],
) -> None:
    error = kind("denied", response=answer(), **MEMBERS)
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(again) is kind
        assert str(again) == "denied"
        assert {name: getattr(again, name) for name in MEMBERS} == MEMBERS
        assert again.response is not None
        assert again.status_code == again.response.status_code == 400


def test_a_copy_for_another_caller_has_a_traceback_of_its_own() -> None:
    cause = LookupError("the vault is sealed")
    try:
        raise TokenError("denied", **MEMBERS) from cause
    except TokenError as caught:
        error = caught
    copies = [copy_error(error) for _ in range(3)]
    for one in copies:
        assert one is not error
        assert one.__traceback__ is None
        assert one.__cause__ is cause
        assert one.__suppress_context__ is True
        assert (str(one), one.error) == ("denied", "invalid_client")
    with pytest.raises(TokenError) as raised:
        raise copies[0]
    assert raised.value.__traceback__ is not None
    assert copies[1].__traceback__ is None
    hidden = TokenError("quiet")
    assert copy_error(hidden).__suppress_context__ is False
    assert copy_error(hidden).__cause__ is None


class VaultSealed(TokenError):
    """An error of a user whose `__init__` needs other arguments."""

    def __init__(self, path: str, hint: str) -> None:
        super().__init__(f"The vault {path} is sealed: {hint}")
        self.path = path


class WithSlots(TokenError):
    __slots__ = ("empty", "path")

    def __init__(self, *, path: str) -> None:
        super().__init__(f"no {path}")
        self.path = path


class MadeByNew(TokenRequestDenied):
    def __new__(cls, path: str, hint: str) -> MadeByNew:
        return super().__new__(cls, path)

    def __init__(self, path: str, hint: str) -> None:
        self.path = path  # and not our `__init__`


@dataclasses.dataclass(frozen=True, eq=False)
class Frozen(TokenError):
    path: str


class InTwoFamilies(LookupError, TokenError):
    def __init__(self, path: str, hint: str) -> None:
        TokenError.__init__(self, f"no {path}", error=hint)
        self.path = path


OF_USERS: list[Any] = [
    VaultSealed("secret/me", "unseal it"),
    WithSlots(path="secret/me"),
    MadeByNew("secret/me", "unseal it"),
    Frozen("secret/me"),
    InTwoFamilies("secret/me", "unseal it"),
]
of_users = pytest.mark.parametrize("error", OF_USERS, ids=lambda error: type(error).__name__)


@of_users
def test_an_error_of_a_users_class_is_copied_without_its_init(error: Any) -> None:
    copied = copy_error(error)
    assert type(copied) is type(error)
    assert copied is not error
    assert (str(copied), copied.args, copied.path) == (str(error), error.args, "secret/me")
    assert vars(copied) == vars(error)
    assert (copied.response, copied.request, copied.status_code) == (None, None, None)


@of_users
def test_a_remembered_error_of_a_users_class_has_the_time_of_the_next_attempt(error: Any) -> None:
    copied = remembered(error, 2.5)
    assert (type(copied), copied.path, copied.retry_after) == (type(error), "secret/me", 2.5)
    assert "remembered" not in str(error)
    assert retry_after_of(copied) == 2.5


@pytest.mark.parametrize(
    "error",
    [FileNotFoundError(2, "No such file", "me.pem"), KeyError("a"), OSError(), ValueError(1, 2)],
)
def test_an_error_of_python_is_copied_with_its_text(error: Exception) -> None:
    assert str(copy_error(error)) == str(error)
    assert getattr(copy_error(error), "filename", None) == getattr(error, "filename", None)
    assert "remembered" not in str(error)


def test_a_remembered_error_of_another_library_gets_no_attribute() -> None:
    assert vars(remembered(LookupError(1, 2), 5.0)) == {}


def test_a_pause_that_has_ended_is_shown_as_a_second() -> None:
    copied = remembered(TokenError("down"), -1.0)
    assert copied.retry_after == 0.0
    assert "allowed in 1 s" in str(copied)


class Odd(TokenError):
    """An error that cannot be shown, and whose attribute cannot be read."""

    def __str__(self) -> str:
        raise LookupError

    @property
    def retry_after(self) -> float:  # type: ignore[override]
        raise LookupError

    @retry_after.setter
    def retry_after(self, value: object) -> None:
        pass


def test_an_error_that_cannot_be_read_has_the_text_of_its_class() -> None:
    assert (text_of(Odd("x")), retry_after_of(Odd("x"))) == ("Odd", None)
    assert text_of(TokenError(" one\n  two ")) == "one two"
    assert text_of(TokenError()) == "TokenError"
