"""A refused request is replayed with the same body, byte for byte, or not at all."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests

from oauthcc.events import ReplayImpossible
from oauthcc.testing import Answer
from oauthcc.testing.seen import SeenRequest

from .bodies import AGAIN, DATA, NOT_AGAIN, TEXT, Folder
from .clock import shift_clocks
from .refusals import TWICE, Scene, Sessions

pytestmark = pytest.mark.filterwarnings("ignore::requests.exceptions.FileModeWarning")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    with ExitStack() as stack:
        yield Folder(tmp_path, stack)


def change_after_first(scene: Scene, change: Callable[[], object]) -> None:
    """Change something when the first request has arrived, before it is answered."""

    def watch(seen: SeenRequest, outcome: object) -> None:
        if len(scene.api.requests) == 1:
            change()

    scene.api.watch = watch


def digests(scene: Scene) -> list[str]:
    return [hashlib.sha256(seen.body).hexdigest() for seen in scene.api.requests]


@pytest.mark.unmeasured
@pytest.mark.parametrize("name", AGAIN)
def test_a_body_that_can_be_sent_again_is_identical_in_the_replay(
    scene: Scene, folder: Folder, name: str
) -> None:
    make, expected = AGAIN[name]
    assert scene.refused().post(scene.url, **make(folder)).status_code == 200
    assert len(set(digests(scene))) == 1
    first, second = (
        [pair for pair in seen.raw_headers if pair[0] != "Authorization"]
        for seen in scene.api.requests
    )
    assert first == second
    assert expected in (scene.api.requests[0].body, None)
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


def test_a_text_mode_file_is_sent_twice_from_its_beginning_only(
    scene: Scene, folder: Folder
) -> None:
    assert scene.refused().post(scene.url, data=folder.text()).status_code == 200
    assert [seen.body for seen in scene.api.requests] == [TEXT.encode()] * 2
    upload = folder.text()
    assert upload.readline() == "plain text\n"
    assert scene.refused().post(scene.url, data=upload).status_code == 401
    assert [seen.body for seen in scene.api.requests] == [TEXT.encode()[11:]]


def test_multipart_files_are_identical_in_the_replay(scene: Scene, tmp_path: Path) -> None:
    path = tmp_path / "upload"
    path.write_bytes(DATA)
    with path.open("rb") as upload:
        files: dict[str, Any] = {"one": ("name", upload, "text/plain"), "two": DATA}
        assert scene.refused().post(scene.url, data={"a": "1"}, files=files).status_code == 200
    first, second = (seen.body for seen in scene.api.requests)
    assert first == second
    assert first.count(DATA) == 2


@pytest.mark.parametrize("kind", [lambda _: io.BytesIO(DATA), Folder.open], ids=["memory", "file"])
def test_the_position_of_a_body_is_that_at_the_time_of_sending(
    scene: Scene, folder: Folder, kind: Any
) -> None:
    session, body = scene.refused(), kind(folder)
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
    body = io.BytesIO(DATA)
    body.seek(3)
    assert session.post(f"{scene.api.url}/leave", data=body).status_code == 200
    assert [ordinal for _, ordinal in scene.trail] == [1, 2, 2, 3]
    assert {seen.body for seen in scene.api.requests} == {DATA[3:]}


@pytest.mark.parametrize("make", NOT_AGAIN.values(), ids=NOT_AGAIN)
def test_a_body_that_cannot_be_sent_again_is_not_replayed(
    scene: Scene, folder: Folder, make: Callable[[Folder], dict[str, Any]]
) -> None:
    session, body = scene.refused(), make(folder)["data"]
    headers = {"Content-Type": getattr(body, "content_type", "text/plain")}
    response = session.post(f"{scene.url}?secret=1", data=body, headers=headers)
    assert response.status_code == 401
    assert response.json() == {"error": "invalid_token"}
    assert len(scene.api.requests) == 1
    assert len(scene.api.requests[0].body) > 900
    (event,) = scene.emitted(ReplayImpossible)
    assert (event.method, event.url, event.refused_status) == ("POST", scene.url, 401)
    assert scene.token_requests == 0
    # The next request renews the token first.
    assert session.post(scene.url, **make(folder), headers=headers).status_code == 200
    assert scene.trail == TWICE
    assert scene.token_requests == 1


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (
            lambda _: iter([DATA]),
            "a body of type list_iterator may give other bytes the second time",
        ),
        (Folder.pipe, "the body can be read only once"),
        (lambda f: f.text(11), "a text file is sent again only from its beginning"),
    ],
    ids=["iterator", "pipe", "text"],
)
def test_the_event_says_why_a_body_was_not_sent_again(
    scene: Scene, folder: Folder, make: Callable[[Folder], Any], reason: str
) -> None:
    scene.refused().post(scene.url, data=make(folder))
    assert [event.reason for event in scene.emitted(ReplayImpossible)] == [reason]


CHANGES: dict[str, Callable[[Path], object]] = {
    "shorter": lambda path: os.truncate(path, 100),
    "empty": lambda path: os.truncate(path, 0),
    "longer": lambda path: os.truncate(path, len(DATA) + 100),
    "overwritten": lambda path: path.write_bytes(DATA[::-1]),
}


@pytest.mark.parametrize("age", [0, 60])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_file_that_changes_between_the_sendings_is_not_sent_again(
    scene: Scene, sessions: Sessions, folder: Folder, change: Any, age: int
) -> None:
    session = sessions.refused()
    body = folder.open()
    shift_clocks(age)
    change_after_first(scene, lambda: change(Path(body.name)))
    assert session.put(scene.url, data=body, timeout=20).status_code == 401
    assert [seen.body for seen in scene.api.requests] == [DATA]
    (event,) = scene.emitted(ReplayImpossible)
    assert event.reason == "the content of the body has changed since the first sending"


def test_a_file_whose_name_means_another_file_now_is_sent_again(
    scene: Scene, sessions: Sessions, folder: Folder
) -> None:
    session = sessions.refused()
    body = folder.open()
    other = folder.written(b"another", "another")
    change_after_first(scene, lambda: other.replace(body.name))
    assert session.put(scene.url, data=body).status_code == 200
    assert [seen.body for seen in scene.api.requests] == [DATA] * 2


def test_memory_that_changes_between_the_sendings_is_not_sent_again(
    scene: Scene, sessions: Sessions
) -> None:
    for body, change in (
        (memory := io.BytesIO(DATA), lambda: memory.truncate(9)),
        (buffer := bytearray(DATA), buffer.reverse),
    ):
        session = sessions.refused()
        change_after_first(scene, change)
        assert session.put(scene.url, data=body, timeout=20).status_code == 401
        assert [seen.body for seen in scene.api.requests] == [DATA]


def test_hooks_see_the_refusal_of_a_body_that_cannot_be_sent_again(scene: Scene) -> None:
    session = scene.refused()
    session.hooks["response"] = [lambda response, **_: response.raise_for_status()]
    with pytest.raises(requests.HTTPError) as caught:
        session.post(scene.url, data=iter([b"once"]))
    with caught.value.response as response:
        assert response.status_code == 401


def test_a_body_that_cannot_be_sent_again_is_sent_as_in_requests_if_nothing_is_refused(
    scene: Scene, folder: Folder
) -> None:
    session = scene.session()
    for make in NOT_AGAIN.values():
        headers = {"Content-Type": "text/plain"}
        assert session.post(scene.url, **make(folder), headers=headers).status_code == 200
    assert scene.emitted(ReplayImpossible) == []
    assert scene.token_requests == 1


def test_an_error_of_a_body_is_raised_as_in_requests(scene: Scene) -> None:
    def breaking() -> Iterable[bytes]:
        yield b"x"
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        scene.refused().post(scene.url, data=breaking())
