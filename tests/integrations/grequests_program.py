"""A program that uses grequests, which changes the standard library when it is imported."""

# ruff: noqa: I001, T201 - grequests must be imported first; its output is what the test reads

from __future__ import annotations

import grequests

import os

from oauthcc import ClientCredentialsSession

CLIENT = os.environ["TOKEN_URL"], os.environ["CLIENT_ID"], os.environ["CLIENT_SECRET"]
URL = os.environ["API_URL"]

with ClientCredentialsSession(*CLIENT) as session:

    def call(*paths: str) -> None:
        calls = [grequests.post(f"{URL}{path}", session=session, data=path) for path in paths]
        answers = grequests.map(calls, size=8)
        print(*(answer.json().get("path") for answer in answers))

    call(*(f"/first/{number}" for number in range(16)))
    call("/revoke")
    call(*(f"/second/{number}" for number in range(16)))
    call("/remove-client")
    session.tokens.forget()

    def failed(request: object, error: Exception) -> str:
        return type(error).__name__

    print(*grequests.map([grequests.get(URL, session=session)], exception_handler=failed))
    print(*grequests.map([grequests.get(URL, session=session)]))
