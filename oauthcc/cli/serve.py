"""``oauthcc serve``: an authorization server and an API on this machine, for development."""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import signal
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, NoReturn, Optional

import typer

from .parameters import fail
from .terminal import write_error, write_line

if TYPE_CHECKING:
    from ..testing import AuthorizationServer, ProtectedAPI
    from .traffic import Exchange

_SECRET = "OAUTH_CLIENT_SECRET"
_ENDING = (signal.SIGINT, signal.SIGTERM)


def serve(
    *,
    port: Annotated[
        int,
        typer.Option(
            min=0,
            max=65535,
            metavar="PORT",
            help="The port of the authorization server; 0: a free one.",
        ),
    ] = 0,
    api_port: Annotated[
        int,
        typer.Option(min=0, max=65535, metavar="PORT", help="The port of the API; 0: a free one."),
    ] = 0,
    client_id: Annotated[str, typer.Option(metavar="ID", help="The client.")] = "demo-client",
    lifetime: Annotated[
        int, typer.Option(min=1, max=10**9, metavar="SECONDS", help="The lifetime of a token.")
    ] = 3600,
    scope: Annotated[
        Optional[str],  # noqa: UP045 - read by typer, also on Python 3.10
        typer.Option(metavar="SCOPES", help="All scopes that the client may have, in quotes."),
    ] = None,
) -> None:
    """Run an authorization server and an API on this machine until Ctrl-C.

    The variables to export are printed first, then each request is written to standard error.
    The secret is a new one each time. If OAUTH_CLIENT_SECRET is set, its value is used and not
    printed. The API returns what it received, if the token is valid.

    For example:

        oauthcc serve

        oauthcc serve --lifetime 60 > vars.sh &

        . ./vars.sh   # when the servers are running

        oauthcc token --header | curl -H @- $OAUTH_API_URL/orders
    """
    # Other commands need not wait for these imports.
    from ..testing import AuthorizationServer, ProtectedAPI
    from .traffic import watch

    if not client_id:
        raise typer.BadParameter("--client-id is empty.")
    given = os.environ.get(_SECRET, "").rstrip("\r\n")
    auth = AuthorizationServer(client_id, given or secrets.token_urlsafe(24), port=port)
    auth.token_lifetime = lifetime
    auth.add_client(client_id, auth.client_secret, scopes=None if scope is None else scope.split())
    api = ProtectedAPI(auth, port=api_port)

    def note(exchange: Exchange) -> None:
        # Without these lines, a server that runs for days would keep every request.
        auth.forget()
        api.forget()
        with contextlib.suppress(OSError):  # nobody reads standard error any more
            write_error(str(exchange))

    watch(auth, api, note)
    with _until_a_signal(), contextlib.closing(auth), contextlib.closing(api):
        _start(auth, "--port")
        _start(api, "--api-port")
        # One call, so that a reader of the file sees all lines or none.
        write_line("\n".join(_exports(auth, api, scope, is_given=bool(given))))
        write_error("both servers are running; Ctrl-C ends them")
        _wait()
    write_error("both servers have ended")


def _exports(
    auth: AuthorizationServer, api: ProtectedAPI, scope: str | None, *, is_given: bool
) -> Iterator[str]:
    yield f"export OAUTH_TOKEN_URL={shlex.quote(auth.token_url)}"
    yield f"export OAUTH_CLIENT_ID={shlex.quote(auth.client_id)}"
    # The value that somebody has set may be a secret for other servers too.
    yield f"export {_SECRET}" if is_given else f"export {_SECRET}={shlex.quote(auth.client_secret)}"
    yield f"export OAUTH_API_URL={shlex.quote(api.url)}"
    if scope is not None:
        yield f"export OAUTH_SCOPE={shlex.quote(scope)}"


def _start(server: AuthorizationServer | ProtectedAPI, option: str) -> None:
    try:
        server.start()
    except OSError as error:
        fail(
            f"{option}: this port of 127.0.0.1 cannot be used ({error.strerror}). Choose another"
            " port, or 0 for a free one.",
            1,
        )


class _Ended(BaseException):
    """SIGINT or SIGTERM has arrived."""


@contextlib.contextmanager
def _until_a_signal() -> Iterator[None]:
    """End the block without an error at SIGINT or SIGTERM."""

    def end(*_: object) -> NoReturn:
        # They stay ignored: the process ends now, and a second Ctrl-C would show a traceback.
        for each in _ENDING:
            signal.signal(each, signal.SIG_IGN)
        raise _Ended

    # A shell starts a process of the background with SIGINT ignored, so both are set.
    before = {each: signal.signal(each, end) for each in _ENDING}
    try:
        yield
    except _Ended:
        return
    except BaseException:
        for each, handler in before.items():
            signal.signal(each, handler)
        raise


def _wait() -> None:
    while True:
        time.sleep(3600)
