"""``oauthcc doctor``: step by step from the configuration to the API, and what is wrong."""

from __future__ import annotations

import logging
from typing import Annotated, Any, Optional

import typer

from ...errors import ConfigurationError, OAuthCCError, text_of
from ...events import log
from ...frames import raised_at
from ...urls import public_url, read_configured
from ..configuration import Configuration
from ..parameters import configured
from .api import APICheck
from .findings import PROBLEM, Checkup
from .limits import Deadline
from .network import Network
from .report import report_for
from .settings import Setup, check_settings
from .token_contents import check_clock, check_token
from .token_request import METHODS, TokenRequest, discover, explain, is_refusal_of_client

_TEXT: Any = Optional[str]  # noqa: UP045 - typer does not know the newer notation on Python 3.10


@configured
def doctor(
    configuration: Configuration,
    *,
    url: Annotated[
        _TEXT, typer.Argument(metavar="URL", help="One more URL of the API to check.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document, to send to somebody.")
    ] = False,
    try_method: Annotated[
        _TEXT,
        typer.Option(
            "--try",
            metavar="METHOD",
            help="If the client is refused, send one more token request with this method:"
            f" {', '.join(METHODS)}.",
        ),
    ] = None,
) -> None:
    """Find out what is wrong, step by step.

    The steps are configuration, network, token request, token and API. One token request is sent,
    and one GET for each URL prefix of the API. The exit status is 1 if something is wrong.

    For example:

        oauthcc doctor

        oauthcc doctor https://api.example/orders

        oauthcc doctor --profile orders --json > diagnosis.json

        oauthcc doctor --try client_secret_post
    """
    if try_method not in (None, *METHODS):
        raise typer.BadParameter(f"--try takes one of {', '.join(METHODS)}.")
    if url is not None:
        try:
            _, url = read_configured(url, "URL", "https://api.example/orders")
        except ConfigurationError as error:
            raise typer.BadParameter(text_of(error)) from None
    report = report_for(as_json=as_json)
    checkup = Checkup(report)
    shown: dict[str, Any] = {}
    level = log.level
    log.setLevel(logging.CRITICAL)  # the findings say the same in other words
    try:
        shown = _check(checkup, configuration, url, try_method)
    except Exception as error:  # noqa: BLE001 - its message may quote a secret
        checkup.find("diagnosis_failed", error=f"{type(error).__name__}, {raised_at(error)}")
    finally:
        log.setLevel(level)
        report.close()
    report.end(checkup, {name: value and checkup.shown(value) for name, value in shown.items()})
    if checkup.count(PROBLEM):
        raise typer.Exit(1)


def _check(
    checkup: Checkup, configuration: Configuration, url: str | None, try_method: str | None
) -> dict[str, Any]:
    """Do all steps; return the configuration as it may be shown."""
    deadline = Deadline()
    checkup.begin("configuration")
    checkup.named = configuration.named
    try:
        setup = Setup(configuration)
    except ConfigurationError as error:
        checkup.find("bad_configuration", error=checkup.named(error))
        return {"profile": configuration.profile}
    checkup.names = setup.names()
    options = check_settings(checkup, setup, deadline)
    request = None if options is None else _session(checkup, options)
    if options is None or request is None:
        checkup.skip("network, token and API", "the configuration must be complete first")
        return setup.shown()
    server = public_url(options.get("issuer") or options["token_url"])
    checkup.find("configured", client=options["client_id"], server=server, method=request.method)
    network = Network(checkup, deadline)
    setting = checkup.names["n_api"]
    urls = dict.fromkeys(request.session._allowed_urls.prefixes(), setting)
    if url is not None:
        urls.setdefault(url, "the URL")
    with request.session:
        other = {**options, "client_auth": try_method} if try_method else None
        claims: dict[str, Any] = {}
        request = _request_token(checkup, request, network, deadline, other)
        if request.token is not None:
            claims = check_token(checkup, request, request.token)
        checkup.begin("API")
        if not urls:
            checkup.find("no_api")
        api = APICheck(checkup, request, network, deadline, claims)
        for each, its_setting in urls.items():
            api.check(each, its_setting)
        request.session.close()  # it may be the one of another method
    return setup.shown()


def _session(checkup: Checkup, options: dict[str, Any]) -> TokenRequest | None:
    try:
        return TokenRequest(options)
    except (OAuthCCError, ModuleNotFoundError) as error:  # PyJWT is for client_secret_jwt only
        checkup.find("bad_configuration", error=checkup.named(error))
        return None


def _request_token(
    checkup: Checkup,
    request: TokenRequest,
    network: Network,
    deadline: Deadline,
    other: dict[str, Any] | None,
) -> TokenRequest:
    """Do the steps up to the token; return the request that has brought one, if one has."""
    listed = None
    if not request.url:
        listed = discover(checkup, request, network, deadline)
    name, following = "token request", "scope, lifetime, clock and claims"
    if not request.url:
        checkup.skip(name, "the token endpoint is not known")
        checkup.skip(following, "there is no token")
        return request
    if not network.reaches(request.url, request.settings(request.url), checkup.names["n_server"]):
        checkup.skip(name, "the server cannot be reached")
        checkup.skip(following, "there is no token")
        return request
    checkup.begin(name)
    request.send(deadline)
    if request.token is not None:
        checkup.secrets.append(request.token.access_token)
        checkup.find("token_issued")
        return request
    tried = None
    is_other = other is not None and other["client_auth"] != request.method
    if other is not None and is_other and is_refusal_of_client(request):
        tried = _session(checkup, other)
        if tried is not None:
            tried.send(deadline)
    explain(checkup, request, deadline, listed=listed, tried=tried)
    if tried is not None and tried.token is not None:
        checkup.secrets.append(tried.token.access_token)
        return tried
    check_clock(checkup, request)
    checkup.skip("scope, lifetime and claims", "there is no token")
    return request
