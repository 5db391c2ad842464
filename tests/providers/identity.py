"""Identity providers: Auth0, Okta, Microsoft Entra ID, Keycloak, AWS Cognito."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import jwt
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from .imitation import JWT_BEARER, Answer, Asked, Imitation, Refused, SignedByKey, answer, oauth


class Auth0(Imitation):
    name = "auth0"
    token_url = "https://example.eu.auth0.com/oauth/token"
    api_url = "https://orders.example/v1/orders"
    secret_in = "either"
    token_members: ClassVar = {"token_type": "Bearer", "expires_in": 86400}
    wrong_client = (401, oauth("access_denied", "Unauthorized"))

    def check_token_request(self, asked: Asked) -> None:
        audience = asked.params.get("audience")
        if audience is None:
            described = "No audience parameter was provided, and no default audience has been"
            raise Refused(403, oauth("access_denied", f"{described} configured"))
        if audience != "https://orders.example":
            raise Refused(403, oauth("access_denied", f"Service not found: {audience}"))


class Okta(SignedByKey):
    """An app for the APIs of Okta itself, for which DPoP is required."""

    name = "okta"
    token_url = "https://example.okta.com/oauth2/v1/token"
    api_url = "https://example.okta.com/api/v1/users"
    algorithm = "RS256"
    key_id = "my-key-id"
    longest = 3600
    prefix = "DPoP "
    token_members: ClassVar = {"token_type": "DPoP", "expires_in": 3600}
    wrong_client = (
        401,
        oauth(
            "invalid_client",
            "Client Credentials requests to the Org Authorization Server must use the"
            " private_key_jwt token_endpoint_auth_method.",
        ),
    )
    nonce = "a-nonce-of-okta"

    def check_token_request(self, asked: Asked) -> None:
        if asked.params.get("scope") != "okta.users.read":
            raise Refused(400, oauth("invalid_scope", "One or more scopes are not configured."))
        if self._proof(asked, self.token_url).get("nonce") != self.nonce:
            described = "Authorization server requires nonce in DPoP proof."
            raise Refused(400, oauth("use_dpop_nonce", described), {"DPoP-Nonce": self.nonce})

    def check_call(self, asked: Asked) -> None:
        digest = hashlib.sha256(str(self.token_of(asked)).encode()).digest()
        proof = self._proof(asked, self.api_url)
        if proof.get("ath") != base64.urlsafe_b64encode(digest).rstrip(b"=").decode():
            raise Refused(400, oauth("invalid_dpop_proof"))

    def _proof(self, asked: Asked, url: str) -> dict[str, Any]:
        proof = str(asked.headers.get("DPoP", ""))
        if not proof:
            raise Refused(400, oauth("invalid_dpop_proof", "The DPoP proof JWT header is missing."))
        header = jwt.get_unverified_header(proof)
        claims: dict[str, Any] = jwt.decode(
            proof, jwt.PyJWK(header["jwk"]), ["ES256", "RS256"], options={"verify_aud": False}
        )
        right = header["typ"], claims["htm"], claims["htu"]
        if right != ("dpop+jwt", asked.method, url) or claims["jti"] in self._used:
            raise Refused(400, oauth("invalid_dpop_proof"))
        self._used.add(claims["jti"])
        return claims


TENANT = "0f6b9a3c-1c3e-4a44-9d35-1f0d3a5f9f10"


def entra(error: str, code: int, text: str) -> dict[str, Any]:
    return {**oauth(error, f"AADSTS{code}: {text}"), "error_codes": [code]}


class Entra(Imitation):
    """What the three ways of Microsoft Entra ID have in common."""

    token_url = f"https://login.microsoftonline.com/{TENANT}/oauth2/v2.0/token"
    api_url = "https://orders.example/v1/orders"
    also: ClassVar = {"tenant": TENANT}
    token_members: ClassVar = {"token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599}
    wrong_token = (401, entra("invalid_token", 50173, "The provided grant has expired."))

    def check_token_request(self, asked: Asked) -> None:
        if not asked.params.get("scope", "").endswith("/.default"):
            described = "Client credential flows must have a scope value with /.default suffixed."
            raise Refused(400, entra("invalid_scope", 1002012, described))


class EntraSecret(Entra):
    name = "entra-secret"
    secret_in = "either"
    wrong_client = (
        401,
        entra("invalid_client", 7000215, "Invalid client secret provided."),
    )


class EntraCertificate(Entra, SignedByKey):
    name = "entra-certificate"
    algorithm = "PS256"
    longest = 600
    wrong_client = (
        401,
        entra("invalid_client", 700027, "Client assertion failed signature validation."),
    )

    def check_assertion(self, header: dict[str, Any], claims: dict[str, Any]) -> None:
        super().check_assertion(header, claims)
        certificate = x509.load_pem_x509_certificate(self.keys.certificate.encode())
        digest = hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest()
        if header.get("x5t#S256") != base64.urlsafe_b64encode(digest).rstrip(b"=").decode():
            raise Refused(*self.wrong_client)


class EntraFederated(Entra):
    """An app that trusts the tokens of a Kubernetes cluster."""

    name = "entra-federated"
    subject = "system:serviceaccount:shop:orders"

    def names(self) -> dict[str, Any]:
        claims = {"sub": self.subject, "aud": "api://AzureADTokenExchange"}
        assertion = jwt.encode(claims, self.keys.private, "RS256")
        return {**super().names(), "file_contents": assertion}

    def check_client(self, asked: Asked) -> None:
        params = asked.params
        right = params.get("client_id"), params.get("client_assertion_type")
        if right != (self.client_id, JWT_BEARER) or "client_secret" in params:
            raise Refused(401, entra("invalid_client", 7000218, "No assertion was given."))
        try:
            claims = jwt.decode(
                params.get("client_assertion", ""),
                self.keys.public,
                ["RS256"],
                audience="api://AzureADTokenExchange",
            )
        except jwt.PyJWTError as error:
            raise Refused(401, entra("invalid_client", 50027, "JWT token is invalid.")) from error
        if claims["sub"] != self.subject:
            described = "No matching federated identity record found for presented assertion."
            raise Refused(401, entra("invalid_client", 70021, described))


class EntraV1(Imitation):
    """The older endpoint, which takes the GUID of an application as the resource."""

    name = "entra-v1"
    token_url = f"https://login.microsoftonline.com/{TENANT}/oauth2/token"
    api_url = "https://adb-1234567890123456.7.azuredatabricks.net/api/2.0/clusters/list"
    also: ClassVar = {"tenant": TENANT}
    secret_in = "either"
    params: ClassVar = {"resource": "2ff814a6-3304-4ab8-85cb-cd0e6f879c1d"}
    token_members: ClassVar = {"token_type": "Bearer", "expires_in": "3599", **params}
    wrong_client = (401, entra("invalid_client", 7000215, "Invalid client secret provided."))
    wrong_params = (400, entra("invalid_resource", 500011, "The resource principal was not found."))


class Keycloak(Imitation):
    name = "keycloak"
    issuer = "https://keycloak.example/realms/shop"
    token_url = f"{issuer}/protocol/openid-connect/token"
    api_url = "https://orders.example/v1/orders"
    secret_in = "either"
    token_members: ClassVar = {"token_type": "Bearer", "expires_in": 300, "not-before-policy": 0}
    wrong_client = (
        401,
        oauth("unauthorized_client", "Invalid client or Invalid client credentials"),
    )

    def pages(self) -> Iterator[tuple[str, str, Callable[[Asked], Answer]]]:
        yield from super().pages()
        path = "/.well-known/oauth-authorization-server"
        host, _, realm = self.issuer.partition("/realms")
        yield "GET", f"{host}{path}/realms{realm}", lambda _: answer(404, "")
        yield "GET", f"{self.issuer}{path}", lambda _: answer(404, "")
        yield "GET", f"{self.issuer}/.well-known/openid-configuration", self.metadata

    def metadata(self, asked: Asked) -> Answer:
        document: Mapping[str, Any] = {
            "issuer": self.issuer,
            "token_endpoint": self.token_url,
            "grant_types_supported": ["authorization_code", "client_credentials"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        }
        return answer(200, json.dumps(document), {"Content-Type": "application/json"})


class KeycloakInCompose(Keycloak):
    name = "keycloak-http"
    issuer = "http://keycloak:8080/realms/shop"
    token_url = f"{issuer}/protocol/openid-connect/token"
    api_url = "http://orders:8000/v1/orders"

    def environment(self) -> Mapping[str, str]:
        return {"OAUTHLIB_INSECURE_TRANSPORT": "1"}


class Cognito(Imitation):
    name = "cognito"
    token_url = "https://example.auth.eu-central-1.amazoncognito.com/oauth2/token"
    api_url = "https://a1b2c3.execute-api.eu-central-1.amazonaws.com/prod/orders"
    wrong_client = (400, oauth("invalid_client"))
    wrong_token = (401, {"message": "Unauthorized"})

    def check_token_request(self, asked: Asked) -> None:
        if asked.params.get("scope", "orders/read") != "orders/read":
            raise Refused(400, oauth("invalid_grant"))
