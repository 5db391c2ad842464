"""An upload that is streamed from a file, after a pause in which the token is revoked."""

import os
import sys

import requests

URL = os.environ["OAUTH_API_URL"]
print(requests.get(f"{URL}/first").status_code, flush=True)
sys.stdin.readline()
with open(sys.argv[1], "rb") as file:
    print(requests.post(f"{URL}/upload", data=file).json()["sha256"])
