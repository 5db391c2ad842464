"""What a request costs in a session with 1, 10, 100 and 1,000 authorized prefixes.

It must not depend on their number. Counted are the functions called (Python and C) and the
bytecode instructions carried out for one warm request: the same on every machine, and the script
fails where they grow. The time is a ratio to the session with one prefix, the median over rounds
in which all sessions take turns, so that what else the machine does hits them alike. The network
is left out: an adapter answers by itself.

    python benchmarks/prefixes.py [seconds]        default: 8
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import requests
from requests.adapters import BaseAdapter

from oauthcc import ClientCredentialsSession
from oauthcc.testing import AuthorizationServer

NUMBERS = (1, 10, 100, 1000)
BATCH = 20


class NoNetwork(BaseAdapter):
    """Answers 200 at once."""

    def send(self, request: requests.PreparedRequest, **_: Any) -> requests.Response:  # type: ignore[override]
        """Answer."""
        response = requests.Response()
        response.status_code, response.url, response.request = 200, str(request.url), request
        response._content = b""
        return response

    def close(self) -> None:
        """Have nothing to close."""


def by_path(number: int) -> str:
    """Give a prefix at an origin that all share."""
    return f"https://api.example/v{number:04}"


def by_origin(number: int) -> str:
    """Give a prefix at an origin of its own."""
    return f"https://api{number:04}.example/v1"


Layout = tuple[Callable[[int], str], str, bool]
#: Where the prefixes lie, which URL is asked for, and whether the session is limited to prefixes.
LAYOUTS: dict[str, Layout] = {
    "the last of many paths": (by_path, "{last}/orders/7", False),
    "the last of many origins": (by_origin, "{last}/orders/7", False),
    "a path beside the prefixes": (by_path, "https://api.example/other/orders/7", False),
    "an origin beside the prefixes": (by_origin, "https://else.example/v1/orders/7", False),
    "outside, so without a token": (by_path, "https://else.example/v1/orders/7", True),
}


def make(auth: AuthorizationServer, number: int, layout: Layout) -> tuple[requests.Session, str]:
    """Make a session with so many prefixes, each with a token of its own, and a URL to ask for."""
    prefix, url, limited = layout
    session = ClientCredentialsSession(
        auth.token_url,
        auth.client_id,
        auth.client_secret,
        api_url="https://first.example" if limited else None,
    )
    for each in range(number):
        session.add_api(prefix(each), scope=f"scope-{each}")
    session.trust_env = False  # netrc and proxies are no matter of ours
    session.mount("https://", NoNetwork())
    return session, url.format(last=prefix(number - 1))


def calls(session: requests.Session, url: str) -> int:
    """Count the functions that one request calls."""
    counted = 0

    def watch(_: Any, event: str, __: Any) -> None:
        nonlocal counted
        counted += event in ("call", "c_call")

    sys.setprofile(watch)
    try:
        session.get(url)
    finally:
        sys.setprofile(None)
    return counted


def instructions(session: requests.Session, url: str) -> int:
    """Count the bytecode instructions that one request carries out."""
    counted = 0

    def watch(frame: Any, event: str, _: Any) -> Any:
        nonlocal counted
        frame.f_trace_opcodes = True
        counted += event == "opcode"
        return watch

    before = sys.gettrace()
    sys.settrace(watch)
    try:
        session.get(url)
    finally:
        sys.settrace(before)
    return counted


def batch(session: requests.Session, url: str) -> float:
    """Send a batch; give the seconds that it took."""
    begun = time.perf_counter()
    for _ in range(BATCH):
        session.get(url)
    return time.perf_counter() - begun


def measure(title: str, layout: Layout, seconds: float) -> bool:
    """Print one line for each number of prefixes; say whether the counts are the same."""
    with AuthorizationServer() as auth, ExitStack() as stack:
        made = [make(auth, number, layout) for number in NUMBERS]
        counts, times = [], []
        for session, url in made:
            stack.enter_context(session)
            batch(session, url)
            counts.append((calls(session, url), instructions(session, url)))
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            times.append([batch(*one) for one in made])
    print(f"\n{title} ({len(times)} rounds)")
    print(f"{'prefixes':>10}{'calls':>8}{'instructions':>14}{'µs':>8}{'ratio':>8}")
    for place, (number, count) in enumerate(zip(NUMBERS, counts, strict=True)):
        took = statistics.median(each[place] for each in times) / BATCH * 1e6
        ratio = statistics.median(each[place] / each[0] for each in times)
        print(f"{number:10}{count[0]:8}{count[1]:14}{took:8.1f}{ratio:8.3f}")
    return len(set(counts)) == 1


def main() -> None:
    """Measure every layout, and fail where a count depends on the number of prefixes."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 8.0
    shares = seconds / len(LAYOUTS)
    same = [measure(title, layout, shares) for title, layout in LAYOUTS.items()]
    if not all(same):
        sys.exit("\nThe cost of a request grows with the number of prefixes.")
    print("\nThe cost of a request does not depend on the number of prefixes.")


if __name__ == "__main__":
    main()
