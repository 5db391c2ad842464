"""X.509 certificates in the header of a signed token (RFC 7515 section 4.1)."""

from __future__ import annotations

import base64
import re
from contextlib import suppress
from typing import Any

from ..errors import ConfigurationError

# Earlier versions of cryptography cannot read several at once.
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


def certificate_headers(material: object, private: Any = None) -> dict[str, Any]:
    """Return ``x5t#S256`` and ``x5c`` for a certificate in PEM, with its chain if there is one.

    A private key beside it is skipped. Raise ConfigurationError if there is no certificate, or if
    the first one is not that of the key ``private`` (None: the key is not known yet).
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509 import load_pem_x509_certificate

    pem: Any = material.encode("utf-8", "replace") if isinstance(material, str) else material
    chain: list[Any] = []
    with suppress(TypeError, ValueError):
        chain = [load_pem_x509_certificate(one) for one in _CERTIFICATE.findall(pem)]
    if not chain:
        raise ConfigurationError(
            f"The certificate ({type(material).__name__}) is not PEM (-----BEGIN CERTIFICATE-----):"
            " give PEM as str or bytes, a pathlib.Path of its file, or a callable that returns it."
        )
    is_its_own = private is None
    # Raised for a kind of key that cryptography does not know, so this is another key.
    with suppress(UnsupportedAlgorithm, ValueError):
        is_its_own = is_its_own or _public_key(chain[0]) == _public_key(private)
    if not is_its_own:
        raise ConfigurationError(
            "The certificate does not belong to the private key: give the certificate of this key,"
            " first in its chain."
        )
    thumbprint = base64.urlsafe_b64encode(chain[0].fingerprint(SHA256()))
    return {
        "x5t#S256": thumbprint.rstrip(b"=").decode(),
        "x5c": [base64.b64encode(one.public_bytes(Encoding.DER)).decode() for one in chain],
    }


def _public_key(holder: Any) -> bytes:
    """Return the public key of a certificate or a private key, in DER.

    Earlier versions of cryptography cannot compare public keys.
    """
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = holder.public_key()
    octets: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return octets
