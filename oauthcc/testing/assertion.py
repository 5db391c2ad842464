"""The check of client assertions (RFC 7523 section 3), as an authorization server does it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal, TypeAlias

from .signed_jwt import (
    KEY_ALGORITHMS,
    SECRET_ALGORITHMS,
    PublicKey,
    UsedIds,
    load_public_key,
    unverified,
    verify,
)

#: RFC 7523 section 2.2.
JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
Method: TypeAlias = Literal["client_secret_jwt", "private_key_jwt"]
_REQUIRED = ["iss", "sub", "aud", "exp", "jti"]


class AssertionKey:
    """What verifies the assertions of one client: its public key or its secret."""

    def __init__(self, key: Any, algorithms: tuple[str, ...]) -> None:
        self._key, self._algorithms = key, algorithms
        self._used = UsedIds()

    @classmethod
    def public(cls, material: PublicKey) -> AssertionKey:
        """Return the one for a public key in PEM or JWK; raise ValueError if it is neither."""
        return cls(load_public_key(material), KEY_ALGORITHMS)

    @classmethod
    def secret(cls, client_secret: str) -> AssertionKey:
        """Return the one for a client secret."""
        return cls(client_secret.encode(), SECRET_ALGORITHMS)

    def check(self, assertion: str, client_id: str, audiences: Collection[str]) -> None:
        """Raise ValueError if this is not a new assertion of the client for one of the audiences.

        The message says what is wrong.
        """
        claims = verify(
            assertion,
            self._key,
            self._algorithms,
            _REQUIRED,
            issuer=client_id,
            audience=list(audiences),
        )
        self._used.use(claims["jti"])


def assertion_of(form: Mapping[str, str]) -> tuple[Method, str, str] | None:
    """Return method, client id and assertion of a request; None if it has no assertion.

    Raise ValueError if the assertion is no JWT, or if the request names another client.
    """
    assertion = form.get("client_assertion")
    if not assertion or form.get("client_assertion_type") != JWT_BEARER:
        return None
    header, claims = unverified(assertion)
    client_id = str(claims.get("sub"))
    if form.get("client_id") not in (None, client_id):
        raise ValueError("client_id and assertion name different clients")
    signed_with_secret = header.get("alg") in SECRET_ALGORITHMS
    method: Method = "client_secret_jwt" if signed_with_secret else "private_key_jwt"
    return method, client_id, assertion
