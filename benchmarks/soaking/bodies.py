"""Request bodies of all kinds that requests accepts."""

from __future__ import annotations

import hashlib
import io
import random
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Body:
    """A request body: the arguments for requests, whether it can be sent twice, and its digest.

    ``sha256`` is None if requests encodes the body (form, JSON, multipart).
    """

    kind: str
    kwargs: dict[str, Any]
    replayable: bool = True
    sha256: str | None = None


class Reader:
    """A reader that has `read`, `seek`, `tell` and a length, and nothing else."""

    def __init__(self, content: bytes) -> None:
        self._file = io.BytesIO(content)
        self.read, self.seek, self.tell = self._file.read, self._file.seek, self._file.tell

    def __len__(self) -> int:
        return len(self._file.getvalue())


def _pieces(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), 1000):
        yield content[start : start + 1000]


def _file(content: bytes) -> Any:
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    file.write(content)
    file.seek(0)
    return file


def _late_file(content: bytes) -> Any:
    file = io.BytesIO(b"not this part" + content)
    file.seek(13)
    return file


_DATA: dict[str, Callable[[bytes], Any]] = {
    "bytes": lambda content: content,
    "bytearray": bytearray,
    "BytesIO": io.BytesIO,
    "half-read BytesIO": _late_file,
    "file": _file,
    "reader": Reader,
    "generator": _pieces,
    "iterator": lambda content: iter([content[:10], content[10:]]),
}
#: Those that nobody knows how to rewind, so they are sent once.
_ONCE = {"reader", "generator", "iterator"}


def draw(chance: random.Random) -> Body:
    """Return a random body."""
    kind = chance.choice(("none", "str", "json", "form", "multipart", *_DATA))
    content = chance.randbytes(chance.choice((1, 100, 5_000, 200_000)) + 20)
    if kind == "none":
        return Body(kind, {}, sha256=hashlib.sha256(b"").hexdigest())
    if kind == "str":
        return Body(kind, {"data": content.hex()}, sha256=_sha256(content.hex().encode()))
    if kind == "json":
        return Body(kind, {"json": {"content": content.hex()}})
    if kind == "form":
        return Body(kind, {"data": {"content": content.hex()}})
    if kind == "multipart":
        return Body(kind, {"files": {"content": io.BytesIO(content)}})
    data = _DATA[kind](content)
    return Body(kind, {"data": data}, kind not in _ONCE, _sha256(content))


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
