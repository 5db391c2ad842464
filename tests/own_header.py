"""An API whose token is in a header of its own, or after another word than ``Bearer``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from oauthcc import Bearer, ClientCredentialsAuth, ClientCredentialsSession
from oauthcc.testing import AuthorizationServer, ProtectedAPI, SeenRequest
from oauthcc.testing.faults import Outcome, json_answer

from .refusals import Scene, Sessions

#: How some providers want their tokens.
ZOHO = Bearer(prefix="Zoho-oauthtoken")
SHOPIFY = Bearer(prefix="", header="X-Shopify-Access-Token")
VAULT = Bearer(prefix="Token", header="x-vault")
SCHEMES = {"zoho": ZOHO, "shopify": SHOPIFY, "vault": VAULT}
#: Those that leave the ``Authorization`` to the caller.
BESIDE = {name: scheme for name, scheme in SCHEMES.items() if scheme is not ZOHO}


class OwnHeaderAPI(ProtectedAPI):
    """An API that reads its token as a scheme sends it."""

    def __init__(self, auth: AuthorizationServer, scheme: Bearer) -> None:
        super().__init__(auth)
        self.scheme = scheme
        # An echo would put the token into the answer.
        self.add_route("/anything", lambda _: json_answer({}))

    def respond(self, request: SeenRequest, closing: Callable[[], bool]) -> Outcome:
        """Return the answer to a request."""
        before = f"{self.scheme.prefix} ".lstrip()
        value = request.headers.get(self.scheme.header, "")
        token = value[len(before) :] if value.startswith(before) else ""
        seen = replace(request, at=self.auth.time(), token=token or None)
        self.requests.append(seen)
        return self._perform(seen.path, closing, lambda: self._answer(seen, closing))


@dataclass
class OwnScene(Scene):
    """A scene whose API has its token in a header of its own."""

    scheme: Bearer = field(default_factory=Bearer)

    def session(self, **options: Any) -> ClientCredentialsSession:
        """Return a session with the scheme of the API."""
        return super().session(**{"scheme": self.scheme, **options})

    def auth_object(self, **options: Any) -> ClientCredentialsAuth:
        """Return an ``auth=`` with the scheme of the API."""
        return super().auth_object(**{"scheme": self.scheme, **options})

    def another_api(self) -> ProtectedAPI:
        """Start one more API, which accepts the same tokens and everything else."""
        api = self.stack.enter_context(OwnHeaderAPI(self.auth, self.scheme))
        api.protected = False
        return api


def own_scene(auth: AuthorizationServer, scheme: Bearer) -> Iterator[OwnScene]:
    """Run an API for a scheme."""
    with OwnHeaderAPI(auth, scheme) as api, ExitStack() as stack:
        yield OwnScene(auth, api, stack, scheme=scheme)


@pytest.fixture(params=SCHEMES.values(), ids=SCHEMES.keys())
def own(auth: AuthorizationServer, request: pytest.FixtureRequest) -> Iterator[OwnScene]:
    """Return a scene for each scheme."""
    yield from own_scene(auth, request.param)


@pytest.fixture(params=BESIDE.values(), ids=BESIDE.keys())
def beside(auth: AuthorizationServer, request: pytest.FixtureRequest) -> Iterator[OwnScene]:
    """Return a scene for each scheme that leaves the ``Authorization`` to the caller."""
    yield from own_scene(auth, request.param)


@pytest.fixture(params=["session", "auth"])
def own_sessions(own: OwnScene, request: pytest.FixtureRequest) -> Sessions:
    """Return what makes sessions of ours, and then plain ones with a `ClientCredentialsAuth`."""
    return Sessions(own, use_auth=request.param == "auth")
