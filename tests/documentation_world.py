"""The world in which the Python blocks of a page run, as a reader would paste them.

``python -m tests.documentation_world BLOCKS.json`` runs the blocks one after the other with the
same names. In this process, the hosts that the pages write are servers on loopback with TLS:

- ``https://as.example`` is an authorization server with the client ``my-id`` and ``my-secret``;
- every other host under ``example`` is an API that takes its tokens;
- ``redis://localhost:6379`` is the Redis server of the port in ``REDIS_PORT``.

The variables of ``from_env()`` are set. The files that the pages name are in the current folder.
"""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import trustme
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from oauthcc.testing import AuthorizationServer, ProtectedAPI, SeenRequest, json_answer
from oauthcc.testing.faults import Outcome

ISSUER = "https://as.example"
VARIABLES = {
    "OAUTH_TOKEN_URL": f"{ISSUER}/token",
    "OAUTH_CLIENT_ID": "my-id",
    "OAUTH_CLIENT_SECRET": "my-secret",
    "OAUTH_SCOPE": "orders:read",
    "OAUTH_API_URL": "https://api.example",
}
PROFILES = f"""\
[orders]
token_url = {ISSUER}/token
client_id = my-id
client_secret_file = orders.secret
scope = orders:read
api_url = https://api.example/v1
"""
HOST = re.compile(r"\b(?:[\w-]+\.)+example\b")


class Server(AuthorizationServer):
    """The server at as.example, which lets `my-id` authenticate in each way that a page shows."""

    @property
    def url(self) -> str:
        return ISSUER

    def respond(self, request: SeenRequest, closing: Callable[[], bool]) -> Outcome:
        sent = dict(request.form)
        if "client_assertion" in sent:
            self.add_client("my-id", public_key=Path("key.pub").read_text(encoding="utf-8"))
        elif "client_secret" in sent or "Authorization" in request.headers:
            self.add_client("my-id", "my-secret")
        else:
            self.add_client("my-id", certificate=Path("client.crt").read_text(encoding="utf-8"))
        return super().respond(request, closing)


def make_files(folder: Path, hosts: set[str]) -> ssl.SSLContext:
    """Write the files that pages name into a folder, and return what servers need for TLS."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(folder / "ca.pem")
    client = ca.issue_cert("my-id.example", common_name="my-id")
    client.cert_chain_pems[0].write_to_path(folder / "client.crt")
    client.private_key_pem.write_to_path(folder / "client.key")
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "key.pem").write_bytes(pem)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / "key.pub").write_bytes(public)
    (folder / "assertion").write_text("an assertion of the platform", encoding="utf-8")
    profiles = folder / "oauthcc"
    profiles.mkdir()
    (profiles / "profiles.ini").write_text(PROFILES, encoding="utf-8")
    for secret in (folder / "secret", profiles / "orders.secret"):
        secret.write_text("my-secret\n", encoding="utf-8")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(folder / "ca.pem"))
    context.verify_mode = ssl.CERT_OPTIONAL
    ca.issue_cert(*sorted(hosts)).configure_cert(context)
    return context


def route(hosts: set[str], auth: AuthorizationServer, api: ProtectedAPI) -> None:
    """Let the name of each host, and that of the Redis server, lead to loopback."""
    look_up = socket.getaddrinfo
    ports = {host: auth.port if host == "as.example" else api.port for host in hosts}

    def getaddrinfo(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        if host in ports and port == 443:
            return look_up("127.0.0.1", ports[host], *args, **kwargs)
        if host == "localhost" and port == 6379:
            return look_up("127.0.0.1", int(os.environ["REDIS_PORT"]), *args, **kwargs)
        if host == "127.0.0.1":
            return look_up(host, port, *args, **kwargs)
        raise socket.gaierror(f"the documentation's world has no {host}:{port}")

    socket.getaddrinfo = getaddrinfo


def run(page: str, codes: Sequence[str]) -> None:
    """Run the blocks of a page in the current folder."""
    folder = Path.cwd()
    hosts = {"as.example", "api.example", *HOST.findall("\n".join(codes))}
    tls = make_files(folder, hosts)
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        os.environ[name] = str(folder)
    os.environ.update(VARIABLES, REQUESTS_CA_BUNDLE=str(folder / "ca.pem"))
    with ExitStack() as stack:
        auth = stack.enter_context(Server("my-id", "my-secret", tls=tls))
        api = stack.enter_context(ProtectedAPI(auth, tls=tls))
        api.answer_next(
            json_answer({"resource": "https://api.example/mcp", "authorization_servers": [ISSUER]}),
            n=None,
            path="/.well-known/oauth-protected-resource",
        )
        route(hosts, auth, api)
        names: dict[str, object] = {"__name__": "__main__"}
        for code in codes:
            exec(compile(code, page, "exec"), names)


if __name__ == "__main__":
    blocks = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    run(blocks["page"], blocks["codes"])
