"""Health: Epic, SMART on FHIR, NHS."""

from __future__ import annotations

from typing import Any, ClassVar

from .imitation import Asked, Refused, SignedByKey, oauth


class Epic(SignedByKey):
    name = "epic"
    token_url = "https://fhir.epic.com/interconnect-fhir-oauth/oauth2/token"
    api_url = "https://fhir.epic.com/interconnect-fhir-oauth/api/FHIR/R4/Patient"
    algorithm = "RS384"
    key_id = "my-key-id"
    token_members: ClassVar = {
        "token_type": "bearer",
        "expires_in": 3600,
        "scope": "system/Patient.read",
    }
    wrong_client = (400, {"error": "invalid_client", "error_description": None})


class SMART(SignedByKey):
    """The reference server of SMART Backend Services."""

    name = "smart"
    token_url = "https://bulk-data.smarthealthit.org/auth/token"
    api_url = "https://bulk-data.smarthealthit.org/fhir/Patient"
    algorithm = "RS384"
    key_id = "my-key-id"
    token_members: ClassVar = {
        "token_type": "bearer",
        "expires_in": 300,
        "scope": "system/Patient.rs",
    }
    wrong_client = (400, oauth("invalid_client"))

    def check_token_request(self, asked: Asked) -> None:
        if not asked.params.get("scope", "").startswith("system/"):
            raise Refused(400, oauth("invalid_scope"))


class NHS(SignedByKey):
    name = "nhs"
    token_url = "https://api.service.nhs.uk/oauth2/token"
    api_url = "https://api.service.nhs.uk/personal-demographics/FHIR/R4/Patient/9000000009"
    algorithm = "RS512"
    key_id = "my-key-id"
    token_members: ClassVar = {"token_type": "Bearer", "expires_in": "599"}
    wrong_client = (
        400,
        oauth("invalid_request", "Missing or invalid claim in client_assertion JWT"),
    )

    def check_assertion(self, header: dict[str, Any], claims: dict[str, Any]) -> None:
        if header.get("kid") != self.key_id:
            described = "Invalid 'kid' header in client_assertion JWT - no matching public key"
            raise Refused(401, oauth("invalid_request", described))
        super().check_assertion(header, claims)

    def check_call(self, asked: Asked) -> None:
        if not asked.headers.get("X-Request-ID"):
            raise Refused(412, {"resourceType": "OperationOutcome"})
