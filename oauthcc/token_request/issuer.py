"""What can be configured as an issuer: its URL, or an API that names it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from ..errors import ConfigurationError
from ..urls import check_token_url, is_secure, public_url, raise_bad_url, read_configured

#: The well-known parts of the URLs of metadata (RFC 8414, OpenID Connect Discovery 1.0).
OAUTH, OPENID = "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"


def check_issuer(issuer: str, name: str = "issuer") -> str:
    """Return the issuer unchanged if it can be one (RFC 8414 section 2).

    An issuer is an https URL (http for loopback only) without query and fragment. Raises
    ConfigurationError that says what to write instead. ``name`` is its name in the message.
    """
    check_token_url(issuer, name, "https://as.example/tenant")
    if "?" in issuer:
        advice = "leave out the ? and everything after it"
        raise ConfigurationError(f"{name} has a query: {advice}. Given: {public_url(issuer)}")
    for part in (OAUTH, OPENID):
        if part in issuer:
            raise ConfigurationError(
                f"{name} is the URL of its metadata: write the issuer itself, without {part}."
                f" Given: {public_url(issuer)}"
            )
    return issuer


class IssuerOfAPI(str):  # noqa: SLOT000 - older protocols of pickle want no slots
    """The URL of an API, in the place of the issuer that the API names.

    ``trusted`` are the issuers of which it may name one.
    """

    trusted: tuple[str, ...]

    @classmethod
    def of(cls, url: str, trusted_issuers: str | Iterable[str]) -> IssuerOfAPI:
        """Check the URL and the issuers; raise ConfigurationError that says what to write."""
        origin, _ = read_configured(url, "url", "https://api.example/orders")
        if not is_secure(origin):
            raise_bad_url("url", url, "would be read over plain http", "write https://")
        given = (trusted_issuers,) if isinstance(trusted_issuers, str) else trusted_issuers
        try:
            trusted = tuple(map(partial(check_issuer, name="trusted_issuers"), given))
        except TypeError:
            trusted = ()
        if not trusted:
            raise ConfigurationError(
                "trusted_issuers must contain the issuer of each authorization server that may get"
                ' the client\'s secret, such as ["https://as.example"].'
            )
        made = cls(url)
        made.trusted = trusted
        return made

    def __repr__(self) -> str:
        return f"{type(self).__name__}({public_url(self)!r})"  # its query may contain a key
