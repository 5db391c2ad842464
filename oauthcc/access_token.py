"""An access token as an immutable value whose ``repr`` does not show the token."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from .frames import hide_locals
from .values import field, frozen

_NO_MEMBERS: Mapping[str, Any] = MappingProxyType({})


@frozen
class Token:
    """An access token and the other members of the token response (RFC 6749 section 5.1).

    ``issued_at`` and ``expires_at`` are seconds since the epoch. ``issued_at`` is the time of the
    token request, not of the response, so the token is never used for longer than it is valid.
    ``expires_at`` is None if the server gave no usable lifetime. ``scope`` is the scope that the
    server granted, or the requested scope if the response has none. ``extra`` holds all other
    members of the response. Whether a token counts as expired is decided in tokens/renewal.py.
    """

    access_token: str = field(repr=False)
    token_type: str = "Bearer"
    issued_at: float = 0.0
    expires_at: float | None = None
    scope: str | None = None
    extra: Mapping[str, Any] = field(
        # A factory: before Python 3.12, dataclasses reject the proxy as a mutable default.
        default_factory=lambda: _NO_MEMBERS,
        repr=False,
        compare=False,
    )

    @property
    def lifetime(self) -> float | None:
        """Return the lifetime in seconds, or None if it is unknown."""
        return None if self.expires_at is None else self.expires_at - self.issued_at

    def __reduce__(self) -> tuple[Any, ...]:
        return Token.from_dict, (self.to_dict(),)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, with the token itself: for stores, not for logs."""
        return {
            "access_token": self.access_token,
            "token_type": self.token_type,
            "issued_at": self.issued_at,
            "expires_at": self.expires_at,
            "scope": self.scope,
            "extra": dict(self.extra),
        }

    @classmethod
    @hide_locals
    def from_dict(cls, values: Mapping[str, Any]) -> Token:
        """Create a token from the result of `to_dict`; raise ValueError for anything else."""
        try:
            access_token, token_type = values["access_token"], values["token_type"]
            issued_at, expires_at = values["issued_at"], values["expires_at"]
            scope, extra = values["scope"], values["extra"]
        except (KeyError, TypeError):
            raise ValueError("not a stored token") from None
        texts_fit = isinstance(access_token, str) and isinstance(token_type, str) and access_token
        times_fit = _is_time(issued_at) and (expires_at is None or _is_time(expires_at))
        rest_fits = isinstance(extra, dict) and (scope is None or isinstance(scope, str))
        if not (texts_fit and times_fit and rest_fits):
            raise ValueError("not a stored token")
        return cls(access_token, token_type, issued_at, expires_at, scope, MappingProxyType(extra))


def _is_time(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e15
