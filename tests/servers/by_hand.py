"""Token requests and DPoP proofs made by hand, with plain requests and without the library."""

from __future__ import annotations

import base64
import hashlib
import json
import time
import uuid
from urllib.parse import quote

import jwt
import requests
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from .clients import Client
from .oidc import SCOPE, OIDCServer

GRANT = {"grant_type": "client_credentials", "scope": SCOPE}


def basic(client: Client) -> dict[str, str]:
    pair = ":".join(quote(part, safe="") for part in client.pair)
    return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def token_for(plain: requests.Session, oidc: OIDCServer, name: str, **data: str) -> str:
    client = oidc.clients[name]
    answer = plain.post(oidc.token_url, data={**GRANT, **data}, headers=basic(client))
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


class Prover:
    """A maker of DPoP proofs (RFC 9449 4.2) with one key."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.jwk = json.loads(ECAlgorithm.to_jwk(self.key.public_key()))

    def proof(self, method: str, url: str, **claims: str | int) -> str:
        payload = {"htm": method, "htu": url, "iat": int(time.time()), "jti": str(uuid.uuid4())}
        headers = {"typ": "dpop+jwt", "jwk": self.jwk}
        return jwt.encode({**payload, **claims}, self.key, "ES256", headers)

    def token(self, plain: requests.Session, oidc: OIDCServer) -> str:
        nonce: dict[str, str | int] = {}
        for _ in range(2):
            proof = self.proof("POST", oidc.token_url, **nonce)
            headers = {**basic(oidc.clients["dpop"]), "DPoP": proof}
            answer = plain.post(oidc.token_url, data=GRANT, headers=headers)
            if answer.status_code == 200:
                assert answer.json()["token_type"] == "DPoP"
                return str(answer.json()["access_token"])
            assert answer.json()["error"] == "use_dpop_nonce"
            nonce = {"nonce": answer.headers["DPoP-Nonce"]}
        raise AssertionError(answer.text)

    def headers(self, method: str, url: str, token: str, **claims: str | int) -> dict[str, str]:
        ath = base64.urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).decode()
        proof = self.proof(method, url, **{"ath": ath.rstrip("="), **claims})
        return {"Authorization": f"DPoP {token}", "DPoP": proof}
