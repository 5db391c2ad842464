"""Bodies of requests: those that are sent again byte for byte, and those that are not."""

from __future__ import annotations

import _pyio
import array
import bz2
import codecs
import gzip
import importlib
import io
import itertools
import lzma
import mmap
import os
import sys
import tarfile
import tempfile
import types
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from requests_toolbelt import MultipartEncoder

#: More than urllib3 reads at a time, and than a buffered file keeps.
DATA = bytes(range(256)) * 160
TEXT = "plain text\n" * 3000


class Folder:
    """A folder with files whose content is `DATA`, which are closed after the test."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self.path = path
        self._stack = stack

    def __call__(self, file: Any, position: int | None = None) -> Any:
        """Return a file at a position, and close it after the test."""
        self._stack.callback(file.close)
        if position is not None:
            file.seek(position)
        return file

    def written(self, content: bytes = DATA, name: str = "upload") -> Path:
        path = self.path / name
        path.write_bytes(content)
        return path

    def open(self, mode: str = "rb", position: int | None = None, buffering: int = -1) -> Any:
        return self(self.written().open(mode, buffering), position)

    def temporary(self, make: Callable[[], Any]) -> Any:
        file = self(make())
        file.write(DATA)
        return self(file, 0)

    def text(self, position: int = 0) -> Any:
        return self(self.written(TEXT.encode()).open(encoding="utf-8"), position)

    def decoded(self) -> Any:
        return self(codecs.open(str(self.written(TEXT.encode())), "r", "utf-8"))

    def unwritten(self) -> Any:
        """Return a file whose last change is only in its buffer."""
        file = self.open("r+b")
        file.write(b"changed")
        file.seek(0)
        return file

    def zip_member(self, kind: int, position: int = 0) -> Any:
        path = self.path / "archive.zip"
        with zipfile.ZipFile(path, "w", kind) as archive:
            archive.writestr("other", b"other" * 100)
            archive.writestr("member", DATA)
        return self(self(zipfile.ZipFile(path)).open("member"), position)

    def tar_member(self, kind: str = "", position: int = 0) -> Any:
        path = self.path / f"archive.tar{kind}"
        with tarfile.open(path, f"w:{kind}") as archive:
            archive.add(self.written(), "member")
        return self(self(tarfile.open(path)).extractfile("member"), position)

    def pipe(self) -> Any:
        out, into = os.pipe()
        os.write(into, DATA[:1000])  # less than a pipe holds
        os.close(into)
        return self(os.fdopen(out, "rb"))

    def map(self, position: int = 0) -> Any:
        memory = self(mmap.mmap(-1, len(DATA)))
        memory.write(DATA)
        return self(memory, position)


# What tqdm.wrapattr() makes, as in tqdm 4.67. The tests do without the package.
_TQDM = """
from functools import wraps
class ObjectWrapper(object):
    def __getattr__(self, name): return getattr(self._wrapped, name)
    def __setattr__(self, name, value): return setattr(self._wrapped, name, value)
    def wrapper_getattr(self, name): return object.__getattribute__(self, name)
    def wrapper_setattr(self, name, value): return object.__setattr__(self, name, value)
    def __init__(self, wrapped): self.wrapper_setattr('_wrapped', wrapped)
class CallbackIOWrapper(ObjectWrapper):
    def __init__(self, callback, stream, method="read"):
        super().__init__(stream)
        func = getattr(stream, method)
        @wraps(func)
        def read(*args, **kwargs):
            data = func(*args, **kwargs)
            callback(len(data))
            return data
        self.wrapper_setattr('read', read)
"""


def _tqdm_utils() -> Any:
    """Return the module of tqdm if it is installed, or one with that wrapper."""
    try:
        return importlib.import_module("tqdm.utils")
    except ImportError:
        module = sys.modules["tqdm.utils"] = types.ModuleType("tqdm.utils")
        exec(_TQDM, vars(module))
        return module


def with_progress(file: Any) -> Any:
    """Return a file in the wrapper of a progress bar."""
    return _tqdm_utils().CallbackIOWrapper(lambda size: None, file)


class Blocks:
    """An iterable that may not yield the same blocks twice."""

    def __iter__(self) -> Iterator[bytes]:
        return iter([DATA[:1000], DATA[1000:]])


class Reader:
    """A reader that requests does not rewind, because it is not iterable."""

    def __init__(self, data: bytes = DATA) -> None:
        self.file = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self.file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()


class Forwarding:
    """A wrapper whose other attributes are those of a file."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def __iter__(self) -> Iterator[bytes]:
        return iter(lambda: self.file.read(8192), b"")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


class Encrypting(Forwarding):
    """A stream cipher over a file: the same position does not give the same bytes."""

    def __init__(self, file: Any) -> None:
        super().__init__(file)
        self.key = itertools.cycle(b"\x13\x57\x9b\xdf\x21")

    def read(self, size: int = -1) -> bytes:
        return bytes(a ^ b for a, b in zip(self.file.read(size), self.key, strict=False))


class OfTwoFiles(Forwarding):
    """A wrapper that reads one file, and has the position of another."""

    def __init__(self, file: Any) -> None:
        super().__init__(file)
        self.read = io.BytesIO(DATA).read


class OwnBytesIO(io.BytesIO):
    """A subclass, which may do anything."""


class ClosedAtTheEnd(io.BytesIO):
    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        if not data:
            self.close()
        return data


def named(file: Any) -> Any:
    """Return a file with an attribute that replaces no method."""
    file.name = "upload.bin"
    return file


def replaced(file: Any, method: str = "read") -> Any:
    """Return a file with another method in the place of its own."""
    setattr(file, method, getattr(Encrypting(io.BytesIO(DATA)), method))
    return file


def encoder() -> MultipartEncoder:
    return MultipartEncoder({"field": "value", "file": ("name", io.BytesIO(DATA), "text/plain")})


Arguments = dict[str, Any]
Make = Callable[[Folder], Any]


def _data(makes: dict[str, Make]) -> dict[str, Callable[[Folder], Arguments]]:
    def arguments(make: Make, folder: Folder) -> Arguments:
        return {"data": make(folder)}

    return {name: partial(arguments, make) for name, make in makes.items()}


#: Arguments for requests, and what its first sending has as body (None: it is random).
AGAIN: dict[str, tuple[Callable[[Folder], Arguments], bytes | None]] = {
    "nothing": (lambda _: {}, b""),
    "json": (lambda _: {"json": {"a": [1, "ü"]}}, b'{"a": [1, "\\u00fc"]}'),
    "form": (lambda _: {"data": {"a": "1 2", "b": ["ü", "3"]}}, b"a=1+2&b=%C3%BC&b=3"),
    "multipart": (lambda f: {"data": {"a": "1"}, "files": {"f": ("name", f.open())}}, None),
}
AGAIN |= {
    name: (make, expected)
    for expected, makes in (
        (b"", {"empty bytes": lambda _: b"", "empty BytesIO": lambda f: f(io.BytesIO())}),
        (b"plain", {"str": lambda _: "plain"}),
        (
            DATA,
            {
                "bytes": lambda _: DATA,
                "bytearray": lambda _: bytearray(DATA),
                "memoryview": lambda _: memoryview(DATA),
                "BytesIO": lambda _: io.BytesIO(DATA),
                "BytesIO with a name": lambda _: named(io.BytesIO(DATA)),
                "BufferedReader over BytesIO": lambda _: io.BufferedReader(io.BytesIO(DATA)),
                "BufferedRandom over BytesIO": lambda _: io.BufferedRandom(io.BytesIO(DATA)),
                "file": lambda f: f.open(),
                "file without a buffer": lambda f: f.open(buffering=0),
                "file open for writing": lambda f: f.open("r+b"),
                "TemporaryFile": lambda f: f.temporary(tempfile.TemporaryFile),
                "NamedTemporaryFile": lambda f: f.temporary(tempfile.NamedTemporaryFile),
                "SpooledTemporaryFile": lambda f: f.temporary(tempfile.SpooledTemporaryFile),
                "SpooledTemporaryFile on disk": lambda f: f.temporary(
                    partial(tempfile.SpooledTemporaryFile, max_size=100)
                ),
                "stored zip member": lambda f: f.zip_member(zipfile.ZIP_STORED),
                "compressed zip member": lambda f: f.zip_member(zipfile.ZIP_DEFLATED),
                "tar member": lambda f: f.tar_member(),
                "BytesIO with progress": lambda _: with_progress(io.BytesIO(DATA)),
                "temporary file with progress": lambda f: with_progress(
                    f.temporary(tempfile.NamedTemporaryFile)
                ),
            },
        ),
        (
            DATA[777:],
            {
                "BytesIO at an offset": lambda f: f(io.BytesIO(DATA), 777),
                "file at an offset": lambda f: f.open(position=777),
                "zip member at an offset": lambda f: f.zip_member(zipfile.ZIP_DEFLATED, 777),
                "tar member at an offset": lambda f: f.tar_member(position=777),
            },
        ),
        (b"changed" + DATA[7:], {"file with bytes in its buffer": Folder.unwritten}),
        (
            TEXT.encode(),
            {
                "StringIO": lambda _: io.StringIO(TEXT),
                "text file": Folder.text,
                "text in memory": lambda _: io.TextIOWrapper(io.BytesIO(TEXT.encode()), "utf-8"),
            },
        ),
    )
    for name, make in _data(makes).items()
}

#: Bodies that are sent once.
NOT_AGAIN: dict[str, Callable[[Folder], Arguments]] = _data(
    {
        "generator": lambda _: (block for block in [DATA[:10], DATA[10:]]),
        "list iterator": lambda _: iter([DATA[:10], DATA[10:]]),
        "iterable of our own": lambda _: Blocks(),
        "toolbelt's MultipartEncoder": lambda _: encoder(),
        "array": lambda _: array.array("B", DATA),
        "mmap": Folder.map,
        "pipe": Folder.pipe,
        "reader of our own": lambda _: Reader(),
        "subclass of BytesIO": lambda _: OwnBytesIO(DATA),
        "file that is closed by now": lambda _: ClosedAtTheEnd(DATA),
        "BytesIO in Python": lambda _: _pyio.BytesIO(DATA),
        "BytesIO with another read": lambda _: replaced(io.BytesIO(DATA)),
        "file with another read": lambda f: replaced(f.open()),
        "temporary file with another read": lambda f: replaced(
            f.temporary(tempfile.NamedTemporaryFile)
        ),
        "encrypting wrapper": lambda _: Encrypting(io.BytesIO(DATA)),
        "encrypting wrapper with progress": lambda _: with_progress(Encrypting(io.BytesIO(DATA))),
        "wrapper of two files": lambda f: OfTwoFiles(f.open()),
        "BufferedReader over a subclass": lambda _: io.BufferedReader(OwnBytesIO(DATA)),
        "codecs.open": Folder.decoded,
        "codecs.getreader": lambda _: codecs.getreader("utf-8")(io.BytesIO(TEXT.encode())),
        "codecs.EncodedFile": lambda _: codecs.EncodedFile(io.BytesIO(TEXT.encode()), "utf-8"),
        "gzip file": lambda _: gzip.GzipFile(fileobj=io.BytesIO(gzip.compress(DATA))),
        "bz2 file": lambda _: bz2.BZ2File(io.BytesIO(bz2.compress(DATA))),
        "lzma file": lambda _: lzma.LZMAFile(io.BytesIO(lzma.compress(DATA))),  # noqa: SIM115
        "member of a compressed tar": lambda f: f.tar_member("gz"),
        "text file at an offset": lambda f: f.text(11),
    }
)
