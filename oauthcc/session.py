"""The session that stands where ``requests.Session()`` stood: how it is made.

What it does with a request is in sending.py, and what it does on a 401 in handle_401.py.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import requests

from .access_token import Token
from .auth import token_source
from .client_auth import ClientAuth
from .errors import ConfigurationError
from .events import Observer
from .schemes import Scheme
from .secret import SecretLike
from .sending import SigningSession
from .settings import options_from_env, options_from_profile
from .stores import TokenStore
from .token_source import TokenSource

if TYPE_CHECKING:
    if sys.version_info >= (3, 11):
        from typing import Self
    else:
        from typing_extensions import Self


class ClientCredentialsSession(SigningSession):
    """Be a ``requests.Session`` whose requests carry an OAuth 2.0 access token.

    ::

        api = ClientCredentialsSession("https://as.example/token", "my-id", "my-secret", "orders")
        api.get("https://api.example/orders").json()

    The token is fetched by the client credentials grant (RFC 6749 section 4.4) when the first
    request needs it, renewed before it expires, and replaced once where the API answers 401.

    Order of a request: ``request`` → ``prepare_request`` (no network) → ``send``: copy, sign, and
    send → a 401 is answered by one renewal and one replay → the caller's hooks → redirects, each
    hop through ``send`` again.

    - ``api_url``: URL prefixes that may receive the token; None: whatever is asked for.
    - ``issuer``: where ``token_url`` is None, who says where it is (RFC 8414); see `from_issuer`.
    - ``audience``, ``resource`` (RFC 8707), ``token_params``: more for the token request.
    - ``client_auth``: how the client proves who it is: an object such as `PrivateKeyJWT`, a class
      or a registered name; None: ``client_secret_basic``, or ``none`` without a secret.
    - ``scheme``: how the token is shown: `Bearer` (None) or `DPoP` (RFC 9449).
    - ``store``: where tokens are shared with other sessions and processes.
    - ``renew_at``: the shares of a token's lifetime between which it is renewed.
    - ``refused_status``: the statuses that mean "this token is refused".
    - ``on_event``: a callable that is told what happens.

    Raises `ConfigurationError` for what cannot work. Requests raise, besides what requests raises,
    `TokenError` and its kind where no token can be had, and `InsecureURLError` where one would go
    over plain http.
    """

    def __init__(
        self,
        token_url: str | None,
        client_id: str,
        client_secret: SecretLike | None = None,
        scope: str | Iterable[str] | None = None,
        *,
        api_url: str | Iterable[str] | None = None,
        issuer: str | None = None,
        audience: str | Iterable[str] | None = None,
        resource: str | Iterable[str] | None = None,
        token_params: Mapping[str, str | Iterable[str]] | None = None,
        client_auth: ClientAuth | type[ClientAuth] | str | None = None,
        scheme: Scheme | None = None,
        store: TokenStore | None = None,
        renew_at: tuple[float, float] = (0.6, 0.8),
        refused_status: Iterable[int] = (401,),
        on_event: Observer | None = None,
    ) -> None:
        super().__init__()
        tokens = token_source(
            token_url,
            client_id,
            client_secret,
            scope,
            issuer=issuer,
            audience=audience,
            resource=resource,
            token_params=token_params,
            client_auth=client_auth,
            scheme=scheme,
            store=store,
            renew_at=renew_at,
            on_event=on_event,
        )
        tokens.adopt(self)
        self._own = [tokens]
        self._begin(tokens, api_url, refused_status)

    @classmethod
    def using(
        cls,
        tokens: TokenSource,
        *,
        api_url: str | Iterable[str] | None = None,
        refused_status: Iterable[int] = (401,),
    ) -> Self:
        """Make a session that uses the token source of another one.

        Token requests go through the other session's adapters; closing this one leaves them open.
        """
        session = cls.__new__(cls)
        requests.Session.__init__(session)
        session._own = []
        session._begin(tokens, api_url, refused_status)
        return session

    @classmethod
    def from_issuer(
        cls,
        issuer: str,
        client_id: str,
        client_secret: SecretLike | None = None,
        scope: str | Iterable[str] | None = None,
        **options: Any,
    ) -> Self:
        """Make a session that asks an issuer for its token endpoint (RFC 8414, OpenID Connect).

        The issuer is asked when the first token is needed.
        """
        return cls(None, client_id, client_secret, scope, issuer=issuer, **options)

    @classmethod
    def from_env(cls, prefix: str = "OAUTH_") -> Self:
        """Make a session from environment variables.

        ``OAUTH_TOKEN_URL`` or ``OAUTH_ISSUER``, ``OAUTH_CLIENT_ID``, ``OAUTH_CLIENT_SECRET`` or
        ``OAUTH_CLIENT_SECRET_FILE``, and as wanted ``OAUTH_SCOPE``, ``OAUTH_API_URL`` (prefixes
        separated by spaces or commas), ``OAUTH_AUDIENCE``, ``OAUTH_RESOURCE``,
        ``OAUTH_CLIENT_AUTH``. Raises `ConfigurationError` that names what is missing.
        """
        options = options_from_env(prefix)
        return cls(options.pop("token_url", None), **options)

    @classmethod
    def from_profile(cls, name: str, path: str | os.PathLike[str] | None = None) -> Self:
        """Make a session from a section of an INI file.

        The keys are those of `from_env`, without prefix and in lower case. ``path`` is by default
        ``oauthcc/profiles.ini`` in the user's configuration folder. Raises `ConfigurationError`
        where the profile is missing or unfit, or others can read a secret.
        """
        options = options_from_profile(name, path)
        return cls(options.pop("token_url", None), **options)

    def authorize(
        self, prefix: str, *, tokens: TokenSource | None = None, **options: Any
    ) -> TokenSource:
        """Give the URLs under a prefix a token of their own; the longest prefix wins.

        Pass ``scope``, ``audience``, ``resource``, ``token_params`` for that API; what names the
        client and the server (``token_url``, ``issuer``, ``client_id``, ``client_secret``,
        ``client_auth``, ``scheme``) and ``store``, ``renew_at``, ``on_event`` are this session's
        where they are left out. Or pass the ``tokens`` of another session. Like ``mount``, this is
        for one thread, before others use the session. Raises `ConfigurationError`.
        """
        if tokens is None:
            tokens = self.tokens.sibling(**options)
            tokens.adopt(self)
            self._reach.add(prefix, tokens)
            self._own = [*self._own, tokens]
        elif options:
            raise ConfigurationError("authorize() takes tokens= or options, not both.")
        elif not isinstance(tokens, TokenSource):
            raise ConfigurationError("tokens= takes the `tokens` of another session.")
        else:
            self._reach.add(prefix, tokens)
        self._settle()
        return tokens


def fetch_token(
    token_url: str | None,
    client_id: str,
    client_secret: SecretLike | None = None,
    scope: str | Iterable[str] | None = None,
    *,
    timeout: float | None = None,
    verify: bool | str = True,
    **options: Any,
) -> Token:
    """Fetch one token: for a script what the session is for a program.

    ``timeout`` is in seconds (None: 60); ``verify`` is as in requests; the other options are those
    of `ClientCredentialsSession`. Raises `ConfigurationError`, or `TokenError` with
    ``status_code``, ``error`` and ``error_description`` where the server gave them (RFC 6749
    section 5.2).
    """
    with ClientCredentialsSession(token_url, client_id, client_secret, scope, **options) as session:
        session.verify = verify
        return session.tokens.get(timeout)
