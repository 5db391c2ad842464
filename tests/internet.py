"""An adapter in which every host answers, nothing leaves the process, and every request is kept.

It serves the token endpoint ``https://as.example/token`` and any other URL. A request counts for
the place to which a real adapter would have connected, whatever the URL looks like.
"""

from __future__ import annotations

import http.client
import io
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import requests
from requests import PreparedRequest, Response
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3 import HTTPResponse

from oauthcc import Event

TOKEN_URL = "https://as.example/token"

Page = tuple[int, Mapping[str, str], bytes]


@dataclass(frozen=True)
class Seen:
    """One request as the host would have seen it."""

    place: str
    request: PreparedRequest = field(repr=False)
    options: dict[str, Any] = field(repr=False)
    authorization: str | None
    body: bytes

    @property
    def url(self) -> str:
        return str(self.request.url)


E = TypeVar("E")


class SeenEvents(list[Event]):
    """An observer that keeps events, also those that come after the callers have continued."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition()

    def __reduce__(self) -> tuple[type[list[Event]], tuple[list[Event]]]:
        return list, ([*self],)

    def __call__(self, event: Event) -> None:
        with self._changed:
            self.append(event)
            self._changed.notify_all()

    def first(self, kind: type[E]) -> E:
        """Wait for an event of this kind and return the first."""
        with self._changed:
            assert self._changed.wait_for(lambda: any(isinstance(e, kind) for e in self), 10)
        return next(event for event in self if isinstance(event, kind))


class Internet(BaseAdapter):
    """An adapter that answers 200 by default, and at the token endpoint with a token."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Seen] = []
        self.token_requests: list[Seen] = []
        self.pages: dict[str, Page | Callable[[PreparedRequest], Page]] = {}
        self.tokens: list[str] = []

    def redirect(self, url: str, location: str, status: int = 302) -> None:
        self.pages[url] = status, {"Location": location}, b""

    def shown(self, place: str | None = None) -> list[str | None]:
        """Return the Authorization of every request, to this place or to all."""
        return [seen.authorization for seen in self.seen if place in (None, seen.place)]

    def places_with_a_token(self) -> set[str]:
        """Return the places that saw any issued token, in a header, the body or the URL."""
        return {
            seen.place for seen in self.seen if any(token in _all_of(seen) for token in self.tokens)
        }

    def send(  # type: ignore[override]
        self, request: PreparedRequest, **options: Any
    ) -> Response:
        seen = _seen(request, options)
        if seen.url.partition("?")[0] == TOKEN_URL:
            self.token_requests.append(seen)
        else:
            self.seen.append(seen)
        page = self.pages.get(seen.url)
        if page is None and self.token_requests and self.token_requests[-1] is seen:
            page = self._issue()
        if callable(page):
            page = page(request)
        return _answer(request, page or (200, {}, b"fine"))

    def _issue(self) -> Page:
        self.tokens.append(f"the-token-{len(self.tokens)}.of~this/test+")
        answer = {"access_token": self.tokens[-1], "token_type": "Bearer", "expires_in": 3600}
        return 200, {"Content-Type": "application/json"}, json.dumps(answer).encode()

    def close(self) -> None:
        pass


def _seen(request: PreparedRequest, options: dict[str, Any]) -> Seen:
    # Raises as a real adapter does for a URL that it cannot connect to.
    try:
        place, _ = HTTPAdapter().build_connection_pool_key_attributes(request, True)
    except ValueError as error:
        raise requests.exceptions.InvalidURL(error, request=request) from error
    port = place["port"] or {"https": 443, "http": 80}[place["scheme"]]
    header = request.headers.get("Authorization")
    body = request.body or b""
    return Seen(
        f"{place['scheme']}://{place['host']}:{port}",
        request,
        options,
        # The true value, as http.client would write it.
        None if header is None else _octets(header).decode("latin-1"),
        body if isinstance(body, bytes) else str(body).encode(),
    )


def _octets(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("latin-1")


def _all_of(seen: Seen) -> str:
    headers = [b"%b: %b" % (_octets(n), _octets(v)) for n, v in seen.request.headers.items()]
    return (b"\n".join(headers) + seen.body).decode("latin-1") + seen.url


def _answer(request: PreparedRequest, page: Page) -> Response:
    status, headers, body = page
    raw = HTTPResponse(
        io.BytesIO(body), headers=dict(headers), status=status, preload_content=False
    )
    # With a reason, as from a server.
    raw.reason = http.client.responses.get(status, "Unnamed")
    return HTTPAdapter().build_response(request, raw)
