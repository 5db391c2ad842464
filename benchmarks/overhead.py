"""The cost of a request with a valid token, compared with requests and a header written by hand.

The contenders send one request each in turn, so that other load on the machine affects all of them
equally. ``ratio`` is the median over all rounds of the time of a request divided by the time of the
plain request of the same round. The second plain session shows how exact the ratio is. ``calls`` is
the number of Python and C functions called per request, ``stats`` the number of file system
queries; both are the same on every machine. With "no network" an adapter answers at once. With
"loopback" another process answers as fast as possible; a real API takes longer, so that the ratio
is closer to 1.

    python benchmarks/overhead.py [seconds]        default: 24
"""

from __future__ import annotations

import multiprocessing
import os
import selectors
import socket
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import requests
from requests.adapters import BaseAdapter

from oauthcc import ClientCredentialsAuth, ClientCredentialsSession
from oauthcc.testing import AuthorizationServer

WARM_UP = 50
PLAIN = "requests, header by hand"
OURS = "ClientCredentialsSession"
Make = Callable[[AuthorizationServer], requests.Session]


class NoNetwork(BaseAdapter):
    """An adapter that answers 200 at once."""

    def send(self, request: requests.PreparedRequest, **_: Any) -> requests.Response:  # type: ignore[override]
        """Return an empty response."""
        response = requests.Response()
        response.status_code, response.url, response.request = 200, str(request.url), request
        response._content = b""
        return response

    def close(self) -> None:
        """Close nothing."""


@dataclass
class Contender:
    """One way to send a request with a token, and the seconds that each request took."""

    name: str
    session: requests.Session
    url: str
    calls: int = 0
    stats: int = 0
    times: list[float] = field(default_factory=list)

    def run(self) -> None:
        """Send one request and record its time."""
        begun = time.perf_counter()
        self.session.get(self.url)
        self.times.append(time.perf_counter() - begun)

    def count(self) -> None:
        """Count the function calls of one request."""
        calls = stats = 0

        def watch(_: Any, event: str, argument: Any) -> None:
            nonlocal calls, stats
            if event in ("call", "c_call"):
                calls += 1
                stats += event == "c_call" and argument.__name__ in ("stat", "_path_exists")

        sys.setprofile(watch)
        try:
            self.run()
        finally:
            sys.setprofile(None)
        self.calls, self.stats = calls, stats


def plain(auth: AuthorizationServer) -> requests.Session:
    """Return a plain session with a header written by hand."""
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {auth.make_token()}"
    return session


def ours(auth: AuthorizationServer) -> requests.Session:
    """Return our session, with its token fetched."""
    session = ClientCredentialsSession(auth.token_url, auth.client_id, auth.client_secret)
    session.tokens.get()
    return session


def ours_with_prefixes(auth: AuthorizationServer) -> requests.Session:
    """Return our session with many prefixes, which must not make it slower."""
    session = ours(auth)
    assert isinstance(session, ClientCredentialsSession)
    for number in range(20):
        session.add_api(f"https://api{number}.example/v{number}", tokens=session.tokens)
    return session


def ours_as_auth(auth: AuthorizationServer) -> requests.Session:
    """Return a plain session with our auth object."""
    session = requests.Session()
    session.auth = ClientCredentialsAuth(auth.token_url, auth.client_id, auth.client_secret)
    return session


def peer(auth: AuthorizationServer) -> requests.Session:
    """Return a session of requests-oauthlib, with a token that never expires."""
    from requests_oauthlib import OAuth2Session

    os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"
    session: requests.Session = OAuth2Session(
        token={"access_token": auth.make_token(), "token_type": "Bearer"}
    )
    return session


CONTENDERS: dict[str, Make] = {
    PLAIN: plain,
    OURS: ours,
    "  with 20 prefixes": ours_with_prefixes,
    "ClientCredentialsAuth": ours_as_auth,
    "requests-oauthlib": peer,
    "requests once more": plain,
}


def answer(listening: socket.socket) -> None:
    """Answer all requests on all connections, as fast as possible."""
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    with selectors.DefaultSelector() as selector:
        selector.register(listening, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                line = key.fileobj
                assert isinstance(line, socket.socket)
                if line is listening:
                    line = listening.accept()[0]
                    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    selector.register(line, selectors.EVENT_READ)
                elif line.recv(65536):
                    line.sendall(reply)
                else:
                    selector.unregister(line)
                    line.close()


@contextmanager
def loopback() -> Iterator[str]:
    """Run a server in another process, and yield its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        process = multiprocessing.get_context("spawn").Process(
            target=answer, args=(listening,), daemon=True
        )
        process.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/x"
        finally:
            process.terminate()
            process.join()


def measure(url: str, seconds: float, *, network: bool, trust_env: bool) -> list[Contender]:
    """Run all contenders in turn for this many seconds."""
    with AuthorizationServer() as auth, ExitStack() as stack:
        contenders = []
        for name, make in CONTENDERS.items():
            session = stack.enter_context(make(auth))
            session.trust_env = trust_env
            if not network:
                session.mount("http://", NoNetwork())
            contenders.append(Contender(name, session, url))
        for contender in contenders:
            for _ in range(WARM_UP):
                contender.run()
            contender.count()
            contender.times.clear()
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            for contender in contenders:
                contender.run()
    return contenders


def show(title: str, contenders: list[Contender]) -> None:
    """Print one table."""
    base = contenders[0]
    print(f"\n{title} ({len(base.times)} rounds)")
    print(f"{'':28}{'µs':>8}{'ratio':>8}{'calls':>8}{'stats':>8}")
    for one in contenders:
        pairs = zip(one.times, base.times, strict=True)
        ratio = statistics.median(mine / theirs for mine, theirs in pairs)
        took = statistics.median(one.times) * 1e6
        print(f"{one.name:28}{took:8.1f}{ratio:8.3f}{one.calls:8}{one.stats:8}")


def main() -> None:
    """Measure in four settings, and print the tables."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 24.0
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]
    with loopback() as url:
        for network in (False, True):
            for trust_env in (True, False):
                title = "loopback" if network else "no network"
                title += ", requests' defaults" if trust_env else ", trust_env=False"
                show(title, measure(url, seconds / 4, network=network, trust_env=trust_env))


if __name__ == "__main__":
    main()
