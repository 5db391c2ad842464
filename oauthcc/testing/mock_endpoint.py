"""A token endpoint for tests that use the package `responses`."""

from __future__ import annotations

import base64
import json
import secrets
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

import requests
from requests.structures import CaseInsensitiveDict

from .faults import Answer, oauth_error
from .registry import client_authentication
from .token_response import TokenResponse, without_omitted

#: What `responses` wants from a callback: status, headers and body, or an error to raise.
_Result = tuple[int, dict[str, str], Any] | Exception


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A token request that a mocked token endpoint has received.

    Headers and form are not in the `repr`, because a failing test prints it.
    """

    client_id: str | None
    """The client that asked, if it can be told from the request."""
    client_auth: str
    """How it authenticated: `client_secret_basic`, `client_secret_post`, `client_secret_jwt`,
    `private_key_jwt`, or `none` (also with a certificate, which no mock can see)."""
    form: Mapping[str, str] = field(repr=False)
    """The parameters; of a repeated one, the last. A JSON body is read too."""
    headers: Mapping[str, str] = field(repr=False)
    """The headers, by names in any case."""

    @property
    def scope(self) -> str | None:
        """Return the scope that was asked for."""
        return self.form.get("scope")


class MockTokenEndpoint:
    """A token endpoint in `responses`, with a new token for each request.

    `requests` contains the token requests in order, and `tokens` the access tokens that were
    issued. The fixture `mock_token_endpoint` makes such endpoints.
    """

    def __init__(self, url: str, mock: Any = None, **members: Any) -> None:
        """Register the URL with a `responses.RequestsMock` (None: the one of the module).

        The other options are members of the token response, such as `expires_in=60` or
        `token_type="DPoP"`. If the value is `OMIT`, the member is left out.
        """
        import responses

        self.url = url
        self.requests: list[TokenRequest] = []
        self.tokens: list[str] = []
        self._members = {"token_type": "Bearer", "expires_in": 3600, **members}
        self._failures: deque[_Result] = deque()  # many threads may take one
        mock = responses.mock if mock is None else mock
        mock.add_callback(responses.POST, url, self._answer, content_type="application/json")

    def fail_next(
        self,
        failure: str | Answer | Exception = "invalid_client",
        n: int = 1,
        *,
        description: str = "",
    ) -> None:
        """Let the next `n` token requests fail.

        `failure` is an error code of RFC 6749 section 5.2, or an answer such as
        `faults.unavailable()`, or the exception that requests would raise, such as
        `requests.ConnectionError()`. `description` is the `error_description` of the code.
        """
        if not isinstance(n, int) or n < 1:
            raise ValueError(f"n must be the number of requests, not {n!r}.")
        self._failures += [_result(failure, description)] * n

    def _answer(self, request: requests.PreparedRequest) -> _Result:
        self.requests.append(_read(request))
        with suppress(IndexError):
            return self._failures.popleft()
        token = secrets.token_urlsafe(24)
        self.tokens.append(token)
        members = without_omitted({"access_token": token}, self._members)
        return HTTPStatus.OK, {"Cache-Control": "no-store"}, json.dumps(TokenResponse(members))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url}, {len(self.requests)} requests>"


def _result(failure: str | Answer | Exception, description: str) -> _Result:
    if isinstance(failure, Exception):
        return failure
    if isinstance(failure, str):
        is_client = failure == "invalid_client"
        status = HTTPStatus.UNAUTHORIZED if is_client else HTTPStatus.BAD_REQUEST
        failure = oauth_error(failure, description, status)
    if not isinstance(failure, Answer):
        raise TypeError(
            "fail_next() takes an error code such as 'invalid_client', an Answer, or an exception,"
            f" not {type(failure).__name__}."
        )
    body = failure.body if isinstance(failure.body, bytes) else b"".join(failure.body)
    return failure.status, dict(failure.fields), body


def _read(request: requests.PreparedRequest) -> TokenRequest:
    headers: CaseInsensitiveDict[str] = CaseInsensitiveDict()
    for name, value in request.headers.items():
        headers[name] = str(value)
    form = _form(headers, request.body)
    assertion = form.get("client_assertion")
    if assertion is not None:
        is_secret = str(_part(assertion, 0).get("alg", "")).startswith("HS")
        client_id = form.get("client_id") or _part(assertion, 1).get("sub")
        kind = "client_secret_jwt" if is_secret else "private_key_jwt"
        return TokenRequest(client_id, kind, form, headers)
    found = client_authentication(headers, form.items(), "form")
    if found is None:
        return TokenRequest(None, "none", form, headers)
    return TokenRequest(found.client_id, found.method, form, headers)


def _form(headers: Mapping[str, str], body: Any) -> dict[str, str]:
    text = body.decode() if isinstance(body, bytes) else body or ""
    if "json" in headers.get("Content-Type", ""):
        return {name: str(value) for name, value in json.loads(text).items()}
    return dict(parse_qsl(text, keep_blank_values=True))


def _part(assertion: str, number: int) -> dict[str, Any]:
    """Return the header (0) or the claims (1) of an assertion; nothing if it is not a JWT."""
    try:
        part = assertion.split(".")[number]
        found = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (IndexError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
