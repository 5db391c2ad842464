"""A filter: it reads lines, asks the API about each, and writes lines."""

import os
import sys

import requests

for line in sys.stdin:
    answer = requests.get(f"{os.environ['OAUTH_API_URL']}/{line.strip()}")
    sys.stdout.write(f"{line.strip()} {answer.status_code}\n")
sys.stderr.write("done\n")
