"""Certificates for one test run: a CA, a server, and clients with and without that CA."""

from __future__ import annotations

import base64
import datetime as dt
import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

SAN_DNS = "orders-client.example"


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A client certificate in files, for the option ``cert=(cert_path, key_path)`` of requests."""

    cert_path: str
    key_path: str
    subject: str
    """The subject as an RFC 4514 string, for ``tls_client_auth_subject_dn``."""
    der_base64: str
    """The certificate for the member ``x5c`` of a JWK."""

    @property
    def pair(self) -> tuple[str, str]:
        """Return the two paths for the option ``cert`` of requests."""
        return (self.cert_path, self.key_path)


@dataclass(frozen=True, slots=True)
class Certificates:
    """The certificates of the server and of the clients, and the bundle with the CA."""

    ca_bundle: str
    server_chain: str
    server_key: str
    client: ClientCertificate
    """A certificate of the CA, with a common name and the DNS name `SAN_DNS`."""
    renewed_client: ClientCertificate
    """The next certificate of the same client: the CA issued it for the same DNS name."""
    other_client: ClientCertificate
    """A certificate of the CA for another client."""
    self_signed: ClientCertificate
    """A self-signed certificate."""

    def server_context(self) -> ssl.SSLContext:
        """Return what a server needs for TLS. It accepts a client certificate of the CA."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.ca_bundle)
        context.verify_mode = ssl.CERT_OPTIONAL
        path = Path(self.ca_bundle).with_name("server.pem")
        path.write_text(self.server_key + self.server_chain)
        context.load_cert_chain(path)
        return context


def make_certificates(folder: Path) -> Certificates:
    """Create the certificates of one run and write them into `folder`."""
    ca = trustme.CA()
    server = ca.issue_cert("127.0.0.1", "localhost")
    chain = b"".join(blob.bytes() for blob in server.cert_chain_pems)
    return Certificates(
        ca_bundle=_write(folder / "ca.pem", ca.cert_pem.bytes()),
        server_chain=chain.decode(),
        server_key=server.private_key_pem.bytes().decode(),
        client=_issued(ca, folder, "client", SAN_DNS),
        renewed_client=_issued(ca, folder, "renewed-client", SAN_DNS),
        other_client=_issued(ca, folder, "other-client", "somebody-else.example"),
        self_signed=_self_signed(folder),
    )


def _issued(ca: trustme.CA, folder: Path, name: str, dns: str) -> ClientCertificate:
    leaf = ca.issue_cert(dns, common_name=name)
    return _on_disk(folder / name, leaf.cert_chain_pems[0].bytes(), leaf.private_key_pem.bytes())


def _self_signed(folder: Path) -> ClientCertificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "self-signed")])
    now = dt.datetime.now(dt.timezone.utc)
    day = dt.timedelta(days=1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    certificate = (
        builder.not_valid_before(now - day).not_valid_after(now + day).sign(key, hashes.SHA256())
    )
    key_pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return _on_disk(
        folder / "self-signed", certificate.public_bytes(serialization.Encoding.PEM), key_pem
    )


def _on_disk(stem: Path, cert_pem: bytes, key_pem: bytes) -> ClientCertificate:
    certificate = x509.load_pem_x509_certificate(cert_pem)
    der = certificate.public_bytes(serialization.Encoding.DER)
    return ClientCertificate(
        cert_path=_write(stem.with_suffix(".crt"), cert_pem),
        key_path=_write(stem.with_suffix(".key"), key_pem),
        subject=certificate.subject.rfc4514_string(),
        der_base64=base64.b64encode(der).decode(),
    )


def _write(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return str(path)
