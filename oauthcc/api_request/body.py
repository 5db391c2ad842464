"""The body of a request: a note about it before its first sending, and how to rewind it.

Rule of this module: it decides whether a body can be sent again byte for byte, never whether it
should be.

A `seek` that works proves nothing: a wrapper may compress or encrypt what it reads, and pass `seek`
to the file below. So only exact types of the standard library are rewound, and one of tqdm: it is
known of them what they read at a position. The content must be unchanged too. In memory it is
compared, and a file must have the same size and time stamps.

Two changes are not noticed: one through a mapping of a file (`mmap`), which need not change its
time stamps, and one during the second sending.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

from .. import clock

#: A file stamped less than this number of seconds ago may change, and keep its stamps: the clock of
#: a file system ticks every 10 ms or faster.
_TICK = 0.1
#: The same for stamps in whole seconds, as file systems have them whose clock ticks that slowly.
_SLOW_TICK = 3.0
#: Such a file is read before it is sent, which takes about 1 ms per MiB, if it is not larger.
DIGEST_LIMIT = 64 * 2**20
_BLOCK = 2**20
#: How many wrappers may be around a file. More of them may be a wrapper around itself.
_MOST_WRAPPERS = 3

Step: TypeAlias = Callable[[], None]


class UnreplayableBody(Exception):
    """A body that is not sent again; the message says why."""


class BodyNote:
    """What was noted about a body just before it was sent for the first time."""

    __slots__ = ("_rewind",)

    def __init__(self, rewind: Step) -> None:
        self._rewind = rewind

    def rewind(self) -> None:
        """Put the body back, so that sending it gives the same bytes as the first time.

        Raises `UnreplayableBody` if that is not possible, or if the content has changed.
        """
        try:
            self._rewind()
        except UnreplayableBody:
            raise
        except Exception as error:  # noqa: BLE001 - a body may be closed, and raise anything
            raise UnreplayableBody(f"the body cannot be rewound ({type(error).__name__})") from None


#: The note of a request without a body, and of one that cannot change.
NO_BODY = BodyNote(lambda: None)
_IMMUTABLE = (bytes, str, type(None))


def note_body(body: Any) -> BodyNote:
    """Return what `BodyNote.rewind` needs, just before a body is sent for the first time.

    The body stays at its position. Raises `UnreplayableBody` if it is not of a kind that can be
    sent again.
    """
    if type(body) in _IMMUTABLE:
        return NO_BODY
    try:
        return BodyNote(_note(body, _MOST_WRAPPERS))
    except UnreplayableBody:
        raise
    except Exception as error:  # noqa: BLE001 - as above
        raise UnreplayableBody(f"the body cannot be examined ({type(error).__name__})") from None


def is_replayable(body: Any) -> bool:
    """Return whether a body is of a kind that can be sent again."""
    try:
        note_body(body)
    except UnreplayableBody:
        return False
    return True


def _note(body: Any, wrappers_left: int) -> Step:
    """Return what rewinds a body."""
    name = _type_of(body)
    if name in _WRAPPED_AS and wrappers_left:
        return _note_wrapper(body, name, wrappers_left - 1)
    note = _NOTES.get(name)
    if note is None:
        raise _unknown(body)
    return note(body)


def _note_buffer(body: Any) -> Step:
    def digest() -> bytes:
        return hashlib.sha256(body).digest()

    return partial(_compare, digest, digest())


def _note_file(body: Any) -> Step:
    return _at_its_position(body, _content_of(body))


def _note_text(body: Any) -> Step:
    """Return what rewinds a text file from its beginning, which needs no state of a decoder."""
    _refuse_replaced_methods(body)
    if body.tell() != 0:
        raise UnreplayableBody("a text file is sent again only from its beginning")
    body.seek(0)  # drops what was read ahead
    unchanged = _content_of(body.buffer)

    def flushed() -> None:
        body.flush()
        unchanged()

    return _at_its_position(body, flushed)


def _note_zip_member(body: Any) -> Step:
    _refuse_replaced_methods(body)
    shared = vars(body)["_fileobj"]
    if _type_of(shared) != "zipfile._SharedFile" or vars(body)["_decrypter"] is not None:
        raise _unknown(body)
    with shared._lock:  # other threads may read other members
        unchanged = _content_of(shared._file)

    def locked() -> None:
        with shared._lock:
            unchanged()

    return _at_its_position(body, locked)


def _note_tar_member(body: Any) -> Step:
    _refuse_replaced_methods(body)
    part = body.raw
    if _type_of(part) != "tarfile._FileInFile":
        raise _unknown(body)
    _empty_buffer(body)
    return _at_its_position(body, _content_of(part.fileobj))


def _note_wrapper(body: Any, name: str, wrappers_left: int) -> Step:
    """Return what rewinds the file in a wrapper that only forwards to it."""
    attributes = object.__getattribute__(body, "__dict__")
    file = attributes[_WRAPPED_AS[name]]
    rewind_file = _note(file, wrappers_left)

    def forwards() -> None:
        """Raise `UnreplayableBody` unless the wrapper reads that file, by code of its own."""
        if attributes[_WRAPPED_AS[name]] is not file:
            raise UnreplayableBody(f"the file in the {type(body).__name__} is another one now")
        code = vars(sys.modules[type(body).__module__])
        for method in ("read", "readline", "__iter__"):
            own = attributes.get(method)  # the wrapper may keep a function that it has made
            if own is not None and not (
                own.__globals__ is code and own.__wrapped__ == getattr(file, method)
            ):
                raise _unknown(body)

    def rewind() -> None:
        forwards()
        rewind_file()

    forwards()
    return rewind


_WRAPPED_AS = {
    "tempfile._TemporaryFileWrapper": "file",
    "tempfile.SpooledTemporaryFile": "_file",
    "tqdm.utils.CallbackIOWrapper": "_wrapped",
}
_NOTES: dict[str, Callable[[Any], Step]] = {
    "builtins.bytearray": _note_buffer,
    "builtins.memoryview": _note_buffer,
    "_io.BytesIO": _note_file,
    "_io.StringIO": _note_file,
    "_io.FileIO": _note_file,
    "_io.BufferedReader": _note_file,
    "_io.BufferedRandom": _note_file,
    "_io.TextIOWrapper": _note_text,
    "zipfile.ZipExtFile": _note_zip_member,
    "tarfile.ExFileObject": _note_tar_member,
}


def _type_of(body: Any) -> str:
    """Return the name of a type with its module, or nothing if that name means another type.

    By name, because most programs use neither tarfile nor tqdm, and need not import them.
    """
    kind = type(body)
    module, name = kind.__module__, kind.__qualname__
    return f"{module}.{name}" if getattr(sys.modules.get(module), name, None) is kind else ""


def _unknown(body: Any) -> UnreplayableBody:
    return UnreplayableBody(
        f"a body of type {type(body).__name__} may give other bytes the second time"
    )


def _refuse_replaced_methods(body: Any) -> None:
    """Raise `UnreplayableBody` if an attribute of the object replaces a method of its type."""
    if any(callable(getattr(type(body), name, None)) for name in vars(body)):
        raise _unknown(body)


def _at_its_position(body: Any, unchanged: Step) -> Step:
    position = body.tell()

    def rewind() -> None:
        unchanged()
        body.seek(position)
        if body.tell() != position:
            raise UnreplayableBody("the body did not return to its first position")

    return rewind


def _compare(current: Callable[[], object], noted: object) -> None:
    if current() != noted:
        raise UnreplayableBody("the content of the body has changed since the first sending")


def _content_of(file: Any) -> Step:
    """Return what raises `UnreplayableBody` if the content of a file is not what it is now."""
    _refuse_replaced_methods(file)
    name = _type_of(file)
    if name in ("_io.BytesIO", "_io.StringIO"):
        # A BytesIO shares its bytes with the value, and copies them when it is written to.
        return partial(_compare, file.getvalue, file.getvalue())
    if name == "_io.FileIO":
        return _content_of_file(file)
    if name not in ("_io.BufferedReader", "_io.BufferedRandom"):
        raise _unknown(file)
    raw = file.raw
    if _type_of(raw) not in ("_io.FileIO", "_io.BytesIO"):
        raise _unknown(raw)
    if not file.seekable():
        raise UnreplayableBody("the body can be read only once")
    _empty_buffer(file)
    unchanged = _content_of(raw)

    def flushed() -> None:
        _empty_buffer(file)
        unchanged()

    return flushed


def _empty_buffer(file: Any) -> None:
    """Write what a buffer has not written, and drop what it has read ahead.

    What was read ahead may be older than the content of the file. A seek to a position inside of
    the buffer would keep it.
    """
    position = file.tell()
    file.seek(0, io.SEEK_END)
    file.seek(position)


def _content_of_file(file: io.FileIO) -> Step:
    descriptor = file.fileno()
    found = os.fstat(descriptor)
    size, stamp = found.st_size, max(found.st_mtime_ns, found.st_ctime_ns)
    if not stat.S_ISREG(found.st_mode):
        raise UnreplayableBody("the body is not a regular file")
    if len(_read(descriptor, 2, max(size - 1, 0))) != min(size, 1):  # as in /proc
        raise UnreplayableBody("the size of the file is not the number of its bytes")
    tick = _TICK if stamp % 10**9 else _SLOW_TICK
    proof: Callable[[io.FileIO], object] = _size_and_stamps
    if clock.system.time() - stamp / 10**9 < tick:  # also if a clock was set back
        if size <= DIGEST_LIMIT:
            proof = partial(_size_and_digest, size)
        else:
            time.sleep(tick)  # from now on a change gets a new stamp
    return partial(_compare, partial(proof, file), proof(file))


def _size_and_stamps(file: io.FileIO) -> object:
    found = os.fstat(file.fileno())
    inode = found.st_dev, found.st_ino
    return inode, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _size_and_digest(size: int, file: io.FileIO) -> object:
    descriptor = file.fileno()
    if os.fstat(descriptor).st_size != size:
        return None
    digest = hashlib.sha256()
    position = 0
    while position < size and (block := _read(descriptor, _BLOCK, position)):
        digest.update(block)
        position += len(block)
    return digest.digest()


def _read(descriptor: int, size: int, position: int) -> bytes:
    """Read bytes of a file without moving its position."""
    if hasattr(os, "pread"):
        return os.pread(descriptor, size, position)
    before = os.lseek(descriptor, 0, os.SEEK_CUR)  # Windows
    try:
        os.lseek(descriptor, position, os.SEEK_SET)
        return os.read(descriptor, size)
    finally:
        os.lseek(descriptor, before, os.SEEK_SET)
