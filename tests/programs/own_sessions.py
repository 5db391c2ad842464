"""A program that uses a library of ours itself, beside requests."""

import os

import requests

import oauthcc

environ = {name: os.environ[f"OAUTH_{name.upper()}"] for name in ("token_url", "client_id")}
own = oauthcc.ClientCredentialsSession(
    **environ, client_secret=os.environ["OAUTH_CLIENT_SECRET"], scope="own"
)
print(own.get(os.environ["OAUTH_API_URL"]).status_code)
print(requests.get(os.environ["OAUTH_API_URL"]).status_code)
