"""A program of gevent, which has to change the standard library before requests is imported."""

from gevent import monkey

monkey.patch_all()

import os

import gevent
import requests

URL = os.environ["OAUTH_API_URL"]
jobs = [gevent.spawn(requests.get, f"{URL}/{number}") for number in range(8)]
gevent.joinall(jobs)
print(*(job.value.status_code for job in jobs))
