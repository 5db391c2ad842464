"""Authorize the requests of a plain session: `ClientCredentialsAuth`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import urljoin

from requests import PreparedRequest, Response
from requests.auth import AuthBase

from . import signing
from .grant import Grant
from .handle_401 import Handle401, checked_status
from .reach import Reach
from .secret import SecretLike
from .token_source import TokenSource
from .urls import origin_of


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


class ClientCredentialsAuth(AuthBase):
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
        self.tokens: TokenSource = token_source(
            token_url, client_id, client_secret, scope, **options
        )
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
    return TokenSource(
        Grant.of(token_url, client_id, client_secret, scope, **about_grant), **options
    )
