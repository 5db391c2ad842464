"""Everything that removes secrets and tokens from texts, errors and logs.

Rule of this module: nothing else replaces a secret or a token in a text. To audit that none is
shown, read this file, and know what other modules leave out from the beginning: ``urls.public_url``
drops userinfo, query and fragment, fields of values have ``repr=False``, frames.py removes the
local variables of frames, and messages of `secret` and `settings` name no value.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import parse_qsl, urljoin

import requests

from .urls import public_url

_REDACTED = "***"
_SCHEME_AND_REST = re.compile(r"([A-Za-z][A-Za-z0-9-]{0,31}) ")
_PIECE = re.compile(r"\\+|.", re.DOTALL)
_TOKEN_MEMBERS = {"access_token", "refresh_token", "id_token"}
_TOKEN_IN_TEXT = re.compile(
    r"((?:access|refresh|id)_token[\"'\\]*\s*[:=>]\s*[\"'\\]*)[^\"'\\<&]+", re.IGNORECASE
)
_SECRET_PARAMETERS = {"client_secret", "client_assertion"}
_SECRET_HEADERS = ("Authorization", "Proxy-Authorization", "DPoP", "Cookie")
_HARMLESS_HEADERS = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class SecretHeader(str):
    """A header value that is sent completely and shown as ``Bearer ***``.

    ``encode()``, comparison, hashing, slicing, joining and adding use the true value. Requests,
    urllib3 and http.client do nothing else with it. ``repr()``, ``str()``, ``format()``, ``"%s"``
    and pickle give ``Bearer ***``. To read the true value: ``value.encode().decode()``. Some
    operations read the characters directly and cannot be redacted from inside a ``str``:
    ``"".join([value])``, ``"" + value`` and ``json.dumps(value)``.
    """

    __slots__ = ()

    def _redacted(self) -> str:
        scheme = _SCHEME_AND_REST.match(self)
        return f"{scheme[1]} {_REDACTED}" if scheme else _REDACTED

    def __repr__(self) -> str:
        return repr(self._redacted())

    def __str__(self) -> str:
        return self._redacted()

    def __format__(self, format_spec: str) -> str:
        return format(self._redacted(), format_spec)

    def __copy__(self) -> SecretHeader:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> SecretHeader:
        return self

    def __reduce_ex__(self, protocol: object) -> tuple[type[SecretHeader], tuple[str]]:
        return SecretHeader, (self._redacted(),)


def redact(text: str, secrets: Iterable[str | None]) -> str:
    """Replace secrets in a text by ``***``, in each spelling in which they are sent or quoted.

    The spellings are: unchanged, form-encoded or percent-encoded (once or more often), escaped as
    in JSON, HTML or ``repr``, and decoded as latin-1. Call this before a text is cut. Otherwise
    the first half of a secret can remain at its end.
    """
    return _pattern(secrets).sub(_REDACTED, text)


def redact_error(error: requests.RequestException, tokens: Iterable[str]) -> None:
    """Remove tokens from the message of an error, in place, and its causes if they quote one.

    A transport error can quote what a broken server echoed.
    """
    text = str(error)
    redacted = redact(text, tokens)
    if redacted != text:
        error.args = (redacted,)
        error.__cause__ = error.__context__ = None


class Redactor:
    """The secrets and tokens of one token request, and how to show its answer without them.

    ``secrets`` are those that the client used. The secrets in the request that was really sent,
    and the tokens in the JSON value ``document`` of the answer, are added to them.
    """

    def __init__(
        self, secrets: Iterable[str], request: requests.PreparedRequest | None, document: Any
    ) -> None:
        known = {plain_text(s) for s in (*secrets, *_sent(request), *_tokens_in(document))}
        # http.client decodes UTF-8 in a header as latin-1, and we do so with a body that is not
        # UTF-8.
        known |= {secret.encode().decode("latin-1") for secret in known}
        # Made once, because an answer can contain a hundred thousand texts.
        self._pattern = _pattern(known)

    def text(self, text: str) -> str:
        """Return a text without the secrets and tokens."""
        return self._pattern.sub(_REDACTED, text)

    def url(self, url: str | None) -> str:
        """Return the part of a URL that may be shown: origin and path."""
        return self.text(public_url(self.text(url or "")))

    def location(self, response: requests.Response) -> str:
        """Return the target of a redirect, in the form that may be shown."""
        try:
            target = urljoin(response.url, self.text(response.headers["Location"]))
        except (KeyError, ValueError):
            return self.url(None)
        return self.url(target)

    def content(self, text: str) -> str:
        """Return the text of a body without secrets and without anything named like a token."""
        return _TOKEN_IN_TEXT.sub(rf"\1{_REDACTED}", self.text(text))

    def document(self, value: Any) -> Any:
        """Return a JSON value with redacted texts and without its token members."""
        if isinstance(value, str):
            return self.content(value)
        if isinstance(value, list):
            return [self.document(item) for item in value]
        if not isinstance(value, dict):
            return value
        return {
            self.text(name): _REDACTED if name in _TOKEN_MEMBERS else self.document(item)
            for name, item in value.items()
        }

    def response(self, original: requests.Response, content: str) -> requests.Response:
        """Return a new response for an error, with this redacted content.

        It has the status, the harmless headers and the content of the original, but no cookie,
        query, history or connection. Its ``request`` has method, public URL and harmless headers,
        but no body.
        """
        new = requests.Response()
        new.status_code = original.status_code
        new.reason = self.text(plain_text(original.reason or ""))
        new.url, new.elapsed, new.encoding = self.url(original.url), original.elapsed, "utf-8"
        for name, value in original.headers.items():
            if name.lower() == "location":
                new.headers[name] = self.location(original)
            elif name.lower() not in ("set-cookie", "set-cookie2"):
                new.headers[self.text(name)] = self.text(value)
        # Redacted once more, because a secret may span what JSON puts between two texts.
        new._content = self.text(content).encode()
        new._content_consumed = True  # type: ignore[attr-defined]
        sent = getattr(original.request, "headers", None) or {}
        harmless = {
            name: self.text(plain_text(sent[name])) for name in _HARMLESS_HEADERS if name in sent
        }
        new.request = requests.PreparedRequest()
        new.request.prepare_headers(harmless)
        new.request.method = getattr(original.request, "method", None)
        new.request.url = new.url
        return new


def plain_text(text: str | bytes) -> str:
    """Return the true characters of a text that may be bytes or a `SecretHeader`."""
    octets = text if isinstance(text, bytes) else text.encode("utf-8", "ignore")
    return octets.decode("utf-8", "replace")


def _sent(request: requests.PreparedRequest | None) -> Iterator[str]:
    """Yield the secrets that a request carried."""
    headers, body = getattr(request, "headers", None) or {}, getattr(request, "body", None)
    for name in _SECRET_HEADERS:
        value = plain_text(headers.get(name) or "")
        yield value
        yield value.partition(" ")[2]
    if isinstance(body, (str, bytes)):
        for name, value in parse_qsl(plain_text(body)):
            if name in _SECRET_PARAMETERS:
                yield value


def _tokens_in(document: Any) -> Iterator[str]:
    """Yield the tokens in the JSON object of a token response."""
    for name in _TOKEN_MEMBERS if isinstance(document, dict) else ():
        if isinstance(document.get(name), str):
            yield document[name].strip()


def _pattern(secrets: Iterable[str | None]) -> re.Pattern[str]:
    """Return a pattern for all spellings of the secrets; it matches nothing if there are none."""
    present = sorted({secret for secret in secrets if secret}, key=len, reverse=True)
    spellings = ("".join(map(_spelling, _PIECE.findall(secret))) for secret in present)
    return re.compile("|".join(spellings) or r"(?!)")


def _spelling(piece: str) -> str:
    """Return a pattern for all spellings of one character, or of a run of backslashes.

    Libraries encode different sets of characters, and an error that quotes another error doubles
    each backslash. http.client decodes everything as latin-1.
    """
    if piece.isascii() and piece.isalnum():
        return piece
    octets = piece.encode("utf-8", "surrogatepass")
    percent = "".join(f"%(?:25)*{octet:02x}" for octet in octets)
    if piece.startswith("\\"):
        return rf"(?:\\{{{len(piece)},{8 * len(piece)}}}|(?i:{percent}))"
    escaped = "".join(rf"\\{{1,8}}x{octet:02x}" for octet in octets)
    latin = octets.decode("latin-1")
    forms = {piece, latin, html.escape(piece), json.dumps(piece)[1:-1]}
    forms |= {repr(form)[1:-1] for form in (piece, latin)} | ({"+"} if piece == " " else set())
    plain = sorted((form.lstrip("\\") for form in forms), key=len, reverse=True)
    return rf"(?:\\{{0,8}}(?:{'|'.join(map(re.escape, plain))})|(?i:{percent}|{escaped}))"
