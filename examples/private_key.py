"""A client that signs an assertion with its private key (``pip install "oauthcc[jwt]"``).

The server knows only the public key, so it stores nothing that could be stolen and used.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from oauthcc import ClientCredentialsSession, PrivateKeyJWT
from oauthcc.testing import AuthorizationServer, ProtectedAPI

# As with: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem
key = ec.generate_private_key(ec.SECP256R1())
pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

with AuthorizationServer() as auth, ProtectedAPI(auth) as server, TemporaryDirectory() as folder:
    auth.add_client("orders-client", public_key=public)
    file = Path(folder, "key.pem")
    file.write_bytes(pem)

    method = PrivateKeyJWT(file, key_id="2026-01")
    with ClientCredentialsSession(auth.token_url, "orders-client", client_auth=method) as api:
        print("status:", api.get(server.url + "/orders", timeout=10).status_code)
    print("sent to the token endpoint:", ", ".join(dict(auth.token_requests[0].form)))
