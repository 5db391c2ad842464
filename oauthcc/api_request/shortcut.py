"""A shortcut through requests, for the steps that change nothing.

Most of the time of a call goes into steps of requests that have no effect on it: the environment is
searched for proxies although it names none, a URL in its normal form is taken apart and put
together again, empty mappings are merged. The functions of this module leave these steps out. Each
of them checks the types and values of its arguments, and returns exactly what requests would
return, or None, and then the caller leaves the call to requests. They always return None if

- requests has a version that was not compared with this module (`COMPARED`),
- a tool, a test or a subclass has replaced one of the functions and classes that are named below,
  before or after the import of this library,
- ``OAUTHCC_NO_SHORTCUT`` is set in the environment when this library is imported.

Then a call does the same and takes longer. Nothing is remembered about a URL but the proxies that
the environment names for its origin.
"""

from __future__ import annotations

import os
import re
import urllib.request
from collections import OrderedDict
from operator import is_
from types import FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

import requests
from requests.exceptions import InvalidHeader

# Without types, which do not have what is private or only imported there.
models: Any = requests.models
sessions: Any = requests.sessions
utils: Any = requests.utils
# As `requests.Session` finds them: others may have put another class in another place.
PreparedRequest: Any = sessions.PreparedRequest
RequestsCookieJar: Any = sessions.RequestsCookieJar
CaseInsensitiveDict: Any = sessions.CaseInsensitiveDict

#: The versions of requests that were compared with this module (tests/differential/).
COMPARED = ("2.32.3", "2.32.4", "2.32.5", "2.33.0", "2.33.1", "2.34.0", "2.34.1", "2.34.2")

_VERSION_IS_KNOWN = requests.__version__ in COMPARED and [*vars(CaseInsensitiveDict())] == [
    "_store"
]
_IS_ON = _VERSION_IS_KNOWN and os.environ.get("OAUTHCC_NO_SHORTCUT", "") in ("", "0")


def _as_shipped(part: Any) -> object:
    """Return a part of requests, or an object that nothing else is if it was replaced."""
    kind, home = type(part), ""
    if kind is FunctionType:
        home = part.__globals__["__name__"]  # `functools.wraps` copies `__module__`
    elif kind is ModuleType or issubclass(kind, type):
        home = part.__name__ if kind is ModuleType else part.__module__
    is_shipped = home.partition(".")[0] in ("requests", "urllib3", "urllib", "http", "os")
    return part if is_shipped else object()


class _Originals:
    """The parts of requests in one place, as they were shipped."""

    def __init__(self, place: Any, names: str) -> None:
        for name in names.split() if _IS_ON else ():
            setattr(self, name, _as_shipped(getattr(place, name)))

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> object: ...


Request: Any = _as_shipped(sessions.Request)
# What is left out, by the places in which requests looks it up. Others may replace it at any time.
_SESSIONS = _Originals(
    sessions,
    "PreparedRequest RequestsCookieJar CaseInsensitiveDict merge_cookies merge_setting"
    " cookiejar_from_dict to_key_val_list get_environ_proxies os",
)
_MODELS = _Originals(
    models,
    "CaseInsensitiveDict check_header_validity get_auth_from_url get_cookie_header parse_url"
    " requote_uri to_key_val_list to_native_string urlencode urlunparse",
)
_REQUEST = _Originals(
    PreparedRequest,
    "prepare prepare_method prepare_url prepare_headers prepare_cookies prepare_body"
    " prepare_content_length prepare_auth prepare_hooks _encode_params register_hook",
)
_JAR = _Originals(RequestsCookieJar, "__iter__ update set_cookie add_cookie_header")
_HEADERS: Any = _Originals(CaseInsensitiveDict, "__init__ __setitem__ __getitem__ __iter__")
_UTILS = _Originals(
    utils, "getproxies proxy_bypass should_bypass_proxies urlparse os quote unquote_unreserved"
)
_URLLIB = _Originals(urllib.request, "getproxies_environment")
_SESSION = _Originals(requests.Session, "prepare_request merge_environment_settings")


# A comparison of each name in a line of its own takes a fifth of the time of a loop.


def _may_prepare(method: Any) -> bool:
    """Return whether `prepare_request` is that of requests, with all that `prepare` leaves out."""
    return (
        _IS_ON
        and type(method) is MethodType
        and method.__func__ is _SESSION.prepare_request
        and sessions.PreparedRequest is _SESSIONS.PreparedRequest
        and sessions.RequestsCookieJar is _SESSIONS.RequestsCookieJar
        and sessions.CaseInsensitiveDict is _SESSIONS.CaseInsensitiveDict
        and sessions.merge_cookies is _SESSIONS.merge_cookies
        and sessions.merge_setting is _SESSIONS.merge_setting
        and sessions.cookiejar_from_dict is _SESSIONS.cookiejar_from_dict
        and sessions.to_key_val_list is _SESSIONS.to_key_val_list
        and _models_are_shipped()
        and _request_is_shipped()
        and RequestsCookieJar.update is _JAR.update
        and RequestsCookieJar.set_cookie is _JAR.set_cookie
        and RequestsCookieJar.add_cookie_header is _JAR.add_cookie_header
        and CaseInsensitiveDict.__init__ is _HEADERS.__init__
        and CaseInsensitiveDict.__setitem__ is _HEADERS.__setitem__
        and CaseInsensitiveDict.__getitem__ is _HEADERS.__getitem__
        and CaseInsensitiveDict.__iter__ is _HEADERS.__iter__
    )


def _models_are_shipped() -> bool:
    return (
        models.CaseInsensitiveDict is _MODELS.CaseInsensitiveDict
        and models.check_header_validity is _MODELS.check_header_validity
        and models.get_auth_from_url is _MODELS.get_auth_from_url
        and models.get_cookie_header is _MODELS.get_cookie_header
        and models.parse_url is _MODELS.parse_url
        and models.requote_uri is _MODELS.requote_uri
        and models.to_key_val_list is _MODELS.to_key_val_list
        and models.to_native_string is _MODELS.to_native_string
        and models.urlencode is _MODELS.urlencode
        and models.urlunparse is _MODELS.urlunparse
        and utils.quote is _UTILS.quote
        and utils.unquote_unreserved is _UTILS.unquote_unreserved
    )


def _request_is_shipped() -> bool:
    return (
        PreparedRequest.prepare is _REQUEST.prepare
        and PreparedRequest.prepare_method is _REQUEST.prepare_method
        and PreparedRequest.prepare_url is _REQUEST.prepare_url
        and PreparedRequest.prepare_headers is _REQUEST.prepare_headers
        and PreparedRequest.prepare_cookies is _REQUEST.prepare_cookies
        and PreparedRequest.prepare_body is _REQUEST.prepare_body
        and PreparedRequest.prepare_content_length is _REQUEST.prepare_content_length
        and PreparedRequest.prepare_auth is _REQUEST.prepare_auth
        and PreparedRequest.prepare_hooks is _REQUEST.prepare_hooks
        and PreparedRequest._encode_params is _REQUEST._encode_params
        and PreparedRequest.register_hook is _REQUEST.register_hook
    )


def _may_merge(method: Any) -> bool:
    """Return whether `merge_environment_settings` is that of requests, with all that it uses."""
    return (
        _IS_ON
        and type(method) is MethodType
        and method.__func__ is _SESSION.merge_environment_settings
        and sessions.os is _SESSIONS.os
        and sessions.merge_setting is _SESSIONS.merge_setting
        and sessions.to_key_val_list is _SESSIONS.to_key_val_list
        and sessions.get_environ_proxies is _SESSIONS.get_environ_proxies
        and utils.os is _UTILS.os
        and utils.getproxies is _UTILS.getproxies
        and utils.proxy_bypass is _UTILS.proxy_bypass
        and utils.should_bypass_proxies is _UTILS.should_bypass_proxies
        and utils.urlparse is _UTILS.urlparse
        and urllib.request.getproxies_environment is _URLLIB.getproxies_environment
    )


# What `prepare_url` leaves as it is: a host in lower case, a path, no port that is written in an
# unusual way, no user name, no fragment, no empty query, no dot segment, no character that has to
# be quoted, and none that is quoted without need.
_QUOTED = r"%(?:[0189A-F][0-9A-F]|2[0-9A-CF]|3[A-F]|[46]0|5[B-E]|7[B-DF])"
_PATH, _QUERY = r"[A-Za-z0-9._~!$&'()*+,;=:@/-]*", r"[A-Za-z0-9._~!$&'()*+,;=:@/?-]*"
_PORT = r"(?:[1-5][0-9]{0,4}|[6-9][0-9]{0,3}|6[0-4][0-9]{3})"
_ORIGIN = rf"https?://[a-z0-9_][a-z0-9_.-]{{0,254}}(?::{_PORT})?"
_PLAIN_ORIGIN = re.compile(rf"{_ORIGIN}(?=/)")
_PLAIN_URL = re.compile(
    rf"{_ORIGIN}/{_PATH}(?:{_QUOTED}{_PATH})*(?:\?(?=.){_QUERY}(?:{_QUOTED}{_QUERY})*)?"
)
_SCALARS = frozenset({str, int, float, bool, type(None)})
_SETTINGS = frozenset({bool, str, tuple, type(None)})
_NO_HOOKS: dict[str, Any] = {"response": []}
_ENVIRON = type(os.environ)
# On Windows and macOS, requests asks the system too.
_ENVIRONMENT_DECIDES = utils.getproxies is getattr(
    urllib.request, "getproxies_environment", None
) and utils.proxy_bypass is getattr(urllib.request, "proxy_bypass_environment", None)
# How many origins have their proxies remembered.
_MOST_ORIGINS = 1000


def prepare(method: object, session: Any, request: Any) -> requests.PreparedRequest | None:
    """Return what ``method``, `prepare_request`, returns for a request without auth and netrc."""
    is_plain = _may_prepare(method) and _is_plain(session, request)
    headers = _headers(session, request) if is_plain else None
    if headers is None:
        return None
    hooks = sessions.merge_hooks(request.hooks, session.hooks)
    prepared: Any = PreparedRequest()
    prepared.method = request.method.upper()
    prepared.url = _with_params(request) if request.params else request.url
    prepared.headers = headers
    jar = RequestsCookieJar()
    if session.cookies._cookies:
        prepared.prepare_cookies(sessions.merge_cookies(jar, session.cookies))
    else:
        prepared._cookies = jar
    has_body = _has_body(request)
    if has_body or prepared.method not in ("GET", "HEAD"):
        prepared.prepare_body(request.data, request.files, request.json)
    if has_body:  # reading it may have replaced this method
        prepared.prepare_auth(None, request.url)
    if has_body or hooks != _NO_HOOKS:
        prepared.prepare_hooks(hooks)
    return prepared  # type: ignore[no-any-return]


def _is_plain(session: Any, request: Any) -> bool:
    """Return whether preparing adds nothing to a request but headers, cookies, query and body."""
    if type(request) is not Request:
        return False
    url, params = request.url, request.params
    return (
        type(url) is type(request.method) is str
        and _PLAIN_URL.fullmatch(url) is not None
        and "/." not in url
        and type(params) is type(session.params) is dict
        and not session.params
        and (not params or all(type(k) is str and type(params[k]) in _SCALARS for k in params))
        and request.cookies is None
        and type(session.cookies) is RequestsCookieJar
        and type(request.headers) is dict
        and type(session.headers) is CaseInsensitiveDict
        and type(request.hooks) is type(session.hooks) is dict
    )


def _with_params(request: Any) -> str:
    """Return the URL of a plain request with its parameters."""
    url: str = request.url
    params = {name: value for name, value in request.params.items() if value is not None}
    query = PreparedRequest._encode_params(params)
    return f"{url}{'&' if '?' in url else '?'}{query}" if query else url


def _has_body(request: Any) -> bool:
    data, files = request.data, request.files
    is_empty = type(data) in (dict, list) and type(files) in (dict, list)
    return not is_empty or bool(data or files) or request.json is not None


def _headers(session: Any, request: Any) -> Any:
    """Return the merged headers, or None if requests has to look at them."""
    store = session.headers._store.copy()
    if type(store) is not OrderedDict:
        return None  # somebody has put another one there
    pairs, valid = (*store.values(),), session._valid_headers
    # They are checked once: a header that is set again is another pair.
    if len(pairs) != len(valid) or not all(map(is_, pairs, valid)):
        if not all(_is_valid(pair) and key == pair[0].lower() for key, pair in store.items()):
            return None
        vars(session)["_valid_headers"] = pairs
    for pair in request.headers.items():
        if not _is_valid(pair):
            return None
        store[pair[0].lower()] = pair
    headers = object.__new__(CaseInsensitiveDict)
    headers._store = store
    return headers


def _is_valid(header: Any) -> bool:
    # Somebody may have put something else into the mapping than pairs of texts.
    if type(header) is not tuple or [*map(type, header)] != [str, str]:
        return False
    try:
        models.check_header_validity(header)
    except InvalidHeader:
        return False
    return True


class _Environment:
    """The names of the variables in the environment at one moment, and what they mean."""

    def __init__(self, names: list[Any]) -> None:
        self.names = names
        texts = [os.fsdecode(name) for name in names]
        self.has_bundle = "REQUESTS_CA_BUNDLE" in texts or "CURL_CA_BUNDLE" in texts
        self._of_proxies = [
            n for n, t in zip(names, texts, strict=True) if t.lower().endswith("_proxy")
        ]
        # The values of these variables, and the proxies by origin.
        self._known: tuple[list[Any], dict[str, dict[str, str]]] = [], {}

    def proxies(self, url: str, variables: dict[Any, Any]) -> dict[str, str] | None:
        """Return what `get_environ_proxies` returns, or None for an unusual URL."""
        if not self._of_proxies:
            return {}
        match = _PLAIN_ORIGIN.match(url)
        if match is None:
            return None
        origin = match[0]
        values, (values_before, known) = [*map(variables.get, self._of_proxies)], self._known
        if values != values_before or len(known) >= _MOST_ORIGINS:
            known = {}
            self._known = values, known
        found = known.get(origin)
        if found is None:
            found = sessions.get_environ_proxies(url)
            # Another thread may have changed them meanwhile.
            if _variables() is variables and values == [*map(variables.get, self._of_proxies)]:
                known[origin] = found
        return found


_last = _Environment([])


def _variables() -> dict[Any, Any] | None:
    """Return the variables of the environment, or None if a test has put something else there."""
    variables = getattr(os.environ, "_data", None)
    is_usual = type(os.environ) is _ENVIRON and type(variables) is dict
    return variables if is_usual else None


def settings(
    method: object, session: Any, url: Any, given: tuple[Any, Any, Any, Any]
) -> dict[str, Any] | None:
    """Return what `merge_environment_settings` returns.

    ``method`` is the one that would be called. ``given`` are its other arguments: the proxies,
    stream, verify and cert of the call.
    """
    if not (_may_merge(method) and _is_simple(session, url, given)):
        return None
    proxies, stream, verify, cert = given
    if session.trust_env:
        found = _in_environment(url, verify)
        if found is None:
            return None
        proxies.update(found[0])
        verify = found[1]
    return {
        "proxies": OrderedDict(proxies),
        "stream": session.stream if stream is None else stream,
        "verify": session.verify if verify is None else verify,
        "cert": session.cert if cert is None else cert,
    }


def _is_simple(session: Any, url: Any, given: tuple[Any, Any, Any, Any]) -> bool:
    """Return whether there are no proxies to merge, and requests can read the URL."""
    proxies, stream, verify, cert = given
    return (
        type(proxies) is dict
        and not proxies
        and type(stream) in _SETTINGS
        and type(verify) in _SETTINGS
        and type(cert) in _SETTINGS
        and type(url) is str
        and url.isascii()
        and "[" not in url
        and "]" not in url
        and type(session.proxies) is dict
        and not session.proxies
    )


def _in_environment(url: str, verify: Any) -> tuple[dict[str, str], Any] | None:
    """Return the proxies and the CA bundle, or None if requests has to look for them."""
    global _last  # noqa: PLW0603 - one for all sessions; of two threads, each has a right one
    variables = _variables() if _ENVIRONMENT_DECIDES else None
    if variables is None:
        return None
    # All names are compared in each call, which takes no longer than to look for one.
    names, environment = [*variables], _last
    if names != environment.names:
        environment = _last = _Environment(names)
    proxies = environment.proxies(url, variables)
    if proxies is None:
        return None
    if environment.has_bundle and (verify is True or verify is None):
        get = os.environ.get
        verify = get("REQUESTS_CA_BUNDLE") or get("CURL_CA_BUNDLE") or verify
    return proxies, verify
