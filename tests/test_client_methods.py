"""What holds for every way to prove the client: what is asked for is kept, and keys stay here."""

from __future__ import annotations

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
from tests.servers.certificates import Certificates, make_certificates
from tests.servers.oidc import OIDCServer
from tests.servers.sessions import OIDCSessions
from tests.servers.ways import WAYS, Given

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
def auth() -> Iterator[AuthorizationServer]:
    with AuthorizationServer() as auth:
        auth.add_client("public")
        yield auth


@pytest.fixture
def protected(auth: AuthorizationServer) -> Iterator[ProtectedAPI]:
    with ProtectedAPI(auth) as protected:
        yield protected


def session(auth: AuthorizationServer, **options: Any) -> ClientCredentialsSession:
    options = {"client_id": auth.client_id, "client_secret": auth.client_secret, **options}
    api = ClientCredentialsSession(auth.token_url, **options)
    api.trust_env = False
    return api


@pytest.mark.parametrize("method", [ClientSecretBasic(), ClientSecretPost(), NoClientAuth()])
def test_what_is_asked_for_is_asked_for_again_on_renewal_and_for_a_replay(
    auth: AuthorizationServer, protected: ProtectedAPI, method: ClientAuth
) -> None:
    client = {} if method.needs_secret else {"client_id": "public", "client_secret": None}
    with session(auth, client_auth=method, **client, **ASKED) as api:
        api.get(protected.url)
        auth.revoke_all()
        assert api.post(protected.url, data=b"body").status_code == 200
        api.tokens.renew()
    assert len(auth.token_requests) == 3
    for asked in auth.token_requests:
        sent = [pair for pair in asked.form if pair[0] not in ("client_id", "client_secret")]
        assert sorted(sent) == sorted(SENT)
        # Of parameters of the same name the order is kept.
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
def test_what_is_asked_for_otherwise_is_not_answered_from_a_shared_store(
    auth: AuthorizationServer, protected: ProtectedAPI, other: dict[str, Any]
) -> None:
    store = MemoryStore()
    with (
        session(auth, store=store, **ASKED) as one,
        session(auth, store=store, **ASKED) as same,
        session(auth, store=store, **{**ASKED, **other}) as another,
    ):
        for api in (one, same, another):
            assert api.get(protected.url).status_code == 200
    assert len(auth.token_requests) == 2


def test_the_order_of_scopes_and_resources_does_not_matter_to_a_store(
    auth: AuthorizationServer, protected: ProtectedAPI
) -> None:
    store = MemoryStore()
    reordered = {
        **ASKED,
        "scope": ["orders:read", "orders:write"],
        "resource": ASKED["resource"][::-1],
    }
    with session(auth, store=store, **ASKED) as one, session(auth, store=store, **reordered) as two:
        one.get(protected.url)
        two.get(protected.url)
    assert len(auth.token_requests) == 1


def test_a_sibling_asks_for_what_it_was_told_and_nothing_else(
    auth: AuthorizationServer, protected: ProtectedAPI
) -> None:
    with session(auth, api_url=protected.url + "/a", **ASKED) as api:
        api.authorize(protected.url + "/b", resource="https://b.example/")
        api.get(protected.url + "/a")
        api.get(protected.url + "/b")
    assert dict(auth.token_requests[1].form) == {
        "grant_type": "client_credentials",
        "resource": "https://b.example/",
    }


# -- keys never leave ----------------------------------------------------------------------------


class Ear(logging.Handler):
    """Hear everything that anybody logs, with all that a record holds."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.heard += [self.format(record), repr(record.args)]


@pytest.fixture
def ear() -> Iterator[Ear]:
    ear, root = Ear(), logging.getLogger()
    names = ["", "oauthcc", "requests_oauthlib", "requests_oauthlib.oauth2_session", "oauthlib"]
    loggers = [logging.getLogger(name) for name in [*names, "urllib3", "urllib3.connectionpool"]]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    root.addHandler(ear)
    yield ear
    root.removeHandler(ear)
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)


def secrets_in(given: Given) -> set[str]:
    """Return what must not be seen of what a client has: its secret, and its key in pieces."""
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
    """Note what went over the wire to and from the token endpoint that nobody else may see."""

    def __init__(self, api: ClientCredentialsSession) -> None:
        self.seen: set[str] = set()
        hooks: Any = api.tokens.endpoint
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


def shown(api: ClientCredentialsSession, *things: Any) -> Iterator[str]:
    """Yield what a log, a crash report or a cache would keep of things."""
    yield from map(repr, [api, api.tokens, api.tokens.grant, api.tokens.grant.client_auth])
    yield from map(repr, [api.tokens.endpoint, api.tokens.grant.scheme, vars(api.tokens.grant)])
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
def test_no_key_secret_assertion_proof_or_token_is_seen_anywhere(
    oidc: OIDCServer, tmp_path: Path, ear: Ear, case: str
) -> None:
    name, _, way = case.partition(": ")
    way, _, proves = way.partition(", ")
    make, client, scheme = OIDCSessions(oidc), oidc.clients[name], DPoP if proves else None
    given, told = Given(oidc, client, tmp_path), list[Any]()
    api = make(client, client_auth=WAYS[name][way](given), scheme=scheme, on_event=told.append)
    wire = Wire(api)
    url = (oidc.api_url if client.certificate is None else oidc.tls_api_url) + "/orders"
    answers: list[Any] = [api.get(url)]
    oidc.revoke_all()
    answers.append(api.post(url, data=b"body"))
    # To a server whose clock is ahead an assertion is old; what still works meets a closed port.
    oidc.advance(4000)
    with pytest.raises(requests.RequestException) as caught:
        api.tokens.renew() and api.get(NOBODY + "/orders")
    answers += [caught.value, *told]
    needles = secrets_in(given) | wire.seen
    assert len(wire.seen) >= 2  # two tokens at least
    for text in [*shown(api, *answers), *ear.heard]:
        assert [needle for needle in needles if needle in text] == []
    make.close()


def test_a_wrong_key_is_not_seen_either(oidc: OIDCServer, tmp_path: Path, ear: Ear) -> None:
    make, wrong = OIDCSessions(oidc), oidc.clients["private_key_jwt/EdDSA"]
    given = Given(oidc, wrong, tmp_path)
    api = make("private_key_jwt/ES256", client_auth=PrivateKeyJWT(given.pem), scheme=DPoP())
    wire = Wire(api)
    with pytest.raises(TokenRequestDenied) as caught:
        api.get(oidc.api_url + "/orders")
    needles = secrets_in(given) | wire.seen
    assert len(wire.seen) >= 2  # assertion and proof
    for text in [*shown(api, caught.value), *ear.heard]:
        assert [needle for needle in needles if needle in text] == []
    make.close()


def test_a_pickle_of_a_session_holds_what_it_was_given_and_of_a_file_the_path(
    oidc: OIDCServer, tmp_path: Path
) -> None:
    given = Given(oidc, oidc.clients["private_key_jwt/ES256"], tmp_path)
    path = given.file(given.pem)
    make, line = OIDCSessions(oidc), given.pem.splitlines()[1].encode()
    with_text = pickle.dumps(make(given.client, client_auth=PrivateKeyJWT(given.pem)))
    with_path = pickle.dumps(make(given.client, client_auth=PrivateKeyJWT(path)))
    assert line in with_text
    assert line not in with_path
    assert path.parent.name.encode() in with_path
    with pickle.loads(with_path) as twin:
        assert twin.get(oidc.api_url + "/orders").status_code == 200
    make.close()


# -- what cannot work is told at once ------------------------------------------------------------


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
    "password for no encryption": (of_key(pem, password="x"), "give no password="),
    "wrong password": (of_key(lambda: pem(password=b"x"), password="y"), "password is wrong"),
    "path as text": (of_key(lambda: "/etc/key.pem"), r"pathlib\.Path"),
    "file that is not there": (of_key(lambda: Path("/nonexistent/key.pem")), "cannot be read"),
    "algorithm of another family": (of_key(pem, algorithm="RS256"), "signs with ES256"),
    "algorithm for secrets": (of_key(pem, algorithm="HS256"), "does not fit this key"),
    "RSA key too small": (of_key(lambda: pem("rsa1024")), "at least 2048"),
    "public key": (
        lambda _, c: {"client_auth": PrivateKeyJWT(Path(c.client.cert_path).read_text())},
        "give the private key that belongs to it",
    ),
    "secret beside a key": (
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
    "HS algorithm that is none": (
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
    "certificate that is not there": (
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
    "assertion file that is not there": (
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
    "method that is none": (lambda *_: {"client_auth": "basic"}, "must be one of"),
    "method that needs a secret": (
        lambda *_: {"client_auth": "client_secret_post"},
        "needs a client_secret",
    ),
    "scheme that is none": (lambda *_: {"scheme": "DPoP"}, r"Bearer\(\) or DPoP\(key\)"),
    "resource that is no URI": (lambda *_: {"resource": "orders"}, "absolute URI"),
    "resource with a fragment": (lambda *_: {"resource": "https://a.example/#x"}, "fragment"),
    "parameter that has an option": (
        lambda *_: {"token_params": {"scope": "x"}},
        "its option is: scope",
    ),
    "grant of another kind": (
        lambda *_: {"token_params": {"grant_type": "password"}},
        "this library is for client_credentials",
    ),
}


@pytest.mark.parametrize("bad", BAD)
def test_what_cannot_work_is_told_at_construction_with_what_to_do(
    bad: str, tmp_path: Path, certificates: Certificates
) -> None:
    options, told = BAD[bad]
    with pytest.raises(ConfigurationError, match=told) as caught:
        ClientCredentialsSession(
            "https://as.example/token", "my-id", **options(tmp_path, certificates)
        )
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, requests.RequestException)


@pytest.mark.parametrize(
    ("secret", "told"),
    [(lambda: "s" * 31, "32 octets"), (lambda: "", "empty"), (lambda: None, "must be a string")],
)
def test_a_secret_that_comes_later_is_told_by_the_first_request(
    auth: AuthorizationServer, protected: ProtectedAPI, secret: Any, told: str
) -> None:
    with (
        session(auth, client_secret=secret, client_auth="client_secret_jwt") as api,
        pytest.raises(ConfigurationError, match=told),
    ):
        api.get(protected.url)
    assert auth.token_requests == []
