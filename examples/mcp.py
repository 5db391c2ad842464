"""A client of a protected server of the Model Context Protocol (MCP), without a user.

Such a server publishes which authorization server it trusts (RFC 9728). Here both are on loopback.
"""

from __future__ import annotations

from oauthcc import ClientCredentialsSession, DiscoveryError
from oauthcc.testing import Answer, AuthorizationServer, ProtectedAPI, SeenRequest, json_answer


def answer(request: SeenRequest) -> Answer:
    """Return the answer of the MCP server to a message, if the token is valid."""
    message = request.json()
    tools = [{"name": "weather", "inputSchema": {"type": "object"}}]
    return json_answer({"jsonrpc": "2.0", "id": message["id"], "result": {"tools": tools}})


if __name__ == "__main__":
    with AuthorizationServer() as auth, ProtectedAPI(auth) as api:
        url = f"{api.url}/mcp"
        metadata = {"resource": url, "authorization_servers": [auth.issuer]}
        place = "/.well-known/oauth-protected-resource/mcp"
        api.answer_next(json_answer(metadata), n=None, path=place)
        api.add_route("/mcp", answer)

        with ClientCredentialsSession.from_api(
            url, auth.client_id, auth.client_secret, trusted_issuers=[auth.issuer]
        ) as mcp:
            mcp.headers["Accept"] = "application/json, text/event-stream"
            message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
            result = mcp.post(url, json=message).json()["result"]
            print("tools:", ", ".join(tool["name"] for tool in result["tools"]))
            print("the token is for:", dict(auth.token_requests[0].form)["resource"])

        with ClientCredentialsSession.from_api(
            url, auth.client_id, auth.client_secret, trusted_issuers=["https://as.example"]
        ) as careful:
            try:
                careful.post(url, json=message)
            except DiscoveryError as error:
                print("a server that is not trusted gets no secret:", error)
