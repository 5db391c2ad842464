"""The answer to a 401: one renewal, one replay.

It is a response hook, as requests' own `HTTPDigestAuth` is. requests calls response hooks before it
follows a redirect, and gives each hook what the one before it returned. So our hook comes first:
it sees the 401 before a hook of the user (such as one that calls ``raise_for_status``) does, and
the user's hooks see only the final answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from datetime import timedelta
from typing import Any, NamedTuple

import requests
from requests import PreparedRequest, Response
from requests.exceptions import InvalidURL

from .. import clock
from ..challenge import find_error, find_parameter
from ..errors import ConfigurationError, OAuthCCError
from ..events import Event, ReplayImpossible, RequestReplayed
from ..forks import importing
from ..token_request.owner import drop_idle_connections
from ..tokens.refusals import Refusal, Route
from ..tokens.source import TokenSource
from ..tokens.state import CurrentToken
from ..urls import Origin, origin_of, public_url
from . import notices
from .allowed_urls import AllowedURLs
from .answer_body import redact_body_errors, release
from .authorization import (
    HandedOver,
    ResponseHandler,
    copy_request,
    header_text,
    hide_headers,
    hide_token,
    put_token,
    take_token_off,
)
from .body import UnreplayableBody
from .sent_request import SentRequest

_SCHEMES = ("bearer", "dpop")
_cookies: Any = requests.cookies  # its functions are not typed


class Handle401(ResponseHandler):
    """The response hook of one request that carries a token.

    It is made for one sending and knows the token that was sent. The sender drops its references at
    the end: the request has a reference to this hook, and a response must not keep the session
    alive.
    """

    __slots__ = (
        "_current",
        "_first",
        "_handed",
        "_is_said",
        "_refused_status",
        "_replay",
        "_scheme",
        "_sent_at",
        "allowed_urls",
        "header",
        "is_spent",
        "origin",
        "sending",
        "tokens",
        "values",
    )

    def __init__(
        self,
        sending: tuple[PreparedRequest, requests.Session] | None,
        tokens: TokenSource,
        current: CurrentToken,
        *,
        handed: HandedOver | None,
        refused_status: Collection[int],
        allowed_urls: AllowedURLs[TokenSource],
        origin: Origin | None,
    ) -> None:
        self.values: list[str] = []
        #: The request and the session that sends it, until this has ended with its redirects.
        self.sending: tuple[PreparedRequest, requests.Session] | None = sending
        self._handed = handed
        self.tokens: TokenSource = tokens
        self._scheme = tokens._config.scheme
        self.header: str = tokens._config.header
        #: The URL rules and the origin that the session used for its decision.
        self.allowed_urls: AllowedURLs[TokenSource] = allowed_urls
        self.origin: Origin | None = origin
        self._current = self._first = current
        self._sent_at = clock.system.time()
        self._refused_status = refused_status
        #: Whether the response hook was called.
        self.is_spent: bool = False
        # Whether the log says why a refusal is returned.
        self._is_said = False
        # The request of the replay, while the answer to it is looked at.
        self._replay: PreparedRequest | None = None

    def __call__(self, response: Response, **kwargs: Any) -> Response | None:
        """Return the answer to the replay, or None to leave the response as it is."""
        if self.is_spent and self.sending and isinstance(response.request, SentRequest):
            self._current = self._first  # a class after ours has sent the request once more
        elif self.is_spent:
            # Called again, because the request was sent through a plain session.
            if not self.sending and response.is_redirect and response.request is not None:
                take_token_off(response.request)  # it cannot decide for the hops
            return None
        self.is_spent = not self.is_from_auth
        if self.is_from_auth or kwargs.get("stream"):
            redact_body_errors(response, self._tokens_sent())  # requests reads the body later
        answer = response
        self._is_said = False
        if self._scheme.proves or response.status_code in self._refused_status:
            try:
                answer = self._answer_nonce_demand(response, kwargs)
                may_demand = answer is response
                answer = self._answer_refusal(answer, kwargs, may_demand_nonce=may_demand)
                self._note_rest(self._request_of(response), answer)
            finally:
                self._replay = None
        status = answer.status_code if isinstance(answer.status_code, int) else 0  # of an adapter
        if 200 <= status < 300:
            self.tokens._accepted(
                self._current, self._first, lambda: self._route_of(self._request_of(response))
            )
        if not 0 < status < 400 and isinstance(answer.reason, str):
            answer.reason = self._redacted(answer.reason)  # `raise_for_status` quotes it
        hide_token(answer, self.values)  # after all that was sent, before the user's hooks
        return None if answer is response else answer

    def _answer_nonce_demand(self, response: Response, kwargs: dict[str, Any]) -> Response:
        """Answer a demand for a nonce by a replay with a new proof (RFC 9449 section 9)."""
        request = self._request_of(response)
        if not self._scheme.proves or not self._carries_our_token(request):
            return response
        self._scheme.learn(self._url_of(request), response.headers)
        if not self._scheme.demands_nonce(response):
            return response
        try:
            replay = self._prepare_replay(request, response)
        except UnreplayableBody as reason:
            self._report(ReplayImpossible, self._refusal(request), response, str(reason))
            return response
        return self._send(replay, response, self._current, kwargs)

    def _answer_refusal(
        self, response: Response, kwargs: dict[str, Any], *, may_demand_nonce: bool
    ) -> Response:
        """Answer the refusal of the token by replays with other tokens, until one is accepted."""
        request = self._request_of(response)
        if not self._is_refusal(response) or not self._carries_our_token(request):
            return response
        tokens, refusal = self.tokens, self._refusal(request)
        if not tokens._may_replace(refusal):
            self._note(refusal, response, notices.PAUSE)
            return response
        try:
            replay = self._prepare_replay(request, response)
        except UnreplayableBody as reason:
            self._report_no_replay(refusal, response, reason)
            return response
        if find_parameter(response.headers.get("WWW-Authenticate"), "resource_metadata"):
            tokens.endpoint._renew_api_metadata()  # it may have changed (RFC 9728 section 5.2)
        answer = response
        try:
            for current in tokens._replacements(refusal, kwargs.get("timeout")):
                answer, before = self._send(replay, answer, current, kwargs), answer
                if answer is before:
                    return answer  # the body has changed
                if may_demand_nonce:
                    answer = self._answer_nonce_demand(answer, kwargs)
                if not self._is_refusal(answer):
                    break
        except OAuthCCError:
            release(answer)  # nobody gets it
            raise
        self._report_replay(refusal, response, answer)
        return answer

    def _report_no_replay(
        self, refusal: Refusal, response: Response, reason: UnreplayableBody
    ) -> None:
        if self.tokens._refused_without_replay(refusal):
            self._report(ReplayImpossible, refusal, response, str(reason))
        else:
            self._note(refusal, response, notices.BODY)
        if self.tokens._routes.has_refused_new_tokens(refusal.route):
            self._note(refusal, response, notices.NEW_TOKEN)  # another body would not help

    def _report_replay(self, refusal: Refusal, response: Response, answer: Response) -> None:
        """Report that a request was replayed, and why its refusal is returned, if it is."""
        if answer is not response:
            self._report(RequestReplayed, refusal, response, answer.status_code)
        if self._is_refusal(answer):
            self._note(refusal, answer, notices.reason_of_refusal(self._first, self._current))

    def _prepare_replay(self, request: PreparedRequest, response: Response) -> _Replay:
        """Return the replay of a request; raise `UnreplayableBody` if there cannot be one."""
        handed = self._handed_over(request)
        if handed is None:
            raise UnreplayableBody("another request was sent in its place")
        session = self.sending[1] if self.sending else None
        if session is not None:
            adapter: Any = session.get_adapter(url=handed.url)
        else:
            adapter = getattr(response, "connection", None)
        if adapter is None:
            raise UnreplayableBody("the response does not say which adapter it came through")
        handed.rewind()
        return _Replay(request, handed, adapter, session)

    def _send(
        self, replay: _Replay, response: Response, current: CurrentToken, kwargs: dict[str, Any]
    ) -> Response:
        """Send a replay with another token or proof; return the refusal if the body has changed."""
        handed, adapter = replay.handed, replay.adapter
        request = handed.request(replay.first)
        _keep_cookies(replay.session, request, response)
        replay.first._cookies = request._cookies  # type: ignore[attr-defined]  # for a redirect
        put_token(request, current, self._scheme, self)
        cert = self.tokens._config.client_auth.cert
        if cert is not None and cert == kwargs.get("cert"):
            # The certificate may have been renewed. The new token is then bound to the new one.
            drop_idle_connections(adapter)
        try:
            handed.rewind()  # again, because the fetch may have taken long
        except UnreplayableBody as reason:
            refusal = self._refusal(replay.first)
            self._report(ReplayImpossible, refusal, response, str(reason))
            return response
        release(response)
        self._current, self._sent_at, self._replay = current, clock.system.time(), request
        # Not through `Session.send`, which would call the hooks and follow redirects a second time.
        # So this does what `send` does around the adapter (cookies, `elapsed`).
        began = time.perf_counter()
        answer: Response = adapter.send(request, **kwargs)
        answer.elapsed = timedelta(seconds=time.perf_counter() - began)
        if self._scheme.proves:
            self._scheme.learn(handed.url, answer.headers)
        return answer

    def _refusal(self, request: PreparedRequest) -> Refusal:
        return Refusal(self._current, self._route_of(request), self._sent_at)

    def _route_of(self, request: PreparedRequest) -> Route:
        url = self._url_of(request)
        return Route(str(request.method), origin_of(url), public_url(url))

    def _report(
        self, event: Callable[..., Event], refusal: Refusal, response: Response, result: object
    ) -> None:
        self._is_said = True
        method, url = refusal.route.method, self._redacted(refusal.route.url)
        self.tokens._emit(event(method, url, response.status_code, result))

    def _note_rest(self, request: PreparedRequest, response: Response) -> None:
        """Write to the log why a refusal is returned, if nothing has said so yet."""
        if self._is_said or response.status_code not in self._refused_status:
            return
        notice = notices.NONCE
        if self._lacks_scope(response):
            notice = notices.SCOPE
        elif not self._carries_our_token(request):
            notice = notices.REPLACED
        self._note(self._refusal(request), response, notice)

    def _note(self, refusal: Refusal, response: Response, notice: notices.Notice) -> None:
        self._is_said = True
        url = self._redacted(refusal.route.url)
        notices.note_refusal(self.tokens._client, url, notice, response.status_code)

    def redact_error(self, error: requests.RequestException) -> None:
        """Remove our tokens from an error that quotes what a broken server echoed.

        Also from the requests of the error, of those that led to it, and of their responses.
        """
        with importing:
            from ..redaction.search import redact_error

        redact_error(error, self._tokens_sent())
        if error.request is None and self.sending and isinstance(error, OAuthCCError):
            object.__setattr__(error, "request", self.sending[0])  # a class may forbid assignments
        one: Any = error
        seen: list[Any] = []
        while one is not None and one not in seen:
            seen.append(one)
            response = getattr(one, "response", None)
            for holder in (one, response, *(getattr(response, "history", None) or ())):
                hide_token(holder, self.values)
            one = one.__cause__ or one.__context__

    def hide_in(self, response: Response) -> None:
        """Remove our tokens from what a response shows beside the request that it answers.

        If our hook was not called, say so in the log if the token was refused.
        """
        following = getattr(response, "_next", None)
        if isinstance(following, PreparedRequest):
            hide_headers(following)  # requests has made it just now
        if not self.is_spent:  # a class after ours has dropped the hooks
            answers = [*response.history, response]
            for one in answers:
                hide_token(one, self.values)
            if answers[0].status_code in self._refused_status:
                refusal = self._refusal(self._request_of(answers[0]))
                self._note(refusal, answers[0], notices.UNSEEN)

    def without_tokens(self, error: ValueError) -> InvalidURL | None:
        """Return an error without our tokens, or None if this one quotes none."""
        # That of a codec keeps all that it could not read, and shows nothing of it.
        shown = f"{error} {error.args!r}"
        is_clean = self._redacted(shown) == shown
        return None if is_clean else InvalidURL(self._redacted(str(error)))

    def _redacted(self, text: str) -> str:
        with importing:
            from ..redaction.search import redact

        return redact(text, self._tokens_sent())

    def _tokens_sent(self) -> list[str]:
        return [current.token.access_token for current in (self._first, self._current)]

    def _request_of(self, response: Response) -> PreparedRequest:
        if self._replay is not None:
            return self._replay
        # A class after ours may have sent a changed copy. Adapters put anything there, or nothing.
        request = response.request
        is_noting = isinstance(request, SentRequest)
        return self.sending[0] if self.sending and not is_noting else request

    def _handed_over(self, request: PreparedRequest) -> HandedOver | None:
        """Return what was handed over: the request knows it if it notes that itself."""
        is_noting = isinstance(request, SentRequest)
        return vars(request)["_handed_over"] if is_noting else self._handed

    def _url_of(self, request: PreparedRequest) -> str:
        """Return the URL that was handed over: an adapter may put another one there."""
        handed = self._handed_over(request)
        return str(request.url) if handed is None else handed.url

    def _carries_our_token(self, request: PreparedRequest) -> bool:
        return bool(header_text(request.headers.get(self.header)) == self._current.header)

    def _is_refusal(self, response: Response) -> bool:
        if response.status_code not in self._refused_status or self._lacks_scope(response):
            return False  # a new token cannot help if the scope is insufficient
        return not (self._scheme.proves and self._scheme.demands_nonce(response))

    def _lacks_scope(self, response: Response) -> bool:
        """Return whether the API says that the scope is insufficient (RFC 6750 section 3.1)."""
        challenge = response.headers.get("WWW-Authenticate")
        if challenge is None or response.status_code not in self._refused_status:
            return False
        prefix = getattr(self._scheme, "prefix", "")
        return find_error(challenge, (*_SCHEMES, prefix)) == "insufficient_scope"


class _Replay(NamedTuple):
    """A second sending of what was handed over first."""

    first: PreparedRequest
    handed: HandedOver
    adapter: Any
    session: requests.Session | None


def _keep_cookies(session: requests.Session | None, request: Any, response: Response) -> None:
    """Put the cookies of a refusal into the session's jar and, as digest does, on the replay."""
    if session is not None:
        _cookies.extract_cookies_to_jar(session.cookies, request, response.raw)
    before = request._cookies
    if before is None:
        return
    after = _cookies._copy_cookie_jar(before)
    _cookies.extract_cookies_to_jar(after, request, response.raw)
    request._cookies = after
    bare = copy_request(request)
    sent = bare.headers.pop("Cookie", None)
    if sent != _cookies.get_cookie_header(before, bare):
        return  # the caller wrote the header
    now = _cookies.get_cookie_header(after, bare)
    if now is not None:
        request.headers["Cookie"] = now  # in its old place
    elif sent is not None:
        del request.headers["Cookie"]


#: One set for all sessions, because it takes more memory than other parts of an idle session.
_USUAL = frozenset({401})


def checked_status(refused_status: Iterable[int]) -> frozenset[int]:
    """Return the statuses that mean "this token is refused"; raise ConfigurationError."""
    try:
        statuses = frozenset(refused_status)
    except TypeError:
        statuses = frozenset({refused_status})  # type: ignore[arg-type]
    if not statuses or not all(isinstance(s, int) and 400 <= s < 500 for s in statuses):
        raise ConfigurationError("refused_status must contain 4xx statuses, such as (401, 403).")
    return _USUAL if statuses == _USUAL else statuses
