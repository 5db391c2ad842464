"""A refused request is replayed with the same body, byte for byte, or not at all."""

from __future__ import annotations

import array
import hashlib
import io
import mmap
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
from requests_toolbelt import MultipartEncoder

from oauthcc.events import ReplayImpossible
from oauthcc.testing import Answer

from .refusals import TWICE, Scene, Sessions

DATA = bytes(range(256)) * 300


class Reader:
    """A file that is not iterable. requests does not rewind it."""

    def __init__(self, data: bytes = DATA) -> None:
        self.file = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self.file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()


class Sized(Reader):
    """A reader with a length, so that requests does not use seek to find it."""

    def __init__(self, data: bytes = DATA) -> None:
        super().__init__(data)
        self.length = len(data)

    def __len__(self) -> int:
        return self.length


class WithoutSeek(Sized):
    def seek(self, offset: int, whence: int = 0) -> int:
        raise NotImplementedError


class RefusingToSeek(Sized):
    def seek(self, offset: int, whence: int = 0) -> int:
        raise OSError("no seek here")


class LyingAboutSeek(Sized):
    def seek(self, offset: int, whence: int = 0) -> int:
        return offset


class RefusingToTell(Sized):
    def tell(self) -> int:
        raise OSError("no position here")


class ClosedAtTheEnd(io.BytesIO):
    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        if not data:
            self.close()
        return data


class OnlyRead:
    def __init__(self) -> None:
        self.read = io.BytesIO(DATA).read


class Blocks:
    """An iterable that may not yield the same blocks twice."""

    def __iter__(self) -> Iterator[bytes]:
        return iter([DATA[:1000], DATA[1000:]])


def positioned(file: Any, position: int) -> Any:
    file.seek(position)
    return file


def mapped(position: int = 0) -> mmap.mmap:
    memory = mmap.mmap(-1, len(DATA))
    memory.write(DATA)
    memory.seek(position)
    return memory


Made = tuple[dict[str, Any], bytes]

AGAIN: dict[str, Callable[[], Made]] = {
    "nothing": lambda: ({}, b""),
    "json": lambda: ({"json": {"a": [1, "ü"]}}, b'{"a": [1, "\\u00fc"]}'),
    "form": lambda: ({"data": {"a": "1 2", "b": ["ü", "3"]}}, b"a=1+2&b=%C3%BC&b=3"),
    "bytes": lambda: ({"data": DATA}, DATA),
    "str": lambda: ({"data": "plain"}, b"plain"),
    "empty bytes": lambda: ({"data": b""}, b""),
    "empty file": lambda: ({"data": io.BytesIO()}, b""),
    "BytesIO": lambda: ({"data": io.BytesIO(DATA)}, DATA),
    "BytesIO at an offset": lambda: ({"data": positioned(io.BytesIO(DATA), 7)}, DATA[7:]),
    "StringIO": lambda: ({"data": io.StringIO("plain text\n" * 9000)}, b"plain text\n" * 9000),
    "buffered reader": lambda: ({"data": io.BufferedReader(io.BytesIO(DATA))}, DATA),
    "reader without __iter__": lambda: ({"data": Reader()}, DATA),
    "such a reader at an offset": lambda: ({"data": positioned(Reader(), 11)}, DATA[11:]),
    "reader that has a length": lambda: ({"data": Sized()}, DATA),
    "bytearray": lambda: ({"data": bytearray(DATA)}, DATA),
    "memoryview": lambda: ({"data": memoryview(DATA)[5:]}, DATA[5:]),
    "array": lambda: ({"data": array.array("B", DATA)}, DATA),
    "mmap": lambda: ({"data": mapped()}, DATA),
    "mmap at an offset": lambda: ({"data": mapped(13)}, DATA[13:]),
}


def digests(scene: Scene) -> list[str]:
    return [hashlib.sha256(seen.body).hexdigest() for seen in scene.api.requests]


@pytest.mark.unmeasured
@pytest.mark.parametrize("make", AGAIN.values(), ids=AGAIN)
def test_a_body_that_can_be_sent_again_is_identical_in_the_replay(
    scene: Scene, make: Callable[[], Made]
) -> None:
    arguments, expected = make()
    response = scene.refused().post(scene.url, **arguments)
    assert response.status_code == 200
    assert digests(scene) == [hashlib.sha256(expected).hexdigest()] * 2
    first, second = (
        [pair for pair in seen.raw_headers if pair[0] != "Authorization"]
        for seen in scene.api.requests
    )
    assert first == second
    assert scene.token_requests == 1
    assert scene.emitted(ReplayImpossible) == []


@pytest.mark.parametrize(
    "open_file",
    [tempfile.TemporaryFile, partial(tempfile.SpooledTemporaryFile, max_size=10**6)],
    ids=["file", "spooled"],
)
def test_a_file_is_sent_twice_from_its_position(scene: Scene, open_file: Any) -> None:
    with open_file() as upload:
        upload.write(DATA)
        upload.seek(1000)
        assert scene.refused().put(scene.url, data=upload).status_code == 200
    assert [seen.body for seen in scene.api.requests] == [DATA[1000:]] * 2


@pytest.mark.filterwarnings("ignore::requests.exceptions.FileModeWarning")
def test_a_text_mode_file_is_sent_twice_from_its_position(scene: Scene, tmp_path: Path) -> None:
    path = tmp_path / "upload"
    path.write_bytes(b"plain text\n" * 5000)
    with path.open(encoding="utf-8") as upload:
        assert upload.readline() == "plain text\n"
        assert scene.refused().post(scene.url, data=upload).status_code == 200
    assert [seen.body for seen in scene.api.requests] == [path.read_bytes()[11:]] * 2


def test_multipart_files_are_identical_in_the_replay(scene: Scene, tmp_path: Path) -> None:
    path = tmp_path / "upload"
    path.write_bytes(DATA)
    with path.open("rb") as upload:
        files: dict[str, Any] = {"one": ("name", upload, "text/plain"), "two": DATA}
        assert scene.refused().post(scene.url, data={"a": "1"}, files=files).status_code == 200
    first, second = (seen.body for seen in scene.api.requests)
    assert first == second
    assert first.count(DATA) == 2


@pytest.mark.parametrize("kind", [io.BytesIO, Reader])
def test_the_position_of_a_body_is_that_at_the_time_of_sending(scene: Scene, kind: Any) -> None:
    session, body = scene.refused(), kind(DATA)
    prepared = requests.Request("POST", scene.url, data=body).prepare()
    prepared.headers["Content-Length"] = str(len(DATA) - 100)
    body.read(100)  # after preparing, before sending
    assert session.send(prepared).status_code == 200
    assert [seen.body for seen in scene.api.requests] == [DATA[100:]] * 2


def test_a_body_is_sent_again_after_each_of_two_refusals(scene: Scene) -> None:
    session = scene.refused()

    def leave(_: Any) -> Answer:
        scene.auth.revoke_all()
        return Answer(307, {"Location": "/anything"})

    scene.api.add_route("/leave", leave)
    body = positioned(io.BytesIO(DATA), 3)
    assert session.post(f"{scene.api.url}/leave", data=body).status_code == 200
    assert [ordinal for _, ordinal in scene.trail] == [1, 2, 2, 3]
    assert {seen.body for seen in scene.api.requests} == {DATA[3:]}


def encoder() -> MultipartEncoder:
    return MultipartEncoder({"field": "value", "file": ("name", io.BytesIO(DATA), "text/plain")})


NOT_AGAIN: dict[str, Callable[[], Any]] = {
    "generator": lambda: (block for block in [DATA[:10], DATA[10:]]),
    "list iterator": lambda: iter([DATA[:10], DATA[10:]]),
    "iterable of our own": Blocks,
    "toolbelt's MultipartEncoder": encoder,
    "reader that can only read": OnlyRead,
    "reader whose seek is not implemented": WithoutSeek,
    "reader whose seek fails": RefusingToSeek,
    "reader whose seek lies": LyingAboutSeek,
    "reader whose tell fails": RefusingToTell,
    "file that is closed by now": lambda: ClosedAtTheEnd(DATA),
}


@pytest.mark.parametrize("make", NOT_AGAIN.values(), ids=NOT_AGAIN)
def test_a_body_that_cannot_be_sent_again_is_not_replayed(
    scene: Scene, make: Callable[[], Any]
) -> None:
    session, body = scene.refused(), make()
    headers = {"Content-Type": getattr(body, "content_type", "text/plain")}
    response = session.post(f"{scene.url}?secret=1", data=body, headers=headers)
    assert response.status_code == 401
    assert response.json() == {"error": "invalid_token"}
    assert len(scene.api.requests) == 1
    assert DATA[:1000] in scene.api.requests[0].body
    (event,) = scene.emitted(ReplayImpossible)
    assert (event.method, event.url, event.refused_status) == ("POST", scene.url, 401)
    assert scene.token_requests == 0
    # The next request renews the token first.
    assert session.post(scene.url, data=make(), headers=headers).status_code == 200
    assert scene.trail == TWICE
    assert scene.token_requests == 1


def test_a_pipe_is_not_replayed(scene: Scene, sessions: Sessions) -> None:
    session = sessions.refused()
    for expected in (401, 200):
        out, into = os.pipe()
        os.write(into, b"x" * 999)  # less than a pipe holds
        os.close(into)
        with os.fdopen(out, "rb") as pipe:
            assert session.post(scene.url, data=pipe).status_code == expected
    assert [seen.body for seen in scene.api.requests] == [b"x" * 999] * 2
    assert len(scene.emitted(ReplayImpossible)) == 1
    assert scene.trail == TWICE


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: iter([DATA]), "a list_iterator body can be read only once"),
        (RefusingToTell, "the position of the body is unknown (OSError)"),
        (WithoutSeek, "the body cannot be rewound (NotImplementedError)"),
        (LyingAboutSeek, "the body did not return to its first position"),
    ],
    ids=["iterator", "tell fails", "seek is missing", "seek does nothing"],
)
def test_the_event_says_why_a_body_was_not_sent_again(
    scene: Scene, make: Callable[[], Any], reason: str
) -> None:
    scene.refused().post(scene.url, data=make())
    assert [event.reason for event in scene.emitted(ReplayImpossible)] == [reason]


def test_hooks_see_the_refusal_of_a_body_that_cannot_be_sent_again(scene: Scene) -> None:
    session = scene.refused()
    session.hooks["response"] = [lambda response, **_: response.raise_for_status()]
    with pytest.raises(requests.HTTPError) as caught:
        session.post(scene.url, data=iter([b"once"]))
    with caught.value.response as response:
        assert response.status_code == 401


def test_a_body_that_cannot_be_sent_again_is_sent_as_in_requests_if_nothing_is_refused(
    scene: Scene,
) -> None:
    session = scene.session()
    for make in NOT_AGAIN.values():
        assert session.post(scene.url, data=make()).status_code == 200
    assert scene.emitted(ReplayImpossible) == []
    assert scene.token_requests == 1


def test_an_error_of_a_body_is_raised_as_in_requests(scene: Scene) -> None:
    def breaking() -> Iterable[bytes]:
        yield b"x"
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        scene.refused().post(scene.url, data=breaking())
