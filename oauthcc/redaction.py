"""Everything that keeps secrets and tokens out of texts, errors and logs.

Rule of this module: whatever hides a secret or a token is here, so that one file shows whether any
of them can appear in a log line, a ``repr``, a message or the pickle of an error.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable
from typing import Any

from .access_token import Token
from .errors import InvalidTokenResponse

_PIECE = re.compile(r"\\+|.", re.DOTALL)
_REDACTED = "***"
_SCHEME_AND_REST = re.compile(r"([A-Za-z][A-Za-z0-9-]{0,31}) ")


class SecretHeader(str):
    """Carry a header value that is right on the wire and hidden everywhere else.

    ``encode()``, comparison, hashing, slicing, joining and adding work on the true value: that is
    all that requests, urllib3 and http.client do with it. ``repr()``, ``str()``, ``format()``,
    ``"%s"`` and pickle give ``Bearer ***``. To read the true value: ``value.encode().decode()``.
    What cannot be hidden from inside a ``str``: ``"".join([value])``, ``"" + value`` and
    ``json.dumps(value)``, which look at the characters without asking.
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


def authorization_value(scheme: str, token: Token) -> SecretHeader:
    """Return the value of ``Authorization``; raise InvalidTokenResponse where it cannot be sent."""
    # RFC 6749 appendix A.12. http.client would quote the token in its ValueError; one from a
    # shared store has not come through the gate.
    text = token.access_token
    if not (text.isascii() and text.isprintable()):
        raise InvalidTokenResponse("The access token holds characters that no header can carry.")
    return SecretHeader(f"{scheme} {text}")


def redact(text: str, secrets: Iterable[str | None]) -> str:
    """Replace secrets in a text by ``***``, in each of the spellings in which they travel.

    Those are: as they are, form- or percent-encoded (once or more often), escaped as in JSON, HTML
    or ``repr``, and read as latin-1.
    Call it before a text is cut, or the first half of a secret stays at the end.
    """
    present = sorted({secret for secret in secrets if secret}, key=len, reverse=True)
    if not present:
        return text
    spellings = ("".join(map(_spelling, _PIECE.findall(secret))) for secret in present)
    return re.sub("|".join(spellings), "***", text)


def _spelling(piece: str) -> str:
    """Return the pattern of all spellings of one character, or of a run of backslashes.

    Nobody encodes the same set of characters, and an error that quotes an error doubles each
    backslash. http.client makes latin-1 of everything.
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
