"""The small face behind which every library of the comparison stands."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import requests

from .world import World

SCOPES = ["orders:read", "orders:write"]


class UnsupportedError(Exception):
    """The library has no such thing."""


class Library(ABC):
    """One client, made anew for every situation; `how` is "basic", "post" or the default."""

    name: ClassVar[str]
    #: What pip installs.
    packages: ClassVar[tuple[str, ...]]
    #: Before how many seconds of its life's end a token is no longer used, by default.
    margin: ClassVar[int] = 0
    needs_tls: ClassVar[bool] = False

    def __init__(
        self, world: World, secret: str | None = None, *, client_id: str = "", how: str = ""
    ) -> None:
        """Make the client; nothing needs to be fetched yet."""
        self.world = world
        self.client_id = client_id or world.auth.client_id
        self.secret = secret or world.auth.client_secret
        self.session: requests.Session | None = None
        self.set_up(how)

    @abstractmethod
    def set_up(self, how: str) -> None:
        """Make what the library's documentation makes."""

    def request(self, method: str, url: str, **options: Any) -> requests.Response:
        """Call the API as the documentation does."""
        assert self.session is not None
        return self.session.request(method, url, **options)

    def held(self) -> list[object]:
        """Give the objects that a user has in hand."""
        assert self.session is not None
        return [self.session, self.session.auth]

    def close(self) -> None:
        """Close what can be closed."""
        if self.session is not None:
            self.session.close()
