"""A client of a protected server of the Model Context Protocol (MCP), without a user.

Such a server publishes which authorization servers it trusts (RFC 9728). The client sends its
secret only to an issuer that it trusts itself.
"""

from oauthcc import ClientCredentialsSession, DiscoveryError
from oauthcc.testing import Answer, AuthorizationServer, ProtectedAPI, SeenRequest, json_answer


def answer(request: SeenRequest) -> Answer:
    """Return the answer of the MCP server to a message, if the token is valid."""
    tools = [{"name": "weather", "inputSchema": {"type": "object"}}]
    return json_answer({"jsonrpc": "2.0", "id": request.json()["id"], "result": {"tools": tools}})


with AuthorizationServer() as auth, ProtectedAPI(auth) as server:
    url = f"{server.url}/mcp"
    metadata = {"resource": url, "authorization_servers": [auth.issuer]}
    place = "/.well-known/oauth-protected-resource/mcp"
    server.answer_next(json_answer(metadata), n=None, path=place)
    server.add_route("/mcp", answer)
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}

    for trusted in (auth.issuer, "https://as.example"):
        with ClientCredentialsSession.from_api(
            url, auth.client_id, auth.client_secret, trusted_issuers=[trusted]
        ) as mcp:
            mcp.headers["Accept"] = "application/json, text/event-stream"
            try:
                result = mcp.post(url, json=message, timeout=10).json()["result"]
                print("tools:", ", ".join(tool["name"] for tool in result["tools"]))
                print("the token is for:", dict(auth.token_requests[0].form)["resource"])
            except DiscoveryError as error:
                print("a server that is not trusted gets no secret:", error)
