"""Watch one session at work: lazy fetch, reuse, revocation, 401, renewal, replay.

An authorization server and an API are started on loopback; every line with an arrow is what one of
them really saw.
"""

from __future__ import annotations

from oauthcc import ClientCredentialsSession
from oauthcc.testing import AuthorizationServer, ProtectedAPI, SeenRequest


class Wire:
    """Print what the servers saw since the last time."""

    def __init__(self, auth: AuthorizationServer, api: ProtectedAPI) -> None:
        self._auth, self._api = auth, api
        self._seen = 0

    def show(self) -> None:
        seen = [("token endpoint", request) for request in self._auth.token_requests]
        seen += [("API", request) for request in self._api.requests]
        seen.sort(key=lambda entry: entry[1].at)
        for who, request in seen[self._seen :]:
            print(f"    -> {who}: {request.method} {request.path}{self._detail(who, request)}")
        if len(seen) == self._seen:
            print("    (nothing)")
        self._seen = len(seen)

    def _detail(self, who: str, request: SeenRequest) -> str:
        if who == "token endpoint":
            return f", grant_type={dict(request.form)['grant_type']}"
        number = self._auth.issued.index(request.token or "") + 1
        return f" with token {number}, {len(request.body)} bytes of body"


def main() -> None:
    with AuthorizationServer() as auth, ProtectedAPI(auth) as api:
        wire = Wire(auth, api)

        print("1. Make the session. On the wire:")
        session = ClientCredentialsSession(auth.token_url, auth.client_id, auth.client_secret)
        wire.show()

        print("2. session.get(...): the first call fetches a token. On the wire:")
        print(f"   the caller sees {session.get(api.url + '/orders').status_code}")
        wire.show()

        print("3. session.get(...): the second call uses the same token. On the wire:")
        print(f"   the caller sees {session.get(api.url + '/orders').status_code}")
        wire.show()

        print("4. Somebody revokes all tokens. session.post(..., data=...). On the wire:")
        auth.revoke_all()
        response = session.post(api.url + "/orders", data=b"one order")
        print(f"   the caller sees {response.status_code}, history {response.history},")
        print(f"   and the API received {response.json()['length']} bytes of body")
        wire.show()

        print("5. What a log or a debugger sees of the token:")
        print(f"   {response.request.headers['Authorization']!r}")
        session.close()
        assert response.status_code == 200
        assert [len(request.body) for request in api.requests] == [0, 0, 9, 9]
        assert len(auth.token_requests) == 2


if __name__ == "__main__":
    main()
