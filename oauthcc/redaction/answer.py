"""The answer of a token endpoint as an error may show it."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import parse_qsl, urljoin, urlsplit

import requests

from ..urls import public_url
from .header import REDACTED, plain_text
from .search import BETWEEN, MIN_TOKEN, Secrets
from .token_shapes import (
    looks_random,
    named_in,
    names_secret,
    names_token,
    without_elements,
    without_tokens,
    words_of,
)

_SECRET_HEADERS = ("Authorization", "Proxy-Authorization", "DPoP", "Cookie")
_HARMLESS_HEADERS = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
#: At most so many characters of a body are kept in an error, and so many values of a JSON value.
_MAX_TEXT, _MAX_VALUES = 1 << 15, 2_000
#: At most so many tokens, with so many characters together, are searched for in an answer.
_MAX_TOKENS, _MAX_TOKENS_LENGTH = 8, 1 << 14
#: An escape is at most so much longer than its character, a ``***`` that is cut off included.
_LONGEST_ESCAPE = 36
_MAX_HEADER, _MAX_NUMBER = 1_000, 16
#: A shorter part of a URL is not taken for a token.
_MIN_PART = 12
#: A word in a path, and the escapes between words.
_WORD = re.compile(r"[a-z_.-]{0,20}[0-9.]{0,3}")
_ESCAPES = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
#: Members with these names contain no token, but they may quote one.
_HARMLESS_MEMBERS = {
    "error",
    "error_description",
    "error_uri",
    "errmsg",
    "message",
    "msg",
    "scope",
    "status",
    "token_type",
}
_NAME = re.compile(r"[A-Za-z_@$][A-Za-z0-9_.@$ -]{0,40}\Z")
#: What comes before a part of the answer, or a header that cannot be sent, in the messages of
#: http.client, urllib3 and requests.
_QUOTED = re.compile(
    r"\b(BadStatusLine|UnknownProtocol|UnknownTransferEncoding|LineTooLong|InvalidChunkLength"
    r"|InvalidHeader|with base 16|content-encoding|Content-Length contained"
    r"|header value|Header part)\b.*",
    re.DOTALL | re.IGNORECASE,
)


def redact_transport_error(
    error: Exception, secrets: Iterable[str | None], request: requests.PreparedRequest | None
) -> str:
    """Return the message of an error of a request, without what the server sent.

    Also without a header that cannot be sent.
    """
    # The quoted part may begin in the middle of a secret, which cannot be found then.
    text = _QUOTED.sub(rf"\1: {REDACTED}", str(error))
    return Redactor((s for s in secrets if s), request, None).content(text)


class Redactor:
    """The secrets and tokens of one token request, and how to show its answer without them.

    ``secrets`` are those that the client used. The secrets in the request that was really sent,
    and the tokens in the JSON value ``document`` of the answer, are added to them. If the answer
    ``may_contain_token`` (that is, if its status is not an error), only structure and words that
    cannot be a token are shown, whatever the names of the members are.
    """

    def __init__(
        self,
        secrets: Iterable[str],
        request: requests.PreparedRequest | None,
        document: Any,
        *,
        may_contain_token: bool = False,
    ) -> None:
        self._strict = may_contain_token
        tokens = _tokens_in(document, everywhere=may_contain_token)
        #: Whether the answer has so many values that none of its texts is shown.
        self._too_many = tokens is None
        used = [plain_text(secret) for secret in secrets]
        encoded = [text for secret in used for text in _in_base64(secret)]
        self._secrets = Secrets([*used, *encoded, *_sent(request), *map(plain_text, tokens or ())])
        # Apart from the others, because such a token may be a part of a secret.
        self._named = Secrets(())

    def text(self, text: str) -> str:
        """Return a text without the secrets and tokens that are known."""
        return self._secrets.hide(text)

    def content(self, text: str) -> str:
        """Return a text of a server without secrets and without anything that looks like a token.

        At most 32 Ki characters are kept.
        """
        return self._contents([text])[0]

    def header(self, value: str) -> str:
        """Return a header or a reason as `content` does, and nothing of a long one."""
        return REDACTED if len(value) > _MAX_HEADER else self.content(value)

    def url(self, url: str | None) -> str:
        """Return the part of a URL that may be shown: origin and path."""
        return self.text(public_url(self.text(url or "")))

    def location(self, response: requests.Response) -> str:
        """Return the target of a redirect, in the form that may be shown."""
        given = response.headers.get("Location", "")
        known = self.text(given) if len(given) <= _MAX_HEADER else ""
        if not known or self._secrets.are_scattered(known):
            return self.url(None)
        try:
            target = urljoin(response.url, known)
        except ValueError:
            return self.url(None)
        origin, slashes, rest = self.url(target).partition("//")
        if not slashes:
            return origin
        host, *segments = rest.split("/")
        if host != urlsplit(response.url).netloc:
            host = ".".join(map(_part, host.split(".")))
        # Only the target of a redirect is worth more than its ordinary words.
        is_target = 300 <= response.status_code < 400 or not self._strict
        hide = self._segment if is_target else words_of
        return "/".join([origin + slashes + host, *_around_hidden([*map(hide, segments)])])

    def _segment(self, text: str) -> str:
        """Return a segment of a path. Escapes may divide a token, so they may be between words."""
        pieces = _ESCAPES.split(text)
        is_divided = self._strict and len(pieces) > 1 and not all(map(_WORD.fullmatch, pieces))
        return REDACTED if is_divided else without_tokens(_part(text))

    def body(self, text: str) -> str:
        """Return the ordinary words of a body that is not JSON, nothing if it may be a token."""
        if self._strict:
            return REDACTED if text.strip() else ""
        shown = without_elements(self.content(text))
        # The tokens that have a name in the text may be in it without one.
        tokens = {token for token in named_in(text[:_MAX_TEXT]) if len(token) >= MIN_TOKEN}
        if _are_too_many(tokens):
            return REDACTED
        self._named = Secrets(tokens)
        # Its structure is not known, so a part of a token may be anywhere.
        return words_of(self._named.hide(shown))

    def document(self, value: Any) -> Any:
        """Return a JSON value without secrets and without anything that looks like a token.

        Structure, numbers and harmless members are kept. If there is too much, nothing is.
        """
        if self._too_many:
            return REDACTED
        texts: list[str] = []

        def note(text: str) -> str:
            texts.append(text)
            return text

        self._walk(value, "", note)
        shown = iter(self._contents(texts))
        return self._walk(value, "", lambda _: next(shown))

    def _walk(self, value: Any, name: str, show: Callable[[str], str]) -> Any:
        """Return a JSON value with its names and texts as ``show`` returns them."""
        if isinstance(value, str):
            hidden = self._strict and name not in _HARMLESS_MEMBERS
            return show(value) if value and not hidden else value and REDACTED
        if isinstance(value, list):
            return [self._walk(item, name, show) for item in value]
        if not isinstance(value, dict):
            # A number of so many digits may be a token.
            return REDACTED if len(repr(value)) > _MAX_NUMBER else value
        members: dict[str, Any] = {}
        for key, item in value.items():
            shown = show(key) if _NAME.match(key) or not self._strict else REDACTED
            hidden = item not in (None, "") and names_token(key)
            members[shown] = REDACTED if hidden else self._walk(item, key, show)
        return members

    def _contents(self, texts: Sequence[str]) -> list[str]:
        """Return texts as `content` does. They are searched together, which is much faster."""
        if self._too_many:
            return [REDACTED] * len(texts)
        joined = BETWEEN.join(text.replace(BETWEEN, "?") for text in texts)
        # If the text is cut before secrets are found in it, then a half of one may remain at the
        # end. So as much is dropped there as the longest secret needs.
        beyond = max(_MAX_TEXT, _LONGEST_ESCAPE * self._secrets.longest)
        is_cut = len(joined) > _MAX_TEXT + beyond
        joined = self.text(joined[: _MAX_TEXT + beyond])[: -beyond if is_cut else None]
        if is_cut or len(joined) > _MAX_TEXT:
            joined = joined[: joined.rfind(" ", 0, _MAX_TEXT) + 1] + REDACTED
        shown = joined.split(BETWEEN)
        if self._secrets.are_scattered(joined):
            shown = [REDACTED if self._secrets.are_scattered(text) else text for text in shown]
        joined = self._named.hide(BETWEEN.join(shown))
        joined = (words_of if self._strict else without_tokens)(joined)
        shown = joined.split(BETWEEN)
        return shown + [REDACTED] * (len(texts) - len(shown))

    def response(self, original: requests.Response, content: str) -> requests.Response:
        """Return a new response for an error, with this redacted content.

        It has the status, the harmless headers and the content of the original, but no cookie,
        query, history or connection. Its ``request`` has method, public URL and harmless headers,
        but no body.
        """
        new = requests.Response()
        new.status_code = original.status_code
        new.url, new.elapsed, new.encoding = self.url(original.url), original.elapsed, "utf-8"
        names = [n for n in original.headers if n.lower() not in ("set-cookie", "set-cookie2")]
        values = [REDACTED if names_token(n) else original.headers[n] for n in names]
        texts = [plain_text(original.reason or ""), *names, *values]
        new.reason, *shown = self._contents(
            [REDACTED if len(t) > _MAX_HEADER else t for t in texts]
        )
        for name, shown_name, value in zip(names, shown, shown[len(names) :], strict=False):
            is_location = name.lower() == "location"
            new.headers[shown_name] = self.location(original) if is_location else value
        # A secret may span what JSON puts between two texts.
        content = self._secrets.hide_unchanged(content)
        new._content = content.encode("utf-8", "backslashreplace")
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


def _part(text: str) -> str:
    """Return a part of a URL. It may be shorter than other texts that look like a token."""
    return REDACTED if len(text) >= _MIN_PART and looks_random(text) else text


def _around_hidden(segments: list[str]) -> list[str]:
    """Return segments of a path; only words stay beside a hidden one, which slashes may divide."""
    for order in (range(1, len(segments)), range(len(segments) - 2, -1, -1)):
        step = 1 if order.step < 0 else -1
        for at in order:
            if REDACTED in segments[at + step] and not _WORD.fullmatch(segments[at]):
                segments[at] = REDACTED
    return segments


def _in_base64(secret: str) -> Iterator[str]:
    """Yield what a secret looks like in base64, also as a part of a longer text, such as of Basic.

    There it begins at one of three places in a group of three bytes. The characters that other
    bytes have a share in are left out.
    """
    octets = secret.encode()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        yield encode(octets).decode().rstrip("=")
        for before, first in enumerate((0, 2, 3)):
            end = (before + len(octets)) * 8 // 6
            inner = encode(bytes(before) + octets).decode()[first:end]
            if len(inner) >= MIN_TOKEN:
                yield inner


def _sent(request: requests.PreparedRequest | None) -> Iterator[str]:
    """Yield the secrets that a request carried."""
    headers = getattr(request, "headers", None) or {}
    url, body = getattr(request, "url", None), getattr(request, "body", None)
    for name in _SECRET_HEADERS:
        value = plain_text(headers.get(name) or "")
        yield value
        yield value.partition(" ")[2]
    for name, given in headers.items():  # what a user has set on the endpoint
        value = plain_text(given or "")
        if len(value) >= MIN_TOKEN and names_secret(plain_text(name)):
            yield value
    parameters = _parameters(plain_text(body)) if isinstance(body, (str, bytes)) else []
    yield from (value for name, value in parameters if names_secret(name))
    # Also in the query of a URL: of this one, or of a resource.
    places = [url] if isinstance(url, str) else []  # an adapter may put anything there
    for text in (*places, *(value for _, value in parameters)):
        for name, value in parse_qsl(text.partition("?")[2]):
            if len(value) >= MIN_TOKEN and names_secret(name):
                yield value


def _parameters(body: str) -> list[tuple[str, str]]:
    """Return the parameters in the body of a token request, a form or a JSON object."""
    try:
        members = json.loads(body)
    except (ValueError, RecursionError):
        return parse_qsl(body)
    lists = members.items() if isinstance(members, dict) else ()
    pairs = [(n, v) for n, some in lists for v in (some if isinstance(some, list) else [some])]
    return [(name, value) for name, value in pairs if isinstance(value, str)]


def _tokens_in(document: Any, *, everywhere: bool) -> set[str] | None:
    """Return the tokens in a JSON value, None if it has too many values or tokens to look at.

    If a token may be ``everywhere``, each text that is not shown counts as one.
    """
    found: set[str] = set()
    values, count = [(document, "")], 0
    while values:
        value, name = values.pop()
        if isinstance(value, dict):
            value = [*value.items()]
        if isinstance(value, tuple):  # a member
            key, item = value
            values.append((item, name if names_token(name) else key))
        elif isinstance(value, list):
            count += len(value)
            if count > _MAX_VALUES:
                return None
            values += [(item, name) for item in value]
        elif isinstance(value, str) and len(value.strip()) >= MIN_TOKEN:
            unknown = everywhere and name not in _HARMLESS_MEMBERS
            if names_token(name) or (unknown and words_of(value[:99]) != value):
                found.add(value.strip())
    return None if _are_too_many(found) else found


def _are_too_many(tokens: set[str]) -> bool:
    """Return whether it would take too long to search for these tokens."""
    return len(tokens) > _MAX_TOKENS or sum(map(len, tokens)) > _MAX_TOKENS_LENGTH
