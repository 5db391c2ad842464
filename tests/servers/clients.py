"""The clients that are registered at the authorization server, by descriptive names."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509 import load_pem_x509_certificate
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from .certificates import SAN_DNS, Certificates, ClientCertificate

ODD_SECRETS = {
    "colon": "a:b::c:",
    "percent": "100%41%zz%",
    "plus": "+1+2++",
    "ampersand": "a&b=c&&client_id=x",
    "slash": "a/b//c?d#e",
    "space": " a b  c ",
    "everything": " :%+&/=?#\"\\'<>;,@[]{}|^`~!$()*-._ %2B %20",
}
"""Secrets with special characters for Basic and forms, all from 0x20 to 0x7E."""

SIGNS = "+/%&\"'"
ODD_ID = "id:with %2B+&/ everything"


@dataclass(frozen=True, slots=True)
class Client:
    """A registered client, with everything that is needed to authenticate as this client."""

    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    private_key_pem: str | None = field(default=None, repr=False)
    algorithm: str | None = None
    certificate: ClientCertificate | None = None
    metadata: dict[str, Any] = field(default_factory=dict, repr=False)
    """The client metadata of RFC 7591."""

    @property
    def pair(self) -> tuple[str, str]:
        """Return the id and the secret of a client that has a secret."""
        assert self.client_secret is not None
        return (self.client_id, self.client_secret)


def make_clients(certificates: Certificates) -> dict[str, Client]:
    """Return all clients of one run by name, with new keys."""
    return {
        **_secret_clients(),
        **_assertion_clients(),
        **_tls_clients(certificates),
        "none": _client("public-client", "none"),
    }


def make_raw_basic_clients() -> dict[str, Client]:
    """Return the clients of the server that reads Basic raw, by the name of their secret."""
    secrets = {"plain": "raw-secret", **ODD_SECRETS}
    return {
        name: _client(f"raw-{name}", "client_secret_basic", client_secret=secret)
        for name, secret in secrets.items()
    } | {
        "no grant": _client(
            "raw-no-grant",
            "client_secret_basic",
            client_secret="raw-secret",
            metadata={"grants": ["password"]},
        )
    }


def _client(client_id: str, method: str, **facts: Any) -> Client:
    extra = facts.pop("metadata", {})
    client = Client(client_id, **facts)
    client.metadata.update(client_id=client_id, token_endpoint_auth_method=method, **extra)
    if client.client_secret is not None:
        client.metadata["client_secret"] = client.client_secret
    return client


def _secret_clients() -> dict[str, Client]:
    clients = {}
    for method in ("client_secret_basic", "client_secret_post"):
        kind = method.removeprefix("client_secret_")
        clients[method] = _client(f"{kind}-client", method, client_secret=f"{kind}-secret")
        for name, secret in ODD_SECRETS.items():
            clients[f"{method}/{name}"] = _client(f"{kind}-{name}", method, client_secret=secret)
        odd_id = f"{kind} {ODD_ID}"
        clients[f"{method}/odd-id"] = _client(odd_id, method, client_secret=f"s:{kind}")
    for name, bound in (
        ("dpop", "dpop_bound_access_tokens"),
        ("certificate-bound", "tls_client_certificate_bound_access_tokens"),
    ):
        clients[name] = _client(
            f"{name}-client",
            "client_secret_basic",
            client_secret=f"{name}-secret",
            metadata={bound: True},
        )
    return clients


def _assertion_clients() -> dict[str, Client]:
    clients = {
        f"client_secret_jwt/{algorithm}": _client(
            f"client-secret-jwt-{algorithm}",
            "client_secret_jwt",
            client_secret=f"{algorithm}: a secret of more than sixty-four bytes {SIGNS * 5}",
            algorithm=algorithm,
            metadata={"token_endpoint_auth_signing_alg": algorithm},
        )
        for algorithm in ("HS256", "HS384", "HS512")
    }
    for algorithm, (pem, jwk) in _signing_keys().items():
        clients[f"private_key_jwt/{algorithm}"] = _client(
            f"private-key-jwt-{algorithm}",
            "private_key_jwt",
            private_key_pem=pem,
            algorithm=algorithm,
            metadata={
                "token_endpoint_auth_signing_alg": algorithm,
                "jwks": {"keys": [{**jwk, "kid": f"key-{algorithm}"}]},
            },
        )
    return clients


def _signing_keys() -> dict[str, tuple[str, dict[str, Any]]]:
    rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    ec_key = ec.generate_private_key(ec.SECP256R1())
    p384_key = ec.generate_private_key(ec.SECP384R1())
    ed_key = ed25519.Ed25519PrivateKey.generate()
    rsa_pair = (_pem(rsa_key), json.loads(RSAAlgorithm.to_jwk(rsa_key.public_key())))
    return {
        "RS256": rsa_pair,
        "PS256": rsa_pair,
        "ES256": (_pem(ec_key), json.loads(ECAlgorithm.to_jwk(ec_key.public_key()))),
        "ES384": (_pem(p384_key), json.loads(ECAlgorithm.to_jwk(p384_key.public_key()))),
        "EdDSA": (_pem(ed_key), json.loads(OKPAlgorithm.to_jwk(ed_key.public_key()))),
    }


def _pem(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey,
) -> str:
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return pem.decode()


def _tls_clients(certificates: Certificates) -> dict[str, Client]:
    bound = {"tls_client_certificate_bound_access_tokens": True}
    subject = {"tls_client_auth_subject_dn": certificates.client.subject}
    jwks = {"jwks": {"keys": [_certificate_jwk(certificates.self_signed)]}}
    registrations: list[tuple[str, str, ClientCertificate, dict[str, Any]]] = [
        ("tls_client_auth/dn", "tls_client_auth", certificates.client, subject),
        (
            "tls_client_auth/san",
            "tls_client_auth",
            certificates.client,
            {"tls_client_auth_san_dns": SAN_DNS},
        ),
        (
            "self_signed_tls_client_auth",
            "self_signed_tls_client_auth",
            certificates.self_signed,
            jwks,
        ),
    ]
    clients = {
        name: _client(
            name.replace("/", "-"), method, certificate=certificate, metadata={**extra, **bound}
        )
        for name, method, certificate, extra in registrations
    }
    # The client authenticates with the certificate; its tokens are bound to another key.
    clients["tls_client_auth/dpop"] = _client(
        "tls_client_auth-dpop",
        "tls_client_auth",
        certificate=certificates.client,
        metadata={**subject, "dpop_bound_access_tokens": True},
    )
    return clients


def _certificate_jwk(certificate: ClientCertificate) -> dict[str, Any]:
    key = load_pem_x509_certificate(Path(certificate.cert_path).read_bytes()).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return {**json.loads(ECAlgorithm.to_jwk(key)), "x5c": [certificate.der_base64]}
