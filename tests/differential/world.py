"""One run of a case: its lines, executed with one session, and what was seen."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Sequence
from email.message import Message
from functools import cache, lru_cache, partial
from types import CodeType, SimpleNamespace
from typing import Any

import requests
from requests import Response
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict

from oauthcc import ClientCredentialsSession, TokenSource

from ..internet import TOKEN_URL, Internet
from . import things
from .compare import VIEWED_APIS, View

TOKEN = "the-token-of-all-cases"
#: The API of the cases with a token. Plain http is named too, because only so it gets a token.
API = (
    "https://api.example",
    "http://api.example",
    "https://api.example:8443",
    "https://127.0.0.1:8443",
)
NOBODY = ("https://nobody.example",)
_environ: Any = os.environ


@cache
def tokens() -> TokenSource:
    """Return a source with a token that is never renewed."""
    net = Internet()
    body = {"access_token": TOKEN, "token_type": "Bearer", "expires_in": 10**7}
    net.pages[TOKEN_URL] = 200, {"Content-Type": "application/json"}, json.dumps(body).encode()
    owner = ClientCredentialsSession(TOKEN_URL, "my-id", "my-secret")
    owner.trust_env = False
    owner.mount("https://", net)
    owner.tokens.get()
    _owners.append(owner)
    return owner.tokens


_owners: list[requests.Session] = []


@cache
def kind_of(base: type[requests.Session], mixin: str | None, is_first: bool) -> Any:
    """Return the class of a session, with a mix-in before or behind it."""
    if mixin is None:
        return base
    mixed = getattr(things, mixin)
    bases = (mixed, base) if is_first or base is requests.Session else (base, mixed)
    return type(mixin, bases, {})


@lru_cache(maxsize=8192)
def compiled(line: str) -> CodeType:
    return compile(line, "<case>", "exec")


class World(BaseAdapter):
    """The adapter of a session, and all that the lines of a case may use."""

    def __init__(self, kind: Any, *, is_ours: bool, api: Sequence[str] | None) -> None:
        super().__init__()
        self.seen: list[Any] = []
        self._answers: list[Any] = []
        self._undo: list[Callable[[], Any]] = []
        self._is_calling, self._thread = False, threading.get_ident()
        ours = kind.using(tokens(), api_url=api) if is_ours else None
        session = self._session = kind() if ours is None else ours
        self.view = View(session, TOKEN)
        session.adapters.clear()
        session.mount("https://", self)
        session.mount("http://", self)
        self._names: dict[str, Any] = {
            **_NAMES,
            "session": session,
            "answers": self._answers,
            "on": self._on,
            "patch": self._patch,
            "noting": self._noting,
            "kw": {},
        }

    def send(self, request: Any, **options: Any) -> Response:  # type: ignore[override]
        """Note what a server would get, and answer."""
        self.seen.append(("sent", self.view.of(request), self.view.of(options)))
        status, headers, line = self._answers.pop(0) if self._answers else (200, {}, "")
        if line:
            self._execute(line)
        return _answer(self, request, status, headers)

    def close(self) -> None:
        pass

    def run(self, lines: Sequence[str]) -> list[Any]:
        """Execute the lines, and return what was seen."""
        data = _environ._data
        saved = data.copy()
        data.clear()
        try:
            for line in lines:
                self._step(line)
        finally:
            for undo in reversed(self._undo):
                undo()
            os.environ = _environ  # noqa: B003 - the object itself
            _environ._data = data
            _put_back(saved)
        return self.seen

    def _step(self, line: str) -> None:
        names = self._names
        self._is_calling = "result = " in line
        try:
            exec(compiled(line), names)
        except Exception as error:  # noqa: BLE001 - the same one is expected
            self.seen.append(("raised", self.view.error(error)))
        if not self._is_calling:
            return
        self._is_calling = False
        view = self.view
        self.seen += [
            ("returned", view.of(names.pop("result", None))),
            ("arguments", view.of(names["kw"])),
            ("session", view.state()),
            ("environment", view.environment()),
        ]

    def _execute(self, line: str) -> None:
        exec(compiled(line), self._names)

    def _on(self, thing: Any, line: str, skip: int = 0) -> Any:
        """Let a thing have a side effect once, when it is used in a call."""
        left = [skip]

        def effect() -> None:
            if self._is_calling and left[0] >= 0:
                left[0] -= 1
                if left[0] < 0:
                    self._execute(line)

        thing.effect = effect
        return thing

    def _patch(self, owner: Any, name: str, value: Any, *more: Any) -> None:
        """Replace an attribute until the end of the run; with more, wrap it."""
        if more:
            value = value(vars(owner)[name], *more)
        if name in vars(owner):
            self._undo.append(partial(setattr, owner, name, vars(owner)[name]))
        else:
            self._undo.append(partial(delattr, owner, name))
        setattr(owner, name, value)

    def _noting(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        """Note that a function was called in this thread, and call it."""
        if threading.get_ident() == self._thread:
            self.seen.append(("called", function.__name__))
        return function(*args, **kwargs)


def run_both(
    lines: Sequence[str], *, mixin: str | None, is_first: bool, api: Sequence[str] | None
) -> tuple[list[Any], list[Any]]:
    """Run lines with both sessions."""
    both = []
    plain = World(kind_of(requests.Session, mixin, is_first), is_ours=False, api=None)
    ours = World(kind_of(ClientCredentialsSession, mixin, is_first), is_ours=True, api=api)
    is_without = any("Authorization': None" in line for line in lines)
    has_netrc = any("netrc(" in line for line in lines)
    for world in (plain, ours):
        VIEWED_APIS[id(world._session)] = ours._session._allowed_urls
        world.view.is_without, world.view.has_token = is_without, api is API
        world.view.has_netrc = has_netrc
        both.append(world.run(lines))
    VIEWED_APIS.clear()
    return both[0], both[1]


def _put_back(saved: dict[Any, Any]) -> None:
    # Lines may have set variables of the process.
    for name in _environ._data.keys() - saved.keys():
        os.unsetenv(name)
    for name in saved.keys() & _CHANGED:
        os.putenv(name, saved[name])
    _environ._data.clear()
    _environ._data.update(saved)


_CHANGED = {b"HOME", b"NETRC"}


def _answer(adapter: Any, request: Any, status: int, headers: dict[str, str]) -> Response:
    message = Message()
    for name, value in headers.items():
        message[name] = value
    response = Response()
    response.status_code, response.reason = status, "R"
    response.headers = CaseInsensitiveDict(headers)
    response.raw = _Raw(message)
    response.url, response.request = request.url, request
    requests.cookies.extract_cookies_to_jar(response.cookies, request, response.raw)
    response.connection = adapter
    return response


class _Raw:
    """The answer of a server, as far as requests looks at it."""

    def __init__(self, message: Message) -> None:
        self._original_response = SimpleNamespace(msg=message)

    def read(self, *args: Any, **kwargs: Any) -> bytes:
        return b""

    def close(self) -> None:
        pass

    def release_conn(self) -> None:
        pass


_NAMES = {
    **{name: value for name, value in vars(things).items() if not name.startswith("__")},
    "os": os,
    "requests": requests,
    "http": __import__("http.cookiejar"),
}
