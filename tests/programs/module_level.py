"""The functions of the module requests."""

import os

import requests

URL = os.environ["OAUTH_API_URL"]
print(requests.get(f"{URL}/orders").status_code)
print(requests.post(f"{URL}/orders", json={"a": 1}).json()["length"])
print(requests.request("DELETE", f"{URL}/orders/1").status_code)
