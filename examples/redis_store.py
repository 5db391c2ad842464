"""Sessions on several machines that share a token in Redis (``pip install "oauthcc[redis]"``).

The example starts the program ``redis-server`` on a socket in a temporary folder.
"""

import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from oauthcc import ClientCredentialsSession
from oauthcc.stores import RedisStore
from oauthcc.testing import AuthorizationServer, ProtectedAPI

program = shutil.which("redis-server")
if program is None:
    sys.exit("The program redis-server is needed, for example: apt-get install redis-server")

with AuthorizationServer() as auth, ProtectedAPI(auth) as server, TemporaryDirectory() as folder:
    socket = Path(folder, "redis.sock")
    command = [program, "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", folder]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as redis:  # noqa: S603
        while not socket.exists() and redis.poll() is None:
            time.sleep(0.05)
        client = auth.token_url, auth.client_id, auth.client_secret
        for machine in ("first", "second", "third"):
            # Your Redis has another URL, such as "rediss://user:password@redis.example:6379/0".
            store = RedisStore(f"unix://{socket}")
            with ClientCredentialsSession(*client, store=store) as api:
                print(machine, "session:", api.get(server.url, timeout=10).status_code)
        print(len(auth.token_requests), "token request")
        redis.terminate()
