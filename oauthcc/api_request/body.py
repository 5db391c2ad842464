"""The body of a request: its position before the first sending, and how to rewind it.

Rule of this module: it decides whether a body can be sent again byte for byte, never whether it
should be.
"""

from __future__ import annotations

from typing import Any


class UnreplayableBody(Exception):
    """A body that cannot be sent again; the message says why."""


def body_position(body: Any) -> Any:
    """Return the position of a body before it is sent; None if it needs no rewinding.

    Raises `UnreplayableBody` if the body is used up by sending it. requests also notes the
    position, but when it prepares the request, and only for bodies that have ``__iter__``.
    """
    if body is None or isinstance(body, (bytes, str)):
        return None
    if not hasattr(body, "read") and _is_bytes_like(
        body
    ):  # an mmap has `read` too, and is treated as a file
        return None
    if not all(callable(getattr(body, name, None)) for name in ("read", "seek", "tell")):
        raise UnreplayableBody(f"a {type(body).__name__} body can be read only once")
    try:
        position = body.tell()
    except Exception as error:  # noqa: BLE001 - the body is the caller's and may raise anything
        raise UnreplayableBody(
            f"the position of the body is unknown ({type(error).__name__})"
        ) from None
    if not isinstance(position, int):
        raise UnreplayableBody("the position of the body is unknown")
    return position


def rewind(body: Any, position: Any) -> None:
    """Put a body back to a position; raise `UnreplayableBody` if that is not possible."""
    if position is None:
        return
    try:
        body.seek(position)
        arrived = body.tell()
    except Exception as error:  # noqa: BLE001 - as above
        raise UnreplayableBody(f"the body cannot be rewound ({type(error).__name__})") from None
    if arrived != position:
        raise UnreplayableBody("the body did not return to its first position")


def _is_bytes_like(body: Any) -> bool:
    try:
        memoryview(body).release()
    except TypeError:
        return False
    return True


class BodyNote:
    """A note."""

    def __init__(self, body: Any, position: Any) -> None:
        self._body, self._position = body, position

    def rewind(self) -> None:
        rewind(self._body, self._position)


_NOTHING = BodyNote(None, None)


def note_body(body: Any) -> BodyNote:
    if body is None:
        return _NOTHING
    return BodyNote(body, body_position(body))
