"""The gate through which a token response enters: a right token or one of our errors.

Everything is looked at before oauthlib's parser sees it, because that parser raises whatever it
pleases. No error from here has a cause or a context: a JSONDecodeError carries the whole body.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Any

import requests
from oauthlib.oauth2 import BackendApplicationClient

from .access_token import Token
from .answer import MOST_BYTES, NOT_JSON, Answer, retry_after
from .errors import InvalidTokenResponse, TokenEndpointUnavailable, TokenError, TokenRequestDenied

#: A longer lifetime is a mistake, a date, or a way to say "for ever"; in seconds (ten years).
MOST_LIFETIME = 10 * 366 * 86400
# RFC 9110 section 15.5.9, RFC 8470, RFC 6585: not a no, but later.
_BUSY_STATUSES = {408, 425, 429}
# RFC 6749 has these at the authorization endpoint alone; servers say them here too, with a 400.
_BUSY_ERRORS = {"temporarily_unavailable", "server_error"}
_DECIMAL = re.compile(r"\s*[+-]?[0-9]{1,20}(\.[0-9]{0,20})?\s*")
#: Read here, and so neither handed to oauthlib nor kept as an extra member.
_READ_HERE = {"expires_in", "expires_at", "scope", "error"}

_ADVICE = {
    "invalid_request": "Check audience, resource and token_params; some servers demand a scope,"
    " or another client authentication method.",
    "unauthorized_client": "Allow this client the client credentials grant at the server.",
    "unsupported_grant_type": "Check token_url, and that the server has client credentials on.",
    "invalid_target": "Check audience and resource.",
    "access_denied": "Check what the server allows this client: grant, scope, audience.",
}


def read_token(
    response: requests.Response,
    *,
    asked_at: float,
    scope: str | None,
    accepts: Callable[[str], bool],
    scheme_name: str,
    secrets: Sequence[str],
    method: str | None = None,
    client: BackendApplicationClient | None = None,
) -> Token:
    """Read a token response whose body is here already (RFC 6749 sections 5.1 and 5.2).

    ``asked_at`` is when the token was asked for, in seconds since the epoch; ``scope`` is what was
    asked for. ``accepts`` says whether the scheme takes a token type, and gets ``""`` where there
    is none; the token's type is then the scheme's name. ``secrets`` never show in an error;
    ``method`` is the client authentication method, named in advice. Raise TokenRequestDenied,
    TokenEndpointUnavailable or InvalidTokenResponse, and nothing else.
    """
    answer = Answer.of(response, secrets)
    fault = _failure(answer, scope, method) or _shape_fault(answer)
    fault = fault or _type_fault(answer, accepts, scheme_name)
    if fault is not None:
        try:
            raise fault from None
        finally:
            del fault  # its traceback holds this frame, which would hold it and all our callers
    access_token, extra = _through_oauthlib(answer, client)
    lifetime = _lifetime(answer.members.get("expires_in"))
    return Token(
        access_token,
        scheme_name,
        asked_at,
        None if lifetime is None else asked_at + lifetime,
        _scope(answer.members.get("scope"), scope),
        MappingProxyType(extra),
    )


def _invalid(answer: Answer, fault: str) -> TokenError:
    return answer.error(InvalidTokenResponse, f"No token came: {_place(answer)}. {fault}")


def _place(answer: Answer) -> str:
    return f"{answer.url(answer.response.url)} answered {answer.response.status_code}"


def _failure(answer: Answer, scope: str | None, method: str | None) -> TokenError | None:
    """Say what went wrong where the status, or an ``error`` in the body, says that it did."""
    status, error = answer.response.status_code, answer.said("error")
    if 300 <= status < 400:
        return _invalid(
            answer,
            f"It redirects to {answer.location()}, and client credentials never follow a redirect:"
            " check token_url; it must be the final address.",
        )
    if status < 400 and not answer.members.get("error"):
        return None
    cause, description = error or f"{answer.kind} and no error", answer.said("error_description")
    happened = f"{_place(answer)} with {cause}" + (f" ({description})" if description else "")
    if status >= 500 or status in _BUSY_STATUSES or error in _BUSY_ERRORS:
        pause = retry_after(answer.response)
        advice = "later" if pause is None else f"in {pause:.0f} seconds, as it asks"
        told = f"The token endpoint is unwell: {happened}. Try {advice}."
        return answer.error(TokenEndpointUnavailable, told)
    advice = _advice(error, status, scope, method)
    told = f"The token request was refused: {happened}. {advice}"
    return answer.error(TokenRequestDenied, told)


def _advice(error: str | None, status: int, scope: str | None, method: str | None) -> str:
    if error == "invalid_scope":
        return (
            "No scope was asked for; give one that the server knows."
            if scope is None
            else f"Check the scope: {scope!r} was asked for."
        )
    if error == "invalid_client" or (error not in _ADVICE and status == 401):
        used = f" ({method} was used)" if method else ""
        return f"Check client_id, client_secret and the client authentication method{used}."
    if error is None and status == 403:
        return "Check the scope (some servers demand one) and what the server allows this client."
    return _ADVICE.get(error or "", "Check token_url, and how the client is registered.")


def _shape_fault(answer: Answer) -> TokenError | None:
    """Say what is wrong with the body of an answer that should hold a token."""
    content = answer.response._content
    if isinstance(content, bytes) and len(content) > MOST_BYTES:
        fault = f"it sent more than {MOST_BYTES} bytes"
    elif not answer.text.strip():
        fault = "the answer is empty"
    elif answer.value is NOT_JSON and answer.text.lstrip().startswith("<"):
        fault = "it answered with HTML or XML, not with JSON; is it a login page or a proxy"
    elif answer.value is NOT_JSON:
        fault = f"it answered with {answer.kind} that cannot be read as JSON"
    elif not isinstance(answer.value, dict):
        fault = "it answered with JSON that is not an object"
    elif answer.response.status_code < 200:
        fault = "it answered with a status that ends nothing"
    else:
        return _token_fault(answer)
    return _invalid(answer, f"Check token_url: {fault}.")


def _token_fault(answer: Answer) -> TokenError | None:
    token, scope = answer.members.get("access_token"), answer.members.get("scope")
    if token is None:
        fault = "Check token_url: the answer has no access_token."
    elif not isinstance(token, str) or not token.strip():
        fault = "The access_token is empty or not a text: tell those who run the server."
    elif not (token.isascii() and token.isprintable()):
        # RFC 6749 appendix A.12. http.client would quote the token in its ValueError.
        fault = "The access_token holds characters that no header can carry."
    elif not all(isinstance(part, str) for part in _parts(scope)):
        fault = "The scope is neither a text nor a list of texts."
    else:
        return None
    return _invalid(answer, fault)


def _type_fault(
    answer: Answer, accepts: Callable[[str], bool], scheme_name: str
) -> TokenError | None:
    """Say what is wrong with the token type (RFC 6749 section 7.1, RFC 9449 section 5)."""
    given = answer.members.get("token_type")
    given = "" if given is None else given
    if not isinstance(given, str):
        return _invalid(answer, "The token_type is not a text.")
    if accepts(given):
        return None
    shown = repr(answer.said("token_type")) if given else "missing"
    if scheme_name.lower() != "bearer" and given.lower() in ("", "bearer", "bearertoken"):
        fault = f"Binding by {scheme_name} was asked for and not given (token_type is {shown})"
        return _invalid(answer, f"{fault}: switch it on for this client at the server.")
    return _invalid(answer, f"The token_type is {shown}, and only {scheme_name} can be used here.")


def _through_oauthlib(
    answer: Answer, client: BackendApplicationClient | None
) -> tuple[str, dict[str, Any]]:
    """Have oauthlib read the members; return the token and the members that are left."""
    # No scope to compare, no lifetime to stumble over. A null type would hide that it is missing.
    body = {
        name: value
        for name, value in answer.members.items()
        if name not in _READ_HERE and (name, value) != ("token_type", None)
    }
    client = BackendApplicationClient("") if client is None else client
    try:
        extra = dict(client.parse_request_body_response(json.dumps(body), scope=None))
        access_token: str = extra.pop("access_token")
    except Exception as error:  # noqa: BLE001 - a raised Warning, a registered hook: all end here
        refusal = type(error).__name__
    else:
        extra.pop("token_type", None)
        return access_token, extra
    # Outside of the handler, so that what oauthlib raised is not the context of what we raise.
    raise _invalid(answer, f"oauthlib does not take the answer ({refusal}): check its settings.")


def _lifetime(value: Any) -> float | None:
    """Return a lifetime in seconds; None where it is nonsense or beyond ten years."""
    if isinstance(value, str) and _DECIMAL.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if abs(value) <= MOST_LIFETIME else None


def _parts(scope: Any) -> list[Any]:
    if scope is None:
        return []
    return scope if isinstance(scope, list) else [scope]


def _scope(granted: Any, asked: str | None) -> str | None:
    """Return the granted scope, separated by single spaces; the asked one where none is named."""
    return asked if granted is None else " ".join(" ".join(_parts(granted)).split())
