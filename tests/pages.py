"""Answers to requests for metadata, without a server."""

from __future__ import annotations

import json
from collections.abc import Mapping

import requests


def answer(
    body: object = b"", status: int = 200, headers: Mapping[str, str] | None = None
) -> requests.Response:
    """Return an answer that was read completely."""
    response = requests.Response()
    response.status_code, response.url = status, "https://as.example/metadata"
    response.headers.update(headers or {})
    response._content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return response


class Pages:
    """Answers by URL, and the list of the requested URLs."""

    def __init__(self, pages: Mapping[str, requests.Response | Exception]) -> None:
        self.answers = dict(pages)
        self.asked: list[str] = []

    def __call__(self, url: str) -> requests.Response:
        self.asked.append(url)
        page = self.answers.get(url, answer({}, 404))
        if isinstance(page, Exception):
            raise page
        return page
