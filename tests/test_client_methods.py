"""Tests of all client authentication methods: token request parameters, and secrecy of keys."""

from __future__ import annotations

import dataclasses
import logging
import pickle
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from oauthcc import (
    ClientAssertion,
    ClientAuth,
    ClientCredentialsSession,
    ClientSecretBasic,
    ClientSecretJWT,
    ClientSecretPost,
    ConfigurationError,
    DPoP,
    NoClientAuth,
    PrivateKeyJWT,
    TLSClientAuth,
    TokenRequestDenied,
)
from oauthcc.stores import MemoryStore
from oauthcc.testing import AuthorizationServer, ProtectedAPI

from .servers.certificates import Certificates, make_certificates
from .servers.oidc import OIDCServer
from .servers.sessions import OIDCSessions
from .servers.ways import WAYS, Given
from .sessions import session_for

NOBODY = "http://127.0.0.1:9"
ASKED: dict[str, Any] = {
    "scope": "orders:write orders:read",
    "audience": ["https://orders.example", "https://stock.example"],
    "resource": ["https://orders.example/", "urn:example:stock"],
    "token_params": {"tenant": "t 1&x=2", "feature": ["a", "b"], "empty_is_not": "0"},
}
SENT = [
    ("grant_type", "client_credentials"),
    ("scope", "orders:write orders:read"),
    ("audience", "https://orders.example"),
    ("audience", "https://stock.example"),
    ("resource", "https://orders.example/"),
    ("resource", "urn:example:stock"),
    ("tenant", "t 1&x=2"),
    ("feature", "a"),
    ("feature", "b"),
    ("empty_is_not", "0"),
]


@pytest.fixture
def oauth_server() -> Iterator[AuthorizationServer]:
    with AuthorizationServer() as auth:
        auth.add_client("public")
        yield auth


@pytest.mark.parametrize("method", [ClientSecretBasic(), ClientSecretPost(), NoClientAuth()])
def test_every_token_request_has_the_same_parameters(
    auth: AuthorizationServer, api: ProtectedAPI, method: ClientAuth
) -> None:
    client = {} if method.needs_secret else {"client_id": "public", "client_secret": None}
    with session_for(auth, client_auth=method, **client, **ASKED) as session:
        session.get(api.url)
        auth.revoke_all()
        assert session.post(api.url, data=b"body").status_code == 200
        session.tokens.renew()
    assert len(auth.token_requests) == 3
    for request in auth.token_requests:
        sent = [pair for pair in request.form if pair[0] not in ("client_id", "client_secret")]
        assert sorted(sent) == sorted(SENT)
        # Parameters with the same name keep their order.
        assert [value for name, value in sent if name == "resource"] == ASKED["resource"]
        assert len(sent) == len(SENT)


@pytest.mark.parametrize(
    "other",
    [
        {"scope": "orders:read"},
        {"audience": ["https://orders.example"]},
        {"resource": ["https://orders.example/"]},
        {"token_params": {**ASKED["token_params"], "tenant": "t2"}},
        {"token_params": {**ASKED["token_params"], "feature": ["a"]}},
        {"client_auth": ClientSecretPost()},
    ],
)
def test_sessions_with_other_options_do_not_share_a_stored_token(
    auth: AuthorizationServer, api: ProtectedAPI, other: dict[str, Any]
) -> None:
    store = MemoryStore()
    with (
        session_for(auth, store=store, **ASKED) as one,
        session_for(auth, store=store, **ASKED) as same,
        session_for(auth, store=store, **{**ASKED, **other}) as another,
    ):
        for session in (one, same, another):
            assert session.get(api.url).status_code == 200
    assert len(auth.token_requests) == 2


def test_the_order_of_scopes_and_resources_does_not_matter_to_a_store(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    store = MemoryStore()
    reordered = {
        **ASKED,
        "scope": ["orders:read", "orders:write"],
        "resource": ASKED["resource"][::-1],
    }
    with (
        session_for(auth, store=store, **ASKED) as one,
        session_for(auth, store=store, **reordered) as two,
    ):
        one.get(api.url)
        two.get(api.url)
    assert len(auth.token_requests) == 1


def test_the_token_request_for_another_api_has_only_its_own_parameters(
    auth: AuthorizationServer, api: ProtectedAPI
) -> None:
    with session_for(auth, api_url=api.url + "/a", **ASKED) as session:
        session.add_api(api.url + "/b", resource="https://b.example/")
        session.get(api.url + "/a")
        session.get(api.url + "/b")
    assert dict(auth.token_requests[1].form) == {
        "grant_type": "client_credentials",
        "resource": "https://b.example/",
    }


# -- secrecy of keys -----------------------------------------------------------------------------


class LogRecorder(logging.Handler):
    """A handler that records all log messages and the arguments of the records."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts += [self.format(record), repr(record.args)]


@pytest.fixture
def log() -> Iterator[LogRecorder]:
    log, root = LogRecorder(), logging.getLogger()
    names = ["", "oauthcc", "requests_oauthlib", "requests_oauthlib.oauth2_session", "oauthlib"]
    loggers = [logging.getLogger(name) for name in [*names, "urllib3", "urllib3.connectionpool"]]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    root.addHandler(log)
    yield log
    root.removeHandler(log)
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)


def secrets_in(given: Given) -> set[str]:
    """Return the secret of a client and the parts of its private key."""
    client, found = given.client, set[str]()
    if client.client_secret is not None:
        found.add(client.client_secret)
    texts = [] if client.private_key_pem is None else [client.private_key_pem]
    if client.certificate is not None:
        texts.append(Path(client.certificate.key_path).read_text())
    for text in texts:
        found |= {line for line in text.splitlines()[1:-1] if len(line) > 20}
    if client.private_key_pem is not None:
        jwk = given.jwk()
        found |= {jwk[name] for name in ("d", "p", "q", "dp", "dq", "qi") if name in jwk}
    return found


class Wire:
    """A recorder of the secrets in token requests and of the tokens in responses."""

    def __init__(self, session: ClientCredentialsSession) -> None:
        self.seen: set[str] = set()
        hooks: Any = session.tokens.endpoint
        hooks.register_compliance_hook("access_token_request", self.request)
        hooks.register_compliance_hook("access_token_response", self.response)

    def request(self, url: str, headers: Any, kwargs: Any) -> Any:
        data = kwargs["data"]
        self.seen |= {data[n] for n in ("client_assertion", "client_secret") if n in data}
        for name in ("Authorization", "DPoP"):
            if name in headers:
                self.seen.add(headers[name].encode().decode().split(" ")[-1])
        return url, headers, kwargs

    def response(self, response: requests.Response) -> requests.Response:
        if response.status_code == 200:
            self.seen.add(response.json()["access_token"])
        return response


def shown(session: ClientCredentialsSession, *things: Any) -> Iterator[str]:
    """Yield the texts that a log, a crash report or a cache may hold of these objects."""
    tokens, config = session.tokens, session.tokens._config
    objects = session, tokens, tokens.endpoint, config, config.client_auth, config.scheme
    fields = {each.name: getattr(config, each.name) for each in dataclasses.fields(config)}
    yield from map(repr, [*objects, fields])
    for thing in things:
        yield from (repr(thing), str(thing), pickle.dumps(thing).decode("latin-1"))
        if isinstance(thing, BaseException):
            yield "".join(traceback.format_exception(thing))
        if isinstance(thing, requests.Response):
            yield from (repr(thing.headers), repr(thing.request.headers), repr(vars(thing.request)))


@pytest.mark.unmeasured
@pytest.mark.parametrize(
    "case",
    [
        *(f"{name}: {way}" for name, ways in WAYS.items() for way in ways),
        "private_key_jwt/ES256: PEM, DPoP",
        "client_secret_basic: left out, DPoP",
    ],
)
def test_no_key_secret_assertion_proof_or_token_is_shown_anywhere(
    oidc: OIDCServer, make: OIDCSessions, tmp_path: Path, log: LogRecorder, case: str
) -> None:
    name, _, way = case.partition(": ")
    way, _, proves = way.partition(", ")
    client, scheme = oidc.clients[name], DPoP if proves else None
    given, emitted = Given(oidc, client, tmp_path), list[Any]()
    session = make(
        client, client_auth=WAYS[name][way](given), scheme=scheme, on_event=emitted.append
    )
    wire = Wire(session)
    url = (oidc.api_url if client.certificate is None else oidc.tls_api_url) + "/orders"
    answers: list[Any] = [session.get(url)]
    oidc.revoke_all()
    answers.append(session.post(url, data=b"body"))
    # The clock of the server is ahead, so assertions have expired. A renewal that still succeeds is
    # followed by a request to a closed port.
    oidc.advance(4000)
    with pytest.raises(requests.RequestException) as caught:
        session.tokens.renew() and session.get(NOBODY + "/orders")
    answers += [caught.value, *emitted]
    needles = secrets_in(given) | wire.seen
    assert len(wire.seen) >= 2  # at least two tokens
    for text in [*shown(session, *answers), *log.texts]:
        assert [needle for needle in needles if needle in text] == []


def test_a_wrong_key_is_not_shown_either(
    oidc: OIDCServer, make: OIDCSessions, tmp_path: Path, log: LogRecorder
) -> None:
    given = Given(oidc, oidc.clients["private_key_jwt/EdDSA"], tmp_path)
    session = make("private_key_jwt/ES256", client_auth=PrivateKeyJWT(given.pem), scheme=DPoP())
    wire = Wire(session)
    with pytest.raises(TokenRequestDenied) as caught:
        session.get(oidc.api_url + "/orders")
    needles = secrets_in(given) | wire.seen
    assert len(wire.seen) >= 2  # assertion and proof
    for text in [*shown(session, caught.value), *log.texts]:
        assert [needle for needle in needles if needle in text] == []


def test_a_pickle_of_a_session_holds_a_key_but_only_the_path_of_a_key_file(
    oidc: OIDCServer, make: OIDCSessions, tmp_path: Path
) -> None:
    given = Given(oidc, oidc.clients["private_key_jwt/ES256"], tmp_path)
    path = given.file(given.pem)
    line = given.pem.splitlines()[1].encode()
    with_text = pickle.dumps(make(given.client, client_auth=PrivateKeyJWT(given.pem)))
    with_path = pickle.dumps(make(given.client, client_auth=PrivateKeyJWT(path)))
    assert line in with_text
    assert line not in with_path
    assert path.parent.name.encode() in with_path
    with pickle.loads(with_path) as copied:
        assert copied.get(oidc.api_url + "/orders").status_code == 200


# -- invalid options -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


Bad = Callable[[Path, Certificates], dict[str, Any]]


def of_key(make: Callable[[], Any], **options: Any) -> Bad:
    return lambda folder, _: {"client_auth": PrivateKeyJWT(make(), **options)}


def pem(kind: str = "ec", password: bytes | None = None) -> str:
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    key: Any = ec.generate_private_key(ec.SECP256R1())
    if kind.startswith("rsa"):
        key = rsa.generate_private_key(public_exponent=65537, key_size=int(kind[3:]))
    closed: Any = form.NoEncryption()
    if password is not None:
        closed = form.BestAvailableEncryption(password)
    octets: bytes = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, closed)
    return octets.decode()


def encrypted_in(folder: Path) -> str:
    path = folder / "encrypted.key"
    path.write_text(pem(password=b"secret"))
    return str(path)


BAD: dict[str, tuple[Bad, str]] = {
    "encrypted key without password": (of_key(lambda: pem(password=b"x")), "give password="),
    "password without encryption": (of_key(pem, password="x"), "give no password="),
    "wrong password": (of_key(lambda: pem(password=b"x"), password="y"), "password is wrong"),
    "path as text": (of_key(lambda: "/etc/key.pem"), r"pathlib\.Path"),
    "missing file": (of_key(lambda: Path("/nonexistent/key.pem")), "cannot be read"),
    "algorithm of another family": (of_key(pem, algorithm="RS256"), "signs with ES256"),
    "algorithm for secrets": (of_key(pem, algorithm="HS256"), "does not fit this key"),
    "RSA key too small": (of_key(lambda: pem("rsa1024")), "at least 2048"),
    "public key": (
        lambda _, c: {"client_auth": PrivateKeyJWT(Path(c.client.cert_path).read_text())},
        "give the private key that belongs to it",
    ),
    "secret in addition to a key": (
        lambda _, c: {"client_auth": PrivateKeyJWT(pem()), "client_secret": "s"},
        "takes no client_secret",
    ),
    "HS256 secret too short": (
        lambda *_: {"client_auth": "client_secret_jwt", "client_secret": "s" * 31},
        "32 octets",
    ),
    "HS512 secret too short": (
        lambda *_: {"client_auth": ClientSecretJWT("HS512"), "client_secret": "s" * 63},
        "64 octets",
    ),
    "algorithm that is not HS": (
        lambda *_: {"client_auth": ClientSecretJWT("RS256"), "client_secret": "s" * 64},
        "use PrivateKeyJWT",
    ),
    "certificate without key": (
        lambda _, c: {"client_auth": TLSClientAuth(c.client.cert_path)},
        r"TLSClientAuth\(\(certificate, key\)\)",
    ),
    "key of another certificate": (
        lambda _, c: {"client_auth": TLSClientAuth((c.client.cert_path, c.other_client.key_path))},
        "the private key that belongs to it",
    ),
    "encrypted key of a certificate": (
        lambda folder, c: {
            "client_auth": TLSClientAuth((c.client.cert_path, encrypted_in(folder)))
        },
        "decrypt it",
    ),
    "missing certificate": (
        lambda *_: {"client_auth": TLSClientAuth("/nonexistent/client.pem")},
        "cannot be read",
    ),
    "DPoP key of another family": (
        lambda *_: {"scheme": DPoP(pem(), algorithm="EdDSA")},
        "signs with ES256",
    ),
    "DPoP key that is encrypted": (
        lambda *_: {"scheme": DPoP(pem(password=b"x"))},
        "give password=",
    ),
    "missing assertion file": (
        lambda *_: {"client_auth": ClientAssertion(Path("/nonexistent/token"))},
        "cannot be read",
    ),
    "method by name alone": (
        lambda *_: {"client_auth": "private_key_jwt"},
        r"needs more: client_auth=PrivateKeyJWT\(key\)",
    ),
    "method by class alone": (
        lambda *_: {"client_auth": TLSClientAuth},
        r"TLSClientAuth\(\.\.\.\)",
    ),
    "unknown method": (lambda *_: {"client_auth": "basic"}, "must be one of"),
    "method that needs a secret": (
        lambda *_: {"client_auth": "client_secret_post"},
        "needs a client_secret",
    ),
    "name of a scheme": (lambda *_: {"scheme": "DPoP"}, r"Bearer\(\) or DPoP\(key\)"),
    "resource with a space": (lambda *_: {"resource": "all orders"}, "absolute URI or a name"),
    "resource with a fragment": (lambda *_: {"resource": "https://a.example/#x"}, "fragment"),
    "parameter that has an option": (
        lambda *_: {"token_params": {"scope": "x"}},
        "use the option scope",
    ),
    "two grant types": (
        lambda *_: {"token_params": {"grant_type": ["a", "b"]}},
        "one grant_type at most",
    ),
}


@pytest.mark.parametrize("bad", BAD)
def test_invalid_options_are_refused_at_construction_with_advice(
    bad: str, tmp_path: Path, certificates: Certificates
) -> None:
    options, message = BAD[bad]
    with pytest.raises(ConfigurationError, match=message) as caught:
        ClientCredentialsSession(
            "https://as.example/token", "my-id", **options(tmp_path, certificates)
        )
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, requests.RequestException)


@pytest.mark.parametrize(
    ("secret", "message"),
    [(lambda: "s" * 31, "32 octets"), (lambda: "", "empty"), (lambda: None, "must be a string")],
)
def test_an_invalid_secret_of_a_callable_is_an_error_of_the_first_request(
    auth: AuthorizationServer, api: ProtectedAPI, secret: Any, message: str
) -> None:
    with (
        session_for(auth, client_secret=secret, client_auth="client_secret_jwt") as session,
        pytest.raises(ConfigurationError, match=message),
    ):
        session.get(api.url)
    assert auth.token_requests == []
