"""Values in a form that can be compared, without what may differ between two runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from http.cookiejar import CookieJar
from typing import Any

import requests
from requests.adapters import BaseAdapter

from oauthcc.api_request.authorization import ResponseHandler, our_headers
from oauthcc.redaction import SecretHeader

_OURS_ALONE = {
    "tokens",
    "_own_sources",
    "_allowed_urls",
    "_refused_status",
    "_kept_alive",
    "_valid_headers",
}
_ADDRESS = re.compile(r"0x[0-9a-f]+")
_DIGEST = re.compile(r'((?:cnonce|response)=)"[^"]*"')


def look(value: Any) -> Any:
    """Return a value in a form that compares by what a caller can see of it."""
    for kind, turn in _LOOKS:
        if isinstance(value, kind):
            return turn(value)
    return value


def _response(response: requests.Response, *, with_history: bool = True) -> dict[str, Any]:
    # Each response in a history has a history: to look into all of them would double at every one.
    history: list[Any] = [r.url for r in response.history]
    if with_history:
        history = [_response(r, with_history=False) for r in response.history]
    return {
        "type": type(response).__name__,
        "attributes": sorted(vars(response)),
        "headers": [pair for pair in response.headers.items() if pair[0] != "Date"],
        "content": response.content if response._content_consumed else None,  # type: ignore[attr-defined]
        "cookies": look(response.cookies),
        "history": history,
        "elapsed": (type(response.elapsed), response.elapsed > timedelta(0)),
        "request": look(response.request),
        "next": look(response.next),
        "raw": type(response.raw).__name__,
        "connection": type(getattr(response, "connection", None)).__name__,
        "repr": repr(response),
        "links": response.links,
        **{name: getattr(response, name) for name in _PLAIN_ATTRIBUTES},
    }


_PLAIN_ATTRIBUTES = (
    "status_code",
    "reason",
    "url",
    "encoding",
    "ok",
    "is_redirect",
    "is_permanent_redirect",
)


def _prepared(request: requests.PreparedRequest) -> dict[str, Any]:
    body, position = request.body, request._body_position  # type: ignore[attr-defined]
    return {
        "type": type(request).__name__,
        "attributes": sorted(vars(request)),
        "method": request.method,
        "url": request.url,
        "headers": _headers(request.headers, our_headers(request) if request.headers else ()),
        "body": body if isinstance(body, (bytes, str, type(None))) else type(body).__name__,
        "hooks": _hooks(request.hooks),
        "position": position if isinstance(position, int) else type(position).__name__,
        "cookies": look(request._cookies),  # type: ignore[attr-defined]
        "repr": repr(request),
    }


def _headers(
    headers: Mapping[str, Any] | None, ours: Collection[str] = ()
) -> list[tuple[str, Any]] | None:
    """Return the headers without those that are ours."""
    if headers is None:
        return None
    pairs = [
        (name, value)
        for name, value in headers.items()
        if name not in ours and not isinstance(value, SecretHeader)
    ]
    return [(name, steady(value)) for name, value in pairs]


def steady(value: Any) -> Any:
    """Remove the random part of a digest."""
    return _DIGEST.sub(r"\1...", value) if isinstance(value, str) else value


def _hooks(hooks: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the names of the hooks without our handler, which is only in the copy that is sent."""
    theirs: dict[str, Any] = {}
    for event, found in (hooks or {}).items():
        several = [found] if callable(found) else found
        theirs[event] = [_name(h) for h in several if not isinstance(h, ResponseHandler)]
    return theirs


def _name(thing: Any) -> str:
    return str(getattr(thing, "__qualname__", type(thing).__name__))


def _request(request: requests.Request) -> dict[str, Any]:
    return {
        name: _hooks(value) if name == "hooks" else look(value)
        for name, value in vars(request).items()
    }


def _error(error: BaseException) -> dict[str, Any]:
    return {
        "type": type(error),
        "text": _ADDRESS.sub("0x", str(error)),
        "request": look(getattr(error, "request", None)),
        "response": look(getattr(error, "response", None)),
        "cause": type(error.__cause__),
        "context": type(error.__context__),
    }


def _session(session: requests.Session) -> dict[str, Any]:
    state = {name: value for name, value in vars(session).items() if name not in _OURS_ALONE}
    return {
        **{name: look(value) for name, value in state.items()},
        "hooks": _hooks(session.hooks),
        "adapters": [(prefix, type(a).__name__) for prefix, a in session.adapters.items()],
    }


def _jar(jar: Any) -> list[tuple[Any, ...]]:
    return [(c.name, c.value, c.domain, c.path, c.secure, c.expires) for c in jar]


_LOOKS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (requests.Response, _response),
    (requests.PreparedRequest, _prepared),
    (requests.Request, _request),
    (requests.Session, _session),
    (CookieJar, _jar),
    (BaseException, _error),
    (BaseAdapter, lambda adapter: type(adapter).__name__),
    (requests.structures.CaseInsensitiveDict, _headers),
    ((list, tuple), lambda values: [look(value) for value in values]),
    (dict, lambda values: {name: look(value) for name, value in values.items()}),
)
