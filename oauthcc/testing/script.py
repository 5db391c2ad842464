"""What a test tells a server to do next: hold requests, be slow, answer with something else."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from .faults import AnyAnswer, Outcome, as_outcome


class Gate:
    """Keep requests waiting until the test lets them go: what tests use in place of sleeping.

    Made by `hold()` of a server. Leaving the `with` block releases it.
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
                raise TimeoutError(f"{self.held} requests are held, {n} were expected")

    def release(self) -> None:
        """Let all go that are held, and all that come later; doing so twice is harmless."""
        with self._changed:
            self.released = True
            self._changed.notify_all()

    def __enter__(self) -> Gate:
        """Give the gate itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release it."""
        self.release()

    def pass_through(self, closing: Callable[[], bool]) -> None:
        """Wait for the release or the closing of the server; the caller holds the condition."""
        self.held += 1
        self._changed.notify_all()
        self._changed.wait_for(lambda: self.released or closing())
        self.held -= 1


@dataclass(slots=True)
class _Canned:
    outcome: Outcome
    left: int | None
    path: str


class Script:
    """Hold what a server was told to do.

    Each instruction is for one path prefix, by default for `main_path`: the whole API, or the
    token endpoint of an authorization server.
    """

    def __init__(self, main_path: str) -> None:
        """Start with nothing told."""
        # Looked up now and not at import, so that gevent's patching is respected.
        self._changed = threading.Condition()
        self._gates: list[Gate] = []
        self._canned: list[_Canned] = []
        self._in_progress = 0
        self._main_path = main_path
        self.delay: float = 0.0
        self.max_concurrent: int = 0

    def hold(self, path: str | None = None) -> Gate:
        """Make a gate that holds every request for this path until it is released."""
        gate = Gate(self._changed, self._main_path if path is None else path)
        with self._changed:
            self._gates.append(gate)
        return gate

    def answer_next(self, answer: AnyAnswer, n: int | None, path: str | None) -> None:
        """Answer the next `n` requests so (None: all); first told, first used."""
        path = self._main_path if path is None else path
        with self._changed:
            self._canned.append(_Canned(as_outcome(answer), n, path))

    def answer_normally(self) -> None:
        """Forget every canned answer."""
        with self._changed:
            self._canned.clear()

    def forget(self) -> None:
        """Start counting concurrent requests anew."""
        with self._changed:
            self.max_concurrent = self._in_progress

    def wake(self) -> None:
        """Let those who wait see that their server is being closed."""
        with self._changed:
            self._changed.notify_all()

    def pause(self, seconds: float, closing: Callable[[], bool]) -> None:
        """Wait, but no longer than the server lives."""
        with self._changed:
            self._changed.wait_for(closing, seconds)

    def perform(
        self, path: str, closing: Callable[[], bool], answer: Callable[[], Outcome]
    ) -> Outcome:
        """Hold and delay a request as told, then give the canned answer or the normal one.

        Raises ConnectionAbortedError where the server was closed meanwhile: there is nobody to
        answer, and no token should be issued.
        """
        counted = path.startswith(self._main_path)
        with self._changed:
            self._in_progress += counted
            self.max_concurrent = max(self.max_concurrent, self._in_progress)
        try:
            self._wait(path, closing, self.delay if counted else 0.0)
            if closing():
                raise ConnectionAbortedError("the server is being closed")
            return self._canned_for(path) or answer()
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

    def _canned_for(self, path: str) -> Outcome | None:
        with self._changed:
            for canned in self._canned:
                if not path.startswith(canned.path):
                    continue
                if canned.left is not None:
                    canned.left -= 1
                    if not canned.left:
                        self._canned.remove(canned)
                return canned.outcome
        return None


class Scriptable:
    """Let a test script a server; both servers inherit these methods."""

    _script: Script

    @property
    def delay(self) -> float:
        """Give the seconds that every request (at an authorization server: token request) waits."""
        return self._script.delay

    @delay.setter
    def delay(self, seconds: float) -> None:
        self._script.delay = seconds

    @property
    def max_concurrent(self) -> int:
        """Give the highest number of requests (token requests) that were in progress at once."""
        return self._script.max_concurrent

    def hold(self, path: str | None = None) -> Gate:
        """Keep requests waiting from now on; give the gate that lets them go."""
        return self._script.hold(path)

    def answer_next(self, answer: AnyAnswer, n: int | None = 1, path: str | None = None) -> None:
        """Answer the next `n` requests with this.

        It is an `Answer`, a `Fault`, or a plain `(status, headers, body)`. With `n=None` it goes
        for all, until `answer_normally()`. `path` is a prefix and chooses which requests are
        meant; without it, every request to an API, and the token requests of an authorization
        server. What was told first is used first.
        """
        self._script.answer_next(answer, n, path)

    def answer_normally(self) -> None:
        """Forget every canned answer and refusal that is left."""
        self._script.answer_normally()
