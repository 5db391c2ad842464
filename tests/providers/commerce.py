"""Shops, payment and parcels: eBay, PayPal, Shopify, Amazon, Walmart, FedEx, UPS, Safaricom."""

from __future__ import annotations

from typing import Any, ClassVar

from .imitation import Asked, Imitation, Refused, oauth


class EBay(Imitation):
    name = "ebay"
    token_url = "https://api.ebay.com/identity/v1/oauth2/token"
    api_url = "https://api.ebay.com/buy/browse/v1/item_summary/search?q=drone"
    params: ClassVar = {"scope": "https://api.ebay.com/oauth/api_scope"}
    token_members: ClassVar = {"token_type": "Application Access Token", "expires_in": 7200}
    wrong_client = (401, oauth("invalid_client", "client authentication failed"))
    wrong_params = (400, oauth("invalid_scope", "The requested scope is invalid."))
    wrong_token = (
        401,
        {"errors": [{"errorId": 1001, "domain": "OAuth", "message": "Invalid access token"}]},
    )


class PayPal(Imitation):
    name = "paypal"
    token_url = "https://api-m.paypal.com/v1/oauth2/token"
    api_url = "https://api-m.paypal.com/v2/checkout/orders"
    api_method = "POST"
    token_members: ClassVar = {
        "token_type": "Bearer",
        "expires_in": 31668,
        "app_id": "APP-80W284485P519543T",
        "scope": "https://uri.paypal.com/services/invoicing",
    }
    wrong_client = (401, oauth("invalid_client", "Client Authentication failed"))
    wrong_token = (401, oauth("invalid_token", "The token passed in was not found in the system"))


class Shopify(Imitation):
    name = "shopify"
    token_url = "https://example.myshopify.com/admin/oauth/access_token"
    api_url = "https://example.myshopify.com/admin/api/2025-10/graphql.json"
    api_method = "POST"
    secret_in = "body"
    header, prefix = "X-Shopify-Access-Token", ""
    # There is no `token_type`, and the scopes have commas between them.
    token_members: ClassVar = {"scope": "read_products,write_products", "expires_in": 86399}
    wrong_token = (401, {"errors": "[API] Invalid API key or access token"})


class Amazon(Imitation):
    """What the two ways of the Selling Partner API have in common."""

    token_url = "https://api.amazon.com/auth/o2/token"
    secret_in = "body"
    header, prefix = "x-amz-access-token", ""
    token_members: ClassVar = {"token_type": "bearer", "expires_in": 3600}
    wrong_client = (401, oauth("invalid_client", "Client authentication failed"))
    wrong_token = (
        403,
        {
            "errors": [
                {
                    "code": "Unauthorized",
                    "message": "Access to requested resource is denied.",
                    "details": "The access token you provided is revoked, malformed or invalid.",
                }
            ]
        },
    )


class AmazonSeller(Amazon):
    name = "amazon-seller"
    api_url = "https://sellingpartnerapi-eu.amazon.com/sellers/v1/marketplaceParticipations"
    grant_type = "refresh_token"
    also: ClassVar = {"refresh_token": "Atzr|IwEBIx3vK0tUw8bN5xZrYq3vK0tUw8bN5xZr"}
    secrets = ("refresh_token",)
    params: ClassVar = also
    wrong_params = (400, oauth("invalid_grant", "The request has an invalid grant parameter"))

    def more(self, asked: Asked) -> dict[str, Any]:
        return dict(self.also)


class AmazonGrantless(Amazon):
    name = "amazon-grantless"
    api_url = "https://sellingpartnerapi-eu.amazon.com/notifications/v1/destinations"
    params: ClassVar = {"scope": "sellingpartnerapi::notifications"}
    wrong_params = (400, oauth("invalid_scope"))


def walmart(code: str, **more: str) -> dict[str, Any]:
    return {"error": [{"code": f"{code}.GMP_GATEWAY_API", **more}]}


class Walmart(Imitation):
    name = "walmart"
    token_url = "https://marketplace.walmartapis.com/v3/token"
    api_url = "https://marketplace.walmartapis.com/v3/feeds"
    header, prefix = "WM_SEC.ACCESS_TOKEN", ""
    token_members: ClassVar = {"token_type": "Bearer", "expires_in": 900}
    wrong_client = (401, walmart("UNAUTHORIZED"))
    wrong_token = (401, walmart("UNAUTHORIZED"))

    def check_token_request(self, asked: Asked) -> None:
        for name in ("WM_SVC.NAME", "WM_QOS.CORRELATION_ID"):
            if not asked.headers.get(name):
                raise Refused(400, walmart("INVALID_REQUEST_HEADER", field=name))
        # The answer is XML if the client does not ask for JSON.
        assert asked.headers["Accept"] == "application/json"

    def check_call(self, asked: Asked) -> None:
        self.check_token_request(asked)


def fedex(message: str) -> dict[str, Any]:
    return {"errors": [{"code": "NOT.AUTHORIZED.ERROR", "message": message}]}


class FedEx(Imitation):
    name = "fedex"
    token_url = "https://apis.fedex.com/oauth/token"
    api_url = "https://apis.fedex.com/track/v1/trackingnumbers"
    api_method = "POST"
    secret_in = "body"
    token_members: ClassVar = {"token_type": "bearer", "expires_in": 3599, "scope": "CXS"}
    wrong_client = (401, fedex("The given client credentials were not valid."))
    wrong_token = (401, fedex("Access token expired."))


def ups(message: str, code: str = "") -> dict[str, Any]:
    return {"response": {"errors": [{"code": code, "message": message}]}}


class UPS(Imitation):
    name = "ups"
    token_url = "https://onlinetools.ups.com/security/v1/oauth/token"
    api_url = "https://onlinetools.ups.com/api/track/v1/details/1Z5338FF0107231059"
    token_members: ClassVar = {
        "token_type": "Bearer",
        "expires_in": "14399",
        "issued_at": "1706710921672",
        "status": "approved",
    }
    wrong_client = (401, ups("ClientId is Invalid", "10401"))
    wrong_token = (401, ups("Invalid Access Token", "250003"))

    def check_client(self, asked: Asked) -> None:
        if asked.basic is None:
            raise Refused(400, ups("Invalid/Missing Authorization Header", "10400"))
        super().check_client(asked)

    def check_call(self, asked: Asked) -> None:
        for name in ("transId", "transactionSrc"):
            if not asked.headers.get(name):
                raise Refused(400, ups(f"Missing {name}"))


class Daraja(Imitation):
    """A token endpoint that takes GET, and an API that answers 404 to a wrong token."""

    name = "daraja"
    token_url = "https://api.safaricom.co.ke/oauth/v1/generate"
    token_method = "GET"
    api_url = "https://api.safaricom.co.ke/mpesa/stkpushquery/v1/query"
    api_method = "POST"
    token_members: ClassVar = {"expires_in": "3599"}
    wrong_client = (400, "")
    wrong_grant = (400, {"errorCode": "400.008.02", "errorMessage": "Invalid grant type passed"})
    wrong_token = (404, {"errorCode": "404.001.03", "errorMessage": "Invalid Access Token"})

    def grant_type_of(self, asked: Asked) -> Any:
        assert not asked.body
        return asked.query.get("grant_type")
