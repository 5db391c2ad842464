"""Targets that draw the answers of a token endpoint.

A secret and a token are put into every place of an answer, in every spelling. What comes out is a
correct token, or one of our errors that shows neither.
"""

from __future__ import annotations

import base64
import html
import io
import json
import logging
import pickle
import random
import string
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, quote_plus

import requests
from oauthlib.oauth2 import BackendApplicationClient
from requests import PreparedRequest, Response
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3 import HTTPResponse

from oauthcc import ClientSecretPost, TokenError
from oauthcc.access_token import Token
from oauthcc.schemes import Bearer
from oauthcc.token_request.client_config import ClientConfig
from oauthcc.token_request.endpoint import TokenEndpoint
from oauthcc.token_request.owner import Owner
from oauthcc.token_request.response import read_token

URL = "https://as.example/token"
_WORD = string.ascii_letters + string.digits
_ODD = "%/+ &=:;~\\'\"<>@#?\u00fc\u00e9\u4e2d"
STATUSES = [200] * 6 + [100, 201, 204, 226, 301, 302, 307, 399]
STATUSES += [400] * 4 + [401, 401, 403, 404, 408, 429, 500, 502, 503, 599]
_NO_ERRORS = (None, "", False, 0, [], {}, 10**400)
KINDS = ["application/json", "text/plain", "text/html; charset=utf-8", "application/xml", "", "\0"]
WORDS = ["invalid", "client", "The request", "failed", "at line", "7", "unknown scope", "Bearer"]
TOKEN_NAMES = ["access_token", "refresh_token", "id_token", "accessToken", "Access_Token", "token"]
OTHER_NAMES = ["jwt", "data", "value", "result", "x", "name", "copy", "self", "client", "state"]
KNOWN_NAMES = ["error", "error_description", "error_uri", "token_type", "scope", "expires_in"]
ENCODINGS = ["utf-8"] * 6 + ["utf-8-sig", "utf-16", "utf-32-le", "latin-1"]


def a_word(rng: random.Random, least: int, most: int, alphabet: str = _WORD) -> str:
    return "".join(rng.choices(alphabet, k=rng.randint(least, most)))


def a_secret(rng: random.Random) -> str:
    """Return a secret that is long enough not to occur by chance."""
    secret = a_word(rng, 12, 40, _WORD + _ODD * rng.randint(0, 3)).strip()
    # Its halves are searched for too, so they must be as rare.
    return "Z9" + secret + "q7K"


def a_token(rng: random.Random) -> str:
    """Return a token as servers issue them."""
    kind = rng.randrange(4)
    if kind == 0:
        parts = (a_word(rng, 10, 60, _WORD + "-_") for _ in range(3))
        return "eyJ" + ".".join(parts)
    if kind == 1:
        return f"T0ken-{rng.randrange(10**6)}.of~this+test/=="
    if kind == 2:
        return "".join(rng.choices("0123456789abcdef", k=40))
    return a_word(rng, 30, 80, _WORD + "-_") + "4f7Gh2"


def spelled(rng: random.Random, text: str) -> str:
    """Return a text in a spelling in which servers quote it."""
    spellings: list[Callable[[str], str]] = [
        lambda t: t,
        quote,
        quote_plus,
        lambda t: quote(t, safe=""),
        lambda t: quote(t, safe=":/").lower() if t.islower() else quote(t, safe=":/"),
        lambda t: json.dumps(t)[1:-1],
        lambda t: repr(t)[1:-1],
        lambda t: repr(t.encode())[2:-1],
        html.escape,
        lambda t: t.replace("/", "\\/"),
    ]
    times = rng.choice([1, 1, 1, 2, 3])
    if rng.random() < 0.1:
        text, times = text.encode().decode("latin-1"), 1
    for _ in range(times):
        text = rng.choice(spellings)(text)
    return text


def a_text(rng: random.Random, echoes: list[str]) -> str:
    """Return a text that may quote an echo."""
    number = rng.randrange(len(echoes))
    echo = spelled(rng, echoes[number])
    shape = rng.randrange(9)
    if shape < 4:
        return echo if shape == 3 else " ".join(rng.choices(WORDS, k=rng.randint(0, 4)))
    if shape == 4:  # odd characters in the middle, which the filter for errors drops
        # Not behind a backslash: if the character is escaped too, both become one escape.
        at = len(echo[: rng.randrange(len(echo) + 1)].rstrip("\\"))
        # The token is the last. It is not known if the status is an error, nor are its lines.
        odd = ["\u200b", "\x00", "\u00ad", "\u4e2d", *["\n"][number == len(echoes) - 1 :]]
        return echo[:at] + rng.choice(odd) + echo[at:]
    if shape == 5:
        return f"{rng.choice(['Bearer', 'Basic', 'bearer:', 'Authorization: Bearer'])} {echo}"
    if shape == 6:
        return f"{rng.choice(WORDS)} <{echo}> {'long text ' * rng.choice([1, 1, 60])}{echo}"
    if shape == 7:
        return json.dumps({rng.choice(TOKEN_NAMES): echo})
    return f"{rng.choice(WORDS)}{rng.choice([' ', '=', ': ', '&', '?x='])}{echo}"


def a_value(rng: random.Random, echoes: list[str], depth: int = 2) -> Any:
    shape = rng.randrange(8 if depth else 6)
    if shape < 3:
        return a_text(rng, echoes)
    if shape == 3:
        return rng.choice(echoes)
    if shape < 6:
        return rng.choice([None, True, 0, 3600, "3600", -1, 1.5, 10**400, "", "Bearer", "mac"])
    if shape == 6:
        return [a_value(rng, echoes, depth - 1) for _ in range(rng.randint(0, 3))]
    return a_document(rng, echoes, depth - 1)


def a_document(rng: random.Random, echoes: list[str], depth: int = 2) -> dict[str, Any]:
    names = rng.sample(TOKEN_NAMES + OTHER_NAMES + KNOWN_NAMES, rng.randint(0, 5))
    if rng.random() < 0.05:
        names.append(rng.choice(echoes))
    return {name: a_value(rng, echoes, depth) for name in names}


def a_body(rng: random.Random, secrets: list[str], token: str) -> bytes:
    """Return a body: JSON, broken JSON, text, XML or a form, in some encoding."""
    echoes = [*secrets, token]
    document: Any = a_document(rng, echoes)
    if rng.random() < 0.6:
        document["access_token"] = token
        document["token_type"] = rng.choice(["Bearer", "bearer", None, "mac", 7, token])
    text = json.dumps(document, ensure_ascii=rng.random() < 0.5)
    shape = rng.randrange(14)
    if shape == 0:
        # Not in the middle of an echo: half of a secret cannot be recognised.
        text = json.dumps(document, ensure_ascii=False)
        text = ", ".join(text.split(", ")[: rng.randrange(6)])
    elif shape == 1:
        text = json.dumps(rng.choice([token, [document], [token], {"data": document}]))
    elif shape == 2:
        text = f"<r><accessToken>{token}</accessToken></r>"
    elif shape == 3:
        text = f"access_token={quote(token)}&token_type=bearer"
    elif shape == 4:
        members = [
            json.dumps({name: rng.choice([token, "", None, a_text(rng, echoes)])})[1:-1]
            for name in rng.choices(TOKEN_NAMES + KNOWN_NAMES, k=rng.randint(1, 5))
        ]
        text = f"{{{', '.join(members + members[:1])}}}"
    elif shape == 5:
        text = f"<html><p>{a_text(rng, secrets)}</p></html>"
    elif shape == 6:
        text = a_text(rng, secrets)
    return text.encode(rng.choice(ENCODINGS), "backslashreplace") + rng.choice([b"", b"", b"\xff"])


def an_answer(rng: random.Random, secrets: list[str], token: str) -> Response:
    response = Response()
    response.status_code, response.url = rng.choice(STATUSES), URL
    response._content = a_body(rng, secrets, token)
    echoes = secrets if response.status_code >= 400 else [*secrets, token]
    response.headers["Content-Type"] = rng.choice([*KINDS, f"text/{header_text(rng, echoes)}"])
    for name in ("Location", "X-Echo", "WWW-Authenticate", "Retry-After", "Set-Cookie"):
        if rng.random() < 0.3:
            response.headers[name] = header_text(rng, echoes)
    if rng.random() < 0.05:
        response.headers[header_text(rng, secrets)] = "x"
    response.reason = header_text(rng, echoes) if rng.random() < 0.3 else "OK"
    return response


def header_text(rng: random.Random, echoes: list[str]) -> str:
    """Return a text as http.client would decode it."""
    text = a_text(rng, echoes).replace("\n", " ").replace("\x00", "")
    return text.encode().decode("latin-1")


def forms_of(text: str) -> set[str]:
    """Return the spellings that are searched for, and the halves of the text."""
    forms = {
        text,
        quote(text),
        quote(text, safe=""),
        quote_plus(text),
        html.escape(text),
        json.dumps(text)[1:-1],
        repr(text)[1:-1],
        text.encode().decode("latin-1"),
    }
    half = len(text) // 2
    return forms | ({text[:half], text[half:]} if half >= 12 else set())


def texts_of(error: TokenError) -> Iterator[str]:
    """Yield everything that an error shows."""
    yield from (str(error), repr(error), repr(error.args), repr(vars(error)))
    yield from filter(None, (error.error, error.error_description, error.error_uri))
    yield pickle.dumps(error, protocol=0).decode("raw_unicode_escape")
    response = error.response
    if response is not None:
        yield from (response.text, str(response.reason), str(response.url))
        yield repr(response.headers)
        for name, value in response.headers.items():
            yield name
            yield str(value)
        yield repr(vars(response.request))


def check_error(error: TokenError, hidden: set[str]) -> None:
    """Raise AssertionError if an error shows one of the texts, or the error that it came from."""
    assert error.__cause__ is None, "an error has a cause"
    assert error.__context__ is None or error.__suppress_context__, "an error has a context"
    shown = "\n".join(texts_of(error))
    for form in hidden:
        assert form not in shown, f"{form!r} is shown in {shown!r}"


def check_token(token: Token, body: bytes, status: int, issued: str) -> None:
    """Raise AssertionError if a token was read from an answer that does not contain it."""
    assert 200 <= status < 300, f"a token was read from an answer with status {status}"
    try:
        document = json.loads(body)
    except UnicodeDecodeError:
        document = json.loads(body.decode("latin-1"))
    assert isinstance(document, dict), "a token was read from something else than an object"
    assert document["access_token"] == token.access_token, "another token was read"
    # A number of more than 300 digits counts as null, for the token type too.
    assert document.get("error") in _NO_ERRORS, "a token was read from an error"
    given = document.get("token_type")
    assert given in (None, "", 10**400) or given.lower() in ("bearer", "bearertoken")
    assert token.token_type == "Bearer"
    assert token.access_token.isascii()
    assert token.access_token.isprintable()
    assert token.access_token.strip()
    assert issued or token.access_token


def read_answers(rng: random.Random) -> None:
    """Read an answer by `read_token`."""
    secret, token = a_secret(rng), a_token(rng)
    basic = base64.b64encode(f"me:{secret}".encode()).decode()
    response = an_answer(rng, [secret, f"Basic {basic}"], token)
    response.request = _REQUEST.copy()
    response.request.headers["Authorization"] = f"Basic {basic}"
    hidden = {form for text in (secret, basic, token) for form in forms_of(text)}
    with noted(response):
        try:
            read = read_token(
                response,
                parse=BackendApplicationClient("me", scope="a").parse_request_body_response,
                asked_at=1000.0,
                scope="a",
                accepts=Bearer().accepts,
                scheme_name="Bearer",
                secrets=[secret],
                method="client_secret_basic",
            )
        except TokenError as error:
            check_error(error, hidden)
        else:
            check_token(read, bytes(response.content), response.status_code, token)


class noted:  # noqa: N801 - it is used like a function
    """A block whose exceptions name the answer that caused them."""

    def __init__(self, response: Response) -> None:
        self._response = response

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if error is not None:
            seen = self._response
            shown = f"{seen.status_code} {seen.reason!r} {dict(seen.headers)} {seen.content!r}"
            error.__notes__ = [*getattr(error, "__notes__", ()), shown]  # type: ignore[attr-defined]


class InMemory(BaseAdapter):
    """An adapter that answers with a response that was made before."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = Response()

    def send(  # type: ignore[override]
        self, request: PreparedRequest, **_: Any
    ) -> Response:
        made = self.answer
        raw = HTTPResponse(
            io.BytesIO(made.content),
            headers=dict(made.headers),
            status=made.status_code,
            reason=made.reason,
            preload_content=False,
        )
        return HTTPAdapter().build_response(request, raw)

    def close(self) -> None:
        pass


class Kept(logging.Handler):
    """The log of one run."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


_REQUEST = requests.Request("POST", URL, data={"grant_type": "client_credentials"}).prepare()


def send_and_read(rng: random.Random) -> None:
    """Send a token request by `TokenEndpoint`, and read its answer."""
    secret, token = a_secret(rng), a_token(rng)
    options = {"client_auth": ClientSecretPost()} if rng.random() < 0.5 else {}
    config = ClientConfig.of(URL, "me", secret, **options)
    endpoint = TokenEndpoint(config, Owner())
    adapter, log = InMemory(), Kept()
    endpoint.trust_env = False
    endpoint.mount("https://", adapter)
    adapter.answer = response = an_answer(rng, [secret], token)
    hidden = {form for text in (secret, token) for form in forms_of(text)}
    logger = logging.getLogger("oauthcc")
    level = logger.level
    logger.addHandler(log)
    logger.setLevel(logging.DEBUG)
    try:
        with noted(response):
            try:
                deadline = time.monotonic() + 60
                fetched = endpoint.fetch(secret, b"", attempts=1, deadline=deadline)
            except TokenError as error:
                check_error(error, hidden)
            else:
                check_token(fetched.token, bytes(response.content), response.status_code, token)
            shown = [line for line in log.lines if any(form in line for form in hidden)]
            assert not shown, shown
    finally:
        logger.removeHandler(log)
        logger.setLevel(level)


TARGETS = (read_answers, send_and_read)
