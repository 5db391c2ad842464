"""Processes of one machine that share a token in files (``pip install "oauthcc[file]"``).

The same store is for the workers of gunicorn or Celery, and for scripts that cron starts.
"""

from multiprocessing import get_context
from tempfile import TemporaryDirectory

from oauthcc import ClientCredentialsSession
from oauthcc.stores import FileStore
from oauthcc.testing import AuthorizationServer, ProtectedAPI


def work(url: str, client: tuple[str, str, str], folder: str) -> None:
    """Send one request from a process that has just started."""
    with ClientCredentialsSession(*client, store=FileStore(folder)) as api:
        print("a process:", api.get(url, timeout=10).status_code)


# multiprocessing imports this file in each process, which must not start servers there.
if __name__ == "__main__":
    with AuthorizationServer() as auth, ProtectedAPI(auth) as server, TemporaryDirectory() as cache:
        client = auth.token_url, auth.client_id, auth.client_secret
        processes = [
            get_context("spawn").Process(target=work, args=(server.url, client, cache))
            for _ in range(3)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        print(len(auth.token_requests), "token request")
