"""The token request: what is sent to the token endpoint, how often, and what is made of the answer.

This is the session that `ClientCredentialsSession.tokens.endpoint` shows: it takes ``verify``,
``cert``, ``proxies``, ``mount()`` and requests-oauthlib's compliance hooks.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import requests
from oauthlib.common import urldecode
from oauthlib.oauth2 import BackendApplicationClient
from urllib3.exceptions import MaxRetryError
from urllib3.util import Retry

from . import renewal
from .access_token import Token
from .client_auth import Attempt
from .discovery import Discovered
from .errors import (
    ConfigurationError,
    InvalidTokenResponse,
    OAuthCCError,
    TokenEndpointTimeout,
    TokenEndpointUnavailable,
    TokenRequestDenied,
)
from .exchange import ExchangeSession
from .grant import Grant
from .metadata import grant_warning, method_warning
from .token_response import read_token
from .urls import check_token_url

#: How often an unwell endpoint is asked in one flight while callers wait for it.
ATTEMPTS = 3
#: Seconds that a flight waits between two attempts at the most; a longer ``Retry-After`` ends it.
LONGEST_PAUSE = 5.0
_WORTH_A_RETRY = {None, 429, 502, 503, 504}
_JSON = "application/json"
_FORM = {"Accept": _JSON, "Content-Type": "application/x-www-form-urlencoded"}
_log = logging.getLogger("oauthcc")


@dataclass(frozen=True, slots=True)
class Fetched:
    """Hold a token, the number of attempts it took, and the proof of the client that got it."""

    token: Token
    attempts: int
    fingerprint: bytes


class TokenEndpoint(ExchangeSession):
    """Ask for tokens of one grant (RFC 6749 section 4.4.2)."""

    def __init__(self, grant: Grant, owner: requests.Session | None = None) -> None:
        super().__init__(grant.client_id, owner)
        self.grant = grant
        self._discovered = None if grant.issuer is None else Discovered(grant.issuer)
        self._warned: set[str] = set()
        self._presented: bytes | None = None

    def present(self, fingerprint: bytes) -> None:
        """Connect anew where the certificate, to which tokens are bound, is not the earlier one."""
        before, self._presented = self._presented, fingerprint
        if self.grant.client_auth.cert is not None and before not in (None, fingerprint):
            self.connect_anew()

    def fetch(
        self, client_secret: str | None, fingerprint: bytes, *, attempts: int, deadline: float
    ) -> Fetched:
        """Fetch a token; ``deadline`` is on the monotonic clock.

        An endpoint that is unwell is asked ``attempts`` times. After ``invalid_client`` the secret
        or key is read once more, and where it changed the request is made again with it.
        """
        policy = self._retries(attempts)
        made, rotated = 0, False
        while True:
            made += 1
            try:
                return Fetched(self._attempt(client_secret, deadline), made, fingerprint)
            except TokenRequestDenied as error:
                if self._discovered is not None and error.status_code in (404, 410):
                    self._discovered.forget()  # it may have moved
                if error.error != "invalid_client" or rotated:
                    raise
                client_secret = self.grant.read_secret()
                before, fingerprint = fingerprint, self.grant.fingerprint(client_secret)
                if fingerprint == before:
                    raise
                self.present(fingerprint)
                rotated = True
            except TokenEndpointUnavailable as error:
                policy = _after(error, policy, deadline)

    def _retries(self, attempts: int) -> Retry:
        url = self.grant.token_url or self.grant.issuer or ""
        theirs = getattr(self.get_adapter(url), "max_retries", None)
        if getattr(theirs, "total", 0) != 0:
            attempts = 1  # the user's adapter repeats requests as the user wants
        return Retry(total=attempts - 1, backoff_factor=0.5, backoff_jitter=0.5)

    def _attempt(self, client_secret: str | None, deadline: float) -> Token:
        """Ask once, and once more where the server wants its nonce in the proof (RFC 9449 8)."""
        scheme = self.grant.scheme
        url, audience = self._where(deadline)
        asked_at, secrets, response = self._ask(url, audience, client_secret, deadline)
        if scheme.proves:
            scheme.learn(url, response.headers)
            if scheme.demands_nonce(response):
                asked_at, secrets, response = self._ask(url, audience, client_secret, deadline)
                scheme.learn(url, response.headers)
        return read_token(
            self._complied(response),
            asked_at=asked_at,
            scope=self.grant.scope,
            accepts=scheme.accepts,
            scheme_name=scheme.name,
            secrets=secrets,
            method=self.grant.client_auth.name,
        )

    def _where(self, deadline: float) -> tuple[str, str]:
        """Return the token URL and what an assertion names as its audience."""
        if self._discovered is None:
            url = self.grant.token_url or ""  # one of the two was given
            return url, url

        def get(url: str) -> requests.Response:
            return self.exchange("GET", url, headers={"Accept": _JSON}, deadline=deadline)

        metadata = self._discovered.metadata(get, renewal.now())
        self._warn(grant_warning(metadata), method_warning(metadata, self.grant.client_auth.name))
        has_cert = self.grant.client_auth.cert is not None
        alias = metadata.mtls_token_endpoint if has_cert else None
        return alias or metadata.token_endpoint, metadata.issuer

    def _warn(self, *warnings: str | None) -> None:
        """Say once what the server does not list though it is about to see it."""
        for warning in warnings:
            if warning is not None and warning not in self._warned:
                self._warned.add(warning)
                _log.warning("%s", warning)

    def _ask(
        self, url: str, audience: str, client_secret: str | None, deadline: float
    ) -> tuple[float, list[str], requests.Response]:
        grant = self.grant
        secrets = [] if client_secret is None else [client_secret]
        attempt = Attempt(grant.client_id, client_secret, audience, dict(_FORM), [], secrets)
        grant.client_auth.authenticate(attempt)
        headers = {**attempt.headers, **grant.scheme.proof("POST", url, None)}
        # A client of its own, so that no token stays in one.
        body = BackendApplicationClient(grant.client_id).prepare_request_body(
            body=urlencode([*grant.params, *attempt.params]), scope=grant.scope
        )
        url, headers, body = self._compliant(url, headers, body)
        asked_at = renewal.now().wall
        response = self.exchange(
            "POST",
            url,
            headers=headers,
            data=body,
            cert=grant.client_auth.cert,
            deadline=deadline,
            secrets=attempt.secrets,
        )
        return asked_at, attempt.secrets, response

    def _compliant(
        self, url: str, headers: dict[str, Any], body: str
    ) -> tuple[str, dict[str, Any], str]:
        """Let requests-oauthlib's compliance hooks change the request, as `fetch_token` does."""
        hooks = self.compliance_hook["access_token_request"]  # type: ignore[typeddict-item]
        if not hooks:
            return url, headers, body
        pairs = urldecode(body)
        # A dict is what the hooks expect; one with repeated names would lose some of them.
        kwargs: dict[str, Any] = {"data": dict(pairs) if len(dict(pairs)) == len(pairs) else pairs}
        asked = url
        for hook in hooks:
            url, headers, kwargs = _hooked(hook, url, headers, kwargs)
        if url != asked:
            check_token_url(url, "the URL that an access_token_request hook set")
        data = kwargs.pop("data", "")
        if kwargs:
            raise ConfigurationError(
                f"An access_token_request hook set {', '.join(sorted(kwargs))}; only the URL, the"
                " headers and data can be changed. Set verify, cert and proxies on the endpoint."
            )
        data = data.decode() if isinstance(data, bytes) else data
        return url, headers, data if isinstance(data, str) else urlencode(data, doseq=True)

    def _complied(self, response: requests.Response) -> requests.Response:
        """Let the compliance hooks change the answer."""
        for hook in self.compliance_hook["access_token_response"]:
            try:
                response = hook(response)
            except Exception as error:  # noqa: BLE001 - the same
                # They expect a token, and trip over an error page: the gate tells that better.
                if response.status_code >= 300:
                    return response
                raise InvalidTokenResponse(
                    f"The compliance hook {_name(hook)} raised {type(error).__name__} on the answer"
                    " of the token endpoint; check that token_url is a token endpoint.",
                    status_code=response.status_code,
                ) from None
        return response


def _hooked(
    hook: Any, url: str, headers: dict[str, Any], kwargs: dict[str, Any]
) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Let one hook change the request; raise ConfigurationError where it cannot."""
    try:
        url, headers, kwargs = hook(url, headers, kwargs)
    except OAuthCCError:
        raise
    except Exception as error:  # noqa: BLE001 - a hook may raise anything
        # From None: its text may quote the headers and the body that it was given.
        raise ConfigurationError(
            f"The compliance hook {_name(hook)} raised {type(error).__name__} on the token request:"
            " it must take and return the URL, the headers and {'data': ...}."
        ) from None
    return url, headers, kwargs


def _name(hook: Any) -> str:
    return getattr(hook, "__qualname__", type(hook).__name__)


def _after(error: TokenEndpointUnavailable, policy: Retry, deadline: float) -> Retry:
    """Wait as the policy says before the next attempt, or raise the error where there is none."""
    if isinstance(error, TokenEndpointTimeout) or error.status_code not in _WORTH_A_RETRY:
        raise error
    try:
        # Not with the error: the policy would keep it, and it all of us, in a circle.
        policy = policy.increment("POST", "")
    except MaxRetryError:
        raise error from None
    pause = max(error.retry_after or 0.0, policy.get_backoff_time())
    if pause > LONGEST_PAUSE or time.monotonic() + pause >= deadline:
        raise error
    time.sleep(pause)
    return policy
