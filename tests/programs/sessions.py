"""Sessions under other names, subclasses, and requests that are prepared without a session."""

import os
from functools import partial

import requests as r
from requests import Request
from requests import Session as S  # noqa: N817
from requests.adapters import HTTPAdapter
from requests.sessions import session as make

URL = os.environ["OAUTH_API_URL"]


class BaseURL(S):
    """A session for one server, as many programs have it."""

    def __init__(self):
        super().__init__()
        self.headers["X-Program"] = "base"
        self.mount("http://", HTTPAdapter(max_retries=2))

    def request(self, method, url, *args, **kwargs):
        return super().request(method, URL + url, *args, **kwargs)

    def send(self, request, **kwargs):
        kwargs.setdefault("timeout", 10)
        return super().send(request, **kwargs)


print(S().get(f"{URL}/a").status_code)
with r.Session() as session:
    session.hooks["response"].append(lambda answer, **_: answer.raise_for_status())
    print(session.get(f"{URL}/b").status_code)
print(make().head(f"{URL}/c").status_code)
print(BaseURL().put("/d", data=b"1234").json()["length"])
print(S().send(Request("GET", f"{URL}/e").prepare()).status_code)
print(partial(r.get, timeout=10)(f"{URL}/f", stream=True).status_code)
