"""A secret in a file that is replaced while the program runs, as Kubernetes mounts it.

The file is read for each token request. No restart is needed, and no request fails.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from oauthcc import ClientCredentialsSession
from oauthcc.testing import AuthorizationServer, ProtectedAPI

with AuthorizationServer() as auth, ProtectedAPI(auth) as server, TemporaryDirectory() as folder:
    auth.add_client("orders-client", "first-secret")
    file = Path(folder, "client-secret")
    file.write_text("first-secret\n")

    # A path and not a text: the session reads the file again.
    with ClientCredentialsSession(auth.token_url, "orders-client", file) as api:
        print("first secret:", api.get(server.url, timeout=10).status_code)

        new = Path(folder, "client-secret.new")
        new.write_text("second-secret\n")
        new.replace(file)  # in one step, so that nobody reads half of a secret
        auth.add_client("orders-client", "second-secret")
        print("the old token is still valid:", api.get(server.url, timeout=10).status_code)

        auth.revoke_all()
        print("second secret:", api.get(server.url, timeout=10).status_code)
