"""The base of the imitated providers: a token endpoint and an API at the provider's real URLs.

An imitation refuses what the provider refuses, with its statuses and its errors, as its public
documentation describes them. Its API refuses the first token, so that every client is seen to
replay a request. Nothing leaves the process: each URL that no imitation serves is an error.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

import jwt
import responses
from requests import PreparedRequest

#: A host that no token is for, to which every API redirects.
ELSEWHERE = "https://elsewhere.example/page"
FORM, JSON = "application/x-www-form-urlencoded", "application/json"
JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

Answer = tuple[int, dict[str, str], str]


class Refused(Exception):
    """An answer that refuses a request: its status, its body and its headers."""

    def __init__(self, status: int, body: Any, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, body)
        self.answer = answer(status, body, headers)


def answer(status: int, body: Any, headers: Mapping[str, str] | None = None) -> Answer:
    text = body if isinstance(body, str) else json.dumps(body)
    kind = "text/plain" if isinstance(body, str) else JSON
    return status, {"Content-Type": kind, **(headers or {})}, text


def oauth(error: str, description: str | None = None) -> dict[str, str]:
    """Return the error of RFC 6749 section 5.2."""
    return {"error": error} | ({} if description is None else {"error_description": description})


class Asked:
    """One request as a provider reads it."""

    def __init__(self, request: PreparedRequest) -> None:
        self.method = str(request.method)
        self.url = str(request.url)
        self.headers = request.headers
        body = request.body or b""
        self.body = body if isinstance(body, bytes) else str(body).encode()
        self.kind = str(self.headers.get("Content-Type", "")).partition(";")[0]

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.url).query, keep_blank_values=True))

    @property
    def params(self) -> dict[str, Any]:
        """Return the members of the body, none if its type is neither form nor JSON."""
        if self.kind == JSON:
            members: dict[str, Any] = json.loads(self.body)
            return members
        pairs = parse_qsl(self.body.decode(), keep_blank_values=True) if self.kind == FORM else []
        assert len(dict(pairs)) == len(pairs), "no parameter may occur twice (RFC 6749 section 3.2)"
        return dict(pairs)

    @property
    def basic(self) -> tuple[str, str] | None:
        """Return the id and the secret in the header, which are not decoded further."""
        scheme, _, rest = str(self.headers.get("Authorization", "")).partition(" ")
        if scheme != "Basic":
            return None
        client_id, _, secret = base64.b64decode(rest).decode().partition(":")
        return client_id, secret


@dataclass(frozen=True)
class Call:
    """One request to the API: the token in it, the status of the answer, and whether it is good."""

    token: str | None
    status: int
    accepted: bool
    request: Asked


@dataclass(frozen=True)
class Keys:
    """The private key of the client and its certificate, in PEM."""

    private: str
    public: str
    certificate: str


class Imitation:
    """A provider. Its class attributes say what is usual, and its methods what else it checks."""

    #: What the page writes before the block: ``<!-- provider: ... -->``.
    name: ClassVar[str]
    token_url: ClassVar[str]
    token_method: ClassVar[str] = "POST"
    #: The one URL of the API.
    api_url: ClassVar[str]
    api_method: ClassVar[str] = "GET"
    client_id: ClassVar[str] = "my-client-id"
    client_secret: ClassVar[str] = "q8Zr-2yVbT_0mXw5"
    #: What else the block uses: names and values.
    also: ClassVar[Mapping[str, str]] = {}
    #: Those of them that nobody may see.
    secrets: ClassVar[tuple[str, ...]] = ()

    body: ClassVar[str] = FORM
    grant_type: ClassVar[str] = "client_credentials"
    #: "header", "body" or "either".
    secret_in: ClassVar[str] = "header"
    #: Parameters that must have these values.
    params: ClassVar[Mapping[str, str]] = {}
    header: ClassVar[str] = "Authorization"
    prefix: ClassVar[str] = "Bearer "

    token_status: ClassVar[int] = 200
    token_members: ClassVar[Mapping[str, Any]] = {"token_type": "Bearer", "expires_in": 3600}
    wrong_method: ClassVar[tuple[int, Any]] = (405, oauth("invalid_request"))
    wrong_body: ClassVar[tuple[int, Any]] = (400, oauth("invalid_request"))
    wrong_client: ClassVar[tuple[int, Any]] = (401, oauth("invalid_client"))
    wrong_grant: ClassVar[tuple[int, Any]] = (400, oauth("unsupported_grant_type"))
    wrong_params: ClassVar[tuple[int, Any]] = (400, oauth("invalid_request"))
    wrong_token: ClassVar[tuple[int, Any]] = (401, oauth("invalid_token"))

    def __init__(self, keys: Keys) -> None:
        self.keys = keys
        self.issued: list[str] = []
        self.calls: list[Call] = []
        self.token_requests: list[Asked] = []
        self.seen_elsewhere: list[Asked] = []

    @property
    def moved_url(self) -> str:
        """Return a URL of the API that redirects to another host."""
        return self.api_url.partition("?")[0] + "/moved"

    def names(self) -> dict[str, Any]:
        """Return the names that the block uses."""
        return {
            "client_id": self.client_id,
            "client_secret": self.client_secret,
            "private_key": self.keys.private,
            "certificate": self.keys.certificate,
            **self.also,
        }

    def environment(self) -> Mapping[str, str]:
        """Return the environment variables of the program with the block."""
        return {}

    def hidden(self) -> list[str]:
        """Return what no other host and no log may see."""
        others = [self.also[name] for name in self.secrets]
        return [*self.issued, self.client_secret, *others]

    def pages(self) -> Iterator[tuple[str, str, Callable[[Asked], Answer]]]:
        """Yield the methods and the URLs that this provider serves, and what answers there."""
        for method in ("GET", "POST", "PUT", "DELETE"):
            yield method, self.token_url, self.issue
        yield self.api_method, self.api_url, self.serve
        yield "GET", self.moved_url, self.redirect

    # What a provider checks beside the class attributes.

    def check_client(self, asked: Asked) -> None:
        """Check the client authentication."""
        inside = asked.params.get("client_id"), asked.params.get("client_secret")
        places = {"header": asked.basic, "body": inside if any(inside) else None}
        given = [place for place, value in places.items() if value is not None]
        allowed = ["header", "body"] if self.secret_in == "either" else [self.secret_in]
        if len(given) != 1 or given[0] not in allowed:
            raise Refused(*self.wrong_client)
        if places[given[0]] != (self.client_id, self.client_secret):
            raise Refused(*self.wrong_client)

    def check_token_request(self, asked: Asked) -> None:
        """Check what only this provider asks for."""

    def check_call(self, asked: Asked) -> None:
        """Check what only this provider's API asks for."""

    def more(self, asked: Asked) -> Mapping[str, Any]:
        """Return further members of the answer with a token."""
        return {}

    # The two endpoints.

    def issue(self, asked: Asked) -> Answer:
        self.token_requests.append(asked)
        if asked.method != self.token_method:
            raise Refused(*self.wrong_method)
        if self.token_method == "POST" and asked.kind != self.body:
            raise Refused(*self.wrong_body)
        self.check_client(asked)
        if self.grant_type_of(asked) != self.grant_type:
            raise Refused(*self.wrong_grant)
        for name, value in self.params.items():
            if asked.params.get(name) != value:
                raise Refused(*self.wrong_params)
        self.check_token_request(asked)
        self.issued.append(f"token-{len(self.issued) + 1}-{secrets.token_urlsafe(24)}")
        token = {"access_token": self.issued[-1], **self.token_members, **self.more(asked)}
        return answer(self.token_status, token)

    def grant_type_of(self, asked: Asked) -> Any:
        return asked.params.get("grant_type")

    def token_of(self, asked: Asked) -> str | None:
        value = str(asked.headers.get(self.header, ""))
        return value.removeprefix(self.prefix) if value.startswith(self.prefix) else None

    def serve(self, asked: Asked) -> Answer:
        token = self.token_of(asked)
        try:
            self.check_call(asked)
            self.check_token(token)
        except Refused as refused:
            self.calls.append(Call(token, refused.answer[0], False, asked))
            raise
        self.calls.append(Call(token, 200, True, asked))
        return answer(200, {"fine": True})

    def check_token(self, token: str | None) -> None:
        """Check that a token was issued, and is not the first one, which is revoked."""
        if token not in self.issued[1:]:
            raise Refused(*self.wrong_token)

    def redirect(self, asked: Asked) -> Answer:
        self.check_token(self.token_of(asked))
        return answer(302, "", {"Location": ELSEWHERE})

    @contextmanager
    def running(self) -> Iterator[Imitation]:
        """Serve the URLs of this provider, and let no request leave the process."""

        def page(respond: Callable[[Asked], Answer]) -> Callable[[PreparedRequest], Answer]:
            def callback(request: PreparedRequest) -> Answer:
                try:
                    return respond(Asked(request))
                except Refused as refused:
                    return refused.answer

            return callback

        def elsewhere(asked: Asked) -> Answer:
            self.seen_elsewhere.append(asked)
            return answer(200, "nothing here")

        with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
            for method, url, respond in (*self.pages(), ("GET", ELSEWHERE, elsewhere)):
                with_query = re.compile(re.escape(url.partition("?")[0]) + r"(\?.*)?\Z")
                mock.add_callback(method, with_query, page(respond), content_type=None)
            yield self


class SignedByKey(Imitation):
    """A provider whose clients sign an assertion with a private key (RFC 7523)."""

    algorithm: ClassVar[str]
    key_id: ClassVar[str | None] = None
    #: The longest lifetime of an assertion, in seconds.
    longest: ClassVar[int] = 300
    audience: ClassVar[str | None] = None  # None: the token URL

    def __init__(self, keys: Keys) -> None:
        super().__init__(keys)
        self._used: set[str] = set()

    def check_client(self, asked: Asked) -> None:
        params = asked.params
        assertion = params.get("client_assertion", "")
        if asked.basic is not None or "client_secret" in params or not assertion:
            raise Refused(*self.wrong_client)
        if params.get("client_assertion_type") != JWT_BEARER:
            raise Refused(*self.wrong_client)
        self.check_assertion(jwt.get_unverified_header(assertion), self.claims_of(assertion))

    def claims_of(self, assertion: str) -> dict[str, Any]:
        """Return the claims of an assertion that this provider accepts."""
        try:
            claims: dict[str, Any] = jwt.decode(
                assertion,
                self.keys.public,
                [self.algorithm],
                audience=self.audience or self.token_url,
                issuer=self.client_id,
                options={"require": ["exp", "iss", "aud"]},
            )
        except jwt.PyJWTError as error:
            raise Refused(*self.wrong_client) from error
        if claims["exp"] > time.time() + self.longest:
            raise Refused(*self.wrong_client)
        return claims

    def check_assertion(self, header: dict[str, Any], claims: dict[str, Any]) -> None:
        """Check the header, the subject, and that the assertion is used once."""
        used = claims.get("jti")
        wrong_key = self.key_id is not None and header.get("kid") != self.key_id
        if wrong_key or claims.get("sub") != self.client_id or not used or used in self._used:
            raise Refused(*self.wrong_client)
        self._used.add(used)
