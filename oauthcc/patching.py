"""`patch`: tokens for all requests to an API, also those of code that cannot be changed.

Nothing of sessions is replaced, because programs and their tools replace the same things. Only
`PreparedRequest.prepare_hooks` is, which is the last step when a request is prepared. There, a
request that belongs to an API and brings no login of its own becomes one of the class that
`ClientCredentialsAuth` uses. It gets its token when `requests.Session.send` reads its ``hooks``,
just before the adapter is called. So the traceback of an error of the network shows no frame of
this module.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Mapping
from functools import wraps
from types import FrameType
from typing import TYPE_CHECKING, Any

import requests
from requests import PreparedRequest

from .api_request.authorization import brings_its_own, header_text, our_headers
from .api_request.body import is_replayable
from .api_request.notices import CALLER, note_without_token, reason_outside
from .api_request.sent_request import kind_for
from .auth import _AuthHandler, _AuthRequest, _check_proxy
from .errors import ConfigurationError, text_of
from .events import log
from .frames import hide_locals
from .session import ClientCredentialsSession, SessionOptions, _says_without

if TYPE_CHECKING:
    # Type checkers always have it; the library does not need it to run.
    from typing_extensions import Self, Unpack

#: The number of functions that tools may have put between two functions of requests.
_MOST_WRAPPERS = 8
#: The patches in use. The newest one that has a prefix for a URL decides.
_patches: tuple[Patch, ...] = ()


class Patch:
    """The result of `patch`: the tokens of a session for the requests of other sessions.

    It is a context manager. ``session`` is the session whose tokens are used.
    """

    def __init__(self, session: ClientCredentialsSession) -> None:
        self.session: ClientCredentialsSession = session

    def undo(self) -> None:
        """End the patch. Requests get no token any more, even if they are prepared already."""
        global _patches  # noqa: PLW0603 - it is for the whole process, as requests is
        _patches = tuple(each for each in _patches if each is not self)
        if not _patches:
            _remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.undo()

    def __repr__(self) -> str:
        """Return what it is for, without secrets."""
        return f"<{type(self).__name__} with {self.session!r}>"


@hide_locals
def patch(
    session: ClientCredentialsSession | Mapping[str, Any] | None = None,
    /,
    **options: Unpack[SessionOptions],
) -> Patch:
    """Add tokens to all requests to the API of a session, whichever session sends them.

    ::

        with oauthcc.patch(api):
            requests.get("https://api.example/orders")

    ``session`` must have an ``api_url``. Requests to other URLs are not changed. Instead of a
    session, pass ``token_url``, ``client_id`` and the other options of `ClientCredentialsSession`,
    as a mapping or as keywords. Without arguments, the environment variables of
    `ClientCredentialsSession.from_env` are read. A login of the program wins: ``auth=``, an
    ``Authorization`` header, a login in the URL or in ``~/.netrc``. Processes that
    `multiprocessing` starts are patched too.

    To end the patch, call `Patch.undo`, or use the result as a context manager. Raises
    `ConfigurationError`.
    """
    made = patch_this_process(_session_of(session, options))
    from multiprocessing import spawn

    _get_preparation_data.install(spawn)
    return made


def patch_this_process(session: ClientCredentialsSession) -> Patch:
    """Patch this process and its forks, but not the children that `multiprocessing` starts anew."""
    global _patches  # noqa: PLW0603 - it is for the whole process, as requests is
    made = Patch(session)
    _prepare_hooks.install(PreparedRequest)
    _patches = (*_patches, made)
    return made


def _session_of(given: Any, options: Any) -> ClientCredentialsSession:
    session: Any = given
    if isinstance(session, Mapping):
        session, options = None, {**session, **options}
    if session is None:
        if options.keys() & {"token_url", "issuer", "client_id"}:
            options = {"token_url": None, **options}
            session = ClientCredentialsSession(options.pop("token_url"), **options)
        else:
            session = ClientCredentialsSession.from_env(**options)
    elif options:
        raise ConfigurationError("patch() takes a session or options, not both.")
    elif not isinstance(session, ClientCredentialsSession):
        raise ConfigurationError("patch() takes a ClientCredentialsSession, or its options.")
    if not session._allowed_urls.is_limited:
        raise ConfigurationError(
            "patch() needs api_url (OAUTH_API_URL), the URL prefixes of your API: otherwise every"
            " host that the program calls would get the token."
        )
    return session  # type: ignore[no-any-return]


class _FirstHandler(_AuthHandler):
    """The handler of a request that was not sent to the API yet."""

    __slots__ = ("_patch",)

    def __init__(self, made: Patch) -> None:
        self._patch = made
        self.values = []
        self.header = "Authorization"

    def begin(self, request: PreparedRequest) -> dict[str, Any]:
        """Put the token on a request that is about to be sent, if it belongs there."""
        session, hooks = self._patch.session, request.__dict__["hooks"]
        tokens, origin = session._allowed_urls.find(str(request.url))
        if tokens is None or self._patch not in _patches:
            return hooks  # type: ignore[no-any-return]
        own = header_text(request.headers.get(tokens._config.header))
        # Another thread may send the same request, and have put a token there.
        if own is not None and own not in self.values:
            return hooks  # type: ignore[no-any-return]
        _check_proxy(request, origin)
        current = tokens._get(None, lambda: is_replayable(request.body))
        handler = _AuthHandler(
            None,
            tokens,
            current,
            handed=None,
            refused_status=session._refused_status,
            allowed_urls=session._allowed_urls,
            origin=origin,
        )
        handler.values = self.values
        return handler._begin_with(current, request)

    def put_or_take(self, request: PreparedRequest) -> None:
        """Leave the request as it is: it has no token yet."""


class _PatchedRequest(_AuthRequest):
    """A request that gets its token when it is sent. That of a pickle does too."""

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        restored, arguments = super().__reduce_ex__(protocol)
        return _unpickled, (restored, *arguments)


def _unpickled(restored: Any, *arguments: Any) -> PreparedRequest:
    request: PreparedRequest = restored(*arguments)
    _adopt(request)
    return request


def _adopt(request: PreparedRequest, auth: object = None, headers: object = None) -> None:
    """Let a request get a token when it is sent, if it is for an API and has no login.

    ``auth`` and ``headers`` are those of its caller.
    """
    url = str(request.url)
    # A server may redirect from http to https.
    urls = [url, f"https{url[4:]}"] if url.lower().startswith("http:") else [url]
    for made in reversed(_patches):
        allowed = made.session._allowed_urls
        tokens = next(filter(None, (allowed.find(each)[0] for each in urls)), None)
        if tokens is None:
            continue
        if _is_theirs(request, tokens._config.header, auth, headers):
            note_without_token(tokens._client, url, CALLER)
            return
        for name in our_headers(request):  # copied from another request
            del request.headers[name]
        kind: Any = type(request)
        request.__class__ = kind_for(_PatchedRequest, kind)
        request.__dict__.update(_handler=_FirstHandler(made), _handed_over=None)
        return
    for made in _patches:
        reason = reason_outside(url, made.session._allowed_urls)
        note_without_token(made.session.tokens._client, url, reason)


def _is_theirs(request: PreparedRequest, header: str, auth: object, headers: object) -> bool:
    """Return whether the caller has decided how a request is authorized."""
    goes_beside = header != "Authorization" and "Authorization" in request.headers
    says_without = isinstance(headers, Mapping) and _says_without(headers, header)
    is_by_auth = auth is not None and not goes_beside
    return is_by_auth or says_without or brings_its_own(request, header)


def _adopt_prepared(request: PreparedRequest, caller: FrameType | None) -> None:
    """Adopt a request that is being prepared. What its caller gave is known there only."""
    preparing = _nearest(requests.models, "prepare", caller)
    if preparing is None:
        return  # somebody has called `prepare_hooks` for itself
    found: dict[str, Any] = {}
    of_session = _nearest(requests.sessions, "prepare_request", preparing)
    if of_session is not None:
        found = dict(of_session.f_locals)
        sender = found.get("self")
        is_endpoint = type(sender).__module__.partition(".")[0] == __package__
        if isinstance(sender, ClientCredentialsSession) or is_endpoint:
            return  # it has tokens of its own, or gets them
    headers = getattr(found.get("request"), "headers", None)
    _adopt(request, preparing.f_locals.get("auth"), headers)


def _nearest(module: Any, name: str, frame: FrameType | None) -> FrameType | None:
    """Return the frame of a function of requests, below which a tool may have put some others."""
    steps = 0
    while frame is not None and steps < _MOST_WRAPPERS:
        if frame.f_code.co_name == name and frame.f_globals.get("__name__") == module.__name__:
            return frame
        frame, steps = frame.f_back, steps + 1
    return None


class _Replacement:
    """A function that takes the place of one of another package, while there is a patch."""

    def __init__(self, name: str, make: Callable[[Any], Any]) -> None:
        self._name = name
        self._make = make
        self._original: Any = None
        self._ours: Any = None

    def install(self, home: Any) -> None:
        """Put it there, once."""
        if self._ours is None:
            self._original = getattr(home, self._name)
            self._ours = wraps(self._original)(self._make(self._original))
            setattr(home, self._name, self._ours)

    def remove(self, home: Any) -> None:
        """Put the original back, if nobody else has put something in its place."""
        if self._ours is not None and getattr(home, self._name) is self._ours:
            setattr(home, self._name, self._original)
            self._ours = None


def _make_prepare_hooks(original: Any) -> Any:
    def prepare_hooks(self: PreparedRequest, hooks: Any) -> None:
        original(self, hooks)
        if _patches:
            _adopt_prepared(self, sys._getframe(1))

    return prepare_hooks


def _make_get_preparation_data(original: Any) -> Any:
    def get_preparation_data(name: str) -> dict[str, Any]:
        data: dict[str, Any] = original(name)
        return {**data, "oauthcc": _ForChild()} if _patches else data

    return get_preparation_data


_prepare_hooks = _Replacement("prepare_hooks", _make_prepare_hooks)
_get_preparation_data = _Replacement("get_preparation_data", _make_get_preparation_data)


def _remove() -> None:
    from multiprocessing import spawn

    _prepare_hooks.remove(PreparedRequest)
    _get_preparation_data.remove(spawn)


class _ForChild:
    """The patches, in what `multiprocessing` tells a child that it starts, before anything else."""

    def __reduce__(self) -> tuple[Any, ...]:
        try:
            pickled = pickle.dumps([made.session for made in _patches])
        except Exception as error:  # noqa: BLE001 - that of a user's class
            log.warning(
                "Child processes send requests without the token, because the session of patch()"
                " cannot be pickled: %s",
                text_of(error),
            )
            return _patch_child, (b"",)
        return _patch_child, (pickled,)


def _patch_child(pickled: bytes) -> None:
    """Patch this process as its parent is, unless it was patched when it started."""
    if _patches or not pickled:
        return
    try:
        sessions = pickle.loads(pickled)  # noqa: S301 - of our parent
    except Exception as error:  # noqa: BLE001 - that of a user's class
        log.warning(
            "This child process sends requests without the token, because the session of patch()"
            " cannot be unpickled: put its class into a module that can be imported. %s",
            text_of(error),
        )
        return
    for session in sessions:
        patch(session)
