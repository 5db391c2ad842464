"""The objects that the lines of a case use: odd types, side effects, mix-ins, files of netrc."""

from __future__ import annotations

import atexit
import io
import os
import shutil
import tempfile
from collections import OrderedDict, UserDict
from collections.abc import Callable, Iterator
from functools import cache, partial, update_wrapper
from http.cookiejar import Cookie, DefaultCookiePolicy
from pathlib import Path
from types import MethodType
from typing import Any

import requests
from requests.auth import AuthBase
from requests.cookies import RequestsCookieJar, create_cookie
from requests.structures import CaseInsensitiveDict

NETRC = {
    "here": "machine api.example login l password p\n",
    "there": "machine other.example login l password p\n",
    "anywhere": "default login l password p\n",
    "nobody": "machine third.example login l password p\n",
    "broken": "machine api.example login l password p\nnonsense",
    "empty": "",
}
#: What is in the header for the login of these files.
NETRC_HEADER = "Basic bDpw"


@cache
def netrc(name: str) -> str:
    """Return the path of a netrc file."""
    return str(_folder() / name)


@cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="oauthcc-netrc-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name, text in NETRC.items():
        (folder / name).write_text(text)
    return folder


def another_environ(like: Any) -> Any:
    """Return an environment of the same type with the same variables, and dict of its own."""
    kind: Any = type(like)
    return kind(
        like._data.copy(), like.encodekey, like.decodekey, like.encodevalue, like.decodevalue
    )


def fill(count: int) -> None:
    """Add variables to the environment, without a call for each."""
    names = {os.fsencode(f"NAME_{number}"): b"value" for number in range(count)}
    vars(os.environ).get("_data", {}).update({**names, b"PATH": b"/bin", b"LANG": b"C"})


class Str(str):
    """A text of a subclass."""

    __slots__ = ()


class Bytes(bytes):
    """Bytes of a subclass."""

    __slots__ = ()


class Dict(dict[Any, Any]):
    """A mapping of a subclass."""


class Ordered(OrderedDict[Any, Any]):
    """An ordered mapping of a subclass."""


class Headers(CaseInsensitiveDict[Any]):
    """Headers of a subclass."""


class Mapped(UserDict[Any, Any]):
    """A mapping that is no dict."""


class Jar(RequestsCookieJar):
    """A jar of a subclass."""


class OtherRequest(requests.Request):
    """A class in the place of that of requests."""


class OtherPrepared(requests.PreparedRequest):
    """A class in the place of that of requests."""


class Written:
    """An object that is written as a text."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text


class Chunks:
    """A body without a length."""

    def __iter__(self) -> Iterator[bytes]:
        return iter([b"ab", b"c"])


class Sized(Chunks):
    """A body with a length."""

    def __len__(self) -> int:
        return 3


class Untold(io.BytesIO):
    """A file that does not tell its position."""

    def tell(self) -> int:
        raise OSError("no position")


def putting(request: Any) -> requests.Request:
    """Return another request for the same URL."""
    return requests.Request("PUT", request.url)


def generated() -> Iterator[bytes]:
    yield from (b"ab", b"c")


def cookie(name: str = "c", value: str = "1", **more: Any) -> Cookie:
    return create_cookie(name, value, **more)


def jar(kind: Callable[[], Any], *cookies: Cookie) -> Any:
    """Return a jar with cookies."""
    made = kind()
    for one in cookies:
        made.set_cookie(one)
    return made


class NoCookies(DefaultCookiePolicy):
    """A policy that returns no cookie."""

    def return_ok(self, cookie: Any, request: Any) -> bool:
        return False


class Token(AuthBase):
    """An authentication that writes a header."""

    def __call__(self, r: Any) -> Any:
        r.headers["Authorization"] = "Mine m"
        return r


def plain_auth(r: Any) -> Any:
    return r


def body_auth(r: Any) -> Any:
    r.prepare_body({"by": "auth"}, None)
    return r


def hook(r: Any, **kwargs: Any) -> None:
    """Do nothing, as a hook."""


def marking_hook(r: Any, **kwargs: Any) -> Any:
    r.headers["X-Hook"] = "1"
    return r


def hook_of_request(r: Any, **kwargs: Any) -> None:
    """Change the request that was sent."""
    r.request.headers["X-Late"] = "1"


def failing_hook(r: Any, **kwargs: Any) -> None:
    raise LookupError("from a hook")


# What has a side effect once, when it is used while a call runs. The effect is a function that the
# world gives: it knows whether a call runs.

Effect = Callable[[], None]


class EffectDict(dict[Any, Any]):
    """A mapping with a side effect when it is read."""

    effect: Effect

    def __iter__(self) -> Iterator[Any]:
        self.effect()
        return super().__iter__()

    def items(self) -> Any:
        self.effect()
        return super().items()

    def keys(self) -> Any:
        self.effect()
        return super().keys()


class EffectMapping(Mapped):
    """A mapping that is no dict, with a side effect when it is read."""

    effect: Effect = staticmethod(lambda: None)

    def __iter__(self) -> Iterator[Any]:
        self.effect()
        return super().__iter__()


class EffectStr(str):  # noqa: SLOT000 - it gets its effect later
    """A text with a side effect when it is converted."""

    effect: Effect

    def upper(self) -> str:
        self.effect()
        return str.upper(self)

    def lower(self) -> str:
        self.effect()
        return str.lower(self)

    def __str__(self) -> str:
        self.effect()
        return str.__str__(self)


class EffectFile(io.BytesIO):
    """A file with a side effect when its position is asked for."""

    effect: Effect

    def tell(self) -> int:
        self.effect()
        return super().tell()


class EffectJar(RequestsCookieJar):
    """A jar with a side effect when it is read."""

    effect: Effect = staticmethod(lambda: None)

    def __iter__(self) -> Iterator[Any]:
        self.effect()
        return super().__iter__()


class EffectPolicy(DefaultCookiePolicy):
    """A policy with a side effect when it is asked."""

    effect: Effect

    def domain_return_ok(self, domain: str, request: Any) -> Any:
        self.effect()
        return super().domain_return_ok(domain, request)


class EffectList(list[Any]):
    """A list with a side effect when it is read."""

    effect: Effect

    def __iter__(self) -> Iterator[Any]:
        self.effect()
        return super().__iter__()


class EffectTruth:
    """A value with a side effect when its truth is asked for."""

    def __init__(self, is_true: bool) -> None:
        self.is_true = is_true

    effect: Effect

    def __bool__(self) -> bool:
        self.effect()
        return self.is_true


class EffectEnviron(dict[Any, Any]):
    """An environment with a side effect when it is read, except for netrc, which we do later."""

    effect: Effect

    def get(self, *args: Any) -> Any:
        if args[0] != "NETRC":
            self.effect()
        return super().get(*args)


class EffectAuth(AuthBase):
    """An authentication with a side effect."""

    effect: Effect

    def __call__(self, r: Any) -> Any:
        self.effect()
        return r


class EffectHook:
    """A hook with a side effect."""

    effect: Effect

    def __call__(self, r: Any, **kwargs: Any) -> None:
        self.effect()


class EffectCall:
    """A wrapper of a function with a side effect."""

    effect: Effect

    def __call__(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        self.effect()
        return function(*args, **kwargs)


def of_request(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return those arguments of a call that a request takes."""
    names = ("params", "headers", "cookies", "data", "json", "files", "auth", "hooks")
    return {name: value for name, value in arguments.items() if name in names}


def of_send(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return those arguments of a call that `requests.Session.send` takes."""
    names = ("proxies", "verify", "cert", "stream", "timeout", "allow_redirects")
    return {name: value for name, value in arguments.items() if name in names}


# Mix-ins. `world` puts each before or behind the class of the session.


class Preparing(requests.Session):
    """A mix-in that changes requests before and after they are prepared."""

    def prepare_request(self, request: Any) -> Any:
        request.headers = {**(request.headers or {}), "X-Before": "1"}
        prepared = super().prepare_request(request)
        prepared.headers["X-After"] = "1"
        return prepared


class PreparingOther(requests.Session):
    """A mix-in that prepares another request."""

    def prepare_request(self, request: Any) -> Any:
        return super().prepare_request(
            requests.Request("PUT", request.url, request.headers, data={"a": "b"})
        )


class Merging(requests.Session):
    """A mix-in that changes the settings."""

    def merge_environment_settings(
        self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any
    ) -> Any:
        merged = super().merge_environment_settings(url, proxies, stream, verify, cert)
        return {**merged, "proxies": {"https": "http://mixed.example:1"}, "cert": "mixed.pem"}


class MergingBefore(requests.Session):
    """A mix-in that passes on other settings."""

    def merge_environment_settings(
        self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any
    ) -> Any:
        proxies = {**(proxies or {}), "ftp": "http://ftp.example:1"}
        return super().merge_environment_settings(url, proxies, True, verify, cert)


class Rebuilding(requests.Session):
    """A mix-in that marks what it rebuilds for a redirect."""

    def rebuild_method(self, prepared_request: Any, response: Any) -> Any:
        super().rebuild_method(prepared_request, response)
        prepared_request.headers["X-Method"] = "rebuilt"

    def rebuild_proxies(self, prepared_request: Any, proxies: Any) -> Any:
        prepared_request.headers["X-Proxies"] = "rebuilt"
        return super().rebuild_proxies(prepared_request, proxies)

    def rebuild_auth(self, prepared_request: Any, response: Any) -> Any:
        prepared_request.headers["X-Auth"] = "rebuilt"
        return super().rebuild_auth(prepared_request, response)


class Targeting(requests.Session):
    """A mix-in that follows a header of its own."""

    def get_redirect_target(self, resp: Any) -> Any:
        if "X-Go" in resp.headers:
            return resp.headers["X-Go"]
        return super().get_redirect_target(resp)


class Resolving(requests.Session):
    """A mix-in that notes each redirect on the session."""

    def resolve_redirects(self, resp: Any, req: Any, *args: Any, **kwargs: Any) -> Any:
        self.params = {"resolved": "1"}
        yield from super().resolve_redirects(resp, req, *args, **kwargs)


class Adapting(requests.Session):
    """A mix-in that changes its state when it is asked for an adapter."""

    def get_adapter(self, url: Any) -> Any:
        self.headers["X-Adapted"] = str(len(url))
        return super().get_adapter(url)


class Requesting(requests.Session):
    """A mix-in that changes the arguments of a call."""

    def request(self, method: Any, url: Any, *args: Any, **kwargs: Any) -> Any:
        kwargs.setdefault("timeout", 7)
        kwargs["headers"] = Dict({**(kwargs.get("headers") or {}), "X-Called": "1"})
        return super().request(method, url, *args, **kwargs)


class Sending(requests.Session):
    """A mix-in that changes what is sent."""

    def send(self, request: Any, **kwargs: Any) -> Any:
        request.headers["X-Sent"] = "1"
        kwargs["timeout"] = 3
        return super().send(request, **kwargs)


class Properties(requests.Session):
    """A mix-in whose headers and settings are properties."""

    @property
    def headers(self) -> Any:
        # Without a side effect: it is not decided when a property is read.
        given = dict.items(self._given) if isinstance(self._given, dict) else self._given
        return CaseInsensitiveDict([*CaseInsensitiveDict(given).items(), ("X-Property", "1")])

    @headers.setter
    def headers(self, value: Any) -> None:
        self._given = value

    @property
    def proxies(self) -> Any:
        return {"https": "http://property.example:1"} if self._given.get("X-A") else {}

    @proxies.setter
    def proxies(self, value: Any) -> None:
        pass


MIXINS: tuple[type[requests.Session], ...] = (
    Preparing,
    PreparingOther,
    Merging,
    MergingBefore,
    Rebuilding,
    Targeting,
    Resolving,
    Adapting,
    Requesting,
    Sending,
    Properties,
)


class Wrapped:
    """A descriptor around a function, as wrapt makes them: it looks like the function."""

    def __init__(self, function: Any, wrapper: Callable[..., Any]) -> None:
        update_wrapper(self, function)
        self._wrapper = wrapper

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._wrapper(self.__wrapped__, *args, **kwargs)  # type: ignore[attr-defined]

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else MethodType(self, instance)

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)["__wrapped__"], name)


def by_assignment(function: Any, wrapper: Callable[..., Any]) -> Any:
    return lambda *args, **kwargs: wrapper(function, *args, **kwargs)


def by_wraps(function: Any, wrapper: Callable[..., Any]) -> Any:
    return update_wrapper(by_assignment(function, wrapper), function)


def by_partial(function: Any, wrapper: Callable[..., Any]) -> Any:
    return partial(wrapper, function)
