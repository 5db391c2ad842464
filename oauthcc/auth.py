"""`ClientCredentialsAuth`, the token for the requests of a plain session."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from requests import PreparedRequest, Response
from requests.auth import AuthBase

from .api_request.allowed_urls import AllowedURLs
from .api_request.authorization import hooks_of_the_user, put_token, take_token_off
from .api_request.handle_401 import Handle401, checked_status
from .frames import hide_locals
from .secret import SecretLike
from .tokens.source import SourceOptions, TokenSource
from .urls import origin_of

if TYPE_CHECKING:
    # Type checkers always have it; the library does not need it to run.
    from typing_extensions import Unpack


class _AuthHandler(Handle401):
    """The response hook on a request of a plain session, which follows redirects by itself."""

    is_from_auth = True

    allowed_urls: AllowedURLs[TokenSource]

    def __call__(self, response: Response, **kwargs: Any) -> Response | None:
        if response.request is None:
            return None  # an adapter left it out, so nobody knows which hop this answers
        answer = super().__call__(response, **kwargs)
        final = response if answer is None else answer
        if final.is_redirect and self._leaves_its_api(final):
            # requests copies the next hop from this request.
            take_token_off(self._request_of(final))
        return answer

    def _request_of(self, response: Response) -> PreparedRequest:
        return response.request  # requests copies this hook to the request of each hop

    def _leaves_its_api(self, response: Response) -> bool:
        url = str(response.url or response.request.url)
        target = urljoin(url, response.headers["Location"])
        same_origin = origin_of(target) == origin_of(url)
        return not same_origin or self.allowed_urls.find(target)[0] is None


class ClientCredentialsAuth(AuthBase):
    """An ``auth=`` that adds an OAuth 2.0 access token to the requests of a plain session.

    ::

        requests.get(url, auth=ClientCredentialsAuth(token_url, client_id, client_secret, scope))

    Keep one object and use it for all requests, because it holds the token. The arguments are those
    of `ClientCredentialsSession`, which can do more: here the token is fetched when the request is
    prepared, and ``~/.netrc`` displaces it after a redirect.

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
        self.tokens: TokenSource = TokenSource._of(
            token_url, client_id, client_secret, scope, issuer=issuer, **options
        )
        self._allowed_urls = AllowedURLs(self.tokens, api_url)
        self._refused_status = checked_status(refused_status)

    def __call__(self, r: PreparedRequest) -> PreparedRequest:
        """Put the token on a request that is being prepared, with a hook that handles a 401."""
        url = str(r.url)
        tokens, origin = self._allowed_urls.find(url)
        if tokens is None:
            self._allowed_urls.refuse_plain_http(url)
            return r
        self._allowed_urls.note_origin(url, origin)
        current = tokens._get()
        put_token(r, current, tokens._config.scheme)
        handler = _AuthHandler(r, tokens, current, self._refused_status, self._allowed_urls)
        r.hooks["response"] = [handler, *hooks_of_the_user(r.hooks).get("response", ())]
        return r
