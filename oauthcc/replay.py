"""Send the same request twice: where its body began, and the connection of the first answer.

What lives here decides whether a body can be sent again byte for byte, and never whether it should.
"""

from __future__ import annotations

from typing import Any

import requests
from urllib3.exceptions import HTTPError

#: Bytes of a refused answer that are worth reading to keep its connection in the pool.
RELEASE_LIMIT = 65_536


class UnreplayableBody(Exception):
    """Say that a body cannot be sent again, and why."""


def body_position(body: Any) -> Any:
    """Note where a body stands before it is sent; None for one that needs no rewinding.

    Raises `UnreplayableBody` for one that is used up by sending it. requests notes the position
    itself, but when it prepares, and only of bodies that have ``__iter__``.
    """
    if body is None or isinstance(body, (bytes, str)):
        return None
    if not hasattr(body, "read") and _is_bytes_like(body):  # an mmap is both, and it is read
        return None
    if not all(callable(getattr(body, name, None)) for name in ("read", "seek", "tell")):
        raise UnreplayableBody(f"a {type(body).__name__} body can be read only once")
    try:
        position = body.tell()
    except Exception as error:  # noqa: BLE001 - the body is the caller's and may raise anything
        raise UnreplayableBody(f"the body does not tell its position ({_name(error)})") from None
    if not isinstance(position, int):
        raise UnreplayableBody("the body does not tell its position")
    return position


def rewind(body: Any, position: Any) -> None:
    """Put a body back to where it stood; raise `UnreplayableBody` where it will not go there."""
    if position is None:
        return
    try:
        body.seek(position)
        arrived = body.tell()
    except Exception as error:  # noqa: BLE001 - as above
        raise UnreplayableBody(f"the body cannot be rewound ({_name(error)})") from None
    if arrived != position:
        raise UnreplayableBody("the body did not go back to where it began")


def release(response: requests.Response, limit: int = RELEASE_LIMIT) -> None:
    """Free the connection of an answer, keeping what it says.

    Up to ``limit`` bytes become its ``content`` and the connection goes back to the pool; where
    there is more, or the body is cut or badly compressed, the connection is closed. What an adapter
    has read already, or made by hand, stays.
    """
    answer: Any = response  # its types do not tell of content that was not read yet
    if answer._content is not False or answer.raw is None:
        return
    answer._content = _beginning(answer, limit)
    answer.close()  # the connection too, unless all was read
    answer._content_consumed = True


def _beginning(response: requests.Response, limit: int) -> bytes:
    chunks: list[bytes] = []
    try:
        for chunk in response.iter_content(8192):
            chunks.append(chunk)
            if sum(map(len, chunks)) > limit:
                break
    except (OSError, HTTPError) as error:  # those of requests are OSErrors
        # A broken body says nothing about the token: what came of it is all there is.
        del error
    return b"".join(chunks)[:limit]


def _is_bytes_like(body: Any) -> bool:
    try:
        memoryview(body).release()
    except TypeError:
        return False
    return True


def _name(error: Exception) -> str:
    return type(error).__name__
