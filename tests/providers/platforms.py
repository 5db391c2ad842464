"""Platforms: Spotify, Reddit, Databricks, CrowdStrike, GitLab, Copernicus, IBM Cloud, MCP."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

from .identity import EntraFederated
from .imitation import Answer, Asked, Imitation, Refused, answer, oauth

Page = tuple[str, str, Callable[[Asked], Answer]]


class Spotify(Imitation):
    name = "spotify"
    token_url = "https://accounts.spotify.com/api/token"
    api_url = "https://api.spotify.com/v1/artists/0TnOYISbd1XYRBk9myaseg"
    wrong_client = (400, oauth("invalid_client", "Invalid client secret"))
    wrong_token = (401, {"error": {"status": 401, "message": "The access token expired"}})


class Reddit(Imitation):
    name = "reddit"
    token_url = "https://www.reddit.com/api/v1/access_token"
    api_url = "https://oauth.reddit.com/r/python/about"
    token_members: ClassVar = {"token_type": "bearer", "expires_in": 86400, "scope": "*"}
    wrong_client = (401, {"message": "Unauthorized", "error": 401})
    wrong_token = (401, {"message": "Unauthorized", "error": 401})

    def check_client(self, asked: Asked) -> None:
        self.check_call(asked)
        super().check_client(asked)

    def check_call(self, asked: Asked) -> None:
        if str(asked.headers.get("User-Agent", "python")).startswith("python"):
            raise Refused(429, {"message": "Too Many Requests", "error": 429})


class Databricks(Imitation):
    name = "databricks"
    issuer = "https://example.cloud.databricks.com/oidc"
    token_url = f"{issuer}/v1/token"
    api_url = "https://example.cloud.databricks.com/api/2.0/clusters/list"
    params: ClassVar = {"scope": "all-apis"}
    wrong_client = (401, oauth("invalid_client", "Client authentication failed"))
    wrong_params = (400, oauth("invalid_scope"))

    def pages(self) -> Iterator[Page]:
        yield from super().pages()
        path = "/.well-known/oauth-authorization-server"
        document = {"issuer": self.issuer, "token_endpoint": self.token_url}
        workspace = self.issuer.removesuffix("/oidc")
        openid = "/.well-known/openid-configuration"
        for missing in (f"{path}/oidc", f"/oidc{openid}", path, openid):
            yield "GET", f"{workspace}{missing}", lambda _: answer(404, "")
        yield "GET", f"{self.issuer}{path}", lambda _: answer(200, document)


def falcon(code: int, message: str) -> dict[str, Any]:
    return {"meta": {"powered_by": "csam"}, "errors": [{"code": code, "message": message}]}


class CrowdStrike(Imitation):
    name = "crowdstrike"
    token_url = "https://api.crowdstrike.com/oauth2/token"
    api_url = "https://api.crowdstrike.com/devices/queries/devices/v1?limit=1"
    secret_in = "body"
    token_status = 201
    token_members: ClassVar = {"token_type": "bearer", "expires_in": 1799}
    wrong_client = (403, falcon(403, "Failed to issue access token - Client authentication failed"))
    wrong_token = (401, falcon(401, "access denied, invalid bearer token"))


class GitLabJob(EntraFederated):
    """A job of GitLab CI, whose ID token Microsoft Entra ID trusts."""

    name = "gitlab"
    subject = "project_path:shop/orders:ref_type:branch:ref:main"

    def names(self) -> dict[str, Any]:
        names = super().names()
        self._id_token = names.pop("file_contents")
        return names

    def environment(self) -> Mapping[str, str]:
        return {"ENTRA_ID_TOKEN": self._id_token}


class Copernicus(Imitation):
    name = "copernicus"
    token_url = (
        "https://identity.dataspace.copernicus.eu/auth/realms/CDSE/protocol/openid-connect/token"
    )
    api_url = "https://sh.dataspace.copernicus.eu/api/v1/catalog/1.0.0/collections"
    secret_in = "either"
    token_members: ClassVar = {"token_type": "Bearer", "expires_in": 1800}
    wrong_client = (401, oauth("invalid_client", "Invalid client or Invalid client credentials"))


class IBMCloud(Imitation):
    name = "ibm"
    token_url = "https://iam.cloud.ibm.com/identity/token"
    api_url = "https://resource-controller.cloud.ibm.com/v2/resource_instances"
    client_id, client_secret = "bx", "bx"
    also: ClassVar = {"api_key": "kX9vK0tUw8bN5xZrYq3vK0tUw8bN5xZr"}
    secrets = ("api_key",)
    grant_type = "urn:ibm:params:oauth:grant-type:apikey"
    params: ClassVar = {"apikey": also["api_key"]}
    token_members: ClassVar = {
        "token_type": "Bearer",
        "expires_in": 3600,
        "expiration": 1893456000,
        "refresh_token": "not_supported",
        "scope": "ibm openid",
    }
    wrong_params = (
        400,
        {"errorCode": "BXNIM0415E", "errorMessage": "Provided API key could not be found."},
    )

    def hidden(self) -> list[str]:
        return [*self.issued, self.also["api_key"]]  # everybody knows the secret of the client


class MCPServer(Imitation):
    """A server of the Model Context Protocol, and the authorization server that it names."""

    name = "mcp"
    issuer = "https://as.example"
    token_url = f"{issuer}/token"
    api_url = "https://mcp.example/mcp"
    api_method = "POST"
    params: ClassVar = {"resource": api_url}
    wrong_params = (400, oauth("invalid_target"))

    def pages(self) -> Iterator[Page]:
        yield from super().pages()
        api = {"resource": self.api_url, "authorization_servers": [self.issuer]}
        server = {"issuer": self.issuer, "token_endpoint": self.token_url}
        for url, document in (
            ("https://mcp.example/.well-known/oauth-protected-resource/mcp", api),
            (f"{self.issuer}/.well-known/oauth-authorization-server", server),
        ):
            yield "GET", url, lambda _, document=document: answer(200, document)

    def check_call(self, asked: Asked) -> None:
        accepted = str(asked.headers.get("Accept"))
        if "application/json" not in accepted or "text/event-stream" not in accepted:
            raise Refused(406, {"jsonrpc": "2.0", "error": {"code": -32000}})
