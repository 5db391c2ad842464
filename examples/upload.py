"""A file survives a 401: it is sent again from where it began, byte for byte, or not at all."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator

from oauthcc import ClientCredentialsSession
from oauthcc.testing import AuthorizationServer, ProtectedAPI


def pieces() -> Iterator[bytes]:
    yield b"read once, "
    yield b"then gone"


if __name__ == "__main__":
    with (
        AuthorizationServer() as auth,
        ProtectedAPI(auth) as api,
        ClientCredentialsSession(auth.token_url, auth.client_id, auth.client_secret) as session,
        tempfile.TemporaryFile() as file,
    ):
        file.write(b"0123456789" * 100_000)
        file.seek(10)
        expected = hashlib.sha256(b"0123456789" * 99_999).hexdigest()

        session.get(api.url)
        auth.revoke_all()
        answer = session.post(api.url + "/upload", data=file)
        assert answer.json()["sha256"] == expected
        length = answer.json()["length"]
        print(f"a file from offset 10: {answer.status_code}, {length} bytes, whole")

        auth.revoke_all()
        answer = session.post(api.url + "/upload", data=pieces())
        print(f"a generator: {answer.status_code}, for it cannot be sent again; the caller decides")

        answer = session.post(api.url + "/upload", data=pieces())
        print(f"the same once more, renewed before it is sent: {answer.status_code}")
