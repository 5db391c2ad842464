"""Processes of one machine that share a token in files (``pip install "oauthcc[file]"``).

The same store is for the workers of gunicorn or Celery, and for scripts that cron starts.
"""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from tempfile import TemporaryDirectory

from oauthcc import ClientCredentialsSession
from oauthcc.stores import FileStore
from oauthcc.testing import AuthorizationServer, ProtectedAPI


def work(url: str, client: tuple[str, str, str], folder: str) -> int:
    """Send one request from a process that has just started, and return its status."""
    with ClientCredentialsSession(*client, store=FileStore(folder)) as api:
        return api.get(url, timeout=10).status_code


# Each process imports this file, and must not start servers.
if __name__ == "__main__":
    with AuthorizationServer() as auth, ProtectedAPI(auth) as server, TemporaryDirectory() as cache:
        client = auth.token_url, auth.client_id, auth.client_secret
        with ProcessPoolExecutor(3, get_context("spawn")) as pool:
            calls = [pool.submit(work, server.url, client, cache) for _ in range(3)]
        for call in calls:
            print("a process:", call.result())
        print(len(auth.token_requests), "token request")
