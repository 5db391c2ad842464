"""A real authorization server (npm `oidc-provider`) and an API that introspects every token.

The same process also runs a second authorization server, npm's `@node-oauth/oauth2-server`, with
its own API.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests
from filelock import FileLock

from .certificates import Certificates, make_certificates
from .clients import Client, make_clients, make_raw_basic_clients

FOLDER = Path(__file__).parent / "oidc_provider"
SCOPE = "orders:read orders:write"
ORDERS = "https://orders.example/"
"""A resource (RFC 8707) whose tokens are opaque; the API accepts them."""
SIGNED = "https://signed.example/"
"""A resource whose tokens are signed JWTs; the API checks only their signature."""
STOCK = "https://stock.example/"
"""A resource of another API: the API refuses its tokens."""
ALGORITHMS = ("RS256", "PS256", "ES256", "ES384", "EdDSA")
READY_WITHIN = 60.0
INSTALL_WITHIN = 300.0


class ServerUnavailable(Exception):
    """This machine cannot run the server: node is missing, or the installation failed."""


def install() -> str:
    """Install the packages of the server if they are missing, and return the path of `node`.

    Raise ServerUnavailable if `node` or `npm` is missing or `npm ci` failed.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise ServerUnavailable("node and npm are needed to run oidc-provider")
    # Several test runs may share the folder, and `npm ci` empties it first.
    with FileLock(FOLDER / ".npm-ci.lock"):
        if not _is_installed():
            _npm_ci(npm)
    return node


def _is_installed() -> bool:
    # npm writes this file last, so it is missing after an incomplete installation.
    done = FOLDER / "node_modules" / ".package-lock.json"
    wanted = json.loads((FOLDER / "package-lock.json").read_text())["packages"]
    if not done.exists():
        return False
    present = json.loads(done.read_text())["packages"]
    return all(
        name in present and present[name]["version"] == package["version"]
        for name, package in wanted.items()
        if name
    )


def _npm_ci(npm: str) -> None:
    try:
        subprocess.run(
            [npm, "ci", "--no-audit", "--no-fund"],
            cwd=FOLDER,
            check=True,
            capture_output=True,
            text=True,
            timeout=INSTALL_WITHIN,
        )
    except subprocess.TimeoutExpired:
        raise ServerUnavailable(f"npm ci took more than {INSTALL_WITHIN:.0f} s") from None
    except subprocess.CalledProcessError as error:
        raise ServerUnavailable(f"npm ci failed: {error.stderr[:500]}") from None


class OIDCServer:
    """The running servers, their addresses, clients and certificates, and the control channel."""

    def __init__(self, folder: Path) -> None:
        """Start the process and wait until it listens; certificates and log go into `folder`."""
        node = install()
        self.certificates: Certificates = make_certificates(folder)
        self.clients: dict[str, Client] = make_clients(self.certificates)
        self.log_path = folder / "oidc-provider.log"
        self.raw_basic_clients: dict[str, Client] = make_raw_basic_clients()
        self._control = requests.Session()
        self._control.trust_env = False
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [node, str(FOLDER / "server.mjs")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        try:
            self._set_addresses(self._handshake())
        except BaseException:
            self.close()
            raise

    def _handshake(self) -> dict[str, str]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        # The read below ends when a process that prints nothing is killed.
        watchdog = threading.Timer(READY_WITHIN, self._process.kill)
        watchdog.start()
        try:
            self._process.stdin.write(json.dumps(self._configuration()).encode() + b"\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = b""
        finally:
            watchdog.cancel()
            watchdog.join()
        if not line:
            log = self.log_path.read_text(errors="replace")
            raise RuntimeError(f"oidc-provider did not start:\n{log[-4000:]}")
        urls: dict[str, str] = json.loads(line)
        return urls

    def _configuration(self) -> dict[str, Any]:
        resource_server = {"client_id": "orders-api", "client_secret": os.urandom(16).hex()}
        registration = {**resource_server, "token_endpoint_auth_method": "client_secret_basic"}
        return {
            "clients": [*(client.metadata for client in self.clients.values()), registration],
            "raw_basic_clients": [client.metadata for client in self.raw_basic_clients.values()],
            "resource_server": resource_server,
            "resources": {ORDERS: "opaque", SIGNED: "jwt", STOCK: "opaque"},
            "api_audiences": [ORDERS, SIGNED],
            "tls": {
                "ca": Path(self.certificates.ca_bundle).read_text(),
                "cert": self.certificates.server_chain,
                "key": self.certificates.server_key,
            },
        }

    def _set_addresses(self, urls: Mapping[str, str]) -> None:
        self.issuer = urls["issuer"]
        self.token_url = urls["issuer"] + "/token"
        self.revocation_url = urls["issuer"] + "/token/revocation"
        self.tls_issuer = urls["tls_issuer"]
        self.tls_token_url = urls["tls_issuer"] + "/token"
        self.mtls_token_url = urls["mtls"] + "/token"
        self.api_url = urls["api"]
        self.tls_api_url = urls["tls_api"]
        self.other_tls_api_url = urls["other_tls_api"]
        self.raw_basic_url = urls["raw_basic"]
        self._control_url = urls["control"]

    @property
    def ca_bundle(self) -> str:
        """Return the path of the CA certificate, for ``verify=``."""
        return self.certificates.ca_bundle

    @property
    def pid(self) -> int:
        """Return the process id of the server."""
        return self._process.pid

    def revoke_all(self) -> int:
        """Revoke every token, and return how many there were."""
        return int(self._control_call("/revoke-all"))

    def expire_all(self) -> int:
        """Make every token expire one second ago, and return how many there were."""
        return int(self._control_call("/expire-all"))

    def set_ttl(self, seconds: int, client_id: str = "*") -> None:
        """Set the lifetime of the tokens issued from now on, in seconds (at least 1)."""
        self._control_call("/ttl", client_id=client_id, seconds=seconds)

    def demand_nonce(
        self, *, authorization_server: bool | None = None, api: bool | None = None
    ) -> None:
        """Set who requires DPoP nonces (RFC 9449 8 and 9); by default both servers do."""
        wanted = {"authorization_server": authorization_server, "api": api}
        self._control_call("/demand-nonce", **{k: v for k, v in wanted.items() if v is not None})

    def rotate_api_nonce(self) -> None:
        """Make the API refuse the DPoP nonce that it issued before."""
        self._control_call("/rotate-api-nonce")

    def use_api_nonces_once(self) -> None:
        """Make the API accept each DPoP nonce once, and send the next one with the answer."""
        self._control_call("/demand-nonce", api_once=True)

    def advance(self, seconds: float) -> None:
        """Set the authorization server's clock this many seconds ahead of the real time."""
        self._control_call("/advance", seconds=seconds)

    def counts(self) -> dict[str, Any]:
        """Return the counters of the servers since the start of the test."""
        counted: dict[str, Any] = self._control_call("/counts")
        return counted

    def reset(self) -> None:
        """Reset counters, lifetimes, nonce settings and clock; tokens stay valid."""
        self._control_call("/reset")

    def _control_call(self, action: str, **arguments: Any) -> Any:
        response = self._control.post(self._control_url + action, json=arguments, timeout=10)
        response.raise_for_status()
        return response.json()

    def close(self) -> None:
        """Stop the process, which exits when its stdin is closed. It can be called twice."""
        self._control.close()
        with self._process as process:
            assert process.stdin is not None
            # The process may have ended without reading its input.
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
