"""Situations in which secrets, tokens and passwords may leak."""

from __future__ import annotations

import io
import logging
import os
from typing import Any
from unittest import mock

import requests

from oauthcc.testing import faults

from .library import Library
from .observing import situation, tried, warm
from .world import PLANTED, World


def redirected(kind: type[Library], world: World, status: int, **options: Any) -> str:
    """Redirect token requests; return what the other host received, and if its token was used."""
    world.auth.answer_next(faults.redirect(world.elsewhere, status), None)
    client = kind(world, **options)
    tried(lambda: client.request("GET", world.api.url))
    seen = world.foreign.requests
    texts = [str(request.raw_headers) + request.body.decode() for request in seen]
    result = "nothing" if not seen else "no secret"
    if any("secret" in world.traces(text) for text in texts):
        result = "THE SECRET"
    elif any("assertion=" in text for text in texts):
        result = "THE SIGNED ASSERTION"
    used = any(request.token == PLANTED for request in world.api.requests)
    return result + ", its token used" * used


@situation("token endpoint answers 307 to another host: what was sent there")
def redirect_307(kind: type[Library], world: World) -> str:
    """Redirect with the body, with the default client authentication."""
    return redirected(kind, world, 307)


@situation("the same, secret in the body (client_secret_post)")
def redirect_307_post(kind: type[Library], world: World) -> str:
    """Redirect with the body, which contains the secret."""
    return redirected(kind, world, 307, how="post")


@situation("token endpoint answers 302 to another host: what was sent there")
def redirect_302(kind: type[Library], world: World) -> str:
    """Redirect without the body."""
    return redirected(kind, world, 302)


@situation("log at DEBUG shows")
def debug_log(kind: type[Library], world: World) -> str:
    """Record everything that is logged during a fetch, a request and a refused request."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        client = warm(kind, world)
        world.auth.revoke_all()
        client.request("GET", world.api.url)
    finally:
        root.removeHandler(handler)
    return " and ".join(world.traces(text.getvalue())) or "neither"


@situation("repr of session, client and token shows")
def shown(kind: type[Library], world: World) -> str:
    """Show every object that a user has, as a debugger or a crash report does."""
    client = warm(kind, world)
    return " and ".join(world.traces(repr(client.objects()))) or "neither"


@situation("a second client id at the same token URL gets")
def second_client(kind: type[Library], world: World) -> str:
    """Use two clients in one process."""
    world.auth.add_client("other", "the other's secret")
    warm(kind, world)
    warm(kind, world, secret="the other's secret", client_id="other")
    first, second = (request.token for request in world.api.requests)
    return "THE FIRST ONE'S TOKEN" if first == second else "its own token"


@situation("~/.netrc has a password for the host: what was sent")
def netrc(kind: type[Library], world: World) -> str:
    """Put a password for the same host into the netrc file."""
    path = world.folder / "netrc"
    path.write_text("machine 127.0.0.1 login me password mine\n")
    path.chmod(0o600)
    with mock.patch.dict(os.environ, {"NETRC": str(path)}):
        client = kind(world)
        tried(lambda: client.request("GET", world.api.url))
    password = requests.auth._basic_auth_str("me", "mine")
    here, there = (
        any(request.headers.get("Authorization") == password for request in requests_seen)
        for requests_seen in (world.auth.arrived, world.api.requests)
    )
    places = ["token endpoint"] * here + ["API"] * there
    return f"THE PASSWORD (to the {' and the '.join(places)})" if places else "nothing"
