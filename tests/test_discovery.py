"""Discovery: where metadata is looked for, when it counts, and how long it is kept."""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from oauthcc.discovery import (
    MAX_AGE,
    PAUSE,
    Discovered,
    check_issuer,
    discover,
    locations,
)
from oauthcc.errors import (
    ConfigurationError,
    DiscoveryError,
    InvalidTokenResponse,
    TokenEndpointUnavailable,
    TokenEndpointUnreachable,
)
from oauthcc.exchange import ExchangeSession
from oauthcc.metadata import Metadata, grant_warning, method_warning
from oauthcc.renewal import Instant
from tests.json_values import nested

if TYPE_CHECKING:
    from .servers.oidc import OIDCServer

T = TypeVar("T")

ISSUER = "https://as.example/tenant"
TOKEN_URL = "https://as.example/token"
OAUTH = "https://as.example/.well-known/oauth-authorization-server/tenant"
OPENID = "https://as.example/tenant/.well-known/openid-configuration"
GOOD = {"issuer": ISSUER, "token_endpoint": TOKEN_URL}


def answer(
    body: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> requests.Response:
    """Make an answer as it comes out of the exchange: read whole."""
    response = requests.Response()
    response.status_code = status
    response.headers.update(headers or {})
    response._content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response.url = OAUTH
    return response


class Web:
    """Answer by URL, and remember what was asked for."""

    def __init__(self, **pages: requests.Response | Exception) -> None:
        self.pages = {"OAUTH": OAUTH, "OPENID": OPENID}
        self.answers = {self.pages[name]: page for name, page in pages.items()}
        self.asked: list[str] = []

    def __call__(self, url: str) -> requests.Response:
        self.asked.append(url)
        page = self.answers.get(url, answer({}, 404))
        if isinstance(page, Exception):
            raise page
        return page


def found(document: Mapping[str, Any]) -> Metadata:
    return discover(ISSUER, get=Web(OAUTH=answer(document)))


def fault(document: object) -> str:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    with pytest.raises(DiscoveryError) as caught:
        discover(ISSUER, get=Web(OAUTH=answer(body)))
    message = str(caught.value)
    assert "To mend it: " in message
    assert "https://as.example/tenant" in message
    return message


# Where it is looked for


@pytest.mark.parametrize(
    ("issuer", "oauth", "openid"),
    [
        (ISSUER, OAUTH, OPENID),
        (f"{ISSUER}/", OAUTH, OPENID),
        (
            "https://as.example",
            "https://as.example/.well-known/oauth-authorization-server",
            "https://as.example/.well-known/openid-configuration",
        ),
        (
            "https://as.example/",
            "https://as.example/.well-known/oauth-authorization-server",
            "https://as.example/.well-known/openid-configuration",
        ),
        (
            "http://[::1]:8080/a/b",
            "http://[::1]:8080/.well-known/oauth-authorization-server/a/b",
            "http://[::1]:8080/a/b/.well-known/openid-configuration",
        ),
    ],
)
def test_the_well_known_part_goes_between_host_and_path_and_after_the_path(
    issuer: str, oauth: str, openid: str
) -> None:
    assert locations(issuer) == (oauth, openid)


def test_the_metadata_of_oauth_is_asked_for_first_and_is_enough() -> None:
    web = Web(OAUTH=answer(GOOD), OPENID=answer({"issuer": "https://evil.example"}))
    assert discover(ISSUER, get=web) == Metadata(ISSUER, TOKEN_URL)
    assert web.asked == [OAUTH]


@pytest.mark.parametrize(
    "page",
    [
        *[answer({"error": "no"}, status) for status in (400, 401, 403, 404, 405, 410, 204, 299)],
        *[answer(b"", status, {"Location": OPENID}) for status in (301, 302, 303, 307, 308)],
        answer(b"<!doctype html><title>Log in</title>"),
        answer(b""),
        answer(None),
        answer([GOOD]),
        answer("text"),
        answer(b"\xff\xfe\xfa"),
        answer(b"[" * 100_000),
        answer({}, 500),
        answer({}, 503),
        InvalidTokenResponse("more than 1 MiB"),
    ],
    ids=lambda page: f"{page.status_code} {page.content[:12]!r}" if hasattr(page, "url") else "big",
)
def test_what_is_no_json_object_leads_to_the_other_place(
    page: requests.Response | Exception,
) -> None:
    web = Web(OAUTH=page, OPENID=answer(GOOD))
    assert discover(ISSUER, get=web).token_endpoint == TOKEN_URL
    assert web.asked == [OAUTH, OPENID]


def test_metadata_that_is_found_but_wrong_is_not_made_good_by_the_other_place() -> None:
    web = Web(OAUTH=answer({"issuer": ISSUER}), OPENID=answer(GOOD))
    with pytest.raises(DiscoveryError, match="without a usable token_endpoint"):
        discover(ISSUER, get=web)
    assert web.asked == [OAUTH]


def test_an_issuer_without_metadata_is_told_with_both_places_and_what_is_there() -> None:
    web = Web(OAUTH=answer(b"<html>"), OPENID=answer(b"", 302))
    with pytest.raises(DiscoveryError) as caught:
        discover(ISSUER, get=web)
    message = str(caught.value)
    assert f"{OAUTH} is not JSON" in message
    assert f"{OPENID} redirects (302), which is not followed" in message
    assert "check the issuer, pass token_url instead" in message


def test_a_page_that_is_too_large_is_told_as_such() -> None:
    with pytest.raises(DiscoveryError, match="is too large or broken") as caught:
        discover(ISSUER, get=Web(OAUTH=InvalidTokenResponse("token endpoint")))
    assert "token endpoint" not in str(caught.value)


def test_a_byte_order_mark_before_the_document_is_no_obstacle() -> None:
    page = answer(b"\xef\xbb\xbf" + json.dumps(GOOD).encode())
    assert discover(ISSUER, get=Web(OAUTH=page)).token_endpoint == TOKEN_URL


# Outages


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_an_unwell_issuer_is_an_outage_and_not_a_fault_of_its_metadata(status: int) -> None:
    web = Web(OAUTH=answer(b"", status, {"Retry-After": "7"}), OPENID=answer(b"", 500))
    with pytest.raises(TokenEndpointUnavailable, match=f"issuer answered {status}") as caught:
        discover(ISSUER, get=web)
    assert (caught.value.status_code, caught.value.retry_after) == (status, 7.0)


def test_an_issuer_that_is_unwell_at_the_second_place_is_an_outage_too() -> None:
    with pytest.raises(TokenEndpointUnavailable):
        discover(ISSUER, get=Web(OPENID=answer(b"", 503)))


def test_an_issuer_that_asks_for_patience_is_not_asked_at_the_other_place() -> None:
    web = Web(OAUTH=answer(b"", 429), OPENID=answer(GOOD))
    with pytest.raises(TokenEndpointUnavailable):
        discover(ISSUER, get=web)
    assert web.asked == [OAUTH]


def test_an_issuer_that_cannot_be_reached_is_asked_once() -> None:
    web = Web(OAUTH=TokenEndpointUnreachable("no route"), OPENID=answer(GOOD))
    with pytest.raises(TokenEndpointUnreachable, match="no route"):
        discover(ISSUER, get=web)
    assert web.asked == [OAUTH]


# What an issuer may be


@pytest.mark.parametrize(
    "issuer",
    [ISSUER, "https://as.example", "https://as.example:8443/", "http://localhost:1/a",
     "http://127.0.0.1", "http://[::1]:5"],
)  # fmt: skip
def test_an_issuer_is_https_or_loopback_and_is_given_back_unchanged(issuer: str) -> None:
    assert check_issuer(issuer) == issuer


@pytest.mark.parametrize(
    ("issuer", "remedy"),
    [
        ("http://as.example", "https://"),
        ("https://as.example?tenant=1", "leave out the ?"),
        ("https://as.example/?", "leave out the ?"),
        ("https://as.example#a", "leave out the #"),
        ("https://me:pw@as.example", "leave out everything up to the @"),
        ("as.example", "https://"),
        ("", "as in"),
        (None, "as in"),
        ("ftp://as.example", "https://"),
        (OAUTH, "without /.well-known/oauth-authorization-server"),
        (OPENID, "without /.well-known/openid-configuration"),
    ],
)
def test_what_cannot_be_an_issuer_is_refused_with_the_remedy(issuer: Any, remedy: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_issuer(issuer)
    assert remedy in str(caught.value)
    assert "pw" not in str(caught.value)
    with pytest.raises(ConfigurationError):
        discover(issuer, get=Web())
    with pytest.raises(ConfigurationError):
        Discovered(issuer)


# What the metadata must say


def test_everything_of_use_is_taken_from_the_metadata() -> None:
    document = {
        **GOOD,
        "token_endpoint_auth_methods_supported": ["private_key_jwt", "tls_client_auth"],
        "mtls_endpoint_aliases": {"token_endpoint": "https://mtls.as.example/token"},
        "dpop_signing_alg_values_supported": ["ES256"],
        "grant_types_supported": ["client_credentials"],
        "signed_metadata": "x",
    }
    assert found(document) == Metadata(
        issuer=ISSUER,
        token_endpoint=TOKEN_URL,
        token_endpoint_auth_methods=("private_key_jwt", "tls_client_auth"),
        mtls_token_endpoint="https://mtls.as.example/token",
        grant_types=("client_credentials",),
    )


def test_a_null_where_nothing_need_be_said_says_nothing() -> None:
    nulls = dict.fromkeys(
        ("mtls_endpoint_aliases", "token_endpoint_auth_methods_supported", "grant_types_supported")
    )
    assert found({**GOOD, **nulls}) == Metadata(ISSUER, TOKEN_URL)
    assert found({**GOOD, "mtls_endpoint_aliases": {"token_endpoint": None}}) == found(GOOD)


@pytest.mark.parametrize(
    "named",
    [f"{ISSUER}/", ISSUER.upper(), "https://evil.example", "https://as.example:443/tenant", ""],
)
def test_metadata_of_another_issuer_is_discarded_and_both_are_named(named: str) -> None:
    message = fault({**GOOD, "issuer": named})
    assert f"another issuer, {named!r}" in message
    assert "write that one exactly" in message


def test_what_another_issuer_is_called_is_shown_short_and_harmless() -> None:
    message = fault({**GOOD, "issuer": "\x1b[2J\n\u202e" + "x" * 5000})
    assert message.isprintable()
    assert len(message) < 1000


@pytest.mark.parametrize("named", [None, 1, True, [ISSUER], {"a": 1}])
def test_metadata_that_names_no_issuer_is_discarded(named: object) -> None:
    assert "names no issuer" in fault({**GOOD, "issuer": named})
    assert "names no issuer" in fault({"token_endpoint": TOKEN_URL})
    assert "names no issuer" in fault(b'{"issuer": ' + b"9" * 10_000 + b"}")


@pytest.mark.parametrize(
    "url",
    [None, 1, ["https://as.example/token"], "", "/token", "//as.example/token", "token",
     "http://as.example/token", "http://localhost/token", "ftp://as.example/token",
     "https://u:p@as.example/token", "https://as.example/token#f", "https://", "javascript:1",
     "https://as.example\\@evil.example/", "https://as.example/a b", "https://as.example:99999/",
     "https://\ud800/"],
)  # fmt: skip
def test_a_token_endpoint_that_no_secret_may_be_posted_to_is_refused(url: object) -> None:
    assert "token_endpoint" in fault({**GOOD, "token_endpoint": url})
    assert "mtls_endpoint_aliases.token_endpoint" in fault(
        {**GOOD, "mtls_endpoint_aliases": {"token_endpoint": 1 if url is None else url}}
    )


def test_an_issuer_with_https_cannot_turn_http_on_by_the_switch_for_tests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    message = fault({**GOOD, "token_endpoint": "http://as.example/token?secret=1"})
    assert "without https, http://as.example/token" in message
    assert "secret" not in message


def test_a_token_endpoint_on_another_host_and_with_a_query_is_as_it_should_be() -> None:
    url = "https://oauth2.other.example/token?tenant=7"
    assert found({**GOOD, "token_endpoint": url}).token_endpoint == url


def test_an_issuer_on_loopback_may_have_its_token_endpoint_there() -> None:
    issuer = "http://localhost:9"
    document = {"issuer": issuer, "token_endpoint": f"{issuer}/token"}
    assert discover(issuer, get=lambda url: answer(document)).token_endpoint == f"{issuer}/token"


@pytest.mark.parametrize(
    "member", ["token_endpoint_auth_methods_supported", "grant_types_supported"]
)
@pytest.mark.parametrize("value", ["ES256", 1, True, {"a": 1}, [1], [None], [["ES256"]]])
def test_lists_of_the_wrong_shape_are_told_by_their_name(member: str, value: object) -> None:
    assert f"{member} that is no list of names" in fault({**GOOD, member: value})


@pytest.mark.parametrize("value", ["x", 1, True, [], [{"token_endpoint": TOKEN_URL}]])
def test_aliases_of_the_wrong_shape_are_told(value: object) -> None:
    assert "mtls_endpoint_aliases that are no" in fault({**GOOD, "mtls_endpoint_aliases": value})


_TEXTS = st.text(max_size=8) | st.sampled_from([ISSUER, "token_endpoint"])
_JSON = nested(st.none() | st.booleans() | st.integers() | st.floats() | _TEXTS, _TEXTS, 2)
_MEMBERS = (
    "issuer",
    "token_endpoint",
    "mtls_endpoint_aliases",
    "grant_types_supported",
    "token_endpoint_auth_methods_supported",
)
_URLS = st.text(alphabet="htps:/@#?.[]%\\ as\x00\ud800\u2028é1", max_size=20).map(
    lambda text: f"https://{text}"
)


def _tried(action: Callable[[], T]) -> tuple[T | None, str]:
    """Return what an action gives, or what the error of ours says."""
    try:
        return action(), ""
    except (ConfigurationError, DiscoveryError, TokenEndpointUnavailable) as error:
        return None, str(error)


@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(_MEMBERS, _JSON | _URLS)),
    st.booleans(),
    st.integers(100, 599),
)
def test_hostile_metadata_gives_metadata_or_an_error_of_ours(
    document: dict[str, Any], named: bool, status: int
) -> None:
    if named:
        document["issuer"] = ISSUER
    page = answer(document, status if status % 3 else 200)
    found, message = _tried(lambda: discover(ISSUER, get=Web(OAUTH=page, OPENID=page)))
    assert message.isprintable()
    if found is not None:
        assert found.issuer == ISSUER
        assert found.token_endpoint.lower().startswith("https://")
        assert "@" not in found.token_endpoint.split("/")[2]


@given(st.binary(max_size=200))
def test_hostile_bytes_give_an_error_of_ours(body: bytes) -> None:
    with pytest.raises(DiscoveryError):
        discover(ISSUER, get=Web(OAUTH=answer(body)))


@given(_URLS | st.text(max_size=40))
def test_any_text_is_an_issuer_or_a_configuration_error(text: str) -> None:
    issuer, message = _tried(lambda: check_issuer(text))
    assert message.isprintable()
    if issuer is not None:
        assert issuer == text
        assert all(place.startswith(("http://", "https://")) for place in locations(text))


# What is listed


def test_a_method_that_is_listed_needs_no_warning() -> None:
    metadata = Metadata(ISSUER, TOKEN_URL, ("client_secret_post", "private_key_jwt"))
    assert method_warning(metadata, "private_key_jwt") is None


def test_a_method_that_is_not_listed_is_told_with_what_is_listed() -> None:
    metadata = Metadata(ISSUER, TOKEN_URL, ("client_secret_post", "\x1bx"))
    warning = method_warning(metadata, "private_key_jwt")
    assert warning is not None
    assert "does not list private_key_jwt" in warning
    assert "'client_secret_post', '?x'" in warning
    assert "used as configured" in warning


def test_a_server_that_lists_no_method_means_basic() -> None:
    assert method_warning(Metadata(ISSUER, TOKEN_URL), "client_secret_basic") is None
    for listed in (None, ()):
        warning = method_warning(Metadata(ISSUER, TOKEN_URL, listed), "client_secret_post")
        assert warning is not None
        assert "(nothing" in warning


def test_a_server_that_does_not_list_the_grant_is_told() -> None:
    def told(grants: tuple[str, ...] | None) -> str | None:
        return grant_warning(Metadata(ISSUER, TOKEN_URL, grant_types=grants))

    assert told(None) is None
    assert told(("implicit", "client_credentials")) is None
    assert "does not list client_credentials" in str(told(("implicit",)))


# How long it is kept


class Clock:
    """Be a clock that moves when it is told to."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> Instant:
        return Instant(self.seconds, 1.7e9 + self.seconds)


def test_metadata_is_asked_for_once_an_hour() -> None:
    clock, web, discovered = Clock(), Web(OAUTH=answer(GOOD)), Discovered(ISSUER)
    assert web.asked == []
    first = discovered.metadata(web, clock())
    clock.seconds += MAX_AGE - 1
    assert discovered.metadata(web, clock()) is first
    assert len(web.asked) == 1
    clock.seconds += 1
    moved = {**GOOD, "token_endpoint": "https://as.example/v2/token"}
    web.answers[OAUTH] = answer(moved)
    assert discovered.metadata(web, clock()).token_endpoint == moved["token_endpoint"]
    assert len(web.asked) == 2


@pytest.mark.parametrize(
    "trouble", [answer(b"", 503), answer(b"<html>soon back"), TokenEndpointUnreachable("away")]
)
def test_earlier_metadata_is_used_while_the_issuer_is_unwell_and_a_log_says_so(
    trouble: requests.Response | Exception, caplog: pytest.LogCaptureFixture
) -> None:
    clock, web, discovered = Clock(), Web(OAUTH=answer(GOOD)), Discovered(ISSUER)
    first = discovered.metadata(web, clock())
    clock.seconds += MAX_AGE
    web.answers[OAUTH] = trouble
    assert discovered.metadata(web, clock()) is first
    assert "the earlier one is used" in caplog.text
    asked = len(web.asked)
    clock.seconds += PAUSE - 1
    assert discovered.metadata(web, clock()) is first
    assert len(web.asked) == asked
    clock.seconds += 1
    web.answers[OAUTH] = answer(GOOD)
    assert discovered.metadata(web, clock()) is not first


def test_without_earlier_metadata_an_outage_is_raised_each_time() -> None:
    clock, web = Clock(), Web(OAUTH=TokenEndpointUnreachable("away"))
    discovered = Discovered(ISSUER)
    for _ in range(2):
        with pytest.raises(TokenEndpointUnreachable):
            discovered.metadata(web, clock())
    assert len(web.asked) == 2


def test_a_mistake_in_the_settings_is_never_papered_over_by_earlier_metadata() -> None:
    clock, web, discovered = Clock(), Web(OAUTH=answer(GOOD)), Discovered(ISSUER)
    discovered.metadata(web, clock())
    discovered.forget()
    web.answers[OAUTH] = ConfigurationError("no such CA bundle")
    with pytest.raises(ConfigurationError):
        discovered.metadata(web, clock())


def test_forgotten_metadata_is_asked_for_again_and_kept_where_that_fails() -> None:
    clock, web, discovered = Clock(), Web(OAUTH=answer(GOOD)), Discovered(ISSUER)
    first = discovered.metadata(web, clock())
    discovered.forget()
    web.answers[OAUTH] = answer(b"", 500)
    assert discovered.metadata(web, clock()) is first
    assert len(web.asked) == 3


def test_a_pickle_holds_the_issuer_and_the_repr_shows_it() -> None:
    clock, web, discovered = Clock(), Web(OAUTH=answer(GOOD)), Discovered(ISSUER)
    discovered.metadata(web, clock())
    twin = pickle.loads(pickle.dumps(discovered))
    assert twin.issuer == ISSUER
    twin.metadata(web, clock())
    assert len(web.asked) == 2
    assert repr(twin) == "Discovered('https://as.example/tenant')"


# With a real server


def test_a_real_issuer_is_discovered_through_the_bounded_exchange(oidc: OIDCServer) -> None:
    with ExchangeSession("any") as session:
        session.trust_env = False
        asked: list[str] = []

        def get(url: str) -> requests.Response:
            asked.append(url)
            return session.exchange("GET", url, headers={}, deadline=time.monotonic() + 30)

        metadata = discover(oidc.issuer, get=get)
        assert metadata.token_endpoint == oidc.token_url
        assert "private_key_jwt" in (metadata.token_endpoint_auth_methods or ())
        assert method_warning(metadata, "private_key_jwt") is None
        assert grant_warning(metadata) is None
        assert 1 <= len(asked) <= 2
        with pytest.raises(DiscoveryError, match="another issuer"):
            discover(f"{oidc.issuer}/", get=get)
        with pytest.raises(DiscoveryError, match="publishes no metadata"):
            discover(f"{oidc.issuer}/nobody", get=get)
