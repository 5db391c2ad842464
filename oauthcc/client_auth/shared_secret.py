"""The methods that show the client secret itself, and the one that proves nothing."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from urllib.parse import quote

from ..errors import ConfigurationError
from .attempt import Attempt, hashed


@dataclass(frozen=True, slots=True)
class ClientSecretBasic:
    """Send id and secret in ``Authorization: Basic`` (RFC 6749 section 2.3.1), the default.

    Both are form-encoded first, as the RFC asks, with ``%20`` for a space, which servers that
    merely unquote read too. ``encode=False`` sends them as they are, for servers that want that.
    """

    encode: bool = True
    name = "client_secret_basic"
    needs_secret = True
    cert = None

    def authenticate(self, attempt: Attempt) -> None:
        """Set the header ``Authorization``."""
        client_id, secret = attempt.client_id, attempt.secret("ClientSecretBasic")
        if self.encode:
            client_id, secret = quote(client_id, safe=""), quote(secret, safe="")
        elif ":" in client_id:
            raise ConfigurationError(
                "A client_id with a colon cannot be sent by ClientSecretBasic(encode=False) (RFC"
                " 7617 section 2): use ClientSecretPost."
            )
        credentials = base64.b64encode(f"{client_id}:{secret}".encode()).decode()
        attempt.secrets.append(credentials)
        attempt.headers["Authorization"] = f"Basic {credentials}"

    def fingerprint(self, client_secret: str | None) -> bytes:
        """Hash the secret and the option."""
        return hashed(self.name, client_secret, self.encode)


@dataclass(frozen=True, slots=True)
class ClientSecretPost:
    """Send id and secret in the body (RFC 6749 section 2.3.1), for servers without Basic."""

    name = "client_secret_post"
    needs_secret = True
    cert = None

    def authenticate(self, attempt: Attempt) -> None:
        """Add ``client_id`` and ``client_secret`` to the body."""
        secret = attempt.secret("ClientSecretPost")
        attempt.params += [("client_id", attempt.client_id), ("client_secret", secret)]

    def fingerprint(self, client_secret: str | None) -> bytes:
        """Hash the secret."""
        return hashed(self.name, client_secret)


@dataclass(frozen=True, slots=True)
class NoClientAuth:
    """Send the ``client_id`` alone, for a client that has nothing to prove itself with."""

    name = "none"
    needs_secret = False
    cert = None

    def authenticate(self, attempt: Attempt) -> None:
        """Add ``client_id`` to the body."""
        attempt.params.append(("client_id", attempt.client_id))

    def fingerprint(self, client_secret: str | None) -> bytes:
        """Hash the name alone: nothing proves this client."""
        return hashed(self.name)
