"""X.509 certificates in the header of a signed token (RFC 7515 section 4.1)."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from ..errors import ConfigurationError
from .formats import require_pyjwt


def certificate_headers(material: object) -> dict[str, Any]:
    """Return ``x5t#S256`` and ``x5c`` for a certificate in PEM, with its chain if there is one.

    Raise ConfigurationError if there is no certificate.
    """
    from cryptography.hazmat.primitives.serialization import Encoding

    chain = [one.public_bytes(Encoding.DER) for one in _read(material)]
    thumbprint = base64.urlsafe_b64encode(hashlib.sha256(chain[0]).digest()).rstrip(b"=").decode()
    return {
        "x5t#S256": thumbprint,
        "x5c": [base64.b64encode(octets).decode() for octets in chain],
    }


def check_certificate(material: object, private: Any) -> None:
    """Raise ConfigurationError if there is no certificate, or the first is of another private key.

    ``private`` is None if the key is not known yet.
    """
    first = _read(material)[0]
    if private is not None and first.public_key() != private.public_key():
        raise ConfigurationError(
            "The certificate does not belong to the private key: give the certificate of this key,"
            " first in its chain."
        )


def _read(material: object) -> list[Any]:
    """Return the certificates in a PEM; a private key in it is skipped."""
    require_pyjwt(cryptography=True)
    from cryptography.x509 import load_pem_x509_certificates

    if not isinstance(material, (str, bytes)):
        raise ConfigurationError(
            "The certificate must be PEM (str or bytes), a pathlib.Path of the file that holds it,"
            f" or a callable that returns it, not {type(material).__name__}."
        )
    pem = material.encode("utf-8", "replace") if isinstance(material, str) else material
    try:
        return load_pem_x509_certificates(pem)
    except ValueError:
        raise ConfigurationError(
            "The certificate is not PEM (-----BEGIN CERTIFICATE-----): for the name of a file give"
            " pathlib.Path(...)."
        ) from None
