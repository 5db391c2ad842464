"""The methods that send the client secret itself, and the one without any credential."""

from __future__ import annotations

import base64
from urllib.parse import quote

from ..errors import ConfigurationError
from ..values import frozen
from .attempt import Attempt, hashed


@frozen
class ClientSecretBasic:
    """Id and secret in ``Authorization: Basic`` (RFC 6749 section 2.3.1), the default.

    Both are form-encoded first, as the RFC requires. A space becomes ``%20``, so servers that only
    percent-decode can read it too. ``encode=False`` sends both unencoded, for servers that decode
    nothing.
    """

    encode: bool = True
    name = "client_secret_basic"
    needs_secret = True
    cert = None

    def __post_init__(self) -> None:
        if not isinstance(self.encode, bool):  # not shown: it may be the secret
            raise ConfigurationError(
                "encode of ClientSecretBasic must be True or False. The client_secret is an"
                " argument of the session."
            )

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
        """Return a digest of the secret and the option."""
        return hashed(self.name, client_secret, self.encode)


@frozen
class ClientSecretPost:
    """Id and secret in the body (RFC 6749 section 2.3.1), for servers that do not accept Basic."""

    name = "client_secret_post"
    needs_secret = True
    cert = None

    def authenticate(self, attempt: Attempt) -> None:
        """Add ``client_id`` and ``client_secret`` to the body."""
        secret = attempt.secret("ClientSecretPost")
        attempt.params += [("client_id", attempt.client_id), ("client_secret", secret)]

    def fingerprint(self, client_secret: str | None) -> bytes:
        """Return a digest of the secret."""
        return hashed(self.name, client_secret)


@frozen
class NoClientAuth:
    """The ``client_id`` alone, for a client without credentials."""

    name = "none"
    needs_secret = False
    cert = None

    def authenticate(self, attempt: Attempt) -> None:
        """Add ``client_id`` to the body."""
        attempt.params.append(("client_id", attempt.client_id))

    def fingerprint(self, client_secret: str | None) -> bytes:
        """Return a digest of the method's name: there is no credential."""
        return hashed(self.name)
