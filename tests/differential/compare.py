"""What of two runs is compared, and what differs by design.

Everything is described by values that can be compared, with exact types. The differences by design,
each at its place below:

- our token is in a header that plain requests do not have, and a request that gets it is copied,
  which makes an exact `CaseInsensitiveDict` of headers of a subclass (`View._headers`);
- netrc is looked at after a request was prepared, not before (`cases.Drawing.draw`);
- while a URL gets our token, netrc is not looked at (`View._headers`; requests writes the length of
  an empty body again for a login that it finds there after a redirect), nor is it for a request
  whose ``Authorization`` is None, which says that it has none;
- ``response.request`` is a copy, so what a user's hook writes on it is not in the request of a
  redirect (`things.hook_of_request`);
- our response hook is the first of the hooks of a request, and their type is our mark
  (`View._hooks`);
- if a class or a tool takes part in sending, the class of a request is ours, and it has two more
  attributes (`View._request`). Its `copy` does not call `PreparedRequest()` and `default_hooks`, so
  no case replaces `default_hooks`;
- an API that is asked over plain http gets no token, unless a prefix says so. No case has that.
"""

from __future__ import annotations

import io
import os
from collections import UserDict
from collections.abc import Callable
from datetime import timedelta
from functools import cache, partial
from http.cookiejar import CookieJar
from types import FunctionType, GeneratorType, MethodType
from typing import Any

import requests
from requests import PreparedRequest, Response
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict

from oauthcc.api_request.authorization import CallerHooks, ResponseHandler, TokenHooks
from oauthcc.api_request.sent_request import SentRequest

from . import things

_AS_THEY_ARE = (str, bytes, type(None))
_NUMBERS = (int, float, bool, complex)
_OF_OURS = {"_handed_over", "_handler"}


class View:
    """How one side of a case is seen."""

    def __init__(self, session: requests.Session, token: str) -> None:
        self._session, self._ours = session, f"Bearer {token}"
        #: Whether the ``Authorization`` of some request is None.
        self.is_without = False
        #: Whether there is a netrc file.
        self.has_netrc = False
        #: Whether our session sends its token in this case.
        self.has_token = False

    def state(self) -> Any:
        """Return what a session has afterwards."""
        return [(n, self.of(v)) for n, v in vars(self._session).items() if n not in _OWN_NAMES]

    def environment(self) -> Any:
        """Return the environment."""
        own: Any = vars(os.environ) if hasattr(os.environ, "__dict__") else {}
        data = own.get("_data", own.get("data", os.environ))
        return type(os.environ), type(data), dict.copy(data)

    def of(self, value: Any, depth: int = 8) -> Any:
        """Describe a value."""
        kind = type(value)
        if kind in _AS_THEY_ARE:
            return value
        if kind in _NUMBERS:
            return kind, repr(value)  # nan is not equal to itself
        if depth == 0:
            return kind
        return self._of_object(value, kind, depth - 1)

    def _of_object(self, value: Any, kind: type, depth: int) -> Any:
        return _way(kind)(self, value, kind, depth)

    def _of_dict(self, value: Any, kind: type, depth: int) -> Any:
        return kind, [(self.of(k, depth), self.of(v, depth)) for k, v in dict.items(value)]

    def _of_list(self, value: Any, kind: type, depth: int) -> Any:
        items = list.__iter__(value) if isinstance(value, list) else value
        return kind, [self.of(one, depth) for one in items]

    def _of_headers(self, value: Any, kind: type, depth: int) -> Any:
        return kind, self._pairs(value, depth)

    def _of_str(self, value: Any, kind: type, depth: int) -> Any:
        return kind, str.__str__(value)

    def _of_bytes(self, value: Any, kind: type, depth: int) -> Any:
        return kind, bytes(memoryview(value))

    def _of_mapping(self, value: Any, kind: type, depth: int) -> Any:
        return kind, self.of(value.data, depth)

    def _of_jar(self, value: Any, kind: type, depth: int) -> Any:
        of_session = vars(self._session).get("cookies")
        return kind, value is of_session, type(value._policy), self.of(value._cookies, depth)

    def _of_other(self, value: Any, kind: type, depth: int) -> Any:  # noqa: PLR0911 - a table
        if isinstance(value, (type, FunctionType)):
            return value.__module__, value.__qualname__
        if isinstance(value, MethodType):
            return self.of(value.__func__, depth)
        if isinstance(value, partial):
            return kind, self.of(value.func, depth)
        if isinstance(value, io.BytesIO):
            return kind, io.BytesIO.tell(value), value.getvalue()
        if isinstance(value, GeneratorType):
            return kind, value.__qualname__, value.gi_frame is None
        if isinstance(value, requests.Session):
            return "a session"
        if isinstance(value, (timedelta, BaseAdapter)):
            return kind
        own = getattr(value, "__dict__", None)
        if own is None or kind is object:
            return kind
        return kind, [(n, self.of(v, depth)) for n, v in own.items() if n != "effect"]

    def error(self, error: BaseException, kind: type | None = None, depth: int = 6) -> Any:
        """Describe an exception."""
        request, response = getattr(error, "request", None), getattr(error, "response", None)
        return (
            type(error),
            str(error),
            self.of(error.args, depth),
            self.of(request, depth),
            self.of(response, depth),
        )

    def _request(self, request: PreparedRequest, kind: type, depth: int) -> Any:
        own = vars(request)
        is_ours = isinstance(request, SentRequest)
        kind = request.plain_kind if is_ours else kind
        described = {
            name: self.of(value, depth)
            for name, value in own.items()
            if name not in ("hooks", "headers") and not (is_ours and name in _OF_OURS)
        }
        described["headers"] = self._headers(request, depth)
        described["hooks"] = self._hooks(own.get("hooks"), depth)
        return kind, [n for n in own if n not in _OF_OURS], described

    def _headers(self, request: PreparedRequest, depth: int) -> Any:
        headers: Any = vars(request).get("headers")
        if not isinstance(headers, CaseInsensitiveDict):
            return self.of(headers, depth)
        pairs = self._pairs(headers, depth)
        is_for_the_api = self._is_for_the_api(request)
        if self.is_without or is_for_the_api:
            pairs = [pair for pair in pairs if _text(pair) != things.NETRC_HEADER]
        if is_for_the_api and self.has_netrc:
            pairs = [pair for pair in pairs if (pair[0], _text(pair)) != ("content-length", "0")]
        if self.has_token:
            pairs = [pair for pair in pairs if pair[0] != "x-late" and _text(pair) != self._ours]
        kind = CaseInsensitiveDict if is_for_the_api else type(headers)
        # The copy that hides our token is made with a plain dict.
        return kind, self.has_token or type(vars(headers)["_store"]), pairs

    def _is_for_the_api(self, request: PreparedRequest) -> bool:
        urls: Any = VIEWED_APIS.get(id(self._session))
        return urls is not None and urls.find(str(request.url))[0] is not None

    def _pairs(self, headers: Any, depth: int) -> list[Any]:
        store = vars(headers)["_store"]
        pairs = dict.items(store)
        return [(self.of(key, depth), self.of(pair, depth)) for key, pair in pairs]

    def _hooks(self, hooks: Any, depth: int) -> Any:
        if not isinstance(hooks, (TokenHooks, CallerHooks)):
            return self.of(hooks, depth)
        theirs = {
            event: [h for h in several if not isinstance(h, ResponseHandler)]
            for event, several in hooks.items()
        }
        return self.of(theirs, depth)

    def _response(self, response: Response, kind: type, depth: int) -> Any:
        own = vars(response)
        described = {n: self.of(v, depth) for n, v in own.items() if n != "history"}
        # Without their history, or a loop of redirects would be described again and again.
        earlier = [
            (type(r), r.status_code, self.of(r.url), self.of(r.request)) for r in own["history"]
        ]
        return kind, type(own["history"]), earlier, described


_WAYS: tuple[tuple[Any, Callable[..., Any]], ...] = (
    (dict, View._of_dict),
    ((list, tuple), View._of_list),
    (CaseInsensitiveDict, View._of_headers),
    (str, View._of_str),
    (bytes, View._of_bytes),
    (UserDict, View._of_mapping),
    (CookieJar, View._of_jar),
    (PreparedRequest, View._request),
    (Response, View._response),
    (BaseException, View.error),
    (object, View._of_other),
)


@cache
def _way(kind: type) -> Callable[..., Any]:
    """Return how values of a type are described."""
    return next(way for kinds, way in _WAYS if issubclass(kind, kinds))


#: The URLs of the API of our session, and of the plain session beside it, by their ids.
VIEWED_APIS: dict[int, Any] = {}


# The attributes that our session adds.
_OWN_NAMES = {
    "tokens",
    "_own_sources",
    "_allowed_urls",
    "_refused_status",
    "_kept_alive",
    "_valid_headers",
}


def _text(pair: Any) -> Any:
    """Return the value of a described header. Its type may be ours, if it is shown to a user."""
    _, described = pair
    value = described[1][-1] if isinstance(described, tuple) else None
    return value[1] if isinstance(value, tuple) else value


def first_difference(plain: Any, ours: Any, place: str = "") -> str:
    """Return where two descriptions differ, as a text."""
    both = plain, ours
    if all(isinstance(one, (list, tuple)) for one in both) and len(plain) == len(ours):
        for number, pair in enumerate(zip(plain, ours, strict=True)):
            if pair[0] != pair[1]:
                return first_difference(*pair, f"{place}[{number}]")
    if all(isinstance(one, dict) for one in both) and [*plain] == [*ours]:
        for name in plain:
            if plain[name] != ours[name]:
                return first_difference(plain[name], ours[name], f"{place}[{name!r}]")
    return f"at {place or 'the top'}:\n  requests: {plain!r}\n  oauthcc:  {ours!r}"
