"""The errors of the library. All of them are ``requests.RequestException``."""

from __future__ import annotations

import requests

from oauthcc import ClientCredentialsSession, TokenEndpointUnavailable, TokenRequestDenied
from oauthcc.testing import AuthorizationServer, ProtectedAPI, faults


def show(title: str, error: requests.RequestException) -> None:
    print(f"{title}\n    {type(error).__name__}: {error}")


if __name__ == "__main__":
    with AuthorizationServer() as auth, ProtectedAPI(auth) as api:

        def session(**options: str) -> ClientCredentialsSession:
            arguments = {
                "token_url": auth.token_url,
                "client_id": auth.client_id,
                "client_secret": auth.client_secret,
            }
            return ClientCredentialsSession(**{**arguments, **options})  # type: ignore[arg-type]

        try:
            session(token_url="as.example/token")
        except ValueError as error:
            assert isinstance(error, requests.RequestException)
            show("A token URL without a scheme (raised when the session is created):", error)

        try:
            session(client_secret="wrong").get(api.url)
        except TokenRequestDenied as error:
            show("A wrong secret:", error)
            print(f"    status_code={error.status_code} error={error.error!r}")

        auth.answer_next(faults.html())
        try:
            session().get(api.url)
        except requests.RequestException as error:
            show("A token endpoint that returns a web page:", error)

        auth.answer_next((429, {"Retry-After": "60"}, b""), n=1)
        try:
            session().get(api.url)
        except TokenEndpointUnavailable as error:
            show("A token endpoint that limits the rate of requests:", error)
            print(f"    retry_after={error.retry_after}")

        auth.down()
        try:
            session().get(api.url)
        except requests.ConnectionError as error:
            show("A token endpoint that is down:", error)
        auth.up()

        try:
            session().get("http://api.example/orders")
        except requests.exceptions.InvalidURL as error:
            show("A token that would be sent over plain http:", error)
