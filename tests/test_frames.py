"""No frame of the library shows a secret, a key or a token in its local variables.

Crash reporters send the local variables of all frames of an error, of all errors that it refers to,
and of what called them. `shown` walks through all of these. The ways to cause an error are in two
tables: errors of the functions that get a secret, and errors while a token is fetched or used.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import inspect
import io
import json
import pickle
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NoReturn
from urllib.parse import quote, quote_plus

import jwt
import pytest
import redis
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from requests.adapters import HTTPAdapter

import oauthcc
from oauthcc import (
    ClientAssertion,
    ClientCredentialsAuth,
    ClientCredentialsSession,
    ClientSecretBasic,
    ClientSecretJWT,
    ConfigurationError,
    DPoP,
    OAuthCCError,
    PrivateKeyJWT,
    RefusalRemembered,
    RenewalFailed,
    StoreBypassed,
    TLSClientAuth,
    Token,
    TokenError,
    fetch_token,
    frames,
)
from oauthcc.errors import copy_error
from oauthcc.frames import clear_frames, hide_locals, without_frames
from oauthcc.secret import MAX_BYTES
from oauthcc.stores import FileStore, MemoryStore, RedisStore
from oauthcc.testing import AuthorizationServer, ProtectedAPI, faults

from .clock import shift_clocks, skip_pauses
from .internet import TOKEN_URL, Internet, SeenEvents
from .sessions import on, plain

SECRET = "s3cr3t/do+not~show&=%me"
API = "https://api.example/v1"
PRIVATE = ec.generate_private_key(ec.SECP256R1())


def pem(password: bytes | None = None) -> str:
    form = serialization
    hidden = form.BestAvailableEncryption(password) if password else form.NoEncryption()
    return PRIVATE.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, hidden).decode()


PEM, LOCKED = pem(), pem(SECRET.encode())
NEEDLES = {
    SECRET,
    quote(SECRET, safe=""),
    quote(SECRET),
    quote_plus(SECRET),
    base64.b64encode(f"my-id:{quote(SECRET, safe='')}".encode()).decode(),
    base64.b64encode(f"my-id:{SECRET}".encode()).decode(),
    PEM.splitlines()[1],
    LOCKED.splitlines()[1],
    "the-token-",
}
LIBRARIES = sys.stdlib_module_names | {
    *("oauthcc", "requests", "urllib3", "oauthlib", "requests_oauthlib"),
    *("jwt", "cryptography", "redis", "filelock", "platformdirs"),
}


def everything(error: BaseException) -> Iterator[BaseException | TracebackType]:
    """Yield an error and all exceptions and tracebacks that it refers to."""
    waiting: list[Any] = [error]
    seen: list[Any] = []
    while waiting:
        one = waiting.pop()
        if any(one is other for other in seen):
            continue
        seen.append(one)
        if isinstance(one, BaseException):
            yield one
            waiting += [one.__cause__, one.__context__, one.__traceback__, list(one.args)]
            waiting.append(dict(one.__dict__))
            with contextlib.suppress(RuntimeError):
                waiting.append(getattr(one, "exceptions", None))
        elif isinstance(one, TracebackType):
            yield one
        elif isinstance(one, dict):
            waiting += one.values()
        elif isinstance(one, (list, tuple, set, frozenset)):
            waiting += one


def frames_of(error: BaseException) -> Iterator[FrameType]:
    """Yield the frames of all of these, and of what called them."""
    for one in everything(error):
        if isinstance(one, TracebackType):
            for frame, _ in traceback.walk_tb(one):
                above: FrameType | None = frame
                while above is not None:
                    yield above
                    above = above.f_back


def shown(error: BaseException) -> set[str]:
    """Return the local variables of the library, and of what is below it, that show a needle."""
    found = set()
    for frame in frames_of(error):
        module = str(frame.f_globals.get("__name__"))
        if module.partition(".")[0] in LIBRARIES:
            for name, value in list(frame.f_locals.items()):
                if any(needle in look(value) for needle in NEEDLES):
                    found.add(f"{module}.{frame.f_code.co_name}: {name}")
    return found


def look(value: Any) -> str:
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 - half of an object, as it was when its constructor failed
        return ""


class World:
    """A network in memory, a folder, and what can be patched."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.net, self.events = Internet(), SeenEvents()
        self.folder, self.patch = folder, patch
        self.others: list[BaseException] = []

    def file(self, content: str | bytes, mode: int = 0o600) -> Path:
        path = self.folder / "file"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(mode)
        return path

    def session(self, **options: Any) -> ClientCredentialsSession:
        client = {"token_url": TOKEN_URL, "client_id": "my-id", "client_secret": SECRET}
        made = ClientCredentialsSession(**{**client, "on_event": self.events, **options})
        return on(self.net, made)

    def answer(self, status: int, body: Any = b"", **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.net.pages[TOKEN_URL] = status, headers, content

    def errors(self, way: Callable[[World], object]) -> list[BaseException]:
        """Return what a way raises, and the errors of events and of other threads."""
        try:
            way(self)
        except BaseException as error:  # noqa: BLE001 - all are looked at
            self.others.append(error)
        kinds = (RenewalFailed, RefusalRemembered, StoreBypassed)
        return self.others + [e.error for e in self.events if isinstance(e, kinds)]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    skip_pauses(monkeypatch)
    made = World(tmp_path, monkeypatch)
    monkeypatch.setattr(threading, "excepthook", lambda args: made.others.append(args.exc_value))
    return made


Way = Callable[[World], object]
Make = Callable[..., Any]


# -- functions that get a secret ------------------------------------------------------------------


def new(*args: Any, **options: Any) -> Way:
    """Return the way of a session that cannot be made."""
    given = (*args, *(TOKEN_URL, "my-id", SECRET)[len(args) :])
    return lambda _: ClientCredentialsSession(*given, **options)


class Mappings(dict[str, str]):
    """A mapping of the caller that raises an exception of its own."""

    def items(self) -> NoReturn:
        raise LookupError("mine")


@dataclass
class OpenCipher:
    """A cipher whose repr shows its key."""

    key: str = SECRET

    def encrypt(self, data: bytes, /) -> bytes:
        raise ValueError("too long")

    def decrypt(self, data: bytes, /) -> bytes:
        raise ValueError("damaged")


class Child(ClientCredentialsSession):
    """A subclass that passes the secret on."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, scope="bad\x00scope", **options)


def environment(**variables: str) -> Way:
    def way(world: World) -> None:
        for name, value in variables.items():
            world.patch.setenv(f"OAUTH_{name}", value)
        ClientCredentialsSession.from_env()

    return way


def profile(text: str, mode: int = 0o600) -> Way:
    return lambda world: ClientCredentialsSession.from_profile("it", world.file(text, mode))


def added(prefix: str = API, **options: Any) -> Way:
    def way(world: World) -> None:
        world.session().add_api(prefix, **{"client_secret": SECRET, **options})

    return way


def without(module: str, way: Way) -> Way:
    def changed(world: World) -> None:
        world.patch.setitem(sys.modules, module, None)
        way(world)

    return changed


def saved(store: Callable[[World], Any]) -> Way:
    return lambda world: store(world).save("key", Token("the-token-0"))


def full_disk(world: World) -> FileStore:
    def fail(*_: object) -> NoReturn:
        raise OSError(28, "No space left on device")

    world.patch.setattr(tempfile, "mkstemp", fail)
    return FileStore(world.folder / "store")


def refusing_redis(*args: Any, **kwargs: Any) -> NoReturn:
    raise redis.ConnectionError("refused")


def unreachable_redis(world: World) -> RedisStore:
    store = RedisStore(f"redis://me:{quote(SECRET, safe='')}@127.0.0.1:1/0")
    world.patch.setattr(redis.Redis, "execute_command", refusing_redis)
    return store


def unpickled(make: Make, module: str) -> Way:
    def way(world: World) -> None:
        data = pickle.dumps(make())
        world.patch.setitem(sys.modules, module, None)
        pickle.loads(data)

    return way


def failing_callable() -> NoReturn:
    raise RuntimeError("the vault is closed")


def late(change: Callable[[ClientCredentialsSession], object]) -> Way:
    return lambda world: change(world.session())


def fetched(client_auth: Any) -> Way:
    """Return the way of a token request that this method cannot authenticate."""
    return lambda world: world.session(client_auth=client_auth, client_secret=None).tokens.get()


def warm_source(change: Callable[[Any], object]) -> Way:
    def way(world: World) -> None:
        session = world.session()
        session.get(API)
        change(session.tokens)

    return way


ENVIRONMENT = {"TOKEN_URL": TOKEN_URL, "CLIENT_ID": "my-id", "CLIENT_SECRET": SECRET}
LINES = f"token_url={TOKEN_URL}\nclient_id=my-id\nclient_secret={SECRET}\n"

FUNCTIONS: dict[str, Way] = {
    "plain http": new("http://as.example/token"),
    "no token URL": new(None),
    "both URLs": new(issuer="https://as.example"),
    "a user name in the URL": new(f"https://me:{quote(SECRET, safe='')}@as.example/token"),
    "a line break": new(TOKEN_URL, "my-id", f"{SECRET}\n"),
    "bytes": new(TOKEN_URL, "my-id", SECRET.encode()),
    "a list": new(TOKEN_URL, "my-id", [SECRET]),
    "the secret as id": new(TOKEN_URL, f"{SECRET}\n"),
    "an unknown argument": new(scop="a"),
    "too many arguments": new(TOKEN_URL, "my-id", SECRET, "scope", SECRET),
    "a bad scope": new(scope='a"b'),
    "a bad resource": new(resource="a b"),
    "a bad audience": new(audience=[""]),
    "a bad parameter": new(token_params={"password": [SECRET, ""]}),
    "a reserved parameter": new(token_params={"client_secret": SECRET}),
    "a mapping that raises": new(token_params=Mappings(password=SECRET)),
    "a bad method": new(client_auth="magic"),
    "a method that needs more": new(client_auth="private_key_jwt"),
    "a method without a secret": new(client_auth="none"),
    "a secret that is too short to sign": new(client_auth=ClientSecretJWT("HS512")),
    "a secret that is a public key": new(
        TOKEN_URL,
        "my-id",
        f"ssh-rsa {SECRET} {SECRET}",
        client_auth="client_secret_jwt",
    ),
    "a colon in the id": new(TOKEN_URL, "my:id", client_auth=ClientSecretBasic(encode=False)),
    "a bad scheme": new(scheme="bearer"),
    "a bad store": new(store=SECRET),
    "a bad renewal": new(renew_at=(2.0, 1.0)),
    "a bad observer": new(on_event=SECRET),
    "a bad API": new(api_url="api.example"),
    "no API": new(api_url=[]),
    "a bad status": new(refused_status=(200,)),
    "a file with a line break": lambda world: ClientCredentialsSession(
        TOKEN_URL, "my-id", world.file(f"{SECRET}\nmore")
    ),
    "a file that is too large": lambda world: ClientCredentialsSession(
        TOKEN_URL, "my-id", world.file(SECRET * (MAX_BYTES // len(SECRET) + 1))
    ),
    "a subclass": lambda _: Child(TOKEN_URL, "my-id", SECRET),
    "auth, plain http": lambda _: ClientCredentialsAuth("http://as.example/", "my-id", SECRET),
    "auth, an unknown option": lambda _: ClientCredentialsAuth(
        TOKEN_URL,
        "my-id",
        SECRET,
        scop="a",  # type: ignore[call-arg]
    ),
    "auth, a bad API": lambda _: ClientCredentialsAuth(TOKEN_URL, "my-id", SECRET, api_url="x"),
    "fetch_token, plain http": lambda _: fetch_token("http://as.example/", "my-id", SECRET),
    "fetch_token, an unknown option": lambda _: fetch_token(
        TOKEN_URL,
        "my-id",
        SECRET,
        scop="a",  # type: ignore[call-arg]
    ),
    "from_issuer": lambda _: ClientCredentialsSession.from_issuer("as.example", "my-id", SECRET),
    "using": lambda world: ClientCredentialsSession.using(
        world.session().tokens, api_url=f"https://me:{quote(SECRET)}@api.example"
    ),
    "add_api, a bad prefix": added("api.example"),
    "add_api, an unknown option": added(scop="a"),
    "add_api, a bad option": added(client_auth="none"),
    "add_api, two ways": lambda world: world.session().add_api(
        API, tokens=world.session().tokens, client_secret=SECRET
    ),
    "environment, something missing": environment(**{**ENVIRONMENT, "CLIENT_ID": ""}),
    "environment, two secrets": environment(**ENVIRONMENT, CLIENT_SECRET_FILE="/run/x"),
    "environment, plain http": environment(**{**ENVIRONMENT, "TOKEN_URL": "http://as.example"}),
    "profile, something missing": profile(f"[it]\nclient_secret={SECRET}\n"),
    "profile, another name": profile(f"[other]\n{LINES}"),
    "profile, an unknown key": profile(f"[it]\n{LINES}{SECRET}=x\n"),
    "profile, not an INI file": profile(f"[it]\n{LINES}{SECRET}\n"),
    "profile, the secret as a section": profile(f"[{SECRET}]\n{LINES}"),
    "profile, not UTF-8": lambda world: ClientCredentialsSession.from_profile(
        "it", world.file(SECRET.encode() + b"\xff")
    ),
    "profile, readable by others": profile(f"[it]\n{LINES}", 0o644),
    "key, not a key": lambda _: PrivateKeyJWT(SECRET),
    "key, a bad PEM": lambda _: PrivateKeyJWT(PEM.replace("A", "B")),
    "key, a bad JWK": lambda _: PrivateKeyJWT({"kty": "EC", "d": SECRET}),
    "key, a shared secret": lambda _: PrivateKeyJWT({"kty": "oct", "k": SECRET}),
    "key, bad JSON": lambda _: PrivateKeyJWT(f'{{"d": "{SECRET}"'),
    "key, a bad kid": lambda _: PrivateKeyJWT(jwk(kid=1)),
    "key, an algorithm of another type": lambda _: PrivateKeyJWT(PEM, algorithm="RS256"),
    "key, a wrong password": lambda _: PrivateKeyJWT(LOCKED, password=f"{SECRET}!"),
    "key, no password": lambda _: PrivateKeyJWT(LOCKED),
    "key, a password that is not needed": lambda _: PrivateKeyJWT(PEM, password=SECRET),
    "key, a bad password": lambda _: PrivateKeyJWT(PEM, password=f"{SECRET}\n"),
    "key, a bad lifetime": lambda _: PrivateKeyJWT(PEM, lifetime=0),
    "key, an unknown argument": lambda _: PrivateKeyJWT(PEM, passwort=SECRET),  # type: ignore[call-arg]
    "key, a file": lambda world: PrivateKeyJWT(world.file(SECRET)),
    "key, a large file": lambda world: PrivateKeyJWT(world.file(PEM * 9000)),
    "key, a callable": fetched(PrivateKeyJWT(lambda: SECRET)),
    "key, a password callable": fetched(PrivateKeyJWT(LOCKED, password=failing_callable)),
    "key, without PyJWT": without("jwt", lambda _: PrivateKeyJWT(PEM)),
    "assertion": lambda _: ClientAssertion(f"{SECRET}\n"),
    "assertion, a file": lambda world: ClientAssertion(world.file(f"{SECRET}\n\x00")),
    "assertion, a callable": fetched(ClientAssertion(lambda: f"{SECRET}\n")),
    "certificate, a large file": lambda world: TLSClientAuth(
        str(world.file(PEM * (MAX_BYTES // len(PEM) + 1)))
    ),
    "certificate, no certificate": lambda world: TLSClientAuth(str(world.file(PEM))),
    "certificate, an encrypted key": lambda world: TLSClientAuth(str(world.file(LOCKED))),
    "certificate, the key itself": lambda _: TLSClientAuth((PEM, PEM)),
    "DPoP, not a key": lambda _: DPoP(SECRET),
    "DPoP, a wrong password": lambda _: DPoP(LOCKED, password=f"{SECRET}!"),
    "DPoP, a callable": lambda _: DPoP(lambda: f"{SECRET} {PEM}", password=SECRET).algorithm,
    "DPoP, a proof": lambda _: DPoP(lambda: PEM, password=SECRET).proof("GET", API, None),
    "DPoP, without PyJWT": without("jwt", lambda _: DPoP(PEM, password=SECRET)),
    "DPoP, unpickled": unpickled(lambda: DPoP(LOCKED, password=SECRET), "jwt"),
    "DPoP, a generated key unpickled": unpickled(DPoP, "jwt"),
    "redis, a bad URL": lambda _: RedisStore(f"http://me:{quote(SECRET)}@127.0.0.1/"),
    "redis, a bad port": lambda _: RedisStore(f"redis://me:{quote(SECRET, safe='')}@h:port/"),
    "redis, not installed": without("redis", lambda _: RedisStore(f"redis://:{quote(SECRET)}@h/")),
    "redis, unpickled": unpickled(
        lambda: RedisStore(f"redis://:{quote(SECRET, safe='')}@h/"), "redis"
    ),
    "redis, an unknown argument": lambda _: RedisStore(f"redis://:{SECRET}@h/", pasword=SECRET),  # type: ignore[call-arg]
    "redis, save": saved(unreachable_redis),
    "redis, load": lambda world: unreachable_redis(world).load("key"),
    "redis, a cipher that raises": saved(lambda _: RedisStore("redis://h/", cipher=OpenCipher())),
    "file, a full disk": saved(full_disk),
    "file, a cipher that raises": saved(
        lambda world: FileStore(world.folder / "store", cipher=OpenCipher())
    ),
    "file, a bad folder": lambda world: FileStore(world.file(""), cipher=OpenCipher()),
    "a stored token": lambda _: Token.from_dict({"access_token": "the-token-0"}),
    "a stored token of another type": lambda _: Token.from_dict(
        {**Token("the-token-0").to_dict(), "expires_at": "soon"}
    ),
    "renew, a text": warm_source(lambda tokens: tokens.renew("the-token-0")),
    "mark_refused, a text": warm_source(lambda tokens: tokens.mark_refused("the-token-0")),
    "endpoint, fetch_token": late(
        lambda session: session.tokens.endpoint.fetch_token(TOKEN_URL, client_secret=SECRET)
    ),
    "endpoint, refresh_token": late(
        lambda session: session.tokens.endpoint.refresh_token(TOKEN_URL, "the-token-0")
    ),
    "endpoint, request": late(
        lambda session: session.tokens.endpoint.request("POST", TOKEN_URL, data={"s": SECRET})
    ),
}


def jwk(**members: Any) -> dict[str, Any]:
    made: dict[str, Any] = jwt.algorithms.ECAlgorithm.to_jwk(PRIVATE, as_dict=True)
    assert made["d"] in made.values()
    NEEDLES.add(made["d"])
    return {**made, **members}


@pytest.mark.parametrize("way", FUNCTIONS)
def test_an_error_of_a_function_shows_no_argument(world: World, way: str) -> None:
    errors = world.errors(FUNCTIONS[way])
    assert errors
    assert [shown(error) for error in errors] == [set()] * len(errors)


# -- while a token is fetched or used -------------------------------------------------------------


class Failing(HTTPAdapter):
    """An adapter of the caller that raises what a function makes of the request."""

    def __init__(self, fail: Callable[[Any], object]) -> None:
        super().__init__()
        self.fail = fail

    def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        body = str(request.body) + str(request.headers)  # as the adapter needs it
        self.fail(body)


def failed(payload: str, error: BaseException | None = None) -> BaseException:
    """Return an exception that was raised and caught, by a function that knows the request."""
    try:
        json.loads(payload)  # below it, a frame of a library
    except ValueError as caught:
        if error is None:
            return caught
        error.__cause__ = caught
    return error


class Group(Exception):
    """A group like those of the package exceptiongroup, on a Python without groups."""

    @property
    def exceptions(self) -> tuple[BaseException, ...]:
        return tuple(self.members)

    members: list[BaseException]


class BadGroup(Exception):
    @property
    def exceptions(self) -> NoReturn:
        raise RuntimeError


@dataclass(frozen=True)
class Frozen(Exception):
    """An exception that refuses assignments."""

    inner: BaseException


def group(body: str) -> NoReturn:
    error = Group("all addresses failed")
    error.members = [failed(body), Group("inner")]
    error.members[1].members = [failed(body)]  # type: ignore[attr-defined]
    raise error


def real_group(body: str) -> NoReturn:
    inner = ExceptionGroup("inner", [ValueError("x"), failed(body)])  # type: ignore[list-item]  # noqa: F821
    raise ExceptionGroup("all addresses failed", [failed(body), inner])  # type: ignore[list-item]  # noqa: F821


def base_group(body: str) -> NoReturn:
    raise BaseExceptionGroup("stopped", [failed(body), KeyboardInterrupt()])  # noqa: F821


def in_arguments(body: str) -> NoReturn:
    raise RuntimeError("failed", failed(body), [(failed(body), {"why": failed(body)})])


def in_attributes(body: str) -> NoReturn:
    error = RuntimeError("failed")
    error.reason = failed(body)  # type: ignore[attr-defined]
    error.info = (type(error), failed(body), failed(body).__traceback__)  # type: ignore[attr-defined]
    error.itself = [error]  # type: ignore[attr-defined]
    raise error


def as_context(body: str) -> NoReturn:
    try:
        json.loads(body)
    except ValueError:
        raise RuntimeError("failed") from None


def in_a_circle(body: str) -> NoReturn:
    error, other = RuntimeError("failed"), failed(body)
    error.__context__, other.__cause__ = other, error
    other.__suppress_context__ = True
    raise error


def frozen(body: str) -> NoReturn:
    raise Frozen(failed(body))


def strange(body: str) -> NoReturn:
    raise BadGroup(failed(body, ValueError("x")))


def below(error: Callable[[], BaseException]) -> Callable[[str], object]:
    def fail(body: str) -> NoReturn:
        raise error() from failed(body)

    return fail


ADAPTERS: dict[str, Callable[[str], object]] = {
    "OSError": below(lambda: OSError("broken")),
    "requests.ConnectionError": below(lambda: requests.ConnectionError("broken")),
    "Timeout": below(lambda: requests.Timeout("late")),
    "InvalidHeader": below(lambda: requests.exceptions.InvalidHeader("x")),
    "KeyError": below(lambda: KeyError("x")),
    "TokenError": below(lambda: TokenError("mine")),
    "MemoryError": below(MemoryError),
    "a group": group,
    "a group that raises": strange,
    "exceptions in args": in_arguments,
    "exceptions in attributes": in_attributes,
    "a suppressed context": as_context,
    "a circle": in_a_circle,
    "a frozen dataclass": frozen,
    "not even an Exception": below(KeyboardInterrupt),
}
if sys.version_info >= (3, 11):
    ADAPTERS |= {"ExceptionGroup": real_group, "BaseExceptionGroup": base_group}


@contextlib.contextmanager
def no_threads(world: World) -> Iterator[None]:
    """Let each caller fetch its token itself, as under requests-mock or when a process ends."""

    def start(thread: object) -> NoReturn:
        raise RuntimeError("can't start new thread")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        yield


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("threads", [True, False])
@pytest.mark.parametrize("way", ADAPTERS)
def test_an_error_of_an_adapter_shows_nothing_of_the_token_request(
    world: World, way: str, *, threads: bool
) -> None:
    def call(world: World) -> None:
        session = world.session(client_auth="client_secret_post")
        session.mount("https://", Failing(ADAPTERS[way]))
        with contextlib.nullcontext() if threads else no_threads(world):
            session.get(API)

    errors = world.errors(call)
    assert errors
    assert [shown(error) for error in errors] == [set()] * len(errors)


class BadStore(MemoryStore):
    """A store that fails at one operation."""

    def __init__(self, operation: str = "") -> None:
        super().__init__()
        self.operation = operation

    def load(self, key: str) -> Any:
        if self.operation == "load":
            raise OSError("no disk")
        return "the-token-9" if self.operation == "text" else super().load(key)

    def save(self, key: str, token: Token) -> None:
        if self.operation == "save":
            json.loads(token.access_token)
        super().save(key, token)

    @contextlib.contextmanager
    def lock(self, key: str, timeout: float) -> Iterator[None]:
        if self.operation == "lock":
            raise ConnectionError("no server")
        with super().lock(key, timeout):
            yield
        if self.operation == "unlock":
            raise ConnectionError("no server")


def called(**options: Any) -> Way:
    def way(world: World) -> None:
        world.session(**options).get(API)

    return way


def answered(status: int, body: Any = b"", **headers: str) -> Way:
    def way(world: World) -> None:
        world.answer(status, body, **headers)
        world.session().get(API)

    return way


def rotated(world: World) -> None:
    """Refuse the secret; its callable then fails, below a frame that knows the first secret."""
    secrets = iter([SECRET])
    world.answer(401, {"error": "invalid_client"})

    def read() -> str:
        for secret in secrets:
            return secret
        raise LookupError("the vault is closed")

    world.session(client_secret=read).get(API)


def hooked(hook: Callable[..., Any], kind: str = "access_token_request") -> Way:
    def way(world: World) -> None:
        session = world.session()
        session.tokens.endpoint.register_compliance_hook(kind, hook)
        session.get(API)

    return way


def raising(error: type[Exception]) -> Callable[..., Any]:
    def hook(*_: object) -> NoReturn:
        raise error("hook")

    return hook


def aging(world: World) -> None:
    session = world.session()
    session.get(API)
    shift_clocks(3000)
    session.tokens.endpoint.mount("https://", Failing(in_arguments))
    session.get(API)
    world.events.first(RenewalFailed)


def remembered(world: World) -> None:
    session = world.session()
    session.mount("https://", Failing(in_arguments))
    for _ in range(2):
        with pytest.raises(TokenError) as caught:
            session.get(API)
        world.others.append(caught.value)


def inside_itself(world: World) -> None:
    session = world.session(client_secret=lambda: session.tokens.get() and "")
    session.get(API)


def too_late(world: World) -> None:
    free = threading.Event()

    def answer(_: object) -> Any:
        free.wait(10)
        return 200, {}, b"{}"

    world.net.pages[TOKEN_URL] = answer
    try:
        world.session().get(API, timeout=0.01)
    finally:
        free.set()


def unreachable(world: World) -> None:
    session = world.session()
    session.mount("https://", Failing(ADAPTERS["requests.ConnectionError"]))
    session.get(API)


def bypassed(operation: str) -> Way:
    def way(world: World) -> None:
        world.session(store=BadStore(operation)).get(API)
        world.events.first(StoreBypassed)

    return way


def with_auth(world: World) -> None:
    auth = ClientCredentialsAuth(TOKEN_URL, "my-id", SECRET)
    auth.tokens.endpoint.mount("https://", Failing(in_arguments))
    plain(world.net).get(API, auth=auth)


def warm(url: str, **options: Any) -> Way:
    def way(world: World) -> None:
        session = world.session()
        session.get(API)
        session.get(url, **options)

    return way


def raise_for_status(response: requests.Response, **_: object) -> None:
    response.status_code = 500
    response.raise_for_status()


def again(url: str = API, **options: Any) -> Way:
    """Return the way of a replay whose token cannot be had."""

    def way(world: World) -> None:
        session = world.session()
        session.get(API)
        world.net.pages[API] = 401, {}, b""
        shift_clocks(4000)  # the token has expired
        world.answer(400, {"error": "invalid_client"})
        session.get(url, **options)

    return way


FETCHES: dict[str, Way] = {
    "a refusal": answered(400, {"error": "invalid_scope"}),
    "a refused client": answered(401, {"error": "invalid_client", "client_secret": SECRET}),
    "unavailable": answered(503),
    "a redirect": answered(302, Location="https://other.example/"),
    "HTML": answered(200, b"<html>"),
    "no token": answered(200, {"token": "the-token-7"}),
    "a token of another type": answered(200, {"access_token": "the-token-7", "token_type": "mac"}),
    "a token with odd characters": answered(200, {"access_token": "the-token-7\n"}),
    "much too large": answered(200, b"the-token-7" * 100_000),
    "a secret that rotates": rotated,
    "a secret callable": called(client_secret=failing_callable),
    "a secret callable that returns bytes": called(client_secret=SECRET.encode),
    "a key callable": called(client_secret=None, client_auth=PrivateKeyJWT(lambda: SECRET)),
    "a password callable": called(
        client_secret=None, client_auth=PrivateKeyJWT(LOCKED, password=failing_callable)
    ),
    "a DPoP callable": called(scheme=DPoP(lambda: f"{SECRET} PRIVATE KEY-----", password=SECRET)),
    "a request hook": hooked(raising(KeyError)),
    "a request hook, an error of ours": hooked(raising(ConfigurationError)),
    "a request hook that leaves": hooked(lambda _, h, b: ("http://other.example/", h, b)),
    "a request hook with an option": hooked(lambda u, h, b: (u, h, {**b, "verify": SECRET})),
    "a response hook": hooked(raising(KeyError), "access_token_response"),
    "an issuer": called(token_url=None, issuer="https://as.example"),
    "a store, load": bypassed("load"),
    "a store, load returns a text": bypassed("text"),
    "a store, save": bypassed("save"),
    "a store, lock": bypassed("lock"),
    "a store, unlock": bypassed("unlock"),
    "unreachable": unreachable,
    "an early renewal": aging,
    "a remembered error": remembered,
    "inside of itself": inside_itself,
    "a short timeout": too_late,
    "auth": with_auth,
    "an expired token": again(),
    "plain http": warm("http://api.example/"),
    "a bad URL": warm("https://api.example:port/"),
    "no adapter": warm("ftp://api.example/"),
    "a hook of the caller": warm(API, hooks={"response": raise_for_status}),
    "a body that cannot be sent": warm(API, data=io.TextIOWrapper),
}


@pytest.mark.parametrize("way", FETCHES)
def test_an_error_of_a_fetch_or_a_request_shows_no_secret_and_no_token(
    world: World, way: str
) -> None:
    errors = world.errors(FETCHES[way])
    assert errors
    assert [shown(error) for error in errors] == [set()] * len(errors)


@pytest.mark.parametrize("fault", ["down", "hang", "reset", "garbage"])
def test_an_error_of_an_api_request_shows_no_token(
    auth: AuthorizationServer, api: ProtectedAPI, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The frames of requests, urllib3 and http.client stay, without local variables."""
    with ClientCredentialsSession(auth.token_url, auth.client_id, auth.client_secret) as session:
        session.get(api.url)
        monkeypatch.setattr(sys.modules[__name__], "NEEDLES", {*auth.issued})
        if fault == "down":
            api.down()
        else:
            api.answer_next(getattr(faults, fault)())
        with pytest.raises(requests.RequestException) as caught:
            session.get(api.url, timeout=0.2)
    assert shown(caught.value) == set()
    names = {entry.name for entry in traceback.extract_tb(caught.value.__traceback__)}
    assert "send" in names


def test_every_error_class_is_in_the_tables(world: World, tmp_path: Path) -> None:
    """All that can be raised, except what only real sockets raise."""
    found = set()
    for number, way in enumerate((*FUNCTIONS.values(), *FETCHES.values())):
        with pytest.MonkeyPatch.context() as patch:
            folder = tmp_path / str(number)
            folder.mkdir()
            skip_pauses(patch)
            found |= {type(error) for error in World(folder, patch).errors(way)}
    classes = {kind for kind in vars(oauthcc).values() if inspect.isclass(kind)}
    ours = {kind for kind in classes if issubclass(kind, OAuthCCError)}
    assert ours <= found


# -- what an error keeps --------------------------------------------------------------------------


def test_the_traceback_of_an_error_keeps_its_files_and_lines() -> None:
    with pytest.raises(ConfigurationError) as caught:
        ClientCredentialsSession("http://as.example/token", "my-id", SECRET)
    names = [entry.name for entry in traceback.extract_tb(caught.value.__traceback__)]
    assert names[-2:] == ["check_token_url", "raise_bad_url"]
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_an_exception_of_the_caller_keeps_its_traceback() -> None:
    with pytest.raises(LookupError) as caught:
        ClientCredentialsSession(TOKEN_URL, "my-id", SECRET, token_params=Mappings(a="b"))
    assert traceback.extract_tb(caught.value.__traceback__)[-1].line == 'raise LookupError("mine")'


@pytest.mark.parametrize("fails", ["construction", "fetch"])
def test_an_exception_that_the_caller_handles_keeps_its_frames(world: World, fails: str) -> None:
    def mine() -> NoReturn:
        valuable = "for the report"  # noqa: F841
        raise LookupError("mine")

    session = world.session()
    session.mount("https://", Failing(in_arguments))
    try:
        mine()
    except LookupError as handled:
        with pytest.raises(OAuthCCError) as caught, no_threads(world):
            session.get(API) if fails == "fetch" else new("http://as.example/")(world)
        *_, (frame, _) = traceback.walk_tb(handled.__traceback__)
        assert frame.f_locals == {"valuable": "for the report"}
        assert handled.__context__ is None
        if fails == "fetch":
            foreign = caught.value.__cause__
            assert handled not in [*everything(foreign)]  # type: ignore[arg-type]


def test_an_exception_that_a_callable_raises_again_and_again_is_still_usable() -> None:
    kept = LookupError("the vault is closed")

    def read() -> NoReturn:
        raise kept

    for _ in range(2):
        with pytest.raises(TokenError) as caught:
            PrivateKeyJWT(read).fingerprint(None)
        assert caught.value.__cause__ is kept
    with pytest.raises(LookupError):
        read()


def test_an_error_and_all_that_led_to_it_lose_their_frames() -> None:
    def fail(context: OSError) -> None:
        try:
            raise context
        except OSError:
            raise KeyError("inner") from ValueError("cause")

    first = OSError("first")
    with pytest.raises(KeyError) as caught:
        fail(first)
    first.__context__ = caught.value  # errors may refer to each other in a circle
    assert without_frames(caught.value) is caught.value
    assert caught.value.__traceback__ is first.__traceback__ is None
    assert caught.value.__context__ is first


def test_a_note_that_one_caller_adds_is_not_in_the_errors_of_others() -> None:
    error = TokenError("down")
    error.__notes__ = ["for all"]  # type: ignore[attr-defined]  # as add_note of Python 3.11
    first, second = copy_error(error), copy_error(error)
    first.__notes__.append("mine")  # type: ignore[attr-defined]
    assert second.__notes__ == error.__notes__ == ["for all"]  # type: ignore[attr-defined]


def test_a_generator_of_the_caller_is_not_closed() -> None:
    closed = []

    def generator() -> Iterator[BaseException]:
        try:
            json.loads("{")
        except ValueError as error:
            kept = error
        try:
            yield kept
        finally:
            closed.append(True)

    running = generator()
    error = next(running)
    clear_frames(error)
    without_frames(RuntimeError(error.__traceback__))
    assert error.__traceback__ is not None
    assert closed == []
    running.close()


def test_only_the_frames_of_some_packages_can_be_cleared() -> None:
    error = failed("{")
    clear_frames(error, packages={"requests"})
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    assert all(frame.f_locals for frame in frames)
    clear_frames(error, packages={"json"})
    first, *others = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    assert first.f_locals["payload"] == "{"
    assert [frame.f_locals for frame in others] == [{}] * len(others)


# -- what decorated functions look like -----------------------------------------------------------

#: Those of a scheme get a `Token`, whose repr shows nothing, for each request. Those of a
#: `ClientAuth` are called in a fetch, whose errors lose their frames.
METHODS = {"authorization", "proof", "authenticate", "fingerprint"}
SECRETIVE = {
    "client_secret",
    "key",
    "password",
    "assertion",
    "options",
    "url_or_client",
    "token",
    "values",
}


def public_functions() -> Iterator[tuple[str, Any]]:
    """Yield the public functions that get a secret, a key, or data with a token."""
    things = {name: getattr(oauthcc, name) for name in oauthcc.__all__}
    things |= {kind.__name__: kind for kind in (FileStore, RedisStore)}
    protocols = {"ClientAuth", "Scheme", "TokenStore"}
    for name, thing in things.items():
        if name in protocols or (inspect.isclass(thing) and issubclass(thing, Exception)):
            continue
        if inspect.isfunction(thing):
            yield name, thing
        elif inspect.isclass(thing):
            for method in ("__init__", *(n for n in vars(thing) if not n.startswith("_"))):
                found = inspect.getattr_static(thing, method)
                found = getattr(found, "__func__", found)
                if inspect.isfunction(found):
                    yield f"{name}.{method}", found


def test_every_public_function_that_gets_a_secret_is_decorated() -> None:
    plain = {
        name
        for name, function in public_functions()
        if SECRETIVE & inspect.signature(function).parameters.keys()
        and not hasattr(function, "__wrapped__")
        and function.__name__ not in METHODS
    }
    assert not plain


def test_a_decorated_function_shows_its_own_signature() -> None:
    signature = inspect.signature(ClientCredentialsSession)
    assert [*signature.parameters][:4] == ["token_url", "client_id", "client_secret", "scope"]
    assert signature.parameters["renew_at"].default == (0.6, 0.8)
    assert [*inspect.signature(PrivateKeyJWT).parameters][:2] == ["key", "algorithm"]
    assert inspect.signature(ClientCredentialsSession.from_env).parameters["prefix"]
    assert fetch_token.__doc__
    assert fetch_token.__doc__.startswith("Fetch one token")
    with pytest.raises(TypeError, match=r"ClientCredentialsSession.__init__\(\) got an unexpected"):
        new(scop="a")(None)  # type: ignore[arg-type]


def test_a_decorated_function_returns_and_raises_what_it_did() -> None:
    @hide_locals
    def both(value: int, *, fails: bool = False) -> int:
        if fails:
            raise LookupError(value)
        return value

    assert both(1) == 1
    assert both.__name__ == "both"
    with pytest.raises(LookupError) as caught:
        both(2, fails=True)
    assert caught.value.args == (2,)
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
    assert frames[-1].f_locals == {}
    assert {"args", "kwargs"}.isdisjoint(frames[-2].f_locals)


def test_the_walker_of_these_tests_finds_what_it_looks_for() -> None:
    namespace = {"__name__": "oauthcc.example"}
    exec("def fail(secret):\n    raise LookupError", namespace)
    fail: Any = namespace["fail"]
    for call in (fail, functools.partial(fail)):
        try:
            call(SECRET)
        except LookupError as error:
            found = error
        for one in (found, RuntimeError("x", [found]), RuntimeError(found.__traceback__)):
            assert shown(one) == {"oauthcc.example.fail: secret"}


def test_the_flags_of_generators_are_those_of_inspect() -> None:
    flags = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
    assert flags == frames._GENERATORS
