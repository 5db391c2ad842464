"""`ClientCredentialsSession`, the session that takes the place of ``requests.Session()``.

It is a `requests.Session`. Its tokens come from a `TokenSource` (tokens/source.py), which asks a
`TokenEndpoint` (token_request/endpoint.py). There each token request has an oauthlib
`BackendApplicationClient`, which writes the request and reads the answer. So the session has no
client and no token of its own, and requests-oauthlib's `OAuth2Session` is only the base class of
the endpoint: as base class of this session it would log tokens and send them to any host.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from types import new_class
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import requests
from requests import PreparedRequest, Request, Response
from requests.structures import CaseInsensitiveDict
from requests.utils import get_environ_proxies, resolve_proxies, select_proxy

from . import forks
from .access_token import Token
from .api_request import authorization, notices, shortcut
from .api_request.allowed_urls import AllowedURLs
from .api_request.body import is_replayable
from .api_request.handle_401 import Handle401, checked_status
from .api_request.sent_request import PLAIN_SEND, note_later
from .client_auth import ClientAuth
from .client_auth.certificate import wait_for_files
from .errors import ConfigurationError, TokenError
from .events import Observer
from .frames import clear_frames, hide_locals
from .schemes import Scheme
from .secret import SecretLike
from .settings import options_from_env, options_from_profile
from .stores import TokenStore
from .token_request.issuer import IssuerOfAPI
from .tokens.source import SourceOptions, TimeoutLike, TokenSource
from .urls import Origin, is_on_this_machine, is_plain_on_loopback

if TYPE_CHECKING:
    # Type checkers always have it; the library does not need it to run.
    from typing_extensions import Self, Unpack

    from .token_request.endpoint import TokenEndpoint


class SessionOptions(SourceOptions, total=False):
    """The keyword options of `ClientCredentialsSession`, which explains them."""

    api_url: str | Iterable[str] | None
    refused_status: Iterable[int]


class APIOptions(SourceOptions, total=False):
    """The keyword options of `ClientCredentialsSession.add_api`."""

    token_url: str | None
    issuer: str | None
    client_id: str
    client_secret: SecretLike | None
    scope: str | Iterable[str] | None


#: Compliance hooks by the names of their types, or a compliance fix, which registers some.
Hooks: TypeAlias = "Mapping[str, Callable[..., Any]] | Callable[[TokenEndpoint], object]"


class _Left(threading.local):
    """What a thread is sending, because a class may send another request in the place of ours.

    ``hop`` is the session and the URL of a hop that has left its API. ``handler`` is that of the
    request that is sent now, with its redirects.
    """

    hop: tuple[int, str | None] | None = None
    handler: Handle401 | None = None


_left = _Left()

# The packages in whose frames the headers of a request, or its bytes, are local variables.
_HOLD_HEADERS = ("http", "urllib3", "ssl", "gevent")

# What this class adds to the attributes of a session, also in pickles.
_OURS = ("tokens", "_own_sources", "_allowed_urls", "_refused_status", "_kept_alive")


class ClientCredentialsSession(requests.Session):
    """A `requests.Session` that adds an OAuth 2.0 access token to its requests.

    ::

        api = ClientCredentialsSession("https://as.example/token", "my-id", "my-secret", "orders")
        api.get("https://api.example/orders").json()

    The token is fetched with the client credentials grant (RFC 6749 section 4.4) when the first
    request needs it. It is renewed before it expires. If the API answers 401, another token is
    fetched and the request is sent once more.

    - ``token_url``: the token endpoint; None if ``issuer`` is given.
    - ``client_id``, ``client_secret``: the client. The secret is a string, a ``pathlib.Path`` of
      the file that contains the secret, or a callable that returns it.
    - ``scope``: the requested scope, a string or several.
    - ``api_url``: the URL prefix that may receive the token, or several; None means every requested
      URL.
    - ``issuer``: the issuer that publishes its token endpoint (RFC 8414); see `from_issuer`.
    - ``audience``, ``resource`` (RFC 8707), ``token_params``: further parameters of the token
      request. A ``grant_type`` in ``token_params`` takes the place of ``client_credentials``.
    - ``token_body``: the format of the token request, ``"form"`` or ``"json"``.
    - ``client_auth``: how the client authenticates: an object such as `PrivateKeyJWT`, a class or a
      registered name. None means ``client_secret_basic``; a client without a secret needs
      ``"none"``.
    - ``scheme``: how the token is sent: `Bearer` (None) or `DPoP` (RFC 9449).
    - ``store``: where tokens are shared with other sessions and processes.
    - ``renew_at``: the two shares of a token's lifetime between which it is renewed.
    - ``token_timeout``: the limit for a token request with all its attempts, in seconds; 60 at
      most.
    - ``refused_status``: the statuses by which an API refuses a token; 401 by default.
    - ``on_event``: a callable that gets each event.

    Raises `ConfigurationError` if the configuration cannot work. Calls raise the errors of
    requests. They also raise `TokenError` or one of its subclasses if no token can be obtained, and
    `InsecureURLError` if a token would be sent over plain http.
    """

    #: The source of the tokens of this session.
    tokens: TokenSource
    # The sources that are closed with this session.
    _own_sources: tuple[TokenSource, ...]
    # The headers of the session that were checked, for shortcut.py.
    _valid_headers: Any = ()

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
        audience: str | Iterable[str] | None = None,
        resource: str | Iterable[str] | None = None,
        token_params: Mapping[str, str | Iterable[str]] | None = None,
        token_body: Literal["form", "json"] = "form",
        client_auth: ClientAuth | type[ClientAuth] | str | None = None,
        scheme: Scheme | None = None,
        store: TokenStore | None = None,
        renew_at: tuple[float, float] = (0.6, 0.8),
        token_timeout: float = 60.0,
        refused_status: Iterable[int] = (401,),
        on_event: Observer | None = None,
    ) -> None:
        super().__init__()
        tokens = TokenSource._of(
            token_url,
            client_id,
            client_secret,
            scope,
            issuer=issuer,
            audience=audience,
            resource=resource,
            token_params=token_params,
            token_body=token_body,
            client_auth=client_auth,
            scheme=scheme,
            store=store,
            renew_at=renew_at,
            token_timeout=token_timeout,
            on_event=on_event,
        )
        self._begin(tokens, api_url, refused_status)

    @classmethod
    @hide_locals
    def using(
        cls,
        tokens: TokenSource,
        *,
        api_url: str | Iterable[str] | None = None,
        refused_status: Iterable[int] = (401,),
    ) -> Self:
        """Return a session that uses the token source of another one.

        Token requests go through the adapters of the other session. `close` of this session does
        not close those adapters.
        """
        _check_source(tokens)
        session = cls.__new__(cls)
        # Not through `requests.Session`: a tool may have put another class there.
        super(ClientCredentialsSession, session).__init__()
        session._begin(tokens, api_url, refused_status)
        return session

    @classmethod
    @hide_locals
    def from_issuer(
        cls,
        issuer: str,
        client_id: str,
        client_secret: SecretLike | None = None,
        scope: str | Iterable[str] | None = None,
        **options: Unpack[SessionOptions],
    ) -> Self:
        """Return a session that asks an issuer for its token endpoint (RFC 8414, OpenID Connect).

        The issuer is asked when the first token is needed.
        """
        return cls(None, client_id, client_secret, scope, issuer=issuer, **options)

    @classmethod
    @hide_locals
    def from_api(
        cls,
        url: str,
        client_id: str,
        client_secret: SecretLike | None = None,
        scope: str | Iterable[str] | None = None,
        *,
        trusted_issuers: str | Iterable[str],
        **options: Unpack[SessionOptions],
    ) -> Self:
        """Return a session for an API that names its authorization server (RFC 9728).

        ``url`` is the URL of the API exactly as the API publishes it, such as that of a server of
        the Model Context Protocol. The API is asked when the first token is needed. The client's
        secret is sent only to the first authorization server of the API that is one of the
        ``trusted_issuers``. By default, ``resource`` (RFC 8707) and ``api_url`` are this URL
        (without its query). Raises `ConfigurationError`; the first request raises `DiscoveryError`
        if the API has no usable metadata or names no trusted issuer.
        """
        issuer = IssuerOfAPI.of(url, trusted_issuers)
        prefix = url.partition("?")[0]
        given: SessionOptions = {"resource": url, "api_url": prefix, **options}
        return cls(None, client_id, client_secret, scope, issuer=issuer, **given)

    @classmethod
    @hide_locals
    def from_env(cls, prefix: str = "OAUTH_", **options: Unpack[SessionOptions]) -> Self:
        """Return a session configured by environment variables.

        Required are ``OAUTH_TOKEN_URL`` or ``OAUTH_ISSUER``, ``OAUTH_CLIENT_ID``, and
        ``OAUTH_CLIENT_SECRET`` or ``OAUTH_CLIENT_SECRET_FILE`` (unless ``OAUTH_CLIENT_AUTH`` is a
        method without a secret). Optional are ``OAUTH_SCOPE``, ``OAUTH_API_URL`` (prefixes
        separated by spaces or commas), ``OAUTH_AUDIENCE``, ``OAUTH_RESOURCE`` (separated by spaces)
        and ``OAUTH_CLIENT_AUTH``. ``options`` win over variables. Raises `ConfigurationError`,
        which names all missing variables.
        """
        found = {**options_from_env(prefix, given=options), **options}
        return cls(found.pop("token_url", None), **found)

    @classmethod
    @hide_locals
    def from_profile(
        cls,
        name: str,
        path: str | os.PathLike[str] | None = None,
        **options: Unpack[SessionOptions],
    ) -> Self:
        """Return a session configured by a section of an INI file.

        The keys are those of `from_env`, without prefix and in lower case. ``path`` is by default
        ``oauthcc/profiles.ini`` in the user's configuration folder. ``options`` win over the file.
        Raises `ConfigurationError` if the profile is missing or invalid, or if others can read a
        secret in it.
        """
        found = {**options_from_profile(name, path, given=options), **options}
        return cls(found.pop("token_url", None), **found)

    @hide_locals
    def add_api(
        self, prefix: str, *, tokens: TokenSource | None = None, **options: Unpack[APIOptions]
    ) -> TokenSource:
        """Use other tokens for the URLs under a prefix, and return their source.

        If several prefixes match, the longest one wins. Pass ``scope``, ``audience``, ``resource``
        or ``token_params`` for that API. These options are taken from this session if they are
        omitted: ``token_url``, ``issuer``, ``client_id``, ``client_secret``, ``client_auth``,
        ``token_body``, ``scheme``, ``store``, ``renew_at``, ``token_timeout``, ``on_event``, and
        for the same server a ``grant_type`` in ``token_params``. Or pass the ``tokens`` of another
        session. Like ``mount``, call this in one thread before others use the session. Raises
        `ConfigurationError`.
        """
        if tokens is None:
            tokens = self.tokens._sibling(**options)
        elif options:
            raise ConfigurationError("add_api() takes tokens= or options, not both.")
        else:
            _check_source(tokens)
        self._allowed_urls.add(prefix, tokens)
        self._adopt_sources()
        return tokens

    def prepare_request(self, request: Request) -> PreparedRequest:
        """Prepare a request as requests does. `send` adds the token later; no network is used."""
        mock = self.__dict__.get("send")
        if mock is not None and getattr(mock, "__module__", None) == "requests_mock.mocker":
            notices.note_without_token(self.tokens._client, request.url, notices.MOCKED)
        if request.auth is not None or self.auth is not None:
            prepared = super().prepare_request(request)
            # As in requests, headers of the session that are no mapping do not count.
            headers_of_all: Any = self.headers if isinstance(self.headers, Mapping) else {}
            theirs = dict(request.headers.items()) if request.headers else {}
            given = CaseInsensitiveDict({**headers_of_all, **theirs})
            # An auth= that writes none, as `lambda r: r`, says that no token is wanted.
            is_written = prepared.headers.get("Authorization") != given.get("Authorization")
            if not is_written or not self._goes_beside(prepared):
                prepared.hooks = authorization.CallerHooks(vars(prepared)["hooks"])
            return prepared
        quickly = shortcut.prepare(super().prepare_request, self, request)
        prepared = self._prepare_without_netrc(request) if quickly is None else quickly
        tokens = self._allowed_urls.find(str(prepared.url))[0]
        header = None if tokens is None else tokens._config.header
        headers = dict(request.headers.items()) if request.headers else {}
        if None in headers.values() and _says_without(headers, header or "Authorization"):
            prepared.hooks = authorization.CallerHooks(vars(prepared)["hooks"])
        elif self.trust_env and (header != "Authorization" or header in prepared.headers):
            netrc = requests.sessions.get_netrc_auth(request.url)
            if netrc is not None:
                prepared.prepare_auth(netrc, request.url)
        return prepared

    def _prepare_without_netrc(self, request: Request) -> PreparedRequest:
        """Prepare a request as requests does, but leave ~/.netrc alone.

        requests looks there if there is no auth, and what it finds would displace our token. It is
        told not to by a second object with the attributes of this session, which classes after ours
        see too.
        """
        kind: Any = type(self)
        without_netrc = object.__new__(_without_netrc(kind))
        object.__setattr__(without_netrc, "__dict__", self.__dict__)
        return super(ClientCredentialsSession, without_netrc).prepare_request(request)

    def merge_environment_settings(
        self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any
    ) -> Any:
        """Return the settings of a request as requests does."""
        theirs = super().merge_environment_settings
        quickly = shortcut.settings(theirs, self, url, (proxies, stream, verify, cert))
        return theirs(url, proxies, stream, verify, cert) if quickly is None else quickly

    def send(self, request: PreparedRequest, **kwargs: Any) -> Response:
        """Send a prepared request, with a token if one belongs on it.

        Every request is sent by this method: those of ``get`` and the other verbs, of ``request``,
        and every hop of a redirect. The order of operations:

        1. Find the token source for the URL. If there is none, send the request as requests does.
        2. Copy the request, because the caller may use it again, in other threads too.
        3. Get the current token; wait for a fetch if there is none.
        4. Put the token on the copy, and our response hook before the user's hooks.
        5. Send the copy. The hook answers a 401 by one renewal and one replay.
        6. requests calls the user's hooks and follows redirects. Each hop is a new `send`.
        """
        tokens, origin = self._tokens_for(request)
        if tokens is None:
            return self._send_without_token(request, kwargs)
        copied, handed = authorization.copy_to_send(request)
        if getattr(super().send, "__func__", None) is not PLAIN_SEND:
            note_later(copied)
        current = tokens._get(kwargs.get("timeout"), lambda: is_replayable(copied.body))
        handler = Handle401(
            (copied, self),
            tokens,
            current,
            handed=handed,
            refused_status=self._refused_status,
            allowed_urls=self._allowed_urls,
            origin=origin,
        )
        if kwargs.get("proxies", True):
            self._avoid_proxy(copied, origin, kwargs)
        # The token may be bound to a certificate (RFC 8705 section 3).
        cert = tokens._config.client_auth.cert
        if cert is not None and not kwargs.get("cert", self.cert):
            wait_for_files(tokens._config.client_auth)
            kwargs["cert"] = cert
        outer, _left.handler = _left.handler, handler
        try:
            authorization.put_token(copied, current, tokens._config.scheme, handler)
            response = super().send(copied, **kwargs)
        except BaseException as error:  # also a time limit, or what a body raises
            clear_frames(error, packages=_HOLD_HEADERS)
            readable = _readable(error, handler, cert)
            if readable is None:
                raise
        else:
            if getattr(response, "_next", None) is not None or not handler.is_spent:
                handler.hide_in(response)
            return response
        finally:
            handler.sending, _left.hop, _left.handler = None, None, outer
        readable.request = copied
        handler.redact_error(readable)
        raise readable  # here, so that the first error is not its context

    def _send_without_token(self, request: PreparedRequest, kwargs: dict[str, Any]) -> Response:
        """Send a request as requests does, and say in the log why it has no token."""
        client = self.tokens._client
        header = self._header_for(request)
        reason = notices.reason_without_token(request, self, self._allowed_urls, header)
        notices.note_without_token(client, getattr(request, "url", None), reason)
        kwargs = self._without_our_cert(kwargs)
        try:
            response = super().send(authorization.without_token(request), **kwargs)
        finally:
            _left.hop = None
        notices.note_refused_without_token(client, response, reason)
        return response

    def rebuild_auth(self, prepared_request: PreparedRequest, response: Response) -> None:
        """Keep our token on a redirect that stays at its API, and remove it from any other."""
        authorization.pass_token_on(prepared_request, response.request)
        self._drop_known_token(prepared_request, str(response.url))
        session: Any = self
        if self._stays_at_its_api(prepared_request):
            # `send` puts the token on it anew. requests keeps these headers in a local variable.
            authorization.hide_headers(prepared_request)
            if self._header_for(prepared_request) == "Authorization":
                kind: Any = type(self)
                session = object.__new__(_without_netrc(kind))  # as in `prepare_request`
                object.__setattr__(session, "__dict__", self.__dict__)
        else:
            if not authorization.carries_token_of_auth(prepared_request):
                authorization.take_token_off(prepared_request)
            _left.hop = id(self), prepared_request.url
        rebuild_auth: Any = super(ClientCredentialsSession, session).rebuild_auth
        rebuild_auth(prepared_request, response)

    def __repr__(self) -> str:
        """Return what the session is for, without secrets."""
        name, tokens = type(self).__name__, vars(self).get("tokens")
        if not isinstance(tokens, TokenSource):
            return f"<{name} without a token source>"
        prefixes = " and ".join(self._allowed_urls.prefixes()) or "not set"
        return f"<{name} for {tokens._description()}, api_url {prefixes}>"

    def close(self) -> None:
        """Close the adapters and the connections to the token endpoint, without waiting."""
        super().close()
        for tokens in vars(self).get("_own_sources", ()):
            tokens.close()

    def _begin(self, tokens: TokenSource, api_url: Any, refused_status: Iterable[int]) -> None:
        self.tokens = tokens
        self._own_sources = ()
        self._allowed_urls = AllowedURLs(tokens, api_url)
        self._refused_status = checked_status(refused_status)
        self._adopt_sources()

    def _adopt_sources(self) -> None:
        """Become the owner of the sources that have none: a new one, or one that was unpickled."""
        sources = [self.tokens, *self._own_sources, *self._allowed_urls.values()]
        for tokens in sources:
            if tokens._owner.session() is None:
                tokens._owner.adopt(self)
                self._own_sources = tuple(dict.fromkeys([*self._own_sources, tokens]))
        # A source has only a weak reference to its owner, whose adapters, proxies and CA bundle it
        # uses. So this session keeps the owners of other sessions' sources alive.
        owners = {
            id(owner): owner for tokens in sources if (owner := tokens._owner.session()) is not self
        }
        self._kept_alive = tuple(owners.values())
        forks.reset_in_child(self)

    def _tokens_for(self, request: PreparedRequest) -> tuple[TokenSource | None, Origin | None]:
        """Return the token source, or None for a request without a token, and the origin."""
        if not isinstance(request, PreparedRequest) or not request.url or request.headers is None:
            return None, None  # requests raises an error about that
        tokens, origin = self._allowed_urls.find(request.url)
        header = "Authorization" if tokens is None else tokens._config.header
        is_theirs = self.auth is not None and not self._goes_beside(request)
        if is_theirs or authorization.brings_its_own(request, header):
            return None, None
        handler = getattr(vars(request).get("hooks"), "handler", None)  # if they are `TokenHooks`
        # A redirect, or a request that was sent before by this session or by a copy of it.
        if getattr(handler, "allowed_urls", None) is self._allowed_urls:
            return (tokens, origin) if self._stays_at_its_api(request) else (None, None)
        allowed = self._allowed_urls
        if (id(self), request.url) == _left.hop:
            return None, None
        if tokens is None:
            allowed.refuse_plain_http(request)
        elif not allowed.is_limited and origin != allowed.first_origin:
            allowed.note_origin(request.url, origin, tokens._client)
        return tokens, origin

    def _header_for(self, request: Any) -> str:
        """Return the name of the header that carries the token for the URL of a request."""
        tokens = self._allowed_urls.find(str(getattr(request, "url", None)))[0]
        return "Authorization" if tokens is None else tokens._config.header

    def _goes_beside(self, request: PreparedRequest) -> bool:
        """Return whether the token goes beside the ``Authorization`` of a request."""
        is_there = "Authorization" in request.headers
        return is_there and self._header_for(request) != "Authorization"

    def _stays_at_its_api(self, request: PreparedRequest) -> bool:
        """Return whether a request still goes to the origin and the API that its token is for."""
        handler: Any = getattr(vars(request).get("hooks"), "handler", None)
        return (
            getattr(handler, "allowed_urls", None) is self._allowed_urls
            and authorization.carries_token(request, handler.header)
            and (handler.tokens, handler.origin) == self._allowed_urls.find(str(request.url))
        )

    def _drop_known_token(self, request: PreparedRequest, before: str) -> None:
        """Remove a token of ours from a hop that leaves its API if nothing else shows whose it is.

        A class between ours and that of requests may have dropped our hooks. ``before`` is the URL
        that has redirected. requests itself removes an ``Authorization`` and no other header.
        """
        if type(vars(request).get("hooks")) not in (dict, authorization.RedirectedHooks):
            return
        place, sent = self._allowed_urls.find(str(request.url)), _left.handler
        stays = place == self._allowed_urls.find(before)
        for tokens in self._allowed_urls.values():
            current, header = tokens._state.current, tokens._config.header
            value = authorization.header_text(request.headers.get(header))
            is_its_token = current is not None and value == current.header
            # The token may have been renewed meanwhile.
            is_its_token |= sent is not None and sent.tokens is tokens and value in sent.values
            if is_its_token and not (stays and place[0] is tokens):
                request.headers.pop(header, None)

    def _avoid_proxy(
        self, request: PreparedRequest, origin: Origin | None, kwargs: dict[str, Any]
    ) -> None:
        """Avoid a proxy beyond this machine that the environment names, for plain http to loopback.

        It would read the token. A proxy that is named in code is used.
        """
        if origin is None or not is_plain_on_loopback(origin):
            return
        proxies: Any = self.proxies
        url, in_code = str(request.url), select_proxy(str(request.url), proxies) or ""
        if "proxies" not in kwargs:
            kwargs["proxies"] = resolve_proxies(request, proxies, self.trust_env)
        proxies = kwargs["proxies"]
        # For this host only: a redirect may lead to a host that only the proxy can reach.
        place = f"http://{origin.host}"
        proxy: Any = select_proxy(url, proxies)
        is_far = proxy not in (None, "", in_code) and not is_on_this_machine(proxy)
        if is_far and self.trust_env and proxy == select_proxy(url, get_environ_proxies(url)):
            proxies = kwargs["proxies"] = {**proxies, place: in_code}
        if (proxies or {}).get(place) == in_code:
            request.headers.pop("Proxy-Authorization", None)  # that of another one, for a redirect

    def _without_our_cert(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        # requests passes the certificate of the first request to every hop.
        cert = kwargs.get("cert")
        if cert is None or cert is self.cert:
            return kwargs
        sources = self._allowed_urls.values()
        is_ours = any(cert is tokens._config.client_auth.cert for tokens in sources)
        return {**kwargs, "cert": self.cert} if is_ours else kwargs

    def _after_fork(self) -> None:
        forks.reset_session(self)

    def __getstate__(self) -> dict[str, Any]:
        # requests takes the names in `__attrs__`, which a class of the user may have replaced.
        own, state = vars(self), super().__getstate__()  # type: ignore[misc]
        return {**state, **{name: own[name] for name in _OURS if name in own}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[misc]
        if "tokens" in vars(self):
            self._adopt_sources()

    if not TYPE_CHECKING:  # pragma: no branch - else every name would be an attribute

        def __getattr__(self, name: str) -> Any:
            """Raise `ConfigurationError` for what `__init__` sets, if it was not called."""
            if name in _OURS or (name == "auth" and "tokens" not in vars(self)):
                raise ConfigurationError(
                    f"{type(self).__name__} was made without"
                    " ClientCredentialsSession.__init__(token_url, client_id, client_secret,"
                    " scope). In each class that defines __init__(self, *args, **kwargs), write"
                    " super().__init__(*args, **kwargs), not requests.Session.__init__(self)."
                )
            getattr_of_others = getattr(super(), "__getattr__", super().__getattribute__)
            return getattr_of_others(name)


class _NetrcKeptOut:
    """What comes before a session class in a class whose objects say that netrc is not used."""

    def _set(self, value: Any) -> None:
        vars(self)["trust_env"] = value

    trust_env: Any = property(lambda _: False, _set)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Call nothing of the user's classes: this is not a class of theirs."""


@lru_cache(maxsize=64)
def _without_netrc(kind: type[ClientCredentialsSession]) -> type[ClientCredentialsSession]:
    """Return the class of a session with another ``trust_env``."""
    names: dict[str, Any] = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    if hasattr(kind, "__del__"):
        names["__del__"] = lambda _: None  # the session itself is still used
    return new_class(kind.__name__, (_NetrcKeptOut, kind), exec_body=lambda ns: ns.update(names))


def _check_source(tokens: object) -> None:
    if not isinstance(tokens, TokenSource):
        raise ConfigurationError("tokens= takes the `tokens` of another session.")


def _says_without(headers: Any, name: str) -> bool:
    """Return whether a caller wants no header of this name, which is then None as in requests."""
    nones = [authorization.header_text(given) for given, value in headers.items() if value is None]
    return name.lower() in [given.lower() for given in nones]


def _readable(
    error: BaseException, handler: Handle401, cert: Any
) -> requests.RequestException | None:
    """Return an error to raise in the place of one that requests did not make readable, or None."""
    if isinstance(error, requests.RequestException):
        handler.redact_error(error)
        return None
    if isinstance(error, ValueError):  # the parser of URLs quotes an odd target of a redirect
        is_theirs = type(error).__module__ != "builtins"  # of a hook of the user
        return None if is_theirs else handler.without_tokens(error)
    # requests says so if a file of the client certificate is missing for a moment.
    is_ours = cert is not None and type(error) is OSError and error.errno is None
    advice = "To replace the client certificate, write a new file and rename it (os.replace)."
    return TokenError(f"{error}. {advice}") if is_ours else None


@hide_locals
def fetch_token(
    token_url: str | None,
    client_id: str,
    client_secret: SecretLike | None = None,
    scope: str | Iterable[str] | None = None,
    *,
    issuer: str | None = None,
    timeout: TimeoutLike = None,
    verify: bool | str = True,
    headers: Mapping[str, str] | None = None,
    hooks: Hooks | None = None,
    **options: Unpack[SessionOptions],
) -> Token:
    """Fetch one token, for a script that needs no session.

    ``timeout`` is in seconds (None: 60; a tuple: its sum). ``verify`` is as in requests.
    ``headers`` are added to the token request. ``hooks`` are compliance hooks of requests-oauthlib
    by the names of their types, such as ``{"access_token_response": hook}``, or one of its
    compliance fixes, which is called with the token endpoint. The other options are those of
    `ClientCredentialsSession`. Raises `ConfigurationError`, or `TokenError` with ``status_code``,
    ``error`` and ``error_description`` if the server answered with them (RFC 6749 section 5.2).
    """
    with ClientCredentialsSession(
        token_url, client_id, client_secret, scope, issuer=issuer, **options
    ) as session:
        session.verify = verify
        if not isinstance(headers or {}, Mapping):
            raise ConfigurationError('headers must be a mapping, such as {"X-Tenant": "blue"}.')
        session.tokens.endpoint.headers.update(headers or {})
        _register(hooks or {}, session.tokens.endpoint)
        return session.tokens.get(timeout)


def _register(hooks: Any, endpoint: TokenEndpoint) -> None:
    try:
        if callable(hooks):
            hooks(endpoint)
        else:
            for kind, hook in hooks.items():
                if not callable(hook):
                    raise TypeError(kind)  # noqa: TRY301 - one message for all faults
                endpoint.register_compliance_hook(kind, hook)
    except Exception as error:
        raise ConfigurationError(
            f"hooks could not be used ({type(error).__name__}): hooks must be a mapping, such as"
            ' {"access_token_response": hook}, or a compliance fix of requests-oauthlib, which gets'
            " the token endpoint. The types are access_token_request and access_token_response."
        ) from error
