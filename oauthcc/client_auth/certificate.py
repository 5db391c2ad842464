"""The methods that authenticate the client by its TLS certificate (RFC 8705 section 2)."""

from __future__ import annotations

import os
import ssl
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from ..errors import ConfigurationError
from ..frames import hide_locals
from ..secret import absolute, at_construction, read_file
from ..values import frozen
from .attempt import Attempt, hashed

if TYPE_CHECKING:
    from dataclasses import KW_ONLY

#: How long a request waits for the file of a certificate that is being replaced, in seconds.
PATIENCE = 1.0


@hide_locals
@frozen
class TLSClientAuth:
    """Authentication by a client certificate in the TLS handshake (RFC 8705 section 2).

    ``cert`` has the form that requests accepts: the path of a PEM file that holds the certificate
    and the private key, or a tuple of their two paths. The key must not be encrypted. With
    ``self_signed=True`` the server knows the certificate itself (section 2.2), otherwise its
    subject and a CA (section 2.1). Raises ConfigurationError if TLS cannot use the files.
    """

    cert: str | tuple[str, str]
    _: KW_ONLY
    self_signed: bool = False
    needs_secret = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "cert", _normalised(self.cert))
        at_construction(lambda: self.fingerprint(None))
        _check(*self._paths())

    @property
    def name(self) -> str:
        """Return ``tls_client_auth`` or ``self_signed_tls_client_auth``."""
        return "self_signed_tls_client_auth" if self.self_signed else "tls_client_auth"

    def authenticate(self, attempt: Attempt) -> None:
        """Add ``client_id`` to the body, as RFC 8705 section 2 requires."""
        attempt.params.append(("client_id", attempt.client_id))

    def fingerprint(self, client_secret: str | None) -> bytes:
        """Return a digest of the current certificate and key."""
        return hashed(self.name, *(read_file(path, "client certificate") for path in self._paths()))

    def _paths(self) -> list[Path]:
        return [Path(path) for path in ([self.cert] if isinstance(self.cert, str) else self.cert)]


def wait_for_files(method: object) -> None:
    """Wait until the files of a client certificate are there, for a second at most.

    requests raises an error if one is missing, even if the request needs no new connection. A file
    that is deleted and written anew is missing for a moment.
    """
    if not isinstance(method, TLSClientAuth):
        return  # only its author knows what it names
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and not all(path.exists() for path in method._paths()):
        time.sleep(0.01)


def _normalised(cert: object) -> str | tuple[str, str]:
    """Return the absolute path or paths; raise ConfigurationError for any other value."""
    match [cert] if isinstance(cert, (str, os.PathLike)) else cert:
        case [str() | os.PathLike() as one] if os.fspath(one):
            return str(absolute(one))
        case [str() | os.PathLike() as one, str() | os.PathLike() as other]:
            return str(absolute(one)), str(absolute(other))
    raise ConfigurationError(
        "The client certificate must be the path of a PEM file with certificate and private key, or"
        " a tuple of two paths: (certificate, key)."
    )


def _check(certificate: Path, key: Path | None = None) -> None:
    """Load both files as the connection will; raise ConfigurationError if that fails."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, _no_password)
    except (ssl.SSLError, FileNotFoundError) as error:  # a file may be gone since it was read
        place = "the same file" if key is None else repr(str(key))
        hint = "; for a key in a file of its own give TLSClientAuth((certificate, key))"
        raise ConfigurationError(
            f"TLS cannot use the client certificate: {str(certificate)!r} must hold it, and {place}"
            f" the private key that belongs to it, both in PEM{hint if key is None else ''}."
        ) from error


def _no_password() -> NoReturn:
    # Without this, OpenSSL would ask for a password on the terminal.
    raise ConfigurationError(
        "The private key of the client certificate is encrypted, and requests takes no password"
        " for it: decrypt it (openssl pkey -in key.pem -out plain.pem)."
    )
