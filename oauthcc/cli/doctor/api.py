"""The API: one GET of each prefix with the token, and what its answer means."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import urljoin, urlsplit

import requests
from urllib3.exceptions import HTTPError

from ...challenge import find_error
from ...errors import OAuthCCError, TokenError, text_of
from ...redaction.answer import Redactor, redact_transport_error
from ...token_request.response import retry_after
from ...urls import Origin, is_secure, origin_of, public_url
from ...values import frozen
from . import limits
from .findings import Checkup
from .limits import Deadline, Hanging
from .network import Network, proxy_of, why_broken
from .token_contents import audiences_of
from .token_request import OF_CERTIFICATE, UNAVAILABLE, TokenRequest, wait_text

#: At most so many bytes of an answer are read.
_MAX_BYTES = 1 << 16
_MAX_SAID = 500
_OF_LOGIN = re.compile(r"log-?in|sign-?in|\bsso\b|saml|\bauth\b|oauth|authorize", re.IGNORECASE)
_OF_SCOPE = re.compile(
    r"insufficient[ _-]?(?:\w+ )?scope|\bscopes?\b[^\",]{0,30}\b(?:insufficient|missing)"
    r"|\b(?:missing|requir\w+)[^\",]{0,30}\bscopes?\b",
    re.IGNORECASE,
)
#: The members of a body that explain a refusal; those of RFC 9457 too.
_TEXTS = ("error", "error_description", "code", "status", "title", "detail", "message", "reason")
_OF_TLS = re.compile(rb"\b(?:https|ssl)\b", re.IGNORECASE)
_OF_AUDIENCE = re.compile(r"audience|\baud\b", re.IGNORECASE)


@frozen
class Answer:
    """The answer of an API, with the beginning of its body."""

    response: requests.Response
    body: bytes

    @property
    def members(self) -> dict[str, Any]:
        """Return the members of a JSON object, none if the body is something else."""
        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return value if isinstance(value, dict) else {}

    @property
    def is_html(self) -> bool:
        """Return whether the body is a web page."""
        kind = self.response.headers.get("Content-Type", "").lower()
        return "html" in kind or bool(
            re.match(rb"\s*<(?:!doctype|html)\b", self.body, re.IGNORECASE)
        )

    @property
    def texts(self) -> list[str]:
        """Return the texts in which an API explains a refusal: the body, if it is no web page."""
        if not self.members:
            return [] if self.is_html else [self.body.decode("utf-8", "replace")]
        inner = self.members.get("error")
        every = {**self.members, **inner} if isinstance(inner, dict) else self.members
        return [str(every[each]) for each in _TEXTS if isinstance(every.get(each), str | int)]


class APICheck:
    """The requests to an API with a token whose claims are known, if it is a JWT."""

    def __init__(
        self,
        checkup: Checkup,
        request: TokenRequest,
        network: Network,
        deadline: Deadline,
        claims: Mapping[str, Any],
    ) -> None:
        self._checkup = checkup
        self._request = request
        self._session = request.session
        self._network = network
        self._deadline = deadline
        self._claims = claims

    def check(self, url: str, setting: str) -> None:
        """Add the findings about a URL, which is in the setting of this name."""
        name, checkup, allowed = (
            f"API {public_url(url)}",
            self._checkup,
            self._session._allowed_urls,
        )
        if allowed.is_limited and allowed.find(url)[0] is None:
            checkup.begin(name)
            prefixes = ", ".join(allowed.prefixes())
            checkup.find("outside_api_url", url=public_url(url), prefixes=prefixes)
        elif self._deadline.left < limits.API / 2:  # what is slow would seem to hang
            checkup.begin(name)
            checkup.find("out_of_time", seconds=f"{limits.TOTAL:.0f}")
        elif not self._network.reaches(url, self._settings(url), setting):
            checkup.skip(name, "its server cannot be reached")
        elif self._request.token is None:
            checkup.skip(name, "there is no token")
        else:
            checkup.begin(name)
            if not is_secure(cast("Origin", origin_of(url))):
                checkup.find("plain_http_api", url=public_url(url))
            self._ask(url, setting)

    def _settings(self, url: str) -> Mapping[str, Any]:
        settings: Mapping[str, Any] = self._session.merge_environment_settings(
            url, {}, None, None, None
        )
        return settings

    def _ask(self, url: str, setting: str) -> None:
        begun: list[int] = []

        def get(seconds: float) -> Answer:
            with self._session.get(
                url, allow_redirects=False, stream=True, timeout=(seconds, 2 * seconds)
            ) as response:
                begun.append(response.status_code)
                return Answer(response, _beginning(response))

        values: dict[str, object] = {
            "place": public_url(url),
            "setting": setting,
            "seconds": limits.API,
        }
        values |= {"question": "the request", "host": urlsplit(url).hostname}
        find = self._checkup.find
        try:
            answer = self._deadline.run(limits.API, get)
        except (Hanging, requests.Timeout):
            find("dripping" if begun else "hanging", **values)
        except TokenError:  # no other one is fetched
            find("skipped", reason="the token has expired")
        except OAuthCCError as error:  # plain http is not allowed
            find("api_request_failed", error=text_of(error), **values)
        except (requests.RequestException, HTTPError, OSError, ValueError) as error:
            code, seen = why_broken(self._deadline, url, self._settings(url))
            if isinstance(error, requests.exceptions.ProxyError):
                code = "dead_proxy"
                values |= proxy_of(url, self._settings(url))
            text = redact_transport_error(error, self._checkup.secrets, None)
            find(code, error=seen or f"{type(error).__name__}: {text}", **values)
        else:
            if self._is_of_tls(answer, url):
                find("tls_expected", **values)
            else:
                _judge(self._checkup, answer, url, self._claims, values)

    def _is_of_tls(self, answer: Answer, url: str) -> bool:
        """Return whether a server that speaks TLS has answered that it does."""
        is_said = answer.response.status_code == 400 and _OF_TLS.search(answer.body)
        if not is_said or not url.startswith("http:"):
            return False
        return why_broken(self._deadline, url, self._settings(url))[0] == "tls_expected"


def _beginning(response: requests.Response) -> bytes:
    body = b""
    for piece in response.iter_content(_MAX_BYTES):
        body += piece
        # A stream of data may have no end. A refusal may come in several chunks.
        if response.status_code < 400 or len(body) >= _MAX_BYTES:
            break
    return body


def _judge(
    checkup: Checkup,
    answer: Answer,
    url: str,
    claims: Mapping[str, Any],
    values: dict[str, object],
) -> None:
    """Add the finding about an answer."""
    response = answer.response
    status, redactor = response.status_code, Redactor(checkup.secrets, response.request, None)
    challenge = response.headers.get("WWW-Authenticate", "")
    kind = redactor.header(response.headers.get("Content-Type", "").partition(";")[0])
    values["answer"] = f"{public_url(url)} answered {status}" + (f" with {kind}" if kind else "")
    values["challenge"] = _explanation(answer, redactor)
    values["wait"] = wait_text(retry_after(response))
    target = urljoin(url, response.headers.get("Location", ""))
    values["location"] = redactor.location(response)
    values |= {"proxy": "on the way", "variable": "http_proxy"}
    error = find_error(challenge, ("bearer", "dpop")) or answer.members.get("error")
    said = " ".join([challenge, *answer.texts])
    if status in (401, 403) and _OF_SCOPE.search(said):
        code = "insufficient_scope"
    elif status == 400 and OF_CERTIFICATE.search(str(answer.body)):
        code, values["error"] = "client_certificate_demanded", values["answer"]
    elif status == 401 or (status in (400, 403) and error == "invalid_token"):
        code = _code_of_401(answer, url, challenge, claims, values)
    elif 300 <= status < 400 and status != 304:
        where = urlsplit(target)
        is_login = _OF_LOGIN.search(f"{where.hostname}{where.path}") and target != f"{url}/"
        code = "api_login_page" if is_login else "api_redirects"
    elif status < 300 and answer.is_html:
        code = "api_html"
    else:
        known = dict.fromkeys(UNAVAILABLE, "unavailable")
        known |= {403: "forbidden", 407: "proxy_login", 429: "rate_limited"}
        code = known.get(status, "server_error" if status >= 500 else "api_answers")
    checkup.find(code, **values)


def _code_of_401(
    answer: Answer,
    url: str,
    challenge: str,
    claims: Mapping[str, Any],
    values: dict[str, object],
) -> str:
    """Return the code for a refused token."""
    audiences = audiences_of(claims)
    said = " ".join([challenge, *answer.texts])
    # An audience that is a URL should be the one of this API. One that is a name says nothing.
    origins = [origin_of(each) for each in audiences]
    is_named = None in origins or urlsplit(url).hostname in [o.host for o in origins if o]
    is_other = bool(audiences) and not is_named
    if _OF_AUDIENCE.search(said) or is_other:
        known = f" Its claim aud is {', '.join(audiences)}." if audiences else ""
        values["reason"] = f"{values['answer']}. {values['challenge']}{known}"
        return "audience_mismatch"
    if not challenge:
        return "no_challenge"
    outside = re.sub(r'"[^"]*"', "", challenge)  # the schemes are not in quotation marks
    is_bearer = re.search(r"(?:^|,)\s*bearer\b", outside, re.IGNORECASE)
    return "token_refused" if is_bearer else "other_scheme"


def _explanation(answer: Answer, redactor: Redactor) -> str:
    """Return what an API says about its refusal, without secrets and tokens."""
    challenge = answer.response.headers.get("WWW-Authenticate")
    shown = f"Its challenge: {redactor.header(challenge)}." if challenge else ""
    texts = [text for text in answer.texts if text not in (challenge or "")]
    said = redactor.content(", ".join(texts))[:_MAX_SAID].strip(" .")
    return f"{shown} It says: {said}." if said else shown
