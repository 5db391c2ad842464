"""Answer a 401 with one renewal and one replay.

In the manner of requests' own `HTTPDigestAuth`: a response hook. `ClientCredentialsSession` and
`ClientCredentialsAuth` both put it on the requests that they sign.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Collection, Iterable
from datetime import timedelta
from typing import Any

import requests
from requests import PreparedRequest, Response

from . import signing
from .challenge import find_error
from .errors import ConfigurationError
from .events import ReplayImpossible, RequestReplayed
from .exchange import hang_up
from .ledger import Held
from .redaction import redact
from .replay import UnreplayableBody, body_position, release, rewind
from .token_source import TokenSource
from .urls import Origin, origin_of, public_url

_SCHEMES = ("bearer", "dpop")
_jars: Any = requests.cookies  # its functions are not typed


class Handle401(signing.Handler):
    """Answer the refusal of one request: the first hook of its response.

    Being first, it acts before any hook of the user sees the refusal. It is made for one send and
    knows the token that was sent. Request and session are referred to weakly: the one refers back,
    the other must not be kept alive by a response.
    """

    def __init__(
        self,
        request: PreparedRequest,
        source: TokenSource,
        held: Held,
        refused_status: Collection[int],
        session: requests.Session | None = None,
    ) -> None:
        self._request = weakref.ref(request)
        self._session = None if session is None else weakref.ref(session)
        self._source = source
        self._held = self._first = held
        self._signed_at = time.time()
        self._refused_status = refused_status
        self._is_spent = False
        self._position: Any = None
        if request.body is not None:
            try:
                self._position = body_position(request.body)
            except UnreplayableBody as reason:
                self._position = reason

    def __call__(self, response: Response, **kwargs: Any) -> Response | None:
        """Return the answer to the replay, or None to leave the response as it is."""
        if self._is_spent:
            return None  # a plain session was given the request that was answered already
        self._is_spent = not self.is_the_callers
        scheme = self._source.grant.scheme
        if not scheme.proves and response.status_code not in self._refused_status:
            return None
        answer = self._with_nonce(response, kwargs)
        # A replay may itself be told to come back with the nonce that it brought, once.
        answer = self._renewed(answer, kwargs, nonce_due=answer is response)
        return None if answer is response else answer

    def _with_nonce(self, response: Response, kwargs: dict[str, Any]) -> Response:
        """Answer a demand for a nonce with a new proof (RFC 9449 section 9)."""
        scheme, request = self._source.grant.scheme, self._request_of(response)
        if not scheme.proves or not self._carries_ours(request):
            return response
        scheme.learn(str(request.url), response.headers)
        if not scheme.demands_nonce(response):
            return response
        try:
            adapter = self._made_ready(request, response)
        except UnreplayableBody as reason:
            self._tell_impossible(request, response, reason)
            return response
        return self._replay(adapter, request, response, self._held, kwargs)

    def _renewed(self, refusal: Response, kwargs: dict[str, Any], *, nonce_due: bool) -> Response:
        """Answer a refused token with another token."""
        request = self._request_of(refusal)
        if not self._is_refusal(refusal) or not self._carries_ours(request):
            return refusal
        source, refused, origin = self._source, self._held.token, origin_of(str(request.url))
        if not source.may_replace(refused, origin):
            return refusal
        try:
            adapter = self._made_ready(request, refusal)
        except UnreplayableBody as reason:
            if source.refused_without_replay(refused, origin):
                self._tell_impossible(request, refusal, reason)
            return refusal
        release(refusal)
        patience = signing.seconds(kwargs.get("timeout"))
        other = source.instead_of(refused, origin, self._signed_at, patience)
        if other is None:
            return refusal
        answer = self._replay(adapter, request, refusal, other, kwargs)
        if nonce_due:
            answer = self._with_nonce(answer, kwargs)
        self._judge(request, refusal, answer, origin)
        return answer

    def _made_ready(self, request: PreparedRequest, refusal: Response) -> Any:
        """Put the body back to where it stood and return the adapter to send it through."""
        session = None if self._session is None else self._session()
        url = str(request.url)
        if session is not None:
            adapter: Any = session.get_adapter(url=url)
        else:
            adapter = getattr(refusal, "connection", None)
        if adapter is None:
            raise UnreplayableBody("the response does not say through what it came")
        if request.body is not None:  # that of a hop may be gone
            if isinstance(self._position, UnreplayableBody):
                raise self._position
            rewind(request.body, self._position)
        return adapter

    def _replay(
        self,
        adapter: Any,
        request: PreparedRequest,
        refusal: Response,
        held: Held,
        kwargs: dict[str, Any],
    ) -> Response:
        """Send the same request once more, signed in place: redirects go on from this object."""
        release(refusal)
        _keep_cookies(None if self._session is None else self._session(), request, refusal)
        signing.sign(request, held, self._source.grant.scheme)
        self._held, self._signed_at = held, time.time()
        cert = self._source.grant.client_auth.cert
        if cert is not None and cert == kwargs.get("cert"):
            hang_up(adapter)  # it may have been renewed, and the token be bound to the new one
        begun = time.perf_counter()
        answer: Response = adapter.send(request, **kwargs)
        answer.elapsed = timedelta(seconds=time.perf_counter() - begun)
        self._source.grant.scheme.learn(str(request.url), answer.headers)
        return answer

    def _judge(
        self, request: PreparedRequest, refusal: Response, answer: Response, origin: Origin | None
    ) -> None:
        if self._is_refusal(answer):
            self._source.replay_refused(self._held.token, origin)
        else:
            self._source.replay_accepted(origin)
        method, url = str(request.method), self._hidden(public_url(request.url))
        self._source.tell(RequestReplayed(method, url, refusal.status_code, answer.status_code))

    def _tell_impossible(
        self, request: PreparedRequest, refusal: Response, reason: UnreplayableBody
    ) -> None:
        method, url = str(request.method), self._hidden(public_url(request.url))
        self._source.tell(ReplayImpossible(method, url, refusal.status_code, str(reason)))

    def hush(self, error: requests.RequestException) -> None:
        """Take our tokens out of an error that quotes what a broken server echoed."""
        text = str(error)
        hidden = self._hidden(text)
        if hidden != text:
            error.args = (hidden,)
            error.__cause__ = error.__context__ = None  # they quote it too

    def _hidden(self, text: str) -> str:
        return redact(text, [held.token.access_token for held in (self._first, self._held)])

    def _request_of(self, response: Response) -> PreparedRequest:
        return self._request() or response.request

    def _carries_ours(self, request: PreparedRequest) -> bool:
        return signing.shown(request) == self._held.header

    def _is_refusal(self, response: Response) -> bool:
        if response.status_code not in self._refused_status:
            return False
        scheme = self._source.grant.scheme
        if scheme.proves and scheme.demands_nonce(response):
            return False
        # A renewal cannot help there (RFC 6750 section 3.1).
        challenge = response.headers.get("WWW-Authenticate")
        return challenge is None or find_error(challenge, _SCHEMES) != "insufficient_scope"


def _keep_cookies(session: requests.Session | None, request: Any, refusal: Response) -> None:
    """Put the cookies of a refusal into the session's jar and, as digest does, on the replay."""
    if session is not None:
        _jars.extract_cookies_to_jar(session.cookies, request, refusal.raw)
    before = request._cookies
    if before is None:
        return
    after = _jars._copy_cookie_jar(before)
    _jars.extract_cookies_to_jar(after, request, refusal.raw)
    request._cookies = after
    bare = signing.twin_of(request)
    sent = bare.headers.pop("Cookie", None)
    if sent != _jars.get_cookie_header(before, bare):
        return  # the caller wrote it by hand
    now = _jars.get_cookie_header(after, bare)
    if now is not None:
        request.headers["Cookie"] = now  # in its old place
    elif sent is not None:
        del request.headers["Cookie"]


def checked_status(refused_status: Iterable[int]) -> frozenset[int]:
    """Check the statuses that mean "this token is refused"."""
    try:
        statuses = frozenset(refused_status)
    except TypeError:
        statuses = frozenset({refused_status})  # type: ignore[arg-type]
    if not statuses or not all(isinstance(s, int) and 400 <= s < 500 for s in statuses):
        raise ConfigurationError("refused_status must hold 4xx statuses, such as (401, 403).")
    return statuses
