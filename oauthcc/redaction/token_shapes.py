"""What looks like a token, whatever its name is, in an answer that is an error."""

from __future__ import annotations

import re

from .header import REDACTED
from .search import BETWEEN, INVISIBLE, ODD_ESCAPE, without

_TOKEN_NAME = re.compile(
    r"(?:token|jwt|ticket|secret|password|passwd|assertion|apikey|saml|sessionid|cookie)\Z"
)
_SECRET_ENDS = (
    *("key", "passphrase", "passcode", "pwd", "pin", "otp"),
    *("credential", "credentials", "signature"),
)
_NOT_LETTER = re.compile(r"[^a-z]+")
_TOKEN_IN_TEXT = re.compile(
    r"((?:access|refresh|id)[_-]?token[\"'\\]*\s*[:=>]\s*[\"'\\]*)"
    rf"((?:[^\"'\\<&{BETWEEN}]|\\+[^\"'\\{BETWEEN}])+)",
    re.IGNORECASE,
)
# The name of an element of XML and its text.
_ELEMENT = re.compile(r"<([A-Za-z_][\w:.-]*)[^<>]*>?\s*(?:<!\[CDATA\[)?([^<]*)")
_AFTER_SCHEME = re.compile(
    r"\b((?i:bearer|basic|dpop|token)(?:\s|%20|\+|[:=\"'\\])+)"
    r"(?![A-Za-z]?[a-z_-]{0,18}[.=]?(?![A-Za-z0-9\-._~+/=]))[A-Za-z0-9\-._~+/=]{4,}"
)
#: With escapes and with what is not ASCII, which may be dropped when the text is shown.
_LONG_RUN = re.compile(rf"[^\t-\r !-$&-*,:-<>?@\[\]^`{{-}}{BETWEEN}]{{16,}}")
_RUN = re.compile(rf"[^\t-\r \"'<>()\[\]{{}},;{BETWEEN}]{{8,}}")
_RANDOM = re.compile(r"eyJ|[A-Za-z]{32}|(?:[0-9][-_]?){20}")
_DIGIT, _RARE = re.compile(r"[0-9]"), re.compile(r"[~+=]")
#: Only for what has no 32 letters in a row: otherwise it would look at each of them many times.
_MIXED = re.compile(
    r"(?=[A-Za-z]*[0-9])[A-Za-z0-9]{24}"
    r"|(?=[a-z0-9]{0,19}[A-Z])(?=[A-Z0-9]{0,19}[a-z])(?=[A-Za-z]{0,19}[0-9])[A-Za-z0-9]{20}"
)
_PARTS = re.compile(r"[A-Za-z0-9_-]{12,}")
_CHANGES = re.compile(r"(?<=[A-Za-z])(?=[0-9])|(?<=[0-9])(?=[A-Za-z])")
_NOT_A_WORD = re.compile(r"[0-9~+=%]|[^\x00-\x7f]|[A-Za-z]{21}|eyJ")
_UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\.?")


def names_token(name: str) -> bool:
    """Return whether a member or header of this name contains a token or a secret."""
    return _TOKEN_NAME.search(_NOT_LETTER.sub("", name[-40:].lower())) is not None


def names_secret(name: str) -> bool:
    """Return whether a parameter or header of this name, in a request of ours, is a secret."""
    return names_token(name) or name.lower().endswith(_SECRET_ENDS)


def named_in(text: str) -> set[str]:
    """Return what has the name of a token in a text that is not JSON."""
    found = [match[2] for match in _TOKEN_IN_TEXT.finditer(text)]
    if hidden := _hidden_elements(text):
        found += [match[2] for match in _ELEMENT.finditer(text) if match[1] in hidden]
    return {value.partition("]]>")[0].strip() for value in found}


def without_elements(text: str) -> str:
    """Return a text without the content of elements of XML that have the name of a token."""
    hidden = _hidden_elements(text)

    def hide(match: re.Match[str]) -> str:
        return f"<{match[1]}>{REDACTED}" if match[1] in hidden else match[0]

    return _ELEMENT.sub(hide, text) if hidden else text


def _hidden_elements(text: str) -> set[str]:
    """Return the names of tokens among those of elements, each of which is looked at once."""
    return {name for name in {match[1] for match in _ELEMENT.finditer(text)} if names_token(name)}


def without_tokens(text: str) -> str:
    """Return a text of an error without anything that looks like a token or is named as one."""
    if any(word in text.lower() for word in ("token", "bearer", "basic", "dpop")):
        text = _TOKEN_IN_TEXT.sub(rf"\1{REDACTED}", text)
        text = _AFTER_SCHEME.sub(rf"\1{REDACTED}", text)
    return _LONG_RUN.sub(lambda run: REDACTED if looks_random(run[0]) else run[0], text)


def looks_random(run: str) -> bool:
    """Return whether characters without spaces may be a token, and are no path, name or UUID."""
    plain = without(ODD_ESCAPE.sub("", run), INVISIBLE)  # as they look if these are dropped
    return _is_random(run) or (plain != run and _is_random(plain))


def _is_random(run: str) -> bool:
    if _RANDOM.search(run) or (_RARE.search(run) and _DIGIT.search(run)):
        return True
    if _MIXED.search(run):
        return True
    parts = _PARTS.findall(run)
    return any(len(_CHANGES.findall(p)) > 2 and not _UUID.fullmatch(p) for p in parts)


def words_of(text: str) -> str:
    """Return a text without everything that is neither short nor an ordinary word."""
    return _RUN.sub(lambda run: REDACTED if _NOT_A_WORD.search(run[0]) else run[0], text)
