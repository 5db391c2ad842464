"""The token on a request: put it on a copy, recognise it later, take it off again.

Rule of this module: the decision about a request travels with it as the *type* of its ``hooks``
mapping. `PreparedRequest.copy()` drops unknown attributes, but keeps that mapping, also when
requests follows a redirect and when a user calls ``register_hook``. Whether a request may carry a
token is decided by the caller (session.py, auth.py).

What is handed over to an adapter is an exact ``str``, which shows nothing of where it comes from.
So a header of ours is recognised in two ways: by the handler in the hooks, which notes the values
that were put on its request; and by its type, `SecretHeader`, on everything that users see
afterwards (``response.request``, ``response.next``, errors) and may copy headers from.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

import requests
from requests import PreparedRequest
from requests.structures import CaseInsensitiveDict

from ..redaction import SecretHeader, plain_text
from ..schemes import Scheme
from ..tokens.state import CurrentToken
from .body import NO_BODY, BodyNote, UnreplayableBody, note_body

_NO_HOOKS: dict[str, Any] = {"response": []}
Hook = Callable[..., Any]


class ResponseHandler:
    """The base class of our response hook, by which it is recognised among those of the user.

    It is pickled as `no_hook`: responses are often pickled, and must not take a session along.
    """

    __slots__ = ()
    #: Whether the caller put it on the request, by an ``auth=`` of ours.
    is_from_auth = False
    #: The name of the header that carries the token.
    header: str = "Authorization"
    #: The values of the headers that were put on its request, and on the replays of it.
    values: list[str]

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

    handler: ResponseHandler

    @classmethod
    def of(cls, handler: ResponseHandler, hooks: Mapping[str, Any] | None) -> TokenHooks:
        """Return a handler with the hooks of the user after it."""
        theirs = hooks_of_the_user(hooks)
        made = cls(theirs, response=[handler, *theirs.get("response", ())])
        made.handler = handler
        return made

    def __deepcopy__(self, memo: object) -> TokenHooks:
        # With the handler, without which nothing decides about the hops of a redirect.
        return TokenHooks.of(self.handler, self)

    def __reduce__(self) -> tuple[type[dict[str, Any]], tuple[dict[str, Any]]]:
        # Without the handler: the session that sends the unpickled request decides again.
        return dict, (hooks_of_the_user(self),)


def hooks_of_the_user(hooks: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a new mapping without the hooks that are ours."""
    theirs: dict[str, Any] = {}
    for event, found in (hooks or {}).items():
        theirs[event] = [
            h for h in _several(found) if not isinstance(h, ResponseHandler) and h is not no_hook
        ]
    return theirs


def our_headers(request: PreparedRequest) -> list[str]:
    """Return the names of the headers whose values are ours."""
    values = _our_values(request)
    return [name for name, value in request.headers.items() if _is_ours(value, values)]


def carries_token(request: PreparedRequest, header: str) -> bool:
    """Return whether this header of a request is one of ours."""
    value = request.headers.get(header)
    return value is not None and _is_ours(value, _our_values(request))


def _is_ours(value: object, values: Collection[str]) -> bool:
    return isinstance(value, SecretHeader) or header_text(value) in values


def header_text(value: Any) -> Any:
    """Return the text of a header of which an adapter has made bytes, in place."""
    return plain_text(value) if isinstance(value, bytes) else value


def _our_values(request: PreparedRequest) -> Collection[str]:
    """Return the values that the handlers in the hooks of a request have put on it."""
    hooks: Any = vars(request).get("hooks")
    if isinstance(hooks, TokenHooks):
        return hooks.handler.values
    # A class of the user may have copied the hooks into a mapping of its own.
    found = _several((hooks or {}).get("response"))
    return [v for hook in found if isinstance(hook, ResponseHandler) for v in hook.values]


def _several(hooks: Any) -> Iterable[Any]:
    return (hooks,) if callable(hooks) else hooks or ()


def brings_its_own(request: PreparedRequest, header: str) -> bool:
    """Return whether the caller has decided how this request is authorized.

    ``header`` is the one that would carry the token. If a request was prepared with digest, NTLM or
    the like, only a hook shows that.
    """
    hooks: Any = vars(request).get("hooks")
    headers: Any = request.headers
    if type(hooks) is dict and hooks == _NO_HOOKS and type(headers) is CaseInsensitiveDict:
        found = headers.__dict__["_store"].get(header.lower())  # as below, without many calls
        return found is not None and not isinstance(found[1], SecretHeader)
    if isinstance(hooks, CallerHooks):
        return True
    if not isinstance(headers, CaseInsensitiveDict):  # a user put a plain dict there
        headers = CaseInsensitiveDict(headers)
    if header in headers and not _is_ours(headers[header], _our_values(request)):
        return True
    found = (hooks or {}).get("response")
    return bool(found) and any(
        isinstance(getattr(hook, "__self__", None), requests.auth.AuthBase) or _is_from_auth(hook)
        for hook in _several(found)
    )


def carries_token_of_auth(request: PreparedRequest) -> bool:
    """Return whether a `ClientCredentialsAuth` of the caller put a token on a request.

    Return False if the caller copied the headers of another request: copying must not send a token
    to a new URL.
    """
    hooks: Any = vars(request).get("hooks")
    if isinstance(hooks, TokenHooks) or not our_headers(request):
        return False
    return any(map(_is_from_auth, _several((hooks or {}).get("response"))))


def _is_from_auth(hook: Hook) -> bool:
    return isinstance(hook, ResponseHandler) and hook.is_from_auth


class HandedOver(NamedTuple):
    """What was handed over to be sent, before an adapter could change it in place.

    A replay is made from it. What an adapter changes does not count, because the adapter will
    change it again.
    """

    method: str
    url: str
    #: A mapping, or the pairs of one, which are quicker to keep.
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
        pairs = self.headers
        new.headers = CaseInsensitiveDict(pairs) if type(pairs) is tuple else _copy_of(pairs)
        return new


_new = tuple.__new__


def hand_over(request: PreparedRequest) -> HandedOver:
    """Note what is handed over now."""
    body, headers = request.body, _copy_of(request.headers)
    note = NO_BODY if body is None else _note_or_reason(body)
    for name in our_headers(request):  # a replay gets values of its own
        headers[name] = SecretHeader(header_text(headers[name]))
    return _new(HandedOver, (request.method, request.url, headers, body, note))


def copy_to_send(request: PreparedRequest) -> tuple[PreparedRequest, HandedOver]:
    """Return a copy of a request for one sending, and the note of what is sent.

    Headers of ours, copied from another request or left from an earlier sending, are left out.
    """
    copied = object.__new__(type(request))
    own = copied.__dict__ = request.__dict__.copy()
    body, headers, hooks = request.body, request.headers, own.get("hooks")
    values = () if hooks == _NO_HOOKS else _our_values(request)
    note = NO_BODY if body is None else _note_or_reason(body)
    kept: Any
    if type(headers) is CaseInsensitiveDict:  # as `_copy_of` does, without many calls
        new: Any = object.__new__(CaseInsensitiveDict)
        new._store = store = headers.__dict__["_store"].copy()
        kept = (*store.values(),)
        is_odd = bool(values)
        for _, value in kept:
            is_odd |= type(value) is not str
        if is_odd:
            for name, (_, value) in [*store.items()]:
                if _is_ours(value, values):
                    del store[name]
            kept = (*store.values(),)
        copied.headers = new
    else:
        kept = headers.copy()
        for name in our_headers(request):
            del kept[name]
        copied.headers = kept.copy()
    return copied, _new(HandedOver, (request.method, request.url, kept, body, note))


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
    handler: ResponseHandler,
    kind: type[str] = str,
) -> None:
    """Put the token on a request, in place, with a proof made for this sending.

    The values are exact texts, because adapters may look at the type, or of another ``kind`` as
    long as the request is not sent. ``handler`` notes them, and becomes the first hook of the
    response, unless it is the handler of an ``auth=``, which is there.
    """
    # Noted first, because another thread may send the same request, and has to recognise it.
    values = handler.values if kind is str else []
    if kind is str or current.header not in handler.values:
        handler.values.append(current.header)
    request.headers[handler.header] = kind(current.header)
    if scheme.proves:
        proof = scheme.proof(str(request.method), str(request.url), current.token)
        for name, value in proof.items():
            values.append(SecretHeader(value))
            request.headers[name] = kind(value)
    if not handler.is_from_auth:
        given: Any = vars(request).get("hooks")
        if getattr(given, "handler", None) is handler:
            return  # a replay
        theirs = {} if given == _NO_HOOKS else hooks_of_the_user(given)
        hooks = TokenHooks(theirs, response=[handler, *theirs.get("response", ())])
        hooks.handler = handler
        request.__dict__["hooks"] = hooks


def hide_token(holder: Any, values: Collection[str]) -> None:
    """Let a response or an error show a copy of its request, without these values in its `repr`.

    A copy, because the request itself may still be used, by an adapter or by another thread.
    """
    request = getattr(holder, "request", None)
    headers: Any = getattr(request, "headers", None)
    shown: Any
    hidden: dict[str, Any]
    if type(headers) is CaseInsensitiveDict:  # as below, without many calls
        shown = object.__new__(CaseInsensitiveDict)
        shown._store = store = headers.__dict__["_store"].copy()
        hidden = {}
        for key, (name, value) in (*store.items(),):
            text = value if type(value) is str else header_text(value)
            if type(text) is str and text in values:
                hidden[name] = store[key] = (name, SecretHeader(text))
    elif not isinstance(headers, Mapping):
        return  # no request, or that of a mock
    else:
        texts = {n: header_text(v) for n, v in headers.items() if type(v) in (str, bytes)}
        hidden = {n: SecretHeader(text) for n, text in texts.items() if text in values}
        shown = {**headers} if isinstance(headers, dict) else CaseInsensitiveDict(headers)
        shown.update(hidden)
    if hidden:
        # Not always a `PreparedRequest`: test tools have requests of their own.
        copied: Any = object.__new__(type(request))
        copied.__dict__ = vars(request).copy()
        copied.headers = shown
        holder.request = copied


def hide_headers(request: PreparedRequest) -> None:
    """Let the headers of ours on a request show no token in their `repr`, in place."""
    for name in our_headers(request):
        request.headers[name] = SecretHeader(header_text(request.headers[name]))


def pass_token_on(hop: PreparedRequest, sent: Any) -> None:
    """Let a hop carry the token of the request that was redirected, in place.

    A caller who follows a redirect with a request of its own has a request without our hooks.
    """
    hooks: Any = vars(hop).get("hooks")
    if isinstance(hooks, (TokenHooks, CallerHooks)) or not isinstance(sent, PreparedRequest):
        return
    sent_hooks: Any = vars(sent).get("hooks")
    if not isinstance(sent_hooks, TokenHooks):
        return
    header = sent_hooks.handler.header
    if not carries_token(sent, header) or brings_its_own(hop, header):
        return
    hop.headers[header] = SecretHeader(header_text(sent.headers[header]))
    hop.__dict__["hooks"] = TokenHooks.of(sent_hooks.handler, hooks)


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
