"""What the embedded servers received and answered, as values without tokens and secrets."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import NamedTuple

from ..redaction.search import redact
from ..testing import Answer, AuthorizationServer, Fault, ProtectedAPI, SeenRequest


class Exchange(NamedTuple):
    """A request that one of the servers received, and its answer. Tokens are numbered."""

    to_api: bool
    #: Method and path, in visible ASCII.
    request: str
    #: The status, or the name of the fault that took the place of an answer.
    answer: str
    #: What the request says about its token, such as "token 1".
    token: str
    #: The number of the token in the answer, or 0.
    issued: int
    body: bytes

    def __str__(self) -> str:
        tail = f", {self.token}" if self.to_api else ""
        return f"{self.request} -> {self.answer}{tail}{self.news}"

    @property
    def news(self) -> str:
        """Return what the answer says about a new token, or an empty text."""
        return f", issued token {self.issued}" if self.issued else ""


def watch(auth: AuthorizationServer, api: ProtectedAPI, see: Callable[[Exchange], object]) -> None:
    """Call `see` with each exchange, just before its answer is sent, on the thread of a server."""

    def on_auth(request: SeenRequest, outcome: Answer | Fault) -> None:
        see(_exchange(auth, request, outcome, to_api=False))

    def on_api(request: SeenRequest, outcome: Answer | Fault) -> None:
        see(_exchange(auth, request, outcome, to_api=True))

    auth.watch, api.watch = on_auth, on_api


def _exchange(
    auth: AuthorizationServer, request: SeenRequest, outcome: Answer | Fault, *, to_api: bool
) -> Exchange:
    issued = auth.issued
    sent = request.headers.get("Authorization", "").rpartition(" ")[2]
    token = "no token" if not sent else "a token that was not issued here"
    if sent in issued:
        token = f"token {issued.index(sent) + 1}"
    line = redact(f"{request.method} {request.path}", [auth.client_secret, *issued])
    return Exchange(
        to_api,
        re.sub(r"[^ -~]", lambda found: f"%{ord(found[0]):02X}", line),
        str(outcome.status) if isinstance(outcome, Answer) else outcome.name,
        token,
        0 if to_api else _number_of_new(outcome, issued),
        request.body,
    )


def _number_of_new(outcome: Answer | Fault, issued: list[str]) -> int:
    body = outcome.body if isinstance(outcome, Answer) else b""
    try:
        found = json.loads(body if isinstance(body, bytes) else b"")
        return issued.index(found["access_token"]) + 1
    except (ValueError, LookupError, TypeError):
        return 0
