"""What the tests of refused tokens share: servers, an API in memory."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import requests
from requests import PreparedRequest, Response
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3 import HTTPResponse

from oauthcc import ClientCredentialsAuth, ClientCredentialsSession, TokenSource
from oauthcc.events import Event
from oauthcc.testing import Answer, AuthorizationServer, Fault, ProtectedAPI
from oauthcc.testing.faults import HeaderFields, Line

E = TypeVar("E")
UNWELL = Answer(500, {"Content-Type": "text/plain"}, b"out of order")


@dataclass
class Scene:
    """An authorization server, an API, and sessions whose events are kept."""

    auth: AuthorizationServer
    api: ProtectedAPI
    stack: ExitStack
    events: list[Event] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{self.api.url}/anything"

    def session(self, **options: Any) -> ClientCredentialsSession:
        """Make a session that has fetched nothing yet; it is closed at the end."""
        who = (self.auth.token_url, self.auth.client_id, self.auth.client_secret)
        session = ClientCredentialsSession(*who, on_event=self.events.append, **options)
        return self.stack.enter_context(session)

    def refused(self, **options: Any) -> ClientCredentialsSession:
        """Make a session whose token, the first one, was revoked without its knowing."""
        session = self.session(**options)
        self.revoke(session.tokens)
        return session

    def plain(self) -> requests.Session:
        """Make a plain session that is not led astray by the environment."""
        session = self.stack.enter_context(requests.Session())
        session.trust_env = False
        return session

    def by_auth(self, **options: Any) -> ClientCredentialsAuth:
        """Make the auth object for plain sessions."""
        who = (self.auth.token_url, self.auth.client_id, self.auth.client_secret)
        by_auth = ClientCredentialsAuth(*who, on_event=self.events.append, **options)
        self.stack.callback(by_auth.tokens.close)
        return by_auth

    def revoke(self, tokens: TokenSource) -> None:
        """Have a source hold a token that is good no more, and count from there."""
        tokens.get()
        self.auth.revoke_all()
        self.auth.forget()
        self.api.forget()
        self.events.clear()

    @property
    def token_requests(self) -> int:
        return len(self.auth.token_requests)

    @property
    def trail(self) -> list[tuple[str, int | None]]:
        """Give the path of each request to the API, and which of the tokens issued it carried."""
        return trail(self.api)

    def told(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    def another_api(self) -> ProtectedAPI:
        """Start one more API, which accepts the same tokens."""
        return self.stack.enter_context(ProtectedAPI(self.auth))


def trail(api: ProtectedAPI) -> list[tuple[str, int | None]]:
    issued = api.auth.issued
    return [
        (seen.path, None if seen.token is None else issued.index(seen.token) + 1)
        for seen in api.requests
    ]


@contextmanager
def a_scene() -> Iterator[Scene]:
    """Start the servers."""
    with AuthorizationServer() as auth, ProtectedAPI(auth) as api, ExitStack() as stack:
        yield Scene(auth, api, stack)


def breaking(head: str, body: bytes, then: Callable[[Line], object] = lambda _: None) -> Fault:
    """Refuse with this beginning of an answer, then break off in some way."""

    def play(line: Line) -> None:
        line.send(f"HTTP/1.1 401 Unauthorized\r\n{head}\r\n\r\n".encode() + body)
        then(line)

    return Fault("breaking", play)


class Arrived(NamedTuple):
    """One request as an adapter was handed it."""

    method: str | None
    url: str
    authorization: str | None
    body: Any


Reply = tuple[int, HeaderFields, bytes]


class InMemoryAPI(BaseAdapter):
    """Answer without a network, as an adapter made by hand does."""

    def __init__(self, answer: Callable[[Arrived], Reply]) -> None:
        super().__init__()
        self.answer = answer
        self.arrived: list[Arrived] = []

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        shown = request.headers.get("Authorization")
        bearer = None if shown is None else shown.encode().decode()
        arrived = Arrived(request.method, str(request.url), bearer, request.body)
        self.arrived.append(arrived)
        return self.response(request, *self.answer(arrived))

    def response(
        self, request: PreparedRequest, status: int, headers: HeaderFields, body: bytes
    ) -> Response:
        fields: Mapping[str, str] = dict(Answer(headers=headers).fields)
        raw = HTTPResponse(io.BytesIO(body), fields, status, preload_content=False)
        response = HTTPAdapter().build_response(request, raw)
        del response.connection  # only an HTTPAdapter leaves itself there
        return response

    def close(self) -> None:
        pass
