"""A small program that calls an API. test_orders.py has its tests."""

import os

import requests

from oauthcc import ClientCredentialsSession


def open_orders(session: requests.Session, url: str) -> list[str]:
    """Return the ids of all open orders; raise requests.RequestException."""
    response = session.get(f"{url}/orders", params={"status": "open"}, timeout=10)
    response.raise_for_status()
    return [order["id"] for order in response.json()]


if __name__ == "__main__":
    with ClientCredentialsSession.from_env() as session:
        print(*open_orders(session, os.environ["OAUTH_API_URL"]), sep="\n")
