"""Put our header on a request, recognise it later, and take it off again.

What a request may carry is decided by whoever sends it (auth.py, sending.py). That decision travels
with the request as the *type* of its ``hooks`` mapping, since that survives ``copy()``, which drops
unknown attributes, and ``register_hook``, and the redirects that requests follows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import requests
from requests import PreparedRequest
from requests.structures import CaseInsensitiveDict

from .ledger import Held
from .schemes import Scheme, SecretHeader
from .urls import Origin

_OURS = ("Authorization", "DPoP")
_NO_HOOKS: dict[str, Any] = {"response": []}
Hook = Callable[..., Any]


class Handler:
    """Be the parent of our response hook, so that it is recognised among those of the user.

    It pickles as `no_hook`: a response is often pickled, and must not take a session along.
    """

    #: Whether the caller brought it, by an ``auth=`` of ours.
    is_the_callers = False

    def __reduce__(self) -> tuple[Callable[[], Hook], tuple[()]]:
        return _no_hook, ()


def _no_hook() -> Hook:
    return no_hook


def no_hook(response: requests.Response, **kwargs: Any) -> None:
    """Do nothing: this is what our hook becomes in a pickle."""


class TheirHooks(dict[str, Any]):
    """Mark a request that carries, or shall stay without, what its caller decided."""


class OurHooks(dict[str, Any]):
    """Mark a request that carries our token, and note who decided so, for what, and with whose."""

    reach: object = None
    source: object = None
    origin: Origin | None = None

    @classmethod
    def of(
        cls, handler: Handler, hooks: Any, reach: object, source: object, origin: Origin | None
    ) -> OurHooks:
        """Put our handler before the hooks of the user, in a mapping of its own."""
        ours = cls() if hooks == _NO_HOOKS else cls(hooks_of_the_user(hooks))
        ours["response"] = [handler, *ours.get("response", ())]
        ours.reach, ours.source, ours.origin = reach, source, origin
        return ours

    def __reduce__(self) -> tuple[type[dict[str, Any]], tuple[dict[str, Any]]]:
        # Without the notes and the handler: whoever sends it again decides again.
        return dict, (hooks_of_the_user(self),)


def hooks_of_the_user(hooks: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a new mapping without the hooks that are ours."""
    theirs: dict[str, Any] = {}
    for event, found in (hooks or {}).items():
        several = [found] if callable(found) else found
        theirs[event] = [h for h in several if not isinstance(h, Handler) and h is not no_hook]
    return theirs


def shown(request: PreparedRequest) -> SecretHeader | None:
    """Return the ``Authorization`` of a request if it is one of ours."""
    header = request.headers.get("Authorization")
    return header if isinstance(header, SecretHeader) else None


def brings_its_own(request: PreparedRequest) -> bool:
    """Say whether the caller already decided how this request is authorized.

    A bare request that was prepared with digest, NTLM or the like shows it by a hook alone.
    """
    if isinstance(request.hooks, TheirHooks):
        return True
    headers: Any = request.headers
    if not isinstance(headers, CaseInsensitiveDict):  # somebody put a plain dict there
        headers = CaseInsensitiveDict(headers)
    if "Authorization" in headers and shown(request) is None:
        return True
    hooks = _response_hooks(request)
    return bool(hooks) and any(
        isinstance(getattr(hook, "__self__", None), requests.auth.AuthBase) or _is_the_callers(hook)
        for hook in hooks
    )


def shows_the_callers(request: PreparedRequest) -> bool:
    """Say whether a request carries a token of this library that its caller's ``auth=`` put there.

    Not so where the caller copied the headers of another request: a token goes no further by that.
    """
    if shown(request) is None or isinstance(request.hooks, OurHooks):
        return False
    return any(map(_is_the_callers, _response_hooks(request)))


def _response_hooks(request: PreparedRequest) -> Iterable[Hook]:
    found: Any = (request.hooks or {}).get("response") or ()
    return (found,) if callable(found) else found


def _is_the_callers(hook: Hook) -> bool:
    return isinstance(hook, Handler) and hook.is_the_callers


def is_marked_by(request: PreparedRequest, reach: object) -> bool:
    """Say whether this very session has put a token on a request before."""
    return isinstance(request.hooks, OurHooks) and request.hooks.reach is reach


def twin_of(request: PreparedRequest) -> PreparedRequest:
    """Copy a request for one send: ``copy()`` drops subclass and attributes, and is slow."""
    twin = object.__new__(type(request))
    twin.__dict__.update(request.__dict__)
    headers = request.headers
    store = headers.__dict__.get("_store") if type(headers) is CaseInsensitiveDict else None
    if store is None:
        twin.headers = headers.copy()
    else:  # its copy() enters every header anew, which is a third of what signing costs
        twin.headers = object.__new__(CaseInsensitiveDict)
        twin.headers.__dict__["_store"] = store.copy()
    return twin


def sign(request: PreparedRequest, held: Held, scheme: Scheme) -> None:
    """Put the token on a request, in place, with a proof made for this attempt."""
    request.headers["Authorization"] = held.header
    if scheme.proves:
        url, method = str(request.url), str(request.method)
        request.headers.update(scheme.proof(method, url, held.token))


def strip(request: PreparedRequest) -> None:
    """Take what is ours off a request, in place, and mark it as not to be signed again."""
    for name in _OURS:
        if isinstance(request.headers.get(name), SecretHeader):
            del request.headers[name]
    request.hooks = TheirHooks(hooks_of_the_user(request.hooks))


def seconds(timeout: Any) -> float | None:
    """Return how long a caller with this ``timeout=`` waits for a token; None: no limit."""
    if timeout is None or isinstance(timeout, (int, float)):
        return timeout
    if isinstance(timeout, tuple):
        parts: list[Any] = list(timeout)
    else:  # urllib3's Timeout
        total = getattr(timeout, "total", None)
        if isinstance(total, (int, float)):
            return total
        parts = [getattr(timeout, "_connect", None), getattr(timeout, "_read", None)]
    if not parts or not all(isinstance(part, (int, float)) for part in parts):
        return None
    return float(sum(parts))
