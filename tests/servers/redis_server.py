"""A real Redis server on a free loopback port, which a test can kill, freeze and restart."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import pytest

READY_WITHIN = 30.0
PASSWORD = "p:a/s s@word#%"


class RedisServer:
    """The program `redis-server` without persistence; leaving the `with` block stops it."""

    def __init__(self, folder: Path, *, password: str | None = None) -> None:
        program = shutil.which("redis-server")
        if program is None:
            raise FileNotFoundError("redis-server is missing: apt-get install redis-server")
        self._program, self._folder, self._password = program, folder, password
        self._process: subprocess.Popen[bytes] | None = None
        self.socket_path = folder / "redis.sock"
        self.port = _free_port()

    @property
    def url(self) -> str:
        """Return the URL without a password."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the server without data on the same port, and wait until it answers."""
        options = ["--bind", "127.0.0.1", "--port", str(self.port), "--save", ""]
        options += ["--appendonly", "no", "--dir", str(self._folder)]
        options += ["--unixsocket", str(self.socket_path), "--logfile", "redis.log"]
        if self._password is not None:
            options += ["--requirepass", self._password]
        self._process = subprocess.Popen(
            [self._program, *options],
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + READY_WITHIN
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                log = (self._folder / "redis.log").read_text()
                raise RuntimeError(f"redis-server did not start:\n{log}")
            time.sleep(0.02)

    def kill(self) -> None:
        """End the server with `kill -9`, without keeping data."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Freeze the server: it accepts connections but does not answer."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Continue the server after `freeze()`."""
        os.kill(self.pid, signal.SIGCONT)

    def _answers(self) -> bool:
        # A server that is ready answers +PONG, or -NOAUTH if it has a password.
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False

    def __enter__(self) -> RedisServer:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _run(folder: Path, password: str | None = None) -> Iterator[RedisServer]:
    try:
        server = RedisServer(folder, password=password)
    except FileNotFoundError as reason:
        # In CI, the tests with a real server must not be skipped silently.
        if os.environ.get("CI") == "true":
            pytest.fail(str(reason))
        pytest.skip(str(reason))
    with server:
        yield server


@pytest.fixture
def redis_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RedisServer]:
    """Start a Redis server for one test. No lock is released later, when other tests run."""
    monkeypatch.setattr("oauthcc.stores.redis._has_started", lambda work: False)
    yield from _run(tmp_path)


@pytest.fixture
def redis_server_with_password(tmp_path: Path) -> Iterator[RedisServer]:
    """Start a Redis server for one test that requires `PASSWORD`."""
    yield from _run(tmp_path, PASSWORD)
