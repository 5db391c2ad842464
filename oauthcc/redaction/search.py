"""How secrets are found in a text, in each spelling in which they are sent or quoted.

A text is searched for a whole secret by ``str.find`` and ``str.replace`` only, and never by a
pattern that is made of a secret, because those take a time that is linear in the size of the text.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from html.entities import html5
from itertools import islice

from ..forks import computed_once
from .header import REDACTED

#: Noncharacters of Unicode: no other text contains them. The first takes the place of a secret
#: until all secrets are replaced, the second is between texts that are searched together.
_MARK, BETWEEN = "\ufdd0", "\ufdd1"
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
ODD_ESCAPE = re.compile(
    r"\\(?:[bfnrt]|u(?!00[2-7])[0-9A-Fa-f]{4}|x(?![2-7])[0-9A-Fa-f]{2})|%(?![2-7])[0-9A-Fa-f]{2}"
)
#: A tag of HTML or XML, which an error may leave out.
TAG = re.compile(r"<[^<>]*>")
#: Backslashes at the beginning of a text, in any spelling.
_BACKSLASHES = re.compile(
    r"\A(?:\\{1,8}(?:x|u00)5[Cc]|\\|%(?:25){0,8}5[Cc]|&(?:amp;){0,8}(?:bsol|#92|#[xX]5[Cc]);)+"
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
INVISIBLE = bytes([*range(0x21), 0x7F])
_UNCERTAIN = INVISIBLE + b"\"\\+'"
#: A shorter text between other characters is not taken for a secret.
MIN_TOKEN = 6


def redact(text: str, secrets: Iterable[str | None]) -> str:
    """Replace secrets in a text by ``***``, in each spelling in which they are sent or quoted.

    The spellings are: unchanged, form-encoded or percent-encoded (once or more often), escaped as
    in JSON, HTML or ``repr``, and decoded as latin-1. Call this before a text is cut. Otherwise
    the first half of a secret can remain at its end. A text with thousands of escapes is replaced
    as a whole.
    """
    return Secrets(secrets).hide(text)


def redact_error(error: Exception, tokens: Iterable[str]) -> None:
    """Remove tokens from the message of an error, in place, and its causes if one quotes a token.

    A transport error can quote what a broken server echoed.
    """
    text = redacted_message(error, tokens)
    if text is not None:
        error.args = (text,)
        error.__cause__ = error.__context__ = None


def redacted_message(error: Exception, tokens: Iterable[str]) -> str | None:
    """Return the message without tokens, or None if it and those that led to it quote none."""
    known, chain = Secrets(tokens), list[BaseException]()
    one: BaseException | None = error
    while one is not None and one not in chain:
        chain.append(one)
        one = one.__cause__ or one.__context__
    texts = [str(one) for one in chain]
    return None if all(known.hide(text) == text for text in texts) else known.hide(texts[0])


class Secrets:
    """What is searched for in a text: the secrets, and how they look when escapes are undone."""

    def __init__(self, secrets: Iterable[str | None]) -> None:
        present = {secret for secret in secrets if secret}
        # http.client decodes UTF-8 in a header as latin-1, and we do so with a body that is not
        # UTF-8.
        present |= {_latin(secret) for secret in present}
        self.unchanged: list[str] = sorted(present, key=len, reverse=True)
        #: The length of the longest.
        self.longest: int = max(map(len, present), default=0)
        self._ends_in_backslash = any("\\" in (s[0], s[-1]) for s in present)

    @computed_once
    def _undone(self) -> list[str]:
        """Return what the secrets look like in a text whose escapes were undone."""
        needles = {needle for secret in self.unchanged for needle in _needles(secret)}
        return sorted(needles - {""}, key=len, reverse=True)

    @computed_once
    def _squeezed(self) -> set[str]:
        """Return what the secrets look like in a text that was squeezed."""
        # An escape may arise in a secret too, if characters are dropped.
        joined = [_Reading(without(secret, INVISIBLE)).text for secret in self.unchanged]
        squeezed = map(_squeeze, [*self.unchanged, *self._undone, *joined])
        return {secret for secret in squeezed if len(secret) >= MIN_TOKEN}

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
            parts = [first, *(_BACKSLASHES.sub("", part) for part in others)]
            text = _MARK.join([*(part.rstrip("\\") for part in parts[:-1]), parts[-1]])
        return text.replace(_MARK, REDACTED)

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
        odd, bare = ODD_ESCAPE.sub("", text), TAG.sub("", text)
        for view in {text, odd, bare, without(text, INVISIBLE), without(odd, INVISIBLE)}:
            once = _Reading(view)
            twice = _Reading(without(once.text, INVISIBLE))
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

    For each escape it has the start and the end of the character, in the old and in the new text.
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
        character = html5.get(value)
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
    # A character before the secret may make an escape of its beginning, and its end may be the
    # beginning of one.
    openers = ["", *(c for c, begins in _OPENERS if len(secret) >= 8 and begins.match(secret))]
    for before in openers:
        reading = _Reading(before + secret)
        # If it is not complete, then no text that contains the secret is.
        if reading.is_complete:
            text = reading.text.removeprefix(before) if before != "%4" else reading.text[1:]
            yield text
            yield _HALF_ESCAPE.sub("", text) if len(text) > 8 else text


def _latin(secret: str) -> str:
    """Return a text as it looks if its UTF-8 is decoded as latin-1."""
    return secret.encode("utf-8", "surrogatepass").decode("latin-1")


def _squeeze(text: str) -> str:
    """Return a text without spaces and without what may be dropped, replaced or escaped."""
    return without(text, _UNCERTAIN)


def without(text: str, dropped: bytes) -> str:
    """Return the ASCII characters of a text, except these."""
    return text.encode("ascii", "ignore").translate(None, dropped).decode("ascii")
