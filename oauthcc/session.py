"""The session that stands where ``requests.Session()`` stood.

It decides which requests carry a token; how they carry it and what happens on a 401 is in auth.py.
``request``, ``get``, ``post`` and their kind are not touched: everything passes through ``send``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import requests
from requests import PreparedRequest, Request, Response
from requests.utils import get_auth_from_url, get_netrc_auth, resolve_proxies, select_proxy

from . import forks, signing
from .access_token import Token
from .auth import Handle401, checked_status, token_source
from .client_auth import ClientAuth
from .errors import ConfigurationError
from .events import Observer
from .reach import Reach
from .schemes import Scheme
from .secret import SecretLike
from .settings import options_from_env, options_from_profile
from .stores import TokenStore
from .token_source import TokenSource
from .urls import Origin, is_loopback, origin_of

if TYPE_CHECKING:
    if sys.version_info >= (3, 11):
        from typing import Self
    else:
        from typing_extensions import Self


class ClientCredentialsSession(requests.Session):
    """Be a ``requests.Session`` whose requests carry an OAuth 2.0 access token.

    ::

        api = ClientCredentialsSession("https://as.example/token", "my-id", "my-secret", "orders:read")
        api.get("https://api.example/orders").json()

    The token is fetched by the client credentials grant (RFC 6749 section 4.4) when the first
    request needs it, renewed before it expires, and replaced once where the API answers 401.

    Order of a request: ``request`` → ``prepare_request`` (no network) → ``send``: copy, sign, and
    send → a 401 is answered by one renewal and one replay → the caller's hooks → redirects, each
    hop through ``send`` again.

    ``api_url``: URL prefixes that may receive the token; None: whatever is asked for.
    ``audience``, ``resource`` (RFC 8707), ``token_params``: further parameters of the token request.
    ``client_auth``: a client authentication, its class or registered name; None: Basic, or none
    without a secret. ``scheme``: `Bearer` (None) or a `DPoP` (RFC 9449). ``store``: where tokens are
    shared. ``renew_at``: shares of the lifetime between which a token is renewed. ``refused_status``:
    statuses that mean "this token is refused". ``on_event``: an observer of what happens.

    Raises `ConfigurationError` for what cannot work. Requests raise, besides what requests raises,
    `TokenError` and its kind where no token can be had, and `InsecureURLError` where one would go
    over plain http.
    """

    __attrs__ = [
        *requests.Session.__attrs__,
        "tokens",
        "_own",
        "_reach",
        "_refused_status",
        "_lenders",
    ]

    tokens: TokenSource
    _own: list[TokenSource]

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

    def _begin(
        self,
        tokens: TokenSource,
        api_url: str | Iterable[str] | None,
        refused_status: Iterable[int],
    ) -> None:
        self.tokens = tokens
        self._reach = Reach(tokens, api_url)
        self._refused_status = checked_status(refused_status)
        self._settle()

    def _settle(self) -> None:
        """Become the owner of sources that have none, and keep the owner of those that have one."""
        for tokens in [self.tokens, *self._own, *self._reach.values()]:
            if tokens.owner is None:
                tokens.adopt(self)
                self._own = list(dict.fromkeys([*self._own, tokens]))
        owners = (tokens.owner for tokens in self._reach.values())
        self._lenders = list({id(owner): owner for owner in owners if owner is not self}.values())
        forks.renewed_in_child(self)

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
        """Make a session from a section of an INI file; the keys are those of `from_env`, in lower case.

        ``path`` is by default ``oauthcc/profiles.ini`` in the user's configuration folder. Raises
        `ConfigurationError` where the profile is missing or unfit, or others can read a secret.
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

    def prepare_request(self, request: Request) -> PreparedRequest:
        """Prepare a request as requests does; no network, and no trace of ours."""
        if request.auth is not None or self.auth is not None:
            prepared = super().prepare_request(request)
            prepared.hooks = signing.TheirHooks(prepared.hooks)
            return prepared
        if not self.trust_env:
            return super().prepare_request(request)
        # requests looks into ~/.netrc where there is no auth.
        twin = object.__new__(type(request))
        twin.__dict__.update(request.__dict__, auth=_Undecided(self, request.url))
        return super().prepare_request(twin)

    def send(self, request: PreparedRequest, **kwargs: Any) -> Response:
        """Send a prepared request, with a token where one belongs on it."""
        source = self._source_for(request)
        if source is None:
            return super().send(_bare(request), **self._without_our_cert(request, kwargs))
        url = str(request.url)
        origin = origin_of(url)
        held = source.current(signing.seconds(kwargs.get("timeout")))
        twin = signing.twin_of(request)
        signing.sign(twin, held, source.grant.scheme)
        handler = Handle401(twin, source, held, self._refused_status, self)
        twin.hooks = signing.OurHooks.of(handler, request.hooks, self._reach, source, origin)
        self._reach.notice(url)
        if origin is not None and origin.scheme == "http" and is_loopback(origin):
            self._pass_by_proxies(twin, origin, kwargs)
        cert = source.grant.client_auth.cert
        if cert is not None and not kwargs.get("cert", self.cert):
            kwargs["cert"] = cert  # the token is bound to it (RFC 8705 section 3)
        try:
            return super().send(twin, **kwargs)
        except requests.RequestException as error:
            handler.hush(error)
            raise

    def rebuild_auth(self, prepared_request: PreparedRequest, response: Response) -> None:
        """Keep our token on a redirect that stays where it was meant to go, and nowhere else."""
        if self._stays(prepared_request):
            return  # and keep netrc off; it is signed anew in `send`
        if not signing.shows_the_callers(prepared_request):
            signing.strip(prepared_request)
        super().rebuild_auth(prepared_request, response)  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Close the adapters and the connections to the token endpoint; wait for nothing."""
        super().close()
        for tokens in self._own:
            tokens.close()

    def _source_for(self, request: PreparedRequest) -> TokenSource | None:
        """Return whose token belongs on a request, None where it goes as it is."""
        if not isinstance(request, PreparedRequest) or not request.url or request.headers is None:
            return None  # requests has something to say about that
        if self.auth is not None or signing.brings_its_own(request):
            return None
        if signing.is_marked_by(request, self._reach):  # a redirect, or sent before
            return self._reach.find(request.url) if self._stays(request) else None
        source = self._reach.find(request.url)
        if source is None:
            self._reach.refuse_plain_http(request.url)
        return source

    def _stays(self, request: PreparedRequest) -> bool:
        """Say whether a request still goes to the origin and the API that its token is for."""
        hooks, url = request.hooks, str(request.url)
        return (
            isinstance(hooks, signing.OurHooks)
            and hooks.reach is self._reach
            and signing.shown(request) is not None
            and hooks.origin == origin_of(url)
            and hooks.source is self._reach.find(url)
        )

    def _pass_by_proxies(
        self, twin: PreparedRequest, origin: Origin, kwargs: dict[str, Any]
    ) -> None:
        """Have a plain http request go straight to this machine: a proxy would read the token."""
        proxies: Any = self.proxies
        if "proxies" not in kwargs:
            kwargs["proxies"] = resolve_proxies(twin, proxies, self.trust_env)
        proxies = kwargs["proxies"]
        if proxies and select_proxy(str(twin.url), proxies) is not None:
            # For this host alone: a redirect may lead to one that only the proxy can reach.
            kwargs["proxies"] = {**proxies, f"http://{origin.host}": ""}
            twin.headers.pop("Proxy-Authorization", None)  # put there by a redirect

    def _without_our_cert(
        self, request: PreparedRequest, kwargs: dict[str, Any]
    ) -> dict[str, Any]:
        # requests hands the certificate of the first request to every hop.
        cert = kwargs.get("cert")
        if cert is None or cert is self.cert:
            return kwargs
        ours = any(cert is tokens.grant.client_auth.cert for tokens in self._reach.values())
        return {**kwargs, "cert": self.cert} if ours else kwargs

    def _after_fork(self) -> None:
        forks.renew_session(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[misc]
        self._settle()


class _Undecided(requests.auth.AuthBase):
    """Stand where requests would ask ``~/.netrc``, until the prepared URL shows what is right."""

    def __init__(self, session: ClientCredentialsSession, url: Any) -> None:
        self._session = session
        self._url = url

    def __call__(self, r: PreparedRequest) -> PreparedRequest:
        session = self._session
        url = str(r.url)
        names_user = "@" in url and any(get_auth_from_url(url))
        theirs = names_user or "Authorization" in r.headers or session._reach.find(url) is None
        netrc = get_netrc_auth(self._url) if theirs else None
        if netrc is not None or names_user:
            r.prepare_auth(netrc, self._url)
        return r


def _bare(request: PreparedRequest) -> PreparedRequest:
    """Return a request without a token of ours that it may carry from elsewhere."""
    if not isinstance(request, PreparedRequest) or request.headers is None:
        return request
    if signing.shown(request) is None and not isinstance(request.hooks, signing.OurHooks):
        return request
    if signing.shows_the_callers(request):
        return request
    twin = signing.twin_of(request)
    signing.strip(twin)
    return twin


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
    of `ClientCredentialsSession`. Raises `ConfigurationError`, or `TokenError` with ``status_code``,
    ``error`` and ``error_description`` where the server gave them (RFC 6749 section 5.2).
    """
    with ClientCredentialsSession(token_url, client_id, client_secret, scope, **options) as session:
        session.verify = verify
        return session.tokens.get(timeout)
