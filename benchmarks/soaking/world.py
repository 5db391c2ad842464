"""The servers of a soak test, which record everything, and the thread that injects faults."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

from oauthcc.testing import (
    Answer,
    AuthorizationServer,
    Fault,
    ProtectedAPI,
    SeenRequest,
    faults,
    json_answer,
    oauth_error,
)
from oauthcc.testing.faults import Line, Outcome

from .journal import CLOSED, Attempt, Journal, TokenRequest

#: The header with the name of the source, for the token endpoint and the API.
SOURCE = "X-Source"
TOKEN_STALL, API_STALL, HANG = 4.0, 2.0, 8.0


class RecordingServer(AuthorizationServer):
    """An authorization server that records every token request with its source."""

    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self.journal = journal

    def respond(self, request: SeenRequest, closing: Callable[[], bool]) -> Outcome:
        """Return the answer, and record it with its times."""
        source, begun = request.headers.get(SOURCE, "?"), time.monotonic()
        outcome: Outcome | None = None
        try:
            outcome = super().respond(request, closing)
        finally:
            if not isinstance(outcome, Fault):
                self._record(source, begun, outcome)
        if not isinstance(outcome, Fault):
            return outcome
        fault = outcome

        def play(line: Line) -> None:
            try:
                fault.play(line)
            finally:
                self._record(source, begun, fault)

        if fault.name == "stall":  # the request is in progress until the stall ends
            return Fault(fault.name, play)
        self._record(source, begun, fault)
        return fault

    def _record(self, source: str, begun: float, outcome: Outcome | None) -> None:
        token, lifetime = None, 0.0
        if isinstance(outcome, Answer) and outcome.status == 200 and outcome.body[:1] == b"{":
            members = json.loads(outcome.body)
            token, lifetime = members["access_token"], float(members["expires_in"])
        name = _name(outcome)
        done = TokenRequest(source, begun, time.monotonic(), name, token, lifetime)
        self.journal.token_requests.append(done)


class RecordingAPI(ProtectedAPI):
    """An API that records every request with its call.

    ``/hop/x`` redirects to ``/call/x``. ``/refusing`` refuses every token, and its query is the
    name of the call.
    """

    def __init__(self, auth: AuthorizationServer, journal: Journal) -> None:
        super().__init__(auth)
        self.journal = journal
        self.add_route("/call/", _answer)
        self.add_route("/refusing", lambda _: oauth_error("invalid_token", status=401))
        self.add_route("/hop/", lambda seen: faults.redirect(seen.path.replace("/hop/", "/call/")))

    def respond(self, request: SeenRequest, closing: Callable[[], bool]) -> Outcome:
        """Return the answer, and record the request."""
        outcome: Outcome | None = None
        try:
            outcome = super().respond(request, closing)
        finally:
            self.requests.pop()  # a list with all bodies would be too long
            token = request.headers.get("Authorization", " ").partition(" ")[2]
            self.journal.attempts.append(
                Attempt(
                    request.query or request.path.rpartition("/")[2],
                    request.path,
                    request.headers.get(SOURCE, "?"),
                    time.monotonic(),
                    token or None,
                    hashlib.sha256(request.body).hexdigest(),
                    _name(outcome),
                )
            )
        return outcome


def _answer(seen: SeenRequest) -> Answer:
    """Return the name of the call and the digest of the body that arrived."""
    sha256 = hashlib.sha256(seen.body).hexdigest()
    return json_answer({"call": seen.path.rpartition("/")[2], "sha256": sha256})


def _name(outcome: Outcome | None) -> str:
    if outcome is None:
        return CLOSED
    return outcome.name if isinstance(outcome, Fault) else str(outcome.status)


def _stall(seconds: float) -> Fault:
    def play(line: Line) -> None:
        line.pause(seconds)

    return Fault("stall", play)


TOKEN_FAULTS: tuple[Callable[[], Outcome], ...] = (
    lambda: faults.unavailable(503, "1"),
    lambda: faults.unavailable(429, "2"),
    lambda: faults.unavailable(502, None),
    lambda: oauth_error("invalid_client", status=401),
    lambda: oauth_error("server_error", status=500),
    lambda: faults.empty(503),
    lambda: faults.html(200),
    faults.reset,
    faults.cut,
    faults.garbage,
    faults.truncated,
    lambda: _stall(TOKEN_STALL),
)
API_FAULTS: tuple[Callable[[], Outcome], ...] = (
    lambda: faults.unavailable(503),
    lambda: faults.html(502),
    lambda: oauth_error("invalid_token", status=401),
    faults.reset,
    faults.cut,
    faults.garbage,
    faults.truncated,
    lambda: _stall(API_STALL),
)


class FaultInjector(threading.Thread):
    """A thread that breaks something from time to time, chosen at random from a seed."""

    def __init__(self, world: World, seed: int) -> None:
        super().__init__(name="fault-injector")
        self._world = world
        self._chance = random.Random(seed)
        self._stopped = threading.Event()

    def run(self) -> None:
        """Inject faults until `stop()` is called."""
        actions: dict[Callable[[], None], int] = {
            self._revoke_all: 14,
            self._revoke_twice: 6,
            self._revoke_last: 10,
            self._change_lifetime: 20,
            self._break_token_endpoint: 22,
            self._break_api: 22,
            self._change_delay: 6,
            self._take_down: 4,
            self._hang_while_tokens_are_valid: 2,
        }
        if self._world.redis is not None:
            actions[self._freeze_redis] = 4
        while not self._stopped.wait(self._chance.uniform(0.05, 0.5)):
            self._chance.choices(list(actions), list(actions.values()))[0]()

    def stop(self) -> None:
        """Stop the thread, and wait for its end."""
        self._stopped.set()
        self.join()

    def _revoke_all(self) -> None:
        self._world.journal.revocations += 1
        self._world.auth.revoke_all()

    def _revoke_twice(self) -> None:
        self._revoke_all()
        self._stopped.wait(self._chance.uniform(0.0, 1.0))
        self._revoke_all()

    def _revoke_last(self) -> None:
        for token in self._world.auth.issued[-1:]:
            self._world.journal.revocations += 1
            self._world.auth.revoke(token)

    def _change_lifetime(self) -> None:
        self._world.auth.token_lifetime = self._chance.randint(1, 5)

    def _break_token_endpoint(self) -> None:
        self._world.journal.faults += 1
        fault, times = self._chance.choice(TOKEN_FAULTS)(), self._chance.choice((1, 1, 2, 3))
        if isinstance(fault, Answer) and fault.status == 401:
            times = 1  # each refusal in a row is remembered for longer
        self._world.auth.answer_next(fault, times)

    def _break_api(self) -> None:
        self._world.journal.faults += 1
        times = self._chance.choice((1, 2, 4))
        self._world.api.answer_next(self._chance.choice(API_FAULTS)(), times)

    def _hang_while_tokens_are_valid(self) -> None:
        self._world.journal.faults += 1
        self._world.auth.token_lifetime = 60
        self._world.auth.answer_next(_stall(HANG), 1)

    def _freeze_redis(self) -> None:
        self._world.journal.faults += 1
        redis: Any = self._world.redis
        with self._world.journal.outage("redis"):
            os.kill(redis.pid, signal.SIGSTOP)
            self._stopped.wait(self._chance.uniform(0.1, 3.0))
            os.kill(redis.pid, signal.SIGCONT)

    def _change_delay(self) -> None:
        self._world.auth.delay = self._chance.choice((0.0, 0.05, 0.2))

    def _take_down(self) -> None:
        self._world.journal.faults += 1
        name = self._chance.choice(("token endpoint", "api"))
        server: Any = self._world.auth if name == "token endpoint" else self._world.api
        with self._world.journal.outage(name):
            server.down()
            self._stopped.wait(self._chance.uniform(0.1, 0.8))
            server.up()


class Redis:
    """A Redis server of this machine, which keeps nothing on disk."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{port}/0"
        options = ["--port", str(port), "--bind", "127.0.0.1", "--save", ""]
        command = ["redis-server", *options]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603
        self.pid = self._process.pid
        deadline = time.monotonic() + 10.0
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                return
            time.sleep(0.05)
        raise RuntimeError("the Redis server does not start")

    def close(self) -> None:
        """End the server."""
        os.kill(self.pid, signal.SIGCONT)
        self._process.terminate()
        self._process.wait(10)


class World:
    """The servers and their journal; a `with` block starts and closes the servers.

    ``redis`` is None if there is no ``redis-server`` on this machine.
    """

    def __init__(self) -> None:
        self.journal = Journal()
        self.redis = Redis() if shutil.which("redis-server") else None
        self.auth = RecordingServer(self.journal)
        self.api = RecordingAPI(self.auth, self.journal)
        self.auth.token_lifetime = 3

    def __enter__(self) -> World:
        self.auth.start()
        self.api.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.api.close()
        self.auth.close()
        if self.redis is not None:
            self.redis.close()
