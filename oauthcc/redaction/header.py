"""The header that shows no token."""

from __future__ import annotations

import re
from typing import Any

REDACTED = "***"
_SCHEME_AND_REST = re.compile(r"([A-Za-z][A-Za-z0-9-]{0,31}) ")


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
        return f"{scheme[1]} {REDACTED}" if scheme else REDACTED

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
