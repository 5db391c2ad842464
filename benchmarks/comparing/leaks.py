"""Situations in which secrets, tokens and passwords may get where they do not belong."""

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
    """Redirect the token endpoint; say what was seen there, and whether it was believed."""
    world.auth.answer_next(faults.redirect(world.elsewhere, status), None)
    client = kind(world, **options)
    tried(lambda: client.request("GET", world.api.url))
    seen = world.foreign.requests
    said = [str(request.raw_headers) + request.body.decode() for request in seen]
    what = "nothing" if not seen else "no secret"
    if any("secret" in world.traces(text) for text in said):
        what = "THE SECRET"
    elif any("assertion=" in text for text in said):
        what = "THE SIGNED ASSERTION"
    believed = any(request.token == PLANTED for request in world.api.requests)
    return what + ", its token used" * believed


@situation("token endpoint answers 307 to another host: what went there")
def redirect_307(kind: type[Library], world: World) -> str:
    """Redirect, with the body, the client authentication that is the default."""
    return redirected(kind, world, 307)


@situation("the same, secret in the body (client_secret_post)")
def redirect_307_post(kind: type[Library], world: World) -> str:
    """Redirect, with the body, a secret that is in it."""
    return redirected(kind, world, 307, how="post")


@situation("token endpoint answers 302 to another host: what went there")
def redirect_302(kind: type[Library], world: World) -> str:
    """Redirect without the body."""
    return redirected(kind, world, 302)


@situation("log at DEBUG shows")
def debug_log(kind: type[Library], world: World) -> str:
    """Write down everything that is logged in a fetch, a call and a refused call."""
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


@situation("repr of what the user holds shows")
def shown(kind: type[Library], world: World) -> str:
    """Look at every object that a user has in hand, as a debugger or a crash report would."""
    client = warm(kind, world)
    return " and ".join(world.traces(repr(client.held()))) or "neither"


@situation("a second client id at the same token URL gets")
def second_client(kind: type[Library], world: World) -> str:
    """Make two clients in one process."""
    world.auth.add_client("other", "the other's secret")
    warm(kind, world)
    warm(kind, world, secret="the other's secret", client_id="other")
    first, second = (request.token for request in world.api.requests)
    return "THE FIRST ONE'S TOKEN" if first == second else "its own token"


@situation("~/.netrc has a password for the host: what of it was sent")
def netrc(kind: type[Library], world: World) -> str:
    """Have a password for the same host lie in the home folder."""
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
    return f"THE PASSWORD (to the {' and the '.join(places)})" if places else "nothing of it"
