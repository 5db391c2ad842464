"""The token on a request: put it on a copy, recognise it later, take it off again.

Rule of this module: the decision about a request travels with it as the *type* of its ``hooks``
mapping. `PreparedRequest.copy()` drops unknown attributes, but keeps that mapping, also when
requests follows a redirect and when a user calls ``register_hook``. Whether a request may carry a
token is decided by the caller (session.py, auth.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import requests
from requests import PreparedRequest
from requests.structures import CaseInsensitiveDict

from ..redaction import SecretHeader
from ..schemes import Scheme
from ..tokens.state import CurrentToken
from .body import NO_BODY, BodyNote, UnreplayableBody, note_body

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


class RedirectedHooks(CallerHooks):
    """The hooks of a request whose token was taken off, because it left its API."""


class TokenHooks(dict[str, Any]):
    """The hooks of a request that carries our token, with the handler of its response first."""

    handler: ResponseHandler | None = None

    def __deepcopy__(self, memo: object) -> TokenHooks:
        # With the handler, without which nothing decides about the hops of a redirect.
        copied = TokenHooks(hooks_of_the_user(self))
        copied["response"] = [self.handler, *copied.get("response", ())]
        copied.handler = self.handler
        return copied

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


def our_headers(request: PreparedRequest) -> list[str]:
    """Return the names of the headers whose values are ours."""
    return [name for name, value in request.headers.items() if isinstance(value, SecretHeader)]


def token_header(request: PreparedRequest) -> SecretHeader | None:
    """Return the ``Authorization`` of a request if it is one of ours."""
    header = request.headers.get("Authorization")
    return header if isinstance(header, SecretHeader) else None


def brings_its_own(request: PreparedRequest) -> bool:
    """Return whether the caller has decided how this request is authorized.

    If a request was prepared with digest, NTLM or the like, only a hook shows that.
    """
    hooks: Any = vars(request).get("hooks")
    if isinstance(hooks, CallerHooks):
        return True
    headers: Any = request.headers
    if not isinstance(headers, CaseInsensitiveDict):  # a user put a plain dict there
        headers = CaseInsensitiveDict(headers)
    if "Authorization" in headers and not isinstance(headers["Authorization"], SecretHeader):
        return True
    hooks = (hooks or {}).get("response") or ()
    return bool(hooks) and any(
        isinstance(getattr(hook, "__self__", None), requests.auth.AuthBase) or _is_from_auth(hook)
        for hook in ((hooks,) if callable(hooks) else hooks)
    )


def carries_token_of_auth(request: PreparedRequest) -> bool:
    """Return whether a `ClientCredentialsAuth` of the caller put a token on a request.

    Return False if the caller copied the headers of another request: copying must not send a token
    to a new URL.
    """
    hooks: Any = vars(request).get("hooks")
    if isinstance(hooks, TokenHooks) or not our_headers(request):
        return False
    hooks = (hooks or {}).get("response") or ()
    several: Iterable[Hook] = (hooks,) if callable(hooks) else hooks
    return any(map(_is_from_auth, several))


def _is_from_auth(hook: Hook) -> bool:
    return isinstance(hook, ResponseHandler) and hook.is_from_auth


class HandedOver(NamedTuple):
    """What was handed over to be sent, before an adapter could change it in place.

    A replay is made from it. What an adapter changes does not count, because the adapter will
    change it again.
    """

    method: str
    url: str
    headers: Any
    body: Any
    #: How to rewind the body, or why that is impossible.
    note: BodyNote | UnreplayableBody

    def rewind(self) -> None:
        """Put the body back to its first position; raise `UnreplayableBody` if it cannot be."""
        if isinstance(self.note, UnreplayableBody):
            raise UnreplayableBody(*self.note.args)  # not itself: it would keep our frames
        self.note.rewind()

    def request(self, first: PreparedRequest) -> PreparedRequest:
        """Return a new request with this content. The rest is that of the first one."""
        new = copy_request(first)
        new.method, new.url, new.body = self.method, self.url, self.body
        new.headers = _copy_of(self.headers)
        return new


_new = tuple.__new__


def hand_over(request: PreparedRequest) -> HandedOver:
    """Note what is handed over now."""
    own = request.__dict__
    note = NO_BODY if own["body"] is None else _note_or_reason(own["body"])
    return HandedOver(own["method"], own["url"], _copy_of(own["headers"]), own["body"], note)


def copy_to_send(request: PreparedRequest) -> tuple[PreparedRequest, HandedOver]:
    """Return a copy of a request for one sending, and the note of what is sent.

    Headers of ours, copied from another request or left from an earlier sending, are left out.
    """
    copied = object.__new__(type(request))
    own = copied.__dict__
    own.update(request.__dict__)
    body, headers = own["body"], own["headers"]
    note = NO_BODY if body is None else _note_or_reason(body)
    if type(headers) is CaseInsensitiveDict:  # as `_copy_of` does, without two calls
        own["headers"] = object.__new__(CaseInsensitiveDict)
        kept = object.__new__(CaseInsensitiveDict)
        store = headers.__dict__["_store"].copy()
        for name in [n for n, (_, value) in store.items() if isinstance(value, SecretHeader)]:
            del store[name]
        own["headers"].__dict__["_store"], kept.__dict__["_store"] = store, store.copy()
    else:
        kept = headers.copy()
        for name in our_headers(request):
            del kept[name]
        own["headers"] = kept.copy()
    return copied, _new(HandedOver, (own["method"], own["url"], kept, body, note))


def copy_request(request: PreparedRequest) -> PreparedRequest:
    """Return a copy of a request.

    ``PreparedRequest.copy()`` drops subclass and attributes, and is slow.
    """
    copied = object.__new__(type(request))
    copied.__dict__.update(request.__dict__)
    copied.headers = _copy_of(request.headers)
    return copied


def _note_or_reason(body: Any) -> BodyNote | UnreplayableBody:
    try:
        return note_body(body)
    except UnreplayableBody as reason:
        return reason


def _copy_of(headers: Any) -> Any:
    """Return a copy of headers. That of requests enters every header anew, which takes long."""
    if type(headers) is not CaseInsensitiveDict:  # a user put something else there
        return headers.copy()
    copied = object.__new__(CaseInsensitiveDict)
    copied.__dict__["_store"] = headers.__dict__["_store"].copy()
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
        for name, value in scheme.proof(method, url, current.token).items():
            # It is recognised by its type, and the scheme of a user may return a plain text.
            is_ours = isinstance(value, SecretHeader)
            request.headers[name] = value if is_ours else SecretHeader(value)
    if handler is not None:
        given = vars(request).get("hooks")
        theirs = {} if given == _NO_HOOKS else hooks_of_the_user(given)
        hooks = TokenHooks(theirs, response=[handler, *theirs.get("response", ())])
        hooks.handler = handler
        request.__dict__["hooks"] = hooks


def take_token_off(request: PreparedRequest) -> None:
    """Remove what is ours from a request, in place, and mark it so that it gets no token again."""
    for name in our_headers(request):
        del request.headers[name]
    request.hooks = RedirectedHooks(hooks_of_the_user(vars(request).get("hooks")))


def without_token(request: PreparedRequest) -> PreparedRequest:
    """Return a request without a token of ours that it carries from an earlier sending."""
    if not isinstance(request, PreparedRequest) or request.headers is None:
        return request
    if not our_headers(request) and not isinstance(vars(request).get("hooks"), TokenHooks):
        return request
    if carries_token_of_auth(request):
        return request
    copied = copy_request(request)
    take_token_off(copied)
    return copied
