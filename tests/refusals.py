"""What the tests of refused tokens share: a scene of servers and sessions, and an API in memory."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from contextlib import ExitStack
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

from .clock import flights_done

E = TypeVar("E")
UNAVAILABLE = Answer(500, {"Content-Type": "text/plain"}, b"out of order")
#: The trail of a request to ``Scene.url`` that is refused with the first token and replayed.
TWICE = [("/anything", 1), ("/anything", 2)]


@dataclass
class Scene:
    """An authorization server, an API, and sessions whose events are collected."""

    auth: AuthorizationServer
    api: ProtectedAPI
    stack: ExitStack
    events: list[Event] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{self.api.url}/anything"

    @property
    def client(self) -> tuple[str, str, str]:
        return self.auth.token_url, self.auth.client_id, self.auth.client_secret

    def session(self, **options: Any) -> ClientCredentialsSession:
        """Return a session that has fetched no token yet. It is closed at the end."""
        session = ClientCredentialsSession(*self.client, on_event=self.events.append, **options)
        return self.stack.enter_context(session)

    def refused(self, **options: Any) -> ClientCredentialsSession:
        """Return a session that does not know that its token, the first one, was revoked."""
        session = self.session(**options)
        self.revoke(session.tokens)
        return session

    def plain(self) -> requests.Session:
        """Return a plain session that does not use the environment."""
        session = self.stack.enter_context(requests.Session())
        session.trust_env = False
        return session

    def auth_object(self, **options: Any) -> ClientCredentialsAuth:
        """Return an ``auth=`` for plain sessions."""
        made = ClientCredentialsAuth(*self.client, on_event=self.events.append, **options)
        self.stack.callback(made.tokens.close)
        return made

    def revoke(self, tokens: TokenSource) -> None:
        """Revoke the token of a source, and count requests from now on."""
        tokens.get()
        flights_done()  # its event comes after the token
        self.auth.revoke_all()
        self.auth.forget()
        self.api.forget()
        self.events.clear()

    @property
    def token_requests(self) -> int:
        return len(self.auth.token_requests)

    @property
    def trail(self) -> list[tuple[str, int | None]]:
        return trail(self.api)

    def emitted(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    def another_api(self) -> ProtectedAPI:
        """Start one more API, which accepts the same tokens."""
        return self.stack.enter_context(ProtectedAPI(self.auth))


class Sessions:
    """Sessions with a token: of ours, or plain ones with a `ClientCredentialsAuth`."""

    def __init__(self, scene: Scene, *, use_auth: bool) -> None:
        self._scene = scene
        self._use_auth = use_auth

    def new(self, **options: Any) -> requests.Session:
        """Return a session that has fetched no token yet."""
        return self._made(**options)[0]

    def refused(self, **options: Any) -> requests.Session:
        """Return a session that does not know that its token, the first one, was revoked."""
        session, tokens = self._made(**options)
        self._scene.revoke(tokens)
        return session

    def with_tokens(self) -> tuple[requests.Session, TokenSource]:
        """Return a session that has fetched no token yet, and its source."""
        return self._made()

    def _made(self, **options: Any) -> tuple[requests.Session, TokenSource]:
        if not self._use_auth:
            ours = self._scene.session(**options)
            return ours, ours.tokens
        plain, auth = self._scene.plain(), self._scene.auth_object(**options)
        plain.auth = auth
        return plain, auth.tokens


def trail(api: ProtectedAPI) -> list[tuple[str, int | None]]:
    """Return the path of each request to an API, and the number of the token that it carried."""
    issued = api.auth.issued
    return [
        (seen.path, None if seen.token is None else issued.index(seen.token) + 1)
        for seen in api.requests
    ]


def breaking(head: str, body: bytes, then: Callable[[Line], object] = lambda _: None) -> Fault:
    """Return a refusal that begins like this and then breaks off."""

    def play(line: Line) -> None:
        line.send(f"HTTP/1.1 401 Unauthorized\r\n{head}\r\n\r\n".encode() + body)
        then(line)

    return Fault("breaking", play)


class Arrived(NamedTuple):
    """One request as an adapter received it."""

    method: str | None
    url: str
    authorization: str | None
    body: Any


Reply = tuple[int, HeaderFields, bytes]


class InMemoryAPI(BaseAdapter):
    """An adapter that answers without a network and leaves no trace of itself in the response."""

    def __init__(self, answer: Callable[[Arrived], Reply]) -> None:
        super().__init__()
        self.answer = answer
        self.arrived: list[Arrived] = []

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        header = request.headers.get("Authorization")
        bearer = None if header is None else header.encode().decode()
        arrived = Arrived(request.method, str(request.url), bearer, request.body)
        self.arrived.append(arrived)
        return self.response(request, *self.answer(arrived))

    def response(
        self, request: PreparedRequest, status: int, headers: HeaderFields, body: bytes
    ) -> Response:
        fields: Mapping[str, str] = dict(Answer(headers=headers).fields)
        raw = HTTPResponse(io.BytesIO(body), fields, status, preload_content=False)
        response = HTTPAdapter().build_response(request, raw)
        del response.connection  # only an HTTPAdapter puts itself there
        return response

    def close(self) -> None:
        pass


class ReadyMade(InMemoryAPI):
    """An adapter whose responses have a status, headers and content, as those of many tests do."""

    def response(
        self, request: PreparedRequest, status: int, headers: HeaderFields, body: bytes
    ) -> Response:
        response = Response()
        response.status_code, response._content = status, body
        response.headers.update(dict(Answer(headers=headers).fields))
        return response
