"""Our header on a request: put there, found again, and taken off."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from requests import PreparedRequest, Request, Response
from requests.auth import AuthBase, HTTPDigestAuth
from requests.structures import CaseInsensitiveDict
from urllib3.util import Timeout

from oauthcc import Bearer, DPoP, signing
from oauthcc.access_token import Token
from oauthcc.schemes import Scheme, SecretHeader
from oauthcc.tokens.renewal import now, schedule
from oauthcc.tokens.state import CurrentToken

URL = "https://api.example/x"
TOKEN = Token("the-token")


class OurHandler(signing.Handler):
    def __call__(self, response: Response, **kwargs: Any) -> None:
        raise NotImplementedError


class TheirHandler(OurHandler):
    is_the_callers = True


def theirs(response: Response, **kwargs: Any) -> None:
    """Be a hook of the user's."""


def held(scheme: Scheme) -> CurrentToken:
    return CurrentToken.of(TOKEN, scheme.authorization(TOKEN), schedule(TOKEN, now(), 0.5))


def request(**arguments: Any) -> PreparedRequest:
    return Request("GET", URL, **arguments).prepare()


def marked(prepared: PreparedRequest, reach: object = None) -> PreparedRequest:
    """Make of a request what the session makes of it."""
    signing.sign(prepared, held(Bearer()), Bearer())
    prepared.hooks = signing.OurHooks.of(OurHandler(), prepared.hooks, reach, None, None)
    return prepared


# Hooks


def test_our_handler_comes_before_the_hooks_of_the_user() -> None:
    ours = OurHandler()
    for hooks, rest in (
        (None, []),
        ({}, []),
        ({"response": []}, []),
        ({"response": theirs}, [theirs]),
        ({"response": [theirs, theirs]}, [theirs, theirs]),
        ({"response": (theirs,)}, [theirs]),
        ({"response": [OurHandler(), theirs, signing.no_hook]}, [theirs]),
    ):
        made = signing.OurHooks.of(ours, hooks, None, None, None)
        assert made["response"] == [ours, *rest]


def test_hooks_of_other_names_are_kept() -> None:
    made = signing.OurHooks.of(OurHandler(), {"other": theirs}, None, None, None)
    assert made["other"] == [theirs]


def test_the_mapping_of_the_user_is_not_touched() -> None:
    hooks = {"response": [theirs]}
    signing.OurHooks.of(OurHandler(), hooks, None, None, None)
    assert hooks == {"response": [theirs]}


def test_the_mark_survives_what_requests_does_with_hooks() -> None:
    reach = object()
    prepared = marked(request(), reach)
    copied = prepared.copy()
    assert signing.is_marked_by(copied, reach)
    assert not signing.is_marked_by(copied, object())
    assert not signing.is_marked_by(request(), reach)
    copied.register_hook("response", theirs)  # type: ignore[no-untyped-call]
    assert signing.is_marked_by(copied, reach)


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_a_copy_of_our_hooks_holds_those_of_the_user_alone(duplicate: Any) -> None:
    ours = signing.OurHooks.of(OurHandler(), {"response": [theirs]}, object(), object(), None)
    made = duplicate(ours)
    assert type(made) is dict
    assert made == {"response": [theirs]}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", [OurHandler, TheirHandler])
def test_a_handler_pickles_as_a_hook_that_does_nothing(
    kind: type[OurHandler], protocol: int
) -> None:
    made = pickle.loads(pickle.dumps({"response": [kind(), theirs]}, protocol))
    assert made == {"response": [signing.no_hook, theirs]}
    assert made["response"][0](Response()) is None


# Who decided


def test_a_caller_that_decided_is_recognised() -> None:
    class OfTheirs(AuthBase):
        def hook(self, response: Response, **kwargs: Any) -> None:
            raise NotImplementedError

    by_type = request()
    by_type.hooks = signing.TheirHooks(by_type.hooks)
    single: Any = request()
    single.hooks = {"response": OfTheirs().hook}
    for prepared in (
        by_type,
        request(headers={"Authorization": "Bearer mine"}),
        request(headers={"authorization": b"Bearer mine"}),
        request(auth=("user", "password")),
        request(auth=HTTPDigestAuth("user", "password")),
        request(hooks={"response": [theirs, OfTheirs().hook]}),
        request(hooks={"response": [TheirHandler()]}),
        single,
    ):
        assert signing.brings_its_own(prepared)
        assert not signing.shows_the_callers(prepared)


def test_a_caller_that_did_not_decide_is_recognised() -> None:
    without: Any = request()
    without.hooks = None
    for prepared in (
        without,
        request(),
        request(hooks={"response": theirs}),
        request(hooks={"response": [signing.no_hook]}),
        marked(request()),
        request(headers={"Authorization": SecretHeader("Bearer ours")}),
    ):
        assert not signing.brings_its_own(prepared)
        assert not signing.shows_the_callers(prepared)


def test_a_token_that_the_caller_put_there_by_an_auth_of_ours_is_recognised() -> None:
    bare = request(hooks={"response": TheirHandler()})
    signing.sign(bare, held(Bearer()), Bearer())
    prepared = request()
    signing.sign(prepared, held(Bearer()), Bearer())
    prepared.hooks = signing.TheirHooks({"response": [TheirHandler()]})
    assert signing.shows_the_callers(bare)
    assert signing.shows_the_callers(prepared)


def test_a_token_of_ours_in_headers_that_the_caller_copied_is_not_the_callers() -> None:
    copied = marked(request()).headers
    prepared = request(headers=copied)
    prepared.hooks = signing.TheirHooks()
    assert signing.shown(prepared) == "Bearer the-token"
    assert signing.brings_its_own(prepared)
    assert not signing.shows_the_callers(prepared)


# Signing


@pytest.mark.parametrize("scheme", [Bearer(), DPoP()], ids=["Bearer", "DPoP"])
def test_what_was_put_on_a_request_is_taken_off_again(scheme: Scheme) -> None:
    prepared = request(headers={"X-Mine": "1"}, hooks={"response": [theirs]})
    before = dict(prepared.headers)
    signing.sign(prepared, held(scheme), scheme)
    assert signing.shown(prepared) == f"{scheme.name} the-token"
    assert ("DPoP" in prepared.headers) is scheme.proves
    signing.strip(prepared)
    assert dict(prepared.headers) == before
    assert signing.shown(prepared) is None
    assert isinstance(prepared.hooks, signing.TheirHooks)
    assert prepared.hooks == {"response": [theirs]}


def test_what_others_put_on_a_request_stays() -> None:
    headers = {"Authorization": "Bearer mine", "DPoP": "mine"}
    prepared = request(headers=headers)
    signing.strip(prepared)
    assert prepared.headers["Authorization"] == "Bearer mine"
    assert prepared.headers["DPoP"] == "mine"


def test_a_proof_is_made_anew_each_time() -> None:
    prepared, scheme = request(), DPoP()
    signing.sign(prepared, held(scheme), scheme)
    first = prepared.headers["DPoP"]
    signing.sign(prepared, held(scheme), scheme)
    assert prepared.headers["DPoP"].encode() != first.encode()


def test_a_twin_is_of_the_same_class_and_knows_the_same() -> None:
    class OfTheirs(PreparedRequest):
        def __init__(self) -> None:
            raise NotImplementedError

    original = object.__new__(OfTheirs)
    original.__dict__.update(request(headers={"X-Mine": "1"}).__dict__, of_theirs=7)
    twin = signing.twin_of(original)
    assert type(twin) is OfTheirs
    assert vars(twin).keys() == vars(original).keys()
    assert twin.of_theirs == 7  # type: ignore[attr-defined]
    twin.headers["Authorization"] = "x"
    assert "Authorization" not in original.headers


@pytest.mark.parametrize("kind", [CaseInsensitiveDict, type("Theirs", (CaseInsensitiveDict,), {})])
def test_a_twin_has_headers_of_its_own(kind: type[CaseInsensitiveDict[str]]) -> None:
    original = request()
    original.headers = kind({"X-Mine": "1", "b": "2"})
    twin = signing.twin_of(original)
    assert list(twin.headers.items()) == [("X-Mine", "1"), ("b", "2")]
    assert twin.headers["x-mine"] == "1"
    twin.headers["Authorization"] = "x"
    del twin.headers["B"]
    assert dict(original.headers) == {"X-Mine": "1", "b": "2"}


# Patience


@pytest.mark.parametrize(
    ("timeout", "seconds"),
    [
        (None, None),
        (3, 3),
        (0.5, 0.5),
        ((1, 2), 3.0),
        ((1, 2.5), 3.5),
        ((None, 2), None),
        ((1, None), None),
        ((), None),
        (Timeout(7), 7),
        (Timeout(total=2.5, connect=1, read=1), 2.5),
        (Timeout(connect=1, read=2), 3.0),
        (Timeout(connect=1, read=None), None),
        (Timeout(), None),
        (object(), None),
    ],
)
def test_a_caller_waits_as_long_as_its_timeout_says(timeout: Any, seconds: float | None) -> None:
    assert signing.seconds(timeout) == seconds
