"""An API that requires a token and returns what it received."""

from __future__ import annotations

import base64
import hashlib
import ssl
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from ..jwt import sha256_base64url
from .authorization_server import AuthorizationServer
from .faults import Answer, AnyAnswer, HeaderFields, Outcome, as_outcome, json_answer
from .proof import ProofError, Proofs
from .registry import IssuedToken
from .script import ScriptedServer, checked_path
from .seen import SeenRequest

Route = Callable[[SeenRequest], AnyAnswer]


class ProtectedAPI(ScriptedServer):
    """An API on loopback that accepts the tokens of an `AuthorizationServer`.

    Refusals are those of RFC 6750 section 3, and of RFC 9449 section 7.1 if the token is bound to a
    DPoP key. A token that is bound to a certificate needs this certificate. If the token is valid,
    `/anything` and every path that is not listed here return the request as JSON. The other routes
    are `/status/<code>`, `/redirect-to?url=&status=`, `/set-cookie?name=value`, `/stream/<bytes>`
    and `/slow?seconds=`. These attributes can be set at any time:

    - `protected`: False accepts every request, like a server without authorization;
    - `token_header`, `token_prefix`: the header of the token and the word before it, as in
      `Bearer(prefix, header=...)`; the prefix "" means the token alone;
    - `refusal`: an `Answer` to send instead of the usual 401 (a bare 403, cookies, other bodies);
    - `dpop_nonce`: the nonce that every DPoP proof must have (None: none is required);
    - `delay`: seconds by which every request is delayed.
    """

    def __init__(
        self,
        auth: AuthorizationServer,
        *,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        serve_token_endpoint: bool = False,
    ) -> None:
        """Create an API; `serve_token_endpoint` adds the token endpoint of `auth` at `/token`."""
        super().__init__("/", port=port, tls=tls)
        self.auth = auth
        self.protected = True
        self.token_header: str = "Authorization"
        self.token_prefix: str = "Bearer"
        self.refusal: Answer | None = None
        self.dpop_nonce: str | None = None
        self._proofs = Proofs()
        self.requests: list[SeenRequest] = []
        self._serve_token_endpoint = serve_token_endpoint
        self._scopes: dict[str, str] = {}
        self._routes: list[tuple[str, Route]] = [
            ("/status/", _status),
            ("/redirect-to", _redirect),
            ("/set-cookie", _set_cookie),
            ("/stream/", _stream),
        ]

    @property
    def token_url(self) -> str:
        """Return the URL of the token endpoint on this origin; see `serve_token_endpoint`."""
        return f"{self.url}/token"

    def require_scope(self, path_prefix: str, scope: str) -> None:
        """Answer 403 below this path if the token lacks the scope (RFC 6750 section 3.1)."""
        self._scopes[checked_path(path_prefix)] = scope

    def add_route(self, path_prefix: str, answer: Route) -> None:
        """Answer requests below this path by calling `answer`, if their token is valid.

        It returns what `answer_next` takes. A later route wins over an earlier one and over the
        built-in ones.
        """
        if not callable(answer):
            raise TypeError("A route is a function of the request, such as `lambda request: ...`.")
        self._routes = [(checked_path(path_prefix), answer), *self._routes]

    def refuse_next(
        self,
        n: int | None = 1,
        status: int = 401,
        headers: HeaderFields | None = None,
        body: bytes | None = None,
        *,
        path: str | None = None,
    ) -> None:
        """Refuse the next `n` requests even if their token is valid (None: all of them).

        Headers and body are those of the usual refusal unless given. `path` is a prefix.
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
        """Empty the list of requests, and start counting concurrent requests again."""
        self.requests.clear()
        super().forget()

    def respond(self, request: SeenRequest, closing: Callable[[], bool]) -> Outcome:
        """Return the answer to a request, after holding it if the test asked for that."""
        if self._serve_token_endpoint and request.path == "/token":
            return self.auth.answer_token_request(request, closing)
        seen = replace(request, at=self.auth.time(), token=self._token(request))
        self.requests.append(seen)
        return self._perform(seen.path, closing, lambda: self._answer(seen, closing))

    def _token(self, request: SeenRequest) -> str | None:
        if _is_dpop(request):
            return request.headers["Authorization"][len("DPoP ") :].strip() or None
        value = request.headers.get(self.token_header, "")
        before = f"{self.token_prefix} ".lstrip()
        is_there = value.lower().startswith(before.lower())
        return value[len(before) :] or None if is_there else None

    def _answer(self, seen: SeenRequest, closing: Callable[[], bool]) -> Outcome:
        refused = self._refused(seen) if self.protected else None
        if refused is not None:
            return refused
        if seen.path == "/slow":
            self._pause(float(dict(seen.args).get("seconds", "1")), closing)
        for prefix, route in self._routes:
            if seen.path.startswith(prefix):
                return as_outcome(route(seen))
        return _echo(seen, self.auth.issued)

    def _refused(self, seen: SeenRequest) -> Answer | None:
        scheme = "DPoP" if _is_dpop(seen) else "Bearer"
        token = None if seen.token is None else self.auth.look_up(seen.token)
        if token is None:
            if self.refusal is not None:
                return self.refusal
            error = None if seen.token is None else "invalid_token"
            return self._challenge(401, error, scheme=scheme)
        try:
            self._check_binding(seen, token)
        except ProofError as error:
            return self.refusal or self._proof_challenge(error, token.token_type)
        granted = token.scope.split()
        for prefix, scope in self._scopes.items():
            if seen.path.startswith(prefix) and scope not in granted:
                return self._challenge(403, "insufficient_scope", scope, scheme=scheme)
        return None

    def _challenge(
        self, status: int, error: str | None, scope: str | None = None, *, scheme: str = "Bearer"
    ) -> Answer:
        members = {"realm": "api", "error": error, "scope": scope}
        challenge = ", ".join(f'{name}="{value}"' for name, value in members.items() if value)
        fields = {"WWW-Authenticate": f"{scheme} {challenge}"}
        return json_answer({"error": error or "no_token"}, status, fields)

    def _check_binding(self, seen: SeenRequest, token: IssuedToken) -> None:
        """Raise ProofError if the request lacks the key or certificate that the token is bound to.

        The scheme must be the type of the token, so that a bound token is not accepted as Bearer.
        """
        certificate = seen.peer_certificate
        shown = None if certificate is None else sha256_base64url(certificate)
        if token.certificate_thumbprint not in (None, shown):
            raise ProofError("The token is bound to another certificate", "invalid_token")
        is_dpop = _is_dpop(seen)
        if is_dpop != (token.key_thumbprint is not None):
            raise ProofError(f"The token needs the scheme {token.token_type}", "invalid_token")
        if is_dpop:
            key = self._proofs.thumbprint(seen, nonce=self.dpop_nonce, access_token=seen.token)
            if key != token.key_thumbprint:
                raise ProofError("The token is bound to another key", "invalid_token")

    def _proof_challenge(self, error: ProofError, scheme: str) -> Answer:
        """Return a refusal of RFC 9449 section 7.1, with the nonce if there is one (section 9)."""
        challenge = f'{scheme} realm="api", error="{error.error}", error_description="{error}"'
        fields = {"WWW-Authenticate": challenge}
        if self.dpop_nonce is not None:
            fields["DPoP-Nonce"] = self.dpop_nonce
        return json_answer({"error": error.error}, 401, fields)

    def wake(self) -> None:
        """Wake the requests that wait, also those at the token endpoint of this origin."""
        super().wake()
        self.auth.wake()


def _is_dpop(seen: SeenRequest) -> bool:
    """Return whether a request uses the scheme DPoP (RFC 9449 section 7.1)."""
    return seen.headers.get("Authorization", "").lower().startswith("dpop ")


def _echo(seen: SeenRequest, tokens: Collection[str]) -> Answer:
    """Return the request as JSON, without the token, which a test could otherwise print."""
    headers = dict(seen.headers)
    for name, value in seen.headers.items():  # a scheme may have another one
        if name.lower() == "authorization" or value.rpartition(" ")[2] in tokens:
            word, space, _ = value.partition(" ")
            headers[name] = f"{word} [hidden]" if space else "[hidden]"
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
