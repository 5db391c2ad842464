"""A session that takes the place of ``requests.Session()``.

::

    from oauthcc import ClientCredentialsSession

    api = ClientCredentialsSession("https://as.example/token", "my-id", "my-secret", "orders:read")
    api.get("https://api.example/orders").json()

It does machine-to-machine OAuth 2.0 (the client credentials grant, RFC 6749 section 4.4): it
fetches a token, renews it, and sends a refused request once more with a new one.
"""

from __future__ import annotations

from .access_token import Token
from .auth import ClientCredentialsAuth
from .client_auth import (
    ClientAssertion,
    ClientAuth,
    ClientSecretBasic,
    ClientSecretJWT,
    ClientSecretPost,
    NoClientAuth,
    PrivateKeyJWT,
    TLSClientAuth,
)
from .errors import (
    ConfigurationError,
    DiscoveryError,
    InsecureURLError,
    InvalidTokenResponse,
    OAuthCCError,
    TokenEndpointTimeout,
    TokenEndpointUnavailable,
    TokenEndpointUnreachable,
    TokenError,
    TokenRequestDenied,
)
from .events import (
    Event,
    RefusalRemembered,
    RenewalFailed,
    ReplayImpossible,
    RequestReplayed,
    StoreBypassed,
    TokenObtained,
)
from .patching import Patch, patch
from .schemes import Bearer, DPoP, Scheme
from .session import ClientCredentialsSession, fetch_token
from .stores import TokenStore
from .tokens.source import TokenSource

__version__ = "0.1.0"

__all__ = [
    "Bearer",
    "ClientAssertion",
    "ClientAuth",
    "ClientCredentialsAuth",
    "ClientCredentialsSession",
    "ClientSecretBasic",
    "ClientSecretJWT",
    "ClientSecretPost",
    "ConfigurationError",
    "DPoP",
    "DiscoveryError",
    "Event",
    "InsecureURLError",
    "InvalidTokenResponse",
    "NoClientAuth",
    "OAuthCCError",
    "Patch",
    "PrivateKeyJWT",
    "RefusalRemembered",
    "RenewalFailed",
    "ReplayImpossible",
    "RequestReplayed",
    "Scheme",
    "StoreBypassed",
    "TLSClientAuth",
    "Token",
    "TokenEndpointTimeout",
    "TokenEndpointUnavailable",
    "TokenEndpointUnreachable",
    "TokenError",
    "TokenObtained",
    "TokenRequestDenied",
    "TokenSource",
    "TokenStore",
    "fetch_token",
    "patch",
]
