"""Many threads at one source, switched as often as can be, or truly parallel without the GIL.

Where a state is made of several writes, one of these threads sooner or later sees it half made.
"""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import requests
from requests.adapters import BaseAdapter
from urllib3 import HTTPResponse

from oauthcc import ClientCredentialsSession
from oauthcc.access_token import Token
from oauthcc.ledger import Held
from oauthcc.supplier import Obtained, Order, Supplier

THREADS, RENEWALS, ROUNDS, REPLACED = 8, 100, 50, 1000


class Mint:
    """Stand in the place of a supplier, and bring numbered tokens as fast as can be."""

    def __init__(self) -> None:
        self.numbers = itertools.count(1)
        self.last = 0
        self.busy = 0
        self.most_busy = 0

    def obtain(self, order: Order, *_: Any) -> Obtained:
        self.busy += 1  # by one thread at a time, or the test fails
        self.most_busy = max(self.most_busy, self.busy)
        self.last = next(self.numbers)
        now = time.time()
        self.busy -= 1
        return Obtained(Token(str(self.last), issued_at=now, expires_at=now + 3600), 1)


@pytest.fixture
def mint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mint]:
    made = Mint()
    monkeypatch.setattr(Supplier, "obtain", made.obtain)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield made
    sys.setswitchinterval(before)


@pytest.fixture
def session(mint: Mint) -> Iterator[ClientCredentialsSession]:
    with ClientCredentialsSession("https://as.example/token", "id", "secret") as made:
        yield made


def in_parallel(*works: Callable[[], None]) -> None:
    """Run all at once; raise what the first of them raised."""
    errors: list[BaseException] = []
    start = threading.Barrier(len(works))

    def run(work: Callable[[], None]) -> None:
        start.wait()
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def check(held: Held) -> int:
    """Look whether all parts of a record are of one token, and return its number."""
    header, plan = held.header.encode().decode(), held.plan
    assert header == f"Bearer {held.token.access_token}"
    assert (held.aging_monotonic, held.aging_wall) == plan.aging
    assert plan.expiry.wall == pytest.approx(held.token.expires_at, abs=0.001)
    return int(held.token.access_token)


def test_what_is_held_is_whole_while_it_is_replaced(
    session: ClientCredentialsSession, mint: Mint
) -> None:
    source, over = session.tokens, threading.Event()
    source.get()

    def read() -> None:
        latest = 0
        while not over.is_set():
            number = check(source.current())
            assert number >= latest
            latest = number

    def replace() -> None:
        # As flights do, but without those that put the current token out of use before.
        try:
            for number in range(2, REPLACED):
                lifetime = 3600 + 10 * number
                now = time.time()
                token = Token(str(number), issued_at=now, expires_at=now + lifetime)
                header = source.grant.scheme.authorization(token)
                with source._fetching.lock:
                    source._ledger.take_in(token, header, "expired", time.monotonic())
        finally:
            over.set()

    in_parallel(replace, *[read] * (THREADS - 1))


def test_what_is_held_is_whole_while_it_is_renewed(
    session: ClientCredentialsSession, mint: Mint
) -> None:
    source, over = session.tokens, threading.Event()

    def read() -> None:
        latest = 0
        while not over.is_set():
            number = check(source.current())
            assert number >= latest
            latest = number

    def renew() -> None:
        try:
            for _ in range(RENEWALS):
                returned = source.renew()
                assert int(source.get().access_token) >= int(returned.access_token)
        finally:
            over.set()

    source.get()
    in_parallel(renew, *[read] * (THREADS - 1))
    assert mint.last == RENEWALS + 1
    assert mint.most_busy == 1


def test_a_token_that_many_refuse_is_renewed_once(
    session: ClientCredentialsSession, mint: Mint
) -> None:
    source = session.tokens
    refused: set[str] = set()

    def refuse() -> None:
        for _ in range(RENEWALS // THREADS):
            token = source.get()
            refused.add(token.access_token)
            assert int(source.renew(token).access_token) > int(token.access_token)

    in_parallel(*[refuse] * THREADS)
    # Each of them was fetched in the place of one that was refused, but for the first.
    assert mint.last == len(refused) + 1
    assert mint.most_busy == 1


class Revoking(BaseAdapter):
    """Be an API that refuses the tokens that came before the last revocation."""

    def __init__(self, mint: Mint) -> None:
        super().__init__()
        self.mint, self.revoked = mint, 0

    def revoke(self) -> None:
        self.revoked = self.mint.last

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        sent = request.headers["Authorization"].encode().decode()
        response = requests.Response()
        response.status_code = 200 if int(sent.split()[1]) > self.revoked else 401
        response.request, response.url = request, str(request.url)
        response._content = f"{sent} {request.headers['X-Caller']}".encode()
        response.raw = HTTPResponse(b"")
        return response

    def close(self) -> None:
        """Do nothing."""


def test_every_caller_gets_its_own_answer_though_tokens_are_revoked(
    session: ClientCredentialsSession, mint: Mint
) -> None:
    api = Revoking(mint)
    session.mount("https://", api)
    all_here = threading.Barrier(THREADS, api.revoke, timeout=60)

    def call(name: str) -> None:
        for number in range(ROUNDS):
            all_here.wait()
            headers = {"X-Caller": f"{name}-{number}"}
            answer = session.get("https://api.example/", headers=headers)
            assert answer.status_code == 200
            shown = answer.request.headers["Authorization"].encode().decode()
            assert answer.text == f"{shown} {name}-{number}"

    in_parallel(*[partial(call, str(number)) for number in range(THREADS)])
    assert mint.last == ROUNDS
    assert mint.most_busy == 1


def test_the_gil_is_as_the_run_asks_for() -> None:
    # The legs of CI on free-threaded Python set PYTHON_GIL=0: an extension must not turn it on.
    if "free-threading" in sys.version:
        assert not getattr(sys, "_is_gil_enabled")()  # noqa: B009 - unknown before Python 3.13
