"""Decide which requests carry a token, at the moment when they are sent.

How a token is shown is in signing.py, what happens on a 401 in handle_401.py. ``request``, ``get``,
``post`` and their kind are not touched: everything passes through ``send``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import requests
from requests import PreparedRequest, Request, Response
from requests.auth import AuthBase
from requests.utils import get_auth_from_url, get_netrc_auth, resolve_proxies, select_proxy

from . import forks, signing
from .handle_401 import Handle401, checked_status
from .reach import Reach
from .token_source import TokenSource
from .urls import Origin, is_loopback, origin_of


class SigningSession(requests.Session):
    """Be a session that signs what may carry a token; a subclass says with whose.

    ``tokens`` is the source of its tokens, of which `authorize` may add further ones; those in
    ``_own`` are closed with it.
    """

    __attrs__: list[str] = [  # noqa: RUF012 - as in requests
        *requests.Session.__attrs__,
        "tokens",
        "_own",
        "_reach",
        "_refused_status",
        "_lenders",
    ]

    tokens: TokenSource
    _own: list[TokenSource]

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
        twin = signing.twin_of(request)  # before the wait: others may change what is theirs
        url = str(twin.url)
        origin = origin_of(url)
        held = source.current(signing.seconds(kwargs.get("timeout")))
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

    def _without_our_cert(self, request: PreparedRequest, kwargs: dict[str, Any]) -> dict[str, Any]:
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


class _Undecided(AuthBase):
    """Stand where requests would ask ``~/.netrc``, until the prepared URL shows what is right."""

    def __init__(self, session: SigningSession, url: Any) -> None:
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
