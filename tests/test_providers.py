"""Tests that run each block of the page on providers against an imitation of the provider."""

from __future__ import annotations

import contextlib
import logging
import re
from pathlib import Path
from typing import Any

import pytest
import requests
from requests_oauthlib.compliance_fixes import ebay_compliance_fix

from oauthcc import ClientCredentialsSession, OAuthCCError, fetch_token

from .providers import IMITATIONS
from .providers.imitation import Imitation, Keys
from .scripts import ROOT

PAGE = (ROOT / "docs" / "providers.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^<!-- provider: (\S+) -->\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS: dict[str, str] = dict(BLOCK.findall(PAGE))
#: The block that gives the names of the others, as a reader replaces them.
(NAMES,) = re.findall(r"^<!-- names -->\n```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
#: Headings without a block: each says in its text why.
WITHOUT_BLOCK = {"Google": "another grant"}
HEADINGS = [
    (heading, text)
    for heading, text in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    if heading != "A provider that is not here"
]

#: A block, what is changed in it, and what the provider answers to that: a part of the error of the
#: token request, or the status of the API.
REFUSED: list[tuple[str, str, str, str | int]] = [
    ("auth0", 'audience="https://orders.example"', 'audience="https://x"', "Service not found"),
    ("auth0", 'audience="https://orders.example",', "", "No audience parameter"),
    ("auth0", "client_secret,", '"wrong",', "401 with access_denied (Unauthorized)"),
    ("okta", 'key_id="my-key-id"', 'key_id="old"', "must use the private_key_jwt"),
    ("okta", 'key_id="my-key-id"', 'key_id="my-key-id", lifetime=7200', "invalid_client"),
    ("okta", "scheme=DPoP()", "scheme=None", "The DPoP proof JWT header is missing"),
    ("okta", '"okta.users.read"', '"users"', "invalid_scope"),
    ("entra-secret", "/.default", "/orders", "AADSTS1002012"),
    ("entra-secret", "client_secret,", '"the id of the secret",', "AADSTS7000215"),
    ("entra-certificate", 'algorithm="PS256", ', "", "AADSTS700027"),
    ("entra-certificate", ", certificate=certificate", "", "AADSTS700027"),
    ("entra-federated", "ClientAssertion(token_file)", '"none"', "AADSTS7000218"),
    ("entra-v1", "2ff814a6-3304-4ab8-85cb-cd0e6f879c1d", "https://x", "AADSTS500011"),
    ("entra-v1", "client_secret,", '"the id of the secret",', "AADSTS7000215"),
    ("keycloak", "client_secret)", '"wrong")', "Invalid client or Invalid client credentials"),
    ("keycloak-http", "client_secret,", '"wrong",', "unauthorized_client"),
    ("cognito", "client_secret,", '"wrong",', "400 with invalid_client"),
    ("cognito", "orders/read", "read", "invalid_grant"),
    ("salesforce", "example.my.salesforce", "login.salesforce", "not supported on this domain"),
    ("salesforce", "client_secret)", '"wrong")', "400 with invalid_client"),
    ("servicenow", "client_auth=ClientSecretPost()", "", "401 with server_error (access_denied)"),
    ("xsuaa", "client_auth=ClientSecretPost()", "", "unauthorized (Bad credentials)"),
    ("ariba", "token_params=two_legged", "", "unsupported_grant_type"),
    ("ariba", 'api.headers["apiKey"] = application_key', "", 401),
    ("netsuite", 'algorithm="PS256", ', "", "invalid_request"),
    ("netsuite", ", claims=scope", "", "invalid_request"),
    ("netsuite", "my-certificate-id", "old", "invalid_request"),
    ("marketo", "client_auth=ClientSecretPost()", "", "unauthorized (Bad client credentials)"),
    ("marketo", 'api.mount(f"{host}/rest/", MarketoAdapter())', "", 200),
    ("zoho", "READ,ZohoCRM", "READ ZohoCRM", "200 with invalid_scope"),
    ("zoho", 'token_params={"soid": "ZohoCRM.60012345"},', "", "200 with missing_org_info"),
    ("zoho", "    client_auth=ClientSecretPost(),", "", "200 with invalid_client"),
    ("zoho", 'scheme=Bearer("Zoho-oauthtoken"),', "", 401),
    ("zoom", '"grant_type": "account_credentials", ', "", "unsupported_grant_type"),
    ("zoom", "account_id}", '"another"}', "400 with invalid_request"),
    ("vanta", '    token_body="json",', "", "invalid_request"),
    ("vanta", "    client_auth=ClientSecretPost(),", "", "invalid_client"),
    ("pax8", '    token_body="json",', "", "invalid_request"),
    ("pax8", '    audience="https://api.pax8.com",', "", "invalid_request"),
    ("ebay", "ebay_compliance_fix(api.tokens.endpoint)", "", "as at eBay"),
    ("ebay", "client_secret, scope)", "client_secret)", "invalid_scope"),
    ("paypal", "client_secret)", '"wrong")', "Client Authentication failed"),
    ("shopify", "    client_auth=ClientSecretPost(),", "", "invalid_client"),
    ("shopify", '    scheme=Bearer("", header="X-Shopify-Access-Token"),', "", 401),
    ("amazon-seller", '"grant_type": "refresh_token", ', "", "unsupported_grant_type"),
    ("amazon-seller", ": refresh_token}", ': "another"}', "invalid_grant"),
    ("amazon-seller", "    refused_status=(401, 403),", "", 403),
    ("amazon-seller", 'header="x-amz-access-token"', 'header="x-access-token"', 403),
    ("amazon-grantless", '    scope="sellingpartnerapi::notifications",', "", "invalid_scope"),
    ("walmart", '"WM_QOS.CORRELATION_ID": "token-of-orders"', "", "WM_QOS.CORRELATION_ID"),
    ("walmart", "client_secret, scheme", '"wrong", scheme', "UNAUTHORIZED.GMP_GATEWAY_API"),
    ("walmart", ", scheme=scheme", "", 401),
    ("walmart", "api.headers.update(extra)", "", 400),
    ("fedex", "client_auth=ClientSecretPost()", "", "NOT.AUTHORIZED.ERROR"),
    ("ups", "client_secret)", '"wrong")', "ClientId is Invalid"),
    ("ups", "client_secret)", 'client_secret, client_auth="client_secret_post")', "10400"),
    ("ups", '"transId": "4711", ', "", 400),
    ("daraja", "api.tokens.endpoint.mount(host, DarajaAdapter())", "", "405"),
    ("daraja", "client_secret,", '"wrong",', "answered 400"),
    ("daraja", ', {"grant_type": "client_credentials"}', ", None", "Invalid grant type passed"),
    ("daraja", ", refused_status=(401, 404)", "", 404),
    ("epic", 'algorithm="RS384", ', "", "400 with invalid_client"),
    ("epic", '"RS384", key_id', '"RS384", audience="https://fhir.epic.com", key_id', "400 with"),
    ("epic", '"RS384", key_id', '"RS384", lifetime=600, key_id', "400 with invalid_client"),
    ("epic", '"RS384", key_id', '"RS384", claims={"jti": None}, key_id', "400 with invalid_client"),
    ("smart", '    scope="system/Patient.rs",', "", "invalid_scope"),
    ("smart", ', key_id="my-key-id"', "", "invalid_client"),
    ("nhs", 'algorithm="RS512", ', "", "Missing or invalid claim"),
    ("nhs", ', key_id="my-key-id"', "", "no matching public key"),
    ("nhs", '"RS512"', '"RS512", audience="https://int.api.service.nhs.uk"', "or invalid claim"),
    ("nhs", ', headers={"X-Request-ID": str(uuid.uuid4())}', "", 412),
    ("spotify", "client_secret)", '"wrong")', "400 with invalid_client"),
    ("reddit", ' = api.tokens.endpoint.headers["User-Agent"]', "", "Too Many Requests"),
    ("reddit", 'api.headers["User-Agent"] = ', "", 429),
    ("reddit", "client_secret)", '"wrong")', "Unauthorized"),
    ("databricks", ', "all-apis"', "", "invalid_scope"),
    ("databricks", "}/oidc", "}", "publishes no metadata"),
    ("crowdstrike", ", client_auth=ClientSecretPost()", "", "Client authentication failed"),
    ("gitlab", 'ClientAssertion(os.environ["ENTRA_ID_TOKEN"])', '"none"', "AADSTS7000218"),
    ("copernicus", "client_secret)", '"wrong")', "invalid_client"),
    ("ibm", '"grant_type": "urn:ibm:params:oauth:grant-type:apikey", ', "", "unsupported_grant"),
    ("ibm", "api_key}", '"another"}', "BXNIM0415E"),
    ("mcp", "https://as.example", "https://as2.example", "no authorization server that is trusted"),
    ("mcp", "=trusted)", '=trusted, resource="https://mcp.example")', "invalid_target"),
    ("mcp", ", text/event-stream", "", 406),
]


@pytest.fixture(scope="module")
def keys() -> Keys:
    """Make the private key and the certificate of a client."""
    from .providers.keys import make_keys  # cryptography is slow to import

    return make_keys()


class Run:
    """What runs a block against its imitation, with the file and the variables that it needs."""

    def __init__(self, keys: Keys, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self._keys, self._folder, self._patch = keys, folder, patch
        self.imitation: Imitation | None = None

    def __call__(self, name: str, code: str, *, redirect: bool = False) -> Imitation:
        self.imitation = imitation = IMITATIONS[name](self._keys)
        names: dict[str, Any] = {"__name__": "__main__"}
        exec(NAMES, names)
        values = imitation.names()
        if "file_contents" in values:
            values["token_file"] = self._folder / "token"
            values["token_file"].write_text(values.pop("file_contents"), encoding="utf-8")
        assert values.keys() <= names.keys(), "the first block of the page lacks a name"
        names |= values
        for variable, value in imitation.environment().items():
            self._patch.setenv(variable, value)
        with imitation.running():
            try:
                exec(compile(code, f"docs/providers.md ({name})", "exec"), names)
                if redirect:
                    assert names["api"].get(imitation.moved_url).text == "nothing here"
            finally:
                for each in names.values():
                    if isinstance(each, ClientCredentialsSession):
                        each.close()
        return imitation


@pytest.fixture
def run(keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return Run(keys, tmp_path, monkeypatch)


@pytest.mark.parametrize("name", BLOCKS)
def test_the_block_of_a_provider_gets_its_answer_with_the_second_token(name: str, run: Run) -> None:
    imitation = run(name, BLOCKS[name])
    first, second = imitation.calls
    assert [first.token, second.token] == imitation.issued
    assert (first.accepted, second.accepted) == (False, True)
    assert first.request.body == second.request.body


@pytest.mark.parametrize("name", BLOCKS)
def test_no_secret_of_a_block_is_in_the_log_or_on_a_redirect_to_another_host(
    name: str, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    imitation = run(name, BLOCKS[name], redirect=True)
    assert caplog.records
    (elsewhere,) = imitation.seen_elsewhere
    for text in (caplog.text, f"{elsewhere.headers} {elsewhere.url} {elsewhere.body!r}"):
        assert not [secret for secret in imitation.hidden() if secret in text]


@pytest.mark.parametrize("name", IMITATIONS)
def test_an_imitation_refuses_what_no_provider_accepts(name: str, keys: Keys) -> None:
    imitation = IMITATIONS[name](keys)
    wrong = [
        ("PUT", {}),
        ("GET" if imitation.token_method == "POST" else "POST", {}),
        (imitation.token_method, {"data": {"grant_type": imitation.grant_type}}),
        (imitation.token_method, {"auth": (imitation.client_id, "wrong")}),
        (imitation.token_method, {"data": "text", "headers": {"Content-Type": "text/plain"}}),
        (imitation.token_method, {"json": {"client_id": imitation.client_id}}),
    ]
    with imitation.running():
        for method, options in wrong:
            response = requests.request(method, imitation.token_url, **options)
            assert response.status_code >= 400 or "error" in response.json()
        for header in ({}, {imitation.header: f"{imitation.prefix}wrong"}):
            response = requests.request(imitation.api_method, imitation.api_url, headers=header)
            assert response.status_code >= 400 or response.json()["errors"]
        with pytest.raises(requests.ConnectionError, match="refused by Responses"):
            requests.get("https://unknown.example/", timeout=1)
    assert not imitation.issued
    assert not [call for call in imitation.calls if call.accepted]


@pytest.mark.parametrize(
    ("name", "old", "new", "expected"),
    [pytest.param(*row, id=f"{row[0]}-{number}") for number, row in enumerate(REFUSED)],
)
def test_a_request_that_the_provider_refuses_is_refused(
    name: str, old: str, new: str, expected: str | int, run: Run
) -> None:
    assert BLOCKS[name].count(old) == 1
    code = BLOCKS[name].replace(old, new)
    if isinstance(expected, str):
        with pytest.raises(OAuthCCError) as refused:
            run(name, code)
        assert expected in str(refused.value)
        assert run.imitation is not None
        assert not run.imitation.calls
    else:
        with contextlib.suppress(requests.HTTPError):  # a 200 may be a refusal too
            run(name, code)
        assert run.imitation is not None
        last = run.imitation.calls[-1]
        assert (last.status, last.accepted) == (expected, False)


def test_a_script_without_a_session_can_do_what_a_block_does(keys: Keys) -> None:
    ebay, reddit = IMITATIONS["ebay"](keys), IMITATIONS["reddit"](keys)
    client = ebay.client_id, ebay.client_secret
    with ebay.running():
        scope = ebay.params["scope"]
        token = fetch_token(ebay.token_url, *client, scope, hooks=ebay_compliance_fix)
    assert [token.access_token] == ebay.issued
    with reddit.running():
        agent = {"User-Agent": "linux:example.orders:v1.0 (by /u/example)"}
        token = fetch_token(reddit.token_url, *client, headers=agent)
    assert [token.access_token] == reddit.issued


def test_each_imitation_has_a_block_and_is_seen_to_refuse_something() -> None:
    assert sorted(name for name, _ in BLOCK.findall(PAGE)) == sorted(IMITATIONS)
    assert {name for name, *_ in REFUSED} == set(IMITATIONS)


@pytest.mark.parametrize(("heading", "text"), HEADINGS)
def test_each_heading_has_a_block_or_says_why_not(heading: str, text: str) -> None:
    reason = WITHOUT_BLOCK.get(heading)
    assert BLOCK.search(text) if reason is None else reason in text
    assert "\n- " in text, "each provider has its quirks"


@pytest.mark.parametrize(("heading", "text"), HEADINGS)
def test_each_heading_has_a_row_in_the_table_that_writes_what_its_block_writes(
    heading: str, text: str
) -> None:
    rows = re.findall(rf"^\| \[{re.escape(heading)}\]\(#[\w-]+\) \| (.+) \|$", PAGE, re.MULTILINE)
    assert len(rows) == 1
    options = re.findall(r"(\w+)=|(\w+)\(", " ".join(re.findall(r"`(.+?)`", rows[0])))
    code = "".join(block for _, block in BLOCK.findall(text))
    assert not [name for pair in options for name in pair if name not in code]
