"""An authorization server and an API on loopback, for tests of your own code.

```python
with AuthorizationServer() as auth, ProtectedAPI(auth) as api:
    session = ClientCredentialsSession(auth.token_url, auth.client_id, auth.client_secret)
    session.get(api.url + "/anything")
    auth.revoke_all()
    session.get(api.url + "/anything")      # 401, a new token, 200
    assert len(auth.token_requests) == 2
```

With pytest, use the fixtures of `oauthcc.pytest_plugin`.
"""

from __future__ import annotations

from . import faults
from .authorization_server import AuthorizationServer
from .clock import MovableClock
from .faults import Answer, Fault, json_answer, oauth_error
from .mock_endpoint import MockTokenEndpoint, TokenRequest
from .protected_api import ProtectedAPI
from .registry import IssuedToken
from .reset import forget_tokens
from .script import Gate
from .seen import SeenRequest
from .token_response import OMIT, JSONText

__all__ = [
    "OMIT",
    "Answer",
    "AuthorizationServer",
    "Fault",
    "Gate",
    "IssuedToken",
    "JSONText",
    "MockTokenEndpoint",
    "MovableClock",
    "ProtectedAPI",
    "SeenRequest",
    "TokenRequest",
    "faults",
    "forget_tokens",
    "json_answer",
    "oauth_error",
]
