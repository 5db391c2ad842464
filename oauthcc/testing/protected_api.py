"""An API that wants a Bearer token and shows what reached it."""

from __future__ import annotations

import base64
import hashlib
import ssl
from collections.abc import Callable, Iterator
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from .authorization_server import AuthorizationServer
from .faults import Answer, HeaderFields, Outcome, json_answer
from .http import LoopbackServer
from .script import Script, Scriptable
from .seen import SeenRequest

Route = Callable[[SeenRequest], Answer]


class ProtectedAPI(Scriptable, LoopbackServer):
    """Serve an API on loopback that accepts the tokens of an `AuthorizationServer`.

    Refusals are those of RFC 6750 section 3. Where a token is good, `/anything` and every path
    not named here answer with what arrived, as JSON; there are also `/status/<code>`,
    `/redirect-to?url=&status=`, `/set-cookie?name=value`, `/stream/<bytes>` and
    `/slow?seconds=`. Attributes that can be set at any time:

    - `protected`: False lets every request in, as a server without authorization would;
    - `refusal`: an `Answer` to give in place of the usual 401 (a bare 403, cookies, odd bodies);
    - `delay`: seconds for which every request is kept waiting.
    """

    def __init__(
        self,
        auth: AuthorizationServer,
        *,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        serve_token_endpoint: bool = False,
        realm: str = "api",
    ) -> None:
        """Prepare an API; with `serve_token_endpoint` it has the token endpoint at `/token` too."""
        super().__init__(port=port, tls=tls)
        self.auth = auth
        self.realm = realm
        self.protected = True
        self.refusal: Answer | None = None
        self.requests: list[SeenRequest] = []
        self._serve_token_endpoint = serve_token_endpoint
        self._script = Script("/")
        self._scopes: dict[str, str] = {}
        self._routes: list[tuple[str, Route]] = [
            ("/status/", _status),
            ("/redirect-to", _redirect),
            ("/set-cookie", _set_cookie),
            ("/stream/", _stream),
        ]

    @property
    def token_url(self) -> str:
        """Give the URL of the token endpoint on this origin; see `serve_token_endpoint`."""
        return f"{self.url}/token"

    def require_scope(self, path_prefix: str, scope: str) -> None:
        """Answer 403 below this path to tokens that lack the scope (RFC 6750 section 3.1)."""
        self._scopes[path_prefix] = scope

    def add_route(self, path_prefix: str, answer: Route) -> None:
        """Answer requests below this path, where the token is good, with what this gives.

        A later route goes before an earlier one, and before those that are there from the start.
        """
        self._routes = [(path_prefix, answer), *self._routes]

    def refuse_next(
        self,
        n: int | None = 1,
        status: int = 401,
        headers: HeaderFields | None = None,
        body: bytes | None = None,
        *,
        path: str | None = None,
    ) -> None:
        """Refuse the next `n` requests although their token may be good (None: all of them).

        Headers and body are those of a usual refusal unless given. `path` is a prefix.
        """
        forbidden = status == HTTPStatus.FORBIDDEN
        usual = self._challenge(status, "insufficient_scope" if forbidden else "invalid_token")
        refusal = Answer(
            status,
            usual.headers if headers is None else headers,
            usual.body if body is None else body,
        )
        self.answer_next(refusal, n, path)

    def forget(self) -> None:
        """Empty the list of requests, and start counting concurrent ones anew."""
        self.requests.clear()
        self._script.forget()

    def respond(self, request: SeenRequest, closing: Callable[[], bool]) -> Outcome:
        """Answer a request: hold it, refuse it or serve it."""
        if self._serve_token_endpoint and request.path == "/token":
            return self.auth.answer_token_request(request, closing)
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        bearer = token.strip() if scheme.lower() == "bearer" else None
        seen = replace(request, at=self.auth.time(), token=bearer)
        self.requests.append(seen)
        return self._script.perform(seen.path, closing, lambda: self._answer(seen, closing))

    def _answer(self, seen: SeenRequest, closing: Callable[[], bool]) -> Answer:
        refused = self._refused(seen) if self.protected else None
        if refused is not None:
            return refused
        if seen.path == "/slow":
            self._script.pause(float(dict(seen.args).get("seconds", "1")), closing)
        for prefix, route in self._routes:
            if seen.path.startswith(prefix):
                return route(seen)
        return _echo(seen)

    def _refused(self, seen: SeenRequest) -> Answer | None:
        token = None if seen.token is None else self.auth.look_up(seen.token)
        if token is None:
            if self.refusal is not None:
                return self.refusal
            return self._challenge(401, None if seen.token is None else "invalid_token")
        granted = token.scope.split()
        for prefix, scope in self._scopes.items():
            if seen.path.startswith(prefix) and scope not in granted:
                return self._challenge(403, "insufficient_scope", scope)
        return None

    def _challenge(self, status: int, error: str | None, scope: str | None = None) -> Answer:
        members = {"realm": self.realm, "error": error, "scope": scope}
        challenge = ", ".join(f'{name}="{value}"' for name, value in members.items() if value)
        fields = {"WWW-Authenticate": f"Bearer {challenge}"}
        return json_answer({"error": error or "no_token"}, status, fields)

    def wake(self) -> None:
        """Have held requests look whether their server is being closed."""
        self._script.wake()
        self.auth.wake()


def _echo(seen: SeenRequest) -> Answer:
    """Tell what arrived; of credentials only the scheme, lest a test's output show a token."""
    headers = dict(seen.headers)
    if "Authorization" in headers:
        headers["Authorization"] = headers["Authorization"].partition(" ")[0] + " [hidden]"
    try:
        parsed = seen.json()
    except ValueError:
        parsed = None
    echo: dict[str, Any] = {
        "method": seen.method,
        "path": seen.path,
        "args": seen.args,
        "headers": headers,
        "body": base64.b64encode(seen.body).decode(),
        "length": len(seen.body),
        "sha256": hashlib.sha256(seen.body).hexdigest(),
        "form": seen.form,
        "json": parsed,
    }
    return json_answer(echo)


def _last(seen: SeenRequest) -> int:
    number = seen.path.rpartition("/")[2]
    return int(number) if number.isascii() and number.isdigit() else 0


def _status(seen: SeenRequest) -> Answer:
    return json_answer({}, _last(seen) or 400)


def _redirect(seen: SeenRequest) -> Answer:
    args = dict(seen.args)
    return Answer(int(args.get("status", "302")), {"Location": args.get("url", "/anything")})


def _set_cookie(seen: SeenRequest) -> Answer:
    cookies = [("Set-Cookie", f"{name}={value}; Path=/") for name, value in seen.args]
    return json_answer({"cookies": dict(seen.args)}, headers=cookies)


def _stream(seen: SeenRequest) -> Answer:
    return Answer(200, {"Content-Type": "application/octet-stream"}, _blocks(_last(seen)))


def _blocks(size: int, block: int = 8192) -> Iterator[bytes]:
    while size > 0:
        yield b"x" * min(size, block)
        size -= block
