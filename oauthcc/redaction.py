"""Everything that removes secrets and tokens from texts, errors and logs.

Rule of this module: nothing else replaces a secret or a token in a text. To audit that none is
shown, read this file, and know what other modules leave out from the beginning: ``urls.public_url``
drops userinfo, query and fragment, fields of values have ``repr=False``, `single_flight` and
`fetcher` drop the frames of errors, and messages of `secret` and `settings` name no value.

Rule of all functions here: the time is linear in the size of the text, whatever the text and the
secrets are, because a broken server may choose both. So a text is searched for a whole secret by
``str.find`` and ``str.replace`` only, and never by a pattern that is made of a secret. What would
need more steps for each character than that (many escapes, many tokens, many values) is limited,
and what exceeds a limit is hidden completely.
"""

from __future__ import annotations

import html.entities
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import Any
from urllib.parse import parse_qsl, urljoin, urlsplit

import requests

from .urls import public_url

_REDACTED = "***"
_SCHEME_AND_REST = re.compile(r"([A-Za-z][A-Za-z0-9-]{0,31}) ")
_SECRET_PARAMETERS = {"client_secret", "client_assertion"}
_SECRET_HEADERS = ("Authorization", "Proxy-Authorization", "DPoP", "Cookie")
_HARMLESS_HEADERS = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")

# How secrets are found.

#: Noncharacters of Unicode: no other text contains them. The first takes the place of a secret
#: until all secrets are replaced, the second is between texts that are searched together.
_MARK, _BETWEEN = "\ufdd0", "\ufdd1"
#: How many characters that may begin an escape, how many secrets, and how many levels of escapes
#: in one another are looked at. A text with more of them is hidden completely.
_MAX_ESCAPES, _MAX_FOUND, _MAX_LEVELS = 5_000, 5_000, 6
_ESCAPE = re.compile(
    r"%(?:25){0,8}(?P<percent>[0-9A-Fa-f]{2})"
    r"|\\+u(?P<high>[Dd][89ABab][0-9A-Fa-f]{2})\\+u(?P<low>[Dd][C-Fc-f][0-9A-Fa-f]{2})"
    r"|\\+(?:x(?P<x>[0-9A-Fa-f]{2})|u(?P<u>[0-9A-Fa-f]{4})|U(?P<U>[0-9A-Fa-f]{8}))"
    r"|\\+(?P<control>[abfnrtv0])"
    r"|\\+(?P<plain>[^%&]?)"
    r"|&(?:amp;){0,8}#(?P<decimal>[0-9]{1,7});"
    r"|&(?:amp;){0,8}#[xX](?P<hexadecimal>[0-9A-Fa-f]{1,6});"
    r"|&(?:amp;){0,8}(?P<entity>[A-Za-z][A-Za-z0-9]{1,30};)"
    r"|(?P<utf8>[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3})",
    re.DOTALL,
)
#: An escape of a character that an error may show in another form or not at all.
_ODD_ESCAPE = re.compile(
    r"\\(?:[bfnrt]|u(?!00[2-7])[0-9A-Fa-f]{4}|x(?![2-7])[0-9A-Fa-f]{2})|%(?![2-7])[0-9A-Fa-f]{2}"
)
#: UTF-8 that was decoded as latin-1 begins with this.
_UTF_8 = re.compile(r"[\xc2-\xf4](?=[\x80-\xbf])")
_CONTROLS = dict(zip("abfnrtv0", "\a\b\f\n\r\t\v\0", strict=True))
_OPENERS = (
    ("%", re.compile(r"[0-9A-Fa-f]{2}")),
    ("%4", re.compile(r"[0-9A-Fa-f]")),
    ("\\", re.compile(r"[abfnrtv0xuU]")),
    ("&", re.compile(r"#?[A-Za-z0-9]{1,31};")),
)
_HALF_ESCAPE = re.compile(r"[%&][0-9A-Fa-f]?\Z")
#: Characters of ASCII that an error may show in another form or not at all.
_INVISIBLE = bytes([*range(0x21), 0x7F])
_UNCERTAIN = _INVISIBLE + b"\"\\+'"

# What looks like a token.

#: At most so many characters of a body are kept in an error, and so many values of a JSON value.
_MAX_TEXT, _MAX_VALUES = 1 << 15, 2_000
#: At most so many tokens, with so many characters together, are searched for in an answer.
_MAX_TOKENS, _MAX_TOKENS_LENGTH = 8, 1 << 14
#: An escape is at most so much longer than its character, a ``***`` that is cut off included.
_LONGEST_ESCAPE = 36
_MAX_HEADER, _MAX_NUMBER, _MIN_TOKEN = 1_000, 16, 6
#: Members with these names contain no token, but they may quote one.
_HARMLESS_MEMBERS = {
    "error",
    "error_description",
    "error_uri",
    "message",
    "scope",
    "status",
    "token_type",
}
_TOKEN_NAME = re.compile(
    r"(?:token|jwt|ticket|secret|password|passwd|assertion|apikey|saml|sessionid|cookie)\Z"
)
_NOT_LETTER = re.compile(r"[^a-z]+")
_NAME = re.compile(r"[A-Za-z_@$][A-Za-z0-9_.@$ -]{0,40}\Z")
_TOKEN_IN_TEXT = re.compile(
    r"((?:access|refresh|id)[_-]?token[\"'\\]*\s*[:=>]\s*[\"'\\]*)"
    rf"((?:[^\"'\\<&{_BETWEEN}]|\\+[^\"'\\{_BETWEEN}])+)",
    re.IGNORECASE,
)
_AFTER_SCHEME = re.compile(
    r"\b((?i:bearer|basic|dpop|token)(?:\s|%20|\+|[:=\"'\\])+)"
    r"(?![A-Za-z]?[a-z_-]{0,18}[.=]?(?![A-Za-z0-9\-._~+/=]))[A-Za-z0-9\-._~+/=]{4,}"
)
#: With escapes and with what is not ASCII, which may be dropped when the text is shown.
_LONG_RUN = re.compile(rf"[^\t-\r !-$&-*,:-<>?@\[\]^`{{-}}{_BETWEEN}]{{16,}}")
_RUN = re.compile(rf"[^\s\"'<>()\[\]{{}},;{_BETWEEN}]{{8,}}")
_RANDOM = re.compile(r"eyJ|[A-Za-z]{32}|[0-9]{20}")
#: Only for what has no 32 letters in a row: otherwise it would look at each of them many times.
_MIXED = re.compile(r"(?=[A-Za-z]*[0-9])[A-Za-z0-9]{24}")
_DIGIT, _RARE = re.compile(r"[0-9]"), re.compile(r"[~+=]")
_PARTS = re.compile(r"[A-Za-z0-9_-]{12,}")
_CHANGES = re.compile(r"(?<=[A-Za-z])(?=[0-9])|(?<=[0-9])(?=[A-Za-z])")
_NOT_A_WORD = re.compile(r"[0-9~+=%]|[^\x00-\x7f]|[A-Za-z]{21}|eyJ")
#: What comes before a part of the answer in the messages of http.client and urllib3.
_QUOTED_ANSWER = re.compile(
    r"\b(BadStatusLine|UnknownProtocol|UnknownTransferEncoding|LineTooLong|InvalidChunkLength"
    r"|InvalidHeader|with base 16|content-encoding|Content-Length contained)\b.*",
    re.DOTALL | re.IGNORECASE,
)
_UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\.?")


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
    the first half of a secret can remain at its end. A text with thousands of escapes is replaced
    as a whole.
    """
    return _Secrets(secrets).hide(text)


def redact_error(error: requests.RequestException, tokens: Iterable[str]) -> None:
    """Remove tokens from the message of an error, in place, and its causes if they quote one.

    A transport error can quote what a broken server echoed.
    """
    text = str(error)
    redacted = redact(text, tokens)
    if redacted != text:
        error.args = (redacted,)
        error.__cause__ = error.__context__ = None


def without_frames(error: BaseException) -> BaseException:
    """Return an error after its frames, and those of all errors that led to it, were dropped.

    The frames of a token request contain the client's secret, and crash reporters send the local
    variables of frames.
    """
    chain: list[BaseException | None] = [error]
    seen: set[int] = set()
    while chain:
        one = chain.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            one.__traceback__ = None
            chain += [one.__cause__, one.__context__]
    return error


def redact_transport_error(
    error: Exception, secrets: Iterable[str | None], request: requests.PreparedRequest | None
) -> str:
    """Return the message of an error of a request, without what the server sent."""
    # The quoted part may begin in the middle of a secret, which cannot be found then.
    text = _QUOTED_ANSWER.sub(rf"\1: {_REDACTED}", str(error))
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
        self._secrets = _Secrets(
            plain_text(s) for s in (*secrets, *_sent(request), *(tokens or ()))
        )
        # Apart from the others, because such a token may be a part of a secret.
        self._named = _Secrets(())

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
        return _REDACTED if len(value) > _MAX_HEADER else self.content(value)

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
        shown = self.url(target)
        path = urlsplit(shown).path if "//" in shown else ""
        return shown.removesuffix(path) + "/".join(map(_without_tokens, path.split("/")))

    def body(self, text: str) -> str:
        """Return the text of a body that is not JSON. It is not shown if it may be a token."""
        if self._strict:
            return _REDACTED if text.strip() else ""
        shown = self.content(text)
        # The tokens that have a name in the text may be in it without one.
        named = (match[2].strip() for match in _TOKEN_IN_TEXT.finditer(text[:_MAX_TEXT]))
        tokens = {token for token in named if len(token) >= _MIN_TOKEN}
        if _are_too_many(tokens):
            return _REDACTED
        self._named = _Secrets(tokens)
        return self._named.hide(shown)

    def document(self, value: Any) -> Any:
        """Return a JSON value without secrets and without anything that looks like a token.

        Structure, numbers and harmless members are kept. If there is too much, nothing is.
        """
        if self._too_many:
            return _REDACTED
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
            return show(value) if value and not hidden else value and _REDACTED
        if isinstance(value, list):
            return [self._walk(item, name, show) for item in value]
        if not isinstance(value, dict):
            # A number of so many digits may be a token.
            return _REDACTED if len(repr(value)) > _MAX_NUMBER else value
        members: dict[str, Any] = {}
        for key, item in value.items():
            shown = show(key) if _NAME.match(key) or not self._strict else _REDACTED
            hidden = item not in (None, "") and _names_token(key)
            members[shown] = _REDACTED if hidden else self._walk(item, key, show)
        return members

    def _contents(self, texts: Sequence[str]) -> list[str]:
        """Return texts as `content` does. They are searched together, which is much faster."""
        if self._too_many:
            return [_REDACTED] * len(texts)
        joined = _BETWEEN.join(text.replace(_BETWEEN, "?") for text in texts)
        # If the text is cut before secrets are found in it, then a half of one may remain at the
        # end. So as much is dropped there as the longest secret needs.
        beyond = max(_MAX_TEXT, _LONGEST_ESCAPE * self._secrets.longest)
        is_cut = len(joined) > _MAX_TEXT + beyond
        joined = self.text(joined[: _MAX_TEXT + beyond])[: -beyond if is_cut else None]
        if is_cut or len(joined) > _MAX_TEXT:
            joined = joined[: joined.rfind(" ", 0, _MAX_TEXT) + 1] + _REDACTED
        shown = joined.split(_BETWEEN)
        if self._secrets.are_scattered(joined):
            shown = [_REDACTED if self._secrets.are_scattered(text) else text for text in shown]
        joined = self._named.hide(_BETWEEN.join(shown))
        joined = (_words_of if self._strict else _without_tokens)(joined)
        shown = joined.split(_BETWEEN)
        return shown + [_REDACTED] * (len(texts) - len(shown))

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
        values = [_REDACTED if _names_token(n) else original.headers[n] for n in names]
        texts = [plain_text(original.reason or ""), *names, *values]
        new.reason, *shown = self._contents(
            [_REDACTED if len(t) > _MAX_HEADER else t for t in texts]
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
            values.append((item, name if _names_token(name) else key))
        elif isinstance(value, list):
            count += len(value)
            if count > _MAX_VALUES:
                return None
            values += [(item, name) for item in value]
        elif isinstance(value, str) and len(value.strip()) >= _MIN_TOKEN:
            unknown = everywhere and name not in _HARMLESS_MEMBERS
            if _names_token(name) or (unknown and _words_of(value[:99]) != value):
                found.add(value.strip())
    return None if _are_too_many(found) else found


def _are_too_many(tokens: set[str]) -> bool:
    """Return whether it would take too long to search for these tokens."""
    return len(tokens) > _MAX_TOKENS or sum(map(len, tokens)) > _MAX_TOKENS_LENGTH


def _names_token(name: str) -> bool:
    """Return whether a member or header of this name contains a token or a secret."""
    return _TOKEN_NAME.search(_NOT_LETTER.sub("", name[-40:].lower())) is not None


def _without_tokens(text: str) -> str:
    """Return a text of an error without anything that looks like a token or is named as one."""
    if any(word in text.lower() for word in ("token", "bearer", "basic", "dpop")):
        text = _TOKEN_IN_TEXT.sub(rf"\1{_REDACTED}", text)
        text = _AFTER_SCHEME.sub(rf"\1{_REDACTED}", text)
    return _LONG_RUN.sub(lambda run: _REDACTED if _looks_random(run[0]) else run[0], text)


def _looks_random(run: str) -> bool:
    """Return whether characters without spaces may be a token, and are no path, name or UUID."""
    run = run if run.isascii() else _without(run, _INVISIBLE)
    if _RANDOM.search(run) or (_RARE.search(run) and _DIGIT.search(run)):
        return True
    if _MIXED.search(run):
        return True
    parts = _PARTS.findall(run)
    return any(len(_CHANGES.findall(p)) > 2 and not _UUID.fullmatch(p) for p in parts)


def _words_of(text: str) -> str:
    """Return a text without everything that is neither short nor an ordinary word."""
    return _RUN.sub(lambda run: _REDACTED if _NOT_A_WORD.search(run[0]) else run[0], text)


def _latin(secret: str) -> str:
    """Return a text as it looks if its UTF-8 is decoded as latin-1."""
    return secret.encode("utf-8", "surrogatepass").decode("latin-1")


def _squeeze(text: str) -> str:
    """Return a text without spaces and without what may be dropped, replaced or escaped."""
    return _without(text, _UNCERTAIN)


def _without(text: str, dropped: bytes) -> str:
    """Return the ASCII characters of a text, except these."""
    return text.encode("ascii", "ignore").translate(None, dropped).decode("ascii")


class _Secrets:
    """What is searched for in a text: the secrets, and how they look when escapes are undone."""

    def __init__(self, secrets: Iterable[str | None]) -> None:
        present = {secret for secret in secrets if secret}
        # http.client decodes UTF-8 in a header as latin-1, and we do so with a body that is not
        # UTF-8.
        present |= {_latin(secret) for secret in present}
        self.unchanged = sorted(present, key=len, reverse=True)
        #: The length of the longest.
        self.longest = max(map(len, present), default=0)
        self._ends_in_backslash = any("\\" in (s[0], s[-1]) for s in present)

    @cached_property
    def _undone(self) -> list[str]:
        """Return what the secrets look like in a text whose escapes were undone."""
        needles = {needle for secret in self.unchanged for needle in _needles(secret)}
        return sorted(needles - {""}, key=len, reverse=True)

    @cached_property
    def _squeezed(self) -> set[str]:
        """Return what the secrets look like in a text that was squeezed."""
        squeezed = map(_squeeze, [*self.unchanged, *self._undone])
        return {secret for secret in squeezed if len(secret) >= _MIN_TOKEN}

    def hide(self, text: str) -> str:
        """Return a text without the secrets, in any spelling."""
        return self.hide_unchanged(self._hide_escaped(text))

    def hide_unchanged(self, text: str) -> str:
        """Return a text without the secrets that are spelled as they are."""
        for secret in self.unchanged:
            text = text.replace(secret, _MARK)
        if self._ends_in_backslash and _MARK in text:
            # One backslash of the secret was found, and those that escape it remain.
            first, *others = text.split(_MARK)
            parts = [first.rstrip("\\"), *(part.strip("\\") for part in others[:-1])]
            text = _MARK.join([*parts, others[-1].lstrip("\\")])
        return text.replace(_MARK, _REDACTED)

    def _hide_escaped(self, text: str) -> str:
        """Return a text with a mark for each secret that is found when escapes are undone."""
        if text.isascii() and not any(character in text for character in "%\\&+"):
            return text
        reading = _Reading(text)
        if not reading.is_complete:
            return _MARK
        found: list[tuple[int, int]] = []
        for needle in self._undone:
            at = reading.text.find(needle)
            while at >= 0:
                if len(found) == _MAX_FOUND:
                    return _MARK
                end = at + len(needle)
                found.append(reading.original(at, end))
                at = reading.text.find(needle, end)
        parts, done = [], 0
        for start, end in sorted(found):
            if start >= done:
                parts += [text[done:start], _MARK]
            done = max(done, end)
        return "".join([*parts, text[done:]])

    def are_scattered(self, text: str) -> bool:
        """Return whether a secret remains in a text, between characters that may be dropped."""
        # Characters that may be dropped can be in an escape, and can be escaped themselves. If they
        # are dropped, an escape may arise that was none. So all these views are searched.
        odd = _ODD_ESCAPE.sub("", text)
        for view in {text, odd, _without(text, _INVISIBLE), _without(odd, _INVISIBLE)}:
            once = _Reading(view)
            twice = _Reading(_without(once.text, _INVISIBLE))
            if not (once.is_complete and twice.is_complete):
                return True
            for squeezed in {_squeeze(view), _squeeze(once.text), _squeeze(twice.text)}:
                if any(secret in squeezed for secret in self._squeezed):
                    return True
        return False


class _Reading:
    """A text after its escapes were undone, and the position of each character in the original.

    An escape is undone in each escape that it contains. Runs of backslashes count as one, ``+``
    counts as a space. Bytes become characters of latin-1, and those the character of UTF-8.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._levels: list[_Level] = []
        self.is_complete = False
        for _ in range(_MAX_LEVELS):
            beginnings = _beginnings(self.text)
            if len(beginnings) > _MAX_ESCAPES:
                break
            level = _Level(self.text, beginnings)
            if not level.ends:
                self.is_complete = True
                break
            self._levels.append(level)
            self.text = level.text
        self.text = self.text.replace("+", " ")

    def original(self, start: int, end: int) -> tuple[int, int]:
        """Return the part of the original text that a part of this text comes from."""
        for level in reversed(self._levels):
            start, end = level.start_before(start), level.end_before(end)
        return start, end


class _Level:
    """A text after one level of escapes was undone.

    For each escape there is where its character begins and ends, in the old and in the new text.
    """

    def __init__(self, text: str, beginnings: list[int]) -> None:
        self.starts: list[int] = []
        self.ends: list[int] = []
        self._old_starts: list[int] = []
        self._old_ends: list[int] = []
        parts, done, length = [], 0, 0
        for at in beginnings:
            escape = _ESCAPE.match(text, at) if at >= done else None
            character = None if escape is None else _undone(escape)
            if escape is None or character is None:
                continue
            parts += [text[done:at], character]
            length += at - done
            done = escape.end()
            self.starts.append(length)
            length += len(character)
            self.ends.append(length)
            self._old_starts.append(at)
            self._old_ends.append(done)
        self.text = "".join([*parts, text[done:]])

    def start_before(self, position: int) -> int:
        """Return where the character at this position begins in the old text."""
        after = bisect_right(self.ends, position)
        old = self._moved(position, after)
        return min(old, self._old_starts[after]) if after < len(self.ends) else old

    def end_before(self, position: int) -> int:
        """Return where the characters before this position end in the old text."""
        after = bisect_right(self.ends, position)
        if after < len(self.ends) and self.starts[after] < position:
            return self._old_ends[after]
        return self._moved(position, after)

    def _moved(self, position: int, after: int) -> int:
        """Return where a position that is behind so many escapes is in the old text."""
        return position + (self._old_ends[after - 1] - self.ends[after - 1] if after else 0)


def _beginnings(text: str) -> list[int]:
    """Return the positions at which an escape may begin, or too many of them."""
    positions: list[int] = []
    for character in "%\\&":
        at = text.find(character)
        while at >= 0 and len(positions) <= _MAX_ESCAPES:
            positions.append(at)
            at = text.find(character, at + 1)
    if not text.isascii():
        found = islice(_UTF_8.finditer(text), _MAX_ESCAPES + 1)
        positions += [match.start() for match in found]
    return sorted(positions)


def _undone(escape: re.Match[str]) -> str | None:
    """Return what an escape stands for, None if it is none."""
    kind, value = escape.lastgroup, escape[escape.lastgroup or 0]
    if kind == "plain":
        return value
    if kind == "control":
        return _CONTROLS[value]
    if kind == "entity":
        character = html.entities.html5.get(value)
    elif kind == "utf8":
        character = _decoded_again(value)
    elif kind == "low":
        high, low = int(escape["high"], 16), int(value, 16)
        character = chr(0x10000 + ((high & 0x3FF) << 10) + (low & 0x3FF))
    else:
        code = int(value, 10 if kind == "decimal" else 16)
        character = chr(code) if code < 0x110000 else None
    if character is None and "&amp;" in escape[0]:
        return "&" + escape[0].replace("amp;", "")[1:]
    return character


def _decoded_again(text: str) -> str | None:
    """Return the character whose UTF-8 was decoded as latin-1, None if there is none."""
    try:
        return text.encode("latin-1").decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return None


def _needles(secret: str) -> Iterator[str]:
    """Yield what a secret looks like in a text whose escapes were undone."""
    for form in {secret, _latin(secret)}:
        # A character before the secret may make an escape of its beginning, and its end may be
        # the beginning of one.
        openers = ["", *(c for c, begins in _OPENERS if len(form) >= 8 and begins.match(form))]
        for before in openers:
            reading = _Reading(before + form)
            # If it is not complete, then no text that contains the secret is.
            if reading.is_complete:
                text = reading.text.removeprefix(before) if before != "%4" else reading.text[1:]
                yield text
                yield _HALF_ESCAPE.sub("", text) if len(text) > 8 else text
