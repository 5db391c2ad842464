"""The token request: one for the configured method, and why it failed."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import requests

from ...access_token import Token
from ...errors import (
    ConfigurationError,
    DiscoveryError,
    InvalidTokenResponse,
    OAuthCCError,
    TokenEndpointTimeout,
    TokenEndpointUnavailable,
    TokenEndpointUnreachable,
    TokenError,
    text_of,
)
from ...redaction.answer import Redactor
from ...session import ClientCredentialsSession
from ...token_request.discovery import NotHere, read_json
from ...token_request.issuer import OAUTH, OPENID
from ...urls import public_url
from . import limits
from .findings import Checkup
from .limits import Deadline, Hanging
from .network import Network, proxy_of, why_broken

METHODS = ("client_secret_basic", "client_secret_post", "client_secret_jwt")
#: A status that no API answers: a 401 must not cause another token request.
_NO_REFUSAL = (418,)
#: Parents of the path of a token URL at which metadata is looked for.
_MAX_PLACES = 3
_NAMES_OF_METHODS = re.compile(
    r"\b(?:client_secret_(?:basic|post|jwt)|private_key_jwt|(?:self_signed_)?tls_client_auth)\b"
)
_OF_METHOD = re.compile(
    r"auth(?:entication)?[ _-]?method|(?:method|client_secret_(?:basic|post)).{0,40}not"
    r" (?:allowed|supported|accepted|enabled)|(?:missing|required).{0,40}client_(?:id|secret)"
    r"|client_(?:id|secret).{0,20}(?:missing|required)"
    r"|\b(?:must|should|uses?|expects?|expected|requires?|only|unsupported)\b.{0,40}"
    r"\b(?:body|header|basic|client_secret_(?:basic|post))\b",
    re.IGNORECASE,
)
#: Sentences that name methods whatever is wrong: that of RFC 6749 section 5.2, that of Authlib.
_OF_ANYTHING = re.compile(
    r"unknown client, no client authentication included,? or unsupported authentication method"
    r"|cannot authenticate with methods: \[.*?\]",
    re.IGNORECASE,
)
_OF_GRANT = re.compile(
    r"grant[ _-]?types?\b|\bclient_credentials\b|client credentials (?:flow|grant|user)",
    re.IGNORECASE,
)
OF_CERTIFICATE = re.compile(r"No required SSL certificate|SSL certificate error")  # nginx
_OF_SCOPE = re.compile(r"\bscopes?\b", re.IGNORECASE)
_OF_SECRET = re.compile(
    r"secret|credential|password|client authentication|invalid_client"
    r"|\b(?:client|application)\b.{0,60}(?:not found|unknown|not exist|not registered)",
    re.IGNORECASE,
)
#: RFC 6749 section 5.2.
_STANDARD = ("invalid_client", "invalid_grant", "invalid_request", "unauthorized_client")
_BY_ERROR = {
    "invalid_scope": "scope_refused",
    "invalid_target": "audience_refused",
    "invalid_resource": "audience_refused",  # Entra
    "unsupported_grant_type": "grant_not_allowed",
    "unauthorized_client": "grant_not_allowed",
}
#: The errors that a firewall does not name.
_DENIED = ("access_denied", "invalid_request", "invalid_grant")
_WRONG_PATH = (404, 405, 410, 501)
_BY_STATUS = {
    **dict.fromkeys(_WRONG_PATH, "wrong_path"),
    403: "blocked",
    407: "proxy_login",
    429: "rate_limited",
}
UNAVAILABLE = (408, 425, 502, 503, 504)


class TokenRequest:
    """A session whose token endpoint gets one request at most, and the answer to that."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        given = dict(options)
        self.session: ClientCredentialsSession = ClientCredentialsSession(
            given.pop("token_url"), refused_status=_NO_REFUSAL, token_timeout=limits.TOKEN, **given
        )
        self.token: Token | None = None
        self.error: OAuthCCError | None = None
        #: The last answer to the request, with the time of its arrival.
        self.answer: requests.Response | None = None
        self.answered_at: float = 0.0
        config, endpoint = self.session.tokens._config, self.session.tokens.endpoint
        self.method: str = config.client_auth.name
        self.scope: str | None = config.scope
        self.url: str = config.token_url or ""
        self._is_sent = False
        fetch: Any = endpoint.fetch

        def fetch_once(*arguments: Any, **options: Any) -> Any:
            if self._is_sent:
                raise TokenError("This command sends one token request only.")
            self._is_sent = True
            return fetch(*arguments, **{**options, "attempts": 1})

        vars(endpoint)["fetch"] = fetch_once
        endpoint.hooks["response"].append(self._note)

    def _note(self, response: requests.Response, *_: Any, **__: Any) -> None:
        if response.request.method == "POST":
            self.answer, self.answered_at = response, time.time()

    def settings(self, url: str) -> Mapping[str, Any]:
        """Return the proxies and CA bundle that requests uses for a URL of this server."""
        settings: Mapping[str, Any] = self.session.tokens.endpoint.merge_environment_settings(
            url, {}, stream=True, verify=None, cert=None
        )
        return settings

    def send(self, deadline: Deadline) -> None:
        """Send the token request; put the token or the error here."""
        tokens = self.session.tokens
        try:
            # It waits for no longer, because the request runs on a thread of the library.
            self.token = tokens.get(deadline.seconds(limits.TOKEN))
        except OAuthCCError as error:
            self.error = error


def discover(
    checkup: Checkup, request: TokenRequest, network: Network, deadline: Deadline
) -> tuple[str, ...] | None:
    """Find the token URL of the issuer; return the methods that it lists (None: it lists none)."""
    config = request.session.tokens._config
    place = public_url(config.issuer)
    issuer = str(config.issuer)
    if not network.reaches(issuer, request.settings(issuer), checkup.names["n_server"]):
        checkup.skip("discovery", f"{place} cannot be reached")
        return None
    endpoint = request.session.tokens.endpoint
    checkup.begin("discovery")
    try:
        found = deadline.run(limits.TOKEN, lambda s: endpoint._locate(time.monotonic() + s))
    except (DiscoveryError, ConfigurationError) as error:
        checkup.find("discovery_failed", error=text_of(error))
    except TokenError as error:
        _explain_transport(checkup, request, error, deadline, issuer)
    except Hanging:
        _explain_transport(checkup, request, TokenEndpointTimeout(), deadline, issuer)
    else:
        request.url = found[0]
        checkup.find("discovered", url=public_url(request.url))
        discovery: Any = endpoint._discovery
        listed: tuple[str, ...] | None = discovery._metadata.token_endpoint_auth_methods
        if listed is not None and request.method not in listed:
            checkup.find("method_not_listed", method=request.method, listed=", ".join(listed))
        return listed
    return None


def explain(
    checkup: Checkup,
    request: TokenRequest,
    deadline: Deadline,
    *,
    listed: tuple[str, ...] | None = None,
    tried: TokenRequest | None = None,
) -> None:
    """Add the finding about an error of the token request.

    ``listed`` are the methods that the metadata of the issuer lists. ``tried`` is the request with
    another method, if the user has asked for that.
    """
    error = request.error
    values = {"answer": _answer(request, error), "url": public_url(request.url)}
    values |= {
        "scope": request.scope or "that the client has without asking",
        "error": "" if error is None else text_of(error),
    }
    code = _code_of_refusal(request, error)
    if code == "wrong_secret" or (tried is not None and tried.token is not None):
        _explain_secret(checkup, request, deadline, values, listed=listed, tried=tried)
    elif code is not None:
        if code == "client_certificate_demanded":
            values["error"] = values["answer"]
        checkup.find(code, **values, **_more(request, error))
    elif isinstance(error, TokenEndpointUnavailable):
        _explain_transport(checkup, request, error, deadline, request.url)
    else:
        checkup.find("token_request_failed", error=values["error"])


def is_refusal_of_client(request: TokenRequest) -> bool:
    """Return whether another method could have had another result."""
    return _code_of_refusal(request, request.error) in ("wrong_secret", "request_refused")


def _answer(request: TokenRequest, error: Any) -> str:
    """Return what the token endpoint answered, as a text."""
    status = getattr(error, "status_code", None)
    text = f"{public_url(request.url)} answered {status}"
    kind = _kind(request)
    if name := getattr(error, "error", None):
        description = getattr(error, "error_description", None)
        text += f" with {name}" + (f" ({description})" if description else "")
    elif kind := Redactor((), None, None).header(kind):  # a token can be there too
        text += f" with {kind}" + (f": {words}" if (words := _words(error)) else "")
    return text


def _words(error: Any) -> str:
    """Return what the answer says of the refusal, without tokens, nothing if it is a page."""
    response = getattr(error, "response", None)
    text = getattr(error, "error_description", None) or ""
    if isinstance(error, InvalidTokenResponse):  # its message says it
        return ""
    if not text and response is not None and response.text.lstrip().startswith("{"):
        text = response.text
    return _OF_ANYTHING.sub("", text)


def _kind(request: TokenRequest) -> str:
    """Return the media type of the answer."""
    headers: Mapping[str, str] = {} if request.answer is None else request.answer.headers
    return headers.get("Content-Type", "").partition(";")[0].strip().lower()


def _code_of_refusal(request: TokenRequest, error: Any) -> str | None:
    """Return the code for an answer of the token endpoint, None if there was none."""
    status = getattr(error, "status_code", None)
    if status is None:
        return None
    if isinstance(error, InvalidTokenResponse):
        return _code_of_no_token(request, error)
    name, said = error.error, f"{error.error} {_words(error)}"
    if isinstance(error, TokenEndpointUnavailable):
        usual = "unavailable" if status in UNAVAILABLE else "server_error"
        is_of_client = status == 403 and _OF_SECRET.search(said)
        return "wrong_secret" if is_of_client else _BY_STATUS.get(status, usual)
    if name == "invalid_client":
        return "wrong_secret"
    if name in _BY_ERROR and name != "unauthorized_client":
        return _BY_ERROR[name]
    usual = "wrong_secret" if status == 401 and name != "invalid_request" else "request_refused"
    if status != 403 or name not in _DENIED:
        usual = _BY_ERROR.get(name, _BY_STATUS.get(status, usual))
    return _code_of_words(said, error) or usual


def _code_of_words(said: str, error: Any) -> str | None:
    """Return the code for what an answer says, None if it is none of that."""
    if _OF_METHOD.search(said):
        return "wrong_secret"
    if _OF_GRANT.search(said):
        return "grant_not_allowed"
    if _OF_SECRET.search(said):
        return "wrong_secret"
    if error.error and _OF_SCOPE.search(said):
        return "scope_refused"
    is_of_certificate = OF_CERTIFICATE.search(error.response.text)
    return "client_certificate_demanded" if is_of_certificate else None


def _code_of_no_token(request: TokenRequest, error: InvalidTokenResponse) -> str:
    """Return the code for an answer whose status is no error, without a usable token."""
    content = (request.answer is not None and request.answer._content) or b""
    members: dict[str, Any] = {}
    with suppress(ValueError, TypeError, AttributeError):
        members = dict(error.response.json())  # type: ignore[union-attr]
    given = members.get("token_type")
    if 300 <= (error.status_code or 0) < 400:
        code = "redirecting_url"
    elif "html" in _kind(request) or content.lstrip().startswith(b"<"):
        code = "login_page"
    elif error.response is not None and not content.strip():
        code = "empty_answer"
    elif "access_token" in members and str(given).lower() != "bearer":
        code = "token_type_unknown"
    else:
        code = "no_token"
    return code


def _more(request: TokenRequest, error: Any) -> dict[str, str]:
    """Return the further values for the texts about an answer."""
    found = {"place": public_url(request.url), "wait": wait_text(error.retry_after)}
    found |= {"proxy": "on the way", "variable": "http_proxy"}
    found["host"] = str(urlsplit(request.url).hostname)
    response = error.response
    if response is not None:
        found["location"] = response.headers.get("Location", "no readable place")
        with suppress(ValueError, AttributeError):
            found["type"] = repr(response.json().get("token_type"))
    return found


def wait_text(seconds: float | None) -> str:
    """Return what a server has said about when to ask again."""
    return "" if seconds is None else f"It asks to wait {seconds:.0f} seconds (Retry-After)."


def _explain_transport(
    checkup: Checkup, request: TokenRequest, error: TokenError, deadline: Deadline, url: str
) -> None:
    """Add the finding about a request that was not answered."""
    values: dict[str, object] = {"place": public_url(url), "setting": checkup.names["n_server"]}
    values |= {"seconds": limits.TOKEN, "question": "the request", "error": text_of(error)}
    values |= {"host": urlsplit(url).hostname, "answer": text_of(error)}
    values["wait"] = wait_text(error.retry_after)
    if isinstance(error, TokenEndpointTimeout):
        checkup.find("hanging" if request.answer is None else "dripping", **values)
    elif isinstance(error, TokenEndpointUnreachable):
        settings = request.settings(url)
        code, seen = why_broken(deadline, url, settings)
        if "ProxyError" in text_of(error):
            code = "dead_proxy"
            values |= proxy_of(url, settings)
        checkup.find(code, **{**values, "error": seen or values["error"]})
    else:
        checkup.find("unavailable", **values)


def _explain_secret(
    checkup: Checkup,
    request: TokenRequest,
    deadline: Deadline,
    values: dict[str, str],
    *,
    listed: tuple[str, ...] | None,
    tried: TokenRequest | None,
) -> None:
    """Add the finding about a client that was not accepted: its secret, or its method."""
    mine, said = request.method, _words(request.error)
    (other, *_) = [each for each in METHODS if each != mine]

    def refuse_method(reason: str, instead: str) -> None:
        then = f"Set {checkup.names['n_method']}={instead}."
        if instead not in METHODS:  # it needs a key or a certificate
            then = f"Use the library with an object for {instead}, for which this command has none."
        checkup.find("method_not_accepted", reason=reason, then=then, method=mine, **values)

    if tried is not None and tried.token is not None:
        refuse_method(f"With {tried.method} it has issued a token.", tried.method)
        return
    if listed is None:
        listed = _listed_methods(request, deadline)
    if listed and mine not in listed:
        instead = next((each for each in METHODS if each in listed), listed[0])
        refuse_method(f"Its metadata lists: {', '.join(listed)}.", instead)
    elif tried is not None:
        answer = f"{values['answer']}; with {tried.method}: {_answer(tried, tried.error)}"
        advice = "Both ways were refused, so compare the secret with that of the server."
        checkup.find("wrong_secret", **{**values, "answer": answer, "advice": advice})
    elif _OF_METHOD.search(said):
        named = [each for each in _NAMES_OF_METHODS.findall(said) if each != mine]
        reason = "Its words are about the way, not about the secret."
        refuse_method(reason, named[0] if named else other)
    else:
        advice = (
            "Perhaps the secret is right, and the server wants another client authentication than"
            f" {mine}: `oauthcc doctor --try {other}` sends one more request to find out."
        )
        if getattr(request.error, "error", None) not in _STANDARD:
            advice += f" The answer has no error of RFC 6749, so check {checkup.names['n_server']}"
            advice += " too: it must be the URL of a token endpoint."
        checkup.find("wrong_secret", advice=advice, **values)


def _listed_methods(request: TokenRequest, deadline: Deadline) -> tuple[str, ...] | None:
    """Return the methods in the metadata near a token URL, None if there is none.

    The requests for it carry no secret.
    """
    parts = urlsplit(request.url)
    root, segments = f"{parts.scheme}://{parts.netloc}", parts.path.split("/")[1:-1]
    parents = ["/".join(["", *segments[:n]]) for n in range(min(len(segments), _MAX_PLACES) + 1)]
    places = [root + each for path in parents for each in (path + OPENID, OAUTH + path)]
    session = request.session.tokens.endpoint.without_secrets()

    def look(seconds: float) -> tuple[str, ...] | None:
        until = time.monotonic() + seconds
        for place in places:
            with suppress(NotHere, OAuthCCError):
                headers = {"Accept": "application/json"}
                answer = session.send_bounded("GET", place, headers=headers, deadline=until)
                document = read_json(answer, "server")
                listed = document.get("token_endpoint_auth_methods_supported")
                if document.get("token_endpoint") == request.url and isinstance(listed, list):
                    return tuple(map(str, listed))
        return None

    with suppress(Hanging):
        return deadline.run(limits.NETWORK, look)
    return None
