"""An upload after a revocation: the file is sent again, byte for byte, with a new token.

A body that can be read only once, such as a generator, cannot be sent again. Then the 401 is
returned, and the next request has a new token.
"""

import hashlib
import tempfile
from collections.abc import Iterator

from oauthcc import ClientCredentialsSession
from oauthcc.testing import AuthorizationServer, ProtectedAPI


def pieces() -> Iterator[bytes]:
    yield b"read once, "
    yield b"then gone"


with (
    AuthorizationServer() as auth,
    ProtectedAPI(auth) as server,
    ClientCredentialsSession(auth.token_url, auth.client_id, auth.client_secret) as api,
    tempfile.TemporaryFile() as file,
):
    content = b"0123456789" * 100_000
    file.write(content)
    file.seek(0)
    url = server.url + "/upload"

    api.get(url)
    auth.revoke_all()
    answer = api.post(url, data=file)
    is_same = answer.json()["sha256"] == hashlib.sha256(content).hexdigest()
    print("a file:", answer.status_code, "the same bytes" if is_same else "other bytes")

    auth.revoke_all()
    print("a generator:", api.post(url, data=pieces()).status_code)
    print("a new generator:", api.post(url, data=pieces()).status_code)
