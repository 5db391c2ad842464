"""The token request: what is sent to the token endpoint, how often, and what its answer becomes.

`TokenEndpoint` is the session that ``ClientCredentialsSession.tokens.endpoint`` shows. It takes
``verify``, ``cert``, ``proxies``, ``mount()`` and requests-oauthlib's compliance hooks. Each token
request has one oauthlib `BackendApplicationClient`, which writes its body and reads its answer.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import parse_qs, urlencode

import requests
from oauthlib.common import urldecode
from oauthlib.oauth2 import BackendApplicationClient
from urllib3.exceptions import MaxRetryError
from urllib3.util import Retry

from .. import clock
from ..access_token import Token
from ..client_auth import Attempt
from ..errors import (
    ConfigurationError,
    InvalidTokenResponse,
    OAuthCCError,
    TokenEndpointTimeout,
    TokenEndpointUnavailable,
    TokenError,
    TokenRequestDenied,
    limits_requests,
)
from ..events import is_first, log
from ..redaction.token_shapes import names_secret
from ..schemes import DPoP, Scheme
from ..urls import check_token_url
from ..values import frozen
from .api_metadata import APIDiscovery
from .client_config import ClientConfig
from .discovery import Discovery, grant_type_warning, method_warning
from .issuer import IssuerOfAPI
from .owner import Owner
from .response import read_token
from .transport import TransportSession, repeats

#: The longest pause between two attempts, in seconds. A longer ``Retry-After`` ends the fetch.
MAX_PAUSE = 5.0
#: Errors of RFC 6749 section 5.2 and RFC 8707 that no other secret can end.
_OTHER_CAUSES = {"invalid_scope", "invalid_target", "unsupported_grant_type"}
_RETRIED_STATUSES = {None, 429, 502, 503, 504}
_JSON = "application/json"
_BODY_TYPES = {"form": "application/x-www-form-urlencoded", "json": _JSON}


@frozen
class FetchedToken:
    """A token, the number of attempts for it, and the fingerprint of the client that got it."""

    token: Token
    attempts: int
    fingerprint: bytes


class TokenEndpoint(TransportSession):
    """The token endpoint of one client configuration (RFC 6749 section 4.4.2)."""

    def __init__(self, config: ClientConfig, owner: Owner) -> None:
        super().__init__(config.client_id, owner)
        self._config = config
        self._scheme: Scheme = config.scheme
        if isinstance(config.scheme, DPoP):
            self._scheme = config.scheme._for_token_requests()
        self._discovery: Discovery | None = None
        if config.issuer is not None:
            kind = APIDiscovery if isinstance(config.issuer, IssuerOfAPI) else Discovery
            self._discovery = kind(config.issuer)
        self._last_fingerprint: bytes | None = None

    def use_certificate_of(self, fingerprint: bytes) -> None:
        """Drop connections to APIs that were opened with another certificate than a new token.

        Tokens are bound to the certificate (RFC 8705 section 3). Until there is a token for the new
        certificate, the connections with the old one are the only ones that the old token can use.
        """
        last, self._last_fingerprint = self._last_fingerprint, fingerprint
        if last not in (None, fingerprint):
            self.drop_connections()

    def _renew_api_metadata(self) -> None:
        """Ask the API at the next token request which issuer it names, if it was asked before."""
        if isinstance(self._discovery, APIDiscovery):
            self._discovery.forget()

    def fetch(
        self, client_secret: str | None, fingerprint: bytes, *, attempts: int, deadline: float
    ) -> FetchedToken:
        """Fetch a token; ``deadline`` is on the monotonic clock.

        An unavailable endpoint is asked ``attempts`` times, if the adapter does not repeat the
        request by itself. After a refusal that may be due to the secret or key, it is read again.
        If it has changed, the request is sent again with it.
        """
        policy = Retry(total=attempts - 1, backoff_factor=0.5, backoff_jitter=0.5)
        made, rotated = 0, False
        while True:
            made += 1
            try:
                return FetchedToken(self._attempt(client_secret, deadline), made, fingerprint)
            except TokenError as error:
                if self._discovery is not None and error.status_code in (404, 410):
                    self._discovery.forget()  # the token endpoint may have moved
                if _may_be_the_secret(error) and not rotated:
                    before = fingerprint
                    client_secret, fingerprint = self._config.read_secret()
                    rotated = fingerprint != before
                    if rotated:
                        continue
                if not isinstance(error, TokenEndpointUnavailable) or self._is_repeated(error):
                    raise
                policy = _pause_after(error, policy, deadline)

    def _is_repeated(self, error: TokenEndpointUnavailable) -> bool:
        """Return whether the user's adapter repeats a request after such an error by itself."""
        if error.response is None:
            return bool(vars(error).get("_is_repeated"))  # `send_bounded` has noted it
        url = self._config.token_url or self._config.issuer or ""
        return repeats(self.get_adapter(url), error.response)

    def _attempt(self, client_secret: str | None, deadline: float) -> Token:
        """Send the request, again if the server demands a nonce in the proof (RFC 9449 8)."""
        url, audience = self._locate(deadline)
        scheme = self._scheme
        client = BackendApplicationClient(self._config.client_id)
        client.grant_type = self._config.grant_type
        exchange = self._send(client, url, audience, client_secret, deadline)
        if scheme.proves:
            scheme.learn(url, exchange.response.headers)
            if scheme.demands_nonce(exchange.response):
                exchange = self._send(client, url, audience, client_secret, deadline)
                scheme.learn(url, exchange.response.headers)
        return read_token(
            self._apply_response_hooks(exchange.response),
            parse=client.parse_request_body_response,
            asked_at=exchange.asked_at,
            scope=self._config.scope,
            accepts=scheme.accepts,
            scheme_name=scheme.name,
            secrets=exchange.secrets,
            method=self._config.client_auth.name,
        )

    def _locate(self, deadline: float) -> tuple[str, str]:
        """Return the token URL and the audience of an assertion."""
        if self._discovery is None:
            url = self._config.token_url or ""  # one of the two was given
            return url, url
        # With earlier metadata, half of the time is left for the token request.
        until = (time.monotonic() + deadline) / 2 if self._discovery.is_known else deadline

        def get(url: str, session: TransportSession = self) -> requests.Response:
            is_api = url == self._config.issuer  # its answer may be a stream without end
            return session.send_bounded(
                "GET", url, headers={"Accept": _JSON}, deadline=until, reads_body=not is_api
            )

        def get_public(url: str) -> requests.Response:
            return get(url, self.without_secrets())

        method, grant_type = self._config.client_auth, self._config.grant_type
        metadata = self._discovery.metadata(get, clock.now(), get_public)
        for warning in (
            grant_type_warning(metadata, grant_type),
            method_warning(metadata, method.name),
        ):
            if warning is not None and is_first((self._config.client, warning)):
                log.warning("%s (%s)", warning, self._config.client)
        has_cert = method.cert is not None or self.cert is not None
        alias = metadata.mtls_token_endpoint if has_cert else None
        return alias or metadata.token_endpoint, metadata.issuer

    def _send(
        self,
        client: BackendApplicationClient,
        url: str,
        audience: str,
        client_secret: str | None,
        deadline: float,
    ) -> _Exchange:
        config = self._config
        secrets = [value for name, value in config.params if names_secret(name)]
        secrets += [] if client_secret is None else [client_secret]
        given = {"Accept": _JSON, "Content-Type": _BODY_TYPES[config.token_body]}
        attempt = Attempt(config.client_id, client_secret, audience, given, [], secrets)
        config.client_auth.authenticate(attempt)
        headers: dict[str, Any] = attempt.headers
        if self._scheme.proves:
            proof = self._scheme.proof("POST", url, None)
            # What an adapter is given is a plain text.
            headers = {**headers, **{name: "" + value for name, value in proof.items()}}
        body = client.prepare_request_body(
            body=urlencode([*config.params, *attempt.params]), scope=config.scope
        )
        hooks = self.compliance_hook["access_token_request"]  # type: ignore[typeddict-item]
        if hooks:
            is_json = config.token_body == "json"
            url, headers, body = _apply_request_hooks(hooks, url, headers, body, is_json=is_json)
        # A hook may have made it. A form does not begin so.
        if config.token_body == "json" and not body.lstrip().startswith(("{", "[")):
            body = _as_json(body)
        asked_at = clock.system.time()
        response = self.send_bounded(
            "POST",
            url,
            headers=headers,
            data=body,
            cert=config.client_auth.cert,
            deadline=deadline,
            secrets=attempt.secrets,
        )
        return _Exchange(asked_at, attempt.secrets, response)

    def _apply_response_hooks(self, response: requests.Response) -> requests.Response:
        """Return the answer as the compliance hooks change it."""
        for hook in self.compliance_hook["access_token_response"]:
            try:
                changed = hook(response)
            except Exception as error:  # noqa: BLE001 - a hook may raise anything
                # Hooks expect a token and fail on an error page, which read_token explains better.
                if response.status_code >= 300:
                    return response
                raise InvalidTokenResponse(
                    f"The compliance hook {_name(hook)} raised {type(error).__name__} on the answer"
                    " of the token endpoint; check that token_url is a token endpoint.",
                    status_code=response.status_code,
                ) from None
            if not isinstance(changed, requests.Response):
                raise ConfigurationError(
                    f"The compliance hook {_name(hook)} returned {type(changed).__name__} instead"
                    " of the answer of the token endpoint: it must return the response."
                )
            response = changed
        return response


@frozen
class _Exchange:
    """A request that was answered: when it was sent (wall clock), its secrets, and the answer."""

    asked_at: float
    secrets: list[str]
    response: requests.Response


def _apply_request_hooks(
    hooks: set[Callable[..., Any]],
    url: str,
    headers: dict[str, Any],
    body: str,
    *,
    is_json: bool,
) -> tuple[str, dict[str, Any], str]:
    """Return the request as requests-oauthlib's compliance hooks change it.

    The hooks are called as `OAuth2Session.fetch_token` calls them.
    """
    pairs = urldecode(body)
    # The hooks expect a dict. One with repeated names would lose some of them.
    kwargs: dict[str, Any] = {"data": dict(pairs) if len(dict(pairs)) == len(pairs) else pairs}
    original_url = url
    for hook in hooks:
        url, headers, kwargs = _call_request_hook(hook, url, headers, kwargs)
    if url != original_url:
        check_token_url(url, "the URL that an access_token_request hook set")
    data = kwargs.pop("data", "")
    if kwargs:
        raise ConfigurationError(
            f"An access_token_request hook set {', '.join(sorted(kwargs))}; only the URL, the"
            " headers and data can be changed. Set verify, cert and proxies on the endpoint."
        )
    if is_json and isinstance(data, dict):  # a form cannot express numbers and inner objects
        try:
            data = json.dumps(data)
        except (TypeError, ValueError):
            raise ConfigurationError(
                "An access_token_request hook set data that JSON cannot express."
            ) from None
    data = data.decode() if isinstance(data, bytes) else data
    return url, headers, data if isinstance(data, str) else urlencode(data, doseq=True)


def _as_json(body: str) -> str:
    """Return a form as a JSON object, in which the values of a repeated name are a list."""
    form = parse_qs(body, keep_blank_values=True)
    return json.dumps({name: some if len(some) > 1 else some[0] for name, some in form.items()})


def _call_request_hook(
    hook: Any, url: str, headers: dict[str, Any], kwargs: dict[str, Any]
) -> tuple[str, dict[str, Any], dict[str, Any]]:
    try:
        changed = hook(url, headers, kwargs)
    except OAuthCCError:
        raise
    except Exception as error:  # noqa: BLE001 - a hook may raise anything
        # From None: its message may quote the headers and the body that it was given.
        raise ConfigurationError(
            f"The compliance hook {_name(hook)} raised {type(error).__name__} on the token request:"
            " it must take and return the URL, the headers and {'data': ...}."
        ) from None
    if not isinstance(changed, Sequence) or len(changed) != 3 or not isinstance(changed[2], dict):
        raise ConfigurationError(
            f"The compliance hook {_name(hook)} returned {type(changed).__name__} instead of the"
            " token request: it must return the URL, the headers and {'data': ...}."
        )
    return changed[0], changed[1], changed[2]


def _may_be_the_secret(error: TokenError) -> bool:
    if error.status_code in (401, 403) or error.error == "invalid_client":
        return True
    # Many servers have other errors for a wrong secret or key, some with status 200.
    is_refusal = isinstance(error, (TokenRequestDenied, InvalidTokenResponse))
    return is_refusal and error.error not in _OTHER_CAUSES


def _name(hook: Any) -> str:
    return getattr(hook, "__qualname__", type(hook).__name__)


def _pause_after(error: TokenEndpointUnavailable, policy: Retry, deadline: float) -> Retry:
    """Wait before the next attempt, or raise the error if the policy allows none."""
    is_retried = error.status_code in _RETRIED_STATUSES
    # A server that limits requests would count each attempt.
    if isinstance(error, TokenEndpointTimeout) or not is_retried or limits_requests(error):
        raise error
    try:
        # Without the error: the policy would keep it, and its traceback keeps our frames.
        policy = policy.increment("POST", "")
    except MaxRetryError:
        raise error from None
    pause = max(error.retry_after or 0.0, policy.get_backoff_time())
    if pause > MAX_PAUSE or time.monotonic() + pause >= deadline:
        raise error
    time.sleep(pause)
    return policy
