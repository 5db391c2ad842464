"""Bodies and responses of all kinds, looked at without a network."""

from __future__ import annotations

import array
import gzip
import io
import mmap
from collections.abc import Callable
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse
from urllib3.exceptions import ProtocolError

from oauthcc.api_request.body import UnreplayableBody, body_position, rewind
from oauthcc.api_request.handle_401 import RELEASE_LIMIT, release


def closed(file: Any) -> Any:
    file.close()
    return file


class Odd:
    """Be a reader whose methods do what a test says."""

    def __init__(
        self, tell: Callable[[], Any], seek: Callable[[Any], Any] = lambda _: None
    ) -> None:
        self.tell, self.seek = tell, seek

    def read(self, size: int = -1) -> bytes:
        return b""


def raising(error: BaseException) -> Callable[..., Any]:
    def call(*args: object) -> Any:
        raise error

    return call


@pytest.mark.parametrize(
    "body",
    [
        None,
        b"x",
        "x",
        "",
        bytearray(b"x"),
        memoryview(b"x"),
        memoryview(b"xyzxyz")[::2],
        array.array("i", [1]),
    ],
)
def test_a_body_that_sending_does_not_use_up_needs_no_rewinding(body: Any) -> None:
    assert body_position(body) is None
    rewind(body, None)


@pytest.mark.parametrize("kind", [io.BytesIO, lambda data: io.StringIO(data.decode())])
def test_a_body_is_put_back_to_where_it_stood(kind: Callable[[bytes], Any]) -> None:
    body = kind(b"0123456789")
    body.seek(4)
    position = body_position(body)
    first = body.read()
    rewind(body, position)
    assert body.read() == first
    assert len(first) == 6


def test_memory_that_is_also_a_file_is_put_back_as_a_file() -> None:
    with mmap.mmap(-1, 10) as memory:
        memory.seek(3)
        position = body_position(memory)
        memory.read()
        rewind(memory, position)
        assert memory.tell() == 3


@pytest.mark.parametrize(
    "body",
    [
        (x for x in [b""]),
        iter([b""]),
        [b"", b""],
        {"a": 1},
        7,
        closed(io.BytesIO(b"x")),
        Odd(raising(OSError("no"))),
        Odd(raising(NotImplementedError())),
        Odd(lambda: None),
        Odd(lambda: "here"),
    ],
)
def test_a_body_whose_position_is_not_known_is_not_sent_again(body: Any) -> None:
    with pytest.raises(UnreplayableBody):
        body_position(body)


@pytest.mark.parametrize(
    "body",
    [
        closed(io.BytesIO(b"x")),
        Odd(lambda: 0),
        Odd(lambda: None),
        Odd(lambda: 3, raising(OSError("no"))),
        Odd(lambda: 3, raising(NotImplementedError())),
        Odd(raising(KeyError("no"))),
    ],
)
def test_a_body_that_does_not_go_back_is_not_sent_again(body: Any) -> None:
    with pytest.raises(UnreplayableBody):
        rewind(body, 3)


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), SystemExit(), GeneratorExit()])
def test_what_interrupts_the_caller_is_not_taken_for_a_fault_of_the_body(
    stop: BaseException,
) -> None:
    with pytest.raises(type(stop)):
        body_position(Odd(raising(stop)))
    with pytest.raises(type(stop)):
        rewind(Odd(lambda: 3, raising(stop)), 3)


class Pool:
    """Note what comes back to a connection pool."""

    def __init__(self) -> None:
        self.back: list[Any] = []

    def _put_conn(self, connection: Any) -> None:
        self.back.append(connection)


class Connection:
    """Note whether it was closed."""

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
def test_a_short_answer_is_kept_whole_and_its_connection_stays_open(size: int) -> None:
    response, pool, connection = answer(io.BytesIO(b"x" * size))
    release(response)
    assert response.content == b"x" * size
    assert pool.back == [connection]
    assert not connection.is_closed


def test_of_a_long_answer_the_beginning_is_kept_and_the_connection_closed() -> None:
    response, pool, connection = answer(io.BytesIO(b"x" * 1_000_000))
    release(response)
    assert response.content == b"x" * RELEASE_LIMIT
    assert pool.back == [connection]  # a blocking pool waits for it
    assert connection.is_closed


class Breaking(io.BytesIO):
    """Break off when the beginning was read."""

    def __init__(self, error: Exception) -> None:
        super().__init__(b"x" * 8192)
        self.error = error

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        if not data:
            raise self.error
        return data


@pytest.mark.parametrize(
    "error", [OSError("reset"), TimeoutError(), ProtocolError("cut"), ConnectionResetError()]
)
def test_of_a_broken_answer_the_beginning_is_kept_and_the_connection_closed(
    error: Exception,
) -> None:
    response, pool, connection = answer(Breaking(error))
    release(response)
    assert response.content == b"x" * 8192
    assert pool.back == [connection]
    assert connection.is_closed


@pytest.mark.parametrize("error", [OSError("reset"), ProtocolError("cut")])
def test_of_a_broken_answer_that_only_reads_the_beginning_is_kept(error: Exception) -> None:
    response = requests.Response()
    response.raw = Breaking(error)
    release(response)
    assert response.content == b"x" * 8192
    assert response.raw.closed


def test_a_badly_compressed_answer_does_not_go_back_to_the_pool_half_read() -> None:
    response, pool, connection = answer(io.BytesIO(b"x" * 50_000), **{"Content-Encoding": "gzip"})
    release(response)
    assert response.content == b""
    assert pool.back == [connection]
    assert connection.is_closed


def test_a_compressed_answer_is_kept_uncompressed() -> None:
    packed = gzip.compress(b"told " * 100)
    response, _, connection = answer(io.BytesIO(packed), **{"Content-Encoding": "gzip"})
    release(response)
    assert response.text == "told " * 100
    assert not connection.is_closed


def test_a_compressed_answer_cannot_fill_the_memory() -> None:
    packed = gzip.compress(b"\0" * 50_000_000)
    response, _, connection = answer(io.BytesIO(packed), **{"Content-Encoding": "gzip"})
    release(response)
    assert response.content == b"\0" * RELEASE_LIMIT
    assert connection.is_closed


def test_an_answer_that_was_read_before_stays_as_it_is() -> None:
    response, _, connection = answer(io.BytesIO(b"x" * 100_000))
    assert len(response.content) == 100_000
    release(response)
    release(response)
    assert len(response.content) == 100_000
    assert not connection.is_closed


def test_an_answer_whose_stream_was_used_up_before_is_empty() -> None:
    response, _, connection = answer(io.BytesIO(b"x"))
    assert list(response.iter_content(10)) == [b"x"]
    release(response)
    assert response.content == b""
    assert not connection.is_closed


def test_an_answer_made_by_hand_stays_as_it_is() -> None:
    response = requests.Response()
    release(response)
    assert response.content is None
    response = requests.Response()
    response._content = b"mine"
    release(response)
    assert response.content == b"mine"
