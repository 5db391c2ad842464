"""Whether memory stays flat if 100,000 requests go to 10,000 origins that refuse every token.

A line for each 20,000 requests: the memory that Python has allocated, the pauses that are kept, and
the token requests so far. The clocks of the library stand still, so that no pause ends.
"""

from __future__ import annotations

import gc
import json
import sys
import tracemalloc
from types import SimpleNamespace
from typing import Any

import requests
from requests.adapters import BaseAdapter

from oauthcc import ClientCredentialsSession, clock

ORIGINS, STEP = 10_000, 20_000
TOKEN_URL = "https://as.example/token"


class Refusing(BaseAdapter):
    """An authorization server, and an API on every other host, which refuses every token."""

    tokens = 0

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> Any:
        """Answer with a new token, or with 401."""
        response = requests.Response()
        response.status_code, response.url, response.request = 401, str(request.url), request
        response._content = b""
        if response.url == TOKEN_URL:
            self.tokens += 1
            token = {"access_token": f"token-{self.tokens}", "token_type": "Bearer"}
            response.status_code, response._content = 200, json.dumps(token).encode()
        return response

    def close(self) -> None:
        """Do nothing."""


def main(count: int = 100_000) -> None:
    """Send the requests and print the lines."""
    session, adapter = ClientCredentialsSession(TOKEN_URL, "my-id", "my-secret"), Refusing()
    session.trust_env = False
    session.mount("https://", adapter)
    clock.system = SimpleNamespace(monotonic=lambda: 1e9, time=lambda: 1e9)
    tracemalloc.start()
    for number in range(1, count + 1):
        session.get(f"https://api{number % ORIGINS}.example/orders")
        if number % STEP == 0:
            gc.collect()
            kept, entries = tracemalloc.get_traced_memory()[0], len(session.tokens._pauses._pauses)
            line = f"{number:7d} requests: {kept // 1024:6d} KiB, {entries:4d} pauses"
            print(f"{line}, {adapter.tokens} token requests", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
