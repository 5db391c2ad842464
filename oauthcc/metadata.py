"""What an issuer publishes of its token endpoint, and whether it can be used (RFC 8414)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from .errors import ConfigurationError, DiscoveryError
from .urls import check_token_url, origin_of, public_url

#: What to do where an issuer is of no use.
ELSE = "pass token_url instead of issuer, or ask whoever runs the authorization server"


@dataclass(frozen=True, slots=True)
class Metadata:
    """Hold what an issuer says of its token endpoint (RFC 8414 section 2).

    ``mtls_token_endpoint`` is the one of ``mtls_endpoint_aliases`` (RFC 8705 section 5). None: not
    said.
    """

    issuer: str
    token_endpoint: str
    token_endpoint_auth_methods: tuple[str, ...] | None = None
    mtls_token_endpoint: str | None = None
    grant_types: tuple[str, ...] | None = None


def read_metadata(document: Mapping[str, Any], issuer: str) -> Metadata:
    """Take from a document what is needed; raise DiscoveryError where it is not as it must be."""
    named = document.get("issuer")
    if not isinstance(named, str):
        _refuse(issuer, "publishes metadata that names no issuer")
    if named != issuer:
        fault = f"publishes metadata of another issuer, {_shown(named)}"
        _refuse(issuer, fault, f"write that one exactly if it is the one you mean, or {ELSE}")
    aliases = document.get("mtls_endpoint_aliases")
    if aliases is not None and not isinstance(aliases, dict):
        _refuse(issuer, "publishes mtls_endpoint_aliases that are no JSON object")
    return Metadata(
        issuer,
        _endpoint(document.get("token_endpoint"), "token_endpoint", issuer),
        _names(document, "token_endpoint_auth_methods_supported", issuer),
        _alias(aliases or {}, issuer),
        _names(document, "grant_types_supported", issuer),
    )


def _endpoint(url: object, member: str, issuer: str) -> str:
    if not isinstance(url, str):
        _refuse(issuer, f"publishes metadata without a usable {member}")
    try:
        check_token_url(url, member)
    except ConfigurationError as error:
        _refuse(issuer, f"publishes a {member} that cannot be used. {error}")
    origin, home = origin_of(url), origin_of(issuer)
    # Else whoever runs the issuer could have the secret posted to a service on this machine.
    if origin and home and origin.scheme == "http" and home.scheme == "https":
        _refuse(issuer, f"publishes a {member} without https, {public_url(url)}")
    return url


def _alias(aliases: Mapping[str, Any], issuer: str) -> str | None:
    url = aliases.get("token_endpoint")
    return None if url is None else _endpoint(url, "mtls_endpoint_aliases.token_endpoint", issuer)


def _names(document: Mapping[str, Any], member: str, issuer: str) -> tuple[str, ...] | None:
    values = document.get(member)
    if values is None:
        return None
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        _refuse(issuer, f"publishes {member} that is no list of names")
    return tuple(values)


def method_warning(metadata: Metadata, method_name: str) -> str | None:
    """Say that a server does not list the client authentication it is about to see, else None.

    The method asked for is used all the same: servers leave out what works and list what does not.
    """
    listed = metadata.token_endpoint_auth_methods
    # RFC 8414 section 2: what it means to say nothing.
    if method_name in (listed if listed is not None else ("client_secret_basic",)):
        return None
    said = ", ".join(map(_shown, listed[:10])) if listed else "nothing, which means Basic"
    return (
        f"The issuer {public_url(metadata.issuer)} does not list {method_name} among its"
        f" token_endpoint_auth_methods_supported ({said}); {method_name} is used as configured."
    )


def grant_warning(metadata: Metadata) -> str | None:
    """Say that a server lists its grant types and ``client_credentials`` is none of them."""
    if metadata.grant_types is None or "client_credentials" in metadata.grant_types:
        return None
    return (
        f"The issuer {public_url(metadata.issuer)} does not list client_credentials among its"
        " grant_types_supported; it is asked for a token all the same."
    )


def _shown(text: str) -> str:
    """Show what a server wrote: briefly, and without what a terminal or a log would act upon."""
    visible = "".join(character if character.isprintable() else "?" for character in text[:200])
    return repr(visible)


def _refuse(issuer: str, fault: str, advice: str = ELSE) -> NoReturn:
    raise refusal(issuer, fault, advice) from None


def refusal(issuer: str, fault: str, advice: str) -> DiscoveryError:
    """Make the error that says what is wrong with an issuer and how to mend it."""
    return DiscoveryError(f"The issuer {public_url(issuer)} {fault}. To mend it: {advice}.")
