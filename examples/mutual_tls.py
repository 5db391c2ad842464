"""A client that is known by its TLS certificate. Its tokens are useless without the certificate.

The certificates are made with ``pip install trustme``.
"""

import os
import ssl
from pathlib import Path
from tempfile import TemporaryDirectory

import requests
import trustme

from oauthcc import ClientCredentialsSession, TLSClientAuth
from oauthcc.testing import AuthorizationServer, ProtectedAPI

ca = trustme.CA()
certificate = ca.issue_cert("orders-client.example")
tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
tls.verify_mode = ssl.CERT_OPTIONAL  # the servers ask for a certificate of the client
ca.configure_trust(tls)
ca.issue_cert("127.0.0.1").configure_cert(tls)

with TemporaryDirectory() as folder, AuthorizationServer(tls=tls) as auth:
    ca_file, client_file = Path(folder, "ca.pem"), Path(folder, "client.pem")
    ca.cert_pem.write_to_path(str(ca_file))
    certificate.private_key_and_cert_chain_pem.write_to_path(str(client_file))
    os.environ["REQUESTS_CA_BUNDLE"] = str(ca_file)  # requests trusts the servers of this CA

    auth.add_client("orders-client", certificate=certificate.cert_chain_pems[0].bytes().decode())
    with ProtectedAPI(auth, tls=tls) as server:
        method = TLSClientAuth(str(client_file))
        with ClientCredentialsSession(auth.token_url, "orders-client", client_auth=method) as api:
            print("with the certificate:", api.get(server.url, timeout=10).status_code)
        stolen = {"Authorization": f"Bearer {auth.issued[0]}"}
        answer = requests.get(server.url, headers=stolen, timeout=10)
        print("a stolen token without it:", answer.status_code)
