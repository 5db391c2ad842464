"""Many threads use one source, switched as often as possible, or in parallel without the GIL.

If a change of the state consisted of several writes, one of these threads would sooner or later
read only some of them.
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

from oauthcc import ClientCredentialsSession, TokenSource
from oauthcc.access_token import Token
from oauthcc.schemes import Bearer
from oauthcc.tokens.fetcher import FetchResult, TokenFetcher, TokenNeed
from oauthcc.tokens.state import CurrentToken

from .inside import state_of

pytestmark = pytest.mark.unmeasured

THREADS, RENEWALS, ROUNDS, REPLACED = 8, 100, 50, 1000


class Mint:
    """A fetcher whose tokens are numbers and take no time."""

    def __init__(self) -> None:
        self.numbers = itertools.count(1)
        self.last = 0
        self.busy = 0
        self.most_busy = 0

    def fetch(self, need: TokenNeed) -> FetchResult:
        self.busy += 1  # by one thread at a time, or the test fails
        self.most_busy = max(self.most_busy, self.busy)
        self.last = next(self.numbers)
        self.busy -= 1
        return self.result(need, self.last)

    @staticmethod
    def result(need: TokenNeed, number: int, lifetime: float = 3600.0) -> FetchResult:
        now = time.time()
        token = Token(str(number), issued_at=now, expires_at=now + lifetime)
        header = Bearer().authorization(token)
        return FetchResult(need.why, need.number, token=token, header=header, attempts=1)


@pytest.fixture
def mint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mint]:
    made = Mint()
    monkeypatch.setattr(TokenFetcher, "fetch", made.fetch)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield made
    sys.setswitchinterval(before)


@pytest.fixture
def session(mint: Mint) -> Iterator[ClientCredentialsSession]:
    with ClientCredentialsSession("https://as.example/token", "id", "secret") as made:
        yield made


def in_parallel(*works: Callable[[], None]) -> None:
    """Call all functions at once; raise the first error."""
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


def check(current: CurrentToken) -> int:
    """Check that all parts of a value belong to one token; return its number."""
    assert current.header.encode().decode() == f"Bearer {current.token.access_token}"
    assert current.plan.expiry.wall == pytest.approx(current.token.expires_at, abs=0.001)
    return int(current.token.access_token)


def while_others_read(source: TokenSource, change: Callable[[], None]) -> None:
    """Change the token while other threads get tokens, which are whole and never older ones."""
    over = threading.Event()
    source.get()

    def read() -> None:
        latest = 0
        while not over.is_set():
            number = check(source._get())
            assert number >= latest
            latest = number

    def until_over() -> None:
        try:
            change()
        finally:
            over.set()

    in_parallel(until_over, *[read] * (THREADS - 1))


def test_readers_see_whole_tokens_while_the_token_is_replaced(
    session: ClientCredentialsSession,
) -> None:
    # Unlike a renewal, this does not put the token held into its margin before.
    def replace() -> None:
        for number in range(2, REPLACED):
            state = state_of(session.tokens)
            need = state.number(TokenNeed("expired"))
            state.record(Mint.result(need, number, 3600 + 10 * number))

    while_others_read(session.tokens, replace)


def test_readers_see_whole_tokens_while_the_token_is_renewed(
    session: ClientCredentialsSession, mint: Mint
) -> None:
    def renew() -> None:
        for _ in range(RENEWALS):
            returned = session.tokens.renew()
            assert int(session.tokens.get().access_token) >= int(returned.access_token)

    while_others_read(session.tokens, renew)
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
    # Each token except the first was fetched because another one was refused.
    assert mint.last == len(refused) + 1
    assert mint.most_busy == 1


class Revoking(BaseAdapter):
    """An API that refuses the tokens that were issued before the last revocation."""

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


def test_every_caller_gets_its_own_answer_although_tokens_are_revoked(
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


def test_free_threaded_python_runs_without_the_gil() -> None:
    # CI sets PYTHON_GIL=0 there, and an extension must not turn the GIL on.
    if "free-threading" in sys.version:
        assert not getattr(sys, "_is_gil_enabled")()  # noqa: B009 - unknown before Python 3.13
