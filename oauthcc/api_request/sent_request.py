"""A request that notes by itself what is handed over to be sent.

A session of ours knows what it hands over, unless a class between it and that of requests, or a
tool that has replaced `requests.Session.send`, changes the request or sends another one. A plain
session tells us nothing.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from types import FrameType, FunctionType
from typing import Any

import requests
from requests import PreparedRequest

from .authorization import copy_request, hand_over, hide_headers

_cookies: Any = requests.cookies  # its functions are not typed
# What a pickle does not contain.
_OURS = {"_handed_over", "_handler"}


class SentRequest(PreparedRequest):
    """A request that notes what is handed over. A pickle or deep copy of it is a plain request.

    `requests.Session.send` reads ``hooks`` once, just before it calls the adapter. Changes before
    that moment belong to the request. Changes after it are the adapter's. Others may read ``hooks``
    at any time: an adapter after it has read the body, or a class that builds another request.
    """

    #: The class of the request that this one is a copy of.
    plain_kind: type[PreparedRequest] = PreparedRequest

    @property
    def hooks(self) -> Any:
        """Return the hooks, and note what is handed over if this is the moment before it."""
        return self._hooks_for(sys._getframe(1))

    @hooks.setter
    def hooks(self, value: Any) -> None:
        self.__dict__["hooks"] = value

    def _hooks_for(self, reader: FrameType) -> Any:
        own = self.__dict__
        if is_called_by_sessions(reader):
            own["_handed_over"] = hand_over(self)
        return own["hooks"]

    def copy(self) -> PreparedRequest:
        """Return a copy as requests does, of the same class."""
        copied: Any = copy_request(self)
        copied._cookies = _cookies._copy_cookie_jar(copied._cookies)
        return copied  # type: ignore[no-any-return]

    def __copy__(self) -> PreparedRequest:
        return copy_request(self)

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        state = {name: value for name, value in self.__dict__.items() if name not in _OURS}
        if self.headers:
            shown = copy_request(self)
            hide_headers(shown)
            state["headers"] = shown.headers
        return _restored, (self.plain_kind, state)


def is_called_by_sessions(frame: FrameType) -> bool:
    """Return whether this is a frame of the code that sends requests and follows redirects."""
    return frame.f_globals.get("__name__") == requests.sessions.__name__


def _restored(kind: type[PreparedRequest], state: dict[str, Any]) -> PreparedRequest:
    request = object.__new__(kind)
    request.__dict__.update(state)
    return request


@lru_cache(maxsize=64)
def kind_for(base: type[SentRequest], kind: Any) -> type[SentRequest]:
    """Return the class for a request of this kind, which may be a subclass of the user's."""
    plain: type[PreparedRequest] = kind.plain_kind if issubclass(kind, SentRequest) else kind
    if plain is PreparedRequest:
        return base
    return type(plain.__name__, (base, plain), {"plain_kind": plain})


def note_later(request: PreparedRequest) -> None:
    """Make a request note by itself what is handed over, in place."""
    kind: Any = type(request)
    request.__class__ = kind_for(SentRequest, kind)
    request.__dict__["_handed_over"] = None  # that of an earlier sending


def _plain_send() -> object:
    """Return `requests.Session.send`, or None if a tool has replaced it before our import."""
    send: Any = requests.Session.send
    is_plain = type(send) is FunctionType and send.__code__.co_name == "send"
    return send if is_plain and send.__globals__["__name__"] == "requests.sessions" else None


#: The method that sends what it is given.
PLAIN_SEND = _plain_send()
