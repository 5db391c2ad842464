"""A request as a server received it, as a value that tests can look at."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from requests.structures import CaseInsensitiveDict

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """A request as a server received it, completely.

    Headers, body and token are not in the `repr`, because a failing test prints it.
    """

    method: str
    path: str
    """The path as it was sent, without the query."""
    query: str
    raw_headers: Pairs = field(default=(), repr=False)
    """The header fields one by one, in the order in which they were sent."""
    body: bytes = field(default=b"", repr=False)
    """The whole body; chunks are joined."""
    target: str = field(default="", repr=False)
    """The request target as it was sent: a whole URL if the server was used as a proxy."""
    at: float = 0.0
    """When the request arrived, in seconds of the authorization server's clock."""
    client_id: str | None = None
    """The client id in the request, if any (token, introspection, revocation endpoint)."""
    token: str | None = field(default=None, repr=False)
    """The token in the request, if any."""
    peer_certificate: bytes | None = field(default=None, repr=False)
    """The client's TLS certificate (DER), if it sent one."""
    scheme: str = field(default="http", repr=False)
    """The scheme of the URL: "http", or "https" if the server uses TLS."""

    @property
    def url(self) -> str:
        """Return the URL without the query, as the client sees it."""
        return f"{self.scheme}://{self.headers.get('Host', '')}{self.path}"

    @property
    def headers(self) -> Mapping[str, str]:
        """Return the header fields as a case-insensitive mapping; repeated ones are joined."""
        folded: CaseInsensitiveDict[str] = CaseInsensitiveDict()
        for name, value in self.raw_headers:
            folded[name] = f"{folded[name]}, {value}" if name in folded else value
        return folded

    @property
    def args(self) -> list[tuple[str, str]]:
        """Return the parameters of the query, in order, including repeated ones."""
        return parse_qsl(self.query, keep_blank_values=True)

    @property
    def form(self) -> list[tuple[str, str]]:
        """Return the parameters of a form-encoded body, in order; empty for any other body."""
        kind = self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind != "application/x-www-form-urlencoded":
            return []
        return parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True)

    def json(self) -> Any:
        """Return the parsed JSON body; raise ValueError if the body is not JSON."""
        return json.loads(self.body)
