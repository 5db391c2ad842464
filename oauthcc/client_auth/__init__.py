"""Client authentication at the token endpoint: one class for each registered method.

Secrets, keys and assertions are read again for each attempt. No ``repr`` shows them. A pickle of a
method contains its arguments: a key that was given as text, but only the path of a key file.
"""

from __future__ import annotations

from ..errors import ConfigurationError
from ..secret import Secret
from .assertion import ClientAssertion, ClientSecretJWT, PrivateKeyJWT
from .attempt import Attempt, ClientAuth
from .certificate import TLSClientAuth
from .shared_secret import ClientSecretBasic, ClientSecretPost, NoClientAuth

__all__ = [
    "Attempt",
    "ClientAssertion",
    "ClientAuth",
    "ClientSecretBasic",
    "ClientSecretJWT",
    "ClientSecretPost",
    "NoClientAuth",
    "PrivateKeyJWT",
    "TLSClientAuth",
    "check_secret",
    "client_auth_from",
]

_REGISTERED: dict[str, type[ClientAuth]] = {
    "client_secret_basic": ClientSecretBasic,
    "client_secret_post": ClientSecretPost,
    "client_secret_jwt": ClientSecretJWT,
    "none": NoClientAuth,
}
_NEED_MORE = {
    "private_key_jwt": "client_auth=PrivateKeyJWT(key) or ClientAssertion(assertion)",
    "tls_client_auth": "client_auth=TLSClientAuth(cert)",
    "self_signed_tls_client_auth": "client_auth=TLSClientAuth(cert, self_signed=True)",
}


def client_auth_from(
    value: ClientAuth | type[ClientAuth] | str | None, *, has_secret: bool
) -> ClientAuth:
    """Return the method of client authentication for the value of ``client_auth=``.

    The value is a method, its class, its name in the registry of IANA, or None. None means
    ``client_secret_basic``, or ``none`` if there is no secret. (`ClientConfig.of` refuses the
    latter.) Raise ConfigurationError for any other value, for a secret with a method that takes
    none, and for a method that needs a secret without one.
    """
    if value is None:
        return ClientSecretBasic() if has_secret else NoClientAuth()
    method = _named(value) if isinstance(value, str) else value
    if isinstance(method, type):
        method = _create(method)
    if not _is_method(method):
        raise ConfigurationError(f"client_auth is a {type(value).__name__}; {_choices()}")
    if method.needs_secret and not has_secret:
        raise ConfigurationError(f"client_auth {method.name!r} needs a client_secret.")
    if has_secret and not method.needs_secret:
        raise ConfigurationError(
            f"client_auth {method.name!r} takes no client_secret: leave it out, or choose a method"
            " that uses it, such as ClientSecretBasic()."
        )
    return method


def check_secret(method: ClientAuth, client_id: str, secret: Secret | None) -> None:
    """Raise the ConfigurationError that the first token request would raise.

    For example, the secret is too short to sign. A secret that may change is not read, and methods
    from outside this package are not checked.
    """
    is_known = isinstance(method, (ClientSecretBasic, ClientSecretPost, ClientSecretJWT))
    if is_known and secret is not None and not secret.changes:
        method.authenticate(Attempt(client_id, secret.read(), "", {}, [], []))


def _named(name: str) -> type[ClientAuth]:
    if name in _REGISTERED:
        return _REGISTERED[name]
    if name in _NEED_MORE:
        raise ConfigurationError(f"client_auth {name!r} needs more: {_NEED_MORE[name]}.")
    raise ConfigurationError(f"client_auth {name!r} is not known; {_choices()}")


def _create(method: type[ClientAuth]) -> ClientAuth:
    try:
        return method()
    except TypeError as error:
        raise ConfigurationError(
            f"client_auth needs a {method.__name__} with its arguments: {method.__name__}(...)."
        ) from error


def _is_method(value: object) -> bool:
    members = ("name", "needs_secret", "cert", "authenticate", "fingerprint")
    return all(hasattr(value, member) for member in members)


def _choices() -> str:
    return (
        f"it must be one of {', '.join(_REGISTERED)}, or an object such as PrivateKeyJWT(key),"
        " ClientAssertion(assertion) or TLSClientAuth(cert)."
    )
