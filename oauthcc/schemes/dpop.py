"""The token with a proof of the key that it is bound to (RFC 9449).

Section numbers below are those of RFC 9449.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import requests
from requests.utils import requote_uri
from urllib3.util import parse_url

from ..access_token import Token
from ..challenge import parse_challenges
from ..errors import ConfigurationError, TokenError
from ..jwt import Key, KeyLike, Material, generate_key, load_key, require_pyjwt
from ..redaction import SecretHeader
from ..secret import absolute, call, read_file
from ..urls import Origin, origin_of, origin_text, public_url

#: Origins whose nonces are kept; the one that was met first is forgotten first.
MOST_ORIGINS = 256
#: Bytes of an error answer that are looked at.
_MOST_BYTES = 65_536
# Section 8.1: NQCHAR. The length keeps the proof within what servers take as a header.
_NONCE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,1024}")


class DPoP:
    """Show the token with a proof that the key it is bound to is ours (RFC 9449).

    ``key`` is what `PrivateKeyJWT` takes too: PEM or JWK, a path, a callable. None: a new key, made
    now for ``algorithm`` (ES256). A file is read now, a callable is called once, at the first need:
    tokens are bound to the key, so it stays for the life of this object. A pickle holds what was
    given here (key, path, callable, password), or the key that was made: tokens in a shared cache
    stay usable then. Raises ConfigurationError for a key that cannot sign.
    """

    name = "DPoP"
    proves = True

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
        # No lock, which a fork could leave held: each single step on these two is atomic.
        self._kept: dict[str, Key] = {}
        self._nonces: dict[Origin, str] = {}
        if not callable(key):
            _ = self._key

    @property
    def _key(self) -> Key:
        # Where two threads read a key, both go on with the one that was put down first.
        return self._kept.get("key") or self._kept.setdefault("key", self._read())

    def _read(self) -> Key:
        source = self._source
        if source is None:
            return generate_key(self._algorithm or "ES256")
        if isinstance(source, Path):
            try:
                source = read_file(source, "DPoP key")
            except TokenError as error:
                raise ConfigurationError(str(error)) from error
        elif callable(source):
            source = cast("Material", call(source, "DPoP key"))
        return load_key(source, self._password, algorithm=self._algorithm)

    @property
    def algorithm(self) -> str:
        """Return the algorithm that proofs are signed with."""
        return self._key.algorithm

    @property
    def thumbprint(self) -> str | None:
        """Return the thumbprint of the proof key (RFC 7638), which tokens carry as ``cnf.jkt``."""
        return self._key.thumbprint

    def accepts(self, token_type: str) -> bool:
        """Accept ``DPoP`` in any case; any other token is not bound to the key (section 5)."""
        return token_type.lower() == "dpop"

    def authorization(self, token: Token) -> SecretHeader:
        """Return ``DPoP`` and the token; raise InvalidTokenResponse where it cannot be sent."""
        return SecretHeader(f"DPoP {token.access_token}")

    def proof(self, method: str, url: str, token: Token | None) -> dict[str, SecretHeader]:
        """Return the header ``DPoP`` for one request, attempt and hop (section 4.2).

        ``url`` is the prepared one; ``token`` is None at the token endpoint. Raises
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
            "iat": int(time.time()),
        }
        if token is not None:
            digest = hashlib.sha256(token.access_token.encode()).digest()
            claims["ath"] = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if nonce is not None:
            claims["nonce"] = nonce
        headers = {"typ": "dpop+jwt", "jwk": dict(key.public_jwk)}
        return {"DPoP": SecretHeader(key.sign(claims, headers))}

    def learn(self, url: str, headers: Mapping[str, str]) -> bool:
        """Remember the nonce for the origin of a URL, from a success or an error (section 8.2).

        False: there is none, none that may be, or another thread has learned it before. So an
        answer that `demands_nonce` deserves its one replay whatever is returned here.
        """
        nonce, origin = _nonce(headers), origin_of(url)
        if nonce is None or origin is None or self._nonces.get(origin) == nonce:
            return False
        self._nonces[origin] = nonce
        for oldest in list(self._nonces)[:-MOST_ORIGINS]:
            self._nonces.pop(oldest, None)
        return True

    def demands_nonce(self, response: requests.Response) -> bool:
        """Say whether an answer asks for its nonce and gives it (sections 8 and 9).

        An API does so by a 401 with a DPoP challenge, a token endpoint by a 400 or 401 with a JSON
        error. A body that was not read yet is left unread.
        """
        if _nonce(response.headers) is None or response.status_code not in (400, 401):
            return False
        challenges = parse_challenges(response.headers.get("WWW-Authenticate", ""))
        named = [c.params.get("error") for c in challenges if c.scheme.lower() == "dpop"]
        return "use_dpop_nonce" in [*named, _json_error(response)]

    def __repr__(self) -> str:
        key = self._kept.get("key")
        return f"<DPoP {key.algorithm}>" if key else "<DPoP>"

    def __reduce__(self) -> tuple[Any, ...]:
        source, algorithm = self._source, self._algorithm
        if source is None:
            source, algorithm = _pem(self._key), self.algorithm
        return _restored, (type(self), source, algorithm, self._password)


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
    """Return the path in the normal form of RFC 3986 section 6.2, in which requests sends it."""
    return requote_uri(parse_url(url).path or "/")


def _nonce(headers: Mapping[str, str]) -> str | None:
    nonce = headers.get("DPoP-Nonce", "")
    return nonce if _NONCE.fullmatch(nonce) else None


def _json_error(response: requests.Response) -> object:
    content = response._content
    if not isinstance(content, bytes) or len(content) > _MOST_BYTES:
        return None
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return answer.get("error") if isinstance(answer, dict) else None
