"""What an authorization server answered, and how much of it an error may show.

The rule of this room: whatever leaves it has been searched for our secrets and for tokens, and is
a new object, so that nothing hides behind it: no body of the request, no connection, no history.
Reading an answer never raises, whatever the bytes are.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urljoin

import requests
from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

from .errors import TokenError
from .redaction import redact
from .urls import public_url

#: No answer that is read is larger than this, in bytes.
MOST_BYTES = 1 << 20
#: What newer versions of urllib3 bound a Retry-After to, and we for all versions; in seconds.
MOST_RETRY_AFTER = 21600.0
_MOST_TEXT, _MOST_DIGITS, _MOST_DEPTH = 500, 300, 32

_LEAVES = (str, int, float, type(None))

#: The value of a body that is not JSON, or nested deeper than anything in this trade.
NOT_JSON = object()
#: Error codes that are kept even where a secret of somebody's test is called "client".
_CODES = set(
    "access_denied invalid_client invalid_dpop_proof invalid_grant invalid_request invalid_scope"  # noqa: SIM905 - short
    " invalid_target server_error temporarily_unavailable unauthorized_client"
    " unsupported_grant_type use_dpop_nonce".split()
)
_TOKEN_MEMBERS = {"access_token", "refresh_token", "id_token"}
_TOKEN_IN_TEXT = re.compile(
    r"((?:access|refresh|id)_token[\"'\\]*\s*[:=>]\s*[\"'\\]*)[^\"'\\<&]+", re.IGNORECASE
)
_SECRET_PARAMETERS = {"client_secret", "client_assertion"}
_SECRET_HEADERS = ("Authorization", "Proxy-Authorization", "DPoP", "Cookie")
_HARMLESS_HEADERS = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
_MEDIA_TYPE = re.compile(r"\s*([\w!#$&^.+-]{1,60}/[\w!#$&^.+-]{1,60})\s*(?:;|\Z)", re.ASCII)
# RFC 6749 section 5.2: what error and error_description may hold, and what error_uri may.
_NOT_TEXT = re.compile(r"[^\x20\x21\x23-\x5b\x5d-\x7e]+")
_NOT_URI = re.compile(r"[^\x21\x23-\x5b\x5d-\x7e]+")


def retry_after(response: requests.Response) -> float | None:
    """Return the seconds from now that ``Retry-After`` asks for (RFC 9110 section 10.2.3).

    None where it is missing or makes no sense; six hours at the most. Nothing is ever raised.
    """
    try:
        seconds = float(Retry().parse_retry_after(response.headers["Retry-After"]))
    except (InvalidHeader, LookupError, TypeError, ValueError, ArithmeticError):
        return None
    return min(max(seconds, 0.0), MOST_RETRY_AFTER)


@dataclass(frozen=True, slots=True, repr=False)
class Answer:
    """Hold a response that was read already, what its body says, and what must be hidden of it.

    ``value`` is what the JSON in the body stands for: numbers of more than 300 digits and those
    that JSON does not know are None in it, and of members of the same name the last one counts.
    """

    response: requests.Response
    text: str
    value: Any
    known: tuple[str, ...]

    @classmethod
    def of(cls, response: requests.Response, secrets: Iterable[str]) -> Answer:
        """Read a response, of which ``secrets`` must not show."""
        content = response._content
        text = _decoded(content) if isinstance(content, bytes) else ""
        value = _json(text)
        known = {_plain(secret) for secret in (*secrets, *_sent(response.request), *_given(value))}
        # What http.client makes of UTF-8 in a header, and we of a body that is not UTF-8.
        known |= {secret.encode().decode("latin-1") for secret in known}
        return cls(response, text, value, tuple(known - {""}))

    @property
    def members(self) -> dict[str, Any]:
        """Return the members of the JSON object in the body; none where it is something else."""
        return self.value if isinstance(self.value, dict) else {}

    @property
    def kind(self) -> str:
        """Return the media type, for a message."""
        match = _MEDIA_TYPE.match(self.hidden(self.response.headers.get("Content-Type", "")))
        return "content of no known type" if match is None else match[1]

    def hidden(self, text: str) -> str:
        """Return a text without our secrets and the tokens of the body."""
        return redact(text, self.known)

    def url(self, url: str | None) -> str:
        """Return the form of a URL that may be shown."""
        return self.hidden(public_url(self.hidden(url or "")))

    def said(self, name: str) -> str | None:
        """Return an ``error`` member in the characters of RFC 6749 section 5.2, 500 at the most."""
        value = self.members.get(name)
        if not isinstance(value, str) or value in _CODES:
            return value if isinstance(value, str) else None
        text = " ".join(self.hidden(value).split()).replace('"', "'")
        text = _NOT_URI.sub("", text) if name == "error_uri" else _NOT_TEXT.sub("?", text)
        # Once more, because leaving characters out may put a secret together again.
        return self.hidden(text)[:_MOST_TEXT] or None

    def error(self, kind: type[TokenError], message: str) -> TokenError:
        """Make an error that carries what the server said, and this response scrubbed."""
        return kind(
            message,
            response=self.scrubbed(),
            error=self.said("error"),
            error_description=self.said("error_description"),
            error_uri=self.said("error_uri"),
            retry_after=retry_after(self.response),
        )

    def location(self) -> str:
        """Return where a redirect leads, in the form that may be shown."""
        try:
            target = urljoin(self.response.url, self.hidden(self.response.headers["Location"]))
        except (KeyError, ValueError):
            return self.url(None)
        return self.url(target)

    def scrubbed(self) -> requests.Response:
        """Return a response like this one, fit for an error.

        It has no secret, token, cookie, query, history or connection. Its ``request`` has method,
        public URL and harmless headers, but no body.
        """
        old, new = self.response, requests.Response()
        new.status_code, new.reason = old.status_code, self.hidden(_plain(old.reason or ""))
        new.url, new.elapsed, new.encoding = self.url(old.url), old.elapsed, "utf-8"
        for name, value in old.headers.items():
            if name.lower() == "location":
                new.headers[name] = self.location()
            elif name.lower() not in ("set-cookie", "set-cookie2"):
                new.headers[self.hidden(name)] = self.hidden(value)
        new._content, new._content_consumed = self._content(), True  # type: ignore[attr-defined]
        new.request = requests.PreparedRequest()
        new.request.prepare_headers(dict(self._harmless(old.request)))
        new.request.method, new.request.url = getattr(old.request, "method", None), new.url
        return new

    def _content(self) -> bytes:
        if self.value is NOT_JSON:
            text = _TOKEN_IN_TEXT.sub(r"\1***", self.hidden(self.text))
        else:
            text = json.dumps(self._without_tokens(self.value))
        # Once more, because a secret may span what JSON puts between two texts.
        return self.hidden(text).encode()

    def _without_tokens(self, value: Any) -> Any:
        if isinstance(value, str):
            return _TOKEN_IN_TEXT.sub(r"\1***", self.hidden(value))
        if isinstance(value, list):
            return [self._without_tokens(item) for item in value]
        if not isinstance(value, dict):
            return value
        return {
            self.hidden(name): "***" if name in _TOKEN_MEMBERS else self._without_tokens(item)
            for name, item in value.items()
        }

    def _harmless(self, request: requests.PreparedRequest | None) -> Iterator[tuple[str, str]]:
        headers = getattr(request, "headers", None) or {}
        for name in _HARMLESS_HEADERS:
            if name in headers:
                yield name, self.hidden(_plain(headers[name]))


def _plain(text: str | bytes) -> str:
    """Return the true value of a text that may be bytes or hide itself, fit to be encoded."""
    octets = text if isinstance(text, bytes) else text.encode("utf-8", "ignore")
    return octets.decode("utf-8", "replace")


def _sent(request: requests.PreparedRequest | None) -> Iterator[str]:
    """Give the secrets that a request carried."""
    headers, body = getattr(request, "headers", None) or {}, getattr(request, "body", None)
    for name in _SECRET_HEADERS:
        value = _plain(headers.get(name) or "")
        yield value
        yield value.partition(" ")[2]
    if isinstance(body, (str, bytes)):
        for name, value in parse_qsl(_plain(body)):
            if name in _SECRET_PARAMETERS:
                yield value


def _given(value: Any) -> Iterator[str]:
    """Give the tokens in a body."""
    for name in _TOKEN_MEMBERS if isinstance(value, dict) else ():
        if isinstance(value.get(name), str):
            yield value[name].strip()


def _decoded(content: bytes) -> str:
    """Decode a body: UTF-8, 16 or 32 with or without a mark, else as the web of old did."""
    if len(content) > MOST_BYTES:
        return ""
    encoding = json.detect_encoding(content)
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        # Latin-1 can be made of anything, but would scatter zeros through a wide encoding.
        wide = not encoding.startswith("utf-8")
        return content.decode(encoding if wide else "latin-1", "replace")


def _json(text: str) -> Any:
    try:
        value = json.loads(
            text,
            parse_int=lambda digits: int(digits) if len(digits) <= _MOST_DIGITS else None,
            parse_float=lambda digits: _finite(float(digits)),
            parse_constant=lambda _: None,
        )
    except (ValueError, RecursionError):
        return NOT_JSON
    return value if _is_shallow(value) else NOT_JSON


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _is_shallow(value: Any) -> bool:
    """Say whether all that walk through a value later can do so by recursion."""
    level = [value]
    for _ in range(_MOST_DEPTH):
        inner = (item.values() if isinstance(item, dict) else item for item in level)
        level = [child for group in inner if not isinstance(group, _LEAVES) for child in group]
    return not level
