"""Why a request goes out without the token, or why a 401 is returned: one line in the log.

A reason that looks like a mistake is a warning, once for each client and origin. All others, and
the same one again, are for debugging.
"""

from __future__ import annotations

import logging
from typing import Any

import requests
from requests import PreparedRequest
from requests.structures import CaseInsensitiveDict

from ..events import Client, is_first, log
from ..tokens.state import CurrentToken
from ..urls import UNREADABLE, origin_of, origin_text, public_url
from ..values import frozen, replace
from .allowed_urls import AllowedURLs
from .authorization import CallerHooks, RedirectedHooks, TokenHooks, brings_its_own


@frozen
class Notice:
    """A reason, as a sentence for people, and whether it looks like a mistake.

    ``or_if_refused`` says that it also does if the answer is a 401.
    """

    text: str
    is_mistake: bool = False
    or_if_refused: bool = False


# Why a request goes out without the token.
OLD_HEADER = Notice(
    "session.headers contains an Authorization, which is sent instead: delete it, or pass it to the"
    " calls that need it",
    is_mistake=True,
)
NETRC = Notice(
    "session.headers contains an Authorization, and requests replaces that by the login of the host"
    " in netrc: delete the header",
    is_mistake=True,
)
SESSION_AUTH = Notice(
    "session.auth is set, so no request of the session gets the token: set it to None, or pass"
    " auth= to the calls that need it",
    is_mistake=True,
)
MOCKED = Notice(
    "requests_mock.Mocker(session=...) has replaced send() of this session, so no 401 is retried"
    " either: use requests_mock.Mocker() without session=, which replaces it for all sessions, or"
    " mount a requests_mock.Adapter",
    is_mistake=True,
)
NEAR = Notice(
    "the URL is not under a prefix of api_url or add_api(), although its host has one, or its path"
    " can be read in several ways: check the URL and the prefixes",
    is_mistake=True,
)
OUTSIDE = Notice(
    "the URL is outside of api_url: if it is your API, add its prefix there", or_if_refused=True
)
REDIRECTED = Notice(
    "a redirect has left the API that the token is for: if both are your API, request the final URL"
    " or name both in api_url",
    or_if_refused=True,
)
CALLER = Notice("the call brings its own Authorization (also None), auth= or user name in the URL")
UNUSUAL = Notice("the request has no URL or no headers that can be read")

# Why a 401 is returned.
SAME_TOKEN = Notice(
    "the authorization server issued the same token again, which was refused too: check whether it"
    " caches tokens, and whether this API accepts tokens of this server",
    is_mistake=True,
)
NEW_TOKEN = Notice(
    "a newer token was refused too: check that audience=, resource= or scope= are those of this"
    " API, that it accepts tokens of this server and expects them as scheme= sends them, and, if"
    " other routes accept them, that the client may use this one",
    is_mistake=True,
)
SCOPE = Notice(
    "the API says that the scope of the token is insufficient: check scope=, and what the server"
    " allows this client",
    is_mistake=True,
)
BODY = Notice("the body of the request cannot be sent again, and no renewal is forced now")
NONCE = Notice(
    "the API demands one more DPoP nonce for the same request: check whether its servers share"
    " their nonces",
    is_mistake=True,
)
REPLACED = Notice(
    "an adapter or a class after the session has replaced the token in the request: let it keep the"
    " header, or pass auth=lambda r: r to the calls that need no token",
    is_mistake=True,
)
UNSEEN = Notice(
    "the response hook of the session was not called: let the class after the session, or the tool"
    " that replaces its send(), keep the hooks of the request",
    is_mistake=True,
)
PAUSE = Notice(
    "new tokens were refused too, here or on other routes, and no renewal is forced for a while"
)
NO_RENEWAL = Notice(
    "no other token came in time, and the current one has not expired: check the token endpoint",
    is_mistake=True,
)


def note_without_token(client: Client, url: object, notice: Notice) -> None:
    """Write to the log why a request goes out without the token."""
    _note(client, url, notice, "A request goes out without the token")


def note_refused_without_token(client: Client, response: Any, notice: Notice) -> None:
    """Write to the log that a request without the token was refused, if that is a mistake."""
    first = next(iter(getattr(response, "history", None) or ()), response)
    if notice.or_if_refused and getattr(first, "status_code", None) == 401:
        said = "A request without the token was answered with 401"
        _note(client, first.url, replace(notice, is_mistake=True), said)


def note_refusal(client: Client, url: object, notice: Notice, status: int) -> None:
    """Write to the log why a 401 (or another refusal of the token) is returned."""
    _note(client, url, notice, f"A {status} is returned")


def reason_without_token(
    request: Any, session: requests.Session, allowed: AllowedURLs[Any], header: str
) -> Notice:
    """Return why a session sends a request without the token, which ``header`` would carry."""
    if not isinstance(request, PreparedRequest) or not request.url or request.headers is None:
        return UNUSUAL
    hooks, own = vars(request).get("hooks"), request.headers.get(header)
    if isinstance(hooks, (RedirectedHooks, TokenHooks)):
        return REDIRECTED
    headers_of_tokens = {tokens._config.header for tokens in allowed.values()}
    is_beside = "Authorization" in request.headers and "Authorization" not in headers_of_tokens
    if session.auth is not None and not is_beside:
        return SESSION_AUTH
    headers = CaseInsensitiveDict(session.headers or {})  # somebody may have put a plain dict there
    if own is not None and header in headers:
        is_old = own == headers[header]
        if is_old or _is_of_netrc(own, request, session):
            return _about(header, OLD_HEADER) if is_old else NETRC
    if isinstance(hooks, CallerHooks) or brings_its_own(request, header):
        return _about(header, CALLER)
    return reason_outside(request.url, allowed)


def _is_of_netrc(value: str, request: Any, session: requests.Session) -> bool:
    login = requests.sessions.get_netrc_auth(request.url) if session.trust_env else None
    return login is not None and value == requests.auth._basic_auth_str(*login)


def _about(header: str, notice: Notice) -> Notice:
    return replace(notice, text=notice.text.replace("Authorization", header))


def reason_outside(url: str, allowed: AllowedURLs[Any]) -> Notice:
    """Return what is wrong with a URL that no token belongs to."""
    return NEAR if allowed.has_prefix_at(origin_of(url)) else OUTSIDE


def reason_of_refusal(first: CurrentToken, last: CurrentToken) -> Notice:
    """Return why a refusal is returned: ``first`` was refused, and then ``last``."""
    if first is last:
        return NO_RENEWAL
    if last.number < first.number:  # the former one
        return PAUSE
    is_same = first.token.access_token == last.token.access_token
    return SAME_TOKEN if is_same else NEW_TOKEN


def _note(client: Client, url: object, notice: Notice, said: str) -> None:
    level = logging.DEBUG
    if notice.is_mistake:
        origin = origin_of(url) if isinstance(url, str) else None
        place = UNREADABLE if origin is None else origin_text(origin)
        if is_first((client, notice, place)):
            level = logging.WARNING
    if log.isEnabledFor(level):
        log.log(level, "%s (%s, %s), because %s", said, public_url(url), client, notice.text)
