"""The comparison of one case on ``requests.Session`` and on ours.

A case is a function of a `Run`. It does with ``run.session`` what a caller would do, and notes the
values to compare. Also compared are the requests that reached the servers, the error that was
raised, and the session afterwards. Only the Authorization header may differ. A case declares which
of its requests carry our token.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import pytest
import requests
import urllib3.filepost

from oauthcc import ClientCredentialsSession
from oauthcc.testing import Answer, AuthorizationServer, ProtectedAPI, SeenRequest, json_answer

from .look import look, steady

Options = Mapping[str, Any]
Play = Callable[["Run"], Any]
P = TypeVar("P", bound=Play)

#: How ours is used. The token goes with each request ("everywhere"), only to the API ("prefix"), or
#: only to another URL ("elsewhere": nothing may differ). Or it goes only to the API, which refuses
#: the first token, so that it is replaced ("refused").
Way = Literal["everywhere", "prefix", "elsewhere", "refused"]


@dataclass
class World:
    """The servers of the cases of one module. All are on loopback."""

    auth: AuthorizationServer
    api: ProtectedAPI
    other: ProtectedAPI
    folder: Path

    @property
    def url(self) -> str:
        """Return a URL that answers with its request, without Authorization."""
        return f"{self.api.url}/echo"


def open_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Start the servers. Each module with cases makes a fixture of this."""
    with AuthorizationServer() as auth, ExitStack() as stack:
        api = stack.enter_context(ProtectedAPI(auth))
        other = stack.enter_context(ProtectedAPI(auth))
        for server in (api, other):
            add_routes(server)
        yield World(auth, api, other, tmp_path_factory.mktemp("contract"))


def add_routes(server: ProtectedAPI) -> None:
    """Add the routes of the cases to a server, and accept every request."""
    server.protected = False
    server.add_route("/echo", echo)
    server.add_route("/hop/", _hop)


def echo(seen: SeenRequest) -> Answer:
    """Answer with the request, without Authorization, which may differ."""
    headers = [pair for pair in seen.raw_headers if pair[0].lower() != "authorization"]
    request = {"method": seen.method, "target": seen.target, "headers": headers}
    return json_answer({**request, "body": seen.body.decode("latin-1")})


def _hop(seen: SeenRequest) -> Answer:
    """Answer ``/hop/<status>/<cookie>?<target>`` with a redirect that sets a cookie."""
    _, _, status, cookie = seen.path.split("/")
    fields = [("Location", seen.query), ("Set-Cookie", f"{cookie}=1; Path=/")]
    return Answer(int(status), fields, b"moved")


def tls_server(context: ssl.SSLContext, auth: AuthorizationServer) -> ProtectedAPI:
    """Return one more server, with TLS."""
    server = ProtectedAPI(auth, tls=context)
    add_routes(server)
    return server


@dataclass
class Run:
    """One half of a comparison."""

    world: World
    base: type[requests.Session]
    arguments: tuple[Any, ...]
    options: Options
    patch: pytest.MonkeyPatch
    folder: Path
    notes: list[Any] = field(default_factory=list)
    made: list[requests.Session] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.session = self.make()

    @property
    def url(self) -> str:
        return self.world.url

    @property
    def is_ours(self) -> bool:
        return self.base is not requests.Session

    def make(self, kind: type[requests.Session] | None = None, *first: Any) -> requests.Session:
        """Return a session, of a subclass of ``base`` if one is given. It is closed at the end."""
        session: requests.Session = (kind or self.base)(*first, *self.arguments, **self.options)
        self.made.append(session)
        return session

    def keep(self, session: Any) -> Any:
        """Close another session, such as a copy, at the end, and return it."""
        self.made.append(session)
        return session

    def note(self, *values: Any) -> None:
        """Note values as they are now."""
        self.notes.append([look(value) for value in values])

    def attempt(self, action: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Note the result of a call, or its error."""
        try:
            self.note(action(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - every error is compared
            self.note(error)

    def hop(self, *targets: str, status: int = 302, server: str | None = None) -> str:
        """Return a URL that redirects along the targets. The last one is the echo by default."""
        base = server or self.world.api.url
        url = targets[-1] if targets else f"{base}/echo"
        for number, start in enumerate(reversed((base, *targets[:-1]))):
            url = f"{start}/hop/{status}/c{number}?{url}"
        return url


@dataclass(frozen=True)
class Case:
    """A case, and which of its requests carry our token: all, none, or a value for each."""

    play: Play
    token: bool | tuple[bool, ...]
    warm: bool
    unordered: bool
    refusable: bool
    measured: bool

    @property
    def ways(self) -> tuple[Way, ...]:
        first = self.token[0] if isinstance(self.token, tuple) else self.token
        return "everywhere", "refused" if first and self.refusable else "prefix", "elsewhere"


class Cases(list[Case]):
    """The list of cases of one module."""

    def add(
        self,
        token: bool | tuple[bool, ...] = True,
        *,
        warm: bool = False,
        unordered: bool = False,
        refusable: bool = True,
        measured: bool = False,
    ) -> Callable[[P], P]:
        """Add a case.

        ``warm`` fetches the token first, ``unordered`` is for threads. A case is not ``refusable``
        if its first request cannot be sent twice, or if its server has a script of answers. It is
        ``measured`` if it covers lines of the library that no other test covers.
        """

        def enter(play: P) -> P:
            self.append(Case(play, token, warm, unordered, refusable, measured))
            return play

        return enter

    def each(self) -> pytest.MarkDecorator:
        """Parametrize a test that takes ``case`` and ``way`` by every case in every way."""
        params = [
            pytest.param(
                *(case, way),
                id=f"{case.play.__name__}-{way}",
                marks=pytest.mark.measured if case.measured else (),
            )
            for case in self
            for way in case.ways
        ]
        return pytest.mark.parametrize(("case", "way"), params)


@dataclass(frozen=True)
class Outcome:
    """What one half of a comparison brought."""

    wire: list[SeenRequest]
    notes: list[Any]
    error: Any
    session: Any


def compare(case: Case, world: World, way: Way) -> None:
    """Run a case on both sessions; fail if more than Authorization differs."""
    auth = world.auth
    arguments = (auth.token_url, auth.client_id, auth.client_secret)
    api_url = None if way == "everywhere" else world.api.url
    if way == "elsewhere":
        api_url = "https://elsewhere.example"
    plain = _played(case, world, requests.Session, (), {})
    if way == "refused":
        world.api.refuse_next()
    ours = _played(case, world, ClientCredentialsSession, arguments, {"api_url": api_url})
    for name in ("notes", "error", "session"):
        _same(name, getattr(ours, name), getattr(plain, name))
    wire = _without_refused(ours.wire) if way == "refused" else ours.wire
    _same("wire", [_sight(seen) for seen in wire], [_sight(seen) for seen in plain.wire])
    token = False if way == "elsewhere" else case.token
    expected = token if isinstance(token, tuple) else (token,) * len(wire)
    assert len(expected) == len(wire), wire
    for seen, of_requests, has_token in zip(wire, plain.wire, expected, strict=True):
        if has_token:
            assert seen.token in auth.issued, seen
        else:
            assert _authorization(seen) == _authorization(of_requests), seen


def _without_refused(wire: list[SeenRequest]) -> list[SeenRequest]:
    """Remove the refused request, after a check that its replay was the same."""
    if not wire:
        return wire
    refused, replay, *_ = wire
    _same("replay", _sight(replay), _sight(refused))
    assert replay.token != refused.token
    return wire[1:]


def _same(where: str, ours: Any, plain: Any) -> None:
    """Fail at the first difference between two values, and name its place."""
    if ours == plain:
        return
    if isinstance(ours, dict) and isinstance(plain, dict):
        for key in (*ours, *plain):
            _same(f"{where}[{key!r}]", ours.get(key, "missing"), plain.get(key, "missing"))
    elif isinstance(ours, (list, tuple)) and isinstance(plain, (list, tuple)):
        for number, (one, other) in enumerate(zip(ours, plain, strict=False)):
            _same(f"{where}[{number}]", one, other)
    pytest.fail(f"{where}: {ours!r} is not {plain!r}")


def _played(
    case: Case,
    world: World,
    base: type[requests.Session],
    arguments: tuple[Any, ...],
    options: Options,
) -> Outcome:
    world.api.forget()
    world.other.forget()
    with pytest.MonkeyPatch.context() as patch:
        quiet(patch, world.folder)
        run = Run(world, base, arguments, options, patch, world.folder)
        error = None
        try:
            if case.warm and isinstance(run.session, ClientCredentialsSession):
                run.session.tokens.get()
            case.play(run)
        except Exception as raised:  # noqa: BLE001 - every error is compared
            error = look(raised)
        finally:
            state = look(run.session)
            for session in run.made:
                session.close()
            world.api.answer_normally()
        wire = [*world.api.requests, *world.other.requests]
    if case.unordered:
        wire.sort(key=lambda seen: (seen.target, seen.body))
    return Outcome(wire, run.notes, error, state)


def quiet(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Remove the influence of the environment, and the randomness of a boundary."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
            patch.delenv(name)
    patch.setenv("NETRC", str(folder / "no-netrc"))
    patch.setattr(urllib3.filepost, "choose_boundary", lambda: "a-boundary")


def _sight(seen: SeenRequest) -> tuple[Any, ...]:
    headers = [pair for pair in seen.raw_headers if pair[0] != "Authorization"]
    return seen.method, seen.target, headers, seen.body, seen.peer_certificate


def _authorization(seen: SeenRequest) -> list[str]:
    found = [value for name, value in seen.raw_headers if name.lower() == "authorization"]
    return [steady(value) for value in found]
