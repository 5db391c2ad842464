"""A program that brings its own logins."""

import os

import requests
from requests.auth import HTTPDigestAuth

URL = os.environ["OAUTH_API_URL"]


class KeyAuth(requests.auth.AuthBase):
    """A login in another header."""

    def __call__(self, request):
        request.headers["X-Key"] = "key"
        return request


def sent(**kwargs):
    answer = requests.get(URL, **kwargs)
    print(answer.request.headers.get("Authorization"), answer.request.headers.get("X-Key"))


sent(auth=("me", "mine"))
sent(auth=HTTPDigestAuth("me", "mine"))
sent(auth=KeyAuth())
sent(headers={"Authorization": "Bearer of-my-own"})
sent(headers={"Authorization": None})
session = requests.Session()
session.auth = ("me", "mine")
print(session.get(URL).request.headers["Authorization"])
session = requests.Session()
session.headers["Authorization"] = "Key of-the-session"
print(session.get(URL).request.headers["Authorization"])
print(requests.get(URL.replace("://", "://me:mine@")).request.headers["Authorization"])
