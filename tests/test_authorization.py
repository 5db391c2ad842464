"""The token on a request: put there, recognised, and taken off again."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from requests import PreparedRequest, Request, Response
from requests.auth import AuthBase, HTTPDigestAuth
from requests.structures import CaseInsensitiveDict

from oauthcc import Bearer, DPoP, Token
from oauthcc.api_request.authorization import (
    CallerHooks,
    ResponseHandler,
    TokenHooks,
    brings_its_own,
    carries_token,
    carries_token_of_auth,
    copy_request,
    no_hook,
    put_token,
    take_token_off,
    without_token,
)
from oauthcc.clock import now
from oauthcc.redaction import SecretHeader
from oauthcc.schemes import Scheme
from oauthcc.tokens.renewal import schedule
from oauthcc.tokens.state import CurrentToken

URL = "https://api.example/x"
TOKEN = Token("the-token")


class OurHandler(ResponseHandler):
    def __init__(self) -> None:
        self.values = []

    def __call__(self, response: Response, **kwargs: Any) -> None:
        raise NotImplementedError


class HandlerOfAuth(OurHandler):
    is_from_auth = True


def user_hook(response: Response, **kwargs: Any) -> None:
    pass


def current(scheme: Scheme) -> CurrentToken:
    plan = schedule(TOKEN, now(), 0.5)
    return CurrentToken(TOKEN, scheme.authorization(TOKEN), plan, 1, 0.0)


def request(hooks: Any = None, **arguments: Any) -> PreparedRequest:
    """Return a request that was prepared without a session, with these very hooks."""
    prepared: Any = Request("GET", URL, **arguments).prepare()
    if hooks is not None:
        prepared.hooks = hooks
    return prepared


def with_token(hooks: Any = None, scheme: Scheme | None = None) -> PreparedRequest:
    """Return a request as the session sends it."""
    prepared, scheme = request(hooks), scheme or Bearer()
    put_token(prepared, current(scheme), scheme, OurHandler())
    return prepared


# Hooks


def test_our_handler_comes_before_the_hooks_of_the_user() -> None:
    for hooks, rest in (
        ({}, []),
        ({"response": []}, []),
        ({"response": user_hook}, [user_hook]),
        ({"response": [user_hook, user_hook]}, [user_hook, user_hook]),
        ({"response": (user_hook,)}, [user_hook]),
        ({"response": None}, []),
        ({"response": [OurHandler(), user_hook, no_hook]}, [user_hook]),
    ):
        before = dict(hooks)
        made: Any = with_token(hooks).hooks
        assert made["response"] == [made.handler, *rest]
        assert hooks == before, "the mapping of the user was changed"
    without: Any = request()
    without.hooks = None
    put_token(without, current(Bearer()), Bearer(), OurHandler())
    assert len(without.hooks["response"]) == 1


def test_hooks_of_other_names_are_kept() -> None:
    assert with_token({"other": user_hook}).hooks["other"] == [user_hook]


def test_the_hooks_stay_token_hooks_when_requests_copies_the_request() -> None:
    prepared: Any = with_token()
    copied: Any = prepared.copy()
    copied.register_hook("response", user_hook)
    assert isinstance(copied.hooks, TokenHooks)
    assert copied.hooks.handler is prepared.hooks.handler


@pytest.mark.parametrize(
    "duplicate",
    [copy.copy, lambda x: pickle.loads(pickle.dumps(x))],
    ids=["copy", "pickle"],
)
def test_a_copy_of_our_hooks_contains_only_those_of_the_user(duplicate: Any) -> None:
    made = duplicate(with_token({"response": [user_hook]}).hooks)
    assert type(made) is dict
    assert made == {"response": [user_hook]}


def test_a_deep_copy_of_our_hooks_decides_about_redirects_too() -> None:
    hooks: Any = with_token({"response": [user_hook]}).hooks
    hooks["other"] = user_hook
    made = copy.deepcopy(hooks)
    assert type(made) is TokenHooks
    assert made == {"response": [hooks.handler, user_hook], "other": [user_hook]}
    assert made is not hooks
    assert made.handler is hooks.handler


@pytest.mark.parametrize("kind", [OurHandler, HandlerOfAuth])
def test_a_handler_is_pickled_as_a_hook_that_does_nothing(kind: type[OurHandler]) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        made = pickle.loads(pickle.dumps({"response": [kind(), user_hook]}, protocol))
        assert made == {"response": [no_hook, user_hook]}
        assert made["response"][0](Response()) is None


# Whose decision the authorization is


class AuthOfTheUser(AuthBase):
    def hook(self, response: Response, **kwargs: Any) -> None:
        raise NotImplementedError


@pytest.mark.parametrize(
    "prepared",
    [
        request(CallerHooks({"response": []})),
        request(headers={"Authorization": "Bearer mine"}),
        request(headers={"authorization": b"Bearer mine"}),
        request(auth=("user", "password")),
        request(auth=HTTPDigestAuth("user", "password")),
        request({"response": [user_hook, AuthOfTheUser().hook]}),
        request({"response": AuthOfTheUser().hook}),
        request({"response": [HandlerOfAuth()]}),
    ],
    ids=["type", "header", "bytes", "basic", "digest", "hooks", "hook", "handler of auth"],
)
def test_an_authorization_of_the_caller_is_recognised(prepared: PreparedRequest) -> None:
    assert brings_its_own(prepared, "Authorization")
    assert not carries_token_of_auth(prepared)


def test_a_request_without_an_authorization_of_the_caller_is_recognised() -> None:
    without: Any = request()
    without.hooks = None
    for prepared in (
        without,
        request(),
        request({"response": user_hook}),
        request({"response": [no_hook]}),
        with_token(),
        request(headers={"Authorization": SecretHeader("Bearer ours")}),
    ):
        assert not brings_its_own(prepared, "Authorization")
        assert not carries_token_of_auth(prepared)


@pytest.mark.parametrize("hooks", [{"response": HandlerOfAuth()}, {"response": [HandlerOfAuth()]}])
@pytest.mark.parametrize("kind", [dict, CallerHooks])
def test_a_token_that_an_auth_of_ours_put_there_is_recognised(kind: type[Any], hooks: Any) -> None:
    prepared = request(kind(hooks))
    (handler,) = [kind(hooks)["response"]] if callable(hooks["response"]) else hooks["response"]
    put_token(prepared, current(Bearer()), Bearer(), handler)
    assert carries_token_of_auth(prepared)
    assert without_token(prepared) is prepared


def test_a_token_in_headers_that_the_caller_copied_is_not_a_token_of_an_auth() -> None:
    prepared = request(CallerHooks(), headers=with_token().headers)
    assert prepared.headers["Authorization"] == "Bearer the-token"
    assert brings_its_own(prepared, "Authorization")
    assert not carries_token_of_auth(prepared)


# Put on, taken off


@pytest.mark.parametrize("scheme", [Bearer(), DPoP()], ids=["Bearer", "DPoP"])
def test_a_token_that_was_put_on_a_request_is_taken_off_again(scheme: Scheme) -> None:
    prepared = request({"response": [user_hook]}, headers={"X-Mine": "1"})
    before = dict(prepared.headers)
    put_token(prepared, current(scheme), scheme, OurHandler())
    assert carries_token(prepared, "Authorization")
    assert prepared.headers["Authorization"] == f"{scheme.name} the-token"
    assert ("DPoP" in prepared.headers) is scheme.proves
    take_token_off(prepared)
    assert dict(prepared.headers) == before
    assert not carries_token(prepared, "Authorization")
    assert isinstance(prepared.hooks, CallerHooks)
    assert prepared.hooks == {"response": [user_hook]}


def test_headers_of_others_stay_on_a_request() -> None:
    headers = {"Authorization": "Bearer mine", "DPoP": "mine"}
    prepared = request(headers=headers)
    take_token_off(prepared)
    assert {name: prepared.headers[name] for name in headers} == headers


def test_a_request_without_a_token_is_the_same_object_and_another_one_is_copied() -> None:
    bare, sent = request(), with_token({"response": [user_hook]})
    assert without_token(bare) is bare
    copied = without_token(sent)
    assert not carries_token(copied, "Authorization")
    assert copied.hooks == {"response": [user_hook]}
    assert sent.headers["Authorization"] == "Bearer the-token"


def test_each_proof_is_a_new_one() -> None:
    prepared, scheme, handler = request(), DPoP(), OurHandler()
    put_token(prepared, current(scheme), scheme, handler)
    first, hooks = prepared.headers["DPoP"], prepared.hooks
    put_token(prepared, current(scheme), scheme, handler)
    assert prepared.headers["DPoP"] != first
    assert prepared.hooks is hooks


def test_a_copied_request_has_the_same_class_and_attributes() -> None:
    class OfTheUser(PreparedRequest):
        def __init__(self) -> None:
            raise NotImplementedError

    original = object.__new__(OfTheUser)
    original.__dict__.update(request().__dict__, of_the_user=7)
    copied = copy_request(original)
    assert type(copied) is OfTheUser
    assert vars(copied).keys() == vars(original).keys()
    assert copied.of_the_user == 7  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", [CaseInsensitiveDict, type("Own", (CaseInsensitiveDict,), {})])
def test_a_copied_request_has_headers_of_its_own(kind: type[CaseInsensitiveDict[str]]) -> None:
    original = request()
    original.headers = kind({"X-Mine": "1", "b": "2"})
    copied = copy_request(original)
    assert list(copied.headers.items()) == [("X-Mine", "1"), ("b", "2")]
    assert copied.headers["x-mine"] == "1"
    copied.headers["Authorization"] = "x"
    del copied.headers["B"]
    assert dict(original.headers) == {"X-Mine": "1", "b": "2"}
