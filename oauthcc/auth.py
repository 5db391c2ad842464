"""Show the token on a request, and answer a 401 with one renewal and one replay.

`ClientCredentialsAuth` does it for a plain session. `Handle401`, the response hook underneath, is
what `ClientCredentialsSession` uses too.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Collection, Iterable
from datetime import timedelta
from typing import Any
from urllib.parse import urljoin

import requests
from requests import PreparedRequest, Response

from . import signing
from .challenge import find_error
from .errors import ConfigurationError
from .events import ReplayImpossible, RequestReplayed
from .exchange import hang_up
from .grant import Grant
from .ledger import Held
from .reach import Reach
from .replay import UnreplayableBody, body_position, release, rewind
from .secret import SecretLike, hide
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
            adapter: Any = session.get_adapter(url)
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
        self._source.tell(
            RequestReplayed(method, url, refusal.status_code, answer.status_code)
        )

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
        return hide(text, [held.token.access_token for held in (self._first, self._held)])

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


def _keep_cookies(
    session: requests.Session | None, request: Any, refusal: Response
) -> None:
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


class _PlainHandler(Handle401):
    """Answer for a request of a plain session, which follows redirects by rules of its own."""

    is_the_callers = True

    def __init__(self, reach: Reach[TokenSource], *args: Any) -> None:
        super().__init__(*args)
        self._reach = reach

    def __call__(self, response: Response, **kwargs: Any) -> Response | None:
        if response.request is None:
            return None  # an adapter left it out, so nobody knows which hop this answers
        answer = super().__call__(response, **kwargs)
        final = response if answer is None else answer
        if final.is_redirect and self._leaves(final):
            # The next hop is copied from this request.
            signing.strip(self._request_of(final))
        return answer

    def _request_of(self, response: Response) -> PreparedRequest:
        return response.request  # also that of a hop, to which this hook was copied

    def _leaves(self, response: Response) -> bool:
        url = str(response.url or response.request.url)
        target = urljoin(url, response.headers["Location"])
        same_origin = origin_of(target) == origin_of(url)
        return not same_origin or self._reach.find(target) is None


class ClientCredentialsAuth(requests.auth.AuthBase):
    """Authorize the requests of a plain session, for code that cannot change its session.

    ::

        requests.get(url, auth=ClientCredentialsAuth(token_url, client_id, client_secret, scope))

    Keep one object and use it for all requests: it holds the token. The positional arguments and
    the keywords are those of `ClientCredentialsSession`, which does more: here the token is fetched
    when the request is prepared, and ``~/.netrc`` displaces it after a redirect.

    Raises `ConfigurationError` for what cannot work; calls raise `TokenError` where no token can be
    had.
    """

    def __init__(
        self,
        token_url: str | None,
        client_id: str,
        client_secret: SecretLike | None = None,
        scope: str | Iterable[str] | None = None,
        *,
        api_url: str | Iterable[str] | None = None,
        refused_status: Iterable[int] = (401,),
        **options: Any,
    ) -> None:
        self.tokens = token_source(token_url, client_id, client_secret, scope, **options)
        self._reach = Reach(self.tokens, api_url)
        self._refused_status = checked_status(refused_status)

    def __call__(self, r: PreparedRequest) -> PreparedRequest:
        """Sign a request that is being prepared, and have its refusal answered."""
        url = str(r.url)
        source = self._reach.find(url)
        if source is None:
            self._reach.refuse_plain_http(url)
            return r
        self._reach.notice(url)
        held = source.current()
        signing.sign(r, held, source.grant.scheme)
        handler = _PlainHandler(self._reach, r, source, held, self._refused_status)
        r.hooks["response"] = [handler, *signing.hooks_of_the_user(r.hooks).get("response", ())]
        return r


_GRANT_OPTIONS = ("issuer", "audience", "resource", "token_params", "client_auth", "scheme")


def token_source(
    token_url: str | None,
    client_id: str,
    client_secret: SecretLike | None = None,
    scope: str | Iterable[str] | None = None,
    **options: Any,
) -> TokenSource:
    """Make a source from the options of the public surface; raise ConfigurationError if unfit."""
    about_grant = {name: options.pop(name) for name in _GRANT_OPTIONS if name in options}
    return TokenSource(Grant.of(token_url, client_id, client_secret, scope, **about_grant), **options)


def checked_status(refused_status: Iterable[int]) -> frozenset[int]:
    """Check the statuses that mean "this token is refused"."""
    try:
        statuses = frozenset(refused_status)
    except TypeError:
        statuses = frozenset({refused_status})  # type: ignore[arg-type]
    if not statuses or not all(isinstance(s, int) and 400 <= s < 500 for s in statuses):
        raise ConfigurationError("refused_status must hold 4xx statuses, such as (401, 403).")
    return statuses
