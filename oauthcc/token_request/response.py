"""The answer of the token endpoint: either a valid token or one of our errors.

Rule of this module: whatever the bytes of an answer are, nothing but a `TokenError` is raised. So
everything is checked before oauthlib's parser gets it, because that parser raises many exceptions
(AttributeError, TypeError, ValueError, ``Warning``). Errors made here have no cause and no context,
since a JSONDecodeError contains the whole body, and their ``response`` is a new object without
secrets (redaction/answer.py).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import requests
from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

from ..access_token import Token
from ..errors import (
    InvalidTokenResponse,
    TokenEndpointUnavailable,
    TokenError,
    TokenRequestDenied,
)
from ..events import is_first, log
from ..forks import computed_once
from ..redaction import REDACTED
from ..redaction.answer import Redactor
from ..redaction.search import TAG, redact

#: The largest answer that is read, in bytes.
MAX_BYTES = 1 << 20
#: The longest ``Retry-After`` that is believed, in seconds. Newer versions of urllib3 have the same
#: limit.
MAX_RETRY_AFTER = 21600.0
#: A longer lifetime is a mistake, a date, or a way to say "without end"; in seconds (ten years).
MAX_LIFETIME = 10 * 366 * 86400
_YEAR = 366 * 86400
#: How much of an answer without an OAuth error is quoted in a message, in characters.
MAX_QUOTED = 200
_MAX_TEXT, _MAX_DIGITS, _MAX_DEPTH, _MAX_SHOWN_NUMBER = 500, 300, 32, 16
#: A body with more commas, colons and brackets is not read as JSON: no answer needs so many.
_MAX_VALUES = 50_000
_LEAVES = (str, int, float, type(None))

#: The value of a body that is not JSON, or that is nested too deeply or contains too many values.
NOT_JSON = object()
#: Error codes that are never redacted, even if a secret such as "client" is a part of one.
_CODES = set(
    "access_denied invalid_client invalid_dpop_proof invalid_grant invalid_request invalid_scope"  # noqa: SIM905 - short
    " invalid_target server_error temporarily_unavailable unauthorized_client"
    " unsupported_grant_type use_dpop_nonce".split()
)
_HTML = re.compile(r"<(?:!doctype\s+)?html\b", re.IGNORECASE)
_MEDIA_TYPE = re.compile(r"\s*([\w!#$&^.+-]{1,60}/[\w!#$&^.+-]{1,60})\s*(?:;|\Z)", re.ASCII)
# The characters that RFC 6749 section 5.2 does not allow in error_description and error_uri.
_NOT_TEXT = re.compile(r"[^\x20\x21\x23-\x5b\x5d-\x7e]+")
_NOT_URI = re.compile(r"[^\x21\x23-\x5b\x5d-\x7e]+")
# RFC 9110 section 15.5.9, RFC 8470, RFC 6585: not a refusal, but "later".
_BUSY_STATUSES = {408, 425, 429}
# RFC 6749 has these at the authorization endpoint alone. Servers answer them here too, with a 400.
_BUSY_ERRORS = {"temporarily_unavailable", "server_error"}
_DECIMAL = re.compile(r"\s*[+-]?[0-9]{1,20}(\.[0-9]{0,20})?\s*")
#: Members that are read here and not given to oauthlib, which would convert them.
_READ_HERE = {"expires_in", "expires_at", "scope", "error"}
_EBAY_TYPES = ("Application Access Token", "User Access Token")
_HOOK = (
    'If the server has other names than RFC 6749, rename them in an "access_token_response" hook of'
    " session.tokens.endpoint."
)
_ADVICE = {
    "invalid_request": "Check audience, resource and token_params. Some servers require a scope or"
    " another client authentication method.",
    "unauthorized_client": "Check client_id and client_secret, and that the server allows this"
    " client the client credentials grant.",
    "unsupported_grant_type": "Check token_url, and that the server allows client credentials. If"
    ' it has another name for this grant, pass token_params={"grant_type": ...}.',
    "invalid_target": "Check audience and resource.",
    "access_denied": "Check what the server allows this client: grant type, scope, audience.",
}


class Answer:
    """A response that was read completely, the JSON value of its body, and the client's secrets.

    In ``value``, numbers of more than 300 digits and numbers that JSON does not have are None. If
    a member occurs twice, the last one counts, and ``repeated`` contains all members.
    """

    def __init__(self, response: requests.Response, secrets: Iterable[str]) -> None:
        content = response._content
        self.response: requests.Response = response
        self.secrets: tuple[str, ...] = tuple(secrets)
        self.text: str = _decoded(content) if isinstance(content, bytes) else ""
        self.repeated: list[Any] = []
        self.value: Any = _json(self.text, self.repeated)

    @computed_once
    def redactor(self) -> Redactor:
        """Return what removes the secrets and tokens from the texts of an error."""
        return Redactor(
            self.secrets,
            self.response.request,
            [self.value, self.repeated],
            may_contain_token=(self.response.status_code or 0) < 400,
        )

    @computed_once
    def _shown(self) -> Any:
        """Return the JSON value as an error may show it."""
        return self.redactor.document(self.value)

    @property
    def members(self) -> dict[str, Any]:
        """Return the members of the JSON object in the body, none if it is something else."""
        return self.value if isinstance(self.value, dict) else {}

    @property
    def kind(self) -> str:
        """Return the media type, for a message."""
        given = self.response.headers.get("Content-Type", "")
        match = _MEDIA_TYPE.match(self.redactor.header(given))
        other = "content of no known type" if self.text.strip() else "an empty body"
        return other if match is None else match[1]

    def error_member(self, name: str) -> str | None:
        """Return an ``error...`` member, at most 500 of the characters of RFC 6749 section 5.2."""
        value = self.members.get(name)
        if not isinstance(value, str):
            return None
        if value in _CODES:
            return value
        shown = self._shown.get(name) if isinstance(self._shown, dict) else None
        text = shown if isinstance(shown, str) else self.redactor.content(value)
        # Nothing is left to hide in it, so it may be cut.
        text = " ".join(text[: 4 * _MAX_TEXT].split()).replace('"', "'")
        text = _NOT_URI.sub("", text) if name == "error_uri" else _NOT_TEXT.sub("?", text)
        # Redacted once more, because dropping characters can join the parts of a secret or token.
        return self.redactor.content(text)[:_MAX_TEXT] or None

    @computed_once
    def _content(self) -> str:
        """Return the body as an error may show it."""
        if self.value is NOT_JSON:
            return self.redactor.body(self.text)
        return json.dumps(self._shown, ensure_ascii=False)

    @computed_once
    def quoted(self) -> str:
        """Return the beginning of the body for a message, on one line, with a colon before it."""
        if not self.members and ("html" in self.kind or _HTML.search(self.text[:1000])):
            return ""  # a page for people
        text = " ".join(TAG.sub(" ", self._content)[: 20 * MAX_QUOTED].split())
        # Hidden once more, because what was dropped can join the parts of a secret or token.
        text = self.redactor.content("".join(c if c.isprintable() else "?" for c in text))
        if len(text) > MAX_QUOTED:
            text = text[: MAX_QUOTED - 6] + " [...]"
        return f": {text}" if text.strip(REDACTED + " ") else ""

    def error(self, kind: type[TokenError], message: str) -> TokenError:
        """Return an error with the error members of this answer and a redacted response."""
        return kind(
            message,
            response=self.redactor.response(self.response, self._content),
            error=self.error_member("error"),
            error_description=self.error_member("error_description"),
            error_uri=self.error_member("error_uri"),
            retry_after=retry_after(self.response),
        )

    def invalid(self, fault: str) -> TokenError:
        """Return the error of an answer that contains no usable token."""
        return self.error(InvalidTokenResponse, f"There is no token: {self.status_line}. {fault}")

    @property
    def status_line(self) -> str:
        """Return the beginning of a message: which URL answered with which status."""
        return f"{self.redactor.url(self.response.url)} answered {self.response.status_code}"


def read_token(
    response: requests.Response,
    *,
    parse: Callable[..., Mapping[str, Any]],
    asked_at: float,
    scope: str | None,
    accepts: Callable[[str], bool],
    scheme_name: str,
    secrets: Sequence[str],
    method: str | None = None,
) -> Token:
    """Return the token in an answer that was read completely (RFC 6749 sections 5.1 and 5.2).

    ``parse`` is ``BackendApplicationClient.parse_request_body_response``. ``asked_at`` is when the
    token was requested, in seconds since the epoch. ``scope`` is the requested scope. ``accepts``
    returns whether the scheme can use a token type; it gets ``""`` if the answer has none. The type
    of the token is then the name of the scheme. ``secrets`` are not shown in errors. ``method`` is
    the client authentication method that advice names. Raises TokenRequestDenied,
    TokenEndpointUnavailable or InvalidTokenResponse, and nothing else.
    """
    answer = Answer(response, secrets)
    error = (
        _status_error(answer, scope, method)
        or _body_error(answer)
        or _type_error(answer, accepts, scheme_name)
    )
    if error is not None:
        try:
            raise error from None
        finally:
            del error  # its traceback refers to this frame, which refers to the error
    access_token, extra = _parsed(answer, parse)
    lifetime = _lifetime(answer)
    return Token(
        access_token,
        scheme_name,
        asked_at,
        None if lifetime is None else asked_at + lifetime,
        _scope(answer.members.get("scope"), scope),
        MappingProxyType(extra),
    )


def retry_after(response: requests.Response) -> float | None:
    """Return the seconds that ``Retry-After`` asks for (RFC 9110 section 10.2.3), at most 6 hours.

    None if it is missing or not readable.
    """
    try:
        seconds = float(Retry().parse_retry_after(response.headers["Retry-After"]))
    except (InvalidHeader, LookupError, TypeError, ValueError, ArithmeticError):
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)


def _status_error(answer: Answer, scope: str | None, method: str | None) -> TokenError | None:
    """Return the error that the status, or an ``error`` in the body, stands for."""
    status, error = answer.response.status_code, answer.error_member("error")
    if 300 <= status < 400:
        return answer.invalid(
            f"It redirects to {answer.redactor.location(answer.response)}, and client credentials"
            " never follow a redirect: check token_url. It must be the final address."
            + _about_issuer(answer)
        )
    if status < 400 and not answer.members.get("error"):
        return None
    cause = error or answer.kind + (answer.quoted or " and no error")
    if error and (description := answer.error_member("error_description")):
        cause += f" ({description})"
    elif error and len(answer.members) > 1:  # some servers explain it under another name
        cause += answer.quoted
    happened = f"{answer.status_line} with {cause}"
    if _is_unavailable(status, error):
        pause = retry_after(answer.response)
        advice = "Try again " + (
            "later."
            if not pause  # or zero
            else f"in {pause:.0f} second{'' if round(pause) == 1 else 's'}, as it asks."
        )
        if status == 403:
            advice += (
                f" If it stays so, check client_id and {_proof(method)}, and whether a firewall"
                " lets this client through."
            )
        message = f"The token endpoint is unavailable: {happened}. {advice}"
        return answer.error(TokenEndpointUnavailable, message)
    advice = _advice(error, status, scope, method) + _about_issuer(answer)
    return answer.error(TokenRequestDenied, f"The token request was refused: {happened}. {advice}")


def _is_unavailable(status: int, error: str | None) -> bool:
    """Return whether an error means "later", and not that the request was refused."""
    if status == 401:
        return False
    if status == 403:  # without an error of the RFC, it is that of a firewall or a limit
        return error is None
    return status >= 500 or status in _BUSY_STATUSES or error in _BUSY_ERRORS


def _advice(error: str | None, status: int, scope: str | None, method: str | None) -> str:
    if error == "invalid_scope":
        return (
            "No scope was requested: pass one that the server knows."
            if scope is None
            else f"Check the scope: {scope!r} was requested."
        )
    # With a 401, access_denied is what some servers answer to a wrong secret.
    is_known = error in _ADVICE and error != "access_denied"
    if error == "invalid_client" or (status == 401 and not is_known):
        used = f" ({method} was used)" if method else ""
        # Another error may be that of an API, which is not the token endpoint.
        url = "" if error in (None, "invalid_client", "access_denied") else "token_url, "
        return f"Check {url}client_id, {_proof(method)} and the client authentication method{used}."
    other = f"Check token_url, token_params, client_id, {_proof(method)}, and how the client is"
    return _ADVICE.get(error or "", f"{other} registered.")


def _proof(method: str | None) -> str:
    """Return what the client authenticates with."""
    if method == "private_key_jwt":
        return "the key or assertion"
    return "the certificate" if (method or "").endswith("tls_client_auth") else "client_secret"


def _about_issuer(answer: Answer) -> str:
    """Return advice for a token URL that is probably the URL of an issuer."""
    url, status = answer.redactor.url(answer.response.url), answer.response.status_code
    is_of_oauth = answer.error_member("error") in _CODES
    if is_of_oauth or "token" in url.lower() or status in (400, 401, 403):
        return ""
    return f" If {url} is an issuer, write ClientCredentialsSession.from_issuer() with it."


def _body_error(answer: Answer) -> TokenError | None:
    """Return the error of a body that should contain a token and does not."""
    content = answer.response._content
    if isinstance(content, bytes) and len(content) > MAX_BYTES:
        fault = f"it sent more than {MAX_BYTES} bytes"
    elif not answer.text.strip():
        fault = "the answer is empty"
    elif answer.value is NOT_JSON and answer.text.lstrip().startswith("<"):
        fault = "it answered with HTML or XML instead of JSON, perhaps a login page or a proxy"
    elif answer.value is NOT_JSON:
        fault = f"it answered with {answer.kind} that cannot be read as JSON"
    elif not isinstance(answer.value, dict):
        fault = "it answered with JSON that is not an object"
    elif answer.response.status_code < 200:
        fault = "it answered with an informational status"
    else:
        return _token_error(answer)
    return answer.invalid(f"Check token_url: {fault}.{_about_issuer(answer)}")


def _token_error(answer: Answer) -> TokenError | None:
    token, scope = answer.members.get("access_token"), answer.members.get("scope")
    if token is None:
        fault = f"Check token_url: the answer has no access_token{answer.quoted}."
        fault += _about_issuer(answer) or f" {_HOOK}"
    elif not isinstance(token, str) or not token.strip():
        fault = "The access_token is empty or not a string: report this to the server's operator."
    elif not (token.isascii() and token.isprintable()):
        # RFC 6749 appendix A.12. http.client would quote the token in its ValueError.
        fault = "The access_token contains characters that no header can carry."
    elif not all(isinstance(part, str) for part in _parts(scope)):
        fault = "The scope is neither a string nor a list of strings."
    else:
        return None
    return answer.invalid(fault)


def _type_error(
    answer: Answer, accepts: Callable[[str], bool], scheme_name: str
) -> TokenError | None:
    """Return the error of an unusable token type (RFC 6749 section 7.1, RFC 9449 section 5)."""
    given = answer.members.get("token_type")
    given = "" if given is None else given
    if not isinstance(given, str):
        return answer.invalid("The token_type is not a string.")
    given = given.strip()
    if accepts(given):
        return None
    if given in _EBAY_TYPES and accepts("Bearer"):
        return answer.invalid(
            f"The token_type is {given!r}, as at eBay: call"
            " requests_oauthlib.compliance_fixes.ebay_compliance_fix(session.tokens.endpoint)"
            " before the first request, or pass hooks=ebay_compliance_fix to fetch_token()."
        )
    shown = repr(answer.error_member("token_type")) if given else "missing"
    if scheme_name.lower() != "bearer" and given.lower() in ("", "bearer", "bearertoken"):
        return answer.invalid(
            f"The token is not bound by {scheme_name} (token_type is {shown}): enable"
            f" {scheme_name} for this client at the server."
        )
    fault = f"The token_type is {shown}, and only {scheme_name} can be used here."
    return answer.invalid(f"{fault} {_HOOK}")


def _parsed(answer: Answer, parse: Callable[..., Mapping[str, Any]]) -> tuple[str, dict[str, Any]]:
    """Return the token and the further members as oauthlib reads them."""
    # Without scope and lifetime, which oauthlib compares and converts. A `token_type` that is null
    # is left out, so that oauthlib treats it as missing.
    body = {
        name: value
        for name, value in answer.members.items()
        if name not in _READ_HERE and (name, value) != ("token_type", None)
    }
    try:
        extra = dict(parse(json.dumps(body), scope=None))
        access_token: str = extra.pop("access_token")
    except Exception as error:  # noqa: BLE001 - oauthlib raises also Warning
        name = type(error).__name__
    else:
        extra.pop("token_type", None)
        if "expires_at" in answer.members:
            extra["expires_at"] = answer.members["expires_at"]
        return access_token, extra
    # Outside of the handler, so that the exception of oauthlib is not the context of ours.
    raise answer.invalid(
        f"oauthlib rejects the answer ({name}): check the OAUTHLIB_... environment variables."
    )


def _lifetime(answer: Answer) -> float | None:
    """Return the lifetime in seconds, or None if it is not a number or longer than ten years.

    One of more than a year is written to the log, because some servers give it in milliseconds.
    """
    seconds = _seconds(answer.members.get("expires_in"))
    if seconds is None or -MAX_LIFETIME <= seconds <= _YEAR:
        return seconds
    is_used = abs(seconds) <= MAX_LIFETIME
    url = answer.redactor.url(answer.response.url)
    if is_first((url, "lifetime")):
        shown = redact(str(int(seconds)), [*answer.secrets, answer.members["access_token"]])
        log.warning(
            "The token of %s has an expires_in of %s seconds, %s. If these are milliseconds, divide"
            " the number by 1000 in a hook: session.tokens.endpoint.register_compliance_hook("
            '"access_token_response", hook).',
            url,
            shown if len(shown) <= _MAX_SHOWN_NUMBER else "very many",
            "which is more than a year" if is_used else "which is not used",
        )
    return seconds if is_used else None


def _seconds(value: Any) -> float | None:
    """Return a number, also one in a string, and None for everything else."""
    if isinstance(value, str) and _DECIMAL.fullmatch(value):
        return float(value)
    return value if type(value) in (int, float) else None


def _parts(scope: Any) -> list[Any]:
    if scope is None:
        return []
    return scope if isinstance(scope, list) else [scope]


def _scope(granted: Any, requested: str | None) -> str | None:
    """Return the granted scope with single spaces, or the requested one if none is named."""
    return requested if granted is None else " ".join(" ".join(_parts(granted)).split())


def _decoded(content: bytes) -> str:
    """Return a body as text: UTF-8, 16 or 32 with or without a mark, else latin-1."""
    if len(content) > MAX_BYTES:
        return ""
    encoding = json.detect_encoding(content)
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        # Latin-1 decodes anything, but would put zeros between the characters of a wide encoding.
        wide = not encoding.startswith("utf-8")
        return content.decode(encoding if wide else "latin-1", "replace")


def _json(text: str, repeated: list[Any]) -> Any:
    """Return the value of a JSON text, or NOT_JSON.

    ``repeated`` gets the members of each object in which a name occurs twice.
    """

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            repeated.append(pairs)
        return found

    if sum(map(text.count, ",:[{")) > _MAX_VALUES:
        return NOT_JSON
    try:
        value = json.loads(
            text,
            object_pairs_hook=members,
            parse_int=lambda digits: int(digits) if len(digits) <= _MAX_DIGITS else None,
            parse_float=lambda digits: _finite(float(digits)),
            parse_constant=lambda _: None,
        )
    except (ValueError, RecursionError):
        return NOT_JSON
    return value if _is_shallow(value) else NOT_JSON


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _is_shallow(value: Any) -> bool:
    """Return whether a recursive function can walk through a value."""
    level = [value]
    for _ in range(_MAX_DEPTH):
        inner = (item.values() if isinstance(item, dict) else item for item in level)
        level = [child for group in inner if not isinstance(group, _LEAVES) for child in group]
    return not level
