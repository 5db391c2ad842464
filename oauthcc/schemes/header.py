"""A header value that holds a token or a proof, and shows neither."""

from __future__ import annotations

import re
from typing import Any

from ..access_token import Token
from ..errors import InvalidTokenResponse

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


def credentials(scheme: str, token: Token) -> SecretHeader:
    """Return the value of ``Authorization``; raise InvalidTokenResponse where it cannot be sent."""
    # RFC 6749 appendix A.12. http.client would quote the token in its ValueError; one from a
    # shared store has not come through the gate.
    text = token.access_token
    if not (text.isascii() and text.isprintable()):
        raise InvalidTokenResponse("The access token holds characters that no header can carry.")
    return SecretHeader(f"{scheme} {text}")
