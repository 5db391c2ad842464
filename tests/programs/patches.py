"""A program that changes requests for itself."""

import functools
import os

import requests

URL = os.environ["OAUTH_API_URL"]
calls = []
request, send = requests.Session.request, requests.Session.send


@functools.wraps(request)
def noted_request(self, method, url, **kwargs):
    calls.append("request")
    return request(self, method, url, timeout=10, **kwargs)


def noted_send(self, prepared, **kwargs):
    if prepared.url.startswith(URL):  # the token request passes here too
        calls.append("send")
    prepared.headers["X-Trace"] = "1"
    return send(self, prepared, **kwargs)


requests.Session.request = noted_request
requests.Session.send = noted_send
answer = requests.get(f"{URL}/redirect-to?url={URL}/b")
print(answer.status_code, answer.json()["headers"]["X-Trace"], *calls)
