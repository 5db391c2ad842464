"""One bounded HTTP exchange with an authorization server, and its errors as ours.

An exchange is bounded in time (5 seconds to connect, 30 seconds between bytes, a deadline for the
whole), in size (1 MiB) and in target (no redirect is followed). The only thing that is used of the
session that calls the API is its transport.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn
from urllib.parse import urlsplit

import requests
from oauthlib.oauth2 import BackendApplicationClient
from requests import exceptions
from requests.adapters import BaseAdapter, HTTPAdapter
from requests.auth import HTTPBasicAuth, HTTPDigestAuth, HTTPProxyAuth
from requests.cookies import RequestsCookieJar, merge_cookies
from requests.structures import CaseInsensitiveDict
from requests.utils import default_headers, select_proxy
from requests_oauthlib import OAuth2Session
from urllib3 import HTTPResponse
from urllib3.exceptions import HTTPError, ReadTimeoutError
from urllib3.util import Retry

from .. import forks
from ..errors import (
    ConfigurationError,
    InvalidTokenResponse,
    OAuthCCError,
    TokenEndpointTimeout,
    TokenEndpointUnreachable,
)
from ..redaction.answer import redact_transport_error
from ..urls import is_on_this_machine, is_plain_on_loopback, origin_of, public_url
from .connection import Exchange, TimeIsOver, for_one_exchange
from .owner import Owner, drop_idle_connections
from .response import MAX_BYTES

CONNECT_TIMEOUT, READ_TIMEOUT = 5.0, 30.0
#: A token must not be kept by a cache, and the connection is not used again.
_UNCACHED = {"Cache-Control": "no-store", "Connection": "close"}
#: The attributes that a pickle or a copy of the session takes along.
_TRANSPORT = ("adapters", "proxies", "_verify", "_trust_env")
_SETTINGS = (*_TRANSPORT, "cert", "headers", "params", "hooks", "compliance_hook")


class SetHere(NamedTuple):
    """What was set on an endpoint and can change the token.

    ``text`` contains it, with its secrets, or is empty. ``opaque`` names what no text can express.
    """

    text: str = ""
    opaque: tuple[str, ...] = ()


class TransportSession(OAuth2Session):
    """A session for one authorization server.

    ``verify``, ``trust_env``, ``proxies``, ``cert``, ``mount()`` and requests-oauthlib's compliance
    hooks can be set here as on any session. If ``verify``, ``proxies``, ``trust_env`` or an adapter
    is not set here, that of ``owner``, the session that calls the API, is used. The owner's
    headers, cookies, hooks, params, auth and ``cert`` are never used.
    """

    _verify: Any = None
    _trust_env: bool | None = None

    def __init__(self, client_id: str, owner: Owner) -> None:
        self._owner = owner
        # OAuth2Session needs a client. Token requests have clients of their own (endpoint.py).
        super().__init__(client=BackendApplicationClient(client_id))
        # requests-oauthlib has hooks on the request since 2.0. Here they work with 1.3 too.
        hooks: dict[str, Any] = self.compliance_hook  # type: ignore[assignment]
        for kind in ("access_token_request", "refresh_token_request"):
            hooks.setdefault(kind, set())
        self._verify = self._trust_env = None
        self._default_auth = self.auth
        # The cookies that the server has set, as opposed to those that the user has.
        self._received: set[tuple[Any, ...]] = set()
        self.adapters: MutableMapping[str, BaseAdapter] = type(self.adapters)()
        # The adapters for a session that is gone, made when they are needed.
        self._defaults: dict[str, BaseAdapter] = {}
        forks.reset_in_child(self)

    @property
    def verify(self) -> Any:
        """Return what was set here, else the owner's."""
        if self._verify is not None:
            return self._verify
        return getattr(self._owner.session(), "verify", True)

    @verify.setter
    def verify(self, value: Any) -> None:
        self._verify = value

    @property
    def trust_env(self) -> bool:
        """Return what was set here, else the owner's."""
        if self._trust_env is not None:
            return self._trust_env
        return bool(getattr(self._owner.session(), "trust_env", True))

    @trust_env.setter
    def trust_env(self, value: bool) -> None:
        self._trust_env = value

    def settings(self) -> dict[str, Any]:
        """Return what was set here, for a copy of this session."""
        return {name: getattr(self, name) for name in _SETTINGS}

    def apply(self, settings: Mapping[str, Any]) -> None:
        """Set here what `settings` returned for another session."""
        self.__dict__.update(settings)

    def without_secrets(self) -> TransportSession:
        """Return a session with this transport, for a server that gets no secret of this one."""
        session = TransportSession("", self._owner)
        session.apply({name: getattr(self, name) for name in _TRANSPORT})
        return session

    def set_here(self) -> SetHere:
        """Return what was set here and can change the token, as it is now.

        ``proxies``, ``verify``, ``trust_env`` and adapters of requests itself change only the way
        of a request.
        """
        text: dict[str, Any] = {}
        opaque: list[str] = []
        for name, read in _INFLUENCES.items():
            try:
                found = read(self)
            except Exception:  # noqa: BLE001 - an object that only looks like what it should be
                opaque.append(name)
            else:
                text.update({name: found} if found else {})
        return SetHere(json.dumps(text, sort_keys=True) if text else "", tuple(opaque))

    def request(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Raise ConfigurationError.

        The inherited `request`, `fetch_token` and `refresh_token` would write the client's secret
        and the token to the log, and keep the token in this session.
        """
        del args, kwargs  # they may contain the secret, and crash reporters send local variables
        raise ConfigurationError(
            "session.tokens.endpoint only sends token requests, and sends them by itself: call"
            " session.tokens.get() for the current token, or session.tokens.renew() for a new one"
            " (this grant has no refresh token), and use the session for API requests."
        )

    fetch_token: Any = request
    refresh_token: Any = request

    def _after_fork(self) -> None:
        forks.reset_session(self)
        for adapter in self._defaults.values():
            forks.reset_adapter(adapter)

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send as requests does, past a class that answers from a cache."""
        before = _cookies(self)
        try:
            return _PlainSession.send(self, request, **kwargs)
        finally:
            now = _cookies(self)
            self._received = now & (self._received | (now - before))

    def __setattr__(self, name: str, value: Any) -> None:
        # requests-mock, before a real request and when it ends, puts the method of requests in the
        # place of ours.
        if name == "get_adapter" and getattr(value, "__func__", None) is _PlainSession.get_adapter:
            vars(self).pop(name, None)
        else:
            super().__setattr__(name, value)

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return None: a redirect would carry the client's secret to another place."""

    def get_adapter(self, url: str) -> BaseAdapter:
        """Return the adapter mounted here, else the owner's; in an exchange, a copy of it."""
        try:
            adapter = super().get_adapter(url)
        except exceptions.InvalidSchema:
            owner = self._owner.session()
            prefix = "https://" if url.lower().startswith("https://") else "http://"
            if owner is None:
                adapter = self._defaults.get(prefix) or self._defaults.setdefault(
                    prefix, requests.sessions.HTTPAdapter()
                )
            else:
                adapter = owner.get_adapter(url=url)
        return for_one_exchange(adapter)

    def merge_environment_settings(
        self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any
    ) -> Any:
        """Merge as requests does, but what was set in code wins over the environment."""
        if verify is None and self.verify is not True:
            verify = self.verify
        given = (self.proxies, getattr(self._owner.session(), "proxies", None))
        in_code = [{k: v for k, v in (each or {}).items() if v is not None} for each in given]
        no_proxy = {**in_code[1], **in_code[0]}.get("no_proxy")
        if no_proxy:
            proxies = {"no_proxy": no_proxy, **proxies}
        settings = super().merge_environment_settings(url, proxies, stream, verify, cert)
        for each in in_code:
            if select_proxy(url, each) is not None:
                settings["proxies"] = each  # the environment may name one for a longer key
                return settings
        proxy = select_proxy(url, settings["proxies"])
        # A proxy on another machine would see the secret, or could not reach this one.
        if proxy and is_plain_on_loopback(origin_of(url)) and not is_on_this_machine(proxy):
            settings["proxies"] = {}
        return settings

    def drop_connections(self) -> None:
        """Close the idle connections to every server, also those of the owner's adapters."""
        theirs = getattr(self._owner.session(), "adapters", {})
        for adapter in [*self.adapters.values(), *self._defaults.values(), *theirs.values()]:
            drop_idle_connections(adapter)

    def close(self) -> None:
        """Close the adapters that are this session's own."""
        super().close()
        for adapter in self._defaults.values():
            adapter.close()

    def send_bounded(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        data: str | None = None,
        cert: Any = None,
        deadline: float,
        secrets: Sequence[str] = (),
        reads_body: bool = True,
    ) -> requests.Response:
        """Send one request and read its answer completely, or only its headers.

        ``deadline`` is on the monotonic clock. Raises `TokenEndpointTimeout`,
        `TokenEndpointUnreachable`, `InvalidTokenResponse` (too large) or `ConfigurationError`.
        Their messages contain none of ``secrets``.
        """
        left = max(0.001, deadline - time.monotonic())
        request = requests.Request(method, url, headers={**_UNCACHED, **headers}, data=data)
        prepared: requests.PreparedRequest | None = None
        response: requests.Response | None = None
        exchange = Exchange(left)
        try:
            prepared = self.prepare_request(request)
            settings = self.merge_environment_settings(
                url, {}, stream=True, verify=None, cert=cert or self.cert
            )
            timeout = (min(CONNECT_TIMEOUT, left), min(READ_TIMEOUT, left))
            with exchange:
                response = self.send(prepared, timeout=timeout, allow_redirects=False, **settings)
                if response.raw is not None:  # else an adapter has made it, with its content
                    with response:
                        if reads_body:
                            _read(response, url, deadline)
            if exchange.is_over:  # a part of the answer looks complete if it has no length
                raise _too_slow(url)
        except OAuthCCError:
            raise
        except (requests.RequestException, HTTPError, OSError, ValueError, TimeIsOver) as error:
            if exchange.is_over:
                raise _too_slow(url) from None
            ours = _as_ours(error, url, secrets, prepared)
            # An adapter repeats no request after it has returned an answer.
            vars(ours)["_is_repeated"] = response is None and repeats(self.get_adapter(url), error)
            raise ours from None
        return response


# A tool may have put a class that caches answers in the place of `requests.Session`, before
# requests-oauthlib was imported. A cached answer would bring a refused token again and again.
_PlainSession: type[requests.Session] = next(
    (kind for kind in TransportSession.__mro__ if kind.__module__ == "requests.sessions"),
    requests.Session,
)


def _headers(session: TransportSession) -> dict[str, str | None]:
    headers, defaults = CaseInsensitiveDict(session.headers or {}), default_headers()
    return {
        name.lower(): None if headers.get(name) is None else _text(headers[name])
        for name in (*headers, *defaults)
        if headers.get(name) != defaults.get(name)
    }


def _params(session: TransportSession) -> list[str]:
    prepared = requests.PreparedRequest()
    prepared.prepare_url("https://any.example/", session.params)
    pairs = filter(None, urlsplit(prepared.url or "").query.split("&"))
    # A server may use the first or the last value of a name, so their order stays.
    return sorted(pairs, key=lambda pair: pair.partition("=")[0])


def _auth(session: TransportSession) -> list[str]:
    auth: Any = session.auth
    if auth is session._default_auth:
        return []
    if isinstance(auth, tuple):
        auth = HTTPBasicAuth(*auth)
    if type(auth) not in (HTTPBasicAuth, HTTPDigestAuth, HTTPProxyAuth):
        raise TypeError("None means a login of ~/.netrc, and other objects may do anything")
    return [type(auth).__name__, _text(auth.username), _text(auth.password)]


def _set_cookies(session: TransportSession) -> list[Any]:
    return sorted(_cookies(session) - session._received)


def _cookies(session: TransportSession) -> set[tuple[Any, ...]]:
    jar = merge_cookies(RequestsCookieJar(), session.cookies)  # type: ignore[no-untyped-call]
    return {(each.domain, each.path, each.name, each.value or "") for each in jar}


def _certificate(session: TransportSession) -> list[str]:
    paths = [session.cert] if isinstance(session.cert, str) else session.cert or ()
    return [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in paths]


def _no_hooks(session: TransportSession) -> None:
    if any((session.hooks or {}).values()):
        raise TypeError("a function has no name that is the same in each process")


def _no_compliance_hooks(session: TransportSession) -> None:
    hooks: Any = session.compliance_hook
    if hooks["access_token_request"] or hooks["access_token_response"]:
        raise TypeError("a function has no name that is the same in each process")


def _no_adapters(session: TransportSession) -> None:
    usual = vars(HTTPAdapter()).keys()
    for adapter in session.adapters.values():
        # Also a method of requests' own adapter can be replaced on one object.
        if type(adapter) is not HTTPAdapter or not vars(adapter).keys() <= usual:
            raise TypeError("an adapter may change what it sends")


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else "" + value


#: What can change the token, by name, with a function that returns it, or raises if it cannot.
_INFLUENCES: dict[str, Callable[[TransportSession], Any]] = {
    "headers": _headers,
    "params": _params,
    "auth": _auth,
    "cookies": _set_cookies,
    "cert": _certificate,
    "hooks": _no_hooks,
    "compliance hooks": _no_compliance_hooks,
    "mounted adapters": _no_adapters,
}


def repeats(adapter: BaseAdapter, fault: Exception | requests.Response) -> bool:
    """Return whether an adapter repeats a POST by itself after such an error or answer.

    By default, urllib3 repeats it only if no connection could be made.
    """
    retry = getattr(adapter, "max_retries", None)
    if not isinstance(retry, Retry):
        return False
    how: dict[str, Any]
    if isinstance(fault, requests.Response):
        waits = bool(fault.headers.get("Retry-After"))
        if not retry.is_retry("POST", fault.status_code, waits):
            return False
        how = {"response": HTTPResponse(status=fault.status_code)}
    elif isinstance(fault, exceptions.RetryError):  # after the last of several answers
        how = {"response": HTTPResponse(status=503)}
    else:
        cause = fault.args[0] if fault.args else None
        how = {"error": getattr(cause, "reason", cause)}
        if not isinstance(how["error"], HTTPError):
            return False
    try:
        retry.increment("POST", "/", **how)
    except Exception:  # noqa: BLE001 - the fault itself, or that there is no attempt left
        return False
    return True


def _read(response: requests.Response, url: str, deadline: float) -> None:
    """Read the body in small pieces: a server that drips never exceeds the read timeout."""
    content = bytearray()
    for chunk in response.iter_content(64):
        content += chunk
        if len(content) > MAX_BYTES:
            raise InvalidTokenResponse(
                f"{public_url(url)} answered with more than 1 MiB; check that it is the URL of a"
                " token endpoint or issuer.",
                status_code=response.status_code,
            )
        if time.monotonic() >= deadline:
            raise _too_slow(url)
    response._content = bytes(content)
    response._content_consumed = True  # type: ignore[attr-defined]


def _too_slow(url: str) -> TokenEndpointTimeout:
    return TokenEndpointTimeout(f"{public_url(url)} has sent no complete answer in time.")


_MAX_TEXT = 500
_TIMEOUTS = (exceptions.Timeout, ReadTimeoutError, TimeoutError)
_BROKEN = (requests.ConnectionError, exceptions.ChunkedEncodingError, HTTPError, ConnectionError)
_UNSENDABLE = (exceptions.InvalidURL, exceptions.InvalidHeader, exceptions.InvalidSchema)
_TLS = (
    "No trusted TLS connection to {}: set session.verify or session.tokens.endpoint.verify to your"
    " CA bundle, and check the client certificate if there is one"
)
_PROXY = (
    "The proxy did not connect to {}: set session.proxies or session.tokens.endpoint.proxies, or"
    " NO_PROXY"
)
#: Transport errors, the special before the general, with our error and its message.
_TRANSLATIONS: tuple[tuple[Any, type[OAuthCCError], str], ...] = (
    (_TIMEOUTS, TokenEndpointTimeout, "{} did not answer in time"),
    (exceptions.SSLError, TokenEndpointUnreachable, _TLS),
    (exceptions.ProxyError, TokenEndpointUnreachable, _PROXY),
    (exceptions.ContentDecodingError, InvalidTokenResponse, "{} sent a badly compressed body"),
    (
        _BROKEN,
        TokenEndpointUnreachable,
        "No answer from {}: check its URL, and whether it is running",
    ),
    (_UNSENDABLE, ConfigurationError, "The request to {} could not be made"),
)


def _as_ours(
    error: Exception,
    url: str,
    secrets: Sequence[str],
    request: requests.PreparedRequest | None,
) -> OAuthCCError:
    """Return the error of ours for a transport error. Its message quotes no secret."""
    where = public_url(url)
    query = urlsplit(url).query  # some servers take a key there
    text = redact_transport_error(error, (*secrets, f"?{query}" if query else None), request)
    text = "".join(c if c.isprintable() else "?" for c in text)
    text = f"{type(error).__name__}: {text[:_MAX_TEXT]}"
    for causes, kind, message in _TRANSLATIONS:
        if isinstance(error, causes) or (causes is _TIMEOUTS and _is_stalled(error)):
            return kind(f"{message.replace('{}', where)} ({text}).")
    if isinstance(error, requests.RequestException):
        return TokenEndpointUnreachable(f"The exchange with {where} failed ({text}).")
    # A file is missing, or a header cannot be encoded.
    return ConfigurationError(f"The request to {where} could not be made ({text}).")


def _is_stalled(error: Exception) -> bool:
    # requests raises ConnectionError for a body that stalled.
    return bool(error.args) and isinstance(error.args[0], _TIMEOUTS)
