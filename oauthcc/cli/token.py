"""``oauthcc token``: an access token for a shell script."""

from __future__ import annotations

import json
import time
from datetime import datetime, timezone
from typing import Annotated, Any

import typer

from ..access_token import Token
from ..stores.file import FileStore
from .claims import claims_of
from .configuration import Configuration
from .parameters import configured, fail
from .terminal import write_error, write_line


@configured
def token(
    configuration: Configuration,
    *,
    header: Annotated[
        bool, typer.Option("--header", help="Print the header field, for `curl -H @-`.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON document with expiry and scope.")
    ] = False,
    decode: Annotated[
        bool,
        typer.Option(
            "--decode", help="Print the claims of a JWT, not verified, without the token."
        ),
    ] = False,
    renew: Annotated[
        bool, typer.Option("--renew", help="Fetch a new token, also if the last one is valid.")
    ] = False,
    store: Annotated[
        bool,
        typer.Option(help="Keep the token in a file that only you can read, for the next call."),
    ] = True,
) -> None:
    """Print an access token.

    It is kept in a file that only you can read, and fetched anew before it expires. So a loop or
    several scripts at once cause one token request.

    For example:

        oauthcc token --header | curl -H @- https://api.example/orders

        TOKEN=$(oauthcc token --profile orders)

        oauthcc token --json | jq .expires_in

        oauthcc token --decode
    """
    if header + as_json + decode > 1:
        raise typer.BadParameter("--header, --json and --decode exclude each other.")
    with configuration.session(store=FileStore() if store else None) as session:
        began = time.time()
        found = session.tokens.get()
        if renew and found.issued_at < began:  # it was in the store
            found = session.tokens.renew(found)
        scheme = session.tokens._config.scheme
    if header:
        write_line(f"{session.tokens._config.header}: {scheme.authorization(found)}")
    elif as_json:
        write_line(json.dumps(_document(found), indent=2))
    elif decode:
        _write_claims(found)
    else:
        write_line(found.access_token)


def _document(token: Token) -> dict[str, Any]:
    """Return the members of the token response (RFC 6749 section 5.1), as they are now."""
    left = None if token.expires_at is None else max(0, int(token.expires_at - time.time()))
    return {
        "access_token": token.access_token,
        "token_type": token.token_type,
        "expires_in": left,
        "expires_at": None if token.expires_at is None else _time(token.expires_at),
        "scope": token.scope,
    }


def _write_claims(token: Token) -> None:
    claims = claims_of(token.access_token)
    if claims is None:
        fail("The token is not a JWT that can be read: only its API knows what is in it.", 1)
    write_error("these claims were not verified")
    write_line(json.dumps(claims, indent=2, ensure_ascii=False))


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")
