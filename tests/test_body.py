"""The position of a body, and how it is rewound, without a network."""

from __future__ import annotations

import array
import io
import mmap
from collections.abc import Callable
from typing import Any

import pytest

from oauthcc.api_request.body import UnreplayableBody, body_position, rewind


def closed(file: Any) -> Any:
    file.close()
    return file


class Odd:
    """A reader whose methods a test chooses."""

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
    ids=["None", "bytes", "str", "empty", "bytearray", "memoryview", "strided", "array"],
)
def test_a_body_that_sending_does_not_use_up_needs_no_rewinding(body: Any) -> None:
    assert body_position(body) is None
    rewind(body, None)


@pytest.mark.parametrize(
    "kind", [io.BytesIO, lambda data: io.StringIO(data.decode())], ids=["bytes", "text"]
)
def test_a_body_is_put_back_to_its_position(kind: Callable[[bytes], Any]) -> None:
    body = kind(b"0123456789")
    body.seek(4)
    position = body_position(body)
    first = body.read()
    rewind(body, position)
    assert body.read() == first
    assert len(first) == 6


def test_an_mmap_is_put_back_as_a_file() -> None:
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
    ids=[
        *("generator", "iterator", "list", "dict", "int", "closed file"),
        *("tell fails", "tell is missing", "tell is None", "tell is a string"),
    ],
)
def test_a_body_whose_position_is_unknown_is_not_sent_again(body: Any) -> None:
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
    ids=["closed", "elsewhere", "unknown", "seek fails", "seek is missing", "tell fails"],
)
def test_a_body_that_cannot_be_rewound_is_not_sent_again(body: Any) -> None:
    with pytest.raises(UnreplayableBody):
        rewind(body, 3)


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), SystemExit()], ids=repr)
def test_an_interrupt_is_not_taken_for_a_fault_of_the_body(stop: BaseException) -> None:
    with pytest.raises(type(stop)):
        body_position(Odd(raising(stop)))
    with pytest.raises(type(stop)):
        rewind(Odd(lambda: 3, raising(stop)), 3)
