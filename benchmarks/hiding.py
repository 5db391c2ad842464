"""How long it takes to hide secrets in 1 MiB, for texts and answers that are as bad as possible.

The time must be at most 50 ms for each of them. The peak is the memory of Python objects that
hiding needs besides the text itself, measured in a run of its own.
"""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import requests

from oauthcc.errors import TokenError
from oauthcc.redaction.search import redact
from oauthcc.token_request.response import Answer

SIZE = 1 << 20
SECRET = "s3cr3t:with/all%sorts+of &things"
LONG = "a" * 50_000 + "b"
#: A text of which 1 MiB is made, and the secrets that are searched for.
TEXTS: dict[str, tuple[str, list[str]]] = {
    "words": ("word and more text here ", [SECRET]),
    "one character, secret of 1": ("a", ["a"]),
    "one character, secret of 50,000": ("a", [LONG]),
    "periodic, secret with a fault": ("aab", ["aab" * 300 + "aaa"]),
    "percent signs": ("%", ["%" * 100_000]),
    "backslashes": ("\\", ["\\" * 100_000 + "x"]),
    "%25%25%25": ("%25", ["%25" * 30_000]),
    "%252525": ("25", ["%"]),
    "%41%41%41": ("%41", ["A" * 1000]),
    "&amp;&amp;": ("&amp;", ["&" * 1000]),
    "pluses": ("a+b ", ["a b" * 100 + "c"]),
    "20 secrets": ("word and more text here ", [f"s3cr3t-{n:05}" for n in range(20)]),
}
#: What the body of an answer is made of. A piece of a list is repeated until 1 MiB is full.
BODIES: dict[str, Any] = {
    "error_description of words": {"error_description": "word and more text here "},
    "error_description of one letter": {"error_description": "a"},
    "error_description of token words": {"error_description": "a1b2c3d4e5f6g7h8 "},
    "100,000 short strings": ["word a"],
    "many tokens": [{"access_token": "t0ken-%08d"}],
    "8 tokens that overlap themselves": {
        "t": [{"access_token": "a" * 1000 + f"b{n}"} for n in range(8)],
        "error_description": "a",
    },
    "a token of percent signs": {"access_token": "%"},
    "numbers": [1],
    "repeated members": b'"a":1,',
    "html with entities": b"<p>&lt;b&gt; ",
    "html": b"<p>word and more text here ",
    "names of tokens": b"id_token ",
    "latin-1": b"\xe9s3cr3t ",
    "null bytes": b"\0",
    "tags": b"<a>",
    "beginnings of tags": b"<a ",
    "xml": b"<m a='word'>word and more</m>",
}


def text_of(piece: str) -> str:
    return (piece * (SIZE // len(piece) + 1))[:SIZE]


def body_of(piece: Any) -> bytes:
    """Return a body of nearly 1 MiB."""
    if isinstance(piece, bytes):
        body = piece * (SIZE // len(piece))
        return b"{" + body[: SIZE - 12] + b'"a":2}' if piece.endswith(b",") else body
    if isinstance(piece, list):
        size = len(json.dumps(piece[0])) + (6 if "%" in json.dumps(piece) else 2)
        items = piece * (SIZE // size - 10)
        document: Any = json.dumps(items)
        return (document % tuple(range(len(items))) if "%" in document else document).encode()
    *others, last = piece.items()
    rest = SIZE - len(json.dumps(piece)) - 10
    return json.dumps(dict([*others, (last[0], text_of(last[1])[:rest])])).encode()


def error_of(body: bytes, status: int) -> TokenError:
    """Return the error for an answer, as the library makes it."""
    response = requests.Response()
    response.status_code, response.url, response._content = status, "https://as.example/t", body
    response.request = requests.Request(
        "POST", response.url, headers={"Authorization": "Basic bWU6czNjcjN0"}
    ).prepare()
    answer = Answer.of(response, [SECRET])
    return answer.error(TokenError, f"no token{answer.quoted}")


def best_of(action: Callable[[], object], times: int = 3) -> float:
    """Return the shortest time in milliseconds, without what other processes take."""
    best = float("inf")
    for _ in range(times):
        began = time.process_time()
        action()
        best = min(best, time.process_time() - began)
    return best * 1000


def peak_of(action: Callable[[], object]) -> float:
    """Return the peak of the memory in MiB."""
    tracemalloc.start()
    action()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / SIZE


def main() -> None:
    print(f"{'1 MiB of':44} {'ms':>7} {'peak MiB':>9}")
    actions: dict[str, Callable[[], object]] = {}
    for name, (piece, secrets) in TEXTS.items():
        text = text_of(piece)
        text = "%" + text if piece == "25" else text
        actions[f"text: {name}"] = lambda text=text, secrets=secrets: redact(text, secrets)  # type: ignore[misc]
    for name, piece in BODIES.items():
        body = body_of(piece)
        assert SIZE // 2 < len(body) <= SIZE, (name, len(body))
        for status in (200, 400):
            actions[f"{status}: {name}"] = lambda body=body, status=status: error_of(body, status)  # type: ignore[misc]
    slow = []
    for name, action in actions.items():
        ms = best_of(action)
        print(f"{name:44} {ms:7.1f} {peak_of(action):9.1f}")
        slow += [name] if ms > 50 else []
    print(f"slower than 50 ms: {', '.join(slow) or 'none'}")


if __name__ == "__main__":
    main()
