"""The header that shows no token in its `repr`."""

from __future__ import annotations

import re
from typing import Any

REDACTED = "***"
# Only an ordinary word: there may be no scheme, and then a token with a space begins the header.
_SCHEME_AND_REST = re.compile(r"([A-Za-z][A-Za-z-]{0,19}) +[^ ]")


class SecretHeader(str):
    """A header value whose `repr` is ``'Bearer ***'``, also in the `repr` of a mapping of headers.

    A pickle contains only ``Bearer ***``. Everything else gives the true value, as any text does:
    ``str()``, ``format()``, ``encode()``, comparison, joining. What is handed over to an adapter is
    an exact ``str``; this class takes its place afterwards, on ``response.request`` and on errors.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        scheme = _SCHEME_AND_REST.match(self)
        return repr(f"{scheme[1]} {REDACTED}" if scheme else REDACTED)

    def __copy__(self) -> SecretHeader:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> SecretHeader:
        return self

    def __reduce_ex__(self, protocol: object) -> tuple[type[SecretHeader], tuple[str]]:
        return SecretHeader, (repr(self)[1:-1],)


def plain_text(text: str | bytes) -> str:
    """Return the true characters of a text that may be bytes or a `SecretHeader`."""
    octets = text if isinstance(text, bytes) else text.encode("utf-8", "ignore")
    return octets.decode("utf-8", "replace")
