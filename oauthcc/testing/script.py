"""A server that a test controls: it can hold requests, delay them, or change the next answers."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from .faults import AnyAnswer, Outcome, as_outcome
from .http import LoopbackServer


class Gate:
    """A gate that keeps requests waiting until the test releases it, so that tests need no sleep.

    It is returned by `hold()` of a server. Leaving the `with` block releases it.
    """

    def __init__(self, changed: threading.Condition, path: str) -> None:
        self._changed = changed
        self.path = path
        self.released: bool = False
        self.held: int = 0

    def wait_for(self, n: int = 1, timeout: float = 10.0) -> None:
        """Wait until `n` requests are held; raise TimeoutError after `timeout` seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.held >= n, timeout):
                raise TimeoutError(f"{self.held} requests are held, {n} were expected.")

    def release(self) -> None:
        """Release the held requests and all later ones. A second call does nothing."""
        with self._changed:
            self.released = True
            self._changed.notify_all()

    def __enter__(self) -> Gate:
        """Return the gate."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release the gate."""
        self.release()

    def pass_through(self, closing: Callable[[], bool]) -> None:
        """Wait until the gate is released or the server closes; the caller holds the condition."""
        self.held += 1
        self._changed.notify_all()
        self._changed.wait_for(lambda: self.released or closing())
        self.held -= 1


@dataclass(slots=True)
class _Scripted:
    outcome: Outcome
    left: int | None
    path: str


def checked_path(prefix: str) -> str:
    """Return the prefix of a path; raise ValueError if no path begins with it."""
    if not prefix.startswith("/"):
        raise ValueError(f"A path begins with a slash, unlike {prefix!r}.")
    return prefix


class ScriptedServer(LoopbackServer):
    """A server whose next answers a test can hold, delay or replace.

    Each instruction is for one path prefix, by default for `main_path`: the whole API, or the
    token endpoint of an authorization server.
    """

    def __init__(self, main_path: str, *, port: int, tls: ssl.SSLContext | None) -> None:
        """Create a server without any instruction."""
        super().__init__(port=port, tls=tls)
        # Created here and not at import, so that gevent's patching is respected.
        self._changed = threading.Condition()
        self._gates: list[Gate] = []
        self._scripted: list[_Scripted] = []
        self._in_progress = 0
        self._main_path = main_path
        self.delay: float = 0.0
        """Seconds by which each request (authorization server: token request) is delayed."""
        self.max_concurrent: int = 0
        """The highest number of requests (token requests) that were in progress at once."""

    def hold(self, path: str | None = None) -> Gate:
        """Keep requests waiting from now on, and return the gate that releases them."""
        gate = Gate(self._changed, self._main_path if path is None else checked_path(path))
        with self._changed:
            self._gates.append(gate)
        return gate

    def answer_next(self, answer: AnyAnswer, n: int | None = 1, path: str | None = None) -> None:
        """Answer the next `n` requests with this answer.

        `answer` is an `Answer`, a `Fault`, or a plain `(status, headers, body)`. With `n=None` it
        is used for all requests until `answer_normally()`. `path` is a prefix that selects the
        requests; without it, all requests to an API are meant, and the token requests of an
        authorization server. Answers are used in the order in which they were given. Raises
        ValueError or TypeError for anything else.
        """
        if n is not None and (not isinstance(n, int) or n < 1):
            raise ValueError(f"n must be the number of requests (None: all of them), not {n!r}.")
        path = self._main_path if path is None else checked_path(path)
        with self._changed:
            self._scripted.append(_Scripted(as_outcome(answer), n, path))

    def answer_normally(self) -> None:
        """Remove all scripted answers and refusals that are left."""
        with self._changed:
            self._scripted.clear()

    def forget(self) -> None:
        """Start counting concurrent requests again."""
        with self._changed:
            self.max_concurrent = self._in_progress

    def wake(self) -> None:
        """Wake the requests that wait, so that they notice that the server is being closed."""
        with self._changed:
            self._changed.notify_all()

    def _pause(self, seconds: float, closing: Callable[[], bool]) -> None:
        with self._changed:
            self._changed.wait_for(closing, seconds)

    def _perform(
        self, path: str, closing: Callable[[], bool], answer: Callable[[], Outcome]
    ) -> Outcome:
        """Delay a request as instructed, then return the scripted or the normal answer.

        Raise ConnectionAbortedError if the server was closed meanwhile, because then nobody can be
        answered and no token should be issued.
        """
        counted = path.startswith(self._main_path)
        with self._changed:
            self._in_progress += counted
            self.max_concurrent = max(self.max_concurrent, self._in_progress)
        try:
            self._wait(path, closing, self.delay if counted else 0.0)
            if closing():
                raise ConnectionAbortedError("The server is being closed.")
            return self._next_scripted(path) or answer()
        finally:
            with self._changed:
                self._in_progress -= counted

    def _wait(self, path: str, closing: Callable[[], bool], delay: float) -> None:
        with self._changed:
            self._gates = [gate for gate in self._gates if not gate.released]
            for gate in [gate for gate in self._gates if path.startswith(gate.path)]:
                gate.pass_through(closing)
            if delay:
                self._changed.wait_for(closing, delay)

    def _next_scripted(self, path: str) -> Outcome | None:
        with self._changed:
            for scripted in self._scripted:
                if not path.startswith(scripted.path):
                    continue
                if scripted.left is not None:
                    scripted.left -= 1
                    if not scripted.left:
                        self._scripted.remove(scripted)
                return scripted.outcome
        return None
