"""Ask for PyJWT and cryptography at first use, and say what to install where they are missing."""

from __future__ import annotations

from typing import Any

from ..errors import ConfigurationError


def require_pyjwt(*, cryptography: bool = False) -> Any:
    """Return the module PyJWT; raise ConfigurationError where it, or cryptography, is missing."""
    try:
        import jwt

        if cryptography:
            from cryptography.hazmat.primitives.asymmetric import ec  # noqa: F401 - is it there?
    except ImportError as error:
        raise ConfigurationError(
            'Signing needs PyJWT with cryptography: pip install "oauthcc[jwt]"'
        ) from error
    if not hasattr(jwt, "PyJWT"):
        raise ConfigurationError(
            "The package that is installed as jwt is not PyJWT: pip uninstall jwt, then pip install"
            ' --force-reinstall "oauthcc[jwt]"'
        )
    return jwt
