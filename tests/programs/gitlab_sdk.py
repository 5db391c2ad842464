"""An SDK that makes its own session: python-gitlab."""

import os

import gitlab

client = gitlab.Gitlab(os.environ["OAUTH_API_URL"])
print(client.http_get("/projects/group%2Fproject")["path"])
