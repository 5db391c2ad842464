"""One session at work: lazy fetch, reuse, revocation, 401, renewal, replay.

An authorization server and an API run on loopback. Every line with an arrow is a request that one
of them really received.
"""

from __future__ import annotations

from oauthcc import ClientCredentialsSession
from oauthcc.testing import AuthorizationServer, ProtectedAPI, SeenRequest


class Traffic:
    """The requests that both servers received."""

    def __init__(self, auth: AuthorizationServer, api: ProtectedAPI) -> None:
        self._auth, self._api = auth, api
        self._seen = 0

    def show(self) -> None:
        """Print the requests since the last call."""
        seen = [("token endpoint", request) for request in self._auth.token_requests]
        seen += [("API", request) for request in self._api.requests]
        seen.sort(key=lambda entry: entry[1].at)
        for server, request in seen[self._seen :]:
            detail = self._detail(server, request)
            print(f"    -> {server}: {request.method} {request.path}{detail}")
        if len(seen) == self._seen:
            print("    (nothing)")
        self._seen = len(seen)

    def _detail(self, server: str, request: SeenRequest) -> str:
        if server == "token endpoint":
            return f", grant_type={dict(request.form)['grant_type']}"
        number = self._auth.issued.index(request.token or "") + 1
        return f" with token {number}, {len(request.body)} bytes of body"


def main() -> None:
    with AuthorizationServer() as auth, ProtectedAPI(auth) as api:
        traffic = Traffic(auth, api)

        print("1. Create the session. Requests:")
        session = ClientCredentialsSession(auth.token_url, auth.client_id, auth.client_secret)
        traffic.show()

        print("2. session.get(...): the first request fetches a token. Requests:")
        print(f"   the caller gets {session.get(api.url + '/orders').status_code}")
        traffic.show()

        print("3. session.get(...): the second request uses the same token. Requests:")
        print(f"   the caller gets {session.get(api.url + '/orders').status_code}")
        traffic.show()

        print("4. All tokens are revoked. session.post(..., data=...). Requests:")
        auth.revoke_all()
        response = session.post(api.url + "/orders", data=b"one order")
        print(f"   the caller gets {response.status_code}, history {response.history},")
        print(f"   and the API received {response.json()['length']} bytes of body")
        traffic.show()

        print("5. The token in a log or a debugger:")
        print(f"   {response.request.headers['Authorization']!r}")
        session.close()
        assert response.status_code == 200
        assert [len(request.body) for request in api.requests] == [0, 0, 9, 9]
        assert len(auth.token_requests) == 2


if __name__ == "__main__":
    main()
