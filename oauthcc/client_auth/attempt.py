"""One attempt at the token endpoint, and the interface of client authentication methods."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Protocol

from ..errors import ConfigurationError
from ..values import field, mutable


@mutable
class Attempt:
    """The headers and body parameters that authenticate the client in one token request.

    ``client_secret`` was read for this token request. ``audience`` is the name of the server in an
    assertion: the issuer if one was discovered, else the token URL. A method of client
    authentication adds to ``headers`` and to ``params`` (the body). It adds every text that no
    message may show to ``secrets``.
    """

    client_id: str
    client_secret: str | None = field(repr=False)
    audience: str
    headers: dict[str, str] = field(repr=False)
    params: list[tuple[str, str]] = field(repr=False)
    secrets: list[str] = field(repr=False)

    def secret(self, method: str) -> str:
        """Return the client secret and add it to ``secrets``.

        Raise ConfigurationError if there is none. ``method`` is the name in the message.
        """
        if self.client_secret is None:
            raise ConfigurationError(f"{method} needs a client_secret.")
        self.secrets.append(self.client_secret)
        return self.client_secret


class ClientAuth(Protocol):
    """A method of client authentication at the token endpoint (RFC 6749 section 2.3)."""

    @property
    def name(self) -> str:
        """Return the name of the method in the registry of IANA."""
        raise NotImplementedError

    @property
    def needs_secret(self) -> bool:
        """Return whether the method needs a client secret. If not, it accepts none."""
        raise NotImplementedError

    @property
    def cert(self) -> str | tuple[str, str] | None:
        """Return the TLS client certificate in the form that requests accepts, or None."""
        raise NotImplementedError

    def authenticate(self, attempt: Attempt) -> None:
        """Add the client's credentials to the attempt. Called again for every attempt.

        Raise TokenError if a credential cannot be read now. Raise ConfigurationError if it can
        never be used.
        """
        raise NotImplementedError

    def fingerprint(self, client_secret: str | None) -> bytes:
        """Return octets that change whenever the secret, the key or an option changes.

        They do not reveal the secret or key. Files are read and callables are called again. Raise
        the same errors as `authenticate`.
        """
        raise NotImplementedError


def hashed(*parts: object) -> bytes:
    """Return a SHA-256 digest of strings, octets, numbers and mappings, without ambiguity."""
    return hashlib.sha256(json.dumps(parts, skipkeys=True, default=_plain).encode()).digest()


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    return bytes.hex(value) if isinstance(value, bytes) else type(value).__name__
