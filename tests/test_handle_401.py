"""The small parts of the answer to a 401: a refused answer, statuses."""

from __future__ import annotations

import gzip
import io
from typing import Any

import pytest
import requests
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3 import HTTPResponse
from urllib3.exceptions import ProtocolError

from oauthcc import ConfigurationError
from oauthcc.api_request.answer_body import RELEASE_LIMIT, release
from oauthcc.api_request.handle_401 import checked_status

from .internet import Internet
from .own_header import OwnScene
from .sessions import connected

# A refused answer


class Pool:
    """A connection pool that collects what comes back to it."""

    def __init__(self) -> None:
        self.back: list[Any] = []

    def _put_conn(self, connection: Any) -> None:
        self.back.append(connection)


class Connection:
    """A connection that knows whether it was closed."""

    def __init__(self) -> None:
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True


def answer(body: Any, **headers: str) -> tuple[requests.Response, Pool, Connection]:
    pool, connection = Pool(), Connection()
    raw = HTTPResponse(
        body,
        headers,
        401,
        preload_content=False,
        decode_content=False,
        pool=pool,  # type: ignore[arg-type]
        connection=connection,  # type: ignore[arg-type]
    )
    request = requests.Request("GET", "https://api.example/").prepare()
    return HTTPAdapter().build_response(request, raw), pool, connection


@pytest.mark.parametrize("size", [0, 1, 8192, RELEASE_LIMIT])
def test_a_short_answer_is_kept_and_its_connection_stays_open(size: int) -> None:
    response, pool, connection = answer(io.BytesIO(b"x" * size))
    release(response)
    assert response.content == b"x" * size
    assert pool.back == [connection]
    assert not connection.is_closed


def test_the_beginning_of_a_long_answer_is_kept_and_its_connection_closed() -> None:
    response, pool, connection = answer(io.BytesIO(b"x" * 1_000_000))
    release(response)
    assert response.content == b"x" * RELEASE_LIMIT
    assert pool.back == [connection]  # a blocking pool waits for it
    assert connection.is_closed


class Breaking(io.BytesIO):
    """A body that breaks off after its beginning."""

    def __init__(self, error: Exception) -> None:
        super().__init__(b"x" * 8192)
        self.error = error

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        if not data:
            raise self.error
        return data


@pytest.mark.parametrize("error", [OSError("reset"), ProtocolError("cut")], ids=repr)
def test_the_beginning_of_a_broken_answer_is_kept_and_its_connection_closed(
    error: Exception,
) -> None:
    response, pool, connection = answer(Breaking(error))
    release(response)
    assert response.content == b"x" * 8192
    assert pool.back == [connection]
    assert connection.is_closed


@pytest.mark.parametrize("error", [OSError("reset"), ProtocolError("cut")], ids=repr)
def test_the_beginning_of_a_broken_answer_that_can_only_read_is_kept(error: Exception) -> None:
    response = requests.Response()
    response.raw = Breaking(error)
    release(response)
    assert response.content == b"x" * 8192
    assert response.raw.closed


def test_the_connection_of_a_badly_compressed_answer_is_closed() -> None:
    response, pool, connection = answer(io.BytesIO(b"x" * 50_000), **{"Content-Encoding": "gzip"})
    release(response)
    assert response.content == b""
    assert pool.back == [connection]
    assert connection.is_closed


def test_a_compressed_answer_is_kept_uncompressed() -> None:
    packed = gzip.compress(b"text " * 100)
    response, _, connection = answer(io.BytesIO(packed), **{"Content-Encoding": "gzip"})
    release(response)
    assert response.text == "text " * 100
    assert not connection.is_closed


def test_a_compressed_answer_cannot_fill_the_memory() -> None:
    packed = gzip.compress(b"\0" * 50_000_000)
    response, _, connection = answer(io.BytesIO(packed), **{"Content-Encoding": "gzip"})
    release(response)
    assert response.content == b"\0" * RELEASE_LIMIT
    assert connection.is_closed


def test_an_answer_that_was_read_before_is_unchanged() -> None:
    response, _, connection = answer(io.BytesIO(b"x" * 100_000))
    assert len(response.content) == 100_000
    release(response)
    release(response)
    assert len(response.content) == 100_000
    assert not connection.is_closed


def test_an_answer_whose_stream_was_read_to_the_end_is_empty() -> None:
    response, _, connection = answer(io.BytesIO(b"x"))
    assert list(response.iter_content(10)) == [b"x"]
    release(response)
    assert response.content == b""
    assert not connection.is_closed


def test_an_answer_without_a_stream_is_unchanged() -> None:
    response = requests.Response()
    release(response)
    assert response.content is None
    response = requests.Response()
    response._content = b"mine"
    release(response)
    assert response.content == b"mine"


# Statuses that mean a refused token


class Numbering(BaseAdapter):
    """An adapter that puts something else than a number there."""

    def __init__(self, status: Any) -> None:
        super().__init__()
        self.status = status

    def send(self, request: Any, **options: Any) -> requests.Response:  # type: ignore[override]
        made = requests.Response()
        made.status_code, made.request, made.raw = self.status, request, io.BytesIO(b"fine")
        made.reason = request.headers["Authorization"]
        return made

    def close(self) -> None:
        pass


@pytest.mark.parametrize("status", [None, "200", "401"])
def test_a_status_that_is_no_number_is_returned(net: Internet, status: Any) -> None:
    session = connected(net)
    session.mount("https://api.example", Numbering(status))
    found = session.get("https://api.example/")
    assert (found.status_code, found.content) == (status, b"fine")
    assert net.tokens[0] not in found.reason


@pytest.mark.parametrize("statuses", [(), (200,), (500,), ("401",), "401", (None,), 99, None, 4.5])
def test_a_status_that_cannot_mean_a_refused_token_raises(statuses: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"4xx statuses, such as \(401, 403\)"):
        checked_status(statuses)


@pytest.mark.parametrize(
    "statuses", [401, (401,), [401, 401], {401}, iter([401])], ids=lambda s: type(s).__name__
)
def test_statuses_may_be_given_in_any_form(statuses: Any) -> None:
    assert checked_status(statuses) == {401}


# A challenge of another scheme


@pytest.mark.parametrize("word", ["Bearer", "BEARER", "DPoP", None])
def test_a_lack_of_scope_is_recognised_in_the_challenge_of_the_prefix(
    own: OwnScene, word: str | None
) -> None:
    session = own.session()
    for scheme, status in ((word or own.scheme.prefix or "bearer", 401), ("Negotiate", 200)):
        challenge = f'Basic realm="x", {scheme} error="insufficient_scope"'
        own.api.refuse_next(headers={"WWW-Authenticate": challenge})
        assert session.get(own.url).status_code == status
    assert own.token_requests == 2
