"""Read `WWW-Authenticate` (RFC 9110 section 11.6.1).

What a server writes there is not ours to complain about: nothing here raises, what cannot be read
is left out, and the work grows with the length of the text and no faster. Every pattern below is
one run of characters that cannot match in two ways, and the reader only ever moves forward.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TOKEN68 = re.compile(r"[0-9A-Za-z._~+/-]+=*")
_SPACE = re.compile(r"\s*")
_QUOTED = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)
_UNQUOTED = re.compile(r'[^\s,"]*')
_UP_TO_COMMA_OR_QUOTE = re.compile(r'[^,"]*')
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Challenge:
    """Hold one challenge: the scheme as it was sent, and its token68 or its parameters.

    It has both only where a server wrote `name=` without a value first. Parameter names are in
    lower case; of a repeated parameter the first is kept. Scheme names are case-insensitive:
    compare `scheme.lower()`.
    """

    scheme: str
    token68: str | None = None
    params: Mapping[str, str] = field(default_factory=dict)


def parse_challenges(value: str) -> tuple[Challenge, ...]:
    """Read all challenges of a field value, also of several fields joined by commas.

    Never raises. Missing or stray commas, spaces around `=` and unquoted values with characters
    that want quotes are forgiven; other junk is skipped up to the next comma.
    """
    return tuple(_Reader(value).read())


def find_error(value: str | None, schemes: Collection[str] = ("bearer",)) -> str | None:
    """Give the `error` parameter of the first challenge of these schemes (RFC 6750 section 3).

    None where there is no header, no such challenge, or no error in it.
    """
    wanted = {scheme.lower() for scheme in schemes}
    for challenge in parse_challenges(value or ""):
        if challenge.scheme.lower() in wanted:
            return challenge.params.get("error")
    return None


class _Reader:
    """Walk through a field value once, from left to right."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.found: list[Challenge] = []
        # The parameters of the challenge being read; None where there can be no more.
        self.params: dict[str, str] | None = None
        # False once a string was never closed: after that a quote is junk like any other.
        self.strings = True

    def read(self) -> list[Challenge]:
        """Read item by item: a scheme, a parameter, or junk."""
        after_comma = True
        while self.at < len(self.text):
            self.take(_SPACE)
            if self.peek() == ",":
                self.at += 1
                after_comma = True
            elif name := self.take(_TOKEN):
                self.item(name, after_comma=after_comma)
                after_comma = False
            else:
                self.skip()
        return self.found

    def item(self, name: str, *, after_comma: bool) -> None:
        """Read what follows a token; alone, and not after a comma, it is a stray word."""
        end = self.at
        self.take(_SPACE)
        if self.peek() == "=":
            self.at += 1
            self.param(name.lower())
        elif after_comma:
            token68 = self.token68() if self.at > end else None
            params: dict[str, str] = {}
            # What looks like a token68 that ends in one "=" may be a parameter without a value.
            self.params = params if token68 is None or token68.count("=") == 1 else None
            self.found.append(Challenge(name, token68, params))

    def token68(self) -> str | None:
        """Read a token68, which nothing but a comma may follow; else stay where we are."""
        start = self.at
        value = self.take(_TOKEN68)
        self.take(_SPACE)
        if value and self.peek() in ("", ","):
            return value
        self.at = start
        return None

    def param(self, name: str) -> None:
        self.take(_SPACE)
        value = self.quoted() if self.peek() == '"' else self.take(_UNQUOTED) or None
        if value is None:
            self.skip()
        elif self.params is not None:
            self.params.setdefault(name, value)

    def quoted(self) -> str | None:
        """Read a quoted string without quotes and escapes; None for one never closed."""
        start = self.at
        if not self.strings:
            return None
        body = self.take(_QUOTED)
        if self.peek() == '"':
            self.at += 1
            return _ESCAPED.sub(r"\1", body[1:])
        self.at = start
        self.strings = False
        return None

    def skip(self) -> None:
        """Go to the next comma that is not in a string."""
        while self.peek() not in ("", ","):
            self.take(_UP_TO_COMMA_OR_QUOTE)
            if self.peek() == '"' and self.quoted() is None:
                self.at += 1

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        taken = match[0] if match else ""
        self.at += len(taken)
        return taken
