"""What ``python -m package`` runs."""

import os
import sys

import requests

print(__name__, __package__, sys.argv[1:], sys.path[0] == os.getcwd())
print(requests.get(f"{os.environ['OAUTH_API_URL']}/module").status_code)
