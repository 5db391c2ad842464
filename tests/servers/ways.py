"""All ways to write the client authentication of the clients of oidc-provider."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from oauthcc import (
    ClientAssertion,
    ClientSecretBasic,
    ClientSecretJWT,
    ClientSecretPost,
    NoClientAuth,
    PrivateKeyJWT,
    TLSClientAuth,
)

from .clients import Client
from .oidc import OIDCServer


@dataclass(frozen=True)
class Given:
    """The data of a user: the registration, keys in every form, a folder for files."""

    oidc: OIDCServer
    client: Client
    folder: Path

    @property
    def pem(self) -> str:
        assert self.client.private_key_pem is not None
        return self.client.private_key_pem

    @property
    def pair(self) -> tuple[str, str]:
        assert self.client.certificate is not None
        return self.client.certificate.pair

    def jwk(self, **more: str) -> dict[str, Any]:
        key: Any = load_pem_private_key(self.pem.encode(), None)
        kinds: dict[str, Any] = {"ES": ECAlgorithm, "Ed": OKPAlgorithm}
        kind = kinds.get(str(self.client.algorithm)[:2], RSAAlgorithm)
        return {**json.loads(kind.to_jwk(key)), **more}

    def file(self, content: str) -> Path:
        path = self.folder / "file"
        path.write_text(content)
        return path

    def assertion(self, *, age: int = 0) -> str:
        """Return an assertion as another program would create it."""
        who, now = self.client.client_id, int(time.time()) - age
        claims = {"iss": who, "sub": who, "aud": self.oidc.tls_issuer, "jti": str(uuid.uuid4())}
        return jwt.encode({**claims, "iat": now, "exp": now + 60}, self.pem, self.client.algorithm)

    def key_of(self, name: str) -> str:
        pem = self.oidc.clients[f"private_key_jwt/{name}"].private_key_pem
        assert pem is not None
        return pem


Way = Callable[[Given], Any]

# By the registered client: the values of client_auth=, by their description.
WAYS: dict[str, dict[str, Way]] = {
    "client_secret_basic": {
        "left out": lambda g: None,
        "by name": lambda g: "client_secret_basic",
        "by class": lambda g: ClientSecretBasic,
    },
    "client_secret_post": {
        "by name": lambda g: "client_secret_post",
        "by object": lambda g: ClientSecretPost(),
    },
    "client_secret_jwt/HS256": {"by name": lambda g: "client_secret_jwt"},
    "client_secret_jwt/HS384": {"by object": lambda g: ClientSecretJWT("HS384")},
    "client_secret_jwt/HS512": {"by object": lambda g: ClientSecretJWT("HS512")},
    "private_key_jwt/RS256": {
        "PEM": lambda g: PrivateKeyJWT(g.pem),
        "JWK with alg and kid": lambda g: PrivateKeyJWT(g.jwk(alg="RS256", kid="key-RS256")),
    },
    "private_key_jwt/PS256": {
        # An RSA key alone does not decide between RS256 and PS256.
        "PEM and algorithm": lambda g: PrivateKeyJWT(g.pem, algorithm="PS256"),
        "JWK with alg": lambda g: PrivateKeyJWT(g.jwk(alg="PS256")),
    },
    "private_key_jwt/ES256": {
        "PEM": lambda g: PrivateKeyJWT(g.pem),
        "PEM and kid": lambda g: PrivateKeyJWT(g.pem, key_id="key-ES256"),
        "PEM as octets": lambda g: PrivateKeyJWT(g.pem.encode()),
        "file": lambda g: PrivateKeyJWT(g.file(g.pem)),
        "callable": lambda g: PrivateKeyJWT(lambda: g.pem),
        "JWK": lambda g: PrivateKeyJWT(g.jwk()),
        "JWK as text": lambda g: PrivateKeyJWT(json.dumps(g.jwk(kid="key-ES256"))),
        "JWK in a file": lambda g: PrivateKeyJWT(g.file(json.dumps(g.jwk()))),
        "JWK of a callable": lambda g: PrivateKeyJWT(g.jwk),
        "typ": lambda g: PrivateKeyJWT(g.pem, type="client-authentication+jwt"),
        "assertion of a callable": lambda g: ClientAssertion(g.assertion),
    },
    "private_key_jwt/ES384": {
        "PEM": lambda g: PrivateKeyJWT(g.pem),
        "JWK": lambda g: PrivateKeyJWT(g.jwk()),
    },
    "private_key_jwt/EdDSA": {
        "PEM": lambda g: PrivateKeyJWT(g.pem),
        "JWK": lambda g: PrivateKeyJWT(g.jwk()),
    },
    "tls_client_auth/dn": {
        "two files": lambda g: TLSClientAuth(g.pair),
        "one file": lambda g: TLSClientAuth(
            str(g.file("".join(Path(path).read_text() for path in g.pair)))
        ),
    },
    "tls_client_auth/san": {"two files": lambda g: TLSClientAuth(g.pair)},
    "self_signed_tls_client_auth": {"two files": lambda g: TLSClientAuth(g.pair, self_signed=True)},
    "none": {"by name": lambda g: "none", "by class": lambda g: NoClientAuth},
}
