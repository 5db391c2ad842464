"""One bounded HTTP exchange with an authorization server.

Bounded in time (5 s to connect, 30 s between bytes, a deadline for the whole), in size (1 MiB) and
in reach (no redirect is followed, nothing of the owning session but its transport is used). The
inherited ``OAuth2Session.request`` and ``fetch_token`` are left aside: they log secrets.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any

import requests
from oauthlib.oauth2 import BackendApplicationClient
from requests.adapters import BaseAdapter, HTTPAdapter
from requests.exceptions import InvalidSchema
from requests.sessions import merge_setting
from requests_oauthlib import OAuth2Session
from urllib3.exceptions import HTTPError

from . import forks
from .errors import InvalidTokenResponse, OAuthCCError, TokenEndpointTimeout
from .transport_errors import as_ours
from .urls import is_loopback, origin_of, public_url

CONNECT_TIMEOUT, READ_TIMEOUT = 5.0, 30.0
SIZE_LIMIT = 1_048_576
#: What can be carried over, by name, when the session is pickled or copied.
_SETTINGS = (
    "adapters",
    "proxies",
    "cert",
    "headers",
    "params",
    "hooks",
    "compliance_hook",
    "_verify",
    "_trust_env",
)


class ExchangeSession(OAuth2Session):
    """Talk to one authorization server and to nothing else.

    ``verify``, ``trust_env``, ``proxies``, ``cert``, ``mount()`` and requests-oauthlib's compliance
    hooks can be set here as on any session. What is not set here is as in ``owner``, the session
    that calls the API: its adapters, ``verify``, ``proxies`` and ``trust_env``. Its headers,
    cookies, hooks, params, auth and ``cert`` are never used.
    """

    _verify: Any = None
    _trust_env: bool | None = None

    def __init__(self, client_id: str, owner: requests.Session | None = None) -> None:
        self._owner: Callable[[], requests.Session | None] = lambda: None
        if owner is not None:
            self.adopt(owner)
        super().__init__(client=BackendApplicationClient(client_id))
        # requests-oauthlib knows hooks on the request since 2.0; here they work before that too.
        hooks: dict[str, Any] = self.compliance_hook  # type: ignore[assignment]
        for kind in ("access_token_request", "refresh_token_request"):
            hooks.setdefault(kind, set())
        self._verify = self._trust_env = None
        self._defaults = self.adapters
        self.adapters: MutableMapping[str, BaseAdapter] = type(self.adapters)()
        forks.renewed_in_child(self)

    def adopt(self, owner: requests.Session) -> None:
        """Use the transport of this session; weakly: it holds us, and is freed when dropped."""
        self._owner = weakref.ref(owner)

    @property
    def verify(self) -> Any:
        """Return what was set here, else the owner's."""
        if self._verify is not None:
            return self._verify
        return getattr(self._owner(), "verify", True)

    @verify.setter
    def verify(self, value: Any) -> None:
        self._verify = value

    @property
    def trust_env(self) -> bool:
        """Return what was set here, else the owner's."""
        if self._trust_env is not None:
            return self._trust_env
        return bool(getattr(self._owner(), "trust_env", True))

    @trust_env.setter
    def trust_env(self, value: bool) -> None:
        self._trust_env = value

    def settings(self) -> dict[str, Any]:
        """Return what was set here, for a copy of this session."""
        return {name: getattr(self, name) for name in _SETTINGS}

    def apply(self, settings: Mapping[str, Any]) -> None:
        """Set here what `settings` gave elsewhere."""
        self.__dict__.update(settings)

    def _after_fork(self) -> None:
        forks.renew_session(self)
        for adapter in self._defaults.values():
            forks.renew_adapter(adapter)

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send as requests does."""
        try:
            return super().send(request, **kwargs)
        finally:
            # requests-mock, when it is done, leaves the method of requests where ours stood.
            shadow = vars(self).get("get_adapter")
            if getattr(shadow, "__func__", None) is requests.Session.get_adapter:
                del self.get_adapter

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Follow no redirect: it would carry the client's secret to another place."""

    def get_adapter(self, url: str) -> BaseAdapter:
        """Return the adapter mounted here, else the owner's."""
        try:
            return super().get_adapter(url)
        except InvalidSchema:
            owner = self._owner()
            if owner is not None:
                return owner.get_adapter(url=url)
            prefix = "https://" if url.lower().startswith("https://") else "http://"
            return self._defaults[prefix]

    def merge_environment_settings(self, *args: Any, **kwargs: Any) -> Any:
        """Merge as requests does, with the owner's proxies where there are none here."""
        settings = super().merge_environment_settings(*args, **kwargs)
        theirs = getattr(self._owner(), "proxies", None)
        settings["proxies"] = merge_setting(settings["proxies"], theirs)  # type: ignore[no-untyped-call]
        return settings

    def connect_anew(self) -> None:
        """Have the next request to any server, through the owner's adapters too, connect anew."""
        theirs = getattr(self._owner(), "adapters", {})
        for adapter in [*self.adapters.values(), *self._defaults.values(), *theirs.values()]:
            hang_up(adapter)

    def close(self) -> None:
        """Close the adapters that are this session's own."""
        super().close()
        for adapter in self._defaults.values():
            adapter.close()

    def exchange(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        data: str | None = None,
        cert: Any = None,
        deadline: float,
        secrets: Sequence[str] = (),
    ) -> requests.Response:
        """Send one request and read its answer whole.

        ``deadline`` is on the monotonic clock. Raises `TokenEndpointTimeout`,
        `TokenEndpointUnreachable`, `InvalidTokenResponse` (too large) or `ConfigurationError`,
        whose texts hold none of ``secrets``.
        """
        left = max(0.001, deadline - time.monotonic())
        request = requests.Request(method, url, headers=dict(headers), data=data)
        try:
            prepared = self.prepare_request(request)
            settings = self.merge_environment_settings(
                url, {}, stream=True, verify=None, cert=cert or self.cert
            )
            if _lies_open(url):
                settings["proxies"] = {}
            timeout = (min(CONNECT_TIMEOUT, left), min(READ_TIMEOUT, left))
            response = self.send(prepared, timeout=timeout, allow_redirects=False, **settings)
            if response.raw is not None:  # else an adapter made it by hand, with its content
                with response:
                    _read(response, url, deadline)
        except OAuthCCError:
            raise
        except (requests.RequestException, HTTPError, OSError, ValueError) as error:
            raise as_ours(error, url, secrets) from None
        return response


def hang_up(adapter: BaseAdapter) -> None:
    """Close the idle connections of an adapter; those in use are closed when they are done.

    A connection goes on with the client certificate that it was opened with, whatever has become
    of the files since.
    """
    if isinstance(adapter, HTTPAdapter):
        HTTPAdapter.close(adapter)  # a subclass may be of no use after its own close()


def _lies_open(url: str) -> bool:
    # A proxy would see the secret of a plain http request to this very machine.
    origin = origin_of(url)
    return origin is not None and origin.scheme == "http" and is_loopback(origin)


def _read(response: requests.Response, url: str, deadline: float) -> None:
    """Read the body in small pieces, since a server that drips never trips the read timeout."""
    content = bytearray()
    for chunk in response.iter_content(64):
        content += chunk
        if len(content) > SIZE_LIMIT:
            raise InvalidTokenResponse(
                f"{public_url(url)} answered with more than 1 MiB; check that it is the URL of a"
                " token endpoint or issuer.",
                status_code=response.status_code,
            )
        if time.monotonic() >= deadline:
            raise TokenEndpointTimeout(f"{public_url(url)} did not finish its answer in time.")
    response._content = bytes(content)
    response._content_consumed = True  # type: ignore[attr-defined]
