"""What is noted about a body, and how it is rewound, without a network."""

from __future__ import annotations

import codecs
import io
import os
import sys
import tarfile
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial, wraps
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from oauthcc.api_request import body as module
from oauthcc.api_request.body import UnreplayableBody, note_body

from .bodies import AGAIN, DATA, NOT_AGAIN, TEXT, Encrypting, Folder, OwnBytesIO, with_progress
from .clock import shift_clocks

CHANGED = "the content of the body has changed since the first sending"
MOVED = "the file in the SpooledTemporaryFile is another one now"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    with ExitStack() as stack:
        yield Folder(tmp_path, stack)


@pytest.fixture(params=["just written", "old"])
def age(request: pytest.FixtureRequest) -> str:
    """Return how old files seem to be."""
    if request.param == "old":
        shift_clocks(60)
    return str(request.param)


def sent(body: Any) -> Any:
    """Read a body as urllib3 does."""
    if not hasattr(body, "read"):
        return bytes(body)
    blocks = [body.read(0)]
    while block := body.read(16384):
        blocks.append(block)
    return blocks[0].join(blocks)


def refusal(body: Any) -> str:
    """Return why a body is not sent again, before it is sent."""
    with pytest.raises(UnreplayableBody) as caught:
        note_body(body)
    return str(caught.value)


def refusal_after(change: Callable[[], object], body: Any) -> str:
    """Return why a body is not sent again, after it was sent and something has changed."""
    note = note_body(body)
    sent(body)
    change()
    with pytest.raises(UnreplayableBody) as caught:
        note.rewind()
    return str(caught.value)


BODIES = {
    name: (make, expected)
    for name, (make, expected) in AGAIN.items()
    if name not in ("nothing", "json", "form", "multipart", "str")
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_gives_the_same_bytes_after_each_rewinding(
    name: str, folder: Folder, age: str
) -> None:
    make, expected = BODIES[name]
    body = make(folder)["data"]
    before = body.tell() if hasattr(body, "tell") else None
    note = note_body(body)
    assert before == (body.tell() if hasattr(body, "tell") else None)
    for _ in range(3):
        found = sent(body)
        assert (found.encode() if isinstance(found, str) else found) == expected
        note.rewind()


def test_bodies_that_cannot_change_share_one_note() -> None:
    assert note_body(None) is note_body(b"x") is note_body("x")
    note_body(None).rewind()


@pytest.mark.parametrize("name", NOT_AGAIN)
def test_a_body_of_another_kind_is_not_sent_again_and_not_read(name: str, folder: Folder) -> None:
    body = NOT_AGAIN[name](folder)["data"]
    assert refusal(body)
    if hasattr(body, "read"):
        assert body.read(10)


@pytest.mark.parametrize(
    "body",
    [
        7,
        {"a": 1},
        [b"", b""],
        type("Text", (str,), {})("x"),
        type("Bytes", (bytes,), {})(b"x"),
        type("BytesIO", (io.BytesIO,), {"__module__": "_io"})(b"x"),
        io.BufferedReader(io.BufferedReader(io.BytesIO(DATA))),  # type: ignore[arg-type]
        io.BufferedRWPair(io.BytesIO(DATA), io.BytesIO()),  # type: ignore[type-var]
        codecs.getreader("utf-8")(io.BytesIO(TEXT.encode())),
        with_progress(with_progress(with_progress(with_progress(io.BytesIO(DATA))))),
        memoryview(DATA)[::2],
    ],
    ids=lambda body: type(body).__name__,
)
def test_what_is_not_exactly_a_known_kind_is_not_sent_again(body: Any) -> None:
    refusal(body)


OPEN: dict[str, Callable[[Folder], Any]] = {
    "BytesIO": lambda _: io.BytesIO(DATA),
    "StringIO": lambda _: io.StringIO(TEXT),
    "file": Folder.open,
    "raw file": lambda f: f.open(buffering=0),
    "text file": Folder.text,
    "zip member": lambda f: f.zip_member(zipfile.ZIP_DEFLATED),
    "tar member": Folder.tar_member,
}


@pytest.mark.parametrize("method", ["read", "readline", "seek", "tell", "__iter__"])
@pytest.mark.parametrize("make", OPEN.values(), ids=OPEN)
def test_a_file_with_a_replaced_method_is_not_sent_again(
    folder: Folder, make: Callable[[Folder], Any], method: str
) -> None:
    body = make(folder)
    setattr(body, method, lambda *_: 0)
    assert refusal(body).endswith("may give other bytes the second time")


def test_a_method_that_is_replaced_below_a_buffer_is_found(folder: Folder) -> None:
    file = folder.open()
    file.raw.readinto = Encrypting(file.raw).read
    refusal(file)


# --- what changes between the two sendings ---


def use_os(monkeypatch: pytest.MonkeyPatch, without: str = "", **names: Any) -> None:
    """Let only the module of bodies see another `os`."""
    found = {name: value for name, value in vars(os).items() if name != without}
    monkeypatch.setattr(module, "os", SimpleNamespace(**{**found, **names}))


def raising(error: BaseException) -> Any:
    def call(*args: object) -> Any:
        raise error

    return call


@pytest.mark.parametrize("kind", [bytearray, lambda data: memoryview(bytearray(data))])
def test_a_buffer_that_has_changed_is_not_sent_again(kind: Any) -> None:
    body = kind(DATA)
    assert refusal_after(partial(body.__setitem__, 5, 99), body) == CHANGED


def test_a_buffer_that_has_another_length_is_not_sent_again() -> None:
    body = bytearray(DATA)
    assert refusal_after(body.pop, body) == CHANGED


def test_a_released_memoryview_is_not_sent_again() -> None:
    body = memoryview(DATA)
    assert refusal_after(body.release, body) == "the body cannot be rewound (ValueError)"
    assert refusal(body) == "the body cannot be examined (ValueError)"


def overwrite(body: Any) -> None:
    body.seek(5)
    body.write(b"!" if body.read(0) == b"" else "!")


@pytest.mark.parametrize("change", [overwrite, lambda body: body.truncate(9)], ids=["write", "cut"])
@pytest.mark.parametrize(
    "make",
    [
        lambda _: io.BytesIO(DATA),
        lambda _: io.StringIO(TEXT),
        lambda _: io.BufferedRandom(io.BytesIO(DATA)),
        lambda f: f.open("r+b"),
        lambda f: f.open("r+b", buffering=0),
        lambda f: f(f.written().open("r+", encoding="latin-1", newline="")),
        lambda f: f.temporary(tempfile.TemporaryFile),
        lambda f: f.temporary(tempfile.NamedTemporaryFile),
        lambda f: f.temporary(tempfile.SpooledTemporaryFile),
        lambda f: with_progress(f.temporary(tempfile.NamedTemporaryFile)),
    ],
    ids=[
        *("BytesIO", "StringIO", "buffer", "file", "raw file", "text file"),
        *("temporary", "named", "spooled", "progress"),
    ],
)
def test_a_file_that_was_written_to_is_not_sent_again(
    folder: Folder, make: Any, change: Any, age: str
) -> None:
    body = make(folder)
    assert refusal_after(partial(change, body), body) in (CHANGED, MOVED)


def test_a_bytesio_that_was_changed_through_its_buffer_is_not_sent_again() -> None:
    body = io.BytesIO(DATA)
    with body.getbuffer() as view:
        assert refusal_after(partial(view.__setitem__, 5, 99), body) == CHANGED


def test_a_bytesio_is_noted_without_a_copy() -> None:
    body = io.BytesIO(DATA)
    note = note_body(body)
    assert body.getvalue() is DATA
    note.rewind()


def in_place(path: Path, content: bytes) -> None:
    with path.open("r+b") as file:
        file.write(content)


CHANGES: dict[str, Callable[[Path], object]] = {
    "overwritten": lambda path: in_place(path, b"!" * len(DATA)),
    "overwritten at one byte": lambda path: in_place(path, b"!"),
    "cut": lambda path: os.truncate(path, 100),
    "emptied": lambda path: os.truncate(path, 0),
    "longer": lambda path: os.truncate(path, len(DATA) + 1),
    "written anew": lambda path: path.write_bytes(b"!" * len(DATA)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("position", [0, 777])
def test_a_file_that_others_have_changed_is_not_sent_again(
    folder: Folder, change: Any, position: int, age: str
) -> None:
    body = folder.open(position=position)
    assert refusal_after(partial(change, Path(body.name)), body) == CHANGED


@pytest.mark.parametrize(
    "member",
    [
        lambda f: f.zip_member(zipfile.ZIP_DEFLATED),
        lambda f: f.zip_member(zipfile.ZIP_STORED, 777),
        lambda f: f.tar_member(),
    ],
    ids=["deflated", "stored", "tar"],
)
def test_a_member_of_an_archive_that_has_changed_is_not_sent_again(
    folder: Folder, member: Any, age: str
) -> None:
    body = member(folder)
    (path,) = folder.path.glob("archive.*")
    assert refusal_after(partial(in_place, path, b"!" * 5000), body) == CHANGED


def test_a_change_that_leaves_the_time_stamps_is_found_if_the_file_was_just_written(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = folder.open()
    noted = os.fstat(body.fileno())
    use_os(monkeypatch, fstat=lambda _: noted)  # both writes in one tick of the clock
    change = partial(in_place, Path(body.name), b"!")
    assert refusal_after(change, body) == CHANGED


def test_a_file_that_was_only_touched_is_sent_again_if_its_content_was_noted(
    folder: Folder,
) -> None:
    body = folder.open()
    note = note_body(body)
    os.utime(body.name, (1, 1))
    assert sent(body) == DATA
    note.rewind()
    assert sent(body) == DATA


def test_an_old_file_that_was_only_touched_is_not_sent_again(folder: Folder) -> None:
    shift_clocks(60)
    body = folder.open()
    assert refusal_after(partial(os.utime, body.name, (1, 1)), body) == CHANGED


@pytest.mark.parametrize("change", [os.remove, lambda path: Path(path).with_name("x").rename(path)])
def test_a_file_whose_name_means_another_file_now_is_sent_again_from_the_first(
    folder: Folder, change: Any
) -> None:
    body = folder.open()
    folder.written(b"another", "x")
    note = note_body(body)
    sent(body)
    change(body.name)
    note.rewind()
    assert sent(body) == DATA


def seconds_only(found: os.stat_result, stamp: int) -> Any:
    """Return what fstat says of a file on a file system that keeps whole seconds."""
    names = ("st_mode", "st_size", "st_dev", "st_ino")
    fields = {name: getattr(found, name) for name in names}
    times = {"st_mtime_ns": stamp * 10**9, "st_ctime_ns": stamp * 10**9}
    return SimpleNamespace(**fields, **times)


@pytest.mark.parametrize("name", ["st_dev", "st_ino", "st_size", "st_mtime_ns", "st_ctime_ns"])
def test_an_old_file_is_unchanged_only_if_all_stamps_are(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    body = folder.open()
    found = seconds_only(os.fstat(body.fileno()), 1_000_000_000)
    use_os(monkeypatch, fstat=lambda _: found)
    note = note_body(body)
    note.rewind()
    setattr(found, name, getattr(found, name) + 1)
    with pytest.raises(UnreplayableBody, match=CHANGED):
        note.rewind()


@pytest.mark.parametrize(("age", "is_read"), [(-5, True), (0, True), (2, True), (4, False)])
def test_time_stamps_in_whole_seconds_prove_nothing_for_longer(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, age: int, *, is_read: bool
) -> None:
    body = folder.open()
    found = seconds_only(os.fstat(body.fileno()), int(time.time()) - age)
    use_os(monkeypatch, fstat=lambda _: found)
    note = note_body(body)
    in_place(Path(body.name), b"!")
    if is_read:
        with pytest.raises(UnreplayableBody):
            note.rewind()
    else:
        note.rewind()


def test_a_large_file_that_was_just_written_waits_for_the_next_tick_and_is_not_read(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(module, "time", SimpleNamespace(sleep=waits.append))
    monkeypatch.setattr(module, "DIGEST_LIMIT", len(DATA) - 1)
    body = folder.open()
    note = note_body(body)
    assert waits == [0.1]
    note.rewind()
    monkeypatch.setattr(module, "DIGEST_LIMIT", len(DATA))
    note_body(body)
    assert waits == [0.1]


def test_a_file_of_several_blocks_is_read_completely(folder: Folder) -> None:
    path = folder.written(b"x" * (2 * 2**20 + 5))
    with path.open("rb") as body, path.open("r+b") as other:
        end = partial(os.pwrite, other.fileno(), b"!", 2 * 2**20 + 4)
        assert refusal_after(end, body) == CHANGED


def test_a_file_that_ends_while_it_is_read_is_not_read_without_end(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = folder.open()
    use_os(monkeypatch, pread=lambda fd, n, at: b"" if n > 2 else os.pread(fd, n, at))
    note_body(body)


def test_files_are_read_where_they_are_if_the_system_has_no_pread(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_os(monkeypatch, without="pread")
    body = folder.open(position=777)
    note = note_body(body)
    assert sent(body) == DATA[777:]
    note.rewind()
    assert sent(body) == DATA[777:]
    in_place(Path(body.name), b"!")
    with pytest.raises(UnreplayableBody):
        note.rewind()


# --- what was read ahead, and what was not written yet ---


def test_what_was_read_ahead_before_a_change_is_not_sent(folder: Folder) -> None:
    body = folder.open()
    body.read(1)  # reads ahead
    in_place(Path(body.name), b"!" * 100)
    note = note_body(body)
    assert body.tell() == 1
    first = sent(body)
    note.rewind()
    assert sent(body) == first


def test_what_was_read_ahead_of_a_tar_member_is_not_sent(folder: Folder) -> None:
    body = folder.tar_member()
    body.read(1)
    with (folder.path / "archive.tar").open("r+b") as archive:
        archive.seek(body.raw.offset)
        archive.write(b"!" * 100)
    note = note_body(body)
    first = sent(body)
    note.rewind()
    assert sent(body) == first


def test_a_line_that_was_read_ahead_of_a_text_is_not_sent(folder: Folder) -> None:
    body = folder.text()
    body.readline(0)
    in_place(Path(body.name), b"PLAIN")
    note = note_body(body)
    first = sent(body)
    note.rewind()
    assert sent(body) == first


def test_what_waits_in_a_buffer_at_the_second_sending_is_a_change(folder: Folder) -> None:
    body = folder.open("r+b")
    note = note_body(body)
    assert sent(body) == DATA
    body.seek(0)
    body.read(10)
    body.seek(0)
    body.write(b"!")  # stays in the buffer
    with pytest.raises(UnreplayableBody):
        note.rewind()


# --- what has no content that can be known ---


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="these files are those of Linux")
@pytest.mark.parametrize("name", ["/proc/self/stat", "/proc/uptime", "/dev/zero"])
def test_a_file_whose_size_says_nothing_is_not_sent_again(name: str) -> None:
    with Path(name).open("rb", buffering=0) as body:
        assert refusal(body) in (
            "the size of the file is not the number of its bytes",
            "the body is not a regular file",
        )


@pytest.mark.parametrize("buffering", [0, -1])
def test_a_pipe_is_not_sent_again(buffering: int) -> None:
    out, into = os.pipe()
    os.close(into)
    with os.fdopen(out, "rb", buffering) as body:
        assert refusal(body) in (
            "the body can be read only once",
            "the body is not a regular file",
        )


@pytest.mark.parametrize("mode", ["wb", "ab"])
def test_a_file_that_cannot_be_read_is_not_sent_again(folder: Folder, mode: str) -> None:
    refusal(folder.open(mode, buffering=0))
    refusal(folder.open(mode))


def test_a_closed_or_detached_file_is_not_sent_again(folder: Folder) -> None:
    for make in (io.BytesIO, io.StringIO, folder.open, folder.text):
        body = make()
        assert refusal_after(body.close, body) == "the body cannot be rewound (ValueError)"
        assert refusal(body) == "the body cannot be examined (ValueError)"
    body = folder.written().open("rb")
    note = note_body(body)
    with body.detach(), pytest.raises(UnreplayableBody):
        note.rewind()


def test_a_text_is_sent_again_only_from_its_beginning(folder: Folder) -> None:
    assert refusal(folder.text(11)) == "a text file is sent again only from its beginning"


# --- wrappers ---


@pytest.mark.parametrize("mode", ["w+b", "w+"])
def test_a_spooled_file_that_moved_to_the_disk_is_not_sent_again(mode: str) -> None:
    with tempfile.SpooledTemporaryFile(mode=mode) as body:
        assert refusal_after(body.rollover, body) == MOVED


def test_a_temporary_file_whose_read_was_replaced_meanwhile_is_not_sent_again(
    folder: Folder,
) -> None:
    body = folder.temporary(tempfile.NamedTemporaryFile)

    @wraps(body.file.read)
    def read(size: int = -1) -> bytes:
        return DATA

    reason = refusal_after(partial(setattr, body, "read", read), body)
    assert reason.startswith("a body of type _TemporaryFileWrapper may give")


def test_a_temporary_file_of_another_file_is_not_sent_again(folder: Folder) -> None:
    body = folder.temporary(tempfile.NamedTemporaryFile)
    body.read(0)  # it keeps a function for this method
    with body.file:
        body.file = io.BytesIO(DATA)
        refusal(body)


def test_a_wrapper_around_itself_is_not_sent_again() -> None:
    body = with_progress(io.BytesIO())
    body.wrapper_setattr("_wrapped", body)
    refusal(body)


@pytest.mark.parametrize("fileobj", [OwnBytesIO, io.BytesIO])
def test_an_archive_in_memory_is_known_only_if_the_memory_is(fileobj: Any) -> None:
    memory = fileobj()
    with zipfile.ZipFile(memory, "w") as archive:
        archive.writestr("member", DATA)
    with zipfile.ZipFile(memory) as archive, archive.open("member") as body:
        if fileobj is OwnBytesIO:
            refusal(body)
        else:
            note = note_body(body)
            assert sent(body) == DATA
            note.rewind()
            assert sent(body) == DATA


def test_an_encrypted_member_is_not_sent_again(folder: Folder) -> None:
    body = folder.zip_member(zipfile.ZIP_STORED)
    body._decrypter = lambda data: data
    refusal(body)


@pytest.mark.parametrize("missing", ["_fileobj", "_decrypter"])
def test_a_member_that_keeps_its_state_elsewhere_is_not_sent_again(
    folder: Folder, missing: str
) -> None:
    body = folder.zip_member(zipfile.ZIP_STORED)
    kept = vars(body).pop(missing)
    assert refusal(body) == "the body cannot be examined (KeyError)"
    setattr(body, missing, kept)


def test_a_tar_member_over_another_file_is_not_sent_again(folder: Folder) -> None:
    path = folder.path / "a.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(folder.written(), "member")
    with tarfile.open(path) as archive:
        body: Any = folder(archive.extractfile("member"))
        body.raw.__class__ = type("Own", (type(body.raw),), {})
        assert "a body of type ExFileObject may give other bytes" in refusal(body)


def test_other_members_can_be_read_while_one_is_noted(folder: Folder) -> None:
    """The position of the archive is used only under the lock of the archive."""
    body = folder.zip_member(zipfile.ZIP_STORED)
    note = note_body(body)
    for use in (lambda: note_body(body), note.rewind):
        done = threading.Event()
        with body._fileobj._lock:
            thread = threading.Thread(target=lambda: (use(), done.set()))  # noqa: B023
            thread.start()
            assert not done.wait(0.05)
        thread.join(20)
        assert done.is_set()


# --- errors ---


def test_a_seek_that_goes_elsewhere_is_noticed(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = folder.zip_member(zipfile.ZIP_STORED)
    note = note_body(body)
    sent(body)
    monkeypatch.setattr(zipfile.ZipExtFile, "seek", lambda *_: 0)
    with pytest.raises(UnreplayableBody, match="did not return to its first position"):
        note.rewind()


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), SystemExit()], ids=repr)
def test_an_interrupt_is_not_taken_for_a_fault_of_the_body(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, stop: BaseException
) -> None:
    body = folder.open()
    note = note_body(body)
    use_os(monkeypatch, fstat=raising(stop))
    with pytest.raises(type(stop)):
        note_body(body)
    with pytest.raises(type(stop)):
        note.rewind()


def test_an_error_of_a_body_is_not_the_cause_of_ours() -> None:
    body = memoryview(DATA)
    body.release()
    with pytest.raises(UnreplayableBody) as caught:
        note_body(body)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
