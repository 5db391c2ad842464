"""`ClientCredentialsAuth`, the token for the requests of a plain session."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from requests import PreparedRequest, Response
from requests.auth import AuthBase
from requests.utils import get_environ_proxies, select_proxy

from .api_request.allowed_urls import AllowedURLs
from .api_request.authorization import (
    CallerHooks,
    HandedOver,
    carries_token,
    copy_request,
    hand_over,
    hooks_of_the_user,
    our_headers,
    put_token,
    take_token_off,
)
from .api_request.body import is_replayable
from .api_request.handle_401 import Handle401, checked_status
from .api_request.notices import REDIRECTED, note_without_token, reason_outside
from .api_request.sent_request import SentRequest, is_called_by_sessions, kind_for
from .errors import InsecureURLError
from .frames import hide_locals
from .redaction import SecretHeader
from .secret import SecretLike
from .tokens.source import SourceOptions, TokenSource, check_options
from .tokens.state import CurrentToken
from .urls import Origin, is_on_this_machine, is_plain_on_loopback, public_url

if TYPE_CHECKING:
    # Type checkers always have it; the library does not need it to run.
    from typing_extensions import Unpack

# How many values of other sendings are recognised on a request: of threads that send it at the same
# time.
_MOST_VALUES = 100


class _AuthHandler(Handle401):
    """The response hook on a request of a plain session, which follows redirects by itself."""

    __slots__ = ()
    is_from_auth = True

    def __call__(self, response: Response, **kwargs: Any) -> Response | None:
        if response.request is None:
            return None  # an adapter left it out, so nobody knows which hop this answers
        if response.is_redirect:
            # A plain copy cannot decide for its hops. requests makes them from the request that it
            # has sent, which is another one if the adapter has made a copy.
            sender = sys._getframe(2)
            sent = sender.f_locals.get("request") if is_called_by_sessions(sender) else None
            for one in (response.request, sent):
                if isinstance(one, PreparedRequest) and not isinstance(one, _AuthRequest):
                    take_token_off(one)
        return super().__call__(response, **kwargs)

    def put_or_take(self, request: PreparedRequest) -> None:
        """Put the newest token on a request if it stays at its API, else take the token off."""
        if self._stays(request):
            put_token(request, self._current, self._scheme, self, SecretHeader)
        else:
            if carries_token(request, self.header):
                note_without_token(self.tokens._client, request.url, REDIRECTED)
            take_token_off(request)

    def begin(self, request: PreparedRequest) -> dict[str, Any]:
        """Put the newest token on a request that is about to be sent, or take the token off.

        Return the hooks for this sending. Their handler is a new one: several threads may send the
        same request, and each of them has to know which token it has sent.
        """
        own = request.__dict__
        if not self._stays(request):
            take_token_off(request)
            return own["hooks"]  # type: ignore[no-any-return]
        current = self.tokens._state.newer_than(self._current.number) or self._current
        return self._begin_with(current, request)

    def _begin_with(self, current: CurrentToken, request: PreparedRequest) -> dict[str, Any]:
        own = request.__dict__
        handler = _AuthHandler(
            None,
            self.tokens,
            current,
            handed=None,
            refused_status=self._refused_status,
            allowed_urls=self.allowed_urls,
            origin=self.origin,
        )
        is_long = len(self.values) > _MOST_VALUES  # else they share them
        handler.values = self.values[-_MOST_VALUES // 2 :] if is_long else self.values
        kind: Any = CallerHooks if isinstance(own["hooks"], CallerHooks) else dict
        theirs = hooks_of_the_user(own["hooks"])
        hooks = kind(theirs, response=[handler, *theirs.get("response", ())])
        own.update(hooks=hooks, _handler=handler)
        put_token(request, current, self._scheme, handler)
        handler._handed = hand_over(request)
        return hooks  # type: ignore[no-any-return]

    def _stays(self, request: PreparedRequest) -> bool:
        # requests or the caller may have put another header there, or none.
        is_ours = self.allowed_urls.find(str(request.url)) == (self.tokens, self.origin)
        return is_ours and carries_token(request, self.header)

    def _handed_over(self, request: PreparedRequest) -> HandedOver | None:
        return self._handed

    def _carries_our_token(self, request: PreparedRequest) -> bool:
        # Another thread may have put a newer one there since.
        return carries_token(request, self.header)

    def _request_of(self, response: Response) -> PreparedRequest:
        return response.request  # that of its hop

    def __deepcopy__(self, memo: dict[int, Any]) -> _AuthHandler:
        return self


class _AuthRequest(SentRequest):
    """A request of a plain session, which decides anew each time it is sent.

    requests copies it for each hop of a redirect, and sets URL and method of the copy.
    """

    @property
    def hooks(self) -> Any:
        """Decide about the token, and return the hooks for this sending."""
        handler: _AuthHandler = self.__dict__["_handler"]
        if is_called_by_sessions(sys._getframe(1)):
            return handler.begin(self)
        handler.put_or_take(self)
        return self.__dict__["hooks"]

    @hooks.setter
    def hooks(self, value: Any) -> None:
        self.__dict__["hooks"] = value

    @property
    def url(self) -> Any:
        """Return the URL."""
        return self.__dict__["url"]

    @url.setter
    def url(self, value: Any) -> None:
        self.__dict__["url"] = value
        if is_called_by_sessions(sys._getframe(1)):  # for a hop, which `Response.next` may show
            self.__dict__["_handler"].put_or_take(self)

    def prepare_auth(self, auth: Any, url: Any = "") -> None:
        """Leave out the login of ``~/.netrc``, which requests puts on the request of a hop.

        It would take the place of the token.
        """
        handler: _AuthHandler = self.__dict__["_handler"]
        handler.put_or_take(self)
        is_free = handler.header != "Authorization" or not carries_token(self, handler.header)
        if is_free or not is_called_by_sessions(sys._getframe(1)):
            super().prepare_auth(auth, url)

    def __deepcopy__(self, memo: dict[int, Any]) -> PreparedRequest:
        copied = memo[id(self)] = copy_request(self)
        handler = copied.__dict__.pop("_handler")
        copied.__dict__.update(deepcopy(copied.__dict__, memo), _handler=handler)
        return copied


class ClientCredentialsAuth(AuthBase):
    """An ``auth=`` that adds an OAuth 2.0 access token to the requests of a plain session.

    ::

        requests.get(url, auth=ClientCredentialsAuth(token_url, client_id, client_secret, scope))

    Keep one object and use it for all requests, because it keeps the token. The arguments are those
    of `ClientCredentialsSession`. The session can do more: with this object, the token is fetched
    when the request is prepared, and a proxy cannot be avoided.

    Raises `ConfigurationError` if the configuration cannot work. Requests raise `TokenError` if no
    token can be obtained.
    """

    @hide_locals
    def __init__(
        self,
        token_url: str | None,
        client_id: str,
        client_secret: SecretLike | None = None,
        scope: str | Iterable[str] | None = None,
        *,
        api_url: str | Iterable[str] | None = None,
        issuer: str | None = None,
        refused_status: Iterable[int] = (401,),
        **options: Unpack[SourceOptions],
    ) -> None:
        check_options(options, ("api_url", "refused_status"))
        self.tokens: TokenSource = TokenSource._of(
            token_url, client_id, client_secret, scope, issuer=issuer, **options
        )
        self._allowed_urls = AllowedURLs(self.tokens, api_url)
        self._refused_status = checked_status(refused_status)

    def __repr__(self) -> str:
        """Return what it is for, without secrets."""
        return f"<{type(self).__name__} for {self.tokens._description()}>"

    def __call__(self, r: PreparedRequest) -> PreparedRequest:
        """Put the token on a request that is being prepared, with a hook that handles a 401."""
        url = str(r.url)
        tokens, origin = self._allowed_urls.find(url)
        for name in our_headers(r):  # copied from another request
            del r.headers[name]
        if tokens is None:
            self._allowed_urls.refuse_plain_http(r)
            note_without_token(self.tokens._client, url, reason_outside(url, self._allowed_urls))
            return r
        self._allowed_urls.note_origin(url, origin, tokens._client)
        _check_proxy(r, origin)
        current = tokens._get(None, lambda: is_replayable(r.body))
        handler = _AuthHandler(
            None,  # it is in the hooks of this request
            tokens,
            current,
            handed=None,
            refused_status=self._refused_status,
            allowed_urls=self._allowed_urls,
            origin=origin,
        )
        # Not an exact text, because it may be shown before it is sent.
        put_token(r, current, tokens._config.scheme, handler, SecretHeader)
        hooks = vars(r)["hooks"]
        hooks["response"] = [handler, *hooks_of_the_user(hooks).get("response", ())]
        # It stays the same object, because requests goes on with it.
        kind: Any = type(r)
        r.__class__ = kind_for(_AuthRequest, kind)
        r.__dict__.update(_handler=handler, _handed_over=None)
        return r


def _check_proxy(request: PreparedRequest, origin: Origin | None) -> None:
    """Raise `InsecureURLError` if a proxy on another machine would read the token.

    A plain session chooses the proxy after the request is prepared, so it cannot be avoided here.
    """
    if origin is None or not is_plain_on_loopback(origin):
        return  # plain http to another host is allowed only by an explicit prefix
    url = str(request.url)
    proxy: Any = select_proxy(url, get_environ_proxies(url))
    if proxy is not None and not is_on_this_machine(proxy):
        raise InsecureURLError(
            f"The environment names a proxy for {public_url(url)}, which would read the token on"
            f" plain http: set NO_PROXY={origin.host}, or use ClientCredentialsSession, which"
            " sends such requests directly.",
            request=request,
        )
