"""The token on a request: put it on a copy, recognise it later, take it off again.

Rule of this module: the decision about a request travels with it as the *type* of its ``hooks``
mapping. `PreparedRequest.copy()` drops unknown attributes, but keeps that mapping, also when
requests follows a redirect and when a user calls ``register_hook``. Whether a request may carry a
token is decided by the caller (session.py, auth.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import requests
from requests import PreparedRequest
from requests.structures import CaseInsensitiveDict

from ..redaction import SecretHeader
from ..schemes import Scheme
from ..tokens.state import CurrentToken

_TOKEN_HEADERS = ("Authorization", "DPoP")
_NO_HOOKS: dict[str, Any] = {"response": []}
Hook = Callable[..., Any]


class ResponseHandler:
    """The base class of our response hook, by which it is recognised among those of the user.

    It is pickled as `no_hook`: responses are often pickled, and must not take a session along.
    """

    #: Whether the caller put it on the request, by an ``auth=`` of ours.
    is_from_auth = False

    def __reduce__(self) -> tuple[Callable[[], Hook], tuple[()]]:
        return _no_hook, ()


def _no_hook() -> Hook:
    return no_hook


def no_hook(response: requests.Response, **kwargs: Any) -> None:
    """Do nothing. This takes the place of our hook in a pickle."""


class CallerHooks(dict[str, Any]):
    """The hooks of a request without a token: its caller decided so, or it left its API."""


class TokenHooks(dict[str, Any]):
    """The hooks of a request that carries our token, with the handler of its response first."""

    handler: ResponseHandler | None = None

    def __reduce__(self) -> tuple[type[dict[str, Any]], tuple[dict[str, Any]]]:
        # Without the handler: the session that sends the unpickled request decides again.
        return dict, (hooks_of_the_user(self),)


def hooks_of_the_user(hooks: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a new mapping without the hooks that are ours."""
    theirs: dict[str, Any] = {}
    for event, found in (hooks or {}).items():
        several = [found] if callable(found) else found
        theirs[event] = [
            h for h in several if not isinstance(h, ResponseHandler) and h is not no_hook
        ]
    return theirs


def token_header(request: PreparedRequest) -> SecretHeader | None:
    """Return the ``Authorization`` of a request if it is one of ours."""
    header = request.headers.get("Authorization")
    return header if isinstance(header, SecretHeader) else None


def brings_its_own(request: PreparedRequest) -> bool:
    """Return whether the caller has decided how this request is authorized.

    If a request was prepared with digest, NTLM or the like, only a hook shows that.
    """
    if isinstance(request.hooks, CallerHooks):
        return True
    headers: Any = request.headers
    if not isinstance(headers, CaseInsensitiveDict):  # a user put a plain dict there
        headers = CaseInsensitiveDict(headers)
    if "Authorization" in headers and not isinstance(headers["Authorization"], SecretHeader):
        return True
    hooks: Any = (request.hooks or {}).get("response") or ()
    return bool(hooks) and any(
        isinstance(getattr(hook, "__self__", None), requests.auth.AuthBase) or _is_from_auth(hook)
        for hook in ((hooks,) if callable(hooks) else hooks)
    )


def carries_token_of_auth(request: PreparedRequest) -> bool:
    """Return whether a `ClientCredentialsAuth` of the caller put a token on a request.

    Return False if the caller copied the headers of another request: copying must not send a token
    to a new URL.
    """
    if token_header(request) is None or isinstance(request.hooks, TokenHooks):
        return False
    hooks: Any = (request.hooks or {}).get("response") or ()
    several: Iterable[Hook] = (hooks,) if callable(hooks) else hooks
    return any(map(_is_from_auth, several))


def _is_from_auth(hook: Hook) -> bool:
    return isinstance(hook, ResponseHandler) and hook.is_from_auth


def copy_request(request: PreparedRequest) -> PreparedRequest:
    """Return a copy of a request for one sending.

    ``PreparedRequest.copy()`` drops subclass and attributes, and is slow.
    """
    copied = object.__new__(type(request))
    copied.__dict__.update(request.__dict__)
    headers = request.headers
    store = headers.__dict__.get("_store") if type(headers) is CaseInsensitiveDict else None
    if store is None:
        copied.headers = headers.copy()
    else:  # the copy() of requests enters every header anew, which takes most of the time
        copied.headers = object.__new__(CaseInsensitiveDict)
        copied.headers.__dict__["_store"] = store.copy()
    return copied


def put_token(
    request: PreparedRequest,
    current: CurrentToken,
    scheme: Scheme,
    handler: ResponseHandler | None = None,
) -> None:
    """Put the token on a request, in place, with a proof made for this sending.

    ``handler`` becomes the first hook of the response. A replay has it already.
    """
    request.headers["Authorization"] = current.header
    if scheme.proves:
        url, method = str(request.url), str(request.method)
        request.headers.update(scheme.proof(method, url, current.token))
    if handler is not None:
        theirs = {} if request.hooks == _NO_HOOKS else hooks_of_the_user(request.hooks)
        hooks = TokenHooks(theirs, response=[handler, *theirs.get("response", ())])
        hooks.handler = handler
        request.hooks = hooks


def take_token_off(request: PreparedRequest) -> None:
    """Remove what is ours from a request, in place, and mark it so that it gets no token again."""
    for name in _TOKEN_HEADERS:
        if isinstance(request.headers.get(name), SecretHeader):
            del request.headers[name]
    request.hooks = CallerHooks(hooks_of_the_user(request.hooks))


def without_token(request: PreparedRequest) -> PreparedRequest:
    """Return a request without a token of ours that it carries from an earlier sending."""
    if not isinstance(request, PreparedRequest) or request.headers is None:
        return request
    if token_header(request) is None and not isinstance(request.hooks, TokenHooks):
        return request
    if carries_token_of_auth(request):
        return request
    copied = copy_request(request)
    take_token_off(copied)
    return copied
