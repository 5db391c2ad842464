"""A download with a progress bar (``pip install tqdm``), written to a file piece by piece."""

import sys
import tempfile

from tqdm import tqdm

from oauthcc import ClientCredentialsSession
from oauthcc.testing import Answer, AuthorizationServer, ProtectedAPI

REPORT = b"a line of a long report\n" * 200_000

with (
    AuthorizationServer() as auth,
    ProtectedAPI(auth) as server,
    ClientCredentialsSession(auth.token_url, auth.client_id, auth.client_secret) as api,
    tempfile.TemporaryFile() as file,
):
    headers = {"Content-Type": "text/plain", "Content-Length": str(len(REPORT))}
    server.add_route("/report", lambda _: Answer(200, headers, REPORT))

    with api.get(server.url + "/report", stream=True, timeout=10) as response:
        response.raise_for_status()
        total = int(response.headers["Content-Length"])
        with tqdm(total=total, unit="B", unit_scale=True, file=sys.stdout) as bar:
            for piece in response.iter_content(65536):
                file.write(piece)
                bar.update(len(piece))

    print(f"{file.tell()} of {len(REPORT)} bytes were written")
