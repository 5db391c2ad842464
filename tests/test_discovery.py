"""Tests of discovery: where metadata is searched, when it counts, and how long it is kept."""

from __future__ import annotations

import json
import pickle
import re
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from oauthcc import clock
from oauthcc.errors import (
    ConfigurationError,
    DiscoveryError,
    InvalidTokenResponse,
    TokenEndpointUnavailable,
    TokenEndpointUnreachable,
)
from oauthcc.token_request.discovery import (
    MAX_AGE,
    PAUSE,
    Discovery,
    Metadata,
    discover,
    grant_type_warning,
    locations,
    method_warning,
)
from oauthcc.token_request.issuer import check_issuer
from oauthcc.token_request.owner import Owner
from oauthcc.token_request.transport import TransportSession
from oauthcc.urls import UNREADABLE, public_url

from .clock import Clock
from .json_values import nested
from .pages import Pages, answer

if TYPE_CHECKING:
    from .servers.oidc import OIDCServer

T = TypeVar("T")

ISSUER = "https://as.example/tenant"
TOKEN_URL = "https://as.example/token"
OAUTH = "https://as.example/.well-known/oauth-authorization-server/tenant"
OPENID = "https://as.example/tenant/.well-known/openid-configuration"
APPENDED = "https://as.example/tenant/.well-known/oauth-authorization-server"
GOOD = {"issuer": ISSUER, "token_endpoint": TOKEN_URL}


class Web(Pages):
    """Answers at the locations of an issuer."""

    def __init__(self, **pages: requests.Response | Exception) -> None:
        locations = {"OAUTH": OAUTH, "OPENID": OPENID, "APPENDED": APPENDED}
        super().__init__({locations[name]: page for name, page in pages.items()})


def found(document: Mapping[str, Any]) -> Metadata:
    return discover(ISSUER, get=Web(OAUTH=answer(document)))


def fault(document: object) -> str:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    with pytest.raises(DiscoveryError) as caught:
        discover(ISSUER, get=Web(OAUTH=answer(body)))
    message = str(caught.value)
    assert "To correct it: " in message
    assert "https://as.example/tenant" in message
    return message


# Where metadata is searched


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
        (
            "https://as.example/realm/X/",
            "https://as.example/.well-known/oauth-authorization-server/realm/X",
            "https://as.example/realm/X/.well-known/openid-configuration",
        ),
    ],
)
def test_the_well_known_part_goes_between_host_and_path_and_after_the_path(
    issuer: str, oauth: str, openid: str
) -> None:
    assert locations(issuer) == (oauth, openid)


def test_the_location_of_oauth_is_asked_first_and_is_enough() -> None:
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
def test_the_other_location_is_asked_if_the_first_has_no_json_object(
    page: requests.Response | Exception,
) -> None:
    web = Web(OAUTH=page, OPENID=answer(GOOD))
    assert discover(ISSUER, get=web).token_endpoint == TOKEN_URL
    assert web.asked == [OAUTH, OPENID]


def test_the_other_location_is_not_asked_if_the_metadata_is_invalid() -> None:
    web = Web(OAUTH=answer({"issuer": ISSUER}), OPENID=answer(GOOD))
    with pytest.raises(DiscoveryError, match="without a usable token_endpoint"):
        discover(ISSUER, get=web)
    assert web.asked == [OAUTH]


def test_the_error_for_an_issuer_without_metadata_has_both_locations_and_what_they_answer() -> None:
    web = Web(OAUTH=answer(b"<html>"), OPENID=answer(b"", 302))
    with pytest.raises(DiscoveryError) as caught:
        discover(ISSUER, get=web)
    message = str(caught.value)
    assert f"{OAUTH} is not JSON" in message
    assert f"{OPENID} redirects (302), which is not followed" in message
    assert "check the issuer, pass token_url instead" in message


def test_the_error_for_a_page_that_is_too_large_says_so() -> None:
    with pytest.raises(DiscoveryError, match="is too large or broken") as caught:
        discover(ISSUER, get=Web(OAUTH=InvalidTokenResponse("token endpoint")))
    assert "token endpoint" not in str(caught.value)


def test_a_document_may_begin_with_a_byte_order_mark() -> None:
    page = answer(b"\xef\xbb\xbf" + json.dumps(GOOD).encode())
    assert discover(ISSUER, get=Web(OAUTH=page)).token_endpoint == TOKEN_URL


@pytest.mark.parametrize(
    "issuer", ["https://x.cloud.example/oidc", "https://x.cloud.example/oidc/"]
)
def test_the_part_of_oauth_may_be_after_the_path_too(issuer: str) -> None:
    place = "https://x.cloud.example/oidc/.well-known/oauth-authorization-server"
    asked: list[str] = []

    def get(url: str) -> requests.Response:
        asked.append(url)
        return answer(
            {**GOOD, "issuer": issuer} if url == place else {}, 200 if url == place else 404
        )

    assert discover(issuer, get=get).token_endpoint == TOKEN_URL
    assert asked == [*locations(issuer), place]


def test_three_places_are_in_the_error_and_two_if_the_issuer_has_no_path() -> None:
    with pytest.raises(DiscoveryError) as caught:
        discover(ISSUER, get=Web(APPENDED=answer(b"<html>")))
    assert f"{OPENID} answers with status 404; {APPENDED} is not JSON." in str(caught.value)
    for issuer in ("https://as.example", "https://as.example/"):
        web = Web()
        with pytest.raises(DiscoveryError):
            discover(issuer, get=web)
        assert web.asked == list(locations(issuer))


@pytest.mark.parametrize("trouble", [["OAUTH"], ["OPENID"], ["OAUTH", "OPENID"]])
@pytest.mark.parametrize("status", [500, 503])
def test_the_third_place_is_asked_if_the_others_answer_that_they_are_unavailable(
    trouble: list[str], status: int
) -> None:
    web = Web(**dict.fromkeys(trouble, answer(b"", status)), APPENDED=answer(GOOD))
    assert discover(ISSUER, get=web).token_endpoint == TOKEN_URL
    assert web.asked == [OAUTH, OPENID, APPENDED]


# Outages


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_an_unavailable_issuer_is_not_an_error_of_its_metadata(status: int) -> None:
    web = Web(OAUTH=answer(b"", status, {"Retry-After": "7"}), OPENID=answer(b"", 500))
    with pytest.raises(TokenEndpointUnavailable, match=f"issuer answered {status}") as caught:
        discover(ISSUER, get=web)
    assert (caught.value.status_code, caught.value.retry_after) == (status, 7.0)
    with pytest.raises(TokenEndpointUnavailable):
        discover(ISSUER, get=Web(OPENID=answer(b"", status)))


@pytest.mark.parametrize(
    "trouble", [answer(b"", 429), TokenEndpointUnreachable("no route")], ids=["429", "unreachable"]
)
def test_an_issuer_that_answers_429_or_nothing_is_asked_once(
    trouble: requests.Response | Exception,
) -> None:
    web = Web(OAUTH=trouble, OPENID=answer(GOOD))
    kind = type(trouble) if isinstance(trouble, Exception) else TokenEndpointUnavailable
    with pytest.raises(kind, match=r"answered 429|no route"):
        discover(ISSUER, get=web)
    assert web.asked == [OAUTH]


# What an issuer may be


@pytest.mark.parametrize(
    "issuer",
    [ISSUER, "https://as.example", "https://as.example:8443/", "http://localhost:1/a",
     "http://127.0.0.1", "http://[::1]:5"],
)  # fmt: skip
def test_an_issuer_is_https_or_loopback_and_is_returned_unchanged(issuer: str) -> None:
    assert check_issuer(issuer) == issuer


@pytest.mark.parametrize(
    ("issuer", "advice"),
    [
        ("http://as.example", "https://"),
        ("https://as.example?tenant=1", "leave out the ?"),
        ("https://as.example/?", "leave out the ?"),
        ("https://as.example#a", "leave out the #"),
        ("https://me:pw@as.example", "leave out everything up to the @"),
        ("as.example", "https://"),
        ("as.example/tenant", "begin it with https://, as in https://as.example/tenant"),
        ("", "as in https://as.example/tenant"),
        (None, "as in https://as.example/tenant"),
        ("https://as.example:99999", "as in https://as.example/tenant"),
        ("ftp://as.example", "https://"),
        (OAUTH, "without /.well-known/oauth-authorization-server"),
        (OPENID, "without /.well-known/openid-configuration"),
    ],
)
def test_an_invalid_issuer_is_a_configuration_error_with_advice(issuer: Any, advice: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_issuer(issuer)
    assert advice in str(caught.value)
    assert str(caught.value).startswith("issuer ")
    given = "" if public_url(issuer) == UNREADABLE else f". Given: {public_url(issuer)}"
    assert str(caught.value).endswith(given)
    assert UNREADABLE not in str(caught.value)
    assert "pw" not in str(caught.value)
    with pytest.raises(ConfigurationError):
        discover(issuer, get=Web())


# What the metadata must contain


def test_all_members_that_are_used_are_read() -> None:
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


def test_a_null_counts_as_a_missing_member() -> None:
    nulls = dict.fromkeys(
        ("mtls_endpoint_aliases", "token_endpoint_auth_methods_supported", "grant_types_supported")
    )
    assert found({**GOOD, **nulls}) == Metadata(ISSUER, TOKEN_URL)
    assert found({**GOOD, "mtls_endpoint_aliases": {"token_endpoint": None}}) == found(GOOD)


@pytest.mark.parametrize(
    "named",
    [f"{ISSUER}/", ISSUER.upper(), "https://evil.example", "https://as.example:443/tenant", ""],
)
def test_metadata_of_another_issuer_is_refused_and_the_error_names_both(named: str) -> None:
    message = fault({**GOOD, "issuer": named})
    assert f"another issuer, {named!r}" in message
    assert "write that one exactly" in message


@pytest.mark.parametrize(
    ("issuer", "named", "advice"),
    [
        (
            "https://me.eu.auth0.com",
            "https://me.eu.auth0.com/",
            "write that one exactly, with the slash at its end",
        ),
        (ISSUER, f"{ISSUER}/", "write that one exactly, with the slash at its end"),
        (f"{ISSUER}/", ISSUER, "write that one exactly, without the slash at its end"),
        (
            "https://me.eu.auth0.com//",
            "https://me.eu.auth0.com/",
            "write that one exactly, with the slash at its end",
        ),
        *[
            (
                f"https://login.microsoftonline.com/{tenants}/v2.0",
                "https://login.microsoftonline.com/{tenantid}/v2.0",
                "this one is for users of any tenant. Write the id of your tenant in its place, as",
            )
            for tenants in ("common", "organizations")
        ],
        (
            "https://login.microsoftonline.com/contoso.onmicrosoft.com/v2.0",
            "https://login.microsoftonline.com/0b1c7e6e-5a4f-4a44-9d3a-000000000001/v2.0",
            "write that one exactly if it is the one you mean",
        ),
        (
            "https://login.microsoftonline.com/0b1c7e6e-5a4f-4a44-9d3a-000000000001",
            "https://sts.windows.net/0b1c7e6e-5a4f-4a44-9d3a-000000000001/",
            "write /v2.0 at the end of the issuer, or that one exactly",
        ),
        (
            "https://sts.windows.net/0b1c7e6e-5a4f-4a44-9d3a-000000000001",
            "https://sts.windows.net/0b1c7e6e-5a4f-4a44-9d3a-000000000001/",
            "write that one exactly, with the slash at its end",
        ),
        (ISSUER, "https://sts.windows.net.evil.example/", "write that one exactly if it is"),
        (ISSUER, "https://[broken", "write that one exactly if it is"),
    ],
)
def test_the_error_for_another_issuer_says_what_to_write(
    issuer: str, named: str, advice: str
) -> None:
    page = answer({"issuer": named, "token_endpoint": TOKEN_URL})
    with pytest.raises(DiscoveryError) as caught:
        discover(issuer, get=lambda _: page)
    assert f"another issuer, {named!r}. To correct it: {advice}" in str(caught.value)


@pytest.mark.parametrize(
    "issuer",
    [
        "https://as.example/oauth2/token",
        "https://as.example/oauth2/v2.0/token/",
        "https://as.example/oauth/access_token",
        "https://as.example/api/AccessToken",
        "https://as.example/oauth/access-token",
        "https://as.example/oauth_token.do",
    ],
)
def test_the_error_for_a_token_endpoint_in_the_place_of_an_issuer_says_what_it_is(
    issuer: str,
) -> None:
    with pytest.raises(DiscoveryError, match="it looks like a token endpoint, which is passed as"):
        discover(issuer, get=Web())
    with pytest.raises(DiscoveryError, match="check the issuer, pass token_url"):
        discover(f"{issuer.rstrip('/')}-list", get=Web())
    with pytest.raises(DiscoveryError, match="check the issuer, pass token_url"):
        discover("https://token", get=Web())


def test_the_name_of_another_issuer_is_shown_shortened_and_printable() -> None:
    message = fault({**GOOD, "issuer": "\x1b[2J\n\u202e" + "x" * 5000})
    assert message.isprintable()
    assert len(message) < 1000


def test_metadata_that_names_no_issuer_is_refused() -> None:
    for named in (None, 1, True, [ISSUER], {"a": 1}):
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
def test_a_token_endpoint_that_must_get_no_secret_is_refused(url: object) -> None:
    assert "token_endpoint" in fault({**GOOD, "token_endpoint": url})
    assert "mtls_endpoint_aliases.token_endpoint" in fault(
        {**GOOD, "mtls_endpoint_aliases": {"token_endpoint": 1 if url is None else url}}
    )


def test_the_variable_that_permits_http_for_tests_does_not_permit_it_to_an_https_issuer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    message = fault({**GOOD, "token_endpoint": "http://as.example/token?secret=1"})
    assert "without https, http://as.example/token" in message
    assert "secret" not in message


def test_a_token_endpoint_may_be_on_another_host_and_have_a_query() -> None:
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
def test_the_error_for_a_member_that_is_not_a_list_of_names_has_its_name(
    member: str, value: object
) -> None:
    assert f"{member} that is not a list of names" in fault({**GOOD, member: value})


@pytest.mark.parametrize("value", ["x", 1, True, [], [{"token_endpoint": TOKEN_URL}]])
def test_aliases_that_are_not_an_object_are_refused(value: object) -> None:
    message = fault({**GOOD, "mtls_endpoint_aliases": value})
    assert "mtls_endpoint_aliases that are not a JSON object" in message


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
    """Return the result of an action, or the message of our error."""
    try:
        return action(), ""
    except (ConfigurationError, DiscoveryError, TokenEndpointUnavailable) as error:
        return None, str(error)


@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(_MEMBERS, _JSON | _URLS)),
    st.booleans(),
    st.integers(100, 599),
)
def test_any_document_is_valid_metadata_or_an_error_of_ours(
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
def test_any_bytes_are_an_error_of_ours(body: bytes) -> None:
    with pytest.raises(DiscoveryError):
        discover(ISSUER, get=Web(OAUTH=answer(body)))


@given(_URLS | st.text(max_size=40))
def test_any_text_is_an_issuer_or_a_configuration_error(text: str) -> None:
    issuer, message = _tried(lambda: check_issuer(text))
    assert message.isprintable()
    if issuer is not None:
        assert issuer == text
        assert all(place.startswith(("http://", "https://")) for place in locations(text))


# Warnings about what is not listed


def test_a_warning_names_the_method_that_is_not_listed_and_those_that_are() -> None:
    metadata = Metadata(ISSUER, TOKEN_URL, ("client_secret_post", "\x1bx"))
    assert method_warning(metadata, "client_secret_post") is None
    warning = method_warning(metadata, "private_key_jwt")
    assert warning is not None
    assert "does not list private_key_jwt" in warning
    assert "'client_secret_post', '?x'" in warning
    assert "used as configured" in warning


def test_a_server_that_lists_no_method_accepts_basic() -> None:
    assert method_warning(Metadata(ISSUER, TOKEN_URL), "client_secret_basic") is None
    for listed in (None, ()):
        warning = method_warning(Metadata(ISSUER, TOKEN_URL, listed), "client_secret_post")
        assert warning is not None
        assert "(nothing" in warning


def test_a_warning_says_that_the_grant_type_is_not_listed() -> None:
    def warning(listed: tuple[str, ...] | None, used: str = "client_credentials") -> str | None:
        return grant_type_warning(Metadata(ISSUER, TOKEN_URL, grant_types=listed), used)

    assert warning(None) is None
    assert warning(("implicit", "client_credentials")) is None
    assert "does not list client_credentials" in str(warning(("implicit",)))
    assert warning(("account_credentials",), "account_credentials") is None
    assert "does not list account_credentials" in str(
        warning(("client_credentials",), "account_credentials")
    )


# How long metadata is kept


class Kept:
    """The metadata of an issuer, as a `Discovery` keeps it, and the clock that it is used by."""

    def __init__(self) -> None:
        self.clock = Clock().install()
        self.web = Web(OAUTH=answer(GOOD))
        self.discovery = Discovery(ISSUER)

    def metadata(self) -> Metadata:
        return self.discovery.metadata(self.web, clock.now())


@pytest.fixture
def kept() -> Kept:
    return Kept()


def test_the_issuer_is_asked_once_an_hour(kept: Kept) -> None:
    assert kept.web.asked == []
    first = kept.metadata()
    kept.clock.advance(MAX_AGE - 1)
    assert kept.metadata() is first
    assert len(kept.web.asked) == 1
    kept.clock.advance(1)
    moved = {**GOOD, "token_endpoint": "https://as.example/v2/token"}
    kept.web.answers[OAUTH] = answer(moved)
    assert kept.metadata().token_endpoint == moved["token_endpoint"]
    assert len(kept.web.asked) == 2


@pytest.mark.parametrize(
    "trouble",
    [answer(b"", 503), answer(b"<html>soon back"), TokenEndpointUnreachable("away")],
    ids=["503", "a web page", "unreachable"],
)
def test_earlier_metadata_is_used_while_the_issuer_is_unavailable_and_a_warning_says_so(
    kept: Kept, trouble: requests.Response | Exception, caplog: pytest.LogCaptureFixture
) -> None:
    first = kept.metadata()
    kept.clock.advance(MAX_AGE)
    kept.web.answers[OAUTH] = trouble
    assert kept.metadata() is first
    assert re.search(r"the previous metadata is used\. .*(503|is not JSON|away)", caplog.text)
    asked = len(kept.web.asked)
    kept.clock.advance(PAUSE - 1)
    assert kept.metadata() is first
    assert len(kept.web.asked) == asked
    kept.clock.advance(1)
    kept.web.answers[OAUTH] = answer(GOOD)
    assert kept.metadata() is not first


def test_an_outage_is_raised_each_time_if_there_is_no_earlier_metadata(kept: Kept) -> None:
    kept.web.answers[OAUTH] = TokenEndpointUnreachable("away")
    for _ in range(2):
        with pytest.raises(TokenEndpointUnreachable):
            kept.metadata()
    assert len(kept.web.asked) == 2


def test_a_configuration_error_is_raised_even_if_there_is_earlier_metadata(kept: Kept) -> None:
    kept.metadata()
    kept.discovery.forget()
    kept.web.answers[OAUTH] = ConfigurationError("no such CA bundle")
    with pytest.raises(ConfigurationError):
        kept.metadata()


def test_forgotten_metadata_is_fetched_again_and_still_used_if_that_fails(kept: Kept) -> None:
    first = kept.metadata()
    kept.discovery.forget()
    kept.web.answers[OAUTH] = answer(b"", 500)
    assert kept.metadata() is first
    assert len(kept.web.asked) == 4


def test_a_pickle_contains_only_the_issuer_and_the_repr_shows_it(kept: Kept) -> None:
    kept.metadata()
    kept.discovery = pickle.loads(pickle.dumps(kept.discovery))
    assert kept.discovery.issuer == ISSUER
    kept.metadata()
    assert len(kept.web.asked) == 2
    assert repr(kept.discovery) == "Discovery('https://as.example/tenant')"


# With a real server


def test_a_real_issuer_is_discovered_by_bounded_requests(oidc: OIDCServer) -> None:
    with TransportSession("any", Owner()) as session:
        session.trust_env = False
        asked: list[str] = []

        def get(url: str) -> requests.Response:
            asked.append(url)
            return session.send_bounded("GET", url, headers={}, deadline=time.monotonic() + 30)

        metadata = discover(oidc.issuer, get=get)
        assert metadata.token_endpoint == oidc.token_url
        assert "private_key_jwt" in (metadata.token_endpoint_auth_methods or ())
        assert method_warning(metadata, "private_key_jwt") is None
        assert grant_type_warning(metadata, "client_credentials") is None
        assert 1 <= len(asked) <= 2
        with pytest.raises(DiscoveryError, match="another issuer"):
            discover(f"{oidc.issuer}/", get=get)
        with pytest.raises(DiscoveryError, match="publishes no metadata"):
            discover(f"{oidc.issuer}/nobody", get=get)
