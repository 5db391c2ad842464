"""A service that works until a signal ends it."""

import atexit
import os
import signal
import sys
import time

import requests

atexit.register(print, "atexit", flush=True)
if "--handle" in sys.argv:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
print(requests.get(f"{os.environ['OAUTH_API_URL']}/work").status_code, flush=True)
while True:
    time.sleep(0.05)
