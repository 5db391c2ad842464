"""The JSON Web Tokens that clients sign: assertions and proofs. Every signature is really checked.

PyJWT and cryptography are imported at first use (``pip install "oauthcc[jwt]"``).
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

from .. import clock
from ..jwt import require_pyjwt

PublicKey: TypeAlias = "str | bytes | Mapping[str, Any]"

SECRET_ALGORITHMS = ("HS256", "HS384", "HS512")
#: The seconds by which two clocks may differ.
LEEWAY = 60
KEY_ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "ES256K", "EdDSA"),
)


class UsedIds:
    """The values of `jti` that a server has seen, each of which is valid once."""

    def __init__(self) -> None:
        self._seen: dict[str, object] = {}

    def use(self, jti: str) -> None:
        """Note a value; raise ValueError if it was used before."""
        mine = object()
        # `setdefault` needs no lock: of all threads, one gets its own object back.
        if self._seen.setdefault(jti, mine) is not mine:
            raise ValueError("The jti was used before")


def unverified(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return header and claims without any check; raise ValueError if this is not a JWT."""
    header, claims, *_ = (*token.split("."), "", "")
    found: Any = ()
    with suppress(ValueError):
        found = [json.loads(base64.urlsafe_b64decode(part + "==")) for part in (header, claims)]
    if not found or not all(isinstance(part, dict) for part in found):
        raise ValueError("It is not a JWT")
    return found[0], found[1]


def load_public_key(material: PublicKey) -> Any:
    """Return a public key of cryptography from PEM, or from a JWK as a mapping or JSON text.

    Raise ValueError for everything else, and ConfigurationError if PyJWT is missing.
    """
    jwt = require_pyjwt(cryptography=True)
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    text = material.decode() if isinstance(material, bytes) else material
    if isinstance(text, str) and not text.lstrip().startswith("{"):
        return load_pem_public_key(text.encode())
    jwk = json.loads(text) if isinstance(text, str) else dict(text)
    if "d" in jwk or jwk.get("kty") == "oct":
        raise ValueError("The JWK is not public: register the public key only.")
    try:
        return jwt.PyJWK.from_dict(jwk).key
    except (jwt.PyJWTError, NotImplementedError) as error:  # the second one for "alg": "none"
        raise ValueError(f"The public key is not a valid JWK: {error}") from error


def verify(
    token: str, key: Any, algorithms: Sequence[str], required: Sequence[str], **expected: Any
) -> dict[str, Any]:
    """Return the claims of a valid token; raise ValueError, which says what is wrong.

    `expected` are the `issuer` and `audience` for PyJWT. Times are compared with the clock of the
    library, which has signed the token in the same process: `advance()` of a server moves the clock
    of that server only.
    """
    jwt = require_pyjwt(cryptography=True)
    unchecked = dict.fromkeys(("verify_exp", "verify_iat", "verify_nbf"), False)
    options = {**unchecked, "verify_aud": "audience" in expected, "require": list(required)}
    now = clock.system.time()
    try:
        claims: dict[str, Any] = jwt.decode(
            token, key, algorithms=list(algorithms), options=options, **expected
        )
        times = [float(claims.get(name, now)) for name in ("iat", "nbf")]
        expiry = float(claims.get("exp", now + 1))
        if not all(map(math.isfinite, (*times, expiry))):  # NaN would be neither early nor late
            raise jwt.InvalidTokenError("A time is not a finite number")
        if expiry <= now:
            raise jwt.ExpiredSignatureError("It has expired")
        if max(times) > now + LEEWAY:
            raise jwt.ImmatureSignatureError("It is not valid yet")
    # TypeError: a key of another type
    except (jwt.PyJWTError, TypeError, OverflowError) as error:
        raise ValueError(str(error).replace('"', "'")) from error
    return claims
