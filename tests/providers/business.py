"""Business software: Salesforce, ServiceNow, SAP, NetSuite, Marketo, Zoho, Zoom, Vanta, Pax8."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

from .imitation import JSON, Answer, Asked, Imitation, Refused, SignedByKey, oauth


class Salesforce(Imitation):
    name = "salesforce"
    instance_url = "https://example.my.salesforce.com"
    token_url = f"{instance_url}/services/oauth2/token"
    api_url = f"{instance_url}/services/data/v62.0/limits"
    secret_in = "either"
    # There is no `expires_in`: how long a token is valid is a setting of the organization.
    token_members: ClassVar = {
        "token_type": "Bearer",
        "instance_url": instance_url,
        "issued_at": "1735689600000",
    }
    wrong_client = (400, oauth("invalid_client", "invalid client credentials"))
    wrong_token = (
        401,
        [{"message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID"}],
    )

    def pages(self) -> Iterator[tuple[str, str, Callable[[Asked], Answer]]]:
        yield from super().pages()
        yield "POST", "https://login.salesforce.com/services/oauth2/token", self._refuse_domain

    def _refuse_domain(self, asked: Asked) -> Answer:
        raise Refused(400, oauth("invalid_grant", "request not supported on this domain"))


class ServiceNow(Imitation):
    name = "servicenow"
    token_url = "https://example.service-now.com/oauth_token.do"
    api_url = "https://example.service-now.com/api/now/table/incident?sysparm_limit=1"
    secret_in = "body"
    token_members: ClassVar = {"scope": "useraccount", "token_type": "Bearer", "expires_in": 1799}
    wrong_client = (401, oauth("server_error", "access_denied"))
    wrong_token = (401, {"error": {"message": "User Not Authenticated"}, "status": "failure"})


class XSUAA(Imitation):
    """A server that does not decode what is in Basic, and whose ids need it."""

    name = "xsuaa"
    token_url = "https://example.authentication.eu10.hana.ondemand.com/oauth/token"
    api_url = "https://orders.cfapps.eu10.hana.ondemand.com/orders"
    client_id = "sb-orders!t1234"
    client_secret = "Zk3+pQ/9vX=$tyW2"
    secret_in = "either"
    token_members: ClassVar = {"token_type": "bearer", "expires_in": 43199, "jti": "4711"}
    wrong_client = (401, oauth("unauthorized", "Bad credentials"))


class Ariba(Imitation):
    name = "ariba"
    token_url = "https://api.ariba.com/v2/oauth/token"
    api_url = (
        "https://openapi.ariba.com/api/procurement-reporting-view/v2/prod/viewTemplates"
        "?realm=example"
    )
    also: ClassVar = {"application_key": "Yq3vK0tUw8bN5xZr"}
    grant_type = "openapi_2lo"
    token_members: ClassVar = {"token_type": "bearer", "expires_in": 1440}
    wrong_token = (401, {"fault": {"faultstring": "Invalid Access Token"}})

    def check_call(self, asked: Asked) -> None:
        if asked.headers.get("apiKey") != self.also["application_key"]:
            raise Refused(401, {"fault": {"faultstring": "Failed to resolve API Key"}})


class NetSuite(SignedByKey):
    name = "netsuite"
    token_url = "https://123456.suitetalk.api.netsuite.com/services/rest/auth/oauth2/v1/token"
    api_url = "https://123456.suitetalk.api.netsuite.com/services/rest/record/v1/customer"
    algorithm = "PS256"
    key_id = "my-certificate-id"
    longest = 3600
    token_members: ClassVar = {"token_type": "bearer", "expires_in": "3600"}
    wrong_client = (400, oauth("invalid_request"))

    def check_assertion(self, header: dict[str, Any], claims: dict[str, Any]) -> None:
        super().check_assertion(header, claims)
        if claims.get("scope") != "rest_webservices":
            raise Refused(*self.wrong_client)


class Marketo(Imitation):
    """A server that answers 200 to everything and writes its errors into the body."""

    name = "marketo"
    token_url = "https://123-abc-456.mktorest.com/identity/oauth/token"
    api_url = "https://123-abc-456.mktorest.com/rest/v1/campaigns.json"
    secret_in = "body"
    token_members: ClassVar = {"token_type": "bearer", "expires_in": 3599, "scope": "a@b.example"}
    wrong_client = (401, oauth("unauthorized", "Bad client credentials"))
    wrong_token = (
        200,
        {
            "requestId": "e42b#14272d07d78",
            "success": False,
            "errors": [{"code": "601", "message": "Access token invalid"}],
        },
    )


class Zoho(Imitation):
    name = "zoho"
    token_url = "https://accounts.zoho.eu/oauth/v2/token"
    api_url = "https://www.zohoapis.eu/crm/v8/Leads?fields=Email"
    secret_in = "body"
    prefix = "Zoho-oauthtoken "
    params: ClassVar = {"soid": "ZohoCRM.60012345"}
    token_members: ClassVar = {
        "token_type": "Bearer",
        "expires_in": 3600,
        "api_domain": "https://www.zohoapis.eu",
        "scope": "ZohoCRM.modules.READ ZohoCRM.settings.READ",
    }
    wrong_client = (200, oauth("invalid_client"))
    wrong_params = (200, oauth("missing_org_info"))
    wrong_token = (401, {"code": "INVALID_TOKEN", "message": "invalid oauth token"})

    def check_token_request(self, asked: Asked) -> None:
        if " " in asked.params.get("scope", " "):
            raise Refused(200, oauth("invalid_scope"))


class Zoom(Imitation):
    name = "zoom"
    token_url = "https://zoom.us/oauth/token"
    api_url = "https://api.zoom.us/v2/users"
    grant_type = "account_credentials"
    also: ClassVar = {"account_id": "bV3kQ0xWTZe1rYu7"}
    params: ClassVar = {"account_id": also["account_id"]}
    token_members: ClassVar = {
        "token_type": "bearer",
        "expires_in": 3599,
        "scope": "user:read:list_users:admin",
        "api_url": "https://api.zoom.us",
    }
    wrong_client = (
        400,
        {"reason": "Invalid client_id or client_secret", "error": "invalid_client"},
    )
    wrong_grant = (400, {"reason": "unsupported grant type", "error": "unsupported_grant_type"})
    wrong_params = (400, {"reason": "Bad Request", "error": "invalid_request"})
    wrong_token = (401, {"code": 124, "message": "Invalid access token."})


class Vanta(Imitation):
    """A server with a JSON body, and with one valid token for each application."""

    name = "vanta"
    token_url = "https://api.vanta.com/oauth/token"
    api_url = "https://api.vanta.com/v1/vulnerabilities"
    secret_in = "body"
    body = JSON
    params: ClassVar[Mapping[str, str]] = {"scope": "vanta-api.all:read"}
    wrong_params = (400, oauth("invalid_scope"))

    def check_token(self, token: str | None) -> None:
        super().check_token(token)
        if token != self.issued[-1]:
            raise Refused(*self.wrong_token)


class Pax8(Imitation):
    name = "pax8"
    token_url = "https://api.pax8.com/v1/token"
    api_url = "https://api.pax8.com/v1/companies"
    secret_in = "body"
    body = JSON
    params: ClassVar = {"audience": "https://api.pax8.com"}
    token_members: ClassVar = {
        "token_type": "Bearer",
        "expires_in": 86400,
        "expires_at": "2030-12-20T17:53:50.460+00:00",
    }
