"""An upload after a 401: the file is sent again from its first position, byte for byte."""

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
        print(f"a file from offset 10: {answer.status_code}, {length} bytes, complete")

        auth.revoke_all()
        answer = session.post(api.url + "/upload", data=pieces())
        print(f"a generator: {answer.status_code}, because a generator cannot be sent twice")

        answer = session.post(api.url + "/upload", data=pieces())
        print(f"a new generator, with a token that was renewed first: {answer.status_code}")
