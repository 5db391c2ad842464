"""The two APIs of the warm call: an adapter that answers at once, and a server on loopback."""

from __future__ import annotations

import multiprocessing
import selectors
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests
from requests.adapters import BaseAdapter

NULL_URL = "https://api.example"
NULL_TOKEN_URL = f"{NULL_URL}/token"
_REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class NullAdapter(BaseAdapter):
    """An adapter that answers at once, without a network."""

    #: The status of the API, and the number of tokens that were issued.
    status, tokens = 200, 0

    def send(self, request: requests.PreparedRequest, **_: Any) -> requests.Response:  # type: ignore[override]
        """Return an empty response, or a token."""
        response = requests.Response()
        response.status_code, response.url, response.request = self.status, request.url, request  # type: ignore[assignment]
        response._content = b""
        if request.url == NULL_TOKEN_URL:
            self.tokens += 1
            response.status_code = 200
            response._content = b'{"access_token":"token-%d","token_type":"Bearer"}' % self.tokens
        return response

    def close(self) -> None:
        """Close nothing."""


def serve(listening: socket.socket) -> None:
    """Answer the requests on all connections, as fast as possible; each fits in one segment."""
    with selectors.DefaultSelector() as selector:
        selector.register(listening, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                line = key.fileobj
                assert isinstance(line, socket.socket)
                if line is listening:
                    line = listening.accept()[0]
                    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    selector.register(line, selectors.EVENT_READ)
                else:
                    _answer(line, selector)


def _answer(line: socket.socket, selector: selectors.BaseSelector) -> None:
    try:
        received = line.recv(65536)
        # http.client sends the body of a POST in a second segment.
        if received and not (received.startswith(b"POST") and received.endswith(b"\r\n\r\n")):
            line.sendall(_REPLY)
    except ConnectionError:
        received = b""
    if not received:
        selector.unregister(line)
        line.close()


@contextmanager
def loopback() -> Iterator[str]:
    """Run a server that keeps connections open in another process, and yield its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        process = multiprocessing.get_context("spawn").Process(
            target=serve, args=(listening,), daemon=True
        )
        process.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            process.terminate()
            process.join()
