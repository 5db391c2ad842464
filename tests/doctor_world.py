"""The servers, certificates and variables of one test of ``oauthcc doctor``, and how it is run."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import json
import os
import pty
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme
from typer.testing import CliRunner

from oauthcc.cli.commands import app
from oauthcc.cli.doctor import limits
from oauthcc.testing import AuthorizationServer, Fault, ProtectedAPI, faults

from .servers.connect_proxy import ConnectProxy

SECRET = "s3cr3t/of+the client"
RENDERINGS = ("json", "plain", "terminal")
#: The variables of the machine that change the way of a request.
_WAYS = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")


@dataclass(frozen=True)
class Result:
    """What a run has written, and its exit status."""

    status: int
    output: str

    @property
    def document(self) -> dict[str, Any]:
        return json.loads(self.output)

    @property
    def checks(self) -> list[dict[str, Any]]:
        return self.document["checks"]

    def codes(self, *statuses: str) -> list[str]:
        """Return the codes of the findings with these statuses, without statuses of all."""
        return [
            each["code"] for each in self.checks if each["status"] in (statuses or each["status"])
        ]

    def one(self, code: str) -> dict[str, Any]:
        """Return the only finding with this code."""
        (found,) = [each for each in self.checks if each["code"] == code]
        return found


class World:
    """An authorization server and an API, both well, and the variables that name them."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, folder: Path, stack: contextlib.ExitStack
    ) -> None:
        self.patch = monkeypatch
        self.folder = folder
        self.stack = stack
        #: What is replaced while the command runs: the servers need the real thing at their end.
        self.replaced: dict[str, Any] = {}
        self.auth = stack.enter_context(AuthorizationServer("my-client", SECRET))
        self.api = stack.enter_context(ProtectedAPI(self.auth))
        for name in os.environ:
            if name.startswith("OAUTH_"):
                monkeypatch.delenv(name)
        for name in (*_WAYS, *map(str.upper, _WAYS), *_BUNDLES):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("NETRC", os.devnull)
        monkeypatch.setenv("XDG_CONFIG_HOME", str(folder))
        self.set(
            TOKEN_URL=self.auth.token_url,
            CLIENT_ID="my-client",
            CLIENT_SECRET=SECRET,
            API_URL=f"{self.api.url}/v1",
        )

    def set(self, **values: str | None) -> None:
        """Set variables whose names are without ``OAUTH_``; None: remove one."""
        for name, value in values.items():
            if value is None:
                self.patch.delenv(f"OAUTH_{name}")
            else:
                self.patch.setenv(f"OAUTH_{name}", value)

    def doctor(self, *arguments: str) -> Result:
        """Run the command with --json."""
        return self.run("json", *arguments)

    def run(self, rendering: str, *arguments: str) -> Result:
        """Run the command in this process, for a document, a pipe or a terminal."""
        with self.patch.context() as patch:
            for target, value in self.replaced.items():
                patch.setattr(target, value)
            if rendering == "terminal":
                return self._run_on_terminal(*arguments)
            options = ["--json"] if rendering == "json" else []
            result = CliRunner().invoke(app, ["doctor", *options, *arguments])
        assert isinstance(result.exception, SystemExit | type(None)), result.exception
        return Result(result.exit_code, result.stdout)

    def _run_on_terminal(self, *arguments: str) -> Result:
        ours, theirs = pty.openpty()
        written: list[bytes] = []
        reader = threading.Thread(target=read_all, args=(ours, written))
        reader.start()
        status: int = 0
        with os.fdopen(theirs, "w", encoding="utf-8") as terminal, self.patch.context() as patch:
            patch.setattr(sys, "stdout", terminal)
            patch.setenv("TERM", "xterm-256color")
            patch.delenv("NO_COLOR", raising=False)
            status = app(["doctor", *arguments], standalone_mode=False) or 0
        reader.join(10)
        os.close(ours)
        return Result(status, b"".join(written).decode())

    # -- servers that behave in one way

    def hurry(self) -> None:
        """Shorten the limits, for a fault that takes as long as they allow."""
        for name in ("NETWORK", "TOKEN", "API"):
            self.patch.setattr(limits, name, 0.5)

    def hang(self) -> Fault:
        """Return an answer that never comes."""
        self.hurry()
        return faults.hang()

    def sleep(self) -> Callable[..., None]:
        """Return a function that takes too long."""
        self.hurry()
        return lambda *_, **__: time.sleep(2)

    def listen(self, converse: Callable[[socket.socket], object]) -> int:
        """Call a function with each connection to a new port, which is returned."""
        self.hurry()
        server = self.stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        ended = threading.Event()

        def accept() -> None:
            while not ended.is_set():
                with contextlib.suppress(OSError):
                    connection = server.accept()[0]
                    threading.Thread(target=talk, args=(connection,), daemon=True).start()

        def talk(connection: socket.socket) -> None:
            with contextlib.suppress(OSError), connection:
                connection.settimeout(10)
                converse(connection)

        thread = threading.Thread(target=accept, daemon=True, name="loopback-doctor")
        thread.start()
        port: int = server.getsockname()[1]

        def stop() -> None:
            ended.set()
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            thread.join(5)

        self.stack.callback(stop)
        return port

    def says(self, answer: bytes) -> int:
        """Return a port that reads something and answers this."""

        def converse(connection: socket.socket) -> None:
            connection.recv(65536)
            connection.sendall(answer)
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_WR)
                connection.recv(65536)

        return self.listen(converse)

    def silent(self) -> int:
        """Return a port that accepts connections and says nothing."""
        return self.listen(
            lambda connection: connection.recv(65536) and connection.recv(1) and time.sleep(9)
        )

    def closed(self) -> int:
        """Return a port at which nothing listens."""
        server = self.stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))  # so that nobody else gets it
        port: int = server.getsockname()[1]
        return port

    def full(self) -> int:
        """Return a port that drops what asks for a connection, because its queue is full."""
        self.hurry()
        server = self.stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(4):
            client = self.stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        port: int = server.getsockname()[1]
        return port

    def drips(self) -> int:
        """Return a port that answers one byte after the other."""

        def converse(connection: socket.socket) -> None:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n")
            for _ in range(500):
                connection.sendall(b" ")
                time.sleep(0.02)

        return self.listen(converse)

    def proxy(self, scheme: str = "https") -> ConnectProxy:
        """Run a proxy and name it in the environment."""
        proxy = self.stack.enter_context(ConnectProxy())
        self.patch.setenv(f"{scheme}_proxy", proxy.url)
        return proxy

    def use_tls(self, context: ssl.SSLContext, bundle: str | None) -> AuthorizationServer:
        """Use an authorization server with https, and trust this bundle."""
        auth = self.stack.enter_context(AuthorizationServer("my-client", SECRET, tls=context))
        self.set(TOKEN_URL=auth.token_url, API_URL=None)
        if bundle is not None:
            self.patch.setenv("REQUESTS_CA_BUNDLE", bundle)
        return auth

    def issue_jwt(self, **claims: Any) -> None:
        """Issue tokens that are JWTs with these claims."""
        parts = ({"alg": "RS256"}, claims)
        encoded = [base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=") for p in parts]
        token = b".".join([*encoded, base64.urlsafe_b64encode(b"a signature, not a good one")])
        self.auth.make_token = lambda: token.rstrip(b"=").decode()


@dataclass(frozen=True)
class Authority:
    """A CA in a file, and what its servers need."""

    ca: trustme.CA
    bundle: str

    def server(self, *names: str, days: tuple[int, int] = (-1, 30)) -> ssl.SSLContext:
        """Return the context of a server for these names, whose certificate begins and ends so."""
        now = dt.datetime.now(dt.timezone.utc)
        begin, end = (now + dt.timedelta(days=each) for each in days)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        given = names or ("127.0.0.1", "localhost")
        self.ca.issue_cert(*given, not_before=begin, not_after=end).configure_cert(context)
        return context


def make_authority(folder: Path) -> Authority:
    """Create a CA and write its certificate into a file."""
    ca, bundle = trustme.CA(), folder / "ca.pem"
    ca.cert_pem.write_to_path(str(bundle))
    return Authority(ca, str(bundle))


def read_all(descriptor: int, written: list[bytes]) -> None:
    with contextlib.suppress(OSError):  # the other end is closed
        while piece := os.read(descriptor, 65536):
            written.append(piece)


def worlds(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[World]:
    """Yield a world, and close it."""
    with contextlib.ExitStack() as stack:
        yield World(monkeypatch, folder, stack)
