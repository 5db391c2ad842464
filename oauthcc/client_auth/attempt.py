"""One attempt at the token endpoint, and what a method of client authentication is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from ..errors import ConfigurationError, TokenError

T = TypeVar("T")


@dataclass(slots=True)
class Attempt:
    """Gather what one attempt at the token endpoint sends to prove who the client is.

    ``client_secret`` is what was read for this token request. ``audience`` names the server in an
    assertion: the issuer where one was discovered, else the token URL. A method adds to
    ``headers`` and ``params`` (the body), and to ``secrets`` whatever no message may show.
    """

    client_id: str
    client_secret: str | None = field(repr=False)
    audience: str
    headers: dict[str, str] = field(repr=False)
    params: list[tuple[str, str]] = field(repr=False)
    secrets: list[str] = field(repr=False)

    def secret(self, method: str) -> str:
        """Return the client secret, and note it as one; raise ConfigurationError without one."""
        if self.client_secret is None:
            raise ConfigurationError(f"{method} needs a client_secret.")
        self.secrets.append(self.client_secret)
        return self.client_secret


class ClientAuth(Protocol):
    """Say how the client proves who it is (RFC 6749 section 2.3)."""

    @property
    def name(self) -> str:
        """Return the name of the method in IANA's registry."""
        raise NotImplementedError

    @property
    def needs_secret(self) -> bool:
        """Say whether the method needs a client secret; one that does not takes none."""
        raise NotImplementedError

    @property
    def cert(self) -> str | tuple[str, str] | None:
        """Return the client certificate for TLS as requests takes it, or None."""
        raise NotImplementedError

    def authenticate(self, attempt: Attempt) -> None:
        """Add to an attempt what proves the client; called anew for every attempt.

        Raise TokenError where that cannot be had now, ConfigurationError where it never can.
        """
        raise NotImplementedError

    def fingerprint(self, client_secret: str | None) -> bytes:
        """Return octets that change whenever what proves the client does: secret, key, options.

        They show none of it. Files are read and callables called anew; raise as `authenticate`.
        """
        raise NotImplementedError


def hashed(*parts: object) -> bytes:
    """Hash texts, octets, numbers and mappings to 32 octets, unambiguously."""
    return hashlib.sha256(json.dumps(parts, skipkeys=True, default=_plain).encode()).digest()


def at_construction(read: Callable[[], T]) -> T:
    """Do now what a token request will do; what cannot be had now is a configuration error."""
    try:
        return read()
    except TokenError as error:
        raise ConfigurationError(str(error)) from error.__cause__


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    return bytes.hex(value) if isinstance(value, bytes) else type(value).__name__
