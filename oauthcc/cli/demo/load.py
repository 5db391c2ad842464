"""What the callers and the servers of the time line saw, and when."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ...session import ClientCredentialsSession
from ..traffic import Exchange

CALLERS, PAUSE = 8, 0.02


class Record:
    """When something happened, in seconds since the beginning; lists only grow."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self.ok: list[float] = []
        self.failed: list[float] = []
        self.token_requests: list[float] = []
        self.renewals: list[float] = []
        self.unavailable: list[float] = []
        self.refused: list[float] = []
        self.revocations: list[float] = []
        #: The statuses that callers got.
        self.statuses: list[int] = []
        #: The moments at which an outage began or ended.
        self.outage: list[float] = []

    @property
    def now(self) -> float:
        """Return the seconds since the beginning."""
        return time.monotonic() - self._began

    def second(self, number: int) -> str:
        """Return a line about one second."""

        def count(times: list[float]) -> int:
            return sum(number <= each < number + 1 for each in times[:])

        return (
            f"  [second {number + 1}] {count(self.ok)} calls ok, {count(self.failed)} failed;"
            f" token requests: {count(self.token_requests)}, answered 503:"
            f" {count(self.unavailable)}; 401s of the API: {count(self.refused)}"
        )

    def see(self, exchange: Exchange) -> None:
        """Note what a server received and answered."""
        if exchange.to_api:
            if exchange.answer == "401":
                self.refused.append(self.now)
            return
        self.token_requests.append(self.now)
        if exchange.issued > 1:
            self.renewals.append(self.now)
        elif not exchange.issued:
            self.unavailable.append(self.now)

    def call(self, session: ClientCredentialsSession, url: str) -> None:
        """Send one request and note its result."""
        try:
            status = session.get(url).status_code
        except Exception:  # noqa: BLE001 - a call that raises anything has failed
            self.failed.append(self.now)
            return
        self.statuses.append(status)
        (self.ok if status == 200 else self.failed).append(self.now)


@contextmanager
def callers(record: Record, session: ClientCredentialsSession, url: str) -> Iterator[None]:
    """Let threads call an API again and again during the `with` block."""
    end = threading.Event()

    def call_until_the_end() -> None:
        while not end.wait(PAUSE):
            record.call(session, url)

    threads: list[threading.Thread] = []
    try:
        for _ in range(CALLERS):
            thread = threading.Thread(target=call_until_the_end, daemon=True)
            thread.start()
            threads.append(thread)
        yield
    finally:
        end.set()
        for thread in threads:
            thread.join()
