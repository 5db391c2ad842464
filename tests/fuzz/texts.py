"""Targets that draw texts in which a secret is quoted: errors of the transport, and any others."""

from __future__ import annotations

import http.client
import random
import types
from collections.abc import Callable
from typing import Any

import requests
from requests import PreparedRequest, Response
from requests.adapters import BaseAdapter
from urllib3 import exceptions as urllib3_errors

from oauthcc import ClientSecretPost, ConfigurationError, TokenError
from oauthcc.redaction.search import redact
from oauthcc.token_request.client_config import ClientConfig
from oauthcc.token_request.endpoint import TokenEndpoint
from oauthcc.token_request.owner import Owner

from .answers import URL, a_secret, a_text, a_token, a_word, forms_of, spelled, texts_of

_RAW: Any = types.SimpleNamespace(tell=int, length_remaining=None)


def transport_error(rng: random.Random, echo: str) -> Exception:
    """Return an error of http.client, urllib3 or requests that quotes what a server sent."""
    line = echo.encode()
    kinds: list[Callable[[], Exception]] = [
        lambda: http.client.BadStatusLine(echo),
        lambda: http.client.UnknownProtocol(echo),
        lambda: ValueError(f"invalid literal for int() with base 16: {line!r}"),
        lambda: urllib3_errors.InvalidChunkLength(_RAW, line.split(b";")[0]),
        lambda: urllib3_errors.InvalidHeader(
            f"Content-Length contained multiple unmatching values ({echo})"
        ),
        lambda: urllib3_errors.DecodeError(f"Received response with content-encoding: {echo}"),
    ]
    error = rng.choice(kinds)()
    wrappers: list[Callable[[Exception], Exception]] = [
        lambda e: e,
        lambda e: urllib3_errors.ProtocolError("Connection aborted.", e),
        lambda e: urllib3_errors.ProtocolError(f"Connection broken: {e!r}", e),
    ]
    if not isinstance(error, urllib3_errors.HTTPError):
        wrappers = wrappers[1:]  # urllib3 never lets these through
    error = rng.choice(wrappers)(error)
    outer = rng.choice(
        [
            requests.ConnectionError,
            requests.exceptions.ChunkedEncodingError,
            requests.exceptions.ContentDecodingError,
            requests.exceptions.InvalidHeader,
            requests.ReadTimeout,
            requests.RequestException,
        ]
    )
    return outer(error)


class Broken(BaseAdapter):
    """An adapter that raises an error that was made before."""

    error: Exception

    def send(  # type: ignore[override]
        self, request: PreparedRequest, **_: Any
    ) -> Response:
        raise self.error

    def close(self) -> None:
        pass


def transport_errors(rng: random.Random) -> None:
    """Let the transport quote an echo of the secret, the header or a token."""
    secret, token = a_secret(rng), "eyJ" + a_word(rng, 20, 60)
    posts = rng.random() < 0.5
    options: Any = {"client_auth": ClientSecretPost()} if posts else {}
    endpoint = TokenEndpoint(ClientConfig.of(URL, "me", secret, **options), Owner())
    endpoint.trust_env = False
    adapter = Broken()
    endpoint.mount("https://", adapter)
    echo = a_text(rng, [secret, token])
    adapter.error = transport_error(rng, echo)
    hidden = forms_of(secret) | forms_of(token)
    try:
        endpoint.fetch(secret, b"", attempts=1, deadline=float("inf"))
    except (TokenError, ConfigurationError) as error:
        assert error.__cause__ is None
        shown = "\n".join(texts_of(error)) if isinstance(error, TokenError) else repr(error)
        for form in hidden:
            assert form not in shown, f"{form!r} is shown in {shown!r}"


def redacted_texts(rng: random.Random) -> None:
    """Redact a text that quotes secrets in any spelling, with other escapes around them."""
    secrets = [a_secret(rng) for _ in range(rng.randint(1, 3))]
    if rng.random() < 0.3:
        secrets.append(a_token(rng))
    around = ["", " ", "\\", "%", "&", "%4", "&amp;", "\\n", "%25", "'", "x", "\u00e9", "text "]
    parts = []
    for _ in range(rng.randint(1, 6)):
        parts += [rng.choice(around), spelled(rng, rng.choice(secrets)), rng.choice(around)]
    text = "".join(parts)
    shown = redact(text, secrets)
    for secret in secrets:
        for form in forms_of(secret):
            assert form not in shown, f"{form!r} of {secrets} is shown in {shown!r}: {text!r}"


def unredacted_texts(rng: random.Random) -> None:
    """Redact a text that quotes no secret: it is not changed."""
    text = a_text(rng, [a_word(rng, 5, 30)])
    assert redact(text, ["Z9" + a_word(rng, 20, 30)]) == text


TARGETS = (transport_errors, redacted_texts, unredacted_texts)
