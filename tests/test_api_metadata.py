"""Tests of the metadata of an API: where it is, when it counts, and which issuer it names."""

from __future__ import annotations

import copy
import pickle
from typing import Any

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
from oauthcc.token_request.api_metadata import APIDiscovery, find_issuer, well_known
from oauthcc.token_request.discovery import MAX_AGE, PAUSE
from oauthcc.token_request.issuer import IssuerOfAPI

from .clock import Clock
from .pages import Pages, answer

API = "https://api.example/mcp"
PLACE = "https://api.example/.well-known/oauth-protected-resource/mcp"
ROOT, ELSEWHERE = PLACE.removesuffix("/mcp"), "https://meta.example/of/mcp"
POINTER = f'Bearer resource_metadata="{ELSEWHERE}"'
ISSUER, OTHER = "https://as.example", "https://other.example/tenant"
GOOD = {"resource": API, "authorization_servers": [ISSUER]}


def challenge(value: str, status: int = 401) -> requests.Response:
    """Return a refusal whose body was not read."""
    response = answer(status=status, headers={"WWW-Authenticate": value})
    response._content = False  # type: ignore[assignment]
    return response


def found(document: object, *, api: str = API, trusted: tuple[str, ...] = (ISSUER, OTHER)) -> str:
    return find_issuer(api, trusted, get=Pages({well_known(api): answer(document)}))


def fault(document: object, **options: Any) -> str:
    with pytest.raises(DiscoveryError) as caught:
        found(document, **options)
    message = str(caught.value)
    assert message.startswith("The API https://api.example")
    assert "To correct it: " in message
    assert "from_issuer()" in message
    assert message.isprintable()
    return message


# Where the metadata is


@pytest.mark.parametrize(
    ("api", "place"),
    [
        ("https://api.example", "https://api.example/.well-known/oauth-protected-resource"),
        ("https://api.example/", "https://api.example/.well-known/oauth-protected-resource"),
        (API, PLACE),
        (f"{API}/", f"{PLACE}/"),
        (f"{API}/v1", f"{PLACE}/v1"),
        (f"{API}?tenant=7", f"{PLACE}?tenant=7"),
        (
            "https://api.example?tenant=7",
            "https://api.example/.well-known/oauth-protected-resource?tenant=7",
        ),
        (
            "https://api.example/?tenant=7",
            "https://api.example/.well-known/oauth-protected-resource?tenant=7",
        ),
        (
            "http://[::1]:8080/a/b",
            "http://[::1]:8080/.well-known/oauth-protected-resource/a/b",
        ),
        (
            "https://api.example/group%2Fproject",
            "https://api.example/.well-known/oauth-protected-resource/group%2Fproject",
        ),
    ],
)
def test_the_well_known_part_goes_between_the_host_and_the_path_or_query(
    api: str, place: str
) -> None:
    assert well_known(api) == place
    web = Pages({place: answer({**GOOD, "resource": api})})
    assert find_issuer(api, (ISSUER,), get=web) == ISSUER
    assert web.asked == [place]


NOTHING_THERE = [
    *[answer({"error": "no"}, status) for status in (400, 401, 403, 404, 405, 406, 410, 204)],
    answer(b"", 302, {"Location": ELSEWHERE}),
    answer(b"<!doctype html><title>Log in</title>"),
    answer(b""),
    answer([GOOD]),
    answer({}, 500),
    answer({}, 503),
    InvalidTokenResponse("more than 1 MiB"),
]


@pytest.mark.parametrize("page", NOTHING_THERE, ids=lambda page: getattr(page, "status_code", ""))
@pytest.mark.parametrize(
    "value",
    [
        f'Bearer resource_metadata="{ELSEWHERE}"',
        f'Basic realm="x", Bearer error="invalid_token", resource_metadata="{ELSEWHERE}", a="b"',
        f"DPoP algs=ES256, Resource_Metadata = {ELSEWHERE}",
    ],
)
def test_the_challenge_of_a_401_says_where_the_metadata_is(
    page: requests.Response | Exception, value: str
) -> None:
    web = Pages({PLACE: page, API: challenge(value), ELSEWHERE: answer(GOOD)})
    assert find_issuer(API, (ISSUER,), get=web) == ISSUER
    assert web.asked == [PLACE, API, ELSEWHERE]


def test_the_challenge_counts_whatever_its_status_is() -> None:
    value = f'Bearer resource_metadata="{ELSEWHERE}"'
    for status in (200, 400, 403, 405, 503):
        web = Pages({API: challenge(value, status), ELSEWHERE: answer(GOOD)})
        assert find_issuer(API, (ISSUER,), get=web) == ISSUER


def test_the_first_metadata_counts_and_the_api_is_not_asked_for_another() -> None:
    web = Pages({PLACE: answer({**GOOD, "resource": OTHER}), API: challenge("Bearer")})
    with pytest.raises(DiscoveryError):
        find_issuer(API, (ISSUER,), get=web)
    assert web.asked == [PLACE]


@pytest.mark.parametrize(
    "refusal",
    [answer({}, 401), challenge("Bearer"), challenge('Bearer error="invalid_token"'), answer()],
)
def test_an_api_without_metadata_is_an_error_that_says_what_it_answers(
    refusal: requests.Response,
) -> None:
    web = Pages({PLACE: answer(b"<html>"), API: refusal})
    with pytest.raises(DiscoveryError) as caught:
        find_issuer(API, (ISSUER,), get=web)
    message = str(caught.value)
    assert f"The API {API} publishes no metadata: {PLACE} is not JSON; {ROOT} answers" in message
    assert "exactly as the API publishes it (also a slash at its end)" in message
    assert message.endswith("or use from_issuer() with resource= and api_url=.")


def test_each_place_is_in_the_error_if_none_has_metadata() -> None:
    value = f'Bearer resource_metadata="{ELSEWHERE}?a=b"'
    with pytest.raises(DiscoveryError) as caught:
        find_issuer(API, (ISSUER,), get=Pages({API: challenge(value)}))
    found = "; ".join(f"{place} answers with status 404" for place in (PLACE, ELSEWHERE, ROOT))
    assert f"publishes no metadata: {found}." in str(caught.value)


@pytest.mark.parametrize("refusal", [challenge("Bearer"), challenge(POINTER)])
def test_the_metadata_of_an_api_may_be_at_the_root_of_its_host(refusal: requests.Response) -> None:
    web = Pages({API: refusal, ROOT: answer(GOOD)})
    assert find_issuer(API, (ISSUER,), get=web) == ISSUER
    assert web.asked[-1] == ROOT


def test_metadata_at_the_root_must_be_that_of_the_api_too() -> None:
    web = Pages({ROOT: answer({**GOOD, "resource": "https://api.example"})})
    with pytest.raises(DiscoveryError, match=r"metadata of another API, 'https://api\.example'"):
        find_issuer(API, (ISSUER,), get=web)


def test_no_place_is_asked_twice() -> None:
    web = Pages({})
    with pytest.raises(DiscoveryError):
        find_issuer("https://api.example", (ISSUER,), get=web)
    assert web.asked == [ROOT, "https://api.example"]


def test_metadata_may_be_the_answer_of_the_api_itself_but_its_body_is_not_read() -> None:
    value = f'Bearer resource_metadata="{API}"'
    with pytest.raises(DiscoveryError, match=f"{API} answers with status 401"):
        find_issuer(API, (ISSUER,), get=Pages({API: challenge(value)}))


@pytest.mark.parametrize(
    "place",
    [
        "http://meta.example/mcp",
        "http://127.0.0.1/latest",
        "http://localhost:8500/v1/kv",
        "HTTP://localhost/",
        "https://localhost:8443/v1/kv",
        "https://127.0.0.2/",
        "https://[::1]/",
        "https://localhost./",
        "https://x.localhost/",
        "https://0.0.0.0/",
        "https://127.1/",
        "https://0x7f.1/",
        "https://2130706433/",
        "https://[::]/",
        "https://[::ffff:127.0.0.1]/",
        "https://*.meta.example/",
        "https://.meta.example/",
        "https://user:password@meta.example/",
        "/relative",
        "//meta.example/mcp",
        "",
        "ftp://meta.example/x",
        "file:///etc/passwd",
        "javascript:1",
        "https://meta.example\\@evil.example/",
        "https://meta.example:99999/",
    ],
)
def test_no_request_is_sent_to_a_place_that_is_not_https_or_on_this_machine(place: str) -> None:
    web = Pages({API: challenge(f'Bearer resource_metadata="{place}"')})
    with pytest.raises(DiscoveryError, match="names a place of its metadata that cannot be used"):
        find_issuer(API, (ISSUER,), get=web)
    assert web.asked == [PLACE, API]


@pytest.mark.parametrize(
    "place", ["http://127.0.0.1:9/elsewhere", "http://localhost/x", "https://meta.example/x"]
)
def test_an_api_on_this_machine_may_name_a_place_on_this_machine_or_a_secure_one(
    place: str,
) -> None:
    api = "http://127.0.0.1:5000/mcp"
    web = Pages(
        {
            api: challenge(f'Bearer resource_metadata="{place}"'),
            place: answer({**GOOD, "resource": api}),
        }
    )
    assert find_issuer(api, (ISSUER,), get=web) == ISSUER


@pytest.mark.parametrize("place", ["http://meta.example/x", "http://169.254.169.254/latest"])
def test_no_request_goes_over_plain_http_to_another_machine(place: str) -> None:
    api = "http://127.0.0.1:5000/mcp"
    web = Pages({api: challenge(f'Bearer resource_metadata="{place}"')})
    with pytest.raises(DiscoveryError, match="that cannot be used"):
        find_issuer(api, (ISSUER,), get=web)
    assert web.asked == [well_known(api), api]


# Outages


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_an_api_that_is_down_is_not_an_error_of_its_metadata(status: int) -> None:
    down = answer(b"", status, {"Retry-After": "7"})
    for pages in ({PLACE: down, API: down}, {PLACE: down, API: answer(b"", 405)}, {API: down}):
        with pytest.raises(TokenEndpointUnavailable, match=f"The API answered {status}") as caught:
            find_issuer(API, (ISSUER,), get=Pages(pages))
        assert (caught.value.status_code, caught.value.retry_after) == (status, 7.0)


@pytest.mark.parametrize("where", [PLACE, API, ELSEWHERE])
@pytest.mark.parametrize(
    "trouble", [answer(b"", 429), TokenEndpointUnreachable("no route")], ids=["429", "unreachable"]
)
def test_an_api_that_answers_429_or_nothing_is_asked_nothing_more(
    where: str, trouble: requests.Response | Exception
) -> None:
    places = [PLACE, API, ELSEWHERE]
    web = Pages({API: challenge(f'Bearer resource_metadata="{ELSEWHERE}"'), where: trouble})
    with pytest.raises(TokenEndpointUnavailable, match=r"The API answered 429|no route"):
        find_issuer(API, (ISSUER,), get=web)
    assert web.asked == places[: places.index(where) + 1]


# What the metadata must contain


@pytest.mark.parametrize(
    "named",
    [
        f"{API}/",
        API.upper(),
        "https://api.example",
        "https://api.example:443/mcp",
        "https://evil.example/mcp",
        f"{API}?",
        f"{API}#",
        f" {API}",
        "",
    ],
)
def test_metadata_of_another_api_is_refused_and_the_error_names_both(named: str) -> None:
    message = fault({**GOOD, "resource": named})
    assert f"The API {API} publishes metadata of another API, {named!r}" in message
    assert "pass that URL exactly" in message


def test_metadata_that_names_no_api_is_refused() -> None:
    for named in (None, 1, True, [API], {"a": API}):
        assert "publishes metadata that names no resource" in fault({**GOOD, "resource": named})
    assert "names no resource" in fault({"authorization_servers": [ISSUER]})
    assert "names no resource" in fault({"resource": None}, api=f"{API}?key=of-mine")


def test_the_name_of_another_api_is_shown_shortened_and_printable() -> None:
    assert len(fault({**GOOD, "resource": "\x1b[2J\n\u202e" + "x" * 5000})) < 700
    assert len(fault({"resource": f"{API}/{'x' * 5000}"}, api=f"{API}?key=hunter2")) < 700


def test_a_place_of_the_metadata_is_shown_shortened() -> None:
    place = f"http://meta.example/{'x' * 5000}"
    with pytest.raises(DiscoveryError) as caught:
        find_issuer(
            API, (ISSUER,), get=Pages({API: challenge(f'Bearer resource_metadata="{place}"')})
        )
    assert len(str(caught.value)) < 700


def test_no_error_shows_the_query_of_the_url_which_may_contain_a_key() -> None:
    api = f"{API}?key=hunter2"
    assert found({**GOOD, "resource": api}, api=api) == ISSUER
    for named in (f"{API}?x=1&key=hunter2", "https://other.example/?key=hunter2"):
        assert "hunter2" not in fault({**GOOD, "resource": named}, api=api)
    assert "hunter2" not in fault({"resource": api}, api=api)
    with pytest.raises(DiscoveryError) as caught:
        find_issuer(api, (ISSUER,), get=Pages({}))
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(IssuerOfAPI.of(api, ISSUER))
    assert "hunter2" not in repr(APIDiscovery(IssuerOfAPI.of(api, ISSUER)))


def test_the_first_authorization_server_that_is_trusted_is_taken() -> None:
    def first(*servers: object, trusted: tuple[str, ...] = (ISSUER, OTHER)) -> str:
        return found({**GOOD, "authorization_servers": servers}, trusted=trusted)

    assert first(ISSUER, OTHER) == ISSUER
    assert first(OTHER, ISSUER) == OTHER
    assert first(OTHER, ISSUER, trusted=(ISSUER,)) == ISSUER
    assert first("https://evil.example", OTHER) == OTHER
    assert first(None, 7, [ISSUER], {"issuer": ISSUER}, OTHER) == OTHER


@pytest.mark.parametrize(
    "server",
    [
        f"{ISSUER}/",
        ISSUER.upper(),
        f"{ISSUER}:443",
        f"{ISSUER}.evil.example",
        f"{ISSUER}@evil.example",
        f"{ISSUER}?",
        f" {ISSUER}",
        "http://as.example",
        "https://evil.example",
    ],
)
def test_no_other_server_is_taken_and_the_error_names_those_that_the_api_names(server: str) -> None:
    message = fault({**GOOD, "authorization_servers": [server, "https://second.example"]})
    assert "names no authorization server that is trusted (it names: " in message
    assert f"{server!r}, 'https://second.example')" in message
    assert (
        "add one of these to trusted_issuers, written in the same way, if you trust it" in message
    )


@pytest.mark.parametrize("servers", [None, [], "", ISSUER, {"a": ISSUER}, 7, [None, 7, [ISSUER]]])
def test_an_api_that_names_no_authorization_server_is_an_error(servers: object) -> None:
    message = fault({**GOOD, "authorization_servers": servers})
    assert "names no authorization server. To correct it: use from_issuer() with" in message
    assert fault({"resource": API}) == message


def test_few_and_short_names_of_servers_are_shown() -> None:
    servers = [f"https://as{number}.example/\x1b\n" + "x" * 500 for number in range(1000)]
    message = fault({**GOOD, "authorization_servers": servers})
    assert "as9.example" in message
    assert "as10.example" not in message
    assert len(message) < 3000


_TEXTS = st.text(max_size=8) | st.sampled_from([API, ISSUER, f"Bearer resource_metadata={ISSUER}"])


@given(
    st.dictionaries(
        st.sampled_from(["resource", "authorization_servers"]),
        _TEXTS | st.lists(_TEXTS | st.none() | st.integers()) | st.none(),
    ),
    st.text(max_size=20)
    | _TEXTS
    | st.text('htps:/."= a[]@\\').map("Bearer resource_metadata={}".format),
    st.integers(100, 599),
)
def test_any_metadata_is_that_of_a_trusted_issuer_or_an_error_of_ours(
    document: dict[str, Any], value: str, status: int
) -> None:
    page = answer(document, status if status % 3 else 200)
    web = Pages({PLACE: page, API: challenge(value)})
    try:
        issuer = find_issuer(API, (ISSUER,), get=web)
    except (DiscoveryError, TokenEndpointUnavailable) as error:
        assert str(error).isprintable()
    else:
        assert issuer == ISSUER
    assert all(url.lower().startswith("https://") for url in web.asked)


# What the caller may pass


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("http://api.example/mcp", "write https://"),
        ("api.example/mcp", "begin it with https://"),
        ("https://me:pw@api.example/mcp", "leave out everything up to the @"),
        ("https://api.example/mcp#a", "leave out the #"),
        ("", "as in"),
        (None, "as in"),
        (7, "as in"),
    ],
)
def test_an_invalid_url_is_a_configuration_error_with_advice(url: Any, advice: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        IssuerOfAPI.of(url, ISSUER)
    assert str(caught.value).startswith("url ")
    assert advice in str(caught.value)
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize("trusted", [None, (), [], {}, 7, iter(())])
def test_trusted_issuers_are_required(trusted: Any) -> None:
    with pytest.raises(ConfigurationError, match="trusted_issuers must contain the issuer of each"):
        IssuerOfAPI.of(API, trusted)


@pytest.mark.parametrize(
    "trusted", ["", "as.example", "http://as.example", [ISSUER, None], [ISSUER, f"{ISSUER}?a=b"],
                f"{ISSUER}/.well-known/openid-configuration", b"https://as.example"],
)  # fmt: skip
def test_each_trusted_issuer_must_be_one(trusted: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"\Atrusted_issuers "):
        IssuerOfAPI.of(API, trusted)


@pytest.mark.parametrize(
    "trusted", [ISSUER, [ISSUER], (ISSUER,), {ISSUER}, {ISSUER: 1}, iter([ISSUER])]
)
def test_trusted_issuers_may_be_one_or_several(trusted: Any) -> None:
    made = IssuerOfAPI.of(API, trusted)
    assert (made, made.trusted) == (API, (ISSUER,))


# How long it is kept


class Kept:
    """What an API names, as an `APIDiscovery` keeps it, and the clock that it is used by."""

    def __init__(self) -> None:
        self.clock = Clock().install()
        self.api, self.issuers = Pages({PLACE: answer(GOOD)}), Pages({})
        for issuer in (ISSUER, "https://new.example"):
            document = {"issuer": issuer, "token_endpoint": f"{issuer}/token"}
            place = f"{issuer}/.well-known/oauth-authorization-server"
            self.issuers.answers[place] = answer(document)
        self.discovery = APIDiscovery(IssuerOfAPI.of(API, [ISSUER, "https://new.example"]))

    def token_url(self) -> str:
        return self.discovery.metadata(self.issuers, clock.now(), self.api).token_endpoint


@pytest.fixture
def kept() -> Kept:
    return Kept()


def test_api_and_issuer_are_asked_once_an_hour_and_the_api_may_change_its_issuer(
    kept: Kept,
) -> None:
    for _ in range(3):
        assert kept.token_url() == f"{ISSUER}/token"
    kept.api.answers[PLACE] = answer({**GOOD, "authorization_servers": ["https://new.example"]})
    kept.clock.advance(MAX_AGE - 1)
    assert kept.token_url() == f"{ISSUER}/token"
    assert (len(kept.api.asked), len(kept.issuers.asked)) == (1, 1)
    kept.clock.advance(1)
    assert kept.token_url() == "https://new.example/token"
    assert (len(kept.api.asked), len(kept.issuers.asked)) == (2, 2)


@pytest.mark.parametrize(
    "trouble",
    [
        answer({**GOOD, "authorization_servers": ["https://evil.example"]}),
        answer({**GOOD, "resource": "https://evil.example"}),
        answer(b"", 503),
        TokenEndpointUnreachable("away"),
    ],
    ids=["another issuer", "another API", "503", "unreachable"],
)
def test_the_previous_issuer_is_used_while_the_api_names_no_usable_one(
    kept: Kept, trouble: requests.Response | Exception, caplog: pytest.LogCaptureFixture
) -> None:
    kept.token_url()
    kept.discovery.forget()
    kept.api.answers[PLACE] = trouble
    assert kept.token_url() == f"{ISSUER}/token"
    assert "metadata could not be renewed; the previous metadata is used." in caplog.text
    asked = len(kept.api.asked)
    kept.clock.advance(PAUSE - 1)
    assert kept.token_url() == f"{ISSUER}/token"
    assert len(kept.api.asked) == asked


def test_a_copy_asks_the_same_api_and_trusts_the_same_issuers(kept: Kept) -> None:
    kept.token_url()
    original = kept.discovery
    for made in (
        pickle.loads(pickle.dumps(original)),
        copy.copy(original),
        copy.deepcopy(original),
    ):
        kept.discovery = made
        asked = len(kept.api.asked)
        assert kept.token_url() == f"{ISSUER}/token"
        assert len(kept.api.asked) == asked + 1
        assert repr(made) == "APIDiscovery('https://api.example/mcp')"
