"""The check of DPoP proofs (RFC 9449 section 4.3), as an authorization server and an API do it."""

from __future__ import annotations

import json
from typing import Any

from .. import clock
from ..jwt import sha256_base64url
from .seen import SeenRequest
from .signed_jwt import KEY_ALGORITHMS, LEEWAY, UsedIds, load_public_key, unverified, verify

_REQUIRED = ["jti", "htm", "htu", "iat"]
# RFC 7638 section 3.2 and RFC 8037 section 2.
_IN_THUMBPRINT = {"RSA": "e kty n", "EC": "crv kty x y", "OKP": "crv kty x"}


class ProofError(ValueError):
    """A proof that is missing or wrong. `error` is the code of RFC 9449 section 12.2."""

    def __init__(self, message: str, error: str = "invalid_dpop_proof") -> None:
        super().__init__(message)
        self.error = error


class Proofs:
    """The proofs that one server has seen, each of which is valid once."""

    def __init__(self) -> None:
        self._used = UsedIds()

    def thumbprint(
        self, seen: SeenRequest, *, nonce: str | None, access_token: str | None = None
    ) -> str:
        """Return the thumbprint of the key of a proof (RFC 7638); raise ProofError if it is wrong.

        `nonce` is the one that the proof must have (None: any or none), `access_token` the token
        that it must belong to (None: at a token endpoint).
        """
        found = [value for name, value in seen.raw_headers if name.lower() == "dpop"]
        if len(found) != 1:
            raise ProofError("The request needs exactly one DPoP header")
        try:
            jwk, claims = _verified(found[0])
            _compare(claims, seen, access_token)
            self._used.use(claims["jti"])
        except ValueError as error:
            raise ProofError(f"The proof is not valid: {error}") from error
        if nonce is not None and claims.get("nonce") != nonce:
            raise ProofError("The proof needs the nonce of DPoP-Nonce", "use_dpop_nonce")
        members = {name: jwk[name] for name in _IN_THUMBPRINT[jwk["kty"]].split()}
        return sha256_base64url(json.dumps(members, sort_keys=True, separators=(",", ":")))


def _verified(proof: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return public key and claims of a proof; raise ValueError."""
    header, _ = unverified(proof)
    jwk = header.get("jwk")
    if header.get("typ") != "dpop+jwt" or not isinstance(jwk, dict):
        raise ValueError("Its header needs the typ dpop+jwt and a jwk")
    return jwk, verify(proof, load_public_key(jwk), KEY_ALGORITHMS, _REQUIRED)


def _compare(claims: dict[str, Any], seen: SeenRequest, access_token: str | None) -> None:
    """Raise ValueError if a proof was made for another request, token or time."""
    if claims["htm"] != seen.method:
        raise ValueError("Its htm is not the method")
    if str(claims["htu"]).partition("?")[0] != seen.url:
        raise ValueError("Its htu is not the URL")
    if clock.system.time() - float(claims["iat"]) > LEEWAY:
        raise ValueError("Its iat is too old")
    if access_token is not None and claims.get("ath") != sha256_base64url(access_token):
        raise ValueError("Its ath is not the digest of the token")
