"""Tokens that are bound to a key by DPoP (``pip install "oauthcc[jwt]"``).

Each request has a new proof of the key, so a token that was stolen cannot be used.
"""

import requests

from oauthcc import ClientCredentialsSession, DPoP
from oauthcc.testing import AuthorizationServer, ProtectedAPI

with AuthorizationServer() as auth, ProtectedAPI(auth) as server:
    server.dpop_nonce = "a-nonce"  # the API requires a nonce, which the session learns

    with ClientCredentialsSession(
        auth.token_url, auth.client_id, auth.client_secret, scheme=DPoP()
    ) as api:
        print("with proofs:", api.get(server.url + "/orders", timeout=10).status_code)

    seen = server.requests[-1].headers
    copied = {name: seen[name] for name in ("Authorization", "DPoP")}
    for title, headers in (
        ("the token without its proof", {"Authorization": copied["Authorization"]}),
        ("the token with a proof that was used", copied),
    ):
        answer = requests.get(server.url + "/orders", headers=headers, timeout=10)
        print(f"{title}: {answer.status_code} {answer.json()['error']}")
