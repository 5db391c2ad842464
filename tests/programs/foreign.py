"""Calls of a foreign host, also by a redirect of the API."""

import os
import sys

import requests

URL, FOREIGN = os.environ["OAUTH_API_URL"], sys.argv[1]
print(requests.get(f"{URL}/mine").status_code)
print(requests.get(f"{FOREIGN}/theirs").status_code)
print(requests.get(f"{URL}/redirect-to?url={FOREIGN}/landed").status_code)
print(requests.get(f"{URL}0/near").status_code if len(sys.argv) > 2 else "")
