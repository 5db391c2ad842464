"""Situations that end in an error, or should not end in one."""

from __future__ import annotations

import pickle
from typing import Any
from unittest import mock

import requests

from oauthcc.testing import faults

from .library import SCOPES, Library, UnsupportedError
from .observing import situation, tried, warm
from .world import World


@situation("`except RequestException` catches, of 4 failures of the token endpoint")
def caught(kind: type[Library], world: World) -> str:
    """Fail in four ways, and count the errors that `except RequestException` catches."""
    ways = [
        world.auth.refuse_next,
        lambda: world.auth.answer_next(faults.unavailable(), None),
        lambda: world.auth.answer_next(faults.html()),
        world.auth.down,
    ]
    missed = []
    for fail in ways:
        client = kind(world)
        world.auth.answer_normally()
        fail()
        try:
            with mock.patch("time.sleep"):
                client.request("GET", world.api.url)
        except requests.RequestException:
            pass
        except Exception as error:  # noqa: BLE001 - its type is the result
            missed.append(type(error).__name__)
    names = ", ".join(sorted(set(missed)))
    return f"{4 - len(missed)}" + (f"; missed: {names}" if missed else "")


@situation("id `a b` and secret `p%+:/ü` in Basic, decoded as in RFC 6749")
def odd_secret(kind: type[Library], world: World) -> str:
    """Use an id and a secret with characters that must be encoded."""
    world.auth.add_client("a b", "p%+:/\N{LATIN SMALL LETTER U WITH DIAERESIS}")
    client = kind(world, "p%+:/ü", client_id="a b", how="basic")
    return tried(lambda: client.request("GET", world.api.url))


@situation("granted scope differs from the requested scope")
def narrowed(kind: type[Library], world: World) -> str:
    """Issue a token with a smaller scope than requested, and return that scope."""
    world.auth.token_fields = {"scope": SCOPES[0]}
    client = kind(world)
    return tried(lambda: client.request("GET", world.api.url))


@situation("session pickled and loaded again: a call")
def pickled(kind: type[Library], world: World) -> str:
    """Pickle the session and load it again, as a process pool does."""
    client = warm(kind, world)
    if client.session is None:
        raise UnsupportedError
    return tried(lambda: _call_of(pickle.dumps(client.session), world))


def _call_of(pickled: bytes, world: World) -> requests.Response:
    with pickle.loads(pickled) as session:  # noqa: S301 - this program pickled it
        answer: requests.Response = session.get(world.api.url)
        return answer


@situation("timeout of the token request, in seconds")
def timeout(kind: type[Library], world: World) -> str:
    """Return the timeout that requests passes to its adapter."""
    seen: list[Any] = []
    send = requests.adapters.HTTPAdapter.send

    def look(adapter: Any, request: requests.PreparedRequest, **options: Any) -> Any:
        if request.url == world.auth.token_url:
            seen.append(options.get("timeout"))
        return send(adapter, request, **options)

    with mock.patch.object(requests.adapters.HTTPAdapter, "send", look):
        warm(kind, world)
    value = seen[0]
    values = value if isinstance(value, tuple) else (value,)
    return ", ".join(f"{one:g}" if isinstance(one, (int, float)) else str(one) for one in values)
