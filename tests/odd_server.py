"""An authorization server that wants its token requests in another form than RFC 6749."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from oauthcc.testing import AuthorizationServer, SeenRequest
from oauthcc.testing.faults import Outcome

FORM = "application/x-www-form-urlencoded"


class OddServer(AuthorizationServer):
    """An authorization server that reads one type of body and one ``grant_type``.

    ``check`` gets the parameters of each token request, and may change them in place.
    """

    def __init__(
        self,
        *,
        body: str = "form",
        grant_type: str = "client_credentials",
        check: Callable[[dict[str, Any]], object] = lambda _: None,
    ) -> None:
        super().__init__()
        self.body, self.grant_type, self.check = body, grant_type, check
        #: The token requests as they were sent.
        self.sent: list[SeenRequest] = []

    def respond(self, request: SeenRequest, closing: Callable[[], bool]) -> Outcome:
        """Return the answer to a request."""
        if request.path == self._main_path:
            self.sent.append(request)
            form = urlencode(self._read(request), doseq=True).encode()
            others = [pair for pair in request.raw_headers if pair[0].lower() != "content-type"]
            request = replace(request, body=form, raw_headers=(*others, ("Content-Type", FORM)))
        return super().respond(request, closing)

    def _read(self, request: SeenRequest) -> dict[str, Any]:
        is_json = request.headers["Content-Type"] == "application/json"
        if is_json is not (self.body == "json"):
            return {}
        members = request.json() if is_json else dict(request.form)
        given = members.pop("grant_type", None)
        self.check(members)
        return {
            "grant_type": "client_credentials" if given == self.grant_type else "odd",
            **members,
        }

    @property
    def members(self) -> list[dict[str, Any]]:
        """Return the JSON objects that were sent."""
        return [json.loads(request.body) for request in self.sent]
