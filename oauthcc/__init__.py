"""A session that takes the place of ``requests.Session()``.

::

    from oauthcc import ClientCredentialsSession

    api = ClientCredentialsSession("https://as.example/token", "my-id", "my-secret", "orders:read")
    api.get("https://api.example/orders").json()

The session does machine-to-machine OAuth 2.0 (the client credentials grant, RFC 6749 section 4.4).
It fetches a token and renews it. If an API refuses the token, the session sends the request once
more with a new token.
"""

from __future__ import annotations

import _thread
import importlib
import os
import typing

if typing.TYPE_CHECKING:
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

#: The modules of these names. `import oauthcc` alone loads none of them: pytest imports this file
#: in every project that has the plugin of this library, also in those that do not use it.
_MODULES = (
    *("access_token", "auth", "client_auth", "errors", "events", "patching", "schemes"),
    *("session", "stores", "tokens.source"),
)

#: Held at the first use of a public name. A fork waits for that, as for `forks.importing`.
_importing = _thread.RLock()
if hasattr(os, "register_at_fork"):  # pragma: no branch - only Windows has none
    os.register_at_fork(before=_importing.acquire, after_in_parent=_importing.release)
    os.register_at_fork(after_in_child=_importing.release)

# Type checkers would take every name for one of this module.
if not typing.TYPE_CHECKING:  # pragma: no branch

    def __getattr__(name: str) -> object:
        """Return a name of `__all__` or a module; the first use imports it (PEP 562)."""
        try:
            if name in __all__:
                with _importing:
                    for module in _MODULES:
                        found = vars(importlib.import_module(f".{module}", __name__))
                        for public in filter(found.__contains__, __all__):
                            globals().setdefault(public, found[public])
                return globals()[name]
            if not name.startswith("_"):
                return importlib.import_module(f".{name}", __name__)
        except ModuleNotFoundError as error:
            if error.name != f"{__name__}.{name}":
                raise
        except AttributeError as error:
            # A dependency is broken. Python would only say that there is no such name here.
            raise ImportError(f"{__name__}.{name} cannot be imported: {error}") from error
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
