"""How the client proves at the token endpoint who it is: one class per registered method.

What proves the client (a secret, a key, an assertion) is read anew for each attempt, and none of
it shows in a ``repr``. A pickle of a method holds what the method was given: a key given as text
is in it; of a file it holds the path alone.
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
    """Return a method of client authentication for what a caller wrote as ``client_auth=``.

    That is a method, its class, its name in IANA's registry, or None: ``client_secret_basic``, or
    ``none`` without a secret. Raise ConfigurationError for anything else, and where there is a
    secret but the method takes none, or the reverse.
    """
    if value is None:
        return ClientSecretBasic() if has_secret else NoClientAuth()
    method = _named(value) if isinstance(value, str) else value
    if isinstance(method, type):
        method = _made(method)
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
    """Refuse now what the first token request would: a secret too short to sign, a raw colon.

    A secret that may change is not read, and methods of others are not asked.
    """
    ours = isinstance(method, (ClientSecretBasic, ClientSecretPost, ClientSecretJWT))
    if ours and secret is not None and not secret.changes:
        method.authenticate(Attempt(client_id, secret.read(), "", {}, [], []))


def _named(name: str) -> type[ClientAuth]:
    if name in _REGISTERED:
        return _REGISTERED[name]
    if name in _NEED_MORE:
        raise ConfigurationError(f"client_auth {name!r} needs more: {_NEED_MORE[name]}.")
    raise ConfigurationError(f"client_auth {name!r} is not known; {_choices()}")


def _made(method: type[ClientAuth]) -> ClientAuth:
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
