"""An API whose token is in a header of its own, or after another word than ``Bearer``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest

from oauthcc import Bearer, ClientCredentialsAuth, ClientCredentialsSession
from oauthcc.testing import AuthorizationServer, ProtectedAPI

from .refusals import Scene, Sessions

#: How some providers want their tokens.
ZOHO = Bearer(prefix="Zoho-oauthtoken")
SHOPIFY = Bearer(prefix="", header="X-Shopify-Access-Token")
VAULT = Bearer(prefix="Token", header="x-vault")
SCHEMES = {"zoho": ZOHO, "shopify": SHOPIFY, "vault": VAULT}
#: Those that leave the ``Authorization`` to the caller.
BESIDE = {name: scheme for name, scheme in SCHEMES.items() if scheme is not ZOHO}


def api_for(auth: AuthorizationServer, scheme: Bearer) -> ProtectedAPI:
    """Return an API that reads its token as a scheme sends it."""
    api = ProtectedAPI(auth)
    api.token_header, api.token_prefix = scheme.header, scheme.prefix
    return api


def scheme_of(api: ProtectedAPI) -> Bearer:
    """Return the scheme whose tokens an API reads."""
    return Bearer(api.token_prefix, header=api.token_header)


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
        api = self.stack.enter_context(api_for(self.auth, self.scheme))
        api.protected = False
        return api


def own_scene(auth: AuthorizationServer, scheme: Bearer) -> Iterator[OwnScene]:
    """Run an API for a scheme."""
    with api_for(auth, scheme) as api, ExitStack() as stack:
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
