"""The scheme that sends the token with a proof of the key that it is bound to (RFC 9449).

Section numbers without another RFC are those of RFC 9449.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Mapping
from typing import Any, cast

import requests
from requests.utils import requote_uri
from urllib3.util import parse_url

from .. import clock
from ..access_token import Token
from ..challenge import find_error
from ..errors import ConfigurationError
from ..frames import hide_locals
from ..jwt import (
    Key,
    KeyLike,
    Material,
    generate_key,
    load_key,
    require_pyjwt,
    sha256_base64url,
)
from ..redaction import SecretHeader
from ..secret import absolute, at_construction, read_source
from ..urls import Origin, origin_of, origin_text, public_url

#: The number of origins whose nonces are stored. The oldest origin is dropped first.
MAX_ORIGINS = 256
# The size of the largest error response that is parsed, in bytes.
_MAX_BYTES = 65_536
# NQCHAR, as section 8.1 requires. A longer nonce could make the proof too long for a header.
_NONCE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,1024}")


class DPoP:
    """The token and a proof that the client has the key that the token is bound to (RFC 9449).

    ``key`` is the same as for `PrivateKeyJWT`: PEM or JWK, a path, or a callable. If it is None, a
    new key is generated for ``algorithm`` (default ES256). A file is read now. A callable is called
    once, at first use. Tokens are bound to the key, so the key of an object never changes. A pickle
    contains the arguments (key, path or callable, and password). It also contains a generated key,
    so that tokens in a shared store stay usable. Raises ConfigurationError if the key cannot sign.
    """

    name = "DPoP"
    header = "Authorization"
    proves = True

    @hide_locals
    def __init__(
        self,
        key: KeyLike | None = None,
        *,
        algorithm: str | None = None,
        password: str | None = None,
    ) -> None:
        require_pyjwt(cryptography=True)
        self._source = absolute(key) if isinstance(key, os.PathLike) else key
        self._algorithm, self._password = algorithm, password
        # No lock: a fork could leave it locked. Every single operation on these two is atomic.
        self._kept: dict[str, Key] = {}
        self._nonces: dict[Origin, str] = {}
        self._server_nonces: dict[Origin, str] = {}
        if not callable(key):
            at_construction(lambda: self._key)

    @property
    def _key(self) -> Key:
        # If two threads read a key at the same time, both use the one that was stored first.
        return self._kept.get("key") or self._kept.setdefault("key", self._read())

    @hide_locals
    def _read(self) -> Key:
        if self._source is None:
            return generate_key(self._algorithm or "ES256")
        # `load_key` checks the type of the value that a callable returned.
        material = cast("Material", read_source(self._source, "DPoP key"))
        return load_key(material, self._password, algorithm=self._algorithm)

    @property
    def algorithm(self) -> str:
        """Return the algorithm that signs the proofs."""
        return self._key.algorithm

    @property
    def thumbprint(self) -> str | None:
        """Return the thumbprint of the proof key (RFC 7638), the ``cnf.jkt`` of its tokens."""
        return self._key.thumbprint

    def _for_token_requests(self) -> DPoP:
        """Return the same scheme with the nonces of authorization servers (section 8).

        Those of an API differ from them, also if both have the same origin (section 9).
        """
        copied = object.__new__(type(self))
        vars(copied).update(vars(self), _nonces=self._server_nonces)
        return copied

    def accepts(self, token_type: str) -> bool:
        """Return whether the type is ``DPoP`` in any case: others are not bound (section 5)."""
        return token_type.lower() == "dpop"

    def authorization(self, token: Token) -> SecretHeader:
        """Return ``DPoP`` and the token."""
        return SecretHeader(f"DPoP {token.access_token}")

    def proof(self, method: str, url: str, token: Token | None) -> dict[str, SecretHeader]:
        """Return the header ``DPoP`` for one request, attempt and hop (section 4.2).

        ``url`` is the prepared URL. ``token`` is None at the token endpoint. Raise
        ConfigurationError for a URL that no request can be sent to.
        """
        origin = origin_of(url)
        if origin is None:
            raise ConfigurationError(
                f"A DPoP proof needs an absolute http or https URL, not {public_url(url)}."
            )
        key, nonce = self._key, self._nonces.get(origin)
        claims: dict[str, Any] = {
            "jti": secrets.token_urlsafe(16),
            "htm": method,
            "htu": origin_text(origin) + _path(url),
            "iat": int(clock.system.time()),
        }
        if token is not None:
            claims["ath"] = sha256_base64url(token.access_token)
        if nonce is not None:
            claims["nonce"] = nonce
        headers = {"typ": "dpop+jwt", "jwk": dict(key.public_jwk)}
        return {"DPoP": SecretHeader(key.sign(claims, headers))}

    def learn(self, url: str, headers: Mapping[str, str]) -> bool:
        """Store the nonce of a success or an error for the origin of the URL (section 8.2).

        Return False if there is no nonce, if it is invalid, or if it is stored already, for example
        by another thread. Use `demands_nonce`, not this result, to decide about a replay.
        """
        nonce, origin = _nonce(headers), origin_of(url)
        if nonce is None or origin is None or self._nonces.get(origin) == nonce:
            return False
        self._nonces[origin] = nonce
        for oldest in list(self._nonces)[:-MAX_ORIGINS]:
            self._nonces.pop(oldest, None)
        return True

    def demands_nonce(self, response: requests.Response) -> bool:
        """Return whether the response requires a nonce and contains one (sections 8 and 9).

        An API answers with a 401 and a DPoP challenge, a token endpoint with a 400 or 401 and a
        JSON error. A body that was not read yet is not read here.
        """
        if _nonce(response.headers) is None or response.status_code not in (400, 401):
            return False
        challenge = response.headers.get("WWW-Authenticate")
        return "use_dpop_nonce" in (find_error(challenge, ("dpop",)), _json_error(response))

    def __repr__(self) -> str:
        key = self._kept.get("key")
        return f"<DPoP {key.algorithm}>" if key else "<DPoP>"

    def __reduce__(self) -> tuple[Any, ...]:
        source, algorithm = self._source, self._algorithm
        if source is None:
            source, algorithm = _pem(self._key), self.algorithm
        return _restored, (type(self), source, algorithm, self._password)


@hide_locals
def _restored(kind: type[DPoP], *given: Any) -> DPoP:
    key, algorithm, password = given
    return kind(key, algorithm=algorithm, password=password)


def _pem(key: Key) -> str:
    from cryptography.hazmat.primitives import serialization as form

    octets: bytes = key.private.private_bytes(
        form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()
    )
    return octets.decode()


def _path(url: str) -> str:
    """Return the path in the normal form of RFC 3986 section 6.2, as requests sends it."""
    return requote_uri(parse_url(url).path or "/")


def _nonce(headers: Mapping[str, str]) -> str | None:
    nonce = headers.get("DPoP-Nonce", "")
    return nonce if _NONCE.fullmatch(nonce) else None


def _json_error(response: requests.Response) -> object:
    content = response._content
    if not isinstance(content, bytes) or len(content) > _MAX_BYTES:
        return None
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return body.get("error") if isinstance(body, dict) else None
