"""A program that starts another one with its own interpreter, and one with a shell."""

import subprocess
import sys

CODE = "import os, requests; print(requests.get(os.environ['OAUTH_API_URL']).status_code)"
subprocess.run([sys.executable, "-c", CODE], check=True)
subprocess.run([sys.executable, "-c", f"import subprocess, sys; {CODE}"], check=True)
